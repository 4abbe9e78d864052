"""The invariants of the network: counts, exactness, live mechanisms, shapes."""

import itertools

import pytest
import torch

from slerlib import SLERIR, UserError, config, parameter_counts, sphere
from slerlib.model import blocks, windows
from slerlib.model.fusion import Injection
from slerlib.train.losses import restoration


def make(*overrides, seed=0, live=True):
    """A small network; `live` gives the zero-initialised parts random weights, as after some training."""
    torch.manual_seed(seed)
    net = SLERIR(config.with_overrides(config.recipe("tiny"), ["model.route_by=image", *overrides]).model)
    if live:
        with torch.no_grad():
            for parameter in net.parameters():
                if parameter.abs().max() == 0:
                    parameter.normal_(0, 0.1)
    return net.eval()


def image(*shape, seed=1):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "active", "total"),
    [
        ("tiny", 409_923, 1_055_523),
        ("small", 1_032_115, 2_922_099),
        ("base", 6_855_075, 19_872_675),
        ("paper", 26_126_644, 70_785_084),  # Restormer has exactly 26,126,644 parameters
    ],
)
def test_parameter_counts(name, active, total):
    with torch.device("meta"):
        counts = parameter_counts(_built_on_meta(name))
    assert (counts["active"], counts["total"]) == (active, total)
    if name == "paper":
        assert (counts["stages"], counts["shared"]) == (22_329_220, 3_797_424)


def _built_on_meta(name):
    cfg = config.recipe(name).model
    with torch.device("cpu"):  # anchors and pins are computed, not only shaped
        return SLERIR(cfg)


def test_every_path_exists():
    net = make()
    every = list(itertools.product(range(3), repeat=8))
    paths = torch.tensor(every[::80])
    assert len(every) == 6561 and all(len(layer.unique()) == 3 for layer in paths.T)
    x = image(1, 3, 16, 16)
    with torch.inference_mode():
        results = torch.cat([net(x, path=path) for path in paths])
    assert len(results.flatten(1).unique(dim=0)) == len(paths)


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (64, 40), (33, 130)])
@pytest.mark.parametrize("block", ["naf", "restormer"])
def test_any_size_keeps_its_shape(size, block):
    net = make(f"model.block={block}")
    with torch.inference_mode():
        y, trace = net(image(2, 3, *size), return_trace=True)
    assert y.shape == (2, 3, *size) and bool(y.isfinite().all())
    assert trace.path.shape == (2, 8) and trace.path.dtype == torch.int64
    assert trace.similarity.shape == (2, 8, 3) and trace.margin.shape == (2, 8) and trace.anchor_angle.shape == (2, 8)


@pytest.mark.parametrize("shape", [(1, 3, 15, 40), (3, 32, 32), (1, 1, 32, 32)])
def test_what_the_network_cannot_take_is_refused(shape):
    with pytest.raises(UserError, match="at least 16 pixels"):
        make()(image(*shape))


def test_pixels_of_whole_numbers_are_refused():
    with pytest.raises(UserError, match="floating point.*uint8"):
        make()((image(1, 3, 16, 16) * 255).byte())


def test_batch_routing_and_output_equal_one_by_one():
    net = make()
    x = torch.cat([image(3, 3, 40, 48), torch.rand(1, 3, 40, 48) * 0.1, torch.zeros(1, 3, 40, 48)])
    path = torch.randint(3, (5, 8))
    with torch.inference_mode():
        together, trace = net(x, return_trace=True)
        mixed = net(x, path=path)
        for n in range(5):
            alone, single = net(x[n : n + 1], return_trace=True)
            assert torch.equal(single.path[0], trace.path[n])
            torch.testing.assert_close(alone[0], together[n], atol=1e-5, rtol=0)
            torch.testing.assert_close(net(x[n : n + 1], path=path[n])[0], mixed[n], atol=1e-5, rtol=0)


def test_output_is_exactly_the_chosen_expert():
    """The gate must not change the forward value by a single bit, with or without gradient."""
    net = make()
    x = image(3, 3, 32, 32)
    y, trace = net(x, return_trace=True)
    assert y.requires_grad and trace.probability.requires_grad
    with torch.no_grad():
        assert torch.equal(net(x, path=trace.path), y)


def test_one_expert_equals_the_dense_network():
    net, dense = make(), make("model.experts=1")
    weights = {k: v for k, v in net.state_dict().items() if ".experts." not in k or ".experts.0." in k}
    del weights["router.pins"]
    dense.load_state_dict(weights)
    x = image(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(dense(x), net(x, path=[0] * 8))
        assert torch.equal(dense(x, return_trace=True)[1].path, torch.zeros(2, 8, dtype=torch.long))


def test_identical_experts_make_the_path_irrelevant():
    net = make()
    for stage in net.stages:
        for expert in stage.experts[1:]:
            expert.load_state_dict(stage.experts[0].state_dict())
    x = image(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(net(x, path=[0, 1, 2, 0, 1, 2, 0, 1]), net(x, path=[0] * 8))


def test_encoder_does_not_depend_on_the_number_of_experts():
    one, three = (make(*o, live=False).encoder.state_dict() for o in (["model.experts=1"], []))
    assert all(torch.equal(one[key], three[key]) for key in three)


def test_guide_map_is_the_identity_at_the_start_and_matters_later():
    net = make(live=False)
    x = image(1, 3, 32, 32)
    with torch.inference_mode():
        encoding = net.encode(x)
        trace = net.route(encoding)
        with_guide, without = net.backbone(x, encoding.guide, trace)[0], net.backbone(x, None, trace)[0]
        assert torch.equal(with_guide, without)
        for injection in net.injections.values():
            injection.project.weight.normal_(0, 0.1)
        assert not torch.allclose(net.backbone(x, encoding.guide, trace)[0], without)


def test_guide_may_be_projected_before_the_resize():
    """1x1 convolution and bilinear resize commute: the cheap order gives the same modulation."""
    injection = Injection(4, 5)
    torch.nn.init.normal_(injection.project.weight)
    torch.nn.init.normal_(injection.project.bias)
    guide, x = image(1, 4, 4, 4), image(1, 5, 32, 32)
    resized = torch.nn.functional.interpolate(guide, size=(32, 32), mode="bilinear", align_corners=False)
    gamma, beta = injection.project(resized).chunk(2, dim=1)
    torch.testing.assert_close(injection(x, guide), x * (1 + gamma) + beta, atol=1e-5, rtol=1e-5)


MECHANISMS = {
    "pins": (["router.pins"], []),
    "linear gate": (["router.pins", "router.pin_bias"], ["model.router=linear"]),
    "dense mixture": (["router.pins"], ["model.router=dense"]),
    "single choice": (["router.pins"], ["model.router=single"]),
    "stage views": (["router.pins", "stage_views."], ["model.router=sphere_stage"]),
    "linear space": (["router.pins", "glgf.head."], ["model.sude=linear"]),
    "encoder": (["encoder.stem.", "encoder.position.", "encoder.cls", "encoder.blocks."], []),
    "fusion": (["glgf.global_in.", "glgf.local_in.", "glgf.gate.", "glgf.query.", "glgf.key.", "glgf.out."], []),
    "fusion cls only": (["glgf.global_in.", "glgf.head."], ["model.glgf=cls_only"]),
    "fusion patch only": (["glgf.local_in.", "glgf.gate.", "glgf.query."], ["model.glgf=patch_only"]),
    "fusion off": (["glgf.local_in.", "glgf.head."], ["model.glgf=off"]),
    "guide map": (["glgf.guide.", "injections."], []),
    "guide map in the decoder": (["glgf.guide.", "injections."], ["model.inject=decoder"]),
    "naf block": (["stages.", "downs.", "ups.", "intro.", "outro."], []),
    "restormer block": (["stages.", "downs.", "ups.", "fuse.", "intro.", "outro."], ["model.block=restormer"]),
}


@pytest.mark.parametrize("name", MECHANISMS)
def test_every_parameter_is_live(name):
    """The restoration loss alone moves every parameter of every mechanism within 3 steps; none is decoration."""
    prefixes, overrides = MECHANISMS[name]
    net = make(*overrides, live=False).train()
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0)
    moved = dict.fromkeys((n for n, _ in net.named_parameters()), False)
    for step in range(4):
        x, clean = image(6, 3, 32, 32, seed=step), image(6, 3, 32, 32, seed=9 + step)
        encoding = net.encode(x)
        path = torch.stack([torch.full((8,), n % 3) for n in range(6)])  # every expert of every layer
        free = net.cfg.router in ("sphere_stage", "dense") and step % 2
        trace = net.route(encoding, None if free else path)
        y, _ = net.backbone(x, encoding.guide, trace, reroute=bool(free))
        optimiser.zero_grad()
        restoration(y, clean, 0.1).backward()
        for key, parameter in net.named_parameters():
            moved[key] |= parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        optimiser.step()
    wanted = [key for key in moved if key.startswith(tuple(prefixes))]
    assert wanted and all(moved[key] for key in wanted), [key for key in wanted if not moved[key]]
    if name in ("encoder", "naf block", "restormer block"):  # and nothing at all stands still
        assert all(moved.values()), [key for key in moved if not moved[key]]


@pytest.mark.parametrize(
    "overrides",
    [[f"model.glgf={mode}"] for mode in ("cls_only", "patch_only", "off")]
    + [[f"model.inject={where}"] for where in ("decoder", "none")],
)
def test_fusion_variants_change_the_output(overrides):
    x = image(1, 3, 40, 40)
    full, other = make(), make(*overrides)
    own = other.state_dict()
    other.load_state_dict({**own, **{k: v for k, v in full.state_dict().items() if k in own}})
    with torch.inference_mode():
        assert not torch.allclose(full(x, path=[0] * 8), other(x, path=[0] * 8), atol=1e-6)


def test_a_crop_with_a_context_view_is_treated_as_part_of_it():
    net = make()
    context = image(1, 3, 64, 64, seed=5)
    crop = context[..., 8:40, 24:56]
    x = torch.cat([image(1, 3, 32, 32), crop, image(1, 3, 32, 32, seed=7)])
    place = torch.tensor([[8, 24]])
    with torch.inference_mode():
        plain, whole = net.encode(x), net.encode(context)
        mixed = net.encode(x, context, torch.tensor([1]), place)
        alone = net.encode(crop, context, torch.tensor([0]), place)
    for name in ("embedding", "feature", "guide", "gate"):
        assert torch.equal(getattr(plain, name)[[0, 2]], getattr(mixed, name)[[0, 2]])
        torch.testing.assert_close(getattr(alone, name)[0], getattr(mixed, name)[1])
        assert not torch.allclose(getattr(plain, name)[1], getattr(mixed, name)[1], atol=1e-5)
    assert torch.equal(mixed.embedding[1], whole.embedding[0])
    assert torch.equal(mixed.guide[1], whole.guide[0, :, 1:5, 3:7])


def test_routing_ignores_the_length_of_the_feature():
    net = make()
    encoding = net.encode(image(4, 3, 32, 32))
    scaled = sphere.normalise(encoding.feature * 17.0)
    torch.testing.assert_close(encoding.embedding.norm(dim=1), torch.ones(4))
    assert torch.equal(net.router.route(scaled).path, net.router.route(encoding.embedding).path)


def test_evaluation_is_deterministic():
    for router in ("sphere", "random", "sphere_stage", "dense"):
        net = make(f"model.router={router}")
        x = image(3, 3, 40, 40)
        with torch.inference_mode():
            (first, one), (second, two) = net(x, return_trace=True), net(x, return_trace=True)
            assert torch.equal(first, second) and torch.equal(one.path, two.path)
            assert torch.equal(net(x[1:2], return_trace=True)[1].path[0], one.path[1])


@pytest.mark.parametrize("block", ["naf", "restormer"])
def test_local_statistics_act_above_the_training_size_alone(block):
    net = make(f"model.block={block}", "model.tlc_window=48")
    small, large = image(1, 3, 48, 48), image(1, 3, 96, 120)
    with torch.inference_mode():
        path = [0] * 8
        local_small, local_large = net(small, path=path), net(large, path=path)
        net.set_tlc(0)
        assert torch.equal(local_small, net(small, path=path))
        assert not torch.allclose(local_large, net(large, path=path), atol=1e-6)
        for window in (100, -24, 24.0):
            with pytest.raises(UserError, match=f"multiple of 24.*got {window}"):
                net.set_tlc(window)
        net.set_tlc(48)
        assert torch.equal(local_large, net(large, path=path))


def test_local_mean_weighs_ragged_cells_by_their_area():
    x = image(1, 2, 25, 19)
    grid = blocks.local_mean(x, 24)  # cells of 8
    assert grid.shape == (1, 2, 4, 3)
    torch.testing.assert_close(grid[0, :, 1, 1], x[0, :, 0:24, 0:19].mean(dim=(1, 2)))
    torch.testing.assert_close(grid[0, :, 3, 2], x[0, :, 16:25, 8:19].mean(dim=(1, 2)))
    assert blocks.resize_cells(grid, 24, 25, 19).shape == (1, 2, 25, 19)
    constant = blocks.resize_cells(blocks.local_mean(torch.full((1, 1, 30, 30), 0.3), 24), 24, 30, 30)
    torch.testing.assert_close(constant, torch.full((1, 1, 30, 30), 0.3))


@pytest.mark.parametrize("size", [(5, 7), (16, 16), (17, 40), (64, 31)])
def test_windows_split_and_merge_are_inverse(size):
    x = image(2, 3, *size)
    layout = windows.plan(*size, 16)
    parts = windows.split(x, layout)
    assert parts.shape == (2 * layout.count, 3, min(16, size[0]), min(16, size[1]))
    torch.testing.assert_close(windows.merge(parts, layout), x)
    gaps = [b - a for a, b in itertools.pairwise(layout.tops)]
    assert all(gap <= 14 for gap in gaps)  # windows of 16 overlap by at least an eighth


def test_windows_of_one_token():
    """A context of one token trains; larger images must then do too."""
    assert windows.plan(3, 2, 1) == windows.Layout((3, 2), (1, 1), (0, 1, 2), (0, 1))
    net = make("model.context=64", "model.strides=8,8", "data.crop=64")
    assert net.encode(image(1, 3, 64, 128)).embedding.isfinite().all()


def test_encoder_sees_more_than_its_window():
    net = make()
    x = image(1, 3, 128, 320)
    with torch.inference_mode():
        base = net.encode(x).embedding
        x[..., 300:] = 0
        assert not torch.allclose(base, net.encode(x).embedding, atol=1e-6)


def test_unchosen_experts_are_not_touched_by_an_update():
    net = make().train()
    optimiser = torch.optim.AdamW(net.parameters(), 1e-2, weight_decay=0.1)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    for path in ([1] * 8, [1] * 8):
        optimiser.zero_grad(set_to_none=True)
        restoration(net(image(2, 3, 32, 32), path=path), image(2, 3, 32, 32, seed=4), 0.1).backward()
        optimiser.step()
    for key, value in net.state_dict().items():
        if ".experts." in key:
            assert torch.equal(value, before[key]) == (".experts.1." not in key), key
