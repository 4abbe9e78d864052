"""Is a folder of data sets fit for training? Every image is opened once and every problem named with its path. [ours]

A problem is an error where training would fail or its scores would be worthless, and otherwise a warning. `allow` turns
a kind of error into a warning.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import UserError
from .camera import measured_kernel
from .layouts import DataFolder, ImageSet, Problem, missing_sets, recognise
from .likeness import SAME, correlation, near, phash
from .measured import scene_depth
from .probe import Probe, SceneFiles, probe_group
from .problems import ERRORS, MEANING, check_allowed, is_error, too_few
from .registry import LAYOUTS, registry
from .twins import looks_paired
from .words import DEPTH, KERNEL

SHIFT_GAIN = 0.02  # by how much a shift must improve the correlation of a pair; aligned LOL pairs have no gain
UNLIKE = 0.25  # correlation below which a pair shows different things; aligned LOL pairs have 0.49 and more


@dataclass(frozen=True)
class Report:
    """What a check of a folder returns."""

    data: DataFolder
    problems: tuple[Problem, ...]
    allowed: frozenset[str]

    @property
    def ok(self) -> bool:
        """Whether training may start: no problem is an error."""
        return not any(self.is_error(problem) for problem in self.problems)

    def is_error(self, problem: Problem) -> bool:
        return is_error(problem, self.allowed, self.data.root)


def check(root, allow: Collection[str] = (), progress: bool = False, workers: int | None = None) -> Report:
    """Recognise and open everything below `root`.

    Raises UserError for a folder without images and for an unknown kind in `allow`.
    """
    data = recognise(root)
    problems, everything = [*data.problems, *too_few(data), *_unfit_kernels(data)], data
    data = replace(data, sets=tuple(images for images in data.sets if images.task != KERNEL))
    probes: dict[Path, Probe] = {}
    for group, shifts in _probe_all(_groups(data.sets), progress, workers):
        probes |= {one.path: one for one in group}
        problems += _misaligned(shifts)
    for one in probes.values():
        if one.fault:
            problems.append(Problem(one.path, one.fault[0], f"{one.path.name} {one.fault[1]}"))
    for images in data.sets:
        problems += _sizes(images, probes)
        problems += _unfit_depth(images, probes)
        problems += _greyscale(images, probes)
    problems += looks_paired(data, lambda file: probes[file].small)
    problems += _duplicates(data, probes)
    check_allowed(allow, problems, data.root, {n for s in data.sets for n in (s.name, f"{s.name}-{s.task}")})
    problems.sort(key=lambda problem: (problem.kind not in ERRORS, problem.kind, problem.path))
    return Report(everything, tuple(problems), frozenset(allow))


def _groups(sets: tuple[ImageSet, ...]) -> list[SceneFiles]:
    """One group for each clean image, with all inputs that belong to it."""
    inputs: dict[Path, dict[Path, None]] = {}
    dark = {item.target for images in sets if images.task == "lowlight" for item in images.items}
    for item in (item for images in sets for item in images.items):
        inputs.setdefault(item.target, {}).update({item.input: None} if item.input else {})
    return [SceneFiles(target, tuple(files), target in dark) for target, files in inputs.items()]


def _probe_all(groups: list[SceneFiles], progress: bool, workers: int | None) -> Iterator:
    """Threads are enough: Pillow decodes without holding Python's lock."""
    from tqdm import tqdm

    with warnings.catch_warnings(), ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # Pillow warns about odd but readable files; unreadable ones raise
        bar = tqdm(total=sum(1 + len(g.inputs) for g in groups), unit="image", disable=not progress, leave=False)
        with bar:
            for probes, shifts in pool.map(probe_group, groups):
                bar.update(len(probes))
                yield probes, shifts


def _misaligned(shifts) -> Iterator[Problem]:
    for file, (down, right), best, unshifted in shifts:
        if best < UNLIKE:
            text = f"fits its partner at no shift (correlation {best:.2f} at best). Compare the two scenes and views."
            yield Problem(file, "misaligned", f"{file.name} {text}")
        elif (down or right) and best - unshifted >= SHIFT_GAIN:
            place = f"{abs(down)} px {'above' if down > 0 else 'below'}, "
            place += f"{abs(right)} px {'left' if right > 0 else 'right'}"
            text = f"lies off its partner, about {place} (correlation {unshifted:.2f}, shifted {best:.2f})."
            yield Problem(file, "misaligned", f"{file.name} {text} Align or leave out the pair.")


def _sizes(images: ImageSet, probes: dict[Path, Probe]) -> Iterator[Problem]:
    for item in images.items:
        a, b = probes.get(item.input), probes[item.target]
        if a and a.size and b.size and a.size != b.size:
            text = f"is {a.size[0]} x {a.size[1]}, but {item.target.name} is {b.size[0]} x {b.size[1]} (width x height)"
            yield Problem(item.input, "size-mismatch", f"{item.input.name} {text}. Crop or remove the pair.")


def _unfit_kernels(data: DataFolder) -> Iterator[Problem]:
    for file in (item.target for images in data.sets if images.task == KERNEL for item in images.items):
        try:
            measured_kernel(file)
        except UserError as error:
            yield Problem(file, "unfit-kernel", f"{file.name}: {error}")


def _unfit_depth(images: ImageSet, probes: dict[Path, Probe]) -> Iterator[Problem]:
    for item in images.items if images.task == DEPTH else ():
        try:
            if not probes[item.input].fault:
                scene_depth(item.input)
        except UserError as error:
            yield Problem(item.input, "unfit-depth", f"{item.input.name}: {error}")


def _greyscale(images: ImageSet, probes: dict[Path, Probe]) -> Iterator[Problem]:
    """Greyscale images among coloured ones, or in a set of the registry: those are all in colour."""
    files = dict.fromkeys(item.target for item in images.items)
    grey = [file for file in files if probes[file].grey]
    if grey and (len(grey) < len(files) or images.name in registry()):
        for file in grey:
            yield Problem(file, "greyscale", f"{file.name} has no colour, unlike the others. Is it the right version?")


# --- duplicates ---


def _duplicates(data: DataFolder, probes: dict[Path, Probe]) -> list[Problem]:
    """Clean images that are in training and test, in two training sets or twice in one; then inputs in both splits."""
    train, test = (_pictures(data.sets, split, probes, clean=True) for split in ("train", "test"))
    problems = list(_across(train, test, data.root))
    named = {problem.path for problem in problems}
    owners = {item.input: item.target for images in data.sets for item in images.items if item.input}
    inputs = (_pictures(data.sets, split, probes, clean=False) for split in ("train", "test"))
    problems += [p for p in _across(*inputs, data.root) if owners[p.path] not in named]
    scenes = {n for n, images in enumerate(data.sets) if images.task == DEPTH}
    problems += _within(train, scenes, data.root)
    return problems


@dataclass(frozen=True)
class _Pictures:
    """The readable files of one split, each once, with the set of each."""

    probes: list[Probe]
    sets: np.ndarray  # (N,) index of the set
    hashes: np.ndarray  # (N,) uint64


def _pictures(sets: tuple[ImageSet, ...], split: str, probes: dict[Path, Probe], clean: bool) -> _Pictures:
    names = {}  # file -> set; a file of several sets belongs to the first
    for number, images in enumerate(sets):
        for item in images.items if images.split == split else ():
            file = item.target if clean else item.input
            if file and probes[file].small is not None:
                names.setdefault(file, number)
    chosen = [probes[file] for file in names]
    hashes = np.array([phash(one.small) for one in chosen], np.uint64)
    return _Pictures(chosen, np.array(list(names.values()), int), hashes)


def _alike(a: Probe, b: Probe) -> str | None:
    """In which words two files are the same picture; None where they are not."""
    if a.digest == b.digest:
        return "is identical to"
    return "is the same picture as" if correlation(a.small, b.small) >= SAME else None


def _across(train: _Pictures, test: _Pictures, root: Path) -> Iterator[Problem]:
    seen = set()
    for i, j in near(train.hashes, test.hashes):
        how = None if i in seen else _alike(train.probes[i], test.probes[j])
        if how:
            seen.add(i)
            a, b = train.probes[i].path, test.probes[j].path
            text = f"(training) {how} {b.relative_to(root)} (test). Remove it from the training images."
            yield Problem(a, "duplicate-train-test", f"{a.name} {text}")


def _within(train: _Pictures, scenes: set[int], root: Path) -> Iterator[Problem]:
    """The same picture in two sets, but those of `scenes`, which serve haze alone; within one set only identical files,
    because the frames of a video are alike."""
    seen = set()
    for i, j in near(train.hashes, train.hashes):
        if i >= j or j in seen or scenes & {train.sets[i], train.sets[j]}:
            continue
        a, b = train.probes[i], train.probes[j]
        how = _alike(a, b) if train.sets[i] != train.sets[j] or a.digest == b.digest else None
        if how:
            seen.add(j)
            text = f"{how} {a.path.relative_to(root)}, so it counts twice in training."
            yield Problem(b.path, "duplicate", f"{b.path.name} {text}")


# --- for people and programs ---


def as_json(report: Report) -> dict:
    """The report as plain objects: layout, sets, missing, problems and ok."""
    return {
        "root": str(report.data.root),
        "layout": report.data.layout,
        "layout_name": LAYOUTS[report.data.layout],
        "sets": [
            {"name": images.name, "title": title, "task": images.task, "split": images.split, "paired": images.paired,
             "count": len(images.items), "usual": usual, "problems": count}
            for images, title, usual, count in _rows(report)
        ],
        "missing": [entry.name for entry in missing_sets(report.data)],
        "problems": [
            {"path": str(p.path), "kind": p.kind, "level": "error" if report.is_error(p) else "warning",
             "message": p.message}
            for p in report.problems
        ],
        "ok": report.ok,
    }  # fmt: skip


def _rows(report: Report) -> Iterator[tuple[ImageSet, str, int | None, int]]:
    """(set, title, usual count or None, number of problems) of each set."""
    count = Counter(problem.path for problem in report.problems)
    for images in report.data.sets:
        entry = registry().get(images.name)
        files = {file for item in images.items for file in (item.input, item.target) if file}
        usual = entry.counts.get(images.split) if entry else None
        yield images, entry.title if entry else images.name, usual, sum(count[file] for file in files)


def as_text(report: Report, most: int = 5) -> str:
    """The report for a person, with paths relative to the root and the first `most` problems of each kind."""
    data = report.data
    lines = [f"{data.root}: layout {data.layout} ({LAYOUTS[data.layout]})", "",
             f"{'set':14} {'task':14} {'split':6} {'images':>12} {'full':>7} {'problems':>9}"]  # fmt: skip
    for images, _, usual, count in _rows(report):
        lines.append(
            f"{images.name:14} {images.task:14} {images.split:6} {_counted(images):>12} {usual or '-':>7} {count:>9}"
        )
    lines.append("full: images of the whole published set. noise: clean photographs, damaged while training runs.")
    if any(images.task == DEPTH for images in data.sets):
        lines.append("depth: photographs with a depth map, for haze in training (data.depth_share).")
    if any(images.task == KERNEL for images in data.sets):
        lines.append("kernel: measured kernels, for blur in training (data.kernel_share).")
    if gaps := "; ".join(f"{gap.name} ({gap.title.partition(':')[0]})" for gap in missing_sets(data)):
        lines += ["", f"not found of the three- and five-task settings: {gaps}"]
    for kind in dict.fromkeys(problem.kind for problem in report.problems):
        same = [problem for problem in report.problems if problem.kind == kind]
        meaning = f": {MEANING[kind]}." if kind in MEANING else ""
        lines += ["", f"{'error' if report.is_error(same[0]) else 'warning'}: {kind} ({len(same)}){meaning}"]
        for problem in same[:most]:
            path = os.path.relpath(problem.path, data.root)
            about = problem.message.removeprefix(problem.path.name)
            alone = path == "." or about != problem.message
            lines.append(f"  {'' if path == '.' else path}{'' if alone else ': '}{about}")
        if len(same) > most:
            lines.append(f"  ... and {len(same) - most} more; --json names all")
    errors = sum(map(report.is_error, report.problems))
    verdict = "Training can start." if report.ok else "Training should not start: see the errors above."
    if report.ok and all(images.split == "test" for images in data.sets):
        verdict = "These are test sets alone: they can be scored (slerlib eval), not trained on."
    if report.ok and not data.sets:
        verdict = "No image here can be used: see the warnings above."
    counts = [f"{n} {word}{'' if n == 1 else 's'}" for n, word in
              ((errors, "error"), (len(report.problems) - errors, "warning"))]  # fmt: skip
    lines += ["", f"{', '.join(counts)}. {verdict}"]
    return "\n".join(lines)


def _counted(images: ImageSet) -> str:
    what = ("scene" if images.task == DEPTH else "pair") + ("" if len(images.items) == 1 else "s")
    return f"{len(images.items)} {what if images.paired else ''}".rstrip()


def list_sets() -> list[dict]:
    """The registry as plain objects."""
    return [
        {"name": e.name, "title": e.title, "task": e.task, "counts": e.counts, "source": e.source, "licence": e.licence,
         "citation": e.citation, "layouts": sorted({place.layout for place in e.places}),
         "folders": sorted({place.folder for place in e.places})}
        for e in registry().values()
    ]  # fmt: skip
