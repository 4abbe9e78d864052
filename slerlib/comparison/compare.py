"""Is B better than A? Two evaluations set side by side, picture by picture.

    c = slerlib.compare("tiny.json", "small.json")    # paths as `read_run` takes them, or tables of slerlib.evaluate
    c.verdict(), c.means, c.rows, c.differences, c.routing, c.partitions, c.notes

Only pictures that both runs scored count, with the same input and the same definition of PSNR. Two inputs are the same
if data set, task, name and the scores of the *input* agree; to the last digits if seed, severity, noise or crop differ,
since two draws of the same noise score almost alike. Differences are B minus A. Intervals are 95 % bootstrap intervals
over photographs, as `slerlib.summary` makes them; they do not cover another training.
Legend: N pictures, L layers.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.partitions import partition_table
from ..analysis.routing import agreement
from ..errors import UserError
from ..evaluation.options import CHOICES
from ..evaluation.results import ScoredRun, as_run
from ..evaluation.table import KEYS, SCORES, summary
from .result import EQUAL_DB, Comparison, short_text

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SAME_DB, SAME_SSIM = 0.01, 0.001  # inputs whose scores differ by less are one input, decoded or rounded elsewhere
EXACT = 1e-6  # the same, in dB and in SSIM, where the runs record that they degraded pictures in different ways
COLUMNS = (*KEYS, "psnr_input", "psnr_a", "psnr_b", "delta", "ssim_input", "ssim_a", "ssim_b", "ssim_delta", "path_a",
           "path_b")  # fmt: skip
DEGRADING = {"seed", "severity", "noise", "crop"}  # settings that make another input of the same picture
SIDE_SETTINGS = ("setting", "root", "images", "path", "restored", *CHOICES)  # settings that leave an input as it is


def compare(a: ScoredRun | DataFrame | str | os.PathLike, b: ScoredRun | DataFrame | str | os.PathLike) -> Comparison:
    """Compare two evaluations.

    Arguments
    a, b: results.json files, folders that hold one, tables of `slerlib.evaluate`, or what `read_run` returned.
    Raises UserError for anything else, for another definition of PSNR, and where no picture is in both.
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
    """(table of conditions that both runs record and that differ, words for groups that only one records)."""
    import pandas as pd

    one, two = a.conditions(), b.conditions()
    groups_a, groups_b = ({group for group, _ in conditions} for conditions in (one, two))
    keys = [key for key in one | two if key[0] in groups_a & groups_b and key != ("definition", "comparable")]
    rows = [(*key, one.get(key), two.get(key)) for key in keys if one.get(key) != two.get(key)]
    unknown = [f"{group} ({'B' if group in groups_a else 'A'} has no record)"
               for group in dict.fromkeys(group for group, _ in one | two) if group in groups_a ^ groups_b]  # fmt: skip
    return pd.DataFrame(rows, columns=["group", "name", "a", "b"], dtype=object), unknown


def _differs(differences: DataFrame, group: str, names: set[str]) -> bool:
    return bool(names & set(differences.name[differences.group == group]))


def _refuse_other_scores(differences: DataFrame) -> None:
    row = differences[(differences.group == "definition") & (differences.name == "psnr")]
    if len(row):
        raise UserError(
            f"Scores compare if both runs define PSNR alike; A has {row.a.iloc[0]!r}, B has {row.b.iloc[0]!r}. "
            "Score both with the same version of slerlib."
        )


# --- the same pictures ------------------------------------------------------------------------------------------------


def _paired(a: ScoredRun, b: ScoredRun, differences: DataFrame) -> tuple[DataFrame, list[str]]:
    """(rows of the pictures that both scored, notes on the others). Raises UserError if there is no such picture."""
    columns = [*KEYS, "psnr_input", "ssim_input", "psnr", "ssim", "path"]
    # nth: two sets of one name may hold pictures of one name
    tables = [run.table.reindex(columns=columns).assign(nth=run.table.groupby(list(KEYS)).cumcount()) for run in (a, b)]
    both = tables[0].merge(tables[1], on=[*KEYS, "nth"], suffixes=("_a", "_b"))
    if both.empty:
        raise UserError(
            "Runs are compared on pictures that both scored; these two have no picture in common: A has "
            f"{_counts(a)}, B has {_counts(b)}. Score both on the same data and setting."
        )
    alone = [f"{len(table) - len(both)} of {len(table)} rows of {letter}"
             for letter, table in zip("AB", tables, strict=True) if len(table) > len(both)]  # fmt: skip
    notes = [f"Left out, since the other run did not score them: {', '.join(alone)}."] if alone else []
    same = _same_input(both, differences)
    if not same.all():
        notes.append(_other_inputs(both, same, differences))
    rows = both[same].reset_index(drop=True)
    rows = rows.assign(psnr_input=rows.psnr_input_a, ssim_input=rows.ssim_input_a)
    rows["delta"] = _minus(rows.psnr_b, rows.psnr_a)
    rows["ssim_delta"] = rows.ssim_b - rows.ssim_a
    rows.attrs = {}
    return rows[list(COLUMNS)], notes


def _same_input(both: DataFrame, differences: DataFrame) -> Series:
    """(N,) bool: the scores of the inputs agree.

    A clean input has an infinite PSNR, which proves nothing. Then another task of the photograph must agree, or else
    all files and the crop.
    """
    other = _differs(differences, "setting", DEGRADING) or _differs(differences, "definition", DEGRADING)
    same_db, same_ssim = (EXACT, EXACT) if other else (SAME_DB, SAME_SSIM)
    if _differs(differences, "definition", {"ssim"}):
        same_ssim = math.inf
    alike = ~((both.ssim_input_a - both.ssim_input_b).abs() >= same_ssim)  # a missing SSIM does not count
    close = alike & ((both.psnr_input_a - both.psnr_input_b).abs() < same_db)
    clean = alike & np.isinf(both.psnr_input_a) & np.isinf(both.psnr_input_b)
    seen = close.groupby([both.dataset, both.image]).transform("any")
    files = set(differences.group[differences.group == "data"]) | set(differences.name[differences.name == "crop"])
    return close | (clean & (seen | (not files)))


def _other_inputs(both: DataFrame, same: Series, differences: DataFrame) -> str:
    """A note on the pictures whose inputs differ, with an example. Raises UserError if all differ."""
    reasons = differences[differences.group.isin(["setting", "data", "definition", "versions"])]
    reasons = reasons[~reasons.name.isin(SIDE_SETTINGS)].itertuples()
    why = "; ".join(f"{row.name}: {short_text(row.a)} and {short_text(row.b)}" for row in reasons)
    why = f" The runs differ in {why}." if why else ""
    gap = (both.psnr_input_a - both.psnr_input_b).abs()[~same].fillna(0)  # NaN: both infinite
    first = both.loc[gap.idxmax()]
    example = f"such as {first.image} ({first.task}): {first.psnr_input_a:.2f} and {first.psnr_input_b:.2f} dB"
    if not same.any():
        raise UserError(
            f"Runs are compared on the same degraded pictures; all {len(both)} of these two have other inputs, "
            f"{example} before restoring.{why} Score both with the same settings."
        )
    return f"Left out: {(~same).sum()} of {len(both)} pictures, whose inputs differ, {example}.{why}"


def _minus(b: Series, a: Series) -> Series:
    """b - a in dB; 0 where both results are identical to their target."""
    return (b - a).mask(np.isinf(a) & np.isinf(b), 0.0)


def _counts(run: ScoredRun) -> str:
    counts = run.table.groupby(["dataset", "task"], sort=False).size()
    listed = ", ".join(f"{dataset} {task} ({n})" for (dataset, task), n in counts.head(4).items()) or "no rows"
    return listed + (f" and {len(counts) - 4} more" if len(counts) > 4 else "")


# --- numbers ----------------------------------------------------------------------------------------------------------


def _means(rows: DataFrame) -> DataFrame:
    """Means per data set and task, then their average, by `slerlib.summary`: of A, of B and of their difference, all
    with the same draws of photographs."""
    zeros = dict.fromkeys(SCORES, 0.0)
    with np.errstate(invalid="ignore"):  # of a result identical to its target in one run alone
        a, b, gap = (
            summary(
                rows[list(KEYS)].assign(
                    **zeros | {"psnr_input": rows.psnr_input, "psnr": rows[psnr], "ssim": rows[ssim]}
                )
            )
            for psnr, ssim in (("psnr_a", "ssim_a"), ("psnr_b", "ssim_b"), ("delta", "ssim_delta"))
        )
    verdicts = {"better": rows.delta >= EQUAL_DB, "worse": rows.delta <= -EQUAL_DB}
    verdicts["equal"] = rows.delta.abs() < EQUAL_DB
    counts = rows.assign(**verdicts).groupby(["dataset", "task"], sort=False)[list(verdicts)].sum().reset_index()
    if len(gap) > len(counts):  # the average, without clean
        total = counts[counts.task != "clean"][list(verdicts)].sum().to_dict()
        counts.loc[len(counts)] = {"dataset": "", "task": "average"} | total
    means = gap[["dataset", "task", "n"]].assign(psnr_input=a.psnr_input, psnr_a=a.psnr, psnr_b=b.psnr, delta=gap.psnr)
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
