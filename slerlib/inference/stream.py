"""Pictures of any size by rows: from a source of rows, tile by tile, into whatever takes rows. [ours]

    rows -> look -> tiles -> rows -> (look, tiles, rows, for each further pass) -> file

Memory follows the tile and the width of a row of tiles; the rest waits in temporary files beside the result.
Legend: B batch, C channels, H W pixels, N samples per pixel.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image
from torch import Tensor

from ..errors import UserError
from ..images.files import to_pil
from ..images.rows import Pixels, Rows
from ..images.strips import Picture
from ..images.writers import strip_writer
from ..model.network import SLERIR, SMALLEST
from ..model.paths import read_path
from ..model.router import Trace
from .evidence import judged, judges, middle
from .load import evaluating
from .look import Look
from .memory import disk_bytes, keep_freed_memory
from .tiles import restore_tiled

COPY = 256  # rows at a time


def restore_rows(
    model: SLERIR,
    source: Tensor | Rows,
    write: Callable[[int, Tensor], None],
    *,
    side: int,
    path=None,
    route: str,
    passes: tuple[int, bool] = (1, False),
    maps: bool = False,
    folder: str | os.PathLike | None = None,
) -> tuple[Trace, dict[str, int]]:
    """Restore one picture; returns (Trace on the CPU, number of places that are nearest to each class).

    source: (3, H, W) in [0, 1], or `Rows`. write: takes (top, (3, n, W) in [0, 1]) from the top down. side: of a tile.
    passes: as `checked_passes` gives them. maps: whether the trace holds a value for every place (about 2 bytes per
    pixel). folder: of temporary files. Other arguments are checked already; see `restore`.
    """
    if next(model.parameters()).device.type == "cpu":
        keep_freed_memory()
    path_1L = None if path is None else read_path(path, 1, model.cfg.experts)
    size = tuple(source.shape[1:] if isinstance(source, Tensor) else source.shape[:2])
    limit, until_clean = passes

    def once(source, write, maps: bool) -> tuple[Trace, dict[str, int]]:
        def checked(top: int, y_CHW: Tensor) -> None:
            check_finite(model, y_CHW)
            write(top, y_CHW.float().clamp(0, 1).cpu())

        return restore_tiled(model, source, checked, side, path_1L, route, maps, folder)

    with evaluating(model), torch.inference_mode():
        if limit == 1:
            rows, columns = middle(*size)
            part_CHW = torch.zeros(3, rows.stop - rows.start, columns.stop - columns.start)

            def seen(top: int, y_CHW: Tensor) -> None:
                write(top, y_CHW)
                start, stop = max(top, rows.start), min(top + y_CHW.shape[1], rows.stop)
                if start < stop:
                    part_CHW[:, start - rows.start : stop - rows.start] = y_CHW[:, start - top : stop - top, columns]

            trace, counts = once(source, seen, maps)
            if judges(model, path, route, passes) and len(trace.path) == 1:
                x_CHW = Pixels(source).part(rows.start, rows.stop, columns.start, columns.stop)
                trace = judged(model, x_CHW[None], part_CHW[None], trace, False)
            return on_cpu(trace), counts
        result, count, looks = Rows((*size, 3), "uint16", folder), 1, []
        trace, counts = once(source, _into(result), maps)
        while count < limit:
            look = Look(model, Pixels(result, model.multiple, SMALLEST), folder).route(None, False, False)[0]
            looks.append(on_cpu(look))
            if until_clean and look.nearest_anchor()[0] == "clean":
                break
            again = Rows((*size, 3), "uint16", folder)
            once(result, _into(again), False)
            result, count = again, count + 1
        pixels = Pixels(result)
        for top in range(0, size[0], COPY):
            write(top, pixels.part(top, min(top + COPY, size[0]), 0, size[1]))
    return replace(on_cpu(trace), passes=torch.tensor([count]), looks=tuple(looks)), counts


def _into(rows: Rows) -> Callable[[int, Tensor], None]:
    return lambda top, y_CHW: rows.write(top, (y_CHW * 65535).round().permute(1, 2, 0).numpy())


def check_finite(model: SLERIR, y: Tensor) -> None:
    """Raise UserError for a result with NaN or infinity."""
    if not torch.isfinite(y).all():
        raise UserError(
            "The network must give finite values; it gave NaN or infinity: its weights are damaged or their precision "
            f"({next(model.parameters()).dtype}) is too low. Load the checkpoint again, in float32."
        )


def on_cpu(trace: Trace) -> Trace:
    """Copies, which are ordinary tensors outside `inference_mode` and may meet autograd again."""
    with torch.inference_mode(False):
        values = {name: value.cpu().clone() for name, value in vars(trace).items() if isinstance(value, Tensor)}
    return replace(trace, **values)


def restore_to_file(
    model: SLERIR, picture: Picture, target: Path, **options
) -> tuple[Trace, dict[str, int], list[str]]:
    """Restore a picture read by strips into a file; (Trace, places of each class, notes). Options: `restore_rows`."""
    rows = picture.rows
    alpha = rows.dtype if rows.shape[2] % 2 == 0 else None
    with strip_writer(target, picture.meta, rows.shape[1], rows.shape[0], alpha) as writer:

        def write(top: int, y_CHW: Tensor) -> None:
            writer.write(y_CHW, picture.alpha(top, top + y_CHW.shape[1]))

        trace, counts = restore_rows(model, rows, write, folder=target.absolute().parent, **options)
    return trace, counts, writer.notes


def restore_to_pil(model: SLERIR, picture: Picture, **options) -> tuple[Image.Image, Trace]:
    """The same into a PIL image. Options: `restore_rows`."""
    whole = None

    def write(top: int, y_CHW: Tensor) -> None:
        nonlocal whole
        strip = to_pil(y_CHW, replace(picture.meta, alpha=picture.alpha(top, top + y_CHW.shape[1])))
        if whole is None:
            whole = Image.new(strip.mode, (strip.width, picture.rows.shape[0]))
            whole.info |= strip.info
        whole.paste(strip, (0, top))

    trace, _ = restore_rows(model, picture.rows, write, maps=True, **options)
    return whole, trace


class ArrayRows:
    """(H, W) or (H, W, N) of uint8, uint16 or float32 in memory, behind the interface of `Rows`."""

    def __init__(self, a: np.ndarray):
        self._values = a if a.ndim == 3 else a[..., None]
        self.shape, self.dtype = self._values.shape, a.dtype

    def read(self, top: int, bottom: int) -> np.ndarray:
        return self._values[top:bottom]


def check_disk(model: SLERIR, width: int, height: int, passes: int, folder: Path) -> None:
    """Raise UserError where the temporary files of a picture do not fit."""
    need, free = disk_bytes(model, width, height, passes), psutil.disk_usage(os.fspath(folder)).free
    if need > free:
        raise UserError(
            f"A large picture needs temporary files beside its result; {width} x {height} pixels need up to "
            f"{need / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free. Make room, or write to another disk."
        )
