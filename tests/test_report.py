"""Reports record how they ended, refuse bad parameters before a kernel starts, and open without a network."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from urllib.parse import unquote

import chromium
import nbformat
import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from papermill.cli import papermill

from slerlib import UserError, provenance
from slerlib.files import sha256_folder
from slerlib.report import kernel
from slerlib.report import plan as report_plan
from slerlib.report import runs as report
from slerlib.report.kernel import kernel_environment
from slerlib.report.overview import write_list
from slerlib.report.record import settle

ROOT = Path(__file__).resolve().parent.parent
# ipykernel and its neighbours warn about their own event loops and sockets
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

PARAMETERS = "images: int = 0  # 0 = all\nseverity = 0.5\nname: str = 'x'\nflag = True\nseed = 0"
PICTURE = (
    "import matplotlib.pyplot as plt\nfig, ax = plt.subplots(figsize=(2, 2)); ax.plot([1, 2]); plt.close(fig)\n"
    "display(fig, metadata={'image/png': {'alt': 'A rising line'}})"
)


WIDE = "import pandas as pd; pd.DataFrame([range(14)] * 3).add_prefix('a column ')"
ONCE = "import pathlib; kept = pathlib.Path('kept.txt'); again = kept.exists(); kept.write_text('x')"


def make_notebook(folder: Path, name: str, *cells: str, parameters: str = PARAMETERS) -> Path:
    """A notebook report_NAME.ipynb with a cell of parameters and these code cells."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    book.cells = [nbformat.v4.new_markdown_cell("# A made-up report"), first]
    book.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(book, folder / f"report_{name}.ipynb")
    return folder / f"report_{name}.ipynb"


@pytest.fixture
def notebook(tmp_path):
    return partial(make_notebook, tmp_path)


@pytest.fixture
def run(tmp_path):
    """run(path, **parameters) -> the record of one report, without progress lines."""

    def run(source, resume=False, **parameters):
        (record,) = report.run(source, parameters, tmp_path / "runs", resume, say=lambda line: None)
        return record

    return run


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Notebooks and records of one failed and one good run, which ran one after the other: ("bad", "good")."""
    folder = tmp_path_factory.mktemp("both")
    cells = (
        PICTURE,
        "print('images', images, severity, name)",
        "open('kept.txt', 'w').write('x')",
        WIDE,
        "print('x' * 400)",
    )
    bad = make_notebook(
        folder, "evaluation", ONCE, "if not again:\n    raise ValueError('bad <thing>')", "print('end')"
    )
    good = make_notebook(folder, "good", *cells)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        records = report.run([bad, good], NAMED, "runs", say=lambda line: None)
    return SimpleNamespace(runs=folder / "runs", sources=(bad, good), bad=records[0], good=records[1])


NAMED = {"images": "2", "name": "<b>&"}


@pytest.fixture
def copied(both, tmp_path):
    """The runs of `both` in a folder of the test's own."""
    return Path(shutil.copytree(both.runs, tmp_path / "runs"))


def saved(record: dict) -> dict:
    return json.loads((record["folder"] / "run.json").read_text())


# --- how a run ends ---------------------------------------------------------------------------------------------------


def test_a_good_run_leaves_a_page_and_is_not_repeated(both, copied):
    record, folder = both.good, both.good["folder"]
    assert record["state"] == saved(record)["state"] == "done" and not record["skipped"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-good-[0-9a-f]{8}", folder.name)
    names = {"run.json", "notebook.ipynb", "log.txt", "index.html", "manifest.json", "kept.txt"}
    assert {path.name for path in folder.iterdir()} == names
    page = record["page"].read_text()
    assert "images 2 0.5" in page and 'alt="A rising line"' in page and "<details" in page
    assert "&lt;b&gt;&amp;" in page and "<b>&" not in page
    assert "images 2 0.5" in (folder / "log.txt").read_text()
    facts = saved(record)
    assert facts["parameters"] == {"images": 2, "severity": 0.5, "name": "<b>&", "flag": True, "seed": 0}
    assert facts["provenance"]["seed"] == 0 and facts["peak_memory_MB"] > 20 and facts["wall_seconds"] > 0
    assert facts["provenance"]["versions"]["scikit-image"] and facts["provenance"]["versions"]["pillow"]
    assert folder.name in (both.runs / "index.html").read_text()
    (again,) = report.run(both.sources[1], NAMED, copied, say=lambda line: None)
    assert again["skipped"] and again["folder"] == copied / folder.name


def test_a_failed_cell_is_named_and_keeps_no_other_report_from_running(both):
    record = both.bad
    assert record["state"] == saved(record)["state"] == "failed" and both.good["state"] == "done"
    assert record["error"]["kind"] == "ValueError" and record["error"]["message"] == "bad <thing>"
    assert record["error"]["cell"] == 4 and record["last_good"]["cell"] == 3 and record["cells"] == 5
    page = record["page"].read_text()
    parts = "bad &lt;thing&gt;", "code cell 4 of 5", "last good", "MB", "--resume", "The end of log.txt", "Traceback"
    for part in parts:
        assert part in page, part
    assert record["resume"].split()[4] == str(both.sources[0]), "a copy of a report, with its name"


def test_resume_keeps_the_files_of_the_run(both, copied):
    (resumed,) = report.run(both.sources[0], NAMED, copied, resume=True, say=lambda line: None)
    assert resumed["state"] == "done", "the cell finds what the first run saved"
    assert resumed["folder"] == copied / both.bad["folder"].name


def executed(folder: Path, *cells: tuple[str, bool, str]) -> Path:
    """A notebook as papermill leaves it; cells: (source, whether it began, name of its error)."""
    book = nbformat.v4.new_notebook()
    for source, began, name in cells:
        outputs = [nbformat.v4.new_output("error", ename=name, evalue="", traceback=[])] if name else []
        notes = {"status": "completed"} | ({"start_time": "2026-01-01T00:00:00"} if began else {})
        book.cells.append(nbformat.v4.new_code_cell(source, outputs=outputs, metadata={"papermill": notes}))
    nbformat.write(book, folder / "notebook.ipynb")
    return folder / "notebook.ipynb"


def test_a_cell_that_may_raise_is_the_one_to_blame(tmp_path):
    book = executed(tmp_path, ("1", True, ""), ("1 / 0", True, "ZeroDivisionError"), ("print('end')", True, ""))
    outcome = kernel.Outcome("failed")  # papermill goes on after a cell that may raise, and calls the run failed
    kernel.read_cells(book, outcome, raised=True)
    assert outcome.error == {"cell": 2, "source": "1 / 0"} and (outcome.cells, outcome.cells_done) == (3, 1)


def test_a_notebook_that_leaves_before_its_end_is_not_done(notebook, run, tmp_path):
    record = run(notebook("exit", "import sys; sys.exit()", "print('end')"))
    assert record["state"] == saved(record)["state"] == "failed" and record["error"]["kind"] == "SystemExit"
    assert record["error"]["source"] == "import sys; sys.exit()"
    assert "before its last cell" in record["page"].read_text()
    outcome = kernel.Outcome("done")
    kernel.read_cells(executed(tmp_path, ("1", True, ""), ("import sys; sys.exit(0)", True, "")), outcome)
    assert outcome.state == "done" and outcome.cells_done == 2


def test_a_killed_kernel_is_not_called_completed(notebook, run):
    source = notebook("killed", "print('fine')", "import os; os.kill(os.getpid(), 9)", "print('end')")
    record = run(source)
    assert record["state"] == saved(record)["state"] == "killed"
    assert record["error"]["cell"] == 4 and record["last_good"]["cell"] == 3
    assert "signal 9" in record["error"]["message"]
    marks = [cell.metadata.papermill.status for cell in nbformat.read(record["folder"] / "notebook.ipynb", 4).cells[1:]]
    assert marks == ["completed", "completed", "completed", "failed", "pending"]
    assert "signal 9" in record["page"].read_text()


@pytest.mark.parametrize(
    ("number", "end", "kind"),
    [(signal.SIGINT, KeyboardInterrupt, "Interrupted"), (signal.SIGTERM, SystemExit, "Stopped")],
)
def test_a_stopped_run_still_writes_its_page(notebook, tmp_path, number, end, kind):
    source, runs = notebook("slow", "open('here', 'w').close()\nimport time; time.sleep(60)"), tmp_path / "runs"

    def stop():
        wait_for(lambda: list(runs.glob("*/here")))
        os.kill(os.getpid(), number)

    Thread(target=stop, daemon=True).start()
    with pytest.raises(end):
        report.run(source, out=runs, say=lambda line: None)
    (record,) = records(runs)
    assert record["state"] == "killed" and record["error"]["kind"] == kind and record["error"]["cell"] == 3
    (page,) = runs.glob("*-slow-*/index.html")
    assert "--resume" in page.read_text()


def wait_for(event, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not event() and time.monotonic() < end:
        time.sleep(0.05)


def start(source, runs, *parameters) -> subprocess.Popen:
    """`slerlib report` in a process of its own."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "slerlib", "report", str(source), "--out", str(runs)]
    command += ["-p", *parameters] if parameters else []
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_running_report_is_left_alone_and_a_killed_one_is_settled(notebook, tmp_path):
    waits = "import os, time\nfirst = not os.path.exists('here')\nopen('here', 'w').close()\ntime.sleep(60 * first)"
    source, runs, lines = notebook("slow", waits), tmp_path / "runs", []
    process = start(source, runs)
    wait_for(lambda: list(runs.glob("*/here")) or process.poll() is not None)
    (folder,) = runs.glob("*-slow-*")
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(UserError, match=f"slow .* process {process.pid} "):
        report.run(source, out=runs)
    assert sorted(path.name for path in folder.iterdir()) == before and records(runs)[0]["state"] == "running"
    process.kill()
    process.communicate(timeout=60)
    assert not (folder / "index.html").exists()
    settle(runs)
    assert records(runs)[0]["state"] == "killed" and "--resume" in (folder / "index.html").read_text()
    (record,) = report.run(source, out=runs, resume=True, say=lines.append)
    assert record["state"] == "done" and record["folder"] == folder and "stopped" in lines[0]


def test_links_of_the_list_lead_to_names_with_any_letters(both, copied):
    (copied / both.good["folder"].name).rename(copied / "a#b 50%?")
    write_list(copied)
    links = {unquote(link) for link in re.findall('href="([^#?]*?)"', (copied / "index.html").read_text())}
    assert links == {"a#b 50%?/index.html", f"{both.bad['folder'].name}/index.html"}


# --- nothing is lost --------------------------------------------------------------------------------------------------


def records(runs: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(runs.glob("*/run.json"))]


def test_two_starts_at_once_make_one_run(notebook, tmp_path):
    source, runs = notebook("twice", "import time; time.sleep(1)"), tmp_path / "runs"
    processes = [start(source, runs) for _ in range(2)]
    ends = [(process.communicate(timeout=120), process.returncode) for process in processes]
    (record,) = records(runs)
    assert record["state"] == "done" and len(list(runs.glob("*-twice-*"))) == 1
    assert sorted(code for _, code in ends) in ([0, 0], [0, 1])
    for (out, err), code in ends:
        assert ("is running" in err if code else "done" in out or "finished" in out) and "Traceback" not in err


def test_what_others_keep_beside_the_runs_stays(both, copied):
    first = copied / both.bad["folder"].name
    foreign = [first / "mine.txt", copied / "old" / "run.json", copied / ".mine.part", copied / "notes.txt"]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    before = {path.name for path in first.iterdir()}
    (record,) = report.run(both.sources[0], NAMED, copied, say=lambda line: None)
    assert record["error"]["kind"] == "ValueError", "without resume a run starts in an empty folder"
    assert record["folder"].name == f"{first.name}-2" and {path.name for path in first.iterdir()} == before
    assert all(path.read_text() == "mine" for path in foreign)


def test_a_run_that_was_killed_before_its_page_gets_one(both, copied):
    page = copied / both.good["folder"].name / "index.html"
    whole, record = page.read_text(), (page.parent / "run.json").read_text()
    page.unlink()
    (page.parent / "manifest.json").unlink()
    settle(copied)
    assert page.read_text() == whole and (page.parent / "run.json").read_text() == record
    assert (page.parent / "manifest.json").exists()


def broken_records(good: dict):
    yield from ("", "[1]", "3", '{"config": 1}', '{"state": "COMPLETED", "name": "x"}', json.dumps(good)[:-40])
    for key in good:
        yield from (json.dumps(good | {key: value}) for value in (None, 3, "a/b", [], {}, {"a": 1}))
        yield json.dumps({other: value for other, value in good.items() if other != key})


def test_a_damaged_record_blocks_no_other_report(both, copied):
    good = saved(both.good)
    for state in ("running", "failed"):
        for number, text in enumerate(broken_records(good | {"state": state, "name": "other"})):
            (copied / f"{state}{number}").mkdir()
            (copied / f"{state}{number}" / "run.json").write_text(text)
    (record,) = report.run(both.sources[1], NAMED, copied, say=lambda line: None)
    assert record["skipped"] and both.good["folder"].name in (copied / "index.html").read_text()


def check_whole(runs: Path) -> None:
    """Every file of ours below `runs` was written whole."""
    assert all(record["state"] in ("running", "done", "failed", "killed") for record in records(runs))
    for page in [*runs.glob("*/index.html"), *runs.glob("index.html")]:
        assert page.read_text().endswith("</html>\n"), page
    for book in runs.glob("*/notebook.ipynb"):
        nbformat.validate(nbformat.read(book, 4))


@pytest.mark.long
def test_a_report_killed_at_any_moment_loses_nothing(notebook, tmp_path):
    """20 kills, every fourth of two processes at once; the last start settles them all."""
    cells = [f"open('cell{k}.txt', 'w').write('x'); print('x' * 5000); time.sleep(0.1)" for k in range(6)]
    source, runs, lucky = notebook("long", "import time", *cells), tmp_path / "runs", random.Random(0)
    runs.mkdir()
    (runs / "notes.txt").write_text("mine")
    whole, states = Counter(), Counter()
    first, begin = start(source, runs, "images", "100"), time.monotonic()
    wait_for(lambda: list(runs.glob("*/run.json")))
    whole["before the record"] = time.monotonic() - begin
    first.communicate(timeout=300)
    whole["after it"] = time.monotonic() - begin - whole["before the record"]
    for number in range(20):
        group = [start(source, runs, "images", str(number)) for _ in range(1 + (number % 4 == 3))]
        if number % 5:  # every fifth is killed while it starts, the others while they run
            before = len(records(runs))
            wait_for(lambda before=before: len(records(runs)) > before)
        time.sleep(lucky.uniform(0, whole["after it" if number % 5 else "before the record"]))
        for process in group:
            process.kill()
        for process in group:
            process.communicate(timeout=60)
        states.update(record["state"] for record in records(runs) if record["parameters"]["images"] == number)
        check_whole(runs)
    time.sleep(3)  # a kernel looks every second whether its parent lives
    inside = [p for p in psutil.process_iter(["cwd"]) if str(runs) in str(p.info["cwd"])]
    assert not inside, inside
    report.run(source, {"images": 100}, runs, say=lambda line: None)
    check_whole(runs)
    ends = Counter(record["state"] for record in records(runs))
    print(f"at the kill: {dict(states)}; settled: {dict(ends)}; seconds of a run: {dict(whole)}")
    assert ends["running"] == ends["failed"] == 0 and ends["killed"] == states["running"] > 0
    assert all((folder / "index.html").is_file() for folder in runs.glob("*-long-*") if (folder / "run.json").exists())
    left = [path for path in runs.rglob(".*") if ".locks" not in str(path) and (path.parent / "run.json").exists()]
    assert not left and (runs / "notes.txt").read_text() == "mine"


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 2 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk can be made by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


FILL = """if full:
    try:
        open('big', 'wb').write(bytes(10**7))
    except OSError:
        pass"""


def test_a_full_disk_ends_the_run_as_failed_with_a_page(notebook, small_disk):
    begin, end = "import os\nfull = not os.path.exists('big')", "if full:\n    open('more', 'wb').write(bytes(10**6))"
    source = notebook("full", begin, FILL, "print('x' * 50_000)", end)
    (record,) = report.run(source, out=small_disk, say=lambda line: None)
    assert record["state"] == saved(record)["state"] == "failed" and "disk is full" in record["error"]["message"]
    page = record["page"].read_text()
    assert "disk is full" in page and "--resume" in page and page.endswith("</html>\n")
    assert not list(record["folder"].glob(".*"))
    (record["folder"] / "big").write_bytes(b"")
    (again,) = report.run(source, out=small_disk, resume=True, say=lambda line: None)
    assert again["state"] == "done" and again["folder"] == record["folder"]


def test_a_disk_that_takes_no_report_is_refused_in_plain_words(notebook, small_disk):
    source, free = notebook("good", "1"), shutil.disk_usage(small_disk).free
    (small_disk / "big").write_bytes(bytes(free - 8192))
    with pytest.raises(UserError, match=f"{small_disk} the disk is full .*--out"):
        report.run(source, out=small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match=f"{small_disk} the disk is read-only .*--out"):
        report.run(source, out=small_disk)


# --- what is asked for ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"imges": 2}, "images (int), severity (float), name (str), flag (bool), seed (int)"),
        ({"images": "two"}, "type int"),
        ({"images": 2.5}, "type int"),
        ({"images": None}, "type int"),
        ({"images": "[2]"}, "type int"),
        ({"images": True}, "type int"),
        ({"severity": "high"}, "type float"),
        ({"severity": float("nan")}, "type float"),
        ({"flag": "2"}, "type bool"),
        ({"name": [3]}, "type str"),
    ],
)
def test_bad_parameters_are_refused_before_anything_starts(notebook, run, tmp_path, parameters, expected):
    with pytest.raises(UserError) as error:
        run(notebook("good", "print(images)"), **parameters)
    assert expected in str(error.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("int", "2", 2), ("int", 2.0, 2), ("int", "2.0", 2), ("int", np.int64(2), 2), ("int", 2**60 + 1, 2**60 + 1),
        ("float", "1", 1.0), ("float", 1, 1.0), ("bool", "True", True), ("bool", "false", False), ("bool", 0, False),
        ("str", "7", "7"), ("str", 7, "7"), ("str", None, ""), ("str", Path("/a"), "/a"), ("str", True, "True"),
        ("list", "[3, 4]", [3, 4]), ("list", '["rain"]', ["rain"]), ("list", "['rain', 'haze']", ["rain", "haze"]),
        ("list", "rain", ["rain"]), ("list", "rain, haze", ["rain", "haze"]), ("list", "0.3,1", [0.3, 1]),
        ("list", 0.5, [0.5]), ("list", ("a", 1), ["a", 1]), ("list", None, []), ("list", "None", []),
        ("list", "[]", []), ("list", "", []), ("list", "[true, null]", [True, None]),
        ("list", "a.b=1,2,c.d=3", ["a.b=1,2", "c.d=3"]),
        ("tuple", "1,2", (1, 2)), ("dict", '{"a": true}', {"a": True}), ("any", "text", "text"), ("any", "3", 3),
    ],
)  # fmt: skip
def test_a_parameter_takes_what_people_and_papermill_write(kind, value, expected):
    result = report_plan.typed("key", value, kind)
    assert result == expected and type(result) is type(expected)


def test_text_becomes_the_declared_type(notebook):
    source = notebook("typed", parameters=PARAMETERS + "\nsizes = [1]\nanything = None\nnames: list[str] = []")
    texts = {"images": "2", "severity": "1", "flag": "false", "name": "7", "sizes": "3", "names": "a,b"}
    (plan,) = report_plan.make_plans({"typed": source}, texts | {"anything": "text"})
    assert plan["parameters"] == {
        "images": 2, "severity": 1.0, "name": "7", "flag": False, "seed": 0, "sizes": [3], "names": ["a", "b"],
        "anything": "text",
    }  # fmt: skip


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("report_*.ipynb")), ids=lambda path: path.stem)
def test_a_report_run_by_plain_papermill_takes_its_parameters(path, tmp_path):
    declared = report_plan.declared(path)
    texts = {"int": ("2.0", 2), "float": ("1", 1.0), "list": ("rain, haze", ["rain", "haze"]), "str": ("7", "7")}
    options = [word for key, item in declared.items() for word in ("-p", key, texts[item["type"]][0])]
    command = ["--prepare-only", str(path), str(tmp_path / "out.ipynb"), *options]
    done = CliRunner().invoke(papermill, command)
    assert done.exit_code == 0, done.output
    space = {}
    cells = [cell for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells if cell.cell_type == "code"]
    for cell in cells[:3]:  # the notebook's own values, those of papermill, the imports
        exec(cell.source, space)
    assert {key: space[key] for key in declared} == {key: texts[item["type"]][1] for key, item in declared.items()}
    space[next(key for key, item in declared.items() if item["type"] == "int")] = "two"
    with pytest.raises(UserError, match="type int"):
        exec(cells[2].source, space)


def test_the_key_follows_parameters_source_checkpoint_and_data(notebook, untrained, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"a")
    parameters = PARAMETERS + "\ncheckpoint = 'tiny'\ndata = 'demo'"

    def key(*cells, **given):
        given = {"checkpoint": str(untrained), "data": str(tmp_path / "photos")} | given
        (plan,) = report_plan.make_plans({"one": notebook("one", *cells, parameters=parameters)}, given)
        return plan["key"]

    first = key("1")
    assert first == key("1")
    assert len({first, key("2"), key("1", images=1), key("1", data="demo")}) == 4
    (tmp_path / "photos" / "a.png").write_bytes(b"b")
    assert key("1") != first
    for wrong in ({"checkpoint": "nonsense"}, {"data": "/no/such/folder"}):
        with pytest.raises(UserError):
            key("1", **wrong)


def test_runs_count_for_the_key_and_stand_for_checkpoints(notebook, untrained, tmp_path, monkeypatch):
    declared = "checkpoint = 'tiny'\nagainst = 'small'\nrun_a = ''\nrun_b = ''\ndata = 'demo'"
    source = notebook("pair", parameters=declared)
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(name)

    def plan(**given):
        return report_plan.make_plans({"pair": source}, given)[0]

    both = plan(run_a="a", run_b="b/results.json")
    assert both["parameters"] == {"checkpoint": "", "against": "", "data": ""} | {
        "run_a": str(tmp_path / "a"), "run_b": str(tmp_path / "b" / "results.json")
    }  # fmt: skip
    assert len({both["key"], plan(run_a="b", run_b="a")["key"], plan(run_a="a", run_b="a")["key"]}) == 3
    named = plan(run_a="a", run_b="b", checkpoint=str(untrained))
    assert named["parameters"]["checkpoint"] == str(untrained) and named["parameters"]["against"] == ""
    (tmp_path / "a" / "results.json").write_text("other")
    assert plan(run_a="a", run_b="b/results.json")["key"] != both["key"]
    half = {"run_a": "a", "checkpoint": str(untrained), "against": str(untrained)}
    assert plan(**half)["parameters"]["data"] == "demo"
    for wrong in (half | {"checkpoint": ""}, half | {"data": ""}, half | {"against": "nonsense"}, {"run_a": "none"}):
        with pytest.raises(UserError):
            plan(**wrong)


def test_relative_paths_mean_the_callers_folder(notebook, untrained, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    source = notebook("one", parameters="checkpoint = 'tiny'\ndata = 'demo'")
    given = {"checkpoint": os.path.relpath(untrained), "data": "photos"}
    (plan,) = report_plan.make_plans({"one": source}, given)
    assert plan["parameters"] == {"checkpoint": str(untrained.resolve()), "data": str(tmp_path / "photos")}


def test_a_file_is_no_folder_of_runs(notebook, tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="folder.*file.*--out"):
            report.run(notebook("good", "1"), out=out)


def test_unknown_reports_and_files_that_are_no_notebooks_are_refused(tmp_path):
    (tmp_path / "text.ipynb").write_text("not a notebook")
    for name in ("nonsense", tmp_path / "text.ipynb", tmp_path / "missing.ipynb"):
        with pytest.raises(UserError):
            report.run(name, out=tmp_path / "runs")


def test_kernels_use_the_machines_threads_unless_set(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert kernel_environment()["OMP_NUM_THREADS"] == str(provenance.usable_cores())
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert kernel_environment()["OMP_NUM_THREADS"] == "3"


# --- provenance -------------------------------------------------------------------------------------------------------


def test_provenance_is_json_and_hashes_follow_content(untrained, tmp_path):
    record = provenance.collect(seed=7, checkpoint=untrained, data=tmp_path)
    assert json.loads(json.dumps(record)) == record
    card = json.loads((untrained / "card.json").read_text())
    assert record["checkpoint"]["sha256"] == card["weights_sha256"] and record["seed"] == 7
    before = sha256_folder(tmp_path)
    (tmp_path / "a").write_text("1")
    assert sha256_folder(tmp_path) != before
    assert sha256_folder(tmp_path, "*.py") == before
    (tmp_path / ".hidden").write_text("1")
    assert sha256_folder(tmp_path) == sha256_folder(tmp_path)


def test_git_state_of_a_clean_and_of_a_changed_tree(tmp_path):
    def git(*args):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *args], cwd=tmp_path, check=True, capture_output=True)

    assert provenance.git_state(tmp_path) is None
    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "one")
    clean = provenance.git_state(tmp_path)
    assert len(clean["sha"]) == 40 and clean["dirty"] is None
    (tmp_path / "file").write_text("2")
    changed = provenance.git_state(tmp_path)
    (tmp_path / "new").write_text("3")
    assert (
        clean["sha"] == changed["sha"] and len({None, changed["dirty"], provenance.git_state(tmp_path)["dirty"]}) == 3
    )


# --- in a browser without a network -----------------------------------------------------------------------------------


A4 = 688  # pixels between the margins of a page of paper
CLIPPED = (
    "[...document.querySelectorAll('table')].filter(t => t.scrollWidth > innerWidth).map(t => t.innerText.slice(0, 80))"
)
BROKEN = (
    "[...document.querySelectorAll('table:not(.facts) :is(th, td)')].filter(e => e.parentElement.children.length < 11 "
    "&& getComputedStyle(e).overflowWrap === 'anywhere').map(e => e.innerText)"
)


def check_page(path: Path, profile: Path) -> None:
    with chromium.Page(path, profile) as page:
        assert page.outside() == [] and page.complaints == []
        assert page.broken_images() == [] and page.images_without_alt() == 0
        assert path.stat().st_size < 3e6
        looks = set()
        for look in ({"width": 1200}, {"width": 380}, {"width": 380, "dark": True}, {"width": A4, "media": "print"}):
            page.emulate(**look)
            assert page.overflow() <= 0, f"the page is wider than the window: {look}"
            looks.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert page.evaluate("[...document.images].every(i => getComputedStyle(i).filter === 'none')"), (
                "a picture has other colours than its words name"
            )
        assert page.evaluate(CLIPPED) == [], "a table is clipped on paper"
        assert page.evaluate(BROKEN) == [], "a word is broken in a table of few columns"
        assert len(looks) == 2, "dark is as light"
        page.emulate()
        assert page.evaluate("document.querySelectorAll('details.code[open]').length") <= 1


@pytest.mark.browser
def test_pages_open_without_a_network(both, tmp_path):
    chromium.find()
    for number, path in enumerate((both.good["page"], both.bad["page"], both.runs / "index.html")):
        check_page(path, tmp_path / f"profile{number}")
    with chromium.Page(both.bad["page"], tmp_path / "profile") as page:
        assert "ValueError" in page.evaluate("document.querySelector('.run.failed').innerText")
        assert page.evaluate("document.querySelectorAll('details.code[open]').length") == 1
        page.screenshot(tmp_path / "page.png")
    with chromium.Page(
        both.good["page"], tmp_path / "profile_narrow"
    ) as page:  # a figure keeps a size that can be read, and a touch makes it fit
        page.emulate(width=380)
        wide = "document.querySelector('.zoom img').getBoundingClientRect().width"
        page.evaluate("document.querySelector('.zoom img').width = 750")  # as wide as the figures of slerlib are
        assert page.evaluate(wide) == 608 and page.overflow() <= 0
        page.evaluate("document.querySelector('.zoom').click()")
        assert page.evaluate(wide) <= 380 and page.overflow() <= 0
    assert (tmp_path / "page.png").stat().st_size > 10_000


@pytest.mark.browser
def test_the_pages_of_make_report_open_without_a_network(tmp_path):
    """SLERLIB_REPORT_RUNS names the folder of runs to check, as continuous integration does after `make report`."""
    if "SLERLIB_REPORT_RUNS" not in os.environ:
        pytest.skip("SLERLIB_REPORT_RUNS is not set: no report was made before the tests")
    runs = Path(os.environ["SLERLIB_REPORT_RUNS"])
    pages = sorted(runs.glob("*/index.html"))
    assert pages, f"no page in {runs}"
    for number, path in enumerate([*pages, runs / "index.html"]):
        check_page(path, tmp_path / f"profile{number}")


@pytest.mark.browser
def test_the_list_of_runs_is_sorted_and_filtered_without_a_network(both, tmp_path):
    good, runs = saved(both.good), tmp_path / "runs"
    for number, (gain, verdict) in enumerate(
        (("-0.5 dB", "differs"), ("+12 dB", "agrees"), ("+3 dB", "agrees"), ("0 dB", "differs"), ("none", "differs"))
    ):
        (runs / f"run{number}").mkdir(parents=True)
        answer = {"headline": gain, "sentence": f"It gains {gain}.", "measured": "", "alt": "", "numbers": {}}
        record = good | {
            "finding": answer,
            "reference": {"verdict": verdict, "why": "", "bands": {}, "outside": [], "untold": []},
        }
        record |= {
            "started": f"2026-11-0{number + 1}T10:00:00+00:00",
            "name": f"kind{number % 2}",
            "wall_seconds": number,
        }
        (runs / f"run{number}" / "run.json").write_text(json.dumps(record))
    write_list(runs)
    check_page(runs / "index.html", tmp_path / "profile1")
    cards = "[...document.querySelectorAll('.card:not([hidden]) .headline')].map(part => part.innerText).join()"
    with chromium.Page(runs / "index.html", tmp_path / "profile2") as page:
        assert page.evaluate(cards) == "none,0 dB,+3 dB,+12 dB,-0.5 dB", "newest first"
        choose = "{0}.value = '{1}'; {0}.dispatchEvent(new Event('input')); 0"
        page.evaluate(choose.format("order", "headline"))
        assert page.evaluate(cards) == "+12 dB,+3 dB,0 dB,-0.5 dB,none"
        page.evaluate(choose.format("verdict", "agrees"))
        assert page.evaluate(cards) == "+12 dB,+3 dB"
        page.evaluate(choose.format("words", "gains +3"))
        assert page.evaluate(cards) == "+3 dB" and "1 of them" in page.evaluate("shown.innerText")
        assert page.complaints == page.blocked == []
