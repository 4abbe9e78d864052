"""Explorers: a control moves the picture and the numbers, a page without a person gets figures, errors are one line."""

import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from explorers import SIDE, crop, shaken
from IPython.core.interactiveshell import InteractiveShell
from ipywidgets import FloatSlider
from matplotlib.figure import Figure
from PIL import Image

import slerlib
from slerlib import SLERIR, UserError, config, widgets
from slerlib.analysis import causal
from slerlib.config import STAGE_NAMES
from slerlib.data.scenes import photographs
from slerlib.plots.style import attended
from slerlib.widgets import Look


@pytest.fixture(scope="module")
def model():
    return shaken()


@pytest.fixture(scope="module")
def clean():
    return photographs()[2].image


def frame(shown) -> dict:
    """What the browser has: a line, pictures and drawings."""
    return shown._view.frame


def pictures(shown) -> list:
    """The pictures and drawings in the browser; each picture can be read and has a description."""
    for picture in frame(shown)["pictures"]:
        image = Image.open(io.BytesIO(picture["data"]))
        assert image.size == (picture["width"], picture["height"]) and picture["title"] in picture["alt"]
    drawings = re.findall(r"<svg.*?</svg>", frame(shown)["drawings"])
    assert all(re.search(r'role="img" aria-label="[^"]{20,}"', drawing) for drawing in drawings)
    return [picture["data"] for picture in frame(shown)["pictures"]] + drawings


def explorers(model, clean):
    return {
        "degrade_and_restore": widgets.degrade_and_restore(model, clean, side=SIDE),
        "route": widgets.route(model, clean, side=SIDE),
        "walk": widgets.walk(model),
        "forbid": widgets.forbid(model, clean, side=SIDE),
        "globe": widgets.globe(model, clean, side=SIDE),
        "paint": widgets.paint(model, clean, side=SIDE),
        "damage": widgets.damage(clean, side=SIDE),
        "same_psnr": widgets.same_psnr(clean, side=SIDE),
        "own_picture": widgets.own_picture(model),
    }


NAMES = (
    "degrade_and_restore", "route", "walk", "forbid", "globe", "paint", "damage", "same_psnr", "own_picture",
)  # fmt: skip


# --- what they show ---------------------------------------------------------------------------------------------------


def test_degrading_and_restoring_is_what_the_library_does(model, clean):
    shown = widgets.degrade_and_restore(model, clean, side=SIDE)
    name, severity, seed, seen = "rain", 0.5, 0, set()
    for move in ({"severity": 0.8}, {"degradation": "snow"}, {"seed": 3}, {"degradation": "noise"}):
        ((control, value),) = move.items()
        shown.controls[control].value = value
        name, severity, seed = (move.get(k, v) for k, v in dict(degradation=name, severity=severity, seed=seed).items())
        degraded = slerlib.degrade(crop(clean), name, severity, seed)
        restored, trace = slerlib.restore(model, degraded, return_trace=True)
        values = shown.now.values
        assert torch.equal(values["degraded"], degraded) and torch.equal(values["restored"], restored)
        assert values["psnr"] == slerlib.psnr(restored, crop(clean))
        assert values["psnr_input"] == slerlib.psnr(degraded, crop(clean))
        assert torch.equal(values["trace"].path, trace.path)
        line = frame(shown)["line"]
        assert trace.path_strings()[0] in line and f"restored {values['psnr']:.2f} dB" in line
        assert ("noise 40" if name == "noise" else f"{name} 0.80") in line
        assert len(pictures(shown)) == 5
        seen |= set(pictures(shown)[1:3])
    assert len(seen) == 8


def test_every_degradation_can_be_chosen(model, clean):
    shown = widgets.degrade_and_restore(model, clean, side=SIDE)
    assert shown.controls["degradation"].options == slerlib.DEGRADATIONS


@pytest.mark.parametrize(
    ("start", "words"), [("noise15", "noise 15: "), ("noise50", "noise 50: "), ("clean", "noise 0: input id")]
)
def test_levels_of_noise_and_clean_are_severities(model, clean, start, words):
    shown = widgets.degrade_and_restore(model, clean, start, side=SIDE)
    shown.refresh()
    assert torch.allclose(shown.now.values["degraded"], slerlib.degrade(crop(clean), start, seed=0), atol=1e-6)
    assert shown.now.line.startswith(words)


def test_a_forced_path_is_what_the_library_does(model, clean):
    shown = widgets.route(model, clean, "haze", 0.7, 5, side=SIDE)
    shown.refresh()
    degraded = slerlib.degrade(crop(clean), "haze", 0.7, 5)
    own, trace = slerlib.restore(model, degraded, return_trace=True, route="image")
    path = trace.path[0].tolist()
    assert [shown.controls[stage].value for stage in STAGE_NAMES] == path and shown.now.values["gain"] == 0
    assert torch.equal(shown.now.values["restored"], own)
    before, path[3] = pictures(shown), (path[3] + 1) % 3
    shown.controls["latent"].value = path[3]
    forced = slerlib.restore(model, degraded, path=path)
    values = shown.now.values
    assert values["path"] == path and torch.equal(values["restored"], forced) and not torch.equal(forced, own)
    assert values["gain"] == slerlib.psnr(forced, crop(clean)) - slerlib.psnr(own, crop(clean))
    assert f"at 1 of 8 layers: restored {values['psnr']:.2f} dB, {values['gain']:+.2f} dB" in shown.now.line
    assert pictures(shown) != before


def test_a_button_takes_a_whole_path_with_one_look(model, clean, monkeypatch):
    shown = widgets.route(model, clean, side=SIDE)
    shown.refresh()
    own, buttons = shown.now.values["path"], {button.description: button for button in shown.panel.children[0].children}
    looks = []
    monkeypatch.setattr(shown, "_look", lambda **values: looks.append(values) or Look("", (), values))
    for name, path in zip(model.router.names, model.router.class_paths().tolist(), strict=True):
        buttons[f"path of {name}"].click()
        assert [shown.controls[stage].value for stage in STAGE_NAMES] == path
    buttons["own path"].click()
    assert [shown.controls[stage].value for stage in STAGE_NAMES] == own and len(looks) == len(buttons) == 9


def test_a_walk_goes_along_the_arc(model):
    shown = widgets.walk(model, "rain", "blur")
    shown.refresh()
    names, paths = model.router.names, model.router.class_paths()
    assert shown.now.values["path"] == "".join(map(str, paths[names.index("rain")].tolist()))
    before = pictures(shown)
    shown.controls["t"].value = 0.37
    ends = [model.router.anchors[names.index(name)].double() for name in ("rain", "blur")]
    z = slerlib.sphere.slerp(*ends, 0.37)
    values, trace = shown.now.values, model.router.route(z[None].float())
    assert values["path"] == trace.path_strings()[0] and pictures(shown) != before
    assert values["angle_start"] == pytest.approx(slerlib.sphere.angle(z, ends[0]).item(), abs=1e-3)
    assert values["angle_end"] == pytest.approx(slerlib.sphere.angle(z, ends[1]).item(), abs=1e-3)
    assert f"path {values['path']}; of 8 layers" in shown.now.line
    shown.set(start="haze", t=1.0)
    assert shown.now.values["path"] == "".join(map(str, paths[names.index("blur")].tolist()))
    switched = "+".join(shown.now.values["table"].switched)
    differ = (paths[names.index("haze")] != paths[names.index("blur")]).nonzero().flatten().tolist()
    assert all(STAGE_NAMES[layer] in switched for layer in differ)


def test_the_routes_of_an_arc_are_those_of_its_points(model):
    table = causal.arc_routes(model.router, "noise15", "haze", 11)
    ends = [model.router.anchors[model.router.names.index(name)].double() for name in ("noise15", "haze")]
    points = torch.stack([slerlib.sphere.slerp(*ends, t) for t in table.t])
    trace = model.router.route(points.float())
    assert table.path.tolist() == trace.path_strings() and table.nearest.tolist() == trace.nearest_anchor()
    for before, after in zip(table.itertuples(), list(table.itertuples())[1:], strict=False):
        changed = [s for s, a, b in zip(STAGE_NAMES, before.path, after.path, strict=True) if a != b]
        assert after.switched == "+".join(changed)


# --- how they show it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_control_is_described_and_follows_while_it_is_dragged(model, clean, name):
    shown = explorers(model, clean)[name]
    for words, control in shown.controls.items():
        if control is shown.stage:  # a canvas, which describes itself
            continue
        assert control.description == words and len(control.tooltip) > 5
        if isinstance(control, FloatSlider):
            assert control.continuous_update, words
    for row in shown.panel.children[:-1]:
        assert all(child.description for child in row.children)


@pytest.mark.parametrize("name", NAMES)
def test_the_still_twin_is_made_of_figures_with_alt_text(model, clean, name):
    shown = explorers(model, clean)[name]
    figures = shown.static()
    assert figures and all(isinstance(fig, Figure) and len(fig.alt_text) > 40 for fig in figures)
    assert "controls" not in vars(shown), "no widget is made for a page"
    if name == "degrade_and_restore":
        score = slerlib.psnr(slerlib.degrade(crop(clean), "rain", 0.25, 0), crop(clean))
        assert f"rain 0.25: input {score:.1f} dB" in figures[0].alt_text
    if name == "paint":
        assert "noise25" in figures[0].alt_text or "nearest class" in figures[0].alt_text.lower()
    if name == "route":
        assert all(f"{anchor}: " in figures[1].alt_text for anchor in model.router.names)


@pytest.mark.parametrize("attended", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_person_gets_controls_and_a_page_gets_pictures(model, clean, name, attended, monkeypatch):
    class Shell(InteractiveShell):
        def get_parent(self):
            return {"content": {"allow_stdin": attended}}

    displayed = []
    monkeypatch.setattr("IPython.get_ipython", lambda: object.__new__(Shell))
    monkeypatch.setattr("IPython.display.display", lambda *what, **how: displayed.extend(what))
    shown = explorers(model, clean)[name]
    shown._ipython_display_()
    if attended:
        still, panel = displayed
        assert panel["application/vnd.jupyter.widget-view+json"]["model_id"] == shown.panel.model_id
        assert pictures(shown)
        assert still["text/plain"] == shown.now.line and "slerlib-still" in still["text/html"]
        assert still["text/html"].count("<img ") == len(frame(shown)["pictures"]) + (name == "paint")
        assert still["text/html"].count("<svg ") == frame(shown)["drawings"].count("<svg ") + (name == "globe")
    else:
        displayed[0]._ipython_display_()  # as Jupyter does
        kind = "image/png" if name in ("walk", "globe") else "image/jpeg"
        assert Image.open(io.BytesIO(displayed[-1][kind])).width > 700


def test_without_a_front_end_nobody_is_there():
    assert not attended()


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = "import sys; from slerlib import widgets; "
    code += "print([m for m in ('ipywidgets', 'anywidget', 'matplotlib', 'pandas', 'IPython') if m in sys.modules])"
    root = Path(slerlib.__file__).parent.parent
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert out.stdout.strip() == "[]"


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_an_error_is_one_line_in_place_and_goes_away(model, clean, monkeypatch):
    shown = widgets.walk(model, "rain", "blur")
    shown.set(end="rain")
    assert shown.now is None and "got 'rain' to 'rain'" in shown.error and pictures(shown) == []
    assert frame(shown)["line"] == shown.error and frame(shown)["wrong"]
    shown.set(end="haze")
    assert shown.error == "" and shown.now is not None and len(pictures(shown)) == 1

    def broken(*args, **kwargs):
        raise RuntimeError("out of memory:\ntry a smaller picture")

    shown = widgets.degrade_and_restore(model, clean, side=SIDE)
    monkeypatch.setattr("slerlib.widgets.degrading.restore", broken)
    shown.controls["severity"].value = 0.9
    assert shown.error == "out of memory: try a smaller picture"


def test_a_wrong_start_is_refused_at_once(model, clean):
    for call, message in (
        (lambda: widgets.degrade_and_restore(model, clean, "fog"), "got 'fog'"),
        (lambda: widgets.degrade_and_restore(model, clean, severity=2.0), "got 2.0"),
        (lambda: widgets.degrade_and_restore(model, clean[None]), r"got \(1, 3, "),
        (lambda: widgets.route(model, 7), "got int"),
        (lambda: widgets.route(model, clean, side=0), "side is how many central pixels .* got 0"),
        (lambda: widgets.walk(model, "rain", "snow"), "got 'rain' to 'snow'"),
        (lambda: widgets.paint("tiny", clean), "got str"),
        (lambda: widgets.globe("tiny", clean), "got str"),
        (lambda: widgets.own_picture("tiny"), "got str"),
        (lambda: widgets.damage(clean, "fog"), "got 'fog'"),
        (lambda: widgets.damage(7), "got int"),
        (lambda: widgets.same_psnr(clean, "rain"), "got 'rain' and 25.0"),
        (lambda: widgets.same_psnr(clean, decibel=90), "got 'noise' and 90"),
        (lambda: widgets.walk(model).set(x=1), "The controls are start, end, t; got x"),
        (lambda: widgets.walk(model).set(end="snow"), "end does not take 'snow'"),
        (lambda: widgets.walk(model, t=2.0), "got 2.0"),
        (lambda: widgets.route(model, clean, ["haze", "rain"]), r"got \['haze', 'rain'\]"),
        (lambda: widgets.degrade_and_restore("tiny", clean), "got str"),
        (lambda: widgets.route("tiny", clean), "got str"),
        (lambda: widgets.walk("tiny"), "got str"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_a_seed_of_any_size_is_the_one_that_is_shown(model, clean):
    for seed in (7, 2**31, 2**40):
        assert widgets.degrade_and_restore(model, clean, seed=seed).controls["seed"].value == seed


def test_a_refused_setting_leaves_all_controls_as_they_were(model, clean):
    shown = widgets.walk(model, "rain", "blur")
    with pytest.raises(UserError, match="end does not take 'snow'"):
        shown.set(start="haze", end="snow")
    assert [control.value for control in shown.controls.values()] == ["rain", "blur", 0.0]
    shown = widgets.degrade_and_restore(model, clean, side=SIDE)
    for name, value in (("severity", 2.0), ("seed", -1), ("seed", 2.5)):  # ipywidgets would round or cut these
        with pytest.raises(UserError, match=f"{name} does not take {value}"):
            shown.set(degradation="snow", **{name: value})
    assert [control.value for control in shown.controls.values()] == ["as given", "rain", 0.5, 0]
    assert shown.now is None


def test_a_walk_tells_what_is_true_of_the_step_it_shows(model):
    shown = widgets.walk(model, "rain", "blur")
    shown.set(t=0.374)  # the slider has hundredths
    values = shown.now.values
    row = values["table"].set_index("t").loc[values["t"]]
    assert values["t"] == pytest.approx(0.37) and values["angle_start"] == row.angle_start


def test_what_the_reader_leaves_out_of_a_file_is_told(model, tmp_path):
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="2 frames or pages; only the first is used"):
        widgets.degrade_and_restore(model, tmp_path / "two.gif")


def test_a_network_without_routes_or_sphere_is_refused(clean):
    cfg = config.recipe("tiny").model
    with pytest.raises(UserError, match="has 1 and router"):
        widgets.route(SLERIR(replace(cfg, experts=1)), clean)
    with pytest.raises(UserError, match="has 1 and router"):
        widgets.forbid(SLERIR(replace(cfg, experts=1)), clean)
    with pytest.raises(UserError, match="needs a sphere"):
        widgets.walk(SLERIR(replace(cfg, sude="linear", route_by="image")))
    with pytest.raises(UserError, match="needs a sphere"):
        widgets.globe(SLERIR(replace(cfg, sude="linear", route_by="image")), clean)
