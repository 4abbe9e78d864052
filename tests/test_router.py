"""The router: partitions, pins, variants, trace."""

from pathlib import Path

import pytest
import torch

from slerlib import UserError, config, load, sphere
from slerlib.model.pins import partitions
from slerlib.model.router import Router, balance_loss


def router(*overrides):
    return Router(config.with_overrides(config.recipe("tiny"), ["model.route_by=image", *overrides]).model)


@pytest.mark.parametrize(("k", "experts"), [(8, 3), (5, 3), (7, 3), (11, 4), (6, 2)])
def test_partitions_are_balanced_and_differ_between_layers(k, experts):
    groups = partitions(k, experts)
    assert len(groups) == 8
    for layer in groups:
        assert sorted(a for group in layer for a in group) == list(range(k))
        assert max(map(len, layer)) - min(map(len, layer)) <= 1
    assert len({tuple(sorted(map(tuple, layer))) for layer in groups}) >= 7


def test_partition_with_as_many_classes_as_experts_is_the_same_everywhere():
    assert partitions(3, 3) == [[[0], [1], [2]]] * 8
    with pytest.raises(UserError, match="2 anchors for 3 experts"):
        partitions(2, 3)


def test_pins_are_the_normalised_sums_of_their_groups():
    net = router()
    groups = partitions(8, 3)
    expected = sphere.normalise(net.anchors[groups[2][1]].sum(0))
    torch.testing.assert_close(net.pins[2, 1], expected)
    members = torch.tensor([[next(e for e, g in enumerate(layer) if k in g) for layer in groups] for k in range(8)])
    assert torch.equal(net.class_paths(), members)  # an anchor goes where its group goes
    different = (members[:, None] != members).sum(-1)[~torch.eye(8, dtype=torch.bool)].float()
    assert different.min() >= 3 and different.mean() > 5


def kept(net, spread):
    """Share of points within `spread` degrees of their anchor that keep the whole class path."""
    generator = torch.Generator().manual_seed(0)
    noise = sphere.normalise(torch.randn(8, 100, net.anchors.shape[1], generator=generator))
    tangent = sphere.normalise(noise - (noise * net.anchors[:, None]).sum(-1, keepdim=True) * net.anchors[:, None])
    angle = torch.deg2rad(torch.tensor(float(spread)))
    z = net.anchors[:, None] * angle.cos() + tangent * angle.sin()
    path = net.route(z.flatten(0, 1)).path.unflatten(0, (8, 100))
    return (path == net.class_paths()[:, None]).all(-1).float().mean().item()


def test_partition_pins_keep_a_class_on_its_path():
    assert kept(router(), 10) == 1.0
    assert kept(router("model.pin_init=random"), 10) < 0.9
    assert kept(router("model.pin_init=simplex"), 10) < 0.9


@pytest.mark.parametrize("pin_init", ["partition", "simplex", "random"])
def test_as_many_experts_as_the_smallest_embedding_allows(pin_init):
    net = router("model.classes=rain,haze,clean", "model.embedding=2", f"model.pin_init={pin_init}")
    torch.testing.assert_close(net.pins.norm(dim=-1), torch.ones(8, 3))


def test_anchors_move_the_pins_along():
    net = router()
    anchors = sphere.normalise(torch.randn(8, 64))
    net.set_anchors(3 * anchors)
    torch.testing.assert_close(net.anchors, anchors)
    torch.testing.assert_close(net.pins[0, 0], sphere.normalise(anchors[partitions(8, 3)[0][0]].sum(0)))


def test_ties_go_to_the_lowest_index():
    net = router()
    with torch.no_grad():
        net.pins.copy_(net.pins[:, :1].expand(-1, 3, -1))
    trace = net.route(sphere.normalise(torch.randn(4, 64)))
    assert trace.path.max() == 0 and trace.margin.max() == 0
    assert all("margin" in reasons[0] for reasons in trace.flags())


def test_trace_is_what_it_says():
    net = router()
    trace = net.route(net.anchors)
    assert trace.nearest_anchor() == list(config.CLASSES)
    torch.testing.assert_close(trace.similarity, torch.einsum("bd,led->ble", net.anchors, net.pins))
    assert torch.equal(trace.path, trace.similarity.argmax(-1))
    best = trace.similarity.sort(-1, descending=True).values
    torch.testing.assert_close(trace.margin, best[..., 0] - best[..., 1])
    torch.testing.assert_close(trace.probability, (trace.similarity / 0.2).softmax(-1))
    assert trace.anchor_angle.diagonal().max() < 0.1 and trace.anchor_angle.max() > 90
    assert trace.path_strings()[0] == "".join(map(str, trace.path[0].tolist()))
    assert trace.flags() == [[]] * 8
    assert any("unlike the trained" in reason for reason in net.route(-net.anchors[:1]).flags()[0])


def test_linear_space_picks_the_nearest_pin():
    net = router("model.sude=linear")
    net.set_anchors(torch.randn(8, 64) * 5)
    z = torch.randn(20, 64) * 5
    nearest = torch.cdist(z[:, None].expand(-1, 8, -1).transpose(0, 1), net.pins).argmin(-1).T
    assert torch.equal(net.route(z).path, nearest)
    before = net.pins.detach().clone()
    net.normalise_pins()
    assert torch.equal(net.pins, before)


def test_router_variants():
    z = sphere.normalise(torch.randn(30, 64))
    single = router("model.router=single").route(z).path
    assert torch.equal(single, single[:, :1].expand(-1, 8)) and len(single.unique()) == 3
    oracle = router("model.router=oracle")
    labels = torch.arange(30) % 8
    assert torch.equal(oracle.route(z, labels=labels).path, oracle.class_paths()[labels])
    assert torch.equal(oracle.route(z).path, router().route(z).path)
    random = router("model.router=random").route(z, keys=list(range(30))).path
    assert torch.equal(random, router("model.router=random").route(z, keys=list(range(30))).path)
    counts = torch.bincount(random.flatten(), minlength=3) / random.numel()
    assert counts.min() > 0.25
    forced = torch.zeros(30, 8, dtype=torch.long)
    assert torch.equal(oracle.route(z, forced, labels).path, forced)


def test_pins_return_to_the_sphere():
    net = router()
    with torch.no_grad():
        net.pins.mul_(3)
    net.normalise_pins()
    torch.testing.assert_close(net.pins.norm(dim=-1), torch.ones(8, 3))


def test_routing_is_float32_under_autocast():
    net, z = router(), sphere.normalise(torch.randn(50, 64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        trace = net.route(z)
    assert trace.similarity.dtype == torch.float32
    assert torch.equal(trace.path, net.route(z).path)


def test_balance_is_one_when_even_and_grows_when_one_expert_takes_all():
    net = router()
    even = balance_loss(net.route(net.anchors)).item()
    alone = balance_loss(net.route(net.anchors[:1].expand(8, -1))).item()
    assert 0.9 < even < 1.3 and alone > 2


@pytest.mark.parametrize("name", ["tiny", "small", "small-places"])
def test_the_choices_state_the_cosines_of_the_shipped_anchors(name):
    """A simplex in `tiny` and `small-places`; those of `small` emerged, although its recipe names one."""
    router = load(name, "cpu").router
    cosines = (router.anchors @ router.anchors.T)[torch.ones(8, 8).triu(1).bool()]
    row = next(
        line
        for line in (Path(__file__).parent.parent / "docs/choices.md").read_text().splitlines()
        if line.startswith("| fixed anchors")
    )
    for value in (cosines.min(), cosines.max(), cosines.mean()):
        assert f"{value:+.2f}" in row or f"{value:.2f}" in row
    assert (cosines.std() > 0.2) == (name == "small") and f"{-1 / 7:.2f}" in row
