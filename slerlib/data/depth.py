"""A plausible depth map for a photograph that has none, so that haze can follow distance [ours].

The map is an analytic function of the position in the scene, so the depth of a window costs what the window costs:
training cuts a patch from a large photograph and needs the depth of that patch alone.

Legend: u, v = column and row position in units of the scene's height; depth in metres.
"""

import math
import zlib

import numpy as np
import torch

from slerlib.errors import UserError

SCENE_MEDIAN = 10.0  # metres; the density of haze is calibrated for scenes with this median depth
NEAREST, FARTHEST = 1.0, 300.0  # metres
COARSE = 24  # grid on which the median of the whole scene is taken


def _scene(rng: np.random.Generator) -> dict:
    """The random numbers of one scene: ground plane, backdrop, relief waves and upright objects."""
    waves = 6
    frequency = rng.uniform(0.4, 3.0, waves)
    direction = rng.uniform(0, 2 * math.pi, waves)
    return {
        "horizon": rng.uniform(0.1, 0.6),
        "nearness": rng.uniform(0.06, 0.35),  # depth of the foreground over depth of the backdrop
        "sky": rng.uniform(0.0, 1.0),  # extra log depth at the top of the picture
        "tilt": rng.normal(0, 0.25),
        "fu": 2 * math.pi * frequency * np.cos(direction),
        "fv": 2 * math.pi * frequency * np.sin(direction),
        "phase": rng.uniform(0, 2 * math.pi, waves),
        "height": rng.normal(0, 0.16, waves) / np.sqrt(frequency),
        "objects": [
            {
                "u": rng.uniform(0.0, 1.4),
                "base": rng.uniform(0.3, 1.1),
                "width": rng.uniform(0.06, 0.3),
                "tall": rng.uniform(0.1, 0.45),
                "edge": rng.uniform(4.0, 16.0),
            }
            for _ in range(rng.integers(0, 5))
        ],
    }


def _ground(scene: dict, v: np.ndarray) -> np.ndarray:
    """Log depth of the ground plane and of the backdrop behind it, by row: depth falls as 1 / (v - horizon)."""
    below = np.maximum(v - scene["horizon"], 0) / (1 - scene["horizon"])
    above = np.maximum(scene["horizon"] - v, 0) / scene["horizon"]
    return scene["sky"] * above - np.log(below + scene["nearness"])


def _log_depth(scene: dict, v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Log depth (not yet normalised) at rows v (h,) and columns u (w,) -> (h, w) float32."""
    # cos(a + b) = cos a cos b - sin a sin b turns the waves into one small matrix product
    a = v[:, None] * scene["fv"] + scene["phase"]
    b = u[:, None] * scene["fu"]
    rows = np.concatenate([scene["height"] * np.cos(a), -scene["height"] * np.sin(a)], axis=1)
    columns = np.concatenate([np.cos(b), np.sin(b)], axis=1)
    rows = np.concatenate([rows, _ground(scene, v)[:, None], np.ones_like(v)[:, None]], axis=1)
    columns = np.concatenate([columns, np.ones_like(u)[:, None], (scene["tilt"] * u)[:, None]], axis=1)
    log_depth = (rows.astype(np.float32)) @ (columns.astype(np.float32)).T
    for thing in scene["objects"]:  # an upright object stands at one distance: that of the ground at its foot
        dv = ((v - thing["base"] + thing["tall"]) / thing["tall"]) ** 2
        du = ((u - thing["u"]) / thing["width"]) ** 2
        if dv.min() + du.min() > 1 + 12 / thing["edge"]:
            continue
        inside = thing["edge"] * (1 - dv[:, None].astype(np.float32) - du[None].astype(np.float32))
        inside = 1 / (1 + np.exp(-np.clip(inside, -30, 30)))
        log_depth += inside * (float(_ground(scene, np.array([thing["base"]]))[0]) - log_depth)
    return log_depth


def synthetic_depth(
    height: int, width: int, seed: int = 0, *, window: tuple[int, int, int, int] | None = None
) -> torch.Tensor:
    """Depth map of an imagined scene: a ground plane up to a horizon, relief, upright objects [ours].

    Arguments: size of the whole scene in pixels; seed; ``window = (top, left, h, w)`` asks for that part only.
    Returns: (height, width) float32 metres, or (h, w) for a window: exactly that part of the whole map. The median of
    the whole scene is ``SCENE_MEDIAN`` (10 m), so that one density of haze means the same in every scene.
    Raises UserError for a size below 1 or a window that leaves the scene.
    """
    top, left, h, w = (0, 0, height, width) if window is None else window
    if min(height, width, h, w) < 1 or min(top, left) < 0 or top + h > height or left + w > width:
        raise UserError(
            f"A window (top, left, h, w) must lie inside a scene of at least 1x1 pixels; got {window} in a scene of "
            f"{height}x{width}. Pass the size of the whole photograph and the window cut from it."
        )
    scene = _scene(np.random.default_rng([int(seed), zlib.crc32(b"depth")]))
    coarse = _log_depth(
        scene, (np.arange(COARSE) + 0.5) / COARSE, (np.arange(COARSE) + 0.5) / COARSE * (width / height)
    )
    v = (np.arange(top, top + h) + 0.5) / height
    u = (np.arange(left, left + w) + 0.5) / height
    log_depth = _log_depth(scene, v, u) + (math.log(SCENE_MEDIAN) - float(np.median(coarse)))
    return torch.from_numpy(np.clip(np.exp(log_depth), NEAREST, FARTHEST))
