"""Figures, each a function that returns a matplotlib Figure with `alt_text`; matplotlib loads when one is drawn.

    slerlib.plots.path_chart(table.path, table.task)          # as the last line of a cell, shows itself
    fig = slerlib.plots.gain_chart(table)
    fig.savefig("gain.png"); print(fig.alt_text)

`alt_text` describes the figure with its numbers; notebooks and pages use it as the picture's alt text. Functions of one
panel take `ax`, to draw in a figure of yours. Read in this order:

    style.py      the one style: colours, sizes, how a figure shows itself
    marks.py      parts of several figures: grids of numbers, means with intervals, pictures
    pictures.py   pictures before and after, by severity, by mask, side by side
    where.py      the class and the experts of each place
    scores.py     scores, differences of two runs, ablations
    training.py   the course of a training: loss, held-out scores, routes, time
    forming.py    the sphere while a training forms it
    angles.py     images among the anchors, angles
    routing.py    paths and expert usage
    causal.py     the effect of routes on the picture
    sphere.py     maps and globes of embeddings
    cells.py      the regions of each layer's experts on such a map
"""

from .angles import angle_bars, angle_table, sphere_view
from .causal import arc_chart, knockout_matrix, rules_chart, shown_cells, swap_matrix, walk_chart
from .cells import cell_view
from .forming import forming_chart, forming_film, forming_view
from .pictures import degradation_grid, guide_maps, mask_grid, picture_grid, picture_row, side_by_side
from .routing import hamming_matrix, nmi_chart, path_chart, path_flow, severity_chart, usage_maps
from .scores import ablation_gaps, delta_chart, gain_chart, part_chart
from .sphere import globe_view, map_view
from .training import loss_terms, pace_chart, progress_chart, settling_chart, training_curves, two_trainings
from .where import path_maps, where_map

__all__ = [
    "ablation_gaps", "angle_bars", "angle_table", "arc_chart", "cell_view", "degradation_grid", "delta_chart",
    "forming_chart", "forming_film", "forming_view", "gain_chart", "globe_view", "guide_maps", "hamming_matrix",
    "knockout_matrix", "loss_terms", "map_view", "mask_grid", "nmi_chart", "pace_chart", "part_chart",
    "path_chart", "path_flow", "path_maps", "picture_grid", "picture_row", "progress_chart", "rules_chart",
    "settling_chart", "severity_chart", "shown_cells", "side_by_side", "sphere_view", "swap_matrix",
    "training_curves", "two_trainings", "usage_maps", "walk_chart", "where_map",
]  # fmt: skip
