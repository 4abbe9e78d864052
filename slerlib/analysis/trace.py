"""Collect traces: one pass over a data set through the encoder, the router and, if asked, the experts.

    cases = Grid("demo", severities=(0.3, 0.6, 1.0), seeds=(0, 1))
    traces = collect(model, cases, restore=False, views=("image", "crop"))    # a second call reads the cache
    traces.table; traces.embedding; traces.select(traces.table.view == "image")

Legend: B batch, C channels, H W pixels.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import provenance
from ..config import CLASSES
from ..config.values import as_list
from ..data.registry import registry_file
from ..errors import UserError
from ..evaluation.cases import Case, LoadedCase, case_seed, demo_cases, loaded
from ..evaluation.cases import cases as setting_cases
from ..evaluation.local import damage_of
from ..evaluation.metrics import psnr
from ..evaluation.options import checked, checked_tasks
from ..files import PACKAGE, sha256_file, sha256_of
from ..inference.load import evaluating
from ..inference.restore import restore_batch
from ..model.network import SLERIR
from ..model.router import Trace
from .store import Traces, network_hash

__all__ = ["Grid", "Traces", "cache_folder", "collect", "encode", "network_hash"]

VIEWS = ("image", "crop")
FIXED = ("noise15", "noise25", "noise50", "clean")  # tasks that a severity does not change
#: Code that traces depend on: the rooms below this one (the layers in pyproject.toml). A change there renews the cache.
BELOW = ("checkpoint.py", "config", "data", "errors.py", "evaluation", "files.py", "images", "inference", "model")
BELOW += ("provenance.py", "sharding.py", "sphere.py")

CachePath = str | os.PathLike | bool | None  # folder; None: $SLERLIB_CACHE or the folder of the person; False: no cache


@dataclass(frozen=True)
class Grid:
    """The cases of one pass, by their parameters, so that the cache can recognise them.

    root, setting, images and crop as in `slerlib.evaluate`; a setting other than "demo" ignores the other fields. All
    may be text, as from papermill: tasks="['rain']".
    Noise levels and clean have no severity: noise levels come once for each seed, clean comes once.
    """

    root: str = "demo"
    setting: str = "demo"
    tasks: tuple[str, ...] = CLASSES
    severities: tuple[float, ...] = (0.5,)
    seeds: tuple[int, ...] = (0,)
    images: int = 0
    crop: str = "center16"

    def __post_init__(self):
        values = {name: checked(name, getattr(self, name)) for name in ("setting", "images", "crop")}
        values["root"] = str(self.root) if isinstance(self.root, int) else self.root
        if values["setting"] in ("mixed", "local"):
            raise UserError(
                f"A grid takes the setting demo, whose tasks may be mixtures such as 'rain+blur', or test sets; got "
                f"setting={values['setting']!r}. Use slerlib.evaluate for it, or setting='demo'."
            )
        values["tasks"] = checked_tasks(self.tasks) if self.setting == "demo" else tuple(as_list(self.tasks))
        values["seeds"] = tuple(checked("seed", seed) for seed in as_list(self.seeds))
        severities = as_list(self.severities)  # NaN: a part without severity
        values["severities"] = tuple(s if s != s else checked("severity", s) for s in severities)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def parts(self) -> list[Grid]:
        """Grids of one seed and at most one severity that together are this one: the units of the cache."""
        if self.setting != "demo":
            return [replace(self, tasks=(), severities=(math.nan,), seeds=(0,))]
        fixed = tuple(task for task in self.tasks if task in FIXED)
        rest = tuple(task for task in self.tasks if task not in FIXED)
        result = []
        for n, seed in enumerate(self.seeds):
            still = tuple(task for task in fixed if n == 0 or task != "clean")
            result += [replace(self, tasks=still, severities=(math.nan,), seeds=(seed,))] if still else []
            result += [replace(self, tasks=rest, severities=(s,), seeds=(seed,)) for s in self.severities if rest]
        return result

    def cases(self) -> list[Case]:
        """The cases of one part."""
        if self.setting != "demo":
            return setting_cases(self.root, self.setting, images=self.images, crop=self.crop)[0]
        severity = 0.5 if math.isnan(self.severities[0]) else self.severities[0]
        return demo_cases(self.root, self.tasks, self.images, severity, self.seeds[0], self.crop)


def collect(
    model: SLERIR, cases: Grid | Iterable[Case | LoadedCase], *, restore: bool = True,
    views: Sequence[str] = ("image",), side: int = 128, batch: int = 16, cache: CachePath = None, progress: bool = False
) -> Traces:  # fmt: skip
    """One pass over a data set: encode every image, and restore it if asked to.

    Arguments
    cases: a `Grid`, or any cases as `slerlib.evaluate` makes them (then nothing is cached, severity and seed are NaN).
    restore: False encodes only, which is many times faster; `psnr` is then NaN.
    views: "image" = the whole image; "crop" = one square of `side` pixels at a seeded place (the whole image where it
        is smaller), encoded and restored as if it were an image by itself.
    batch: at most so many images of one size at once.
    cache: folder of the cache; by default $SLERLIB_CACHE, else ~/.cache/slerlib; False for none. Each part of a grid
        (one seed, one severity) has a file whose name is a hash of network, code, data and parameters, so a grid that
        grows computes only what is new.
    Raises UserError for unknown views, unreadable data, and encoding only where the route is decided on the way
    (router "sphere_stage").
    """
    from tqdm import tqdm

    shown = partial(tqdm, unit="image", desc="collect", disable=not progress)
    if not views or set(views) - set(VIEWS):
        raise UserError(f"views are some of {VIEWS}; got {tuple(views)}. Leave it out for whole images.")
    if not restore and model.cfg.router == "sphere_stage":
        raise UserError("A sphere_stage router decides inside the backbone; collect its traces with restore=True.")
    options = {"restore": restore, "views": tuple(v for v in VIEWS if v in views), "side": side, "batch": batch}
    if isinstance(cases, str | os.PathLike):
        raise UserError(f"Traces are collected over a Grid or over cases; got {cases!r}. Pass Grid({str(cases)!r}).")
    if not isinstance(cases, Grid):
        return _collected(model, shown(cases), math.nan, math.nan, **options)
    network, parts = network_hash(model), []
    for part in cases.parts():
        file = None if cache is False else cache_folder(cache) / f"traces-{_key(network, part, options)}.npz"
        traces = _cached(file)
        if traces is None:
            traces = _collected(model, shown(part.cases()), part.severities[0], part.seeds[0], **options)
            keep(file, traces.save)
        parts.append(traces)
    return Traces.concatenate(parts)


def _cached(file: Path | None) -> Traces | None:
    """The traces of a file of the cache; None where it is missing or damaged."""
    try:
        return Traces.load(file) if file is not None and file.is_file() else None
    except UserError:
        return None


def keep(file: Path | None, save: Callable[[Path], object]) -> None:
    """Write to the cache, if there is one. A full or read-only disk gives a warning; the result stays."""
    try:
        if file is not None:
            save(file)
    except OSError as error:
        warnings.warn(f"Not cached in {file.parent} ({error.strerror}); set SLERLIB_CACHE.", stacklevel=3)


def encode(model: SLERIR, x_BCHW: Tensor, labels: Tensor | None = None) -> Trace:
    """Embedding and route alone, without running the backbone. Images in [0, 1], sides of at least 16."""
    weight = next(model.parameters())
    with evaluating(model), torch.inference_mode():
        x = model.pad(x_BCHW.to(weight.device, weight.dtype))
        return model.route(model.encode(x), labels=labels, x_BCHW=x)


def _collected(model: SLERIR, cases: Iterable[Case], severity, seed, restore, views, side, batch) -> Traces:
    """Rows in the order of the cases. The waiting images of a view have one size: at most two batches are in memory."""
    parts, order, waiting, row = [], [], {view: [] for view in views}, 0

    def run(view: str) -> None:
        if waiting[view]:
            numbers, group = zip(*waiting[view], strict=True)
            parts.append(_run(model, view, group, restore, severity, seed))
            order.extend(numbers)
            waiting[view].clear()

    def kind(case: LoadedCase) -> tuple:
        """Size, and whether an oracle router gets the label: cases that agree in both can share a batch."""
        return case.input.shape, _oracle_labels(model, [case]) is None

    for case in loaded(cases):
        for view in views:
            seen = _cut(case, side) if view == "crop" else case
            if waiting[view] and (len(waiting[view]) == batch or kind(seen) != kind(waiting[view][0][1])):
                run(view)
            waiting[view].append((row, seen))
            row += 1
    for view in views:
        run(view)
    return Traces.concatenate(parts).select(np.argsort(order))


def _oracle_labels(model: SLERIR, cases: Sequence[LoadedCase]) -> Tensor | None:
    """The classes of the cases, as in `evaluate`; None if the router is not the oracle or lacks one of them."""
    return model.router.class_sets([damage_of(case.task) for case in cases]) if model.cfg.router == "oracle" else None


def _cut(case: LoadedCase, side: int) -> LoadedCase:
    """The same window of input and target, of at most side x side pixels, at a place drawn from the case's name."""
    height, width = case.input.shape[1:]
    rng = np.random.default_rng(case_seed(side, f"{case.dataset}/{case.image}", case.task))
    top, left = rng.integers(0, max(height - side, 0) + 1), rng.integers(0, max(width - side, 0) + 1)
    window = (slice(None), slice(top, top + side), slice(left, left + side))
    return replace(case, input=case.input[window], target=case.target[window])


def _run(model: SLERIR, view: str, cases: Sequence[LoadedCase], restore: bool, severity, seed) -> Traces:
    import pandas as pd

    x_BCHW = torch.stack([case.input for case in cases])
    scores = np.full((len(cases), 2), math.nan)
    labels = _oracle_labels(model, cases)
    if restore:
        path = None if labels is None else model.router.label_paths(labels)
        y_BCHW, trace = restore_batch(model, x_BCHW, path=path, tile=0 if model.cfg.router == "sphere_stage" else None)
        scores[:, 1] = [psnr(y, case.target) for y, case in zip(y_BCHW, cases, strict=True)]
    else:
        trace = encode(model, x_BCHW, labels)
    scores[:, 0] = [psnr(case.input, case.target) for case in cases]
    rows = [(f"{case.dataset}/{case.image}", case.dataset, case.task) for case in cases]
    table = pd.DataFrame(rows, columns=["scene", "dataset", "label"])
    table = table.assign(severity=severity, seed=seed, view=view, psnr_input=scores[:, 0], psnr=scores[:, 1])
    return Traces.from_trace(model, trace, table)


def _key(network: str, part: Grid, options: dict) -> str:
    """Hash of everything that the traces of a part of a grid depend on."""
    code = [sha256_of(PACKAGE / name) for name in (*BELOW, "analysis/store.py", "analysis/trace.py")]
    sets = None if part.setting == "demo" else sha256_file(registry_file())
    data = None if part.root == "demo" else sha256_of(part.root)
    packages = provenance.versions((*provenance.SCORING_PACKAGES, "scipy", "scikit-learn"))  # depth; photographs
    parameters = [network, str(part), data, options, code, sets, packages]
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:24]


def cache_folder(cache: CachePath = None) -> Path:
    """`cache` if it is a folder, else $SLERLIB_CACHE, else ~/.cache/slerlib."""
    if isinstance(cache, (str, os.PathLike)):
        return Path(cache)
    return Path(os.environ.get("SLERLIB_CACHE") or Path.home() / ".cache" / "slerlib")
