"""How well is damage recognised that the network never saw in training? Fits the rule of a checkpoint, draws its ROC.

    python benchmarks/unseen.py tiny --fit DIR ... --test DIR ... [--draw docs/images/unseen.png] [--keep]

DIR are folders of clean photographs kept from training, others for --fit than for --test; the central 320 x 320 pixels
count. Trained damage, snow and JPEG come from `slerlib.degrade`, at severities from 0.3 to 1 for the fit and at 0.5
for the test; six kinds more (`OTHER`) serve the fit alone. For snow and for JPEG the rule is also fitted without it, as
for damage that nobody thought of. --keep writes the rule into the card of the checkpoint. Six minutes
of processor time for 70 photographs, with `tiny` and without AVX-512.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor
from torch.nn import functional as F

import slerlib
from slerlib.analysis.unseen import collected, fitted, scores
from slerlib.checkpoint import CARD, find, read_card
from slerlib.files import write_atomic
from slerlib.images import SUFFIXES, read_image
from slerlib.plots import style

SIDE, NEW = 320, ("snow", "jpeg")


def photographs(folders: list[Path]) -> dict[str, Tensor]:
    result = {}
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        x, _ = read_image(path)
        top, left = (max(0, (side - SIDE) // 2) for side in x.shape[1:])
        result[str(path)] = x[:, top : top + SIDE, left : left + SIDE].contiguous()
    return result


def made(kind: str, low: float, high: float) -> Callable[[Tensor, int], Tensor]:
    if kind == "clean":
        return lambda x, seed: x
    return lambda x, seed: slerlib.degrade(x, kind, severity=random.Random(seed).uniform(low, high), seed=seed)


def noise(x: Tensor, seed: int, *size: int) -> Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


def salt_and_pepper(x: Tensor, seed: int) -> Tensor:
    u = noise(x, seed, 1, *x.shape[1:])
    return torch.where(u < 0.02, 0.0, torch.where(u > 0.98, 1.0, x))


def few_levels(x: Tensor, seed: int) -> Tensor:
    levels = 4 + seed % 6
    return (x * levels).round() / levels


def stripes(x: Tensor, seed: int) -> Tensor:
    turn, frequency = noise(x, seed, 2).tolist()
    y, z = torch.meshgrid(*(torch.arange(n) for n in x.shape[1:]), indexing="ij")
    wave = (6.3 * (0.05 + 0.3 * frequency) * (z * np.cos(3.1 * turn) + y * np.sin(3.1 * turn))).sin()
    return (x + 0.08 * wave).clamp(0, 1)


def blotches(x: Tensor, seed: int) -> Tensor:
    coarse = noise(x, seed, 1, 3, x.shape[1] // 6 + 2, x.shape[2] // 6 + 2) - 0.5
    return (x + 0.3 * F.interpolate(coarse, size=x.shape[1:], mode="bicubic")[0]).clamp(0, 1)


def enlarged(x: Tensor, seed: int) -> Tensor:
    small = F.interpolate(x[None], scale_factor=1 / (1.5 + seed % 3), mode="bicubic", antialias=True)
    return F.interpolate(small, size=x.shape[1:], mode="bicubic")[0].clamp(0, 1)


def dust(x: Tensor, seed: int) -> Tensor:
    rng, y = np.random.default_rng(seed), x.clone()
    for _ in range(60):
        top, left, side = *(rng.integers(0, n) for n in x.shape[1:]), rng.integers(1, 6)
        y[:, top : top + side, left : left + side] = rng.random()
    return y


OTHER = (salt_and_pepper, few_levels, stripes, blotches, enlarged, dust)


@style.styled
def draw(rows, curves: dict[str, np.ndarray], classes) -> tuple:
    """One panel for each damage to be recognised; a curve for each score."""
    from matplotlib.figure import Figure

    fig = Figure((style.WIDTH, 5.3), dpi=style.DPI, layout="constrained")
    looks = dict(
        zip(curves, ((style.GREY, ":"), (style.GREY, "--"), (style.BLUE, "-"), (style.VERMILLION, "-.")), strict=True)
    )
    words = []
    for ax, new in zip(fig.subplots(1, len(NEW), sharey=True), NEW, strict=True):
        part = rows.kind.isin([*classes, new]).to_numpy()
        for name, values in curves.items():
            value = values[new] if isinstance(values, dict) else values
            alarms, caught, _ = roc_curve(rows.kind[part] == new, value[part])
            area = roc_auc_score(rows.kind[part] == new, value[part])
            ax.plot(
                alarms,
                caught,
                color=looks[name][0],
                ls=looks[name][1],
                lw=2,
                clip_on=False,
                label=f"{name}: {area:.2f}",
            )
            words.append(f"{new}, {name} {area:.2f}")
        ax.plot([0, 1], [0, 1], color=style.GREY, lw=0.6)
        ax.set(title=f"{new} against trained damage", xlabel="false alarms", xlim=(0, 1), ylim=(0, 1))
        ax.set(xticks=(0, 0.5, 1), box_aspect=1)
        ax.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.19), title="area under the curve", alignment="left")
    fig.axes[0].set_ylabel("share that is caught")
    return style.finished(
        fig, f"ROC curves of damage that the network was not trained for. Areas: {'; '.join(words)}."
    ), words


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--fit", type=Path, nargs="+", required=True)
    parser.add_argument("--test", type=Path, nargs="+", required=True)
    parser.add_argument("--rows", type=Path, help="CSV of what was seen: written, or read where it exists")
    parser.add_argument("--draw", type=Path)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    model = slerlib.load(args.checkpoint, "cpu")
    classes = [name for name in model.router.names if name in slerlib.config.CLASSES]
    if args.rows and args.rows.exists():
        rows = pd.read_csv(args.rows)
    else:
        fit = collected(
            model,
            photographs(args.fit),
            {k: made(k, 0.3, 1) for k in (*classes, *NEW)} | {f.__name__: f for f in OTHER},
        )
        test = collected(model, photographs(args.test), {k: made(k, 0.5, 0.5) for k in (*classes, *NEW)})
        rows = pd.concat([fit.assign(part="fit"), test.assign(part="test")], ignore_index=True)
        if args.rows:
            rows.to_csv(args.rows, index=False)
    fit, test = rows[rows.part == "fit"], rows[rows.part == "test"].reset_index(drop=True)
    rule, known = fitted(fit, classes), test.kind.isin(classes)
    flagged = scores(test, rule) > rule["limit"]
    rule["false_alarms"] = round(float(flagged[known].mean()), 3)
    if "clean" in classes:
        rule["clean_alarms"] = round(float(flagged[test.kind == "clean"].mean()), 3)
    without = {new: scores(test, fitted(fit[fit.kind != new], classes)) for new in NEW}
    curves = {"angle": test.angle.to_numpy(), "margin": -test.margin.to_numpy(), "rule": scores(test, rule)}
    curves["rule, fitted without it"] = without
    fig, words = draw(test, curves, classes)
    counts = [part.photograph.nunique() for part in (fit, test)]
    print(f"{args.checkpoint}: {counts[0]} photographs for the fit, {counts[1]} for the test")
    print("\n".join(words))
    for new in NEW:
        areas = []
        for other in classes:
            part = test.kind.isin([new, other])
            areas.append(f"{other} {roc_auc_score(test.kind[part] == new, curves['rule'][part]):.2f}")
        print(f"{new} against each: {', '.join(areas)}; flagged {flagged[test.kind == new].mean():.0%}")
    alarms = ", ".join(f"{kind} {flagged[test.kind == kind].mean():.0%}" for kind in classes)
    print(f"false alarms {rule['false_alarms']:.1%}: {alarms}")
    clean = test[test.kind == "clean"]
    named = clean[clean.clean == 1]
    shares = f"{(clean.psnr >= 45).mean():.0%} of {len(clean)}, {(named.psnr >= 45).mean():.0%} of the {len(named)}"
    low, middle = clean.psnr.quantile([0.05, 0.5])
    print(f"clean at 45 dB or more: {shares} named clean; median {middle:.1f} dB, 5th percentile {low:.1f}")
    if args.draw:
        fig.savefig(args.draw, bbox_inches="tight")
        print(f"![{fig.alt_text}](images/{args.draw.name})")
    if args.keep:
        part = {"signs": {name: {k: float(f"{v:.6g}") for k, v in row.items()} for name, row in rule["signs"].items()}}
        part |= {k: round(rule[k], 5) for k in ("bias", "limit", "false_alarms", "clean_alarms") if k in rule}
        part["caught"] = {new: round(float(flagged[test.kind == new].mean()), 3) for new in NEW}
        part["photographs"] = {"fit": int(fit.photograph.nunique()), "test": int(test.photograph.nunique())}
        folder = find(args.checkpoint)
        write_atomic(Path(folder) / CARD, json.dumps(read_card(folder) | {"unseen": part}, indent=2) + "\n")


if __name__ == "__main__":
    main()
