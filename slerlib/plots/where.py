"""What a network sees where: the nearest class at each place, and the expert of each place and layer.

Legend: C channels, H W pixels, h w places (tokens).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ..config import STAGE_NAMES
from ..errors import UserError
from .marks import show
from .style import PICTURE_DPI, SMALL, WIDTH, class_looks, expert_colour, finished, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..model.router import Trace

NAMED = 0.02  # share of the places from which a class is named below its map


@styled
def where_map(rows: Mapping[str, tuple[Tensor, Trace]]) -> Figure:
    """One row per picture: the input, the class whose anchor is nearest at each place, and the angle to it.

    rows: label -> (input (3, H, W) in [0, 1], the `Trace` of that picture alone). The angle has one scale for all rows,
        bright is far: unlike every class. Raises UserError without rows and for a trace without `local_angle`.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    if not rows:
        raise UserError("A map of where needs at least one picture and its trace; got none. Add one.")
    cell = (WIDTH - 1.2) / 3
    heights = [cell * x.shape[-2] / x.shape[-1] + 0.3 for x, _ in rows.values()]
    fig = Figure((WIDTH, sum(heights) + 0.8), dpi=PICTURE_DPI, layout="constrained")
    fig.get_layout_engine().set(w_pad=0.03, h_pad=0.03, hspace=0, wspace=0)
    axes = fig.subplots(len(rows), 3, squeeze=False, gridspec_kw={"height_ratios": heights})
    looks, words, named, colours = {}, [], {}, None
    farthest = max(_nearest(trace).max() for _, trace in rows.values())
    for (label, (x, trace)), (left, middle, right) in zip(rows.items(), axes, strict=True):
        names, first = trace.anchor_names, left is axes[0][0]
        looks |= class_looks(names, ())
        where_hw = trace.where()[0].numpy()
        counts = np.bincount(where_hw.ravel(), minlength=len(names)) / where_hw.size
        seen = [f"{names[k]} {counts[k]:.0%}" for k in counts.argsort()[::-1] if counts[k] >= NAMED]
        named |= {names[k]: looks[names[k]]["color"] for k in range(len(names)) if counts[k]}
        show(left, x, "", "input" if first else "", smooth=True)
        left.set_ylabel(label, fontsize=10.5, labelpad=6)
        pixels = np.array([_rgb(looks[name]["color"]) for name in names])[where_hw]
        _map(middle, pixels, x, ", ".join(seen[:2]), "nearest class" if first else "")
        colours = right.imshow(_nearest(trace), cmap="cividis", vmin=0, vmax=farthest, extent=_extent(x))
        _frame(right, "", "angle to it" if first else "")
        words.append(f"{label}: {', '.join(seen)}; {_nearest(trace).mean():.0f} degrees from the nearest anchor")
    bar = fig.colorbar(colours, ax=axes[:, 2].tolist(), shrink=0.8, aspect=30)
    bar.set_label("degrees", fontsize=SMALL)
    patches = [Patch(facecolor=colour, edgecolor="#333333", label=name) for name, colour in named.items()]
    fig.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 4))
    return finished(fig, f"Nearest class at each place. {'. '.join(words)}.", "jpeg")


@styled
def path_maps(x_CHW: Tensor, trace: Trace) -> Figure:
    """A picture, and the expert of each place at each of the 8 layers.

    trace: of that picture alone. Raises UserError for one without `path_map`: routes per image, or a forced path.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    if trace.path_map is None:
        raise UserError("This trace has one path for the whole picture. Restore with route='place' to draw path maps.")
    paths_Lhw, experts = trace.path_map[0].numpy(), trace.similarity.shape[-1]
    cell = (WIDTH - 0.2) / 3
    height = 3 * (cell * x_CHW.shape[-2] / x_CHW.shape[-1] + 0.3) + 0.45
    fig = Figure((WIDTH, height), dpi=PICTURE_DPI, layout="constrained")
    fig.get_layout_engine().set(w_pad=0.03, h_pad=0.03, hspace=0, wspace=0)
    first, *others = fig.subplots(3, 3).ravel()
    show(first, x_CHW, "", "input", smooth=True)
    colours = np.array([_rgb(expert_colour(e)) for e in range(experts)])
    words = []
    for ax, name, path_hw in zip(others, STAGE_NAMES, paths_Lhw, strict=True):
        shares = np.bincount(path_hw.ravel(), minlength=experts) / path_hw.size
        _map(ax, colours[path_hw], x_CHW, "", name)
        words.append(f"{name} " + ", ".join(f"{share:.0%} expert {e}" for e, share in enumerate(shares) if share))
    patches = [Patch(facecolor=expert_colour(e), label=f"expert {e}") for e in range(experts)]
    fig.legend(handles=patches, loc="outside lower center", ncols=experts)
    return finished(fig, f"Expert of each place, layer by layer: {'; '.join(words)}.", "jpeg")


def _nearest(trace: Trace) -> np.ndarray:
    """(h, w) degrees to the nearest anchor."""
    trace.where()  # refuses a trace without local angles
    return trace.local_angle[0].amin(dim=0).numpy()


def _rgb(colour: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(colour)


def _extent(x_CHW: Tensor) -> tuple[float, float, float, float]:
    return (0, x_CHW.shape[-1], x_CHW.shape[-2], 0)


def _map(ax, pixels_hwC: np.ndarray, x_CHW: Tensor, below: str, title: str) -> None:
    ax.imshow(pixels_hwC, interpolation="nearest", extent=_extent(x_CHW))
    _frame(ax, below, title)


def _frame(ax, below: str, title: str) -> None:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_title(title, loc="center", fontsize=10.5)
    ax.set_xlabel(below, labelpad=3, fontsize=10.5)
