"""A cell of a grid, one run of a command, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field

DONE, FAILED, LOST, SKIPPED = "done", "failed", "lost", "skipped"


@dataclass(frozen=True)
class Cell:
    """One run: `python -m` with these words, in a process of its own."""

    name: str  # of this cell alone; its log has the same name
    words: tuple[str, ...]  # module and arguments
    after: tuple[str, ...] = ()  # names of cells that must be done before
    cost: float = 1.0  # how long it takes beside the others, for the time left
    title: str = ""  # for a person, in place of the name


@dataclass
class Result:
    """How a cell ended."""

    name: str
    state: (
        str  # done; failed: it ended with an error; lost: its workers were lost; skipped: a cell it needs is not done
    )
    seconds: float = 0.0
    tries: int = 0
    worker: str = ""
    why: str = ""  # the last words of its log
    lost: list[str] = field(default_factory=list)  # what ended each try before
