"""How many threads of the processor restore fastest here. [ours]

Two hardware threads of one core share its units of calculation, and a container may get less than the cores that it
sees. So no rule by the number of cores is right everywhere, and the count is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import torch

from ..model.network import SLERIR
from ..provenance import usable_cores

SIDE, ROUNDS = 512, 5  # pixels; times that every count has its turn
GAIN = 1.05  # more threads must be so many times as fast: less is noise, or not worth the other programs' cores
ALONE = 0.9  # share of a core that one thread must get: where other work takes more, more threads win by taking it back


class Trial(NamedTuple):
    """A number of threads, and why."""

    count: int
    speeds: dict[int, float]  # by number of threads, that of one thread is 1; {} where nothing could be measured
    reason: str


def fastest_threads(
    model: SLERIR, cores: int | None = None, seconds: Callable[[int], tuple[float, float]] | None = None
) -> Trial:
    """The number of threads to restore with on this machine, by measurement.

    Tries 1, 2, 4, ... and all cores, in turn, `ROUNDS` times, with a picture of `SIDE` x `SIDE` pixels through the
    whole network. A larger count is taken where the median of its speeds, round by round, is at least `GAIN` times that
    of the best count so far. Larger pictures may gain more from many threads; that is not measured. Nothing is
    concluded where one thread gets less than `ALONE` of a core, on one core, and on a GPU. torch's number of threads is
    afterwards what it was before.

    Arguments:
        cores: the most threads to try, at least 1 (default: the cores that this process may use).
        seconds: gives the seconds by the clock and of the processor that one restoration takes with so many threads
            (default: a restoration).
    Returns: the count, the median speed of each count, and the reason in words.
    """
    cores, before = cores or usable_cores(), torch.get_num_threads()
    if next(model.parameters()).device.type != "cpu":
        return Trial(before, {}, "not measured: the network is not on the processor")
    if cores == 1:
        return Trial(1, {}, "not measured: one usable core")
    counts = [2**k for k in range(cores.bit_length()) if 2**k < cores] + [cores]
    seconds = seconds or _by_the_clock(model)
    try:
        for count in counts:
            seconds(count)  # threads start, and memory is taken
        rounds = [{count: seconds(count) for count in counts} for _ in range(ROUNDS)]
    finally:
        torch.set_num_threads(before)
    if (share := median(times[1][1] / times[1][0] for times in rounds)) < ALONE:
        return Trial(before, {}, f"not measured: other work leaves {share:.0%} of a core to one thread")

    def faster(count: int, than: int) -> float:
        return median(times[than][0] / times[count][0] for times in rounds)

    best = 1
    for count in counts[1:]:
        if faster(count, best) >= GAIN:
            best = count
    speeds = {count: faster(count, 1) for count in counts}
    listed = ", ".join(f"{count} threads {speeds[count]:.2f}" for count in counts[1:])
    return Trial(best, speeds, f"speed against 1 thread: {listed}; more threads only where {GAIN} times as fast")


def _by_the_clock(model: SLERIR) -> Callable[[int], tuple[float, float]]:
    from .restore import restore

    x_CHW = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))

    def seconds(count: int) -> tuple[float, float]:
        torch.set_num_threads(count)
        begin, used = time.perf_counter(), time.process_time()
        restore(model, x_CHW)
        return time.perf_counter() - begin, time.process_time() - used

    return seconds
