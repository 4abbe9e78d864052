"""What a training notes beside its steps: where it began or went on, and how its sphere looks from time to time.

Nothing here changes a weight or draws a number, so that a training with and without looks has the same bits.
"""

from __future__ import annotations

from datetime import datetime

import torch
from torch import Tensor

from .. import sphere
from ..config import RunConfig
from ..files import PACKAGE, sha256_folder
from ..provenance import peak_memory_MB
from . import held_out
from .run import Run

FRAMES = 20  # looks at the sphere while stage A forms it
SCENES = 8  # held-out scenes of a look, each in every class


def begun(run: Run) -> dict:
    """The record of a start: when, on what, with which code, samples of a step, and the share of each set."""
    return {
        "step": run.step,
        "begun": _now(),
        "resumed": run.step > 0,
        "device": str(run.device),
        "processes": run.group.world,
        "threads": torch.get_num_threads(),
        "precision": str(run.precision.dtype).removeprefix("torch."),
        "code": sha256_folder(PACKAGE, "*.py")[:12],
        "samples": {"A": run.grid_size, "B and C": run.cfg.train.batch},
        "sets": {row["set"]: round(row["share"], 5) for row in run.plan},
    }


def due(cfg: RunConfig, step: int) -> bool:
    """Whether the sphere is looked at before this step: FRAMES times in stage A, at its end, and at every save."""
    t = cfg.train
    a = t.stage_steps()[0]
    return step % t.save_every == 0 or step in (a, t.steps) or step < a and step % max(a // FRAMES, 1) == 0


@torch.no_grad()
def look(run: Run, step: int) -> dict:
    """The record of the sphere on held-out views of the averaged weights, the same views at every step.

    classes; views of each; mean (K, D), the unit vector in the middle of each class (null for a class without views);
    within (K) degrees from there, on average; nearest (K, K), views of a class by the anchor nearest to them; usage
    (K, L, E), views of a class by expert; anchors (K, D), null before they are placed. Real pairs do not count here.
    """
    net, names = run.ema, run.cfg.model.classes
    views, label = _views(run)
    z, path = _encode(net, views, run.device)
    anchors = net.router.anchors.cpu()
    flat, placed = net.router.linear_space, run.anchored or run.keep_anchors or run.cfg.model.sude == "anchored"
    nearest = torch.cdist(z, anchors).argmin(dim=1)
    rows: dict[str, list] = {"views": [], "mean": [], "within": [], "nearest": [], "usage": []}
    for k in range(len(names)):
        own = label == k
        middle = z[own].mean(dim=0) if flat else sphere.normalise(z[own].mean(dim=0))
        rows["views"].append(int(own.sum()))
        rows["mean"].append(_rounded(middle) if own.any() else None)
        away = None if flat or not own.any() else torch.rad2deg((z[own] @ middle).clamp(-1, 1).acos()).mean().item()
        rows["within"].append(None if away is None else round(away, 2))
        rows["nearest"].append(torch.bincount(nearest[own], minlength=len(names)).tolist())
        counts = torch.nn.functional.one_hot(path[own], run.cfg.model.experts).sum(dim=0)
        rows["usage"].append(counts.tolist())
    where = {"classes": list(names), **rows, "anchors": [_rounded(a) for a in anchors] if placed else None}
    return {"step": step, "time": _now(), "sphere": where, **memory(run)}


def memory(run: Run) -> dict[str, int]:
    """Largest memory so far in MB: of process 0, and on its GPU."""
    result = {"memory_MB": peak_memory_MB()}
    if run.device.type == "cuda":
        result["gpu_memory_MB"] = round(torch.cuda.max_memory_allocated(run.device) / 1e6)
    return result


def _views(run: Run) -> tuple[Tensor, Tensor]:
    """Views (n, 3, C, C) and their labels (n,), made once: 64 of 128 x 128 pixels take 12 MB."""
    if run.views is None:
        batch = held_out.grid(run.cfg, run.held_out, SCENES, seed=2)[0]
        keep = ~batch["real"]
        run.views = batch["context"][keep], batch["label"][keep]
    return run.views


def _encode(net, views: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Embeddings (n, D) and paths (n, L), on the CPU in float32."""
    z, path = [], []
    for part in views.split(64):
        encoding = net.encode(part.to(device))
        z.append(encoding.embedding.float().cpu())
        path.append(net.route(encoding, x_BCHW=part).path.cpu())
    return torch.cat(z), torch.cat(path)


def _rounded(vector: Tensor) -> list[float]:
    return [round(value, 4) for value in vector.tolist()]


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
