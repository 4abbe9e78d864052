"""Composites as training targets: do they come to lie between the anchors of their degradations, and at what price?

    python benchmarks/composites.py --data DIR --val PHOTOGRAPHS --out runs/composites [--steps 400] [--shares 0 0.2]

Stage A goes on from the same weights once for each data.composite_share, with equal steps. On photographs that the
training did not see, at severity 0.5: the angle of each composite to its target (normalised sum of its anchors), its
distance to the nearest single anchor, and how often an image of one class lies nearest to its own anchor. Means over
photographs with 95 % bootstrap intervals; `change` pairs the same images before and after. What is in --out is not
trained again.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from slerlib import checkpoint, config, load, sphere
from slerlib.analysis.trace import Grid, collect
from slerlib.data.sources import Sources
from slerlib.evaluation.metrics import bootstrap_interval, with_interval
from slerlib.files import write_atomic
from slerlib.train import loop

MIXTURES = ("haze+rain", "lowlight+noise25", "rain+blur", "haze+rain+noise15")


def measured(model, root: Path) -> dict[str, np.ndarray]:
    """One array over the photographs for each number: "angle rain+blur", "nearest rain+blur", "accuracy rain"."""
    names = model.router.names
    traces = collect(model, Grid(str(root), tasks=(*names, *MIXTURES)), restore=False, cache=False)
    labels, z = traces.table["label"].to_numpy(), torch.as_tensor(traces.embedding)
    own = torch.as_tensor(traces.anchor_angle)
    values = {}
    for task in (*MIXTURES, *names):
        rows = np.flatnonzero(labels == task)
        rows = rows[np.argsort(traces.table["scene"].to_numpy()[rows])]
        if task in MIXTURES:
            target = model.router.targets(model.router.class_sets([task])).detach()
            values[f"angle {task}"] = sphere.angle(z[rows], target).numpy()
            values[f"nearest {task}"] = own[rows].amin(dim=1).numpy()
        else:
            values[f"accuracy {task}"] = (own[rows].argmin(dim=1) == names.index(task)).double().numpy()
    values["accuracy of all"] = np.mean([values[f"accuracy {name}"] for name in names], axis=0)
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True, help="clean photographs that are not below --data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", default="tiny")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--shares", type=float, nargs="+", default=(0.0, 0.2))
    parser.add_argument("--set", nargs="+", action="extend", default=[], help="further values of the recipe tiny")
    args = parser.parse_args()
    torch.set_num_threads(1)
    extras = config.with_overrides(config.recipe("tiny"), args.set).data.extras
    sources = Sources.of(args.data, **extras)
    before = measured(load(args.init), args.val)
    result = {"photographs": len(before["accuracy of all"]), "before": summary(before)}
    show("before", before)
    for share in args.shares:
        out = args.out / f"share_{share:g}"
        fixed = [f"train.steps={args.steps}", "train.stage_a=1", "train.stage_c=0", "train.save_every=1000000"]
        values = [*fixed, "train.lr_encoder=5e-4", "data.real_share=0.35", f"data.composite_share={share}", *args.set]
        if not (out / checkpoint.STATE).is_file():
            loop.train(config.with_overrides(config.recipe("tiny"), values), sources, out, init=args.init)
        after = measured(load(out), args.val)
        change = {name: after[name] - before[name] for name in after}
        result[f"share {share:g}"] = {"after": summary(after), "change": summary(change)}
        show(f"share {share:g}", after, change)
    args.out.mkdir(parents=True, exist_ok=True)
    write_atomic(args.out / "composites.json", (json.dumps(result, indent=1) + "\n").encode())


def summary(values: dict[str, np.ndarray]) -> dict[str, list[float | None]]:
    """Mean, low and high of each number; None for bounds that too few photographs do not give."""
    rounded = {name: (round(x, 4) for x in bootstrap_interval(numbers)) for name, numbers in values.items()}
    return {name: [x if np.isfinite(x) else None for x in numbers] for name, numbers in rounded.items()}


def show(title: str, values: dict[str, np.ndarray], change: dict[str, np.ndarray] | None = None) -> None:
    print(f"\n{title}")
    for name, numbers in values.items():
        more = "" if change is None else f"   change {with_interval(*bootstrap_interval(change[name]), '+.3f')}"
        print(f"  {name:28s} {with_interval(*bootstrap_interval(numbers), '.3f')}{more}", flush=True)


if __name__ == "__main__":
    main()
