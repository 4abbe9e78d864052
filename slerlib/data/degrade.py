"""Seeded degradations of a clean photograph, alone or together: ``degrade(clean, "rain", severity=0.5, seed=7)``.

Everything here is [ours]: the physics is the field's, the curves are this project's. Severity 0 is the identity and
severity 0.5 is pinned: over natural photographs it leaves about 25 dB of PSNR for rain, 15 haze, 24 blur, 10 low
light, 22 snow, 27 JPEG and 20 noise (sigma 25). The seed draws direction, density, air light, gamma, kernel and so on,
so no fixed curve undoes a degradation. Nothing depends on the statistics of the image at hand, so a patch is damaged
as the photograph it was cut from.
"""

import math
import zlib
from collections.abc import Sequence

import numpy as np
import torch

from slerlib.data import camera, weather
from slerlib.data.arguments import (
    DEGRADATIONS,
    MADE,
    NOISE_CLASSES,
    ORDER,
    Request,
    checked_request,
    degradation_order,
    sigma_of,
)
from slerlib.data.camera import read_kernel
from slerlib.data.depth import SCENE_MEDIAN, read_depth, synthetic_depth

__all__ = [
    "DEGRADATIONS",
    "MADE",
    "NOISE_CLASSES",
    "ORDER",
    "SCENE_MEDIAN",
    "degradation_order",
    "degrade",
    "kernel_of_severity",
    "read_depth",
    "read_kernel",
    "sigma_of",
    "synthetic_depth",
]

# Error asked of the model at severity 0.5, and its growth: rmse = half * (2 severity) ** power. The values of `half`
# are calibrated so that the measured mean PSNR, in dB, is the pinned one.
CURVES = {
    "haze": (0.1615, 1.0),
    "rain": (0.0548, 1.6),
    "snow": (0.0755, 0.9),
    "blur": (0.0762, 0.45),
}
DARKENING = (1.14, 1.5)  # low light keeps exp(-half * (2 severity) ** power) of the light


def _rmse(name: str, severity: float) -> float:
    """Root mean square error aimed at, averaged over natural photographs."""
    half, power = DARKENING if name == "lowlight" else CURVES[name]
    amount = half * (2 * severity) ** power
    return (1 - math.exp(-amount)) * math.sqrt(camera.moment(2)) if name == "lowlight" else amount


def kernel_of_severity(kernel: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    """A measured kernel (odd, odd), turned, mirrored and scaled to the error that blur of a severity in (0, 1] has."""
    return torch.from_numpy(camera.scaled_kernel(kernel.numpy(), rng, max(_rmse("blur", severity), 1e-4)))


def degrade(
    clean_CHW: torch.Tensor,
    name: str | Sequence[str],
    severity: float | Sequence[float] = 0.5,
    seed: int = 0,
    *,
    sigma: float | None = None,
    depth: torch.Tensor | None = None,
    kernel: torch.Tensor | None = None,
    where: torch.Tensor | None = None,
    dark: str = "wide",
) -> torch.Tensor:
    """Damage a clean image; the same arguments give the same result, and no global random state is touched.

    Arguments
    clean_CHW: (3, H, W) float32 in [0, 1], RGB.
    name: one of DEGRADATIONS, "clean" (identity), "noise15" / "noise25" / "noise50" (noise of that sigma, whatever the
        severity), or a list of them, applied in physical order (`degradation_order`) in whatever order they come.
    severity: 0 (identity) to 1, one number or one per name. PSNR falls with it.
    seed: integer >= 0; each degradation of a list draws from its own stream.
    sigma: noise level in 0..255 instead of a severity; the noisy image is clipped to [0, 1].
    depth: (H, W) metres, used by haze and rain; `read_depth` reads that of an RGB-D frame. Without it haze takes
        `synthetic_depth(H, W, seed, guide=clean)` and rain a wall at 10 m. For a patch pass the window of the whole
        scene's depth.
    kernel: (odd, odd) blur kernel, for example from `read_kernel`, divided by its sum and convolved with the values as
        they are, instead of one drawn by the seed for the severity.
    where: (H, W) mask, 1 = degraded, 0 = untouched, between = a blend of both; `slerlib.data.masks` draws some. The
        degradation is that of the whole image, seen through the mask. None = everywhere.
    dark: what low light draws gamma, white balance and noise from: "wide" ranges, or "lol", those of LOL pairs.
    Returns: (3, H, W) float32 in [0, 1] on the device of the input.
    Raises UserError for anything outside these rules.
    """
    request = checked_request(clean_CHW, name, severity, seed, sigma, depth, kernel, where, dark)
    out = request.image
    for kind, level in request.steps:
        if level > 0 or (kind == "blur" and request.kernel is not None):
            rng = np.random.default_rng([request.seed, zlib.crc32(kind.encode())])
            out = _apply(kind, out, rng, level, request)
            np.clip(out, 0, 1, out=out)
    if request.where is not None and out is not request.image:
        out = request.where * out + (1 - request.where) * request.image
    if out is request.image:
        return clean_CHW.detach().clone().clamp_(0, 1)
    return torch.from_numpy(np.ascontiguousarray(out, dtype=np.float32)).to(clean_CHW.device)


def _apply(kind: str, x: np.ndarray, rng: np.random.Generator, level: float, request: Request) -> np.ndarray:
    """One degradation, not yet clipped. level: the severity, of noise its sigma."""
    if kind == "noise":
        return camera.noise(x, rng, level)
    if kind == "jpeg":
        return camera.jpeg(x, rng, level)
    if kind == "blur" and request.kernel is not None:
        return camera.convolve(x, request.kernel)
    error = _rmse(kind, level)
    if kind == "blur":
        return camera.blur(x, rng, error)
    if kind == "haze":
        depth = request.depth
        if depth is None:
            depth = synthetic_depth(*x.shape[1:], request.seed, guide=torch.from_numpy(request.image)).numpy()
        return weather.haze(x, rng, error, depth)
    worst = _rmse(kind, 1.0)
    if kind == "rain":
        return weather.rain(x, rng, error, worst, request.depth)
    if kind == "lowlight":
        return camera.lowlight(x, rng, error, worst, request.dark)
    return weather.snow(x, rng, error, worst)
