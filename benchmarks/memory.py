"""Memory and time of `slerlib restore` on large pictures, each in a fresh process, with all tiles through the network.

    python benchmarks/memory.py [--checkpoint tiny] [--megapixels 1 2 5 10 20 50 100 400] [--format png] [--folder DIR]
                                [--json memory.json] [--draw docs/images/memory.png]

Linux alone: the peak is VmHWM of the process, the largest resident size since its start. Time is processor time, since
other work on the machine makes the time on the clock longer. A row is written as soon as it is measured, and sizes that
the file has already are not measured again. The picture is the bundled photograph `coffee`, mirrored, with noise.
`--megapixels` without sizes draws what the file has.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

GOALS = {100: 2, 400: 3}  # megapixels -> GB

MAKE = """import sys
import numpy as np
from PIL import Image
from slerlib.data.scenes import photographs
tile = (photographs()[1].image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
tile = np.concatenate([tile, tile[:, ::-1]], axis=1)
tile = np.concatenate([tile, tile[::-1]])
side = int(sys.argv[2])
picture, rng = np.empty((side, side, 3), np.uint8), np.random.default_rng(0)
for top in range(0, side, len(tile)):
    rows = np.tile(tile, (1, -(-side // tile.shape[1]), 1))[: side - top, :side]
    noise = rng.integers(-40, 41, (64, *rows.shape[1:]), np.int16)
    for n in range(0, len(rows), 64):
        part = rows[n : n + 64]
        picture[top + n : top + n + len(part)] = np.clip(part + noise[: len(part)], 0, 255)
Image.MAX_IMAGE_PIXELS = None
options = {"compress_level": 1} if sys.argv[1].endswith("png") else {"quality": 95}
Image.fromarray(picture).save(sys.argv[1], **options)
"""
RUN = """import json, re, resource, sys
import torch
from slerlib.cli import main
torch.set_num_threads(1)
code = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
print(json.dumps({"code": code, "peak_GiB": peak / 2**20, "seconds": used.ru_utime + used.ru_stime}))
"""


def measured(checkpoint: str, megapixels: float, kind: str, folder: str | None) -> dict:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        source, side = f"{place}/picture.{kind}", round((megapixels * 1e6) ** 0.5)
        subprocess.run([sys.executable, "-c", MAKE, source, str(side)], check=True)
        command = ["restore", source, f"{place}/restored.{kind}", "--checkpoint", checkpoint]
        out = subprocess.run([sys.executable, "-c", RUN, *command], check=True, capture_output=True, text=True).stdout
        row = json.loads(out.splitlines()[-1])
        size = Path(source).stat().st_size / 2**20
    if row.pop("code"):
        raise SystemExit(out)
    return {"checkpoint": checkpoint, "format": kind, "megapixels": megapixels, "side": side, "file_MiB": size} | row


def draw(rows: list[dict], path: Path) -> None:
    """Two panels over megapixels: largest resident size, and processor seconds."""
    from matplotlib.figure import Figure

    from slerlib.plots import style

    @style.styled
    def figure() -> Figure:
        fig = Figure((style.WIDTH, 3.1), dpi=style.DPI, layout="constrained")
        panels = zip(fig.subplots(1, 2), (("peak_GiB", "GiB"), ("seconds", "s of processor time")), strict=True)
        for ax, (key, unit) in panels:
            x, y = ([row[name] for row in rows] for name in ("megapixels", key))
            ax.plot(x, y, "o-", color=style.BLUE)
            ax.set(xscale="log", xlabel="megapixels", ylabel=unit)
            ax.set_xticks(x, [f"{value:g}" for value in x])
            ax.minorticks_off()
        goals = {mp: GB * 1e9 / 2**30 for mp, GB in GOALS.items()}
        fig.axes[0].plot(*zip(*goals.items(), strict=True), "v", color=style.VERMILLION, label="goal: below")
        fig.axes[0].legend(loc="upper left", frameon=False)
        top = max(*goals.values(), *(row["peak_GiB"] for row in rows))
        fig.axes[0].set(title="Largest resident size", ylim=(0, 1.1 * top))
        fig.axes[1].set(title="Time", yscale="log")
        ticks = [n * 10**k for k in range(4) for n in (1, 2, 5)]
        seconds = [row["seconds"] for row in rows]
        ticks = [tick for tick in ticks if min(seconds) / 2 <= tick <= 2 * max(seconds)]
        fig.axes[1].set_yticks(ticks, [str(tick) for tick in ticks])
        fig.axes[1].minorticks_off()
        words = "; ".join(f"{r['megapixels']:g} MP {r['peak_GiB']:.2f} GiB, {r['seconds']:.0f} s" for r in rows)
        return style.finished(fig, f"Memory and processor time of restoring with {rows[0]['checkpoint']}: {words}.")

    fig = figure()
    fig.savefig(path)
    print(f"![{fig.alt_text}](images/{path.name})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--megapixels", type=float, nargs="*", default=[1, 2, 5, 10, 20, 50, 100, 400])
    parser.add_argument("--format", default="png", choices=("png", "jpg"))
    parser.add_argument("--folder")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--draw", type=Path)
    args = parser.parse_args()
    rows = json.loads(args.json.read_text()) if args.json and args.json.exists() else []
    for megapixels in args.megapixels:
        asked = (args.checkpoint, args.format, megapixels)
        if any((row["checkpoint"], row["format"], row["megapixels"]) == asked for row in rows):
            continue
        row = measured(args.checkpoint, megapixels, args.format, args.folder)
        rows.append(row)
        print(f"{megapixels:g} MP: {row['peak_GiB']:.2f} GiB, {row['seconds']:.1f} s of processor time", flush=True)
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1))
    if args.draw:
        drawn = [row for row in rows if (row["checkpoint"], row["format"]) == (args.checkpoint, args.format)]
        draw(sorted(drawn, key=lambda row: row["megapixels"]), args.draw)


if __name__ == "__main__":
    main()
