"""Make reports/reference.json again, which new weights need.

    python reports/make_reference.py               all reports of `tiny`: 47 minutes on a busy core without AVX-512
    python reports/make_reference.py --quick       with two photographs alone, as in continuous integration: 3 minutes
    python reports/make_reference.py small --reports evaluation

The cells of each notebook run up to its finding, with five seeds and in this process: no page is made. The file is
written after every report. On a GPU its numbers stand beside those of the processor. Numbers of weights that are no
longer included are dropped.
"""

import argparse
import json
import time
from datetime import datetime

import matplotlib
import nbformat

from slerlib import report
from slerlib.checkpoint import weights_file
from slerlib.files import clone_root, read_json, sha256_file, write_atomic
from slerlib.report.plan import available, first_record, make_plans
from slerlib.report.reference import band, device, reference_file, weights

SEEDS = range(5)
APART = ("compare", "training")  # reports of two checkpoints, and of none: once
VALUES = ({}, {"images": 2})  # a report's own values, and those of continuous integration


class Found(Exception):
    """Ends a notebook at its finding."""


def numbers_of(plan: dict) -> dict[str, float]:
    """Run the cells of a report up to its finding, and return its numbers."""

    def caught(headline, sentence, figure, measured, numbers):
        raise Found(dict(numbers))

    space = {"display": lambda *args, **options: None, "__name__": "__main__"}
    before = report.finding, report.say
    report.finding, report.say = caught, lambda text: None
    try:
        for cell in nbformat.read(plan["source"], 4).cells:
            if cell.cell_type == "code":
                exec(cell.source, space)
                if "parameters" in cell.metadata.get("tags", []):
                    space.update(plan["parameters"])
    except Found as end:
        return end.args[0]
    finally:
        report.finding, report.say = before
    raise SystemExit(f"{plan['source'].name} has no finding")


def entry_of(name: str, checkpoint: str, values: dict) -> dict:
    """The numbers of a report by seed, and their bands. A training has bands alone: each processor trains otherwise."""
    chosen = values if name in APART else values | {"checkpoint": checkpoint}
    plans = [make_plans({name: available()[name]}, chosen | {"seed": seed})[0] for seed in SEEDS]
    rows = [numbers_of(plan) for plan in plans]
    record = first_record(plans[0])
    bands = {key: band(row[key] for row in rows) for key in rows[0] if all(abs(row[key]) < 1e9 for row in rows)}
    return {
        "report": name,
        "weights": weights(record),
        "changed": plans[0]["changed"],
        "device": device(record),
        "made": datetime.now().astimezone().isoformat(timespec="minutes"),
        "code": record["provenance"]["code"],
        "versions": record["provenance"]["versions"],
        "processor": record["provenance"]["hardware"]["processor"],
        "seeds": list(SEEDS),
        "values": {} if name == "training" else dict(zip(map(str, SEEDS), map(rounded, rows), strict=True)),
        "bands": {key: [round(end, 5) for end in ends] for key, ends in bands.items()},
    }


def rounded(row: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 5) for key, value in row.items() if abs(value) < 1e9}


def key_of(entry: dict) -> tuple:
    return entry["report"], entry["weights"], entry["changed"], entry["device"]


def _values(name: str, quick: bool) -> tuple[dict, ...]:
    """The values that a report is run with; the one about a training has no number of images."""
    return ({},) if name == "training" else VALUES[quick:]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", default=["tiny"], metavar="CHECKPOINT")
    parser.add_argument("--reports", nargs="+", choices=available(), default=list(available()), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="with two photographs alone")
    args = parser.parse_args()
    matplotlib.use("agg")
    file = reference_file()
    entries = read_json(file, "The reference", ["entries"])["entries"] if file.exists() else []
    included = [sha256_file(weights_file(path.name)) for path in (clone_root() / "data" / "checkpoints").iterdir()]
    entries = [entry for entry in entries if set(entry["weights"]) - {None} <= set(included)]
    wanted = [(name, checkpoint, values) for checkpoint in args.checkpoints for name in args.reports
              for values in _values(name, args.quick) if name not in APART or checkpoint == "tiny"]  # fmt: skip
    for name, checkpoint, values in wanted:
        begin = time.perf_counter()
        made = entry_of(name, checkpoint, values)
        entries = [entry for entry in entries if key_of(entry) != key_of(made)] + [made]
        write_atomic(file, json.dumps({"entries": entries}, indent=1) + "\n")
        took = time.perf_counter() - begin
        print(f"{name} of {checkpoint} {values}: {len(made['bands'])} numbers, {took:.0f} s", flush=True)
