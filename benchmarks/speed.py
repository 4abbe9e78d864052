"""How fast restoring is beside plain networks of the same blocks, and what seeing costs. All in one run, in turn.

    python benchmarks/speed.py [--side 512] [--rounds 7] [--threads 1] [--recipes tiny small] [--set KEY=VALUE ...]
                               [--bf16] [--out speed.json]

The plain networks are the U-Net alone, of the same width and depth: one expert, no encoder, no guide map; of NAF blocks
(a NAFNet) and of Restormer blocks. Times are processor time, ratios are medians over rounds, so that other work on the
machine falls on all alike. The ceiling is the best of some 3 x 3 convolutions in the same rounds; multiply-accumulates
are counted. Weights are random, with every scale of a residual at 1: time does not depend on them.
--set: of the configuration, such as model.stem_blocks=1, as a further network. --bf16: each also with bfloat16 weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from slerlib import SLERIR, config
from slerlib.inference.restore import restore_batch

CEILING = ((16, 1), (32, 2), (64, 4), (128, 8), (256, 8))  # channels, and the side of the picture over that of the map


def network(recipe: str, changes: list[str], dtype: torch.dtype = torch.float32) -> SLERIR:
    torch.manual_seed(0)
    net = SLERIR(config.with_overrides(config.recipe(recipe), changes).model).eval()
    for name, parameter in net.named_parameters():
        if name.endswith((".beta", ".gamma")):
            torch.nn.init.ones_(parameter)
    return net.to(dtype=dtype, memory_format=torch.channels_last)


def plain(recipe: str, block: str) -> Callable:
    """The U-Net alone."""
    net = network(recipe, ["model.experts=1", "model.inject=none", f"model.block={block}"])
    trace = net.router.route(torch.zeros(1, net.cfg.embedding))
    return lambda x: net.backbone(x, None, trace, reroute=False)


def convolution(channels: int, side: int) -> Callable:
    x = torch.rand(1, channels, side, side).to(memory_format=torch.channels_last)
    weight = torch.rand(channels, channels, 3, 3).to(memory_format=torch.channels_last)
    return lambda _: F.conv2d(x, weight, padding=1)


def giga_macs(run: Callable, x: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        run(x)
    return counter.get_total_flops() / 2e9


def measured(runs: dict[str, Callable], x: torch.Tensor, rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each, in turn; the order turns round."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in list(runs.items())[:: 1 if number % 2 else -1]:
            start = time.process_time()
            run(x)
            if number:  # the first is a warm-up
                times[name].append(time.process_time() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--recipes", nargs="+", default=["tiny", "small"])
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    x = torch.rand(1, 3, args.side, args.side)
    result = {"side": args.side, "threads": args.threads, "torch": torch.__version__}
    for recipe in args.recipes:
        nets = {recipe: network(recipe, [])}
        if args.set:
            nets[f"{recipe} {' '.join(args.set)}"] = network(recipe, args.set)
        if args.bf16:
            nets[f"{recipe} bfloat16"] = network(recipe, [], torch.bfloat16)
        runs = {"plain NAFNet": plain(recipe, "naf"), "plain Restormer": plain(recipe, "restormer")}
        for name, net in nets.items():
            runs[name] = lambda x, net=net: restore_batch(net, x, tile=0)
            runs[f"{name}: encoder and GLGF"] = lambda x, net=net: net.encode(x)
        ceiling = {f"3 x 3, {c}": convolution(c, args.side // part) for c, part in CEILING}
        with torch.no_grad():  # the counter does not know the ways of inference mode
            macs = {name: giga_macs(nets.get(name, run), x) for name, run in (runs | ceiling).items()}
        with torch.inference_mode():
            times = measured(runs | ceiling, x, args.rounds)
        speed = {name: macs[name] / statistics.median(values) for name, values in times.items()}
        best = max(speed[name] for name in ceiling)
        print(f"{recipe}, {args.side} x {args.side}; ceiling {best:.1f} GMAC/s of processor time")
        rows = {}
        for name in runs:
            ratios = sorted(a / b for a, b in zip(times[name], times["plain NAFNet"], strict=True))
            rows[name] = {
                "seconds": statistics.median(times[name]),
                "giga_macs": macs[name],
                "of_ceiling": speed[name] / best,
            }
            rows[name] |= {"to_plain_nafnet": [statistics.median(ratios), ratios[0], ratios[-1]]}
            whole = name.removesuffix(": encoder and GLGF")
            share = statistics.median(a / b for a, b in zip(times[name], times[whole], strict=True))
            rows[name] |= {"share": share} if whole != name else {}
            text = (
                f"{rows[name]['seconds'] * 1e3:7.0f} ms {macs[name]:6.2f} GMAC {speed[name] / best:5.0%} of the ceiling"
            )
            text += f", {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) x plain NAFNet"
            print(f"  {name:32}{text}{f', {share:.0%} of the whole' if whole != name else ''}", flush=True)
        result[recipe] = {"ceiling_gmac_s": best, "rows": rows}
    if args.out:
        args.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
