"""Recipes: functions that return a full configuration."""

from __future__ import annotations

import dataclasses

from ..errors import UserError
from .schema import CLASSES, DataConfig, ModelConfig, RunConfig, TrainConfig


def tiny() -> RunConfig:
    """Laptop CPU, course, CI: 0.41 M active parameters in the backbone.

    About 40 minutes on one quiet processor thread are expected. The shipped checkpoint, 26.60 dB on 34 photographs of
    CBSD68, took a chain of some 26,000 steps; one run of this recipe alone has not been scored.

    Fixed simplex anchors: in the few minutes of its stage A they separate the classes better than anchors that have to
    emerge from small batches (docs/LOG.md). Those of the shipped checkpoint are others (docs/choices.md).
    """
    return RunConfig("tiny", ModelConfig(sude="anchored"))


def small() -> RunConfig:
    """Meant for quality on a processor or one GPU: `tiny` with more than twice its blocks, 1.03 M active parameters.

    The blocks that `tiny` has not start as the identity, so a training can begin as good as `tiny` is:

        slerlib train small --data DIR --init tiny --set train.stage_a=0 train.stage_c=1

    The shipped checkpoint grew that way: 7,000 steps of 8 at 2e-3, then 11,500 of 16 at 1.5e-3 from there, 2.6 hours on
    one and then two processor threads: 27.04 dB on 34 photographs of CBSD68, 0.44 more than `tiny`. A warm start may
    first lose what the end of the last training gained, so let the rate come all the way down (docs/LOG.md). From
    nothing, about 3 hours of a quiet thread are expected; that has not been scored.
    """
    model = dataclasses.replace(tiny().model, stages=(2, 2, 4, 6, 2, 2, 2, 2))
    data = DataConfig(real_share=0.35, clean_share=0.08, composite_share=0.05)
    return RunConfig("small", model, data, TrainConfig(steps=20000, stage_c=0.4, sude_weight=0.3))


def base() -> RunConfig:
    """6.9 M active parameters in the backbone; one or more GPUs, on which it has not been run yet."""
    model = ModelConfig(
        width=32,
        stages=(2, 2, 4, 12, 2, 2, 2, 4),
        strides=(2, 2, 2, 2),
        token_width=128,
        encoder_blocks=3,
        encoder_heads=8,
        guide_channels=128,
        context=256,
        tlc_window=192,
    )
    train = TrainConfig(steps=300000, batch=32, lr=5e-4, lr_encoder=5e-4)
    return RunConfig("base", model, DataConfig(crop=128), train)


def paper() -> RunConfig:
    """Restormer blocks at the paper's likely size [inferred]: 26.1 M active, 70.8 M in all (backbone); many GPUs.

    Extrapolated from counted arithmetic: 1.9 days of a GPU that sustains 100 TFLOP/s. A few steps were run, no more.
    """
    base_ = base()
    model = dataclasses.replace(base_.model, block="restormer", width=48, stages=(4, 6, 6, 8, 6, 6, 4, 4))
    return RunConfig(
        "paper", model, base_.data, dataclasses.replace(base_.train, lr=2e-4, lr_encoder=2e-4, lr_min=1e-6)
    )


def paper3() -> RunConfig:
    """`paper` on the published 3-task setting, sampled as PromptIR does: 142 431 samples an epoch."""
    return _published("paper3", ("noise15", "noise25", "noise50", "rain", "haze"), ("noise=3", "rain=120", "haze=1"))


def paper5() -> RunConfig:
    """`paper` on the published 5-task setting with the repeats of AdaIR: 162 646 samples an epoch."""
    repeats = ("noise=3", "rain=120", "haze=1", "blur=5", "lowlight=20")
    return _published("paper5", tuple(name for name in CLASSES if name != "clean"), repeats)


def _published(name: str, classes: tuple[str, ...], repeats: tuple[str, ...]) -> RunConfig:
    cfg = paper()
    data = dataclasses.replace(cfg.data, protocol="promptir", repeats=repeats)
    return RunConfig(name, dataclasses.replace(cfg.model, classes=classes), data, cfg.train)


RECIPES = {"tiny": tiny, "small": small, "base": base, "paper": paper, "paper3": paper3, "paper5": paper5}


def recipe(name: str) -> RunConfig:
    """The full configuration of a recipe: tiny, small, base, paper, paper3 or paper5.

    Raises UserError for any other name.
    """
    if name not in RECIPES:
        raise UserError(
            f"A recipe is one of {', '.join(RECIPES)}; got {name!r}. Change single values with --set key=value."
        )
    return RECIPES[name]()
