"""`slerlib explain`: one page about one photograph, which opens without a network."""

import html
import shlex

import chromium
import numpy as np
import pytest
import torch
from PIL import Image

from slerlib import SLERIR, UserError, config, load, restore
from slerlib.explain import explain, write_page

NAME = "<img src=x onerror=alert(1)> $_{ [l](javascript:1).png"


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / NAME
    noise = np.random.default_rng(0).normal(0, 40, (72, 96, 3))
    Image.fromarray(np.clip(120 + noise, 0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def model(untrained):
    return load(untrained)


def test_it_restores_as_restore_does_and_looks_at_other_paths(model, photo):
    about = explain(model, photo, side=48)
    with Image.open(photo) as image:
        expected = restore(model, torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255)
    assert torch.allclose(about.y_CHW, expected, atol=1e-6) and about.nearest in about.trace.anchor_names
    own = about.trace.path[0].tolist()
    assert len(about.stations) == 8 and about.stations[0].picture.shape == (3, 48, 48)
    for step, expert in zip(about.stations, own, strict=True):
        assert step.title.endswith(f"instead of {expert}") and step.change.shape == (48, 48)
    names = [name for step in about.anchors for name in step.title.split(", ")]
    assert sorted(names) == sorted(about.trace.anchor_names), "each class once"
    left = (96 - 48) // 2
    part = about.x_CHW[:, 12:60, left : left + 48]
    changed = 255 * (restore(model, part) - part).abs().mean()
    assert len(about.passes) == 1 and about.passes[0].levels == pytest.approx(changed.item(), rel=1e-3)


@pytest.mark.parametrize("options", [{"passes": 2}, {"route": "place"}])
def test_passes_and_places_have_their_pictures(model, photo, tmp_path, options):
    about = explain(model, photo, side=32, **options)
    page = write_page(tmp_path / "page.html", about, model, photo.name, "again").read_text()
    assert len(about.passes) == options.get("passes", 1)
    assert ("Expert of each place" in page) == ("route" in options)
    assert ("Pass 2" in page or "pass 2" in page) == ("passes" in options)


def test_a_network_without_a_choice_is_explained_too(photo, tmp_path):
    cfg = config.with_overrides(config.recipe("tiny"), ["model.experts=1"])
    net = SLERIR(cfg.model).eval()
    about = explain(net, photo, side=32)
    assert about.stations == about.anchors == []
    assert "one expert at each layer" in write_page(tmp_path / "page.html", about, net, "x", "again").read_text()


def test_the_command_refuses_what_it_cannot_do(run, photo, untrained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.html").write_text("mine")
    for out, words in (
        ("page.png", "Name it page.html"),
        ("taken.html", "--overwrite"),
        ("no/page.html", "no does not exist"),
    ):
        code, _, error = run("explain", photo, "--checkpoint", untrained, "--out", out)
        assert code == 1 and words in error, error
    assert (tmp_path / "taken.html").read_text() == "mine"
    for photo_path, words in (("none.png", "none.png does not exist"), (".", ". is a folder")):
        code, _, error = run("explain", photo_path)
        assert code == 1 and words in error, error
    with pytest.raises(UserError):
        explain(load(untrained), photo, passes=7)


def test_the_command_on_the_page_makes_it_again(run, photo, untrained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("explain", photo, "--checkpoint", untrained, "--out", "page.html")[0] == 0
    page = (tmp_path / "page.html").read_text()
    command = html.unescape(page.rpartition("<pre>")[2].partition("</pre>")[0])
    code, out, error = run(*shlex.split(command)[1:])
    assert code == 0 and out.strip() == "page.html", error


@pytest.mark.browser
def test_the_page_opens_without_a_network_and_its_slider_moves(run, photo, untrained, tmp_path, monkeypatch):
    chromium.find()
    monkeypatch.chdir(tmp_path)
    code, out, error = run("explain", photo, "--checkpoint", untrained, "--out", "page.html")
    assert code == 0 and out.strip() == "page.html", error
    assert (tmp_path / "page.html").stat().st_size < 3e6
    with chromium.Page(tmp_path / "page.html", tmp_path / "profile") as page:
        assert page.outside() == page.blocked == page.complaints == page.broken_images() == []
        assert page.images_without_alt() == 0 and NAME in page.evaluate("document.querySelector('h1').innerText")
        for look in ({"width": 1200}, {"width": 380, "dark": True}, {"width": 688, "media": "print"}):
            page.emulate(**look)
            assert page.overflow() <= 0, look
        page.emulate()
        clip = "getComputedStyle(document.querySelector('.before')).clipPath"
        before = page.evaluate(clip)
        page.evaluate("(i => { i.value = 10; i.dispatchEvent(new Event('input')) })(document.querySelector('input'))")
        assert page.evaluate(clip) != before and "%" in before
