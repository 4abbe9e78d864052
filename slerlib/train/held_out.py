"""The held-out scenes: embeddings for the anchors, and PSNR while the training runs."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..config import LAYERS, RunConfig
from ..data.loader import Batches
from ..data.sources import Sources
from ..model.network import SLERIR
from .batches import batches
from .stages import upcycle_steps


def grid(cfg: RunConfig, held_out: Sources, scenes: int, seed: int) -> Batches:
    """Grids of held-out scenes, at most data.anchor_scenes of them, and as many real views of each class with pairs.

    The limit counts where the data are pairs alone: then every input of a scene has its place in the pool.
    """
    scenes = min(scenes, len(held_out.clean), max(cfg.data.anchor_scenes, 2))
    cfg = replace(cfg, data=replace(cfg.data, composite_share=0.0, local_share=0.0))  # one class all over a picture
    result = batches(cfg, held_out, scenes, cfg.train.seed + seed, context_share=1.0, real_rows=scenes)
    result.real_cells = False  # rows of photographs alone: the real views come on top, in equal number
    return result


@torch.no_grad()
def embeddings(
    cfg: RunConfig, held_out: Sources, net: SLERIR, views: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """(embeddings, labels, real or not) of context views of held-out scenes.

    Every class has the same number of synthetic views, and as many real ones where it has held-out pairs, so that its
    anchor lies between both.
    """
    scenes = grid(cfg, held_out, len(held_out), seed=1)
    z, labels, real = [], [], []
    for view in range(views):
        batch = scenes[view]
        for part in batch["context"].split(64):
            z.append(net.encode(part.to(device)).embedding)
        labels.append(batch["label"].to(device))
        real.append(batch["real"].to(device))
    return torch.cat(z), torch.cat(labels), torch.cat(real)


@torch.no_grad()
def validate(
    cfg: RunConfig, held_out: Sources, net: SLERIR, step: int, device: torch.device
) -> tuple[dict[str, float], dict[str, float]]:
    """PSNR in dB per class, of results and of inputs, on context views of up to 8 held-out scenes, always the same.

    Held-out real pairs have rows of their own, "rain (real)". Empty in stage A, which restores nothing.
    """
    stage_a = cfg.train.stage_steps()[0]
    if step <= stage_a:
        return {}, {}
    scenes = grid(cfg, held_out, 8, seed=2)  # other views than those the anchors come from
    scenes.cfg = replace(scenes.cfg, crop=cfg.model.context)  # the crop is the whole view
    batch = scenes[0]
    first_alone = step < stage_a + upcycle_steps(cfg)  # the other experts have not been trained yet
    path = [0] * LAYERS if first_alone else None
    result: dict[str, list[float]] = {name: [] for name in cfg.model.classes}
    inputs: dict[str, list[float]] = {}
    columns = (batch[key] for key in ("degraded", "clean", "label", "real"))
    for x, clean, label, real in zip(*columns, strict=True):
        y = net(x[None].to(device), path, label[None].to(device)).clamp(0, 1)
        name = cfg.model.classes[label] + (" (real)" if real else "")
        for scores, picture in ((result, y.cpu()), (inputs, x)):
            mse = (picture - clean).pow(2).mean().item()
            scores.setdefault(name, []).append(-10 * math.log10(max(mse, 1e-10)))
    return tuple({name: round(sum(v) / len(v), 3) for name, v in scores.items() if v} for scores in (result, inputs))
