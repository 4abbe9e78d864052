"""Who does the work of a grid: processes of this machine, or the workers of a Dask cluster.

    Local(4)                      four cells at a time
    Cluster(workers=4)            a Dask cluster on this machine, for a try
    Cluster("tcp://host:8786")    the workers of any Dask scheduler; all machines share the clone and the folder

Both take cells with `submit` and give futures with `done()` and `result()`.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from ..errors import UserError
from ..files import PACKAGE, sha256_folder
from ..provenance import usable_cores
from .cells import Cell
from .work import stop_all, work

DEATHS = 2  # workers that may die with a cell before Dask gives it back


class Local:
    """So many processes of this machine at a time; each gets its share of the cores."""

    def __init__(self, workers: int):
        share = max(1, usable_cores() // workers)
        self.size = workers
        self._environment = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(share)}
        self._threads = ThreadPoolExecutor(workers)

    def submit(self, cell: Cell, folder: str):
        return self._threads.submit(work, cell.name, cell.words, folder, self._environment)

    def lost(self) -> str:
        """Why no cell can run any more, or ""."""
        return ""

    def close(self, early: bool) -> None:
        """End; early: with cells that still run."""
        if early:
            self._threads.shutdown(wait=False, cancel_futures=True)
            stop_all()
        self._threads.shutdown()


class Cluster:
    """Workers of a Dask scheduler; without an address a cluster of so many processes on this machine.

    Raises UserError without the extra `cluster`, for an address where no scheduler answers, and for workers with
    another version of slerlib.
    """

    def __init__(self, address: str | None = None, workers: int = 1, seconds: float = 30.0):
        try:
            import dask
            from distributed import Client, LocalCluster
        except ImportError:
            raise UserError(
                "A cluster needs Dask, which is not installed. Install the extra: pip install -e '.[cluster]' -c "
                "constraints.txt, or use --workers N without --cluster."
            ) from None
        dask.config.set(
            {"distributed.scheduler.allowed-failures": DEATHS, "distributed.comm.timeouts.connect": seconds}
        )
        self._own = None
        if address is None:
            self._own = LocalCluster(
                n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address=None, silence_logs=50
            )
        try:
            self._client = Client(self._own or address, timeout=seconds, set_as_default=False)
            self._client.wait_for_workers(1, timeout=seconds)
            self._check_versions()
        except (OSError, TimeoutError, ValueError) as error:
            where = address or "this machine"
            raise UserError(
                f"A grid runs on the workers of a Dask scheduler; at {where} none answered within {seconds:.0f} s "
                f"({type(error).__name__}: {error}). Start them (dask scheduler; dask worker ADDRESS --nthreads 1), or "
                "correct the address."
            ) from None

    def _check_versions(self) -> None:
        own = _code()
        other = {worker: code for worker, code in self._client.run(_code).items() if code != own}
        if other:
            worker, code = next(iter(other.items()))
            self.close(early=True)
            raise UserError(
                f"All workers need the same slerlib; {len(other)} of them have another one, such as {worker} with "
                f"sources {code[:12]} instead of {own[:12]}. Update their clone, and start the workers again."
            )

    @property
    def size(self) -> int:
        return max(1, sum(self._client.nthreads().values()))

    def submit(self, cell: Cell, folder: str):
        key = f"{cell.name}-{os.urandom(4).hex()}"
        return self._client.submit(work, cell.name, cell.words, folder, {}, pure=False, key=key)

    def lost(self) -> str:
        return (
            "" if self._client.status in ("running", "connecting") else "The Dask scheduler does not answer any more."
        )

    def close(self, early: bool) -> None:
        """End; the processes of cells that run on another machine end with their workers."""
        self._client.close()
        if self._own:
            self._own.close()


def _code() -> str:
    return sha256_folder(PACKAGE, "*.py")
