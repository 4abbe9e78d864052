"""Damage in a part of the picture: its tasks, and the scores of the damaged and of the untouched part [ours].

    local_tasks(["rain"])      # ("rain@half", "rain@disc", "rain@gradient"), masks of `slerlib.data.masks`

The damaged part is where the mask is above 0.95: there nearly all of the damage is left. The untouched part is where it
is 0. What lies between, the soft border, belongs to neither. A place is one token of the network; it belongs to a part
if the mean of the mask over its pixels does.
Legend: C channels, H W pixels, h w token map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from torch import Tensor, isin, tensor
from torch.nn.functional import avg_pool2d

from ..data.degrade import degradation_order
from ..errors import UserError
from .metrics import psnr

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..model.router import Trace
    from .cases import Case

LOCAL_SHAPES = ("half", "disc", "gradient")
LOCAL_DAMAGES = ("noise25", "rain", "haze", "blur", "lowlight")
DAMAGED = 0.95
FEWEST_PIXELS = 64  # a smaller part has no score: the untouched part of a gradient is one corner
#: Columns beside those of every evaluation, and what they hold.
LOCAL_COLUMNS = {
    "psnr_damaged_input": "input, damaged part (mask above 0.95)",
    "psnr_damaged": "restored, damaged part",
    "psnr_all_over": "restored, the same part of the same photograph with the same damage all over",
    "psnr_untouched": "restored, untouched part (mask 0), against the photograph itself",
    "places_damaged": "share of the places in the damaged part whose nearest anchor is a damage that was done there",
    "places_clean": "share of the places in the untouched part whose nearest anchor is clean",
}


def damage_of(task: str) -> str:
    """ "rain@disc" -> "rain"; a task without a shape stays as it is."""
    return task.partition("@")[0]


def local_tasks(damages: Iterable[str]) -> list[str]:
    """Each damage in every shape; of "rain@disc" that shape alone. Raises UserError for an unknown shape and clean."""
    tasks = []
    for name in damages:
        damage, _, shape = name.partition("@")
        if shape not in ("", *LOCAL_SHAPES) or not degradation_order(damage.split("+")):
            raise UserError(
                f"A task of setting='local' is a degradation, with @ and a shape ({', '.join(LOCAL_SHAPES)}) or "
                f"without; got {name!r}. Try 'rain' or 'rain@disc'."
            )
        tasks += [name] if shape else [f"{damage}@{shape}" for shape in LOCAL_SHAPES]
    return tasks


def part_scorer(restored: Callable[[Case], Tensor] | None, pitch: int | None) -> Callable[..., tuple[float, ...]]:
    """A function (case, input, clean, restored picture, trace) -> values of LOCAL_COLUMNS; NaN for what cannot be.

    restored: makes the (3, H, W) restored picture of a case, here of those that are damaged all over; None without a
    network. Those of one photograph and damage follow one another, so that the last one serves all shapes.
    pitch: side of a token in pixels.
    """
    all_over = lru_cache(maxsize=1)(restored or (lambda case: None))

    def score(case: Case, x_CHW: Tensor, clean_CHW: Tensor, y_CHW: Tensor, trace: Trace | None) -> tuple[float, ...]:
        where_HW = case.where(*clean_CHW.shape[1:])
        damaged_HW, untouched_HW = where_HW > DAMAGED, where_HW == 0
        parts = [(x_CHW, damaged_HW), (y_CHW, damaged_HW), (all_over(case.all_over), damaged_HW), (y_CHW, untouched_HW)]
        places = _places(damage_of(case.task), where_HW, trace, pitch)
        return (*(_part_psnr(x, clean_CHW, part_HW) for x, part_HW in parts), *places)

    return score


def by_damage(table: DataFrame) -> DataFrame:
    """LOCAL_COLUMNS of each damage and photograph: means over the shapes that have the value. Index: damage, image."""
    damage = table.task.map(damage_of).rename("damage")
    return table.groupby([damage, "image"], sort=False)[list(LOCAL_COLUMNS)].mean()


def _part_psnr(x_CHW: Tensor | None, clean_CHW: Tensor, part_HW: Tensor) -> float:
    if x_CHW is None or part_HW.sum() < FEWEST_PIXELS:
        return math.nan
    return psnr(x_CHW.cpu()[:, None, part_HW], clean_CHW[:, None, part_HW])


def _places(damage: str, where_HW: Tensor, trace: Trace | None, pitch: int | None) -> tuple[float, float]:
    """(share of damaged places named rightly, share of clean ones)."""
    if trace is None or trace.local_angle is None:
        return math.nan, math.nan
    part_hw = avg_pool2d(where_HW[None], pitch, ceil_mode=True)[0]  # a cut token at the edge: mean of its pixels
    named_hw = trace.where()[0, : part_hw.shape[0], : part_hw.shape[1]]  # without padding
    return tuple(
        _share(named_hw[places_hw], names, trace.anchor_names)
        for names, places_hw in ((damage.split("+"), part_hw > DAMAGED), (["clean"], part_hw == 0))
    )


def _share(named: Tensor, names: list[str], anchors: tuple[str, ...]) -> float:
    """Share of the places with one of these names; NaN without places, and where a name has no anchor."""
    if not len(named) or not set(names) <= set(anchors):
        return math.nan
    return isin(named, tensor([anchors.index(name) for name in names])).double().mean().item()
