"""Figures of maps made by `slerlib.analysis.embedding.make_map`: the plane, the sphere unrolled, the sphere as globes.

    plots.map_view(sphere_map, traces.table.label, traces.anchor_names)
    plots.globe_view(sphere_map, traces.table.label, traces.anchor_names)

Filled marks are images or crops, large hollow ones with a name are anchors. Quality numbers stand below every map, and
below them a warning if the map is not to be trusted.
Legend: n images, K anchors, m dimensions of the map.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from .. import sphere
from ..errors import UserError
from .marks import labels_of
from .style import BLACK, DPI, SMALL, VERMILLION, WIDTH, class_looks, finished, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..analysis.embedding import Map

MANY = 2_000  # more marks than this become pixels inside an SVG
TILT = np.radians(25)  # of the globes towards the eye
NAMES = {"pca": "PCA", "umap_plane": "UMAP, plane", "umap_sphere": "UMAP, sphere"}


@styled
def map_view(chart: Map, labels: Sequence[str], names: Sequence[str] = ()) -> Figure:
    """A map of the plane, or the whole sphere in Mollweide's equal-area projection, cut at its emptiest longitude.

    chart: from `make_map`. labels: the degradation of each image. names: trace.anchor_names, if anchors were placed.
    """
    labels = _labels(chart, labels, names)
    on_sphere = chart.points.shape[1] == 3
    fig, panel = _paper(5.1 if on_sphere else 5.8)
    ax = panel.subplots(subplot_kw={"projection": "mollweide"} if on_sphere else {})
    points, anchors = chart.points, chart.anchors
    if on_sphere:
        turn = _emptiest(points)
        points, anchors = (None if part is None else _unrolled(part, turn) for part in (points, anchors))
        ax.grid(color="#DDDDDD", linewidth=0.6)
        ax.set(xticklabels=[], yticklabels=[])
    else:
        ax.set(xticks=[], yticks=[], aspect="equal")
        ax.spines[:].set_visible(False)
    looks = class_looks(names, labels)
    _draw(ax, points, labels, looks)
    if anchors is not None:
        _rings(ax, anchors, names, looks)
    return _described(fig, chart, labels, names, looks, "Map of images and crops by the place the network gives them")


@styled
def globe_view(chart: Map, labels: Sequence[str], names: Sequence[str] = (), frames: int = 3) -> Figure:
    """The sphere as a globe from `frames` sides, a whole turn in all; points behind are pale.

    chart: from `make_map(..., "umap_sphere")`. Raises UserError for a map of the plane.
    """
    labels = _labels(chart, labels, names)
    if chart.points.shape[1] != 3:
        raise UserError(f"A globe needs points on a sphere; this map is {chart.method!r}. Use map_view for it.")
    fig, panel = _paper(4.4)
    looks, kinds = class_looks(names, labels), np.array(labels)
    for k, ax in enumerate(np.atleast_1d(panel.subplots(1, frames))):
        turn = 2 * np.pi * k / frames
        ax.set(aspect="equal", xlim=(-1.1, 1.1), ylim=(-1.25, 1.25), xticks=[], yticks=[])
        _globe(ax, turn)
        seen, depth = _view(chart.points, turn)
        _draw(ax, seen[depth < 0], kinds[depth < 0], looks, size=4, alpha=0.15)
        _draw(ax, seen[depth >= 0], kinds[depth >= 0], looks, size=6)
        if chart.anchors is not None:
            there, near = _view(chart.anchors, turn)
            _rings(ax, there[near > 0], np.array(names)[near > 0], looks, inside=0.7)
        ax.text(0, -1.2, f"turned {np.degrees(turn):.0f}°", ha="center", fontsize=SMALL)
        ax.spines[:].set_visible(False)
        ax.patch.set_visible(False)  # or it would cover names of the globe to its left
    return _described(fig, chart, labels, names, looks, f"A globe of images and crops seen from {frames} sides")


def _labels(chart: Map, labels: Sequence[str], names: Sequence[str]) -> list[str]:
    labels = labels_of(chart.points, labels, "point")
    if chart.anchors is not None and len(names) != len(chart.anchors):
        raise UserError(
            f"This map holds {len(chart.anchors)} anchors, each drawn with its name; got {len(names)} names. Pass "
            "names=traces.anchor_names."
        )
    return labels


def _paper(height: float):
    """(figure, part to draw in); the strip below is for legend and quality."""
    from matplotlib.figure import Figure

    fig = Figure((WIDTH, height), dpi=DPI)
    panel, fig.strip = fig.subfigures(2, 1, height_ratios=[height - 1.3, 1.3])
    panel.subplots_adjust(left=0.01, right=0.99, bottom=0.03, top=0.96, wspace=0.01)
    return fig, panel


def _draw(
    ax: Axes, points: np.ndarray, labels: Sequence[str], looks: dict, size: float = 6, alpha: float = 0.85
) -> None:
    for kind, look in looks.items():
        own = points[np.asarray(labels) == kind]
        edge = BLACK if "markerfacecolor" in look else "white"
        ax.plot(*own.T, **look, linestyle="", markersize=size, markeredgewidth=0.5, markeredgecolor=edge, alpha=alpha,
                rasterized=len(points) > MANY, clip_on=False)  # fmt: skip


def _rings(ax: Axes, anchors: np.ndarray, names: Sequence[str], looks: dict, inside: float = np.inf) -> None:
    """Rings with names; a name farther than `inside` from the middle leans inwards, not into the next globe."""
    from matplotlib.patheffects import withStroke

    halo, boxes = [withStroke(linewidth=2.5, foreground="white")], []
    ax.apply_aspect()
    for name, place in zip(names, anchors, strict=True):
        ring = {**looks[name], "markerfacecolor": "none", "markeredgewidth": 2.2, "markersize": 14, "clip_on": False}
        ax.plot(*place, **ring, path_effects=[withStroke(linewidth=4.5, foreground="white")])
        side = "center" if abs(place[0]) < inside else "right" if place[0] > 0 else "left"
        words = ax.annotate(name, place, (0, 10), textcoords="offset points", ha=side, va="bottom", weight="bold",
                            fontsize=SMALL + 0.5, path_effects=halo, zorder=5, annotation_clip=False)  # fmt: skip
        for shift in (10, -10, 22, -22):  # above the ring, below it, or farther away
            words.xyann = (0, shift)
            words.set_verticalalignment("bottom" if shift > 0 else "top")
            if not any(words.get_window_extent().overlaps(box) for box in boxes):
                break
        boxes.append(words.get_window_extent())


def _described(fig: Figure, chart: Map, labels, names, looks: dict, what: str) -> Figure:
    """Legend, quality and warning in the strip, and the alt text."""
    from matplotlib.lines import Line2D

    edges = {kind: look["color"] if kind in names else BLACK for kind, look in looks.items()}
    handles = [Line2D([], [], linestyle="", markersize=7, label=kind, markeredgecolor=edges[kind], **look)
               for kind, look in looks.items()]  # fmt: skip
    for most in range(6, 0, -1):  # at most 6 in a row, fewer where names are long; rows alike
        columns = -(-len(handles) // -(-len(handles) // most))
        legend = fig.strip.legend(handles=handles, loc="upper center", ncols=columns, handletextpad=0.1,
                                  columnspacing=1.2)  # fmt: skip
        if legend.get_window_extent().width <= fig.bbox.width or most == 1:
            break
        legend.remove()
    quality, warning = belief(chart)
    fig.strip.text(0.5, 0.32, quality, ha="center", fontsize=SMALL, color="#333333")
    fig.strip.text(0.5, 0.25, textwrap.fill(warning, 76), ha="center", va="top", fontsize=SMALL, color=VERMILLION,
                   weight="bold")  # fmt: skip
    count = ", ".join(f"{number} {kind}" for kind, number in Counter(labels).items())
    near = _nearest_kinds(chart, labels)
    return finished(fig, f"{what}. {quality}. {warning + '. ' if warning else ''}Points: {count}. {near}")


def belief(chart: Map) -> tuple[str, str]:
    """Method and quality in one line, and the warning or ""."""
    numbers = [f"{name.replace('_', ' ')} {value:.2f}" for name, value in (chart.quality or {}).items()]
    line = f"{NAMES[chart.method]}, {len(chart.points)} points: {', '.join(numbers) or 'quality not measured'}"
    return line, f"Not to be trusted: {'; '.join(chart.warnings)}" if chart.warnings else ""


def _nearest_kinds(chart: Map, labels: list[str]) -> str:
    """Which degradation is drawn nearest to which, in words."""
    kinds = list(dict.fromkeys(labels))
    if len(kinds) < 2:
        return ""
    centres = np.stack([np.median(chart.points[np.array(labels) == kind], axis=0) for kind in kinds])
    gaps = np.linalg.norm(centres[:, None] - centres, axis=-1) + np.diag(np.full(len(kinds), np.inf))
    pairs = "; ".join(f"{kind} to {kinds[k]}" for kind, k in zip(kinds, gaps.argmin(axis=1), strict=True))
    return f"Drawn nearest: {pairs}."


def _emptiest(points: np.ndarray) -> float:
    """Longitude in radians in the middle of the widest stretch without points."""
    turns = np.sort(np.arctan2(points[:, 1], points[:, 0]))
    gaps = np.diff(turns, append=turns[0] + 2 * np.pi)
    widest = gaps.argmax()
    return turns[widest] + gaps[widest] / 2


def _unrolled(points: np.ndarray, cut: float) -> np.ndarray:
    """(n, 3) -> longitude -pi..pi with the cut at the rim, and latitude, radians."""
    colatitude, longitude = (part.numpy() for part in sphere.to_angles(torch.from_numpy(points.astype(np.float64))))
    return np.stack([(longitude - cut) % (2 * np.pi) - np.pi, np.pi / 2 - colatitude], axis=1)


def _view(points: np.ndarray, turn: float) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) orthographic picture and (n,) depth, positive in front, after a turn about the axis and the tilt."""
    x, y, z = points.T
    side, front = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    seen = np.stack([side, z * np.cos(TILT) - front * np.sin(TILT)], axis=1)
    return seen, front * np.cos(TILT) + z * np.sin(TILT)


def _globe(ax: Axes, turn: float) -> None:
    """Outline, meridians and parallels every 30 degrees, in front only."""
    circle = np.linspace(0, 2 * np.pi, 181)
    ax.fill(np.cos(circle), np.sin(circle), facecolor="#F7F9FA", edgecolor="#BBBBBB", linewidth=1, zorder=0)
    lines = [(np.full_like(circle, a), circle) for a in np.radians(range(30, 180, 30))]
    lines += [(circle / 2, np.full_like(circle, b)) for b in np.radians(range(0, 360, 30))]
    for colatitude, longitude in lines:
        xyz = sphere.to_xyz(torch.from_numpy(colatitude), torch.from_numpy(longitude)).numpy()
        seen, depth = _view(xyz, turn)
        seen[depth < 0] = np.nan
        ax.plot(*seen.T, color="#DDDDDD", linewidth=0.6, zorder=0.5)
