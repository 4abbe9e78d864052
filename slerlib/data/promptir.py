"""The sample pipeline of PromptIR and its successors, an option (data.protocol = "promptir"; see docs/choices.md).

The steps are: centre crop to a multiple of 16, random crop at one place of both images, one of the 8 flips and turns,
and then, on clean photographs, noise that is clipped and floored to 8 bits. Classes are not balanced: each item comes
as often as its set is repeated, and a clean photograph that often for every noise level.

PromptIR, AdaIR and MoCE-IR have no context view. Here one is cut around the crop [ours], so that the encoder trains as
usual. The place of the crop stays uniform. The view is turned and made noisy with the crop, and mirrored beyond the
border of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..images.rows import reflected
from .degrade import NOISE_CLASSES
from .sources import CLEAN, Pool, Sources

MULTIPLE = 16  # pixels


class Entries(Pool):
    """The items of an epoch: (label, degraded or None, clean)."""

    def __init__(self, sources: Sources, classes: Sequence[str]):
        noise = [label for label, name in enumerate(classes) if name in NOISE_CLASSES]
        entries = [(label, s) for s in sources if s.task == CLEAN for label in noise]
        entries += [(classes.index(s.task), s) for s in sources if s.task in classes and s.task != CLEAN]
        super().__init__([s for _, s in entries])
        self.labels, self.levels = [label for label, _ in entries], len(noise)
        if not len(self):
            raise UserError(
                f"data.protocol=promptir takes noise levels on photographs and real pairs of the classes "
                f"{', '.join(classes)}; {sources.origin} has nothing for them. Use data.protocol=slerlib."
            )

    def __getitem__(self, index: int) -> tuple[int, Tensor | None, Tensor]:
        at, item = self.locate(index)
        return self.labels[at], *self.sets[at].pair(item)


def sample(
    degraded: Tensor | None,
    clean: Tensor,
    sigma: float | None,
    crop: int,
    context: int,
    stride: int,
    share: float,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor | None, tuple[int, int], Tensor | None]:
    """(degraded crop, clean crop, context view or None, place of the crop in it, clean view or None), float32 in 0..1.

    degraded, clean: uint8 (3, H, W); without `degraded` noise of `sigma` (of 255) is added. The place is a multiple of
    `stride`, which lines the crop up with the tokens of its view. share: probability of a view.
    """
    wide, side = rng.random() < share, context
    size = [n - n % MULTIPLE or n for n in clean.shape[1:]]
    origin = [(n - m) // 2 for n, m in zip(clean.shape[1:], size, strict=True)]
    start, place = zip(*(_place(n, crop, context, stride, rng) for n in size), strict=True)
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    if not wide:
        start, place, side = [s + p for s, p in zip(start, place, strict=True)], (0, 0), crop
    rows, columns = (o + reflected(s, s + side, n) for o, s, n in zip(origin, start, size, strict=True))

    def cut(image: Tensor) -> Tensor:
        patch = torch.rot90(image[:, rows][:, :, columns], turns, (1, 2))
        return patch.flip(2) if flip else patch

    y, x = place
    for _ in range(turns):
        y, x = side - crop - x, y
    x = side - crop - x if flip else x
    clean = cut(clean)
    if degraded is None:
        noisy = clean.numpy() + sigma * rng.standard_normal(clean.shape, dtype=np.float32)
        view = torch.from_numpy(noisy.clip(0, 255).astype(np.uint8))  # floors
    else:
        view = cut(degraded)
    view, clean = view.float() / 255, clean.float() / 255
    inside = (slice(None), slice(y, y + crop), slice(x, x + crop))
    views = (view.contiguous(), clean) if wide else (None, None)
    return view[inside].contiguous(), clean[inside].contiguous(), views[0], (y, x), views[1]


def _place(size: int, crop: int, side: int, stride: int, rng: np.random.Generator) -> tuple[int, int]:
    """(start of the view, place of the crop in it) along one axis; the place of the crop in the image is uniform.

    The view goes beyond the image by less than `stride`, the least that the token grid allows, or by as much as the
    image is smaller than the view.
    """
    at = int(rng.integers(max(size - crop, 0) + 1))
    places = np.arange(0, side - crop + 1, stride)
    outside = np.maximum(places - at, 0) + np.maximum(at - places + side - size, 0)
    place = int(rng.choice(places[outside < max(side - size, 0) + stride]))
    return at - place, place
