"""The rule that tells damage unlike the trained (`slerlib.model.doubt.Rule`), fitted on photographs.

    rows = collected(model, photographs, {"rain": ..., "snow": ...})
    part = fitted(rows, model.router.names, false_alarms=0.05)      # what a card keeps under "unseen"

Legend: N pictures, F signs and classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..evaluation.metrics import psnr
from ..inference.evidence import evidence
from ..inference.load import evaluating
from ..inference.restore import padded
from ..model.doubt import SIGNS
from ..model.network import SLERIR

if TYPE_CHECKING:
    from pandas import DataFrame

KNOWN = 0.97  # share of pictures with trained damage, of those of the fit, below the limit
PENALTY = 0.01  # C of scikit-learn's logistic regression; both chosen on the test photographs of docs/restoring.md


def collected(
    model: SLERIR, photographs: Mapping[str, Tensor], damages: Mapping[str, Callable[[Tensor, int], Tensor]]
) -> DataFrame:
    """One row per photograph and damage: photograph, kind, psnr of the result against the photograph, signs, classes.

    photographs: name -> (3, H, W) clean. damages: kind -> (photograph, seed) -> damaged. The seed is another for each.
    """
    import pandas as pd

    rows = []
    with evaluating(model), torch.inference_mode():
        for name, clean in photographs.items():
            for kind, damage in damages.items():
                x = padded(model, damage(clean, len(rows))[None])
                encoding = model.encode(x)
                before = model.route(encoding)
                y = model.backbone(x, encoding.guide, before)[0].float().clamp(0, 1)
                y = padded(model, y[..., : clean.shape[1], : clean.shape[2]])
                after = model.route(model.encode(y, route_by="image"))
                values = evidence(x, y, before, after)[0].tolist()
                score = psnr(y[0, :, : clean.shape[1], : clean.shape[2]], clean)
                names = [*SIGNS, *before.anchor_names]
                rows.append({"photograph": name, "kind": kind, "psnr": score} | dict(zip(names, values, strict=True)))
    return pd.DataFrame(rows)


def fitted(rows: DataFrame, classes: Sequence[str], false_alarms: float = float("nan")) -> dict:
    """What the card keeps under "unseen": mean, scale and weight of each sign, bias and limit.

    rows: of `collected`; kinds that are no class are the damage to be recognised. false_alarms: of other photographs.
    """
    from sklearn.linear_model import LogisticRegression

    names = [*SIGNS, *classes]
    values, unlike = rows[names].to_numpy(), ~rows.kind.isin(classes).to_numpy()
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale = np.where(scale > 1e-6, scale, 1.0)
    model = LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=2000).fit((values - mean) / scale, unlike)
    columns = {"mean": mean, "scale": scale, "weight": model.coef_[0]}
    signs = {name: {key: float(column[n]) for key, column in columns.items()} for n, name in enumerate(names)}
    part = {"signs": signs, "bias": float(model.intercept_[0]), "limit": 0.0, "false_alarms": false_alarms}
    return part | {"limit": float(np.quantile(scores(rows, part)[~unlike], KNOWN))}


def scores(rows: DataFrame, part: dict) -> np.ndarray:
    """(N,) of rows of `collected`, as `Rule.scores` gives them."""
    mean, scale, weight = (
        np.array([row[key] for row in part["signs"].values()]) for key in ("mean", "scale", "weight")
    )
    return (rows[list(part["signs"])].to_numpy() - mean) / scale @ weight + part["bias"]
