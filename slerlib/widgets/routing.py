"""Force the expert of each layer and see what that path does to the picture."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from .. import plots
from ..analysis.bench import check_choice
from ..config import STAGE_NAMES
from ..data.degrade import degrade
from ..evaluation.metrics import psnr
from ..inference.restore import restore
from ..model.router import path_digits
from ..plots.pictures import decibels
from .degrading import kind_and_severity, label, scores
from .explorer import SIDE, Explorer, Look, Photograph, central, dropdown, network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..model.network import SLERIR


def route(
    model: SLERIR, image: Photograph, degradation: str = "rain", severity: float = 0.5, seed: int = 0, side: int = SIDE
) -> Explorer:
    """Explorer of the 3^8 paths of one degraded photograph, beginning with the path that the network chooses.

    image, degradation, severity, seed, side: as for `degrade_and_restore`.
    Controls: the expert of each layer, by the layer's name; buttons for the own path and for that of every anchor.
    Values: degraded, restored, path, psnr, gain (dB against the own path).
    Raises UserError as `degrade_and_restore`, and for a network that has no choice of experts.
    """
    check_choice(network(model))
    clean_CHW = central(image, side)
    degradation, severity = kind_and_severity(degradation, severity)
    own = scores(model, clean_CHW, degrade(clean_CHW, degradation, severity, seed))
    paths = {"own path": own["trace"].path[0].tolist()}
    classes = model.router.class_paths().tolist()
    paths |= {f"path of {name}": path for name, path in zip(model.router.names, classes, strict=True)}

    def make_controls():
        experts = range(model.cfg.experts)
        first = zip(STAGE_NAMES, paths["own path"], strict=True)
        return {stage: dropdown(stage, experts, expert, "8em") for stage, expert in first}

    buttons = {words: dict(zip(STAGE_NAMES, path, strict=True)) for words, path in paths.items()}
    fixed = (model, clean_CHW, label(degradation, severity), own)
    return Explorer(make_controls, partial(_look, *fixed), partial(_still, *fixed, paths), buttons)


def _along(model: SLERIR, clean_CHW: Tensor, own: dict, path: list[int]) -> dict[str, object]:
    restored_CHW = restore(model, own["degraded"], path=path)
    score = psnr(restored_CHW, clean_CHW)
    gain = 0.0 if score == own["psnr"] else score - own["psnr"]  # equal also where both are infinite
    return {"degraded": own["degraded"], "restored": restored_CHW, "path": path, "psnr": score, "gain": gain}


def _look(model: SLERIR, clean_CHW: Tensor, name: str, own: dict, **experts: int) -> Look:
    seen = _along(model, clean_CHW, own, [experts[stage] for stage in STAGE_NAMES])
    own_path = own["trace"].path[0].tolist()
    differ = sum(a != b for a, b in zip(seen["path"], own_path, strict=True))
    line = f"path {path_digits(seen['path'])}, which differs from the own path {path_digits(own_path)} "
    line += f"at {differ} of {len(own_path)} layers: restored {decibels(seen['psnr'], 2)}, "
    line += f"{seen['gain']:+.2f} dB against the own path."
    return Look(line, (plots.picture_grid([(name, clean_CHW, seen["degraded"], seen["restored"])]),), seen)


def _still(model: SLERIR, clean_CHW: Tensor, name: str, own: dict, paths: dict[str, list[int]]) -> list[Figure]:
    """Pictures of the own and of the worst path, and all paths with what they gain."""
    seen = {words: _along(model, clean_CHW, own, path) for words, path in paths.items()}
    worst = min(seen, key=lambda words: seen[words]["gain"])
    rows = [(words, clean_CHW, look["degraded"], look["restored"]) for words, look in seen.items()]
    shown = [row for row in rows if row[0] in ("own path", worst)]
    gains = [f"{words.removeprefix('path of ')}: {look['gain']:+.1f} dB" for words, look in seen.items()]
    labels = ["own path", *(gain.replace("-", "−") for gain in gains[1:])]
    return [plots.picture_grid(shown), plots.path_chart([path_digits(path) for path in paths.values()], labels)]
