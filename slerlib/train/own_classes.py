"""Classes that the data bring and the configuration does not have: pairs of an unknown task [ours].

From nothing they are classes as all others. From trained weights (`--init`) each joins with an anchor, a gate and an
expert of its own (`model/own.py`), and these experts alone train: what the network could before, it does with the same
weights. The others are replayed, on bundled photographs and on the clean sides of the pairs, to fit the gate.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import torch
from torch import Tensor

from .. import checkpoint, config
from ..config import CLASSES, RunConfig
from ..data.degrade import MADE, degrade
from ..data.sources import CLEAN, Sources
from ..data.words import DEPTH
from ..errors import UserError
from ..model.network import SLERIR
from .batches import batches
from .run import Run

DEFAULTS = {"stage_a": 0.0, "stage_c": 0.0, "exploration": 0.0}  # where the recipe's own values stand
OWN, OTHERS = 240, 160  # images that the gate of a class is fitted to: its own, and of each other class
JITTER = 0.2  # of the colour channels of half of the others: a warm light is no damage


def join(cfg: RunConfig, sources: Sources, init) -> tuple[RunConfig, Sources, str]:
    """(configuration with the classes of the data, data with photographs to replay on, what was chosen and why)."""
    net = None if init is None else checkpoint.load_net(init)[0]
    classes = cfg.model.classes
    if net is not None and net.cfg.classes[: len(classes)] == classes:  # own classes of an earlier training
        cfg = replace(cfg, model=replace(cfg.model, classes=net.cfg.classes, own_classes=net.cfg.own_classes,
                                         experts=cfg.model.experts + net.cfg.own_classes))  # fmt: skip
    tasks = dict.fromkeys(s.task for s in sources if s.task not in (CLEAN, DEPTH, *CLASSES) and "+" not in s.task)
    new = tuple(task for task in tasks if task not in cfg.model.classes)
    if not tasks:
        _check_alone(cfg, sources, init)
        return cfg, sources, ""
    model = replace(cfg.model, classes=cfg.model.classes + new)
    if len(model.classes) > model.embedding:
        raise UserError(
            f"Each class needs a direction of its own on the sphere, so model.embedding must be at least their number; "
            f"got {model.embedding} for {len(model.classes)} classes ({', '.join(model.classes)}). Train fewer sets at "
            "once, or raise model.embedding."
        )
    if net is None:
        return replace(cfg, model=model), sources, f"classes of these data: {', '.join(tasks)}"
    if model.router != "sphere" or model.experts == 1 or model.sude == "linear":
        raise UserError(
            f"Own classes ({', '.join(tasks)}) join weights with several experts behind the router sphere; {init} has "
            f"router {model.router}, {model.experts} expert(s), sude {model.sude}. Take other weights, or leave --init "
            "out."
        )
    model = replace(model, own_classes=model.own_classes + len(new), experts=model.experts + len(new))
    plain = config.RECIPES[cfg.name]().train if cfg.name in config.RECIPES else config.TrainConfig()
    chosen = {name: value for name, value in DEFAULTS.items() if getattr(cfg.train, name) == getattr(plain, name)}
    cfg = replace(cfg, model=model, train=replace(cfg.train, **chosen))
    if not any(s.task == CLEAN for s in sources):
        sets = [*sources.sets, *Sources.of(None)]
        about = (sources.origin, sources.layout, sources.notes, sources.tests)
        sources = Sources(sets, *about, replay=True, kernels=sources.kernels)
    _check_alone(cfg, sources, init)
    values = " ".join(f"train.{name}={value:g}" for name, value in chosen.items())
    return cfg, sources, (
        f"own classes {', '.join(tasks)}: an anchor, a gate and an expert at each layer for each; only these experts "
        f"train, so that the weights for all other images stay as they are. {values}"
    )  # fmt: skip


def _check_alone(cfg: RunConfig, sources: Sources, init) -> None:
    """Raise UserError where the experts of own classes alone train, and the data or the stages leave them nothing."""
    own = cfg.model.classes[len(cfg.model.classes) - cfg.model.own_classes :]
    if not own or not cfg.train.own_only:
        return
    rule, repair = f"With own classes ({', '.join(own)}) their experts alone train", "--set train.own_only=false."
    if not any(s.task in own for s in sources):
        raise UserError(
            f"{rule}; {sources.origin} has no pairs of these classes, which the weights {init} have. Add such pairs, "
            f"or train all weights: {repair}"
        )
    if cfg.train.stage_a:
        raise UserError(
            f"{rule}, and stage A trains the encoder; got train.stage_a={cfg.train.stage_a:g}. Set train.stage_a=0, or "
            f"train all weights: {repair}"
        )


@torch.no_grad()
def place(run: Run, init) -> None:
    """Place anchors, pins and gates of the classes that join the weights `init`, and copy their experts."""
    net, theirs = run.net.eval(), checkpoint.load_net(init)[0].cfg
    for label in range(len(theirs.classes), len(net.cfg.classes)):
        name, expert = net.cfg.classes[label], net.cfg.experts - len(net.cfg.classes) + label
        images = _own_images(run, label)
        z = torch.cat([net.glgf(*net.encoder(x[None])).embedding for x in images])
        paths = net.router.similarity(z)[..., : theirs.experts].argmax(-1).tolist()
        net.router.place_own(label, expert, z)
        for stage, nearest in zip(net.stages, Counter(map(tuple, paths)).most_common(1)[0][0], strict=True):
            stage.experts[expert].load_state_dict(stage.experts[nearest].state_dict())
        gate = net.own.gates[label - len(net.cfg.classes)]
        own, others = _features(net, images), _features(net, _other_images(run, label))
        gate.fit(own, others, seed=run.cfg.train.seed)
        hit, miss = ((gate(features) > 0).float().mean().item() for features in (own, others))
        run.say(f"gate of {name}: opens for {hit:.1%} of {len(own)} own images and {miss:.1%} of {len(others)} others")
    run.net.train()


def _own_images(run: Run, label: int) -> list[Tensor]:
    """Context views of the real pairs of a class, degraded side."""
    data = batches(run.cfg, run.training)
    pairs = (data.real[label].shuffled(n, run.cfg.train.seed, 12) for n in range(OWN))
    return [data.view(degraded, n, label).to(run.device) for n, (degraded, _) in enumerate(pairs)]


def _other_images(run: Run, label: int) -> list[Tensor]:
    """Context views of all other classes that synthesis makes, every second one in a light of another colour."""
    generator = torch.Generator().manual_seed(run.cfg.train.seed)
    data = batches(run.cfg, run.training)
    images = []
    for k, name in enumerate(run.cfg.model.classes):
        for n in range(OTHERS if k != label and (name in MADE) else 0):
            clean = data.sources.clean.shuffled(n * len(run.cfg.model.classes) + k, run.cfg.train.seed, 13)[1]
            x = data.view(clean, n, k)
            if n % 2:
                gains = 1 + JITTER * (2 * torch.rand(3, generator=generator) - 1)
                x = (x * gains[:, None, None] + 0.06 * torch.rand(1, generator=generator)).clamp(0, 1)
            severity = 0.2 + 0.8 * torch.rand(1, generator=generator).item()
            images.append(
                degrade(x, name, severity, int(torch.randint(1 << 30, (1,), generator=generator))).to(run.device)
            )
    return images


def _features(net: SLERIR, images: list[Tensor]) -> Tensor:
    return torch.cat([net.own.features(x[None], *net.encoder(x[None])) for x in images])
