"""How close the synthetic rain, haze, low light and blur are to pairs from outside.

    python benchmarks/synthetic_vs_real.py --data datasets/Train [--patches 4] [--rain-depth] [--out table.json]
    python benchmarks/synthetic_vs_real.py --data datasets/Train --tasks haze --depth datasets/Train/Depth

Takes the pairs below --data in any layout that slerlib knows, training and test sets alike: give the folder of the one
or the other. --depth: haze by the depth maps beside photographs there, laid over the clean images, instead of made-up
depth. Every clean patch of a pair is also damaged by `slerlib.degrade`, at the severity that costs the
same PSNR: what differs then is the kind of damage, not its strength. Printed for both, median and the range from the
10th to the 90th percentile: statistics of the damage, and the AUC of a logistic regression that sees all of them and
has to separate real from synthetic, cross-validated so that no scene is on both sides. AUC 0.5: it cannot; 1: always.
Legend: C channels, H W pixels; clean c, damaged d, residual r = d - c.
"""

from __future__ import annotations

import argparse
import json
import re
import zlib
from pathlib import Path

import numpy as np
import torch

from slerlib import degrade, psnr, ssim
from slerlib.data.arguments import DARK
from slerlib.data.layouts import recognise
from slerlib.data.measured import imagined, transplanted
from slerlib.data.sources import Pool, Sources
from slerlib.evaluation.metrics import FEWEST_SCENES, with_interval
from slerlib.images import read_image

SIDE = 160  # px of a patch
TASKS = ("rain", "haze", "lowlight", "blur")


def pairs(root: Path, task: str) -> list[tuple[Path, Path]]:
    """(damaged, clean) files."""
    items = [item for pairs_ in recognise(root).sets if pairs_.task == task for item in pairs_.items]
    return sorted((item.input, item.target) for item in items if item.input)


def scene_of(file: Path) -> str:
    """What stands on both sides of a split: the number of a photograph, the sequence of a frame."""
    if re.match(r"gopro|reds", file.stem):
        return "_".join(file.stem.split("_")[:3])
    return f"{file.parent.parent.name} " + re.sub(r"\D", "", file.stem)


def _bands(x_CHW: np.ndarray, edges=(0.02, 0.06, 0.15, 0.3, 0.5)) -> np.ndarray:
    """Power of the luminance between the radial frequencies `edges` (cycles per pixel)."""
    grey = x_CHW.mean(0)
    window = np.hanning(grey.shape[0])[:, None] * np.hanning(grey.shape[1])
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(grey.shape[0])[:, None], np.fft.fftfreq(grey.shape[1]))
    return np.array([power[(radius >= a) & (radius < b)].sum() for a, b in zip(edges, edges[1:], strict=False)]) + 1e-9


def _noise(x_CHW: np.ndarray) -> float:
    """Noise level by the median of a Laplacian that no plane and no edge along an axis excites (Immerkaer, 1996)."""
    across = x_CHW[:, :, 2:] - 2 * x_CHW[:, :, 1:-1] + x_CHW[:, :, :-2]
    return float(np.median(np.abs(across[:, 2:] - 2 * across[:, 1:-1] + across[:, :-2])) / 0.6745 / 6)


def _air(c: np.ndarray, d: np.ndarray, block: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Air light (3,) and transmission of each block, by alternating least squares of d = c t + A (1 - t)."""
    n = SIDE // block * block
    cells = [x[:, :n, :n].reshape(3, n // block, block, -1, block).transpose(1, 3, 0, 2, 4) for x in (c, d)]
    c, d = (x.reshape(-1, 3, block * block) for x in cells)
    air = np.full(3, 0.85)
    for _ in range(60):
        a = air[None, :, None]
        t = (((c - a) * (d - a)).sum((1, 2)) / ((c - a) ** 2).sum((1, 2))).clip(0, 1)
        rest = (1 - t)[:, None, None]
        air = ((d - t[:, None, None] * c) * rest).sum((0, 2)) / (rest**2).sum() / block**2 if rest.sum() > 0 else air
        air = air.clip(0, 1.2)
    return air, t


def statistics(c: np.ndarray, d: np.ndarray, task: str) -> dict[str, float]:
    """About fifteen numbers that describe the damage of one patch; c, d (3, H, W) in [0, 1]."""
    r = d - c
    grey = r.mean(0)
    centred = grey - grey.mean()
    deviation = centred.std() + 1e-6
    share = _bands(r) / _bands(r).sum()
    left = np.log(_bands(d) / _bands(c)) / 2
    gy, gx = np.gradient(grey)
    jxx, jyy, jxy = (gx * gx).mean(), (gy * gy).mean(), (gx * gy).mean()
    slope = np.polyfit(c.ravel(), d.ravel(), 1)[0]
    gain = (d.mean((1, 2)) + 1e-3) / (c.mean((1, 2)) + 1e-3)
    values = {
        "brightness ratio": d.mean() / max(c.mean(), 1e-3),
        "residual mean": grey.mean(),
        "residual negative": (grey < -0.02).mean(),
        "residual skew": (centred**3).mean() / deviation**3,
        "residual kurtosis": np.log((centred**4).mean() / deviation**4),
        "slope d on c": slope,
        "residual colour": (r - grey).std() / deviation,
        "gain colour": np.log(gain).std(),
        "spectrum .02-.06": share[0],
        "spectrum .06-.15": share[1],
        "spectrum .15-.3": share[2],
        "left .06-.15 (log)": left[1],
        "left .15-.3 (log)": left[2],
        "left .3-.5 (log)": left[3],
        "coherence": np.hypot(jxx - jyy, 2 * jxy) / (jxx + jyy + 1e-9),
        "noise": _noise(d),
    }
    if task == "lowlight":  # d = k c^gamma, by least squares of the logarithms where both are well above black
        light = (c > 0.05) & (d > 0.01)
        values["gamma"] = np.polyfit(np.log(c[light]), np.log(d[light]), 1)[0] if light.sum() > 500 else np.nan
    if task == "haze":
        air, t = _air(c, d)
        values |= {"air light": air.mean(), "air colour": air.std(), "t": t.mean(), "t deviation": t.std()}
    return {name: float(value) for name, value in values.items()}


def matched(clean: torch.Tensor, task: str, target: float, seed: int, depth: torch.Tensor | None, dark: str):
    """(damaged, severity): the severity in 0..1 whose PSNR is the nearest to `target`, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(7):
        middle = (low + high) / 2
        damaged = degrade(clean, task, middle, seed, depth=depth, dark=dark)
        low, high = (middle, high) if psnr(damaged, clean) > target else (low, middle)
    return damaged, middle


def collect(
    root: Path, task: str, patches: int, severity: tuple[float, float], deep: bool, maps: Pool | None, dark: str
) -> list[dict]:
    """One row per patch: statistics of the real and of the matched synthetic damage; `deep` gives it a depth, of one of
    the `maps` if there are some."""
    rows = []
    for number, (file, partner) in enumerate(pairs(root, task)):
        d_CHW, c_CHW = read_image(file)[0], read_image(partner)[0]
        if d_CHW.shape != c_CHW.shape:
            continue
        height, width = c_CHW.shape[1:]
        rng = np.random.default_rng([number, zlib.crc32(task.encode())])
        for _ in range(patches):
            top, left = (int(rng.integers(0, max(n - SIDE, 0) + 1)) for n in (height, width))
            window = (slice(None), slice(top, top + SIDE), slice(left, left + SIDE))
            c, d, seed = c_CHW[window].contiguous(), d_CHW[window].contiguous(), int(rng.integers(1 << 31))
            size, depth = (top, left, *c.shape[1:]), None
            if deep and maps:
                depth = transplanted(maps[int(rng.integers(len(maps)))][0], (c_CHW * 255).byte(), seed, size)
            elif deep:
                depth = imagined(c_CHW, seed, size)
            s, level = matched(c, task, psnr(d, c), seed, depth, dark)
            free = degrade(c, task, float(rng.uniform(*severity)), seed, depth=depth, dark=dark)
            s = (s * 255).round() / 255  # files are of 8 bits
            row = {"scene": scene_of(partner), "file": file.stem, "severity": level, "free": psnr(free, c)}
            for name, x in (("real", d), ("synthetic", s)):
                row[name] = {"PSNR": psnr(x, c), "SSIM": ssim(x, c)} | statistics(c.numpy(), x.numpy(), task)
            rows.append(row)
    return rows


def separability(rows: list[dict], draws: int = 1000) -> tuple[float, float, float]:
    """AUC of a cross-validated logistic regression on the statistics, PSNR (matched) left out, and its 95 %
    bootstrap interval over scenes, for the regressions as they are; NaN bounds for fewer than 5 scenes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer

    names = [name for name in rows[0]["real"] if name != "PSNR"]
    x = np.array([[row[kind][name] for name in names] for kind in ("real", "synthetic") for row in rows])
    x = np.where(np.isfinite(x), x, np.nanmedian(x, 0))
    y, groups = np.repeat([1, 0], len(rows)), [row["scene"] for row in rows] * 2
    folds = GroupKFold(min(5, len(set(groups))))
    scale = QuantileTransformer(output_distribution="normal", n_quantiles=min(100, len(rows)))
    model = make_pipeline(scale, LogisticRegression(C=0.3, max_iter=2000))
    score = cross_val_predict(model, x, y, groups=groups, cv=folds, method="decision_function")
    auc, scenes, rng = float(roc_auc_score(y, score)), sorted(set(groups)), np.random.default_rng(0)
    if len(scenes) < FEWEST_SCENES:
        return auc, np.nan, np.nan
    places = [np.flatnonzero(np.array(groups) == scene) for scene in scenes]
    drawn = [np.concatenate([places[n] for n in rng.integers(0, len(places), len(places))]) for _ in range(draws)]
    low, high = np.quantile([roc_auc_score(y[rows], score[rows]) for rows in drawn], [0.025, 0.975])
    return auc, float(low), float(high)


def table(task: str, rows: list[dict]) -> dict:
    """Print the comparison of one task and return its numbers."""
    scenes = len({row["scene"] for row in rows})
    auc, *interval = separability(rows)
    bounds = interval if np.isfinite(interval[0]) else None
    result = {"patches": len(rows), "scenes": scenes, "auc": auc, "auc_95": bounds, "statistics": {}}
    free, level = ([row[name] for row in rows] for name in ("free", "severity"))
    real = [row["real"]["PSNR"] for row in rows]
    ends = [np.percentile(x, (5, 95)) for x in (real, free)]
    result |= {"severity": float(np.median(level)), "beyond_severity_1": float(np.mean(np.array(level) > 0.99))}
    print(f"\n{task}: {len(rows)} patches of {scenes} scenes; AUC {with_interval(auc, *interval, '.3f')}")
    print(
        f"  severity that matches: median {np.median(level):.2f}, above 1 in {result['beyond_severity_1']:.0%}; input "
        f"PSNR (5..95 %) real {ends[0][0]:.1f}..{ends[0][1]:.1f}, as trained {ends[1][0]:.1f}..{ends[1][1]:.1f} dB"
    )
    print(f"  {'median (10..90 %)':20s} {'real':>26s} {'synthetic, matched':>26s}   AUC alone")
    for name in rows[0]["real"]:
        values = [np.array([row[kind][name] for row in rows]) for kind in ("real", "synthetic")]
        (a, b), cells = values, [np.nanpercentile(x, (50, 10, 90)) for x in values]
        alone = float((a[:, None] > b).mean() + (a[:, None] == b).mean() / 2)
        result["statistics"][name] = {"real": cells[0].tolist(), "synthetic": cells[1].tolist(), "auc": alone}
        shown = [f"{m:8.3f} ({p:7.3f}..{q:7.3f})" for m, p, q in cells]
        print(f"  {name:20s} {shown[0]:>26s} {shown[1]:>26s}   {alone:.2f}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--rain-depth", action="store_true", help="rain with depth, and not that of a wall 10 m away")
    parser.add_argument("--depth", type=Path, help="folder of photographs with depth maps, for haze")
    parser.add_argument("--dark", choices=DARK, default=DARK[0], help="ranges of low light")
    parser.add_argument("--patches", type=int, default=4, help="patches of each pair")
    parser.add_argument("--severity", type=float, nargs=2, default=(0.3, 1.0), help="range drawn in training")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    maps, result = args.depth and Sources.of(args.depth, depth=True).depths, {}
    for task in args.tasks:
        deep = task == "haze" or (task == "rain" and args.rain_depth)
        rows = collect(
            args.data, task, args.patches, tuple(args.severity), deep, maps if task == "haze" else None, args.dark
        )
        if len({row["scene"] for row in rows}) < 2:
            print(f"\n{task}: fewer than 2 scenes below {args.data}, left out")
            continue
        result[task] = table(task, rows)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
