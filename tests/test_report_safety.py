"""Report pages fetch nothing and run no foreign code, whatever the names of photographs, sets, cards and files hold.

Each page is opened in Chromium with the network watched: a request that leaves the page, a script, a live link or a
complaint of the browser fails the test. Without Chromium these tests are skipped; continuous integration installs it.
"""

import json
import os
import re
from functools import partial
from pathlib import Path

import chromium
import numpy as np
import pytest
from PIL import Image
from test_report import make_notebook

from slerlib import plots
from slerlib.files import write_atomic
from slerlib.plots.style import encoded
from slerlib.report import runs as report
from slerlib.report.overview import write_list
from slerlib.report.words import as_html

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

NAMES = (
    "![x](http://evil.test/a.png)", "[l](javascript:alert(1))", "<img src=http://evil.test/b.png>",
    "<script src=http://evil.test/c.js></script>", "<http://evil.test/d>", "http://evil.test/e", "$\\frac{", "a$^$b_$",
    "| t |\n|---|\n\n# h\n- x", "[r]\n\n[r]: http://evil.test/f", "</p></td></table><b>", '"><svg onload=alert(1)>',
    "&lt;b&gt;", "bad\udcff",
)  # fmt: skip
FILES = ("![x](http:evil.test)$_{", "<img src=x onerror=alert(1)>", "[l](javascript:alert(1))", "bad\udcff")
SCRIPTS = "document.querySelectorAll('script, iframe, object, embed, form, link, base').length"
LINKS = "[...document.querySelectorAll('[href]')].map(a => a.getAttribute('href'))"
BOLD = "[...document.querySelectorAll('main b, main svg')].length"


def check_closed(path: Path, profile: Path, links=("#",), scripts=0) -> str:
    """Open the page with the network watched; returns its text."""
    with chromium.Page(path, profile) as page:
        assert page.outside() == page.blocked == page.complaints == [] and page.broken_images() == []
        assert page.evaluate(SCRIPTS) == scripts and page.evaluate(BOLD) == 0
        assert not [link for link in page.evaluate(LINKS) if not link.startswith(links)]
        assert page.evaluate("document.querySelector('[onerror], [onload]')") is None
        return page.evaluate("document.body.innerText")


def scores(folder: Path, name: str, gain: float) -> str:
    """results.json with hostile names of sets, tasks, photographs and checkpoint."""
    rows = [
        {"dataset": f"set {name}", "task": name, "image": name, "psnr_input": 20.0, "psnr": 25 + gain,
         "path": "01201201", "ssim_input": 0.5, "ssim": 0.6, "ssim_gaussian": 0.6}
        for name in NAMES
    ]  # fmt: skip
    about = {"setting": NAMES[0], "checkpoint": {"name": name, "sha256": None}, "versions": {NAMES[2]: NAMES[1]}}
    about |= {"definition": {"psnr": "dB", "crop": NAMES[3]}, "data": {"name": name, "sha256": name}}
    folder.mkdir()
    write_atomic(folder / "results.json", json.dumps({"rows": rows} | about))
    return str(folder)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Runs of `compare` on results with hostile names and of `evaluation` on photographs with such names."""
    chromium.find()  # else the runs would be for nothing
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "photos $x_{").mkdir()
    for k, name in enumerate(FILES):
        pixels = np.random.default_rng(k).integers(0, 255, (64, 64, 3), np.uint8)
        with open(os.fsencode(folder / "photos $x_{" / f"{name}.png"), "wb") as file:
            Image.fromarray(pixels).save(file, "png")
    run = partial(report.run, out=folder / "runs", say=lambda line: None)
    (compared,) = run("compare", {f"run_{k}": scores(folder / k, NAMES[i], i) for i, k in enumerate("ab")})
    (evaluated,) = run("evaluation", {"data": str(folder / "photos $x_{")})
    return folder / "runs", compared, evaluated


@pytest.mark.browser
def test_hostile_names_stay_letters_on_every_page(hostile, tmp_path):
    runs, *records = hostile
    for k, record in enumerate(records):
        assert record["state"] == "done", record.get("error")
        text = check_closed(record["page"], tmp_path / f"profile{k}")
        for name in NAMES[:6] if record["name"] == "compare" else FILES[:3]:
            assert name in text, name
    check_closed(runs / "index.html", tmp_path / "profile", tuple(path.name for path in runs.glob("*-*")), scripts=1)


@pytest.mark.browser
def test_the_policy_of_a_page_stops_what_a_cell_puts_into_it(tmp_path):
    chromium.find()
    html = (
        "<img src='http://evil.test/a.png'><script>document.title = 'run'</script><script src='http://evil.test/b.js'>"
        "</script><link rel='stylesheet' href='http://evil.test/c.css'><style>@import url(http://evil.test/d.css);"
        "body { background: url(http://evil.test/e.png) }</style><iframe src='http://evil.test/f'></iframe>"
        "<img src=x onerror='document.title = 1'><form action='http://evil.test/g'></form><object data='file:///h'>"
        "</object><base href='http://evil.test/'><svg onload='document.title = 2'></svg>"
    )
    cells = f"from IPython.display import HTML, Javascript, Markdown\ndisplay(HTML({html!r}))"
    cells += "\ndisplay(Javascript('document.title = 3'), Markdown('![x](http://evil.test/i.png)'))"
    (record,) = report.run(make_notebook(tmp_path, "wild", cells), out=tmp_path / "runs", say=lambda line: None)
    assert record["state"] == "done" and "evil.test" in record["page"].read_text()
    with chromium.Page(record["page"], tmp_path / "profile") as page:
        assert page.outside() == [] and page.evaluate("document.title") == "wild - slerlib report"
        assert {f"http://evil.test/{name}" for name in ("a.png", "b.js", "i.png")} <= set(page.blocked)


def test_a_sentence_keeps_its_own_marks_and_no_other():
    assert as_html("**a** `b` c\n\n- d\n- e") == (
        "<p><strong>a</strong> <code>b</code> c</p><ul><li>d</li><li>e</li></ul>"
    )
    for name in NAMES:
        tags = set(re.findall("<[^>]*>", as_html(f"See {name}.")))
        assert tags <= {"<p>", "</p>", "<ul>", "</ul>", "<li>", "</li>"}, name


def test_a_dollar_in_a_name_is_a_letter_of_a_figure():
    fig = plots.picture_grid([("$\\frac{", *[np_picture()] * 3)])
    assert encoded(fig)[0][:2] == b"\xff\xd8"
    assert any(text.get_text() == "$\\frac{" for text in fig.findobj(lambda part: hasattr(part, "get_parse_math")))


def np_picture():
    import torch

    return torch.rand(3, 16, 16)


MALFORMED = (
    {"parameters": {"a": "\ud800"}}, {"wall_seconds": 10**400}, {"wall_seconds": float("nan")}, {"key": ""},
    {"parameters": {"a": [[[]]]}}, {"error": 3}, {"started": "\udcff"}, {"name": "../x"}, {"provenance": {"git": 3}},
)  # fmt: skip


def test_malformed_records_block_no_other_report(tmp_path):
    source, runs = make_notebook(tmp_path, "good", "print(1)"), tmp_path / "runs"
    (good,) = report.run(source, out=runs, say=lambda line: None)
    for state in ("done", "failed", "running", "killed"):
        for number, change in enumerate(MALFORMED):
            folder = runs / f"bad\udcff{state}{number}"
            folder.mkdir()
            values = json.loads((good["folder"] / "run.json").read_text()) | {"name": "bad", "state": state} | change
            (folder / "run.json").write_text(json.dumps(values))
    (runs / "folder" / "run.json").mkdir(parents=True)
    (again,) = report.run(source, out=runs, say=lambda line: None)
    (other,) = report.run(source, {"seed": 1}, runs, say=lambda line: None)
    assert again["skipped"] and other["state"] == "done" and other["page"].exists()
    assert good["folder"].name in write_list(runs).read_text()
    assert not list(tmp_path.glob("*.lock")) and not list(runs.glob("*.lock"))
