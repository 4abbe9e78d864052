"""The path of a picture without its restoration, and a part of it along several paths."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..images.rows import Pixels, Rows
from ..model.network import SLERIR, SMALLEST
from ..model.paths import read_path
from .load import evaluating
from .look import Look, padded
from .restore import WHOLE_PIXELS


def own_path(model: SLERIR, x_CHW: Tensor | Rows) -> tuple[int, ...]:
    """The 8 experts that the router chooses for (3, H, W) in [0, 1] or `Rows`, without restoring it."""
    with evaluating(model), torch.inference_mode():
        if isinstance(x_CHW, Rows) or x_CHW[0].numel() > WHOLE_PIXELS:
            look = Look(model, Pixels(x_CHW, model.multiple, SMALLEST))
            return tuple(look.route(None, False, False)[0].path[0].tolist())
        x_BCHW = padded(model, x_CHW[None])
        return tuple(model.route(model.encode(x_BCHW), x_BCHW=x_BCHW).path[0].tolist())


def restore_part(model: SLERIR, x_CHW: Tensor, part: tuple[slice, slice], paths: Sequence) -> list[Tensor]:
    """A part of (3, H, W) in [0, 1] along each path, as a tile: with the guide map of the whole picture.

    part: rows and columns that start at multiples of `model.cell`. paths: each as `path` of `restore`. Only the places
    near the edges of the part, where local statistics and convolutions lack what lies outside, differ from the whole.
    """
    with evaluating(model), torch.no_grad():
        x_BCHW, s = padded(model, x_CHW[None]), model.cfg.stride
        encoding = model.encode(x_BCHW, route_by="image")
        lengths = [-(-max(place.stop - place.start, SMALLEST) // model.multiple) * model.multiple for place in part]
        tile = x_BCHW[..., *(slice(place.start, place.start + n) for place, n in zip(part, lengths, strict=True))]
        tokens = (slice(place.start // s, (place.start + n) // s) for place, n in zip(part, lengths, strict=True))
        guide = None if encoding.guide is None else encoding.guide[..., *tokens]
        traces = [model.route(encoding, read_path(path, 1, model.cfg.experts), x_BCHW=x_BCHW) for path in paths]
        results = [model.backbone(tile, guide, trace, reroute=False)[0][0] for trace in traces]
    height, width = (place.stop - place.start for place in part)
    return [y[:, :height, :width].float().clamp(0, 1).to(x_CHW.device) for y in results]
