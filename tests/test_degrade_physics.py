"""The physics behind the degradations: depth in rain, depth files, measured kernels, light, noise and order."""

import numpy as np
import pytest
import torch
from PIL import Image

from slerlib import UserError, degrade
from slerlib.data import camera, weather
from slerlib.data.degrade import SCENE_MEDIAN, read_depth, read_kernel
from slerlib.data.scenes import photographs

GREY = torch.full((3, 96, 160), 0.4)


@pytest.fixture(scope="module")
def patch():
    return photographs()[0].image[:, 40:168, 160:288].contiguous()


def half_and_half(near, far):
    depth = torch.full(GREY.shape[1:], near)
    depth[:, 80:] = far
    return depth


# --- rain and haze by depth -------------------------------------------------------------------------------------------


def test_rain_thickens_with_depth():
    black, depth = torch.zeros_like(GREY), half_and_half(1.0, 60.0)
    near, far, marks = [], [], []
    for seed in range(12):
        out = degrade(black, "rain", 0.6, seed, depth=depth)[0]
        near.append(float(out[:, :70].mean()))
        far.append(float(out[:, 90:].mean()))
        marks.append(float((out[:, 90:].diff(dim=1).abs() > 0.05).float().mean()) / 1e-3)
        marks[-1] /= float((out[:, :70].diff(dim=1).abs() > 0.05).float().mean()) / 1e-3 + 1e-6
    assert np.mean(far) > 1.5 * np.mean(near)
    assert np.median(marks) > 1.2  # more streaks, not only more veil


def test_veil_of_rain_is_one_minus_a_power_of_the_depth():
    """Between the streaks a black scene shows the veil alone: 1 - (1 - v) ** (depth / 10)."""
    seed = max(range(20), key=lambda seed: float(degrade(GREY * 0, "rain", 0.3, seed).quantile(0.05)))
    veils = [
        float(degrade(GREY * 0, "rain", 0.3, seed, depth=torch.full(GREY.shape[1:], metres))[0].quantile(0.02))
        for metres in (SCENE_MEDIAN, 3 * SCENE_MEDIAN)
    ]
    colour = 0.925  # of the drops, 0.85 to 1 by the seed
    expected = 1 - (1 - veils[0] / colour) ** 3
    assert veils[0] > 0.001 and veils[1] == pytest.approx(colour * expected, rel=0.05)


def test_a_wall_at_ten_metres_rains_as_no_depth_does():
    wall = torch.full(GREY.shape[1:], SCENE_MEDIAN)
    gap = [
        float((degrade(GREY, "rain", 0.5, s, depth=wall) - GREY).square().mean())
        / float((degrade(GREY, "rain", 0.5, s) - GREY).square().mean())
        for s in range(40)
    ]
    assert np.mean(gap) == pytest.approx(1, abs=0.15)


def test_air_light_is_grey_or_coloured_and_differs():
    far = torch.full(GREY.shape[1:], 1e6)
    airs = torch.stack([degrade(GREY, "haze", 0.5, seed, depth=far)[:, 0, 0] for seed in range(60)])
    assert airs.mean(1).min() < 0.76 and airs.mean(1).max() > 0.94
    colour = airs.max(1).values - airs.min(1).values
    assert colour.median() < 0.03 and colour.max() > 0.06


def test_one_solver_finds_the_density_of_streaks_and_of_flakes():
    """Campbell: n energy + (n mass)^2 of the marks, and the square of the veil, make the error that is wanted."""

    def moments(bright):
        return 0.3 * bright**2, 0.5 * bright

    most, part = weather._density(moments, 0.2, (0.05, 0.1), (0.6, 0.9), (0.01, 0.02))
    for number, error, bright, veil in ((most, 0.1, 0.9, 0.02), (most * part, 0.05, 0.6, 0.01)):
        energy, mass = moments(bright)
        assert number * energy + (number * mass) ** 2 + veil**2 == pytest.approx(error**2 / 0.2, rel=1e-9)
    assert weather._density(moments, 0.2, (0.1, 0.1), (0.5, 0.9), (0.0, 0.0))[1] == 1  # never more than at severity 1


# --- depth files ------------------------------------------------------------------------------------------------------


def test_read_depth_fills_holes_with_the_nearest_measurement(tmp_path):
    steps = np.full((20, 30), 2000, np.uint16)
    steps[:, 20:] = 5000
    steps[4:8, 3:9], steps[10:14, 25:30] = 0, 65535
    Image.fromarray(steps).save(tmp_path / "depth.png")
    depth = read_depth(tmp_path / "depth.png")
    expected = torch.full((20, 30), 2.0)
    expected[:, 20:] = 5.0
    assert depth.dtype == torch.float32 and torch.allclose(depth, expected)
    assert torch.allclose(read_depth(tmp_path / "depth.png", metres=0.0002), expected / 5)
    clean = torch.full((3, 20, 30), 0.2)
    hazy = degrade(clean, "haze", 0.5, 1, depth=depth)
    assert hazy[:, :, 25].mean() > hazy[:, :, 5].mean()


def test_read_depth_says_what_it_cannot_read(tmp_path):
    Image.fromarray(np.full((4, 4), 51, np.uint8)).save(tmp_path / "relative.png")
    with pytest.raises(UserError, match="no unit"):
        read_depth(tmp_path / "relative.png")
    assert torch.allclose(read_depth(tmp_path / "relative.png", metres=50 / 255), torch.full((4, 4), 10.0))
    with pytest.raises(UserError, match="above 0"):
        read_depth(tmp_path / "relative.png", metres=0)
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "empty.png")
    with pytest.raises(UserError, match="at least one measurement"):
        read_depth(tmp_path / "empty.png")
    colours = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    for image in (colours, colours.quantize(16)):  # a palette holds numbers of colours, no distances
        image.save(tmp_path / "colour.png")
        with pytest.raises(UserError, match="grey picture"):
            read_depth(tmp_path / "colour.png", metres=0.1)
    with pytest.raises(UserError, match="Check the path"):
        read_depth(tmp_path / "missing.png")


# --- blur -------------------------------------------------------------------------------------------------------------


def test_read_kernel_is_centred_and_sums_to_one(tmp_path):
    weights = np.zeros((12, 9), np.uint16)
    weights[2, 1:6] = 60000, 30000, 60000, 30000, 60000
    Image.fromarray(weights).save(tmp_path / "kernel.png")
    kernel = read_kernel(tmp_path / "kernel.png")
    assert kernel.shape == (5, 5) and float(kernel.sum()) == pytest.approx(1)
    assert torch.allclose(kernel[2], torch.tensor([2, 1, 2, 1, 2]) / 8) and kernel[[0, 1, 3, 4]].sum() == 0
    Image.fromarray(np.zeros((3, 3), np.uint16)).save(tmp_path / "black.png")
    Image.fromarray((weights >> 8).astype(np.uint8)).quantize(4).save(tmp_path / "palette.png")
    for name, said in (("black.png", "not black"), ("none.png", "readable"), ("palette.png", "one channel")):
        with pytest.raises(UserError, match=said):
            read_kernel(tmp_path / name)


@pytest.mark.parametrize("size", [(3, 5), (9, 9)])  # few weights and many: shifted copies and the FFT
def test_a_given_kernel_is_convolved_whatever_the_severity(patch, size):
    from scipy.ndimage import convolve

    kernel = torch.rand(size, generator=torch.Generator().manual_seed(1))
    out = degrade(patch, "blur", 0.2, 3, kernel=7 * kernel)
    expected = [convolve(x, (kernel / kernel.sum()).numpy(), mode="mirror") for x in patch.numpy()]
    assert np.abs(out.numpy() - np.stack(expected)).max() < 1e-5
    assert torch.equal(out, degrade(patch, "blur", 0.0, 8, kernel=kernel * 7))
    both = degrade(patch, ["noise", "blur"], 0.5, 3, kernel=kernel)
    assert torch.equal(both, degrade(degrade(patch, "blur", kernel=kernel), "noise", 0.5, 3))


def test_one_border_and_transform_for_two_kernels(patch):
    wide, small = (np.random.default_rng(k).random((n, n), dtype=np.float32) for k, n in ((0, 11), (1, 3)))
    together = camera.convolve(patch.numpy(), wide / wide.sum(), small / small.sum())
    for kernel, result in zip((wide, small), together, strict=True):
        assert np.abs(result - camera.convolve(patch.numpy(), kernel / kernel.sum())).max() < 1e-5


@pytest.mark.parametrize(
    "name, kernel, said",
    [
        ("rain", torch.ones(3, 3), "belongs to 'blur'"),
        ("blur", torch.ones(4, 3), "odd, odd"),
        ("blur", np.ones((3, 3)), "ndarray"),
        ("blur", torch.zeros(3, 3), "not all 0"),
        ("blur", -torch.ones(3, 3), "0 or more"),
    ],
)
def test_wrong_kernels_are_refused(name, kernel, said):
    with pytest.raises(UserError, match=said):
        degrade(GREY, name, kernel=kernel)


def test_blur_is_of_light_of_frames_and_of_parts():
    """Some seeds brighten the track of a bright point, some keep its energy; some move a part of the picture less."""
    points = torch.full((3, 128, 128), 0.02)
    points[:, 8::16, 8::16] = 1.0
    brighter, uneven = [], []
    for seed in range(40):
        out = degrade(points, "blur", 0.5, seed)[0]
        brighter.append(float(out.mean() / points.mean()))
        peaks = torch.nn.functional.max_pool2d(out[None, None], 32)[0, 0]
        uneven.append(float(peaks.max() / peaks.min()))
    assert 0.3 < np.mean(np.array(brighter) > 1.05) < 0.9
    assert np.mean(np.abs(np.array(brighter) - 1) < 0.02) > 0.2
    assert 0.1 < np.mean(np.array(uneven) > 1.5) < 0.7
    kernels = [camera.motion_kernel(np.random.default_rng(seed), 0.09) for seed in range(40)]
    assert 0.25 < np.mean([np.count_nonzero(kernel) <= 15 for kernel in kernels]) < 0.75


# --- low light --------------------------------------------------------------------------------------------------------


def test_low_light_shifts_the_white_balance_and_counts_photons():
    flat = torch.full((3, 64, 64), 0.6)
    gains, noises = [], []
    for seed in range(40):
        out = degrade(flat, "lowlight", 0.5, seed)
        gains.append(out.mean((1, 2)))
        noises.append(float(out.std((1, 2)).mean()))
    warmth = (torch.stack(gains)[:, 0] / torch.stack(gains)[:, 2]).log()
    assert warmth.min() < -0.3 and warmth.max() > 0.3  # from cold to warm
    assert max(noises) > 3 * min(noises)
    # in linear values the variance grows with the signal
    linear = [
        camera.lowlight(np.full((3, 200, 200), value, np.float32), np.random.default_rng(1), 0.3, 0.45) ** 2
        for value in (0.3, 0.9)
    ]
    assert linear[1].var((1, 2)).mean() > 2 * linear[0].var((1, 2)).mean()


# --- composites -------------------------------------------------------------------------------------------------------

ELEVEN = [
    ["lowlight"],
    ["haze"],
    ["rain"],
    ["snow"],
    ["lowlight", "haze"],
    ["lowlight", "rain"],
    ["lowlight", "snow"],
    ["haze", "rain"],
    ["haze", "snow"],
    ["lowlight", "haze", "rain"],
    ["lowlight", "haze", "snow"],
]


@pytest.mark.parametrize("parts", ELEVEN, ids="+".join)
def test_the_eleven_of_cdd_are_light_then_haze_then_rain_or_snow(patch, parts):
    depth = torch.linspace(2, 40, 128).expand(128, 128)
    step = patch
    for part in parts:
        step = degrade(step, part, 0.5, 4, depth=depth)
    assert torch.equal(degrade(patch, parts[::-1], 0.5, 4, depth=depth), step)
    if len(parts) > 1:
        back = patch
        for part in parts[::-1]:
            back = degrade(back, part, 0.5, 4, depth=depth)
        assert not torch.allclose(back, step, atol=0.02)  # the order matters
