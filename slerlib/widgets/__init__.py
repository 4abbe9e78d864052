"""Explorers for JupyterLab: turn a control and see what the network does.

    from slerlib import widgets
    widgets.degrade_and_restore(model, photograph)     # as the last line of a cell
    widgets.paint(model, photograph)                   # damage under the mouse
    widgets.app()                                      # all of them as a page, see `make app`

Where nobody sits at the front end - reports, papermill, nbconvert - the same line shows figures for a few fixed values
instead, those of `.static()`. ipywidgets loads when live controls are shown. Read in this order:

    explorer.py     what all share: controls, a line of numbers, pictures, the still twin
    frames.py       what is shown for one setting, as a message for the browser and as a still
    drawing.py      small drawings: angles, paths, a walk
    album.py        the photographs that an explorer offers, and the reader's own
    parts.py        the widgets in the browser: view, brush, globe, upload; their scripts lie beside
    degrading.py    degrade and restore a photograph
    damaging.py     damage alone, in two kinds and in a place
    painting.py     damage under the brush, the map of where
    routing.py      force a path, forbid experts
    turning.py      the sphere as a globe to turn
    walking.py      walk between two anchors
    scoring.py      errors of one PSNR
    own.py          a picture of the reader
    app.py          all of them as a page without code
"""

from .app import app
from .damaging import damage
from .degrading import degrade_and_restore
from .explorer import Explorer
from .frames import Look
from .own import own_picture
from .painting import paint
from .routing import forbid, route
from .scoring import same_psnr
from .turning import globe, map_globe
from .walking import walk

__all__ = [
    "Explorer", "Look", "app", "damage", "degrade_and_restore", "forbid", "globe", "map_globe", "own_picture", "paint",
    "route", "same_psnr", "walk",
]  # fmt: skip
