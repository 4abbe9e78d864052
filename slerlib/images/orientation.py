"""Which way up a picture is stored, by its camera data, and how to turn it upright."""

from __future__ import annotations

import numpy as np
from PIL import Image

#: EXIF orientation -> what turns the picture upright, as Pillow has it.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(im: Image.Image) -> int:
    """How an image is turned, by its EXIF tag: 1 (upright) to 8; 1 where the camera data are damaged."""
    if im.format == "PNG":  # its camera data may follow the pixels, damage to which must not pass for damage to them
        im.load()
    try:
        turned = im.getexif().get(274, 1)
    except Exception:  # no reason to refuse a readable picture
        return 1
    return turned if turned in range(1, 9) else 1


def upright_size(im: Image.Image) -> tuple[int, int]:
    """(width, height) that an image just opened, not loaded yet, has once it is upright."""
    size = (im.tag_v2[256], im.tag_v2[257]) if im.format == "TIFF" else im.size  # Pillow turns those of a TIFF itself
    return size[::-1] if orientation(im) >= 5 else size


def upright(samples_HWN: np.ndarray, turned: int) -> np.ndarray:
    """Undo an EXIF orientation (1 to 8; anything else counts as 1, as in Pillow)."""
    if turned in (5, 6, 7, 8):
        samples_HWN = samples_HWN.transpose(1, 0, 2)
    if turned in (3, 4, 7, 8):
        samples_HWN = samples_HWN[::-1]
    if turned in (2, 3, 6, 7):
        samples_HWN = samples_HWN[:, ::-1]
    return np.ascontiguousarray(samples_HWN)
