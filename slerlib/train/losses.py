"""Losses: Spherical Uniform Degradation Embedding (SUDE) for the encoder, L1 + FFT-L1 for restoration.

[paper]: degradation types evenly spaced on the unit hypersphere, by a triplet-constrained contrastive loss. [ours]:

    SupCon(tau = 0.2) + 1.0 batch-hard triplet (margin 0.5) + 0.1 uniformity of centroids (t = 2) + 0.1 consistency

Composites stay out of these, or a set of degradations would become a corner of the simplex; their loss is `composite`.
Legend: n samples, d embedding dimension, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import sphere
from ..config import TrainConfig


def similarity_matrix(z: Tensor, linear: bool = False) -> Tensor:
    """(n, n) cosine of unit vectors; in a linear space minus half the squared distance."""
    with torch.autocast(z.device.type, enabled=False):  # divided by tau, bf16 would be too coarse
        return -0.5 * (z[:, None] - z[None]).pow(2).sum(-1) if linear else z @ z.T


def supcon(similarity: Tensor, labels: Tensor, tau: float) -> Tensor:
    """Supervised contrastive loss, L_out of Khosla et al. 2020 (eq. 2), of `similarity` (n, n) and `labels` (n,).

    Samples without a positive do not count.
    """
    n = len(labels)
    itself = torch.eye(n, dtype=torch.bool, device=labels.device)
    positive = (labels[:, None] == labels) & ~itself
    logits = (similarity / tau).masked_fill(itself, float("-inf"))
    log_probability = (logits - logits.logsumexp(dim=1, keepdim=True)).masked_fill(itself, 0.0)
    count = positive.sum(dim=1)
    per_anchor = -(log_probability * positive).sum(dim=1) / count.clamp(min=1)
    return per_anchor[count > 0].mean() if bool((count > 0).any()) else similarity.sum() * 0


def batch_hard_triplet(similarity: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Triplet loss with the farthest positive and nearest negative (Hermans et al. 2017), distance = 1 - similarity."""
    same = labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    farthest = (1 - similarity).masked_fill(~positive, float("-inf")).amax(dim=1)
    nearest = (1 - similarity).masked_fill(same, float("inf")).amin(dim=1)
    valid = positive.any(dim=1) & (~same).any(dim=1)
    return F.relu(farthest - nearest + margin)[valid].mean() if bool(valid.any()) else similarity.sum() * 0


def centroid_uniformity(z: Tensor, labels: Tensor, t: float = 2.0) -> Tensor:
    """Uniformity of the class centroids present. On samples instead of centroids it would blow the classes up."""
    present = labels.unique()
    if len(present) < 2:
        return z.sum() * 0
    index = (labels[:, None] == present).float().argmax(dim=1)
    return sphere.uniformity(sphere.centroids(z, index, len(present)), t)


def consistency(z: Tensor, z_context: Tensor) -> Tensor:
    """1 - z . stopgrad z': the crop should have the embedding of its wider context."""
    return 1 - (z * z_context.detach()).sum(-1).mean()


def composite(z: Tensor, targets: Tensor, linear: bool = False) -> Tensor:
    """1 - z . target: pull composites (n, d) to the middle of their degradations' anchors; 0 without composites.

    In a linear space half the squared distance, which on the sphere is the same."""
    if not len(z):
        return z.sum() * 0
    return (z - targets).pow(2).sum(-1).mean() / 2 if linear else 1 - (z * targets).sum(-1).mean()


def anchor_cross_entropy(
    z: Tensor, labels: Tensor, anchors: Tensor, tau: float, linear: bool = False, weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy over the anchors: mode `anchored` (fixed simplex), and stage C, where anchors stand still.

    weights (K,) multiply the loss of each class's samples; the mean is over samples, so that parts of a batch add up.
    """
    if not len(z):  # a batch of composites alone
        return z.sum() * 0
    with torch.autocast(z.device.type, enabled=False):
        similarity = -0.5 * (z[:, None] - anchors).pow(2).sum(-1) if linear else z @ anchors.T
    loss = F.cross_entropy(similarity / tau, labels, reduction="none")
    return loss.mean() if weights is None else (loss * weights[labels]).mean()


def places(
    local_NDhw: Tensor, where_Nhw: Tensor, inside_NK: Tensor, outside_NK: Tensor, anchors: Tensor, tau: float
) -> Tensor:
    """Each place belongs to the anchor of what was done there: cross-entropy over the anchors, or the pull of
    `composite` where several degradations met [ours]. Places on a soft border (0.2 to 0.8) do not count.

    Mean over images of the mean over their regions, inside and outside the mask, of the mean over the places of each.
    """
    with torch.autocast(local_NDhw.device.type, enabled=False):
        cosine = torch.einsum("ndhw,kd->nkhw", local_NDhw.float(), anchors)
        logs = (cosine / tau).log_softmax(dim=1)
    total, regions = local_NDhw.sum(dim=(1, 2, 3)) * 0, local_NDhw.new_zeros(len(local_NDhw))
    for sets, share in ((inside_NK, (where_Nhw > 0.8).float()), (outside_NK, (where_Nhw < 0.2).float())):
        here = share.sum(dim=(1, 2))
        single = sets.sum(dim=1) == 1
        target = torch.einsum("ndhw,nd->nhw", local_NDhw.float(), sphere.middles(anchors, sets))
        loss = torch.where(single[:, None, None], -(logs * sets[:, :, None, None]).sum(dim=1), 1 - target)
        total = total + (loss * share).sum(dim=(1, 2)) / here.clamp(min=1)
        regions = regions + (here > 0)
    return (total / regions.clamp(min=1)).mean()


def colour(guess_N3hw: Tensor, degraded_N3HW: Tensor, clean_N3HW: Tensor) -> Tensor:
    """Mean absolute error of a guess at what the mean colour of each place lacks, clean minus degraded [ours].

    The names of classes do not ask how dark or how hazy a place is, so an encoder that learns those alone forgets it.
    clean may be at the resolution of the places already.
    """
    places = guess_N3hw.shape[-2:]
    lacks = F.adaptive_avg_pool2d(clean_N3HW, places) - F.adaptive_avg_pool2d(degraded_N3HW, places)
    return (guess_N3hw.float() - lacks).abs().mean()


def sude(
    z: Tensor,
    labels: Tensor,
    cfg: TrainConfig,
    mode: str = "emergent",
    anchors: Tensor | None = None,
    logits: Tensor | None = None,
    triplet: float = 1.0,
) -> dict[str, Tensor]:
    """Weighted terms of the SUDE loss by name (their sum is the loss). z (n, d), labels (n,).

    `emergent` finds its own simplex, `linear` does without the sphere, `anchored` pulls to fixed `anchors` (K, d),
    `ce` is a plain classifier with these `logits` (n, K).
    """
    if mode == "anchored":
        return {"anchor": anchor_cross_entropy(z, labels, anchors, cfg.tau)}
    if mode == "ce":
        return {"cross_entropy": F.cross_entropy(logits, labels)}
    linear = mode == "linear"
    similarity = similarity_matrix(z, linear)
    terms = {
        "supcon": supcon(similarity, labels, cfg.tau),
        "triplet": triplet * cfg.triplet_weight * batch_hard_triplet(similarity, labels, cfg.margin),
    }
    if not linear:  # centroids are evenly spaced on a sphere; a linear space has no such notion
        terms["uniformity"] = cfg.uniformity_weight * centroid_uniformity(z, labels)
    return terms


def restoration(y: Tensor, target: Tensor, fft_weight: float) -> Tensor:
    """Mean L1 of pixels + `fft_weight` x mean L1 of the orthonormal 2-D Fourier coefficients; (B, 3, H, W)."""
    difference = y.float() - target
    loss = difference.abs().mean()
    if fft_weight:  # the transform is linear: that of the difference is the difference of the transforms
        loss = loss + fft_weight * torch.view_as_real(torch.fft.rfft2(difference, norm="ortho")).abs().mean()
    return loss
