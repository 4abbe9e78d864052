"""A training in a process of its own, which a closed notebook does not end, and its log as a table.

    start("tiny", "runs/mine")      begins, or goes on where the training in runs/mine stopped; returns at once
    follow("runs/mine")             comes back when it has ended; stopping the cell stops the looking, not the training
    read_log("runs/mine")           one row per step, a pandas DataFrame

POSIX only: the process holds a file lock, which the system takes back however the process ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import checkpoint
from ..config import recipe, to_json, with_overrides
from ..data.sources import Sources
from ..errors import UserError
from ..files import write_atomic

if TYPE_CHECKING:
    from pandas import DataFrame

LOCK, CONSOLE = "running.lock", "console.txt"
TAIL = 1 << 16  # bytes of the log in which the last step is looked for
_children: list[subprocess.Popen] = []  # kept until they have ended, so that none stays behind as a zombie


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    step: int
    steps: int
    stage: str  # A, B or C; "" before the first step
    running: bool

    @property
    def done(self) -> bool:
        return self.step >= self.steps


def start(
    name: str,
    out: str | Path,
    data: str | Path | None = None,
    overrides: Sequence[str] = (),
    device: str | None = None,
    threads: int | None = None,
) -> Progress:
    """Begin the training of a recipe in `out`, or go on with it; a running or finished one is left alone.

    data: as for `slerlib.train.loop.train`; going on with other data is refused by the training itself. overrides:
    KEY=VALUE of the recipe. device: cuda, cpu, ...; None lets the training choose. What it prints goes to console.txt
    in `out`.
    Raises UserError if `out` holds a training with other settings or one, finished or saved on the way, on other data;
    and if the system knows no file locks.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"A training writes into a folder; {out} is a file. Choose another one.")
    wanted = to_json(with_overrides(recipe(name), list(overrides)))
    out.mkdir(parents=True, exist_ok=True)
    settings = out / "config.json"
    if settings.is_file():
        if settings.read_text().strip() != wanted:
            raise UserError(
                f"{out} holds a training with other settings than asked for. Choose another folder for the new one, "
                f"or delete {out} to begin anew."
            )
        state = progress(out)
        if state.running or state.done:
            _check_data(out, data)
            return state
    lock = _lock(out)
    if lock is None:
        raise UserError(f"Another process is just starting the training in {out}. Run this again.")
    with lock:
        lock.truncate(0)  # the number of an earlier process
        write_atomic(settings, (wanted + "\n").encode())
        command = [sys.executable, "-m", "slerlib", "train", name, "--out", str(out)]
        command += ["--data", str(data)] if data else []
        command += ["--set", *overrides] if overrides else []
        command += ["--device", device] if device else []
        command += ["--threads", str(threads)] if threads else []
        command += ["--resume"] if (out / checkpoint.STATE).is_file() else []
        with open(out / CONSOLE, "ab") as console:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,  # an interrupt or the end of the notebook's kernel does not reach it
                pass_fds=[lock.fileno()],  # the lock is held until the last process that has it open has ended
            )
        _children.append(child)
        lock.write(str(child.pid).encode())
        lock.flush()
    return progress(out)


def _check_data(out: Path, data: str | Path | None) -> None:
    """Raise UserError if the card of the training in `out`, written with its saves, states other data than `data`."""
    card = out / checkpoint.CARD
    known = json.loads(card.read_text())["data"] if card.is_file() else {}
    asked = Sources.of(data, budget=0).fingerprint() if "fingerprint" in known else None  # opens files, keeps none
    if asked != known.get("fingerprint"):
        raise UserError(
            f"{out} holds a training on other data than asked for: it saw {known['source']!r}, and the names or sizes "
            f"of images in {str(data) if data else 'the bundled photographs'} differ from those. Choose another folder "
            f"for the new one, or delete {out} to begin anew."
        )


def progress(out: str | Path) -> Progress:
    """How far the training in `out` is. Raises UserError where there is none."""
    out = Path(out)
    _children[:] = [child for child in _children if child.poll() is None]
    settings = out / "config.json"
    if not settings.is_file():
        raise UserError(f"{out} holds no training. Begin one with start(recipe, {str(out)!r}).")
    last = next((r for r in reversed(_records(out, TAIL)) if "loss" in r), {"step": -1, "stage": ""})
    steps = json.loads(settings.read_text())["train"]["steps"]
    card = out / checkpoint.CARD  # written after the weights: with its last save a training is done
    saved = json.loads(card.read_text())["steps_done"] if card.is_file() else 0
    lock = _lock(out, shared=True)
    if lock is not None:
        lock.close()
    step = max(saved, min(last["step"] + 1, steps - 1))
    return Progress(step, steps, last["stage"], lock is None)


def follow(out: str | Path, lines: int = 10, every: float = 1.0) -> Progress:
    """Print a line each time another tenth (1 / lines) of the steps is done, until the training ends.

    every: seconds between looks. Raises UserError with the end of its output if it ended too early.
    """
    told = None
    while True:
        state = progress(out)
        part = state.step * lines // state.steps
        if part != told:
            print(f"step {state.step} of {state.steps}, stage {state.stage or '-'}", flush=True)
            told = part
        if not state.running:
            break
        time.sleep(every)
    if not state.done:
        console = Path(out) / CONSOLE
        tail = console.read_text(errors="replace").strip().splitlines()[-3:] if console.is_file() else []
        raise UserError(
            f"The training in {out} ended at step {state.step} of {state.steps}: {' '.join(tail) or 'no output'} "
            f"All of its output is in {console}; start(...) goes on from its last save."
        )
    return state


def stop(out: str | Path, patience: float = 10.0) -> None:
    """End the training in `out`; steps since its last save are lost. Nothing if none runs.

    patience: seconds after which it is ended by force. A save in progress cannot be cut in half: it is renamed whole.
    """
    lock, begun = Path(out) / LOCK, time.monotonic()
    while progress(out).running and (pid := lock.read_text().strip()):
        # not an interrupt: processes that a shell started in the background may ignore those
        with contextlib.suppress(ProcessLookupError):  # ended since the look
            os.kill(int(pid), signal.SIGTERM if time.monotonic() - begun < patience else signal.SIGKILL)
        time.sleep(0.05)


def read_log(out: str | Path) -> DataFrame:
    """One row per step so far: stage, loss and its terms, gradient norm, rate, seconds."""
    import pandas as pd

    return pd.DataFrame([r for r in _records(Path(out)) if "loss" in r])


def read_validation(out: str | Path) -> DataFrame:
    """One row per look at the held-out scenes: step, and the PSNR in dB of each class."""
    import pandas as pd

    looks = [{"step": r["step"], **r["validation"]} for r in _records(Path(out)) if r.get("validation")]
    return pd.DataFrame(looks)


def _records(out: Path, tail: int | None = None) -> list[dict]:
    """Lines of the log; of its last `tail` bytes alone, if given."""
    log = out / checkpoint.LOG
    if not log.is_file():
        return []
    with open(log, "rb") as file:
        if tail is not None and file.seek(0, os.SEEK_END) > tail:
            file.seek(-tail, os.SEEK_END)
            file.readline()  # the rest of a line
        else:
            file.seek(0)
        lines = file.read().decode(errors="replace").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("}\n")]  # the last one may be half written


def _lock(out: Path, shared: bool = False):
    """The lock file, locked and open; None while another process holds it. A look is shared: lookers do not disturb."""
    try:
        import fcntl
    except ImportError:
        raise UserError(
            "A training in the background needs file locks, which this system's Python has not (fcntl is missing). "
            "Run `python -m slerlib train` in a terminal instead."
        ) from None
    file = open(out / LOCK, "a+b")
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
