"""Haze that follows measured depth: the maps, where they lie, the scattering model on them, which samples have it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trainings
from PIL import Image

from slerlib import UserError, config
from slerlib.data.check import as_text, check
from slerlib.data.depth import FARTHEST, SCENE_MEDIAN
from slerlib.data.layouts import recognise
from slerlib.data.loader import Batches
from slerlib.data.measured import of_photograph, scene_depth, transplanted
from slerlib.data.plan import epoch_plan, follows
from slerlib.data.sources import Source, Sources
from slerlib.train.run import Run

CLASSES = ("rain", "haze", "blur", "clean")
BLUE = (30, 60, 250)  # the colour of photographs with depth, which no other has


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def steps(height=48, width=64):
    """Depth in three vertical strips, 10, 20 and 30 m."""
    return (10_000 * (1 + 3 * np.arange(width) // width)).astype(np.uint16) + np.zeros((height, 1), np.uint16)


def photograph(number, height=48, width=64):
    return np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Five photographs, and in Depth/ four with a map beside each."""
    for n in range(5):
        save(tmp_path / "photos" / f"{n}.png", photograph(n))
    for n in range(4):
        save(tmp_path / "Depth" / "street" / f"{n}.color.png", photograph(10 + n))
        save(tmp_path / "Depth" / "street" / f"{n}.depth.png", steps())
    return tmp_path


def scenes(depth, colour=BLUE, count=4):
    """Photographs of one colour with a depth map, in memory, beside others."""
    image = torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, *depth.shape).contiguous()
    return Source("street", "depth", tuple(map(str, range(count))), [image] * count, [depth] * count)


def batches(sources, grid=0, **data):
    cfg = config.DataConfig(**{"crop": 64, "clean_share": 0.0, "severity": (0.5, 0.5), **data})
    return Batches(sources, CLASSES, cfg, 64, 24, 0, grid, 1.0)


def level(value, height=96, width=104):
    return torch.full((height, width), value, dtype=torch.float16)


# --- maps


def test_a_map_has_the_median_of_every_scene_and_its_sky_is_far(tmp_path):
    values = steps()
    values[:8], values[20, 30] = 65_000, 0  # sky, a hole
    depth = scene_depth(save(tmp_path / "1.depth.png", values)).float()
    assert depth[8:].median() == SCENE_MEDIAN and (depth[:8] == FARTHEST).all()
    torch.testing.assert_close(depth[40, [5, 32, 60]], SCENE_MEDIAN * torch.tensor([0.5, 1, 1.5]))
    assert depth[20, 30] == depth[20, 31]
    halved = scene_depth(save(tmp_path / "2.depth.png", np.where(values < 65_000, values // 2, values)))
    assert torch.equal(halved.float(), depth), "the unit does not count"


@pytest.mark.parametrize(
    "values, fault",
    [
        ((steps() // 1000).astype(np.uint8), "has 8 bits"),
        (steps() // 1000, "a median of 20. Multiply metres by 1000"),
        (np.full((48, 64), 65_000, np.uint16), "is sky everywhere"),
        (np.zeros((48, 64), np.uint16), "at least one measurement"),
    ],
)
def test_a_map_in_another_unit_is_named_by_check_and_training(values, fault, folder):
    file = save(folder / "Depth" / "street" / "2.depth.png", values)
    with pytest.raises(UserError, match=fault):
        scene_depth(file)
    with pytest.raises(UserError, match=fault):
        Sources.of(folder, depth=True)
    (problem,) = check(folder).problems
    assert problem.kind == "unfit-depth" and problem.path == file and fault in problem.message
    assert Sources.of(folder).depths is None, "without data.depth_share no map is read"


def test_a_map_of_another_size_is_named(folder):
    save(folder / "Depth" / "street" / "2.depth.png", steps(48, 66))
    with pytest.raises(UserError, match="must have the same size"):
        Sources.of(folder, depth=True)
    assert [p.kind for p in check(folder).problems] == ["size-mismatch"]


# --- where they are found


@pytest.mark.parametrize(
    "photo, map_",
    [
        ("kitchen/1.color.png", "kitchen/1.depth.png"),
        ("kitchen/IMG_1.png", "kitchen/IMG_1_depth.png"),
        ("kitchen/rgb/1.png", "kitchen/depth/1.png"),
        ("kitchen/colour/1.png", "kitchen/Depth/1.png"),
    ],
)
def test_maps_beside_photographs(photo, map_, tmp_path):
    for file in (photo, map_, "photos/a.png", "photos/b.png"):
        save(tmp_path / file, photograph(0))
    found = {s.task: s for s in recognise(tmp_path).sets}
    assert set(found) == {"noise", "depth"} and len(found["noise"].items) == 2
    (item,) = found["depth"].items
    assert found["depth"].name == "kitchen" and (item.input, item.target) == (tmp_path / map_, tmp_path / photo)


def test_a_map_without_a_photograph_is_no_photograph(folder):
    lone = save(folder / "Depth" / "more" / "9.depth.png", steps())
    found = recognise(folder)
    assert sorted((s.task, len(s.items)) for s in found.sets) == [("depth", 4), ("noise", 5)]
    assert [(p.path, p.kind) for p in found.problems] == [(lone.parent, "ignored")]


def test_check_counts_scenes(folder):
    text = as_text(check(folder))
    assert "4 scenes" in text and "data.depth_share" in text and "0 errors, 0 warnings" in text


def test_photographs_with_maps_alone_are_photographs(folder):
    only = folder / "Depth"
    assert [(s.task, len(s)) for s in Sources.of(only)] == [("noise", 4)]
    both = Sources.of(only, depth=True)
    assert sorted((s.task, len(s)) for s in both) == [("depth", 4), ("noise", 4)] and len(both.clean) == 4


def test_no_map_is_scored_as_a_damaged_image(folder):
    from slerlib.evaluation.settings import chosen

    save(folder / "pairs" / "input" / "1.png", photograph(20))
    save(folder / "pairs" / "target" / "1.png", photograph(21))
    columns, _ = chosen(folder, "pairs")
    assert columns and all("depth" not in column.task for column in columns)
    assert not any("depth" in str(item.input) for column in columns for item in column.items)


# --- haze on them


def test_haze_is_the_scattering_model_on_the_depth_of_the_photograph():
    """A black photograph in strips of 1, 2 and 3 times a depth: A (1 - t), A (1 - t^2), A (1 - t^3)."""
    depth = level(8.0, 80, 80)
    depth[:, 27:54], depth[:, 54:] = 16.0, 24.0
    sources = Sources([scenes(depth, (0, 0, 0)), trainings.made_up().sets[0]], "made up")
    batch, seen = batches(sources, depth_share=1.0)[0], 0
    for row in torch.nonzero(batch["label"] == CLASSES.index("haze")).flatten():
        if batch["clean"][row].any():
            continue
        values = torch.stack([batch["degraded"][row].double()[:, :, n] for n in (4, 32, 60)])  # 3 strips, RGB, rows
        one, two, three = values if values[0].mean() < values[2].mean() else values.flip(0)
        t = two / one - 1
        torch.testing.assert_close(three / one, 1 + t + t * t, atol=2e-3, rtol=0)
        assert (t > 0.3).all() and (t < 0.95).all()
        air = one / (1 - t)
        assert (air > 0.6).all() and (air < 1.02).all()
        seen += 1
    assert seen >= 2


def test_severity_keeps_its_meaning_on_any_depth():
    """Haze of severity 0.5 costs grey scenes of very different depth the same."""
    (photos,) = trainings.made_up()
    errors = []
    for shape in (np.linspace(1, 3, 104), np.linspace(1, 40, 104) ** 2):
        scene = torch.from_numpy((shape / np.median(shape) * SCENE_MEDIAN).astype(np.float16)) + level(0.0)
        sources = Sources([scenes(scene, (60, 60, 60)), photos], "made up")
        rows = []
        for step in range(8):
            batch = batches(sources, depth_share=1.0)[step]
            own = (batch["label"] == 1) & ((batch["clean"] - 60 / 255).abs().amax((1, 2, 3)) < 1e-6)
            rows += [(batch["degraded"][n] - batch["clean"][n]).square().mean().sqrt().item() for n in own.nonzero()]
        errors.append(np.mean(rows))
    assert errors[0] == pytest.approx(errors[1], rel=0.2)


def test_the_sky_is_hazed_most_and_never_nearer_than_the_rest():
    depth = level(SCENE_MEDIAN)
    depth[:30] = FARTHEST
    image = torch.zeros(3, 96, 104, dtype=torch.uint8)
    sky = []
    for seed in range(40):
        drawn = of_photograph(depth, image, seed, (0, 0, 96, 104))
        assert (drawn[40:] == drawn[40, 0]).all() and drawn[0, 0] > 2.9 * drawn[40, 0]
        sky.append((drawn[0, 0] / drawn[40, 0]).item())
    assert max(sky) / min(sky) > 5, "now and then it is not closed, as in RESIDE"


def test_a_photograph_mirrored_to_reach_a_size_has_its_depth_mirrored():
    depth = torch.arange(40, 80).to(torch.float16).expand(50, 40)
    drawn = of_photograph(depth, torch.zeros(3, 60, 70, dtype=torch.uint8), 0, (0, 0, 60, 70))
    torch.testing.assert_close(drawn[:, 40:70], drawn[:, 9:39].flip(1))


def test_depth_of_another_scene_covers_the_photograph_and_follows_its_edges():
    image = torch.full((3, 96, 128), 40, dtype=torch.uint8)
    image[:, 40:, 50:] = 220
    depth = torch.linspace(40, 4, 60)[:, None].expand(60, 200).half()
    whole = transplanted(depth, image, 3, (0, 0, 96, 128))
    assert torch.equal(transplanted(depth, image, 3, (20, 30, 40, 50)), whole[20:60, 30:80])
    assert not torch.equal(transplanted(depth, image, 4, (0, 0, 96, 128)), whole)
    rows = whole.median(1).values
    assert rows[5] > 1.5 * rows[90], "what is above stays above"
    flat = transplanted(depth, torch.full_like(image, 40), 3, (0, 0, 96, 128))
    jump = [(x[40:, 49] / x[40:, 50]).log().abs().mean() for x in (whole, flat)]
    assert jump[0] > 3 * jump[1]


# --- which samples


@pytest.fixture(scope="module")
def street():
    depth = (4 + torch.arange(104) / 4).half().expand(96, 104).contiguous()
    return scenes(depth)


def test_no_share_keeps_every_bit(street):
    (photos,) = trainings.made_up()
    for grid in (0, 2):
        without, beside = batches(Sources([photos], "a"), grid)[3], batches(Sources([photos, street], "a"), grid)[3]
        assert all(torch.equal(without[key], beside[key]) for key in without)


@pytest.mark.parametrize("options", [{}, {"grid": 2}, {"composite_share": 0.5}, {"local_share": 1.0}])
def test_only_haze_changes_and_workers_change_nothing(street, options):
    sources = Sources([trainings.made_up().sets[0], street], "made up")
    old, new = batches(sources, **options), batches(sources, depth_share=1.0, **options)
    changed = 0
    for before, after, again in zip(old.loader(0, 3), new.loader(0, 3), new.loader(0, 3, workers=2), strict=True):
        assert all(torch.equal(after[key], again[key]) for key in after)
        assert torch.equal(before["parts"], after["parts"])
        hazy = after["parts"][:, CLASSES.index("haze")]
        same = torch.tensor([torch.equal(*rows) for rows in zip(before["degraded"], after["degraded"], strict=True)])
        assert same[~hazy].all()
        changed += int((~same & hazy).sum())
        for row, number in enumerate(after["rows"].tolist()):  # the encoder sees the haze of the crop
            y, x = after["place"][row]
            assert torch.equal(after["context"][row][:, y : y + 64, x : x + 64], after["degraded"][number])
    assert changed > 3


@pytest.mark.parametrize("options", [{"depth_share": 0.6}, {"depth_share": 1.0, "composite_share": 0.4}])
def test_the_plan_is_what_is_drawn(street, options):
    sources = Sources([trainings.made_up().sets[0], street], "made up")
    data, count = batches(sources, **options), 0
    for step in range(40):
        clean = data[step]["clean"]
        count += int((clean.std((2, 3)).amax(1) < 1e-4).sum())  # photographs of one colour
    shares = {row["set"]: row["share"] for row in epoch_plan(data)}
    assert sum(shares.values()) == pytest.approx(1) and shares["street"] > 0.09
    assert count / (40 * 24) == pytest.approx(shares["street"], abs=0.03)


def test_maps_that_do_not_lie_on_their_photographs_serve_others_alone(street, tmp_path):
    sources = Sources([trainings.made_up().sets[0], replace(street, loose=True)], "made up")
    data = batches(sources, depth_share=1.0)
    assert all(data[step]["clean"].std((2, 3)).amax(1).min() > 1e-3 for step in range(4)), "no photograph of one colour"
    row = next(row for row in epoch_plan(data) if row["task"] == "depth")
    assert row["share"] == 0 and row["use"] == "haze by its depth, on other photographs"
    assert "depth of another scene 100.0%" in follows(data)[0]
    for name in ("7scenes", "kitti"):
        save(tmp_path / "Train" / "Depth" / name / "1.color.png", photograph(0))
        save(tmp_path / "Train" / "Depth" / name / "1.depth.png", steps())
        for n in range(4):
            save(tmp_path / "Train" / "Denoise" / f"{n}.png", photograph(n + 5))
    found = {s.name: s.loose for s in Sources.of(tmp_path, depth=True) if s.task == "depth"}
    assert found == {"7scenes": True, "kitti": False}


def test_a_grid_keeps_its_scenes(street):
    sources = Sources([trainings.made_up().sets[0], street], "made up")
    batch = batches(sources, 3, depth_share=1.0)[0]
    for first in range(0, 12, 4):
        assert all(torch.equal(batch["clean"][first], batch["clean"][first + n]) for n in range(4))


def test_the_shares_are_printed(street):
    sources = Sources([trainings.made_up().sets[0], street], "made up")
    text = "haze: real pairs 0.0%, depth of the photograph 25.0%, depth of another scene 25.0%, made-up depth 50.0%"
    assert follows(batches(sources, depth_share=0.5)) == [text] and follows(batches(sources)) == []
    use = {row["set"]: row["use"] for row in epoch_plan(batches(sources, depth_share=0.5))}
    assert use["street"] == "haze by its depth, here and on others"


# --- what is held out


def test_photographs_with_depth_hold_out_nothing_else_and_what_shows_the_same(folder):
    for n in range(4):  # the first two show photographs of the clean set
        values = photograph(n if n < 2 else 10 + n)
        save(folder / "Depth" / "street" / f"{n}.color.png", values)
    for n in range(5, 16):
        save(folder / "photos" / f"{n}.png", photograph(n + 40))
    plain, withal = (Sources.of(folder, depth=depth).hold_out(4) for depth in (False, True))
    photos = [[s.names for s in part if s.task == "noise"] for part in (*plain, *withal)]
    assert photos[:2] == photos[2:]
    held = {name for names in photos[1] for name in names}
    out = [set(s.names) for s in withal[1] if s.task == "depth"]
    expected = {f"{n}.depth.png" for n in range(2) if f"{n}.png" in held}
    assert expected <= set().union(*out) and len(withal[0].depths) + sum(map(len, out)) == 4


def test_a_share_without_any_map_is_refused(tmp_path):
    cfg = trainings.make()
    sources = Sources([trainings.made_up().sets[0]], "made up")
    cfg = config.with_overrides(cfg, ["data.depth_share=0.5"])
    with pytest.raises(UserError, match=r"1.depth.png beside 1.color.jpg .* made up has none"):
        Run(cfg, sources, tmp_path, torch.device("cpu"))
    cfg = config.with_overrides(trainings.make(), ["data.real_composites=0.5", "data.composite_share=0.2"])
    with pytest.raises(UserError, match=r"real_composites=0.5 adds .* got data.composite_share=0.2, .* and made up"):
        Run(cfg, sources, tmp_path, torch.device("cpu"))
    with pytest.raises(UserError, match="protocol=promptir makes no haze and no blur"):
        config.DataConfig(protocol="promptir", depth_share=0.5)
