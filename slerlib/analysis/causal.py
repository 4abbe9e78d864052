"""What the route does to the picture: experts forbidden, paths exchanged, embeddings moved, damage put in one place.

    bench = PathBench(model, demo_cases(...), side=128)    # images encoded once, their own route and score known
    knock_out(bench); path_swap(bench); single_expert(bench); route_rules(bench)

Use says which expert is chosen, not whether the choice matters. So here the choice is changed and nothing else: the
guide map, the image and all other layers stay. "dB lost" is the PSNR along the image's own route minus that along the
other, paired by image; means carry 95 % bootstrap intervals over photographs. Positive = the own route is better.
Legend: N images, K anchors, L layers, E experts, C channels, H W pixels, h w token map.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .. import sphere
from ..cases import Case, LoadedCase, centre, loaded
from ..config import LAYERS, STAGE_NAMES
from ..errors import UserError
from ..model.network import SLERIR
from ..restore import evaluating
from .bench import PathBench
from .chance import clustered_mean, corrected, path_string, sign_flip
from .sweeps import modal_route

if TYPE_CHECKING:
    from pandas import DataFrame


def knock_out(bench: PathBench) -> DataFrame:
    """Forbid one expert at one layer; images that would take it go to the next nearest pin, all others are untouched.

    Columns: layer, stage, expert, degradation, n, chosen (share of the images that took it), lost, lost_low, lost_high
    (mean dB over *all* images of the degradation), lost_if_chosen (over those that took it; NaN for none), p (sign-flip
    test over photographs, two-sided; NaN where it was never chosen) and p_corrected (Benjamini and Hochberg).
    """
    import pandas as pd

    order = np.argsort(-bench.similarity, axis=-1, kind="stable")  # (N, L, E)
    loss = np.zeros(bench.path.shape)
    for layer in range(LAYERS):
        other = bench.path.copy()
        ranked = order[:, layer]
        other[:, layer] = np.where(ranked[:, 0] == bench.path[:, layer], ranked[:, 1], ranked[:, 0])
        loss[:, layer] = bench.psnr - bench.along(other)
    rows = []
    for layer in range(LAYERS):
        for name in bench.names:
            part = bench.rows(name)
            for expert in range(bench.experts):
                taken = bench.path[part, layer] == expert
                lost = np.where(taken, loss[part, layer], 0.0)
                cell = {"layer": layer, "stage": STAGE_NAMES[layer], "expert": expert, "degradation": name}
                cell |= {"n": len(part), "chosen": taken.mean()} | bench.mean(lost, part)
                cell["lost_if_chosen"] = lost[taken].mean() if taken.any() else np.nan
                cell["p"] = sign_flip(lost, bench.content[part]) if taken.any() else np.nan
                rows.append(cell)
    table = pd.DataFrame(rows)
    tested = table.p.notna()
    table.loc[tested, "p_corrected"] = corrected(table.p[tested].to_numpy())
    return table


def path_swap(bench: PathBench) -> DataFrame:
    """Restore every degradation along the most frequent path of every degradation.

    Columns: degradation, path_of, path, differ (mean number of layers that change), lost, lost_low, lost_high, n.
    On the diagonal: own route against the most frequent one of the same degradation.
    """
    import pandas as pd

    rows = []
    for path_of, path in bench.modal().items():
        lost = bench.psnr - bench.along(path)
        for name in bench.names:
            part = bench.rows(name)
            told = {"degradation": name, "path_of": path_of, "path": path_string(path), "n": len(part)}
            told["differ"] = (bench.path[part] != path).sum(axis=1).mean()
            rows.append(told | bench.mean(lost[part], part))
    return pd.DataFrame(rows)


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

    Rules that replace it: "modal" = the most frequent path of the image's degradation among *other* photographs;
    "oracle" = the path of that degradation's anchor (both are told the degradation); "anchor" = the path of the nearest
    anchor (told nothing: a classifier with a table); "one path" = the most frequent path of all; "random".
    Columns: rule, degradation (the last "all", which leaves clean out), n, differ (images whose route changes), lost,
    lost_low, lost_high (dB, own route minus rule, mean over all n), lost_if_differ, _low, _high (over those alone).
    """
    import pandas as pd

    table_KL = bench.model.router.class_paths().cpu().numpy()
    anchors = bench.model.router.names
    told = np.array([anchors.index(name) if name in anchors else -1 for name in bench.label])
    modal = np.stack([_modal_elsewhere(bench, n) for n in range(len(bench.label))])
    rules = {"modal": modal, "oracle": np.where(told[:, None] >= 0, table_KL[told], modal)}
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
    others = (bench.label == bench.label[n]) & (bench.content != bench.content[n])
    return modal_route(bench.path[others]) if others.any() else bench.path[n]


def geodesic_walk(bench: PathBench, start: str = "rain", end: str = "blur", steps: int = 21) -> DataFrame:
    """Move the embedding from one anchor to another along the sphere and restore every image along the route it finds.

    Only the route moves; image and guide map stay. Columns: t (0 to 1), path, switched (names of the layers that
    changed since the last step, joined by "+"), degradation, n, psnr and lost (own route minus this), each
    with _low and _high. Raises UserError for names without an anchor and for fewer than 2 steps.
    """
    import pandas as pd

    names, router = bench.model.router.names, bench.model.router
    if start not in names or end not in names or start == end or steps < 2:
        raise UserError(
            f"A walk of at least 2 steps leads from one anchor to another of {', '.join(names)}; got {start!r} to "
            f"{end!r} in {steps}. Correct the names."
        )
    t_S = torch.linspace(0, 1, steps, dtype=torch.float64)
    ends = [router.anchors[names.index(name)].double().cpu().expand(steps, -1) for name in (start, end)]
    z_SD = sphere.slerp(*ends, t_S).to(router.anchors)
    path_SL = router.route(z_SD).path.cpu().numpy()
    rows = []
    for s, path in enumerate(path_SL):
        score = bench.along(path)
        changed = np.flatnonzero(path != path_SL[max(s - 1, 0)])
        step = {"t": float(t_S[s]), "path": path_string(path), "switched": "+".join(STAGE_NAMES[n] for n in changed)}
        for name in bench.names:
            part = bench.rows(name)
            row = step | {"degradation": name, "n": len(part)} | bench.mean(score[part], part, "psnr")
            rows.append(row | bench.mean((bench.psnr - score)[part], part))
    return pd.DataFrame(rows)


def guide_response(
    model: SLERIR, cases: Iterable[Case | LoadedCase], mask: str = "left", side: int = 192
) -> tuple[DataFrame, dict[str, tuple[Tensor, ...]]]:
    """Does GLGF see *where* damage is? Each case's damage is kept inside a mask only, and maps are held against it.

    mask: "left" = the left half; "disc" = a disc of a third of the side about the centre. `side`: central pixels used.
    Maps, at token resolution: "gate" = 1 - a, the share of the local token; "guide" = length of the guide vector, less
    its mean over the image; "guide change" = distance to the guide map of the clean image (needs the clean image; says
    whether the change stays local). Each is told apart by the area under the ROC curve against the true mask (tokens
    that the border of the mask crosses count to the side where more of them lies). 0.5 is chance; below, the map is
    *lower* where the damage is. "clean": the same map of the undamaged image, what the picture itself explains.
    Returns the table - degradation, map, n, auc, auc_low, auc_high, clean (AUC), gain (auc - clean), gain_low,
    gain_high - and for each degradation (input (3, H, W), mask (H, W), guide change (h, w), gate (h, w)) of its first
    image. AUC is the mean over images.
    Raises UserError for a network without a guide map, and for an unknown mask.
    """
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    if mask not in ("left", "disc"):
        raise UserError(f"mask is 'left' or 'disc'; got {mask!r}. Choose one.")
    if model.glgf.guide is None:
        raise UserError("This network has no guide map (glgf 'off' or inject 'none'). Load another checkpoint.")
    rows, shown, weight = [], {}, next(model.parameters())
    for case in loaded(cases):
        clean, damaged = centre(case.target, side), centre(case.input, side)
        where_HW = _mask(mask, *clean.shape[1:])
        mixed = torch.where(where_HW, damaged, clean)
        with evaluating(model), torch.inference_mode():
            seen = model.encode(model.pad(torch.stack([mixed, clean]).to(weight.device, weight.dtype)))
        guide, gate = seen.guide.float().cpu(), None if seen.gate is None else 1 - seen.gate.float().cpu()
        h, w = (length // model.cfg.stride for length in clean.shape[1:])  # tokens of the padding are left out
        inside = F.adaptive_avg_pool2d(where_HW[None, None, : h * model.cfg.stride, : w * model.cfg.stride].float(),
                                       (h, w))[0, 0] > 0.5  # fmt: skip
        strength = guide.norm(dim=1)
        maps = {"guide change": ((guide[0] - guide[1]).norm(dim=0), None), "guide": (strength[0], strength[1])}
        maps |= {} if gate is None else {"gate": (gate[0], gate[1])}
        for name, (map_hw, before_hw) in maps.items():
            auc = roc_auc_score(inside.ravel(), map_hw[:h, :w].ravel())
            before = 0.5 if before_hw is None else roc_auc_score(inside.ravel(), before_hw[:h, :w].ravel())
            rows.append((case.task, name, f"{case.dataset}/{case.image}", auc, before))
        shown.setdefault(case.task, (mixed, where_HW, maps["guide change"][0][:h, :w],
                                     None if gate is None else gate[0][:h, :w]))  # fmt: skip
    each = pd.DataFrame(rows, columns=["degradation", "map", "content", "auc", "clean"])
    result = []
    for (task, name), part in each.groupby(["degradation", "map"], sort=False):
        row = {"degradation": task, "map": name, "n": len(part), "clean": part.clean.mean()}
        for key, values in (("auc", part.auc), ("gain", part.auc - part.clean)):
            mean, low, high = clustered_mean(values, part.content)
            row |= {key: mean, f"{key}_low": low, f"{key}_high": high}
        result.append(row)
    return pd.DataFrame(result), shown


def _mask(kind: str, height: int, width: int) -> Tensor:
    """(H, W) bool: where the damage is kept."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    if kind == "left":
        return x < width // 2
    return (y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 3) ** 2
