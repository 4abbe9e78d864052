"""What can be wrong with a picture file, in words."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ..errors import UserError
from . import formats

_filters = threading.RLock()  # of warnings: they belong to all threads


@contextlib.contextmanager
def explained(path: Path, data: bytes | None = None) -> Iterator[None]:
    """What can go wrong while the pixels of a file are read, as a UserError. data: its bytes, if at hand."""
    try:
        with _filters, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd but readable files; unreadable ones raise
            yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except UnidentifiedImageError:
        step = "Convert it to PNG, JPEG, WebP or TIFF."
        if path.suffix.lower() in (".heic", ".heif", ".hif") and formats.pillow_heif is None:
            step = "Install pillow-heif (python -m pip install pillow-heif), or convert it to JPEG."
        size = path.stat().st_size if data is None else len(data)
        if data is None:
            with open(path, "rb") as file:
                data = file.read(8)
        raise UserError(
            f"A picture must be of a kind that Pillow reads here; {path} is not ({size} bytes, starting with "
            f"{data[:8]!r}). {step}"
        ) from None
    except Image.DecompressionBombError as error:
        raise UserError(
            f"An image that is read in this way may have at most {2 * Image.MAX_IMAGE_PIXELS:,} pixels; {path} claims "
            f"more ({error}) If you trust the file, restore it without tile=0, save it as a plain PNG or TIFF, cut it "
            "into parts, or raise PIL.Image.MAX_IMAGE_PIXELS in Python."
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # damaged files make Pillow raise OSError, SyntaxError, struct.error, zlib.error, ...
        raise UserError(
            f"An image file must be complete; {path} starts like one but is truncated or damaged "
            f"({type(error).__name__}: {error}). Copy or download it again."
        ) from error


def check_file(path: Path) -> None:
    """Raise UserError for a file that is missing, a folder, a device, not to be read, or empty."""
    need = "An image file is needed"
    try:
        path.exists()
    except OSError as error:
        raise UserError(f"{need}; {path} cannot be read: {error.strerror}. Check the name.") from None
    try:
        if path.is_dir():
            raise UserError(f"{need}; {path} is a folder. Give a file, or run `slerlib restore IN OUT` on the folder.")
        if not path.exists():
            raise UserError(f"{need}; {path} does not exist. Check the spelling; the current folder is {Path.cwd()}.")
        if not path.is_file():
            raise UserError(f"{need}; {path} is a device or a pipe. Save its bytes to a file first.")
        with open(path, "rb") as file:
            data = file.read(1)
    except OSError as error:
        raise UserError(f"{need} that can be read; {path} cannot: {error.strerror}. Check the permissions.") from None
    if not data:
        raise UserError(f"{need}; {path} is empty (0 bytes). Copy or download it again.")
