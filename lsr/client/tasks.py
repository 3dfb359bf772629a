"""Tasks: look at them, wait for them, cancel them."""

import json
import time
from collections.abc import Callable
from typing import Literal, TypeAlias

from .errors import TaskFailed, Unreachable, refusal
from .reading import read
from .resources import Reject, Task, TaskList
from .steps import Request, Talk, address, call, said, succeed

TaskState: TypeAlias = Literal["receiving", "queued", "running", "succeeded", "failed", "canceled"]

SILENCE_S = 30.0
"""A stream of events says something every 10 s; after this long without, it is taken for dead."""


def task(task: Task | int) -> Talk[Task]:
    """How far it is, what it did, why it failed."""
    return (yield from call(Request("GET", _place(task), repeatable=True), Task))


def list_tasks(
    *,
    index: str | None = None,
    state: TaskState | None = None,
    before: int | None = None,
    limit: int | None = None,
) -> Talk[TaskList]:
    """The newest tasks first; `before` continues a list."""
    parameters = said(index=index, state=state, before=before, limit=limit)
    request = Request("GET", "/v1/tasks", parameters=parameters, repeatable=True)
    return (yield from call(request, TaskList))


def cancel_task(task: Task | int) -> Talk[Task]:
    """End a task between two commits; what it committed stays."""
    return (yield from call(Request("POST", _place(task, "cancel"), repeatable=True), Task))


def task_rejects(task: Task | int) -> Talk[tuple[Reject, ...]]:
    """Every line that an ingestion refused, and why; empty where it refused none."""
    answer = yield Request("GET", _place(task, "rejects"), repeatable=True)
    known = Request("GET", _place(task), repeatable=True)
    if answer.status == 404 and (yield from call(known, Task)):
        return ()
    if answer.status != 200:
        raise refusal(answer.status, answer.body)
    lines = answer.body.splitlines()
    return tuple(read(Reject, json.loads(line)) for line in lines if line.strip())


def wait(
    task: Task | int,
    *,
    timeout: float | None = None,
    progress: Callable[[Task], None] | None = None,
) -> Talk[Task]:
    """The task once it has succeeded; `progress` is told of every change.

    Raises `TaskFailed`, and `TimeoutError` when it is not over after `timeout` seconds: it goes on.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    events = _Events(progress, deadline)
    while not events.over:
        left = SILENCE_S if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(
                f"task {_number(task)} is not over after {timeout:g} seconds; it goes on"
            )
        request = Request(
            "GET",
            _place(task, "events"),
            repeatable=True,
            listen=events.heard,
            timeout=min(left, SILENCE_S),
        )
        events.n_heard = 0
        try:
            yield from succeed(request)
        except Unreachable:
            in_time = deadline is None or time.monotonic() < deadline
            if in_time and not events.n_heard:
                raise
    assert events.last is not None
    if events.last.state != "succeeded":
        raise TaskFailed(events.last)
    return events.last


class _Events:
    """Reads server-sent events of a task until it is over."""

    def __init__(
        self, progress: Callable[[Task], None] | None, deadline: float | None = None
    ) -> None:
        self.last: Task | None = None
        self.n_heard = 0
        self._progress = progress
        self._deadline = deadline

    @property
    def over(self) -> bool:
        """Whether the task is."""
        return self.last is not None and self.last.over

    def heard(self, line: str) -> bool:
        """Take in one line of the stream; whether to stop listening."""
        self.n_heard += 1
        if line.startswith("data:"):
            self.last = read(Task, json.loads(line.removeprefix("data:")))
            if self._progress is not None:
                self._progress(self.last)
        late = self._deadline is not None and time.monotonic() >= self._deadline
        return self.over or late


def _place(task: Task | int, *parts: str) -> str:
    return address("v1", "tasks", _number(task), *parts)


def _number(task: Task | int) -> int:
    """A task is meant by itself or by its number."""
    return task.id if isinstance(task, Task) else task
