"""The bundled photographs: present, credited, of known size, and read without any network."""

import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from slerlib.data import scenes
from slerlib.data.scenes import disparity_to_depth, photographs
from slerlib.errors import UserError

SIZES = {
    "astronaut": (512, 512),
    "coffee": (400, 600),
    "cat": (300, 451),
    "rocket": (427, 640),
    "hubble_deep_field": (768, 768),
    "retina": (768, 768),
    "stereo_motorcycle": (500, 741),
    "china": (427, 640),
    "flower": (427, 640),
}


def test_nine_photographs_of_known_size():
    found = {scene.name: tuple(scene.image.shape[1:]) for scene in photographs()}
    assert found == SIZES
    for scene in photographs():
        assert scene.image.dtype == torch.float32 and scene.image.is_contiguous() and scene.image.shape[0] == 3
        assert scene.image.min() >= 0 and scene.image.max() <= 1 and scene.image.std() > 0.05
        assert scene.credit and scene.licence
    assert photographs()[0].image is photographs()[0].image  # kept in memory


def test_pixels_are_those_of_the_packages():
    from skimage import data
    from sklearn.datasets import load_sample_image

    by_name = {scene.name: scene.image for scene in photographs()}
    expected = {"astronaut": data.astronaut(), "cat": data.cat(), "china": load_sample_image("china.jpg")}
    for name, pixels in expected.items():
        assert torch.equal(by_name[name], torch.from_numpy(pixels / np.float32(255)).permute(2, 0, 1))
    assert torch.equal(by_name["retina"][:, 0, 0] * 255, torch.from_numpy(data.retina()[321, 321]).float())


def test_motorcycle_depth_is_metric():
    from skimage import data

    scene = next(scene for scene in photographs() if scene.depth is not None)
    assert scene.name == "stereo_motorcycle" and scene.depth.shape == scene.image.shape[1:]
    assert scene.depth.dtype == torch.float32 and 1.5 < scene.depth.min() and scene.depth.max() < 8
    disparity = data.stereo_motorcycle()[2]
    valid = np.isfinite(disparity)
    expected = 994.978 * 0.193001 / (disparity[valid] + 31.086)
    assert np.abs(scene.depth.numpy()[valid] - expected).max() < 1e-4


def test_missing_disparity_takes_the_farther_neighbour():
    disparity = np.array([[np.nan, 40, np.inf, 20, np.nan], [np.nan] * 5], np.float32)
    depth = disparity_to_depth(disparity)
    scale = 994.978 * 0.193001
    assert np.allclose(depth[0], [scale / 71.086, scale / 71.086, scale / 51.086, scale / 51.086, scale / 51.086])
    assert np.allclose(depth[1], depth[0])


def test_nothing_is_downloaded_or_imported():
    """In a fresh interpreter: no socket, no heavy package."""
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "from slerlib.data.scenes import photographs\n"
        "assert len(photographs()) == 9\n"
        "assert not {'skimage', 'sklearn', 'scipy', 'pooch'} & set(sys.modules), 'heavy import'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert socket.socket  # the patch above stayed in the other process


def test_missing_package_is_explained(monkeypatch):
    monkeypatch.setitem(scenes.SOURCES, "astronaut", ("no_such_package", "a.png", "", ""))
    monkeypatch.setitem(scenes.PROJECTS, "no_such_package", "no-such-package")
    scenes._scene.cache_clear()
    with pytest.raises(UserError, match="pip install"):
        photographs()
    scenes._scene.cache_clear()
