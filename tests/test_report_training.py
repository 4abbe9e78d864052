"""The report about a training: finished, running, stopped, broken, damaged; the sphere as a film."""

import contextlib
import io
import json
import math
import shutil

import chromium
import nbformat
import numpy as np
import pytest
from trainings import made_up, make

from slerlib import UserError, plots, report
from slerlib.analysis.forming import forming, settling
from slerlib.report import runs
from slerlib.report.frame import document, write_html
from slerlib.report.plan import available
from slerlib.train import history, lock, loop


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return loop.train(make(), made_up(), tmp_path_factory.mktemp("training") / "done", progress=False)


@pytest.fixture
def copy(done, tmp_path):
    return shutil.copytree(done, tmp_path / "copy")


def cells(monkeypatch, **values) -> tuple[dict, str]:
    """Run the cells of the report in this process: (its finding, its sentences)."""
    import matplotlib

    matplotlib.use("agg")
    found, said = {}, []
    names = ("headline", "sentence", "figure", "measured", "numbers")
    monkeypatch.setattr(report, "finding", lambda *parts: found.update(zip(names, parts, strict=True)))
    monkeypatch.setattr(report, "say", said.append)
    space = {"display": lambda *parts: None, "__name__": "__main__"}
    for cell in nbformat.read(available()["training"], 4).cells:
        if cell.cell_type == "code":
            exec(cell.source, space)
            if "parameters" in cell.metadata.get("tags", []):
                space |= values
    return found, "\n".join(said)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_finished_training_is_read_whole(done):
    past = history.read(done)
    assert (past.state, past.step, past.steps, past.notes) == ("done", 12, 12, [])
    assert past.stages == {"A": range(4), "B": range(4, 9), "C": range(9, 12)} and past.seconds_left is None
    assert past.log.step.tolist() == list(range(12)) and past.validation.step.tolist() == [8, 12]
    assert [look["step"] for look in past.looks] == [0, 1, 2, 3, 4, 8, 12]
    table = past.samples()
    assert table.use.tolist() == ["clean, and degraded by synthesis"]
    assert table["set"].tolist() == ["made up"] and table.samples.tolist() == [8 * 4] and table.times[0] == 32 / 6
    assert past.pace().steps.to_dict() == {"A": 4, "B": 5, "C": 3}
    before, after = history.nearest_share(past.looks[0]), history.nearest_share(past.looks[-1])
    assert math.isnan(before) and 0 <= after <= 1


def test_what_a_kill_or_a_disk_left_is_read_as_far_as_it_goes(copy):
    log = copy / "log.jsonl"
    lines = log.read_text().splitlines()
    cut = next(k for k, line in enumerate(lines) if '"step": 6' in line and "loss" in line)
    lines[3] = lines[3][:20]
    log.write_text("\n".join(lines[:cut]) + "\n" + lines[cut][:30])
    for name in ("card.json", "state.pt"):
        (copy / name).unlink()
    past = history.read(copy)
    assert (past.state, past.step) == ("stopped", 6) and past.card == {}
    assert past.notes == ["There is no card.json yet.", "1 lines of log.jsonl are damaged and do not count."]
    assert past.seconds_left > 0 and past.samples().empty
    (copy / "config.json").write_text("{")
    assert history.read(copy).steps == 6 and "config.json" in history.read(copy).notes[0]
    (copy / "config.json").unlink()
    log.unlink()
    with pytest.raises(UserError, match="has none of them. Name the --out"):
        history.read(copy)


def test_running_and_broken_are_told_apart(copy):
    card = json.loads((copy / "card.json").read_text())
    (copy / "card.json").write_text(json.dumps(card | {"steps_done": 8}))
    assert history.read(copy).state == "stopped"
    with lock.hold(copy, "A training"):
        assert history.read(copy).state == "running" and "runs: step 12 of 12" in history.standing(history.read(copy))
    (copy / "nonfinite.pt").touch()
    past = history.read(copy)
    assert past.state == "broken" and "not finite" in history.standing(past)
    assert any("last save holds step 8" in line for line in history.remarks(past))


def test_a_step_that_ran_again_counts_once(copy):
    with open(copy / "log.jsonl", "a") as log:
        log.write(json.dumps({"step": 11, "stage": "C", "loss": 7.0, "seconds": 1.0}) + "\n")
    past = history.read(copy)
    assert past.log.step.tolist() == list(range(12)) and past.log.loss.iloc[-1] == 7


def test_settings_that_differ(done):
    config = history.read(done).config
    other = json.loads(json.dumps(config))
    other["train"]["lr"], other["model"]["new"] = 1, "x"
    assert history.changed_settings(config, config) == []
    assert set(history.changed_settings(config, other)) == {("train.lr", 0.002, 1), ("model.new", None, "x")}


# --- the sphere -------------------------------------------------------------------------------------------------------


def look(step: int, means: np.ndarray, anchors: np.ndarray | None, usage=None) -> dict:
    k = len(means)
    rows = {"classes": [f"c{n}" for n in range(k)], "views": [4] * k, "mean": means.tolist(), "within": [5.0] * k}
    rows |= {"nearest": (4 * np.eye(k, dtype=int)).tolist(), "anchors": None if anchors is None else anchors.tolist()}
    return {"step": step, "sphere": rows | {"usage": np.ones((k, 8, 3)).tolist() if usage is None else usage}}


def points(k: int = 5, d: int = 16, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(k, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_turn_of_the_whole_sphere_moves_nothing_on_the_map():
    means, anchors = points(), points(seed=1)
    turns = [np.linalg.qr(np.random.default_rng(n).normal(size=(16, 16)))[0] for n in range(4)]
    form = forming([look(n, means @ turn, anchors @ turn) for n, turn in enumerate(turns)])
    assert form.left < 1e-6 and np.abs(form.means - form.means[-1]).max() < 0.1  # degrees; four digits in the log
    angle = np.degrees(np.arccos((means * anchors).sum(axis=1)))
    assert np.abs(form.apart - angle).max() < 1e-3 and (form.nearest == 1).all()


def test_a_class_that_moves_moves_alone():
    anchors = points()
    start, looks = points(seed=3), []
    for n, share in enumerate(np.linspace(0, 1, 6)):
        means = anchors.copy()
        means[2] = (1 - share) * start[2] + share * anchors[2]
        looks.append(look(n, means / np.linalg.norm(means, axis=1, keepdims=True), anchors))
    form = forming(looks)
    way = np.linalg.norm(form.means[0] - form.means[-1], axis=1)
    assert way[2] > 20 and np.delete(way, 2).max() < 0.2 * way[2]
    assert (np.diff(form.apart[:, 2]) < 0).all() and form.apart[-1].max() < 0.1 and 0 < form.left < 1


def test_looks_without_anchors_have_none_on_the_map():
    form = forming([look(0, points(), None), look(1, points(seed=1), points(seed=2))])
    assert np.isnan(form.anchors[0]).all() and np.isnan(form.nearest[0]).all() and np.isfinite(form.anchors[1]).all()
    assert "no anchors yet" in plots.forming_view(form, 0).alt_text
    with pytest.raises(UserError, match="needs two looks"):
        forming([look(0, points(), None)])


def test_how_routes_settle():
    first, last = np.zeros((2, 8, 3)), np.zeros((2, 8, 3))
    first[:, :, 0], last[:, :, 0] = 4, 4
    first[1, :3] = [1, 3, 0]  # class c1 took expert 1 at three layers, three of four views
    table = settling([look(0, points(2), None, first.tolist()), look(5, points(2), None, last.tolist())])
    assert table.changed.tolist() == [0, 3, 0, 0] and table.step.tolist() == [0, 0, 5, 5]
    assert table.agree.tolist() == [1, (3 * 0.75 + 5) / 8, 1, 1]


@pytest.mark.browser
def test_the_film_steps_through_its_looks_without_a_script(done, tmp_path):
    past = history.read(done)
    film = plots.forming_film(forming(past.looks), past.stages)
    assert len(film.pictures) == 7 and film.titles[0].startswith("step 0, stage A")
    path = write_html(tmp_path / "film.html", document("film", film.html()))
    with chromium.Page(path, tmp_path / "profile") as page:
        shown = "[...document.querySelectorAll('.film figure')].map(f => f.offsetHeight > 0 ? 1 : 0).join('')"
        assert page.evaluate(shown) == "0000001"
        page.evaluate("document.querySelector('#sphere-6-shown label').click()")
        assert page.evaluate(shown) == "0000010"
        page.evaluate("document.querySelector('#sphere-0').click()")
        assert page.evaluate(shown) == "1000000"
        assert not page.blocked and not page.complaints
    assert film.html().count(" hidden") == 6, "without styles the last look alone is shown"


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_report_of_a_finished_training_beside_another(done, copy, monkeypatch):
    found, said = cells(monkeypatch, training=str(done), beside=str(copy))
    assert "done after 12 steps" in found["sentence"] and "dB on average" in found["sentence"]
    assert {"sphere own anchor", "result loss", "result rain"} <= found["numbers"].keys()
    assert "Both have the same data" in said and "12 of 12" in said


@pytest.mark.parametrize("kind", ["running", "broken", "old", "empty", "begun"])
def test_the_report_of_a_training_that_is_not_whole(copy, monkeypatch, kind):
    card, log = copy / "card.json", copy / "log.jsonl"
    lines = log.read_text().splitlines()
    holding = contextlib.nullcontext()
    if kind != "old":
        card.unlink()
    if kind == "running":
        log.write_text("\n".join(lines[:9]) + "\n" + lines[9][:40])
        holding = lock.hold(copy, "A training")
    if kind == "broken":
        (copy / "nonfinite.pt").touch()
    if kind == "old":
        log.write_text("".join(f"{line}\n" for line in lines if "sphere" not in line and "begun" not in line))
    if kind in ("empty", "begun"):
        log.write_text("" if kind == "empty" else lines[0] + "\n")
    with holding:
        found, said = cells(monkeypatch, training=str(copy))
    word = {"running": "runs: step", "broken": "broke at step 12", "old": "is done", "empty": "stopped at step 0",
            "begun": "stopped at step 0"}[kind]  # fmt: skip
    assert word in found["sentence"] and found["figure"].alt_text
    assert "demonstration" not in found["sentence"] + found["headline"], "only of the report's own short training"
    assert ("notes no start" in said) == (kind in ("old", "empty"))


def test_the_page_of_a_training_and_what_it_does_not_take(done, tmp_path):
    quiet = {"say": lambda line: None}
    with pytest.raises(UserError, match="has none of them. Name the --out"):
        runs.run("training", {"training": str(tmp_path)}, tmp_path / "runs", **quiet)
    before = {path.name: path.stat().st_mtime_ns for path in done.iterdir()}
    (record,) = runs.run("training", {"training": str(done)}, tmp_path / "runs", **quiet)
    assert record["state"] == "done", record["error"]
    answer, past = record["finding"], history.read(done)
    assert record["reference"]["verdict"] == "none" and "is done after 12 steps" in answer["sentence"]
    damaged = past.validation.iloc[-1].drop(["step", "clean"])
    start = sum(past.inputs[name] for name in damaged.index) / len(damaged)
    gap = round(damaged.mean(), 2) - round(start, 2)
    assert f"{gap:+.2f} dB against their inputs ({start:.2f} dB)" in answer["sentence"]
    assert answer["headline"] == f"{damaged.mean():.2f} dB from {start:.2f}"
    assert answer["numbers"]["input rain"] == past.inputs["rain"] < 60
    page = record["page"].read_text()
    assert 'type="radio"' in page and len(page) < 3e6 and "<script" not in page
    assert {path.name: path.stat().st_mtime_ns for path in done.iterdir()} == before, "it reads and writes nothing"
    (again,) = runs.run("training", {"training": str(done)}, tmp_path / "runs", **quiet)
    assert again["skipped"]
    with open(done / "log.jsonl", "a") as log:
        log.write(json.dumps({"step": 12, "validation": {}}) + "\n")
    (later,) = runs.run("training", {"training": str(done)}, tmp_path / "runs", **quiet)
    assert not later["skipped"], "another state of the training is another run"


def test_every_figure_takes_what_a_short_training_has(done):
    past = history.read(done)
    figures = [
        plots.loss_terms(past.log),
        plots.pace_chart(past.log, past.log[:0]),
        plots.progress_chart(3, past.stages),
    ]
    figures.append(
        plots.two_trainings({"a": past.validation, "b": past.validation[:0]}, {"a": past.log, "b": past.log})
    )
    for figure in figures:
        figure.savefig(io.BytesIO(), format="png", dpi=30)
        assert figure.alt_text
    with pytest.raises(UserError, match="empty"):
        plots.loss_terms(past.log[:0])
    with pytest.raises(UserError, match="routes"):
        plots.settling_chart(past.log[:0], settling([]))
