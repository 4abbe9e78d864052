"""Values as Python has them, as text, or as papermill's -p makes them of text: 5, "5", [1, 2], "[1, 2]", "None".

Each reader raises ValueError, TypeError or OverflowError for a value that does not fit; the caller names the option.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable
from contextlib import suppress


def literal(value):
    """What a text means in Python or JSON; a text that means nothing there stays text."""
    for read in (ast.literal_eval, json.loads) if isinstance(value, str) else ():
        with suppress(ValueError, SyntaxError, RecursionError):
            return read(value.strip())
    return value


def as_float(value) -> float:
    value = literal(value)
    if isinstance(value, (bool, str)) or not math.isfinite(value):
        raise ValueError
    return float(value)


def as_int(value) -> int:
    if not as_float(value).is_integer():
        raise ValueError
    return int(literal(value))


def as_list(value) -> list:
    """Items of a list or another iterable, of text such as "[1, 2]" or "1, 2", or a single value; None has no items."""
    value = literal(value)
    if isinstance(value, str):  # the commas of KEY=1,2 belong to it
        parts = re.split(r",(?=\s*[\w.]+=)" if "=" in value else ",", value)
        return [literal(part) for part in map(str.strip, parts) if part]
    if value is None:
        return []
    return list(value) if isinstance(value, Iterable) and not isinstance(value, dict) else [value]


def as_str(value) -> str:
    """Text; of a name that papermill took for a number too. None is an empty text."""
    if isinstance(value, (list, tuple, dict)):
        raise TypeError
    return "" if value is None else str(value)
