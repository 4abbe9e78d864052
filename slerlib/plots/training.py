"""Figures of a training as it goes: loss and its terms, PSNR of held-out scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from .style import BLUE, DPI, GREY, SMALL, WIDTH, class_looks, finished, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@styled
def training_curves(log: DataFrame, validation: DataFrame | None = None) -> Figure:
    """Loss over steps (thin: each step, thick: running mean) with its stages, and PSNR of held-out scenes per class.

    log: from `slerlib.train.background.read_log`; validation: from `read_validation`, drawn where it has rows.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    if not len(log):
        raise UserError("A training curve needs a log with steps; got none. Wait for the first step.")
    looks = validation is not None and len(validation) > 0
    fig = Figure((WIDTH, 5.2 if looks else 2.8), dpi=DPI, layout="constrained")
    axes = fig.subplots(2 if looks else 1, 1, sharex=True, squeeze=False)[:, 0]
    window = max(1, len(log) // 40)
    axes[0].plot(log.step, log.loss, color=GREY, lw=0.6, alpha=0.5)
    for _, part in log.groupby("stage", sort=False):  # a mean over the turn of a stage would mix two losses
        smooth = part.loss.rolling(window, min_periods=1).mean()
        axes[0].plot(part.step, smooth, color=BLUE, lw=1.8)
    axes[0].set(yscale="log", ylabel="loss")
    axes[0].yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_minor_formatter("{x:g}")
    starts = log.groupby("stage", sort=False).step.min()
    for stage, first in starts.items():
        for ax in axes:
            ax.axvline(first, color=GREY, lw=0.8, ls=":")
        axes[0].annotate(f"stage {stage}", (first, 1), xytext=(4, -4), xycoords=("data", "axes fraction"),
                         textcoords="offset points", va="top", fontsize=SMALL, color="#333333")  # fmt: skip
    if looks:
        names = [column for column in validation if column != "step"]
        classes = list(dict.fromkeys(name.removesuffix(" (real)") for name in names))
        looks = class_looks(classes, classes)
        for name in names:
            line = "--" if name.endswith("(real)") else "-"
            axes[1].plot(validation.step, validation[name], line, ms=4, lw=1.2, label=name,
                         **looks[name.removesuffix(" (real)")])  # fmt: skip
        axes[1].set_ylabel("PSNR of held-out\nviews (dB)")
        axes[1].legend(ncols=4, fontsize=SMALL, loc="upper center", bbox_to_anchor=(0.5, -0.25))
    axes[-1].set_xlabel("step")
    last = log.loss.tail(window).mean()
    text = f"Loss over {len(log)} steps, on average {last:.3g} at the end; stages " + ", ".join(
        f"{stage} from step {int(first)}" for stage, first in starts.items()
    )
    if looks:
        final = validation.iloc[-1]
        text += (
            ". PSNR of held-out views at step "
            + f"{int(final.step)}: "
            + ", ".join(f"{name} {final[name]:.1f} dB" for name in names if np.isfinite(final[name]))
        )
    return finished(fig, text + ".")
