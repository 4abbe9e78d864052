"""A suite of ablations several at a time: stage A first, then its variants, each part in a process of its own.

    slerlib ablate --grid variant=sler,dense seed=0,1,2 --workers 3
    slerlib ablate --grid variant=sler,dense seed=0,1,2 --cluster tcp://host:8786

The table in the folder is written here alone, a variant and seed at a time, as they come.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import write_atomic
from ..grid import Cell, Result
from ..grid import run as run_cells
from ..train import lock
from .cell import CELLS, SUITE, result_file
from .run import checked, first_folder
from .tables import TEXT, Table
from .variants import REFERENCE, VARIANTS, Budget

if TYPE_CHECKING:
    from pandas import DataFrame

SCORING = 0.1  # of the time of a whole training, about


def ablate_grid(
    data: str | Path | None, val: str | Path, out: str | Path, names: list[str] | None, seeds: tuple[int, ...],
    budget: Budget, workers: Callable, threads: int = 1, say=print,
) -> DataFrame:  # fmt: skip
    """Train and score the variants, several at a time; returns all rows of the table in `out`, as `run.ablate` does.

    workers: called without arguments once all settings are checked; gives `grid.Local` or `grid.Cluster`. With a
    cluster every machine sees data, val and out under the same names. threads: of a process.
    Raises UserError as `run.ablate` does, and at the end if a part is not done: the rest is in the table then, and the
    same command does what is missing.
    """
    names, _, made_with = checked(data, val, names, budget)
    out = Path(out).resolve()
    with lock.hold(out, "A suite of ablations"):
        lock.sweep(out)
        table = Table(out / "ablations.csv", made_with)
        todo = [(name, seed) for seed in seeds for name in names if not table.holds(name, seed)]
        _write_suite(data, val, out, budget, threads, {name: table.steps(name) for name in names})
        parts = _parts(todo, table, out, budget)
        say(f"{len(todo)} trainings to do, in {len(parts)} parts; settings are checked. Table: {table.path}")

        def ended(result: Result) -> None:
            kind, name, seed = parts[result.name][1]
            if kind == "train" and result.state == "done":
                table.add(_rows(result_file(out, kind, name, seed)))

        results = run_cells([cell for cell, _ in parts.values()], workers(), out / CELLS, ended, say) if parts else []
    if bad := [result for result in results if result.state != "done"]:
        listed = "; ".join(f"{result.name} {result.state} ({result.why})" for result in bad[:5])
        raise UserError(
            f"A suite is done when all its parts are; {len(bad)} of {len(results)} are not: {listed}. Their logs are "
            f"in {out / CELLS}. The same command does what is missing."
        )
    return table.rows


def _write_suite(data, val, out: Path, budget: Budget, threads: int, steps: dict) -> None:
    (out / CELLS).mkdir(exist_ok=True)
    own = {name: count for name, count in steps.items() if count is not None}
    suite = {"data": data and str(Path(data).resolve()), "val": val if val == "demo" else str(Path(val).resolve())}
    suite |= {"budget": dataclasses.asdict(budget), "threads": threads, "steps": own}
    write_atomic(out / CELLS / SUITE, json.dumps(suite, indent=1))


def _parts(todo: list[tuple[str, int]], table: Table, out: Path, budget: Budget) -> dict[str, tuple[Cell, tuple]]:
    """Cells by name, in the order of the seeds, with (kind, variant, seed)."""
    parts: dict[str, tuple[Cell, tuple]] = {}

    def add(name: str, what: tuple, cost: float, after=()) -> str:
        words = ("slerlib.ablation.cell", str(out), *map(str, what))
        parts.setdefault(name, (Cell(name, words, tuple(after), cost), what))
        return name

    whole = budget.stage_a + budget.steps
    for name, seed in todo:
        variant, after, cost = VARIANTS[name], [], budget.steps / whole + SCORING
        if variant.of:
            after, cost = [f"train-{variant.of}-{seed}"], SCORING
            after = [base for base in after if base in parts]  # else it is in the table
        elif not budget.encoder:
            after.append(add(first_folder(variant, seed), ("stage_a", name, seed), budget.stage_a / whole))
        measure = not variant.of and variant.equal == "minutes" and name != REFERENCE and table.steps(name) is None
        if measure and not result_file(out, "steps", name, 0).is_file():
            after.append(add(f"steps-{name}", ("steps", name, 0), 4 * budget.pairs / whole))
        add(f"train-{name}-{seed}", ("train", name, seed), cost, after)
    return parts


def _rows(path: Path) -> DataFrame:
    import pandas as pd

    return pd.read_csv(path, dtype=TEXT)
