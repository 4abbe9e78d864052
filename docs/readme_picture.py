"""Make the picture of restorations in the README: four degradations, the restored pictures, and their paths.

    python docs/readme_picture.py                       # with the shipped checkpoint; half a minute of one core
    python docs/readme_picture.py runs/small            # with a training of yours

Writes docs/images/restorations.jpg and prints the Markdown line for docs/results.md, with its alt text. Of the eight
bundled photographs whose licence is stated (docs/credits.md), the central 256 x 256 pixels, each degradation shows the
one with the median gain: four gain less and three gain more. Severity 0.5, seed 0.
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure

import slerlib
from slerlib import plots
from slerlib.data.scenes import photographs
from slerlib.evaluation.crops import centre
from slerlib.plots import style

SIDE = 256
SHOWN = ("rain", "noise50", "haze", "lowlight")
FILE = Path(__file__).parent / "images" / "restorations.jpg"


@style.styled
def draw(checkpoint: str) -> Figure:
    """Upper row degraded, lower row restored, with PSNR; below, the expert at each of the 8 layers."""
    model = slerlib.load(checkpoint)
    fig = Figure((10, 7.6), dpi=110, layout="constrained")
    upper, lower = fig.subfigures(2, height_ratios=(5.3, 2.3))
    grid = upper.subplots(2, len(SHOWN))
    paths, gains = [], []
    for (above, below), degradation in zip(grid.T, SHOWN, strict=True):
        clean = median_gain(model, degradation)
        degraded = slerlib.degrade(clean, degradation, severity=0.5, seed=0)
        restored, trace = slerlib.restore(model, degraded, return_trace=True)
        before, after = slerlib.psnr(degraded, clean), slerlib.psnr(restored, clean)
        show(above, degraded, f"PSNR {before:.1f} dB")
        show(below, restored, f"PSNR {after:.1f} dB")
        above.set_title(degradation, loc="center")
        paths.append(trace.path_strings()[0])
        gains.append(f"{degradation} {before:.1f} to {after:.1f} dB")
    for ax, row in zip(grid[:, 0], ("degraded", "restored"), strict=True):
        ax.set_ylabel(row, fontsize=11.5)
    chart = plots.path_chart(paths, list(SHOWN), ax=lower.subplots())
    alt = f"Four restorations by one network: {', '.join(gains)}. {chart.alt_text}"
    return style.finished(fig, alt, "jpeg")


def median_gain(model: slerlib.SLERIR, degradation: str) -> torch.Tensor:
    """The middle of the photograph that gains more than four of the others and less than three."""
    gains = []
    for scene in photographs():
        if scene.licence == "not stated":
            continue
        clean = centre(scene.image, SIDE)
        degraded = slerlib.degrade(clean, degradation, severity=0.5, seed=0)
        gain = slerlib.psnr(slerlib.restore(model, degraded), clean) - slerlib.psnr(degraded, clean)
        gains.append((float(gain), scene.name, clean))
    return sorted(gains, key=lambda row: row[:2])[len(gains) // 2][2]


def show(ax, image_CHW, note: str) -> None:
    ax.imshow(image_CHW.permute(1, 2, 0).numpy(), interpolation="nearest")
    ax.set(xticks=[], yticks=[], xlabel=note)
    ax.spines[:].set_visible(False)


if __name__ == "__main__":
    figure = draw(*sys.argv[1:2] or ["tiny"])
    FILE.parent.mkdir(exist_ok=True)
    figure.savefig(FILE, pil_kwargs={"quality": 88})
    print(f"![{figure.alt_text}](images/{FILE.name})")
