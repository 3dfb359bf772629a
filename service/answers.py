"""The shapes of answers, for the description of the API.

Answers are written straight from dictionaries, so these models check nothing while serving; the
tests hold every answer against its model.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """An answer, or a part of one; clients should expect further fields in later releases."""


class Contribution(Answer):
    """One term's part of a score: `score` = `query` x `doc`, `share` = part of the whole."""

    term: str | None = Field(description="The vocabulary entry; null where no encoder names it.")
    index: int
    query: float
    doc: float
    score: float
    share: float


class HitExplanation(Answer):
    """The terms that query and document share, largest contribution first, and their sum."""

    terms: list[Contribution]
    sum: float


class Span(Answer):
    """Characters [start, end) of the document's text."""

    start: int
    end: int


class Hit(Answer):
    """One document found."""

    id: str
    rank: int = Field(description="From 1.")
    score: float
    fields: dict[str, Any]
    passage: Span | None = Field(
        default=None, description="Where the best passage lies, when documents were split."
    )
    explain: HitExplanation | None = None


class QueryReport(Answer):
    """How the query was read."""

    encoder: str | None = Field(description="name@build of the encoder that the index is read by.")
    strategy: Literal["bm25", "lookup", "model", "tokens", "vector"]
    terms_used: int


class Timing(Answer):
    """Milliseconds by stage; `fetch` reads stored fields and explains."""

    encode: float
    score: float
    fetch: float
    total: float


class Notice(Answer):
    """Something that a person would want to know about an answer that is correct as it stands."""

    code: Literal["empty_query", "no_known_terms", "unknown_tokens", "unknown_fields"]
    message: str
    values: list[str] | None = None


class SearchResponse(Answer):
    """The exact top of one commit of the index, best first."""

    index: str
    generation: int = Field(description="The commit number that this answer is true of.")
    mode: Literal["exact"]
    query: QueryReport
    hits: list[Hit]
    timing_ms: Timing | None = None
    warnings: list[Notice]


class EncoderInfo(Answer):
    """The encoder that an index was built by."""

    name: str
    space: str = Field(description="Fingerprint of vocabulary and document encoder.")
    build: str = Field(description="Fingerprint of its files.")
    query_strategy: str
    text_fields: list[str]
    window_overlap: int | None = Field(
        description="Tokens that windows of long documents shared; null where there were none."
    )


class IndexSummary(Answer):
    """One served index; counts are null until it is open."""

    name: str
    state: Literal["opening", "ready", "failed"]
    generation: int | None = None
    n_docs: int | None = None
    encoder: str | None = None


class IndexList(Answer):
    """All served indexes."""

    indexes: list[IndexSummary]


class PruningInfo(Answer):
    """What was left out of an index; null leaves nothing out."""

    terms: int | None
    mass: float | None
    postings: float | None
    ratio: float | None


class IndexInfo(Answer):
    """Counts and sizes of one index, how it was built and what rounding cost."""

    name: str
    generation: int
    n_docs: int
    n_passages: int
    n_deleted: int
    n_pending: int
    n_segments: int
    n_terms: int
    n_postings: int
    postings_per_passage: float
    max_weight: float
    scale: float
    saturated_share: float
    order: Literal["none", "bp"]
    n_ordered: int = Field(description="Rows whose similar neighbours lie beside them.")
    pruning: PruningInfo
    binary: bool = Field(description="Whether presence alone is kept.")
    scores: str = Field(description="What a score is: sums of 8-bit impacts, or match counts.")
    given_postings: int = Field(description="Postings before pruning.")
    mass_kept: float = Field(description="Share of the sum of weights that pruning kept.")
    error_mean: float = Field(description="Mean absolute error of a rounded weight.")
    error_max: float
    norm_error: float = Field(description="Mean relative error of a document's norm.")
    segment_bytes: int
    search_bytes: int
    catalog_bytes: int
    fields: dict[str, str]
    encoder: EncoderInfo | None
    queries: list[Literal["text", "tokens", "vector"]] = Field(
        description="The kinds of query that this index answers."
    )


class StoredDocument(Answer):
    """One document as it was given."""

    index: str
    id: str
    fields: dict[str, Any]


class Live(Answer):
    """The process answers."""

    status: Literal["alive"]


class Check(Answer):
    """One thing that must hold before the server is ready."""

    index: str
    state: Literal["opening", "ready", "failed"]
    reason: str | None = None


class Ready(Answer):
    """Every index is open."""

    status: Literal["ready"]
    checks: list[Check]


class Limits(Answer):
    """What a request may not exceed."""

    body_bytes: int
    limit: int
    query_terms: int


class ServerInfo(Answer):
    """Which software answers, and within which limits."""

    name: Literal["lsr-search"]
    version: str
    api: Literal["v1"]
    versions: dict[str, str] = Field(description="Of Python and of the libraries in use.")
    limits: Limits
    indexes: list[str]


class FaultShape(Answer):
    """One place of the request that is wrong."""

    pointer: str = Field(description="JSON pointer into the body (RFC 6901).")
    message: str
    value: bool | int | float | str | None = None
    allowed: list[str] | None = None


class Problem(BaseModel):
    """RFC 9457 problem details: what every error looks like."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/unknown-field",
                    "title": "Unknown field",
                    "status": 422,
                    "code": "unknown_field",
                    "detail": "/limt is not a field of this request.",
                    "instance": "/v1/indexes/papers/search",
                    "errors": [{"pointer": "/limt", "message": "unknown field", "value": 5}],
                    "hint": "Did you mean 'limit'?",
                    "request_id": "5b0c6e1f2a3d4e5f",
                }
            ]
        },
    )

    type: str = Field(description="Address of the page that explains `code`.")
    title: str
    status: int
    code: str = Field(description="Stable; meant for programs.")
    detail: str
    instance: str
    errors: list[FaultShape]
    hint: str | None
    request_id: str | None = Field(description="Also the header X-Request-Id, and in the log.")


class ProblemKind(Answer):
    """What a code means."""

    type: str
    code: str
    title: str
    status: int
    meaning: str
