"""What a run writes to go on from, and how it goes on: with the same bits as if it had not been interrupted.

A kill at any moment, also during a save, loses the steps since the last save and nothing else. Process 0 writes and
reads for all; the number of processes may change between two parts of a run.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from .. import checkpoint, config
from ..data.plan import samples_per_epoch
from ..errors import UserError
from ..files import write_atomic
from .lock import sweep, writing
from .run import NONFINITE, Run

CONFIG = checkpoint.CONFIG
SAVED = (checkpoint.STATE, checkpoint.WEIGHTS, checkpoint.CARD)


def is_of(text: str, cfg: config.RunConfig) -> bool:
    """Whether a config.json is that of a training `cfg` asks for.

    Its data may have brought classes of their own; with --init these change more, and the answer is no.
    """
    with suppress(UserError):
        held, classes = config.from_json(text), cfg.model.classes
        if held.model.classes[: len(classes)] == classes:
            held = replace(held, model=replace(held.model, classes=classes))
        return held == cfg
    return False


def check_free(out: Path, cfg: config.RunConfig) -> None:
    """Raise UserError where a new training would replace something: a checkpoint, or another training's files.

    A training of the same configuration that ended before its first save leaves nothing to lose.
    """
    names = [name for name in (*SAVED, checkpoint.LOG, NONFINITE, CONFIG) if (out / name).exists()]
    if (out / CONFIG).is_file() and not set(names) & set(SAVED):
        if is_of((out / CONFIG).read_text(), cfg):
            return
    if names:
        raise UserError(
            f"A training begins in a folder without another one; {out} already holds {', '.join(names)}. Go on with "
            "--resume, choose another --out, or give --overwrite to lose what is there."
        )


def clear(run: Run) -> None:
    """Remove what an earlier training left in the folder, state first, and write the configuration of this one."""
    with _saving(run):
        sweep(run.out)
        for name in (*SAVED, checkpoint.LOG, NONFINITE):
            (run.out / name).unlink(missing_ok=True)
        write_atomic(run.out / CONFIG, config.to_json(run.cfg) + "\n")


def _saving(run: Run):
    step = run.saved_at
    whole = f"The state of step {step} is whole: make room, then" if step else "Nothing was saved yet: make room, or"
    again = "start the same command with --resume." if step else "choose another --out."
    return writing(run.out, "A training keeps its state and log in its folder", f"{whole} {again}")


def save(run: Run) -> None:
    """Write the resumable state, then weights (averaged) and card; process 0 alone."""
    if run.group.first:
        with _saving(run):
            checkpoint.save_state(run.out / checkpoint.STATE, run.state_dict())
            checkpoint.save_weights(run.out, run.ema, card(run))
    run.saved_at = run.step


class Log:
    """The log of process 0, one JSON object a line, each written at once; the other processes write nothing."""

    def __init__(self, run: Run):
        self.run, self.file = run, None

    def __enter__(self) -> Log:
        if self.run.group.first:
            with _saving(self.run):
                self.file = open(self.run.out / checkpoint.LOG, "ab", buffering=0)
        return self

    def write(self, record: dict) -> None:
        line = (json.dumps(record) + "\n").encode()
        with _saving(self.run):
            while self.file and line:  # a disk that is nearly full takes a part
                line = line[self.file.write(line) :]

    def __exit__(self, *error) -> None:
        if self.file:
            self.file.close()


def restore(run: Run) -> None:
    """Take up the saved state, and drop what was logged after it: those steps run again.

    Raises UserError for a state of another configuration (with the keys that differ) or other data.
    """
    state = run.group.from_first(lambda: checkpoint.load_state(run.out / checkpoint.STATE, run.cfg))
    if state.get("data", run.fingerprint) != run.fingerprint:
        raise UserError(
            f"A run resumes with the data it began with; images in {run.sources.origin} or their names "
            f"have changed since {run.out} was saved. Restore the data, or warm-start another --out with "
            f"--init {run.out}."
        )
    try:
        run.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"A run resumes from a state of the same network and optimiser; that in {run.out} does not fit "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). Another version of slerlib may have "
            f"written it: use that one, or warm-start another --out with --init {run.out}."
        ) from error
    if run.group.first:
        with _saving(run):
            sweep(run.out)
            # a kill between the two files of the weights leaves a card that does not fit
            checkpoint.save_weights(run.out, run.ema, card(run))
            if (log := run.out / checkpoint.LOG).is_file():
                lines = [line for line in log.read_text().splitlines() if _log_step(line) < run.step]
                write_atomic(log, "".join(f"{line}\n" for line in lines))
            write_atomic(run.out / CONFIG, config.to_json(run.cfg) + "\n")


def _log_step(line: str) -> float:
    """Step that a line belongs to; a note between steps belongs to the step before. A torn line is dropped."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return float("inf")
    return record["step"] if "loss" in record else record["step"] - 1


def card(run: Run) -> dict:
    """What to know of the weights: configuration, data, machine."""
    return {
        "name": run.cfg.name,
        "config": config.to_dict(run.cfg),
        "steps_done": run.step,
        "minutes": round(run.seconds / 60, 2),
        "data": {
            "source": Path(run.sources.origin).name,
            "layout": run.sources.layout,
            "training": len(run.training),
            "held_out": len(run.held_out),
            "sets": [{**row, "share": round(row["share"], 4), "samples": round(row["samples"])} for row in run.plan],
            "samples_per_epoch": samples_per_epoch(run.plan),
            "fingerprint": run.fingerprint,
        },
        "machine": {
            "device": str(run.device),
            "processes": run.group.world,
            "threads": torch.get_num_threads(),
            "precision": str(run.precision.dtype),
            "torch": torch.__version__,
        },
    }
