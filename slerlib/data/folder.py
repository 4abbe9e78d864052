"""The training sets below a folder, as `Sources`: which are taken or set aside, what stops a training. [ours]"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from ..errors import UserError
from . import layouts
from .camera import measured_kernel
from .decode import Cache, Files, look_at
from .measured import DepthMaps
from .probe import probe
from .problems import check_allowed, is_error, too_few
from .registry import registry
from .sources import CLEAN, Source, Sources
from .twins import looks_paired
from .words import DEPTH, KERNEL


def sources_below(root: Path, cache: Cache, allow: Collection[str], depth: bool, kernels: bool) -> Sources:
    """The training sets below `root`. Raises UserError for a folder without any, and for an image that is not used."""
    data = layouts.recognise(root)
    there, entries = [s for s in data.sets if s.split == "train"], registry()
    blurs = [item for s in there if s.task == KERNEL for item in s.items]
    names, sets, aside = [s.name for s in there if s.task not in (DEPTH, KERNEL)], [], []
    for s in (s for s in there if s.items and s.task != KERNEL):
        alone = names.count(s.name) == (s.task != DEPTH)
        name = s.name if alone else f"{s.name}-{s.task}"
        targets = Files([item.target for item in s.items], cache)
        kind = DepthMaps if s.task == DEPTH else Files
        inputs = None if s.task == CLEAN else kind([item.input for item in s.items], cache)
        loose = s.name in entries and entries[s.name].loose
        one = Source(name, s.task, tuple(item.name for item in s.items), targets, inputs, loose=loose)
        (aside if s.task == DEPTH and not depth else sets).append(one)
    if not any(s.task != DEPTH for s in sets):  # photographs with a depth map alone are photographs
        sets += [replace(s, name=f"{s.name}-photographs", task=CLEAN, inputs=None) for s in aside or sets]
        aside = []
    if not sets:
        tests = ", ".join(s.name for s in data.sets if s.split == "test" and s.items)
        what = f"only tests ({tests})" if tests else "no image that can be used"
        faults = "".join(f" {problem.message}" for problem in data.problems[:2])
        raise UserError(
            f"Training takes sets of the training split; {root} holds {what}.{faults} `slerlib data check {root}` "
            "lists all sets and problems."
        )
    look_at([(s.inputs, s.targets) for s in sets], cache)
    problems = [*data.problems, *too_few(data), *looks_paired(data, lambda file: probe(file)[0].small)]
    check_allowed(allow, problems, data.root, {*names, *(s.name for s in sets)})
    errors = [problem for problem in problems if is_error(problem, allow, data.root)]
    if short := [problem for problem in errors if problem.kind == "too-few"]:
        raise UserError(short[0].message)
    if errors:
        raise UserError(
            f"Training starts when every image of its sets can be used; in {root}: "
            f"{' '.join(p.message for p in errors[:2])} `slerlib data check {root}` names all {len(errors)}. Mend "
            f"them, or train in spite of them: --allow {errors[0].kind}, or the name of a file or folder."
        )
    notes = [f"{p.path} {p.message.removeprefix(p.path.name).strip()}" for p in problems]
    if aside:
        notes.insert(0, f"{sum(map(len, aside))} photographs with a depth map are set aside: data.depth_share=0")
    tests = tuple(dict.fromkeys(s.name for s in data.sets if s.split == "test" and s.items))
    if blurs and not kernels:
        notes.insert(0, f"{len(blurs)} measured blur kernels are set aside: data.kernel_share=0")
    measured = tuple((item.name, measured_kernel(item.target)) for item in blurs) if kernels else ()
    return Sources(sets, str(root), f"layout {data.layout}", tuple(notes), tests, kernels=measured)
