"""Draw the architecture: image -> encoder -> sphere and guide map -> 8 layers of experts -> image.

    python docs/architecture.py       # writes docs/images/architecture.svg, prints its line for the README

The sizes are those of the network of the recipe `small`, the path that of its card; a test holds the committed file
equal to the output of this script. Text stays text. The colours follow the page, light or dark, and everything lies on
a panel of its own, so that any page will do.
"""

import json
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from slerlib import SLERIR, parameter_counts
from slerlib.checkpoint import find
from slerlib.config import STAGE_NAMES, recipe
from slerlib.model.network import LEVELS

FILE = Path(__file__).parent / "images" / "architecture.svg"
RECIPE, DEGRADATION = "small", "rain"
WIDTH, HEIGHT = 680, 790
TOP, COLUMN, STEP, DEEPER = 438, 70, 79, 46  # of the layers: top, width, distance, how much lower each level stands
HEAD, ROW = 34, 28  # of a layer: height of its name, of an expert

# 10 of 680 units are 5 pixels on a telephone 380 pixels wide: no text is smaller than 17
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
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .panel { fill: #161b22; stroke: #3d444d; }
  .box { fill: #21262d; stroke: #9198a1; }
  .layer { fill: #21262d; stroke: #9198a1; }
  .expert { fill: #161b22; stroke: #9198a1; }
  .line { stroke: #9198a1; }
  .head, .anchor { fill: #9198a1; }
  .path, .near { stroke: #56b4e9; }
  .embedding { fill: #56b4e9; }
  .pin { fill: #e69f00; }
}
"""


def sizes() -> dict:
    """What the drawing states, read from the network and the card."""
    cfg = recipe(RECIPE).model
    net = SLERIR(cfg)
    card = json.loads((find(RECIPE) / "card.json").read_text())
    rows = [row for row in card["scores"][0]["summary"] if row["task"] == DEGRADATION]
    return {
        "cfg": cfg,
        "channels": [net.injections[name].project.out_channels // 2 for name in STAGE_NAMES],
        "pins": net.router.pins[..., 0].numel(),
        "counts": {name: f"{count / 1e6:.2f}" for name, count in parameter_counts(net).items()},
        "path": [int(digit) for digit in rows[0]["modal_path"]],
    }


def text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}"' + (f' class="{kind}"' if kind else "") + f">{escape(words)}</text>"


def box(x: float, y: float, width: float, height: float, kind: str = "box") -> str:
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>'


def arrow(*points: tuple[float, float]) -> str:
    """A line through the points with a head at the end."""
    joined = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polyline class="line" points="{joined}" marker-end="url(#head)"/>'


def labelled(x: float, y: float, width: float, lines: list[str]) -> list[str]:
    """A box with a title and lines below it."""
    words = [text(x + width / 2, y + 26 + 23 * n, line, "" if n else "title") for n, line in enumerate(lines)]
    return [box(x, y, width, 16 + 23 * len(lines)), *words]


def understanding(of: dict) -> list[str]:
    """Upper half: encoder, fusion, the sphere and the guide map."""
    cfg = of["cfg"]
    pitch, width = cfg.stride, cfg.token_width
    parts = labelled(20, 24, 120, ["image", "3 × H × W", "degraded"])
    parts += labelled(
        176,
        24,
        262,
        [
            "encoder",
            "1 token for the whole image,",
            f"H/{pitch} × W/{pitch} for its places,",
            f"{width} numbers each",
        ],
    )
    parts += labelled(474, 24, 186, ["fusion (GLGF)", "of the whole", "and its places"])
    parts += [arrow((140, 70), (172, 70)), arrow((438, 70), (470, 70))]
    # the sphere: one layer's three pins among the anchors
    x, y, r = 128, 268, 82
    parts += [f'<circle class="box" cx="{x}" cy="{y}" r="{r}"/>']
    parts += [f'<path class="line skip" d="M{x - r} {y} A{r} 26 0 0 0 {x + r} {y}"/>']
    anchors = ((-46, -40), (4, -62), (50, -38), (60, 20), (28, 58), (-22, 60), (-60, 18), (-6, -8))
    if len(anchors) != len(cfg.classes):
        raise SystemExit(f"{len(anchors)} anchors are drawn; the recipe has {len(cfg.classes)}. Change `anchors`.")
    parts += [f'<circle class="anchor" cx="{x + dx}" cy="{y + dy}" r="5"/>' for dx, dy in anchors]
    pins = ((-30, -58), (36, 0), (-34, 38))
    for dx, dy in pins:
        points = f"{x + dx},{y + dy - 9} {x + dx + 8},{y + dy + 6} {x + dx - 8},{y + dy + 6}"
        parts += [f'<polygon class="pin" points="{points}"/>']
    parts += [f'<line class="near" x1="{x + 8}" y1="{y - 34}" x2="{x + 36}" y2="{y}"/>']
    parts += [f'<circle class="embedding" cx="{x + 8}" cy="{y - 34}" r="8"/>']
    return parts + [
        text(224, 226, f"sphere, {cfg.embedding} dimensions", "left title"),
        '<circle class="embedding" cx="234" cy="247" r="8"/>',
        text(250, 253, "embedding of the image", "left"),
        '<circle class="anchor" cx="234" cy="273" r="5"/>',
        text(250, 279, f"{len(cfg.classes)} anchors, one a class", "left"),
        '<polygon class="pin" points="234,291 242,306 226,306"/>',
        text(250, 305, f"{of['pins']} pins, one an expert", "left"),
        arrow((504, 112), (504, 160), (128, 160), (128, 180)),
        text(316, 152, "embedding"),
        text(567, 226, "guide map", "title"),
        *[
            f'<rect class="guide" x="{511 + 19 * column}" y="{238 + 19 * row}" width="16" height="16" rx="2"'
            f' opacity="{0.15 + 0.85 * max(0, 1 - ((column - 4) ** 2 + (row - 1) ** 2) ** 0.5 / 3.4):.2f}"/>'
            for row in range(3)
            for column in range(6)
        ],
        text(567, 318, f"{cfg.guide_channels} × H/{pitch} × W/{pitch}"),
        arrow((567, 112), (567, 204)),
        arrow((30, 112), (30, TOP - 4)),
        arrow((128, 354), (128, 388)),
        text(142, 378, "nearest pin: the expert", "left"),
        arrow((567, 328), (567, 388)),
        text(553, 378, "scale and shift", "right"),
        box(106, 392, 554, 34),
        text(383, 415, f"{len(STAGE_NAMES)} layers with {cfg.experts} experts each", "title"),
    ]


def layers(of: dict) -> list[str]:
    """Lower half: the U-Net, its experts, and the path of one degradation through them."""
    experts, cfg = of["cfg"].experts, of["cfg"]
    lefts = [24 + STEP * n for n in range(len(STAGE_NAMES))]
    tops = [TOP + DEEPER * level for level in LEVELS]
    height = HEAD + ROW * experts + 8
    pairs = [(n, m) for n in range(3) for m in range(4, 7) if LEVELS[n] == LEVELS[m]]
    parts = [
        f'<line class="line skip" x1="{lefts[a] + COLUMN}" y1="{tops[a] + 16}" x2="{lefts[b]}" y2="{tops[b] + 16}"/>'
        for a, b in pairs
    ]
    columns = list(zip(lefts, tops, of["path"], strict=True))
    middle = COLUMN // 2
    points = " ".join(f"{left + middle},{top + HEAD + ROW * chosen + 12}" for left, top, chosen in columns)
    parts += [f'<polyline class="path" points="{points}"/>']
    for n, (left, top, chosen) in enumerate(columns):
        parts += [box(left, top, COLUMN, height, "layer"), text(left + middle, top + 24, STAGE_NAMES[n], "title")]
        for expert in range(experts):
            y, on = top + HEAD + ROW * expert, expert == chosen
            parts += [box(left + 9, y, COLUMN - 18, ROW - 5, "chosen" if on else "expert")]
            parts += [text(left + middle, y + 18, str(expert), "on" if on else "")]
        parts += [text(left + middle, top + height + 21, str(of["channels"][n]))]
        parts += [text(left + middle, top + height + 42, str(cfg.stages[n]))]
    legend = ("Below each layer:", "its channels,", "its blocks.", f"Blue: the path of {DEGRADATION}")
    parts += [text(20, 676 + 23 * n, line, "left") for n, line in enumerate(legend)]
    active = f"{of['counts']['active']} of {of['counts']['total']} million"
    parts += [text(430, 722, active), text(430, 745, "parameters active")]
    foot = tops[-1] + height
    parts += [arrow((lefts[-1] + middle, foot + 52), (lefts[-1] + middle, 676))]
    return parts + labelled(540, 680, 120, ["image", "3 × H × W", "restored"])


def drawing() -> tuple[str, str]:
    """The SVG and its alt text."""
    of = sizes()
    cfg, counts = of["cfg"], of["counts"]
    widths = f"{min(of['channels'])} to {max(of['channels'])}"
    alt = (
        f"Architecture: an encoder turns an image into a point on a sphere of {cfg.embedding} dimensions and a guide "
        f"map. At each of {len(STAGE_NAMES)} layers of a U-Net, {widths} channels, the nearest of {cfg.experts} pins "
        f"chooses an expert. {counts['active']} of {counts['total']} million parameters are active."
    )
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' role="img" aria-label={quoteattr(alt)}>',
        f"<title>Architecture of SLER-IR ({RECIPE})</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="5" markerHeight="5" orient="auto">'
        '<path class="head" d="M0 0 L8 4 L0 8 Z"/></marker></defs>',
        f'<rect class="panel" x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="14"/>',
        *understanding(of),
        *layers(of),
        "</svg>",
    ]
    return "\n".join(svg) + "\n", alt


if __name__ == "__main__":
    svg, alt = drawing()
    FILE.write_text(svg, encoding="utf-8")
    print(f"![{alt}](docs/images/{FILE.name})")
