"""The training loop: evaluate -> save -> one step -> log, in three stages [ours].

    python -m slerlib train tiny                                    bundled photographs, this machine
    python -m slerlib train tiny --data DIR --out runs/tiny         clean photographs, or any layout of real pairs
    python -m slerlib train tiny --out runs/tiny --resume           go on after an interruption
    python -m slerlib train tiny --out runs/tiny --overwrite        begin anew, in place of what runs/tiny holds
    torchrun --nproc_per_node 8 -m slerlib train base --data DIR    one process per GPU; docs/training.md has more

A  encoder + SUDE loss; at its end the anchors (class means on held-out scenes, or the corners of
   a simplex that `model.sude=anchored` fixed before) and the pins between them
B  experts, shared convolutions, guide convolution and injections; everything upstream of z is frozen
C  encoder too, at a tenth of the rate, + 0.1 SUDE; pins only where `train.learn_pins` is on
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Collection
from pathlib import Path

import torch

from .. import checkpoint, config
from ..data.decode import GIB
from ..data.plan import refuse_unused, shares_text, table
from ..data.sources import Sources
from ..errors import UserError
from ..inference.load import working_device
from ..model.blocks import NAFBlock
from ..model.network import SLERIR
from ..sharding import take_own_gpu
from . import distributed, held_out, lock, looks, own_classes, resuming, stages, transitions
from .run import Run


def train(
    cfg: config.RunConfig,
    data: str | Path | Sources | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    init: str | Path | None = None,
    device: str | torch.device | None = None,
    workers: int = 0,
    progress: bool | None = None,
    cache: float = 2.0,
    allow: Collection[str] = (),
) -> Path:
    """Train a network; returns the folder with weights, card, log and resumable state.

    data: folder of clean photographs or of any known layout, `Sources`, or None for the bundled photographs.
    out: the folder, "runs/NAME" by default; no other training may run in it. One that holds a training is refused,
    unless `resume` goes on with it or `overwrite` begins anew in its place.
    init: checkpoint whose weights to start from (`checkpoint.warm_start`: it may have fewer blocks). If its experts are
    trained, there is no upcycling, which would copy the first expert over the others.
    workers: loader processes; the batches do not depend on it.
    cache: GiB of memory for decoded images; what does not fit is decoded again when it is needed.
    allow: errors of the data to train in spite of, by kind or by the name of a file, folder or set (`data.problems`).
    progress: bar (True) or plain lines (False); None asks whether a person watches.
    Processes that torchrun started share every batch; process 0 writes; torchrun's restarts resume by themselves.
    Raises UserError for bad input and a full disk, FloatingPointError when a loss or gradient is no longer finite and
    ProcessLost when another process has ended.
    """
    out = Path(out or Path("runs") / cfg.name)
    if resume and overwrite:
        raise UserError("--resume goes on with a training, --overwrite begins anew; got both. Leave one of them out.")
    take_own_gpu()
    device = working_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    group = distributed.join(device)
    asked = cfg
    if init is not None:
        cfg = _without_upcycling(cfg, init)
    with group.member(), contextlib.ExitStack() as stack:
        group.from_first(lambda: stack.enter_context(lock.hold(out, "A training")))
        resume = resume or group.restarted() and group.from_first((out / checkpoint.STATE).is_file)
        if not (resume or overwrite):
            group.from_first(lambda: resuming.check_free(out, cfg))
        sources = Sources.of(data, cache * GIB, allow, **cfg.data.extras)
        cfg, sources, own = own_classes.join(cfg, sources, init)
        run = Run(cfg, sources, out, device, group)
        refuse_unused(run.plan, cfg.model.classes, allow)
        if own:
            run.say(own)
        _begin(run, resume, overwrite, init)
        _introduce(run, init if cfg.train.upcycle != asked.train.upcycle else None)
        _go(run, workers, progress)
    return out


def _without_upcycling(cfg: config.RunConfig, init: str | Path) -> config.RunConfig:
    """`cfg`, with train.upcycle=0 where the experts of `init` differ already."""
    net, card = checkpoint.load_net(init)
    theirs = config.from_dict(config.RunConfig, card["config"])
    early = card.get("steps_done", 0) <= theirs.train.stage_steps()[0] + stages.upcycle_steps(theirs)
    if early and not _experts_trained(net):
        return cfg
    return dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, upcycle=0.0))


def _experts_trained(net: SLERIR) -> bool:
    """Whether experts beyond the first have been trained, perhaps in a run before: NAF blocks begin at zero."""
    blocks = [block for stage in net.stages for expert in stage.experts[1:] for block in expert]
    return any(bool(block.gamma.any()) for block in blocks if isinstance(block, NAFBlock))


def _go(run: Run, workers: int, progress: bool | None) -> None:
    """From the step of the run to the end."""
    t, first, start = run.cfg.train, run.group.first, run.step
    a, upcycle_steps, batches = t.stage_steps()[0], stages.upcycle_steps(run.cfg), iter(())
    with resuming.Log(run) as log, _Progress(t.steps, start, progress, first) as bar:
        log.write(looks.begun(run))
        for step in range(start, t.steps + 1):
            # between stages
            if step == a and not run.anchored:
                log.write(transitions.finish_stage_a(run))
            if step == a + upcycle_steps > run.resumed_at and upcycle_steps:
                transitions.upcycle(run)

            # look at the sphere
            if first and looks.due(run.cfg, step) and (step > run.resumed_at or step == 0):
                log.write(looks.look(run, step))

            # evaluate and save
            if (step % t.save_every == 0 or step == t.steps) and step > run.resumed_at:
                if first:
                    scores, inputs = held_out.validate(run.cfg, run.held_out, run.ema, step, run.device)
                    log.write({"step": step, "validation": scores, "validation_input": inputs})
                resuming.save(run)
            if step == t.steps:
                break

            # one step
            if step in (start, a):
                batches = iter(run.loader(step, workers))
            record = run.train_step(step, next(batches))

            # log
            log.write(record)
            bar(step + 1, record)


def _begin(run: Run, resume: bool, overwrite: bool, init: str | Path | None) -> None:
    """Take up the saved state, or start: with weights from `init`, if any. All processes then hold the same."""
    group = run.group
    if group.from_first(lambda: run.fingerprint) != run.fingerprint:
        raise UserError(
            f"All processes of a training need the same data; images or names in {run.sources.origin} of process "
            f"{group.rank} differ from those of process 0. Copy the data again."
        )
    if resume:
        resuming.restore(run)
    elif init is not None:
        learned = checkpoint.warm_start(run.net, init)
        if run.cfg.model.own_classes:
            own_classes.place(run, init)
        if run.cfg.train.new_anchors:  # stage A moves the encoder to the corners of a simplex; paths stay
            fresh = SLERIR(run.cfg.model).router
            run.net.router.set_anchors(fresh.anchors.to(run.device))
        run.keep_pins = learned and not run.cfg.train.stage_steps()[0]
        run.ema.load_state_dict(run.net.state_dict())
    group.broadcast(run.net, run.ema)
    if group.first and not resume:
        resuming.clear(run)


def _introduce(run: Run, trained: str | Path | None) -> None:
    """Print what runs, where, in which number format and why, on which data. trained: weights that forbid upcycling."""
    cfg, sources = run.cfg, run.sources
    run.say(
        f"{cfg.name}: {cfg.train.steps} steps (stages {'/'.join(map(str, cfg.train.stage_steps()))}), "
        f"{len(run.training)} items from {sources.origin} ({sources.layout}), {len(run.held_out)} kept for anchors; "
        f"{run.group.name} on {run.device}, {run.precision.reason}, {torch.get_num_threads()} thread(s)"
    )
    if run.step:
        run.say(f"going on at step {run.step}")
    if trained is not None:
        run.say(f"train.upcycle=0: the experts of {trained} are trained. To go on later: the same --init, and --resume")
    if run.compiled:
        run.say(run.compiled)
    if sources.notes:
        more = [f"and {len(sources.notes) - 5} more"] if len(sources.notes) > 5 else []
        run.say("\n  ".join([f"Noted in {sources.origin}:", *sources.notes[:5], *more]))
    if sources.tests:
        run.say(
            f"{sources.origin} also holds test sets ({', '.join(sources.tests)}), which are not trained on. "
            f"`slerlib data check {sources.origin}` finds pictures that stand in both."
        )
    run.say(f"protocol {cfg.data.protocol}, data {run.fingerprint[:12]}\n{table(run.plan)}")
    run.say("\n".join([shares_text(run.damage), *run.follows]))


class _Progress:
    """A tqdm bar for a person, a plain line now and then for a log file or a report."""

    def __init__(self, steps: int, done: int, progress: bool | None, speak: bool = True):
        self.steps, self.bar, self.speak = steps, None, speak
        self.every = max(1, steps // 20)
        if speak and (sys.stderr.isatty() if progress is None else progress):
            from tqdm import tqdm

            self.bar = tqdm(total=steps, initial=done, unit="step", dynamic_ncols=True)

    def __enter__(self):
        return self

    def __call__(self, step: int, record: dict) -> None:
        if self.bar is not None:
            self.bar.update(step - self.bar.n)
            self.bar.set_postfix_str(f"stage {record['stage']} loss {record['loss']:.4f}", refresh=False)
        elif self.speak and (step % self.every == 0 or step == self.steps):
            print(
                f"step {step}/{self.steps}  stage {record['stage']}  loss {record['loss']:.4f}  "
                f"{record['seconds']:.2f} s/step",
                file=sys.stderr,
                flush=True,
            )

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.close()
