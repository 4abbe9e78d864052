"""Token encoder: image -> CLS token (the damage of the whole image) and patch tokens (the damage at each place).

Strided convolutions make one token of each patch of pixels (8 x 8 in `tiny`). Transformer blocks let the tokens of a
window look at each other, and at a CLS token that collects what holds for all. The image is not resized: that would
destroy noise and thin streaks, the very things to be seen [ours].
Legend: B batch, D token width, H W pixels, h w token map, N attention windows per image, T tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import ModelConfig
from ..sphere import at_least_float32
from . import windows
from .pointwise import Gelu, PixelLinear, fast, gelu

# Tokens: the stem sees less than one beside its own, the high-pass two pixels more, the position one more.
_REACH = 3


class TokenEncoder(nn.Module):
    """(B, 3, H, W) in [0, 1], H and W at least one token -> CLS (B, D) and patch tokens (B, D, h, w)."""

    def __init__(self, cfg: ModelConfig):
        super().__init__()
        width = cfg.token_width
        self.window = cfg.context // cfg.stride
        kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
        self.register_buffer("blur", (kernel[:, None] * kernel).expand(3, 1, 5, 5).clone(), persistent=False)
        layers, channels = [], 6  # the image and its high-pass
        for n, stride in enumerate(cfg.strides):
            out = width >> (len(cfg.strides) - 1 - n)
            # an even kernel centres each token on its own stride x stride pixels
            layers += [nn.Conv2d(channels, out, 2 * stride, stride, padding=stride // 2), Gelu()]
            channels = out
        self.stem = nn.Sequential(*layers)
        # one convolution a level is too few to tell a thin streak from an edge
        looks = [[StemBlock(layer.out_channels) for _ in range(cfg.stem_blocks)] for layer in self.stem[:-2:2]]
        self.fine = nn.ModuleList(nn.Sequential(*level) for level in looks)
        pixels = sum(2 * math.prod(cfg.strides[: n + 1]) for n in range(len(self.fine)))  # that one block sees further
        self.reach = _REACH + math.ceil(cfg.stem_blocks * pixels / cfg.stride)
        for layer in self.stem[::2]:  # torch's default is 2.4 times smaller: GELU is then near linear, blind to energy
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        self.position = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.cls = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.blocks = nn.ModuleList(
            EncoderBlock(width, cfg.encoder_heads, cfg.encoder_kernel) for _ in range(cfg.encoder_blocks)
        )

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        x = self.embed(x_BCHW)
        # attention sees no more than in training: a larger image is cut into windows, whose results are blended
        layout = windows.plan(*x.shape[-2:], self.window)
        cls, parts = self.attend(windows.split(x, layout))
        return cls.unflatten(0, (-1, layout.count)).mean(dim=1), windows.merge(parts, layout)

    def embed(self, x_BCHW: Tensor) -> Tensor:
        """Tokens (B, D, h, w) before they look at each other. Each sees less than `reach` tokens around its own."""
        x = self._seen(at_least_float32(x_BCHW)).to(self.cls.dtype)  # a high-pass of rounded values shows rounding
        for level in range(len(self.stem) // 2):
            x = self.stem[2 * level + 1](self.stem[2 * level](x))
            if level < len(self.fine):
                x = self.fine[level](x)
        return x + self.position(x)

    def _seen(self, x_BCHW: Tensor) -> Tensor:
        """(B, 6, H, W): the image and its high-pass.

        Fixed gains bring brightness and fine structure to the same order of magnitude. The stem has no normalisation:
        it would remove the amplitude of noise and the exposure, which have to be seen.
        """
        around, blur = F.pad(x_BCHW, (2, 2, 2, 2), mode="reflect"), self.blur.to(x_BCHW.dtype)
        if not fast(x_BCHW):
            return torch.cat([2 * x_BCHW - 1, 10 * (x_BCHW - F.conv2d(around, blur, groups=3))], dim=1)
        one = torch.zeros(3, 3, 5, 5)  # all of it as one convolution, three times as fast
        one[range(3), range(3), 2, 2] = 1.0
        low = blur * torch.eye(3)[:, :, None, None]
        weight, bias = torch.cat([2 * one, 10 * (one - low)]), torch.tensor([-1.0] * 3 + [0.0] * 3)
        return F.conv2d(around.contiguous(memory_format=torch.channels_last), weight, bias)

    def attend(self, parts: Tensor) -> tuple[Tensor, Tensor]:
        """Windows (B N, D, h, w) -> (CLS token (B N, D), tokens) of each, after its tokens looked at each other."""
        tokens = torch.cat([self.cls.expand(parts.shape[0], -1, -1), parts.flatten(2).transpose(1, 2)], dim=1)
        for block in self.blocks:
            tokens = block(tokens, parts.shape[-2:])
        return tokens[:, 0], tokens[:, 1:].transpose(1, 2).unflatten(2, parts.shape[-2:])


class StemBlock(nn.Module):
    """Residual block on (B, C, H, W): two 3 x 3 convolutions, twice as wide inside. It starts as identity [ours]."""

    def __init__(self, channels: int):
        super().__init__()
        self.widen = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.narrow = nn.Conv2d(2 * channels, channels, 3, padding=1)
        nn.init.kaiming_normal_(self.widen.weight, nonlinearity="relu")
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW + self.narrow(gelu(self.widen(x_BCHW)))


class EncoderBlock(nn.Module):
    """Pre-norm transformer block on (B, T, D) tokens: CLS, then those of a window of `size` = (h, w) places.

    Attention finds tokens by what they show, not by where they are. Where only a part of a picture is damaged it tells
    the other part of it too. So with `kernel` each place first looks at its neighbours, by a depthwise convolution, as
    in CPVT (Chu et al., 2023) but in every block [ours]. It starts at zero.
    """

    def __init__(self, width: int, heads: int, kernel: int = 0):
        super().__init__()
        self.heads = heads
        self.near = None
        if kernel:
            self.near = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
            nn.init.zeros_(self.near.weight)
            nn.init.zeros_(self.near.bias)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = PixelLinear(width, 3 * width), PixelLinear(width, width)
        self.feed = nn.Sequential(PixelLinear(width, 2 * width), Gelu(), PixelLinear(2 * width, width))

    def forward(self, x_BTD: Tensor, size: tuple[int, int]) -> Tensor:
        if self.near is not None:
            places_BDhw = x_BTD[:, 1:].transpose(1, 2).unflatten(2, size)
            x_BTD = torch.cat([x_BTD[:, :1], x_BTD[:, 1:] + self.near(places_BDhw).flatten(2).transpose(1, 2)], dim=1)
        q, k, v = self.qkv(self.norm1(x_BTD)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x_BTD = x_BTD + self.project(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x_BTD + self.feed(self.norm2(x_BTD))
