"""The addresses of API v1. Handlers are plain functions, so that each runs in the thread pool."""

import platform
from importlib.metadata import version
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from index import MAX_QUERY_TERMS
from lsr import __version__
from lsr.errors import UsageError

from . import answers, requests
from .engine import Engine
from .problems import KINDS, MEDIA_TYPE, ProblemError, did_you_mean, type_of
from .searching import search

_LIBRARIES = ("numpy", "scipy", "apsw", "fastapi", "starlette", "uvicorn", "pydantic", "orjson")

router = APIRouter()

IndexName = Annotated[str, Path(description="The name that the index is served under.")]


def _engine(request: Request) -> Engine:
    engine: Engine = request.state.engine
    return engine


def _json(body: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), headers=headers, media_type="application/json")


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How OpenAPI describes the errors of a route; `app.py` adds the schema they refer to."""
    shape = {"schema": {"$ref": "#/components/schemas/Problem"}}
    codes = {
        status: [code for code, kind in KINDS.items() if kind.status == status]
        for status in (*statuses, 500)
    }
    return {
        status: {
            "description": "Problem `" + "`, `".join(codes[status]) + "`",
            "content": {MEDIA_TYPE: shape},
        }
        for status in codes
    }


@router.post(
    "/v1/indexes/{name}/search",
    tags=["search"],
    summary="Search one index",
    response_model=answers.SearchResponse,
    responses=_problems(400, 404, 413, 415, 422, 503),
)
def search_index(name: IndexName, body: requests.SearchRequest, request: Request) -> Response:
    """The exact best documents for a text, for weighted tokens or for a vector."""
    answer, watch = search(_engine(request).collection(name), body)
    times = watch.as_milliseconds()
    if body.timing:
        answer["timing_ms"] = times
    header = ", ".join(f"{stage};dur={ms}" for stage, ms in times.items())
    return _json(answer, {"Server-Timing": header})


@router.get(
    "/v1/indexes",
    tags=["indexes"],
    summary="List the indexes",
    response_model=answers.IndexList,
    responses=_problems(),
)
def list_indexes(request: Request) -> Response:
    """Every served index, open or not."""
    engine = _engine(request)
    opened = {one.name: one for one in engine.collections()}
    summaries: list[dict[str, Any]] = []
    for name in engine.names:
        summary: dict[str, Any] = {"name": name, "state": engine.state(name)}
        if name in opened:
            collection = opened[name]
            summary["generation"] = collection.index.generation
            summary["n_docs"] = collection.index.n_docs
            summary["encoder"] = collection.encoder_label
        summaries.append(summary)
    return _json({"indexes": summaries})


@router.get(
    "/v1/indexes/{name}",
    tags=["indexes"],
    summary="Describe one index",
    response_model=answers.IndexInfo,
    responses=_problems(404, 503),
)
def describe_index(name: IndexName, request: Request) -> Response:
    """Counts, sizes, declared fields and the encoder of one index."""
    collection = _engine(request).collection(name)
    info = collection.index.info()
    del info["path"]
    if info["encoder"] is not None:
        for private in ("path", "copy"):
            del info["encoder"][private]
    kinds = ["vector"] if collection.encoder is None else ["text", "tokens", "vector"]
    return _json({"name": name, **info, "queries": kinds})


@router.get(
    "/v1/indexes/{name}/documents/{id:path}",
    tags=["documents"],
    summary="Read one document",
    response_model=answers.StoredDocument,
    responses=_problems(404, 503),
)
def read_document(
    name: IndexName,
    id: Annotated[str, Path(description="The document's id, percent-encoded; it may hold '/'.")],
    request: Request,
) -> Response:
    """The stored fields of a document, as they were given."""
    collection = _engine(request).collection(name)
    try:
        document = collection.index.get(id)
    except UsageError:  # it was deleted between the look-up and the reading
        document = None
    if document is None:
        raise ProblemError(
            "unknown_document",
            f"Index '{name}' holds no document with the id '{id[:100]}'.",
            hint="Ids are the caller's own strings; percent-encode what addresses reserve.",
        )
    return _json({"index": name, "id": document.doc_id, "fields": dict(document.fields)})


@router.get("/livez", tags=["health"], summary="Is the process alive", response_model=answers.Live)
def livez() -> Response:
    """Answers as long as the process can answer at all."""
    return _json({"status": "alive"})


@router.get(
    "/readyz",
    tags=["health"],
    summary="Is every index open",
    response_model=answers.Ready,
    responses=_problems(503),
)
def readyz(request: Request) -> Response:
    """200 once every index and its encoder are open; until then 503 with what is waited for."""
    engine = _engine(request)
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
    return _json({"status": "ready", "checks": checks})


@router.get(
    "/v1/info",
    tags=["server"],
    summary="Versions and limits",
    response_model=answers.ServerInfo,
    responses=_problems(),
)
def info(request: Request) -> Response:
    """Which software answers, and what a request may not exceed."""
    engine = _engine(request)
    return _json(
        {
            "name": "lsr-search",
            "version": __version__,
            "api": "v1",
            "versions": {"python": platform.python_version()}
            | {library: version(library) for library in _LIBRARIES},
            "limits": {
                "body_bytes": engine.settings.max_body_bytes,
                "limit": requests.MAX_LIMIT,
                "query_terms": MAX_QUERY_TERMS,
            },
            "indexes": engine.names,
        }
    )


@router.get(
    "/problems/{name}",
    tags=["server"],
    summary="Explain a problem",
    response_model=answers.ProblemKind,
    responses=_problems(404),
)
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
    return _json(
        {
            "type": type_of(code),
            "code": code,
            "title": kind.title,
            "status": kind.status,
            "meaning": kind.meaning,
        }
    )
