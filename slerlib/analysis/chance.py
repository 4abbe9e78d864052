"""Paths as counts, the statistics of such counts, and the same statistics under chance.

Every statistic has two baselines: a *random router* (each expert equally likely, independently) and *shuffled labels*
(the real paths, with the degradations permuted within each photograph). If every photograph has a single degradation,
the degradations are permuted among photographs instead (`shuffled`), and an effect of the photographs on the route
counts as an effect of the degradation. Intervals resample photographs, not images, because versions of one photograph
are not independent. A draw that holds a photograph twice is a little more regular than the data, so that intervals of
information are too high, and those of distances within a class too low.
Legend: N images, G photographs (scenes), K degradations, L layers, E experts, S draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..config import LAYERS, STAGE_NAMES
from ..errors import UserError
from ..evaluation.metrics import FEWEST_SCENES
from ..evaluation.table import USUAL
from .store import Traces

DRAWS = 1000


@dataclass(frozen=True)
class Routes:
    """Paths with their labels as numbers, and the counts that every statistic here is computed from."""

    path: np.ndarray  # (N, L) expert per layer
    label: np.ndarray  # (N,) index into names
    scene: np.ndarray  # (N,) photograph, 0..G-1
    names: tuple[str, ...]  # degradations in the order of their first appearance
    experts: int

    def photographs(self) -> np.ndarray:
        """(K,) number of photographs that have each degradation."""
        return (self.counts()[:, :, 0].sum(-1) > 0).sum(0)

    def counts(self) -> np.ndarray:
        """(G, K, L, E): images of a photograph and degradation that take an expert."""
        shape = (self.scene.max() + 1, len(self.names), self.path.shape[1], self.experts)
        counts = np.zeros(shape)
        np.add.at(counts, (self.scene, self.label), np.eye(self.experts)[self.path])
        return counts

    def linked(self) -> bool:
        """Whether photographs with several degradations connect all degradations, directly or in a chain."""
        from scipy.sparse.csgraph import connected_components

        seen_GK = (self.counts()[:, :, 0].sum(-1) > 0).astype(int)
        return connected_components(seen_GK.T @ seen_GK, directed=False)[0] == 1

    def stages(self) -> list[str]:
        layers = self.path.shape[1]
        return list(STAGE_NAMES) if layers == LAYERS else [str(n) for n in range(layers)]


def as_routes(traces, labels: Sequence[str] | None = None, scenes=None, experts: int | None = None) -> Routes:
    """Routes from `Traces` (labels and scenes are in its table), a `Trace`, a list of either, or an (N, L) array.

    Traces of a list must be of one network. labels: the degradation of each image, by default from Traces. scenes: the
    photograph of each image; by default from Traces, else each image is a photograph of its own. experts: E, by default
    from the similarities, else one more than the largest number in the paths.
    Raises UserError if the numbers of paths, labels and scenes differ, or if a path does not hold whole numbers from 0.
    """
    if isinstance(traces, list | tuple) and traces and all(isinstance(part, Traces) for part in traces):
        traces = Traces.concatenate(traces)
    table = getattr(traces, "table", None)
    if table is not None:
        labels = table["label"] if labels is None else labels
        scenes = table["scene"] if scenes is None else scenes
    several = isinstance(traces, list | tuple) and traces and hasattr(traces[0], "path")
    parts = traces if several else [traces]
    path = np.concatenate([np.atleast_1d(as_array(getattr(part, "path", part))) for part in parts])
    if path.dtype.kind not in "iufb":
        raise UserError(
            f"Routes are an (N, L) array of whole expert numbers, or traces; got values such as {path.flat[0]!r}. Pass "
            "the traces of slerlib.analysis.trace.collect, or split each text into its digits."
        )
    if experts is None:
        similarity = getattr(parts[0], "similarity", None)
        experts = similarity.shape[-1] if similarity is not None else int(path.max(initial=0)) + 1
    labels = [] if labels is None else [str(label) for label in labels]
    scenes = range(len(path)) if scenes is None else list(scenes)
    if path.ndim != 2 or not len(path) or len(labels) != len(path) or len(scenes) != len(path):
        raise UserError(
            "Routes are an (N, L) array of experts with one degradation and one photograph per row; got "
            f"{path.shape}, {len(labels)} labels and {len(scenes)} scenes. Pass labels= as long as the paths."
        )
    if path.dtype.kind not in "iu" or path.min() < 0 or path.max() >= experts:
        raise UserError(
            f"A path holds whole expert numbers from 0 to {experts - 1}; got {path.dtype} from {path.min()} to "
            f"{path.max()}. Pass trace.path, and experts= if there are more."
        )
    names = tuple(dict.fromkeys(labels))
    places = {name: k for k, name in enumerate(names)}
    scene = np.unique(np.asarray([str(c) for c in scenes]), return_inverse=True)[1]
    return Routes(path, np.array([places[label] for label in labels]), scene, names, experts)


def as_array(x) -> np.ndarray:
    """A numpy array from numbers or from a tensor on any device."""
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def seeded_rows(n: int, limit: int) -> np.ndarray:
    """Row numbers in order: all, or `limit` of them drawn with the seed 0."""
    return np.arange(n) if n <= limit else np.sort(np.random.default_rng(0).choice(n, limit, replace=False))


# --- statistics of counts (..., K, L, E); leading dimensions are draws ------------------------------------------------


def entropy(p: np.ndarray) -> np.ndarray:
    """Shannon entropy in nats of distributions along the last axis (not necessarily normalised)."""
    total = p.sum(axis=-1, keepdims=True)
    p = np.divide(p, total, out=np.zeros_like(p, dtype=float), where=total > 0)
    return (p * -np.log(p, out=np.zeros_like(p), where=p > 0)).sum(axis=-1)


def information(counts: np.ndarray) -> np.ndarray:
    """(..., L) mutual information I(degradation; expert) in nats from counts (..., K, L, E)."""
    joint = np.moveaxis(counts, -2, -3)  # (..., L, K, E)
    return entropy(joint.sum(-1)) + entropy(joint.sum(-2)) - entropy(joint.reshape(*joint.shape[:-2], -1))


def nmi(counts: np.ndarray) -> np.ndarray:
    """(..., L) NMI of degradation and expert, 0 to 1; 0 where either has a single value."""
    joint = np.moveaxis(counts, -2, -3)
    scale = (entropy(joint.sum(-1)) + entropy(joint.sum(-2))) / 2
    return np.divide(information(counts), scale, out=np.zeros_like(scale), where=scale > 1e-12)


def hamming(counts: np.ndarray) -> np.ndarray:
    """(..., K, K) mean number of layers at which two images differ, one of each class, from counts (..., K, L, E).

    On the diagonal pairs of two different images of the class; NaN for a class of a single image.
    """
    n = counts[..., :1, :].sum(-1)  # (..., K, 1)
    usage = np.divide(counts, n[..., None], out=np.full_like(counts, np.nan), where=n[..., None] > 0)
    same = np.einsum("...ile,...jle->...ij", usage, usage)
    k = np.arange(counts.shape[-3])
    own = n[..., 0]
    pairs = np.divide(own * same[..., k, k] - counts.shape[-2], own - 1, out=np.full_like(own, np.nan), where=own > 1)
    same[..., k, k] = pairs
    return counts.shape[-2] - same


# --- baselines and intervals ------------------------------------------------------------------------------------------


def scene_draws(scenes: int, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(S, G) how often each photograph is drawn in every bootstrap sample of as many photographs."""
    return np.random.default_rng(seed).multinomial(scenes, np.full(scenes, 1 / scenes), size=draws).astype(float)


def resampled(routes: Routes, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(S, K, L, E) counts of bootstrap draws over photographs."""
    counts = routes.counts()
    return np.tensordot(scene_draws(len(counts), draws, seed), counts, axes=1)


def shuffled(routes: Routes, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(S, K, L, E) counts with the labels permuted within each photograph.

    If the photographs do not link all degradations (`Routes.linked`), images of one photograph and degradation form a
    group, and the groups exchange their labels: each degradation then has its number of groups, not of images.
    """
    rng, linked = np.random.default_rng(seed), routes.linked()
    group_N = np.unique(routes.scene * len(routes.names) + routes.label, return_inverse=True)[1]
    label_G = np.zeros(group_N.max() + 1, dtype=int)
    label_G[group_N] = routes.label
    chosen_NLE, one_hot = np.eye(routes.experts)[routes.path], np.eye(len(routes.names))
    result = np.empty((draws, len(routes.names), *chosen_NLE.shape[1:]))
    for s in range(draws):
        label_N = routes.label[permuted_within(routes.scene, rng)] if linked else rng.permutation(label_G)[group_N]
        result[s] = np.tensordot(one_hot[label_N], chosen_NLE, axes=(0, 0))
    return result


def permuted_within(group_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order of N rows in which every row stands at a place of its own group."""
    order = np.empty(len(group_N), dtype=int)
    order[np.argsort(group_N, kind="stable")] = np.lexsort((rng.random(len(group_N)), group_N))
    return order


def random_router(routes: Routes, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(S, K, L, E) counts of as many images per class, each expert drawn with equal chance."""
    share = np.full(routes.experts, 1 / routes.experts)
    n = np.bincount(routes.label, minlength=len(routes.names))
    shape = (draws, len(n), routes.path.shape[1])
    return np.random.default_rng(seed).multinomial(n[None, :, None], share, size=shape).astype(float)


def interval(values: np.ndarray, photographs: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % percentile interval of draws (S, ...), without those that are NaN.

    photographs: how many were drawn from, a number or an array that broadcasts to (...). NaN for fewer than
    FEWEST_SCENES, and where all draws are NaN.
    """
    finite = np.isfinite(values).any(axis=0)
    ends = np.nanquantile(np.where(finite, values, 0.0), [0.025, 0.975], axis=0)
    low, high = np.where(finite & (np.asarray(photographs) >= FEWEST_SCENES), ends, np.nan)
    return low, high


def p_values(measured: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Share of draws (S, ...) at least as large as `measured` (...). It counts as a draw itself, so p is never 0."""
    return (1 + (drawn >= measured - 1e-9).sum(axis=0)) / (1 + len(drawn))


def corrected(p: np.ndarray) -> np.ndarray:
    """p-values of any shape, corrected for their number: false discovery rate, Benjamini and Hochberg. NaN stay NaN."""
    from scipy.stats import false_discovery_control

    result, tested = np.full(np.shape(p), np.nan), np.isfinite(p)
    if tested.any():
        result[tested] = false_discovery_control(np.asarray(p)[tested])
    return result


def clustered_mean(values, scenes=None, draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """(mean, low, high): mean over images with a 95 % bootstrap interval over scenes.

    As `slerlib.bootstrap_interval`, for images that share photographs. The bounds are NaN for fewer than FEWEST_SCENES
    scenes and where a value is infinite.

    >>> clustered_mean([1.0, 2.0, 3.0, 4.0], scenes=["cat", "cat", "rocket", "rocket"])
    (2.5, nan, nan)
    """
    values = np.asarray(values, dtype=float)
    groups = np.unique(range(len(values)) if scenes is None else np.asarray(scenes, str), return_inverse=True)[1]
    total, n = np.bincount(groups, values), np.bincount(groups)
    if len(n) < FEWEST_SCENES or not np.isfinite(values).all():
        return float(values.mean()), np.nan, np.nan
    drawn = np.random.default_rng(seed).integers(0, len(n), (draws, len(n)))
    low, high = np.quantile(total[drawn].sum(1) / n[drawn].sum(1), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def mean_interval(name: str, values, scenes) -> dict[str, float]:
    """`clustered_mean` as columns of a table: name, name_low, name_high."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), clustered_mean(values, scenes), strict=True))


def modal_route(path_NL: np.ndarray) -> np.ndarray:
    """(L,) the most frequent whole path, of several the lowest in digit order. It may be that of a single image."""
    paths, times = np.unique(path_NL, axis=0, return_counts=True)
    return paths[times.argmax()]


def usual_route(path_NL: np.ndarray) -> np.ndarray | None:
    """(L,) the path that more than half of the images take, or None: then no path stands for them."""
    most = modal_route(path_NL)
    return most if (path_NL == most).all(axis=1).mean() > USUAL else None


def usual_experts(path_NL: np.ndarray) -> np.ndarray:
    """(L,) of each layer the expert that most images take, of several the lowest; where there is one, the usual path.

    Without a usual path no image need take these experts together.
    """
    return np.array([np.bincount(column).argmax() for column in path_NL.T])


def smallest_p(photographs: int) -> float:
    """The smallest p that `sign_flip` can have: of all 2 ** photographs signs two are as extreme as it gets."""
    return min(1.0, 2.0 ** (1 - photographs))


def fewest_shown(photographs: int, tests: int, level: float = 0.05) -> int | None:
    """How many of so many sign-flip tests must have the smallest p before any is below `level` when corrected.

    None where even all of them together would not be: so few photographs can show nothing.
    """
    needed = int(np.ceil(tests * smallest_p(photographs) / level - 1e-9))
    return None if needed > tests else max(needed, 1)


def sign_flip(values, scenes, draws: int = 2000, seed: int = 0) -> float:
    """p of a mean of 0 if the sign of each photograph's sum were random: the paired permutation test.

    All signs are tried where they are at most `draws`, so up to 10 photographs; else as many are drawn.
    NaN where a value is NaN or infinite, such as the dB of a picture without any error.
    """
    total = np.bincount(np.unique(np.asarray(scenes, str), return_inverse=True)[1], np.asarray(values, float))
    if not np.isfinite(total).all():
        return np.nan
    if 2 ** len(total) <= draws:
        signs = 1.0 - 2 * (np.arange(2 ** len(total))[:, None] >> np.arange(len(total)) & 1)
        return float((np.abs(signs @ total) >= abs(total.sum()) - 1e-12).mean())
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (draws, len(total)))
    return float((1 + (np.abs(signs @ total) >= abs(total.sum()) - 1e-12).sum()) / (1 + draws))
