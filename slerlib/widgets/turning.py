"""Turn the sphere: anchors, the pins and cells of a layer, and where a photograph lies.

The sphere of the network has many dimensions: its 8 anchors alone span 7 or 8. The globe shows three directions of it.
Its surface is the part of the sphere that lies in these three; there the cells are exact. Any other point is drawn at
its shadow (its orthogonal projection), inside the globe: how far out says how much of the point the view shows.
Legend: K anchors (degradation classes), L layers, E experts, D embedding dimension.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from .. import plots, sphere
from ..config import STAGE_NAMES
from ..data.degrade import degrade
from ..errors import UserError
from ..inference.restore import restore
from ..plots.sphere import belief
from ..plots.style import class_looks, expert_colour
from . import drawing
from .album import GIVEN, SIDE, Album, Photograph
from .degrading import damage_controls, kind_and_severity, label
from .explorer import Explorer, dropdown, network
from .frames import Look, Picture

if TYPE_CHECKING:
    from ..analysis.embedding import Map
    from ..model.network import SLERIR

WIDEST, NEAREST, NO_LAYER = "most variance", "3 nearest anchors", "none"


def globe(
    model: SLERIR, image: Photograph, degradation: str = "rain", severity: float = 0.5, seed: int = 0, side: int = SIDE
) -> Explorer:
    """Explorer of the sphere as a globe to turn, with anchors, the pins and cells of a layer, and a photograph's point.

    image, degradation, severity, seed, side: as for `degrade_and_restore`.
    Controls: picture, degradation, severity, seed, layer (whose cells are shown), view (the three directions: those of
    most variance of the anchors, or those of the three anchors nearest to the photograph, which then lie on the
    surface). Values: trace, axes (3, D), share (of the squared length of the photograph's point that the view holds),
    anchor_share (of the anchors, on average).
    Raises UserError as `degrade_and_restore`, and for a network without a sphere.
    """
    if network(model).router.linear_space or len(model.router.names) < 3:
        raise UserError(
            "A globe needs a sphere with at least three anchors; this network has "
            f"{len(model.router.names)} and sude {model.cfg.sude}. Use a checkpoint such as 'tiny'."
        )
    album = Album(image, side)
    degradation, severity = kind_and_severity(degradation, severity)
    degrade(album[GIVEN], degradation, severity, seed)

    def make_controls():
        layers = [NO_LAYER, *STAGE_NAMES] if model.cfg.experts > 1 else [NO_LAYER]
        first = layers[min(1, len(layers) - 1)]
        return damage_controls(degradation, severity, seed) | {
            "layer": dropdown("layer", layers, first, tip="Whose cells are shown"),
            "view": dropdown("view", [WIDEST, NEAREST], WIDEST, "17em", "Which three directions of the sphere"),
        }

    def still():
        trace = restore(model, degrade(album[GIVEN], degradation, severity, seed), return_trace=True)[1]
        names = trace.anchor_names
        point = plots.sphere_view(trace.embedding, [degradation], model.router.anchors, names)
        return [point, plots.angle_bars(trace.anchor_angle[0], names, trace.own_limits()[0].angle)]

    return Explorer("Globe", make_controls, partial(_look, model, album), still, album=album, stage=_globe)


def _globe():
    from .parts import Globe

    return Globe()


def directions(anchors_KD: Tensor, nearest: list[int] | None = None) -> Tensor:
    """(3, D) orthonormal: of most variance of the anchors, or spanning the three of `nearest` (`sphere.widest`)."""
    return sphere.widest(anchors_KD if nearest is None else anchors_KD[nearest], 3)


def _look(
    model: SLERIR, album: Album, picture: str, degradation: str, severity: float, seed: int, layer: str, view: str
) -> Look:
    degraded_CHW, name = degrade(album[picture], degradation, severity, seed), label(degradation, severity)
    trace = restore(model, degraded_CHW, return_trace=True)[1]
    names, z_D = trace.anchor_names, trace.embedding[0].double()
    anchors_KD = sphere.normalise(model.router.anchors.detach().cpu().double())
    order = trace.anchor_angle[0].argsort().tolist()
    axes_3D = directions(anchors_KD, order[:3] if view == NEAREST else None)
    shadow_K3, z_3 = anchors_KD @ axes_3D.T, axes_3D @ z_D
    looks = class_looks(names, ())
    shadows = zip(names, shadow_K3.tolist(), strict=True)
    points = [_anchor(name, looks[name]["color"], at) for name, at in shadows]
    cells, colours, words = [], [], ""
    if layer != NO_LAYER:
        number = STAGE_NAMES.index(layer)
        cells = (sphere.normalise(model.router.pins[number].detach().cpu().double()) @ axes_3D.T).tolist()
        colours = [expert_colour(expert) for expert in range(len(cells))]
        points += [
            {"kind": "pin", "name": f"pin {e}", "colour": colours[e], "size": 8, "at": at} for e, at in enumerate(cells)
        ]
        words = f"; at {layer} the nearest pin is that of expert {int(trace.path[0, number])}"
    points.append({"kind": "picture", "name": "this picture", "colour": "#ffffff", "size": 7, "at": z_3.tolist()})
    share, held = z_3.square().sum().item(), shadow_K3.square().sum(dim=1)
    line = f"{name}: nearest anchor {names[order[0]]}, {trace.anchor_angle[0, order[0]]:.0f} degrees away{words}."
    hint = f"Three of {len(z_D)} directions: they hold {share:.0%} of this picture's point and {held.mean():.0%} of "
    hint += "the anchors. What is drawn close may be far apart; the angles beside are exact. "
    hint += "Hollow: anchors; diamonds: pins."
    inside = ", ".join(f"{name} {part:.0%}" for name, part in zip(names, held.tolist(), strict=True))
    scene = {
        "points": points,
        "cells": cells,
        "cell_colours": colours,
        "title": "three directions of the sphere" + (f", cells of {layer}" if cells else ""),
        "hint": hint,
        "alt": f"A globe with {len(names)} anchors; this picture is nearest to {names[order[0]]}. Share of each anchor "
        f"that lies in this view: {inside}.",
    }
    values = {"trace": trace, "axes": axes_3D, "share": share, "anchor_share": held.mean().item()}
    key = drawing.key({f"expert {e}": colour for e, colour in enumerate(colours)}, f"cells of {layer}") if cells else ""
    bars = drawing.angles(trace.anchor_angle[0].tolist(), names, trace.own_limits()[0].angle)
    still = (drawing.globe(points, scene["title"], scene["alt"]),)
    return Look(line, (Picture(name, degraded_CHW, wide=170),), values, (bars, key), {"scene": scene}, still)


def map_globe(chart: Map, labels: list[str], names: list[str] = ()) -> Explorer:
    """A map on the sphere as a globe to turn: `plots.globe_view` for the mouse.

    chart: from `slerlib.analysis.embedding.make_map(..., "umap_sphere")`. labels: the degradation of each image. names:
    of the anchors. Controls: only, a degradation to show alone. Values: shown, how many points.
    Raises UserError for a map of the plane.
    """
    if chart.points.shape[1] != 3:
        raise UserError(f"A globe needs points on a sphere; this map is {chart.method!r}. Use plots.map_view for it.")
    labels = [str(label) for label in labels]
    looks, everything = class_looks(names, labels), "all"

    def make_controls():
        return {"only": dropdown("only", [everything, *dict.fromkeys(labels)], everything, tip="Show one degradation")}

    def look(only: str) -> Look:
        shown = [
            (kind, at) for kind, at in zip(labels, chart.points.tolist(), strict=True) if only in (everything, kind)
        ]
        colour = {kind: look.get("markerfacecolor", look["color"]) for kind, look in looks.items()}
        points = [{"kind": "image", "colour": _hex(colour[kind]), "size": 4, "at": at} for kind, at in shown]
        anchors = [] if chart.anchors is None else zip(names, chart.anchors.tolist(), strict=True)
        points += [_anchor(name, looks[name]["color"], at) for name, at in anchors]
        line = " ".join(part for part in belief(chart) if part) + "."
        scene = {"points": points, "cells": [], "cell_colours": [], "title": "map on a sphere", "alt": line}
        scene["hint"] = "Filled: images and crops. Large, hollow: anchors."
        key = drawing.key({kind: _hex(colour[kind]) for kind in dict.fromkeys(labels)}, "degradation")
        still = (drawing.globe(points, scene["title"], line),)
        return Look(line, (), {"shown": len(shown)}, (key,), {"scene": scene}, still)

    return Explorer("Globe", make_controls, look, lambda: [plots.globe_view(chart, labels, names)], stage=_globe)


def _anchor(name: str, colour: str, at: list[float]) -> dict[str, object]:
    return {"kind": "anchor", "name": name, "colour": colour, "size": 8, "at": at}


def _hex(colour: str) -> str:
    from matplotlib.colors import to_hex

    return to_hex(colour)
