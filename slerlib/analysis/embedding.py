"""Maps of the sphere of degradations, and numbers that state how far to trust each map.

    xyz = slerlib.embed(traces, "umap_sphere")                     # (n, 3)
    sphere_map = make_map(traces, "umap_sphere")                   # the same points, anchors, pins and quality
    sphere_map.quality["trustworthiness"]; sphere_map.warnings

UMAP places all points in one fit: a map of some points differs from their part of the map of all points. Coordinates
repeat bit by bit within one installation only.
Legend: n points, D dimensions of the data, m of the map (2; 3 on a sphere), K anchors, L layers, E experts.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import provenance, sphere
from ..errors import UserError
from ..files import save_arrays, sha256_of
from ..model.router import Trace
from .chance import as_array, seeded_rows
from .store import Traces
from .trace import CachePath, cache_folder, keep

METHODS = ("pca", "umap_plane", "umap_sphere")
NEIGHBOURS = 15  # of umap, and of every quality number
FIT_LIMIT = 50_000  # most rows of a umap fit, drawn with a seed; one call of transform places the others
QUALITY_LIMIT = 2_000  # most rows, drawn with a seed, on which quality and stability are measured
SPHERE_STEP = 0.03  # learning rate in radians; umap's own, 1, moves points around the sphere and loses the start
SEEDS = 3  # fits compared for the stability
#: A map below one of these is drawn with a warning [ours]: about one neighbour in ten is near in the map or in the data
#: but not in both, or another seed gives another arrangement.
TRUSTED = {"trustworthiness": 0.9, "continuity": 0.9, "stability": 0.5}

Points = Traces | Trace | np.ndarray | Tensor | Sequence


@dataclass(frozen=True)
class Map:
    """The places of n points by one method, and how far to trust them."""

    points: np.ndarray  # (n, m) float32
    method: str
    seed: int | None
    anchors: np.ndarray | None = None  # (K, m)
    pins: np.ndarray | None = None  # (L, E, m)
    quality: dict[str, float] | None = None  # see `quality`

    @property
    def warnings(self) -> list[str]:
        """Reasons to distrust this map; an empty list where there is no reason."""
        if self.quality is None:
            return ["its quality was not measured"]
        numbers = {name: self.quality[name] for name in TRUSTED if name in self.quality}
        return [
            f"{name} {value:.2f} is below {TRUSTED[name]}" for name, value in numbers.items() if value < TRUSTED[name]
        ]


def embed(traces: Points, method: str = "pca", seed: int | None = 0) -> np.ndarray:
    """Coordinates of points in a map: (n, 2), or (n, 3) unit vectors for "umap_sphere".

    traces: `Traces`, a `Trace`, a list of either, pooled in one fit; or an (n, D) array or tensor.
    method: "pca" is immediate; "umap_plane" and "umap_sphere" take seconds, and half a minute the first time.
    seed: the same seed repeats the map on this machine, on one core; None uses all cores and does not repeat.
    Raises UserError for other methods and for points that are too few or not finite. No map preserves all distances:
    `make_map` measures how many neighbours stay neighbours.
    """
    return _fit(_rows(traces), method, seed)


def make_map(
    traces: Points, method: str = "pca", seed: int | None = 0, *, measure: bool = True, cache: CachePath = None
) -> Map:
    """`embed` with anchors and pins placed in the same fit, quality numbers, and a cache.

    traces: as in `embed`; anchors and pins come from the first `Traces`. measure: False skips the quality, which for
    umap takes two more fits. cache: as in `collect`; the key is a hash of points, method, seed and versions. A map
    without a seed does not repeat and is not cached.
    """
    rows = _rows(traces)
    first = traces[0] if isinstance(traces, list | tuple) else traces
    n, marks = len(rows), []
    if isinstance(first, Traces):
        marks = [first.anchors, first.pins.reshape(-1, first.pins.shape[-1])]
    pooled = np.concatenate([rows, *marks])
    use_cache = cache is not False and seed is not None
    file = cache_folder(cache) / f"map-{_key(pooled, method, seed, n, measure)}.npz" if use_cache else None
    points, numbers = _load(file) or (None, None)
    if points is None:
        points = _fit(pooled, method, seed)
        numbers = quality(rows, points[:n], method, seed) if measure else None
        keep(file, lambda path: _save(path, points, numbers or {}))
    if not marks:
        return Map(points[:n], method, seed, quality=numbers)
    k, shape = len(first.anchors), (*first.pins.shape[:2], points.shape[1])
    return Map(points[:n], method, seed, points[n : n + k], points[n + k :].reshape(shape), numbers)


def quality(rows: np.ndarray, points: np.ndarray, method: str, seed: int | None = 0) -> dict[str, float]:
    """How far to trust a map, in numbers from 0 to 1 (best). Nearness in the data is the cosine.

    trustworthiness: are neighbours in the map neighbours in the data (Venna & Kaski 2001)? continuity: are neighbours
    in the data neighbours in the map? neighbours_kept: share of the 15 nearest in the data that are among the 15
    nearest in the map. stability: 1 minus the Procrustes disparity between maps of different seeds, mean over pairs of
    3; not for PCA, which has no seed. Measured on at most 2000 rows, drawn with the seed 0.
    """
    from sklearn.manifold import trustworthiness

    chosen = seeded_rows(len(rows), QUALITY_LIMIT)
    rows, points = _unit(rows[chosen]), points[chosen]
    k = min(NEIGHBOURS, (len(rows) - 1) // 2)
    near, drawn = _nearest(rows, k), _nearest(points, k)
    share = np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(near, drawn, strict=True)])
    numbers = {
        "trustworthiness": float(trustworthiness(rows, points, n_neighbors=k)),
        "continuity": float(trustworthiness(points, rows, n_neighbors=k)),
        "neighbours_kept": float(share),
    }
    if method != "pca":
        maps = [points] + [_fit(rows, method, (seed or 0) + n) for n in range(1, SEEDS)]
        numbers["stability"] = float(np.mean([1 - _disparity(a, b) for a, b in combinations(maps, 2)]))
    return numbers


def align(x_nD: np.ndarray, to_nD: np.ndarray, others_mD: np.ndarray | None = None) -> np.ndarray:
    """`x` turned (and mirrored) until its rows are nearest to those of `to`; instead of `x`, `others` by the same turn.

    Orthogonal Procrustes (Schoenemann 1966).
    """
    from scipy.linalg import orthogonal_procrustes

    if x_nD.shape != to_nD.shape:
        raise UserError(f"Rows are aligned with their partners; got shapes {x_nD.shape} and {to_nD.shape}.")
    return (x_nD if others_mD is None else others_mD) @ orthogonal_procrustes(x_nD, to_nD)[0]


def compare_maps(
    stages: Sequence[Traces], method: str = "umap_sphere", seed: int | None = 0
) -> tuple[list[Map], np.ndarray]:
    """The same images in several networks or training steps, in one map: (a Map for each, degrees that each row moved).

    Every network has its own sphere in its own orientation. So each sphere is first turned onto the last one by its
    rows, and one fit then places all. The degrees are (stages, n): angle of each row to the same row of the last.
    Raises UserError for networks with different rows.
    """
    keys = ["scene", "label", "severity", "seed", "view"]
    last = stages[-1]
    for part in stages:
        if not part.table[keys].equals(last.table[keys]):
            raise UserError(
                "Networks are compared on the same images in the same order; the rows of these traces differ. Collect "
                "both with the same Grid and views."
            )
    turned = [align(part.embedding, last.embedding) for part in stages]
    anchors = [align(part.embedding, last.embedding, part.anchors) for part in stages]
    points = _fit(np.concatenate([*turned, *anchors]), method, seed)
    numbers = quality(np.concatenate(turned), points[: len(stages) * len(last)], method, seed)
    n = len(last)
    after = np.split(points[len(stages) * n :], np.cumsum([len(part) for part in anchors])[:-1])
    maps = [Map(points[i * n : (i + 1) * n], method, seed, after[i], None, numbers) for i in range(len(stages))]
    there = sphere.normalise(torch.from_numpy(last.embedding))
    moved = [sphere.angle(sphere.normalise(torch.from_numpy(part)), there).numpy() for part in turned]
    return maps, np.stack(moved)


def _fit(rows: np.ndarray, method: str, seed: int | None) -> np.ndarray:
    """(n, D) -> (n, m) float32."""
    if method not in METHODS:
        raise UserError(f"method is one of {', '.join(METHODS)}; got {method!r}. Start with 'pca'.")
    if method == "pca":
        from sklearn.decomposition import PCA

        return PCA(2, svd_solver="full").fit_transform(rows).astype(np.float32)
    chosen = seeded_rows(len(rows), FIT_LIMIT)
    options = {}
    if method == "umap_sphere":
        options = {"output_metric": "haversine", "init": _sphere_start(rows[chosen]), "learning_rate": SPHERE_STEP}
    with warnings.catch_warnings():  # umap and numba warn about their own code
        warnings.simplefilter("ignore")
        import umap

        options |= {"n_neighbors": min(NEIGHBOURS, len(chosen) - 1), "metric": "cosine"}
        reducer = umap.UMAP(random_state=seed, n_jobs=-1 if seed is None else 1, **options).fit(rows[chosen])
        points = np.empty((len(rows), 2), dtype=np.float32)
        points[chosen] = reducer.embedding_
        rest = np.setdiff1d(np.arange(len(rows)), chosen)
        if len(rest):
            points[rest] = reducer.transform(rows[rest])
    if method == "umap_plane":
        return points
    # umap's haversine reads coordinate 0 as the angle from the pole; both angles may exceed one turn
    colatitude, longitude = torch.from_numpy(points.astype(np.float64)).unbind(1)
    return sphere.to_xyz(colatitude, longitude).numpy().astype(np.float32)


def _sphere_start(rows: np.ndarray) -> np.ndarray:
    """(n, 2) colatitude and longitude of the first three principal components, for umap to start from.

    Umap scales any start to 0..10 along each axis, which would turn it more than once around the sphere. So one row of
    each axis gets an equivalent angle that is 10 larger than the smallest one (colatitude 10 is the place of colatitude
    4 pi - 10, half a turn further). The start then has the range 10, and umap only shifts it.
    """
    from sklearn.decomposition import PCA

    parts = PCA(min(3, rows.shape[1]), svd_solver="full").fit_transform(rows)
    xyz = _unit(np.pad(parts, ((0, 0), (0, 3 - parts.shape[1]))))
    colatitude, longitude = (a.numpy() for a in sphere.to_angles(torch.from_numpy(xyz.astype(np.float64))))
    colatitude[colatitude.argmin()] = 0
    far = np.abs(colatitude - (4 * np.pi - 10)).argmin()
    colatitude[far], longitude[far] = 10, longitude[far] + np.pi
    least = longitude.argmin()
    apart = np.abs(longitude - (longitude[least] + 10 - 2 * np.pi))
    apart[[least, far]] = np.inf
    longitude[apart.argmin()] = longitude[least] + 10
    return np.stack([colatitude, longitude], axis=1)


def _rows(traces: Points) -> np.ndarray:
    """(n, D) float32 of anything that `embed` takes."""
    if isinstance(traces, list | tuple) and traces and isinstance(traces[0], Traces | Trace):
        rows = np.concatenate([as_array(part.embedding) for part in traces])
    else:
        rows = as_array(traces.embedding if isinstance(traces, Traces | Trace) else traces)
    rows = rows.astype(np.float32, copy=False)
    if rows.ndim != 2 or len(rows) < 5 or rows.shape[1] < 2:
        raise UserError(f"A map needs at least 5 points of 2 or more numbers, (n, D); got {rows.shape}. Add images.")
    if not np.isfinite(rows).all():
        raise UserError("A map needs finite points; these hold NaN or infinity. Find where they come from.")
    return rows


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _nearest(points: np.ndarray, k: int) -> np.ndarray:
    """(n, k) row numbers of the nearest others. On a sphere the chord gives the same order as the angle."""
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False)


def _disparity(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.spatial import procrustes

    return procrustes(a.astype(np.float64), b.astype(np.float64))[2]


def _key(*parts) -> str:
    total = hashlib.sha256("".join(map(sha256_of, (__file__, sphere.__file__))).encode())
    total.update(str(provenance.versions(("numpy", "scikit-learn", "umap-learn"))).encode())
    for part in parts:
        total.update(np.ascontiguousarray(part).data if isinstance(part, np.ndarray) else f"|{part}".encode())
    return total.hexdigest()[:24]


def _load(file: Path | None) -> tuple[np.ndarray, dict[str, float] | None] | None:
    """Points and quality of a cached map; None without one, and with a warning for a damaged one."""
    if file is None or not file.is_file():
        return None
    try:
        with open(file, "rb") as handle, np.load(handle, allow_pickle=False) as arrays:
            return arrays["points"], dict(zip(arrays["names"].tolist(), arrays["values"].tolist(), strict=True)) or None
    except Exception as error:  # zipfile, numpy and zlib each have their own for a damaged file
        warnings.warn(f"The cached map {file} is damaged ({error}); it is made again.", stacklevel=3)
        return None


def _save(file: Path, points: np.ndarray, numbers: dict[str, float]) -> None:
    save_arrays(file, points=points, names=np.array(list(numbers)), values=np.array(list(numbers.values())))
