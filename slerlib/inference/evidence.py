"""Signs of damage that the network was never trained for. [ours]

The route tells a part, more with even anchors than with others (docs/restoring.md). Three more sources are cheap,
together one more look of the encoder: what the places of the picture say, what restoring did, and what the network
sees in its own result. None of them sees the blocks of JPEG, or tells light snow from a clean photograph, so blocks and
specks are measured on the pixels. `model.doubt.Rule` weighs the signs.
Of a large picture a part from its middle is judged.
Legend: B batch, C channels, H W pixels, K classes, N signs and classes.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import sphere
from ..model.doubt import SIGNS
from ..model.network import SLERIR
from ..model.router import Trace
from .look import padded

SIDE = 1024  # pixels of the part that is judged, at most


def middle(height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the part that is judged; it starts on the grid of tokens."""
    lengths = [(length, min(length, SIDE)) for length in (height, width)]
    starts = [(length - own) // 16 * 8 for length, own in lengths]
    return tuple(slice(start, start + own) for start, (_, own) in zip(starts, lengths, strict=True))


def judges(model: SLERIR, path, route: str, passes: tuple[int, bool]) -> bool:
    """Whether results are judged: the rule of a checkpoint holds for its own routes and one pass."""
    return model.router.rule is not None and path is None and route == model.cfg.route_by and passes[0] == 1


def judged(model: SLERIR, x_BCHW: Tensor, y_BCHW: Tensor, trace: Trace, whole: bool) -> Trace:
    """The trace of a model with a rule, and its evidence.

    x, y: pictures and their results, in [0, 1]; the whole that the trace describes, or the `middle` of it.
    """
    x_BCHW, y_BCHW = (padded(model, t.clamp(0, 1)) for t in (x_BCHW, y_BCHW))
    after = model.route(model.encode(y_BCHW, route_by="image"))
    before = trace if whole and trace.local_angle is not None else model.route(model.encode(x_BCHW, route_by="image"))
    return replace(trace, evidence=evidence(x_BCHW, y_BCHW, before, after), rule=model.router.rule)


def evidence(x_BCHW: Tensor, y_BCHW: Tensor, before: Trace, after: Trace) -> Tensor:
    """(B, N) signs, in the order of SIGNS, then a 1 for the nearest class."""
    classes = len(before.anchor_names)
    nearest = before.anchor_angle.argmin(dim=1)
    share_BK = F.one_hot(before.local_angle.argmin(dim=1).flatten(1), classes).float().mean(dim=1)
    clean = before.anchor_names.index("clean") if "clean" in before.anchor_names else None
    signs = {
        "angle": before.anchor_angle.amin(dim=1),
        "margin": before.margin.amin(dim=1),
        "mean margin": before.margin.mean(dim=1),
        "classes": -(share_BK * (share_BK + 1e-9).log()).sum(dim=1),  # entropy
        "agreement": share_BK.gather(1, nearest[:, None])[:, 0],
        "place angle": before.local_angle.amin(dim=1).flatten(1).median(dim=1).values,
        "change": ((x_BCHW - y_BCHW).abs().mean(dim=(1, 2, 3)) + 1e-3).log(),
        "turn": sphere.angle(before.embedding, after.embedding),
        "angle after": after.anchor_angle.amin(dim=1),
        "clean after": after.anchor_angle[:, clean] if clean is not None else after.anchor_angle.amin(dim=1),
        "margin after": after.margin.amin(dim=1),
        "blocks": blocks(x_BCHW),
        "specks": specks(x_BCHW),
    }
    columns = [signs[name].float() for name in SIGNS]
    return torch.cat([torch.stack(columns, dim=1), F.one_hot(nearest, classes).to(columns[0])], dim=1)


def blocks(x_BCHW: Tensor) -> Tensor:
    """(B,) how much larger steps between neighbours are at every eighth pixel: log of the ratio, mean of both axes.

    0 without a grid; the grid may start anywhere. After Wang, Sheikh, Bovik (2002), without its scale to a score.
    """
    grey, ratios = x_BCHW.mean(dim=1), []
    for axis in (1, 2):
        step = grey.diff(dim=axis).abs().mean(dim=3 - axis)
        step = step[:, : step.shape[1] // 8 * 8]
        if not step.shape[1]:
            return grey.new_zeros(len(grey))
        phases = step.unflatten(1, (-1, 8)).mean(dim=1) + 1e-4
        ratios.append((phases.amax(dim=1) / phases.median(dim=1).values).log())
    return (ratios[0] + ratios[1]) / 2


def specks(x_BCHW: Tensor) -> Tensor:
    """(B,) how much more bright specks stand out than dark ones: log of the ratio of their squares. About 0 in most
    photographs, above 0 in snow.

    A speck is what a pixel has above, or below, the median of 3 x 3 pixels. With the columns sorted, that is the median
    of three: the largest of the least values, the median of the medians, the least of the largest values.
    """
    grey = x_BCHW.mean(dim=1)
    if min(grey.shape[1:]) < 3:
        return grey.new_zeros(len(grey))
    columns = grey[:, :-2], grey[:, 1:-1], grey[:, 2:]
    least, middle, most = _least(*columns), _median(*columns), _most(*columns)
    median = _median(_most(*_neighbours(least)), _median(*_neighbours(middle)), _least(*_neighbours(most)))
    out = grey[:, 1:-1, 1:-1] - median
    bright, dark = (part.square().mean(dim=(1, 2)) + 1e-6 for part in (out.clamp(min=0), out.clamp(max=0)))
    return (bright / dark).log()


def _neighbours(x_BHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three neighbours in a row."""
    return x_BHW[..., :-2], x_BHW[..., 1:-1], x_BHW[..., 2:]


def _least(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.minimum(torch.minimum(a, b), c)


def _most(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.maximum(torch.maximum(a, b), c)


def _median(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))
