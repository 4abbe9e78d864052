"""Low light, motion blur, sensor noise and JPEG: what the camera does to the picture.

Each function takes a clean image (3, H, W) float32 in [0, 1] and a random generator and returns a new array of the same
size. Parameters come from the generator and from constants alone, never from the image.
"""

import io
import math

import numpy as np
import torch

# The RGB values of natural photographs follow roughly a Beta(1.15, 1.63) distribution
BETA_A, BETA_B = 1.15, 1.63
# Mean squared difference of two pixels at distance d: VARIOGRAM * d ** HURST
VARIOGRAM, HURST = 0.00675, 0.6
LARGEST_RADIUS = 40  # px, of a blur kernel


def moment(power: float) -> float:
    """Mean of I ** power over natural photographs."""
    g = math.lgamma
    return math.exp(g(BETA_A + power) + g(BETA_A + BETA_B) - g(BETA_A) - g(BETA_A + BETA_B + power))


def lowlight(clean: np.ndarray, rng: np.random.Generator, rmse: float, rmse_most: float) -> np.ndarray:
    """A dark exposure: exposure * I^gamma with a colour cast, photon and read noise.

    The seed splits the darkness between gamma and exposure; the exposure is solved for so that the error is `rmse`
    on average over natural photographs.
    """
    gamma = 1 + rng.uniform(0, 1.8) * min(1.0, 1.2 * (rmse / rmse_most) ** 1.5)
    cast = rng.uniform(-0.1, 0.1, 3) * min(1.0, 2 * rmse / rmse_most)
    photon, read = rng.uniform(0.0002, 0.0012), rng.uniform(0.002, 0.008)
    square, cross = moment(2 * gamma), moment(1 + gamma)
    rest = max(cross * cross - square * (moment(2) - rmse * rmse), 0.0)
    exposure = (cross - math.sqrt(rest)) / square
    gain = (exposure * (1 + cast - cast.mean())).astype(np.float32)
    dark = torch.from_numpy(clean).pow(gamma).numpy() * gain[:, None, None]
    strength = np.float32(rmse / rmse_most)
    sigma = np.sqrt(np.float32(photon) * dark + np.float32(read * read))
    return dark + strength * sigma * rng.standard_normal(clean.shape, dtype=np.float32)


def _trajectory(rng: np.random.Generator, points: int = 64) -> np.ndarray:
    """Path of the image on the sensor during the exposure, (points, 2) as (y, x), centred, mean radius 1."""
    heading = rng.uniform(0, 2 * math.pi)
    if rng.random() < 0.35:  # a steady pan
        steps = np.ones((points, 1)) * [[math.sin(heading), math.cos(heading)]]
    else:  # a shaking hand: momentum, tremor and now and then a jerk
        turn = rng.normal(0, 0.12, points) + (rng.random(points) < 0.04) * rng.normal(0, 1.5, points)
        angle = heading + np.cumsum(turn)
        speed = np.exp(0.3 * np.cumsum(rng.normal(0, 0.25, points)).clip(-4, 4))
        steps = np.stack([np.sin(angle), np.cos(angle)], 1) * speed[:, None]
    path = np.cumsum(steps, 0)
    path -= path.mean(0)
    return path / np.sqrt((path**2).sum(1)).mean()


def motion_kernel(rng: np.random.Generator, rmse: float) -> np.ndarray:
    """Blur kernel (odd, odd) float32 that sums to 1 and costs `rmse` on images with a natural variogram."""
    path = _trajectory(rng)
    reach = np.sqrt((path**2).sum(1))
    apart = np.sqrt(((path[:, None] - path[None]) ** 2).sum(-1))
    # error of averaging along the path, for mean squared differences that grow as distance ** HURST
    shape = (reach**HURST).mean() - (apart**HURST).mean() / 2
    scale = (rmse * rmse / (VARIOGRAM * shape)) ** (1 / HURST)
    scale = min(scale, (LARGEST_RADIUS - 1) / np.abs(path).max())
    path = path * scale
    radius = int(math.floor(np.abs(path).max())) + 1
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    corner = np.floor(path).astype(int)
    part = path - corner
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1])
            np.add.at(kernel, (corner[:, 0] + radius + dy, corner[:, 1] + radius + dx), weight)
    return (kernel / kernel.sum()).astype(np.float32)


def convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """True convolution of (3, H, W) with an odd kernel, reflected at the border, through the FFT."""
    height, width = image.shape[1:]
    ry, rx = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = torch.from_numpy(np.pad(image, ((0, 0), (ry, ry), (rx, rx)), mode="reflect"))
    size = [-(-n // 16) * 16 for n in padded.shape[1:]]  # lengths that the FFT likes
    spectrum = torch.fft.rfft2(padded, s=size) * torch.fft.rfft2(torch.from_numpy(kernel), s=size)
    full = torch.fft.irfft2(spectrum, s=size)
    return full[:, 2 * ry : 2 * ry + height, 2 * rx : 2 * rx + width].numpy()


def blur(clean: np.ndarray, rng: np.random.Generator, rmse: float) -> np.ndarray:
    """Motion blur by a seeded camera-shake or panning kernel."""
    return convolve(clean, motion_kernel(rng, rmse))


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
