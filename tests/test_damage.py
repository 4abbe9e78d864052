"""Damage of training samples: composites on real pairs, which mixtures are drawn, the shares in the plan."""

import pytest
import torch
import trainings

from slerlib import UserError, config
from slerlib.data.damage import Damages
from slerlib.data.degrade import NOISE_CLASSES
from slerlib.data.loader import Batches
from slerlib.data.plan import damage_shares, epoch_plan, shares_text
from slerlib.data.sources import Source, Sources
from slerlib.train import losses, objectives
from slerlib.train.run import Run

CLASSES = config.CLASSES
K = len(CLASSES)
GREY = 90  # of every real input, so that what is added shows


@pytest.fixture(scope="module")
def pairs():
    """Photographs, and pairs of rain and haze."""
    (photographs,) = trainings.made_up()
    grey = [torch.full((3, 56, 64), GREY, dtype=torch.uint8)] * 8
    real = [Source(task, task, tuple("abcdefgh"), photographs.targets, grey) for task in ("rain", "haze")]
    return Sources([photographs, *real], "made up")


def batches(sources, grid=0, real_rows=0, **data):
    cfg = config.DataConfig(crop=16, composite_share=0.25, **data)
    return Batches(sources, CLASSES, cfg, 32, 20, 0, grid, 1.0, real_rows=real_rows)


def composites_on_pairs(data, steps):
    """(labels, labels outside the mask, mask (H, W), change of the grey input (H, W)) of each."""
    for step in range(steps):
        batch = data[step]
        for row in torch.nonzero((batch["label"] == K) & batch["real"]).flatten().tolist():
            names, outside = ({CLASSES[k] for k in batch[key][row].nonzero().flatten()} for key in ("parts", "outside"))
            where = batch["where"][row].repeat_interleave(8, 0).repeat_interleave(8, 1)
            yield names, outside, where, (batch["context"][row] - GREY / 255).abs().amax(0)


@pytest.mark.parametrize("grid", [0, 3])
def test_a_share_of_the_composites_adds_noise_or_low_light_to_a_real_pair(pairs, grid):
    data = batches(pairs, grid, real_composites=0.4)
    drawn = list(composites_on_pairs(data, 12))
    assert len(drawn) == int(0.4 * 12 * (data.mixed_rows if grid else 5) + 1e-9)
    for names, outside, where, change in drawn:
        assert len(names & {"rain", "haze"}) == 1 and len(names & {*NOISE_CLASSES, "lowlight"}) == 1
        assert outside == names and bool((where == 1).all()) and change.mean() > 0.02
    assert abs(sum("rain" in names for names, *_ in drawn) - len(drawn) / 2) <= 0.5, "classes with pairs in turn"


def test_in_a_mask_the_real_damage_is_everywhere_and_the_added_one_inside(pairs):
    data, inside = batches(pairs, real_composites=0.4, local_share=1.0), []
    for names, outside, where, change in composites_on_pairs(data, 16):
        assert outside == names & {"rain", "haze"} and len(names) == 2
        assert bool((change[where == 0] == 0).all())
        inside += [float(change[where > 0.9].mean())] * bool((where > 0.9).any())
    assert len(inside) > 20 and min(inside) > 0.02


def test_without_pairs_all_composites_are_synthetic():
    data = batches(trainings.made_up(), real_composites=1.0)
    batch, plain = data[0], batches(trainings.made_up())[0]
    assert not batch["real"].any() and torch.equal(batch["degraded"], plain["degraded"])


def test_the_plan_counts_pairs_under_composites(pairs):
    data = batches(pairs, real_composites=0.4)
    rows = {row["set"]: row["share"] for row in epoch_plan(data)}
    assert sum(rows.values()) == pytest.approx(1)
    turn = 0.75 / len(data.cycle)  # of each class; half of rain and haze is real
    assert rows["rain"] == rows["haze"] == pytest.approx(turn * data.cycle.count(3) / 2 + 0.25 * 0.4 / 2)


# --- which mixtures, and how many samples of each kind

EIGHT = ("rain+blur", "haze+rain", "lowlight+noise25", "haze+noise15", "lowlight+rain", "blur+noise15", "lowlight+haze",
         "haze+rain+noise15")  # fmt: skip
CDD11 = ("lowlight+haze", "lowlight+rain", "haze+rain", "lowlight+haze+rain")


def test_every_mixture_of_the_evaluation_is_drawn_as_often_as_its_kinds_ask():
    damage, total = Damages(CLASSES, config.DataConfig(composite_share=0.2), seed=3), 6000
    drawn = [frozenset(CLASSES[k] for k in damage.composite(number)) for number in range(total)]
    for mixture in {*EIGHT, *CDD11}:
        names = frozenset(mixture.split("+"))
        share = 0.75 / 10 if len(names) == 2 else 0.25 / 10  # of 10 pairs and of 10 sets of three kinds
        share /= 3 if names & {*NOISE_CLASSES} else 1  # levels of noise
        assert drawn.count(names) / total == pytest.approx(share, abs=4 * (share / total) ** 0.5), mixture


@pytest.mark.parametrize("grid", [0, 3])
def test_the_shares_in_the_plan_are_those_of_the_batches(pairs, grid):
    data = batches(pairs, grid, int(grid > 0), real_composites=0.2, local_share=0.35, clean_share=0.1)
    shares, steps = damage_shares(data), 30
    counts = dict.fromkeys(shares, 0)
    for step in range(steps):
        batch = data[step]
        for label, where in zip(batch["label"].tolist(), batch["where"], strict=True):
            several, local = label == K, bool((where < 1).any())
            kind = ("mixed local" if local else "mixed") if several else "local" if local else "uniform"
            counts["clean" if label == CLASSES.index("clean") else kind] += 1
    total = steps * data.size
    assert sum(shares.values()) == pytest.approx(1) and min(shares.values()) > 0.05
    for kind, share in shares.items():
        assert counts[kind] / total == pytest.approx(share, abs=4 * (share / total) ** 0.5), kind
    mixed = counts["mixed"] + counts["mixed local"]
    assert mixed / total == pytest.approx(shares["mixed"] + shares["mixed local"])
    (line,) = shares_text({"stage A": shares}).splitlines()
    assert all(f"{kind} {share:.1%}" in line for kind, share in shares.items())


def test_protocol_promptir_damages_single_samples_all_over(pairs):
    cfg = config.DataConfig(crop=16, protocol="promptir", local_share=0.5)
    options = (pairs, ("noise15", "noise25", "clean"), cfg, 32, 8, 0)
    assert damage_shares(Batches(*options))["uniform"] == 1
    assert damage_shares(Batches(*options, 2))["local"] == pytest.approx(1 / 3)


def test_masks_need_a_class_for_what_is_outside(pairs):
    with pytest.raises(UserError, match="needs the class 'clean'.*noise15, rain"):
        Batches(pairs, ("noise15", "rain"), config.DataConfig(crop=16, local_share=0.5), 32, 8, 0)


def test_light_damage_shows_and_has_its_label():
    sources = Sources.of(None)  # photographs
    cfg = config.DataConfig(severity=(0.15, 0.15), local_share=0.3, composite_share=0.2)
    grid = Batches(sources, CLASSES, cfg, 128, 8, 0, 4, 1.0)[0]
    plain = Batches(sources, CLASSES, config.DataConfig(severity=(0.0, 0.0)), 128, 8, 0, 4, 1.0)[0]
    for n, label in enumerate(plain["label"].tolist()):
        assert grid["label"][n] == label
        change = (grid["context"][n] - plain["context"][CLASSES.index("clean") + n // K * K]).abs()
        assert (CLASSES[label] == "clean") == bool(change.max() < 2 / 255), CLASSES[label]
    assert bool((grid["label"][4 * K :] == K).all()) and len(grid["label"]) == 5 * K


# --- what training makes of them


def test_a_crop_follows_its_view_only_where_the_damage_is_everywhere(pairs, tmp_path):
    cfg = trainings.make("data.local_share=0.5", "train.steps=4", "train.stage_a=1", "train.stage_c=0")
    run = Run(cfg, pairs, tmp_path, torch.device("cpu"))
    batch = next(iter(run.loader(0, 0)))
    whole = [n for n in range(K) if bool((batch["where"][n] == 1).all())]
    assert 1 < len(whole) < K
    z, crops = (run.net.glgf(*run.net.encoder(batch[key][:K])).embedding for key in ("context", "degraded"))
    by_hand = 0.1 * losses.consistency(crops[whole], z[whole]) * len(whole) / K
    terms = objectives.embedding_terms(run.net, cfg, batch, 0)
    torch.testing.assert_close(terms["consistency"], by_hand)
