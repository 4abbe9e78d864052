"""Degradations: deterministic, bounded, physical, and as strong as their severity says."""

import itertools
import math

import numpy as np
import pytest
import torch

from slerlib.data import camera
from slerlib.data.degrade import (
    DEGRADATIONS,
    ORDER,
    SCENE_MEDIAN,
    degradation_order,
    degrade,
    sigma_of,
    synthetic_depth,
)
from slerlib.data.scenes import photographs
from slerlib.errors import UserError

NAMES = (*DEGRADATIONS, "clean", "noise15", "noise25", "noise50")
NATURAL = [scene for scene in photographs() if scene.name not in ("hubble_deep_field", "retina")]


def psnr(a, b):
    return float(-10 * torch.log10(((a - b) ** 2).mean()))


@pytest.fixture(scope="module")
def patch():
    return photographs()[0].image[:, 40:200, 160:320].contiguous()


@pytest.mark.parametrize("name", NAMES)
def test_same_arguments_same_result_without_touching_global_state(patch, name):
    torch_state, numpy_state, before = torch.get_rng_state(), np.random.get_state()[1].copy(), patch.clone()
    first, second = degrade(patch, name, 0.6, seed=3), degrade(patch, name, 0.6, seed=3)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), torch_state) and (np.random.get_state()[1] == numpy_state).all()
    assert torch.equal(patch, before) and first.data_ptr() != patch.data_ptr()


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_another_seed_gives_another_result(patch, name):
    results = [degrade(patch, name, 0.5, seed=seed) for seed in range(4)]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(results, 2))


@pytest.mark.parametrize("size", [(16, 16), (17, 45), (101, 33), (5, 3), (1, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_any_size_stays_in_range(name, size):
    clean = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    for severity in (0.02, 0.5, 1):
        out = degrade(clean, name, severity, seed=5)
        assert out.shape == clean.shape and out.dtype == torch.float32 and out.is_contiguous()
        assert out.min() >= 0 and out.max() <= 1


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_severity_zero_is_the_identity(patch, name):
    assert torch.equal(degrade(patch, name, 0.0, seed=1), patch)
    assert torch.equal(degrade(patch, "noise", sigma=0), patch)
    assert torch.equal(degrade(patch, "clean", 0.9), patch)
    assert torch.equal(degrade(patch, list(DEGRADATIONS), 0), patch)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_psnr_falls_with_severity(patch, name):
    for seed in range(4):
        scores = [psnr(degrade(patch, name, s, seed), patch) for s in (0.1, 0.25, 0.5, 0.75, 1.0)]
        assert all(a > b for a, b in itertools.pairwise(scores)), scores
    assert psnr(degrade(patch, name, 0.002, 0), patch) > 33  # no jump at 0


@pytest.mark.parametrize(
    "name, pinned", [("rain", 25), ("haze", 15), ("blur", 24), ("lowlight", 10), ("snow", 22), ("jpeg", 27)]
)
def test_severity_one_half_is_pinned(name, pinned):
    scores = [psnr(degrade(scene.image, name, 0.5, seed), scene.image) for scene in NATURAL for seed in (0, 1)]
    assert abs(np.mean(scores) - pinned) < 1.3, np.mean(scores)


def test_order_given_does_not_matter_and_each_name_has_its_own_stream(patch):
    names, levels = ["jpeg", "rain", "lowlight"], [0.2, 0.7, 0.4]
    results = [
        degrade(patch, [names[i] for i in p], [levels[i] for i in p], 9) for p in itertools.permutations(range(3))
    ]
    assert all(torch.equal(results[0], other) for other in results[1:])
    by_hand = patch
    for name, level in (("lowlight", 0.4), ("rain", 0.7), ("jpeg", 0.2)):
        by_hand = degrade(by_hand, name, level, 9)
    assert torch.equal(results[0], by_hand)
    assert degradation_order(["clean", *ORDER][::-1]) == list(ORDER)
    assert degradation_order(["jpeg", "noise50", "haze"]) == ["haze", "noise50", "jpeg"]


def test_noise_classes_and_sigma(patch):
    assert torch.equal(degrade(patch, "noise25", 0.1, 4), degrade(patch, "noise", sigma=25, seed=4))
    assert torch.equal(degrade(patch, "noise", 0.5, 4), degrade(patch, "noise", sigma=25, seed=4))
    assert sigma_of(1) == 50
    grey = torch.full((3, 200, 200), 0.5)
    residual = degrade(grey, "noise", sigma=20, seed=1) - grey
    assert abs(float(residual.std()) * 255 - 20) < 0.2 and abs(float(residual.mean())) < 1e-3
    assert abs(float((residual[:, 1:] * residual[:, :-1]).mean() / residual.var())) < 0.01  # white
    noisy_rain = degrade(patch, ["rain", "noise"], 0.5, 4, sigma=10)
    assert torch.equal(noisy_rain, degrade(degrade(patch, "rain", 0.5, 4), "noise", sigma=10, seed=4))


def test_window_of_the_depth_is_the_slice_of_the_whole():
    guide = photographs()[3].image
    height, width = guide.shape[1:]
    for seed, use in itertools.product(range(5), (None, guide)):
        whole = synthetic_depth(height, width, seed, guide=use)
        assert whole.shape == (height, width) and whole.min() > 0 and torch.isfinite(whole).all()
        for top, left, h, w in ((100, 50, 160, 160), (0, 0, 1, 1), (height - 33, width - 7, 33, 7)):
            part = synthetic_depth(height, width, seed, window=(top, left, h, w), guide=use)
            assert (part - whole[top : top + h, left : left + w]).abs().max() < 1e-5
    eight_bit = synthetic_depth(height, width, 0, guide=(guide * 255).round().byte())
    assert torch.allclose(eight_bit, synthetic_depth(height, width, 0, guide=guide), rtol=1e-4)
    medians = [float(synthetic_depth(300, 400, seed).median()) for seed in range(20)]
    assert max(abs(m / SCENE_MEDIAN - 1) for m in medians) < 0.1


def test_hazing_a_patch_is_hazing_the_photograph():
    clean = photographs()[0].image
    whole = degrade(clean, "haze", 0.5, 6)
    depth = synthetic_depth(*clean.shape[1:], 6, window=(64, 96, 160, 128), guide=clean)
    part = degrade(clean[:, 64:224, 96:224], "haze", 0.5, 6, depth=depth)
    assert (part - whole[:, 64:224, 96:224]).abs().max() < 1e-5
    dark = degrade(torch.full((3, 8, 8), 0.5), "blur", 0.5, 6)  # a flat patch stays flat under any kernel
    assert (dark - 0.5).abs().max() < 1e-5


def test_haze_follows_measured_depth():
    scene = next(scene for scene in photographs() if scene.depth is not None)
    near, far = (scene.depth.flatten().quantile(q) for q in (0.25, 0.75))
    hazy = degrade(scene.image, "haze", 1.0, 2, depth=scene.depth)
    kept = hazy.flatten(1).std(1).mean() / scene.image.flatten(1).std(1).mean()
    ratio = [
        float(hazy[:, mask].std() / scene.image[:, mask].std()) for mask in (scene.depth < near, scene.depth > far)
    ]
    assert ratio[1] < float(kept) < ratio[0] < 1
    # one distance: I t + A (1 - t) is a line in I, and doubling the distance squares its slope
    ramp = torch.linspace(0, 1, 64).expand(3, 8, 64).contiguous()
    slopes = []
    for metres in (5.0, 10.0):
        out = degrade(ramp, "haze", 0.5, 2, depth=torch.full((8, 64), metres))
        slopes.append(float((out[:, :, -1] - out[:, :, 0]).mean()))
        assert (out - (out[:, :, :1] + ramp * (out[:, :, -1:] - out[:, :, :1]))).abs().max() < 1e-6
    assert slopes[1] == pytest.approx(slopes[0] ** 2, rel=1e-4)


def test_blur_kernel_sums_to_one_and_matches_scipy(patch):
    from scipy.ndimage import convolve

    for seed in range(30):
        kernel = camera.motion_kernel(np.random.default_rng(seed), rmse=0.03 + 0.003 * seed)
        assert kernel.sum() == pytest.approx(1, abs=1e-5) and kernel.min() >= 0
        assert kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2 == 1 and kernel.shape[0] <= 81
        moved = (kernel * (np.arange(len(kernel)) - len(kernel) // 2)).sum(1), len(kernel)
        assert abs(moved[0].sum()) < 0.5  # centred: the blur does not shift the picture
    image = patch.numpy()
    expected = np.stack([convolve(channel, kernel, mode="mirror") for channel in image])
    assert np.abs(camera.convolve(image, kernel) - expected).max() < 1e-5


def test_moments_of_natural_photographs_match_scipy():
    from scipy.stats import beta

    for power in (1, 2, 3):
        assert camera.moment(power) == pytest.approx(beta(camera.BETA_A, camera.BETA_B).moment(power), rel=1e-9)


def test_rain_falls_and_snow_is_round():
    black = torch.zeros(3, 200, 200)
    for seed in range(5):
        streaks = degrade(black, "rain", 0.6, seed)[0]
        assert streaks.var() > 0 and streaks.min() >= 0
        streaks = streaks - streaks.mean()
        along = (streaks[6:] * streaks[:-6]).mean()  # the best of several leans, 6 rows down
        along = max(float((streaks[6:, 8:-8] * streaks[:-6].roll(k, 1)[:, 8:-8]).mean()) for k in range(-6, 7))
        across = float((streaks[:, 6:] * streaks[:, :-6]).mean())
        assert along > 3 * abs(across)
        flakes = degrade(black, "snow", 0.6, seed)
        assert 0.001 < float((flakes > 0.4).float().mean()) < 0.3


def test_low_light_darkens_by_different_curves():
    ramp = torch.linspace(0, 1, 256).expand(3, 64, 256).contiguous()
    middles = []
    for seed in range(12):
        curve = degrade(ramp, "lowlight", 0.5, seed).mean((0, 1))
        assert curve.mean() < 0.4
        middles.append(float(curve[120:136].mean() / curve[-16:].mean()))
    assert max(middles) - min(middles) > 0.15  # no single curve undoes them all


def test_jpeg_is_what_pillow_decodes(patch):
    import io

    from PIL import Image

    out = degrade(patch, "jpeg", 0.5, 3)
    assert (out * 255 - (out * 255).round()).abs().max() < 1e-4
    flat = torch.full((3, 40, 40), 100 / 255)
    assert (degrade(flat, "jpeg", 0.3, 3) - flat).abs().max() < 6 / 255
    # a sanity oracle: at severity 0.5 the error lies between those of Pillow's qualities 5 and 25
    pixels = (patch * 255 + 0.5).byte().permute(1, 2, 0).numpy()
    scores = []
    for quality in (5, 25):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        scores.append(psnr(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255, patch))
    assert scores[0] < psnr(out, patch) < scores[1]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("fog",), "noise, rain, haze, blur, lowlight, snow, jpeg, clean, noise15"),
        ((None,), "got None"),
        (([["rain"]],), "A degradation is one of"),
        (([],), "at least one"),
        ((["rain", "rain"],), "once"),
        ((["noise", "noise25"],), "once"),
        (("rain", 1.1), "got 1.1"),
        (("rain", -0.1), "from 0"),
        (("rain", math.nan), "nan"),
        (("rain", "0.5"), "Severity"),
        ((["rain", "haze"], [0.5]), "got 1 for 2"),
        (("rain", 0.5, -1), "seed"),
        (("rain", 0.5, 1.5), "seed"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(UserError, match=words):
        degrade(torch.zeros(3, 16, 16), *arguments)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"name": "rain", "sigma": 25}, "sigma belongs to 'noise'"),
        ({"name": "noise15", "sigma": 25}, "sigma belongs to 'noise'"),
        ({"name": "noise", "sigma": 256}, "0..255"),
        ({"name": "noise", "sigma": math.nan}, "nan"),
        ({"name": "haze", "depth": torch.ones(8, 8)}, "image's size"),
        ({"name": "haze", "depth": 3.0}, "got float"),
        ({"name": "haze", "depth": torch.zeros(16, 16)}, "positive"),
        ({"name": "haze", "depth": torch.full((16, 16), math.nan)}, "positive"),
    ],
)
def test_wrong_options_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        degrade(torch.zeros(3, 16, 16), **options)


@pytest.mark.parametrize(
    "image, words",
    [
        (torch.zeros(3, 16, 16, dtype=torch.uint8), "uint8"),
        (torch.zeros(3, 16, 16, dtype=torch.float64), "float64"),
        (np.zeros((16, 16, 3), np.float32), "got ndarray. From a file: .*permute"),
        ("photo.jpg", "got str. From a file"),
        (torch.zeros(1, 3, 16, 16), "one RGB image"),
        (torch.zeros(16, 16, 3), "one RGB image"),
        (torch.zeros(3, 0, 16), "one RGB image"),
        (torch.full((3, 16, 16), 2.0), "8-bit"),
        (torch.full((3, 16, 16), -0.5), "finite"),
        (torch.full((3, 16, 16), math.nan), "nan"),
    ],
)
def test_wrong_images_are_refused(image, words):
    with pytest.raises(UserError, match=words):
        degrade(image, "rain")


def test_wrong_windows_are_refused():
    for arguments in ({"window": (0, 0, 65, 10)}, {"window": (-1, 0, 5, 5)}, {"guide": torch.zeros(3, 5, 5)}):
        with pytest.raises(UserError):
            synthetic_depth(64, 64, 0, **arguments)
    with pytest.raises(UserError):
        synthetic_depth(0, 64)
