"""Cells of the pins on a map of the sphere: for each layer and region, the expert that its images take.

    plots.cell_view(sphere_map, traces)              # the whole map, equal-area for a sphere
    plots.cell_view(sphere_map, traces, turn=120)    # a globe from one side

Pins and their Voronoi cells lie on a sphere of many dimensions, so a map cannot show their borders. Each place of the
map has the colour of the expert that most of the nearest images take.
Legend: n images, L layers, E experts, m dimensions of the map, H W places of the picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .. import sphere
from ..config import LAYERS, STAGE_NAMES
from ..errors import UserError
from . import style
from .sphere import TILT, _emptiest, _unrolled, _view, belief
from .style import expert_colour, finished, ink, styled, tint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..analysis.embedding import Map
    from ..analysis.store import Traces

NEIGHBOURS = 5  # images that vote for the colour of a place
NEAR = 0.12  # a place farther from every image than this part of the map's extent stays white
PLACES = 160  # places along the longer side of the picture


@styled
def cell_view(chart: Map, traces: Traces, turn: float | None = None) -> Figure:
    """Eight small maps, one per layer, coloured by the expert that the nearest images take; stars are the pins.

    chart: from `make_map(traces, ...)`. turn: degrees by which a globe is turned, for a map on a sphere; None draws the
    whole map. The number beside a layer's name is the share of images that take the expert of most of their neighbours
    on the map: at 100 % the map separates the cells, near chance its colours mean little.
    Raises UserError for traces of other images, of a network with one expert, and for a globe of a map of the plane.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle

    points, pins, path_nL = chart.points, chart.pins, traces.path
    if len(points) != len(traces) or pins is None or not pins.shape[1]:
        raise UserError(
            f"Cells need the traces that the map was made from, of a network with pins; got {len(points)} points, "
            f"{len(traces)} traces, pins {None if pins is None else pins.shape}. Use make_map(traces, ...)."
        )
    if turn is not None and points.shape[1] == 2:
        raise UserError(f"A globe needs points on a sphere; this map is {chart.method!r}. Leave out turn.")
    whole = points.shape[1] == 3 and turn is None
    rows, columns, height = (4, 2, 8.6) if whole else (2, 4, 5.0)
    fig = Figure((style.WIDTH, height), dpi=style.DPI)
    axes = fig.subplots(rows, columns, subplot_kw={"projection": "mollweide"} if whole else {}).ravel()
    fig.subplots_adjust(left=0.01, right=0.99, bottom=1.08 / height, top=1 - 0.3 / height, wspace=0.04, hspace=0.22)
    draw_HW2, places_HWm, flat = _places(points, pins, turn)
    near, inside = _neighbours(points, places_HWm.reshape(-1, points.shape[1]))
    others, _ = _neighbours(points)
    experts, shares = pins.shape[1], []
    for layer, ax in enumerate(axes[:LAYERS]):
        took = path_nL[:, layer]
        cell_HW = np.where(inside, _vote(took, near, experts), -1).reshape(draw_HW2.shape[:2])
        share = (_vote(took, others, experts) == took).mean()
        shares.append(f"{STAGE_NAMES[layer]} {share:.0%}")
        _cells(ax, draw_HW2, cell_HW, flat(points), took, [flat(pins[layer, e][None]) for e in range(experts)])
        ax.set_title(f"{STAGE_NAMES[layer]}  {share:.0%}", fontsize=10.5, loc="center", pad=5)
        if not whole:
            ax.set_aspect("equal")
            ax.spines[:].set_visible(False)
        if turn is not None:
            ax.add_patch(Circle((0, 0), 1, fill=False, edgecolor="#999999", linewidth=1))
            ax.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08))
    handles = [Line2D([], [], ls="", marker="*", markersize=13, markeredgecolor=style.BLACK, color=expert_colour(e),
                      label=f"expert {e}") for e in range(experts)]  # fmt: skip
    fig.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 0.63 / height), ncols=experts,
               handletextpad=0.1)  # fmt: skip
    quality, warning = belief(chart)
    turned = "" if turn is None else f"turned {turn:.0f}°; "
    note = f"{turned}star: pin; %: images whose neighbours on the map take the same expert"
    for y, line, look in ((0.46, note, {"color": "#333333"}), (0.27, quality, {"color": "#333333"}),
                          (0.08, warning, {"color": style.VERMILLION, "weight": "bold"})):  # fmt: skip
        fig.text(0.5, y / height, line, ha="center", fontsize=style.SMALL, **look)
    alt = f"Regions of each layer's experts on a map{'' if turn is None else f' turned by {turn:.0f} degrees'}. "
    alt += f"{quality}. {warning + '. ' if warning else ''}"
    return finished(fig, f"{alt}Images whose nearest others on the map take the same expert: {', '.join(shares)}.")


def _cells(ax: Axes, draw_HW2: np.ndarray, cell_HW: np.ndarray, spots, took_n: np.ndarray, stars: list) -> None:
    """One layer: coloured regions, the images as dots, the pins as stars; spots and stars are (places, in front)."""
    colours = np.ones((*cell_HW.shape, 3))
    for expert in range(len(stars)):
        colours[cell_HW == expert] = tint(expert_colour(expert), 0.45)
    ax.pcolormesh(*np.moveaxis(draw_HW2, -1, 0), colours, shading="nearest", rasterized=True)
    for expert, (place, shown) in enumerate(stars):
        colour = expert_colour(expert)
        ax.plot(*spots[0][(took_n == expert) & spots[1]].T, ".", color=colour, markersize=3, rasterized=True)
        if shown[0]:
            ax.plot(*place[0], "*", color=colour, markersize=20, mec=style.BLACK, mew=1, zorder=4, clip_on=False)
            ax.annotate(str(expert), place[0], color=ink(colour), ha="center", va="center", fontsize=style.SMALL - 0.5,
                        weight="bold", zorder=5)  # fmt: skip
    ax.set(xticks=[], yticks=[])


def _places(points: np.ndarray, pins: np.ndarray, turn: float | None):
    """((H, W, 2) where to draw, (H, W, m) places of the map there, function: points -> (n, 2), whether in front)."""
    if points.shape[1] == 2:
        marks = np.concatenate([points, pins.reshape(-1, 2)])
        low, high = marks.min(axis=0), marks.max(axis=0)
        margin, step = 0.06 * (high - low).max(), 1.12 * (high - low).max() / PLACES
        axes = (np.arange(a - margin, b + margin, step) for a, b in zip(low, high, strict=True))
        draw = np.stack(np.meshgrid(*axes), -1)
        return draw, draw, lambda xy: (xy, np.ones(len(xy), dtype=bool))
    if turn is None:
        cut = _emptiest(points)
        longitude = np.linspace(-np.pi, np.pi, PLACES)
        draw = np.stack(np.meshgrid(longitude, np.linspace(-np.pi / 2, np.pi / 2, PLACES // 2)), -1)
        there = (torch.from_numpy(part) for part in (np.pi / 2 - draw[..., 1], draw[..., 0] + np.pi + cut))
        return draw, sphere.to_xyz(*there).numpy(), lambda xyz: (_unrolled(xyz, cut), np.ones(len(xyz), dtype=bool))
    side = np.linspace(-1, 1, PLACES)
    draw, angle = np.stack(np.meshgrid(side, side), -1), np.radians(turn)
    depth = np.sqrt(1 - (draw**2).sum(axis=-1), where=(draw**2).sum(axis=-1) <= 1, out=np.full(draw.shape[:2], np.nan))
    front = depth * np.cos(TILT) - draw[..., 1] * np.sin(TILT)  # the inverse of _view
    x, y = (draw[..., 0] * np.cos(angle) + front * np.sin(angle), front * np.cos(angle) - draw[..., 0] * np.sin(angle))
    places = np.stack([x, y, depth * np.sin(TILT) + draw[..., 1] * np.cos(TILT)], -1)

    def flat(xyz):
        seen, near = _view(xyz, angle)
        return seen, near >= 0

    return draw, places, flat


def _neighbours(points: np.ndarray, places: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """((P, k) images nearest to each place, (P,) whether one is within NEAR); without places, neighbours of each image.

    On a sphere the chord gives the same order as the angle. A place beside the globe is NaN and has no image near.
    """
    from sklearn.neighbors import NearestNeighbors

    places = None if places is None else np.nan_to_num(places, nan=9.0)
    away, near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(points) - 1)).fit(points).kneighbors(places)
    return near, away[:, 0] <= NEAR * np.ptp(points, axis=0).max()


def _vote(expert_n: np.ndarray, near: np.ndarray, experts: int) -> np.ndarray:
    """(P,) the expert that most of the images in each row of `near` take, of several the lowest."""
    return (expert_n[near][..., None] == np.arange(experts)).sum(axis=1).argmax(axis=1)
