"""index.html of a folder of runs: a card for each, which overview.js sorts and filters without a network."""

from __future__ import annotations

import base64
import os
import re
from collections import Counter
from datetime import datetime
from html import escape
from pathlib import Path
from urllib.parse import quote

from ..files import leftovers
from .findings import PICTURE
from .frame import VERDICTS, document, listed, part, took, verdict, when, write_html
from .record import FOREVER, held, read_runs

ROOM = 2_000_000  # bytes of all pictures together: of many runs the newest have one
ORDERS = {"started": "newest first", "headline": "largest number first", "wall": "longest first", "name": "by name"}


def write_list(runs: Path) -> Path:
    """Write index.html of the folder that holds the runs, newest first."""
    with held(runs, "list", FOREVER):  # else a list that was read earlier could be written later
        for path in leftovers(runs):
            path.unlink(missing_ok=True)
        records = sorted(read_runs(runs), key=lambda record: record["started"], reverse=True)
        room, cards = ROOM, []
        for record in records:
            card, size = _card_or_note(record, room)
            cards.append(card)
            room -= size
        body = f'<h1>Reports</h1>{_counts(records)}{_controls(records)}<div class="cards">{"".join(cards)}</div>'
        return write_html(runs / "index.html", document("Runs", body, part("overview.js")))


def _counts(records: list[dict]) -> str:
    counts = Counter(map(verdict, records))
    words = "; ".join(f"{text}: {counts[kind]}" for kind, text in VERDICTS.items() if counts[kind])
    return f'<p>Runs: {len(records)}{f" ({words})" if words else ""}. <span id="shown"></span></p>'


def _controls(records: list[dict]) -> str:
    names = {name: name for name in sorted({record["name"] for record in records})}
    kinds = {kind: text for kind, text in VERDICTS.items() if kind in set(map(verdict, records))}
    search = '<input id="words" type="search" placeholder="words to look for" aria-label="words to look for">'
    chosen = _choice("report", "report", {"": "every report"} | names)
    chosen += _choice("verdict", "verdict", {"": "every verdict"} | kinds) + _choice("order", "order", ORDERS)
    return f'<div class="controls" hidden>{search}{chosen}</div>'


def _choice(name: str, label: str, options: dict[str, str]) -> str:
    items = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options.items())
    return f'<select id="{name}" aria-label="{label}">{items}</select>'


def _card_or_note(record: dict, room: int) -> tuple[str, int]:
    """(card, bytes of its picture); a record changed by hand, of which no card can be made, has its name alone."""
    try:
        return _card(record, room)
    except Exception as error:
        words = f"{record['folder'].name}: run.json cannot be shown ({type(error).__name__})"
        return f'<article class="card failed"><p>{escape(words)}</p></article>', 0


def _card(record: dict, room: int) -> tuple[str, int]:
    folder, kind = record["folder"], verdict(record)
    answer = record.get("finding") or {}
    headline, name = answer.get("headline", ""), escape(record["name"])
    if (folder / "index.html").exists():
        name = f'<a href="{quote(os.fsencode(folder.name))}/index.html">{name}</a>'
    file = folder / PICTURE
    picture = file.read_bytes() if answer and file.is_file() and file.stat().st_size < room else b""
    error = record.get("error") or {}
    origin = record["provenance"]
    against = record["parameters"].get("against")
    facts = [
        (origin.get("checkpoint") or {}).get("name"),
        against and f"against {against}",
        record["parameters"].get("data"),
        took(record),
        when(record),
    ]
    facts += [f"seed {record['parameters']['seed']}"] if "seed" in record["parameters"] else []
    number = re.search(r"[-−+]?\d+(\.\d+)?", headline)
    keys = {"report": record["name"], "verdict": kind, "name": folder.name, "wall": record["wall_seconds"] or 0,
            "started": datetime.fromisoformat(record["started"]).timestamp(),
            "headline": number[0].replace("−", "-") if number else ""}  # fmt: skip
    data = " ".join(f'data-{key}="{escape(str(value))}"' for key, value in keys.items())
    parts = [f'<article class="card {escape(kind)}" {data}>']
    if picture:
        embedded = base64.b64encode(picture).decode()
        look = "photo" if answer.get("kind") == "photo" else "chart"
        parts.append(f'<img class="{look}" src="data:image/jpeg;base64,{embedded}" alt="{escape(answer["alt"])}">')
    parts.append(f"<h2>{name}</h2>")
    parts.append(f'<p class="headline">{escape(headline)}</p>' if headline else "")
    parts.append(f"<p>{escape(answer.get('sentence') or _short(error))}</p>")
    parts.append(f'<p class="word">{VERDICTS[kind]}</p>')
    parts.append(f'<p class="soft">{escape(" · ".join(str(fact) for fact in facts if fact))}</p>')
    if record.get("changed"):
        parts.append(f'<p class="soft">{escape(listed(record["changed"]))}</p>')
    parts.append(f'<p class="soft">{escape(folder.name)}</p></article>')
    return "".join(parts), len(picture)


def _short(error: dict) -> str:
    text = f"{error.get('kind', '')}: {error.get('message', '')}" if error else ""
    return text if len(text) <= 200 else f"{text[:197]}..."
