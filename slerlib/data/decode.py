"""Image files as uint8 tensors. A file is decoded when it is used and then held, within a budget of memory."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import UserError

SMALLEST = 32  # pixels a side that a training image needs
GIB = 1 << 30


class Cache:
    """Decoded images, uint8 (3, H, W). Above `budget` bytes the least recently used leave.

    Each process has its own cache, and each of N loader workers an Nth of the budget.
    """

    def __init__(self, budget: float = 2 * GIB):
        self.budget, self.bytes = budget, 0
        self.images: OrderedDict[Path, Tensor] = OrderedDict()

    def __call__(self, path: Path, read: Callable[[Path], Tensor] | None = None) -> Tensor:
        """The image in a file, or what `read` makes of it."""
        if path in self.images:
            self.images.move_to_end(path)
            return self.images[path]
        image = self.images[path] = (read or decoded)(path)
        self.bytes += image.nbytes
        worker = torch.utils.data.get_worker_info()
        while self.bytes > self.budget / (worker.num_workers if worker else 1) and len(self.images) > 1:
            self.bytes -= self.images.popitem(last=False)[1].nbytes
        return image

    def __getstate__(self):  # a worker that is spawned begins with an empty cache
        return {"budget": self.budget, "bytes": 0, "images": OrderedDict()}


class Files(Sequence):
    """Image files as a sequence of uint8 (3, H, W)."""

    def __init__(self, paths: Sequence[Path], cache: Cache):
        self.paths, self.cache = tuple(paths), cache

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.cache(self.paths[index])


def decoded(path: Path) -> Tensor:
    """uint8 (3, H, W), the values of `read_image`. Usual files take a shortcut that is about four times as fast.

    Raises UserError for a file that is damaged or not an image.
    """
    from ..images.files import check_file, read_image

    check_file(path)
    try:
        with Image.open(path) as image:
            plain = image.mode == "RGB" and getattr(image, "n_frames", 1) == 1 and not image.has_transparency_data
            if plain and (image.format in ("JPEG", "WEBP", "BMP") or image.format == "PNG" and _bits(path) == 8):
                pixels_HWC = np.asarray(ImageOps.exif_transpose(image))
                return torch.from_numpy(np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1)))
    except Exception:
        pass  # read_image names the fault
    return (read_image(path)[0] * 255).round().to(torch.uint8)


def _bits(path: Path) -> int:
    """Bits per channel of a PNG file: byte 24, in its header."""
    with open(path, "rb") as file:
        return file.read(25)[24]


def look_at(sides: Sequence[tuple[Files | None, Files]], cache: Cache) -> None:
    """Open all files of (inputs or None, targets), so that training does not stop at a bad file after hours.

    If they fit into the cache together, they are decoded now. Raises UserError with the paths of files that are
    damaged, too small or not images, and of pairs whose sizes differ.
    """
    size: dict[Path, tuple[int, int]] = {}
    for path in (path for pair in sides for side in pair if side for path in side.paths):
        if path not in size:
            size[path] = _size(path)
    unfit = [f"{path} ({w}x{h})" for path, (w, h) in size.items() if min(w, h) < SMALLEST]
    if unfit:
        raise UserError(
            f"A training image needs at least {SMALLEST} pixels a side; smaller: {', '.join(unfit[:5])}. "
            f"Remove {len(unfit)} file(s)."
        )
    unfit = [
        f"{x} ({size[x][0]}x{size[x][1]}) and {y} ({size[y][0]}x{size[y][1]})"
        for inputs, targets in sides
        for x, y in zip(inputs.paths if inputs else (), targets.paths, strict=False)
        if size[x] != size[y]
    ]
    if unfit:
        raise UserError(
            f"The two images of a pair must have the same size; {'; '.join(unfit[:3])} have not. "
            f"Remove {len(unfit)} pair(s), or cut both images to the same place."
        )
    if sum(3 * w * h for w, h in size.values()) <= cache.budget:
        for side in (side for pair in sides for side in pair if side):
            deque(side, maxlen=0)


def _size(path: Path) -> tuple[int, int]:
    """(width, height) of an upright image, from its header."""
    from ..images.files import check_file, read_image
    from ..images.orientation import upright_size

    check_file(path)
    try:
        with Image.open(path) as image:
            return upright_size(image)
    except Exception:
        read_image(path)  # names the fault
        raise
