"""Write the mean of the weights of several trainings that began with the same weights.

    python benchmarks/mean_weights.py OUT RUN RUN ... [--shares 1 2 ...]

Such trainings end near one another, so the mean of their weights is a network too, and often a better one than each
(Wortsman et al., *Model soups*, ICML 2022). With the start as one of the RUNs it lies between before and after. Anchors
must be equal; the mean of the pins goes back to the sphere. OUT gets weights, the card of the first RUN that has a log
(a training), without its scores, and that log. Nothing tells whether the mean is good: score it (`slerlib eval OUT`).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch

from slerlib import checkpoint
from slerlib.model.network import SLERIR


def mean(nets: list[SLERIR], shares: list[float]) -> SLERIR:
    """A network with the mean weights, each net counted by its share; computed in float64."""
    net = SLERIR(nets[0].cfg).eval()
    states = [other.state_dict() for other in nets]
    total = sum(shares)
    merged = {
        key: sum(share / total * state[key].double() for share, state in zip(shares, states, strict=True)).to(value)
        if value.is_floating_point()
        else states[0][key]
        for key, value in net.state_dict().items()
    }
    net.load_state_dict(merged)
    net.router.normalise_pins()
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", nargs="+", help="checkpoints: at least two")
    parser.add_argument("--shares", nargs="+", type=float, help="weight of each RUN (default: equal)")
    args = parser.parse_args()
    shares = args.shares or [1.0] * len(args.runs)
    if len(args.runs) < 2 or len(shares) != len(args.runs) or min(shares) <= 0:
        parser.error(f"A mean takes two or more RUNs and a positive share for each; got {len(args.runs)} and {shares}.")
    if args.out.exists() and any(args.out.iterdir()):
        parser.error(f"OUT is a new or empty folder; {args.out} holds files. Name another one.")

    nets, cards = zip(*map(checkpoint.load_net, args.runs), strict=True)
    if any(net.cfg != nets[0].cfg for net in nets):
        parser.error("All RUNs need the same config.model; their cards (card.json) show what differs.")
    if any(not torch.equal(net.router.anchors, nets[0].router.anchors) for net in nets):
        parser.error("All RUNs need the same anchors: those of trainings with one start, none with stage A.")
    logs = [Path(run) / "log.jsonl" for run in args.runs]
    first = next((n for n, log in enumerate(logs) if log.is_file()), 0)
    card = {key: value for key, value in cards[first].items() if key not in checkpoint.MEASURED}
    card |= {"mean_of": [Path(run).name for run in args.runs], "shares": shares}
    checkpoint.save_weights(args.out, mean(list(nets), shares), card)
    if logs[first].is_file():
        shutil.copyfile(logs[first], args.out / "log.jsonl")


if __name__ == "__main__":
    main()
