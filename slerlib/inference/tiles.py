"""Large images in overlapping tiles: memory is bounded by the tile. [ours]

The encoder sees the whole image once. Its guide map is cut to each tile, and one path serves all tiles unless each is
to choose its own. Tiles start on the network's grid of cells (`SLERIR.cell`). There the local statistics (TLC) of a
tile are those of the whole image, except next to its edges, which therefore get no weight in the blend.
The result is close to that of the whole image, not equal. Measured with the shipped `tiny` on three photographs of
1536 x 1536: the mean difference is at most 0.1/255; the largest of a pixel is 4.5/255 for haze, low light and noise,
and 17/255 for rain.
Legend: B batch, C channels, H W pixels, h w token map, T tiles along one axis.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace

import torch
from torch import Tensor

from ..model.network import SLERIR
from ..model.router import Trace

OVERLAP_CELLS = 2  # between neighbours: half of it without weight, half of it blend


def restore_tiled(net: SLERIR, x_BCHW: Tensor, tile: int, path_BL: Tensor | None, route: str) -> tuple[Tensor, Trace]:
    """Padded images -> (restored images of the same size, Trace).

    The trace has a row for each image, or for each tile (images one after the other, tiles row by row) when the tiles
    choose their own paths: with `route="tile"`, and with the `sphere_stage` router, whose layers see only the tile.
    """
    y_BCHW = torch.zeros_like(x_BCHW, dtype=torch.float32)
    traces = []
    for b in range(len(x_BCHW)):
        path = None if path_BL is None else path_BL[b : b + 1]
        y_BCHW[b], trace = _one(net, x_BCHW[b : b + 1], tile, path, route)
        traces.append(trace)
    return y_BCHW, join(traces)


def _one(net: SLERIR, x_BCHW: Tensor, tile: int, path: Tensor | None, route: str) -> tuple[Tensor, Trace]:
    (height, width), s = x_BCHW.shape[-2:], net.cfg.stride
    own_way = path is None and (route == "tile" or net.cfg.router == "sphere_stage")
    encoding = net.encode(x_BCHW, route_by="image" if route == "tile" else route)
    whole = net.route(encoding, path, x_BCHW=x_BCHW)
    rows = spans(height, sides(tile, net.cell, width), net.cell)
    columns = spans(width, sides(tile, net.cell, height), net.cell)
    row_weight_TH, column_weight_TW = (weights(parts, net.cell, x_BCHW.device) for parts in (rows, columns))
    y_CHW = torch.zeros(x_BCHW.shape[1:], device=x_BCHW.device)
    traces = []
    for (top, bottom), row_weight_H in zip(rows, row_weight_TH, strict=True):
        for (left, right), column_weight_W in zip(columns, column_weight_TW, strict=True):
            part = x_BCHW[..., top:bottom, left:right]
            if path is None and route == "tile":
                own = net.encode(part, route_by="image")
                guide, trace = own.guide, net.route(own, x_BCHW=part)
            else:
                tokens = slice(top // s, bottom // s), slice(left // s, right // s)
                guide = None if encoding.guide is None else encoding.guide[..., *tokens]
                maps = None if whole.path_map is None else whole.path_map[..., *tokens]
                trace = replace(whole, path_map=maps)
            y, trace = net.backbone(part, guide, trace, reroute=path is None)
            y_CHW[:, top:bottom, left:right] += y[0] * (row_weight_H[top:bottom, None] * column_weight_W[left:right])
            traces.append(replace(trace, local_angle=None) if own_way else trace)
    return y_CHW, join(traces) if own_way else whole


def sides(tile: int, cell: int, across: int) -> int:
    """Length of a tile along one axis, in whole cells, for an image that measures `across` pixels along the other.

    At least 4 cells, and long enough in a narrow image that a tile has more than 3 x 3 cells: up to that size the
    network takes global statistics.
    """
    return cell * max(tile // cell, 4, 9 * cell // across + 1)


def spans(length: int, side: int, cell: int) -> list[tuple[int, int]]:
    """[start, end) of the tiles along an axis; starts are multiples of `cell`, the last tile has up to a cell more."""
    if length < side + cell:
        return [(0, length)]
    last = (length - side) // cell * cell
    starts = [*range(0, last, side - OVERLAP_CELLS * cell), last]
    return [(start, start + side) for start in starts[:-1]] + [(last, length)]


def weights(parts: list[tuple[int, int]], cell: int, device: torch.device | str = "cpu") -> Tensor:
    """(T, length) weight of each tile at each place: raised cosines that sum to 1, 0 next to a tile's inner edges."""
    length, overlap = parts[-1][1], OVERLAP_CELLS * cell
    place = torch.arange(length, device=device) + 0.5
    weight_TL = torch.zeros(len(parts), length, device=device)
    for weight_L, (start, end) in zip(weight_TL, parts, strict=True):
        depth = torch.full_like(place, math.inf) if start == 0 else place - start
        depth = depth if end == length else torch.minimum(depth, end - place)
        ramp = (2 * depth / overlap - 0.5).clamp(0, 1)
        weight_L[start:end] = (0.5 - 0.5 * torch.cos(math.pi * ramp))[start:end]
    return weight_TL / weight_TL.sum(0)


def join(traces: list[Trace]) -> Trace:
    """One trace with the rows of all."""
    if len(traces) == 1:
        return traces[0]
    values = {f.name: [getattr(trace, f.name) for trace in traces] for f in fields(Trace)}
    return Trace(**{k: torch.cat(v) if isinstance(v[0], Tensor) else v[0] for k, v in values.items()})
