"""The values of a grid, KEY=VALUE,VALUE, and their combinations."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

from ..errors import UserError


def combinations(texts: Sequence[str], allowed: Collection[str] | None = None) -> list[dict[str, str]]:
    """Every combination of the values, the last key changing fastest.

    >>> combinations(["checkpoint=tiny,small", "seed=0,1"])[1]
    {'checkpoint': 'tiny', 'seed': '1'}

    allowed: keys there are; None: the caller checks them. Raises UserError for a text without values, a key or value
    that comes twice, and a key that is not allowed.
    """
    axes: dict[str, list[str]] = {}
    for text in texts:
        key, equals, rest = text.partition("=")
        values = [value.strip() for value in rest.split(",")]
        if not (key and equals and all(values)):
            raise UserError(f"A grid takes KEY=VALUE,VALUE, such as seed=0,1,2; got {text!r}.")
        if allowed is not None and key not in allowed:
            raise UserError(f"The keys of this grid are {', '.join(sorted(allowed))}; got {key!r}.")
        if key in axes or len(set(values)) < len(values):
            raise UserError(f"A grid has each key once and each of its values once; got {text!r} again. Remove one.")
        axes[key] = values
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
