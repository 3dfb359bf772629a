"""Is the process alive, is it ready."""

import time
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..access import anonymous, public
from ..engine import Engine
from ..home import Home, log, queue
from ..problems import ProblemError
from ..wire.server import Live, Ready
from .answering import engine_of, json, problems, sees
from .guarding import GuardedRoute, access_of, aside

router = APIRouter(route_class=GuardedRoute)


@router.get(
    "/livez",
    tags=["health"],
    summary="Is the process alive",
    response_model=Live,
    responses=problems(),
)
@public
async def livez() -> Response:
    """Answers as long as the process can answer at all."""
    return json({"status": "alive"})


@router.get(
    "/readyz",
    tags=["health"],
    summary="Is every index open",
    response_model=Ready,
    responses=problems("not_ready"),
)
@anonymous
async def readyz(request: Request) -> Response:
    """200 once every index and its encoder are open; until then 503 with what is waited for.

    Indexes that come later are opened beside the others, and waited for by nobody else. Where keys
    are asked for, one without a key is told yes or no, and a key of what it has to do with.
    """
    return await aside(request, lambda: _readiness(request))


def _readiness(request: Request) -> Response:
    """The answer of `/readyz`. Raises the problem `not_ready`."""
    engine = engine_of(request)
    registry, access = engine.registry(), access_of(request)
    started = engine.wait(0)
    states = {name: engine.state(name) for name in registry.entries}
    waiting = [
        name
        for name, state in states.items()
        if state == "failed" or (state == "opening" and not started)
    ]
    checks = [_check(engine, name) for name in registry.entries if sees(access, registry, name)]
    partly = access.anonymous or access.filter is not None
    if partly:  # sizes are those of all documents
        checks = [check | {"verified": None} for check in checks]
    data = None if engine.home is None or partly else _data(engine.home)
    if waiting:
        failed = any(states[name] == "failed" for name in waiting)
        told = [name for name in waiting if sees(access, registry, name)]
        named = f": {', '.join(told)}" if told else ""
        raise ProblemError(
            "not_ready",
            f"{len(waiting)} of {len(states)} indexes are not open{named}.",
            hint="The server's log says why." if failed else "Try again in a moment.",
            headers={"Retry-After": "1"},
            extensions={"checks": checks, "data": data},
        )
    return json({"status": "ready", "checks": checks, "data": data})


def _check(engine: Engine, name: str) -> dict[str, Any]:
    progress = engine.progress(name)
    check: dict[str, Any] = {
        "index": name,
        "state": engine.state(name),
        "step": "waiting for its turn" if progress is None else progress.step,
        "seconds": None if progress is None else round(time.monotonic() - progress.since, 3),
        "verified": None,
    }
    if progress is not None and progress.n_bytes:
        check["verified"] = {"bytes": progress.verified, "of": progress.n_bytes}
    if failure := engine.failures().get(name):
        check["reason"] = failure.reason
    if warnings := [
        f"commit {one['commit']}: a merged segment was damaged; its sources serve again"
        for one in engine.fallbacks(name)
    ]:
        check["warnings"] = warnings
    return check


def _data(home: Home) -> dict[str, Any]:
    counts = queue.counts(home)
    working = home.worked_in()
    return {
        "worker": "unknown" if working is None else "running" if working else "absent",
        "waiting_tasks": sum(counts.get(state, 0) for state in ("receiving", "queued", "running")),
        "log_bytes": log.n_bytes(home),
    }
