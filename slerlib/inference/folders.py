"""`slerlib restore`: a file or a folder of pictures, one by one, with a progress bar and a record of every route."""

from __future__ import annotations

import contextlib
import errno
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch

from ..checkpoint import weights_file
from ..config import STAGE_NAMES
from ..errors import UserError
from ..files import sha256_file, unwritable, write_atomic
from ..images.files import read_image, write_image
from ..images.formats import KINDS
from ..images.strips import Picture, header, read_strips
from ..images.writers import encoded_bytes
from ..model.doubt import SIGNS
from ..model.network import SLERIR
from ..model.paths import path_digits, read_path
from ..model.router import Trace
from .ahead import Reading, exists, read_ahead
from .jobs import Plan, check_trace, make_folder, plan, refuse_existing
from .threads import fastest_threads

FAULTS = (UserError, MemoryError, RuntimeError)  # of one picture; torch reports a lack of memory by the last
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # one picture's fault is that of all that follow


def restore_files(
    source: Path,
    target: Path,
    checkpoint: str,
    tile: int | None = None,
    trace: Path | None = None,
    path: str | None = None,
    one_path: bool = False,
    route: str | None = None,
    passes: int | str = 1,
    overwrite: bool = False,
    threads: int | str | None = None,
) -> int:
    """Restore `source` into `target`; returns the exit code, 1 if any picture of a folder was not restored.

    Arguments:
        source: a picture, or a folder whose pictures (sub-folders included) are restored.
        target: the file to write, or a folder, which is made if it is missing and takes the same relative names.
        checkpoint: as for `slerlib.load`.
        tile: side of the tiles in pixels, 0 = whole image, None = by size.
        trace: JSON file to write: checkpoint, expert and anchor names, and per image path, margins, similarities,
            anchor angles in degrees, share of the places of each class, passes, what was seen in each result, a score
            of damage unlike the trained with its signs, and flags (reasons to distrust route and result); what failed,
            was left or passed over.
        path: 8 expert digits for every picture.
        one_path: one path for all pictures of the folder, the one that most of them take.
        route, passes: as in `restore`.
        overwrite: replace results that exist; without it they are left as they are.
        threads: of the processor; "auto": the count that `fastest_threads` measures; None: torch's choice.
    Raises: UserError for a missing input, a clash of input and output, and a single file that cannot be restored.
    """
    from .load import load
    from .restore import checked_passes, checked_route, tile_side

    tile_side(tile, 0)
    work = plan(source, target, overwrite)
    if trace is not None:
        check_trace(trace, work, overwrite)
    model = load(checkpoint)
    path_L = None if path is None else read_path(path, 1, model.cfg.experts)[0].tolist()
    forced = "one path for all" if one_path else path_L
    checked_route(route, model, tile, forced)  # once, not for each image
    checked_passes(passes, model, forced, route)
    if one_path:
        path_L = common_path(model, [read for read, _ in work.jobs])
    options = {"tile": tile, "path": path_L, "route": route, "passes": passes}
    if route == "place" and model.cfg.route_by != "place":
        print(f"Note: {checkpoint} was not trained with a path for every place; --route image may restore better.")
    make_folder(target if source.is_dir() or target.is_dir() else target.absolute().parent)
    if threads == "auto":
        threads, _, reason = fastest_threads(model)
        print(f"Threads: {threads} ({reason})")
    if threads:
        torch.set_num_threads(threads)
    done, left = _restore_all(model, work, options, overwrite, source)
    if left and source.is_file():
        refuse_existing(left[0], overwrite)
    _report(done, left, work, f"{next(model.parameters()).device}: {target}")
    if trace is not None:
        _write_trace(trace, _record(model, checkpoint, path_L, done, left, work))
    return 1 if work.failed else 0


def common_path(model: SLERIR, files: list[Path]) -> tuple[int, ...] | None:
    """The path that most of the pictures take, the earliest of equals; None where no picture can be read.

    One path for the frames of a film: where a frame would jump to another path, the film would flicker. On ten frames
    with rising noise it restored 0.5 dB less than each frame's own path, the path of the first frame 1.0 dB less and
    that of the mean embedding, which no frame takes, 1.2 dB less. [ours]
    """
    from .parts import own_path
    from .restore import WHOLE_PIXELS

    paths = Counter()
    for file in _with_bar(files, "looking"):
        try:
            width, height, _ = header(file) or (0, 0, 0)
            large = width * height > WHOLE_PIXELS
            paths[own_path(model, read_strips(file).rows if large else read_image(file)[0])] += 1
        except (UserError, MemoryError, RuntimeError):
            pass  # named when its turn to be restored comes
    return max(paths, key=paths.get, default=None)


def _restore_all(model, work: Plan, options: dict, overwrite: bool, source: Path) -> tuple[list[dict], list[Path]]:
    """(records of the restored pictures, results that existed); what fails is added to `work.failed`.

    While the network works, one thread reads the next picture and another one writes the last result. Order, results
    and errors are those of one picture after the other.
    """
    done, left, before = [], [], len(work.failed)
    writing: list[tuple[Path, Future]] = []  # the last picture, and its record when its file is written

    def settle() -> None:
        while writing:
            read, end = writing.pop()
            try:
                record = end.result()
            except FAULTS as error:
                if read == source:
                    raise
                work.failed.append(_fault(read, error))
                if getattr(error.__cause__, "errno", None) in DISK_FAULTS:
                    raise _DiskFault from None
            else:
                (left if isinstance(record, Path) else done).append(record)

    with (
        ThreadPoolExecutor(1, "writer") as writer,
        contextlib.closing(read_ahead(work.jobs, overwrite)) as readings,
        contextlib.suppress(_DiskFault),
    ):
        for (read, write), reading in zip(_with_bar(work.jobs, "restoring"), readings, strict=True):
            try:
                picture = reading.result()
                if picture.large:  # which takes all the memory and room on the disk that there is
                    settle()
                finish = _restore_one(model, work, read, write, picture, options, overwrite)
                settle()
                end = writer.submit(finish)
            except FAULTS as error:
                settle()
                end = Future()
                end.set_exception(error)
            writing.append((read, end))
        settle()
    if rest := len(work.jobs) - len(done) - len(left) - len(work.failed) + before:
        work.failed.append(f"{rest} further pictures were not restored. Run the command again to go on.")
    return done, left


class _DiskFault(Exception):
    """The disk takes no more."""


def _fault(read: Path, error: Exception) -> str:
    if isinstance(error, UserError):
        return f"{read}: {error}" if str(read) not in str(error) else str(error)
    reason = " ".join([type(error).__name__, *str(error).splitlines()[:1]])
    return f"{read}: {reason}. Restore it alone with a smaller --tile."


def _restore_one(
    model, work: Plan, read: Path, write: Path, picture: Reading, options: dict, overwrite: bool
) -> Callable[[], dict | Path]:
    """What writes the result, or what is left of that, and gives the record; or the place of a result that exists."""
    from .restore import checked_tensor, restore_batch, rows_options
    from .stream import restore_to_file

    if exists(write, overwrite):
        return lambda: write
    by_rows = picture.large and options["tile"] != 0
    source = read_strips_of(model, read, write, picture.size, options) if by_rows else None
    x_CHW, meta = picture.pixels or read_image(read) if source is None else (None, source.meta)
    write, notes = work.place(write, meta, source is not None and source.rows.shape[2] % 2 == 0)
    if write.exists() and not overwrite:
        return lambda: write
    if not write.absolute().parent.is_dir():
        make_folder(write.parent)
    if source is None:
        height, width = x_CHW.shape[1:]
        (y_CHW,), trace = restore_batch(model, checked_tensor(x_CHW), **options, judge=True, tell=notes.append)
        places = _shares(trace)
    else:
        height, width = source.rows.shape[:2]
        settings = rows_options(
            model, width, height, encoded_bytes(KINDS[write.suffix.lower()], width, height), **options
        )
        notes += [note] if (note := settings.pop("note")) else []
        trace, counts, lost = restore_to_file(model, source, write, **settings)
        notes += lost
        y_CHW, places = None, _ranked(Counter(counts))
    record = {
        "input": str(read),
        "output": str(write),
        "width": width,
        "height": height,
        "route": options["route"] or model.cfg.route_by,
        "path": trace.path[0].tolist(),
        "margin": _rounded(trace.margin[0].tolist()),
        "similarity": _rounded(trace.similarity[0].tolist()),
        "anchor_angle": dict(zip(trace.anchor_names, _rounded(trace.anchor_angle[0].tolist()), strict=True)),
        "nearest_anchor": trace.nearest_anchor()[0],
        "places": places,
        "passes": 1 if trace.passes is None else trace.passes[0].item(),
        "results_seen_as": [look.nearest_anchor()[0] for look in trace.looks],
        "unlike_trained": None if trace.evidence is None else _judgement(trace),
        "flags": trace.flags()[0],
    }

    def finish() -> dict:
        lost = () if y_CHW is None else write_image(write, y_CHW, meta)
        return record | {"notes": [*meta.notes, *notes, *lost]}

    return finish


def read_strips_of(model, read: Path, write: Path, size: tuple[int, int, int], options: dict) -> Picture:
    """A large picture, read by rows into a temporary file beside its result, after a look at what there is room for."""
    from .restore import rows_options
    from .stream import check_disk

    width, height, held = size
    settings = rows_options(model, width, height, held, **options)
    folder = write.absolute().parent
    make_folder(folder)
    check_disk(model, width, height, settings["passes"][0], folder)
    return read_strips(read, folder)


def _judgement(trace: Trace) -> dict:
    """Score of damage unlike the trained, the limit above which it is flagged, and the signs behind it."""
    signs = dict(zip(SIGNS, _rounded(trace.evidence[0, : len(SIGNS)].tolist()), strict=True))
    return {"score": round(trace.unseen()[0].item(), 3), "limit": trace.rule.limit, "signs": signs}


def _shares(trace: Trace) -> dict[str, float]:
    """Share of the places whose nearest anchor is that of each class, the largest first; {} where tiles chose alone."""
    if trace.local_angle is None:
        return {}
    return _ranked(Counter(trace.anchor_names[k] for k in trace.where().flatten().tolist()))


def _ranked(counts: Counter) -> dict[str, float]:
    return {name: round(n / counts.total(), 4) for name, n in counts.most_common()}


def _rounded(values):
    return [_rounded(value) if isinstance(value, list) else round(value, 5) for value in values]


def _with_bar(jobs: list, verb: str) -> Iterable:
    """The jobs, with a bar for a person; in a log file it would be one long line."""
    from tqdm import tqdm

    return tqdm(jobs, verb, unit="image", disable=len(jobs) < 2 or not sys.stderr.isatty())


def _report(done: list[dict], left: list[Path], work: Plan, where: str) -> None:
    """Print what was done, what was not, and an example of each."""
    print(f"Restored {len(done)} of {len(work.jobs)} images on {where}")
    if left:
        print(
            f"Left as they are, since they exist: {len(left)}, such as {left[0]}, results of an earlier run or "
            "pictures of your own. --overwrite replaces them all."
        )
    if work.others:
        kinds = "files that are not pictures and links to folders"
        print(f"Passed over, {kinds}: {len(work.others)}, such as {work.others[0]}.")
    for title, key in (
        ("Images with a note", "notes"),
        ("Images with a doubtful route or unknown damage", "flags"),
    ):
        if entries := [entry for entry in done if entry[key]]:
            example = entries[0][key][0].rstrip(".")
            print(f"{title}: {len(entries)}, such as {entries[0]['input']} ({example}). See --trace.")
    if work.failed:
        faults = [fault.replace("\n", "\\n") for fault in work.failed]  # a name may hold a line break
        print("\n  ".join([f"slerlib: could not be restored: {len(faults)}", *faults]), file=sys.stderr)


def _record(model, checkpoint: str, path_L, done: list[dict], left: list[Path], work: Plan) -> dict:
    return {
        "checkpoint": {"name": checkpoint, "sha256": sha256_file(weights_file(checkpoint))},
        "layers": list(STAGE_NAMES),
        "units": {"anchor_angle": "degrees", "similarity": "cosine", "margin": "best minus second-best similarity"},
        "path": None if path_L is None else path_digits(path_L),
        "images": done,
        "failed": work.failed,
        "left": [str(path) for path in left],
        "passed_over": [str(path) for path in work.others],
    }


def _write_trace(path: Path, record: dict) -> None:
    try:
        write_atomic(path, json.dumps(record, indent=2) + "\n")
    except OSError as error:
        raise unwritable("The results are written; --trace is a further file", path, error) from None
