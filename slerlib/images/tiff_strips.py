"""Plain TIFF files, a strip at a time; for strips.py. Shape suffixes: H height, W width, N samples per pixel. [ours]"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from . import inflate
from .files import deep, from_pil
from .formats import Meta
from .inflate import bytes_of, inflated

_DEFLATE, _SMALL = (8, 32946), 64 << 20


def plain_tiff(path: str | os.PathLike) -> tuple[bool, bool]:
    """(whether `tiff_strips` reads a file, whether Pillow would lose bits of it)."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            kind, n, bits = getattr(page.photometric, "name", ""), page.samplesperpixel, page.bitspersample
            colours = {"MINISBLACK": 1, "RGB": 3}.get(kind)
            deep = bits == 16 and page.sampleformat == 1 and kind in ("MINISBLACK", "MINISWHITE", "RGB")
            extra = tuple(page.extrasamples)
            usual = bits in (8, 16) and page.sampleformat == 1 and page.planarconfig == 1 and page.imagedepth == 1
            usual &= page.predictor in (1, 2) and page.fillorder == 1 and page.tags.valueof(274, 1) == 1
            usual &= colours is not None and (n == colours or (n == colours + 1 and extra == (2,)))
            common = page.compression in (1, 5, 32773, 50000, *_DEFLATE)
            size = (
                page.tilelength * max(page.tilewidth, page.imagewidth)
                if page.is_tiled
                else page.rowsperstrip * page.imagewidth
            )
            streams = page.compression in (1, *_DEFLATE) and not page.is_tiled
            return bool(usual and common and (streams or size * n * bits // 8 <= _SMALL)), deep
    except Exception:  # Pillow names the damage
        return False, False


def tiff_strips(path: Path, im: Image.Image) -> Iterator:
    """The height, then (part, Meta) from the top down."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        yield page.imagelength
        streams = page.compression in (1, *_DEFLATE) and not page.is_tiled
        for values_HWN in _tiff_rows(path, file, page) if streams else _tiff_segments(page):
            if values_HWN.dtype == np.uint16:
                yield deep(values_HWN, Meta())
            else:
                yield from_pil(Image.fromarray(values_HWN if values_HWN.shape[2] > 1 else values_HWN[..., 0]))


def _tiff_rows(path: Path, file, page) -> Iterator[np.ndarray]:
    """(H, W, N) of an uncompressed or deflated file, whose strips may be of any height."""
    n, dtype = page.samplesperpixel, np.dtype(f"{file.byteorder}u{page.bitspersample // 8}")
    line = page.imagewidth * n * dtype.itemsize
    step, left = max(1, inflate.STRIP_BYTES // line), page.imagelength
    with open(path, "rb") as handle:
        for place, length in zip(page.dataoffsets, page.databytecounts, strict=True):
            source = bytes_of(handle, [(place, length)])
            unpack = zlib.decompressobj() if page.compression in _DEFLATE else _Stored()
            strip = min(page.rowsperstrip, left)
            left -= strip
            for top in range(0, strip, step):
                count = min(step, strip - top)
                values = np.frombuffer(inflated(unpack, source, count * line), dtype)
                values = values.astype(dtype.newbyteorder("=")).reshape(count, page.imagewidth, n)
                yield np.cumsum(values, axis=1, dtype=values.dtype) if page.predictor == 2 else values


class _Stored:
    """Uncompressed bytes, behind the interface of `zlib.decompressobj`."""

    unconsumed_tail = b""

    def decompress(self, data: bytes, most: int) -> bytes:
        self.unconsumed_tail = data[most:]
        return data[:most]


def _tiff_segments(page) -> Iterator[np.ndarray]:
    """(H, W, N) of the strips, or of the rows of tiles."""
    n, row, top = page.samplesperpixel, None, 0
    for segment, (_, _, y, x, _), _shape in page.segments(maxworkers=1):
        if row is None or y != top:
            if row is not None:
                yield row
            high = min(page.tilelength if page.is_tiled else page.rowsperstrip, page.imagelength - y)
            row, top = np.zeros((high, page.imagewidth, n), page.dtype), y
        if segment is not None:  # a missing tile is black
            part = segment[0, : len(row), : page.imagewidth - x]
            row[: part.shape[0], x : x + part.shape[1]] = part
    yield row
