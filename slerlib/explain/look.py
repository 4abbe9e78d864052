"""What the network sees in one photograph, what it does, and what it would do along other paths.

Differences are measured on a part from the middle, at full resolution, with the path of the whole picture: there each
path costs a fraction of a second. Legend: C channels, H W pixels, L layers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from torch import Tensor

from ..config import STAGE_NAMES
from ..images.files import read_image
from ..inference.restore import restore
from ..model.network import SLERIR
from ..model.paths import path_digits
from ..model.router import Trace
from ..model.wrappers import unwrapped

SIDE = 320  # pixels of the part on which paths are compared


@dataclass
class Step:
    """The same part of the picture, restored in another way."""

    title: str
    picture: Tensor  # (3, h, w) in [0, 1]
    change: Tensor  # (h, w) absolute difference from the result, mean over the colours, in levels of 256

    @property
    def levels(self) -> float:
        """Mean change, in levels of 256."""
        return self.change.mean().item()


@dataclass
class Explanation:
    """What `explain` sees in a photograph."""

    x_CHW: Tensor  # the photograph, in [0, 1]
    y_CHW: Tensor  # restored
    trace: Trace
    passes: list[Step]  # results of the first, the second, ... pass, beside the one before
    stations: list[Step]  # at each layer the second nearest expert in place of the chosen one; empty without a choice
    anchors: list[Step]  # along the path of each class; one for each different path

    @property
    def nearest(self) -> str:
        return self.trace.nearest_anchor()[0]


def explain(
    model: SLERIR, photo: str | os.PathLike, *, passes: int | str = 1, route: str | None = None, side: int = SIDE
) -> Explanation:
    """Restore a photograph and look at what its path does.

    model: from `load`. photo: path of a picture. passes, route: as for `slerlib.restore`, but not route="tile".
    side: of the part from the middle on which paths are compared, in pixels; about 16 restorations of it.
    Raises UserError for a file that is no picture, and as `slerlib.restore` does.
    """
    net = unwrapped(model)
    x, _ = read_image(photo)
    y, trace = restore(model, x, passes=passes, route=route, return_trace=True)
    part = middle(x, side)
    path = trace.path[0].tolist()
    own = restore(model, part, path=path)
    stations, groups = [], {}
    if net.cfg.experts > 1:
        for layer, name in enumerate(STAGE_NAMES):
            first, second = trace.similarity[0, layer].argsort(descending=True)[:2].tolist()
            other = [*path[:layer], second if path[layer] == first else first, *path[layer + 1 :]]
            title = f"{name}: {other[layer]} instead of {path[layer]}"
            stations.append(_step(title, restore(model, part, path=other), own))
        for name, class_path in zip(trace.anchor_names, net.router.class_paths(), strict=True):
            groups.setdefault(path_digits(class_path), []).append(name)
    anchors = [_step(", ".join(names), restore(model, part, path=digits), own) for digits, names in groups.items()]
    return Explanation(x, y, trace, _passes(model, part, trace, route), stations, anchors)


def _passes(model: SLERIR, part: Tensor, trace: Trace, route: str | None) -> list[Step]:
    """Each pass over the part, beside what it was given."""
    before, steps = part, []
    for number in range(int(trace.passes[0]) if trace.passes is not None else 1):
        after = restore(model, before, route=route)
        steps.append(_step(f"pass {number + 1}", after, before))
        before = after
    return steps


def _step(title: str, picture: Tensor, other: Tensor) -> Step:
    return Step(title, picture, 255 * (picture - other).abs().mean(dim=0))


def middle(x_CHW: Tensor, side: int) -> Tensor:
    """The part of at most side x side pixels from the middle."""
    height, width = (min(side, length) for length in x_CHW.shape[1:])
    top, left = (x_CHW.shape[1] - height) // 2, (x_CHW.shape[2] - width) // 2
    return x_CHW[:, top : top + height, left : left + width]
