"""What a training did so far, read from its folder while it may still run, or after it broke; nothing is written.

    past = history.read("runs/mine")
    past.state, past.step, past.steps          "running", 3200, 9000
    past.log, past.validation, past.looks      tables and notes of the log

Every file may be missing, old, half written or damaged: `past.notes` names what could not be read, and the rest counts.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .. import checkpoint
from ..config import TrainConfig
from ..data.sources import CLEAN
from ..errors import UserError
from ..files import read_json
from .lock import is_held
from .resuming import CONFIG
from .run import NONFINITE

if TYPE_CHECKING:
    from pandas import DataFrame

DONE, RUNNING, STOPPED, BROKEN = "done", "running", "stopped", "broken"
RECENT = 200  # steps whose pace tells how long the rest takes


@dataclass
class History:
    """A training as its folder shows it. Tables are empty and dictionaries are {} where the folder has nothing."""

    folder: Path
    state: str  # done, running, stopped (before its end), or broken (a loss or gradient was not finite)
    config: dict  # as written; it may be of another version
    card: dict  # of the last save
    log: DataFrame  # one row a step: step, stage, loss and its terms, grad_norm, lr, seconds
    validation: DataFrame  # one row a look at the held-out scenes: step, PSNR in dB of each class
    inputs: dict[str, float]  # PSNR in dB of what these looks restore, by class; {} in an older log
    looks: list[dict]  # of the sphere: `train.looks.look`
    starts: list[dict]  # of the training and after each interruption: `train.looks.begun`
    anchored: dict  # the record of the end of stage A
    notes: list[str] = field(default_factory=list)  # what could not be read

    @property
    def step(self) -> int:
        """Steps done."""
        logged = int(self.log.step.max()) + 1 if len(self.log) else 0
        return max(logged, self.card.get("steps_done", 0) if self.state == DONE else 0)

    @property
    def steps(self) -> int:
        """Steps of the whole training; those done where the configuration is lost."""
        return int(self.config.get("train", {}).get("steps", self.step))

    @property
    def stages(self) -> dict[str, range]:
        """Steps of each stage that has some."""
        values = self.config.get("train", {})
        schedule = {key: values[key] for key in ("steps", "stage_a", "stage_c") if key in values}
        a, b, c = TrainConfig(**schedule).stage_steps() if len(schedule) == 3 else (0, 0, 0)
        spans = {"A": range(a), "B": range(a, a + b), "C": range(a + b, a + b + c)}
        return {stage: span for stage, span in spans.items() if span}

    @property
    def classes(self) -> list[str]:
        return list(self.config.get("model", {}).get("classes", []))

    @property
    def seconds_left(self) -> float | None:
        """By the median of the last steps of each stage; a stage that has not begun counts like the last one."""
        if not len(self.log) or self.state == DONE:
            return None
        pace = {stage: part.seconds.tail(RECENT).median() for stage, part in self.log.groupby("stage")}
        last = pace[self.log.stage.iloc[-1]]
        spans = self.stages or {self.log.stage.iloc[-1]: range(self.steps)}
        return float(sum(max(0, span.stop - max(span.start, self.step)) * pace.get(stage, last)
                         for stage, span in spans.items()))  # fmt: skip

    def samples(self) -> DataFrame:
        """Samples of stages B and C by set so far: set, task, items, share, use, samples, times (each item was drawn).

        By the plan of the training: shares are exact over a long run, and a set may be off by a few samples.
        """
        import pandas as pd

        sets, columns = self.card.get("data", {}).get("sets", []), ["set", "task", "items", "share", "use"]
        batch = self.config.get("train", {}).get("batch", 0)
        done = int((self.log.stage != "A").sum()) * batch if len(self.log) else 0
        table = pd.DataFrame(sets, columns=columns)
        table["use"] = table.use.fillna(table.task.replace(CLEAN, "clean, and degraded by synthesis"))
        table["samples"] = (table.share.astype(float) * done).round().astype(int)
        return table.assign(times=table.samples / table["items"].clip(lower=1).astype(float))

    def wall_minutes(self) -> float | None:
        """Minutes by the clock between the starts and the last look after each, loading and looks included."""
        if not self.starts:
            return None
        ends = []
        for start, following in zip(self.starts, [*self.starts[1:], None], strict=True):
            until = following["step"] if following else float("inf")
            times = [look["time"] for look in self.looks if start["step"] <= look["step"] <= until]
            times = [time for time in times if time >= start["begun"]]
            ends.append((_clock(max(times)) - _clock(start["begun"])).total_seconds() if times else 0.0)
        return sum(ends) / 60

    def pace(self) -> DataFrame:
        """Seconds of a step by stage: median, 95th percentile, and all steps in minutes."""
        by = self.log.groupby("stage", sort=False).seconds
        return by.agg(steps="size", median="median", slow=lambda s: s.quantile(0.95), minutes=lambda s: s.sum() / 60)


def read(folder: str | Path) -> History:
    """What the training in a folder did so far. Raises UserError for a folder that holds no training."""
    import pandas as pd

    folder = Path(folder)
    names = (CONFIG, checkpoint.LOG, checkpoint.CARD)
    if not any((folder / name).is_file() for name in names):
        raise UserError(
            f"A training leaves {', '.join(names)} in its folder; {folder} has none of them. "
            "Name the --out of a training."
        )
    notes: list[str] = []
    config, card = _object(folder / CONFIG, ("train",), notes), _object(folder / checkpoint.CARD, ("config",), notes)
    config = config or card.get("config", {})
    records = _records(folder / checkpoint.LOG, notes)
    steps = {r["step"]: r for r in records if "loss" in r}  # a step that ran again after a kill counts once
    validation = {r["step"]: {"step": r["step"], **r["validation"]} for r in records if r.get("validation")}
    inputs = [r["validation_input"] for r in records if isinstance(r.get("validation_input"), dict)]
    log = pd.DataFrame(list(steps.values()))
    past = History(
        folder, STOPPED, config, card, log, pd.DataFrame(list(validation.values())), inputs[-1] if inputs else {},
        list({r["step"]: r for r in records if isinstance(r.get("sphere"), dict)}.values()),
        [r for r in records if "begun" in r], next((r for r in records if "anchor_accuracy" in r), {}), notes,
    )  # fmt: skip
    finished = config and card.get("steps_done", 0) >= config["train"].get("steps", float("inf"))
    if finished:
        past.state = DONE
    elif is_held(folder):
        past.state = RUNNING
    elif (folder / NONFINITE).is_file():
        past.state = BROKEN
    return past


def _object(path: Path, keys: tuple[str, ...], notes: list[str]) -> dict:
    """The object of a JSON file; {} with a note where it is damaged or missing."""
    try:
        values = read_json(path, "A file of a training", keys)
        if all(isinstance(values[key], dict) for key in keys):
            return values
        notes.append(f"{path.name} is not as slerlib writes it.")
    except UserError as error:
        notes.append(str(error) if path.exists() else f"There is no {path.name} yet.")
    return {}


def _records(path: Path, notes: list[str]) -> list[dict]:
    """The records of the log; a last line that is half written waits, others that cannot be read are counted."""
    if not path.is_file():
        notes.append(f"There is no {path.name}: no step was logged.")
        return []
    lines = path.read_bytes().decode(errors="replace").split("\n")
    records, bad = [], 0
    for line in lines[:-1]:  # what follows the last end of a line is being written
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and isinstance(record.get("step"), int) and _plain(record):
            records.append(record)
        else:
            bad += 1
    if bad:
        notes.append(f"{bad} lines of {path.name} are damaged and do not count.")
    return records


def _plain(record: dict) -> bool:
    """Whether a step has what every step has."""
    return (
        "loss" not in record
        or all(isinstance(record.get(k), (int, float)) for k in ("loss", "seconds"))
        and bool(record.get("stage"))
    )


def _clock(text: str) -> datetime:
    return datetime.fromisoformat(text)


def standing(past: History) -> str:
    """How far a training is, in one sentence without its full stop."""
    left = past.seconds_left
    soon = f", about {left / 60:.0f} minutes to go" if left else ""
    return {
        DONE: f"The training is done after {past.step} steps",
        RUNNING: f"The training runs: step {past.step} of {past.steps}{soon}",
        STOPPED: f"The training stopped at step {past.step} of {past.steps}",
        BROKEN: f"The training broke at step {past.step} of {past.steps}: a loss or gradient was not finite",
    }[past.state]


def remarks(past: History) -> list[str]:
    """Sentences about the state of a training: stages, what a save holds, how to go on, what could not be read."""
    saved, spans = past.card.get("steps_done"), past.stages.items()
    stages = "; ".join(f"{name} from step {span.start} to {span.stop - 1}" for name, span in spans)
    lines = [f"State: **{past.state}**, step {past.step} of {past.steps}. Stages: {stages or 'unknown'}."]
    if past.state in (STOPPED, BROKEN):
        lines.append(f"The last save holds step {saved}." if saved else "Nothing was saved: it can only begin anew.")
    if saved and past.state == STOPPED:
        lines.append("To go on, add `--resume` to the command that began it.")
    if past.state == BROKEN:
        lines.append(f"`{NONFINITE}` holds the samples of that step. Begin another --out from the last save, with a "
                     "lower rate (`--init`, `train.lr`).")  # fmt: skip
    if past.anchored:
        right = past.anchored["anchor_accuracy"]
        views = past.anchored.get("views", "all")  # an older log has no number
        lines.append(f"At the end of stage A {right:.0%} of {views} held-out views were nearest to their own anchor.")
    return lines + [f"Not read: {note}" for note in past.notes]


def changed_settings(a: dict, b: dict) -> list[tuple[str, object, object]]:
    """(key, value in A, value in B) of every setting that differs between two configurations."""
    one, two = _flat(a), _flat(b)
    return [(key, one.get(key), two.get(key)) for key in one | two if one.get(key) != two.get(key)]


def _flat(config: dict) -> dict[str, object]:
    parts = {name: values for name, values in config.items() if isinstance(values, dict)}
    flat = {f"{name}.{key}": value for name, values in parts.items() for key, value in values.items()}
    return flat | {name: value for name, value in config.items() if name not in parts}


def nearest_share(look: dict) -> float:
    """Share of the views of a look at the sphere that lie nearest to the anchor of their class, mean over the classes;
    NaN while there are no anchors."""
    seen = look["sphere"]
    if not seen["anchors"]:
        return math.nan
    rows = [(row[k], n) for k, (row, n) in enumerate(zip(seen["nearest"], seen["views"], strict=True)) if n]
    return sum(own / n for own, n in rows) / len(rows)
