"""Large images in overlapping tiles: memory is bounded by the tile. [ours]

The encoder looks at the whole image once (look.py). Its guide map is cut to each tile, and one path serves all tiles
unless each is to choose its own. Tiles start on the network's grid of cells (`SLERIR.cell`). There the local statistics
(TLC) of a tile are those of the whole image, except next to its edges, which therefore get no weight in the blend.
A statistic reaches 1.5 cells, and each block hands it on; so the result is close to that of the whole image, not equal.
Measured with the shipped `tiny` at 1536 x 1536 (`benchmarks/tiles.py`): see docs/restoring.md.
Tiles come row by row. A row of pixels that no later tile reaches goes to the output at once.
Legend: B batch, C channels, H W pixels, h w token map, T tiles along one axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace

import torch
from torch import Tensor

from ..images.rows import Pixels
from ..model.network import SLERIR, SMALLEST
from ..model.router import Trace
from .look import Look

ROWS = 64  # that the output gets at a time: it makes copies of them
OVERLAP_CELLS = 4  # between neighbours: half of it without weight, half of it blend; fewer where tiles are small


def restore_tiled(
    net: SLERIR,
    source,
    write: Callable[[int, Tensor], None],
    tile: int,
    path_1L: Tensor | None,
    route: str,
    maps: bool = True,
    folder=None,
) -> tuple[Trace, dict[str, int]]:
    """Restore one picture by tiles; returns (Trace, number of places that are nearest to each class).

    source: a tensor (3, H, W) in [0, 1] or `images.rows.Rows`. write: takes (top, (3, n, W) float32, not clamped), from
    the top down. maps: whether the trace holds a value for every place. folder: of temporary files. The trace has one
    row, or one for each tile, row by row, when the tiles choose their own paths: with `route="tile"`, and with the
    `sphere_stage` router, whose layers see only the tile.
    """
    pixels, s = Pixels(source, net.multiple, SMALLEST), net.cfg.stride
    device = next(net.parameters()).device
    own_way = path_1L is None and (route == "tile" or net.cfg.router == "sphere_stage")
    look = whole = None
    counts: dict[str, int] = {}
    if path_1L is not None or route != "tile":
        look = Look(net, pixels, folder)
        whole, counts = look.route(path_1L, route == "place", maps)
    rows, columns = layout(net, pixels.height, pixels.width, tile)
    row_weight_TH, column_weight_TW = (weights(parts, net.cell, device) for parts in (rows, columns))
    traces, carry = [], torch.zeros(3, 0, pixels.width, device=device)
    for n, ((top, bottom), row_weight_H) in enumerate(zip(rows, row_weight_TH, strict=True)):
        y_CHW = torch.zeros(3, bottom - top, pixels.width, device=device)
        y_CHW[:, : carry.shape[1]] = carry
        guide = None if look is None else look.guide(top // s, bottom // s)
        for (left, right), column_weight_W in zip(columns, column_weight_TW, strict=True):
            part = pixels.part(top, bottom, left, right)[None].to(device)
            tokens = slice(left // s, right // s)
            if look is None:
                own = net.encode(part, route_by="image")
                cut, trace = own.guide, net.route(own, x_BCHW=part)
            else:
                cut, trace = None if guide is None else guide[..., tokens], replace(whole, local_angle=None)
                if whole.path_map is not None:
                    trace = _cut(whole, slice(top // s, bottom // s), tokens, device)
            y, trace = net.backbone(part, cut, trace, reroute=path_1L is None)
            y_CHW[..., left:right] += y[0] * (row_weight_H[top:bottom, None] * column_weight_W[left:right])
            if own_way:
                traces.append(replace(trace, local_angle=None))
        until = bottom if n + 1 == len(rows) else rows[n + 1][0]  # no later tile reaches the rows above
        end = min(until, pixels.size[0])
        for start in range(top, end, ROWS):
            write(start, y_CHW[:, start - top : min(start + ROWS, end) - top, : pixels.size[1]])
        carry = y_CHW[:, until - top :]
    return (join(traces) if own_way else whole), ({} if own_way else counts)


def _cut(whole: Trace, rows: slice, columns: slice, device: torch.device) -> Trace:
    probability = whole.place_probability
    return replace(
        whole,
        local_angle=None,
        path_map=whole.path_map[..., rows, columns].to(device, torch.int64),
        place_probability=None if probability is None else probability[..., rows, columns].to(device),
    )


def layout(net: SLERIR, height: int, width: int, tile: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """([top, bottom) of the rows of tiles, [left, right) of the columns) in a padded picture."""
    return (
        spans(height, sides(tile, net.cell, width), net.cell),
        spans(width, sides(tile, net.cell, height), net.cell),
    )


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
    starts = [*range(0, last, side - overlap(side, cell)), last]
    return [(start, start + side) for start in starts[:-1]] + [(last, length)]


def overlap(side: int, cell: int) -> int:
    """Pixels that neighbours share: a quarter of the side, in whole cells, from 2 to OVERLAP_CELLS."""
    return cell * min(max(side // cell // 4, 2), OVERLAP_CELLS)


def weights(parts: list[tuple[int, int]], cell: int, device: torch.device | str = "cpu") -> Tensor:
    """(T, length) weight of each tile at each place: raised cosines that sum to 1, 0 next to a tile's inner edges."""
    length, shared = parts[-1][1], overlap(parts[0][1] - parts[0][0], cell)
    place = torch.arange(length, device=device) + 0.5
    weight_TL = torch.zeros(len(parts), length, device=device)
    for weight_L, (start, end) in zip(weight_TL, parts, strict=True):
        depth = torch.full_like(place, math.inf) if start == 0 else place - start
        depth = depth if end == length else torch.minimum(depth, end - place)
        ramp = (2 * depth / shared - 0.5).clamp(0, 1)
        weight_L[start:end] = (0.5 - 0.5 * torch.cos(math.pi * ramp))[start:end]
    return weight_TL / weight_TL.sum(0)


def join(traces: list[Trace]) -> Trace:
    """One trace with the rows of all."""
    if len(traces) == 1:
        return traces[0]
    values = {f.name: [getattr(trace, f.name) for trace in traces] for f in fields(Trace)}
    return Trace(**{k: torch.cat(v) if isinstance(v[0], Tensor) else v[0] for k, v in values.items()})
