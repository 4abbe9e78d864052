"""The two kinds of block: NAFNet blocks (Chen et al. 2022) and Restormer blocks (Zamir et al. 2022).

A block maps (B, C, H, W) to the same shape: first each channel looks at its neighbourhood and, through one global
statistic, at the whole map; then a feed-forward part works at each pixel. Both parts add to their input. The global
statistic is a mean (NAF) or a matrix of channel attention (Restormer). At test time it is taken over windows of about
the training size (TLC, Chu et al. 2022), since the whole of a large picture is unlike a training crop: `window` is the
side of that window in this block's own pixels, 0 for global.
Legend: B batch, C channels, H W pixels of this level.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import windows
from .pointwise import PixelConv, PixelLinear


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel, with scale and shift."""

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BHWC = x_BCHW.permute(0, 2, 3, 1)  # a view: contiguous when the map is channels_last
        return F.layer_norm(x_BHWC, self.weight.shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


def local_mean(x_BCHW: Tensor, window: int) -> Tensor:
    """Mean of the map in a sliding window, on a grid of cells a third of the window wide (B, C, cells_y, cells_x).

    Each value averages the cell and its eight neighbours, weighted by their true area, so ragged borders stay unbiased.
    The grid starts at the origin: tiles cut at multiples of a cell see the same cells as the whole image.
    """
    cell = window // 3
    mean = F.avg_pool2d(x_BCHW, cell, cell, ceil_mode=True, count_include_pad=False)
    height, width = x_BCHW.shape[-2:]
    rows = (height - cell * torch.arange(mean.shape[-2], device=mean.device)).clamp(max=cell).to(mean.dtype)
    columns = (width - cell * torch.arange(mean.shape[-1], device=mean.device)).clamp(max=cell).to(mean.dtype)
    area = (rows[:, None] * columns)[None, None]
    box = {"kernel_size": 3, "stride": 1, "padding": 1}
    return F.avg_pool2d(mean * area, **box) / F.avg_pool2d(area, **box)


def resize_cells(grid: Tensor, window: int, height: int, width: int) -> Tensor:
    """Bilinear values of a cell grid (see `local_mean`) at every pixel of a height x width map."""
    cell = window // 3
    size = (grid.shape[-2] * cell, grid.shape[-1] * cell)
    return F.interpolate(grid, size=size, mode="bilinear", align_corners=False)[..., :height, :width]


class NAFBlock(nn.Module):
    """Simple gate, simplified channel attention, gated feed-forward; both residual branches start at zero.

    Works channels-last inside: layer norm and 1x1 convolutions are then plain matrix products over the last dimension.
    """

    def __init__(self, channels: int, window: int = 0):
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.expand = PixelLinear(channels, 2 * channels)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.attention = nn.Linear(channels, channels)
        self.project = PixelLinear(channels, channels)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.feed_in = PixelLinear(channels, 2 * channels)
        self.feed_out = PixelLinear(channels, channels)
        self.beta = nn.Parameter(torch.zeros(channels))
        self.gamma = nn.Parameter(torch.zeros(channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = x_BCHW.permute(0, 2, 3, 1)
        y = self.expand(self.norm1(x)).permute(0, 3, 1, 2)
        y = _gate(self.depthwise(y).permute(0, 2, 3, 1))
        x = self.project.added(x, y * self._channel_attention(y), self.beta)
        x = self.feed_out.added(x, _gate(self.feed_in(self.norm2(x))), self.gamma)
        return x.permute(0, 3, 1, 2)

    def _channel_attention(self, y_BHWC: Tensor) -> Tensor:
        height, width = y_BHWC.shape[1:3]
        if self.training or not self.window or height * width <= self.window**2:
            return self.attention(y_BHWC.mean(dim=(1, 2), keepdim=True))
        grid = self.attention(local_mean(y_BHWC.permute(0, 3, 1, 2), self.window).permute(0, 2, 3, 1))
        return resize_cells(grid.permute(0, 3, 1, 2), self.window, height, width).permute(0, 2, 3, 1)


def _gate(x_BHWC: Tensor) -> Tensor:
    first, second = x_BHWC.chunk(2, dim=-1)
    return first * second


class RestormerBlock(nn.Module):
    """Transposed (channel) attention and gated depth-wise feed-forward, no convolution bias."""

    def __init__(self, channels: int, heads: int, window: int = 0, expansion: float = 2.66):
        super().__init__()
        self.window, self.heads = window, heads
        self.norm1 = ChannelNorm(channels, eps=1e-5)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = PixelConv(channels, 3 * channels, bias=False)
        self.qkv_depthwise = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.project = PixelConv(channels, channels, bias=False)
        hidden = int(channels * expansion)
        self.norm2 = ChannelNorm(channels, eps=1e-5)
        self.feed_in = PixelConv(channels, 2 * hidden, bias=False)
        self.feed_depthwise = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.feed_out = PixelConv(hidden, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.project(self._attend(self.qkv_depthwise(self.qkv(self.norm1(x)))))
        first, second = self.feed_depthwise(self.feed_in(self.norm2(x))).chunk(2, dim=1)
        return x + self.feed_out(F.gelu(first) * second)

    def _attend(self, qkv: Tensor) -> Tensor:
        height, width = qkv.shape[-2:]
        if self.training or not self.window or height * width <= self.window**2:
            return self._attend_globally(qkv)
        layout = windows.plan(height, width, self.window)
        return windows.merge(self._attend_globally(windows.split(qkv, layout)), layout)

    def _attend_globally(self, qkv: Tensor) -> Tensor:
        q, k, v = qkv.unflatten(1, (3, self.heads, -1)).flatten(4).unbind(1)  # each (B, heads, C / heads, H W)
        eps = max(1e-12, torch.finfo(q.dtype).tiny)  # 1e-12 is 0 in float16
        q, k = F.normalize(q, dim=-1, eps=eps), F.normalize(k, dim=-1, eps=eps)
        weights = q @ k.transpose(-2, -1) * self.temperature
        return (weights.softmax(dim=-1) @ v).flatten(1, 2).unflatten(2, qkv.shape[-2:])
