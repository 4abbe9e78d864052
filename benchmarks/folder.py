"""A folder with and without reading ahead and writing behind (inference/ahead.py), in alternating runs of one process.

    python benchmarks/folder.py [--checkpoint tiny] [--pictures 6] [--side 768] [--pairs 3] [--json folder.json]

Two cases: the network as it is; and a network that leaves the processor alone for as long as reading and writing take
together, as a GPU does: the most that overlap can gain. Clock time, so other work on the machine counts.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path
from unittest import mock

import torch

import slerlib
from slerlib.data.scenes import photographs
from slerlib.images import read_image, write_image
from slerlib.inference import ahead, folders
from slerlib.inference import restore as restoring


class AtOnce:
    """An executor that does everything when it is asked: one picture after the other."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, *args) -> Future:
        end = Future()
        try:
            end.set_result(function(*args))
        except Exception as error:
            end.set_exception(error)
        return end


def seconds(source: Path, checkpoint: str, overlap: bool, wait: float | None) -> float:
    with contextlib.ExitStack() as stack:
        target = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "out"
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        if not overlap:
            for module in (ahead, folders):
                stack.enter_context(mock.patch.object(module, "ThreadPoolExecutor", AtOnce))
        if wait is not None:
            trace = slerlib.restore(slerlib.load(checkpoint, "cpu"), torch.rand(3, 16, 16), return_trace=True)[1]

            def network(model, x_BCHW, **_):
                time.sleep(wait)
                return x_BCHW, trace

            stack.enter_context(mock.patch.object(restoring, "restore_batch", network))
        start = time.perf_counter()
        assert folders.restore_files(source, target, checkpoint) == 0
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--side", type=int, default=768)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scene = max(photographs(), key=lambda one: min(one.image.shape[1:])).image[:, : args.side, : args.side]
        for n in range(args.pictures):
            path = Path(folder, f"{n}.png")
            write_image(path, slerlib.degrade(scene, "noise", sigma=25, seed=n))
        start = time.perf_counter()
        write_image(Path(folder, "0.png"), read_image(Path(folder, "0.png"))[0])
        both = time.perf_counter() - start
        for case, wait in (("the network on the processor", None), ("the processor left alone", both)):
            runs = [[seconds(Path(folder), args.checkpoint, overlap, wait) for overlap in (False, True)]
                    for _ in range(args.pairs)]  # fmt: skip
            ratios = sorted(one / two for one, two in runs)
            row = {
                "case": case,
                "alone_s": statistics.median(run[0] for run in runs),
                "ratio": statistics.median(ratios),
            }
            row |= {"lowest": ratios[0], "highest": ratios[-1], "pictures": args.pictures, "side": args.side}
            rows.append(row | {"processors": len(os.sched_getaffinity(0))})
            span = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
            print(
                f"{case}: {row['alone_s']:.2f} s one after the other, {row['ratio']:.2f} times as fast ({span})",
                flush=True,
            )
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
