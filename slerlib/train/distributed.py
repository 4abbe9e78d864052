"""Several processes train one network: torchrun starts them, one all-reduce a step joins them [ours].

    torchrun --nproc_per_node 2 -m slerlib train tiny

Every process holds the whole network and its own rows of each global batch (`train.batch` counts all processes), and
computes terms whose sum over processes is that of the global batch. We sum by hand, without DistributedDataParallel:
the same all-reduce then also counts which parameters *any* process used, so that an expert that no sample of the global
batch chose keeps the gradient None: no decay, no momentum step, as in one process. The price: communication does not
overlap with the backward pass.
Legend: n samples, d embedding dimension.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import ProcessLost, UserError
from ..sharding import consecutive, place

PATIENCE = timedelta(minutes=30)  # for a process that does not answer; one that dies is noticed at once
GRACE = 5.0  # seconds in which the process that knows the cause prints it first
FAILED = "failed"  # entry of the store in which a process leaves the cause of its end


@dataclass(frozen=True)
class Group:
    """The processes of one training, seen from one of them. `Group()` is a training in a single process."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")
    store: Any = None  # key-value store that torchrun's processes share
    name: str = "one process"

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def rows(self, total: int) -> range:
        """Samples of a global batch of `total` that are this process's: consecutive, as even as can be."""
        return consecutive(total, self.rank, self.world)

    # --- sums

    def sum_gradients(self, parameters: Sequence[nn.Parameter], numbers: Tensor) -> Tensor:
        """Replace gradients by their sums over processes; returns the sum of `numbers` (m,), float32.

        A parameter that was used by no process keeps the gradient None; one that others used gets theirs.
        """
        if self.world == 1:
            return numbers
        used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32, device=numbers.device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([numbers, used, *(g.flatten() for g in gradients)])
        with self._communicating():
            dist.all_reduce(flat)
        numbers, used, *sums = flat.split([len(numbers), len(used), *(g.numel() for g in gradients)])
        for parameter, gradient, total, by in zip(parameters, gradients, sums, used.tolist(), strict=True):
            parameter.grad = gradient.copy_(total.view_as(gradient)) if by else None
        return numbers

    def sum(self, x: Tensor) -> Tensor:
        """Sum over processes, without gradient."""
        x = x.detach().clone()
        if self.world > 1:
            with self._communicating():
                dist.all_reduce(x)
        return x

    def gather(self, x: Tensor, total: int) -> Tensor:
        """(n, ...) rows of this process -> (total, ...) rows of all, in their order.

        The gradient goes to the own rows alone, times the number of processes: a loss of the gathered rows, divided by
        that number, sums over processes to the loss and the gradient of the global batch.
        """
        return x if self.world == 1 else _Gather.apply(x, self, total)

    # --- agreement

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What `make` returns, or raises, in process 0; the others do not call it."""
        if self.world == 1:
            return make()
        answer: list = [None, None]  # result, error
        if self.first:
            try:
                answer[0] = make()
            except Exception as error:
                answer[1] = error
        with self._communicating():
            dist.broadcast_object_list(answer, src=0, device=self.device)
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    def gather_objects(self, item: Any) -> list:
        """The items of all processes, by rank; small and picklable."""
        if self.world == 1:
            return [item]
        items: list = [None] * self.world
        with self._communicating():
            dist.all_gather_object(items, item)
        return items

    def restarted(self) -> bool:
        """Whether torchrun has started these processes again after a failure; it counts for each machine apart."""
        return any(self.gather_objects(int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))))

    def broadcast(self, *modules: nn.Module) -> None:
        """Give all processes the weights and buffers of process 0."""
        if self.world > 1:
            with torch.no_grad(), self._communicating():
                for tensor in (t for module in modules for t in module.state_dict().values()):
                    dense = tensor.contiguous()
                    dist.broadcast(dense, src=0)
                    tensor.copy_(dense)

    # --- the end

    @contextmanager
    def _communicating(self) -> Iterator[None]:
        """Around all communication: name the process that ended, and why. Raises ProcessLost."""
        try:
            yield
        except RuntimeError as error:
            try:  # a process that fails leaves the cause; without one torchrun ends this process meanwhile
                self.store.wait([FAILED], timedelta(seconds=GRACE))
                cause = self.store.get(FAILED).decode()
            except RuntimeError:
                cause = (
                    f"another process ended without a message: killed, or out of memory ({str(error).splitlines()[0]})"
                )
            raise ProcessLost(
                f"All processes of a training must stay alive; process {self.rank} of {self.world} stops because "
                f"{cause}. The last checkpoint is whole: start the same command again with --resume."
            ) from error

    @contextmanager
    def member(self) -> Iterator[None]:
        """Around all work: leave the cause of a failure for the others, and the group at the end."""
        try:
            yield
        except ProcessLost:
            raise  # another process has the cause
        except BaseException as error:
            if self.world > 1:
                text = " ".join(str(error).split()) or "no message"
                self.store.set(FAILED, f"process {self.rank} ended with {type(error).__name__}: {text}")
                if isinstance(error, UserError | FloatingPointError) and not self.first:
                    time.sleep(GRACE)  # process 0 prints the same error; torchrun then ends this one
            raise
        if self.world > 1:
            dist.destroy_process_group()


def join(device: torch.device) -> Group:
    """Meet the other processes that torchrun started; a group of one without it.

    NCCL where each process has a GPU of its own, gloo elsewhere.
    """
    rank, world = place()
    if world == 1:
        return Group(device=device)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    backend = "nccl" if device.type == "cuda" and here <= torch.cuda.device_count() else "gloo"
    from torch.distributed.rendezvous import rendezvous  # not in every build of torch

    store, rank, world = next(iter(rendezvous("env://", timeout=PATIENCE)))
    store = _meet(store, rank, world)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=PATIENCE)
    return Group(rank, world, device, store, f"{world} processes by {backend}")


def _meet(store: dist.Store, rank: int, world: int) -> dist.Store:
    """A part of the store for these processes alone: torchrun's store outlives them, and after a restart it still has
    the addresses of dead ones.
    """
    own = uuid.uuid4().hex
    if rank > 0:
        store.set(f"hello/{rank}", own)
        common = store.get(f"welcome/{own}").decode()  # waits
        store.set(f"here/{common}/{rank}", "")
        return dist.PrefixStore(common, store)
    missing = set(range(1, world))
    while missing:
        for other in sorted(missing):
            hello = store.get(f"hello/{other}").decode()  # perhaps of a dead process, which will never answer
            store.set(f"welcome/{hello}", own)
        time.sleep(0.02)
        missing -= {other for other in missing if store.check([f"here/{own}/{other}"])}
    return dist.PrefixStore(own, store)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, group: Group, total: int) -> Tensor:
        counts = [len(Group(r, group.world).rows(total)) for r in range(group.world)]
        padded = x.new_zeros(max(counts), *x.shape[1:])  # all processes must bring the same shape
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in counts]
        with group._communicating():
            dist.all_gather(parts, padded)
        ctx.own, ctx.world = group.rows(total), group.world
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return gradient[ctx.own.start : ctx.own.stop] * ctx.world, None, None
