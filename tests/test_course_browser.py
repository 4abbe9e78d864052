"""Lessons in JupyterLab and a real browser: they run to their end, exercises are answered, widgets move.

One JupyterLab serves all tests of this file.
"""

import json

import jupyter
import numpy as np
import pytest
from PIL import Image

import slerlib

pytestmark = pytest.mark.browser
LIVE = ".slerlib-view.slerlib-live"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def lab(folder):
    with jupyter.lab(folder) as address:
        yield address


def frame(page, name: str) -> str:
    """The number of what a widget shows, as an expression; 0 before the first."""
    return f"Number({page.find(name, LIVE)}?.dataset.frame ?? 0)"


def picture(page, name: str, place: int) -> str:
    """The bytes of a picture of a widget, as text: of what is on the screen."""
    image = f"{page.cell(name)}.node.querySelectorAll('{LIVE} img')[{place}]"
    draw = f"const i = {image}, c = document.createElement('canvas'); c.width = c.height = 64;"
    return page.evaluate(f"(() => {{ {draw} c.getContext('2d').drawImage(i, 0, 0, 64, 64); return c.toDataURL(); }})()")


def layout(page, name: str) -> list:
    """Where the pictures and drawings of a widget lie in its cell, in pixels."""
    boxes = (
        f"[...{page.cell(name)}.node.querySelectorAll('{LIVE} img, {LIVE} svg')].map(e => e.getBoundingClientRect())"
    )
    top = f"{page.cell(name)}.node.getBoundingClientRect().y"
    return page.evaluate(f"{boxes}.map(b => [b.x, b.y - {top}, b.width, b.height].map(Math.round))")


def darken(page) -> None:
    """As the menu of JupyterLab does."""
    page.evaluate("jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'}) && 0")
    page.until("document.body.dataset.jpThemeLight === 'false'")


def test_lesson_00_runs_a_slider_moves_the_picture_and_it_is_opened_again(lab, folder, tmp_path):
    with jupyter.Notebook(lab, folder, "00_start_here", images=2) as page:
        page.run()
        page.quiet()
        for name in ("turn", "globe", "force"):
            page.until(f"{frame(page, name)} >= 1")
        assert "Exercises: 0 of 3 solved" in page.outputs("score")

        # a key moves the slider, and the pictures with it
        handle = page.find("turn", ".noUi-handle")
        before = [picture(page, "turn", place) for place in range(3)]
        line = page.evaluate(f"{page.find('turn', LIVE)}.querySelector('[role=status]').textContent")
        page.evaluate(f"{handle}.focus()")
        page.key("ArrowRight")
        page.until(f"{frame(page, 'turn')} >= 2")
        after = [picture(page, "turn", place) for place in range(3)]
        assert before[0] == after[0] and before[1] != after[1] and before[2] != after[2]
        words = page.evaluate(f"{page.find('turn', LIVE)}.querySelector('[role=status]').textContent")
        assert line.startswith("rain 0.50") and words.startswith("rain 0.55")

        # twenty fast moves end in the last value, and few of them are computed
        count, boxes = page.evaluate(frame(page, "turn")), layout(page, "turn")
        x, y, width, height = page.place(handle)
        x, y = x + width / 2, y + height / 2
        page.drag([(x + 5 * step, y) for step in range(21)])
        value = page.evaluate(f"{page.find('turn', '.widget-readout')}.textContent")
        shown = f"{page.find('turn', LIVE)}.querySelector('[role=status]').textContent"
        page.until(f"{shown}.startsWith('rain {value}')")
        page.until(f"{jupyter.KERNEL} === 'idle'")
        assert float(value) > 0.8 and page.evaluate(f"{shown}.startsWith('rain {value}')")
        made = page.evaluate(frame(page, "turn")) - count
        assert 1 <= made <= 10, f"{made} looks for 20 moves"
        assert layout(page, "turn") == boxes, "the layout jumped"

        # the globe turns by itself, without the kernel
        globe = page.find("globe", ".slerlib-canvas")
        drawn = page.until(f"Number({globe}.dataset.drawn)")
        x, y, width, height = page.place(page.find("globe", "canvas"))
        page.drag([(x + width / 2 + 8 * step, y + height / 2) for step in range(8)])
        page.until(f"Number({globe}.dataset.drawn) > {drawn}")

        # a picture of the reader
        ramp = np.broadcast_to(np.linspace(0, 255, 400, dtype=np.uint8)[None, :, None], (300, 400, 3))
        Image.fromarray(np.ascontiguousarray(ramp)).save(tmp_path / "mine.png")
        (tmp_path / "fake.png").write_bytes(b"this is no picture")
        upload, count = page.find("turn", "input[type=file]"), page.evaluate(frame(page, "turn"))
        page.choose_file(upload, tmp_path / "mine.png")
        page.until(f"{page.cell('turn')}.node.querySelector('select').selectedOptions[0].text === 'mine.png'")
        page.until(f"{frame(page, 'turn')} > {count}")
        assert picture(page, "turn", 0) != before[0]
        page.choose_file(upload, tmp_path / "fake.png")
        page.until(f"{shown}.includes('must be of a kind that Pillow reads here; fake.png')")
        page.quiet()

        # saved, its kernel ended, opened again: a still picture, and no message of an error
        page.evaluate(f"{jupyter.CONTEXT}.save().then(() => {{ window.saved = true; }}) && 0")
        page.until("window.saved")
        page.evaluate(f"{jupyter.CONTEXT}.sessionContext.shutdown().then(() => {{ window.gone = true; }}) && 0")
        page.until("window.gone")
        page.complaints.clear()
        page.reopen()
        still = page.find("turn", ".slerlib-still")
        page.until(f"{still} && {still}.offsetHeight > 200")
        page.until(f"{page.cell('turn')}.node.textContent.includes('run this cell to get its controls')")
        texts = page.evaluate("document.querySelector('.jp-Notebook').innerText")
        assert "Error displaying widget" not in texts and "Loading widget" not in texts
        assert page.evaluate(f"{still}.querySelectorAll('img')[2].naturalWidth") == 256 and not page.broken_images()
        missing = [words for words in page.complaints if "widget model not found" in words.lower()]
        assert jupyter.serious(page.complaints) == missing  # what ipywidgets writes into the console of such a notebook


def test_lesson_01_runs_an_exercise_is_answered_wrongly_and_then_rightly(lab, folder):
    with jupyter.Notebook(lab, folder, "01_degradations", images=2) as page:
        page.write("exercise-add-noise", "def add_noise(x, sigma, normal):\n    return x + sigma * normal")
        page.run()
        shown = page.outputs("check-add-noise")
        assert "Not yet. sigma is for values of 0 to 255." in shown and "Traceback" not in shown
        assert "Side by side: clean; yours; right." in shown
        right = "def add_noise(x, sigma, normal):\n    return (x + sigma / 255 * normal).clamp(0, 1)"
        page.write("exercise-add-noise", right)
        page.run("exercise-add-noise", "check-add-noise")
        assert "Yes: `add_noise` is right." in page.outputs("check-add-noise")
        drawings = "[...document.querySelectorAll('.jp-MarkdownOutput img')].map(i => i.naturalWidth)"
        assert len(page.evaluate(drawings)) >= 2 and min(page.evaluate(drawings)) > 300
        page.until(f"{frame(page, 'knobs')} >= 1")
        before = picture(page, "knobs", 1)
        page.evaluate(f"{page.find('knobs', '.noUi-handle')}.focus()")
        page.key("ArrowLeft")
        page.until(f"{frame(page, 'knobs')} >= 2")
        assert picture(page, "knobs", 1) != before
        # a dark theme: figures of photographs have no paper, words of widgets are light
        darken(page)
        outside = "[...document.querySelectorAll('.jp-OutputArea img')].filter(i => !i.closest('.slerlib-still'))"
        kinds = page.evaluate(f"{outside}.map(i => i.className || i.src.slice(0, 5))")
        assert "slerlib-jpeg" in kinds and set(kinds) <= {"slerlib-jpeg", "slerlib-png", "blob:"}
        words = f"getComputedStyle({page.find('knobs', LIVE)}).color.match(/[\\d.]+/g).slice(0, 3).map(Number)"
        page.until(f"Math.min(...{words}) > 150")
        page.quiet()
    entry = json.loads((folder / "course/course.json").read_text())["01"]["exercises"]["add_noise"]
    assert entry["solved"] and entry["tries"] == 2


def test_lesson_03_runs_and_a_stroke_of_the_brush_is_seen_where_it_is(lab, folder):
    with jupyter.Notebook(lab, folder, "03_build_the_model", images=2) as page:
        page.run()
        page.until(f"{frame(page, 'paint')} >= 1")
        clean = f"{page.cell('paint')}.node.querySelectorAll('button')[0]"
        page.click(clean)
        page.until(f"{frame(page, 'paint')} >= 2")
        before = [picture(page, "paint", place) for place in range(2)]
        canvas = page.find("paint", "canvas")
        x, y, width, height = page.place(canvas)
        photos = f"Number({page.find('paint', '.slerlib-canvas')}.dataset.photo)"
        count, drawn = page.evaluate(frame(page, "paint")), page.evaluate(photos)
        page.drag([(x + width * (0.15 + 0.02 * step), y + height / 2) for step in range(13)])
        status = f"{page.find('paint', LIVE)}.querySelector('[role=status]').textContent"
        page.until(f"{frame(page, 'paint')} > {count} && {photos} > {drawn} && {jupyter.KERNEL} === 'idle'")
        page.until(f"{status}.includes('of the painted places are named')")
        assert "named noise of any level" in page.evaluate(status)
        after = [picture(page, "paint", place) for place in range(2)]
        assert before[0] != after[0] and before[1] != after[1]
        # the keys of the canvas: without a mouse
        count, words = page.evaluate(frame(page, "paint")), page.evaluate(status)
        for name in ("ArrowDown", "ArrowDown", "ArrowDown", " "):
            page.key(name)
        page.until(f"{frame(page, 'paint')} > {count} && {status} !== {json.dumps(words)}")
        assert int(page.evaluate(f"{canvas}.getAttribute('aria-label').match(/; (\\d+) %/)[1]")) > 5
        page.quiet()


def test_lesson_07_runs_and_an_expert_is_forbidden(lab, folder):
    with jupyter.Notebook(lab, folder, "07_expert_usage", images=2) as page:
        page.run()
        page.until(f"{frame(page, 'forbid')} >= 1")
        page.click(f"{page.cell('forbid')}.node.querySelectorAll('button')[1]")
        page.until(f"{frame(page, 'forbid')} >= 2")
        line = page.evaluate(f"{page.find('forbid', LIVE)}.querySelector('[role=status]').textContent")
        assert line.startswith("path ") and line.count("expert ") == len(slerlib.config.STAGE_NAMES)
        darken(page)  # charts turn: they are no white slabs
        charts = page.evaluate("[...document.querySelectorAll('img.slerlib-png')].map(i => getComputedStyle(i).filter)")
        assert charts and all("invert" in turned for turned in charts)
        page.quiet()
