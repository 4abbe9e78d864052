"""Parts of several figures: numbers in a coloured grid, means with their intervals, pictures without axes.

Seaborn draws grids and means into axes of ours, without pyplot.
Legend: K degradations, L layers, E experts, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ..errors import UserError
from ..evaluation.metrics import with_interval
from . import style
from .style import ink, letters

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame


def labels_of(rows: Sequence, labels: Sequence[str], what: str) -> list[str]:
    """The labels as text. Raises UserError without rows, and for another number of labels than rows."""
    labels = [str(label) for label in labels]
    if not labels or len(labels) != len(rows):
        raise UserError(f"A figure needs at least one {what} and a label for each; got {len(rows)} and {len(labels)}.")
    return labels


def with_rows(table, what: str):
    """The table. Raises UserError for a table without rows."""
    if not len(table):
        raise UserError(f"{what} needs a table with rows; this one is empty. Check the images that it was made from.")
    return table


def minus(text: str) -> str:
    """The text with true minus signs."""
    return text.replace("-", "−")


# --- grids of numbers -------------------------------------------------------------------------------------------------


def matrix(
    ax: Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], text: Callable[[float], str],
    frames: Iterable[tuple[int, int]] = (), frame: str = style.ORANGE, size: float = 10.5, **shades
) -> None:  # fmt: skip
    """Heat map with `text(value)` in every cell and the names of the columns above; NaN has no colour.

    frames: (row, column) of the cells that get a frame. shades: options of `seaborn.heatmap`: cmap, vmin, vmax.
    """
    import seaborn
    from matplotlib.patches import Rectangle

    values = np.asarray(values, dtype=float)
    notes = np.array([[text(value) for value in row] for row in values], dtype=object)
    seaborn.heatmap(values, annot=notes, fmt="", annot_kws={"size": size}, cbar=False, linewidths=0.6, ax=ax,
                    xticklabels=False, yticklabels=False, **shades)  # fmt: skip
    missing = np.isnan(values)
    for note, face in zip(ax.texts, ax.collections[0].get_facecolor()[~missing.ravel()], strict=True):
        note.set_color(ink(face[:3]))  # seaborn writes white on colours of middle lightness
    for y, x in np.argwhere(missing):
        ax.text(x + 0.5, y + 0.5, notes[y, x], ha="center", va="center", color=style.GREY, fontsize=size)
    for y, x in frames:
        ax.add_patch(Rectangle((x + 0.04, y + 0.06), 0.92, 0.88, fill=False, edgecolor=frame, linewidth=2.5))
    slanted = {"rotation": 40, "ha": "left", "rotation_mode": "anchor"} if slant(columns) else {}
    ax.set_xticks(np.arange(len(columns)) + 0.5, map(letters, columns), **slanted)
    ax.set_yticks(np.arange(len(rows)) + 0.5, map(letters, rows))
    ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False)


def slant(names: Sequence[str]) -> float:
    """Inches of height that slanted names take above a matrix of the usual width; 0 if they fit without a slant."""
    longest = max(map(len, names))
    return 0.055 * longest if longest * len(names) > 66 else 0.0  # eight classes of up to 8 letters fit


def expert_cube(table: DataFrame, value: str) -> tuple[np.ndarray, list[str], list[str]]:
    """(K, L, E) values of a table with columns degradation, layer, stage, expert; its degradations and its stages."""
    with_rows(table, "A chart of expert usage")
    names, stages = list(dict.fromkeys(table.degradation)), list(dict.fromkeys(table.sort_values("layer").stage))
    order = table.set_index(["degradation", "layer", "expert"])[value].unstack(["layer", "expert"]).loc[names]
    return order.sort_index(axis=1).to_numpy(float).reshape(len(names), len(stages), -1), names, stages


def expert_panels(height: float, layers: int) -> list[tuple[Axes, slice]]:
    """Axes one above the other, `height` inches each, and the layers of each: half as many have readable numbers when
    the figure is shown half as wide."""
    from matplotlib.figure import Figure

    parts = [slice(0, layers // 2), slice(layers // 2, layers)] if layers > 4 else [slice(0, layers)]
    fig = Figure((style.WIDTH, height * len(parts)), dpi=style.DPI, layout="constrained")
    return list(zip(fig.subplots(len(parts), 1, squeeze=False)[:, 0], parts, strict=True))


def expert_matrix(ax: Axes, values_KLE: np.ndarray, names: Sequence[str], stages: Sequence[str], text, **shades):
    """`matrix` whose columns are the experts of each layer side by side, with the layer's name above them."""
    rows, layers, experts = values_KLE.shape
    numbers = [str(expert) for expert in range(experts)] * layers
    size = style.SMALL - 0.5 if layers * experts > 16 else 10.5
    matrix(ax, values_KLE.reshape(rows, -1), names, numbers, text, size=size, **shades)
    ax.tick_params(axis="x", labelsize=style.SMALL)
    for layer, stage in enumerate(stages):
        ax.axvline(layer * experts, color="white", linewidth=4 if layer else 0)
        ax.annotate(stage, ((layer + 0.5) * experts, 0), (0, 21), textcoords="offset points", ha="center", fontsize=10)


# --- means with intervals ---------------------------------------------------------------------------------------------


def mean_marks(ax: Axes, rows: DataFrame, looks: Mapping[str, tuple[str, str, bool]], size: float = 7, upright=False):
    """Means with their intervals. Columns of rows: place (on the other axis), mean, low, high (NaN: no line), look.

    looks: (colour, marker, filled) of every value of the column look. upright: the means go up, not to the right.
    """
    import seaborn.objects as so

    if rows.empty:
        return
    along, across = ("y", "x") if upright else ("x", "y")
    parts = zip(("color", "marker", "fill"), zip(*looks.values(), strict=True), strict=True)
    scales = {name: dict(zip(looks, part, strict=True)) for name, part in parts}
    ends = {f"{along}min": "low", f"{along}max": "high"}
    plot = so.Plot(rows, **{along: "mean", across: "place"}, color="look", marker="look", fill="look")
    plot = plot.add(so.Range(linewidth=2.2), legend=False, orient=across, **ends)
    plot.add(so.Dot(pointsize=size, stroke=1.6), legend=False).scale(**scales).on(ax).plot()
    dots = ax.collections[-1]  # hollow marks are transparent: white hides the interval behind them
    dots.set_facecolor(np.where(dots.get_facecolor()[:, 3:] == 0, 1.0, dots.get_facecolor()))


def row_labels(ax: Axes, labels: Sequence[str], xlabel: str, notes: Sequence[str] = (), head: str = "") -> None:
    """Axes of a chart with one row per label: the label at the left, a note at the right below `head`, a light grid."""
    beside = {"transform": ax.get_yaxis_transform(), "fontsize": style.SMALL + 0.5}
    for y, note in enumerate(notes):
        ax.text(1.02, y, note, va="center", weight="bold" if labels[y] == "average" else "normal", **beside)
    ax.text(1.02, -0.72, head, va="bottom", **beside)
    ax.set(ylim=(len(labels) - 0.4, -0.6), xlabel=xlabel, ylabel="")
    ax.set_yticks(range(len(labels)), map(letters, labels))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    ax.set_axisbelow(True)


def where_interval(lows: Iterable[float], words: str) -> str:
    """The words about an interval where some mean has one: `lows` are its lower ends, NaN without."""
    return words if np.isfinite(list(lows)).any() else ""


def number(mean: float, low: float, high: float, form: str) -> str:
    """ "+0.40 (+0.20 to +0.60)" with true minus signs; the mean alone without an interval."""
    return minus(with_interval(mean, low, high, form))


# --- pictures ---------------------------------------------------------------------------------------------------------


def show(ax: Axes, x: Tensor | None, below: str = "", title: str = "", size: float = 10.5, smooth=False) -> None:
    """A (3, H, W) picture in [0, 1] or an (H, W) map on its own scale, without axes; None leaves the place empty.

    smooth: for pictures with more pixels than are drawn; else every pixel is a square.
    """
    if x is None:
        ax.text(0.5, 0.5, "none", ha="center", va="center", transform=ax.transAxes)
    else:
        x = x.detach().cpu().float()
        pixels = (x.clamp(0, 1).permute(1, 2, 0) if x.ndim == 3 else x).numpy()
        ax.imshow(pixels, cmap="cividis", interpolation="antialiased" if smooth else "nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_title(title, loc="center", fontsize=size)
    ax.set_xlabel(below, labelpad=3, fontsize=size)


def picture_table(rows: Sequence[tuple[str, Sequence, Sequence[str]]], titles: Sequence[str], size=10.5) -> Figure:
    """A figure of pictures in rows (label, pictures, text below each), with titles above the columns."""
    from matplotlib.figure import Figure

    cell = (style.WIDTH - 0.55) / len(titles)
    tall = sum(cell * images[0].shape[-2] / images[0].shape[-1] + 0.28 for _, images, _ in rows)
    dpi = style.DPI if len(rows) < 3 else style.PICTURE_DPI
    fig = Figure((style.WIDTH, tall + 0.3), dpi=dpi, layout="constrained")
    fig.get_layout_engine().set(w_pad=0.03, h_pad=0.03, hspace=0, wspace=0)
    for axes, (label, images, notes) in zip(fig.subplots(len(rows), len(titles), squeeze=False), rows, strict=True):
        for ax, image, note, title in zip(axes, images, notes, titles, strict=True):
            smooth = image is not None and image.shape[-1] > 1.1 * cell * dpi
            show(ax, image, note, title if ax.get_subplotspec().is_first_row() else "", size, smooth)
        axes[0].set_ylabel(label, fontsize=10.5, labelpad=6)
    return fig
