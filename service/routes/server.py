"""The server itself: versions, limits, what problems mean."""

import platform
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from index import MAX_QUERY_TERMS
from index.filtering import MAX_CLAUSES, MAX_VALUES
from index.filtering import MAX_DEPTH as MAX_DEPTH_OF_FILTERS
from lsr import __version__

from ..access import needs, public
from ..problems import KINDS, ProblemError, did_you_mean, type_of
from ..wire.encode import MAX_TEXTS
from ..wire.multi import MAX_SEARCHES
from ..wire.problems import ProblemKind
from ..wire.search import MAX_DEPTH, MAX_LIMIT, MAX_TIMEOUT_MS, MAX_WINDOW
from ..wire.server import ServerInfo
from .answering import engine_of, json, problems, sees
from .guarding import GuardedRoute, access_of

_LIBRARIES = ("numpy", "scipy", "apsw", "fastapi", "starlette", "uvicorn", "pydantic", "orjson")

router = APIRouter(route_class=GuardedRoute)


@router.get(
    "/v1/info",
    tags=["server"],
    summary="Versions and limits",
    response_model=ServerInfo,
    responses=problems(),
)
@needs(None)
def info(request: Request) -> Response:
    """Which software answers, and what a request may not exceed."""
    engine = engine_of(request)
    registry, access = engine.registry(), access_of(request)
    return json(
        {
            "name": "lsr-search",
            "version": __version__,
            "api": "v1",
            "versions": {"python": platform.python_version()}
            | {library: version(library) for library in _LIBRARIES},
            "limits": {
                **engine.settings.limits.as_info(),
                "limit": MAX_LIMIT,
                "window": MAX_WINDOW,
                "cursor_depth": MAX_DEPTH,
                "timeout_ms": MAX_TIMEOUT_MS,
                "query_terms": MAX_QUERY_TERMS,
                "filter_depth": MAX_DEPTH_OF_FILTERS,
                "filter_clauses": MAX_CLAUSES,
                "filter_values": MAX_VALUES,
                "searches": MAX_SEARCHES,
                "texts": MAX_TEXTS,
            },
            "indexes": [name for name in registry.entries if sees(access, registry, name)],
        }
    )


@router.get(
    "/problems/{name}",
    tags=["server"],
    summary="Explain a problem",
    response_model=ProblemKind,
    responses=problems("unknown_problem"),
)
@public
def explain_problem(
    name: Annotated[str, Path(description="The last part of a problem's `type`.")],
) -> Response:
    """What the code of a problem means: the page that its `type` is the address of."""
    code = name.replace("-", "_")
    if code not in KINDS or name != type_of(code).rpartition("/")[2]:
        raise ProblemError(
            "unknown_problem",
            f"There is no problem named '{name[:100]}'.",
            hint=did_you_mean(name, [type_of(one).rpartition("/")[2] for one in KINDS]),
        )
    kind = KINDS[code]
    return json(
        {
            "type": type_of(code),
            "code": code,
            "title": kind.title,
            "status": kind.status,
            "meaning": kind.meaning,
        }
    )
