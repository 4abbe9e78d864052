"""Training batches: pure functions of the step, balanced, crop and context from one degraded image."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from slerlib import UserError, config
from slerlib.data import damage
from slerlib.data.degrade import degrade
from slerlib.data.loader import Batches, label_cycle
from slerlib.data.sources import Sources
from slerlib.train.stages import class_weights

CLASSES = config.CLASSES


def photographs(n=6, side=96):
    generator = torch.Generator().manual_seed(0)
    images = [(torch.rand(3, side, side + 8 * i, generator=generator) * 255).to(torch.uint8) for i in range(n)]
    return Sources.photographs(images, [str(i) for i in range(n)], "made up")


def batches(grid=0, share=0.5, seed=0, batch=8, data=None):
    cfg = config.DataConfig(crop=32)
    return Batches(data or photographs(), CLASSES, cfg, 64, batch, seed, grid, share, length=10)


def test_a_batch_depends_on_its_number_and_seed_alone():
    first, again = batches(), batches()
    again[3]
    a, b = first[5], again[5]
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["degraded"], first[4]["degraded"])
    assert not torch.equal(a["degraded"], batches(seed=1)[5]["degraded"])
    assert a["degraded"].shape == (8, 3, 32, 32) and a["context"].shape[1:] == (3, 64, 64)
    assert len(a["context"]) == len(a["rows"]) and 0 < len(a["rows"]) < 8


def test_workers_do_not_change_the_batches():
    alone = list(batches().loader(2, 6, workers=0))
    many = list(batches().loader(2, 6, workers=2))
    assert len(alone) == len(many) == 4
    for a, b in zip(alone, many, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_classes_are_balanced_and_clean_takes_its_share():
    data = batches(batch=22)
    counts = torch.bincount(torch.cat([data[step]["label"] for step in range(4)]), minlength=8)
    assert counts[:7].min() == counts[:7].max() == 12
    assert counts[7] == 4  # 4.5 %, the nearest to 5 % that one turn allows


def test_crop_lies_in_its_context_view_on_the_token_grid():
    batch = batches(share=1.0, batch=16)[0]
    assert batch["rows"].tolist() == list(range(16))
    for crop, context, (y, x) in zip(batch["degraded"], batch["context"], batch["place"].tolist(), strict=True):
        assert torch.equal(crop, context[:, y : y + 32, x : x + 32])
    assert bool((batch["place"] % 8 == 0).all()) and len(batch["place"].unique(dim=0)) > 5


def test_a_crop_is_the_same_place_with_and_without_its_view():
    with_view, without = batches(share=1.0)[2], batches(share=0.0)[2]
    assert torch.equal(with_view["clean"], without["clean"]) and len(without["rows"]) == 0


def test_a_grid_shares_scenes_across_classes_and_not_damage():
    batch = batches(grid=3)[0]
    assert batch["label"].tolist() == list(range(8)) * 3
    clean = batch["clean"].unflatten(0, (3, 8))
    assert all(torch.equal(clean[c, 0], clean[c, k]) for c in range(3) for k in range(8))
    assert not torch.equal(clean[0, 0], clean[1, 0])
    degraded = batch["degraded"].unflatten(0, (3, 8))
    assert torch.equal(degraded[:, 7], clean[:, 7])  # the clean class is its own target
    assert all(not torch.equal(degraded[0, k], clean[0, k]) for k in range(7))


def test_half_of_the_rain_is_that_of_a_wall_as_it_is_scored(monkeypatch):
    """`slerlib.evaluate` damages without a depth map; haze makes one up by itself, rain does not."""
    given = {"haze": [], "rain": []}

    def spy(clean, names, severity, seed, depth=None, **options):
        for name in set(names) & set(given):
            given[name].append(depth is not None)
        return degrade(clean, names, severity, seed, depth=depth, **options)

    monkeypatch.setattr(damage, "degrade", spy)
    data = batches(batch=22)
    for step in range(14):
        data[step]
    assert all(given["haze"]) and len(given["rain"]) == 42 and 13 <= sum(given["rain"]) <= 29


def test_all_scenes_come_before_any_repeats():
    data = photographs(8)
    for n, image in enumerate(data.sets[0].targets):
        image.fill_(20 + n * 25)
    seen = torch.cat([batches(batch=4, data=data)[step]["clean"] for step in range(2)]).mean(dim=(1, 2, 3))
    assert len(np.unique((seen * 255).round().int())) == 8


def test_hold_out_is_disjoint_and_fixed():
    (training,), (held,) = photographs(12).hold_out(24)
    assert len(held) == 3 and not set(held.names) & set(training.names)
    assert photographs(12).hold_out(24)[1].sets[0].names == held.names
    with pytest.raises(UserError, match="Anchors need 2"):
        photographs(3).hold_out(24)


def test_folder_of_photographs(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "sub").mkdir()
    for name in ("b.png", "sub/a.jpg"):
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(tmp_path / name)
    for name in ("grey.png", "more.png"):
        Image.fromarray(rng.integers(0, 255, (40, 60), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    loaded = Sources.of(tmp_path)
    (files,) = loaded
    assert sorted(files.names) == ["b.png", "grey.png", "more.png", "sub/a.jpg"] and files.targets[0].shape == (
        3,
        40,
        60,
    )
    small = Batches(loaded, CLASSES, config.DataConfig(crop=32), 64, 8, 0)[0]  # smaller than the patch: mirrored
    assert small["degraded"].shape == (8, 3, 32, 32)


def test_bad_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        Sources.of(tmp_path / "nowhere")
    with pytest.raises(UserError, match="A folder of images .* is needed"):
        Sources.of(tmp_path)
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(UserError, match="x.png"):
        Sources.of(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    with pytest.raises(UserError, match="at least 32 pixels"):
        Sources.of(tmp_path)
    Image.new("RGB", (64, 64)).save(tmp_path / "x.png")
    with pytest.raises(UserError, match="at least 4 clean images.* has 1"):
        Sources.of(tmp_path)


def test_bundled_photographs():
    assert len(Sources.of(None)) == 9


def test_classes_take_their_share_of_the_turn():
    """A class with a repeat of 3 comes three times as often as one without; clean keeps its share of all."""
    classes = ("noise25", "rain", "haze", "clean")
    cfg = config.DataConfig(clean_share=0.1, class_repeats=("haze=3", "rain=2"))
    cycle = label_cycle(classes, cfg)
    counts = [cycle.count(label) for label in range(4)]
    assert counts[1] == 2 * counts[0] and counts[2] == 3 * counts[0]
    assert abs(counts[3] / len(cycle) - 0.1) < 0.05
    assert label_cycle(classes, config.DataConfig(clean_share=0.0)) == [0, 1, 2]
    assert label_cycle(("clean",), config.DataConfig()) == [0]
    cfg = dataclasses.replace(config.recipe("tiny"), data=dataclasses.replace(cfg, class_repeats=("haze=3",)))
    weight = class_weights(cfg)
    haze, rain = cfg.model.classes.index("haze"), cfg.model.classes.index("rain")
    assert torch.isclose(weight[rain], 3 * weight[haze])  # what is rare counts more in the names of stage C
