"""Small drawings as SVG for explorers: they follow the colours of the page and keep their size, so nothing jumps.

Legend: K anchors (degradation classes), L layers, E experts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ..config import STAGE_NAMES
from ..model.doubt import GENERAL
from ..plots.style import expert_colour, ink

LINE = 19  # pixels from row to row


def angles(angles_K: Sequence[float], names: Sequence[str], limit: float = GENERAL.angle) -> str:
    """Bars of the angles in degrees to all anchors, in the order of the anchors, on a fixed scale of 0 to 120.

    limit: of the nearest class, beyond which its route is doubtful.
    """
    angles_K = [float(angle) for angle in angles_K]
    nearest = min(range(len(names)), key=angles_K.__getitem__)
    left, unit, parts = 78, 1.9, []
    for k, (name, angle) in enumerate(zip(names, angles_K, strict=True)):
        y, look = 22 + LINE * k, ' class="best"' if k == nearest else ""
        parts.append(f'<g{look}><text x="{left - 6}" y="{y + 11}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect x="{left}" y="{y}" width="{unit * min(angle, 120):.1f}" height="14" />')
        parts.append(f'<text x="{left + unit * min(angle, 120) + 4:.1f}" y="{y + 11}">{angle:.0f}°</text></g>')
    place, foot = left + unit * limit, 22 + LINE * len(names)
    parts.append(f'<line class="limit" x1="{place:.1f}" x2="{place:.1f}" y1="18" y2="{foot}" stroke-dasharray="4 3" />')
    parts.append('<text class="title" x="2" y="12">angle to each anchor</text>')
    parts.append(f'<text class="soft" x="{place + 4:.1f}" y="{foot + 10}">nearest beyond {limit:.0f}°: doubtful</text>')
    words = ", ".join(f"{name} {angle:.0f}" for name, angle in zip(names, angles_K, strict=True))
    return _svg(350, foot + 16, parts, f"Angle to each anchor in degrees; nearest is {names[nearest]}. {words}.")


def path(path_L: Sequence[int], experts: int, own_L: Sequence[int] | None = None, forbidden=()) -> str:
    """The 8 layers with their experts one above the other; the path is a line. own_L: another path, drawn dashed.

    forbidden: pairs (layer, expert) that are crossed out.
    """
    step, high, parts = 46, 30, ['<text class="title" x="2" y="12">expert of each layer</text>']

    def way(path: Sequence[int], look: str) -> str:
        points = " ".join(f"{26 + step * n},{36 + high * e}" for n, e in enumerate(path))
        return f'<polyline class="{look}" points="{points}" />'

    differs = own_L is not None and list(own_L) != list(path_L)
    parts += [way(own_L, "way other")] if differs else []
    parts.append(way(path_L, "way"))
    for n, chosen in enumerate(path_L):
        for e in range(experts):
            x, y, colour = 26 + step * n, 36 + high * e, expert_colour(e)
            look = f'fill="{colour}"' if e == chosen else 'class="empty"'
            parts.append(f'<circle cx="{x}" cy="{y}" r="11" {look} />')
            shade = f' fill="{ink(colour)}"' if e == chosen else ' class="soft"'
            parts.append(f'<text x="{x}" y="{y + 4}" text-anchor="middle"{shade}>{e}</text>')
            if (n, e) in forbidden:
                parts.append(
                    f'<path class="limit" d="M{x - 9} {y - 9}L{x + 9} {y + 9}M{x + 9} {y - 9}L{x - 9} {y + 9}" />'
                )
        name = STAGE_NAMES[n]
        parts.append(
            f'<text class="soft" x="{26 + step * n}" y="{36 + high * experts}" text-anchor="middle">{name}</text>'
        )
    words = f"Expert of each layer, from {STAGE_NAMES[0]} to {STAGE_NAMES[-1]}: {', '.join(map(str, path_L))}."
    words += f" The own path: {', '.join(map(str, own_L))}." if differs else ""
    return _svg(26 + step * len(path_L), 46 + high * experts, parts, words)


def arc(steps: Sequence[tuple[float, str]], start: str, end: str, t: float) -> str:
    """The expert of each layer on the way between two anchors, and the place t. steps: (part of the way, path)."""
    left, wide, high = 52, 360, 22
    parts = ['<text class="title" x="2" y="12">expert of each layer on the way</text>']
    bounds = [0.0, *((a + b) / 2 for (a, _), (b, _) in zip(steps, steps[1:], strict=False)), 1.0]
    changes = []
    for layer, name in enumerate(STAGE_NAMES):
        y, first = 20 + high * layer, 0
        parts.append(f'<text x="{left - 6}" y="{y + 14}" text-anchor="end">{name}</text>')
        for n in range(1, len(steps) + 1):
            if n < len(steps) and steps[n][1][layer] == steps[first][1][layer]:
                continue
            expert = int(steps[first][1][layer])
            x, width, colour = left + wide * bounds[first], wide * (bounds[n] - bounds[first]), expert_colour(expert)
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{high - 3}" fill="{colour}" />')
            place = f'x="{x + width / 2:.1f}" y="{y + 14}" text-anchor="middle" fill="{ink(colour)}"'
            parts.append(f"<text {place}>{expert}</text>" if width > 9 else "")
            changes += [f"{name} at {steps[n][0]:.2f}"] if n < len(steps) else []
            first = n
    foot, x = 20 + high * len(STAGE_NAMES), left + wide * t
    parts.append(f'<path class="halo" d="M{x:.1f} 16V{foot}" /><path class="here" d="M{x:.1f} 16V{foot}" />')
    for place, anchor, words in ((0, "start", start), (1, "end", end)):
        parts.append(f'<text x="{left + wide * place}" y="{foot + 13}" text-anchor="{anchor}">{escape(words)}</text>')
    words = f"Experts on the way from {start} to {end}, at {t:.2f}. Switches: {'; '.join(changes) or 'no layer'}."
    return _svg(left + wide + 8, foot + 20, parts, words)


def key(colours: dict[str, str], title: str) -> str:
    """A legend: coloured squares with their names."""
    parts, x = [f'<text class="title" x="2" y="12">{escape(title)}</text>'], 2
    for name, colour in colours.items():
        parts.append(f'<rect x="{x}" y="20" width="13" height="13" fill="{colour}" class="edge" />')
        parts.append(f'<text x="{x + 18}" y="31">{escape(name)}</text>')
        x += 26 + 7 * len(name)
    return _svg(max(x, 8 * len(title)), 40, parts, f"{title}: {', '.join(colours)}.")


def globe(points: Sequence[dict], title: str, words: str) -> str:
    """The globe from the side of its last point, for pages that cannot turn it: rings are anchors, diamonds pins."""
    x, y, z = points[-1]["at"]
    turn, tilt = math.atan2(x, y) + 0.35, 0.7 * math.asin(z / max(math.hypot(x, y, z), 1e-9)) + 0.1
    c, s, d, e = math.cos(turn), math.sin(turn), math.cos(tilt), math.sin(tilt)
    parts = [f'<text class="title" x="2" y="12">{escape(title)}</text><circle class="rim" cx="170" cy="180" r="140" />']
    for point in points:
        x, y, z = point["at"]
        right, up, near = c * x - s * y, d * z - e * (s * x + c * y), d * (s * x + c * y) + e * z
        place, fill = (170 + 140 * right, 180 - 140 * up), escape(point["colour"])
        look = f'fill="none" stroke="{fill}" stroke-width="3"' if point["kind"] == "anchor" else f'fill="{fill}"'
        shape = f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="{point["size"] - 1}" {look} />'
        if point["kind"] == "pin":
            shape = f'<path d="M{place[0]:.1f} {place[1] - 8:.1f}l8 8l-8 8l-8 -8z" {look} />'
        name = escape(point.get("name", ""))
        name = f'<text x="{place[0]:.1f}" y="{place[1] - 12:.1f}" text-anchor="middle">{name}</text>' if name else ""
        parts.append(f'<g opacity="{1 if near >= 0 else 0.4}">{shape}{name}</g>')
    return _svg(340, 330, parts, words)


def _svg(width: float, height: float, parts: Sequence[str], words: str) -> str:
    head = f'<svg class="slerlib-drawing" width="{width}" viewBox="0 0 {width} {height}" role="img"'
    return f'{head} aria-label="{escape(words)}">{"".join(parts)}</svg>'
