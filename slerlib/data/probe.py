"""Open an image once and note what a check of the data needs: faults, size, a small greyscale copy. [ours]

Legend: H W pixels.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..files import no_file
from ..images.orientation import orientation, upright_size
from .decode import SMALLEST
from .likeness import SIDE, alignment

DRAFT = 2 * SIDE  # JPEG files are decoded at the smallest of 1/1, 1/2, 1/4 and 1/8 that has as many pixels a side
FINE = 320  # pixels a side up to which the alignment of a pair is measured at full size, then at half size, and so on


@dataclass(frozen=True)
class Probe:
    """Faults, size and small copy of one file."""

    path: Path
    fault: tuple[str, str] | None = None  # (kind, message) of a file that cannot be used
    size: tuple[int, int] | None = None  # width, height, upright
    grey: bool = False
    digest: bytes = b""  # of the file's bytes
    small: np.ndarray | None = None  # (64, 64) uint8


@dataclass(frozen=True)
class SceneFiles:
    """A clean image and all inputs that belong to it: each is decoded once."""

    target: Path
    inputs: tuple[Path, ...]
    aligned: bool  # whether the pairs are to be compared for alignment


def probe_group(group: SceneFiles) -> tuple[list[Probe], list[tuple[Path, tuple[int, int], float, float]]]:
    """(one Probe per file, the target first; (input, shift in pixels, correlation there, correlation unshifted))."""
    target, clean = probe(group.target, full=group.aligned)
    probes, shifts = [target], []
    for file in group.inputs:
        one, degraded = probe(file, full=group.aligned)
        probes.append(one)
        if group.aligned and clean is not None and degraded is not None and clean.size == degraded.size:
            factor = -(-max(clean.size) // FINE)
            pair = (np.asarray(im.reduce(factor)) for im in (degraded, clean))
            (down, right), best, unshifted = alignment(*pair)
            shifts.append((file, (down * factor, right * factor), best, unshifted))
    return probes, shifts


def probe(path: Path, full: bool = False) -> tuple[Probe, Image.Image | None]:
    """(Probe, upright greyscale picture or None). A JPEG is decoded at reduced size unless `full`: fewer pixels are
    computed, but every coefficient is read, so that a cut file is noticed."""
    if fault := no_file(path):  # to read a pipe would wait for ever
        return Probe(path, ("unreadable", f"{fault}. Remove it.")), None
    try:
        data = path.read_bytes()
    except OSError as error:
        return Probe(path, ("unreadable", f"cannot be read: {error.strerror}. Check the permissions.")), None
    if not data:
        return Probe(path, ("empty-file", "has 0 bytes. Copy or download it again.")), None
    try:
        im = Image.open(io.BytesIO(data))
        size, grey = upright_size(im), im.mode in ("1", "L", "LA", "I", "I;16", "F")
        if not full:
            im.draft("L", (DRAFT, DRAFT))
        turned = 1 if im.format == "TIFF" else orientation(im)  # Pillow turns a TIFF itself
        im.load()
        if im.mode.startswith(("I", "F")):  # 16 bits
            im = Image.fromarray((np.asarray(im).astype(np.float32) / 257).clip(0, 255).astype(np.uint8))
        im = im.convert("L")
        if turned != 1:
            im.getexif()[274] = turned
            im = ImageOps.exif_transpose(im)
    except UnidentifiedImageError:
        return Probe(path, ("not-an-image", f"is not an image: it starts with {data[:8]!r}. Replace it.")), None
    except Image.DecompressionBombError as error:
        return Probe(path, ("too-large", f"is larger than Pillow opens ({error}). Cut it into parts.")), None
    except Exception as error:  # damaged files make Pillow raise OSError, SyntaxError, struct.error, zlib.error, ...
        reason = f"{type(error).__name__}: {error}"
        return Probe(path, ("truncated", f"is truncated or damaged ({reason}). Copy or download it again.")), None
    if min(size) < SMALLEST:
        small = f"is {size[0]} x {size[1]}; an image needs at least {SMALLEST} pixels a side. Remove it."
        return Probe(path, ("too-small", small), size), None
    small_HW = np.asarray(im.resize((SIDE, SIDE), Image.Resampling.BOX))
    digest = hashlib.blake2b(data, digest_size=16).digest()
    return Probe(path, None, size, grey, digest, small_HW), im
