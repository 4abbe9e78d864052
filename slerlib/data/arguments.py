"""The arguments of `degrade`: names, order, severities, and everything that a person may pass, checked.

All messages state the rule, the value received and the next step.
"""

import numbers
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from slerlib.errors import UserError

DEGRADATIONS = ("noise", "rain", "haze", "blur", "lowlight", "snow", "jpeg")
ORDER = ("lowlight", "haze", "rain", "snow", "blur", "noise", "jpeg")  # from the scene to the file
DARK = ("wide", "lol")  # ranges of low light: wide, or those of LOL pairs
NOISE_CLASSES = {"noise15": 15.0, "noise25": 25.0, "noise50": 50.0}
MADE = frozenset((*DEGRADATIONS, *NOISE_CLASSES, "clean"))  # classes that `degrade` makes; any other needs real pairs


class Request(NamedTuple):
    """The arguments of one call, checked."""

    image: np.ndarray  # (3, H, W) float32 in [0, 1]
    steps: list[tuple[str, float]]  # degradation and severity (of noise: sigma), in physical order
    seed: int
    depth: np.ndarray | None  # (H, W) float32, metres
    kernel: np.ndarray | None  # (odd, odd) float32, sums to 1
    where: np.ndarray | None  # (H, W) float32 in [0, 1]
    dark: str  # what low light draws, one of DARK


def checked_request(clean, name, severity, seed, sigma, depth, kernel, where, dark) -> Request:
    """The arguments of `degrade` in one form; raises UserError for each that breaks its rule."""
    image = _image(clean)
    names = list(name) if isinstance(name, Sequence) and not isinstance(name, str) else [name]
    if not names:
        raise UserError("degrade needs at least one degradation; got an empty list. Pass 'clean' for the identity.")
    order, severities = degradation_order(names), _severities(severity, names)
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:
        raise UserError(f"A seed is an integer of 0 or more; got {seed!r}. Pass, for example, seed=7.")
    levels = severities | {n: _sigma(n, severities[n], sigma) for n in names if kind_of(n) == "noise"}
    for option, value, owner in (("sigma", sigma, "noise"), ("kernel", kernel, "blur")):
        if value is not None and owner not in names:
            raise UserError(f"{option} belongs to {owner!r}; got it with {names}. Leave it out or add {owner!r}.")
    if dark not in DARK:
        raise UserError(f"dark is one of {', '.join(DARK)}; got {dark!r}. Leave it out for the wide ranges.")
    return Request(
        image,
        [(kind_of(n), levels[n]) for n in order],
        int(seed),
        None if depth is None else _depth(depth, *image.shape[1:]),
        None if kernel is None else _kernel(kernel),
        None if where is None else _where(where, *image.shape[1:]),
        dark,
    )


def sigma_of(severity: float) -> float:
    """Noise level (0..255) of a severity: 50 * severity, so 25 at 0.5 and 50 at 1."""
    return 50.0 * severity


def degradation_order(names: Sequence[str]) -> list[str]:
    """The names in the order in which light meets them: low light, haze, rain, snow, blur, noise, JPEG.

    "clean" is dropped, noise classes count as noise. Raises UserError for an unknown or repeated name.
    """
    kinds = [kind_of(name) for name in names]
    pairs = [(kind, name) for kind, name in zip(kinds, names, strict=True) if kind != "clean"]
    for kind, name in pairs:
        if kinds.count(kind) > 1:
            raise UserError(
                f"A degradation may appear once in a composition; got {list(names)}, where {name!r} repeats {kind!r}. "
                "Remove one of them or raise the severity."
            )
    return [name for _, name in sorted(pairs, key=lambda pair: ORDER.index(pair[0]))]


def kind_of(name: str) -> str:
    """The physical model behind a name: a degradation, or "clean"."""
    if isinstance(name, str) and name in NOISE_CLASSES:
        return "noise"
    if not isinstance(name, str) or name not in MADE:
        names = ", ".join((*DEGRADATIONS, "clean", *NOISE_CLASSES))
        raise UserError(f"A degradation is one of {names}; got {name!r}. Correct the name.")
    return name


def _is_number(value, low: float, high: float) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and low <= value <= high


def _severities(severity, names: list[str]) -> dict[str, float]:
    """The severity of each name."""
    several = isinstance(severity, Sequence) and not isinstance(severity, str)
    if several and len(severity) != len(names):
        raise UserError(
            f"Severity is one number, or one per degradation; got {len(severity)} for {len(names)} names. "
            "Pass as many severities as names."
        )
    values = list(severity) if several else [severity] * len(names)
    for value in values:
        if not _is_number(value, 0, 1):
            raise UserError(
                f"Severity is a number from 0 (nothing) to 1 (worst); got {value!r}. Pass, for example, severity=0.5."
            )
    return dict(zip(names, map(float, values), strict=True))


def _sigma(name: str, severity: float, sigma) -> float:
    """Noise level (0..255): that of the class, the one passed, or that of the severity."""
    if sigma is not None and not _is_number(sigma, 0, 255):
        raise UserError(f"Noise sigma is a number in 0..255; got {sigma!r}. Pass, for example, sigma=25.")
    return NOISE_CLASSES.get(name, sigma_of(severity) if sigma is None else float(sigma))


def _image(clean: torch.Tensor) -> np.ndarray:
    if not isinstance(clean, torch.Tensor):
        raise UserError(
            f"degrade takes a float32 torch.Tensor (3, H, W) in [0, 1]; got {type(clean).__name__}. From a file: "
            "x, _ = slerlib.images.read_image(path). From an 8-bit array (H, W, 3): "
            "torch.as_tensor(x).permute(2, 0, 1) / 255."
        )
    if clean.dtype != torch.float32:
        raise UserError(
            f"degrade takes a float32 torch.Tensor (3, H, W) in [0, 1]; got {clean.dtype}. "
            "Convert it with x.float(), and divide 8-bit values by 255."
        )
    if clean.ndim != 3 or clean.shape[0] != 3 or 0 in clean.shape:
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


def _plane(plane, height: int, width: int, rule: str, repair: str) -> np.ndarray:
    """(height, width) float32 from a tensor of that size, or of one channel of it."""
    if not isinstance(plane, torch.Tensor) or tuple(plane.shape) not in ((height, width), (1, height, width)):
        size = tuple(plane.shape) if isinstance(plane, torch.Tensor) else type(plane).__name__
        raise UserError(f"{rule} of the image's size, ({height}, {width}); got {size}. {repair}")
    return plane.detach().cpu().numpy().astype(np.float32).reshape(height, width)


def _depth(depth: torch.Tensor, height: int, width: int) -> np.ndarray:
    repair = "It is in metres; cut the depth map with the window that cut the image."
    metres = _plane(depth, height, width, "Depth must be a tensor", repair)
    if not (metres.min() > 0 and np.isfinite(metres.max())):
        raise UserError(
            f"Depth must be positive and finite everywhere (metres); got {metres.min():g} to {metres.max():g}. "
            "Fill missing measurements first, for example with the nearest valid depth."
        )
    return metres


def _where(where: torch.Tensor, height: int, width: int) -> np.ndarray:
    repair = "slerlib.data.masks.mask makes one, such as mask('disc', height, width)."
    mask = _plane(where, height, width, "where is a mask", repair)
    if not (mask.min() >= 0 and mask.max() <= 1):
        raise UserError(
            f"A mask holds 0 (untouched) to 1 (degraded); got {mask.min():g} to {mask.max():g}. Divide by its maximum."
        )
    return mask


def _kernel(kernel: torch.Tensor) -> np.ndarray:
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
