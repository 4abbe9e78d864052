"""Figures of a training: loss and its terms, held-out scores, routes, time, two trainings side by side.

log, validation: from `slerlib.train.history.read`, or `read_log` and `read_validation` of `slerlib.train.background`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from . import style
from .marks import with_rows
from .style import class_looks, finished, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

NOT_TERMS = ("step", "stage", "loss", "grad_norm", "lr", "seconds", "class_path")  # columns of a log that add no loss


@styled
def training_curves(log: DataFrame, validation: DataFrame | None = None) -> Figure:
    """Loss over steps (thin: each step, thick: running mean) with its stages, and PSNR of held-out scenes per class.

    log: from `slerlib.train.background.read_log`; validation: from `read_validation`, drawn where it has rows.
    """
    import seaborn
    from matplotlib.figure import Figure

    if not len(log):
        raise UserError("A training curve needs a log with steps; got none. Wait for the first step.")
    validated = validation is not None and len(validation) > 0
    fig = Figure((style.WIDTH, 5.2 if validated else 2.8), dpi=style.DPI, layout="constrained")
    top, *below = fig.subplots(1 + validated, 1, sharex=True, squeeze=False)[:, 0]
    window = max(1, len(log) // 40)
    # within a stage: a mean over the change of stages would mix two losses
    smooth = log.groupby("stage", sort=False).loss.transform(lambda part: part.rolling(window, min_periods=1).mean())
    top.plot(log.step, log.loss, color=style.GREY, lw=0.6, alpha=0.5)
    seaborn.lineplot(x=log.step, y=smooth, units=log.stage, estimator=None, color=style.BLUE, lw=1.8, ax=top)
    _logarithmic(top, "loss (logarithmic scale)")
    starts = log.groupby("stage", sort=False).step.min()
    _stage_marks((top, *below), log)
    fig.axes[-1].set_xlabel("step")
    last = f"on average {log.loss.tail(window).mean():.3g} at the end"
    stages = ", ".join(f"{stage} from step {int(first)}" for stage, first in starts.items())
    text = f"Loss over {len(log)} steps, {last}; stages {stages}."
    if validated:
        text += _held_out(below[0], validation)
    return finished(fig, text)


def _held_out(ax: Axes, validation: DataFrame) -> str:
    """Draw the PSNR of held-out views, real pairs dashed; the last values in words."""
    import seaborn

    names = [column for column in validation if column != "step"]
    kinds = [name.removesuffix(" (real)") for name in names]
    looks = class_looks(list(dict.fromkeys(kinds)), kinds)
    styles = {key: {name: looks[kind][value] for name, kind in zip(names, kinds, strict=True)}
              for key, value in (("palette", "color"), ("markers", "marker"))}  # fmt: skip
    dashes = {name: (4, 2) if name.endswith("(real)") else "" for name in names}
    long = validation.melt("step", var_name="class", value_name="psnr")
    seaborn.lineplot(
        long, x="step", y="psnr", hue="class", style="class", dashes=dashes, **styles, lw=1.2, mew=0, ax=ax
    )
    ax.set(xlabel="step", ylabel="PSNR of held-out\nviews (dB)")
    ax.legend(ncols=4, fontsize=style.SMALL, loc="upper center", bbox_to_anchor=(0.5, -0.25))
    final = validation.iloc[-1]
    ends = ", ".join(f"{name} {final[name]:.1f} dB" for name in names if np.isfinite(final[name]))
    return f" PSNR of held-out views at step {int(final.step)}: {ends}."


def _logarithmic(ax: Axes, label: str) -> None:
    """A logarithmic scale with plain numbers: 1, 2 and 5 of every power of ten, all of them on a short one."""
    from matplotlib.ticker import LogLocator

    ax.set(yscale="log", ylabel=label)
    low, high = ax.get_ylim()
    ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5) if high > 8 * low else range(2, 10)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:g}")


def _stage_marks(axes: Sequence[Axes], log: DataFrame, named: int = 1) -> None:
    """A dotted line where each stage begins; its name above the first `named` axes."""
    for stage, first in log.groupby("stage", sort=False).step.min().items():
        for k, ax in enumerate(axes):
            ax.axvline(first, color=style.GREY, lw=0.8, ls=":")
            if k < named:
                ax.annotate(f"stage {stage}", (first, 1), xytext=(0, 3), xycoords=("data", "axes fraction"),
                            textcoords="offset points", fontsize=style.SMALL, color="#333333")  # fmt: skip


def _running_mean(log: DataFrame, column: str):
    """Mean over a fortieth of the steps, within each stage."""
    window = max(1, len(log) // 40)
    return log.groupby("stage", sort=False)[column].transform(lambda part: part.rolling(window, min_periods=1).mean())


@styled
def loss_terms(log: DataFrame) -> Figure:
    """Every term of the loss over the steps, a panel each with its own scale from 0; only where the stage has it."""
    import seaborn
    from matplotlib.figure import Figure

    with_rows(log, "A chart of the terms of a loss")
    terms = [name for name in log if name not in NOT_TERMS and log[name].notna().any()]
    rows = -(-len(terms) // 2)
    fig = Figure((style.WIDTH, 0.5 + 1.55 * rows), dpi=style.DPI, layout="constrained")
    axes, words = fig.subplots(rows, 2, sharex=True, squeeze=False).ravel(), []
    for ax, term in zip(axes, terms, strict=False):
        part = log[log[term].notna()]
        mean = _running_mean(part, term)
        ax.plot(part.step, part[term], color=style.GREY, lw=0.5, alpha=0.4)
        seaborn.lineplot(x=part.step, y=mean, units=part.stage, estimator=None, color=style.BLUE, lw=1.6, ax=ax)
        top = max(1.3 * mean.max(), 1e-9)
        ax.set(title=term, xlabel="step", ylabel="", ylim=(min(0.0, 1.3 * mean.min()), top))
        _stage_marks([ax], log, named=0)
        words.append(f"{term} {mean.iloc[0]:.3g} to {mean.iloc[-1]:.3g}")
    for ax in axes[len(terms) :]:
        ax.set_visible(False)
    return finished(fig, f"Terms of the loss, running means at their first and last step: {'; '.join(words)}.")


@styled
def settling_chart(log: DataFrame, looks: DataFrame) -> Figure:
    """Do the routes settle? Share of the layers on the path of the label, and how many choices differ from the last.

    looks: from `slerlib.analysis.forming.settling`; may be empty.
    """
    import seaborn
    from matplotlib.figure import Figure

    share = log[log.class_path.notna()] if "class_path" in log else log[:0]
    if not len(share) and not len(looks):
        raise UserError("A chart of routes needs steps of stage B or C, or looks at the sphere; got none. Wait.")
    fig = Figure((style.WIDTH, 2.4 * (bool(len(share)) + bool(len(looks)))), dpi=style.DPI, layout="constrained")
    axes, words = list(fig.subplots(bool(len(share)) + bool(len(looks)), 1, sharex=True, squeeze=False)[:, 0]), []
    drawn = list(axes)
    if len(looks):
        ax, names = axes.pop(0), list(dict.fromkeys(looks["class"]))
        kinds = class_looks(names, names)
        seaborn.lineplot(looks, x="step", y="changed", hue="class", style="class", dashes=False, lw=1.2, mew=0, ax=ax,
                         palette={n: kinds[n]["color"] for n in names},
                         markers={n: kinds[n]["marker"] for n in names})  # fmt: skip
        ax.set(ylabel="layers with another\nexpert than at the end", ylim=(-0.3, 8.3), xlabel="step")
        ax.legend(ncols=4, fontsize=style.SMALL, loc="upper center", bbox_to_anchor=(0.5, -0.2 if axes else -0.28))
        last = looks[looks.changed > 0].groupby("class").step.max()
        words += [f"{name} changed last after step {last[name]}" if name in last else f"{name} never changed"
                  for name in names]  # fmt: skip
    if len(share):
        ax, mean = axes.pop(0), _running_mean(share, "class_path")
        ax.plot(share.step, share.class_path, color=style.GREY, lw=0.5, alpha=0.4)
        seaborn.lineplot(x=share.step, y=mean, units=share.stage, estimator=None, color=style.BLUE, lw=1.6, ax=ax)
        ax.set(ylabel="share of choices on\nthe path of the label", xlabel="step", ylim=(0, 1.02))
        words.append(f"share on the path of the label {mean.iloc[0]:.0%} to {mean.iloc[-1]:.0%}")
    _stage_marks(drawn, log)
    return finished(fig, f"How the routes settle: {'; '.join(words)}.")


@styled
def pace_chart(log: DataFrame, memory: DataFrame, starts: Sequence[int] = ()) -> Figure:
    """Seconds of each step and the largest memory so far, over the steps; a triangle where the training went on.

    memory: columns step, memory_MB and perhaps gpu_memory_MB; may be empty.
    """
    from matplotlib.figure import Figure

    with_rows(log, "A chart of time and memory")
    some = len(memory) > 0
    fig = Figure((style.WIDTH, 2.3 + 1.6 * some), dpi=style.DPI, layout="constrained")
    top, *below = fig.subplots(1 + some, 1, sharex=True, squeeze=False)[:, 0]
    top.plot(log.step, log.seconds, ".", color=style.GREY, ms=2, alpha=0.5)
    median = log.groupby("stage", sort=False).seconds.transform(
        lambda part: part.rolling(max(1, len(log) // 40), min_periods=1).median()
    )
    for _, part in log.assign(median=median).groupby("stage", sort=False):
        top.plot(part.step, part["median"], color=style.BLUE, lw=1.8)
    ceiling = 1.25 * log.seconds.quantile(0.99)
    beyond = int((log.seconds > ceiling).sum())
    top.set(ylim=(0, ceiling), ylabel="seconds a step")
    if beyond:
        top.text(0.995, 0.98, f"{beyond} steps took longer", ha="right", va="top", transform=top.transAxes,
                 fontsize=style.SMALL)  # fmt: skip
    for step in starts:
        top.plot(step, 0.04 * ceiling, "^", color=style.VERMILLION, ms=9, clip_on=False)
    words = [f"Median {log.seconds.median():.3g} seconds a step", f"went on at {len(starts)} places" if starts else ""]
    for ax in below:
        for column, colour, name in (("memory_MB", style.BLUE, "process"), ("gpu_memory_MB", style.ORANGE, "GPU")):
            if column in memory and memory[column].notna().any():
                ax.plot(memory.step, memory[column] / 1000, color=colour, lw=1.8, marker="o", ms=3, label=name)
                words.append(f"largest memory of the {name} {memory[column].max() / 1000:.2f} GB")
        ax.set(ylim=(0, None), ylabel="largest memory\nso far (GB)")
        ax.legend(loc="lower right", fontsize=style.SMALL)
    _stage_marks((top, *below), log)
    fig.axes[-1].set_xlabel("step")
    return finished(fig, f"{', '.join(filter(None, words))}.")


@styled
def two_trainings(validations: Mapping[str, DataFrame], losses: Mapping[str, DataFrame]) -> Figure:
    """The mean PSNR of held-out views, clean ones left out, and the loss of two trainings over their steps.

    validations, losses: by the name of the training.
    """
    from matplotlib.figure import Figure

    scored = {name: table for name, table in validations.items() if len(table)}
    fig = Figure((style.WIDTH, 2.4 * (1 + bool(scored))), dpi=style.DPI, layout="constrained")
    *upper, last = fig.subplots(1 + bool(scored), 1, sharex=True, squeeze=False)[:, 0]
    words, looks = [], dict(zip(losses, ((style.BLUE, "-"), (style.ORANGE, "--")), strict=False))
    for name, table in scored.items():
        mean, (colour, line) = mean_psnr(table), looks[name]
        upper[0].plot(table.step, mean, color=colour, ls=line, lw=1.8, marker="o", ms=3, label=name)
        words.append(f"{name} ends at {mean.iloc[-1]:.2f} dB")
    for ax in upper:
        ax.set_ylabel("mean PSNR of\nheld-out views (dB)")
    for name, log in losses.items():
        colour, line = looks[name]
        for k, (_, part) in enumerate(log.assign(mean=_running_mean(log, "loss")).groupby("stage", sort=False)):
            last.plot(part.step, part["mean"], color=colour, ls=line, lw=1.6, label=name if k == 0 else None)
        words.append(f"the loss of {name} ends at {_running_mean(log, 'loss').iloc[-1]:.3g}")
    _logarithmic(last, "loss, running mean\n(logarithmic scale)")
    last.set_xlabel("step")
    last.legend(fontsize=style.SMALL)
    return finished(fig, f"Two trainings over their steps: {'; '.join(words)}.")


@styled
def progress_chart(step: int, stages: Mapping[str, range]) -> Figure:
    """How far a training is: its stages as a bar over the steps, filled up to the steps done."""
    ax = style.canvas(None, 1.2)
    total = max((span.stop for span in stages.values()), default=max(step, 1))
    ax.barh(0, total, color="#E3E6E9", height=0.5)
    ax.barh(0, step, color=style.BLUE, height=0.5)
    for name, span in stages.items():
        ax.axvline(span.start, color=style.GREY, lw=0.8, ls=":")
        ax.annotate(f"stage {name}", (span.start, 1), (2, 0), xycoords=("data", "axes fraction"),
                    textcoords="offset points", fontsize=style.SMALL)  # fmt: skip
    ax.set(yticks=[], xlim=(0, total), xlabel="step")
    return finished(ax.figure, f"{step} of {total} steps are done; stages {', '.join(stages) or 'unknown'}.")


def mean_psnr(validation: DataFrame):
    """Mean PSNR over the classes of each look at held-out views; clean ones, whose PSNR has no bound, do not count."""
    return validation.drop(columns=[name for name in validation if name.split()[0] in ("step", "clean")]).mean(axis=1)
