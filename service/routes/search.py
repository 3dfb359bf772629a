"""Searching."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..engine import Collection
from ..metrics import Searched, observation_of
from ..search import search, server_timing
from ..search.cursors import digest
from ..wire.answers import SearchResponse
from ..wire.search import SearchRequest
from .answering import IndexName, engine_of, json, problems
from .cancelling import CancellingRoute, cancel_of

router = APIRouter(route_class=CancellingRoute)

_UNCHANGED: dict[int | str, dict[str, str]] = {
    304: {"description": "The answer is the one that `If-None-Match` names."}
}


@router.post(
    "/v1/indexes/{name}/search",
    tags=["search"],
    summary="Search one index",
    response_model=SearchResponse,
    responses=problems(400, 404, 410, 413, 415, 422, 499, 503) | _UNCHANGED,
)
def search_index(name: IndexName, body: SearchRequest, request: Request) -> Response:
    """The best documents for a text, for weighted tokens, for a vector or for a document.

    The answer is exact unless `mode` asks for less or `timeout_ms` comes first, and says so. With
    `timing: false` it has an `ETag`, and `If-None-Match` is answered by 304 while nothing changed.
    """
    engine = engine_of(request)
    collection = engine.collection(name)
    if not body.timing and (given := request.headers.get("if-none-match")) is not None:
        tag = _entity_tag(collection, body, collection.index.generation)
        if tag in (one.strip().removeprefix("W/") for one in given.split(",")):
            return Response(status_code=304, headers={"ETag": tag})
    seen = observation_of(request)
    seen.index, seen.query = collection.name, body.query.text
    answer, watch = search(collection, body, secret=engine.secret, cancel=cancel_of(request))
    answer["alias"] = None if name == collection.name else name
    times = watch.as_milliseconds()
    seen.searches.append(Searched(collection.name, times, len(answer["hits"])))
    headers = {"Server-Timing": server_timing(times)}
    if body.timing:
        answer["timing_ms"] = times
    elif not answer["timed_out"]:
        headers["ETag"] = _entity_tag(collection, body, answer["generation"])
    return json(answer, headers=headers)


def _entity_tag(collection: Collection, body: SearchRequest, generation: int) -> str:
    """The same for the same request to the same commit of the same index."""
    return f'"{generation}-{digest(collection, body).hex()}"'
