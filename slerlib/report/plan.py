"""What a report is asked to do, settled before any kernel starts: notebooks, typed parameters, hashes, key, record."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shlex
import socket
import sys
from datetime import datetime
from pathlib import Path

from .. import provenance
from ..checkpoint import CARD, CONFIG, LOG, weights_file
from ..config.values import as_float, as_int, as_list, as_str, literal
from ..errors import UserError
from ..evaluation.options import RULES, checked, checked_tasks
from ..evaluation.results import results_file
from ..files import PACKAGE, clone_root, sha256_file, sha256_folder, sha256_of

CHECKPOINTS, RUNS = ("checkpoint", "against"), ("run_a", "run_b")  # parameters that are names or paths of such
TRAININGS = ("training", "beside")  # folders of trainings, which may still run
_EXAMPLES = {"int": "2", "float": "0.5", "bool": "true", "str": "text", "list": "'[1, 2]'", "tuple": "'(1, 2)'"}
_EXAMPLES |= {"dict": "'{\"a\": 1}'", "any": "value"}


def notebooks_folder() -> Path:
    """The folder of the report notebooks: notebooks/ of the clone, or the copies inside the installed package."""
    root = clone_root()
    return root / "notebooks" if root else PACKAGE / "_notebooks"


def available() -> dict[str, Path]:
    """Report notebooks by name, e.g. {"evaluation": .../report_evaluation.ipynb}."""
    return {path.stem.removeprefix("report_"): path for path in sorted(notebooks_folder().glob("report_*.ipynb"))}


def find_sources(names: list) -> dict[str, Path]:
    """Notebooks by report name. Raises UserError for a name that is neither a report nor a notebook."""
    reports, sources = available(), {}
    for text in map(str, names):
        name = text.removeprefix("report_")
        if text == "all":
            sources |= reports
        elif name in reports:
            sources[name] = reports[name]
        elif text.endswith(".ipynb") and Path(text).is_file():
            sources[Path(text).stem.removeprefix("report_")] = Path(text).resolve()
        else:
            listed = ", ".join(reports) or f"missing in {notebooks_folder()}"
            raise UserError(f"A report is one of: {listed}; or `all`, or the path of a notebook. Got {text!r}.")
    if not sources:
        raise UserError(f"{notebooks_folder()} has no report_*.ipynb. Give the path of a notebook instead.")
    return sources


# --- parameters


def declared(source: Path) -> dict[str, dict]:
    """Parameters in the cell tagged `parameters`, read without starting a kernel: name -> {"type", "default"}.

    The type is the annotated one, else that of the default. (papermill's own inspection drops a line whose comment has
    an equals sign.) Raises UserError for a file that is no notebook and for a default that is no plain value.
    """
    try:
        cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
        tagged = (_source(cell) for cell in cells if "parameters" in cell["metadata"].get("tags", []))
        statements = ast.parse(next(tagged, "")).body
    except (OSError, ValueError, LookupError, TypeError, SyntaxError) as error:
        raise UserError(f"A report is a notebook with plain Python parameters; {source} is not ({error}).") from error
    items = {}
    for statement in statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name) and getattr(statement, "value", None) is not None:
                items[target.id] = _declaration(source, statement)
    return items


def _source(cell: dict) -> str:
    return "".join(cell["source"])


def _declaration(source: Path, statement: ast.Assign | ast.AnnAssign) -> dict:
    try:
        default = ast.literal_eval(statement.value)
    except ValueError:
        line = ast.unparse(statement)
        raise UserError(f"Report parameters are plain values; {source.name} has `{line}`. Write a literal.") from None
    annotation = ast.unparse(statement.annotation).split("[")[0] if isinstance(statement, ast.AnnAssign) else ""
    kinds = [kind for kind in (annotation, type(default).__name__) if kind in _EXAMPLES]
    return {"type": kinds[0] if kinds else "any", "default": default}


def parameters(name: str, values: dict) -> dict:
    """Those of `values` that a notebook declares, in their declared types; the notebook itself calls it.

    name: "report_compare"; values: its `globals()`. papermill's own -p gives a list as text, and a name that looks like
    a number as a number. Raises UserError for a value that does not fit.
    """
    source = notebooks_folder() / f"{name}.ipynb"
    items = declared(source).items() if source.is_file() else ()
    return {key: typed(key, values[key], item["type"]) for key, item in items if key in values}


def typed(key: str, value, kind: str):
    """A parameter in its declared type, from a value, from text, or from what papermill makes of text.

    A list may be one value, or text with commas. None is an empty list or text. Raises UserError for what does not fit.
    """
    try:
        return _READERS[kind](value)
    except (ValueError, TypeError, LookupError, OverflowError):
        raise UserError(
            f"Report parameter {key} has the type {kind}; got {value!r}. Example: -p {key} {_EXAMPLES[kind]}"
        ) from None


_READERS = {
    "int": as_int,
    "float": as_float,
    "bool": lambda value: {"true": True, "1": True, "false": False, "0": False}[str(value).lower()],
    "str": as_str,
    "list": as_list,
    "tuple": lambda value: tuple(as_list(value)),
    "dict": lambda value: dict(literal(value)),
    "any": literal,
}


# --- the key


def make_plans(sources: dict[str, Path], params: dict) -> list[dict]:
    """Parameters, hashes and key of every notebook, computed before the first one starts.

    Raises UserError for a parameter that no notebook has, that has another type, or names a file that does not exist.
    """
    items_of = {name: declared(source) for name, source in sources.items()}
    kinds = {key: item["type"] for items in items_of.values() for key, item in items.items()}
    if unknown := [key for key in params if key not in kinds]:
        listed = ", ".join(f"{key} ({kind})" for key, kind in kinds.items()) or "none"
        raise UserError(f"Unknown report parameter {unknown[0]!r}. The parameters of {', '.join(sources)}: {listed}.")
    code = sha256_folder(PACKAGE, "*.py")
    versions = provenance.versions(provenance.SCORING_PACKAGES)
    plans = []
    for name, source in sources.items():
        own = {key: typed(key, params[key], item["type"]) for key, item in items_of[name].items() if key in params}
        _check_values(own)
        values = {key: item["default"] for key, item in items_of[name].items()} | own
        if values.get("run_a") and values.get("run_b"):  # scores are read: defaults of data have no effect
            values |= {key: "" for key in (*CHECKPOINTS, "data") if key in values and key not in own}
        hashes, text = _resolve_paths(values), _source_hash(source)
        stated = json.dumps([values, hashes, text, code, versions], sort_keys=True)
        key = hashlib.sha256(stated.encode()).hexdigest()[:8]
        plan = {"name": name, "source": source, "asked": own, "parameters": values, "key": key, "hashes": hashes}
        plan |= {"source_sha256": text, "changed": _changed(values, items_of[name])}
        plans.append(plan | {"lock": f"{name}-{key}"})
    return plans


_COUNTS = ("several", "redraws", "draws", "pictures", "side")
_MOST = 1_000_000


def _check_values(asked: dict) -> None:
    """Refuse before a kernel starts what a cell would refuse. Raises UserError."""
    for key, value in asked.items():
        if key in RULES and value not in (None, ""):
            checked(key, value)
        elif key in _COUNTS and isinstance(value, int) and not 0 <= value <= _MOST:
            raise UserError(f"Report parameter {key} is a whole number from 0 to {_MOST:,}; got {value}.")
        elif key == "severities":
            for severity in value:
                checked("severity", severity)
        elif key in ("tasks", "extra") and value:
            checked_tasks(value)


def _changed(values: dict, items: dict) -> dict:
    """The parameters that have another value than the notebook's own; names of checkpoints have hashes instead."""
    apart = (*CHECKPOINTS, "seed")
    return {key: value for key, value in values.items() if value != items[key]["default"] and key not in apart}


def _source_hash(source: Path) -> str:
    """Hash of the cells' sources: outputs and editor metadata do not make another notebook."""
    cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
    return hashlib.sha256(json.dumps([[cell["cell_type"], _source(cell)] for cell in cells]).encode()).hexdigest()


def _resolve_paths(values: dict) -> dict:
    """Make checkpoints, runs and `data` independent of the current folder, and hash what they name.

    Raises UserError when one does not exist. The bundled photographs (`demo`) belong to installed packages whose
    versions are part of the key. With both runs, checkpoints and data may be empty: they are optional.
    """
    hashes = {"checkpoint_sha256": None, "data_sha256": None}
    runs = {name: values[name] for name in RUNS if values.get(name)}
    for name, run in runs.items():
        file = results_file(run)
        values[name], hashes[f"{name}_sha256"] = str(Path(run).resolve()), sha256_file(file)
    for name in CHECKPOINTS:
        value = values.get(name)
        if isinstance(value, str) and (value or len(runs) < 2):
            weights = weights_file(value)
            if Path(value).resolve() in (weights, weights.parent):
                values[name] = str(weights.parent)  # a path, not a shipped name
            hashes[f"{name}_sha256"] = sha256_file(weights)
    for name in TRAININGS:
        if values.get(name) not in (None, "", "demo"):
            folder = Path(values[name]).resolve()
            files = [folder / part for part in (LOG, CARD, CONFIG) if (folder / part).is_file()]
            if not files:
                raise UserError(
                    f"Report parameter {name} is the folder of a training, with {LOG} or {CONFIG}; {folder} has none "
                    "of them. Name the --out of `slerlib train`."
                )
            values[name], text = str(folder), "".join(map(sha256_file, files))
            hashes[f"{name}_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    data = values.get("data")
    if isinstance(data, str) and data != "demo" and (data or len(runs) < 2):
        if not os.path.exists(data):
            raise UserError(f"Report parameter data is `demo` or an existing folder; got {data!r}. Check the path.")
        values["data"] = str(Path(data).resolve())
        hashes["data_sha256"] = sha256_of(data)
    return hashes


# --- the record


def first_record(plan: dict, out=None) -> dict:
    """run.json as it is before the notebook starts. out: folder of the runs, if it is not the usual one."""
    # as the file gives them back: a tuple becomes a list
    values, changed = json.loads(json.dumps([plan["parameters"], plan["changed"]]))
    origin = provenance.collect(seed=values.get("seed"), checkpoint=values.get("checkpoint") or None)
    if values.get("data"):
        origin["data"] = {"name": values["data"], "sha256": plan["hashes"]["data_sha256"]}
    return {
        "state": "running",
        "name": plan["name"],
        "key": plan["key"],
        "notebook": str(plan["source"]),
        "source_sha256": plan["source_sha256"],
        "parameters": values,
        "changed": changed,
        "hashes": plan["hashes"],
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "resume": _resume_command(plan, out),
        "process": {"host": socket.gethostname(), "pid": os.getpid()},
        "provenance": origin,
    }


def command_words(plan: dict) -> list[str]:
    """slerlib report NAME -p KEY VALUE ..., with the parameters that were asked for."""
    name = plan["name"] if available().get(plan["name"]) == plan["source"] else str(plan["source"])
    pairs = [("-p", key, str(plan["parameters"][key])) for key in plan["asked"]]
    return ["slerlib", "report", name, *(word for pair in pairs for word in pair)]


def _resume_command(plan: dict, out) -> str:
    """A command that works from any folder and without an active environment."""
    words = [sys.executable, "-m", *command_words(plan)]
    if out is not None:
        words += ["--out", str(Path(out).resolve())]
    return shlex.join([*words, "--resume"])
