"""When is a route doubtful? Limits of angle and margin, for each class by itself. [ours]

Two signs speak against a route: the picture lies far from the nearest anchor, or at some layer two experts are almost
equally near. How far is far depends on the class: measured with `tiny`, noise lies 2 to 14 degrees from its anchor,
clean photographs 16 to 41. So the limits of a class come from photographs of that class which the network named
rightly: beyond the limit of either sign lies TAIL of them. That makes at most one in twenty, the false alarms.
`slerlib.analysis.doubt.measured` computes the limits, `python benchmarks/doubt.py` keeps them in the card of a
checkpoint under "doubt", and `slerlib.load` hands them to the router. `GENERAL` holds where nothing was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TAIL = 0.025  # share of rightly named photographs beyond the limit of one sign
FEWEST = 20  # photographs of a class that can have limits: a 40th part of fewer is no photograph


@dataclass(frozen=True)
class Limits:
    """Of one class, the one whose anchor is nearest."""

    angle: float  # degrees to the anchor; further is doubtful
    margin: float  # similarity to the nearest pin minus to the second, at the least sure layer; less is doubtful
    photographs: int = 0  # from which the limits come; 0: the general ones


GENERAL = Limits(45.0, 0.05)


def limits_of(card: Mapping) -> dict[str, Limits]:
    """Limits by class, from the card of a checkpoint; what a card lacks or has in another form is left out."""
    part = card.get("doubt")
    rows = part.get("limits") if isinstance(part, dict) else None
    result = {}
    for name, row in rows.items() if isinstance(rows, dict) else ():
        values = [row.get(key) for key in ("angle", "margin", "photographs")] if isinstance(row, dict) else [None]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            result[name] = Limits(*values)
    return result


def reasons(name: str, angle: float, margin: float, limits: Mapping[str, Limits]) -> list[str]:
    """Reasons to distrust a route; an empty list where there is no reason.

    name: the nearest class. angle: degrees to its anchor. margin: the smallest of the layers. limits: by class.
    """
    limit, lines = limits.get(name, GENERAL), []
    if margin < limit.margin:
        lines.append(f"margin {margin:.3f} is below {limit.margin:.3g}, the limit of {name}")
    if angle > limit.angle:
        lines.append(f"{angle:.0f} degrees from {name}, whose limit is {limit.angle:.0f}: unlike the trained pictures")
    return lines


def about_limits(card: Mapping) -> str:
    """Two sentences about the limits of a checkpoint: where they come from and how often they err."""
    if not limits_of(card):
        return (
            f"No limits were measured for these weights, so one pair holds for all classes: {GENERAL.angle:.0f} "
            f"degrees and a margin of {GENERAL.margin}; how often they err is not known."
        )
    part = card["doubt"]
    names = ("photographs", "false_alarms", "caught", "wrong_with_doubt", "wrong_without")
    photographs, alarms, caught, doubted, others = (part.get(name) for name in names)
    words = f"Each class has its own limits, measured on {photographs} photographs."
    if alarms is not None and caught is not None:
        words += f" They flag {alarms:.0%} of the rightly named pictures and {caught:.0%} of the wrongly named."
    if doubted is not None and others is not None:
        words += f" Of flagged pictures {doubted:.0%} were named wrongly there, of the others {others:.0%}."
    return words
