"""The table of an evaluation: its columns, its means with intervals, and the usual path of each task."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..files import name_bytes
from .local import LOCAL_COLUMNS
from .metrics import FEWEST_SCENES, bootstrap_interval, bootstrap_means
from .settings import SETTINGS

if TYPE_CHECKING:
    from pandas import DataFrame

KEYS = ("dataset", "task", "image")  # what distinguishes one row from another
SCORES = ("psnr_input", "psnr", "ssim_input", "ssim", "ssim_gaussian")
COLUMNS = (*KEYS, *SCORES, "path", "margin", "seconds")  # of every setting; "local" adds LOCAL_COLUMNS


def summary(table: DataFrame) -> DataFrame:
    """Means per data set and task, and their average.

    Columns: dataset, task, n, psnr_input, psnr, psnr_low and psnr_high (95 % bootstrap interval over images; NaN for
    fewer than 5), gain (psnr - psnr_input in dB, NaN for clean), ssim_input, ssim, ssim_gaussian;
    of the setting "local" also LOCAL_COLUMNS, each over the images that have the value.
    The last row, task "average", is the mean over the others except clean, each counting once. It is left out where
    clean alone is scored, and if a data set of a published setting is missing. Its interval draws a photograph for all
    tasks of the set at once, so that a hard photograph is hard in all its tasks. It is NaN where a data set has fewer
    than 5 images; `attrs["no_interval"]` then gives the reason.
    Raises UserError for a table without rows or columns of `slerlib.evaluate`.
    """
    import pandas as pd

    if lacking := [name for name in (*KEYS, *SCORES) if name not in table]:
        raise UserError(f"Means are made of a table of slerlib.evaluate; this one lacks {', '.join(lacking)}.")
    if not len(table):
        raise UserError("Means need a table with at least one row; this one has 0. Check how its rows were chosen.")
    local = [name for name in LOCAL_COLUMNS if name in table]
    rows = []
    for (dataset, task), part in table.groupby(["dataset", "task"], sort=False):
        mean, low, high = bootstrap_interval(part.psnr)
        scores = {name: part[name].mean() for name in (*SCORES, *local)}
        gain = mean - scores["psnr_input"] if np.isfinite(scores["psnr_input"]) else math.nan
        interval = {"psnr_low": low, "psnr_high": high, "gain": gain}
        rows.append({"dataset": dataset, "task": task, "n": len(part)} | scores | interval)
    result = pd.DataFrame(rows)
    degraded = result[result.task != "clean"]
    few = ", ".join(degraded.dataset[degraded.n < FEWEST_SCENES].unique())
    partial = table.attrs.get("setting") in SETTINGS and table.attrs.get("missing")
    if len(degraded) and not partial:
        bounded = not few and np.isfinite(degraded.psnr).all()
        low, high = np.nanquantile(_drawn_averages(table), [0.025, 0.975]) if bounded else (math.nan, math.nan)
        total = {"dataset": "", "task": "average", "n": int(degraded.n.sum()), "psnr_low": low, "psnr_high": high}
        result.loc[len(result)] = total | degraded[[*SCORES, *local, "gain"]].mean().to_dict()
    first = ["dataset", "task", "n", "psnr_input", "psnr", "psnr_low", "psnr_high", "gain"]
    result = result[[*first, "ssim_input", "ssim", "ssim_gaussian", *local]]
    reason = f"no interval of the average: {few} with fewer than {FEWEST_SCENES} images"
    result.attrs["no_interval"] = reason if few and not partial else ""
    return result


def narrow(means: DataFrame) -> DataFrame:
    """The columns of a summary that fit on a screen; those of damage in a part where it has them, in dB."""
    if LOCAL_COLUMNS.keys() - set(means):
        return means
    names = {name: name.removeprefix("psnr_") for name in LOCAL_COLUMNS}
    return means[["task", "n", *names]].rename(columns=names).round(2)


def _drawn_averages(table: DataFrame) -> np.ndarray:
    """(S,) bootstrap draws of the mean over data sets and tasks except clean."""
    draws = []
    for dataset, part in table[table.task != "clean"].groupby("dataset", sort=False):
        nth = part.groupby(["task", "image"]).cumcount()  # two sets of one name may hold pictures of one name
        grid = part.assign(nth=nth).pivot(index=["image", "nth"], columns="task", values="psnr")  # NaN: not scored
        scored_NT = grid.notna().to_numpy()
        linked_TT = scored_NT.T @ scored_NT  # tasks that share a photograph, directly or by way of others
        for _ in range(len(linked_TT)):
            linked_TT = linked_TT @ linked_TT
        for task, linked_T in zip(grid, linked_TT, strict=True):
            column = grid[task][scored_NT[:, linked_T].any(axis=1)]
            names = "\0".join([dataset, *column.index.get_level_values("image")])  # equal ones give equal draws
            draws.append(bootstrap_means(column.to_numpy(), seed=zlib.crc32(name_bytes(names))))
    return np.mean(draws, axis=0)


USUAL = 0.5  # a path is usual where more than this share of the images takes it: then there is one at most


def usual_paths(table: DataFrame) -> dict[str, str]:
    """The path that more than half of the images of a task take; tasks without such a path are left out.

    Raises UserError for a table without paths.
    """
    most = modal_paths(table)
    share = (table.path == table.task.map(most)).groupby(table.task, sort=False).mean()
    return {task: path for task, path in most.items() if share[task] > USUAL}


def modal_paths(table: DataFrame) -> dict[str, str]:
    """Most frequent path of each task; of equally frequent ones the first in digit order.

    Raises UserError for a table without paths.
    """
    routed = table.dropna(subset="path") if "path" in table else ()
    if not len(routed):
        raise UserError("Modal paths need rows with a path; this table has none. Evaluate a SLERIR network.")
    return {task: part.path.mode().iloc[0] for task, part in routed.groupby("task", sort=False)}
