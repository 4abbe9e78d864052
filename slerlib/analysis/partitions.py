"""Do two routers group images alike, whatever they call their experts?

    partition_table(path_NL, other_NL, degradations)

Two trainings number their experts as chance has it: expert 0 of one may do the work of expert 2 of the other. What can
be compared is which images go together. A route, or the expert of one layer, is read as a label, and two labellings of
the same images are compared by measures that renaming leaves alone: the adjusted Rand index (0 on average for labels by
chance, 1 for equal groups) and normalised mutual information (0 to 1; the more labels, the more of it by chance).
Legend: N images, L layers, K and M labels, S draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from .chance import nmi

if TYPE_CHECKING:
    from pandas import DataFrame

DRAWS = 200


def partition_table(path_NL, other_NL, degradations: Sequence[str], draws: int = DRAWS, seed: int = 0) -> DataFrame:
    """Two rows, "whole path" and "layers" (mean over the layers), and how alike the two groupings are.

    path_NL, other_NL: experts of the same images under two routers. degradations: of each image.
    Columns: level, labels_a and labels_b (different ones; for layers the mean), nmi, rand (adjusted Rand index), and
    nmi_degradation, rand_degradation: the same when images of one degradation are exchanged (mean of `draws`), which is
    what two routers that look at nothing but the degradation would reach. seed: of these draws.
    Raises UserError for routes of other images or layers.
    """
    import pandas as pd

    a, b = np.asarray(path_NL), np.asarray(other_NL)
    if a.ndim != 2 or a.shape != b.shape or len(a) != len(degradations) or not len(a):
        raise UserError(
            f"Two routers are compared on the same images and layers; got {a.shape}, {b.shape} and "
            f"{len(degradations)} degradations."
        )
    rows, order = [], _orders(degradations, draws, seed)
    for level, x, y in (("whole path", _whole(a), _whole(b)), ("layers", a, b)):
        x, y = _numbered(x), _numbered(y)
        drawn = np.mean([likeness(x, y[mixed]) for mixed in order], axis=0) if draws else np.full(2, np.nan)
        counts = {"labels_a": _mean_labels(x), "labels_b": _mean_labels(y)}
        measures = ("nmi", "rand", "nmi_degradation", "rand_degradation")
        rows.append({"level": level} | counts | dict(zip(measures, (*likeness(x, y), *drawn), strict=True)))
    return pd.DataFrame(rows)


def likeness(a_NL: np.ndarray, b_NL: np.ndarray) -> tuple[float, float]:
    """(NMI, adjusted Rand index) of two labellings, each the mean over the columns; labels are numbers from 0.

    >>> a = np.array([[0], [0], [1], [1], [2]])
    >>> [round(value, 6) for value in likeness(a, (a + 1) % 3)]
    [1.0, 1.0]
    """
    shape = (a_NL.max() + 1, a_NL.shape[1], b_NL.max() + 1)
    place = np.ravel_multi_index((a_NL, np.arange(shape[1]), b_NL), shape)
    counts_KLM = np.bincount(place.ravel(), minlength=np.prod(shape)).reshape(shape).astype(float)
    single = ((counts_KLM.sum(2) > 0).sum(0) == 1) & ((counts_KLM.sum(0) > 0).sum(1) == 1)  # one group in both
    return float(np.where(single, 1.0, nmi(counts_KLM)).mean()), float(adjusted_rand(counts_KLM).mean())


def adjusted_rand(counts_KLM: np.ndarray) -> np.ndarray:
    """(L,) adjusted Rand index of Hubert and Arabie (1985) from the table of how often labels meet; 1 for equal groups.

    Of all pairs of images, those that are together in both labellings, against what chance gives.
    """
    together = _pairs(counts_KLM).sum((0, 2))
    a, b = _pairs(counts_KLM.sum(2)).sum(0), _pairs(counts_KLM.sum(0)).sum(1)
    expected = a * b / np.maximum(_pairs(counts_KLM.sum((0, 2))), 1)
    most = (a + b) / 2
    return np.divide(together - expected, most - expected, out=np.ones_like(most), where=most - expected > 1e-12)


def _pairs(n: np.ndarray) -> np.ndarray:
    return n * (n - 1) / 2


def _whole(path_NL: np.ndarray) -> np.ndarray:
    return np.unique(path_NL, axis=0, return_inverse=True)[1].reshape(-1, 1)


def _numbered(label_NL: np.ndarray) -> np.ndarray:
    """The labels of each column as 0, 1, ... without gaps."""
    return np.stack([np.unique(column, return_inverse=True)[1] for column in label_NL.T], axis=1)


def _mean_labels(label_NL: np.ndarray) -> float:
    return float(np.mean(label_NL.max(axis=0) + 1))


def _orders(degradations: Sequence[str], draws: int, seed: int) -> list[np.ndarray]:
    """Orders of the images that exchange those of one degradation alone."""
    group = np.unique(np.asarray(degradations, str), return_inverse=True)[1]
    rng, place, orders = np.random.default_rng(seed), np.argsort(group, kind="stable"), []
    for _ in range(draws):
        mixed = np.empty(len(group), dtype=int)
        mixed[place] = np.lexsort((rng.random(len(group)), group))
        orders.append(mixed)
    return orders
