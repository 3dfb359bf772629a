"""How the server is and has been: `/metrics` for Prometheus, the last hours for the page."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from ..access import needs
from ..metrics.lookup import looked_up
from ..metrics.page import exposition
from ..metrics.telemetry import Telemetry
from ..wire.health import HealthHistory
from .answering import engine_of, json, problems
from .guarding import GuardedRoute, aside

router = APIRouter(route_class=GuardedRoute)

_POINTS = 1000
"""Newest effectiveness points that are told: at one every 15 minutes, ten days of one index."""


def telemetry_of(request: Request) -> Telemetry:
    """Where this process counts, from the app's lifespan."""
    telemetry: Telemetry = request.state.telemetry
    return telemetry


@router.get(
    "/metrics",
    tags=["health"],
    summary="Counts for Prometheus",
    response_class=PlainTextResponse,
    responses=problems(),
)
@needs("monitor", of="server", always=True)
async def metrics(request: Request) -> Response:
    """What all processes of this server counted, and sizes as they are now."""
    telemetry = telemetry_of(request)

    def told() -> Response:
        body, media_type = exposition(
            telemetry.totals(),
            looked_up(engine_of(request), telemetry.folder),
            request.headers.get("accept", ""),
        )
        return Response(body, headers={"Content-Type": media_type})

    return await aside(request, told)


@router.get(
    "/v1/health-history",
    tags=["health"],
    summary="The last hours by the minute",
    response_model=HealthHistory,
    responses=problems(),
)
@needs("monitor", of="server")
def health_history(request: Request) -> Response:
    """Searches, times and errors of each index by the minute, and how good its answers were.

    Effectiveness is measured by the worker wherever an index or an alias has judged queries of its
    own, and told under that name.
    """
    engine = engine_of(request)
    points: list[dict[str, Any]] = []
    if engine.home is not None:
        rows = engine.home.rows(
            "SELECT index_name, at, generation, measure, value, n_queries FROM effectiveness "
            "ORDER BY at DESC LIMIT ?",
            _POINTS,
        )
        fields = ("index", "at", "generation", "measure", "value", "n_queries")
        points = [dict(zip(fields, row, strict=True)) for row in reversed(rows)]
    return json({"minutes": telemetry_of(request).minutes(), "effectiveness": points})
