"""Every choice of a run, as frozen dataclasses; recipes are functions that return a full configuration.

    cfg = slerlib.config.recipe("tiny")
    cfg = slerlib.config.with_overrides(cfg, ["train.steps=200", "model.experts=1"])
    cfg == slerlib.config.from_json(slerlib.config.to_json(cfg))

Unknown keys, other types and values out of range are refused: a flag that is silently off is worse than an error.

Read in this order:

    schema.py     the keys of model, data and train, with ranges and rules
    checks.py     one check of types and ranges for all of them
    values.py     numbers and lists from text
    recipes.py    tiny, small, base, paper, paper3, paper5
    convert.py    from and to JSON and command-line text
"""

from .convert import differences, from_dict, from_json, to_dict, to_json, with_overrides
from .recipes import RECIPES, base, paper, paper3, paper5, recipe, small, tiny
from .schema import CLASSES, LAYERS, STAGE_NAMES, DataConfig, ModelConfig, RunConfig, TrainConfig, require

__all__ = [
    "CLASSES",
    "LAYERS",
    "RECIPES",
    "STAGE_NAMES",
    "DataConfig",
    "ModelConfig",
    "RunConfig",
    "TrainConfig",
    "base",
    "differences",
    "from_dict",
    "from_json",
    "paper",
    "paper3",
    "paper5",
    "recipe",
    "require",
    "small",
    "tiny",
    "to_dict",
    "to_json",
    "with_overrides",
]
