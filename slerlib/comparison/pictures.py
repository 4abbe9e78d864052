"""Pictures of a comparison: the same input restored again by the checkpoints of both runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..errors import UserError
from ..evaluation.cases import Case, cases
from ..evaluation.metrics import psnr, ssim
from ..evaluation.options import CHOICES, MADE_HERE
from ..evaluation.results import ScoredRun, find_checkpoint
from ..evaluation.table import KEYS
from ..inference.load import load
from ..inference.restore import restore
from .compare import SAME_DB, SAME_SSIM
from .result import Comparison

if TYPE_CHECKING:
    from pandas import DataFrame

Row = tuple[str, Tensor, Tensor, Tensor, Tensor]  # label; clean, degraded, restored by A and by B, (3, H, W) each


def restored_by_both(
    c: Comparison, count: int = 4, *, checkpoint_a: str = "", checkpoint_b: str = "", data: str = ""
) -> tuple[list[Row], str]:
    """(rows for `plots.side_by_side`, reason why there are fewer than asked for).

    count: at most so many, those whose scores differ most, one of each task first; a clean input only if all are clean.
    checkpoint_a, checkpoint_b: where to look first for the weights, which are recognised by their hash.
    data: where to look first for the images; each is recognised by the scores of its input.
    """
    if c.same_weights:
        return [], "Both runs are of the same weights, which would restore a picture alike here."
    sides = (("A", c.a, checkpoint_a), ("B", c.b, checkpoint_b))
    folders = [find_checkpoint(run, first) for _, run, first in sides]
    if absent := [f"{letter} ({run.name}, sha256 {str(run.sha256)[:12]})"
                  for (letter, run, _), folder in zip(sides, folders, strict=True) if folder is None]:  # fmt: skip
        return [], f"The weights of {' and '.join(absent)} are not at hand. Name their folders: --checkpoints A B."
    wanted = _most_different(c.rows, count)
    pairs = [(row, pair) for row in wanted.itertuples() if (pair := _input(c, row, data))]
    lost = f"{len(wanted) - len(pairs)} of {len(wanted)} pictures were not found with the same input."
    reason = f"{lost} Name the folder of the images: --data DIR." if len(pairs) < len(wanted) else ""
    models = [(load(folder), _choices(run)) for folder, (_, run, _) in zip(folders, sides, strict=True) if pairs]
    rows = [
        (
            f"{Path(row.image).stem}\n{row.task}",
            clean,
            degraded,
            *(restore(net, degraded, **own) for net, own in models),
        )
        for row, (degraded, clean) in pairs
    ]
    return rows, reason


def _choices(run: ScoredRun) -> dict:
    """Options of `restore` that the run was made with."""
    return {name: value for name in CHOICES if (value := run.table.attrs.get(name)) is not None}


def _most_different(rows: DataFrame, count: int) -> DataFrame:
    rows = rows[rows.delta.abs() < float("inf")]
    rows = rows[rows.task != "clean"] if (rows.task != "clean").any() else rows
    rows = rows.loc[rows.delta.abs().sort_values(ascending=False, kind="stable").index]
    first = ~rows.duplicated("task")
    rows = rows.loc[[*rows.index[first], *rows.index[~first]]].head(count)
    return rows.sort_values("delta", ascending=False, kind="stable")


def _input(c: Comparison, row, data: str) -> tuple[Tensor, Tensor] | None:
    """(degraded, clean) of a row, made or read again; None where no input has the scores of the runs."""
    for run in (c.a, c.b):
        for root in (data, (run.record.get("parameters") or {}).get("data"), run.table.attrs.get("root")):
            case = _case(run, row, root) if root else None
            pair = case.load() if case else None
            if pair and _scores_alike(*pair, row):
                return pair
    return None


def _scores_alike(degraded: Tensor, clean: Tensor, row) -> bool:
    """The input has the scores of the row. NaN, where both are infinite or one is missing, does not count."""
    far = abs(psnr(degraded, clean) - row.psnr_input) >= SAME_DB
    return not (far or abs(ssim(degraded, clean) - row.ssim_input) >= SAME_SSIM)


def _case(run: ScoredRun, row, root: str) -> Case | None:
    about = run.table.attrs
    options = {name: about[name] for name in ("images", "severity", "seed", "crop", "noise") if name in about}
    classes = [row.task] if about.get("setting", "demo") in MADE_HERE else None
    try:
        todo, _ = cases(root, about.get("setting", "demo"), classes=classes, **options)
    except UserError:  # other data, or no data
        return None
    return next((case for case in todo if all(getattr(case, key) == getattr(row, key) for key in KEYS)), None)
