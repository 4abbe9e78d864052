"""Exercises of lesson 09: who takes which samples, gradients of uneven parts, gradients that nobody has."""

import numpy as np
import torch

from .exercise import exercise, holds, run, same


@exercise(
    "medium",
    8,
    "What happens to the tenth sample when three processes share ten?",
    "Think of the borders between processes, not of the sizes: each process ends where the next one begins.",
    "Multiply before you divide: the border before process `rank` lies at `rank` / `world` of the samples.",
)
def my_samples(total, world, rank):
    """Numbers of the samples, of 0 to total - 1, that process `rank` of `world` takes; sizes differ by at most 1."""
    return range(total * rank // world, total * (rank + 1) // world)


@my_samples.check
def _(answer):
    half = list(run(answer, 10, 2, 0))
    ends = "With 10 samples and 2 processes process 0 takes 0, 1, 2, 3, 4; yours are"
    holds("Return the numbers themselves, as range(start, end).", half not in ([0, 4], [0, 5]), f"{ends} {half}.")
    for total, world in [(total, world) for total in range(2, 20) for world in range(1, 5)]:
        rows = [list(run(answer, total, world, rank)) for rank in range(world)]
        taken, sizes = [n for own in rows for n in own], [len(own) for own in rows]
        case = f"With {total} samples and {world} process{'es' * (world > 1)}"
        beyond, lost = set(taken) - set(range(total)), set(range(total)) - set(taken)
        twice = sorted({n for n in taken if taken.count(n) > 1})
        holds(
            "There are the samples 0 to total - 1.", not beyond, f"{case} there is no sample {max(beyond, default=0)}."
        )
        holds("Every sample is taken.", not lost, f"{case} sample {min(lost, default=0)} is lost.")
        holds("No sample is taken twice.", not twice, f"{case} sample {min(twice, default=0)} is taken twice.")
        holds("The sizes differ by at most one.", max(sizes) - min(sizes) <= 1, f"{case} the sizes are {sizes}.")


@exercise(
    "easy",
    6,
    "Each gradient is a mean over the samples of its own process. How many samples does it speak for?",
    "Weigh each by its share: its number of samples by the number of all samples.",
    "Add up size / total * gradient over the processes. The shares add up to 1, so nothing is divided afterwards.",
)
def joined(gradients, sizes):
    """The gradient of the mean loss over all samples, from one gradient (m,) and one number of samples a process."""
    total = sum(sizes)
    return sum(size / total * gradient for gradient, size in zip(gradients, sizes, strict=True))


@joined.check
def _(answer):
    equal = [torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])]
    same(
        "Processes that agree stay as they are.",
        run(answer, equal, [2, 3]),
        equal[0],
        case="Twice [1, 2], sizes 2 and 3",
    )
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    same(
        "Equal parts give the plain average.",
        run(answer, [a, b], [4, 4]),
        [0.5, 0.5],
        case="[1, 0] and [0, 1], sizes 4 and 4",
    )
    same(
        "A part counts by its number of samples.",
        run(answer, [a, b], [2, 3]),
        [0.4, 0.6],
        case="[1, 0] and [0, 1], sizes 2 and 3",
    )
    same(
        "There may be any number of processes.",
        run(answer, [a, b, a + b], [1, 2, 5]),
        joined.solution([a, b, a + b], [1, 2, 5]),
        case="Three processes, sizes 1, 2, 5",
    )


@exercise(
    "medium",
    8,
    "Go weight by weight: `zip(*parts)` gives the gradients of all processes for one weight.",
    "A weight that no process used keeps None. For the others a process with None adds nothing.",
    "own = [g for g in column if g is not None]; the entry is sum(own) if own else None.",
)
def summed(parts):
    """parts[process][weight] is a gradient or None. Returns the sum for each weight; None where no process used it."""
    columns = [[g for g in column if g is not None] for column in zip(*parts, strict=True)]
    return [sum(own) if own else None for own in columns]


@summed.check
def _(answer):
    g = torch.tensor([1.0, 2.0])
    mine = run(answer, [[g, None, g], [2 * g, None, None]])
    holds("There is one entry for each weight.", len(mine) == 3, f"For 3 weights yours has {len(mine)}.")
    holds(
        "A weight that nobody used has no gradient, or decay would pull at it.",
        mine[1] is None,
        f"Weight 1 was used by no process; yours is {mine[1]}.",
    )
    holds(
        "A weight that one process used has a gradient.",
        mine[2] is not None,
        "Weight 2 was used by process 0; yours is None.",
    )
    same("Gradients are added, not averaged.", mine[0], 3 * g, case="[1, 2] and [2, 4]")
    same("A process that did not use a weight adds nothing.", mine[2], g, case="[1, 2] and None")
    late = run(answer, [[None], [None], [g]])[0]
    holds(
        "Any process may be the one that used it.", late is not None, "Of three processes only the last has a gradient."
    )
    same("A process that did not use a weight adds nothing.", late, g, case="None, None, [1, 2]")
    still = run(answer, [[0 * g], [None]])[0]
    holds(
        "A gradient of 0 is a gradient: its weight was used.", still is not None, "For [0, 0] and None yours is None."
    )
    same("A gradient of 0 stays 0.", still, 0 * g, case="[0, 0] and None")


@exercise(
    "hard",
    15,
    "Picture the processes in a ring, each with its own row of chunks. In round n process r sends chunk r - n.",
    "First half, world - 1 rounds: the receiver adds. After it process r has the whole sum of chunk r + 1.",
    "Second half, world - 1 rounds: process r sends chunk r + 1 - n, and the receiver keeps it. All modulo world.",
)
def ring(rows, send):
    """All-reduce in a ring: rows[process][chunk] -> rows in which every process has the sums of all chunks.

    There are as many chunks as processes. send(r, number) passes a number from process r to its right neighbour.
    """
    world, rows = len(rows), [list(row) for row in rows]
    for n in range(world - 1):
        messages = [send(r, rows[r][(r - n) % world]) for r in range(world)]
        for r, number in enumerate(messages):
            rows[(r + 1) % world][(r - n) % world] += number
    for n in range(world - 1):
        messages = [send(r, rows[r][(r + 1 - n) % world]) for r in range(world)]
        for r, number in enumerate(messages):
            rows[(r + 1) % world][(r + 1 - n) % world] = number
    return rows


class _Wire:
    """`send` of a ring of `world` processes that writes down who sends what, and whose numbers each one has.

    A number is 100 ** chunk times a sum of 2 ** process: it tells its chunk, and from which processes it is the sum.
    """

    def __init__(self, world: int):
        self.world, self.sent, self.unknown = world, [], []
        self.has = {(r, chunk): 1 << r for r in range(world) for chunk in range(world)}

    def send(self, r, number):
        self.sent.append(r)
        for chunk in range(self.world):
            for parts in range(1, 1 << self.world):
                if isinstance(number, int | float) and number == parts * 100**chunk:
                    if parts & ~self.has[r, chunk]:
                        self.unknown.append((r, number))
                    self.has[(r + 1) % self.world, chunk] |= parts
        return number


@ring.check
def _(answer):
    for world in (2, 3, 4):
        rows = [[100.0**chunk * 2**process for chunk in range(world)] for process in range(world)]
        sums, wire = [sum(column) for column in zip(*rows, strict=True)], _Wire(world)
        mine, sent = run(answer, rows, lambda r, number, wire=wire: wire.send(r, number)), wire.sent
        case = f"{world} processes with the rows {[list(map(int, row)) for row in rows]}"
        holds(
            "There is one row for each process, as long as before.",
            np.shape(mine) == (world, world),
            f"For {world} processes yours has the shape {np.shape(mine)}.",
        )
        same("Every process has the sums of all chunks.", mine, [sums] * world, 1e-6, case)
        holds("Numbers travel by `send` alone.", len(sent) > 0, f"{case}: you sent nothing.")
        most = max(sent.count(r) for r in range(world))
        holds(
            "No process sends more than 2 (world - 1) chunks: that is why a ring is fast.",
            most <= 2 * (world - 1),
            f"With {world} processes one of yours sends {most}; {2 * (world - 1)} are enough.",
        )
        holds(
            "All processes share the work.",
            len({sent.count(r) for r in range(world)}) == 1,
            f"With {world} processes yours send {[sent.count(r) for r in range(world)]}.",
        )
        early = "".join(f"process {r} sends {number:g}" for r, number in wire.unknown[:1])
        holds(
            "A process sends what it has: its own numbers, and sums with those that came.",
            not early,
            f"{case}: {early}.",
        )
        lacks = [
            f"process {r} never gets all of chunk {n}" for (r, n), parts in wire.has.items() if parts + 1 < 1 << world
        ]
        holds("The numbers themselves travel by `send`.", not lacks, f"{case}: {''.join(lacks[:1])}.")
