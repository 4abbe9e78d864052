"""A comparison of two runs as a few lines to read, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..evaluation.evaluate import plain
from ..evaluation.metrics import with_interval
from .compare import Comparison, short

if TYPE_CHECKING:
    from pandas import DataFrame

LINES = 12  # of what differs; --json has the rest
ARBITRARY = (
    "Expert numbers of two trainings are arbitrary, so what is compared is which pictures go together (adjusted Rand "
    "index: 0 as by chance, 1 the same; NMI):"
)


def as_text(c: Comparison, pages: str = "") -> str:
    """What a terminal shows. pages: a line on where the pictures are, put last."""
    parts = [f"A  {c.a.name}: {c.a.where}\nB  {c.b.name}: {c.b.where}", _what_differs(c.differences), _scores(c)]
    gains, losses = c.extremes()
    named = [f"{title}: {told(rows)}" for title, rows in (("Largest gains", gains), ("Largest losses", losses))]
    parts.append("\n".join([c.verdict(), *named, *scope(c)]))
    parts += ["\n".join(lines) for lines in (routes(c), c.notes) if lines]
    return "\n\n".join([*parts, pages] if pages else parts)


def _what_differs(differences: DataFrame) -> str:
    if differences.empty:
        return "Nothing that both runs record differs."
    lines = [f"  {row.group} {row['name']}: {short(row.a)} -> {short(row.b)}" for _, row in differences.iterrows()]
    more = [f"  and {len(lines) - LINES} more: --json"] if len(lines) > LINES else []
    return "\n".join(["What differs, A -> B", *lines[:LINES], *more])


def _scores(c: Comparison) -> str:
    photographs = len(c.rows[["dataset", "image"]].drop_duplicates())
    head = f"PSNR in dB of {len(c.rows)} pictures of {photographs} photographs; 95 % intervals over photographs"
    return f"{head}\n{shown(c).to_string(index=False)}"


def shown(c: Comparison) -> DataFrame:
    """The means as text: task (with its data set where there are several), n, A, B, B - A, better, worse, equal."""
    import pandas as pd

    several = c.rows.dataset.nunique() > 1
    rows = []
    for row in c.means.itertuples():
        name = f"{row.dataset} {row.task}".strip() if several else row.task
        scores = {"A": f"{row.psnr_a:.2f}", "B": f"{row.psnr_b:.2f}"}
        scores["B - A (95 %)"] = with_interval(row.delta, row.low, row.high, "+.2f")
        rows.append({"task": name, "n": row.n} | scores | {k: getattr(row, k) for k in ("better", "worse", "equal")})
    return pd.DataFrame(rows)


def told(rows: DataFrame) -> str:
    """Pictures by name with their difference; "none" for none."""
    return "; ".join(f"{row.image} {row.task} {row.delta:+.2f}" for row in rows.itertuples()) or "none"


def scope(c: Comparison) -> list[str]:
    """What the interval does not speak for; nothing where neither is a checkpoint."""
    if c.same_weights:
        return ["Both runs are of the same weights: a difference comes from code, versions, machine or settings."]
    trained = [letter for letter, run in (("A", c.a), ("B", c.b)) if run.sha256]
    if len(trained) == 2:
        return ["This is about these two trainings: another seed of either gives other scores."]
    return [f"This is about one training of {letter}: another seed of it gives other scores." for letter in trained]


def routes(c: Comparison) -> list[str]:
    """Lines on how alike the two route; none without routes in both."""
    if c.routing.empty:
        return []
    every = c.routing.iloc[-1]
    if c.same_weights:
        layers = with_interval(every.layers, every.layers_low, every.layers_high, ".1%")
        least = c.routing.iloc[:-1].sort_values("layers", kind="stable").iloc[0]
        line = f"Routes: {every.same_path:.1%} of {every.n} pictures take the same path, {layers} of their layers agree"
        return [line + (f"; least for {least.task} ({least.layers:.1%})." if least.layers < 1 else ".")]
    lines = [ARBITRARY]
    for row in c.partitions.itertuples():
        alone = f"if degradation alone decided: {row.rand_degradation:.2f} and {row.nmi_degradation:.2f}"
        lines.append(f"  {row.level}: Rand {row.rand:.2f}, NMI {row.nmi:.2f} ({alone})")
    return lines


def as_json(c: Comparison) -> dict:
    """Everything, in values that JSON knows; null for what is infinite or not known."""
    runs = {
        letter: {"where": run.where, "name": run.name, "sha256": run.sha256, "rows": len(run.table)}
        for letter, run in (("a", c.a), ("b", c.b))
    }
    tables = ("differences", "means", "rows", "routing", "partitions")
    content = runs | {"pictures": len(c.rows), "same_weights": c.same_weights, "verdict": c.verdict()}
    content |= {name: getattr(c, name).to_dict("records") for name in tables} | {"notes": list(c.notes)}
    return plain(content)
