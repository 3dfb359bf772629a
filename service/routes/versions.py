"""Versions of an index: rebuild it, list what is kept, roll back, forget."""

from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from starlette.responses import Response

from index import Index
from lsr.errors import IndexFailure

from ..access import needs
from ..home import versions
from ..home.keys import Action
from ..home.queue import Task
from ..home.registry import Entry
from ..home.versions import Version
from ..problems import ProblemError
from ..versions.rebuilding import ask_rebuild, ask_rollback, forget_all
from ..wire.tasks import TaskInfo
from ..wire.versions import RebuildRequest, VersionList
from .answering import (
    OF_CHANGES,
    OF_ENTRY,
    OF_HOME,
    OF_TASKS,
    IndexName,
    engine_of,
    entry_of,
    json,
    problems,
)
from .guarding import GuardedRoute
from .snapshots import Wait
from .tasks import answer_task

router = APIRouter(route_class=GuardedRoute)

_TASK: dict[int | str, dict[str, Any]] = {
    202: {"model": TaskInfo, "description": "Acknowledged; the task goes on."}
}


@router.post(
    "/v1/indexes/{name}/rebuild",
    tags=["versions"],
    summary="Rebuild an index",
    response_model=TaskInfo,
    responses=_TASK
    | problems(
        *OF_TASKS,
        "index_mounted",
        "unknown_encoder",
        "unknown_judged",
        "no_encoder",
        "rebuild_failed",
        "gate_failed",
    ),
)
@needs("admin")
async def rebuild_index(
    name: IndexName, body: RebuildRequest, request: Request, wait: Wait = 0.0
) -> Response:
    """A new version of the same documents, made while the index is searched and written.

    It catches up with what is written meanwhile, is verified, measured if there is a `gate`, and
    takes the place of the old version, which is kept for a rollback.
    """
    engine = engine_of(request)
    home = engine.writable_home()

    def ask() -> Task:
        return ask_rebuild(home, _own(request, name), body.model_dump(mode="json"))

    return await answer_task(engine, await run_sync(ask), wait_s=wait)


@router.get(
    "/v1/indexes/{name}/versions",
    tags=["versions"],
    summary="List earlier versions",
    response_model=VersionList,
    responses=problems(*OF_HOME, *OF_ENTRY, "index_mounted"),
)
@needs("monitor")
def list_versions(name: IndexName, request: Request) -> Response:
    """What a rollback can go back to."""
    engine = engine_of(request)
    kept = versions.versions_of(engine.writable_home(), _own(request, name, "monitor").name)
    return json({"versions": [_shown(one) for one in kept]})


@router.post(
    "/v1/indexes/{name}/rollback",
    tags=["versions"],
    summary="Roll an index back",
    response_model=TaskInfo,
    responses=_TASK
    | problems(
        *OF_TASKS, "invalid_request", "index_mounted", "nothing_to_roll_back", "rollback_failed"
    ),
)
@needs("admin")
async def roll_index_back(name: IndexName, request: Request, wait: Wait = 30.0) -> Response:
    """The version before the last rebuild serves again, with whatever was written since; a second
    time undoes the first. An alias is rolled back at its own address.
    """
    engine = engine_of(request)
    home = engine.writable_home()
    task = await run_sync(ask_rollback, home, _own(request, name))
    return await answer_task(engine, task, wait_s=wait)


@router.delete(
    "/v1/indexes/{name}/versions",
    tags=["versions"],
    summary="Forget earlier versions",
    status_code=204,
    responses=problems(*OF_CHANGES, *OF_ENTRY, "index_mounted"),
)
@needs("admin")
def forget_versions(name: IndexName, request: Request) -> Response:
    """Their disk space is free again, and there is nothing to roll back to."""
    engine = engine_of(request)
    forget_all(engine.writable_home(), _own(request, name).name)
    return Response(status_code=204)


def _own(request: Request, name: str, action: Action = "admin") -> Entry:
    """The index of the data directory that this name means. Raises the problem `index_mounted`."""
    entry = entry_of(request, name, action)
    if entry.mounted:
        raise ProblemError(
            "index_mounted",
            f"Index '{entry.name}' was named on the command line of the server.",
            hint="It has no versions here; `lsr rebuild INDEX` rebuilds it where it lies.",
        )
    return entry


def _shown(version: Version) -> dict[str, Any]:
    """As `wire.versions.VersionInfo`."""
    n_docs, encoder = None, None
    try:
        with Index.open(version.path, read_only=True) as index:
            n_docs = index.n_docs
            encoder = None if index.encoder is None else index.encoder.name
    except IndexFailure:
        pass  # told by what is null
    return {
        "version": version.number,
        "until": version.until,
        "n_docs": n_docs,
        "encoder": encoder,
        "bytes": sum(one.stat().st_size for one in version.path.rglob("*") if one.is_file()),
        "why": dict(version.why),
    }
