"""The style of all figures, their colours, and their display in Jupyter with a description.

Colours are those of Okabe and Ito (2008), and for eight classes some more, all safe for the common colour blindnesses
(tests/test_plots.py simulates them); a marker, number or word always repeats the meaning of a colour. Text stays
readable in a figure that is shown 600 pixels wide. The figures do not use pyplot, so that no figure stays open or is
shown twice.
"""

from __future__ import annotations

import base64
import functools
import io
import itertools
import os
import threading
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from ..config import CLASSES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.5  # inches of a figure; 100 screen pixels each
DPI = 160
PICTURE_DPI = 110  # three pictures of 256 pixels side by side are then shown pixel by pixel
BLUE, ORANGE, GREEN, VERMILLION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
SKY, YELLOW, BLACK, GREY = "#56B4E9", "#F0E442", "#000000", "#6E6E6E"
EXPERT_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW, GREY)
# chosen so that no two fall together for protanopes, deuteranopes and tritanopes, also as pale bands; in this order:
# noise15, noise25, noise50, rain, haze, blur, lowlight, clean
CLASS_COLOURS = (SKY, BLUE, BLACK, "#0000B2", "#CCB299", "#666666", VERMILLION, "#4C3300")
CLASS_MARKERS = "ovs^DPXh"
OTHER_MARKERS = "*<>p"  # degradations without an anchor of their own, with a black edge
OTHER_FILLS = ("white", YELLOW, SKY, VERMILLION)
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "text.parse_math": False,  # a $ in a name is a letter; no figure has a formula
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelcolor": "#333333",
    "xtick.labelsize": 10,
    "ytick.labelsize": 10.5,
    "legend.frameon": False,
    "legend.fontsize": 10,
}
SMALL = 9
DARK, MIDDLE = ("#000000", "#333333"), "#787878"  # of words; a contrast of 4.4 to white and to the black of JupyterLab
TURN = (
    '[data-jp-theme-light="false"] img.slerlib-png '
    "{ filter: invert(0.933) hue-rotate(180deg); } img.slerlib-png, img.slerlib-jpeg "
    "{ max-width: 100%; height: auto; }"
)
_drawing = threading.RLock()  # the settings of matplotlib belong to all threads; JupyterLab runs widgets in their own


def styled(draw):
    """Run a drawing function in this module's style, without the user's own matplotlib settings."""

    @functools.wraps(draw)
    def wrapper(*args, **kwargs):
        import matplotlib

        with _drawing, matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            return draw(*args, **kwargs)

    return wrapper


def canvas(ax: Axes | None, height: float) -> Axes:
    """`ax`, or the axes of a new figure that is `height` inches high."""
    from matplotlib.figure import Figure

    return ax or Figure((WIDTH, height), dpi=DPI, layout="constrained").add_subplot()


def letters(text: str) -> str:
    """The text with codes for letters that no font has: names of files from an old disk may not be UTF-8."""
    return str(text).encode(errors="backslashreplace").decode()


def finished(fig: Figure, alt_text: str, kind: str = "png") -> Figure:
    """The figure with its description, which Jupyter stores as the alt text of the picture."""
    from matplotlib.text import Text

    for text in fig.findobj(Text):
        if text.get_text() != letters(text.get_text()):
            text.set_text(letters(text.get_text()))
    fig.alt_text, fig.kind = letters(alt_text), kind
    fig._ipython_display_ = functools.partial(show_figure, fig)
    return fig


def encoded(fig: Figure) -> tuple[bytes, dict[str, str | int]]:
    """A finished figure as a PNG or JPEG file (`fig.kind`), and its alt text and width on the screen in pixels."""
    options = {"pil_kwargs": {"quality": 85}} if fig.kind == "jpeg" else {}
    picture = io.BytesIO()
    fig.savefig(picture, format=fig.kind, **options)
    return picture.getvalue(), {"alt": fig.alt_text, "width": round(100 * fig.get_size_inches()[0])}


def on_any_page(fig: Figure) -> str:
    """A finished figure as HTML that follows the theme of JupyterLab: no white slab in a dark one.

    A chart keeps its white paper, and a dark theme turns it (hues stay). A figure of photographs has no paper, and its
    words are of a grey that is read on white and on black.
    """
    if fig.kind == "png":
        (file, notes), kind = encoded(fig), "png"
    else:
        kind, notes, picture = "webp", encoded(fig)[1], io.BytesIO()
        before = _recoloured(fig, dict.fromkeys(DARK, MIDDLE))
        fig.savefig(picture, format=kind, transparent=True, pil_kwargs={"quality": 85})
        for text, colour in before:
            text.set_color(colour)
        file = picture.getvalue()
    source = f"data:image/{kind};base64,{base64.b64encode(file).decode()}"
    image = f'<img class="slerlib-{fig.kind}" src="{source}" alt="{escape(notes["alt"])}" width="{notes["width"]}">'
    return f"<style>{TURN}</style>{image}"


def _recoloured(fig: Figure, colours: dict[str, str]) -> list[tuple]:
    """Give the words of a figure other colours -> (text, colour as it was)."""
    from matplotlib.colors import to_hex
    from matplotlib.text import Text

    before = [(text, text.get_color()) for text in fig.findobj(Text) if to_hex(text.get_color()) in colours]
    for text, colour in before:
        text.set_color(colours[to_hex(colour)])
    return before


def show_figure(fig: Figure, **options) -> None:
    """Show a finished figure in a notebook; options: of `IPython.display.display`, such as display_id.

    With SLERLIB_PHOTOGRAPHS=clear those of photographs have no paper, also where nobody attends: for a page.
    """
    from IPython.display import display

    if attended() or (fig.kind == "jpeg" and os.environ.get("SLERLIB_PHOTOGRAPHS") == "clear"):
        with _drawing:
            display({"text/html": on_any_page(fig), "text/plain": fig.alt_text}, raw=True, **options)
        return
    picture, notes = encoded(fig)
    name = f"image/{fig.kind}"
    display({name: picture, "text/plain": fig.alt_text}, metadata={name: notes}, raw=True, **options)


def attended() -> bool:
    """Whether a person can answer at the front end that runs this cell, and so move a control.

    The request that runs a cell shows it: its field `allow_stdin` is true where the front end can answer `input()`.
    JupyterLab, Jupyter Notebook and VS Code can; nbclient, which runs notebooks for papermill, nbconvert and reports,
    cannot. Voila runs them in that way too, but for a person, and says who it is.
    """
    if os.environ.get("SERVER_SOFTWARE", "").startswith("voila/"):
        return True
    from IPython import get_ipython

    shell = get_ipython()
    request = shell.get_parent() if hasattr(shell, "get_parent") else {}  # a terminal has no front end
    return bool(request.get("content", {}).get("allow_stdin"))


def class_looks(names: Sequence[str], labels: Sequence[str]) -> dict[str, dict[str, str]]:
    """Marker and colour of every anchor's name, then of the labels that have no anchor.

    A class of `CLASSES` looks the same in every figure; other names take the free looks in order.
    """
    places = {name: k for k, name in enumerate(CLASSES) if name in names}
    free = (k for k in itertools.count() if k not in places.values())
    looks = {}
    for name in names:
        k = places[name] if name in places else next(free)
        looks[name] = {
            "marker": CLASS_MARKERS[k % len(CLASS_MARKERS)],
            "color": CLASS_COLOURS[(k + k // len(CLASS_MARKERS)) % len(CLASS_COLOURS)],
        }
    for k, label in enumerate(label for label in dict.fromkeys(labels) if label not in names):
        turn, k = divmod(k, len(OTHER_MARKERS))
        fill = OTHER_FILLS[turn % len(OTHER_FILLS)]
        looks[label] = {"marker": OTHER_MARKERS[k], "color": BLACK, "markerfacecolor": fill}
    return looks


def expert_colour(expert: int) -> str:
    return EXPERT_COLOURS[expert % len(EXPERT_COLOURS)]


def tint(colour: str, strength: float) -> tuple[float, float, float]:
    """The colour mixed with white; strength 1 is the colour itself."""
    from matplotlib.colors import to_rgb

    return tuple(1 - strength * (1 - part) for part in to_rgb(colour))


def ink(colour: str | Sequence[float]) -> str:
    """Black or white, whichever stands out more (relative luminance as in WCAG 2)."""
    from matplotlib.colors import to_rgb

    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if luminance < 0.179 else "black"
