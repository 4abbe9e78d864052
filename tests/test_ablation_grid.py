"""A suite of ablations in several processes: the same table as one after the other, settings refused before a part."""

import pandas as pd
import pytest
from test_grid import environment, job, scheduler, wait_for  # noqa: F401  the fixtures
from trainings import SMALL, write_photographs

from slerlib import UserError
from slerlib.ablation import cost, tables
from slerlib.ablation.grid import ablate_grid
from slerlib.ablation.run import Budget, ablate
from slerlib.cli.commands import main
from slerlib.grid import Cluster, Local

VALUES = [value for value in SMALL if "steps" not in value and "stage_" not in value]
BUDGET = Budget(stage_a=4, steps=8, images=1, pairs=1, overrides=" ".join([*VALUES, "data.anchor_scenes=2"]))
NAMES = ["sler", "modal_paths", "dense_steps"]  # equal steps: the times of a machine decide nothing


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("data") / "photographs")


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """The table of the trainings one after the other."""
    return ablate(data, data, tmp_path_factory.mktemp("alone"), NAMES, (0, 1), BUDGET, say=lambda line: None)


def same(a: pd.DataFrame, b: pd.DataFrame) -> None:
    apart = ["minutes"]
    one, two = (t.drop(columns=apart).sort_values(["variant", "seed", "task"], ignore_index=True) for t in (a, b))
    pd.testing.assert_frame_equal(one, two, check_dtype=False)


def test_two_at_a_time_make_the_same_table(data, alone, tmp_path):
    said, out = [], tmp_path / "out"
    rows = ablate_grid(data, data, out, NAMES, (0, 1), BUDGET, lambda: Local(2), say=said.append)
    same(rows, alone)
    assert "6 trainings to do, in 8 parts" in said[0] and len(said) == 9
    again = ablate_grid(data, data, out, NAMES, (0, 1), BUDGET, pytest.fail, say=said.append)
    same(again, alone)
    assert "0 trainings" in said[-1], "what is in the table is not trained again"


def test_settings_are_refused_before_a_part(data, tmp_path, capsys):
    with pytest.raises(UserError, match="An ablation is one of"):
        ablate_grid(data, data, tmp_path / "a", ["nothing"], (0,), BUDGET, pytest.fail)
    with pytest.raises(UserError, match="a quarter of --stage-a"):
        ablate_grid(data, data, tmp_path / "a", NAMES, (0,), Budget(stage_a=9, steps=1), pytest.fail)
    assert not (tmp_path / "a").exists()
    for words in (["--grid", "lr=1,2"], ["--grid", "variant=sler,none"]):
        assert_refused(capsys, "ablate", *words, "--out", str(tmp_path / "b"))
    assert_refused(capsys, "ablate", "dense", "--grid", "seed=1")
    assert_refused(capsys, "ablate", "--grid", "seed=x")


def assert_refused(capsys, *words):
    try:
        code = main(list(words))
    except SystemExit as stop:
        code = stop.code
    assert code in (1, 2) and capsys.readouterr().err


def test_a_part_that_fails_is_named_and_the_rest_is_done(data, tmp_path):
    out = tmp_path / "out"
    (out / "dense_steps-0").mkdir(parents=True)
    (out / "dense_steps-0" / "card.json").write_text("{}")
    with pytest.raises(UserError, match="1 of 3 are not: train-dense_steps-0 failed"):
        ablate_grid(data, data, out, ["sler", "dense_steps"], (0,), BUDGET, lambda: Local(2), say=lambda line: None)
    assert tables.read(out).variant.unique().tolist() == ["sler"]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_real_trainings_on_three_workers_one_killed_one_slow(data, alone, tmp_path, scheduler):  # noqa: F811
    address, worker = scheduler
    doomed = [worker("quick"), worker("slow", 9), worker("doomed")][2]
    killed = []

    def say(line):
        if " of 8: " in line and not killed and len(list((tmp_path / "out" / "cells").glob("train-*.json"))) > 1:
            killed.append(doomed.kill())

    def cluster():
        made = Cluster(address, seconds=120)
        wait_for(lambda: made.size == 3)
        return made

    rows = ablate_grid(data, data, tmp_path / "out", NAMES, (0, 1), BUDGET, cluster, say=say)
    assert killed
    same(rows, alone)


def test_a_plan_of_the_cost():
    rows = pd.DataFrame([("sler", 0, 10.0), ("dense", 0, 20.0), ("modal_paths", 0, 10.0), ("sler", 1, 10.0)],
                        columns=["variant", "seed", "minutes"])  # fmt: skip
    one, many = cost.plan(rows, 1, part_a=0.5), cost.plan(rows, 50, part_a=0.5)
    # stage A: 10 for seed 0, the longer one, and 5; then 5, 10 and 5
    assert one.trainings == 3 and one.machine_hours * 60 == pytest.approx(35) and one.hours == one.machine_hours
    assert many.hours * 60 == pytest.approx(20) == many.longest * 60
    with pytest.raises(UserError, match="at least one machine"):
        cost.plan(rows, 0)
