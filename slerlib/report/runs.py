"""Run reports one after another: which are done, the folder of each, and how it ends.

    slerlib report evaluation -p images 2          or          slerlib.report.run("evaluation", {"images": 2})

A run lives in reports/runs/<date>-<name>-<key8>/ with run.json, notebook.ipynb (executed), log.txt and index.html. The
key is a hash of the parameters, the notebook, the code of slerlib, the checkpoint, the data and the versions that can
move a score: a finished run with the same key is not repeated. run.json is written before the notebook starts; its
state is running, done, failed or killed. The notebook runs inside its run folder, so what its cells save stays there.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from ..errors import UserError
from ..files import clone_root, unwritable
from . import findings
from .manifest import MANIFEST, check_files, write_manifest
from .overview import write_list
from .page import write_page
from .plan import find_sources, first_record, make_plans
from .record import FOREVER, PATIENCE, ROOM, ROOM_BYTES, STATES, clear, held, new_folder, read_runs, save, settle
from .reference import judge

RULE = "Reports are written to a folder"


def runs_folder() -> Path:
    """Where runs go unless another folder is named: reports/runs of the clone, or of the current folder outside one."""
    return (clone_root() or Path.cwd()) / "reports" / "runs"


def run(names, params: dict | None = None, out=None, resume: bool = False, say=print) -> list[dict]:
    """Run report notebooks one after another; a failed one does not keep the others from running.

    Arguments:
        names: a report name ("evaluation"), the path of a notebook with a cell tagged `parameters`, a list, or "all".
        params: values by parameter name, in the declared type or as text. Of several notebooks each takes its own.
        out: folder of the runs; default reports/runs. Other files in it stay as they are.
        resume: go on in the folder of an interrupted run with the same key and keep the files its cells saved, instead
            of starting in a folder of its own.
        say: called with one line of text at each step.
    Returns: one record per notebook, as in its run.json, with "folder" and "page" (Paths) and "skipped" (it was done).
    Raises: UserError, before any kernel starts, for an unknown report, an unknown or ill-typed parameter, a missing
        checkpoint or data folder, a folder that cannot be written, or a run with the same key that another process
        works on. KeyboardInterrupt and SystemExit (SIGTERM) after the page is written.
    """
    sources = find_sources([names] if isinstance(names, (str, os.PathLike)) else list(names))
    plans = make_plans(sources, dict(params or {}))
    runs = (runs_folder() if out is None else Path(out)).absolute()
    try:
        runs.mkdir(parents=True, exist_ok=True)
        settle(runs)
        for plan in plans:
            with held(runs, plan["lock"], PATIENCE) as free:
                if not free:
                    raise _running(runs, plan)
        try:
            return [_run_one(plan, runs, resume, out, say) for plan in plans]
        finally:
            write_list(runs)
    except OSError as error:
        raise unwritable(RULE, runs, error, "Free some space, or choose another --out.") from error


def _running(runs: Path, plan: dict) -> UserError:
    same = [r for r in read_runs(runs) if (r["name"], r["key"], r["state"]) == (plan["name"], plan["key"], "running")]
    process = same[-1]["process"] if same else {}
    where = f" as process {process.get('pid')} on {process.get('host')}" if process else ""
    return UserError(
        f"A report runs once at a time, and {plan['name']} with the same parameters is running{where}. "
        "Wait for it, or stop it."
    )


def _run_one(plan: dict, runs: Path, resume: bool, out, say) -> dict:
    with ExitStack() as lock:
        if not lock.enter_context(held(runs, plan["lock"])):
            say(f"{plan['name']}: waiting for the process that runs it")
            lock.enter_context(held(runs, plan["lock"], FOREVER))
        old = [r for r in read_runs(runs) if (r["name"], r["key"]) == (plan["name"], plan["key"])]
        for done in (record for record in old if record["state"] == "done"):
            folder, same = done["folder"], "parameters, code, data and checkpoint"
            if changes := check_files(folder).files:
                say(f"{plan['name']}: {folder} is not as it was written and does not count ({changes[0]})")
                continue
            say(f"{plan['name']}: already done with the same {same}. To run it again, delete {folder}")
            return done | {"page": folder / "index.html", "skipped": True}
        left = [record for record in old if record["state"] != "done"]
        if resume and left:
            folder = left[-1]["folder"]
            say(f"{plan['name']}: going on in {folder}, where the last run {STATES[left[-1]['state']]}")
            for stale in ("index.html", "notebook.ipynb", MANIFEST, findings.FILE, findings.PICTURE):
                (folder / stale).unlink(missing_ok=True)
        else:
            folder = new_folder(runs, plan["name"], plan["key"])
        return _run_in(folder, plan, out, say)


def _run_in(folder: Path, plan: dict, out, say) -> dict:
    """Run a notebook in its folder: a record before, the kernel, a record and a page after."""
    from . import kernel  # papermill takes most of a second

    record = first_record(plan, out)
    (folder / ROOM).write_bytes(bytes(ROOM_BYTES))
    save(folder, record)
    write_list(folder.parent)
    say(f"{plan['name']}: running in {folder}")
    begin = time.perf_counter()
    outcome = kernel.execute(
        plan["source"], folder / "notebook.ipynb", plan["parameters"], folder / "log.txt", sys.stderr.isatty()
    )
    record |= outcome.facts() | {"wall_seconds": round(time.perf_counter() - begin, 1)}
    if record["state"] == "done" and (answer := findings.read_finding(folder)):
        record |= {"finding": answer, "reference": judge(record, answer["numbers"])}
    clear(folder)
    save(folder, record)
    page = write_page(folder, record)
    write_manifest(folder)
    say(f"{plan['name']}: {STATES[record['state']]} after {record['wall_seconds']:.0f} s")
    if "finding" in record:
        say(f"{plan['name']}: {record['finding']['sentence']} {record['reference']['why']}")
    if outcome.interrupted:
        raise outcome.interrupted
    return record | {"folder": folder, "page": page, "skipped": False}
