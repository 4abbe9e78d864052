"""Scores read back from disk: what `slerlib eval --out` and `slerlib report evaluation` leave.

run = read_run("reports/runs/2026-11-27-evaluation-1a2b3c4d")     # or a results.json, or a folder that holds one
run.table                                                          # as `slerlib.evaluate` returned it
run.facts()                                                        # what the scores were made with
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from .evaluate import COLUMNS

if TYPE_CHECKING:
    from pandas import DataFrame

RESULTS, RECORD = "results.json", "run.json"
KEYS = ("dataset", "task", "image")  # what tells one row of an evaluation from another
NEEDED = (*KEYS, "psnr_input", "psnr")
KNOWN = ("checkpoint", "data", "definition", "versions")  # attrs that are dictionaries
ASKED = ("setting", "root", "images", "severity", "seed", "crop", "noise", "path", "restored")  # of attrs
HOW = "Write one: slerlib eval CHECKPOINT --data DIR --setting demo --out results.json"


@dataclass(frozen=True)
class ScoredRun:
    """An evaluation: its rows and what is known of how they were made."""

    where: str  # path, or words for one that was made just now
    table: DataFrame  # rows and attrs as from `slerlib.evaluate`; an infinite PSNR is infinity again
    record: dict = field(default_factory=dict)  # run.json of a report; empty where there is none

    @property
    def name(self) -> str:
        """The checkpoint's name, or what stood in for one."""
        about = self.table.attrs
        return (about.get("checkpoint") or {}).get("name") or about.get("restored") or "a function"

    @property
    def sha256(self) -> str | None:
        """Of the weights; None for a function and for images restored by another program."""
        return (self.table.attrs.get("checkpoint") or {}).get("sha256")

    def facts(self) -> dict[tuple[str, str], object]:
        """(group, name) -> value of everything known that may move a score.

        Groups: checkpoint, setting, data, definition, versions; from a report's run.json also code and machine; and
        training, the recipe, where the checkpoint of this hash is at hand.
        """
        about, known = self.table.attrs, self.record.get("provenance") or {}
        groups = {
            "checkpoint": about.get("checkpoint") or {},
            "setting": {name: about[name] for name in ASKED if name in about},
            "data": {name: value for name, value in (about.get("data") or {}).items() if name != "name"},  # = root
            "definition": about.get("definition") or {},
            "versions": about.get("versions") or {},
            "code": (known.get("git") or {}) | {"sources": known["code"]} if "code" in known else {},
            "machine": (known.get("hardware") or {}) | {n: known[n] for n in ("threads", "dtype") if n in known},
            "training": _training(self),
        }
        return {(group, name): value for group, values in groups.items() for name, value in values.items()}


def as_run(source: ScoredRun | DataFrame | str | os.PathLike) -> ScoredRun:
    """A run from what a person has: a path (`read_run`) or a table that `slerlib.evaluate` returned."""
    if isinstance(source, (ScoredRun, str, os.PathLike)):
        return source if isinstance(source, ScoredRun) else read_run(source)
    if not set(NEEDED) <= set(getattr(source, "columns", ())):
        raise UserError(
            f"A run is the path of a {RESULTS}, a folder that holds one, or a table of slerlib.evaluate; got "
            f"{type(source).__name__}. {HOW}."
        )
    return ScoredRun("scored just now", source)


def read_run(path: str | os.PathLike) -> ScoredRun:
    """The run in a results.json, or in a folder that holds one, such as that of an evaluation report.

    Raises UserError for a path that is not there, a folder without results, and a file that is damaged or another's.
    """
    file = results_file(path)
    record = _record(file)
    content = _json(file)
    rows = content.get("rows") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"Scores are a JSON object with a list of `rows`; {file} is something else. {HOW}.")
    if not _are_objects(content, *KNOWN):
        raise UserError(f"{', '.join(KNOWN)} of scores are JSON objects or null; {file} holds something else. {HOW}.")
    return ScoredRun(str(path), _table(file, rows, content), record)


def results_file(path: str | os.PathLike) -> Path:
    """The results.json that a path means. Raises UserError if there is none."""
    path = Path(path)
    file = path / RESULTS if path.is_dir() else path
    if not file.is_file():
        raise UserError(_nothing_there(path, _record(file)))
    return file


def _record(file: Path) -> dict:
    """run.json beside the results; empty where there is none, or not one of a report."""
    try:
        record = json.loads((file.parent / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(record, dict) and {"name", "state"} <= set(record)
    return record if whole and _are_objects(record, "provenance", "parameters") else {}


def _are_objects(content: dict, *names: str) -> bool:
    return all(isinstance(content.get(name) or {}, dict) for name in names)


def _nothing_there(path: Path, record: dict) -> str:
    rule = f"A run to compare is a {RESULTS}, or a folder that holds one; {path} "
    if not path.exists():
        return f"{rule}does not exist. {HOW}."
    if record and record["name"] != "evaluation":
        return f"{rule}is a run of the report {record['name']!r}, which keeps none. Use a run of `evaluation`. {HOW}."
    if record:
        return f"{rule}holds a report that did not come to its scores ({record['state']}). See {path / 'index.html'}."
    if (path / "card.json").is_file():
        return f"{rule}is a checkpoint, not yet scored. Score it: slerlib eval {path} --data DIR --out {RESULTS} ..."
    return f"{rule}has none. {HOW}."


def _json(file: Path):
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: no JSON, or no text
        raise UserError(f"Scores are a JSON file; {file} cannot be read as one ({error}). {HOW}.") from None


def _table(file: Path, rows: list[dict], content: dict) -> DataFrame:
    import pandas as pd

    table = pd.DataFrame(rows)
    if lacking := [name for name in NEEDED if name not in table]:
        raise UserError(f"Every row of scores has {', '.join(NEEDED)}; {file} lacks {', '.join(lacking)}. {HOW}.")
    table[list(KEYS)] = table[list(KEYS)].astype(str)
    if "path" in table and not table.path.dropna().map(lambda path: isinstance(path, str) and path.isdecimal()).all():
        raise UserError(f"A path is a string of expert numbers, such as '01201120'; {file} holds another. {HOW}.")
    numbers = [name for name in COLUMNS if name not in (*KEYS, "path") and name in table]
    try:
        table[numbers] = table[numbers].astype(float)
    except (TypeError, ValueError) as error:
        raise UserError(f"Scores are numbers or null; {file} holds another value ({error}). {HOW}.") from None
    psnrs = ["psnr_input", "psnr"]
    table[psnrs] = table[psnrs].fillna(math.inf)  # JSON has no infinity: a picture equal to its target
    table.attrs = {key: value for key, value in content.items() if key not in ("rows", "means", "average")}
    return table


def find_checkpoint(run: ScoredRun, given: str = "") -> Path | None:
    """Folder of the checkpoint that was scored, recognised by the hash of its weights; None if it is not at hand.

    given: a name or path to try first; then what the report was asked for, then the shipped checkpoint of that name.
    """
    from ..checkpoint import find, read_card

    if run.sha256 is None:
        return None
    for name in (given, (run.record.get("parameters") or {}).get("checkpoint"), run.name):
        try:
            folder = find(name) if name else None
            if folder and read_card(folder).get("weights_sha256") == run.sha256:
                return folder
        except UserError:  # no checkpoint of that name here
            continue
    return None


def _training(run: ScoredRun) -> dict:
    """ "section.key" -> value of the recipe, what an older card lacks filled in; empty without the checkpoint, and for
    a recipe that this version does not know."""
    from .. import config
    from ..checkpoint import read_card

    folder = find_checkpoint(run)
    if folder is None:
        return {}
    card = read_card(folder)
    try:
        recipe = config.to_dict(config.from_dict(config.RunConfig, card.get("config", {})))
    except UserError:
        return {}
    found = {"steps_done": card.get("steps_done")}
    for section in ("model", "data", "train"):
        found |= {f"{section}.{key}": value for key, value in recipe[section].items()}
    return found
