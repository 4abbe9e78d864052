"""What each stage trains and which losses it adds up.

A  encoder + SUDE on the context views
B  experts and guide behind the frozen encoder: restoration along the routed paths
C  everything: restoration, SUDE against the anchors, balance while pins learn
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .. import sphere
from ..config import LAYERS, RunConfig, TrainConfig
from ..data.loader import label_cycle
from ..model.fusion import Encoding
from ..model.network import SLERIR, with_path
from ..model.router import Trace, balance_loss, expert_shares
from . import losses
from .distributed import Group
from .parts import Part


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


def class_weights(cfg: RunConfig) -> Tensor:
    """(K,) 1 / (K x share of the samples) of each class: restoration sees few clean photographs, and without these
    weights the encoder would learn in stage C that clean ones are rare. The peers' mix keeps its shares: all 1."""
    classes = cfg.model.classes
    if cfg.data.protocol == "promptir":
        return torch.ones(len(classes))
    cycle = label_cycle(classes, cfg.data.clean_share)
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


def embedding_terms(
    net: SLERIR,
    cfg: RunConfig,
    batch: dict[str, Tensor],
    step: int,
    classifier: nn.Module | None = None,
    part: Part | None = None,
    group: Group | None = None,
) -> dict[str, Tensor]:
    """SUDE on the context views; consistency draws the embedding of a crop to that of its context.

    The consistency term looks at the first scene of the grid, one crop of each class: all crops would cost a fifth
    of the step. Contrast needs all samples at once: `group` gathers the embeddings of all processes, and each works out
    the loss of the whole global batch, of which `part` is here.

    Composites are drawn to the middle of their classes: of the fixed anchors (`anchored`), else of the batch's class
    means, which take no gradient, as late as the triplets come: before, the means say nothing.
    """
    part, group = part or Part.whole(batch), group or Group()
    mode, labels, k = cfg.model.sude, batch["label"], len(cfg.model.classes)
    linear, mixed = mode == "linear", bool(cfg.data.composite_share)
    z = net.glgf(*net.encoder(batch["context"])).embedding
    wide = z[: max(min(k, part.stop) - part.start, 0)]  # samples 0 to K - 1 of the global batch that are here
    pull = z.sum() * 0
    if len(wide):
        crop = net.glgf(*net.encoder(batch["degraded"][: len(wide)])).embedding
        pull = (crop - wide.detach()).pow(2).sum(-1).mean() / 2 if linear else losses.consistency(crop, wide)
        pull = pull * (len(wide) / min(k, part.total))
    # the hardest pairs of an encoder that cannot tell classes apart yet may pull everything together: they come late
    done = step / max(cfg.train.stage_steps()[0], 1)
    triplet = min(max((done - cfg.train.triplet_start) / 0.25, 0.0), 1.0)
    logits = None if classifier is None else classifier(z)
    weight, sets = part.share, batch["parts"]
    if mode in ("emergent", "linear") or mixed:
        z, labels, weight = group.gather(z, part.total), group.gather(labels, part.total), 1 / group.world
        sets = group.gather(sets.long(), part.total).bool() if mixed else sets
        logits = logits if logits is None else group.gather(logits, part.total)
    single = labels < k
    with torch.autocast(z.device.type, enabled=False):  # the sphere needs float32: in bf16 near points coincide
        logits = None if logits is None else logits[single].float()
        terms = losses.sude(z[single], labels[single], cfg.train, mode, net.router.anchors, logits, triplet)
        if mixed:
            means = sphere.middles(z[single].detach(), sets[single].T, linear)
            middles = sphere.middles(net.router.anchors if mode == "anchored" else means, sets[~single], linear)
            late = 1 if mode == "anchored" else triplet
            terms["composite"] = late * cfg.train.composite_weight * losses.composite(z[~single], middles, linear)
    return {name: weight * term for name, term in terms.items()} | {"consistency": cfg.train.consistency_weight * pull}


def restoration_terms(
    net: SLERIR,
    cfg: RunConfig,
    batch: dict[str, Tensor],
    step: int,
    draws: Draws,
    part: Part | None = None,
    group: Group | None = None,
) -> tuple[dict[str, Tensor], Trace]:
    """L1 + FFT along the routed paths; in stage C also SUDE against the anchors, and balance while pins learn.

    Returns the terms, weighted by the share of `part` in the global batch, and the trace as the router had it, before
    exploration.
    """
    part, group = part or Part.whole(batch), group or Group()
    t, sets, x = cfg.train, batch["parts"], batch["degraded"]
    encoding = net.encode(x, batch["context"], batch["rows"], batch["place"])
    trace = routed = net.route(encoding, None, sets, x)
    alone, explore = step < t.stage_steps()[0] + upcycle_steps(cfg), None
    if alone:
        routed = with_path(trace, torch.zeros_like(trace.path))
    elif draws.explore is not None:
        explore = draws.explore[part.rows].to(x.device)
        routed = with_path(trace, torch.where(explore, draws.anywhere[part.rows].to(x.device), trace.path))
    y, taken = net.backbone(x, encoding.guide, routed, not alone, explore)
    if net.cfg.router == "sphere_stage" and not alone:
        trace = taken  # decided on the way
    terms = {"restoration": part.share * losses.restoration(y, batch["clean"], t.fft_weight)}
    if stage_of(step, t) == "C":
        linear = cfg.model.sude == "linear"
        # a mean over all samples, of which each has one of the two losses: so it adds up over parts of a batch
        single, z, anchors = batch["label"] < len(cfg.model.classes), encoding.embedding, net.router.anchors
        rarity = class_weights(cfg).to(z.device)
        own = losses.anchor_cross_entropy(z[single], batch["label"][single], anchors, t.tau, linear, rarity)
        weight = t.sude_weight * part.share * single.float().mean()
        terms["sude"] = weight * own
        if cfg.data.composite_share:
            pull = losses.composite(z[~single], net.router.targets(sets[~single]), linear)
            terms["composite"] = (t.sude_weight * part.share - weight) * t.composite_weight * pull
        if t.learn_pins and net.cfg.experts > 1:
            used = group.sum(part.share * expert_shares(trace))  # of the global batch
            terms["balance"] = t.balance_weight * part.share * balance_loss(trace, used)
        if draws.tried is not None:
            chosen = draws.tried[part.rows].nonzero().flatten()
            layer = draws.layer[part.rows][chosen].to(x.device)
            weight = t.balance_weight * (len(chosen) / max(int(draws.tried.sum()), 1))
            tried = counterfactual(net, chosen.to(x.device), layer, x, batch["clean"], encoding, trace, y)
            terms["counterfactual"] = weight * tried
    return terms, trace


def counterfactual(
    net: SLERIR,
    chosen: Tensor,
    layer: Tensor,
    x: Tensor,
    clean: Tensor,
    encoding: Encoding,
    trace: Trace,
    y: Tensor,
) -> Tensor:
    """For the samples `chosen` (n,), try the second-best expert at `layer` (n,); favour whichever restored better."""
    if not len(chosen):
        return y.sum() * 0
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
    logits = trace.similarity[chosen, layer] / net.router.temperature  # the probability of a far expert may be 0
    return nn.functional.cross_entropy(logits, wanted)
