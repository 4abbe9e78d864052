"""Scenes kept out of training: of every set, the same photograph out of all sets, no more than the anchors need."""

import numpy as np
import pytest
import torch
from PIL import Image

from slerlib import config
from slerlib.data.decode import Cache, Files
from slerlib.data.likeness import picture_numbers, small_copy
from slerlib.data.sources import CLEAN, Source, Sources
from slerlib.train import held_out, loop
from slerlib.train.run import Run


def scene(number, height=64, width=72):
    """uint8 (3, H, W), another picture for each number."""
    generator = torch.Generator().manual_seed(number)
    coarse = torch.rand(1, 3, 6, 7, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")[0]
    return (fine.clamp(0, 1) * 255).to(torch.uint8)


def source(name, task, numbers, change=lambda x: x):
    """A set of these scenes, slightly changed as another encoding would."""
    targets = [change(scene(n)) for n in numbers]
    return Source(name, task, tuple(map(str, numbers)), targets, None if task == CLEAN else [x // 2 for x in targets])


def names(sources):
    return {s.name: set(s.names) for s in sources}


def brighter(x):
    return x // 32 * 32 + 9


def test_of_every_set_scenes_are_kept():
    sets = [source("photographs", CLEAN, range(40)), source("more", CLEAN, range(40, 48))]
    sets += [source("wet", "rain", range(50, 66)), source("foggy", "haze", range(70, 74))]
    training, held = Sources(sets, "made up").hold_out(24)
    assert [(s.name, len(s)) for s in held] == [("photographs", 10), ("more", 2), ("wet", 2)]
    assert [(s.name, len(s)) for s in training] == [("photographs", 30), ("more", 6), ("wet", 14), ("foggy", 4)]
    for name, kept in names(held).items():
        assert not kept & names(training)[name]


def test_a_shared_photograph_is_kept_out_of_every_set():
    """16 rain pairs and 8 of haze have backgrounds of the 40 photographs, in another encoding."""
    sets = [source("photographs", CLEAN, range(40)), source("wet", "rain", range(24, 40), brighter)]
    sets += [source("foggy", "haze", range(20, 28), lambda x: x.flip(2))]  # mirrored: another picture
    training, held = Sources(sets, "made up").hold_out(24)
    kept, trained = names(held), names(training)
    assert kept["wet"] and kept["wet"] <= kept["photographs"]
    for part, other in ((kept, trained), (trained, kept)):
        assert not (part["wet"] & other["photographs"]) and not (part["photographs"] & other["photographs"])
    # quotas hold all the same: what the pairs keep counts, and photographs of one set come first
    assert [len(s) for s in held] == [10, 2, 1] and len(kept["photographs"] - set(map(str, range(24, 40)))) == 8


def test_sets_that_are_all_one_and_the_same():
    training, held = Sources([source(name, CLEAN, range(12)) for name in "abc"], "made up").hold_out(24)
    assert names(held)["a"] == names(held)["b"] == names(held)["c"] and [len(s) for s in training] == [9, 9, 9]


def test_inputs_of_one_clean_image_stay_together(tmp_path):
    for n in range(16):
        Image.fromarray(scene(n).permute(1, 2, 0).numpy()).save(tmp_path / f"{n}.png")
    (tmp_path / "link").symlink_to(tmp_path)
    files = [tmp_path / part / f"{n}.png" for part in ("", "link", "") for n in range(16)]
    for cache in (Cache(), Cache(budget=1)):  # in memory, and read again
        hazy = Source("hazy", "haze", tuple(map(str, range(48))), Files(files, cache), Files(files, cache))
        sets = [source("photographs", CLEAN, range(13, 19)), hazy]
        training, held = Sources(sets, "made up").hold_out(24)
        kept, rest = held.sets[1], training.sets[1]
        assert len(kept) == 6 and len(rest) == 42
        assert not {p.name for p in kept.targets.paths} & {p.name for p in rest.targets.paths}
        assert not {f"{name}.png" for name in held.sets[0].names} & {p.name for p in rest.targets.paths}


def test_pictures_are_told_apart():
    copies = [scene(0), scene(1), brighter(scene(0)), scene(2), scene(0).flip(1), scene(1)]
    flat = [torch.full((3, 40, 40), value, dtype=torch.uint8) for value in (7, 7)]
    found = picture_numbers([small_copy(x.numpy()) for x in copies + flat])
    assert found[0] == found[2] and found[1] == found[5] and len(set(found.tolist())) == 6
    assert picture_numbers([]).tolist() == []


@pytest.fixture
def foggy(tmp_path):
    """20 scenes with 12 inputs each and no photographs."""
    cache, (height, width) = Cache(), (40, 40)
    for n in range(20):
        Image.fromarray(scene(n, height, width).permute(1, 2, 0).numpy()).save(tmp_path / f"{n}.png")
    files = Files([tmp_path / f"{n}.png" for n in range(20)] * 12, cache)
    return Sources([Source("foggy", "haze", tuple(map(str, range(240))), files, files)], "made up")


def test_anchors_of_pairs_alone_take_no_more_than_their_scenes(foggy, tmp_path):
    small = ["model.width=8", "model.stages=1,1,1,1,1,1,1,1", "model.context=32", "data.crop=16"]
    cfg = config.with_overrides(config.recipe("tiny"), [*small, "data.anchor_scenes=3"])
    run = Run(cfg, foggy, tmp_path, torch.device("cpu"))
    assert len(run.held_out) == 24  # of two scenes
    grid = held_out.grid(run.cfg, run.held_out, len(run.held_out), seed=1)
    assert grid.grid == 3 and grid.real_rows == 3 and len(grid[0]["context"]) == 3 * 8 + 3


def test_training_points_to_the_check_where_test_sets_lie(tmp_path, capsys):
    for split, first in (("Train", 0), ("test", 8)):
        folder = tmp_path / split / "Denoise" / ("cbsd68" if split == "test" else "")
        folder.mkdir(parents=True)
        for n in range(first, first + 8):
            Image.fromarray(scene(n).permute(1, 2, 0).numpy()).save(folder / f"{n}.png")
    small = ["model.width=8", "model.stages=1,1,1,1,1,1,1,1", "model.context=32", "data.crop=16", "train.steps=1"]
    cfg = config.with_overrides(config.recipe("tiny"), small)
    loop.train(cfg, tmp_path, tmp_path / "run", progress=False)
    said = capsys.readouterr().err
    assert f"slerlib data check {tmp_path}" in said and "cbsd68" in said
    loop.train(cfg, tmp_path / "Train", tmp_path / "other", progress=False)
    assert "data check" not in capsys.readouterr().err
    assert np.all([s.task == CLEAN for s in Sources.of(tmp_path)])
