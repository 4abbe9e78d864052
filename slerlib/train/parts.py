"""Which samples of a global batch a process, or one of the pieces it accumulates, holds.

A global batch is the unit of every schedule: `train.batch` samples, however many processes and pieces share them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..sharding import consecutive


@dataclass(frozen=True)
class Part:
    """Samples `start` to `stop` - 1 of a global batch of `total`."""

    start: int
    stop: int
    total: int

    @classmethod
    def whole(cls, batch: dict[str, Tensor]) -> Part:
        """All samples of a batch in one process."""
        return cls(0, len(batch["label"]), len(batch["label"]))

    @property
    def share(self) -> float:
        """The factor that turns a mean over these samples into their part of the mean over the global batch."""
        return (self.stop - self.start) / self.total

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)


def pieces(batch: dict[str, Tensor], part: Part, count: int) -> list[tuple[Part, dict[str, Tensor]]]:
    """Cut a process's samples into `count` pieces, consecutive and as even as can be; see `Batches` for the keys."""
    if count == 1:
        return [(part, batch)]
    own, result = part.stop - part.start, []
    for n in range(count):
        mine = consecutive(own, n, count)
        a, b = mine.start, mine.stop
        inside = (batch["rows"] >= a) & (batch["rows"] < b)
        piece = {key: batch[key][a:b] for key in ("degraded", "clean", "label", "parts", "real")}
        piece |= {key: batch[key][inside] for key in ("context", "place", "where", "outside", "colour") if key in batch}
        piece["rows"] = batch["rows"][inside] - a
        result.append((Part(part.start + a, part.start + b, part.total), piece))
    return result


def together(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The samples of several pieces as one batch: the inverse of `pieces`."""
    first, rows = 0, []
    for batch in batches:
        rows.append(batch["rows"] + first)
        first += len(batch["label"])
    keys = ("degraded", "clean", "label", "parts", "real", "context", "place", "where", "outside", "colour")
    return {key: torch.cat([batch[key] for batch in batches]) for key in keys} | {"rows": torch.cat(rows)}
