"""Looks at the scenes kept out of training: embeddings for the anchors, and PSNR on the way."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..config import LAYERS
from ..data.loader import Batches
from ..model.network import SLERIR

if TYPE_CHECKING:
    from .run import Run


def batches(run: Run, scenes: int, seed: int) -> Batches:
    """Grids of held-out scenes, at most data.anchor_scenes of them (with pairs alone every input of a scene has
    its place in the pool), and as many real views of each class that has held-out pairs."""
    scenes = min(scenes, len(run.held_out.clean), max(run.cfg.data.anchor_scenes, 2))
    grid = run.batches(scenes, run.held_out, 1.0, run.cfg.train.seed + seed, real_rows=scenes)
    grid.cfg = replace(grid.cfg, composite_share=0.0)  # anchors are of single classes
    grid.real_cells = False  # rows of photographs alone: the real views come on top, in equal number
    return grid


@torch.no_grad()
def embed(run: Run, net: SLERIR, views: int) -> tuple[Tensor, Tensor, Tensor]:
    """(embeddings, labels, real or not) of context views of held-out scenes.

    Every class comes equally often from synthesis, and as often again from held-out real pairs where it has any, so
    that its anchor lies between both.
    """
    grid = batches(run, len(run.held_out), seed=1)
    z, labels, real = [], [], []
    for view in range(views):
        batch = grid[view]
        for part in batch["context"].split(64):
            z.append(net.encode(part.to(run.device)).embedding)
        labels.append(batch["label"].to(run.device))
        real.append(batch["real"].to(run.device))
    return torch.cat(z), torch.cat(labels), torch.cat(real)


@torch.no_grad()
def validate(run: Run) -> dict[str, float]:
    """PSNR in dB per class, averaged network, context views of up to 8 held-out scenes with fixed damage.

    Held-out real pairs have rows of their own, "rain (real)". Nothing in stage A, which restores nothing.
    """
    if run.step <= run.cfg.train.stage_steps()[0]:
        return {}
    grid = batches(run, 8, seed=2)  # other views than those the anchors come from
    grid.cfg = replace(grid.cfg, crop=run.cfg.model.context)  # the crop is the whole view
    batch = grid[0]
    run_alone = run.step < run.cfg.train.stage_steps()[0] + run.upcycle_steps  # the other experts are as they were born
    path = [0] * LAYERS if run_alone else None
    result: dict[str, list[float]] = {name: [] for name in run.cfg.model.classes}
    columns = (batch[key] for key in ("degraded", "clean", "label", "real"))
    for x, clean, label, real in zip(*columns, strict=True):
        y = run.ema(x[None].to(run.device), path, label[None].to(run.device)).clamp(0, 1)
        name = run.cfg.model.classes[label] + (" (real)" if real else "")
        mse = (y.cpu() - clean).pow(2).mean().item()
        result.setdefault(name, []).append(-10 * math.log10(max(mse, 1e-10)))
    return {name: round(sum(v) / len(v), 3) for name, v in result.items()}
