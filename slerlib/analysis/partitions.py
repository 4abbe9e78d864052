"""Do two routers group images alike, whatever the numbers of their experts?

    partition_table(path_NL, other_NL, degradations)

Expert 0 of one training may do the work of expert 2 of another, so their numbers cannot be compared. The groups of
images can: a route, or the expert of one layer, is a label, and two labellings of the same images are compared by
measures that do not depend on names: the adjusted Rand index (0 on average for random labels, 1 for equal groups) and
normalised mutual information (0 to 1; it grows by chance with the number of labels).
Legend: N images, L layers, K and M labels, S draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from .chance import nmi, permuted_within

if TYPE_CHECKING:
    from pandas import DataFrame

DRAWS = 200


def partition_table(path_NL, other_NL, degradations: Sequence[str], draws: int = DRAWS, seed: int = 0) -> DataFrame:
    """Two rows, "whole path" and "layers" (mean over the layers), and how alike the two groupings are.

    path_NL, other_NL: experts of the same images under two routers. degradations: of each image.
    Columns: level, labels_a and labels_b (numbers of different labels; for layers the mean), nmi, rand (adjusted Rand
    index), and nmi_degradation, rand_degradation: the same after images of one degradation are exchanged at random
    (mean of `draws`), as for two routers that depend on the degradation alone. seed: of these draws.
    Raises UserError for routes of other images or layers.
    """
    import pandas as pd

    a, b = np.asarray(path_NL), np.asarray(other_NL)
    if a.ndim != 2 or a.shape != b.shape or len(a) != len(degradations) or not len(a):
        raise UserError(
            f"Two routers are compared on the same images and layers; got {a.shape}, {b.shape} and "
            f"{len(degradations)} degradations."
        )
    rng, rows = np.random.default_rng(seed), []
    orders = [permuted_within(np.asarray(degradations, str), rng) for _ in range(draws)]
    whole = [np.unique(path, axis=0, return_inverse=True)[1].reshape(-1, 1) for path in (a, b)]
    for level, x, y in (("whole path", *whole), ("layers", a, b)):
        x, y = _numbered(x), _numbered(y)
        drawn = np.mean([nmi_and_rand(x, y[mixed]) for mixed in orders], axis=0) if draws else np.full(2, np.nan)
        counts = {f"labels_{key}": float((part.max(axis=0) + 1).mean()) for key, part in (("a", x), ("b", y))}
        measures = ("nmi", "rand", "nmi_degradation", "rand_degradation")
        rows.append({"level": level} | counts | dict(zip(measures, (*nmi_and_rand(x, y), *drawn), strict=True)))
    return pd.DataFrame(rows)


def nmi_and_rand(a_NL: np.ndarray, b_NL: np.ndarray) -> tuple[float, float]:
    """(NMI, adjusted Rand index) of two labellings, each the mean over the columns; labels are numbers from 0.

    >>> a = np.array([[0], [0], [1], [1], [2]])
    >>> [round(value, 6) for value in nmi_and_rand(a, (a + 1) % 3)]
    [1.0, 1.0]
    """
    shape = (a_NL.max() + 1, a_NL.shape[1], b_NL.max() + 1)
    place = np.ravel_multi_index((a_NL, np.arange(shape[1]), b_NL), shape)
    counts_KLM = np.bincount(place.ravel(), minlength=np.prod(shape)).reshape(shape).astype(float)
    single = ((counts_KLM.sum(2) > 0).sum(0) == 1) & ((counts_KLM.sum(0) > 0).sum(1) == 1)  # one group in both
    return float(np.where(single, 1.0, nmi(counts_KLM)).mean()), float(adjusted_rand(counts_KLM).mean())


def adjusted_rand(counts_KLM: np.ndarray) -> np.ndarray:
    """(L,) adjusted Rand index of Hubert and Arabie (1985) from the table of how often labels meet; 1 for equal groups.

    It counts the pairs of images that are together in both labellings, minus the number expected by chance.
    """
    together = _pairs(counts_KLM).sum((0, 2))
    a, b = _pairs(counts_KLM.sum(2)).sum(0), _pairs(counts_KLM.sum(0)).sum(1)
    expected = a * b / np.maximum(_pairs(counts_KLM.sum((0, 2))), 1)
    most = (a + b) / 2
    return np.divide(together - expected, most - expected, out=np.ones_like(most), where=most - expected > 1e-12)


def _pairs(n: np.ndarray) -> np.ndarray:
    return n * (n - 1) / 2


def _numbered(label_NL: np.ndarray) -> np.ndarray:
    """The labels of each column as 0, 1, ... without gaps."""
    return np.stack([np.unique(column, return_inverse=True)[1] for column in label_NL.T], axis=1)
