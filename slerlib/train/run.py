"""The state of one training run, and what it can do: one step, and the turns between stages."""

from __future__ import annotations

import copy
import io
import json
import math
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import config, sphere
from ..data.loader import Batches
from ..data.plan import plan
from ..data.sources import Sources
from ..errors import UserError
from ..files import write_atomic
from ..model.network import SLERIR
from . import held_out, stages
from .distributed import Group
from .parts import Part, pieces, together
from .precision import Precision, compile_blocks

NONFINITE = "nonfinite.pt"


class Run:
    """State of a training run: networks, optimiser, data. One instance per process."""

    def __init__(
        self, cfg: config.RunConfig, sources: Sources, out: Path, device: torch.device, group: Group | None = None
    ):
        self.cfg, self.out, self.device, self.group = cfg, out, device, group or Group()
        if cfg.train.batch < self.group.world * cfg.train.accumulate:
            raise UserError(
                f"train.batch counts all processes and pieces, each of which needs a sample; got train.batch = "
                f"{cfg.train.batch} for {self.group.world} processes x train.accumulate = {cfg.train.accumulate}. "
                "Raise train.batch, or use fewer of them."
            )
        torch.manual_seed(cfg.train.seed)
        self.net = SLERIR(cfg.model).to(device, memory_format=torch.channels_last).train()
        self.ema = copy.deepcopy(self.net).eval().requires_grad_(False)
        # mode `ce` ends in a linear classifier, which training alone needs
        self.classifier = (
            nn.Linear(cfg.model.embedding, len(cfg.model.classes)).to(device) if cfg.model.sude == "ce" else None
        )
        self.groups = stages.parameter_groups(self.net, self.classifier)
        self.optimiser = torch.optim.AdamW(
            [{"params": p, "name": n} for n, p in self.groups.items() if p],
            weight_decay=cfg.train.weight_decay,
            fused=True,
        )
        self.precision = Precision(cfg.train.precision, device)
        self.compiled = compile_blocks(self.net, cfg.data.crop, self.precision) if cfg.train.compile else ""
        self.sources, self.fingerprint = sources.with_repeats(cfg.data.repeat_counts()), sources.fingerprint()
        self.training, self.held_out = self.sources.hold_out(cfg.data.anchor_scenes)
        self.plan, self.grid_size = plan(self.batches(0, self.training)), self._grids().size
        if self.grid_size < self.group.world:
            raise UserError(
                f"Every process needs a sample of stage A's batch; train.grid_scenes = {cfg.train.grid_scenes} "
                f"makes {self.grid_size} for {self.group.world} processes. Raise it, or use fewer processes."
            )
        self.step = self.resumed_at = self.saved_at = 0
        self.anchored, self.seconds, self.averaged = False, 0.0, 0
        self.keep_pins = False  # those of a warm start were learned, and no stage A moves what they lie between
        self.upcycle_steps = stages.upcycle_steps(cfg)

    # --- data

    def loader(self, step: int, workers: int):
        """This process's samples of the batches from `step` to the end of its stage (A, or B and C)."""
        t, a = self.cfg.train, self.cfg.train.stage_steps()[0]
        part = (self.group.rank, self.group.world)
        if step < a:
            return self._grids(part).loader(step, a, workers)
        return self.batches(0, self.training, part=part).loader(step, t.steps, workers)

    def _grids(self, part: tuple[int, int] = (0, 1)) -> Batches:
        return self.batches(self.cfg.train.grid_scenes, self.training, share=1.0, real_rows=1, part=part)

    def batches(
        self,
        grid: int,
        sources: Sources,
        share: float | None = None,
        seed: int | None = None,
        real_rows: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> Batches:
        t, m = self.cfg.train, self.cfg.model
        return Batches(
            sources,
            m.classes,
            self.cfg.data,
            m.context,
            t.batch,
            t.seed if seed is None else seed,
            grid,
            t.context_share if share is None else share,
            m.stride,
            real_rows=real_rows,
            part=part,
        )

    # --- one step

    def train_step(self, step: int, batch: dict[str, Tensor]) -> dict:
        """Losses of this process's samples, one sum over processes, clip, update, average. Returns the log's record."""
        start = time.perf_counter()
        t, stage = self.cfg.train, stages.stage_of(step, self.cfg.train)
        self._prepare(step, stage)
        total = self.grid_size if stage == "A" else t.batch
        own = self.group.rows(total)
        # contrast needs all samples at once: stage A, an encoder alone, takes its batch in one piece
        parts = pieces(batch, Part(own.start, own.stop, total), 1 if stage == "A" else t.accumulate)
        draws, numbers = stages.draw(self.cfg, step, total), []
        self.optimiser.zero_grad(set_to_none=True)  # an expert nobody chose keeps grad None: no decay, no momentum step
        for part, samples in parts:
            samples = {key: value.to(self.device, non_blocking=True) for key, value in samples.items()}
            with self.precision.autocast():
                terms, seen = self._terms(step, stage, samples, draws, part)
            loss = sum(terms.values())
            self.precision.backward(loss)
            numbers.append(torch.stack([loss, *terms.values(), *seen.values()]).detach())
        parameters = [p for group in self.groups.values() for p in group if p.requires_grad]
        sums = self.group.sum_gradients(parameters, torch.stack(numbers).sum(dim=0)).tolist()
        values = dict(zip(["loss", *terms, *seen], sums, strict=True))
        if not math.isfinite(values["loss"]):
            bad = [samples for (_, samples), n in zip(parts, numbers, strict=True) if not n.isfinite().all()]
            self._refuse(step, stage, "loss", {name: values[name] for name in terms}, bad)
        norm, sound = self.precision.clip(self.optimiser, parameters, t.clip)
        if not sound:
            self._refuse(step, stage, "gradient", {"norm": norm}, [samples for _, samples in parts])
        self.precision.update(self.optimiser)
        pins_move = "pins" in stages.moving(stage, self.cfg)
        if pins_move:
            self.net.router.normalise_pins()
        self._average()
        if pins_move:  # a mean of unit vectors is shorter than one
            self.ema.router.normalise_pins()
        self.step = step + 1
        seconds = time.perf_counter() - start
        self.seconds += seconds
        record = {"step": step, "stage": stage}
        record |= {name: round(value, 3 if name in seen else 6) for name, value in values.items()}
        rate = max(g["lr"] for g in self.optimiser.param_groups)
        return record | {"grad_norm": round(norm, 4), "lr": rate, "seconds": round(seconds, 4)}

    def _terms(self, step: int, stage: str, samples: dict[str, Tensor], draws: stages.Draws, part: Part):
        """(terms of the loss, things to watch), by name, each as this part's share of the global batch."""
        if stage == "A":
            terms = stages.embedding_terms(self.net, self.cfg, samples, step, self.classifier, part, self.group)
            return terms, {}
        terms, trace = stages.restoration_terms(self.net, self.cfg, samples, step, draws, part, self.group)
        on_path = trace.path == self.net.router.label_paths(samples["parts"])
        return terms, {"class_path": part.share * on_path.float().mean()}

    def _prepare(self, step: int, stage: str) -> None:
        """Freeze what this stage does not train, set the rates."""
        t = self.cfg.train
        a = t.stage_steps()[0]
        factors = stages.moving(stage, self.cfg)
        rate = (
            stages.schedule(step, 0, a, t.lr_encoder, t.lr_min, t.warmup)
            if stage == "A"
            else stages.schedule(step, a, t.steps, t.lr, t.lr_min, t.warmup)
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate * factors.get(group["name"], 0.0)
            for parameter in group["params"]:
                parameter.requires_grad_(group["name"] in factors)

    def _refuse(self, step: int, stage: str, what: str, values: dict[str, float], bad: list[dict[str, Tensor]]) -> None:
        """Stop before any weight changes, in all processes, with the samples of those where it happened."""
        found = [samples for brought in self.group.everyones(bad) for samples in brought]
        if self.group.first:
            file = io.BytesIO()
            torch.save({key: value.cpu() for key, value in together(found).items()}, file)
            write_atomic(self.out / NONFINITE, file.getvalue())
        kept = f"the checkpoint of step {self.saved_at} is whole" if self.saved_at else "there was no checkpoint yet"
        raise FloatingPointError(
            f"The {what} stopped being finite at step {step} of stage {stage} "
            f"({', '.join(f'{name} = {value:g}' for name, value in values.items())}). Steps {self.saved_at} to {step} "
            f"are lost; {kept}. The {sum(len(s['label']) for s in found)} samples are in {self.out / NONFINITE}. "
            f"Start another --out from the last checkpoint (--init {self.out}, train.stage_a=0 if its stage A is done) "
            "with a lower train.lr or train.precision=fp32: --resume takes neither."
        )

    # --- between steps

    def _average(self) -> None:
        """Exponential moving average of the weights, short at first."""
        decay = min(self.cfg.train.ema, (1 + self.averaged) / (10 + self.averaged))
        self.averaged += 1
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.net.parameters()), 1 - decay)
            for mine, theirs in zip(self.ema.buffers(), self.net.buffers(), strict=True):
                mine.copy_(theirs)

    @torch.no_grad()
    def finish_stage_a(self, log) -> None:
        """Take over the averaged encoder; set anchors from the held-out scenes, and the pins between them (but for
        learned ones, which stay)."""
        self.net.load_state_dict(self.ema.state_dict())
        learned = [p.clone() for p in self.net.router.parameters()] if self.keep_pins else []
        z, labels, real = held_out.embed(self, self.net.eval(), views=3)
        self.net.train()
        k = len(self.cfg.model.classes)
        if self.cfg.model.sude == "linear":
            self.net.router.set_anchors(torch.stack([z[labels == c].mean(dim=0) for c in range(k)]))
        elif self.cfg.model.sude != "anchored":
            self.net.router.set_anchors(sphere.centroids(z, labels, k))
        else:
            self.net.router.place_pins()
        for mine, kept in zip(self.net.router.parameters(), learned, strict=False):
            mine.copy_(kept)
        self.group.spread(self.net)  # two kinds of GPU may round the anchors differently
        self.ema.load_state_dict(self.net.state_dict())
        self.anchored, self.averaged = True, 0
        similarity = -(z[:, None] - self.net.router.anchors).pow(2).sum(-1)
        right = (similarity.argmax(dim=1) == labels).float()
        record = {"step": self.step, "anchor_accuracy": round(right.mean().item(), 4)}
        done = "stage A done" if self.cfg.train.stage_steps()[0] else "no stage A"
        message = f"{done}: {right.mean():.1%} of {len(z)} held-out views lie nearest to their own anchor"
        if bool(real.any()):
            record["anchor_accuracy_real"] = round(right[real].mean().item(), 4)
            message += f", {right[real].mean():.1%} of the {int(real.sum())} real ones among them"
        log.write(json.dumps(record) + "\n")
        self.say(message)

    @torch.no_grad()
    def upcycle(self) -> None:
        """Copy expert 0, so far trained alone, to its siblings with 0.1 % relative noise, moments too."""
        for network in (self.net, self.ema):
            for stage in network.stages:
                first = list(stage.experts[0].parameters())
                for expert in stage.experts[1:]:
                    for mine, theirs in zip(expert.parameters(), first, strict=True):
                        if network is self.ema:
                            mine.copy_(theirs)
                            continue
                        # drawn on the CPU, whose generator is part of the saved state
                        noise = torch.randn_like(theirs, device="cpu").to(theirs.device)
                        mine.copy_(theirs * (1 + 1e-3 * noise))
                        if theirs in self.optimiser.state:
                            self.optimiser.state[mine] = {
                                key: value.clone() for key, value in self.optimiser.state[theirs].items()
                            }

    def say(self, message: str) -> None:
        if self.group.first:
            print(message, file=sys.stderr, flush=True)
