"""16 bits per channel for colour and alpha, which Pillow reads with 8: PNG and TIFF.

Reading a PNG lets Pillow undo the compression twice, once for the high and once for the low byte of each sample;
writing is a few chunks of the PNG specification (ISO/IEC 15948). TIFF goes through tifffile, a part of scikit-image.
Arrays are uint16 (H, W, N): N = 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # samples per pixel -> PNG colour type
_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL, _EXTRA_SAMPLES = 258, 277, 338  # TIFF tags
_NO_KEY = "The transparent colour of this 16-bit PNG is not kept; an alpha channel would be."
_TOP_BITS_CMYK = "Only the top 8 bits of this 16-bit CMYK file are read."
_EXTRA = "This TIFF does not say what its samples beside RGB are; they are left out."
_TOP_BITS = "Only the top 8 bits of this 16-bit TIFF can be read in its compression; save it uncompressed to keep 16."


def read_samples16(data: bytes, im: Image.Image) -> tuple[np.ndarray | None, list[str]]:
    """File content and the image that Pillow opened from it, not loaded yet -> (samples as stored, notes).

    The samples are None for a file that Pillow reads faithfully, and where 8 bits must do (a note says so).
    """
    if im.format == "PNG":
        raw = str(im.tile[0][3]) if im.tile else ""
        notes = [_NO_KEY] if raw.endswith("16B") and "transparency" in im.info else []
        return _read_png(data, raw) if raw in ("RGB;16B", "RGBA;16B", "LA;16B") else None, notes
    if im.format == "TIFF":
        return _read_tiff(data, im)
    return None, []


def _read_tiff(data: bytes, im: Image.Image) -> tuple[np.ndarray | None, list[str]]:
    notes = [_EXTRA] if im.mode == "RGB" and im.tag_v2.get(_SAMPLES_PER_PIXEL, 3) > 3 else []
    if set(im.tag_v2.get(_BITS_PER_SAMPLE, (8,))) != {16} or im.mode not in ("RGB", "RGBA", "CMYK"):
        return None, notes
    if im.mode == "CMYK":
        return None, [_TOP_BITS_CMYK]
    import tifffile

    try:
        samples_HWN = tifffile.imread(io.BytesIO(data), key=0)
    except ValueError:  # a compression that tifffile needs a further package for
        return None, [*notes, _TOP_BITS]
    samples_HWN = samples_HWN if samples_HWN.shape[2] in (3, 4) else np.moveaxis(samples_HWN, 0, 2)
    samples_HWN = samples_HWN[..., : len(im.mode)]
    if im.mode == "RGBA" and im.tag_v2.get(_EXTRA_SAMPLES) == (1,):  # colours multiplied by alpha, as GIMP stores them
        alpha_HW1 = samples_HWN[..., 3:].astype(np.float64)
        colour_HWN = samples_HWN[..., :3] * (65535 / np.where(alpha_HW1 == 0, 65535, alpha_HW1))
        colour_HWN = colour_HWN.round().clip(0, 65535).astype(np.uint16)
        samples_HWN = np.concatenate([colour_HWN, samples_HWN[..., 3:]], axis=2)
    return samples_HWN, notes


def _read_png(data: bytes, raw: str) -> np.ndarray:
    if raw == "LA;16B":  # read as four 8-bit channels: both bytes of grey, then both bytes of alpha
        bytes_HWN = _decoded(data, "RGBA", "RGBA")
        high_HWN, low_HWN = bytes_HWN[..., ::2], bytes_HWN[..., 1::2]
    else:  # "16L" takes the low byte of these big-endian samples for the high byte of little-endian ones
        mode = raw.partition(";")[0]
        high_HWN, low_HWN = _decoded(data, mode, raw), _decoded(data, mode, f"{mode};16L")
    return high_HWN.astype(np.uint16) * 256 + low_HWN


def _decoded(data: bytes, mode: str, raw: str) -> np.ndarray:
    im = Image.open(io.BytesIO(data))
    im._mode = mode
    im.tile = [im.tile[0]._replace(args=raw)]
    return np.asarray(im)


def write_samples16(kind: str, samples_HWN: np.ndarray, icc: bytes | None, exif: bytes | None) -> bytes:
    """(H, W, N) uint16 -> the bytes of a "PNG" or "TIFF" file. `exif` is kept in PNG only."""
    n = samples_HWN.shape[2]
    if kind == "TIFF":
        import tifffile

        out = io.BytesIO()
        layout = {"photometric": "rgb" if n >= 3 else "minisblack", "planarconfig": "contig" if n > 1 else None}
        layout |= {"extrasamples": ["unassalpha"]} if n in (2, 4) else {}
        samples = samples_HWN if n > 1 else samples_HWN[..., 0]
        tifffile.imwrite(out, samples, compression="zlib", iccprofile=icc, metadata=None, **layout)
        return out.getvalue()
    height, width, _ = samples_HWN.shape
    rows_HB = np.ascontiguousarray(samples_HWN, dtype=">u2").reshape(height, -1).view(np.uint8)
    filtered_HB = np.empty((height, 1 + rows_HB.shape[1]), np.uint8)
    filtered_HB[:, 0] = 2  # filter "up": each row minus the row above, modulo 256
    filtered_HB[:, 1:] = rows_HB
    filtered_HB[1:, 1:] -= rows_HB[:-1]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPE[n], 0, 0, 0))]
    chunks += [(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))] if icc else []
    chunks += [(b"eXIf", exif.removeprefix(b"Exif\0\0"))] if exif else []
    chunks += [(b"IDAT", zlib.compress(filtered_HB.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(tag, body) for tag, body in chunks)


def _chunk(tag: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))
