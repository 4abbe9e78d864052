"""Types and ranges of configuration values: one check for all sections."""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from collections.abc import Mapping, Sequence

from ..errors import UserError

NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


@functools.cache
def types_of(cls: type) -> dict[str, type]:
    """The type of each field of a dataclass; `tuple[int, ...]` for tuples."""
    return typing.get_type_hints(cls)


def check(cfg, section: str, options: Mapping[str, Sequence[str]], ranges: Mapping[str, str]) -> None:
    """Raise UserError for a value of another type than its field has, no option of it, or out of its range.

    ranges: intervals as text, "[0, 1)" = from 0 to below 1; of a tuple, every number is to lie in it.
    """
    for field in dataclasses.fields(cfg):
        key, value = f"{section}.{field.name}".lstrip("."), getattr(cfg, field.name)
        kind = types_of(type(cfg))[field.name]
        if not is_of(kind, value):
            raise UserError(f"{key} must be {_name(kind)}; got {value!r:.200}.")
        if value not in options.get(field.name, (value,)):
            raise UserError(f"{key} must be one of {', '.join(options[field.name])}; got {value!r:.200}.")
        interval = ranges.get(field.name, "[-inf, inf]")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and not _inside(number, interval):
                raise UserError(f"{key} must lie in {interval}; got {str(number):.200}.")


def is_of(kind, value) -> bool:
    """Whether the value is of the annotated type. True is no number here, and 1 is not True; 1 may stand for 1.0."""
    if typing.get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(is_of(typing.get_args(kind)[0], part) for part in value)
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _name(kind) -> str:
    if typing.get_origin(kind) is tuple:
        return f"a list, each item {_name(typing.get_args(kind)[0])}"
    return NAMES.get(kind, f"a {kind.__name__}")


def _inside(number: float, interval: str) -> bool:
    low, high = map(float, interval[1:-1].split(","))
    if math.isnan(number):
        return False
    above = number > low or (number == low and interval[0] == "[")
    return above and (number < high or (number == high and interval[-1] == "]"))
