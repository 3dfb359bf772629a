"""Tasks of a data directory from the command line, whether a server runs there or not."""

import threading
import time
from typing import TYPE_CHECKING, Any

from ..errors import IndexLocked, LsrError
from ..progress import Bar, bar

if TYPE_CHECKING:
    from service.home import Home
    from service.home.queue import Task

POLL_S = 0.05


class TaskFailedError(LsrError):
    """A task ended without having done what was asked."""


def seen_through(home: "Home", task: "Task", desc: str) -> "Task":
    """Wait for a task, showing how far it is; where no server works in the directory, work here.

    Ctrl-C leaves it queued. Raises `TaskFailedError` with what the task failed with, and what kept
    the worker from working.
    """
    from service.home import queue
    from service.worker import Worker

    worker = Worker(home)
    died: list[Exception] = []

    def work() -> None:
        try:
            worker.run()
        except IndexLocked:  # a server is at it
            return
        except Exception as error:
            died.append(error)

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    counter: Bar[None] = bar(total=None, unit="documents", desc=desc)
    try:
        with counter:
            while not task.over and not died:
                time.sleep(POLL_S)
                task = queue.task_of(home, task.id)
                if task.progress is not None:
                    counter.total = task.progress.get("total")
                    counter.update(max(0, int(task.progress["done"]) - counter.n))
    finally:
        worker.stop()
        thread.join()
    if died:
        raise died[0]
    return checked(task)


def checked(task: "Task") -> "Task":
    """The task if it succeeded. Raises `TaskFailedError`."""
    if task.state == "succeeded":
        return task
    error: dict[str, Any] = dict(task.error or {"detail": f"It was {task.state}."})
    hint = f" {error['hint']}" if error.get("hint") else ""
    raise TaskFailedError(f"task {task.id}: {error['detail']}{hint}")
