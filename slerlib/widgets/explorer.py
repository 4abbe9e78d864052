"""What every explorer is: controls, a line of numbers, pictures below, and a still twin for pages without a person.

    explorer.set(severity=0.8)      # as if a person had moved the slider
    explorer.now.values["psnr"]     # the numbers that are shown
    explorer.static()               # figures for a few fixed values

A slider reports while it is dragged. ipywidgets keeps one message on its way for each control and, while the kernel
works on it, only the newest of those that follow; so a look that comes too late is never made, and the last one is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ..errors import UserError
from ..plots.style import attended
from . import frames
from .album import Album
from .frames import Look

if TYPE_CHECKING:
    from ipywidgets import DOMWidget, ValueWidget, VBox
    from matplotlib.figure import Figure

    from ..model.network import SLERIR


class Explorer:
    """Shows itself as the last line of a cell: live controls for a person, else the figures of `static`.

    name: of the explorer, for a person. make_controls: () -> ipywidgets by name, each with a description and a `value`;
    called when they are first needed. look: called with the controls' values by name. still: () -> figures for a few
    fixed values. buttons: by the words on them what they do. album: photographs for the control `picture`, to which the
    reader may add one. stage: () -> the widget beside the pictures, a globe or a canvas. quiet: names of controls that
    change nothing of a look.
    Attributes: `controls`, by name; `now`, the `Look` that is shown, None before the first and after an error; `error`,
    the line that is shown instead, or "".
    """

    def __init__(
        self, name: str, make_controls: Callable, look: Callable[..., Look], still: Callable,
        buttons: Mapping | None = None, album: Album | None = None, stage: Callable | None = None,
        quiet: Sequence[str] = (),
    ):  # fmt: skip
        self.name, self._make_controls, self._look, self._still = name, make_controls, look, still
        self._buttons, self._album, self._make_stage, self._quiet = buttons or {}, album, stage, quiet
        self.now: Look | None = None
        self.error, self._number, self._held = "", 0, False
        self._lock = threading.RLock()  # JupyterLab runs widgets in a thread of their own

    def static(self) -> list[Figure]:
        """The same at a few fixed values, as figures with alt text."""
        return list(self._still())

    @cached_property
    def controls(self) -> dict[str, ValueWidget]:
        controls = self._make_controls()
        if self._album is not None:
            first = dropdown("picture", self._album.names, self._album.names[0], tip="Photograph that is shown")
            controls = {"picture": first} | controls
        for name, control in controls.items():
            if name not in self._quiet:
                control.observe(lambda change: self.refresh(), "value")
        return controls

    @cached_property
    def stage(self) -> DOMWidget | None:
        return self._make_stage() if self._make_stage else None

    @cached_property
    def _view(self):
        from .parts import View

        return View()

    @cached_property
    def panel(self) -> VBox:
        """Everything on the screen: buttons, controls, the line, the pictures."""
        from ipywidgets import Box, Button, VBox

        from .parts import Upload

        buttons = [Button(description=words, tooltip=f"Set the controls: {words}") for words in self._buttons]
        for button, settings in zip(buttons, self._buttons.values(), strict=True):
            button.on_click(lambda button, settings=settings: self.set(**settings()))
            button.layout.width = "auto"
        shown = [control for control in self.controls.values() if control is not self.stage]
        shown += [Upload(self.take, self.complain)] if self._album is not None else []
        wrap = {"flex_flow": "row wrap", "grid_gap": "0 14px"}
        parts = [part for part in (self.stage, self._view) if part is not None]
        rows = [Box(row, layout=wrap) for row in (buttons, shown, parts) if row]
        return VBox(rows, layout={"max_width": "100%"})

    def set(self, **settings) -> None:
        """Set controls by name and look once, however many they are.

        Raises UserError for what they do not take; all controls are then as before.
        """
        from traitlets import TraitError

        if unknown := settings.keys() - self.controls.keys():
            raise UserError(f"The controls are {', '.join(self.controls)}; got {', '.join(unknown)}. Correct the name.")
        with self._lock:
            before = {name: self.controls[name].value for name in settings}
            self._held = True
            try:
                for name, value in settings.items():
                    control = self.controls[name]
                    for _ in range(3):  # a hand on the control may change it at the same moment
                        control.value = value
                        if (became := control.value) == value:
                            break
                    else:  # a number out of range is moved into it, without an error
                        raise TraitError(f"it would become {became!r}")
            except TraitError as error:
                for earlier, old in before.items():
                    self.controls[earlier].value = old
                raise UserError(f"{name} does not take {value!r} ({error}). Choose what the control offers.") from None
            finally:
                self._held = False
            self.refresh()

    def refresh(self) -> None:
        """Look again, unless `set` or a look is still at work. An error is shown as one line, the pictures stay."""
        with self._lock:
            if self._held:
                return
            self._held = True  # a look may set a control itself, such as a mask for a picture of another size
            try:
                self.now, self.error = self._look(**{name: c.value for name, c in self.controls.items()}), ""
                self._number += 1
                self._view.frame = self.now.message(self._number)
                if self.stage is not None:
                    with self.stage.hold_sync():
                        for trait, value in self.now.stage.items():
                            setattr(self.stage, trait, value)
            except Exception as error:  # of a callback: a traceback would land in a log that nobody sees
                self.complain(error)
            finally:
                self._held = False

    def complain(self, error: Exception) -> None:
        """Show an error as one line."""
        with self._lock:
            self.now, self.error = None, " ".join(str(error).split()) or type(error).__name__
            self._number += 1
            self._view.frame = frames.error(self._number, self.error)

    def take(self, name: str, data: bytes) -> None:
        """Show a picture of the reader, a file of that name; what is no picture becomes the line of an error."""
        with self._lock:
            try:
                name = self._album.add(name, data)
            except UserError as error:
                self.complain(error)
                return
            self._held = True  # new options would set the first one for a moment
            try:
                self.controls["picture"].options = self._album.names
                self.controls["picture"].value = name
            finally:
                self._held = False
            self.refresh()

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if not attended():
            for fig in self.static():
                display(fig)
            return
        if self.now is None:
            self.refresh()
        if self.now is not None:
            display({"text/html": self.now.still(self.name), "text/plain": self.now.line}, raw=True)
        # without words: where the panel cannot be shown, as in a notebook that is not trusted, the still says enough
        display(self.panel._repr_mimebundle_() | {"text/plain": ""}, raw=True)


def dropdown(name: str, options: Sequence, value, width: str = "13em", tip: str = ""):
    """A list to choose from, with its name before it. tip: what it does, for the pointer and for screen readers."""
    from ipywidgets import Dropdown

    style, tip = {"description_width": "initial"}, tip or f"Choose: {name}"
    return Dropdown(description=name, options=options, value=value, style=style, layout={"width": width}, tooltip=tip)


def slider(name: str, value: float, step: float = 0.05, low: float = 0.0, high: float = 1.0, tip: str = ""):
    """From `low` to `high`; it reports while it is dragged, and its keys are the arrows."""
    from ipywidgets import FloatSlider

    options = {"min": low, "max": high, "step": step, "continuous_update": True, "tooltip": tip or f"{name}, a slider"}
    return FloatSlider(description=name, value=value, style={"description_width": "initial"}, **options)


def number(name: str, value: int, tip: str = ""):
    """A whole number from 0 on, such as a seed."""
    from ipywidgets import BoundedIntText

    most = max(value, 2**31 - 1)
    return BoundedIntText(
        value, min=0, max=most, description=name, layout={"width": "11em"}, style={"description_width": "initial"},
        continuous_update=False, tooltip=tip or f"{name}: another number draws another case",
    )  # fmt: skip


def network(model: SLERIR) -> SLERIR:
    """The model itself. Raises UserError for anything else, such as the name of a checkpoint."""
    from ..model.network import SLERIR

    if not isinstance(model, SLERIR):
        raise UserError(f"The model must be a SLERIR network; got {type(model).__name__}. Try slerlib.load('tiny').")
    return model
