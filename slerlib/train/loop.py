"""The training loop: evaluate -> save -> one step -> log, in three stages [ours].

    python -m slerlib train tiny                                    bundled photographs, this machine
    python -m slerlib train tiny --data DIR --out runs/tiny         a folder of clean photographs
    python -m slerlib train tiny --out runs/tiny --resume           go on after an interruption

A  encoder + SUDE loss; at its end the anchors (class means on contents kept out of training) and the pins between them
B  experts, shared convolutions, guide convolution and injections; everything upstream of z is frozen
C  everything, encoder at a tenth of the rate, + 0.1 SUDE
"""

from __future__ import annotations

import copy
import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import config, sphere
from ..data.loader import Batches, Photographs, hold_out, load_photographs
from ..errors import UserError
from ..model.network import SLERIR, with_path
from ..model.router import balance_loss
from . import checkpoint, losses

LOG = "log.jsonl"


def train(
    cfg: config.RunConfig,
    data: str | Path | Photographs | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    init: str | Path | None = None,
    device: str | torch.device | None = None,
    workers: int = 0,
    progress: bool | None = None,
) -> Path:
    """Train a network; returns the folder with weights, card, log and resumable state.

    data: folder of clean photographs, `Photographs`, or None for the bundled ones.
    init: checkpoint whose weights to start from. workers: loader processes; the batches do not depend on it.
    progress: bar (True) or plain lines (False); None asks whether a person watches.
    Raises UserError for bad input and FloatingPointError when a loss is no longer finite.
    """
    out = Path(out or Path("runs") / cfg.name)
    photographs = data if isinstance(data, Photographs) else load_photographs(data)
    run = Run(cfg, photographs, out, torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
    if resume:
        run.restore_state()
    elif (out / checkpoint.STATE).exists():
        raise UserError(f"{out} already holds a run. Go on with --resume, or choose another --out.")
    elif init is not None:
        checkpoint.load_tensors(run.net, checkpoint.load_net(init)[0].state_dict(), str(init))
        run.ema.load_state_dict(run.net.state_dict())
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(config.to_json(cfg) + "\n")
    run.say(
        f"{cfg.name}: {cfg.train.steps} steps (stages {'/'.join(map(str, cfg.train.stage_steps()))}), "
        f"{len(run.training)} photographs from {photographs.source}, {len(run.held_out)} kept for anchors; "
        f"{run.device}, {run.precision_reason}, {torch.get_num_threads()} thread(s)"
    )
    a, b, _ = cfg.train.stage_steps()
    with open(out / LOG, "a", buffering=1) as log, _bar(cfg.train.steps, run.step, progress) as bar:
        batches = iter(())
        for step in range(run.step, cfg.train.steps + 1):
            if step == a and not run.anchored:
                run.finish_stage_a(log)
            if step == a + run.upcycle_steps and run.upcycle_steps:
                run.upcycle()
            if step % cfg.train.save_every == 0 and step > run.resumed_at or step == cfg.train.steps:
                log.write(json.dumps({"step": step, "validation": run.validate()}) + "\n")
                run.save(step)
            if step == cfg.train.steps:
                break
            if step in (run.step, a):
                batches = iter(run.loader(step, workers))
            record = run.train_step(step, next(batches))
            log.write(json.dumps(record) + "\n")
            bar(step + 1, record)
    return out


class Run:
    """State of a training run: networks, optimiser, data. One instance per process."""

    def __init__(self, cfg: config.RunConfig, photographs: Photographs, out: Path, device: torch.device):
        self.cfg, self.out, self.device = cfg, out, device
        torch.manual_seed(cfg.train.seed)
        self.net = SLERIR(cfg.model).to(device, memory_format=torch.channels_last).train()
        self.ema = copy.deepcopy(self.net).eval().requires_grad_(False)
        # mode `ce` ends in a linear classifier, which training alone needs
        self.classifier = (
            nn.Linear(cfg.model.embedding, len(cfg.model.classes)).to(device) if cfg.model.sude == "ce" else None
        )
        self.groups = parameter_groups(self.net, self.classifier)
        self.optimiser = torch.optim.AdamW(
            [{"params": p, "name": n} for n, p in self.groups.items() if p],
            weight_decay=cfg.train.weight_decay,
            fused=True,
        )
        self.training, self.held_out = hold_out(photographs, cfg.data.anchor_contents)
        self.source = photographs.source
        self.step = self.resumed_at = 0
        self.anchored, self.seconds, self.averaged = False, 0.0, 0
        self.precision, self.precision_reason = choose_precision(cfg.train.precision, device)
        a, b, _ = cfg.train.stage_steps()
        self.upcycle_steps = (
            round(b * cfg.train.upcycle) if cfg.model.experts > 1 and cfg.model.router != "dense" else 0
        )

    # --- data

    def loader(self, step: int, workers: int):
        """Batches from `step` to the end of its stage (A, or B and C)."""
        t, a = self.cfg.train, self.cfg.train.stage_steps()[0]
        if step < a:
            return self._batches(t.grid_contents, self.training, share=1.0).loader(step, a, workers)
        return self._batches(0, self.training).loader(step, t.steps, workers)

    def _batches(
        self, grid: int, photographs: Photographs, share: float | None = None, seed: int | None = None
    ) -> Batches:
        t, m = self.cfg.train, self.cfg.model
        return Batches(
            photographs,
            m.classes,
            self.cfg.data,
            m.context,
            t.batch,
            t.seed if seed is None else seed,
            grid,
            t.context_share if share is None else share,
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
                terms, used = self._embedding_terms(batch, step)
            else:
                terms, used = self._restoration_terms(batch, step, stage)
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
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), t.clip)
        self.optimiser.step()
        if "pins" in self._moving(stage):
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
            | used
        )

    def _moving(self, stage: str) -> dict[str, float]:
        """Parameter groups that train in a stage, with the factor of their learning rate."""
        if stage == "A":
            return {"encoder": 1.0}
        moving = {"experts": 1.0, "guide": 1.0}
        if stage == "C":
            moving["encoder"] = 0.1
        if self.cfg.model.router == "linear":
            moving["pins"] = 1.0  # a linear gate has nothing else that places it
        elif stage == "C" and self.cfg.train.learn_pins:
            moving["pins"] = 0.1
        return moving

    def _prepare(self, step: int, stage: str) -> None:
        """Freeze what this stage does not train, set the rates."""
        t = self.cfg.train
        a = t.stage_steps()[0]
        moving = self._moving(stage)
        rate = (
            schedule(step, 0, a, t.lr_encoder, t.lr_min, t.warmup)
            if stage == "A"
            else schedule(step, a, t.steps, t.lr, t.lr_min, t.warmup)
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate * moving.get(group["name"], 0.0)
            for parameter in group["params"]:
                parameter.requires_grad_(group["name"] in moving)

    def _embedding_terms(self, batch: dict[str, Tensor], step: int) -> tuple[dict[str, Tensor], dict]:
        """SUDE on the context views; consistency draws the embedding of each crop to that of its context."""
        net, mode, y = self.net, self.cfg.model.sude, batch["label"]
        z = net.glgf(*net.encoder(batch["context"])).embedding
        crop = net.glgf(*net.encoder(batch["degraded"])).embedding
        pull = (crop - z.detach()).pow(2).sum(-1).mean() / 2 if mode == "linear" else losses.consistency(crop, z)
        logits = self.classifier(z) if self.classifier is not None else None
        # hardest pairs of an encoder that cannot tell classes apart yet pull everything into one point: they come late
        done = step / max(self.cfg.train.stage_steps()[0], 1)
        triplet = min(max((done - self.cfg.train.triplet_start) / 0.25, 0.0), 1.0)
        terms = losses.sude(z, y, self.cfg.train, mode, net.router.anchors, logits, triplet)
        terms["consistency"] = self.cfg.train.consistency_weight * pull
        return terms, {}

    def _restoration_terms(self, batch: dict[str, Tensor], step: int, stage: str) -> tuple[dict[str, Tensor], dict]:
        """L1 + FFT along the routed paths; in stage C also SUDE against the anchors, and balance while pins learn."""
        net, t, labels = self.net, self.cfg.train, batch["label"]
        a, b, _ = t.stage_steps()
        x = batch["degraded"]
        encoding = net.encode(x, batch["context"], batch["rows"])
        trace = net.route(encoding, None, labels, x)
        routed = trace
        if step < a + self.upcycle_steps:
            routed = with_path(trace, torch.zeros_like(trace.path))
        else:
            chance = t.exploration * max(0.0, 1 - (step - a) / max(0.2 * b, 1))
            if chance > 0 and net.cfg.experts > 1:
                explore = torch.rand(trace.path.shape, device=x.device) < chance
                routed = with_path(
                    trace, torch.where(explore, torch.randint_like(trace.path, net.cfg.experts), trace.path)
                )
        y, _ = net.backbone(x, encoding.guide, routed, reroute=step >= a + self.upcycle_steps)
        terms = {"restoration": losses.restoration(y, batch["clean"], t.fft_weight)}
        if stage == "C":
            terms["sude"] = t.sude_weight * losses.anchor_cross_entropy(
                encoding.embedding, labels, net.router.anchors, t.tau, self.cfg.model.sude == "linear"
            )
            if t.learn_pins and net.cfg.experts > 1:
                terms["balance"] = t.balance_weight * balance_loss(trace)
            if t.counterfactual and net.cfg.experts > 1:
                terms["counterfactual"] = self._counterfactual(x, batch["clean"], encoding, trace, y)
        agreement = (trace.path == net.router.class_paths()[labels]).float().mean().item()
        return terms, {"class_path": round(agreement, 3)}

    def _counterfactual(self, x: Tensor, clean: Tensor, encoding, trace, y: Tensor) -> Tensor:
        """Of a share of the samples, try the second-best expert at one layer; favour whichever restored better."""
        chosen = torch.nonzero(torch.rand(len(x), device=x.device) < self.cfg.train.counterfactual).flatten()
        if not len(chosen):
            return y.sum() * 0
        layer = torch.randint(trace.path.shape[1], (len(chosen),), device=x.device)
        second = trace.similarity[chosen, layer].topk(2, dim=-1).indices[:, 1]
        path = trace.path[chosen].clone()
        path[torch.arange(len(chosen)), layer] = second
        with torch.no_grad():
            sub = replace(
                trace,
                path=path,
                probability=trace.probability[chosen],
                similarity=trace.similarity[chosen],
                embedding=trace.embedding[chosen],
            )
            other, _ = self.net.backbone(
                x[chosen], None if encoding.guide is None else encoding.guide[chosen], sub, reroute=False
            )
            better = (other - clean[chosen]).abs().mean(dim=(1, 2, 3)) < (y[chosen] - clean[chosen]).abs().mean(
                dim=(1, 2, 3)
            )
            wanted = torch.where(better, second, trace.path[chosen, layer])
        return self.cfg.train.balance_weight * nn.functional.nll_loss(trace.probability[chosen, layer].log(), wanted)

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
        """Take over the averaged encoder; set anchors from contents it never saw, and the pins between them."""
        self.net.load_state_dict(self.ema.state_dict())
        z, labels = self._embed_held_out(self.net.eval(), views=3)
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
        accuracy = (similarity.argmax(dim=1) == labels).float().mean().item()
        log.write(json.dumps({"step": self.step, "anchor_accuracy": round(accuracy, 4)}) + "\n")
        self.say(f"stage A done: {accuracy:.1%} of {len(z)} held-out views lie nearest to their own anchor")

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

    @torch.no_grad()
    def _embed_held_out(self, net: SLERIR, views: int) -> tuple[Tensor, Tensor]:
        """Embeddings of context views of the held-out contents, every class equally often."""
        grid = self._batches(len(self.held_out), self.held_out, share=1.0, seed=self.cfg.train.seed + 1)
        z, labels = [], []
        for view in range(views):
            batch = grid[view]
            for part, label in zip(batch["context"].split(64), batch["label"].split(64), strict=True):
                z.append(net.encode(part.to(self.device)).embedding)
                labels.append(label.to(self.device))
        return torch.cat(z), torch.cat(labels)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """PSNR in dB per class, averaged network, context views of up to 8 held-out contents with fixed damage."""
        if self.step <= self.cfg.train.stage_steps()[0]:
            return {}
        grid = self._batches(min(8, len(self.held_out)), self.held_out, share=1.0, seed=self.cfg.train.seed + 1)
        batch = replace_crop(grid, self.cfg.model.context)[0]
        result: dict[str, list[float]] = {name: [] for name in self.cfg.model.classes}
        for x, clean, label in zip(batch["degraded"], batch["clean"], batch["label"].tolist(), strict=True):
            labels = torch.tensor([label], device=self.device)
            y = self.ema(x[None].to(self.device), labels=labels).clamp(0, 1)
            result[self.cfg.model.classes[label]].append(
                -10 * math.log10(max((y.cpu() - clean).pow(2).mean().item(), 1e-10))
            )
        return {name: round(sum(v) / len(v), 3) for name, v in result.items()}

    # --- files

    def save(self, step: int) -> None:
        checkpoint.save_state(
            self.out / checkpoint.STATE,
            {
                "config": config.to_json(self.cfg),
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
            "data": {"source": Path(self.source).name, "training": len(self.training), "held_out": len(self.held_out)},
            "machine": {
                "device": str(self.device),
                "threads": torch.get_num_threads(),
                "precision": str(self.precision),
                "torch": torch.__version__,
            },
        }

    def restore_state(self) -> None:
        state = checkpoint.load_state(self.out / checkpoint.STATE, self.cfg)
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


def replace_crop(batches: Batches, crop: int) -> Batches:
    """The same batches with crops as large as their context views."""
    batches.cfg = replace(batches.cfg, crop=crop)
    return batches


def parameter_groups(net: SLERIR, classifier: nn.Module | None = None) -> dict[str, list[nn.Parameter]]:
    """encoder (upstream of z), pins, guide (guide convolution, injections), experts (stages, shared convolutions)."""
    groups: dict[str, list[nn.Parameter]] = {"experts": [], "guide": [], "encoder": [], "pins": []}
    for name, parameter in net.named_parameters():
        kind = "experts"
        if name.startswith("router."):
            kind = "pins"
        elif name.startswith(("glgf.guide.", "injections.", "stage_views.")):
            kind = "guide"
        elif name.startswith(("encoder.", "glgf.")):
            kind = "encoder"
        groups[kind].append(parameter)
    if classifier is not None:
        groups["encoder"] += list(classifier.parameters())
    return groups


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
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[asked], f"{asked}: as asked"
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return (
            torch.bfloat16,
            f"bf16: CUDA SM {'.'.join(map(str, torch.cuda.get_device_capability(device)))} supports it",
        )
    return torch.float32, "fp32: the safe choice on this device"


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
