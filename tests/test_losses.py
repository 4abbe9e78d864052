"""SUDE and restoration losses, against pytorch-metric-learning and direct formulas."""

import pytest
import torch
from pytorch_metric_learning import distances, miners
from pytorch_metric_learning import losses as oracle
from torch import nn

from slerlib import sphere
from slerlib.config import TrainConfig
from slerlib.train import losses

LABELS = torch.arange(24) % 4


@pytest.fixture
def z():
    return sphere.normalise(torch.randn(24, 16, generator=torch.Generator().manual_seed(3)))


def test_supcon_equals_the_oracle(z):
    ours = losses.supcon(losses.similarity_matrix(z), LABELS, 0.2)
    assert ours.item() == pytest.approx(oracle.SupConLoss(temperature=0.2)(z, LABELS).item(), rel=1e-5)


def test_batch_hard_triplet_equals_the_oracle(z):
    distance = distances.CosineSimilarity()
    triplets = miners.BatchHardMiner(distance=distance)(z, LABELS)
    expected = oracle.TripletMarginLoss(margin=0.5, distance=distance)(z, LABELS, triplets)
    ours = losses.batch_hard_triplet(losses.similarity_matrix(z), LABELS, 0.5)
    # the oracle averages over the triplets that are not yet satisfied, ours over all anchors
    similarity = z @ z.T
    same = LABELS[:, None] == LABELS
    eye = torch.eye(24, dtype=torch.bool)
    hardest = similarity.masked_fill(same, -9).amax(1) - similarity.masked_fill(~same | eye, 9).amin(1) + 0.5
    share = (hardest > 0).float().mean()
    assert share > 0
    assert ours.item() == pytest.approx(expected.item() * share.item(), rel=1e-5)


def test_samples_without_positive_or_negative_do_not_break(z):
    alone = torch.arange(24)
    assert losses.supcon(z @ z.T, alone, 0.2).item() == 0
    assert losses.batch_hard_triplet(z @ z.T, alone, 0.5).item() == 0
    assert losses.batch_hard_triplet(z @ z.T, torch.zeros(24, dtype=torch.long), 0.5).item() == 0
    assert losses.centroid_uniformity(z, torch.zeros(24, dtype=torch.long)).item() == 0


def test_centroid_uniformity_is_that_of_the_means(z):
    means = torch.stack([sphere.normalise(z[LABELS == k].mean(0)) for k in range(4)])
    assert losses.centroid_uniformity(z, LABELS).item() == pytest.approx(sphere.uniformity(means).item(), abs=1e-6)
    gaps = LABELS * 2  # labels need not be consecutive
    assert losses.centroid_uniformity(z, gaps).item() == pytest.approx(sphere.uniformity(means).item(), abs=1e-6)


def test_linear_similarity_is_minus_half_the_squared_distance():
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(losses.similarity_matrix(x, linear=True), -0.5 * torch.cdist(x, x).pow(2))


@pytest.mark.parametrize("terms", ["all", "triplet only"])
def test_free_embeddings_leave_a_narrow_cone_only_with_supcon(terms):
    """Why tau = 0.2: from a narrow cone, all terms reach the simplex (-0.25), the triplet alone stays put."""
    generator = torch.Generator().manual_seed(0)
    free = nn.Parameter(torch.randn(1, 32, generator=generator) + 0.1 * torch.randn(50, 32, generator=generator))
    labels = torch.arange(50) % 5
    optimiser = torch.optim.Adam([free], 0.02)
    cfg = TrainConfig()
    for _ in range(250):
        z = sphere.normalise(free)
        parts = losses.sude(z, labels, cfg)
        loss = sum(parts.values()) if terms == "all" else parts["triplet"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    means = sphere.centroids(sphere.normalise(free.detach()), labels, 5)
    between = ((means @ means.T).sum() - 5) / 20
    if terms == "all":
        assert between.item() == pytest.approx(-0.25, abs=0.02)
    else:
        assert between.item() > -0.1


def test_consistency_moves_the_crop_and_not_the_context(z):
    crop, context = z.clone().requires_grad_(), sphere.normalise(torch.randn(24, 16)).requires_grad_()
    losses.consistency(crop, context).backward()
    assert crop.grad.abs().sum() > 0
    assert context.grad is None
    assert losses.consistency(z, z).item() == pytest.approx(0, abs=1e-6)


def test_restoration_is_l1_plus_fourier_l1():
    generator = torch.Generator().manual_seed(0)
    y, target = torch.rand(2, 3, 16, 16, generator=generator), torch.rand(2, 3, 16, 16, generator=generator)
    spectrum = torch.fft.rfft2(y, norm="ortho") - torch.fft.rfft2(target, norm="ortho")
    fourier = torch.stack([spectrum.real, spectrum.imag]).abs().mean()
    expected = (y - target).abs().mean() + 0.1 * fourier
    assert losses.restoration(y, target, 0.1).item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses.restoration(y, target, 0.0).item() == pytest.approx((y - target).abs().mean().item())
