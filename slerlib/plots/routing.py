"""Figures of expert usage: heat maps, information per layer, flow of paths, distances, severities.

Every function draws a table of `slerlib.analysis` and returns a Figure with `alt_text`, as in scores.py.
Legend: N images, K degradations, L layers, E experts.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..config import STAGE_NAMES
from ..errors import UserError
from ..model.router import path_digits
from .style import (
    BLACK,
    BLUE,
    DPI,
    EXPERT_COLOURS,
    GREY,
    ORANGE,
    SMALL,
    VERMILLION,
    WIDTH,
    canvas,
    class_looks,
    finished,
    ink,
    name_columns,
    slant,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame


def cube(table: DataFrame, value: str) -> tuple[np.ndarray, list[str], list[str]]:
    """(K, L, E) values of a table with columns degradation, layer, stage, expert; degradations and stages in order."""
    if not len(table):
        raise UserError("A chart of expert usage needs a table with rows; got none. Check the traces.")
    names, stages = list(dict.fromkeys(table.degradation)), list(dict.fromkeys(table.sort_values("layer").stage))
    shape = (len(names), len(stages), int(table.expert.max()) + 1)
    values = np.full(shape, np.nan)
    where = table.degradation.map({name: k for k, name in enumerate(names)}).to_numpy()
    values[where, table.layer.to_numpy(), table.expert.to_numpy()] = table[value].to_numpy()
    return values, names, stages


def expert_grid(ax: Axes, values_KLE: np.ndarray, names: Sequence[str], stages: Sequence[str], text, **shades):
    """Heat map whose columns are the experts of each layer side by side; `text(value)` is written into the cells."""
    rows, layers, experts = values_KLE.shape
    gap = 0.35
    image = None
    for layer in range(layers):
        left = layer * (experts + gap) - 0.5
        box = (left, left + experts, rows - 0.5, -0.5)
        image = ax.imshow(values_KLE[:, layer], extent=box, aspect="auto", interpolation="nearest", **shades)
        for (k, expert), value in np.ndenumerate(values_KLE[:, layer]):
            colour = ink(image.cmap(image.norm(value))[:3]) if np.isfinite(value) else GREY
            words = text(value)
            size = SMALL - (0.5 if len(words) < 4 else 1.8)  # wider ones would touch their neighbours
            ax.text(left + expert + 0.5, k, words, ha="center", va="center", color=colour, fontsize=size)
    places = [layer * (experts + gap) + expert for layer in range(layers) for expert in range(experts)]
    ax.set_xticks(places, [str(expert) for _ in range(layers) for expert in range(experts)], fontsize=SMALL)
    for layer, stage in enumerate(stages):
        middle = layer * (experts + gap) + (experts - 1) / 2
        ax.annotate(stage, (middle, -0.5), (0, 21), textcoords="offset points", ha="center", va="bottom", fontsize=10)
    ax.set(xlim=(-0.5, places[-1] + 0.5), ylim=(rows - 0.5, -0.5), yticks=range(rows), yticklabels=names)
    ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    return image


@styled
def usage_maps(table: DataFrame, ax: Axes | None = None) -> Figure:
    """Layer x degradation x expert: the share of each degradation's images that an expert gets, in percent.

    table: from `slerlib.routing_table`. The last row is the share among all images; an expert with less than 1 % of
    them is called dead.
    """
    usage, names, stages = cube(table, "usage")
    every = cube(table, "usage_all")[0][0]
    dead = {stage: np.flatnonzero(row < 0.01) for stage, row in zip(stages, every, strict=True)}
    told = ", ".join("\xa0".join([stage, *map(str, which)]) for stage, which in dead.items() if len(which))
    note = f"dead: {told}" if told else "no expert is dead"
    lines = textwrap.wrap(note, 88)  # between layers only: \xa0 does not break
    ax = canvas(ax, 0.34 * (len(names) + 1) + 1.3 + 0.2 * len(lines))
    values = np.concatenate([usage, every[None]])
    expert_grid(ax, values, [*names, "all images"], stages, _percent, cmap="cividis", vmin=0, vmax=1)
    ax.axhline(len(names) - 0.5, color="white", linewidth=5)
    ax.set_xlabel("\n".join(["experts of each layer; share of a degradation's images in %", *lines]), labelpad=8)
    modal = {name: path_digits(usage[k].argmax(-1)) for k, name in enumerate(names)}
    told = "; ".join(f"{name} {path}" for name, path in modal.items())
    alt = (
        f"Share of the images of each degradation that every expert of the {len(stages)} layers gets. Most used: {told}"
    )
    return finished(ax.figure, f"{alt}; {note}.".replace("\xa0", " "))


def _percent(value: float) -> str:
    return "" if not np.isfinite(value) or value < 0.005 else f"{100 * value:.0f}"


@styled
def nmi_chart(layers: DataFrame, ax: Axes | None = None) -> Figure:
    """How much the expert tells of the degradation, per layer, with ceiling and both baselines.

    layers: from `slerlib.analysis.routing.layer_table`.
    """
    ax, x = canvas(ax, 3.3), np.arange(len(layers))
    ax.hlines(layers.nmi_ceiling, x - 0.4, x + 0.4, color=BLACK, linewidth=1.6, label="ceiling")
    ax.vlines(x, layers.nmi_low, layers.nmi_high, color=BLUE, linewidth=2)
    ax.plot(x, layers.nmi, "o", color=BLUE, markersize=8, label="measured")
    ax.plot(x - 0.12, layers.nmi_shuffled, "s", color=VERMILLION, markerfacecolor="white", label="shuffled labels")
    ax.plot(x + 0.12, layers.nmi_random, "^", color=GREY, markerfacecolor="white", label="random router")
    for place, p in zip(x, layers.p_corrected, strict=True):
        ax.text(place, 0.015, "" if p < 0.05 else f"p {p:.2f}", ha="center", fontsize=SMALL)
    ax.set_xticks(x, layers.stage)
    ax.set(
        ylim=(0, max(0.75, 1.08 * layers.nmi_ceiling.max())),
        yticks=(0, 0.25, 0.5, 0.75),
        ylabel="NMI(degradation, expert)",
    )
    ax.set_xlabel("layer; bars: 95 % bootstrap interval over photographs")
    ax.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0, columnspacing=1.2, handletextpad=0.3)
    told = "; ".join(f"{stage} {value:.2f}" for stage, value in zip(layers.stage, layers.nmi, strict=True))
    alt = f"Normalised mutual information of degradation and expert. {told}; ceiling {layers.nmi_ceiling.max():.2f}, "
    return finished(ax.figure, alt + f"shuffled labels {layers.nmi_shuffled.mean():.2f} on average.")


@styled
def path_flow(path_NL: np.ndarray, labels: Sequence[str], ax: Axes | None = None) -> Figure:
    """Alluvial flow: every degradation as a band from its name through the experts of the layers.

    path_NL: (N, L) expert numbers, or one string of digits per image. labels: the degradation of each image.
    """
    from matplotlib.patches import PathPatch, Rectangle

    labels = [str(label) for label in labels]
    path_NL = np.array([[int(expert) for expert in path] for path in path_NL])
    if not labels or len(labels) != len(path_NL):
        raise UserError(f"A flow needs a path and a label for each image; got {len(path_NL)} and {len(labels)}.")
    names, layers = list(dict.fromkeys(labels)), path_NL.shape[1]
    looks = class_looks(names, names)
    label_N = np.array([names.index(label) for label in labels])
    ax = canvas(ax, 4.6)
    columns = np.concatenate([label_N[:, None], path_NL], axis=1)  # the first column is the degradation
    gap, total = 0.09 * len(labels), len(labels)
    spans = []
    for n, column in enumerate(columns.T):
        apart = min(gap if n else 0.035 * total, 2 * gap / max(1, column.max()))  # so that all stay in the picture
        spans.append(_stack(column, label_N, apart, total + 2 * gap))
    width = 0.16
    for n in range(layers):
        for k, colour in enumerate(looks[name]["color"] for name in names):
            for a in np.unique(columns[label_N == k, n]):
                used = 0
                for b in np.unique(columns[(label_N == k) & (columns[:, n] == a), n + 1]):
                    members = (label_N == k) & (columns[:, n] == a) & (columns[:, n + 1] == b)
                    before = ((label_N == k) & (columns[:, n + 1] == b) & (columns[:, n] < a)).sum()
                    y0, y1 = spans[n][a, k] + used, spans[n + 1][b, k] + before
                    ribbon = _ribbon(n + width / 2, n + 1 - width / 2, y0, y1, members.sum())
                    ax.add_patch(PathPatch(ribbon, facecolor=colour, alpha=0.62, edgecolor="white", linewidth=0.4))
                    used += members.sum()
    for n, column in enumerate(columns.T):
        for a in np.unique(column):
            low = min(spans[n][a, k] for k in np.unique(label_N[column == a]))
            height = (column == a).sum()
            if n == 0:
                ax.text(-width / 2 - 0.04, low + height / 2, names[a], ha="right", va="center")
                face = looks[names[a]]["color"]
            else:
                face = EXPERT_COLOURS[a % len(EXPERT_COLOURS)] if height > 0 else "white"
            ax.add_patch(Rectangle((n - width / 2, low), width, height, facecolor=face if n == 0 else "#333333"))
            if n:
                ax.text(n, low + height / 2, a, ha="center", va="center", color="white", weight="bold")
    ax.set(xlim=(-width / 2, layers + width / 2), ylim=(total + 2.2 * gap, -0.2 * gap), yticks=[])
    ax.set_xticks(range(1, layers + 1), STAGE_NAMES if layers == len(STAGE_NAMES) else range(layers))
    ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("layer; dark bars are experts, their height is the number of images", labelpad=6)
    told = []
    for k, name in enumerate(names):
        paths, times = np.unique(path_NL[label_N == k], axis=0, return_counts=True)
        digits = path_digits(paths[times.argmax()])
        told.append(f"{name} {digits} ({times.max()} of {times.sum()} images, {len(paths)} paths)")
    return finished(ax.figure, f"Flow of images through the experts of the layers. Most frequent: {'; '.join(told)}.")


def _stack(column: np.ndarray, label_N: np.ndarray, gap: float, height: float) -> dict[tuple[int, int], float]:
    """Upper edge of each (expert, degradation) of a column, experts apart by `gap`, the whole centred in `height`."""
    values = np.arange(column.max() + 1)
    y = (height - len(column) - gap * (len(values) - 1)) / 2
    edges = {}
    for a in values:
        for k in np.unique(label_N):
            edges[a, k] = y
            y += ((column == a) & (label_N == k)).sum()
        y += gap
    return edges


def _ribbon(x0: float, x1: float, y0: float, y1: float, height: float):
    from matplotlib.path import Path

    middle = (x0 + x1) / 2
    points = [(x0, y0), (middle, y0), (middle, y1), (x1, y1), (x1, y1 + height), (middle, y1 + height)]
    points += [(middle, y0 + height), (x0, y0 + height), (x0, y0)]
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    return Path(points, codes)


@styled
def hamming_matrix(distance_KK: np.ndarray, names: Sequence[str], layers: int = 8, experts: int = 3, ax=None) -> Figure:
    """Mean number of layers at which images of two degradations (row, column) differ; framed: within a degradation.

    distance_KK: from `slerlib.analysis.chance.hamming`. Random routes would differ at layers (1 - 1/experts).
    """
    from matplotlib.patches import Rectangle

    distance = np.asarray(distance_KK)
    if distance.shape != (len(names), len(names)) or not len(names):
        raise UserError(f"Distances are a square of as many names; got {distance.shape} and {len(names)} names.")
    ax = canvas(ax, 0.4 * len(names) + 1.3 + slant(names))
    shades = ax.imshow(distance, cmap="cividis", vmin=0, vmax=layers, aspect="auto")
    for (y, x), value in np.ndenumerate(distance):
        if np.isfinite(value):
            ax.text(x, y, f"{value:.1f}", ha="center", va="center", color=ink(shades.cmap(shades.norm(value))[:3]))
    for k in range(len(names)):
        ax.add_patch(Rectangle((k - 0.47, k - 0.45), 0.94, 0.9, fill=False, edgecolor=ORANGE, linewidth=2.5))
    name_columns(ax, names)
    ax.set_yticks(range(len(names)), names)
    ax.spines[:].set_visible(False)
    chance = layers * (1 - 1 / experts)
    ax.set_xlabel(f"layers of {layers} that differ, mean; framed: two images of one degradation\n"
                  f"random routes: {chance:.1f}", labelpad=8)  # fmt: skip
    inside = ", ".join(f"{name} {distance[k, k]:.1f}" if np.isfinite(distance[k, k]) else f"{name} a single image"
                       for k, name in enumerate(names))  # fmt: skip
    between = distance[~np.eye(len(names), dtype=bool)]
    mean = f" Between degradations {between.mean():.1f} on average;" if len(between) else ""
    alt = f"Layers of {layers} at which two images take different experts. Within a degradation: {inside}."
    return finished(ax.figure, f"{alt}{mean} random routes {chance:.1f}.")


@styled
def severity_chart(table: DataFrame, experts: int = 3) -> Figure:
    """From no damage to the worst: the share of layers on the path of clean images and on that of the degradation.

    table: from `slerlib.analysis.sweeps.severity_table`; rows without a severity, of noise levels and clean, are left
        out. Bands: 95 % bootstrap intervals over photographs.
    """
    from matplotlib.figure import Figure

    table = table[table.severity.notna()]
    names = list(dict.fromkeys(table.degradation))
    if not names:
        raise UserError(
            "A severity chart needs a table with severities; got none. Collect rain, haze, blur or lowlight."
        )
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    fig = Figure((WIDTH, 2.3 * rows + 0.75), dpi=DPI, layout="constrained")
    axes = np.atleast_1d(fig.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)).ravel()
    told = []
    for ax, name in zip(axes, names, strict=False):
        part = table[table.degradation == name].sort_values("severity")
        for key, colour, marker, line in (("own", BLUE, "o", "-"), ("clean", VERMILLION, "s", "--")):
            ax.fill_between(
                part.severity, part[f"{key}_low"], part[f"{key}_high"], color=colour, alpha=0.18, linewidth=0
            )
            what = "path of the degradation" if key == "own" else "path of clean"
            ax.plot(part.severity, part[key], line, marker=marker, color=colour, markersize=5, label=what)
        ax.axhline(1 / experts, color=GREY, linestyle=":", linewidth=1.3, label="random router")
        ax.set_title("noise (path of noise25)" if name == "noise" else name)
        ax.set(xlim=(0, 1.02), ylim=(-0.03, 1.05))
        ax.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
        ax.set_yticks((0, 0.5, 1), ("0", "50", "100"))
        first, last = part.iloc[0], part.iloc[-1]
        told.append(f"{name} {first.own:.0%} at severity {first.severity:g} and {last.own:.0%} at {last.severity:g}")
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    fig.supxlabel("severity (noise: sigma = 50 x severity)", fontsize=10.5)
    fig.supylabel("layers on that path, %", fontsize=10.5)
    handles, words = axes[0].get_legend_handles_labels()
    fig.legend(handles, words, loc="outside upper left", ncols=3)
    return finished(fig, f"Share of layers on the most frequent path of the degradation. {'; '.join(told)}.")
