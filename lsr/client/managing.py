"""Indexes and the server itself, as requests."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from .resources import IndexInfo, IndexList, IndexSummary, Passages, Ready, ServerInfo
from .steps import Request, Talk, address, call, said, succeed

FieldKind: TypeAlias = Literal["keyword", "int", "float", "bool", "date"]


def create_index(
    name: str,
    *,
    encoder: str | None = "bm25",
    n_terms: int | None = None,
    max_weight: float | None = None,
    fields: Mapping[str, FieldKind] | None = None,
    passages: Passages | None = None,
    order: Literal["none", "bp"] | None = None,
) -> Talk[IndexInfo]:
    """A new, empty index: of BM25, of an encoder of the server's, or with `encoder=None` of
    vectors, whose number of terms and largest weight must be told.

    `fields` are those to filter by.
    """
    body = {
        "encoder": encoder,
        **said(
            name=name,
            n_terms=n_terms,
            max_weight=max_weight,
            fields=None if fields is None else dict(fields),
            passages=None if passages is None else _windows(passages),
            order=order,
        ),
    }
    return (yield from call(Request("POST", "/v1/indexes", json=body), IndexInfo))


def change_index(name: str, *, passages: Passages | None) -> Talk[IndexInfo]:
    """Split what is added from now on into passages, or with None keep it whole."""
    body = {"passages": None if passages is None else _windows(passages)}
    path = address("v1", "indexes", name)
    return (yield from call(Request("PATCH", path, json=body, repeatable=True), IndexInfo))


def delete_index(name: str) -> Talk[None]:
    """The index and everything in it."""
    yield from succeed(Request("DELETE", address("v1", "indexes", name)))


def index_info(name: str) -> Talk[IndexInfo]:
    """Counts, sizes, declared fields and the encoder of one index."""
    return (yield from call(_get(address("v1", "indexes", name)), IndexInfo))


def list_indexes() -> Talk[tuple[IndexSummary, ...]]:
    """Every served index, open or not."""
    return (yield from call(_get("/v1/indexes"), IndexList)).indexes


def server_info() -> Talk[ServerInfo]:
    """Which software answers, and what a request may not exceed."""
    return (yield from call(_get("/v1/info"), ServerInfo))


def is_alive() -> Talk[bool]:
    """Whether the process answers. Raises `Unreachable` where nothing does."""
    answer = yield _get("/livez")
    return answer.status == 200


def ready() -> Talk[Ready]:
    """Every index and its encoder are open. Raises `Refused` with what is waited for."""
    return (yield from call(Request("GET", "/readyz"), Ready))


def metrics() -> Talk[str]:
    """What the server counted, in the text format of Prometheus."""
    return (yield from succeed(_get("/metrics"))).body.decode()


def _get(path: str, **parameters: Any) -> Request:
    return Request("GET", path, parameters=said(**parameters), repeatable=True)


def _windows(passages: Passages) -> dict[str, int]:
    return {"length": passages.length, "overlap": passages.overlap}
