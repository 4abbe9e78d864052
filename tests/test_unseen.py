"""Damage unlike the trained: its signs, the rule that weighs them, and what `restore` says about it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage

import slerlib
from slerlib import SLERIR, config
from slerlib.analysis.unseen import collected, fitted, scores
from slerlib.checkpoint import save_weights
from slerlib.data.scenes import photographs
from slerlib.images import write_image
from slerlib.inference import evidence as signs
from slerlib.inference import restore as restoring
from slerlib.inference.evidence import blocks, specks
from slerlib.model.doubt import SIGNS, Rule, rule_of

CLASSES = config.CLASSES


def card(limit: float) -> dict:
    """With a rule whose score is the first sign, the angle, over 10."""
    rows = {name: {"mean": 0.0, "scale": 10.0, "weight": float(name == "angle")} for name in (*SIGNS, *CLASSES)}
    return {"unseen": {"signs": rows, "bias": 0.0, "limit": limit, "false_alarms": 0.05}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A checkpoint whose rule flags every picture, and one whose rule flags none."""
    torch.manual_seed(0)
    cfg = config.recipe("tiny")
    net, own = SLERIR(cfg.model), {"name": "x", "config": config.to_dict(cfg)}
    return [save_weights(tmp_path_factory.mktemp("rules") / "x", net, own | card(limit)) for limit in (-1.0, 1000.0)]


def photograph(height=128, width=160):
    return photographs()[1].image[:, :height, :width].contiguous()


def test_blocks_are_seen_wherever_their_grid_starts():
    x = photograph(256, 320)
    jpeg = slerlib.degrade(x, "jpeg", severity=0.5, seed=0)
    plain, grid, moved = (blocks(one[None]).item() for one in (x, jpeg, jpeg[:, 3:, 5:]))
    assert grid > 3 * plain and moved > 3 * plain
    assert blocks(torch.zeros(1, 3, 64, 64)).item() == 0 and blocks(torch.rand(2, 3, 8, 40)).tolist() == [0, 0]


def test_specks_are_bright_points_and_no_noise_or_edges():
    x = photograph(256, 320)
    snow = slerlib.degrade(x, "snow", severity=0.5, seed=0)
    plain, white, black = (specks(one[None]).item() for one in (x, snow, 1 - snow))
    assert white > plain + 0.3 and black == pytest.approx(-white, abs=1e-3)
    noise = (0.5 + 0.1 * torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0)))[None]
    edges = torch.zeros(1, 3, 64, 64)
    edges[..., 30:] = 1
    points = torch.full((1, 3, 64, 64), 0.2)
    points[..., ::9, ::9] = 1
    assert abs(specks(noise).item()) < 0.2 and abs(specks(edges).item()) < 0.2 and specks(points).item() > 5
    assert specks(torch.rand(2, 3, 2, 40)).tolist() == [0, 0]
    grey = snow.mean(dim=0).numpy()
    out = (grey - ndimage.median_filter(grey, 3))[1:-1, 1:-1]  # the oracle of the median
    expected = np.log((out.clip(0) ** 2).mean() + 1e-6) - np.log((out.clip(max=0) ** 2).mean() + 1e-6)
    assert white == pytest.approx(expected, abs=1e-4)


def test_a_fit_separates_what_its_signs_separate_and_its_rule_goes_into_a_card():
    rng, names = np.random.default_rng(0), [*SIGNS, *CLASSES]
    rows = pd.DataFrame(rng.normal(size=(400, len(names))), columns=names)
    rows["kind"] = ["rain", "snow"] * 200
    rows.loc[rows.kind == "snow", "turn"] += 3
    part = fitted(rows, CLASSES, 0.05)
    score, snow = scores(rows, part), rows.kind == "snow"
    assert np.mean(score[snow][:, None] > score[~snow]) > 0.95
    assert (score[~snow] > part["limit"]).mean() == pytest.approx(0.03, abs=0.01)
    rule = rule_of(json.loads(json.dumps({"unseen": part})), CLASSES)
    values = torch.tensor(rows[names].to_numpy())
    np.testing.assert_allclose(rule.scores(values).numpy(), score, rtol=1e-6, atol=1e-9)
    reasons = rule.reasons(values)
    assert [bool(lines) for lines in reasons] == (score > part["limit"]).tolist()
    flagged = [lines[0] for lines, yes in zip(reasons, snow & (score > part["limit"]), strict=True) if yes]
    assert np.mean([SIGNS["turn"] in line for line in flagged]) > 0.9 and "5%" in flagged[0]


@pytest.mark.parametrize("fault", [None, [], {"signs": None}, "other", "text", "nan", "zero", "bool"])
def test_a_card_of_another_form_has_no_rule(fault):
    part = card(1.0)["unseen"]
    assert isinstance(rule_of({"unseen": part}, CLASSES), Rule) and rule_of({}, CLASSES) is None
    match fault:
        case "other":
            assert rule_of({"unseen": part}, CLASSES[1:]) is None
            return
        case "text":
            part["bias"] = "1"
        case "nan":
            part["signs"]["turn"]["mean"] = float("nan")
        case "zero":
            part["signs"]["turn"]["scale"] = 0
        case "bool":
            part["limit"] = True
        case _:
            part = fault
    assert rule_of({"unseen": part}, CLASSES) is None


def test_restore_says_that_damage_is_unlike_the_trained(folders):
    x = photograph()
    always, never = (slerlib.load(folder, "cpu") for folder in folders)
    y, trace = slerlib.restore(always, x, return_trace=True)
    plain, quiet = slerlib.restore(never, x, return_trace=True)
    assert torch.equal(y, plain) and torch.equal(y, slerlib.restore(always, x))
    assert trace.evidence.shape == (1, len(SIGNS) + len(CLASSES)) and torch.equal(trace.evidence, quiet.evidence)
    assert trace.unseen()[0] == pytest.approx(trace.anchor_angle.min().item() / 10, rel=1e-5)
    assert "unlike the trained" in trace.flags()[0][-1] and not any("score" in line for line in quiet.flags()[0])
    assert trace.evidence[0, len(SIGNS) :].tolist() == [name == trace.nearest_anchor()[0] for name in CLASSES]
    for options in ({"path": "0" * 8}, {"passes": 2}, {"route": "image"}, {"route": "tile", "tile": 64}):
        assert slerlib.restore(always, x, return_trace=True, **options)[1].evidence is None
    two = slerlib.restore(always, torch.stack([x, x.flip(1)]), return_trace=True)[1]
    torch.testing.assert_close(two.evidence[:1], trace.evidence, atol=1e-3, rtol=1e-3)


def test_the_middle_of_a_large_picture_is_judged_as_the_same_part_of_a_tensor(folders, tmp_path, monkeypatch):
    model, x = slerlib.load(folders[0], "cpu"), photograph(300, 330)
    monkeypatch.setattr(signs, "SIDE", 160)
    monkeypatch.setattr(restoring, "WHOLE_PIXELS", 200 * 200)
    write_image(tmp_path / "x.png", x)
    x = slerlib.images.read_image(tmp_path / "x.png")[0]
    y, trace = slerlib.restore(model, x, tile=192, return_trace=True)
    rows, columns = signs.middle(300, 330)
    assert (rows, columns) == (slice(64, 224), slice(80, 240))
    part = signs.judged(model, x[None, :, rows, columns], y[None, :, rows, columns], trace, False)
    torch.testing.assert_close(trace.evidence, part.evidence.detach())
    by_rows = slerlib.restore(model, tmp_path / "x.png", tile=192, return_trace=True)[1]
    torch.testing.assert_close(by_rows.evidence, trace.evidence, atol=1e-4, rtol=1e-4)


def test_the_command_line_writes_score_and_signs(folders, run, tmp_path):
    write_image(tmp_path / "x.png", photograph())
    for folder, flagged in zip(folders, (True, False), strict=True):
        target, trace = tmp_path / f"{flagged}.png", tmp_path / f"{flagged}.json"
        code, out, _ = run("restore", tmp_path / "x.png", target, "--checkpoint", folder, "--trace", trace)
        entry = json.loads(trace.read_text())["images"][0]
        assert code == 0 and list(entry["unlike_trained"]["signs"]) == list(SIGNS)
        assert (entry["unlike_trained"]["score"] > entry["unlike_trained"]["limit"]) == flagged
        assert any("unlike the trained (score" in line for line in entry["flags"]) == flagged
    run(
        "restore",
        tmp_path / "x.png",
        target,
        "--checkpoint",
        folders[0],
        "--path",
        "0" * 8,
        "--trace",
        trace,
        "--overwrite",
    )
    assert json.loads(trace.read_text())["images"][0]["unlike_trained"] is None


def test_the_page_of_a_photograph_states_score_and_limit(folders, run, tmp_path):
    write_image(tmp_path / "x.png", photograph(96, 96))
    for folder, limit, times in zip(folders, ("-1.0", "1000.0"), (3, 1), strict=True):
        page = tmp_path / f"{limit}.html"
        assert run("explain", tmp_path / "x.png", "--checkpoint", folder, "--out", page)[0] == 0
        text = page.read_text()
        assert f"for damage unlike the trained, limit {limit}" in text
        assert text.count("The score is above the limit for 5% of pictures of the trained classes.") == times


def test_signs_are_collected_for_every_photograph_and_damage(folders):
    model, x = slerlib.load(folders[0], "cpu"), photograph(64, 70)
    damages = {"clean": lambda x, seed: x, "jpeg": lambda x, seed: slerlib.degrade(x, "jpeg", severity=0.5, seed=seed)}
    rows = collected(model, {"a": x, "b": x.flip(2).contiguous()}, damages)
    assert rows[["photograph", "kind"]].to_numpy().tolist() == [[p, k] for p in "ab" for k in damages]
    _, trace = slerlib.restore(model, x, return_trace=True)
    np.testing.assert_allclose(rows.loc[0, list(SIGNS)].astype(float), trace.evidence[0, : len(SIGNS)], atol=1e-3)
    assert rows.blocks[1] > rows.blocks[0] and np.isfinite(rows.psnr[1])


def test_a_rule_tells_how_often_clean_pictures_are_flagged_where_its_card_does():
    kept = card(limit=-1.0)
    assert "clean" not in rule_of(kept, CLASSES).about()
    kept["unseen"]["clean_alarms"] = 0.35
    rule = rule_of(kept, CLASSES)
    assert "5% of pictures of the trained classes (35% of the clean ones among them)" in rule.about()
    (reason,) = rule.reasons(torch.zeros(1, len(SIGNS) + len(CLASSES)))[0]
    assert "it is above for 5% of pictures of the trained classes (35% of the clean ones among them)); signs" in reason


@pytest.mark.parametrize("name", ["tiny", "small", "small-places"])
def test_included_cards_hold_a_rule_of_their_classes_or_none(name):
    model = slerlib.load(name, "cpu")
    assert ("unseen" in model.card) == (model.router.rule is not None)
    if model.router.rule is not None:
        part = model.card["unseen"]
        assert 0 < part["false_alarms"] < 0.1 and part["false_alarms"] < part["clean_alarms"] < 0.5
        caught = ["snow", "jpeg"] if name == "tiny" else ["jpeg"]  # of snow `small` flags 6 %
        assert min(part["caught"][kind] for kind in caught) > 5 * part["false_alarms"]
