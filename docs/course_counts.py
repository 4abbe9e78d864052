"""Count what the lessons hold, and write the table of docs/course.md: python docs/course_counts.py

Plots and pictures are counted in the executed copies (reports/gallery/lessons), the rest in notebooks and package.
"""

import re
from pathlib import Path

import nbformat

from slerlib.lessons import Lesson
from slerlib.lessons.exercise import Exercise
from slerlib.lessons.plan import COURSE

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "course.md"
COLUMNS = ("lesson", "minutes", "diagrams", "plots and pictures", "exercises", "lines to write", "guesses")


def lines_to_write(exercise: Exercise) -> int:
    """Lines of the body of the solution, without empty ones."""
    body = exercise.source.split('"""')[2]
    return sum(bool(line.strip()) for line in body.splitlines())


def row(notebook: Path) -> list[int]:
    """Minutes, diagrams, plots and pictures, exercises, lines to write, guesses of a lesson."""
    cells, number = nbformat.read(notebook, 4).cells, int(notebook.stem[:2])
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    shown = (ROOT / "reports/gallery/lessons" / f"{notebook.stem}.html").read_text(encoding="utf-8")
    exercises = Lesson(number).exercises.values()
    guesses = [name for cell in cells if cell.id.startswith("guess-") for name in re.findall(r"my_\w+", cell.source)]
    diagrams, pictures = len(re.findall(r"!\[[^\]]*\]\([^)]*\.svg\)", text)), shown.count('src="data:image/webp')
    lines = sum(map(lines_to_write, exercises))
    return [COURSE[number].minutes, diagrams, pictures, len(exercises), lines, len(guesses)]


def table() -> str:
    """The table of all lessons, with their sums."""
    books = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    rows = [row(book) for book in books]
    rows.append([sum(column) for column in zip(*rows, strict=True)])
    links = [f"[{book.stem[:2]} {COURSE[n].title}](../notebooks/{book.name})" for n, book in enumerate(books)]
    lines = [COLUMNS, *([name, *r] for name, r in zip([*links, "**all**"], rows, strict=True))]
    head, *rest = (f"| {' | '.join(map(str, line))} |\n" for line in lines)
    return head + "|---" * len(COLUMNS) + "|\n" + "".join(rest)


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    start, end = page.index("| lesson |"), page.index("\nCounted")
    PAGE.write_text(page[:start] + table() + page[end:], encoding="utf-8")
