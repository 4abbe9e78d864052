"""README, documents and notebooks: short, linked, in the words of the glossary, with the numbers of the cards."""

import ast
import json
import pkgutil
import re
import tomllib
from pathlib import Path

import nbformat
import pytest
import torch
import yaml

import slerlib
from slerlib.ablation import tables
from slerlib.cli.parser import build_parser
from slerlib.data.scenes import photographs
from slerlib.lessons.plan import COURSE

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
LESSONS = sorted((ROOT / "notebooks").glob("0*.ipynb"))
PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "data/*.md",
        "data/checkpoints/*/*.md",
        "reports/*.md",
        "notebooks/*.md",
        "notebooks/*.ipynb",
    )
    for path in ROOT.glob(pattern)
)
#: Pages whose words others look after, and the log, which is history
OTHERS = ("choices.md", "degradations.md", "training.md", "LOG.md", "data/README.md")
PLAIN = [path for path in PAGES if not str(path).endswith(OTHERS)]
#: Pages with names and commands of the package
CODE = [path for path in PLAIN if path.suffix == ".ipynb" or path.name in ("README.md", "usage.md", "results.md")]
DIALECT = r"\b(told|peers|contents?|spread|(?-i:(is|are) none|none (is|are))|dear(er|est)?|for want of)\b"


def words(path: Path, kinds: tuple[str, ...] = ("markdown", "code")) -> str:
    """The text of a page; of a notebook, its cells of these kinds."""
    if path.suffix != ".ipynb":
        return path.read_text()
    return "\n\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type in kinds)


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows of a page."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def numbers(cell: str) -> list[str]:
    return re.findall(r"-?\d+\.\d+", cell)


def test_the_readme_is_short():
    assert len(README.split()) <= 900  # as `wc -w` counts, with tables, code and alt texts


def test_the_glossary_has_at_most_25_terms_of_one_sentence():
    entries = [
        (re.sub("<a .*></a>", "", term), text) for term, text in rows((ROOT / "docs/glossary.md").read_text())[2:]
    ]
    assert 20 <= len(entries) <= 25
    assert [term for term, _ in entries] == sorted({term for term, _ in entries}, key=str.lower)
    for term, meaning in entries:
        assert re.fullmatch(r"[^.]+( \d\.\d)?[^.]*\.", meaning), term
    assert "docs/glossary.md" in README and "glossary.md" in words(LESSONS[0])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_to_files(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", words(path, ("markdown",)), flags=re.S)):
        if not re.match(r"[a-z]+:|#", target):
            assert (path.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: str(path.relative_to(ROOT)))
def test_plain_words(path):
    assert not (found := re.findall(rf".*{DIALECT}.*", words(path), flags=re.I)), found


@pytest.mark.parametrize("path", sorted((ROOT / "slerlib").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_plain_words_in_the_package(path):
    text, words = path.read_text(), "told|said|dear(?:er|est)?|peers?|spreads?|contents"
    assert not (found := re.findall(rf".*\b(?:{words})\b.*", text, flags=re.I)), found
    assert not (found := re.findall(r".*\b(?:is none|are none|none is|none are)\b.*", text)), found


@pytest.mark.parametrize("path", sorted((ROOT / "slerlib").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_names_in_the_package_are_nouns(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
    assert not names & {"given", "found", "known", "kept", "told", "said", "spread", "peers"}


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_and_commands_in_the_text_exist(path):
    text = words(path)
    for name in set(re.findall(r"\bslerlib(?:\.[a-zA-Z_]\w*)+", text)):
        pkgutil.resolve_name(name.removesuffix(".md").removesuffix(".py"))
    commands = set(re.findall(r"(?:^|`)slerlib ([a-z]+)\b", text, flags=re.M))
    known = {name for action in build_parser()._actions for name in action.choices or ()}
    assert known and commands <= known, commands - known


def test_choices_name_files_of_the_package():
    named = [name for row in rows((ROOT / "docs/choices.md").read_text())[2:] for name in row[4].split(", ")]
    assert len(named) > 20
    assert not [name for name in named if not (ROOT / "slerlib" / name.strip("`")).is_file()]


def test_the_drawing_is_what_its_script_makes(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import architecture

    svg, alt = architecture.drawing()
    assert architecture.FILE.read_text(encoding="utf-8") == svg, "python docs/architecture.py"
    assert f"![{alt}](docs/images/architecture.svg)" in README, "python docs/architecture.py prints the line"
    assert "prefers-color-scheme: dark" in svg and 'class="panel"' in svg
    assert min(int(size) for size in re.findall(r"(\d+)px", svg)) >= 17  # readable at half the size


def test_the_diagrams_of_the_lessons_are_what_their_script_makes(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import diagrams

    drawings, shown = diagrams.drawings(), "\n".join(map(words, LESSONS))
    assert {path.stem for path in diagrams.FOLDER.glob("*.svg")} == set(drawings), "python docs/diagrams.py"
    for name, (svg, alt) in drawings.items():
        assert (diagrams.FOLDER / f"{name}.svg").read_text(encoding="utf-8") == svg, "python docs/diagrams.py"
        assert min(int(size) for size in re.findall(r"(\d+)px", svg)) >= 17
        assert f"![{alt}](../docs/images/lessons/{name}.svg)" in shown, f"{name} stands in no lesson"
    assert set(re.findall(r"docs/images/lessons/(\w+)\.svg", shown)) == set(drawings)


def test_the_readme_lists_every_lesson_with_its_minutes():
    lessons = [row for row in rows(README) if "notebooks/" in row[0]]
    assert [re.search(r"notebooks/(\S+)\)", row[0])[1] for row in lessons] == [path.name for path in LESSONS]
    for row, path in zip(lessons, LESSONS, strict=True):
        header = nbformat.read(path, 4).cells[0].source
        assert re.search(r"\*\*Time\.\*\* (?:About )?(\d+) minutes", header)[1] == row[2], path.name


def test_the_page_of_the_course_lists_the_lessons_as_the_package_has_them():
    listed = [row for row in rows((ROOT / "notebooks/README.md").read_text()) if ".ipynb" in row[0]]
    plan = [[about.title, about.question, str(about.minutes), about.needs] for about in COURSE]
    assert [[re.search(r"\d\d (.*)\]", row[0])[1], *row[1:]] for row in listed] == plan
    assert [re.search(r"\((.*)\)", row[0])[1] for row in listed] == [path.name for path in LESSONS]


def test_the_counts_of_the_course_are_those_of_its_script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import course_counts

    assert course_counts.table() in course_counts.PAGE.read_text(encoding="utf-8"), "python docs/course_counts.py"
    counted = [course_counts.row(path) for path in LESSONS]
    assert all(diagrams >= 2 and shown >= 4 and exercises >= 3 for _, diagrams, shown, exercises, *_ in counted)


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_scores_are_those_of_the_cards(page):
    """Input and restored PSNR, and intervals, of each row; bold where the restored image is worse."""
    cards = {name: json.loads((ROOT / f"data/checkpoints/{name}/card.json").read_text()) for name in ("tiny", "small")}
    known = {
        (name, f"{row['n']}", f"{row['psnr_input']:.2f}" if row["psnr_input"] else "-"): row
        for name, card in cards.items()
        for score in card["scores"]
        if score["setting"] in ("demo", "pairs")
        for row in score["summary"]
    }
    scored = [row for row in rows(words(ROOT / page)) if len(row) == 5 and re.fullmatch(r"\d+", row[1])]
    assert 8 <= len(scored) <= (14 if page == "README.md" else 20)
    for _, n, before, *after in scored:
        for name, cell in zip(cards, after, strict=True):
            row = known[name, n, before]
            shown = [f"{row[key]:.2f}" for key in ("psnr", "psnr_low", "psnr_high") if row[key] is not None]
            assert numbers(cell) == shown[: len(numbers(cell))], (before, cell)
            assert cell.startswith("**") == (row["psnr"] < (row["psnr_input"] or 0)), cell


def test_the_claims_are_those_of_the_table_of_ablations():
    computed = tables.claims(tables.read("tiny"))
    page = (ROOT / "docs/results.md").read_text().split("## Do the experts help?")[1].split("\n### ")[0]
    written = [row for row in rows(page) if row[0].startswith("[")]
    assert len(written) == len(computed)
    for row, truth in zip(written, computed.itertuples(), strict=True):
        assert re.findall(r"`(\w+)`", row[1]) == [truth.better, truth.worse]
        assert int(row[2]) == truth.seeds and row[4] == truth.verdict
        assert numbers(row[3]) == [f"{value + 0:.2f}" for value in (truth.difference, truth.low, truth.high)]


def test_the_claims_about_mixtures_are_those_of_their_table():
    computed = tables.claims(tables.read("tiny-mixed")).set_index(["better", "worse", "damage"])
    page = (ROOT / "docs/results.md").read_text().split("### The same question for several damages")[1].split("\n#")[0]
    written = [row for row in rows(page) if row[0].startswith("[")]
    assert 3 * len(written) == len(computed)
    for row in written:
        better, worse = re.findall(r"`(\w+)`", row[1])
        for damage, cell in zip(("uniform", "mixed", "local"), row[2:], strict=True):
            truth = computed.loc[(better, worse, damage)]
            assert numbers(cell) == [f"{value + 0:.2f}" for value in (truth.difference, truth.low, truth.high)]
            assert cell.endswith(truth.verdict)


def test_the_citation_names_slerlib_and_the_paper():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(cited["cff-version"]) == "1.2.0" and cited["license"] == "MIT" and cited["message"]
    assert cited["authors"] == [{"name": "slerlib contributors"}]
    (paper,) = cited["references"]
    assert "2603.05940" in paper["url"] and paper["title"].startswith("SLER-IR") and len(paper["authors"]) == 8


def test_every_bundled_photograph_is_credited():
    credits = {row[0] for row in rows((ROOT / "docs/credits.md").read_text())}
    assert {scene.name for scene in photographs()} <= credits and "docs/credits.md" in README


def test_contributing_lists_the_rooms_in_their_layers():
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    listed = [re.findall(r"`(\w+)`", row[0]) for row in rows((ROOT / "CONTRIBUTING.md").read_text())[2:]]
    assert listed == [layer.split(" | ") for layer in layers]


def test_the_mixtures_and_anchors_of_tiny_are_those_of_its_card():
    text = (ROOT / "docs/results.md").read_text()
    text = text[text.index("### Several damages at once") :]
    card = json.loads((ROOT / "data/checkpoints/tiny/card.json").read_text())
    averages = {
        score["setting"]: score["summary"][-1] for score in card["scores"] if score["data"].startswith("cbsd68")
    }
    (row,) = (row for row in rows(text) if row[0] == "average")
    mixed = averages["mixed"]
    assert numbers(row[2]) == [f"{mixed[key]:.2f}" for key in ("psnr", "psnr_low", "psnr_high")]
    assert f"today's has {averages['demo']['psnr']:.2f}" in (ROOT / "docs/LOG.md").read_text()
    anchors = slerlib.load("tiny", "cpu").router.anchors
    cosine = (anchors @ anchors.T)[~torch.eye(8, dtype=bool)]
    assert bool((cosine + 1 / 7).abs().max() < 1e-4)
