"""Haze, rain and snow: what stands between the scene and the lens.

Each function takes a clean image (3, H, W) float32 in [0, 1], a random generator and the root mean square error that it
should cause on average over natural photographs, and returns a new array. Sizes are in pixels, depth in metres.
Parameters come from the generator and from constants alone, never from the image: a patch is damaged as the whole
photograph would be.
"""

import math
from collections import namedtuple
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from slerlib.data.depth import SCENE_MEDIAN

# Mean of I and of I^2 over the RGB values of natural photographs
MEAN, MEAN_SQUARE = 0.414, 0.236
CHUNK = 4096  # streaks or flakes drawn at once, bounds the memory on large images

# One layer: mean length and half width in px, share of all streaks, relative brightness
Streaks = namedtuple("Streaks", "length sigma share light")
# What the layers share: columns per row, part of a streak over which each end fades, brightness, and `_density`
Shower = namedtuple("Shower", "lean taper bright most part")
# One layer: mean radius in px, relative opacity (near flakes are out of focus, and thin), number relative to the small
# flakes, width of the soft border in px
Flakes = namedtuple("Flakes", "radius opaque share soft")
# What the layers share: radians, path of a flake during the exposure in radii, opacity, and `_density`
Fall = namedtuple("Fall", "heading motion opaque most part")


def _contrast(colour: float, opaque: float = 1.0) -> float:
    """Mean of (colour - opaque * I)^2 over natural photographs: what a complete veil of that grey would cost."""
    return colour * colour - 2 * colour * opaque * MEAN + opaque * opaque * MEAN_SQUARE


@lru_cache(maxsize=1)
def _veil_table() -> tuple[np.ndarray, np.ndarray]:
    """(beta * median depth, root mean square of 1 - t) for the log-normal depths of an average scene."""
    z = np.linspace(-2.5, 2.5, 201)
    weight = np.exp(-z * z / 2)
    density = np.geomspace(1e-4, 30, 400)
    opacity = 1 - np.exp(-density[:, None] * np.exp(0.6 * z))
    return density, np.sqrt((opacity**2 * weight).sum(1) / weight.sum())


def haze(clean: np.ndarray, rng: np.random.Generator, rmse: float, depth: np.ndarray) -> np.ndarray:
    """Koschmieder (1924): I t + A (1 - t) with t = exp(-beta depth); A from grey to white, with or without a colour."""
    bright = rng.uniform(0.7, 1.0)
    tint = 0.1 * rng.random() ** 3 * rng.uniform(-1, 1, 3)  # mostly hardly any, as in RESIDE, now and then a clear one
    air = np.clip(bright + tint - tint.mean(), 0, 1).astype(np.float32)
    density, opacity = _veil_table()
    beta = float(np.interp(rmse / math.sqrt(_contrast(bright)), opacity, density)) / SCENE_MEDIAN
    t = np.exp(np.float32(-beta) * depth)
    return clean * t + air[:, None, None] * (1 - t)


def _density(
    moments: Callable[[float], tuple[float, float]],
    contrast: float,
    errors: tuple[float, float],
    brightness: tuple[float, float],
    veils: tuple[float, float],
) -> tuple[float, float]:
    """(marks per pixel at severity 1, share of them at this severity): one solver for streaks and flakes.

    Marks at random places, n per pixel, add up to a mean square of n energy + (n mass)^2 (Campbell's theorem), where
    mass and energy are the sums of a mark and of its square over all pixels. Brightness makes part of the error wanted,
    the number of marks the rest.

    moments: brightness -> (energy, mass). contrast: error of a complete veil. The pairs hold this severity and
    severity 1: root mean square errors, brightness of the marks, and veils, which cause a part of the error themselves.
    """

    def number(error: float, bright: float, veil: float) -> float:
        energy, mass = moments(bright)
        target = max(error**2 / contrast - veil**2, 1e-9)
        square = mass * mass
        return (math.sqrt(energy * energy + 4 * square * target) - energy) / (2 * square)

    here, most = (number(*values) for values in zip(errors, brightness, veils, strict=True))
    return most, min(here / most, 1.0)


def _add(canvas: np.ndarray, index: np.ndarray, value: np.ndarray) -> None:
    """canvas[index] += value, where an index may come more than once."""
    canvas += np.bincount(index.ravel(), value.ravel(), minlength=canvas.size).astype(np.float32)


def _overlay(
    clean: np.ndarray, cover: np.ndarray, colour: np.ndarray, veil: float | np.ndarray, opaque: float = 1.0
) -> np.ndarray:
    """Lay marks of a colour (3,) with strength `cover` (H, W) and a veil, uniform or (H, W), over the image.

    opaque: 1 hides what is behind the marks (flakes), 0 adds light to it (thin streaks that shine).
    """
    cover = np.minimum(cover, 1)
    cover = cover + np.asarray(veil, np.float32) * (1 - cover)
    return clean + cover * (colour[:, None, None] - np.float32(opaque) * clean)


def rain(
    clean: np.ndarray, rng: np.random.Generator, rmse: float, rmse_most: float, depth: np.ndarray | None = None
) -> np.ndarray:
    """Streaks in one direction that add light (Garg and Nayar 2007): near ones (long, broad), far ones (short, many).

    Far streaks lie at random distances z with density exp(-z / SCENE_MEDIAN) and are seen where the scene is farther
    than they are, so their density grows with depth as 1 - exp(-depth / SCENE_MEDIAN). Drops too far to be seen one by
    one add up to a veil 1 - exp(-beta depth), the rain accumulation of Li et al. (2019) and Hu et al. (2019). Without a
    depth map the scene is a wall at SCENE_MEDIAN: both are uniform.
    """
    lean = math.tan(math.radians(rng.uniform(-40, 40)))
    grey, opaque = rng.uniform(0.85, 1.0), rng.random() ** 2  # mostly they add light
    bright, veil = math.exp(rng.uniform(math.log(0.25), math.log(0.85))), 0.12 * rng.random() ** 3
    taper, share = rng.uniform(0.1, 0.45), rng.uniform(0.1, 0.6)
    near = Streaks(rng.uniform(18, 50), rng.uniform(0.5, 1.2), share, 1.0)
    far = Streaks(rng.uniform(8, 20), rng.uniform(0.35, 0.65), 1 - share, 0.7)

    def moments(brightness: float) -> tuple[float, float]:
        energy = mass = 0.0
        for layer in (near, far):
            b = brightness * layer.light
            size = layer.share * layer.length * layer.sigma * math.sqrt(math.pi)
            energy += 0.52 * b * b * size * (1 - 4 / 3 * taper)
            mass += 0.7 * b * size * math.sqrt(2) * (1 - taper)
        return energy, mass

    strength = rmse / rmse_most  # 1 at severity 1
    veil, dim = veil * strength, bright * strength**0.28
    pairs = (rmse, rmse_most), (dim, bright), (veil, veil / strength)
    shower = Shower(lean, taper, dim, *_density(moments, _contrast(grey, opaque), *pairs))
    cover = np.zeros(clean.shape[1:], np.float32)
    cover += _streaks(rng, cover.shape, near, shower, None)
    cover += _streaks(rng, cover.shape, far, shower, depth)
    if depth is not None:
        veil = 1 - np.power(np.float32(1 - veil), depth * np.float32(1 / SCENE_MEDIAN))
    return _overlay(clean, cover, np.full(3, grey, np.float32), veil, opaque)


def _streaks(
    rng: np.random.Generator, size: tuple[int, int], layer: Streaks, shower: Shower, depth: np.ndarray | None
) -> np.ndarray:
    """Cover (H, W) of one layer; with a depth map, of the streaks that the scene does not hide."""
    height, width = size
    lean, slant = shower.lean, math.sqrt(1 + shower.lean * shower.lean)
    reach = int(1.5 * layer.length) + 4
    side = int(reach * abs(lean) / 2) + 6
    tall, wide = height + 2 * reach, width + 2 * side
    seen_at_wall = 1 if depth is None else 1 - math.exp(-1)  # `most` is the number that a wall shows
    count = rng.poisson(shower.most * layer.share * tall * wide / seen_at_wall)
    draw = rng.random((6 if depth is None else 7, count), dtype=np.float32)
    keep = draw[5] < shower.part  # a heavier shower keeps every streak of a lighter one
    if depth is not None:
        y = draw[1] * (tall - 1) + layer.length * (0.5 + draw[2]) / slant / 2 - reach  # of the middle
        x = draw[0] * (wide - 1) - side
        seen = 1 - np.exp(-depth / SCENE_MEDIAN)
        keep &= draw[6] < seen[y.clip(0, height - 1).astype(int), x.clip(0, width - 1).astype(int)]
    draw = draw[:, keep]
    canvas = np.zeros(tall * wide, np.float32)
    rows = np.arange(int(math.ceil(layer.length * 1.5 / slant)) + 2, dtype=np.float32)
    half = 3 if layer.sigma > 0.8 else 2
    across = np.arange(-half, half + 1)
    for first in range(0, draw.shape[1], CHUNK):
        x, y, scale, light, turn = draw[:5, first : first + CHUNK, None]
        length = layer.length * (0.5 + scale) / slant
        y = y * (tall - 1)
        row = np.ceil(y) + rows
        along = row - y
        fade = np.clip(np.minimum(along, length - along) / (shower.taper * length), 0, 1)
        fade *= shower.bright * layer.light * (0.4 + 0.6 * light)
        centre = x * (wide - 1) + (lean + 0.06 * (turn - 0.5)) * (along - length / 2)
        nearest = np.rint(centre)
        off = (nearest - centre)[..., None] + across.astype(np.float32)
        value = fade[..., None] * np.exp(-0.5 * (off / np.float32(slant * layer.sigma)) ** 2)
        column = nearest.astype(np.int64)[..., None] + across
        index = row.astype(np.int64)[..., None] * wide + column
        valid = (row < tall)[..., None] & (column >= 0) & (column < wide)
        _add(canvas, np.where(valid, index, 0), np.where(valid, value, 0))
    return canvas.reshape(tall, wide)[reach : reach + height, side : side + width]


def snow(clean: np.ndarray, rng: np.random.Generator, rmse: float, rmse_most: float) -> np.ndarray:
    """Opaque soft flakes of three sizes, drawn out by their motion, and a veil of those too small to be seen.

    After Liu et al., DesnowNet (2018).
    """
    white = (rng.uniform(0.9, 1.0) + rng.uniform(-0.015, 0.015, 3)).clip(0, 1).astype(np.float32)
    heading, motion = rng.uniform(-1.0, 1.0), rng.uniform(0, 1.5)
    opacity, veil = rng.uniform(0.6, 0.95), rng.uniform(0.02, 0.1)
    layers = (
        Flakes(rng.uniform(0.7, 1.2), 1.0, 1.0, 0.6),
        Flakes(rng.uniform(1.5, 2.6), 0.9, rng.uniform(0.15, 0.35), 0.9),
        Flakes(rng.uniform(3.2, 6.0), 0.6, rng.uniform(0.01, 0.05), 1.8),
    )

    def moments(opaque: float) -> tuple[float, float]:
        energy = mass = 0.0
        for layer in layers:
            b = opaque * layer.opaque
            area = math.pi * layer.radius**2 + 4 * layer.radius**2 * motion * 0.5
            energy += layer.share * b * b * 0.65 * 0.8 * area
            mass += layer.share * b * 0.8 * area
        return energy, mass

    strength = rmse / rmse_most
    veil, dim = veil * strength, opacity * strength**0.25
    pairs = (rmse, rmse_most), (dim, opacity), (veil, veil / strength)
    fall = Fall(heading, motion, dim, *_density(moments, _contrast(float(white.mean())), *pairs))
    cover = np.zeros(clean.shape[1:], np.float32)
    for layer in layers:
        cover += _flakes(rng, cover.shape, layer, fall)
    return _overlay(clean, cover, white, veil)


def _flakes(rng: np.random.Generator, size: tuple[int, int], layer: Flakes, fall: Fall) -> np.ndarray:
    """Cover (H, W) of one layer."""
    height, width = size
    sine, cosine = math.sin(fall.heading), math.cos(fall.heading)
    reach = int(math.ceil(layer.radius * 1.3 * (1 + fall.motion) + layer.soft)) + 1
    tall, wide = height + 2 * reach, width + 2 * reach
    draw = rng.random((6, rng.poisson(fall.most * layer.share * tall * wide)), dtype=np.float32)
    draw = draw[:, draw[5] < fall.part]  # a heavier fall keeps every flake of a lighter one
    grid = np.arange(-reach, reach + 1)
    canvas = np.zeros((tall + 2 * reach) * (wide + 2 * reach), np.float32)
    step = max(1, CHUNK * 100 // grid.size**2)
    for first in range(0, draw.shape[1], step):
        x, y, scale, drift, light, _ = draw[:, first : first + step, None, None]
        x, y = x * (wide - 1), y * (tall - 1)
        column, row = np.rint(x), np.rint(y)
        dx = grid[None, None, :].astype(np.float32) + (column - x)
        dy = grid[None, :, None].astype(np.float32) + (row - y)
        radius = layer.radius * (0.7 + 0.6 * scale)
        half = radius * fall.motion * drift
        along = np.clip(dx * sine + dy * cosine, -half, half)  # nearest point of the flake's path
        gap = np.sqrt((dx - along * sine) ** 2 + (dy - along * cosine) ** 2)
        soft = np.clip((radius - gap) / (2 * layer.soft) + 0.5, 0, 1)
        value = fall.opaque * layer.opaque * (0.6 + 0.4 * light) * soft * soft * (3 - 2 * soft)
        index = (row.astype(np.int64) + reach + grid[None, :, None]) * (wide + 2 * reach)
        _add(canvas, index + column.astype(np.int64) + reach + grid[None, None, :], value)
    return canvas.reshape(tall + 2 * reach, wide + 2 * reach)[2 * reach :, 2 * reach :][:height, :width]
