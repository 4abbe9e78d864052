"""The training loop: evaluate -> save -> one step -> log, in three stages [ours].

    python -m slerlib train tiny                                    bundled photographs, this machine
    python -m slerlib train tiny --data DIR --out runs/tiny         clean photographs, or any layout of real pairs
    python -m slerlib train tiny --out runs/tiny --resume           go on after an interruption

A  encoder + SUDE loss; at its end the anchors (class means on contents kept out of training) and the pins between them
B  experts, shared convolutions, guide convolution and injections; everything upstream of z is frozen
C  everything, encoder at a tenth of the rate, + 0.1 SUDE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from .. import config
from ..data.decode import GIB
from ..data.plan import table
from ..data.sources import Sources
from ..errors import UserError
from ..restore import working_device
from . import checkpoint, held_out
from .run import LOG, Run


def train(
    cfg: config.RunConfig,
    data: str | Path | Sources | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    init: str | Path | None = None,
    device: str | torch.device | None = None,
    workers: int = 0,
    progress: bool | None = None,
    cache: float = 2.0,
) -> Path:
    """Train a network; returns the folder with weights, card, log and resumable state.

    data: folder of clean photographs or of any known layout, `Sources`, or None for the bundled photographs.
    init: checkpoint whose weights to start from. workers: loader processes; the batches do not depend on it.
    cache: GiB of memory for decoded images; what does not fit is decoded again when it is needed.
    progress: bar (True) or plain lines (False); None asks whether a person watches.
    Raises UserError for bad input and FloatingPointError when a loss is no longer finite.
    """
    out = Path(out or Path("runs") / cfg.name)
    device = working_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    sources = Sources.of(data, cache * GIB)
    run = Run(cfg, sources, out, device)
    if resume:
        run.restore_state()
    elif (out / checkpoint.STATE).exists():
        raise UserError(f"{out} already holds a run. Go on with --resume, or choose another --out.")
    elif init is not None:
        checkpoint.load_tensors(run.net, checkpoint.load_net(init)[0].state_dict(), str(init))
        run.ema.load_state_dict(run.net.state_dict())
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.write_atomically(out / "config.json", (config.to_json(cfg) + "\n").encode())
    run.say(
        f"{cfg.name}: {cfg.train.steps} steps (stages {'/'.join(map(str, cfg.train.stage_steps()))}), "
        f"{len(run.training)} items from {sources.origin} ({sources.layout}), {len(run.held_out)} kept for anchors; "
        f"{run.device}, {run.precision_reason}, {torch.get_num_threads()} thread(s)"
    )
    if sources.notes:
        more = [f"and {len(sources.notes) - 5} more"] if len(sources.notes) > 5 else []
        run.say("\n  ".join([f"Left out of {sources.origin}:", *sources.notes[:5], *more]))
    if sources.tests:
        run.say(
            f"{sources.origin} also holds test sets ({', '.join(sources.tests)}), which are not trained on. "
            f"`slerlib data check {sources.origin}` finds pictures that stand in both."
        )
    run.say(f"protocol {cfg.data.protocol}, data {run.fingerprint[:12]}\n{table(run.plan)}")
    a = cfg.train.stage_steps()[0]
    with open(out / LOG, "a", buffering=1) as log, _bar(cfg.train.steps, run.step, progress) as bar:
        start, batches = run.step, iter(())
        for step in range(run.step, cfg.train.steps + 1):
            if step == a and not run.anchored:
                run.finish_stage_a(log)
            if step == a + run.upcycle_steps > run.resumed_at and run.upcycle_steps:
                run.upcycle()
            if step % cfg.train.save_every == 0 and step > run.resumed_at or step == cfg.train.steps:
                log.write(json.dumps({"step": step, "validation": held_out.validate(run)}) + "\n")
                run.save(step)
            if step == cfg.train.steps:
                break
            if step in (start, a):
                batches = iter(run.loader(step, workers))
            record = run.train_step(step, next(batches))
            log.write(json.dumps(record) + "\n")
            bar(step + 1, record)
    return out


class _bar:
    """A tqdm bar for a person, a plain line now and then for a log file or a report."""

    def __init__(self, steps: int, done: int, progress: bool | None):
        self.steps, self.bar = steps, None
        self.every = max(1, steps // 20)
        if sys.stderr.isatty() if progress is None else progress:
            from tqdm import tqdm

            self.bar = tqdm(total=steps, initial=done, unit="step", dynamic_ncols=True)

    def __enter__(self):
        return self

    def __call__(self, step: int, record: dict) -> None:
        if self.bar is not None:
            self.bar.update(step - self.bar.n)
            self.bar.set_postfix_str(f"stage {record['stage']} loss {record['loss']:.4f}", refresh=False)
        elif step % self.every == 0 or step == self.steps:
            print(
                f"step {step}/{self.steps}  stage {record['stage']}  loss {record['loss']:.4f}  "
                f"{record['seconds']:.2f} s/step",
                file=sys.stderr,
                flush=True,
            )

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.close()
