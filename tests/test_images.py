"""Pictures of every kind survive the round trip, and what is no picture is refused in one clear paragraph."""

import errno
import io
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, PngImagePlugin

from slerlib.data import decode
from slerlib.data.probe import probe
from slerlib.errors import UserError
from slerlib.images import SUFFIXES, Meta, formats, from_pil, read_bytes, read_image, to_pil, write_image
from slerlib.images.arrays import from_array, to_array
from slerlib.images.formats import FORMATS, KINDS, is_picture
from slerlib.images.orientation import upright
from slerlib.images.strips import PIXELS_OF_A_BYTE, header

RNG = np.random.default_rng(0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(*shape, dtype=np.uint8):
    return RNG.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def round_trip(path, out=None):
    x_CHW, meta = read_image(path)
    assert x_CHW.shape[0] == 3 and x_CHW.dtype == torch.float32 and x_CHW.is_contiguous()
    out = out or path.with_name("out" + path.suffix)
    write_image(out, x_CHW, meta)
    with Image.open(out) as back:
        back.load()
    return back, meta


# --- kinds of pictures ---


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff", ".bmp"])
@pytest.mark.parametrize("mode, shape", [("RGB", (9, 17, 3)), ("L", (9, 17)), ("RGBA", (9, 17, 4)), ("LA", (9, 17, 2))])
def test_8_bit_modes_survive_unchanged(tmp_path, mode, shape, suffix):
    if suffix == ".bmp" and mode.endswith("A"):
        pytest.skip("Pillow keeps no alpha in BMP")
    a = noise(*shape)
    exactly = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    Image.fromarray(a).save(tmp_path / f"in{suffix}", **exactly)
    back, meta = round_trip(tmp_path / f"in{suffix}", tmp_path / ("out.png" if suffix == ".bmp" else f"out{suffix}"))
    np.testing.assert_array_equal(np.asarray(back.convert(mode)), a)
    if suffix in (".png", ".tiff"):
        assert back.mode == mode and meta.depth == 8


def test_jpeg_keeps_mode_and_stays_close(tmp_path):
    smooth = np.linspace(0, 255, 64 * 48).reshape(64, 48).astype(np.uint8)
    for mode in ("L", "RGB"):
        Image.fromarray(smooth).convert(mode).save(tmp_path / "in.jpg", quality=95)
        back, _ = round_trip(tmp_path / "in.jpg")
        assert back.mode == mode and back.format == "JPEG"
        assert np.abs(np.asarray(back.convert("L")).astype(int) - smooth).max() <= 4


def test_16_bit_grey_survives(tmp_path):
    a = noise(9, 13, dtype=np.uint16)
    for suffix in (".png", ".tiff"):
        Image.fromarray(a).save(tmp_path / f"in{suffix}")
        back, meta = round_trip(tmp_path / f"in{suffix}")
        assert meta.depth == 16 and back.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(back), a)
    Image.fromarray(a.astype(">u2")).save(tmp_path / "big.tiff")
    back, _ = round_trip(tmp_path / "big.tiff")
    np.testing.assert_array_equal(np.asarray(back), a)


def test_floating_point_grey_survives_in_tiff(tmp_path):
    a = RNG.random((9, 13)).astype(np.float32)
    Image.fromarray(a).save(tmp_path / "in.tiff")
    back, _ = round_trip(tmp_path / "in.tiff")
    np.testing.assert_allclose(np.asarray(back), a, atol=1e-6)
    assert back.mode == "F" and round_trip(tmp_path / "in.tiff", tmp_path / "out.png")[0].mode == "I;16"


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_16_bit_colour_and_alpha_survive(tmp_path, n, suffix):
    a = noise(9, 13, n, dtype=np.uint16)
    colour = a[..., :3] if n >= 3 else a[..., :1].repeat(3, axis=2)
    x_CHW = torch.from_numpy(colour.astype(np.float32) / 65535).permute(2, 0, 1)
    alpha = a[..., -1] if n in (2, 4) else None
    path = tmp_path / f"x{suffix}"
    write_image(path, x_CHW, Meta("RGB" if n >= 3 else "L", 16, alpha, icc=SRGB))
    y_CHW, meta = read_image(path)
    assert torch.equal(x_CHW, y_CHW) and meta.depth == 16 and meta.icc == SRGB and meta.notes == ()
    assert (meta.alpha is None and alpha is None) or np.array_equal(meta.alpha, alpha)


def test_16_bit_colour_agrees_with_other_readers(tmp_path):
    """Pillow sees the high byte of our 16-bit file, and planes stored apart in a TIFF are put together."""
    import tifffile

    a = noise(9, 13, 3, dtype=np.uint16)
    x_CHW = torch.from_numpy(a.astype(np.float32) / 65535).permute(2, 0, 1)
    write_image(tmp_path / "x.png", x_CHW, Meta(depth=16))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x.png")), a >> 8)
    tifffile.imwrite(tmp_path / "p.tif", a.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    planes_CHW, _ = read_image(tmp_path / "p.tif")
    np.testing.assert_allclose(planes_CHW.permute(1, 2, 0).numpy(), a / 65535, atol=1e-7)


@pytest.mark.parametrize("order", "<>")
def test_16_bit_tiff_as_other_programs_store_it(tmp_path, order):
    """Colours multiplied by alpha, samples of unknown meaning, 0 for white."""
    import tifffile

    a = noise(9, 13, 4, dtype=np.uint16)
    a[0, :, 3], a[1:, :, 3] = 0, a[1:, :, 3] | 0x8000
    whole = a.copy()
    whole[..., :3] = (a[..., :3] * (a[..., 3:] / 65535)).round()
    options = {"photometric": "rgb", "byteorder": order}
    tifffile.imwrite(tmp_path / "x.tif", whole, extrasamples=["assocalpha"], **options)
    x_CHW, meta = read_image(tmp_path / "x.tif")
    assert np.array_equal(meta.alpha, a[..., 3]) and meta.depth == 16 and meta.notes == ()
    np.testing.assert_allclose(x_CHW[:, 1:].permute(1, 2, 0).numpy() * 65535, a[1:, :, :3], atol=1.1)
    assert not x_CHW[:, 0].any()  # nothing is known where all is transparent
    tifffile.imwrite(tmp_path / "x.tif", a, extrasamples=["unspecified"], **options)
    x_CHW, meta = read_image(tmp_path / "x.tif")
    assert meta.alpha is None and meta.depth == 16 and "left out" in meta.notes[0]
    np.testing.assert_allclose(x_CHW.permute(1, 2, 0).numpy() * 65535, a[..., :3], atol=0.01)
    tifffile.imwrite(tmp_path / "x.tif", 65535 - a[..., 0], photometric="miniswhite", byteorder=order)
    back, meta = round_trip(tmp_path / "x.tif")
    assert meta.depth == 16 and back.tag_v2[262] == 1
    np.testing.assert_array_equal(np.asarray(back), a[..., 0])


def test_what_16_bits_lose_is_noted(tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "x.tif", noise(9, 13, 4, dtype=np.uint16), photometric="separated")
    _, meta = read_image(tmp_path / "x.tif")
    assert meta.mode == "CMYK" and meta.depth == 8 and "top 8 bits" in meta.notes[0]
    assert "8 bits" in write_image(tmp_path / "x.bmp", torch.rand(3, 8, 8), Meta(depth=16))[0]


def test_transparent_key_of_16_bits_becomes_alpha(tmp_path):
    a = noise(9, 13, dtype=np.uint16)
    Image.fromarray(a).save(tmp_path / "x.png", transparency=int(a[0, 0]))
    x_CHW, meta = read_image(tmp_path / "x.png")
    assert meta.depth == 16 and np.array_equal(meta.alpha, np.where(a == a[0, 0], 0, 65535))
    np.testing.assert_allclose(x_CHW[0].numpy() * 65535, a, atol=0.01)


@pytest.mark.parametrize("compression", ["lzw", "packbits", None])
def test_compressed_16_bit_tiff_keeps_every_bit(tmp_path, compression):
    import tifffile

    a = noise(9, 13, 3, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", a, photometric="rgb", compression=compression)
    x_CHW, meta = read_image(tmp_path / "x.tif")
    assert meta.depth == 16 and meta.notes == ()
    np.testing.assert_allclose(x_CHW.permute(1, 2, 0).numpy() * 65535, a, atol=0.01)


def test_16_bit_written_as_8_bit_is_rounded(tmp_path):
    write_image(tmp_path / "x.bmp", torch.full((3, 8, 8), 0.5), Meta("L", 16))
    assert np.asarray(Image.open(tmp_path / "x.bmp")).tolist() == [[128] * 8] * 8
    alpha = np.full((8, 8), 32896, np.uint16)
    write_image(tmp_path / "x.webp", torch.full((3, 8, 8), 0.5), Meta("RGB", 16, alpha))
    assert np.asarray(Image.open(tmp_path / "x.webp"))[0, 0].tolist() == [128, 128, 128, 128]


def test_palette_becomes_colour_with_its_transparency(tmp_path):
    im = Image.fromarray(noise(12, 12) % 4).convert("P")
    im.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    im.save(tmp_path / "p.png")
    assert round_trip(tmp_path / "p.png")[0].mode == "RGB"
    im.save(tmp_path / "t.png", transparency=2)
    back, _ = round_trip(tmp_path / "t.png")
    assert back.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(back)[..., 3] == 0, np.asarray(im) == 2)


def test_transparent_key_becomes_alpha(tmp_path):
    Image.fromarray(np.eye(8, dtype=np.uint8) * 77).save(tmp_path / "k.png", transparency=77)
    back, _ = round_trip(tmp_path / "k.png")
    assert back.mode == "LA"
    np.testing.assert_array_equal(np.asarray(back)[..., 1] == 0, np.eye(8) == 1)


def test_cmyk_survives_or_becomes_rgb(tmp_path):
    colours = Image.fromarray(np.repeat(np.repeat(noise(3, 3, 3), 8, 0), 8, 1))
    for profile in (None, SRGB):  # an RGB profile in a CMYK file is wrong, and passed over
        colours.convert("CMYK").save(tmp_path / "c.tiff", **({"icc_profile": profile} if profile else {}))
        back, meta = round_trip(tmp_path / "c.tiff")
        assert meta.mode == back.mode == "CMYK"
        np.testing.assert_array_equal(np.asarray(back.convert("RGB")), np.asarray(colours))
        png, _ = round_trip(tmp_path / "c.tiff", tmp_path / "c.png")
        assert png.mode == "RGB" and "icc_profile" not in png.info
        np.testing.assert_array_equal(np.asarray(png), np.asarray(colours))
    colours.convert("CMYK").save(tmp_path / "c.jpg", quality=95)
    assert round_trip(tmp_path / "c.jpg")[0].mode == "CMYK"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured_and_reset(tmp_path, orientation):
    a = noise(8, 16, 3)
    im = Image.fromarray(a)
    exif = Image.Exif()
    exif[274], exif[271] = orientation, "Maker"
    im.save(tmp_path / "in.png", exif=exif)
    back, _ = round_trip(tmp_path / "in.png")
    np.testing.assert_array_equal(np.asarray(back), upright(a, orientation))
    assert back.size == ((8, 16) if orientation >= 5 else (16, 8))
    assert back.getexif().get(274, 1) == 1 and back.getexif()[271] == "Maker"
    x_CHW = torch.from_numpy(a.astype(np.float32) / 255).permute(2, 0, 1)
    write_image(tmp_path / "deep.png", x_CHW, Meta(depth=16, exif=exif.tobytes()))  # the same with 16 bits
    y_CHW, meta = read_image(tmp_path / "deep.png")
    np.testing.assert_allclose(y_CHW.permute(1, 2, 0).numpy() * 255, upright(a, orientation), atol=1e-3)
    im.save(tmp_path / "in.tiff", exif=exif)
    np.testing.assert_array_equal(np.asarray(round_trip(tmp_path / "in.tiff")[0]), upright(a, orientation))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_damaged_camera_data_refuse_no_picture(tmp_path, suffix):
    Image.fromarray(noise(40, 48, 3)).save(tmp_path / f"x{suffix}", exif=b"Exif\0\0no camera wrote this")
    back, meta = round_trip(tmp_path / f"x{suffix}")
    assert back.size == (48, 40) and meta.exif is None
    assert probe(tmp_path / f"x{suffix}")[0].fault is None and decode._size(tmp_path / f"x{suffix}") == (48, 40)


def test_pil_image_keeps_its_grid_and_its_orientation_tag(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(noise(8, 16, 3)).save(tmp_path / "in.jpg", exif=exif)
    with Image.open(tmp_path / "in.jpg") as im:
        x_CHW, meta = read_image(im)
    assert x_CHW.shape == (3, 8, 16) and to_pil(x_CHW, meta).getexif()[274] == 6


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_colour_profile_is_kept(tmp_path, suffix):
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / f"in{suffix}", icc_profile=SRGB)
    assert round_trip(tmp_path / f"in{suffix}")[0].info["icc_profile"] == SRGB


def test_animation_gives_first_frame_and_a_note(tmp_path):
    frames = [Image.fromarray(np.full((8, 8), v, np.uint8)) for v in (10, 200)]
    for name in ("a.gif", "a.png", "a.tiff"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        x_CHW, meta = read_image(tmp_path / name)
        assert x_CHW.mul(255).round().unique().tolist() == [10] and "2 frames" in meta.notes[0]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I;16B", "I", "F"])
def test_pil_mode_survives(mode):
    base = Image.fromarray(np.linspace(0, 255, 64).reshape(8, 8).astype(np.uint8)).convert("RGB")
    if mode in ("I", "I;16", "I;16B", "F"):
        im = Image.fromarray(noise(8, 8, dtype=np.uint16).astype({"I": "<i4", "I;16B": ">u2"}.get(mode, "<u2")))
        im = Image.fromarray(np.float32(RNG.random((8, 8)))) if mode == "F" else im
    else:
        im = base.convert(mode) if mode != "LA" else base.convert("L").convert("LA")
    assert im.mode == mode
    back = to_pil(*from_pil(im))
    assert back.mode == mode
    if mode != "LAB":  # the way through sRGB is not exact
        tolerance = 3 if mode in ("YCbCr", "HSV") else 1e-6
        assert np.abs(np.asarray(back).astype(float) - np.asarray(im)).max() <= tolerance


def test_pil_modes_that_cannot_hold_a_result_become_l_and_rgb():
    assert to_pil(*from_pil(Image.new("1", (4, 4)))).mode == "L"
    assert to_pil(*from_pil(Image.new("P", (4, 4)))).mode == "RGB"
    for mode, grey in (("PA", "RGBA"), ("La", "LA"), ("RGBa", "RGBA"), ("RGBX", "RGB")):
        assert to_pil(*from_pil(Image.new(mode, (4, 4)))).mode == grey


# --- refusals ---


def bad_files(tmp_path):
    png = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(png, "PNG")
    jpeg = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(jpeg, "JPEG")
    contents = {
        "empty.png": (b"", "0 bytes"),
        "cut.png": (png.getvalue()[:3000], "truncated or damaged"),
        "cut.jpg": (jpeg.getvalue()[:900], "truncated or damaged"),
        "head.png": (png.getvalue()[:20], "Convert it|truncated or damaged"),
        "flipped.png": (png.getvalue()[:60] + b"\0" * 400 + png.getvalue()[460:], "truncated or damaged"),
        "text.jpg": (b"hello, I am no picture at all", "Convert it"),
        "page.png": (b"<html><body>404</body></html>", "Convert it"),
    }
    deep = io.BytesIO()
    path = tmp_path / "deep.png"
    write_image(path, torch.rand(3, 32, 32), Meta(depth=16))
    contents["deep.png"] = (path.read_bytes()[:2000], "truncated or damaged")
    Image.new("1", (20000, 20000)).save(deep, "PNG")
    contents["bomb.png"] = (deep.getvalue(), "MAX_IMAGE_PIXELS")
    for name, (data, _) in contents.items():
        (tmp_path / name).write_bytes(data)
    return {name: pattern for name, (_, pattern) in contents.items()}


def test_a_jpeg_that_claims_more_pixels_than_its_bytes_can_hold_is_refused_before_it_is_decoded(tmp_path):
    file, data = tmp_path / "claims.jpg", io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(data, "JPEG")
    head = data.getvalue().index(b"\xff\xc0") + 5  # height and width in the frame header
    claim = data.getvalue()[:head] + struct.pack(">HH", 30000, 30000) + data.getvalue()[head + 4 :]
    file.write_bytes(claim)
    assert header(file) is None
    with pytest.raises(UserError, match=r"at most 178,956,970 pixels; .*claims.jpg claims more .*plain PNG or TIFF"):
        read_image(file)
    file.write_bytes(claim + bytes(30000 * 30000 // PIXELS_OF_A_BYTE))  # long enough: memory decides
    assert header(file) == (30000, 30000, 4 * 30000 * 30000)


@pytest.mark.parametrize("interlaced", [False, True])
def test_the_header_of_a_png_is_read_without_its_pixels(tmp_path, monkeypatch, interlaced):
    file, exif = tmp_path / "x.png", Image.Exif()
    exif[274] = 6
    Image.new("P", (30, 20)).save(file, exif=exif)
    if interlaced:  # Pillow writes none: the flag in the header, with its checksum
        data = file.read_bytes()
        head = data[12:28] + b"\1"
        file.write_bytes(data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:])

    def load(self):
        if self.size != (1, 1):
            raise AssertionError("decoded")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    assert header(file) == (20, 30, 600)


def test_unreadable_files_are_named_and_explained(tmp_path):
    for name, pattern in bad_files(tmp_path).items():
        with pytest.raises(UserError, match=pattern) as caught:
            read_image(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
        with pytest.raises(UserError, match=pattern) as caught:  # an upload has bytes and a name, no path
            read_bytes((tmp_path / name).read_bytes(), name)
        assert name in str(caught.value) and str(tmp_path) not in str(caught.value)
    others = {
        tmp_path / "none.png": "does not exist",
        tmp_path: "is a folder",
        os.devnull: "device",
        tmp_path / "text.jpg" / "x.png": "does not exist|cannot",
        "x" * 5000: "too long|does not exist",
    }
    for path, pattern in others.items():
        with pytest.raises(UserError, match=pattern):
            read_image(path)


def test_a_file_that_breaks_while_it_is_read_is_refused(tmp_path, monkeypatch):
    """A bad sector, or a file that is gone since the look at it."""
    write_image(tmp_path / "a.png", torch.rand(3, 8, 8))

    def broken(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(UserError, match=rf"a\.png is not: {os.strerror(errno.EIO)}"):
        read_image(tmp_path / "a.png")


def test_pil_images_with_a_damaged_or_closed_file_are_refused(tmp_path):
    bad_files(tmp_path)
    with Image.open(tmp_path / "cut.png") as im, pytest.raises(UserError, match="open and complete.*truncated"):
        from_pil(im)
    Image.new("L", (4, 4)).save(tmp_path / "whole.png")
    with Image.open(tmp_path / "whole.png") as im:
        pass
    with pytest.raises(UserError, match="open and complete"):
        from_pil(im)


def test_values_without_a_range_are_refused():
    for values in (np.float32([[0, 2]]), np.float32([[np.nan, 0]]), np.int32([[-1, 5]]), np.int32([[0, 70000]])):
        with pytest.raises(UserError, match="must hold values"):
            from_pil(Image.fromarray(values))
    with pytest.raises(UserError, match="at least one pixel"):
        from_pil(Image.new("RGB", (0, 4)))


def test_outputs_that_cannot_be_written_are_refused(tmp_path):
    x_CHW = torch.rand(3, 8, 8)
    for name in ("x.xyz", "x", "x.gif"):
        with pytest.raises(UserError, match="suffix") as caught:
            write_image(tmp_path / name, x_CHW)
        assert all(suffix in str(caught.value) for suffix in SUFFIXES)
    with pytest.raises(UserError, match="does not exist"):
        write_image(tmp_path / "no" / "x.png", x_CHW)
    (tmp_path / "d.png").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        write_image(tmp_path / "d.png", x_CHW)
    with pytest.raises(UserError, match="transparency"):
        write_image(tmp_path / "x.jpg", x_CHW, Meta(alpha=np.zeros((8, 8), np.uint8)))
    with pytest.raises(UserError, match="size of the picture"):
        write_image(tmp_path / "x.png", x_CHW, Meta(alpha=np.zeros((8, 9), np.uint8)))
    for shape in ((1, 3, 8, 8), (1, 8, 8), (3, 0, 8)):
        with pytest.raises(UserError, match=r"\(3, H, W\)"):
            write_image(tmp_path / "x.png", torch.zeros(shape))
    with pytest.raises(UserError, match="JPEG refused"):
        write_image(tmp_path / "x.jpg", torch.zeros(3, 1, 70000))
    assert [p.name for p in tmp_path.iterdir()] == ["d.png"]


def test_writing_is_all_or_nothing(tmp_path):
    path = tmp_path / "x.png"
    write_image(path, torch.zeros(3, 8, 8))
    before = path.read_bytes()

    resource = pytest.importorskip("resource", reason="POSIX limits of file size")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))  # the system itself stops the writing
    try:
        with pytest.raises(UserError, match="File too large"):
            write_image(path, torch.ones(3, 8, 8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["x.png"]


def test_writing_through_a_link_keeps_the_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "real" / "x.png")
    write_image(tmp_path / "link.png", torch.ones(3, 8, 8))
    assert (tmp_path / "link.png").is_symlink() and (tmp_path / "real" / "x.png").is_file()


# --- arrays ---


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4)])
def test_arrays_survive(shape, dtype):
    a = noise(*shape, dtype=np.dtype(dtype)) if dtype.startswith("u") else RNG.random(shape).astype(dtype)
    x_CHW = from_array(a)
    assert x_CHW.shape == (3, 5, 7) and 0 <= x_CHW.min() and x_CHW.max() <= 1
    back = to_array(x_CHW, a)
    assert back.shape == a.shape and back.dtype == a.dtype and back is not a
    np.testing.assert_allclose(back.astype(float), a.astype(float), atol=0 if dtype.startswith("u") else 1e-6)


@pytest.mark.parametrize(
    "a, pattern",
    [
        (np.zeros((4, 4), bool), "uint8"),
        (np.zeros((4, 4, 3), np.int64), "uint8"),
        (np.zeros((3, 8, 8), np.uint8), "channels last"),
        (np.zeros((1, 8, 8, 3), np.uint8), "one image at a time"),
        (np.zeros((8,), np.uint8), "H, W"),
        (np.zeros((8, 8, 5), np.uint8), "H, W"),
        (np.zeros((0, 8, 3), np.uint8), "H, W"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4), np.inf), "NaN or inf"),
        (np.full((4, 4), 255.0), "Divide it by 255"),
        (np.full((4, 4), -0.5), "Rescale"),
    ],
)
def test_bad_arrays_are_refused(a, pattern):
    with pytest.raises(UserError, match=pattern):
        from_array(a)


# --- what travels with the pixels ---


def carrying(mode="RGB"):
    """(a picture, what `Image.save` takes beside it): camera data with a place, resolution, XMP, a comment."""
    exif = Image.Exif()
    exif.update({270: "Sea", 271: "Maker", 305: "Program", 306: "2026:01:02 03:04:05", 315: "Anna M\u00fcller"})
    exif.get_ifd(0x8769).update({33434: 0.01, 37386: 35.0, 36867: "2026:01:02 03:04:05", 37500: b"private"})
    exif.get_ifd(0x8825).update({1: "N", 2: (47.0, 22.0, 30.0)})
    return Image.fromarray(noise(24, 32, 3)).convert(mode), {"exif": exif, "dpi": (300, 300), "xmp": b"<x:xmpmeta/>"}


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("source", [".jpg", ".tiff"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff"])
def test_camera_data_resolution_and_xmp_are_kept(tmp_path, source, suffix, depth):
    im, extra = carrying()
    if source == ".tiff":
        extra["exif"][700] = extra.pop("xmp")
        extra["exif"] = extra["exif"].tobytes()
    im.save(tmp_path / f"in{source}", **extra)
    x_CHW, meta = read_image(tmp_path / f"in{source}")
    notes = write_image(tmp_path / f"out{suffix}", x_CHW, replace(meta, depth=depth))
    assert not notes or "8 bits" in notes[0]
    with Image.open(tmp_path / f"out{suffix}") as back:
        exif = back.getexif()
        assert [exif[tag] for tag in (270, 271, 305, 306)] == ["Sea", "Maker", "Program", "2026:01:02 03:04:05"]
        folder, place = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
        assert folder[33434] == 0.01 and folder[36867].startswith("2026") and folder[37500] == b"private"
        assert place[1] == "N" and place[2] == (47, 22, 30)
        back.load()
        assert back.info["dpi"] == pytest.approx((300, 300), abs=0.01) and b"xmpmeta" in back.info["xmp"]
    y_CHW, again = read_image(tmp_path / f"out{suffix}")
    assert y_CHW.shape == x_CHW.shape and again.exif and again.xmp == meta.xmp


@pytest.mark.parametrize("suffix", [".webp", ".avif", ".heic"])
def test_camera_data_and_xmp_of_other_formats(tmp_path, suffix):
    if suffix not in SUFFIXES:
        pytest.skip(f"no writer of {suffix} here")
    im, extra = carrying()
    im.save(tmp_path / f"in{suffix}", exif=extra["exif"].tobytes(), xmp=extra["xmp"], icc_profile=SRGB)
    back, meta = round_trip(tmp_path / f"in{suffix}")
    assert meta.exif and b"xmpmeta" in meta.xmp and back.info["icc_profile"] == SRGB
    assert back.getexif()[271] == "Maker" and back.getexif().get_ifd(0x8825)[1] == "N" and back.info["xmp"]


def test_what_a_format_cannot_hold_is_noted(tmp_path):
    im, extra = carrying()
    im.save(tmp_path / "in.jpg", **extra, comment="a comment", icc_profile=SRGB)
    x_CHW, meta = read_image(tmp_path / "in.jpg")
    expected = {"png": [], "jpg": [], "tiff": ["Comment"], "webp": ["resolution", "Comment"]}
    expected["bmp"] = expected["tga"] = ["colour profile", "camera data", "XMP", "Comment"]
    for suffix, parts in expected.items():
        notes = write_image(tmp_path / f"out.{suffix}", x_CHW, meta)
        assert len(notes) == bool(parts) and all(part in notes[0] for part in parts), (suffix, notes)
    for suffix in ("jpg", "png"):
        assert read_image(tmp_path / f"out.{suffix}")[1].text == {"Comment": "a comment"}
    notes = write_image(tmp_path / "out.png", x_CHW, replace(meta, mode="CMYK"))
    assert "CMYK" in notes[0]


@pytest.mark.parametrize("depth", [8, 16])
def test_gamma_and_text_of_png(tmp_path, depth):
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", (55555).to_bytes(4, "big"))
    info.add_text("Title", "Sea")
    info.add_text("Author", "Anna \u4e16")
    Image.fromarray(noise(8, 8)).save(tmp_path / "in.png", pnginfo=info)
    x_CHW, meta = read_image(tmp_path / "in.png")
    assert write_image(tmp_path / "out.png", x_CHW, replace(meta, depth=depth)) == ()
    with Image.open(tmp_path / "out.png") as back:
        assert back.info["gamma"] == 0.55555 and back.text == {"Title": "Sea", "Author": "Anna \u4e16"}
    (note,) = write_image(tmp_path / "out.jpg", x_CHW, meta)
    assert "gamma" in note and "Title" in note and "Author" in note


def test_camera_data_too_long_for_jpeg_are_left_out_with_a_note(tmp_path):
    im, extra = carrying()
    extra["exif"].get_ifd(0x8769)[37500] = bytes(70_000)
    im.save(tmp_path / "in.png", exif=extra["exif"], dpi=(200, 200))
    x_CHW, meta = read_image(tmp_path / "in.png")
    (note,) = write_image(tmp_path / "out.jpg", x_CHW, replace(meta, xmp=bytes(66_000), text={"Comment": "x" * 70_000}))
    assert "camera data of 70," in note and "XMP of 66,000" in note and "Comment" in note
    with Image.open(tmp_path / "out.jpg") as back:
        assert back.size == im.size and back.info["dpi"] == (200, 200) and not back.getexif()


def test_odd_values_beside_the_pixels_cost_no_picture(tmp_path):
    (note,) = write_image(tmp_path / "x.png", torch.zeros(3, 8, 8), Meta(icc=SRGB, gamma={"gamma": 1e9}))
    assert "left out" in note and read_image(tmp_path / "x.png")[1].icc == SRGB


def test_pil_images_keep_what_travels_with_them(tmp_path):
    im, extra = carrying()
    im.save(tmp_path / "in.jpg", **extra)
    with Image.open(tmp_path / "in.jpg") as opened:
        back = to_pil(*from_pil(opened))
    assert back.info["dpi"] == (300, 300) and back.info["xmp"] and back.getexif()[271] == "Maker"


# --- further formats ---


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".mpo"])
def test_every_format_gives_back_its_own_kind(tmp_path, suffix):
    """Lossless, or as close as JPEG at quality 95 (2 of 255 on average for a photograph)."""
    from slerlib.data.scenes import photographs

    x_CHW = photographs()[0].image[:, 100:164, 100:180].mul(255).round() / 255
    assert write_image(tmp_path / f"in{suffix}", x_CHW) == ()
    y_CHW, meta = read_image(tmp_path / f"in{suffix}")
    assert meta.format == KINDS[suffix] and y_CHW.shape == x_CHW.shape
    lossy = {"JPEG": 2 / 255, "AVIF": 2 / 255, "HEIF": 1 / 255}
    assert (y_CHW - x_CHW).abs().mean() <= lossy.get(meta.format, 1e-6)
    assert write_image(tmp_path / f"grey{suffix}", x_CHW, Meta("L")) == ()
    assert read_image(tmp_path / f"grey{suffix}")[1].mode == "L" or suffix in (".webp", ".avif")
    if "alpha" in FORMATS[meta.format].holds:
        alpha = noise(64, 80)
        write_image(tmp_path / f"clear{suffix}", x_CHW, Meta(alpha=alpha))
        np.testing.assert_allclose(read_image(tmp_path / f"clear{suffix}")[1].alpha.astype(int), alpha, atol=3)


def test_the_further_pictures_of_a_camera_file_are_noted(tmp_path):
    im = Image.fromarray(noise(24, 32, 3))
    im.save(tmp_path / "in.mpo", "MPO", save_all=True, append_images=[im])
    back, meta = round_trip(tmp_path / "in.mpo")
    assert "2 pictures" in meta.notes[0] and back.format == "JPEG"


def test_a_heic_file_without_its_reader_names_the_package(tmp_path, monkeypatch):
    (tmp_path / "x.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(500))
    with pytest.raises(UserError, match="Convert it|pillow-heif"):
        read_image(tmp_path / "x.HEIC")
    monkeypatch.setattr(formats, "pillow_heif", None)
    with pytest.raises(UserError, match="pip install pillow-heif"):
        read_image(tmp_path / "x.HEIC")


def test_what_is_a_picture(tmp_path):
    im = Image.fromarray(noise(24, 32, 3))
    for name in ("a.JPG", "b.gif", "c.tga", "d.jfif", "e.avif", "f.jp2"):
        im.save(tmp_path / name, {"d": "JPEG"}.get(name[0]))
    im.save(tmp_path / "no_suffix", "JPEG")
    im.save(tmp_path / "picture.data", "PNG")
    for name in ("raw.CR2", "phone.heic", "notes.txt", "film.mp4", "paper.pdf", "numbers.csv", "empty"):
        (tmp_path / name).write_bytes(b"no picture" if name != "empty" else b"")
    others = {path.name for path in tmp_path.iterdir() if not is_picture(path)}
    assert others == {"notes.txt", "film.mp4", "paper.pdf", "numbers.csv", "empty"}


# --- what a TIFF states about its own file ---


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_without_a_resolution_gets_no_resolution(tmp_path, compression):
    Image.fromarray(noise(24, 32, 3)).save(tmp_path / "in.tif", compression=compression)
    for name in ("out.tif", "out.png", "out.jpg"):
        back, meta = round_trip(tmp_path / "in.tif", tmp_path / name)
        assert meta.dpi is None and (back.info.get("dpi") is None or name == "out.tif")
    with Image.open(tmp_path / "out.tif") as back:
        assert back.tag_v2.get(296) != 2  # a unit of resolution that is inches


@pytest.mark.parametrize("text, stays", [('{"shape": [2, 24, 32, 3]}', False), ("ImageJ=1.5\nimages=2\n", False),
                                         ("A street in the rain", True)])  # fmt: skip
def test_a_description_of_the_layout_of_the_old_file_goes(tmp_path, text, stays):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "in.tif", noise(24, 32, 3, dtype=np.uint16), photometric="rgb", description=text,
                     metadata=None)  # fmt: skip
    back, _ = round_trip(tmp_path / "in.tif", tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.pages[0].description == (text if stays else "")
