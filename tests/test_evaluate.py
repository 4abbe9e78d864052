"""Evaluation: the same scores whatever the order or selection; inputs as the protocol has them; clear refusals."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from slerlib import compare, config, load
from slerlib.config import CLASSES
from slerlib.data.degrade import degrade
from slerlib.data.scenes import photographs
from slerlib.errors import UserError
from slerlib.evaluation.evaluate import evaluate
from slerlib.evaluation.metrics import psnr, ssim, ssim_gaussian
from slerlib.evaluation.results import save_results
from slerlib.evaluation.table import COLUMNS, SCORES, modal_paths, summary
from slerlib.model.network import SLERIR


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = SLERIR(config.recipe("tiny").model).eval()
    with torch.no_grad():
        net.outro.weight.mul_(0.1)
    return net


@pytest.fixture
def folder(tmp_path):
    """Two small clean photographs, one of them in a sub-folder, and a file that is no image."""
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    for name, index in (("b.png", 2), ("more/a.png", 7)):
        pixels = photographs()[index].image[:, 100:151, 120:165].permute(1, 2, 0).mul(255).round().byte().numpy()
        Image.fromarray(pixels).save(root / name)
    (root / "notes.txt").write_text("not an image")
    return root


def same(x_CHW):
    return x_CHW


def scores(table):
    return table.set_index(["dataset", "task", "image"])[list(SCORES)]


def test_wrapped_networks_are_scored_as_networks(net, folder):
    options = {"classes": "noise25", "images": 1}
    plain = evaluate(net, folder, **options)
    for wrap in (torch.nn.DataParallel, torch.optim.swa_utils.AveragedModel):
        table = evaluate(wrap(net), folder, **options)
        pd.testing.assert_frame_equal(table.drop(columns="seconds"), plain.drop(columns="seconds"))
        assert len(table.path[0]) == 8


# --- the demo ---


def test_bundled_photographs_in_eight_classes(net):
    table = evaluate(net, images=1)
    assert list(table.columns) == list(COLUMNS) and tuple(table.task) == CLASSES
    assert set(table.image) == {"astronaut"} and set(table.dataset) == {"demo"}
    assert table.path.str.fullmatch("[0-2]{8}").all() and (table.margin > 0).all() and (table.seconds > 0).all()
    clean = table[table.task == "clean"].iloc[0]
    assert clean.psnr_input == math.inf and clean.ssim_input == pytest.approx(1)
    noise = table[table.task == "noise25"].iloc[0]
    assert noise.psnr_input == pytest.approx(20.3, abs=1)
    assert table.attrs["missing"] == [] and table.attrs["severity"] == 0.5 and table.attrs["seed"] == 0
    assert {"torch", "scikit-image", "pillow", "numpy", "slerlib"} <= set(table.attrs["versions"])


def test_a_row_holds_the_scores_of_its_image():
    """The row equals crop, degrade, score done by hand; 500 px are cut to 384 first, 300 to 288."""
    from slerlib.evaluation.cases import case_seed

    table = evaluate(lambda x_CHW: x_CHW * 0.9, images=3, classes="rain")
    row = table[table.image == "cat"].iloc[0]
    image_CHW = photographs()[2].image
    top, left = (image_CHW.shape[1] - 288) // 2, (image_CHW.shape[2] - 384) // 2
    clean = image_CHW[:, top : top + 288, left : left + 384].contiguous()
    rainy = degrade(clean, "rain", severity=0.5, seed=case_seed(0, "cat", "rain"))
    assert row.psnr_input == psnr(rainy, clean) and row.ssim_input == ssim(rainy, clean)
    assert row.psnr == psnr(rainy * 0.9, clean) and row.ssim_gaussian == ssim_gaussian(rainy * 0.9, clean)
    assert row.path is None and math.isnan(row.margin) and row.seconds >= 0


def test_haze_uses_measured_depth():
    index = [scene.name for scene in photographs()].index("stereo_motorcycle")
    seen = []
    evaluate(lambda x_CHW: seen.append(x_CHW) or x_CHW, images=index + 1, classes=["haze"])
    scene = photographs()[index]
    from slerlib.evaluation.cases import case_seed, centre

    clean, depth = centre(scene.image, 384), centre(scene.depth, 384)
    expected = degrade(clean, "haze", severity=0.5, seed=case_seed(0, scene.name, "haze"), depth=depth)
    assert torch.equal(seen[index], expected)


def test_a_function_may_leave_the_range_of_pixels(folder):
    table = evaluate(lambda x_CHW: 40 * x_CHW - 20, folder, images=1, classes="clean")
    assert (
        table.psnr[0]
        == evaluate(lambda x_CHW: (40 * x_CHW - 20).clamp(0, 1), folder, images=1, classes="clean").psnr[0]
    )
    with pytest.raises(UserError, match="infinity"):
        evaluate(lambda x_CHW: x_CHW / 0, folder, images=1, classes="clean")


# --- folders ---


def test_a_folder_of_clean_images(net, folder, monkeypatch):
    table = evaluate(net, folder, classes=["noise50", "rain+blur"], severity=0.3)
    assert list(table.image) == ["b.png", "b.png", "more/a.png", "more/a.png"] and set(table.dataset) == {"photos"}
    assert list(table.task) == ["noise50", "rain+blur"] * 2
    assert "clean" in table.attrs["missing"] and "noise50" not in table.attrs["missing"]
    assert len(evaluate(same, folder, images=1, classes="clean")) == 1
    monkeypatch.chdir(folder)
    here = evaluate(same, ".", classes="clean")
    assert (
        here.attrs["data"] == evaluate(same, folder, classes="clean").attrs["data"] and here.attrs["root"] == "photos"
    )


def test_a_link_to_a_folder_holds_the_same_data(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "photos").symlink_to(folder, target_is_directory=True)
    tables = [evaluate(same, root, classes="clean") for root in (folder, tmp_path / "elsewhere" / "photos")]
    assert tables[0].attrs["data"] == tables[1].attrs["data"] and tables[0].image.equals(tables[1].image)


def test_crop(folder):
    sizes = []
    evaluate(lambda x: sizes.append(tuple(x.shape)) or x, folder, classes="clean")
    evaluate(lambda x: sizes.append(tuple(x.shape)) or x, folder, classes="clean", crop="none")
    assert sizes == [(3, 48, 32)] * 2 + [(3, 51, 45)] * 2


def test_scores_repeat_and_do_not_depend_on_order_or_selection(net, folder):
    table = scores(evaluate(net, folder))
    torch.manual_seed(99)
    np.random.seed(99)
    again = scores(evaluate(net, folder, classes=CLASSES[::-1]))
    assert table.equals(again.loc[table.index])
    alone = scores(evaluate(net, folder, images=1, classes="blur"))
    assert alone.equals(table.loc[alone.index])
    other = scores(evaluate(net, folder, classes="noise25", seed=1))
    assert (other.psnr_input != table.loc[other.index].psnr_input).all()
    worse = scores(evaluate(net, folder, classes="haze", severity=0.9))
    assert (worse.psnr_input < table.loc[worse.index].psnr_input).all()


def test_forced_paths(net, folder):
    table = evaluate(net, folder, path="01201201", classes=["rain", "clean"])
    assert set(table.path) == {"01201201"}
    table = evaluate(net, folder, path={"rain": "11111111"}, classes=["rain", "clean"])
    assert set(table[table.task == "rain"].path) == {"11111111"}
    free = evaluate(net, folder, classes=["rain", "clean"])
    assert list(table[table.task == "clean"].path) == list(free[free.task == "clean"].path)
    forced = evaluate(net, folder, path=modal_paths(free), classes=["rain", "clean"])
    assert all(forced[forced.task == task].path.nunique() == 1 for task in ("rain", "clean"))
    assert forced.attrs["path"] == modal_paths(free) and free.attrs["path"] is None
    c = compare(free, forced)
    assert c.differences[["group", "name"]].to_numpy().tolist() == [["setting", "path"]] and len(c.rows) == len(free)
    by_list = evaluate(net, folder, path=[0, 1, 2, 0, 1, 2, 0, 1], classes=["clean"], images=1)
    assert by_list.attrs["path"] == "01201201"


def test_wrong_paths_are_refused_before_anything_is_restored(net, folder, monkeypatch):
    monkeypatch.setattr("slerlib.evaluation.evaluate.restore", lambda *args, **options: pytest.fail("restored"))
    for path, pattern in [
        ({"rian": "01201201"}, "'rian'.*"),
        ({"rain": "0120"}, "0120"),
        ({"rain": "01201201", "snow": "01201209"}, "01201209"),
        ("012", "012"),
        ([0] * 7, "8 whole numbers"),
    ]:
        with pytest.raises(UserError, match=pattern):
            evaluate(net, folder, path=path, classes=["clean", "rain"])
    with pytest.raises(UserError, match="restored.*Leave it out"):
        evaluate(None, folder, path="01201201", classes="rain", restored=folder)


def test_a_dictionary_of_paths_may_name_tasks_that_are_not_scored(net, folder):
    table = evaluate(net, folder, path={"haze": "00000000", "rain": "11111111"}, classes=["rain"], images=1)
    assert list(table.path) == ["11111111"]


def test_options_as_text_and_as_papermill_makes_them(net, folder, tmp_path):
    """papermill's -p gives lists as text, 5 for "5", 1201201 for "01201201" and None for "None"."""
    plain = evaluate(net, folder, images=1, seed=2, severity=0.25, classes=["rain", "clean"], path="01201201")
    for classes in ('["rain", "clean"]', "('rain', 'clean')", "rain,clean", "rain, clean", ("rain", "clean")):
        options = {"images": "1", "seed": "2", "severity": "0.25", "classes": classes}
        table = evaluate(net, str(folder), path=1201201, restored="None", **options)
        assert scores(table).equals(scores(plain)) and table.attrs == plain.attrs
    free = evaluate(same, folder, images=1.0, classes="None", path="None", crop=None)
    assert len(free) == len(CLASSES) and free.attrs["crop"] == "none"
    forced = evaluate(net, folder, path="{'rain': '11111111'}", classes="rain", images=1)
    assert list(forced.path) == ["11111111"]
    assert list(evaluate(net, folder, path="[1, 1, 1, 1, 1, 1, 1, 1]", classes="rain", images=1).path) == ["11111111"]
    (tmp_path / "2024").symlink_to(folder)
    write_pair(tmp_path / "2024", ("input", "target"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert len(evaluate(same, 2024, "pairs", images=1)) > 0
        with pytest.raises(UserError, match="setting='5'"):  # a number, and yet the setting of this name
            evaluate(same, 2024, 5)


# --- pairs ---


def write_pair(root, names, name="1.png", partner=None, size=(40, 40)):
    for side, file, height in zip(names, (name, partner or name), size, strict=True):
        (root / side).mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(height).integers(0, 256, (height, 33, 3), dtype=np.uint8)
        Image.fromarray(values // (2 if side == names[0] else 1)).save(root / side / file)


def test_pairs_of_every_layout(tmp_path):
    root = tmp_path / "sets"
    write_pair(root / "night", ("low", "high"))
    write_pair(root / "wet", ("rainy", "gt"), "rain-1.png", "norain-1.png")
    write_pair(root / "fog", ("hazy", "clear"), "0025_0.8_0.04.jpg", "0025.png")
    write_pair(root / "shaky", ("blur", "sharp"), "7.bmp", "7.tiff")
    table = evaluate(same, root, "pairs")
    assert list(table.dataset) == ["fog", "night", "shaky", "wet"]
    assert list(table.task) == ["haze", "lowlight", "blur", "rain"]
    assert list(table.image) == ["0025_0.8_0.04.jpg", "1.png", "7.bmp", "rain-1.png"]
    assert np.allclose(table.psnr, table.psnr_input) and table.attrs["missing"] == []
    one = evaluate(same, root / "night", "pairs")
    assert list(one.dataset) == ["night"] and one.psnr.iloc[0] == table.psnr.iloc[1]
    assert list(summary(table).task) == [*table.task, "average"]


def test_faults_of_pairs_are_named(tmp_path):
    write_pair(tmp_path / "size", ("input", "target"), size=(40, 48))
    with pytest.raises(UserError, match="same size.*33 x 40.*33 x 48"):
        evaluate(same, tmp_path / "size", "pairs")
    write_pair(tmp_path / "lone", ("input", "target"), "a.png", "b.png")
    with pytest.raises(UserError, match="a.png has no clean partner"):
        evaluate(same, tmp_path / "lone", "pairs")
    (tmp_path / "void" / "input").mkdir(parents=True)
    with pytest.raises(UserError, match="holds none"):
        evaluate(same, tmp_path / "void", "pairs")


# --- results of other programs ---


def test_images_restored_elsewhere(tmp_path, folder):
    """A full-size result is cropped like its target; a perfect one scores infinity."""
    results = tmp_path / "results"
    (results / "more").mkdir(parents=True)
    for name in ("b.png", "more/a.png"):
        Image.open(folder / name).save(results / name)
    table = evaluate(None, folder, classes="rain", restored=results)
    assert (table.psnr == math.inf).all() and table.path.isna().all() and table.attrs["checkpoint"] is None
    Image.new("RGB", (20, 20)).save(results / "b.png")
    with pytest.raises(UserError, match="without resizing"):
        evaluate(None, folder, classes="rain", restored=results)
    (results / "b.png").unlink()
    with pytest.raises(UserError, match="b.png"):
        evaluate(None, folder, classes="rain", restored=results)
    with pytest.raises(UserError, match="restored must be a folder"):
        evaluate(None, folder, restored=results / "none")


# --- tables ---


def test_summary(folder):
    table = evaluate(lambda x: 0.9 * x, folder)
    means = summary(table)
    assert list(means.task) == [*CLASSES, "average"] and (means.n[:-1] == 2).all()
    rain, average = means[means.task == "rain"].iloc[0], means.iloc[-1]
    part = table[table.task == "rain"]
    assert rain.psnr == pytest.approx(part.psnr.mean()) and rain.ssim == pytest.approx(part.ssim.mean())
    assert rain.gain == pytest.approx((part.psnr - part.psnr_input).mean())
    assert math.isnan(means[means.task == "clean"].gain.iloc[0])
    damaged = means[(means.task != "clean") & (means.task != "average")]
    assert average.psnr == pytest.approx(damaged.psnr.mean()) and math.isnan(average.psnr_low)
    assert average.n == 14 and np.isfinite(average.psnr_input)
    only = summary(evaluate(same, folder, classes="clean"))
    assert list(only.task) == ["clean"] and only.psnr[0] == math.inf


def scored(task, psnrs, dataset="photos", names=None):
    names = names or [f"{n:02}.png" for n in range(len(psnrs))]
    rows = [
        (dataset, task, name, 20.0, value, 0.5, 0.9, 0.9, None, 0.1, 1.0)
        for name, value in zip(names, psnrs, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def width(*parts):
    average = summary(pd.concat(parts)).iloc[-1]
    return average.psnr_high - average.psnr_low


def test_the_interval_of_the_average_is_over_photographs():
    """Two tasks with equal scores tell no more than one; those of two sets of other photographs do, by sqrt 2."""
    psnrs = np.random.default_rng(0).normal(25, 3, 40)
    alone = width(scored("rain", psnrs))
    assert width(scored("rain", psnrs), scored("haze", psnrs)) == pytest.approx(alone)
    backwards = scored("haze", psnrs).iloc[::-1]  # the order of the rows plays no part
    assert width(scored("rain", psnrs), backwards) == pytest.approx(alone)
    cut = [scored(task, psnrs).drop(index=n) for n, task in enumerate(("rain", "haze", "blur", "snow"))]
    assert width(*cut) == pytest.approx(alone, rel=0.1)  # each task lacks another photograph
    apart = scored("haze", psnrs, names=[f"other {n:02}.png" for n in range(40)])
    assert width(scored("rain", psnrs), apart) == pytest.approx(alone / np.sqrt(2), rel=0.1)
    other = scored("haze", psnrs, "others")
    assert width(scored("rain", psnrs), other) == pytest.approx(alone / np.sqrt(2), rel=0.1)
    assert width(scored("rain", psnrs), scored("haze", 50 - psnrs)) < 1e-9  # what one gains, the other loses


def test_an_average_without_an_interval_says_why():
    """Four images give their range at most; so do the averages that they enter."""
    many, four = scored("rain", [25.0, 26.0, 27.0, 28.0, 30.0]), scored("blur", [27.0, 28.0, 30.0, 31.0], "GoPro")
    few = summary(pd.concat([many, four]))
    assert few.attrs["no_interval"] == "no interval of the average: GoPro with fewer than 5 images"
    assert few.psnr_low.isna().tolist() == few.psnr_high.isna().tolist() == [False, True, True]
    enough = summary(many)
    assert enough.attrs["no_interval"] == "" and (enough.psnr_low < enough.psnr).all()


@pytest.fixture
def card_of(script):
    """card_of(table, setting) -> CARD.md with the scores of a table"""
    make_card = script("make_card")

    def card_of(table, setting="pairs"):
        table.attrs = {"setting": setting, "severity": 0.5, "seed": 0, "versions": {}}
        card = {"name": "x", "steps_done": 1, "minutes": 1, "data": {"training": 1, "held_out": 1}}
        card |= {
            "parameters": dict.fromkeys(("active", "total", "guidance"), 1),
            "scores": [make_card.scored(table, "sets")],
        }
        card |= {"config": {"train": {"batch": 1, "seed": 0}}, "machine": {"device": "cpu", "threads": 1, "torch": "2"}}
        return make_card.markdown(card, "Notes.")

    return card_of


def test_a_card_says_why_an_average_has_no_interval(card_of):
    text = card_of(pd.concat([scored("rain", [25.0, 26.0]), scored("blur", [27.0], "GoPro")]).assign(path="00000000"))
    assert "| 27.00 | 7.00 |" in text
    assert "There is no interval of the average: photos, GoPro with fewer than 5 images." in text


def test_a_card_shows_the_parts_of_local_damage(folder, card_of):
    table = evaluate(same, folder, "local", classes="rain").assign(path="00000000")
    text = card_of(table, "local")
    rows = {cells[0]: cells for line in text.splitlines() if len(cells := line.strip("| ").split(" | ")) == 7}
    assert rows["rain@gradient"][4] == "-" and "the same, damaged all over" in text
    assert rows["rain@half"][1] == f"{table[table.task == 'rain@half'].psnr_damaged_input.mean():.2f}"


def test_a_card_gives_the_path_of_each_data_set_and_task(card_of):
    table = pd.concat([scored("rain", [25.0, 26.0, 27.0]), scored("rain", [30.0], "Rain100L"), scored("haze", [27.0])])
    table["path"] = ["00000000", "11111111", "11111111", "22222222", "01201201"]
    ends = {tuple(line.split(" | ")[:2]): line.split(" | ")[-1] for line in card_of(table).splitlines()}
    assert ends["| photos", "rain"] == "11111111 (67%) |" and ends["| Rain100L", "rain"] == "22222222 |"
    assert ends["| photos", "haze"] == "01201201 |" and ends["| ", "average"] == " |"


def test_results_file(net, folder, tmp_path):
    net.card = {"name": "tiny", "weights_sha256": "abc"}
    try:
        table = evaluate(net, folder)
    finally:
        del net.card
    path = tmp_path / "results.json"
    save_results(table, path)
    content = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert len(content["rows"]) == 16 and set(content["rows"][0]) == set(COLUMNS)
    assert content["rows"][0]["psnr"] == table.psnr[0]
    assert content["checkpoint"] == {"name": "tiny", "sha256": "abc"} and content["missing"] == []
    assert content["means"]["photos"]["psnr"] == pytest.approx(content["average"]["psnr"])
    tasks = content["means"]["photos"]["tasks"]
    assert set(tasks) == set(CLASSES) and tasks["clean"]["psnr_input"] is None and tasks["rain"]["n"] == 2
    assert content["definition"]["ssim"] and content["versions"]["pillow"] and content["severity"] == 0.5
    part = evaluate(same, folder, classes=["rain"])
    save_results(part, path)
    content = json.loads(path.read_text())
    assert content["average"] is None and "haze" in content["missing"] and content["rows"][0]["path"] is None
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["results.json"]
    with pytest.raises(UserError, match="cannot"):
        save_results(part, tmp_path / "no" / "results.json")
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match="cannot"):
        save_results(part, tmp_path / "taken")
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["results.json"]  # nor a temporary file


def test_tables_that_have_no_means(folder, tmp_path):
    table = evaluate(same, folder, classes="clean")
    for bad, pattern in ((table.iloc[:0], "0"), (pd.DataFrame(), "lacks dataset"), (table[["psnr"]], "lacks dataset")):
        for function in (summary, lambda bad: save_results(bad, tmp_path / "r.json")):
            with pytest.raises(UserError, match=pattern):
                function(bad)
        with pytest.raises(UserError, match="path"):
            modal_paths(bad)
    with pytest.raises(UserError, match="path"):
        modal_paths(table)
    assert not (tmp_path / "r.json").exists()


# --- refusals ---


@pytest.mark.parametrize(
    "options, pattern",
    [
        ({"setting": "5"}, "bundled photographs"),
        ({"setting": "3"}, "bundled photographs"),
        ({"setting": "cdd11"}, "bundled photographs"),
        ({"setting": "best"}, "one of '3', '5', 'cdd11', 'pairs', 'demo'"),
        ({"setting": "5", "root": str(Path(__file__).parent)}, "holds none"),
        ({"noise": "peers", "setting": "pairs"}, "'slerlib' or"),
        ({"noise": "promptir"}, "setting='demo'"),
        ({"root": "no/such/folder"}, "does not exist"),
        ({"root": __file__}, "is a file"),
        ({"images": -1}, "images"),
        ({"images": 1.5}, "images"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"seed": "one"}, "seed must be a whole number.*'one'"),
        ({"images": True}, "images"),
        ({"severity": "heavy"}, "severity.*'heavy'"),
        ({"severity": math.nan}, "severity"),
        ({"seed": None}, "seed must be a whole number"),
        ({"crop": "square"}, "center16"),
        ({"severity": 2, "images": 1}, "[Ss]everity"),
        ({"classes": ["fog"]}, "fog"),
        ({"classes": []}, "at least one"),
        ({"classes": "[]"}, "at least one"),
        ({"restored": str(Path(__file__).parent), "root": "no/such/folder"}, "does not exist"),
        ({"classes": ["rain", "rain"]}, "each once"),
        ({"classes": ["rain"], "setting": "pairs"}, "demo"),
        ({"path": "00000000"}, "path"),
    ],
)
def test_bad_options_are_refused(options, pattern):
    with pytest.raises(UserError, match=pattern):
        evaluate(same, **options)


def test_bad_models_and_folders_are_refused(tmp_path):
    for model in (None, "tiny"):
        with pytest.raises(UserError, match="SLERIR"):
            evaluate(model)
    with pytest.raises(UserError, match="holds none"):
        evaluate(same, tmp_path)
    Image.new("RGB", (15, 40)).save(tmp_path / "small.png")
    with pytest.raises(UserError, match="small.png is 15 x 40"):
        evaluate(same, tmp_path)


def test_broken_pictures_are_named_before_anything_is_restored(tmp_path):
    restored = []

    def spy(x_CHW):
        restored.append(x_CHW)
        return x_CHW

    write_pair(tmp_path, ("input", "target"), "a.png")
    whole = (tmp_path / "input" / "a.png").read_bytes()
    for name in ("b", "c", "d", "e", "f"):
        write_pair(tmp_path, ("input", "target"), f"{name}.png")
        (tmp_path / "input" / f"{name}.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"(?s)b\.png.*\n.*c\.png.*\n.*d\.png.*\n2 more cannot be scored either"):
        evaluate(spy, tmp_path, "pairs")
    with pytest.raises(UserError, match=r"input/b\.png starts like one but is truncated[^\n]*again\.$"):
        evaluate(spy, tmp_path, "pairs", images=2)
    assert restored == []
    assert len(evaluate(spy, tmp_path, "pairs", images=1)) == 1 == len(restored)


def test_an_oracle_makes_no_further_passes():
    torch.manual_seed(0)
    net = SLERIR(config.with_overrides(config.recipe("tiny"), ["model.router=oracle", "model.route_by=image"]).model)
    with pytest.raises(UserError, match="oracle.*Leave passes out"):
        evaluate(net, images=1, passes=2, classes=["rain"])


def test_the_path_of_a_shape_holds_where_the_damage_lies_all_over_too():
    model = load("tiny", "cpu")
    options = {"setting": "local", "images": 1, "crop": "center256", "classes": ["rain@half"]}
    forced, whole = (evaluate(model, path={key: "00000000"}, **options) for key in ("rain@half", "rain"))
    free = evaluate(model, **options)
    assert forced.psnr_all_over[0] == whole.psnr_all_over[0] != free.psnr_all_over[0]
