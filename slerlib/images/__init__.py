"""Picture files, PIL images and arrays <-> float32 RGB tensors in [0, 1], and everything else a picture carries.

Read in this order:

    formats.py        which suffix means which format, what each holds; `Meta`: what a picture is besides its RGB values
    files.py          read_image, read_bytes (of an upload), write_image, and PIL images
    faults.py         what can be wrong with a file, in words
    arrays.py         numpy arrays, uint8, uint16 or float
    sixteen_bit.py    PNG and TIFF with 16 bits per channel
    rows.py           a picture whose samples wait on the disk, and parts of it as tensors
    strips.py         files read strip by strip; tiff_strips.py, inflate.py: parts of it
    writers.py        files written strip by strip
    orientation.py    which way up a picture is stored
"""

from .files import SUFFIXES, Meta, from_pil, read_bytes, read_image, to_pil, write_image

__all__ = ["SUFFIXES", "Meta", "from_pil", "read_bytes", "read_image", "to_pil", "write_image"]
