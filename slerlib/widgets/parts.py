"""The widgets of which explorers are made, built on ipywidgets with anywidget; import it where live controls are shown.

Each is a few traits here and a file of JavaScript beside: what is painted, turned or chosen happens in the browser.
"""

from __future__ import annotations

from pathlib import Path

import anywidget
from traitlets import Bytes, Dict, Float, Int, List, Unicode

from ..errors import UserError

FOLDER = Path(__file__).parent
CSS = (FOLDER / "front.css").read_text(encoding="utf-8")
MOST_BYTES = 100_000_000  # of an uploaded file


def _script(name: str) -> str:
    return (FOLDER / f"{name}.js").read_text(encoding="utf-8")


class View(anywidget.AnyWidget):
    """A line of numbers, pictures and drawings; `frame` is what it shows, all of it in one message."""

    _esm, _css = _script("view"), CSS
    frame = Dict({"number": 0}).tag(sync=True)


class Brush(anywidget.AnyWidget):
    """A photograph to paint on.

    value: the mask, a byte for each of size = [rows, columns] places, 255 where it is painted. photo: JPEG. radius: of
    the brush, in places.
    """

    _esm, _css = _script("brush"), CSS
    value = Bytes().tag(sync=True, from_json=lambda value, widget: bytes(value))
    photo = Bytes().tag(sync=True)
    size = List([1, 1]).tag(sync=True)
    radius = Float(8.0).tag(sync=True)


class Globe(anywidget.AnyWidget):
    """A globe to turn; `scene` holds its marks and cells, in three coordinates."""

    _esm, _css = _script("globe"), CSS
    scene = Dict().tag(sync=True)


class Upload(anywidget.AnyWidget):
    """A button that takes one file of the reader.

    take: called with the name and the bytes of a file. refuse: called with the `UserError` of one that is too large.
    """

    _esm, _css = _script("upload"), CSS
    description = Unicode("own picture").tag(sync=True)
    most = Int(MOST_BYTES).tag(sync=True)

    def __init__(self, take, refuse, **traits):
        super().__init__(**traits)
        self._take, self._refuse, self._name, self._pieces = take, refuse, "", []
        self.on_msg(self._on_message)

    def _on_message(self, _, content: dict, buffers: list) -> None:
        kind = content.get("kind")
        if kind == "large":
            size, most = content["size"] / 1e6, self.most / 1e6
            words = (
                f"A file for upload has at most {most:.0f} MB; {content['name']} has {size:.0f} MB. Make it smaller."
            )
            self._refuse(UserError(words))
        elif kind == "begin":
            self._name, self._pieces = content["name"], []
        elif kind == "piece":
            self._pieces += [bytes(buffer) for buffer in buffers]
        elif kind == "end":
            pieces, self._pieces = self._pieces, []
            self._take(self._name, b"".join(pieces))
