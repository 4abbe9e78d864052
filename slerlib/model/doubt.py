"""When is a route doubtful? Limits of angle and margin, for each class by itself. [ours]

Two signs speak against a route: the picture lies far from the nearest anchor, or at some layer two experts are almost
equally near. How far is far depends on the class: measured with `tiny`, 97 of 100 pictures of noise lie within 21 to
24 degrees of their anchor, of clean photographs within 62. So the limits of a class come from photographs of that class
which the network named rightly: beyond the limit of either sign lies TAIL of them. That makes at most one in twenty,
the false alarms.
`slerlib.analysis.doubt.measured` computes the limits, `python benchmarks/doubt.py` keeps them in the card of a
checkpoint under "doubt", and `slerlib.load` hands them to the router. `GENERAL` holds where nothing was measured.

Damage that the network was never trained for may lie near an anchor all the same. More signs together tell more
of it: what the places of the picture say, and what the network sees in its own result (`inference/evidence.py`). A
`Rule` weighs them; `python benchmarks/unseen.py` fits it on photographs and keeps it in the card under "unseen".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

TAIL = 0.025  # share of rightly named photographs beyond the limit of one sign
FEWEST = 20  # pictures of a class that can have limits, or a rate: a 40th part of fewer is no picture


@dataclass(frozen=True)
class Limits:
    """Of one class, the one whose anchor is nearest."""

    angle: float  # degrees to the anchor; further is doubtful
    margin: float  # similarity to the nearest pin minus to the second, at the least sure layer; less is doubtful
    pictures: int = 0  # from which the limits come; 0: the general ones


GENERAL = Limits(45.0, 0.05)


def limits_of(card: Mapping) -> dict[str, Limits]:
    """Limits by class, from the card of a checkpoint; what a card lacks or has in another form is left out."""
    part = card.get("doubt")
    rows = part.get("limits") if isinstance(part, dict) else None
    result = {}
    for name, row in rows.items() if isinstance(rows, dict) else ():
        values = [row.get(key) for key in ("angle", "margin", "pictures")] if isinstance(row, dict) else [None]
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


#: Signs of damage that is unlike the trained, in words; their values come from `inference/evidence.py`.
SIGNS = {
    "angle": "its distance from the nearest anchor",
    "margin": "its least sure layer",
    "mean margin": "how sure the layers are",
    "classes": "how many classes its places name",
    "agreement": "how many of its places name its own class",
    "place angle": "how far its places lie from every anchor",
    "change": "how much restoring changed it",
    "turn": "how far restoring moved it on the sphere",
    "angle after": "how far the result lies from every anchor",
    "clean after": "how far the result lies from clean",
    "margin after": "the least sure layer of the result",
    "blocks": "steps at every eighth pixel, as JPEG makes them",
    "specks": "more bright specks than dark ones, as snow makes them",
}


@dataclass(frozen=True)
class Rule:
    """A logistic regression on the signs and on the nearest class: more than 0 is likelier unlike the trained damage
    than like it; more than `limit` is flagged."""

    mean: tuple[float, ...]  # of each sign and then of each class (1 where it is the nearest), over the fit
    scale: tuple[float, ...]
    weight: tuple[float, ...]  # of a value after (value - mean) / scale
    bias: float
    limit: float
    false_alarms: float  # share of pictures of the trained classes, of other photographs, that are flagged
    clean_alarms: float | None = None  # that of the clean ones among them; None where a card does not tell

    def parts(self, evidence_BN: Tensor) -> Tensor:
        """(B, N) what each sign adds to the score."""
        mean, scale, weight = (evidence_BN.new_tensor(row) for row in (self.mean, self.scale, self.weight))
        return (evidence_BN - mean) / scale * weight

    def scores(self, evidence_BN: Tensor) -> Tensor:
        """(B,)"""
        return self.parts(evidence_BN).sum(dim=1) + self.bias

    def about(self) -> str:
        """A sentence about how often it errs."""
        return f"The score is above the limit for {self._alarms()}."

    def _alarms(self) -> str:
        clean = "" if self.clean_alarms is None else f" ({self.clean_alarms:.0%} of the clean ones among them)"
        return f"{self.false_alarms:.0%} of pictures of the trained classes{clean}"

    def reasons(self, evidence_BN: Tensor) -> list[list[str]]:
        """A sentence for each picture that is flagged, with the two signs that weigh most; else an empty list."""
        result = []
        for parts, score in zip(self.parts(evidence_BN), self.scores(evidence_BN).tolist(), strict=True):
            first, second = (list(SIGNS.values())[n] for n in parts[: len(SIGNS)].topk(2).indices.tolist())
            text = f"damage unlike the trained (score {score:.1f}, limit {self.limit:.1f}; it is above for "
            text += f"{self._alarms()}); signs: {first}, {second}"
            result.append([text] if score > self.limit else [])
        return result


def rule_of(card: Mapping, classes: Sequence[str]) -> Rule | None:
    """The rule in the card of a checkpoint with these classes; None where it has none of this form."""
    part = card.get("unseen")
    rows = part.get("signs") if isinstance(part, dict) else None
    if not isinstance(rows, dict) or list(rows) != [*SIGNS, *classes]:
        return None
    numbers = [part.get(name) for name in ("bias", "limit", "false_alarms")]
    columns = [[row.get(name) if isinstance(row, dict) else None for row in rows.values()]
               for name in ("mean", "scale", "weight")]  # fmt: skip
    values = [*numbers, *(value for column in columns for value in column)]
    usual = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    clean = part.get("clean_alarms")  # a share, if it was measured
    clean = clean if isinstance(clean, int | float) and not isinstance(clean, bool) and 0 <= clean <= 1 else None
    return Rule(*map(tuple, columns), *numbers, clean) if usual and all(columns[1]) else None


def wrong_names(card: Mapping, name: str, doubtful: bool) -> tuple[float, int] | None:
    """(share, of how many): measured pictures that the network called `name`, and wrongly, with or without a sign.

    None where a card has no such rate, or one of fewer than FEWEST pictures.
    """
    rows = card["doubt"].get("named") if limits_of(card) else None
    row = rows.get(name) if isinstance(rows, dict) else None
    values = row.get("with_doubt" if doubtful else "without") if isinstance(row, dict) else None
    usual = isinstance(values, dict) and all(isinstance(values.get(key), int | float) for key in ("wrong", "pictures"))
    return (values["wrong"], values["pictures"]) if usual and values["pictures"] >= FEWEST else None


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
