"""What the degradations look like, from severity 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ..data.degrade import degrade
from ..errors import UserError
from ..evaluation.metrics import psnr
from .style import DPI, PICTURE_DPI, SMALL, WIDTH, finished, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Public domain or CC0, and a part of each that shows what the degradation does: name, top and left of the part
SHOWN = {
    "lowlight": ("coffee", 120, 180),
    "haze": ("astronaut", 0, 60),
    "rain": ("rocket", 190, 230),
    "snow": ("cat", 20, 100),
    "blur": ("cat", 20, 100),
    "noise": ("coffee", 120, 180),
    "jpeg": ("astronaut", 0, 60),
    "lowlight + haze + rain": ("astronaut", 0, 60),
}


def _bundled(side: int) -> list[tuple[str, Tensor]]:
    from ..data.scenes import photographs

    scenes = {scene.name: scene.image for scene in photographs()}
    return [(row, scenes[name][:, y : y + side, x : x + side]) for row, (name, y, x) in SHOWN.items()]


@styled
def degradation_grid(
    pictures: Sequence[tuple[str, Tensor]] | None = None,
    severities: Sequence[float] = (0, 0.25, 0.5, 0.75, 1),
    seed: int = 0,
) -> Figure:
    """One row per degradation, one column per severity, with the PSNR against the clean picture below each.

    pictures: (degradation, clean), a (3, H, W) tensor in [0, 1] each; " + " joins the parts of a composite. Left out:
        every degradation and one composite, on 224 x 224 pixels of bundled photographs (public domain or CC0).
    seed: of all of them, so that along a row only the severity changes. Raises UserError where `degrade` does, and for
    an empty list.
    """
    from matplotlib.figure import Figure

    pictures = _bundled(224) if pictures is None else list(pictures)
    if not pictures or not len(severities):
        raise UserError("A figure of degradations needs at least one picture and one severity; got none. Add one.")
    cell = (WIDTH - 0.75) / len(severities)
    tall = sum(clean.shape[1] / clean.shape[2] * cell + 0.24 for _, clean in pictures)
    fig = Figure((WIDTH, tall + 0.4), dpi=DPI if len(pictures) < 3 else PICTURE_DPI, layout="constrained")
    fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, hspace=0, wspace=0)
    grid = fig.subplots(len(pictures), len(severities), squeeze=False)
    told = []
    for axes, (name, clean) in zip(grid, pictures, strict=True):
        scores = []
        for ax, severity in zip(axes, severities, strict=True):
            damaged = degrade(clean, name.split(" + "), severity, seed)
            scores.append("unchanged" if severity == 0 else f"{psnr(damaged, clean):.1f} dB")
            ax.imshow(damaged.permute(1, 2, 0).numpy(), vmin=0, vmax=1, interpolation="antialiased")
            ax.set(xticks=[], yticks=[])
            ax.set_xlabel(scores[-1], labelpad=2, fontsize=SMALL)
            ax.spines[:].set_visible(False)
        axes[0].set_ylabel(name.replace(" + ", " +\n", 1), fontsize=10.5)
        told.append(f"{name} {', '.join(scores)}")
    for ax, severity in zip(grid[0], severities, strict=True):
        ax.set_title(f"severity {severity:g}", loc="center", fontsize=10, pad=4)
    levels = ", ".join(f"{severity:g}" for severity in severities)
    alt = f"Photographs degraded at the severities {levels}, with PSNR against the clean one. {'; '.join(told)}."
    return finished(fig, alt, "jpeg")
