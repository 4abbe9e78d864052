"""Errors of one PSNR that look different: what PSNR and SSIM count."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import plots
from ..errors import UserError
from ..evaluation.metrics import psnr, ssim, ssim_gaussian
from ..plots.pictures import decibels
from .album import GIVEN, SIDE, Album, Photograph
from .explorer import Explorer, dropdown, slider
from .frames import Look, Picture


def _brighter(x: Tensor, amount: float, noise: Tensor) -> Tensor:
    return x + amount


def _contrast(x: Tensor, amount: float, noise: Tensor) -> Tensor:
    return x + amount * (0.5 - x)


def _noise(x: Tensor, amount: float, noise: Tensor) -> Tensor:
    return x + amount * noise


def _blur(x: Tensor, amount: float, noise: Tensor) -> Tensor:
    sigma = 20 * amount
    reach = torch.arange(-24, 25).float()
    weights = torch.softmax(-(reach**2) / (2 * max(sigma, 1e-3) ** 2), dim=0)
    wide = F.pad(x[None], (24, 24, 24, 24), mode="reflect")
    rows = F.conv2d(wide, weights.view(1, 1, -1, 1).expand(3, 1, -1, 1), groups=3)
    return F.conv2d(rows, weights.view(1, 1, 1, -1).expand(3, 1, 1, -1), groups=3)[0]


def _spots(x: Tensor, amount: float, noise: Tensor) -> Tensor:
    """The same error gathered in a few pixels, each turned to its opposite."""
    chosen = torch.special.ndtr(noise[:1]) < amount  # so large a share of the pixels
    return torch.where(chosen, (x + 0.5) % 1.0, x)


ERRORS = {
    "brighter everywhere": _brighter,
    "less contrast": _contrast,
    "noise": _noise,
    "blur": _blur,
    "few wrong pixels": _spots,
}


def same_psnr(image: Photograph, error: str = "noise", decibel: float = 25.0, side: int = SIDE) -> Explorer:
    """Explorer of errors that all have the PSNR one asks for: brighter, less contrast, noise, blur, few wrong pixels.

    image, side: as for `degrade_and_restore`. error: a name of ERRORS. decibel: the PSNR to reach, 15 to 45.
    Controls: picture, error, PSNR. Values: wrong (3, H, W), psnr, ssim, ssim_gaussian; the PSNR is below the one that
    was asked for only where this error cannot become as large.
    Raises UserError without a photograph, for another error and for a PSNR out of range.
    """
    album = Album(image, side)
    if error not in ERRORS or not 15 <= decibel <= 45:
        raise UserError(
            f"The error is one of {', '.join(ERRORS)} and the PSNR 15 to 45 dB; got {error!r} and {decibel!r}. "
            "Correct them."
        )

    def make_controls():
        return {
            "error": dropdown("error", list(ERRORS), error, "17em", "What kind of error the picture has"),
            "PSNR": slider("PSNR", decibel, 0.5, 15, 45, "The PSNR of the wrong picture, in dB"),
        }

    still = partial(_still, album[GIVEN], decibel)
    return Explorer("The same PSNR", make_controls, partial(_look, album), still, album=album)


def wrong(clean_CHW: Tensor, error: str, decibel: float) -> Tensor:
    """The picture with that error, of that PSNR or as near as the error comes; by halving the amount."""
    noise = torch.randn(clean_CHW.shape, generator=torch.Generator().manual_seed(0))
    low, high = 0.0, 1.0
    for _ in range(14):
        middle = (low + high) / 2
        if psnr(ERRORS[error](clean_CHW, middle, noise).clamp(0, 1), clean_CHW) > decibel:
            low = middle
        else:
            high = middle
    return ERRORS[error](clean_CHW, high, noise).clamp(0, 1)


def _look(album: Album, picture: str, error: str, **asked: float) -> Look:
    clean_CHW = album[picture]
    wrong_CHW = wrong(clean_CHW, error, asked["PSNR"])
    values = {"wrong": wrong_CHW, "psnr": psnr(wrong_CHW, clean_CHW), "ssim": ssim(wrong_CHW, clean_CHW)}
    values["ssim_gaussian"] = ssim_gaussian(wrong_CHW, clean_CHW)
    line = f"{error}: PSNR {decibels(values['psnr'], 2)}, SSIM {values['ssim']:.3f} ({values['ssim_gaussian']:.3f} by "
    line += "the other definition). At the same PSNR choose another error: which looks worse to you?"
    pictures = (
        Picture("clean", clean_CHW),
        Picture("wrong", wrong_CHW, f"{decibels(values['psnr'])}, SSIM {values['ssim']:.2f}"),
        Picture("error, 4 x", (0.5 + 4 * (wrong_CHW - clean_CHW)).clamp(0, 1), "grey: none"),
    )
    return Look(line, pictures, values)


def _still(clean_CHW: Tensor, decibel: float):
    pictures = {error: wrong(clean_CHW, error, decibel) for error in ERRORS}
    named = [(f"{error}\nSSIM {ssim(x, clean_CHW):.2f}", x) for error, x in pictures.items()]
    return [plots.picture_row(named)]
