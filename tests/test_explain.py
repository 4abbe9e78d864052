"""`slerlib explain`: one page about one photograph, which opens without a network."""

import html
import shlex
from dataclasses import replace
from datetime import datetime

import chromium
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from slerlib import SLERIR, UserError, config, load, provenance, restore
from slerlib.checkpoint import WEIGHTS, find
from slerlib.explain import explain, write_page
from slerlib.explain.look import middle
from slerlib.files import PACKAGE, sha256_file, sha256_folder
from slerlib.inference.parts import restore_part
from slerlib.model.doubt import Limits

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
    changed = 255 * (about.y_CHW - about.x_CHW).abs()[:, *middle(about.x_CHW, 48, model.cell)].mean()
    assert len(about.passes) == 1 and about.passes[0].levels == pytest.approx(changed.item(), rel=1e-3)


def test_the_middle_is_shown_as_a_part_of_the_whole_picture(tmp_path):
    """Noise everywhere but in the middle: alone, the middle is clean."""
    net, path = load("tiny"), tmp_path / "photo.png"
    x = data.astronaut()[:384, :384] + np.random.default_rng(0).normal(0, 50, (384, 384, 3))
    x[96:288, 96:288] = data.astronaut()[96:288, 96:288]
    Image.fromarray(np.clip(x, 0, 255).astype(np.uint8)).save(path)
    about = explain(net, path, passes=2, route="image", side=192)
    part = middle(about.x_CHW, 192, net.cell)
    assert part == (slice(96, 288), slice(96, 288))
    first, second = (restore(net, about.x_CHW, passes=n, route="image")[:, *part] for n in (1, 2))
    for step, before, after in zip(about.passes, (about.x_CHW[:, *part], first), (first, second), strict=True):
        assert torch.allclose(step.picture, after, atol=1e-5)
        assert step.levels == pytest.approx(255 * (after - before).abs().mean().item(), rel=1e-3)
    own = about.trace.path_strings()[0]
    errors = {}
    for name, picture in (
        ("part", restore_part(net, about.x_CHW, part, [own])[0]),
        ("alone", restore(net, about.x_CHW[:, *part], path=own)),
    ):
        errors[name] = 255 * (picture - first)[:, 32:-32, 32:-32].abs().mean().item()
    print(errors)
    assert errors["part"] < 0.2 * errors["alone"]


@pytest.mark.parametrize("size", [(5, 40), (72, 96), (33, 300)])
def test_a_picture_that_is_its_own_middle_is_restored_as_a_whole(model, size):
    x = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    (y,) = restore_part(model, x, middle(x, 320, model.cell), ["01201201"])
    assert torch.allclose(y, restore(model, x, path="01201201"), atol=1e-5)


@pytest.mark.parametrize("options", [{"passes": 2, "route": "image"}, {"route": "place"}])
def test_passes_and_places_have_their_pictures(model, photo, tmp_path, options):
    about = explain(model, photo, side=32, **options)
    page = write_page(tmp_path / "page.html", about, model, photo.name, "again").read_text()
    assert len(about.passes) == options.get("passes", 1)
    assert ("Expert of each place" in page) == (options["route"] == "place")
    assert ("Pass 2" in page or "pass 2" in page) == ("passes" in options)


def test_the_page_says_in_words_whether_to_trust_the_route(photo, tmp_path):
    """By the limits of the class itself, with the share of wrong names that the card states."""
    model = load("tiny", "cpu")
    about, part = explain(model, photo, side=32), model.card["doubt"]
    name, angle = about.nearest, about.trace.anchor_angle.min().item()

    def page(limit: Limits, card: dict) -> str:
        model.card, about.trace = card, replace(about.trace, limits={name: limit})
        return write_page(tmp_path / "page.html", about, model, "x", "again").read_text()

    about.y_CHW = about.x_CHW
    near, far = Limits(angle * 1.2, -1.0), Limits(angle - 1, -1.0)
    own = part["named"][name]["without"]
    rate = (
        f"Of the measured pictures without a sign of doubt the network named {part['wrong_without']:.0%} wrongly; "
        f"of the {own['pictures']} that it called {name}, {own['wrong']:.0%}."
    )
    assert f"no sign of doubt was seen; that is no proof.</strong> {rate}" in page(near, model.card)
    close = page(Limits(angle * 1.05, -1.0), model.card)
    assert f"one is near its limit; that is no proof.</strong> {rate}" in close
    assert f"limit {angle * 1.05:.0f}°: <strong>near its limit</strong>" in close and "changed the picture" not in close
    doubted = page(far, model.card)
    assert doubted.count("Verdict: doubtful; compare both pictures") == 2, "at the top and in its section"
    assert f"limit {angle - 1:.0f}°: <strong>doubtful</strong>" in doubted
    assert f"{part['wrong_with_doubt']:.0%} wrongly" in doubted
    about.y_CHW = (about.x_CHW + 0.5) % 1
    assert page(near, model.card).count("Restoring changed the picture strongly: compare both.") == 2
    unmeasured = page(near, {key: value for key, value in model.card.items() if key != "doubt"})
    assert "No limits were measured" in unmeasured and "wrongly" not in unmeasured


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
        (".", f". is a folder. Name {photo.stem}.html"),
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
    for name in (photo, find(untrained) / WEIGHTS):  # where the page comes from
        assert f"(sha256 {sha256_file(name)[:16]})" in page
    for text in (provenance.VERSION, sha256_folder(PACKAGE, "*.py")[:16], f"{datetime.now():%Y-%m-%d}"):
        assert text in page
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
