"""Tables of `slerlib ablate`: SLER-IR minus every variant, the paper's claims, intervals over seeds.

    rows = ablations.read()                  # the shipped table of tiny; "tiny-mixed", "small", or a path
    ablations.compared(rows)                 # one row per variant
    ablations.claims(rows)                   # one row per claim: difference, interval, verdict

Differences are paired by seed: both networks start from the same draw of data and, where the encoder is the same, from
the same stage A. Intervals are Student's t over training seeds; intervals over photographs leave these out.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from ..analysis.chance import corrected
from ..errors import UserError
from ..evaluation.metrics import verdict
from ..files import no_file, read_json, unwritable, write_atomic
from .variants import REFERENCE, VARIANTS

if TYPE_CHECKING:
    from pandas import DataFrame, Series

COLUMNS = ("variant", "seed", "task", "psnr")  # that a table must have; it holds more
# columns of names and of hashes: 123456789012 and 1234567890e1 are no numbers
TEXT = {"data": str, "val": str, "code": str, "variant": str, "task": str}

# (claim, network that should be better, network it is better than). [paper] states or implies it; [ours] we ask it.
CLAIMS = (
    ("[paper] SLER-IR beats a dense network of the same active size", REFERENCE, "plain_dense"),
    ("[ours] SLER-IR beats a dense network with its encoder and guide map", REFERENCE, "dense"),
    ("[ours] SLER-IR beats such a dense network with as many parameters in all", REFERENCE, "dense_wide"),
    ("[paper] Experts at every layer, behind a linear gate, beat a dense network", "plain_linear", "plain_dense"),
    ("[ours] Experts at every layer, on the sphere, beat a dense network", "plain_sphere", "plain_dense"),
    ("[paper] The sphere and its nearest pin beat that gate", "plain_sphere", "plain_linear"),
    ("[paper] The global-local guide map adds to experts on the sphere", REFERENCE, "plain_sphere"),
    ("[paper] The guide needs its local tokens", REFERENCE, "cls_only"),
    ("[paper] The guide needs its global token", REFERENCE, "patch_only"),
    ("[paper] The nearest pin beats a learned linear gate on the same sphere", REFERENCE, "linear_gate"),
    ("[paper] The route matters: random paths are worse", REFERENCE, "random"),
    ("[paper] A decision per layer beats one for all layers", REFERENCE, "single"),
    ("[ours] A path for every place beats one for the picture", "place", REFERENCE),
    ("[ours] A path for every place beats one for the picture, same weights", "place", "place_image"),
    ("[ours] Looking at the result and going on beats one pass", "passes", REFERENCE),
    ("[ours] Looking at the result and going on beats one pass, with a path for every place", "place_passes", "place"),
    ("[ours] A route per image beats a fixed path per degradation", REFERENCE, "modal_paths"),
    ("[ours] Routes found by the encoder beat true labels", REFERENCE, "oracle"),
    ("[paper] Contrast on the sphere beats contrast without one (and without uniformity)", "emergent", "linear_space"),
    ("[paper] Contrast on the sphere beats the features of a plain classifier", "emergent", "classifier"),
    ("[paper] The triplet term adds to contrast and uniformity", "emergent", "no_triplet"),
    ("[ours] The uniformity term adds to contrast", "no_triplet", "contrastive"),
    ("[ours] Fixed anchors beat emergent ones at a short stage A", REFERENCE, "emergent"),
    ("[ours] Pins between groups of anchors beat pins anywhere", REFERENCE, "random_pins"),
    ("[ours] Three experts beat two", REFERENCE, "experts_2"),
    ("[ours] Three experts beat four", REFERENCE, "experts_4"),
    ("[ours] The embedding alone routes better than with the features of each layer", REFERENCE, "sphere_stage"),
    ("[ours] The guide helps in encoder and decoder more than in the decoder alone", REFERENCE, "guide_decoder"),
    ("[ours] The Fourier term adds to L1", REFERENCE, "no_fourier"),
)


def shipped() -> list[Path]:
    """Tables that come with slerlib: the clone's data/ablations, or the package's own copies."""
    package = Path(__file__).resolve().parents[1]
    folders = (package.parent / "data" / "ablations", package / "_ablations")
    return next((sorted(folder.glob("*.csv"), key=lambda path: path.stem) for folder in folders if folder.is_dir()), [])


def read(table: str | Path = "tiny") -> DataFrame:
    """Rows (variant, seed, task) of a table.

    table: "tiny" or "small", the shipped tables of these recipes, "tiny-mixed" with several damages at once and damage
    in a part, or a CSV file or the folder of `slerlib ablate`. A path that is called like a shipped one is written
    ./tiny. Raises UserError for a file that is not such a table.
    """
    import pandas as pd

    names = {path.stem: path for path in shipped()}
    path = names.get(str(table), Path(table))
    path = path / "ablations.csv" if path.is_dir() else path
    rows = _read_csv(path, f"Check the path, or take a shipped table: {', '.join(names) or 'none here'}.")
    if missing := [name for name in COLUMNS if name not in rows]:
        raise UserError(
            f"A table of ablations has the columns {', '.join(COLUMNS)}; {path} lacks {', '.join(missing)}."
        )
    if rows[["variant", "task"]].isna().any(axis=None):
        raise UserError(f"A table of ablations names variant and task of each row; {path} has gaps. Copy it again.")
    if rows.empty:
        raise UserError(f"A table of ablations has a row for each variant, seed and task; {path} has none.")
    times = rows.groupby(["variant", "seed", "task"]).psnr.count().unstack("task")  # NaN: no row
    if not pd.api.types.is_numeric_dtype(rows.psnr) or not times.eq(1).all(axis=None):
        raise UserError(
            "A table of ablations has a number as psnr for every variant and seed in every task, once; "
            f"{path} has gaps, repeats or something else. Take the table that `slerlib ablate` wrote."
        )
    return rows


def _read_csv(path: Path, repair: str) -> DataFrame:
    import pandas as pd

    try:
        if fault := no_file(path):
            raise ValueError(f"it {fault}")
        return pd.read_csv(path, dtype=TEXT)
    except (OSError, ValueError, OverflowError, MemoryError) as error:  # pandas has errors of its own, all ValueErrors
        reason = getattr(error, "strerror", None) or str(error) or "it needs too much memory"
        raise UserError(
            f"A table of ablations is a CSV file of `slerlib ablate`; {path} cannot be read: {reason}. {repair}"
        ) from None


class Table:
    """Rows (variant, seed, task) in a CSV file, written whole after each training; several processes may add rows."""

    def __init__(self, path: Path, made_with: dict):
        self.path, self.made_with = path, made_with
        self.lock = FileLock(path.with_name("ablations.lock"))
        self.rows = self._stored()
        budget = path.with_name("budget.json")  # trainings that were interrupted have no rows yet
        before = self.rows.iloc[0] if len(self.rows) else made_with
        if budget.is_file():
            before = read_json(budget, "A budget", repair=f"Delete it if {path.parent} holds nothing of worth.")
        for key, value in made_with.items():
            if before.get(key) != value:
                raise UserError(
                    f"All ablations of a folder share one budget; those in {path.parent} have {key} = "
                    f"{before.get(key)}, this run asks for {value}. Choose another --out, or ask for the same."
                )
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write(budget, json.dumps(made_with, indent=1) + "\n")

    def holds(self, name: str, seed: int) -> bool:
        return len(self.rows) > 0 and bool(((self.rows.variant == name) & (self.rows.seed == seed)).any())

    def steps(self, name: str) -> int | None:
        """Steps of stages B and C that another seed of this variant took, if there is one."""
        done = self.rows[self.rows.variant == name] if len(self.rows) else self.rows
        return int(done.steps_done.iloc[0]) - self.made_with["stage_a"] if len(done) else None

    def add(self, rows: DataFrame) -> None:
        """Add the rows of one variant and seed, unless the file has them. Raises UserError for a full disk."""
        import pandas as pd

        with self.lock:  # nobody else adds rows between the reading and the writing
            self.rows = self._stored()
            if not self.holds(rows.variant.iloc[0], rows.seed.iloc[0]):
                self.rows = pd.concat([self.rows, rows.assign(**self.made_with)], ignore_index=True)
                self._write(self.path, self.rows.to_csv(index=False))

    def _stored(self) -> DataFrame:
        import pandas as pd

        if not self.path.is_file():
            return pd.DataFrame()
        return _read_csv(self.path, "Move it away: the trainings beside it are scored again.")

    def _write(self, path: Path, text: str) -> None:
        try:
            write_atomic(path, text)
        except OSError as error:
            again = "The rows before are whole: make room, then start the same command again."
            raise unwritable("A suite of ablations keeps its table in its folder", path, error, again) from None


def kinds(rows: DataFrame) -> dict[str, DataFrame]:
    """The rows by their damage: `uniform` (all over, and clean photographs), `mixed` (several), `local` (in a part)."""
    kind = rows.task.map(lambda task: "local" if "@" in task else "mixed" if "+" in task else "uniform")
    return {name: rows[kind == name] for name in ("uniform", "mixed", "local") if (kind == name).any()}


def averages(rows: DataFrame) -> DataFrame:
    """PSNR in dB, mean over the degradations: one row per variant, one column per seed; NaN where a seed is missing."""
    return rows[rows.task != "clean"].groupby(["variant", "seed"]).psnr.mean().unstack("seed")


def difference(rows: DataFrame, better: str, worse: str) -> tuple[float, float, float]:
    """(mean, low, high) of one variant's average PSNR minus another's, dB, paired by seed; NaN bounds for one seed.

    Raises UserError for a variant that the table lacks.
    """
    average = averages(rows)
    for name in (better, worse):
        if name not in average.index:
            raise UserError(f"The table holds the variants {', '.join(average.index)}; got {name!r}.")
    return _interval(average.loc[better] - average.loc[worse])


def compared(rows: DataFrame) -> DataFrame:
    """One row per variant: average PSNR over the degradations, SLER-IR minus it with a 95 % t interval over seeds.

    With one seed there is no interval (NaN). `clean`: PSNR of a clean photograph to itself.
    """
    import pandas as pd

    average = averages(rows)
    clean = rows[rows.task == "clean"].groupby("variant").psnr.mean()
    gaps = {name: difference(rows, REFERENCE, name) for name in average.index if name != REFERENCE}
    columns = {"seeds": average.count(axis=1), "psnr": average.mean(axis=1)}
    columns |= {key: pd.Series({name: gap[k] for name, gap in gaps.items()}, dtype=float)
                for k, key in enumerate(("sler_minus", "low", "high"))}  # fmt: skip
    meanings = {name: variant.meaning for name, variant in VARIANTS.items() if name in average.index}
    table = pd.DataFrame({**columns, "clean": clean}).reindex(meanings)
    return table.assign(meaning=meanings).reset_index(names="variant")


def claims(rows: DataFrame) -> DataFrame:
    """One row per claim whose two networks are in the table, for each of its `kinds` of damage.

    Columns: damage, claim, better, worse (variants), seeds (both have), difference (dB, better minus worse), low, high
    (95 % t interval over seeds), verdict (`slerlib.evaluation.metrics.verdict`), p (of that t test, two-sided) and
    p_corrected (Benjamini and Hochberg, over all rows). The verdict is that of one claim alone; among many claims
    chance makes some hold, which p_corrected takes into account.
    """
    import numpy as np
    import pandas as pd

    result = []
    for damage, part in kinds(rows).items():
        average = averages(part)
        for claim, better, worse in CLAIMS:
            if better in average.index and worse in average.index:
                seeds = int((average.loc[better] - average.loc[worse]).count())
                mean, low, high = difference(part, better, worse)
                p = _p_value(mean, high - mean, seeds)
                result.append((damage, claim, better, worse, seeds, mean, low, high, verdict(low, high), p))
    columns = ["damage", "claim", "better", "worse", "seeds", "difference", "low", "high", "verdict", "p"]
    table = pd.DataFrame(result, columns=columns)
    table["p_corrected"] = np.nan
    if (tested := table.p.notna()).any():
        table.loc[tested, "p_corrected"] = corrected(table.p[tested].to_numpy())
    return table


def _p_value(mean: float, half: float, n: int) -> float:
    """Two-sided p of the t test whose 95 % interval is mean +- half, from n numbers; NaN for fewer than two."""
    from scipy import stats

    if n < 2:
        return math.nan
    if not half:
        return float(mean == 0)
    return float(2 * stats.t.sf(abs(mean) / half * stats.t.ppf(0.975, n - 1), n - 1))


def _interval(values: Series) -> tuple[float, float, float]:
    """(mean, low, high) of numbers per seed, NaN left out: 95 % t interval, NaN for fewer than two."""
    from scipy import stats

    values = values.dropna()
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return mean, math.nan, math.nan
    half = float(values.std(ddof=1) / n**0.5 * stats.t.ppf(0.975, n - 1))
    return mean, mean - half, mean + half
