"""Mathematics on the sphere, against closed forms and SciPy."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial import geometric_slerp
from scipy.spatial.distance import cosine

from slerlib import sphere


def unit(n, d, seed=0):
    return sphere.normalise(torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


@pytest.mark.parametrize("k", range(2, 13))
def test_simplex_gram_matrix(k):
    points = sphere.simplex(k)
    expected = torch.full((k, k), -1 / (k - 1), dtype=torch.float64).fill_diagonal_(1)
    assert points.shape == (k, k - 1)
    torch.testing.assert_close(points @ points.T, expected, atol=1e-12, rtol=0)


def test_simplex_in_more_dimensions_and_refusals():
    assert sphere.simplex(4, 10).shape == (4, 10)
    assert sphere.simplex(1).shape == (1, 1)
    with pytest.raises(ValueError, match="K = 5, dim = 3"):
        sphere.simplex(5, 3)


@pytest.mark.parametrize(("k", "value"), [(3, -6.0), (5, -5.0), (7, -14 / 3)])
def test_uniformity_of_a_simplex(k, value):
    points = sphere.simplex(k)
    assert sphere.uniformity(points).item() == pytest.approx(value, abs=1e-9)
    assert (points[0] - points[1]).pow(2).sum().item() == pytest.approx(2 * k / (k - 1))
    assert sphere.uniformity(unit(k, k - 1)).item() > value  # nothing is more even


def test_angle_is_exact_near_zero_and_agrees_with_scipy():
    x, y = unit(50, 7, 1), unit(50, 7, 2)
    expected = [math.degrees(math.acos(1 - cosine(a, b))) for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    np.testing.assert_allclose(sphere.angle(x, y), expected, atol=1e-9)
    near = torch.tensor([math.cos(1e-9), math.sin(1e-9)], dtype=torch.float64)
    tiny = sphere.angle(torch.tensor([1.0, 0.0], dtype=torch.float64), near)
    assert tiny.item() == pytest.approx(math.degrees(1e-9), rel=1e-6)  # acos would return 0
    assert sphere.angle(x[0], -x[0]).item() == pytest.approx(180)


def test_slerp_agrees_with_scipy():
    x, y = unit(1, 5, 1)[0], unit(1, 5, 2)[0]
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    ours = sphere.slerp(x.expand(9, -1), y.expand(9, -1), t)
    np.testing.assert_allclose(ours, geometric_slerp(x.numpy(), y.numpy(), t.numpy()), atol=1e-12)
    torch.testing.assert_close(sphere.slerp(x, x, 0.3), x)
    with pytest.raises(ValueError, match="antipodal"):
        sphere.slerp(x, -x, 0.5)


def test_angles_round_trip_and_unwrapped_input():
    xyz = unit(100, 3)
    colatitude, longitude = sphere.to_angles(xyz)
    torch.testing.assert_close(sphere.to_xyz(colatitude, longitude), xyz)
    torch.testing.assert_close(sphere.to_xyz(colatitude + 4 * math.pi, longitude - 6 * math.pi), xyz)
    assert sphere.to_angles(torch.tensor([0.0, 0.0, 1.0]))[0].item() == 0  # the pole has colatitude 0


def test_centroids():
    z, labels = unit(30, 4), torch.arange(30) % 3
    means = sphere.centroids(z, labels, 4)
    torch.testing.assert_close(means[1], sphere.normalise(z[labels == 1].mean(0)))
    assert means[3].abs().max() == 0
