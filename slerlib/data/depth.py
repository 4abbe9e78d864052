"""Depth maps: read from RGB-D frames, or synthetic for a photograph without one [ours].

The synthetic map is a function of the position in the scene, so that a window needs only the time of its own pixels:
training cuts a patch from a large photograph and needs the depth of that patch.

Legend: u, v = column and row position in units of the scene's height; depth in metres.
"""

import math
import os
import zlib
from collections.abc import Callable

import numpy as np
import torch

from slerlib.errors import UserError

SCENE_MEDIAN = 10.0  # metres; the density of haze is calibrated for scenes with this median depth
NEAREST, FARTHEST = 1.0, 300.0  # metres
COARSE = 24  # grid on which the median of the whole scene is taken
CELLS, REACH, SMOOTH = 48, 4, 0.004  # guided filter: cells on the short side, window radius in cells, regulariser


def _scene(rng: np.random.Generator) -> dict:
    """The random numbers of one scene: ground plane, backdrop, relief waves and upright objects."""
    waves, objects = 6, rng.integers(0, 4)
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
        "place": rng.uniform(0.0, 1.4, objects),
        "base": rng.uniform(0.3, 1.1, objects),
        "width": rng.uniform(0.08, 0.35, objects),
        "tall": rng.uniform(0.12, 0.5, objects),
    }


def _ground(scene: dict, v: np.ndarray) -> np.ndarray:
    """Log depth of the ground plane and of the backdrop behind it, by row: depth falls as 1 / (v - horizon)."""
    below = np.maximum(v - scene["horizon"], 0) / (1 - scene["horizon"])
    above = np.maximum(scene["horizon"] - v, 0) / scene["horizon"]
    return scene["sky"] * above - np.log(below + scene["nearness"])


def _bump(x: np.ndarray) -> np.ndarray:
    """1 within |x| < 0.5, about 0 beyond |x| > 1.4; the limit keeps exp from slow denormal numbers."""
    return np.exp(-np.minimum(x**4, 50))


def _log_depth(scene: dict, v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Log depth (not yet normalised) at rows v (h,) and columns u (w,) -> (h, w) float64.

    Every part is a sum of products of a function of v and one of u, so the map is one small matrix product. For the
    waves, cos(a + b) = cos a cos b - sin a sin b; an upright object has, over all its rows, the depth of the ground at
    its foot.
    """
    a = v[:, None] * scene["fv"] + scene["phase"]
    b = u[:, None] * scene["fu"]
    ground = _ground(scene, v)[:, None]
    foot = _ground(scene, scene["base"])
    upright = _bump((v[:, None] - scene["base"] + scene["tall"]) / scene["tall"]) * (foot - ground)
    broad = _bump((u[:, None] - scene["place"]) / scene["width"])
    one_v, one_u = np.ones((len(v), 1)), np.ones((len(u), 1))
    rows = np.concatenate([scene["height"] * np.cos(a), -scene["height"] * np.sin(a), upright, ground, one_v], axis=1)
    columns = np.concatenate([np.cos(b), np.sin(b), broad, one_u, scene["tilt"] * u[:, None]], axis=1)
    return rows @ columns.T


def _box(cells: int) -> np.ndarray:
    """Matrix (cells, cells) that averages each cell with its neighbours up to REACH away."""
    at = np.arange(cells)
    near = (np.abs(at[:, None] - at) <= REACH).astype(np.float32)
    return near / near.sum(1, keepdims=True)


def _enlarge(coarse: np.ndarray, rows: np.ndarray, columns: np.ndarray, step: int) -> np.ndarray:
    """Linear interpolation of samples taken every `step` pixels, at the pixels of these rows and columns."""
    for pixels in (rows, columns):  # along the first axis, then transposed: twice brings the axes back
        at = np.minimum(pixels / step, len(coarse) - 1)
        before = at.astype(int)
        after = np.minimum(before + 1, len(coarse) - 1)
        part = (at - before).astype(np.float32)[:, None]
        coarse = (coarse[before] * (1 - part) + coarse[after] * part).T
    return coarse


def follow_edges(
    coarse: Callable[[np.ndarray, np.ndarray], np.ndarray], guide: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Log depth (h, w) with the edges of the photograph: the fast guided filter (He and Sun, 2015).

    coarse: rows (n,) and columns (m,), in pixels -> log depth (n, m). guide: the whole photograph (3, H, W), uint8 or
    float in [0, 1]. Around each point of a coarse grid the depth is fitted as a line in the brightness; the
    coefficients are interpolated to the pixels of the window. The grid covers the whole scene, so that all windows
    agree.
    """
    height, width = guide.shape[1:]
    white = np.float32(255 if guide.dtype == np.uint8 else 1)
    step = max(1, round(min(height, width) / CELLS))
    light = guide[:, ::step, ::step].mean(0, dtype=np.float32) / white
    v, u = (np.arange(0, n, step) + 0.5 for n in (height, width))
    log_depth = coarse(v, u).astype(np.float32)
    box_v, box_u = _box(len(v)), _box(len(u))
    products = np.stack([light, log_depth, light * log_depth, light * light])
    mean_light, mean_depth, product, square = box_v @ products @ box_u.T
    slope = (product - mean_light * mean_depth) / (square - mean_light**2 + np.float32(SMOOTH))
    slope, level = box_v @ np.stack([slope, mean_depth - slope * mean_light]) @ box_u.T
    top, left = rows[0], columns[0]
    brightness = guide[:, top : top + len(rows), left : left + len(columns)].mean(0, dtype=np.float32) / white
    return _enlarge(slope, rows, columns, step) * brightness + _enlarge(level, rows, columns, step)


def synthetic_depth(
    height: int,
    width: int,
    seed: int = 0,
    *,
    window: tuple[int, int, int, int] | None = None,
    guide: torch.Tensor | None = None,
) -> torch.Tensor:
    """Depth map of an imagined scene: a ground plane up to a horizon, relief, upright objects [ours].

    height, width: of the whole scene, in pixels. window: (top, left, h, w) of the part to return.
    guide: the whole photograph (3, height, width), uint8 or float in [0, 1]; the depth then has edges at its edges.
    Returns: (height, width) float32 metres, or (h, w) for a window: exactly that part of the whole map. The median of
    the whole scene is about `SCENE_MEDIAN` (10 m), so that a density of haze means the same in every scene.
    Raises UserError for a size below 1, a window that leaves the scene, or a guide of another size.
    """
    top, left, h, w = (0, 0, height, width) if window is None else window
    if min(height, width, h, w) < 1 or min(top, left) < 0 or top + h > height or left + w > width:
        raise UserError(
            f"A window (top, left, h, w) must lie inside a scene of at least 1x1 pixels; got {window} in a scene of "
            f"{height}x{width}. Pass the size of the whole photograph and the window cut from it."
        )
    if guide is not None and tuple(guide.shape) != (3, height, width):
        raise UserError(
            f"The guide is the whole photograph, (3, {height}, {width}); got {tuple(guide.shape)}. "
            "Pass the photograph that the window was cut from, not the window."
        )
    scene = _scene(np.random.default_rng([int(seed), zlib.crc32(b"depth")]))
    middle = (np.arange(COARSE) + 0.5) / COARSE
    median = float(np.median(_log_depth(scene, middle, middle * (width / height))))
    rows, columns = np.arange(top, top + h), np.arange(left, left + w)
    if guide is None:
        log_depth = _log_depth(scene, (rows + 0.5) / height, (columns + 0.5) / height).astype(np.float32)
    else:

        def coarse(v: np.ndarray, u: np.ndarray) -> np.ndarray:
            return _log_depth(scene, v / height, u / height)

        log_depth = follow_edges(coarse, guide.detach().cpu().numpy(), rows, columns)
    metres = np.exp(log_depth + np.float32(math.log(SCENE_MEDIAN) - median))
    return torch.from_numpy(metres.clip(NEAREST, FARTHEST))


def grey_values(path: str | os.PathLike, subject: str) -> np.ndarray:
    """The values in a picture file; (H, W) if it is grey. Raises UserError for a file that is not a picture."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return np.asarray(picture if picture.mode != "P" else picture.convert("RGB"))
    except OSError as error:
        raise UserError(f"{subject} is a readable grey picture; {path}: {error}. Check the path.") from error


def read_depth(path: str | os.PathLike, metres: float | None = None) -> torch.Tensor:
    """Measured depth of an RGB-D frame, from a grey PNG as NYU, 7-Scenes, TUM and ScanNet keep it.

    metres: length of one step; by default 0.001, the millimetres of 16-bit files. An 8-bit picture has no usual unit
        and needs one, for example 50 / 255 for a scene that is 50 m deep.
    Returns: (H, W) float32 metres, positive. Pixels without a measurement (0, and 65535 in 16 bits) take the nearest
    measured depth. Raises UserError for another kind of file, a file without any measurement, or a unit not above 0.
    """
    from scipy.ndimage import distance_transform_edt

    steps = grey_values(path, "A depth map")
    if steps.ndim != 2 or steps.dtype.kind not in "ui":
        raise UserError(
            f"A depth map is a grey picture of 8 or 16 bits; {path} has shape {steps.shape} of {steps.dtype}. "
            "Save the depth as one channel of whole millimetres."
        )
    eight_bits = steps.dtype == np.uint8
    unit = 0.001 if metres is None and not eight_bits else metres
    if unit is None or not 0 < unit < math.inf:
        raise UserError(
            f"An 8-bit depth map has no unit of its own, and a unit is above 0; got metres={metres!r} for {path}. "
            "Pass the length of one step, for example metres=50 / 255 for a scene 50 m deep."
        )
    missing = (steps <= 0) | (not eight_bits and steps >= 65535)
    if missing.all():
        raise UserError(f"A depth map needs at least one measurement; {path} is empty. Check the file.")
    depth = steps.astype(np.float32) * np.float32(unit)
    if missing.any():
        rows, columns = distance_transform_edt(missing, return_distances=False, return_indices=True)
        depth = depth[rows, columns]
    return torch.from_numpy(depth)
