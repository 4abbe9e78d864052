"""Executed notebook + run.json -> one HTML file that opens without a network; and the list of runs.

Code is folded away, figures are embedded, no script is loaded from anywhere: a Content-Security-Policy lets the browser
show embedded pictures and the styles of the page, and nothing else. Formulas stay as written (no MathJax), so notebooks
write them to be readable as text.
"""

from __future__ import annotations

import os
import re
from html import escape
from pathlib import Path
from urllib.parse import quote

from ..files import leftovers, write_atomic
from .record import FOREVER, STATES, held, read_runs

#: Whatever a cell or a name puts into a page: no script runs, nothing is fetched, nothing is sent.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_META = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
_INTERVAL = re.compile(r"(\([-−+]?[\d.]+%?) to ([-−+]?[\d.]+%?\))")  # a line may end before an interval, not in one

_STYLE = """
:root { color-scheme: light; }
body, body.jp-Notebook { max-width: 62rem; margin: 0 auto; padding: 1.5rem; overflow: visible; background: #fff;
  color: #1b1f24; font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
.jp-RenderedHTMLCommon { font-family: inherit; font-size: 1rem; line-height: 1.55; }
.jp-Cell { padding: 0.15rem 0; } .jp-Cell .jp-RenderedMarkdown { padding: 0; }
.jp-InputPrompt, .jp-OutputPrompt { display: none; }
.jp-RenderedImage img, .jp-RenderedHTML img { max-width: 100%; height: auto; }
.jp-RenderedHTMLCommon table { font-size: 0.85rem; } .jp-RenderedHTMLCommon table tbody tr th { text-align: left; }
.jp-OutputArea-output { overflow-x: auto; } .jp-OutputArea-output pre { white-space: pre-wrap; }
details.code > summary { cursor: pointer; color: #57606a; font-size: 0.8rem; padding: 0.1rem 0; }
details.code[open] > summary { margin-bottom: 0.3rem; }
.jp-CodeCell.jp-mod-noOutputs:not(:has(details[open])) { display: inline-block; margin-right: 1.2rem; }
@media (max-width: 40rem) { body, body.jp-Notebook { padding: 0.8rem; } }
.run { border: 1px solid #d0d7de; border-left-width: 6px; border-radius: 4px; padding: 0.8rem 1.1rem; }
section.run { margin: 1.5rem 0; }
.run.done { border-left-color: #1a7f37; } .run.running { border-left-color: #9a6700; }
.run.failed, .run.killed { border-left-color: #b42318; }
.run h2 { font-size: 1.15rem; margin: 0 0 0.5rem; } .run p { margin: 0.4rem 0; }
.run pre { background: #f6f8fa; padding: 0.6rem; overflow-x: auto; font-size: 0.85rem; white-space: pre-wrap; }
table.facts { border-collapse: collapse; font-size: 0.9rem; }
table.facts th { text-align: left; font-weight: 600; white-space: nowrap; }
table.facts td, table.facts th { padding: 0.2rem 1rem 0.2rem 0; vertical-align: top; overflow-wrap: anywhere; }
table.runs { border-collapse: collapse; width: 100%; }
table.runs th, table.runs td { text-align: left; padding: 0.4rem 0.8rem 0.4rem 0; vertical-align: top;
  border-bottom: 1px solid #d0d7de; overflow-wrap: anywhere; }
.state { white-space: nowrap; font-weight: 600; } .state.done { color: #1a7f37; } .state.running { color: #9a6700; }
.state.failed, .state.killed { color: #b42318; } a { color: #0a58ca; } .wide { overflow-x: auto; }
"""

_TEMPLATE = """
{%- extends 'index.html.j2' -%}
{%- block html_head -%}{{ resources.page.meta }}{{ super() }}{%- endblock html_head -%}
{%- block html_head_js -%}{%- endblock html_head_js -%}
{%- block jupyter_widgets -%}{%- endblock jupyter_widgets -%}
{%- block html_head_js_mathjax -%}{%- endblock html_head_js_mathjax -%}
{%- block html_head_js_mermaidjs -%}{%- endblock html_head_js_mermaidjs -%}
{%- block html_head_css -%}<style>{{ resources.page.style }}</style>{%- endblock html_head_css -%}
{%- block body_header -%}{{ super() }}{{ resources.page.top }}{%- endblock body_header -%}
{%- block body_footer -%}{{ resources.page.bottom }}{{ super() }}{%- endblock body_footer -%}
{%- block input_group -%}
<details class="code"{% if cell.metadata.get('papermill', {}).get('status') == 'failed' %} open{% endif %}>
<summary>code cell {{ cell.execution_count or "" }}</summary>{{ super() }}</details>
{%- endblock input_group -%}
{%- block data_png scoped -%}{{ picture(output, 'image/png') }}{%- endblock data_png -%}
{%- block data_jpg scoped -%}{{ picture(output, 'image/jpeg') }}{%- endblock data_jpg -%}
{%- macro picture(output, kind) -%}
{%- set notes = output.get('metadata', {}) -%}
{%- set alt = notes.get(kind, {}).get('alt') or notes.get('alt') -%}
<div class="jp-RenderedImage jp-OutputArea-output">
<img src="data:{{ kind }};base64,{{ output.data[kind] | replace('\\n', '') }}"
{%- if notes.get(kind, {}).get('width') %} width="{{ notes[kind].width }}"{% endif %}
{%- if alt %} alt="{{ alt | escape }}"{% endif %}></div>
{%- endmacro -%}
"""


def write_page(folder: Path, record: dict) -> Path:
    """Write index.html of one run from its record and its notebook.ipynb, which may be missing after an early end.

    Where the notebook cannot be read, or a full disk has no room for it, the page still states what happened.
    """
    page, top, bottom = folder / "index.html", _summary(record, folder), _provenance(record)
    try:
        return _write(page, _export(folder / "notebook.ipynb", record, top, bottom))
    except Exception as error:
        note = f"<p>The notebook itself could not be shown ({escape(type(error).__name__)}: {escape(str(error))}).</p>"
        return _write(page, _document(record["name"], top + note + bottom))


def _write(page: Path, html: str) -> Path:
    """Write a page; a letter that UTF-8 lacks, as in the name of a file from an old disk, stands as its code."""
    return write_atomic(page, html.encode(errors="backslashreplace"))


def _export(executed: Path, record: dict, top: str, bottom: str) -> str:
    import nbformat
    from jinja2 import DictLoader
    from markupsafe import Markup
    from nbconvert import HTMLExporter

    notebook = nbformat.read(executed, as_version=4)
    marker = "papermill-error-cell-tag"  # the box at the top is clearer
    notebook.cells = [cell for cell in notebook.cells if marker not in cell.metadata.get("tags", [])]
    notebook.metadata["title"] = f"{record['name']} - slerlib report"
    notebook.metadata.pop("widgets", None)  # dead without a kernel and a network
    scripts = ("mathjax_url", "require_js_url", "jquery_url", "jupyter_widgets_base_url", "mermaid_js_url")
    exporter = HTMLExporter(
        embed_images=True,
        template_file="report.html.j2",
        extra_loaders=[DictLoader({"report.html.j2": _TEMPLATE})],
        **dict.fromkeys(scripts, ""),
    )
    parts = {"meta": Markup(_META), "style": Markup(_STYLE), "top": Markup(top), "bottom": Markup(bottom)}
    html, _ = exporter.from_notebook_node(
        notebook, resources={"page": parts, "metadata": {"path": str(executed.parent)}}
    )
    return _INTERVAL.sub(r"\1&nbsp;to&nbsp;\2", html)


def _document(title: str, body: str) -> str:
    head = f'<meta charset="utf-8">{_META}<title>{escape(title)} - slerlib report</title><style>{_STYLE}</style>'
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body><main>{body}</main></body></html>\n'


def _facts(rows) -> str:
    shown = ((escape(name), escape(str(value))) for name, value in rows if value is not None)
    lines = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in shown)
    return f'<table class="facts">{lines}</table>'


def _summary(record: dict, folder: Path) -> str:
    """The box at the top: state, parameters, time; for a run without a good end also what failed and how to go on."""
    state = record["state"]
    parts = [f'<section class="run {escape(state)}"><h2>Report {escape(record["name"])} {escape(STATES[state])}</h2>']
    if state in ("failed", "killed"):
        parts.append(_trouble(record, folder))
    took = _seconds(record.get("wall_seconds"))
    line = f"Started {_when(record)}" + (f", took {took}" if took else "") + f". Parameters: {_parameters(record)}."
    return "".join([*parts, f"<p>{escape(line)}</p></section>"])


def _when(record: dict) -> str:
    return record["started"][:16].replace("T", " ")


def _parameters(record: dict) -> str:
    return ", ".join(f"{key} = {value}" for key, value in record["parameters"].items() if value != "") or "none"


def _trouble(record: dict, folder: Path) -> str:
    """What failed, where, the last good cell, memory, how to go on, the end of the log."""
    error, good = record["error"], record["last_good"]
    parts = [f"<p><strong>{escape(error['kind'])}</strong>: {escape(error['message'])}</p>"]
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
    return "".join(parts)


def _provenance(record: dict) -> str:
    origin = record["provenance"]
    git, machine = origin["git"], origin["hardware"]
    peak = record.get("peak_memory_MB")
    rows = [
        ("code", git and git["sha"][:12] + (f" with local changes {git['dirty']}" if git["dirty"] else "")),
        ("slerlib sources", origin["code"][:16]),
        ("notebook source", record["source_sha256"][:16]),
        ("checkpoint", _named(origin["checkpoint"])),
        ("data", _named(origin["data"])),
        ("seed", origin["seed"]),
        ("accelerator", ", ".join(gpu["name"] for gpu in machine["gpus"]) or "none"),
        ("processor", f"{machine['processor']}, {machine['cores']} cores, {machine['memory_GB']} GB"),
        ("threads", origin["threads"]),
        ("dtype", origin["dtype"]),
        ("system", machine["system"]),
        ("peak memory", peak and f"{peak} MB"),
        ("versions", ", ".join(f"{name} {version}" for name, version in origin["versions"].items() if version)),
        ("run", record["key"]),
    ]
    return f'<section class="run {record["state"]}"><h2>This run</h2>{_facts(rows)}</section>'


def _named(item: dict | None) -> str | None:
    return item and item["name"] + (f" (sha256 {item['sha256'][:16]})" if item.get("sha256") else "")


def _seconds(wall: float | None) -> str | None:
    return None if wall is None else f"{wall:.0f} s" if wall < 120 else f"{wall / 60:.1f} min"


def write_list(runs: Path) -> Path:
    """Write index.html of the folder that holds the runs, newest first."""
    head = "".join(f"<th>{title}</th>" for title in ("state", "run", "started", "took", "parameters"))
    with held(runs, "list", FOREVER):  # else a list that was read earlier could be written later
        for path in leftovers(runs):
            path.unlink(missing_ok=True)
        records = sorted(read_runs(runs), key=lambda record: record["started"], reverse=True)
        table = f'<table class="runs"><tr>{head}</tr>{"".join(map(_row_or_note, records))}</table>'
        body = f'<h1>slerlib reports</h1><div class="wide">{table}</div>'
        return _write(runs / "index.html", _document("Runs", body))


def _row_or_note(record: dict) -> str:
    """The row of a run; one whose record was changed by hand, so that no row can be made of it, has its name alone."""
    try:
        return _row(record)
    except Exception as error:
        words = f"{record['folder'].name}: run.json cannot be shown ({type(error).__name__})"
        return f'<tr><td></td><td colspan="4">{escape(words)}</td></tr>'


def _row(record: dict) -> str:
    folder, state = record["folder"], record["state"]
    name = escape(folder.name)
    if (folder / "index.html").exists():
        name = f'<a href="{quote(os.fsencode(folder.name))}/index.html">{name}</a>'
    cells = (f'<span class="state {state}">{state}</span>', name, escape(_when(record)),
             _seconds(record["wall_seconds"]) or "", escape(_parameters(record)))  # fmt: skip
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
