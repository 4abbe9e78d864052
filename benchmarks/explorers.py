"""How long from a key on a slider to the new picture on the screen, in JupyterLab and headless Chromium.

    python benchmarks/explorers.py --keys 40 --rounds 3 --out explorers.json

Needs Chromium. For each explorer a cell is run on the photograph `cat` (256 x 256 pixels) with the shipped weights, its
slider gets the focus and arrow keys, one after the other. The clock of the browser starts with the key and stops when
the pictures of the answer are decoded. Beside it the parts of one answer in this process: damage, network, JPEG files.
Numbers hold for the machine and its load, which are printed; other work on it makes them longer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import torch

import slerlib
from slerlib.data.scenes import photographs
from slerlib.evaluation.cases import centre
from slerlib.files import write_atomic
from slerlib.widgets.frames import jpeg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import jupyter  # noqa: E402 - helpers of the browser tests

CALLS = {
    "degrade_and_restore": "widgets.degrade_and_restore(model, cat)",
    "paint": "widgets.paint(model, cat)",
    "globe": "widgets.globe(model, cat)",
    "damage": "widgets.damage(cat)",
    "same_psnr": "widgets.same_psnr(cat)",
    "walk": "widgets.walk(model)",
}
SETUP = """import slerlib
from slerlib import widgets
from slerlib.data.scenes import photographs
model, cat = slerlib.load("tiny"), photographs()[2].image"""
# One clock for each explorer, whatever the number of rounds: a second one would count every picture twice.
CLOCK = """(() => {{ const view = {view}, handle = {handle}; handle.focus();
  if (view.times) return true;
  view.times = [];
  handle.addEventListener("keydown", () => {{ view.begun = performance.now(); }}, true);
  new MutationObserver(() => view.times.push(performance.now() - view.begun))
    .observe(view, {{attributes: true, attributeFilter: ["data-frame"]}}); return true; }})()"""


def summary(times: list[float]) -> dict[str, float]:
    """Median and 95th percentile in ms."""
    ordered = sorted(times)
    return {"median": statistics.median(ordered), "p95": ordered[round(0.95 * (len(ordered) - 1))], "n": len(ordered)}


def on_the_screen(page: jupyter.Notebook, name: str, keys: int) -> dict[str, float]:
    view, handle = page.find(name, ".slerlib-live"), page.find(name, ".noUi-handle")
    page.until(f"{view}?.dataset.frame >= 1")
    page.evaluate(f"{handle}.scrollIntoView()")
    page.evaluate(CLOCK.format(view=view, handle=handle))
    earlier = page.evaluate(f"{view}.times.length")
    for number in range(earlier, earlier + keys):
        # to and fro from where the last round ended: at an end of the slider a key changes nothing, no picture comes
        page.key("ArrowRight" if number // 8 % 2 == 0 else "ArrowLeft")
        page.until(f"{view}.times.length > {number}")
        time.sleep(0.05)
    return summary(page.evaluate(f"{view}.times.slice({earlier})"))


def parts(times: int = 20) -> dict[str, dict[str, float]]:
    """Parts of one look of degrade_and_restore, on one thread."""
    torch.set_num_threads(1)
    model, clean = slerlib.load("tiny"), centre(photographs()[2].image, 256)
    rainy = slerlib.degrade(clean, "rain", 0.5, 0)
    work = {
        "degrade": lambda: slerlib.degrade(clean, "rain", 0.5, 0),
        "network": lambda: slerlib.restore(model, rainy, return_trace=True),
        "three JPEG files": lambda: [jpeg(rainy) for _ in range(3)],
    }
    result = {}
    for name, do in work.items():
        do()
        spans = []
        for _ in range(times):
            begun = time.perf_counter()
            do()
            spans.append(1e3 * (time.perf_counter() - begun))
        result[name] = summary(spans)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=40, help="keys for each explorer and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON with all numbers")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cells = [nbformat.v4.new_code_cell(SETUP, id="setup")]
    cells += [nbformat.v4.new_code_cell(call, id=name.replace("_", "-")) for name, call in CALLS.items()]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book, rounds = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec}), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with jupyter.lab(folder) as address, jupyter.Notebook(address, folder, book) as page:
            page.run()
            for _ in range(args.rounds):
                load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
                seen = {name: on_the_screen(page, name.replace("_", "-"), args.keys) for name in CALLS}
                rounds.append({"load": load, "ms": seen})
                print(f"load {load:.1f}" if load is not None else "", end=": ")
                print("; ".join(f"{name} {ms['median']:.0f} (p95 {ms['p95']:.0f})" for name, ms in seen.items()))
    inside = parts()
    print("; ".join(f"{name} {ms['median']:.1f} ms (p95 {ms['p95']:.1f})" for name, ms in inside.items()))
    if args.out:
        write_atomic(args.out, json.dumps({"rounds": rounds, "parts": inside}, indent=1).encode())


if __name__ == "__main__":
    main()
