"""Which experts each degradation uses, and how much of it is chance.

    table = slerlib.routing_table(traces)            # layer x degradation x expert: usage, intervals, p, NMI, baselines
    table = slerlib.routing_table(path_NL, labels)   # the same from a plain (N, L) array of expert numbers
    layers = layer_table(traces)                     # one row per layer
    paths = path_table(traces)                       # one row per degradation: distinct paths, entropy, distances

Information is in nats. NMI is I(degradation; expert) / mean(H(degradation), H(expert)), the definition of scikit-learn.
As I <= min(H(degradation), ln E), it cannot reach 1 with more degradations than experts; `nmi_ceiling` is its maximum.
Plug-in estimates of information are biased upwards; the shuffled-label mean is that bias.
Legend: N images, K degradations, L layers, E experts, S draws. Baselines and intervals: chance.py.
An interval over fewer than 5 photographs is NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..model.router import path_digits
from . import chance
from .chance import DRAWS, as_routes, corrected, entropy, hamming, information, interval, nmi

if TYPE_CHECKING:
    from pandas import DataFrame

DEAD = 0.01  # an expert chosen by a smaller share of the images of all degradations is called dead


def layer_table(traces, labels=None, *, scenes=None, experts=None, draws: int = DRAWS, seed: int = 0) -> DataFrame:
    """One row per layer: how evenly its experts are used and how much they reveal about the degradation.

    Columns: layer, stage, entropy (of usage, as a share of ln E), entropy_low and _high, dead (experts used by less
    than 1 % of the images), conditional_entropy (of the expert given the degradation, nats; 0 = decided),
    information (nats), information_ceiling, nmi, nmi_low, nmi_high, nmi_ceiling, nmi_shuffled and nmi_random (means of
    the baselines), nmi_excess (nmi - nmi_shuffled), p (permutation), p_corrected (over the layers).
    Arguments as for `as_routes`; draws: of each baseline and of the bootstrap; seed: of these draws.
    """
    import pandas as pd

    routes = as_routes(traces, labels, scenes, experts)
    counts = routes.counts().sum(0)  # (K, L, E)
    drawn, mixed = chance.resampled(routes, draws, seed), chance.shuffled(routes, draws, seed)
    ln_e, photographs = np.log(max(routes.experts, 2)), routes.scene.max() + 1
    used = counts.sum(0)  # (L, E)
    h_label = entropy(counts[:, 0].sum(-1)[None])[0]
    ceiling = min(h_label, np.log(routes.experts))
    table = pd.DataFrame({"layer": range(len(used)), "stage": routes.stages(), "entropy": entropy(used) / ln_e})
    table["entropy_low"], table["entropy_high"] = interval(entropy(drawn.sum(1)) / ln_e, photographs)
    table["dead"] = (used / used.sum(-1, keepdims=True) < DEAD).sum(-1)
    table["conditional_entropy"] = np.maximum(entropy(used) - information(counts), 0)  # not -0.000
    table["information"], table["information_ceiling"] = information(counts), ceiling
    table["nmi"] = nmi(counts)
    table["nmi_low"], table["nmi_high"] = interval(nmi(drawn), photographs)
    table["nmi_ceiling"] = 2 * ceiling / (h_label + ceiling) if ceiling > 0 else 0.0
    table["nmi_shuffled"] = nmi(mixed).mean(0)
    table["nmi_random"] = nmi(chance.random_router(routes, draws, seed)).mean(0)
    table["nmi_excess"] = table.nmi - table.nmi_shuffled
    table["p"] = chance.p_values(information(counts), information(mixed))
    table["p_corrected"] = corrected(table.p.to_numpy())
    return table


def routing_table(traces, labels=None, *, scenes=None, experts=None, draws: int = DRAWS, seed: int = 0) -> DataFrame:
    """Layer x degradation x expert: usage with intervals, and the statistics of `layer_table` beside it.

    Columns: layer, stage, degradation, expert, n (images of the degradation), count (of these, routed to the expert),
    usage (count / n), usage_low and usage_high (95 % bootstrap over photographs), usage_all (of the expert over all
    images: the mean of shuffled labels), usage_random (1 / E), p (permutation test of usage against usage_all,
    two-sided), p_corrected (over all cells), dead, then entropy, nmi, nmi_ceiling, nmi_shuffled, nmi_random of the
    layer. `attrs` holds the definitions, experts, images, scenes, draws and seed.
    Arguments as for `layer_table`. Raises UserError as `as_routes`.
    """
    import pandas as pd

    routes = as_routes(traces, labels, scenes, experts)
    counts = routes.counts().sum(0)  # (K, L, E)
    drawn, mixed = chance.resampled(routes, draws, seed), chance.shuffled(routes, draws, seed)
    n_K11, every_LE = counts[:, :1].sum(-1, keepdims=True), counts.sum(0) / len(routes.path)
    usage = counts / n_K11
    total = drawn[..., :1, :].sum(-1, keepdims=True)
    shares = np.divide(drawn, total, out=np.full_like(drawn, np.nan), where=total > 0)
    low, high = interval(shares, routes.photographs()[:, None, None])
    away = np.abs(mixed / mixed[..., :1, :].sum(-1, keepdims=True) - every_LE)
    p = chance.p_values(np.abs(usage - every_LE), away)
    cells = {"n": n_K11.astype(int), "count": counts.astype(int), "usage": usage, "usage_low": low, "usage_high": high}
    cells |= {"usage_all": every_LE, "usage_random": 1 / routes.experts, "p": p, "p_corrected": corrected(p)}
    cells |= {"dead": every_LE < DEAD}
    k, layer, expert = (_by_layer(axis) for axis in np.indices(counts.shape))
    names, stages = np.array(routes.names, dtype=object), np.array(routes.stages(), dtype=object)
    table = pd.DataFrame({"layer": layer, "stage": stages[layer], "degradation": names[k], "expert": expert})
    table = table.assign(**{name: _by_layer(np.broadcast_to(cell, counts.shape)) for name, cell in cells.items()})
    layers = layer_table(routes.path, names[routes.label], scenes=routes.scene, experts=routes.experts, draws=draws,
                         seed=seed)  # fmt: skip
    table = table.merge(layers[["layer", "entropy", "nmi", "nmi_ceiling", "nmi_shuffled", "nmi_random"]], on="layer")
    table.attrs = {
        "nmi": "I(degradation; expert) / mean(H(degradation), H(expert)); ceiling from I <= min(H(degradation), ln E)",
        "entropy": "of an expert's share of all images, divided by ln E",
        "shuffled": f"degradations permuted {'within each photograph' if routes.linked() else 'among photographs'}",
        "random": "every expert with chance 1 / E at every layer",
        "correction": "false discovery rate, Benjamini and Hochberg",
        "experts": routes.experts,
        "images": len(routes.path),
        "scenes": int(routes.scene.max()) + 1,
        "draws": draws,
        "seed": seed,
    }
    return table


def _by_layer(cells_KLE: np.ndarray) -> np.ndarray:
    """One number per row of the table: layer by layer, then degradation, then expert."""
    return cells_KLE.transpose(1, 0, 2).ravel()


def path_table(traces, labels=None, *, scenes=None, experts=None, draws: int = DRAWS, seed: int = 0) -> DataFrame:
    """One row per degradation, the last one "all": its paths and their distances.

    Columns: degradation, n, distinct (different paths), usual (the path of more than half of its images; "" without
    one), top_share (of the images on its most frequent path), entropy (of whole paths, nats; at most ln n), within
    (mean Hamming distance of two of its images, in layers), within_low, within_high, between (of one of its images and
    one of another degradation), between_low, between_high. For "all", within is the distance of any two images,
    which shuffled labels would show, and between the mean over pairs of degradations.
    """
    import pandas as pd

    routes = as_routes(traces, labels, scenes, experts)
    counts, drawn = routes.counts().sum(0), chance.resampled(routes, draws, seed)
    near, near_drawn = hamming(counts), hamming(drawn)
    mean_K, mean_SK = (_off_diagonal_mean(x) for x in (near, near_drawn))
    pooled, pooled_drawn = (hamming(x.sum(-3, keepdims=True))[..., 0, 0] for x in (counts, drawn))
    fewest = routes.photographs().min()  # the distance between two degradations needs photographs of both
    photographs, rows = [*routes.photographs(), routes.scene.max() + 1], []
    for k, name in enumerate((*routes.names, "all")):
        members = routes.path[routes.label == k] if k < len(routes.names) else routes.path
        paths, times = np.unique(members, axis=0, return_counts=True)
        inside = (near[k, k], near_drawn[:, k, k]) if k < len(routes.names) else (pooled, pooled_drawn)
        outside = (mean_K[k], mean_SK[:, k]) if k < len(routes.names) else (_mean(mean_K), _mean(mean_SK))
        row = {"degradation": name, "n": len(members), "distinct": len(paths)}
        usual = chance.usual_route(members)
        row |= {"usual": "" if usual is None else path_digits(usual), "top_share": times.max() / len(members)}
        row["entropy"] = float(entropy(times[None].astype(float))[0])
        for key, (value, draws_S) in {"within": inside, "between": outside}.items():
            low, high = interval(draws_S, photographs[k] if key == "within" else fewest)
            row |= {key: float(value), f"{key}_low": float(low), f"{key}_high": float(high)}
        rows.append(row)
    return pd.DataFrame(rows)


def _off_diagonal_mean(distance: np.ndarray) -> np.ndarray:
    k = distance.shape[-1]
    return _mean(np.where(np.eye(k, dtype=bool), np.nan, distance))


def _mean(x: np.ndarray) -> np.ndarray:
    finite = np.isfinite(x)
    total, n = np.where(finite, x, 0).sum(-1), finite.sum(-1)
    return np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0)


def agreement(path_NL, other_NL, scenes=None, seed: int = 0) -> dict[str, tuple[float, float, float]]:
    """How far two routes of the same images agree: (mean, low, high) of the share of equal `layers` and whole `paths`.

    For example the routes of crops and of their whole images. By chance 1 / E of the layers agree.
    Intervals resample scenes. Raises UserError for shapes that differ.
    """
    a, b = np.asarray(path_NL), np.asarray(other_NL)
    if a.shape != b.shape:
        raise UserError(f"Routes to compare must be of the same images and layers; got {a.shape} and {b.shape}.")
    same = a == b
    return {
        "layers": chance.clustered_mean(same.mean(axis=1), scenes, seed=seed),
        "paths": chance.clustered_mean(same.all(axis=1), scenes, seed=seed),
    }
