"""Configurations: recipes, round trip, refusals."""

import dataclasses

import pytest

from slerlib import UserError, config


@pytest.mark.parametrize("name", config.RECIPES)
def test_json_round_trip(name):
    cfg = config.recipe(name)
    assert cfg.name == name
    assert config.from_json(config.to_json(cfg)) == cfg


def test_overrides_of_every_type():
    cfg = config.with_overrides(
        config.recipe("tiny"),
        "train.steps=20 train.lr=1e-4 model.stages=1,1,1,1,1,1,1,2 model.router=linear train.learn_pins=true".split(),
    )
    assert (cfg.train.steps, cfg.train.lr, cfg.train.learn_pins) == (20, 1e-4, True)
    assert cfg.model.stages == (1, 1, 1, 1, 1, 1, 1, 2) and cfg.model.router == "linear"
    assert config.differences(cfg, config.with_overrides(cfg, ["train.steps=21"])) == ["train.steps: 20 != 21"]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("train.stepz=3", "train.stepz.*keys here are steps"),
        ("train.steps=many", "train.steps must be of type int; got 'many'"),
        ("train.steps=1.5", "train.steps must be of type int"),
        ("steps=3", "--set takes"),
        ("train.steps", "--set takes"),
        ("model.router=spherical", "router must be one of sphere.*'spherical'"),
        ("model.glgf=FULL", "glgf must be one of"),
        ("model.stages=1,2", "8 positive block counts"),
        ("model.experts=9", "K = 8, E = 9"),
        ("model.experts=0", "at least 1"),
        ("data.severity=0.8,0.2", "within 0..1"),
        ("data.crop=20", "multiple of 8"),
        ("train.stage_a=0.9", "sum of at most 1"),
        ("train.learn_pins=perhaps", "of type bool"),
        ("data.crop=136", "must not exceed model.context"),
        ("model.strides=4,2,1", "must be even"),
        ("model.strides=4,4,8", "multiples of the token pitch of 128"),
        ("model.tlc_window=100", "multiple of 24"),
        ("model.tlc_window=-24", "multiple of 24"),
        ("model.encoder_heads=0", "model.encoder_heads must be at least 1; got 0"),
        ("model.width=0", "model.width must be at least 1"),
        ("model.guide_channels=0", "model.guide_channels must be at least 1"),
        ("model.token_width=3", "must leave a channel; got 3 for 3 strides"),
        ("model.temperature=0", "model.temperature must be above 0"),
        ("data.severity=0.5", r"data.severity is a range low,high within 0..1, such as 0.5,0.5; got 0.5\."),
        ("train.stage_a=nan", "shares of train.steps"),
        ("train.stage_c=nan", "shares of train.steps"),
        ("train.seed=-1", "train.seed must be a whole number from 0"),
        ("train.weight_decay=-1", "train.weight_decay must be 0 or above"),
        ("train.lr_min=-1", "train.lr_min must be 0 or above"),
        ("train.fft_weight=nan", "train.fft_weight must be 0 or above"),
        ("train.sude_weight=-0.1", "train.sude_weight must be 0 or above"),
    ],
)
def test_bad_values_are_refused(assignment, message):
    with pytest.raises(UserError, match=message):
        config.with_overrides(config.recipe("tiny"), [assignment])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("model.heads=1,2,4", "model.heads needs 4 numbers"),
        ("model.heads=5,5,5,5", r"the channels of its level \(48, 96, 192, 384\); got 5,5,5,5"),
        ("model.heads=0,2,4,8", "model.heads needs 4 numbers"),
        ("model.width=49", "halves its channels on the way down; got model.width=49"),
    ],
)
def test_heads_that_do_not_fit_restormer_blocks_are_refused(assignment, message):
    with pytest.raises(UserError, match=message):
        config.with_overrides(config.recipe("paper"), [assignment])
    naf = ["model.heads=1,2,4", "model.width=49"]  # where nothing has heads, and nothing is halved
    assert config.with_overrides(config.recipe("base"), naf).model.width == 49


def test_unknown_recipe_and_broken_json():
    with pytest.raises(UserError, match="tiny, small, base, paper, paper3, paper5; got 'huge'"):
        config.recipe("huge")
    with pytest.raises(UserError, match="must be JSON"):
        config.from_json("{")
    with pytest.raises(UserError, match="Unknown configuration key nam"):
        config.from_json('{"nam": "x"}')


def test_stages_sum_to_the_steps():
    for steps in (1, 7, 99, 12500):
        assert sum(dataclasses.replace(config.TrainConfig(), steps=steps).stage_steps()) == steps
    halves = config.TrainConfig(steps=103, stage_a=0.5, stage_c=0.5)  # 51.5 of each, both rounded up to 52
    assert halves.stage_steps() == (52, 0, 51)


def test_a_network_of_another_kind_than_needed_is_refused():
    cfg = dataclasses.replace(config.recipe("tiny").model, experts=1, glgf="cls_only")
    config.require(cfg, "This lesson", block=("naf",), experts=(1, 2))
    with pytest.raises(
        UserError, match="Lesson 3 needs a network with experts 2 or 3, glgf full; this one has experts 1"
    ):
        config.require(cfg, "Lesson 3", experts=range(2, 4), glgf=("full",), block=("naf",))


def test_a_card_with_the_former_names_of_keys_is_read():
    values = config.to_dict(config.recipe("tiny"))
    values["train"]["grid_contents"] = values["train"].pop("grid_scenes") + 1
    assert config.from_dict(config.RunConfig, values).train.grid_scenes == config.recipe("tiny").train.grid_scenes + 1
    assert config.with_overrides(config.recipe("tiny"), ["data.anchor_contents=7"]).data.anchor_scenes == 7
