"""The tool of all drawings: SVG whose text stays text and whose colours follow the page, light or dark.

    parts = [*labelled(20, 24, 120, ["image", "3 × H × W"]), arrow((140, 60), (172, 60))]
    svg(680, 120, "A title", "A description for those who do not see it.", parts)

Everything lies on a panel of its own, so that any page will do. 10 of 680 units are 5 pixels on a telephone 380 pixels
wide: no text is smaller than 17.
"""

from xml.sax.saxutils import escape, quoteattr

WIDTH = 680

STYLE = """
text { font: 17px system-ui, "DejaVu Sans", sans-serif; fill: #24292f; text-anchor: middle; }
.title { font-weight: 600; font-size: 19px; }
.left { text-anchor: start; }
.right { text-anchor: end; }
.panel { fill: #ffffff; stroke: #d0d7de; }
.box { fill: #f3f5f8; stroke: #57606a; stroke-width: 1.5; }
.expert { fill: #ffffff; stroke: #57606a; }
.chosen { fill: #0072b2; stroke: #0072b2; }
text.on { fill: #ffffff; font-weight: 600; }
.layer { fill: #f3f5f8; fill-opacity: 0.8; stroke: #57606a; stroke-width: 1.5; }
.line { fill: none; stroke: #57606a; stroke-width: 2; }
.skip { stroke-dasharray: 5 5; stroke-width: 1.5; }
.path { fill: none; stroke: #0072b2; stroke-width: 5; opacity: 0.55; }
.head { fill: #57606a; }
.anchor { fill: #57606a; }
.pin { fill: #d55e00; }
.embedding { fill: #0072b2; }
.near { stroke: #0072b2; stroke-width: 2.5; }
.guide { fill: #009e73; stroke: #009e73; }
.still { fill: none; stroke: #57606a; stroke-width: 1.5; stroke-dasharray: 5 5; }
.cell0 { fill: #0072b2; fill-opacity: 0.18; }
.cell1 { fill: #e69f00; fill-opacity: 0.25; }
.cell2 { fill: #009e73; fill-opacity: 0.2; }
.wrong { fill: none; stroke: #d55e00; stroke-width: 3; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .panel { fill: #161b22; stroke: #3d444d; }
  .box { fill: #21262d; stroke: #9198a1; }
  .layer { fill: #21262d; stroke: #9198a1; }
  .expert { fill: #161b22; stroke: #9198a1; }
  .line, .still { stroke: #9198a1; }
  .head, .anchor { fill: #9198a1; }
  .path, .near { stroke: #56b4e9; }
  .embedding { fill: #56b4e9; }
  .pin { fill: #e69f00; }
  .wrong { stroke: #e69f00; }
}
"""


def text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}"' + (f' class="{kind}"' if kind else "") + f">{escape(words)}</text>"


def texts(x: float, y: float, lines: list[str], kind: str = "") -> list[str]:
    """Lines below each other."""
    return [text(x, y + 23 * n, line, kind) for n, line in enumerate(lines)]


def box(x: float, y: float, width: float, height: float, kind: str = "box") -> str:
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>'


def line(*points: tuple[float, float], kind: str = "line") -> str:
    return f'<polyline class="{kind}" points="{_joined(points)}"/>'


def arrow(*points: tuple[float, float], kind: str = "line") -> str:
    """A line through the points with a head at the end."""
    return f'<polyline class="{kind}" points="{_joined(points)}" marker-end="url(#head)"/>'


def dot(x: float, y: float, kind: str = "anchor", r: float = 5) -> str:
    return f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="{r:g}"/>'


def pin(x: float, y: float) -> str:
    return f'<polygon class="pin" points="{x:g},{y - 9:g} {x + 8:g},{y + 6:g} {x - 8:g},{y + 6:g}"/>'


def labelled(x: float, y: float, width: float, lines: list[str], kind: str = "box") -> list[str]:
    """A box with a title and lines below it; `height` of its lines."""
    on = " on" if kind == "chosen" else ""
    words = [text(x + width / 2, y + 26 + 23 * n, words, ("" if n else "title") + on) for n, words in enumerate(lines)]
    return [box(x, y, width, height(lines), kind), *words]


def height(lines: list[str]) -> int:
    """Of a labelled box."""
    return 16 + 23 * len(lines)


def flow(y: float, boxes: list[tuple[float, list[str]]], left: float = 20, gap: float = 34) -> list[str]:
    """Labelled boxes (width, lines) in a row, with arrows between them, their middles at one height."""
    parts, x, tall = [], left, max(height(lines) for _, lines in boxes)
    for n, (width, lines) in enumerate(boxes):
        parts += labelled(x, y + (tall - height(lines)) / 2, width, lines)
        if n:
            parts += [arrow((x - gap, y + tall / 2), (x - 4, y + tall / 2))]
        x += width + gap
    return parts


def tiles(x: float, y: float, rows: list[str], side: float = 16) -> list[str]:
    """Small squares: of each letter of the rows a class, # guide, o chosen, . expert; a space leaves a gap."""
    kinds = {"#": "guide", "o": "chosen", ".": "expert", "x": "pin"}
    return [
        f'<rect class="{kinds[letter]}" x="{x + (side + 3) * column:g}" y="{y + (side + 3) * row:g}" width="{side:g}"'
        f' height="{side:g}" rx="2"/>'
        for row, letters in enumerate(rows)
        for column, letter in enumerate(letters)
        if letter != " "
    ]


def svg(width: int, height: int, title: str, alt: str, parts: list[str]) -> str:
    """The file."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" aria-label={quoteattr(alt)}>',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="5" markerHeight="5" orient="auto">'
        '<path class="head" d="M0 0 L8 4 L0 8 Z"/></marker></defs>',
        f'<rect class="panel" x="1" y="1" width="{width - 2}" height="{height - 2}" rx="14"/>',
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _joined(points) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
