"""What the route does to the picture: experts forbidden, paths exchanged, embeddings moved, damage put in one place.

    bench = PathBench(model, demo_cases(...), side=128)    # images encoded once, their own route and score known
    knock_out(bench); path_swap(bench); single_expert(bench); route_rules(bench)

Use says which expert is chosen, not whether the choice matters. So here the choice is changed and nothing else: the
guide map, the image and all other layers stay. "dB lost" is the PSNR along the image's own route minus that along the
other, paired by image; means carry 95 % bootstrap intervals over photographs. Positive = the own route is better.
Legend: N images, K anchors, L layers, E experts, C channels, H W pixels, h w token map.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .. import sphere
from ..cases import Case, LoadedCase, centre, loaded
from ..config import LAYERS, STAGE_NAMES
from ..errors import UserError
from ..metrics import psnr
from ..model.network import SLERIR
from ..restore import evaluating
from .chance import clustered_mean, corrected, path_string
from .sweeps import modal_route

if TYPE_CHECKING:
    from pandas import DataFrame


class PathBench:
    """Images ready to be restored along any path: encoded once, scored on demand, no (image, path) twice.

    cases: as `slerlib.cases` makes them. side: so many central pixels are used, so that images share a batch and a run
    takes a minute. batch: images of one size restored at once.
    Attributes, one row per image: label, content, psnr_input, path (N, L) its own route, similarity (N, L, E), psnr
    (along the own route), anchor_angle (N, K). For a router that decides on the way (`sphere_stage`) a forced layer
    leaves later decisions as they were. Raises UserError for a single expert, for `dense`, which has no route, and
    without cases.
    """

    def __init__(self, model: SLERIR, cases: Iterable[Case | LoadedCase], side: int = 128, batch: int = 16):
        if model.cfg.experts < 2 or model.cfg.router == "dense":
            raise UserError(
                "Paths can be exchanged where each image takes one of several experts; this network has "
                f"{model.cfg.experts} and router {model.cfg.router!r}. Load a routed checkpoint, such as 'tiny'."
            )
        cases = list(cases)
        if not cases:
            raise UserError("An experiment needs at least one image; got none. Check the data.")
        self.model, self.batch, self.experts = model, batch, model.cfg.experts
        self.label = np.array([case.task for case in cases], dtype=object)
        self.content = np.array([f"{case.dataset}/{case.image}" for case in cases], dtype=object)
        self.names = tuple(dict.fromkeys(self.label))
        pairs = [(centre(case.input, side), centre(case.target, side)) for case in loaded(cases)]
        self._input, self._target = map(list, zip(*pairs, strict=True))
        self.psnr_input = np.array([psnr(a, b) for a, b in zip(self._input, self._target, strict=True)])
        self.path = np.zeros((len(cases), LAYERS), dtype=int)
        self.similarity = np.zeros((len(cases), LAYERS, self.experts))
        self.anchor_angle = np.zeros((len(cases), len(model.router.names)))
        self._known: dict[tuple[int, bytes], float] = {}
        self._encode()
        self.psnr = self.along(self.path)

    def _encode(self) -> None:
        """Route every image; keep its guide map and trace, and the score of its own route where that comes for free."""
        self._guides: list[Tensor | None] = [None] * len(self.label)
        self._traces = [None] * len(self.label)
        stagewise = self.model.cfg.router == "sphere_stage"
        with evaluating(self.model), torch.inference_mode():
            for rows in self._groups(range(len(self.label))):
                x = self._stack(self._input, rows)
                encoding = self.model.encode(x)
                trace = self.model.route(encoding, x_BCHW=x)
                if stagewise:
                    trace = self.model.backbone(x, encoding.guide, trace)[1]
                for b, n in enumerate(rows):
                    self._guides[n] = None if encoding.guide is None else encoding.guide[b]
                    self._traces[n] = (trace.embedding[b], trace.similarity[b])
                for name in ("path", "similarity", "anchor_angle"):
                    getattr(self, name)[rows] = getattr(trace, name).cpu().numpy()

    def _groups(self, rows: Iterable[int]):
        """Lists of at most `batch` row numbers whose images have one size."""
        by_size: dict[tuple, list[int]] = {}
        for n in rows:
            by_size.setdefault(tuple(self._input[n].shape), []).append(n)
        for members in by_size.values():
            yield from (members[k : k + self.batch] for k in range(0, len(members), self.batch))

    def _stack(self, images: Sequence[Tensor], rows: Sequence[int]) -> Tensor:
        weight = next(self.model.parameters())
        return self.model.pad(torch.stack([images[n] for n in rows]).to(weight.device, weight.dtype))

    def restored(self, rows: Sequence[int], path_BL: np.ndarray) -> list[Tensor]:
        """The images `rows` (of one size) restored along given paths: (3, H, W) in [0, 1] each."""
        model = self.model
        with evaluating(model), torch.inference_mode():
            x = self._stack(self._input, rows)
            z_BD = torch.stack([self._traces[n][0] for n in rows])
            path = torch.as_tensor(np.asarray(path_BL, dtype=np.int64), device=x.device)
            trace = model.router.route(z_BD, path)
            guide = None if self._guides[rows[0]] is None else torch.stack([self._guides[n] for n in rows])
            y = model.backbone(x, guide, trace, reroute=False)[0]
        height, width = self._input[rows[0]].shape[1:]
        return list(y[..., :height, :width].clamp(0, 1).float().cpu())

    def along(self, path, rows: Sequence[int] | None = None) -> np.ndarray:
        """PSNR in dB of the images `rows` (all by default) along a path for all, (L,), or for each, (n, L)."""
        rows = np.arange(len(self.label)) if rows is None else np.asarray(rows)
        paths = np.broadcast_to(np.asarray(path, dtype=int), (len(rows), LAYERS))
        if paths.min(initial=0) < 0 or paths.max(initial=0) >= self.experts:
            raise UserError(f"Experts are numbered 0 to {self.experts - 1}; got {path}. Correct the path.")
        keys = [(int(n), p.tobytes()) for n, p in zip(rows, paths, strict=True)]
        wanted = {int(n): [] for n in rows}
        for key, p in zip(keys, paths, strict=True):
            if key not in self._known:
                self._known[key] = np.nan
                wanted[key[0]].append(p)
        for n in range(max(map(len, wanted.values()), default=0)):  # each round at most one path per image
            round_ = {row: paths[n] for row, paths in wanted.items() if n < len(paths)}
            for group in self._groups(round_):
                chosen = np.stack([round_[row] for row in group])
                for row, p, y in zip(group, chosen, self.restored(group, chosen), strict=True):
                    self._known[row, p.tobytes()] = psnr(y, self._target[row])
        return np.array([self._known[key] for key in keys])

    def rows(self, label: str) -> np.ndarray:
        """Row numbers of a degradation."""
        return np.flatnonzero(self.label == label)

    def mean(self, values: np.ndarray, rows: np.ndarray, name: str = "lost") -> dict[str, float]:
        """name, name_low, name_high: mean over these rows with its interval."""
        mean, low, high = clustered_mean(values, self.content[rows])
        return {name: mean, f"{name}_low": low, f"{name}_high": high}

    def modal(self) -> dict[str, np.ndarray]:
        """Most frequent path of each degradation among these images."""
        return {name: modal_route(self.path[self.rows(name)]) for name in self.names}


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


def sign_flip(values, contents, draws: int = 2000, seed: int = 0) -> float:
    """p of a mean of 0 when the sign of each photograph's contribution is a coin: the paired permutation test."""
    total = np.bincount(np.unique(np.asarray(contents, str), return_inverse=True)[1], np.asarray(values, float))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (draws, len(total)))
    return float((1 + (np.abs(signs @ total) >= abs(total.sum()) - 1e-12).sum()) / (1 + draws))


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
