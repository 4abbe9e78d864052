"""What an evaluation scores: damaged and clean images, from bundled photographs, a folder, or paired folders.

Legend: C channels, H W pixels; images are float32 in [0, 1].
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from .config import CLASSES
from .data.pairing import PAIRED, image_files, paired_folders, partners
from .errors import UserError
from .images import SUFFIXES, read_image

DEMO_SIDE = 384  # the bundled photographs are cropped to at most this many pixels a side, for speed


@dataclass(frozen=True)
class Case:
    """One image to restore and what it should become."""

    dataset: str
    task: str  # degradation, or the name of a paired set
    image: str  # name within the data set
    input: Tensor  # (3, H, W)
    target: Tensor  # (3, H, W)


def demo_cases(
    root: str | os.PathLike, tasks: tuple[str, ...], images: int, severity: float, seed: int, crop: str
) -> Iterator[Case]:
    """Every clean photograph (root "demo": the bundled ones, else the images of a folder) under every task.

    A task is a class, a degradation, or several joined by "+". Each (photograph, task) has its own seed, so that
    neither order nor selection changes an input. Raises UserError for a root without images.
    """
    from .data.degrade import degrade

    for dataset, name, clean_CHW, depth_HW in _clean(root, images, crop):
        for task in tasks:
            names = task.split("+")
            depth = depth_HW if "haze" in names else None
            damaged = degrade(clean_CHW, names, severity=severity, seed=case_seed(seed, name, task), depth=depth)
            yield Case(dataset, task, name, damaged, clean_CHW)


def case_seed(seed: int, image: str, task: str) -> int:
    """The seed of one degraded image: a hash, the same whatever else is evaluated."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{image}/{task}".encode()).digest()[:4], "big")


def checked_tasks(classes) -> tuple[str, ...]:
    """The tasks to evaluate; None means all classes. Raises UserError for unknown and repeated ones."""
    from .data.degrade import degradation_order

    if classes is None:
        return CLASSES
    tasks = (classes,) if isinstance(classes, str) else tuple(classes)
    for task in tasks:
        degradation_order(str(task).split("+"))
    if not tasks or len(set(tasks)) < len(tasks):
        raise UserError(f"classes must name at least one task, each once; got {list(tasks)}. Leave it out for all.")
    return tasks


def _clean(root, images: int, crop: str) -> Iterator[tuple[str, str, Tensor, Tensor | None]]:
    """(dataset, image name, (3, H, W), depth (H, W) or None) of each clean photograph, cropped."""
    if str(root) == "demo":
        from .data.scenes import photographs

        for scene in photographs()[: images or None]:
            depth_HW = None if scene.depth is None else cropped(centre(scene.depth, DEMO_SIDE), crop, scene.name)
            yield "demo", scene.name, cropped(centre(scene.image, DEMO_SIDE), crop, scene.name), depth_HW
        return
    folder = _folder(root)
    for file in image_files(folder)[: images or None]:
        yield folder.name, file.relative_to(folder).as_posix(), cropped(read_image(file)[0], crop, file), None


def pair_cases(root: str | os.PathLike, images: int, crop: str) -> Iterator[Case]:
    """Every pair below `root`: images in input/ with a partner in target/, or under another pair of names in PAIRED.

    Partners share the name, or the target is named by the part before the first "_", or with "no" in front
    (rain-1, norain-1). Raises UserError without pairs, for missing partners and for sizes that differ.
    """
    found, folder = False, _folder(root)
    for parent, inputs, targets in paired_folders(folder):
        found = True
        dataset = parent.relative_to(folder.parent).as_posix() if parent != folder else folder.name
        pairs = partners(inputs, targets)
        for damaged_file, clean_file in pairs[: images or None]:
            damaged_CHW, clean_CHW = read_image(damaged_file)[0], read_image(clean_file)[0]
            if damaged_CHW.shape != clean_CHW.shape:
                raise UserError(
                    f"The two images of a pair must have the same size; {damaged_file} is {_size(damaged_CHW)} and "
                    f"{clean_file} is {_size(clean_CHW)} (width x height). Crop or remove the pair."
                )
            name = damaged_file.relative_to(inputs).as_posix()
            yield Case(dataset, dataset, name, *(cropped(x, crop, damaged_file) for x in (damaged_CHW, clean_CHW)))
    if not found:
        names = ", ".join(f"{a}/ + {b}/" for a, b in PAIRED)
        raise UserError(f"setting='pairs' needs folders side by side, one of {names}; {root} has none. Rename yours.")


def _folder(root) -> Path:
    folder = Path(root).resolve()
    if not folder.is_dir():
        fault = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"The data are 'demo' (bundled photographs) or a folder; {root} {fault}. Check the path.")
    return folder


def _size(x_CHW: Tensor) -> str:
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


def restored_image(folder: Path, case: Case) -> Tensor:
    """The result of another program for a case: (3, H, W) from `folder`/task/name or `folder`/name, with any suffix.

    A larger image is cropped about its centre, as the case was. Raises UserError for none, and for another size.
    """
    stem = Path(case.image).with_suffix("") if case.dataset != "demo" else Path(case.image)
    places = [folder / case.task / stem, folder / stem]
    files = [place.with_name(place.name + suffix) for place in places for suffix in SUFFIXES]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise UserError(
            f"Every image of the setting must have been restored; {case.image} ({case.task}) has neither {places[0]}.* "
            f"nor {places[1]}.*. Restore it, or limit the evaluation with images= or classes=."
        )
    height, width = case.target.shape[1:]
    y_CHW = centre(read_image(file)[0], height, width)
    if y_CHW.shape != case.target.shape:
        raise UserError(
            f"A restored image must have the size of its target, {_size(case.target)}, or more around it; {file} is "
            f"{_size(y_CHW)}. Restore it without resizing."
        )
    return y_CHW
