"""Work shared among the processes that torchrun started.

    torchrun --nproc_per_node 2 -m slerlib eval tiny --data demo --setting demo

Only finished rows travel, through the key-value store by which torchrun's processes find each other. No process group
is needed, so none can fail at the end of the program.
"""

from __future__ import annotations

import itertools
import json
import os
from datetime import timedelta

import torch

WAIT = timedelta(hours=12)  # of process 0 for the slowest other process; if one fails, torchrun ends all
_calls = itertools.count()  # the store outlives a call: each one has keys of its own, the same in all processes
CHUNK = 2000  # rows per entry of the store, which takes at most 8 MB each


def place() -> tuple[int, int]:
    """(number of this process, how many there are); (0, 1) without torchrun."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def consecutive(total: int, number: int, count: int) -> range:
    """Part `number` of `count` of 0 to `total` - 1: each in one part, the parts in order and as even as can be."""
    return range(total * number // count, total * (number + 1) // count)


def take_own_gpu() -> None:
    """Make "cuda" mean the GPU of this process, in turn where there are fewer GPUs than processes."""
    if place()[1] > 1 and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())


def _attempt() -> str:
    """How often torchrun has started the processes anew: its store keeps the rows of processes that died.

    Each of several machines counts for itself, so there the key must not hold the count. The rows that a dead process
    left are right all the same: the share of a process depends only on its number and on how many there are.
    """
    alone = os.environ.get("GROUP_WORLD_SIZE", "1") == "1"
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if alone else "any"


def gathered(rows: list[tuple]) -> list[tuple]:
    """On process 0 the rows of all processes, elsewhere []. Process r has made rows r, r + world, ..."""
    from torch.distributed.rendezvous import rendezvous

    store, rank, world = next(iter(rendezvous("env://", timeout=WAIT)))
    call = f"slerlib/{_attempt()}/{world}/{next(_calls)}"
    chunks = [rows[k : k + CHUNK] for k in range(0, len(rows), CHUNK)]
    if rank > 0:
        for k, chunk in enumerate(chunks):
            store.set(f"{call}/{rank}/{k}", json.dumps(chunk))
        store.set(f"{call}/{rank}", str(len(chunks)))
        return []
    parts = [rows]
    for other in range(1, world):
        count = int(store.get(f"{call}/{other}"))
        texts = [store.get(f"{call}/{other}/{k}") for k in range(count)]
        parts.append([tuple(row) for text in texts for row in json.loads(text)])
    return [parts[k % world][k // world] for k in range(sum(map(len, parts)))]
