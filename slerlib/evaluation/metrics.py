"""PSNR and the two SSIMs in use, and bootstrap intervals for their means.

Data range 1, RGB, values clamped to [0, 1] and not rounded to 8 bits, no border shaved. Published SSIMs come from two
definitions that differ by up to 0.003, as much as many claimed gains; so there are two functions:

    ssim            7 x 7 uniform window, sample covariance (the default of scikit-image; PromptIR, AdaIR, DFPIR)
    ssim_gaussian   Gaussian window, sigma 1.5, 11 x 11 (the definition of Wang et al. 2004; MoCE-IR)

Both average over the places where the window lies inside the image, then over the channels, as scikit-image does;
torchmetrics reflects the borders outwards and averages over them too, which moves its value in small pictures.
Legend: C channels, H W pixels, float64 inside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import UserError

Picture = Tensor | np.ndarray | Image.Image
FEWEST_SCENES = 5  # a bootstrap over fewer photographs gives little more than their range: no interval then


def psnr(a: Picture, b: Picture) -> float:
    """Peak signal-to-noise ratio in dB; infinity for equal pictures.

    a, b: pictures of the same size: (C, H, W) tensors in [0, 1], (H, W[, C]) arrays or PIL images.
    Raises UserError if the sizes differ, for NaN and for what is no picture.

    >>> round(psnr(torch.zeros(3, 8, 8), torch.full((3, 8, 8), 0.1)), 3)
    20.0
    """
    a_CHW, b_CHW = _pair(a, b)
    error = (a_CHW - b_CHW).square().mean().item()
    return -10 * math.log10(error) if error else math.inf


def ssim(a: Picture, b: Picture) -> float:
    """Structural similarity with a 7 x 7 uniform window; -1 to 1, 1 for equal pictures. Arguments as for `psnr`.

    >>> round(ssim(torch.full((3, 8, 8), 0.5), torch.full((3, 8, 8), 0.5)), 6)
    1.0
    """
    return _ssim(*_pair(a, b), torch.full((7,), 1 / 7, dtype=torch.float64), 49 / 48)


def ssim_gaussian(a: Picture, b: Picture) -> float:
    """Structural similarity with an 11 x 11 Gaussian window of sigma 1.5; otherwise as `ssim`."""
    place = torch.arange(-5, 6, dtype=torch.float64)
    window = torch.exp(-0.5 * (place / 1.5) ** 2)
    return _ssim(*_pair(a, b), window / window.sum(), 1.0)


def _ssim(a_CHW: Tensor, b_CHW: Tensor, window: Tensor, covariance_norm: float) -> float:
    n = len(window)
    if min(a_CHW.shape[1:]) < n:
        raise UserError(
            f"SSIM needs pictures at least as large as its window, {n} x {n}; these are "
            f"{a_CHW.shape[1]} x {a_CHW.shape[2]}. Score larger pictures, or use psnr alone."
        )
    planes = torch.stack([a_CHW, b_CHW, a_CHW * a_CHW, b_CHW * b_CHW, a_CHW * b_CHW]).flatten(0, 1)
    a, b, aa, bb, ab = _windowed(_windowed(planes, window, 1), window, 2).unflatten(0, (5, -1))
    var_a, var_b, cov = covariance_norm * (aa - a * a), covariance_norm * (bb - b * b), covariance_norm * (ab - a * b)
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * a * b + c1) * (2 * cov + c2) / ((a * a + b * b + c1) * (var_a + var_b + c2))
    return value.mean().item()


def _windowed(planes: Tensor, window: Tensor, dim: int) -> Tensor:
    """Weighted sums along `dim` where the window fits. Shifted sums: torch convolves doubles ten times slower."""
    length = planes.shape[dim] - len(window) + 1
    total = planes.narrow(dim, 0, length) * window[0]
    for n, weight in enumerate(window.tolist()[1:], start=1):
        total.add_(planes.narrow(dim, n, length), alpha=weight)
    return total


def _pair(a: Picture, b: Picture) -> tuple[Tensor, Tensor]:
    a_CHW, b_CHW = _planes(a), _planes(b)
    if a_CHW.shape != b_CHW.shape:
        raise UserError(
            f"Two pictures are compared pixel by pixel and must have the same shape; got {tuple(a_CHW.shape)} and "
            f"{tuple(b_CHW.shape)}. Crop both alike."
        )
    return a_CHW, b_CHW


def _planes(x: Picture) -> Tensor:
    """(C, H, W) float64 on the CPU, clamped to [0, 1]."""
    from ..images.arrays import from_array
    from ..images.files import from_pil

    if isinstance(x, Image.Image):
        x = from_pil(x)[0]
    elif isinstance(x, np.ndarray) and x.dtype.kind == "f":  # values outside [0, 1] are clamped here, not refused
        x = torch.from_numpy(np.atleast_3d(x).astype(np.float64)).movedim(2, 0)
    elif isinstance(x, np.ndarray):
        x = from_array(x)
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim != 3 or 0 in x.shape:
        got = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise UserError(
            f"A score needs two pictures, as float tensors (C, H, W), arrays (H, W, C) or PIL images; got {got}. "
            "Score the images of a batch one by one."
        )
    x = x.detach().to("cpu", torch.float64)
    if not torch.isfinite(x).all():
        raise UserError("A picture with NaN or infinity has no score. Find where these values come from.")
    return x.clamp(0, 1)


def bootstrap_interval(
    values: Iterable[float], confidence: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """(mean, low, high): percentile bootstrap of the mean over images.

    values: one score per image. The interval is (NaN, NaN) for fewer than FEWEST_SCENES values, which would give
    little more than their range, and where a value is infinite.
    Raises UserError without values.

    >>> mean, low, high = bootstrap_interval([20.0, 21.0, 22.0, 23.0, 24.0])
    >>> mean, 20 < low < 22 < high < 24
    (22.0, True)
    >>> bootstrap_interval([20.0, 21.0, 22.0])
    (21.0, nan, nan)
    """
    values = np.asarray(list(values), dtype=np.float64)
    if not len(values):
        raise UserError("A mean and its interval need at least one value; got none. Check that the table has rows.")
    if len(values) < FEWEST_SCENES or not np.isfinite(values).all():
        return float(values.mean()), math.nan, math.nan
    low, high = np.quantile(bootstrap_means(values, samples, seed), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(values.mean()), float(low), float(high)


def with_interval(mean: float, low: float, high: float, form: str = ".2f") -> str:
    """A mean and its interval as text; the mean alone where there is no interval (NaN).

    >>> with_interval(30.1234, 29.5, 31.0), with_interval(0.5, math.nan, math.nan, "+.1f")
    ('30.12 (29.50 to 31.00)', '+0.5')
    """
    return f"{mean:{form}}" + (f" ({low:{form}} to {high:{form}})" if math.isfinite(low) else "")


def bootstrap_means(values: np.ndarray, samples: int = 2000, seed: int = 0) -> np.ndarray:
    """(samples,) means of as many draws with replacement from `values`. NaN among them are drawn and do not count; a
    draw of nothing else has no mean (NaN)."""
    rng = np.random.default_rng(seed)
    drawn = values[rng.integers(0, len(values), (samples, len(values)))]
    if not (absent := np.isnan(drawn)).any():
        return drawn.mean(axis=1)
    n = (~absent).sum(axis=1)
    return np.divide(np.where(absent, 0, drawn).sum(axis=1), n, out=np.full(samples, np.nan), where=n > 0)
