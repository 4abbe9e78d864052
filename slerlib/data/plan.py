"""What an epoch holds, as a table: set, task, items, repeats, share of the samples, samples per epoch.

An epoch is items x repeats, added over the sets that are used; with protocol `promptir` photographs count once for each
noise level, so that the number is the peers'. Protocol `slerlib` fills as many samples differently: composites take
data.composite_share of all, other classes stay balanced, real pairs take data.real_share of their class, and repeats
decide between sets of one class. The table holds for stages B and C; stage A draws from the same sets in its grid.
"""

from __future__ import annotations

from .loader import Batches
from .sources import CLEAN


def plan(batches: Batches) -> list[dict]:
    """One dict per set with the columns above; shares add up to 1. `batches` are restoration batches."""
    shares = _by_repeats(batches) if batches.peers is not None else _balanced(batches)
    sets = batches.sources.sets
    if batches.peers is None:
        epoch = sum(len(s) * s.repeats for s, share in zip(sets, shares, strict=True) if share)
    else:
        epoch = len(batches.peers)
    return [
        {"set": s.name, "task": s.task, "items": len(s), "repeats": s.repeats, "share": share, "samples": share * epoch}
        for s, share in zip(sets, shares, strict=True)
    ]


def samples_per_epoch(rows: list[dict]) -> int:
    return round(sum(row["samples"] for row in rows))


def table(rows: list[dict]) -> str:
    """The plan as text."""
    width, task = (max(5, *(len(row[key]) for row in rows)) for key in ("set", "task"))
    lines = [f"{'set':{width}s}  {'task':{task}s}   items  repeats   share  samples/epoch"]
    lines += [
        f"{r['set']:{width}s}  {r['task']:{task}s}  {r['items']:6d}  {r['repeats']:7d}  {r['share']:6.1%}  "
        f"{round(r['samples']):13d}" + ("" if r["share"] else "  not used: no class of this model")
        for r in rows
    ]
    items = sum(r["items"] for r in rows)
    total = f"{'total':{width}s}  {'':{task}s}  {items:6d}  {'':7s}  {'':6s}  {samples_per_epoch(rows):13d}"
    return "\n".join([*lines, total])


def _by_repeats(batches: Batches) -> list[float]:
    times = [batches.peers.levels if s.task == CLEAN else s.task in batches.classes for s in batches.sources]
    return [n * len(s) * s.repeats / len(batches.peers) for n, s in zip(times, batches.sources, strict=True)]


def _balanced(batches: Batches) -> list[float]:
    mixed = batches.cfg.composite_share
    shares = {s.name: 0.0 for s in batches.sources}
    for s in batches.sources.clean.sets:
        shares[s.name] += mixed * len(s) * s.repeats / len(batches.sources.clean)
    for label in set(batches.cycle):
        part = (1 - mixed) * batches.cycle.count(label) / len(batches.cycle)
        real = batches.shares[label] if label in batches.real else 0.0
        for pool, share in ((batches.sources.clean, part * (1 - real)), (batches.real.get(label), part * real)):
            for s in pool.sets if pool is not None else ():
                shares[s.name] += share * len(s) * s.repeats / len(pool)
    return [shares[s.name] for s in batches.sources]
