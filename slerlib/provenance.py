"""Where a number came from: code, versions, machine, seeds, hashes, time and memory.

    record = slerlib.provenance.collect(seed=0, checkpoint="data/checkpoints/tiny", data="demo")

Everything is plain JSON. Nothing here changes a result or fails a run: what cannot be found out is None.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime
from importlib import metadata
from pathlib import Path

from .checkpoint import weights_file
from .files import PACKAGE, clone_root, sha256_file, sha256_folder, sha256_of

VERSION = "0.1.0"  # of slerlib
#: Packages whose version can move a result: scores have changed with scikit-image and with Pillow's JPEG decoder.
SCORING_PACKAGES = ("torch", "numpy", "pillow", "scikit-image")
PACKAGES = (*SCORING_PACKAGES, "scipy", "scikit-learn", "pandas", "matplotlib", "seaborn", "umap-learn", "ipywidgets",
            "jupyterlab", "papermill", "nbconvert", "safetensors")  # fmt: skip

_STARTED = time.time()  # of this process, as far as slerlib is concerned


def git_state(root: Path | None = None) -> dict | None:
    """{"sha", "dirty"} of the clone, None outside one; `dirty` is a hash of its changes, None for a clean tree."""
    root = root or clone_root()
    if root is None or not (root / ".git").exists():
        return None
    sha = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "diff", "HEAD", "--no-ext-diff", "--binary") if sha else None
    if changes is None:  # no git on this machine, or no commit yet
        return None
    digest = hashlib.sha256(changes)
    new = (_git(root, "ls-files", "--others", "--exclude-standard", "-z") or b"").split(b"\0")
    for name in sorted(filter(None, new)):
        path = root / os.fsdecode(name)
        digest.update(name + b"\0" + (sha256_file(path).encode() if path.is_file() else b""))
    dirty = digest.hexdigest()[:16] if changes or any(new) else None
    return {"sha": sha.decode().strip(), "dirty": dirty}


def _git(root: Path, *args: str) -> bytes | None:
    command = ["git", "-C", str(root), *args]
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def versions(names: tuple[str, ...] = PACKAGES) -> dict[str, str | None]:
    """Versions by name: Python, slerlib and the installed packages, read from their metadata without importing them."""
    installed: dict[str, str | None] = {"python": platform.python_version(), "slerlib": VERSION}
    for name in names:
        installed[name] = None
        with suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def hardware() -> dict:
    """System, processor, usable cores, memory in GB, and the accelerators torch sees."""
    import psutil
    import torch

    chips = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    gpus = [{"name": chip.name, "memory_GB": round(chip.total_memory / 1e9, 1)} for chip in chips]
    if torch.backends.mps.is_available():
        gpus = [{"name": "Apple GPU (MPS)", "memory_GB": None}]
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_GB": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": gpus,
    }


def usable_cores() -> int:
    """Cores this process may run on, which a container or a batch system can set lower than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    with suppress(OSError):
        if names := re.findall(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.M):
            return names[0].strip()
    return platform.processor() or platform.machine()


def peak_memory_MB() -> int | None:
    """Largest resident memory of this process so far, in MB."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return round(psutil.Process().memory_info().peak_wset / 1e6)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6)


def collect(
    seed: int | None = None, checkpoint: str | os.PathLike | None = None, data: str | os.PathLike | None = None
) -> dict:
    """One JSON-ready record of this process.

    Arguments:
        seed: the seed of the run.
        checkpoint: a shipped name such as "tiny" or the folder of a training, recorded with the SHA-256 of its weights.
        data: "demo" for the bundled photographs, else a file or folder, recorded with its SHA-256.
    Returns: dict with git, code, versions, hardware, threads, dtype, seed, checkpoint, data, command, started (local
        time, ISO 8601), wall_seconds (since this module was imported) and peak_memory_MB.
    Raises: UserError for a checkpoint that does not exist.
    """
    import torch

    weights = None if checkpoint is None else weights_file(checkpoint)
    return {
        "git": git_state(),
        "code": sha256_folder(PACKAGE, "*.py"),
        "versions": versions(),
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "seed": seed,
        "checkpoint": weights and {"name": str(checkpoint), "sha256": sha256_file(weights)},
        "data": None if data is None else {"name": str(data), "sha256": sha256_of(data)},
        "command": " ".join(sys.argv),
        "started": datetime.fromtimestamp(_STARTED).astimezone().isoformat(timespec="seconds"),
        "wall_seconds": round(time.time() - _STARTED, 1),
        "peak_memory_MB": peak_memory_MB(),
    }
