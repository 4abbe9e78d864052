"""Own classes: kinds of damage that join a trained network, without a change to what it does for the others. [ours]

The encoder was taught to ignore what its own classes do not need, such as a colour cast. So each own class has a gate
of its own. It looks at the tokens and at simple statistics of the image, and gives a push q >= 0:

    z' = normalise(z + q a)      a: the anchor of the own class, at right angles to all other anchors

Where q = 0, z keeps every bit. Where q is large, z' is near the own anchor, which is also the pin of an expert of its
own at each layer: so the nearest pin leads there.
Legend: B batch, C channels, H W pixels, D embedding dimension, F features, N images.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..sphere import normalise

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
SCALES = 3  # octaves of fine structure
STATISTICS = 6 + 3 * len(QUANTILES) + 3 * SCALES + 3
HIDDEN = 80
OWN_WEIGHT = 3.0  # of an own image in the fit, of which there are fewer
SAMPLES = 1 << 14  # pixels that the quantiles are taken from


def statistics(x_BCHW: Tensor) -> Tensor:
    """(B, 33): mean, deviation and quantiles of each channel, log amplitude of fine structure, correlations."""
    x = x_BCHW.float()
    pixels = x.flatten(2)
    mean, deviation = pixels.mean(2), pixels.std(2)
    step = max(1, pixels.shape[2] // SAMPLES)
    quantiles = torch.quantile(pixels[..., ::step], x.new_tensor(QUANTILES), dim=2).permute(1, 0, 2).flatten(1)
    fine, y = [], x
    for _ in range(SCALES):
        low = F.avg_pool2d(y, 2)
        fine.append(torch.log((y - F.interpolate(low, size=y.shape[-2:])).abs().mean((2, 3)) + 1e-3))
        y = low
    centred = (pixels - mean[..., None]) / (deviation[..., None] + 1e-6)
    pairs = [(centred[:, a] * centred[:, b]).mean(1) for a, b in ((0, 1), (0, 2), (1, 2))]
    return torch.cat([mean, deviation, quantiles, *fine, torch.stack(pairs, 1)], dim=1)


class Gate(nn.Module):
    """Features (B, F) -> push (B,)."""

    def __init__(self, features: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.layers = nn.Sequential(nn.Linear(features, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1))

    def _apply(self, function, recurse=True):  # of `half()`, `to(...)` and the like
        """Follow to another device, and stay float32: half precision would round the means and scales."""
        return super()._apply(lambda tensor: tensor.to(function(tensor).device), recurse)

    def score(self, features_BF: Tensor) -> Tensor:
        return self.layers((features_BF - self.mean) / self.scale)[:, 0]

    def forward(self, features_BF: Tensor) -> Tensor:
        return self.score(features_BF).clamp(min=0)

    def fit(self, own_NF: Tensor, others_NF: Tensor, steps: int = 300, seed: int = 0) -> None:
        """Logistic regression of own images against all others, from a seed, with strong weight decay."""
        features = torch.cat([own_NF, others_NF])
        self.mean.copy_(features.mean(0))
        self.scale.copy_(features.std(0) + 1e-6)
        label = torch.cat([torch.ones(len(own_NF)), torch.zeros(len(others_NF))]).to(features)
        generator, weight = torch.Generator().manual_seed(seed), label.new_tensor(OWN_WEIGHT)
        with torch.no_grad():
            for parameter in self.parameters():
                bound = 1 / max(parameter.shape[-1], 1) ** 0.5 if parameter.ndim == 2 else 0.0
                parameter.copy_((torch.rand(parameter.shape, generator=generator) * 2 - 1) * bound)
        with torch.enable_grad():
            optimiser = torch.optim.AdamW(self.requires_grad_(True).parameters(), lr=0.01, weight_decay=0.3)
            for _ in range(steps):
                loss = F.binary_cross_entropy_with_logits(self.score(features), label, pos_weight=weight)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        self.requires_grad_(False)


class OwnClasses(nn.Module):
    """The gates of the last `count` classes."""

    def __init__(self, count: int, token_width: int):
        super().__init__()
        self.gates = nn.ModuleList(Gate(2 * token_width + STATISTICS) for _ in range(count))
        self.requires_grad_(False)  # fitted once, when the class joins

    @staticmethod
    def features(x_BCHW: Tensor, cls_BD: Tensor, patch_BDhw: Tensor) -> Tensor:
        """(B, F) what the gates look at."""
        return torch.cat([cls_BD.float(), patch_BDhw.float().mean((2, 3)), statistics(x_BCHW)], dim=1)

    def forward(self, x_BCHW: Tensor, cls_BD: Tensor, patch_BDhw: Tensor, anchors_KD: Tensor) -> Tensor:
        """(B, D) q a, summed over the own classes, whose anchors are the last rows of `anchors_KD`."""
        return self.push(self.features(x_BCHW, cls_BD, patch_BDhw), anchors_KD)

    def push(self, features_BF: Tensor, anchors_KD: Tensor) -> Tensor:
        """(B, D) q a of what the gates look at."""
        push = torch.stack([gate(features_BF) for gate in self.gates], dim=1).to(anchors_KD.dtype)
        return push @ anchors_KD[-len(self.gates) :]


def pushed(points: Tensor, push: Tensor) -> Tensor:
    """Unit vectors (..., D), moved by a push of the same shape; where it is 0 they keep every bit."""
    return torch.where((push != 0).any(-1, keepdim=True), normalise(points + push), points)
