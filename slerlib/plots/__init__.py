"""Figures, each a function that returns a matplotlib Figure with `alt_text`; matplotlib loads when one is drawn.

    slerlib.plots.path_chart(table.path, table.task)          # as the last line of a cell, shows itself
    fig = slerlib.plots.gain_chart(table)
    fig.savefig("gain.png"); print(fig.alt_text)

scores.py draws restorations, scores, paths and angles; pictures.py pictures without scores; degradations.py every
degradation at every severity; sphere.py maps and globes of embeddings; cells.py the regions of each layer's experts on
them; routing.py expert usage; causal.py what routes do to the picture; training.py a training as it goes; ablations.py
what mechanisms are worth; comparison.py two runs side by side; style.py the one style.
"""

from .ablations import ablation_gaps
from .causal import arc_chart, guide_maps, knockout_matrix, rules_chart, swap_matrix, walk_chart
from .cells import cell_view
from .comparison import delta_chart, side_by_side
from .degradations import degradation_grid
from .pictures import picture_row
from .routing import hamming_matrix, nmi_chart, path_flow, severity_chart, usage_maps
from .scores import angle_bars, angle_table, gain_chart, path_chart, picture_grid, sphere_view
from .sphere import globe_view, map_view
from .training import training_curves

__all__ = [
    "ablation_gaps",
    "angle_bars",
    "angle_table",
    "arc_chart",
    "cell_view",
    "degradation_grid",
    "delta_chart",
    "gain_chart",
    "globe_view",
    "guide_maps",
    "hamming_matrix",
    "knockout_matrix",
    "map_view",
    "nmi_chart",
    "path_chart",
    "path_flow",
    "picture_grid",
    "picture_row",
    "rules_chart",
    "severity_chart",
    "side_by_side",
    "sphere_view",
    "swap_matrix",
    "training_curves",
    "usage_maps",
    "walk_chart",
]
