"""Layouts A, B and C, own pairs and clean folders are recognised from names; nothing is opened."""

import tomllib
from pathlib import Path

import pytest

from slerlib.data import registry
from slerlib.data.layouts import Item, missing_sets, recognise
from slerlib.data.pairing import image_files, partners
from slerlib.errors import UserError

A = """
Train/Denoise/100075.jpg Train/Denoise/00001.bmp Train/Denoise/00002.bmp
Train/Derain/rainy/rain-1.png Train/Derain/gt/norain-1.png Train/Derain/rainy/rain-H2.webp
Train/Derain/gt/norain-H2.webp
Train/Dehaze/synthetic/part1/0025_0.8_0.04.jpg Train/Dehaze/synthetic/part2/0025_1_0.2.jpg
Train/Dehaze/original/0025.png
Train/Dehaze/synthetic/NYU/nyu272_1_0.75408.webp Train/Dehaze/original/nyu272.webp Train/Dehaze/original/spare.jpg
Train/Deblur/blur/X.png Train/Deblur/sharp/X.png Train/Enhance/low/2.png Train/Enhance/gt/2.png
test/denoise/bsd68/3096.png test/derain/Rain100L/input/1.png test/derain/Rain100L/target/1.png
test/dehaze/input/0001_0.8_0.2.jpg test/dehaze/target/0001.png
test/deblur/gopro/input/a.png test/deblur/gopro/target/a.png test/enhance/lol/input/1.png test/enhance/lol/target/1.png
"""
A_SETS = {
    ("bsd400", "noise", "train"): 1, ("wed", "noise", "train"): 2, ("rain100l", "rain", "train"): 1,
    ("rain100h", "rain", "train"): 1, ("ots", "haze", "train"): 2, ("nyu-haze", "haze", "train"): 1,
    ("gopro", "blur", "train"): 1, ("lol-v1", "lowlight", "train"): 1, ("cbsd68", "noise", "test"): 1,
    ("rain100l", "rain", "test"): 1, ("sots-outdoor", "haze", "test"): 1, ("gopro", "blur", "test"): 1,
    ("lol-v1", "lowlight", "test"): 1,
}  # fmt: skip
B = """
denoising/WaterlooED/1.bmp denoising/BSD400/1.jpg denoising/cBSD68/original_png/1.png
deraining/RainTrainL/rainy/rain-001.png deraining/RainTrainL/gt/norain-001.png
deraining/Rain100L/rainy/rain-001.png deraining/Rain100L/gt/norain-001.png
dehazing/RESIDE/part1/0025_0.8_0.04.jpg dehazing/RESIDE/part4/0026_0.8_0.04.jpg
dehazing/RESIDE/clear/0025.jpg dehazing/RESIDE/clear/0026.jpg
dehazing/SOTS/outdoor/hazy/0001_0.8_0.2.jpg dehazing/SOTS/outdoor/gt/0001.png
deblurring/GoPro/crop/train/input_crops/1-s001.png deblurring/GoPro/crop/train/target_crops/1-s001.png
deblurring/GoPro/test/input/1.png deblurring/GoPro/test/target/1.png
llie/LOLv1/Train/input/2.png llie/LOLv1/Train/target/2.png llie/LOLv1/Test/input/1.png llie/LOLv1/Test/target/1.png
cdd11/train/clear/1.png cdd11/train/low/1.png cdd11/train/low_haze_rain/1.png cdd11/test/clear/9.png
cdd11/test/snow/9.png
"""
B_SETS = {
    ("bsd400", "noise", "train"): 1, ("wed", "noise", "train"): 1, ("rain100l", "rain", "train"): 1,
    ("ots", "haze", "train"): 2, ("gopro", "blur", "train"): 1, ("lol-v1", "lowlight", "train"): 1,
    ("cbsd68", "noise", "test"): 1, ("rain100l", "rain", "test"): 1, ("sots-outdoor", "haze", "test"): 1,
    ("gopro", "blur", "test"): 1, ("lol-v1", "lowlight", "test"): 1, ("cdd11", "lowlight", "train"): 1,
    ("cdd11", "lowlight+haze+rain", "train"): 1, ("cdd11", "snow", "test"): 1,
}  # fmt: skip
C = """
BSDS500/images/train/1.jpg BSDS500/images/test/2.jpg BSDS500/images/val/3.jpg
lol/our485/low/2.png lol/our485/high/2.png lol/eval15/low/1.png lol/eval15/high/1.png
SOTS/outdoor/hazy/0001_0.8_0.2.jpg SOTS/outdoor/clear/0001.png
GOPRO_Large/train/GOPR0372_07_00/blur/000047.png GOPRO_Large/train/GOPR0372_07_00/sharp/000047.png
GOPRO_Large/train/GOPR0374_11_00/blur/000047.png GOPRO_Large/train/GOPR0374_11_00/sharp/000047.png
GOPRO_Large/test/GOPR0384_11_00/blur/000001.png GOPRO_Large/test/GOPR0384_11_00/sharp/000001.png
rain_data_train_Light/rain-001.png rain_data_train_Light/norain-001.png
Rain100L/rainy/rain-001.png Rain100L/norain/norain-001.png
REDS/train/train_blur/000/00000000.png REDS/train/train_sharp/000/00000000.png
REDS/train/train_blur/001/00000000.png REDS/train/train_sharp/001/00000000.png
"""
C_SETS = {
    ("bsd500", "noise", "train"): 2, ("bsd500", "noise", "test"): 1, ("lol-v1", "lowlight", "train"): 1,
    ("lol-v1", "lowlight", "test"): 1, ("sots-outdoor", "haze", "test"): 1, ("gopro", "blur", "train"): 2,
    ("gopro", "blur", "test"): 1, ("rain100l", "rain", "train"): 1, ("rain100l", "rain", "test"): 1,
    ("reds", "blur", "train"): 2,
}  # fmt: skip


def tree(root, files):
    """Files without content: names alone are looked at."""
    for file in files.split() if isinstance(files, str) else files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def counts(found):
    return {(s.name, s.task, s.split): len(s.items) for s in found.sets}


def kinds(found):
    return [(p.path.relative_to(found.root).as_posix(), p.kind) for p in found.problems]


@pytest.mark.parametrize("layout, files, sets", [("A", A, A_SETS), ("B", B, B_SETS), ("C", C, C_SETS)])
def test_a_layout(layout, files, sets, tmp_path):
    found = recognise(tree(tmp_path / "root", files))
    assert found.layout == layout and found.root == tmp_path / "root" and counts(found) == sets
    assert not found.problems and (layout == "C" or not missing_sets(found))
    for images in found.sets:
        assert images.paired == (images.task != "noise")
        assert len({item.name for item in images.items}) == len(images.items)
        for item in images.items:
            assert item.target.is_file() and (item.input is None or item.input.is_file())


def test_partners_and_names(tmp_path):
    sets = {(s.name, s.split): s for s in recognise(tree(tmp_path, A)).sets}
    haze, original = tmp_path / "Train/Dehaze/synthetic", tmp_path / "Train/Dehaze/original/0025.png"
    files = "part1/0025_0.8_0.04.jpg", "part2/0025_1_0.2.jpg"
    assert sets["ots", "train"].items == tuple(Item(file, haze / file, original) for file in files)
    assert sets["rain100h", "train"].items[0].target.name == "norain-H2.webp"
    assert sets["bsd400", "train"].items == (Item("100075.jpg", None, tmp_path / "Train/Denoise/100075.jpg"),)


@pytest.mark.parametrize(
    "part, sets, missing",
    [
        ("Train", 8, ["cbsd68", "sots-outdoor"]),
        ("test", 5, ["bsd400", "wed", "ots"]),
        ("Train/Derain", 2, ["bsd400", "wed", "cbsd68", "ots", "sots-outdoor", "gopro", "lol-v1"]),
    ],
)
def test_a_part_of_a_layout_is_known_too(part, sets, missing, tmp_path):
    found = recognise(tree(tmp_path / "root", A) / part)
    assert found.layout == "A" and len(found.sets) == sets and not found.problems
    assert counts(found).items() <= A_SETS.items() and [entry.name for entry in missing_sets(found)] == missing


def test_words_for_validation_and_no_difference_of_case(tmp_path):
    files = "VAL/Denoise/cbsd68_dev/1.PNG val/lowlight/low/5.webp val/lowlight/high/5.webp validation/derain/rain100l/"
    found = recognise(tree(tmp_path, files + "input/1.JPG validation/derain/rain100l/target/1.png"))
    assert set(counts(found)) == {("cbsd68", "noise", "test"), ("lol-v1", "lowlight", "test"),
                                  ("rain100l", "rain", "test")}  # fmt: skip


def test_folders_shared_by_several_sets(tmp_path):
    names = ("gopro_1.png", "reds_1.png", "Flower.png")
    files = [f"Val/deblur/{side}/{name}" for side in ("input", "target") for name in names]
    found = recognise(tree(tmp_path, files))
    assert not found.problems
    assert set(counts(found)) == {("gopro", "blur", "test"), ("reds", "blur", "test"), ("deblur", "blur", "test")}


def test_own_pairs(tmp_path):
    files = """wet/rainy/rain-1.png wet/gt/norain-1.png fog/hazy/1_0.8.jpg fog/clear/1.png night/low/a/1.png
    night/high/a/1.png shaky/blur/7.bmp shaky/sharp/7.tiff scans/train/input/1.png scans/train/target/1.png
    scans/test/input/2.png scans/test/target/2.png my_denoising/input/1.png my_denoising/target/1.png"""
    found = recognise(tree(tmp_path, files))
    assert found.layout == "pairs" and not found.problems
    assert set(counts(found)) == {
        ("wet", "rain", "train"), ("fog", "haze", "train"), ("night", "lowlight", "train"), ("shaky", "blur", "train"),
        ("scans", "scans", "train"), ("scans", "scans", "test"), ("my_denoising", "my_denoising", "train"),
    }  # fmt: skip
    assert next(s for s in found.sets if s.name == "night").items[0].name == "a/1.png"
    words = recognise(
        tree(tmp_path / "words", "test_a/input/1.png test_a/target/1.png Valid1/low/2.png Valid1/high/2.png")
    )
    assert [s.split for s in words.sets] == ["test", "test"], "never trained on"
    alone = recognise(tmp_path / "scans" / "test")
    assert counts(alone) == {("own", "own", "test"): 1} and alone.layout == "pairs"


def test_clean_photographs(tmp_path):
    found = recognise(tree(tmp_path / "photos", "b.png more/a.JPG notes.txt .hidden.png"))
    assert found.layout == "clean" and counts(found) == {("photos", "noise", "train"): 2} and not found.problems
    assert [item.name for item in found.sets[0].items] == ["b.png", "more/a.JPG"]
    tree(tmp_path / "photos", ".hidden/c.png more/.hidden/d.png")
    assert recognise(tmp_path / "photos") == found
    assert image_files(tmp_path / "photos") == [item.target for item in found.sets[0].items]
    split = recognise(tree(tmp_path / "split", "train/a.png test/b.png"))
    assert counts(split) == {("split", "noise", "train"): 1, ("split", "noise", "test"): 1}
    targets = recognise(tree(tmp_path / "root", A) / "Train" / "Derain" / "gt")
    assert targets.layout == "clean" and len(targets.sets[0].items) == 2


@pytest.mark.parametrize(
    "remove, add, problems",
    [
        ("Train/Derain/gt/norain-1.png", "", [("Train/Derain/rainy/rain-1.png", "missing-partner")]),
        ("Train/Derain/rainy/rain-1.png", "", [("Train/Derain/gt/norain-1.png", "missing-partner")]),
        ("Train/Dehaze/original/0025.png", "", [("Train/Dehaze/synthetic/part1/0025_0.8_0.04.jpg", "missing-partner"),
                                                ("Train/Dehaze/synthetic/part2/0025_1_0.2.jpg", "missing-partner")]),
        ("Train/Enhance/gt/2.png", "", [("Train/Enhance/low/2.png", "missing-partner")]),
        ("Train/Enhance/gt/", "", [("Train/Enhance/low", "missing-folder")]),
        ("Train/Enhance/low/2.png", "", [("Train/Enhance/gt/2.png", "missing-partner")]),
        ("", "Train/Deblur/sharp/X.jpg", [("Train/Deblur/sharp/X.jpg", "ambiguous-partner")]),
        ("", "test/real_nogt/1.jpg test/real_nogt/2.jpg", [("test/real_nogt", "ignored")]),
        ("", "mine/input/1.png", [("mine/input", "missing-folder")]),
        ("", "mine/input/1.png mine/target/none.txt", [("mine/input/1.png", "missing-partner")]),
        ("", "mine/input/none.txt mine/target/1.png", [("mine/target/1.png", "missing-partner")]),
        ("", "mine/input/1.png mine/target/2.png", [("mine/input/1.png", "missing-partner"),
                                                    ("mine/target/2.png", "missing-partner")]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(remove, add, problems, tmp_path):
    tree(tmp_path, A)
    if remove.endswith("/"):
        for file in (tmp_path / remove).iterdir():
            file.unlink()
        (tmp_path / remove).rmdir()
    elif remove:
        (tmp_path / remove).unlink()
    found = recognise(tree(tmp_path, add))
    assert kinds(found) == problems
    assert all(problem.path.name in problem.message for problem in found.problems)


def test_folders_of_the_same_names_are_named(tmp_path):
    found = recognise(tree(tmp_path / "own", "left/1.png left/2.png right/1.jpg right/2.jpg right/3.jpg"))
    assert counts(found) == {("own", "noise", "train"): 5} and kinds(found) == [("left", "same-names")]
    assert "left and right hold" in found.problems[0].message
    apart = tree(tmp_path / "apart", "2021/1.png 2021/2.png 2022/2.png 2022/3.png a/x/1.png b/x/1.png")
    assert kinds(recognise(apart)) == []
    named = tree(tmp_path / "named", "night/input/1.png night/target/1.png")
    assert kinds(recognise(named)) == []


def test_links(tmp_path):
    tree(tmp_path / "elsewhere", "1.png 2.png")
    root = tree(tmp_path / "root", "a.png")
    (root / "more").symlink_to(tmp_path / "elsewhere")
    (root / "round").symlink_to(root)
    (root / "gone.png").symlink_to(tmp_path / "nothing.png")
    found = recognise(root)
    assert counts(found) == {("root", "noise", "train"): 3} and kinds(found) == [("gone.png", "unreadable")]


def test_a_linked_partner_folder_serves_every_set_and_only_circles_are_cut(tmp_path):
    root = tree(tmp_path / "root", "a/rainy/1.png a/gt/1.png b/rainy/1.png c/rainy/1.png")
    for name in "bc":
        (root / name / "gt").symlink_to(root / "a" / "gt")  # the same real folder, three times
    (root / "a" / "rainy" / "up").symlink_to(root)
    (root / "a" / "over").symlink_to(tmp_path)  # above the root: a circle too
    found = recognise(root)
    assert counts(found) == {(name, "rain", "train"): 1 for name in "abc"} and not found.problems
    photos = tree(tmp_path / "photos", "x/1.png x/2.png")
    (photos / "again").symlink_to(photos / "x")  # photographs count once
    assert counts(recognise(photos)) == {("photos", "noise", "train"): 2}


def test_no_folder_and_no_image(tmp_path):
    for root, pattern in ((tmp_path / "no", "does not exist"), (Path(__file__), "is a file"), (tmp_path, "holds none")):
        with pytest.raises(UserError, match=pattern):
            recognise(root)


@pytest.mark.parametrize(
    "name, clean",
    [
        ("1.png", "1.jpg"), ("rain-1.png", "norain-1.png"), ("0025_0.8_0.04.jpg", "0025.png"),
        ("ots1_hazy.webp", "ots1.webp"),
        ("nyu272_1_0.75408.webp", "nyu272.webp"), ("a/1.png", "a/1.png"), ("1.png", None), ("_1.png", None),
    ],
)  # fmt: skip
def test_partner(name, clean):
    folder = Path("clean")
    others = [folder / other for other in ("2.png", "b/1.png", clean or "11.png")]
    assert partners([Path("degraded") / name], Path("degraded"), others, folder) == [folder / clean if clean else None]


@pytest.mark.parametrize("place, test", [("denoising", "cbsd68"), ("test/denoise", "cbsd68"), (".", None)])
def test_cbsd68_as_downloaded_gives_no_noisy_image_for_a_clean_one(place, test, tmp_path):
    """It brings noisy5 to noisy50, and `original` beside `original_png`: no training takes test photographs."""
    files = "original_png/1.png original/1.jpg noisy5/1.png noisy50/1.png".split()
    root = tree(tmp_path, " ".join(f"{place}/CBSD68/{file}" for file in files) + " Train/Denoise/1001.jpg")
    found = recognise(root if test else root / "CBSD68")
    if test:
        trained = {item.target.name for one in found.sets if one.split == "train" for item in one.items}
        assert trained == {"1001.jpg"} and (test, "noise", "test") in counts(found)
    assert not any("noisy" in str(item.target) for one in found.sets for item in one.items)
    assert {"noisy5", "noisy50"} <= {problem.path.name for problem in found.problems if problem.kind == "ignored"}


def test_an_umlaut_of_a_mac_is_that_of_linux(tmp_path):
    found = recognise(tree(tmp_path, "mine/input/a\u0308.png mine/target/\u00e4.png"))
    assert not found.problems and len(found.sets[0].items) == 1


def test_of_two_partners_that_differ_in_suffix_the_same_is_taken(tmp_path):
    names = "1.jpg 1.png 2.jpg 3.png"
    found = recognise(
        tree(tmp_path, " ".join(f"mine/{side}/{n}" for side in ("input", "target") for n in names.split()))
    )
    assert not found.problems and [item.target.name for item in found.sets[0].items] == names.split()


# --- the registry ---


def test_every_set_is_described():
    for name, entry in registry.registry().items():
        assert name == entry.name == name.lower() and entry.title and entry.source and entry.licence and entry.citation
        assert entry.task in ("noise", "rain", "haze", "blur", "lowlight", "depth", "folder") and entry.places
        assert set(entry.counts) <= {"train", "test"} and "http" not in entry.source
        for place in entry.places:
            assert place.layout in "ABC" and place.split in ("train", "test")
            assert (place.target is None) == (entry.task in ("noise", "depth"))


def test_a_new_set_is_one_entry(tmp_path, monkeypatch):
    text = (
        registry.registry_file().read_text()
        + """
[rain12]
title = "Rain12"
task = "rain"
counts = { test = 12 }
source = "a page"
licence = "a licence"
citation = "a paper"
places = [{ layout = "A", split = "test", folder = "TEST/derain/Rain12/input", target = "../target" }]
"""
    )
    file = tmp_path / "registry.toml"
    file.write_text(text)
    monkeypatch.setattr(registry, "registry_file", lambda: file)
    registry.registry.cache_clear()
    try:
        found = recognise(tree(tmp_path / "root", "test/derain/Rain12/input/1.png test/derain/Rain12/target/1.png"))
        assert counts(found) == {("rain12", "rain", "test"): 1}
        file.write_text(text.replace('task = "rain"\n', "", 1))
        registry.registry.cache_clear()
        with pytest.raises(UserError, match="task"):
            registry.registry()
    finally:
        registry.registry.cache_clear()


def test_the_clone_reads_its_own_registry():
    assert registry.registry_file() == Path(__file__).resolve().parent.parent / "data" / "registry.toml"
    assert list(tomllib.loads(registry.registry_file().read_text())) == list(registry.registry())


# --- names of pairs that public sets and tools use


@pytest.mark.parametrize(
    "inputs, targets",
    [
        ("LQ", "GT"), ("lq", "gt"), ("lq", "hq"), ("LR", "HR"), ("input", "groundtruth"), ("input", "ground_truth"),
        ("input_crops", "target_crops"), ("degraded", "clean"), ("noisy", "clean"), ("before", "after"),
        ("rainy", "gt"), ("blur_gamma", "sharp"), ("train_lq", "train_gt"), ("hazy_images", "clear_images"),
        ("old", "fixed"), ("noisyImages", "cleanImages"), ("snow", "gt"),
    ],
)  # fmt: skip
def test_folders_of_pairs(inputs, targets, tmp_path):
    found = recognise(tree(tmp_path / "mine", [f"{side}/{n}.png" for side in (inputs, targets) for n in range(4)]))
    (only,) = found.sets
    assert only.paired and len(only.items) == 4 and not found.problems
    assert all(item.input.parent.name == inputs and item.target.parent.name == targets for item in only.items)


@pytest.mark.parametrize(
    "one, two",
    [
        ("IMG_{}_old", "IMG_{}_fixed"), ("IMG_{}", "IMG_{}_gt"), ("{}_hazy", "{}_GT"), ("NOISY_SRGB_{}", "GT_SRGB_{}"),
        ("{}_outdoor_hazy", "{}_outdoor_GT"), ("low{}", "normal{}"), ("{}_rain", "{}_clean"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("folders", [("input/", "target/"), ("", "")])
def test_files_of_pairs(one, two, folders, tmp_path):
    """In two folders, and side by side in one."""
    files = [
        f"{folder}{name.format(n)}.png" for folder, name in zip(folders, (one, two), strict=True) for n in range(9)
    ]
    found = recognise(tree(tmp_path / "mine", files))
    (only,) = found.sets
    names = [(item.input.stem, item.target.stem) for item in only.items]
    assert names == [(one.format(n), two.format(n)) for n in range(9)] and not found.problems


def test_parameters_at_the_end_of_a_name(tmp_path):
    files = ["input/im_0001_s80_a04.png", "input/im_0002_s10_a01.png", "target/im_0001.png", "target/im_0002.png"]
    assert len(recognise(tree(tmp_path / "mine", files)).sets[0].items) == 2


def test_a_word_inside_another_word_is_no_task_and_no_side(tmp_path):
    files = """millie/input/1.png millie/target/1.png flowers/input/1.png flowers/target/1.png
    training/input/1.png training/target/1.png yellow/1.png glow/1.png"""
    sets = {(s.name, s.task) for s in recognise(tree(tmp_path / "root", files)).sets}
    assert sets == {("millie", "millie"), ("flowers", "flowers"), ("root", "root")}
    names = [f"{word}/{n}.png" for word in ("train", "yellow", "normandy", "cleaning") for n in range(2)]
    assert not any(s.paired for s in recognise(tree(tmp_path / "words", names)).sets)


def test_what_a_class_of_own_pairs_is_called(tmp_path):
    for folder, task in (("scanner/train", "scanner"), ("data/2024", "own"), ("snow", "snow"), ("clean", "clean-pairs"),
                         ("my, scans+", "my_scans_")):  # fmt: skip
        root = tree(tmp_path / task, [f"data/{folder}/input/1.png", f"data/{folder}/target/1.png"]) / "data"
        assert [s.task for s in recognise(root).sets] == [task]


def test_a_damaged_side_alone_is_not_taken_for_clean(tmp_path):
    for name in ("lq", "input", "hazy"):
        found = recognise(tree(tmp_path / name / "mine", [f"{name}/1.png", f"{name}/2.png"]))
        assert not found.sets and kinds(found) == [(name, "missing-folder")]


def test_gamma_blur_beside_blur_is_left_out_and_alone_is_used(tmp_path):
    files = [f"train/GOPR0372_07_00/{side}/1.png" for side in ("blur", "blur_gamma", "sharp")]
    found = recognise(tree(tmp_path / "both", files))
    assert counts(found) == {("gopro", "blur", "train"): 1} and [kind for _, kind in kinds(found)] == ["ignored"]
    alone = recognise(tree(tmp_path / "alone", files[1:]))
    assert len(alone.sets) == 1 and alone.sets[0].task == "blur" and not alone.problems


# --- lists


def test_a_list_names_pairs_of_any_name(tmp_path):
    tmp_path = tree(
        tmp_path / "data", "a/x.png b/y.png night/1_dark.png night/1_long.png night/2_dark.png night/2_long.png c/z.png"
    )
    rows = "input,target,task\na/x.png,b/y.png,scanner\nnight/*_dark.png,night/*_long.png,lowlight\n,c/z.png,\n"
    (tmp_path / "pairs.csv").write_text(rows)
    found = recognise(tmp_path)
    assert counts(found) == {("scanner", "scanner", "train"): 1, ("lowlight", "lowlight", "train"): 2,
                             ("c", "noise", "train"): 1} and not found.problems  # fmt: skip
    pairs = {item.input.name: item.target.name for s in found.sets for item in s.items if item.input}
    assert pairs == {"x.png": "y.png", "1_dark.png": "1_long.png", "2_dark.png": "2_long.png"}
    (tmp_path / "mine.jsonl").write_text('{"input": "a/x.png", "target": "b/y.png", "split": "test"}\n')
    alone = recognise(tmp_path / "mine.jsonl")
    assert counts(alone) == {("a", "own", "test"): 1} and alone.layout == "list"


@pytest.mark.parametrize("form", ["x/{}.png", "./x/{}.png", "../y/x/{}.png", "ROOT/x/{}.png", "../out [1]/{}.png"])
@pytest.mark.parametrize("star", [True, False])
def test_a_list_takes_paths_of_every_form_and_of_other_places(form, star, tmp_path):
    tree(tmp_path, "y/x/1_a.png y/x/1_b.png y/x/2_a.png y/x/2_b.png")
    (tmp_path / "out [1]").mkdir()
    for file in (tmp_path / "y/x").iterdir():
        (tmp_path / "out [1]" / file.name).touch()
    form = form.replace("ROOT", str(tmp_path / "y"))
    rows = [f"{form.format(f'{n}_a')},{form.format(f'{n}_b')},scanner\n" for n in (["*"] if star else "12")]
    for folder in ("y", "lists"):  # the second has no image itself
        if folder == "y" or form.startswith(("..", "/")):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "pairs.csv").write_text("input,target,task\n" + "".join(rows))
            (found,) = recognise(tmp_path / folder).sets
            pairs = {item.input.name: item.target.name for item in found.items}
            assert found.task == "scanner" and pairs == {"1_a.png": "1_b.png", "2_a.png": "2_b.png"}
            assert all(item.target.is_file() and ".." not in item.name for item in found.items)


def test_the_task_of_a_list_is_a_class_as_that_of_a_folder(tmp_path):
    tree(tmp_path, "a/1.png b/1.png")
    tasks = {"Rain": "rain", "clean": "clean-pairs", "noise": "noise-pairs", "old, 2=3": "old_2_3",
             "low light": "lowlight", "rain+haze": "rain+haze", "deblurring": "blur", "scanner": "scanner"}  # fmt: skip
    for task, label in tasks.items():
        (tmp_path / "pairs.csv").write_text(f'input,target,task\na/1.png,b/1.png,"{task}"\n')
        assert [(s.task, s.paired) for s in recognise(tmp_path).sets] == [(label, True)]
    (tmp_path / "pairs.csv").write_text("input,target,task\n,b/1.png,rain\n")  # a clean photograph, whatever its task
    assert [s.task for s in recognise(tmp_path).sets] == ["noise"]


@pytest.mark.parametrize(
    "name, text, pattern",
    [
        ("pairs.csv", "input,target\na/x.png,nothing.png\n", r"row 2 .*nothing\.png"),
        ("pairs.csv", "input,target\nq/*.png,a/*.png\n", r"row 2 .*q/x\.png"),
        ("pairs.csv", "input,target\na/x.png,\n", "row 2 .*no target"),
        ("pairs.csv", "degraded,clean\na/x.png,a/x.png\n", "input, target.*'clean'"),
        ("pairs.jsonl", '{"input": "a/x.png"', "JSON"),
        ("pairs.jsonl", '{"target": "a/x.png", "split": "dev"}', "split 'dev'"),
    ],
)
def test_a_list_with_a_fault_is_refused(name, text, pattern, tmp_path):
    tree(tmp_path, "a/x.png")
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=pattern):
        recognise(tmp_path)
