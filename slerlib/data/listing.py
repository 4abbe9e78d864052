"""Pairs that a list file names: pairs.csv or pairs.jsonl in the folder of the data, or any such file as --data. [ours]

    input,target,task,split
    scans/0001_old.jpg,scans/0001_fixed.jpg,scanner,train
    night/*_dark.png,night/*_long.png,lowlight,test       a pattern: what * stands for is the same on both sides

Paths are relative to the file. `task` and `split` may be left out; a row without input is a clean photograph.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError
from ..files import no_file

NAMES = ("pairs.csv", "pairs.jsonl")
LISTS = (".csv", ".jsonl")
COLUMNS = ("input", "target", "task", "split")


def list_file(root: Path) -> Path | None:
    """The list that `root` is or holds. Raises UserError for a folder with two."""
    if root.is_file():
        return root
    files = [root / name for name in NAMES if (root / name).is_file()]
    if len(files) > 1:
        raise UserError(f"One list names the pairs of a folder; {root} has {' and '.join(NAMES)}. Remove one of them.")
    return files[0] if files else None


def read_list(file: Path) -> list[dict]:
    """Rows of absolute `input` (or None) and `target`, with `task` and `split` (or None); patterns are spelt out.

    Raises UserError for a file that is no such list, and for a row that names no file, with its number.
    """
    rows = []
    for number, row in _rows(file):
        unknown = sorted(set(row) - set(COLUMNS), key=str)
        target, split = str(row.get("target") or "").strip(), str(row.get("split") or "").strip().lower()
        if unknown or not target or split not in ("", "train", "test"):
            fault = f"has {unknown[0]!r}" if unknown else "has no target" if not target else f"has split {split!r}"
            raise UserError(
                f"A list of pairs has the columns {', '.join(COLUMNS)}, of which only target must be filled, and split "
                f"is train or test; row {number} of {file} {fault}. Correct the row."
            )
        more = {"task": str(row.get("task") or "").strip() or None, "split": split or None}
        pairs = list(_spelt_out(file.parent, str(row.get("input") or "").strip(), target))
        if lost := [path for pair in pairs for path in pair if path and not path.is_file()] or (
            [] if pairs else [target]
        ):
            raise UserError(
                f"Each row of a list of pairs names images that exist, relative to the list; row {number} of {file} "
                f"names {lost[0]}, which does not. Correct the path."
            )
        rows += [{"input": a, "target": b, **more} for a, b in pairs]
    return rows


def _rows(file: Path) -> Iterator[tuple[int, dict]]:
    """(number of the line, its values)."""
    if fault := no_file(file):
        raise UserError(f"A list of pairs is a file of text; {file} {fault}. Remove it.")
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".jsonl":
            for number, line in enumerate(text.splitlines(), 1):
                if line.strip():
                    row = json.loads(line)
                    yield number, row if isinstance(row, dict) else {type(row).__name__: row}
            return
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"A list of pairs is CSV or, as .jsonl, a JSON object a line; {file} is not: {error}."
        ) from None
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    for row in reader:
        yield reader.line_num, {key or "too many values": value for key, value in row.items()}


def _spelt_out(root: Path, input_: str, target: str) -> Iterator[tuple[Path | None, Path]]:
    """The pairs of a row. A `*` stands for anything but a separator, and for the same on both sides."""
    target, parts = os.path.normpath(target), os.path.normpath(target).split("*")
    pattern = re.compile(r"([^/\\]*)".join(map(re.escape, parts)))
    names = sorted(glob.glob("*".join(map(glob.escape, parts)), root_dir=root)) if len(parts) > 1 else [target]
    for name in names:
        groups = iter(pattern.fullmatch(name).groups())
        mine = re.sub(r"\*", lambda _, groups=groups: next(groups, "*"), input_)
        yield Path(os.path.normpath(root / mine)) if mine else None, Path(os.path.normpath(root / name))
