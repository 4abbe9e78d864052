"""Restoring with and without the fast way of the layers at each pixel (model/pointwise.py), interleaved in one run.

    python benchmarks/pointwise.py [--checkpoints tiny small] [--side 512] [--pairs 7] [--threads 1] [--json out.json]

Processor time, so that other work on the machine counts less; the figure is the median of the ratios of pairs.
"""

import argparse
import json
import statistics
import time

import torch

import slerlib
from slerlib.data.scenes import photographs
from slerlib.inference.restore import restore_batch
from slerlib.model import pointwise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", nargs="+", default=["tiny", "small"])
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    scene = max(photographs(), key=lambda one: min(one.image.shape[1:])).image
    x_BCHW, here, rows = scene[None, :, : args.side, : args.side].contiguous(), pointwise._here, []

    def timed(net, way) -> tuple[float, torch.Tensor]:
        pointwise._here = way
        start = time.process_time()
        y_BCHW, _ = restore_batch(net, x_BCHW)
        return time.process_time() - start, y_BCHW

    for name in args.checkpoints:
        net = slerlib.load(name, "cpu")
        for way in (here, lambda: False):
            timed(net, way)
        pairs = [(timed(net, lambda: False), timed(net, here)) for _ in range(args.pairs)]
        ratios = sorted(slow[0] / quick[0] for slow, quick in pairs)
        difference = 255 * (pairs[0][0][1] - pairs[0][1][1]).abs().max().item()
        row = {"checkpoint": name, "slow_s": statistics.median(slow[0] for slow, _ in pairs)}
        row |= {"fast_s": statistics.median(quick[0] for _, quick in pairs), "ratio": statistics.median(ratios)}
        row |= {"lowest": ratios[0], "highest": ratios[-1], "difference_255": difference}
        rows.append(row)
        times, span = f"{row['slow_s']:.3f} s and {row['fast_s']:.3f} s", f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        print(f"{name}: {times} of processor time, {row['ratio']:.2f} times as fast ({span})", end="; ")
        print(f"largest difference {difference:.1e}/255", flush=True)
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"side": args.side, "threads": args.threads, "torch": torch.__version__, "rows": rows}, file)


if __name__ == "__main__":
    main()
