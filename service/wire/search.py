"""One search: what may be asked, and what is answered."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from index import MAX_QUERY_TERMS

from .base import Answer, Strict, Text

MAX_LIMIT = 1000
"""Hits of one answer; deeper pages belong to a cursor."""
LARGEST_WEIGHT = 3.4028234e38
"""The largest float32, as which the engine reads weights."""


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
