"""What a dark photograph is: exposure, curve, white balance, noise and JPEG of low-light pairs, and of the synthesis.

    python benchmarks/fit_dark.py --data datasets/Train/Enhance [--pairs 66] [--dark lol]

For each pair, and for its clean half darkened by `slerlib.degrade` to the same mean: dark = k clean^gamma, per channel,
by least squares of the logarithms of block means; noise of the linear values (dark^2, as in the synthesis) where the
clean picture is flat, var = photon x + read^2; correlation of that noise between neighbours, 0 where it is white; and
how much more the values change at the border of the 8 x 8 blocks of a JPEG. Printed: the 10th, 50th and 90th percentile
of both. --dark: the ranges of the synthesis.
Legend: H W pixels, B blocks, C channels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from slerlib import degrade
from slerlib.data.arguments import DARK
from slerlib.data.layouts import recognise
from slerlib.images import read_image

BLOCK = 8  # px
FLAT = 0.25  # share of the blocks, those in which the clean picture varies least, in which noise is measured
STEP = 1 / 255


def blocks(x_CHW: np.ndarray) -> np.ndarray:
    """(C, B, 8, 8) of a picture."""
    c, h, w = x_CHW.shape[0], *(n // BLOCK for n in x_CHW.shape[1:])
    return (
        x_CHW[:, : h * BLOCK, : w * BLOCK].reshape(c, h, BLOCK, w, BLOCK).transpose(0, 1, 3, 2, 4).reshape(c, -1, 8, 8)
    )


def fitted(clean: np.ndarray, dark: np.ndarray) -> dict[str, float]:
    """The numbers of one pair, (3, H, W) float in [0, 1] each."""
    c, d = blocks(clean), blocks(dark)
    means = c.mean((2, 3)), d.mean((2, 3))
    light = [(a > 0.05) & (a < 0.95) & (b > 4 * STEP) for a, b in zip(*means, strict=True)]
    lines = [np.polyfit(np.log(a[m]), np.log(b[m]), 1) for a, b, m in zip(*means, light, strict=True) if m.sum() > 30]
    if len(lines) < 3:
        return {}
    (gamma, gain) = np.array(lines).T
    middle = gain + gamma * np.log(0.4)  # logarithm of the dark value of a middle grey
    values = {
        "light kept": dark.mean() / clean.mean(),
        "gamma": gamma.mean(),
        "warm (red over blue)": (middle[0] - middle[2]) / 2,
        "tint (green over both)": (2 * middle[1] - middle[0] - middle[2]) / 6,
    }
    curved = np.exp(gain[:, None, None]) * np.maximum(clean, 1e-3) ** gamma[:, None, None]
    rest = blocks(dark) - blocks(curved)
    rest = rest - rest.mean((2, 3), keepdims=True)
    flat = c.std((2, 3)).mean(0)
    rest, level = rest[:, flat <= np.quantile(flat, FLAT)], d[:, flat <= np.quantile(flat, FLAT)].mean((2, 3))
    variance = np.maximum(rest.var((2, 3)) - STEP**2 / 12, 0)  # without that of rounding
    x, y = (level**2).ravel(), (variance * 4 * level**2).ravel()  # of the square: slope 2 d
    photon, read = np.linalg.lstsq(np.stack([x, np.ones_like(x)], 1), y, rcond=None)[0]
    across = (rest[..., 1:] * rest[..., :-1]).mean() / max((rest**2).mean(), 1e-12)
    down = (rest[..., 1:, :] * rest[..., :-1, :]).mean() / max((rest**2).mean(), 1e-12)
    grey = rest.mean(0)
    steps = np.abs(np.diff(dark, axis=2)).mean((0, 1))
    places = [steps[n::BLOCK].mean() for n in range(BLOCK)]
    return values | {
        "noise, of 255": 255 * np.sqrt(variance.mean()),
        "photon x 1e6": 1e6 * photon,
        "read x 1e6": 1e6 * np.sqrt(max(read, 0)),
        "neighbours": (across + down) / 2,
        "noise of grey over colour": np.sqrt((grey**2).mean() / max(((rest - grey) ** 2).mean(), 1e-12)),
        "block border": places[BLOCK - 1] / np.mean(places[: BLOCK - 1]),
    }


def darkened(clean: torch.Tensor, mean: float, seed: int, dark: str) -> torch.Tensor:
    """The clean picture at the severity that leaves that mean, in 8 bits."""
    low, high = 0.0, 1.0
    for _ in range(7):
        middle = (low + high) / 2
        made = degrade(clean, "lowlight", middle, seed, dark=dark)
        low, high = (middle, high) if made.mean() > mean else (low, middle)
    return (made * 255).round() / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=66, help="so many pairs, evenly over all")
    parser.add_argument("--side", type=int, default=256, help="px, of the middle of each picture")
    parser.add_argument("--dark", choices=DARK, default=DARK[0])
    args = parser.parse_args()
    torch.set_num_threads(1)
    items = [item for s in recognise(args.data).sets if s.task == "lowlight" for item in s.items]
    rows: dict[str, list[dict]] = {"pairs": [], "synthesis": []}
    for number in np.linspace(0, len(items) - 1, min(args.pairs, len(items))).astype(int):
        dark, clean = (read_image(path)[0] for path in (items[number].input, items[number].target))
        if dark.shape != clean.shape:
            continue
        top, left = ((n - min(n, args.side)) // 2 // BLOCK * BLOCK for n in clean.shape[1:])
        window = (slice(None), slice(top, top + args.side), slice(left, left + args.side))
        dark, clean = dark[window], clean[window].contiguous()
        made = darkened(clean, float(dark.mean()), int(number), args.dark)
        for kind, picture in (("pairs", dark), ("synthesis", made)):
            if row := fitted(clean.numpy().astype(float), picture.numpy().astype(float)):
                rows[kind].append(row)
    print(f"{len(rows['pairs'])} pairs below {args.data}, {len(rows['synthesis'])} made; 10, 50 and 90 %")
    print(f"{'':28s} {'pairs':>27s} {'synthesis':>27s}")
    for name in rows["pairs"][0]:
        cells = [np.percentile([row[name] for row in part], (10, 50, 90)) for part in rows.values()]
        print(f"{name:28s} " + " ".join(f"{a:8.3f} {b:8.3f} {c:8.3f} " for a, b, c in cells))


if __name__ == "__main__":
    main()
