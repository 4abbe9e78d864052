"""Execute one notebook through papermill and tell the truth about how it ended.

papermill alone cannot: a kernel killed by a signal (out of memory, say) leaves a notebook whose cells all read `completed`. Here the
kernel process itself is watched, its exit code and memory are kept, and the saved notebook is corrected.

Import this module inside functions only: papermill takes most of a second.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill import execute_notebook
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from .provenance import PACKAGE, clone_root, usable_cores

#: Packages that read their number of threads from the environment when they start.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class Outcome:
    """How an execution ended. `state` is done, failed (a cell raised) or killed (the kernel or this process was stopped)."""

    state: str
    error: dict | None = None  # kind, message, cell (number as shown, 1 = first code cell), source
    interrupted: BaseException | None = None  # Ctrl-C or a polite stop of this process, to be raised again by the caller
    cells: int = 0  # code cells, the injected parameters included
    cells_done: int = 0
    last_good: dict | None = None  # cell, source
    peak_memory_MB: int | None = None
    least_free_memory_MB: int | None = None


class _ThisPython(KernelSpecManager):
    """The kernel runs in this interpreter, whatever kernels the person has installed under the name python3."""

    def get_kernel_spec(self, kernel_name):
        argv = [sys.executable, "-m", "ipykernel_launcher", "--log-level=ERROR", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


class _WatchedEngine(NBClientEngine):
    """papermill's own engine with the kernel's environment, its messages in the log, and an eye on the process."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, log_output=False, start_timeout=120, watch=None, **kwargs):
        manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_ThisPython())
        client = PapermillNotebookClient(
            nb_man, km=manager, log=logging.getLogger("papermill"), log_output=log_output, startup_timeout=start_timeout, timeout=None
        )
        client.owns_km = True  # so that the client stops the kernel at the end
        watch.start(manager)
        try:
            return client.execute(env=kernel_environment(), stdout=watch.log, stderr=watch.log)
        finally:
            watch.stop()


class _Watch(threading.Thread):
    """Follow the kernel process: peak memory with its children, least free memory of the machine, exit code."""

    def __init__(self, log):
        super().__init__(daemon=True)
        self.log, self.process, self.peak, self.least_free = log, None, 0, None
        self._over = threading.Event()

    def start(self, manager):
        self._manager = manager
        super().start()

    def run(self):
        while not self._over.is_set():
            process = getattr(self._manager.provisioner, "process", None)
            if process is not None:
                self.process = process
                self._sample(process.pid)
            self._over.wait(0.1)

    def _sample(self, pid):
        try:
            kernel = psutil.Process(pid)
            used = sum(part.memory_info().rss for part in [kernel, *kernel.children(recursive=True)])
        except psutil.Error:  # gone between two lines
            return
        self.peak = max(self.peak, used)
        free = psutil.virtual_memory().available
        self.least_free = free if self.least_free is None else min(free, self.least_free)

    def stop(self):
        self._over.set()
        self.join()


def kernel_environment() -> dict[str, str]:
    """The environment of report kernels: this one, the machine's threads unless set, and this very copy of slerlib."""
    env = dict(os.environ)
    for name in _THREADS:
        env.setdefault(name, str(usable_cores()))
    if clone_root():  # the kernel starts in the run folder, where a clone that is not installed would not be found
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGE.parent), env.get("PYTHONPATH")]))
    return env | {"SLERLIB_REPORT": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


def execute(source: Path, executed: Path, parameters: dict, log_path: Path, progress: bool = False) -> Outcome:
    """Run `source` with `parameters` in the folder of `executed`, which is saved after every cell.

    Cell outputs and the kernel's own messages are appended to `log_path`. Never raises for what happens in the notebook.
    """
    papermill_engines.register("slerlib", _WatchedEngine)
    logger = logging.getLogger("papermill")
    before, interrupted, failure = (logger.level, logger.propagate), None, None
    with open(log_path, "ab", buffering=0) as log:
        watch = _Watch(log)
        handler = logging.FileHandler(log_path, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
        logger.setLevel("INFO")
        logger.propagate = False
        stop = _stop_politely()
        try:
            execute_notebook(
                source, executed, parameters, engine_name="slerlib", progress_bar=progress, log_output=True,
                cwd=executed.parent, watch=watch,
            )  # fmt: skip
        except (KeyboardInterrupt, SystemExit) as error:
            interrupted = error
        except Exception as error:
            failure = error
            logger.error("%s: %s", type(error).__name__, error)
        finally:
            stop()
            logger.removeHandler(handler)
            handler.close()
            logger.setLevel(before[0])
            logger.propagate = before[1]
    return _judge(executed, failure, interrupted, watch)


def _stop_politely():
    """Let SIGTERM (a batch system's time limit, `kill`) end the run like Ctrl-C, with a page. Returns the function that undoes it."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGTERM"):
        return lambda: None

    def end(number, frame):
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    return lambda: signal.signal(signal.SIGTERM, before)


def _judge(executed: Path, failure, interrupted, watch: _Watch) -> Outcome:
    state = "killed" if interrupted or isinstance(failure, DeadKernelError) else "failed" if failure else "done"
    out = Outcome(state, interrupted=interrupted, peak_memory_MB=round(watch.peak / 1e6) or None)
    out.least_free_memory_MB = None if watch.least_free is None else round(watch.least_free / 1e6)
    if executed.exists():
        _read_cells(executed, out, failure)
    if state != "done":
        error = out.error or {"cell": None, "source": None}
        out.error = error | _describe(failure, interrupted, watch)
    return out


def _describe(failure, interrupted, watch: _Watch) -> dict:
    if isinstance(interrupted, KeyboardInterrupt):
        return {"kind": "Interrupted", "message": "The run was stopped from the keyboard."}
    if interrupted:
        return {"kind": "Stopped", "message": "The run was asked to stop (SIGTERM), as a batch system does at its time limit."}
    if isinstance(failure, PapermillExecutionError):
        return {"kind": failure.ename, "message": failure.evalue}
    if isinstance(failure, DeadKernelError):
        code = watch.process.poll() if watch.process else None
        if code == -9:
            why = "The kernel was killed (signal 9). The system does this when memory runs out; see the memory figures."
        elif code is not None and code < 0:
            why = f"The kernel was ended by signal {-code} ({signal.Signals(-code).name}), usually a crash inside a compiled library."
        else:
            why = f"The kernel ended by itself with exit code {code}."
        return {"kind": "DeadKernel", "message": why}
    return {"kind": type(failure).__name__, "message": str(failure)}


def _read_cells(executed: Path, out: Outcome, failure) -> None:
    """Count the finished cells, find the last good one and the guilty one, and correct papermill's marks in the saved notebook.

    A cell that never began has no start time, even where papermill calls it completed; after an unclean end the last cell
    that has one is the cell that did not survive.
    """
    notebook = nbformat.read(executed, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    begun = [i for i, cell in enumerate(code) if cell.metadata.get("papermill", {}).get("start_time")]
    out.cells, out.cells_done = len(code), len(begun)
    if out.state != "done" and begun:
        guilty = begun.pop()
        out.cells_done = len(begun)
        out.error = {"cell": guilty + 1, "source": code[guilty].source}
        if not isinstance(failure, PapermillExecutionError):
            for i, cell in enumerate(code):
                if i >= guilty:
                    cell.metadata.setdefault("papermill", {})["status"] = "failed" if i == guilty else "pending"
            notebook.metadata.setdefault("papermill", {})["exception"] = True
            nbformat.write(notebook, executed)
    if begun:
        out.last_good = {"cell": begun[-1] + 1, "source": code[begun[-1]].source}
