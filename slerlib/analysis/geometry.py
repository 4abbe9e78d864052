"""Measures of the sphere in all its dimensions, without the errors of a map: separation, evenness, leakage.

    table = measures(traces)          # one row per measure: value, interval, shuffled labels, reference

Every class weighs the same, whatever its number of images. Intervals are 95 % bootstrap intervals over scenes
(photographs), because images of one photograph are not independent; the neighbours of a row stay as they are.
Legend: n rows, D embedding dimension, K classes, S scenes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from .. import sphere
from ..errors import UserError
from ..evaluation.metrics import FEWEST_SCENES
from .chance import scene_draws, seeded_rows
from .store import Traces

if TYPE_CHECKING:
    from pandas import DataFrame

NEIGHBOURS = 5  # of the k-NN vote
DRAWS = 1000  # bootstrap samples
SHUFFLES = 5
ROWS = 4_000  # most rows that are measured, drawn with the seed 0: the cosines of all pairs are in memory together
SPLITS = 5  # of the linear probe, by scene


def measures(traces: Traces, seed: int = 0) -> DataFrame:
    """Measures of one network's sphere, in rows.

    Columns: value, low and high (95 % bootstrap interval over scenes, NaN where a class has fewer than 5), shuffled
    (mean over 5 shuffles of the labels; for leakage of the scenes within each class; for alignment of the whole images
    beside their crops), reference (chance, optimum or ideal) and meaning. A value that needs more data, such as the
    accuracy on other scenes with one scene, is NaN.
    silhouette            (b - a) / max(a, b): cosine distances a to the own class and b to the nearest other class
    knn_accuracy          vote of the 5 nearest rows of other scenes, weighted by cosine
    probe_accuracy        logistic regression, tested on scenes that it was not fitted on
    intra_cosine          mean cosine to rows of the own class and other scenes
    inter_cosine          mean cosine between class centroids
    centroid_uniformity   log mean exp(-2 |c_i - c_j|^2) (Wang & Isola 2020); the optimum is that of a simplex
    scene_leakage         share of rows whose nearest row of the same class shows the same scene. Rows of the same scene
                          and seed (its crop, another severity) also share their damage and are left out. NaN without a
                          second seed; clean, which has one seed, does not count. In a tight class a very small
                          influence of the scene is enough for a high value
    view_alignment        mean squared distance of a crop to its whole image (Wang & Isola 2020)
    Raises UserError for fewer than two classes.
    """
    import pandas as pd

    traces = traces.select(seeded_rows(len(traces), ROWS))
    z_nD = sphere.normalise(torch.from_numpy(traces.embedding)).double().numpy()
    classes, label_n = np.unique(traces.table.label.to_numpy(dtype=str), return_inverse=True)
    _, scene_n = np.unique(traces.table.scene.to_numpy(dtype=str), return_inverse=True)
    if len(classes) < 2:
        raise UserError(
            f"The sphere is measured between classes; these traces have {len(classes)}. Collect more tasks."
        )
    cosine_nn, k = z_nD @ z_nD.T, len(classes)
    rng = np.random.default_rng(seed)
    shuffles, rows = [rng.permutation(label_n) for _ in range(SHUFFLES)], {}

    def add(name: str, of_rows: Callable, reference: float, meaning: str) -> None:
        base = np.mean([_weighted(of_rows(labels), labels) for labels in shuffles])
        rows[name] = (*_interval(of_rows(label_n), label_n, scene_n, seed), base, reference, meaning)

    def add_centroids(name: str, of_centroids: Callable, reference: float, meaning: str) -> None:
        base = np.mean([of_centroids(_centroids(z_nD, labels, k)) for labels in shuffles])
        rows[name] = (*_centroid_interval(of_centroids, z_nD, label_n, scene_n, seed), base, reference, meaning)

    add("silhouette", lambda y: _silhouette(cosine_nn, y), 0.0, "0: classes overlap; 1: each class a point")
    add("knn_accuracy", lambda y: _knn(cosine_nn, y, scene_n), 1 / k, "chance")
    add("probe_accuracy", lambda y: _probe(z_nD, y, scene_n), 1 / k, "chance")
    add("intra_cosine", lambda y: _intra(cosine_nn, y, scene_n), 1.0, "optimum: one point per class")
    add_centroids("inter_cosine", _inter, -1 / (k - 1), "optimum: simplex")
    add_centroids("centroid_uniformity", _uniformity, -4 * k / (k - 1), "optimum: simplex")
    draw_n = traces.table.seed.to_numpy(dtype=str)
    leaks, chance = _leakage(cosine_nn, label_n, scene_n, draw_n)
    mixed = [_within(scene_n, label_n, rng) for _ in range(SHUFFLES)]
    base = np.mean([_weighted(_leakage(cosine_nn, label_n, y, draw_n)[0], label_n) for y in mixed])
    rows["scene_leakage"] = (*_interval(leaks, label_n, scene_n, seed), base, _weighted(chance, label_n), "chance")
    apart, base = _views(traces, z_nD, rng)
    rows["view_alignment"] = (*_interval(apart, label_n, scene_n, seed), base, 0.0, "optimum")
    return pd.DataFrame.from_dict(rows, orient="index", columns="value low high shuffled reference meaning".split())


def _silhouette(cosine_nn: np.ndarray, label_n: np.ndarray) -> np.ndarray:
    from sklearn.metrics import silhouette_samples

    if len(np.unique(label_n)) == len(label_n):  # a single row has no other of its class
        return np.full(len(label_n), math.nan)
    distance = np.clip(1 - cosine_nn, 0, 2)
    np.fill_diagonal(distance, 0)
    return silhouette_samples(distance, label_n, metric="precomputed")


def _knn(cosine_nn: np.ndarray, label_n: np.ndarray, scene_n: np.ndarray) -> np.ndarray:
    """(n,) 1 where the vote of the nearest rows of other scenes, weighted by their cosines, is right."""
    n, k = len(label_n), min(NEIGHBOURS, int((scene_n[:, None] != scene_n).sum(1).min()))
    if k < 1:
        return np.full(n, math.nan)
    others = np.where(scene_n[:, None] == scene_n, -np.inf, cosine_nn)
    near = np.argpartition(-others, k - 1, axis=1)[:, :k]
    votes = np.zeros((n, label_n.max() + 1))
    np.add.at(votes, (np.arange(n)[:, None], label_n[near]), np.take_along_axis(cosine_nn, near, axis=1))
    return (votes.argmax(axis=1) == label_n).astype(float)


def _probe(z_nD: np.ndarray, label_n: np.ndarray, scene_n: np.ndarray) -> np.ndarray:
    """(n,) 1 where logistic regression, fitted on other scenes, is right."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    splits, right = min(SPLITS, len(np.unique(scene_n))), np.full(len(label_n), math.nan)
    if splits < 2:
        return right
    for train, test in GroupKFold(splits).split(z_nD, label_n, scene_n):
        if len(np.unique(label_n[train])) < 2:
            return np.full(len(label_n), math.nan)
        with warnings.catch_warnings():  # shuffled labels may not converge, which is not the question here
            warnings.simplefilter("ignore")
            probe = LogisticRegression(C=10, class_weight="balanced", max_iter=200).fit(z_nD[train], label_n[train])
        right[test] = probe.predict(z_nD[test]) == label_n[test]
    return right


def _intra(cosine_nn: np.ndarray, label_n: np.ndarray, scene_n: np.ndarray) -> np.ndarray:
    partners = (label_n[:, None] == label_n) & (scene_n[:, None] != scene_n)
    count = partners.sum(axis=1)
    return np.where(count > 0, (cosine_nn * partners).sum(axis=1) / np.maximum(count, 1), math.nan)


def _leakage(cosine_nn, label_n, scene_n, draw_n) -> tuple[np.ndarray, np.ndarray]:
    """(n,) 1 where the nearest row of the class has the same scene, and (n,) the share of such rows, its chance.

    Rows of the same scene and draw of the damage are not compared. NaN for a scene that was drawn once, or is the only
    one of its class.
    """
    scene = scene_n[:, None] == scene_n
    candidates = (label_n[:, None] == label_n) & ~(scene & (draw_n[:, None] == draw_n))
    same = candidates & scene
    possible = same.any(axis=1) & (candidates & ~scene).any(axis=1)
    nearest = np.where(candidates, cosine_nn, -np.inf).argmax(axis=1)
    chance = same.sum(axis=1) / np.maximum(candidates.sum(axis=1), 1)
    return np.where(possible, scene_n[nearest] == scene_n, math.nan), np.where(possible, chance, math.nan)


def _within(scene_n: np.ndarray, label_n: np.ndarray, rng) -> np.ndarray:
    """Scenes shuffled within every class."""
    mixed = scene_n.copy()
    for label in np.unique(label_n):
        rows = np.flatnonzero(label_n == label)
        mixed[rows] = scene_n[rng.permutation(rows)]
    return mixed


def _views(traces: Traces, z_nD: np.ndarray, rng) -> tuple[np.ndarray, float]:
    """(n,) squared distance of each crop to its whole image, NaN elsewhere; and its mean for partners at random."""
    names = list(zip(*(traces.table[name].astype(str) for name in ("scene", "label", "severity", "seed")), strict=True))
    view = traces.table.view.to_numpy(dtype=str)
    whole = {name: row for row, name in enumerate(names) if view[row] == "image"}
    pairs = [(row, whole[name]) for row, name in enumerate(names) if view[row] == "crop" and name in whole]
    apart = np.full(len(z_nD), math.nan)
    if not pairs:
        return apart, math.nan
    crops, images = np.array(pairs).T
    apart[crops] = np.square(z_nD[crops] - z_nD[images]).sum(axis=1)
    return apart, float(np.square(z_nD[crops] - z_nD[rng.permutation(images)]).sum(axis=1).mean())


def _centroids(z_nD: np.ndarray, label_n: np.ndarray, k: int) -> np.ndarray:
    return sphere.centroids(torch.from_numpy(z_nD), torch.from_numpy(label_n), k).numpy()


def _inter(c_KD: np.ndarray) -> float:
    k = len(c_KD)
    return float(((c_KD @ c_KD.T).sum() - np.square(c_KD).sum()) / (k * (k - 1)))


def _uniformity(c_KD: np.ndarray) -> float:
    return sphere.uniformity(torch.from_numpy(c_KD)).item()


def _weighted(value_n: np.ndarray, label_n: np.ndarray) -> float:
    """Mean over classes of the mean over their rows; rows that are NaN are left out."""
    means = [value_n[(label_n == label) & ~np.isnan(value_n)] for label in np.unique(label_n)]
    means = [part.mean() for part in means if len(part)]
    return float(np.mean(means)) if means else math.nan


def _interval(value_n, label_n, scene_n, seed: int) -> tuple[float, float, float]:
    """`_weighted` with a bootstrap interval over scenes."""
    valid = ~np.isnan(value_n)
    drawn = _drawn(value_n[valid], label_n[valid], scene_n[valid], scene_n.max() + 1, label_n.max() + 1, seed)
    if drawn is None:
        return _weighted(value_n, label_n), math.nan, math.nan
    total_RK, count_RK = drawn
    with np.errstate(invalid="ignore"):
        means_RK = total_RK / count_RK
    usable = ~np.isnan(means_RK).all(axis=1)
    return _weighted(value_n, label_n), *_quantiles(np.nanmean(means_RK[usable], axis=1))


def _centroid_interval(of_centroids, z_nD, label_n, scene_n, seed: int) -> tuple[float, float, float]:
    value = of_centroids(_centroids(z_nD, label_n, label_n.max() + 1))
    drawn = _drawn(z_nD, label_n, scene_n, scene_n.max() + 1, label_n.max() + 1, seed)
    if drawn is None:
        return value, math.nan, math.nan
    length = np.linalg.norm(drawn[0], axis=-1, keepdims=True)
    full = (length > 0).all(axis=(1, 2))  # a class may lack all its scenes in a draw
    return value, *_quantiles([of_centroids(c) for c in drawn[0][full] / length[full]])


def _drawn(value_n, label_n, scene_n, scenes: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Sums (draws, K, ...) and numbers (draws, K) of the values of each class; None if a class has too few scenes."""
    count_SK = np.zeros((scenes, classes))
    np.add.at(count_SK, (scene_n, label_n), 1)
    scenes_K = (count_SK > 0).sum(axis=0)
    if scenes_K[scenes_K > 0].min(initial=FEWEST_SCENES) < FEWEST_SCENES or not len(value_n):
        return None
    total_SK = np.zeros((scenes, classes, *value_n.shape[1:]))
    np.add.at(total_SK, (scene_n, label_n), value_n)
    weight_RS = scene_draws(scenes, DRAWS, seed)
    return np.einsum("rs,sk...->rk...", weight_RS, total_SK, optimize=True), weight_RS @ count_SK


def _quantiles(values) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
