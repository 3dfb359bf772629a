"""Several searches in one request: a batch, or two that are compared."""

import logging
import time
from dataclasses import replace
from typing import Any

import orjson
from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from lsr.errors import IndexFailure

from ..access import needs
from ..errors import problem_of_failure, problem_of_faults
from ..problems import KINDS, Fault, ProblemError, problem_json
from ..search.cancelling import require_wanted
from ..search.comparing import moves, overlap, rank_biased_overlap, term_differences
from ..wire.compare import CompareRequest, CompareResponse, CompareTarget
from ..wire.multi import MultiSearchRequest, MultiSearchResponse, SearchItem
from .answering import (
    OF_SEARCHES,
    collection_of,
    json,
    problems,
)
from .guarding import GuardedRoute, cancel_of
from .search import answered

log = logging.getLogger("lsr.service")

router = APIRouter(route_class=GuardedRoute)


@router.post(
    "/v1/multi-search",
    tags=["search"],
    summary="Search many times",
    response_model=MultiSearchResponse,
    responses=problems("cancelled", "deadline_exceeded"),
)
@needs("search", of="some")
def multi_search(body: MultiSearchRequest, request: Request) -> Response:
    """Each search is answered as if it came alone, in order; what is refused has its problem."""
    results: list[dict[str, Any]] = []
    for given in body.searches:
        require_wanted(cancel_of(request))
        try:
            results.append({"status": 200, "answer": _answered(request, _item(given))})
        except ProblemError as error:
            if error.code == "cancelled":
                raise
            results.append(_refused(request, error))
        except IndexFailure as error:
            log.error("request %s: %s", request.state.request_id, error)
            results.append(_refused(request, problem_of_failure(error)))
    return json({"results": results})


@router.post(
    "/v1/compare",
    tags=["search"],
    summary="Compare two targets",
    response_model=CompareResponse,
    responses=problems(*OF_SEARCHES, "answer_too_large"),
)
@needs("search", of="some")
def compare(body: CompareRequest, request: Request) -> Response:
    """The same question to two indexes, or to one in two ways: ranks, overlap, terms.

    Shares of scores are compared rather than scores, which have no common unit.
    """
    started = time.perf_counter()
    answers = []
    for side, target in (("a", body.a), ("b", body.b)):
        try:
            answers.append(_answered(request, _search_of(body, target)))
        except ProblemError as error:
            raise _on_side(error, side, own_query=target.query is not None) from error
    a, b = answers
    of_a, of_b = ([hit["id"] for hit in answer["hits"]] for answer in answers)
    both, share = overlap(of_a, of_b)
    answer: dict[str, Any] = {
        "limit": body.limit,
        "a": a,
        "b": b,
        "overlap": {"both": both, "share": share},
        "rank_biased_overlap": {
            "value": rank_biased_overlap(of_a, of_b, body.persistence),
            "persistence": body.persistence,
        },
        "moves": moves(of_a, of_b),
    }
    if body.a.explain is not False and body.b.explain is not False:
        answer["terms"] = term_differences(a["hits"], b["hits"])
    answer["timing_ms"] = {
        "a": a["timing_ms"]["total"],
        "b": b["timing_ms"]["total"],
        "total": round((time.perf_counter() - started) * 1000, 3),
    }
    return json(answer)


def _answered(request: Request, item: SearchItem) -> dict[str, Any]:
    return answered(request, item.index, collection_of(request, item.index), item)[0]


def _item(given: Any) -> SearchItem:
    if not isinstance(given, dict):
        fault = Fault("", "wanted a JSON object")
        raise ProblemError("invalid_request", "A search is a JSON object.", faults=[fault])
    try:
        return SearchItem.model_validate(given)
    except ValidationError as error:
        errors = [one | {"loc": ("body", *one["loc"])} for one in error.errors()]
        raise problem_of_faults(errors, given, SearchItem) from error


def _refused(request: Request, problem: ProblemError) -> dict[str, Any]:
    text = problem_json(request.scope, problem)
    return {"status": KINDS[problem.code].status, "problem": orjson.Fragment(text)}


def _search_of(body: CompareRequest, target: CompareTarget) -> SearchItem:
    said = {name: getattr(target, name) for name in target.model_fields_set}
    query = target.query or body.query
    return SearchItem.model_construct(**said | {"query": query, "limit": body.limit})


def _on_side(error: ProblemError, side: str, *, own_query: bool) -> ProblemError:
    """The problem with its places inside the target that has it."""
    faults = [
        one
        if one.pointer.startswith("/query") and not own_query
        else replace(one, pointer=f"/{side}{one.pointer}")
        for one in error.faults
    ]
    return ProblemError(
        error.code,
        f"Target {side}: {error.detail}",
        hint=error.hint,
        faults=faults,
        headers=error.headers,
        extensions=error.extensions,
    )
