"""Searching."""

from fastapi import APIRouter, Request
from starlette.responses import Response

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
    answer, watch = search(engine_of(request).collection(name), body)
    times = watch.as_milliseconds()
    if body.timing:
        answer["timing_ms"] = times
    header = ", ".join(f"{stage};dur={ms}" for stage, ms in times.items())
    return json(answer, headers={"Server-Timing": header})
