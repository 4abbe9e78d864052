"""Source notebooks are clean, short and plain, and say in their first cell what they are about."""

import ast
import json
import re
import sys
from pathlib import Path

import nbformat
import pytest

from slerlib.lessons import Lesson
from slerlib.report import plan as report_plan

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))
REPORTS = [path for path in NOTEBOOKS if path.stem.startswith("report_")]
LESSONS = [path for path in NOTEBOOKS if path.stem[:2].isdigit()]
GALLERY = Path(__file__).resolve().parent.parent / "reports" / "gallery"
GLOSSARY = Path(__file__).resolve().parent.parent / "docs" / "glossary.md"
PACKAGES = {"slerlib", "torch", "numpy", "pandas", "matplotlib"}
LONGEST, MOSTLY = 25, 12  # lines of a code cell; nine in ten keep to the second

every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def text(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"]


def trees(path: Path) -> list[ast.Module]:
    """Code cells without their whole-line magics. A magic inside a line is a syntax error here, as it should be."""
    return [ast.parse("\n".join(line for line in cell.splitlines() if not line.startswith("%"))) for cell in code(path)]


def test_there_are_lessons_and_reports():
    assert {"00_start_here", "report_evaluation"} <= {path.stem for path in NOTEBOOKS}


@every
def test_it_is_a_valid_notebook_without_outputs(path):
    book = nbformat.read(path, 4)
    nbformat.validate(book)
    assert book.metadata.kernelspec == {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert set(book.metadata) == {"kernelspec", "language_info"} and set(book.metadata.language_info) == {"name"}
    for cell in book.cells:
        assert set(cell.metadata) <= {"tags"}, cell.id
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, cell.id
    names = [cell.id for cell in book.cells]
    assert len(set(names)) == len(names) and not any(re.fullmatch(r"[0-9a-f]{8,}", name) for name in names)


@every
def test_cells_are_short_and_plain(path):
    lengths = sorted(len(cell.splitlines()) for cell in code(path))
    assert lengths[0] > 0, "an empty cell"
    assert lengths[-1] <= LONGEST and lengths[int(0.9 * (len(lengths) - 1))] <= MOSTLY, lengths
    assert not any(len(line) > 120 for cell in code(path) for line in cell.splitlines())
    for tree in trees(path):
        kinds = {type(node) for node in ast.walk(tree)}
        assert not kinds & {ast.ClassDef, ast.AsyncFunctionDef, ast.Global}, ast.unparse(tree)


@every
def test_only_the_packages_of_the_course_are_imported(path):
    names = set()
    for tree in trees(path):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                names.add(node.module.partition(".")[0])
    assert names - PACKAGES <= sys.stdlib_module_names, names - PACKAGES


@every
def test_parameters_are_typed_and_explained(path):
    book = nbformat.read(path, 4)
    tagged = [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1 and book.cells.index(tagged[0]) == 1
    for line, node in zip(tagged[0].source.splitlines(), ast.parse(tagged[0].source).body, strict=True):
        assert isinstance(node, ast.AnnAssign), f"no type: {line}"
        assert re.search(r"  # \w", line), f"not explained: {line}"
    if path.stem == "report_training":  # it reads the folder of a training, or trains
        assert report_plan.declared(path)["training"] == {"type": "str", "default": "demo"}
        return
    default = "small" if path.stem == "report_compare" else "tiny"  # there the larger one is in question
    assert report_plan.declared(path)["checkpoint"] == {"type": "str", "default": default}


@every
def test_pictures_in_the_text_have_alt_text(path):
    for part in text(path):
        assert not re.search(r"!\[\s*\]\(", part), part
        for tag in re.findall(r"<img[^>]*>", part):
            assert re.search(r'alt="[^"]+"', tag), tag


@every
def test_the_first_cell_is_the_title(path):
    first = nbformat.read(path, 4).cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ") and len(first.source) > 200


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_has_its_frame(path):
    first = text(path)[0]
    for part in ("**Question.**", "**Afterwards you can**", "**Time.**", "**Hardware.**", "**The claim under test.**"):
        assert part in first, part
    assert "minute" in first
    parts = "\n".join(text(path))
    assert "**Predict.**" in parts and parts.count("docs/images/") >= 2
    assert any(re.search(r"^assert ", cell, re.M) for cell in code(path)), "nothing is checked by hand"


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_guesses_start_empty_and_are_scored(path):
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    guesses = [cell.source for cell in cells if cell.id.startswith("guess-")]
    assert len(guesses) >= 3 and all(re.fullmatch(r"(my_\w+ = )+None", source) for source in guesses), guesses
    names = {name for source in guesses for name in re.findall(r"my_\w+", source)}
    scored = re.findall(r"lesson\.predict\([^\n]*?, (my_\w+),", "\n".join(code(path)))
    assert sorted(scored) == sorted(names), "each guess is scored once"
    assert cells[-1].source.endswith("lesson.score()"), "the table ends the lesson"


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_exercises_stand_in_the_lesson_as_the_package_has_them(path):
    lesson = Lesson(int(path.stem[:2]))
    cells = {cell.id: cell.source for cell in nbformat.read(path, 4).cells}
    for name, task in lesson.exercises.items():
        key = name.replace("_", "-")
        assert cells[f"task-{key}"].startswith(task.heading) and cells[f"exercise-{key}"] == task.stub
        assert cells[f"check-{key}"].startswith(f'{name} = lesson.check("{name}", {name})')
    assert len([key for key in cells if key.startswith("exercise-")]) == len(lesson.exercises)
    assert f"**Time.** {lesson.about.minutes} minutes" in cells["title"].replace("About ", "")


def glossary() -> dict[str, tuple[str, str]]:
    """Term -> (its place in the page, its meaning without emphasis)."""
    found = re.findall(r'^\| <a id="([a-z-]+)"></a>([^|]+) \| ([^|]+) \|$', GLOSSARY.read_text(), flags=re.M)
    return {term: (place, meaning.replace("*", "")) for place, term, meaning in found}


def prose(part: str) -> str:
    """Markdown without pictures and without code, as long as it was, so that places stay."""
    return re.sub(r"!\[[^\]]*\]\([^)]*\)|```.*?```|`[^`\n]*`", lambda m: " " * len(m[0]), part, flags=re.S)


def test_the_first_use_of_every_term_leads_to_the_glossary():
    """In reading order. The words of the link are the term, its title is the meaning, which shows under the mouse."""
    terms = glossary()
    assert len(terms) >= 20
    parts = [(path.stem, prose(part)) for path in LESSONS for part in text(path)]
    link = re.compile(r'\[([^\]]+)\]\(\.\./docs/glossary\.md#([a-z-]+) "([^"]*)"\)')
    for term, (place, meaning) in terms.items():
        words = re.compile(rf"\b{term}(s|es)?\b".replace(" ", r"\s+"), re.I)
        for lesson, part in parts:
            plain = re.sub(r"(?<=\])\([^)]*\)", lambda m: " " * len(m[0]), part)  # targets and titles are no text
            if use := words.search(plain):
                links = [m for m in link.finditer(part) if m.start() < use.start() < m.end()]
                assert links, (
                    f"{lesson}: the first {use[0]!r} has no link: ...{plain[max(0, use.start() - 60) : use.end()]}"
                )
                assert links[0].group(2, 3) == (place, meaning), f"{lesson}: {term}"
                break
        else:
            raise AssertionError(f"no lesson uses {term!r}")


@every
def test_links_to_the_glossary_say_what_it_says(path):
    meanings = dict(glossary().values())
    for place, meaning in re.findall(r'docs/glossary\.md#([a-z-]+) "([^"]*)"', "\n".join(text(path))):
        assert meanings[place] == meaning, place


def test_names_of_the_paper_are_explained():
    everything = "\n".join(part for path in LESSONS for part in text(path))
    first = everything.index("SUDE")
    assert "*spherical uniform degradation embedding*" in everything[first : first + 80]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_ends_with_five_lines_and_the_way_on(path):
    cells = {cell.id: cell.source for cell in nbformat.read(path, 4).cells}
    lines = re.findall(r"^- .+", cells["recap"].partition("## What you have seen")[2], re.M)
    assert len(lines) == 5
    number, last = int(path.stem[:2]), cells["next"].splitlines()[-1]
    beside = [(word, LESSONS[n].name) for word, n in (("Before", number - 1), ("Next", number + 1)) if n in range(10)]
    assert re.findall(r"(Before|Next): \[[^\]]+\]\(([^)]+)\)", last) == beside


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_formulas_are_typeset_and_balanced(path):
    for part in text(path):
        body = prose(part)
        assert body.count("$$") % 2 == 0 and body.replace("$$", "").count("$") % 2 == 0, part
        outside = re.sub(r"\$\$.+?\$\$|\$[^$\n]+\$", "", body, flags=re.S)
        assert not re.search(r"\w\^\w|\bsqrt\(|\bexp\(|[αβγσωμΣ]|\w_\{", outside), outside


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_a_report_writes_no_result_into_its_text(path):
    for part in text(path):
        assert not re.search(r"\d\s*dB|0\.\d\d|\d %(?! bootstrap)", part), part


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_a_report_has_one_finding(path):
    cells = [cell for cell in nbformat.read(path, 4).cells if "finding" in cell.metadata.get("tags", [])]
    assert len(cells) == 1 and re.match(r"finding\(\n", cells[0].source)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_file_is_written_one_way(path):
    """As JupyterLab saves it, so that a change shows up as itself alone."""
    content = path.read_text(encoding="utf-8")
    assert content == json.dumps(json.loads(content), indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_the_gallery_holds_an_executed_copy_of_every_report_as_it_is(path):
    copy = GALLERY / path.name
    assert copy.is_file() and copy.stat().st_size <= 1.5e6, "make gallery"
    book = nbformat.read(copy, 4)
    executed = [cell for cell in book.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    assert [cell.source for cell in executed] == [cell.source for cell in nbformat.read(path, 4).cells], "make gallery"
    own = {name: about["default"] for name, about in report_plan.declared(path).items()}
    assert book.metadata.slerlib.parameters == own, "run with other values than its own"
    ran = [cell for cell in executed if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in ran) and any(cell.outputs for cell in ran)
    assert not any(output.output_type == "error" for cell in ran for output in cell.outputs)
    found = re.search(r"""["'\s](/home|/root|/tmp|/work|/Users)/""", copy.read_text())
    assert not found, f"a path of a machine: {found}"
