"""Scores of a network: one row per image and task, with input scores, route and time beside them.

table = slerlib.evaluate(model)                                    # bundled photographs x 8 classes
table = slerlib.evaluate(model, "photos/")                         # your clean photographs x 8 classes
table = slerlib.evaluate(model, "night/", setting="pairs")         # your own input/ and target/ folders
table = slerlib.evaluate(model, "data/", setting="5")              # the test sets of the five-task setting
summary(table)                                                     # means with intervals
"""

from __future__ import annotations

import json
import math
import os
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..files import name_bytes, write_atomic
from ..inference.restore import restore
from ..model.network import SLERIR
from ..model.router import path_digits
from ..model.wrappers import unwrapped
from ..sharding import gathered, place
from .cases import CROPS, NOISES, Case, cases, check_readable, data_sha256
from .external import restored_files, restored_image
from .metrics import FEWEST_SCENES, bootstrap_interval, bootstrap_means, psnr, ssim, ssim_gaussian
from .settings import SETTINGS

if TYPE_CHECKING:
    from pandas import DataFrame

SCORES = ("psnr_input", "psnr", "ssim_input", "ssim", "ssim_gaussian")
COLUMNS = ("dataset", "task", "image", *SCORES, "path", "margin", "seconds")
DEFINITION = {
    "psnr": "RGB, values clamped to [0, 1] and not rounded, data range 1, no border shaved; mean of the images' dB",
    "ssim": "7 x 7 uniform window, sample covariance, mean over channels (default of scikit-image)",
    "ssim_gaussian": "11 x 11 Gaussian window, sigma 1.5, mean over channels",
    "comparable": "with scores of the same definition, images and noise; `slerlib.comparability` says what else counts",
}


def evaluate(
    model: SLERIR | Callable[[Tensor], Tensor] | None,
    root: str | os.PathLike = "demo",
    setting: str = "demo",
    *,
    images: int = 0,
    severity: float = 0.5,
    seed: int = 0,
    crop: str = "center16",
    noise: str = "slerlib",
    progress: bool = False,
    path=None,
    classes=None,
    restored: str | os.PathLike | None = None,
    sharded: bool = False,
) -> DataFrame | None:
    """Restore every image of a setting and score it.

    Arguments
    model: a SLERIR, or any function (3, H, W) in [0, 1] -> the same; None with `restored`.
    root: "demo" = the nine bundled photographs, at most 384 x 384 of each; or a folder.
    setting: "demo" = the clean images of root, damaged in every class; "3", "5", "cdd11" = the published test sets
        below root; "pairs" = every test set, paired folders (input/ and target/, low/ and high/, ...) and clean test
        folders (under noise 15, 25 and 50) below root.
    images: only the first so many of each set; 0 = all.
    severity: 0 to 1, of the classes of the demo that are not noise levels.
    seed: of the degradations; each (image, class) has its own stream, so that no selection changes an input.
    crop: "center16" (the published protocol) or "none".
    noise: "slerlib" (one seed per image and level) or "promptir" (`cases.PeerNoise`; `seed` plays no part).
    progress: show a bar.
    path: force the route (as in `restore`), the same for all, or a dictionary class -> path (see `modal_paths`).
    classes: tasks of the demo setting, by default the eight classes; any degradation and mixtures such as "rain+blur".
    restored: folder with the results of another program, named as the images: scored instead of the model's.
    sharded: share the images among the processes that torchrun started; without torchrun there is one.
    Returns: DataFrame with one row per (image, task) and COLUMNS; `path` (a string such as "01201120"), `margin` (the
        smallest of the layers) and `seconds` are empty where no SLERIR ran. `attrs` holds definition, versions,
        checkpoint, data (with the hash of the files scored), settings and what is missing from the average. If sharded,
        process 0 returns all rows and the others None.
    Raises UserError for options outside these and, before anything is restored, for data that cannot be read.
    """
    import pandas as pd

    model = unwrapped(model)
    options = {"images": images, "severity": severity, "seed": seed, "crop": crop, "noise": noise}
    todo, missing = cases(root, setting, classes=classes, **options)
    score = _scorer(model, path, None if restored is None else restored_files(restored, todo))
    rank, world = place() if sharded else (0, 1)
    mine = todo[rank::world]
    check_readable(mine, crop)
    rows = [_row(case, score) for case in (_with_bar(mine) if progress and rank == 0 else mine)]
    rows = gathered(rows) if world > 1 else rows
    if rank > 0:
        return None
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.attrs = {
        "definition": _definition(setting, crop, noise),
        "versions": _versions(),
        "checkpoint": _checkpoint(model) if restored is None else None,
        "data": {"name": _name(root), "sha256": data_sha256(todo, root)},
        "setting": setting,
        "root": _name(root),
        **options,
        "path": _digits(path),
        "restored": None if restored is None else _name(restored),
        "missing": missing,
    }
    return table


def _name(folder: str | os.PathLike) -> str:
    """The last part of a path, of "." too."""
    return os.path.basename(os.path.abspath(folder))


def _digits(path):
    """A forced path as JSON holds it; None for none."""
    if path is None or isinstance(path, str):
        return path
    if isinstance(path, Mapping):
        return {task: _digits(one) for task, one in path.items()}
    return path_digits(torch.as_tensor(path).flatten())


def _definition(setting: str, crop: str, noise: str) -> dict:
    """What the scores mean, in words."""
    damage = "synthetic, one seed per (image, task); noise is added and clipped to [0, 1]"
    average = "mean over the tasks except clean, whose input PSNR is infinite (null)"
    if setting != "demo":
        damage = f"pairs as they are; noise: {NOISES[noise]}"
        average = "mean over the data sets and tasks"
    if setting in SETTINGS:
        average = f"mean over the {len(SETTINGS[setting])} columns of the setting, null if one is missing"
    return DEFINITION | {"crop": CROPS[crop], "degradation": damage, "average": average}


def _row(case: Case, score) -> tuple:
    a, b = case.load()
    y_CHW, route = score(case, a, b)
    scores = (psnr(a, b), psnr(y_CHW, b), ssim(a, b), ssim(y_CHW, b), ssim_gaussian(y_CHW, b))
    return (case.dataset, case.task, case.image, *scores, *route)


def _scorer(model, path, files) -> Callable[[Case, Tensor, Tensor], tuple[Tensor, tuple]]:
    """(case, damaged and clean (3, H, W)) -> ((3, H, W), (path, margin, seconds))."""
    if files is not None:
        return lambda case, _, b: (restored_image(files[case], b), (None, math.nan, math.nan))
    if isinstance(model, SLERIR):
        return lambda case, a, _: _restored(model, case, a, path.get(case.task) if isinstance(path, Mapping) else path)
    if not callable(model):
        raise UserError(
            "The model must be a SLERIR network, such as slerlib.load('tiny'), or a function from image to image; got "
            f"{type(model).__name__}."
        )
    if path is not None:
        raise UserError("path chooses the experts of a SLERIR network; the model given is none. Leave path out.")
    return lambda case, a, _: _timed(model, a)


def _restored(model: SLERIR, case: Case, x_CHW: Tensor, path) -> tuple[Tensor, tuple]:
    if path is None and model.cfg.router == "oracle" and (parts := model.router.told([case.task])) is not None:
        path = model.router.label_paths(parts)[0].tolist()  # what the oracle is told
    start = time.perf_counter()
    y_CHW, trace = restore(model, x_CHW, path=path, return_trace=True)
    seconds = time.perf_counter() - start
    return y_CHW, (trace.path_strings()[0], trace.margin[0].min().item(), seconds)


def _timed(function: Callable[[Tensor], Tensor], x_CHW: Tensor) -> tuple[Tensor, tuple]:
    start = time.perf_counter()
    y_CHW = function(x_CHW)
    seconds = time.perf_counter() - start
    if isinstance(y_CHW, Tensor) and y_CHW.is_floating_point() and torch.isfinite(y_CHW).all():
        y_CHW = y_CHW.clamp(0, 1)  # however far out: a network early in its training
    return y_CHW, (None, math.nan, seconds)


def _with_bar(cases):
    from tqdm import tqdm

    return tqdm(cases, unit="image", desc="evaluate")


def _versions() -> dict:
    from PIL import features

    from ..provenance import SCORING_PACKAGES, versions

    turbo = features.version_feature("libjpeg_turbo")  # Pillow's JPEG decoder: scores have moved with it
    jpeg = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version_codec('jpg')}"
    return versions(SCORING_PACKAGES) | {"jpeg decoder": jpeg}


def _checkpoint(model) -> dict | None:
    card = getattr(model, "card", None)
    return None if card is None else {"name": card.get("name"), "sha256": card.get("weights_sha256")}


def summary(table: DataFrame) -> DataFrame:
    """Means per data set and task, and their average.

    Columns: dataset, task, n, psnr_input, psnr, psnr_low and psnr_high (95 % bootstrap interval over images; NaN for
    fewer than 5), gain (psnr - psnr_input in dB, NaN for clean), ssim_input, ssim, ssim_gaussian. The last row, task
    "average", is the mean over the others except clean, each counting once; it is left out if there is none, and if a
    data set of a published setting is missing. Its interval draws a photograph for all tasks of the set at once, so
    that a hard photograph is hard in all its tasks; it is NaN where a data set has fewer than 5 images, and
    `attrs["no_interval"]` then says so.
    """
    import pandas as pd

    rows = []
    for (dataset, task), part in table.groupby(["dataset", "task"], sort=False):
        mean, low, high = bootstrap_interval(part.psnr)
        scores = {name: part[name].mean() for name in SCORES}
        gain = mean - scores["psnr_input"] if np.isfinite(scores["psnr_input"]) else math.nan
        interval = {"psnr_low": low, "psnr_high": high, "gain": gain}
        rows.append({"dataset": dataset, "task": task, "n": len(part)} | scores | interval)
    result = pd.DataFrame(rows)
    damaged = result[result.task != "clean"]
    few = ", ".join(damaged.dataset[damaged.n < FEWEST_SCENES].unique())
    partial = table.attrs.get("setting") in SETTINGS and table.attrs.get("missing")
    if len(damaged) and not partial:
        known = not few and np.isfinite(damaged.psnr).all()
        low, high = np.nanquantile(_drawn_averages(table), [0.025, 0.975]) if known else (math.nan, math.nan)
        average = damaged[[*SCORES, "gain"]].mean().to_dict()
        total = {"dataset": "", "task": "average", "n": int(damaged.n.sum()), "psnr_low": low, "psnr_high": high}
        result.loc[len(result)] = total | average
    first = ["dataset", "task", "n", "psnr_input", "psnr", "psnr_low", "psnr_high", "gain"]
    result = result[[*first, "ssim_input", "ssim", "ssim_gaussian"]]
    result.attrs["no_interval"] = (
        f"no interval of the average: {few} with fewer than {FEWEST_SCENES} images" if few and not partial else ""
    )
    return result


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


def modal_paths(table: DataFrame) -> dict[str, str]:
    """Most frequent path of each task, the first in digit order where several are. Raises UserError without paths."""
    routed = table.dropna(subset="path")
    if not len(routed):
        raise UserError("Paths come from a SLERIR network; this table has none. Evaluate a network, not a function.")
    return {task: part.path.mode().iloc[0] for task, part in routed.groupby("task", sort=False)}


def save_results(table: DataFrame, path: str | os.PathLike) -> None:
    """Write results.json: rows, means per data set (and in them per task), average, missing, definition, versions, ...

    `average` is null if a class of the setting is `missing`. Infinite and empty values are null. The file appears whole
    or not at all. Raises UserError if it cannot be written.
    """

    means = summary(table)
    by_task = means[means.task != "average"]
    sets = {}
    for dataset, part in by_task.groupby("dataset", sort=False):
        damaged = part if len(part) == 1 else part[part.task != "clean"]
        tasks = part.set_index("task").drop(columns="dataset").to_dict("index")
        sets[dataset] = damaged[list(SCORES)].mean().to_dict() | {"tasks": tasks}
    average = means[means.task == "average"].drop(columns=["dataset", "task"]).to_dict("records")
    content = {
        "rows": table.to_dict("records"),
        "means": sets,
        "average": average[0] if average and not table.attrs.get("missing") else None,
        **table.attrs,
    }
    text = json.dumps(plain(content), indent=2, allow_nan=False) + "\n"
    try:
        write_atomic(Path(path), text.encode())
    except OSError as error:
        raise UserError(
            f"The results must go to a file that can be written; {path} cannot: {error.strerror}. Choose another."
        ) from None


def plain(value):
    """Python values that JSON knows: no numpy, and null for NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
