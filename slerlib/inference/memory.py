"""How much memory a picture needs, how much there is, and how the C library gives freed memory back."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
from pathlib import Path

import psutil
import torch

from ..errors import UserError
from ..images.rows import IN_MEMORY
from ..model.network import SLERIR

#: Values that the backbone holds at once, per pixel and channel of its highest level: measured peaks, rounded up
#: (`tiny` 54 to 67 bytes in float32, `small` 80, Restormer blocks 250).
VALUES = {"naf": 20, "restormer": 62}
TILED = 1.4  # times that where tile follows tile: measured peaks (docs/restoring.md)
BAND = 24  # bytes of a pixel in the rows that the tiles of one row are put together in
SAMPLES = 8  # bytes of a pixel in the temporary file, at most: 16 bits, three colours, alpha
_CGROUP = Path("/sys/fs/cgroup")
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of mallopt, from malloc.h
GIB = 1 << 30
LARGEST_JPEG = 65_535**2  # pixels


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


def free_memory(device: torch.device | str = "cpu") -> int:
    """Bytes that this process may still take: of the device, the machine and its control group."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        free = min(free, limit - used + int(cached.get("inactive_file", 0)))
    return free


def tile_bytes(model: SLERIR, side: int) -> int:
    """What the network needs for a tile, the last of a row being up to a cell larger; for a whole picture too."""
    weight = next(model.parameters())
    return (side + model.cell) ** 2 * model.cfg.width * VALUES[model.cfg.block] * weight.element_size()


def disk_bytes(model: SLERIR, width: int, height: int, passes: int = 1) -> int:
    """Of temporary files, at most: samples, tokens, and with several passes their results."""
    return width * height * (SAMPLES + (12 if passes > 1 else 0)) + _token_bytes(model, width, height)


def _token_bytes(model: SLERIR, width: int, height: int) -> int:
    return 4 * model.cfg.token_width * width * height // model.cfg.stride**2


def fitting_side(model: SLERIR, width: int, height: int, side: int, fixed: bool, held: int = 0) -> tuple[int, str]:
    """(side of the tiles for which there is memory, a note where it is not the one asked for).

    side: asked for, 0 = whole. fixed: whether a person chose it. held: bytes that decoder or encoder need at another
    time. Raises UserError with the number where a chosen side, or any side, needs more than there is.
    """
    device = next(model.parameters()).device
    free, size = free_memory(device), f"{width} x {height} pixels"
    cells = max(model.cell * 4, 64)
    waiting = min(width * height * SAMPLES, IN_MEMORY) + min(_token_bytes(model, width, height), IN_MEMORY)

    def need(side: int) -> int:
        if not side:
            return tile_bytes(model, 0) + width * height * (BAND + tile_bytes(model, 1000) // (1000 + model.cell) ** 2)
        tile = tile_bytes(model, min(side, max(width, height)))
        times = TILED if side < max(width, height) else 1
        return tile if device.type == "cuda" else int(times * tile) + min(side, height) * width * BAND + waiting

    held = 0 if device.type == "cuda" else held
    least = max(need(cells), held)
    if (fixed and max(need(side), held) > free) or least > free:
        wanted = max(need(side), held) if fixed else least
        step = (
            "Leave out tile, or give a smaller one." if least <= free else "Close other programs, or cut the picture."
        )
        raise UserError(
            f"There must be memory for the work; {size} need about {wanted / 1e9:.1f} GB"
            f"{(f' with tile={side}' if side else ' as a whole') if fixed else ''}, and {free / 1e9:.1f} GB are free. "
            f"{step}"
        )
    if need(side) <= free:
        return side, ""
    smaller = side or 768
    while need(smaller) > free:
        smaller = max(smaller // 2 // 8 * 8, cells)
    note = f"Tiles of {smaller} pixels, since {size} need {need(side) / 1e9:.1f} GB and {free / 1e9:.1f} are free."
    return smaller, note


def largest(model: SLERIR, side: int, folder: str | os.PathLike) -> tuple[int, int, str]:
    """(pixels of the largest square picture of plain PNG or TIFF, of JPEG, what limits the first)."""
    free, disk = free_memory(next(model.parameters()).device), psutil.disk_usage(os.fspath(folder)).free
    spare = max(free - int(TILED * tile_bytes(model, side)) - 2 * IN_MEMORY, 0)
    by_memory = (spare // (side * BAND)) ** 2
    by_disk = int(disk / (disk_bytes(model, 1000, 1000) / 1e6 + 3))  # and the result
    best = min(by_memory, by_disk)
    return best, min(best, free_memory() // 4, LARGEST_JPEG), "memory" if by_memory < by_disk else "disk"
