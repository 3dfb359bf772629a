"""Searching."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..access import needs
from ..collection import Collection
from ..metrics import Searched, observation_of
from ..search import search, server_timing
from ..search.cursors import digest
from ..search.why import why
from ..wire.answers import SearchResponse
from ..wire.search import SearchRequest
from ..wire.why import ExplainRequest, ExplainResponse
from .answering import (
    OF_SEARCHES,
    DocumentId,
    IndexName,
    collection_of,
    engine_of,
    json,
    problems,
)
from .guarding import GuardedRoute, cancel_of, room_of

router = APIRouter(route_class=GuardedRoute)

_UNCHANGED: dict[int | str, dict[str, str]] = {
    304: {"description": "The answer is the one that `If-None-Match` names."}
}


@router.post(
    "/v1/indexes/{name}/search",
    tags=["search"],
    summary="Search one index",
    response_model=SearchResponse,
    responses=problems(*OF_SEARCHES, "answer_too_large", "invalid_cursor", "cursor_expired")
    | _UNCHANGED,
)
@needs("search")
def search_index(name: IndexName, body: SearchRequest, request: Request) -> Response:
    """The best documents for a text, for weighted tokens, for a vector or for a document.

    The answer is exact unless `mode` asks for less or `timeout_ms` comes first, and says so. With
    `timing: false` it has an `ETag`, and `If-None-Match` is answered by 304 while nothing changed.
    """
    collection = collection_of(request, name)
    if not body.timing and (given := request.headers.get("if-none-match")) is not None:
        tag = _entity_tag(collection, body, collection.index.generation)
        if tag in (one.strip().removeprefix("W/") for one in given.split(",")):
            return Response(status_code=304, headers={"ETag": tag})
    seen = observation_of(request)
    seen.index, seen.query = collection.name, body.query.text
    answer, times = answered(request, name, collection, body)
    headers = {"Server-Timing": server_timing(times)}
    if not body.timing and not answer["timed_out"] and not answer.get("partial"):
        headers["ETag"] = _entity_tag(collection, body, answer["generation"])
    return json(answer, headers=headers)


def answered(
    request: Request, name: str, collection: Collection, body: SearchRequest
) -> tuple[dict[str, Any], dict[str, float]]:
    """One search of the index that `name` means, as it is told, and its times."""
    answer, watch = search(
        collection,
        body,
        secret=engine_of(request).secret,
        cancel=cancel_of(request),
        room=room_of(request),
    )
    answer["alias"] = None if name == collection.name else name
    times = watch.as_milliseconds()
    observation_of(request).searches.append(
        Searched(
            collection.name,
            times,
            len(answer["hits"]),
            watch.blocks,
            watch.blocks_scored,
            first_page=body.offset == 0 and body.cursor is None,
        )
    )
    if body.timing:
        answer["timing_ms"] = times
    return answer, times


@router.post(
    "/v1/indexes/{name}/explain/{id:any}",
    tags=["search"],
    summary="Explain any document",
    response_model=ExplainResponse,
    responses=problems(*OF_SEARCHES),
)
@needs("search")
def explain_document(
    name: IndexName, id: DocumentId, body: ExplainRequest, request: Request
) -> Response:
    """Why a document is where it is for a query, whether or not the search finds it.

    Its score term by term, the terms of the query that it lacks, its rank among the best 1,000, and
    what its vector would need to be in the top k.
    """
    collection = collection_of(request, name)
    answer, watch = why(collection, id, body, cancel=cancel_of(request))
    times = watch.as_milliseconds()
    answer["timing_ms"] = times
    return json(answer, headers={"Server-Timing": server_timing(times)})


def _entity_tag(collection: Collection, body: SearchRequest, generation: int) -> str:
    """The same for the same request to the same commit of the same index."""
    return f'"{generation}-{digest(collection, body).hex()}"'
