"""Central parts of images, and the smallest image that is scored. Legend: H W pixels."""

from __future__ import annotations

from torch import Tensor

from ..errors import UserError


def cropped(x: Tensor, crop: str, name: object) -> Tensor:
    """(..., H, W) -> its centre in multiples of 16 px ("center16", as the published scores), at most 256 x 256 of it
    ("center256"), or the whole ("none").

    Raises UserError, with the name, below 16 x 16 pixels.
    """
    height, width = x.shape[-2:]
    if min(height, width) < 16:
        raise UserError(f"Images to score need at least 16 x 16 pixels; {name} is {width} x {height}. Remove it.")
    if crop == "none":
        return x
    most = 256 if crop == "center256" else max(height, width)
    return centre(x, min(height // 16 * 16, most), min(width // 16 * 16, most))


def centre(x: Tensor, height: int, width: int | None = None) -> Tensor:
    """The central part of (..., H, W), at most height x width; width is that of the height if left out."""
    h, w = min(x.shape[-2], height), min(x.shape[-1], width or height)
    top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
    return x[..., top : top + h, left : left + w].contiguous()


def size_text(x_CHW: Tensor) -> str:
    """ "width x height"."""
    return f"{x_CHW.shape[2]} x {x_CHW.shape[1]}"
