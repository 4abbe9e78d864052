"""The live table of a grid: what is done, what runs where and since when, how long the rest takes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ..files import read_json
from .cells import DONE, Cell, Result

EVERY = 1.0  # seconds between two pictures of the table
ROWS = 12  # of running cells


class Board:
    """Draws the table again and again where a person watches, else says one line for each cell that ended."""

    def __init__(self, cells: list[Cell], folder: Path, say: Callable[[str], object], live: bool | None = None):
        self.cells, self.folder, self.say = {cell.name: cell for cell in cells}, folder, say
        self.live = sys.stderr.isatty() if live is None else live
        self.begun, self._drawn, self._last = time.time(), 0, 0.0

    def ended(self, result: Result, results: Mapping[str, Result], size: int) -> None:
        """A cell has ended."""
        count = f"{len(results)} of {len(self.cells)}"
        begun = {name: about["begun"] for name in self.cells if name not in results and (about := self._where(name))}
        left = self.left(results, begun, size)
        line = f"{count}: {self._title(result.name)} {result.state} after {result.seconds:.0f} s"
        line += f" on {result.worker}" if result.worker else ""
        line += f", {result.tries} tries" if result.tries > 1 else ""
        line += f"; about {_span(left)} left" if left and len(results) < len(self.cells) else ""
        line += f" ({result.why})" if result.state != DONE and result.why else ""
        self._clear()
        self.say(line)

    def draw(self, results: Mapping[str, Result], running: Mapping[str, int], size: int) -> None:
        """The table, at most once every EVERY seconds. running: name of a cell -> its try."""
        if not self.live or time.time() - self._last < EVERY:
            return
        self._clear()
        lines = self.lines(results, running, size)
        print("\n".join(lines), file=sys.stderr, flush=True)
        self._drawn, self._last = len(lines), time.time()

    def lines(self, results: Mapping[str, Result], running: Mapping[str, int], size: int) -> list[str]:
        """The table as text."""
        where = {name: self._where(name) for name in running}
        on = {name: about for name, about in where.items() if about}
        bad = sum(result.state != DONE for result in results.values())
        left = self.left(results, {name: about["begun"] for name, about in on.items()}, size)
        waiting = len(self.cells) - len(results) - len(on)
        head = f"{len(results)} of {len(self.cells)} ended ({bad} not done), {len(on)} run, {waiting} wait; "
        head += f"{_span(time.time() - self.begun)} so far, " + (
            f"about {_span(left)} left" if left else "time left unknown"
        )
        rows = [f"  {self._title(name)[:48]:48s}  {_span(time.time() - about['begun']):>9s}  {about['worker']}"
                + (f"  try {running[name]}" if running[name] > 1 else "")
                for name, about in sorted(on.items(), key=lambda item: item[1]["begun"])[:ROWS]]  # fmt: skip
        return [head, *rows] + ([f"  and {len(on) - ROWS} more"] if len(on) > ROWS else [])

    def left(self, results: Mapping[str, Result], begun: Mapping[str, float], size: int) -> float | None:
        """Seconds left, by the pace of the cells that are done; None before the first one."""
        done = [result for result in results.values() if result.state == DONE]
        cost = sum(self.cells[result.name].cost for result in done)
        if not cost:
            return None
        pace = sum(result.seconds for result in done) / cost
        rest = 0.0
        for name, cell in self.cells.items():
            if name not in results:
                gone = time.time() - begun[name] if name in begun else 0.0
                rest += max(pace * cell.cost - gone, 0.0)
        waiting = len(self.cells) - len(results)
        return rest / max(1, min(size, waiting))

    def _title(self, name: str) -> str:
        return self.cells[name].title or name

    def _where(self, name: str) -> dict | None:
        path = self.folder / f"{name}.json"
        try:
            return read_json(path, "A cell", ("worker", "begun")) if path.exists() else None
        except Exception:  # it is being written on a disk of another machine
            return None

    def _clear(self) -> None:
        if self._drawn:
            print(f"\x1b[{self._drawn}A\x1b[J", end="", file=sys.stderr, flush=True)
            self._drawn = 0

    def close(self) -> None:
        self._clear()


def _span(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
