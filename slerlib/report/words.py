"""Sentences of a report as HTML. Names of photographs, sets and files in them stay letters, whatever they contain.

This is the one place where text becomes HTML: nothing of it is read as Markdown or as a tag, so that a name cannot
load a picture or set a link. In figures `text.parse_math` (`plots/style.py`) does the same for the $ of formulas.
"""

from __future__ import annotations

import re
from functools import cache
from html import escape

from ..files import PACKAGE, clone_root

#: Rules of `analysis.causal.route_rules` in words.
RULES = {
    "modal": "most frequent path of the true degradation",
    "oracle": "path of the true degradation's anchor",
    "anchor": "path of the nearest anchor",
    "one path": "one path for all",
    "random": "a random path",
}
#: Measures of `analysis.geometry.measures` in words.
MEASURES = {
    "knn_accuracy": "accuracy, 5 nearest points",
    "probe_accuracy": "accuracy, linear classifier",
    "intra_cosine": "cosine within a class",
    "inter_cosine": "cosine between class centres",
    "centroid_uniformity": "uniformity of class centres",
    "scene_leakage": "scene leakage",
    "view_alignment": "crop to whole image, distance²",
}
#: Names of this network and of its measures; the glossary has the other words.
TERMS = {
    "noise15, noise25, noise50": "Noise of standard deviation 15, 25 or 50, of the 255 levels of a colour.",
    "enc1, enc2, enc3, latent, dec3, dec2, dec1, refine": "The 8 layers, from the input to the result.",
    "silhouette": "How much nearer a point is to its own class than to the next one: −1 to 1, more is better.",
    "NMI": "Normalised mutual information of two groupings: 0 nothing in common, 1 the same.",
    "ROC curve": "Hits against false alarms for every limit; its area is 0.5 by chance, 1 without an error.",
}
#: First words of a number's name in a finding -> the label of its table; `label` puts them together.
_KINDS = {
    "input": "PSNR input", "result lost by": "dB lost,", "result loss": "loss at the end", "result": "PSNR restored",
    "sphere own anchor": "nearest to their own anchor, share", "sphere": "",
    "routes NMI": "NMI at", "routes different": "different paths", "routes crop agrees": "layers where a crop agrees",
}  # fmt: skip


def label(name: str) -> str:
    """The name of a number of a finding as the tables of its page call it: "result rain" -> "PSNR restored rain"."""
    kind = next((kind for kind in _KINDS if f"{name} ".startswith(f"{kind} ")), None)
    if kind is None:
        return name
    rest = name.removeprefix(kind).strip()
    return f"{_KINDS[kind]} {(RULES | MEASURES).get(rest, rest)}".strip()


def as_html(text: str) -> str:
    """HTML of plain text with **bold**, `code`, paragraphs after an empty line, and lists of lines with "- "."""
    return "".join(map(_paragraph, re.split(r"\n\s*\n", text.strip())))


@cache
def glossary() -> dict[str, str]:
    """Term -> meaning: docs/glossary.md of the clone or its copy inside the installed package, and TERMS."""
    root = clone_root()
    file = root / "docs" / "glossary.md" if root else PACKAGE / "_glossary.md"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    rows = re.findall(r"^\| <a [^>]*></a>(.+?) \| (.+?) \|$", text, re.MULTILINE)
    return dict(rows) | TERMS


def words_of(html: str) -> str:
    """A folded list of the words of a page that the glossary explains; "" for a page without any."""
    text = re.sub(r"<[^>]*>", " ", html)
    used = {term: meaning for term, meaning in glossary().items()
            if re.search(rf"\b(?:{'|'.join(term.split(', '))})s?\b", text)}  # fmt: skip
    rows = "".join(f"<dt>{escape(term)}</dt><dd>{_marked(meaning)}</dd>" for term, meaning in used.items())
    return f'<details class="words"><summary>Words of this page</summary><dl>{rows}</dl></details>' if used else ""


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
