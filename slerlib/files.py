"""Files written whole or not at all, our own JSON files read, and hashes of files and folders.

A kill at any moment leaves the old file or the new one, never half of one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from .errors import UserError

PACKAGE = Path(__file__).resolve().parent


def clone_root() -> Path | None:
    """The folder of the source tree this package runs from, or None when it is installed as a wheel."""
    root = PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "notebooks").is_dir() else None


# --- our own JSON files


def read_json(path: Path, what: str, keys: Iterable[str] = (), repair: str = "Copy the file again.") -> dict:
    """The object in a JSON file that slerlib wrote, checked for the keys it must have.

    what: the kind of file, for the message: "A card". repair: the next step of the message.
    Raises UserError for a file that cannot be read, is not UTF-8 or JSON, is not an object, or lacks a key.
    """
    rule = f"{what} is a JSON file with an object of keys; {path}"
    if fault := no_file(path):
        raise UserError(f"{rule} {fault}. {repair}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{rule} cannot be read ({error.strerror}). {repair}") from None
    except UnicodeDecodeError:
        raise UserError(f"{rule} is not text (UTF-8). {repair}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{rule} is not valid JSON ({error}). {repair}") from None
    if not isinstance(values, dict):
        raise UserError(f"{rule} holds a {type(values).__name__}. {repair}")
    if lacking := [key for key in keys if key not in values]:
        raise UserError(f"{rule} lacks {', '.join(lacking)}. {repair}")
    return values


def no_file(path: Path) -> str:
    """Why a path that exists is not one of a file: reading a pipe would wait for ever; "" for a file or no path."""
    try:
        if path.is_dir():
            return "is a folder"
        return "is a device or a pipe" if path.exists() and not path.is_file() else ""
    except OSError as error:  # a name that is too long, a link to itself
        return f"cannot be read ({error.strerror})"


# --- writing


#: What the system's error numbers mean for a person who waits for a file.
DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of disk space is used up",
    errno.EROFS: "the disk is read-only",
    errno.EFBIG: "the file would be larger than allowed",
    errno.ENAMETOOLONG: "the name is longer than the disk allows (255 bytes, most often)",
    errno.ELOOP: "a link leads back to itself",
}


def unwritable(rule: str, path: Path, error: OSError, repair: str = "Choose another folder.") -> UserError:
    """The error to raise where a disk takes no file, in plain words.

    rule: what is written where: "Reports are written to a folder".
    """
    reason = DISK.get(error.errno, "it cannot be written")
    return UserError(f"{rule}; for {path} {reason} ({error.strerror or error}). {repair}")


@contextlib.contextmanager
def renamed_together(*paths: Path) -> Iterator[list[Path]]:
    """Temporary files, one for each path; all take their final names at the end, or all vanish after an error."""
    parts = [path.with_name(f".{uuid.uuid4().hex}.part") for path in paths]  # see leftovers
    try:
        yield parts
        for part, path in zip(parts, paths, strict=True):  # all are complete: hardly a moment between the renames
            os.replace(part, path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes | str | Callable[[IO[bytes]], object]) -> Path:
    """Write bytes, text (as UTF-8) or what a function writes into an open file. Raises OSError where it cannot."""
    with renamed_together(path) as (part,), open(part, "wb") as file:
        if callable(content):
            content(file)
        else:
            file.write(content.encode() if isinstance(content, str) else content)
    return path


def leftovers(folder: Path) -> list[Path]:
    """Temporary files of writers that were killed; those of live ones too, so ask only under the folder's lock."""
    return [path for path in folder.glob(".*.part") if re.fullmatch(r"\.[0-9a-f]{32}\.part", path.name)]


def save_arrays(path: Path, /, **arrays: np.ndarray) -> Path:
    """Write one .npz file; its folder is made. An array may be called path, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_atomic(path, lambda file: np.savez(file, **arrays))


def check_name(path: Path) -> None:
    """Raise UserError for a name that no disk takes."""
    try:
        path.exists()
    except OSError as error:
        raise unwritable("Results are written to a file", path, error, "Choose a shorter name.") from None
    if long := next((part for part in path.parts if len(os.fsencode(part)) > 255), None):
        raise UserError(
            f"A file name has at most 255 bytes; {long[:40]}... has {len(os.fsencode(long))}. Choose a shorter name."
        )


def check_json_output(path: Path, option: str, pictures: tuple[str, ...]) -> None:
    """Refuse a name for numbers that no file can have here, or that would replace a picture.

    pictures: suffixes of pictures. Raises UserError that names the option, before any work.
    """
    check_name(path)
    if not path.absolute().parent.is_dir():
        raise UserError(f"{option} is a file in an existing folder; {path.parent} does not exist. Create it first.")
    if path.is_dir():
        raise UserError(f"{option} is a file; {path} is a folder. Name a file in it: {path / 'results.json'}.")
    if fault := no_file(path):
        raise UserError(f"{option} is a file; {path} {fault}. Name another.")
    if path.suffix.lower() in pictures:
        raise UserError(
            f"{option} takes a JSON file, not a picture, which would be lost; got {path}. "
            f"Name it {path.stem}.json, for example."
        )


# --- hashes


def name_bytes(text: str) -> bytes:
    """UTF-8 of a text with file names, also of names whose bytes are not UTF-8 (umlauts of an old disk)."""
    return text.encode(errors="surrogateescape")


def sha256_file(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, 64 hex digits. Raises OSError when it cannot be read."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_folder(folder: str | os.PathLike, pattern: str = "*") -> str:
    """SHA-256 over the relative names and the bytes of the files below `folder` that match `pattern`, in name order.

    Hidden files and folders and `__pycache__` do not count. An empty folder has a hash too. Raises OSError for an
    unreadable file.
    """
    folder, total = Path(folder), hashlib.sha256()
    names = []
    for path in folder.rglob(pattern):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not hidden:
            names.append("/".join(parts))
    for name in sorted(names):
        total.update(name_bytes(f"{name}\0{sha256_file(folder / name)}\n"))
    return total.hexdigest()


def sha256_of(path: str | os.PathLike | None) -> str | None:
    """SHA-256 of a file or a folder; None for a name that is no path, such as "demo"."""
    if path is None or not os.path.exists(path):
        return None
    return sha256_folder(path) if os.path.isdir(path) else sha256_file(path)
