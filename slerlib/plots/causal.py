"""Figures of the effect of routes on the picture: knock-out, exchanged paths, rules, walks on the sphere.

Every function draws a table of `slerlib.analysis.causal` and returns a Figure with `alt_text`.
"dB lost" is the PSNR of the own route minus that of the other: positive where the own route is better.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.chance import fewest_shown, smallest_p
from ..config import STAGE_NAMES
from ..errors import UserError
from ..report.words import RULES
from . import style
from .marks import (
    expert_cube,
    expert_matrix,
    expert_panels,
    matrix,
    mean_marks,
    minus,
    number,
    row_labels,
    slant,
    where_interval,
    with_rows,
)
from .style import canvas, class_looks, expert_colour, finished, ink, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

SHADES = {"cmap": "PuOr_r", "vmin": -4.0, "vmax": 4.0}  # orange: the own route is better
SCALE = "colours end at −4 and 4 dB"


def _number(value: float) -> str:
    return minus(f"{value:.1f}".replace("-0.0", "0.0")) if np.isfinite(value) else "·"


def _short(value: float) -> str:
    """For narrow cells of three characters: .4 for 0.4, 0 for 0.0, 10 for 10.3, −1 for -1.4."""
    text = re.sub(r"^(−?)0\.", r"\1.", _number(value))
    return "0" if text == ".0" else text if len(text) <= 3 else minus(f"{value:.0f}")


@styled
def knockout_matrix(table: DataFrame, ax: Axes | None = None) -> Figure:
    """dB lost by each degradation when one expert at one layer is forbidden; a point where no image took it.

    table: from `slerlib.analysis.causal.knock_out`.
    """
    with_rows(table, "A knock-out chart")
    values, names, stages = expert_cube(table.assign(shown=table.lost.where(table.chosen > 0)), "shown")
    panels = [(ax, slice(None))] if ax else expert_panels(0.36 * len(names) + 0.9, len(stages))
    for ax, part in panels:
        expert_matrix(ax, values[:, part], names, stages[part], _short, **SHADES)
    sure = shown_cells(table)
    lines = textwrap.wrap(f"{sure}; {SCALE}", 84)
    ax.set_xlabel("\n".join(["expert that is forbidden; mean dB lost over all images of the degradation", *lines]),
                  labelpad=8)  # fmt: skip
    worst = table.loc[table.lost.idxmax()]
    alt = f"dB lost when an expert is forbidden. Most: {worst.lost:.1f} dB for {worst.degradation} without expert "
    return finished(ax.figure, f"{alt}{worst.expert} of {worst.stage}. {sure}.")


def shown_cells(table: DataFrame) -> str:
    """How many cells of a knock-out are shown to differ from 0, or why so few photographs can show no single cell.

    table: from `slerlib.analysis.causal.knock_out`.
    """
    cells, shown, n = int((table.chosen > 0).sum()), int((table.p_corrected < 0.05).sum()), int(table.photographs.min())
    if shown:
        return f"{shown} of {cells} cells are shown to differ from 0 (corrected p < 0.05)"
    least, photographs = fewest_shown(n, cells), f"{n} photograph{'s' * (n > 1)}"
    if least is None:
        return f"no verdict on cells: {photographs} cannot reach a corrected p below 0.05"
    some = f"{least} of {cells} cells at this p" if least > 1 else "one cell at this p"
    return f"no single cell is shown: {photographs} give p ≥ {smallest_p(n):.1g}; corrected, it takes {some}"


@styled
def swap_matrix(table: DataFrame, ax: Axes | None = None) -> Figure:
    """dB lost when a degradation (row) is restored along the usual path of another (column); framed: its own.

    table: from `slerlib.analysis.causal.path_swap`. A degradation without a usual path has no column.
    """
    with_rows(table, "A matrix of exchanged paths")
    names, columns = list(dict.fromkeys(table.degradation)), list(dict.fromkeys(table.path_of))
    values = table.pivot(index="degradation", columns="path_of", values="lost").loc[names, columns]
    ax = canvas(ax, 0.42 * len(names) + 1.5 + slant(columns))
    frames = [(names.index(name), columns.index(name)) for name in names if name in columns]
    matrix(ax, values.to_numpy(), names, columns, _number, frames, style.BLACK, **SHADES)
    missing = table.attrs.get("without", [])
    note = f"no path that more than half of its images take: {', '.join(missing)}" if missing else ""
    ax.set_xlabel("column: usual path of which degradation (framed: its own)\n"
                  f"mean dB lost against each image's own route; {SCALE}\n{note}".rstrip(), labelpad=8)  # fmt: skip
    ax.set_ylabel("degradation")
    words = []
    for name in names if len(columns) > 1 else ():
        foreign = values.loc[name].drop(name, errors="ignore")
        words.append(f"{name} loses most along {foreign.idxmax()} ({_number(foreign.max())} dB)")
    return finished(ax.figure, f"dB lost along the paths of other degradations. {'; '.join(words)}. {note}".rstrip())


@styled
def rules_chart(table: DataFrame, degradation: str = "all", ax: Axes | None = None) -> Figure:
    """dB lost when a rule replaces the learned route, with 95 % intervals; left of 0 the rule is better.

    table: from `slerlib.analysis.causal.route_rules`. A rule is marked as better only where its interval lies below 0.
    The axis is linear from -1 to 1 dB and logarithmic beyond.
    """
    with_images = table[table.n > 0]
    part = with_images[with_images.degradation == degradation]
    if not len(part):
        names = ", ".join(with_images.degradation.unique())
        raise UserError(f"The table has no images of {degradation!r}; it has {names or 'none'}. Choose another.")
    ax = canvas(ax, 0.52 * len(part) + 1.2)
    rows = part.assign(place=range(len(part)), mean=part.lost, low=part.lost_low, high=part.lost_high,
                       look=np.where(part.lost_high < 0, "better", "not better"))  # fmt: skip
    mean_marks(ax, rows, {"better": (style.VERMILLION, "v", True), "not better": (style.BLUE, "o", True)}, size=8)
    notes = [number(row.lost, row.lost_low, row.lost_high, "+z.2f") for row in part.itertuples()]
    row_labels(ax, [textwrap.fill(RULES.get(rule, rule), 20) for rule in part.rule],
               "dB lost against the network's own choice (left of 0: the rule is better)\n"
               "axis: linear from −1 to 1, logarithmic beyond", notes,
               f"dB lost{where_interval(part.lost_low, ' (95 %)')}")  # fmt: skip
    ax.axvline(0, color=style.GREY, linewidth=1)
    ax.set_xscale("symlog", linthresh=1)
    for end in (-1, 1):  # between these the axis is linear
        ax.axvline(end, color=style.GREY, linewidth=1, linestyle=":")
    left, right = part[["lost", "lost_low"]].min(axis=None), part[["lost", "lost_high"]].max(axis=None)
    ticks = [t for t in (-10, -3, -1, -0.5, 0, 0.5, 1, 3, 10) if left - 2 < t < right + 2]
    ax.set_xticks(ticks, [minus(f"{t:g}") for t in ticks])
    ax.minorticks_off()
    words = (f"{row.rule} {note}, {row.differ} of {row.n} routes differ"
             for row, note in zip(part.itertuples(), notes, strict=True))  # fmt: skip
    return finished(ax.figure, f"dB lost when a rule replaces the learned route, {degradation}. {'; '.join(words)}.")


@styled
def walk_chart(table: DataFrame, start: str, end: str) -> Figure:
    """Along the arc from one anchor to another: the expert of each layer, and the gain of that path per degradation.

    table: from `slerlib.analysis.causal.geodesic_walk` with the same start and end. Bands: 95 % intervals,
    paired by image.
    """
    import seaborn
    from matplotlib.figure import Figure

    with_rows(table, "A walk")
    fig = Figure((style.WIDTH, 6.2), dpi=style.DPI, layout="constrained")
    top, ax = fig.subplots(2, 1, sharex=True, height_ratios=(3.1, 3))
    steps = table.drop_duplicates("t")
    _experts_on_the_way(top, steps)
    names = list(dict.fromkeys(table.degradation))
    looks = class_looks(names, names)
    palette, markers = ({name: look[key] for name, look in looks.items()} for key in ("color", "marker"))
    seaborn.lineplot(table.assign(gained=-table.lost), x="t", y="gained", hue="degradation", style="degradation",
                     palette=palette, markers=markers, dashes=False, errorbar=None,
                     mew=0, drawstyle="steps-mid", ax=ax)  # fmt: skip
    for name, part in table.groupby("degradation"):
        ax.fill_between(part.t, -part.lost_high, -part.lost_low, color=palette[name], alpha=0.15, lw=0, step="mid")
    ax.axhline(0, color=style.GREY, linewidth=1)
    _the_way(ax, start, end)
    ax.set(ylabel="dB gained over own route")
    columns = -(-len(names) // -(-len(names) // 5))  # at most 5 in a row, rows alike
    ax.legend(ncols=columns, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0, title=None)
    ends = table.groupby("degradation", sort=False).psnr.agg(["first", "last"])
    words = "; ".join(f"{row.Index} from {row.first:.1f} to {row.last:.1f} dB" for row in ends.itertuples())
    return finished(fig, f"Walk from {start} to {end}: {_switches(steps)}. Restored: {words}.")


@styled
def arc_chart(table: DataFrame, start: str, end: str, t: float | None = None, ax: Axes | None = None) -> Figure:
    """The expert of each layer along the arc from one anchor to another, and at the right where the layer switches.

    table: from `slerlib.analysis.causal.arc_routes` with the same start and end. t: a place to mark, 0 to 1.
    """
    with_rows(table, "A walk")
    ax = canvas(ax, 3.2)
    _experts_on_the_way(ax, table)
    _the_way(ax, start, end)
    beside = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": style.SMALL + 0.5}
    for layer, stage in enumerate(STAGE_NAMES):
        places = [f"{row.t:.2f}" for row in table.itertuples() if stage in row.switched.split("+")]
        ax.text(1.01, layer, ", ".join(places) or "never", **beside)
    ax.text(1.01, -0.9, "switches at", **beside)
    here = ""
    if t is not None:
        ax.axvline(t, color="white", linewidth=4.5, zorder=2)
        ax.axvline(t, color=style.BLACK, linewidth=2, zorder=2)  # behind the numbers
        here = f" At {t:.2f} the path is {table.path.iloc[(table.t - t).abs().argmin()]}."
    return finished(ax.figure, f"Experts on the way from {start} to {end}: {_switches(table)}.{here}")


def _experts_on_the_way(ax: Axes, steps: DataFrame) -> None:
    """A bar for each layer, divided where its expert changes."""
    t, paths = steps.t.to_numpy(), np.array([[int(e) for e in path] for path in steps.path])
    edges = np.concatenate([[t[0]], (t[1:] + t[:-1]) / 2, [t[-1]]])
    for layer, column in enumerate(paths.T):
        ends = [*(np.flatnonzero(np.diff(column)) + 1), len(column)]
        for a, b in zip([0, *ends[:-1]], ends, strict=True):
            colour = expert_colour(column[a])
            ax.barh(layer, edges[b] - edges[a], left=edges[a], height=0.86, color=colour, edgecolor="white")
            ax.text((edges[a] + edges[b]) / 2, layer, column[a], ha="center", va="center", color=ink(colour),
                    fontsize=style.SMALL + 0.5, weight="bold",
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
