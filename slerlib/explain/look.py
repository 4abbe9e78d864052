"""What the network sees in one photograph, what it does, and what it would do along other paths.

Passes are those of the whole picture; their changes are shown in a part from its middle, at full resolution. Paths
are compared on that part, with the guide map of the whole picture: there each path costs a fraction of a second.
Legend: C channels, H W pixels, L layers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from ..config import STAGE_NAMES
from ..images.files import read_image
from ..inference.parts import restore_part
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
    side: of the part from the middle in which changes are shown, in pixels; about 16 restorations of it.
    Raises UserError for a file that is no picture, and as `slerlib.restore` does.
    """
    net = unwrapped(model)
    x, _ = read_image(photo)
    y, trace = restore(model, x, passes=passes, route=route, return_trace=True)
    part = middle(x, side, net.cell)
    path = trace.path[0].tolist()
    others, groups = {}, {}
    if net.cfg.experts > 1:
        for layer, name in enumerate(STAGE_NAMES):
            first, second = trace.similarity[0, layer].argsort(descending=True)[:2].tolist()
            other = [*path[:layer], second if path[layer] == first else first, *path[layer + 1 :]]
            others[f"{name}: {other[layer]} instead of {path[layer]}"] = other
        for name, class_path in zip(trace.anchor_names, net.router.class_paths(), strict=True):
            groups.setdefault(path_digits(class_path), []).append(name)
    own, *results = restore_part(net, x, part, [path, *others.values(), *groups])
    titles = [*others, *(", ".join(names) for names in groups.values())]
    steps = [_step(title, picture, own) for title, picture in zip(titles, results, strict=True)]
    stations, anchors = steps[: len(others)], steps[len(others) :]

    pictures = [x]
    for _ in range(int(trace.passes[0]) - 1 if trace.passes is not None else 0):
        pictures.append(restore(model, pictures[-1], route=route))
    pairs = enumerate(pairwise(picture[:, *part] for picture in (*pictures, y)), 1)
    changes = [_step(f"pass {number}", after, before) for number, (before, after) in pairs]
    return Explanation(x, y, trace, changes, stations, anchors)


def _step(title: str, picture: Tensor, other: Tensor) -> Step:
    return Step(title, picture, 255 * (picture - other).abs().mean(dim=0))


def middle(x_CHW: Tensor, side: int, cell: int) -> tuple[slice, slice]:
    """Rows and columns of the part of at most side x side pixels whose corner, on the grid of cells, is nearest to that
    of the middle."""
    lengths = [(length, min(side, length)) for length in x_CHW.shape[1:]]
    starts = [round((length - own) / 2 / cell) * cell for length, own in lengths]
    return tuple(slice(start, start + own) for start, (_, own) in zip(starts, lengths, strict=True))
