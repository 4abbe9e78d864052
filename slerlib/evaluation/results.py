"""Scores on disk: written by `slerlib eval --out` and `slerlib report evaluation`, and read again.

save_results(table, "results.json")
run = read_run("reports/runs/2026-11-27-evaluation-1a2b3c4d")     # or a results.json, or a folder that holds one
run.table                                                          # as `slerlib.evaluate` returned it
run.conditions()                                                   # what the scores were made with
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import config
from ..checkpoint import find, read_card
from ..errors import UserError
from ..files import read_json, unwritable, write_atomic
from .local import LOCAL_COLUMNS
from .options import CHOICES
from .table import COLUMNS, KEYS, SCORES, summary

if TYPE_CHECKING:
    from pandas import DataFrame

RESULTS, RECORD = "results.json", "run.json"
NEEDED = (*KEYS, "psnr_input", "psnr")  # columns that every run has
NUMBER = (int, float, type(None))  # JSON has no infinity and no NaN: null
INFINITE = "inf"  # of columns in which a value may be missing as well, so that null is NaN there
#: Key of a results file or of its rows -> the types of its value; other keys may hold anything.
FILE_TYPES = {"rows": list} | dict.fromkeys(("checkpoint", "data", "definition", "versions"), (dict, type(None)))
ROW_TYPES = dict.fromkeys(KEYS, (str, int)) | dict.fromkeys((*SCORES, "margin", "seconds", *LOCAL_COLUMNS), NUMBER)
ROW_TYPES |= {"path": (str, type(None))} | dict.fromkeys(LOCAL_COLUMNS, (*NUMBER, str))
CONDITIONS = ("setting", "root", "images", "severity", "seed", "crop", "noise", "path", "restored", *CHOICES)  # attrs
HOW = "Write one: slerlib eval CHECKPOINT --data DIR --setting demo --out results.json."


# --- writing ---


def save_results(table: DataFrame, path: str | os.PathLike) -> None:
    """Write results.json: rows, means per data set (and in them per task), average, missing, definition, versions, ...

    `average` is null if a class of the setting is `missing`. Infinite and empty values are null; in LOCAL_COLUMNS
    infinite ones are "inf", as of a part that comes back as it was. The file is written whole or not at all.
    Raises UserError for a table without rows, and if the file cannot be written.
    """
    means = summary(table)
    sets = {}
    for dataset, part in means[means.task != "average"].groupby("dataset", sort=False):
        degraded = part if len(part) == 1 else part[part.task != "clean"]
        tasks = part.set_index("task").drop(columns="dataset").to_dict("index")
        sets[dataset] = degraded[list(SCORES)].mean().to_dict() | {"tasks": tasks}
    average = means[means.task == "average"].drop(columns=["dataset", "task"]).to_dict("records")
    values = {
        "rows": [_with_infinite(row) for row in table.to_dict("records")],
        "means": sets,
        "average": average[0] if average and not table.attrs.get("missing") else None,
        **table.attrs,
    }
    try:
        write_atomic(Path(path), json.dumps(json_values(values), indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise unwritable("Results are written to a file", Path(path), error, "Choose another file.") from None


def _with_infinite(row: dict) -> dict:
    return {key: INFINITE if key in LOCAL_COLUMNS and value == math.inf else value for key, value in row.items()}


def json_values(value):
    """Python values that JSON knows: no numpy, and null for NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(key): json_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_values(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- reading ---


@dataclass(frozen=True)
class ScoredRun:
    """An evaluation: its rows and the conditions under which they were made."""

    where: str  # path, or words for a table in memory
    table: DataFrame  # rows and attrs as from `slerlib.evaluate`, with infinite PSNR
    record: dict = field(default_factory=dict)  # run.json of a report, else empty

    @property
    def name(self) -> str:
        """Name of the checkpoint, or of the folder of restored images, or "a function"."""
        about = self.table.attrs
        return (about.get("checkpoint") or {}).get("name") or about.get("restored") or "a function"

    @property
    def sha256(self) -> str | None:
        """Of the weights; None for a function and for images restored by another program."""
        return (self.table.attrs.get("checkpoint") or {}).get("sha256")

    def conditions(self) -> dict[tuple[str, str], object]:
        """(group, name) -> value of everything in the record that may change a score.

        Groups: checkpoint, setting, data, definition, versions; from a report's run.json also code and machine; and
        training, the recipe, if the checkpoint of this hash is on this machine.
        """
        about, origin = self.table.attrs, self.record.get("provenance") or {}
        groups = {
            "checkpoint": about.get("checkpoint") or {},
            "setting": {name: about[name] for name in CONDITIONS if name in about},
            "data": {name: value for name, value in (about.get("data") or {}).items() if name != "name"},  # = root
            "definition": about.get("definition") or {},
            "versions": about.get("versions") or {},
            "code": (origin.get("git") or {}) | {"sources": origin["code"]} if "code" in origin else {},
            "machine": (origin.get("hardware") or {}) | {n: origin[n] for n in ("threads", "dtype") if n in origin},
            "training": _training(self),
        }
        return {(group, name): value for group, values in groups.items() for name, value in values.items()}


def as_run(source: ScoredRun | DataFrame | str | os.PathLike) -> ScoredRun:
    """A run from a path (`read_run`) or from a table that `slerlib.evaluate` returned."""
    if isinstance(source, (str, os.PathLike)):
        return read_run(source)
    if isinstance(source, ScoredRun):
        return source
    if not set(NEEDED) <= set(getattr(source, "columns", ())):
        raise UserError(
            f"A run is the path of a {RESULTS}, a folder that holds one, or a table of slerlib.evaluate; got "
            f"{type(source).__name__}. {HOW}"
        )
    return ScoredRun("scored just now", source)


def read_run(path: str | os.PathLike) -> ScoredRun:
    """The run in a results.json, or in a folder that holds one, such as that of an evaluation report.

    Raises UserError for a path that does not exist, a folder without results, and a file that is damaged or foreign.
    """
    import pandas as pd

    file = results_file(path)
    values = _checked_file(file)
    table = pd.DataFrame(values["rows"])
    table[list(KEYS)] = table[list(KEYS)].astype(str)
    numbers = [name for name in (*COLUMNS, *LOCAL_COLUMNS) if name not in (*KEYS, "path") and name in table]
    table[numbers] = table[numbers].astype(float)
    psnrs = ["psnr_input", "psnr"]
    table[psnrs] = table[psnrs].fillna(math.inf)  # a picture equal to its target
    table.attrs = {key: value for key, value in values.items() if key not in ("rows", "means", "average")}
    return ScoredRun(str(path), table, _record(file))


def _checked_file(file: Path) -> dict:
    """The values of a results file. Raises UserError for values that `save_results` does not write."""
    values = read_json(file, "A file of scores", ["rows"], HOW)
    _check_types(file, values, FILE_TYPES)
    for row in values["rows"] or [None]:
        if not isinstance(row, dict) or (lacking := [name for name in NEEDED if name not in row]):
            fault = f"lacks {', '.join(lacking)}" if isinstance(row, dict) else f"is {row!r}"
            raise UserError(f"Every row of scores has {', '.join(NEEDED)}; one in {file} {fault}. {HOW}")
        _check_types(file, row, ROW_TYPES)
        if row.get("path") and not row["path"].isdecimal():
            raise UserError(f"A path is expert numbers such as '01201120'; {file} holds {row['path']!r}. {HOW}")
    return values


def _check_types(file: Path, values: dict, types: dict) -> None:
    for name, kind in types.items():
        text = name in LOCAL_COLUMNS and isinstance(values.get(name), str) and values[name] != INFINITE
        if name in values and (text or not isinstance(values[name], kind)):
            kinds = " or ".join("null" if one is type(None) else one.__name__ for one in np.atleast_1d(kind))
            raise UserError(f"In a file of scores {name} is {kinds}; {file} holds {values[name]!r:.60}. {HOW}")


def results_file(path: str | os.PathLike) -> Path:
    """The results.json at a path or in a folder. Raises UserError for a path without one."""
    path = Path(path)
    file = path / RESULTS if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"A run to compare is a {RESULTS}, or a folder that holds one; {path} {_fault(path, file)}")
    return file


def _fault(path: Path, file: Path) -> str:
    record = _record(file)
    if not path.exists():
        return f"does not exist. {HOW}"
    if record and record["name"] != "evaluation":
        return f"is a run of the report {record['name']!r}, which writes no scores. Use a run of `evaluation`. {HOW}"
    if record:
        return f"holds a report that ended before its scores ({record['state']}). See {path / 'index.html'}."
    if (path / "card.json").is_file():
        return f"is a checkpoint, not yet scored. Score it: slerlib eval {path} --data DIR --out {RESULTS} ..."
    return f"has no {RESULTS}. {HOW}"


def _record(file: Path) -> dict:
    """run.json beside the results; empty without such a file, and for one of another program."""
    try:
        record = read_json(file.parent / RECORD, "A record", ["name", "state"])
    except UserError:
        return {}
    whole = all(isinstance(record.get(name) or {}, dict) for name in ("provenance", "parameters"))
    return record if whole else {}


# --- the checkpoint that was scored ---


def find_checkpoint(run: ScoredRun, first: str = "") -> Path | None:
    """Folder of the checkpoint that was scored, recognised by the hash of its weights; None if it is not here.

    first: a name or path to try first; then come the report's parameter and the shipped checkpoint of that name.
    """
    if run.sha256 is None:
        return None
    for name in (first, (run.record.get("parameters") or {}).get("checkpoint"), run.name):
        try:
            folder = find(name) if name else None
            if folder and read_card(folder).get("weights_sha256") == run.sha256:
                return folder
        except UserError:  # no checkpoint of that name here
            continue
    return None


def _training(run: ScoredRun) -> dict:
    """ "section.key" -> value of the recipe, with defaults for keys that an older card lacks; empty without the
    checkpoint, and for a recipe with keys of another version."""
    folder = find_checkpoint(run)
    if folder is None:
        return {}
    card = read_card(folder)
    try:
        recipe = config.to_dict(config.from_dict(config.RunConfig, card.get("config", {})))
    except UserError:
        return {}
    keys = ((section, key) for section in ("model", "data", "train") for key in recipe[section])
    return {"steps_done": card.get("steps_done")} | {f"{part}.{key}": recipe[part][key] for part, key in keys}
