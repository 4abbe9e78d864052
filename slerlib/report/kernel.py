"""Execute one notebook through papermill, and find out how it ended.

papermill alone cannot: a kernel that a signal killed (out of memory, say) leaves a notebook whose cells all read
`completed`. Here the kernel process itself is watched, its exit code and memory are kept, and the saved notebook is
corrected. Import this module inside functions only: papermill takes most of a second.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import threading
from contextlib import contextmanager, suppress
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
from papermill.iorw import papermill_io

from ..files import DISK, PACKAGE, clone_root, write_atomic
from ..provenance import usable_cores


@dataclass
class Outcome:
    """How an execution ended. Cells are code cells, numbered from 1, the injected parameters included."""

    state: str  # done, failed (a cell raised) or killed (the kernel or this process was stopped)
    error: dict | None = None  # kind, message; cell and source where a cell is to blame
    interrupted: BaseException | None = None  # Ctrl-C or SIGTERM, for the caller to raise again
    cells: int = 0
    cells_done: int = 0
    last_good: dict | None = None  # cell, source
    peak_memory_MB: int | None = None  # of the kernel and its children
    least_free_memory_MB: int | None = None  # of the machine

    def facts(self) -> dict:
        """The part that goes into run.json."""
        return {key: value for key, value in vars(self).items() if key != "interrupted"}


class _ThisPython(KernelSpecManager):
    """The kernel runs in this interpreter, whatever kernels the person has installed under the name python3."""

    def get_kernel_spec(self, kernel_name):
        argv = [sys.executable, "-m", "ipykernel_launcher", "--log-level=ERROR", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


class _Whole:
    """Where papermill saves "whole:PATH": the file is written whole or not at all, which papermill's own is not."""

    scheme = "whole:"

    def write(self, text, path):
        # a file name that is not UTF-8 becomes an escape of JSON
        write_atomic(Path(path.removeprefix(self.scheme)), text.encode(errors="backslashreplace"))

    def pretty_path(self, path):
        return path.removeprefix(self.scheme)


class _Client(PapermillNotebookClient):
    """papermill's client, which also writes to the log which code cell begins, numbered as on the page."""

    _begun = 0

    def execute_cell(self, cell, cell_index, **kwargs):
        if cell.cell_type == "code":
            self._begun += 1
            self.log.info("code cell %d: %s", self._begun, (cell.source.strip().splitlines() or [""])[0])
        return super().execute_cell(cell, cell_index, **kwargs)


class _WatchedEngine(NBClientEngine):
    """papermill's engine with the kernel's environment, its messages in the log, and a watch on the process."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, log_output=False, watch=None, **kwargs):
        manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_ThisPython())
        options = {"log": logging.getLogger("papermill"), "log_output": log_output, "timeout": None}
        client = _Client(nb_man, km=manager, startup_timeout=300, **options)
        client.owns_km = True  # so that the client stops the kernel at the end
        watch.start(manager)
        try:
            return client.execute(env=kernel_environment(), stdout=watch.log, stderr=watch.log)
        finally:
            watch.stop()


class _Watch(threading.Thread):
    """Follow the kernel process: peak memory with its children, least free memory of the machine, exit code."""

    def __init__(self):
        super().__init__(daemon=True)
        self.log, self.process, self.peak, self.least_free = None, None, 0, None
        self._over = threading.Event()

    def start(self, manager):
        self._manager = manager
        super().start()

    def run(self):
        while not self._over.wait(0.1):
            if process := getattr(self._manager.provisioner, "process", None):
                self.process = process
                with suppress(psutil.Error):  # gone between two lines
                    kernel = psutil.Process(process.pid)
                    used = sum(part.memory_info().rss for part in [kernel, *kernel.children(recursive=True)])
                    free = psutil.virtual_memory().available
                    self.peak, self.least_free = max(self.peak, used), min(free, self.least_free or free)

    def stop(self):
        self._over.set()
        self.join()


def kernel_environment() -> dict[str, str]:
    """The environment of report kernels: this one, the machine's threads unless set, and this very copy of slerlib."""
    env = dict(os.environ)
    env.setdefault("OMP_NUM_THREADS", str(usable_cores()))
    env.setdefault("MKL_NUM_THREADS", env["OMP_NUM_THREADS"])  # else MKL would ignore what the person set for OpenMP
    if clone_root():  # the kernel starts in the run folder, where a clone that is not installed would not be found
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGE.parent), env.get("PYTHONPATH")]))
    return env | {"SLERLIB_REPORT": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


def execute(source: Path, executed: Path, parameters: dict, log_path: Path, progress: bool = False) -> Outcome:
    """Run `source` with `parameters` in the folder of `executed`, which is saved after every cell.

    Cell outputs and the kernel's own messages are appended to `log_path`; `progress` shows papermill's bar. Never
    raises for what happens in the notebook, or for a disk that takes no file.
    """
    papermill_engines.register("slerlib", _WatchedEngine)
    papermill_io.register(_Whole.scheme, _Whole())
    options = {"engine_name": "slerlib", "progress_bar": progress, "log_output": True, "cwd": executed.parent}
    interrupted, failure, watch = None, None, _Watch()
    try:
        with open(log_path, "ab", buffering=0) as watch.log, _logging_to(log_path) as logger, _stoppable():
            try:
                execute_notebook(source, f"{_Whole.scheme}{executed.absolute()}", parameters, watch=watch, **options)
            except Exception as error:
                failure = error
                logger.error("%s: %s", type(error).__name__, error)
    except (KeyboardInterrupt, SystemExit) as error:
        interrupted = error
    except OSError as error:  # no log can be written
        failure = failure or error
    return _judge(executed, failure, interrupted, watch)


@contextmanager
def _logging_to(path: Path):
    """papermill's logger writes to the file and nowhere else."""
    logger = logging.getLogger("papermill")
    before = logger.level, logger.propagate
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.handleError = lambda line: None  # on a full disk
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    # papermill counts text cells too, and does not see every parameter; plan.py has checked them
    noise = ("Executing ", "Ending ", "Passed unknown parameter", "Unable to parse line")
    handler.addFilter(lambda line: not str(line.msg).startswith(noise))
    logger.addHandler(handler)
    logger.level, logger.propagate = logging.INFO, False
    try:
        yield logger
    finally:
        logger.removeHandler(handler)
        with suppress(OSError):
            handler.close()
        logger.level, logger.propagate = before


@contextmanager
def _stoppable():
    """SIGTERM (`kill`, or a batch system's time limit) ends the run like Ctrl-C, with a page."""

    def end(number, frame):
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _judge(executed: Path, failure, interrupted, watch: _Watch) -> Outcome:
    state = "killed" if interrupted or isinstance(failure, DeadKernelError) else "failed" if failure else "done"
    out = Outcome(state, interrupted=interrupted, peak_memory_MB=round(watch.peak / 1e6) or None)
    out.least_free_memory_MB = None if watch.least_free is None else round(watch.least_free / 1e6)
    with suppress(OSError):  # of a correction that finds the disk full
        read_cells(executed, out, raised=failure is None or isinstance(failure, PapermillExecutionError))
    if out.state != "done":
        kind, message = _reason(failure, interrupted, watch)
        out.error = (out.error or {}) | {"kind": kind, "message": message}
    return out


def _reason(failure, interrupted, watch: _Watch) -> tuple[str, str]:
    if isinstance(interrupted, KeyboardInterrupt):
        return "Interrupted", "The run was stopped from the keyboard."
    if interrupted:
        return "Stopped", "The run was asked to stop (SIGTERM), as a batch system does at its time limit."
    if isinstance(failure, PapermillExecutionError):
        return failure.ename, failure.evalue + _about_disk(failure.evalue)
    if failure is None:
        return "SystemExit", "The notebook ended itself, by exit(), before its last cell."
    if not isinstance(failure, DeadKernelError):
        return type(failure).__name__, f"{failure}{_about_disk(str(failure))}"
    code = watch.process.poll() if watch.process else None
    if code == -9:
        return "DeadKernel", "The notebook's process was killed (signal 9), as the system does when memory runs out."
    if code is not None and code < 0:
        return "DeadKernel", f"The notebook's process crashed with signal {-code}, usually inside a compiled library."
    return "DeadKernel", f"The notebook's process ended by itself with exit code {code}."


def _about_disk(message: str) -> str:
    """Plain words for the system's number in the message of an error, where a disk took no file."""
    number = re.match(r"\[Errno (\d+)\]", message)
    words = DISK.get(int(number[1])) if number else None
    return f". This means: {words}. Change that, then go on with the command below" if words else ""


def read_cells(executed: Path, out: Outcome, raised: bool = False) -> None:
    """Count the finished cells, find the last good and the guilty one, and correct papermill's marks in the notebook.

    A cell that never began has no start time, even where papermill calls it completed: after an unclean end the last
    cell that has one is the cell that did not survive. `raised`: the kernel survived, the marks are right, and the
    first cell that shows an error is to blame: one that may raise (its tag says so) does not end the run by itself.
    A notebook that left by exit() before its last cell, which papermill calls done, has failed.
    """
    try:
        notebook = nbformat.read(executed, as_version=4)
    except Exception:  # not written yet, or killed while it was being written
        return
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    begun = [i for i, cell in enumerate(code) if cell.metadata.get("papermill", {}).get("start_time")]
    out.cells = len(code)
    if out.state == "done" and len(begun) < len(code):
        out.state = "failed"
    unclean = out.state != "done" and bool(begun)
    if unclean:
        shown = [i for i in begun if raised and any(o.output_type == "error" for o in code[i].outputs)]
        begun = [i for i in begun if not shown or i <= shown[0]]
        guilty = begun.pop()
        out.error = {"cell": guilty + 1, "source": code[guilty].source}
    out.cells_done = len(begun)
    if begun:
        out.last_good = {"cell": begun[-1] + 1, "source": code[begun[-1]].source}
    if unclean and not raised:
        for i in range(guilty, len(code)):
            code[i].metadata.setdefault("papermill", {})["status"] = "failed" if i == guilty else "pending"
        notebook.metadata.setdefault("papermill", {})["exception"] = True
        write_atomic(executed, (nbformat.writes(notebook) + "\n").encode(errors="backslashreplace"))
