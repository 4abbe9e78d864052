"""How long a suite of ablations takes on so many machines, planned from the minutes that a table measured.

    from slerlib.ablation import cost, tables
    cost.plan(tables.read("tiny"), machines=50)

Each machine takes the next training as soon as it is free, the longest first within a seed, once its stage A is done.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UserError
from .run import first_folder
from .variants import VARIANTS

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Cost:
    """What a suite takes."""

    trainings: int
    machine_hours: float  # of one process on the processor that measured
    hours: float  # by the clock
    longest: float  # hours of the longest way from a stage A to its last variant: more machines do not go below


def plan(rows: DataFrame, machines: int, part_a: float | None = None, scale: float = 1.0) -> Cost:
    """Cost of the trainings of a table on `machines` processes.

    part_a: share of a training that is stage A, by default that of the steps of SLER-IR in the table; it counts once
    for all variants that share it. scale: minutes of the suite that is planned over those of the table. Scoring is not
    in the minutes of a table. Raises UserError for a table without minutes.
    """
    if "minutes" not in rows or machines < 1:
        raise UserError(f"A plan needs a table with minutes and at least one machine; got {machines} machines.")
    if part_a is None:
        part_a = float(rows.stage_a.iloc[0] / (rows.stage_a.iloc[0] + rows.steps.iloc[0]))
    minutes = rows.groupby(["variant", "seed"]).minutes.first() * scale / 60
    first: dict[str, float] = {}
    tails: list[tuple[str, float]] = []
    for (name, seed), hours in minutes.items():
        variant = VARIANTS[name]
        if not variant.of:
            folder = first_folder(variant, seed)
            first[folder] = max(first.get(folder, 0.0), part_a * hours)
            tails.append((folder, (1 - part_a) * hours))
    free = [0.0] * machines
    heapq.heapify(free)
    ready: dict[str, float] = {}
    for folder, hours in sorted(first.items(), key=lambda item: -item[1]):
        ready[folder] = heapq.heappop(free) + hours
        heapq.heappush(free, ready[folder])
    end = max(ready.values())
    for folder, hours in sorted(tails, key=lambda item: (ready[item[0]], -item[1])):
        stop = max(heapq.heappop(free), ready[folder]) + hours
        heapq.heappush(free, stop)
        end = max(end, stop)
    longest = max(first[folder] + hours for folder, hours in tails)
    total = sum(first.values()) + sum(hours for _, hours in tails)
    return Cost(len(tails), total, end, longest)
