"""A comparison of two runs: its tables, its verdict, and both in words and as JSON.

Legend: A and B are the two runs; differences are B minus A.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..evaluation.metrics import FEWEST_SCENES, with_interval
from ..evaluation.results import ScoredRun, json_values

if TYPE_CHECKING:
    from pandas import DataFrame

EQUAL_DB = 0.005  # results closer than this are neither better nor worse: two decimals do not show it
LINES = 12  # of what differs; --json has the rest
ARBITRARY = (
    "Expert numbers of two trainings are arbitrary, so what is compared is which pictures go together (adjusted Rand "
    "index: 0 as by chance, 1 the same; NMI):"
)


@dataclass(frozen=True)
class Comparison:
    """B minus A on the pictures that both runs scored."""

    a: ScoredRun
    b: ScoredRun
    rows: DataFrame  # compare.COLUMNS, one row per picture; psnr and delta in dB
    means: DataFrame  # per data set and task and their "average": n, psnr_input, psnr_a, psnr_b, delta, low, high, ...
    differences: DataFrame  # group, name, a, b: conditions that both runs record and that differ
    routing: DataFrame  # per task and "all": n, layers (share that agree), same_path; empty without paths in both
    partitions: DataFrame  # `partition_table` of the routes; empty as above
    notes: tuple[str, ...]  # what was left out, and why

    def __repr__(self) -> str:  # what `slerlib compare` prints, not every row of both
        return self.text()

    @property
    def same_weights(self) -> bool:
        """Both are one checkpoint, so that expert numbers mean the same in both."""
        return self.a.sha256 is not None and self.a.sha256 == self.b.sha256

    def verdict(self) -> str:
        """One sentence on the average, or on the only task there is."""
        row = self.means.iloc[-1]
        where = "on average" if row.task == "average" else f"for {row.task}"
        if not math.isfinite(row.delta):
            return f"No mean difference {where}: a result is identical to its target."
        size = f"{with_interval(row.delta, row.low, row.high, '+.2f')} dB"
        if row.equal == row.n or max(abs(row.low), abs(row.high)) < EQUAL_DB:
            return f"B scores as A does {where}: {size}."
        if math.isnan(row.low):
            few = f"a data set has fewer than {FEWEST_SCENES} photographs"
            return f"B minus A is {size} {where}; {few}: no interval, no verdict."
        if row.low <= 0 <= row.high:
            return f"No difference is shown {where}: B minus A is {size}, and the 95 % interval holds 0."
        return f"B scores {'higher' if row.delta > 0 else 'lower'} {where}: {size}."

    def shown(self) -> str:
        """Which tasks are shown to be better and worse in B, each by its own interval; "" without an interval."""
        rows = self.means[(self.means.task != "average") & self.means.low.notna()]
        better, worse = (", ".join(rows.task[part]) or "none" for part in (rows.low > 0, rows.high < 0))
        return f"Shown to be better in B: {better}; worse: {worse}." if len(rows) > 1 else ""

    def extremes(self, count: int = 3) -> tuple[DataFrame, DataFrame]:
        """(largest gains, largest losses): up to `count` rows each, the largest first; of degraded pictures, if any."""
        rows = self.rows[self.rows.task != "clean"]
        rows = (rows if len(rows) else self.rows).sort_values("delta", kind="stable")
        return rows[rows.delta >= EQUAL_DB][::-1].head(count), rows[rows.delta <= -EQUAL_DB].head(count)

    # --- in words ---

    def text(self, last: str = "") -> str:
        """What a terminal shows, and a last line."""
        photographs = len(self.rows[["dataset", "image"]].drop_duplicates())
        head = f"PSNR in dB of {len(self.rows)} pictures of {photographs} photographs"
        head += "; 95 % intervals over photographs" if self.means.low.notna().any() else ""
        sides = ["Is B better than A?", f"A  {self.a.name}: {self.a.where}", f"B  {self.b.name}: {self.b.where}"]
        gains, losses = map(_list_of, self.extremes())
        extremes = [f"Largest gains: {gains}", f"Largest losses: {losses}"]
        parts = ["\n".join(sides), self._what_differs(), f"{head}\n{self.means_text().to_string(index=False)}"]
        parts += [
            "\n".join(lines)
            for lines in (
                [f"{self.verdict()} {self.shown()}".strip(), *extremes, *self.limits()],
                self.routes(),
                self.notes,
            )
        ]
        return "\n\n".join(part for part in (*parts, last) if part)

    def _what_differs(self) -> str:
        if self.differences.empty:
            return "Nothing that both runs record differs."
        rows = self.differences.itertuples()
        lines = [f"  {row.group} {row.name}: {short_text(row.a)} -> {short_text(row.b)}" for row in rows]
        more = [f"  and {len(lines) - LINES} more: --json"] if len(lines) > LINES else []
        return "\n".join(["What differs, A -> B", *lines[:LINES], *more])

    def means_text(self) -> DataFrame:
        """The means as text: task (with its data set where there are several), n, input, A, B, B - A, better, worse,
        equal."""
        import pandas as pd

        several = self.rows.dataset.nunique() > 1
        rows = []
        for row in self.means.itertuples():
            name = f"{row.dataset} {row.task}".strip() if several else row.task
            scores = {"input": row.psnr_input, "A": row.psnr_a, "B": row.psnr_b}
            rows.append({"task": name, "n": row.n} | {key: f"{value:.2f}" for key, value in scores.items()})
            rows[-1]["B - A (95 %)"] = with_interval(row.delta, row.low, row.high, "+.2f")
            rows[-1] |= {name: getattr(row, name) for name in ("better", "worse", "equal")}
        return pd.DataFrame(rows)

    def limits(self) -> list[str]:
        """What the interval does not speak for; empty where neither run is of a checkpoint."""
        if self.same_weights:
            return ["Both runs are of the same weights: a difference comes from code, versions, machine or settings."]
        trained = [letter for letter, run in (("A", self.a), ("B", self.b)) if run.sha256]
        if len(trained) == 2:
            return ["This is about these two trainings: another seed of either gives other scores."]
        return [f"This is about one training of {letter}: another seed of it gives other scores." for letter in trained]

    def routes(self) -> list[str]:
        """Lines on how alike the two route; empty without routes in both."""
        if self.routing.empty:
            return []
        every = self.routing.iloc[-1]
        if self.same_weights:
            layers = with_interval(every.layers, every.layers_low, every.layers_high, ".1%")
            least = self.routing.iloc[:-1].sort_values("layers", kind="stable").iloc[0]
            more = f"; least for {least.task} ({least.layers:.1%})." if least.layers < 1 else "."
            paths = f"{every.same_path:.1%} of {every.n} pictures take the same path"
            return [f"Routes: {paths}, {layers} of their layers agree{more}"]
        lines = [ARBITRARY]
        for row in self.partitions.itertuples():
            alone = f"if degradation alone decided: {row.rand_degradation:.2f} and {row.nmi_degradation:.2f}"
            lines.append(f"  {row.level}: Rand {row.rand:.2f}, NMI {row.nmi:.2f} ({alone})")
        return lines

    def as_dict(self) -> dict:
        """Everything, in values that JSON knows; null for what is infinite or missing."""
        values = {letter: {"where": run.where, "name": run.name, "sha256": run.sha256, "rows": len(run.table)}
                  for letter, run in (("a", self.a), ("b", self.b))}  # fmt: skip
        values |= {"pictures": len(self.rows), "same_weights": self.same_weights, "verdict": self.verdict()}
        tables = ("differences", "means", "rows", "routing", "partitions")
        values |= {name: getattr(self, name).to_dict("records") for name in tables} | {"notes": list(self.notes)}
        return json_values(values)


def _list_of(rows: DataFrame) -> str:
    return "; ".join(f"{row.image} {row.task} {row.delta:+.2f}" for row in rows.itertuples()) or "none"


def short_text(value) -> str:
    """A value of a run in few letters: hashes by their first 12, nothing as a dash."""
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value)) or "none"
    text = "-" if value is None or value != value else f"{value}"
    hashed = len(text) in (40, 64) and all(letter in "0123456789abcdef" for letter in text)
    text = text[:12] if hashed else " ".join(text.split())
    return text if len(text) <= 48 else f"{text[:45]}..."
