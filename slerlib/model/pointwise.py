"""Layers that work at each pixel alone, on the fast way of oneDNN where torch would not take it.

On one thread torch sends them to the matrix product of MKL, which is 2 to 3 times slower on processors of AMD
(docs/restoring.md). Only in inference mode, in float32, on x86: trainings keep every bit. Results agree to rounding.
"""

from __future__ import annotations

import functools
import platform

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@functools.cache
def _here() -> bool:
    return platform.machine() in ("x86_64", "AMD64") and torch.backends.mkldnn.is_available()


def fast(x: Tensor) -> bool:
    """Whether the fast way may be taken for this input."""
    plain = (
        x.dtype == torch.float32 and x.device.type == "cpu" and type(x) is Tensor and torch.is_inference_mode_enabled()
    )
    recorded = torch.compiler.is_compiling() or torch.compiler.is_exporting() or torch.jit.is_tracing()
    return plain and not recorded and _here() and torch.backends.mkldnn.enabled and x.numel() > 0


def gelu(x: Tensor) -> Tensor:
    """GELU; on the fast way with the same bits for any number of threads, and 1.4 to 1.6 times as fast.

    For channels-last maps torch cuts the values into a share for each thread, and the end of a share takes other code,
    whose last bit may differ. oneDNN's way has no such ends; torch takes it for values that lie in a row.
    """
    if not (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and fast(x)):
        return F.gelu(x)
    return F.gelu(x.as_strided((x.numel(),), (1,))).as_strided(x.shape, x.stride())  # in the order of memory


class Gelu(nn.GELU):
    """`gelu` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return gelu(x)


class PixelLinear(nn.Linear):
    """(B, H, W, C) -> (B, H, W, D), or tokens (B, T, C) -> (B, T, D)."""

    def forward(self, x_BHWC: Tensor) -> Tensor:
        if x_BHWC.ndim == 3 and self._fast(x_BHWC[:, None]):
            return _product(x_BHWC[:, None], self.weight, self.bias)[:, 0]
        return _product(x_BHWC, self.weight, self.bias) if self._fast(x_BHWC) else super().forward(x_BHWC)

    def added(self, x_BHWD: Tensor, y_BHWC: Tensor, scale_D: Tensor) -> Tensor:
        """x + scale * forward(y): the scale goes into the weights, where it costs nothing."""
        if not self._fast(y_BHWC):
            return torch.addcmul(x_BHWD, self(y_BHWC), scale_D)
        return _product(y_BHWC, self.weight * scale_D[:, None], self.bias * scale_D).add_(x_BHWD)

    def _fast(self, x_BHWC: Tensor) -> bool:
        return x_BHWC.ndim == 4 and self.weight.dtype == torch.float32 and fast(x_BHWC)


def _product(x_BHWC: Tensor, weight_DC: Tensor, bias_D: Tensor) -> Tensor:
    x, weight = x_BHWC.permute(0, 3, 1, 2), weight_DC[:, :, None, None]
    return torch.mkldnn_convolution(x, weight, bias_D, (0, 0), (1, 1), (1, 1), 1).permute(0, 2, 3, 1)


class PixelConv(nn.Conv2d):
    """A 1x1 convolution: (B, C, H, W) -> (B, D, H, W)."""

    def __init__(self, channels: int, out: int, bias: bool = True):
        super().__init__(channels, out, 1, bias=bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if not fast(x_BCHW) or self.weight.dtype != torch.float32:
            return super().forward(x_BCHW)
        return torch.mkldnn_convolution(x_BCHW, self.weight, self.bias, (0, 0), (1, 1), (1, 1), 1)
