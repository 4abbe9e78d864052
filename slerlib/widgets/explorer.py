"""What every explorer is: controls, a line of numbers, figures below, and a still twin for pages without a person.

    explorer.set(severity=0.8)      # as if a person had moved the slider
    explorer.now.values["psnr"]     # the numbers that are shown
    explorer.static()               # figures for a few fixed values

Live controls need someone who moves them. The request that runs the cell shows whether there is someone: its field
`allow_stdin` is true where the front end can answer `input()`. JupyterLab, Jupyter Notebook and VS Code can; nbclient,
which runs notebooks for papermill, nbconvert and the reports of this package, cannot.
"""

from __future__ import annotations

import base64
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor

from ..errors import UserError
from ..images.files import read_image
from ..plots.style import VERMILLION, encoded

if TYPE_CHECKING:
    from ipywidgets import ValueWidget, VBox
    from matplotlib.figure import Figure

    from ..model.network import SLERIR

Photograph = str | os.PathLike | Image.Image | Tensor
SIDE = 256  # central pixels of a photograph that are shown and restored: an answer within a second on a laptop


@dataclass(frozen=True)
class Look:
    """What an explorer shows for one setting of its controls."""

    line: str  # the numbers, in words
    figures: tuple[Figure, ...]
    values: dict[str, object]  # the same as data: pictures, scores, traces, tables


class Explorer:
    """Shows itself as the last line of a cell: live controls for a person, else the figures of `static`.

    make_controls: () -> ipywidgets by name, each with a description and a `value`; called when they are first needed.
    look: called with the controls' values by name. still: () -> figures for a few fixed values. buttons: settings by
        the words on the button, as `set` takes them.
    Attributes: `controls`, by name; `now`, the `Look` that is shown, None before the first and after an error; `error`,
    the line that is shown instead, or "".
    """

    def __init__(self, make_controls: Callable, look: Callable[..., Look], still: Callable, buttons: Mapping = None):
        self._make_controls, self._look, self._still, self._buttons = make_controls, look, still, buttons or {}
        self.now: Look | None = None
        self.error = ""
        self._held = False

    def static(self) -> list[Figure]:
        """The same at a few fixed values, as figures with alt text."""
        return list(self._still())

    @cached_property
    def controls(self) -> dict[str, ValueWidget]:
        controls = self._make_controls()
        for control in controls.values():
            control.observe(lambda change: self.refresh(), "value")
        return controls

    @cached_property
    def panel(self) -> VBox:
        """Everything on the screen: buttons, controls, the line, the figures."""
        from ipywidgets import HTML, Box, Button, VBox

        self._line, self._figures = HTML(), HTML()
        buttons = [Button(description=words) for words in self._buttons]
        for button, settings in zip(buttons, self._buttons.values(), strict=True):
            button.on_click(lambda button, settings=settings: self.set(**settings))
            button.layout.width = "auto"
        in_a_row = {"flex_flow": "row wrap", "grid_gap": "0 14px"}
        rows = [Box(row, layout=in_a_row) for row in (buttons, list(self.controls.values())) if row]
        return VBox([*rows, self._line, self._figures])

    def set(self, **settings) -> None:
        """Set controls by name and look once, however many they are.

        Raises UserError for what they do not take; all controls are then as before.
        """
        from traitlets import TraitError

        if unknown := settings.keys() - self.controls.keys():
            raise UserError(f"The controls are {', '.join(self.controls)}; got {', '.join(unknown)}. Correct the name.")
        before = {name: self.controls[name].value for name in settings}
        self._held = True
        try:
            for name, value in settings.items():
                self.controls[name].value = value
                if self.controls[name].value != value:  # a number out of range is moved into it, without an error
                    raise TraitError(f"it would become {self.controls[name].value!r}")
        except TraitError as error:
            for earlier, old in before.items():
                self.controls[earlier].value = old
            raise UserError(f"{name} does not take {value!r} ({error}). Choose what the control offers.") from None
        finally:
            self._held = False
        self.refresh()

    def refresh(self) -> None:
        """Look again, unless `set` is still at work. An error is shown as one line in the same place."""
        if self._held:
            return
        self.panel  # noqa: B018 - made now if it was not yet
        self._line.value = _line("working ...")
        try:
            self.now, self.error = self._look(**{name: c.value for name, c in self.controls.items()}), ""
            shown = "".join(map(_picture, self.now.figures))
        except Exception as error:  # of a callback: a traceback would land in a log that nobody sees
            self.now, shown = None, ""
            self.error = " ".join(str(error).split()) or type(error).__name__
        self._line.value = _line(self.now.line) if self.now else _line(self.error, VERMILLION)
        self._figures.value = shown

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if not attended():
            for fig in self.static():
                display(fig)
            return
        if self.now is None:
            self.refresh()
        display(self.panel)


def attended() -> bool:
    """Whether a person can answer at the front end that runs this cell, and so move a control."""
    from IPython import get_ipython

    shell = get_ipython()
    request = shell.get_parent() if hasattr(shell, "get_parent") else {}  # a terminal has no front end
    return bool(request.get("content", {}).get("allow_stdin"))


def dropdown(name: str, options: Sequence, value, width: str = "13em"):
    """A list to choose from, with its name before it."""
    from ipywidgets import Dropdown

    style = {"description_width": "initial"}
    return Dropdown(description=name, options=options, value=value, style=style, layout={"width": width})


def slider(name: str, value: float, step: float):
    """From 0 to 1; it reports when it is let go, so that the places on the way are not looked at."""
    from ipywidgets import FloatSlider

    options = {"min": 0.0, "max": 1.0, "step": step, "continuous_update": False}
    return FloatSlider(description=name, value=value, style={"description_width": "initial"}, **options)


def network(model: SLERIR) -> SLERIR:
    """The model itself. Raises UserError for anything else, such as the name of a checkpoint."""
    from ..model.network import SLERIR

    if not isinstance(model, SLERIR):
        raise UserError(f"The model must be a SLERIR network; got {type(model).__name__}. Try slerlib.load('tiny').")
    return model


def central(image: Photograph, side: int) -> Tensor:
    """(3, H, W) of at most side x side pixels, from the middle of a photograph. Raises UserError for no photograph."""
    from ..evaluation.cases import centre

    if side < 1:
        raise UserError(f"side is how many central pixels are used, 1 or more; got {side!r}. Leave it out for {SIDE}.")
    if isinstance(image, (str, os.PathLike, Image.Image)):
        image, meta = read_image(image)
        for note in meta.notes:  # of an animation, for example
            warnings.warn(note, stacklevel=3)
    if not isinstance(image, Tensor) or image.ndim != 3:
        raise UserError(
            "An explorer needs a clean photograph: a (3, H, W) tensor in [0, 1], a PIL image or the path of a file; "
            f"got {(*image.shape,) if isinstance(image, Tensor) else type(image).__name__}. Pass one photograph."
        )
    return centre(image, side)


def _line(words: str, colour: str = "inherit") -> str:
    """Marked as a status, which screen readers may read out when it changes."""
    return f'<div role="status" style="color: {colour}; line-height: 1.4">{escape(words)}</div>'


def _picture(fig: Figure) -> str:
    """The figure as HTML: an Image of ipywidgets has no place for alt text."""
    file, notes = encoded(fig)
    data = f"data:image/{fig.kind};base64,{base64.b64encode(file).decode()}"
    return f'<img src="{data}" alt="{escape(notes["alt"])}" width="{notes["width"]}" style="max-width: 100%">'
