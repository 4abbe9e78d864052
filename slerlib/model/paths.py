"""Paths: 8 expert numbers, one for each layer. Read from any form, and written as digits.

A number is one digit, since a network has at most 10 experts (`ModelConfig.experts`): "01201120" has one meaning only.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..config import LAYERS
from ..errors import UserError

Path = str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]] | np.ndarray | Tensor


def read_path(path: Path, batch: int, experts: int) -> Tensor:
    """The experts of every image: (batch, 8) int64 on the CPU.

    path: "01201120", eight whole numbers, or one such path for each image; lists, arrays and tensors (8,) or (B, 8).
        A single path serves the whole batch.
    Raises UserError for anything else, and for an expert that the network does not have.
    """
    values = path.tolist() if isinstance(path, Tensor | np.ndarray) else path
    try:
        if not isinstance(values, str):  # list(tensor) is a list of tensors
            values = [part.tolist() if isinstance(part, Tensor | np.ndarray) else part for part in values]
        single = isinstance(values, str) or not any(isinstance(part, Iterable) for part in values)
        rows = [[_number(expert) for expert in row] for row in ([values] if single else values)]
    except (TypeError, ValueError):
        rows = []
    fits = all(len(row) == LAYERS and 0 <= min(row) and max(row) < experts for row in rows)
    if not rows or not fits or len(rows) not in (1, batch):
        received = repr(values) if len(repr(values)) < 80 else f"{repr(values)[:76]} ..."
        raise UserError(
            f"A path names one expert (0..{experts - 1}) for each of {LAYERS} layers: {LAYERS} whole numbers, digits, "
            f"or one path for each of {batch} images; got {received}. "
            f"Try path={'0' * LAYERS!r}."
        )
    return torch.tensor(rows).expand(batch, -1)


def _number(expert: int | str) -> int:
    """A whole number or one digit; True, 1.0 and "-1" are neither."""
    if isinstance(expert, bool | np.bool_):
        raise TypeError
    return int(expert) if isinstance(expert, str) else operator.index(expert)


def path_digits(path: Iterable) -> str:
    """The digits of one path (numbers, an array or a tensor), such as "01201120"."""
    return "".join(str(int(expert)) for expert in path)
