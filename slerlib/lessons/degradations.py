"""Exercises of lesson 01: noise, haze undone, damage in one place.

Legend: C channels, H W pixels.
"""

import numpy as np
import torch

from ..evaluation.metrics import psnr
from .exercise import exercise, holds, noise, run, same


@exercise(
    "easy",
    5,
    "sigma is stated for values of 0 to 255. What is it for values of 0 to 1?",
    "`normal` has the deviation 1: multiply it by the deviation you want, then add.",
    "A file cannot hold values below 0 or above 1: `.clamp(0, 1)`.",
)
def add_noise(clean_CHW, sigma, normal_CHW):
    """The noisy picture: normal (deviation 1) brought to the deviation `sigma` (0..255), added, cut to 0..1."""
    return (clean_CHW + sigma / 255 * normal_CHW).clamp(0, 1)


@add_noise.check
def _(answer):
    clean, normal = 0.3 + 0.4 * noise(3, 8, 8), noise(3, 8, 8, seed=1) * 2 - 1
    mine = run(answer, clean, 25.0, normal)
    pictures = [("clean", clean), ("yours", mine), ("right", add_noise.solution(clean, 25.0, normal))]
    same("Without noise the picture stays as it is.", run(answer, clean, 0.0, normal), clean, case="sigma 0")
    off = float((mine - clean).abs().max())
    holds("sigma is for values of 0 to 255.", off < 0.5, f"At sigma 25 yours is off by up to {off:.2f}.", pictures)
    same("Noise is added, with the deviation sigma / 255.", mine, pictures[2][1], case="sigma 25", pictures=pictures)
    white, black = clean * 0 + 1, clean * 0
    bright, dark = run(answer, white, 25.0, normal), run(answer, black, 25.0, normal)
    holds("Values stay in 0 to 1.", float(bright.max()) <= 1, f"On a white picture yours reaches {bright.max():.3f}.")
    holds("Values stay in 0 to 1.", float(dark.min()) >= 0, f"On a black picture yours goes down to {dark.min():.3f}.")
    for name, plain, noisy in (("white", white, bright), ("black", black, dark)):
        right = add_noise.solution(plain, 25.0, normal)
        same("What lies outside is cut, and all other values stay.", noisy, right, case=f"On a {name} picture")


@exercise(
    "medium",
    6,
    "O = I t + A (1 - t), and `veil` is A (1 - t). Which of these do you want?",
    "Take the air light away. I t is left, the picture, darker where it is far away: what undoes a multiplication?",
    "(hazy_CHW - veil_CHW) / arrives_CHW",
)
def undo_haze(hazy_CHW, arrives_CHW, veil_CHW):
    """The clean picture, from the hazy one, the share of light that arrives, and the air light that was added."""
    return (hazy_CHW - veil_CHW) / arrives_CHW


@undo_haze.check
def _(answer):
    clean = 0.2 + 0.6 * noise(3, 16, 16)
    arrives = (0.2 + 0.7 * noise(1, 1, 16).sort(dim=2).values).expand(3, 16, 16).contiguous()
    veil = 0.8 * (1 - arrives)
    hazy = clean * arrives + veil
    mine = run(answer, hazy, arrives, veil)
    pictures = [("hazy", hazy), ("yours", mine), ("clean", clean)]
    same(
        "Without haze the picture stays as it is.",
        run(answer, clean, clean * 0 + 1, clean * 0),
        clean,
        case="All light arrives, nothing is added",
    )
    black = run(answer, veil, arrives, veil)
    same("A black wall comes back black: all air light goes.", black, clean * 0, 1e-4, "A black wall in haze", pictures)
    white = run(answer, arrives + veil, arrives, veil)
    same(
        "A white wall comes back white: the lost light is brought back.",
        white,
        clean * 0 + 1,
        1e-3,
        f"A white wall in haze; your picture above has {psnr(mine, clean):.1f} dB",
        pictures,
    )
    same("Every pixel comes back.", mine, clean, 1e-3, f"Your picture has {psnr(mine, clean):.1f} dB", pictures)


@exercise(
    "easy",
    4,
    "What must come out where the mask is 1, and where it is 0?",
    "A weight for one picture, and 1 minus that weight for the other.",
    "mask * degraded + (1 - mask) * clean",
)
def damaged_where(clean_CHW, degraded_CHW, mask_HW):
    """The picture that is degraded where the mask is 1, clean where it is 0, and in between a mixture."""
    return mask_HW * degraded_CHW + (1 - mask_HW) * clean_CHW


@damaged_where.check
def _(answer):
    clean, degraded = noise(3, 8, 8), noise(3, 8, 8, seed=1)
    mask = (degraded[0] * 0 + 1).cumsum(dim=1).sub(1) / 7
    mine = run(answer, clean, degraded, mask)
    pictures = [("clean", clean), ("yours", mine), ("mask", mask)]
    same(
        "Where the mask is 0 the picture is clean.",
        run(answer, clean, degraded, mask * 0),
        clean,
        case="Mask 0",
        pictures=pictures,
    )
    same(
        "Where the mask is 1 the picture is degraded.",
        run(answer, clean, degraded, mask * 0 + 1),
        degraded,
        case="Mask 1",
        pictures=pictures,
    )
    same("Two equal pictures give the same picture again.", run(answer, clean, clean, mask), clean, case="Mask 0 to 1")
    same(
        "A soft mask mixes.",
        mine,
        damaged_where.solution(clean, degraded, mask),
        case="Mask 0 to 1, left to right",
        pictures=pictures,
    )


@exercise(
    "hard",
    12,
    "Walk along the line in small steps: at the distance s from the middle the point is (s cos angle, s sin angle).",
    "Round to the nearest pixel and count: kernel[row, column] += 1. Rows grow downwards, so up is minus.",
    "for s in torch.linspace(-half, half, 20 * size), with half = (length - 1) / 2; at the end divide by the sum.",
)
def motion_kernel(size, length, angle):
    """(size, size) weights of a straight motion: `length` pixels, `angle` degrees (0 right, 90 up); odd size."""
    kernel = torch.zeros(size, size)
    middle, half, turn = size // 2, (length - 1) / 2, np.radians(angle)
    for s in torch.linspace(-half, half, 20 * size):
        row = round(middle - float(s) * np.sin(turn))
        column = round(middle + float(s) * np.cos(turn))
        kernel[row, column] += 1
    return kernel / kernel.sum()


@motion_kernel.check
def _(answer):
    flat = run(answer, 9, 5, 0)
    holds(
        "The kernel has the size asked for.", tuple(flat.shape) == (9, 9), f"For size 9 yours is {tuple(flat.shape)}."
    )
    same(
        "The weights add up to 1, or the picture would change its brightness.",
        flat.sum(),
        1.0,
        1e-4,
        "Length 5, angle 0",
    )
    point = run(answer, 9, 1, 30)
    same(
        "A motion of one pixel changes nothing: the middle has all weight.",
        point[4, 4],
        1.0,
        1e-4,
        "Length 1",
        [("yours", point)],
    )
    same(
        "At the angle 0 all weight lies in the middle row.",
        flat[4].sum(),
        1.0,
        1e-4,
        "Length 5, angle 0",
        [("yours", flat)],
    )
    used = int((flat[4] > 0.01).sum())
    holds(
        "The motion is `length` pixels long.",
        used == 5,
        f"Length 5, angle 0: {used} pixels have weight.",
        [("yours", flat)],
    )
    same(
        "The middle of the motion is the middle of the kernel.",
        flat[4],
        flat[4].flip(0),
        0.05,
        "Length 5, angle 0",
        [("yours", flat)],
    )
    up = run(answer, 9, 7, 90)
    same("At 90 degrees all weight lies in the middle column.", up[:, 4].sum(), 1.0, 1e-4, "Length 7", [("yours", up)])
    slant = run(answer, 9, 7, 45)
    holds(
        "At 45 degrees the motion goes up to the right.",
        float(slant[2, 6]) > 0.01 > float(slant[2, 2]),
        f"The weight up right is {slant[2, 6]:.2f}, up left {slant[2, 2]:.2f}.",
        [("yours", slant)],
    )
    far = run(answer, 15, 13, 30)
    rows, columns = torch.meshgrid(torch.arange(15.0), torch.arange(15.0), indexing="ij")
    x, y = columns - 7, 7 - rows
    case, pictures = "Size 15, length 13, angle 30", [("yours", far), ("right", motion_kernel.solution(15, 13, 30))]
    middle = max(abs(float((far * x).sum())), abs(float((far * y).sum())))
    holds("The middle of the motion is the middle of the kernel.", middle < 0.3, f"{case}: {middle:.2f} off.", pictures)
    moments = [float((far * a * b).sum()) for a, b in ((x, x), (x, y), (y, y))]
    turn = np.degrees(np.arctan2(2 * moments[1], moments[0] - moments[2])) / 2
    holds("The motion has the direction of the angle.", abs(turn - 30) < 3, f"{case}: {turn:.0f} degrees.", pictures)
    along, across = (x * np.cos(np.pi / 6) + y * np.sin(np.pi / 6), y * np.cos(np.pi / 6) - x * np.sin(np.pi / 6))
    long, wide = (float((far * way.square()).sum().clamp(min=0).sqrt()) for way in (along, across))
    holds(
        "The motion is `length` pixels long at every angle.",
        3.2 < long < 4.1,
        f"{case}: the weights have the deviation {long:.2f} along the line, right is about 3.5.",
        pictures,
    )
    holds(
        "A motion is a thin line.",
        wide < 0.8,
        f"{case}: the weights have the deviation {wide:.2f} across the line, right is about 0.3.",
        pictures,
    )
