"""Explorers with a canvas or a file: the brush, the globe, uploads; and the still of a notebook opened again."""

import io
import re
import types

import numpy as np
import pytest
import torch
from explorers import SIDE, crop, shaken
from PIL import Image

import slerlib
from slerlib import UserError, sphere, widgets
from slerlib.config import STAGE_NAMES
from slerlib.data.scenes import photographs
from slerlib.widgets import painting, scoring
from slerlib.widgets.album import Album, shrunk
from slerlib.widgets.frames import jpeg
from slerlib.widgets.parts import Upload
from slerlib.widgets.turning import directions


@pytest.fixture(scope="module")
def model():
    return shaken()


@pytest.fixture(scope="module")
def clean():
    return photographs()[2].image


def file(width: int, height: int, kind: str = "PNG") -> bytes:
    """A picture file with a gradient."""
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(np.broadcast_to(ramp[None, :, None], (height, width, 3)).copy()).save(out, kind)
    return out.getvalue()


# --- the brush --------------------------------------------------------------------------------------------------------


def test_painted_damage_is_what_the_library_does_through_the_mask(model, clean):
    shown = widgets.paint(model, clean, "noise", 0.5, 3, side=SIDE)
    where = np.zeros((SIDE // 2, SIDE // 2), np.uint8)
    where[:, : SIDE // 4] = 255  # the left half
    shown.controls["where"].value = where.tobytes()
    values = shown.now.values
    degraded = slerlib.degrade(crop(clean), "noise", 0.5, 3, where=values["where"])
    restored, trace = slerlib.restore(model, degraded, route="place", return_trace=True)
    assert torch.equal(values["degraded"], degraded) and torch.equal(values["restored"], restored)
    assert torch.equal(degraded[..., SIDE // 2 + 3 :], crop(clean)[..., SIDE // 2 + 3 :])
    assert slerlib.psnr(degraded[..., : SIDE // 2 - 3], crop(clean)[..., : SIDE // 2 - 3]) < 25
    assert torch.equal(values["trace"].path_map, trace.path_map)
    assert shown.stage.photo == jpeg(degraded)  # it comes back under the brush
    assert "noise 25 on 50% of the picture" in shown.now.line


def test_the_map_has_the_colours_of_the_classes(model, clean):
    shown = widgets.paint(model, clean, side=SIDE)
    shown.refresh()
    trace = shown.now.values["trace"]
    pixels, where = painting.map_pixels(trace, SIDE, SIDE), trace.where()[0]
    step = SIDE // where.shape[0]
    for y, x in ((0, 0), (3, 5), (where.shape[0] - 1, where.shape[1] - 1)):
        colour = slerlib.plots.style.class_looks(trace.anchor_names, ())[trace.anchor_names[where[y, x]]]["color"]
        assert (pixels[y * step : (y + 1) * step, x * step : (x + 1) * step] == [*bytes.fromhex(colour[1:])]).all()
    assert sum(painting.class_shares(trace).values()) <= 1 + 1e-6


def test_buttons_clean_and_damage_the_whole_picture(model, clean):
    shown = widgets.paint(model, clean, "rain", side=SIDE)
    shown.refresh()
    assert 0.05 < shown.now.values["where"].mean() < 0.4  # it begins with a disc
    buttons = {button.description: button for button in shown.panel.children[0].children}
    buttons["clean all"].click()
    assert torch.equal(shown.now.values["degraded"], crop(clean)) and shown.now.values["hits"] is None
    buttons["damage all"].click()
    assert torch.equal(shown.now.values["degraded"], slerlib.degrade(crop(clean), "rain", 0.5, 0))


def test_a_photograph_of_another_size_gets_a_mask_of_its_size(model, clean):
    shown = widgets.paint(model, clean, side=SIDE)
    shown.refresh()
    shown.take("small.png", file(50, 40))
    assert shown.error == "" and shown.controls["picture"].value == "small.png"
    assert shown._view.frame["number"] == 2, "one look, though the mask changed too"
    assert list(shown.stage.size) == [20, 25] and len(shown.stage.value) == 500
    assert shown.now.values["degraded"].shape == (3, 40, 50)
    seen = shown.now
    shown.controls["brush"].value = 40
    assert shown.stage.radius == 20 and shown.now is seen, "a radius alone changes no picture"


def test_damage_is_under_the_brush_before_the_network_is_asked(model, clean, monkeypatch):
    shown, restore, photos = widgets.paint(model, clean, side=SIDE), painting.restore, []

    def watched(*args, **options):
        photos.append(shown.stage.photo)
        return restore(*args, **options)

    monkeypatch.setattr(painting, "restore", watched)
    for value in (b"\xff", b"\0"):
        shown.controls["where"].value = value * (SIDE // 2) ** 2
        assert photos[-1] == jpeg(shown.now.values["degraded"])
    assert len(set(photos)) == 2


def test_hits_count_painted_places_that_are_named_rightly():
    where_HW = torch.zeros(16, 16)
    where_HW[:, :8] = 1
    angles = torch.full((1, 3, 2, 2), 90.0)
    angles[0, 0, 0, 0] = angles[0, 1, 1, 0] = angles[0, 2, :, 1] = 10.0  # noise15, noise50; at the right clean
    trace = types.SimpleNamespace(anchor_names=("noise15", "noise50", "clean"), where=lambda: angles.argmin(dim=1))
    assert painting._hits(trace, where_HW, "noise") == 1.0 and painting._hits(trace, where_HW, "noise15") == 0.5
    assert painting._hits(trace, where_HW, "clean") == 0.0 and painting._hits(trace, where_HW, "snow") is None


# --- the globe --------------------------------------------------------------------------------------------------------


def test_the_globe_draws_shadows_and_says_how_much_they_hold(model, clean):
    shown = widgets.globe(model, clean, "haze", 0.7, 2, side=SIDE)
    shown.refresh()
    values, scene = shown.now.values, shown.stage.scene
    degraded = slerlib.degrade(crop(clean), "haze", 0.7, 2)
    z = slerlib.restore(model, degraded, return_trace=True)[1].embedding[0].double()
    axes = values["axes"]
    assert torch.allclose(axes @ axes.T, torch.eye(3, dtype=torch.float64), atol=1e-9)
    marks = {point["name"]: torch.tensor(point["at"]) for point in scene["points"]}
    anchors = sphere.normalise(model.router.anchors.double())
    for name, anchor in zip(model.router.names, anchors, strict=True):
        assert torch.allclose(marks[name].double(), axes @ anchor, atol=1e-6)
    assert torch.allclose(marks["this picture"].double(), axes @ z, atol=1e-6)
    assert values["share"] == pytest.approx((axes @ z).square().sum().item())
    assert f"{values['share']:.0%} of this picture's point" in scene["hint"]
    # a point on the surface has the cell that the router gives it
    for direction in torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)):
        surface = sphere.normalise(direction)
        cell = (torch.tensor(scene["cells"]).double() @ surface).argmax().item()
        assert cell == model.router.route((surface @ axes)[None].float()).path[0, 0]


def test_the_view_through_the_nearest_anchors_puts_them_on_the_surface(model, clean):
    shown = widgets.globe(model, clean, side=SIDE)
    shown.set(view="3 nearest anchors", layer="dec2")
    nearest = shown.now.values["trace"].anchor_angle[0].argsort()[:3]
    names = [model.router.names[k] for k in nearest]
    lengths = {point["name"]: torch.tensor(point["at"]).norm().item() for point in shown.stage.scene["points"]}
    assert all(lengths[name] == pytest.approx(1, abs=1e-5) for name in names)
    assert "cells of dec2" in shown.stage.scene["title"] and len(shown.stage.scene["cells"]) == model.cfg.experts
    shown.set(layer="none")
    assert shown.stage.scene["cells"] == [] and "pin 0" not in str(shown.stage.scene)
    assert directions(torch.eye(5, dtype=torch.float64)).shape == (3, 5)


@pytest.mark.parametrize("k", [4, 5, 8, 9])
def test_even_anchors_are_drawn_evenly(k):
    """In every direction the corners of a simplex have as much, so that a decomposition would draw them anyhow."""
    turned = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(k)))[0]
    corners = sphere.simplex(k, 12) @ turned
    axes = directions(corners)
    assert torch.allclose(axes @ axes.T, torch.eye(3, dtype=torch.float64))
    shadow = corners @ axes.T
    assert torch.allclose(shadow.square().sum(dim=0), torch.full((3,), k / (k - 1), dtype=torch.float64))
    length = shadow[:, :2].norm(dim=1)
    assert torch.allclose(length, length[:1].expand(k)) and torch.allclose(sphere.widest(corners, 2), axes[:2])
    if k % 2 == 0:
        assert torch.allclose(shadow[::2, 2], -shadow[1::2, 2]) and shadow[0, 2] > 0


def test_a_map_can_be_turned_and_filtered():
    from slerlib.analysis.embedding import TRUSTED, Map

    points = sphere.normalise(torch.randn(30, 3, generator=torch.Generator().manual_seed(0))).numpy()
    chart = Map(points, "umap_sphere", 0, points[:2], quality={name: 0.95 for name in TRUSTED})
    shown = widgets.map_globe(chart, ["rain"] * 10 + ["haze"] * 20, ["rain", "haze"])
    shown.refresh()
    assert shown.now.values["shown"] == 30 and len(shown.stage.scene["points"]) == 32
    shown.set(only="rain")
    assert shown.now.values["shown"] == 10 and "trustworthiness 0.95" in shown.now.line
    plane = Map(points[:, :2], "umap_plane", 0)
    with pytest.raises(UserError, match="this map is 'umap_plane'"):
        widgets.map_globe(plane, ["rain"] * 30)


# --- forbidding, damage, scores ---------------------------------------------------------------------------------------


def test_without_an_expert_the_next_nearest_pin_chooses(model, clean):
    shown = widgets.forbid(model, clean, side=SIDE)
    shown.refresh()
    own = slerlib.restore(model, slerlib.degrade(crop(clean), "rain"), return_trace=True)[1]
    assert shown.now.values["path"] == own.path[0].tolist() and shown.now.values["gain"] == 0
    layer = 3
    shown.set(**{STAGE_NAMES[layer]: str(own.path[0, layer].item())})
    second = own.similarity[0, layer].argsort(descending=True)[1].item()
    expected = [*own.path[0].tolist()[:layer], second, *own.path[0].tolist()[layer + 1 :]]
    assert shown.now.values["path"] == expected and shown.now.values["forbidden"] == ((layer, own.path[0, layer]),)
    buttons = {button.description: button for button in shown.panel.children[0].children}
    buttons["forbid the own path"].click()
    assert all(a != b for a, b in zip(shown.now.values["path"], own.path[0].tolist(), strict=True))
    buttons["allow all"].click()
    assert shown.now.values["path"] == own.path[0].tolist()


def test_two_damages_and_a_place_are_those_of_the_library(clean):
    shown = widgets.damage(clean, "haze", 0.4, 5, side=SIDE)
    shown.set(**{"and": "lowlight", "where": "disc"})
    where = slerlib.data.masks.mask("disc", SIDE, SIDE, 5, image=crop(clean))
    expected = slerlib.degrade(crop(clean), ["haze", "lowlight"], 0.4, 5, where=where)
    assert torch.equal(shown.now.values["degraded"], expected)
    assert shown.now.values["order"] == ["lowlight", "haze"] and "lowlight, then haze" in shown.now.line


@pytest.mark.parametrize("error", scoring.ERRORS)
def test_every_error_reaches_the_psnr_that_is_asked_for(clean, error):
    for decibel in (20, 30):
        assert slerlib.psnr(scoring.wrong(crop(clean), error, decibel), crop(clean)) == pytest.approx(decibel, abs=0.2)


def test_ssim_tells_apart_what_psnr_does_not(clean):
    shown = widgets.same_psnr(clean, side=SIDE)
    scores = {}
    for error in ("brighter everywhere", "noise"):
        shown.set(error=error)
        scores[error] = shown.now.values["ssim"]
        assert slerlib.ssim(shown.now.values["wrong"], crop(clean)) == scores[error]
    assert scores["brighter everywhere"] > scores["noise"] + 0.1


# --- files of the reader ----------------------------------------------------------------------------------------------


def test_a_file_comes_in_pieces_and_becomes_the_picture(model, clean):
    shown = widgets.degrade_and_restore(model, clean, side=SIDE)
    shown.refresh()
    (upload,) = [child for row in shown.panel.children for child in row.children if isinstance(child, Upload)]
    data = file(300, 200)
    upload._on_message(None, {"kind": "begin", "name": "C:/me/beach.png", "size": len(data)}, [])
    upload._on_message(None, {"kind": "piece"}, [memoryview(data[:100])])
    upload._on_message(None, {"kind": "piece"}, [memoryview(data[100:])])
    assert "beach.png" not in shown.controls["picture"].options
    upload._on_message(None, {"kind": "end"}, [])
    assert shown.controls["picture"].value == "beach.png" and shown.error == ""
    assert shown.now.values["degraded"].shape == (3, SIDE, SIDE)
    shown.controls["picture"].value = "coffee"
    assert shown.now is not None and "beach.png" in shown.controls["picture"].options


def test_what_is_no_picture_is_refused_in_one_line(model, clean):
    shown = widgets.degrade_and_restore(model, clean, side=SIDE)
    bomb = io.BytesIO()
    Image.new("1", (20000, 20000)).save(bomb, "PNG")
    for data, words in (
        (b"", "0 bytes"), (b"<html>", "must be of a kind"), (file(64, 64)[:80], "truncated"),
        (bomb.getvalue(), "MAX_IMAGE_PIXELS"),
    ):  # fmt: skip
        shown.take("x.png", data)
        assert shown.now is None and words in shown.error and "x.png" in shown.error
        assert shown.controls["picture"].options[0] == "as given" and "\n" not in shown.error
    upload = Upload(shown.take, shown.complain)
    upload._on_message(None, {"kind": "large", "name": "film.mov", "size": 2_000_000_000}, [])
    assert "at most 100 MB; film.mov has 2000 MB" in shown.error
    shown.refresh()
    assert shown.error == "" and shown.now is not None


def test_an_own_picture_is_restored_whole_and_can_be_saved(model):
    shown = widgets.own_picture(model)
    shown.take("holiday.jpg", file(120, 70, "JPEG"))
    values = shown.now.values
    assert values["picture"].shape == (3, 70, 120) and torch.equal(
        values["restored"], slerlib.restore(model, values["picture"], route="place")
    )
    link = re.search(r'<a href="data:image/png;base64,[^"]+" download="([^"]+)"', shown._view.frame["drawings"])
    assert link[1] == "holiday_restored.png"
    assert "120 x 70 pixels" in shown.now.line and "made smaller" not in shown.now.line
    shown.take("wide.png", file(2048, 8))
    assert shown.now.values["picture"].shape == (3, 4, 1024) and "It was 2048 x 8" in shown.now.line


def test_a_large_photograph_is_made_smaller_before_its_middle_is_taken():
    x = torch.rand(3, 100, 300)
    assert shrunk(x, 50).shape == (3, 50, 150) and shrunk(x, 100) is x
    album = Album(x, 64)
    assert album["as given"].shape == (3, 64, 64) and "cat" in album.names
    assert album.add("../up.png", file(640, 320)) == "up.png" and album["up.png"].shape == (3, 64, 64)


# --- the still --------------------------------------------------------------------------------------------------------


def test_the_still_says_what_it_is_and_has_no_place_for_markup(model, clean):
    shown = widgets.own_picture(model)
    shown.take("<b onclick=x>.png", file(40, 40))
    still = shown.now.still(shown.name)
    assert "<b onclick" not in still and "&lt;b onclick" in still and "run this cell to get its controls" in still
    assert still.count('alt="') == 3 and ":has(.slerlib-still)" in still
