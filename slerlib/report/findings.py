"""The answer of a report: one sentence with its number, the best figure, and the numbers that a reference knows.

    finding("+5.1 dB", "Restored pictures gain +5.1 dB (4.8 to 5.4).", plots.gain_chart(table), "On 72 ...", numbers)

A notebook calls it once, in a cell tagged `finding`; the page opens with that cell. In a report run it also leaves
finding.json and finding.jpg (a small picture for the list of runs) in the folder of the run.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import read_json, write_atomic
from .words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE, PICTURE = "finding.json", "finding.jpg"
WORDS = ("headline", "sentence", "measured", "alt", "kind")
WIDTH = 480  # pixels of the small picture


def finding(headline: str, sentence: str, figure: Figure, measured: str, numbers: Mapping[str, float]) -> None:
    """Show the answer of a report, and keep it where a report runs.

    headline: its number in a few letters, for the list of runs. sentence: the answer, with its number and interval.
    figure: from `slerlib.plots`. measured: what was measured on what.
    numbers: by name, to compare with the reference; those that are not finite are left out.
    """
    from IPython.display import display

    say(f"**{sentence}**")
    display(figure)
    say(measured)
    if os.environ.get("SLERLIB_REPORT"):
        finite = {name: float(value) for name, value in numbers.items() if math.isfinite(value)}
        values = {"headline": headline, "sentence": sentence, "measured": measured, "numbers": finite}
        values |= {"alt": figure.alt_text, "kind": "photo" if figure.kind == "jpeg" else "chart"}
        write_atomic(Path(FILE), json.dumps(values, indent=2) + "\n")
        write_atomic(Path(PICTURE), _small(figure))


def _small(figure: Figure) -> bytes:
    from PIL import Image

    file, small = io.BytesIO(), io.BytesIO()
    figure.savefig(file, format="png", dpi=WIDTH / figure.get_size_inches()[0])
    Image.open(file).convert("RGB").save(small, "jpeg", quality=80)
    return small.getvalue()


def read_finding(folder: Path) -> dict | None:
    """The finding of a run; None without one, or where it is damaged."""
    with suppress(UserError):
        values = read_json(folder / FILE, "A finding", (*WORDS, "numbers"))
        numbers = values["numbers"]
        if isinstance(numbers, dict) and all(isinstance(number, (int, float)) for number in numbers.values()):
            return {name: str(values[name]) for name in WORDS} | {"numbers": numbers}
    return None
