"""What an evaluation scores: damaged and clean images, made or read one at a time.

    todo, missing = cases("data", "5", noise="promptir")
    damaged_CHW, clean_CHW = todo[0].load()

Legend: C channels, H W pixels; images are float32 in [0, 1].
"""

from __future__ import annotations

import hashlib
import numbers
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config import CLASSES
from ..data.layouts import Item
from ..data.pairing import image_files
from ..errors import UserError
from ..files import name_bytes, sha256_file
from ..images.files import read_image
from .settings import NOISE_LEVELS, SETTINGS, Column, chosen

DEMO_SIDE = 384  # the bundled photographs are cropped to at most this many pixels a side, for speed
CROPS = {"center16": "centre-cropped to a multiple of 16 before restoring", "none": "whole image"}
NOISES = {
    "slerlib": "one seed per (seed, image name, sigma), clipped to [0, 1], not rounded",
    "promptir": "as PromptIR and AdaIR draw it: one global numpy stream, seed 0, through each clean set at sigma 15, "
    "then 25, then 50, in name order (theirs is the file system's); clipped and floored to 8 bits",
}


@dataclass(frozen=True)
class Case:
    """One image to restore and what it should become."""

    dataset: str
    task: str  # degradation, or what the layout says of a paired set
    image: str  # name within the data set
    files: tuple[Path, ...]  # what it is made from: (clean,) or (damaged, clean); none for the bundled photographs
    load: Callable[[], tuple[Tensor, Tensor]]  # () -> damaged and clean, (3, H, W) each


@dataclass(frozen=True)
class LoadedCase:
    """A case with its pictures in memory."""

    dataset: str
    task: str
    image: str
    input: Tensor  # (3, H, W) in [0, 1]
    target: Tensor  # (3, H, W) in [0, 1]


def loaded(cases: Iterable[Case | LoadedCase]) -> Iterator[LoadedCase]:
    """The cases one after another, read when their turn comes."""
    for case in cases:
        known = isinstance(case, LoadedCase)
        yield case if known else LoadedCase(case.dataset, case.task, case.image, *case.load())


def cases(
    root: str | os.PathLike,
    setting: str,
    *,
    images: int = 0,
    severity: float = 0.5,
    seed: int = 0,
    crop: str = "center16",
    noise: str = "slerlib",
    classes=None,
) -> tuple[list[Case], list[str]]:
    """What `evaluate` scores, in its order, and what is missing from the setting. Arguments as there.

    Nothing but names is read yet. Raises UserError for options outside the rules and data that are not there.
    """
    if setting not in ("demo", "pairs", *SETTINGS):
        names = ", ".join(repr(name) for name in (*SETTINGS, "pairs", "demo"))
        raise UserError(f"setting must be one of {names}; got {setting!r}. Take 'demo' for any photographs.")
    if isinstance(images, bool) or not isinstance(images, int) or images < 0:
        raise UserError(f"images must be a whole number, 0 for all; got {images!r}. Try images=2.")
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:  # 1.0 gives another noise
        raise UserError(f"seed must be a whole number of 0 or more; got {seed!r}. Try seed=1.")
    if crop not in CROPS:
        raise UserError(f"crop must be 'center16' or 'none'; got {crop!r}. Leave it out for 'center16'.")
    if noise not in NOISES or (setting == "demo" and noise != "slerlib"):
        raise UserError(
            f"noise must be 'slerlib' or, for test sets, 'promptir'; got {noise!r} with setting={setting!r}. Leave it "
            "out for noise that depends on the image alone."
        )
    if setting == "demo":
        tasks = checked_tasks(classes)
        return demo_cases(root, tasks, images, severity, seed, crop), [name for name in CLASSES if name not in tasks]
    if classes is not None:
        raise UserError(f"classes belong to setting='demo'; got {classes!r} with {setting=}. Leave them out.")
    columns, missing = chosen(root, setting)
    return set_cases(columns, images, seed, crop, noise), missing


def check_readable(todo: Sequence[Case], crop: str) -> None:
    """Decode every file once, so that a broken one is named before the work and not in the middle of it.

    Raises UserError with the faults, one a line, three at most and the number of the others.
    """
    faults = []
    for files in dict.fromkeys(case.files for case in todo):
        try:
            _read(files, crop)
        except UserError as error:
            faults.append(str(error))
    if faults:
        more = [f"{len(faults) - 3} more cannot be scored either."] if len(faults) > 3 else []
        raise UserError("\n".join([*faults[:3], *more]))


# --- clean photographs, damaged in every class ---


def demo_cases(
    root: str | os.PathLike, tasks: tuple[str, ...], images: int, severity: float, seed: int, crop: str
) -> list[Case]:
    """Every clean photograph (root "demo": the bundled ones, else the images of a folder) under every task.

    A task is a class, a degradation, or several joined by "+". Each (photograph, task) has its own seed, so that
    neither order nor selection changes an input. Raises UserError for a root without images.
    """
    found = []
    for dataset, name, files, clean in _clean(root, images, crop):
        for task in tasks:
            load = partial(_degraded, clean, task, severity, case_seed(seed, name, task))
            found.append(Case(dataset, task, name, files, load))
    return found


def _degraded(clean: Callable[[], tuple[Tensor, Tensor | None]], task: str, severity: float, seed: int):
    from ..data.degrade import degrade

    clean_CHW, depth_HW = clean()
    names = task.split("+")
    depth = depth_HW if "haze" in names else None
    return degrade(clean_CHW, names, severity=severity, seed=seed, depth=depth), clean_CHW


def case_seed(seed: int, image: str, task: str) -> int:
    """The seed of one degraded image: a hash, the same whatever else is evaluated."""
    return int.from_bytes(hashlib.sha256(name_bytes(f"{seed}/{image}/{task}")).digest()[:4], "big")


def checked_tasks(classes) -> tuple[str, ...]:
    """The tasks to evaluate; None means all classes. Raises UserError for unknown and repeated ones."""
    from ..data.degrade import degradation_order

    if classes is None:
        return CLASSES
    tasks = (classes,) if isinstance(classes, str) else tuple(classes)
    for task in tasks:
        degradation_order(str(task).split("+"))
    if not tasks or len(set(tasks)) < len(tasks):
        raise UserError(f"classes must name at least one task, each once; got {list(tasks)}. Leave it out for all.")
    return tasks


def _clean(root, images: int, crop: str):
    """(dataset, name, files, () -> ((3, H, W), depth (H, W) or None)) of each clean photograph."""
    if str(root) == "demo":
        from ..data.scenes import photographs

        return [("demo", scene.name, (), partial(_scene, scene, crop)) for scene in photographs()[: images or None]]
    folder = Path(os.path.abspath(root))  # a link to a folder stays one, as in `data_sha256`
    if not folder.is_dir():
        fault = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"The data are 'demo' (bundled photographs) or a folder; {root} {fault}. Check the path.")
    files = image_files(folder)[: images or None]
    return [
        (folder.name, file.relative_to(folder).as_posix(), (file,), partial(_photograph, file, crop)) for file in files
    ]


def _scene(scene, crop: str) -> tuple[Tensor, Tensor | None]:
    depth_HW = None if scene.depth is None else cropped(centre(scene.depth, DEMO_SIDE), crop, scene.name)
    return cropped(centre(scene.image, DEMO_SIDE), crop, scene.name), depth_HW


def _photograph(file: Path, crop: str) -> tuple[Tensor, None]:
    return cropped(read_image(file)[0], crop, file), None


# --- test sets ---


def set_cases(columns: Sequence[Column], images: int, seed: int, crop: str, noise: str) -> list[Case]:
    """The images of each column: pairs as they are, clean photographs under noise."""
    found, stream, starts = [], PeerNoise(crop), {}
    for column in columns:
        items = column.items[: images or None]
        sigma = int(column.task.removeprefix("noise")) if items[0].input is None else None
        if sigma is not None and column.dataset not in starts:  # the peers run through all three levels, needed or not
            starts[column.dataset] = stream.add([item.target for item in items] * len(NOISE_LEVELS))
        for index, item in enumerate(items):
            if sigma is None:
                files, load = (item.input, item.target), partial(_pair, item, crop)
            elif noise == "slerlib":
                clean, one_seed = partial(_photograph, item.target, crop), case_seed(seed, item.name, column.task)
                files, load = (item.target,), partial(_degraded, clean, column.task, 0.5, one_seed)
            else:
                draw = starts[column.dataset] + NOISE_LEVELS.index(sigma) * len(items) + index
                files, load = (item.target,), partial(stream.noisy, draw, sigma)
            found.append(Case(column.dataset, column.task, item.name, files, load))
    return found


def _pair(item: Item, crop: str) -> tuple[Tensor, Tensor]:
    damaged_CHW, clean_CHW = _read((item.input, item.target), crop)
    return damaged_CHW, clean_CHW


def _read(files: Sequence[Path], crop: str) -> list[Tensor]:
    """The pictures that a case is made from, cropped. Raises UserError for too small ones and a pair of two sizes."""
    pictures = [read_image(file)[0] for file in files]
    if len({x_CHW.shape for x_CHW in pictures}) > 1:
        damaged, clean = (f"{file} is {size_text(x_CHW)}" for file, x_CHW in zip(files, pictures, strict=True))
        raise UserError(
            f"The two images of a pair must have the same size; {damaged} and {clean} (width x height). Crop or remove "
            "the pair."
        )
    return [cropped(x_CHW, crop, file) for file, x_CHW in zip(files, pictures, strict=True)]


class PeerNoise:
    """Test noise as PromptIR and AdaIR draw it: standard normals from one numpy stream that starts at seed 0.

    Each image takes H x W x 3 numbers in its turn, so that its noise depends on the images before it; images that are
    not asked for are drawn and dropped, so that the order of asking does not matter. Theirs starts anew with every run
    and lists the folder in the order of the file system, here it is that of the names; otherwise the inputs are equal.
    """

    def __init__(self, crop: str):
        self.crop, self.files = crop, []
        self._rewind()

    def _rewind(self) -> None:
        self.stream, self.next = np.random.RandomState(0), 0

    def add(self, files: Sequence[Path]) -> int:
        """Append draws, one per file; returns the number of the first."""
        self.files += files
        return len(self.files) - len(files)

    def noisy(self, draw: int, sigma: float) -> tuple[Tensor, Tensor]:
        """(3, H, W) of that draw's photograph with noise, in steps of 1/255, and without."""
        if draw < self.next:
            self._rewind()
        for file in self.files[self.next : draw]:
            self.stream.randn(self._count(file))
        self.next = draw + 1
        clean_CHW, _ = _photograph(self.files[draw], self.crop)
        clean_HWC = clean_CHW.double().mul(255).round().permute(1, 2, 0).numpy()
        noisy_HWC = np.clip(clean_HWC + self.stream.randn(*clean_HWC.shape) * sigma, 0, 255).astype(np.uint8)  # floors
        return torch.from_numpy(noisy_HWC).permute(2, 0, 1).contiguous().float() / 255, clean_CHW

    def _count(self, file: Path) -> int:
        """Numbers that an image takes, from its header."""
        from PIL import Image

        with Image.open(file) as picture:
            width, height = picture.size
        return 3 * (height // 16 * 16) * (width // 16 * 16) if self.crop == "center16" else 3 * height * width


# --- crops and hashes ---


def size_text(x_CHW: Tensor) -> str:
    """ "width x height"."""
    return f"{x_CHW.shape[2]} x {x_CHW.shape[1]}"


def cropped(x: Tensor, crop: str, name: object) -> Tensor:
    """(..., H, W) -> its centre in multiples of 16 px ("center16", as the published scores) or as it is ("none")."""
    height, width = x.shape[-2:]
    if min(height, width) < 16:
        raise UserError(f"Images to score need at least 16 x 16 pixels; {name} is {width} x {height}. Remove it.")
    return centre(x, height // 16 * 16, width // 16 * 16) if crop == "center16" else x


def centre(x: Tensor, height: int, width: int | None = None) -> Tensor:
    """The central part of (..., H, W), at most height x width."""
    h, w = min(x.shape[-2], height), min(x.shape[-1], width or height)
    top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
    return x[..., top : top + h, left : left + w].contiguous()


def data_sha256(todo: Sequence[Case], root: str | os.PathLike) -> str:
    """SHA-256 over names and bytes of the files that are scored, whatever their order; of the bundled photographs, over
    their pixels."""
    from ..data.scenes import photographs

    total, names = hashlib.sha256(), {case.image for case in todo if not case.files}
    for file in sorted({file for case in todo for file in case.files}):
        total.update(name_bytes(f"{os.path.relpath(file, os.path.abspath(root))}\0{sha256_file(file)}\n"))
    for scene in photographs() if names else ():
        if scene.name in names:
            total.update(scene.name.encode() + scene.image.numpy().tobytes())
    return total.hexdigest()
