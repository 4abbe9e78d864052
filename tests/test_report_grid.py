"""Reports with every combination of some parameters: each once, all settings checked before the first one."""

import csv
import json
from pathlib import Path

import pytest
from test_report import make_notebook

from slerlib import UserError
from slerlib.cli.commands import main
from slerlib.grid import Local
from slerlib.report.grid import run_grid

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
FINDING = (
    "from matplotlib.figure import Figure\nfrom slerlib.report import finding\n"
    "from slerlib.plots.style import finished\nfigure = Figure(); figure.add_subplot()\n"
    "finding(f'{seed} dB', f'Seed {seed}.', finished(figure, 'empty'), 'made up', {'result a': seed + images})"
)


@pytest.fixture
def notebook(tmp_path):
    bad = "if seed == 1 and images == 2:\n    raise ValueError('this one')"
    return make_notebook(tmp_path, "grid", bad, FINDING)


def rows(table: Path) -> list[dict]:
    return list(csv.DictReader(table.read_text().splitlines()))


def test_a_grid_of_reports(notebook, tmp_path):
    said, runs = [], tmp_path / "runs"
    grid = ["images=1,2", "seed=0,1"]
    records, table = run_grid(str(notebook), {"name": "n"}, grid, lambda: Local(2), runs, said.append)
    assert [r["cell"] for r in records] == [{"images": a, "seed": b} for a in "12" for b in "01"]
    assert [r["state"] for r in records] == ["done", "done", "done", "failed"]
    assert [r["parameters"]["name"] for r in records] == ["n"] * 4 and not any(r["skipped"] for r in records)
    assert len(list(runs.glob("*/run.json"))) == 4
    assert [(row["seed"], row["state"], row["headline"], row["result a"]) for row in rows(table)] == [
        ("0", "done", "0 dB", "1.0"), ("1", "done", "1 dB", "2.0"), ("0", "done", "0 dB", "2.0"),
        ("1", "failed", "", ""),
    ]  # fmt: skip
    assert "this one" in rows(table)[-1]["why"]
    before = {path: path.stat().st_mtime_ns for path in runs.glob("*/run.json")}
    again, same = run_grid(str(notebook), {"name": "n"}, ["images=1", "seed=0,1"], pytest.fail, runs, said.append)
    assert [r["skipped"] for r in again] == [True, True] and same != table, "nothing to run: no worker is started"
    assert before == {path: path.stat().st_mtime_ns for path in runs.glob("*/run.json")}


@pytest.mark.parametrize(
    ("grid", "params", "words"),
    [(["seed=0,x"], {}, "seed has the type int"), (["other=1"], {}, "Unknown report parameter"),
     (["seed=0,1"], {"seed": "2"}, "once, by -p or in the grid"), (["seed"], {}, "KEY=VALUE")],
)  # fmt: skip
def test_settings_are_refused_before_the_first_cell(notebook, tmp_path, grid, params, words):
    with pytest.raises(UserError, match=words):
        run_grid(str(notebook), params, grid, pytest.fail, tmp_path / "runs")
    assert not list((tmp_path / "runs").glob("*/run.json"))


def test_the_command(notebook, tmp_path, capsys):
    out = ["--out", str(tmp_path / "runs")]
    assert main(["report", str(notebook), "-p", "seed", "3", "--grid", "images=1", "--workers", "2", *out]) == 0
    printed = capsys.readouterr().out
    assert "grid images=1: done 3 dB" in printed and ".csv" in printed
    with pytest.raises(SystemExit):
        main(["report", str(notebook), "--workers", "2", *out])
    assert "are for --grid" in capsys.readouterr().err
    assert json.loads(next((tmp_path / "runs").glob("*/run.json")).read_text())["state"] == "done"
