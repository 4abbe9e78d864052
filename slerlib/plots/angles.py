"""Figures of places on the sphere: images among the anchors in a plane, angles to every anchor.

Legend: B images, K anchors (degradation classes), D embedding dimension.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from .. import sphere
from ..model.doubt import GENERAL
from .marks import labels_of, matrix
from .style import BLACK, BLUE, SMALL, VERMILLION, canvas, class_looks, finished, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled
def sphere_view(
    embedding_BD: Tensor, labels: Sequence[str], anchors_KD: Tensor, names: Sequence[str], ax: Axes | None = None
) -> Figure:
    """Images and anchors on the sphere of degradations, projected to the plane with most of the anchors' variance.

    embedding_BD: trace.embedding, or several concatenated. labels: the degradation of each image.
    anchors_KD: model.router.anchors. names: trace.anchor_names.
    Anchors that are evenly spaced have as much in every plane; they are drawn evenly (`sphere.widest`).
    The circle is the outline of the sphere. The figure states the share of the anchors' variance in the plane. Two
    points that are drawn close may be far apart: `angle_table` and `angle_bars` show their angles.
    """
    labels = labels_of(embedding_BD, labels, "image")
    anchors, points = (sphere.normalise(x.detach().cpu().double()) for x in (anchors_KD, embedding_BD))
    axes_2D = sphere.widest(anchors, 2)
    anchors_K2, points_B2 = (anchors @ axes_2D.T).numpy(), (points @ axes_2D.T).numpy()
    share = np.square(anchors_K2).sum() / anchors.square().sum().item()
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
    for name, turn, target in zip(names, _directions(anchors_K2), anchors_K2, strict=True):
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
    ax.set_xlabel(f"large, hollow: anchors; filled: images; this plane holds {share:.0%} of the anchors' variance")
    angles = sphere.angle(points[:, None], anchors[None])
    nearest = Counter((label, names[k]) for label, k in zip(labels, angles.argmin(dim=1).tolist(), strict=True))
    words = "; ".join(f"{count} of {label} nearest to {name}" for (label, name), count in nearest.items())
    return finished(ax.figure, f"Images and anchors on the sphere of degradations, projected to a plane. {words}.")


def _directions(points_K2: np.ndarray, least: float = 0.32) -> np.ndarray:
    """(K,) directions of the points in radians, moved until neighbours are at least `least` apart."""
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
def angle_bars(angles_K: Tensor, names: Sequence[str], limit: float = GENERAL.angle, ax: Axes | None = None) -> Figure:
    """Angles of one image to all anchors, in degrees: trace.anchor_angle[0] and trace.anchor_names.

    limit: of the nearest class, beyond which its route is doubtful: trace.own_limits()[0].angle.
    """
    names = labels_of(angles_K, names, "anchor")
    angles = [float(angle) for angle in angles_K]
    nearest = int(np.argmin(angles))
    ax = canvas(ax, 0.36 * len(names) + 1.1)
    ax.barh(names, angles, height=0.66, color="#B5C4CF")[nearest].set_color(BLUE)
    for k, angle in enumerate(angles):
        note = f"{angle:.0f}°" + (" nearest" if k == nearest else "")
        ax.text(angle + 1.5, k, note, va="center", fontsize=SMALL + 0.5, weight="bold" if k == nearest else "normal",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    ax.axvline(limit, color=VERMILLION, linestyle="--", linewidth=1.3)
    note = f"nearest beyond {limit:.0f}°: doubtful"
    ax.text(limit, -0.62, note, color=VERMILLION, fontsize=SMALL)
    ax.set(xlim=(0, max(*angles, limit) * 1.15), ylim=(len(names) - 0.4, -0.6))
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("angle to the anchor in degrees")
    words = ", ".join(f"{name} {angle:.0f}" for name, angle in zip(names, angles, strict=True))
    return finished(ax.figure, f"Angle of one image to each anchor in degrees; nearest is {names[nearest]}. {words}.")


@styled
def angle_table(angles_BK: Tensor, labels: Sequence[str], names: Sequence[str], ax: Axes | None = None) -> Figure:
    """Mean angle in degrees of each degradation's images (rows) to every anchor (columns); the nearest is framed.

    angles_BK: trace.anchor_angle, or several concatenated. labels: the degradation of each image. names: the anchors.
    """
    labels = labels_of(angles_BK, labels, "image")
    kinds = list(dict.fromkeys(labels))
    means = np.stack([angles_BK[[label == kind for label in labels]].mean(dim=0).cpu().numpy() for kind in kinds])
    ax = canvas(ax, 0.42 * len(kinds) + 1.2)
    matrix(ax, means, kinds, names, lambda angle: f"{angle:.0f}", enumerate(means.argmin(axis=1)),
           cmap="viridis", vmin=0, vmax=120)  # fmt: skip
    ax.set_xlabel("anchor; mean angle in degrees, the nearest anchor framed", labelpad=8)
    words = "; ".join(f"{kind} is nearest to {names[row.argmin()]} ({row.min():.0f})"
                     for kind, row in zip(kinds, means, strict=True))  # fmt: skip
    return finished(ax.figure, f"Mean angle in degrees from images of each degradation to every anchor. {words}.")
