"""`benchmarks/graft.py`: the experts of one checkpoint behind the encoder of another."""

import sys
from pathlib import Path

import pytest
import torch

import slerlib
from slerlib import checkpoint, config
from slerlib.model.network import SLERIR


@pytest.fixture(scope="module")
def graft(script):
    return script("graft")


@pytest.fixture
def grafted(graft, tmp_path, monkeypatch, capsys):
    """grafted(experts, encoder) -> (network, share of the guide map that is explained)."""

    def run(experts, encoder) -> tuple[SLERIR, int]:
        options = ["--recipe", "tiny", "--batches", 4]
        monkeypatch.setattr(sys, "argv", ["graft.py", *map(str, [experts, encoder, tmp_path / "out", *options])])
        graft.main()
        share = int(capsys.readouterr().out.split("guide map: ")[1].split("%")[0])
        return checkpoint.load_net(tmp_path / "out")[0], share

    return run


def fresh(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    return slerlib.save(SLERIR(config.recipe("tiny").model), folder)


def test_experts_behind_their_own_encoder_restore_as_before(grafted):
    net, share = grafted("tiny", "tiny")
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        after, before = net(x), checkpoint.load_net("tiny")[0](x)
    assert share == 100 and (after - before).abs().max() < 2e-3


def test_each_part_comes_from_its_network_and_the_guide_map_from_the_fit(grafted, tmp_path):
    other = fresh(tmp_path / "other", 1)
    net, share = grafted("tiny", other)
    experts, encoder = (checkpoint.load_net(name)[0].state_dict() for name in ("tiny", other))
    assert 0 < share < 100
    for key, value in net.state_dict().items():
        if key.startswith("glgf.guide."):
            assert not torch.equal(value, experts[key]) and not torch.equal(value, encoder[key])
        else:
            source = encoder if key.startswith(("encoder.", "glgf.", "router.")) else experts
            assert torch.equal(value, source[key]), key
