"""Images below a folder, and which input belongs to which target: by names alone, nothing is opened. [ours]"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import UserError
from ..images.files import SUFFIXES
from .words import side


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether a path below a folder, or a folder between the two, has a name with a dot in front."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def image_files(folder: Path) -> list[Path]:
    """Image files below a folder, sorted by path, hidden ones and those in hidden folders left out.

    Raises UserError where there is no image.
    """
    files = [p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file() and not is_hidden(p, folder)]
    if not files:
        raise UserError(f"A folder of images ({', '.join(SUFFIXES)}) is needed; {folder} holds none. Check the path.")
    return sorted(files)


MOST_LINKS = 4  # on the way to a folder; folders that are linked to each other have as many ways as orders


def image_folders(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    """(folder, image files) below the root, sorted, hidden ones left out; links are followed, but not back upwards.

    Raises UserError where more than `MOST_LINKS` links, each in the folder that the last one leads to, lead to one.
    """
    around = {os.path.dirname(root): (frozenset(map(str, Path(os.path.realpath(root)).parents)), -1)}
    for place, folders, names in os.walk(root, followlinks=True):
        real, (outer, links) = os.path.realpath(place), around[os.path.dirname(place)]
        if real in outer:
            folders.clear()
            continue
        links = links + os.path.islink(place) if links >= 0 else 0  # the root itself may be a link
        if links > MOST_LINKS:
            raise UserError(
                f"Up to {MOST_LINKS} links may follow each other on the way to a folder; {place} has {links}. Are "
                "folders linked to each other? Remove those links."
            )
        around[place] = outer | {real}, links  # what a link below this folder must not lead to
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        images = sorted(n for n in names if not n.startswith(".") and Path(n).suffix.lower() in SUFFIXES)
        yield Path(place), [Path(place) / name for name in images]


def partners(inputs: Sequence[Path], folder: Path, targets: Iterable[Path], target_folder: Path) -> list[Path | None]:
    """The target of each input, or None. Names are relative to the two folders.

    The first rule that finds a target counts: the same name; the same stem; "no" in front (rain-1, norain-1); the same
    words but for those that name a side (1_hazy, 1_GT), where one target alone has them; the same for the part of the
    stem before a separator, longest first (0025_0.8_0.04 -> 0025).
    """
    names, stems, keys = {}, {}, {}
    for target in targets:
        name = target.relative_to(target_folder)
        stems[_text(name.with_suffix(""))] = names[_text(name)] = target
        keys.setdefault(_key(name), []).append(target)
    names = {**stems, **names}

    def find(file: Path) -> Path | None:
        name = file.relative_to(folder)
        stem = name.with_suffix("")
        for option in (name, stem, stem.with_name("no" + stem.name)):
            if _text(option) in names:
                return names[_text(option)]
        cuts = [match.start() for match in re.finditer(r"[ _.-]", stem.name) if match.start()]
        for part in (stem.name, *(stem.name[:cut] for cut in reversed(cuts))):
            options = keys.get(_key(stem.with_name(part + ".x")), ())
            if len(options) == 1:
                return options[0]
            if options:
                return None
        return None

    return [find(file) for file in inputs]


def _text(name: Path) -> str:
    """A name for comparison: an umlaut is one letter, as on Linux, or two signs, as on a Mac."""
    return unicodedata.normalize("NFC", name.as_posix())


def _key(name: Path) -> tuple:
    return _text(name.parent), side(name.stem)[1]


def pairs_within(files: Sequence[Path]) -> dict[Path, Path]:
    """Input -> target among the files of one folder: names of the same words but for those that name a side.

    IMG_1_old and IMG_1_fixed, 01_hazy and 01_GT; also IMG_1 with IMG_1_gt, and IMG_1 with IMG_1_noisy. Empty where not
    at least half of the files have a partner so: other words in names are chance.
    """
    groups: dict[tuple, dict[str | None, list[Path]]] = {}
    for file in files:
        kind, key, _ = side(file.stem)
        groups.setdefault(key, {}).setdefault(kind, []).append(file)
    pairs = {}
    for group in groups.values():
        targets = group.get("target") or group.get(None, [])
        inputs = group.get("input") or group.get(None, [])
        if len(targets) == 1 and targets != inputs:
            pairs |= {file: targets[0] for file in inputs}
    return pairs if 2 * len({*pairs, *pairs.values()}) >= len(files) else {}
