"""Soft masks: where a degradation acts. 1 inside, 0 outside, a soft border between [ours].

    where = mask("disc", 256, 384, seed=7)
    x = slerlib.degrade(clean, "rain", severity=0.5, seed=7, where=where)      # rain in a disc, the rest untouched

Every shape is a function of the position alone, drawn from a seed. Positions are in units of the shorter side.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError

SHAPES = ("half", "disc", "field", "gradient")
BORDER = (0.02, 0.15)  # width of the soft border, in units of the shorter side
WAVES = 5  # of a smooth field


def mask(shape: str, height: int, width: int, seed: int = 0) -> Tensor:
    """(height, width) float32 in 0..1.

    shape: `half` of the plane on a random side; a `disc` of about a fifth of the area; a smooth random `field`, about
    half of it inside; a `gradient` from 0 to 1 across the picture, in a random direction.
    Raises UserError for an unknown shape.
    """
    if shape not in SHAPES:
        raise UserError(f"The shape of a mask is one of {', '.join(SHAPES)}; got {shape!r}. Correct the name.")
    rng = np.random.default_rng([int(seed), SHAPES.index(shape)])
    side = min(height, width)
    v, u = np.mgrid[:height, :width].astype(np.float32) / side
    border = rng.uniform(*BORDER)
    angle = rng.uniform(0, 2 * math.pi)
    across = (u - width / side / 2) * math.cos(angle) + (v - height / side / 2) * math.sin(angle)
    reach = np.abs(across).max()
    if shape == "gradient":
        inside = across / (2 * reach) + 0.5
    elif shape == "half":
        inside = (across - rng.uniform(-0.3, 0.3) * reach) / border + 0.5
    elif shape == "disc":
        radius = math.sqrt(rng.uniform(0.15, 0.25) * height * width / math.pi) / side
        y, x = rng.uniform(0.25, 0.75) * height / side, rng.uniform(0.25, 0.75) * width / side
        inside = (radius - np.hypot(v - y, u - x)) / border + 0.5
    else:
        inside = _field(rng, v, u) / (4 * border) + 0.5
    return torch.from_numpy(np.clip(inside, 0, 1).astype(np.float32))


def _field(rng: np.random.Generator, v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """A sum of plane waves of about one period over the shorter side, less its median."""
    total = np.zeros_like(v)
    for _ in range(WAVES):
        frequency, angle, phase = rng.uniform(0.5, 1.6), rng.uniform(0, 2 * math.pi), rng.uniform(0, 2 * math.pi)
        total += np.sin(2 * math.pi * frequency * (u * math.cos(angle) + v * math.sin(angle)) + phase)
    return (total - np.median(total)) / WAVES
