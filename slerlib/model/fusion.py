"""Global-Local Granularity Fusion (GLGF): CLS and patch tokens -> embedding and guide map.

[paper] states that a CLS token and patch tokens are fused into a guide: where to work, what to fix. The equations are
[ours]. The gate mixes the global token g and the local token p_i of each place; attention pooling makes one vector of
the mixture, which becomes the point on the sphere that the router reads; a convolution makes the guide map of it, which
the stages read (`Injection`):

    g   = LN(W_g c)            p_i = LN(W_p P_i)
    a_i = sigmoid(w . GELU(U [g; p_i; g * p_i]) + b)          gate per position
    m_i = a_i g + (1 - a_i) p_i                               guide tokens
    s_i = softmax_i((W_q g) . (W_k m_i) / sqrt(d));           r = g + W_o sum_i s_i m_i
    z   = MLP(r) / |MLP(r)|                                   routing embedding on the unit sphere
    G   = Conv3x3(m)                                          guide map

Legend: B batch, T tokens, D token width (= d), C_g guide channels, h w token map.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import STAGE_NAMES, ModelConfig
from ..sphere import at_least_float32, normalise
from .pointwise import Gelu, PixelLinear, fast


@dataclass(frozen=True)
class Encoding:
    """Where a batch of images lies on the sphere, and where to work in each."""

    embedding: Tensor  # (B, d_z) z; unit vectors unless sude = "linear"
    feature: Tensor  # (B, d_z) the same before normalisation
    guide: Tensor | None  # (B, C_g, h, w) guide map at token resolution; None when glgf = "off" or inject = "none"
    gate: Tensor | None  # (B, h, w) in 0..1: share of the global token at each place; None without a gate
    local: Tensor | None = None  # (B, d_z, h, w) the point of each place: the head of z on its guide token
    points: Tensor | None = None  # (B, d_z, h, w) chooses the experts of each place (places.py); None: z does


class GLGF(nn.Module):
    """Fuse CLS (B, D) and patch tokens (B, D, h, w) into an `Encoding`."""

    def __init__(self, cfg: ModelConfig):
        super().__init__()
        d = cfg.token_width
        self.mode = cfg.glgf
        self.linear_space = cfg.sude == "linear"
        if self.mode != "cls_only":
            self.local_in = nn.Sequential(PixelLinear(d, d), nn.LayerNorm(d))
        if self.mode in ("full", "cls_only"):
            self.global_in = nn.Sequential(nn.Linear(d, d), nn.LayerNorm(d))
        if self.mode in ("full", "patch_only"):  # cls_only has the same token everywhere: no gate, no attention
            self.gate = nn.Sequential(PixelLinear(3 * d, d), Gelu(), nn.Linear(d, 1))
            self.query, self.key, self.out = nn.Linear(d, d), PixelLinear(d, d), nn.Linear(d, d)
        self.head = nn.Sequential(PixelLinear(d, d), Gelu(), PixelLinear(d, cfg.embedding))
        self.guide = None
        if self.mode != "off" and cfg.inject != "none":
            self.guide = nn.Conv2d(d, cfg.guide_channels, 3, padding=1)

    def forward(self, cls_BD: Tensor, patch_BDhw: Tensor) -> Encoding:
        size, patches = patch_BDhw.shape[-2:], patch_BDhw.flatten(2).transpose(1, 2)
        p = None if self.mode == "cls_only" else self.local_in(patches)
        g = r = self.centre(cls_BD, None if p is None else p.mean(dim=1))
        m, gate = self.mixed(g, p, patches.shape[1])
        if gate is not None:
            r = g + self.out((self.score(g, m).softmax(dim=1)[:, None] @ m).squeeze(1))
            gate = gate.squeeze(-1).unflatten(1, size)
        guide = None if self.guide is None else self.guide(m.transpose(1, 2).unflatten(2, size))
        return Encoding(*self.point(r), guide, gate, self.local(m).transpose(1, 2).unflatten(2, size))

    # the steps; inference/look.py takes them with the tokens of a strip at a time

    def centre(self, cls_BD: Tensor, mean_BD: Tensor | None) -> Tensor:
        """g: from the CLS token, or the mean of the local tokens p."""
        return self.global_in(cls_BD) if self.mode in ("full", "cls_only") else mean_BD

    def mixed(self, g_BD: Tensor, p_BTD: Tensor | None, tokens: int) -> tuple[Tensor, Tensor | None]:
        """(m (B, T, D), gate (B, T, 1) or None)."""
        everywhere = g_BD[:, None].expand(-1, tokens, -1)
        if self.mode in ("cls_only", "off"):
            return (everywhere if p_BTD is None else p_BTD), None
        gate = torch.sigmoid(self.gate(torch.cat([everywhere, p_BTD, everywhere * p_BTD], dim=-1)))
        return gate * everywhere + (1 - gate) * p_BTD, gate

    def score(self, g_BD: Tensor, m_BTD: Tensor) -> Tensor:
        """(B, T) before the softmax of the attention pooling."""
        return (self.key(m_BTD) @ self.query(g_BD)[:, :, None]).squeeze(-1) / m_BTD.shape[-1] ** 0.5

    def point(self, r_BD: Tensor) -> tuple[Tensor, Tensor]:
        """(z, the same before normalisation)."""
        feature = at_least_float32(self.head(r_BD))
        return (feature if self.linear_space else normalise(feature)), feature

    def local(self, m_BTD: Tensor) -> Tensor:
        """(B, T, d_z) the point of each place."""
        local = self.head(m_BTD).float()
        return local if self.linear_space else normalise(local)


class Injection(nn.Module):
    """Feature-wise modulation of one stage by the guide map: F (1 + gamma) + beta, the identity at the start.

    The 1x1 convolution runs at token resolution and its result is resized: equal to the other order, but cheaper.
    """

    def __init__(self, guide_channels: int, channels: int):
        super().__init__()
        self.project = nn.Conv2d(guide_channels, 2 * channels, 1)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x_BCHW: Tensor, guide_BChw: Tensor) -> Tensor:
        quick, bias = fast(guide_BChw), self.project.bias
        if quick:  # with the 1 in gamma, one step suffices
            bias = bias + torch.cat([torch.ones_like(bias[::2]), torch.zeros_like(bias[::2])])
        modulation = F.conv2d(guide_BChw, self.project.weight, bias)
        if modulation.shape[-2:] != x_BCHW.shape[-2:]:
            modulation = F.interpolate(modulation, size=x_BCHW.shape[-2:], mode="bilinear", align_corners=False)
        gamma, beta = modulation.chunk(2, dim=1)
        return torch.addcmul(beta if quick else x_BCHW + beta, x_BCHW, gamma)


def injected_stages(cfg: ModelConfig) -> tuple[str, ...]:
    """Names of the stages that the guide map modulates."""
    if cfg.glgf == "off" or cfg.inject == "none":
        return ()
    return STAGE_NAMES if cfg.inject == "all" else STAGE_NAMES[4:]
