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
    assert ssim(a, b) == pytest.approx(oracle.structural_similarity(a_HWC, b_HWC, **same), abs=1e-12)
    expected = oracle.structural_similarity(a_HWC, b_HWC, **same, **gaussian)
    assert ssim_gaussian(a, b) == pytest.approx(expected, abs=1e-12)


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
    """A network may leave [0, 1] a little."""
    zero = torch.zeros(3, 16, 16)
    assert psnr(zero, zero + 0.1) == pytest.approx(20, abs=1e-5)
    assert psnr(zero - 0.4, zero + 0.1) == pytest.approx(20, abs=1e-5)
    assert psnr(np.full((16, 16, 3), 1.4), np.full((16, 16, 3), 0.9)) == pytest.approx(20, abs=1e-5)


def test_kinds_of_pictures_agree(tmp_path):
    a, b = (np.random.default_rng(i).integers(0, 256, (20, 24, 3), dtype=np.uint8) for i in (0, 1))
    tensors = [torch.from_numpy(x).permute(2, 0, 1).float() / 255 for x in (a, b)]
    Image.fromarray(a).save(tmp_path / "a.png")
    for score in (psnr, ssim, ssim_gaussian):
        expected = pytest.approx(score(*tensors), abs=1e-12)
        assert score(a, b) == expected and score(Image.fromarray(a), Image.fromarray(b)) == expected
        assert score(tmp_path / "a.png", tensors[1].double()) == expected == score(str(tmp_path / "a.png"), b / 255)
        assert score(a / 255, tensors[1].numpy().transpose(1, 2, 0)) == expected == score(tensors[0][None], tensors[1])


def test_grey_counts_as_three_equal_channels():
    grey = np.random.default_rng(0).integers(0, 256, (20, 24), dtype=np.uint8)
    forms = [grey, grey / 255, grey[..., None], (grey / 255).astype(np.float32), torch.from_numpy(grey / 255)[None],
             np.repeat(grey[..., None], 3, axis=2), Image.fromarray(grey)]  # fmt: skip
    other = 255 - grey
    for form in forms:
        assert psnr(grey, form) == math.inf and ssim(grey, form) == pytest.approx(1, abs=1e-12)
        for score in (psnr, ssim, ssim_gaussian):
            assert score(form, other) == pytest.approx(score(grey, other), abs=1e-12)


def test_alpha_does_not_count():
    rgba, other = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 4), dtype=np.uint8)
    other[..., :3] = rgba[..., :3]
    for kind in (np.asarray, lambda x: x / 255, lambda x: x.astype(np.uint16) * 257, Image.fromarray):
        assert psnr(kind(rgba), kind(other)) == psnr(kind(rgba), rgba[..., :3]) == math.inf
        assert ssim_gaussian(kind(rgba), kind(other)) == pytest.approx(1, abs=1e-12)


def test_the_score_of_a_batch_is_the_mean_over_its_images():
    a, b = torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for score in (psnr, ssim, ssim_gaussian):
        assert score(a, b) == pytest.approx(np.mean([score(*pair) for pair in zip(a, b, strict=True)]), abs=1e-12)


@pytest.mark.parametrize("score", [psnr, ssim, ssim_gaussian])
def test_bad_pictures_are_refused(score, tmp_path):
    good = torch.rand(3, 16, 16)
    for other, pattern in (
        (torch.rand(3, 16, 17), "same size.*16 x 16.*17 x 16"),
        (torch.rand(2, 3, 16, 16), "same size.*2 of 16 x 16"),
        (torch.zeros(3, 16, 16, dtype=torch.uint8), "255"),
        (torch.full((3, 16, 16), math.nan), "NaN"),
        (np.full((16, 16, 3), math.inf), "infinity"),
        (good * 255, "Divide it by 255"),
        (good.numpy().transpose(1, 2, 0) * 255, "Divide it by 255"),
        (2 * good - 1, "0 to 1"),
        (torch.rand(4, 16, 16), "alpha"),
        (torch.rand(3, 0, 16), "0, 16"),
        (tmp_path / "a.png", "does not exist"),
        (7, "int"),
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
