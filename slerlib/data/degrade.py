"""Seeded degradations of a clean photograph, alone or together: ``degrade(clean, "rain", severity=0.5, seed=7)``.

Everything here is [ours]: the physics is the field's, the curves are this project's. Severity 0 is the identity and
severity 0.5 is pinned: over natural photographs it leaves about 25 dB of PSNR for rain, 15 haze, 24 blur, 10 low
light, 22 snow, 27 JPEG and 20 noise (sigma 25). The seed draws direction, density, air light, gamma, kernel and so on,
so no fixed curve undoes a degradation. Nothing depends on the statistics of the image at hand, so a patch is damaged
as the photograph it was cut from.
"""

import math
import numbers
import zlib
from collections.abc import Sequence

import numpy as np
import torch

from slerlib.data import camera, weather
from slerlib.data.camera import read_kernel
from slerlib.data.depth import SCENE_MEDIAN, read_depth, synthetic_depth
from slerlib.errors import UserError

__all__ = [
    "DEGRADATIONS",
    "ORDER",
    "SCENE_MEDIAN",
    "degradation_order",
    "degrade",
    "read_depth",
    "read_kernel",
    "sigma_of",
    "synthetic_depth",
]

DEGRADATIONS = ("noise", "rain", "haze", "blur", "lowlight", "snow", "jpeg")
ORDER = ("lowlight", "haze", "rain", "snow", "blur", "noise", "jpeg")  # from the scene to the file
NOISE_CLASSES = {"noise15": 15.0, "noise25": 25.0, "noise50": 50.0}
MADE = frozenset((*DEGRADATIONS, *NOISE_CLASSES, "clean"))  # classes that `degrade` makes; any other needs real pairs

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
    if name == "lowlight":
        half, power = DARKENING
        return (1 - math.exp(-half * (2 * severity) ** power)) * math.sqrt(camera.moment(2))
    half, power = CURVES[name]
    return half * (2 * severity) ** power


def sigma_of(severity: float) -> float:
    """Noise level (0..255) of a severity: 50 * severity, so 25 at 0.5 and 50 at 1."""
    return 50.0 * severity


def degradation_order(names: Sequence[str]) -> list[str]:
    """The names in the order in which light meets them: low light, haze, rain, snow, blur, noise, JPEG.

    "clean" is dropped, noise classes count as noise. Raises UserError for an unknown or repeated name.
    """
    kinds = [_kind(name) for name in names]
    kept = [(kind, name) for kind, name in zip(kinds, names, strict=True) if kind != "clean"]
    for kind, name in kept:
        if sum(other == kind for other, _ in kept) > 1:
            raise UserError(
                f"A degradation may appear once in a composition; got {list(names)}, where {name!r} repeats {kind!r}. "
                "Remove one of them or raise the severity."
            )
    return [name for _, name in sorted(kept, key=lambda pair: ORDER.index(pair[0]))]


def _kind(name: str) -> str:
    """The physical model behind a name: a degradation, or "clean"."""
    if isinstance(name, str) and name in NOISE_CLASSES:
        return "noise"
    if not isinstance(name, str) or name not in (*DEGRADATIONS, "clean"):
        known = ", ".join((*DEGRADATIONS, "clean", *NOISE_CLASSES))
        raise UserError(f"A degradation is one of {known}; got {name!r}. Correct the name.")
    return name


def _check_image(clean: torch.Tensor) -> np.ndarray:
    if not isinstance(clean, torch.Tensor) or clean.dtype != torch.float32:
        got = clean.dtype if isinstance(clean, torch.Tensor) else type(clean).__name__
        raise UserError(
            f"degrade takes a float32 torch.Tensor (3, H, W) in [0, 1]; got {got}. "
            + (
                "Convert it with x.float(), and divide 8-bit values by 255."
                if isinstance(clean, torch.Tensor)
                else "From a file: x, _ = slerlib.images.read_image(path). From an 8-bit array (H, W, 3): "
                "torch.as_tensor(x).permute(2, 0, 1) / 255."
            )
        )
    if clean.ndim != 3 or clean.shape[0] != 3 or clean.shape[1] < 1 or clean.shape[2] < 1:
        raise UserError(
            f"degrade takes one RGB image of shape (3, H, W); got shape {tuple(clean.shape)}. "
            "Pass the images of a batch one by one, each with its own seed."
        )
    image = np.ascontiguousarray(clean.detach().cpu().numpy())
    low, high = float(image.min()), float(image.max())
    if not (low >= -1e-5 and high <= 1 + 1e-5):  # also catches NaN
        raise UserError(
            f"Pixel values must be finite and in [0, 1]; got {low:g} to {high:g}. Divide 8-bit values by 255."
        )
    return np.clip(image, 0, 1) if low < 0 or high > 1 else image


def _check_severity(severity: float) -> float:
    if isinstance(severity, bool) or not isinstance(severity, numbers.Real) or not 0 <= severity <= 1:
        raise UserError(
            f"Severity is a number from 0 (nothing) to 1 (worst); got {severity!r}. Pass, for example, severity=0.5."
        )
    return float(severity)


def _check_depth(depth: torch.Tensor, height: int, width: int) -> np.ndarray:
    if not isinstance(depth, torch.Tensor) or tuple(depth.shape) not in ((height, width), (1, height, width)):
        got = tuple(depth.shape) if isinstance(depth, torch.Tensor) else type(depth).__name__
        raise UserError(
            f"Depth must be a tensor of the image's size, ({height}, {width}), in metres; got {got}. "
            "Cut the depth map with the window that cut the image."
        )
    metres = depth.detach().cpu().numpy().astype(np.float32).reshape(height, width)
    if not (metres.min() > 0 and np.isfinite(metres.max())):
        raise UserError(
            f"Depth must be positive and finite everywhere (metres); got {metres.min():g} to {metres.max():g}. "
            "Fill missing measurements first, for example with the nearest valid depth."
        )
    return metres


def _check_kernel(kernel: torch.Tensor, names: list[str]) -> np.ndarray:
    if "blur" not in names:
        raise UserError(f"kernel belongs to 'blur'; got one with {names}. Leave it out or add 'blur'.")
    if not isinstance(kernel, torch.Tensor) or kernel.ndim != 2 or any(n % 2 == 0 for n in kernel.shape):
        got = tuple(kernel.shape) if isinstance(kernel, torch.Tensor) else type(kernel).__name__
        raise UserError(
            f"A blur kernel is a tensor (odd, odd); got {got}. Pad it to odd sizes, its centre in the middle."
        )
    weight = np.ascontiguousarray(kernel.detach().cpu().numpy(), dtype=np.float32)
    if not (np.isfinite(weight).all() and weight.min() >= 0 and weight.sum() > 0):
        raise UserError(
            f"The weights of a blur kernel are finite, 0 or more, and not all 0; got {weight.min():g} to "
            f"{weight.max():g}. Read a measured kernel with read_kernel."
        )
    return weight / weight.sum()


def degrade(
    clean_CHW: torch.Tensor,
    name: str | Sequence[str],
    severity: float | Sequence[float] = 0.5,
    seed: int = 0,
    *,
    sigma: float | None = None,
    depth: torch.Tensor | None = None,
    kernel: torch.Tensor | None = None,
) -> torch.Tensor:
    """Damage a clean image; the same arguments give the same result, and no global random state is touched.

    Arguments
    clean_CHW: (3, H, W) float32 in [0, 1], RGB.
    name: one of DEGRADATIONS, "clean" (identity), "noise15" / "noise25" / "noise50" (noise of that sigma, whatever the
        severity), or a list of them, applied in physical order (`degradation_order`) whatever the order given.
    severity: 0 (identity) to 1, one number or one per name. PSNR falls with it.
    seed: integer >= 0; each degradation of a list draws from its own stream.
    sigma: noise level in 0..255 instead of a severity; the noisy image is clipped to [0, 1].
    depth: (H, W) metres, used by haze and rain; `read_depth` reads that of an RGB-D frame. Without it haze takes
        `synthetic_depth(H, W, seed, guide=clean)` and rain a wall at 10 m. For a patch pass the window of the whole
        scene's depth.
    kernel: (odd, odd) blur kernel, for example from `read_kernel`, divided by its sum and convolved with the values as
        they are, instead of one drawn by the seed for the severity.
    Returns: (3, H, W) float32 in [0, 1] on the device of the input.
    Raises UserError for anything outside these rules.
    """
    image = _check_image(clean_CHW)
    names = list(name) if isinstance(name, Sequence) and not isinstance(name, str) else [name]
    if not names:
        raise UserError("degrade needs at least one degradation; got an empty list. Pass 'clean' for the identity.")
    order = degradation_order(names)
    if isinstance(severity, Sequence) and not isinstance(severity, str):
        if len(severity) != len(names):
            raise UserError(
                f"Severity is one number, or one per degradation; got {len(severity)} for {len(names)} names. "
                "Pass as many severities as names."
            )
        severities = dict(zip(names, map(_check_severity, severity), strict=True))
    else:
        severities = dict.fromkeys(names, _check_severity(severity))
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:
        raise UserError(f"A seed is an integer of 0 or more; got {seed!r}. Pass, for example, seed=7.")
    if sigma is not None:
        if "noise" not in names:
            raise UserError(f"sigma belongs to 'noise'; got sigma={sigma!r} with {names}. Leave it out or add 'noise'.")
        if isinstance(sigma, bool) or not isinstance(sigma, numbers.Real) or not 0 <= sigma <= 255:
            raise UserError(f"Noise sigma is a number in 0..255; got {sigma!r}. Pass, for example, sigma=25.")
    metres = None if depth is None else _check_depth(depth, *image.shape[1:])
    if kernel is not None:
        kernel = _check_kernel(kernel, names)

    out = image
    for item in order:
        kind = _kind(item)
        level = severities[item]
        if kind == "noise":
            level = NOISE_CLASSES.get(item, sigma_of(level) if sigma is None else float(sigma))
        measured = kernel if kind == "blur" else None
        if level == 0 and measured is None:
            continue
        rng = np.random.default_rng([int(seed), zlib.crc32(kind.encode())])
        if kind == "noise":
            out = camera.noise(out, rng, level)
        elif kind == "jpeg":
            out = camera.jpeg(out, rng, level)
        elif measured is not None:
            out = camera.convolve(out, measured)
        elif kind == "blur":
            out = camera.blur(out, rng, _rmse(kind, level))
        elif kind == "haze":
            given = synthetic_depth(*image.shape[1:], int(seed), guide=clean_CHW).numpy() if metres is None else metres
            out = weather.haze(out, rng, _rmse(kind, level), given)
        elif kind == "rain":
            out = weather.rain(out, rng, _rmse(kind, level), _rmse(kind, 1.0), metres)
        else:
            model = {"snow": weather.snow, "lowlight": camera.lowlight}[kind]
            out = model(out, rng, _rmse(kind, level), _rmse(kind, 1.0))
        np.clip(out, 0, 1, out=out)
    if out is image:
        return clean_CHW.detach().clone().clamp_(0, 1)
    return torch.from_numpy(np.ascontiguousarray(out, dtype=np.float32)).to(clean_CHW.device)
