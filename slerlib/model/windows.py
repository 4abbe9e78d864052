"""Overlapping windows over a feature map, with a smooth blend back.

A global operation (attention) must see no more at test time than it saw in training: it runs in windows of that size.
Legend: B batch, C channels, H W map, N windows per image, h w window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Where the windows of one map lie: `tops` and `lefts` of windows of `size`, in a map of `shape`."""

    shape: tuple[int, int]
    size: tuple[int, int]
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @property
    def count(self) -> int:
        return len(self.tops) * len(self.lefts)


def plan(height: int, width: int, window: int) -> Layout:
    """Windows of at most `window` a side, at equal distances, that overlap by at least an eighth."""
    height, width = int(height), int(width)  # tracers of torch have numbers of their own

    def starts(length: int) -> tuple[int, ...]:
        if length <= window:
            return (0,)
        step = max(window - max(window // 8, 1), 1)  # windows of one place cannot overlap
        count = math.ceil((length - window) / step) + 1
        return tuple(round(i * (length - window) / (count - 1)) for i in range(count))

    return Layout((height, width), (min(height, window), min(width, window)), starts(height), starts(width))


def split(x_BCHW: Tensor, layout: Layout) -> Tensor:
    """-> (B * N, C, h, w), the windows of one image next to each other."""
    h, w = layout.size
    parts = [x_BCHW[:, :, top : top + h, left : left + w] for top in layout.tops for left in layout.lefts]
    return parts[0] if len(parts) == 1 else torch.stack(parts, dim=1).flatten(0, 1)


def merge(windows: Tensor, layout: Layout) -> Tensor:
    """Blend `(B * N, C, h, w)` back to (B, C, H, W): triangular weights that sum to one at every place."""
    if layout.count == 1:
        return windows
    h, w = layout.size
    parts = windows.unflatten(0, (-1, layout.count))
    total = windows.new_zeros(parts.shape[0], parts.shape[2], *layout.shape)
    weight = windows.new_zeros(layout.shape)
    weight_hw = ramp(h, windows)[:, None] * ramp(w, windows)
    for n, (top, left) in enumerate((top, left) for top in layout.tops for left in layout.lefts):
        total[:, :, top : top + h, left : left + w] += parts[:, n] * weight_hw
        weight[top : top + h, left : left + w] += weight_hw
    return total / weight


def ramp(length: int, like: Tensor) -> Tensor:
    """Triangle 1, 2, ..., 2, 1 over `length` places."""
    i = torch.arange(length, device=like.device, dtype=like.dtype)
    return torch.minimum(i, length - 1 - i) + 1
