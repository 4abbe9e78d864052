"""Does the guide map show where damage is? Damage is put in one place of a picture, and the maps are scored by it.

    table, shown = guide_response(model, demo_cases(...), "disc")

Legend: C channels, H W pixels, h w token map.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..evaluation.cases import Case, LoadedCase, centre, loaded
from ..inference.load import evaluating
from ..model.network import SLERIR
from .chance import mean_interval

if TYPE_CHECKING:
    from pandas import DataFrame


def guide_response(
    model: SLERIR, cases: Iterable[Case | LoadedCase], mask: str = "left", side: int = 192
) -> tuple[DataFrame, dict[str, tuple[Tensor, ...]]]:
    """Put damage into one place only, and score by that place how well the guide map shows it.

    mask: "left" = the left half; "disc" = a disc of a third of the side about the centre. side: central pixels used.
    Maps, at token resolution: "gate" = 1 - a, the share of the local token; "guide" = length of the guide vector;
    "guide change" = distance to the guide map of the clean image (it needs that image, and shows whether the change
    stays local). The score of a map is the area under the ROC curve (AUC) against the true mask; a token at the border
    of the mask belongs to the side that holds more of it. 0.5 is chance; below 0.5 the map is *lower* where the damage
    is. "clean" is the AUC of the map of the undamaged image, which depends on the scene alone.
    Returns the table - degradation, map, n, clean (AUC), auc, gain (auc - clean), these two with _low and _high; means
    over images - and for each degradation (input (3, H, W), mask (H, W), guide change (h, w), gate (h, w)) of its first
    image.
    Raises UserError for a network without a guide map, for an unknown mask, and for pictures too small for it.
    """
    from sklearn.metrics import roc_auc_score

    if mask not in ("left", "disc"):
        raise UserError(f"mask is 'left' or 'disc'; got {mask!r}. Choose one.")
    if model.glgf.guide is None:
        raise UserError("This network has no guide map (glgf 'off' or inject 'none'). Load another checkpoint.")
    rows, shown = [], {}
    for case in loaded(cases):
        clean, degraded = centre(case.target, side), centre(case.input, side)
        where_HW = _mask(mask, *clean.shape[1:])
        inside_hw = _tokens_inside(where_HW, model.cfg.stride, case.image, mask)
        mixed = torch.where(where_HW, degraded, clean)
        maps = _maps(model, mixed, clean, inside_hw.shape)
        for name, pair in maps.items():
            scores = (0.5 if one is None else roc_auc_score(inside_hw.ravel(), one.ravel()) for one in pair)
            rows.append((case.task, name, f"{case.dataset}/{case.image}", *scores))
        shown.setdefault(case.task, (mixed, where_HW, maps["guide change"][0], maps.get("gate", (None,))[0]))
    return _means(rows), shown


def _tokens_inside(where_HW: Tensor, stride: int, image: str, mask: str) -> Tensor:
    """(h, w) bool: tokens that lie mostly inside the mask. Raises UserError where they are all or 0."""
    h, w = (length // stride for length in where_HW.shape)  # tokens of the padding are left out
    inside_hw = F.adaptive_avg_pool2d(where_HW[None, : h * stride, : w * stride].float(), (h, w))[0] > 0.5
    if inside_hw.all() or not inside_hw.any():
        height, width = where_HW.shape
        raise UserError(
            f"Damage in a place needs tokens inside and outside of it; {image!r} of {height} x {width} has {h * w} "
            f"tokens, {int(inside_hw.sum())} of them mostly inside the mask {mask!r}. Use larger pictures, or "
            "mask='left'."
        )
    return inside_hw


def _maps(model: SLERIR, mixed: Tensor, clean: Tensor, size: tuple[int, int]) -> dict[str, tuple[Tensor | None, ...]]:
    """Name -> (h, w) maps of the image with damage and of the clean one; None where the latter is 0 by definition."""
    h, w = size
    weight = next(model.parameters())
    with evaluating(model), torch.inference_mode():
        encoding = model.encode(model.pad(torch.stack([mixed, clean]).to(weight.device, weight.dtype)))
    guide = encoding.guide.float().cpu()[..., :h, :w]
    maps = {"guide change": ((guide[0] - guide[1]).norm(dim=0), None), "guide": tuple(guide.norm(dim=1))}
    return maps if encoding.gate is None else maps | {"gate": tuple(1 - encoding.gate.float().cpu()[..., :h, :w])}


def _means(rows: list[tuple]) -> DataFrame:
    import pandas as pd

    table = pd.DataFrame(rows, columns=["degradation", "map", "scene", "auc", "clean"])
    means = []
    for (task, name), part in table.groupby(["degradation", "map"], sort=False):
        mean = {"degradation": task, "map": name, "n": len(part), "clean": part.clean.mean()}
        mean |= mean_interval("auc", part.auc, part.scene)
        means.append(mean | mean_interval("gain", part.auc - part.clean, part.scene))
    return pd.DataFrame(means)


def _mask(kind: str, height: int, width: int) -> Tensor:
    """(H, W) bool: where the damage is kept."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    if kind == "left":
        return x < width // 2
    return (y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 3) ** 2
