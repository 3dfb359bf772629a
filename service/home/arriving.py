"""Who is still receiving the body of a task: a lock that ends with the process that holds it.

    DIR/tasks/ID.receiving      held for as long as lines of task ID come

A worker that starts forgets bodies whose server died, since nobody was told of them. Without the
locks it took every body for one of those, also of the server that had just started it.
"""

import fcntl
import os
from pathlib import Path

from .home import Home

_END = ".receiving"


class Arriving:
    """The lock of one task, from before its first lines are durable until all of them are."""

    def __init__(self, home: Home, number: int) -> None:
        self._path = _path(home, number)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def over(self) -> None:
        """The body is there, or given up."""
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def is_arriving(home: Home, number: int) -> bool:
    """Whether some process receives the body of this task; what a dead one left is removed."""
    path = _path(home, number)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(descriptor)


def left_behind(home: Home) -> list[int]:
    """The tasks that have a lock, held or not."""
    found = (home.path / "tasks").glob(f"*{_END}")
    return [int(one.name.removesuffix(_END)) for one in found]


def _path(home: Home, number: int) -> Path:
    return home.path / "tasks" / f"{number}{_END}"
