"""What every figure must keep to, whatever it draws."""

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from slerlib.plots import style


def check_texts(fig: Figure) -> None:
    """Every visible text lies inside the figure and is readable at 600 pixels. The figure was drawn just before."""
    beyond = set()
    for ax in fig.axes:  # matplotlib keeps labels of ticks past the ends of an axis and does not draw them
        low, high = sorted(ax.get_xlim())
        beyond |= {label for label in ax.get_xticklabels() if not low <= label.get_position()[0] <= high}
    for text in set(fig.findobj(matplotlib.text.Text)) - beyond:
        if text.get_text() and text.get_visible() and all(ax.get_visible() for ax in [text.axes] if ax):
            box, edge = text.get_window_extent(), fig.bbox
            inside = box.x0 >= edge.x0 and box.y0 >= edge.y0 and box.x1 <= edge.x1 and box.y1 <= edge.y1
            assert inside, text.get_text()
            assert text.get_fontsize() / 72 * 600 / style.WIDTH >= 9, text.get_text()


def marks(ax) -> set[tuple[float, str, str]]:
    """(x, colour, "full" or "hollow") of every mean that `slerlib.plots.marks.mean_marks` drew into the axes."""
    found = set()
    for dots in ax.collections:
        if isinstance(dots, PathCollection) and len(dots.get_edgecolor()) == len(dots.get_offsets()):
            for (x, _), *colours in zip(dots.get_offsets(), dots.get_edgecolor(), dots.get_facecolor(), strict=True):
                edge, face = (to_hex(colour).upper() for colour in colours)
                found.add((round(float(x), 3), edge, "hollow" if face == "#FFFFFF" else "full"))
    return found


def intervals(ax) -> list[tuple[float, float]]:
    """(low, high) of every horizontal interval of the axes."""
    lines = [line for part in ax.collections if isinstance(part, LineCollection) for line in part.get_segments()]
    return [(round(float(line[0][0]), 3), round(float(line[-1][0]), 3)) for line in lines if np.isfinite(line).all()]
