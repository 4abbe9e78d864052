"""How fast restoration is, what guidance costs, and what importing costs.

    python benchmarks/speed.py [--threads 1] [--out speed.json]

Times are medians of `slerlib.restore` on a tensor; multiply-accumulates are counted, not estimated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from slerlib import SLERIR, config, parameter_counts, restore


def seconds(run, repeats: int = 5) -> float:
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def giga_macs(run) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2e9


def import_seconds(statement: str) -> float:
    """Best of 3 fresh interpreters."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    return min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    result: dict = {"threads": args.threads, "torch": torch.__version__}
    for name in ("tiny", "small"):
        net = SLERIR(config.recipe(name).model).eval().to(memory_format=torch.channels_last)
        rows = {}
        with torch.inference_mode():
            for side in (128, 256, 512):
                x = torch.rand(1, 3, side, side)
                rows[side] = {
                    "seconds": round(seconds(lambda net=net, x=x: restore(net, x, tile=0), 3 if side > 256 else 5), 4),
                    "giga_macs": round(giga_macs(lambda net=net, x=x: net(x)), 3),
                    "guidance_share": round(
                        giga_macs(lambda net=net, x=x: net.encode(x)) / giga_macs(lambda net=net, x=x: net(x)), 3
                    ),
                }
        result[name] = {"parameters": parameter_counts(net), "sides": rows}
        for side, row in rows.items():
            print(
                f"{name:6s} {side}x{side}: {row['seconds'] * 1e3:7.0f} ms, {row['giga_macs']:6.2f} GMAC, "
                f"encoder and fusion {row['guidance_share']:.1%} of it"
            )
    result["import_torch"] = import_seconds("import torch")
    result["import_slerlib_after_torch"] = import_seconds("import torch; t = time.perf_counter(); import slerlib")
    print(f"import torch {result['import_torch']:.2f} s, slerlib {result['import_slerlib_after_torch']:.2f} s on top")
    if args.out:
        with open(args.out, "w") as file:
            json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
