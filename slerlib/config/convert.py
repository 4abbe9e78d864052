"""Configurations from and to JSON and command-line text; unknown keys and ill-typed values are refused."""

from __future__ import annotations

import dataclasses
import json
import types
import typing

from ..errors import UserError
from .schema import RunConfig

#: Keys as older cards have them -> keys of today.
FORMER = {"anchor_contents": "anchor_scenes", "grid_contents": "grid_scenes"}


def to_dict(cfg) -> dict:
    return dataclasses.asdict(cfg)


def to_json(cfg) -> str:
    return json.dumps(to_dict(cfg), indent=2)


def from_dict(cls, values: dict, where: str = ""):
    """Build the dataclass `cls` from plain values; unknown keys and ill-typed values raise UserError."""
    if not isinstance(values, dict):
        raise UserError(f"Configuration {where.rstrip('.') or 'values'} must be an object of keys; got {values!r}.")
    values = {FORMER.get(key, key): value for key, value in values.items()}
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UserError(f"Unknown configuration key {where}{unknown[0]}; the keys here are {', '.join(known)}.")
    return cls(**{key: _convert(hints[key], value, f"{where}{key}") for key, value in values.items()})


def from_json(text: str) -> RunConfig:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"A configuration must be JSON; it broke at line {error.lineno}: {error.msg}.") from None
    return from_dict(RunConfig, values)


def with_overrides(cfg: RunConfig, assignments: list[str]) -> RunConfig:
    """Apply `section.key=value` strings, e.g. ["train.steps=200", "model.stages=1,1,1,2,1,1,1,1"]."""
    values = to_dict(cfg)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        section, dot, name = key.strip().partition(".")
        if not equals or not dot or section not in ("model", "data", "train"):
            raise UserError(f"--set takes model.KEY=VALUE, data.KEY=VALUE or train.KEY=VALUE; got {assignment!r}.")
        values[section][FORMER.get(name, name)] = text.strip()
    return from_dict(RunConfig, values)


def differences(first: RunConfig, second: RunConfig) -> list[str]:
    """Lines "section.key: a != b" for every value that differs."""
    lines = []
    for section in ("model", "data", "train"):
        one, two = to_dict(getattr(first, section)), to_dict(getattr(second, section))
        lines += [f"{section}.{key}: {one[key]} != {two[key]}" for key in one if one[key] != two[key]]
    return lines


def _convert(kind, value, where: str):
    """Turn JSON values and command-line text into the annotated type."""
    try:
        if dataclasses.is_dataclass(kind):
            return value if isinstance(value, kind) else from_dict(kind, value, f"{where}.")
        if typing.get_origin(kind) is tuple:
            item = typing.get_args(kind)[0]
            parts = value.split(",") if isinstance(value, str) else list(value)
            return tuple(_convert(item, part, where) for part in parts)
        if kind is bool:
            if isinstance(value, bool):
                return value
            return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
        if kind is int and not isinstance(value, str) and value != int(value):
            raise ValueError
        return kind(value.strip() if isinstance(value, str) else value)
    except UserError:
        raise  # a section refused one of its own values
    except (ValueError, TypeError, KeyError):
        name = kind.__name__ if isinstance(kind, type) and not isinstance(kind, types.GenericAlias) else str(kind)
        raise UserError(f"Configuration key {where} must be of type {name}; got {value!r}.") from None
