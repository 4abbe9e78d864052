"""A grid runs each cell once, after those it needs; a killed worker, a slow one and a broken cell lose nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from threading import Thread

import pytest

from slerlib import UserError
from slerlib.files import PACKAGE
from slerlib.grid import Cell, Cluster, Local, combinations, run
from slerlib.grid.board import Board
from slerlib.grid.cells import Result

JOB = """
import os, signal, sys, time
folder, name, seconds, end = sys.argv[1:]
def note(word):
    with open(f"{folder}/ledger", "a") as file:
        file.write(f"{word} {name} {os.environ.get('WHO', '')} {os.getpid()}\\n")
note("begin")
time.sleep(float(seconds) * float(os.environ.get("SLOW", 1)))
if end == "error":
    print("the reason"); sys.exit(3)
if end == "once" and not os.path.exists(f"{folder}/{name}.died"):
    open(f"{folder}/{name}.died", "w").close(); os.kill(os.getpid(), signal.SIGKILL)
if end == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
note("end")
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    """job(name, ...) -> a Cell that notes its begin and end in a ledger."""
    (tmp_path / "grid_job.py").write_text(JOB)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))

    def job(name, seconds=0.05, end="good", after=(), **options):
        return Cell(name, ("grid_job", str(tmp_path), name, str(seconds), end), tuple(after), **options)

    return job


def ledger(folder: Path) -> list[list[str]]:
    path = folder / "ledger"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def states(results: list[Result]) -> dict[str, str]:
    return {result.name: result.state for result in results}


# --- values -----------------------------------------------------------------------------------------------------------


def test_combinations():
    assert combinations(["a=1,2", "b=x"]) == [{"a": "1", "b": "x"}, {"a": "2", "b": "x"}]
    assert combinations([]) == [{}]


@pytest.mark.parametrize(
    ("texts", "words"),
    [(["a"], "KEY=VALUE"), (["a="], "KEY=VALUE"), (["a=1,"], "KEY=VALUE"), (["a=1,1"], "again"),
     (["a=1", "a=2"], "again"), (["b=1"], "keys of this grid are a")],
)  # fmt: skip
def test_a_grid_that_is_none_is_refused(texts, words):
    with pytest.raises(UserError, match=words):
        combinations(texts, {"a"})


# --- local processes --------------------------------------------------------------------------------------------------


def test_cells_run_once_and_after_those_they_need(job, tmp_path):
    cells = [job("last", after=["b", "c"]), job("a"), job("b", after=["a"]), job("c", after=["a"])]
    told, said = [], []
    results = run(cells, Local(2), tmp_path / "cells", told.append, said.append, live=False)
    assert [r.name for r in results] == ["last", "a", "b", "c"] and set(states(results).values()) == {"done"}
    order = [(word, name) for word, name, *_ in ledger(tmp_path)]
    assert (
        len(order) == 8
        and order[:2] == [("begin", "a"), ("end", "a")]
        and order[-2:] == [("begin", "last"), ("end", "last")]
    )
    assert [r.name for r in told][0] == "a" and len(told) == 4 and "4 of 4: last done" in said[-1]
    assert all(r.tries == 1 and r.seconds > 0 and str(os.getpid()) in r.worker for r in results)


def test_an_error_is_final_and_a_kill_is_not(job, tmp_path):
    cells = [job("bad", end="error"), job("child", after=["bad"]), job("grandchild", after=["child"])]
    cells += [job("unlucky", end="once"), job("hopeless", end="killed"), job("good")]
    said = []
    results = {r.name: r for r in run(cells, Local(3), tmp_path / "cells", say=said.append, live=False)}
    assert states(results.values()) == {"bad": "failed", "child": "skipped", "grandchild": "skipped", "unlucky": "done",
                                        "hopeless": "lost", "good": "done"}  # fmt: skip
    assert "the reason" in results["bad"].why and results["bad"].tries == 1
    assert (results["unlucky"].tries, results["hopeless"].tries) == (2, 3)
    begins = Counter(name for word, name, *_ in ledger(tmp_path) if word == "begin")
    assert begins == {"bad": 1, "unlucky": 2, "hopeless": 3, "good": 1}
    assert any("unlucky" in line and "runs again" in line for line in said)


def test_cells_that_wait_for_each_other_are_refused(job, tmp_path):
    with pytest.raises(UserError, match="wait for each other: a, b"):
        run([job("a", after=["b"]), job("b", after=["a"])], Local(1), tmp_path / "cells", live=False)


def test_an_interrupt_ends_the_processes_of_the_cells(job, tmp_path):
    def stop(result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([job("quick"), job("long", seconds=60)], Local(2), tmp_path / "cells", stop, lambda line: None, live=False)
    (pid,) = {int(pid) for word, name, *_, pid in ledger(tmp_path) if name == "long"} or {0}
    assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        return bool(pid) and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no signal at the end of a parent")
def test_a_cell_ends_with_its_worker(job, tmp_path):
    """SIGKILL to the process that runs the grid leaves no cell behind that would run beside its second try."""
    code = (
        "import sys; from pathlib import Path; from slerlib.grid import *\n"
        "run([Cell('long', ('grid_job', sys.argv[1], 'long', '60', 'good'))], Local(1), Path(sys.argv[1]) / 'cells')"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment())
    wait_for(lambda: ledger(tmp_path))
    pid = int(ledger(tmp_path)[0][-1])
    assert alive(pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not alive(pid))


def environment(**more) -> dict[str, str]:
    path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(PACKAGE.parent)])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | more


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table_says_what_runs_where_and_how_long_the_rest_takes(job, tmp_path):
    cells = [job("a"), job("b", cost=3), job("c"), job("d", cost=4)]
    board = Board(cells, tmp_path, print, live=False)
    assert board.left({}, {}, 2) is None
    results = {"a": Result("a", "done", 10.0, 1)}
    assert board.left(results, {}, 2) == pytest.approx((30 + 10 + 40) / 2)
    begun = time.time() - 5
    assert board.left(results, {"c": begun}, 1) == pytest.approx(30 + 5 + 40, abs=1)
    (tmp_path / "c.json").write_text(json.dumps({"worker": "host:7", "begun": begun}))
    head, row = board.lines(results, {"c": 2}, 1)
    assert "1 of 4 ended (0 not done), 1 run, 2 wait" in head and "about 75 s left" in head
    assert "host:7" in row and "try 2" in row
    results["b"] = Result("b", "lost", 1.0, 3)
    assert "2 of 4 ended (1 not done)" in board.lines(results, {}, 1)[0]


# --- a cluster --------------------------------------------------------------------------------------------------------


@pytest.fixture
def scheduler(tmp_path):
    """Address of a Dask scheduler on this machine, and worker(name, slow) that starts one."""
    pytest.importorskip("distributed")
    processes, file = [], tmp_path / "scheduler.json"

    def dask(*words, **env):
        command = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *map(str, words[1:])]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        processes.append(subprocess.Popen(command, env=environment(**env), **quiet))
        return processes[-1]

    def worker(name, slow=1):
        options = ("--nthreads", 1, "--name", name, "--no-nanny", "--no-dashboard", "--memory-limit", 0)
        return dask("worker", "--scheduler-file", file, *options, WHO=name, SLOW=str(slow))

    dask("scheduler", "--scheduler-file", file, "--port", 0, "--no-dashboard", "--host", "127.0.0.1")
    wait_for(lambda: file.exists() and file.read_text().strip().endswith("}"))
    yield json.loads(file.read_text())["address"], worker
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.filterwarnings("ignore")  # those of Dask
def test_three_workers_of_which_one_is_killed_and_one_is_slow(job, tmp_path, scheduler):
    """Every cell ends once, none is lost, and the killed worker's cell runs again on another one."""
    address, worker = scheduler
    doomed = [worker("quick"), worker("slow", 40), worker("doomed")][2]
    names = [f"cell{n:02d}" for n in range(9)]
    cells = [job(name, seconds=0.3) for name in names] + [job("sum", after=names)]
    cluster, killed, told = Cluster(address, seconds=60), [], []
    wait_for(lambda: cluster.size == 3)

    def kill():
        """In the middle of a cell of its own, when two others are done."""
        while not killed and len(told) < len(cells):
            lines = ledger(tmp_path)
            inside = {name for word, name, who, _ in lines if (word, who) == ("begin", "doomed")}
            inside -= {name for word, name, *_ in lines if word == "end"}
            if inside and sum(word == "end" for word, *_ in lines) >= 2:
                doomed.send_signal(signal.SIGKILL)
                killed.extend(inside)
            time.sleep(0.01)

    killer = Thread(target=kill)
    killer.start()
    results = run(cells, cluster, tmp_path / "cells", lambda r: told.append(r.name), lambda line: None, live=False)
    killer.join()
    assert set(states(results).values()) == {"done"} and sorted(told) == sorted(c.name for c in cells)
    ends = Counter(name for word, name, *_ in ledger(tmp_path) if word == "end")
    assert ends == {cell.name: 1 for cell in cells}, "done once, none lost"
    assert killed, "the worker was killed in the middle of a cell"
    begins = Counter(name for word, name, *_ in ledger(tmp_path) if word == "begin")
    assert {name for name, count in begins.items() if count > 1} <= set(killed)
    shares = Counter(who for word, _, who, _ in ledger(tmp_path) if word == "end")
    assert shares["quick"] >= shares["slow"] >= 1, "the others do the work of the slow one"


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_of_this_machine_and_one_that_is_not_there(job, tmp_path):
    pytest.importorskip("distributed")
    results = run([job("a"), job("b")], Cluster(workers=2), tmp_path / "cells", say=lambda line: None, live=False)
    assert set(states(results).values()) == {"done"}
    with pytest.raises(UserError, match="none answered within 1 s"):
        Cluster("tcp://127.0.0.1:9", seconds=1)
