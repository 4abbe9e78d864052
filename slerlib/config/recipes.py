"""Recipes: functions that return a full configuration."""

from __future__ import annotations

import dataclasses

from ..errors import UserError
from .schema import CLASSES, DataConfig, ModelConfig, RunConfig, TrainConfig


def tiny() -> RunConfig:
    """Laptop CPU, course, CI: 0.41 M active parameters in the backbone, a path for every place.

    About an hour and a half on one quiet processor thread is expected. The shipped checkpoint, 26.44 dB on 34
    photographs of CBSD68, took a chain of some 83,000 steps (its card has them); one run of this recipe alone has not
    been scored.

    Fixed simplex anchors: in its short stage A they separate the classes better than anchors that have to
    emerge from small batches (docs/LOG.md). Damage lies in soft masks and comes mixed, as `data` says, since a network
    that saw one damage all over alone names few places rightly and restores mixtures less well (docs/results.md).
    """
    model = ModelConfig(sude="anchored", stem_blocks=1, encoder_blocks=4, encoder_kernel=7, route_by="place")
    data = DataConfig(
        severity=(0.15, 1.0),
        real_share=0.35,
        local_share=0.4,
        composite_share=0.2,
        class_repeats=("rain=2", "haze=3", "blur=2", "lowlight=3"),
    )
    train = TrainConfig(steps=16000, stage_a=0.2, lr=1.5e-3, place_weight=2.0, colour_weight=8.0, sude_weight=0.3)
    return RunConfig("tiny", model, data, train)


def small() -> RunConfig:
    """Meant for quality on a processor or one GPU: `tiny` with more than twice its blocks, 1.03 M active parameters.

    Blocks that `tiny` does not have change nothing at first, so a training can begin as good as `tiny` is:

        slerlib train small --data DIR --init tiny --set train.stage_a=0 train.stage_c=1

    So it takes over the encoder, the sphere and the experts of `tiny`. The shipped `small` is older: it grew from the
    first `tiny` and has its encoder, its anchors and one path for a picture, as its card says. The shipped
    `small-places` is of this recipe: the experts of `small` behind the encoder of `tiny` (`benchmarks/graft.py`), in a
    training that is not finished; go on with --init small-places. A warm start may first lose what the end of the last
    training gained, so let the rate come all the way down (docs/LOG.md).
    """
    start = tiny()
    model = dataclasses.replace(start.model, stages=(2, 2, 4, 6, 2, 2, 2, 2))
    return RunConfig("small", model, start.data, dataclasses.replace(start.train, steps=24000))


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
