"""Indexes: list and describe."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from lsr.errors import IndexFailure

from .. import making
from ..access import needs
from ..collection import Collection
from ..engine import Engine
from ..outgrown import CODE as OUTGROWN
from ..outgrown import REMEDY as OUTGROWN_REMEDY
from ..outgrown import outgrown
from ..problems import ProblemError
from ..saturated import CODE as SATURATED
from ..saturated import REMEDY as SATURATED_REMEDY
from ..saturated import saturated
from ..search.queries import notice
from ..wire.indexes import ChangeIndex, CreateIndex, IndexInfo, IndexList
from .answering import (
    OF_CHANGES,
    OF_ENTRY,
    OF_INDEX,
    IndexName,
    collection_of,
    engine_of,
    entry_of,
    json,
    opened,
    problems,
    sees,
)
from .guarding import GuardedRoute, access_of

router = APIRouter(route_class=GuardedRoute)


@router.get(
    "/v1/indexes",
    tags=["indexes"],
    summary="List the indexes",
    response_model=IndexList,
    responses=problems(),
)
@needs(None)
def list_indexes(request: Request) -> Response:
    """Every served index, open or not."""
    engine = engine_of(request)
    there = {one.name: one for one in engine.collections()}
    summaries: list[dict[str, Any]] = []
    registry, access = engine.registry(), access_of(request)
    for name in registry.entries:
        if not sees(access, registry, name):
            continue
        summary: dict[str, Any] = {"name": name, "state": engine.state(name)}
        if name in there:
            index = there[name].index
            try:
                if access.filter is not None:
                    index = there[name].restricted(access.filter).index
                summary["generation"] = index.generation
                summary["n_docs"] = index.n_docs
                summary["encoder"] = there[name].encoder_label
            except ProblemError:
                continue  # there is nothing that this key could see in it
            except IndexFailure:  # whatever is wrong with it, the others are listed
                if name not in engine.registry().entries:
                    continue  # it was deleted meanwhile
        summaries.append(summary)
    return json({"indexes": summaries})


@router.post(
    "/v1/indexes",
    tags=["indexes"],
    summary="Create an index",
    status_code=201,
    response_model=IndexInfo,
    responses=problems(*OF_CHANGES, *OF_INDEX, "index_exists", "unknown_encoder"),
)
@needs("admin", of="some")
def create_index(body: CreateIndex, request: Request) -> Response:
    """An empty index, ready for documents."""
    engine = engine_of(request)
    access_of(request).require("admin", [body.name])
    making.create(engine.writable_home(), body, mounted=engine.settings.indexes)
    headers = {"Location": f"/v1/indexes/{body.name}"}
    return json(
        _described(collection_of(request, body.name, "admin"), engine, body.name),
        201,
        headers=headers,
    )


@router.patch(
    "/v1/indexes/{name}",
    tags=["indexes"],
    summary="Change settings",
    response_model=IndexInfo,
    responses=problems(*OF_CHANGES, *OF_INDEX, "index_mounted"),
)
@needs("admin")
def change_index(name: IndexName, body: ChangeIndex, request: Request) -> Response:
    """Settings that hold for what is added from now on."""
    engine = engine_of(request)
    entry = entry_of(request, name, "admin")
    making.change(engine.writable_home(), entry, body)
    return json(_described(opened(request, entry), engine, entry.name))


@router.delete(
    "/v1/indexes/{name}",
    tags=["indexes"],
    summary="Delete an index",
    status_code=204,
    responses=problems(*OF_CHANGES, *OF_ENTRY, "index_in_use", "index_mounted"),
)
@needs("admin")
def delete_index(name: IndexName, request: Request) -> Response:
    """The index and everything in it. An alias must be given its index's name."""
    engine = engine_of(request)
    home = engine.writable_home()
    registry = engine.registry()
    if name in registry.aliases:
        raise ProblemError(
            "index_in_use",
            f"'{name}' is an alias of index '{registry.aliases[name]}'.",
            hint="Remove the alias, or delete the index by its own name.",
        )
    making.remove(home, entry_of(request, name, "admin"))
    return Response(status_code=204)


@router.get(
    "/v1/indexes/{name}",
    tags=["indexes"],
    summary="Describe one index",
    response_model=IndexInfo,
    responses=problems(*OF_INDEX),
)
@needs("search", whole=True)
def describe_index(name: IndexName, request: Request) -> Response:
    """Counts, sizes, declared fields and the encoder of one index."""
    engine = engine_of(request)
    entry = entry_of(request, name, "search")
    return json(_described(opened(request, entry), engine, entry.name))


def _described(collection: Collection, engine: Engine, name: str) -> dict[str, Any]:
    """As `wire.indexes.IndexInfo`."""
    info = collection.index.info()
    del info["path"]
    if info["encoder"] is not None:
        for private in ("path", "copy"):
            del info["encoder"][private]
    kinds = ["vector"] if collection.encoder is None else ["text", "tokens", "vector"]
    settings = engine.registry().resolve(name).settings
    windows = settings.get("passages")
    passages = windows and {"length": windows[0], "overlap": windows[1]}
    told = (
        (OUTGROWN, outgrown(collection.encoder, collection.index.n_docs), OUTGROWN_REMEDY),
        (SATURATED, saturated(info), SATURATED_REMEDY),
    )
    return {
        "name": collection.name,
        **info,
        "queries": kinds,
        "passages": passages,
        "warnings": [notice(code, f"{why}; {remedy}") for code, why, remedy in told if why],
    }
