"""The search behind `layouts.recognise`: the files of a folder, and the sets and problems they belong to so far."""

from __future__ import annotations

import functools
import itertools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import UserError
from ..images.files import SUFFIXES
from .layouts import Problem
from .listing import LISTS, list_file, read_list
from .pairing import image_folders, pairs_within, partners
from .registry import Place, matches, registry
from .words import DEPTH, FILLERS, INPUTS, SURE, TARGETS, own_class, own_name, side, split_of, task_of

ANCESTORS = 2  # folders above the root that a place may name, so that Train/Derain alone is recognised
VERSIONS = ("blur_gamma",)  # other versions of the inputs in the folder beside, as in GoPro: used only without those
SYNTHETIC_NOISE = "noisy"  # noisy15, noisy25 beside clean photographs, as CBSD68 brings them: no camera made it


class Search:
    """Each method gives files to sets or names a problem, and leaves the other files to the methods after it."""

    def __init__(self, root: str | os.PathLike):
        path = Path(os.path.abspath(root))
        if not path.is_dir() and path.suffix.lower() not in LISTS or not path.exists():
            fault = "is a file" if path.exists() else "does not exist"
            raise UserError(f"The data are a folder of images or data sets, or a list of pairs ({', '.join(LISTS)}); "
                            f"{root} {fault}. Check the path.")  # fmt: skip
        self.list = list_file(path)
        self.root, self.files, self.problems = path if path.is_dir() else path.parent, {}, []
        for folder, files in image_folders(self.root):
            self.files[folder] = []
            for file in files:
                if file.is_file():
                    self.files[folder].append(file)
                else:
                    self.name(file, "unreadable", "is a link to nothing or a device. Copy the image itself.")
        if not any(self.files.values()) and self.list is None:
            kinds = ", ".join(SUFFIXES)
            raise UserError(
                f"A folder of images ({kinds}) is needed; {self.root} holds none. Check the path; `slerlib data list` "
                "names sets and where they come from."
            )
        self.folders = {os.path.normcase(folder).casefold(): folder for folder in self.files}
        self.used: set[Path] = set()  # files that belong to a set or to a problem
        self.targets: dict[Path, bool] = {}  # folders of clean partners -> whether spare ones are usual
        self.sets: dict[tuple[str, str, str], list[tuple[Path, Path | None, Path]]] = {}
        self.layouts: Counter[str] = Counter()

    def name(self, path: Path, kind: str, message: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(path, kind, f"{path.name} {message}"))

    # --- a list

    def listed(self) -> None:
        """The pairs and photographs of a list file; if --data is the list itself, other files do not count."""
        if self.list is None:
            return
        for row in read_list(self.list):
            folder, task = (row["input"] or row["target"]).parent, row["task"]
            inside = folder.is_relative_to(self.root)
            names = self.own(folder) if inside else (folder.name,)
            name, split = task or own_name(names), row["split"] or self.own_split(names)
            if not row["input"]:
                task = "noise"
            elif not task or "+" not in task:
                stated = [task] if task else names
                task = self.own_task(stated) or "noise"
                task = own_class(stated) if task == "noise" else task
            rows = self.sets.setdefault((name, task, split), [])
            rows.append((self.root if inside else folder, row["input"], row["target"]))
            self.used.update(path for path in (row["input"], row["target"]) if path)
            self.layouts["list"] += 1
        if self.list.parent == self.root and self.list.name not in ("pairs.csv", "pairs.jsonl"):
            self.used.update(file for files in self.files.values() for file in files)

    # --- sets of the registry

    def known_sets(self) -> None:
        """Give every file that lies at a place of the registry to its set, the narrowest places first."""
        places = [(entry, place) for entry in registry().values() if entry.task != DEPTH for place in entry.places]
        homeless = {}
        for entry, place in sorted(places, key=lambda pair: pair[1].rank()):
            for folder in [f for f in self.files if place.holds(self.parts(f))]:
                files = [file for file in self.free(folder) if place.takes(file.name)]
                target = self.target_folder(folder, place)
                if files and place.target and target is None:
                    homeless.setdefault(folder, place)
                elif files:
                    task = entry.task if entry.task != "folder" else _composite(folder.name)
                    self.take((entry.name, task, place.split), place.layout, folder, files, target, entry.spare)
                elif target and not self.within(folder):  # every clean image stands alone
                    self.targets.setdefault(target, entry.spare)
        for folder, place in homeless.items():
            self.lone(folder, place.target.split("|"))

    def parts(self, folder: Path) -> tuple[str, ...]:
        """The folder's path from a little above the root, casefolded."""
        above = len(self.root.parts) - 1 - ANCESTORS
        return tuple(part.casefold() for part in folder.parts[max(0, above) :])

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

    def free(self, folder: Path) -> list[Path]:
        """The images of a folder that belong to no set and no problem yet."""
        return [file for file in self.files[folder] if file not in self.used]

    def take(self, key, layout: str, folder: Path, files: list[Path], target: Path | None, spare=False) -> None:
        """Add images to a set: clean ones, or degraded ones with the partners found in `target`."""
        self.used.update(files)
        self.layouts[layout] += len(files)
        rows = self.sets.setdefault(key, [])
        if target is None:
            rows.extend((folder, None, file) for file in files)
            return
        self.targets[target] = self.targets.get(target, False) or spare
        clean = [file for file in self.within(target) if target != folder or file not in files]
        for file, match in zip(files, partners(files, folder, clean, target), strict=True):
            if match is not None:
                rows.append((folder, file, match))
                self.used.add(match)
            else:
                place = f"in {self.relative(target)}" if target != folder else "beside it"
                self.name(file, "missing-partner", f"has no clean partner {place}. Add it, or remove this image.")

    # --- own sets

    def own_pairs(self) -> None:
        """Folders side by side whose names differ in the word for the side: input and target, train_lq and train_gt."""
        for parent in self.files:
            sides = [(folder, *side(folder.name, FILLERS)) for folder in self.files if folder.parent == parent]
            targets = [(folder, key, word) for folder, kind, key, word in sides if kind == "target"]
            for inputs, kind, key, word in sides:
                if kind != "input" or word == SYNTHETIC_NOISE and any(part.isdigit() for part in key):
                    continue
                options = [one for one in targets if one[1] == key] or [one for one in targets if not one[1]]
                files = [file for file in self.within(inputs) if file not in self.used]
                if options and not self.within(inputs):  # every clean image stands alone
                    self.targets.setdefault(options[0][0], False)
                if not options or not files:
                    continue
                target = self.best(inputs, files, options)
                if target is not None:
                    self.take(self.own_key(parent, word), "pairs", inputs, files, target)

    def best(self, inputs: Path, files: list[Path], options: Sequence[tuple]) -> Path | None:
        """The folder with most partners, or of the more usual name; None for another version of inputs in use."""

        def rank(one: tuple) -> tuple:
            folder, _, word = one
            return -sum(map(bool, partners(files, inputs, self.within(folder), folder))), TARGETS.index(word)

        target = min(options, key=rank)[0]
        again = inputs.name.casefold() in VERSIONS and any(file in self.used for file in self.within(target))
        return None if again else target

    def pairs_in_one_folder(self) -> None:
        """Files side by side whose names differ in the word for the side: 01_hazy and 01_GT."""
        for folder in self.files:
            files = self.free(folder)
            pairs = pairs_within(files)
            if not pairs:
                continue
            words = Counter(side(file.stem)[2] for file in pairs)
            key = self.own_key(folder, words.most_common(1)[0][0])
            rows = self.sets.setdefault(key, [])
            rows.extend((folder, file, target) for file, target in pairs.items())
            self.layouts["pairs"] += len(pairs)
            self.used.update(files)
            for file in set(files) - {*pairs, *pairs.values()}:
                self.name(
                    file, "missing-partner", "has no partner among the files beside it. Add it, or remove this image."
                )

    def own_key(self, parent: Path, word: str | None) -> tuple[str, str, str]:
        """(name, task, split) of own pairs below a folder whose inputs are called by `word`.

        Noise of a camera is a class of its own: those of `noise` are levels that synthesis makes.
        """
        names = self.own(parent)
        task = self.own_task(names) or INPUTS.get(word)
        return own_name(names), own_class(names) if task in (None, "noise") else task, self.own_split(names)

    # --- what is left

    def unused_targets(self) -> None:
        """Name clean images to which no degraded one belongs."""
        for folder, spare in self.targets.items():
            shared: dict[Path, list[Path]] = {}
            for file in self.within(folder):
                shared.setdefault(file.with_suffix(""), []).append(file)
            for file in [file for files in shared.values() for file in files if file not in self.used]:
                self.used.add(file)
                twins = [other.name for other in shared[file.with_suffix("")] if other != file]
                if twins:
                    self.name(file, "ambiguous-partner", f"and {twins[0]} bear one name. Keep the right one.")
                elif not spare:
                    self.name(file, "missing-partner", "has no degraded partner. Add it, or remove this image.")

    def lone_folders(self) -> None:
        """Folders that are named as the degraded side of pairs, and have no clean side."""
        for folder in self.files:
            kind, key, word = side(folder.name, FILLERS)
            if (
                kind == "input"
                and not key
                and folder.name.casefold() not in VERSIONS
                and (word in SURE or word in ("rain", "haze", "blur") and self.layouts)
            ):
                self.lone(folder, ["target", "gt"])

    def lone(self, folder: Path, options: Sequence[str]) -> None:
        lost = self.free(folder)
        if lost and (folder != self.root or not self.layouts):
            self.used.update(lost)
            self.name(folder, "missing-folder", f"has {len(lost)} images, and their partners, {' or '.join(options)}, "
                      f"are missing. Add them, or rename {folder.name} if its images are clean.")  # fmt: skip

    def leftovers(self) -> None:
        """Clean photographs where nothing else was found, or in a folder for denoising; the rest is left out."""
        nothing, seen, photographs = not self.layouts, set(), {}
        for folder in self.files:
            left = self.free(folder)
            if left and os.path.realpath(folder) in seen:  # photographs that a link leads to count once
                continue
            seen.add(os.path.realpath(folder))
            names = self.own(folder)
            noisy = any(name.casefold().startswith(SYNTHETIC_NOISE) for name in names[1:])
            in_test = self.own_split(names) == "train" and not self.test_folders.isdisjoint(folder.parents)
            if left and (noisy or in_test):
                what = "noisy images" if noisy else "images inside a test set"
                self.name(folder, "ignored", f"has {len(left)} {what}, which are not taken for clean photographs. "
                          "Move them to another folder if they are clean.")  # fmt: skip
            elif left and (nothing or self.own_task(names) == "noise"):
                name = self.root.name if nothing else own_name(names)
                base = self.root if nothing else folder
                photographs[folder] = {file.stem for file in left}
                self.take((name, "noise", self.own_split(names)), "clean", base, left, None)
            elif left:
                self.name(folder, "ignored", f"has {len(left)} images that belong to no set and have no partners; "
                          "they are left out.")  # fmt: skip
        self.same_names(photographs)

    def same_names(self, photographs: Mapping[Path, set[str]]) -> None:
        """Folders of photographs most of whose names are the same, as those of a camera, and of pairs, often are."""
        for a, b in itertools.combinations(photographs, 2):
            most = max(len(photographs[a]), len(photographs[b]))
            if a.parent == b.parent and len(photographs[a] & photographs[b]) > most / 2:
                self.name(a, "same-names", f"and {b.name} hold images of the same names, and both are taken for clean "
                          "photographs. If one is degraded, call it input and the other target.")  # fmt: skip

    def relative(self, path: Path) -> Path:
        return path.relative_to(self.root) if path.is_relative_to(self.root) else path

    def own(self, folder: Path) -> tuple[str, ...]:
        """Names of the folders from the root (included) to this one."""
        return self.root.name, *folder.relative_to(self.root).parts

    @functools.cached_property
    def test_folders(self) -> set[Path]:
        """Folders that are a place of test images, whether some lie there or, as for CBSD68, in folders inside."""
        places = [place for entry in registry().values() for place in entry.places if place.split == "test"]
        return {f for f in self.files if any(place.holds(self.parts(f)) for place in places)}

    @staticmethod
    def own_task(names: Sequence[str]) -> str | None:
        return next(filter(None, map(task_of, reversed(names))), None)

    @staticmethod
    def own_split(names: Sequence[str]) -> str:
        """By the nearest folder with such a word in its name; of the root, the whole name counts."""
        inner = (split_of(name) for name in reversed(names[1:]))
        return next(filter(None, (*inner, split_of(names[0], whole=True))), "train")


def _composite(name: str) -> str:
    """The task of a folder of CDD-11: low_haze -> lowlight+haze."""
    return "+".join("lowlight" if word == "low" else word for word in name.casefold().split("_"))
