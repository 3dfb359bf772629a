"""Tasks: long work and how far it is."""

from typing import Any, Literal

from pydantic import Field

from .base import Answer


class Progress(Answer):
    """How far a task is: `total`, `rate` (per second) and `eta_s` are null while unknown."""

    done: int
    total: int | None
    rate: float | None
    eta_s: float | None


class TaskError(Answer):
    """Why a task failed, or what it waits for."""

    code: str
    detail: str
    hint: str | None


class TaskInfo(Answer):
    """One task. Times are seconds since 1970."""

    id: int
    kind: str
    index: str | None
    state: Literal["receiving", "queued", "running", "succeeded", "failed", "canceled"]
    created: float
    started: float | None
    finished: float | None
    progress: Progress | None
    details: dict[str, Any] | None = Field(
        description="What it did: of an ingestion received, indexed, rejected, empty (indexed, but "
        "without any term, so that no search finds them), generation."
    )
    error: TaskError | None
    cancelable: bool


class TaskList(Answer):
    """Tasks, the newest first; `next_before` continues the list."""

    tasks: list[TaskInfo]
    next_before: int | None
