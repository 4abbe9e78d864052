"""One process at a time in a folder. The system frees the lock when its holder ends, however it ends.

Whether a training runs is asked of that lock: the system may reuse a process number, and clocks may step.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import UserError
from ..files import leftovers, unwritable, write_atomic

RUNNING = "running"  # the lock of the training itself: running.lock, and the holder's process number in running.pid
PATIENCE = 2.0  # seconds in which a look at the lock (`is_held`), or the end of the last holder, has passed


@contextlib.contextmanager
def hold(folder: Path, what: str, name: str = RUNNING) -> Iterator[None]:
    """Make the folder and hold its lock `name`. A folder that was made here and stayed empty is removed again.

    what: who holds it, for the messages: "A training".
    Raises UserError at once if another process holds the lock, and for a folder that cannot be written.
    """
    rule, lock, pid = f"{what} writes into a folder", folder / f"{name}.lock", folder / f"{name}.pid"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{rule}; {folder} is a file. Choose another --out.")
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock).acquire(timeout=PATIENCE, poll_interval=0.02)
    except Timeout:
        raise UserError(
            f"{what} has its folder to itself; another process works in {folder}. Wait for its end, or choose "
            "another --out."
        ) from None
    except OSError as error:
        raise unwritable(rule, folder, error, "Choose another --out.") from None
    with held:
        try:
            with writing(folder, rule):
                write_atomic(pid, str(os.getpid()))
            yield
        finally:
            pid.unlink(missing_ok=True)
            if new and [path.name for path in folder.iterdir()] == [lock.name]:
                with contextlib.suppress(OSError):  # Windows keeps a file that is open
                    lock.unlink()
                    folder.rmdir()


def is_held(folder: Path, name: str = RUNNING) -> bool:
    """Whether a process holds the lock. Nothing is written; a look takes up to 0.1 s."""
    lock = folder / f"{name}.lock"
    if not lock.exists():
        return False
    try:
        with FileLock(lock).acquire(timeout=0.1, poll_interval=0.02):  # longer than another look
            return False
    except Timeout:
        return True
    except OSError:  # a folder that only its owner may write
        return False


def sweep(folder: Path) -> None:
    """Remove what a killed process left half-written. Only for the holder of the lock, who is alone in the folder."""
    for path in leftovers(folder):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path, rule: str, repair: str = "Choose another --out.") -> Iterator[None]:
    """Turn the error of a full or read-only disk inside into a UserError of plain words."""
    try:
        yield
    except OSError as error:
        raise unwritable(rule, path, error, repair) from error
