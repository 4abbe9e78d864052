"""Known answers: a planted sphere comes back, shuffled labels are at chance, rotations are found, a simplex is best."""

import io
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from figures import check_texts
from scipy.stats import ortho_group

import slerlib
from slerlib import plots, sphere
from slerlib.analysis import embedding as maps
from slerlib.analysis.embedding import Map, align, compare_maps, make_map, quality
from slerlib.analysis.geometry import measures
from slerlib.analysis.store import Traces

K, SCENES, D = 6, 10, 16
NAMES = tuple("abcdef")


def planted(spread=0.15, leak=0.0, damage=0.0, draws=1, seed=0) -> Traces:
    """Six caps at the ends of three axes of 16; `leak` moves every point of a scene the same way, `damage` every
    point of a scene, class and draw.
    """
    rng = np.random.default_rng(seed)
    anchors = np.zeros((K, D), dtype=np.float32)
    anchors[range(K), [0, 1, 2] * 2] = [1, 1, 1, -1, -1, -1]
    label, scene, draw, view = (part.ravel() for part in np.mgrid[:K, :SCENES, :draws, :2])
    z = anchors[label] + leak * rng.standard_normal((SCENES, D))[scene]
    z += damage * rng.standard_normal((K, SCENES, draws, D))[label, scene, draw]
    z[:, :3] += spread * rng.standard_normal((len(z), 3))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    table = pd.DataFrame({"scene": [f"demo/{c}" for c in scene], "dataset": "demo",
                          "label": [NAMES[k] for k in label], "severity": 0.5, "seed": draw,
                          "view": np.array(["image", "crop"])[view], "psnr_input": 20.0, "psnr": math.nan})  # fmt: skip
    angle = sphere.angle(torch.from_numpy(z)[:, None], torch.from_numpy(anchors).double()).numpy().astype(np.float32)
    n = len(z)
    similarity = np.zeros((n, 8, 3), dtype=np.float32)
    return Traces(table, z.astype(np.float32), np.zeros((n, 8), np.int8), similarity, similarity[..., 0], angle, NAMES,
                  anchors, np.zeros((8, 0, D), np.float32), "planted")  # fmt: skip


@pytest.fixture(scope="module")
def caps():
    return planted()


@pytest.fixture(scope="module")
def globe(caps, tmp_path_factory):
    """The one map by UMAP of this file; its start takes most of the time."""
    return make_map(caps, "umap_sphere", cache=tmp_path_factory.mktemp("cache"))


def test_a_planted_sphere_comes_back_as_a_sphere(caps, globe):
    assert globe.points.shape == (len(caps), 3) and globe.anchors.shape == (K, 3)
    np.testing.assert_allclose(np.linalg.norm(globe.points, axis=1), 1, atol=1e-6)
    assert globe.quality["trustworthiness"] > 0.9 and globe.quality["continuity"] > 0.9
    assert all(0 <= value <= 1 for value in globe.quality.values())
    # caps at the two ends of an axis are farther from each other than from the other four
    centres = np.stack([globe.points[(caps.table.label == name).to_numpy()].mean(axis=0) for name in NAMES])
    gaps = np.linalg.norm(centres[:, None] - centres, axis=-1)
    assert [int(row.argmax()) for row in gaps] == [3, 4, 5, 0, 1, 2]
    nearest = np.linalg.norm(globe.anchors[:, None] - centres, axis=-1).argmin(axis=1)
    assert nearest.tolist() == list(range(K)), "anchors lie among their own"


def test_the_first_angle_is_the_colatitude(caps, globe):
    """Reading it as latitude, a classic slip, folds the sphere."""
    a, b = sphere.to_angles(torch.from_numpy(globe.points).double())
    latitude = torch.stack([torch.cos(a) * torch.cos(b), torch.cos(a) * torch.sin(b), torch.sin(a)], dim=1).numpy()
    wrong = quality(caps.embedding, latitude, "pca")["trustworthiness"]
    assert wrong < globe.quality["trustworthiness"] - 0.1


def test_the_start_on_the_sphere_survives_the_stretching_of_umap():
    rng = np.random.default_rng(1)
    rows = maps._unit(rng.standard_normal((200, 3)))
    start = maps._sphere_start(rows)
    np.testing.assert_allclose(np.ptp(start, axis=0), 10)
    there = sphere.to_xyz(*torch.from_numpy(start - start.min(axis=0)).unbind(1)).numpy()
    off = np.linalg.norm(align(there, rows) - rows, axis=1)
    assert np.median(off) < 0.15 and (off > 0.5).sum() <= 3


def test_shuffled_places_are_not_trusted(caps, globe):
    dealt = globe.points[np.random.default_rng(0).permutation(len(caps))]
    bad = Map(dealt, "umap_sphere", 0, quality=quality(caps.embedding, dealt, "pca"))
    assert bad.quality["trustworthiness"] < 0.65 and bad.quality["neighbours_kept"] < 0.25
    assert any(text.startswith("trustworthiness") for text in bad.warnings)
    assert replace(bad, quality=None).warnings == ["its quality was not measured"]
    told = plots.map_view(bad, caps.table.label).alt_text
    assert "Not to be trusted: trustworthiness 0." in told


def test_pca_keeps_distances_that_fit_and_says_so():
    rng = np.random.default_rng(0)
    flat = rng.standard_normal((100, 2)) + 3  # in a plane, away from the origin
    points = slerlib.embed(np.pad(flat, ((0, 0), (0, 5))), "pca")
    spread = np.linalg.norm(flat[:, None] - flat, axis=-1)
    np.testing.assert_allclose(np.linalg.norm(points[:, None] - points, axis=-1), spread, atol=1e-4)
    assert quality(points, points, "pca") == {
        "trustworthiness": 1, "continuity": 1, "neighbours_kept": 1
    } or quality(maps._unit(points), maps._unit(points), "pca")["neighbours_kept"] == 1  # fmt: skip


def test_a_map_comes_from_the_cache(caps, tmp_path, monkeypatch):
    first = make_map(caps, "pca", cache=tmp_path)
    monkeypatch.setattr(maps, "_fit", None)
    again = make_map(caps, "pca", cache=tmp_path)
    assert np.array_equal(first.points, again.points) and first.quality == again.quality
    assert np.array_equal(first.anchors, again.anchors) and first.warnings == again.warnings
    with pytest.raises(TypeError):
        make_map(planted(seed=1), "pca", cache=tmp_path)


def test_a_map_without_a_seed_is_not_kept(caps, tmp_path):
    make_map(caps, "pca", seed=None, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_map_of_the_cache_is_made_again(caps, tmp_path):
    first = make_map(caps, "pca", cache=tmp_path)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    for damaged in (content[:300], b"", content.replace(b"points.npy", b"pointy.npy")):
        file.write_bytes(damaged)
        with pytest.warns(UserWarning, match="is damaged"):
            again = make_map(caps, "pca", cache=tmp_path)
        assert np.array_equal(first.points, again.points) and first.quality == again.quality
    assert np.array_equal(make_map(caps, "pca", cache=tmp_path).points, first.points)


def test_a_list_is_pooled_and_bad_input_is_refused(caps):
    pooled = slerlib.embed([caps, caps], "pca")
    np.testing.assert_allclose(pooled[: len(caps)], pooled[len(caps) :], atol=1e-6)
    for rows, message in ((np.zeros((3, 4)), "at least 5"), (np.full((9, 4), np.nan), "finite")):
        with pytest.raises(slerlib.UserError, match=message):
            slerlib.embed(rows, "pca")
    with pytest.raises(slerlib.UserError, match="umap_sphere"):
        slerlib.embed(caps, "tsne")


def test_procrustes_finds_a_rotation_and_networks_are_compared_after_it(caps):
    turn = ortho_group.rvs(D, random_state=0).astype(np.float32)
    turned = replace(caps, embedding=caps.embedding @ turn, anchors=caps.anchors @ turn, checkpoint="turned")
    np.testing.assert_allclose(align(turned.embedding, caps.embedding), caps.embedding, atol=1e-5)
    (before, after), moved = compare_maps([turned, caps], "pca")
    assert moved.max() < 0.1
    np.testing.assert_allclose(before.points, after.points, atol=1e-4)
    fewer = replace(turned, anchors=turned.anchors[:4], anchor_names=NAMES[:4])  # trained on fewer degradations
    (before, after), _ = compare_maps([fewer, caps], "pca")
    assert len(before.anchors) == 4 and len(after.anchors) == K
    np.testing.assert_allclose(before.anchors, after.anchors[:4], atol=1e-4)
    other = caps.select(np.arange(len(caps))[::-1])
    with pytest.raises(slerlib.UserError, match="same images"):
        compare_maps([other, caps], "pca")


def test_measures_of_the_planted_sphere(caps):
    table = measures(caps)
    assert table.value["knn_accuracy"] > 0.98 and table.value["probe_accuracy"] > 0.98
    assert table.value["silhouette"] > 0.6
    for name in ("knn_accuracy", "probe_accuracy"):
        assert table["reference"][name] == 1 / K and abs(table.shuffled[name] - 1 / K) < 0.07
    assert table.loc["scene_leakage", ["value", "low", "shuffled", "reference"]].isna().all(), "a single draw"
    # six points at the ends of three axes: 24 of the 30 ordered pairs at a right angle, 6 opposite
    assert table.value["inter_cosine"] == pytest.approx(-6 / 30, abs=0.01)
    distance = math.log((24 * math.exp(-4) + 6 * math.exp(-8)) / 30)
    assert table.value["centroid_uniformity"] == pytest.approx(distance, abs=0.05)
    inside = table.drop(["centroid_uniformity", "scene_leakage"])
    assert ((inside.low <= inside.value) & (inside.value <= inside.high)).all()


def test_leakage_is_seen_where_it_was_planted():
    table = measures(planted(spread=0.02, leak=0.15, draws=2))
    leak = table.loc["scene_leakage"]
    assert leak.low > 0.9 and leak.shuffled < 0.2
    # two rows of the other draw among 2 x 2 x 10 of the class less the two of its own
    assert leak.reference == pytest.approx(2 / 38)
    assert table.value["view_alignment"] < 0.01 < table.shuffled["view_alignment"]


def test_damage_that_crops_and_severities_share_is_no_leak_of_the_scene():
    caps = planted(spread=0.02, damage=0.15, draws=2)
    mild = replace(caps, table=caps.table.assign(severity=0.1))
    leak = measures(caps.append(mild)).loc["scene_leakage"]
    assert leak.reference == pytest.approx(4 / 76) and leak.low <= leak.reference <= leak.high < 0.15


def test_the_optimum_of_uniformity_is_that_of_a_simplex():
    points = np.repeat(sphere.simplex(K, D).float().numpy(), 2 * SCENES, axis=0)
    table = measures(replace(planted(), embedding=points))
    for name in ("centroid_uniformity", "inter_cosine"):
        assert table.value[name] == pytest.approx(table["reference"][name], abs=1e-5)
    assert table.value["intra_cosine"] == pytest.approx(1, abs=1e-6) and table.value["silhouette"] == pytest.approx(1)


def test_four_scenes_give_values_without_intervals():
    caps = planted(draws=2)
    part = caps.select(caps.table.scene.isin([f"demo/{n}" for n in range(4)]).to_numpy())
    table = measures(part)
    assert table.value.notna().all() and table[["low", "high"]].isna().all(axis=None)


def test_classes_with_scenes_of_their_own_need_five_each():
    """One scene per class: every draw with all classes is the data, and its interval would have no width."""
    caps = planted()
    alone = np.array([label in "abcde" and scene == f"demo/{'abcde'.index(label)}"
                      for label, scene in zip(caps.table.label, caps.table.scene, strict=True)])  # fmt: skip
    table = measures(caps.select(alone))
    assert np.isfinite(table.value["inter_cosine"]) and table[["low", "high"]].isna().all(axis=None)


def test_one_scene_leaves_held_out_measures_empty():
    caps = planted()
    single = (caps.table.scene == "demo/0").to_numpy() & (caps.table.view == "image").to_numpy()
    assert measures(caps.select(single)).value.notna().sum() == 2, "the centroids of one row per class"
    table = measures(caps.select((caps.table.scene == "demo/0").to_numpy()))
    held_out = table.loc[["knn_accuracy", "probe_accuracy", "intra_cosine"]]
    assert held_out.value.isna().all() and table.low.isna().all() and np.isfinite(table.value["silhouette"])
    with pytest.raises(slerlib.UserError, match="between classes"):
        measures(caps.select((caps.table.label == "a").to_numpy()))


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_figures_say_what_they_show(caps, globe, kind):
    flat = make_map(caps, "pca", cache=False)
    figures = [plots.map_view(flat, caps.table.label, NAMES), plots.map_view(globe, caps.table.label, NAMES)]
    figures.append(plots.globe_view(globe, caps.table.label, NAMES))
    for figure in figures:
        assert "120 points: trustworthiness" in figure.alt_text and "20 a, 20 b" in figure.alt_text
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=40)
        assert len(file.getvalue()) > 5_000
    assert "Drawn nearest" in figures[1].alt_text
    with pytest.raises(slerlib.UserError, match="map_view"):
        plots.globe_view(flat, caps.table.label, NAMES)
    for draw in (
        lambda: plots.map_view(flat, caps.table.label),
        lambda: plots.globe_view(globe, caps.table.label, "a"),
    ):
        with pytest.raises(slerlib.UserError, match="6 anchors"):
            draw()
    with pytest.raises(slerlib.UserError, match="label for each"):
        plots.map_view(flat, ["a"])


def test_a_legend_of_long_names_stays_inside_the_figure(caps):
    labels = [f"lowlight+haze+rain+snow+noise25 {name}" for name in caps.table.label]
    figure = plots.map_view(make_map(caps, "pca", cache=False, measure=False), labels, NAMES)
    figure.savefig(io.BytesIO())
    check_texts(figure)


def test_names_of_anchors_side_by_side_do_not_cover_each_other(caps):
    anchors = np.array([[0, 0], [0.2, 0], [0.4, 0.1], [3, 3], [3, -3], [-3, 0]], dtype=np.float32)
    points = np.random.default_rng(0).standard_normal((len(caps), 2)).astype(np.float32)
    figure = plots.map_view(Map(points, "pca", 0, anchors), caps.table.label, ("left", "middle", "c", "d", "e", "f"))
    figure.savefig(io.BytesIO())
    left, middle = (next(t for t in figure.axes[0].texts if t.get_text() == name) for name in ("left", "middle"))
    assert not left.get_window_extent().overlaps(middle.get_window_extent())


def test_globe_and_unrolled_map_show_the_same_places():
    points = maps._unit(np.random.default_rng(0).standard_normal((50, 3)))
    from slerlib.plots.sphere import _emptiest, _unrolled, _view

    cut = _emptiest(points)
    lon, lat = _unrolled(points, cut).T
    assert abs(lon).max() <= math.pi
    again = sphere.to_xyz(torch.from_numpy(math.pi / 2 - lat), torch.from_numpy(lon + math.pi + cut)).numpy()
    np.testing.assert_allclose(again, points, atol=1e-9)
    seen, depth = _view(points, 0.7)
    np.testing.assert_allclose((seen**2).sum(axis=1) + depth**2, 1, atol=1e-9)


# --- regions of the experts -------------------------------------------------------------------------------------------


def routed(caps) -> Traces:
    """Caps a, b go to expert 0, c, d to 1, e, f to 2, at every layer; the pins are the middles of the pairs."""
    pair = np.array([NAMES.index(name) // 2 for name in caps.table.label], dtype=np.int8)
    pins = sphere.normalise(torch.from_numpy(caps.anchors).reshape(3, 2, D).sum(dim=1)).numpy()
    return replace(caps, path=np.repeat(pair[:, None], 8, axis=1), pins=np.repeat(pins[None], 8, axis=0))


def test_regions_of_experts_are_those_of_their_images(globe, caps):
    traces = routed(caps)
    chart = replace(globe, pins=np.repeat(maps._unit(globe.anchors.reshape(3, 2, 3).sum(axis=1))[None], 8, axis=0))
    for turn in (None, 0, 120):
        fig = plots.cell_view(chart, traces, turn)
        assert len(fig.axes) == 8 and fig.axes[0].get_title() == "enc1  100%"
        assert "take the same expert: enc1 100%" in fig.alt_text and ("turned" in fig.alt_text) == (turn is not None)
    flat = make_map(traces, "pca", cache=False, measure=False)
    assert "PCA" in plots.cell_view(flat, traces).alt_text
    for chart, rows, turn, message in (
        (flat, traces, 30, "points on a sphere"),
        (globe, traces, None, "network with pins"),
        (flat, traces.select(np.arange(9)), None, "9 traces"),
    ):
        with pytest.raises(slerlib.UserError, match=message):
            plots.cell_view(chart, rows, turn)


def test_places_of_a_map_are_where_its_points_are_drawn():
    from slerlib.plots.cells import _neighbours, _places, _vote

    points, pins = maps._unit(np.random.default_rng(0).standard_normal((50, 3))), np.eye(3)[None]
    for turn in (None, 70.0):
        draw_HW2, places_HW3, flat = _places(points, pins, turn)
        on = np.isfinite(places_HW3).all(axis=-1) & (abs(draw_HW2[..., 0]) < 3.1) & (abs(draw_HW2[..., 1]) < 1.5)
        again, front = flat(places_HW3[on])
        np.testing.assert_allclose(again, draw_HW2[on], atol=1e-6)
        assert front.all()
    near, inside = _neighbours(points, np.array([points[7], [9, 9, 9], [np.nan] * 3]))
    assert near[0, 0] == 7 and inside.tolist() == [True, False, False]
    assert 7 not in _neighbours(points)[0][7]
    assert _vote(np.array([2, 2, 1, 0, 1]), np.array([[0, 1, 2], [2, 3, 4], [0, 2, 3]]), 3).tolist() == [2, 1, 0]
