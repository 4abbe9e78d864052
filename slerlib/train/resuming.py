"""What a run writes to go on from, and how it goes on: bit for bit, as if it had not been interrupted.

A kill at any moment, also during a save, loses the steps since the last save and nothing else. Process 0 writes and
reads for all; the number of processes may change between two parts of a run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .. import checkpoint, config
from ..data.plan import samples_per_epoch
from ..errors import UserError
from ..files import write_atomic

if TYPE_CHECKING:
    from .run import Run


def save(run: Run, step: int) -> None:
    """Write the resumable state, then weights (averaged) and card; process 0 alone."""
    if run.group.first:
        state = {
            "config": config.to_json(run.cfg),
            "data": run.fingerprint,
            "step": step,
            "anchored": run.anchored,
            "seconds": run.seconds,
            "averaged": run.averaged,
            "net": run.net.state_dict(),
            "ema": run.ema.state_dict(),
            "optimiser": run.optimiser.state_dict(),
            "scaler": run.precision.scaler.state_dict(),
            "classifier": None if run.classifier is None else run.classifier.state_dict(),
            "rng": torch.get_rng_state(),
        }
        checkpoint.save_state(run.out / checkpoint.STATE, state)
        checkpoint.save_weights(run.out, run.ema, card(run, step))
    run.saved_at = step


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
        run.net.load_state_dict(state["net"])
        run.ema.load_state_dict(state["ema"])
        run.optimiser.load_state_dict(state["optimiser"])
        if state.get("scaler"):
            run.precision.scaler.load_state_dict(state["scaler"])
        if run.classifier is not None:
            run.classifier.load_state_dict(state["classifier"])
        torch.set_rng_state(state["rng"])
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"A run resumes from a state of the same network and optimiser; that in {run.out} does not fit "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). Another version of slerlib may have "
            f"written it: use that one, or warm-start another --out with --init {run.out}."
        ) from error
    run.step = run.resumed_at = run.saved_at = state["step"]
    run.anchored, run.seconds, run.averaged = state["anchored"], state["seconds"], state["averaged"]
    if run.group.first:
        # a kill between the two files of the weights leaves a card that does not fit
        checkpoint.save_weights(run.out, run.ema, card(run, run.step))
        if (log := run.out / checkpoint.LOG).is_file():
            lines = [line for line in log.read_text().splitlines() if _log_step(line) < run.step]
            write_atomic(log, "".join(f"{line}\n" for line in lines).encode())


def _log_step(line: str) -> float:
    """Step that a line belongs to; notes between steps belong to the step before, a torn line to none."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return float("inf")
    return record["step"] if "loss" in record else record["step"] - 1


def card(run: Run, step: int) -> dict:
    """What to know of the weights of `step`: configuration, data, machine."""
    return {
        "name": run.cfg.name,
        "config": config.to_dict(run.cfg),
        "steps_done": step,
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
