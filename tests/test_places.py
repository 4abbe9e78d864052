"""Where a degradation acts: masks, local damage in training, a point on the sphere for every place, passes."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from trainings import make, records

import slerlib
from slerlib import UserError, config, sphere
from slerlib.data.damage import Damages
from slerlib.data.depth import synthetic_depth
from slerlib.data.loader import Batches
from slerlib.data.masks import SHAPES, mask
from slerlib.data.scenes import photographs
from slerlib.data.sources import Sources
from slerlib.model.pins import partitions
from slerlib.train import held_out, loop, losses


@pytest.fixture(scope="module")
def model():
    return slerlib.load("tiny", "cpu")


@pytest.fixture(scope="module")
def clean():
    return photographs()[0].image[:, 100:228, 100:260].contiguous()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("with_image", [False, True])
def test_a_mask_has_an_inside_an_outside_and_a_soft_border(shape, with_image, clean):
    image = clean[:, :96, :160] if with_image else None
    for seed in range(5):
        drawn = mask(shape, 96, 160, seed, image=image)
        assert drawn.shape == (96, 160) and drawn.dtype == torch.float32
        assert drawn.min() == 0 if shape not in ("gradient", "depth") else drawn.min() < 0.2
        assert drawn.max() > 0.8 and bool(((drawn > 0.1) & (drawn < 0.9)).any())
        assert 0.1 < drawn.mean() < 0.9
        assert torch.equal(drawn, mask(shape, 96, 160, seed, image=image))
    assert not torch.equal(mask(shape, 96, 160, 0, image=image), drawn)


def test_far_places_lie_inside_a_mask_by_depth():
    depth = torch.arange(1, 61.0)[:, None].expand(60, 80)
    for seed in range(5):
        drawn = mask("depth", 60, 80, seed, depth=depth)
        assert bool((drawn.diff(dim=0) >= 0).all()) and drawn[0].max() == 0 and drawn[-1].min() == 1
    assert torch.equal(mask("depth", 60, 80, 3, depth=torch.ones(60, 80)), torch.full((60, 80), 0.5))  # nothing is far


def test_an_object_ends_at_the_edges_of_the_picture():
    image = torch.zeros(3, 96, 96)
    image[:, :, 48:] = 1  # an object has at most 35 % of the picture
    for seed in range(8):
        drawn = mask("object", 96, 96, seed, image=image)
        left, right = drawn[:, :46].sum(), drawn[:, 50:].sum()
        assert max(left, right) > 1000 and min(left, right) == 0


@pytest.mark.parametrize("option, size", [("image", (3, 8, 9)), ("depth", (9, 8))])
def test_a_mask_of_another_picture_is_refused(option, size):
    with pytest.raises(UserError) as error:
        mask("half", 8, 8, **{option: torch.ones(size)})
    assert option in str(error.value) and str(size) in str(error.value)


def test_a_shape_without_a_name_is_refused():
    with pytest.raises(UserError, match="half, disc, .*shadow; got 'star'"):
        mask("star", 8, 8)


def test_where_leaves_the_rest_untouched(clean):
    where = torch.zeros(clean.shape[1:])
    where[:, :80] = 1
    whole = slerlib.degrade(clean, "rain", severity=0.7, seed=3)
    x = slerlib.degrade(clean, "rain", severity=0.7, seed=3, where=where)
    assert torch.equal(x[..., 80:], clean[..., 80:]) and torch.equal(x[..., :80], whole[..., :80])
    half = slerlib.degrade(clean, "rain", severity=0.7, seed=3, where=where / 2)
    torch.testing.assert_close(half[..., :80], (whole + clean)[..., :80] / 2)


@pytest.mark.parametrize("where, fault", [(torch.ones(3, 3), "(3, 3)"), (torch.full((128, 160), 2.0), "2 to 2")])
def test_a_mask_of_another_size_or_range_is_refused(clean, where, fault):
    with pytest.raises(UserError) as error:
        slerlib.degrade(clean, "rain", where=where)
    assert fault in str(error.value)


def test_every_place_has_an_angle_to_every_anchor(model, clean):
    x = clean[None, :, :120, :150]  # not a multiple of 8
    _, trace = model(x, return_trace=True)
    k, pitch = len(model.router.names), model.cfg.stride
    assert trace.local_angle.shape == (1, k, -(-120 // pitch), -(-150 // pitch))
    local = model.encode(model.pad(x)).local.permute(0, 2, 3, 1)
    by_hand = sphere.angle(local[..., None, :], sphere.normalise(model.router.anchors)).permute(0, 3, 1, 2)
    torch.testing.assert_close(trace.local_angle, by_hand, atol=0.05, rtol=0)
    assert torch.equal(trace.where(), trace.local_angle.argmin(dim=1))


def test_tiles_that_choose_for_themselves_have_no_common_map(model):
    _, trace = slerlib.restore(model, photographs()[1].image[:, :200, :300], tile=128, route="tile", return_trace=True)
    with pytest.raises(UserError, match="route='image'"):
        trace.where()


# --- training


def bundled() -> Sources:
    images = [(scene.image * 255).round().to(torch.uint8) for scene in photographs()]
    return Sources.photographs(images, [str(n) for n in range(len(images))], "test")


def batches(**data) -> Batches:
    cfg = config.DataConfig(crop=32, **data)
    return Batches(bundled(), config.CLASSES, cfg, 64, 16, 0, context_share=1.0)


def test_local_damage_keeps_the_outside_clean_or_gives_it_another_degradation():
    batch = batches(local_share=1.0)[0]
    assert batch["where"].shape == (16, 8, 8) and batch["outside"].shape == (16, 8)
    damaged = batch["label"] != config.CLASSES.index("clean")
    inside, outside = batch["where"] > 0.8, batch["where"] < 0.2
    assert bool(inside[damaged].any()) and bool(outside[damaged].any())
    assert bool((batch["where"][~damaged] == 1).all())
    assert batch["outside"].sum(dim=1).tolist() == [1] * 16
    kinds = {config.CLASSES[k] for k in batch["outside"][damaged].float().argmax(dim=1).tolist()}
    assert "clean" in kinds


@pytest.mark.parametrize("names", [("noise50",), ("haze",), ("noise50", "haze"), ("noise50", "haze", "blur")])
def test_each_place_has_the_labels_of_what_was_done_there(names):
    classes = ("noise50", "haze", "blur", "clean")  # on a grey picture, noise alone makes neighbours differ
    damage = Damages(classes, config.DataConfig(local_share=1.0, composite_share=0.1), seed=1)
    grey, parts, seen = torch.full((3, 96, 96), 0.4), tuple(classes.index(name) for name in names), set()
    for key in range(40):
        own = np.random.default_rng(key)
        image, where, outside = damage(grey, None, parts, lambda key=key: synthetic_depth(96, 96, key), own, key)
        rough = image.diff(dim=2).abs().mean(dim=0)
        for labels, place in ((parts, where[:, 1:] == 1), (outside, where[:, 1:] == 0)):
            if place.sum() > 200:
                here = [classes[k] for k in labels]
                assert (float(rough[place].mean()) > 0.1) == ("noise50" in here), (key, here)
                changed = float((image[:, :, 1:] - 0.4).abs().mean(dim=0)[place].mean())
                assert (changed > 0.01) == (here not in (["clean"], ["blur"])), (key, here)
        seen.add(outside)
        if len(parts) == 1 and outside != (3,):
            assert where.mean() >= 0.5, "the picture has the label of the larger region"
    elsewhere = {(k,) for k in range(3) if (k in parts) == (len(parts) > 1)}
    assert seen == {(3,)} | elsewhere


def test_a_degradation_has_its_natural_place_more_often_than_another():
    damage = Damages(config.CLASSES, config.DataConfig(local_share=1.0), seed=0)
    rng = np.random.default_rng(0)
    for name, shape in (("haze", "depth"), ("blur", "object"), ("lowlight", "shadow")):
        drawn = [damage._shape((config.CLASSES.index(name),), rng) for _ in range(400)]
        assert {*drawn} == {*SHAPES} and 0.48 < drawn.count(shape) / 400 < 0.66  # half, and a seventh of the rest


def test_anchors_and_validation_see_one_degradation_all_over():
    cfg = config.with_overrides(config.recipe("tiny"), ["data.local_share=1", "data.composite_share=0.2"])
    grid = held_out.grid(cfg, bundled(), 2, seed=1)[0]
    assert bool((grid["where"] == 1).all()) and grid["label"].tolist() == [*range(8)] * 2


def test_without_local_damage_a_batch_is_as_before():
    plain, local = batches()[3], batches(local_share=0.5)[3]
    same = [torch.equal(a, b) for a, b in zip(plain["degraded"], local["degraded"], strict=True)]
    assert 0 < sum(same) < 16 and torch.equal(plain["clean"], local["clean"])
    assert bool((plain["where"] == 1).all()) and torch.equal(plain["outside"], plain["parts"])


def test_the_colour_of_a_place_is_that_of_the_clean_view_and_its_loss_what_is_wrong_there():
    batch, pitch = batches(local_share=0.5)[1], 8
    for row in range(16):
        y, x = (batch["place"][row] // pitch).tolist()
        own = F.avg_pool2d(batch["clean"][row], pitch)
        torch.testing.assert_close(batch["colour"][row, :, y : y + 4, x : x + 4], own)
    lacks = batch["colour"] - F.avg_pool2d(batch["context"], pitch)
    dark = batch["label"] == config.CLASSES.index("lowlight")
    assert lacks[dark].mean() > 0.05, "the dark lacks light"
    assert losses.colour(lacks, batch["context"], batch["colour"]) == 0
    off = losses.colour(lacks + 0.1, batch["context"], batch["colour"])
    torch.testing.assert_close(off, torch.tensor(0.1))


def test_the_encoder_learns_what_colour_places_lack(tmp_path):
    """In stages A and C alone: in B the encoder stands still."""
    asked = ["train.colour_weight=5", "train.steps=60", "train.stage_a=0.9", "train.stage_c=0.05"]
    loop.train(make(*asked, "train.lr_encoder=3e-3"), bundled(), tmp_path / "run", progress=False)
    log = records(tmp_path / "run")
    assert {r["stage"] for r in log if "colour" in r and "stage" in r} == {"A", "C"}
    said = [r["colour"] for r in log if r.get("stage") == "A"]
    assert print(said) or sum(said[-10:]) < 0.8 * sum(said[:10])


def test_places_are_right_where_they_lie_on_their_anchors():
    anchors = sphere.simplex(4, 8).float()
    where = torch.zeros(2, 4, 4)
    where[:, :, :2] = 1
    where[1, :, 2:] = 0.5  # unsure: does not count
    inside = torch.tensor([[True, False, False, False], [False, True, True, False]])
    outside = torch.tensor([[False, False, False, True]] * 2)
    right = torch.empty(2, 8, 4, 4)
    right[:] = anchors[3][:, None, None]
    right[0, :, :, :2] = anchors[0][:, None, None]
    right[1, :, :, :2] = sphere.normalise(anchors[1] + anchors[2])[:, None, None]
    best = losses.places(right, where, inside, outside, anchors, 0.2)
    unsure = right.clone()
    unsure[1, :, :, 2:] = anchors[1][:, None, None]
    assert torch.equal(losses.places(unsure, where, inside, outside, anchors, 0.2), best)
    for n in range(2):
        wrong = right.clone()
        wrong[n, :, :, :2] = anchors[3][:, None, None]
        assert losses.places(wrong, where, inside, outside, anchors, 0.2) > best + 0.1


def test_the_loss_of_places_moves_the_encoder(tmp_path):
    from slerlib.train.loop import train

    sources = bundled()
    small = ["train.steps=4", "train.stage_a=0.5", "train.stage_c=0.5", "train.save_every=4", "data.anchor_scenes=4",
             "train.grid_scenes=2", "data.crop=32", "model.context=64", "data.local_share=0.5"]  # fmt: skip
    runs = {}
    for weight in (0, 1):
        overrides = [*small, f"train.place_weight={weight}"]
        out = train(config.with_overrides(config.recipe("tiny"), overrides), sources, tmp_path / str(weight),
                    progress=False)  # fmt: skip
        runs[weight] = slerlib.load(out, "cpu")
    changed = [not torch.equal(a, b) for a, b in zip(*(runs[w].glgf.head.parameters() for w in (0, 1)), strict=True)]
    assert all(changed)


def test_a_warm_start_may_take_anchors_at_the_corners_of_a_simplex(model, tmp_path):
    from slerlib.train.loop import train

    sources = bundled()
    small = ["train.steps=2", "train.stage_a=0.5", "train.stage_c=0", "train.save_every=2", "data.anchor_scenes=4",
             "train.grid_scenes=2", "data.crop=32", "train.new_anchors=true"]  # fmt: skip
    cfg = config.with_overrides(config.recipe("tiny"), small)
    router = slerlib.load(train(cfg, sources, tmp_path / "run", init="tiny", progress=False), "cpu").router
    cosine = router.anchors @ router.anchors.T
    k = len(router.names)
    torch.testing.assert_close(cosine, torch.eye(k) * k / (k - 1) - 1 / (k - 1), atol=1e-5, rtol=0)
    groups = [[next(e for e, members in enumerate(layer) if n in members) for layer in partitions(k, router.experts)]
              for n in range(k)]  # fmt: skip
    assert router.class_paths().tolist() == groups, "each class takes the experts of its groups"
    assert (router.class_paths() == model.router.class_paths()).float().mean() > 0.95, "which are those of before"


# --- passes


def test_a_second_pass_restores_the_first_result(model, clean):
    x = slerlib.degrade(clean, ["haze", "noise15"], severity=0.4, seed=1)
    once, first = slerlib.restore(model, x, return_trace=True)
    twice, trace = slerlib.restore(model, x, passes=2, return_trace=True)
    torch.testing.assert_close(twice, slerlib.restore(model, once), atol=1e-6, rtol=0)
    assert trace.passes.tolist() == [2] and len(trace.looks) == 1 and torch.equal(trace.path, first.path)
    assert torch.equal(trace.looks[0].path, slerlib.restore(model, once, return_trace=True)[1].path)


def test_passes_end_image_by_image_at_a_clean_result(model, clean):
    inputs = torch.stack([clean, slerlib.degrade(clean, ["haze", "noise15"], severity=0.35, seed=1)])
    y, trace = slerlib.restore(model, inputs, passes="auto", return_trace=True)
    for image, result, count in zip(inputs, y, trace.passes.tolist(), strict=True):
        z, seen = slerlib.restore(model, image), []
        for _ in range(2):
            seen.append(slerlib.restore(model, z, return_trace=True)[1].nearest_anchor()[0])
            if seen[-1] == "clean":
                break
            z = slerlib.restore(model, z)
        assert count == 1 + sum(name != "clean" for name in seen)
        torch.testing.assert_close(result, z, atol=1e-5, rtol=0)
    assert trace.passes[1] > 1


FORCED = {"passes": 2, "path": [0] * 8}


@pytest.mark.parametrize(
    "options, fault", [({"passes": 0}, "0"), ({"passes": "all"}, "'all'"), ({"passes": True}, "True"), (FORCED, "path")]
)
def test_passes_outside_the_rules_are_refused(model, clean, options, fault):
    with pytest.raises(UserError) as error:
        slerlib.restore(model, clean, **options)
    assert fault in str(error.value)
