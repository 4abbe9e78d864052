"""Explorers for JupyterLab: turn a control and see what the network does.

    from slerlib import widgets
    widgets.degrade_and_restore(model, photograph)     # as the last line of a cell
    widgets.route(model, photograph, "rain")           # force the path, layer by layer
    widgets.walk(model, "rain", "blur")                # along the sphere from anchor to anchor

Where nobody sits at the front end - reports, papermill, nbconvert - the same line shows figures for a few fixed values
instead, those of `.static()`. ipywidgets loads when live controls are shown. Read in this order:

    explorer.py     what all share: controls, a line of numbers, figures, the still twin
    degrading.py    degrade and restore a photograph
    routing.py      force a path
    walking.py      walk between two anchors
"""

from .degrading import degrade_and_restore
from .explorer import Explorer, Look
from .routing import route
from .walking import walk

__all__ = ["Explorer", "Look", "degrade_and_restore", "route", "walk"]
