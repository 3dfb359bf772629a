"""Tasks: list, look at, watch, cancel."""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
import orjson
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import FileResponse, Response, StreamingResponse

from ..access import needs
from ..engine import Engine
from ..gate import Gate
from ..home import queue
from ..home.keys import Action
from ..home.queue import Task
from ..problems import KINDS, ProblemError
from ..receiving import finished
from ..wire.tasks import TaskInfo, TaskList
from .answering import (
    OF_CHANGES,
    OF_HOME,
    engine_of,
    json,
    problems,
)
from .guarding import GuardedRoute, access_of

router = APIRouter(route_class=GuardedRoute)

TaskNumber = Annotated[int, Path(description="The number of the task.", ge=1, lt=2**63)]
EVENT_EVERY_S = 0.2
KEEP_ALIVE_S = 10.0


def shown(task: Task) -> dict[str, Any]:
    """A task as clients see it, `wire.tasks.TaskInfo`."""
    progress = None
    if task.progress is not None:
        done, total = task.progress["done"], task.progress.get("total")
        elapsed = (task.finished or time.time()) - (task.started or task.created)
        rate = done / elapsed if done and elapsed > 0 else None
        left = None if total is None or rate is None else max(0.0, (total - done) / rate)
        progress = {"done": done, "total": total, "rate": rate, "eta_s": left}
    return {
        "id": task.id,
        "kind": task.kind,
        "index": task.about,
        "state": task.state,
        "created": task.created,
        "started": task.started,
        "finished": task.finished,
        "progress": progress,
        "details": task.details,
        "error": task.error,
        "cancelable": not task.over,
    }


async def answer_task(engine: Engine, task: Task, *, wait_s: float) -> Response:
    """200 when the task ends well within `wait_s` seconds, 202 while it goes on.

    Raises the problem that it failed with.
    """
    task = await finished(engine, task, wait_s=wait_s)
    if task.state == "failed" and task.error is not None and task.error["code"] in KINDS:
        raise ProblemError(
            str(task.error["code"]),
            str(task.error["detail"]),
            hint=task.error["hint"],
            extensions={"task": task.id, **(task.details or {})},
        )
    headers = {"Location": f"/v1/tasks/{task.id}"}
    return json(shown(task), 200 if task.over else 202, headers=headers)


@router.get(
    "/v1/tasks",
    tags=["tasks"],
    summary="List tasks",
    response_model=TaskList,
    responses=problems(*OF_HOME, "invalid_request"),
)
@needs(None)
def list_tasks(
    request: Request,
    index: Annotated[str | None, Query(description="Only of this index.")] = None,
    state: Annotated[queue.State | None, Query(description="Only in this state.")] = None,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """The newest tasks first."""
    home = engine_of(request).writable_home()
    found = queue.tasks_of(home, index=index, state=state, before=before, limit=limit)
    more = found[-1].id if len(found) == limit else None
    seen = [_seen(request, task) for task in found if _may(request, task)]
    return json({"tasks": seen, "next_before": more})


@router.get(
    "/v1/tasks/{id}",
    tags=["tasks"],
    summary="Look at a task",
    response_model=TaskInfo,
    responses=problems(*OF_HOME, "invalid_request", "unknown_task"),
)
@needs(None)
def read_task(id: TaskNumber, request: Request) -> Response:
    """How far it is, what it did, why it failed."""
    return json(_seen(request, _task_of(request, id)))


@router.post(
    "/v1/tasks/{id}/cancel",
    tags=["tasks"],
    summary="Cancel a task",
    response_model=TaskInfo,
    responses=problems(*OF_CHANGES, "invalid_request", "unknown_task"),
)
@needs(None)
def cancel_task(id: TaskNumber, request: Request) -> Response:
    """A task that runs ends between two commits; what it committed stays."""
    _task_of(request, id, change=True)
    return json(shown(queue.cancel(engine_of(request).writable_home(), id)))


@router.get(
    "/v1/tasks/{id}/rejects",
    tags=["tasks"],
    summary="Read the rejected lines",
    responses={
        200: {
            "description": "NDJSON: line, code, detail, pointer and text of each rejected line.",
            "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        },
        **problems(*OF_HOME, "invalid_request", "unknown_task"),
    },
)
@needs(None)
def read_rejects(id: TaskNumber, request: Request) -> Response:
    """Every line that an ingestion refused, and why."""
    home = engine_of(request).writable_home()
    _task_of(request, id, change=True)
    path = home.path / "tasks" / str(id) / "rejects.ndjson"
    if not path.is_file():
        raise ProblemError("unknown_task", f"Task {id} rejected no lines.")
    return FileResponse(path, media_type="application/x-ndjson")


@router.get(
    "/v1/tasks/{id}/events",
    tags=["tasks"],
    summary="Watch a task",
    responses={
        200: {
            "description": "Server-sent events named `task`, each a TaskInfo, until it is over.",
            "content": {
                "text/event-stream": {
                    "schema": {
                        "type": "object",
                        "required": ["event", "data"],
                        "properties": {
                            "event": {"const": "task"},
                            "data": {
                                "type": "string",
                                "contentMediaType": "application/json",
                                "contentSchema": {"$ref": "#/components/schemas/TaskInfo"},
                            },
                        },
                    }
                }
            },
        },
        **problems(*OF_HOME, "invalid_request", "unknown_task"),
    },
)
@needs(None)
async def watch_task(id: TaskNumber, request: Request) -> Response:
    """An event whenever the task changed, some times a second at most."""
    engine = engine_of(request)
    home = engine.writable_home()
    first = _task_of(request, id)
    gate: Gate = request.state.gate
    gate.require_stream()

    async def events() -> AsyncIterator[bytes]:
        task = first
        said: Task | None = None
        quiet_since = time.monotonic()
        with gate.streaming():
            while True:
                if task != said:
                    yield b"event: task\ndata: " + orjson.dumps(_seen(request, task)) + b"\n\n"
                    said, quiet_since = task, time.monotonic()
                if task.over or engine.ending.is_set():
                    return
                if time.monotonic() - quiet_since > KEEP_ALIVE_S:
                    yield b": still here\n\n"
                    quiet_since = time.monotonic()
                await anyio.sleep(EVENT_EVERY_S)
                task = queue.task_of(home, id)

    return StreamingResponse(events(), media_type="text/event-stream")


def _task_of(request: Request, number: int, *, change: bool = False) -> Task:
    """The task, for a key that may know of it. Raises the problem `unknown_task` for any other.

    `change` is for what a key that only monitors may not do.
    """
    task = queue.task_of(engine_of(request).writable_home(), number)
    if not _may(request, task, change=change):
        raise ProblemError("unknown_task", f"There is no task {number}.")
    return task


def _seen(request: Request, task: Task) -> dict[str, Any]:
    """As `shown`; a key that only monitors is not told what rejected lines say."""
    told = shown(task)
    if task.details and "rejects" in task.details and not _may(request, task, change=True):
        told["details"] = {k: v for k, v in task.details.items() if k != "rejects"}
    return told


def _may(request: Request, task: Task, *, change: bool = False) -> bool:
    access = access_of(request)
    action: Action = "write" if task.kind in ("ingest", "delete") else "admin"
    if access.may_everywhere(action) or (not change and access.may_everywhere("monitor")):
        return True
    if task.about is None:
        return False
    return access.may(action, engine_of(request).registry().names_of(task.about))
