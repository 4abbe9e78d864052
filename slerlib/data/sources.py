"""The images of a training: clean photographs, real pairs, how often each set counts, held-out scenes.

    sources = Sources.of("data/Train")              any layout that `slerlib.data.layouts` knows, or clean images
    training, held_out = sources.hold_out(24)
    training.pairs("rain")[0]                       (input, target), uint8 (3, H, W) each

Only sets of the training split are taken. Clean photographs (task "noise") are degraded by synthesis; where there are
no photographs, the clean sides of the pairs are. Photographs with a depth map (task "depth") serve haze alone.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..files import name_bytes
from .decode import GIB, Cache, Files
from .degrade import DEGRADATIONS, MADE
from .likeness import SIDE, picture_numbers, small_copy
from .problems import SCENES
from .words import DEPTH

ENDS = 1 << 16  # bytes at each end of a file by which it is recognised
CLEAN = "noise"  # the task of clean photographs, as the layouts name it


@dataclass(frozen=True)
class Source:
    """One data set. Images are uint8 (3, H, W). `inputs` are the degraded sides of real pairs, None for photographs,
    depth maps (H, W) for the task DEPTH."""

    name: str
    task: str  # CLEAN, DEPTH, or the class that its pairs belong to
    names: tuple[str, ...]
    targets: Sequence[Tensor]
    inputs: Sequence[Tensor] | None = None
    repeats: int = 1
    loose: bool = False  # depth maps that do not lie on their photographs

    def __len__(self) -> int:
        return len(self.names)

    def pair(self, index: int) -> tuple[Tensor | None, Tensor]:
        """(degraded, depth map or None; clean). Raises UserError when their sizes differ."""
        target = self.targets[index]
        if self.inputs is None:
            return None, target
        if (degraded := self.inputs[index]).shape[-2:] != target.shape[-2:]:
            sizes = " and ".join(f"{x.shape[-1]}x{x.shape[-2]}" for x in (degraded, target))
            raise UserError(
                f"The two images of a pair must have the same size; {self.names[index]!r} of {self.name} has {sizes}. "
                "Remove the pair, or cut both to the same place."
            )
        return degraded, target

    def subset(self, indices: Sequence[int]) -> Source:
        def take(images):
            if isinstance(images, Files):
                return type(images)([images.paths[i] for i in indices], images.cache)
            return None if images is None else [images[i] for i in indices]

        names = tuple(self.names[i] for i in indices)
        return replace(self, names=names, targets=take(self.targets), inputs=take(self.inputs))

    def scenes(self) -> list[list[int]]:
        """Indices of the items, those with the same clean image together (the same file, links followed)."""
        keys = range(len(self))
        if isinstance(self.targets, Files):
            real = {path: os.path.realpath(path) for path in set(self.targets.paths)}
            keys = [real[path] for path in self.targets.paths]
        groups: dict = {}
        for index, key in enumerate(keys):
            groups.setdefault(key, []).append(index)
        return list(groups.values())


class Pool(Sequence):
    """The sets of one class as one sequence that holds every item as often as its set is repeated."""

    def __init__(self, sets: Sequence[Source]):
        self.sets = tuple(sets)
        self.ends = np.cumsum([0] + [len(s) * s.repeats for s in sets])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def locate(self, index: int) -> tuple[int, int]:
        """(number of the set, number of the item in it)."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        at = int(np.searchsorted(self.ends, index, side="right")) - 1
        return at, int(index - self.ends[at]) % len(self.sets[at])

    def __getitem__(self, index: int) -> tuple:
        at, item = self.locate(index)
        return self.sets[at].pair(item)

    def shuffled(self, number: int, *key: int) -> tuple:
        """Item `number` of an endless sequence that shows all items before it repeats one; `key` seeds it."""
        turn, position = divmod(number, len(self))
        return self[int(_order(len(self), *key, turn)[position])]


@functools.lru_cache(maxsize=32)
def _order(size: int, *key: int) -> np.ndarray:
    return np.random.default_rng(key).permutation(size)


class Sources:
    """All sets of a training run. Raises UserError for fewer than 2 clean images."""

    def __init__(
        self,
        sets: Sequence[Source],
        origin: str,
        layout: str = "in memory",
        notes: tuple[str, ...] = (),
        tests: tuple[str, ...] = (),
        replay: bool = False,
        kernels: tuple[tuple[str, Tensor], ...] = (),
    ):
        self.sets, self.origin, self.layout = tuple(s for s in sets if len(s)), origin, layout
        self.kernels = kernels  # (name, (k, k) kernel): measured, for blur
        self.replay = replay  # the clean sides of pairs count as photographs, too
        self.notes, self.tests = notes, tests  # images left out, and test sets beside the training sets
        if len(self.clean) < 2:
            raise UserError(
                f"Training needs at least 2 photographs; {origin} has {len(self.clean)}. "
                "Point --data at a folder of clean images, or of pairs."
            )

    @functools.cached_property
    def clean(self) -> Pool:
        """The clean images that are degraded by synthesis."""
        own = [s for s in self.sets if s.task == CLEAN]
        if own and not self.replay:
            return Pool(own)
        return Pool(own + [replace(s, inputs=None, repeats=1) for s in self.sets if s.task not in (CLEAN, DEPTH)])

    @functools.cached_property
    def depths(self) -> Pool | None:
        """(depth map, photograph) of all photographs with a map; None where no photograph has one."""
        sets = [s for s in self.sets if s.task == DEPTH]
        return Pool(sets) if sets else None

    @functools.cached_property
    def aligned(self) -> Pool | None:
        """Those of `depths` whose map lies on the photograph."""
        sets = [s for s in self.sets if s.task == DEPTH and not s.loose]
        return Pool(sets) if sets else None

    @functools.cached_property
    def _pairs(self) -> dict[str, Pool]:
        real = [s for s in self.sets if s.task not in (CLEAN, DEPTH)]
        return {task: Pool([s for s in real if s.task == task]) for task in dict.fromkeys(s.task for s in real)}

    def pairs(self, task: str) -> Pool | None:
        """Real pairs of a class; None for a class without."""
        return self._pairs.get(task)

    def __len__(self) -> int:
        return sum(map(len, self.sets))

    def __iter__(self) -> Iterator[Source]:
        return iter(self.sets)

    @classmethod
    def photographs(cls, images: Sequence[Tensor], names: Sequence[str], origin: str) -> Sources:
        """Clean photographs in memory, uint8 (3, H, W)."""
        return cls([Source(origin, CLEAN, tuple(names), list(images))], origin)

    @classmethod
    def of(
        cls,
        data: str | Path | Sources | None,
        budget: float = 2 * GIB,
        allow: Collection[str] = (),
        depth: bool = False,
        kernels: bool = False,
    ) -> Sources:
        """A folder in any known layout, or the bundled photographs for None.

        Images are decoded now if all of them fit into `budget` bytes, and otherwise each when it is used.
        allow: kinds of errors, or names of files and folders with an error, to train in spite of (`problems.py`).
        depth: take photographs with a depth map, too; without it they count only where there is nothing else.
        kernels: take measured blur kernels.
        Raises UserError for a folder without images, and with the path of a damaged, unfit or unused file.
        """
        if isinstance(data, Sources):
            return data
        if data is None:
            from .scenes import photographs

            scenes = photographs()
            images = [(s.image * 255).round().to(torch.uint8) for s in scenes]
            return cls.photographs(images, [s.name for s in scenes], "bundled photographs")
        from .folder import sources_below

        return sources_below(Path(data), Cache(budget), allow, depth, kernels)

    def with_repeats(self, repeats: dict[str, int]) -> Sources:
        """`repeats` by the name of a set, or by task; a task that has no set here is allowed."""
        names = {s.name for s in self.sets} | {s.task for s in self.sets} | set(DEGRADATIONS)
        if unknown := sorted(set(repeats) - names):
            raise UserError(
                f"data.repeats names a set ({', '.join(s.name for s in self.sets)}) or a task "
                f"({', '.join(DEGRADATIONS)}); got {unknown[0]!r}."
            )
        sets = [replace(s, repeats=repeats.get(s.name, repeats.get(s.task, 1))) for s in self.sets]
        return Sources(sets, self.origin, self.layout, self.notes, self.tests, self.replay, self.kernels)

    def hold_out(self, count: int) -> tuple[Sources, Sources]:
        """(training, held out): a fixed shuffle holds out scenes of every set, for the anchors.

        About `count` of all photographs are held out: at most a quarter of a set of photographs, at most an eighth of a
        set of pairs (a clean image with all its inputs), and at least 2 of the largest clean set. If several sets share
        a photograph (Rain100L has backgrounds of BSDS500), it is held out of all of them. Shared photographs are taken
        last, so that a set gives more than its part only where it must. Photographs with a depth map change nothing for
        the other sets: an eighth of them is held out, and what shows a picture that is held out already.
        """
        main = [s for s in self.sets if s.task == CLEAN] or [s for s in self.sets if s.task != DEPTH]
        total, largest = sum(map(len, main)), max(main, key=len)
        if total < 4:
            raise UserError(
                f"Anchors need 2 photographs and training 2 more; {self.origin} has {total}. Add clean images."
            )
        scenes = []  # of each set: (picture, items) in the order of its shuffle
        for groups, shown in zip(*self._pictures(), strict=True):
            order = np.random.default_rng(0).permutation(len(groups))
            scenes.append([(shown[i], groups[i]) for i in order])
        others = [mine for s, mine in zip(self.sets, scenes, strict=True) if s.task != DEPTH]
        owners = Counter(picture for mine in others for picture in {picture for picture, _ in mine})
        out: set[int] = set()  # pictures that are held out
        turns = {CLEAN: 1, DEPTH: 2}  # after the pairs: photographs held out with them count
        for s, mine in sorted(zip(self.sets, scenes, strict=True), key=lambda pair: turns.get(pair[0].task, 0)):
            if s.task == CLEAN:
                quota = min(round(count * len(s) / total), len(mine) // 4)
            else:
                quota = min(count, len(mine) // 8)
                if s.task not in (*MADE, DEPTH) and len(mine) >= SCENES:  # only real pairs can validate such a class
                    quota = max(quota, 1)
            quota = max(quota, 2 if s is largest else 0) - sum(picture in out for picture, _ in mine)
            free = sorted((p for p, _ in mine if p not in out), key=lambda picture: owners[picture] > 1)
            if s.task == DEPTH:
                free = [picture for picture in free if not owners[picture]]
            out.update(free[: max(quota, 0)])

        def part(held_out: bool) -> Sources:
            chosen = [[i for picture, items in mine if (picture in out) == held_out for i in items] for mine in scenes]
            sets = [s.subset(items) for s, items in zip(self.sets, chosen, strict=True)]
            return Sources(sets, self.origin, self.layout, replay=self.replay, kernels=self.kernels)

        return part(False), part(True)

    def _pictures(self) -> tuple[list[list[list[int]]], list[np.ndarray]]:
        """Scenes of each set, and the number of the picture that each scene shows, one number over all sets.

        With several sets every clean image is read once, some milliseconds each; in a single set files are enough.
        """
        scenes = [s.scenes() for s in self.sets]
        ends = np.cumsum([len(groups) for groups in scenes])
        shown = np.arange(ends[-1])
        if len(self.sets) > 1:
            firsts = [(s.targets, group[0]) for s, groups in zip(self.sets, scenes, strict=True) for group in groups]
            with ThreadPoolExecutor(torch.get_num_threads()) as pool:
                shown = picture_numbers(list(pool.map(lambda first: _small(*first), firsts)))
        return scenes, np.split(shown, ends[:-1])

    def fingerprint(self) -> str:
        """sha256 over the names of sets and items, the pixels of images in memory, and of each file its size and its
        first and last 64 KiB: enough to notice other photographs of the same name and size, and much faster than
        reading whole files."""
        digest = hashlib.sha256()
        for s in self.sets:
            digest.update(name_bytes(f"{s.name}\0{s.task}\0{len(s)}\0"))
            for name in s.names:
                digest.update(name_bytes(f"{name}\0"))
            for side in (s.targets, s.inputs or ()):
                for image in side.paths if isinstance(side, Files) else side:
                    digest.update(_ends(image) if isinstance(image, Path) else image.numpy().tobytes())
        for name, kernel in self.kernels:
            digest.update(name_bytes(f"{name}\0") + kernel.numpy().tobytes())
        return digest.hexdigest()


def _ends(path: Path) -> bytes:
    """The size of a file and its first and last 64 KiB."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        first = file.read(ENDS)
        file.seek(max(size - ENDS, len(first)))
        return f"{size}\0".encode() + first + file.read(ENDS)


def _small(images: Sequence[Tensor], index: int) -> np.ndarray:
    """(64, 64) greyscale copy of an image; a file that is not in memory is decoded at reduced size if possible."""
    if isinstance(images, Files) and (path := images.paths[index]) not in images.cache.images:
        from .probe import probe

        small = probe(path)[0].small
        return np.zeros((SIDE, SIDE), np.uint8) if small is None else small
    return small_copy(images[index].numpy())
