"""Measure when a route of a checkpoint is doubtful, and keep the limits in its card.

    python benchmarks/doubt.py data/checkpoints/tiny --photos DIR --pairs ROOT

The bundled photographs always count; DIR is a folder of more clean photographs, ROOT holds test sets of real pairs. The
training should have seen none of them. About three minutes of one processor core for 50 photographs and 200 pairs.
`slerlib/analysis/doubt.py` says how the limits are made. Weights stay as they are; new weights need new limits.
"""

import argparse
import json
from pathlib import Path

import slerlib
from slerlib.analysis.doubt import limits_for_card
from slerlib.checkpoint import CARD, find, read_card
from slerlib.files import write_atomic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT")
    parser.add_argument("--photos", nargs="*", default=[], help="folders of clean photographs kept from training")
    parser.add_argument("--pairs", default="", help="root of test sets of real pairs")
    args = parser.parse_args()
    for name in args.checkpoints:
        folder, model = find(name), slerlib.load(name)
        part = limits_for_card(model, args.photos, args.pairs)
        card = read_card(folder) | {"doubt": part}
        write_atomic(Path(folder) / CARD, json.dumps(card, indent=2) + "\n")
        print(name, json.dumps(part, indent=2))


if __name__ == "__main__":
    main()
