"""Draw twelve real hazy, dark and blurred photographs and what a network makes of them: docs/images/real.jpg and
real_blur.jpg. Prints their Markdown lines, and the table for docs/photographs.md.

    python docs/real_photographs.py --data DIR                              # `tiny`; a few minutes of one core
    python docs/real_photographs.py runs/mine --data DIR --private all.jpg    # another network; the others too

Three of the photographs are in DIR, a folder of validation images with the files that SHOWN and OTHERS name. Two come
with scikit-image, one with scikit-learn, six with packages of Debian 12: `apt-get install lomiri-wallpapers-16.04
libjxl-testdata`, or unpack them in FOLDER and add `--debian FOLDER`. What is missing is left out and named.

The rule of choice was fixed before any of them was restored. A photograph is shown only where its licence lets it be
published (public domain, CC0 or CC BY; docs/credits.md), four of each damage: of the blurred pairs in DIR one of each
scene, the first by file name, and the blurred clock of scikit-image; the hazy and the dark ones were picked by how they
look before. No set of hazy, dark or noisy photographs in DIR has such a licence. Of these (REVIDE, the dark pairs,
DICM, RNI15) the first, the middle and the last by file name have a row in the table alone; --private draws them for
yourself. Photographs without a target are reduced to 640 pixels a side, close to those of the training; pairs are not.
"""

import argparse
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

import slerlib
from slerlib.evaluation.crops import centre
from slerlib.images.files import read_image
from slerlib.plots import marks, style

IMAGES = Path(__file__).parent / "images"
LARGEST = 640  # pixels a side, of photographs without a target
PART = (240, 320)  # pixels shown of a blurred pair: blur is lost where a picture is reduced
DPI = 128
NAMED = 0.1  # share of the places from which a class is named

DEBIAN = {"lomiri": "usr/share/backgrounds/", "libjxl": "usr/share/libjxl-testdata/external/wesaturate/500px/"}
#: (name, damage, where it comes from, file)
SHOWN = (
    ("pagoda", "haze", "sklearn", "datasets/images/china.jpg"),
    ("mountains", "haze", "lomiri", "aitzgorri_by_Aitzol_Berasategi.jpg"),
    ("lake", "haze", "libjxl", "cvo9xd_keong_macan_srgb8.png"),
    ("sunset", "haze", "lomiri", "sunset_by_Aitzol_Berasategi.jpg"),
    ("rocket", "dark", "skimage", "data/rocket.jpg"),
    ("dandelion", "dark", "lomiri", "seeding_by_Clements_Engelhardt.jpg"),
    ("brook", "dark", "lomiri", "life_by_Aitzol_Berasategi.jpg"),
    ("room", "dark", "lomiri", "Wine_by_Jakkub_Mede.jpg"),
    ("flowers", "blur", "data", "deblur/input/Flower.webp"),
    ("crowd", "blur", "data", "deblur/input/gopro_GOPR0384_11_02_f698_n8.webp"),
    ("street", "blur", "data", "deblur/input/reds320_test_002_00000002.webp"),
    ("clock", "blur", "skimage", "data/clock_motion.png"),
)
#: (name, damage, pattern of the files): first, middle and last, whose licence lets nobody publish them
OTHERS = (
    ("REVIDE", "haze", "dehaze/input/revide*"),
    ("dark pair", "dark", "lowlight/low/*"),
    ("DICM", "dark", "real_nogt/lowlight/*"),
    ("RNI15", "noise", "real_nogt/noise/*"),
)
TARGETS = {"input": "target", "low": "high"}


@dataclass(frozen=True)
class Result:
    """A photograph, what the network makes of it, and what it takes it for."""

    name: str
    damage: str
    x_CHW: Tensor
    y_CHW: Tensor
    target_CHW: Tensor | None
    seen: str  # classes and their shares of the places

    def scores(self) -> tuple[str, str] | None:
        """PSNR before and after, where there is a target."""
        if self.target_CHW is None:
            return None
        return tuple(f"{slerlib.psnr(image, self.target_CHW):.1f}" for image in (self.x_CHW, self.y_CHW))

    def brightness(self) -> tuple[str, str]:
        """Means before and after, of 255."""
        return tuple(f"{255 * image.mean():.0f}" for image in (self.x_CHW, self.y_CHW))

    def row(self) -> str:
        """Of the table."""
        scores, brightness = " to ".join(self.scores() or "-"), " to ".join(self.brightness())
        return f"| {self.name} | {self.damage} | {scores} | {brightness} | {self.seen.replace('%', ' %')} |"

    def words(self) -> str:
        """Of the alt text."""
        numbers = self.scores()
        change = f"{' to '.join(numbers)} dB" if numbers else f"brightness {' to '.join(self.brightness())}"
        return f"{self.name} ({self.damage}) {change}, seen as {self.seen}"

    def loss(self) -> str:
        """Where the result is worse than the input: how much of that lies in few pixels. Else nothing."""
        if self.target_CHW is None:
            return ""
        before, after = ((image - self.target_CHW).square().mean(dim=0).flatten() for image in (self.x_CHW, self.y_CHW))
        added = (after - before).sort(descending=True).values
        if added.sum() <= 0:
            return ""
        share = added[: len(added) // 20].sum() / added.sum()
        return f"{self.name}: {share:.0%} of the error that the network adds lies in a twentieth of the pixels"

    def contrast(self) -> str:
        """Of a hazy pair: how thick the haze is, before and after."""
        if self.target_CHW is None or self.damage != "haze":
            return ""
        x, y, target = (255 * image.mean(dim=0).std() for image in (self.x_CHW, self.y_CHW, self.target_CHW))
        return f"{self.name}: standard deviation of grey {x:.0f}, restored {y:.0f}, target {target:.0f}"

    def parts(self) -> list[Tensor | None]:
        """What is shown of the photograph, the result and the target."""
        height, width = self.x_CHW.shape[1:]
        side = min(height // 3, width // 4)
        size = PART if self.target_CHW is not None and self.damage == "blur" and side > 80 else (3 * side, 4 * side)
        images = (self.x_CHW, self.y_CHW, self.target_CHW)
        return [None if image is None else centre(image, *size) for image in images]


def shown(data: Path, debian: Path) -> list[tuple[str, str, Path]]:
    """(name, damage, file) of the twelve; prints those that are missing."""
    rows = []
    for name, damage, source, file in SHOWN:
        if source == "data":
            path = data / file
        elif source in DEBIAN:
            path = debian / DEBIAN[source] / file
        else:
            path = Path(find_spec(source).origin).parent / file
        rows += [(name, damage, path)] if path.is_file() else []
        if not path.is_file():
            print(f"left out: {name}, no {path}")
    return rows


def others(data: Path) -> list[tuple[str, str, Path]]:
    """(name, damage, file) of the first, the middle and the last of each of the other sets."""
    rows = []
    for name, damage, pattern in OTHERS:
        files = sorted(data.glob(pattern))
        for k in sorted({0, len(files) // 2, len(files) - 1} if files else ()):
            rows.append((f"{name} {files[k].stem.removeprefix(name.lower())}", damage, files[k]))
    return rows


def restored(model: slerlib.SLERIR, name: str, damage: str, path: Path) -> Result:
    """Read, restore, and look where each class is the nearest."""
    x = read_image(path)[0].expand(3, -1, -1).contiguous()
    sharp = path.parent.parent / TARGETS.get(path.parent.name, "") / path.name
    target = read_image(sharp)[0] if path.parent.name in TARGETS and sharp.is_file() else None
    if target is None and max(x.shape[1:]) > LARGEST:
        scale = LARGEST / max(x.shape[1:])
        size = [round(scale * length) for length in x.shape[1:]]
        x = F.interpolate(x[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)
    y, trace = slerlib.restore(model, x, return_trace=True)
    places = trace.where()[0].flatten()
    shares = torch.bincount(places, minlength=len(trace.anchor_names)) / len(places)
    order = [k for k in shares.argsort(descending=True).tolist() if shares[k] >= NAMED]
    return Result(name, damage, x, y, target, ", ".join(f"{trace.anchor_names[k]} {shares[k]:.0%}" for k in order))


@style.styled
def draw(results: list[Result], columns: int, title: str) -> Figure:
    """Each photograph beside its result: with a target three in a row (columns=3), else two photographs (columns=4)."""
    step = 2 if columns == 4 else columns
    cells = [cell for result in results for cell in _cells(result)[:step]]
    rows = -(-len(cells) // columns)
    fig = Figure((style.WIDTH, rows * (0.75 * style.WIDTH / columns + 0.72)), dpi=DPI, layout="constrained")
    fig.get_layout_engine().set(w_pad=0.03, h_pad=0.03, hspace=0, wspace=0)
    for ax, cell in zip(fig.subplots(rows, columns, squeeze=False).ravel(), cells + [()] * columns, strict=False):
        if cell and cell[0] is not None:
            marks.show(ax, *cell, size=style.SMALL, smooth=cell[0].shape[-1] > DPI * style.WIDTH / columns)
        else:
            ax.set_axis_off()
    return style.finished(fig, f"{title} {'; '.join(result.words() for result in results)}.", "jpeg")


def _cells(result: Result) -> list[tuple[Tensor | None, str, str]]:
    """(picture, text below, title) of photograph, result and target."""
    numbers = result.scores()
    before, after = (f"PSNR {n} dB" for n in numbers) if numbers else (f"brightness {n}" for n in result.brightness())
    seen = result.seen.replace("%", " %").split(", ")
    below = f"{after}, seen as\n{', '.join(seen[:2])}"
    texts = ((before, f"{result.name}, {result.damage}"), (below, "restored"), ("", "target"))
    return [(part, *text) for part, text in zip(result.parts(), texts, strict=True)]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", nargs="?", default="tiny")
    parser.add_argument("--data", type=Path, required=True, help="folder with validation images")
    parser.add_argument("--debian", type=Path, default=Path("/"), help="where the packages of Debian are unpacked")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the two figures")
    parser.add_argument("--private", type=Path, help="file of a figure of the photographs that may not be published")
    args = parser.parse_args(arguments)
    model = slerlib.load(args.checkpoint)
    results = [restored(model, *photograph) for photograph in shown(args.data, args.debian)]
    more = [restored(model, *photograph) for photograph in others(args.data)]
    blurred = [result for result in results if result.damage == "blur"]
    rest = [result for result in results if result.damage != "blur"]
    figures = {
        args.out / "real.jpg": (rest, 4, "Hazy and dark photographs, each beside its result:"),
        args.out / "real_blur.jpg": (blurred, 3, "Blurred photographs, each beside its result and the sharp target:"),
    }
    if args.private and more:
        figures[args.private] = (more, 3, "Photographs that are not published:")
    for file, (group, columns, title) in figures.items():
        if group:
            fig = draw(group, columns, title)
            fig.savefig(file, pil_kwargs={"quality": 82})
            print(f"![{fig.alt_text}](images/{file.name})\n")
    print("| photograph | damage | PSNR, dB | brightness of 255 | seen as |\n|---|---|---|---|---|")
    print("\n".join(result.row() for result in results + more) + "\n")
    notes = [note for result in results + more for note in (result.loss(), result.contrast())]
    print("\n".join(filter(None, notes)))


if __name__ == "__main__":
    main()
