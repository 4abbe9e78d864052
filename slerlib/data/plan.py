"""What an epoch holds, as a table: set, task, items, repeats, share of the samples, samples per epoch.

An epoch is items x repeats, added over the sets that are used; with protocol `promptir` photographs count once for each
noise level, so that the number is the peers'. Protocol `slerlib` fills as many samples differently: composites take
data.composite_share of all, other classes stay balanced, real pairs take data.real_share of their class, and repeats
decide between sets of one class. The table holds for stages B and C; stage A draws from the same sets in its grid.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..errors import UserError
from .loader import Batches
from .sources import CLEAN, Source


def plan(batches: Batches) -> list[dict]:
    """One dict per set with the columns above; shares add up to 1. `batches` are restoration batches."""
    shares = _by_repeats(batches) if batches.peers is not None else _balanced(batches)
    sets = batches.sources.sets
    if batches.peers is None:
        epoch = sum(len(s) * s.repeats for s, share in zip(sets, shares, strict=True) if share)
    else:
        epoch = len(batches.peers)
    return [
        {"set": s.name, "task": s.task, "items": len(s), "repeats": s.repeats, "share": share, "samples": share * epoch,
         "inputs": 0 if s.inputs is None else len(s), "targets": len(s.scenes()), "use": _use(batches, s, share)}
        for s, share in zip(sets, shares, strict=True)
    ]  # fmt: skip


def _use(batches: Batches, s: Source, share: float) -> str:
    """What a set is used for; empty for a set of no class of the model."""
    if s.task == CLEAN:
        return "clean, and degraded by synthesis" if share else "other classes, to fit the gates of own classes"
    if s.task not in batches.classes:
        return ""
    synthesis = any(pool.targets is s.targets for pool in batches.sources.clean.sets)
    uses = ["pairs"] if share and batches.classes.index(s.task) in batches.real or batches.peers else []
    return (
        ", ".join(uses + ["targets degraded by synthesis"] * (synthesis and not batches.only))
        or "set aside: data.real_share=0"
    )


def refuse_unused(rows: list[dict], classes: Sequence[str], allow: Collection[str]) -> None:
    """Raise UserError for sets that no class of the model is trained on, unless `allow` names them."""
    lost = [
        row
        for row in rows
        if not row["use"] and not {row["set"], row["set"].partition("-")[0], row["task"]} & set(allow)
    ]
    if lost:
        raise UserError(
            f"Every set of the data is trained on; {lost[0]['set']} has pairs of {lost[0]['task']}, "
            f"which is no class of this model ({', '.join(classes)})"
            + (f", and so do {len(lost) - 1} more sets. " if len(lost) > 1 else ". ")
            + f"Train without it: --allow {lost[0]['set']}, or take it out of the folder."
        )


def samples_per_epoch(rows: list[dict]) -> int:
    return round(sum(row["samples"] for row in rows))


def table(rows: list[dict]) -> str:
    """The plan as text."""
    width, task = (max(5, *(len(row[key]) for row in rows)) for key in ("set", "task"))
    lines = [f"{'set':{width}s}  {'task':{task}s}  inputs  targets  repeats   share  samples/epoch  used for"]
    lines += [
        f"{r['set']:{width}s}  {r['task']:{task}s}  {r['inputs']:6d}  {r['targets']:7d}  {r['repeats']:7d}  "
        f"{r['share']:6.1%}  {round(r['samples']):13d}  {r['use'] or 'not used: no class of this model'}"
        for r in rows
    ]
    sums = [sum(r[key] for r in rows) for key in ("inputs", "targets")]
    total = (
        f"{'total':{width}s}  {'':{task}s}  {sums[0]:6d}  {sums[1]:7d}  {'':7s}  {'':6s}  {samples_per_epoch(rows):13d}"
    )
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
