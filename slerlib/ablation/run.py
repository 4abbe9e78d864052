"""Ablations: one mechanism changed at a time, equal minutes, several training seeds (the comparisons of the paper).

    slerlib ablate --data DIR --val DIR                            every variant, seeds 0, 1, 2
    slerlib ablate sler dense --seeds 0 --steps 200 --images 2     a first look

Stage A runs once per seed and encoder: what follows it cannot change it. From there every variant trains stages B and C
for as long as SLER-IR does on the same processor. The ratio of the times of their steps is measured here, their
steps in turns, so that another load slows both; all seeds of a variant take as many steps as its first one.
Each training adds its rows to the table. What the table holds is not run again, and an interrupted training goes on.
"""

from __future__ import annotations

import statistics
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .. import checkpoint, config
from ..data.sources import Sources
from ..errors import UserError
from ..evaluation.cases import cases, check_readable, data_sha256
from ..evaluation.evaluate import evaluate
from ..evaluation.table import modal_paths, summary
from ..files import PACKAGE, sha256_folder
from ..inference.load import load
from ..model.network import parameter_counts
from ..train import lock, loop, resuming, stages
from .tables import Table
from .variants import DAMAGE, REFERENCE, VARIANTS, Budget, Variant

if TYPE_CHECKING:
    from pandas import DataFrame


def ablate(
    data: str | Path,
    val: str | Path,
    out: str | Path,
    names: list[str] | None = None,
    seeds: tuple[int, ...] = (0, 1, 2),
    budget: Budget | None = None,
    say=print,
) -> DataFrame:
    """Train and score the variants; returns all rows (variant, seed, task) of the table in `out`.

    `slerlib.ablation.tables` reads what they show. Columns code (sha256 of this package's sources) and torch name the
    program that trained a row; only the budget and the data must be the same for all.

    data: training data, val: folder of clean photographs that are degraded as the demo's are. names: of VARIANTS, None
    for all. out: one process at a time works in it. Seeds are the outer loop: a third of the time gives the first
    complete comparison.
    Raises UserError for an unknown name, a budget without room for stage C, a table made with another budget, or a
    folder in which another process works.
    """
    budget, out = budget or Budget(), Path(out)
    names, sources, made_with = checked(data, val, names, budget)
    with lock.hold(out, "A suite of ablations"):
        lock.sweep(out)
        table = Table(out / "ablations.csv", made_with)
        for seed in seeds:
            for name in names:
                if not table.holds(name, seed):
                    say(f"{name}, seed {seed}: {VARIANTS[name].meaning}")
                    table.add(scored(name, seed, budget, sources, Path(val), out, table.steps(name)))
        return table.rows


def checked(
    data: str | Path | None, val: str | Path, names: list[str] | None, budget: Budget
) -> tuple[list[str], Sources, dict]:
    """(names in the order of VARIANTS, training data, what a table is made with). Raises UserError as `ablate` does."""
    names = list(names or VARIANTS)
    unknown = sorted(set(names) - set(VARIANTS))
    if unknown:
        raise UserError(f"An ablation is one of {', '.join(VARIANTS)}; got {', '.join(unknown)}.")
    if budget.stage_a > 4 * budget.steps:
        raise UserError(
            f"Stage C takes a fifth of all steps, so --steps must be at least a quarter of --stage-a; "
            f"got {budget.steps} and {budget.stage_a}. Raise --steps, or lower --stage-a."
        )
    if budget.damage not in DAMAGE:
        raise UserError(f"--damage is one of {', '.join(DAMAGE)}; got {budget.damage!r}.")
    if bool(budget.encoder) == bool(budget.stage_a):
        raise UserError(
            "A suite trains its encoders in stage A or takes one from a checkpoint; got "
            f"--stage-a {budget.stage_a} and --encoder {budget.encoder or '(none)'}. "
            "Leave --encoder out, or set --stage-a 0."
        )
    if own := [name for name in names if VARIANTS[name].encoder and budget.encoder]:
        raise UserError(
            f"With --encoder all variants have the same encoder; {', '.join(own)} would train another. "
            "Leave them out, or leave --encoder out."
        )
    if REFERENCE not in names:
        names.insert(0, REFERENCE)  # the others are measured against it
    sources = Sources.of(data)
    todo, _ = cases(val, "demo", images=budget.images)
    check_readable(todo, "center16")  # what cannot be scored is refused before a training
    made_with = budget.made_with()
    if budget.encoder:
        made_with["encoder"] = checkpoint.load_net(budget.encoder)[1]["weights_sha256"][:12]
    made_with |= {"data": sources.fingerprint()[:12], "val": data_sha256(todo, val)[:12]}
    return sorted(names, key=list(VARIANTS).index), sources, made_with


def scored(
    name: str, seed: int, budget: Budget, sources: Sources, val: Path, out: Path, steps: int | None
) -> DataFrame:
    """Train and score one variant and seed; its rows, and the program that made them.

    steps: of stages B and C, None to measure how many equal minutes allow.
    """
    import pandas as pd

    variant = VARIANTS[name]
    folder = out / f"{variant.of}-{seed}" if variant.of else _train(name, seed, budget, sources, out, steps)
    net, card = checkpoint.load_net(folder)
    if variant.of and not variant.scored:
        paths = modal_paths(_on_own_routes(folder, card["weights_sha256"], val, budget))
        table = _scores(folder, val, budget, path=paths)
    elif variant.of:
        table = _scores(folder, val, budget, **dict(variant.scored))
    else:
        table = _on_own_routes(folder, card["weights_sha256"], val, budget)
    means = pd.concat([summary(part) for _, part in table.groupby("setting", sort=False)])
    rows = means[means.task != "average"][["task", "n", "psnr_input", "psnr", "ssim"]].round(4)
    counts = parameter_counts(net)
    rows.insert(0, "variant", name)
    rows.insert(1, "seed", seed)
    extra = {key: card[key] for key in ("steps_done", "minutes")} | {key: counts[key] for key in ("active", "total")}
    return rows.assign(**extra, code=sha256_folder(PACKAGE, "*.py")[:12], torch=torch.__version__)


@lru_cache(maxsize=1)  # a variant `of` the training that was scored just before needs the same table
def _on_own_routes(folder: Path, sha256: str, val: Path, budget: Budget) -> DataFrame:
    return _scores(folder, val, budget)


def _scores(folder: Path, val: Path, budget: Budget, **how) -> DataFrame:
    """Rows of every (image, task), with the column `setting`."""
    import pandas as pd

    model, settings = load(folder), {"demo": {}}
    if budget.damage == "mixed":
        settings |= {"mixed": {"crop": "center256"}, "local": {"crop": "center256"}}
    parts = {s: evaluate(model, val, s, images=budget.images, **options, **how) for s, options in settings.items()}
    return pd.concat([part.assign(setting=name) for name, part in parts.items()], ignore_index=True)


def _train(name: str, seed: int, budget: Budget, sources: Sources, out: Path, steps: int | None) -> Path:
    """Stage A (shared), then stages B and C from its state; resumes what was cut off."""
    variant, folder = VARIANTS[name], out / f"{name}-{seed}"
    first = budget.encoder or stage_a(variant, seed, budget, sources, out)
    if not (folder / checkpoint.CARD).is_file():  # the last file of a save: without it nothing has been trained
        if variant.equal == "steps" or name == REFERENCE:
            steps = budget.steps
        elif steps is None:
            steps = equal_steps(variant, budget, sources, out)
        _begin(budget.configured(seed, variant.encoder + variant.rest, steps), sources, folder, first, budget.stage_a)
    card = checkpoint.read_card(folder)
    # the number of steps was settled when the training began: measured again it would differ a little
    cfg = config.from_dict(config.RunConfig, card["config"])
    if card["steps_done"] < cfg.train.steps:
        loop.train(cfg, sources, folder, resume=True, progress=False)
    return folder


def first_folder(variant: Variant, seed: int) -> str:
    """Name of the folder of stage A, which variants with the same encoder share."""
    return f"stage_a-{'_'.join(v.split('.')[-1] for v in variant.encoder) or 'recipe'}-{seed}"


def equal_steps(variant: Variant, budget: Budget, sources: Sources, out: Path) -> int:
    """Steps of stages B and C that take a variant as long as SLER-IR takes for its own, measured here."""
    return round(budget.steps * _time_ratio(variant, budget, sources, out))


def stage_a(variant: Variant, seed: int, budget: Budget, sources: Sources, out: Path) -> Path:
    """Train stage A, or go on with it, or find it done; its folder."""
    first = out / first_folder(variant, seed)
    begun = (first / checkpoint.STATE).is_file()
    if not (first / checkpoint.CARD).is_file() or checkpoint.read_card(first)["steps_done"] < budget.stage_a:
        loop.train(budget.configured(seed, variant.encoder, 0), sources, first, resume=begun, progress=False)
    return first


def _begin(cfg: config.RunConfig, sources: Sources, folder: Path, first: str | Path, step: int) -> None:
    """Write the state of a training that has just finished stage A: encoder and anchors from `first`, pins of its own
    kind between them."""
    run = loop.Run(cfg, sources, folder, _device())
    own, upstream = run.net.state_dict(), checkpoint.load_net(first)[0].state_dict()
    shared = [key for key in own if key in upstream and key.startswith(("encoder.", "glgf.", "router.anchors"))]
    run.net.load_state_dict({**own, **{key: upstream[key] for key in shared}})
    run.net.router.place_pins()
    run.ema.load_state_dict(run.net.state_dict())
    run.step, run.anchored = step, True
    folder.mkdir(parents=True, exist_ok=True)
    resuming.save(run)


def _time_ratio(variant: Variant, budget: Budget, sources: Sources, out: Path) -> float:
    """Time of SLER-IR's stages B and C over that of as many steps of the variant."""
    configs = [budget.configured(0, overrides, budget.steps) for overrides in ((), variant.encoder + variant.rest)]
    runs = [loop.Run(cfg, sources, out, _device()) for cfg in configs]
    alone = stages.upcycle_steps(configs[0])  # steps of expert 0 alone, as fast as a dense network
    parts = [(alone / budget.steps, budget.stage_a), (1 - alone / budget.steps, budget.stage_a + alone)]
    return sum(share * _step_ratio(runs, start, budget.pairs) for share, start in parts if share)


def _step_ratio(runs: list[loop.Run], start: int, pairs: int, warm: int = 2) -> float:
    """Median ratio of the time of interleaved steps of two runs, from step `start` on; processor time on a CPU."""
    ratios = []
    for step, batch in zip(range(start, start + pairs + warm), runs[0].loader(start, 0), strict=False):
        times = [_clock(runs[0].device)]
        for run in runs:
            run.train_step(step, batch)
            times.append(_clock(run.device))
        ratios.append((times[1] - times[0]) / (times[2] - times[1]))
    return statistics.median(ratios[min(warm, len(ratios) - 1) :])


def _device() -> torch.device:
    """Where `loop.train` trains."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _clock(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
