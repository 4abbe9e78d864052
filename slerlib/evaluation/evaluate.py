"""Scores of a network: one row per image and task, with input scores, route and time beside them.

table = slerlib.evaluate(model)                                    # bundled photographs x 8 classes
table = slerlib.evaluate(model, "photos/")                         # your clean photographs x 8 classes
table = slerlib.evaluate(model, setting="mixed")                   # several damages at once; "local": in a part
table = slerlib.evaluate(model, "night/", setting="pairs")         # your own input/ and target/ folders
table = slerlib.evaluate(model, "data/", setting="5")              # the test sets of the five-task setting
slerlib.summary(table)                                             # means with intervals
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..config.values import literal
from ..errors import UserError
from ..inference.restore import checked_passes, checked_route, restore
from ..model.network import SLERIR
from ..model.paths import path_digits, read_path
from ..model.router import Trace
from ..model.wrappers import unwrapped
from ..sharding import gathered, place
from .cases import Case, cases, check_readable, data_sha256
from .external import restored_files, restored_image
from .local import LOCAL_COLUMNS, damage_of, part_scorer
from .metrics import psnr, ssim, ssim_gaussian
from .options import CHOICES, CROPS, MADE_HERE, NOISES, Options, checked_path
from .settings import SETTINGS
from .table import COLUMNS

if TYPE_CHECKING:
    from pandas import DataFrame

DEFINITION = {
    "psnr": "RGB, values clamped to [0, 1] and not rounded, data range 1, no border shaved; mean of the images' dB",
    "ssim": "7 x 7 uniform window, sample covariance, mean over channels (default of scikit-image)",
    "ssim_gaussian": "11 x 11 Gaussian window, sigma 1.5, mean over channels",
    "comparable": "with scores of the same definition, images and noise; `slerlib.comparability` says what else counts",
}
Scored = tuple[Tensor, Trace | None, float]  # restored picture, trace, seconds; None and NaN where no SLERIR ran


def evaluate(
    model: SLERIR | Callable[[Tensor], Tensor] | None,
    root: str | os.PathLike = "demo",
    setting: str = "demo",
    *,
    images: int = 0,
    severity: float | None = None,
    seed: int = 0,
    crop: str = "center16",
    noise: str = "slerlib",
    progress: bool = False,
    path=None,
    classes=None,
    restored: str | os.PathLike | None = None,
    passes: int | str | None = None,
    route: str | None = None,
    sharded: bool = False,
) -> DataFrame | None:
    """Restore every image of a setting and score it.

    Arguments
    model: a SLERIR, or any function (3, H, W) in [0, 1] -> the same. Not used with `restored`; may be None then.
    root: "demo" = the nine bundled photographs, at most 384 x 384 of each; or a folder.
    setting: "demo" = the clean images of root, degraded in every class; "mixed" = the same under eight mixtures such as
        "haze+rain"; "local" = with five degradations in a part of the picture, a half, a disc and a gradient; "3", "5",
        "cdd11" = the published test sets below root; "pairs" = every test set, paired folders (input/ and target/,
        low/ and high/, ...) and clean test folders (under noise 15, 25 and 50) below root.
    images: only the first so many of each set; 0 = all.
    severity: 0 to 1, of the degradations made here that are not noise levels; None = 0.5, of "mixed" 0.35.
    seed: of the degradations; each (image, class) has its own stream, so that no selection changes an input.
    crop: "center16" (the published protocol), "center256" (at most 256 x 256 pixels, for speed) or "none".
    noise: "slerlib" (one seed per image and level) or "promptir" (`PromptIRNoise`; `seed` plays no part).
    progress: show a bar, or lines where nobody watches.
    path: force the route (as in `restore`), the same for all, or a dictionary class -> path (see `modal_paths`).
    classes: other tasks for "demo" and "mixed": any degradation, and mixtures such as "rain+blur"; for "local" "rain"
        (in each shape) or "rain@disc".
    restored: folder with the results of another program, named as the images: scored instead of the model's.
    passes, route: as in `restore`, "tile" left out; None leaves them to that.
    sharded: share the images among the processes that torchrun started; without torchrun there is one.
    All may be text, or what papermill makes of text: images="2", classes="['rain']", path="None".
    Returns: DataFrame with one row per (image, task) and COLUMNS, for "local" LOCAL_COLUMNS too; `path` (a string such
        as "01201120"), `margin` (the smallest of the layers) and `seconds` are empty where no SLERIR ran. `attrs` holds
        definition, versions, checkpoint, data (with the hash of the files scored), settings and what is missing from
        the average. If sharded, process 0 returns all rows and the others None.
    Raises UserError for options outside these and, before anything is restored, for data that cannot be read.
    """
    import pandas as pd

    asked = Options(setting, images, severity, seed, crop, noise, classes, passes, route)
    root, model = str(root) if isinstance(root, int) else root, unwrapped(model)
    restored = None if literal(restored) in (None, "") else str(restored)
    todo, missing = cases(root, **vars(asked))
    path = checked_path(path, (case.task for case in todo))
    choices = {name: getattr(asked, name) for name in CHOICES if getattr(asked, name) is not None}
    fixed = {"path": path, **choices}
    score = _scorer(model, path, choices) if restored is None else _reader(restored_files(restored, todo), fixed)
    parts = _part_scorer(model, score, restored) if asked.setting == "local" else None
    if parts and isinstance(path, Mapping) and any("@" in task for task in path):  # the path of a shape, all over too
        todo = [replace(case, all_over=replace(case.all_over, task=case.task)) for case in todo]
    rank, world = place() if sharded else (0, 1)
    mine = todo[rank::world]
    check_readable(mine, asked.crop)
    rows = [_row(case, score, parts) for case in (_with_bar(mine) if progress and rank == 0 else mine)]
    rows = gathered(rows) if world > 1 else rows
    if rank > 0:
        return None
    table = pd.DataFrame(rows, columns=[*COLUMNS, *(LOCAL_COLUMNS if parts else ())])
    table.attrs = {
        "definition": _definition(asked),
        "versions": _versions(),
        "checkpoint": _checkpoint(model) if restored is None else None,
        "data": {"name": _name(root), "sha256": data_sha256(todo, root)},
        "setting": asked.setting,
        "root": _name(root),
        **{name: getattr(asked, name) for name in ("images", "severity", "seed", "crop", "noise")},
        "path": _recorded(path),
        **{name: getattr(asked, name) for name in CHOICES},
        "restored": None if restored is None else _name(restored),
        "missing": missing,
    }
    return table


# --- one image ---


def _row(case: Case, score: Callable[[Case, Tensor, Tensor], Scored], parts: Callable | None) -> tuple:
    a, b = case.load()
    y_CHW, trace, seconds = score(case, a, b)
    scores = (psnr(a, b), psnr(y_CHW, b), ssim(a, b), ssim(y_CHW, b), ssim_gaussian(y_CHW, b))
    route = (None, math.nan) if trace is None else (trace.path_strings()[0], trace.margin[0].min().item())
    local = () if parts is None else parts(case, a, b, y_CHW, trace)
    return (case.dataset, case.task, case.image, *scores, *route, seconds, *local)


def _part_scorer(model, score: Callable, restored: str | None) -> Callable:
    """For `_row`: the values of LOCAL_COLUMNS. Another program has restored no picture that is damaged all over."""
    all_over = None if restored else lambda case: score(case, *case.load())[0]
    return part_scorer(all_over, model.cfg.stride if isinstance(model, SLERIR) else None)


def _reader(files: Mapping, choices: Mapping) -> Callable:
    """For `_row`: what another program restored."""
    _refuse_choices(choices, "images in `restored` are as they are")
    return lambda case, _, b: (restored_image(files[case], b), None, math.nan)


def _refuse_choices(choices: Mapping, what: str) -> None:
    for name, value in choices.items():
        if value is not None:
            raise UserError(f"{name} is a choice for a SLERIR network; {what}. Leave it out.")


def _scorer(model, path, choices: Mapping) -> Callable:
    """For `_row`: (case, degraded and clean (3, H, W)) -> Scored."""
    if isinstance(model, SLERIR):
        if model.cfg.router == "oracle" and choices.get("passes", 1) != 1:
            raise UserError(
                f"passes={choices['passes']!r} lets the network look at its result; the router oracle knows "
                "what is wrong before. Leave passes out."
            )
        checked_passes(choices.get("passes", 1), model, path, checked_route(choices.get("route"), model, None, path))
        by_task = path if isinstance(path, Mapping) else None
        for one in by_task.values() if by_task is not None else [path] if path is not None else ():
            read_path(one, 1, model.cfg.experts)  # refuses a wrong path before the work

        def own_path(task: str):
            return path if by_task is None else by_task.get(task, by_task.get(damage_of(task)))

        return lambda case, a, _: _restored(model, case, a, own_path(case.task), choices)
    if not callable(model):
        raise UserError(
            "The model must be a SLERIR network, such as slerlib.load('tiny'), or a function from image to image; got "
            f"{type(model).__name__}."
        )
    _refuse_choices({"path": path, **choices}, f"got a {type(model).__name__}")
    return lambda case, a, _: _timed(model, a)


def _restored(model: SLERIR, case: Case, x_CHW: Tensor, path, choices: Mapping) -> Scored:
    damage = damage_of(case.task)
    if path is None and model.cfg.router == "oracle" and (parts := model.router.class_sets([damage])) is not None:
        path = model.router.label_paths(parts)[0].tolist()  # the oracle knows the degradation
    start = time.perf_counter()
    y_CHW, trace = restore(model, x_CHW, path=path, return_trace=True, **choices)
    return y_CHW, trace, time.perf_counter() - start


def _timed(function: Callable[[Tensor], Tensor], x_CHW: Tensor) -> Scored:
    start = time.perf_counter()
    y_CHW = function(x_CHW)
    seconds = time.perf_counter() - start
    if isinstance(y_CHW, Tensor) and y_CHW.is_floating_point() and torch.isfinite(y_CHW).all():
        y_CHW = y_CHW.clamp(0, 1)  # however far out: a network early in its training
    return y_CHW, None, seconds


def _with_bar(todo: Iterable[Case]) -> Iterable[Case]:
    if sys.stderr.isatty():
        from tqdm import tqdm

        return tqdm(todo, unit="image", desc="evaluate")
    return _with_lines(list(todo))


def _with_lines(todo: list[Case]) -> Iterable[Case]:
    """The cases, and a line on standard error about every ten seconds, for a log."""
    begun = last = time.monotonic()
    for done, case in enumerate(todo):
        now = time.monotonic()
        if done and now - last > 10:
            last, left = now, (now - begun) / done * (len(todo) - done)
            print(f"evaluate: {done} of {len(todo)} images, about {left:.0f} s left", file=sys.stderr, flush=True)
        yield case


# --- what is recorded with the scores ---


def _name(folder: str | os.PathLike) -> str:
    """The last part of a path, of "." too."""
    return os.path.basename(os.path.abspath(folder))


def _recorded(path):
    """A forced path as JSON holds it; None where the network chooses."""
    if path is None or isinstance(path, str):
        return path
    if isinstance(path, Mapping):
        return {task: _recorded(one) for task, one in path.items()}
    return path_digits(torch.as_tensor(path).flatten())


def _definition(asked: Options) -> dict:
    """What the scores mean, in words."""
    degradation = "synthetic, one seed per (image, task); noise is added and clipped to [0, 1]"
    average = "mean over the tasks except clean, whose input PSNR is infinite (null)"
    if asked.setting not in MADE_HERE:
        degradation = f"pairs as they are; noise: {NOISES[asked.noise]}"
        average = "mean over the data sets and tasks"
    if asked.setting in SETTINGS:
        average = f"mean over the {len(SETTINGS[asked.setting])} columns of the setting, null if one is missing"
    local = LOCAL_COLUMNS if asked.setting == "local" else {}
    return DEFINITION | {"crop": CROPS[asked.crop], "degradation": degradation, "average": average} | local


def _versions() -> dict:
    from PIL import features

    from ..provenance import SCORING_PACKAGES, versions

    turbo = features.version_feature("libjpeg_turbo")  # Pillow's JPEG decoder: scores have moved with it
    jpeg = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version_codec('jpg')}"
    return versions(SCORING_PACKAGES) | {"jpeg decoder": jpeg}


def _checkpoint(model) -> dict | None:
    card = getattr(model, "card", None)
    return None if card is None else {"name": card.get("name"), "sha256": card.get("weights_sha256")}
