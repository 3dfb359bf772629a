"""Indexes: list and describe."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..wire.indexes import IndexInfo, IndexList
from .answering import IndexName, engine_of, json, problems

router = APIRouter()


@router.get(
    "/v1/indexes",
    tags=["indexes"],
    summary="List the indexes",
    response_model=IndexList,
    responses=problems(),
)
def list_indexes(request: Request) -> Response:
    """Every served index, open or not."""
    engine = engine_of(request)
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
    return json({"indexes": summaries})


@router.get(
    "/v1/indexes/{name}",
    tags=["indexes"],
    summary="Describe one index",
    response_model=IndexInfo,
    responses=problems(404, 503),
)
def describe_index(name: IndexName, request: Request) -> Response:
    """Counts, sizes, declared fields and the encoder of one index."""
    collection = engine_of(request).collection(name)
    info = collection.index.info()
    del info["path"]
    if info["encoder"] is not None:
        for private in ("path", "copy"):
            del info["encoder"][private]
    kinds = ["vector"] if collection.encoder is None else ["text", "tokens", "vector"]
    return json({"name": name, **info, "queries": kinds})
