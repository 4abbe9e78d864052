"""Ablations: one mechanism changed at a time, equal minutes, several training seeds (the comparisons of the paper).

    slerlib ablate --data DIR --val DIR                            every variant, seeds 0, 1, 2
    slerlib ablate sler dense --seeds 0 --steps 200 --images 2     a first look

Stage A runs once per seed and encoder: what follows it cannot change it. From there every variant trains stages B and C
for as long as SLER-IR does on the same processor: the ratio of their steps' times is measured here, interleaved, so
that another load of the machine changes nothing; all seeds of a variant take the steps that its first one was given.
Results are appended to a table after each training; what the table holds is not run again, and a training that was cut
off resumes.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from dataclasses import dataclass
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
from ..files import PACKAGE, sha256_folder, write_atomic
from ..inference.load import load
from ..model.network import parameter_counts
from ..train import loop, resuming, stages

if TYPE_CHECKING:
    from pandas import DataFrame

REFERENCE = "sler"  # what the others are compared with
TEXT = {"data": str, "val": str, "code": str}  # columns of hashes: 123456789012 and 1234567890e1 are no numbers


@dataclass(frozen=True)
class Variant:
    """What differs from SLER-IR as the recipe has it."""

    meaning: str
    encoder: tuple[str, ...] = ()  # KEY=VALUE that change stage A: encoder, fusion, embedding loss
    rest: tuple[str, ...] = ()  # KEY=VALUE that change what follows it
    equal: str = "minutes"  # minutes | steps: what is equal to SLER-IR in stages B and C
    of: str = ""  # another variant, whose training is looked at in another way


PLAIN = ("model.glgf=off", "model.inject=none")

VARIANTS = {
    REFERENCE: Variant("SLER-IR, the recipe as it is"),
    "modal_paths": Variant("SLER-IR, each class forced onto the path most of its scored images take", of=REFERENCE),
    "oracle": Variant("labels as routes, in training and in the test", rest=("model.router=oracle",)),
    "dense": Variant("one expert, same encoder and guide map", rest=("model.experts=1",)),
    "dense_steps": Variant("the same at equal steps", rest=("model.experts=1",), equal="steps"),
    "dense_wide": Variant("one expert with as many parameters as three", rest=("model.experts=1", "model.width=26")),
    "random": Variant("a random path for each image", rest=("model.router=random",)),
    # from a dense network to SLER-IR, one mechanism at a time
    "plain_dense": Variant("one expert, no guide map", encoder=PLAIN, rest=("model.experts=1",)),
    "plain_linear": Variant(
        "+ experts at every layer behind a learned linear gate; the encoder is a plain classifier",
        encoder=(*PLAIN, "model.sude=ce"),
        rest=("model.router=linear",),
    ),
    "plain_sphere": Variant("+ the sphere with its nearest pin (SLER-IR without its guide map)", encoder=PLAIN),
    # the router
    "linear_gate": Variant("a learned linear gate instead of the nearest pin", rest=("model.router=linear",)),
    "single": Variant("one decision for all layers", rest=("model.router=single",)),
    "sphere_stage": Variant("each layer also looks at its own features", rest=("model.router=sphere_stage",)),
    "soft": Variant("all experts run, weighted by their probability", rest=("model.router=dense",)),
    "experts_2": Variant("two experts at each layer", rest=("model.experts=2",)),
    "experts_4": Variant("four experts at each layer", rest=("model.experts=4",)),
    "random_pins": Variant("pins anywhere instead of between groups of anchors", rest=("model.pin_init=random",)),
    "learned_pins": Variant("stage C moves the pins", rest=("train.learn_pins=true",)),
    # the embedding
    "emergent": Variant("anchors that emerge: contrastive, triplet and uniformity", encoder=("model.sude=emergent",)),
    "contrastive": Variant(
        "the contrastive term alone",
        encoder=("model.sude=emergent", "train.triplet_weight=0", "train.uniformity_weight=0"),
    ),
    "no_triplet": Variant(
        "contrastive and uniformity", encoder=("model.sude=emergent", "train.triplet_weight=0")
    ),
    "linear_space": Variant("Euclidean space instead of the sphere", encoder=("model.sude=linear",)),
    "classifier": Variant("a plain classifier's features on the sphere", encoder=("model.sude=ce",)),
    # the guide
    "cls_only": Variant("the guide sees the global token alone", encoder=("model.glgf=cls_only",)),
    "patch_only": Variant("the guide sees local tokens alone", encoder=("model.glgf=patch_only",)),
    "guide_decoder": Variant("the guide acts in the decoder alone", rest=("model.inject=decoder",)),
    # the training
    "no_upcycling": Variant("three experts from the first step of stage B", rest=("train.upcycle=0",)),
    "no_exploration": Variant("no random experts in stage B", rest=("train.exploration=0",)),
    "no_fourier": Variant("L1 alone, without its Fourier term", rest=("train.fft_weight=0",)),
    "composites": Variant(
        "a fifth of the samples with two or three degradations at once", encoder=("data.composite_share=0.2",)
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """What every training gets. Steps of stages B and C are those of SLER-IR."""

    recipe: str = "tiny"
    stage_a: int = 600
    steps: int = 1000
    lr: float = 4e-3
    images: int = 0  # of the validation folder, 0 = all
    pairs: int = 10  # steps by which the times of two networks are compared

    def configured(self, seed: int, overrides: tuple[str, ...], steps: int) -> config.RunConfig:
        total = self.stage_a + steps
        common = [f"train.steps={total}", f"train.stage_a={self.stage_a / total}", f"train.lr={self.lr}"]
        last = min(0.2, 1 - self.stage_a / total)  # of a dearer variant few steps may be left
        common += [f"train.stage_c={last}", f"train.seed={seed}", "train.save_every=250"]
        return config.with_overrides(config.recipe(self.recipe), [*common, *overrides])


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

    `slerlib.ablation.tables` says what they show. Columns code (sha256 of this package's sources) and torch tell
    which program trained a row; only the budget and the data must be the same for all.

    data: training data, val: folder of clean photographs that are damaged as the demo's are. names: of VARIANTS, None
    for all. Seeds are the outer loop: the first complete comparison is there after a third of the time.
    Raises UserError for an unknown name, a budget without room for stage C, or a table made with another budget.
    """
    names, budget, out = list(names or VARIANTS), budget or Budget(), Path(out)
    unknown = sorted(set(names) - set(VARIANTS))
    if unknown:
        raise UserError(f"An ablation is one of {', '.join(VARIANTS)}; got {', '.join(unknown)}.")
    if budget.stage_a > 4 * budget.steps:
        raise UserError(
            f"Stage C takes a fifth of all steps, so --steps must be at least a quarter of --stage-a; "
            f"got {budget.steps} and {budget.stage_a}. Raise --steps, or lower --stage-a."
        )
    if REFERENCE not in names:
        names.insert(0, REFERENCE)  # the others are measured against it
    sources = Sources.of(data)
    todo, _ = cases(val, "demo", images=budget.images)
    check_readable(todo, "center16")  # what cannot be scored is refused before a training
    made_with = {**dataclasses.asdict(budget), "data": sources.fingerprint()[:12], "val": data_sha256(todo, val)[:12]}
    made_by = {"code": sha256_folder(PACKAGE, "*.py")[:12], "torch": torch.__version__}
    table = Table(out / "ablations.csv", made_with)
    for seed in seeds:
        for name in sorted(names, key=list(VARIANTS).index):
            if not table.holds(name, seed):
                say(f"{name}, seed {seed}: {VARIANTS[name].meaning}")
                found = _trained_and_scored(name, seed, budget, sources, Path(val), out, table.steps(name))
                table.add(found.assign(**made_by))
    return table.rows


class Table:
    """Rows (variant, seed, task) in a CSV file, written whole and renamed after each training."""

    def __init__(self, path: Path, made_with: dict):
        self.path, self.made_with = path, made_with
        self.rows = self._stored()
        kept = path.with_name("budget.json")  # trainings that were cut off have no rows yet
        begun = json.loads(kept.read_text()) if kept.is_file() else self.rows.iloc[0] if len(self.rows) else made_with
        for key, value in made_with.items():
            if (known := begun.get(key)) != value:
                raise UserError(
                    f"All ablations of a folder share one budget; those in {path.parent} have {key} = {known}, "
                    f"this run asks for {value}. Choose another --out, or ask for the same."
                )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, (json.dumps(made_with, indent=1) + "\n").encode())

    def holds(self, name: str, seed: int) -> bool:
        return len(self.rows) > 0 and bool(((self.rows.variant == name) & (self.rows.seed == seed)).any())

    def steps(self, name: str) -> int | None:
        """Steps of stages B and C that another seed of this variant took, if there is one."""
        done = self.rows[self.rows.variant == name] if len(self.rows) else self.rows
        return int(done.steps_done.iloc[0]) - self.made_with["stage_a"] if len(done) else None

    def add(self, rows: DataFrame) -> None:
        import pandas as pd

        self.rows = self._stored()  # another process may have added its rows meanwhile
        if not self.holds(rows.variant.iloc[0], rows.seed.iloc[0]):
            self.rows = pd.concat([self.rows, rows.assign(**self.made_with)], ignore_index=True)
            write_atomic(self.path, self.rows.to_csv(index=False).encode())

    def _stored(self) -> DataFrame:
        import pandas as pd

        return pd.read_csv(self.path, dtype=TEXT) if self.path.is_file() else pd.DataFrame()


def _trained_and_scored(
    name: str, seed: int, budget: Budget, sources: Sources, val: Path, out: Path, steps: int | None
) -> DataFrame:
    """Rows of one variant and seed. steps: of stages B and C, None to measure how many equal minutes allow."""
    variant = VARIANTS[name]
    if variant.of:
        trained = out / f"{variant.of}-{seed}"
        own = _on_own_routes(trained, checkpoint.load_net(trained)[1]["weights_sha256"], val, budget.images)
        table = evaluate(load(trained), val, images=budget.images, path=modal_paths(own))
    else:
        trained = _train(name, seed, budget, sources, out, steps)
        table = _on_own_routes(trained, checkpoint.load_net(trained)[1]["weights_sha256"], val, budget.images)
    net, card = checkpoint.load_net(trained)
    means = summary(table)
    rows = means[means.task != "average"][["task", "n", "psnr_input", "psnr", "ssim"]].round(4)
    counts = parameter_counts(net)
    rows.insert(0, "variant", name)
    rows.insert(1, "seed", seed)
    extra = {"steps_done": card["steps_done"], "minutes": card["minutes"]}
    return rows.assign(**extra, active=counts["active"], total=counts["total"])


@lru_cache(maxsize=1)  # a variant `of` the training that was scored just before needs the same table
def _on_own_routes(trained: Path, sha256: str, val: Path, images: int) -> DataFrame:
    return evaluate(load(trained), val, images=images)


def _train(name: str, seed: int, budget: Budget, sources: Sources, out: Path, steps: int | None) -> Path:
    """Stage A (shared), then stages B and C from its state; resumes what was cut off."""
    variant, folder = VARIANTS[name], out / f"{name}-{seed}"
    first = out / f"stage_a-{'_'.join(v.split('.')[-1] for v in variant.encoder) or 'recipe'}-{seed}"
    begun = (first / checkpoint.STATE).is_file()
    if not (first / checkpoint.CARD).is_file() or checkpoint.read_card(first)["steps_done"] < budget.stage_a:
        loop.train(budget.configured(seed, variant.encoder, 0), sources, first, resume=begun, progress=False)
    if not (folder / checkpoint.CARD).is_file():  # the last file of a save: without it nothing has been trained
        if variant.equal == "steps" or name == REFERENCE:
            steps = budget.steps
        elif steps is None:
            steps = round(budget.steps * _time_ratio(variant, budget, sources, out))
        _begin(budget.configured(seed, variant.encoder + variant.rest, steps), sources, folder, first, budget.stage_a)
    card = checkpoint.read_card(folder)
    # the number of steps was settled when the training began: measured again it would differ a little
    cfg = config.from_dict(config.RunConfig, card["config"])
    if card["steps_done"] < cfg.train.steps:
        loop.train(cfg, sources, folder, resume=True, progress=False)
    return folder


def _begin(cfg: config.RunConfig, sources: Sources, folder: Path, first: Path, step: int) -> None:
    """Write the state of a training that has just finished stage A: encoder and anchors from `first`, pins of its own
    kind between them."""
    run = loop.Run(cfg, sources, folder, _device())
    own, upstream = run.net.state_dict(), checkpoint.load_net(first)[0].state_dict()
    kept = [key for key in own if key in upstream and key.startswith(("encoder.", "glgf.", "router.anchors"))]
    run.net.load_state_dict({**own, **{key: upstream[key] for key in kept}})
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
