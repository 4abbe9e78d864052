"""When a route is doubtful: limits of each class, where they come from, and what a checkpoint without them does."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import slerlib
from slerlib.analysis import doubt
from slerlib.analysis.trace import Grid, encode
from slerlib.checkpoint import find, load_net, read_card, save_weights
from slerlib.model.doubt import FEWEST, GENERAL, TAIL, Limits, about_limits, limits_of, reasons, wrong_names

INCLUDED = ("tiny", "small", "small-places")


@pytest.fixture(scope="module")
def seen():
    """2000 pictures of 100 photographs: noise close to its anchor, clean far, one in ten named wrongly."""
    rng = np.random.default_rng(0)
    n = 2000
    label = np.where(np.arange(n) % 2, "noise50", "clean")
    nearest = np.where(np.arange(n) % 10 < 1, "haze", label)
    angle = np.where(label == "noise50", rng.uniform(2, 6, n), rng.uniform(20, 50, n))
    margin = np.where(label == "noise50", rng.uniform(0.4, 0.6, n), rng.uniform(0.0, 0.04, n))
    scene = [f"demo/{k // 20}" for k in range(n)]
    return pd.DataFrame({"scene": scene, "label": label, "nearest": nearest, "angle": angle, "margin": margin})


def test_limits_are_the_tails_of_the_rightly_named_pictures_of_a_class(seen):
    found = doubt.limits(seen)
    assert set(found) == {"noise50", "clean"}  # no picture of haze is named rightly
    for name, limit in found.items():
        right = seen[(seen.label == name) & (seen.nearest == name)]
        assert limit.pictures == len(right)
        assert (right.angle > limit.angle).mean() == pytest.approx(TAIL, abs=2e-3)
        assert (right.margin < limit.margin).mean() == pytest.approx(TAIL, abs=2e-3)
    assert found["noise50"].angle < 6 < 45 < found["clean"].angle


def test_too_few_photographs_make_no_limit(seen):
    assert doubt.limits(seen[seen.label == "noise50"].head(FEWEST - 1)) == {}


def test_a_clean_picture_beyond_the_general_limit_is_not_doubted_and_noise_within_it_is(seen):
    limits = doubt.limits(seen)
    assert reasons("clean", 47.0, 0.01, limits) == []
    assert len(reasons("clean", 47.0, 0.01, {})) == 2  # what the general limits made of it
    (reason,) = reasons("noise50", 30.0, 0.5, limits)
    assert "30 degrees from noise50" in reason and "limit is 6" in reason


def test_the_false_alarms_are_those_of_photographs_that_did_not_make_the_limits(seen):
    doubted, right = doubt._judged_by_others(seen), seen.label == seen.nearest
    assert 0.02 < doubted[right].mean() < 0.08
    shifted = seen.assign(angle=seen.angle + 20 * seen.scene.isin(sorted(seen.scene.unique())[:50]))
    assert doubt._judged_by_others(shifted)[right].mean() > doubt.flagged(shifted, doubt.limits(shifted))[right].mean()


@pytest.mark.parametrize("name", INCLUDED)
def test_every_class_of_the_included_checkpoints_has_limits(name):
    """New weights need new limits: python benchmarks/doubt.py"""
    card, model = read_card(find(name)), slerlib.load(name, "cpu")
    assert model.router.limits == limits_of(card) and set(model.router.limits) == set(model.router.names)
    assert all(limit.pictures >= FEWEST for limit in model.router.limits.values())
    assert 0 < card["doubt"]["false_alarms"] < 0.15
    assert f"{card['doubt']['false_alarms']:.0%} of the rightly named" in about_limits(card)


def test_the_limits_of_the_card_decide_what_a_trace_flags():
    model = slerlib.load("tiny", "cpu")
    trace = encode(model, torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    name, angle = trace.nearest_anchor()[0], trace.anchor_angle.min().item()
    assert trace.own_limits() == [model.router.limits[name]]
    lax, strict = Limits(angle + 1, -1.0), Limits(angle - 1, -1.0)
    assert replace(trace, limits={name: lax}).flags() == [[]]
    assert len(replace(trace, limits={name: strict}).flags()[0]) == 1
    assert replace(trace, limits={}).own_limits() == [GENERAL]


def test_other_weights_do_not_keep_the_limits(tmp_path):
    model = slerlib.load("tiny", "cpu")
    slerlib.save(model, tmp_path / "mine")
    again = slerlib.load(tmp_path / "mine", "cpu")
    assert "doubt" not in again.card and again.router.limits == {}
    assert "No limits were measured" in about_limits(again.card)


@pytest.mark.parametrize("part", [7, {"limits": 7}, {"limits": {"rain": 7}}, {"limits": {"rain": {"angle": "7"}}}])
def test_limits_in_another_form_are_no_limits(tmp_path, part):
    net, card = load_net("tiny")
    save_weights(tmp_path, net, card | {"doubt": part})
    assert slerlib.load(tmp_path, "cpu").router.limits == {}


def test_the_measure_on_the_bundled_photographs_is_what_a_card_keeps(monkeypatch, tmp_path):
    monkeypatch.setenv("SLERLIB_CACHE", str(tmp_path))
    model = slerlib.load("tiny", "cpu")
    grid = Grid("demo", tasks=("noise15", "noise50", "clean"), severities=(0.5,), seeds=(0, 1, 2), images=8)
    part = json.loads(json.dumps(doubt.measured(model, [grid], unknown=["snow"])))
    own = limits_of({"doubt": part})
    assert set(own) == {"noise15", "noise50"}  # eight clean photographs are too few
    assert own["noise50"].pictures == 24 and own["noise50"].angle < 49  # half the way to another anchor
    assert part["photographs"] == 8 and part["pictures"] == 56 and set(part["unknown"]) == {"snow"}


def test_wrong_names_are_counted_for_the_name_given():
    """Of 40 pictures called haze without a sign 10 are blur; of the 2 with one nothing is told."""
    seen = pd.DataFrame({"nearest": ["haze"] * 42, "label": ["blur"] * 10 + ["haze"] * 32})
    card = {"doubt": {"limits": {"haze": {"angle": 9, "margin": 0.1, "pictures": 30}}}}
    card["doubt"]["named"] = doubt.named(seen, np.arange(42) >= 40)
    assert wrong_names(card, "haze", False) == (0.25, 40)
    assert wrong_names(card, "haze", True) is wrong_names(card, "rain", False) is wrong_names({}, "haze", False) is None
    assert wrong_names({"doubt": card["doubt"] | {"named": 7}}, "haze", False) is None
