"""One search: what may be asked."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from .base import Strict, Text, by_kind
from .filters import Filter
from .queries import QueryInput

MAX_LIMIT = 1000
"""Hits of one answer."""
MAX_WINDOW = 10_000
"""offset + limit: the engine ranks all hits up to the last that is asked for."""
MAX_DEPTH = 100_000
"""Hits that a cursor leads to, for the same reason."""
MAX_TIMEOUT_MS = 600_000
MAX_TERM_CONDITIONS = 64
FIRST_PAGE = "start"
"""The cursor of the first page: it asks for a `next_cursor`."""

Share = Annotated[float, Field(gt=0, lt=1)]


class TopTerms(Strict):
    """How much of an explanation to tell."""

    top_terms: Annotated[int, Field(ge=1, le=4112)] = Field(
        description="Terms to list, the heaviest; `other` adds the rest up."
    )


Explain = Annotated[
    Annotated[bool, Tag("bool")] | Annotated[TopTerms, Tag("terms")],
    by_kind({"boolean": "bool", "object": "terms"}, 'wanted true, false or {"top_terms": 5}, say'),
]


class Highlight(Strict):
    """Where stored fields say what the query asks for."""

    fields: Annotated[list[Text], Field(min_length=1, max_length=16)]
    max_chars: Annotated[int, Field(ge=20, le=10_000)] = Field(
        default=240, description="Length of the excerpt of each field, in code points."
    )

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.fields)) < len(self.fields):
            raise PydanticCustomError("repeated", "a field is named more than once")
        return self


class Approx(Strict):
    """A target recall or a budget of pages of 256 documents; exactly one of them."""

    recall: Share | None = None
    pages: Annotated[int, Field(ge=1, le=2**31)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.recall is None) == (self.pages is None):
            raise PydanticCustomError("exactly_one", "wanted exactly one of recall and pages")
        return self


class Approximately(Strict):
    """Ask for less than the exact answer; the answer's certificate tells what it left alone."""

    approx: Approx


_MODES = 'wanted "exact" or {"approx": {"recall": 0.95}}, say'


def _known_mode(value: Any) -> Any:
    if value != "exact":
        raise PydanticCustomError("mode", _MODES)
    return value


Mode = Annotated[
    Annotated[Literal["exact"], BeforeValidator(_known_mode), Tag("exact")]
    | Annotated[Approximately, Tag("approx")],
    by_kind({"string": "exact", "object": "approx"}, _MODES),
]


class RelativeScore(Strict):
    """A share of the best score that any document could have for this query."""

    relative: Annotated[float, Field(ge=0, le=1)]


MinScore = Annotated[
    Annotated[float, Field(ge=0), Tag("score")] | Annotated[RelativeScore, Tag("share")],
    by_kind({"number": "score", "object": "share"}, 'wanted a number or {"relative": 0.2}, say'),
]

Term = Annotated[
    Annotated[Text, Tag("entry")] | Annotated[int, Field(ge=0), Tag("number")],
    by_kind({"string": "entry", "number": "number"}, "wanted a vocabulary entry or a term number"),
]
"""A vocabulary entry or a term number."""

Terms = Annotated[list[Term], Field(max_length=MAX_TERM_CONDITIONS)]


class SearchOptions(Strict):
    """A search that may leave open what it searches for."""

    query: QueryInput | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 10
    offset: Annotated[int, Field(ge=0, lt=MAX_WINDOW)] = Field(
        default=0, description=f"Hits to pass over; offset + limit may be {MAX_WINDOW:,}."
    )
    cursor: Text | None = Field(
        default=None,
        description='"start", then the `next_cursor` of each answer: pages of one commit.',
    )
    fields: Annotated[list[Text], Field(max_length=256)] | None = Field(
        default=None,
        description="Stored fields to return; all by default, none for [], which leaves out the "
        "texts of passages too.",
    )
    filter: Filter | None = None
    require_terms: Terms = Field(
        default=[],
        description="Terms that a hit must hold: entries of the vocabulary, words that are read as "
        "one, or term numbers.",
    )
    exclude_terms: Terms = Field(default=[], description="Terms that no hit may hold.")
    min_score: MinScore | None = Field(default=None, description="Leave out hits that score less.")
    highlight: Highlight | None = None
    explain: Explain = Field(
        default=False, description="With each hit, the terms whose contributions are its score."
    )
    mode: Mode = "exact"
    timeout_ms: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_MS)] | None = Field(
        default=None, description="Then the best found so far is the answer."
    )
    on_missing_shard: Literal["fail", "partial"] = Field(
        default="fail",
        description="When a shard of the index does not answer: a problem, or the answer of the "
        "others with `partial: true`.",
    )
    count: Literal["none", "estimate", "exact"] = Field(
        default="none",
        description="Whether to say how many documents match; an estimate is a lower bound, of the "
        "documents that hold one of the query's four lightest terms.",
    )
    timing: bool = Field(
        default=True, description="Whether the body tells times; the header Server-Timing does."
    )

    @model_validator(mode="after")
    def _inside_the_window(self) -> Self:
        if self.offset + self.limit > MAX_WINDOW:
            raise PydanticCustomError(
                "window",
                "offset + limit is {asked}, at most {most}; page on with a cursor",
                {"asked": self.offset + self.limit, "most": MAX_WINDOW},
            )
        if self.cursor is not None and self.offset:
            raise PydanticCustomError("cursor_and_offset", "a cursor knows its offset; leave it 0")
        if self.cursor is not None and self.mode != "exact":
            raise PydanticCustomError(
                "cursor_and_mode", "pages of an approximate answer do not fit; use mode exact"
            )
        return self


class SearchRequest(SearchOptions):
    """One search."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": {"text": "effects of caffeine on sleep"}, "limit": 3},
                {
                    "query": {"tokens": {"caffein": 1.4, "sleep": 1.2}},
                    "fields": ["title"],
                    "filter": {"lang": "en", "year": {"gte": 2020}},
                    "explain": {"top_terms": 5},
                },
                {"query": {"vector": {"indices": [12, 907], "values": [1.4, 1.2]}}, "fields": []},
                {"query": {"like": "p17"}, "min_score": {"relative": 0.2}},
            ]
        }
    )

    query: QueryInput  # the place of a field is that of its first declaration
