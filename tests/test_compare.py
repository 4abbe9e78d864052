"""Two runs side by side: planted differences come back, renamed experts do not matter, other pictures do not count."""

import io
import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from figures import check_texts
from PIL import Image

import slerlib
from slerlib import UserError, compare, evaluate, load, plots, psnr, save_results
from slerlib.analysis.partitions import partition_table
from slerlib.checkpoint import save_weights
from slerlib.comparison import pictures
from slerlib.comparison.compare import SAME_DB
from slerlib.data.scenes import photographs
from slerlib.evaluation.evaluate import DEFINITION
from slerlib.evaluation.results import read_run
from slerlib.evaluation.table import COLUMNS

TASKS = ("noise25", "rain", "clean")
LEVELS = {"noise25": 20.0, "rain": 24.0, "clean": math.inf}


def table(photographs=6, gain=lambda task, n: 0.0, sha="a" * 64, path="01201120", **attrs):
    """Scores as from `evaluate`: every photograph in three tasks; gain(task, n) dB are added to the nth."""
    rows = []
    for n in range(photographs):
        for task in TASKS:
            own = path(task, n) if callable(path) else path
            level, ssim = LEVELS[task] + n / 10, 1.0 if task == "clean" else 0.5 + n / 100
            rows.append(("set", task, f"{n}.png", level, 30 + n % 3 + gain(task, n), ssim, 0.9, 0.9, own, 0.1, 1.0))
    result = pd.DataFrame(rows, columns=list(COLUMNS))
    result.attrs = {
        "definition": DEFINITION | {"crop": "centre"},
        "versions": {"torch": "2.13.0"},
        "checkpoint": {"name": "net", "sha256": sha},
        "data": {"name": "set", "sha256": "d" * 64},
        "setting": "demo", "root": "set", "images": 0, "severity": 0.5, "seed": 0, "missing": [],
    } | attrs  # fmt: skip
    return result


@pytest.fixture
def saved(tmp_path):
    """saved("a.json", table) -> path."""

    def save(name, scores):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_results(scores, tmp_path / name)
        return tmp_path / name

    return save


def row(c, task):
    return c.means[c.means.task == task].iloc[0]


# --- differences ------------------------------------------------------------------------------------------------------


def test_a_planted_decibel_comes_back(saved):
    c = compare(saved("a.json", table()), saved("b.json", table(gain=lambda task, n: 1.0, sha="b" * 64)))
    assert len(c.rows) == 18 and np.allclose(c.rows.delta, 1) and list(c.means.task) == [*TASKS, "average"]
    assert np.allclose(c.means[["delta", "low", "high"]], 1) and row(c, "average").n == 12
    assert c.means[["better", "worse", "equal"]].to_numpy().tolist() == [[6, 0, 0]] * 3 + [[12, 0, 0]]
    assert c.verdict() == "B scores higher on average: +1.00 (+1.00 to +1.00) dB." and c.verdict() in repr(c)
    assert compare(c.b, c.a).verdict() == "B scores lower on average: -1.00 (-1.00 to -1.00) dB."
    assert row(c, "rain").psnr_b - row(c, "rain").psnr_a == pytest.approx(1)
    assert list(c.differences.name) == ["sha256"] and c.notes == ()


def test_intervals_are_paired_and_over_photographs():
    """Photographs differ by decibels, the gain by hundredths; two tasks of the same photographs tell as much as one."""
    gains = np.random.default_rng(0).normal(0.3, 0.05, 8)
    c = compare(table(8), table(8, gain=lambda task, n: gains[n]))
    rain, average = row(c, "rain"), row(c, "average")
    assert 0.2 < rain.low < rain.delta < rain.high < 0.4
    assert average.high - average.low == pytest.approx(rain.high - rain.low, rel=0.1)
    signs = compare(table(8), table(8, gain=lambda task, n: gains[n] if task == "rain" else -gains[n]))
    assert row(signs, "average").high - row(signs, "average").low < 1e-9  # what one task gains, the other loses
    assert signs.verdict().startswith("B scores as A does")
    noisy = compare(table(8), table(8, gain=lambda task, n: (-1) ** n + 0.01))
    assert "the 95 % interval holds 0" in noisy.verdict()
    even = compare(table(8), table(8, gain=lambda task, n: (-1) ** n))  # a mean of 0 from gains and losses of 1 dB
    assert abs(row(even, "average").delta) < 1e-9 and even.verdict().startswith("No difference is shown")


def test_there_is_no_interval_below_five_photographs():
    c = compare(table(4), table(4, gain=lambda task, n: 1.0))
    assert c.means[["low", "high"]].isna().all(axis=None) and "no verdict" in c.verdict()
    assert "There is no interval of the average: set with fewer than 5 images." in c.notes
    assert "nan" not in c.text()
    assert "no verdict" in compare(table(4), table(4, gain=lambda task, n: (-1) ** n)).verdict()
    assert compare(table(4), table(4)).verdict().startswith("B scores as A does")  # in every picture


def test_gains_and_losses_are_named_the_largest_first():
    c = compare(
        table(), table(gain=lambda task, n: {("rain", 2): 2.0, ("rain", 4): -3, ("noise25", 1): 1}.get((task, n), 0))
    )
    gains, losses = c.extremes()
    assert [*gains.image, *losses.image] == ["2.png", "1.png", "4.png"]
    assert row(c, "rain")[["better", "worse", "equal"]].tolist() == [1, 1, 4]
    text = c.text()
    assert "Largest gains: 2.png rain +2.00; 1.png noise25 +1.00" in text and "Largest losses: 4.png rain -3.00" in text


def test_identical_results_differ_by_nothing(saved):
    """A PSNR of infinity, null in JSON, against another one."""
    perfect = table().assign(psnr=math.inf)
    c = compare(saved("a.json", perfect), saved("b.json", perfect))
    assert (c.rows.delta == 0).all() and c.verdict().startswith("B scores as A does")
    one = compare(table(), perfect)
    assert "identical to its target" in one.verdict() and one.as_dict()["means"][0]["delta"] is None
    both_ways = table(), table()
    for scores, place in zip(both_ways, (0, 3), strict=True):  # one picture each, of one task
        scores.loc[place, "psnr"] = math.inf
    assert "identical to its target" in compare(*both_ways).verdict()


# --- the same pictures ------------------------------------------------------------------------------------------------


def test_only_common_pictures_count(saved):
    c = compare(saved("a.json", table(7)), saved("b.json", table(6, gain=lambda task, n: 1.0)))
    assert len(c.rows) == 18 and c.notes[0] == "Left out, since the other run did not score them: 3 of 21 rows of A."


def test_other_inputs_are_left_out():
    """At another severity noise and clean are the same pictures, rain is not."""
    other = table(severity=0.8, data={"name": "set", "sha256": "e" * 64})
    other.loc[other.task == "rain", "psnr_input"] -= 3
    c = compare(table(), other)
    assert set(c.rows.task) == {"noise25", "clean"}
    assert "Left out: 6 of 18 pictures, whose inputs differ, such as 0.png (rain): 24.00 and 21.00 dB." in c.notes[0]
    assert "severity: 0.5 and 0.8" in c.notes[0]
    renamed = table(
        data={"name": "set", "sha256": "e" * 64}
    )  # other photographs: inputs of like PSNR, not of like SSIM
    renamed.loc[renamed.task != "clean", "ssim_input"] -= 0.2
    with pytest.raises(UserError, match="all 18 of these two have other inputs"):
        compare(table(), renamed)


def test_another_draw_of_the_noise_is_another_input():
    """Two seeds of noise score within hundredths of a decibel on one photograph."""
    scores = [evaluate(lambda x_CHW: x_CHW, images=2, classes=["noise50", "clean"], seed=seed) for seed in (0, 0, 1)]
    one, two = (part.psnr_input[part.task == "noise50"].to_numpy() for part in scores[1:])
    assert (abs(one - two) < SAME_DB).all()
    assert len(compare(*scores[:2]).rows) == 4
    c = compare(scores[0], scores[2])
    assert set(c.rows.task) == {"clean"} and "seed: 0 and 1" in c.notes[0]


def test_inputs_of_one_seed_may_differ_by_rounding():
    other = table().assign(psnr_input=lambda rows: rows.psnr_input + 0.004)
    assert len(compare(table(), other).rows) == 18
    other.attrs["severity"] = 0.6
    c = compare(table(), other)
    assert set(c.rows.task) == {"clean"} and "severity: 0.5 and 0.6" in c.notes[0]


def test_clean_inputs_count_if_the_files_and_the_crop_are_the_same():
    def clean(**attrs):
        scores = table(**attrs)
        return scores[scores.task == "clean"].reset_index(drop=True)

    assert len(compare(clean(), clean()).rows) == 6
    for other in ({"data": {"sha256": "e" * 64}}, {"definition": DEFINITION | {"crop": "none"}}):
        with pytest.raises(UserError, match="other inputs"):
            compare(clean(), clean(**other))


def test_runs_without_a_common_picture_are_refused(saved):
    with pytest.raises(UserError, match=r"no picture in common.*set noise25 \(6\).*other noise25 \(6\)"):
        compare(saved("a.json", table()), saved("b.json", table().assign(dataset="other")))


def test_another_definition_is_refused_or_left_out():
    other = table(definition=DEFINITION | {"psnr": "luma alone"})
    with pytest.raises(UserError, match="define PSNR alike.*luma alone"):
        compare(table(), other)
    another = table(definition=DEFINITION | {"crop": "centre", "ssim": "another"})
    c = compare(table(), another.assign(ssim_input=another.ssim_input - 0.01))  # the same inputs by another measure
    assert len(c.rows) == 18 and c.rows.ssim_delta.isna().all() and "SSIM is left out" in c.notes[0]


# --- routes -----------------------------------------------------------------------------------------------------------


def test_renamed_experts_do_not_agree_and_are_the_same_groups():
    path = {"noise25": "01201120", "rain": "11111111", "clean": "22001122"}
    renamed = {task: digits.translate(str.maketrans("012", "120")) for task, digits in path.items()}
    c = compare(table(path=lambda task, n: path[task]), table(path=lambda task, n: renamed[task], sha="b" * 64))
    assert (c.routing.layers == 0).all() and (c.routing.same_path == 0).all() and not c.same_weights
    assert np.allclose(c.partitions[["nmi", "rand", "nmi_degradation", "rand_degradation"]], 1)
    assert "arbitrary" in c.text() and "whole path: Rand 1.00, NMI 1.00" in c.text()


def test_routes_of_the_same_weights_are_compared_by_number():
    def moved(task, n):
        return "01201121" if task == "rain" and n < 3 else "01201120"

    c = compare(table(), table(path=moved))
    rain, every = c.routing[c.routing.task == "rain"].iloc[0], c.routing.iloc[-1]
    assert c.same_weights and rain.layers == pytest.approx(1 - 0.5 / 8) and rain.same_path == 0.5
    assert every.task == "all" and every.same_path == pytest.approx(15 / 18) and every.layers_low < every.layers < 1
    assert "83.3% of 18 pictures take the same path" in c.text() and "least for rain" in c.text()
    assert "arbitrary" not in c.text()


def test_routes_by_chance_and_routes_that_follow_the_degradation():
    rng = np.random.default_rng(0)
    kinds = np.repeat(["rain", "haze", "blur"], 40)
    a, b = rng.integers(0, 3, (2, 120, 8))
    chance = partition_table(a, b, kinds).set_index("level")
    assert abs(chance.rand["layers"]) < 0.02 and abs(chance.rand["whole path"]) < 0.02
    follows = np.repeat(np.arange(3), 40)[:, None] * np.ones((1, 8), int)
    led = partition_table(follows, (follows + 1) % 3, kinds)
    assert np.allclose(led[["nmi", "rand", "nmi_degradation", "rand_degradation"]], 1)
    within = partition_table(a, a, kinds).set_index("level")
    assert within.rand["layers"] == pytest.approx(1) and within.rand_degradation["layers"] < 0.02
    with pytest.raises(UserError, match="same images and layers"):
        partition_table(a, b[:5], kinds)


def test_likeness_is_that_of_scikit_learn():
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    from slerlib.analysis.partitions import nmi_and_rand

    rng = np.random.default_rng(1)
    a = rng.integers(0, 3, (50, 4))
    b = np.where(rng.random((50, 4)) < 0.5, a, rng.integers(0, 4, (50, 4)))
    a[:, 3] = 0  # one group against several
    pairs = list(zip(a.T, b.T, strict=True))
    expected = [
        np.mean([score(x, y) for x, y in pairs]) for score in (normalized_mutual_info_score, adjusted_rand_score)
    ]
    assert nmi_and_rand(a, b) == pytest.approx(expected)
    assert nmi_and_rand(a[:, 3:], a[:, 3:]) == (1, 1)


def test_runs_without_routes_are_compared_all_the_same(saved):
    c = compare(saved("a.json", table(path=None)), saved("b.json", table(checkpoint=None, restored="peer")))
    assert c.routing.empty and c.partitions.empty and "Rand" not in c.text()
    assert c.b.name == "peer" and c.as_dict()["routing"] == []
    for pair, told in (((c.a, c.b), "one training of A:"), ((c.b, c.a), "one training of B:")):
        assert told in compare(*pair).text()
    assert "another seed" not in compare(c.b, c.b).text()


# --- what is read -----------------------------------------------------------------------------------------------------


def test_results_come_back_as_they_were_evaluated(saved):
    scores = evaluate(lambda x_CHW: 0.9 * x_CHW, images=1, classes=["noise25", "clean"])
    run = read_run(saved("results.json", scores))
    pd.testing.assert_frame_equal(run.table, scores, check_dtype=False)
    assert run.table.attrs["definition"] == scores.attrs["definition"] and run.name == "a function"
    assert np.allclose(compare(run, scores).rows.delta, 0)


def report(folder, scores=None, **record):
    """The folder of an evaluation report."""
    folder.mkdir()
    hardware = {"processor": "abacus", "gpus": []}
    known = {
        "code": "c" * 64,
        "git": {"sha": "1" * 40, "dirty": None},
        "hardware": hardware,
        "threads": 1,
        "dtype": "x",
    }
    record = {"name": "evaluation", "state": "done", "parameters": {"data": "demo"}, "provenance": known} | record
    (folder / "run.json").write_text(json.dumps(record))
    if scores is not None:
        save_results(scores, folder / "results.json")
    return folder


def test_what_differs_is_said_and_what_one_run_keeps_to_itself(tmp_path, saved):
    known = {
        "code": "d" * 64,
        "git": {"sha": "1" * 40, "dirty": None},
        "hardware": {"processor": "quantum", "gpus": []},
    }
    a = report(tmp_path / "a", table())
    b = report(
        tmp_path / "b", table(versions={"torch": "2.14.0"}, seed=1), provenance=known | {"threads": 1, "dtype": "x"}
    )
    c = compare(a, b)
    found = {f"{r.group} {r['name']}": (r.a, r.b) for _, r in c.differences.iterrows()}
    assert found == {
        "setting seed": (0, 1),
        "versions torch": ("2.13.0", "2.14.0"),
        "code sources": ("c" * 64, "d" * 64),
        "machine processor": ("abacus", "quantum"),
    }
    assert "code sources: cccccccccccc -> dddddddddddd" in c.text() and c.notes == ()
    alone = compare(a, saved("results.json", table()))
    assert alone.differences.empty and "code (B has no record); machine (B has no record)" in alone.notes[0]
    assert "Nothing that both runs record differs." in alone.text()


def test_the_recipes_are_compared_where_the_weights_are_at_hand(untrained, tmp_path, saved):
    shutil.copytree(untrained, tmp_path / "mine")
    card = json.loads((untrained / "card.json").read_text())
    sha = card["weights_sha256"]
    own = report(tmp_path / "a", table(sha=sha), parameters={"checkpoint": str(tmp_path / "mine")})
    assert read_run(own).conditions()["training", "model.width"] == card["config"]["model"]["width"]
    other = report(tmp_path / "b", table(sha="0" * 64), parameters={"checkpoint": str(tmp_path / "mine")})
    assert not any(group == "training" for group, _ in read_run(other).conditions())  # not those weights
    card["config"]["model"]["invented_later"] = 1
    (tmp_path / "mine" / "card.json").write_text(json.dumps(card))
    c = compare(own, saved("results.json", table(sha=sha)))  # scores compare without a recipe
    assert len(c.rows) == 18 and "training" not in set(c.differences.group)


def test_a_path_without_scores_is_refused_with_a_next_step(tmp_path, saved, untrained):
    good = saved("good/results.json", table())
    texts = {"empty.json": "", "half.json": good.read_text()[:500], "list.json": "[1]", "rows.json": '{"rows": []}'}
    texts |= {"row.json": '{"rows": [[1, 2]]}', "lacks.json": '{"rows": [{"task": "rain"}]}', "binary.json": "\udcff"}
    row = {"dataset": "s", "task": "t", "image": "i", "psnr_input": 1, "psnr": 2}
    texts |= {"text.json": json.dumps({"rows": [row | {"psnr": "high"}]})}
    texts |= {"path.json": json.dumps({"rows": [row | {"path": "0,1"}]})}
    texts |= {"number.json": json.dumps({"rows": [row | {"path": 12011201}]})}
    texts |= {f"{name}.json": json.dumps({"rows": [row], name: "words"}) for name in ("checkpoint", "data")}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    (tmp_path / "void").mkdir()
    report(tmp_path / "routes", name="routing")
    report(tmp_path / "broken", state="failed")
    for name, expected in [
        ("missing", "does not exist"), ("void", "has no results.json"), ("empty.json", "JSON"), ("half.json", "JSON"),
        ("list.json", "list"), ("rows.json", "rows"), ("row.json", "[1, 2]"), ("binary.json", "UTF-8"),
        ("lacks.json", "lacks dataset, image, psnr_input, psnr"), ("text.json", "'high'"), ("path.json", "'0,1'"),
        ("number.json", "12011201"), ("checkpoint.json", "'words'"), ("data.json", "'words'"),
        ("routes", "report 'routing'"), ("broken", "(failed)"),
        (untrained, "is a checkpoint, not yet scored"),
    ]:  # fmt: skip
        with pytest.raises(UserError) as error:
            compare(good, tmp_path / name)
        assert expected in str(error.value) and "\n" not in str(error.value), (name, str(error.value))
        assert str(tmp_path / name) in str(error.value)
    with pytest.raises(UserError, match="table of slerlib.evaluate; got int"):
        compare(good, 3)
    with pytest.raises(UserError, match="no picture in common.*has no rows"):
        compare(good, table().iloc[:0])
    for text in ("{", "[1]", '{"note": 1}', '{"name": "evaluation", "state": "done", "provenance": "mine"}'):
        (good.parent / "run.json").write_text(text)  # half a record, or another program's
        assert len(compare(good, good.parent).rows) == 18
        shutil.copy(good.parent / "run.json", tmp_path / "void")
        with pytest.raises(UserError, match="has no results.json"):
            compare(good, tmp_path / "void")


# --- pictures and figures --------------------------------------------------------------------------------------------


@pytest.fixture
def two_networks(untrained, tmp_path):
    """(folder of photographs, checkpoint A, checkpoint B, comparison of their scores)"""
    (tmp_path / "photos").mkdir()
    for scene in photographs()[:2]:
        pixels = scene.image[:, 100:164, 100:180].permute(1, 2, 0).mul(255).round().byte().numpy()
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{scene.name}.png")
    net = load(untrained)
    with torch.no_grad():
        net.outro.weight.mul_(0.5)
    save_weights(tmp_path / "other", net, net.card | {"name": "other"})
    folders = (untrained, tmp_path / "other")
    scores = [evaluate(load(folder), tmp_path / "photos", classes=["rain", "noise50", "clean"]) for folder in folders]
    return tmp_path / "photos", *folders, compare(*scores)


def test_pictures_are_restored_again_by_both(two_networks, tmp_path):
    data, a, b, c = two_networks
    named = {"checkpoint_a": str(a), "checkpoint_b": str(b)}
    rows, reason = pictures.restored_by_both(c, 3, **named, data=str(data))
    assert reason == "" and len(rows) == 3 and {row[0].split("\n")[1] for row in rows} == {"rain", "noise50"}
    for label, clean, damaged, y_a, y_b in rows:
        name, task = label.split("\n")
        (told,) = c.rows[(c.rows.image == f"{name}.png") & (c.rows.task == task)].itertuples()
        scores = [psnr(image, clean) for image in (damaged, y_a, y_b)]
        assert scores == pytest.approx([told.psnr_input, told.psnr_a, told.psnr_b], abs=1e-3)
    fig = plots.side_by_side(rows, side=32)
    fig.savefig(io.BytesIO())
    check_texts(fig)
    assert len(fig.axes) == 12 and all(ax.images[0].get_array().shape == (32, 32, 3) for ax in fig.axes)
    assert f"A {scores[1]:.2f}, B {scores[2]:.2f} dB" in fig.alt_text
    for options, why in (({"data": str(data)}, "weights of A (untrained"), (named, "3 of 3 pictures were not found")):
        rows, reason = pictures.restored_by_both(c, 3, **options)
        assert rows == [] and why in reason
    assert pictures.restored_by_both(c, 0, **named, data=str(data)) == ([], "")
    with pytest.raises(UserError, match="at least one"):
        plots.side_by_side([])
    assert "same weights" in pictures.restored_by_both(compare(c.a, c.a))[1]


def test_another_photograph_under_the_same_noise_is_not_taken(tmp_path):
    """Its input has the same PSNR, as noise does not ask what it is added to; not the same SSIM."""
    rng = np.random.default_rng(0)
    smooth, rough = np.full((2, 48, 48, 3), 128, np.uint8)
    rough += rng.integers(0, 30, rough.shape, dtype=np.uint8)
    for parent, pixels in (("here", smooth), ("there", rough)):
        (tmp_path / parent / "photos").mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / parent / "photos" / "a.png")
    here, there = (tmp_path / parent / "photos" for parent in ("here", "there"))
    scores, other = (evaluate(lambda x_CHW: x_CHW, folder, classes=["noise15"]) for folder in (here, there))
    assert abs(scores.psnr_input[0] - other.psnr_input[0]) < SAME_DB
    c = compare(scores, scores)
    (told,) = c.rows.itertuples()
    assert pictures._input(c, told, str(here)) and pictures._input(c, told, str(there)) is None


def test_the_part_shown_is_where_the_errors_differ_most():
    clean = torch.zeros(3, 64, 80)
    a, b = clean + 0.1, clean + 0.1
    b[:, 40:56, 20:36] = 0.5
    fig = plots.side_by_side([("one\nrain", clean, clean + 0.2, a, b)], side=16)
    assert np.allclose(fig.axes[3].images[0].get_array(), 0.5)


def test_the_chart_of_differences_says_what_it_draws():
    gain = {"rain": 1.0, "noise25": -1.0, "clean": 0.0}
    c = compare(table(), table(gain=lambda task, n: gain[task] + n / 10))
    fig = plots.delta_chart(c.rows, c.means)
    fig.savefig(io.BytesIO())
    check_texts(fig)
    assert "rain +1.25 (" in fig.alt_text and "noise25 −0.75 (" in fig.alt_text and "n = 6" in fig.alt_text
    perfect = compare(table(4), table(4).assign(psnr=math.inf))
    assert "inf" in plots.delta_chart(perfect.rows, perfect.means).alt_text


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_is_short_to_read_and_whole_as_json(run, saved):
    a = saved("a.json", table())
    b = saved("b.json", table(gain=lambda task, n: 1.0, sha="b" * 64))
    code, out, err = run("compare", a, b)
    assert code == 0 and err == "" and "B scores higher on average: +1.00" in out
    assert len(out.splitlines()) < 40 and max(map(len, out.splitlines())) <= 160
    code, out, _ = run("compare", a, b, "--json")
    content = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert code == 0 and content["pictures"] == len(content["rows"]) == 18
    assert content["means"][-1]["task"] == "average" and content["means"][-1]["delta"] == pytest.approx(1)
    assert content["a"]["where"] == str(a) and content["differences"][0]["name"] == "sha256"
    code, out, err = run("compare", a, b, "--json", "--page")  # nothing but JSON, and a page
    assert code == 2 and out == "" and "not allowed with" in err
    code, out, err = run("compare", a, a.parent / "none")
    assert code == 1 and out == "" and err.startswith("slerlib: ") and err.count("\n") == 1


def test_the_command_hands_its_runs_to_the_page(run, saved, monkeypatch, tmp_path):
    seen = []
    done = {"state": "done", "page": tmp_path / "index.html"}
    monkeypatch.setattr("slerlib.report.run", lambda *args, **options: seen.append(args) or [done])
    a, b = saved("a.json", table()), saved("b.json", table())
    code, out, _ = run("compare", a, b, "--page", "--checkpoints", "one", "two", "--data", "there", "--out", tmp_path)
    assert code == 0 and out.splitlines()[-1] == str(tmp_path / "index.html")
    values = {"run_a": str(a), "run_b": str(b), "against": "one", "checkpoint": "two", "data": "there"}
    assert seen == [("compare", values, tmp_path, False)]


def test_compare_is_public():
    assert "compare" in slerlib.__all__ and slerlib.compare is compare
