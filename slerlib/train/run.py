"""The state of one training run, and its one step."""

from __future__ import annotations

import copy
import io
import math
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import config
from ..data.plan import damage_shares, epoch_plan, follows
from ..data.sources import Sources
from ..errors import UserError
from ..files import write_atomic
from ..model.network import SLERIR
from . import objectives, stages
from .batches import batches, grids, loader
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
        self.sources, self.fingerprint = sources.with_repeats(cfg.data.repeat_counts()), sources.fingerprint()
        if cfg.data.depth_share and self.sources.depths is None:
            raise UserError(
                f"data.depth_share={cfg.data.depth_share:g} makes haze by the depth maps of photographs, such as "
                f"1.depth.png beside 1.color.jpg (data/README.md); {sources.origin} has none. Add some, or set "
                "data.depth_share=0."
            )
        if cfg.data.kernel_share and not self.sources.kernels:
            raise UserError(
                f"data.kernel_share={cfg.data.kernel_share:g} blurs by measured kernels, pictures in a folder named "
                f"kernels (data/README.md); {sources.origin} has none. Add some, or set data.kernel_share=0."
            )
        self.training, self.held_out = self.sources.hold_out(cfg.data.anchor_scenes)
        single, grid = batches(cfg, self.training), grids(cfg, self.training)
        if cfg.data.real_composites and not (single.cfg.composite_share and single.bases):
            raise UserError(
                f"data.real_composites={cfg.data.real_composites:g} adds noise or low light to real pairs. That needs "
                f"data.composite_share and data.real_share above 0, pairs, and a training of all classes "
                f"(train.own_only=false); got data.composite_share={cfg.data.composite_share:g}, "
                f"data.real_share={cfg.data.real_share:g} and {sources.origin}. Set data.real_composites=0, or add "
                "what is missing."
            )
        self.plan, self.grid_size = epoch_plan(single), grid.size
        self.damage = {"stage A": damage_shares(grid), "stages B and C": damage_shares(single)}
        self.follows = follows(single)
        self._check_sizes()
        # networks
        torch.manual_seed(cfg.train.seed)
        self.net = SLERIR(cfg.model).to(device, memory_format=torch.channels_last).train()
        self.ema = copy.deepcopy(self.net).eval().requires_grad_(False)
        # heads that training alone needs: the linear classifier of mode `ce`, and what the guide map says of the colour
        self.classifier = (
            nn.Linear(cfg.model.embedding, len(cfg.model.classes)).to(device) if cfg.model.sude == "ce" else None
        )
        guided = cfg.train.colour_weight and self.net.glgf.guide is not None
        self.colour = nn.Conv2d(cfg.model.guide_channels, 3, 1).to(device) if guided else None
        # optimiser
        self.groups = stages.parameter_groups(self.net, self.classifier, self.colour)
        self.optimiser = torch.optim.AdamW(
            [{"params": p, "name": n} for n, p in self.groups.items() if p],
            weight_decay=cfg.train.weight_decay,
            fused=True,
        )
        self.precision = Precision(cfg.train.precision, device)
        self.compiled = compile_blocks(self.net, cfg.data.crop, self.precision) if cfg.train.compile else ""
        # progress
        self.step = self.resumed_at = self.saved_at = 0
        self.anchored, self.seconds, self.averaged = False, 0.0, 0
        self.keep_anchors = cfg.model.own_classes > 0  # those joined trained weights, whose anchors keep every bit
        self.views: tuple[Tensor, Tensor] | None = None  # held-out views that looks.py keeps
        self.keep_pins = False  # after a warm start without stage A, which could move what the pins lie between

    def _check_sizes(self) -> None:
        t, world = self.cfg.train, self.group.world
        if t.batch < world * t.accumulate:
            raise UserError(
                f"train.batch counts all processes and pieces, each of which needs a sample; got train.batch = "
                f"{t.batch} for {world} processes x train.accumulate = {t.accumulate}. "
                "Raise train.batch, or use fewer of them."
            )
        if self.grid_size < world:
            raise UserError(
                f"Every process needs a sample of stage A's batch; train.grid_scenes = {t.grid_scenes} "
                f"makes {self.grid_size} for {world} processes. Raise it, or use fewer processes."
            )

    def loader(self, step: int, workers: int):
        """This process's samples of the batches from `step` to the end of its stage (A, or B and C)."""
        return loader(self.cfg, self.training, step, workers, (self.group.rank, self.group.world))

    # --- one step

    def train_step(self, step: int, batch: dict[str, Tensor]) -> dict:
        """One step of all processes on one global batch, of which `batch` is here. Returns the record for the log."""
        start = time.perf_counter()
        t, stage = self.cfg.train, stages.stage_of(step, self.cfg.train)
        self._prepare(step, stage)

        # cut this process's samples into pieces; stage A contrasts all at once and takes them whole
        total = self.grid_size if stage == "A" else t.batch
        own = self.group.rows(total)
        parts = pieces(batch, Part(own.start, own.stop, total), 1 if stage == "A" else t.accumulate)
        draws, sums = stages.draw(self.cfg, step, total), []

        # forward and backward; an expert nobody chose keeps grad None: no decay, no momentum step
        self.optimiser.zero_grad(set_to_none=True)
        for part, samples in parts:
            samples = {key: value.to(self.device, non_blocking=True) for key, value in samples.items()}
            with self.precision.autocast():
                losses, watched = self._losses(step, stage, samples, draws, part)
            loss = sum(losses.values())
            self.precision.backward(loss)
            sums.append(torch.stack([loss, *losses.values(), *watched.values()]).detach())

        # sum over processes; a loss that is not finite stops the run before any weight changes
        parameters = [p for group in self.groups.values() for p in group if p.requires_grad]
        numbers = self.group.sum_gradients(parameters, torch.stack(sums).sum(dim=0)).tolist()
        values = dict(zip(["loss", *losses, *watched], numbers, strict=True))
        if not math.isfinite(values["loss"]):
            bad = [samples for (_, samples), n in zip(parts, sums, strict=True) if not n.isfinite().all()]
            self._refuse(step, stage, "loss", {name: values[name] for name in losses}, bad)

        # clip and update
        norm, sound = self.precision.clip(self.optimiser, parameters, t.clip)
        if not sound:
            self._refuse(step, stage, "gradient", {"norm": norm}, [samples for _, samples in parts])
        self.precision.update(self.optimiser)
        self._average(pins_move="pins" in stages.moving(stage, self.cfg))
        self.step = step + 1
        seconds = time.perf_counter() - start
        self.seconds += seconds

        # the record
        record = {"step": step, "stage": stage}
        record |= {name: round(value, 3 if name in watched else 6) for name, value in values.items()}
        rate = max(g["lr"] for g in self.optimiser.param_groups)
        return record | {"grad_norm": round(norm, 4), "lr": rate, "seconds": round(seconds, 4)}

    def _prepare(self, step: int, stage: str) -> None:
        """Freeze what this stage does not train, set the rates."""
        t = self.cfg.train
        a = t.stage_steps()[0]
        factors = stages.moving(stage, self.cfg)
        start, stop, peak = (0, a, t.lr_encoder) if stage == "A" else (a, t.steps, t.lr)
        rate = stages.schedule(step, start, stop, peak, t.lr_min, t.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * factors.get(group["name"], 0.0)
            for parameter in group["params"]:
                parameter.requires_grad_(group["name"] in factors)

    def _losses(self, step: int, stage: str, samples: dict[str, Tensor], draws: stages.Draws, part: Part):
        """(terms of the loss, numbers to watch), by name, each as this part's share of the global batch."""
        if stage == "A":
            terms = objectives.embedding_terms(
                self.net, self.cfg, samples, step, self.classifier, part, self.group, self.colour
            )
            return terms, {}
        losses, trace = objectives.restoration_terms(
            self.net, self.cfg, samples, step, draws, part, self.group, self.colour
        )
        on_path = trace.path == self.net.router.label_paths(samples["parts"])
        return losses, {"class_path": part.share * on_path.float().mean()}

    def _average(self, pins_move: bool) -> None:
        """Exponential moving average of the weights, short at first; pins back onto the sphere, before and after."""
        if pins_move:
            self.net.router.normalise_pins()
        decay = min(self.cfg.train.ema, (1 + self.averaged) / (10 + self.averaged))
        self.averaged += 1
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.net.parameters()), 1 - decay)
            for average, value in zip(self.ema.buffers(), self.net.buffers(), strict=True):
                average.copy_(value)
        if pins_move:  # a mean of unit vectors is shorter than one
            self.ema.router.normalise_pins()

    def _refuse(self, step: int, stage: str, what: str, values: dict[str, float], bad: list[dict[str, Tensor]]) -> None:
        """Stop before any weight changes, in all processes, with the samples of those where it happened."""
        pieces_ = [samples for of_process in self.group.gather_objects(bad) for samples in of_process]
        if self.group.first:
            file = io.BytesIO()
            torch.save({key: value.cpu() for key, value in together(pieces_).items()}, file)
            write_atomic(self.out / NONFINITE, file.getvalue())
        state = f"the checkpoint of step {self.saved_at} is whole" if self.saved_at else "there was no checkpoint yet"
        raise FloatingPointError(
            f"The {what} stopped being finite at step {step} of stage {stage} "
            f"({', '.join(f'{name} = {value:g}' for name, value in values.items())}). Steps {self.saved_at} to {step} "
            f"are lost; {state}. The {sum(len(s['label']) for s in pieces_)} samples are in {self.out / NONFINITE}. "
            f"Start another --out from the last checkpoint (--init {self.out}, train.stage_a=0 if its stage A is done) "
            "with a lower train.lr or train.precision=fp32: --resume takes neither."
        )

    # --- what a resumed run needs

    def state_dict(self) -> dict:
        """Everything that a resumed run needs, of tensors and plain values."""
        return {
            "config": config.to_json(self.cfg),
            "data": self.fingerprint,
            "step": self.step,
            "anchored": self.anchored,
            "seconds": self.seconds,
            "averaged": self.averaged,
            "net": self.net.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "classifier": None if self.classifier is None else self.classifier.state_dict(),
            "colour": None if self.colour is None else self.colour.state_dict(),
            "rng": torch.get_rng_state(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Take up such a state. Raises whatever torch raises for one of another network or optimiser."""
        self.net.load_state_dict(state["net"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        if state.get("scaler"):
            self.precision.scaler.load_state_dict(state["scaler"])
        if self.classifier is not None:
            self.classifier.load_state_dict(state["classifier"])
        if self.colour is not None:
            self.colour.load_state_dict(state["colour"])
        torch.set_rng_state(state["rng"])
        self.step = self.resumed_at = self.saved_at = state["step"]
        self.anchored, self.seconds, self.averaged = state["anchored"], state["seconds"], state["averaged"]

    def say(self, message: str) -> None:
        """One line on standard error, of process 0 alone."""
        if self.group.first:
            print(message, file=sys.stderr, flush=True)
