"""Write a picture strip by strip, for those too large for memory. [ours]

PNG, JPEG and TIFF are compressed as the strips come. All other formats wait on the disk in 8 bits and are then encoded
as a whole by Pillow, in 4 bytes per pixel and what its encoder needs.
Shape suffixes: C channels, H height, W width, N samples per pixel.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image
from torch import Tensor

from ..files import renamed_together, unwritable
from .files import check_alpha, check_output, encode, form, pixels_of, plain, refused
from .formats import Meta, arguments, save_options
from .rows import Rows
from .sixteen_bit import PNG, png_chunk, png_extras, write_tiff

STRIP_ROWS = 64  # of a TIFF file, and a bound on those of a restart interval of JPEG
_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # samples per pixel -> colour type of PNG


@contextlib.contextmanager
def strip_writer(
    path: str | os.PathLike, meta: Meta, width: int, height: int, alpha: np.dtype | None
) -> Iterator[StripWriter]:
    """A writer of the kind of picture in `meta`, in the format of the suffix; same notes and errors as `write_image`.

    alpha: dtype of the alpha channel, None without one. The file appears at the end, whole, or not at all.
    """
    kind, target = check_output(path), Path(os.path.realpath(path))
    check_alpha(Path(path), kind, alpha is not None)
    one = {"PNG": _Png, "JPEG": _Jpeg, "TIFF": _Tiff}.get(kind, _Whole)
    try:
        with renamed_together(target) as (part,), open(part, "w+b") as file:
            writer = one(file, kind, target.suffix.lower(), meta, width, height, alpha)
            with contextlib.closing(writer):
                yield writer
                writer.finish()
    except OSError as error:
        raise unwritable("A picture is written to a folder", target, error) from error


class StripWriter:
    """Takes strips from the top down; `notes` has a sentence for each thing that the format cannot hold."""

    def __init__(self, file: IO[bytes], kind: str, suffix: str, meta: Meta, width: int, height: int, alpha):
        self.file, self.kind, self.suffix, self.width, self.height = file, kind, suffix, width, height
        self.meta, self.deep, self.notes = form(meta, kind)
        self.alpha = alpha
        self._extras()
        self.begin()

    def _extras(self) -> None:
        """What travels with the pixels, tried on a small picture."""
        size = (8, 8)
        small = replace(self.meta, alpha=None if self.alpha is None else np.zeros(size, self.alpha))
        try:
            self.extra, lost = arguments(self.kind, self.meta)
            encode(pixels_of(_grey(size), small, self.deep), self.kind, self.suffix, small, dict(self.extra))
            self.notes += lost
        except Exception as error:
            self.meta = plain(self.meta)
            self.extra = arguments(self.kind, self.meta)[0]
            self.notes.append(
                f"What travels with the pixels is damaged and left out ({type(error).__name__}: {error})."
            )

    def write(self, x_CHW: Tensor, alpha_HW: np.ndarray | None) -> None:
        """The next rows: (3, h, W) in [0, 1], and their alpha."""
        pixels = pixels_of(x_CHW, replace(self.meta, alpha=alpha_HW), self.deep)
        self.rows(np.atleast_3d(np.asarray(pixels)))

    def begin(self) -> None:
        """Before the first rows."""

    def rows(self, samples_HWN: np.ndarray) -> None:
        """Encode (H, W, N) uint8, uint16 or float32."""
        raise NotImplementedError

    def finish(self) -> None:
        """After the last rows."""

    def close(self) -> None:
        """Temporary files go, after an error too."""


def _grey(size: tuple[int, int]) -> Tensor:
    return Tensor(3, *size).fill_(0.5)


class _Png(StripWriter):
    def begin(self) -> None:
        self._pack, self._last = zlib.compressobj(6), None

    def rows(self, samples_HWN: np.ndarray) -> None:
        height, width, n = samples_HWN.shape
        size = samples_HWN.dtype.itemsize
        if self._last is None:
            head = struct.pack(">IIBBBBB", self.width, self.height, 8 * size, _COLOURS[n], 0, 0, 0)
            self.file.write(PNG + png_chunk(b"IHDR", head) + png_extras(self.extra))
            self._last = np.zeros(width * n * size, np.uint8)
        step = max(1, (4 << 20) // self._last.size)
        for top in range(0, height, step):
            part = np.ascontiguousarray(samples_HWN[top : top + step], samples_HWN.dtype.newbyteorder(">"))
            lines = part.view(np.uint8).reshape(len(part), -1)
            packed = self._pack.compress(filtered(lines, self._last, n * size).tobytes())
            self._last = lines[-1].copy()
            if packed:
                self.file.write(png_chunk(b"IDAT", packed))

    def finish(self) -> None:
        self.file.write(png_chunk(b"IDAT", self._pack.flush()) + png_chunk(b"IEND", b""))


def filtered(lines: np.ndarray, above: np.ndarray, pixel: int) -> np.ndarray:
    """(H, n) bytes -> (H, 1 + n): each line as the PNG filter with the least sum of magnitudes leaves it.

    above: the line before the first. pixel: bytes per pixel. Source: PNG specification, chapters 9 and 12.8.
    """
    up = np.concatenate([above[None], lines[:-1]])
    left, corner = (np.pad(a, ((0, 0), (pixel, 0)))[:, :-pixel] for a in (lines, up))
    a, b, c = (part.astype(np.int16) for part in (left, up, corner))
    near_a, near_b, near_c = abs(b - c), abs(a - c), abs(a + b - 2 * c)
    paeth = np.where((near_a <= near_b) & (near_a <= near_c), left, np.where(near_b <= near_c, up, corner))
    mean = ((a + b) >> 1).astype(np.uint8)
    options = [lines, lines - left, lines - up, lines - mean, lines - paeth]
    cost = np.stack([np.minimum(o, -o).sum(axis=1, dtype=np.int64) for o in options])  # -o is 256 - o
    best = cost.argmin(axis=0)
    out = np.empty((len(lines), 1 + lines.shape[1]), np.uint8)
    out[:, 0] = best
    for number, option in enumerate(options):
        out[best == number, 1:] = option[best == number]
    return out


class _Buffered(StripWriter):
    """Hands on a fixed number of rows at a time."""

    most = STRIP_ROWS

    def begin(self) -> None:
        self._waiting: list[np.ndarray] = []

    def rows(self, samples_HWN: np.ndarray) -> None:
        rows = np.concatenate([*self._waiting, samples_HWN]) if self._waiting else samples_HWN
        while len(rows) >= self.most:
            self.strip(rows[: self.most])
            rows = rows[self.most :]
        self._waiting = [rows.copy()] if len(rows) else []

    def finish(self) -> None:
        for rows in self._waiting:
            self.strip(rows)

    def strip(self, samples_HWN: np.ndarray) -> None:
        raise NotImplementedError


class _Jpeg(_Buffered):
    """Pillow encodes each strip as a file; its coded blocks become a restart interval of the whole.

    A restart resets the one thing that blocks share, the prediction of the mean, as the start of a file does. So the
    decoded picture is that of a file encoded in one piece. Source: ITU-T T.81, E.1.4 and F.1.1.5.1.
    """

    def begin(self) -> None:
        super().begin()
        if max(self.width, self.height) > 65535:
            raise refused(self.kind, self.width, self.height, ValueError("JPEG has at most 65535 pixels a side"))
        across = -(-self.width // 8)
        self.most = 8 * max(1, min(STRIP_ROWS // 8, 65535 // across))  # an interval has at most 65535 blocks
        self._count, self._interval = 0, across * self.most // 8

    def strip(self, samples_HWN: np.ndarray) -> None:
        n = samples_HWN.shape[2]
        im = Image.fromarray(samples_HWN[..., 0] if n == 1 else samples_HWN, "CMYK" if n == 4 else None)
        data = encode(im, self.kind, self.suffix, self.meta, dict(self.extra) if not self._count else {})
        head, coded = _split_jpeg(data, self.height, self._interval)
        if self._count:
            head = bytes([0xFF, 0xD0 + (self._count - 1) % 8])
        self.file.write(head + coded)
        self._count += 1

    def finish(self) -> None:
        super().finish()
        self.file.write(b"\xff\xd9")


def _split_jpeg(data: bytes, height: int, interval: int) -> tuple[bytes, bytes]:
    """(all before the coded blocks, with another height and a restart interval; the coded blocks)."""
    head, place = bytearray(data[:2]), 2
    while True:
        marker, length = data[place + 1], struct.unpack(">H", data[place + 2 : place + 4])[0]
        segment = bytearray(data[place : place + 2 + length])
        if marker == 0xDA:
            return bytes(head + struct.pack(">HHH", 0xFFDD, 4, interval) + segment), data[place + 2 + length : -2]
        if 0xC0 <= marker <= 0xC2:
            struct.pack_into(">H", segment, 5, height)
        head += segment
        place += 2 + length


class _Tiff(_Buffered):
    """Compressed strips wait in a temporary file until their number of bytes is known."""

    def begin(self) -> None:
        super().begin()
        self._strips = tempfile.TemporaryFile(dir=Path(self.file.name).parent)
        self._lengths, self._shape, self._dtype = [], (), None

    def strip(self, samples_HWN: np.ndarray) -> None:
        self._shape, self._dtype = samples_HWN.shape, samples_HWN.dtype
        little = samples_HWN.astype(samples_HWN.dtype.newbyteorder("<"), copy=False)
        self._lengths.append(self._strips.write(zlib.compress(little.tobytes(), 6)))

    def finish(self) -> None:
        super().finish()
        self._strips.seek(0)
        n = self._shape[2]
        layout = {"shape": (self.height, self.width, n) if n > 1 else (self.height, self.width)}
        layout |= {"dtype": self._dtype, "rowsperstrip": min(self.most, self.height)}
        data = (self._strips.read(length) for length in self._lengths)
        write_tiff(self.file, data, n, self.extra, self.alpha is not None, self.meta.mode == "CMYK", **layout)

    def close(self) -> None:
        self._strips.close()


class _Whole(StripWriter):
    def begin(self) -> None:
        self._rows, self._top = None, 0

    def rows(self, samples_HWN: np.ndarray) -> None:
        if self._rows is None:
            shape = (self.height, *samples_HWN.shape[1:])
            self._rows = Rows(shape, samples_HWN.dtype.name, Path(self.file.name).parent)
        self._rows.write(self._top, samples_HWN)
        self._top += len(samples_HWN)

    def finish(self) -> None:
        n = self._rows.shape[2]
        im = Image.new({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[n], (self.width, self.height))
        for top in range(0, self.height, STRIP_ROWS):
            strip = self._rows.read(top, min(top + STRIP_ROWS, self.height))
            im.paste(Image.fromarray(strip[..., 0] if n == 1 else strip), (0, top))
        self._rows.close()
        try:
            im.save(self.file, self.kind, **save_options(self.kind, self.suffix), **self.extra)
        except (OSError, ValueError, RuntimeError, struct.error) as error:
            if getattr(error, "errno", None):
                raise
            raise refused(self.kind, self.width, self.height, error) from error


def encoded_bytes(kind: str, width: int, height: int) -> int:
    """Bytes that the encoder of a format holds in memory beside the strips."""
    return 0 if kind in ("PNG", "JPEG", "TIFF") else 8 * width * height
