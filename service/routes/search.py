"""Searching."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..metrics import Searched, observation_of
from ..searching import search
from ..wire.search import SearchRequest, SearchResponse
from .answering import IndexName, engine_of, json, problems

router = APIRouter()


@router.post(
    "/v1/indexes/{name}/search",
    tags=["search"],
    summary="Search one index",
    response_model=SearchResponse,
    responses=problems(400, 404, 413, 415, 422, 503),
)
def search_index(name: IndexName, body: SearchRequest, request: Request) -> Response:
    """The exact best documents for a text, for weighted tokens or for a vector."""
    collection = engine_of(request).collection(name)
    seen = observation_of(request)
    seen.index, seen.query = collection.name, body.query.text
    answer, watch = search(collection, body)
    times = watch.as_milliseconds()
    seen.searches.append(Searched(collection.name, times, len(answer["hits"])))
    if body.timing:
        answer["timing_ms"] = times
    header = ", ".join(f"{stage};dur={ms}" for stage, ms in times.items())
    return json(answer, headers={"Server-Timing": header})
