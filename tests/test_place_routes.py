"""Routes per place: each token chooses its experts, whose results are blended where they meet."""

import json
from dataclasses import replace

import pytest
import torch
from test_model import image, make

import slerlib
from slerlib import UserError, config
from slerlib.data.scenes import photographs
from slerlib.model import places
from slerlib.model.experts import ExpertStage
from slerlib.model.network import with_path
from slerlib.train.losses import restoration


@pytest.fixture(scope="module")
def model():
    return slerlib.load("tiny", "cpu")


@pytest.fixture(scope="module")
def half():
    """A photograph with rain in its left half, and one that is dark there."""
    clean = photographs()[0].image[:, 100:260, 60:236].contiguous()
    where = torch.zeros(clean.shape[1:])
    where[:, :88] = 1
    return torch.stack(
        [slerlib.degrade(clean, name, severity=0.7, seed=3, where=where) for name in ("rain", "lowlight")]
    )


def maps(net, x, seed=0):
    """The encoding, and a trace whose experts differ from place to place."""
    encoding = net.encode(x)
    shape = (len(x), 8, *encoding.local.shape[-2:])
    chosen = torch.randint(net.cfg.experts, shape, generator=torch.Generator().manual_seed(seed))
    return encoding, replace(net.route(encoding), path_map=chosen)


def test_every_place_takes_the_nearest_pin_of_its_smoothed_point(model, half):
    encoding = model.encode(half, route_by="place")
    trace = model.route(encoding)
    local = encoding.local
    for b, i, j in ((0, 7, 4), (1, 0, 21), (1, 19, 0)):
        around = local[b, :, max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3].flatten(1).mean(dim=1)
        q = slerlib.sphere.normalise(around)
        torch.testing.assert_close(encoding.points[b, :, i, j], q, atol=1e-5, rtol=0)
        nearest = (model.router.pins @ q).argmax(dim=1)
        there = trace.path_map[b, :, i, j]
        for layer in (nearest != there).nonzero().flatten().tolist():  # an expert that too few places chose
            assert not (trace.path_map[b, layer] == nearest[layer]).any()
    assert torch.equal(trace.path, model.route(model.encode(half)).path), "the path stays that of the picture"


def test_an_expert_of_few_places_does_not_run():
    pins = torch.eye(3, 4)[None].expand(8, -1, -1)
    points = torch.zeros(1, 4, 10, 10)
    points[0, 0], points[0, 1] = 1.0, 0.5
    points[0, :, 0, 0] = torch.tensor([0.0, 0.6, 0.8, 0.0])  # 1 % of the places
    path, probability = places.choose(points, pins, 0.2)
    assert path[0, :, 0, 0].tolist() == [0] * 8, "expert 1 has no other place either"
    points[0, :, :2] = points[0, :, 0, 0][:, None, None]  # 20 %
    path, probability = places.choose(points, pins, 0.2)
    assert (path[0, :, :2] == 2).all() and (path[0, :, 2:] == 0).all()
    by_hand = (torch.tensor([0.0, 0.6, 0.8]) / 0.2).softmax(dim=0)[2]
    torch.testing.assert_close(probability[0, 3, 1, 5], by_hand)


def test_places_are_blended_with_resized_masks():
    torch.manual_seed(0)
    stage = ExpertStage(3, lambda: torch.nn.Conv2d(4, 4, 3, padding=1))
    x, path = image(2, 4, 24, 16), torch.zeros(2, 3, 2, dtype=torch.long)
    path[0, 1], path[0, 2, 1], path[1] = 2, 1, 1
    y = stage.blended(x, path, places.present(path[:, None], 3)[0])
    shares = [places.resized((path == e).float()[:, None], 24, 16) for e in range(3)]
    by_hand = sum(share * expert(x) for share, expert in zip(shares, stage.experts, strict=True))
    torch.testing.assert_close(y, by_hand)
    torch.testing.assert_close(y[0, :, 20:, :4], stage.experts[0](x)[0, :, 20:, :4])  # far from the border
    torch.testing.assert_close(y[1], stage(x, [1, 1])[1])  # another layout in memory: other bits on some processors


def test_one_expert_all_over_keeps_the_bits_of_one_path(model):
    net = make()
    x = image(2, 3, 40, 48)
    encoding = net.encode(x)
    trace = net.route(encoding)
    uniform = replace(trace, path_map=trace.path[:, :, None, None].expand(-1, -1, 5, 6))
    with torch.inference_mode():
        assert torch.equal(net.backbone(x, encoding.guide, uniform)[0], net.backbone(x, encoding.guide, trace)[0])
    noisy = slerlib.degrade(photographs()[0].image[:, :192, :192].contiguous(), "noise50", seed=1)
    y, trace = slerlib.restore(model, noisy, route="place", return_trace=True)
    assert (trace.path_map == trace.path[:, :, None, None]).all()
    assert torch.equal(y, slerlib.restore(model, noisy, route="image"))


def test_equal_experts_make_the_map_irrelevant():
    net = make()
    for stage in net.stages:
        for expert in stage.experts[1:]:
            expert.load_state_dict(stage.experts[0].state_dict())
    x = image(2, 3, 40, 48)
    with torch.inference_mode():
        results = []
        for seed in range(2):
            encoding, trace = maps(net, x, seed)
            results.append(net.backbone(x, encoding.guide, trace)[0])
        torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(results[0], net(x, path=[0] * 8), atol=1e-5, rtol=1e-5)


def test_the_map_changes_the_result():
    net, x = make(), image(1, 3, 40, 48)
    with torch.inference_mode():
        one, other = (net.backbone(x, e.guide, t)[0] for e, t in (maps(net, x, seed) for seed in range(2)))
    assert (one - other).abs().max() > 1e-3


def test_one_expert_equals_the_dense_network_per_place():
    x = image(2, 3, 40, 48)
    one = make("model.experts=1", "model.route_by=place")
    with torch.inference_mode():
        y, trace = one(x, return_trace=True)
        assert torch.equal(y, make("model.experts=1")(x)) and trace.path_map is None


def test_a_batch_gives_what_single_images_give(model, half):
    with torch.inference_mode():
        together, trace = model(half, return_trace=True, route_by="place")
        for n in range(2):
            alone, single = model(half[n : n + 1], return_trace=True, route_by="place")
            assert torch.equal(single.path_map[0], trace.path_map[n])
            torch.testing.assert_close(alone[0], together[n], atol=1e-5, rtol=0)
        again = model(half, route_by="place")
    assert torch.equal(together, again)
    assert len(trace.path_map[1].flatten(1).unique(dim=1).T) > 1, "the dark half and the other take other experts"


def test_tiles_and_the_whole_agree(model):
    clean = photographs()[0].image[:, :256, :320].contiguous()
    where = torch.zeros(clean.shape[1:])
    where[60:200, 100:250] = 1
    x = slerlib.degrade(clean, "rain", severity=0.8, seed=5, where=where)
    whole, trace = slerlib.restore(model, x, route="place", tile=0, return_trace=True)
    tiled, cut = slerlib.restore(model, x, route="place", tile=128, return_trace=True)
    assert torch.equal(trace.path_map, cut.path_map) and trace.path_map.shape == (1, 8, 32, 40)
    assert (tiled - whole).abs().max() < 8 / 255 and (tiled - whole).abs().mean() < 0.3 / 255


def test_a_crop_takes_its_places_from_its_context_view(model, half):
    crop = half[:1, :, 64:128, 32:96]
    place = torch.tensor([[64, 32]])
    with torch.inference_mode():
        wide = model.encode(half[:1], route_by="place")
        alone = model.encode(crop, half[:1], torch.tensor([0]), place, route_by="place")
    assert torch.equal(alone.points, wide.points[..., 8:16, 4:12])


def test_the_gate_is_one_and_teaches_the_pins_where_their_expert_ran():
    net = make("model.route_by=place").train()
    x = image(2, 3, 40, 48)
    encoding = net.encode(x)
    trace = net.router.place(net.route(encoding), encoding.points)
    left = torch.zeros(2, 8, 5, 6, dtype=torch.long)
    left[..., 3:] = 1
    chance = (torch.einsum("bdhw,led->blehw", encoding.points, net.router.pins) / 0.2).softmax(dim=2)
    trace = replace(trace, path_map=left, place_probability=chance.gather(2, left[:, :, None]).squeeze(2))
    y = net.backbone(x, encoding.guide, trace)[0]
    with torch.no_grad():
        still = replace(trace, place_probability=trace.place_probability.detach())
        assert torch.equal(net.backbone(x, encoding.guide, still)[0], y)
    target = y.detach().clone()
    target[..., :16] += 0.5  # wrong on the left alone, far from the border
    restoration(y, target, 0.0).backward()
    gradient = net.router.pins.grad.norm(dim=2)
    assert (gradient > 0).all(), "the softmax moves all pins of a layer"
    assert net.glgf.head[0].weight.grad.abs().max() > 0


def test_training_per_place_runs_and_is_kept_in_the_card(tmp_path):
    from slerlib.data.sources import Sources
    from slerlib.train.loop import train

    images = [(scene.image * 255).round().to(torch.uint8) for scene in photographs()]
    sources = Sources.photographs(images, [str(n) for n in range(len(images))], "test")
    small = ["train.steps=4", "train.stage_a=0.25", "train.stage_c=0.5", "train.save_every=4", "data.anchor_scenes=4",
             "train.grid_scenes=2", "data.crop=32", "model.context=64", "data.local_share=0.5", "train.upcycle=0",
             "model.route_by=place", "train.context_share=0.5"]  # fmt: skip
    out = train(config.with_overrides(config.recipe("tiny"), small), sources, tmp_path / "run", progress=False)
    net = slerlib.load(out, "cpu")
    assert net.cfg.route_by == "place"
    _, trace = slerlib.restore(net, photographs()[0].image[:, :64, :64], return_trace=True)
    assert trace.path_map.shape == (1, 8, 8, 8)
    _, trace = slerlib.restore(net, photographs()[0].image[:, :64, :64], return_trace=True, route="image")
    assert trace.path_map is None


REFUSED = [
    ({"route": "pixel"}, "'pixel'"),
    ({"route": "place", "path": [0] * 8}, "path"),
    ({"route": "tile", "tile": 0}, "tile=0"),
]


@pytest.mark.parametrize("options, fault", REFUSED)
def test_routes_outside_the_rules_are_refused(model, half, options, fault):
    with pytest.raises(UserError) as error:
        slerlib.restore(model, half, **options)
    assert fault in str(error.value)


@pytest.mark.parametrize("override", ["model.router=linear", "model.sude=linear", "model.router=single"])
def test_a_router_without_nearest_pins_has_no_routes_per_place(override, half):
    with pytest.raises(UserError, match="route_by"):
        config.with_overrides(config.recipe("tiny"), ["model.route_by=place", override])
    with pytest.raises(UserError, match="route='place'"):
        slerlib.restore(make(override), half, route="place")


def test_the_command_restores_per_place_and_in_passes(run, tmp_path, half):
    from PIL import Image

    from slerlib.images.files import from_pil, to_pil

    _, meta = from_pil(Image.new("RGB", (8, 8)))
    to_pil(half[1], meta).save(tmp_path / "dark.png")
    options = ["--route", "place", "--passes", "auto", "--trace", tmp_path / "t.json"]
    code, out, err = run("restore", tmp_path / "dark.png", tmp_path / "out.png", *options)
    assert code == 0, err
    record = json.loads((tmp_path / "t.json").read_text())["images"][0]
    x = from_pil(Image.open(tmp_path / "dark.png"))[0]
    y, trace = slerlib.restore(slerlib.load("tiny"), x, route="place", passes="auto", return_trace=True)
    assert record["passes"] == trace.passes[0] and len(record["results_seen_as"]) == len(trace.looks)
    share = (trace.where() == trace.anchor_names.index("clean")).float().mean().item()
    assert abs(record["places"].get("clean", 0) - share) < 1e-4 and abs(sum(record["places"].values()) - 1) < 1e-3
    written = from_pil(Image.open(tmp_path / "out.png"))[0]
    assert (written - y).abs().max() < 0.51 / 255
    code, _, err = run("restore", tmp_path / "dark.png", tmp_path / "new.png", "--route", "place", "--one-path")
    assert code == 1 and "one path for all" in err and not (tmp_path / "new.png").exists()


# --- figures


def test_the_maps_are_drawn_with_their_numbers(model, half):
    from slerlib import plots

    _, trace = slerlib.restore(model, half[1], route="place", return_trace=True)
    fig = plots.where_map({"dark on the left": (half[1], trace)})
    share = (trace.where() == trace.where().mode().values.mode().values).float().mean()
    assert f"{share:.0%}" in fig.alt_text and "dark on the left" in fig.alt_text
    drawn = fig.axes[1].images[0].get_array()
    assert drawn.shape[:2] == trace.where().shape[1:]
    maps = plots.path_maps(half[1], trace)
    assert len(maps.axes) == 9 and "latent" in maps.alt_text
    for n, ax in enumerate(maps.axes[1:]):
        colours = ax.images[0].get_array().reshape(-1, 3)
        assert len({tuple(row) for row in colours.tolist()}) == len(trace.path_map[0, n].unique())


def test_figures_of_places_need_places(model, half):
    from slerlib import plots

    _, trace = slerlib.restore(model, half[0], route="image", return_trace=True)
    with pytest.raises(UserError, match="route='place'"):
        plots.path_maps(half[0], trace)
    with pytest.raises(UserError, match="at least one"):
        plots.where_map({})


# --- stations that look for themselves


def test_a_station_turns_z_by_a_bounded_angle():
    net = make("model.router=sphere_stage")
    x = image(3, 3, 32, 40)
    with torch.no_grad():
        plain = net(x, return_trace=True)[1]
        for view in net.stage_views:
            view.weight.mul_(1000)
        y, trace = net(x, return_trace=True)
    angle, before = (slerlib.sphere.angle(t.station_embedding, t.embedding[:, None]) for t in (trace, plain))
    assert trace.station_embedding.shape == (3, 8, net.cfg.embedding)
    assert angle.max() < 30.1 and bool((angle > 5).any()) and (angle - before).abs().max() > 1
    with torch.no_grad():
        nearest = torch.einsum("bld,led->ble", trace.station_embedding, net.router.pins).argmax(dim=2)
        by_hand = slerlib.sphere.angle(trace.station_embedding[:, :, None], net.router.anchors)
    assert torch.equal(trace.path, nearest)
    torch.testing.assert_close(trace.station_angle, by_hand)


def test_stations_learn_what_they_look_at():
    from slerlib.train.objectives import restoration_terms
    from slerlib.train.stages import Draws

    net = make("model.router=sphere_stage", live=False).train()
    cfg = config.with_overrides(
        config.recipe("tiny"),
        ["model.router=sphere_stage", "model.route_by=image", "train.upcycle=0", "train.stage_a=0"],
    )
    x, labels = image(4, 3, 32, 32), torch.tensor([0, 3, 5, 7])
    none = labels[:0]
    batch = {"degraded": x, "clean": image(4, 3, 32, 32, seed=2), "context": x[:0], "rows": none, "place": none,
             "label": labels, "parts": torch.nn.functional.one_hot(labels, 8).bool()}  # fmt: skip
    optimiser = torch.optim.Adam(net.stage_views.parameters(), 1e-3)
    losses = []
    for _ in range(30):
        terms, trace = restoration_terms(net, cfg, batch, 0, Draws())
        losses.append(terms["stations_sude"].item())
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()
    assert losses[-1] < losses[0] and trace.station_embedding.requires_grad
    assert all(view.weight.abs().max() > 0 for view in net.stage_views)


# --- in the included weights


@pytest.fixture(scope="module")
def trained():
    return slerlib.load("tiny", "cpu")


def test_the_trained_map_sees_noise_where_it_is_and_routes_it(trained):
    clean = photographs()[0].image[:, :192, :256].contiguous()
    where = torch.zeros(clean.shape[1:])
    where[:, :128] = 1
    x = slerlib.degrade(clean, "noise25", seed=3, where=where)
    y, trace = slerlib.restore(trained, x, return_trace=True)
    noisy = trace.where()[0] == trace.anchor_names.index("noise25")
    assert noisy[:, :15].float().mean() > 0.9 and noisy[:, 17:].float().mean() < 0.1
    left, right = (trace.path_map[0, :, 12, column] for column in (4, 28))
    assert (left != right).sum() >= 4, "most layers take another expert for the noise"
    own = trained.router.class_paths()[trace.anchor_names.index("noise25")]
    taken = (trace.path_map[0, :, :, :15] == own[:, None, None]).float().mean(dim=(1, 2))
    assert (taken > 0.9).sum() >= 6, "noise takes its own expert; at one or two layers the border of a cell is near"
    once = slerlib.restore(trained, x, route="image")
    errors = [(result - clean)[..., 136:].pow(2).mean() for result in (y, once)]
    assert errors[0] < errors[1], "the untouched half keeps more with a path of its own"


def test_tiles_and_the_whole_agree_in_the_trained_weights(trained):
    clean = photographs()[0].image[:, :256, :320].contiguous()
    where = torch.zeros(clean.shape[1:])
    where[60:200, 100:250] = 1
    x = slerlib.degrade(clean, "noise25", seed=5, where=where)
    (whole, trace), (tiled, cut) = (slerlib.restore(trained, x, tile=tile, return_trace=True) for tile in (0, 128))
    assert torch.equal(trace.path_map, cut.path_map) and len(trace.path_map[0, 0].unique()) > 1
    difference = (tiled - whole).abs()
    assert difference.mean() < 0.3 / 255 and difference.max() < 10 / 255


# --- what else uses routes per place


def test_another_path_brings_its_own_probability():
    net = make("model.route_by=place")
    trace = net.route(net.encode(image(2, 3, 40, 48)))
    path = (trace.path + 1) % 3
    path[:, 1:] = trace.path[:, 1:]
    other = with_path(trace, path)
    assert (other.path_map[:, 0] == path[:, 0, None, None]).all()
    assert torch.equal(other.path_map[:, 1:], trace.path_map[:, 1:])
    chosen = trace.probability[:, 0].gather(1, path[:, :1])[:, 0]
    torch.testing.assert_close(other.place_probability[:, 0], chosen[:, None, None].expand(-1, 5, 6))
    assert torch.equal(other.place_probability[:, 1:], trace.place_probability[:, 1:])


def test_the_counterfactual_tries_the_other_expert_at_all_places():
    from slerlib.train.objectives import counterfactual

    net = make("model.route_by=place").train()
    x, clean = image(3, 3, 32, 32), image(3, 3, 32, 32, seed=2)
    encoding = net.encode(x)
    trace = net.route(encoding)
    y, _ = net.backbone(x, encoding.guide, trace)
    batch, seen = {"degraded": x, "clean": clean}, []
    backbone = net.backbone
    net.backbone = lambda *args, **more: seen.append(args[2]) or backbone(*args, **more)
    loss = counterfactual(net, batch, torch.tensor([0, 2]), torch.tensor([1, 4]), encoding, trace, y)
    (tried,) = seen
    assert loss.isfinite() and tried.path_map.shape == (2, 8, 4, 4)
    assert (tried.path_map[0, 1] == tried.path[0, 1]).all() and tried.path[0, 1] != trace.path[0, 1]
    assert torch.equal(tried.path_map[1, 0], trace.path_map[2, 0])


def test_the_loss_of_places_adds_up_over_pieces():
    from slerlib.train import losses

    anchors = slerlib.sphere.simplex(4, 8).float()
    local = torch.nn.functional.normalize(image(4, 8, 4, 4) - 0.5, dim=1)
    where = torch.ones(4, 4, 4)
    where[:2, :, 2:] = 0
    sets, outside = torch.eye(4).bool(), torch.eye(4).bool().roll(1, 0)
    whole = losses.places(local, where, sets, outside, anchors, 0.2)
    halves = [losses.places(local[p], where[p], sets[p], outside[p], anchors, 0.2) for p in (slice(2), slice(2, 4))]
    torch.testing.assert_close(whole, sum(halves) / 2)


def test_a_tiled_picture_of_stations_is_written_and_counted(run, tmp_path):
    from PIL import Image

    from slerlib.checkpoint import save_weights

    cfg = config.with_overrides(config.recipe("tiny"), ["model.router=sphere_stage", "model.route_by=image"])
    card = {"name": "stations", "config": config.to_dict(cfg)}
    save_weights(tmp_path / "net", make("model.router=sphere_stage"), card)
    Image.new("RGB", (200, 160), (90, 120, 60)).save(tmp_path / "a.png")
    options = ["--checkpoint", tmp_path / "net", "--tile", 128, "--trace", tmp_path / "t.json"]
    code, _, err = run("restore", tmp_path / "a.png", tmp_path / "b.png", *options)
    assert code == 0, err
    assert json.loads((tmp_path / "t.json").read_text())["images"][0]["places"] == {}


@pytest.mark.parametrize("passes", [2.0, "2"])
def test_passes_are_whole_numbers(model, half, passes):
    with pytest.raises(UserError, match="passes must be"):
        slerlib.restore(model, half, passes=passes)
