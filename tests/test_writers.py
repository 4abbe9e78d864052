"""Pictures written strip by strip are those that `write_image` writes in one piece."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from slerlib.errors import UserError
from slerlib.images import read_image, write_image
from slerlib.images.formats import Meta
from slerlib.images.writers import filtered, strip_writer

HEIGHT, WIDTH = 203, 75


@pytest.fixture(scope="module")
def x_CHW():
    from slerlib.data.scenes import photographs

    return photographs()[0].image[:, :HEIGHT, :WIDTH].contiguous()


def written(path, x_CHW, meta, steps=(50, 3, 100, 50)):
    """The notes of a writer that gets these numbers of rows."""
    alpha, top = meta.alpha, 0
    options = (replace(meta, alpha=None), x_CHW.shape[2], x_CHW.shape[1], None if alpha is None else alpha.dtype)
    with strip_writer(path, *options) as writer:
        for step in steps:
            rows = slice(top, top + step)
            writer.write(x_CHW[:, rows], None if alpha is None else alpha[rows])
            top += step
    return tuple(writer.notes)


def both(tmp_path, suffix, x_CHW, meta):
    whole, strips = tmp_path / f"whole{suffix}", tmp_path / f"strips{suffix}"
    notes = write_image(whole, x_CHW, meta)
    assert written(strips, x_CHW, meta) == notes
    (x, meta_x), (y, meta_y) = read_image(whole), read_image(strips)
    assert torch.equal(x, y)
    assert (meta_x.alpha is None) == (meta_y.alpha is None)
    assert meta_x.alpha is None or np.array_equal(meta_x.alpha, meta_y.alpha)
    assert replace(meta_x, alpha=None) == replace(meta_y, alpha=None)
    return strips


def travelling():
    exif = Image.Exif()
    exif[271] = "maker"
    exif.get_ifd(0x8769)[33434] = 0.01
    icc = (Image.new("RGB", (1, 1)), __import__("PIL.ImageCms").ImageCms)[1]
    profile = icc.ImageCmsProfile(icc.createProfile("sRGB")).tobytes()
    return {"exif": exif.tobytes(), "icc": profile, "dpi": (300.0, 300.0), "xmp": b"<x/>", "text": {"Comment": "hi"}}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff", ".webp", ".bmp", ".tga", ".jp2"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_colour_and_grey(tmp_path, x_CHW, suffix, mode):
    both(tmp_path, suffix, x_CHW, Meta(mode=mode, **travelling()))


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("depth", [8, 16])
def test_transparency_and_16_bits(tmp_path, x_CHW, suffix, mode, depth):
    dtype = "uint16" if depth == 16 else "uint8"
    alpha = (np.random.default_rng(0).random((HEIGHT, WIDTH)) * np.iinfo(dtype).max).astype(dtype)
    both(tmp_path, suffix, x_CHW, Meta(mode=mode, depth=depth, alpha=alpha))
    both(tmp_path, suffix, x_CHW, Meta(mode="I;16" if mode == "L" else mode, depth=depth))


@pytest.mark.parametrize("suffix, mode", [(".jpg", "CMYK"), (".tiff", "CMYK"), (".png", "CMYK"), (".tiff", "F")])
def test_modes_of_the_press_and_floating_point(tmp_path, x_CHW, suffix, mode):
    both(tmp_path, suffix, x_CHW, Meta(mode=mode, depth=16 if mode == "F" else 8))


def test_jpeg_of_many_restart_intervals(tmp_path):
    x = torch.rand(3, 8 * 8 * 11 + 5, 20, generator=torch.Generator().manual_seed(0))
    write_image(tmp_path / "whole.jpg", x)
    written(tmp_path / "strips.jpg", x, Meta(), steps=[1] * 9 + [700])
    assert torch.equal(read_image(tmp_path / "whole.jpg")[0], read_image(tmp_path / "strips.jpg")[0])
    assert (tmp_path / "strips.jpg").read_bytes().count(b"\xff\xd0") == 2  # the ninth restart is numbered 0 again


def test_png_compresses_about_as_well_as_pillow(tmp_path, x_CHW):
    path = both(tmp_path, ".png", x_CHW, Meta())
    assert path.stat().st_size < 1.1 * (tmp_path / "whole.png").stat().st_size


def test_filters_of_png_by_hand():
    """One line of each filter that the definition gives for two lines of one-byte pixels."""
    lines = np.array([[10, 20, 30, 40], [11, 22, 33, 44]], np.uint8)
    assert filtered(lines[1:], lines[0], 1).tolist() == [[2, 1, 2, 3, 4]]
    assert filtered(lines[:1], np.zeros(4, np.uint8), 1).tolist() == [[1, 10, 10, 10, 10]]


def test_damaged_camera_data_cost_no_picture(tmp_path, x_CHW):
    notes = written(tmp_path / "a.tiff", x_CHW, Meta(exif=b"Exif\0\0nonsense"))
    assert "damaged and left out" in notes[0]
    assert read_image(tmp_path / "a.tiff")[0].shape == x_CHW.shape


def test_nothing_is_left_of_a_picture_that_fails(tmp_path, x_CHW):
    for suffix in (".png", ".jpg", ".tiff", ".webp"):
        with pytest.raises(KeyError), strip_writer(tmp_path / f"a{suffix}", Meta(), WIDTH, HEIGHT, None) as writer:
            writer.write(x_CHW[:, :90], None)
            raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    with (
        pytest.raises(UserError, match="transparency"),
        strip_writer(tmp_path / "a.jpg", Meta(), 8, 8, np.dtype("uint8")),
    ):
        pass
    with (
        pytest.raises(UserError, match="JPEG refused 70000 x 8 pixels"),
        strip_writer(tmp_path / "a.jpg", Meta(), 70000, 8, None),
    ):
        pass
    with pytest.raises(UserError, match="WEBP refused 20000 x 8"):
        written(tmp_path / "a.webp", torch.zeros(3, 8, 20000), Meta(), steps=[8])
