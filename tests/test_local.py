"""Several damages at once, and damage in a part of the picture: inputs, scores of the parts, names of the places."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from PIL import Image

from slerlib import SLERIR, compare, config, degrade, psnr, restore, summary
from slerlib.comparison.pictures import restored_by_both
from slerlib.data.masks import mask
from slerlib.data.scenes import photographs
from slerlib.errors import UserError
from slerlib.evaluation import evaluate as evaluate_module
from slerlib.evaluation.cases import case_seed, cases
from slerlib.evaluation.evaluate import evaluate
from slerlib.evaluation.local import LOCAL_COLUMNS, local_tasks, part_scorer
from slerlib.evaluation.options import Options
from slerlib.evaluation.results import read_run, save_results
from slerlib.evaluation.settings import MIXTURES
from slerlib.evaluation.table import COLUMNS, narrow
from slerlib.images import read_image
from slerlib.model.wrappers import unwrapped
from slerlib.report.plan import available, declared


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = SLERIR(config.recipe("tiny").model).eval()
    with torch.no_grad():
        net.outro.weight.mul_(0.1)
    return net


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two small clean photographs, 64 x 48 pixels."""
    root = tmp_path_factory.mktemp("data") / "photos"
    root.mkdir()
    for name, index in (("a.png", 2), ("b.png", 7)):
        pixels = photographs()[index].image[:, 100:148, 120:184].permute(1, 2, 0).mul(255).round().byte().numpy()
        Image.fromarray(pixels).save(root / name)
    return root


def same(x_CHW):
    return x_CHW


def values(table):
    return table.set_index(["dataset", "task", "image"]).drop(columns=["seconds"])


# --- several damages at once ---


def test_mixtures_are_the_demo_at_a_lower_severity(folder):
    table = evaluate(same, folder, "mixed")
    assert list(table.columns) == list(COLUMNS) and list(table.task) == [*MIXTURES] * 2
    assert table.attrs["severity"] == 0.35 and table.attrs["missing"] == []
    by_hand = evaluate(same, folder, "demo", severity=0.35, classes=MIXTURES)
    pd.testing.assert_frame_equal(values(table), values(by_hand))
    heavy = evaluate(same, folder, "mixed", severity=0.8)
    assert (heavy.psnr_input < table.psnr_input).all()


def test_other_mixtures_may_be_named(folder):
    table = evaluate(same, folder, "mixed", classes="haze+snow, lowlight+haze+rain", images=1)
    assert list(table.task) == ["haze+snow", "lowlight+haze+rain"] and table.attrs["missing"] == list(MIXTURES)
    assert "average" in set(summary(table).task)


# --- damage in a part ---


def test_a_row_holds_the_scores_of_the_parts(folder):
    """By hand: mask, damage and both parts, of a function that darkens a little."""
    table = evaluate(lambda x: 0.9 * x, folder, "local", images=1, classes="rain@disc")
    clean, row = read_image(folder / "a.png")[0], table.iloc[0]
    where = mask("disc", 48, 64, case_seed(0, "a.png", "rain@disc"))
    rain = degrade(clean, "rain", severity=0.5, seed=case_seed(0, "a.png", "rain"))
    x = degrade(clean, "rain", severity=0.5, seed=case_seed(0, "a.png", "rain"), where=where)
    damaged, untouched = where > 0.95, where == 0
    assert damaged.any() and untouched.any() and not (damaged | untouched).all()
    assert torch.equal(x[:, untouched], clean[:, untouched]) and row.psnr_input == psnr(x, clean)

    def part(y, inside):
        return -10 * math.log10((y - clean)[:, inside].double().square().mean())

    assert row.psnr_damaged_input == pytest.approx(part(x, damaged), abs=1e-4)
    assert row.psnr_damaged == pytest.approx(part(0.9 * x, damaged), abs=1e-4)
    assert row.psnr_all_over == pytest.approx(part(0.9 * rain, damaged), abs=1e-4)
    assert row.psnr_untouched == pytest.approx(part(0.9 * x, untouched), abs=1e-4)
    assert math.isnan(row.places_damaged) and math.isnan(row.places_clean)  # a function has no trace


def test_the_picture_damaged_all_over_is_that_of_the_demo(folder):
    part, whole = (cases(folder, setting, classes=["haze"])[0] for setting in ("local", "demo"))
    assert [case.task for case in part[:3]] == ["haze@half", "haze@disc", "haze@gradient"]
    for case in part[:3]:
        assert torch.equal(case.all_over.load()[0], whole[0].load()[0]) and case.image == whole[0].image
    assert not torch.equal(part[0].where(48, 64), part[3].where(48, 64))  # of another photograph


def test_no_selection_changes_a_score(net, folder):
    table = values(evaluate(net, folder, "local", classes=["rain", "noise25"]))
    assert len(table) == 2 * 2 * 3 and list(table.columns[-6:]) == list(LOCAL_COLUMNS)
    alone = values(evaluate(net, folder, "local", classes=["noise25@gradient", "rain@half"], images=1))
    pd.testing.assert_frame_equal(alone, table.loc[alone.index])
    other = values(evaluate(net, folder, "local", classes=["rain@half"], images=1, seed=1))
    assert (other.psnr_input != table.loc[other.index].psnr_input).all()


def test_the_part_of_a_gradient_that_is_untouched_is_too_small_for_a_score(net, folder):
    table = evaluate(net, folder, "local", classes=["noise25"]).set_index("task")
    assert table.psnr_untouched.isna().tolist() == [False, False, True] * 2
    assert table.places_damaged.dropna().between(0, 1).all() and table.places_clean.dropna().between(0, 1).all()
    assert table.loc["noise25@half"].places_clean.notna().all()


def test_names_of_places_count_where_the_mask_is_clear():
    """Tokens of 8 pixels; the picture ends in the middle of the last ones, and one more column is padding."""
    where = torch.zeros(20, 28)
    where[:, :8], where[:, 8:16] = 1, 0.5  # damaged; the soft border; untouched
    named = torch.tensor([[0, 1, 2, 2, 0], [1, 0, 2, 2, 0], [0, 0, 0, 2, 0]])
    trace = SimpleNamespace(local_angle=1, anchor_names=("rain", "haze", "clean"), where=lambda: named[None])
    case = SimpleNamespace(task="rain@half", all_over=None, where=lambda height, width: where)
    x = torch.rand(3, 20, 28)

    def places(task, trace=trace):
        return part_scorer(None, 8)(SimpleNamespace(**vars(case) | {"task": task}), x, x, x, trace)[4:]

    assert places("rain@half") == pytest.approx((2 / 3, 5 / 6))
    assert places("haze+rain@half") == pytest.approx((1, 5 / 6))
    assert math.isnan(places("snow@half")[0]) and places("snow@half")[1] == pytest.approx(5 / 6)
    assert all(map(math.isnan, places("rain@half", SimpleNamespace(local_angle=None))))


def test_one_restoration_all_over_serves_all_shapes(folder):
    seen = []
    evaluate(lambda x: seen.append(x) or x, folder, "local", classes=["rain", "blur"], images=1)
    assert len(seen) == 2 * (3 + 1)


def test_two_processes_give_the_rows_of_one(net, folder, monkeypatch):
    """Both score every other case; what process 1 made reaches process 0 as JSON."""
    options = {"setting": "local", "classes": ["rain", "blur@half"], "images": 1}
    whole, sent = evaluate(net, folder, **options), []
    monkeypatch.setattr("slerlib.evaluation.evaluate.place", lambda: (1, 2))
    monkeypatch.setattr("slerlib.evaluation.evaluate.gathered", lambda rows: sent.extend(json.loads(json.dumps(rows))))
    assert evaluate(net, folder, sharded=True, **options) is None
    monkeypatch.setattr("slerlib.evaluation.evaluate.place", lambda: (0, 2))
    monkeypatch.setattr(
        "slerlib.evaluation.evaluate.gathered",
        lambda rows: [row for pair in zip(rows, map(tuple, sent), strict=True) for row in pair],
    )
    pd.testing.assert_frame_equal(values(evaluate(net, folder, sharded=True, **options)), values(whole))


def test_results_of_other_programs_have_no_picture_damaged_all_over(folder):
    table = evaluate(None, folder, "local", classes="rain@half", images=1, restored=folder)
    assert table.psnr_damaged[0] == table.psnr_untouched[0] == math.inf
    assert table[["psnr_all_over", "places_damaged", "places_clean"]].isna().all(axis=None)


def test_tables_and_files_hold_the_parts(net, folder, tmp_path):
    table = evaluate(net, folder, "local", classes=["rain", "haze"])
    means = summary(table).set_index("task")
    assert list(means.index) == [*local_tasks(["rain", "haze"]), "average"]
    assert means.psnr_damaged["rain@disc"] == pytest.approx(table[table.task == "rain@disc"].psnr_damaged.mean())
    assert means.psnr_untouched["average"] == pytest.approx(means.psnr_untouched[:-1].mean())
    assert "psnr_damaged" not in summary(evaluate(same, folder, classes="rain"))
    save_results(table, tmp_path / "results.json")
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert rows[2]["task"] == "rain@gradient" and rows[2]["psnr_untouched"] is None
    assert rows[1]["psnr_damaged"] == table.psnr_damaged[1] and set(rows[1]) == {*COLUMNS, *LOCAL_COLUMNS}
    pd.testing.assert_frame_equal(read_run(tmp_path / "results.json").table, table, check_dtype=False)
    assert table.attrs["definition"]["psnr_damaged"] == LOCAL_COLUMNS["psnr_damaged"]


def test_two_results_compare(net, folder, tmp_path):
    a, b = (evaluate(function, folder, "local", classes="rain") for function in (net, lambda x: 0.9 * x))
    save_results(a, tmp_path / "a.json")
    c = compare(tmp_path / "a.json", b)
    assert len(c.rows) == 6 and c.rows.delta.tolist() == pytest.approx((b.psnr - a.psnr).tolist())
    assert "rain@disc" in c.text()


def test_pictures_of_a_part_are_made_again(folder, untrained, tmp_path):
    from slerlib import load, save

    model = load(untrained, "cpu")
    tables = [evaluate(model, folder, "local", classes="noise25@disc", images=1)]
    with torch.no_grad():
        model.outro.weight.mul_(0.5)
    save(model, tmp_path / "other")
    tables.append(evaluate(load(tmp_path / "other", "cpu"), folder, "local", classes="noise25", images=1, passes=2))
    c = compare(*tables)
    folders = {"checkpoint_a": str(untrained), "checkpoint_b": str(tmp_path / "other"), "data": str(folder)}
    ((label, clean, x, _, by_b),), reason = restored_by_both(c, **folders)
    assert label == "a\nnoise25@disc" and not reason
    assert psnr(x, clean) == c.rows.psnr_input[0] and psnr(by_b, clean) == pytest.approx(c.rows.psnr_b[0])


def test_the_rows_of_the_documents_come_from_the_results(net, folder, tmp_path, script, monkeypatch, capsys):
    tables = [evaluate(net, folder, setting, classes=["rain", "haze"]) for setting in ("mixed", "local")]
    for table in tables:
        file = str(tmp_path / f"{table.attrs['setting']}.json")
        save_results(table, file)
        monkeypatch.setattr("sys.argv", ["mixed_local.py", file, file])
        script("mixed_local").main()
    lines, (mixed, local) = capsys.readouterr().out.splitlines(), (summary(table).iloc[-1] for table in tables)
    after = f"{mixed.psnr:.2f}"
    assert lines[0] == f"| several damages at once | 4 | {mixed.psnr_input:.2f} | {after} | {after} |"
    after = f"{local.psnr_damaged:.2f} ({local.psnr_all_over:.2f}; {local.psnr_untouched:.2f})"
    assert f"| damage in a part | 12 | {local.psnr_damaged_input:.2f} | {after} | {after} |" in lines
    assert len([line for line in lines if line.startswith("| rain |")]) == 3


# --- how it is restored ---


def test_passes_are_those_of_restore(net, folder):
    options = {"classes": ["haze+rain"], "images": 1}
    once, twice = (evaluate(net, folder, "mixed", passes=passes, **options) for passes in (None, "2"))
    x, clean = cases(folder, "mixed", **options)[0][0].load()
    assert once.psnr[0] == psnr(restore(net, x), clean) and twice.psnr[0] == psnr(restore(net, x, passes=2), clean)
    assert once.attrs["passes"] is None and twice.attrs["passes"] == 2
    c = compare(once, twice)
    assert c.differences[["group", "name", "b"]].to_numpy().tolist() == [["setting", "passes", 2]] and len(c.rows) == 1
    assert evaluate(net, folder, "mixed", passes="auto", **options).attrs["passes"] == "auto"


def test_routes_per_place_are_those_of_restore(net, folder):
    options = {"classes": ["haze@half"], "images": 1}
    table = evaluate(net, folder, "local", route="place", **options)
    x, clean = cases(folder, "local", **options)[0][0].load()
    assert table.psnr[0] == psnr(restore(net, x, route="place"), clean) and table.attrs["route"] == "place"


def test_a_path_of_a_damage_serves_its_parts(net, folder):
    path = {"rain": "11111111", "rain@half": "22222222"}
    table = evaluate(net, folder, "local", classes=["rain", "haze@disc"], images=1, path=path)
    assert list(table.path[:3]) == ["22222222", "11111111", "11111111"]


def test_an_oracle_is_informed_of_the_damage(net, folder):
    oracle = SLERIR(replace(net.cfg, router="oracle", route_by="image")).eval()
    table = evaluate(oracle, folder, "local", classes=["rain"], images=1)
    labels = oracle.router.class_sets(["rain"])
    assert set(table.path) == {"".join(map(str, unwrapped(oracle).router.label_paths(labels)[0].tolist()))}


def test_options_as_text(net, folder):
    plain = evaluate(net, folder, "local", classes=["rain@half", "blur@disc"], images=1, passes=1)
    text = evaluate(
        net, str(folder), setting="local", classes="['rain@half', 'blur@disc']", images="1", passes="1", severity="None"
    )
    pd.testing.assert_frame_equal(values(text), values(plain))
    assert text.attrs == plain.attrs and text.attrs["severity"] == 0.5


def test_the_centre_of_a_large_photograph():
    (case,) = cases("demo", "demo", images=1, classes="clean", crop="center256")[0]
    (whole,) = cases("demo", "demo", images=1, classes="clean")[0]
    assert case.load()[0].shape == (3, 256, 256) and torch.equal(case.load()[0], whole.load()[0][:, 64:320, 64:320])


@pytest.mark.parametrize(
    "options, pattern",
    [
        ({"setting": "local", "classes": "rain@star"}, "half, disc, gradient.*'rain@star'"),
        ({"setting": "local", "classes": "clean"}, "'clean'"),
        ({"setting": "local", "classes": "fog@disc"}, "fog"),
        ({"setting": "local", "classes": ["rain", "rain@disc"]}, "each once"),
        ({"setting": "mixed", "classes": "rain@disc"}, "'rain@disc'"),
        ({"setting": "local", "noise": "promptir"}, "setting='local'"),
        ({"setting": "mixed", "passes": 2}, "passes is a choice for a SLERIR network.*function"),
        ({"passes": 4}, "passes must be 1 to 3, or 'auto'; got 4"),
        ({"passes": "often"}, "got 'often'"),
        ({"route": "tile"}, "route must be 'image' or 'place'; got 'tile'"),
    ],
)
def test_bad_options_are_refused(options, pattern):
    with pytest.raises(UserError, match=pattern):
        evaluate(same, images=1, **options)


def test_a_forced_path_leaves_passes_no_choice(net, folder):
    with pytest.raises(UserError, match="passes='auto'.*Leave one out"):
        evaluate(net, folder, path="01201201", passes="auto")
    with pytest.raises(UserError, match="route='place'.*Leave out path or route"):
        evaluate(net, folder, path={"rain": "01201201"}, route="place")


def test_the_command_line_scores_parts(run, folder, untrained):
    args = (
        "--data",
        folder,
        "--setting",
        "local",
        "--classes",
        "rain@disc,haze@half",
        "--passes",
        "1",
        "--images",
        1,
        "--route",
        "place",
    )
    code, out, err = run("eval", untrained, *args)
    assert code == 0, err
    assert "rain@disc" in out and "haze@half" in out and "places_clean" in out and "rain@half missing" not in out


def test_a_part_that_comes_back_as_it_was_stays_infinite(folder, tmp_path):
    """Null is "no such part" there; infinity has a word of its own."""
    table = evaluate(same, folder, "local", classes="rain@half,rain@gradient")
    assert table.psnr_untouched.eq(math.inf).any() and table.psnr_untouched.isna().any()
    save_results(table, tmp_path / "r.json")
    text = (tmp_path / "r.json").read_text()
    assert '"psnr_untouched": "inf"' in text and '"psnr_untouched": null' in text
    pd.testing.assert_series_equal(read_run(tmp_path / "r.json").table.psnr_untouched, table.psnr_untouched)
    (tmp_path / "r.json").write_text(text.replace('"inf"', '"much"', 1))
    with pytest.raises(UserError, match="psnr_untouched is .*much"):
        read_run(tmp_path / "r.json")


def test_the_printed_means_fit_on_a_screen(net, folder):
    means = summary(evaluate(net, folder, "local", classes="rain@half", images=1))
    assert narrow(means).columns.tolist() == [
        "task", "n", "damaged_input", "damaged", "all_over", "untouched", "places_damaged", "places_clean",
    ]  # fmt: skip
    assert max(map(len, narrow(means).to_string(index=False).splitlines())) < 110
    plain = summary(evaluate(net, folder, "demo", classes="rain", images=1))
    assert narrow(plain) is plain


def test_a_log_hears_of_a_long_evaluation(net, folder, monkeypatch, capsys):
    clock = iter(range(0, 10_000, 6))
    monkeypatch.setattr(evaluate_module.time, "monotonic", lambda: next(clock))
    cases_ = list(evaluate_module._with_lines(list(range(5))))
    assert cases_ == list(range(5)) and capsys.readouterr().err.count("of 5 images, about") == 2


@pytest.mark.parametrize(("setting", "severity"), [("demo", 0.5), ("mixed", 0.35), ("local", 0.5)])
def test_a_report_takes_the_severity_of_the_setting(folder, setting, severity):
    """An empty value, the default of the reports, is that of `slerlib eval`."""
    own = declared(available()["evaluation"])["severity"]
    assert own == {"type": "str", "default": ""} == declared(available()["compare"])["severity"]
    assert Options(setting, severity=own["default"]).severity == Options(setting).severity == severity
