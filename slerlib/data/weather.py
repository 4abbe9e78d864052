"""Haze, rain and snow: what stands between the scene and the lens.

Each function takes a clean image (3, H, W) float32 in [0, 1], a random generator and the root mean square error that it
should cause on average over natural photographs, and returns a new array. Sizes are in pixels, depth in metres.
Parameters come from the generator and from constants alone, never from the image: a patch is damaged as the whole
photograph would be.
"""

import math
from functools import lru_cache

import numpy as np

from slerlib.data.depth import SCENE_MEDIAN

# Mean of I and of I^2 over the RGB values of natural photographs
MEAN, MEAN_SQUARE = 0.414, 0.236
CHUNK = 4096  # streaks or flakes drawn at once, bounds the memory on large images


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
    """Koschmieder's law: I t + A (1 - t) with t = exp(-beta depth); A from grey to white, with or without a colour."""
    bright = rng.uniform(0.7, 1.0)
    tint = 0.1 * rng.random() ** 3 * rng.uniform(-1, 1, 3)  # mostly hardly any, as in RESIDE, now and then a clear one
    air = np.clip(bright + tint - tint.mean(), 0, 1).astype(np.float32)
    density, opacity = _veil_table()
    beta = float(np.interp(rmse / math.sqrt(_contrast(bright)), opacity, density)) / SCENE_MEDIAN
    t = np.exp(np.float32(-beta) * depth)
    return clean * t + air[:, None, None] * (1 - t)


def _count_per_pixel(target: float, energy: float, mass: float) -> float:
    """Density n of marks such that the mean square of their sum is `target` (Campbell: n energy + (n mass)^2)."""
    m2 = mass * mass
    return (math.sqrt(energy * energy + 4 * m2 * target) - energy) / (2 * m2)


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
    """Streaks in one direction: a near layer (long, broad), a far one (short, thin, many), and their accumulation.

    Far streaks lie at random distances z with density exp(-z / SCENE_MEDIAN) and are seen where the scene is farther
    than they are, so their density grows with depth as 1 - exp(-depth / SCENE_MEDIAN); drops too far to be told apart
    add up to a veil 1 - exp(-beta depth), the rain accumulation of Li et al. (2019) and Hu et al. (2019). Without a
    depth map the scene is a wall at SCENE_MEDIAN: both are uniform.
    """
    height, width = clean.shape[1:]
    lean = math.tan(math.radians(rng.uniform(-40, 40)))
    slant = math.sqrt(1 + lean * lean)
    grey, opaque = rng.uniform(0.85, 1.0), rng.random() ** 2  # mostly they add light
    bright, veil = math.exp(rng.uniform(math.log(0.25), math.log(0.85))), 0.12 * rng.random() ** 3
    taper = rng.uniform(0.1, 0.45)  # part of a streak over which each end fades
    share = rng.uniform(0.1, 0.6)
    layers = [
        {"length": rng.uniform(18, 50), "sigma": rng.uniform(0.5, 1.2), "share": share, "b": 1.0},
        {"length": rng.uniform(8, 20), "sigma": rng.uniform(0.35, 0.65), "share": 1 - share, "b": 0.7},
    ]
    strength = rmse / rmse_most  # 1 at severity 1
    veil *= strength
    dim = bright * strength**0.28

    def number(level: float, brightness: float, uniform: float) -> float:
        """Streaks per pixel for a given error: brightness makes part of it, the number of streaks the rest."""
        energy = mass = 0.0
        for layer in layers:
            b = brightness * layer["b"]
            size = layer["share"] * layer["length"] * layer["sigma"] * math.sqrt(math.pi)
            energy += 0.52 * b * b * size * (1 - 4 / 3 * taper)
            mass += 0.7 * b * size * math.sqrt(2) * (1 - taper)
        return _count_per_pixel(max(level**2 / _contrast(grey, opaque) - uniform**2, 1e-9), energy, mass)

    most = number(rmse_most, bright, veil / strength)
    kept = min(number(rmse, dim, veil) / most, 1.0)
    cover = np.zeros((height, width), np.float32)
    for far, layer in enumerate(layers):
        reach = int(1.5 * layer["length"]) + 4
        side = int(reach * abs(lean) / 2) + 6
        tall, wide = height + 2 * reach, width + 2 * side
        hidden = far and depth is not None
        count = most * layer["share"] * tall * wide / (1 - math.exp(-1) if hidden else 1)  # `most` is for the wall
        draw = rng.random((7 if hidden else 6, rng.poisson(count)), dtype=np.float32)
        keep = draw[5] < kept  # a heavier shower keeps every streak of a lighter one
        if hidden:
            y = draw[1] * (tall - 1) + layer["length"] * (0.5 + draw[2]) / slant / 2 - reach  # of the middle
            x = draw[0] * (wide - 1) - side
            seen = 1 - np.exp(-depth / SCENE_MEDIAN)
            keep &= draw[6] < seen[y.clip(0, height - 1).astype(int), x.clip(0, width - 1).astype(int)]
        draw = draw[:, keep]
        canvas = np.zeros(tall * wide, np.float32)
        rows = np.arange(int(math.ceil(layer["length"] * 1.5 / slant)) + 2, dtype=np.float32)
        half = 3 if layer["sigma"] > 0.8 else 2
        across = np.arange(-half, half + 1)
        for first in range(0, draw.shape[1], CHUNK):
            x, y, scale, light, turn = draw[:5, first : first + CHUNK, None]
            length = layer["length"] * (0.5 + scale) / slant
            y = y * (tall - 1)
            row = np.ceil(y) + rows
            along = row - y
            fade = np.clip(np.minimum(along, length - along) / (taper * length), 0, 1)
            fade *= dim * layer["b"] * (0.4 + 0.6 * light)
            centre = x * (wide - 1) + (lean + 0.06 * (turn - 0.5)) * (along - length / 2)
            nearest = np.rint(centre)
            off = (nearest - centre)[..., None] + across.astype(np.float32)
            value = fade[..., None] * np.exp(-0.5 * (off / np.float32(slant * layer["sigma"])) ** 2)
            column = nearest.astype(np.int64)[..., None] + across
            index = row.astype(np.int64)[..., None] * wide + column
            valid = (row < tall)[..., None] & (column >= 0) & (column < wide)
            index, value = np.where(valid, index, 0), np.where(valid, value, 0)
            canvas += np.bincount(index.ravel(), value.ravel(), minlength=canvas.size).astype(np.float32)
        cover += canvas.reshape(tall, wide)[reach : reach + height, side : side + width]
    if depth is not None:
        veil = 1 - np.power(np.float32(1 - veil), depth * np.float32(1 / SCENE_MEDIAN))
    return _overlay(clean, cover, np.full(3, grey, np.float32), veil, opaque)


def snow(clean: np.ndarray, rng: np.random.Generator, rmse: float, rmse_most: float) -> np.ndarray:
    """Soft flakes of three sizes, drawn out by their motion, and a veil of those too small to be seen."""
    height, width = clean.shape[1:]
    white = (rng.uniform(0.9, 1.0) + rng.uniform(-0.015, 0.015, 3)).clip(0, 1).astype(np.float32)
    heading, motion = rng.uniform(-1.0, 1.0), rng.uniform(0, 1.5)
    sine, cosine = math.sin(heading), math.cos(heading)
    opacity, veil = rng.uniform(0.6, 0.95), rng.uniform(0.02, 0.1)
    layers = [  # radius in px, how opaque (out-of-focus near flakes are thin), number relative to the small flakes
        {"r": rng.uniform(0.7, 1.2), "b": 1.0, "share": 1.0, "soft": 0.6},
        {"r": rng.uniform(1.5, 2.6), "b": 0.9, "share": rng.uniform(0.15, 0.35), "soft": 0.9},
        {"r": rng.uniform(3.2, 6.0), "b": 0.6, "share": rng.uniform(0.01, 0.05), "soft": 1.8},
    ]
    strength = rmse / rmse_most
    veil *= strength
    dim = opacity * strength**0.25

    def number(level: float, opaque: float, haze_part: float) -> float:
        energy = mass = 0.0
        for layer in layers:
            b = opaque * layer["b"]
            area = math.pi * layer["r"] ** 2 + 4 * layer["r"] ** 2 * motion * 0.5
            energy += layer["share"] * b * b * 0.65 * 0.8 * area
            mass += layer["share"] * b * 0.8 * area
        target = level**2 / _contrast(float(white.mean())) - haze_part**2
        return _count_per_pixel(max(target, 1e-9), energy, mass)

    most = number(rmse_most, opacity, veil / strength)
    kept = min(number(rmse, dim, veil) / most, 1.0)
    cover = np.zeros((height, width), np.float32)
    for layer in layers:
        reach = int(math.ceil(layer["r"] * 1.3 * (1 + motion) + layer["soft"])) + 1
        tall, wide = height + 2 * reach, width + 2 * reach
        draw = rng.random((6, rng.poisson(most * layer["share"] * tall * wide)), dtype=np.float32)
        draw = draw[:, draw[5] < kept]
        grid = np.arange(-reach, reach + 1)
        canvas = np.zeros((tall + 2 * reach) * (wide + 2 * reach), np.float32)
        step = max(1, CHUNK * 100 // grid.size**2)
        for first in range(0, draw.shape[1], step):
            x, y, size, drift, light, _ = draw[:, first : first + step, None, None]
            x, y = x * (wide - 1), y * (tall - 1)
            column, row = np.rint(x), np.rint(y)
            dx = grid[None, None, :].astype(np.float32) + (column - x)
            dy = grid[None, :, None].astype(np.float32) + (row - y)
            radius = layer["r"] * (0.7 + 0.6 * size)
            half = radius * motion * drift
            along = np.clip(dx * sine + dy * cosine, -half, half)  # nearest point of the flake's path
            gap = np.sqrt((dx - along * sine) ** 2 + (dy - along * cosine) ** 2)
            soft = np.clip((radius - gap) / (2 * layer["soft"]) + 0.5, 0, 1)
            value = dim * layer["b"] * (0.6 + 0.4 * light) * soft * soft * (3 - 2 * soft)
            index = (row.astype(np.int64) + reach + grid[None, :, None]) * (wide + 2 * reach)
            index = index + column.astype(np.int64) + reach + grid[None, None, :]
            canvas += np.bincount(index.ravel(), value.ravel(), minlength=canvas.size).astype(np.float32)
        canvas = canvas.reshape(tall + 2 * reach, wide + 2 * reach)
        cover += canvas[2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]
    return _overlay(clean, cover, white, veil)
