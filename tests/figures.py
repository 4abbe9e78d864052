"""What every figure must keep to, whatever it draws."""

from collections.abc import Collection

import matplotlib
from matplotlib.figure import Figure

from slerlib.plots import style


def check_texts(fig: Figure, undrawn: Collection = ()) -> None:
    """Every visible text lies inside the figure and is readable at 600 pixels. The figure was drawn just before."""
    for text in set(fig.findobj(matplotlib.text.Text)) - set(undrawn):
        if text.get_text() and text.get_visible() and all(ax.get_visible() for ax in [text.axes] if ax):
            box, edge = text.get_window_extent(), fig.bbox
            inside = box.x0 >= edge.x0 and box.y0 >= edge.y0 and box.x1 <= edge.x1 and box.y1 <= edge.y1
            assert inside, text.get_text()
            assert text.get_fontsize() / 72 * 600 / style.WIDTH >= 9, text.get_text()
