"""The worker as a process of its own, started anew if it dies.

Apart from the processes that answer HTTP, so that encoding and merging never hold a search up.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lsr.errors import IndexLocked

from ..duties import Duties
from ..home import Home
from ..logs import Format, logging_to_stderr
from .worker import Worker

log = logging.getLogger("lsr.service")

RESTART_S = 1.0
STOP_S = 30.0


@contextmanager
def worker_process(home: Path, duties: Duties, *, log_format: Format = "text") -> Iterator[None]:
    """A worker runs while the body does; it ends in good order afterwards."""
    command = [
        sys.executable,
        "-m",
        "service.worker",
        str(home),
        duties.written(),
        log_format,
        str(os.getpid()),
    ]
    stopping = threading.Event()
    # A session of its own: Ctrl-C reaches the server alone, which ends the worker in good order.
    processes = [subprocess.Popen(command, start_new_session=True)]

    def watch() -> None:
        while not stopping.wait(RESTART_S):
            if processes[-1].poll() is not None and not stopping.is_set():
                log.error("the worker ended (%s); starting it again", processes[-1].returncode)
                processes[-1] = subprocess.Popen(command, start_new_session=True)

    watcher = threading.Thread(target=watch, name="watch-worker", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stopping.set()
        watcher.join()
        processes[-1].terminate()
        try:
            processes[-1].wait(STOP_S)
        except subprocess.TimeoutExpired:
            processes[-1].kill()


def work(
    home: Path,
    duties: Duties,
    *,
    started: Callable[[], None] = lambda: None,
    parent: int | None = None,
) -> int:
    """Run tasks until SIGTERM, or until the server that started this process is gone.

    `parent` is that server, where it may be gone by now; otherwise whoever is the parent now.
    """
    parent = parent or os.getppid()
    with Home.open(home) as opened:
        worker = Worker(opened, duties)
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        threading.Thread(target=_follow, args=(parent, worker), daemon=True).start()
        try:
            worker.run(started=started)
        except IndexLocked as error:
            log.error("%s", error)
            return 1
    return 0


def _follow(parent: int, worker: Worker) -> None:
    """Stop when the server was killed: nobody else would."""
    waiting = threading.Event()
    while not waiting.wait(0.5):
        if os.getppid() != parent:
            worker.stop()
            return


def main(home: str, duties: str, log_format: str, parent: str) -> int:
    """The process that `worker_process` starts."""
    with logging_to_stderr("json" if log_format == "json" else "text"):
        return work(Path(home), Duties.read(duties), parent=int(parent))
