"""What routes have in common: the engine of a request, JSON bodies, the problems OpenAPI lists."""

from typing import Annotated, Any

import orjson
from fastapi import Path, Request
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response

from ..access import Access
from ..collection import Collection
from ..engine import Engine
from ..home.keys import Action
from ..home.registry import Entry, Registry, unknown_index
from ..problems import problem_answers
from .guarding import access_of

IndexName = Annotated[str, Path(description="The name that the index is served under.")]


class _AnyText(Convertor[str]):
    """What is left of an address, line breaks included: with starlette's own `path` an id that ends
    in one is that without it, and one with a break inside has no route.
    """

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("any", _AnyText())
DocumentId = Annotated[
    str, Path(description="The document's id, percent-encoded; it may hold '/'.")
]

# What the doors that handlers go through may end in, for `problems(*OF_INDEX, ...)`.
OF_ENTRY = ("unknown_index",)
"""`entry_of`, `Registry.resolve`."""
OF_INDEX = (*OF_ENTRY, "not_ready", "index_unavailable", "shard_missing")
"""`collection_of`, and whatever is asked of the index."""
OF_HOME = ("no_data_directory",)
"""`Engine.writable_home`."""
OF_CHANGES = (*OF_HOME, "insufficient_storage")
"""`Home.transaction`, on a disk that is full."""
OF_TASKS = (*OF_CHANGES, "unknown_index", "index_unavailable")
"""A task that is waited for: it may end in what no task can foresee, or its index be deleted."""
OF_FILTERS = ("unknown_filter_field", "invalid_filter")
OF_SEARCHES = (
    *OF_INDEX,
    *OF_FILTERS,
    "no_encoder",
    "invalid_query",
    "query_too_long",
    "unknown_document",
    "index_busy",
    "cancelled",
    "deadline_exceeded",
)
"""Reading a query and ranking documents for it."""


def engine_of(request: Request) -> Engine:
    """The opened indexes, from the app's lifespan."""
    engine: Engine = request.state.engine
    return engine


def entry_of(request: Request, name: str, action: Action) -> Entry:
    """What this name or alias means, for a key that may do this to it.

    Raises the problems `forbidden` and `unknown_index`; the latter tells no name that the key has
    nothing to do with.
    """
    access = access_of(request)
    registry = engine_of(request).registry()
    access.require(action, registry.names_of(name))
    target = registry.aliases.get(name, name)
    if target not in registry.entries:
        names = [*registry.entries, *registry.aliases]
        raise unknown_index(name, [one for one in names if sees(access, registry, one)])
    return registry.entries[target]


def collection_of(request: Request, name: str, action: Action = "search") -> Collection:
    """The open index of this name or alias, as much of it as the key of the request may see.

    Handlers have their indexes from here. Raises what `entry_of` and `Engine.collection` raise.
    """
    return opened(request, entry_of(request, name, action))


def opened(request: Request, entry: Entry) -> Collection:
    """The open index of an entry that `entry_of` gave, as much of it as the key may see.

    An alias may mean another index by now, to which the key has no right.
    Raises what `Engine.collection` raises.
    """
    collection = engine_of(request).collection(entry.name)
    forced = access_of(request).filter
    return collection if forced is None else collection.restricted(forced)


def sees(access: Access, registry: Registry, name: str) -> bool:
    """Whether a key has to do with an index or alias, by any of its names."""
    return access.sees(registry.names_of(name))


def json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A body made of dictionaries, written as it is."""
    return Response(orjson.dumps(body), status, headers=headers, media_type="application/json")


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """How OpenAPI describes the problems that the handler of a route itself ends in.

    What any request may be answered before that is added by `describing.py`.
    """
    return problem_answers(codes)
