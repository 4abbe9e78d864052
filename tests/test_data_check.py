"""`slerlib data check`: every kind of broken tree is named with its path; a clean tree is fit for training."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from slerlib.data import check as checks
from slerlib.data.check import check
from slerlib.data.decode import _size
from slerlib.data.likeness import NEAR, SAME, alignment, correlation, near, phash
from slerlib.data.probe import probe
from slerlib.data.problems import ERRORS, KINDS
from slerlib.data.sources import Sources
from slerlib.errors import UserError

SIZE = (96, 120)  # height, width


def picture(seed, size=SIZE):
    """(H, W, 3) uint8: smooth shapes with some texture, another scene for each seed."""
    rng = np.random.default_rng(seed)
    shapes = gaussian_filter(rng.standard_normal((*size, 3)), (9, 9, 0)) * 20 + rng.standard_normal((*size, 1)) * 0.15
    return (110 + 60 * shapes).clip(0, 255).astype(np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def dark(pixels):
    return (255 * (pixels / 255.0) ** 2.2 * 0.3).astype(np.uint8)


def rainy(pixels):
    return np.maximum(
        pixels, 200 * (np.random.default_rng(0).random(pixels.shape[:2]) > 0.98)[..., None].astype(np.uint8)
    )


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A small tree of layout A without a fault."""
    root = tmp_path_factory.mktemp("sound")
    save(root / "Train/Denoise/1001.jpg", picture(1), quality=90)
    for number in (2, 5, 6):
        save(root / f"Train/Denoise/{number}.bmp", picture(number))
    for number in (1, 2):
        save(root / f"Train/Derain/rainy/rain-{number}.png", rainy(picture(10 + number)))
        save(root / f"Train/Derain/gt/norain-{number}.png", picture(10 + number))
        save(root / f"Train/Enhance/low/{number}.png", dark(picture(20 + number)))
        save(root / f"Train/Enhance/gt/{number}.png", picture(20 + number))
    save(root / "test/denoise/bsd68/1.png", picture(30))
    save(root / "test/derain/Rain100L/input/1.png", rainy(picture(31)))
    save(root / "test/derain/Rain100L/target/1.png", picture(31))
    return root


@pytest.fixture
def root(sound, tmp_path):
    """A copy of it to be broken."""
    return Path(shutil.copytree(sound, tmp_path / "root"))


def test_a_clean_tree_is_ok(root, run):
    report = check(root)
    assert report.ok and not report.problems and len(report.data.sets) == 6
    code, out, _ = run("data", "check", root)
    assert code == 0 and "layout A" in out and "0 errors, 0 warnings. Training can start." in out
    assert "rain100l       rain           train       2 pairs     200         0" in out and "settings: ots" in out
    assert "noise: clean photographs" in out and "1 pairs" not in out
    code, out, _ = run("data", "check", root / "test")
    assert code == 0 and "not trained on" in out and "can start" not in out


# --- broken trees ---


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def resaved(root, source, path, size=None, **options):
    """The same picture in another size and encoding."""
    path = root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    im = Image.open(root / source)
    (im.resize(size, Image.Resampling.BICUBIC) if size else im).save(path, **options)


def link(root, path):
    (root / path).symlink_to(root / "nothing.png")


LOW, RAIN, CLEAN = "Train/Enhance/low/1.png", "Train/Derain/rainy/rain-1.png", "Train/Denoise/1001.jpg"
BROKEN = {
    "input without target": (lambda r: (r / "Train/Derain/gt/norain-1.png").unlink(), "missing-partner", RAIN),
    "target without input": (lambda r: (r / RAIN).unlink(), "missing-partner", "Train/Derain/gt/norain-1.png"),
    "renamed target": (lambda r: (r / "Train/Enhance/gt/1.png").rename(r / "Train/Enhance/gt/one.png"),
                       "missing-partner", LOW),
    "no folder of targets": (lambda r: (r / "Train/Enhance/gt").rename(r / "Train/Enhance/clean"), "missing-folder",
                             "Train/Enhance/low"),
    "two targets": (lambda r: save(r / "Train/Enhance/gt/1.jpg", picture(50)), "ambiguous-partner",
                    "Train/Enhance/gt/1.jpg"),
    "own pair without target": (lambda r: save(r / "mine/input/a.png", picture(51)), "missing-folder", "mine/input"),
    "other size": (lambda r: save(r / RAIN, picture(11)[:90]), "size-mismatch", RAIN),
    "turned on its side": (lambda r: save(r / RAIN, np.rot90(picture(11)).copy()), "size-mismatch", RAIN),
    "0 bytes": (lambda r: (r / CLEAN).write_bytes(b""), "empty-file", CLEAN),
    "text": (lambda r: (r / CLEAN).write_text("<html>Not found</html>"), "not-an-image", CLEAN),
    "cut JPEG": (lambda r: cut(r / CLEAN, 0.7), "truncated", CLEAN),
    "JPEG cut in its head": (lambda r: cut(r / CLEAN, 0.05), "truncated", CLEAN),
    "cut PNG": (lambda r: cut(r / RAIN, 0.6), "truncated", RAIN),
    "cut BMP": (lambda r: cut(r / "Train/Denoise/2.bmp", 0.5), "truncated", "Train/Denoise/2.bmp"),
    "damaged PNG": (lambda r: (r / LOW).write_bytes((r / LOW).read_bytes()[:200] + bytes(900)), "truncated", LOW),
    "link to nothing": (lambda r: link(r, "Train/Denoise/3.bmp"), "unreadable", "Train/Denoise/3.bmp"),
    "tiny": (lambda r: save(r / "Train/Denoise/3.bmp", picture(52)[:20, :20]), "too-small", "Train/Denoise/3.bmp"),
    "a copy in test": (lambda r: (r / "test/denoise/bsd68/2.jpg").write_bytes((r / CLEAN).read_bytes()),
                       "duplicate-train-test", CLEAN),
    "another encoding in test": (lambda r: resaved(r, CLEAN, "test/denoise/bsd68/2.webp", quality=40),
                                 "duplicate-train-test", CLEAN),
    "another size in test": (lambda r: resaved(r, CLEAN, "test/denoise/bsd68/2.png", size=(200, 160)),
                             "duplicate-train-test", CLEAN),
    "a target in test": (lambda r: resaved(r, "Train/Derain/gt/norain-2.png", "test/denoise/bsd68/2.jpg", quality=60),
                         "duplicate-train-test", "Train/Derain/gt/norain-2.png"),
    "a damaged image in test": (lambda r: resaved(r, RAIN, "test/derain/Rain100L/input/1.png"), "duplicate-train-test",
                                RAIN),
    "a photograph in two sets": (lambda r: resaved(r, "Train/Derain/gt/norain-1.png", "Train/Denoise/3.bmp"),
                                 "duplicate", "Train/Derain/gt/norain-1.png"),
    "a file twice": (lambda r: (r / "Train/Denoise/3.bmp").write_bytes((r / "Train/Denoise/2.bmp").read_bytes()),
                     "duplicate", "Train/Denoise/3.bmp"),
    "shifted low-light pair": (lambda r: save(r / LOW, np.roll(dark(picture(21)), (3, 4), (0, 1))), "misaligned", LOW),
    "another low-light scene": (lambda r: save(r / LOW, dark(picture(53))), "misaligned", LOW),
    "greyscale": (lambda r: save(r / "test/denoise/bsd68/1.png", picture(30)[..., 0]), "greyscale",
                  "test/denoise/bsd68/1.png"),
    "without ground truth": (lambda r: save(r / "test/real_nogt/1.png", picture(54)), "ignored", "test/real_nogt"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_tree(name, root):
    spoil, kind, path = BROKEN[name]
    spoil(root)
    report = check(root)
    match = [p for p in report.problems if p.kind == kind and p.path == root / path]
    assert len(match) == 1 and match[0].path.name in match[0].message
    # nothing else is wrong, but for the other half of a broken pair
    others = {p.kind for p in report.problems} - {kind}
    expected = {"no folder of targets": {"ignored"}, "a damaged image in test": {"size-mismatch"}}
    assert others <= expected.get(name, set())
    assert report.ok == (not any(p.kind in ERRORS for p in report.problems)) == (not KINDS[kind])


def test_no_permission(root):
    path = root / CLEAN
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert [(p.kind, p.path) for p in check(root).problems] == [("unreadable", path)]


def test_more_pixels_than_pillow_opens(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIZE[0] * SIZE[1] // 2 - 1)
    assert {p.kind for p in check(root).problems} == {"too-large"}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("wide", [False, True])
def test_a_turned_picture_is_looked_at_upright(tmp_path, suffix, wide):
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees
    pixels = picture(31)[..., 0].astype(np.uint16) * 257 if wide else picture(31)
    if wide and suffix == ".jpg":
        pytest.skip("JPEG has 8 bits")
    turned = save(tmp_path / f"mine/input/1{suffix}", np.rot90(pixels).copy(), exif=exif)
    upright = save(tmp_path / "mine/target/1.png", pixels)
    assert {p.kind for p in check(tmp_path).problems} == {"too-few"}
    text = checks.as_text(check(tmp_path))
    assert "1 error, 0 warnings" in text and "  A training needs" in text
    a, b = probe(turned)[0], probe(upright)[0]
    assert a.size == b.size == _size(turned) == SIZE[::-1] and correlation(a.small, b.small) >= SAME


def test_sixteen_bits(root):
    wide = np.asarray(Image.fromarray(picture(30)).convert("L")).astype(np.uint16) * 257
    save(root / "mine/input/a.png", wide // 2)
    save(root / "mine/target/a.png", wide)
    assert {p.kind for p in check(root).problems} == {"duplicate-train-test"}  # picture 30 is in test


def test_damaged_images_are_named_once(root):
    """A training pair that is in the test set as well is one problem, not two."""
    for source, side in ((RAIN, "input"), ("Train/Derain/gt/norain-1.png", "target")):
        resaved(root, source, f"test/derain/Rain100L/{side}/2.png")
    (problem,) = check(root).problems
    assert problem.kind == "duplicate-train-test" and problem.path == root / "Train/Derain/gt/norain-1.png"
    assert "test/derain/Rain100L/target/2.png" in problem.message


# --- the command ---


def test_json(root, run):
    (root / CLEAN).write_bytes(b"")
    code, out, _ = run("data", "check", root, "--json")
    found = json.loads(out)
    assert code == 1 and found["layout"] == "A" and found["ok"] is False and "ots" in found["missing"]
    assert found["problems"] == [
        {"path": str(root / CLEAN), "kind": "empty-file", "level": "error",
         "message": "1001.jpg has 0 bytes. Copy or download it again."}
    ]  # fmt: skip
    rain = next(one for one in found["sets"] if (one["name"], one["split"]) == ("rain100l", "train"))
    assert rain == {"name": "rain100l", "title": "Rain100L: light rain", "task": "rain", "split": "train",
                    "paired": True, "count": 2, "usual": 200, "problems": 0}  # fmt: skip
    assert next(one for one in found["sets"] if one["name"] == "bsd400")["problems"] == 1


def test_exit_codes(root, run, tmp_path):
    resaved(root, CLEAN, "test/denoise/bsd68/2.webp", quality=80)
    code, out, _ = run("data", "check", root)
    assert code == 1 and "error: duplicate-train-test (1)" in out and CLEAN in out and "not start" in out
    code, out, _ = run("data", "check", root, "--allow", "duplicate-train-test")
    assert code == 0 and "warning: duplicate-train-test (1)" in out and str(root) not in out.split("warning")[1]
    assert run("data", "check", root, "--allow", "greyscale")[0] == 1
    for args, pattern in (
        ((tmp_path / "no",), "does not exist"),
        ((tmp_path / "void",), "none"),
    ):
        (tmp_path / "void").mkdir(exist_ok=True)
        code, out, err = run("data", "check", *args)
        assert code == 1 and pattern in err and not out and "Traceback" not in err
    assert run("data", "mend", root)[0] == 2


def test_list(run):
    code, out, _ = run("data", "list")
    assert code == 0 and "rain100l" in out and "train 200, test 100" in out
    sets = {one["name"]: one for one in json.loads(run("data", "list", "--json")[1])}
    assert sets["gopro"]["counts"] == {"train": 2103, "test": 1111} and sets["cdd11"]["layouts"] == ["B", "C"]


def test_only_errors_can_be_allowed(root):
    with pytest.raises(UserError, match="greyscale"):
        check(root, allow=["greyscale"])
    assert ERRORS < set(KINDS)


# --- likeness ---


def naive_phash(small):
    """Cosine frequencies by their definition."""
    half = [[small[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].astype(float).mean() for x in range(32)] for y in range(32)]
    n = np.arange(32)
    waves = [np.cos(np.pi * k * (2 * n + 1) / 64) * np.sqrt((1 if k == 0 else 2) / 32) for k in range(8)]
    low = [float(waves[v] @ np.array(half) @ waves[u]) for v in range(8) for u in range(8)]
    middle = np.median(low[1:])
    return int("".join("1" if value > middle else "0" for value in low), 2)


@pytest.mark.parametrize("seed", range(4))
def test_phash_is_its_definition(seed):
    small = picture(seed, (64, 64))[..., 0]
    assert int(phash(small)) == naive_phash(small)


def test_near_is_the_hamming_distance():
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 2**64, n, np.uint64) for n in (40, 30))
    b[3] = a[5] ^ np.uint64(0b1011)
    expected = [(i, j) for i in range(40) for j in range(30) if bin(int(a[i]) ^ int(b[j])).count("1") <= 24]
    assert [tuple(row) for row in near(a, b, 24).tolist()] == expected and (5, 3) in expected
    assert near(a, b[:0]).shape == near(a[:0], b).shape == (0, 2)


def test_different_photographs_are_not_the_same():
    from slerlib.data.scenes import photographs

    small = [np.asarray(Image.fromarray(s.image.permute(1, 2, 0).mul(255).byte().numpy()).convert("L").resize((64, 64)))
             for s in photographs()]  # fmt: skip
    hashes = np.array([phash(x) for x in small])
    pairs = [(i, j) for i, j in near(hashes, hashes, NEAR) if i < j and correlation(small[i], small[j]) >= SAME]
    assert pairs == []
    assert correlation(small[0], small[0]) == pytest.approx(1) and correlation(small[0], small[0] * 0) == 0


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-7, 5)])
def test_alignment(shift):
    bright = picture(3, (130, 150))[..., 0]
    inner = slice(20, 110), slice(20, 130)
    moved = np.roll(bright, shift, (0, 1))[inner]
    found, best, unshifted = alignment(dark(bright)[inner], moved)
    assert found == shift and 0.5 < best <= 1.0001 and (best > unshifted + 0.1 or shift == (0, 0))


def test_a_very_dark_noisy_pair_is_aligned_and_another_scene_is_not():
    rng, bright, other = np.random.default_rng(0), picture(3, (200, 220))[..., 0], picture(4, (200, 220))[..., 0]
    night = (dark(bright) / 8 + rng.normal(0, 2, bright.shape)).round().clip(0, 255).astype(np.uint8)
    shift, best, _ = alignment(night, bright)
    assert shift == (0, 0) and best > checks.UNLIKE > alignment(night, other)[1]


def test_a_folder_of_which_nothing_can_be_used_is_no_test_set(tmp_path):
    save(tmp_path / "own" / "noisy1" / "a.png", picture(60))
    text = checks.as_text(check(tmp_path / "own"))
    assert "No image here can be used: see the warnings above." in text and "Move them to another folder" in text


# --- photographs that look paired


def soft(pixels):
    return (gaussian_filter(pixels.astype(float), (1, 1, 0)) * [1, 0.9, 0.65] * 0.75 + 25).round().astype(np.uint8)


def looks(root):
    return [problem.path.name for problem in check(root).problems if problem.kind == "looks-paired"]


def test_pairs_of_unknown_names_are_refused_and_folders_of_a_camera_are_not(tmp_path):
    for number in range(6):
        save(tmp_path / f"a/one/{number}.png", soft(picture(number)))
        save(tmp_path / f"a/two/{number}.png", picture(number))
        save(tmp_path / f"b/one/x{number}.png", soft(picture(number)))  # names that do not correspond
        save(tmp_path / f"b/two/y{number}.png", picture(number))
        save(tmp_path / f"c/im_{number}.png", picture(number))
        save(tmp_path / f"c/im_{number}_s80.png", soft(picture(number)))
        save(tmp_path / f"d/{number}.png", np.concatenate([picture(number), soft(picture(number))], axis=1))
        save(tmp_path / f"camera/100CANON/IMG_{number}.png", picture(number))
        save(tmp_path / f"camera/101CANON/IMG_{number}.png", picture(100 + number))
        save(tmp_path / f"copies/{number}.png", picture(number))
        save(tmp_path / f"copies/{number}-2.jpg", picture(number), quality=98)  # the same picture, not a degraded one
    assert [looks(tmp_path / name) for name in "abcd"] == [["one"], ["one"], ["c"], ["d"]]
    camera = check(tmp_path / "camera")
    assert camera.ok and {problem.kind for problem in camera.problems} == {"same-names"}
    assert looks(tmp_path / "copies") == []
    for name in "abcd":
        with pytest.raises(UserError, match="--allow looks-paired"):
            Sources.of(tmp_path / name)
        assert len(Sources.of(tmp_path / name, allow=["looks-paired"])) in (6, 12)


def test_a_few_edited_pictures_and_bursts_in_a_folder_of_photographs_are_no_pairs(tmp_path):
    for number in range(12):
        save(tmp_path / f"IMG_{number}.png", picture(number))
    save(tmp_path / "IMG_3_edit.png", soft(picture(3)))
    for number in range(2):
        save(tmp_path / f"IMG_5_{number}.png", soft(picture(5)))
    assert looks(tmp_path) == [] and len(Sources.of(tmp_path)) == 15


def test_check_and_training_agree_on_too_few_photographs(tmp_path):
    for number in range(4):
        assert number == 0 or not check(tmp_path).ok
        if number:
            with pytest.raises(UserError, match=f"at least 4 clean images.* has {number}"):
                Sources.of(tmp_path)
        save(tmp_path / f"{number}.png", picture(number))
        if number == 1:
            assert "  A training needs at least 4" in checks.as_text(check(tmp_path))
    assert check(tmp_path).ok and len(Sources.of(tmp_path)) == 4
