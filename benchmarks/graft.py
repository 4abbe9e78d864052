"""Put the experts of one checkpoint behind the encoder of another, so that a better encoder costs no new training.

    python benchmarks/graft.py EXPERTS ENCODER OUT [--data DIR] [--recipe small] [--batches 120]

OUT is a checkpoint: encoder, fusion, anchors and pins of ENCODER; stages, injections and what joins them of EXPERTS,
whose sizes --recipe must have. Both need the same classes. The injections read a guide map that this encoder does not
make. So the convolution that makes the guide map is fitted anew: by least squares, from the guide tokens of ENCODER to
the guide map of EXPERTS, in context views of the training data, each with one damage all over. Printed: the share of
the guide map's variance that the fit explains, in other batches of the same photographs. A training from OUT adapts
the rest (docs/LOG.md).
Legend: B batch, D token width, C_g guide channels, h w token map; F = 9 D + 1 values, those of 3 x 3 tokens and a 1.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from slerlib import checkpoint, config
from slerlib.data.sources import Sources
from slerlib.model.network import SLERIR
from slerlib.train.batches import batches

TESTS = 8  # batches that tell how good the fit is
FROM_ENCODER = ("encoder", "glgf", "router")  # parts of a network, by the first word of their names


def joined(experts: SLERIR, encoder: SLERIR, cfg: config.ModelConfig) -> SLERIR:
    """A network of `cfg` with the parts of both, its guide map not fitted yet."""
    net = SLERIR(cfg).eval()
    theirs = {True: encoder.state_dict(), False: experts.state_dict()}
    net.load_state_dict({key: theirs[key.split(".")[0] in FROM_ENCODER][key] for key in net.state_dict()})
    return net


@torch.no_grad()
def tokens_and_guide(experts: SLERIR, encoder: SLERIR, view_B3HW: Tensor) -> tuple[Tensor, Tensor]:
    """(what the convolution of ENCODER sees at each token (B h w, F), the guide map of EXPERTS there (B h w, C_g))."""
    seen = []
    hook = encoder.glgf.guide.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder.encode(view_B3HW)
    hook.remove()
    near = F.unfold(seen[0], 3, padding=1).transpose(1, 2).flatten(0, 1)
    guide = experts.encode(view_B3HW).guide.flatten(2).transpose(1, 2).flatten(0, 1)
    return torch.cat([near, torch.ones(len(near), 1)], dim=1).double(), guide.double()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("experts")
    parser.add_argument("encoder")
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", help="training data (default: the bundled photographs)")
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--batches", type=int, default=120, help="of 16 views each, for the fit")
    args = parser.parse_args()
    if args.out.exists() and any(args.out.iterdir()):
        parser.error(f"OUT is a new or empty folder; {args.out} holds files. Name another one.")

    # both networks, and views with one damage all over: what the experts were trained on
    cfg = config.recipe(args.recipe)
    experts, encoder = checkpoint.load_net(args.experts)[0], checkpoint.load_net(args.encoder)[0]
    if not experts.router.names == encoder.router.names == cfg.model.classes:
        parser.error("Both checkpoints and the recipe need the same classes in the same order.")
    net = joined(experts, encoder, cfg.model)
    training = Sources.of(args.data).hold_out(cfg.data.anchor_scenes)[0]
    alike = replace(cfg.data, local_share=0.0, composite_share=0.0, depth_share=0.0)
    views = batches(replace(cfg, data=alike, train=replace(cfg.train, batch=16)), training)

    # least squares by the normal equations, with a little ridge
    squares = products = torch.zeros((), dtype=torch.float64)
    for n in range(args.batches):
        x, y = tokens_and_guide(experts, encoder, views[n]["context"])
        squares, products = squares + x.T @ x, products + x.T @ y
    ridge = 1e-4 * squares.diagonal().mean() * torch.eye(len(squares), dtype=torch.float64)
    weights = torch.linalg.solve(squares + ridge, products)
    with torch.no_grad():
        net.glgf.guide.weight.copy_(weights[:-1].T.reshape(net.glgf.guide.weight.shape))
        net.glgf.guide.bias.copy_(weights[-1])

    # how good it is
    left = total = torch.zeros((), dtype=torch.float64)
    for n in range(args.batches, args.batches + TESTS):
        x, y = tokens_and_guide(experts, encoder, views[n]["context"])
        left, total = left + (x @ weights - y).square().sum(), total + (y - y.mean(dim=0)).square().sum()
    print(f"guide map: {1 - left / total:.0%} of the variance explained ({args.batches} batches of 16 views)")
    card = {
        "name": args.out.name,
        "config": config.to_dict(cfg),
        "grafted": [Path(args.experts).name, Path(args.encoder).name],
    }
    checkpoint.save_weights(args.out, net, card)


if __name__ == "__main__":
    main()
