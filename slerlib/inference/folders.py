"""`slerlib restore`: a file or a folder of images, one by one, with a progress bar and a record of every route."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ..checkpoint import weights_file
from ..errors import UserError
from ..files import check_json_output, sha256_file, write_atomic


def restore_files(
    source: Path, target: Path, checkpoint: str, tile: int | None = None, trace: Path | None = None
) -> int:
    """Restore `source` into `target`; returns the exit code, 1 if any file of a folder failed.

    Arguments:
        source: an image file, or a folder whose images (sub-folders included) are restored.
        target: the file to write, or a folder, which is made if it is missing and takes the same relative names.
        checkpoint: as for `slerlib.load`.
        tile: side of the tiles in pixels, 0 = whole image, None = by size.
        trace: JSON file to write: checkpoint, expert and anchor names, and per image path, margins, similarities,
            anchor angles in degrees and flags (reasons to distrust the route).
    Raises: UserError for a missing input, a clash of input and output, and a single file that cannot be restored.
    """
    from tqdm import tqdm

    from ..images import SUFFIXES
    from .load import load
    from .restore import tile_side

    tile_side(tile, 0)  # refused once, not for each image
    jobs, passed_over = _jobs(source, target)
    if trace is not None:
        check_json_output(trace, "--trace", SUFFIXES)
        if trace.exists() and any(os.path.samefile(trace, read) for read, _ in jobs):
            raise UserError(
                f"--trace must not be the input, which would be lost; both are {trace}. Choose another name."
            )
    model = load(checkpoint)
    _made(target.parent if source.is_file() else target)
    device = next(model.parameters()).device
    done, broken = [], []
    # a bar for a person; in a log file it would be one long line
    with tqdm(jobs, unit="image", disable=len(jobs) < 2 or not sys.stderr.isatty()) as bar:
        for read, write in bar:
            bar.set_postfix_str(read.name)
            try:
                done.append(_restore_one(model, read, write, tile))
            except UserError as error:
                if read == source:
                    raise
                broken.append(f"{read}: {error}" if str(read) not in str(error) else str(error))
            except (MemoryError, RuntimeError) as error:  # torch reports a lack of memory by the second
                if read == source:
                    raise
                reason = " ".join([type(error).__name__, *str(error).splitlines()[:1]])
                broken.append(f"{read}: {reason}. Restore it alone with a smaller --tile.")
    if trace is not None:
        _write_trace(trace, model, checkpoint, done, broken)
    print(f"Restored {len(done)} of {len(jobs)} images on {device}: {target}")
    if passed_over:
        print(f"Passed over {len(passed_over)} other files, such as {passed_over[0]}.")
    noted = [entry for entry in done if entry["notes"]]
    if noted:
        first = noted[0]
        print(f"Of {len(noted)} not all was kept, such as {first['input']} ({first['notes'][0]}) See --trace.")
    doubtful = [entry for entry in done if entry["flags"]]
    if doubtful:
        first = doubtful[0]
        print(f"Doubtful routes: {len(doubtful)}, such as {first['input']} ({first['flags'][0]}). See --trace.")
    if broken:
        print(f"slerlib: {len(broken)} of {len(jobs)} images could not be restored:", file=sys.stderr)
        for line in broken:
            print(f"  {line}", file=sys.stderr)
    return 1 if broken else 0


def _jobs(source: Path, target: Path) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """(input, output) pairs, and the files of a folder that are no images."""
    from ..data.pairing import is_hidden
    from ..images import SUFFIXES

    if not source.exists():
        raise UserError(
            f"The input must exist, and {source} does not. Check the spelling and the current folder ({Path.cwd()})."
        )
    if source.is_file():
        if target.is_dir():
            target = target / source.name
        if target.exists() and os.path.samefile(source, target):
            raise UserError(
                f"The output must not be the input, which would be lost; both are {source}. Choose another name."
            )
        if not target.absolute().parent.is_dir():
            raise UserError(
                f"The output must be in an existing folder; {target.parent} does not exist. Create it first."
            )
        return [(source, target)], []
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
    files = [path for path in sorted(source.rglob("*")) if path.is_file() and not is_hidden(path, source)]
    files = [path for path in files if not path.resolve().is_relative_to(outside)]  # results of an earlier run
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not images:
        raise UserError(
            f"The folder must hold images ({', '.join(SUFFIXES)}), and {source} holds none. Check the path."
        )
    others = [path for path in files if path.suffix.lower() not in SUFFIXES]
    jobs, originals = [(path, target / path.relative_to(source)) for path in images], set(map(os.path.realpath, images))
    if clash := next((write for _, write in jobs if os.path.realpath(write) in originals), None):
        raise UserError(
            f"The output must not be an input, which would be lost; {clash} is a link to {os.path.realpath(clash)}. "
            "Remove the link or choose another output folder."
        )
    return jobs, others


def _made(folder: Path) -> None:
    """Make a folder, before the work whose result it takes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The output folder must be one that can be made; {folder} cannot: {error.strerror}. Choose another."
        ) from None


def _restore_one(model, read: Path, write: Path, tile: int | None) -> dict:
    from ..images.files import read_image, write_image
    from .restore import restore

    x_CHW, meta = read_image(read)
    _made(write.parent)
    y_CHW, trace = restore(model, x_CHW, return_trace=True, tile=tile)
    write_image(write, y_CHW, meta)
    return {
        "input": str(read),
        "output": str(write),
        "width": x_CHW.shape[2],
        "height": x_CHW.shape[1],
        "path": trace.path[0].tolist(),
        "margin": _rounded(trace.margin[0].tolist()),
        "similarity": _rounded(trace.similarity[0].tolist()),
        "anchor_angle": dict(zip(trace.anchor_names, _rounded(trace.anchor_angle[0].tolist()), strict=True)),
        "nearest_anchor": trace.nearest_anchor()[0],
        "flags": trace.flags()[0],
        "notes": list(meta.notes),
    }


def _rounded(values):
    return [_rounded(value) if isinstance(value, list) else round(value, 5) for value in values]


def _write_trace(path: Path, model, checkpoint: str, done: list[dict], broken: list[str]) -> None:
    from ..config import STAGE_NAMES

    content = {
        "checkpoint": {"name": checkpoint, "sha256": sha256_file(weights_file(checkpoint))},
        "layers": list(STAGE_NAMES),
        "units": {"anchor_angle": "degrees", "similarity": "cosine", "margin": "best minus second-best similarity"},
        "images": done,
        "failed": broken,
    }
    write_atomic(path, json.dumps(content, indent=2) + "\n")
