"""Statistics of routes: planted specialisation is found, chance looks like chance, oracle libraries agree."""

import doctest
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import normalized_mutual_info_score

import slerlib
from slerlib import UserError
from slerlib.analysis import chance, routing, sweeps
from slerlib.analysis.store import Traces
from slerlib.config import STAGE_NAMES
from slerlib.model.router import Trace

NAMES = ("rain", "haze", "blur")


def planted(scenes=20):
    """Layer 0: the degradation decides; 1: rain against the rest; 2: always expert 1; others: a coin of three sides."""
    rng = np.random.default_rng(3)
    label = np.tile(np.arange(3), scenes)
    path = rng.integers(0, 3, (3 * scenes, 8))
    path[:, 0], path[:, 1], path[:, 2] = label, label > 0, 1
    return path, [NAMES[k] for k in label], np.repeat(np.arange(scenes), 3)


# --- layers and cells -------------------------------------------------------------------------------------------------


def test_planted_information_is_found_and_chance_looks_like_chance():
    path, labels, scenes = planted()
    table = routing.layer_table(path, labels, scenes=scenes, draws=200)
    assert table.stage.tolist() == list(STAGE_NAMES)
    assert table.nmi[0] == pytest.approx(1) and table.information[0] == pytest.approx(np.log(3))
    two_thirds = scipy_entropy([1 / 3, 2 / 3])
    assert table.information[1] == pytest.approx(two_thirds)
    assert table.nmi[1] == pytest.approx(2 * two_thirds / (np.log(3) + two_thirds))
    assert table.nmi[2] == 0 and table.entropy[2] == 0 and table.dead[2] == 2 and table.conditional_entropy[2] == 0
    assert table.entropy[0] == pytest.approx(1) and table.conditional_entropy[0] == pytest.approx(0, abs=1e-12)
    assert (table.p_corrected[:2] < 0.02).all() and (table.p_corrected[2:] > 0.05).all()
    assert (table.nmi[3:] < 0.1).all() and (table.nmi_excess[3:].abs() < 0.06).all()
    assert (table.nmi_shuffled < 0.06).all() and (table.nmi_random < 0.06).all()


def test_information_and_its_ceiling_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    label, path = np.arange(300) % 6, rng.integers(0, 3, (300, 8))
    path[:, 0] = label % 3  # 6 classes, 3 experts: as much as an expert can tell
    path[:150, 4] = label[:150] % 3
    table = routing.layer_table(path, label.astype(str), draws=20)
    for layer in range(8):
        assert table.nmi[layer] == pytest.approx(normalized_mutual_info_score(label, path[:, layer]), abs=1e-9)
    assert table.nmi[0] == pytest.approx(table.nmi_ceiling[0]) and (table.nmi <= table.nmi_ceiling + 1e-12).all()
    assert table.information_ceiling[0] == pytest.approx(np.log(3))


def test_usage_intervals_and_tests_of_every_cell():
    path, labels, scenes = planted()
    table = slerlib.routing_table(path, labels, scenes=scenes, draws=300)
    assert len(table) == 8 * 3 * 3 and table.attrs["experts"] == 3 and table.attrs["scenes"] == 20
    assert (table.groupby(["layer", "degradation"]).usage.sum() == 1).all()
    cell = table.set_index(["stage", "degradation", "expert"])
    assert cell.usage["enc1", "haze", 1] == 1 and cell.usage_all["enc1", "haze", 1] == pytest.approx(1 / 3)
    assert cell.dead["enc3", "rain", 0] and not cell.dead["enc3", "rain", 1]
    assert (table.usage_low <= table.usage).all() and (table.usage <= table.usage_high).all()
    assert (table.p_corrected >= table.p - 1e-12).all()
    assert (table[table.layer == 0].p_corrected < 0.05).all() and (table[table.layer > 1].p_corrected > 0.05).all()


def test_intervals_resample_photographs_not_images():
    scenes = np.repeat(np.arange(6), 25)  # 150 images, but six pieces of evidence
    path = np.repeat((np.arange(6) < 3).astype(int), 25)[:, None].repeat(8, axis=1)
    labels = ["rain"] * 150
    wide = routing.routing_table(path, labels, scenes=scenes, draws=500).iloc[0]
    narrow = routing.routing_table(path, labels, draws=500).iloc[0]
    assert wide.usage_high - wide.usage_low >= 0.6 > 0.3 > narrow.usage_high - narrow.usage_low
    assert chance.clustered_mean(path[:, 0], scenes)[2] > 0.8 and chance.clustered_mean(path[:, 0])[2] < 0.7


def test_four_photographs_have_no_interval():
    """The bootstrap of so few gives their range; a degradation that only few of many show has none either."""
    assert doctest.testmod(chance).failed == 0
    path, labels, scenes = planted(scenes=4)
    assert np.isnan(chance.clustered_mean(path[:, 0], scenes)[1:]).all()
    for table in (routing.layer_table, routing.routing_table, routing.path_table):
        bounds = table(path, labels, scenes=scenes, draws=20).filter(regex="_low$|_high$")
        assert bounds.shape[1] >= 2 and bounds.isna().all(axis=None)
    path, labels, scenes = planted(scenes=6)
    rare = np.flatnonzero(np.array(labels) == "blur")[:2]
    keep = np.array([name != "blur" for name in labels])
    keep[rare] = True
    table = routing.routing_table(path[keep], np.array(labels)[keep], scenes=scenes[keep], draws=20)
    known = table.groupby("degradation").usage_low.agg(lambda low: low.notna().all())
    assert known.to_dict() == {"rain": True, "haze": True, "blur": False}
    paths = routing.path_table(path[keep], np.array(labels)[keep], scenes=scenes[keep], draws=20)
    assert paths.within_low.notna().tolist() == [True, True, False, True] and paths.between_low.isna().all()


def test_labels_are_shuffled_within_photographs():
    path, labels, scenes = planted()
    counts = chance.shuffled(chance.as_routes(path, labels, scenes), draws=5)
    assert (counts.sum(axis=-1) == 20).all()  # every photograph keeps one image of each degradation
    real = chance.as_routes(path, labels, scenes).counts().sum((0, 1))
    assert (counts.sum(axis=1) == real).all()  # and the usage of experts is that of the data


def test_every_kind_of_trace_is_taken():
    path, labels, scenes = planted(4)
    blank = {"embedding": None, "margin": None, "anchor_angle": None, "anchor_names": (), "probability": None}
    trace = Trace(path=torch.as_tensor(path), similarity=torch.zeros(12, 8, 4), **blank)
    half = [Trace(path=trace.path[a:b], similarity=trace.similarity[a:b], **blank) for a, b in ((0, 5), (5, 12))]
    table = pd.DataFrame({"label": labels, "scene": scenes})
    traces = SimpleNamespace(table=table, path=path.astype(np.int8), similarity=np.zeros((12, 8, 4)))
    whole = slerlib.routing_table(trace, labels, scenes=scenes, draws=5)
    assert len(whole) == 8 * 3 * 4  # an expert that nobody took has its rows too
    pd.testing.assert_frame_equal(slerlib.routing_table(half, labels, scenes=scenes, draws=5), whole)
    pd.testing.assert_frame_equal(slerlib.routing_table(traces, draws=5), whole)


class OnGPU(torch.Tensor):
    """A tensor that numpy cannot read where it is, as on a GPU."""

    def numpy(self):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __array__(self, *_, **__):
        return self.numpy()

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def test_traces_may_lie_on_a_gpu_and_hold_gradients():
    path, labels, scenes = planted(4)
    away = torch.as_tensor(path).as_subclass(OnGPU)
    with pytest.raises(TypeError):
        np.asarray(away)
    blank = {"margin": None, "anchor_angle": None, "anchor_names": (), "probability": None}
    z = torch.randn(12, 4, requires_grad=True)
    trace = Trace(path=away, similarity=torch.zeros(12, 8, 3), embedding=z.as_subclass(OnGPU), **blank)
    assert (chance.as_routes(trace, labels).path == path).all()
    assert (chance.as_routes([trace, trace], labels * 2).path[12:] == path).all()
    assert slerlib.embed([trace, trace]).shape == (24, 2) and slerlib.embed(trace).shape == (12, 2)


def test_a_list_of_stores_brings_its_labels():
    path, labels, scenes = planted(4)
    table = pd.DataFrame({"label": labels, "scene": scenes})
    blank = dict.fromkeys(("embedding", "margin", "anchor_angle"), np.zeros((12, 1)))
    store = Traces(table, path=path, similarity=np.zeros((12, 8, 3)), anchor_names=(), anchors=None, pins=None,
                   checkpoint="a", **blank)  # fmt: skip
    halves = [store.select(np.arange(5)), store.select(np.arange(5, 12))]
    whole, joined = chance.as_routes(store), chance.as_routes(halves)
    assert (joined.counts() == whole.counts()).all() and joined.names == whole.names
    with pytest.raises(UserError, match="2 networks"):
        chance.as_routes([halves[0], replace(halves[1], checkpoint="b")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((3, 8), int), ["rain"]), "3, 8.*1 labels"),
        ((np.zeros((3, 8), int),), "0 labels"),
        ((np.zeros((2, 8)), ["rain", "haze"]), "whole expert numbers"),
        ((np.full((1, 8), 3), ["rain"], None, 3), "from 0 to 2"),
    ],
)
def test_what_is_no_route_is_refused_with_the_reason(arguments, message):
    with pytest.raises(UserError, match=message):
        chance.as_routes(*arguments)


# --- paths ------------------------------------------------------------------------------------------------------------


def test_paths_and_distances_of_planted_routes():
    path = np.array([[0] * 8, [0] * 8, [0] * 7 + [1], [1] * 8, [1] * 8])
    labels = ["rain"] * 3 + ["blur"] * 2
    table = routing.path_table(path, labels, draws=50).set_index("degradation")
    assert table.distinct.to_dict() == {"rain": 2, "blur": 1, "all": 3}
    assert table.usual["rain"] == "00000000" and table.top_share["rain"] == pytest.approx(2 / 3)
    assert table.usual["all"] == "" and table.top_share["all"] == pytest.approx(2 / 5), "two of five stand for nobody"
    assert table.entropy["rain"] == pytest.approx(scipy_entropy([2, 1])) and table.entropy["blur"] == 0
    pairs = [(path[a] != path[b]).sum() for a, b in ((0, 1), (0, 2), (1, 2))]
    assert table.within["rain"] == pytest.approx(np.mean(pairs)) and table.within["blur"] == 0
    across = np.mean([(path[a] != path[b]).sum() for a in range(3) for b in (3, 4)])
    assert table.between["rain"] == table.between["blur"] == pytest.approx(across)
    every = [(path[a] != path[b]).sum() for a in range(5) for b in range(a)]
    assert table.within["all"] == pytest.approx(np.mean(every))


def test_a_random_router_differs_at_two_thirds_of_the_layers():
    path = np.random.default_rng(1).integers(0, 3, (600, 8))
    labels = np.array(NAMES)[np.arange(600) % 3]
    distance = chance.hamming(chance.as_routes(path, labels).counts().sum(0))
    assert np.abs(distance - 16 / 3).max() < 0.15


def test_agreement_is_the_share_of_layers_and_of_whole_paths():
    path, _, _ = planted(4)
    assert routing.agreement(path, path)["paths"] == (1, 1, 1)
    shifted = np.concatenate([path[:, :6], (path[:, 6:] + 1) % 3], axis=1)
    assert routing.agreement(path, shifted)["layers"] == (0.75, 0.75, 0.75)
    with pytest.raises(UserError, match="same images"):
        routing.agreement(path, path[:3])


def test_sets_with_photographs_of_their_own_are_shuffled_among_photographs():
    """As in the 3-task setting: rain and haze on other photographs than noise, which has each at several levels."""
    labels = ["rain"] * 20 + ["haze"] * 20 + ["noise15", "noise25"] * 20
    scenes = [*range(40), *np.repeat(np.arange(40, 60), 2)]
    path = np.random.default_rng(0).integers(0, 3, (80, 8))
    path[:, 0] = [NAMES.index(name) if name in NAMES else 2 for name in labels]
    table = routing.routing_table(path, labels, scenes=scenes, draws=200)
    assert table.attrs["shuffled"] == "degradations permuted among photographs"
    first = table[table.layer == 0]
    assert (first.p < 0.02).all() and (first.nmi_shuffled < 0.1).all() and (first.nmi > 0.7).all()
    assert (table[table.layer > 0].p_corrected > 0.05).all()
    # each photograph under one degradation, in three versions: they are one piece of evidence and stay together
    thrice = chance.as_routes(np.repeat(path[:40], 3, 0), np.repeat(labels[:40], 3), np.repeat(scenes[:40], 3))
    once = chance.as_routes(path[:40], labels[:40], scenes[:40])
    assert (chance.shuffled(thrice, 20) == 3 * chance.shuffled(once, 20)).all()


# --- severities, mixtures, unseen damage ------------------------------------------------------------------------------

AXES = np.eye(4)


def traces(label, path, embedding=None, severity=0.5, photographs=3):
    """Traces with anchors clean, rain, haze, blur on the axes."""
    n = len(label)
    z = np.asarray(embedding if embedding is not None else np.tile(AXES[0], (n, 1)), float)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    table = pd.DataFrame({"label": label, "scene": [f"p{k % photographs}" for k in range(n)], "severity": severity})
    angle = np.degrees(np.arccos(np.clip(z @ AXES.T, -1, 1)))
    margin = np.abs(z).max(axis=1, keepdims=True).repeat(8, 1)
    return SimpleNamespace(table=table, path=np.asarray(path), embedding=z, anchor_angle=angle, margin=margin,
                           anchors=AXES, anchor_names=("clean", *NAMES), similarity=np.zeros((n, 8, 3)))  # fmt: skip


def test_a_severity_curve_leads_from_the_path_of_clean_to_that_of_the_degradation():
    reference = traces(["clean"] * 3 + ["rain"] * 3, [[0] * 8] * 3 + [[1] * 8] * 3)
    seen = traces(["rain"] * 6, [[0] * 8] * 3 + [[0, 0] + [1] * 6] * 3, severity=[0.1] * 3 + [0.9] * 3)
    table = sweeps.severity_table(seen, reference)
    assert table.own.tolist() == [0, 0.75] and table.clean.tolist() == [1, 0.25]
    assert table.nearest.tolist() == ["clean"] * 2 and table.n.tolist() == [3, 3]
    with pytest.raises(UserError, match="of clean"):
        sweeps.severity_table(seen, traces(["rain"], [[0] * 8]))


def test_a_mixture_is_placed_between_its_parents():
    labels = ["rain"] * 3 + ["blur"] * 3 + ["haze"] * 3 + ["rain+blur"] * 3
    path = [[0] * 8] * 3 + [[0, 0] + [1] * 6] * 3 + [[2] * 8] * 3 + [[0, 2, 0, 0, 1, 1, 1, 2]] * 3
    middle = AXES[1] + AXES[3]
    (row,) = sweeps.mixture_table(
        traces(labels, path, [*AXES[[1, 1, 1, 3, 3, 3, 2, 2, 2]], *[middle] * 3])
    ).itertuples()
    assert row.angle_first == pytest.approx(45) and row.angle_second == pytest.approx(45)
    assert row.angle_apart == pytest.approx(90) and row.off_arc == pytest.approx(0, abs=1e-4)
    assert (row.first, row.second, row.both, row.neither) == (2 / 8, 3 / 8, 1 / 8, 2 / 8)
    assert row.neither_others == 1 and row.neither_random == pytest.approx((2 * 2 / 3 + 6 * 1 / 3) / 8)
    (alone,) = sweeps.mixture_table(traces(labels[:6] + labels[9:], path[:6] + path[9:])).itertuples()
    assert np.isnan(alone.neither_others) and alone.neither == row.neither
    with pytest.raises(UserError, match="parents"):
        sweeps.mixture_table(traces(["rain+blur"], [[0] * 8]))


def test_angle_and_margin_detect_what_lies_off_the_anchors():
    labels = ["rain"] * 5 + ["snow"] * 5 + ["jpeg"] * 5
    z = [AXES[1]] * 5 + [AXES[1] + AXES[2]] * 5 + [AXES[0]] * 5
    table = sweeps.novelty_table(traces(labels, [[0] * 8] * 15, z, photographs=5), ("rain",), draws=50)
    table = table.set_index(["degradation", "signal"])
    assert table.auc["snow", "angle"] == table.auc["snow", "margin"] == 1 and table.auc["jpeg", "angle"] == 0.5
    assert table.auc_low["snow", "angle"] == 1 and table.nearest["jpeg", "angle"] == "clean"
    few = sweeps.novelty_table(traces(labels, [[0] * 8] * 15, z, photographs=4), ("rain",), draws=50)
    assert few[["auc_low", "auc_high"]].isna().all(axis=None), "four photographs give no interval"
    known = traces(labels, [[0] * 8] * 15, z, photographs=5)
    known.table.loc[:4, "scene"] = "p0"  # all trained images of one photograph
    few = sweeps.novelty_table(known, ("rain",), draws=50)
    assert few[["auc_low", "auc_high"]].isna().all(axis=None)
    with pytest.raises(UserError, match="untrained"):
        sweeps.novelty_table(traces(["rain"], [[0] * 8]), ("rain",))


@pytest.mark.parametrize("paths", [["01201201"] * 3, pd.Series(["01201201"] * 3), None])
def test_routes_of_another_kind_are_refused(paths):
    with pytest.raises(UserError, match="expert numbers.*got.*(01201201|None).*collect"):
        slerlib.routing_table(paths, ["rain"] * 3)
