"""Pictures read strip by strip give what `read_image` gives, to the bit."""

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from slerlib.errors import UserError
from slerlib.images import inflate, read_image, strips
from slerlib.images.files import write_image
from slerlib.images.formats import Meta
from slerlib.images.rows import Pixels, Rows, reflected


@pytest.fixture(autouse=True)
def small_strips(monkeypatch):
    monkeypatch.setattr(inflate, "STRIP_BYTES", 1500)


def noise(*shape, dtype="uint8", seed=0):
    values = np.random.default_rng(seed).random(shape)
    return (values * np.iinfo(dtype).max).astype(dtype)


def same_as_read(path, reader=None):
    """The strips of a file against `read_image`; `reader`: name of the function that must have read it."""
    x_CHW, meta = read_image(path)
    picture = strips.read_strips(path)
    height, width = x_CHW.shape[1:]
    assert torch.equal(Pixels(picture.rows).part(0, height, 0, width), x_CHW)
    alpha = picture.alpha(0, height)
    assert (alpha is None) == (meta.alpha is None) and (alpha is None or np.array_equal(alpha, meta.alpha))
    assert picture.meta == replace(meta, alpha=None)
    assert strips.header(path)[:2] == (width, height)
    if reader:
        with strips.opened(path) as im:
            assert strips._reader(im, path).__name__ == reader
    return picture


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png(tmp_path, n, dtype):
    values = noise(61, 43, n, dtype=dtype)
    x = torch.from_numpy(values[..., : 3 if n > 2 else 1].astype("float32") / np.iinfo(dtype).max).permute(2, 0, 1)
    alpha = values[..., -1] if n % 2 == 0 else None
    grey = "I;16" if dtype == "uint16" and n == 1 else "L"
    exif = Image.Exif()
    exif[271] = "maker"
    meta = Meta(
        "RGB" if n > 2 else grey, 16 if dtype == "uint16" else 8, alpha, text={"Title": "a"}, exif=exif.tobytes()
    )
    write_image(tmp_path / "a.png", x.expand(3, -1, -1), meta)
    picture = same_as_read(tmp_path / "a.png", "_png")
    assert picture.rows.shape == values.shape and np.array_equal(picture.rows.read(0, 61), values)


def test_png_of_a_photograph_uses_all_filters(tmp_path):
    from slerlib.data.scenes import photographs

    Image.fromarray((photographs()[0].image.permute(1, 2, 0).numpy() * 255).astype("uint8")).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    pixels = zlib.decompress(b"".join(part[4:] for part in _bodies(data, b"IDAT")))
    width = struct.unpack(">I", data[16:20])[0]
    assert len(set(pixels[:: 1 + 3 * width])) >= 3
    same_as_read(tmp_path / "a.png", "_png")


def _bodies(data, kind):
    place = 8
    while place < len(data):
        length = struct.unpack(">I", data[place : place + 4])[0]
        if data[place + 4 : place + 8] == kind:
            yield data[place + 4 : place + 8 + length]
        place += length + 12


def test_png_that_pillow_decodes_as_a_whole(tmp_path):
    im = Image.fromarray(noise(40, 30, 3))
    im.quantize(16).save(tmp_path / "palette.png")
    same_as_read(tmp_path / "palette.png", "_pillow")
    im.convert("1").save(tmp_path / "bilevel.png")
    same_as_read(tmp_path / "bilevel.png", "_pillow")
    im.save(tmp_path / "film.png", save_all=True, append_images=[Image.new("RGB", im.size)])
    same_as_read(tmp_path / "film.png", "_pillow")
    key = tuple(map(int, np.asarray(im)[0, 0]))
    im.save(tmp_path / "key.png", transparency=key)
    picture = same_as_read(tmp_path / "key.png", "_png")
    assert picture.alpha(0, 1)[0, 0] == 0 and picture.alpha(0, 40).max() == 255


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_turned_pictures(tmp_path, turned, suffix):
    exif = Image.Exif()
    exif[274], exif[271] = turned, "maker"
    Image.fromarray(noise(70, 33, 3)).save(tmp_path / f"a{suffix}", exif=exif)
    same_as_read(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg(tmp_path, mode):
    Image.fromarray(noise(70, 33, 3)).convert(mode).save(tmp_path / "a.jpg", comment=b"hello", dpi=(300, 300))
    same_as_read(tmp_path / "a.jpg", "_pillow")


@pytest.mark.parametrize("mode", ["F", "I;16", "RGBA", "LA", "CMYK"])
def test_tiff_by_pillow(tmp_path, mode):
    a = noise(50, 21, 4)
    im = Image.fromarray(a[..., 0] / np.float32(255)) if mode == "F" else Image.fromarray(a).convert(mode)
    im.save(tmp_path / "a.tiff", compression="tiff_lzw")
    same_as_read(tmp_path / "a.tiff")


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("n", [1, 3, 4])
def test_tiff(tmp_path, compression, dtype, n):
    values, path = noise(61, 43, n, dtype=dtype), tmp_path / "a.tiff"
    options = {"photometric": "rgb" if n > 2 else "minisblack", "compression": compression, "metadata": None}
    options |= {"extrasamples": ["unassalpha"]} if n == 4 else {}
    values = values if n > 1 else values[..., 0]
    for more in ({}, {"rowsperstrip": 7}, {"tile": (16, 16)}, {"byteorder": ">"}, {"predictor": compression == "zlib"}):
        tifffile.imwrite(path, values, **{**options, **more, "byteorder": more.get("byteorder", "<")})
        picture = same_as_read(path, "tiff_strips")
        assert np.array_equal(picture.rows.read(0, 61).squeeze(), values)


def test_tiff_of_other_kinds(tmp_path):
    path = tmp_path / "a.tiff"
    tifffile.imwrite(path, noise(40, 30), photometric="miniswhite")
    same_as_read(path, "_pillow")
    tifffile.imwrite(path, noise(40, 30, dtype="uint16"), photometric="miniswhite")
    same_as_read(path, "_whole")
    tifffile.imwrite(path, noise(3, 40, 30, dtype="uint16"), photometric="rgb", planarconfig="separate")
    same_as_read(path, "_whole")


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_a_file_that_ends_early_is_damaged(tmp_path, suffix):
    write_image(tmp_path / f"a{suffix}", torch.rand(3, 60, 40))
    data = (tmp_path / f"a{suffix}").read_bytes()
    part = tmp_path / f"part{suffix}"
    part.write_bytes(data[: len(data) // 2] if suffix == ".png" else data[:-2000])
    with pytest.raises(UserError, match="truncated or damaged"):
        strips.read_strips(part)


def test_no_strip_grows_beyond_what_the_header_claims(tmp_path):
    """A compressed stream of 100 MB in a picture of 16 x 8 pixels: it is not unpacked."""
    body = zlib.compress(bytes(100 << 20), 9)
    head = struct.pack(">IIBBBBB", 16, 8, 8, 2, 0, 0, 0)
    parts = [strips.png_chunk(b"IHDR", head), strips.png_chunk(b"IDAT", body), strips.png_chunk(b"IEND", b"")]
    unpack = zlib.decompressobj()
    assert len(inflate.inflated(unpack, iter([body]), 1000)) == 1000
    (tmp_path / "a.png").write_bytes(strips.PNG + b"".join(parts))
    picture = strips.read_strips(tmp_path / "a.png")
    assert picture.rows.shape == (8, 16, 3) and picture.rows.nbytes == 384


def test_rows_keep_what_was_written():
    values = noise(50, 7, 3, dtype="uint16")
    rows = Rows(values.shape, "uint16")
    for top in (20, 0, 40, 10, 30):
        rows.write(top, values[top : top + 10])
    assert np.array_equal(rows.read(3, 47), values[3:47])
    rows.close()


def test_rows_that_are_gone_are_named():
    rows = Rows((10, 4, 3), "uint8")
    with pytest.raises(UserError, match="rows 2 to 5 of 10"):
        rows.read(2, 5)


@pytest.mark.parametrize("length", [1, 2, 5, 30])
def test_reflection_goes_back_and_forth(length):
    line = np.arange(length)
    expected = np.pad(line, (0, 40), mode="reflect") if length > 1 else np.zeros(41, int)
    assert reflected(0, length + 40, length).tolist() == expected.tolist()
    assert reflected(7, 22, length).tolist() == expected[7:22].tolist()


def test_parts_of_a_padded_picture():
    x = torch.rand(3, 21, 13)
    whole = np.pad(x.numpy(), ((0, 0), (0, 3), (0, 3)), mode="reflect")
    pixels = Pixels(x, 8, 16)
    assert (pixels.height, pixels.width) == (24, 16)
    assert np.array_equal(pixels.part(3, 24, 5, 16).numpy(), whole[:, 3:24, 5:16])
    assert np.array_equal(pixels.part(22, 24, 14, 16).numpy(), whole[:, 22:24, 14:16])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_tiles_far_larger_than_their_picture_are_refused(tmp_path, dtype):
    """A small file that would take 200 MB and more, for 64 x 64 pixels."""
    side = 8192
    coded = zlib.compress(bytes(side * side * 3 * np.dtype(dtype).itemsize), 1)
    shape = {"shape": (64, 64, 3), "dtype": dtype, "photometric": "rgb", "tile": (side, side)}
    tifffile.imwrite(tmp_path / "a.tif", iter([coded]), compression="zlib", **shape)
    for read in (read_image, strips.read_strips):
        with pytest.raises(UserError, match="tiles of 8192 x 8192 for 64 x 64 pixels"):
            read(tmp_path / "a.tif")
