"""Where the time of a training step goes, how fast the arithmetic is, and what bf16 gains, measured in one run.

    python benchmarks/train_profile.py [--recipe tiny] [--steps 12] [--threads 1] [--set train.batch=4] [--out x.json]
    python benchmarks/train_profile.py --recipe paper --stages C --set train.batch=1 --steps 2 --sustained 100

For a step of stage A and one of stage C (everything moves): samples per second; shares of data, forward, backward and
optimiser (clipping and averaging included); FLOP/s of the whole step, counted by torch, beside what one large 3x3
convolution reaches on this machine in the same minute. float32 and bf16 take turns, step by step, on the same batches;
both are channels_last, as everywhere in slerlib. Speeds of one machine under one load: read the ratios.

With --sustained T the arithmetic of a sample is multiplied up to the whole recipe, and divided by T TFLOP/s: how long a
GPU that keeps up that rate would take. An extrapolation, not a measurement; stages B and C count as equally slow.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from slerlib import config
from slerlib.data.sources import Sources
from slerlib.train.batches import batches, grids
from slerlib.train.precision import Precision
from slerlib.train.run import Run

PHASES = ("data", "forward", "backward", "optimiser")


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def ceiling(device: torch.device, dtype: torch.dtype, channels: int = 64, side: int = 64) -> float:
    """FLOP/s of a 3x3 convolution, 64 to 64 channels, forward and backward, best of 5."""
    layer = nn.Conv2d(channels, channels, 3, padding=1).to(device, dtype, memory_format=torch.channels_last)
    x = torch.rand(8, channels, side, side, device=device, dtype=dtype, requires_grad=True)
    x = x.to(memory_format=torch.channels_last)
    with FlopCounterMode(display=False) as counter:
        layer(x).sum().backward()
    best = float("inf")
    for _ in range(5):
        start = now(device)
        layer(x).sum().backward()
        best = min(best, now(device) - start)
    return counter.get_total_flops() / best


class Clock:
    """Seconds of each phase of a run's steps, taken by wrapping what does the work."""

    def __init__(self, run: Run, batch_number: int):
        self.run, self.number, self.spent = run, batch_number, {phase: [] for phase in (*PHASES, "step")}
        self.batches = (grids if batch_number < run.cfg.train.stage_steps()[0] else batches)(run.cfg, run.training)

    @contextlib.contextmanager
    def _wrapped(self, owner, name: str, phase: str, seconds: dict):
        inner = getattr(owner, name)

        def timed(*args, **kwargs):
            start = now(self.run.device)
            result = inner(*args, **kwargs)
            seconds[phase] += now(self.run.device) - start
            return result

        with mock.patch.object(owner, name, timed):
            yield

    def step(self) -> None:
        run, seconds = self.run, dict.fromkeys((*PHASES, "step"), 0.0)
        start = now(run.device)
        batch = self.batches[self.number]
        seconds["data"] = now(run.device) - start
        with contextlib.ExitStack() as stack:
            for owner, name, phase in (
                (run, "_losses", "forward"),
                (run.precision, "backward", "backward"),
                (run.precision, "clip", "optimiser"),
                (run.precision, "update", "optimiser"),
                (run, "_average", "optimiser"),
            ):
                stack.enter_context(self._wrapped(owner, name, phase, seconds))
            run.train_step(self.number, batch)
        seconds["step"] = now(run.device) - start
        for phase, value in seconds.items():
            self.spent[phase].append(value)

    def flops(self) -> int:
        batch = self.batches[self.number]
        with FlopCounterMode(display=False) as counter:
            self.run.train_step(self.number, batch)
        return counter.get_total_flops()


def profile(runs: dict[str, Run], step: int, steps: int, ceilings: dict[str, float]) -> dict:
    """Medians over `steps` steps of each run in turn, after 2 to warm up."""
    clocks = {name: Clock(run, step) for name, run in runs.items()}
    for _ in range(steps + 2):
        for clock in clocks.values():
            clock.step()
    result = {}
    for name, clock in clocks.items():
        medians = {phase: statistics.median(values[2:]) for phase, values in clock.spent.items()}
        total = clock.flops()
        flops = total / medians["step"]
        result[name] = {
            "seconds_per_step": medians["step"],
            "samples_per_second": clock.batches.size / medians["step"],
            "flop_per_sample": total / clock.batches.size,
            "shares": {phase: medians[phase] / medians["step"] for phase in PHASES},
            "flops_per_second": flops,
            "of_the_convolution": flops / ceilings[name],
        }
    return result


def recipe_flop(cfg: config.RunConfig, result: dict) -> float:
    """FLOP of the stages that were profiled, all their steps; B counts as C."""
    a, b, c = cfg.train.stage_steps()
    grid = cfg.train.grid_scenes * len(cfg.model.classes)
    samples = {"A": a * grid, "C": (b + c) * cfg.train.batch}
    return sum(samples[stage] * result[stage]["fp32"]["flop_per_sample"] for stage in samples if stage in result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--data", help="folder of photographs or pairs (default: the bundled photographs)")
    parser.add_argument("--stages", default="AC", choices=("AC", "A", "C"))
    parser.add_argument("--sustained", type=float, metavar="TFLOPS", help="extrapolate the recipe to such a processor")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cfg = config.with_overrides(config.recipe(args.recipe), ["train.upcycle=0", *args.set])
    device, sources = torch.device(args.device), Sources.of(args.data, **cfg.data.extras)
    ceilings = {name: ceiling(device, Precision(name, device).dtype) for name in ("fp32", "bf16")}
    result: dict = {"device": str(device), "threads": args.threads, "torch": torch.__version__, "convolution": ceilings}
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            name: Run(config.with_overrides(cfg, [f"train.precision={name}"]), sources, Path(folder), device)
            for name in ceilings
        }
        for stage, step in (("A", 0), ("C", cfg.train.steps - 1)):
            if stage not in args.stages:
                continue
            result[stage] = rows = profile(runs, step, args.steps, ceilings)
            for name, row in rows.items():
                shares = "  ".join(f"{phase} {share:4.0%}" for phase, share in row["shares"].items())
                print(
                    f"stage {stage} {name}: {row['seconds_per_step']:.2f} s/step  "
                    f"{row['samples_per_second']:6.1f} samples/s  {shares}  "
                    f"{row['flops_per_second'] / 1e9:6.1f} GFLOP/s, {row['of_the_convolution']:.0%} of the convolution"
                )
            gain = rows["bf16"]["samples_per_second"] / rows["fp32"]["samples_per_second"]
            print(f"stage {stage}: bf16 makes {gain:.2f} x the samples per second of fp32")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the process, both number formats together: {peak:.1f} GiB")
    if args.sustained:
        flop = recipe_flop(config.recipe(args.recipe), result)  # as it is, not with the batch of --set
        days = flop / args.sustained / 1e12 / 86400
        print(
            f"{args.recipe}, stages {args.stages}: {flop:.2e} FLOP, "
            f"{days:.1f} days at {args.sustained:g} TFLOP/s (extrapolated)"
        )
    print("convolution: " + ", ".join(f"{name} {value / 1e9:.0f} GFLOP/s" for name, value in ceilings.items()))
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
