"""Is a result what it should be? The numbers of a run beside those that we measured with the same weights.

reports/reference.json has, for each report and each set of weights (by SHA-256), the band of every number: around the
middle of five seeds, three times as wide as these lie apart; ROUNDING to either side where the seed changes next to
nothing. `python reports/make_reference.py` makes the file again, which new weights need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ..errors import UserError
from ..files import PACKAGE, clone_root, read_json
from ..provenance import SCORING_PACKAGES
from .frame import listed

ROUNDING = 0.01  # of numbers that no seed changes: another processor rounds otherwise
WIDTH = 3  # of a band, in units of highest minus lowest
AGREES, DIFFERS, NONE = "agrees", "differs", "none"


def reference_file() -> Path:
    """reports/reference.json of the clone, or its copy inside the installed package."""
    root = clone_root()
    return root / "reports" / "reference.json" if root else PACKAGE / "_reference.json"


def band(values: Iterable[float]) -> tuple[float, float]:
    """(lowest, highest) value that agrees with the values of several seeds."""
    values = list(values)
    middle, half = (max(values) + min(values)) / 2, WIDTH / 2 * (max(values) - min(values))
    half = max(half, ROUNDING)
    return middle - half, middle + half


def device(record: Mapping) -> str:
    """What a run computed on, in one word: cpu or cuda or mps."""
    gpus = (record["provenance"].get("hardware") or {}).get("gpus") or []
    return "cpu" if not gpus else "mps" if "Apple" in str(gpus[0].get("name")) else "cuda"


def weights(record: Mapping) -> list[str | None]:
    """SHA-256 of the weights that a run used, in the order of its parameters."""
    return [record.get("hashes", {}).get(f"{name}_sha256") for name in ("checkpoint", "against")]


def judge(record: Mapping, numbers: Mapping[str, float], entries: list[dict] | None = None) -> dict:
    """Compare the numbers of a finished run with the reference.

    record: of the run: name, hashes, changed (parameters with another value than the notebook's own) and provenance.
    numbers: of its finding. entries: of reference.json; left out, those of the file.
    Returns: {"verdict": "agrees", "differs" or "none", "why": a sentence, "outside": {name: [value, low, high]}}.
    """
    entries = _entries() if entries is None else entries
    same = [entry for entry in entries if entry["report"] == record["name"] and entry["weights"] == weights(record)]
    if not same:
        return {"verdict": NONE, "why": "There is no reference for this checkpoint.", "outside": {}}
    have = sorted({listed(entry["changed"]) if entry["changed"] else "its own values" for entry in same})
    same = [entry for entry in same if entry["changed"] == record.get("changed")]
    if not same:
        why = f"There is no reference for these parameters. This report has one for: {'; '.join(have)}."
        return {"verdict": NONE, "why": why, "outside": {}}
    same.sort(key=lambda entry: entry["device"] != device(record))
    entry = same[0]
    outside = {name: [numbers.get(name), low, high] for name, (low, high) in entry["bands"].items()
               if name not in numbers or not low <= numbers[name] <= high}  # fmt: skip
    where = f"the reference of {entry['made'][:10]}, made on {entry['device']}"
    if not outside:
        return {"verdict": AGREES, "why": f"All {len(entry['bands'])} numbers agree with {where}.", "outside": {}}
    why = f"{len(outside)} of {len(entry['bands'])} numbers differ from {where}. {_cause(outside, entry, record)}"
    return {"verdict": DIFFERS, "why": why, "outside": outside}


def _entries() -> list[dict]:
    with suppress(UserError):
        return list(read_json(reference_file(), "The reference", ["entries"])["entries"])
    return []


#: First part of a number's name -> what it speaks for. The first kind that is outside is the likely cause: each kind
#: rests on those before it.
CAUSES = {
    "input": "The degraded pictures are others: look at the photographs, the degradations and their packages.",
    "sphere": "The places on the sphere are others: look at the encoder and at the anchors.",
    "routes": "The places on the sphere agree, but not the routes: look at the router and its pins.",
    "result": "Pictures, places and routes agree, but not the results: look at the experts and the backbone.",
}


def _cause(outside: Mapping, entry: Mapping, record: Mapping) -> str:
    """The likely cause of numbers outside their bands, in words."""
    kinds = [name.partition(" ")[0] for name in outside]
    parts = [next((text for kind, text in CAUSES.items() if kind in kinds), "")]
    origin, then = record["provenance"], entry["versions"]
    moved = [f"{name} {then.get(name)} then, {origin['versions'].get(name)} now" for name in SCORING_PACKAGES
             if then.get(name) != origin["versions"].get(name)]  # fmt: skip
    parts += [f"Packages that can change a score differ: {'; '.join(moved)}."] if moved else []
    if entry["device"] != device(record):
        parts.append(f"This run was on {device(record)}.")
    parts += ["The code of slerlib has changed since."] if origin.get("code") != entry["code"] else []
    return " ".join(filter(None, parts))
