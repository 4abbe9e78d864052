"""Low light, motion blur, sensor noise and JPEG: degradations that a camera causes.

Each function takes a clean image (3, H, W) float32 in [0, 1] and a random generator and returns a new array of the same
size. Parameters come from the generator and from constants, never from the image.
"""

import io
import math
import os
from typing import NamedTuple

import numpy as np
import torch

from slerlib.data.depth import grey_values
from slerlib.errors import UserError

# The RGB values of natural photographs follow roughly a Beta(1.15, 1.63) distribution
BETA_A, BETA_B = 1.15, 1.63
# Mean squared difference of two pixels at distance d: VARIOGRAM * d ** HURST
VARIOGRAM, HURST = 0.00675, 0.6
LARGEST_RADIUS = 40  # px, of a blur kernel
LARGEST_KERNEL = 127  # px a side, of a measured one
FEW = 16  # weights of a kernel up to which adding shifted copies is faster than the FFT


def moment(power: float) -> float:
    """Mean of I ** power over natural photographs."""
    g = math.lgamma
    return math.exp(g(BETA_A + power) + g(BETA_A + BETA_B) - g(BETA_A) - g(BETA_A + BETA_B + power))


class Dark(NamedTuple):
    """What the seed draws for low light."""

    lift: float  # of gamma, at full strength
    warm: float  # logarithms of the white balance: red against blue, green against both
    tint: float
    photon: float  # noise, of linear values
    read: float
    common: float = 0.0  # share of the noise that all channels have in common
    beside: float = 0.0  # weight of the noise of a neighbour


def _wide(rng: np.random.Generator) -> Dark:
    lift, warm, tint = rng.uniform(-0.45, 1.7), rng.uniform(-0.35, 0.35), rng.uniform(-0.1, 0.1)
    return Dark(lift, warm, tint, math.exp(rng.uniform(math.log(1e-5), math.log(3e-4))), rng.uniform(2e-6, 3e-5))


def _lol(rng: np.random.Generator) -> Dark:
    """As in 60 LOL pairs, by `benchmarks/fit_dark.py`: steeper curves, warmer, twice the noise, part of it grey."""
    lift, warm = rng.uniform(-0.3, 2.4), rng.normal(0.02, 0.06) + 0.3 * rng.random() ** 4
    tint, common = rng.uniform(-0.09, 0.09), rng.uniform(0.05, 0.33)
    photon, read = math.exp(rng.uniform(math.log(7e-5), math.log(3.5e-4))), rng.uniform(2e-6, 1e-4)
    return Dark(lift, warm, tint, photon, read, common, 0.3 if rng.random() < 0.15 else 0.0)


def lowlight(
    clean: np.ndarray, rng: np.random.Generator, rmse: float, rmse_most: float, dark: str = "wide"
) -> np.ndarray:
    """A dark exposure: exposure * I^gamma, a wrong white balance, photon and read noise of the sensor.

    The seed divides the darkness between gamma and exposure. The exposure is the one whose error, averaged over natural
    photographs, is `rmse`. The white balance drifts between warm and cold and, less, between green and magenta.
    The noise is Poisson-Gaussian (Foi et al., 2008), added to the linear values that a sensor counts: their variance is
    photon * x + read^2, and the gain of the white balance lifts the noise of a channel with its signal. A power of 2
    stands for the camera's curve, because its inverse is a square root.
    """
    strength = rmse / rmse_most
    drawn = _lol(rng) if dark == "lol" else _wide(rng)
    gamma = 1 + drawn.lift * min(1.0, 1.2 * strength**1.5)
    square, cross = moment(2 * gamma), moment(1 + gamma)
    rest = max(cross * cross - square * (moment(2) - rmse * rmse), 0.0)
    exposure = (cross - math.sqrt(rest)) / square
    warm, tint = drawn.warm, drawn.tint
    balance = np.exp(min(1.0, 2 * strength) * np.array([warm - tint, 2 * tint, -warm - tint])).astype(np.float32)
    gain = np.float32(exposure) * balance / balance.mean()
    curved = torch.from_numpy(clean).pow(gamma).numpy() * gain[:, None, None]
    linear = curved * curved
    lift = (np.float32(strength) * balance)[:, None, None] ** 2
    sigma = np.sqrt(lift * (np.float32(drawn.photon) * linear + np.float32(drawn.read * drawn.read)))
    return np.sqrt(np.maximum(linear + sigma * _grain(clean.shape, rng, drawn.common, drawn.beside), 0))


def _grain(shape: tuple[int, ...], rng: np.random.Generator, common: float, beside: float) -> np.ndarray:
    """Noise (3, H, W) of variance 1. common: share that all channels have; beside: weight of the pixels beside."""
    grain = rng.standard_normal(shape, dtype=np.float32)
    if common:
        grey = rng.standard_normal(shape[1:], dtype=np.float32)
        grain = np.float32(math.sqrt(1 - common)) * grain + np.float32(math.sqrt(common)) * grey
    for axis in (1, 2) if beside else ():
        grain = (grain + np.float32(beside) * np.roll(grain, 1, axis)) / np.float32(math.sqrt(1 + beside**2))
    return grain


def _trajectory(rng: np.random.Generator, points: int) -> np.ndarray:
    """Path of the image on the sensor during the exposure, (points, 2) as (y, x), centred, mean radius 1.

    After Boracchi and Foi (2012): inertia keeps the heading, tremor turns it a little at every step, and a rare jerk
    turns it a lot. 35 % of the paths are straight, like those of passing objects.
    """
    fine = 64
    heading = rng.uniform(0, 2 * math.pi)
    if rng.random() < 0.35:
        steps = np.ones((fine, 1)) * [[math.sin(heading), math.cos(heading)]]
    else:
        turn = rng.normal(0, 0.12, fine) + (rng.random(fine) < 0.04) * rng.normal(0, 1.5, fine)
        angle = heading + np.cumsum(turn)
        speed = np.exp(0.3 * np.cumsum(rng.normal(0, 0.25, fine)).clip(-4, 4))
        steps = np.stack([np.sin(angle), np.cos(angle)], 1) * speed[:, None]
    path = np.cumsum(steps, 0)[np.linspace(0, fine - 1, points).round().astype(int)]
    path -= path.mean(0)
    return path / np.sqrt((path**2).sum(1)).mean()


def motion_kernel(rng: np.random.Generator, rmse: float) -> np.ndarray:
    """Blur kernel (odd, odd) float32 that sums to 1 and has the error `rmse` on images with a natural variogram.

    Half of the seeds expose continuously (a path drawn between the pixels). The other half average 5 to 15 frames, as
    GoPro and REDS did: copies shifted by whole pixels, which keep more of the fine detail.
    """
    frames = int(rng.integers(5, 16)) if rng.random() < 0.5 else 0
    path = _trajectory(rng, frames or 64)
    reach = np.sqrt((path**2).sum(1))
    apart = np.sqrt(((path[:, None] - path[None]) ** 2).sum(-1))
    # error of averaging along the path, for mean squared differences that grow as distance ** HURST
    shape = (reach**HURST).mean() - (apart**HURST).mean() / 2
    scale = (rmse * rmse / (VARIOGRAM * shape)) ** (1 / HURST)
    scale = min(scale, (LARGEST_RADIUS - 1) / np.abs(path).max())
    path = path * scale
    if frames and np.abs(path).max() > 2:  # for shorter paths whole pixels are too coarse
        path = np.rint(path)
    return _splat(path)


def _splat(points: np.ndarray, weights: np.ndarray | float = 1.0) -> np.ndarray:
    """Kernel (odd, odd) float32 that sums to 1, of points (n, 2) between the pixels, each shared by the four around."""
    radius = int(math.floor(np.abs(points).max())) + 1
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    corner = np.floor(points).astype(int)
    part = points - corner
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1]) * weights
            np.add.at(kernel, (corner[:, 0] + radius + dy, corner[:, 1] + radius + dx), weight)
    return (kernel / kernel.sum()).astype(np.float32)


def read_kernel(path: str | os.PathLike) -> torch.Tensor:
    """A measured blur kernel from a grey picture (8 or 16 bits), for `degrade(..., kernel=...)`.

    Returns (k, k) float32, k odd, that sums to 1. Its centre of mass is moved to the middle, by whole pixels, so that
    the blur does not shift the picture. Raises UserError for a file that is not a grey picture, or is black.
    """
    weight = grey_values(path, "A blur kernel").astype(np.float64)
    if weight.ndim != 2 or weight.sum() <= 0:
        raise UserError(
            f"A blur kernel is a grey picture that is not black; {path} has shape {weight.shape} and sum "
            f"{weight.sum():g}. Save the kernel as one channel of 8 or 16 bits."
        )
    rows, columns = weight.nonzero()
    y, x = (int(round((weight.sum(1 - axis) * np.arange(weight.shape[axis])).sum() / weight.sum())) for axis in (0, 1))
    radius = int(max(np.abs(rows - y).max(), np.abs(columns - x).max()))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    kernel[rows - y + radius, columns - x + radius] = weight[rows, columns] / weight.sum()
    return torch.from_numpy(kernel)


def measured_kernel(path: str | os.PathLike) -> torch.Tensor:
    """`read_kernel` of a kernel that is no photograph. Raises UserError for one of more than LARGEST_KERNEL a side."""
    kernel = read_kernel(path)
    if len(kernel) > LARGEST_KERNEL:
        raise UserError(
            f"A measured blur kernel reaches at most {LARGEST_KERNEL // 2} pixels from its centre; that in {path} has "
            f"{len(kernel) // 2}. Is it a photograph? Move it out of the folder of kernels."
        )
    return kernel


def scaled_kernel(kernel: np.ndarray, rng: np.random.Generator, rmse: float) -> np.ndarray:
    """A kernel (odd, odd) turned by any angle, mirrored or not, and scaled to the error `rmse` on natural images.

    Returns (k, k) float32, k odd, at most 2 LARGEST_RADIUS + 1, that sums to 1.
    """
    taps = np.argwhere(kernel)
    weight = kernel[tuple(taps.T)].astype(np.float64) / kernel.sum(dtype=np.float64)
    path = taps - np.average(taps, axis=0, weights=weight)
    reach, apart = np.hypot(*path.T), np.sqrt(((path[:, None] - path[None]) ** 2).sum(-1))
    shape = weight @ reach**HURST - weight @ apart**HURST @ weight / 2  # as in motion_kernel
    scale = (rmse * rmse / (VARIOGRAM * max(shape, 1e-9))) ** (1 / HURST)
    scale = min(scale, (LARGEST_RADIUS - 1) / (reach.max() + 1))
    angle, flip = rng.uniform(0, 2 * math.pi), rng.choice([-1.0, 1.0])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * [1, flip]
    fine = max(1, math.ceil(1.5 * scale))  # so many points a pixel and axis leave no gaps
    part = ((np.mgrid[:fine, :fine].reshape(2, 1, -1) + 0.5) / fine - 0.5).transpose(1, 2, 0)
    points = ((path[:, None] + part).reshape(-1, 2) @ turn.T) * scale
    return _splat(points, np.repeat(weight / fine**2, fine**2))


def convolve(image: np.ndarray, kernel: np.ndarray, *others: np.ndarray) -> np.ndarray | list[np.ndarray]:
    """True convolution of (3, H, W) with an odd kernel, reflected at the border.

    By the FFT, or as a sum of shifted copies for a kernel of at most FEW weights. others: more kernels, no larger than
    the first; they share its border and the transform of the image, and the result is then a list.
    """
    height, width = image.shape[1:]
    ry, rx = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(image, ((0, 0), (ry, ry), (rx, rx)), mode="reflect")
    size = [-(-n // 16) * 16 for n in padded.shape[1:]]  # lengths that the FFT likes
    spectrum, results = None, []
    for weights in (kernel, *others):
        top, left = ry + weights.shape[0] // 2, rx + weights.shape[1] // 2
        taps = np.argwhere(weights)
        if len(taps) <= FEW:
            total = np.zeros_like(image)
            for y, x in taps.tolist():
                total += weights[y, x] * padded[:, top - y : top - y + height, left - x : left - x + width]
            results.append(total)
            continue
        if spectrum is None:
            spectrum = torch.fft.rfft2(torch.from_numpy(padded), s=size)
        full = torch.fft.irfft2(spectrum * torch.fft.rfft2(torch.from_numpy(weights), s=size), s=size)
        results.append(full[:, top : top + height, left : left + width].numpy())
    return results if others else results[0]


def _moving(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(H, W) in 0..1, the weight of the faster motion: smooth regions with soft borders on half of the picture."""
    wave = 2 * math.pi / rng.uniform(120, 500, 2)
    phase = rng.uniform(0, 2 * math.pi, 2)
    v, u = (np.cos(w * np.arange(n) + p) for w, n, p in zip(wave, (height, width), phase, strict=True))
    return np.clip(0.5 + rng.uniform(1, 4) * (v[:, None] + u), 0, 1).astype(np.float32)


def blur(clean: np.ndarray, rng: np.random.Generator, rmse: float) -> np.ndarray:
    """Motion blur by seeded camera-shake or panning kernels.

    Real blur adds light, not its encoded value: 6 seeds of 10 blur the square of the values (a camera's curve to the
    power 2), so that bright points leave bright tracks; the others blur the values. With 4 seeds of 10 a part of the
    picture has a kernel of its own, with less motion or nearly none.
    """
    light, parts, slower = rng.random() < 0.6, rng.random() < 0.4, rng.uniform(0, 0.7)
    image = clean * clean if light else clean
    if parts:
        share = 0.5 + 0.5 * slower**2  # of the mean squared error, when half of the picture has the slower motion
        fast = motion_kernel(rng, min(rmse / math.sqrt(share), 1.15 * rmse))
        slow = motion_kernel(rng, max(slower * rmse, 1e-6))
        first, second = (fast, slow) if len(fast) >= len(slow) else (slow, fast)
        one, two = convolve(image, first, second)
        here = _moving(rng, *clean.shape[1:])
        out = two + here * (one - two)
    else:
        out = convolve(image, motion_kernel(rng, rmse))
    return np.sqrt(np.maximum(out, 0)) if light else out


def noise(clean: np.ndarray, rng: np.random.Generator, sigma: float) -> np.ndarray:
    """White Gaussian noise; sigma in 0..255."""
    return clean + np.float32(sigma / 255) * rng.standard_normal(clean.shape, dtype=np.float32)


def jpeg(clean: np.ndarray, rng: np.random.Generator, severity: float) -> np.ndarray:
    """JPEG by Pillow: quality from the severity, colour subsampling and the place of the 8x8 grid from the seed."""
    from PIL import Image

    quality = 95 * math.exp(-3.455 * severity**0.74) * math.exp(rng.uniform(-0.15, 0.15))
    subsampling = int(rng.choice([0, 2]))
    top, left = (int(n) for n in rng.integers(0, 8, 2))
    pixels = (clean * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
    pixels = np.pad(pixels, ((top, 0), (left, 0), (0, 0)), mode="edge")
    with io.BytesIO() as file:
        quality = min(max(round(quality), 1), 95)
        Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
        decoded = np.asarray(Image.open(file))
    return decoded[top:, left:].transpose(2, 0, 1).astype(np.float32) / 255
