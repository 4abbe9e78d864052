"""An executed lesson as one page that loads nothing: code, results, formulas as MathML, pictures as WebP.

The exercises stand as they are in the notebook, without an answer, and the lesson goes on with the solutions.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import tempfile
from pathlib import Path
from unittest.mock import patch

import nbformat
from jinja2 import DictLoader
from markupsafe import Markup
from nbconvert import HTMLExporter
from PIL import Image

from slerlib import provenance
from slerlib.report import kernel, plan
from slerlib.report.frame import checkout, facts, hashed, head, part, versions_of, write_html

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
TEMPLATE = """{%- extends 'report.html.j2' -%}
{%- block input_group -%}{{ cell.source | highlight_code(metadata=cell.metadata) }}{%- endblock -%}"""
STYLE = """<style>math { font-size: 1.1em; }
math[display=block] { margin: 0.5rem 0; padding: 0.5rem 0; overflow: auto hidden; }
.highlight + .jp-Cell-outputWrapper { border-left: 3px solid var(--line); padding-left: 0.9rem; }
nav { font-size: 0.9rem; color: var(--soft); }
.words .word, .dataframe th:first-child { text-align: left; }
@media screen and (max-width: 40rem) {
  .words, .words :is(tbody, tr, tbody th) { display: block; } .words thead { display: none; }
  .words tr { padding: 0.3rem 0.5rem; } .words tbody th { padding: 0; }
  .words td { display: inline-block; padding: 0 1rem 0 0; text-align: left; }
  .words td[data-name]::before { content: attr(data-name) ": "; color: var(--soft); }
  .dataframe:not(.words) { font-size: 0.7rem; } .dataframe:not(.words) :is(th, td) { padding: 0.2rem 0.25rem; }
  .jp-OutputArea-output:has(.dataframe:not(.words)) { background:
    linear-gradient(to left, var(--paper) 40%, transparent) right / 3rem 100% no-repeat local,
    linear-gradient(to left, var(--soft), transparent) right / 0.8rem 100% no-repeat scroll; }
}</style>"""
#: A table of pandas; a value that is a number or stands for one, which is aligned on the right
_TABLE = re.compile(r'<table border="1" class="dataframe">(.*?)</table>', re.S)
_ROW, _CELL = re.compile(r"<tr[^>]*>(.*?)</tr>", re.S), re.compile(r"<(t[hd])>(.*?)</t[hd]>", re.S)
_NUMBER = re.compile(r"[-+]?[\d.,e+-]*\s?%?|NaN|None|True|False")
#: A formula between dollars, or code, in which a dollar is a letter
_MATH = re.compile(r"(```.*?```|`[^`\n]*`)|\$\$(.+?)\$\$|\$([^$\n]+)\$", re.S)
#: A figure of photographs as HTML; the page has one style for all, and a touch makes it larger
_PHOTOGRAPHS = re.compile(r'<style>[^<]*</style>(<img [^>]*class="slerlib-jpeg"[^>]*>)')
_ZOOM = r'<label class="zoom"><input type="checkbox" aria-label="larger">\1</label>'
_PICTURE = re.compile(r'src="data:image/(png|jpeg);base64,([^"]+)"')


def chosen(asked: list[str]) -> list[Path]:
    """The notebooks of the lessons with these numbers, or all where "lessons" is asked."""
    every = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    return [path for path in every if "lessons" in asked or path.stem[:2] in asked]


def source_hash(book) -> str:
    """SHA-256 of the kinds and sources of all cells of a notebook."""
    cells = [[cell.cell_type, cell.source] for cell in book.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def keep(notebook: Path, folder: Path) -> Path:
    """Run a lesson with its own values and write its page. Ends the program where the lesson fails."""
    with tempfile.TemporaryDirectory() as scratch, patch.dict(os.environ, settings(scratch)):
        executed, log = Path(scratch) / "lesson.ipynb", Path(scratch) / "log.txt"
        outcome = kernel.execute(notebook, executed, {}, log)
        if outcome.state != "done":
            raise SystemExit(f"{notebook.name} is not done: {outcome.error}\n{log.read_text()[-2000:]}")
        html = page(nbformat.read(executed, 4), notebook).replace(scratch, ".")
    folder.mkdir(parents=True, exist_ok=True)
    return write_html(folder / f"{notebook.stem}.html", html)


def settings(scratch: str) -> dict[str, str]:
    """Of the environment: progress of its own, and photographs without paper, since a page may be dark."""
    return {"SLERLIB_COURSE": f"{scratch}/course", "SLERLIB_PHOTOGRAPHS": "clear"}


def page(executed, notebook: Path) -> str:
    """The page of an executed lesson."""
    source = nbformat.read(notebook, 4)
    title = source.cells[0].source.splitlines()[0].removeprefix("# ")
    executed.metadata.pop("widgets", None)
    formulas: list[str] = []
    for cell in executed.cells:
        if cell.cell_type == "markdown":
            cell.source = _moved(_aside(cell.source, formulas))
    templates = {"report.html.j2": part("page.html.j2"), "lesson.html.j2": TEMPLATE}
    exporter = HTMLExporter(embed_images=True, template_file="lesson.html.j2", extra_loaders=[DictLoader(templates)])
    mark = f'<meta name="slerlib-source" content="{source_hash(source)}">'
    top = head(title, of="slerlib lesson").replace("</head>", f"{mark}{STYLE}</head>")
    about = f"<nav>Executed copy of <code>notebooks/{notebook.name}</code>. {_beside(notebook)}</nav>"
    exporter.register_preprocessor("nbconvert.preprocessors.CoalesceStreamsPreprocessor", enabled=True)
    parts = {"head": Markup(top), "top": Markup(about), "bottom": Markup(_origin(notebook))}
    resources = {"page": parts, "metadata": {"path": str(notebook.parent.parent)}}
    html, _ = exporter.from_notebook_node(executed, resources=resources)
    for number, formula in enumerate(formulas):
        html = html.replace(_mark(number), formula)
    html = _TABLE.sub(_worded, _PHOTOGRAPHS.sub(_ZOOM, html))
    return _PICTURE.sub(lambda found: f'src="{_smaller(*found.groups())}"', html.rstrip()) + "\n"


def _aside(text: str, formulas: list[str]) -> str:
    """The text with a mark in place of each formula in dollars; the formulas, as MathML, are added to the list.

    Browsers draw MathML without a script. It is put back after the export, which would close its tags at once.
    """
    from latex2mathml.converter import convert

    def formula(found: re.Match) -> str:
        code, block, line = found.groups()
        if code:
            return code
        formulas.append(convert(block or line, display="block" if block else "inline"))
        return _mark(len(formulas) - 1)

    return _MATH.sub(formula, text)


def _mark(number: int) -> str:
    return f"slerlib-formula-{number}-"


def _moved(text: str) -> str:
    """Links as they are from reports/gallery/lessons, to copies and to files of the clone.

    Drawings, which are embedded, have their path from the root of the clone.
    """
    text = re.sub(r"(?<!!)(\[[^\]]*\])\(\.\./", r"\1(../../../", text)
    text = re.sub(r"(!\[[^\]]*\])\(\.\./", r"\1(", text)
    return re.sub(r"\]\((\d\d_\w+)\.ipynb\)", r"](\1.html)", text)


def _worded(table: re.Match) -> str:
    """A table of pandas with its columns of words on the left; a narrow page reads its rows as lists with names."""
    rows = [_CELL.findall(row) for row in _ROW.findall(table[1])]
    names = [text for _, text in rows[0]]
    values = [row for row in rows if any(kind == "td" for kind, _ in row)]
    words = {n for row in values for n, (kind, text) in enumerate(row) if kind == "td" and not _NUMBER.fullmatch(text)}
    if not words or any(len(row) != len(names) for row in values):
        return f'<table class="dataframe">{table[1]}</table>'

    def row(found: re.Match) -> str:
        cells = iter(range(len(names)))
        return _CELL.sub(lambda cell: named(next(cells), *cell.groups()), found[0])

    def named(n: int, kind: str, text: str) -> str:
        side = ' class="word"' if n in words else ""
        label = f' data-name="{names[n]}"' if kind == "td" and names[n] else ""
        return f"<{kind}{side}{label}>{text}</{kind}>"

    return f'<table class="dataframe words">{_ROW.sub(row, table[1])}</table>'


def _beside(notebook: Path) -> str:
    """Links to the copies of all lessons."""
    names = [path.stem for path in chosen(["lessons"])]
    return "Lessons: " + " ".join(
        f"<strong>{name[:2]}</strong>" if name == notebook.stem else f'<a href="{name}.html">{name[:2]}</a>'
        for name in names
    )


def _smaller(kind: str, data: str) -> str:
    """A chart as WebP without loss, a photograph with little."""
    picture, smaller = Image.open(io.BytesIO(base64.b64decode(data))), io.BytesIO()
    lossless = kind == "png"
    picture.convert("RGB").save(smaller, "webp", lossless=lossless, quality=100 if lossless else 80, method=6)
    return f"data:image/webp;base64,{base64.b64encode(smaller.getvalue()).decode()}"


def _origin(notebook: Path) -> str:
    """What made the page: code, checkpoint, versions, machine."""
    checkpoint = plan.declared(notebook)["checkpoint"]["default"]
    made = provenance.collect(checkpoint=checkpoint)
    machine = made["hardware"]
    rows = [
        ("code", checkout(made["git"])),
        ("checkpoint", hashed(made["checkpoint"])),
        ("processor", f"{machine['processor']}, {machine['cores']} cores"),
        ("versions", versions_of(made)),
    ]
    return f'<section class="run done"><h2>This copy</h2>{facts(rows)}</section>'
