"""`Worker`: the one loop that runs the tasks of a data directory.

What is wrong with a request ends its task (`failed`, with the problem). What is wrong with the
machine - a full disk, a damaged index, another process in the way - does not, and no fault of ours
ends an ingestion or a deletion either, since those were acknowledged: the task waits, says why, and
is tried again. Only damage ends whatever else is asked of an index, such as a snapshot. What became
of a task is written down before the next one of its index begins, however long that takes, or a
later change would overtake an earlier one.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

import apsw

from lsr.errors import (
    EncoderError,
    IndexCorrupt,
    IndexFailure,
    IndexReplaced,
    LsrError,
    VersionConflict,
)

from ..duties import Duties
from ..home import Home, queue, registry
from ..home.queue import MOUNTED, Lane, Task
from ..home.registry import Entry
from ..problems import ProblemError
from . import delete, ingest, rebuild, rollback, snapshots
from .canary import Canary
from .job import CanceledError, Job, Shelf

log = logging.getLogger("lsr.service")

RUN: Mapping[str, Callable[[Job], dict[str, Any]]] = {
    "ingest": ingest.run,
    "delete": delete.run,
    "rebuild": rebuild.run,
    "rebuild_finish": rebuild.finish,
    "rollback": rollback.run,
    "snapshot_create": snapshots.create,
    "snapshot_verify": snapshots.verify,
    "snapshot_restore": snapshots.restore,
}
"""How each kind of task is run. It must be able to begin again after a kill."""

PROMISED = ("ingest", "delete")
"""Kinds of tasks that somebody was told would be done."""

THREADS = 2
POLL_S = 0.005
RETRY_S = 1.0
PRUNE_EVERY_S = 3600.0
TIDY_EVERY_S = 60.0


class Worker:
    """Runs tasks until it is stopped."""

    def __init__(self, home: Home, duties: Duties | None = None) -> None:
        self.home = home
        duties = duties or Duties()
        self._shelf = Shelf(home, duties)
        self._stopping = threading.Event()
        self._retry_at: dict[Lane, float] = {}
        self._canary = Canary(home, self._shelf, duties.canary_s) if duties.canary_s else None

    def stop(self) -> None:
        """Ask `run` to return; tasks that run are queued again where they are."""
        self._stopping.set()

    def run(self, *, started: Callable[[], None] = lambda: None) -> None:
        """Run tasks until `stop`; `started` is called when this is the worker of the directory.

        Raises `IndexLocked` when another worker is at it.
        """
        with self.home.working(), ThreadPoolExecutor(THREADS, "task") as pool:
            started()
            self._recover()
            asking = self._ask_judged()
            prune_at = 0.0
            tidy_at = time.monotonic() + TIDY_EVERY_S
            untidy: list[Entry] = []
            running: dict[Lane, Future[None]] = {}
            seen = -1
            while not self._stopping.is_set():
                still = {lane: one for lane, one in running.items() if not one.done()}
                if len(still) < len(running):
                    seen = -1  # we may have looked between a task's last commit and its end
                running = still
                now = time.monotonic()
                held = [lane for lane, at in self._retry_at.items() if at > now]
                task = None
                try:
                    version = self.home.changed()
                    if len(running) < THREADS and (version != seen or self._retry_at):
                        task = queue.claim(self.home, [*running, *held])
                        seen = version
                except IndexFailure as error:  # busy or full: nothing was claimed
                    log.error("the worker looks for tasks again: %s", error)
                    self._stopping.wait(RETRY_S)
                if task is None:
                    self._shelf.sweep()
                    if now >= prune_at:
                        self._prune()
                        prune_at = now + PRUNE_EVERY_S
                    if now >= tidy_at:
                        untidy = self._opened()
                        tidy_at = now + TIDY_EVERY_S
                    if untidy and len(running) < THREADS:  # tasks went first
                        entry = untidy.pop()
                        if (lane := _lane_of(entry)) not in running:
                            running[lane] = pool.submit(self._tidy, entry)
                    self._stopping.wait(POLL_S)
                    continue
                running[task.lane] = pool.submit(self._run, task)
            wait(running.values())
            if asking is not None:
                asking.join()
        self._shelf.close()

    def _recover(self) -> None:
        """Clear up after the worker before, as soon as the disk lets it."""
        while not self._stopping.is_set():
            try:
                queue.recover(self.home)
                for left in registry.orphans(self.home, older_than_s=3600):
                    shutil.rmtree(left, ignore_errors=True)
                return
            except IndexReplaced:
                raise  # nothing comes of this file any more
            except (IndexFailure, OSError) as error:
                log.error("the worker cannot begin yet: %s", error)
                self._stopping.wait(RETRY_S)

    def _prune(self) -> None:
        """Forget old tasks and their files; a full disk can wait for that."""
        with suppress(IndexFailure, OSError):
            queue.forget_unfinished_bodies(self.home)
            for number in queue.prune(self.home):
                shutil.rmtree(self.home.path / "tasks" / str(number), ignore_errors=True)

    def _opened(self) -> list[Entry]:
        with suppress(IndexFailure):  # the next look finds them
            return self._shelf.opened()
        return []

    def _tidy(self, entry: Entry) -> None:
        """Let deleted documents leave the disk where nothing is added that would do it."""
        try:
            if self._shelf.index(entry).tidy():
                log.info("%s: deleted documents have left the disk", entry.name)
        except (LsrError, OSError) as error:
            log.warning("%s: deleted documents stay for now: %s", entry.name, error)

    def _ask_judged(self) -> threading.Thread | None:
        """Judged queries beside the tasks, where they are wanted."""
        if self._canary is None:
            return None
        thread = threading.Thread(target=self._canary.run, args=(self._stopping,), name="judged")
        thread.start()
        return thread

    def _run(self, task: Task) -> None:
        job = Job(task, self._shelf, self._stopping)
        self._retry_at.pop(task.lane, None)
        try:
            details = RUN[task.kind](job)
        except CanceledError:
            self._finish(task, "canceled")
        except InterruptedError:
            self._requeue(task, None)
        except (ProblemError, VersionConflict) as error:
            if _is_away(task, error):
                self._retry_at[task.lane] = time.monotonic() + RETRY_S
                self._requeue(task, f"Index '{task.index}' is not served now: it lies elsewhere.")
                return
            self._finish(task, "failed", error=_problem(error))
        except (IndexFailure, EncoderError, OSError) as error:
            if isinstance(error, IndexCorrupt) and task.kind not in PROMISED:
                # Waiting mends nothing, and would hold up what others were promised.
                log.error("task %d failed: %s", task.id, error)
                self._finish(task, "failed", error=_problem(error))
                return
            log.error("task %d waits: %s: %s", task.id, type(error).__name__, error)
            self._retry_at[task.lane] = time.monotonic() + RETRY_S
            self._requeue(task, type(error).__name__)
        except LsrError as error:
            log.error("task %d failed: %s", task.id, error)
            self._finish(task, "failed", error=_problem(error))
        except Exception as error:
            if task.kind in PROMISED:
                log.exception("task %d waits", task.id)
                self._retry_at[task.lane] = time.monotonic() + RETRY_S
                self._requeue(task, type(error).__name__)
            else:
                log.exception("task %d failed", task.id)
                self._finish(task, "failed", error=_problem(error))
        else:
            self._finish(task, "succeeded", details=details, progress=job.done())

    def _finish(self, task: Task, state: Any, **outcome: Any) -> None:
        self._record(lambda at: queue.finish(at, task.id, state, **outcome))
        with suppress(OSError):  # it stays where the task left files, such as what it rejected
            (self.home.path / "tasks" / str(task.id)).rmdir()

    def _requeue(self, task: Task, why: str | None) -> None:
        self._record(lambda at: queue.put_back(at, task.id, why))

    def _record(self, change: Callable[[apsw.Connection], None]) -> None:
        """Write down what became of a task, until it is written or the worker stops; then the task
        is still `running`, and the next worker runs it again.
        """
        while True:
            try:
                with self.home.transaction() as connection:
                    change(connection)
                return
            except IndexFailure as error:
                log.error("what became of a task cannot be written down yet: %s", error)
                if self._stopping.wait(RETRY_S):
                    return


def _lane_of(entry: Entry) -> Lane:
    """That of the tasks of an index."""
    return entry.name, str(entry.path) if entry.mounted else None


def _is_away(task: Task, error: Exception) -> bool:
    """Whether the index of a promised task was named on the command line of the server that took
    it, and not on that of this one: its documents wait until it is named again.
    """
    unknown = isinstance(error, ProblemError) and error.code == "unknown_index"
    return unknown and task.kind in PROMISED and bool(task.request.get(MOUNTED))


def _problem(error: Exception) -> dict[str, Any]:
    """What a client may know of the error: never a path, never a message of a library."""
    if isinstance(error, ProblemError):
        return {"code": error.code, "detail": error.detail, "hint": error.hint}
    if isinstance(error, VersionConflict):
        return {"code": "version_conflict", "detail": str(error), "hint": None}
    if isinstance(error, IndexCorrupt):
        return {
            "code": "index_unavailable",
            "detail": "The index is damaged.",
            "hint": "The server's log says where; `lsr doctor` examines what lies on its disk.",
        }
    return {
        "code": "internal_error",
        "detail": f"The task ended with {type(error).__name__}.",
        "hint": "The server's log says more.",
    }
