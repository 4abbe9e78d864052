"""The batches of a training: grids of scenes x classes in stage A, single samples in stages B and C."""

from __future__ import annotations

from torch.utils.data import DataLoader

from ..config import RunConfig
from ..data.loader import Batches
from ..data.sources import Sources


def batches(
    cfg: RunConfig, sources: Sources, grid: int = 0, seed: int | None = None, part=(0, 1), **options
) -> Batches:
    """Batches of single samples, or of grids of `grid` scenes. part: (number, count) of the processes that share one.

    options: `context_share` and `real_rows` of `Batches`.
    """
    t, m = cfg.train, cfg.model
    options = {"context_share": t.context_share, "stride": m.stride, "part": part, **options}
    seed = t.seed if seed is None else seed
    if m.own_classes and t.own_only and not grid:
        options["only"] = m.classes[-m.own_classes :]
    return Batches(sources, m.classes, cfg.data, m.context, t.batch, seed, grid, **options)


def grids(cfg: RunConfig, sources: Sources, part=(0, 1)) -> Batches:
    """Batches of stage A."""
    return batches(cfg, sources, cfg.train.grid_scenes, part=part, context_share=1.0, real_rows=1)


def loader(cfg: RunConfig, sources: Sources, step: int, workers: int = 0, part=(0, 1)) -> DataLoader:
    """Batches from `step` to the end of its stage (A, or B and C), made by so many processes."""
    stage_a = cfg.train.stage_steps()[0]
    if step < stage_a:
        return grids(cfg, sources, part).loader(step, stage_a, workers)
    return batches(cfg, sources, part=part).loader(step, cfg.train.steps, workers)
