"""Walk along the sphere from one anchor to another and see the experts change."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

from .. import plots
from ..analysis.causal import arc_routes
from ..config import STAGE_NAMES
from ..errors import UserError
from . import drawing
from .explorer import Explorer, dropdown, network, slider
from .frames import Look

if TYPE_CHECKING:
    from ..model.network import SLERIR

STEPS = 100  # of the slider, from anchor to anchor


def walk(model: SLERIR, start: str = "rain", end: str = "blur", t: float = 0.0) -> Explorer:
    """Explorer of the arc between two anchors: which expert is nearest at each layer, and where the layers switch.

    start, end: names of anchors (`model.router.names`). t: part of the way, 0 to 1.
    Controls: start, end, t. Values: t, path, angle_start, angle_end (degrees), nearest (anchor), table (`arc_routes`).
    Raises UserError for names without an anchor, for t outside 0..1, and for a network without a sphere.
    """
    router = network(model).router
    if not 0 <= t <= 1:
        raise UserError(f"t is a part of the way, from 0 to 1; got {t!r}. Pass, for example, t=0.5.")
    arc_routes(router, start, end, 2)  # refuses a wrong start now, not in the widget

    def make_controls():
        ends = {"start": start, "end": end}
        lists = {words: dropdown(words, router.names, name) for words, name in ends.items()}
        return lists | {"t": slider("t", t, 1 / STEPS, tip="Part of the way from start to end")}

    table_of = lru_cache(maxsize=64)(lambda start, end: arc_routes(router, start, end, STEPS + 1))

    def still():
        return [plots.arc_chart(table_of(start, end), start, end, 0.5)]

    return Explorer("Walk", make_controls, partial(_look, table_of), still)


def _look(table_of, start: str, end: str, t: float) -> Look:
    table = table_of(start, end)
    here = table.iloc[round(t * STEPS)]
    t = float(here.t)  # the numbers are those of this step
    first, last = table.path.iloc[0], table.path.iloc[-1]
    both = sum(a == b == c for a, b, c in zip(first, here.path, last, strict=True))
    as_start = sum(a == b for a, b in zip(first, here.path, strict=True)) - both
    as_end = sum(a == b for a, b in zip(last, here.path, strict=True)) - both
    line = f"t = {t:.2f}: {here.angle_start:.0f} degrees from {start}, {here.angle_end:.0f} from {end}; "
    line += f"path {here.path}; of {len(STAGE_NAMES)} layers {as_start} go as {start} alone, {as_end} as {end} alone, "
    line += f"{both} as both, {len(STAGE_NAMES) - as_start - as_end - both} as neither."
    steps = tuple(zip(table.t.tolist(), table.path, strict=True))
    return Look(line, (), here.to_dict() | {"table": table}, (drawing.arc(steps, start, end, t),))
