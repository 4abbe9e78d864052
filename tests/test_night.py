"""Photographs that are dark by nature, in training: dark is then no sign of low light by itself."""

import pytest
import torch

from slerlib import UserError, config
from slerlib.data.damage import WHITE
from slerlib.data.loader import Batches
from slerlib.data.plan import follows
from slerlib.data.sources import Sources

LOWLIGHT, CLEAN = config.CLASSES.index("lowlight"), config.CLASSES.index("clean")


def batches(**changes):
    generator = torch.Generator().manual_seed(0)
    images = [(torch.rand(3, 96, 96, generator=generator) * 255).to(torch.uint8) for _ in range(6)]
    sources = Sources.photographs(images, [str(i) for i in range(6)], "made up")
    cfg = config.DataConfig(crop=32, **changes)
    return Batches(sources, config.CLASSES, cfg, 64, 8, 0, grid_scenes=2, context_share=0.5, length=10)


def test_a_photograph_by_night_keeps_its_order_of_brightness_and_its_white():
    day, night = batches()[0], batches(night_share=1.0)[0]
    for label in range(len(config.CLASSES)):
        of_label = day["label"] == label
        before, after = day["clean"][of_label], night["clean"][of_label]
        if label == LOWLIGHT:  # a scene as it is: beside it, dark is no sign of low light
            assert torch.equal(before, after)
            continue
        assert after.mean() < 0.9 * before.mean()
        for x, y in zip(before, after, strict=True):
            assert 0.8 * WHITE < y.max() <= 1  # of random values the largest lies near 1
            order = x.flatten().argsort()
            assert (y.flatten()[order].diff() >= 0).all()
    clean = night["label"] == CLEAN
    assert torch.equal(night["degraded"][clean], night["clean"][clean])


def test_the_share_of_photographs_by_night_is_the_one_asked_for():
    day = batches()
    for share, low, high in ((0.0, 0, 0), (0.5, 4, 16)):
        night = batches(night_share=share)
        changed = [
            not torch.equal(day[step]["clean"][k], night[step]["clean"][k]) for step in range(10) for k in (0, 8)
        ]
        assert low <= sum(changed) <= high


def test_the_plan_names_it_and_the_published_protocol_refuses_it():
    assert follows(batches()) == []
    assert follows(batches(night_share=0.2)) == [
        "made dark by nature: 20.0% of the photographs, never for low light or real pairs"
    ]
    with pytest.raises(UserError, match=r"takes photographs as they are; got data.night_share=0.2"):
        config.DataConfig(protocol="promptir", night_share=0.2)
