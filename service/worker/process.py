"""The worker as a process of its own, started anew if it dies.

Apart from the processes that answer HTTP, so that encoding and merging never hold a search up.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lsr.errors import IndexLocked

from ..home import Home
from ..logs import Format, logging_to_stderr
from .worker import CANARY_S, Worker

log = logging.getLogger("lsr.service")

RESTART_S = 1.0
STOP_S = 30.0


@contextmanager
def worker_process(
    home: Path,
    *,
    mounts: Mapping[str, Path],
    encoders: Mapping[str, Path],
    log_format: Format = "text",
    canary_s: float = CANARY_S,
) -> Iterator[None]:
    """A worker runs while the body does; it ends in good order afterwards."""
    paths = json.dumps(
        [{name: str(path) for name, path in one.items()} for one in (mounts, encoders)]
    )
    command = [
        sys.executable,
        "-m",
        "service.worker",
        str(home),
        paths,
        log_format,
        str(canary_s),
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
    *,
    mounts: Mapping[str, Path],
    encoders: Mapping[str, Path],
    canary_s: float = CANARY_S,
    started: Callable[[], None] = lambda: None,
    parent: int | None = None,
) -> int:
    """Run tasks until SIGTERM, or until the server that started this process is gone.

    `parent` is that server, where it may be gone by now; otherwise whoever is the parent now.
    """
    parent = parent or os.getppid()
    with Home.open(home) as opened:
        worker = Worker(opened, mounts=mounts, encoders=encoders, canary_s=canary_s)
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


def main(home: str, paths: str, log_format: str, canary_s: str, parent: str) -> int:
    """The process that `worker_process` starts."""
    mounts, encoders = (
        {name: Path(path) for name, path in one.items()} for one in json.loads(paths)
    )
    with logging_to_stderr("json" if log_format == "json" else "text"):
        return work(
            Path(home),
            mounts=mounts,
            encoders=encoders,
            canary_s=float(canary_s),
            parent=int(parent),
        )
