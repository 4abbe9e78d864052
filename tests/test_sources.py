"""What there is to train on: sets, repeats, held-out scenes, cache, fingerprint, and how real pairs enter batches."""

import numpy as np
import pytest
import torch
from PIL import Image

from slerlib import UserError, config
from slerlib.data import layouts, promptir
from slerlib.data.check import check
from slerlib.data.decode import Cache, Files, decoded
from slerlib.data.loader import Batches
from slerlib.data.plan import epoch_plan, samples_per_epoch, table
from slerlib.data.sources import CLEAN, Pool, Source, Sources
from slerlib.images import Meta, read_image, write_image

CLASSES = config.CLASSES
RAIN, HAZE, LOWLIGHT = (CLASSES.index(name) for name in ("rain", "haze", "lowlight"))


def flat(value, height=96, width=104):
    """An image that says which it is."""
    return torch.full((3, height, width), value, dtype=torch.uint8)


def clean(count=6, name="photographs"):
    return Source(name, CLEAN, tuple(f"c{i}" for i in range(count)), [flat(100 + i) for i in range(count)])


def pairs(task, count=4, first=200, name=None, size=(96, 104)):
    """Pairs whose clean sides are `first`, `first` + 1, ... and whose degraded sides are 150 less."""
    targets = [flat(first + i, *size) for i in range(count)]
    names = tuple(f"{task}{i}" for i in range(count))
    return Source(name or f"my{task}", task, names, targets, [x - 150 for x in targets])


def mixed(**options):
    return Sources([clean(**options), pairs("rain"), pairs("lowlight", 8, first=230)], "made up")


def batches(sources, grid=0, batch=22, classes=CLASSES, share=1.0, real_rows=0, **data):
    cfg = config.DataConfig(crop=32, **data)
    return Batches(
        sources.with_repeats(cfg.repeat_counts()), classes, cfg, 64, batch, 0, grid, share, real_rows=real_rows
    )


def values(batch, key="clean"):
    return (batch[key][:, 0, 0, 0] * 255).round().int().tolist()


# --- sets and repeats


def test_a_pool_holds_every_item_as_often_as_its_set_is_repeated():
    pool = Pool([Source("a", CLEAN, ("x", "y"), [flat(1), flat(2)], repeats=3), Source("b", CLEAN, ("z",), [flat(9)])])
    assert len(pool) == 7
    first, second = ([int(pool.shuffled(n, 5)[1][0, 0, 0]) for n in range(k, k + 7)] for k in (0, 7))
    assert sorted(first) == sorted(second) == [1, 1, 1, 2, 2, 2, 9] and first != second
    with pytest.raises(IndexError):
        pool[7]


def test_repeats_by_set_or_task_and_nothing_else():
    sources = Sources([clean(), pairs("rain", name="one"), pairs("rain", name="two")], "made up")
    named = sources.with_repeats({"rain": 5, "two": 2, "haze": 9})
    assert [s.repeats for s in named] == [1, 5, 2]
    with pytest.raises(UserError, match="photographs, one, two.*got 'three'"):
        sources.with_repeats({"three": 2})
    for bad in (("rain",), ("rain=0",), ("=3",), ("rain=x",)):
        with pytest.raises(UserError, match="NAME=COUNT"):
            config.DataConfig(repeats=bad)
    cfg = config.with_overrides(config.recipe("tiny"), ["data.repeats=rain=120,noise=3"])
    assert cfg.data.repeat_counts() == {"rain": 120, "noise": 3}
    assert config.from_json(config.to_json(cfg)) == cfg


def of_size(name, task, count):
    """A set of any size whose images are one and the same."""
    image = [flat(7, 32, 32)] * count
    return Source(name, task, tuple(map(str, range(count))), image, None if task == CLEAN else image)


@pytest.mark.parametrize(("name", "total"), [("paper3", 142431), ("paper5", 162646)])
def test_published_settings_count_what_the_peers_count(name, total):
    cfg = config.recipe(name)
    sizes = {"rain": 200, "haze": 72135, "blur": 2103, "lowlight": 485}
    sets = [of_size("BSD400", CLEAN, 400), of_size("WED", CLEAN, 4744)]
    sets += [of_size(task, task, count) for task, count in sizes.items()]
    sources = Sources(sets, "made up").with_repeats(cfg.data.repeat_counts())
    rows = epoch_plan(Batches(sources, cfg.model.classes, cfg.data, 256, 32, 0))
    assert samples_per_epoch(rows) == total
    by_set = {row["set"]: round(row["samples"]) for row in rows}
    assert by_set["BSD400"] + by_set["WED"] == 5144 * 9 and by_set["rain"] == 24000
    assert by_set["blur"] == (0 if name == "paper3" else 10515)
    assert f"{total:13d}" in table(rows).splitlines()[-1]
    assert ("not used" in table(rows)) == (name == "paper3")


def test_the_plan_is_what_is_drawn():
    data = batches(mixed(), repeats=("rain=3",))
    rows = {row["set"]: row for row in epoch_plan(data)}
    seen = np.array(sum((values(data[step]) for step in range(40)), []))
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
    assert rows["myrain"]["share"] == pytest.approx(np.isin(seen, range(200, 204)).mean(), abs=1e-9)
    assert rows["mylowlight"]["share"] == pytest.approx(np.isin(seen, range(230, 238)).mean(), abs=1e-9)
    assert rows["myrain"]["samples"] == pytest.approx(rows["myrain"]["share"] * (6 + 3 * 4 + 8))


def test_without_photographs_the_clean_sides_are_the_scenes():
    sources = Sources([pairs("rain", 8)], "made up")
    batch = batches(sources, batch=44)[0]
    assert set(values(batch)) <= set(range(200, 208))
    assert batch["real"].tolist() == [
        False if k != RAIN else r for k, r in zip(batch["label"], batch["real"], strict=True)
    ]
    assert [len(part.clean) for part in sources.hold_out(24)] == [6, 2]


# --- how real pairs enter


def test_real_pairs_take_their_share_of_their_class():
    data = batches(mixed(), batch=22)
    parts = [data[step] for step in range(8)]
    label, real = (torch.cat([p[key] for p in parts]) for key in ("label", "real"))
    seen = torch.tensor(sum(map(values, parts), []))
    for k in range(len(CLASSES)):
        assert int(real[label == k].sum()) == (12 if k in (RAIN, LOWLIGHT) else 0)
        assert int((label == k).sum()) == (24 if k < 7 else 8)
    assert sorted(seen[real & (label == RAIN)].tolist()) == sorted([200, 201, 202, 203] * 3)
    degraded = torch.tensor(sum((values(p, "degraded") for p in parts), []))
    assert torch.equal(degraded[real], seen[real] - 150)
    assert bool((seen[~real] < 200).all())


def test_no_real_share_is_synthesis_alone():
    alone, both = batches(Sources([clean()], "made up"))[3], batches(mixed(), real_share=0)[3]
    assert all(torch.equal(alone[key], both[key]) for key in alone)
    everything = batches(mixed(), real_share=1.0)[0]
    assert bool((everything["real"] == torch.isin(everything["label"], torch.tensor([RAIN, LOWLIGHT]))).all())


def test_crop_and_view_of_a_real_pair_are_one_image_even_when_it_is_small():
    rng = np.random.default_rng(0)
    images = [torch.from_numpy(rng.integers(0, 256, (3, 40, 52), dtype=np.uint8)) for _ in range(4)]
    small = Source("small", "rain", tuple("abcd"), images, [255 - x for x in images])
    batch = batches(Sources([clean(), small], "made up"), real_share=1.0)[0]
    assert int(batch["real"].sum()) == 3
    for n in torch.nonzero(batch["real"]).flatten().tolist():
        torch.testing.assert_close(batch["degraded"][n], 1 - batch["clean"][n])  # both sides cut at one place
        y, x = batch["place"][n].tolist()
        assert torch.equal(batch["degraded"][n], batch["context"][n][:, y : y + 32, x : x + 32])


def test_a_grid_has_rows_of_real_scenes_and_a_real_row():
    data = batches(mixed(), grid=4, real_rows=1)
    batch = data[0]
    assert batch["label"].tolist() == list(range(8)) * 4 + [RAIN, LOWLIGHT]
    scenes = torch.tensor(values(batch))[:32].reshape(4, 8)
    assert bool((scenes == scenes[:, :1]).all())  # one scene per row
    real = batch["real"][:32].reshape(4, 8)
    assert real.sum(1).tolist() == [0, 1, 0, 1] and batch["real"][32:].all()
    for row in (1, 3):
        own = LOWLIGHT if scenes[row, 0] >= 230 else RAIN
        assert real[row].nonzero().flatten().tolist() == [own] and scenes[row, 0] >= 200
    assert {int(r.nonzero()) for r in real if r.any()} == {RAIN, LOWLIGHT}  # classes of pairs in turn
    assert torch.equal(
        torch.tensor(values(batch, "degraded"))[batch["real"]], torch.tensor(values(batch))[batch["real"]] - 150
    )


@pytest.mark.parametrize("options", [{}, {"grid": 3, "real_rows": 1}, {"protocol": "promptir", "repeats": ("rain=5",)}])
def test_workers_and_order_do_not_change_real_batches(options):
    whole, again = batches(mixed(), batch=4, **options), batches(mixed(), batch=4, **options)
    alone, many = list(whole.loader(0, 5)), list(again.loader(2, 5, workers=2))  # as after a resume
    for a, b in zip(alone[2:], many, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_pair_of_two_sizes_is_named():
    odd = Source("odd", "rain", ("good", "bad"), [flat(1), flat(2)], [flat(1), flat(2, 90)])
    with pytest.raises(UserError, match="'bad' of odd has 104x90 and 104x96"):
        odd.pair(1)


# --- protocol promptir


def test_promptir_draws_by_repeats():
    classes = ("noise15", "noise25", "rain")
    data = batches(mixed(), batch=20, classes=classes, protocol="promptir", repeats=("noise=2", "rain=5"))
    epoch = [data[step] for step in range(44 // 4)]  # 2 levels x 2 x 6 + 5 x 4 = 44, five epochs
    label = torch.cat([b["label"] for b in epoch])
    seen = np.array(sum(map(values, epoch), []))
    assert torch.bincount(label).tolist() == [60, 60, 100]
    assert np.unique(seen, return_counts=True)[1].tolist() == [20] * 6 + [25] * 4
    assert samples_per_epoch(epoch_plan(data)) == 44
    with pytest.raises(UserError, match="has nothing for them"):
        batches(Sources([clean()], "made up"), classes=("rain", "blur"), protocol="promptir")


def ramp(height, width):
    """Every pixel says where it lies: (row, column, 0)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([y, x, 0 * x]).to(torch.uint8)


def test_promptir_crops_uniformly_in_the_centre_and_brings_a_view():
    image, seen = ramp(107, 83), set()  # centre crop 96 x 80, from row 5 and column 1
    for n in range(300):
        rng = np.random.default_rng(n)
        x, y, view, (top, left), whole = promptir.sample(image, image, None, 32, 64, 8, 1.0, rng)
        assert torch.equal(x, y) and x.shape == (3, 32, 32) and view.shape == (3, 64, 64)
        assert torch.equal(x, view[:, top : top + 32, left : left + 32]) and top % 8 == left % 8 == 0
        rows, columns = (x * 255).round().int()[:2]
        assert rows.max() - rows.min() == columns.max() - columns.min() == 31  # never mirrored within the crop
        assert 5 <= rows.min() and rows.max() < 101 and 1 <= columns.min() and columns.max() < 81
        seen.add((int(rows.min()), int(columns.min())))
    assert {r for r, _ in seen} >= {5, 69} and {c for _, c in seen} >= {1, 49}  # all places, borders too


def test_promptir_turns_in_all_eight_ways():
    image, ways = ramp(64, 64), set()
    for n in range(100):
        x = promptir.sample(image, image, None, 32, 64, 8, 0.0, np.random.default_rng(n))[0]
        down, right = x[:2, 1, 0] - x[:2, 0, 0], x[:2, 0, 1] - x[:2, 0, 0]
        ways.add(tuple((255 * torch.cat([down, right])).round().int().tolist()))
    assert len(ways) == 8


def test_promptir_noise_is_clipped_and_floored_to_8_bits():
    white = flat(255, 256, 256)
    x, y, view, *_ = promptir.sample(None, white, 25.0, 128, 256, 8, 1.0, np.random.default_rng(0))
    levels = view * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
    assert bool((y == 1).all()) and 0.48 < float((x == 1).float().mean()) < 0.52  # half is clipped
    grey = promptir.sample(None, flat(128, 256, 256), 15.0, 128, 256, 8, 1.0, np.random.default_rng(0))[2] * 255
    assert float(grey.mean()) == pytest.approx(127.5, abs=0.15) and float(grey.std()) == pytest.approx(15, rel=0.02)


# --- files


def test_the_cache_stays_within_its_budget(tmp_path):
    for n in range(4):
        Image.fromarray(np.full((40, 50, 3), 60 * n, np.uint8)).save(tmp_path / f"{n}.png")
    cache = Cache(budget=2 * 40 * 50 * 3)
    files = Files([tmp_path / f"{n}.png" for n in range(4)], cache)
    for n in (0, 1, 0, 2):  # 1 is the least recently used when 2 comes
        assert bool((files[n] == 60 * n).all()) and cache.bytes <= cache.budget
    assert [p.name for p in cache.images] == ["0.png", "2.png"]
    assert files[0] is files[0]


@pytest.mark.parametrize(
    "kind", ["png", "jpg", "webp", "bmp", "grey.png", "rgba.png", "palette.png", "16.png", "turned.jpg"]
)
def test_decoding_has_the_values_of_the_reader(tmp_path, kind):
    rng, file = np.random.default_rng(0), tmp_path / f"x.{kind}"
    image, options = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)), {}
    if kind == "16.png":
        write_image(file, torch.rand(3, 40, 50), Meta(depth=16))
    else:
        mode = {"grey.png": "L", "rgba.png": "RGBA", "palette.png": "P"}.get(kind, "RGB")
        if kind == "turned.jpg":
            options["exif"] = Image.Exif()
            options["exif"][274] = 6
        image.convert(mode).save(file, **options)
    expected = (read_image(file)[0] * 255).round().to(torch.uint8)
    assert torch.equal(decoded(file), expected)


def test_the_fingerprint_follows_names_and_content():
    one = mixed().fingerprint()
    assert one == mixed().fingerprint() and len(one) == 64
    changed = mixed()
    changed.sets[1].inputs[0][0, 0, 0] += 1
    renamed = Sources([clean(name="other"), *mixed().sets[1:]], "made up")
    assert len({one, changed.fingerprint(), renamed.fingerprint()}) == 3


def test_another_photograph_of_the_same_name_and_length_changes_the_fingerprint(tmp_path):
    for number in range(4):
        Image.fromarray(np.full((400, 400, 3), number, np.uint8)).save(tmp_path / f"{number}.bmp")
    before, length = Sources.of(tmp_path).fingerprint(), (tmp_path / "0.bmp").stat().st_size
    assert length > 2 << 17 and Sources.of(tmp_path).fingerprint() == before
    Image.fromarray(np.full((400, 400, 3), 99, np.uint8)).save(tmp_path / "0.bmp")
    assert (tmp_path / "0.bmp").stat().st_size == length and Sources.of(tmp_path).fingerprint() != before


def written(root, *sets, problems=()):
    """What the layouts would say of files (name, task, split, width, height, count), which are written here."""
    images = []
    for name, task, split, width, height, count in sets:
        items = []
        for n in range(count):
            sides = [root / name / side / f"{n}.png" for side in (("gt",) if task == CLEAN else ("gt", "input"))]
            for file in sides:
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((height, width, 3), 10 * n, np.uint8)).save(file)
            items.append(layouts.Item(f"{n}.png", None if task == CLEAN else sides[1], sides[0]))
        images.append(layouts.ImageSet(name, task, split, tuple(items)))
    return layouts.DataFolder("A", root, tuple(images), tuple(problems))


@pytest.fixture
def recognised(tmp_path, monkeypatch):
    def use(*sets, problems=()):
        there = written(tmp_path, *sets, problems=problems)
        monkeypatch.setattr(layouts, "recognise", lambda root: there)
        return tmp_path

    return use


def test_training_sets_of_a_layout_and_never_its_tests(recognised):
    problem = layouts.Problem(tmp := recognised().joinpath("lost"), "ignored", "lost has no partner")
    root = recognised(
        ("bsd400", CLEAN, "train", 50, 40, 4),
        ("rain100l", "rain", "train", 50, 40, 3),
        ("rain100l-test", "rain", "test", 50, 40, 2),
        ("cbsd68", CLEAN, "test", 50, 40, 2),
        ("cdd11", "rain", "train", 50, 40, 2),
        ("cdd11", "lowlight+rain", "train", 50, 40, 2),
        problems=[problem],
    )
    sources = Sources.of(root)
    assert [(s.name, s.task, len(s)) for s in sources] == [
        ("bsd400", CLEAN, 4),
        ("rain100l", "rain", 3),
        ("cdd11-rain", "rain", 2),
        ("cdd11-lowlight+rain", "lowlight+rain", 2),
    ]
    assert sources.layout == "layout A" and sources.notes == (f"{tmp} has no partner",)
    degraded, target = sources.pairs("rain")[1]
    assert degraded.shape == target.shape == (3, 40, 50)
    cache = sources.sets[0].targets.cache
    assert len(cache.images) == 4 + 2 * 3 + 2 * 2  # all of it fits: decoded, and so checked, at once
    small = Sources.of(root, budget=40 * 50 * 3)
    assert not small.sets[0].targets.cache.images and small.fingerprint() == sources.fingerprint()
    a, b = (batches(s, batch=4)[1] for s in (sources, small))
    assert all(torch.equal(a[key], b[key]) for key in a)
    with pytest.raises(UserError, match=r"holds only tests \(cbsd68\)"):
        Sources.of(recognised(("cbsd68", CLEAN, "test", 50, 40, 2)))


def test_noise_of_a_camera_is_a_class_of_its_own(tmp_path):
    for number in range(4):
        for side in ("noisy", "clean"):
            (tmp_path / "sidd" / side).mkdir(parents=True, exist_ok=True)
            picture(tmp_path / "sidd" / side / f"{number}.png", number)
    (source,) = Sources.of(tmp_path)
    assert (source.name, source.task, len(source.inputs)) == ("sidd", "sidd", 4)


def picture(path, number):
    """A picture of its own for each number."""
    rng = np.random.default_rng(number)
    Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize((60, 50), 3).save(path)


def test_what_is_not_used_is_an_error_unless_it_is_allowed(tmp_path):
    for number in range(6):
        for side in ("input", "target"):
            (tmp_path / "old" / side).mkdir(parents=True, exist_ok=True)
            picture(tmp_path / "old" / side / f"{number}.png", number)
    (tmp_path / "old" / "target" / "5.png").unlink()
    with pytest.raises(UserError, match=r"5\.png has no clean partner.*--allow missing-partner"):
        Sources.of(tmp_path)
    for allow in ("missing-partner", "5.png", "input"):
        assert len(Sources.of(tmp_path, allow=[allow])) == 5
    with pytest.raises(UserError, match=r"--allow takes .*got 6\.png"):
        Sources.of(tmp_path, allow=["6.png", "5.png"])


def test_training_and_check_allow_the_same_names_of_sets(tmp_path):
    for folder in ("low_haze", "haze_rain", "clear"):
        (tmp_path / "cdd11" / "train" / folder).mkdir(parents=True)
        for number in range(4):
            picture(tmp_path / "cdd11" / "train" / folder / f"{number}.png", number)
    names = [s.name for s in Sources.of(tmp_path)]
    assert names == ["cdd11-haze+rain", "cdd11-lowlight+haze"]
    for name in (*names, "cdd11"):
        assert len(Sources.of(tmp_path, allow=[name])) == 8 and check(tmp_path, allow=[name]).ok


def test_pairs_whose_names_do_not_match_are_no_tests(tmp_path):
    for side, name in (("input", "1_dark.png"), ("target", "1_ok.png")):
        (tmp_path / side).mkdir()
        Image.new("RGB", (50, 40)).save(tmp_path / side / name)
    with pytest.raises(UserError, match=r"no image that can be used\. 1_dark.png has no clean partner in target"):
        Sources.of(tmp_path)


def test_unfit_files_are_named_before_training(recognised):
    root = recognised(("bsd400", CLEAN, "train", 50, 40, 2), ("rain100l", "rain", "train", 50, 40, 2))
    file = root / "rain100l" / "input" / "1.png"
    Image.new("RGB", (52, 40)).save(file)
    with pytest.raises(UserError, match=r"input/1.png \(52x40\) and .*gt/1.png \(50x40\) have not. Remove 1 pair"):
        Sources.of(root)
    Image.new("RGB", (8, 40)).save(file)
    with pytest.raises(UserError, match=r"at least 32 pixels a side; smaller: .*input/1.png \(8x40\)"):
        Sources.of(root)
    file.write_bytes(b"")
    with pytest.raises(UserError, match="1.png is empty"):
        Sources.of(root)
    Image.new("RGB", (50, 40)).save(file)
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(UserError, match="truncated or damaged"):
        Sources.of(root)
