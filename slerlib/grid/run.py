"""Run the cells of a grid: each once, after those it needs, and again where its worker was lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import UserError
from .board import Board
from .cells import DONE, FAILED, LOST, SKIPPED, Cell, Result

TRIES = 3  # of a cell whose worker was lost, or whose process was killed
PAUSE = 0.1  # seconds between two looks


def run(
    cells: Sequence[Cell],
    workers,
    folder: Path,
    ended: Callable[[Result], object] = lambda result: None,
    say: Callable[[str], object] = print,
    live: bool | None = None,
) -> list[Result]:
    """Run all cells; returns their results in the same order.

    workers: `Local` or `Cluster`; closed at the end. folder: takes a log for each cell. ended: called once with the
    result of each cell as it comes; what it writes is there after a later interruption. live: a table that is drawn
    again and again; None asks whether a person watches.
    A cell whose process is killed, or whose worker dies, runs again, up to TRIES times. One that ends with an error
    does not: the same error would come again. Cells that need one which is not done are skipped.
    Raises UserError when the scheduler of a cluster is gone, and for cells that wait for each other.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting = {cell.name: cell for cell in cells}
    tries = {name: Result(name, SKIPPED) for name in waiting}
    results: dict[str, Result] = {}
    running: dict[str, object] = {}  # name -> future
    for name in waiting:
        (folder / f"{name}.json").unlink(missing_ok=True)
    board, early = Board(list(cells), folder, say, live), True

    def tell(result: Result) -> None:
        results[result.name] = result
        ended(result)
        board.ended(result, results, workers.size)

    try:
        while waiting or running:
            # begin what has all it needs
            for cell in list(waiting.values()):
                needed = [results.get(name) for name in cell.after]
                if any(result and result.state != DONE for result in needed):
                    tries[cell.name].why = f"{', '.join(cell.after)} not done"
                    tell(tries[waiting.pop(cell.name).name])
                elif all(needed):
                    tries[cell.name].tries += 1
                    running[cell.name] = workers.submit(waiting.pop(cell.name), str(folder))
            if not running and waiting:
                if not any(set(cell.after) & set(results) for cell in waiting.values()):
                    raise UserError(f"Cells of a grid wait for each other: {', '.join(waiting)}.")
                continue

            # take what has ended
            for name in [name for name, future in running.items() if future.done()]:
                if _settled(running.pop(name), tries[name]):
                    tell(tries[name])
                else:
                    say(f"{name}: {tries[name].lost[-1]}; it runs again")
                    (folder / f"{name}.json").unlink(missing_ok=True)
                    waiting[name] = next(cell for cell in cells if cell.name == name)
            if why := workers.lost():
                raise UserError(f"{why} {len(results)} of {len(cells)} cells have ended. Start the same command again: "
                                "what is done is not repeated.")  # fmt: skip
            board.draw(results, {name: tries[name].tries for name in running}, workers.size)
            time.sleep(PAUSE)
        early = False
    finally:
        board.close()
        workers.close(early)
    return [results[cell.name] for cell in cells]


def _settled(future, result: Result) -> bool:
    """Take up how a try ended; False if the cell has to run again."""
    try:
        about = future.result()
    except Exception as error:  # Dask gives it where the workers of a cell died
        about = {"code": -1, "seconds": 0.0, "worker": "", "why": f"{type(error).__name__}: {error}"}
    result.seconds, result.worker, result.why = about["seconds"], about["worker"], about["why"]
    if about["code"] == 0:
        result.state = DONE
    elif about["code"] > 0:
        result.state = FAILED
    else:
        result.state = LOST
        result.lost.append(f"its process or worker ended early ({about['why'] or about['code']})")
        return result.tries >= TRIES
    return True
