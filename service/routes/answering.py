"""What routes have in common: the engine of a request, JSON bodies, the problems OpenAPI lists."""

from typing import Annotated, Any

import orjson
from fastapi import Path, Request
from starlette.responses import Response

from ..engine import Collection, Engine
from ..problems import KINDS, MEDIA_TYPE

IndexName = Annotated[str, Path(description="The name that the index is served under.")]
DocumentId = Annotated[
    str, Path(description="The document's id, percent-encoded; it may hold '/'.")
]


def engine_of(request: Request) -> Engine:
    """The opened indexes, from the app's lifespan."""
    engine: Engine = request.state.engine
    return engine


def collection_of(request: Request, name: str) -> Collection:
    """The open index of this name or alias. Raises what `Engine.collection` raises."""
    return engine_of(request).collection(name)


def json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A body made of dictionaries, written as it is."""
    return Response(orjson.dumps(body), status, headers=headers, media_type="application/json")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
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
