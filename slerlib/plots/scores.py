"""Figures of restorations, scores, paths and places on the sphere.

Every function returns a matplotlib Figure with `alt_text`, a description made from the numbers drawn, which notebooks
and report pages carry as the picture's alt text. Those of one panel take `ax`, to draw in a figure of yours.
Legend: B images, K anchors (degradation classes), D embedding dimension, C channels, H W pixels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .. import sphere
from ..config import LAYERS, STAGE_NAMES
from ..errors import UserError
from ..evaluation.metrics import bootstrap_interval, psnr, with_interval
from ..model.router import ANGLE_LIMIT, path_digits
from .style import (
    BLACK,
    BLUE,
    DPI,
    EXPERT_COLOURS,
    GREY,
    ORANGE,
    PICTURE_DPI,
    SMALL,
    VERMILLION,
    WIDTH,
    canvas,
    class_looks,
    finished,
    ink,
    styled,
    tint,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame


def _checked(rows: Sequence, labels: Sequence[str], what: str) -> list[str]:
    labels = [str(label) for label in labels]
    if not labels or len(labels) != len(rows):
        raise UserError(f"A figure needs at least one {what} and a label for each; got {len(rows)} and {len(labels)}.")
    return labels


def _dB(value: float) -> str:
    return "identical" if math.isinf(value) else f"{value:.1f} dB"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


@styled
def picture_grid(pictures: Sequence[tuple[str, Tensor, ...]], side: int = 256) -> Figure:
    """One row per picture: clean, degraded, restored, with the PSNR of the whole picture below.

    pictures: (label, clean, degraded, restored), three (3, H, W) tensors in [0, 1] of one size; all rows may do without
        restored, for a look before restoring.
    side: at most so many pixels are shown, so that detail stays visible: from the middle of the width and a little
        above that of the height, where faces are. The label stands at the left.
    """
    from matplotlib.figure import Figure

    _checked(pictures, [row[0] for row in pictures], "picture")
    titles = ("clean", "degraded", "restored")[: len(pictures[0]) - 1]
    dpi = DPI if len(pictures) < 3 else PICTURE_DPI
    fig = Figure((WIDTH, 7.86 / len(titles) * len(pictures) + 0.3), dpi=dpi, layout="constrained")
    grid = fig.subplots(len(pictures), len(titles), squeeze=False)
    scores = []
    for axes, (label, *images) in zip(grid, pictures, strict=True):
        values = [psnr(image, images[0]) for image in images[1:]]
        gain = f" ({_signed(values[-1] - values[0])})" if len(values) > 1 and np.isfinite(values).all() else ""
        notes = [f"{name} {_dB(value)}" for name, value in zip(("input", "restored"), values, strict=False)]
        notes[-1] += gain
        scores.append(f"{label}: {', '.join(notes)}")
        for ax, image, note in zip(axes, images, ["", *notes], strict=True):
            ax.imshow(_part(image, side), interpolation="nearest", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            ax.set_xlabel(note, labelpad=3)
        axes[0].set_ylabel(label, fontsize=11.5, labelpad=6)
    for ax, title in zip(grid[0], titles, strict=True):
        ax.set_title(title, loc="center")
    alt = f"Photographs, each {', '.join(titles)}, with PSNR against the clean one. {'; '.join(scores)}."
    return finished(fig, alt, "jpeg")


def _part(image_CHW: Tensor, side: int) -> np.ndarray:
    height, width = image_CHW.shape[1:]
    h, w = min(height, side), min(width, side)
    top, left = (height - h) // 4, (width - w) // 2
    return image_CHW[:, top : top + h, left : left + w].detach().cpu().float().clamp(0, 1).permute(1, 2, 0).numpy()


@styled
def path_chart(paths: Sequence[str] | Tensor, labels: Sequence[str], ax: Axes | None = None) -> Figure:
    """Which expert each degradation goes through at each of the 8 layers.

    paths: one per image, as strings such as "01201120" or a (B, 8) tensor. labels: the degradation of each image.
    A row stands for all images with that label: number and colour of its most frequent expert, stronger the more of the
    images agree, with their share below unless all do; at the right how many images take every one of these experts.
    """
    from matplotlib.patches import Rectangle

    labels = _checked(paths, labels, "path")
    paths_BL = np.array([[int(expert) for expert in path] for path in paths])
    if paths_BL.shape[1:] != (LAYERS,):
        raise UserError(f"A path has {LAYERS} experts, one per layer; got {str(paths[0])!r}. Take it from a trace.")
    names = list(dict.fromkeys(labels))
    ax = canvas(ax, 0.48 * len(names) + 0.8)
    told = []
    for y, name in enumerate(names):
        group_BL = paths_BL[[label == name for label in labels]]
        modal = [Counter(sorted(column)).most_common(1)[0] for column in group_BL.T.tolist()]
        for x, (expert, count) in enumerate(modal):
            share = count / len(group_BL)
            colour = tint(EXPERT_COLOURS[expert % len(EXPERT_COLOURS)], 0.15 + 0.75 * share**2)
            ax.add_patch(Rectangle((x - 0.47, y - 0.44), 0.94, 0.88, color=colour, linewidth=0))
            text, all_agree = {"ha": "center", "va": "center", "color": ink(colour)}, count == len(group_BL)
            ax.text(x, y - (0 if all_agree else 0.15), expert, weight="bold", **text)
            if not all_agree:
                ax.text(x, y + 0.25, f"{share:.0%}", fontsize=SMALL - 0.5, **text)
        whole = int((group_BL == [expert for expert, _ in modal]).all(axis=1).sum())
        if len(paths_BL) > len(names):
            ax.text(LAYERS - 0.4, y, f"{whole} of {len(group_BL)}", va="center", fontsize=SMALL + 0.5)
        digits = path_digits(expert for expert, _ in modal)
        told.append(f"{name} {digits}" + (f" ({whole} of {len(group_BL)} images)" if len(group_BL) > 1 else ""))
    if len(paths_BL) > len(names):
        ax.text(LAYERS - 0.4, -0.62, "same path", va="bottom", fontsize=SMALL + 0.5)
    ax.set(xlim=(-0.5, LAYERS - 0.5), ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=names)
    ax.set_xticks(range(LAYERS), STAGE_NAMES)
    ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("layer, in the order in which the picture meets them; the number is the expert", labelpad=8)
    alt = f"Expert chosen at the layers {', '.join(STAGE_NAMES)}. {'; '.join(told)}."
    return finished(ax.figure, alt)


@styled
def gain_chart(table: DataFrame, ax: Axes | None = None) -> Figure:
    """Mean PSNR before and after, per degradation, with 95 % bootstrap intervals over images where there are enough.

    table: from `slerlib.evaluate`. The gain at the right is the mean over the images, with its own, paired interval.
    A degradation that the network makes worse on average is drawn in another colour and with a triangle.
    """
    tasks = _checked(table.task.unique(), table.task.unique(), "row of an evaluation")
    ax = canvas(ax, 0.46 * len(tasks) + 1.35)
    told, seen = [], {}
    for y, task in enumerate(tasks):
        part = table[table.task == task]
        before, after = bootstrap_interval(part.psnr_input), bootstrap_interval(part.psnr)
        known = math.isfinite(before[0]) and math.isfinite(after[0])
        gain = bootstrap_interval(part.psnr - part.psnr_input) if known else None
        worse = known and gain[0] < 0
        colour, marker, name = (VERMILLION, "v", "restored, worse than the input") if worse else (BLUE, "o", "restored")
        if known:
            ax.plot([before[0], after[0]], [y, y], color=colour, alpha=0.35, linewidth=5, solid_capstyle="butt")
            seen["input"] = _point(ax, before, y - 0.16, GREY, "o", "white")
        if math.isfinite(after[0]):
            seen[name] = _point(ax, after, y + 0.16, colour, marker, colour)
        note = "input = clean" if np.isinf(part.psnr_input).all() else "no mean: identical"
        note = with_interval(*gain, "+.1f").replace("-", "−") if known else note
        ax.text(1.02, y, note, transform=ax.get_yaxis_transform(), va="center", fontsize=SMALL + 0.5)
        told.append(f"{task} {_dB(before[0])} before, {_dB(after[0])} after, n = {len(part)}")
    ax.text(1.02, -0.72, "gain in dB (95 %)", transform=ax.get_yaxis_transform(), va="bottom", fontsize=SMALL + 0.5)
    ax.set(ylim=(len(tasks) - 0.4, -0.6), yticks=range(len(tasks)), yticklabels=tasks)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#DDDDDD", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xlabel("PSNR in dB, mean over images with 95 % interval")
    seen = dict(sorted(seen.items()))  # input, restored, restored and worse
    ax.legend(seen.values(), seen.keys(), ncols=len(seen), loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)
    return finished(ax.figure, f"Mean PSNR of the input and of the restored picture. {'; '.join(told)}.")


def _point(ax: Axes, interval: tuple[float, float, float], y: float, colour: str, marker: str, fill: str):
    mean, low, high = interval
    if math.isfinite(low):
        ax.plot([low, high], [y, y], color=colour, linewidth=1.6)
    return ax.plot(mean, y, marker, color=colour, markerfacecolor=fill, markersize=7, markeredgewidth=1.6)[0]


@styled
def sphere_view(
    embedding_BD: Tensor, labels: Sequence[str], anchors_KD: Tensor, names: Sequence[str], ax: Axes | None = None
) -> Figure:
    """Images and anchors on the sphere of degradations, projected to the plane that keeps most of the anchors' spread.

    embedding_BD: trace.embedding, or several concatenated. labels: the degradation of each image.
    anchors_KD: model.router.anchors. names: trace.anchor_names.
    The circle is the outline of the sphere. The figure says which part of the spread the plane keeps; whether two
    points are close is told by their angle alone (`angle_table`, `angle_bars`).
    """
    labels = _checked(embedding_BD, labels, "image")
    anchors, points = (sphere.normalise(x.detach().cpu().double()) for x in (anchors_KD, embedding_BD))
    _, strength, axes_DD = torch.linalg.svd(anchors, full_matrices=False)
    kept = (strength[:2].square().sum() / strength.square().sum()).item()
    anchors_K2, points_B2 = (anchors @ axes_DD[:2].T).numpy(), (points @ axes_DD[:2].T).numpy()
    ax = canvas(ax, 6.1)
    turn = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(turn), np.sin(turn), color="#BBBBBB", linewidth=1)
    looks = class_looks(names, labels)
    others = [label for label in looks if label not in names]
    drawn = {}
    for kind, look in looks.items():
        own_N2 = points_B2[[label == kind for label in labels]]
        edge = {"markeredgecolor": BLACK if kind in others else "white", "markeredgewidth": 0.8, "linestyle": ""}
        drawn[kind] = ax.plot(*own_N2.T, markersize=11 if len(labels) == 1 else 7, zorder=3, **look, **edge)[0]
    for name, turn, target in zip(names, _spread(anchors_K2), anchors_K2, strict=True):
        place = 1.08 * np.array([np.cos(turn), np.sin(turn)])
        ax.plot(*np.stack([target, place]).T, color=looks[name]["color"], linewidth=0.9)
        ring = {**looks[name], "markerfacecolor": "none", "markeredgewidth": 2.4}
        ax.plot(*target, **ring, markersize=16)
        side = "left" if place[0] > 0.15 else "right" if place[0] < -0.15 else "center"
        ax.text(*(1.03 * place), name, ha=side, va="bottom" if place[1] > 0 else "top")
    if others:
        ax.legend([drawn[kind] for kind in others], others, title="no anchor", loc="lower right", handletextpad=0.2)
    ax.set(aspect="equal", xlim=(-1.55, 1.55), ylim=(-1.2, 1.2), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_xlabel(f"rings: anchors; filled: images; this plane keeps {kept:.0%} of the anchors' spread")
    angles = sphere.angle(points[:, None], anchors[None])
    nearest = Counter((label, names[k]) for label, k in zip(labels, angles.argmin(dim=1).tolist(), strict=True))
    told = "; ".join(f"{count} of {label} nearest to {name}" for (label, name), count in nearest.items())
    return finished(ax.figure, f"Images and anchors on the sphere of degradations, projected to a plane. {told}.")


def _spread(points_K2: np.ndarray, least: float = 0.32) -> np.ndarray:
    """(K,) directions of the points in radians, pushed apart until neighbours have `least` between them."""
    turns = np.arctan2(points_K2[:, 1], points_K2[:, 0])
    order = np.argsort(turns)
    for _ in range(200):
        gaps = np.diff(turns[order], append=turns[order[0]] + 2 * np.pi)
        push = np.clip(least - gaps, 0, None) / 2
        if not push.any():
            break
        turns[order] += np.roll(push, 1) - push
    return turns


@styled
def angle_bars(angles_K: Tensor, names: Sequence[str], ax: Axes | None = None) -> Figure:
    """How far one image lies from every anchor, in degrees: trace.anchor_angle[0] and trace.anchor_names."""
    names = _checked(angles_K, names, "anchor")
    angles = [float(angle) for angle in angles_K]
    nearest = int(np.argmin(angles))
    ax = canvas(ax, 0.36 * len(names) + 1.1)
    ax.barh(names, angles, height=0.66, color="#B5C4CF")[nearest].set_color(BLUE)
    for k, angle in enumerate(angles):
        note = f"{angle:.0f}°" + (" nearest" if k == nearest else "")
        ax.text(angle + 1.5, k, note, va="center", fontsize=SMALL + 0.5, weight="bold" if k == nearest else "normal",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    ax.axvline(ANGLE_LIMIT, color=VERMILLION, linestyle="--", linewidth=1.3)
    ax.text(ANGLE_LIMIT, -0.62, f"beyond {ANGLE_LIMIT:.0f}°: not to be trusted", color=VERMILLION, fontsize=SMALL)
    ax.set(xlim=(0, max(*angles, ANGLE_LIMIT) * 1.15), ylim=(len(names) - 0.4, -0.6))
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("angle to the anchor in degrees")
    told = ", ".join(f"{name} {angle:.0f}" for name, angle in zip(names, angles, strict=True))
    return finished(ax.figure, f"Angle of one image to each anchor in degrees; nearest is {names[nearest]}. {told}.")


@styled
def angle_table(angles_BK: Tensor, labels: Sequence[str], names: Sequence[str], ax: Axes | None = None) -> Figure:
    """Mean angle in degrees of each degradation's images (rows) to every anchor (columns); the nearest is framed.

    angles_BK: trace.anchor_angle, or several concatenated. labels: the degradation of each image. names: the anchors.
    """
    from matplotlib.patches import Rectangle

    labels = _checked(angles_BK, labels, "image")
    kinds = list(dict.fromkeys(labels))
    means = np.stack([angles_BK[[label == kind for label in labels]].mean(dim=0).cpu().numpy() for kind in kinds])
    ax = canvas(ax, 0.42 * len(kinds) + 1.2)
    shades = ax.imshow(means, cmap="viridis", vmin=0, vmax=120, aspect="auto")
    for (y, x), value in np.ndenumerate(means):
        ax.text(x, y, f"{value:.0f}", ha="center", va="center", color=ink(shades.cmap(shades.norm(value))[:3]))
    for y, x in enumerate(means.argmin(axis=1)):
        ax.add_patch(Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, fill=False, edgecolor=ORANGE, linewidth=2.5))
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(kinds)), kinds)
    ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("anchor; mean angle in degrees, the nearest anchor framed", labelpad=8)
    told = "; ".join(f"{kind} is nearest to {names[row.argmin()]} ({row.min():.0f})"
                     for kind, row in zip(kinds, means, strict=True))  # fmt: skip
    return finished(ax.figure, f"Mean angle in degrees from images of each degradation to every anchor. {told}.")
