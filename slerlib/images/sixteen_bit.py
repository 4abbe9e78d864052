"""16 bits per channel, which Pillow reads and writes for grey alone: PNG through imagecodecs, TIFF through tifffile.

Arrays are uint16 (H, W, N): N = 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha. tifffile writes TIFF files of every
depth, for Pillow cannot compress one that holds camera data.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import IO

import numpy as np
from PIL import Image, TiffImagePlugin

from ..errors import UserError
from .formats import CAMERA_FOLDERS, CAMERA_TAGS, camera_data
from .orientation import upright

_TOP_BITS_CMYK = "Only the top 8 bits of this 16-bit CMYK file are read."
_LARGEST_TILE = 64 << 20  # bytes
_EXTRA = "This TIFF does not state what its further samples are; they are left out."
PNG, TIFF = b"\x89PNG\r\n\x1a\n", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_samples16(data: bytes) -> tuple[np.ndarray | None, list[str]]:
    """Bytes of a file -> (samples, upright for a TIFF, or None where Pillow reads the file faithfully; notes)."""
    if data[:8] == PNG and data[24:25] == b"\x10":
        import imagecodecs

        samples = imagecodecs.png_decode(data)  # a transparent colour becomes alpha
        return samples.reshape(*samples.shape[:2], -1), []
    return _read_tiff(data) if data[:4] in TIFF else (None, [])


def _read_tiff(data: bytes) -> tuple[np.ndarray | None, list[str]]:
    import tifffile

    try:
        page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
        _check_tiles(page)
        if page.imagewidth * page.imagelength > 2 * (Image.MAX_IMAGE_PIXELS or 1 << 60):
            return None, []
        kind, n = getattr(page.photometric, "name", ""), page.samplesperpixel
        colours = {"MINISBLACK": 1, "MINISWHITE": 1, "RGB": 3}.get(kind)
        extra = tuple(page.extrasamples)
        notes = [_EXTRA] if colours and n > colours and extra[:1] not in ((1,), (2,)) else []
        if page.bitspersample != 16 or page.sampleformat != 1 or colours is None:
            wide = page.bitspersample == 16 and kind == "SEPARATED"
            return None, [_TOP_BITS_CMYK] if wide else notes
        turned = page.tags.valueof(274, 1)
    except UserError:
        raise
    except Exception:  # Pillow names the damage
        return None, []
    samples = page.asarray()
    samples_HWN = np.moveaxis(samples, 0, 2) if page.axes == "SYX" else samples.reshape(*samples.shape[:2], -1)
    samples_HWN = upright(samples_HWN[..., : colours + (extra[:1] in ((1,), (2,)))], turned)
    if kind == "MINISWHITE":
        samples_HWN[..., 0] = 65535 - samples_HWN[..., 0]
    if extra[:1] == (1,):  # colours multiplied by alpha, as GIMP stores them
        alpha_HW1 = samples_HWN[..., -1:].astype(np.float64)
        colour_HWN = samples_HWN[..., :-1] * (65535 / np.where(alpha_HW1 == 0, 65535, alpha_HW1))
        samples_HWN[..., :-1] = colour_HWN.round().clip(0, 65535)
    return samples_HWN, notes


def check_tiles(path) -> None:
    """Raise UserError where a TIFF claims tiles far larger than its picture: a decoder would unpack them."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
    except Exception:  # Pillow names the damage
        return
    _check_tiles(page)


def _check_tiles(page) -> None:
    tile_bytes = page.tilewidth * page.tilelength * page.samplesperpixel * max(page.bitspersample, 8) // 8
    picture = page.imagewidth * page.imagelength * page.samplesperpixel * max(page.bitspersample, 8) // 8
    if page.is_tiled and tile_bytes > max(_LARGEST_TILE, 4 * picture):
        raise UserError(
            f"The tiles of a TIFF may have {_LARGEST_TILE >> 20} MiB, or four times its pixels; this file claims "
            f"tiles of {page.tilewidth} x {page.tilelength} for {page.imagewidth} x {page.imagelength} pixels. Save "
            "it again with smaller tiles."
        )


def tiff_profile(data: bytes) -> bytes | None:
    """Colour profile of a TIFF."""
    import tifffile

    return tifffile.TiffFile(io.BytesIO(data)).pages[0].iccprofile


def png16(samples_HWN: np.ndarray, extra: dict) -> bytes:
    """(H, W, N) uint16 -> a PNG file; `extra` as for `Image.save`."""
    import imagecodecs

    data = imagecodecs.png_encode(samples_HWN if samples_HWN.shape[2] > 1 else samples_HWN[..., 0])
    return data[:33] + png_extras(extra) + data[33:]


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file: length, kind, body and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_extras(extra: dict) -> bytes:
    """The chunks of a PNG file between header and pixels, as Pillow makes them."""
    out = io.BytesIO()
    Image.new("L", (1, 1)).save(out, "PNG", **extra)
    other = out.getvalue()
    return other[33 : other.rindex(b"IDAT") - 4]


def tiff(samples_HWN: np.ndarray, extra: dict, alpha: bool, cmyk: bool = False) -> bytes:
    """(H, W, N) uint8, uint16 or float32 -> a TIFF file; `extra` as for `Image.save`."""
    out = io.BytesIO()
    samples = samples_HWN if samples_HWN.shape[2] > 1 else samples_HWN[..., 0]
    write_tiff(out, samples, samples_HWN.shape[2], extra, alpha, cmyk)
    return out.getvalue()


def write_tiff(out: IO[bytes], data, n: int, extra: dict, alpha: bool, cmyk: bool = False, **layout) -> None:
    """Write what `tifffile.imwrite` takes, of n samples per pixel, into a file that is open to read and write.

    layout: `shape`, `dtype` and `rowsperstrip`, where `data` are compressed strips.
    """
    import tifffile

    exif = Image.Exif()
    exif.load(extra.get("exif"))
    exif = camera_data(exif)
    tags = [(tag, "s", 0, _text(exif[tag]), True) for tag in CAMERA_TAGS if tag in exif and tag not in (270, 305)]
    folders = {tag: exif.get_ifd(tag) for tag in CAMERA_FOLDERS if exif.get_ifd(tag)}
    tags += [
        (tag - 1, "I", 1, 0, True) for tag in folders
    ]  # a place for each, which tifffile refuses by its own number
    tags += [(700, "B", len(extra["xmp"]), extra["xmp"], True)] if "xmp" in extra else []
    tifffile.imwrite(
        out,
        data,
        photometric="separated" if cmyk else "rgb" if n >= 3 else "minisblack",
        planarconfig="contig" if n > 1 else None,
        extrasamples=["unassalpha"] if alpha else None,
        byteorder="<",
        compression="zlib",
        iccprofile=extra.get("icc_profile"),
        resolution=extra.get("dpi"),
        resolutionunit="INCH" if "dpi" in extra else "NONE",
        description=_text(exif[270]) if 270 in exif else None,
        software=_text(exif.get(305, "")),
        metadata=None,
        extratags=tags,
        **layout,
    )
    if not folders:
        return
    out.seek(0)
    page = tifffile.TiffFile(out).pages[0]
    places = {tag: (page.tags[tag - 1].offset, page.tags[tag - 1].valueoffset) for tag in folders}
    for tag, values in folders.items():
        end = out.seek(0, 2)
        end += out.write(b"\0" * (end % 2))
        folder = TiffImagePlugin.ImageFileDirectory_v2(group=tag)
        folder.update(values)
        out.write(folder.tobytes(end))
        for place, packed in zip(places[tag], (struct.pack("<H", tag), struct.pack("<I", end)), strict=True):
            out.seek(place)
            out.write(packed)


def _text(value) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
