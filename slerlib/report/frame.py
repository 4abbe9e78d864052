"""The frame of every page of a report: its head, a policy that lets nothing in, the one style, written whole.

The Content-Security-Policy lets the browser show embedded pictures and the styles of the page. No script runs, except
one whose hash the policy names, nothing is fetched and nothing is sent, whatever a cell or a name puts into the page.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from pathlib import Path

from ..files import write_atomic

HERE = Path(__file__).resolve().parent
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def part(name: str) -> str:
    """Text of a file beside this one: page.css, page.html.j2, overview.js."""
    return (HERE / name).read_text(encoding="utf-8")


def head(title: str, script: str = "", of: str = "slerlib report") -> str:
    """Everything before <body>. script: the only one that may run on this page. of: the second half of the title."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = _POLICY + (f"; script-src 'sha256-{digest}'" if script else "")
    meta = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
    meta += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    title = f"<title>{escape(title)} - {escape(of)}</title>"
    return f'<!DOCTYPE html>\n<html lang="en"><head>{meta}{title}<style>{part("page.css")}</style></head>'


def document(title: str, body: str, script: str = "", of: str = "slerlib report") -> str:
    """A whole page; script and of as for `head`."""
    last = f"<script>{script}</script>" if script else ""
    return f"{head(title, script, of)}<body><main>{body}</main>{last}</body></html>\n"


def write_html(path: Path, html: str) -> Path:
    """Write a page; a letter that UTF-8 lacks, as in the name of a file from an old disk, stands as its code."""
    return write_atomic(path, html.encode(errors="backslashreplace"))


# --- facts of a record in words ---------------------------------------------------------------------------------------


def when(record: dict) -> str:
    return record["started"][:16].replace("T", " ")


def took(record: dict) -> str:
    wall = record.get("wall_seconds")
    return "" if wall is None else f"{wall:.0f} s" if wall < 120 else f"{wall / 60:.1f} min"


def listed(values: dict) -> str:
    return ", ".join(f"{key} = {value}" for key, value in values.items() if value != "") or "none"


def checkout(git: dict | None) -> str | None:
    return git and git["sha"][:12] + (f" with local changes {git['dirty']}" if git["dirty"] else "")


def hashed(item: dict | None) -> str | None:
    """The name of a checkpoint or of data, with the first letters of its SHA-256."""
    return item and item["name"] + (f" (sha256 {item['sha256'][:16]})" if item.get("sha256") else "")


def versions_of(origin: dict) -> str:
    return ", ".join(f"{name} {version}" for name, version in origin["versions"].items() if version)


def facts(rows: Iterable[tuple[str, object]]) -> str:
    """A table of names and values; what is None is left out."""
    shown = ((escape(name), escape(str(value))) for name, value in rows if value is not None)
    lines = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in shown)
    return f'<table class="facts">{lines}</table>'


#: What a run comes to, and in words: a state, or for a finished run how it stands to the reference.
VERDICTS = {
    "agrees": "agrees with the reference", "differs": "differs from the reference", "none": "has no reference",
    "running": "is running", "failed": "failed", "killed": "was stopped before its end",
}  # fmt: skip


def verdict(record: dict) -> str:
    """A key of VERDICTS."""
    judged = record.get("reference")
    word = judged.get("verdict") if isinstance(judged, dict) else "none"
    return record["state"] if record["state"] != "done" else word if word in VERDICTS else "none"
