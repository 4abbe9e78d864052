"""The executed copies of the lessons hold the lessons as they are, ran to their end, and load nothing."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import chromium
import nbformat
import pandas as pd
import pytest
import torch
from PIL import Image

from slerlib import plots
from slerlib.plots.style import show_figure

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
COPIES = ROOT / "reports" / "gallery" / "lessons"
AGAIN = "python reports/make_gallery.py lessons"
every = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


class Reader(HTMLParser):
    """Code of the cells, links, and what the pictures of a page are."""

    def __init__(self, html: str):
        super().__init__()
        self.code, self.links, self.pictures, self.tags, self._inside = [], [], [], set(), None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        if tag == "div" and "highlight" in attrs.get("class", "").split():
            self._inside = []
        if "href" in attrs:
            self.links.append(attrs["href"])
        if tag == "img":
            self.pictures.append((attrs.get("src", ""), attrs.get("alt", "")))

    def handle_endtag(self, tag):
        if tag == "pre" and self._inside is not None:
            self.code.append("".join(self._inside).strip())
            self._inside = None

    def handle_data(self, data):
        if self._inside is not None:
            self._inside.append(data)


def copy(path: Path) -> str:
    page = COPIES / f"{path.stem}.html"
    assert page.is_file(), AGAIN
    return page.read_text(encoding="utf-8")


@every
def test_a_copy_holds_the_lesson_as_it_is(path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "reports")
    from lesson_copies import source_hash

    html, book = copy(path), nbformat.read(path, 4)
    (mark,) = re.findall(r'<meta [^>]*"slerlib-source"[^>]*>', html)
    assert f'content="{source_hash(book)}"' in mark, AGAIN
    code = []
    for cell in book.cells:
        fenced = re.findall(r"```\w+\n(.*?)```", cell.source, re.S) if cell.cell_type == "markdown" else [cell.source]
        code += [source.strip() for source in fenced]
    assert Reader(html).code == code, AGAIN


@every
def test_a_copy_ran_and_loads_nothing(path):
    html = copy(path)
    seen = Reader(html)
    assert len(html.encode()) <= 1.5e6
    assert not seen.tags & {"script", "iframe", "object", "embed", "link", "form"}
    shown = [tag for tag in re.findall(r"<img [^>]*>", html) if "image/webp" in tag]
    assert html.count('<label class="zoom">') == len(shown), "each figure grows at a touch"
    assert len(seen.pictures) >= 4 and all(src.startswith("data:") and alt for src, alt in seen.pictures)
    assert not any("image/png" in src[:30] for src, _ in seen.pictures), "pictures are WebP or SVG"
    assert "Traceback" not in html and "Predictions: " in html and "What you have seen" in html
    assert not re.search(r"""["'\s>](/home|/root|/tmp|/work|/Users)/""", html), "a path of a machine"
    assert "$$" not in re.sub(r"<pre>.*?</pre>", "", html, flags=re.S) and "slerlib-formula" not in html
    asked = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
    asked = re.sub(r"```.*?```|`[^`\n]*`", "", asked, flags=re.S)
    assert html.count("<math") == html.count("</math>") == len(re.findall(r"\$\$.+?\$\$|\$[^$\n]+\$", asked, re.S))
    for link in seen.links:
        if not re.match(r"https?:|#", link):
            assert (COPIES / link.partition("#")[0]).is_file(), link


@pytest.mark.browser
@every
def test_a_copy_opens_without_a_network_or_a_complaint(path, tmp_path):
    copy(path)
    with chromium.Page(COPIES / f"{path.stem}.html", tmp_path / "profile") as page:
        assert page.outside() == page.blocked == page.complaints == page.broken_images() == []
        assert page.images_without_alt() == 0 and page.overflow() == 0
        page.emulate(width=380, dark=True)
        assert page.overflow() == 0


def test_photographs_have_no_paper_and_grow_at_a_touch(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "reports")
    import lesson_copies

    seen = []
    monkeypatch.setattr("IPython.display.display", lambda data, **options: seen.append(data))
    monkeypatch.setenv("SLERLIB_PHOTOGRAPHS", lesson_copies.settings("folder")["SLERLIB_PHOTOGRAPHS"])
    photograph, chart = (plots.picture_row([("x", torch.rand(3, 8, 8))]), plots.path_chart(["01201120"], ["rain"]))
    show_figure(photograph)
    show_figure(chart)
    assert list(seen[0]) == ["text/html", "text/plain"] and list(seen[1]) == ["image/png", "text/plain"]
    html = lesson_copies._PHOTOGRAPHS.sub(lesson_copies._ZOOM, seen[0]["text/html"])
    assert re.fullmatch(r'<label class="zoom"><input [^>]*><img class="slerlib-jpeg" [^>]*></label>', html)
    file = base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])
    assert Image.open(io.BytesIO(file)).convert("RGBA").getpixel((0, 0))[3] == 0, "the paper is clear"


def test_formulas_become_mathml_and_code_stays(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "reports")
    from lesson_copies import _aside, _moved

    formulas = []
    text = _aside("of $a^2$ and `$HOME` in\n```\n$x$\n```\n$$\\frac{1}{n}$$", formulas)
    assert text == "of slerlib-formula-0- and `$HOME` in\n```\n$x$\n```\nslerlib-formula-1-"
    assert "<msup>" in formulas[0] and "<mfrac>" in formulas[1]
    links = "[g](../docs/glossary.md#a) ![d](../docs/images/x.svg) [n](02_sphere.ipynb)"
    assert _moved(links) == "[g](../../../docs/glossary.md#a) ![d](docs/images/x.svg) [n](02_sphere.html)"


def test_words_of_a_table_stand_on_the_left_with_their_names(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "reports")
    from lesson_copies import _TABLE, _worded

    table = pd.DataFrame({"kind": ["rain", "haze"], "lost": [-0.5, float("nan")]}, index=["a", "b"])
    html = _TABLE.sub(_worded, table.to_html(notebook=True))
    assert (
        '<table class="dataframe words">' in html and '<th class="word">kind</th>' in html and "<th>lost</th>" in html
    )
    assert '<td class="word" data-name="kind">rain</td>' in html and '<td data-name="lost">-0.5</td>' in html
    numbers = _TABLE.sub(_worded, table[["lost"]].to_html(notebook=True))
    assert '<table class="dataframe">' in numbers and "<td>-0.5</td>" in numbers
