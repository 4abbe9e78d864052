"""`benchmarks/mean_weights.py`: the mean of the weights of trainings with one start."""

import json
import sys
from pathlib import Path

import pytest
import torch

import slerlib
from slerlib import checkpoint


@pytest.fixture
def runs(untrained, tmp_path):
    """Two checkpoints: the untrained one, and one whose weights lie near to it."""
    net, card = checkpoint.load_net(untrained)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    net.router.normalise_pins()
    run = checkpoint.save_weights(tmp_path / "run", net, card | {"scores": [], "steps_done": 5})
    (run / "log.jsonl").write_text("{}\n")
    return [str(untrained), str(run)]


@pytest.fixture
def mean(script, tmp_path, monkeypatch):
    """mean(runs, options) -> folder of the mean"""

    def mean(runs, *options):
        monkeypatch.setattr(sys, "argv", ["mean_weights.py", str(tmp_path / "out"), *map(str, [*runs, *options])])
        script("mean_weights").main()
        return tmp_path / "out"

    return mean


@pytest.mark.parametrize("shares", [(1, 1), (3, 1)])
def test_weights_are_the_mean_and_pins_lie_on_the_sphere(mean, runs, shares):
    out = mean(runs, "--shares", *shares)
    after, a, b = (checkpoint.load_net(folder)[0].state_dict() for folder in (out, *runs))
    for key, value in after.items():
        expected = (shares[0] * a[key].double() + shares[1] * b[key].double()) / sum(shares)
        if key == "router.pins":
            expected = torch.nn.functional.normalize(expected, dim=-1)
        torch.testing.assert_close(value, expected.to(value), atol=1e-6, rtol=1e-6)
    assert any(not torch.equal(after[key], a[key]) for key in after)


def test_the_card_is_that_of_the_training_without_its_scores(mean, runs):
    out = mean(runs)
    card = json.loads((out / "card.json").read_text())
    assert card["steps_done"] == 5 and "scores" not in card and card["shares"] == [1, 1]
    assert card["mean_of"] == [Path(run).name for run in runs]
    assert (out / "log.jsonl").read_text() == "{}\n"


def test_what_has_no_mean_is_refused(mean, runs, tmp_path, capsys):
    net, card = checkpoint.load_net(runs[0])
    net.router.anchors.neg_()
    turned = checkpoint.save_weights(tmp_path / "turned", net, card)
    for wrong, reason in (
        ([runs[0]], "two or more"),
        ([*runs, "--shares", 1, 0], "a positive share"),
        ([*runs, "--shares", 1], "for each"),
        ([runs[0], turned], "the same anchors"),
        ([runs[0], "small"], "same config.model"),
    ):
        with pytest.raises(SystemExit):
            mean(wrong)
        assert reason in capsys.readouterr().err and not (tmp_path / "out").exists()
    mean(runs)
    with pytest.raises(SystemExit):
        mean(runs)
    assert "holds files" in capsys.readouterr().err
    assert slerlib.load(tmp_path / "out", "cpu").router.names
