"""The state of one training run, and what it can do: one step, the turn of a stage, validation, save and restore."""

from __future__ import annotations

import copy
import json
import math
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import config, sphere
from ..data.loader import Batches
from ..data.plan import plan, samples_per_epoch
from ..data.sources import Sources
from ..errors import UserError
from ..model.network import SLERIR
from . import checkpoint, held_out, stages

LOG = "log.jsonl"


class Run:
    """State of a training run: networks, optimiser, data. One instance per process."""

    def __init__(self, cfg: config.RunConfig, sources: Sources, out: Path, device: torch.device):
        self.cfg, self.out, self.device = cfg, out, device
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
        self.sources, self.fingerprint = sources.with_repeats(cfg.data.repeat_counts()), sources.fingerprint()
        self.training, self.held_out = self.sources.hold_out(cfg.data.anchor_contents)
        self.plan = plan(self.batches(0, self.training))
        self.step = self.resumed_at = 0
        self.anchored, self.seconds, self.averaged = False, 0.0, 0
        self.precision, self.precision_reason = choose_precision(cfg.train.precision, device)
        self.upcycle_steps = stages.upcycle_steps(cfg)

    # --- data

    def loader(self, step: int, workers: int):
        """Batches from `step` to the end of its stage (A, or B and C)."""
        t, a = self.cfg.train, self.cfg.train.stage_steps()[0]
        if step < a:
            return self.batches(t.grid_contents, self.training, share=1.0, real_rows=1).loader(step, a, workers)
        return self.batches(0, self.training).loader(step, t.steps, workers)

    def batches(
        self,
        grid: int,
        sources: Sources,
        share: float | None = None,
        seed: int | None = None,
        real_rows: int = 0,
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
        )

    # --- one step

    def train_step(self, step: int, batch: dict[str, Tensor]) -> dict:
        """Loss, backward, clip, update, average. Returns the record for the log."""
        start = time.perf_counter()
        t = self.cfg.train
        a, b, _ = t.stage_steps()
        stage = "A" if step < a else "B" if step < a + b else "C"
        self._prepare(step, stage)
        batch = {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}
        with torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32):
            if stage == "A":
                terms, agreement = stages.embedding_terms(self.net, self.cfg, batch, step, self.classifier), {}
            else:
                terms, trace = stages.restoration_terms(self.net, self.cfg, batch, step, stage)
                on_path = trace.path == self.net.router.label_paths(batch["parts"])
                agreement = {"class_path": round(on_path.float().mean().item(), 3)}
        loss = sum(terms.values())
        if not bool(torch.isfinite(loss)):
            bad = ", ".join(f"{name} = {value.item():g}" for name, value in terms.items())
            torch.save({key: value.cpu() for key, value in batch.items()}, self.out / "nonfinite.pt")
            raise FloatingPointError(
                f"The loss stopped being finite at step {step} of stage {stage} ({bad}). "
                f"The samples are in {self.out / 'nonfinite.pt'}; the last good checkpoint is from "
                f"before step {step}. Lower train.lr or use train.precision=fp32."
            )
        self.optimiser.zero_grad(set_to_none=True)  # an expert nobody chose keeps grad None: no decay, no momentum step
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([p for group in self.groups.values() for p in group], t.clip)
        self.optimiser.step()
        if "pins" in stages.moving(stage, self.cfg):
            self.net.router.normalise_pins()
        self._average()
        self.step = step + 1
        seconds = time.perf_counter() - start
        self.seconds += seconds
        record = {"step": step, "stage": stage, "loss": round(loss.item(), 6)}
        record |= {name: round(value.item(), 6) for name, value in terms.items()}
        return (
            record
            | {
                "grad_norm": round(norm.item(), 4),
                "lr": max(g["lr"] for g in self.optimiser.param_groups),
                "seconds": round(seconds, 4),
            }
            | agreement
        )

    def _prepare(self, step: int, stage: str) -> None:
        """Freeze what this stage does not train, set the rates."""
        t = self.cfg.train
        a = t.stage_steps()[0]
        factors = stages.moving(stage, self.cfg)
        rate = (
            schedule(step, 0, a, t.lr_encoder, t.lr_min, t.warmup)
            if stage == "A"
            else schedule(step, a, t.steps, t.lr, t.lr_min, t.warmup)
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate * factors.get(group["name"], 0.0)
            for parameter in group["params"]:
                parameter.requires_grad_(group["name"] in factors)

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
        """Take over the averaged encoder; set anchors from the held-out contents, and the pins between them."""
        self.net.load_state_dict(self.ema.state_dict())
        z, labels, real = held_out.embed(self, self.net.eval(), views=3)
        self.net.train()
        k = len(self.cfg.model.classes)
        if self.cfg.model.sude == "linear":
            self.net.router.set_anchors(torch.stack([z[labels == c].mean(dim=0) for c in range(k)]))
        elif self.cfg.model.sude != "anchored":
            self.net.router.set_anchors(sphere.centroids(z, labels, k))
        else:
            self.net.router.place_pins()
        self.ema.load_state_dict(self.net.state_dict())
        self.anchored, self.averaged = True, 0
        similarity = -(z[:, None] - self.net.router.anchors).pow(2).sum(-1)
        right = (similarity.argmax(dim=1) == labels).float()
        record = {"step": self.step, "anchor_accuracy": round(right.mean().item(), 4)}
        message = f"stage A done: {right.mean():.1%} of {len(z)} held-out views lie nearest to their own anchor"
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
                        mine.copy_(theirs * (1 + 1e-3 * torch.randn_like(theirs)) if network is self.net else theirs)
                        if network is self.net and theirs in self.optimiser.state:
                            self.optimiser.state[mine] = {
                                key: value.clone() for key, value in self.optimiser.state[theirs].items()
                            }

    # --- files

    def save(self, step: int) -> None:
        checkpoint.save_state(
            self.out / checkpoint.STATE,
            {
                "config": config.to_json(self.cfg),
                "data": self.fingerprint,
                "step": step,
                "anchored": self.anchored,
                "seconds": self.seconds,
                "averaged": self.averaged,
                "net": self.net.state_dict(),
                "ema": self.ema.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "classifier": None if self.classifier is None else self.classifier.state_dict(),
                "rng": torch.get_rng_state(),
            },
        )
        checkpoint.save_weights(self.out, self.ema, self.card(step))

    def card(self, step: int) -> dict:
        return {
            "name": self.cfg.name,
            "config": config.to_dict(self.cfg),
            "steps_done": step,
            "minutes": round(self.seconds / 60, 2),
            "data": {
                "source": Path(self.sources.origin).name,
                "layout": self.sources.layout,
                "training": len(self.training),
                "held_out": len(self.held_out),
                "sets": [
                    {**row, "share": round(row["share"], 4), "samples": round(row["samples"])} for row in self.plan
                ],
                "samples_per_epoch": samples_per_epoch(self.plan),
                "fingerprint": self.fingerprint,
            },
            "machine": {
                "device": str(self.device),
                "threads": torch.get_num_threads(),
                "precision": str(self.precision),
                "torch": torch.__version__,
            },
        }

    def restore_state(self) -> None:
        state = checkpoint.load_state(self.out / checkpoint.STATE, self.cfg)
        if state.get("data", self.fingerprint) != self.fingerprint:
            raise UserError(
                f"A run resumes with the data it began with; names or sizes of images in {self.sources.origin} "
                f"have changed since {self.out} was saved. Restore the data, or warm-start another --out with "
                f"--init {self.out}."
            )
        self.net.load_state_dict(state["net"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.classifier is not None:
            self.classifier.load_state_dict(state["classifier"])
        torch.set_rng_state(state["rng"])
        self.step = self.resumed_at = state["step"]
        self.anchored, self.seconds, self.averaged = state["anchored"], state["seconds"], state["averaged"]
        log = self.out / LOG  # drop what was logged after the save: those steps run again
        if log.is_file():
            lines = [
                line for line in log.read_text().splitlines() if line.endswith("}") and _log_step(line) < self.step
            ]
            checkpoint.write_atomically(log, "".join(f"{line}\n" for line in lines).encode())

    def say(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)


def _log_step(line: str) -> int:
    record = json.loads(line)
    return record["step"] if "loss" in record else record["step"] - 1  # notes between steps belong to the step before


def schedule(step: int, start: int, stop: int, peak: float, floor: float, warmup: int) -> float:
    """Linear warm-up per step, never zero, then a cosine from `peak` to `floor` at `stop`."""
    warmup = min(warmup, max((stop - start) // 10, 1))
    done = step - start
    if done < warmup:
        return peak * (done + 1) / warmup
    return floor + (peak - floor) * (1 + math.cos(math.pi * (done - warmup) / max(stop - start - warmup, 1))) / 2


def choose_precision(asked: str, device: torch.device) -> tuple[torch.dtype, str]:
    """(dtype, why)."""
    if asked != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16}[asked], f"{asked}: as asked"
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return (
            torch.bfloat16,
            f"bf16: CUDA SM {'.'.join(map(str, torch.cuda.get_device_capability(device)))} supports it",
        )
    return torch.float32, "fp32: the safe choice on this device"
