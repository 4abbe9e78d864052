"""Figures of what routes do to the picture: knock-out, exchanged paths, walks on the sphere, places of damage.

Every function draws a table of `slerlib.analysis.causal` and returns a Figure with `alt_text`, as in scores.py.
"dB lost" is the PSNR of the own route minus that of the other: positive where the own route is better.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ..config import STAGE_NAMES
from ..errors import UserError
from ..evaluation.metrics import with_interval
from .routing import cube, expert_grid
from .style import (
    BLACK,
    BLUE,
    DPI,
    EXPERT_COLOURS,
    GREY,
    PICTURE_DPI,
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

SHADES = {"cmap": "PuOr_r", "vmin": -4.0, "vmax": 4.0}  # orange: the own route is better; beyond 4 dB no darker


def _number(value: float) -> str:
    return f"{value:.1f}".replace("-0.0", "0.0").replace("-", "−") if np.isfinite(value) else "·"


def _short(value: float) -> str:
    """For narrow cells of three characters: .4 for 0.4, 0 for 0.0, 10 for 10.3, −1 for -1.4."""
    text = re.sub(r"^(−?)0\.", r"\1.", _number(value))
    return "0" if text == ".0" else text if len(text) <= 3 else f"{value:.0f}".replace("-", "−")


@styled
def knockout_matrix(table: DataFrame, ax: Axes | None = None) -> Figure:
    """dB lost by each degradation when one expert at one layer is forbidden; a point where no image took it.

    table: from `slerlib.analysis.causal.knock_out`.
    """
    if not len(table):
        raise UserError("A knock-out chart needs a table with rows; got none. Check the bench.")
    values, names, stages = cube(table.assign(shown=table.lost.where(table.chosen > 0)), "shown")
    ax = canvas(ax, 0.36 * len(names) + 1.35)
    expert_grid(ax, values, names, stages, _short, **SHADES)
    sure = int((table.p_corrected < 0.05).sum())
    cells = int((table.chosen > 0).sum())
    ax.set_xlabel("expert that is forbidden; mean dB lost over all images of the degradation\n"
                  f"{sure} of {cells} cells differ from 0 (corrected p < 0.05)", labelpad=8)  # fmt: skip
    worst = table.loc[table.lost.idxmax()]
    alt = f"dB lost when an expert is forbidden. Most: {worst.lost:.1f} dB for {worst.degradation} without expert "
    return finished(ax.figure, f"{alt}{worst.expert} of {worst.stage}. {sure} of {cells} cells differ from 0.")


@styled
def swap_matrix(table: DataFrame, ax: Axes | None = None) -> Figure:
    """dB lost when a degradation (row) is restored along the most frequent path of another (column); framed: its own.

    table: from `slerlib.analysis.causal.path_swap`.
    """
    from matplotlib.patches import Rectangle

    if not len(table):
        raise UserError("A matrix of exchanged paths needs a table with rows; got none. Check the bench.")
    names, columns = list(dict.fromkeys(table.degradation)), list(dict.fromkeys(table.path_of))
    values = table.pivot(index="degradation", columns="path_of", values="lost").loc[names, columns].to_numpy()
    ax = canvas(ax, 0.42 * len(names) + 1.5 + slant(columns))
    shades = ax.imshow(values, aspect="auto", **SHADES)
    for (y, x), value in np.ndenumerate(values):
        ax.text(x, y, _number(value), ha="center", va="center", color=ink(shades.cmap(shades.norm(value))[:3]))
        if names[y] == columns[x]:
            ax.add_patch(Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, fill=False, edgecolor="black", linewidth=2.2))
    name_columns(ax, columns)
    ax.set_yticks(range(len(names)), names)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("column: most frequent path of which degradation (framed: its own)\n"
                  "mean dB lost against each image's own route", labelpad=8)  # fmt: skip
    ax.set_ylabel("degradation")
    told = []
    for y, name in enumerate(names):
        foreign = {other: values[y, x] for x, other in enumerate(columns) if other != name}
        if foreign:
            worst = max(foreign, key=foreign.get)
            told.append(f"{name} loses most along {worst} ({_number(foreign[worst])} dB)")
    return finished(ax.figure, f"dB lost along the paths of other degradations. {'; '.join(told)}.")


@styled
def rules_chart(table: DataFrame, degradation: str = "all", ax: Axes | None = None) -> Figure:
    """dB lost when a rule replaces the learned route, with 95 % intervals; left of 0 the rule is better.

    table: from `slerlib.analysis.causal.route_rules`. A rule is marked as better only where its interval says so.
    """
    known = table[table.n > 0]
    part = known[known.degradation == degradation]
    if not len(part):
        raise UserError(
            f"The table has no images of {degradation!r}; it has {', '.join(known.degradation.unique()) or 'none'}. "
            "Choose another degradation."
        )
    ax = canvas(ax, 0.42 * len(part) + 1.0)
    told = []
    for y, row in enumerate(part.itertuples()):
        better = row.lost_high < 0
        colour, marker = (VERMILLION, "v") if better else (BLUE, "o")
        ax.plot([row.lost_low, row.lost_high], [y, y], color=colour, linewidth=2)
        ax.plot(row.lost, y, marker, color=colour, markersize=8)
        note = with_interval(row.lost, row.lost_low, row.lost_high, "+z.2f").replace("-", "−")
        ax.text(1.02, y, note, transform=ax.get_yaxis_transform(), va="center", fontsize=SMALL + 0.5)
        told.append(f"{row.rule} {note}, {row.differ} of {row.n} routes differ")
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set(ylim=(len(part) - 0.5, -0.5), yticks=range(len(part)), yticklabels=part.rule)
    ax.tick_params(axis="y", length=0)
    ax.set_xscale("symlog", linthresh=1)
    left, right = part[["lost", "lost_low"]].min(axis=None), part[["lost", "lost_high"]].max(axis=None)
    ticks = [t for t in (-10, -3, -1, -0.5, 0, 0.5, 1, 3, 10) if left - 2 < t < right + 2]
    ax.set_xticks(ticks, [_tick(t) for t in ticks])
    ax.minorticks_off()
    ax.set_xlabel("dB lost by the rule against the learned route (left of 0: the rule is better)")
    return finished(ax.figure, f"dB lost when a rule replaces the learned route, {degradation}. {'; '.join(told)}.")


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", "−")


@styled
def walk_chart(table: DataFrame, start: str, end: str) -> Figure:
    """Along the arc from one anchor to another: the expert of each layer, and what that path does to each degradation.

    table: from `slerlib.analysis.causal.geodesic_walk` with the same start and end. Bands: 95 % intervals,
    paired by image.
    """
    from matplotlib.figure import Figure

    if not len(table):
        raise UserError("A walk needs a table with rows; got none. Check the bench.")
    fig = Figure((WIDTH, 5.2), dpi=DPI, layout="constrained")
    top, ax = fig.subplots(2, 1, sharex=True, height_ratios=(2.2, 3))
    steps = table.drop_duplicates("t")
    _experts_on_the_way(top, steps)
    names = list(dict.fromkeys(table.degradation))
    looks, told = class_looks(names, names), []
    for name in names:
        part, look = table[table.degradation == name], looks[name]
        ax.fill_between(
            part.t, -part.lost_high, -part.lost_low, color=look["color"], alpha=0.15, linewidth=0, step="mid"
        )
        ax.plot(part.t, -part.lost, color=look["color"], marker=look["marker"], markersize=5, drawstyle="steps-mid",
                label=name)  # fmt: skip
        told.append(f"{name} from {part.psnr.iloc[0]:.1f} to {part.psnr.iloc[-1]:.1f} dB")
    ax.axhline(0, color=GREY, linewidth=1)
    _the_way(ax, start, end)
    ax.set(ylabel="dB gained over own route")
    columns = -(-len(names) // -(-len(names) // 5))  # at most 5 in a row, rows alike
    ax.legend(ncols=columns, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0, title=None)
    return finished(fig, f"Walk from {start} to {end}: {_switches(steps)}. Restored: {'; '.join(told)}.")


@styled
def arc_chart(table: DataFrame, start: str, end: str, t: float | None = None, ax: Axes | None = None) -> Figure:
    """The expert of each layer along the arc from one anchor to another, and at the right where the layer switches.

    table: from `slerlib.analysis.causal.arc_routes` with the same start and end. t: a place to mark, 0 to 1.
    """
    if not len(table):
        raise UserError("A walk needs a table with rows; got none. Take it from arc_routes.")
    ax = canvas(ax, 3.2)
    _experts_on_the_way(ax, table)
    _the_way(ax, start, end)
    beside = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": SMALL + 0.5}
    for layer, stage in enumerate(STAGE_NAMES):
        places = [f"{row.t:.2f}" for row in table.itertuples() if stage in row.switched.split("+")]
        ax.text(1.01, layer, ", ".join(places) or "never", **beside)
    ax.text(1.01, -0.9, "switches at", **beside)
    here = ""
    if t is not None:
        ax.axvline(t, color="white", linewidth=4.5, zorder=2)
        ax.axvline(t, color=BLACK, linewidth=2, zorder=2)  # behind the numbers
        here = f" At {t:.2f} the path is {table.path.iloc[(table.t - t).abs().argmin()]}."
    return finished(ax.figure, f"Experts on the way from {start} to {end}: {_switches(table)}.{here}")


def _experts_on_the_way(ax: Axes, steps: DataFrame) -> None:
    """A bar for each layer, divided where its expert changes."""
    t, paths = steps.t.to_numpy(), np.array([[int(e) for e in path] for path in steps.path])
    edges = np.concatenate([[t[0]], (t[1:] + t[:-1]) / 2, [t[-1]]])
    for layer, column in enumerate(paths.T):
        ends = [*(np.flatnonzero(np.diff(column)) + 1), len(column)]
        for a, b in zip([0, *ends[:-1]], ends, strict=True):
            colour = EXPERT_COLOURS[column[a] % len(EXPERT_COLOURS)]
            ax.barh(layer, edges[b] - edges[a], left=edges[a], height=0.86, color=colour, edgecolor="white")
            ax.text((edges[a] + edges[b]) / 2, layer, column[a], ha="center", va="center", color=_ink(colour),
                    fontsize=SMALL + 0.5, weight="bold",
                    bbox={"facecolor": colour, "edgecolor": "none", "pad": 1})  # fmt: skip
    layers = paths.shape[1]
    ax.set(yticks=range(layers), yticklabels=STAGE_NAMES if layers == len(STAGE_NAMES) else range(layers))
    ax.set(ylim=(layers - 0.5, -0.5))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title("expert of each layer")


def _the_way(ax: Axes, start: str, end: str) -> None:
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], [f"0\n{start}", "0.25", "0.5", "0.75", f"1\n{end}"])
    ax.set(xlabel="part of the way on the sphere", xlim=(-0.01, 1.01))


def _switches(steps: DataFrame) -> str:
    moves = (f"{row.switched} at {row.t:.2f}" for row in steps.itertuples() if row.switched)
    return "; ".join(moves) or "no layer switches"


def _ink(colour: str) -> str:
    from matplotlib.colors import to_rgb

    return ink(to_rgb(colour))


@styled
def guide_maps(shown: Mapping[str, tuple[Tensor, ...]]) -> Figure:
    """Damage in one place and where the guide map answers: input, true place, guide change, local share of the gate.

    shown: the second result of `slerlib.analysis.guide.guide_response`.
    """
    from matplotlib.figure import Figure

    if not shown:
        raise UserError("A picture of guide maps needs at least one image; got none. Check the cases.")
    titles = ("input", "damaged place", "guide change", "gate: local share")
    fig = Figure((WIDTH, 1.95 * len(shown) + 0.3), dpi=PICTURE_DPI, layout="constrained")
    axes = fig.subplots(len(shown), len(titles), squeeze=False)
    for row, (name, pictures) in zip(axes, shown.items(), strict=True):
        for ax, title, picture in zip(row, titles, pictures, strict=True):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            if ax in axes[0]:
                ax.set_title(title, loc="center")
            if picture is None:
                ax.text(0.5, 0.5, "none", ha="center", va="center", transform=ax.transAxes)
            elif picture.ndim == 3:
                ax.imshow(picture.permute(1, 2, 0).numpy())
            else:
                ax.imshow(picture.float().numpy(), cmap="cividis")
        row[0].set_ylabel(name)
    alt = f"Images damaged in one place ({', '.join(shown)}): input, true place, change of the guide map, share of the "
    return finished(fig, alt + "local token; each map has its own scale, bright is high.", "jpeg")
