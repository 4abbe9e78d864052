"""Reports: a parameterised notebook run through papermill, with a page at the end however it ends.

    slerlib report evaluation -p images 2          or          slerlib.report.run("evaluation", {"images": 2})

A run lives in reports/runs/<date>-<name>-<key8>/ with run.json, notebook.ipynb (executed), log.txt and index.html. The
key is a hash of the parameters, the notebook, the code of slerlib, the checkpoint, the data and the versions that can
move a score: a finished run with the same key is not repeated. run.json is written before the notebook starts and says
running, done, failed or killed. The notebook runs inside its run folder, so what its cells save is kept there.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import sys
import time
from datetime import datetime
from pathlib import Path

from .. import provenance
from ..errors import UserError
from ..files import clone_root, write_atomic
from .page import STATES, read_runs, write_list, write_page
from .plan import available, find_sources, make_plans


def runs_folder() -> Path:
    """Where runs go unless told otherwise: reports/runs of the clone, or of the current folder outside a clone."""
    return (clone_root() or Path.cwd()) / "reports" / "runs"


def run(names, params: dict | None = None, out=None, resume: bool = False, say=print) -> list[dict]:
    """Run report notebooks one after another; a failed one does not keep the others from running.

    Arguments:
        names: a report name ("evaluation"), the path of a notebook with a cell tagged `parameters`, a list, or "all".
        params: values by parameter name; text is turned into the declared type. Of several notebooks each takes those
            that it knows.
        out: folder of the runs; default reports/runs.
        resume: go on in the folder of an interrupted run with the same key and keep the files its cells saved, instead
            of starting with an empty folder.
        say: called with one line of text at each step.
    Returns: one record per notebook, as in its run.json, with "folder" and "page" (Paths) and "skipped" (it was done).
    Raises: UserError, before any kernel starts, for an unknown report, an unknown or ill-typed parameter, a missing
        checkpoint or data folder, or a run with the same key that is still going on. KeyboardInterrupt and SystemExit
        (SIGTERM) after the page is written.
    """
    sources = find_sources([names] if isinstance(names, (str, os.PathLike)) else list(names))
    plans = make_plans(sources, dict(params or {}))
    runs = Path(out) if out is not None else runs_folder()
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"Reports are written to a folder; {runs} cannot be one ({error.strerror}). Choose another --out."
        ) from error
    _settle(runs)
    for plan in plans:
        _refuse_twice(runs, plan)
    records = []
    try:
        for plan in plans:
            records.append(_run_one(plan, runs, resume, out, say))
    finally:
        write_list(runs)
    return records


def _run_one(plan: dict, runs: Path, resume: bool, out, say) -> dict:
    from . import kernel as report_kernel  # papermill takes most of a second

    name = plan["name"]
    old = [record for record in read_runs(runs) if (record["name"], record["key"]) == (name, plan["key"])]
    for record in old:
        if record["state"] == "done":
            same = "parameters, code, data and checkpoint"
            say(f"{name}: already done with the same {same}. To run it again, delete {record['folder']}")
            return record | {"page": record["folder"] / "index.html", "skipped": True}
    folder = runs / f"{datetime.now():%Y-%m-%d}-{name}-{plan['key']}"
    if old and resume:
        folder = old[-1]["folder"]
        say(f"{name}: going on in {folder}, where the last run {STATES[old[-1]['state']]}")
    elif folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for stale in ("index.html", "notebook.ipynb"):
        (folder / stale).unlink(missing_ok=True)

    record = _first_record(plan, out)
    _save(folder, record)
    write_list(runs)
    say(f"{name}: running in {folder}")
    begin = time.perf_counter()
    outcome = report_kernel.execute(
        plan["source"], folder / "notebook.ipynb", plan["parameters"], folder / "log.txt", sys.stderr.isatty()
    )
    record |= outcome.facts() | {"wall_seconds": round(time.perf_counter() - begin, 1)}
    _save(folder, record)
    page = write_page(folder, record)
    say(f"{name}: {STATES[record['state']]} after {record['wall_seconds']:.0f} s")
    if outcome.interrupted:
        raise outcome.interrupted
    return record | {"folder": folder, "page": page, "skipped": False}


def _first_record(plan: dict, out) -> dict:
    """run.json as it is before the notebook starts."""
    values = plan["parameters"]
    known = provenance.collect(seed=values.get("seed"), checkpoint=values.get("checkpoint") or None)
    if values.get("data"):
        known["data"] = {"name": values["data"], "sha256": plan["data_sha256"]}
    return {
        "state": "running",
        "name": plan["name"],
        "key": plan["key"],
        "notebook": str(plan["source"]),
        "source_sha256": plan["source_sha256"],
        "parameters": values,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "resume": _resume_command(plan, out),
        "process": {"host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid())},
        "provenance": known,
    }


def _resume_command(plan: dict, out) -> str:
    """A command that works from any folder and without an active environment."""
    name = plan["name"] if available().get(plan["name"]) == plan["source"] else str(plan["source"])
    words = [sys.executable, "-m", "slerlib", "report", name]
    for key in plan["given"]:
        words += ["-p", key, str(plan["parameters"][key])]
    if out is not None:
        words += ["--out", str(Path(out).resolve())]
    return shlex.join([*words, "--resume"])


def _save(folder: Path, record: dict) -> None:
    plain = {key: value for key, value in record.items() if key != "folder"}
    write_atomic(folder / "run.json", json.dumps(plain, indent=2) + "\n")


def _born(pid: int) -> float | None:
    """Start time of a process, which tells it from a later one with the same number."""
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def _alive(record: dict) -> bool:
    process = record["process"]
    if process["host"] != socket.gethostname():
        return True  # on a shared disk; only its own machine can tell
    born = _born(process["pid"])
    return born is not None and abs(born - process["born"]) < 2


def _settle(runs: Path) -> None:
    """A run that says running but whose process is gone was killed with it: say so, and give it a page."""
    for record in read_runs(runs):
        if record["state"] == "running" and not _alive(record):
            from . import kernel as report_kernel

            outcome = report_kernel.Outcome("killed")
            report_kernel.read_cells(record["folder"] / "notebook.ipynb", outcome)
            message = "The process that ran the report is gone: killed, out of memory, or the machine went down."
            outcome.error = (outcome.error or {}) | {"kind": "Killed", "message": message}
            record |= outcome.facts()
            _save(record["folder"], record)
            write_page(record["folder"], record)


def _refuse_twice(runs: Path, plan: dict) -> None:
    for record in read_runs(runs):
        if record["state"] == "running" and (record["name"], record["key"]) == (plan["name"], plan["key"]):
            process = record["process"]
            raise UserError(
                f"A report runs once at a time, and {plan['name']} with the same parameters is running as process "
                f"{process['pid']} on {process['host']}. Wait for it, or stop it, or delete {record['folder']}."
            )
