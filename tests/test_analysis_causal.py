"""Experiments on paths find the effects planted in a toy network, to the decibel."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from slerlib import SLERIR, UserError, config
from slerlib.analysis import causal, chance, guide
from slerlib.config import LAYERS, STAGE_NAMES
from slerlib.evaluation.cases import LoadedCase
from slerlib.model.fusion import Encoding
from slerlib.sphere import normalise

NAMES = ("noise15", "noise25", "noise50")


class Add(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, x_BCHW):
        return x_BCHW + self.value


@pytest.fixture
def toy():
    """Layer enc1 alone matters: its expert e adds 0.1 (e + 1). An image of grey value 0.2, 0.3, 0.4 lies on axis 0, 1
    or 2 and is routed to the expert of that number, with the one before it as the next best.
    """
    net = SLERIR(config.recipe("tiny").model)
    with torch.no_grad():
        for module in (net.intro, net.downs, net.ups, net.outro):
            for parameter in module.parameters():
                parameter.zero_()
        net.outro.weight[:, 0, 1, 1] = 1  # channel 0 goes to all three colours
        for n, stage in enumerate(net.stages):
            stage.experts = nn.ModuleList(Add(0.1 * (e + 1) if n == 0 else 0.0) for e in range(3))
        axes = torch.eye(net.cfg.embedding)
        net.router.anchors.copy_(axes[: len(net.router.names)])
        net.router.pins.copy_(normalise(axes[:3] + 0.1 * axes[[1, 2, 0]]).expand(LAYERS, -1, -1))

    def encode(x_BCHW):
        axis = (10 * x_BCHW.mean(dim=(1, 2, 3)) - 2).round().long()
        return Encoding(axes[axis], axes[axis], None, None)

    net.encode = encode
    return net


def cases(photographs=8, noise=0.01):
    """Images that the right expert restores up to an error of `noise`: 40 dB."""
    result = []
    for k, name in enumerate(NAMES):
        for n in range(photographs):
            x = torch.full((3, 32, 40), 0.2 + 0.1 * k)
            result.append(LoadedCase("toy", name, f"p{n}", x, x + 0.1 * (k + 1) + noise * (-1) ** n))
    return result


def wrong(expert, k, noise=0.01):
    """dB lost by another expert, averaged over both signs of the error."""
    errors = [0.1 * (expert - k) - sign * noise for sign in (1, -1)]
    return np.mean([10 * math.log10((e / noise) ** 2) for e in errors])


def test_the_bench_knows_routes_and_scores(toy):
    bench = causal.PathBench(toy, cases(), side=24, batch=5)
    assert bench.psnr == pytest.approx(40, abs=1e-3) and bench.names == NAMES
    assert (bench.path == np.repeat([0, 1, 2], 8)[:, None]).all()
    assert bench.along([1] * 8, bench.rows("noise15")) == pytest.approx(
        [40 - 10 * math.log10(((0.1 - 0.01 * (-1) ** n) / 0.01) ** 2) for n in range(8)], abs=1e-3
    )
    assert toy.training  # the network's mode is left alone


def test_no_image_is_restored_twice_along_a_path(toy, monkeypatch):
    bench = causal.PathBench(toy, cases(2))
    ran, backbone = [], toy.backbone
    monkeypatch.setattr(toy, "backbone", lambda x, *rest, **more: ran.append(len(x)) or backbone(x, *rest, **more))
    bench.along(bench.path)
    assert sum(ran) == 0
    bench.along([0] * 8)  # known already for the two images whose own route it is
    bench.along([0] * 8)
    assert sum(ran) == 4


def test_an_interrupted_run_leaves_nothing_half_known(toy, monkeypatch):
    bench = causal.PathBench(toy, cases(2), batch=2)
    runs, restored = [], bench.restored

    def interrupted(*args):
        runs.append(args)
        if len(runs) == 2:
            raise KeyboardInterrupt
        return restored(*args)

    monkeypatch.setattr(bench, "restored", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.along([2] * 8)
    again = bench.along([2] * 8)
    assert np.isfinite(again).all() and len(runs) == 3, "what was done is kept, the rest is done now"


def test_an_oracle_is_told_the_degradation(toy):
    toy.router.kind, toy.cfg = "oracle", replace(toy.cfg, router="oracle", route_by="image")
    seen = [case for case in cases(1) if case.task == "noise15"]
    bench = causal.PathBench(
        toy, [*(replace(case, task="noise25") for case in seen), *(replace(case, task="snow") for case in seen)]
    )
    assert bench.path.tolist() == [[1] * 8, [0] * 8], "a degradation without an anchor is routed by what is seen"
    assert bench.psnr[0] < bench.psnr[1]


def test_images_of_different_sizes_share_a_bench(toy):
    small = [LoadedCase(c.dataset, c.task, "small", c.input[:, :17, :23], c.target[:, :17, :23]) for c in cases(1)]
    bench = causal.PathBench(toy, [*small, *cases(1)], side=32)
    assert bench.psnr == pytest.approx(40, abs=1e-3)


def test_knock_out_finds_the_layer_and_the_expert_that_matter(toy):
    table = causal.knock_out(causal.PathBench(toy, cases()))
    assert len(table) == LAYERS * 3 * 3
    cell = table.set_index(["stage", "expert", "degradation"])
    for k, name in enumerate(NAMES):
        assert cell.lost["enc1", k, name] == pytest.approx(wrong((k - 1) % 3, k), abs=1e-3)
        assert cell.lost_if_chosen["enc1", k, name] == cell.lost["enc1", k, name]
        assert cell.chosen["enc1", k, name] == 1 and cell.p_corrected["enc1", k, name] < 0.1
    assert table[table.stage != "enc1"].lost.abs().max() < 1e-3  # layers without effect
    never = table[table.chosen == 0]
    assert (never.lost == 0).all() and never.p.isna().all() and never.lost_if_chosen.isna().all()
    assert table[table.chosen == 1].stage.value_counts().to_dict() == dict.fromkeys(STAGE_NAMES, 3)


def test_exchanged_paths_and_single_experts_cost_what_was_planted(toy):
    bench = causal.PathBench(toy, cases())
    swap = causal.path_swap(bench).set_index(["degradation", "path_of"])
    single = causal.single_expert(bench).set_index(["degradation", "expert"])
    for k, name in enumerate(NAMES):
        for e, other in enumerate(NAMES):
            expected = 0 if e == k else wrong(e, k)
            assert swap.lost[name, other] == pytest.approx(expected, abs=1e-3)
            assert single.lost[name, e] == pytest.approx(expected, abs=1e-3)
            assert swap.differ[name, other] == (0 if e == k else 8) and swap.path[name, other] == str(e) * 8


def test_rules_are_compared_with_the_learned_route(toy):
    with torch.no_grad():  # the anchor of noise50 is put where noise15 lies: a table that is wrong for one degradation
        toy.router.anchors[2] = toy.router.anchors[0]
    table = causal.route_rules(causal.PathBench(toy, cases())).set_index(["rule", "degradation"])
    assert table.differ["modal", "all"] == 0 and table.lost["modal", "all"] == 0
    assert table.lost["oracle", "noise50"] == pytest.approx(wrong(0, 2), abs=1e-3) and table.n["oracle", "all"] == 24
    assert table.lost["oracle", "all"] == pytest.approx(wrong(0, 2) / 3, abs=1e-3)
    assert table.differ["oracle", "all"] == 8
    assert table.lost_if_differ["oracle", "all"] == pytest.approx(wrong(0, 2), abs=1e-3)
    assert table.lost["one path", "noise25"] == pytest.approx(wrong(0, 1), abs=1e-3)


def test_the_modal_path_is_that_of_other_photographs(toy):
    mixed = cases(3)
    stray = LoadedCase("toy", "noise15", "stray", mixed[-1].input, mixed[-1].target)  # routed as noise50
    table = causal.route_rules(causal.PathBench(toy, [*mixed, stray])).set_index(["rule", "degradation"])
    assert table.differ["modal", "noise15"] == 1 and table.differ["modal", "noise50"] == 0


def test_a_walk_switches_where_the_pins_are_equally_near(toy):
    walk = causal.geodesic_walk(causal.PathBench(toy, cases()), "noise15", "noise25", steps=11)
    steps = walk.drop_duplicates("t").set_index("t")
    turn = math.degrees(math.atan(1 / 0.9)) / 90  # cos + 0.1 sin = sin
    assert 0.5 < turn < 0.6
    assert [path[0] for path in steps.path] == ["0"] * 6 + ["1"] * 5
    assert [round(t, 9) for t in steps.index[steps.switched != ""]] == [0.6]
    assert steps.switched.iloc[6] == "+".join(STAGE_NAMES)
    lost = walk[walk.degradation == "noise25"].lost.to_numpy()
    assert lost[:6] == pytest.approx(wrong(0, 1), abs=1e-3) and lost[6:] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("mask", ["left", "disc"])
def test_a_guide_map_that_sees_the_place_scores_one_and_a_blind_one_a_half(toy, mask):
    def encode(x_BCHW):
        local = F.avg_pool2d(x_BCHW, toy.cfg.stride)
        return Encoding(None, None, local, torch.full_like(local[:, 0], 0.5))

    toy.encode = encode
    rng = torch.Generator().manual_seed(0)
    images = []
    for n in range(3):
        clean = torch.rand(3, 64, 64, generator=rng) * 0.2
        images.append(LoadedCase("toy", "rain", f"p{n}", clean + 0.6, clean))
    table, shown = guide.guide_response(toy, images, mask, side=64)
    table = table.set_index("map")
    assert table.auc["guide change"] > 0.99 and table.auc["guide"] > 0.98 and table.auc["gate"] == 0.5
    assert 0.3 < table.clean["guide"] < 0.7 and table.gain["gate"] == 0
    picture, where, change, gate = shown["rain"]
    assert picture.shape == (3, 64, 64) and where.shape == (64, 64) and change.shape == gate.shape == (8, 8)
    inside = where.float().mean().item()
    assert inside == 0.5 if mask == "left" else inside == pytest.approx(math.pi / 9, abs=0.02)


def test_a_sign_flip_test_is_exact_for_photographs():
    assert chance.sign_flip([1, 1, 1, 1], ["a", "b", "c", "d"]) == chance.smallest_p(4) == 2 / 16
    assert chance.sign_flip(range(1, 10), range(9)) == chance.smallest_p(9) == 2 / 512
    assert chance.sign_flip([1] * 12, range(12)) == pytest.approx(chance.smallest_p(12), abs=0.002)  # drawn
    assert chance.sign_flip([1, 1, 1, 1], ["a", "a", "a", "a"]) == 1  # a single photograph proves nothing
    assert chance.sign_flip([1, -1, 1, -1], ["a", "b", "c", "d"]) == 1
    for odd in (np.nan, np.inf):  # comparisons with NaN are false: no draw would look as large
        assert np.isnan(chance.sign_flip([1, -1, odd, -1], ["a", "b", "c", "d"]))


def two_classes() -> SLERIR:
    return SLERIR(replace(config.recipe("tiny").model, classes=("rain", "clean"), experts=2))


small = LoadedCase("toy", "rain", "p0", torch.zeros(3, 16, 16), torch.ones(3, 16, 16))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net: causal.PathBench(net, []), "at least one image"),
        (lambda net: causal.PathBench(net, cases(1)).along([3] * 8), "0 to 2"),
        (lambda net: causal.geodesic_walk(causal.PathBench(net, cases(1)), "rain", "snow"), "got 'rain' to 'snow'"),
        (lambda net: guide.guide_response(net, cases(1), "right"), "'left' or 'disc'"),
        (
            lambda _: guide.guide_response(SLERIR(config.recipe("tiny").model), [small], "disc"),
            "16 x 16 has 4 tokens, 0 of them",
        ),
        (lambda _: causal.arc_routes(two_classes().router, "rain", "clean"), "180.0 degrees apart"),
    ],
)
def test_what_cannot_be_tried_is_refused_with_the_reason(toy, call, message):
    with pytest.raises(UserError, match=message):
        call(toy)


def test_a_network_without_a_choice_is_refused():
    cfg = config.recipe("tiny").model
    with pytest.raises(UserError, match="1 and router"):
        causal.PathBench(SLERIR(replace(cfg, experts=1)), cases(1))
    with pytest.raises(UserError, match="no guide map"):
        guide.guide_response(SLERIR(replace(cfg, inject="none")), cases(1))


def test_a_sample_can_show_a_cell_where_the_correction_says_so():
    """The fewest cells at the smallest p, by the correction itself."""
    for photographs, tests in ((9, 111), (9, 8), (9, 3), (6, 8), (5, 8), (7, 20)):
        fewest = chance.fewest_shown(photographs, tests)
        for count in range(1, tests + 1):
            p = np.where(np.arange(tests) < count, chance.smallest_p(photographs), 1.0)
            shown = chance.corrected(p).min() < 0.05 + 1e-9
            assert shown == (fewest is not None and count >= fewest), (photographs, tests, count)


def test_layers_are_tested_where_cells_are_too_many(toy):
    bench = causal.PathBench(toy, cases(9))
    table = causal.knock_out_layers(bench).set_index("stage")
    other = bench.path.copy()
    other[:, 0] = (other[:, 0] - 1) % 3  # the next nearest pin
    mean = (bench.psnr - bench.along(other)).mean()
    assert table.lost["enc1"] == pytest.approx(mean, abs=1e-3) and mean > 10
    assert table.lost.drop("enc1").abs().max() < 1e-3
    assert table.p["enc1"] == chance.smallest_p(9) and table.p_corrected["enc1"] == pytest.approx(8 * 2 / 512)
    assert (table.n == 27).all() and (table.photographs == 9).all()
    assert causal.knock_out(bench).photographs.eq(9).all()


def test_exchanged_paths_are_those_that_more_than_half_of_the_images_take(toy):
    bench = causal.PathBench(toy, cases(2))
    bench.path[bench.rows("noise25")[0]] = [0, 1, 2, 0, 1, 2, 0, 1]  # one of two images: no majority
    swap = causal.path_swap(bench)
    assert set(swap.path_of) == {"noise15", "noise50"} and swap.attrs["without"] == ["noise25"]
    assert set(swap.degradation) == set(NAMES)
    bench.path[:] = np.arange(len(bench.label))[:, None] % 3
    assert len(causal.path_swap(bench)) == 0 and set(causal.path_swap(bench).attrs["without"]) == set(NAMES)
