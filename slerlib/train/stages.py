"""What each stage trains and which losses it adds up.

A  encoder + SUDE on the context views
B  experts and guide behind the frozen encoder: restoration along the routed paths
C  everything: restoration, SUDE against the anchors, balance while pins learn
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from .. import sphere
from ..config import RunConfig
from ..model.fusion import Encoding
from ..model.network import SLERIR, with_path
from ..model.router import Trace, balance_loss
from . import losses


def parameter_groups(net: SLERIR, classifier: nn.Module | None = None) -> dict[str, list[nn.Parameter]]:
    """encoder (upstream of z), pins, guide (guide convolution, injections), experts (stages, shared convolutions)."""
    groups: dict[str, list[nn.Parameter]] = {"experts": [], "guide": [], "encoder": [], "pins": []}
    for name, parameter in net.named_parameters():
        kind = "experts"
        if name.startswith("router."):
            kind = "pins"
        elif name.startswith(("glgf.guide.", "injections.", "stage_views.")):
            kind = "guide"
        elif name.startswith(("encoder.", "glgf.")):
            kind = "encoder"
        groups[kind].append(parameter)
    if classifier is not None:
        groups["encoder"] += list(classifier.parameters())
    return groups


def moving(stage: str, cfg: RunConfig) -> dict[str, float]:
    """Parameter groups that train in a stage, with the factor of their learning rate."""
    if stage == "A":
        return {"encoder": 1.0}
    factors = {"experts": 1.0, "guide": 1.0}
    if stage == "C":
        factors["encoder"] = 0.1
    if cfg.model.router == "linear":
        factors["pins"] = 1.0  # a linear gate has nothing else that places it
    elif stage == "C" and cfg.train.learn_pins:
        factors["pins"] = 0.1
    return factors


def upcycle_steps(cfg: RunConfig) -> int:
    """Steps of stage B in which expert 0 trains alone."""
    if cfg.model.experts == 1 or cfg.model.router == "dense":
        return 0
    return round(cfg.train.stage_steps()[1] * cfg.train.upcycle)


def embedding_terms(
    net: SLERIR, cfg: RunConfig, batch: dict[str, Tensor], step: int, classifier: nn.Module | None = None
) -> dict[str, Tensor]:
    """SUDE on the context views; consistency draws the embedding of a crop to that of its context.

    The consistency term looks at the first content of the grid, one crop of each class: all crops would cost a fifth
    of the step. Composites are drawn to the middle of their classes: of the fixed anchors (`anchored`), else of the
    batch's class means, which take no gradient, as late as the triplets come: before, the means say nothing.
    """
    mode, linear = cfg.model.sude, cfg.model.sude == "linear"
    everything = net.glgf(*net.encoder(batch["context"])).embedding
    single = batch["label"] < len(cfg.model.classes)
    z, labels = everything[single], batch["label"][single]
    wide = z[: len(cfg.model.classes)]
    crop = net.glgf(*net.encoder(batch["degraded"][: len(wide)])).embedding
    pull = (crop - wide.detach()).pow(2).sum(-1).mean() / 2 if linear else losses.consistency(crop, wide)
    # the hardest pairs of an encoder that cannot tell classes apart yet may pull everything together: they come late
    done = step / max(cfg.train.stage_steps()[0], 1)
    triplet = min(max((done - cfg.train.triplet_start) / 0.25, 0.0), 1.0)
    logits = None if classifier is None else classifier(z)
    terms = losses.sude(z, labels, cfg.train, mode, net.router.anchors, logits, triplet)
    terms["consistency"] = cfg.train.consistency_weight * pull
    if cfg.data.composite_share:
        classes, sets = batch["parts"][single], batch["parts"][~single]
        anchors = net.router.anchors if mode == "anchored" else sphere.middles(z.detach(), classes.T, linear)
        weight = cfg.train.composite_weight * (1 if mode == "anchored" else triplet)
        middles = sphere.middles(anchors, sets, linear)
        terms["composite"] = weight * losses.composite(everything[~single], middles, linear)
    return terms


def restoration_terms(
    net: SLERIR, cfg: RunConfig, batch: dict[str, Tensor], step: int, stage: str
) -> tuple[dict[str, Tensor], Trace]:
    """L1 + FFT along the routed paths; in stage C also SUDE against the anchors, and balance while pins learn.

    Returns the terms and the trace as the router had it, before exploration.
    """
    t, parts, x = cfg.train, batch["parts"], batch["degraded"]
    a, b, _ = t.stage_steps()
    encoding = net.encode(x, batch["context"], batch["rows"], batch["place"])
    trace = routed = net.route(encoding, None, parts, x)
    alone, explore = step < a + upcycle_steps(cfg), None
    chance = t.exploration * max(0.0, 1 - (step - a) / max(0.2 * b, 1))
    if alone:
        routed = with_path(trace, torch.zeros_like(trace.path))
    elif chance > 0 and net.cfg.experts > 1:
        # drawn on the CPU, whose generator is part of the saved state
        explore = (torch.rand(trace.path.shape) < chance).to(x.device)
        anywhere = torch.randint(net.cfg.experts, trace.path.shape).to(x.device)
        routed = with_path(trace, torch.where(explore, anywhere, trace.path))
    y, taken = net.backbone(x, encoding.guide, routed, not alone, explore)
    if net.cfg.router == "sphere_stage" and not alone:
        trace = taken  # decided on the way
    terms = {"restoration": losses.restoration(y, batch["clean"], t.fft_weight)}
    if stage == "C":
        linear = cfg.model.sude == "linear"
        single, z, anchors = batch["label"] < len(cfg.model.classes), encoding.embedding, net.router.anchors
        anchored = losses.anchor_cross_entropy(z[single], batch["label"][single], anchors, t.tau, linear)
        terms["sude"] = t.sude_weight * anchored
        if cfg.data.composite_share:
            pull = losses.composite(z[~single], net.router.targets(parts[~single]), linear)
            terms["composite"] = t.sude_weight * t.composite_weight * pull
        if t.learn_pins and net.cfg.experts > 1:
            terms["balance"] = t.balance_weight * balance_loss(trace)
        if t.counterfactual and net.cfg.experts > 1:
            terms["counterfactual"] = counterfactual(net, cfg, x, batch["clean"], encoding, trace, y)
    return terms, trace


def counterfactual(
    net: SLERIR, cfg: RunConfig, x: Tensor, clean: Tensor, encoding: Encoding, trace: Trace, y: Tensor
) -> Tensor:
    """Of a share of the samples, try the second-best expert at one layer; favour whichever restored better."""
    chosen = torch.nonzero(torch.rand(len(x)) < cfg.train.counterfactual).flatten().to(x.device)
    if not len(chosen):
        return y.sum() * 0
    layer = torch.randint(trace.path.shape[1], (len(chosen),)).to(x.device)
    path = trace.path[chosen].clone()
    ran = path[torch.arange(len(chosen)), layer]
    others = trace.similarity[chosen, layer].scatter(1, ran[:, None], float("-inf"))
    second = others.argmax(dim=-1)  # the nearest of those that did not run
    path[torch.arange(len(chosen)), layer] = second
    with torch.no_grad():
        fields = ("similarity", "embedding", "margin", "anchor_angle", "probability")
        sub = replace(trace, path=path, **{name: getattr(trace, name)[chosen] for name in fields})
        guide = None if encoding.guide is None else encoding.guide[chosen]
        other, _ = net.backbone(x[chosen], guide, sub, reroute=False)
        errors = [(result - clean[chosen]).abs().mean(dim=(1, 2, 3)) for result in (other, y[chosen])]
        wanted = torch.where(errors[0] < errors[1], second, ran)
    return cfg.train.balance_weight * nn.functional.nll_loss(trace.probability[chosen, layer].log(), wanted)
