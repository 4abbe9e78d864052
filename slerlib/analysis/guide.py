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
    """Does the guide map show *where* damage is? Damage is kept inside a mask only, and the maps are scored by it.

    mask: "left" = the left half; "disc" = a disc of a third of the side about the centre. `side`: central pixels used.
    Maps, at token resolution: "gate" = 1 - a, the share of the local token; "guide" = length of the guide vector;
    "guide change" = distance to the guide map of the clean image (needs the clean image, and shows whether the change
    stays local). A map is scored by the area under the ROC curve (AUC) against the true mask; a token that the border
    of the mask crosses belongs to the side that holds more of it. 0.5 is chance; below 0.5 the map is *lower* where the
    damage is. "clean": the AUC of the undamaged image's map, which only the picture can explain.
    Returns the table - degradation, map, n, auc, auc_low, auc_high, clean (AUC), gain (auc - clean), gain_low,
    gain_high - and for each degradation (input (3, H, W), mask (H, W), guide change (h, w), gate (h, w)) of its first
    image. AUC is the mean over images.
    Raises UserError for a network without a guide map, for an unknown mask, and for pictures too small for it.
    """
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    if mask not in ("left", "disc"):
        raise UserError(f"mask is 'left' or 'disc'; got {mask!r}. Choose one.")
    if model.glgf.guide is None:
        raise UserError("This network has no guide map (glgf 'off' or inject 'none'). Load another checkpoint.")
    rows, shown, weight = [], {}, next(model.parameters())
    for case in loaded(cases):
        clean, damaged = centre(case.target, side), centre(case.input, side)
        where_HW = _mask(mask, *clean.shape[1:])
        mixed = torch.where(where_HW, damaged, clean)
        with evaluating(model), torch.inference_mode():
            seen = model.encode(model.pad(torch.stack([mixed, clean]).to(weight.device, weight.dtype)))
        guide, gate = seen.guide.float().cpu(), None if seen.gate is None else 1 - seen.gate.float().cpu()
        h, w = (length // model.cfg.stride for length in clean.shape[1:])  # tokens of the padding are left out
        inside = F.adaptive_avg_pool2d(where_HW[None, None, : h * model.cfg.stride, : w * model.cfg.stride].float(),
                                       (h, w))[0, 0] > 0.5  # fmt: skip
        if inside.all() or not inside.any():
            raise UserError(
                f"Damage in a place needs tokens inside and outside of it; {case.image!r} of {clean.shape[1]} x "
                f"{clean.shape[2]} has {inside.numel()} tokens, {int(inside.sum())} of them mostly inside the mask "
                f"{mask!r}. Use larger pictures, or mask='left'."
            )
        strength = guide.norm(dim=1)
        maps = {"guide change": ((guide[0] - guide[1]).norm(dim=0), None), "guide": (strength[0], strength[1])}
        maps |= {} if gate is None else {"gate": (gate[0], gate[1])}
        for name, (map_hw, before_hw) in maps.items():
            auc = roc_auc_score(inside.ravel(), map_hw[:h, :w].ravel())
            before = 0.5 if before_hw is None else roc_auc_score(inside.ravel(), before_hw[:h, :w].ravel())
            rows.append((case.task, name, f"{case.dataset}/{case.image}", auc, before))
        shown.setdefault(case.task, (mixed, where_HW, maps["guide change"][0][:h, :w],
                                     None if gate is None else gate[0][:h, :w]))  # fmt: skip
    each = pd.DataFrame(rows, columns=["degradation", "map", "scene", "auc", "clean"])
    result = []
    for (task, name), part in each.groupby(["degradation", "map"], sort=False):
        row = {"degradation": task, "map": name, "n": len(part), "clean": part.clean.mean()}
        result.append(row | mean_interval("auc", part.auc, part.scene)
                      | mean_interval("gain", part.auc - part.clean, part.scene))  # fmt: skip
    return pd.DataFrame(result), shown


def _mask(kind: str, height: int, width: int) -> Tensor:
    """(H, W) bool: where the damage is kept."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    if kind == "left":
        return x < width // 2
    return (y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 3) ** 2
