"""What a worker does with a cell: a process of its own, which ends with the worker and leaves a log.

    python -m slerlib.grid.work PARENT MODULE ARGUMENT ...       that process

A report that runs out of memory, or a training that crashes, then takes nothing else with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from ..files import PACKAGE, write_atomic

_running: set[subprocess.Popen] = set()
_lock = threading.Lock()


def work(name: str, words: tuple[str, ...], folder: str, environment: dict[str, str]) -> dict:
    """Run a cell on this machine; returns code (negative: killed by that signal), seconds, worker and the last words.

    folder: for logs and for `NAME.json`, which says where the cell runs; every machine must see it under this name.
    """
    place, begun = Path(folder), time.time()
    worker = f"{socket.gethostname()}:{os.getpid()}"
    write_atomic(place / f"{name}.json", json.dumps({"worker": worker, "begun": begun}))
    command = [sys.executable, "-m", "slerlib.grid.work", str(os.getpid()), *words]
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    env = os.environ | environment | {"PYTHONPATH": path}
    with open(place / f"{name}.log", "ab") as log:
        log.write(f"--- {worker}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        log.flush()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        with _lock:
            _running.add(process)
        try:
            code = process.wait()
        finally:
            _end(process)
    return {"code": code, "seconds": time.time() - begun, "worker": worker, "why": _last_words(place / f"{name}.log")}


def stop_all() -> None:
    """End the processes of all cells that this process runs."""
    with _lock:
        processes = list(_running)
    for process in processes:
        _end(process)


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)  # a report writes its page
    if process.poll() is None:
        process.kill()
        process.wait()
    with _lock:
        _running.discard(process)


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n--- ")[-1].splitlines()[1:]
    return " ".join(line.strip() for line in lines if line.strip())[-400:] if lines else ""


def _end_with(parent: int) -> None:
    """Ask Linux to end this process when its parent ends, however that ends; elsewhere it goes on to its own end."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before
        raise SystemExit("The worker of this cell is gone.")


if __name__ == "__main__":
    _end_with(int(sys.argv[1]))
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
