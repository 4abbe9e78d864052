"""The samples of an epoch as a table: set, task, items, repeats, share of the samples, samples per epoch.

`damage_shares` tells how many samples are damaged everywhere, in places, in several ways or not at all, `follows` which
depth and kernels the samples of haze and blur follow.

The length of an epoch is the sum of items x repeats over the sets in use; protocol `promptir` counts photographs once
for each noise level, as PromptIR does. Protocol `slerlib` distributes as many samples differently: composites take
data.composite_share of all, and data.real_composites of these lie on real pairs. Other classes stay balanced, real
pairs take data.real_share of their class, and repeats decide between sets of one class. The table holds for stages B
and C; stage A draws from the same sets in its grid.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..errors import UserError
from .loader import Batches
from .sources import CLEAN, Source
from .words import DEPTH


def epoch_plan(batches: Batches) -> list[dict]:
    """One dict per set with the columns above; shares add up to 1. `batches` are restoration batches."""
    sets = batches.sources.sets
    if batches.entries is None:
        shares = _balanced(batches)
        epoch = sum(len(s) * s.repeats for s, share in zip(sets, shares, strict=True) if share)
    else:
        shares, epoch = _by_repeats(batches), len(batches.entries)
    return [
        {"set": s.name, "task": s.task, "items": len(s), "repeats": s.repeats, "share": share, "samples": share * epoch,
         "inputs": 0 if s.inputs is None else len(s), "targets": len(s.scenes()), "use": _use(batches, s, share)}
        for s, share in zip(sets, shares, strict=True)
    ]  # fmt: skip


def _use(batches: Batches, s: Source, share: float) -> str:
    """What a set is used for; empty for a set of no class that trains."""
    if s.task == CLEAN:
        return "clean, and degraded by synthesis" if share else "other classes, to fit the gates of own classes"
    if s.task == DEPTH:
        where = "on other photographs" if s.loose else "here and on others"
        return f"haze by its depth, {where}" if batches.scenes.share else "set aside: no haze is made"
    if s.task not in (batches.only or batches.classes):
        return ""
    synthesis = any(pool.targets is s.targets for pool in batches.sources.clean.sets)
    uses = ["pairs"] if share and batches.classes.index(s.task) in batches.real or batches.entries else []
    uses += ["targets degraded by synthesis"] if synthesis and not batches.only else []
    return ", ".join(uses) or "set aside: data.real_share=0"


def refuse_unused(rows: list[dict], classes: Sequence[str], allow: Collection[str]) -> None:
    """Raise UserError for sets that no class is trained on, unless `allow` names them."""
    allow, unused = set(allow), [row for row in rows if not row["use"]]
    unused = [row for row in unused if not {row["set"], row["set"].partition("-")[0], row["task"]} & allow]
    if unused:
        name, task, more = unused[0]["set"], unused[0]["task"], len(unused) - 1
        reason = f"which is not a class of this model ({', '.join(classes)})"
        if task in classes:
            reason = "and own classes alone train (train.own_only)"
        raise UserError(
            f"Every set of the data is trained on; {name} has pairs of {task}, {reason}."
            f"{f' {more} more sets are not trained on either.' if more else ''} "
            f"Train without it: --allow {name}, or take it out of the folder."
        )


def samples_per_epoch(rows: list[dict]) -> int:
    return round(sum(row["samples"] for row in rows))


def shares_text(stages: dict[str, dict[str, float]]) -> str:
    """One line per stage, or stages: its `damage_shares`."""
    return "\n".join(
        f"damage in {stage}: " + ", ".join(f"{kind} {share:.1%}" for kind, share in shares.items())
        for stage, shares in stages.items()
    )


def table(rows: list[dict]) -> str:
    """The plan as text."""
    width, task = (max(5, *(len(row[key]) for row in rows)) for key in ("set", "task"))
    lines = [f"{'set':{width}s}  {'task':{task}s}  inputs  targets  repeats   share  samples/epoch  used for"]
    lines += [
        f"{r['set']:{width}s}  {r['task']:{task}s}  {r['inputs']:6d}  {r['targets']:7d}  {r['repeats']:7d}  "
        f"{r['share']:6.1%}  {round(r['samples']):13d}  {r['use'] or 'not used'}"
        for r in rows
    ]
    inputs, targets = (sum(r[key] for r in rows) for key in ("inputs", "targets"))
    blank, samples = f"{'':7s}  {'':6s}", samples_per_epoch(rows)
    return "\n".join([*lines, f"{'total':{width}s}  {'':{task}s}  {inputs:6d}  {targets:7d}  {blank}  {samples:13d}"])


def damage_shares(batches: Batches) -> dict[str, float]:
    """Shares of the samples of a batch, with a sum of 1: one degradation all over (`uniform`) or in a mask (`local`),
    several all over (`mixed`) or in a mask (`mixed local`), and `clean`."""
    if batches.entries is not None:  # single samples as PromptIR draws them
        mixed, clean, places = 0.0, 0.0, 0.0
    elif batches.grid:
        cells = batches.labels * batches.grid + list(batches.real) * batches.real_rows
        mixed, places = batches.mixed_rows / batches.size, batches.cfg.local_share
        clean = cells.count(batches.damage.clean) / batches.size
    else:
        mixed, places = batches.cfg.composite_share, batches.cfg.local_share
        clean = (1 - mixed) * batches.cycle.count(batches.damage.clean) / len(batches.cycle)
    uniform = 1 - mixed - clean
    return {"uniform": uniform * (1 - places), "local": uniform * places, "mixed": mixed * (1 - places),
            "mixed local": mixed * places, "clean": clean}  # fmt: skip


def follows(batches: Batches) -> list[str]:
    """A line each on what the samples of haze and of blur follow, where a part of them follows something measured, and
    on photographs that are made dark by nature."""
    lines, kernels = [], batches.cfg.kernel_share if batches.damage.kernels else 0.0
    real = {name: batches.shares[k] if k in batches.real else 0.0 for k, name in enumerate(batches.classes)}
    if measured := batches.scenes.share:
        made = 1 - real["haze"]
        here, there = (made * measured * part for part in (batches.scenes.own, 1 - batches.scenes.own))
        shares = {"real pairs": real["haze"], "depth of the photograph": here, "depth of another scene": there,
                  "made-up depth": made * (1 - measured)}  # fmt: skip
        lines.append(_line("haze", shares))
    if kernels and "blur" in batches.classes:
        made = 1 - real["blur"]
        shares = {"real pairs": real["blur"], "measured kernels": made * kernels, "drawn kernels": made * (1 - kernels)}
        lines.append(_line("blur", shares))
    if night := batches.cfg.night_share:
        lines.append(f"made dark by nature: {night:.1%} of the photographs, never for low light or real pairs")
    return lines


def _line(name: str, shares: dict[str, float]) -> str:
    return f"{name}: " + ", ".join(f"{kind} {share:.1%}" for kind, share in shares.items())


def _by_repeats(batches: Batches) -> list[float]:
    times = [batches.entries.levels if s.task == CLEAN else s.task in batches.classes for s in batches.sources]
    return [n * len(s) * s.repeats / len(batches.entries) for n, s in zip(times, batches.sources, strict=True)]


def _balanced(batches: Batches) -> list[float]:
    mixed, shares = batches.cfg.composite_share, {s.name: 0.0 for s in batches.sources}
    on_pairs = mixed * batches.cfg.real_composites if batches.bases else 0.0
    scenes = batches.scenes
    pools = [(batches.sources.clean, mixed - on_pairs)]
    pools += [(batches.real[label], on_pairs / len(batches.bases)) for label in batches.bases]
    hazy = (mixed - on_pairs) * batches.damage.in_composites(scenes.haze)
    for label in set(batches.cycle):
        part = (1 - mixed) * batches.cycle.count(label) / len(batches.cycle)
        real = batches.shares[label] if label in batches.real else 0.0
        pools += [(batches.sources.clean, part * (1 - real)), (batches.real.get(label), part * real)]
        if label == scenes.haze:
            hazy += part * (1 - real)
    own = hazy * scenes.share * scenes.own  # on photographs with a depth map instead
    pools += [(batches.sources.clean, -own), (scenes.aligned, own)] if own else []
    for pool, share in pools:
        for s in pool.sets if pool is not None else ():
            shares[s.name] += share * len(s) * s.repeats / len(pool)
    return [shares[s.name] for s in batches.sources]
