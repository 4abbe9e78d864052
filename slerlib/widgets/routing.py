"""Choose the expert of each layer, or forbid some, and see what that path does to the picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
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
from . import drawing
from .album import GIVEN, SIDE, Album, Photograph
from .degrading import kind_and_severity, label, scores, triple
from .explorer import Explorer, dropdown, network
from .frames import Look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..model.network import SLERIR

NO_ONE = "-"


def route(
    model: SLERIR, image: Photograph, degradation: str = "rain", severity: float = 0.5, seed: int = 0, side: int = SIDE
) -> Explorer:
    """Explorer of the 3^8 paths of one degraded photograph, beginning with the path that the network chooses.

    image, degradation, severity, seed, side: as for `degrade_and_restore`.
    Controls: the expert of each layer, by the layer's name; buttons for the own path and for that of every anchor.
    Values: degraded, restored, path, psnr, gain (dB against the own path).
    Raises UserError as `degrade_and_restore`, and for a network that has no choice of experts.
    """
    case = _Case(model, image, degradation, severity, seed, side)
    paths = {"own path": case.own_path}
    classes = model.router.class_paths().tolist()
    paths |= {f"path of {name}": path for name, path in zip(model.router.names, classes, strict=True)}

    def make_controls():
        experts = range(model.cfg.experts)
        first = zip(STAGE_NAMES, paths["own path"], strict=True)
        return {name: dropdown(name, experts, e, "8em", f"Expert of the layer {name}") for name, e in first}

    def look(**experts: int) -> Look:
        path = [experts[stage] for stage in STAGE_NAMES]
        differ = sum(a != b for a, b in zip(path, case.own_path, strict=True))
        own = path_digits(case.own_path)
        words = f"which differs from the own path {own} at {differ} of {len(path)} layers"
        return case.look(path, words)

    buttons = {words: partial(_by_layer, path) for words, path in paths.items()}
    return Explorer("Force a path", make_controls, look, partial(_still, case, paths), buttons)


def forbid(
    model: SLERIR, image: Photograph, degradation: str = "rain", severity: float = 0.5, seed: int = 0, side: int = SIDE
) -> Explorer:
    """Explorer of a network without some of its experts: at those layers the next nearest pin chooses.

    image, degradation, severity, seed, side: as for `degrade_and_restore`.
    Controls: the forbidden expert of each layer, by the layer's name, or "-"; a button that allows all of them, and one
    that forbids the whole own path. Values: as for `route`, and forbidden, pairs of a layer and an expert.
    Raises UserError as `route`.
    """
    case = _Case(model, image, degradation, severity, seed, side)

    def make_controls():
        options = [NO_ONE, *(str(expert) for expert in range(model.cfg.experts))]
        return {stage: dropdown(stage, options, NO_ONE, "8em", f"Expert forbidden at {stage}") for stage in STAGE_NAMES}

    def look(**choice: str) -> Look:
        gone = [(n, int(choice[stage])) for n, stage in enumerate(STAGE_NAMES) if choice[stage] != NO_ONE]
        similarity_LE = case.own["trace"].similarity[0].clone()
        for layer, expert in gone:
            similarity_LE[layer, expert] = -float("inf")
        names = ", ".join(f"expert {expert} at {STAGE_NAMES[layer]}" for layer, expert in gone)
        words = f"without {names}" if gone else "with every expert"
        return case.look(similarity_LE.argmax(dim=-1).tolist(), words, tuple(gone))

    buttons = {
        "allow all": lambda: dict.fromkeys(STAGE_NAMES, NO_ONE),
        "forbid the own path": lambda: dict(zip(STAGE_NAMES, map(str, case.own_path), strict=True)),
    }
    without = {"own path": case.own_path}
    for layer, stage in enumerate(STAGE_NAMES):
        similarity_LE = case.own["trace"].similarity[0].clone()
        similarity_LE[layer, case.own_path[layer]] = -float("inf")
        without[f"without its expert at {stage}"] = similarity_LE.argmax(dim=-1).tolist()
    return Explorer("Forbid experts", make_controls, look, partial(_still, case, without), buttons)


def _by_layer(path: list[int]) -> dict[str, int]:
    return dict(zip(STAGE_NAMES, path, strict=True))


class _Case:
    """One degraded photograph, its own path, and what other paths make of it."""

    def __init__(self, model: SLERIR, image: Photograph, degradation: str, severity: float, seed: int, side: int):
        check_choice(network(model))
        self.model, self.clean = model, Album(image, side)[GIVEN]
        degradation, severity = kind_and_severity(degradation, severity)
        self.name = label(degradation, severity)
        self.own = scores(model, self.clean, degrade(self.clean, degradation, severity, seed), route="image")
        self.own_path: list[int] = self.own["trace"].path[0].tolist()
        self._restored: Callable[[tuple], Tensor] = lru_cache(maxsize=64)(
            lambda path: restore(model, self.own["degraded"], path=list(path))
        )

    def along(self, path: list[int]) -> dict[str, object]:
        """degraded, restored, path, psnr_input, psnr, gain."""
        restored_CHW = self._restored(tuple(path))
        score = psnr(restored_CHW, self.clean)
        gain = 0.0 if score == self.own["psnr"] else score - self.own["psnr"]  # equal also where both are infinite
        shared = {name: self.own[name] for name in ("degraded", "psnr_input")}
        return shared | {"restored": restored_CHW, "path": path, "psnr": score, "gain": gain}

    def look(self, path: list[int], words: str, forbidden: tuple = ()) -> Look:
        seen = self.along(path) | {"forbidden": forbidden}
        line = f"path {path_digits(path)}, {words}: restored {decibels(seen['psnr'], 2)}, "
        line += f"{seen['gain']:+.2f} dB against the own path."
        shown = drawing.path(path, self.model.cfg.experts, self.own_path, forbidden)
        return Look(line, triple(self.clean, seen, self.name), seen, (shown,))


def _still(case: _Case, paths: dict[str, list[int]]) -> list[Figure]:
    """Pictures of the own and of the worst path, and all paths with what they gain."""
    seen = {words: case.along(path) for words, path in paths.items()}
    worst = min(seen, key=lambda words: seen[words]["gain"])
    rows = [(words, case.clean, look["degraded"], look["restored"]) for words, look in seen.items()]
    shown = [row for row in rows if row[0] in ("own path", worst)]
    gains = [f"{words.removeprefix('path of ')}: {look['gain']:+.1f} dB" for words, look in seen.items()]
    labels = ["own path", *(gain.replace("-", "−") for gain in gains[1:])]
    return [plots.picture_grid(shown), plots.path_chart([path_digits(path) for path in paths.values()], labels)]
