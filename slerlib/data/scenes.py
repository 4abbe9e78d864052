"""The photographs that come inside the installed packages scikit-image and scikit-learn: no download, credited.

``photographs()`` gives nine of them, one (the motorcycle) with measured depth. The files are opened where the packages
lie on disk and the packages' own loaders are not called, because those may download what they do not find.
"""

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from slerlib.errors import UserError

LARGEST = 768  # px a side; larger photographs are cropped about their centre

# name: (package, file, credit, licence)
_SKIMAGE, _SKLEARN = ("skimage", "data/"), ("sklearn", "datasets/images/")
_MIDDLEBURY = "N. Nesic, P. Westling, X. Wang, Y. Kitajima, G. Krathwohl, D. Scharstein"
SOURCES = {
    name: (package, folder + file, credit, licence)
    for name, (package, folder), file, credit, licence in (
        ("astronaut", _SKIMAGE, "astronaut.png", "Eileen Collins, NASA Great Images database", "public domain"),
        ("coffee", _SKIMAGE, "coffee.png", "Rachel Michetti, courtesy of Pikolo Espresso Bar", "CC0"),
        ("cat", _SKIMAGE, "chelsea.png", "Chelsea the cat, by Stefan van der Walt", "CC0"),
        ("rocket", _SKIMAGE, "rocket.jpg", "Launch of DSCOVR, by SpaceX", "public domain"),
        ("hubble_deep_field", _SKIMAGE, "hubble_deep_field.jpg", "Hubble eXtreme Deep Field, NASA", "public domain"),
        ("retina", _SKIMAGE, "retina.jpg", "Mikael Häggström, WikiJournal of Medicine", "CC0"),
        (
            "stereo_motorcycle",
            _SKIMAGE,
            "motorcycle_left.png",
            f"Middlebury 2014 stereo benchmark: {_MIDDLEBURY}",
            "not stated",
        ),
        ("china", _SKLEARN, "china.jpg", "danielbuechele, flickr.com/photos/danielbuechele/6061409035", "CC BY 2.0"),
        ("flower", _SKLEARN, "flower.jpg", "vultilion, flickr.com/photos/vultilion/6056698931", "CC BY 2.0"),
    )
}
PROJECTS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}
# Calibration of the motorcycle pair, Middlebury 2014 at a quarter of its size
FOCAL_PX, BASELINE_M, DISPARITY_OFFSET_PX = 994.978, 0.193001, 31.086


@dataclass(frozen=True, eq=False)
class Scene:
    """A clean photograph. The tensors are shared by all callers: clone before writing into them.

    image: (3, H, W) float32 in [0, 1], at most 768 px a side. depth: (H, W) float32 metres, or None where not measured.
    """

    name: str
    image: torch.Tensor
    credit: str
    licence: str
    depth: torch.Tensor | None = None


def photographs() -> list[Scene]:
    """The nine bundled photographs, in a fixed order; read once, then kept in memory.

    Raises UserError when scikit-image or scikit-learn is missing or came without its pictures.
    """
    return [_scene(name) for name in SOURCES]


@cache
def _scene(name: str) -> Scene:
    from PIL import Image

    package, file, credit, licence = SOURCES[name]
    with Image.open(_locate(package, file)) as picture:
        pixels = np.asarray(picture.convert("RGB"), np.float32) / 255
    depth = None
    if name == "stereo_motorcycle":
        with np.load(_locate(package, "data/motorcycle_disp.npz")) as stored:
            depth = _crop(disparity_to_depth(stored["arr_0"]))
        depth = torch.from_numpy(np.ascontiguousarray(depth, dtype=np.float32))
    image = np.ascontiguousarray(_crop(pixels).transpose(2, 0, 1))
    return Scene(name, torch.from_numpy(image), credit, licence, depth)


def _locate(package: str, file: str) -> Path:
    """Path of a data file of an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        if (Path(folder) / file).is_file():
            return Path(folder) / file
    where = f"no {file} in {folders[0]}" if folders else "it is not installed"
    raise UserError(
        f"The bundled photographs are read from the installed package {PROJECTS[package]}; {where}. "
        f"Install it again: pip install --force-reinstall {PROJECTS[package]}."
    )


def _crop(pixels: np.ndarray) -> np.ndarray:
    """The central part of (H, W, ...), at most LARGEST a side."""
    height, width = pixels.shape[:2]
    h, w = min(height, LARGEST), min(width, LARGEST)
    top, left = (height - h) // 2, (width - w) // 2
    return pixels[top : top + h, left : left + w]


def disparity_to_depth(disparity: np.ndarray) -> np.ndarray:
    """Metric depth (H, W) of a disparity map in px: focal * baseline / (disparity + offset).

    Pixels without a measurement are seen by one camera alone, behind an edge: they take the farther of the nearest
    measurements to their left and right, and a row without measurements takes the nearest row that has some.
    """
    valid = np.isfinite(disparity) & (disparity > 0)
    rows = np.flatnonzero(valid.any(1))
    position = np.arange(disparity.shape[1])
    filled = np.empty(disparity.shape, np.float64)
    for row in rows:
        measured = np.flatnonzero(valid[row])
        after = np.searchsorted(measured, position)  # first measurement at or right of each pixel
        before = np.searchsorted(measured, position, side="right") - 1
        right = disparity[row, measured[np.minimum(after, len(measured) - 1)]]
        left = disparity[row, measured[np.maximum(before, 0)]]
        filled[row] = np.minimum(left, right)
    nearest = rows[np.abs(np.arange(len(disparity))[:, None] - rows).argmin(1)]
    return FOCAL_PX * BASELINE_M / (filled[nearest] + DISPARITY_OFFSET_PX)
