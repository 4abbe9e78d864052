"""Executed notebook + run.json -> one HTML file that opens without a network: the answer first, the record last.

Code is folded away, once a section, and figures are embedded. Formulas stay as written (no MathJax), so notebooks write
them to be readable as text.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from .frame import (
    VERDICTS,
    checkout,
    document,
    facts,
    hashed,
    head,
    listed,
    part,
    took,
    verdict,
    versions_of,
    when,
    write_html,
)
from .record import STATES
from .words import label, words_of

WHOSE = "The reference is slerlib's own earlier numbers for these weights; it says nothing about those of the paper."
BOX = '<section class="run '
_INTERVAL = re.compile(r"(\([-−+]?[\d.]+%?) to ([-−+]?[\d.]+%?\))")  # a line may end before an interval, not in one
_PERCENT = re.compile(r"(?<=\d) %(?=[\s.,;:)<])")
_CELL = re.compile(r"<td[^>]*>[^<]*</td>")
_MINUS = re.compile(r"(?<![\w.-])-(?=[\d.])")  # not that of a date or a name


def write_page(folder: Path, record: dict) -> Path:
    """Write index.html of one run from its record and its notebook.ipynb, which may be missing after an early end.

    Where the notebook cannot be read, or a full disk has no room for it, the page still states what happened.
    """
    page, top, bottom = folder / "index.html", _trouble(record, folder), _record(record)
    try:
        return write_html(page, _export(folder / "notebook.ipynb", record, top, bottom))
    except Exception as error:
        note = f"<p>The notebook itself could not be shown ({escape(type(error).__name__)}: {escape(str(error))}).</p>"
        return write_html(page, document(record["name"], top + note + bottom))


# --- the notebook -----------------------------------------------------------------------------------------------------


def _export(executed: Path, record: dict, top: str, bottom: str) -> str:
    import nbformat
    from jinja2 import DictLoader
    from markupsafe import Markup
    from nbconvert import HTMLExporter

    notebook = nbformat.read(executed, as_version=4)
    notebook.cells = _arranged(notebook.cells, record)
    notebook.metadata.pop("widgets", None)  # dead without a kernel and a network
    exporter = HTMLExporter(
        embed_images=True,
        template_file="report.html.j2",
        extra_loaders=[DictLoader({"report.html.j2": part("page.html.j2")})],
    )
    parts = {"head": Markup(head(record["name"])), "top": Markup(top), "bottom": Markup(bottom)}
    html, _ = exporter.from_notebook_node(
        notebook, resources={"page": parts, "metadata": {"path": str(executed.parent)}}
    )
    body, box, rest = html.rstrip().rpartition(BOX)  # the command in it stays as it is
    body = _CELL.sub(lambda cell: _MINUS.sub("−", cell[0]), _PERCENT.sub("&nbsp;%", body))
    return _INTERVAL.sub(r"\1&nbsp;to&nbsp;\2", body) + words_of(body) + box + rest + "\n"


def _arranged(cells: list, record: dict) -> list:
    """The cells in the order of the page: title, answer with its verdict, the sections, each with its code below."""
    from nbformat.v4 import new_markdown_cell, new_output

    marker = "papermill-error-cell-tag"  # the box at the top is clearer
    cells = _folded([cell for cell in cells if marker not in _tags(cell)])
    answers = [cell for cell in cells if "finding" in _tags(cell) and cell.outputs and "finding" in record]
    if not answers or not cells[0].source.startswith("# "):
        return cells
    answers[0].outputs.append(new_output("display_data", {"text/html": _judged(record)}))
    title, _, rest = cells[0].source.partition("\n")
    others = [cell for cell in cells[1:] if cell is not answers[0]]
    what = f'{title}\n\n<p class="what">{escape(_what(record))}</p>'
    first, about = new_markdown_cell(what, id="title"), new_markdown_cell(rest, id="about")
    return [first, answers[0], about, *others]


def _what(record: dict) -> str:
    """What was run, on what, when: a line below the title."""
    values, data = record["parameters"], record["provenance"]["data"]
    parts = [f"Report {record['name']}", hashed(record["provenance"]["checkpoint"])]
    parts += [f"against {values['against']}"] if values.get("against") else []
    if training := values.get("training"):
        parts.append(
            "recipe tiny, a short demonstration on the bundled photographs" if training == "demo" else training
        )
    parts += ["the bundled photographs" if data["name"] == "demo" else hashed(data)] if data else []
    parts += [f"seed {values['seed']}"] if "seed" in values else []
    parts += [listed(record["changed"])] if record.get("changed") else []
    return " · ".join(filter(None, [*parts, when(record)]))


def _tags(cell) -> list:
    return cell.metadata.get("tags", [])


def _folded(cells: list) -> list:
    """The cells, and at the end of each section an empty one that holds the code of the section for the template."""
    from nbformat.v4 import new_markdown_cell

    result, code = [], []

    def fold():
        if code:
            failed = any(cell.metadata.get("papermill", {}).get("status") == "failed" for cell in code)
            notes = {"sources": [cell.source for cell in code], "open": failed}
            result.append(new_markdown_cell("", metadata={"fold": notes}, id=f"code-{len(result)}"))
            code.clear()

    for cell in cells:
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            fold()
        code += [cell] if cell.cell_type == "code" else []
        result.append(cell)
    fold()
    return result


# --- how it ended, whether it is right, where it comes from -----------------------------------------------------------


def _judged(record: dict) -> str:
    """Whether the numbers agree with the reference; folded below it, each number beside its band."""
    reference, kind = record["reference"], verdict(record)
    parts = [
        f'<div class="verdict {kind}"><p><strong>This run {VERDICTS[kind]}.</strong> {escape(reference["why"])}</p>'
    ]
    if kind != "none":
        parts.append(f"<p>{WHOSE}</p>")
    rows = []
    for name, (value, low, high) in reference.get("bands", {}).items():
        word = "outside" if name in reference["outside"] else "inside"
        word = "cannot tell" if name in reference["untold"] else word
        here, low, high = (
            "missing" if v is None else f"{v:.2f}" if abs(v) >= 10 else f"{v:.3f}" for v in (value, low, high)
        )
        cells = f"<td>{here}</td><td>{low} to {high}</td><td>{word}</td>"
        rows.append(f'<tr class="{word.split()[0]}"><th>{escape(label(name))}</th>{cells}</tr>')
    if rows:
        top = "<thead><tr><th></th><th>here</th><th>reference</th><th></th></tr></thead>"
        table = f"<table>{top}<tbody>{''.join(rows)}</tbody></table>"
        title = f"<summary>{len(rows)} numbers beside the reference</summary>"
        parts.append(f'<details class="bands"{" open" if reference["outside"] else ""}>{title}{table}</details>')
    return "".join([*parts, "</div>"])


def _trouble(record: dict, folder: Path) -> str:
    """The box at the top of a run without a good end: what failed, where, memory, how to go on, the end of the log."""
    state = record["state"]
    if state not in ("failed", "killed"):
        return ""
    error, good = record["error"], record["last_good"]
    parts = [f'<section class="run {state}"><h2>Report {escape(record["name"])} {escape(STATES[state])}</h2>']
    parts.append(f"<p><strong>{escape(error['kind'])}</strong>: {escape(error['message'])}</p>")
    if "cell" in error:
        where = f"It happened in code cell {error['cell']} of {record['cells']}:"
        parts.append(f"<p>{where}</p><pre>{escape(error['source'])}</pre>")
    if good:
        first = "\n".join(good["source"].strip().splitlines()[:3])
        parts.append(f"<p>The last good one was code cell {good['cell']}:</p><pre>{escape(first)}</pre>")
    else:
        parts.append("<p>No cell finished.</p>")
    if record["peak_memory_MB"]:
        used, free = record["peak_memory_MB"], record["least_free_memory_MB"]
        parts.append(f"<p>Memory: the notebook used {used} MB at its largest, and the machine had {free} MB left.</p>")
    parts.append(f"<p>To go on, keeping the files that the run saved:</p><pre>{escape(record['resume'])}</pre>")
    log = folder / "log.txt"
    if log.is_file():
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-40:])
        parts.append(f"<p>The end of {log.name}:</p><pre>{escape(tail)}</pre>")
    return "".join([*parts, "</section>"])


def _record(record: dict) -> str:
    """The box at the end: parameters, time, and where the numbers come from."""
    origin = record["provenance"]
    git, machine = origin["git"], origin["hardware"]
    peak = record.get("peak_memory_MB")
    rows = [
        ("state", STATES[record["state"]]),
        ("started", when(record) + (f", took {took(record)}" if took(record) else "")),
        ("parameters", listed(record["parameters"])),
        ("code", checkout(git)),
        ("slerlib sources", origin["code"][:16]),
        ("notebook source", record["source_sha256"][:16]),
        ("checkpoint", hashed(origin["checkpoint"])),
        ("data", hashed(origin["data"])),
        ("seed", origin["seed"]),
        ("accelerator", ", ".join(gpu["name"] for gpu in machine["gpus"]) or "none"),
        ("processor", f"{machine['processor']}, {machine['cores']} cores, {machine['memory_GB']} GB"),
        ("threads", origin["threads"]),
        ("dtype", origin["dtype"]),
        ("system", machine["system"]),
        ("peak memory", peak and f"{peak} MB"),
        ("versions", versions_of(origin)),
        ("run", record["key"]),
        ("again", record["resume"].removesuffix(" --resume")),
    ]
    check = "<p>manifest.json has the SHA-256 of every file; <code>slerlib report verify</code> checks them.</p>"
    return f'{BOX}{record["state"]}"><h2>This run</h2>{facts(rows)}{check}</section>'
