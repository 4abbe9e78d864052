"""Draw the rooms of the package and what each imports, lazy imports included.

    python docs/rooms.py                       this clone -> docs/images/rooms.svg
    python docs/rooms.py ../older before.svg   another tree of slerlib

A room is a folder or a module directly below slerlib/. Rooms stand on their level: one above everything they import,
rooms that import each other in a circle on one level. Blue arrows go down; those that a longer way implies are pale.
Red arrows belong to a circle.
"""

import sys
from pathlib import Path

import grimp
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent


def arrows(tree: Path) -> dict[tuple[str, str], int]:
    """{(importer, imported): number of import statements} between the rooms of the package in `tree`."""
    sys.path.insert(0, str(tree))
    graph, counts = grimp.build_graph("slerlib", cache_dir=None), {}
    for module in graph.modules - {"slerlib", "slerlib.__main__"}:
        for other in graph.find_modules_directly_imported_by(module) - {"slerlib"}:
            rooms = module.split(".")[1], other.split(".")[1]
            if rooms[0] != rooms[1]:
                counts[rooms] = counts.get(rooms, 0) + len(graph.get_import_details(importer=module, imported=other))
    return counts


def reachable(start: str, counts: dict) -> set[str]:
    """Rooms that `start` imports, directly or through others."""
    found, todo = set(), [start]
    while todo:
        room = todo.pop()
        new = {b for a, b in counts if a == room} - found
        found |= new
        todo += new
    return found


def levels(counts: dict) -> tuple[dict[str, int], set[frozenset]]:
    """(level of each room, circles). Rooms of one circle share a level."""
    rooms = sorted({room for pair in counts for room in pair})
    reach = {room: reachable(room, counts) for room in rooms}
    circle = {room: frozenset({room} | {other for other in reach[room] if room in reach[other]}) for room in rooms}
    level: dict[frozenset, int] = {}
    for group in sorted(set(circle.values()), key=lambda group: len(set().union(*(reach[r] for r in group)) | group)):
        below = {circle[b] for a, b in counts if a in group and b not in group}
        level[group] = 1 + max((level[other] for other in below), default=-1)
    return {room: level[circle[room]] for room in rooms}, {group for group in level if len(group) > 1}


def draw(counts: dict, out: Path) -> None:
    """An SVG with a row for each level, for light and dark pages."""
    level, circles = levels(counts)
    rows = [[room for room in level if level[room] == n] for n in range(max(level.values()) + 1)]
    place = {room: ((i + 0.5) / len(row), n) for n, row in enumerate(rows) for i, room in enumerate(row)}
    widest = max(map(len, rows))
    fig, ax = plt.subplots(figsize=(max(8.0, 1.05 * widest), 0.8 * len(rows) + 0.6))
    tied = {room for group in circles for room in group}
    for (a, b), n in sorted(counts.items()):
        red = any({a, b} <= group for group in circles)
        longer = any(b in reachable(c, counts) for x, c in counts if x == a and c != b)
        bend = 0.35 if level[a] == level[b] else 0.08
        line = {"arrowstyle": "-|>", "color": "#d1495b" if red else "#5b8db8", "lw": 0.5 + min(n, 12) / 8,
                "alpha": 0.8 if red or not longer else 0.13,
                "connectionstyle": f"arc3,rad={bend}", "shrinkA": 9, "shrinkB": 11}  # fmt: skip
        ax.annotate("", place[b], place[a], arrowprops=line)
    for room, (x, y) in place.items():
        box = {"boxstyle": "round,pad=0.35", "fc": "#fbeaec" if room in tied else "#eef3f8", "ec": "#8a94a0"}
        ax.text(x, y, room, ha="center", va="center", size=9, color="#1b1f24", bbox=box)
    ax.set(xlim=(0, 1), ylim=(-0.6, len(rows) - 0.4))
    ax.axis("off")
    fig.savefig(out, transparent=True, bbox_inches="tight", metadata={"Date": None})


def main() -> None:
    tree = Path(sys.argv[1]) if len(sys.argv) > 2 else ROOT
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs" / "images" / "rooms.svg"
    counts = arrows(tree.resolve())
    level, circles = levels(counts)
    draw(counts, out)
    tied = ", ".join(f"{len(group)} rooms ({' '.join(sorted(group))})" for group in circles) or "no circle"
    print(f"{len(level)} rooms on {max(level.values()) + 1} levels, {len(counts)} arrows; circles: {tied}")


if __name__ == "__main__":
    main()
