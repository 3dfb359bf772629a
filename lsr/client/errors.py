"""What can go wrong between a client and a server, as exceptions.

ServiceError
+ Refused            the server answered with a problem: `code`, `faults`, `hint`, `request_id`
+ Unreachable        no answer came
+ UnexpectedAnswer   an answer came that this client cannot read
+ TaskFailed         a task that was waited for failed or was cancelled
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ServiceError

if TYPE_CHECKING:
    from .resources import Task


@dataclass(frozen=True)
class Fault:
    """One place of a request that was wrong; `pointer` is a JSON pointer into its body."""

    pointer: str
    message: str
    value: Any = None
    allowed: Sequence[str] | None = None


class Refused(ServiceError):
    """The server answered with a problem (RFC 9457); `code` is stable and meant for programs.

    `problem` is the whole answer, with members that some codes add.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = problem
        self.code = str(problem.get("code") or f"http_{status}")
        self.detail = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        hint, request_id = problem.get("hint"), problem.get("request_id")
        self.hint = None if hint is None else str(hint)
        self.request_id = None if request_id is None else str(request_id)
        self.faults = tuple(
            Fault(
                str(one.get("pointer", "")),
                str(one.get("message", "")),
                one.get("value"),
                one.get("allowed"),
            )
            for one in problem.get("errors") or ()
            if isinstance(one, Mapping)
        )
        told = [f"{self.detail.rstrip('.')} ({status} {self.code})"]
        if self.hint:
            told.append(self.hint.rstrip("."))
        if self.request_id:
            told.append(f"request {self.request_id}")
        super().__init__("; ".join(told))


class Unreachable(ServiceError):
    """No answer came: no connection, a broken one, or none in time."""


class UnexpectedAnswer(ServiceError):
    """An answer that this client cannot read."""


class TaskFailed(ServiceError):
    """A task that was waited for failed or was cancelled; `task` is how it ended."""

    def __init__(self, task: "Task") -> None:
        self.task = task
        why = "was cancelled" if task.error is None else task.error.detail.rstrip(".")
        hint = None if task.error is None else task.error.hint
        super().__init__(f"task {task.id} ({task.kind}): {why}" + (f"; {hint}" if hint else ""))


def refusal(status: int, body: bytes) -> Refused:
    """The exception for an answer that is no success, whoever made it.

    >>> refusal(502, b"<html>Bad gateway").code
    'http_502'
    """
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": f"HTTP {status}: {body[:200].decode(errors='replace').strip()}"}
    return Refused(status, problem)
