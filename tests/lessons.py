"""Run the cells of a notebook in this process: what they print, display and leave behind, without a kernel."""

import builtins
import re
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from slerlib.lessons import Lesson

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


class Ran:
    """A notebook that ran: `text` (printed and displayed), `alts` (of its pictures), `space` (its variables)."""

    def __init__(self):
        self.parts, self.alts, self.space = [], [], {}

    @property
    def text(self) -> str:
        return "\n".join(self.parts)

    def add(self, seen) -> None:
        self.parts += [seen.stdout, seen.stderr]
        places = {(output.transient or {}).get("display_id", n): output for n, output in enumerate(seen.outputs)}
        for output in places.values():  # what was drawn again in the same place is seen once
            self.parts.append(output.data.get("text/plain", ""))
            for kind in output.data.keys() & {"image/png", "image/jpeg"}:
                alt = output.metadata.get(kind, {}).get("alt")
                assert alt, f"a picture without alt text: {output}"
                self.alts.append(alt)
            self.alts += re.findall(r'<img [^>]*alt="([^"]+)"', output.data.get("text/html", ""))


def code_cells(notebook: str) -> list:
    return [cell for cell in nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", 4).cells if cell.cell_type == "code"]


def solved(notebook: str, cell) -> str:
    """The source of a cell; of an exercise its solution."""
    name = cell.id.removeprefix("exercise-").replace("-", "_")
    return Lesson(int(notebook[:2])).exercises[name].source if cell.id.startswith("exercise-") else cell.source


def execute(notebook: str, folder: Path, stubs: bool = False, **parameters) -> Ran:
    """Run the cells in `folder`, with other parameters than the notebook's own. Raises what a cell raises.

    The solutions of the exercises stand in place of their stubs, unless `stubs`.
    """
    ran, cells = Ran(), code_cells(notebook)
    with _shell() as shell, pytest.MonkeyPatch.context() as patch, pd.option_context("display.max_columns", 20):
        patch.chdir(folder)
        patch.setenv("SLERLIB_REPORT", "1")
        patch.setenv("SLERLIB_COURSE", str(folder / "course"))
        for cell in cells:
            with capture_output() as seen:
                result = shell.run_cell(cell.source if stubs else solved(notebook, cell))
            ran.add(seen)
            result.raise_error()
            if "parameters" in cell.metadata.get("tags", []):
                shell.user_ns.update(parameters)
        ran.space = dict(shell.user_ns)
    return ran


@contextmanager
def _shell():
    """A fresh interactive shell, gone afterwards with the variables of the cells."""
    InteractiveShell.clear_instance()
    shell, before = InteractiveShell.instance(history_length=0), dict(vars(builtins))
    shell.history_manager.enabled = False
    try:
        yield shell
    finally:
        shell.reset(new_session=False)
        InteractiveShell.clear_instance()
        for name in set(vars(builtins)) - set(before):
            delattr(builtins, name)
