"""Choose a degradation, a severity and a seed; see the photograph degraded and restored, and what the network saw."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from .. import plots
from ..data.degrade import DEGRADATIONS, NOISE_CLASSES, degrade, sigma_of
from ..errors import UserError
from ..evaluation.metrics import psnr
from ..inference.restore import restore
from ..plots.pictures import decibels
from . import drawing
from .album import GIVEN, SIDE, Album, Photograph
from .explorer import Explorer, dropdown, network, number, slider
from .frames import Look, Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..model.network import SLERIR

STILL = (0.25, 0.5, 1.0)  # severities of the still twin


def degrade_and_restore(
    model: SLERIR, image: Photograph, degradation: str = "rain", severity: float = 0.5, seed: int = 0, side: int = SIDE
) -> Explorer:
    """Explorer of one photograph: degraded, restored, with its path and its angles to the anchors.

    image: a clean photograph, a (3, H, W) float32 tensor in [0, 1] or what `read_image` takes; its central side x side
        pixels are used. degradation, severity, seed: where to start, as in `slerlib.degrade`, but one degradation. The
        noise levels of the training are severities of noise here: noise15 is 0.3, noise25 0.5, noise50 1; clean is
        severity 0 of any.
    Controls: picture, degradation, severity, seed, and an own picture. Values: degraded, restored, psnr_input, psnr,
    trace.
    Raises UserError without a photograph or a network, and for a start that `slerlib.degrade` does not take.
    """
    network(model)
    album = Album(image, side)
    degradation, severity = kind_and_severity(degradation, severity)
    degrade(album[GIVEN], degradation, severity, seed)  # refuses a wrong start now, not in the widget
    start = partial(damage_controls, degradation, severity, seed)
    still = partial(_still, model, album[GIVEN], degradation, seed)
    return Explorer("Degrade and restore", start, partial(_look, model, album), still, album=album)


def damage_controls(degradation: str, severity: float, seed: int) -> dict:
    """degradation, severity and seed as controls."""
    return {
        "degradation": dropdown("degradation", DEGRADATIONS, degradation, tip="What damages the photograph"),
        "severity": slider("severity", severity, tip="How strong the damage is: 0 nothing, 1 worst"),
        "seed": number("seed", seed, "Another seed draws other rain, other haze"),
    }


def kind_and_severity(degradation: str, severity: float) -> tuple[str, float]:
    """A class of the training as a degradation with a severity: noise15 is noise at 0.3, clean is noise at 0."""
    if isinstance(degradation, (list, tuple)):
        raise UserError(f"An explorer takes one degradation; got {degradation!r}. For several see `slerlib.degrade`.")
    if degradation == "clean":
        return "noise", 0.0
    if degradation in NOISE_CLASSES:
        return "noise", NOISE_CLASSES[degradation] / sigma_of(1)
    return degradation, severity


def label(degradation: str, severity: float) -> str:
    """ "rain 0.50", and for noise its level in 0..255: "noise 25"."""
    return f"noise {sigma_of(severity):g}" if degradation == "noise" else f"{degradation} {severity:.2f}"


def scores(model: SLERIR, clean_CHW: Tensor, degraded_CHW: Tensor, route: str | None = None) -> dict[str, object]:
    """Restored as the network was trained to, or with that `route`: degraded, restored, psnr_input, psnr, trace."""
    restored_CHW, trace = restore(model, degraded_CHW, route=route, return_trace=True)
    values = {"psnr_input": psnr(degraded_CHW, clean_CHW), "psnr": psnr(restored_CHW, clean_CHW)}
    return {"degraded": degraded_CHW, "restored": restored_CHW, "trace": trace} | values


def triple(clean_CHW: Tensor, seen: dict, name: str) -> tuple[Picture, ...]:
    """Clean, degraded and restored side by side, with their PSNR."""
    return (
        Picture("clean", clean_CHW),
        Picture(name, seen["degraded"], decibels(seen["psnr_input"])),
        Picture("restored", seen["restored"], decibels(seen["psnr"])),
    )


def _look(model: SLERIR, album: Album, picture: str, degradation: str, severity: float, seed: int) -> Look:
    clean_CHW = album[picture]
    seen = scores(model, clean_CHW, degrade(clean_CHW, degradation, severity, seed))
    trace, name = seen["trace"], label(degradation, severity)
    line = f"{name}: input {decibels(seen['psnr_input'], 2)}, restored {decibels(seen['psnr'], 2)}; "
    line += f"path {trace.path_strings()[0]}; nearest anchor {trace.nearest_anchor()[0]}, "
    line += f"{trace.anchor_angle.min():.0f} degrees away"
    if flags := trace.flags()[0]:
        line += f"; speaks against this route: {', '.join(flags)}"
    drawings = (
        drawing.angles(trace.anchor_angle[0].tolist(), trace.anchor_names, trace.own_limits()[0].angle),
        drawing.path(trace.path[0].tolist(), trace.similarity.shape[-1]),
    )
    return Look(line + ".", triple(clean_CHW, seen, name), seen, drawings)


def _still(model: SLERIR, clean_CHW: Tensor, degradation: str, seed: int) -> list[Figure]:
    import torch

    names = [label(degradation, severity) for severity in STILL]
    looks = [scores(model, clean_CHW, degrade(clean_CHW, degradation, severity, seed)) for severity in STILL]
    rows = [(name, clean_CHW, look["degraded"], look["restored"]) for name, look in zip(names, looks, strict=True)]
    traces = [look["trace"] for look in looks]
    angles_BK = torch.cat([trace.anchor_angle for trace in traces])
    paths = plots.path_chart([trace.path_strings()[0] for trace in traces], names)
    return [plots.picture_grid(rows), paths, plots.angle_table(angles_BK, names, traces[0].anchor_names)]
