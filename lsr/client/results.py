"""What searches answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Contribution:
    """One term's part of a score: `score` = `query` x `doc` = `points` x the explanation's `unit`.

    `origin` is "literal" where the text says the term, else "expansion" or "unavailable".
    """

    term: str | None
    index: int
    query: float
    doc: float
    score: float
    share: float
    points: int
    origin: str


@dataclass(frozen=True)
class OtherTerms:
    """The terms that were not listed, added up."""

    terms: int
    score: float
    points: int


@dataclass(frozen=True)
class HitExplanation:
    """The terms that query and document share, largest contribution first, and their sum."""

    terms: tuple[Contribution, ...]
    other: OtherTerms
    sum: float
    unit: float
    exact_sum: bool


@dataclass(frozen=True)
class PassageSpan:
    """Characters [start, end) of the text of a document that was split, in code points; `text` is
    None where no fields were asked for (`[]`), or no encoder says which it reads.
    """

    start: int
    end: int
    text: str | None = None


@dataclass(frozen=True)
class HighlightSpan:
    """Characters [start, end) of a field, and the terms they stand for."""

    start: int
    end: int
    terms: tuple[str, ...]
    origin: str


@dataclass(frozen=True)
class FieldHighlight:
    """An excerpt [start, end) of a stored field, and what in the whole field matches."""

    field: str
    start: int
    end: int
    text: str
    spans: tuple[HighlightSpan, ...]


@dataclass(frozen=True)
class Hit:
    """One document found; ranks count from 1."""

    id: str
    rank: int
    score: float
    fields: Mapping[str, Any]
    passage: PassageSpan | None = None
    highlights: tuple[FieldHighlight, ...] | None = None
    explain: HitExplanation | None = None


@dataclass(frozen=True)
class QueryReport:
    """How the query was read, and by which encoder.

    `truncated` tells of a text whether only its beginning was read.
    """

    encoder: str | None
    strategy: str
    terms_used: int
    truncated: bool | None = None


@dataclass(frozen=True)
class Timing:
    """Milliseconds by stage."""

    encode: float
    filter: float
    score: float
    fetch: float
    total: float


@dataclass(frozen=True)
class Notice:
    """Something to know about an answer that is correct as it stands."""

    code: str
    message: str
    values: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Certificate:
    """What a search that was not exact looked at; nothing left alone scores above
    `bound_skipped`.
    """

    algorithm: str
    pages: int
    pages_scored: int
    blocks: int
    blocks_scored: int
    bound_skipped: float


@dataclass(frozen=True)
class Total:
    """How many documents match; `relation` is "eq", "gte" or "estimate"."""

    value: int
    relation: str


@dataclass(frozen=True)
class Threshold:
    """What `min_score` came to."""

    value: float
    best_possible: float | None = None


@dataclass(frozen=True)
class SearchResult:
    """The top of one commit (`generation`) of an index, best first; `alias` is how it was asked.

    `exact` says that it is proven to be the true top; `next_cursor` asks for the next page of the
    same commit. `partial` says that `missing_shards` did not answer.
    """

    index: str
    generation: int
    mode: str
    exact: bool
    timed_out: bool
    query: QueryReport
    hits: tuple[Hit, ...]
    warnings: tuple[Notice, ...]
    partial: bool = False
    missing_shards: tuple[int, ...] = ()
    alias: str | None = None
    total: Total | None = None
    min_score: Threshold | None = None
    certificate: Certificate | None = None
    next_cursor: str | None = None
    timing_ms: Timing | None = None
