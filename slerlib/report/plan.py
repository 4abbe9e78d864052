"""What a report is asked to do, settled before any kernel starts: notebooks, typed parameters, hashes, key."""

from __future__ import annotations

import ast
import hashlib
import json
import math
import os
from pathlib import Path

from .. import provenance
from ..checkpoint import weights_file
from ..errors import UserError
from ..evaluation.results import results_file
from ..files import PACKAGE, clone_root, sha256_file, sha256_folder, sha256_of

_KINDS = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict, "tuple": tuple}
CHECKPOINTS, RUNS = ("checkpoint", "against"), ("run_a", "run_b")  # parameters that are names or paths of such
_EXAMPLES = {
    "int": "2",
    "float": "0.5",
    "bool": "true",
    "list": "'[1, 2]'",
    "dict": "'{\"a\": 1}'",
    "tuple": "'(1, 2)'",
}


def notebooks_folder() -> Path:
    """The folder of the report notebooks: notebooks/ of the clone, or the copies inside the installed package."""
    root = clone_root()
    return root / "notebooks" if root else PACKAGE / "_notebooks"


def available() -> dict[str, Path]:
    """Report notebooks by name, e.g. {"evaluation": .../report_evaluation.ipynb}."""
    return {path.stem.removeprefix("report_"): path for path in sorted(notebooks_folder().glob("report_*.ipynb"))}


def find_sources(names: list) -> dict[str, Path]:
    """Notebooks by report name. Raises UserError for a name that is no report and no notebook."""
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
        raise UserError(f"No report_*.ipynb was found in {notebooks_folder()}. Give the path of a notebook instead.")
    return found


def declared(source: Path) -> dict[str, dict]:
    """Parameters in the cell tagged `parameters`, read without starting a kernel: name -> {"type", "default"}.

    The type is the annotated one, else that of the default. (papermill's own inspection drops a line whose comment has
    an equals sign.) Raises UserError for a file that is no notebook and for a default that is no plain value.
    """
    try:
        cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
        text = next((_text(cell) for cell in cells if "parameters" in cell["metadata"].get("tags", [])), "")
        statements = ast.parse(text).body
    except (OSError, ValueError, LookupError, TypeError, SyntaxError) as error:
        raise UserError(f"A report is a notebook with plain Python parameters; {source} is not ({error}).") from error
    found = {}
    for statement in statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name) and getattr(statement, "value", None) is not None:
                found[target.id] = _declaration(source, statement)
    return found


def _text(cell: dict) -> str:
    return "".join(cell["source"])


def _declaration(source: Path, statement: ast.Assign | ast.AnnAssign) -> dict:
    try:
        default = ast.literal_eval(statement.value)
    except ValueError:
        line = ast.unparse(statement)
        raise UserError(f"Report parameters are plain values; {source.name} has `{line}`. Write a literal.") from None
    annotation = ast.unparse(statement.annotation) if isinstance(statement, ast.AnnAssign) else ""
    kind = annotation.split("[")[0].strip()
    kind = kind if kind in _KINDS else type(default).__name__
    return {"type": kind if kind in _KINDS else "any", "default": default}


def make_plans(sources: dict[str, Path], given: dict) -> list[dict]:
    """Parameters, hashes and key of every notebook, settled before the first one starts."""
    known = {name: declared(source) for name, source in sources.items()}
    everything = {key: item["type"] for items in known.values() for key, item in items.items()}
    for key in given:
        if key not in everything:
            listed = ", ".join(f"{name} ({kind})" for name, kind in everything.items()) or "none"
            raise UserError(f"Unknown report parameter {key!r}. The parameters of {', '.join(sources)} are: {listed}.")
    code = sha256_folder(PACKAGE, "*.py")
    versions = provenance.versions(provenance.SCORING_PACKAGES)
    plans = []
    for name, source in sources.items():
        own = {key: value for key, value in given.items() if key in known[name]}
        values = {key: item["default"] for key, item in known[name].items()}
        values |= {key: _typed(key, value, known[name][key]["type"]) for key, value in own.items()}
        if values.get("run_a") and values.get("run_b"):  # nothing is scored: what was not asked for plays no part
            values |= {key: "" for key in (*CHECKPOINTS, "data") if key in values and key not in own}
        hashes = _resolve_paths(values) | {"source_sha256": _source_hash(source)}
        key = hashlib.sha256(json.dumps([values, hashes, code, versions], sort_keys=True).encode()).hexdigest()[:8]
        plans.append({"name": name, "source": source, "given": own, "parameters": values, "key": key, **hashes})
    return plans


def _source_hash(source: Path) -> str:
    """Hash of the cells' sources: outputs and editor metadata do not make another notebook."""
    cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
    sources = [[cell["cell_type"], _text(cell)] for cell in cells]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def _typed(key: str, value, kind: str):
    """Turn text into the declared type; refuse what does not fit."""
    example = _EXAMPLES.get(kind, "value")
    refuse = UserError(f"Report parameter {key} has the type {kind}; got {value!r}. Example: -p {key} {example}")
    if kind == "str":
        if not isinstance(value, (str, os.PathLike)):
            raise refuse
        return str(value)
    if isinstance(value, str):
        if kind == "bool":
            value = {"true": True, "false": False}.get(value.lower(), value)
        else:
            try:
                value = ast.literal_eval(value)
            except (ValueError, SyntaxError):
                if kind != "any":  # a parameter without a type takes text as it is
                    raise refuse from None
    if kind == "any":
        return value
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not _KINDS[kind] or (kind == "float" and not math.isfinite(value)):
        raise refuse
    return value


def _resolve_paths(values: dict) -> dict:
    """Make checkpoints, runs and `data` independent of the current folder, and hash what they name.

    Raises UserError when one does not exist. The bundled photographs (`demo`) belong to installed packages whose
    versions are part of the key. Where both runs are given, checkpoints and data may be empty: looked for, not needed.
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
            if weights.parent == Path(value).resolve() or weights == Path(value).resolve():
                values[name] = str(weights.parent)  # a path, not a shipped name
            hashes[f"{name}_sha256"] = sha256_file(weights)
    data = values.get("data")
    if isinstance(data, str) and data != "demo" and (data or len(runs) < 2):
        if not os.path.exists(data):
            raise UserError(f"Report parameter data is `demo` or an existing folder; got {data!r}. Check the path.")
        values["data"] = str(Path(data).resolve())
        hashes["data_sha256"] = sha256_of(data)
    return hashes
