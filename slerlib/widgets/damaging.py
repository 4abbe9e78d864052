"""Damage a photograph: one or two degradations, severity, seed, everywhere or in a place. No network is asked."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from .. import plots
from ..data.degrade import DEGRADATIONS, degradation_order, degrade
from ..data.masks import SHAPES, mask
from ..errors import UserError
from ..evaluation.metrics import psnr
from ..plots.pictures import decibels
from .album import GIVEN, SIDE, Album, Photograph
from .degrading import damage_controls, kind_and_severity
from .explorer import Explorer, dropdown
from .frames import Look, Picture

NOTHING, EVERYWHERE = "nothing else", "everywhere"


def damage(
    image: Photograph, degradation: str = "haze", severity: float = 0.5, seed: int = 0, side: int = SIDE
) -> Explorer:
    """Explorer of the degradations of a photograph, alone or two together, everywhere or in a place.

    image, degradation, severity, seed, side: as for `degrade_and_restore`.
    Controls: picture, degradation, severity, seed, and (a second degradation of the same severity), where (the shape of
    a mask). Values: degraded, change (what was added or taken, (3, H, W)), order (of the degradations), psnr_input.
    Raises UserError as `degrade_and_restore`.
    """
    album = Album(image, side)
    degradation, severity = kind_and_severity(degradation, severity)
    degrade(album[GIVEN], degradation, severity, seed)  # refuses a wrong start now, not in the widget
    if degradation not in DEGRADATIONS:
        raise UserError(f"The degradation is one of {', '.join(DEGRADATIONS)}; got {degradation!r}. Choose one.")

    def make_controls():
        return damage_controls(degradation, severity, seed) | {
            "and": dropdown("and", [NOTHING, *DEGRADATIONS], NOTHING, tip="A second degradation of the same severity"),
            "where": dropdown("where", [EVERYWHERE, *SHAPES], EVERYWHERE, tip="The place that is damaged"),
        }

    return Explorer("Damage", make_controls, partial(_look, album), partial(_still, album[GIVEN], seed), album=album)


def _look(album: Album, picture: str, degradation: str, severity: float, seed: int, where: str, **more: str) -> Look:
    clean_CHW, second = album[picture], more["and"]
    kinds = [degradation] if second in (NOTHING, degradation) else degradation_order([degradation, second])
    place_HW = None if where == EVERYWHERE else mask(where, *clean_CHW.shape[1:], seed, image=clean_CHW)
    degraded_CHW = degrade(clean_CHW, kinds, severity, seed, where=place_HW)
    change_CHW, score = degraded_CHW - clean_CHW, psnr(degraded_CHW, clean_CHW)
    lighter, darker = (change_CHW > 0.002).float().mean(), (change_CHW < -0.002).float().mean()
    line = f"{', then '.join(kinds)}, severity {severity:.2f}{'' if place_HW is None else f', {where}'}: "
    line += f"{decibels(score, 2)}; mean {clean_CHW.mean():.2f} becomes {degraded_CHW.mean():.2f}; "
    line += f"{lighter:.0%} of the values got lighter, {darker:.0%} darker."
    pictures = (
        Picture("clean", clean_CHW),
        Picture("damaged", degraded_CHW, decibels(score)),
        Picture("change", _signed(change_CHW), "grey: none"),
    )
    values = {"degraded": degraded_CHW, "change": change_CHW, "order": kinds, "psnr_input": score}
    return Look(line, pictures, values)


def _signed(change_CHW: Tensor) -> Tensor:
    """A change from -1 to 1 as a picture: grey where there is no change, else twice as strong as it is."""
    return (0.5 + change_CHW).clamp(0, 1)


def _still(clean_CHW: Tensor, seed: int):
    names = [name for name in DEGRADATIONS if name != "jpeg"]
    return [plots.degradation_grid([(name, clean_CHW) for name in names], (0.25, 0.5, 1.0), seed)]
