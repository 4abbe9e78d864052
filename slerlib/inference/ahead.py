"""Decode the next picture of a folder while the network works on this one. [ours]

Large pictures are not read ahead, so that memory stays that of one picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..images.files import read_image
from ..images.formats import KINDS, Meta
from ..images.strips import header
from .restore import WHOLE_PIXELS


@dataclass
class Reading:
    """What is known of a picture before its turn."""

    size: tuple[int, int, int]  # as `header` gives it, 0 where it cannot be read
    pixels: tuple[Tensor, Meta] | None  # as `read_image` gives them; None: to be read in its turn

    @property
    def large(self) -> bool:
        return self.size[0] * self.size[1] > WHOLE_PIXELS


def read_ahead(jobs: list[tuple[Path, Path]], overwrite: bool) -> Iterator[Future[Reading]]:
    """A `Reading` of each (picture, place of its result), in order. A thread is one picture ahead."""

    def read(job: tuple[Path, Path]) -> Reading:
        picture, result = job
        if exists(result, overwrite):
            return Reading((0, 0, 0), None)
        size = header(picture) or (0, 0, 0)
        small = 0 < size[0] * size[1] <= WHOLE_PIXELS
        return Reading(size, read_image(picture) if small else None)

    with ThreadPoolExecutor(1, "reader") as reader:
        following = [reader.submit(read, job) for job in jobs[:1]]
        for job in [*jobs[1:], None]:
            now = following.pop()
            now.exception()  # waits, so that the thread never has two
            following = [reader.submit(read, job)] if job else []
            yield now
            del now  # and its pixels, while the next one is awaited


def exists(result: Path, overwrite: bool) -> bool:
    """Whether a result is there that stays as it is."""
    return result.exists() and not overwrite and result.suffix.lower() in KINDS
