"""Images below a folder, and pairs by their names: which folder is the partner of which, which file of which."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..errors import UserError
from ..images.files import SUFFIXES

PAIRED = (  # names of (damaged, clean) folders side by side
    ("input", "target"),
    ("low", "high"),
    ("low", "gt"),
    ("low", "normal"),
    ("rainy", "gt"),
    ("rain", "norain"),
    ("hazy", "clear"),
    ("hazy", "gt"),
    ("blur", "sharp"),
)


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether a path below a folder, or a folder between the two, has a name with a dot in front."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def image_files(folder: Path) -> list[Path]:
    """Image files below a folder, sorted by path, hidden ones and those in hidden folders left out.

    Raises UserError for none.
    """
    files = [p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file() and not is_hidden(p, folder)]
    if not files:
        raise UserError(f"A folder of images ({', '.join(SUFFIXES)}) is needed; {folder} holds none. Check the path.")
    return sorted(files)


def walk(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    """(folder, image files) below the root, sorted, hidden ones left out; links are followed, but not back upwards."""
    around = {os.path.dirname(root): frozenset(map(str, Path(os.path.realpath(root)).parents))}
    for place, folders, names in os.walk(root, followlinks=True):
        real, outer = os.path.realpath(place), around[os.path.dirname(place)]
        if real in outer:
            folders.clear()
            continue
        around[place] = outer | {real}  # what a link below this folder must not lead to
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        images = sorted(n for n in names if not n.startswith(".") and Path(n).suffix.lower() in SUFFIXES)
        yield Path(place), [Path(place) / name for name in images]


def side_by_side(folders: Mapping[str, Path]) -> tuple[Path, Path] | None:
    """(damaged, clean) of the folders with these casefolded names, or None."""
    pair = next(((a, b) for a, b in PAIRED if a in folders and b in folders), None)
    return (folders[pair[0]], folders[pair[1]]) if pair else None


def stems(files: Iterable[Path], folder: Path) -> dict[str, Path]:
    """Relative path, and that without suffix, -> file, of files below a folder; the last of several with one stem."""
    names = [(file.relative_to(folder), file) for file in files]
    return {_key(n.with_suffix("")): file for n, file in names} | {_key(n): file for n, file in names}


def _key(name: Path) -> str:
    """A name for comparison: an umlaut is one letter, as on Linux, or two signs, as on a Mac."""
    return unicodedata.normalize("NFC", name.as_posix())


def partner(file: Path, folder: Path, clean: Mapping[str, Path]) -> Path | None:
    """The clean partner of a damaged file below `folder`, or None; `clean` is what `stems` gives.

    The same name, with the same suffix before another one, the part before the first "_" (0025_0.8_0.04 -> 0025), or
    with "no" in front (rain-1 -> norain-1).
    """
    name = file.relative_to(folder)
    stem = name.with_suffix("")
    options = name, stem, stem.with_name(stem.name.partition("_")[0] or stem.name), stem.with_name("no" + stem.name)
    return next((clean[_key(option)] for option in options if _key(option) in clean), None)
