"""Image files and PIL images <-> float32 RGB tensors in [0, 1], without losing what the network does not see.

The network works on three channels. Everything else about a picture (greyscale, 16 bits, alpha, CMYK, colour profile,
camera data) travels beside the pixels in a `Meta`, so that a restored picture comes back as the kind it was.
Shape suffixes: C channels, H height, W width, N samples per pixel. [ours]: the paper says nothing about files.
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from ..errors import UserError
from ..files import check_name, unwritable, write_atomic
from .faults import check_file, explained
from .formats import FORMATS, KINDS, SUFFIXES, Meta, arguments, carried, save_options
from .orientation import orientation, upright
from .sixteen_bit import png16, read_samples16, tiff, tiff_profile

__all__ = [
    "SUFFIXES",
    "Meta",
    "check_output",
    "from_pil",
    "read_bytes",
    "read_image",
    "scaled",
    "to_pil",
    "write_image",
]


# --- reading ---


def read_image(source: str | os.PathLike | Image.Image) -> tuple[torch.Tensor, Meta]:
    """A picture -> ((3, H, W) float32 in [0, 1], Meta).

    Files come upright (EXIF orientation), animations give their first frame and a note; a PIL image keeps its grid.
    Raises UserError for a file that is missing, a folder, empty, damaged, not an image or absurdly large.
    """
    if isinstance(source, Image.Image):
        return from_pil(source)
    path = Path(source)
    check_file(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"An image file must be readable; {path} is not: {error.strerror}. Check the file and its disk."
        ) from error
    return read_bytes(data, path)


def read_bytes(data: bytes, name: str | os.PathLike) -> tuple[torch.Tensor, Meta]:
    """The bytes of a picture file, for example of an upload -> as `read_image`. name: of the file, for messages.

    Raises UserError for bytes that are empty, damaged, not an image or absurdly large.
    """
    path = Path(name)
    if not data:
        raise UserError(f"An image file is needed; {path} is empty (0 bytes). Copy or download it again.")
    with explained(path, data):
        return decoded(data)


def decoded(data: bytes) -> tuple[torch.Tensor, Meta]:
    """The bytes of a file as `read_image` gives them, errors of the decoders as they are."""
    try:
        im = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        wide_HWN, notes = read_samples16(data)  # Pillow knows no TIFF with 16-bit grey and alpha
        if wide_HWN is None:
            raise
        return deep(wide_HWN, Meta(format="TIFF", icc=tiff_profile(data), notes=tuple(notes)))
    wide_HWN, notes = read_samples16(data)  # None for the usual 8-bit file
    kind, turned = im.format, orientation(im)
    notes += left_out(im, wide_HWN is not None)
    parts = carried(im)  # now: a TIFF closes its file with the pixels
    im.load()
    if turned != 1 and kind != "TIFF":  # Pillow turns a TIFF itself
        im = ImageOps.exif_transpose(im)
        parts |= {name: value for name, value in carried(im).items() if name in ("exif", "xmp")}
        wide_HWN = None if wide_HWN is None else upright(wide_HWN, turned)
    if wide_HWN is not None:
        return deep(wide_HWN, Meta(**parts, notes=tuple(notes)))
    x_CHW, meta = from_pil(im)
    return x_CHW, replace(meta, **parts, notes=tuple(notes))


def left_out(im: Image.Image, deep: bool = False) -> list[str]:
    """A sentence for each thing of an opened file that its pixels leave out."""
    notes, frames = [], getattr(im, "n_frames", 1)
    if frames > 1:
        more = "pictures (a preview, a gain map or another view)" if im.format == "MPO" else "frames or pages"
        notes.append(f"The file has {frames} {more}; only the first is used.")
    if im.info.get("photoshop"):
        notes.append("Its Photoshop and IPTC data are left out.")
    if not deep and im.format in ("HEIF", "AVIF") and im.info.get("bit_depth", 8) > 8:
        notes.append(f"Only 8 of its {im.info['bit_depth']} bits per channel are read.")
    return notes


def deep(wide_HWN: np.ndarray, meta: Meta) -> tuple[torch.Tensor, Meta]:
    """(H, W, N) uint16, as of `sixteen_bit` -> as `read_image` gives it."""
    colours, n = 3 if wide_HWN.shape[2] >= 3 else 1, wide_HWN.shape[2]
    alpha = wide_HWN[..., colours].copy() if n > colours else None
    mode = "RGB" if colours == 3 else "I;16" if alpha is None else "L"
    return scaled(wide_HWN[..., :colours], 65535), replace(meta, depth=16, mode=mode, alpha=alpha)


def from_pil(im: Image.Image) -> tuple[torch.Tensor, Meta]:
    """PIL image of any mode -> ((3, H, W) float32 in [0, 1], Meta).

    Palettes come back as RGB and bilevel images as greyscale, for neither can hold a restored picture.
    Raises UserError for an image whose file is closed or damaged, for one without pixels, and for mode I or F with
    values outside 0..65535 or 0..1.
    """
    try:
        im.load()
    except Exception as error:  # the file is read as late as here; see read_image for what can happen
        raise UserError(
            f"A PIL image must be open and complete; reading its pixels failed ({type(error).__name__}: {error}). "
            "Give restore the path instead, or open the file again."
        ) from error
    if 0 in im.size:
        raise UserError(f"An image needs at least one pixel; this is {im.width} x {im.height}. Check how it was made.")
    meta = Meta(**carried(im))
    if im.mode.startswith("I") or im.mode == "F":
        values_HW, top = np.asarray(im), 1.0 if im.mode == "F" else 65535.0
        low, high = values_HW.min(), values_HW.max()
        if not (low >= 0 and high <= top):  # so that NaN fails too
            raise UserError(
                f"A PIL image of mode {im.mode} must hold values from 0 to {top:g}; these are {low:g} to {high:g}. "
                "Rescale it, or convert it to mode L or RGB."
            )
        return scaled(values_HW[..., None], top), replace(meta, mode=im.mode, depth=16)
    if im.mode == "CMYK":
        return scaled(np.asarray(_press(im, meta.icc, "RGB")), 255), replace(meta, mode="CMYK")
    grey = im.mode in ("1", "L", "LA", "La")
    mode = "L" if grey else im.mode if im.mode in ("YCbCr", "LAB", "HSV") else "RGB"
    if im.has_transparency_data:
        im = im.convert("LA" if grey else "RGBA")
        meta = replace(meta, alpha=np.array(im.getchannel("A")))
    return scaled(np.asarray(im.convert("RGB")), 255), replace(meta, mode=mode)


def scaled(values_HWN: np.ndarray, top: float) -> torch.Tensor:
    """(H, W, 1|3) of any real dtype -> (3, H, W) float32, `top` becoming 1."""
    values_NHW = np.ascontiguousarray(values_HWN.transpose(2, 0, 1), dtype=np.float32) / np.float32(top)
    return torch.from_numpy(values_NHW).expand(3, -1, -1).contiguous()


def _press(im: Image.Image, icc: bytes | None, target: str) -> Image.Image:
    """CMYK -> RGB or RGB -> CMYK, through the picture's own profile where it is usable, else by the plain formula."""
    if icc:
        try:
            profiles = [ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")]
            return ImageCms.profileToProfile(im, *profiles[:: 1 if target == "RGB" else -1], outputMode=target)
        except (ImageCms.PyCMSError, OSError):
            pass  # damaged, or a profile for another colour space
    return im.convert(target)


# --- writing ---


def to_pil(x_CHW: torch.Tensor, meta: Meta | None = None) -> Image.Image:
    """(3, H, W) in [0, 1] -> PIL image of the kind in `meta`; 16-bit colour, unknown to PIL, gets 8 bits."""
    meta = _checked(x_CHW, meta)
    im = _pixels(x_CHW, meta)
    info = {"icc_profile": meta.icc, "exif": meta.exif, "dpi": meta.dpi, "xmp": meta.xmp}
    im.info |= {key: value for key, value in info.items() if value}
    return im


def _pixels(x_CHW: torch.Tensor, meta: Meta) -> Image.Image:
    if meta.mode == "F":
        im = Image.fromarray(x_CHW.detach().mean(0).clamp(0, 1).float().cpu().numpy())
    elif meta.mode.startswith("I"):
        im = Image.fromarray(_quantised(x_CHW.mean(0), 16).astype({"I": "<i4", "I;16B": ">u2"}.get(meta.mode, "<u2")))
    elif meta.mode == "L":
        im = Image.fromarray(_quantised(x_CHW.mean(0), 8))
    else:
        im = Image.fromarray(np.ascontiguousarray(_quantised(x_CHW, 8).transpose(1, 2, 0)))
        im = _press(im, meta.icc, "CMYK") if meta.mode == "CMYK" else im.convert(meta.mode)
    if meta.alpha is not None:
        wide = meta.alpha.dtype == np.uint16
        im.putalpha(Image.fromarray((meta.alpha // 257).astype(np.uint8) if wide else meta.alpha))
    return im


def write_image(path: str | os.PathLike, x_CHW: torch.Tensor, meta: Meta | None = None) -> tuple[str, ...]:
    """Write (3, H, W) in [0, 1] as the kind of picture in `meta`, in the format of the suffix.

    The file appears whole or not at all. Formats of 8 bits get 8 bits, formats without CMYK get sRGB.
    Returns a sentence for each thing that the format cannot hold.
    Raises UserError for a suffix that is not in SUFFIXES, a folder that cannot be written to, transparency in a format
    that has none and a picture too large for its format.
    """
    meta, kind = _checked(x_CHW, meta), check_output(path)
    path = Path(os.path.realpath(path))  # write through a link, which the rename would otherwise replace
    check_alpha(path, kind, meta.alpha is not None)
    data, notes = _encoded(x_CHW, meta, kind, path.suffix.lower())
    try:
        write_atomic(path, data)
    except OSError as error:
        raise unwritable("A picture is written to a folder", path, error) from error
    return notes


def check_alpha(path: Path, kind: str, alpha: bool) -> None:
    """Raise UserError where a format would lose the transparency of a picture."""
    if alpha and "alpha" not in FORMATS[kind].holds:
        raise UserError(
            f"A picture with transparency needs PNG, WebP or TIFF; {path.name} is {kind}, which would lose it. "
            f"Write {path.stem}.png instead."
        )


def check_output(path: str | os.PathLike) -> str:
    """The format that write_image will use for this path. Raises UserError if the name or its folder will not do."""
    path = Path(path)
    check_name(path)
    if path.suffix.lower() not in KINDS:
        raise UserError(
            f"The output format comes from the suffix, one of {', '.join(SUFFIXES)}; {path.name!r} has "
            f"{path.suffix or 'none'}. Name it {path.stem}.png, for example."
        )
    if path.is_dir() or not path.parent.is_dir():
        fault = "is a folder" if path.is_dir() else f"lies in {path.parent}, which does not exist"
        raise UserError(f"The output must be a file in an existing folder; {path} {fault}. Create it or choose one.")
    return KINDS[path.suffix.lower()]


def form(meta: Meta, kind: str) -> tuple[Meta, bool, list[str]]:
    """(the picture as its format holds it, whether with 16 bits, what it cannot hold)."""
    held, notes = FORMATS[kind].holds.split(), []
    if meta.mode == "CMYK" and "cmyk" not in held:  # the profile of a press does not describe the values as sRGB
        meta = replace(meta, mode="RGB", icc=None)
        notes.append(f"{kind} cannot hold CMYK; the picture became sRGB.")
    meta = replace(meta, mode="RGB") if meta.mode in ("YCbCr", "LAB", "HSV") else meta
    grey = meta.mode in ("L", "F") or meta.mode.startswith("I")
    whole = meta.mode == "F" and kind == "TIFF"  # the one format here for floating-point values
    deep = meta.depth == 16 and "deep" in held and not whole
    if not deep:
        notes += [f"{kind} holds 8 bits per channel; the picture had 16."] if meta.depth == 16 and not whole else []
    return replace(meta, mode="L" if grey and not whole else meta.mode), deep, notes


def pixels_of(x_CHW: torch.Tensor, meta: Meta, deep: bool) -> Image.Image | np.ndarray:
    """A PIL image, or (H, W, N) uint16, of what `form` gave."""
    if not deep:
        return _pixels(x_CHW, meta)
    samples_HWN = _quantised(x_CHW.mean(0, keepdim=True) if meta.mode == "L" else x_CHW, 16).transpose(1, 2, 0)
    if meta.alpha is not None:
        alpha_HW = meta.alpha if meta.alpha.dtype == np.uint16 else meta.alpha.astype(np.uint16) * 257
        samples_HWN = np.concatenate([samples_HWN, alpha_HW[..., None]], axis=2)
    return np.ascontiguousarray(samples_HWN)


def _encoded(x_CHW: torch.Tensor, meta: Meta, kind: str, suffix: str) -> tuple[bytes, tuple[str, ...]]:
    """(bytes of the file, what it cannot hold)."""
    meta, deep_, notes = form(meta, kind)
    pixels = pixels_of(x_CHW, meta, deep_)
    try:
        extra, lost = arguments(kind, meta)
        return encode(pixels, kind, suffix, meta, extra), (*notes, *lost)
    except Exception as error:  # odd camera data, or a picture too large: the second try tells which
        meta = plain(meta)
        notes.append(f"What travels with the pixels is damaged and left out ({type(error).__name__}: {error}).")
    try:
        return encode(pixels, kind, suffix, meta, arguments(kind, meta)[0]), tuple(notes)
    except (OSError, ValueError, RuntimeError, struct.error) as error:
        raise refused(kind, x_CHW.shape[2], x_CHW.shape[1], error) from error


def plain(meta: Meta) -> Meta:
    """Without what travels beside the pixels, but for the colour profile."""
    return replace(meta, exif=None, xmp=None, dpi=None, text={}, gamma={})


def refused(kind: str, width: int, height: int, error: Exception) -> UserError:
    """The error to raise where a format does not take a picture."""
    return UserError(
        f"The format must be able to hold the picture; {kind} refused {width} x {height} pixels ({error}). "
        "Write a .png or .tiff file instead."
    )


def encode(pixels: Image.Image | np.ndarray, kind: str, suffix: str, meta: Meta, extra: dict) -> bytes:
    """A PIL image, or (H, W, N) uint16 for PNG and TIFF, as the bytes of a file."""
    if kind == "TIFF":
        return tiff(np.atleast_3d(np.asarray(pixels)), extra, meta.alpha is not None, meta.mode == "CMYK")
    if isinstance(pixels, np.ndarray):
        return png16(pixels, extra)
    out = io.BytesIO()
    pixels.save(out, kind, **save_options(kind, suffix), **extra)
    return out.getvalue()


def _checked(x_CHW: torch.Tensor, meta: Meta | None) -> Meta:
    if x_CHW.ndim != 3 or x_CHW.shape[0] != 3 or 0 in x_CHW.shape:
        raise UserError(
            f"A picture is made from a tensor of shape (3, H, W); this one is {tuple(x_CHW.shape)}. "
            "Take one image of the batch, or repeat a grey channel three times."
        )
    if meta is not None and meta.alpha is not None and meta.alpha.shape != tuple(x_CHW.shape[1:]):
        raise UserError(
            f"The alpha channel must have the size of the picture; it is {meta.alpha.shape} and the picture is "
            f"{tuple(x_CHW.shape[1:])}. Crop or resize both alike."
        )
    return meta or Meta()


def _quantised(x: torch.Tensor, depth: int) -> np.ndarray:
    values = (x.detach().float().clamp(0, 1) * (2**depth - 1)).round()
    return values.cpu().numpy().astype(np.uint8 if depth == 8 else np.uint16)
