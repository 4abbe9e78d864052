"""The router: at every layer, the expert whose pin is nearest to the image [paper]; pins, gate and variants [ours].

    s_(l,e) = z . p_(l,e)      pi_l = softmax(s_l / temperature)      e*_l = argmax_e s_(l,e), ties to the lowest index

z is the embedding of the image, p the pin of expert e at layer l. The path is the 8 numbers e*_l. Training needs pi for
its gradient (`experts.gate`). Choices are made in float32 (float64 in a network of doubles).
Legend: B batch, L layers, E experts, K anchors (degradation classes), D embedding dimension.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import sphere
from ..config import LAYERS, ModelConfig
from ..errors import UserError
from . import doubt, pins, places
from .paths import path_digits

TIE = 1e-4  # two pins may be equally far from the target of a composite, by construction: rounding must not choose
FARTHEST = 0.5  # a station may turn the unit vector z by 30 degrees


@dataclass(frozen=True)
class Trace:
    """How each image of a batch was routed."""

    path: Tensor  # (B, L) int64, expert per layer
    similarity: Tensor  # (B, L, E) cosine to each pin (for sude = "linear": minus half the squared distance)
    embedding: Tensor  # (B, D)
    margin: Tensor  # (B, L) best minus second-best similarity; 2, the largest possible, with a single expert
    anchor_angle: Tensor  # (B, K) degrees
    anchor_names: tuple[str, ...]
    probability: Tensor  # (B, L, E) softmax over experts
    local_angle: Tensor | None = None  # (B, K, h, w) degrees from each place (token) to each anchor
    path_map: Tensor | None = None  # (B, L, h, w) int64, expert of each place; None: `path` holds all over the image
    place_probability: Tensor | None = None  # (B, L, h, w) of that expert, in the softmax over those of its place
    station_embedding: Tensor | None = None  # (B, L, D) what each layer saw by itself (router `sphere_stage`)
    station_angle: Tensor | None = None  # (B, L, K) degrees from there to each anchor
    passes: Tensor | None = None  # (B,) int64, how often `restore` ran the network on each image; None: once
    looks: tuple[Trace, ...] = ()  # what the network saw in its own results, one trace a look
    limits: Mapping[str, doubt.Limits] = field(default_factory=dict)  # by class: when a route is doubtful
    evidence: Tensor | None = None  # (B, N) signs of damage unlike the trained, then a 1 for the nearest class
    rule: doubt.Rule | None = None  # that weighs them

    def path_strings(self) -> list[str]:
        """One string of expert digits per image, e.g. "01201120"."""
        return [path_digits(row) for row in self.path]

    def nearest_anchor(self) -> list[str]:
        """Name of the anchor nearest to each image."""
        return [self.anchor_names[k] for k in self.anchor_angle.argmin(dim=1).tolist()]

    def where(self) -> Tensor:
        """(B, h, w) int64: the class whose anchor is nearest at each place; numbers of `anchor_names`."""
        if self.local_angle is None:
            raise UserError(
                "This trace has no local angles: its tiles found their own paths. Use route='image', and tile=0 where "
                "the router is sphere_stage."
            )
        return self.local_angle.argmin(dim=1)

    def own_limits(self) -> list[doubt.Limits]:
        """The limits of the class that is nearest to each image."""
        return [self.limits.get(name, doubt.GENERAL) for name in self.nearest_anchor()]

    def flags(self) -> list[list[str]]:
        """Reasons to distrust route and result, per image; an empty list without a reason (`model/doubt.py`)."""
        angles, margins = self.anchor_angle.amin(dim=1).tolist(), self.margin.amin(dim=1).tolist()
        rows = zip(self.nearest_anchor(), angles, margins, strict=True)
        unlike = [[]] * len(angles) if self.evidence is None else self.rule.reasons(self.evidence)
        return [doubt.reasons(*row, self.limits) + more for row, more in zip(rows, unlike, strict=True)]

    def unseen(self) -> Tensor | None:
        """(B,) score: above 0, likelier unlike the trained damage than like it; None where it was not judged."""
        return None if self.evidence is None else self.rule.scores(self.evidence)


class Router(nn.Module):
    """Holds the anchors (K, D) and the pins (L, E, D); makes a `Trace` of embeddings (B, D)."""

    def __init__(self, cfg: ModelConfig):
        super().__init__()
        self.kind, self.names, self.temperature = cfg.router, tuple(cfg.classes), cfg.temperature
        self.pin_init, self.linear_space = cfg.pin_init, cfg.sude == "linear"
        self.experts, dim = cfg.experts, cfg.embedding
        self.limits: dict[str, doubt.Limits] = {}  # by class, of the weights that are loaded
        self.rule: doubt.Rule | None = None  # likewise
        generator = torch.Generator().manual_seed(0)
        rotation = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))[0]
        # there are no class means before stage A: a simplex in a random rotation stands in (sude = "anchored" keeps it)
        self.register_buffer("anchors", (sphere.simplex(len(self.names), dim) @ rotation).float())
        if cfg.experts > 1:
            self.pins = nn.Parameter(torch.empty(LAYERS, cfg.experts, dim))
            self.place_pins()
            if self.kind == "linear":
                self.pin_bias = nn.Parameter(torch.zeros(LAYERS, cfg.experts))

    def _apply(self, fn, recurse: bool = True):
        """Anchors and pins stay float32 under `half()`, `bfloat16()` and `to(dtype)`: rounded pins choose others."""

        def precise(t: Tensor) -> Tensor:
            moved = fn(t)
            return moved if sphere.at_least_float32(moved) is moved else t.to(moved.device)

        return super()._apply(precise, recurse)

    # --- anchors and pins

    @torch.no_grad()
    def set_anchors(self, anchors_KD: Tensor) -> None:
        """Store the anchors (class means on held-out scenes) and place the pins between them."""
        self.anchors.copy_(anchors_KD if self.linear_space else sphere.normalise(anchors_KD))
        self.place_pins()

    @torch.no_grad()
    def place_pins(self) -> None:
        """Put the pins where `pins.place` wants them."""
        if self.experts > 1:
            self.pins.copy_(pins.place(self.anchors, self.experts, self.pin_init, self.linear_space))
        if hasattr(self, "pin_bias"):  # of a warm start: learned for other pins
            self.pin_bias.zero_()

    @torch.no_grad()
    def place_own(self, k: int, expert: int, z_ND: Tensor) -> None:
        """Place the anchor of class `k`, which joins a trained network, and the pins of its expert at every layer.

        Of all directions at right angles to the other anchors, which are farthest from all of them on a simplex, the
        anchor is the one nearest to the embeddings `z_ND` of the class; any of them where these have no part of it.
        Other anchors and pins keep every bit [ours].
        """
        others = torch.cat([self.anchors[:k], self.anchors[k + 1 :]]).double()
        rank = torch.linalg.matrix_rank(others, rtol=1e-4)  # corners of a simplex depend on each other, up to rounding
        basis = torch.linalg.svd(others, full_matrices=False)[2][:rank]
        chance = torch.randn(others.shape[1], generator=torch.Generator().manual_seed(k), dtype=torch.float64)
        for direction in (z_ND.double().mean(dim=0), chance.to(others)):
            rest = direction - basis.T @ (basis @ direction)
            if rest.norm() > 0.05 * direction.norm():
                break
        self.anchors[k] = sphere.normalise(rest).to(self.anchors)
        self.pins[:, expert] = self.anchors[k]

    @torch.no_grad()
    def placed(self) -> bool:
        """Whether the pins are where `place_pins` puts them: not moved since, but for rounding to float16."""
        if self.experts == 1:
            return True
        there = pins.place(self.anchors, self.experts, self.pin_init, self.linear_space)
        return bool((there - self.pins).norm() <= 1e-3 * self.pins.norm())

    @torch.no_grad()
    def normalise_pins(self) -> None:
        """Back onto the sphere after an optimiser step; a linear gate and a linear space have no sphere."""
        if self.experts > 1 and not self.linear_space and self.kind != "linear":
            self.pins.copy_(sphere.normalise(self.pins))

    # --- the choice

    def similarity(self, z_BD: Tensor, layer: int | None = None) -> Tensor:
        """(B, L, E) similarity to every pin, or (B, E) to those of one layer; float32 or float64."""
        points = self.pins if layer is None else self.pins[layer]
        dtype = torch.promote_types(sphere.at_least_float32(z_BD).dtype, points.dtype)
        z, points = z_BD.to(dtype), points.to(dtype)
        with torch.autocast(z.device.type, enabled=False):  # in bf16 near pins would tie
            dot = torch.einsum("bd,...ed->b...e", z, points)
        if self.kind == "linear":
            return dot + (self.pin_bias if layer is None else self.pin_bias[layer])
        if self.linear_space:  # -|z - p|^2 / 2, which on the unit sphere would be the cosine minus 1
            return dot - z.pow(2).sum(-1).view(-1, *[1] * (dot.ndim - 1)) / 2 - points.pow(2).sum(-1) / 2
        return dot

    def _all_layers(self, z_BD: Tensor) -> Tensor:
        """(B, L, E) similarity that decides: with the router `single` that of the first layer decides everywhere."""
        if self.experts == 1:
            return z_BD.new_ones(z_BD.shape[0], LAYERS, 1)
        similarity = self.similarity(z_BD)
        return similarity[:, :1].expand(-1, LAYERS, -1) if self.kind == "single" else similarity

    def route(
        self, z_BD: Tensor, path: Tensor | None = None, labels: Tensor | None = None, keys: list[int] | None = None
    ) -> Trace:
        """Trace of a batch: the path of the nearest pins, unless another decides.

        path: (B, L) forces the experts. labels: as `label_paths` takes them, for the router `oracle`. keys: one seed
        for each image, for the router `random`.
        """
        if path is None and self.kind == "oracle" and labels is not None:
            path = self.label_paths(labels)
        if path is None and self.kind == "random" and keys is not None:
            draws = [random.Random(key).choices(range(self.experts), k=LAYERS) for key in keys]
            path = torch.tensor(draws, device=z_BD.device)
        return self._trace(z_BD, self._all_layers(z_BD), path)

    def reroute(self, trace: Trace, layer: int, z_BD: Tensor, keep: Tensor | None = None) -> Trace:
        """The trace with the decision of one layer replaced by the nearest pin to `z_BD` (router `sphere_stage`),
        except in the images where `keep` (B, L) is true.
        """
        similarity, path = trace.similarity.clone(), trace.path.clone()
        similarity[:, layer] = self.similarity(z_BD, layer)
        nearest = similarity[:, layer].argmax(dim=-1)
        path[:, layer] = nearest if keep is None else torch.where(keep[:, layer], path[:, layer], nearest)
        return replace(self._trace(trace.embedding, similarity, path), local_angle=trace.local_angle)

    def with_stations(self, trace: Trace, z_BLD: Tensor) -> Trace:
        """The trace with what each layer saw."""
        return replace(trace, station_embedding=z_BLD, station_angle=self._anchor_angles(z_BLD))

    def _trace(self, z_BD: Tensor, similarity: Tensor, path: Tensor | None) -> Trace:
        if self.experts == 1:
            margin = torch.full_like(similarity[..., 0], 2.0)
        else:
            best = similarity.topk(2, dim=-1).values
            margin = best[..., 0] - best[..., 1]
        anchor_angle = self._anchor_angles(z_BD)
        probability = (similarity / self.temperature).softmax(dim=-1)
        # argmax returns the first of equal values: ties go to the lowest index
        path = similarity.argmax(dim=-1) if path is None else path
        return Trace(path, similarity, z_BD, margin, anchor_angle, self.names, probability, limits=self.limits)

    def place(self, trace: Trace, points_BDhw: Tensor) -> Trace:
        """The trace with a path for every place, by points of `places.points`; its path stays that of the image."""
        path, probability = places.choose(points_BDhw, self.pins, self.temperature)
        return replace(trace, path_map=path, place_probability=probability)

    @torch.no_grad()
    def _anchor_angles(self, points: Tensor) -> Tensor:
        """(..., K) degrees from points (..., D) to each anchor."""
        z = sphere.normalise(sphere.at_least_float32(points))
        return sphere.angle(z[..., None, :], sphere.normalise(self.anchors))

    @torch.no_grad()
    def local_angles(self, local_BDhw: Tensor) -> Tensor:
        """(B, K, h, w) degrees from each place of (B, D, h, w) to each anchor; the same measure as `sphere.angle`."""
        points, anchors = F.normalize(local_BDhw.float(), dim=1), sphere.normalise(self.anchors.float())
        cosine = torch.einsum("bdhw,kd->bkhw", points, anchors)
        return torch.rad2deg(2 * torch.atan2((1 - cosine).clamp(min=0).sqrt(), (1 + cosine).clamp(min=0).sqrt()))

    # --- where known degradations belong

    def class_paths(self) -> Tensor:
        """(K, L) int64: the path of an image that lies exactly on each anchor."""
        return self.label_paths(torch.arange(len(self.anchors), device=self.anchors.device))

    def label_paths(self, labels: Tensor) -> Tensor:
        """(B, L) int64: the path of an image that lies exactly where its labels put it.

        labels: (B,) int64, on the anchor of that class; or (B, K) bool, in the middle (`sphere.middles`) of the anchors
        of a set of classes, which is where training wants a composite [ours]. On a regular simplex that point is
        equally far from two pins at many layers; the lowest index within TIE then wins.
        """
        sets = labels.ndim == 2
        similarity = self._all_layers(self.targets(labels) if sets else self.anchors[labels])
        best = similarity.amax(dim=-1, keepdim=True)
        return (similarity >= best - (TIE if sets else 0)).int().argmax(dim=-1)

    def class_sets(self, tasks: Sequence[str]) -> Tensor | None:
        """(B, K) bool: the classes in each task ("rain", "rain+haze"), for `label_paths`; None where one is unknown."""
        sets = [set(task.split("+")) for task in tasks]
        if any(names - set(self.names) for names in sets):
            return None
        return torch.tensor([[name in names for name in self.names] for names in sets], device=self.anchors.device)

    def targets(self, parts_BK: Tensor) -> Tensor:
        """(B, D): where images with these sets of classes (bool) belong."""
        return sphere.middles(self.anchors, parts_BK, self.linear_space)


def bounded(view_BD: Tensor) -> Tensor:
    """The same direction, at most FARTHEST long. Without a bound Adam, whose step does not depend on the gradient, made
    the views of the stations many times as long as z, in directions of chance (docs/LOG.md)."""
    length = view_BD.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return view_BD * (FARTHEST * length.tanh() / length)


def expert_shares(trace: Trace) -> Tensor:
    """f (L, E): share of the images that run through each expert."""
    return F.one_hot(trace.path, trace.probability.shape[-1]).float().mean(dim=0)


def balance_loss(trace: Trace, used_LE: Tensor | None = None) -> Tensor:
    """Switch balance E sum_e f_e P_e, mean over layers: 1 when experts are used evenly (Fedus et al. 2022).

    `used_LE`: f, where it comes from more images than those of the trace.
    """
    used = expert_shares(trace) if used_LE is None else used_LE
    return used.shape[-1] * (used * trace.probability.mean(dim=0)).sum(dim=-1).mean()
