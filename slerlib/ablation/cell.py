"""One part of a suite of ablations in a process of its own, which `grid.py` starts.

    python -m slerlib.ablation.cell OUT KIND VARIANT SEED

KIND: stage_a trains stage A; steps measures how many steps are as long as those of SLER-IR; train trains and scores.
What to do is in OUT/cells/suite.json, results are written beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from ..data.sources import Sources
from ..files import read_json, write_atomic
from .run import equal_steps, scored, stage_a
from .variants import VARIANTS, Budget

CELLS, SUITE = "cells", "suite.json"


def main(out: Path, kind: str, name: str, seed: int) -> None:
    """Do the part, and write its result as the last thing."""
    place = out / CELLS
    suite = read_json(place / SUITE, "A suite", ("data", "val", "budget", "threads", "steps"))
    torch.set_num_threads(suite["threads"])
    budget, sources, variant = Budget(**suite["budget"]), Sources.of(suite["data"]), VARIANTS[name]
    if kind == "stage_a":
        stage_a(variant, seed, budget, sources, out)
    elif kind == "steps":
        result = {"steps": equal_steps(variant, budget, sources, out)}
        write_atomic(result_file(out, kind, name, seed), json.dumps(result))
    else:
        measured = result_file(out, "steps", name, 0)
        steps = read_json(measured, "A count of steps", ["steps"])["steps"] if measured.is_file() else None
        val = suite["val"] if suite["val"] == "demo" else Path(suite["val"])
        rows = scored(name, seed, budget, sources, val, out, suite["steps"].get(name, steps))
        write_atomic(result_file(out, kind, name, seed), rows.to_csv(index=False))


def result_file(out: Path, kind: str, name: str, seed: int) -> Path:
    """Where a part leaves its result."""
    return out / CELLS / (f"{name}.steps.json" if kind == "steps" else f"{name}-{seed}.csv")


if __name__ == "__main__":
    folder, *words, number = sys.argv[1:]
    main(Path(folder), *words, int(number))
