"""Is a result what it should be? The numbers of a run beside those that we measured with the same weights.

reports/reference.json has, for each report and each set of weights (by SHA-256), the numbers of some seeds and bands:
around the middle of five seeds, three times as wide as these lie apart, at least ROUNDING to either side. A run with a
seed of the file, on the same kind of device, has the very same pictures: its numbers must be those of that seed, up to
SAME. Any other run must lie in the bands. No band holds the score of the input: where the reference gains, a result
that is no better than what went in cannot agree; where it does not gain clearly, nothing is concluded.
`python reports/make_reference.py` makes the file again, which new weights need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import UserError
from ..files import PACKAGE, clone_root, read_json
from ..provenance import SCORING_PACKAGES
from .frame import listed
from .words import label

ROUNDING = 0.01  # of numbers that no seed changes: another processor rounds otherwise
#: How far a number may be from that of the same seed, by its name or the first part of it: another processor may send a
#: picture whose experts are almost equally near along another path.
SAME = {"input": 0.01, "sphere": 0.02, "routes": 0.02, "routes different": 1, "result": 0.05}
EQUAL = 0.1  # dB; a result closer to its input than this is as good as the input
UNSURE = 0.5  # dB; where the gain of the reference is less than this, another seed may turn it into a loss
WIDE = 1.0  # dB; wider bands are named
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

    record: of the run: name, hashes, parameters, changed (those that are not the notebook's own), provenance.
    numbers: of its finding. entries: of reference.json; left out, those of the file.
    Returns: {"verdict": "agrees", "differs" or "none", "why": a sentence, "bands": {name: [value, low, high]} of every
    number that the reference has, "outside": names of those outside, "untold": names of those too near to the score of
    their input to tell}.
    A missing value is None.
    """
    entries = _entries() if entries is None else entries
    same = [entry for entry in entries if entry["report"] == record["name"] and entry["weights"] == weights(record)]
    if not same:
        return _none("There is no reference for this checkpoint.")
    have = sorted({listed(entry["changed"]) if entry["changed"] else "its own values" for entry in same})
    same = [entry for entry in same if entry["changed"] == record.get("changed")]
    if not same:
        return _none(f"There is no reference for these parameters. This report has one for: {'; '.join(have)}.")
    same.sort(key=lambda entry: entry["device"] != device(record))
    entry = same[0]
    seed = record.get("parameters", {}).get("seed")
    values = entry.get("values", {}).get(str(seed), {}) if entry["device"] == device(record) else {}
    rows, untold = {}, []
    for name, ends in entry["bands"].items():
        low, high = _around(name, values[name]) if name in values else ends
        start = numbers.get(_input_of(name))
        if start is not None:
            before = start if name in values else _middle(entry["bands"].get(_input_of(name), [start]))
            gain, least = _middle([low, high]) - before, EQUAL if name in values else UNSURE
            if abs(gain) <= least or (gain < 0 and high > start - EQUAL):
                untold.append(name)  # worse than the input in the reference, and maybe better than it in another run
            elif gain > 0:
                low = max(low, start + EQUAL)
        rows[name] = [numbers.get(name), low, high]
    judged = {name: row for name, row in rows.items() if name not in untold}
    outside = [name for name, (value, low, high) in judged.items() if value is None or not low <= value <= high]
    kind = f"the values of seed {seed}" if values else f"the bands of {len(entry['seeds'])} seeds"
    where = f"{kind} in the reference of {entry['made'][:10]}, made on {entry['device']}"
    why = f"All {len(judged)} numbers agree with {where}."
    wide = max((high - low for name, (_, low, high) in judged.items() if name.startswith("result ")), default=0.0)
    wide = (
        ""
        if values or wide < WIDE
        else f" The bands are up to {wide:.1f} dB wide: this finds a broken run, not a small fault."
    )
    if outside:
        why = f"{len(outside)} of {len(judged)} numbers differ from {where}. {_cause(outside, entry, record)}"
    why += wide
    if untold:
        names = ", ".join(map(label, untold))
        why += f" Cannot tell: {names}; the reference itself is no better than the input there."
    return {"verdict": DIFFERS if outside else AGREES, "why": why, "bands": rows, "outside": outside, "untold": untold}


def _none(why: str) -> dict:
    return {"verdict": NONE, "why": why, "bands": {}, "outside": [], "untold": []}


def _around(name: str, value: float) -> tuple[float, float]:
    """(lowest, highest) value that agrees with that of the same seed."""
    room = SAME.get(name, SAME.get(name.partition(" ")[0], ROUNDING))
    return value - room, value + room


def _input_of(name: str) -> str:
    """Name of the score of the input of "result rain" or "result rain of A"; a difference "B - A" has no such score."""
    kind, _, rest = name.partition(" ")
    return f"input {rest.removesuffix(' of A').removesuffix(' of B')}" if kind == "result" else ""


def _middle(ends: Sequence[float]) -> float:
    return (min(ends) + max(ends)) / 2


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


def _cause(outside: Iterable[str], entry: Mapping, record: Mapping) -> str:
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
