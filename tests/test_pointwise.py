"""The fast way of the layers at each pixel: the same values up to rounding, and only in inference mode."""

import pytest
import torch

from slerlib import SLERIR, config
from slerlib.model import pointwise
from slerlib.model.pointwise import PixelConv, PixelLinear


@pytest.fixture(params=[True, False])
def way(request, monkeypatch):
    monkeypatch.setattr(pointwise, "_here", lambda: request.param)
    return request.param


def test_layers_are_those_of_torch(way):
    x = torch.randn(2, 9, 7, 12)
    linear, conv = PixelLinear(12, 5), PixelConv(12, 5, bias=False)
    scale, rest = torch.randn(5), torch.randn(2, 9, 7, 5)
    with torch.inference_mode():
        torch.testing.assert_close(linear(x), torch.nn.functional.linear(x, linear.weight, linear.bias))
        torch.testing.assert_close(linear.added(rest, x, scale), rest + scale * linear(x))
        x_BCHW = x.permute(0, 3, 1, 2)
        torch.testing.assert_close(conv(x_BCHW), torch.nn.functional.conv2d(x_BCHW, conv.weight))
        torch.testing.assert_close(linear(x[0]), linear(x)[0])  # tokens
        assert linear(x[0, 0]).shape == (7, 5)


def test_a_training_keeps_every_bit(monkeypatch):
    """With gradients the layers are those of torch, whatever the machine."""
    x, results = torch.rand(1, 3, 32, 40), []
    for here in (True, False):
        monkeypatch.setattr(pointwise, "_here", lambda here=here: here)
        torch.manual_seed(0)
        net = SLERIR(config.recipe("tiny").model)
        y = net(x)
        y.square().sum().backward()
        results.append([y.detach(), *(p.grad for p in net.parameters() if p.grad is not None)])
    assert len(results[0]) > 50 and all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("block", ["naf", "restormer"])
def test_networks_agree(monkeypatch, block):
    torch.manual_seed(0)
    options = [f"model.block={block}", "model.stem_blocks=1", "model.encoder_kernel=3"]
    net = SLERIR(config.with_overrides(config.recipe("tiny"), options).model).eval()
    for name, parameter in net.named_parameters():
        if name.endswith(("beta", "gamma")):
            torch.nn.init.normal_(parameter)
        elif not parameter.any():  # layers that start at zero: those of the guide map, of the stem, of neighbours
            torch.nn.init.normal_(parameter, std=0.03)
    x, results = torch.rand(1, 3, 96, 112), []
    for here in (True, False):
        monkeypatch.setattr(pointwise, "_here", lambda here=here: here)
        with torch.inference_mode():
            results.append(net(x))
    torch.testing.assert_close(*results, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_take_the_usual_way(dtype):
    x, layer = torch.rand(1, 4, 4, 6, dtype=dtype), PixelLinear(6, 3).to(dtype)
    with torch.inference_mode():
        assert not pointwise.fast(x)
        assert torch.equal(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("shape", [(1, 48, 37, 41), (2, 5, 67, 129), (1, 3, 4, 5), (1, 1, 1, 33)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gelu_has_the_same_bits_for_any_number_of_threads(shape, layout):
    """Of channels-last maps torch's own differed in up to 82 of 72,816 values of the first shape, by 1e-7."""
    x, results = torch.randn(shape).contiguous(memory_format=layout), []
    with torch.inference_mode():
        for threads in range(1, 9):
            torch.set_num_threads(threads)
            results.append(pointwise.gelu(x))
        torch.testing.assert_close(results[0], torch.nn.functional.gelu(x), atol=1e-6, rtol=0)
    assert all(torch.equal(results[0], other) and x.stride() == other.stride() for other in results)


def test_gelu_of_a_part_in_memory_is_that_of_torch():
    """Every second channel, a piece that starts in the middle, and less than a pixel's channels."""
    x = torch.randn(2, 8, 9, 10).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        for part in (x[:, ::2], x[1:], x[..., 1:], x[:, :4]):
            torch.testing.assert_close(pointwise.gelu(part), torch.nn.functional.gelu(part), atol=1e-6, rtol=0)
