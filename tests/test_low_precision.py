"""float16, bfloat16 and float64 networks: the same routes, and pictures that differ by no more than is stated here."""

import copy

import pytest
import torch

from slerlib import SLERIR, config, degrade, load, restore
from slerlib.data.scenes import photographs

#: Largest difference of a value in 0..1 to the float32 network on one path, measured with `tiny` and rounded up.
LARGEST = {torch.float64: 2e-6, torch.float16: 0.01, torch.bfloat16: 0.1}


@pytest.fixture(scope="module")
def net():
    return load("tiny", "cpu")


@pytest.fixture(scope="module")
def pictures():
    scenes = photographs()
    names = ("rain", "haze", "noise25", "blur", "lowlight", "clean")
    return torch.stack([degrade(s.image[:, :120, :136], n, seed=1) for s, n in zip(scenes, names, strict=False)])


@pytest.mark.parametrize("dtype", LARGEST, ids=str)
def test_a_network_of_another_precision_restores_nearly_the_same(net, pictures, dtype):
    other = copy.deepcopy(net).to(dtype)
    expected, trace = restore(net, pictures, route="image", return_trace=True)
    y, own = restore(other, pictures, route="image", return_trace=True)
    assert (y - expected).abs().max() < LARGEST[dtype] and y.dtype == torch.float32
    assert torch.equal(own.path, trace.path)
    assert own.similarity.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    with torch.inference_mode():
        direct = other(pictures.to(dtype), route_by="image")
        assert direct.dtype == dtype
        assert (direct.float().clamp(0, 1) - expected).abs().max() < LARGEST[dtype] + torch.finfo(dtype).eps
        alone = restore(other, pictures[:1], route="image")  # in a batch some processors round float16 otherwise
        assert torch.equal(other(pictures[:1], path=trace.path[0]).float().clamp(0, 1), alone)  # float32 in


@pytest.mark.parametrize("dtype", LARGEST, ids=str)
def test_places_keep_their_paths_but_for_few(net, pictures, dtype):
    """Places nearly as far from two pins may change sides."""
    (expected, trace), (y, own) = (
        restore(each, pictures, route="place", return_trace=True) for each in (net, copy.deepcopy(net).to(dtype))
    )
    assert (own.path_map == trace.path_map).float().mean() > 0.98
    assert (y - expected).abs().mean() < 0.5 / 255


@pytest.mark.parametrize("dtype", LARGEST, ids=str)
@pytest.mark.parametrize("override", ["model.block=restormer", "model.router=sphere_stage", "model.router=dense"])
def test_every_kind_of_network_computes_in_it(override, dtype):
    torch.manual_seed(0)
    net = SLERIR(
        config.with_overrides(config.recipe("tiny"), [override, "model.route_by=image", "model.tlc_window=24"]).model
    ).eval()
    x = torch.rand(2, 3, 48, 40)
    x[0] = 0  # channels without any energy
    with torch.no_grad():
        y = copy.deepcopy(net).to(dtype)(x.to(dtype))
        assert y.dtype == dtype and (y.float() - net(x)).abs().max() < 0.05


def test_pins_and_anchors_keep_their_bits(net):
    half = copy.deepcopy(net).half()
    assert half.intro.weight.dtype == torch.float16
    assert torch.equal(half.router.pins, net.router.pins) and torch.equal(half.router.anchors, net.router.anchors)
    assert half.double().router.pins.dtype == torch.float64
