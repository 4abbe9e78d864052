"""How many threads of the processor restore fastest here. [ours]

Two hardware threads of one core share its units of calculation, and a container may get less than the cores that it
sees. So no rule by the number of cores is right everywhere, and the count is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

from ..model.network import SLERIR
from ..provenance import usable_cores

SIDE, ROUNDS = 512, 5  # pixels; times that every count has its turn
GAIN = 1.05  # more threads must be so many times as fast: less is noise, or not worth the other programs' cores


def fastest_threads(
    model: SLERIR, cores: int | None = None, seconds: Callable[[int], float] | None = None
) -> tuple[int, dict[int, float]]:
    """The number of threads to restore with on this machine, by measurement, and the speed of each against one thread.

    Tries 1, 2, 4, ... and all cores, in turn, `ROUNDS` times, with a picture of `SIDE` x `SIDE` pixels through the
    whole network. A larger count is taken where the median of its ratios, round by round, to the count that was best
    so far is `GAIN` or more. Larger pictures may gain more from many threads; that is not measured. With one core, or
    a model on a GPU, nothing is measured. torch's number of threads is afterwards what it was before.

    Arguments:
        cores: the most threads to try, at least 1 (default: the cores that this process may use).
        seconds: gives the seconds that one restoration takes with so many threads (default: `restore` by the clock).
    Returns: the count, and by count the median of its speed over that of one thread, 1.0 for one thread itself.
    """
    cores = cores or usable_cores()
    if cores == 1 or next(model.parameters()).device.type != "cpu":
        return min(torch.get_num_threads(), cores), {}
    counts = [2**k for k in range(cores.bit_length()) if 2**k < cores] + [cores]
    before = torch.get_num_threads()
    seconds = seconds or _by_the_clock(model)
    try:
        for count in counts:
            seconds(count)  # threads start, and memory is taken
        rounds = [{count: seconds(count) for count in counts} for _ in range(ROUNDS)]
    finally:
        torch.set_num_threads(before)

    def faster(count: int, than: int) -> float:
        return median(times[than] / times[count] for times in rounds)

    best = 1
    for count in counts[1:]:
        if faster(count, best) >= GAIN:
            best = count
    return best, {count: faster(count, 1) for count in counts}


def speeds_in_words(count: int, speeds: dict[int, float]) -> str:
    """What `fastest_threads` gave, in a line."""
    if not speeds:
        return f"{count} (not measured: one usable core, or a network on a GPU)"
    others = ", ".join(f"{n} threads {speed:.2f}" for n, speed in speeds.items() if n > 1)
    return f"{count} (speed against 1 thread, {SIDE} x {SIDE} pixels: {others}; more only for {GAIN} times)"


def _by_the_clock(model: SLERIR) -> Callable[[int], float]:
    from .restore import restore

    x_CHW = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))

    def seconds(count: int) -> float:
        torch.set_num_threads(count)
        begin = time.perf_counter()
        restore(model, x_CHW)
        return time.perf_counter() - begin

    return seconds
