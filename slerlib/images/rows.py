"""Pictures too large for memory: their rows wait in a temporary file, and a part at a time becomes a tensor. [ours]

Shape suffixes: C channels, H height, W width, N samples per pixel. A part is (3, h, w) float32 in [0, 1].
"""

from __future__ import annotations

import math
import os
import tempfile

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..files import unwritable

IN_MEMORY = 64 << 20  # bytes; what is larger waits on the disk
_TOP = {"uint8": 255, "uint16": 65535, "float32": 1}


class Rows:
    """An array on disk, written and read by rows: memory is that of the rows in hand. Up to 64 MiB stay in memory.

    shape: (rows, ...). folder: of the temporary file, which has no name and goes with the object; None: the system's.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str, folder: str | os.PathLike | None = None):
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self._row = math.prod(shape[1:]) * self.dtype.itemsize
        self._folder = folder or tempfile.gettempdir()
        # open as long as the object
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=folder)

    @property
    def nbytes(self) -> int:
        return self.shape[0] * self._row

    def write(self, start: int, values: np.ndarray) -> None:
        """Rows from `start` on. Raises UserError where the disk takes no more."""
        try:
            self._file.seek(start * self._row)
            self._file.write(np.ascontiguousarray(values, self.dtype).data)
        except OSError as error:
            rule = f"A large picture waits in a temporary file of {self.nbytes / 1e9:.1f} GB"
            raise unwritable(rule, self._folder, error, "Make room, or set TMPDIR to another folder.") from error

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, ...) rows that were written."""
        values = np.empty((stop - start, *self.shape[1:]), self.dtype)
        self._file.seek(start * self._row)
        if self._file.readinto(values.data.cast("B")) != values.nbytes:
            raise UserError(
                f"A temporary file must keep its rows; rows {start} to {stop} of {self.shape[0]} in {self._folder} are "
                "gone. Set TMPDIR to another folder, and restore again."
            )
        return values

    def close(self) -> None:
        self._file.close()

    def __del__(self):
        if hasattr(self, "_file"):
            self.close()


class Pixels:
    """A picture by parts: a tensor (3, H, W) in [0, 1] or `Rows` (H, W, N) of uint8, uint16 or float32.

    The first 1 or 3 samples are the colours. `multiple`, `smallest`: the size that parts see is padded at the end to a
    multiple, and to at least `smallest`, by reflection that goes back and forth if need be.
    """

    def __init__(self, source: Tensor | Rows, multiple: int = 1, smallest: int = 1):
        self.source, self._band = source, None
        self.size = tuple(source.shape[1:] if isinstance(source, Tensor) else source.shape[:2])
        self.height, self.width = (-(-max(n, smallest) // multiple) * multiple for n in self.size)

    def part(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """(3, bottom - top, right - left) of the padded picture."""
        rows, columns = reflected(top, bottom, self.size[0]), reflected(left, right, self.size[1])
        x_CHW = self._inside(int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1)
        for dim, place, end in ((1, rows, bottom > self.size[0]), (2, columns, right > self.size[1])):
            if end:
                x_CHW = x_CHW.index_select(dim, (place - place.min()).to(x_CHW.device))
        return x_CHW

    def _inside(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        if isinstance(self.source, Tensor):
            return self.source[:, top:bottom, left:right]
        if self._band is None or self._band[:2] != (top, bottom):  # the parts of a band come one after the other
            self._band = None
            self._band = (top, bottom, self.source.read(top, bottom))
        samples_HWN = self._band[2][:, left:right]
        colours = 3 if samples_HWN.shape[2] >= 3 else 1
        values_CHW = np.ascontiguousarray(samples_HWN[..., :colours].transpose(2, 0, 1), dtype=np.float32)
        return torch.from_numpy(values_CHW / np.float32(_TOP[self.source.dtype.name])).expand(3, -1, -1).contiguous()


def reflected(start: int, stop: int, length: int) -> Tensor:
    """Places start to stop of an axis of `length` that goes on as its own reflection; a single line is repeated."""
    place = torch.arange(start, stop) % max(2 * length - 2, 1)
    return torch.minimum(place, (2 * length - 2 - place).clamp(min=0)) if length > 1 else place * 0
