"""The figure of a table of ablations."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from ..ablation import tables as ablations
from ..ablation.run import REFERENCE
from ..errors import UserError
from .style import BLUE, DPI, GREY, SMALL, WIDTH, finished, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@styled
def ablation_gaps(rows: DataFrame) -> Figure:
    """SLER-IR minus every variant, dB: mean with its 95 % interval over seeds (blue), each seed (grey).

    A hollow mark is of one seed and has no interval.
    rows: a table of `slerlib ablate`, see `slerlib.ablation.tables.read`. Right of 0 SLER-IR is better.
    Raises UserError without SLER-IR and another variant.
    """
    from matplotlib.figure import Figure

    average = ablations.averages(rows)
    if REFERENCE not in average.index or len(average) < 2:
        raise UserError(
            f"Gaps are between SLER-IR ({REFERENCE!r}) and other variants; the table has "
            f"{', '.join(average.index) or 'none'}. Train both: slerlib ablate {REFERENCE} dense."
        )
    table = ablations.compared(rows)
    table = table[table.variant != REFERENCE].reset_index(drop=True)
    fig = Figure((WIDTH, 0.9 + 0.42 * len(table)), dpi=DPI, layout="constrained")
    ax = fig.add_subplot()
    ax.axvline(0, color=GREY, lw=0.8)
    said = []
    for y, row in table.iterrows():
        seeds = (average.loc[REFERENCE] - average.loc[row.variant]).dropna()
        ax.plot(seeds, np.full(len(seeds), y + 0.22), "o", ms=3.5, color=GREY, mew=0)  # below, so that none is hidden
        known = np.isfinite(row.low)
        if known:
            ax.plot([row.low, row.high], [y, y], color=BLUE, lw=2.2, solid_capstyle="butt")
        ax.plot(row.sler_minus, y, "D", ms=5.5, color=BLUE if known else "white", mec=BLUE)
        interval = f"({row.low:.2f} to {row.high:.2f})" if known else "(one seed)"
        said.append(f"{row.variant} {row.sler_minus:+.2f} dB {interval}")
    labels = [textwrap.fill(f"{row.variant}: {row.meaning}", 46) for row in table.itertuples()]
    ax.set_yticks(range(len(table)), labels, fontsize=SMALL)
    ax.set(ylim=(len(table) - 0.4, -0.6), xlabel="SLER-IR minus the variant, average PSNR (dB)")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#DDDDDD", lw=0.6)
    ax.set_axisbelow(True)
    return finished(fig, "SLER-IR minus each variant, average PSNR over the degradations: " + "; ".join(said) + ".")
