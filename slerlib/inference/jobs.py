"""Which pictures `slerlib restore` restores, and where each result goes. No file is lost or passed over in silence."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..files import check_json_output, check_name, no_file, unwritable
from ..images.faults import check_file
from ..images.files import check_output
from ..images.formats import FORMATS, KINDS, SUFFIXES, Meta, holds, is_picture


@dataclass
class Plan:
    """The work: (picture, place of its result by its name alone), and what is not part of it."""

    jobs: list[tuple[Path, Path]]
    failed: list[str] = field(default_factory=list)  # a sentence for each file or folder that cannot be restored
    others: list[Path] = field(default_factory=list)  # files that are not pictures, and links to folders
    taken: set[str] = field(default_factory=set)  # places of results, in one case of letters
    exact: bool = False  # whether the user named the very file to write

    def place(self, write: Path, meta: Meta, alpha: bool = False) -> tuple[Path, list[str]]:
        """(where the result goes, notes): its own format where that holds all that shows in the picture, else PNG.

        alpha: whether it has transparency beside `meta`.
        """
        kind = KINDS.get(write.suffix.lower())
        if self.exact or (kind and holds(kind, meta) and not (alpha and "alpha" not in FORMATS[kind].holds)):
            return write, []
        name = write.with_suffix(".png")
        while str(name).casefold() in self.taken:  # IMG.heic and IMG.png in one folder
            write = name = write.with_name(write.name + ".png")
        self.taken.add(str(name).casefold())
        fault = f"{kind} cannot hold its transparency, colour profile or 16 bits" if kind else "its format is only read"
        return name, [f"It is written as {name.name}: {fault}."]


def plan(source: Path, target: Path, overwrite: bool = False) -> Plan:
    """What to restore. Raises UserError for a missing input, one without pictures, and an output that holds the input.

    A file goes to `target`, or into it where that is a folder; a folder's pictures, those of sub-folders included, take
    the same names below `target`. An existing file is refused without `overwrite`, those of a folder when their turn
    comes.
    """
    check_name(source)
    check_name(target)
    if not source.exists():
        raise UserError(
            f"The input must exist, and {source} does not. Check the spelling and the current folder ({Path.cwd()})."
        )
    if not source.is_dir():
        check_file(source)
        return _file(source, target, overwrite)
    if target.exists() and not target.is_dir():
        raise UserError(f"A folder is restored into a folder, and {target} is a file. Choose another output.")
    inside, outside = source.resolve(), target.resolve()
    if inside == outside:
        raise UserError(
            f"The output folder must not be the input folder, or the originals would be lost; both are {source}."
        )
    if inside.is_relative_to(outside):
        raise UserError(
            f"The output folder must not hold the input folder, or results and originals would mix; {source} lies in "
            f"{target}. Choose another output, such as {target / (inside.name + '_restored')}."
        )
    return _folder(source, target, outside)


def _file(source: Path, target: Path, overwrite: bool) -> Plan:
    into = target.is_dir()
    target = target / source.name if into else target
    if target.exists() and os.path.samefile(source, target):
        raise UserError(
            f"The output must not be the input, which would be lost; both are {source}. Choose another name."
        )
    if not into:
        check_output(target)
        refuse_existing(target, overwrite)
    return Plan([(source, target)], exact=not into)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise UserError if a file exists and must not be replaced."""
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists and is not replaced. Add --overwrite, or choose another name.")


def _folder(source: Path, target: Path, outside: Path) -> Plan:
    work = Plan([])
    pictures = [path for path in _files(source, work) if is_picture(path) or work.others.append(path)]
    inputs = [path for path in pictures if not path.resolve().is_relative_to(outside)]
    if not inputs:
        reason = f" {work.failed[0]}" if work.failed else ""
        raise UserError(
            f"The folder must hold pictures (PNG, JPEG, TIFF, WebP, AVIF, ...); {source} holds none of its own. Check "
            f"the path.{reason}"
        )
    work.jobs = [(path, target / path.relative_to(source)) for path in inputs]
    originals = set(map(os.path.realpath, inputs))
    if clash := next((write for _, write in work.jobs if os.path.realpath(write) in originals), None):
        raise UserError(
            f"The output must not be an input, which would be lost; {clash} is a link to {os.path.realpath(clash)}. "
            "Remove the link or choose another output folder."
        )
    work.taken = {str(write).casefold() for _, write in work.jobs}
    results = {name for _, write in work.jobs for name in _possible(write)}
    inner = {
        path: str(outside / path.resolve().relative_to(outside)).casefold() for path in set(pictures) - set(inputs)
    }
    results = {str(outside / Path(name).relative_to(target)).casefold() for name in results}
    work.failed += [
        f"{path} lies in the output folder and is not restored. Move it, or choose an output elsewhere."
        for path, name in sorted(inner.items())
        if name not in results
    ]
    return work


def _possible(write: Path) -> list[Path]:
    """The names that `Plan.place` may give to a result."""
    return [write, write.with_suffix(".png"), write.with_name(write.name + ".png")]


def _files(folder: Path, work: Plan) -> list[Path]:
    """Files below a folder, sorted, hidden ones left out. `work` gets the rest: what cannot be read, such as a pipe,
    among `failed`, links to folders, which are not followed, among `others`."""

    def unread(error: OSError) -> None:
        work.failed.append(f"{error.filename} cannot be read ({error.strerror}). Check its permissions.")

    files = []
    for place, folders, names in os.walk(folder, onerror=unread):
        folders[:] = [name for name in folders if not name.startswith(".")]
        work.others += [path for name in sorted(folders) if (path := Path(place, name)).is_symlink()]
        for path in (Path(place, name) for name in sorted(names) if not name.startswith(".")):
            if fault := no_file(path):  # to open a pipe would wait for ever
                work.failed.append(f"{path} {fault}. Put a file in its place, or take it out of the folder.")
            else:
                files.append(path)
    return sorted(files)


def make_folder(folder: Path) -> None:
    """Make a folder and try to write in it, before the work whose result it takes. Raises UserError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise unwritable("Results are written to a folder", folder, error) from error


def check_trace(trace: Path, work: Plan, overwrite: bool) -> None:
    """Refuse, before the work, a --trace that cannot be written or would replace a file that is no trace."""
    check_json_output(trace, "--trace", SUFFIXES)
    if trace.exists() and any(os.path.samefile(trace, read) for read, _ in work.jobs if read.exists()):
        raise UserError(f"--trace must not be the input, which would be lost; both are {trace}. Choose another name.")
    if trace.exists() and b'"anchor_angle": "degrees"' not in trace.read_bytes():  # an earlier trace may go
        refuse_existing(trace, overwrite)
    make_folder(trace.absolute().parent)
