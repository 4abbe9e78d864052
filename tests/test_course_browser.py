"""A lesson in JupyterLab and a real browser: a wrong answer gets its counter-example, a right one counts."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import chromium
import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
CELLS = "jupyterapp.shell.currentWidget.content.widgets"
KERNEL = "jupyterapp.shell.currentWidget.context.sessionContext.kernelDisplayStatus"
pytestmark = pytest.mark.browser


def until(question, seconds: float = 120):
    """The first true answer of a function."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := question():
            return answer
        time.sleep(0.2)
    raise TimeoutError("Nothing came of it in time.")


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=2).status == 200
    except OSError:
        return False


@pytest.fixture
def lab(tmp_path):
    """JupyterLab on a copy of the beginning of lesson 01 -> its address."""
    chromium.find()  # skips without a browser, before a server starts
    book = nbformat.read(ROOT / "notebooks/01_degradations.ipynb", 4)
    names = [cell.id for cell in book.cells]
    book.cells = book.cells[: names.index("walls")]  # up to the first drawing
    (tmp_path / "notebooks").mkdir()
    nbformat.write(book, tmp_path / "notebooks/lesson.ipynb")
    shutil.copytree(ROOT / "docs/images/lessons", tmp_path / "docs/images/lessons")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"ip": "127.0.0.1", "port": port, "root_dir": tmp_path, "open_browser": False, "allow_root": True}
    command = [sys.executable, "-m", "jupyterlab", "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]
    command += [f"--ServerApp.{name}={value}" for name, value in options.items()]
    home = {
        name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTERLAB_SETTINGS_DIR")
    }
    env = os.environ | home | {"PYTHONPATH": str(ROOT), "SLERLIB_COURSE": str(tmp_path / "course")}
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=tmp_path)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/api"))
        yield f"http://127.0.0.1:{port}/doc/tree/notebooks/lesson.ipynb"
    finally:
        server.terminate()
        server.wait(30)


def test_an_exercise_is_answered_wrongly_and_then_rightly(lab, tmp_path):
    def cell(name: str) -> str:
        return f"{CELLS}.find(w => w.model.id === '{name}')"

    def outputs(name: str) -> str:
        return page.evaluate(f"JSON.stringify({cell(name)}.model.outputs.toJSON())")

    def run_with(source: str, words: str) -> str:
        page.evaluate(f"{cell('exercise-add-noise')}.model.sharedModel.setSource({json.dumps(source)})")
        until(lambda: page.evaluate(KERNEL) == "idle")  # before that the command does nothing
        page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells') && 0")
        return until(lambda: words in (text := outputs("check-add-noise") or "") and text)

    with chromium.Page(lab, tmp_path / "profile", height=5000) as page:
        until(lambda: page.evaluate(f"window.jupyterapp && {CELLS} && {CELLS}.length > 5"))
        wrong = "def add_noise(x, sigma, normal):\n    return x + sigma * normal"
        shown = run_with(wrong, "Not yet. sigma is for values of 0 to 255.")
        assert "Side by side: clean; yours; right." in until(
            lambda: "Side by side" in (s := outputs("check-add-noise")) and s
        )
        assert "Traceback" not in shown
        right = "def add_noise(x, sigma, normal):\n    return (x + sigma / 255 * normal).clamp(0, 1)"
        run_with(right, "Yes: `add_noise` is right.")
        drawing = (
            "[...document.querySelectorAll('.jp-MarkdownOutput img')].map(i => i.alt.slice(0, 5) + i.naturalWidth)"
        )
        assert until(lambda: page.evaluate(drawing) == ["Light680"])
        assert page.evaluate("document.querySelectorAll('.jp-Dialog').length") == 0 and not page.complaints
    entry = json.loads((tmp_path / "course/course.json").read_text())["01"]["exercises"]["add_noise"]
    assert entry["solved"] and entry["tries"] == 2
