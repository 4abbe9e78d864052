"""JupyterLab and the app as servers, and a notebook in JupyterLab in Chromium."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import chromium
import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
CELLS = "jupyterapp.shell.currentWidget.content.widgets"
CONTEXT = "jupyterapp.shell.currentWidget.context"
KERNEL = f"{CONTEXT}.sessionContext.kernelDisplayStatus"
SETTINGS = {  # every cell is on the page, also below the window; nothing is asked of other servers
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
# anywidget gives up waiting for a script after 2 s and says so, while the script goes on: a busy machine, no fault. A
# script that truly fails shows no picture, and every test waits for pictures.
SLOW = "[anywidget] Failed to initialize model."


def serious(complaints: list[str]) -> list[str]:
    """Complaints of a page without that of a slow start."""
    return [words for words in complaints if SLOW not in words]


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


@contextmanager
def server(folder: Path, module: str, *options: str, ready: str):
    """A Jupyter server with settings of its own, files in `folder` -> its address. ready: a path that answers."""
    chromium.find()  # skips without a browser, before a server starts
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = {name: str(folder / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTERLAB_SETTINGS_DIR")}
    env = os.environ | home | {"PYTHONPATH": str(ROOT), "SLERLIB_COURSE": str(folder / "course")}
    env |= {"JUPYTER_PATH": str(ROOT / "slerlib/widgets/share"), "SLERLIB_CACHE": str(folder / "cache")}
    for name, values in SETTINGS.items():
        path = folder / "JUPYTERLAB_SETTINGS_DIR/@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with open(folder / "log", "wb") as log:
        command = [sys.executable, "-m", module, *options, f"--port={port}"]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}{ready}"))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def lab(folder: Path):
    """JupyterLab on `folder`, which holds notebooks/ and the drawings of the lessons."""
    (folder / "notebooks").mkdir()
    shutil.copytree(ROOT / "docs/images", folder / "docs/images")
    own = {"ip": "127.0.0.1", "root_dir": folder, "open_browser": False, "allow_root": True}
    options = ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]
    return server(folder, "jupyterlab", *options, *(f"--ServerApp.{k}={v}" for k, v in own.items()), ready="/api")


def app(folder: Path):
    """The page of `make app`; skips the test without Voila, or fails it where SLERLIB_REQUIRE_BROWSER=1."""
    if importlib.util.find_spec("voila") is None:
        reason = "Voila was not found; install the extra: python -m pip install -e '.[app]' -c constraints.txt"
        (pytest.fail if os.environ.get("SLERLIB_REQUIRE_BROWSER") == "1" else pytest.skip)(reason)
    options = [str(ROOT / "notebooks/app.ipynb"), "--template=slerlib", "--no-browser", "--Voila.ip=127.0.0.1"]
    return server(folder, "voila", *options, ready="/voila/static/voila.js")


class Notebook(chromium.Page):
    """A notebook of the course in JupyterLab. Use as a context manager, like every page.

    address: of the server `lab` on folder. book: name of a notebook of the project, or one of nbformat. parameters: to
    change in its cell of parameters.
    """

    def __init__(self, address: str, folder: Path, book, **parameters):
        name = book if isinstance(book, str) else "own"
        if isinstance(book, str):
            book = nbformat.read(ROOT / f"notebooks/{book}.ipynb", 4)
        for line in book.cells[1].source.splitlines() if parameters else []:
            key = line.partition(":")[0]
            if key in parameters:
                new = line.partition(" = ")[0] + f" = {parameters[key]!r}"
                book.cells[1].source = book.cells[1].source.replace(line, new)
        self.path = folder / f"notebooks/{name}.ipynb"
        nbformat.write(book, self.path)
        super().__init__(f"{address}/doc/tree/notebooks/{name}.ipynb", folder / f"profile-{name}", height=1000)

    def __enter__(self):
        super().__enter__()
        self._opened()
        self.until(f"{KERNEL} === 'idle'")
        return self

    def _opened(self) -> None:
        self.until(f"window.jupyterapp && {CONTEXT} && {CONTEXT}.isReady && {CELLS}.length > 1")

    def reopen(self) -> None:
        """Load the page again, as it was saved; its kernel may be gone."""
        super().reopen()
        self._opened()

    def cell(self, name: str) -> str:
        """The cell with that id, as an expression."""
        return f"{CELLS}.find(w => w.model.id === '{name}')"

    def find(self, name: str, selector: str) -> str:
        """An element of a cell, as an expression."""
        return f"{self.cell(name)}.node.querySelector({json.dumps(selector)})"

    def outputs(self, name: str) -> str:
        return self.evaluate(f"JSON.stringify({self.cell(name)}.model.outputs.toJSON())") or ""

    def write(self, name: str, source: str) -> None:
        self.evaluate(f"{self.cell(name)}.model.sharedModel.setSource({json.dumps(source)})")

    def run(self, *names: str, seconds: float = 240) -> None:
        """Run cells, or all of them, to the end."""
        counts = f"{CELLS}.filter(w => w.model.type === 'code').map(w => w.model.executionCount)"
        if not names:
            self.evaluate("jupyterapp.commands.execute('notebook:run-all-cells') && 0")
        before = self.evaluate(counts)
        for name in names:
            place = f"{CELLS}.findIndex(w => w.model.id === '{name}')"
            self.evaluate(f"jupyterapp.shell.currentWidget.content.activeCellIndex = {place}")
            self.evaluate("jupyterapp.commands.execute('notebook:run-cell') && 0")
            last = f"{self.cell(name)}.model.executionCount"
            self.until(f"{last} && !{json.dumps(before)}.includes({last}) && {KERNEL} === 'idle'", seconds)
        self.until(f"{counts}.every(n => n) && {KERNEL} === 'idle'" if not names else "true", seconds)

    def errors(self) -> list[str]:
        """Cells that ended with an error."""
        script = f"{CELLS}.filter(w => w.model.type === 'code' && w.model.outputs.toJSON()"
        return self.evaluate(f"{script}.some(o => o.output_type === 'error')).map(w => w.model.id)")

    def quiet(self) -> None:
        """Nothing went wrong: no dialog, no error of a cell or of the console, no request to another machine."""
        end = time.monotonic() + 30
        while self.broken_images() and time.monotonic() < end:  # one may still be on its way
            time.sleep(0.1)
        dialogs = self.evaluate("[...document.querySelectorAll('.jp-Dialog')].map(d => d.textContent)")
        assert (dialogs, self.errors(), serious(self.complaints)) == ([], [], [])
        assert (self.outside(), self.broken_images()) == ([], [])
