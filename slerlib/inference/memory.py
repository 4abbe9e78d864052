"""Keep freed memory for the next tensor instead of handing it back to the system."""

from __future__ import annotations

import ctypes
import functools
import os
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of mallopt, from malloc.h
GIB = 1 << 30


@functools.cache
def keep_freed_memory() -> bool:
    """Tell glibc to serve blocks of up to 1 GiB from its heap and to keep up to 1 GiB of it when they are freed.

    By default every block above 32 MiB - one full-resolution feature map of a 512 x 512 image - is mapped anew and
    cleared by the kernel page by page, which took 40 % of the time of a restoration on one thread. Returns whether it
    took effect: not without glibc (macOS, musl), and not where the environment sets MALLOC_ variables itself.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(_MMAP_THRESHOLD, GIB), mallopt(_TRIM_THRESHOLD, GIB), mallopt(_TOP_PAD, GIB >> 4)])
