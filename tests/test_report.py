"""Reports tell how they ended, refuse bad parameters before a kernel starts, and open without a network."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

import chromium
import nbformat
import numpy as np
import pytest
from click.testing import CliRunner
from papermill.cli import papermill

from slerlib import UserError, provenance
from slerlib.files import sha256_folder
from slerlib.report import plan as report_plan
from slerlib.report import runs as report
from slerlib.report.kernel import kernel_environment

ROOT = Path(__file__).resolve().parent.parent
# ipykernel and its neighbours warn about their own event loops and sockets
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

PARAMETERS = "images: int = 0  # 0 = all\nseverity = 0.5\nname: str = 'x'\nflag = True\nseed = 0"
PICTURE = (
    "import matplotlib.pyplot as plt\nfig, ax = plt.subplots(figsize=(2, 2)); ax.plot([1, 2]); plt.close(fig)\n"
    "display(fig, metadata={'image/png': {'alt': 'A rising line'}})"
)


@pytest.fixture
def notebook(tmp_path):
    """notebook("name", cell, cell, ...) -> path of a notebook with a parameters cell and these code cells."""

    def make(name, *cells, parameters=PARAMETERS):
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        book = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
        first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        book.cells = [nbformat.v4.new_markdown_cell("# A made-up report"), first]
        book.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
        nbformat.write(book, tmp_path / f"report_{name}.ipynb")
        return tmp_path / f"report_{name}.ipynb"

    return make


@pytest.fixture
def run(tmp_path):
    """run(path, **parameters) -> the record of one report, without progress lines."""

    def run(source, resume=False, **parameters):
        (record,) = report.run(source, parameters, tmp_path / "runs", resume, say=lambda line: None)
        return record

    return run


def saved(record: dict) -> dict:
    return json.loads((record["folder"] / "run.json").read_text())


# --- how a run ends ---------------------------------------------------------------------------------------------------


def test_a_good_run_leaves_a_page_and_is_not_repeated(notebook, run, tmp_path):
    source = notebook("good", PICTURE, "print('images', images, severity, name)", "open('kept.txt', 'w').write('x')")
    record = run(source, images="2", name="<b>&")
    folder = record["folder"]
    assert record["state"] == saved(record)["state"] == "done" and not record["skipped"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-good-[0-9a-f]{8}", folder.name)
    assert {path.name for path in folder.iterdir()} == {
        "run.json",
        "notebook.ipynb",
        "log.txt",
        "index.html",
        "kept.txt",
    }
    page = record["page"].read_text()
    assert "images 2 0.5" in page and 'alt="A rising line"' in page and "<details" in page
    assert "&lt;b&gt;&amp;" in page and "<b>&" not in page
    assert "images 2 0.5" in (folder / "log.txt").read_text()
    facts = saved(record)
    assert facts["parameters"] == {"images": 2, "severity": 0.5, "name": "<b>&", "flag": True, "seed": 0}
    assert facts["provenance"]["seed"] == 0 and facts["peak_memory_MB"] > 20 and facts["wall_seconds"] > 0
    assert facts["provenance"]["versions"]["scikit-image"] and facts["provenance"]["versions"]["pillow"]
    assert folder.name in (tmp_path / "runs" / "index.html").read_text()

    again = run(source, images=2, name="<b>&")
    assert again["skipped"] and again["folder"] == folder
    assert run(source, images=1)["folder"] != folder


def test_a_failed_cell_is_named_and_resume_keeps_files(notebook, run):
    mark = "import pathlib; kept = pathlib.Path('kept.txt'); again = kept.exists(); kept.write_text('x')"
    source = notebook("bad", mark, "if not again:\n    raise ValueError('bad <thing>')", "print('end')")
    record = run(source)
    assert record["state"] == saved(record)["state"] == "failed"
    assert record["error"]["kind"] == "ValueError" and record["error"]["message"] == "bad <thing>"
    assert record["error"]["cell"] == 4 and record["last_good"]["cell"] == 3 and record["cells"] == 5
    page = record["page"].read_text()
    for part in (
        "bad &lt;thing&gt;",
        "code cell 4 of 5",
        "last good",
        "MB",
        "--resume",
        "The end of log.txt",
        "Traceback",
    ):
        assert part in page, part
    resumed = run(source, resume=True)  # the cell finds what the first run saved
    assert resumed["state"] == "done" and resumed["folder"] == record["folder"]


def test_without_resume_an_unfinished_run_starts_anew(notebook, run):
    source = notebook(
        "bad", "import pathlib; pathlib.Path('kept.txt').touch(exist_ok=False)", "raise ValueError('bad')"
    )
    for _ in range(2):
        assert run(source)["error"]["kind"] == "ValueError"


def test_a_cell_that_may_raise_is_the_one_to_blame(notebook, run):
    source = notebook("bad", "1 / 0", "print('end')")
    book = nbformat.read(source, 4)
    book.cells[2].metadata["tags"] = ["raises-exception"]  # papermill goes on, and calls the run failed at its end
    nbformat.write(book, source)
    record = run(source)
    assert record["state"] == "failed" and record["error"]["kind"] == "ZeroDivisionError"
    assert record["error"]["cell"] == 3 and record["error"]["source"] == "1 / 0" and record["cells_done"] == 2


def test_a_notebook_that_leaves_before_its_end_is_not_done(notebook, run):
    record = run(notebook("exit", "import sys; sys.exit()", "print('end')"))
    assert record["state"] == saved(record)["state"] == "failed" and record["error"]["kind"] == "SystemExit"
    assert (
        record["error"]["source"] == "import sys; sys.exit()" and "before its last cell" in record["page"].read_text()
    )
    assert run(notebook("last", "", "import sys; sys.exit(0)"))["state"] == "done"


def test_a_killed_kernel_is_not_called_completed(notebook, run):
    source = notebook("killed", "print('fine')", "import os; os.kill(os.getpid(), 9)", "print('end')")
    record = run(source)
    assert record["state"] == saved(record)["state"] == "killed"
    assert record["error"]["cell"] == 4 and record["last_good"]["cell"] == 3
    assert "signal 9" in record["error"]["message"]
    marks = [cell.metadata.papermill.status for cell in nbformat.read(record["folder"] / "notebook.ipynb", 4).cells[1:]]
    assert marks == ["completed", "completed", "completed", "failed", "pending"]
    assert "signal 9" in record["page"].read_text()


def start(source, runs, wait=True) -> subprocess.Popen:
    """`slerlib report` in a process of its own; `wait`: until a cell has made the file `here`."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "slerlib", "report", str(source), "--out", str(runs)]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while wait and not list(runs.glob("*/here")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    return process


@pytest.mark.parametrize(
    ("number", "code", "kind"), [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Stopped")]
)
def test_a_stopped_run_still_writes_its_page(notebook, tmp_path, number, code, kind):
    source = notebook("slow", "open('here', 'w').close()\nimport time; time.sleep(60)")
    process = start(source, tmp_path / "runs")
    (folder,) = (tmp_path / "runs").glob("*-slow-*")
    assert json.loads((folder / "run.json").read_text())["state"] == "running"
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(UserError, match=f"slow .* process {process.pid} "):
        report.run(source, out=tmp_path / "runs")
    assert sorted(path.name for path in folder.iterdir()) == before
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in err, err
    record = json.loads((folder / "run.json").read_text())
    assert record["state"] == "killed" and record["error"]["kind"] == kind and record["error"]["cell"] == 3
    assert "--resume" in (folder / "index.html").read_text()


def test_a_run_whose_supervisor_was_killed_gets_its_page_later(notebook, run, tmp_path):
    source = notebook("slow", "open('here', 'w').close()\nimport time; time.sleep(60)")
    process = start(source, tmp_path / "runs")
    process.kill()
    process.communicate(timeout=60)
    (folder,) = (tmp_path / "runs").glob("*-slow-*")
    assert not (folder / "index.html").exists()
    run(notebook("other", "1"))
    record = json.loads((folder / "run.json").read_text())
    assert record["state"] == "killed" and (folder / "index.html").exists()
    assert "killed" in (tmp_path / "runs" / "index.html").read_text()


def test_the_command_to_go_on_names_the_notebook_that_ran(notebook, run):
    source = notebook("evaluation", "1 / 0")  # a copy of a report, with its name
    assert run(source)["resume"].split()[4] == str(source)


def test_links_of_the_list_lead_to_names_with_any_letters(notebook, run, tmp_path):
    record = run(notebook("a#b 50%?", "1"))
    (link,) = re.findall('href="(.*?)"', (tmp_path / "runs" / "index.html").read_text())
    assert "#" not in link and "?" not in link and unquote(link) == f"{record['folder'].name}/index.html"


def test_one_failure_does_not_keep_the_others_from_running(notebook, tmp_path):
    books = [notebook("first", "1 / 0"), notebook("second", "print(images)")]
    records = report.run(books, {"images": 3}, tmp_path / "runs", say=lambda line: None)
    assert [record["state"] for record in records] == ["failed", "done"]


# --- nothing is lost --------------------------------------------------------------------------------------------------


def records(runs: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(runs.glob("*/run.json"))]


def test_two_starts_at_once_make_one_run(notebook, tmp_path):
    source, runs = notebook("twice", "import time; time.sleep(1)"), tmp_path / "runs"
    processes = [start(source, runs, wait=False) for _ in range(2)]
    ends = [(process.communicate(timeout=120), process.returncode) for process in processes]
    (record,) = records(runs)
    assert record["state"] == "done" and len(list(runs.glob("*-twice-*"))) == 1
    assert sorted(code for _, code in ends) in ([0, 0], [0, 1])
    for (out, err), code in ends:
        assert ("is running" in err if code else "done" in out or "finished" in out) and "Traceback" not in err


def test_what_others_keep_beside_the_runs_stays(notebook, run, tmp_path):
    source, runs = notebook("bad", "1 / 0"), tmp_path / "runs"
    (plan,) = report_plan.make_plans({"bad": source}, {})
    foreign = [runs / f"{datetime.now():%Y-%m-%d}-bad-{plan['key']}" / "mine.txt", runs / "old" / "run.json"]
    foreign += [runs / ".mine.part", runs / "notes.txt"]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    first, second = run(source), run(source)
    assert all(path.read_text() == "mine" for path in foreign)
    assert first["folder"] != second["folder"] and (first["folder"] / "run.json").is_file()


def broken_records(good: dict):
    yield from ("", "[1]", "3", '{"config": 1}', '{"state": "COMPLETED", "name": "x"}', json.dumps(good)[:-40])
    for key in good:
        yield from (json.dumps(good | {key: value}) for value in (None, 3, "a/b", [], {}, {"a": 1}))
        yield json.dumps({other: value for other, value in good.items() if other != key})


def test_a_damaged_record_blocks_no_other_report(notebook, run, tmp_path):
    source, runs = notebook("good", "1"), tmp_path / "runs"
    good = saved(run(source))
    for state in ("running", "failed"):
        for number, text in enumerate(broken_records(good | {"state": state, "name": "other"})):
            (runs / f"{state}{number}").mkdir()
            (runs / f"{state}{number}" / "run.json").write_text(text)
    assert run(source)["skipped"] and "good" in (runs / "index.html").read_text()


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
    space["images"] = "two"
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


def test_git_state_tells_a_clean_tree_from_a_changed_one(tmp_path):
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


def check_page(path: Path, profile: Path) -> None:
    with chromium.Page(path, profile) as page:
        assert page.outside() == [] and page.complaints == []
        assert page.broken_images() == [] and page.images_without_alt() == 0
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width <= 0, "the page is wider than the window"
        assert page.evaluate("document.querySelectorAll('details.code[open]').length") <= 1


@pytest.mark.browser
def test_pages_open_without_a_network(notebook, run, tmp_path):
    chromium.find()
    wide = "import pandas as pd; pd.DataFrame([range(60)])"
    good = run(notebook("good", PICTURE, wide, "print('x' * 400)"))
    bad = run(notebook("bad", "1 / 0"))
    for number, path in enumerate((good["page"], bad["page"], tmp_path / "runs" / "index.html")):
        check_page(path, tmp_path / f"profile{number}")
    with chromium.Page(bad["page"], tmp_path / "profile") as page:
        assert "ZeroDivisionError" in page.evaluate("document.querySelector('.run.failed').innerText")
        assert page.evaluate("document.querySelectorAll('details.code[open]').length") == 1
        page.screenshot(tmp_path / "page.png")
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
