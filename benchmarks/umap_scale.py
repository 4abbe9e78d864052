"""How long does UMAP take for many points? Plane, in parallel and seeded, and more points than are fitted at once.

    python benchmarks/umap_scale.py [--points 50000] [--large 200000] [--threads 2] [--out umap_scale.json]

The points stand in for embeddings: unit vectors of 64 dimensions in 8 clusters around the corners of a simplex, 25
degrees from them on average (images and crops of `tiny` lie 24 degrees from their anchors). "parallel" is
`embed(..., seed=None)`, "seeded" repeats bit by bit and runs on one core, "large" fits 50,000 points in parallel and
places the others. A small fit before the clock starts leaves out most of what numba compiles. Printed are wall time,
processor time of all threads, and the trustworthiness on the 2,000 points that `quality` would draw.
"""

from __future__ import annotations

import argparse
import json
import os
import time


def clusters(n: int):
    """(n, 64) float32 unit vectors."""
    import torch

    from slerlib import sphere

    generator = torch.Generator().manual_seed(0)
    centre_nD = sphere.simplex(8, 64).float()[torch.randint(8, (n,), generator=generator)]
    return sphere.normalise(centre_nD + 0.06 * torch.randn(n, 64, generator=generator)).numpy()


def timed(points, seed: int | None) -> dict[str, float]:
    from sklearn.manifold import trustworthiness

    import slerlib
    from slerlib.analysis import chance, embedding

    wall, processor = time.perf_counter(), time.process_time()
    drawn = slerlib.embed(points, "umap_plane", seed)
    row = {"points": len(points), "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - processor}
    chosen = chance.seeded_rows(len(points), embedding.QUALITY_LIMIT)
    row["trustworthiness"] = trustworthiness(points[chosen], drawn[chosen], n_neighbors=embedding.NEIGHBOURS)
    return {name: round(float(value), 3) for name, value in row.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--large", type=int, default=200_000, help="0 to leave it out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out")
    args = parser.parse_args()
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):  # read when numba and BLAS load
        os.environ[name] = str(args.threads)
    timed(clusters(500), None)
    timed(clusters(500), 0)
    runs = {"parallel": (args.points, None), "seeded": (args.points, 0), "large": (args.large, None)}
    result = {"threads": args.threads}
    for name, (n, seed) in runs.items():
        if n:
            result[name] = row = timed(clusters(n), seed)
            print(f"{name}: {row['points']:,.0f} points, {row['wall_s']:.0f} s wall, {row['cpu_s']:.0f} s processor, "
                  f"trustworthiness {row['trustworthiness']:.2f}", flush=True)  # fmt: skip
    if args.out:
        with open(args.out, "w") as file:
            json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
