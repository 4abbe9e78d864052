"""Which losses each stage adds up, by name; the sum of the terms is the loss.

A  SUDE on the context views, and consistency between a crop and its context view
B  restoration along the routed paths; what stations see by themselves (router `sphere_stage`) belongs to the anchors
C  restoration, SUDE against the anchors, balance while pins learn, counterfactual where it is asked for

Each term is weighted by the share of `part` in the global batch, so that terms add up over pieces and processes.
"""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from .. import sphere
from ..config import LAYERS, RunConfig
from ..model.fusion import Encoding
from ..model.network import SLERIR, with_path
from ..model.router import Trace, balance_loss, expert_shares
from . import losses
from .distributed import Group
from .parts import Part
from .stages import Draws, class_weights, stage_of, upcycle_steps

# --- stage A


def embedding_terms(
    net: SLERIR,
    cfg: RunConfig,
    batch: dict[str, Tensor],
    step: int,
    classifier: nn.Module | None = None,
    part: Part | None = None,
    group: Group | None = None,
    colour: nn.Module | None = None,
) -> dict[str, Tensor]:
    """SUDE of the context views; consistency pulls the embedding of a crop to that of its context view.

    SUDE contrasts all samples at once: `group` gathers the embeddings of all processes, and each process computes the
    loss of the whole global batch. `part` is the part of it that is here.
    Composites are pulled to the middle of their classes: of the fixed anchors (`anchored`), else of the class means of
    the batch, without gradient. That term starts with the triplet term, because early class means carry no meaning.
    """
    part, group = part or Part.whole(batch), group or Group()
    mode, labels, k = cfg.model.sude, batch["label"], len(cfg.model.classes)
    linear, composites = mode == "linear", bool(cfg.data.composite_share)
    encoding = net.glgf(*net.encoder(batch["context"]))
    z = encoding.embedding
    pull = _consistency(net, batch, z, part, k, linear)
    # the hardest pairs of an encoder that does not separate the classes yet may collapse everything: they start late
    done = step / max(cfg.train.stage_steps()[0], 1)
    triplet = min(max((done - cfg.train.triplet_start) / 0.25, 0.0), 1.0)
    logits = None if classifier is None else classifier(z)
    weight, sets = part.share, batch["parts"]
    if mode in ("emergent", "linear") or composites:
        z, labels, weight = group.gather(z, part.total), group.gather(labels, part.total), 1 / group.world
        sets = group.gather(sets.long(), part.total).bool() if composites else sets
        logits = logits if logits is None else group.gather(logits, part.total)
    single = labels < k
    with torch.autocast(z.device.type, enabled=False):  # the sphere needs float32: in bf16 near points coincide
        logits = None if logits is None else logits[single].float()
        terms = losses.sude(z[single], labels[single], cfg.train, mode, net.router.anchors, logits, triplet)
        if composites:
            means = sphere.middles(z[single].detach(), sets[single].T, linear)
            middles = sphere.middles(net.router.anchors if mode == "anchored" else means, sets[~single], linear)
            start = 1 if mode == "anchored" else triplet
            terms["composite"] = start * cfg.train.composite_weight * losses.composite(z[~single], middles, linear)
    terms = {name: weight * term for name, term in terms.items()} | {"consistency": cfg.train.consistency_weight * pull}
    if cfg.train.place_weight:
        terms["places"] = part.share * cfg.train.place_weight * _places(net, cfg, batch, encoding)
    if colour is not None:
        lacks = losses.colour(colour(encoding.guide), batch["context"], batch["colour"])
        terms["colour"] = part.share * cfg.train.colour_weight * lacks
    return terms


def _consistency(net: SLERIR, batch: dict[str, Tensor], z: Tensor, part: Part, k: int, linear: bool) -> Tensor:
    """Of the first scene of the grid, one crop of each class: all crops would cost a fifth of the step.

    A crop of a picture that is damaged in one place may lie in another: those do not count.
    """
    first = max(min(k, part.stop) - part.start, 0)  # samples 0 to K - 1 of the global batch that are here
    rows = (batch["where"][:first] == 1).all(dim=2).all(dim=1).nonzero().flatten()
    if not len(rows):
        return z.sum() * 0
    wide, crop = z[rows], net.glgf(*net.encoder(batch["degraded"][rows])).embedding
    pull = (crop - wide.detach()).pow(2).sum(-1).mean() / 2 if linear else losses.consistency(crop, wide)
    return pull * (len(wide) / min(k, part.total))


def _places(net: SLERIR, cfg: RunConfig, batch: dict[str, Tensor], encoding: Encoding) -> Tensor:
    """Each place of the context views belongs to what was done there."""
    maps = batch["where"], batch["parts"][batch["rows"]], batch["outside"]
    return losses.places(encoding.local, *maps, net.router.anchors, cfg.train.tau)


# --- stages B and C


def restoration_terms(
    net: SLERIR,
    cfg: RunConfig,
    batch: dict[str, Tensor],
    step: int,
    draws: Draws,
    part: Part | None = None,
    group: Group | None = None,
    colour: nn.Module | None = None,
) -> tuple[dict[str, Tensor], Trace]:
    """(terms, trace). The trace is that of the router, before exploration."""
    part, group = part or Part.whole(batch), group or Group()
    t, x = cfg.train, batch["degraded"]
    encoding = net.encode(x, batch["context"], batch["rows"], batch["place"])
    trace = net.route(encoding, None, batch["parts"], x)
    if cfg.model.own_classes:  # what the gate misses trains its expert too
        own = batch["label"] >= len(cfg.model.classes) - cfg.model.own_classes
        own &= batch["label"] < len(cfg.model.classes)
        trace = with_path(trace, torch.where(own[:, None], net.router.label_paths(batch["parts"]), trace.path))
    first_alone = step < t.stage_steps()[0] + upcycle_steps(cfg)
    taken, explored = _training_trace(trace, draws, part, first_alone)
    y, on_the_way = net.backbone(x, encoding.guide, taken, not first_alone, explored)
    terms = {"restoration": part.share * losses.restoration(y, batch["clean"], t.fft_weight)}
    if on_the_way.station_embedding is not None:
        trace = on_the_way  # this router decides layer by layer
        labels, parts = (batch[key].repeat_interleave(LAYERS, dim=0) for key in ("label", "parts"))
        seen = _anchor_terms(net, cfg, labels, parts, trace.station_embedding.flatten(0, 1), part)
        terms |= {f"stations_{name}": term for name, term in seen.items()}
    if stage_of(step, t) == "C":
        terms |= _anchor_terms(net, cfg, batch["label"], batch["parts"], encoding.embedding, part)
        if t.place_weight and t.context_share == 1:  # the maps are those of context views, which all samples need
            terms["places"] = t.sude_weight * part.share * t.place_weight * _places(net, cfg, batch, encoding)
        if colour is not None:
            lacks = losses.colour(colour(encoding.guide), x, batch["clean"])
            terms["colour"] = t.sude_weight * part.share * t.colour_weight * lacks
        if t.learn_pins and net.cfg.experts > 1:
            used = group.sum(part.share * expert_shares(trace))  # of the global batch
            terms["balance"] = t.balance_weight * part.share * balance_loss(trace, used)
        if draws.tried is not None:
            samples = draws.tried[part.rows].nonzero().flatten()
            layer = draws.layer[part.rows][samples].to(x.device)
            weight = t.balance_weight * (len(samples) / max(int(draws.tried.sum()), 1))
            loss = counterfactual(net, batch, samples.to(x.device), layer, encoding, trace, y)
            terms["counterfactual"] = weight * loss
    return terms, trace


def _training_trace(trace: Trace, draws: Draws, part: Part, first_alone: bool) -> tuple[Trace, Tensor | None]:
    """(trace of what runs, (B, L) where exploration decided it): expert 0 before upcycling, then the route or a random
    expert."""
    if first_alone:
        return replace(trace, path=torch.zeros_like(trace.path), path_map=None, place_probability=None), None
    if draws.explore is None:
        return trace, None
    explore, anywhere = (x[part.rows].to(trace.path.device) for x in (draws.explore, draws.anywhere))
    return with_path(trace, torch.where(explore, anywhere, trace.path)), explore


def _anchor_terms(
    net: SLERIR, cfg: RunConfig, label_B: Tensor, parts_BK: Tensor, z: Tensor, part: Part
) -> dict[str, Tensor]:
    """Single classes to their anchors, composites to the middle of theirs: z in stage C, what stations see in B too.

    Each is a mean over all samples, and each sample has one of the two losses: so they add up over parts of a batch.
    """
    t, linear, anchors = cfg.train, cfg.model.sude == "linear", net.router.anchors
    single = label_B < len(cfg.model.classes)
    weight = t.sude_weight * part.share * single.float().mean()
    rarity = class_weights(cfg).to(z.device)
    own = losses.anchor_cross_entropy(z[single], label_B[single], anchors, t.tau, linear, rarity)
    terms = {"sude": weight * own}
    if cfg.data.composite_share:
        pull = losses.composite(z[~single], net.router.targets(parts_BK[~single]), linear)
        terms["composite"] = (t.sude_weight * part.share - weight) * t.composite_weight * pull
    return terms


def counterfactual(
    net: SLERIR, batch: dict[str, Tensor], samples: Tensor, layer: Tensor, encoding: Encoding, trace: Trace, y: Tensor
) -> Tensor:
    """For the rows `samples` (n,), try the second-best expert at `layer` (n,); favour whichever restored better."""
    if not len(samples):
        return y.sum() * 0
    rows = torch.arange(len(samples))
    path = trace.path[samples].clone()
    first = path[rows, layer]
    others = trace.similarity[samples, layer].scatter(1, first[:, None], float("-inf"))
    second = others.argmax(dim=-1)  # the nearest of those that did not run
    path[rows, layer] = second
    with torch.no_grad():
        per_image = {f.name: getattr(trace, f.name) for f in fields(trace)}
        sub = replace(trace, **{name: v[samples] for name, v in per_image.items() if isinstance(v, Tensor)})
        sub = with_path(sub, path)
        guide = None if encoding.guide is None else encoding.guide[samples]
        other, _ = net.backbone(batch["degraded"][samples], guide, sub, reroute=False)
        clean = batch["clean"][samples]
        errors = [(result - clean).abs().mean(dim=(1, 2, 3)) for result in (other, y[samples])]
        better = torch.where(errors[0] < errors[1], second, first)
    logits = trace.similarity[samples, layer] / net.router.temperature  # the probability of a far expert may be 0
    return nn.functional.cross_entropy(logits, better)
