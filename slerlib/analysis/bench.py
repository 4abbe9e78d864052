"""Images that are encoded once and then restored along any path; no image runs along a path twice.

Legend: N images, K anchors, L layers, E experts, B batch, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..config import LAYERS
from ..errors import UserError
from ..evaluation.cases import Case, LoadedCase, centre, loaded
from ..evaluation.metrics import psnr
from ..inference.load import evaluating
from ..model.network import SLERIR
from .chance import mean_interval, usual_route


def check_choice(model: SLERIR) -> None:
    """Raises UserError for a network without a choice of experts."""
    if model.cfg.experts < 2 or model.cfg.router == "dense":
        raise UserError(
            "A path can be changed where each image takes one of several experts; this network has "
            f"{model.cfg.experts} and router {model.cfg.router!r}. Load a routed checkpoint, such as 'tiny'."
        )


class PathBench:
    """Images with their encodings, own routes and scores; `along` restores and scores them along any path.

    cases: as `slerlib.evaluation.cases` makes them. side: central pixels used, so that images share a batch and a run
    takes a minute. batch: images of one size restored at once.
    Attributes, one row per image: label, scene, psnr_input, path (N, L) its own route, similarity (N, L, E), psnr
    (along the own route), anchor_angle (N, K). With a router that decides inside the backbone (`sphere_stage`) a forced
    layer does not change later decisions. Raises UserError without cases, and for a network without a choice.
    """

    def __init__(self, model: SLERIR, cases: Iterable[Case | LoadedCase], side: int = 128, batch: int = 16):
        check_choice(model)
        cases = list(cases)
        if not cases:
            raise UserError("An experiment needs at least one image; got none. Check the data.")
        self.model, self.batch, self.experts = model, batch, model.cfg.experts
        self.label = np.array([case.task for case in cases], dtype=object)
        self.scene = np.array([f"{case.dataset}/{case.image}" for case in cases], dtype=object)
        self.names = tuple(dict.fromkeys(self.label))
        pairs = [(centre(case.input, side), centre(case.target, side)) for case in loaded(cases)]
        self._input, self._target = map(list, zip(*pairs, strict=True))
        self.psnr_input = np.array([psnr(a, b) for a, b in zip(self._input, self._target, strict=True)])
        self.path = np.zeros((len(cases), LAYERS), dtype=int)
        self.similarity = np.zeros((len(cases), LAYERS, self.experts))
        self.anchor_angle = np.zeros((len(cases), len(model.router.names)))
        self._scores: dict[tuple[int, bytes], float] = {}
        self._encode()
        self.psnr = self.along(self.path)

    def _encode(self) -> None:
        """Route every image; store its guide map and embedding for all paths."""
        self._guides: list[Tensor | None] = [None] * len(self.label)
        self._embeddings: list[Tensor | None] = [None] * len(self.label)
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
                    self._embeddings[n] = trace.embedding[b]
                for name in ("path", "similarity", "anchor_angle"):
                    getattr(self, name)[rows] = getattr(trace, name).cpu().numpy()
        if self.model.cfg.router == "oracle":  # it gets the true degradation, as in `evaluate`
            for n, task in enumerate(self.label):
                if (parts := self.model.router.class_sets([task])) is not None:
                    self.path[n] = self.model.router.label_paths(parts)[0].cpu().numpy()

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
        """The images `rows` (of one size), each restored along its row of `path_BL`: (3, H, W) in [0, 1]."""
        model = self.model
        with evaluating(model), torch.inference_mode():
            x = self._stack(self._input, rows)
            z_BD = torch.stack([self._embeddings[n] for n in rows])
            path = torch.as_tensor(np.asarray(path_BL, dtype=np.int64), device=x.device)
            trace = model.router.route(z_BD, path)
            guide = None if self._guides[rows[0]] is None else torch.stack([self._guides[n] for n in rows])
            y = model.backbone(x, guide, trace, reroute=False)[0]
        height, width = self._input[rows[0]].shape[1:]
        return list(y[..., :height, :width].clamp(0, 1).float().cpu())

    def along(self, path, rows: Sequence[int] | None = None) -> np.ndarray:
        """PSNR in dB of `rows` (different images, all by default) along a path for all, (L,), or for each, (n, L)."""
        rows = np.arange(len(self.label)) if rows is None else np.asarray(rows)
        paths = np.broadcast_to(np.asarray(path, dtype=int), (len(rows), LAYERS))
        if paths.min(initial=0) < 0 or paths.max(initial=0) >= self.experts:
            raise UserError(f"Experts are numbered 0 to {self.experts - 1}; got {path}. Correct the path.")
        keys = [(int(n), p.tobytes()) for n, p in zip(rows, paths, strict=True)]
        todo = {key[0]: p for key, p in zip(keys, paths, strict=True) if key not in self._scores}
        for group in self._groups(todo):
            chosen = np.stack([todo[n] for n in group])
            for n, p, y in zip(group, chosen, self.restored(group, chosen), strict=True):
                self._scores[n, p.tobytes()] = psnr(y, self._target[n])
        return np.array([self._scores[key] for key in keys])

    def rows(self, label: str) -> np.ndarray:
        """Row numbers of a degradation."""
        return np.flatnonzero(self.label == label)

    def mean(self, values: np.ndarray, rows: np.ndarray, name: str = "lost") -> dict[str, float]:
        """name, name_low, name_high: mean over these rows with its interval, NaN for fewer than 5 photographs."""
        return mean_interval(name, values, self.scene[rows])

    def usual(self) -> dict[str, np.ndarray]:
        """The usual path of each degradation that has one: more than half of its images here take it."""
        routes = {name: usual_route(self.path[self.rows(name)]) for name in self.names}
        return {name: route for name, route in routes.items() if route is not None}
