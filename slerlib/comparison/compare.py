"""Is B better than A? Two evaluations set side by side, picture by picture.

    c = slerlib.compare("tiny.json", "small.json")    # paths as `read_run` takes them, or tables of slerlib.evaluate
    c.verdict(), c.means, c.rows, c.differences, c.routing, c.partitions, c.notes

Only what both runs scored counts: the same picture, damaged in the same way, by the same definition of PSNR. A picture
counts as the same if data set, task, name and the scores of its *input* agree; to the last digits if seed, severity,
noise or crop differ, since two draws of the same noise score almost alike. Differences are B minus A. Intervals are
95 % bootstrap intervals over photographs, as `slerlib.summary` makes them; they say nothing about another training.
Legend: N pictures, L layers.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.partitions import partition_table
from ..analysis.routing import agreement
from ..errors import UserError
from ..evaluation.evaluate import SCORES, summary
from ..evaluation.metrics import FEWEST_SCENES, with_interval
from ..evaluation.results import KEYS, ScoredRun, as_run

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SAME_DB, SAME_SSIM = 0.01, 0.001  # inputs whose scores differ by less are one input, decoded or rounded elsewhere
EXACT = 1e-6  # the same, in dB and in SSIM, where the runs say that they damaged pictures in different ways
EQUAL_DB = 0.005  # results closer than this are neither better nor worse: two decimals do not show it
COLUMNS = (*KEYS, "psnr_input", "psnr_a", "psnr_b", "delta", "ssim_input", "ssim_a", "ssim_b", "ssim_delta", "path_a",
           "path_b")  # fmt: skip
DAMAGE = {"seed", "severity", "noise", "crop"}  # settings that make another input of the same picture
SIDE_SETTINGS = ("setting", "root", "images", "path", "restored")  # nothing that was done to an input


@dataclass(frozen=True)
class Comparison:
    """B minus A on the pictures that both runs scored."""

    a: ScoredRun
    b: ScoredRun
    rows: DataFrame  # COLUMNS, one row per picture; psnr and delta in dB
    means: DataFrame  # per data set and task and their "average": n, psnr_a, psnr_b, delta, low, high, better, ...
    differences: DataFrame  # group, name, a, b: what the runs were made with, as far as both say and differ
    routing: DataFrame  # per task and "all": n, layers (share that agree), same_path; empty without paths in both
    partitions: DataFrame  # `partition_table` of the routes; empty as above
    notes: tuple[str, ...]  # what was left out, and why

    def __repr__(self) -> str:  # what `slerlib compare` prints, not every row of both
        from .text import as_text

        return as_text(self)

    @property
    def same_weights(self) -> bool:
        """Both are one checkpoint, so that expert numbers mean the same in both."""
        return self.a.sha256 is not None and self.a.sha256 == self.b.sha256

    def verdict(self) -> str:
        """One sentence on the average, or on the only task there is."""
        row = self.means.iloc[-1]
        what = "on average" if row.task == "average" else f"for {row.task}"
        if not math.isfinite(row.delta):
            return f"No mean difference {what}: a result is identical to its target."
        size = f"{with_interval(row.delta, row.low, row.high, '+.2f')} dB"
        if row.equal == row.n or max(abs(row.low), abs(row.high)) < EQUAL_DB:
            return f"B scores as A does {what}: {size}."
        if math.isnan(row.low):
            few = f"a data set has fewer than {FEWEST_SCENES} photographs"
            return f"B minus A is {size} {what}; {few}: no interval, no verdict."
        if row.low <= 0 <= row.high:
            return f"No difference is shown {what}: B minus A is {size}, and the 95 % interval holds 0."
        return f"B scores {'higher' if row.delta > 0 else 'lower'} {what}: {size}."

    def extremes(self, count: int = 3) -> tuple[DataFrame, DataFrame]:
        """(largest gains, largest losses): up to `count` rows each, the largest first; of damaged pictures, if any."""
        rows = self.rows[self.rows.task != "clean"]
        rows = (rows if len(rows) else self.rows).sort_values("delta", kind="stable")
        return rows[rows.delta >= EQUAL_DB][::-1].head(count), rows[rows.delta <= -EQUAL_DB].head(count)


def compare(a: ScoredRun | DataFrame | str | os.PathLike, b: ScoredRun | DataFrame | str | os.PathLike) -> Comparison:
    """Compare two evaluations.

    Arguments
    a, b: results.json files, folders that hold one, tables of `slerlib.evaluate`, or what `read_run` returned.
    Raises UserError for what is none of these, for another definition of PSNR, and where no picture is in both.
    """
    a, b = as_run(a), as_run(b)
    differences, unknown = _differences(a, b)
    _refuse_other_scores(differences)
    rows, notes = _paired(a, b, differences)
    if _differs(differences, "definition", {"ssim"}):
        rows[["ssim_input", "ssim_a", "ssim_b", "ssim_delta"]] = math.nan
        notes.append("SSIM is left out: the runs define it differently.")
    if unknown:
        notes.append("Cannot be compared, for want of a record: " + "; ".join(unknown) + ".")
    means = _means(rows)
    if means.attrs["no_interval"]:
        notes.append(f"There is {means.attrs['no_interval']}.")
    routed = rows.dropna(subset=["path_a", "path_b"])
    if len(routed) and (lengths := routed.path_a.str.len() != routed.path_b.str.len()).any():
        notes.append(f"Routes are left out: {lengths.sum()} have another number of layers in A than in B.")
        routed = routed[:0]
    return Comparison(a, b, rows, means, differences, *_routes(routed), tuple(notes))


# --- what differs -----------------------------------------------------------------------------------------------------


def _differences(a: ScoredRun, b: ScoredRun) -> tuple[DataFrame, list[str]]:
    """(table of what both runs say and where they differ, words for what only one says)."""
    import pandas as pd

    one, two = a.facts(), b.facts()
    said = [{group for group, _ in facts} for facts in (one, two)]
    rows = [
        (*key, one.get(key), two.get(key))
        for key in {**one, **two}
        if key[0] in said[0] & said[1] and one.get(key) != two.get(key) and key != ("definition", "comparable")
    ]
    groups = list(dict.fromkeys(group for group, _ in {**one, **two}))
    unknown = [f"{group} ({'B' if group in said[0] else 'A'} does not tell)" for group in groups
               if (group in said[0]) != (group in said[1])]  # fmt: skip
    return pd.DataFrame(rows, columns=["group", "name", "a", "b"], dtype=object), unknown


def _differs(differences: DataFrame, group: str, names: set[str]) -> bool:
    return bool(names & set(differences.name[differences.group == group]))


def _refuse_other_scores(differences: DataFrame) -> None:
    row = differences[(differences.group == "definition") & (differences.name == "psnr")]
    if len(row):
        raise UserError(
            f"Scores compare if both runs define PSNR alike; A says {row.a.iloc[0]!r}, B says {row.b.iloc[0]!r}. "
            "Score both with the same version of slerlib."
        )


# --- the same pictures ------------------------------------------------------------------------------------------------


def _paired(a: ScoredRun, b: ScoredRun, differences: DataFrame) -> tuple[DataFrame, list[str]]:
    """(rows of the pictures that both scored, notes on the others). Raises UserError if none is in both."""
    names = [*KEYS, "nth"]  # nth: two sets of one name may hold pictures of one name
    columns = [*KEYS, "psnr_input", "ssim_input", "psnr", "ssim", "path"]
    tables = [run.table.reindex(columns=columns).assign(nth=run.table.groupby(list(KEYS)).cumcount()) for run in (a, b)]
    both = tables[0].merge(tables[1], on=names, suffixes=("_a", "_b"))
    alone = [
        f"{len(table) - len(both)} of {len(table)} rows of {letter}"
        for letter, table in zip("AB", tables, strict=True)
        if len(table) > len(both)
    ]
    notes = [f"Left out, since the other run did not score them: {', '.join(alone)}."] if alone else []
    if both.empty:
        raise UserError(
            f"Runs are compared on pictures that both scored, and these two have none in common: A holds {_held(a)}, "
            f"B holds {_held(b)}. Score both on the same data and setting."
        )
    same = _same_input(both, differences)
    if not same.all():
        reasons = differences[differences.group.isin(["setting", "data", "definition", "versions"])]
        reasons = reasons[~reasons.name.isin(SIDE_SETTINGS)]
        why = "; ".join(f"{row.name_}: {short(row.a)} and {short(row.b)}"
                        for row in reasons.rename(columns={"name": "name_"}).itertuples())  # fmt: skip
        why = f" The runs differ in {why}." if why else ""
        gap = (both.psnr_input_a - both.psnr_input_b).abs()[~same].fillna(0)  # NaN: both infinite
        first = both.loc[gap.idxmax()]
        example = f"such as {first.image} ({first.task}): {first.psnr_input_a:.2f} and {first.psnr_input_b:.2f} dB"
        if not same.any():
            raise UserError(
                f"Runs are compared on the same damaged pictures; all {len(both)} of these two have other inputs, "
                f"{example} before restoring.{why} Score both with the same settings."
            )
        notes.append(f"Left out: {(~same).sum()} of {len(both)} pictures, whose inputs differ, {example}.{why}")
    rows = both[same].reset_index(drop=True)
    rows = rows.assign(psnr_input=rows.psnr_input_a, ssim_input=rows.ssim_input_a)
    rows["delta"] = _minus(rows.psnr_b, rows.psnr_a)
    rows["ssim_delta"] = rows.ssim_b - rows.ssim_a
    rows.attrs = {}
    return rows[list(COLUMNS)], notes


def _same_input(both: DataFrame, differences: DataFrame) -> Series:
    """(N,) bool: the scores of the inputs agree. A clean input has an infinite PSNR, which tells nothing: then another
    task of the photograph must agree, or else all files and the crop."""
    other = _differs(differences, "setting", DAMAGE) or _differs(differences, "definition", DAMAGE)
    same_db, same_ssim = (EXACT, EXACT) if other else (SAME_DB, SAME_SSIM)
    if _differs(differences, "definition", {"ssim"}):
        same_ssim = math.inf
    alike = ~((both.ssim_input_a - both.ssim_input_b).abs() >= same_ssim)  # a missing SSIM tells nothing
    close = alike & ((both.psnr_input_a - both.psnr_input_b).abs() < same_db)
    mute = alike & np.isinf(both.psnr_input_a) & np.isinf(both.psnr_input_b)
    seen = close.groupby([both.dataset, both.image]).transform("any")
    files = set(differences.group[differences.group == "data"]) | set(differences.name[differences.name == "crop"])
    return close | (mute & (seen | (not files)))


def _minus(b: Series, a: Series) -> Series:
    """b - a in dB; 0 where both results are identical to their target."""
    return (b - a).mask(np.isinf(a) & np.isinf(b), 0.0)


def _held(run: ScoredRun) -> str:
    counts = run.table.groupby(["dataset", "task"], sort=False).size()
    listed = ", ".join(f"{dataset} {task} ({n})" for (dataset, task), n in counts.head(4).items())
    return listed + (f" and {len(counts) - 4} more" if len(counts) > 4 else "")


def short(value) -> str:
    """A value of a run in few letters: hashes by their first 12, nothing as a dash."""
    text = "-" if value is None or value != value else f"{value}"
    hashed = len(text) in (40, 64) and all(letter in "0123456789abcdef" for letter in text)
    text = text[:12] if hashed else " ".join(text.split())
    return text if len(text) <= 48 else f"{text[:45]}..."


# --- numbers ----------------------------------------------------------------------------------------------------------


def _means(rows: DataFrame) -> DataFrame:
    """Means per data set and task, then their average.

    What `slerlib.summary` does for PSNR it does as well for a difference of PSNRs: the same draws of photographs.
    """
    zeros = dict.fromkeys(SCORES, 0.0)
    with np.errstate(invalid="ignore"):  # of what is identical to its target in one run alone
        a, b, gap = (
            summary(rows[list(KEYS)].assign(**zeros | {"psnr": rows[psnr], "ssim": rows[ssim]}))
            for psnr, ssim in (("psnr_a", "ssim_a"), ("psnr_b", "ssim_b"), ("delta", "ssim_delta"))
        )
    verdicts = {"better": rows.delta >= EQUAL_DB, "worse": rows.delta <= -EQUAL_DB}
    verdicts["equal"] = rows.delta.abs() < EQUAL_DB
    counts = rows.assign(**verdicts).groupby(["dataset", "task"], sort=False)[list(verdicts)].sum().reset_index()
    if len(gap) > len(counts):  # as the average, without clean
        counts.loc[len(counts)] = {"dataset": "", "task": "average"} | counts[counts.task != "clean"].sum(
            numeric_only=True
        ).to_dict()
    means = gap[["dataset", "task", "n"]].assign(psnr_a=a.psnr, psnr_b=b.psnr, delta=gap.psnr)
    means = means.assign(low=gap.psnr_low, high=gap.psnr_high, **{name: counts[name] for name in verdicts})
    means = means.assign(ssim_a=a.ssim, ssim_b=b.ssim, ssim_delta=gap.ssim)
    if gap.psnr[gap.task != "clean"].isna().any():  # +inf and -inf in one task: then the average has no value either
        means.loc[means.task == "average", ["delta", "low", "high"]] = math.nan
    means.attrs = {"no_interval": gap.attrs["no_interval"]}
    return means


def _routes(routed: DataFrame) -> tuple[DataFrame, DataFrame]:
    """(agreement of expert numbers per task and over all, likeness of the groupings) of rows with a path in both."""
    import pandas as pd

    if routed.empty:
        return pd.DataFrame(), pd.DataFrame()
    a_NL, b_NL = (np.array([[int(digit) for digit in path] for path in routed[name]]) for name in ("path_a", "path_b"))
    photograph = (routed.dataset + "/" + routed.image).to_numpy()
    parts = {task: np.flatnonzero(routed.task == task) for task in dict.fromkeys(routed.task)}
    rows = []
    for task, place in (parts | {"all": np.arange(len(routed))}).items():
        row = {"task": task, "n": len(place), "distinct_a": routed.path_a.iloc[place].nunique()}
        row["distinct_b"] = routed.path_b.iloc[place].nunique()
        share = agreement(a_NL[place], b_NL[place], photograph[place])
        for name, values in (("layers", share["layers"]), ("same_path", share["paths"])):
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
        rows.append(row)
    return pd.DataFrame(rows), partition_table(a_NL, b_NL, routed.task)
