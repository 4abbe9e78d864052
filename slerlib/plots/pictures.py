"""Figures of pictures: single, before and after, by severity, by mask, restored by two networks, damaged in a place.

Legend: C channels, H W pixels, h w tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from ..data.degrade import degrade
from ..data.masks import mask
from ..errors import UserError
from ..evaluation.metrics import psnr
from .marks import labels_of, minus, picture_table, show
from .style import DPI, SMALL, WIDTH, finished, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Public domain or CC0, and a part of each that shows the degradation well: name, top and left of the part
SHOWN = {
    "lowlight": ("coffee", 120, 180),
    "haze": ("astronaut", 0, 60),
    "rain": ("rocket", 190, 230),
    "snow": ("cat", 20, 100),
    "blur": ("cat", 20, 100),
    "noise": ("coffee", 120, 180),
    "jpeg": ("astronaut", 0, 60),
    "lowlight + haze + rain": ("astronaut", 0, 60),
}

SEVERITIES = (0, 0.25, 0.5, 0.75, 1)
# Shape of a mask -> a degradation that such a place often has
MASKED = {"half": "rain", "disc": "noise", "field": "snow", "gradient": "jpeg", "depth": "haze", "object": "blur",
          "shadow": "lowlight"}  # fmt: skip


@styled
def picture_row(pictures: Sequence[tuple[str, Tensor]]) -> Figure:
    """Pictures next to each other, each below its title, without scores.

    pictures: (title, picture), each a (3, H, W) tensor in [0, 1] or a map (H, W) of any range; a map is drawn on its
        own scale, bright is high, with its lowest and highest value below. Raises UserError without pictures, and for
        tensors of another shape.
    """
    from matplotlib.figure import Figure

    pictures = list(pictures)
    for title, x in pictures:
        if x.ndim != 2 and (x.ndim != 3 or x.shape[0] != 3):
            raise UserError(
                f"A picture is (3, H, W) and a map (H, W); {title!r} is {tuple(x.shape)}. Take one of a batch."
            )
    if not pictures:
        raise UserError("A row of pictures needs at least one; got none. Add (title, picture).")
    notes = [f"{x.min():.2g} to {x.max():.2g}" if x.ndim == 2 else "" for _, x in pictures]
    side = min(WIDTH / len(pictures), WIDTH / 2)
    height = side * max(x.shape[-2] / x.shape[-1] for _, x in pictures) + (0.55 if any(notes) else 0.35)
    fig = Figure((side * len(pictures), height), dpi=DPI, layout="constrained")
    for ax, (title, x), note in zip(fig.subplots(1, len(pictures), squeeze=False)[0], pictures, notes, strict=True):
        show(ax, x, note, title)
    words = (title + (f" (a map, {note})" if note else "") for (title, _), note in zip(pictures, notes, strict=True))
    return finished(fig, f"Side by side: {'; '.join(words)}.", "jpeg")


@styled
def picture_grid(pictures: Sequence[tuple[str, Tensor, ...]], side: int = 256) -> Figure:
    """One row per picture: clean, degraded, restored, with the PSNR of the whole picture below.

    pictures: (label, clean, degraded, restored), three (3, H, W) tensors in [0, 1] of one size; restored may be missing
        in all rows.
    side: most pixels shown, so that detail stays visible: from the middle of the width, and above the middle of the
        height, where faces often are. The label stands at the left.
    """
    labels_of(pictures, [row[0] for row in pictures], "picture")
    titles = ("clean", "degraded", "restored")[: len(pictures[0]) - 1]
    rows, scores = [], []
    for label, clean, *others in pictures:
        values = [psnr(image, clean) for image in others]
        notes = [f"{name} {decibels(value)}" for name, value in zip(("input", "restored"), values, strict=False)]
        gain = minus(f" ({values[-1] - values[0]:+.1f})") if len(values) > 1 and np.isfinite(values).all() else ""
        scores.append(f"{label}: {', '.join(notes)}{gain}")
        height, width = (min(length, side) for length in clean.shape[1:])
        top, left = (clean.shape[1] - height) // 4, (clean.shape[2] - width) // 2
        parts = [image[:, top : top + height, left : left + width] for image in (clean, *others)]
        rows.append((label, parts, ["", *notes[:-1], notes[-1] + gain]))
    alt = f"Photographs, each {', '.join(titles)}, with PSNR against the clean one. {'; '.join(scores)}."
    return finished(picture_table(rows, titles), alt, "jpeg")


def decibels(value: float, digits: int = 1) -> str:
    return "identical" if math.isinf(value) else f"{value:.{digits}f} dB"


@styled
def degradation_grid(
    pictures: Sequence[tuple[str, Tensor]] | None = None, severities: Sequence[float] = SEVERITIES, seed: int = 0
) -> Figure:
    """One row per degradation, one column per severity, with the PSNR against the clean picture below each.

    pictures: (degradation, clean), a (3, H, W) tensor in [0, 1] each; " + " joins the parts of a composite. Left out:
        every degradation and one composite, on 224 x 224 pixels of bundled photographs (public domain or CC0).
    seed: of all of them, so that along a row only the severity changes. Raises UserError where `degrade` does, and for
    an empty list.
    """
    pictures = _bundled(224) if pictures is None else list(pictures)
    if not pictures or not len(severities):
        raise UserError("A figure of degradations needs at least one picture and one severity; got none. Add one.")
    rows, words = [], []
    for name, clean in pictures:
        images = [degrade(clean, name.split(" + "), severity, seed) for severity in severities]
        notes = ["unchanged" if severity == 0 else f"{psnr(image, clean):.1f} dB"
                 for image, severity in zip(images, severities, strict=True)]  # fmt: skip
        rows.append((name.replace(" + ", " +\n", 1), images, notes))
        words.append(f"{name} {', '.join(notes)}")
    levels = ", ".join(f"{severity:g}" for severity in severities)
    alt = f"Photographs degraded at the severities {levels}, with PSNR against the clean one. {'; '.join(words)}."
    return finished(picture_table(rows, [f"severity {s:g}" for s in severities], SMALL + 0.5), alt, "jpeg")


@styled
def mask_grid(picture: Tensor | None = None, severity: float = 0.6, seed: int = 1) -> Figure:
    """One column per shape of `slerlib.data.masks`: the mask, and below it a degradation seen through it.

    picture: (3, H, W) in [0, 1]; left out: 224 x 224 pixels of a bundled photograph (CC0). seed: of all
    masks and degradations. Raises UserError where `degrade` does.
    """
    clean = dict(_bundled(224))["snow"] if picture is None else picture
    masks = {shape: mask(shape, *clean.shape[1:], seed, image=clean) for shape in MASKED}
    images = [degrade(clean, name, severity, seed, where=masks[shape]) for shape, name in MASKED.items()]
    rows = [("mask", list(masks.values()), [""] * len(masks)), ("picture", images, list(MASKED.values()))]
    words = ", ".join(f"{name} in a mask {shape}" for shape, name in MASKED.items())
    alt = f"Soft masks, bright inside, and a photograph damaged in each: {words}."
    return finished(picture_table(rows, list(MASKED)), alt, "jpeg")


def _bundled(side: int) -> list[tuple[str, Tensor]]:
    from ..data.scenes import photographs

    scenes = {scene.name: scene.image for scene in photographs()}
    return [(row, scenes[name][:, y : y + side, x : x + side]) for row, (name, y, x) in SHOWN.items()]


@styled
def side_by_side(pictures: Sequence[tuple[str, Tensor, Tensor, Tensor, Tensor]], side: int = 160) -> Figure:
    """One row per picture: clean, degraded, restored by A, restored by B; PSNR of the whole picture below.

    pictures: from `slerlib.comparison.pictures.pictures`. All four show the same part of side x side pixels: the one in
    which the squared errors of A and B differ most. It overstates how different the whole pictures are.
    Raises UserError without pictures.
    """
    if not pictures:
        raise UserError("Pictures side by side need at least one; got none. See the reason that came with them.")
    rows, words = [], []
    for label, clean, *others in pictures:
        top, left, height, width = _most_different_part(clean, *others[1:], side)
        values = [psnr(image, clean) for image in others]
        notes = ["", *(f"{value:.2f} dB" for value in values)]
        notes[-1] += minus(f" ({values[2] - values[1]:+.2f})")
        parts = [image[:, top : top + height, left : left + width] for image in (clean, *others)]
        rows.append((label, parts, notes))
        words.append(f"{' '.join(label.split())}: input {values[0]:.2f}, A {values[1]:.2f}, B {values[2]:.2f} dB")
    alt = f"Parts of photographs: clean, degraded, restored by A and by B. {'; '.join(words)}."
    return finished(picture_table(rows, ("clean", "degraded", "A", "B"), SMALL + 0.5), alt, "jpeg")


def _most_different_part(clean: Tensor, a: Tensor, b: Tensor, side: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the part of (3, H, W) where the mean squared errors differ most."""
    error_HW = ((b - clean).square() - (a - clean).square()).mean(dim=0).detach().cpu().double()
    height, width = (min(side, length) for length in error_HW.shape)
    means = F.avg_pool2d(error_HW[None, None], (height, width), stride=4)[0, 0].abs()
    top, left = divmod(int(means.argmax()), means.shape[1])
    return 4 * top, 4 * left, height, width


@styled
def guide_maps(shown: Mapping[str, tuple[Tensor, ...]]) -> Figure:
    """Damage in one place and the guide map's answer: input, true place, guide change, local share of the gate.

    shown: the second result of `slerlib.analysis.guide.guide_response`.
    """
    if not shown:
        raise UserError("A picture of guide maps needs at least one image; got none. Check the cases.")
    titles = ("input", "damaged place", "guide change", "gate: local share")
    fig = picture_table([(name, images, [""] * 4) for name, images in shown.items()], titles)
    alt = f"Images damaged in one place ({', '.join(shown)}): input, true place, change of the guide map, share of the "
    return finished(fig, alt + "local token; each map has its own scale, bright is high.", "jpeg")
