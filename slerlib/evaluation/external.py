"""Images that another program restored, found and read for scoring under the same protocol.

Legend: C channels, H W pixels; images are float32 in [0, 1].
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ..errors import UserError
from ..images.files import SUFFIXES, read_image
from .cases import Case
from .crops import centre, size_text


def restored_files(folder: str | os.PathLike, todo: Sequence[Case]) -> dict[Case, Path]:
    """The result of another program for each case, under the case's name with any image suffix.

    It lies in `folder`, or there in a folder named by the task (noise25), by that of the input (low_haze), by the data
    set (Rain100L), or by data set and task or input. Raises UserError for a missing result and for one of two cases.
    """
    folder, files, owner = Path(folder), {}, {}
    if not folder.is_dir():
        fault = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"restored must be a folder with restored images; {folder} {fault}. Check the path.")
    for case in todo:
        places, stem = _places(folder, case), Path(case.image)
        own = []
        if case.files:  # the suffix of the input first: a.jpg and a.png may lie in one folder; cameras write .JPG
            stem, own = stem.with_suffix(""), [stem.suffix]
        suffixes = dict.fromkeys((*own, *SUFFIXES, *map(str.upper, SUFFIXES)))
        options = (place / f"{stem}{suffix}" for place in places for suffix in suffixes)
        file = next((option for option in options if option.is_file()), None)
        if file is None:
            raise UserError(
                f"Every image of the setting must have been restored; {case.image} ({case.dataset}, {case.task}) has "
                f"neither {places[0] / stem}.* nor {folder / stem}.*. Restore it, or score fewer images or classes."
            )
        other = owner.setdefault(file, case)
        if other is not case:
            raise UserError(
                f"Each restored image belongs to one input; {file} would count for {other.dataset} {other.task} and "
                f"for {case.dataset} {case.task}. Sort the results into folders such as {places[0]}."
            )
        files[case] = file
    return files


def _places(folder: Path, case: Case) -> list[Path]:
    """Where the result of a case may lie, the narrowest folder first."""
    inner = dict.fromkeys((case.task, *(file.parent.name for file in case.files[:-1])))
    sets = dict.fromkeys((case.dataset, case.dataset.lower()))
    return [*(folder / a / b for a in sets for b in inner), *(folder / a for a in (*sets, *inner)), folder]


def restored_image(file: Path, target_CHW: Tensor) -> Tensor:
    """The (3, H, W) in a file; one that is larger than its target is cropped about its centre, as the target was.

    Raises UserError for another size.
    """
    height, width = target_CHW.shape[1:]
    y_CHW = centre(read_image(file)[0], height, width)
    if y_CHW.shape != target_CHW.shape:
        raise UserError(
            f"A restored image must have the size of its target, {size_text(target_CHW)}, or more around it; {file} is "
            f"{size_text(y_CHW)}. Restore it without resizing."
        )
    return y_CHW
