"""What each stage trains, at which rate, and what chance decides in a step.

A  encoder
B  experts and guide, behind the frozen encoder
C  everything; the pins only where `train.learn_pins` is on
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import LAYERS, RunConfig, TrainConfig
from ..data.loader import label_cycle
from ..model.network import SLERIR


def parameter_groups(net: SLERIR, *heads: nn.Module | None) -> dict[str, list[nn.Parameter]]:
    """encoder (upstream of z, with the `heads` that training alone needs), pins, guide (guide convolution, injections),
    experts (stages, shared convolutions), own (experts of own classes)."""
    groups: dict[str, list[nn.Parameter]] = {"experts": [], "guide": [], "encoder": [], "pins": [], "own": []}
    for name, parameter in net.named_parameters():
        kind = "experts"
        if name.startswith("router."):
            kind = "pins"
        elif name.startswith(("glgf.guide.", "injections.", "stage_views.")):
            kind = "guide"
        elif name.startswith(("encoder.", "glgf.")):
            kind = "encoder"
        if name.startswith("stages.") and int(name.split(".")[3]) >= net.cfg.experts - net.cfg.own_classes:
            kind = "own"
        if not name.startswith("own."):
            groups[kind].append(parameter)
    for head in heads:
        groups["encoder"] += [] if head is None else list(head.parameters())
    return groups


def moving(stage: str, cfg: RunConfig) -> dict[str, float]:
    """Parameter groups that train in a stage, with the factor of their learning rate."""
    if stage == "A":
        return {"encoder": 1.0}
    if cfg.model.own_classes and cfg.train.own_only:
        return {"own": 1.0}
    factors = {"experts": 1.0, "guide": 1.0, "own": 1.0}
    if stage == "C":
        factors["encoder"] = 0.1
    if cfg.model.router == "linear":
        factors["pins"] = 1.0  # a linear gate has nothing else that places it
    elif stage == "C" and cfg.train.learn_pins:
        factors["pins"] = 0.1
    return factors


def class_weights(cfg: RunConfig) -> Tensor:
    """(K,) 1 / (K x share of the samples) of each class: restoration sees few clean photographs, and without these
    weights the encoder would learn in stage C that clean ones are rare. Protocol `promptir` keeps its shares: all 1."""
    classes = cfg.model.classes
    if cfg.data.protocol == "promptir":
        return torch.ones(len(classes))
    cycle = label_cycle(classes, cfg.data)
    return torch.tensor([len(cycle) / (len(classes) * max(cycle.count(k), 1)) for k in range(len(classes))])


def stage_of(step: int, cfg: TrainConfig) -> str:
    a, b, _ = cfg.stage_steps()
    return "A" if step < a else "B" if step < a + b else "C"


def schedule(step: int, start: int, stop: int, peak: float, floor: float, warmup: int) -> float:
    """Linear warm-up per step, never zero, then a cosine from `peak` to `floor` at `stop`."""
    warmup = min(warmup, max((stop - start) // 10, 1))
    done = step - start
    if done < warmup:
        return peak * (done + 1) / warmup
    return floor + (peak - floor) * (1 + math.cos(math.pi * (done - warmup) / max(stop - start - warmup, 1))) / 2


def upcycle_steps(cfg: RunConfig) -> int:
    """Steps of stage B in which expert 0 trains alone."""
    if cfg.model.experts == 1 or cfg.model.router == "dense":
        return 0
    return round(cfg.train.stage_steps()[1] * cfg.train.upcycle)


@dataclass(frozen=True)
class Draws:
    """What chance decides in a step, for the whole global batch of n samples, so that its split changes nothing.

    Drawn on the CPU, whose generator is part of the saved state.
    """

    explore: Tensor | None = None  # (n, L) bool: a random expert instead of the routed one
    anywhere: Tensor | None = None  # (n, L) that expert
    tried: Tensor | None = None  # (n,) bool: samples that also try another expert
    layer: Tensor | None = None  # (n,) at this layer


def draw(cfg: RunConfig, step: int, total: int) -> Draws:
    """Draws of a step for a global batch of `total` samples."""
    t, experts = cfg.train, cfg.model.experts
    a, b, _ = t.stage_steps()
    stage = stage_of(step, t)
    if stage == "A" or experts == 1:
        return Draws()
    explore = anywhere = tried = layer = None
    chance = t.exploration * max(0.0, 1 - (step - a) / max(0.2 * b, 1)) if stage == "B" else 0.0
    if chance > 0 and step >= a + upcycle_steps(cfg):
        explore = torch.rand(total, LAYERS) < chance
        anywhere = torch.randint(experts, (total, LAYERS))
    if stage == "C" and t.counterfactual:
        tried = torch.rand(total) < t.counterfactual
        layer = torch.zeros(total, dtype=torch.long)
        layer[tried] = torch.randint(LAYERS, (int(tried.sum()),))
    return Draws(explore, anywhere, tried, layer)
