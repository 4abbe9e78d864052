"""Between the stages: anchors and pins after stage A, copies of the first expert in stage B."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import sphere
from ..model.network import SLERIR
from . import held_out
from .run import Run


@torch.no_grad()
def finish_stage_a(run: Run) -> dict:
    """Go on from the averaged encoder; set the anchors from held-out scenes, and the pins between them.

    Pins that a warm start has learned stay. Returns the record for the log.
    """
    run.net.load_state_dict(run.ema.state_dict())
    learned = [p.clone() for p in run.net.router.parameters()] if run.keep_pins else []
    z, labels, real = held_out.embeddings(run.cfg, run.held_out, run.net.eval(), 3, run.device)
    run.net.train()
    if not run.keep_anchors:
        _place_anchors(run.net, z, labels)
    for parameter, value in zip(run.net.router.parameters(), learned, strict=False):
        parameter.copy_(value)
    run.group.broadcast(run.net)  # two kinds of GPU may round the anchors differently
    run.ema.load_state_dict(run.net.state_dict())
    run.anchored, run.averaged = True, 0
    similarity = -(z[:, None] - run.net.router.anchors).pow(2).sum(-1)
    right = (similarity.argmax(dim=1) == labels).float()
    record = {"step": run.step, "anchor_accuracy": round(right.mean().item(), 4), "views": len(z)}
    done = "stage A done" if run.cfg.train.stage_steps()[0] else "no stage A"
    message = f"{done}: {right.mean():.1%} of {len(z)} held-out views lie nearest to their own anchor"
    if bool(real.any()):
        record["anchor_accuracy_real"] = round(right[real].mean().item(), 4)
        message += f", {right[real].mean():.1%} of the {int(real.sum())} real ones among them"
    run.say(message)
    return record


def _place_anchors(net: SLERIR, z: Tensor, labels: Tensor) -> None:
    """The class means of these embeddings become the anchors, but in mode `anchored`, whose anchors are fixed."""
    k = len(net.cfg.classes)
    if net.cfg.sude == "linear":
        net.router.set_anchors(torch.stack([z[labels == c].mean(dim=0) for c in range(k)]))
    elif net.cfg.sude != "anchored":
        net.router.set_anchors(sphere.centroids(z, labels, k))
    else:
        net.router.place_pins()


@torch.no_grad()
def upcycle(run: Run) -> None:
    """Copy expert 0, so far trained alone, and its moments to the other experts, with 0.1 % relative noise."""
    moments = run.optimiser.state
    for first, other in _expert_parameters(run.net):
        # drawn on the CPU, whose generator is part of the saved state
        noise = torch.randn_like(first, device="cpu").to(first.device)
        other.copy_(first * (1 + 1e-3 * noise))
        if first in moments:
            moments[other] = {key: value.clone() for key, value in moments[first].items()}
    for first, other in _expert_parameters(run.ema):
        other.copy_(first)


def _expert_parameters(net: SLERIR):
    """(parameter of expert 0, the same of another expert), over all stages and experts."""
    for stage in net.stages:
        for expert in stage.experts[1:]:
            yield from zip(stage.experts[0].parameters(), expert.parameters(), strict=True)
