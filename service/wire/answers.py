"""What a search answers; every part that was not asked for is left out."""

from typing import Any, Literal

from pydantic import Field

from .base import Answer

Origin = Literal["literal", "expansion", "unavailable"]


class Contribution(Answer):
    """One term's part of a score: `score` = `query` x `doc` = `points` x the query's `unit`."""

    term: str | None = Field(description="The vocabulary entry; null where no encoder names it.")
    index: int
    query: float
    doc: float
    score: float
    points: int = Field(description="The part as the engine counts it, a whole number.")
    share: float
    origin: Origin = Field(
        description="Whether the text says the term. Expansions are learned associations, and a "
        "small one means little alone."
    )


class OtherTerms(Answer):
    """The terms that were not listed, added up."""

    terms: int
    score: float
    points: int


class HitExplanation(Answer):
    """The terms that query and document share, largest contribution first, and their sum."""

    terms: list[Contribution]
    other: OtherTerms
    sum: float = Field(description="The score: all points x `unit`.")
    unit: float = Field(description="The score of one point.")
    exact_sum: bool = Field(description="Whether the points add up to those of the ranking.")


class PassageSpan(Answer):
    """Characters [start, end) of the text of a document that was split, in code points."""

    start: int
    end: int
    text: str | None = Field(
        default=None,
        description="These characters of the fields that the encoder reads, joined by a space; "
        "left out where no fields were asked for (`[]`) or no encoder says which it reads.",
    )


class HighlightSpan(Answer):
    """Characters [start, end) of the field, in code points, and the terms they stand for."""

    start: int
    end: int
    terms: list[str]
    origin: Literal["literal", "expansion"] = Field(
        description="Expansion: the network read these characters when it gave the document the "
        "term; known where the index was built with --origins."
    )


class FieldHighlight(Answer):
    """An excerpt [start, end) of a stored field, and what in the whole field matches."""

    field: str
    start: int
    end: int
    text: str
    spans: list[HighlightSpan]


class Hit(Answer):
    """One document found."""

    id: str
    rank: int = Field(description="From 1.")
    score: float
    fields: dict[str, Any]
    passage: PassageSpan | None = Field(
        default=None, description="The best passage and where it lies, when documents were split."
    )
    highlights: list[FieldHighlight] | None = None
    explain: HitExplanation | None = None


class QueryReport(Answer):
    """How the query was read."""

    encoder: str | None = Field(description="name@build of the encoder that the index is read by.")
    strategy: Literal["bm25", "lookup", "model", "tokens", "vector", "like"]
    terms_used: int
    truncated: bool | None = Field(
        default=None, description="Of a text: whether only its beginning was read."
    )


class Timing(Answer):
    """Milliseconds by stage; `fetch` reads stored fields, explains and highlights."""

    encode: float
    filter: float
    score: float
    fetch: float
    total: float


class Notice(Answer):
    """Something that a person would want to know about an answer that is correct as it stands."""

    code: Literal[
        "empty_query",
        "no_known_terms",
        "unknown_tokens",
        "unknown_fields",
        "shortened_query",
        "truncated_query",
        "bm25_outgrown",
    ]
    message: str
    values: list[str] | None = None


class Certificate(Answer):
    """What an approximate or timed-out search looked at, in pages of 256 and blocks of 32."""

    algorithm: str
    pages: int
    pages_scored: int
    blocks: int
    blocks_scored: int
    bound_skipped: float = Field(description="The best score that what was left alone could have.")


class Total(Answer):
    """How many documents match: `value` of them, or at least so many."""

    value: int
    relation: Literal["eq", "gte"]


class Threshold(Answer):
    """What `min_score` came to."""

    value: float
    best_possible: float | None = Field(
        default=None, description="The bound that a relative score is a share of."
    )


class SearchResponse(Answer):
    """The top of one commit of the index, best first."""

    index: str
    alias: str | None = Field(default=None, description="The name that was asked, if it is one.")
    generation: int = Field(description="The commit number that this answer is true of.")
    mode: Literal["exact", "approx"]
    exact: bool = Field(description="Proven: no document that was left alone belongs here.")
    timed_out: bool
    partial: bool = Field(default=False, description="Shards are missing from this answer.")
    missing_shards: list[int] = Field(default=[], description="Which, where `partial` is true.")
    query: QueryReport
    hits: list[Hit]
    total: Total | None = None
    min_score: Threshold | None = None
    certificate: Certificate | None = None
    next_cursor: str | None = Field(default=None, description="Null on the last page.")
    timing_ms: Timing | None = None
    warnings: list[Notice]
