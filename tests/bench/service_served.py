"""The server of `service_bench.py`: `lsr serve` with one more route, whose handler does nothing.

    POST /v1/indexes/NAME/constant/SIZE

It has the request model, the middleware, the guard and the thread of a search, and answers SIZE
bytes of JSON. What a search costs beside it is the search.
"""

import sys
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

import service.app as app
from service import serve
from service.access import needs
from service.routes.answering import IndexName
from service.routes.guarding import GuardedRoute
from service.wire.search import SearchRequest

router = APIRouter(route_class=GuardedRoute)
_TIMES = {"Server-Timing": "encode;dur=0.1, filter;dur=0.1, score;dur=0.1, fetch;dur=0.1"}
_BODY = b'{"constant": "' + b"x" * (1 << 16) + b'"}'


@router.post("/v1/indexes/{name}/constant/{size}", include_in_schema=False)
@needs("search")
def constant(name: IndexName, size: int, body: SearchRequest, request: Request) -> Response:
    """As many bytes as a search of the same body answers."""
    return Response(_BODY[:size], headers=_TIMES, media_type="application/json")


if __name__ == "__main__":
    app.ROUTERS = (*app.ROUTERS, router)
    places = dict(one.split("=", 1) for one in sys.argv[2:])
    home = None if sys.argv[1] == "-" else Path(sys.argv[1])
    serve({name: Path(path) for name, path in places.items()}, port=0, home=home)
