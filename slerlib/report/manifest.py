"""Is a run still what it was? The manifest of its files, the environment it ran in, and two runs side by side.

manifest.json holds the SHA-256 of every other file in the folder of a run, written when the run ended. It finds what
changed since by accident; whoever changes a file on purpose can change the manifest too, so write down its own hash,
which `verify` prints.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ..errors import UserError
from ..files import read_json, sha256_file, write_atomic
from .plan import available, find_sources, first_record, make_plans
from .record import read_record

MANIFEST = "manifest.json"


@dataclass
class Check:
    """What `check` has to say about a run; the run is as it was if `files` and `environment` are empty."""

    files: list[str] = field(default_factory=list)  # one line for each file that is not as it was written
    environment: list[str] = field(default_factory=list)  # what a run here would have that this one had not
    remarks: list[str] = field(default_factory=list)  # files that are no part of the run


def hashes(folder: Path) -> dict[str, str]:
    """Relative name -> SHA-256 of every file of a run; hidden files and the manifest do not count."""
    names = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    shown = [name for name in names if not any(part.startswith(".") for part in name.parts) and str(name) != MANIFEST]
    return {name.as_posix(): sha256_file(folder / name) for name in shown}


def write_manifest(folder: Path) -> Path:
    """Write manifest.json of a run that has ended, as the last of its files."""
    values = {"written": datetime.now().astimezone().isoformat(timespec="seconds"), "files": hashes(folder)}
    return write_atomic(folder / MANIFEST, json.dumps(values, indent=2) + "\n")


def check_files(folder: Path) -> Check:
    """Compare the files of a run with its manifest."""
    try:
        before = read_json(folder / MANIFEST, "A manifest", ["files"], "Run the report again.")["files"]
    except UserError as error:
        return Check([str(error)])
    if not isinstance(before, dict):
        return Check([f"{MANIFEST} does not list files by name. Run the report again."])
    try:
        now = hashes(folder)
    except OSError as error:
        return Check([f"A file cannot be read ({error})."])
    lines = [f"{name} is missing" for name in before if name not in now]
    lines += [f"{name} has changed: sha256 {str(before[name])[:12]} when it was written, {now[name][:12]} now"
              for name in before if name in now and before[name] != now[name]]  # fmt: skip
    return Check(lines, remarks=[f"{name} is no part of the run" for name in now if name not in before])


def check(folder: Path) -> Check:
    """Compare a run with its manifest, and the environment it ran in with this one."""
    result = check_files(folder)
    record = read_record(folder)
    if record is None:
        result.files.append("run.json is missing or damaged, so the environment cannot be compared")
        return result
    try:
        here = record_here(record)
    except UserError as error:
        result.environment.append(f"the same run is not possible here: {error}")
        return result
    rows = [row for row in differences(record, here) if row[0] != "checkout"]  # the code itself has a hash
    result.environment = [f"{name}: {_short(then)} then, {_short(now)} here" for name, then, now in rows]
    return result


def record_here(record: dict) -> dict:
    """The record that the same report with the same parameters would begin with, here and now.

    Raises UserError if it would not start: a notebook, a parameter, a checkpoint or data that are not here.
    """
    notebook = str(record.get("notebook", ""))
    # an own notebook may have a bundled name; the path of a bundled one may be that of another machine
    name = record["name"] if record["name"] in available() and not Path(notebook).is_file() else notebook
    (plan,) = make_plans(find_sources([name]), record["parameters"])
    return first_record(plan)


def differences(a: dict, b: dict) -> list[tuple[str, object, object]]:
    """(name, value in A, value in B) of every input that differs between two records: parameters, hashes, versions."""
    one, two = _inputs(a), _inputs(b)
    return [(name, one.get(name), two.get(name)) for name in one | two if one.get(name) != two.get(name)]


def _inputs(record: dict) -> dict[str, object]:
    origin, inputs = record["provenance"], {"report": record["name"]}
    machine = _part(origin, "hardware")
    inputs |= {f"parameter {name}": value for name, value in record["parameters"].items()}
    inputs |= {"notebook": record["source_sha256"], "code of slerlib": origin.get("code")}
    inputs |= {name.replace("_sha256", ""): value for name, value in _part(record, "hashes").items()}
    inputs |= {f"version of {name}": value for name, value in _part(origin, "versions").items()}
    inputs |= {name: machine.get(name) for name in ("processor", "gpus")}
    git = _part(origin, "git")
    return inputs | {"dtype": origin.get("dtype"), "checkout": f"{git.get('sha')} {git.get('dirty') or ''}".strip()}


def _part(values: dict, name: str) -> dict:
    return values[name] if isinstance(values.get(name), dict) else {}


def _short(value) -> str:
    text = "nothing" if value is None else str(value)
    return text[:12] if len(text) in (40, 64) and set(text) <= set("0123456789abcdef") else text


# --- in words ---------------------------------------------------------------------------------------------------------


def verify(paths: Sequence[Path], files_only: bool = False, say=print) -> bool:
    """Check the runs in these folders, each a run or a folder of runs; True where all is as it was.

    Raises UserError for a folder without runs, before the first one is checked.
    """
    folders: dict[Path, None] = {}
    for path in paths:
        alone = any((path / name).exists() for name in ("run.json", MANIFEST))
        runs = [path] if alone else sorted(
            {file.parent for name in ("run.json", MANIFEST) for file in path.glob(f"*/{name}")}
        )  # fmt: skip
        if not runs:
            raise UserError(
                f"verify takes folders of runs, or folders that hold them; {path} holds no run.json. Name another."
            )
        folders |= dict.fromkeys(runs)
    bad = 0
    for folder in folders:
        result = check_files(folder) if files_only else check(folder)
        bad += bool(result.files or result.environment)
        file = folder / MANIFEST
        seal = f" (manifest {sha256_file(file)[:12]})" if file.is_file() else ""
        say(f"{folder.name}: {'not as they were' if result.files else 'all files as they were written'}{seal}")
        for title, lines in (("file", result.files), ("environment", result.environment), ("note", result.remarks)):
            for line in lines:
                say(f"    {title}: {line}")
    if len(folders) > 1:
        say(f"{len(folders) - bad} of {len(folders)} runs are as they were.")
    return not bad


def diff(a: Path, b: Path, say=print) -> None:
    """Print which inputs of two runs differ, and their findings. Raises UserError for a folder that is no run.

    The runs are the first and the second: a report that compares has an A and a B of its own.
    """
    records = []
    for folder in (a, b):
        records.append(read_record(folder))
        if records[-1] is None:
            raise UserError(f"diff takes the folders of two runs; {folder} has no whole run.json. Name another folder.")
    say(f"first   {a}\nsecond  {b}\n\nfirst -> second")
    rows = differences(*records)
    for name, one, two in rows:
        say(f"{name}: {_short(one)} -> {_short(two)}")
    say("" if rows else "No input that both record differs.\n")
    for side, record in zip(("first ", "second"), records, strict=True):
        finding = _part(record, "finding")
        say(f"{side}  {record['state']}: {finding.get('sentence', 'no finding')}")
    numbers = [_part(_part(record, "finding"), "numbers") for record in records]
    for name in numbers[0]:
        if name in numbers[1] and numbers[0][name] != numbers[1][name]:
            say(f"    {name}: {numbers[0][name]:.4g} -> {numbers[1][name]:.4g}")
