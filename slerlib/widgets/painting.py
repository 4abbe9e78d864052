"""Paint damage onto a photograph; the map of where and the restored picture follow the brush."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .. import plots
from ..data.degrade import degrade
from ..data.masks import mask
from ..evaluation.metrics import psnr
from ..inference.restore import restore
from ..model.router import Trace
from ..plots.pictures import decibels
from ..plots.style import class_looks
from . import drawing
from .album import GIVEN, SIDE, Album, Photograph
from .degrading import damage_controls, kind_and_severity, label
from .explorer import Explorer, network, slider
from .frames import Look, Picture, jpeg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..model.network import SLERIR

CELL = 2  # pixels of the photograph a side of a place of the painted mask
NAMED = 0.02  # share of the places from which a class is named


def paint(
    model: SLERIR, image: Photograph, degradation: str = "noise", severity: float = 0.5, seed: int = 0, side: int = SIDE
) -> Explorer:
    """Explorer of damage in a place: paint it with the mouse or the keys, see where the network sees it.

    model: with a path for every place where it was trained so, as `tiny` was (`restore`'s route).
    image, degradation, severity, seed, side: as for `degrade_and_restore`.
    Controls: picture, degradation, severity, seed, brush (its radius in pixels), where (the painted mask, bytes of
    `mask_size`); buttons. Values: where (H, W), degraded, restored, trace, psnr_input, psnr, hits (share of the
    painted places that are named as the degradation; None where nothing is painted or there is no such anchor).
    Raises UserError as `degrade_and_restore`.
    """
    network(model)
    album = Album(image, side)
    degradation, severity = kind_and_severity(degradation, severity)
    degrade(album[GIVEN], degradation, severity, seed)

    @cache
    def brush():
        from .parts import Brush

        size = mask_size(album[GIVEN])
        return Brush(value=disc(size), size=list(size))

    def make_controls():
        thick = slider("brush", 20, 2, 4, 80, "Radius of the brush in pixels")
        thick.observe(lambda change: setattr(brush(), "radius", change["new"] / CELL), "value")
        brush().radius = thick.value / CELL
        return damage_controls(degradation, severity, seed) | {"brush": thick, "where": brush()}

    def look(picture: str, where: bytes, degradation: str, severity: float, seed: int, **brush_radius: float) -> Look:
        clean_CHW = album[picture]
        size = mask_size(clean_CHW)
        if len(where) != size[0] * size[1]:  # a photograph of another size came
            brush().size = list(size)
            brush().value = where = disc(size)
        where_HW = soft(where, clean_CHW)
        degraded_CHW = degrade(clean_CHW, degradation, severity, seed, where=where_HW)
        brush().photo = jpeg(degraded_CHW)  # under the brush at once; the network takes twenty times as long
        return _look(model, clean_CHW, where_HW, degraded_CHW, degradation, label(degradation, severity))

    buttons = {
        "clean all": lambda: {"where": bytes(len(brush().value))},
        "damage all": lambda: {"where": b"\xff" * len(brush().value)},
    }
    still = partial(_still, model, album[GIVEN], degradation, severity, seed)
    return Explorer("Paint damage", make_controls, look, still, buttons, album, brush, quiet=["brush"])


def mask_size(x_CHW: Tensor) -> tuple[int, int]:
    """Rows and columns of the painted mask."""
    return tuple(-(-length // CELL) for length in x_CHW.shape[1:])


def disc(size: tuple[int, int]) -> bytes:
    """A painted disc in the left half, where the explorer begins."""
    v, u = np.mgrid[: size[0], : size[1]]
    inside = np.hypot(v - size[0] / 2, u - size[1] / 3) < min(size) / 4
    return (255 * inside).astype(np.uint8).tobytes()


def soft(where: bytes, x_CHW: Tensor) -> Tensor:
    """(H, W) mask in 0..1 of the size of a photograph, with a soft border."""
    rows, columns = mask_size(x_CHW)
    mask_HW = torch.frombuffer(bytearray(where), dtype=torch.uint8).view(1, 1, rows, columns).float() / 255
    wide = F.avg_pool2d(F.pad(mask_HW, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return F.interpolate(wide, x_CHW.shape[1:], mode="bilinear", align_corners=False)[0, 0].clamp(0, 1)


def map_pixels(trace: Trace, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: the colour of the nearest class at each place, as in `plots.where_map`."""
    looks = class_looks(trace.anchor_names, ())
    colours = np.array([[*bytes.fromhex(looks[name]["color"][1:])] for name in trace.anchor_names], np.uint8)
    where_hw = trace.where()[0]
    rows = torch.arange(height) * where_hw.shape[0] // height
    columns = torch.arange(width) * where_hw.shape[1] // width
    return colours[where_hw[rows][:, columns].numpy()]


def class_shares(trace: Trace) -> dict[str, float]:
    """Share of the places of every class that has at least 2 %, the largest first."""
    counts = torch.bincount(trace.where()[0].flatten(), minlength=len(trace.anchor_names)) / trace.where()[0].numel()
    order = counts.argsort(descending=True).tolist()
    return {trace.anchor_names[k]: counts[k].item() for k in order if counts[k] >= NAMED}


def best_route(model: SLERIR) -> str | None:
    """A path for every place where the network can choose one."""
    return "place" if model.cfg.router == "sphere" and not model.router.linear_space and model.cfg.experts > 1 else None


def _look(
    model: SLERIR, clean_CHW: Tensor, where_HW: Tensor, degraded_CHW: Tensor, degradation: str, name: str
) -> Look:
    restored_CHW, trace = restore(model, degraded_CHW, route=best_route(model), return_trace=True)
    before, after = psnr(degraded_CHW, clean_CHW), psnr(restored_CHW, clean_CHW)
    seen = class_shares(trace)
    hits = _hits(trace, where_HW, degradation)
    line = f"{name} on {where_HW.mean():.0%} of the picture: input {decibels(before, 2)}, restored "
    line += f"{decibels(after, 2)}. Places look like {', '.join(f'{kind} {share:.0%}' for kind, share in seen.items())}"
    line += f"; {hits:.0%} of the painted places are named {_family(degradation)}." if hits is not None else "."
    looks = class_looks(trace.anchor_names, ())
    key = drawing.key({kind: looks[kind]["color"] for kind in seen}, "nearest class at each place")
    pictures = (
        Picture("nearest class", map_pixels(trace, *clean_CHW.shape[1:]), wide=320),
        Picture("restored", restored_CHW, f"{decibels(before)} → {decibels(after)}", wide=320),
    )
    values = {
        "where": where_HW,
        "degraded": degraded_CHW,
        "restored": restored_CHW,
        "trace": trace,
        "hits": hits,
    }
    values |= {"psnr_input": before, "psnr": after}
    aside = (Picture("painted", degraded_CHW, wide=320),)
    return Look(line, pictures, values, (key,), aside=aside)


def _family(degradation: str) -> str:
    return "noise of any level" if degradation == "noise" else degradation


def _hits(trace: Trace, where_HW: Tensor, degradation: str) -> float | None:
    """Share of the painted places whose nearest class is the degradation; the levels of noise count alike."""
    kinds = [k for k, name in enumerate(trace.anchor_names) if name.startswith(degradation)]
    painted_hw = F.adaptive_avg_pool2d(where_HW[None], trace.where().shape[1:])[0] > 0.5
    if not kinds or not painted_hw.any():
        return None
    right_hw = torch.isin(trace.where()[0], torch.tensor(kinds))
    return right_hw[painted_hw].float().mean().item()


def _still(model: SLERIR, clean_CHW: Tensor, degradation: str, severity: float, seed: int) -> list[Figure]:
    rows, grid = {}, []
    for shape in ("half", "disc"):
        where_HW = mask(shape, *clean_CHW.shape[1:], seed)
        degraded_CHW = degrade(clean_CHW, degradation, severity, seed, where=where_HW)
        restored_CHW, trace = restore(model, degraded_CHW, route=best_route(model), return_trace=True)
        rows[shape] = (degraded_CHW, trace)
        grid.append((shape, clean_CHW, degraded_CHW, restored_CHW))
    return [plots.where_map(rows), plots.picture_grid(grid)]
