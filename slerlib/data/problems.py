"""Which problems stop a training: the one rule of `slerlib data check` and `slerlib train`. [ours]"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from ..errors import UserError
from .layouts import DataFolder, Problem
from .words import KERNEL

SCENES = 4  # a training takes at least this many clean images: 2 for the anchors, 2 to train on
KINDS = {  # kind -> whether it is an error
    "missing-partner": True,  # an image of a paired set that stands alone
    "missing-folder": True,  # a folder whose partner folder is not there
    "ambiguous-partner": True,  # two clean images of one name
    "looks-paired": True,  # photographs that look like the degraded and the clean side of pairs
    "too-few": True,  # fewer clean images than a training needs
    "size-mismatch": True,  # the two images of a pair differ in size
    "empty-file": True,  # 0 bytes
    "unreadable": True,  # no permission, or a link to nothing
    "not-an-image": True,
    "truncated": True,  # or damaged otherwise
    "unfit-kernel": True,  # a photograph in a folder of blur kernels
    "unfit-depth": True,  # a depth map that holds no millimetres
    "too-small": True,  # fewer pixels than training takes
    "too-large": True,  # more pixels than Pillow opens
    "duplicate-train-test": True,  # one picture in training and test: scores would be worthless
    "duplicate": False,  # one picture twice among the training images
    "misaligned": False,  # a low-light pair whose images are shifted or show different things; LOL has some
    "greyscale": False,  # where colour is usual
    "same-names": False,  # two folders of photographs with the same names
    "ignored": False,  # images that belong to no set
}
ERRORS = frozenset(kind for kind, error in KINDS.items() if error)
MEANING = {  # what a person who sees a kind for the first time should know
    "missing-partner": "training needs both images of a pair",
    "looks-paired": "a training would take the degraded side for clean. Put the two sides into input/ and target/, or "
    "name the pairs in pairs.csv (data/README.md); where all images are clean, --allow looks-paired",
    "duplicate-train-test": "scores on pictures that were trained on are worth nothing",
    "duplicate": "usual for Rain100L, Rain100H and DDN, whose backgrounds are BSDS photographs: nothing to do",
    "unfit-depth": "haze in training follows depth maps: 16 bits, millimetres",
    "misaligned": "a network learns the shift too; a pair that shows two scenes teaches nothing",
    "greyscale": "fine if you want it so",
    "same-names": "fine for the folders of a camera: the pictures differ",
    "ignored": "fine for masks, depth maps and photographs without a partner; pairs lie in two folders side by "
    "side, such as input/ and target/ (data/README.md)",
}


def is_error(problem: Problem, allow: Collection[str], root: Path) -> bool:
    """Whether a problem stops a training. allow: kinds, or names of files and of folders below `root`."""
    parts = problem.path.relative_to(root).parts if problem.path.is_relative_to(root) else problem.path.parts
    allowed = {problem.kind, *parts, "/".join(parts)} & set(allow)
    return problem.kind in ERRORS and (problem.kind == "too-few" or not allowed)  # no wish makes photographs


def too_few(data: DataFolder) -> list[Problem]:
    """A problem where the training sets have fewer clean images than anchors and training need."""
    train = [s for s in data.sets if s.split == "train" and s.items and s.task != KERNEL]
    photographs = [s for s in train if s.task == "noise"] or train
    count = len({item.target for s in photographs for item in s.items})
    if not train or count >= SCENES:
        return []
    text = f"A training needs at least {SCENES} clean images, half of them for the anchors; {data.root} has {count}."
    return [Problem(data.root, "too-few", f"{text} Add some.")]


def check_allowed(allow: Iterable[str], problems: Iterable[Problem], root: Path, sets: Iterable[str] = ()) -> None:
    """Raise UserError for a name in `allow` that means no error, file, folder or set here."""
    names = {part for p in problems if p.path.is_relative_to(root) for part in p.path.relative_to(root).parts}
    names |= {p.path.relative_to(root).as_posix() for p in problems if p.path.is_relative_to(root)}
    if unknown := sorted(set(allow) - ERRORS - names - set(sets)):
        raise UserError(
            f"--allow takes a kind of error ({', '.join(sorted(ERRORS))}), or the name of a file, folder or set that "
            f"has a problem in {root}; got {', '.join(unknown)}. Correct it, or leave it out."
        )
