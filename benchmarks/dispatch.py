"""Does choosing an expert cost time? 3 experts against the same network with 1, in interleaved pairs.

    python benchmarks/dispatch.py [--recipe small] [--side 128] [--pairs 15] [--batches 1 8] [--out dispatch.json]

Batches of 1 and 8 (on a GPU also 32), every image on its own random path (`path=`; both networks do the same guidance
work). The figure is the median of the pairwise ratios. Also: the memory that the unused experts occupy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from slerlib import SLERIR, config


def now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(run, device: str) -> float:
    start = now(device)
    run()
    return now(device) - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--batches", type=int, nargs="+")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out")
    args = parser.parse_args()
    batches = args.batches or ((1, 8, 32) if args.device.startswith("cuda") else (1, 8))
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    cfg = config.recipe(args.recipe)
    nets = {
        experts: SLERIR(config.with_overrides(cfg, [f"model.experts={experts}"]).model)
        .eval()
        .to(args.device, memory_format=torch.channels_last)
        for experts in (1, 3)
    }
    megabytes = {e: sum(p.numel() * p.element_size() for p in net.parameters()) / 2**20 for e, net in nets.items()}
    about = {"recipe": args.recipe, "side": args.side, "device": args.device, "threads": args.threads}
    result: dict = about | {"weights_MiB": megabytes}
    with torch.inference_mode():
        for batch in batches:
            x = torch.rand(batch, 3, args.side, args.side, device=args.device)
            for net in nets.values():
                net(x)
            ratios, dense = [], []
            for pair in range(args.pairs):
                path = torch.randint(3, (batch, 8), device=args.device)
                runs = {1: lambda x=x: nets[1](x), 3: lambda x=x, path=path: nets[3](x, path=path)}
                order = (1, 3) if pair % 2 else (3, 1)
                times = {e: timed(runs[e], args.device) for e in order}
                ratios.append(times[3] / times[1])
                dense.append(times[1])
            quartiles = statistics.quantiles(ratios, n=4)
            row = {"ratio": quartiles[1], "quartiles": quartiles, "dense_seconds": statistics.median(dense)}
            result[f"batch_{batch}"] = row
            print(
                f"{args.recipe} {args.side}x{args.side} batch {batch}: 3 experts: {quartiles[1]:.3f} x the time of 1 "
                f"(quartiles {quartiles[0]:.3f} to {quartiles[2]:.3f}, {args.pairs} pairs, "
                f"dense {statistics.median(dense) * 1e3:.0f} ms)"
            )
    print(f"weights in memory: {megabytes[3]:.1f} MiB with 3 experts, {megabytes[1]:.1f} MiB with 1")
    if args.out:
        with open(args.out, "w") as file:
            json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
