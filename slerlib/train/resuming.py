"""What a run writes to go on from, and how it goes on: with the same bits as if it had not been interrupted.

A kill at any moment, also during a save, loses the steps since the last save and nothing else. Process 0 writes and
reads for all; the number of processes may change between two parts of a run.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from .. import checkpoint, config
from ..data.plan import samples_per_epoch
from ..errors import UserError
from ..files import write_atomic
from .run import Run


def save(run: Run) -> None:
    """Write the resumable state, then weights (averaged) and card; process 0 alone."""
    if run.group.first:
        checkpoint.save_state(run.out / checkpoint.STATE, run.state_dict())
        checkpoint.save_weights(run.out, run.ema, card(run))
    run.saved_at = run.step


def restore(run: Run) -> None:
    """Take up the saved state, and drop what was logged after it: those steps run again.

    Raises UserError for a state of another configuration (with the keys that differ) or other data.
    """
    state = run.group.from_first(lambda: checkpoint.load_state(run.out / checkpoint.STATE, run.cfg))
    if state.get("data", run.fingerprint) != run.fingerprint:
        raise UserError(
            f"A run resumes with the data it began with; names or sizes of images in {run.sources.origin} "
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
        # a kill between the two files of the weights leaves a card that does not fit
        checkpoint.save_weights(run.out, run.ema, card(run))
        if (log := run.out / checkpoint.LOG).is_file():
            lines = [line for line in log.read_text().splitlines() if _log_step(line) < run.step]
            write_atomic(log, "".join(f"{line}\n" for line in lines))


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
