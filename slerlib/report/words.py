"""Sentences of a report as HTML. Names of photographs, sets and files in them stay letters, whatever they contain.

This is the one place where text becomes HTML: nothing of it is read as Markdown or as a tag, so that a name cannot
load a picture or set a link. In figures `text.parse_math` (`plots/style.py`) does the same for the $ of formulas.
"""

from __future__ import annotations

import re
from html import escape


def as_html(text: str) -> str:
    """HTML of plain text with **bold**, `code`, paragraphs after an empty line, and lists of lines with "- "."""
    return "".join(map(_paragraph, re.split(r"\n\s*\n", text.strip())))


def _paragraph(text: str) -> str:
    parts, items = [], []
    for line in text.splitlines():
        (items if line.startswith("- ") else parts).append(line)
    lines = f"<p>{_marked(chr(10).join(parts))}</p>" if parts else ""
    return lines + (f"<ul>{''.join(f'<li>{_marked(item[2:])}</li>' for item in items)}</ul>" if items else "")


def _marked(text: str) -> str:
    html = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text), flags=re.DOTALL)
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html)


def say(text: str) -> None:
    """Show a sentence made from the numbers of a run; `as_html` has the marks that it may hold."""
    from IPython.display import display

    display({"text/html": as_html(text), "text/plain": text}, raw=True)
