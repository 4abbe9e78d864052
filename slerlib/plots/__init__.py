"""Figures, each a function that returns a matplotlib Figure with `alt_text`; matplotlib loads when one is drawn.

    slerlib.plots.path_chart(table.path, table.task)          # as the last line of a cell, shows itself
    fig = slerlib.plots.gain_chart(table)
    fig.savefig("gain.png"); print(fig.alt_text)

scores.py draws restorations, scores, paths and angles; routing.py expert usage; causal.py what routes do to the
picture; style.py holds the one style and its colours.
"""

from .causal import guide_maps, knockout_matrix, rules_chart, swap_matrix, walk_chart
from .routing import hamming_matrix, nmi_chart, path_flow, severity_chart, usage_maps
from .scores import angle_bars, angle_table, gain_chart, path_chart, picture_grid, sphere_view

__all__ = [
    "angle_bars",
    "angle_table",
    "gain_chart",
    "guide_maps",
    "hamming_matrix",
    "knockout_matrix",
    "nmi_chart",
    "path_chart",
    "path_flow",
    "picture_grid",
    "rules_chart",
    "severity_chart",
    "sphere_view",
    "swap_matrix",
    "usage_maps",
    "walk_chart",
]
