"""The sphere while a training forms it: one map for all looks, so that they can be looked at one after the other.

A whole sphere may turn without a change of any angle. So the points of every look are turned onto those of the last
one first (orthogonal Procrustes problem, Schoenemann 1966, `scipy.linalg.orthogonal_procrustes`), which changes no
angle within a look. Then one metric multidimensional scaling (SMACOF, de Leeuw 1977) lays out the points of all looks
together: a distance on the map stands for an angle, and a point that stays where it was does not move on the map.
Legend: F looks, K classes, D embedding dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError

if TYPE_CHECKING:
    from pandas import DataFrame

MOST = 40  # looks on one map; of more the first, the last and evenly chosen ones between


@dataclass(frozen=True)
class Forming:
    """The looks of a training on one map. Distances on the map stand for degrees; NaN: there was no point yet."""

    steps: list[int]  # (F)
    names: list[str]  # (K)
    means: np.ndarray  # (F, K, 2) the middle of each class
    anchors: np.ndarray  # (F, K, 2)
    apart: np.ndarray  # (F, K) degrees from the middle of a class to its own anchor
    nearest: np.ndarray  # (F, K) share of the views of a class whose nearest anchor is its own
    within: np.ndarray  # (F, K) degrees of the views of a class from their middle, mean
    stress: float  # Kruskal's stress-1 of the map: 0 is exact, above 0.2 is poor
    left: float  # share of the squared lengths that turning the looks onto the last one leaves: what really changed


def forming(looks: Sequence[dict]) -> Forming:
    """The map of the `sphere` records of a training's log (`slerlib.train.history.read(...).looks`).

    Raises UserError where there are fewer than two, or where the classes change.
    """
    looks = [look for look in looks if any(look["sphere"]["mean"])]
    if len(looks) < 2:
        raise UserError(f"A map of the forming sphere needs two looks at it; this training noted {len(looks)}. Wait.")
    if len({tuple(look["sphere"]["classes"]) for look in looks}) > 1:
        raise UserError("The looks of a training have the same classes; these have not. Take those of one training.")
    chosen = [looks[k] for k in np.unique(np.linspace(0, len(looks) - 1, min(len(looks), MOST)).round().astype(int))]
    spheres = [look["sphere"] for look in chosen]
    means = np.stack([_points(s["mean"], spheres[0]) for s in spheres])
    anchors = np.stack([_points(s["anchors"], spheres[0]) for s in spheres])
    turned, left = _turned(np.concatenate([means, anchors], axis=1))
    flat, place = _layout(turned)
    k = len(spheres[0]["classes"])
    views = np.array([s["views"] for s in spheres], dtype=float)
    own = np.array([np.diag(np.array(s["nearest"], dtype=float)) for s in spheres])
    placed = np.isfinite(anchors).all(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        nearest = np.where(placed[:, None], own / views, np.nan)
    missing = [None] * k  # of a log that names it otherwise
    within = np.array([[np.nan if value is None else value for value in s.get("within", missing)] for s in spheres])
    return Forming(
        [look["step"] for look in chosen], list(spheres[0]["classes"]), flat[:, :k], flat[:, k:],
        _angle(means, anchors), nearest, within, place, left,
    )  # fmt: skip


def _points(rows: Sequence | None, sphere: dict) -> np.ndarray:
    """(K, D), NaN for a class without a point."""
    size = len(next(row for row in sphere["mean"] if row))
    rows = rows or [None] * len(sphere["classes"])
    return np.array([[np.nan] * size if row is None else row for row in rows], dtype=float)


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees between vectors along the last axis."""
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.degrees(np.arccos(np.clip((a * b).sum(axis=-1) / norms, -1, 1)))


def _turned(points: np.ndarray) -> tuple[np.ndarray, float]:
    """(F, 2K, D) with every look turned onto the last one, and what is left of the squared lengths between them."""
    from scipy.linalg import orthogonal_procrustes

    last, turned, left, total = points[-1], points.copy(), 0.0, 0.0
    for frame in turned[:-1]:
        both = np.isfinite(frame).all(axis=1) & np.isfinite(last).all(axis=1)
        turn, _ = orthogonal_procrustes(frame[both], last[both])
        frame[:] = frame @ turn
        left += ((frame[both] - last[both]) ** 2).sum()
        total += (last[both] ** 2).sum()
    return turned, float(left / total)


def _layout(points: np.ndarray) -> tuple[np.ndarray, float]:
    """(F, 2K, 2) map of (F, 2K, D) points in degrees, and its stress-1. Equal points share one place."""
    from sklearn.manifold import smacof

    frames, k, size = points.shape
    rows = points.reshape(-1, size)
    there = np.isfinite(rows).all(axis=1)
    unique, back = np.unique(rows[there].round(4), axis=0, return_inverse=True)  # as the log has them
    degrees = _angle(unique[:, None], unique[None])
    np.fill_diagonal(degrees, 0.0)
    flat, _ = smacof(degrees, n_components=2, init=_classical(degrees), n_init=1, max_iter=400, eps=1e-7,
                     normalized_stress=False)  # fmt: skip
    drawn = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    stress = np.sqrt(((degrees - drawn) ** 2).sum() / (drawn**2).sum())
    result = np.full((len(rows), 2), np.nan)
    result[there] = flat[back.ravel()]
    return result.reshape(frames, k, 2), float(stress)


def _classical(degrees: np.ndarray) -> np.ndarray:
    """(n, 2) classical scaling (Torgerson 1952), where SMACOF begins."""
    centre = np.eye(len(degrees)) - 1 / len(degrees)
    values, vectors = np.linalg.eigh(-centre @ degrees**2 @ centre / 2)
    return vectors[:, -2:] * np.sqrt(np.clip(values[-2:], 0, None))


def settling(looks: Sequence[dict]) -> DataFrame:
    """How the routes settle: for every look and class, layers whose most used expert is not the one of the last look.

    Columns: step, class, changed (0 to 8), agree (share of the views that take the most used expert, mean over layers).
    """
    import pandas as pd

    rows = []
    last = np.array(looks[-1]["sphere"]["usage"]).argmax(axis=2) if looks else None  # (K, L)
    for look in looks:
        seen = look["sphere"]
        usage, views = np.array(seen["usage"], dtype=float), np.array(seen["views"])  # (K, L, E), (K)
        for k, name in enumerate(seen["classes"]):
            if views[k]:
                changed = int((usage[k].argmax(axis=1) != last[k]).sum())
                rows.append((look["step"], name, changed, usage[k].max(axis=1).mean() / views[k]))
    return pd.DataFrame(rows, columns=["step", "class", "changed", "agree"])
