"""Does the loader outrun the model? Images per second that it makes, and that a training step consumes.

    python benchmarks/loader.py [--data DIR] [--recipe tiny] [--threads 2] [--rounds 3] [--cache 2] [--out loader.json]

Loader and model take turns on the same processors, round by round, and a median over rounds is printed, so that what
else runs on the machine meets both. `ratio` is loader over model; 1.5 or more is asked for. `together` is a real run:
batches made and consumed at once, as images per second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from slerlib import config
from slerlib.data.decode import GIB
from slerlib.data.sources import Sources
from slerlib.train.run import Run

WORKERS = (0, 1, 2)


def first_steps(run: Run) -> dict[str, int]:
    """A step of stage A, and one of stage B after all experts have joined."""
    a, b, _ = run.cfg.train.stage_steps()
    return {"A": 0, "B": a + b // 2}


def made(run: Run, step: int, steps: int, workers: int) -> float:
    """Images per second of the loader alone; the start of the workers is not counted, its first batch is."""
    batches = iter(run.loader(step, workers))
    count = len(next(batches)["label"])
    start = time.perf_counter()
    count = sum(len(next(batches)["label"]) for _ in range(steps))
    return count / (time.perf_counter() - start)


def consumed(run: Run, step: int, batches: list[dict]) -> float:
    """Images per second of the model alone, batches in memory."""
    start = time.perf_counter()
    for n, batch in enumerate(batches):
        run.train_step(step + n, batch)
    return sum(len(batch["label"]) for batch in batches) / (time.perf_counter() - start)


def together(run: Run, step: int, steps: int, workers: int) -> float:
    batches = iter(run.loader(step, workers))
    run.train_step(step, next(batches))
    count, start = 0, time.perf_counter()
    for n in range(1, steps + 1):
        batch = next(batches)
        run.train_step(step + n, batch)
        count += len(batch["label"])
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--set", nargs="+", action="extend", default=[])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="of each kind in a round")
    parser.add_argument("--cache", type=float, default=2.0, help="GiB of decoded images")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cfg = config.with_overrides(config.recipe(args.recipe), args.set)
    start = time.perf_counter()
    sources = Sources.of(args.data, args.cache * GIB, **cfg.data.extras)
    result: dict = {"opened_seconds": round(time.perf_counter() - start, 1), "threads": args.threads}
    with tempfile.TemporaryDirectory() as folder:
        run = Run(cfg, sources, Path(folder), torch.device("cpu"))
        for stage, step in first_steps(run).items():
            ready = [batch for _, batch in zip(range(args.steps), run.loader(step, 0), strict=False)]
            consumed(run, step, ready[:2])  # warm
            speeds: dict = {"model": [], **{n: [] for n in WORKERS}, **{f"together {n}": [] for n in WORKERS}}
            for _ in range(args.rounds):
                speeds["model"].append(consumed(run, step, ready))
                for workers in WORKERS:
                    speeds[workers].append(made(run, step, args.steps, workers))
                    speeds[f"together {workers}"].append(together(run, step, args.steps, workers))
            median = {name: statistics.median(values) for name, values in speeds.items()}
            result[stage] = {str(name): round(value, 1) for name, value in median.items()}
            print(f"stage {stage}: {cfg.name} consumes {median['model']:.1f} images/s on {args.threads} thread(s)")
            for n in WORKERS:
                print(
                    f"  {n} worker(s): {median[n]:7.1f} images/s made, ratio {median[n] / median['model']:5.2f}, "
                    f"together {median[f'together {n}']:6.1f}"
                )
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
