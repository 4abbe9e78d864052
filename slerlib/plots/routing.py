"""Figures of routes: paths, expert usage, information per layer, flow, distances, severities.

Every function draws a table of `slerlib.analysis` or paths as they are, and returns a Figure with `alt_text`.
Legend: N images, B of a batch, K degradations, L layers, E experts.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ..analysis.chance import usual_experts, usual_route
from ..config import LAYERS, STAGE_NAMES
from ..errors import UserError
from ..model.router import path_digits
from . import style
from .marks import expert_cube, expert_matrix, expert_panels, labels_of, matrix, mean_marks, slant, where_interval
from .style import canvas, class_looks, expert_colour, finished, ink, styled, tint

RIBBON = 0.85  # opacity of the bands of `path_flow`

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame


@styled
def path_chart(paths: Sequence[str] | Tensor, labels: Sequence[str], ax: Axes | None = None) -> Figure:
    """Which expert each degradation goes through at each of the 8 layers.

    paths: one per image, as strings such as "01201120" or a (B, 8) tensor. labels: the degradation of each image.
    A row stands for all images with that label: number and colour of the most frequent expert, paler and with the share
    of the images below where not all of them agree; at the right the number of images that take exactly these experts.
    Where it is more than half of them, this is the usual path of the label, as in every table here.
    """
    from matplotlib.patches import Rectangle

    labels = labels_of(paths, labels, "path")
    paths_BL = np.array([[int(expert) for expert in path] for path in paths])
    if paths_BL.shape[1:] != (LAYERS,):
        raise UserError(f"A path has {LAYERS} experts, one per layer; got {str(paths[0])!r}. Take it from a trace.")
    names = list(dict.fromkeys(labels))
    ax = canvas(ax, 0.48 * len(names) + 0.95)
    words = []
    for y, name in enumerate(names):
        group_BL = paths_BL[[label == name for label in labels]]
        experts_L = usual_experts(group_BL)
        for x, expert in enumerate(experts_L):
            count = int((group_BL[:, x] == expert).sum())
            share = count / len(group_BL)
            colour = tint(expert_colour(expert), 0.15 + 0.75 * share**2)
            ax.add_patch(Rectangle((x - 0.47, y - 0.44), 0.94, 0.88, color=colour, linewidth=0))
            text, all_agree = {"ha": "center", "va": "center", "color": ink(colour)}, count == len(group_BL)
            ax.text(x, y - (0 if all_agree else 0.15), expert, weight="bold", **text)
            if not all_agree:
                ax.text(x, y + 0.25, f"{share:.0%}", fontsize=style.SMALL - 0.5, **text)
        whole, usual = int((group_BL == experts_L).all(axis=1).sum()), usual_route(group_BL) is not None
        if len(paths_BL) > len(names):
            weight = "normal" if usual else "light"
            note = f"{whole} of {len(group_BL)}" + ("" if usual else "\nno usual path")
            ax.text(LAYERS - 0.4, y, note, va="center", fontsize=style.SMALL + 0.5, weight=weight)
        digits = path_digits(experts_L)
        counted = f" ({whole} of {len(group_BL)} images{'' if usual else ', no usual path'})"
        words.append(f"{name} {digits}" + (counted if len(group_BL) > 1 else ""))
    if len(paths_BL) > len(names):
        ax.text(LAYERS - 0.4, -0.62, "on this path", va="bottom", fontsize=style.SMALL + 0.5)
    ax.set(xlim=(-0.5, LAYERS - 0.5), ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=names)
    ax.set_xticks(range(LAYERS), STAGE_NAMES)
    ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("layers in the order of the picture's way;\nthe number is the expert", labelpad=8)
    alt = f"Expert chosen at the layers {', '.join(STAGE_NAMES)}. {'; '.join(words)}."
    return finished(ax.figure, alt)


@styled
def usage_maps(table: DataFrame, ax: Axes | None = None) -> Figure:
    """Layer x degradation x expert: the share of each degradation's images that an expert gets, in percent.

    table: from `slerlib.routing_table`. The last row is the share among all images; an expert with less than 1 % of
    the images in the table is called dead.
    """
    usage, names, stages = expert_cube(table, "usage")
    every_LE = expert_cube(table, "usage_all")[0][0]
    images = int(table.drop_duplicates("degradation").n.sum())
    dead = {stage: np.flatnonzero(row < 0.01) for stage, row in zip(stages, every_LE, strict=True)}
    words = ", ".join("\xa0".join([stage, *map(str, which)]) for stage, which in dead.items() if len(which))
    note = f"dead: {words}" if words else "no expert is dead"
    lines = textwrap.wrap(f"{note} (dead: fewer than 1 % of these {images} images)", 88)  # \xa0 does not break
    height = 0.34 * (len(names) + 1) + 0.7 + 0.2 * len(lines)
    panels = [(ax, slice(None))] if ax else expert_panels(height, len(stages))
    values = np.concatenate([usage, every_LE[None]])
    for ax, part in panels:
        shown = values[:, part], [*names, "all images"], stages[part]
        expert_matrix(ax, *shown, _percent, cmap="cividis", vmin=0, vmax=1)
        ax.axhline(len(names), color="white", linewidth=5)
    ax.set_xlabel("\n".join(["experts of each layer; share of a degradation's images in %", *lines]), labelpad=8)
    modal = "; ".join(f"{name} {path_digits(usage[k].argmax(-1))}" for k, name in enumerate(names))
    alt = f"Share of the images of each degradation that every expert of the {len(stages)} layers gets."
    return finished(ax.figure, f"{alt} Most used: {modal}; {note}.".replace("\xa0", " "))


def _percent(value: float) -> str:
    return "" if not value >= 0.005 else f"{100 * value:.0f}"


@styled
def nmi_chart(layers: DataFrame, ax: Axes | None = None) -> Figure:
    """How much the expert reveals about the degradation, per layer, with ceiling and both baselines.

    layers: from `slerlib.analysis.routing.layer_table`.
    """
    ax, x = canvas(ax, 3.3), np.arange(len(layers))
    ax.hlines(layers.nmi_ceiling, x - 0.4, x + 0.4, color=style.BLACK, linewidth=1.6, label="ceiling")
    rows = layers.assign(place=x, mean=layers.nmi, low=layers.nmi_low, high=layers.nmi_high, look="measured")
    mean_marks(ax, rows, {"measured": (style.BLUE, "o", True)}, size=8, upright=True)
    ax.plot([], [], "o-", color=style.BLUE, markersize=8, label="measured")
    ax.plot(x - 0.12, layers.nmi_shuffled, "s", color=style.VERMILLION, mfc="white", label="shuffled labels")
    ax.plot(x + 0.12, layers.nmi_random, "^", color=style.GREY, mfc="white", label="random router")
    for place, p in zip(x, layers.p_corrected, strict=True):
        ax.text(place, 0.015, "" if p < 0.05 else f"p {p:.2f}", ha="center", fontsize=style.SMALL)
    some = where_interval(layers.nmi_low, "; bars: 95 % bootstrap interval over photographs")
    ax.set(xlabel=f"layer{some}", ylabel="NMI(degradation, expert)")
    ax.set(ylim=(0, max(0.75, 1.08 * layers.nmi_ceiling.max())), yticks=(0, 0.25, 0.5, 0.75))
    ax.set_xticks(x, layers.stage)
    ax.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0, columnspacing=1.2, handletextpad=0.3)
    words = "; ".join(f"{stage} {value:.2f}" for stage, value in zip(layers.stage, layers.nmi, strict=True))
    alt = f"Normalised mutual information of degradation and expert. {words}; ceiling {layers.nmi_ceiling.max():.2f}, "
    return finished(ax.figure, alt + f"shuffled labels {layers.nmi_shuffled.mean():.2f} on average.")


@styled
def path_flow(path_NL: np.ndarray, labels: Sequence[str], ax: Axes | None = None) -> Figure:
    """Alluvial flow: every degradation as a band from its name through the experts of the layers.

    path_NL: (N, L) expert numbers, or one string of digits per image. labels: the degradation of each image.
    """
    from matplotlib.patches import PathPatch, Rectangle

    labels = labels_of(path_NL, labels, "path")
    path_NL = np.array([[int(expert) for expert in path] for path in path_NL])
    names, layers = list(dict.fromkeys(labels)), path_NL.shape[1]
    looks = class_looks(names, names)
    label_N = np.array([names.index(label) for label in labels])
    ax = canvas(ax, 4.6)
    columns = np.concatenate([label_N[:, None], path_NL], axis=1)  # the first column is the degradation
    gap, total, width = 0.09 * len(labels), len(labels), 0.16
    spans = []
    for n, column in enumerate(columns.T):
        apart = min(gap if n else 0.035 * total, 2 * gap / max(1, column.max()))  # so that all stay in the picture
        spans.append(_edges(column, label_N, apart, total + 2 * gap))
    for n in range(layers):
        moves, counts = np.unique(np.stack([label_N, columns[:, n], columns[:, n + 1]]), axis=1, return_counts=True)
        left, right = dict(spans[n]), dict(spans[n + 1])
        for (k, a, b), count in zip(moves.T.tolist(), counts, strict=True):
            ribbon = _ribbon(n + width / 2, n + 1 - width / 2, left[a, k], right[b, k], count)
            look = {"facecolor": looks[names[k]]["color"], "alpha": RIBBON, "edgecolor": "white", "linewidth": 0.4}
            ax.add_patch(PathPatch(ribbon, **look))
            left[a, k] += count
            right[b, k] += count
    for n, column in enumerate(columns.T):
        for a, height in zip(*np.unique(column, return_counts=True), strict=True):
            low = min(spans[n][a, k] for k in np.unique(label_N[column == a]))
            colour = "#333333" if n else looks[names[a]]["color"]
            ax.add_patch(Rectangle((n - width / 2, low), width, height, facecolor=colour))
            words = {"ha": "center", "color": "white", "weight": "bold"} if n else {"ha": "right"}
            ax.text(n if n else -width / 2 - 0.04, low + height / 2, a if n else names[a], va="center", **words)
    ax.set(xlim=(-width / 2, layers + width / 2), ylim=(total + 2.2 * gap, -0.2 * gap), yticks=[])
    ax.set_xticks(range(1, layers + 1), STAGE_NAMES if layers == len(STAGE_NAMES) else range(layers))
    ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("layer; dark bars are experts, their height is the number of images", labelpad=6)
    flows = []
    for k, name in enumerate(names):
        own, usual = path_NL[label_N == k], usual_route(path_NL[label_N == k])
        taken = "no path" if usual is None else f"{path_digits(usual)} by {(own == usual).all(axis=1).sum()}"
        flows.append(f"{name} {taken} of {len(own)} images, {len(np.unique(own, axis=0))} paths")
    alt = "Flow of images through the experts of the layers. Taken by more than half of a degradation's images"
    return finished(ax.figure, f"{alt}: {'; '.join(flows)}.")


def _edges(column: np.ndarray, label_N: np.ndarray, gap: float, height: float) -> dict[tuple[int, int], float]:
    """Upper edge of each (expert, degradation) of a column, experts apart by `gap`, the whole centred in `height`."""
    y = (height - len(column) - gap * column.max()) / 2
    edges = {}
    for a in range(column.max() + 1):
        for k in np.unique(label_N):
            edges[a, k] = y
            y += ((column == a) & (label_N == k)).sum()
        y += gap
    return edges


def _ribbon(x0: float, x1: float, y0: float, y1: float, height: float):
    from matplotlib.path import Path

    middle, low0, low1 = (x0 + x1) / 2, y0 + height, y1 + height
    points = [(x0, y0), (middle, y0), (middle, y1), (x1, y1), (x1, low1), (middle, low1), (middle, low0), (x0, low0)]
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    return Path([*points, (x0, y0)], codes)


@styled
def hamming_matrix(distance_KK: np.ndarray, names: Sequence[str], layers: int = 8, experts: int = 3, ax=None) -> Figure:
    """Mean number of layers at which images of two degradations (row, column) differ; framed: within a degradation.

    distance_KK: from `slerlib.analysis.chance.hamming`. Random routes would differ at layers (1 - 1/experts).
    """
    distance = np.asarray(distance_KK)
    if distance.shape != (len(names), len(names)) or not len(names):
        raise UserError(f"Distances are a square of as many names; got {distance.shape} and {len(names)} names.")
    ax = canvas(ax, 0.4 * len(names) + 1.3 + slant(names))
    matrix(ax, distance, names, names, lambda value: f"{value:.1f}" if np.isfinite(value) else "·",
           frames=[(k, k) for k in range(len(names))], cmap="cividis", vmin=0, vmax=layers)  # fmt: skip
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
    """By severity: the share of layers with the most used expert of clean images, and of the degradation.

    table: from `slerlib.analysis.sweeps.severity_table`; rows without a severity, of noise levels and clean, are left
        out. Bands: 95 % bootstrap intervals over photographs.
    """
    import pandas as pd
    import seaborn
    import seaborn.objects as so
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    table = table[table.severity.notna()]
    names = list(dict.fromkeys(table.degradation))
    if not names:
        raise UserError(
            "A severity chart needs a table with severities; got none. Collect rain, haze, blur or lowlight."
        )
    looks = {"own": (style.BLUE, "o", "-"), "clean": (style.VERMILLION, "s", "--")}
    scales = dict(zip(("color", "marker", "linestyle"), (dict(zip(looks, part, strict=True))
                  for part in zip(*looks.values(), strict=True)), strict=True))  # fmt: skip
    long = pd.concat((table.assign(path=key, share=100 * table[key], low=100 * table[f"{key}_low"],
                                  high=100 * table[f"{key}_high"]) for key in looks), ignore_index=True)  # fmt: skip
    fig = Figure((style.WIDTH, 2.3 * -(-len(names) // 3) + 0.75), dpi=style.DPI, layout="constrained")
    plot = so.Plot(long, x="severity", y="share", color="path", marker="path", linestyle="path")
    plot = plot.facet("degradation", wrap=min(3, len(names))).theme(seaborn.axes_style("ticks") | style.STYLE)
    plot = plot.add(so.Band(alpha=0.18, edgewidth=0), legend=False, ymin="low", ymax="high")
    plot = plot.add(so.Line(pointsize=5), legend=False).scale(**scales).limit(x=(0, 1.02), y=(-3, 105))
    plot.label(x="", y="", title=lambda name: "noise (experts of noise25)" if name == "noise" else name).on(fig).plot()
    for ax in fig.axes:
        ax.axhline(100 / experts, color=style.GREY, linestyle=":", linewidth=1.3)
        ax.set(xticks=(0, 0.5, 1), yticks=(0, 50, 100))
    fig.supxlabel("severity (noise: sigma = 50 x severity)", fontsize=10.5)
    fig.supylabel("layers with these experts, %", fontsize=10.5)
    handles = [Line2D([], [], color=colour, marker=marker, ls=line, ms=5) for colour, marker, line in looks.values()]
    handles.append(Line2D([], [], color=style.GREY, linestyle=":", linewidth=1.3))
    names_of_lines = ("most used by the degradation", "most used by clean", "random router")
    fig.legend(handles, names_of_lines, loc="outside upper left", ncols=3)
    words = []
    for name in names:
        first, last = table[table.degradation == name].sort_values("severity").iloc[[0, -1]].itertuples()
        words.append(f"{name} {first.own:.0%} at severity {first.severity:g} and {last.own:.0%} at {last.severity:g}")
    alt = "Share of layers with the expert that most images of the degradation take."
    return finished(fig, f"{alt} {'; '.join(words)}.")
