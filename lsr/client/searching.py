"""Asking an index: a query, and options under the names that the API has for them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

from .errors import Refused
from .reading import read
from .results import SearchResult
from .steps import Request, Talk, address, call, parsed, said, succeed


@dataclass(frozen=True)
class Vector:
    """Sparse weights by term number."""

    indices: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class Like:
    """What resembles a document of the index, by its `terms` heaviest terms."""

    id: str
    terms: int | None = None


Filter: TypeAlias = Mapping[str, Any]
"""As in `{"lang": "en", "year": {"gte": 2020}}`, or a tree of `all`, `any` and `not`."""

Query: TypeAlias = str | Mapping[str, float] | Vector | Like
"""A text, weights by vocabulary entry, weights by term number, or a document to resemble."""


class SearchOptions(TypedDict, total=False):
    """Everything but the query; what is left out is the server's default.

    cursor          "start", then the `next_cursor` of each result: pages of one commit
    min_score       a score, or {"relative": 0.2} of the best possible one
    highlight       {"fields": ["text"], "max_chars": 240}
    explain         True, or {"top_terms": 5}
    mode            "exact", or {"approx": {"recall": 0.95}}, {"approx": {"pages": 50}}
    """

    limit: int
    offset: int
    cursor: str | None
    fields: Sequence[str] | None
    filter: Filter | None
    require_terms: Sequence[str | int]
    exclude_terms: Sequence[str | int]
    min_score: float | Mapping[str, float] | None
    highlight: Mapping[str, Any] | None
    explain: bool | Mapping[str, int]
    mode: Literal["exact"] | Mapping[str, Mapping[str, float]]
    timeout_ms: float | None
    on_missing_shard: Literal["fail", "partial"]
    count: Literal["none", "estimate", "exact"]
    timing: bool


def search(index: str, query: Query, **options: Unpack[SearchOptions]) -> Talk[SearchResult]:
    """The best documents of `index` for `query`."""
    path = address("v1", "indexes", index, "search")
    body = {"query": query_json(query), **options}
    return (yield from call(Request("POST", path, json=body, repeatable=True), SearchResult))


class Search:
    """One search of many: an index, a query, and the options of a search."""

    def __init__(self, index: str, query: Query, **options: Unpack[SearchOptions]) -> None:
        self.body: dict[str, Any] = {"index": index, "query": query_json(query), **options}


def multi_search(searches: Iterable[Search]) -> Talk[tuple[SearchResult | Refused, ...]]:
    """A result for each search, in order; a search that is refused costs the others nothing."""
    body = {"searches": [one.body for one in searches]}
    answer = yield from succeed(Request("POST", "/v1/multi-search", json=body, repeatable=True))
    return tuple(
        read(SearchResult, one["answer"])
        if one["status"] == 200
        else Refused(one["status"], one["problem"])
        for one in read(_Results, parsed(answer)).results
    )


@dataclass(frozen=True)
class _Results:
    results: tuple[Any, ...]


def query_json(query: Query) -> dict[str, Any]:
    """A query as the API takes it.

    >>> query_json("coffee"), query_json({"coffee": 1.5}), query_json(Like("d1"))
    ({'text': 'coffee'}, {'tokens': {'coffee': 1.5}}, {'like': {'id': 'd1'}})
    """
    if isinstance(query, str):
        return {"text": query}
    if isinstance(query, Vector):
        return {"vector": {"indices": list(query.indices), "values": list(query.values)}}
    if isinstance(query, Like):
        return {"like": said(id=query.id, terms=query.terms)}
    return {"tokens": dict(query)}
