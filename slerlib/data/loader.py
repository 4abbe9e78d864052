"""Training batches as a pure function of (configuration, sources, step).

Batch number `step` is the same with 0 or N workers and after a resume: every sample draws from its own seed.
A patch is degraded first; crop and wider context view are then cut from the *same* patch. A real pair is cut in the
same way. A share of the samples are composites [ours]: two or three degradations of the classes on one picture.
Legend: B batch, N rows with a context view, c crop, C context, H W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..config import DataConfig
from ..sharding import consecutive
from . import promptir
from .damage import Damages, by_night
from .degrade import MADE, NOISE_CLASSES
from .measured import Depth, Scenes, imagined
from .sources import Pool, Sources

MARGIN = 8  # pixels around a patch that are degraded and then cut off, so that blur and streaks have no border


class Sample(NamedTuple):
    degraded: Tensor  # (3, c, c)
    clean: Tensor  # (3, c, c)
    parts: tuple[int, ...]  # labels: one, or those of a composite
    view: Tensor | None  # (3, C, C)
    place: tuple[int, int]  # of the crop in the view
    real: bool  # from a real pair
    where: Tensor | None  # (C / pitch, C / pitch) share of each token of the view that is damaged
    outside: tuple[int, ...]  # labels of what was done where nothing else was: clean, or a second degradation
    colour: Tensor | None  # (3, C / pitch, C / pitch) mean of the clean view over each token


class Batches(Dataset):
    """`batches[step]` is a dict: degraded, clean (B, 3, c, c), label (B,), real (B,) whether from a real pair,
    context (N, 3, C, C) of images rows (N,), whose crops lie at place (N, 2), pixels from the top left of the view.
    parts (B, K) bool: the classes in each image. A composite has several, and the label K. where (N, h, w): share of
    each token of a view that is degraded so; outside (N, K) bool: the classes of the rest, where data.local_share of
    the samples are degraded in a soft mask alone. colour (N, 3, h, w): mean of the clean view over each token.

    grid_scenes = 0: restoration batches. Protocol `slerlib` takes labels in turn, so that classes keep their shares
    (`label_cycle`). Real pairs are data.real_share of their class; composites are data.composite_share of all samples,
    and of these data.real_composites lie on top of real pairs, those of each class in turn. data.depth_share of the
    haze that is made, alone or in a composite, follows a measured depth: half of it on the photograph where it
    was measured, half on others. Protocol `promptir` takes every item as often as its set is
    repeated.

    grid_scenes > 0: a grid of that many scenes x all classes, every class of one scene cut from the same place: a
    negative shares the scene and a positive does not. Some of the scenes are clean sides of real pairs; their real
    inputs take the cells of their class. `real_rows` more rows hold a real sample of every class that has pairs, so
    that the encoder sees real rain each time it sees synthetic rain. `mixed_rows` composites follow, as many as their
    share asks for. Stage A has this grid in both protocols; depth measured elsewhere lies on its scenes.

    only: labels of restoration batches of the protocol `slerlib`, where not all classes train.
    part = (rank, world): of each batch only the consecutive samples that belong to process `rank` of `world`.
    Raises UserError for composites of classes with fewer than two kinds of degradation.
    """

    def __init__(
        self,
        sources: Sources,
        classes: Sequence[str],
        cfg: DataConfig,
        context: int,
        batch: int,
        seed: int,
        grid_scenes: int = 0,
        context_share: float = 0.5,
        stride: int = 8,
        length: int = 1 << 62,
        real_rows: int = 0,
        part: tuple[int, int] = (0, 1),
        only: Sequence[str] = (),
    ):
        self.classes, self.cfg, self.context = tuple(classes), cfg, context
        self.sources = sources
        self.batch, self.seed, self.grid, self.share, self.stride = batch, seed, grid_scenes, context_share, stride
        self.length, self.real_rows, self.part = length, real_rows, part
        pools = {label: self.sources.pairs(name) for label, name in enumerate(self.classes)}
        # share of real pairs in each class that has them: 1 for a class that cannot be made by synthesis
        self.shares = {label: cfg.real_share if self.classes[label] in MADE else 1.0 for label in pools}
        self.real: dict[int, Pool] = {label: pool for label, pool in pools.items() if pool and self.shares[label]}
        self.labels = [label for label, name in enumerate(self.classes) if name in MADE or label in self.real]
        self.cycle = [label for label in label_cycle(self.classes, cfg) if label in self.labels]
        self.only = tuple(only)
        if only:  # these classes without composites
            self.cycle = [label for label in self.cycle if self.classes[label] in only]
            self.cfg = cfg = replace(cfg, composite_share=0.0)
        self.real_cells = bool(self.real)  # rows of a grid may be clean sides of real pairs
        whole_sets = cfg.protocol == "promptir" and not grid_scenes
        self.entries = promptir.Entries(self.sources, self.classes) if whole_sets else None
        self.damage = Damages(self.classes, cfg, seed, [kernel for _, kernel in self.sources.kernels])
        haze = self.classes.index("haze") if "haze" in self.classes else -1
        self.scenes = Scenes(self.sources, haze, cfg.depth_share, seed)
        self.bases = [label for label in self.real if cfg.real_composites and self.damage.on_top(label)]

    def __len__(self) -> int:
        return self.length

    @property
    def size(self) -> int:
        """Samples of a whole batch, those of other processes included."""
        cells = self.grid * len(self.labels)
        return cells + self.real_rows * len(self.real) + self.mixed_rows if self.grid else self.batch

    @property
    def mixed_rows(self) -> int:
        """Number of composites that follow a grid: data.composite_share of both together."""
        share = self.cfg.composite_share
        return round(self.grid * len(self.labels) * share / (1 - share))

    @property
    def own(self) -> range:
        """The samples of a whole batch that are made here."""
        return consecutive(self.size, *self.part)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        with _one_thread():
            return self._batch(step)

    def _batch(self, step: int) -> dict[str, Tensor]:
        if self.grid:
            samples = self._grid(step)
        else:
            draw = self._balanced if self.entries is None else self._by_repeats
            samples = [draw(step * self.batch + number) for number in self.own]
        rows = [n for n, sample in enumerate(samples) if sample.view is not None]
        views, tokens = [samples[n].view for n in rows], self.context // self.stride
        return {
            "degraded": torch.stack([s.degraded for s in samples]),
            "clean": torch.stack([s.clean for s in samples]),
            "label": torch.tensor([s.parts[0] if len(s.parts) == 1 else len(self.classes) for s in samples]),
            "parts": torch.tensor([[k in s.parts for k in range(len(self.classes))] for s in samples]),
            "real": torch.tensor([s.real for s in samples]),
            "context": torch.stack(views) if views else torch.empty(0, 3, self.context, self.context),
            "where": torch.stack([samples[n].where for n in rows]) if views else torch.empty(0, tokens, tokens),
            "colour": torch.stack([samples[n].colour for n in rows]) if views else torch.empty(0, 3, tokens, tokens),
            "outside": torch.tensor(
                [[k in samples[n].outside for k in range(len(self.classes))] for n in rows], dtype=torch.bool
            ).reshape(-1, len(self.classes)),
            "rows": torch.tensor(rows, dtype=torch.long),
            "place": torch.tensor([samples[n].place for n in rows], dtype=torch.long).reshape(-1, 2),
        }

    # --- which sample

    def _balanced(self, number: int) -> Sample:
        """Sample `number`: composites take their share; the other labels come in turn, in random order within a turn,
        and real pairs take their share of a class."""
        mixed = _share(number, self.cfg.composite_share)
        if _share(number + 1, self.cfg.composite_share) > mixed:
            return self._composite(mixed)
        number -= mixed
        turn, place = divmod(number, len(self.cycle))
        order = np.random.default_rng([self.seed, 1, turn]).permutation(len(self.cycle))
        label = self.cycle[order[place]]
        if label in self.real:
            of_label = [n for n in order.tolist() if self.cycle[n] == label]
            count = turn * len(of_label) + of_label.index(order[place])  # samples of this class so far
            share = self.shares[label]
            taken = _share(count, share)
            if _share(count + 1, share) > taken:
                return self._cut(*self.real[label].shuffled(taken, self.seed, 5, label), (label,), number)
        image = self.sources.clean.shuffled(number, self.seed, 4)[1]
        image, depth = self.scenes(image, (label,), number)
        return self._cut(None, image, (label,), number, depth=depth)

    def _composite(self, number: int) -> Sample:
        """Composite `number`: two or three degradations on a photograph, or one on top of a real pair."""
        share = self.cfg.real_composites if self.bases else 0
        taken = _share(number, share)
        if _share(number + 1, share) == taken:
            image, parts = self.sources.clean.shuffled(number - taken, self.seed, 10)[1], self.damage.composite(number)
            image, depth = self.scenes(image, parts, number)
            return self._cut(None, image, parts, number, depth=depth)
        turn, which = divmod(taken, len(self.bases))
        own = self.bases[which]
        added = int(np.random.default_rng([self.seed, 13, number]).choice(self.damage.on_top(own)))
        pair = self.real[own].shuffled(turn, self.seed, 12, own)
        return self._cut(*pair, tuple(sorted((own, added))), number, added=(added,))

    def _by_repeats(self, number: int) -> Sample:
        """Sample `number` of epochs as in PromptIR."""
        label, degraded, clean = self.entries.shuffled(number, self.seed, 8)
        rng, sigma = np.random.default_rng([self.seed, 9, number]), NOISE_CLASSES.get(self.classes[label])
        cut = (self.cfg.crop, self.context, self.stride, self.share)
        x, y, view, place, whole = promptir.sample(degraded, clean, sigma, *cut, rng)
        where = None if view is None else torch.ones([n // self.stride for n in view.shape[1:]])
        return Sample(x, y, (label,), view, place, degraded is not None, where, (label,), self._colour(whole))

    def _grid(self, step: int) -> list[Sample]:
        samples, own_rows, width = [], self.own, len(self.labels)
        for n, scene in enumerate(range(step * self.grid, (step + 1) * self.grid)):
            cells = [cell for cell in range(n * width, (n + 1) * width) if cell in own_rows]
            if not cells:
                continue
            share, own, degraded = self.cfg.real_share if self.real_cells else 0, None, None
            taken = _share(scene, share)
            if _share(scene + 1, share) > taken:
                turn, which = divmod(taken, len(self.real))
                own = list(self.real)[which]
                degraded, clean = self.real[own].shuffled(turn, self.seed, 6, own)
            else:
                clean = self.sources.clean.shuffled(scene - taken, self.seed, 4)[1]
            for cell in cells:
                label = self.labels[cell % width]
                pair = (degraded if label == own else None, clean)
                if label != own and self.classes[label] not in MADE:  # such a class has other scenes
                    pair = self.real[label].shuffled(scene, self.seed, 11, label)
                depth = self.scenes(clean, (label,), scene, cell, own=False)[1]
                samples.append(self._cut(*pair, (label,), scene, cell, depth=depth))
        cell = self.grid * width
        for row in range(step * self.real_rows, (step + 1) * self.real_rows):
            for label, pool in self.real.items():
                if cell in own_rows:
                    samples.append(self._cut(*pool.shuffled(row, self.seed, 7, label), (label,), row, cell))
                cell += 1
        mixed = range(step * self.mixed_rows, (step + 1) * self.mixed_rows)
        return samples + [
            self._composite(n) for n, place in zip(mixed, range(cell, self.size), strict=True) if place in own_rows
        ]

    # --- cutting it

    def _cut(
        self, real: Tensor | None, image: Tensor, parts: tuple[int, ...], scene: int, number: int = 0,
        added: tuple[int, ...] = (), depth: Depth = imagined,
    ) -> Sample:  # fmt: skip
        """Crop and view of a clean image (uint8) and of its `real` input, or without one of a synthetic input.

        added: those of the labels `parts` that are made on top of a real input. depth: of the scene."""
        place = np.random.default_rng([self.seed, 2, scene])  # shared by all classes of one scene of a grid
        own = np.random.default_rng([self.seed, 3, scene, *parts, number])
        image = _at_least(image, self.context + 2 * MARGIN)
        mirror, depth_seed = place.integers(2), int(place.integers(1 << 31))

        # the place of the crop does not depend on `wide`; the crop lies on the token grid of its view
        wide = own.random() < self.share
        crop, side = self.cfg.crop, self.context
        outer = place.integers(0, np.array(image.shape[1:]) - 2 * MARGIN - side + 1)
        inner = self.stride * place.integers(0, (side - crop) // self.stride + 1, 2)
        (top, left), (y, x) = outer.tolist(), inner.tolist()
        if not wide:
            top, left, y, x, side = top + y, left + x, 0, 0, crop

        patch = side + 2 * MARGIN
        clean = _patch(image, top, left, patch)
        if real is None and "lowlight" not in (self.classes[k] for k in parts):
            night = np.random.default_rng([self.seed, 17, scene])  # shared by the other classes of a grid
            clean = by_night(clean, night) if night.random() < self.cfg.night_share else clean
        real = None if real is None else _patch(_at_least(real, self.context + 2 * MARGIN), top, left, patch)
        if mirror:  # left to right only: in a picture that stands upside down the distance would lie below
            clean, real, x = clean.flip(2), None if real is None else real.flip(2), side - crop - x

        @cache
        def metres() -> Tensor:
            window = depth(image, depth_seed, (top, left, patch, patch))
            return window.flip(1) if mirror else window

        degraded, where, outside = self.damage(clean, real, parts, metres, own, scene, *parts, number, added=added)
        clean, degraded = (part[:, MARGIN:-MARGIN, MARGIN:-MARGIN] for part in (clean, degraded))
        inside = (slice(None), slice(y, y + crop), slice(x, x + crop))
        view = degraded.contiguous() if wide else None
        where = torch.nn.functional.avg_pool2d(where[None, MARGIN:-MARGIN, MARGIN:-MARGIN], self.stride)[0]
        pair = degraded[inside].contiguous(), clean[inside].contiguous()
        colour = self._colour(clean if wide else None)
        return Sample(*pair, parts, view, (y, x), real is not None, where, outside, colour)

    def _colour(self, view: Tensor | None) -> Tensor | None:
        """Mean over each token."""
        return None if view is None else torch.nn.functional.avg_pool2d(view, self.stride)

    def view(self, image: Tensor, *key: int) -> Tensor:
        """(3, C, C) a context view of an image (uint8) at a place that `key` decides, mirrored or not."""
        rng, image = np.random.default_rng([self.seed, 14, *key]), _at_least(image, self.context)
        top, left = rng.integers(0, np.array(image.shape[1:]) - self.context + 1).tolist()
        patch = _patch(image, top, left, self.context)
        return patch.flip(2) if rng.integers(2) else patch

    def loader(self, start: int, stop: int, workers: int = 0) -> DataLoader:
        """Iterate over batches start..stop-1."""
        # its own generator: making an iterator must not draw from the global one, or a resumed run would differ
        generator = torch.Generator()
        return DataLoader(self, batch_size=None, sampler=range(start, stop), num_workers=workers, generator=generator)


@contextmanager
def _one_thread():
    """Patches are too small to share: threads would wait for each other longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _share(count: int, share: float) -> int:
    """How many of the first `count` samples belong to a share, which is evenly distributed."""
    return int(count * share + 1e-9)


def _patch(image: Tensor, top: int, left: int, side: int) -> Tensor:
    return image[:, top : top + side, left : left + side].float() / 255


def label_cycle(classes: tuple[str, ...], cfg: DataConfig) -> list[int]:
    """Labels of one turn: `clean` takes data.clean_share, all other classes the same number of places, times their
    data.class_repeats."""
    repeats, share = cfg.class_repeat_counts(), cfg.clean_share
    others = sum(repeats.get(name, 1) for name in classes if name != "clean")
    if "clean" not in classes or len(classes) == 1 or share == 0:
        each, clean = 1, int(len(classes) == 1)
    else:
        each = max(1, round((1 - share) / share / others)) if share < 1 / (others + 1) else 1
        clean = max(1, round(each * others * share / (1 - share)))
    return [
        k for k, name in enumerate(classes)
        for _ in range(clean if name == "clean" else each * repeats.get(name, 1))
    ]  # fmt: skip


def _at_least(image: Tensor, side: int) -> Tensor:
    """Mirror an image that is smaller than a patch."""
    down, right = max(0, side - image.shape[1]), max(0, side - image.shape[2])
    if not down and not right:
        return image
    return torch.from_numpy(np.pad(image.numpy(), ((0, 0), (0, down), (0, right)), mode="reflect"))
