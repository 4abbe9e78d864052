"""Published settings, test noise, hashes, published rows and shares of torchrun: against oracles and built trees."""

import itertools
import json
import math
import os
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import slerlib
from slerlib.data.registry import registry
from slerlib.data.scenes import photographs
from slerlib.errors import UserError
from slerlib.evaluation.cases import cases, centre
from slerlib.evaluation.evaluate import evaluate
from slerlib.evaluation.options import NOISES
from slerlib.evaluation.published import beside_published, comparability, published, published_notes
from slerlib.evaluation.results import save_results
from slerlib.evaluation.settings import CDD11, SETTINGS, TITLES, chosen, column_title
from slerlib.evaluation.table import SCORES, summary

TEST_SETS = {  # key in the registry -> (folder of the damaged images, folder of the clean ones, names)
    "sots-outdoor": ("test/dehaze/input", "test/dehaze/target", {"1_0.8_0.2.jpg": "1.png", "2_1_0.1.jpg": "2.png"}),
    "rain100l": ("test/derain/Rain100L/input", "test/derain/Rain100L/target", {"1.png": "1.png", "2.png": "2.png"}),
    "cbsd68": (None, "test/denoise/bsd68", {"a.png": "a.png", "b.png": "b.png", "c.png": "c.png"}),
    "gopro": ("test/deblur/gopro/input", "test/deblur/gopro/target", {"1.png": "1.png"}),
    "lol-v1": ("test/enhance/lol/input", "test/enhance/lol/target", {"1.png": "1.png", "2.png": "2.png"}),
}  # fmt: skip


def photograph(number, height=35, width=52):
    """A part of a bundled photograph as 8-bit (H, W, 3)."""
    image_CHW = photographs()[number % 4].image[:, 60 + number : 60 + number + height, 80 : 80 + width]
    return image_CHW.permute(1, 2, 0).mul(255).round().byte().numpy()


def write_sets(root, names=tuple(TEST_SETS)):
    number = 0
    for name in names:
        damaged, clean, pairs = TEST_SETS[name]
        for damaged_name, clean_name in pairs.items():
            number += 1
            pixels = photograph(number, 35 + number)
            for folder, file, x in ((damaged, damaged_name, pixels // 2 + 10 * number), (clean, clean_name, pixels)):
                if folder is not None:
                    (root / folder).mkdir(parents=True, exist_ok=True)
                    Image.fromarray(x.astype(np.uint8)).save(root / folder / file)
    return root


def same(x_CHW):
    return x_CHW


def oracle(function, a_CHW, b_CHW, **options):
    return function(*(x.permute(1, 2, 0).double().numpy() for x in (a_CHW, b_CHW)), data_range=1.0, **options)


# --- settings and their averages ---


def test_settings_are_those_of_the_papers():
    assert [column_title(*column) for column in SETTINGS["3"]] == [
        "SOTS-outdoor", "Rain100L", "CBSD68 noise15", "CBSD68 noise25", "CBSD68 noise50"]  # fmt: skip
    assert [column_title(*column) for column in SETTINGS["5"]] == [
        "SOTS-outdoor", "Rain100L", "CBSD68 noise25", "GoPro", "LOL-v1"]  # fmt: skip
    assert len(set(CDD11)) == len(SETTINGS["cdd11"]) == 11
    usual = {name: registry()[name].counts["test"] for name in TEST_SETS}
    assert usual == {"sots-outdoor": 500, "rain100l": 100, "cbsd68": 68, "gopro": 1111, "lol-v1": 15}
    assert all(TITLES[name].lower() == name for columns in SETTINGS.values() for name, _ in columns)


@pytest.mark.parametrize("setting", ["3", "5"])
def test_rows_and_averages(tmp_path, setting):
    """Scores of each row equal scikit-image's on the 16-px centre; a column counts once, however many its images."""
    from skimage import metrics

    root = write_sets(tmp_path)
    darker = lambda x: 0.9 * x  # noqa: E731
    table = evaluate(darker, root, setting)
    assert list(dict.fromkeys(zip(table.dataset, table.task, strict=True))) == [
        (TITLES[name], task) for name, task in SETTINGS[setting]
    ]
    todo, _ = cases(root, setting)
    for case, row in zip(todo, table.itertuples(), strict=True):
        a, b = case.load()
        assert a.shape == b.shape and a.shape[1] % 16 == a.shape[2] % 16 == 0 and row.image == case.image
        y = 0.9 * a
        assert row.psnr_input == pytest.approx(oracle(metrics.peak_signal_noise_ratio, b, a), abs=1e-6)
        assert row.psnr == pytest.approx(oracle(metrics.peak_signal_noise_ratio, b, y), abs=1e-6)
        assert row.ssim == pytest.approx(oracle(metrics.structural_similarity, b, y, channel_axis=-1), abs=1e-6)
    means = summary(table)
    columns = means[means.task != "average"]
    assert len(columns) == 5 and list(means.task)[-1] == "average"
    groups = table.groupby(["dataset", "task"], sort=False)
    for score in SCORES:
        assert means[score].iloc[-1] == pytest.approx(np.mean([part[score].mean() for _, part in groups]))
    assert means.n.iloc[-1] == len(table) == {"3": 2 + 2 + 9, "5": 2 + 2 + 3 + 1 + 2}[setting]
    assert f"{len(SETTINGS[setting])} columns" in table.attrs["definition"]["average"]


def test_cdd11(tmp_path):
    root = tmp_path / "cdd11"
    folders = [task.replace("lowlight", "low").replace("+", "_") for task in CDD11]
    for number, folder in enumerate(["clear", *folders]):
        (root / "test" / folder).mkdir(parents=True)
        Image.fromarray(photograph(0) // (1 if folder == "clear" else 2) + number).save(
            root / "test" / folder / "1.png"
        )
    table = evaluate(same, tmp_path, "cdd11")
    assert tuple(table.task) == CDD11 and set(table.dataset) == {"CDD11"} and table.attrs["missing"] == []
    assert summary(table).psnr.iloc[-1] == pytest.approx(table.psnr.mean())
    for file in (root / "test" / "low_haze").iterdir():
        file.unlink()
    table = evaluate(same, tmp_path, "cdd11")
    assert table.attrs["missing"] == ["CDD11 lowlight+haze"] and "average" not in set(summary(table).task)


def test_a_missing_set_has_no_average(tmp_path, untrained, capsys):
    from slerlib.cli import main

    root = write_sets(tmp_path / "data", [name for name in TEST_SETS if name != "gopro"])
    out = tmp_path / "results.json"
    args = ["eval", str(untrained), "--data", str(root), "--setting", "5", "--published", "--out", str(out)]
    assert main(args) == 0
    said = capsys.readouterr().out
    assert "no average: GoPro missing" in said and "unverified" in said
    assert "CBSD68 noise25 has 3 images, not the usual 68" in said and "GoPro is missing" in said
    content = json.loads(out.read_text())
    assert content["average"] is None and content["missing"] == ["GoPro"] and len(content["means"]) == 4
    assert content["data"]["sha256"] and content["checkpoint"]["name"] and content["versions"]["jpeg decoder"]
    assert main([*args[:5], "pairs", "--published"]) == 1
    with pytest.raises(UserError, match="CDD11 low.*below.*rain100l"):
        evaluate(same, write_sets(tmp_path / "one", ["rain100l"]), "cdd11")


def test_test_sets_and_own_pairs_below_a_folder(tmp_path):
    """Training sets are left out; a clean test folder is scored under three levels of noise."""
    root = write_sets(tmp_path, ["rain100l", "cbsd68"])
    for folder in ("Train/Derain/rainy", "Train/Derain/gt", "mine/low", "mine/high"):
        (root / folder).mkdir(parents=True)
    for folder, name in (("Train/Derain/rainy", "rain-1.png"), ("Train/Derain/gt", "norain-1.png"),
                         ("mine/low", "x.png"), ("mine/high", "x.png")):  # fmt: skip
        Image.fromarray(photograph(1)).save(root / folder / name)
    table = evaluate(same, root, "pairs")
    groups = table.groupby(["dataset", "task"], sort=False).size().to_dict()
    noise = {("CBSD68", f"noise{sigma}"): 3 for sigma in (15, 25, 50)}
    assert groups == noise | {("Rain100L", "rain"): 2, ("mine", "lowlight"): 1}
    assert set(evaluate(same, root / "Train", "pairs").image) == {"rain-1.png"}
    os.remove(root / "test/derain/Rain100L/target/2.png")
    with pytest.raises(UserError, match="2.png has no clean partner"):
        evaluate(same, root, "pairs")


# --- noise ---


def test_noise_per_image_does_not_depend_on_the_selection(tmp_path):
    root = write_sets(tmp_path, ["cbsd68", "rain100l"])
    inputs = {(case.image, case.task): case.load()[0] for case in cases(root, "3")[0] if case.dataset == "CBSD68"}
    part = [case for case in cases(root, "5", images=2)[0] if case.dataset == "CBSD68"]
    assert [case.image for case in part] == ["a.png", "b.png"]
    for case in reversed(part):
        assert torch.equal(case.load()[0], inputs[case.image, case.task])
    other = next(case for case in cases(root, "3", seed=1)[0] if case.task == "noise15")
    assert not torch.equal(other.load()[0], inputs["a.png", "noise15"])


def test_noise_of_promptir(tmp_path):
    """Equal to PromptIR's own lines: one global stream through sigma 15, 25 and 50, clipped, cut to 8 bits."""
    root = write_sets(tmp_path, ["cbsd68"])
    np.random.seed(0)
    expected = {}
    for sigma in (15, 25, 50):
        for name in ("a.png", "b.png", "c.png"):
            clean = np.array(Image.open(root / "test/denoise/bsd68" / name))
            top, left = clean.shape[0] % 16 // 2, clean.shape[1] % 16 // 2
            clean = clean[top : top + clean.shape[0] // 16 * 16, left : left + clean.shape[1] // 16 * 16]
            expected[name, f"noise{sigma}"] = np.clip(clean + np.random.randn(*clean.shape) * sigma, 0, 255).astype(
                np.uint8
            )
    for setting in ("3", "5", "pairs"):  # the 5-task setting shows sigma 25 alone, but draws all three
        todo, _ = cases(root, setting, noise="promptir")
        for case in todo[::-1] + todo[::2]:
            noisy, clean = case.load()
            drawn = noisy.mul(255).permute(1, 2, 0).numpy()
            assert np.array_equal(drawn, expected[case.image, case.task]) and noisy.shape == clean.shape
    table = evaluate(same, root, "3", noise="promptir")
    assert table.attrs["noise"] == "promptir" and NOISES["promptir"] in table.attrs["definition"]["degradation"]
    assert evaluate(same, root, "3", noise="promptir").psnr.equals(table.psnr)
    whole = cases(root, "3", noise="promptir", crop="none")[0][1]  # the second image of the stream, not cropped
    stream = np.random.RandomState(0)
    first, second = (np.array(Image.open(root / "test/denoise/bsd68" / name)) for name in ("a.png", "b.png"))
    stream.randn(*first.shape)
    noisy = np.clip(second + stream.randn(*second.shape) * 15, 0, 255).astype(np.uint8)
    assert np.array_equal(whole.load()[0].mul(255).permute(1, 2, 0).numpy(), noisy)


# --- hashes, results of other programs ---


def test_the_data_hash_follows_what_is_scored(tmp_path):
    def digest(root=tmp_path / "data", setting="5", **options):
        return evaluate(same, root, setting, **options).attrs["data"]["sha256"]

    write_sets(tmp_path / "data")
    first = digest()
    assert first == digest(write_sets(tmp_path / "copy")) == digest(crop="none", seed=3)
    assert len({first, digest(images=1), digest(root="demo", setting="demo", images=1, classes="clean")}) == 3
    (tmp_path / "data" / "notes.txt").write_text("not scored")
    assert digest() == first
    file = tmp_path / "data/test/enhance/lol/target/1.png"
    pixels = np.array(Image.open(file))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(file)
    assert digest() != first


def test_results_of_another_program(tmp_path):
    """Folders by set and, where a photograph occurs in several tasks, by task; one file never counts twice."""
    root, results = write_sets(tmp_path / "data"), tmp_path / "results"
    places = {"SOTS-outdoor": "SOTS-outdoor", "Rain100L": "rain100l", "GoPro": "blur", "LOL-v1": "LOL-v1/lowlight"}
    for case in cases(root, "5")[0]:
        target = case.load()[1].permute(1, 2, 0).mul(255).round().byte().numpy()
        folder = results / places.get(case.dataset, "CBSD68/noise25")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(target).save((folder / case.image).with_suffix(".png"))
    table = evaluate(None, root, "5", restored=results)
    assert (table.psnr == math.inf).all() and np.isfinite(table.psnr_input).all()
    assert table.attrs["checkpoint"] is None and table.attrs["restored"] == "results"
    for file in (results / "CBSD68/noise25").iterdir():
        file.rename(results / "CBSD68" / file.name)
    with pytest.raises(UserError, match="one input.*noise15.*noise25"):
        evaluate(None, root, "3", restored=results)
    (results / "blur" / "1.png").unlink()
    with pytest.raises(UserError, match="1.png.*GoPro"):
        evaluate(None, root, "5", restored=results)


def test_results_keep_the_suffix_of_their_input(tmp_path):
    """As `slerlib restore` writes them: a.jpg and a.png side by side, DSC1.JPG of a camera, DSC2.JPG as PNG."""
    data, results = tmp_path / "mine", tmp_path / "results"
    results.mkdir()
    for side in ("input", "target"):
        (data / side).mkdir(parents=True)
    names = {"a.jpg": 40, "a.png": 80, "DSC1.JPG": 120, "DSC2.JPG": 160}
    for name, value in names.items():
        for side in ("input", "target"):
            Image.new("RGB", (32, 32), (value,) * 3).save(data / side / name)
        Image.new("RGB", (32, 32), (value,) * 3).save(results / name.replace("2.JPG", "2.PNG"))
    table = evaluate(None, data, "pairs", restored=results)
    assert set(table.image) == set(names) and (table.psnr > 45).all()


# --- published rows ---


@pytest.mark.parametrize("setting, methods", [("3", 10), ("5", 9), ("cdd11", 5)])
def test_published_rows(setting, methods):
    """The printed averages are the means of the printed columns, as far as the papers round alike."""
    rows = published(setting)
    assert len(rows) == methods and rows.index.is_unique
    columns = [column for column in rows if column.endswith(" psnr") and not column.startswith("average")]
    assert len(columns) == (0 if setting == "cdd11" else 5)
    whole = rows.dropna(subset=columns) if columns else rows.iloc[:0]
    assert len(whole) == (0 if setting == "cdd11" else methods - 1)
    assert np.allclose(whole[columns].mean(axis=1), whole["average psnr"], atol=0.03)
    if columns:
        assert "unverified" in rows.note["SLER-IR"]
        pairs = rows[[column.replace("psnr", "ssim") for column in columns]].to_numpy()
        assert np.nanmin(pairs) > 0.7 and np.nanmax(pairs) < 1
    with pytest.raises(UserError, match="'3', '5', 'cdd11'"):
        published("pairs")


def test_comparability(tmp_path):
    root = write_sets(tmp_path)
    table = evaluate(same, root, "3", noise="promptir")
    assert len(comparability(table)) == 5 and "usual 500" in comparability(table)[0]
    shown = beside_published(table)
    assert shown.note["this run"] == "not comparable" and shown.loc["SLER-IR", "average"] == "33.14/.922"
    mean = table[table.task == "rain"][["psnr", "ssim"]].mean()
    assert shown.loc["this run", "Rain100L"] == f"{mean.psnr:.2f}/" + f"{mean.ssim:.3f}".lstrip("0")
    usual = {name: registry()[name].counts["test"] for name in TEST_SETS}
    full = [part.iloc[np.zeros(usual[name.lower()], int)] for (name, _), part in table.groupby(["dataset", "task"])]
    whole = pd.concat(full)
    whole.attrs = table.attrs
    assert comparability(whole) == [] and "comparable, up to the order" in published_notes(whole)
    whole.attrs = table.attrs | {"noise": "slerlib", "crop": "none"}
    assert len(comparability(whole)) == 2
    assert comparability(evaluate(same, root, "pairs", images=1)) == ["setting 'pairs' is not a published benchmark"]
    for attrs, lacking in (({}, "setting, crop, noise"), ({"setting": "3", "crop": "none"}, "noise")):
        whole.attrs = attrs
        (reason,) = comparability(whole)
        assert lacking in reason
    whole.attrs = {}
    with pytest.raises(UserError, match="'3', '5', 'cdd11'.*None"):
        beside_published(whole)
    assert published(5).equals(published("5"))


# --- several processes ---


@pytest.mark.parametrize("total", [0, 1, 2, 7])
def test_rows_of_all_processes_in_the_order_of_one(monkeypatch, total):
    from torch.distributed import HashStore

    from slerlib import sharding

    store, rows = HashStore(), [("set", k, math.inf, None) for k in range(total)]
    monkeypatch.setattr(sharding, "CHUNK", 2)
    for rank in (2, 1, 0):
        monkeypatch.setattr(
            sys.modules["torch.distributed.rendezvous"], "rendezvous", lambda *_, r=rank, **__: iter([(store, r, 3)])
        )
        monkeypatch.setattr(sharding, "_calls", itertools.count(1))  # every process counts for itself
        result = sharding.gathered(rows[rank::3])
        assert result == (rows if rank == 0 else [])


def test_rows_of_a_dead_attempt_are_not_taken(monkeypatch):
    """Process 1 brought rows and process 0 died; then torchrun starts both again, with the store as it was left."""
    from torch.distributed import DistStoreError, HashStore

    from slerlib import sharding

    store = HashStore()

    def gathered(rank, rows, world=2, **env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sharding, "_calls", itertools.count())
        monkeypatch.setattr(
            sys.modules["torch.distributed.rendezvous"], "rendezvous", lambda *_, **__: iter([(store, rank, world)])
        )
        return sharding.gathered(rows)

    gathered(1, [("dead",)], TORCHELASTIC_RESTART_COUNT="0", GROUP_WORLD_SIZE="1")
    store.set_timeout(timedelta(seconds=0.2))
    with pytest.raises(DistStoreError):  # process 0 is the faster one now, and waits
        gathered(0, [("first",)], TORCHELASTIC_RESTART_COUNT="1")
    gathered(1, [("alive",)])
    assert gathered(0, [("first",)]) == [("first",), ("alive",)]
    # two machines, one of which has restarted once more than the other; after that a third process has joined
    gathered(1, [("of 2",)], TORCHELASTIC_RESTART_COUNT="3", GROUP_WORLD_SIZE="2")
    assert gathered(0, [("first",)], TORCHELASTIC_RESTART_COUNT="2") == [("first",), ("of 2",)]
    for rank in (1, 2):
        gathered(rank, [(f"{rank} of 3",)], world=3)
    assert gathered(0, [("first",)], world=3) == [("first",), ("1 of 3",), ("2 of 3",)]


@pytest.mark.long
def test_two_processes_give_the_rows_of_one(tmp_path, untrained):
    root = write_sets(tmp_path / "data")
    table = evaluate(slerlib.load(untrained, "cpu"), root, "3", noise="promptir")
    save_results(table, tmp_path / "one.json")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "slerlib"]
    command += ["eval", str(untrained), "--data", str(root), "--setting", "3", "--noise", "promptir"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [*command, "--out", tmp_path / "two.json"], capture_output=True, text=True, env=env, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("psnr_input") == 1  # process 0 alone prints
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    for row in one["rows"] + two["rows"]:
        row.pop("seconds")
    assert one == two


def test_centre_crop_is_that_of_promptir():
    x = torch.arange(35 * 52).reshape(1, 35, 52)
    assert torch.equal(centre(x, 32, 48), x[:, 1:33, 2:50])


def test_pairs_that_are_not_recognised_are_refused_and_not_scored_as_clean(tmp_path):
    for number in range(3):
        Image.new("RGB", (40, 40), (60 * number,) * 3).save(tmp_path / f"{number}.png")
    with pytest.raises(UserError, match=r"3 images without partners.*input/ and target/.*pairs\.csv.*setting='demo'"):
        chosen(tmp_path, "pairs")
    for number in range(3):
        (tmp_path / f"{number}.png").rename(tmp_path / f"{number}_hazy.png")
        Image.new("RGB", (40, 40)).save(tmp_path / f"{number}_GT.png")
    ((column,), _) = chosen(tmp_path, "pairs")
    assert column.task == "haze" and len(column.items) == 3 and all(item.input for item in column.items)
