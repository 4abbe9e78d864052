"""Which data sets and mixtures an evaluation scores: the published settings, and the sets below any folder.

    chosen("data", "5")     # (its five columns as far as they are there, ["GoPro"])

A column is one data set under one task, and the average of a published setting is the mean over its columns [paper].
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..data.layouts import DataFolder, ImageSet, Item, recognise
from ..data.registry import matches, registry
from ..data.words import DEPTH, KERNEL
from ..errors import UserError

NOISE_LEVELS = (15, 25, 50)  # sigma in 0..255 of the noise put on clean test photographs
TITLES = {  # key in the registry -> name in tables
    "sots-outdoor": "SOTS-outdoor", "rain100l": "Rain100L", "cbsd68": "CBSD68", "gopro": "GoPro", "lol-v1": "LOL-v1",
    "cdd11": "CDD11", "kodak24": "Kodak24", "ddn": "DDN",
}  # fmt: skip
CDD11 = ("lowlight", "haze", "rain", "snow", "lowlight+haze", "lowlight+rain", "lowlight+snow", "haze+rain",
         "haze+snow", "lowlight+haze+rain", "lowlight+haze+snow")  # fmt: skip
MIXTURES = ("rain+blur", "haze+rain", "lowlight+noise25", "haze+noise15", "lowlight+rain", "blur+noise15",
            "lowlight+haze", "haze+rain+noise15")  # fmt: skip
SETTINGS: dict[str, tuple[tuple[str, str], ...]] = {  # published setting -> columns (key in the registry, task)
    "3": (("sots-outdoor", "haze"), ("rain100l", "rain"), *(("cbsd68", f"noise{sigma}") for sigma in NOISE_LEVELS)),
    "5": (("sots-outdoor", "haze"), ("rain100l", "rain"), ("cbsd68", "noise25"), ("gopro", "blur"),
          ("lol-v1", "lowlight")),
    "cdd11": tuple(("cdd11", task) for task in CDD11),
}  # fmt: skip
FATAL = ("missing-partner", "ambiguous-partner", "unreadable")  # a mean over the other images would be another mean


@dataclass(frozen=True)
class Column:
    """What one line of the summary is made from."""

    dataset: str  # name in tables
    task: str  # "noise15", "rain", ...
    items: tuple[Item, ...]  # at least one; items without an `input`, of noise columns, are degraded by synthesis


def column_title(name: str, task: str) -> str:
    """("cbsd68", "noise25") -> "CBSD68 noise25"; the task is left out where the set has but one."""
    title = TITLES.get(name, name)
    return f"{title} {task}" if name in ("cbsd68", "cdd11") else title


def chosen(root: str | os.PathLike, setting: str) -> tuple[list[Column], list[str]]:
    """The columns of a setting that are below `root`, and the titles of those that are missing.

    root: folder in one of the layouts of `slerlib.data.layouts`. setting: a key of SETTINGS, or "pairs": every test set
    and every pair of folders below root; those with "train" in their path only if there is nothing else.
    Raises UserError for a root without such sets, and for an image of a set to score without a partner.
    """
    if str(root) == "demo":
        raise UserError(
            f"setting={setting!r} scores the test sets in a folder; got 'demo', the bundled photographs. Name the "
            "folder of your data sets, or use setting='demo'."
        )
    data = recognise(root)
    scored = tuple(one for one in data.sets if one.task not in (DEPTH, KERNEL))  # those are for training
    data = replace(data, sets=scored)
    if setting == "pairs":
        sets, missing = _test_sets(data), []
        columns = [column for one in sets for column in _own_columns(one)]
        _need_pairs(data, sets)
    else:
        sets = [one for one in data.sets if one.split == "test"]
        items = {column: _items(sets, *column) for column in SETTINGS[setting]}
        columns = [Column(TITLES[name], task, items[name, task]) for name, task in items if items[name, task]]
        missing = [column_title(*column) for column in items if not items[column]]
    _no_faults(data, columns)
    if not columns:
        wanted = f"the test sets {', '.join(missing)}" if missing else "paired folders or clean photographs"
        there = ", ".join(f"{one.name} ({one.split})" for one in data.sets) or "no set of images"
        faults = "".join(f" {problem.message}" for problem in data.problems[:2])
        raise UserError(
            f"setting={setting!r} scores {wanted}; below {root} there is {there}.{faults} Check the folder, or use "
            "setting='pairs' for images of your own in input/ and target/, or 'demo' for clean photographs."
        )
    return columns, missing


def _need_pairs(data: DataFolder, sets: Sequence[ImageSet]) -> None:
    """Raise UserError if all sets are the user's own photographs: they would be scored under noise, not as pairs."""
    own = [one for one in sets if one.name not in registry()]
    if sets and len(own) == len(sets) and not any(item.input for one in sets for item in one.items):
        count = sum(len(one.items) for one in sets)
        raise UserError(
            f"setting='pairs' scores pairs of a degraded and a clean image; below {data.root} are {count} images "
            "without partners. Put the two sides into input/ and target/, or name the pairs in pairs.csv "
            "(data/README.md); for clean photographs, use setting='demo'."
        )


def _test_sets(data: DataFolder) -> list[ImageSet]:
    """All sets but those for training; an own set is for training only if its path names "train"."""
    filled = [one for one in data.sets if one.items]
    return [one for one in filled if one.split == "test" or not _for_training(data.root, one)] or filled


def _for_training(root: Path, one: ImageSet) -> bool:
    target = one.items[0].target
    parts = target.relative_to(root.parent).parts if target.is_relative_to(root.parent) else ()
    return one.name in registry() or any(matches(part.casefold(), "TRAIN") for part in parts)


def _own_columns(one: ImageSet) -> list[Column]:
    """A column of the pairs of a set, and three of its clean photographs, under noise."""
    paired, clean = (tuple(item for item in one.items if (item.input is None) == alone) for alone in (False, True))
    columns = [(one.task, paired), *((f"noise{sigma}", clean) for sigma in NOISE_LEVELS)]
    return [Column(TITLES.get(one.name, one.name), task, items) for task, items in columns if items]


def _items(sets: Sequence[ImageSet], name: str, task: str) -> tuple[Item, ...]:
    noise = task.startswith("noise")
    wanted = [one for one in sets if one.name == name and (noise or one.task == task)]
    return tuple(item for one in wanted for item in one.items if (item.input is None) == noise)


def _no_faults(data: DataFolder, columns: Sequence[Column]) -> None:
    """Raise UserError if an image was left out of a set to score."""
    folders = {path.parent for column in columns for item in column.items for path in (item.input, item.target) if path}
    faults = [problem for problem in data.problems if problem.kind in FATAL and problem.path.parent in folders]
    if faults:
        total = sum(problem.path.parent == faults[0].path.parent for problem in faults)
        raise UserError(
            f"Every image of a test set is scored, so each needs its partner; {faults[0].path}: {faults[0].message}"
            + (f" So do {total - 1} more in that folder." if total > 1 else "")
        )
