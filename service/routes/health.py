"""Is the process alive, is it ready."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..problems import ProblemError
from ..wire.server import Live, Ready
from .answering import engine_of, json, problems

router = APIRouter()


@router.get("/livez", tags=["health"], summary="Is the process alive", response_model=Live)
def livez() -> Response:
    """Answers as long as the process can answer at all."""
    return json({"status": "alive"})


@router.get(
    "/readyz",
    tags=["health"],
    summary="Is every index open",
    response_model=Ready,
    responses=problems(503),
)
def readyz(request: Request) -> Response:
    """200 once every index and its encoder are open; until then 503 with what is waited for."""
    engine = engine_of(request)
    reasons = {name: failure.reason for name, failure in engine.failures().items()}
    checks: list[dict[str, Any]] = []
    for name in engine.names:
        check = {"index": name, "state": engine.state(name)}
        if name in reasons:
            check["reason"] = reasons[name]
        checks.append(check)
    waiting = [check["index"] for check in checks if check["state"] != "ready"]
    if waiting:
        raise ProblemError(
            "not_ready",
            f"{len(waiting)} of {len(checks)} indexes are not open: {', '.join(waiting)}.",
            hint="The server's log says why." if reasons else "Try again in a moment.",
            headers={"Retry-After": "1"},
            extensions={"checks": checks},
        )
    return json({"status": "ready", "checks": checks})
