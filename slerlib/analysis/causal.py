"""What the route does to the picture: experts forbidden, paths exchanged, embeddings moved.

    bench = PathBench(model, demo_cases(...), side=128)    # images encoded, routed and scored once
    knock_out(bench); path_swap(bench); single_expert(bench); route_rules(bench); geodesic_walk(bench)
    arc_routes(model.router, "rain", "blur")               # the routes alone, without an image

Usage shows which expert is chosen, not whether the choice matters. So here only the choice is changed: the image, the
guide map and all other layers stay. "dB lost" is the PSNR along the image's own route minus that along another route,
paired by image: positive = the own route is better. Means have 95 % bootstrap intervals over photographs, NaN for
fewer than 5.
Legend: N images, K anchors, L layers, E experts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .. import sphere
from ..config import LAYERS, STAGE_NAMES
from ..errors import UserError
from ..model.router import Router, path_digits
from .bench import PathBench
from .chance import corrected, modal_route, sign_flip

if TYPE_CHECKING:
    from pandas import DataFrame


def knock_out(bench: PathBench) -> DataFrame:
    """Forbid one expert at one layer; images that would take it go to the next nearest pin, the others do not change.

    Columns: layer, stage, expert, degradation, n, chosen (share of the images that took it), lost, lost_low, lost_high
    (mean dB over *all* images of the degradation), photographs, lost_if_chosen (over those that took it; NaN without
    any), p
    (sign-flip test over photographs, two-sided; NaN for an expert that was never chosen and for infinite dB) and
    p_corrected (Benjamini and Hochberg).
    """
    import pandas as pd

    loss, rows = _without_chosen(bench), []
    for layer in range(LAYERS):
        for name in bench.names:
            part = bench.rows(name)
            for expert in range(bench.experts):
                taken = bench.path[part, layer] == expert
                lost = np.where(taken, loss[part, layer], 0.0)
                cell = {"layer": layer, "stage": STAGE_NAMES[layer], "expert": expert, "degradation": name}
                cell |= {"n": len(part), "chosen": taken.mean()} | bench.mean(lost, part)
                cell["photographs"] = len(set(bench.scene[part]))
                cell["lost_if_chosen"] = lost[taken].mean() if taken.any() else np.nan
                cell["p"] = sign_flip(lost, bench.scene[part]) if taken.any() else np.nan
                rows.append(cell)
    table = pd.DataFrame(rows)
    return table.assign(p_corrected=corrected(table.p.to_numpy()))


def knock_out_layers(bench: PathBench) -> DataFrame:
    """Forbid at one layer the expert that each damaged image chose: eight tests, so that few photographs can decide.

    Columns: layer, stage, n (images, without clean ones), photographs, lost, lost_low, lost_high (mean dB), p
    (`sign_flip` over photographs) and p_corrected. Without damaged images the table is empty.
    """
    import pandas as pd

    part = np.flatnonzero(bench.label != "clean")  # the PSNR of a clean picture has no bound
    loss, scenes, rows = _without_chosen(bench)[part], bench.scene[part], []
    for layer, stage in enumerate(STAGE_NAMES if len(part) else ()):
        row = {"layer": layer, "stage": stage, "n": len(part), "photographs": len(set(scenes))}
        row |= bench.mean(loss[:, layer], part)
        rows.append(row | {"p": sign_flip(loss[:, layer], scenes)})
    table = pd.DataFrame(rows)
    return table.assign(p_corrected=corrected(table.p.to_numpy())) if rows else table


def _without_chosen(bench: PathBench) -> np.ndarray:
    """(N, L) dB that each image loses when its expert of one layer is forbidden: it goes to the next nearest pin."""
    order = np.argsort(-bench.similarity, axis=-1, kind="stable")  # (N, L, E)
    loss = np.zeros(bench.path.shape)
    for layer in range(LAYERS):
        other = bench.path.copy()
        ranked = order[:, layer]
        other[:, layer] = np.where(ranked[:, 0] == bench.path[:, layer], ranked[:, 1], ranked[:, 0])
        loss[:, layer] = bench.psnr - bench.along(other)
    return loss


def path_swap(bench: PathBench) -> DataFrame:
    """Restore every degradation along the usual path of every degradation that has one (`PathBench.usual`).

    Columns: degradation, path_of, path, differ (mean number of layers that change), lost, lost_low, lost_high, n.
    On the diagonal: own route against the usual one of the same degradation. `attrs["without"]`: the degradations
    without a usual path. The table is empty where no degradation has one.
    """
    import pandas as pd

    rows, usual = [], bench.usual()
    for path_of, path in usual.items():
        lost = bench.psnr - bench.along(path)
        for name in bench.names:
            part = bench.rows(name)
            row = {"degradation": name, "path_of": path_of, "path": path_digits(path), "n": len(part)}
            rows.append(row | {"differ": (bench.path[part] != path).sum(axis=1).mean()} | bench.mean(lost[part], part))
    columns = ["degradation", "path_of", "path", "n", "differ", "lost", "lost_low", "lost_high"]
    table = pd.DataFrame(rows, columns=columns)
    table.attrs["without"] = [name for name in bench.names if name not in usual]
    return table


def single_expert(bench: PathBench) -> DataFrame:
    """Restore everything by one expert number at all layers. Columns: degradation, expert, lost, lost_low/_high, n."""
    import pandas as pd

    rows = []
    for expert in range(bench.experts):
        lost = bench.psnr - bench.along(np.full(LAYERS, expert))
        for name in bench.names:
            part = bench.rows(name)
            rows.append({"degradation": name, "expert": expert, "n": len(part)} | bench.mean(lost[part], part))
    return pd.DataFrame(rows)


def route_rules(bench: PathBench, seed: int = 0) -> DataFrame:
    """Is the learned, layer-wise route more than a table from degradation to path?

    These rules replace the route: "modal" = the most frequent path of the image's degradation among *other*
    photographs; "oracle" = the path of that degradation's anchor, or "modal" without an anchor (these two use the true
    degradation); "anchor" = the path of the nearest anchor (a classifier with a table); "one path" = the most frequent
    path of all images; "random".
    Columns: rule, degradation (the last one "all", without clean), n, differ (images whose route changes), lost,
    lost_low, lost_high (dB, own route minus rule, mean over all n), lost_if_differ, _low, _high (over those alone).
    """
    import pandas as pd

    table_KL = bench.model.router.class_paths().cpu().numpy()
    anchors = bench.model.router.names
    own = np.array([anchors.index(name) if name in anchors else -1 for name in bench.label])
    modal = np.stack([_modal_elsewhere(bench, n) for n in range(len(bench.label))])
    rules = {"modal": modal, "oracle": np.where(own[:, None] >= 0, table_KL[own], modal)}
    rules["anchor"] = table_KL[bench.anchor_angle.argmin(axis=1)]
    rules["one path"] = np.broadcast_to(modal_route(bench.path), bench.path.shape)
    rules["random"] = np.random.default_rng(seed).integers(0, bench.experts, bench.path.shape)
    rows = []
    for rule, paths in rules.items():
        lost, changed = bench.psnr - bench.along(paths), (paths != bench.path).any(axis=1)
        for name in (*bench.names, "all"):
            part = bench.rows(name) if name != "all" else np.flatnonzero(bench.label != "clean")
            row = {"rule": rule, "degradation": name, "n": len(part), "differ": int(changed[part].sum())}
            row |= bench.mean(lost[part], part)
            some = part[changed[part]]
            empty = dict.fromkeys(("lost_if_differ", "lost_if_differ_low", "lost_if_differ_high"), np.nan)
            rows.append(row | (bench.mean(lost[some], some, "lost_if_differ") if len(some) else empty))
    return pd.DataFrame(rows)


def _modal_elsewhere(bench: PathBench, n: int) -> np.ndarray:
    """Most frequent path of the degradation of image n in other photographs; its own where there is no other."""
    others = (bench.label == bench.label[n]) & (bench.scene != bench.scene[n])
    return modal_route(bench.path[others]) if others.any() else bench.path[n]


def arc_routes(router: Router, start: str = "rain", end: str = "blur", steps: int = 21) -> DataFrame:
    """The routes along the shortest arc from one anchor to another, in equal steps.

    Columns: t (0 to 1), path, switched (names of the layers that changed since the last step, joined by "+"), nearest
    (anchor), angle_start and angle_end (degrees to the anchors of both ends).
    Raises UserError for names without an anchor, for fewer than 2 steps, and for a network without a sphere.
    """
    import pandas as pd

    names = router.names
    if router.linear_space:
        raise UserError("A walk along an arc needs a sphere; this network is 'linear'. Load another, such as 'tiny'.")
    if start not in names or end not in names or start == end or steps < 2:
        raise UserError(
            f"A walk of at least 2 steps leads from one anchor to another of {', '.join(names)}; got {start!r} to "
            f"{end!r} in {steps}. Correct the names."
        )
    apart = sphere.angle(*router.anchors[[names.index(start), names.index(end)]].double()).item()
    if apart > 179.9:  # as the two anchors of K = 2 are
        raise UserError(
            f"A walk takes the shortest arc between two anchors; {start} and {end} are {apart:.1f} degrees apart, "
            "where every way is equally short. Take a network with more classes."
        )
    t_S = torch.linspace(0, 1, steps, dtype=torch.float64)
    ends = [router.anchors[names.index(name)].double().cpu().expand(steps, -1) for name in (start, end)]
    trace = router.route(sphere.slerp(*ends, t_S).to(router.anchors))
    path_SL, angle_SK = trace.path.cpu().numpy(), trace.anchor_angle.cpu().numpy()
    changed_SL = np.diff(path_SL, axis=0, prepend=path_SL[:1]) != 0
    columns = {"t": t_S.numpy(), "path": [path_digits(path) for path in path_SL]}
    columns["switched"] = ["+".join(np.array(STAGE_NAMES)[changed]) for changed in changed_SL]
    columns["nearest"] = trace.nearest_anchor()
    columns |= {"angle_start": angle_SK[:, names.index(start)], "angle_end": angle_SK[:, names.index(end)]}
    return pd.DataFrame(columns)


def geodesic_walk(bench: PathBench, start: str = "rain", end: str = "blur", steps: int = 21) -> DataFrame:
    """Move the embedding from one anchor to another along the sphere and restore every image along the route it finds.

    Only the route moves; image and guide map stay. Columns: t, path and switched as in `arc_routes`, degradation, n,
    psnr and lost (own route minus this), each with _low and _high. Raises UserError as `arc_routes`.
    """
    import pandas as pd

    rows = []
    for step in arc_routes(bench.model.router, start, end, steps)[["t", "path", "switched"]].to_dict("records"):
        score = bench.along([int(expert) for expert in step["path"]])
        for name in bench.names:
            part = bench.rows(name)
            row = step | {"degradation": name, "n": len(part)} | bench.mean(score[part], part, "psnr")
            rows.append(row | bench.mean((bench.psnr - score)[part], part))
    return pd.DataFrame(rows)
