"""A training in a process of its own, which a closed notebook does not end, and its log as a table.

start("tiny", "runs/mine")      begins, or goes on where the training in runs/mine stopped
follow("runs/mine")             returns when it has ended; stopping the cell does not stop the training
stop("runs/mine")               ends it; start goes on from its last save
read_log("runs/mine")           one row per step, a pandas DataFrame
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from .. import checkpoint
from ..config import DataConfig, from_dict, recipe, to_json, with_overrides
from ..data.sources import Sources
from ..errors import UserError
from ..files import read_json, write_atomic
from .lock import RUNNING, hold, is_held
from .resuming import CONFIG, check_free, is_of

if TYPE_CHECKING:
    from pandas import DataFrame

CONSOLE, STARTING = "console.txt", "starting"
TAIL = 1 << 16  # bytes at the end of the log in which the last step is looked for
_children: list[subprocess.Popen] = []  # until they have ended: the system keeps a child that nobody asks for


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    step: int
    steps: int
    stage: str  # A, B or C; "" before the first step
    running: bool
    saved: int  # step of the last save, from which an interrupted training goes on

    @property
    def done(self) -> bool:
        return self.step >= self.steps

    @property
    def state(self) -> str:
        """done, running or stopped; a process that was killed is stopped."""
        return "done" if self.done else "running" if self.running else "stopped"

    def __str__(self) -> str:
        stage = f", stage {self.stage}" if self.stage else ""
        return f"step {self.step} of {self.steps}{stage}: {self.state}; saved at step {self.saved}"


def start(
    name: str,
    out: str | Path,
    data: str | Path | None = None,
    overrides: Sequence[str] = (),
    device: str | None = None,
    threads: int | None = None,
) -> Progress:
    """Begin the training of a recipe in `out`, or go on with it; a running or finished one is left alone.

    Returns when the new process has taken the folder, after some seconds. What it prints goes to console.txt in `out`.
    data: as for `slerlib.train.loop.train`; going on with other data is refused by the training itself. overrides:
    KEY=VALUE of the recipe. device: cuda, cpu, ...; None lets the training choose.
    Raises UserError if `out` holds a checkpoint, a training with other settings, or one, finished or saved on the way,
    on other data.
    """
    out, cfg = Path(out), with_overrides(recipe(name), list(overrides))
    with hold(out, "The start of a training", STARTING):  # two notebooks may start the same one
        if (out / CONFIG).is_file():
            if not is_of((out / CONFIG).read_text(), cfg):
                raise UserError(
                    f"{out} holds a training with other settings than asked for. Choose another folder for the new "
                    f"one, or delete {out} to begin anew."
                )
            state = progress(out)
            if state.running or state.done:
                _check_data(out, data)
                return state
        begun = (out / checkpoint.STATE).is_file()
        if not begun:
            check_free(out, cfg)
            write_atomic(out / CONFIG, to_json(cfg) + "\n")
        command = [sys.executable, "-m", "slerlib", "train", name, "--out", str(out)]
        command += ["--data", str(data)] if data else []
        command += ["--set", *overrides] if overrides else []
        command += ["--device", device] if device else []
        command += ["--threads", str(threads)] if threads else []
        command += ["--resume"] if begun else []
        # in a session, or on Windows a group, of its own: an interrupt or the end of the notebook does not reach it
        alone = (
            {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if os.name == "nt" else {"start_new_session": True}
        )
        with open(out / CONSOLE, "ab") as console:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, **alone)
        _children.append(child)
        while child.poll() is None and not is_held(out):
            time.sleep(0.05)
    return progress(out)


def _check_data(out: Path, data: str | Path | None) -> None:
    """Raise UserError if the card of the training in `out`, written with its saves, states other data than `data`."""
    if not (out / checkpoint.CARD).is_file():
        return
    card = checkpoint.read_card(out)
    saw = card["data"]
    extras = from_dict(DataConfig, card["config"]["data"]).extras
    if Sources.of(data, budget=0, **extras).fingerprint() != saw["fingerprint"]:  # opens the files, keeps no images
        raise UserError(
            f"{out} holds a training on other data than asked for: it saw {saw['source']!r}, and images or names in "
            f"{str(data) if data else 'the bundled photographs'} differ from those. Choose another folder for the new "
            f"one, or delete {out} to begin anew."
        )


def progress(out: str | Path) -> Progress:
    """How far the training in `out` is; writes nothing. Raises UserError for a folder without a training."""
    out = Path(out)
    _children[:] = [child for child in _children if child.poll() is None]
    if not (out / CONFIG).is_file():
        raise UserError(f"{out} holds no training. Begin one with start(recipe, {str(out)!r}).")
    running = is_held(out)
    last = next((r for r in reversed(_records(out, TAIL)) if "loss" in r), {"step": -1, "stage": ""})
    steps = read_json(out / CONFIG, "A configuration", ("train",))["train"]["steps"]
    # the card is written after the weights: with its last save a training is done
    saved = checkpoint.read_card(out)["steps_done"] if (out / checkpoint.CARD).is_file() else 0
    return Progress(max(saved, min(last["step"] + 1, steps - 1)), steps, last["stage"], running, saved)


def follow(
    out: str | Path,
    lines: int = 10,
    every: float = 1.0,
    until: int | None = None,
    show: Callable[[Progress], None] | None = None,
) -> Progress:
    """Print a line each time another tenth (1 / lines) of the steps is done, until the training ends.

    every: seconds between looks. until: a step at which to return, although the training goes on. show: called at each
    look in place of the lines. An interrupt ends this function, not the training, and is a printed line, no error.
    Raises UserError with the end of its output if it ended too early.
    """
    show = show or _Lines(lines)
    state = progress(out)
    try:
        while True:
            show(state)
            if not state.running or (until is not None and state.step >= until):
                break
            begun = time.monotonic()
            while time.monotonic() - begun < every and state.running:
                time.sleep(min(every, 0.1))
                state = progress(out)
                if until is not None and state.step >= until:
                    break
    except KeyboardInterrupt:
        state = progress(out)
        print(f"You stopped the display alone. {state}.")
        return state
    if not state.done and not state.running:
        raise UserError(
            f"The training in {out} ended at step {state.step} of {state.steps}: {_last_words(out)} All of its output "
            f"is in {Path(out) / CONSOLE}; start(...) goes on from its last save, of step {state.saved}."
        )
    return state


def _last_words(out: str | Path) -> str:
    """What a training printed after its last line of progress: the reason of its end, if it had time for one."""
    console = Path(out) / CONSOLE
    lines = console.read_text(errors="replace").strip().splitlines() if console.is_file() else []
    after = next((n for n, line in enumerate(reversed(lines)) if re.match(r"step \d+/\d+ ", line)), len(lines))
    words = " ".join(lines[len(lines) - after :][-3:])
    return words or "it printed no reason, as when it is killed or memory runs out."


class _Lines:
    """Prints a line when another part of the steps is done."""

    def __init__(self, parts: int):
        self.parts, self.printed = parts, None

    def __call__(self, state: Progress) -> None:
        part = state.step * self.parts // state.steps
        if part != self.printed:
            print(f"step {state.step} of {state.steps}, stage {state.stage or '-'}", flush=True)
            self.printed = part


def stop(out: str | Path, patience: float = 10.0) -> Progress:
    """End the training in `out`; steps since its last save are lost. Without one, only returns how far it is.

    patience: seconds after which it is ended by force; with 0 at once, like a power cut. Files stay whole: a save takes
    its final name at once. Raises UserError for a training of this very process.
    """
    pid, begun = Path(out) / f"{RUNNING}.pid", time.monotonic()
    while (state := progress(out)).running:
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):  # it has ended meanwhile
            process = psutil.Process(int(pid.read_text()))
            if process.pid == os.getpid():
                raise UserError(f"The training in {out} runs in this very process. Interrupt it instead.")
            # not an interrupt: processes that a shell started in the background may ignore those
            process.terminate() if time.monotonic() - begun < patience else process.kill()
        time.sleep(0.05)
    return state


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
    """Lines of the log; with `tail`, those in the last so many bytes."""
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
