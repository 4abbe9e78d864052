"""Training batches as a pure function of (configuration, photographs, step).

Batch number `step` is the same with 0 or N workers and after a resume: every sample draws from its own seed.
Crop and wider context view are cut from the *same* degraded patch: degrade first, crop after.
Legend: B batch, N rows with a context view, c crop, C context, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..config import DataConfig
from ..errors import UserError
from .degrade import degrade, synthetic_depth

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
MARGIN = 8  # pixels around a patch that are degraded and thrown away, so that blur and streaks have no border
SMALLEST = 32  # pixels a side; smaller files are no training photographs


class Photographs:
    """Clean photographs in memory as uint8 (3, H, W): about 0.5 MB each at 481 x 321."""

    def __init__(self, images: Sequence[Tensor], names: Sequence[str], source: str):
        if len(images) < 2:
            raise UserError(
                f"Training needs at least 2 photographs; {source} has {len(images)}. "
                "Point --data at a folder of clean images."
            )
        self.images, self.names, self.source = list(images), list(names), source

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Sequence[int]) -> Photographs:
        return Photographs([self.images[i] for i in indices], [self.names[i] for i in indices], self.source)

    @classmethod
    def folder(cls, root: str | Path) -> Photographs:
        """Every image below `root`. Raises UserError when there is none, or one is broken or below 32 pixels a side."""
        from ..images import read_image

        root = Path(root)
        if not root.is_dir():
            raise UserError(f"Training data must be a folder of clean images; {root} is not a folder. Check the path.")
        files = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not files:
            raise UserError(
                f"No image with one of the suffixes {', '.join(SUFFIXES)} lies below {root}. "
                "Point --data at a folder of clean images."
            )
        images = [(read_image(file)[0] * 255).round().to(torch.uint8) for file in files]
        small = [
            f"{file} ({i.shape[2]}x{i.shape[1]})"
            for file, i in zip(files, images, strict=True)
            if min(i.shape[1:]) < SMALLEST
        ]
        if small:
            raise UserError(
                f"A training photograph needs at least {SMALLEST} pixels a side; smaller: {', '.join(small[:5])}. "
                f"Remove {len(small)} file(s)."
            )
        return cls(images, [str(file.relative_to(root)) for file in files], str(root))

    @classmethod
    def bundled(cls) -> Photographs:
        """The photographs that come with scikit-image and scikit-learn."""
        from .scenes import photographs

        scenes = photographs()
        return cls(
            [(s.image * 255).round().to(torch.uint8) for s in scenes], [s.name for s in scenes], "bundled photographs"
        )


def load_photographs(data: str | Path | None) -> Photographs:
    """A folder, or the bundled photographs for None."""
    return Photographs.bundled() if data is None else Photographs.folder(data)


def hold_out(photographs: Photographs, count: int) -> tuple[Photographs, Photographs]:
    """(training, held out): a fixed shuffle keeps `count` contents, at most a quarter, for the anchors."""
    order = np.random.default_rng(0).permutation(len(photographs)).tolist()
    count = max(2, min(count, len(order) // 4))
    if len(order) - count < 2:
        raise UserError(
            f"Anchors need 2 photographs and training 2 more; {photographs.source} has {len(order)}. Add clean images."
        )
    return photographs.subset(order[count:]), photographs.subset(order[:count])


class Batches(Dataset):
    """`batches[step]` is a dict: degraded, clean (B, 3, c, c), label (B,), context (N, 3, C, C) of images rows (N,),
    whose crops lie at place (N, 2), pixels from the top left of the view.

    grid_contents = 0: restoration batches, labels in turn so that classes stay balanced. Otherwise a grid of that many
    contents x all classes, every class of one content cut from the same place: a negative shares the content and a
    positive does not.
    """

    def __init__(
        self,
        photographs: Photographs,
        classes: Sequence[str],
        cfg: DataConfig,
        context: int,
        batch: int,
        seed: int,
        grid_contents: int = 0,
        context_share: float = 0.5,
        stride: int = 8,
        length: int = 1 << 62,
    ):
        self.photographs, self.classes, self.cfg, self.context = photographs, tuple(classes), cfg, context
        self.batch, self.seed, self.grid, self.share, self.stride = batch, seed, grid_contents, context_share, stride
        self.length = length
        self.cycle = _label_cycle(self.classes, cfg.clean_share)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        if self.grid:
            items = [(step * self.grid + n, label) for n in range(self.grid) for label in range(len(self.classes))]
            samples = [self._sample(content, label, number=n) for n, (content, label) in enumerate(items)]
        else:
            samples = []
            for number in range(step * self.batch, (step + 1) * self.batch):
                turn, place = divmod(number, len(self.cycle))
                order = np.random.default_rng([self.seed, 1, turn]).permutation(len(self.cycle))
                samples.append(self._sample(number, self.cycle[order[place]]))
        rows = [n for n, sample in enumerate(samples) if sample[3] is not None]
        context = torch.stack([samples[n][3] for n in rows]) if rows else torch.empty(0, 3, self.context, self.context)
        return {
            "degraded": torch.stack([s[0] for s in samples]),
            "clean": torch.stack([s[1] for s in samples]),
            "label": torch.tensor([s[2] for s in samples]),
            "context": context,
            "rows": torch.tensor(rows, dtype=torch.long),
            "place": torch.tensor([samples[n][4] for n in rows], dtype=torch.long).reshape(-1, 2),
        }

    def _sample(self, content: int, label: int, number: int = 0):
        """(degraded crop, clean crop, label, context view or None, place of the crop in it)."""
        place = np.random.default_rng([self.seed, 2, content])  # shared by all classes of one content of a grid
        own = np.random.default_rng([self.seed, 3, content, label, number])
        turn, position = divmod(content, len(self.photographs))
        order = np.random.default_rng([self.seed, 4, turn]).permutation(len(self.photographs))
        image = _at_least(self.photographs.images[order[position]], self.context + 2 * MARGIN)
        mirror, depth_seed = place.integers(2), int(place.integers(1 << 31))

        # crop and context view lie the same with or without the view; the crop sits on the token grid of its view
        wide = own.random() < self.share
        crop, side = self.cfg.crop, self.context
        outer = place.integers(0, np.array(image.shape[1:]) - 2 * MARGIN - side + 1)
        inner = self.stride * place.integers(0, (side - crop) // self.stride + 1, 2)
        (top, left), (y, x) = outer.tolist(), inner.tolist()
        if not wide:
            top, left, y, x, side = top + y, left + x, 0, 0, crop

        patch = side + 2 * MARGIN
        clean = image[:, top : top + patch, left : left + patch].float() / 255
        depth = None
        if self.classes[label] == "haze":
            depth = synthetic_depth(*image.shape[1:], depth_seed, window=(top, left, patch, patch), guide=image)
        if mirror:  # left to right only: turned upside down, far would no longer be up
            clean, depth, x = clean.flip(2), None if depth is None else depth.flip(1), side - crop - x
        severity, seed = float(own.uniform(*self.cfg.severity)), int(own.integers(1 << 31))
        degraded = degrade(clean, self.classes[label], severity, seed, depth=depth)
        clean, degraded = (part[:, MARGIN:-MARGIN, MARGIN:-MARGIN] for part in (clean, degraded))
        inside = (slice(None), slice(y, y + crop), slice(x, x + crop))
        view = degraded.contiguous() if wide else None
        return degraded[inside].contiguous(), clean[inside].contiguous(), label, view, (y, x)

    def loader(self, start: int, stop: int, workers: int = 0) -> DataLoader:
        """Iterate over batches start..stop-1."""
        # its own generator: making an iterator must not draw from the global one, or a resumed run would differ
        generator = torch.Generator()
        return DataLoader(self, batch_size=None, sampler=range(start, stop), num_workers=workers, generator=generator)


def _label_cycle(classes: tuple[str, ...], clean_share: float) -> list[int]:
    """Labels of one balanced turn: `clean` takes its share, all other classes the same number of places."""
    if "clean" not in classes or len(classes) == 1 or clean_share == 0:
        return [k for k, name in enumerate(classes) if name != "clean" or len(classes) == 1]
    others = len(classes) - 1
    each = max(1, round((1 - clean_share) / clean_share / others)) if clean_share < 1 / (others + 1) else 1
    clean = max(1, round(each * others * clean_share / (1 - clean_share)))
    return [k for k, name in enumerate(classes) for _ in range(clean if name == "clean" else each)]


def _at_least(image: Tensor, side: int) -> Tensor:
    """Mirror a photograph that is smaller than a patch."""
    down, right = max(0, side - image.shape[1]), max(0, side - image.shape[2])
    if not down and not right:
        return image
    return torch.from_numpy(np.pad(image.numpy(), ((0, 0), (0, down), (0, right)), mode="reflect"))
