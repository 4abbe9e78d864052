"""Several damages at once: how much would be gained if the network knew which they are?

    python benchmarks/labels_in_order.py tiny --data DIR [--images N] [--out TABLE.csv]

Each mixture of the setting `mixed` is restored three ways: in one pass; with passes="auto"; and along the path of each
of its damages, one pass each, what was added last taken away first. No user has the labels. The third column is a
comparison, not an upper limit: the path of a label is not always the best one. DIR holds clean photographs; of each
the central 256 x 256 pixels, severity 0.35. Means in dB with 95 % bootstrap intervals over photographs; `lacks` is the
third column minus the second, pair by pair.
"""

import argparse
from pathlib import Path

import pandas as pd

import slerlib
from slerlib.data.degrade import degradation_order
from slerlib.evaluation.cases import cases
from slerlib.evaluation.metrics import with_interval
from slerlib.files import write_atomic

WAYS = ("one pass", "passes", "labels")


def in_order(model: slerlib.SLERIR, image, task: str):
    """The picture after one pass for each damage of the task, along the path of its label."""
    for damage in reversed(degradation_order(task.split("+"))):
        path = model.router.label_paths(model.router.class_sets([damage]))
        image = slerlib.restore(model, image, path=path)
    return image


def scores(model: slerlib.SLERIR, root: str, images: int) -> pd.DataFrame:
    """A row for each photograph and mixture: PSNR of the input and of each way."""
    rows = []
    for case in cases(root, "mixed", images=images, crop="center256")[0]:
        x, clean = case.load()
        results = {
            "input": x,
            "one pass": slerlib.restore(model, x),
            "passes": slerlib.restore(model, x, passes="auto"),
            "labels": in_order(model, x, case.task),
        }
        psnr = {name: float(slerlib.psnr(image, clean)) for name, image in results.items()}
        rows.append({"task": case.task, "image": case.image, **psnr})
    return pd.DataFrame(rows)


def lines(table: pd.DataFrame) -> list[str]:
    """A Markdown row for each mixture, and one for the average, in which a photograph counts once."""
    parts = {task: part.set_index("image") for task, part in table.groupby("task", sort=False)}
    parts["all mixtures"] = table.groupby("image").mean(numeric_only=True)
    found = [f"| mixture | input PSNR | {' | '.join(WAYS)} | lacks |", "|---" * (len(WAYS) + 3) + "|"]
    for task, part in parts.items():
        cells = [with_interval(*slerlib.bootstrap_interval(part[way])) for way in WAYS]
        lacks = with_interval(*slerlib.bootstrap_interval(part.labels - part.passes), "+.2f")
        found.append(f"| {task} | {part.input.mean():.2f} | {' | '.join(cells)} | {lacks} |")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a checkpoint's name, or its folder")
    parser.add_argument("--data", required=True, help="folder of clean photographs")
    parser.add_argument("--images", type=int, default=0, help="the first N photographs; 0 = all")
    parser.add_argument("--out", type=Path, help="a table of all scores")
    asked = parser.parse_args()
    table = scores(slerlib.load(asked.checkpoint), asked.data, asked.images)
    print("\n".join(lines(table)))
    if asked.out:
        write_atomic(asked.out, table.to_csv(index=False))
