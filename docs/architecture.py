"""Draw the architecture: image -> encoder -> sphere and guide map -> 8 layers of experts -> image.

    python docs/architecture.py       # writes docs/images/architecture.svg, prints its line for the README

The sizes are those of the network of the recipe `small`, the path that of its card; a test holds the committed file
equal to the output of this script.
"""

import json
from pathlib import Path

from drawing import WIDTH, arrow, box, dot, labelled, pin, svg, text

from slerlib import SLERIR, parameter_counts
from slerlib.checkpoint import find
from slerlib.config import STAGE_NAMES, recipe
from slerlib.model.network import LEVELS

FILE = Path(__file__).parent / "images" / "architecture.svg"
RECIPE, DEGRADATION = "small", "rain"
HEIGHT = 790
TOP, COLUMN, STEP, DEEPER = 438, 70, 79, 46  # of the layers: top, width, distance, how much lower each level stands
HEAD, ROW = 34, 28  # of a layer: height of its name, of an expert


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
    parts += [dot(x + dx, y + dy) for dx, dy in anchors]
    parts += [pin(x + dx, y + dy) for dx, dy in ((-30, -58), (36, 0), (-34, 38))]
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
    title = f"Architecture of SLER-IR ({RECIPE})"
    return svg(WIDTH, HEIGHT, title, alt, [*understanding(of), *layers(of)]), alt


if __name__ == "__main__":
    picture, alt = drawing()
    FILE.write_text(picture, encoding="utf-8")
    print(f"![{alt}](docs/images/{FILE.name})")
