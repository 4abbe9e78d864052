"""Photographs that look like the degraded and the clean side of pairs, which nobody should train on as clean. [ours]

Names propose: folders whose files bear the same names, files of one folder of which one name begins another. Looks
decide, on small greyscale copies: the folders of a camera bear the same names and show different pictures.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from .layouts import DataFolder, Problem
from .likeness import NEAR, SAME, correlation, phash
from .registry import registry

LOOK = 16  # pairs of files that are looked at for two folders
WIDE = 64  # folders whose pictures are compared where the names differ, and files of each
ALIKE = 0.5  # correlation of small copies. Pairs of rain, haze, blur and low light: median 0.79 and more in each of ten
# sets; different pictures of the same sets: up to 0.69 in single cases
COPY = 2.0  # grey levels: two small copies that differ by less are one picture in two encodings, no degraded one
Small = Callable[[Path], np.ndarray | None]  # (64, 64) uint8 of a file, None for one that cannot be read


def looks_paired(data: DataFolder, small: Small) -> list[Problem]:
    """One problem for each folder of photographs that look paired; `small` gives the small copy of a file."""
    folders: dict[Path, list[Path]] = {}
    for file in (item.target for s in data.sets if s.name not in registry() for item in s.items if item.input is None):
        folders.setdefault(file.parent, []).append(file)
    problems = [*_within(folders, small), *_between(folders, small)]
    return list({problem.path: problem for problem in problems}.values())


def _within(folders: dict[Path, list[Path]], small: Small) -> Iterator[Problem]:
    """Files of one folder: one name begins another (im_0001, im_0001_s80), or both sides lie in one file."""
    for folder, files in folders.items():
        names = {file.stem: file for file in files}
        pairs = []
        for file in files:
            cuts = [match.start() for match in re.finditer(r"[ _.~()-]+", file.stem) if match.start()]
            short = next((names[file.stem[:cut]] for cut in reversed(cuts) if file.stem[:cut] in names), None)
            pairs += [(file, short)] if short else []
        many = 2 * len({file for pair in pairs for file in pair}) >= len(files)  # not an edited or repeated picture
        if many and (number := _alike(pairs[:LOOK], small)):
            a, b = pairs[0]
            yield _problem(folder, f"has files that look like the two sides of pairs, such as {a.name} and {b.name} "
                                   f"({number} of {len(pairs[:LOOK])} looked at).")  # fmt: skip
        copies = [copy for copy in map(small, files[:LOOK]) if copy is not None]
        halves = sum(_halves(copy) for copy in copies)
        if copies and halves > len(copies) / 2:
            yield _problem(folder, f"has files whose left and right half show one picture, such as {files[0].name} "
                                   f"({halves} of {len(copies)} looked at): cut them into two.")  # fmt: skip


def _between(folders: dict[Path, list[Path]], small: Small) -> Iterator[Problem]:
    """Two folders whose files correspond by their names, or else by their looks."""
    for (a, mine), (b, theirs) in itertools.combinations(folders.items(), 2):
        names = {file.stem: file for file in theirs}
        pairs = [(file, names[file.stem]) for file in mine if file.stem in names]
        if 2 * len(pairs) <= min(len(mine), len(theirs)):
            pairs = _by_looks(mine[:WIDE], theirs[:WIDE], small) if len(folders) <= WIDE else []
        if number := _alike(pairs[:LOOK], small):
            yield _problem(a, f"and {b.name} hold pictures that look like the two sides of pairs, such as "
                              f"{pairs[0][0].name} and {pairs[0][1].name} ({number} looked at).")  # fmt: skip


def _by_looks(mine: list[Path], theirs: list[Path], small: Small) -> list[tuple[Path, Path]]:
    """Pairs that show the same picture, where they are most of the smaller folder and at least 3."""
    sides = [[(file, small(file)) for file in files] for files in (mine, theirs)]
    sides = [[(file, copy, phash(copy)) for file, copy in rows if copy is not None] for rows in sides]
    pairs = []
    for file, copy, hashed in sides[0]:
        near = [other for other in sides[1] if np.bitwise_count(hashed ^ other[2]) <= NEAR]
        best = max(near, key=lambda other: correlation(copy, other[1]), default=None)
        if best is not None and correlation(copy, best[1]) >= SAME:
            pairs.append((file, best[0]))
    return pairs if len(pairs) >= 3 and 2 * len(pairs) > min(map(len, sides)) else []


def _alike(pairs: list[tuple[Path, Path]], small: Small) -> int:
    """How many of the pairs show one picture in two states, where these are at least half of those that differ."""
    copies = [(small(a), small(b)) for a, b in pairs]
    rows = [(a.astype(float), b.astype(float)) for a, b in copies if a is not None and b is not None]
    rows = [(a, b) for a, b in rows if np.sqrt(((a - b) ** 2).mean()) >= COPY]
    number = sum(correlation(a, b) >= ALIKE for a, b in rows)
    return number if 2 * number >= len(rows) else 0


def _halves(copy: np.ndarray) -> bool:
    """Whether the left half shows what the right one does, beyond brightness that changes from top to bottom."""
    halves = [half - half.mean(axis=1, keepdims=True) for half in np.split(copy.astype(float), 2, axis=1)]
    return correlation(*halves) >= 0.8


def _problem(folder: Path, text: str) -> Problem:
    return Problem(folder, "looks-paired", f"{folder.name} {text}")
