"""Figures, each a function that returns a matplotlib Figure with `alt_text`; matplotlib loads when one is drawn.

    slerlib.plots.path_chart(table.path, table.task)          # as the last line of a cell, shows itself
    fig = slerlib.plots.gain_chart(table)
    fig.savefig("gain.png"); print(fig.alt_text)

scores.py draws restorations, scores, paths and angles; degradations.py the degradations by severity; style.py holds the
one style and its colours.
"""

from .degradations import degradation_grid
from .scores import angle_bars, angle_table, gain_chart, path_chart, picture_grid, sphere_view

__all__ = ["angle_bars", "angle_table", "degradation_grid", "gain_chart", "path_chart", "picture_grid", "sphere_view"]
