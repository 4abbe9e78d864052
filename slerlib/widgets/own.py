"""A picture of the reader: restored, with where the network sees what, and the result to save."""

from __future__ import annotations

import base64
import io
from functools import partial
from html import escape
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional as F

from .. import plots
from ..data.degrade import degrade
from ..images.files import read_bytes, to_pil
from ..inference.restore import restore
from . import drawing
from .album import Album
from .explorer import Explorer, dropdown, network
from .frames import Look, Picture
from .painting import best_route, class_shares, map_pixels

if TYPE_CHECKING:
    from ..model.network import SLERIR

LONGEST = 1024  # pixels of an own picture that is restored here; larger ones are made smaller
EXAMPLES = {"example: rain": ("cat", "rain"), "example: haze": ("china", "haze"), "example: noise": ("coffee", "noise")}


class _Pictures(Album):
    """Whole pictures as they are, not clean photographs to be damaged."""

    def __init__(self):
        self._own, self.sizes = {}, {}

    @property
    def names(self) -> list[str]:
        return [*self._own, *(name for name in EXAMPLES if name not in self._own)]

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._own:
            from ..data.scenes import photographs

            photograph, kind = EXAMPLES[name]
            scene = next(scene for scene in photographs() if scene.name == photograph)
            self._own = self._own | {name: degrade(scene.image, kind, 0.5, 0)}
        return self._own[name]

    def add(self, name: str, data: bytes) -> str:
        x_CHW = read_bytes(data, name)[0]
        self.sizes[name] = tuple(x_CHW.shape[1:])
        factor = LONGEST / max(x_CHW.shape[1:])
        if factor < 1:
            size = [max(round(length * factor), 1) for length in x_CHW.shape[1:]]
            x_CHW = F.interpolate(x_CHW[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)
        self._own = {name: x_CHW} | self._own
        return name


def own_picture(model: SLERIR) -> Explorer:
    """Explorer of a picture that the reader brings: restored, the class seen at each place, and the result to save.

    Pictures of more than 1024 pixels a side are made smaller first and say so. Controls: picture (three examples, and a
    file of the reader), passes (as for `restore`). Values: picture, restored, trace. Raises UserError for no network.
    """
    network(model)
    album = _Pictures()

    def make_controls():
        return {"passes": dropdown("passes", [1, 2, 3], 1, "9em", "How often the network restores its own result")}

    return Explorer(
        "Own picture", make_controls, partial(_look, model, album), partial(_still, model, album), album=album
    )


def _look(model: SLERIR, album: _Pictures, picture: str, passes: int) -> Look:
    x_CHW = album[picture]
    y_CHW, trace = restore(model, x_CHW, passes=passes, route=best_route(model), return_trace=True)
    height, width = x_CHW.shape[1:]
    line = f"{picture}, {width} x {height} pixels: looks like {trace.nearest_anchor()[0]} "
    line += (
        f"({trace.anchor_angle.min():.0f} degrees away); changed by {255 * (y_CHW - x_CHW).abs().mean():.1f} levels "
    )
    line += f"of 256; path {trace.path_strings()[0]}."
    if (full := album.sizes.get(picture, (height, width))) != (height, width):
        line += f" It was {full[1]} x {full[0]} and is made smaller here; in full size: slerlib restore IN OUT."
    if flags := trace.flags()[0]:
        line += f" Reasons for doubt: {', '.join(flags)}."
    shares = ", ".join(f"{kind} {share:.0%}" for kind, share in class_shares(trace).items())
    pictures = (
        Picture("as it is", x_CHW, wide=360),
        Picture("restored", y_CHW, wide=360),
        Picture("nearest class", map_pixels(trace, height, width), shares, wide=360),
    )
    looks = plots.style.class_looks(trace.anchor_names, ())
    key = drawing.key({kind: looks[kind]["color"] for kind in class_shares(trace)}, "nearest class at each place")
    bars = drawing.angles(trace.anchor_angle[0].tolist(), trace.anchor_names, trace.own_limits()[0].angle)
    drawings = (bars, f"<div>{key}<br>{_save(y_CHW, picture)}</div>")
    return Look(line, pictures, {"picture": x_CHW, "restored": y_CHW, "trace": trace}, drawings)


def _save(y_CHW: Tensor, name: str) -> str:
    """A link that saves the result."""
    file = io.BytesIO()
    to_pil(y_CHW).save(file, "png", compress_level=1)
    stem = name.removeprefix("example: ").rpartition(".")[0] or name.removeprefix("example: ")
    source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return f'<a href="{source}" download="{escape(stem)}_restored.png">save the restored picture (PNG)</a>'


def _still(model: SLERIR, album: _Pictures):
    x_CHW = album[album.names[-1]]
    y_CHW, trace = restore(model, x_CHW, route=best_route(model), return_trace=True)
    row = plots.picture_row([("a picture as it is", x_CHW), ("the same picture restored", y_CHW)])
    return [row, plots.where_map({"": (x_CHW, trace)})]
