"""Scores agree with scikit-image and torchmetrics on photographs, and refuse what they cannot compare."""

import doctest
import math

import numpy as np
import pytest
import torch
from PIL import Image

from slerlib.data.scenes import photographs
from slerlib.errors import UserError
from slerlib.evaluation import metrics
from slerlib.evaluation.metrics import bootstrap_interval, psnr, ssim, ssim_gaussian

NAMES = [scene.name for scene in photographs()]


def pair(index):
    """A photograph of odd size and a damaged copy, as doubles."""
    clean = photographs()[index].image[:, 40:221, 60:233].double()
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(index), dtype=torch.float64)
    return clean, (0.8 * clean + 0.05 + 0.1 * noise).clamp(0, 1)


@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
def test_agreement_with_scikit_image(index):
    from skimage import metrics as oracle

    a, b = pair(index)
    a_HWC, b_HWC = a.permute(1, 2, 0).numpy(), b.permute(1, 2, 0).numpy()
    same = {"channel_axis": -1, "data_range": 1.0}
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    assert psnr(a, b) == pytest.approx(oracle.peak_signal_noise_ratio(a_HWC, b_HWC, data_range=1.0), abs=1e-9)
    assert ssim(a, b) == pytest.approx(oracle.structural_similarity(a_HWC, b_HWC, **same), abs=1e-6)
    expected = oracle.structural_similarity(a_HWC, b_HWC, **same, **gaussian)
    assert ssim_gaussian(a, b) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("index", [0, 3, 7])
def test_agreement_with_torchmetrics(index):
    functional = pytest.importorskip("torchmetrics.functional.image")
    a, b = pair(index)
    _, full = functional.structural_similarity_index_measure(b[None], a[None], data_range=1.0, return_full_image=True)
    inside = full[..., 5:-5, 5:-5]  # torchmetrics also averages over reflected borders
    assert ssim_gaussian(a, b) == pytest.approx(inside.mean().item(), abs=1e-5)
    value = functional.peak_signal_noise_ratio(b[None], a[None], data_range=1.0)
    assert psnr(a, b) == pytest.approx(value.item(), abs=1e-5)


def test_the_two_ssims_differ():
    a, b = pair(0)
    assert abs(ssim(a, b) - ssim_gaussian(a, b)) > 1e-4


def test_equal_pictures():
    a, _ = pair(1)
    assert psnr(a, a) == math.inf
    assert ssim(a, a) == pytest.approx(1, abs=1e-12) and ssim_gaussian(a, a) == pytest.approx(1, abs=1e-12)


def test_known_value_and_clamping():
    zero = torch.zeros(3, 16, 16)
    assert psnr(zero, zero + 0.1) == pytest.approx(20, abs=1e-5)
    assert psnr(zero - 5, zero + 0.1) == pytest.approx(20, abs=1e-5)
    assert psnr(np.full((16, 16, 3), -5.0), np.full((16, 16, 3), 0.1)) == pytest.approx(20, abs=1e-9)


def test_kinds_of_pictures_agree():
    a, b = (np.random.default_rng(i).integers(0, 256, (20, 24, 3), dtype=np.uint8) for i in (0, 1))
    tensors = [torch.from_numpy(x).permute(2, 0, 1).float() / 255 for x in (a, b)]
    for score in (psnr, ssim, ssim_gaussian):
        expected = score(*tensors)
        assert score(a, b) == pytest.approx(expected, abs=1e-6)
        assert score(Image.fromarray(a), Image.fromarray(b)) == pytest.approx(expected, abs=1e-6)
        assert score(a / 255, tensors[1]) == pytest.approx(expected, abs=1e-6)
    assert psnr(a[..., 0] / 255, b[..., 0] / 255) == pytest.approx(psnr(tensors[0][:1], tensors[1][:1]), abs=1e-5)


@pytest.mark.parametrize("score", [psnr, ssim, ssim_gaussian])
def test_bad_pictures_are_refused(score):
    good = torch.rand(3, 16, 16)
    for other, pattern in (
        (torch.rand(3, 16, 17), "same shape"),
        (torch.rand(1, 16, 16), "same shape"),
        (torch.rand(1, 3, 16, 16), "one by one"),
        (torch.zeros(3, 16, 16, dtype=torch.uint8), "float tensors"),
        (torch.full((3, 16, 16), math.nan), "NaN"),
        ("a.png", "float tensors"),
        (np.zeros((16, 16, 3), np.int64), "uint8"),
    ):
        with pytest.raises(UserError, match=pattern):
            score(good, other)


def test_ssim_needs_its_window():
    with pytest.raises(UserError, match="7 x 7"):
        ssim(torch.rand(3, 6, 20), torch.rand(3, 6, 20))
    with pytest.raises(UserError, match="11 x 11"):
        ssim_gaussian(torch.rand(3, 20, 10), torch.rand(3, 20, 10))


def test_bootstrap_interval():
    values = np.random.default_rng(0).normal(30, 2, 100)
    mean, low, high = bootstrap_interval(values)
    assert mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 10
    assert low == pytest.approx(mean - half, abs=0.1) and high == pytest.approx(mean + half, abs=0.1)
    assert bootstrap_interval(values) == (mean, low, high) != bootstrap_interval(values, seed=1)
    narrow = bootstrap_interval(values, confidence=0.5)
    assert low < narrow[1] < mean < narrow[2] < high
    for values in ([3.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0, math.inf]):  # the range of four is no interval
        mean, low, high = bootstrap_interval(values)
        assert mean == np.mean(values) and math.isnan(low) and math.isnan(high)
    assert math.isfinite(bootstrap_interval([1.0, 2.0, 3.0, 4.0, 5.0])[1])
    with pytest.raises(UserError, match="at least one"):
        bootstrap_interval([])


def test_examples_in_the_docstrings():
    assert doctest.testmod(metrics, extraglobs={"torch": torch}).failed == 0
