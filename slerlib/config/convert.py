"""Configurations from and to JSON and command-line text; unknown keys and ill-typed values are refused."""

from __future__ import annotations

import json
import typing
from dataclasses import MISSING, asdict, fields, is_dataclass

from ..errors import UserError
from .checks import types_of
from .schema import RunConfig

#: Keys as older cards have them -> keys of today.
FORMER = {"anchor_contents": "anchor_scenes", "grid_contents": "grid_scenes"}


def to_dict(cfg) -> dict:
    """A configuration, or a section of one, as nested dicts; tuples stay tuples."""
    return asdict(cfg)


def to_json(cfg) -> str:
    """A configuration as JSON, which `from_json` reads; tuples become lists."""
    return json.dumps(to_dict(cfg), indent=2)


def from_dict(cls, values: dict, where: str = ""):
    """Build the dataclass `cls` from the values of JSON; unknown keys and ill-typed values raise UserError."""
    if not isinstance(values, dict):
        raise UserError(f"Configuration {where.rstrip('.') or 'values'} must be an object of keys; got {values!r}.")
    values = {FORMER.get(key, key): value for key, value in values.items()}
    kinds = types_of(cls)
    unknown = [key for key in values if key not in kinds]
    if unknown:
        raise UserError(f"Unknown configuration key {where}{unknown[0]}; the keys here are {', '.join(kinds)}.")
    missing = [f.name for f in fields(cls) if f.default is f.default_factory is MISSING and f.name not in values]
    if missing:
        raise UserError(f"Configuration key {where}{missing[0]} is missing; got {', '.join(values) or 'no keys'}.")
    return cls(**{key: _from_json(kinds[key], value, f"{where}{key}.") for key, value in values.items()})


def from_json(text: str) -> RunConfig:
    """A whole configuration from JSON. Raises UserError for text that is not JSON, unknown keys, ill-typed values."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"A configuration must be JSON; it broke at line {error.lineno}: {error.msg}.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"A configuration must be JSON; it cannot be read ({error}). Copy it again.") from None
    return from_dict(RunConfig, values)


def with_overrides(cfg: RunConfig, assignments: list[str]) -> RunConfig:
    """Apply `section.key=value` texts, e.g. ["train.steps=200", "model.stages=1,1,1,2,1,1,1,1"].

    Values of the recipe that no longer fit an assignment are changed, but never values that are assigned too: a path
    for every place needs the router `sphere` and a sphere, the loss of places needs fixed anchors, repeats need classes
    of the network, and the protocol `promptir` knows no masks, mixtures and repeats of classes.
    Raises UserError for what cannot be read or trained.
    """
    values, assigned = to_dict(cfg), set()
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        section, dot, name = key.strip().partition(".")
        if not equals or not dot or section not in ("model", "data", "train"):
            raise UserError(f"--set takes model.KEY=VALUE, data.KEY=VALUE or train.KEY=VALUE; got {assignment!r:.200}.")
        name = FORMER.get(name, name)
        kind = types_of(type(getattr(cfg, section))).get(name)  # from_dict refuses an unknown key
        values[section][name] = _from_text(kind, text.strip()) if kind else text
        assigned.add(f"{section}.{name}")
    model, data = values["model"], values["data"]
    if "train.place_weight" not in assigned and model["sude"] != "anchored":
        values["train"]["place_weight"] = 0.0
    if "model.route_by" not in assigned and (model["router"] != "sphere" or model["sude"] == "linear"):
        model["route_by"] = "image"
    if published := data["protocol"] == "promptir":
        data |= {key: 0.0 for key in ("local_share", "composite_share") if f"data.{key}" not in assigned}
    if "data.class_repeats" not in assigned:
        names = () if published else tuple(model["classes"])
        data["class_repeats"] = tuple(
            entry for entry in data["class_repeats"] if entry.rpartition("=")[0].strip() in names
        )
    cfg = from_dict(RunConfig, values)
    if cfg.train.place_weight and cfg.train.stage_a and cfg.model.sude != "anchored":  # cards may have been made so
        raise UserError(
            f"train.place_weight needs fixed anchors in stage A (model.sude=anchored); got model.sude={cfg.model.sude} "
            f"and train.place_weight={cfg.train.place_weight}. Set train.place_weight=0, or use model.sude=anchored."
        )
    return cfg


def differences(first: RunConfig, second: RunConfig) -> list[str]:
    """Lines "section.key: a != b" for every value that differs."""
    lines = []
    for section in ("model", "data", "train"):
        one, two = to_dict(getattr(first, section)), to_dict(getattr(second, section))
        lines += [f"{section}.{key}: {one[key]} != {two[key]}" for key in one if one[key] != two[key]]
    return lines


def _from_json(kind, value, where: str):
    """Sections as dataclasses, lists as tuples, 200.0 as 200 where a whole number belongs; the rest as it is."""
    if is_dataclass(kind):
        return from_dict(kind, value, where)
    if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
        return tuple(_from_json(typing.get_args(kind)[0], part, where) for part in value)
    return int(value) if kind is int and isinstance(value, float) and value.is_integer() else value


def _from_text(kind, text: str):
    """The value that the text of a command line stands for; the text itself where it is no such value."""
    if typing.get_origin(kind) is tuple:
        return tuple(_from_text(typing.get_args(kind)[0], part.strip()) for part in text.split(",")) if text else ()
    try:
        return {"true": True, "1": True, "false": False, "0": False}[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        return text
