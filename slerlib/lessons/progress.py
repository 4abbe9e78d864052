"""What a learner has done so far: one JSON file outside the notebooks, so that the clone stays clean.

The folder is $SLERLIB_COURSE, else `slerlib` in the data folder of the person ($XDG_DATA_HOME or ~/.local/share).
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path

from ..errors import UserError
from ..files import read_json, write_atomic

_ROWS = {"exercises": {"solved"}, "predictions": {"guess", "measured", "unit", "result", "close"}}
_memory: dict[Path, dict] = {}  # of folders that take no file


def file() -> Path:
    """Where the progress is kept."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("SLERLIB_COURSE") or Path(data) / "slerlib") / "course.json"


def read(lesson: str) -> dict[str, dict]:
    """`{"exercises": {name: ...}, "predictions": {name: ...}}` of a lesson, for example "04".

    Raises UserError for a file that is damaged.
    """
    return _all().get(lesson, {"exercises": {}, "predictions": {}})


def change(lesson: str, edit: Callable[[dict], object]) -> None:
    """Edit a lesson's entry and write the file. A disk that takes no file is a warning: the course goes on."""
    everything, path = _all(), file()
    edit(everything.setdefault(lesson, {"exercises": {}, "predictions": {}}))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(everything, indent=1))
    except OSError as error:
        if path not in _memory:
            warnings.warn(
                f"{path.parent} takes no file ({error.strerror}), so progress is lost. Set SLERLIB_COURSE to a folder.",
                stacklevel=4,
            )
        _memory[path] = everything


def _all() -> dict:
    path = file()
    if path in _memory:
        return _memory[path]
    if not path.is_file():
        return {}
    lessons = read_json(path, "The progress of the course", repair="Delete it to start anew.")
    if bad := [name for name, lesson in lessons.items() if not _whole(lesson)]:
        raise UserError(
            f"The progress of the course has whole exercises and predictions for each lesson; in {path} these lessons "
            f"are damaged: {', '.join(bad)}. Delete it to start anew."
        )
    return lessons


def _whole(lesson) -> bool:
    return isinstance(lesson, dict) and all(
        isinstance(lesson.get(part), dict)
        and all(isinstance(row, dict) and keys <= row.keys() for row in lesson[part].values())
        for part, keys in _ROWS.items()
    )
