"""`slerlib doctor`: what runs here and why; the first fault found comes with its fix."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from ..checkpoint import weights_file
from ..errors import UserError

#: Import name by package name, where they differ.
_IMPORTS = {"pillow": "PIL", "scikit-image": "skimage", "scikit-learn": "sklearn", "umap-learn": "umap"}
_INSTALL = "Run `make report` once in the clone, or: pip install -e . -c constraints.txt"


def examine(checkpoint: str = "tiny", say=print) -> int:
    """Check the set-up line by line; returns 0, or 1 when something needs fixing.

    Arguments:
        checkpoint: shipped name or path of the checkpoint to try.
        say: called with each line.
    """
    checks = {
        "python": _python, "torch": _torch, "device": _device, "dtype": _dtype, "threads": _threads,
        "packages": _packages, "checkpoint": lambda: _checkpoint(checkpoint), "restore": lambda: _example(checkpoint),
        "fastest": lambda: _fastest(checkpoint),
        "largest": lambda: _largest(checkpoint),
        "disk": _disk,
    }  # fmt: skip
    faults = []
    for name, check in checks.items():
        try:
            say(f"{name:<11} {check()}")
        except Exception as error:  # a broken library is named and does not end the examination
            faults.append(str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error} {_INSTALL}")
            say(f"{name:<11} FAULT  {faults[-1]}")
    count = f"{len(faults)} of the checks above failed; fix the first one first: "
    say(f"\n{count}{faults[0]}" if faults else "\nEverything works.")
    return 1 if faults else 0


def _python() -> str:
    return f"{sys.version.split()[0]} at {sys.executable}"


def _torch() -> str:
    import torch

    cuda, hip = torch.version.cuda, torch.version.hip
    return f"{torch.__version__} ({f'CUDA {cuda}' if cuda else f'ROCm {hip}' if hip else 'CPU build'})"


def _device() -> str:
    import torch

    from ..inference.load import best_device

    device = best_device()
    if device == "cuda":
        one = torch.cuda.get_device_properties(0)
        return f"cuda: {one.name}, {one.total_memory / 1e9:.0f} GB, and torch can use it"
    if device == "mps":
        return "mps: the GPU of this Mac, and torch can use it"
    if torch.version.cuda:
        return "cpu: this torch has CUDA, but it finds no NVIDIA GPU with a working driver (see nvidia-smi)"
    if shutil.which("nvidia-smi"):
        return "cpu: there is an NVIDIA driver, but torch is a CPU build; make report TORCH=<index URL> brings another"
    return "cpu: no GPU that torch can use; everything runs, training takes longer"


def _dtype() -> str:
    import torch

    from ..inference.load import best_device
    from ..train.precision import choose_precision

    dtype, reason = choose_precision("auto", torch.device(best_device()))
    return f"float32 to restore; {str(dtype).removeprefix('torch.')} to train ({reason})"


def _threads() -> str:
    import torch

    from ..provenance import usable_cores

    cores, chosen = usable_cores(), os.environ.get("OMP_NUM_THREADS")
    reason = f"OMP_NUM_THREADS={chosen} is set" if chosen else "torch's choice; set OMP_NUM_THREADS to change it"
    return f"{torch.get_num_threads()} of {cores} usable cores: {reason}"


def _packages() -> str:
    from importlib.util import find_spec

    from ..provenance import PACKAGES, versions

    missing = [name for name in PACKAGES if find_spec(_IMPORTS.get(name, name)) is None]
    if missing:
        raise UserError(f"Every package of pyproject.toml must be installed; missing: {', '.join(missing)}. {_INSTALL}")
    return ", ".join(f"{name} {version}" for name, version in versions(PACKAGES).items() if name in PACKAGES)


def _checkpoint(name: str) -> str:
    from ..checkpoint import load_net

    net, card = load_net(name)  # verifies the hash that the card states
    weights = weights_file(name)
    count = sum(parameter.numel() for parameter in net.parameters())
    size = f"{count / 1e6:.2f} M parameters, {weights.stat().st_size / 1e6:.1f} MB"
    return f"{name}: {weights.parent}, {size}, sha256 as its card states"


def _example(name: str) -> str:
    from ..data.scenes import photographs
    from ..inference.load import load
    from ..inference.restore import restore

    scene = photographs()[0]
    x_CHW = scene.image[:, :256, :256]
    model = load(name)
    begin = time.perf_counter()
    _, trace = restore(model, x_CHW, return_trace=True)
    took = time.perf_counter() - begin
    return f"256 x 256 pixels of the bundled `{scene.name}` in {took:.2f} s, experts {trace.path_strings()[0]}"


def _fastest(name: str) -> str:
    from ..inference.load import load
    from ..inference.threads import fastest_threads

    count, _, reason = fastest_threads(load(name))
    return f"--threads {count} ({reason})"


def _largest(name: str) -> str:
    from PIL import Image

    from ..inference.load import load
    from ..inference.memory import free_memory, largest
    from ..inference.restore import AUTO_TILE

    pixels, jpeg, limit = largest(load(name), AUTO_TILE, Path.cwd())
    free, other = free_memory() / 1e9, min(jpeg, 2 * Image.MAX_IMAGE_PIXELS)
    return (
        f"{pixels / 1e6:,.0f} megapixels of plain PNG or TIFF, by the {limit} ({free:.1f} GB of memory are free); "
        f"{jpeg / 1e6:,.0f} of JPEG and {other / 1e6:,.0f} of others with 8 bits, which are decoded as a whole"
    )


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free < 0.5:
        raise UserError(
            f"Reports and trainings need at least 0.5 GB of disk; {Path.cwd()} has {free:.1f} GB free. Make some room."
        )
    return f"{free:.0f} GB free here"
