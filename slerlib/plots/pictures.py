"""Pictures and maps side by side, as they are: for looking, without scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ..errors import UserError
from .style import DPI, SMALL, WIDTH, finished, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def picture_row(pictures: Sequence[tuple[str, Tensor]]) -> Figure:
    """Pictures next to each other, each below its title.

    pictures: (title, picture), each a (3, H, W) tensor in [0, 1] or a map (H, W) of any range; a map is drawn on its
        own scale, bright is high, with its lowest and highest value below. Raises UserError for none, and for tensors
        of another shape.
    """
    from matplotlib.figure import Figure

    pictures = list(pictures)
    for title, x in pictures:
        if x.ndim != 2 and (x.ndim != 3 or x.shape[0] != 3):
            raise UserError(
                f"A picture is (3, H, W) and a map (H, W); {title!r} is {tuple(x.shape)}. Take one of a batch."
            )
    if not pictures:
        raise UserError("A row of pictures needs at least one; got none. Add (title, picture).")
    tallest = max(x.shape[-2] / x.shape[-1] for _, x in pictures)
    side = min(WIDTH / len(pictures), WIDTH / 2)
    below = 0.2 if any(x.ndim == 2 for _, x in pictures) else 0
    fig = Figure((side * len(pictures), side * tallest + 0.35 + below), dpi=DPI, layout="constrained")
    told = []
    for ax, (title, x) in zip(fig.subplots(1, len(pictures), squeeze=False)[0], pictures, strict=True):
        x, note = x.detach().cpu().float(), ""
        if x.ndim == 3:
            ax.imshow(x.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
        else:
            ax.imshow(x.numpy(), cmap="cividis", interpolation="nearest")
            note = f"{x.min():.2g} to {x.max():.2g}"
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_title(title, loc="center", fontsize=10.5)
        ax.set_xlabel(note, fontsize=SMALL + 0.5, labelpad=3)
        told.append(title + (f" (a map, {note})" if note else ""))
    return finished(fig, f"Side by side: {'; '.join(told)}.", "jpeg")
