"""Pins: the points of the experts on the sphere, one per layer and expert, placed from the anchors [ours].

Legend: K anchors (degradation classes), L layers, E experts, D embedding dimension.
"""

from __future__ import annotations

import math
import random

import torch
from torch import Tensor

from .. import sphere
from ..config import LAYERS
from ..errors import UserError


def place(anchors_KD: Tensor, experts: int, how: str, linear: bool = False, seed: int = 0) -> Tensor:
    """(L, E, D) pins of the type of the anchors.

    how: "partition" puts each pin in the middle of a group of anchors, with other groups at each layer; "simplex" takes
        the corners of a simplex, turned per layer; "random" takes random points.
    linear: a space without a sphere, where pins are means, or as long as the anchors are on average.
    """
    dim = anchors_KD.shape[1]
    generator = torch.Generator().manual_seed(seed)
    scale = anchors_KD.norm(dim=1).mean() if linear else 1
    pins = []
    for groups in partitions(len(anchors_KD), experts, seed):
        if how == "partition":
            means = torch.stack([anchors_KD[group].mean(dim=0) for group in groups])
            pins.append(means if linear else sphere.normalise(means))
            continue
        rows = torch.randn(max(dim, experts), dim, generator=generator, dtype=torch.float64)
        if how == "simplex":
            rows = sphere.simplex(experts, dim) @ torch.linalg.qr(rows[:dim])[0]
        pins.append(sphere.normalise(rows[:experts]).to(anchors_KD) * scale)
    return torch.stack(pins)


def partitions(k: int, experts: int, seed: int = 0) -> list[list[list[int]]]:
    """One partition of k anchors into `experts` balanced groups per layer: groups[layer][expert] = anchor indices.

    Greedy [ours]: of 200 shuffles, each layer takes the one whose group mates have met least often in earlier layers,
    so that two classes share few experts. k = experts has a single partition, so all layers agree; k < experts raises
    UserError.
    """
    if k < experts:
        raise UserError(
            f"Partition pins need at least as many anchors as experts; got {k} anchors for {experts} experts. "
            "Lower model.experts."
        )
    rng = random.Random(seed)
    met = [[0] * k for _ in range(k)]  # how often two anchors shared a group
    result = []
    for _ in range(LAYERS):
        best, lowest = [[e] for e in range(experts)], math.inf
        for _ in range(200 if k > experts else 0):
            order = rng.sample(range(k), k)
            groups = [sorted(order[e::experts]) for e in range(experts)]
            cost = sum((met[a][b] + 1) ** 2 for group in groups for a in group for b in group if a < b)
            if cost < lowest:
                best, lowest = groups, cost
        for group in best:
            for a in group:
                for b in group:
                    met[a][b] += a != b
        result.append(best)
    return result
