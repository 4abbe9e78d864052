"""The folder of a run: run.json, the lock that says whether the run is alive, and what a killed run left behind.

A run belongs to the process that holds its lock, runs/.locks/<name>-<key>.lock. The system frees the lock when that
process ends, however it ends, so no clock and no process number is asked. The lock decides across machines as well: a
shared disk passes it on (NFS does). Where a disk shares files and not locks, give every machine an --out of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import UserError
from ..files import leftovers, read_json, write_atomic

STATES = {
    "running": "is running",
    "done": "finished",
    "failed": "failed: a cell raised an error",
    "killed": "was stopped before its end",
}
_TYPES = {"state": str, "name": str, "key": str, "parameters": dict, "started": str, "process": dict, "resume": str}
_TYPES |= {"provenance": dict, "source_sha256": str, "wall_seconds": (int, float, type(None))}
#: Kept free during a run, so that a full disk has room for run.json and a page at the end.
ROOM, ROOM_BYTES = ".room", 1 << 18
PATIENCE, FOREVER = 3, -1  # seconds to wait for a lock; another start holds it for a moment to settle a killed run


def read_runs(runs: Path) -> list[dict]:
    """The record of every run below `runs`, with its "folder"; a run.json that is damaged or foreign does not count."""
    records = (read_record(path.parent) for path in sorted(runs.glob("*/run.json")) if path.is_file())
    return [record for record in records if record]


def read_record(folder: Path) -> dict | None:
    """The record of one run, with its "folder"; None where run.json is missing, damaged or foreign."""
    with suppress(UserError):
        record = {"wall_seconds": None} | read_json(folder / "run.json", "A record", _TYPES.keys() - {"wall_seconds"})
        whole = all(isinstance(record[key], kind) for key, kind in _TYPES.items()) and record["state"] in STATES
        if whole and re.fullmatch(r"[^/\\]+", record["name"] + record["key"]):  # they name the lock
            return record | {"folder": folder}
    return None


def save(folder: Path, record: dict) -> None:
    """Write run.json."""
    plain = {key: value for key, value in record.items() if key != "folder"}
    write_atomic(folder / "run.json", json.dumps(plain, indent=2) + "\n")


@contextmanager
def held(runs: Path, name: str, patience: float = 0) -> Iterator[bool]:
    """Hold a lock of a folder of runs; yields False where another process holds it. Raises OSError on a bad disk."""
    (runs / ".locks").mkdir(exist_ok=True)
    lock = FileLock(runs / ".locks" / f"{name}.lock", timeout=patience)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def settle(runs: Path) -> None:
    """Finish what a killed process left: a run that still states running was killed; a run without a page gets one."""
    for record in read_runs(runs):
        folder = record["folder"]
        with suppress(Exception):  # a record changed by hand, or a full disk, blocks no other report
            if record["state"] == "running" or not (folder / "index.html").exists():
                with held(runs, f"{record['name']}-{record['key']}") as free:
                    if free and (latest := read_record(folder)):  # it may have ended since the first look
                        _finish(folder, latest)


def _finish(folder: Path, record: dict) -> None:
    from . import kernel, manifest, page

    clear(folder)
    if record["state"] == "running":
        outcome = kernel.Outcome("killed")
        kernel.read_cells(folder / "notebook.ipynb", outcome)
        message = "The process that ran the report is gone: killed, out of memory, or the machine went down."
        outcome.error = (outcome.error or {}) | {"kind": "Killed", "message": message}
        record |= outcome.facts()
        save(folder, record)
    page.write_page(folder, record)
    if not (folder / manifest.MANIFEST).exists():  # else the page must be as it was
        manifest.write_manifest(folder)


def clear(folder: Path) -> None:
    """Remove what only a running report needs, and what a killed one left half-written."""
    for path in [folder / ROOM, *leftovers(folder)]:
        path.unlink(missing_ok=True)


def new_folder(runs: Path, name: str, key: str) -> Path:
    """Make <date>-<name>-<key>, or that with a number where it is taken: earlier runs keep their files."""
    first = f"{datetime.now():%Y-%m-%d}-{name}-{key}"
    for number in count(1):
        folder = runs / (first if number == 1 else f"{first}-{number}")
        if folder.is_dir() and {path.name for path in folder.iterdir()} <= {ROOM, *(p.name for p in leftovers(folder))}:
            clear(folder)  # of a start that was killed before it wrote a record
            return folder
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
