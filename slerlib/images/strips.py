"""Read a picture strip by strip, for those too large for memory. [ours]

PNG (not interlaced) and plain TIFF are decoded a strip at a time. Pillow decodes all other files as a whole, in 3 or 4
bytes per pixel. The samples then wait in `Rows`, upright, alpha last.
Shape suffixes: C channels, H height, W width, N samples per pixel.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin, TiffImagePlugin
from torch import Tensor

from . import inflate
from .faults import check_file, explained
from .files import decoded, from_pil, left_out
from .formats import Meta, carried
from .inflate import bytes_of, inflated
from .orientation import TURNS, orientation, upright_size
from .rows import Rows
from .sixteen_bit import PNG, TIFF, check_tiles, png_chunk
from .tiff_strips import plain_tiff, tiff_strips

_OPEN = {PNG[:4]: PngImagePlugin.PngImageFile, b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile} | dict.fromkeys(
    TIFF, TiffImagePlugin.TiffImageFile
)

#: Of a JPEG, at most: by Huffman codes a block of 8 x 8 takes a bit, so 512, and odd sampling of colours may double it.
PIXELS_OF_A_BYTE = 1024


@dataclass
class Picture:
    """A picture whose samples wait on the disk; `meta.alpha` is None, the last of an even number of samples is it."""

    rows: Rows  # (H, W, N) of uint8, uint16 or float32
    meta: Meta

    def alpha(self, top: int, bottom: int) -> np.ndarray | None:
        """(bottom - top, W) of uint8 or uint16."""
        return self.rows.read(top, bottom)[..., -1] if self.rows.shape[2] % 2 == 0 else None


def opened(path: str | os.PathLike) -> Image.Image:
    """A picture file, its header read. PNG, JPEG and TIFF may be above Pillow's limit.

    Plain PNG and TIFF are unpacked by strips; of the others the memory is compared with the header before. A JPEG above
    the limit must have a byte for every `PIXELS_OF_A_BYTE` pixels.
    """
    try:
        return Image.open(path)
    except Image.DecompressionBombError:
        with open(path, "rb") as file:
            start = file.read(4)
        one = next((one for magic, one in _OPEN.items() if start.startswith(magic)), None)
        if one is None:
            raise
        im = one(path)
        if im.format == "JPEG" and im.width * im.height > PIXELS_OF_A_BYTE * os.path.getsize(path):
            im.close()
            raise
        return im


def header(path: str | os.PathLike) -> tuple[int, int, int] | None:
    """(width, height, bytes that decoding holds in memory) by the header alone; None where it cannot be read."""
    try:
        check_file(Path(path))  # to open a pipe would wait for ever
        with explained(Path(path)), opened(path) as im:
            reader = _reader(im, path)
            parts = _png_parts(path) if im.format == "PNG" else None  # `upright_size` would decode a PNG
            width, height = im.size[:: -1 if parts.turned >= 5 else 1] if parts else upright_size(im)
            return width, height, 0 if reader in (_png, tiff_strips) else _held(im) * (6 if reader is _whole else 1)
    except Exception:  # read_image explains it
        return None


def read_strips(path: str | os.PathLike, folder: str | os.PathLike | None = None) -> Picture:
    """A picture file -> `Picture`; same values, `Meta` and errors as `read_image`. folder: of the temporary file."""
    path = Path(path)
    check_file(path)
    with explained(path), opened(path) as im:
        reader = _reader(im, path)
        meta = Meta() if reader is _png else Meta(**carried(im), notes=tuple(left_out(im)))  # `carried` loads a PNG
        return _kept(reader(path, im), meta, folder)


def _reader(im: Image.Image, path: str | os.PathLike) -> Callable[[Path, Image.Image], Iterator]:
    """Of these, the one that needs the least memory."""
    if im.format == "PNG" and (parts := _png_parts(path)):
        usual = parts.depth in (8, 16) and parts.colour != 3 and not parts.interlaced and not parts.frames
        return _png if usual and parts.turned == 1 else _whole if parts.depth == 16 else _pillow
    if im.format == "TIFF":
        plain, deep = plain_tiff(path)
        return tiff_strips if plain else _whole if deep else _pillow
    return _pillow


def _held(im: Image.Image) -> int:
    return im.width * im.height * (4 if len(im.getbands()) > 1 or im.mode[0] in "IF" else 1)


def _kept(strips: Iterator[tuple], meta: Meta, folder) -> Picture:
    """The first item of `strips` is the height, all others (part of the picture, its Meta) from the top down."""
    height, rows, top = next(strips), None, 0
    for x_CHW, own, *travels in strips:
        dtype = "float32" if own.mode == "F" else "uint16" if own.depth == 16 else "uint8"
        grey = own.mode in ("L", "F") or own.mode.startswith("I")
        samples_HWN = samples(x_CHW[:1] if grey else x_CHW, own.alpha, dtype)
        if rows is None:
            rows = Rows((height, *samples_HWN.shape[1:]), dtype, folder)
            first = {name: getattr(own, name) for name in ("mode", "depth")}
            meta = replace(own, alpha=None) if own.format else replace(meta, **first, **(travels[0] if travels else {}))
        rows.write(top, samples_HWN)
        top += len(samples_HWN)
    return Picture(rows, meta)


def samples(x_CHW: Tensor, alpha: np.ndarray | None, dtype: str) -> np.ndarray:
    x = x_CHW.permute(1, 2, 0).numpy()
    if dtype != "float32":
        x = (x * np.float32(np.iinfo(dtype).max) + np.float32(0.5)).astype(dtype)
    return x if alpha is None else np.concatenate([x, alpha[..., None].astype(dtype)], axis=2)


# --- whole


def _whole(path: Path, im: Image.Image) -> Iterator:
    x_CHW, meta = decoded(path.read_bytes())
    yield x_CHW.shape[1]
    yield x_CHW, meta


def _pillow(path: Path, im: Image.Image) -> Iterator:
    """Strips of what Pillow decoded, each turned upright by itself."""
    if im.format == "TIFF":
        check_tiles(path)
    turned = 1 if im.format == "TIFF" else orientation(im)  # Pillow turns a TIFF itself
    travels = {}
    im.load()
    if turned != 1:  # camera data without the orientation, as of a whole picture that was turned
        corner = ImageOps.exif_transpose(im.crop((0, 0, 1, 1)))
        travels = {name: value for name, value in carried(corner).items() if name in ("exif", "xmp")}
    width, height = im.size[::-1] if turned >= 5 else im.size
    yield height
    step = max(1, inflate.STRIP_BYTES // (4 * width))
    for top in range(0, height, step):
        bottom = min(top + step, height)
        low, high = (height - bottom, height - top) if turned in (3, 4, 7, 8) else (top, bottom)
        strip = im.crop((low, 0, high, width) if turned >= 5 else (0, low, width, high))
        x_CHW, meta = from_pil(strip if turned == 1 else strip.transpose(TURNS[turned]))
        yield x_CHW, replace(meta, format=None), travels


# --- PNG: the compressed stream is cut into small files, each of which begins with the last row of the one before


@dataclass
class _Parts:
    """What a PNG file holds: its header, the places of its pixels and all other chunks."""

    head: bytes
    pixels: list[tuple[int, int]] = field(default_factory=list)  # (place in the file, length)
    before: list[tuple[bytes, bytes]] = field(default_factory=list)  # (kind, body) of chunks before the pixels
    after: list[tuple[bytes, bytes]] = field(default_factory=list)
    frames: bool = False  # an animation

    @property
    def depth(self) -> int:
        return self.head[8]

    @property
    def colour(self) -> int:
        return self.head[9]

    @property
    def interlaced(self) -> bool:
        return bool(self.head[12])

    @property
    def turned(self) -> int:
        """EXIF orientation, from a picture of one pixel that carries the same data."""
        data = [chunk for chunk in self.before + self.after if chunk[0] in (b"eXIf", b"tEXt", b"zTXt", b"iTXt")]
        small = _Parts(b"\0\0\0\1\0\0\0\1\x08\0\0\0\0", before=data)
        return orientation(Image.open(io.BytesIO(_png_file(small, 1, 1, b"\0\0", []))))


def _png_parts(path: str | os.PathLike) -> _Parts | None:
    with open(path, "rb") as file:
        start = file.read(33)
        if len(start) < 33 or start[12:16] != b"IHDR":
            return None
        parts = _Parts(start[16:29])
        while len(chunk := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", chunk)
            if kind == b"IDAT":
                parts.pixels.append((file.tell(), length))
                file.seek(length + 4, 1)
                continue
            body = file.read(length + 4)[:length]
            if kind == b"IEND" or len(body) < length:  # a file cut short after its pixels is read as Pillow does
                break
            parts.frames |= kind == b"acTL"
            (parts.after if parts.pixels else parts.before).append((kind, body))
    return parts


def _png(path: Path, im: Image.Image) -> Iterator:
    parts = _png_parts(path)
    width, height = struct.unpack(">II", parts.head[:8])
    samples_, bytes_ = {0: 1, 2: 3, 4: 2, 6: 4}[parts.colour], parts.depth // 8
    line = 1 + width * samples_ * bytes_  # a filter and the row
    step = max(1, inflate.STRIP_BYTES // line)
    yield height
    unpack, last, after = zlib.decompressobj(), b"", parts.after
    with open(path, "rb") as file:
        source = bytes_of(file, parts.pixels)
        for top in range(0, height, step):
            lines = inflated(unpack, source, min(step, height - top) * line)
            count = (len(last) + len(lines)) // line
            x_CHW, meta = decoded(_png_file(parts, width, count, last + lines, after))
            if last:
                meta = replace(meta, alpha=None if meta.alpha is None else meta.alpha[1:])
                x_CHW, after = x_CHW[:, 1:], []
            yield x_CHW, meta if not top else replace(meta, format=None)
            colours = x_CHW[: 3 if samples_ >= 3 else 1, -1:]
            alpha = meta.alpha[-1:] if samples_ % 2 == 0 else None
            raw = samples(colours, alpha, "uint16" if bytes_ == 2 else "uint8")
            last = b"\0" + raw.astype(raw.dtype.newbyteorder(">")).tobytes()


def _png_file(parts: _Parts, width: int, height: int, lines: bytes, after: list) -> bytes:
    chunks = [(b"IHDR", struct.pack(">II", width, height) + parts.head[8:]), *parts.before]
    chunks += [(b"IDAT", zlib.compress(lines, 0)), *after, (b"IEND", b"")]
    return PNG + b"".join(png_chunk(*chunk) for chunk in chunks)
