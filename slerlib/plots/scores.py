"""Figures of scores: before and after, two runs, variants of the network."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..ablation import tables as ablations
from ..ablation.run import REFERENCE
from ..errors import UserError
from ..evaluation.local import by_damage
from ..evaluation.metrics import bootstrap_interval
from . import style
from .marks import labels_of, mean_marks, number, row_labels, where_interval, with_rows
from .pictures import decibels
from .style import canvas, finished, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

GAINS = {
    "input": (style.GREY, "o", False),
    "restored": (style.BLUE, "o", True),
    "restored, worse than the input": (style.VERMILLION, "v", True),
}
PARTS = {  # column of an evaluation of damage in a part -> what its mark means
    "psnr_damaged_input": "input",
    "psnr_all_over": "restored: all over",
    "psnr_damaged": "restored: in a part",
}
PART_LOOKS = {
    "input": (style.GREY, "o", False),
    "restored: all over": (style.BLACK, "D", False),
    "restored: in a part": (style.BLUE, "o", True),
}
DIFFERENCES = {  # marks of a mean difference whose interval lies above 0, lies below 0, or holds 0; without an interval
    "better": (style.BLUE, "D", True),
    "worse": (style.VERMILLION, "v", True),
    "not shown": (style.BLACK, "D", True),
    "no interval": (style.BLACK, "D", False),
}


@styled
def gain_chart(table: DataFrame, ax: Axes | None = None) -> Figure:
    """Mean PSNR before and after, per degradation, with 95 % bootstrap intervals over images where there are enough.

    table: from `slerlib.evaluate`. The gain at the right is the mean over the images with its paired interval. If that
    interval lies below 0, the degradation has another colour and a triangle.
    """
    import pandas as pd

    tasks = labels_of(table.task.unique(), table.task.unique(), "row of an evaluation")
    ax = canvas(ax, 0.46 * len(tasks) + 1.35)
    rows, notes, words = [], [], []
    for y, task in enumerate(tasks):
        part = table[table.task == task]
        before, after = bootstrap_interval(part.psnr_input), bootstrap_interval(part.psnr)
        look, note = "restored", "input = clean" if np.isinf(part.psnr_input).all() else "no mean: identical"
        if np.isfinite([before[0], after[0]]).all():
            gain = bootstrap_interval(part.psnr - part.psnr_input)
            look = "restored, worse than the input" if gain[2] < 0 else "restored"
            note = number(*gain, "+z.1f")
            ax.plot([before[0], after[0]], [y, y], color=GAINS[look][0], alpha=0.35, lw=5, solid_capstyle="butt")
        rows += [("input", y - 0.16, *before)] if np.isfinite([before[0], after[0]]).all() else []
        rows += [(look, y + 0.16, *after)] if np.isfinite(after[0]) else []
        notes.append(note)
        words.append(f"{task} {decibels(before[0])} before, {decibels(after[0])} after, n = {len(part)}")
    rows = pd.DataFrame(rows, columns=["look", "place", "mean", "low", "high"])
    mean_marks(ax, rows, GAINS)
    some, percent = where_interval(rows.low, " with 95 % interval"), where_interval(rows.low, " (95 %)")
    row_labels(ax, tasks, f"PSNR in dB, mean over images{some}", notes, f"gain in dB{percent}")
    _legend_above(ax, GAINS, set(rows["look"]))
    return finished(ax.figure, f"Mean PSNR of the input and of the restored picture. {'; '.join(words)}.")


def _legend_above(ax: Axes, looks: dict[str, tuple[str, str, bool]], used: set[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, marker=marker, mfc=colour if full else "white", mew=1.6, lw=1.6, label=look)
               for look, (colour, marker, full) in looks.items() if look in used]  # fmt: skip
    ax.legend(handles=handles, ncols=len(handles), loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)


@styled
def part_chart(table: DataFrame, ax: Axes | None = None) -> Figure:
    """PSNR of the damaged part, beside that of the same part where the same damage lies all over, per degradation.

    table: from `slerlib.evaluate` with setting "local". Means over photographs, of each the mean over the shapes, with
    95 % bootstrap intervals. At the right: in a part minus all over, paired; a mean with an interval below 0 says that
    damage in a part comes back worse.
    Raises UserError for a table without rows and for one of another setting.
    """
    import pandas as pd

    if lacking := [name for name in PARTS if name not in with_rows(table, "A chart of parts")]:
        raise UserError(f"A chart of parts needs an evaluation with setting='local'; the table lacks {lacking[0]}.")
    parts = by_damage(table)
    damages = list(dict.fromkeys(parts.index.get_level_values("damage")))
    ax = canvas(ax, 0.6 * len(damages) + 1.35)
    rows, notes, words = [], [], []
    for y, damage in enumerate(damages):
        part = parts.loc[damage]
        scores = {look: part[name].dropna() for name, look in PARTS.items()}
        means = {look: bootstrap_interval(values) for look, values in scores.items() if len(values)}
        rows += [(look, y + 0.22 * (k - 1), *mean) for k, (look, mean) in enumerate(means.items())]
        gap = (part.psnr_damaged - part.psnr_all_over).dropna()
        notes.append(number(*bootstrap_interval(gap), "+.1f") if len(gap) else "")
        text = ", ".join(f"{look} {decibels(mean[0])}" for look, mean in means.items())
        words.append(f"{damage}: {text}, n = {len(part)}")
    rows = pd.DataFrame(rows, columns=["look", "place", "mean", "low", "high"])
    mean_marks(ax, rows[np.isfinite(rows["mean"])], PART_LOOKS)
    some, percent = where_interval(rows.low, " with 95 % interval"), where_interval(rows.low, " (95 %)")
    row_labels(ax, damages, f"PSNR of the damaged part in dB, mean over photographs{some}\n"
               "all over: where the same damage lies in the whole picture", notes,
               f"difference, dB{percent}")  # fmt: skip
    _legend_above(ax, PART_LOOKS, set(rows["look"]))
    return finished(
        ax.figure, f"Mean PSNR of the damaged part, where the damage lies all over and in a part. {'; '.join(words)}."
    )


def _differences(ax: Axes, rows: Sequence[tuple[Series, float, float, float]]) -> None:
    """Rows of (single values, mean, low, high) around a line at 0; the values in grey below their mean."""
    import pandas as pd
    import seaborn

    ax.axvline(0, color=style.GREY, linewidth=0.9)
    marks = []
    for y, (values, mean, low, high) in enumerate(rows):
        values = values[np.isfinite(values)].to_numpy()
        lines = y + 0.2 + (np.arange(len(values)) % 5 - 2) * 0.04  # five, so that equal ones do not hide each other
        seaborn.scatterplot(x=values, y=lines, color=style.GREY, s=12, alpha=0.6, linewidth=0, ax=ax)
        look = "better" if low > 0 else "worse" if high < 0 else "not shown" if np.isfinite(low) else "no interval"
        marks += [(look, y - 0.12, mean, low, high)] if np.isfinite(mean) else []
    mean_marks(ax, pd.DataFrame(marks, columns=["look", "place", "mean", "low", "high"]), DIFFERENCES)


@styled
def delta_chart(rows: DataFrame, means: DataFrame) -> Figure:
    """B minus A in dB: every picture (grey), the mean of each task with its 95 % interval, and their average.

    rows, means: of a `slerlib.compare.Comparison`. Where the interval lies right of 0 B is better (blue), where it lies
    left of 0 B is worse (vermillion, with a triangle), else neither is shown (black); a hollow mark has no interval.
    Infinite differences stand in words and are not drawn.
    """
    several = rows.dataset.nunique() > 1
    labels = [f"{mean.dataset} {mean.task}".strip() if several else mean.task for mean in means.itertuples()]
    notes = [number(mean.delta, mean.low, mean.high, "+.2f") for mean in means.itertuples()]
    each = [rows[(rows.dataset == mean.dataset) & (rows.task == mean.task)].delta for mean in means.itertuples()]
    ax = canvas(None, 1.15 + 0.42 * len(means))
    _differences(ax, list(zip(each, means.delta, means.low, means.high, strict=True)))
    xlabel = "B minus A, PSNR in dB; grey: each picture; means blue: B is better,\norange: B is worse, black: not shown"
    row_labels(ax, labels, xlabel, notes, f"B − A in dB{where_interval(means.low, ' (95 %)')}")
    words = (f"{label} {note} dB, n = {n}" for label, note, n in zip(labels, notes, means.n, strict=True))
    return finished(ax.figure, f"PSNR of B minus that of A, per task. {'; '.join(words)}.")


@styled
def ablation_gaps(rows: DataFrame) -> Figure:
    """SLER-IR minus every variant, dB: mean with its 95 % interval over seeds, each seed (grey).

    Blue: SLER-IR is better, vermillion: it is worse, black: neither is shown; a hollow mark is of one seed and has no
    interval. rows: a table of `slerlib ablate`, see `slerlib.ablation.tables.read`.
    Raises UserError without SLER-IR and another variant.
    """
    average = ablations.averages(rows)
    if REFERENCE not in average.index or len(average) < 2:
        raise UserError(
            f"Gaps are between SLER-IR ({REFERENCE!r}) and other variants; the table has "
            f"{', '.join(average.index) or 'none'}. Train both: slerlib ablate {REFERENCE} dense."
        )
    table = ablations.compared(rows)
    table = table[table.variant != REFERENCE].reset_index(drop=True)
    each = [average.loc[REFERENCE] - average.loc[variant] for variant in table.variant]
    ax = canvas(None, 1.1 + 0.42 * len(table))
    _differences(ax, list(zip(each, table.sler_minus, table.low, table.high, strict=True)))
    labels = [textwrap.fill(f"{row.variant}: {row.meaning}", 46) for row in table.itertuples()]
    row_labels(ax, labels, "SLER-IR minus the variant, average PSNR (dB)\n"
               "blue: SLER-IR is better, orange: worse, black: not shown")  # fmt: skip
    ax.tick_params(axis="y", labelsize=style.SMALL)
    words = (f"{row.variant} {row.sler_minus:+.2f} dB "
             + (f"({row.low:.2f} to {row.high:.2f})" if np.isfinite(row.low) else "(one seed)")
             for row in table.itertuples())  # fmt: skip
    return finished(ax.figure, f"SLER-IR minus each variant, average PSNR over the degradations: {'; '.join(words)}.")
