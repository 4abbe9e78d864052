"""Figures, each a function that returns a matplotlib Figure with `alt_text`; matplotlib loads when one is drawn.

    slerlib.plots.path_chart(table.path, table.task)          # as the last line of a cell, shows itself
    fig = slerlib.plots.gain_chart(table)
    fig.savefig("gain.png"); print(fig.alt_text)

scores.py draws restorations, scores, paths and angles, degradations.py every degradation at every severity, sphere.py
maps and globes of embeddings, routing.py expert usage and experiments on paths; style.py holds the one style.
"""

from .degradations import degradation_grid
from .scores import angle_bars, angle_table, gain_chart, path_chart, picture_grid, sphere_view
from .sphere import globe_view, map_view

__all__ = [
    "angle_bars",
    "angle_table",
    "degradation_grid",
    "gain_chart",
    "globe_view",
    "map_view",
    "path_chart",
    "picture_grid",
    "sphere_view",
]
