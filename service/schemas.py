"""What goes over the wire: requests, which are checked field by field, and the shapes of answers.

Requests refuse unknown fields and convert nothing: "3" is not 3 and true is not 1. Answers are
written straight from dictionaries, so their models here are documentation; the tests hold every
answer against its model.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from index.quantize import MAX_QUERY_TERMS

MAX_LIMIT = 1000
"""Hits of one answer; deeper pages belong to a cursor."""
LARGEST_WEIGHT = 3.4028234e38
"""The largest float32, as which the engine reads weights."""


def _well_formed(text: str) -> str:
    """JSON can escape half a surrogate pair, which UTF-8 cannot hold, so no answer could either."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PydanticCustomError(
            "lone_surrogate",
            "half a surrogate pair at character {at} is no character",
            {"at": error.start},
        ) from error
    return text


Text = Annotated[str, AfterValidator(_well_formed)]


class Strict(BaseModel):
    """A request body, or a part of one."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Answer(BaseModel):
    """An answer, or a part of one; clients should expect further fields in later releases."""

    model_config = ConfigDict(extra="forbid")


Weight = Annotated[float, Field(ge=0, le=LARGEST_WEIGHT)]


class Vector(Strict):
    """Sparse weights by term number, in any order, each term once."""

    indices: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=MAX_QUERY_TERMS)]
    values: Annotated[list[Weight], Field(max_length=MAX_QUERY_TERMS)]


class QueryInput(Strict):
    """What to search for: exactly one of `text`, `tokens` and `vector`."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["text"], "properties": {"text": {"type": "string"}}},
                {"required": ["tokens"], "properties": {"tokens": {"type": "object"}}},
                {"required": ["vector"], "properties": {"vector": {"type": "object"}}},
            ]
        }
    )

    text: Text | None = Field(
        default=None, description="Natural language, for the encoder of the index."
    )
    tokens: Annotated[dict[Text, Weight], Field(max_length=MAX_QUERY_TERMS)] | None = Field(
        default=None, description="Weights by vocabulary entry; unknown ones are reported."
    )
    vector: Vector | None = Field(default=None, description="Weights by term number.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in ("text", "tokens", "vector") if getattr(self, name) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "exactly_one",
                "a query is exactly one of text, tokens and vector, got {given}",
                {"given": " and ".join(given) or "none of them"},
            )
        return self


FilterValue = Text | bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | float


class Condition(Strict):
    """All of these must hold; a document without a value satisfies only `exists: false`."""

    eq: FilterValue | None = None
    any_of: list[FilterValue] | None = Field(default=None, alias="in", max_length=1000)
    gt: FilterValue | None = None
    gte: FilterValue | None = None
    lt: FilterValue | None = None
    lte: FilterValue | None = None
    exists: bool | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.conditions():
            raise PydanticCustomError(
                "empty_condition",
                "an empty condition; use some of eq, in, gt, gte, lt, lte and exists",
            )
        return self

    def conditions(self) -> dict[str, Any]:
        """What was said, by the names that it was said with."""
        return self.model_dump(by_alias=True, exclude_none=True)


def _kind_of_filter(value: Any) -> str:
    if isinstance(value, dict | Condition):
        return "condition"
    return "values" if isinstance(value, list) else "value"


FieldFilter = Annotated[
    Annotated[FilterValue, Tag("value")]
    | Annotated[list[FilterValue], Tag("values"), Field(max_length=1000)]
    | Annotated[Condition, Tag("condition")],
    Discriminator(_kind_of_filter),
]


class SearchRequest(Strict):
    """One search."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": {"text": "effects of caffeine on sleep"}, "limit": 3},
                {
                    "query": {"tokens": {"caffein": 1.4, "sleep": 1.2}},
                    "fields": ["title"],
                    "filter": {"lang": "en", "year": {"gte": 2020}},
                    "explain": True,
                },
                {"query": {"vector": {"indices": [12, 907], "values": [1.4, 1.2]}}, "fields": []},
            ]
        }
    )

    query: QueryInput
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 10
    fields: Annotated[list[Text], Field(max_length=256)] | None = Field(
        default=None, description="Stored fields to return; all by default, none for []."
    )
    filter: Annotated[dict[Text, FieldFilter], Field(max_length=64)] | None = Field(
        default=None,
        description="By declared field: a value, a list of which any will do, or conditions.",
    )
    explain: bool = Field(
        default=False, description="With each hit, the terms whose contributions are its score."
    )
    timing: bool = Field(
        default=True, description="Whether the body tells times; the header Server-Timing does."
    )


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


class IndexInfo(Answer):
    """Counts and sizes of one index."""

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
