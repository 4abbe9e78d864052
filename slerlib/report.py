"""Reports: a parameterised notebook run through papermill, with a page at the end however it ends.

    slerlib report evaluation -p images 2          or          slerlib.report.run("evaluation", {"images": 2})

A run lives in reports/runs/<date>-<name>-<key8>/ with run.json, notebook.ipynb (executed), log.txt and index.html. The key is a hash of
the parameters, the notebook, the code of slerlib, the checkpoint, the data and the versions that can move a score: a finished run with
the same key is not repeated. run.json is written before the notebook starts and says running, done, failed or killed.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import os
import shlex
import shutil
import socket
import sys
import time
from datetime import datetime
from pathlib import Path

from . import provenance
from .errors import UserError
from .report_page import STATES, read_runs, write_atomic, write_list, write_page

_KINDS = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict, "tuple": tuple}


def notebooks_folder() -> Path:
    """The folder of the report notebooks: notebooks/ of the clone, or the copies inside the installed package."""
    root = provenance.clone_root()
    return root / "notebooks" if root else provenance.PACKAGE / "_notebooks"


def runs_folder() -> Path:
    """Where runs go unless told otherwise: reports/runs of the clone, or of the current folder where there is no clone."""
    return (provenance.clone_root() or Path.cwd()) / "reports" / "runs"


def available() -> dict[str, Path]:
    """Report notebooks by name, e.g. {"evaluation": .../report_evaluation.ipynb}."""
    return {path.stem.removeprefix("report_"): path for path in sorted(notebooks_folder().glob("report_*.ipynb"))}


def run(names, params: dict | None = None, out=None, resume: bool = False, say=print) -> list[dict]:
    """Run report notebooks one after another; a failed one does not keep the others from running.

    Arguments:
        names: a report name ("evaluation"), a path of a notebook with a cell tagged `parameters`, a list of these, or "all".
        params: values by parameter name; text is turned into the declared type. With several notebooks each takes what it knows.
        out: folder of the runs; default reports/runs.
        resume: go on in the folder of an interrupted run with the same key and keep the files its cells saved, instead of emptying it.
        say: called with one line of text at each step.
    Returns: one record per notebook, as in its run.json, with "folder" and "page" (Paths) and "skipped" (it was done already).
    Raises: UserError, before any kernel starts, for an unknown report, an unknown or ill-typed parameter, a missing checkpoint or data
        folder, or a run with the same key that is still going on. KeyboardInterrupt and SystemExit after the page is written.
    """
    sources = _sources([names] if isinstance(names, (str, os.PathLike)) else list(names))
    plans = _plan(sources, dict(params or {}))
    runs = Path(out) if out is not None else runs_folder()
    runs.mkdir(parents=True, exist_ok=True)
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


# --- what is asked for -------------------------------------------------------------------------------------------------


def _sources(names: list) -> dict[str, Path]:
    known, found = available(), {}
    for name in names:
        text = str(name)
        if text == "all":
            found |= known
        elif text.removeprefix("report_") in known:
            found[text.removeprefix("report_")] = known[text.removeprefix("report_")]
        elif text.endswith(".ipynb") and Path(text).is_file():
            found[Path(text).stem.removeprefix("report_")] = Path(text).resolve()
        else:
            listed = ", ".join(known) or f"none yet in {notebooks_folder()}"
            raise UserError(f"A report is one of: {listed}; or `all`, or the path of a notebook. Got {text!r}.")
    if not found:
        raise UserError(f"No report notebook (report_*.ipynb) was found in {notebooks_folder()}. Give the path of a notebook instead.")
    return found


def declared(source: Path) -> dict[str, dict]:
    """Parameters of a notebook, read from its cell tagged `parameters` without starting a kernel: name -> {"type", "default"}."""
    import papermill

    found = {}
    for name, item in papermill.inspect_notebook(str(source)).items():
        try:
            default = ast.literal_eval(item["default"])
        except (ValueError, SyntaxError):
            raise UserError(f"Parameters of a report are plain values; {source.name} gives {name} = {item['default']}. Write a literal.") from None
        kind = item["inferred_type_name"].split("[")[0].strip().lower()
        found[name] = {"type": kind if kind in _KINDS else type(default).__name__, "default": default}
    return found


def _plan(sources: dict[str, Path], given: dict) -> list[dict]:
    """Resolve parameters, keys and hashes of all notebooks before the first one starts."""
    known = {name: declared(source) for name, source in sources.items()}
    everything = {key: item["type"] for items in known.values() for key, item in items.items()}
    for key in given:
        if key not in everything:
            listed = ", ".join(f"{name} ({kind})" for name, kind in everything.items()) or "none"
            raise UserError(f"Unknown report parameter {key!r}. The parameters of {', '.join(sources)} are: {listed}.")
    plans = []
    for name, source in sources.items():
        own = {key: value for key, value in given.items() if key in known[name]}
        values = {key: _typed(key, own[key], item["type"]) if key in own else item["default"] for key, item in known[name].items()}
        hashes = _resolve_paths(values, own)
        text = _source_text(source)
        parts = {
            "parameters": values,
            "notebook": text,
            "code": provenance.sha256_folder(provenance.PACKAGE, "*.py"),
            "versions": provenance.versions(provenance.SCORING_PACKAGES),
            **hashes,
        }
        key = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:8]
        plans.append({"name": name, "source": source, "given": own, "parameters": values, "key": key, "source_sha256": text, **hashes})
    return plans


def _source_text(source: Path) -> str:
    """Hash of the cells' sources: outputs and editor metadata do not make another notebook."""
    cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
    sources = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def _typed(key: str, value, kind: str):
    """Turn text into the declared type; refuse what does not fit."""
    refuse = UserError(f"Report parameter {key} takes a value of type {kind}; got {value!r}. Example: -p {key} {_example(kind)}")
    if kind == "str":
        if not isinstance(value, (str, os.PathLike)):
            raise refuse
        return str(value)
    if isinstance(value, str):
        if kind == "bool":
            value = {"true": True, "false": False}.get(value.lower(), value)
        elif kind in _KINDS or kind == "NoneType":
            try:
                value = ast.literal_eval(value)
            except (ValueError, SyntaxError):
                if kind != "NoneType":  # a parameter without a type takes text as it is
                    raise refuse from None
    if kind == "NoneType":
        return value
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not _KINDS[kind] or (kind == "float" and not math.isfinite(value)):
        raise refuse
    return value


def _example(kind: str) -> str:
    return {"int": "2", "float": "0.5", "bool": "true", "list": "'[1, 2]'", "tuple": "'(1, 2)'", "dict": '\'{"a": 1}\''}.get(kind, "value")


def _resolve_paths(values: dict, given: dict) -> dict:
    """Make `checkpoint` and `data` independent of the current folder, and hash what they name. Raises UserError if one is missing."""
    hashes = {}
    if isinstance(values.get("checkpoint"), str):
        path = provenance.checkpoint_path(values["checkpoint"])
        if os.path.exists(values["checkpoint"]):
            values["checkpoint"] = str(path)
        hashes["checkpoint_sha256"] = provenance.hash_of(path)
    if isinstance(values.get("data"), str) and values["data"] != "demo":
        if not os.path.exists(values["data"]):
            raise UserError(f"Report parameter data is `demo` or an existing folder; got {values['data']!r}. Check the path.")
        values["data"] = str(Path(values["data"]).resolve())
        hashes["data_sha256"] = provenance.hash_of(values["data"])
    return hashes


# --- running ------------------------------------------------------------------------------------------------------------


def _run_one(plan: dict, runs: Path, resume: bool, out, say) -> dict:
    from . import report_kernel  # papermill takes most of a second

    old = [record for record in read_runs(runs) if record["key"] == plan["key"] and record["name"] == plan["name"]]
    for record in old:
        if record["state"] == "done":
            say(f"{plan['name']}: already done with these parameters, code, data and checkpoint. Delete {record['folder']} to run it again.")
            return record | {"page": record["folder"] / "index.html", "skipped": True}
    folder = runs / f"{datetime.now():%Y-%m-%d}-{plan['name']}-{plan['key']}"
    if old and resume:
        folder = old[-1]["folder"]
        say(f"{plan['name']}: going on in {folder}, where a run {STATES[old[-1]['state']]}")
    elif folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").unlink(missing_ok=True)

    values = plan["parameters"]
    record = {
        "state": "running",
        "name": plan["name"],
        "key": plan["key"],
        "notebook": str(plan["source"]),
        "source_sha256": plan["source_sha256"],
        "parameters": values,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": " ".join(map(shlex.quote, sys.argv)),
        "resume": _resume_command(plan, out),
        "process": {"host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid())},
        "provenance": provenance.collect(seed=values.get("seed"), checkpoint=values.get("checkpoint"), data=values.get("data")),
    }
    _save(folder, record)
    say(f"{plan['name']}: running in {folder}")
    begin = time.perf_counter()
    outcome = report_kernel.execute(
        plan["source"], folder / "notebook.ipynb", values, folder / "log.txt", progress=sys.stderr.isatty()
    )
    ended = {key: getattr(outcome, key) for key in ("state", "error", "last_good", "cells", "cells_done", "peak_memory_MB", "least_free_memory_MB")}
    record |= ended | {"wall_seconds": round(time.perf_counter() - begin, 1)}
    _save(folder, record)
    page = write_page(folder, record)
    say(f"{plan['name']}: {STATES[record['state']]} after {record['wall_seconds']:.0f} s. {page}")
    if outcome.interrupted:
        raise outcome.interrupted
    return record | {"folder": folder, "page": page, "skipped": False}


def _resume_command(plan: dict, out) -> str:
    name = plan["name"] if plan["name"] in available() else str(plan["source"])
    words = ["slerlib", "report", name]
    for key in plan["given"]:
        words += ["-p", key, str(plan["parameters"][key])]
    if out is not None:
        words += ["--out", str(Path(out).resolve())]
    return " ".join(map(shlex.quote, [*words, "--resume"]))


def _save(folder: Path, record: dict) -> None:
    plain = {key: value for key, value in record.items() if key not in ("folder", "page", "skipped")}
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
    """Runs that say running but whose process is gone were killed together with their supervisor: say so, and give them a page."""
    for record in read_runs(runs):
        if record["state"] == "running" and not _alive(record):
            message = "The process that ran the report is gone without a word: killed, out of memory, or the machine went down."
            record |= {"state": "killed", "error": {"kind": "Killed", "message": message, "cell": None, "source": None}}
            _save(record["folder"], record)
            write_page(record["folder"], record)


def _refuse_twice(runs: Path, plan: dict) -> None:
    for record in read_runs(runs):
        if record["state"] == "running" and record["key"] == plan["key"] and record["name"] == plan["name"]:
            process = record["process"]
            raise UserError(
                f"A report runs once at a time, and {plan['name']} with the same parameters is running already "
                f"(process {process['pid']} on {process['host']}). Wait for it, or stop it and use --resume."
            )
