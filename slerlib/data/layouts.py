"""Which data sets lie below a folder, and which image belongs to which: from names alone, no image is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Item:
    """One image of a set."""

    name: str  # of the damaged image, relative to its folder, with suffix; of the clean one where input is None
    input: Path | None  # None: a clean photograph, degraded by synthesis
    target: Path


@dataclass(frozen=True)
class ImageSet:
    """The images of one data set, split and task."""

    name: str  # key in the registry ("rain100l", "cbsd68"), or the folder's name for the user's own
    task: str  # "noise", "rain", "haze", "blur", "lowlight", a "+"-joined composite, or an unknown pair's folder name
    split: str  # "train" or "test"
    items: tuple[Item, ...]

    @property
    def paired(self) -> bool:
        """Whether damaged images are there; otherwise the clean ones are degraded by synthesis."""
        return bool(self.items) and all(item.input is not None for item in self.items)


@dataclass(frozen=True)
class Problem:
    """Something wrong or left out."""

    path: Path
    kind: str  # such as "missing-partner"
    message: str


@dataclass(frozen=True)
class Found:
    """What lies below a folder."""

    layout: str  # "A" (PromptIR, AdaIR), "B" (MoCE-IR), "C" (original downloads), "pairs" or "clean"
    root: Path
    sets: tuple[ImageSet, ...]
    problems: tuple[Problem, ...]


def recognise(root) -> Found:
    """The data sets below `root`. Raises UserError for no folder and for a folder without images."""
    raise NotImplementedError
