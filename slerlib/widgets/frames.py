"""What an explorer shows for one setting: numbers in words, pictures, drawings; as a message and as a still.

Pictures become JPEG bytes without matplotlib, which would take longer than the network. Legend: C channels, H W pixels.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

QUALITY = 90  # of the JPEG on the screen; the numbers are those of the pictures themselves
CSS = Path(__file__).with_name("front.css")
# A notebook that was saved is opened again: as long as the live panel is there it hides the still, and without a
# kernel the still hides the message that the panel cannot be shown.
SWITCH = """
.jp-OutputArea-child:has(.slerlib-still):has(+ .jp-OutputArea-child .slerlib-live) { display: none; }
.jp-OutputArea-child:has(.slerlib-still) + .jp-OutputArea-child:not(:has(.slerlib-live)) { display: none; }
"""


@dataclass(frozen=True)
class Picture:
    """One picture with what stands below it."""

    title: str
    pixels: Tensor | np.ndarray  # (3, H, W) in [0, 1], or (H, W, 3) uint8
    note: str = ""
    wide: int = 256  # pixels of the screen, at most; less on a narrow one

    @property
    def alt(self) -> str:
        return f"{self.title}{': ' if self.note else ''}{self.note}"

    def message(self) -> dict[str, object]:
        """What the browser gets."""
        data, (height, width) = jpeg(self.pixels), size(self.pixels)
        words = {"title": self.title, "note": self.note, "alt": self.alt}
        return words | {"data": data, "width": width, "height": height, "wide": self.wide}


@dataclass(frozen=True)
class Look:
    """What an explorer shows for one setting of its controls."""

    line: str  # the numbers, in words
    pictures: tuple[Picture, ...]
    values: dict[str, object]  # the same as data: pictures, scores, traces, tables
    drawings: tuple[str, ...] = ()  # SVG or other HTML
    stage: Mapping[str, object] = field(default_factory=dict)  # for the globe or the canvas beside: its traits
    aside: tuple[Picture | str, ...] = ()  # the same for the still, as pictures and drawings

    def message(self, number: int) -> dict[str, object]:
        pictures = [picture.message() for picture in self.pictures]
        return {"number": number, "line": self.line, "wrong": False, "pictures": pictures,
                "drawings": "".join(self.drawings)}  # fmt: skip

    def still(self, name: str) -> str:
        """The same as HTML that needs no kernel, for a notebook that is opened again."""
        figures = "".join(map(_figure, (part for part in self.aside + self.pictures if isinstance(part, Picture))))
        style = f"<style>{CSS.read_text(encoding='utf-8')}{SWITCH}</style>"
        hint = (
            f'<div class="line">{escape(self.line)}<br><i>{escape(name)}: run this cell to get its controls.</i></div>'
        )
        beside = [*(part for part in self.aside if isinstance(part, str)), *self.drawings]
        drawings = f'<div class="drawings">{"".join(beside)}</div>'
        parts = f'{hint}<div class="pictures">{figures}</div>{drawings}'
        return f'{style}<div class="slerlib-view slerlib-still">{parts}</div>'


def _figure(picture: Picture) -> str:
    height, width = size(picture.pixels)
    source = f"data:image/jpeg;base64,{base64.b64encode(jpeg(picture.pixels)).decode()}"
    image = f'<img src="{source}" alt="{escape(picture.alt)}" width="{width}" height="{height}">'
    caption = f"<figcaption><b>{escape(picture.title)}</b><span>{escape(picture.note)}</span></figcaption>"
    return f'<figure style="--wide: {picture.wide}px">{image}{caption}</figure>'


def size(pixels: Tensor | np.ndarray) -> tuple[int, int]:
    """(height, width) of a picture of either kind."""
    return tuple(pixels.shape[1:] if isinstance(pixels, Tensor) else pixels.shape[:2])


def jpeg(pixels: Tensor | np.ndarray) -> bytes:
    """(3, H, W) in [0, 1], or (H, W, 3) uint8, as the bytes of a JPEG file."""
    if isinstance(pixels, Tensor):
        pixels = (255 * pixels.detach().clamp(0, 1)).round().byte().permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "jpeg", quality=QUALITY, subsampling=0)
    return file.getvalue()


def error(number: int, words: str) -> dict[str, object]:
    """The message of an error: one line, while the pictures stay as they were."""
    return {"number": number, "line": words, "wrong": True, "pictures": [], "drawings": ""}
