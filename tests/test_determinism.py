"""What docs/restoring.md states about equal results, operation by operation. Limits are above what was measured."""

import numpy as np
import pytest
import torch

import slerlib
from slerlib import degrade, restore
from slerlib.data.scenes import photographs
from slerlib.images.rows import Rows
from slerlib.inference.stream import restore_rows
from slerlib.model import pointwise

CLOSE = 1e-3 / 255  # measured: 6e-5 / 255


@pytest.fixture(scope="module")
def net():
    return slerlib.load("tiny", "cpu")


@pytest.fixture(scope="module")
def x_CHW():
    """All values are whole 255ths, as in a file of 8 bits."""
    clean = photographs()[0].image[:, :200, :264].contiguous()
    return (degrade(clean, "rain", severity=0.5, seed=1) * 255).round() / 255


def almost(a, b):
    """Float results agree to `CLOSE`; as bytes a few values in a thousand may differ, by 1."""
    assert (a - b).abs().max() <= CLOSE
    steps = ((a * 255).round() - (b * 255).round()).abs()
    assert steps.max() <= 1 and (steps > 0).float().mean() < 1e-3


@pytest.mark.parametrize("options", [{"tile": 0}, {"tile": 128}, {"route": "place", "tile": 0}, {"passes": 2}])
def test_the_same_call_gives_the_same_bits(net, x_CHW, options):
    (a, one), (b, two) = (restore(net, x_CHW, return_trace=True, **options) for _ in range(2))
    assert torch.equal(a, b) and torch.equal(one.embedding, two.embedding) and torch.equal(one.path, two.path)


def test_the_own_path_forced_gives_the_same_bits(net, x_CHW):
    y, trace = restore(net, x_CHW, tile=0, route="image", return_trace=True)
    assert torch.equal(restore(net, x_CHW, tile=0, path=trace.path), y)


@pytest.mark.parametrize("options", [{"tile": 0}, {"tile": 128}, {"route": "image", "tile": 0}, {"passes": 2}])
def test_any_number_of_threads_gives_the_same_bits(net, x_CHW, options):
    """Where the fast ways of `pointwise.py` are taken; elsewhere shares of the threads end in other code."""
    one, first = restore(net, x_CHW, return_trace=True, **options)
    for threads in (2, 3, 4):
        torch.set_num_threads(threads)
        other, second = restore(net, x_CHW, return_trace=True, **options)
        if pointwise._here():
            assert torch.equal(one, other) and torch.equal(first.embedding, second.embedding)
        almost(one, other)
        assert torch.equal(first.path, second.path)


def test_a_batch_and_its_pictures_alone(net, x_CHW):
    others = [x_CHW, x_CHW.flip(-1), 1 - x_CHW]
    batch, trace = restore(net, torch.stack(others), tile=0, return_trace=True)
    for x, y, path in zip(others, batch, trace.path, strict=True):
        alone, own = restore(net, x, tile=0, return_trace=True)
        almost(alone, y)
        assert torch.equal(own.path[0], path)


def test_a_file_by_rows_and_a_tensor_give_the_same_bits(net, x_CHW):
    """With the same tiles; the samples of the file are the values of the tensor."""
    rows, parts = Rows((200, 264, 3), "uint8"), []
    rows.write(0, (x_CHW * 255).round().byte().permute(1, 2, 0).numpy())
    restore_rows(net, rows, lambda top, y: parts.append(y.clone()), side=128, route="image")
    assert torch.equal(torch.cat(parts, dim=1), restore(net, x_CHW, tile=128, route="image"))


def test_kinds_of_input_give_the_same_bytes(net, x_CHW):
    a = (x_CHW * 255).round().byte().permute(1, 2, 0).numpy()
    from_tensor = (restore(net, x_CHW) * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(restore(net, a), from_tensor)


@pytest.mark.parametrize("kind", ["rain", "lowlight"])
def test_tiles_and_the_whole(net, kind):
    """Tiles of 768 pixels with seams through the middle of the picture, at most 3/255 apart, in the mean 0.02/255."""
    clean = photographs()[0].image
    x = torch.nn.functional.interpolate(clean[None], size=(832, 832), mode="bicubic")[0].clamp(0, 1)
    x = degrade(x, kind, severity=0.5, seed=1)
    whole, tiled = restore(net, x, tile=0), restore(net, x, tile=768)
    assert not torch.equal(whole, tiled)
    assert (whole - tiled).abs().max() < 3 / 255 and (whole - tiled).abs().mean() < 0.02 / 255


def test_seeded_damage_gives_the_same_bits(x_CHW):
    for kind in ("noise", "rain", "haze", "blur", "lowlight", "snow", "jpeg"):
        assert torch.equal(degrade(x_CHW, kind, severity=0.5, seed=3), degrade(x_CHW, kind, severity=0.5, seed=3))
