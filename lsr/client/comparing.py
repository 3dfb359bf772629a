"""Why a document is where it is, what two targets answer differently, what a text is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Unpack

from .results import HitExplanation, Notice, PassageSpan, QueryReport, SearchResult, Timing
from .searching import Filter, Query, SearchOptions, query_json
from .steps import Request, Talk, address, call, said


@dataclass(frozen=True)
class MissingTerm:
    """A term of the query that the document lacks; `heaviest` is the most that any has of it.

    `in_text` tells whether the text says it all the same; None where nobody can tell.
    """

    term: str | None
    index: int
    query: float
    heaviest: float
    in_text: bool | None


@dataclass(frozen=True)
class Cut:
    """The k-th best document."""

    id: str
    rank: int
    score: float


@dataclass(frozen=True)
class Lift:
    """A missing term, and the weight by which it alone would bring the document into the top."""

    term: str | None
    index: int
    weight: float
    plausible: bool


@dataclass(frozen=True)
class WhatWouldLift:
    """What the document lacks to be in the top: each of `terms` alone, or some `together`."""

    terms: tuple[Lift, ...]
    together: tuple[str | int, ...] | None
    note: str


@dataclass(frozen=True)
class Explanation:
    """The score of one document, what it is made of, and what it would take."""

    index: str
    generation: int
    id: str
    query: QueryReport
    allowed: bool
    rank: int | None
    score: float
    explain: HitExplanation
    missing: tuple[MissingTerm, ...]
    cut: Cut | None
    gap: float | None
    lift: WhatWouldLift | None
    timing_ms: Timing
    warnings: tuple[Notice, ...]
    passage: PassageSpan | None = None


@dataclass(frozen=True)
class Overlap:
    """Documents that both found."""

    both: int
    share: float


@dataclass(frozen=True)
class RankBiasedOverlap:
    """The agreement of two rankings, 0 to 1."""

    value: float
    persistence: float


@dataclass(frozen=True)
class Move:
    """Where a document stands in both; `move` is how many ranks higher it is in b."""

    id: str
    a: int | None
    b: int | None
    move: int | None


@dataclass(frozen=True)
class TermDifference:
    """A term's share of the score in both."""

    term: str
    a: float
    b: float
    difference: float


@dataclass(frozen=True)
class DocumentDifference:
    """Why a document that both found scores as it does in each."""

    id: str
    terms: tuple[TermDifference, ...]


@dataclass(frozen=True)
class CompareTiming:
    """Milliseconds."""

    a: float
    b: float
    total: float


@dataclass(frozen=True)
class Comparison:
    """Both answers, and how they differ."""

    limit: int
    a: SearchResult
    b: SearchResult
    overlap: Overlap
    rank_biased_overlap: RankBiasedOverlap
    moves: tuple[Move, ...]
    timing_ms: CompareTiming
    terms: tuple[DocumentDifference, ...] | None = None


@dataclass(frozen=True)
class Token:
    """A term and its weight."""

    term: str
    index: int
    weight: float


@dataclass(frozen=True)
class EncodedText:
    """One text, heaviest term first; `terms` counts those that were not listed too."""

    tokens: tuple[Token, ...]
    terms: int
    truncated: bool | None


@dataclass(frozen=True)
class EncodeTiming:
    """Milliseconds."""

    encode: float
    total: float


@dataclass(frozen=True)
class Encoded:
    """A result for each text, in order."""

    index: str
    generation: int
    encoder: str
    strategy: str
    as_: str
    results: tuple[EncodedText, ...]
    timing_ms: EncodeTiming


@dataclass(frozen=True)
class OriginSpan:
    """Characters [start, end) of a field that the network read when it gave the terms."""

    field: str
    start: int
    end: int
    terms: tuple[str, ...]
    origin: str


@dataclass(frozen=True)
class Origins:
    """Where the terms of a document come from."""

    index: str
    id: str
    encoder: str
    spans: tuple[OriginSpan, ...]


class Target:
    """One side of a comparison: an index and how to search it, by default for the same query.

    It takes the options of a search but `limit`, `offset`, `cursor` and `timing`.
    """

    def __init__(
        self, index: str, query: Query | None = None, **options: Unpack[SearchOptions]
    ) -> None:
        self.body: dict[str, Any] = {"index": index, **options}
        if query is not None:
            self.body["query"] = query_json(query)


def explain(
    index: str,
    id: str,
    query: Query,
    *,
    k: int | None = None,
    filter: Filter | None = None,
    require_terms: Sequence[str | int] | None = None,
    exclude_terms: Sequence[str | int] | None = None,
) -> Talk[Explanation]:
    """Why a document is where it is for `query`, and what keeps it out of the top `k`."""
    body = said(
        query=query_json(query),
        k=k,
        filter=filter,
        require_terms=None if require_terms is None else list(require_terms),
        exclude_terms=None if exclude_terms is None else list(exclude_terms),
    )
    path = address("v1", "indexes", index, "explain", id)
    return (yield from call(Request("POST", path, json=body, repeatable=True), Explanation))


def origins(index: str, id: str, terms: Sequence[str | int]) -> Talk[Origins]:
    """Which words of a document gave it these terms; the network reads it again."""
    path = address("v1", "indexes", index, "origins", id)
    request = Request("POST", path, json={"terms": list(terms)}, repeatable=True)
    return (yield from call(request, Origins))


def compare(
    query: Query | None,
    a: Target,
    b: Target,
    *,
    limit: int | None = None,
    persistence: float | None = None,
) -> Talk[Comparison]:
    """The same question to two targets: their answers, overlap and rank moves."""
    body = said(
        query=None if query is None else query_json(query),
        a=a.body,
        b=b.body,
        limit=limit,
        persistence=persistence,
    )
    return (yield from call(Request("POST", "/v1/compare", json=body, repeatable=True), Comparison))


def encode(
    index: str,
    texts: Sequence[str],
    *,
    side: Literal["query", "document"] = "query",
    top_terms: int | None = None,
) -> Talk[Encoded]:
    """The texts as the encoder of `index` reads them."""
    body = said(index=index, texts=list(texts), top_terms=top_terms) | {"as": side}
    return (yield from call(Request("POST", "/v1/encode", json=body, repeatable=True), Encoded))
