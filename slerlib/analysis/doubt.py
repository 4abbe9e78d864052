"""The limits beyond which a route is doubtful (`slerlib.model.doubt`), measured on photographs.

    part = measured(model, [Grid("demo", severities=(0.3, 0.6, 1.0)), Grid("photographs/")])
    part["limits"]["clean"], part["false_alarms"], part["caught"]

How good they are is measured on photographs that did not make them: each half of the photographs judges the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..config import CLASSES
from ..evaluation.cases import Case, LoadedCase, cases, loaded
from ..model.doubt import FEWEST, TAIL, Limits, reasons
from ..model.network import SLERIR
from .store import Traces
from .trace import Grid, collect

if TYPE_CHECKING:
    from pandas import DataFrame

SEVERITIES = (0.3, 0.6, 1.0)


def signs(traces: Traces) -> DataFrame:
    """scene, label, nearest class, angle to it in degrees, margin of the least sure layer; one row per picture."""
    nearest = np.array(traces.anchor_names)[traces.anchor_angle.argmin(axis=1)]
    columns = {"nearest": nearest, "angle": traces.anchor_angle.min(axis=1), "margin": traces.margin.min(axis=1)}
    return traces.table[["scene", "label"]].assign(**columns)


def limits(seen: DataFrame) -> dict[str, Limits]:
    """By class, from the rows of `signs` that are named rightly; a class with fewer than FEWEST of them has none."""
    right = seen[seen.label == seen.nearest]
    return {
        name: Limits(float(part.angle.quantile(1 - TAIL)), float(part.margin.quantile(TAIL)), len(part))
        for name, part in right.groupby("nearest", sort=False)
        if len(part) >= FEWEST
    }


def flagged(seen: DataFrame, by_class: dict[str, Limits]) -> np.ndarray:
    """(N,) bool: which rows of `signs` (or of any table with nearest, angle, margin) the limits call doubtful."""
    rows = zip(seen.nearest, seen.angle, seen.margin, strict=True)
    return np.array([bool(reasons(*row, by_class)) for row in rows], dtype=bool)


def named(seen: DataFrame, doubted: np.ndarray) -> dict[str, dict[str, dict[str, float]]]:
    """By the class that the network names: how often it is wrong, and of how many pictures, with and without a sign.

    seen: rows of `signs`. doubted: (N,) bool, which of them are flagged.
    """
    wrong, result = seen.label != seen.nearest, {}
    for (name, flag), part in wrong.groupby([seen.nearest, doubted]):
        values = {"wrong": round(float(part.mean()), 3), "pictures": len(part)}
        result.setdefault(name, {})["with_doubt" if flag else "without"] = values
    return result


def limits_for_card(model: SLERIR, photos: Sequence[str] = (), pairs: str | os.PathLike = "") -> dict:
    """`measured` on the bundled photographs, folders of more clean ones, and the test sets of real pairs in `pairs`.

    Damage is made at SEVERITIES. The training should have seen none of the photographs.
    """
    tasks = tuple(task for task in model.router.names if task in CLASSES)
    grids = [Grid(root, tasks=tasks, severities=SEVERITIES) for root in ("demo", *photos)]
    real = cases(pairs, "pairs")[0] if pairs else []
    return measured(model, grids, [case for case in real if case.task in tasks])


def measured(
    model: SLERIR, grids: Sequence[Grid], pairs: Sequence[Case] = (), unknown: Sequence[str] = ("snow", "jpeg")
) -> dict:
    """What the card of a checkpoint keeps under "doubt".

    grids: of clean photographs, damaged here. pairs: real ones, whose targets count as clean. unknown: degradations
    that the network was not trained for, on the photographs of the first grid.
    Returns: limits by class; false_alarms, the share of the rightly named pictures that is flagged; caught, that of
    the wrongly named, both by limits of other photographs; wrong_with_doubt, the share of the flagged pictures that
    is named wrongly, and wrong_without, of the others; named, these two for the pictures of each name, with their
    number; unknown, the share flagged of each of `unknown`; pictures, photographs.
    """
    import pandas as pd

    parts = [signs(collect(model, grid, restore=False)) for grid in grids]
    if pairs:
        parts.append(signs(collect(model, _with_targets(pairs), restore=False)))
    seen = pd.concat(parts, ignore_index=True)
    right, own = seen.label == seen.nearest, limits(seen)
    doubted = _judged_by_others(seen)
    new = {name: collect(model, replace(grids[0], tasks=(name,)), restore=False) for name in unknown}
    return {
        "limits": {
            name: {"angle": round(row.angle, 2), "margin": round(row.margin, 4), "pictures": row.pictures}
            for name, row in own.items()
        },
        "false_alarms": round(float(doubted[right].mean()), 3),
        "caught": None if right.all() else round(float(doubted[~right].mean()), 3),
        "wrong_with_doubt": round(float((~right[doubted]).mean()), 3) if doubted.any() else None,
        "wrong_without": None if doubted.all() else round(float((~right[~doubted]).mean()), 3),
        "named": named(seen, doubted),
        "unknown": {name: round(float(flagged(signs(traces), own).mean()), 3) for name, traces in new.items()},
        "pictures": len(seen),
        "photographs": int(seen.scene.nunique()),
    }


def _judged_by_others(seen: DataFrame) -> np.ndarray:
    """(N,) bool: flagged by limits from the half of the photographs to which the picture does not belong."""
    order = np.random.default_rng(0).permutation(sorted(seen.scene.unique()))
    half, doubted = seen.scene.isin(order[::2]).to_numpy(), np.zeros(len(seen), dtype=bool)
    for own in (half, ~half):
        doubted[~own] = flagged(seen[~own], limits(seen[own]))
    return doubted


def _with_targets(pairs: Sequence[Case]) -> Iterator[LoadedCase]:
    """Every pair, and each of its targets once as a clean picture."""
    done = set()
    for case in loaded(pairs):
        yield case
        if (key := (case.dataset, case.image)) not in done:
            done.add(key)
            yield LoadedCase(case.dataset, "clean", case.image, case.target, case.target)
