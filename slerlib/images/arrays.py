"""numpy image arrays <-> float32 RGB tensors in [0, 1], and the check of value ranges that arrays and tensors share."""

from __future__ import annotations

import math

import numpy as np
import torch

from ..errors import UserError
from .files import scaled

_TOP = {"uint8": 255, "uint16": 65535, "float16": 1, "float32": 1, "float64": 1}


def from_array(a: np.ndarray) -> torch.Tensor:
    """(H, W) or (H, W, 1|2|3|4) array -> (3, H, W) float32 in [0, 1]; the last of 2 or 4 channels is alpha, left out.

    uint8 means 0..255, uint16 0..65535, float16/32/64 0..1. Raises UserError for anything else.
    """
    if a.dtype.name not in _TOP:
        raise UserError(
            f"An image array must be uint8 (0..255), uint16 (0..65535) or float (0..1); this one is {a.dtype.name}. "
            "Convert it with .astype('uint8'), or to float32 divided by its full range."
        )
    if a.ndim not in (2, 3) or (a.ndim == 3 and a.shape[2] not in (1, 2, 3, 4)) or 0 in a.shape:
        hint = "Check how it was made."
        if a.ndim == 3 and a.shape[0] in (1, 3, 4):
            hint = "Move the channels last with a.transpose(1, 2, 0)."
        elif a.ndim == 4:
            hint = "Pass one image at a time, or a (B, 3, H, W) tensor."
        raise UserError(f"An image array must be (H, W) or (H, W, 1 to 4 channels); this one is {a.shape}. {hint}")
    if a.dtype.kind == "f":
        check_range(float(a.min()), float(a.max()))  # min and max pass a NaN on
    a = a if a.ndim == 3 else a[..., None]
    return scaled(a[..., : _colours(a)], _TOP[a.dtype.name]).clamp_(0, 1)


def to_array(x_CHW: torch.Tensor, like: np.ndarray) -> np.ndarray:
    """(3, H, W) in [0, 1] -> array of the shape and dtype of `like`, with its alpha channel if it has one."""
    out = np.array(like).reshape(*like.shape[:2], -1)
    n, top = _colours(out), _TOP[like.dtype.name]
    x_CHW = x_CHW.detach().float().clamp(0, 1).cpu()
    values_HWN = (x_CHW if n == 3 else x_CHW.mean(0, keepdim=True)).permute(1, 2, 0).numpy()
    out[..., :n] = values_HWN if top == 1 else (values_HWN * top).round()
    return out.reshape(like.shape)


def _colours(a_HWN: np.ndarray) -> int:
    return 3 if a_HWN.shape[2] >= 3 else 1


def check_range(low: float, high: float) -> None:
    """Raise UserError unless values from `low` to `high` are pixel values in [0, 1], to within 0.001."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(
            f"Pixel values must be finite numbers; this image holds NaN or infinity (smallest {low}, largest {high}). "
            "Find where they come from before restoring it."
        )
    if low < -1e-3 or high > 1 + 1e-3:
        hint = "Divide it by 255." if low >= 0 and 2 < high <= 255 else "Rescale or clamp it to [0, 1]."
        raise UserError(f"Float images must hold values from 0 to 1; this one holds {low:g} to {high:g}. {hint}")
