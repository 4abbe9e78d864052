"""Which data sets lie below a folder, and which image belongs to which: from names alone, no image is opened.

Each folder is first compared with the places of `registry.toml`, then pairs of folders of any other name are taken as
the user's own sets, then what is left: clean photographs where nothing else was found, otherwise named as left out.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..images.files import SUFFIXES
from .pairing import PAIRED, partner, side_by_side, stems, walk
from .registry import Entry, Place, matches, registry

TASKS = {  # a word in a folder's name -> the task of its pairs
    "denois": "noise", "derain": "rain", "dehaz": "haze", "deblur": "blur", "lowlight": "lowlight",
    "low-light": "lowlight", "low_light": "lowlight", "enhance": "lowlight", "llie": "lowlight",
}  # fmt: skip
INPUTS = {"rainy": "rain", "rain": "rain", "hazy": "haze", "blur": "blur", "low": "lowlight"}
ANCESTORS = 2  # how many folders above the root may be named by a place, so that Train/Derain alone is known


@dataclass(frozen=True)
class Item:
    """One image of a set."""

    name: str  # of the damaged image, relative to the set's folder, with suffix; of the clean one where input is None
    input: Path | None  # None: a clean photograph, degraded by synthesis
    target: Path


@dataclass(frozen=True)
class ImageSet:
    """The images of one data set, task and split."""

    name: str  # key in the registry ("rain100l", "cbsd68"), or the folder's name for the user's own
    task: str  # "noise", "rain", "haze", "blur", "lowlight", a "+"-joined composite, or an unknown pair's folder name
    split: str  # "train" or "test"; folders whose path says neither are for training
    items: tuple[Item, ...]

    @property
    def paired(self) -> bool:
        """Whether damaged images are there; otherwise the clean ones are degraded by synthesis."""
        return bool(self.items) and all(item.input is not None for item in self.items)


@dataclass(frozen=True)
class Problem:
    """Something wrong or left out."""

    path: Path
    kind: str  # such as "missing-partner"
    message: str  # one sentence or two: what is wrong, what to do


@dataclass(frozen=True)
class Found:
    """What lies below a folder."""

    layout: str  # "A" (PromptIR, AdaIR), "B" (MoCE-IR), "C" (original downloads), "pairs" or "clean": of most images
    root: Path
    sets: tuple[ImageSet, ...]
    problems: tuple[Problem, ...]


def recognise(root: str | os.PathLike) -> Found:
    """The data sets below `root`, which may also be a part of a layout (Train, or Train/Derain).

    Raises UserError for no folder and for a folder without images. Everything else is a `Problem` with its path.
    """
    folder = Path(os.path.abspath(root))
    if not folder.is_dir():
        fault = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"The data are a folder of images or of data sets; {root} {fault}. Check the path.")
    search = _Search(folder)
    if not any(search.files.values()):
        raise UserError(f"A folder of images ({', '.join(SUFFIXES)}) is needed; {root} holds none. Check the path.")
    search.known_sets()
    search.own_pairs()
    search.unused_targets()
    search.lone_folders()
    search.leftovers()
    layout = search.layouts.most_common(1)[0][0] if search.layouts else "clean"
    sets = [_image_set(*key, items) for key, items in search.found.items()]
    problems = sorted(search.problems, key=lambda problem: (problem.path, problem.kind))
    return Found(layout, folder, tuple(sorted(sets, key=_order)), tuple(problems))


class _Search:
    """The files of a folder and what has been made of them so far."""

    def __init__(self, root: Path):
        self.root, self.files, self.problems = root, {}, []
        for folder, files in walk(root):
            self.files[folder] = []
            for file in files:
                if file.is_file():
                    self.files[folder].append(file)
                else:
                    self.say(file, "unreadable", "is a link to nothing or a device. Copy the image itself.")
        self.folders = {os.path.normcase(folder).casefold(): folder for folder in self.files}
        self.used: set[Path] = set()  # files that belong to a set or to a problem
        self.targets: dict[Path, bool] = {}  # folders of clean partners -> whether spare ones are usual
        self.found: dict[tuple[str, str, str], list[tuple[Path, Path | None, Path]]] = {}
        self.layouts: Counter[str] = Counter()

    def say(self, path: Path, kind: str, message: str) -> None:
        self.problems.append(Problem(path, kind, f"{path.name} {message}"))

    def parts(self, folder: Path) -> tuple[str, ...]:
        """The folder's path from a little above the root, casefolded."""
        above = len(self.root.parts) - 1 - ANCESTORS
        return tuple(part.casefold() for part in folder.parts[max(0, above) :])

    # --- sets of the registry ---

    def known_sets(self) -> None:
        """Give every file that lies at a place of the registry to its set, the narrowest places first."""
        places = [(entry, place) for entry in registry().values() for place in entry.places]
        homeless = {}
        for entry, place in sorted(places, key=lambda pair: pair[1].rank()):
            for folder in [f for f in self.files if place.holds(self.parts(f))]:
                files = [file for file in self.files[folder] if file not in self.used and place.takes(file.name)]
                target = self.target_folder(folder, place)
                if files and place.target and target is None:
                    homeless.setdefault(folder, place)
                elif files:
                    task = entry.task if entry.task != "folder" else _composite(folder.name)
                    self.take((entry.name, task, place.split), place.layout, folder, files, target, entry.spare)
                elif target and not self.within(folder):  # every clean image stands alone
                    self.targets.setdefault(target, entry.spare)
        for folder, place in homeless.items():
            lost = [file for file in self.files[folder] if file not in self.used]
            if lost and folder != self.root:
                self.used.update(lost)
                names = " or ".join(place.target.split("|"))
                self.say(folder, "missing-folder", f"has {len(lost)} images, but their partners, {names}, are missing.")

    def target_folder(self, folder: Path, place: Place) -> Path | None:
        """Where the partners of a folder's images lie, if it is there; a folder with images before an empty one."""
        there = []
        for option in place.target.split("|") if place.target else ():
            path = Path(os.path.normpath(folder / option.replace("=", folder.name)))
            options = [self.folders.get(os.path.normcase(path).casefold())]
            if "*" in option:
                options = [f for f in self.files if f.parent == path.parent and matches(f.name.casefold(), path.name)]
            there += [one for one in options if one]
        return max(there, key=lambda one: bool(self.within(one)), default=None)

    def within(self, folder: Path) -> list[Path]:
        """All images below a folder."""
        return [file for f, files in self.files.items() if f == folder or folder in f.parents for file in files]

    def take(self, key, layout: str, folder: Path, files: list[Path], target: Path | None, spare=False) -> None:
        """Add images to a set: clean ones, or damaged ones with the partners found in `target`."""
        self.used.update(files)
        self.layouts[layout] += len(files)
        if target is None:
            self.found.setdefault(key, []).extend((folder, None, file) for file in files)
            return
        clean_files = [file for file in self.within(target) if target != folder or file not in files]
        clean = stems(clean_files, target)
        self.targets[target] = self.targets.get(target, False) or spare
        pairs = [(folder, file, partner(file, folder, clean)) for file in files]
        for _, file, match in pairs:
            if match is None:
                place = f"in {self.relative(target)}" if target != folder else "beside it"
                self.say(file, "missing-partner", f"has no clean partner {place}. Add it, or remove this image.")
        self.found.setdefault(key, []).extend(pair for pair in pairs if pair[2])
        self.used.update(pair[2] for pair in pairs if pair[2])

    def unused_targets(self) -> None:
        """Name clean images that no damaged one belongs to."""
        for folder, spare in self.targets.items():
            shared: dict[Path, list[Path]] = {}
            for file in self.within(folder):
                shared.setdefault(file.with_suffix(""), []).append(file)
            for file in [file for files in shared.values() for file in files if file not in self.used]:
                self.used.add(file)
                twins = [other.name for other in shared[file.with_suffix("")] if other != file]
                if twins:
                    self.say(file, "ambiguous-partner", f"and {twins[0]} bear one name. Keep the right one.")
                elif not spare:
                    self.say(file, "missing-partner", "has no damaged partner. Add it, or remove this image.")

    # --- everything else ---

    def own_pairs(self) -> None:
        """Pairs of folders with one of the names in PAIRED that no set of the registry has taken."""
        for parent in self.files:
            pair = side_by_side({f.name.casefold(): f for f in self.files if f.parent == parent})
            if pair is None:
                continue
            inputs, targets = pair
            files = [file for file in self.within(inputs) if file not in self.used]
            if not self.within(inputs):  # every clean image stands alone
                self.targets.setdefault(targets, False)
            elif files:
                name = self.own_name(parent)
                task = self.own_task(parent) or INPUTS.get(inputs.name.casefold(), name)
                self.take((name, task, self.own_split(parent)), "pairs", inputs, files, targets)

    def lone_folders(self) -> None:
        """Folders named like one of a pair whose partner is not there."""
        for folder, files in self.files.items():
            options = [b for a, b in PAIRED if a == folder.name.casefold()]
            lost = [file for file in files if file not in self.used]
            if lost and options and folder != self.root and self.layouts:
                self.used.update(lost)
                names = " or ".join(options)
                self.say(folder, "missing-folder", f"has {len(lost)} images, but no {names} lies beside it.")

    def leftovers(self) -> None:
        """Clean photographs where nothing else was found, or in a folder for denoising; the rest is left out."""
        nothing, seen, photographs = not self.layouts, set(), {}
        for folder, files in self.files.items():
            left = [file for file in files if file not in self.used]
            if left and os.path.realpath(folder) in seen:  # photographs that a link leads to count once
                continue
            seen.add(os.path.realpath(folder))
            clean = nothing or self.own_task(folder) == "noise"
            noisy = any(name.casefold().startswith("noisy") for name in folder.relative_to(self.root).parts)
            in_test = self.own_split(folder) == "train" and not self.test_folders.isdisjoint(folder.parents)
            if left and (noisy or in_test):
                what = "noisy images" if noisy else "images inside a test set"
                self.say(folder, "ignored", f"has {len(left)} {what}, which are not taken for clean photographs. "
                         "Move them to another folder if they are clean.")  # fmt: skip
            elif left and clean:
                name = self.root.name if nothing else self.own_name(folder)
                base = self.root if nothing else folder
                photographs[folder] = {file.stem for file in left}
                self.take((name, "noise", self.own_split(folder)), "clean", base, left, None)
            elif left:
                self.say(folder, "ignored", f"has {len(left)} images that belong to no set and have no partners; "
                         "they are left out.")  # fmt: skip
        self.maybe_pairs(photographs)

    def maybe_pairs(self, photographs: Mapping[Path, set[str]]) -> None:
        """Folders of photographs, side by side, most of whose names are the same: pairs called something else?"""
        for a, b in itertools.combinations(photographs, 2):
            most = max(len(photographs[a]), len(photographs[b]))
            if a.parent == b.parent and len(photographs[a] & photographs[b]) > most / 2:
                self.say(a, "looks-paired", f"and {b.name} hold images of the same names, and both are taken for clean "
                         "photographs. If one is damaged, call it input and the other target.")  # fmt: skip

    def relative(self, path: Path) -> Path:
        return path.relative_to(self.root) if path.is_relative_to(self.root) else path

    def own(self, folder: Path) -> tuple[str, ...]:
        """Names of the folders from the root (included) to this one."""
        return self.root.name, *folder.relative_to(self.root).parts

    def own_name(self, folder: Path) -> str:
        names = [name for name in self.own(folder) if not matches(name.casefold(), "TRAIN|TEST")]
        return names[-1] if names else folder.name

    @functools.cached_property
    def test_folders(self) -> set[Path]:
        """Folders that are a place of test images, whether some lie there or, as for CBSD68, in folders inside."""
        places = [place for entry in registry().values() for place in entry.places if place.split == "test"]
        return {f for f in self.files if any(place.holds(self.parts(f)) for place in places)}

    def own_task(self, folder: Path) -> str | None:
        for name in reversed(self.own(folder)):
            for word, task in TASKS.items():
                if word in name.casefold():
                    return task
        return None

    def own_split(self, folder: Path) -> str:
        """By the nearest folder with such a word in its name (test_a, Test1, valid_hr); of the root the whole name."""
        inner = [re.split(r"[^a-z]+", name.casefold()) for name in folder.relative_to(self.root).parts]
        for words in [*reversed(inner), [self.root.name.casefold()]]:
            for split in ("TEST", "TRAIN"):
                if any(word and matches(word, split) for word in words):
                    return split.lower()
        return "train"


def _composite(name: str) -> str:
    """The task of a folder of CDD-11: low_haze -> lowlight+haze."""
    return "+".join("lowlight" if word == "low" else word for word in name.casefold().split("_"))


def _image_set(name: str, task: str, split: str, rows: list[tuple[Path, Path | None, Path]]) -> ImageSet:
    """A set from (folder, damaged, clean) rows; names are relative to what its folders have in common."""
    base = Path(os.path.commonpath([folder for folder, _, _ in rows])) if rows else Path()
    items = [Item((damaged or clean).relative_to(base).as_posix(), damaged, clean) for _, damaged, clean in rows]
    return ImageSet(name, task, split, tuple(sorted(items, key=lambda item: item.name)))


def _order(found: ImageSet) -> tuple:
    known = list(registry())
    return found.split == "test", known.index(found.name) if found.name in known else len(known), found.name, found.task


def missing_sets(found: Found) -> list[Entry]:
    """Sets of the three- and five-task settings that the layout has a place for and that were not found."""
    names = {one.name for one in found.sets}
    places = found.layout in ("A", "B")
    return [entry for entry in registry().values() if places and entry.core and entry.name not in names]
