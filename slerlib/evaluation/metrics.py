"""PSNR, two kinds of SSIM, and bootstrap intervals for their means.

RGB, data range 1, values clamped to [0, 1] and not rounded to 8 bits, no border shaved. Published SSIMs come from two
definitions that differ by up to 0.003, as much as many claimed gains. So there are two functions, both by scikit-image:

    ssim            7 x 7 uniform window, sample covariance (PromptIR, AdaIR, DFPIR)
    ssim_gaussian   Gaussian window, sigma 1.5, 11 x 11 (Wang et al. 2004; MoCE-IR)

Legend: B batch, C channels, H W pixels.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image
from torch import Tensor

from ..errors import UserError
from ..images.arrays import check_range, from_array
from ..images.files import read_image
from ..inference.restore import checked_tensor

Picture = str | os.PathLike | Image.Image | np.ndarray | Tensor
FEWEST_SCENES = 5  # a bootstrap over fewer photographs gives little more than their range: then there is no interval
OVERSHOOT = 0.5  # a network may leave [0, 1] by so much; a float picture further out has another scale


def psnr(a: Picture, b: Picture) -> float:
    """Peak signal-to-noise ratio in dB; infinity for equal pictures.

    a, b: two pictures of one size, each in any form that `slerlib.restore` takes: path, PIL image, array or tensor.
        Grey counts as RGB with three equal channels, and alpha does not count. Float values up to 0.5 outside [0, 1],
        as networks give them, are clamped. Of two batches (B, C, H, W) the score is the mean over their images.
    Raises UserError for pictures of different sizes, and for what `restore` refuses too.

    >>> round(psnr(torch.zeros(3, 8, 8), torch.full((3, 8, 8), 0.1)), 3)
    20.0
    """
    return _mean_score(_psnr, a, b)


def ssim(a: Picture, b: Picture) -> float:
    """Structural similarity with a 7 x 7 uniform window; -1 to 1, 1 for equal pictures. Arguments as for `psnr`.

    >>> round(ssim(torch.full((3, 8, 8), 0.5), torch.full((3, 8, 8), 0.5)), 6)
    1.0
    """
    return _mean_score(_ssim, a, b)


def ssim_gaussian(a: Picture, b: Picture) -> float:
    """Structural similarity with an 11 x 11 Gaussian window of sigma 1.5; otherwise as `ssim`."""
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return _mean_score(lambda a_CHW, b_CHW: _ssim(a_CHW, b_CHW, 11, **options), a, b)


def _psnr(a_CHW: Tensor, b_CHW: Tensor) -> float:
    error = (a_CHW - b_CHW).square().mean().item()
    return -10 * math.log10(error) if error else math.inf


def _ssim(a_CHW: Tensor, b_CHW: Tensor, window: int = 7, **options) -> float:
    from skimage.metrics import structural_similarity

    height, width = a_CHW.shape[1:]
    if min(height, width) < window:
        raise UserError(
            f"SSIM needs pictures at least as large as its window, {window} x {window}; these are {width} x {height} "
            "(width x height). Score larger pictures, or use psnr alone."
        )
    return float(structural_similarity(a_CHW.numpy(), b_CHW.numpy(), channel_axis=0, data_range=1.0, **options))


def _mean_score(score: Callable[[Tensor, Tensor], float], a: Picture, b: Picture) -> float:
    a_BCHW, b_BCHW = _batch(a), _batch(b)
    if a_BCHW.shape != b_BCHW.shape:
        sizes = (f"{len(x)} of {x.shape[3]} x {x.shape[2]}" for x in (a_BCHW, b_BCHW))
        raise UserError(
            "Two pictures are compared pixel by pixel and must have the same size; got "
            f"{' and '.join(sizes)} pixels (width x height). Crop both alike."
        )
    if a_BCHW.dtype != b_BCHW.dtype:  # so that a picture equals itself in single precision
        a_BCHW, b_BCHW = a_BCHW.float(), b_BCHW.float()
    return float(np.mean([score(*pair) for pair in zip(a_BCHW.double(), b_BCHW.double(), strict=True)]))


def _batch(x: Picture) -> Tensor:
    """(B, 3, H, W) in [0, 1] on the CPU, as `restore` reads it; float64 for tensors of that type, else float32."""
    if isinstance(x, (str, os.PathLike, Image.Image)):
        return read_image(x)[0][None]
    if isinstance(x, np.ndarray):
        return from_array(_clamped(x))[None]
    if isinstance(x, Tensor):
        return checked_tensor(_clamped(x.detach().cpu()))
    raise UserError(
        "A score needs two pictures: paths, PIL images, numpy arrays or torch tensors; got "
        f"{type(x).__name__}. Convert it to one of these."
    )


def _clamped(x: np.ndarray | Tensor) -> np.ndarray | Tensor:
    """Clamp what a network may give. Raises UserError for NaN, infinity and another scale, such as 0..255."""
    is_float = x.is_floating_point() if isinstance(x, Tensor) else x.dtype.kind == "f"
    if not is_float or 0 in x.shape:
        return x
    low, high = float(x.min()), float(x.max())  # both pass a NaN on
    if not (-OVERSHOOT <= low and high <= 1 + OVERSHOOT):
        check_range(low, high)
    return x.clip(0, 1)


def bootstrap_interval(
    values: Iterable[float], confidence: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """(mean, low, high): percentile bootstrap of the mean over images.

    values: one score per image. low and high are NaN for fewer than FEWEST_SCENES values, and if one is infinite.
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


def verdict(low: float, high: float) -> str:
    """What the interval of a difference says of the claim that it is above 0: holds, contradicted or not shown.

    Not shown, which is not the same as untrue: the interval holds 0, or it is missing (NaN).

    >>> verdict(0.1, 0.5), verdict(-0.5, -0.1), verdict(-0.1, 0.5), verdict(math.nan, math.nan)
    ('holds', 'contradicted', 'not shown', 'not shown')
    """
    return "holds" if low > 0 else "contradicted" if high < 0 else "not shown"


def bootstrap_means(values: np.ndarray, samples: int = 2000, seed: int = 0) -> np.ndarray:
    """(samples,) means of draws with replacement from `values`. NaN is drawn too but does not count; a draw of NaN
    alone has the mean NaN."""
    rng = np.random.default_rng(seed)
    drawn = values[rng.integers(0, len(values), (samples, len(values)))]
    if not (absent := np.isnan(drawn)).any():
        return drawn.mean(axis=1)
    n = (~absent).sum(axis=1)
    return np.divide(np.where(absent, 0, drawn).sum(axis=1), n, out=np.full(samples, np.nan), where=n > 0)
