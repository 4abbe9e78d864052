"""Reports with every combination of some parameters, on local processes or on a cluster.

    slerlib report evaluation --grid checkpoint=tiny,small seed=0,1,2 --workers 3

Every combination is a run of its own in the folder of the runs, as if it had been asked for alone. All settings are
checked before the first one starts; what is done already is not repeated. The table `grid-<key>.csv` in the folder has
a row for each combination, written anew when one ends.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable
from pathlib import Path

from ..errors import UserError
from ..files import unwritable, write_atomic
from ..grid import Cell, Result, combinations
from ..grid import run as run_cells
from .frame import verdict
from .manifest import check_files
from .overview import write_list
from .plan import command_words, find_sources, make_plans
from .record import read_runs, settle
from .runs import RULE, runs_folder

LOGS = ".grid"  # in the folder of the runs: logs of the processes


def run_grid(names, params: dict, grid: list[str], workers: Callable, out=None, say=print) -> tuple[list[dict], Path]:
    """Run reports with every combination; returns their records, and the path of the table.

    names, params, out, say: as `runs.run` takes them. grid: texts KEY=VALUE,VALUE. workers: called without arguments
    once all settings are checked; gives `grid.Local` or `grid.Cluster`.
    A record has "folder", "page" and "skipped" (it was done before), and "cell" with its values. A combination that
    differs only in parameters that a report does not have is run once.
    Raises UserError as `runs.run` does, and for a text that is no grid, before anything starts.
    """
    plans = _plans(find_sources([names] if isinstance(names, str) else list(names)), params, combinations(grid))
    runs = (runs_folder() if out is None else Path(out)).absolute()
    key = hashlib.sha256("\n".join(plans).encode()).hexdigest()[:8]
    table = runs / f"grid-{key}.csv"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        settle(runs)
        done = _done(runs, plans)
        say(f"{len(plans)} runs, {len(done)} of them done before; settings are checked. Table: {table}")
        rows = {name: _row(plan, done.get(name)) for name, plan in plans.items()}
        _write(table, rows)

        def ended(result: Result) -> None:
            rows[result.name] = _row(plans[result.name], _records(runs, plans).get(result.name), result)
            _write(table, rows)

        cells = [Cell(name, _words(plan, runs), title=_title(plan)) for name, plan in plans.items() if name not in done]
        if cells:
            run_cells(cells, workers(), runs / LOGS, ended, say)
        write_list(runs)
    except OSError as error:
        raise unwritable(RULE, runs, error, "Free some space, or choose another --out.") from error
    records = _records(runs, plans)
    return [records[name] | {"cell": plan["cell"], "skipped": name in done} for name, plan in plans.items()
            if name in records], table  # fmt: skip


def _plans(sources: dict[str, Path], params: dict, cells: list[dict[str, str]]) -> dict[str, dict]:
    """Plans by the name of their cell, <report>-<key>, with the values of the cell."""
    plans = {}
    for cell in cells:
        if twice := set(cell) & set(params):
            raise UserError(f"A parameter is given once, by -p or in the grid; got {', '.join(twice)} in both.")
        for plan in make_plans(sources, params | cell):
            own = {key: value for key, value in cell.items() if key in plan["parameters"]}
            plans.setdefault(f"{plan['name']}-{plan['key']}", plan | {"cell": own})
    return plans


def _title(plan: dict) -> str:
    return " ".join([plan["name"], *(f"{key}={value}" for key, value in plan["cell"].items())])


def _words(plan: dict, runs: Path) -> tuple[str, ...]:
    """The command of a cell; it goes on with what a lost worker left."""
    return (*command_words(plan), "--out", str(runs), "--resume")


def _records(runs: Path, plans: dict[str, dict]) -> dict[str, dict]:
    """The last record of each cell, a finished one before others."""
    last: dict[str, dict] = {}
    for record in read_runs(runs):
        name = f"{record['name']}-{record['key']}"
        if name in plans and not (name in last and last[name]["state"] == "done"):
            last[name] = record | {"page": record["folder"] / "index.html"}
    return last


def _done(runs: Path, plans: dict[str, dict]) -> dict[str, dict]:
    records = _records(runs, plans).items()
    return {name: r for name, r in records if r["state"] == "done" and not check_files(r["folder"]).files}


def _row(plan: dict, record: dict | None, result: Result | None = None) -> dict:
    row = {"report": plan["name"], **plan["cell"], "state": "waits"}
    if record:
        answer = record.get("finding") or {}
        row |= {"state": record["state"], "verdict": verdict(record), "seconds": record["wall_seconds"]}
        row |= {"folder": record["folder"].name, "headline": answer.get("headline", "")} | answer.get("numbers", {})
    if result:
        row |= {"state": result.state, "tries": result.tries, "worker": result.worker}
        row |= {} if result.state == "done" else {"why": result.why}
    return row


def _write(table: Path, rows: dict[str, dict]) -> None:
    """The rows as CSV, whole or not at all."""
    text, columns = io.StringIO(), dict.fromkeys(key for row in rows.values() for key in row)
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    write_atomic(table, text.getvalue())
