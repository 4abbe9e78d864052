"""Tables of ablations: known differences and intervals, claims both ways, the shipped table, bad tables."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from slerlib import UserError, plots
from slerlib.ablation import tables as ablations
from slerlib.ablation.tables import Table
from slerlib.ablation.variants import VARIANTS
from slerlib.cli import main

HALF = 4.302653 / 3**0.5  # t(0.975, 2 degrees of freedom) x standard deviation 1 / sqrt(3 seeds)


def rows_of(psnr: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    """Rows whose average over the damages is the number given, for seeds 0, 1, ..."""
    return pd.DataFrame(
        {"variant": name, "seed": seed, "task": task, "psnr": value + shift}
        for name, values in psnr.items()
        for seed, value in enumerate(values)
        for task, shift in (("rain", -1.0), ("haze", 1.0), ("clean", 10.0))
    )


def test_comparison_of_known_numbers():
    table = ablations.compared(rows_of({"sler": (30.0, 31.0, 32.0), "dense": (29.0, 29.0, 29.0)})).set_index("variant")
    assert table.loc["sler", "psnr"] == pytest.approx(31) and table.loc["sler", "clean"] == pytest.approx(41)
    assert table.loc["dense", "sler_minus"] == pytest.approx(2) and math.isnan(table.loc["sler", "sler_minus"])
    assert table.loc["dense", ["low", "high"]].astype(float).tolist() == pytest.approx([2 - HALF, 2 + HALF])


def test_claims_go_either_way_or_stay_open():
    rows = rows_of(
        {
            "sler": (30.0, 31.0, 32.0),
            "random": (20.0, 21.0, 22.0),  # always 10 worse
            "oracle": (31.0, 32.0, 33.0),  # always 1 better
            "dense": (29.0, 29.0, 29.0),  # 1, 2 and 3 worse: the interval holds 0
            "modal_paths": (29.0,),  # one seed
        }
    )
    table = ablations.claims(rows).set_index("worse")
    assert table.verdict.to_dict() == {
        "dense": "not shown", "random": "holds", "modal_paths": "not shown", "oracle": "contradicted",
    }  # fmt: skip
    assert table.loc["oracle", "difference"] == pytest.approx(-1) and table.loc["modal_paths", "seeds"] == 1
    assert table.loc["dense", "low"] == pytest.approx(2 - HALF)
    p = stats.ttest_1samp([1, 2, 3], 0).pvalue
    assert table.loc["dense", "p"] == pytest.approx(p) and table.loc["random", "p"] == 0
    assert table.loc["dense", "p_corrected"] == pytest.approx(p)  # the largest of three
    assert table.loc[["random", "oracle"], "p_corrected"].eq(0).all() and math.isnan(table.loc["modal_paths", "p"])


def test_a_difference_is_paired_by_seed():
    rows = rows_of({"sler": (30.0, 31.0, 33.0), "dense": (29.0, 30.0, 32.0), "random": (1.0,)})
    assert ablations.difference(rows, "sler", "dense") == pytest.approx((1, 1, 1))
    mean, low, _ = ablations.difference(rows, "dense", "random")  # one seed in common
    assert mean == pytest.approx(28) and math.isnan(low)
    with pytest.raises(UserError, match="got 'single'"):
        ablations.difference(rows, "single", "sler")


def test_claims_name_networks_that_can_be_trained():
    for claim, better, worse in ablations.CLAIMS:
        assert {better, worse} <= set(VARIANTS) and claim.startswith(("[paper]", "[ours]"))


def test_the_shipped_tables_are_whole():
    tables = [path.stem for path in ablations.shipped()]
    assert {"tiny", "tiny-mixed", "small"} <= set(tables)
    for name in tables:
        rows = ablations.read(name)
        mixed = name.endswith("-mixed")  # such a table has mixtures and damage in a part too
        assert set(rows.recipe) == {name.removesuffix("-mixed")}
        assert not rows.duplicated(["variant", "seed", "task"]).any() and np.isfinite(rows.psnr).all()
        assert rows.groupby(["variant", "seed"]).task.nunique().nunique() == 1
        damages = {"uniform": 8} | ({"mixed": 8, "local": 15} if mixed else {})
        assert {kind: part.task.nunique() for kind, part in ablations.kinds(rows).items()} == damages
        assert not mixed or set(rows.damage) == {"mixed"}
        assert set(rows.variant) <= set(VARIANTS)
        budget = ["recipe", "stage_a", "steps", "lr", "images", "data", "val"] + ["damage", "encoder"] * mixed
        assert (rows[budget].nunique(dropna=False) == 1).all()  # one budget in a table
        same = rows.groupby("variant").steps_done.nunique()
        assert same.eq(1).all()  # every seed of a variant had the same steps


def test_bad_tables_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="cannot be read.*shipped table: small, tiny, tiny-mixed"):
        ablations.read(tmp_path / "none.csv")
    (tmp_path / "ablations.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="lacks variant, seed, task, psnr"):
        ablations.read(tmp_path)
    head, sler = "variant,seed,task,psnr\n", "sler,0,rain,30\nsler,0,haze,31\n"
    for lines in ("", sler + "dense,0,rain,29\n", sler + "dense,0,rain,29\ndense,0,haze,\n", sler + sler,
                  sler.replace("30", "high")):  # fmt: skip
        (tmp_path / "ablations.csv").write_text(head + lines)
        with pytest.raises(UserError, match="gaps, repeats" if lines else "has a row for each variant"):
            ablations.read(tmp_path)
    monkeypatch.setattr(ablations, "shipped", list)
    with pytest.raises(UserError, match="slerlib ablate.*none here"):
        ablations.read()


def test_a_hash_of_digits_stays_a_hash(tmp_path):
    rows = rows_of({"sler": (30.0,)}).assign(data="012345678901", val="1234567890e1", code="000000000123")
    rows.to_csv(tmp_path / "ablations.csv", index=False)
    for again in (ablations.read(tmp_path), Table(tmp_path / "ablations.csv", {"data": "012345678901"}).rows):
        assert again[["data", "val", "code"]].iloc[0].tolist() == ["012345678901", "1234567890e1", "000000000123"]
    with pytest.raises(UserError, match="have pairs = None, this run asks for 10"):  # a budget from before
        Table(tmp_path / "ablations.csv", {"data": "012345678901", "pairs": 10})


def test_two_processes_keep_the_rows_of_each_other(tmp_path):
    one, two = (Table(tmp_path / "ablations.csv", {"data": "abc"}) for _ in range(2))
    for table, name in ((one, "sler"), (two, "dense"), (one, "dense")):  # the last one has been there before
        table.add(rows_of({name: (30.0,)}))
    rows = ablations.read(tmp_path)
    assert rows.variant.unique().tolist() == ["sler", "dense"] and len(rows) == 6 and len(one.rows) == 6


ADDS = """
import sys
from pathlib import Path
import pandas as pd
from slerlib.ablation.tables import Table

table = Table(Path(sys.argv[1]), {"data": "abc"})
print("ready", flush=True)
sys.stdin.readline()
for seed in range(40):
    table.add(pd.DataFrame({"variant": sys.argv[2], "seed": seed, "task": "rain", "psnr": [30.0]}))
"""


def test_two_processes_that_add_rows_at_once_lose_none(tmp_path):
    both = [
        subprocess.Popen([sys.executable, "-c", ADDS, str(tmp_path / "ablations.csv"), name],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in ("sler", "dense")
    ]  # fmt: skip
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    for process in both:
        process.communicate()
    rows = pd.read_csv(tmp_path / "ablations.csv")
    assert sorted(zip(rows.variant, rows.seed, strict=True)) == [(v, s) for v in ("dense", "sler") for s in range(40)]


def test_a_damaged_table_is_refused_and_kept(tmp_path):
    for name, data in (("ablations.csv", b""), ("ablations.csv", b'a,b\n"1'), ("budget.json", b"{")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=f"{name}.* (cannot be read|not valid JSON)"):
            Table(tmp_path / "ablations.csv", {"data": "abc"})
        assert (tmp_path / name).read_bytes() == data
        (tmp_path / name).unlink()


def test_a_table_is_shown_without_training(tmp_path, capsys):
    rows_of({"sler": (30.0, 31.0), "dense": (29.0, 29.5)}).to_csv(tmp_path / "ablations.csv", index=False)
    assert main(["ablate", "--show", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "one expert, same encoder" in printed and "1.25" in printed and "not shown" in printed


def test_figure_of_the_gaps():
    rows = rows_of({"sler": (30.0, 31.0, 32.0), "dense": (29.0, 29.0, 29.0), "oracle": (31.0,)})
    fig = plots.ablation_gaps(rows)
    ax = fig.axes[0]
    assert [label.get_text().split(":")[0] for label in ax.get_yticklabels()] == ["oracle", "dense"]
    assert "dense +2.00 dB (-0.48 to 4.48)" in fig.alt_text and "oracle -1.00 dB (one seed)" in fig.alt_text
    with pytest.raises(UserError, match="SLER-IR"):
        plots.ablation_gaps(rows_of({"dense": (29.0,)}))
