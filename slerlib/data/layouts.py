"""Which data sets lie below a folder, and which image belongs to which: from names alone, no image is opened.

A list file counts first. Then each folder is compared with the places of `registry.toml`; photographs with a depth map
beside them, pairs of folders, and pairs of files in one folder, of any other name are the user's own sets. The rest are
clean photographs if the folder holds no set, and otherwise named as left out. The search itself is in search.py.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .registry import Entry, registry


@dataclass(frozen=True)
class Item:
    """One image of a set."""

    name: str  # of the degraded image, relative to the set's folder, with suffix; of the clean one where input is None
    input: Path | None  # of the task "depth" the depth map; None: a clean photograph, degraded by synthesis
    target: Path


@dataclass(frozen=True)
class ImageSet:
    """The images of one data set, task and split."""

    name: str  # key in the registry ("rain100l", "cbsd68"), or the folder's name for the user's own
    # "noise" for clean photographs, "depth" for those with a depth map, "kernel" for measured blur kernels; "rain",
    # "haze", "blur", "lowlight", a "+"-joined composite, an own class
    task: str
    split: str  # "train" or "test"; folders whose path states neither are for training
    items: tuple[Item, ...]

    @property
    def paired(self) -> bool:
        """Whether degraded images, or depth maps, are there; otherwise the clean ones are degraded by synthesis."""
        return bool(self.items) and all(item.input is not None for item in self.items)


@dataclass(frozen=True)
class Problem:
    """A fault, or images that are left out."""

    path: Path
    kind: str  # such as "missing-partner"
    message: str  # one sentence or two: what is wrong, what to do


@dataclass(frozen=True)
class DataFolder:
    """The sets and problems below a folder."""

    layout: str  # "A" (PromptIR, AdaIR), "B" (MoCE-IR), "C" (downloads), "list", "pairs" or "clean": of most images
    root: Path
    sets: tuple[ImageSet, ...]
    problems: tuple[Problem, ...]


def recognise(root: str | os.PathLike) -> DataFolder:
    """The data sets below `root`: a folder, which may be a part of a layout (Train, or Train/Derain), or a list file.

    Raises UserError for no folder, a folder without images and a list with a fault. Everything else is a `Problem`.
    """
    from . import beside
    from .search import Search

    search = Search(root)
    search.listed()
    search.known_sets()
    beside.kernels(search)
    beside.depth_maps(search)
    search.own_pairs()
    search.pairs_in_one_folder()
    search.unused_targets()
    search.lone_folders()
    search.leftovers()
    layout = search.layouts.most_common(1)[0][0] if search.layouts else "clean"
    sets = [_image_set(*key, items) for key, items in search.sets.items()]
    problems = sorted(search.problems, key=lambda problem: (problem.path, problem.kind))
    return DataFolder(layout, search.root, tuple(sorted(sets, key=_order)), tuple(problems))


def _image_set(name: str, task: str, split: str, rows: list[tuple[Path, Path | None, Path]]) -> ImageSet:
    """A set from (folder, degraded, clean) rows; names are relative to what its folders have in common."""
    base = Path(os.path.commonpath([folder for folder, _, _ in rows])) if rows else Path()
    items = [Item((degraded or clean).relative_to(base).as_posix(), degraded, clean) for _, degraded, clean in rows]
    return ImageSet(name, task, split, tuple(sorted(items, key=lambda item: item.name)))


def _order(one: ImageSet) -> tuple:
    names = [*registry(), one.name]
    return one.split == "test", names.index(one.name), one.name, one.task


def missing_sets(data: DataFolder) -> list[Entry]:
    """Sets of the three- and five-task settings that have a place in this layout and are not here."""
    names = {one.name for one in data.sets}
    places = data.layout in ("A", "B")
    return [entry for entry in registry().values() if places and entry.core and entry.name not in names]
