"""Draw what `tiny` sees where, and two pictures that it brings back: docs/images/places.jpg, place_paths.jpg,
corner.jpg and passes.jpg. Prints their texts.

python docs/places.py
"""

from pathlib import Path

import torch
from matplotlib.figure import Figure

import slerlib
from slerlib import plots
from slerlib.data.masks import mask
from slerlib.data.scenes import photographs

IMAGES = Path(__file__).parent / "images"
SHOWN = (
    ("coffee", "noise25", "field"),
    ("flower", "rain", "half"),
    ("astronaut", "haze", "half"),
    ("cat", "lowlight", "disc"),
)


def corner(model: slerlib.SLERIR, clean: torch.Tensor) -> Figure:
    """Rain in one corner, taken away, and what changed."""
    down, across = (torch.linspace(0, 1, side) for side in clean.shape[1:])
    where = (1.5 - 2.2 * (down[:, None] + across)).clamp(0, 1)
    x = slerlib.degrade(clean, "rain", severity=0.7, seed=3, where=where)
    y = slerlib.restore(model, x)

    def score(image: torch.Tensor) -> str:
        return f"{slerlib.psnr(image[:, None, where > 0.95], clean[:, None, where > 0.95]):.1f} dB in the rain"

    dry = 255 * (y - x).abs()[:, where == 0].mean()
    change = (y - x).abs().mean(dim=0)
    return plots.picture_row(
        [(score(x), x), (f"restored, {score(y)}", y), (f"change; dry part {dry:.1f} of 255", change)]
    )


def passes(model: slerlib.SLERIR, clean: torch.Tensor) -> Figure:
    """A dark, noisy, rainy photograph, and the result of each pass with the damage whose path it took."""
    x = slerlib.degrade(clean, ["rain", "lowlight", "noise25"], severity=0.4, seed=1)
    shown = [(f"{slerlib.psnr(x, clean):.1f} dB", x)]
    for number in (1, 2, 3):
        y, trace = slerlib.restore(model, x, return_trace=True)
        nearest = trace.anchor_names[int(trace.anchor_angle[0].argmin())]
        shown.append((f"pass {number}, {nearest}: {slerlib.psnr(y, clean):.1f} dB", y))
        x = y
    return plots.picture_row(shown)


def main() -> None:
    model, scenes = slerlib.load("tiny"), {scene.name: scene.image for scene in photographs()}
    pictures = {name: scenes[name][:, :240, :320].contiguous() for name in ("coffee", "flower", "astronaut", "cat")}
    rows = {}
    for seed, (name, damage, shape) in enumerate(SHOWN):
        clean = pictures[name]
        x = slerlib.degrade(clean, damage, severity=0.6, seed=seed, where=mask(shape, *clean.shape[1:], seed))
        rows[f"{damage}, {shape}"] = (x, slerlib.restore(model, x, return_trace=True)[1])
    figures = {
        "places": plots.where_map(rows),
        "place_paths": plots.path_maps(*rows["noise25, field"]),
        "corner": corner(model, pictures["coffee"]),
        "passes": passes(model, pictures["flower"]),
    }
    for name, fig in figures.items():
        fig.savefig(IMAGES / f"{name}.jpg", pil_kwargs={"quality": 85})
        print(f"{name}: {fig.alt_text}")


if __name__ == "__main__":
    main()
