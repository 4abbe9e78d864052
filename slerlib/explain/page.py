"""The page of an `Explanation`: one file that opens without a network, to be sent to a friend."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import plots, provenance
from ..images.files import to_pil
from ..model.doubt import about_limits, limits_of, wrong_names
from ..model.wrappers import unwrapped
from ..plots.marks import picture_table
from ..plots.style import encoded, finished, styled
from ..report.frame import checkout, document, facts, hashed, versions_of, write_html
from ..report.words import as_html, words_of
from .look import Explanation, Step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..model.network import SLERIR

LONGEST = 1200  # pixels of the pictures of the slider
NEAR = 0.1  # of a limit; a sign that is nearer to it than this is named
STRONG = 25.6  # levels of 256, mean over the picture: a tenth of the range
SCRIPT = Path(__file__).with_name("slider.js")
STYLE = """<style>
.slider { margin: 1rem 0; } .slider .pair { position: relative; }
.slider img { display: block; width: 100%; border-radius: 6px; }
.slider.live .before { position: absolute; inset: 0 0 auto 0; clip-path: inset(0 calc(100% - var(--place)) 0 0); }
.slider input { width: 100%; margin: 0; }
.slider figcaption { display: flex; justify-content: space-between; color: var(--soft); }
</style>"""


def write_page(
    path: Path, about: Explanation, model: SLERIR, name: str, command: str, origin: dict | None = None
) -> Path:
    """Write the page.

    name: of the photograph, as a title. command: that makes the page again. origin: of `provenance.collect`, with the
    checkpoint and the photograph as data; left out, without them. Raises OSError where it cannot be written.
    """
    trace, net = about.trace, unwrapped(model)
    angles, digits = trace.anchor_angle[0], trace.path_strings()[0]
    card = getattr(net, "card", {})
    parts = [
        f"<h1>{escape(name)}</h1>",
        STYLE,
        as_html(f"**{_answer(about)}**\n\n{_verdict(about, card)}"),
        _slider(about),
    ]

    def section(title: str, text: str, *figures: Figure | None) -> None:
        parts.append(f"<h2>{escape(title)}</h2>{as_html(text)}{''.join(map(_image, filter(None, figures)))}")

    trained = float(card.get("config", {}).get("train", {}).get("place_weight", 0)) > 0
    place = "Each place of the picture is a point of the sphere too; the map shows the class nearest to it."
    place += "" if trained else " **These weights were trained without places, so the map means little.**"
    local = plots.where_map({"": (about.x_CHW, trace)}) if trace.local_angle is not None else None
    section("What is wrong, and where", place, local)
    section(
        "Its place among the degradations",
        "The encoder turns the picture into a point on a sphere, where every trained degradation has an anchor. The "
        "plane is a shadow of the sphere; the angles are exact.",
        plots.sphere_view(trace.embedding, [about.nearest], net.router.anchors, trace.anchor_names),
        plots.angle_bars(angles, trace.anchor_names, trace.own_limits()[0].angle),
    )
    maps = plots.path_maps(about.x_CHW, trace) if trace.path_map is not None else None
    section("Its path", _path_words(about, digits), maps, _changes(about.stations, "Change by another expert"))
    section("Pass by pass", _pass_words(about), _changes(about.passes, "Change by each pass"))
    if about.anchors:
        section(
            "What other paths would have made of it",
            "The middle of the picture along the path of every class; below each, how far it is from the result, in "
            "levels of 256 on average.",
            _pictures(about.anchors, "The picture along the path of every class"),
        )
    section("Whether to trust it", f"{_verdict(about, card)}\n\n{_doubts(about, card)}")
    parts.append(words_of("".join(parts)))
    parts.append(_provenance(about, net, name, command, origin or provenance.collect()))
    return write_html(path, document(name, "".join(parts), SCRIPT.read_text(encoding="utf-8"), "slerlib explain"))


# --- in words ---------------------------------------------------------------------------------------------------------


def _answer(about: Explanation) -> str:
    angle = about.trace.anchor_angle[0].min().item()
    changed = _change(about)
    seen = "looks clean" if about.nearest == "clean" else f"looks like {about.nearest}"
    return (
        f"This picture {seen} ({angle:.0f}° from that anchor), and restoring changed it by {changed:.1f} levels of 256."
    )


def _change(about: Explanation) -> float:
    """Mean change by the restoration, in levels of 256."""
    return 255 * (about.y_CHW - about.x_CHW).abs().mean().item()


def _path_words(about: Explanation, digits: str) -> str:
    if not about.stations:
        return "This network has one expert at each layer, so every picture takes the same path."
    least = min(about.stations, key=lambda step: step.levels)
    most = max(about.stations, key=lambda step: step.levels)
    return (
        f"At each of 8 layers one of {about.trace.similarity.shape[-1]} experts works: path `{digits}`. Below, the "
        "second nearest expert takes the place of the chosen one, one layer at a time; bright is where the result "
        "changes. "
        f"The choice matters most at {most.title.partition(':')[0]} ({most.levels:.1f} levels of 256) and least at "
        f"{least.title.partition(':')[0]} ({least.levels:.1f})."
    )


def _pass_words(about: Explanation) -> str:
    words = [f"{step.title} changed the middle of the picture by {step.levels:.1f} levels" for step in about.passes]
    looks = [f"after pass {k + 1} it looks like {look.nearest_anchor()[0]}" for k, look in enumerate(about.trace.looks)]
    hint = "A damage that hides behind another one may show in a second pass: `--passes auto`."
    return f"{'; '.join(words + looks).capitalize()}. {hint}"


def _verdict(about: Explanation, card: dict) -> str:
    """Whether to trust the route, in words, and how often such a verdict was wrong where that was measured."""
    trace = about.trace
    doubtful = bool(trace.flags()[0])
    words = "doubtful; compare both pictures before you use the result"
    if not doubtful:
        near = any(nearly for _, nearly in _signs(about))
        words = f"no sign of doubt was seen{', but one is near its limit' if near else ''}; that is no proof"
    strong = " Restoring changed the picture strongly: compare both." if _change(about) > STRONG else ""
    if trace.evidence is not None and trace.unseen()[0] > trace.rule.limit:  # no route was counted with this sign
        return f"Verdict: {words}. {trace.rule.about()}{strong}"
    part = card.get("doubt") if limits_of(card) else {}
    wrong = part.get("wrong_with_doubt" if doubtful else "wrong_without")
    if wrong is None:
        return f"**Verdict: {words}.**{strong}"
    sign = "with" if doubtful else "without"
    rate = f"Of the measured pictures {sign} a sign of doubt the network named {wrong:.0%} wrongly"
    if own := wrong_names(card, about.nearest, doubtful):
        rate += f"; of the {own[1]} that it called {about.nearest}, {own[0]:.0%}"
    return f"**Verdict: {words}.** {rate}.{strong}"


def _signs(about: Explanation) -> list[tuple[bool, bool]]:
    """(beyond its limit, near it) of the distance and of the choice."""
    trace, (limit,) = about.trace, about.trace.own_limits()
    angle, margin = trace.anchor_angle[0].min().item(), trace.margin[0].min().item()
    signs = [(angle > limit.angle, angle > (1 - NEAR) * limit.angle)]
    return signs + ([(margin < limit.margin, margin < (1 + NEAR) * limit.margin)] if about.stations else [])


def _in_words(beyond: bool, near: bool) -> str:
    return "**doubtful**" if beyond else "**near its limit**" if near else "in order"


def _doubts(about: Explanation, card: dict) -> str:
    """The signs with their limits, how often these err, and what no sign speaks of."""
    trace, (limit,) = about.trace, about.trace.own_limits()
    angle, margin = trace.anchor_angle[0].min().item(), trace.margin[0].min().item()
    distance, *choice = _signs(about)
    lines = [f"- Distance: {angle:.0f}° from {about.nearest}, limit {limit.angle:.0f}°: {_in_words(*distance)}."]
    if choice:
        text = f"the least sure layer prefers its expert by {margin:.2g}, limit {limit.margin:.2g}"
        lines.append(f"- Choice: {text}: {_in_words(*choice[0])}.")
    lines.append(f"- {about_limits(card)} A route in order is thus no proof.")
    if trace.evidence is not None:
        score, most = trace.unseen()[0].item(), trace.rule.limit
        text = f"score {score:.1f} for damage unlike the trained, limit {most:.1f}"
        lines.append(f"- Damage: {text}: {_in_words(score > most, False)}. {trace.rule.about()}")
    sets = dict.fromkeys(part["set"] for part in card.get("data", {}).get("sets", []))
    lines.append("- No clean original is at hand, so nothing here says how near to the truth the result is.")
    lines.append(
        f"- The network was trained on: {', '.join(sets) or 'not stated'}. Other damage is not always flagged."
    )
    return "\n".join(lines)


def _provenance(about: Explanation, net: SLERIR, name: str, command: str, origin: dict) -> str:
    """The box at the end: which photograph, which weights, which code, when, and the command."""
    height, width = about.x_CHW.shape[1:]
    weight = next(net.parameters())
    rows = [
        ("photograph", origin["data"] and f"{name} (sha256 {origin['data']['sha256'][:16]})"),
        ("size", f"{width} x {height} pixels"),
        ("checkpoint", hashed(origin["checkpoint"])),
        ("slerlib", f"{provenance.VERSION}, sources {origin['code'][:16]}"),
        ("code", checkout(origin["git"])),
        ("made", datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")),
        ("device", f"{weight.device.type}, {str(weight.dtype).removeprefix('torch.')}, {origin['threads']} thread(s)"),
        ("versions", versions_of(origin)),
    ]
    again = f"<p>The same page again:</p><pre>{escape(command)}</pre>"
    return f'<section class="run done"><h2>This page</h2>{facts(rows)}{again}</section>'


# --- pictures ---------------------------------------------------------------------------------------------------------


def _slider(about: Explanation) -> str:
    before, after = (_jpeg(x_CHW) for x_CHW in (about.x_CHW, about.y_CHW))
    height, width = about.x_CHW.shape[1:]
    caption = f"<figcaption><span>before</span><span>{width} x {height} pixels</span><span>after</span></figcaption>"
    control = '<input type="range" min="0" max="100" value="50" aria-label="before and after" hidden>'
    both = f'<img class="photo" src="{after}" alt="After"><img class="photo before" src="{before}" alt="Before">'
    return f'<figure class="slider">{control}<div class="pair">{both}</div>{caption}</figure>'


def _jpeg(x_CHW: Tensor) -> str:
    file, picture = io.BytesIO(), to_pil(x_CHW, None)
    picture.thumbnail((LONGEST, LONGEST))
    picture.convert("RGB").save(file, "jpeg", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _image(figure: Figure) -> str:
    data, notes = encoded(figure)
    look = "photo" if figure.kind == "jpeg" else "chart"
    source = f"data:image/{figure.kind};base64,{base64.b64encode(data).decode()}"
    image = f'<img class="{look}" src="{source}" alt="{escape(notes["alt"])}" width="{notes["width"]}">'
    zoom = f'<label class="zoom"><input type="checkbox" aria-label="larger">{image}</label>'
    return f'<div class="jp-RenderedImage jp-OutputArea-output">{zoom}</div>'


@styled
def _grid(steps: Sequence[Step], images: Sequence[Tensor], alt: str, columns: int = 4) -> Figure:
    """Pictures in rows of four, with title and mean change below each."""
    notes = [f"{step.title}\n{step.levels:.1f} levels" for step in steps]
    gap = [torch.ones_like(images[0])] * (-len(steps) % columns)
    cells, words = [*images, *gap], [*notes, *[""] * len(gap)]
    rows = [("", cells[k : k + columns], words[k : k + columns]) for k in range(0, len(cells), columns)]
    text = "; ".join(" ".join(note.split()) for note in notes)
    return finished(picture_table(rows, [""] * columns, 9), f"{alt}: {text}.", "jpeg")


def _changes(steps: Sequence[Step], alt: str) -> Figure | None:
    """Changes of all steps on one scale: white is the 995th of 1000 pixels, or more."""
    if not steps:
        return None
    top = max(torch.stack([step.change for step in steps]).flatten().quantile(0.995).item(), 1.0)
    images = [(step.change / top).clamp(0, 1).expand(3, -1, -1) for step in steps]
    return _grid(steps, images, f"{alt}; white: {math.ceil(top)} levels of 256 or more")


def _pictures(steps: Sequence[Step], alt: str) -> Figure:
    return _grid(steps, [step.picture for step in steps], alt)
