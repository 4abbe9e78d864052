"""The options --grid, --workers and --cluster of `slerlib report` and `slerlib ablate`."""

from __future__ import annotations


def of_ablate(args) -> bool:
    """Whether several trainings run at a time; takes variants and seeds from --grid."""
    from ..grid import combinations

    if args.grid:
        if args.names:
            args.refuse(f"variants stand before or in --grid; got {' '.join(args.names)} and a grid")
        cells = combinations(args.grid, {"variant", "seed"})
        args.names = list(dict.fromkeys(cell["variant"] for cell in cells if "variant" in cell))
        seeds = list(dict.fromkeys(cell["seed"] for cell in cells if "seed" in cell))
        if bad := [seed for seed in seeds if not seed.isdecimal()]:
            args.refuse(f"a seed is a whole number of 0 or more; got {', '.join(bad)}")
        args.seeds = list(map(int, seeds)) or args.seeds
    return bool(args.grid or args.workers or args.cluster is not None)


def workers(args):
    """A function that makes the workers of a grid, to be called once its settings are checked."""

    def make():
        from ..grid import Cluster, Local

        return Local(args.workers or 1) if args.cluster is None else Cluster(args.cluster or None, args.workers or 1)

    return make
