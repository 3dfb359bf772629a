"""One server a data directory: a lock from before it listens until its worker has ended.

    DIR/server.lock     held by the process that was started as `lsr serve`

Without it a second server said that it was ready, and its worker was turned away again and again:
it took documents that its own worker never saw.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lsr.errors import IndexLocked


@contextmanager
def only_server(home: Path) -> Iterator[None]:
    """Be the one server of a data directory that is there, or raise `IndexLocked`.

    A POSIX lock, which forked processes do not inherit: those that a killed supervisor left behind
    for a moment do not keep the next server out. Nothing else in a process may open the file.
    """
    file = home / "server.lock"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise IndexLocked(
                f"{home}: another server works in this data directory; stop it, or name another "
                "directory"
            ) from error
        yield
    finally:
        os.close(descriptor)
