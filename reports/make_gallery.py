"""Keep executed copies of all reports and lessons in reports/gallery, to be read without running anything.

    python reports/make_gallery.py              all of them, as `make gallery`
    python reports/make_gallery.py reports      the reports alone; or lessons, or some: 00 04

A report that ran before with the same code, checkpoint and values is not run again. Its copy is the executed notebook
without times and paths, its figures in 256 colours; its metadata say which code, checkpoint and versions made it.
Lessons (lesson_copies.py) run anew and become pages.
"""

import base64
import io
import sys
from pathlib import Path

import lesson_copies
import nbformat
from PIL import Image

from slerlib.files import write_atomic
from slerlib.provenance import git_state
from slerlib.report import runs as report

GALLERY = Path(__file__).resolve().parent / "gallery"
ORIGIN = ("git", "code", "checkpoint", "data", "versions", "hardware", "threads", "dtype")  # of the provenance


def keep(record: dict) -> Path:
    """Write the copy of one finished run, a record of `slerlib.report.run`."""
    book = nbformat.read(record["folder"] / "notebook.ipynb", 4)
    for cell in book.cells:
        tags = cell.metadata.get("tags")
        cell.source = cell.source.rstrip("\n")  # as ruff formats the cell of parameters that papermill adds
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        for data in (output.get("data", {}) for output in cell.get("outputs", [])):
            if "image/png" in data:
                data["image/png"] = _smaller(data["image/png"])
    about = {"started": record["started"], "parameters": record["parameters"]}
    about |= {name: record["provenance"].get(name) for name in ORIGIN}
    kernel = {name: book.metadata[name] for name in ("kernelspec", "language_info")}
    book.metadata = nbformat.from_dict(kernel | {"slerlib": about})
    GALLERY.mkdir(exist_ok=True)
    path = GALLERY / f"report_{record['name']}.ipynb"
    write_atomic(path, (nbformat.writes(book) + "\n").encode())
    return path


def _smaller(png: str) -> str:
    """The same picture with a palette of 256 colours, a third of the size, both in base64."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    smaller = io.BytesIO()
    picture.save(smaller, "png", optimize=True)
    return base64.b64encode(smaller.getvalue()).decode()


def keep_reports() -> None:
    """Run all reports and keep their copies; none is replaced where one fails, or where the code is of no commit."""
    state = git_state()
    if state is None or state["dirty"]:
        raise SystemExit("Copies come from one clean commit; this tree has changes or no commit. Commit them first.")
    records = report.run("all")
    if failed := [f"{record['name']} ({record['page']})" for record in records if record["state"] != "done"]:
        raise SystemExit(f"The gallery is left as it is: a report is not done: {', '.join(failed)}")
    for finished in records:
        print(keep(finished))


if __name__ == "__main__":
    asked = sys.argv[1:] or ["reports", "lessons"]
    if "reports" in asked:
        keep_reports()
    for lesson in lesson_copies.chosen(asked):
        print(lesson_copies.keep(lesson, GALLERY / "lessons"), flush=True)
