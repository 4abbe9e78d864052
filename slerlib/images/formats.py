"""File formats: which suffix means which, what each holds besides pixels, how Pillow is asked to write it. [ours]"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin, features

try:  # the extra `heif`
    import pillow_heif

    pillow_heif.register_heif_opener()
except ImportError:
    pillow_heif = None


@dataclass(frozen=True)
class Meta:
    """What a picture is besides its RGB values."""

    mode: str = "RGB"  # the PIL mode to go back to, without alpha: "L", "RGB", "CMYK", "I;16", ...
    depth: int = 8  # bits per channel, 8 or 16
    alpha: np.ndarray | None = None  # (H, W) uint8 or uint16, never touched
    icc: bytes | None = None  # colour profile
    exif: bytes | None = None  # camera data; for files the orientation has been applied and its tag removed
    format: str | None = None  # as Pillow names it
    notes: tuple[str, ...] = ()  # one sentence for each thing that the reader left out
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    text: dict[str, str] = field(default_factory=dict)  # of PNG; "Comment" of JPEG, GIF and JPEG 2000
    gamma: dict = field(default_factory=dict)  # of PNG: gamma, chromaticity and srgb, as Pillow reads them


@dataclass(frozen=True)
class Format:
    """What Pillow writes under some suffixes."""

    suffixes: tuple[str, ...]
    holds: str  # of: alpha, cmyk, deep (16 bits), and the keys of NAMES
    options: dict = field(default_factory=dict)  # for `Image.save`


NAMES = {"icc": "colour profile", "exif": "camera data", "dpi": "resolution", "xmp": "XMP", "gamma": "gamma"}
_ALL = {
    "PNG": Format((".png",), "alpha deep icc exif dpi xmp text gamma"),
    "JPEG": Format(
        (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "cmyk icc exif dpi xmp comment", {"quality": 95, "subsampling": 0}
    ),
    "WEBP": Format((".webp",), "alpha icc exif xmp", {"lossless": True, "exact": True}),
    "TIFF": Format((".tif", ".tiff"), "alpha cmyk deep icc exif dpi xmp"),
    "BMP": Format((".bmp",), "dpi"),
    "AVIF": Format((".avif",), "alpha icc exif xmp", {"quality": 95, "subsampling": "4:4:4"}),
    "HEIF": Format((".heic", ".heif", ".hif"), "alpha icc exif xmp", {"quality": -1, "chroma": 444}),  # -1: lossless
    "JPEG2000": Format((".jp2", ".jpx", ".jpf", ".j2k", ".j2c", ".jpc"), "alpha comment"),
    "TGA": Format((".tga",), "alpha"),
    "PPM": Format((".ppm", ".pgm", ".pnm"), ""),
}
_MISSING = {"AVIF": not features.check("avif"), "HEIF": "HEIF" not in Image.SAVE}
FORMATS = {kind: one for kind, one in _ALL.items() if not _MISSING.get(kind)}
KINDS = {suffix: kind for kind, one in FORMATS.items() for suffix in one.suffixes}
SUFFIXES = tuple(KINDS)  # what write_image writes; read_image reads whatever Pillow reads
# Pictures that Pillow reads with a further package, or not at all.
UNREADABLE = ".heic .heif .hif .avif .jxl .dng .cr2 .cr3 .nef .arw .raf .orf .rw2 .pef .srw .raw".split()
LONGEST = 65_000  # bytes of one kind of data in a JPEG file, whose segments have at most 65,533

CAMERA_TAGS = (270, 271, 272, 305, 306, 315, 33432)  # description, maker, model, software, date, artist, copyright
LAYOUTS = ('{"shape"', "ImageJ=")  # descriptions by tifffile and ImageJ: axes and number of pages of the old file
CAMERA_FOLDERS = (0x8769, 0x8825)  # exposure and the like, place
_POINTER = 40965  # in the folder of the exposure: a place in the old file
_PNG_CHUNKS = {
    "gamma": (b"gAMA", lambda value: struct.pack(">I", round(value * 1e5))),
    "chromaticity": (b"cHRM", lambda values: struct.pack(">8I", *(round(value * 1e5) for value in values))),
    "srgb": (b"sRGB", lambda intent: bytes([intent])),
}


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its suffix or, where the suffix is another, by its first bytes."""
    Image.init()
    kind = Image.registered_extensions().get(path.suffix.lower())
    if path.suffix.lower() in UNREADABLE or (kind in Image.OPEN and Image.MIME.get(kind, "").startswith("image/")):
        return True
    try:
        Image.open(path, formats=[*FORMATS.keys() - {"TGA", "PPM"}, "GIF"]).close()
    except Exception:
        return False
    return True


def holds(kind: str, meta: Meta) -> bool:
    """Whether a format holds all that shows in a picture: transparency, colour profile and 16 bits."""
    parts = {"alpha": meta.alpha is not None, "icc": bool(meta.icc), "deep": meta.depth == 16}
    return not {name for name, present in parts.items() if present} - set(FORMATS[kind].holds.split())


def save_options(kind: str, suffix: str) -> dict:
    """What `Image.save` is asked for; .j2k and the like are JPEG 2000 without the box of .jp2."""
    return FORMATS[kind].options | ({"no_jp2": suffix in (".j2k", ".j2c", ".jpc")} if kind == "JPEG2000" else {})


def carried(im: Image.Image) -> dict:
    """The fields of `Meta` for what travels with the pixels of a PIL image."""
    info, dpi = im.info, None
    try:
        if im.format != "TIFF" or 282 in im.tag_v2:  # Pillow gives 1 dpi to a TIFF without a resolution
            dpi = tuple(float(value) for value in info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        pass  # no resolution, or a damaged one
    text = {
        key: str(value)
        for key, value in getattr(im, "text", {}).items()
        if key != "XML:com.adobe.xmp" and not key.startswith("Raw profile")
    }
    if isinstance(comment := info.get("comment"), bytes):
        text["Comment"] = comment.decode(errors="surrogateescape")
    xmp = info.get("xmp")
    return {
        "icc": info.get("icc_profile"),
        "exif": _exif_bytes(im),
        "dpi": dpi if dpi and min(dpi) > 0 and max(dpi) < 65535 else None,
        "xmp": xmp.encode() if isinstance(xmp, str) else xmp,
        "text": text,
        "gamma": {key: info[key] for key in _PNG_CHUNKS if key in info} if "gamma" in info or "srgb" in info else {},
        "format": im.format,
    }


def _exif_bytes(im: Image.Image) -> bytes | None:
    try:
        exif = im.getexif()
        exif = camera_data(exif) if im.format == "TIFF" else exif
        return exif.tobytes() if len(exif) or any(map(exif.get_ifd, CAMERA_FOLDERS)) else None
    except Exception:  # damaged camera data is no reason to refuse a readable picture
        return None


def camera_data(exif: Image.Exif) -> Image.Exif:
    """What a camera or a person wrote, without the tags of a TIFF that describe the layout of its own file."""
    camera = Image.Exif()
    camera.update({tag: exif[tag] for tag in CAMERA_TAGS if tag in exif})
    if str(camera.get(270, "")).startswith(LAYOUTS):
        del camera[270]
    for tag in CAMERA_FOLDERS:
        values = exif.get_ifd(tag).items()
        camera.get_ifd(tag).update({key: value for key, value in values if key != _POINTER})
    return camera


def arguments(kind: str, meta: Meta) -> tuple[dict, list[str]]:
    """(what `Image.save` takes beside the pixels, notes on what the format cannot hold)."""
    held, extra, lost = FORMATS[kind].holds.split(), {}, []
    for name, key in {"icc": "icc_profile", "exif": "exif", "dpi": "dpi", "xmp": "xmp"}.items():
        value = getattr(meta, name)
        if not value:
            continue
        fits = kind != "JPEG" or name not in ("exif", "xmp") or len(value) <= LONGEST
        if name in held and fits:
            extra[key] = value
        else:
            lost.append(NAMES[name] + ("" if fits else f" of {len(value):,} bytes"))
    if meta.gamma and "gamma" not in held and "srgb" not in meta.gamma:
        lost.append(NAMES["gamma"])
    text = dict(meta.text)
    if "comment" in held and len(text.get("Comment", "")) <= LONGEST // 4 and "Comment" in text:
        extra["comment"] = text.pop("Comment").encode(errors="surrogateescape")
    if kind == "PNG":
        extra["pnginfo"] = _png_info(meta, extra.pop("xmp", None))
    elif text:
        lost.append(f"text ({', '.join(text)})")
    return extra, [f"{kind} cannot hold its {' and '.join(lost)}."] if lost else []


def _png_info(meta: Meta, xmp: bytes | None) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for key, value in meta.gamma.items():
        name, packed = _PNG_CHUNKS[key]
        info.add(name, packed(value))
    for key, value in meta.text.items():
        info.add_text(key, value.encode(errors="replace").decode())
    if xmp:
        info.add_itxt("XML:com.adobe.xmp", xmp.decode(errors="replace"))
    return info
