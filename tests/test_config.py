"""Configurations: recipes, round trip, refusals."""

import dataclasses
import math

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
        ("train.steps=many", "train.steps must be a whole number; got 'many'"),
        ("train.steps=1.5", "train.steps must be a whole number; got '1.5'"),
        ("steps=3", "--set takes"),
        ("train.steps", "--set takes"),
        ("model.router=spherical", "router must be one of sphere.*'spherical'"),
        ("model.glgf=FULL", "glgf must be one of"),
        ("model.stages=1,2", "8 block counts.*got 1,2"),
        ("model.stages=1,1,1,1,1,1,1,0", r"model.stages .*\[1, 1000\]; got 0"),
        ("model.stages=1,1,1,1,1,1,1,x", "model.stages must be a list, each item a whole number"),
        ("model.experts=9", "K = 8, E = 9"),
        ("model.experts=0", r"model.experts .*\[1, 10\]; got 0"),
        ("model.experts=11", r"model.experts .*\[1, 10\]; got 11"),
        ("model.encoder_blocks=-1", r"model.encoder_blocks .*\[1, .*; got -1"),
        ("model.encoder_blocks=10000000", r"model.encoder_blocks .*1000\]; got 10000000"),
        ("model.strides=", "model.strides needs at least one .*; got ''"),
        ("model.strides=-2,2", r"model.strides .*\[2, .*; got -2"),
        ("model.strides=4,2,1", r"model.strides .*\[2, .*; got 1"),
        ("model.strides=2,3", "even ones.*; got '2,3'"),
        ("model.strides=4,4,8", "model.context .* token pitch of 128 .*|data.crop .* token pitch of 128"),
        ("model.context=0", r"model.context .*; got 0"),
        ("model.context=130", "model.context .* token pitch of 8 pixels .*; got 130"),
        ("model.embedding=6", "model.embedding must be at least .* got 6 for 8 classes"),
        ("model.embedding=0", r"model.embedding .*\[1, .*; got 0"),
        ("model.classes=", "model.classes needs distinct names.*got ''"),
        ("model.classes=rain,rain,haze", "distinct names.*got 'rain,rain,haze'"),
        ("model.classes=rain,haze,rain+haze", "distinct names"),
        ("data.severity=0.8,0.2", "range low,high.*got 0.8,0.2"),
        ("data.severity=0.2,1.2", r"data.severity .*\[0, 1\]; got 1.2"),
        ("data.severity=0.5", r"data.severity is a range low,high .*, such as 0.5,0.5; got 0.5\."),
        ("data.crop=20", "multiple of 8"),
        ("data.crop=136", "must not exceed model.context"),
        ("data.anchor_scenes=-1", r"data.anchor_scenes .*; got -1"),
        ("train.stage_a=0.9", "sum of at most 1"),
        ("train.learn_pins=perhaps", "train.learn_pins must be true or false; got 'perhaps'"),
        ("model.tlc_window=100", "multiple of 24"),
        ("model.tlc_window=-24", r"model.tlc_window .*; got -24"),
        ("data.class_repeats=fog=2", "data.class_repeats names classes of the network .*got 'fog'"),
        ("data.class_repeats=clean=2", "does not name clean"),
        ("data.class_repeats=rain=0", "NAME=COUNT.*rain=0"),
        ("model.encoder_kernel=4", "model.encoder_kernel must be odd.*got 4"),
        ("model.encoder_heads=0", r"model.encoder_heads .*\[1, .*; got 0"),
        ("model.width=0", r"model.width .*\[1, .*; got 0"),
        ("model.width=1000000", r"model.width .*; got 1000000"),
        ("model.guide_channels=0", r"model.guide_channels .*; got 0"),
        ("model.token_width=3", "must leave a channel; got 3 for 3 strides"),
        ("model.temperature=0", r"model.temperature .*\(0, inf\); got 0"),
        ("model.temperature=inf", r"model.temperature .*\(0, inf\); got inf"),
        ("train.stage_a=nan", r"train.stage_a .*\[0, 1\]; got nan"),
        ("train.stage_c=-0.1", r"train.stage_c .*\[0, 1\]; got -0.1"),
        ("train.lr=inf", r"train.lr .*; got inf"),
        ("train.seed=-1", r"train.seed .*\[0, .*; got -1"),
        ("train.seed=9223372036854775808", r"train.seed .*; got 9223372036854775808"),
        ("train.weight_decay=-1", r"train.weight_decay .*\[0, .*; got -1"),
        ("train.lr_min=-1", "train.lr_min .*; got -1"),
        ("train.fft_weight=nan", "train.fft_weight .*; got nan"),
        ("train.sude_weight=-0.1", "train.sude_weight .*; got -0.1"),
        ("train.grid_scenes=1", r"train.grid_scenes .*\[2, .*; got 1"),
    ],
)
def test_bad_values_are_refused(assignment, message):
    with pytest.raises(UserError, match=message):
        config.with_overrides(config.recipe("tiny"), [assignment])


@pytest.mark.parametrize("section", ["train", "data", "model"])
def test_every_number_has_a_range_and_refuses_what_is_out_of_it(section):
    """No key was forgotten; -1 and NaN are outside every range."""
    cfg = getattr(config.recipe("tiny"), section)
    for key, value in vars(cfg).items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not numbers or isinstance(numbers[0], str | bool):
            continue
        for wrong in (-1, *([math.nan] if isinstance(numbers[0], float) else [])):
            with pytest.raises(UserError, match=rf"{section}\.{key} .*got {wrong}"):
                dataclasses.replace(cfg, **{key: (wrong, *value[1:]) if isinstance(value, tuple) else wrong})


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("train", "steps", True),
        ("train", "steps", None),
        ("train", "steps", "200"),
        ("train", "steps", 2.5),
        ("train", "lr", "fast"),
        ("train", "lr", False),
        ("train", "learn_pins", 1),
        ("train", "precision", None),
        ("model", "classes", "rain"),
        ("model", "classes", ["rain", 3, "haze"]),
        ("model", "stages", 1),
        ("model", "stages", [1, 1, 1, 1, 1, 1, 1, True]),
        ("data", "severity", [0.1, None]),
        (None, "name", None),
        (None, "name", 3),
        (None, "model", "tiny"),
        (None, "train", []),
    ],
)
def test_values_of_another_type_are_refused(section, key, value):
    values = config.to_dict(config.recipe("tiny"))
    (values[section] if section else values)[key] = value
    where = rf"{section}\.{key}" if section else key
    with pytest.raises(UserError, match=rf"{where}.* must be .*got") as error:
        config.from_dict(config.RunConfig, values)
    assert str(value).strip("[]") in str(error.value)
    if section:  # the dataclass itself refuses it as well
        with pytest.raises(UserError, match=where):
            dataclasses.replace(getattr(config.recipe("tiny"), section), **{key: value})


def test_numbers_of_json_may_have_a_point_and_a_name_must_be_there():
    values = config.to_dict(config.recipe("tiny"))
    values["train"] |= {"steps": 200.0, "clip": 1}
    assert config.from_dict(config.RunConfig, values).train.steps == 200
    with pytest.raises(UserError, match="name is missing"):
        config.from_dict(config.RunConfig, {"train": {}})


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("model.heads=1,2,4", "model.heads needs 4 numbers"),
        ("model.heads=5,5,5,5", r"the channels of its level \(48, 96, 192, 384\); got 5,5,5,5"),
        ("model.heads=0,2,4,8", "model.heads .*; got 0"),
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


def test_what_an_override_makes_impossible_gives_way():
    tiny = config.recipe("tiny")
    assert tiny.model.route_by == "place" and len(tiny.data.class_repeats) == 4
    for override in ("model.router=linear", "model.sude=linear"):
        assert config.with_overrides(tiny, [override]).model.route_by == "image"
        with pytest.raises(UserError, match="model.route_by=place"):
            config.with_overrides(tiny, [override, "model.route_by=place"])
    assert config.with_overrides(tiny, ["model.sude=emergent"]).train.place_weight == 0 < tiny.train.place_weight
    with pytest.raises(UserError, match="needs fixed anchors .* got model.sude=emergent and train.place"):
        config.with_overrides(tiny, ["model.sude=emergent", "train.place_weight=1"])
    fewer = config.with_overrides(tiny, ["model.classes=rain,haze,clean"])
    assert fewer.data.class_repeats == ("rain=2", "haze=3")
    published = config.with_overrides(tiny, ["data.protocol=promptir"]).data
    assert published.class_repeats == () and published.composite_share == published.local_share == 0
    with pytest.raises(UserError, match="got 'blur'"):
        config.with_overrides(tiny, ["model.classes=rain,haze,clean", "data.class_repeats=blur=2"])
