"""SLER-IR against its baselines at an equal small budget: the comparison of docs/LOG.md.

    python benchmarks/equal_budget.py --data DIR --val DIR --out runs/equal_budget [--seed 0] [--steps 1500]

Stage A runs once (it is the same for all: the encoder does not depend on the experts); each variant goes on from it.
The dense variants get as many more steps as a step with three experts takes longer (processor time of interleaved
steps, measured here; --ratio skips that), so that minutes are equal; `dense_steps` gets equal steps. What is in --out
is not trained again.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

import slerlib
from slerlib import config
from slerlib.data.sources import Sources
from slerlib.train import checkpoint, loop, resuming

VARIANTS = {
    "sler": [],
    "dense": ["model.experts=1"],
    "dense_steps": ["model.experts=1"],
    "labels": ["model.router=oracle"],
    "sler_without_guide": ["model.inject=none"],
    "dense_without_guide": ["model.experts=1", "model.inject=none"],
}
UPSTREAM = ("encoder", "glgf", "router")


def configured(args, steps: int, overrides: list[str]) -> config.RunConfig:
    total = args.stage_a + steps
    common = [f"train.steps={total}", f"train.stage_a={args.stage_a / total}", f"train.stage_c={0.2 if steps else 0}"]
    common += [f"train.seed={args.seed}", f"train.lr={args.lr}", "train.save_every=1000000"]
    return config.with_overrides(config.recipe("tiny"), common + overrides)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stage-a", type=int, default=600)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--ratio", type=float, help="time of a run with 3 experts over one with 1 (default: measured)")
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--images", type=int, default=0, help="of the validation folder; 0 = all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    photographs = Sources.of(args.data)
    first = args.out / "stage_a"
    if not (first / checkpoint.WEIGHTS).is_file():
        loop.train(configured(args, 0, []), photographs, first, resume=(first / checkpoint.STATE).is_file())
    encoder = checkpoint.load_net(first)[0].state_dict()

    longer = args.ratio or measured_ratio(args, photographs)
    for name in args.variants:
        out = args.out / name
        equal_minutes = "dense" in name and name != "dense_steps"
        cfg = configured(args, round(args.steps * (longer if equal_minutes else 1)), VARIANTS[name])
        if not (out / checkpoint.STATE).is_file():
            begin(cfg, photographs, out, encoder, args.stage_a)
        if checkpoint.load_net(out)[1]["steps_done"] < cfg.train.steps:
            loop.train(cfg, photographs, out, resume=True)
        table = slerlib.evaluate(slerlib.load(out), args.val, images=args.images)
        slerlib.save_results(table, out / "results.json")
        print(f"\n{name}\n{slerlib.summary(table).round(3).to_string(index=False)}", flush=True)
        if name == "sler":
            modal = slerlib.evaluate(slerlib.load(out), args.val, images=args.images, path=slerlib.modal_paths(table))
            slerlib.save_results(modal, out / "results_modal_paths.json")
            print(f"\n{name} on modal paths\n{slerlib.summary(modal).round(3).to_string(index=False)}", flush=True)


def measured_ratio(args, photographs, pairs: int = 20) -> float:
    """Processor time of a whole run of stages B and C with three experts over that of a dense one."""
    runs = [
        loop.Run(configured(args, args.steps, VARIANTS[name]), photographs, args.out, torch.device("cpu"))
        for name in ("sler", "dense")
    ]
    upcycled = runs[0].upcycle_steps
    first = args.stage_a + upcycled
    batches, seconds = runs[0].loader(first, 0), ([], [])
    for step, batch in zip(range(first, first + pairs + 2), batches, strict=False):
        for run, spent in zip(runs, seconds, strict=True):
            start = time.process_time()
            run.train_step(step, batch)
            spent.append(time.process_time() - start)
    step_ratio = statistics.median(a / b for a, b in zip(*(spent[2:] for spent in seconds), strict=True))
    alone = upcycled / args.steps  # one expert runs in these steps: no longer than a dense step
    ratio = alone + (1 - alone) * step_ratio
    print(f"a step with 3 experts takes {step_ratio:.3f} x a dense one, a run of {args.steps} steps {ratio:.3f} x")
    return ratio


def begin(cfg: config.RunConfig, photographs, out: Path, encoder: dict, step: int) -> None:
    """Write the state of a run that has just finished stage A with this encoder, its anchors and pins."""
    run = loop.Run(cfg, photographs, out, torch.device("cpu"))
    for net in (run.net, run.ema):
        own = net.state_dict()
        shared = {k: v for k, v in encoder.items() if k in own and k.split(".")[0] in UPSTREAM}
        net.load_state_dict({**own, **shared})
    run.step, run.anchored = step, True
    out.mkdir(parents=True, exist_ok=True)
    resuming.save(run, step)


if __name__ == "__main__":
    main()
