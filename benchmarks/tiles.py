"""Tiles against the whole picture, in one run: largest and mean difference of a pixel, and time.

    python benchmarks/tiles.py [--checkpoint tiny] [--tiles 512 768] [--degradations haze rain] [--json tiles.json]

Two bundled photographs, enlarged to SIZE x SIZE, each with the degradations at severity 0.5. Values in 1/255.
"""

import argparse
import json
import time

import torch
from torch.nn import functional as F

import slerlib
from slerlib.data.scenes import photographs
from slerlib.inference.restore import restore_batch

KINDS = ("noise", "rain", "haze", "blur", "lowlight")
SCENES = ("retina", "astronaut")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--size", type=int, default=1536)
    parser.add_argument("--tiles", type=int, nargs="+", default=[512, 768])
    parser.add_argument("--degradations", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--json")
    args = parser.parse_args()
    net, rows = slerlib.load(args.checkpoint), []
    scenes = {scene.name: scene.image for scene in photographs()}
    print(f"{args.checkpoint}, {args.size} x {args.size} pixels; largest and mean difference to the whole, in 1/255")
    for name in SCENES:
        clean = F.interpolate(scenes[name][None], size=(args.size, args.size), mode="bicubic")[0].clamp(0, 1)
        for kind in args.degradations:
            x_BCHW = slerlib.degrade(clean, kind, severity=0.5, seed=1)[None]
            start = time.perf_counter()
            whole, _ = restore_batch(net, x_BCHW, tile=0)
            took = time.perf_counter() - start
            row = {"scene": name, "degradation": kind}
            for tile in args.tiles:
                start = time.perf_counter()
                difference = (restore_batch(net, x_BCHW, tile=tile)[0] - whole).abs() * 255
                ratio = (time.perf_counter() - start) / took
                row[f"tile {tile}"] = [round(v, 3) for v in (difference.max().item(), difference.mean().item(), ratio)]
            rows.append(row)
            shown = "   ".join(f"{k}: {v[0]:6.2f} {v[1]:.4f}  time x {v[2]:.2f}" for k, v in row.items() if "tile" in k)
            print(f"{name:10} {kind:9} {shown}", flush=True)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(
                {"checkpoint": args.checkpoint, "size": args.size, "torch": torch.__version__, "rows": rows}, file
            )


if __name__ == "__main__":
    main()
