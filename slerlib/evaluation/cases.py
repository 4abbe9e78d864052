"""What an evaluation scores: degraded and clean images, made or read one at a time.

    todo, missing = cases("data", "5", noise="promptir")
    input_CHW, target_CHW = todo[0].load()

Legend: C channels, H W pixels; images are float32 in [0, 1].
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from ..data.degrade import degrade
from ..data.layouts import Item
from ..data.masks import mask
from ..data.pairing import image_files
from ..data.scenes import photographs
from ..errors import UserError
from ..files import name_bytes, sha256_file
from ..images.files import read_image
from .crops import centre, cropped, size_text
from .local import damage_of
from .options import MADE_HERE, Options
from .promptir_noise import PromptIRNoise
from .settings import NOISE_LEVELS, Column, chosen

DEMO_SIDE = 384  # the bundled photographs are cropped to at most this many pixels a side, for speed


@dataclass(frozen=True)
class Case:
    """One image to restore, and what it should become."""

    dataset: str
    task: str  # degradation; of a paired set the task that its layout names
    image: str  # name within the data set
    files: tuple[Path, ...]  # (clean,) or (degraded, clean); empty for the bundled photographs
    load: Callable[[], tuple[Tensor, Tensor]]  # () -> degraded and clean, (3, H, W) each
    where: Callable[[int, int], Tensor] | None = None  # of damage in a part: (H, W) -> its mask
    all_over: Case | None = None  # the same damage in the whole picture


@dataclass(frozen=True)
class LoadedCase:
    """A case with its pictures in memory."""

    dataset: str
    task: str
    image: str
    input: Tensor  # (3, H, W) in [0, 1]
    target: Tensor  # (3, H, W) in [0, 1]


def loaded(cases: Iterable[Case | LoadedCase]) -> Iterator[LoadedCase]:
    """The cases one after another, each read in its turn."""
    for case in cases:
        if isinstance(case, Case):
            case = LoadedCase(case.dataset, case.task, case.image, *case.load())
        yield case


def cases(root: str | os.PathLike, setting: str, **options) -> tuple[list[Case], list[str]]:
    """What `evaluate` scores, in its order, and what is missing from the setting. options: as of `evaluate`.

    Reads names of files, but no image yet. Raises UserError for options outside the rules and for missing data.
    """
    asked = Options(setting, **options)
    if asked.setting in MADE_HERE:
        todo = demo_cases(root, asked.classes, asked.images, asked.severity, asked.seed, asked.crop)
        return todo, [task for task in MADE_HERE[asked.setting][0] if task not in asked.classes]
    columns, missing = chosen(root, asked.setting)
    return set_cases(columns, asked.images, asked.seed, asked.crop, asked.noise), missing


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


# --- clean photographs, degraded in every class ---


def demo_cases(
    root: str | os.PathLike, tasks: Sequence[str], images: int, severity: float, seed: int, crop: str
) -> list[Case]:
    """Every clean photograph (root "demo": the bundled ones, else the images of a folder) under every task.

    A task is a class, a degradation, or several joined by "+", and "@" with the shape of a mask ("rain@disc") where
    they damage a part. Each (photograph, damage) has its own seed, and each (photograph, task) that of its mask, so
    that neither order nor selection changes an input. Raises UserError for a root without images.
    """
    todo = []
    for dataset, name, files, clean in _clean(root, images, crop):
        whole = {}
        for task in tasks:
            damage = damage_of(task)
            make = partial(_degraded, clean, damage, severity, case_seed(seed, name, damage))
            case = whole.setdefault(damage, Case(dataset, damage, name, files, make))
            todo.append(case if task == damage else _in_part(case, task, case_seed(seed, name, task)))
    return todo


def _in_part(case: Case, task: str, seed: int) -> Case:
    where = partial(mask, task.partition("@")[2], seed=seed)
    return replace(case, task=task, load=partial(case.load, where=where), where=where, all_over=case)


def case_seed(seed: int, image: str, task: str) -> int:
    """The seed of one degraded image: a hash, the same whatever else is evaluated."""
    return int.from_bytes(hashlib.sha256(name_bytes(f"{seed}/{image}/{task}")).digest()[:4], "big")


def _degraded(clean: Callable[[], tuple[Tensor, Tensor | None]], task: str, severity: float, seed: int, where=None):
    clean_CHW, depth_HW = clean()
    names = task.split("+")
    depth = depth_HW if "haze" in names else None
    mask_HW = where and where(*clean_CHW.shape[1:])
    return degrade(clean_CHW, names, severity=severity, seed=seed, depth=depth, where=mask_HW), clean_CHW


def _clean(root, images: int, crop: str):
    """(dataset, name, files, () -> ((3, H, W), depth (H, W) or None)) of each clean photograph."""
    if str(root) == "demo":
        return [("demo", scene.name, (), partial(_bundled, scene, crop)) for scene in photographs()[: images or None]]
    folder = Path(os.path.abspath(root))  # a link to a folder stays one, as in `data_sha256`
    if not folder.is_dir():
        fault = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"The data are 'demo' (bundled photographs) or a folder; {root} {fault}. Check the path.")
    return [
        (folder.name, file.relative_to(folder).as_posix(), (file,), partial(_photograph, file, crop))
        for file in image_files(folder)[: images or None]
    ]


def _bundled(scene, crop: str) -> tuple[Tensor, Tensor | None]:
    def part(x: Tensor) -> Tensor:
        return cropped(centre(x, DEMO_SIDE), crop, scene.name)

    return part(scene.image), None if scene.depth is None else part(scene.depth)


def _photograph(file: Path, crop: str) -> tuple[Tensor, None]:
    return cropped(read_image(file)[0], crop, file), None


# --- test sets ---


def set_cases(columns: Sequence[Column], images: int, seed: int, crop: str, noise: str) -> list[Case]:
    """The images of each column: pairs as they are, clean photographs under noise."""
    todo, stream, starts = [], PromptIRNoise(crop), {}
    for column in columns:
        items = column.items[: images or None]
        sigma = int(column.task.removeprefix("noise")) if items[0].input is None else None
        if sigma is not None and column.dataset not in starts:  # PromptIR draws all three levels, scored or not
            starts[column.dataset] = stream.add([item.target for item in items] * len(NOISE_LEVELS))
        for index, item in enumerate(items):
            if sigma is None:
                files = (item.input, item.target)
                load = partial(_pair, item, crop)
            elif noise == "slerlib":
                files, clean = (item.target,), partial(_photograph, item.target, crop)
                load = partial(_degraded, clean, column.task, 0.5, case_seed(seed, item.name, column.task))
            else:
                draw = starts[column.dataset] + NOISE_LEVELS.index(sigma) * len(items) + index
                files, load = (item.target,), partial(stream.noisy, draw, sigma)
            todo.append(Case(column.dataset, column.task, item.name, files, load))
    return todo


def _pair(item: Item, crop: str) -> tuple[Tensor, Tensor]:
    input_CHW, target_CHW = _read((item.input, item.target), crop)
    return input_CHW, target_CHW


def _read(files: Sequence[Path], crop: str) -> list[Tensor]:
    """The pictures of a case, cropped. Raises UserError for a picture that is too small and a pair of two sizes."""
    pictures = [read_image(file)[0] for file in files]
    if len({x_CHW.shape for x_CHW in pictures}) > 1:
        sizes = [f"{file} is {size_text(x_CHW)}" for file, x_CHW in zip(files, pictures, strict=True)]
        raise UserError(
            f"The two images of a pair must have the same size; {' and '.join(sizes)} (width x height). Crop or remove "
            "the pair."
        )
    return [cropped(x_CHW, crop, file) for file, x_CHW in zip(files, pictures, strict=True)]


def data_sha256(todo: Sequence[Case], root: str | os.PathLike) -> str:
    """SHA-256 over names and bytes of the files that are scored, in name order; of the bundled photographs, over their
    pixels."""
    total, names = hashlib.sha256(), {case.image for case in todo if not case.files}
    for file in sorted({file for case in todo for file in case.files}):
        total.update(name_bytes(f"{os.path.relpath(file, os.path.abspath(root))}\0{sha256_file(file)}\n"))
    for scene in photographs() if names else ():
        if scene.name in names:
            total.update(scene.name.encode() + scene.image.numpy().tobytes())
    return total.hexdigest()
