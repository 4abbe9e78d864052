"""Trained on synthesis, scored on real pairs: the same training with and without real pairs, on pairs it did not see.

    python benchmarks/real_share.py --data DIR --val ROOT --out runs/real_share [--steps 600] [--shares 0 0.35]

Stages B and C go on from the same weights once for each data.real_share, with equal steps; every other value is the
same. The test pairs below --val are scored as `slerlib eval --setting pairs` does. Means over the images of a task with
95 % bootstrap intervals; `gain` pairs each training with the first share, image by image. What is in --out is not
trained again.
"""

import argparse
import json
import math
from pathlib import Path

import torch

from slerlib import checkpoint, config, evaluate, load
from slerlib.data.sources import Sources
from slerlib.evaluation.metrics import bootstrap_interval, with_interval
from slerlib.files import write_atomic
from slerlib.train import loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True, help="test sets of pairs; photographs among them cost time")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", default="tiny")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--shares", type=float, nargs="+", default=(0.0, 0.35))
    parser.add_argument("--tasks", nargs="+", default=("rain", "haze", "lowlight", "blur"))
    parser.add_argument("--set", nargs="+", action="extend", default=[], help="further values of the recipe tiny")
    args = parser.parse_args()
    torch.set_num_threads(1)
    extras = config.with_overrides(config.recipe("tiny"), args.set).data.extras
    sources, result, first = Sources.of(args.data, **extras), {}, None
    fixed = [f"train.steps={args.steps}", "train.stage_a=0", "train.stage_c=0.2", "train.upcycle=0"]
    fixed += ["train.exploration=0", "train.lr=1.5e-3", "train.save_every=1000000", *args.set]
    for share in args.shares:
        out = args.out / f"share_{share:g}"
        if not (out / checkpoint.STATE).is_file():
            cfg = config.with_overrides(config.recipe("tiny"), [*fixed, f"data.real_share={share}"])
            loop.train(cfg, sources, out, init=args.init)
        table = scored(out, args.val, args.tasks)
        first = table if first is None else first
        result[f"share {share:g}"] = shown(f"share {share:g}", table, first, args.tasks)
    result["start"] = shown("start", scored(args.init, args.val, args.tasks), first, args.tasks)
    write_atomic(args.out / "real_share.json", (json.dumps(result, indent=1) + "\n").encode())


def scored(checkpoint_: str | Path, root: Path, tasks):
    """One row per pair of these tasks."""
    table = evaluate(load(checkpoint_), root, "pairs")
    return table[table.task.isin(tasks)].reset_index(drop=True)


def shown(name: str, table, first, tasks) -> dict[str, dict]:
    """Print and return the means of each task."""
    result = {}
    for task in tasks:
        rows = table.task == task
        row = {"n": int(rows.sum()), "psnr_input": round(table.psnr_input[rows].mean(), 3)}
        scores = {"psnr": table.psnr[rows], "gain": (table.psnr - first.psnr)[rows]}
        scores = {key: bootstrap_interval(values) for key, values in scores.items()}
        result[task] = row | {key: rounded(score) for key, score in scores.items()}
        spans = "  ".join(f"{key} {with_interval(*score)}" for key, score in scores.items())
        print(f"{task:9s} {name:12s} n {row['n']:3d}  input {row['psnr_input']:.2f}  {spans}", flush=True)
    return result


def rounded(score) -> list[float | None]:
    """Mean, low, high; None for bounds that too few images do not give."""
    return [round(x, 3) if math.isfinite(x) else None for x in score]


if __name__ == "__main__":
    main()
