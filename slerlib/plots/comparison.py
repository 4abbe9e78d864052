"""Figures of two runs side by side: differences picture by picture, and what they look like.

Legend: C channels, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..evaluation.metrics import psnr, with_interval
from .style import BLUE, DPI, GREY, PICTURE_DPI, SMALL, VERMILLION, WIDTH, finished, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

TITLES = ("clean", "degraded", "A", "B")


@styled
def delta_chart(rows: DataFrame, means: DataFrame) -> Figure:
    """B minus A in dB: every picture (grey), the mean of each task with its 95 % interval, and their average.

    rows, means: of a `slerlib.compare.Comparison`. Right of 0 B is better (blue), left of it worse (vermillion, with a
    triangle); a hollow mark has no interval. Infinite differences are told in words, not drawn.
    """
    from matplotlib.figure import Figure

    several = rows.dataset.nunique() > 1
    fig = Figure((WIDTH, 0.95 + 0.42 * len(means)), dpi=DPI, layout="constrained")
    ax = fig.add_subplot()
    ax.axvline(0, color=GREY, lw=0.9)
    labels, said = [], []
    for y, mean in enumerate(means.itertuples()):
        label = f"{mean.dataset} {mean.task}".strip() if several else mean.task
        part = rows[(rows.dataset == mean.dataset) & (rows.task == mean.task)].delta
        part = part[np.isfinite(part)]
        spread = (np.arange(len(part)) % 5 - 2) * 0.04  # so that equal ones do not hide each other
        ax.plot(part, y + 0.2 + spread, "o", ms=3.2, color=GREY, alpha=0.6, mew=0)
        note = with_interval(mean.delta, mean.low, mean.high, "+.2f").replace("-", "−")
        if math.isfinite(mean.delta):
            colour, marker = (BLUE, "D") if mean.delta >= 0 else (VERMILLION, "v")
            if known := math.isfinite(mean.low):
                ax.plot([mean.low, mean.high], [y - 0.12] * 2, color=colour, lw=2.2, solid_capstyle="butt")
            ax.plot(mean.delta, y - 0.12, marker, ms=6, color=colour if known else "white", mec=colour)
        bold = "bold" if mean.task == "average" else "normal"
        ax.text(1.02, y, note, transform=ax.get_yaxis_transform(), va="center", fontsize=SMALL + 0.5, weight=bold)
        labels.append(label)
        said.append(f"{label} {note} dB, n = {mean.n}")
    ax.text(1.02, -0.72, "B − A in dB (95 %)", transform=ax.get_yaxis_transform(), va="bottom", fontsize=SMALL + 0.5)
    ax.set(ylim=(len(means) - 0.4, -0.6), yticks=range(len(means)), yticklabels=labels)
    ax.set_xlabel("B minus A, PSNR in dB; each picture in grey, means in colour")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#DDDDDD", lw=0.6)
    ax.set_axisbelow(True)
    return finished(fig, f"PSNR of B minus that of A, per task. {'; '.join(said)}.")


@styled
def side_by_side(pictures: Sequence[tuple[str, Tensor, Tensor, Tensor, Tensor]], side: int = 160) -> Figure:
    """One row per picture: clean, degraded, restored by A, restored by B; PSNR of the whole picture below.

    pictures: from `slerlib.side_by_side.pictures`. Shown is the part of side x side pixels in which the squared errors
    of A and B differ most, the same part in all four, so it overstates how different the whole pictures are.
    Raises UserError without pictures.
    """
    from matplotlib.figure import Figure

    if not pictures:
        raise UserError("Pictures side by side need at least one; got none. See the reason that came with them.")
    fig = Figure((WIDTH, 2.0 * len(pictures) + 0.3), dpi=PICTURE_DPI, layout="constrained")
    grid, said = fig.subplots(len(pictures), len(TITLES), squeeze=False), []
    for axes, (label, clean, *others) in zip(grid, pictures, strict=True):
        top, left, height, width = _most_different_part(clean, *others[1:], side)
        values = [psnr(image, clean) for image in others]
        notes = ["", *(f"{value:.2f} dB" for value in values)]
        notes[-1] += f" ({values[2] - values[1]:+.2f})".replace("-", "−")
        for ax, image, note in zip(axes, (clean, *others), notes, strict=True):
            part = image[:, top : top + height, left : left + width]
            ax.imshow(part.detach().cpu().float().clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            ax.set_xlabel(note, labelpad=3, fontsize=SMALL + 0.5)
        axes[0].set_ylabel(label, labelpad=6)
        said.append(f"{' '.join(label.split())}: input {values[0]:.2f}, A {values[1]:.2f}, B {values[2]:.2f} dB")
    for ax, title in zip(grid[0], TITLES, strict=True):
        ax.set_title(title, loc="center")
    return finished(fig, f"Parts of photographs: clean, degraded, restored by A and by B. {'; '.join(said)}.", "jpeg")


def _most_different_part(clean: Tensor, a: Tensor, b: Tensor, side: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the part of (3, H, W) where the mean squared errors differ most."""
    error_HW = ((b - clean).square() - (a - clean).square()).mean(dim=0).detach().cpu().double()
    height, width = (min(side, length) for length in error_HW.shape)
    means = F.avg_pool2d(error_HW[None, None], (height, width), stride=4)[0, 0].abs()
    top, left = divmod(int(means.argmax()), means.shape[1])
    return 4 * top, 4 * left, height, width
