"""Snapshots: take, list, verify, restore, delete; only in the data directory."""

from pathlib import Path as FilePath
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from index import Manifest
from index.archive import SUFFIX

from ..access import needs
from ..home.queue import Task
from ..receiving import submit, where_of
from ..versions import snapshots
from ..wire.snapshots import CreateSnapshot, RestoreSnapshot, SnapshotInfo, SnapshotList
from ..wire.tasks import TaskInfo
from .answering import (
    OF_CHANGES,
    OF_HOME,
    OF_TASKS,
    engine_of,
    json,
    problems,
)
from .guarding import GuardedRoute
from .tasks import answer_task

router = APIRouter(route_class=GuardedRoute)

SnapshotName = Annotated[str, Path(description="The snapshot's name, as the list has it.")]
Wait = Annotated[
    float, Query(ge=0, le=300, description="Seconds to wait for the end before answering 202.")
]
_TASK: dict[int | str, dict[str, Any]] = {
    202: {"model": TaskInfo, "description": "Acknowledged; the task goes on."}
}


@router.get(
    "/v1/snapshots",
    tags=["snapshots"],
    summary="List the snapshots",
    response_model=SnapshotList,
    responses=problems(*OF_HOME),
)
@needs("monitor", of="server")
def list_snapshots(request: Request) -> Response:
    """What their manifests say; `verify` reads the rest."""
    home = engine_of(request).writable_home()
    return json({"snapshots": [_shown(*one) for one in snapshots.listed(home)]})


@router.post(
    "/v1/snapshots",
    tags=["snapshots"],
    summary="Take a snapshot",
    response_model=TaskInfo,
    responses=_TASK | problems(*OF_TASKS),
)
@needs("admin", of="server")
async def create_snapshot(body: CreateSnapshot, request: Request, wait: Wait = 30.0) -> Response:
    """A copy of one commit, while others search, write and merge; every byte is verified."""
    engine = engine_of(request)
    home = engine.writable_home()

    def ask() -> Task:
        entry = engine.registry().resolve(body.index)
        wanted = {**where_of(entry), "archive": body.archive}
        return submit(home, "snapshot_create", entry.name, wanted)

    return await answer_task(engine, await run_sync(ask), wait_s=wait)


@router.get(
    "/v1/snapshots/{snapshot}",
    tags=["snapshots"],
    summary="Describe one snapshot",
    response_model=SnapshotInfo,
    responses=problems(*OF_HOME, "unknown_snapshot"),
)
@needs("monitor", of="server")
def read_snapshot(snapshot: SnapshotName, request: Request) -> Response:
    """What its manifest says."""
    home = engine_of(request).writable_home()
    place = snapshots.place_of(home, snapshot)
    told = dict(snapshots.listed(home)).get(place)
    return json(_shown(place, told))


@router.post(
    "/v1/snapshots/{snapshot}/verify",
    tags=["snapshots"],
    summary="Verify a snapshot",
    response_model=TaskInfo,
    responses=_TASK
    | problems(
        *OF_CHANGES, "index_unavailable", "invalid_request", "unknown_snapshot", "snapshot_damaged"
    ),
)
@needs("admin", of="server")
async def verify_snapshot(snapshot: SnapshotName, request: Request, wait: Wait = 30.0) -> Response:
    """Read every byte; `snapshot_damaged` names what is wrong."""
    engine = engine_of(request)
    home = engine.writable_home()

    def ask() -> Task:
        snapshots.place_of(home, snapshot)
        return submit(home, "snapshot_verify", None, {"snapshot": snapshot})

    return await answer_task(engine, await run_sync(ask), wait_s=wait)


@router.post(
    "/v1/snapshots/{snapshot}/restore",
    tags=["snapshots"],
    summary="Restore a snapshot",
    response_model=TaskInfo,
    responses=_TASK | problems(*OF_TASKS, "unknown_snapshot", "snapshot_damaged", "index_exists"),
)
@needs("admin", of="server")
async def restore_snapshot(
    snapshot: SnapshotName, body: RestoreSnapshot, request: Request, wait: Wait = 30.0
) -> Response:
    """A new index, verified as it is read; point an alias to it when it has proven itself."""
    engine = engine_of(request)
    home = engine.writable_home()

    def ask() -> Task:
        snapshots.place_of(home, snapshot)
        snapshots.check_free(home, body.index, mounted=engine.settings.indexes)
        return submit(home, "snapshot_restore", body.index, {"snapshot": snapshot})

    return await answer_task(engine, await run_sync(ask), wait_s=wait)


@router.delete(
    "/v1/snapshots/{snapshot}",
    tags=["snapshots"],
    summary="Delete a snapshot",
    status_code=204,
    responses=problems(*OF_HOME, "unknown_snapshot"),
)
@needs("admin", of="server")
def delete_snapshot(snapshot: SnapshotName, request: Request) -> Response:
    """The copy and everything in it."""
    snapshots.discard(snapshots.place_of(engine_of(request).writable_home(), snapshot))
    return Response(status_code=204)


def _shown(place: FilePath, told: Manifest | None) -> dict[str, Any]:
    """As `wire.snapshots.SnapshotInfo`."""
    archive = place.name.endswith(SUFFIX)
    nothing = dict.fromkeys(("of", "generation", "n_docs", "bytes", "created", "encoder"))
    known = nothing if told is None else snapshots.described(told)
    return {
        "name": place.name,
        "readable": None if archive else told is not None,
        "archive": archive,
        **known,
    }
