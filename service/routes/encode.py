"""Texts as weighted terms; /embed_sparse speaks to clients of text-embeddings-inference."""

import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lsr.errors import IndexFailure

from ..access import needs
from ..collection import Collection
from ..errors import problem_of_failure, problem_of_validation
from ..metrics import observation_of
from ..problems import KINDS, Fault, ProblemError, shown
from ..search import server_timing
from ..search.encoding import encoded
from ..wire.encode import (
    MAX_TEXTS,
    EmbedError,
    EmbedSparseRequest,
    EmbedSparseResponse,
    EncodeRequest,
    EncodeResponse,
)
from .answering import (
    OF_INDEX,
    collection_of,
    engine_of,
    json,
    problems,
)
from .guarding import GuardedRoute, access_of

log = logging.getLogger("lsr.service")

router = APIRouter(route_class=GuardedRoute)


@router.post(
    "/v1/encode",
    tags=["search"],
    summary="Read texts as weighted terms",
    response_model=EncodeResponse,
    responses=problems(*OF_INDEX, "no_encoder", "no_document_encoder"),
)
@needs("search", of="some")
def encode(body: EncodeRequest, request: Request) -> Response:
    """What the encoder of an index makes of texts, as queries or as documents."""
    started = time.perf_counter()
    collection = collection_of(request, body.index)
    observation_of(request).index = collection.name
    matrix, truncated = encoded(collection, body.texts, documents=body.as_ == "document")
    observation_of(request).encoded.append(len(body.texts))
    encode_ms = round((time.perf_counter() - started) * 1000, 3)
    assert collection.encoder is not None
    results = []
    for row, cut in enumerate(truncated):
        part = slice(matrix.indptr[row], matrix.indptr[row + 1])
        terms, weights = matrix.indices[part], matrix.data[part]
        order = np.lexsort((terms, -weights))[: body.top_terms]
        names = collection.encoder.term_strings(terms[order])
        results.append(
            {
                "tokens": [
                    {"term": name, "index": term, "weight": weight}
                    for name, term, weight in zip(
                        names, terms[order].tolist(), weights[order].tolist(), strict=True
                    )
                ],
                "terms": len(terms),
                "truncated": cut,
            }
        )
    times = {
        "encode": encode_ms,
        "total": round((time.perf_counter() - started) * 1000, 3),
    }
    return json(
        {
            "index": collection.name,
            "generation": collection.index.generation,
            "encoder": collection.encoder_label,
            "strategy": collection.encoder.query_strategy,
            "as": body.as_,
            "results": results,
            "timing_ms": times,
        },
        headers={"Server-Timing": server_timing(times)},
    )


_TYPE_OF_STATUS = {
    400: "validation", 401: "validation", 403: "validation", 404: "validation", 408: "validation",
    413: "validation", 415: "validation", 422: "tokenizer", 424: "backend", 429: "overloaded",
    500: "backend", 503: "unhealthy",
}  # fmt: skip


class EmbedRoute(GuardedRoute):
    """Tells every error as `{"error", "error_type"}`, beside what our own problems say."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler with errors in the other protocol."""
        handle = super().get_route_handler()

        async def translated(request: Request) -> Response:
            try:
                return await handle(request)
            except ProblemError as error:
                problem = error
            except RequestValidationError as error:
                return _error(422, problem_of_validation(request, error).detail, "validation")
            except IndexFailure as error:
                name = type(error).__name__
                log.error("request %s: %s: %s", request.state.request_id, name, error)
                problem = problem_of_failure(error)
            except HTTPException as error:
                return _error(error.status_code, str(error.detail))
            observation_of(request).problem = problem.code
            detail = f"{problem.detail} {problem.hint or ''}".strip()
            return _error(KINDS[problem.code].status, detail, headers=problem.headers)

        return translated


embed_router = APIRouter(route_class=EmbedRoute)


def _error(
    status: int, message: str, kind: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    # Messages may repeat half a surrogate pair, which no JSON text can hold as it is.
    text = message.encode("utf-8", "replace").decode()
    kind = kind or _TYPE_OF_STATUS.get(status, "backend")
    return json({"error": text, "error_type": kind}, status, headers=dict(headers or {}))


def _errors(statuses: Iterable[int]) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": EmbedError} for status in statuses}


@embed_router.post(
    "/embed_sparse",
    tags=["search"],
    summary="Sparse embeddings, as of text-embeddings-inference",
    response_model=EmbedSparseResponse,
    responses=_errors(_TYPE_OF_STATUS),
)
@needs("search", of="some")
def embed_sparse(body: EmbedSparseRequest, request: Request) -> Response:
    """For clients that know POST /embed_sparse of text-embeddings-inference.

    The encoder is that of the index that the server was told, or of the only one it serves. Texts
    are queries unless `prompt_name` says otherwise.
    """
    started = time.perf_counter()
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    if not texts or not all(texts):
        return _error(400, "`inputs` cannot be empty", "empty")
    if len(texts) > MAX_TEXTS:
        return _error(
            413, f"batch size {len(texts)} > maximum allowed batch size {MAX_TEXTS}", "validation"
        )
    collection = _embedding_collection(request)
    documents = body.prompt_name in ("document", "passage")
    matrix, truncated = encoded(collection, texts, documents=documents)
    if not body.truncate and any(truncated):
        at = next(at for at, cut in enumerate(truncated) if cut)
        return _error(
            413, f"input {at} is longer than the encoder reads; set `truncate`", "validation"
        )
    observation_of(request).encoded.append(len(texts))
    values = [
        [
            {"index": index, "value": value}
            for index, value in zip(
                matrix.indices[a:b].tolist(), matrix.data[a:b].tolist(), strict=True
            )
        ]
        for a, b in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
    ]
    ms = str(round((time.perf_counter() - started) * 1000))
    headers = {
        "x-compute-type": "cpu",
        "x-compute-time": ms,
        "x-compute-characters": str(sum(map(len, texts))),
        "x-total-time": ms,
        "x-tokenization-time": "0",
        "x-queue-time": "0",
        "x-inference-time": ms,
    }
    return json(values, headers=headers)


def _embedding_collection(request: Request) -> Collection:
    """The index that the server chooses for a request that names none. What refuses a key names
    none, either: it may not know it.
    """
    engine = engine_of(request)
    name = engine.settings.embed_index
    if name is None and not engine.wait(0):
        raise ProblemError("not_ready", "The indexes are being opened.", hint="Try again.")
    names = engine.registry()
    access = access_of(request)
    able = (
        [name]
        if name is not None
        else [one.name for one in engine.collections() if one.encoder is not None]
    )
    able = [one for one in able if access.may("search", names.names_of(one))]
    if len(able) == 1:
        return collection_of(request, able[0])
    if not able and access.key is not None:
        raise ProblemError(
            "forbidden",
            "This key may search no index whose encoder is asked here.",
            hint="Use /v1/encode, which names an index, or another key.",
        )
    raise ProblemError(
        "no_encoder",
        f"{len(able) or 'No'} indexes here have an encoder, so it is not clear which one is meant.",
        hint="Start the server with --embed NAME, or use /v1/encode, which names the index.",
        faults=[Fault("", "ambiguous", shown(len(able)))],
    )
