"""Soft masks: where a degradation acts. 1 inside, 0 outside, a soft border between [ours].

    where = mask("disc", 256, 384, seed=7)
    x = slerlib.degrade(clean, "rain", severity=0.5, seed=7, where=where)      # rain in a disc, the rest untouched

Every shape is drawn from a seed. `half`, `disc`, `field`, `gradient` and `shadow` are functions of the position alone;
`depth` follows a depth map and `object` the colours of the picture. Positions are in units of the shorter side.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .depth import synthetic_depth

SHAPES = ("half", "disc", "field", "gradient", "depth", "object", "shadow")
BORDER = (0.02, 0.15)  # width of the soft border, in units of the shorter side
WAVES = 5  # of a smooth field
CELLS = 48  # on the shorter side, of the grid on which an object grows
STEP = 0.03  # what a step of one cell costs a growing object, beside the change of colour on its way


def mask(
    shape: str, height: int, width: int, seed: int = 0, *, image: Tensor | None = None, depth: Tensor | None = None
) -> Tensor:
    """(height, width) float32 in 0..1.

    shape: `half` of the plane on a random side; a `disc` of about a fifth of the area; a smooth random `field`, about
    half of it inside; a `gradient` from 0 to 1 across the picture, in a random direction; the far part by `depth`; an
    `object`, a region of similar colour that grows from a random point to about a quarter of the area; a `shadow` with
    3 to 5 straight sides, each as soft as the thing that throws it is far.
    image: (3, height, width) in [0, 1], for `object`; without one it grows over a smooth random field.
    depth: (height, width) in any unit, for `depth`; without one `synthetic_depth` with the edges of `image`.
    Raises UserError for an unknown shape, a negative seed, and for an image or a depth of another size.
    """
    if shape not in SHAPES:
        raise UserError(f"The shape of a mask is one of {', '.join(SHAPES)}; got {shape!r}. Correct the name.")
    if isinstance(seed, bool) or int(seed) != seed or seed < 0:
        raise UserError(f"The seed of a mask is a whole number from 0 up; got {seed!r}. Try seed=0.")
    for name, plane, size in (("image", image, (3, height, width)), ("depth", depth, (height, width))):
        if plane is not None and tuple(plane.shape) != size:
            raise UserError(
                f"The {name} of a mask of {height} x {width} is a tensor {size}; got {tuple(plane.shape)}. Pass the "
                "size of the picture."
            )
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
    elif shape == "field":
        inside = _field(rng, v, u) / (4 * border) + 0.5
    elif shape == "depth":
        if depth is None:
            depth = synthetic_depth(height, width, seed, guide=image)
        inside = _far(rng, depth.cpu().numpy(), border)
    elif shape == "object":
        colours = _field(rng, v, u)[None] if image is None else image.detach().cpu().numpy()
        inside = _grown(rng, colours, side) / (4 * border) + 0.5
    else:
        inside = _shadow(rng, v, u)
    return torch.from_numpy(np.clip(inside, 0, 1).astype(np.float32))


def _field(rng: np.random.Generator, v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """A sum of plane waves of about one period over the shorter side, less its median."""
    total = np.zeros_like(v)
    for _ in range(WAVES):
        frequency, angle, phase = rng.uniform(0.5, 1.6), rng.uniform(0, 2 * math.pi), rng.uniform(0, 2 * math.pi)
        total += np.sin(2 * math.pi * frequency * (u * math.cos(angle) + v * math.sin(angle)) + phase)
    return (total - np.median(total)) / WAVES


def _far(rng: np.random.Generator, depth: np.ndarray, border: float) -> np.ndarray:
    """Above 0.5 beyond a random share of the places; the border is a part of the range of log depth."""
    log_depth = np.log(np.maximum(depth, 1e-6))
    near, limit, far = np.quantile(log_depth, (0.05, rng.uniform(0.35, 0.65), 0.95))
    return (log_depth - limit) / (4 * border * max(far - near, 1e-6)) + 0.5


def _grown(rng: np.random.Generator, colours: np.ndarray, side: int) -> np.ndarray:
    """1 at a random point, 0 at the border of a region of similar colour around it, negative outside.

    The cheapest way from the point to each cell of a coarse grid pays for every change of colour, so the region fills
    its own surface before it climbs over an edge.
    """
    from skimage.graph import MCP_Geometric

    step = max(1, round(side / CELLS))
    full = torch.from_numpy(colours)[None]
    coarse = torch.nn.functional.avg_pool2d(full, step, ceil_mode=True)[0].numpy()
    change = np.hypot(*np.gradient(coarse, axis=(1, 2))).sum(0) if min(coarse.shape[1:]) > 1 else 0 * coarse[0]
    start = [int(n * rng.uniform(0.2, 0.8)) for n in change.shape]
    cost, _ = MCP_Geometric(STEP + change).find_costs([start])
    near = torch.from_numpy(1 - cost / np.quantile(cost, rng.uniform(0.15, 0.35)).clip(min=STEP))[None, None]
    return torch.nn.functional.interpolate(near, colours.shape[1:], mode="bilinear")[0, 0].numpy()


def _shadow(rng: np.random.Generator, v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """What 3 to 5 half planes about a random middle have in common, each with a border of its own."""
    sides, start = int(rng.integers(3, 6)), rng.uniform(0, 2 * math.pi)
    y, x = rng.uniform(0.35, 0.65) * v.max(), rng.uniform(0.35, 0.65) * u.max()
    inside = np.full_like(v, np.inf)
    for n in range(sides):
        angle = start + 2 * math.pi * (n + rng.uniform(-0.3, 0.3)) / sides
        across = (u - x) * math.cos(angle) + (v - y) * math.sin(angle)
        inside = np.minimum(inside, (rng.uniform(0.25, 0.5) - across) / rng.uniform(BORDER[0], 2 * BORDER[1]) + 0.5)
    return inside
