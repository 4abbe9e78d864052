"""What a training on own pairs gains on held-out pairs, and what it costs the tasks that the weights could before.

    python benchmarks/finetune.py runs/scanner --pairs scanner/test --photographs photos --images 12 --out gain.json

runs/scanner: the fine-tuned checkpoint; --init: the weights it started from. --pairs: pairs that were not trained on.
--photographs: clean photographs that neither training has seen, degraded in every class of the weights (severity 0.5).
Both networks restore the same images, so the differences are paired; intervals are 95 % bootstraps over photographs.
On a laptop some minutes for 12 photographs with `tiny`; a GPU is used where there is one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import slerlib
from slerlib.evaluation.metrics import bootstrap_interval, with_interval
from slerlib.files import write_atomic


def differences(before, after, column: str = "psnr"):
    """Rows (task, image) of both tables side by side, with `gain` = after - before in dB."""
    keys = ["dataset", "task", "image"]
    both = before[[*keys, column]].merge(after[[*keys, column]], on=keys, suffixes=("_before", "_after"))
    both["gain"] = both[f"{column}_after"] - both[f"{column}_before"]
    return both


def line(name: str, gains: np.ndarray, before: float, after: float) -> dict:
    gain = bootstrap_interval(gains)
    print(f"{name:12s} {before:6.2f} -> {after:6.2f} dB   {with_interval(*gain, '+.3f')} dB, n = {len(gains)}")
    return {"name": name, "before": before, "after": after, "gain": gain, "n": len(gains)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="the fine-tuned weights")
    parser.add_argument("--init", default="tiny", help="the weights it started from (default: tiny)")
    parser.add_argument("--pairs", required=True, help="held-out pairs of the own class")
    parser.add_argument("--photographs", default="demo", help="clean photographs (default: the bundled ones)")
    parser.add_argument("--images", type=int, default=12, help="photographs (default: 12)")
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    args = parser.parse_args()
    nets = [slerlib.load(name) for name in (args.init, args.checkpoint)]
    own = differences(*(slerlib.evaluate(net, args.pairs, "pairs") for net in nets))
    old = differences(*(slerlib.evaluate(net, args.photographs, "demo", images=args.images) for net in nets))
    rows = [line("own pairs", own.gain.to_numpy(), own.psnr_before.mean(), own.psnr_after.mean())]
    for task, part in old.groupby("task", sort=False):
        rows.append(line(task, part.gain.to_numpy(), part.psnr_before.mean(), part.psnr_after.mean()))
    means = old.groupby("image").mean(numeric_only=True)  # over the tasks of a photograph
    rows.append(line("old tasks", means.gain.to_numpy(), means.psnr_before.mean(), means.psnr_after.mean()))
    if args.out:
        write_atomic(args.out, json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
