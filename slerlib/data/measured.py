"""Depth that was measured, for haze in training: of the photograph itself, or of another scene. [ours]

A depth map is divided by its median, the sky left out, and multiplied by SCENE_MEDIAN: its own unit does not count, and
a severity means what it means for the made-up depth. What is as far as 16 bits of millimetres reach is sky.
Legend: H W pixels of a map; window = (top, left, h, w) of a photograph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .decode import Files
from .depth import FARTHEST, NEAREST, SCENE_MEDIAN, follow_edges, grey_values, read_depth, synthetic_depth

if TYPE_CHECKING:
    from .sources import Sources

SKY = 64.9  # metres from which a pixel is sky
SHALLOWEST = 0.1  # metres: a smaller median is no number of millimetres
SKY_BEGINS = (30.0, FARTHEST)  # metres, of a scene with the median SCENE_MEDIAN: where its farthest parts are drawn
SCALE = 0.35  # the logarithm of the scale is drawn from -SCALE to SCALE
SMALLEST_PART = 0.6  # of the map, a side, that is laid over another photograph
OWN = 0.5  # share of the haze on measured depth that lies on the photograph of that depth, if they are aligned
Window = tuple[int, int, int, int]
Depth = Callable[[Tensor, int, Window], Tensor]  # photograph (3, H, W) uint8, seed, window -> (h, w) metres


class Scenes:
    """Chooses the depth of a sample: measured for a share of those with haze, made up for all others."""

    def __init__(self, sources: Sources, haze: int, share: float, seed: int):
        """haze: its label. share: data.depth_share."""
        self.depths, self.aligned, self.haze, self.seed = sources.depths, sources.aligned, haze, seed
        self.share = share if self.depths and haze >= 0 else 0.0  # of the haze that is made
        self.own = OWN if self.aligned else 0.0  # of that, on the photograph of the depth

    def __call__(self, image: Tensor, parts: Sequence[int], *key: int, own: bool = True) -> tuple[Tensor, Depth]:
        """(photograph, depth) of a sample on `image` with the labels `parts`; `key` seeds the choice.

        If `own`, the photograph of a measured depth takes the place of `image` for a share OWN."""
        rng = np.random.default_rng([self.seed, 15, *parts, *key])
        if self.haze not in parts or rng.random() >= self.share:
            return image, imagined
        if own and rng.random() < self.own:
            depth, photograph = self.aligned[int(rng.integers(len(self.aligned)))]
            return photograph, partial(of_photograph, depth)
        return image, partial(transplanted, self.depths[int(rng.integers(len(self.depths)))][0])


class DepthMaps(Files):
    """Depth maps as a sequence of `scene_depth`."""

    def __getitem__(self, index: int) -> Tensor:
        return self.cache(self.paths[index], scene_depth)


def scene_depth(path: Path) -> Tensor:
    """(H, W) float16, metres of a scene with the median SCENE_MEDIAN, NEAREST to FARTHEST; the sky is at FARTHEST.

    path: grey picture of 16 bits, in millimetres or any unit as fine; 0 and 65535 are filled with the nearest value.
    Raises UserError for any other file, and for values too small to be millimetres.
    """
    if grey_values(path, "A depth map").dtype == np.uint8:
        raise UserError(
            f"The depth map of a photograph is a grey picture of 16 bits in millimetres; {path} has 8 bits. Save it "
            "with 16, larger values for what is farther, or remove it."
        )
    metres = read_depth(path).numpy()
    sky = metres >= SKY
    middle = float(np.median(metres[~sky])) if not sky.all() else math.inf
    if not SHALLOWEST <= middle < SKY:
        got = "is sky everywhere" if sky.all() else f"has a median of {1000 * middle:g}"
        raise UserError(
            f"The depth map of a photograph is in millimetres, {SKY} m and more for the sky, with a median of at least "
            f"{1000 * SHALLOWEST:g}; {path} {got}. Multiply metres by 1000, or remove it."
        )
    depth = metres * np.float32(SCENE_MEDIAN / middle)
    depth[sky] = FARTHEST
    return torch.from_numpy(depth.clip(NEAREST, FARTHEST).astype(np.float16))


def imagined(image: Tensor, seed: int, window: Window) -> Tensor:
    """(h, w) metres in a window of a made-up scene, with the edges of the photograph."""
    return synthetic_depth(*image.shape[1:], seed, window=window, guide=image)


def of_photograph(depth_HW: Tensor, image: Tensor, seed: int, window: Window) -> Tensor:
    """(h, w) float32 metres in a window of the photograph that the map belongs to.

    image: (3, H, W), or larger where the photograph was mirrored at its lower and right border to reach a size.
    seed: draws the scale of the scene, and where its sky begins.
    """
    top, left, h, w = window
    border = [(0, n - m) for n, m in zip(image.shape[1:], depth_HW.shape, strict=True)]
    depth = np.pad(depth_HW.numpy(), border, mode="reflect") if max(border)[1] else depth_HW.numpy()
    part = depth[top : top + h, left : left + w].astype(np.float32)
    return torch.from_numpy(_drawn(part, np.random.default_rng([seed, 0])))


def transplanted(depth_HW: Tensor, image: Tensor, seed: int, window: Window) -> Tensor:
    """(h, w) float32 metres in a window of a photograph of another scene, with the edges of the photograph.

    A random part of the map, mirrored or not, is stretched over the whole photograph: what is above stays above. A
    guided filter then moves its edges to those of the image (3, H, W).
    """
    rng = np.random.default_rng([seed, 1])
    size, depth = rng.uniform(SMALLEST_PART, 1, 2), depth_HW.numpy()
    start, mirror = rng.uniform(0, 1 - size), rng.random() < 0.5
    depth = _drawn(depth.astype(np.float32), rng)
    log_depth = np.log(depth[:, ::-1] if mirror else depth)

    def coarse(v: np.ndarray, u: np.ndarray) -> np.ndarray:
        rows, columns = (
            ((a + b * x / n) * m).astype(int).clip(0, m - 1)
            for a, b, x, n, m in zip(start, size, (v, u), image.shape[1:], log_depth.shape, strict=True)
        )
        return log_depth[rows][:, columns]

    top, left, h, w = window
    edged = follow_edges(coarse, image.numpy(), np.arange(top, top + h), np.arange(left, left + w))
    return torch.from_numpy(np.exp(edged).clip(NEAREST, FARTHEST))


def _drawn(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A map at a random scale, whose sky and farthest parts lie at a random distance."""
    scale, far = math.exp(rng.uniform(-SCALE, SCALE)), math.exp(rng.uniform(*map(math.log, SKY_BEGINS)))
    return (np.minimum(depth, np.float32(far)) * np.float32(scale)).clip(NEAREST, FARTHEST)
