"""`model.own.statistics` of a picture of any size, a strip at a time: sums in float64, the same samples for quantiles.

Legend: C channels, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..images.rows import Pixels
from ..model.own import QUANTILES, SAMPLES, SCALES

STRIP = 256  # rows of pixels, a multiple of 2^SCALES


def statistics(pixels: Pixels) -> Tensor:
    """(1, 33), for a picture whose sides are multiples of 8; see `model.own.statistics`."""
    height, width = pixels.height, pixels.width
    count, step = height * width, max(1, height * width // SAMPLES)
    total, products = torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    fine, samples = torch.zeros(SCALES, 3, dtype=torch.float64), []
    for top in range(0, height, STRIP):
        y = pixels.part(top, min(top + STRIP, height), 0, width)[None].float().cpu()
        flat = y[0].flatten(1)
        samples.append(flat[:, -top * width % step :: step])
        flat = flat.double()
        total, products = total + flat.sum(1), products + flat @ flat.T
        for n in range(SCALES):
            low = F.avg_pool2d(y, 2)
            fine[n] += (y - F.interpolate(low, size=y.shape[-2:])).abs()[0].double().sum((1, 2)) * 4**n
            y = low
    mean = total / count
    covariance = products / count - mean[:, None] * mean
    deviation = (covariance.diagonal() * (count / (count - 1))).clamp(min=0).sqrt()
    quantiles = torch.quantile(torch.cat(samples, dim=1), torch.tensor(QUANTILES), dim=1).flatten()
    scaled = deviation + 1e-6
    pairs = torch.stack([covariance[a, b] / (scaled[a] * scaled[b]) for a, b in ((0, 1), (0, 2), (1, 2))])
    fine = torch.log(fine / count + 1e-3).flatten()
    return torch.cat([mean, deviation, quantiles.double(), fine, pairs]).float()[None]
