"""The same question to two targets: two indexes, or two ways to search one."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from .answers import SearchResponse
from .base import Answer, Strict, Text
from .queries import QueryInput
from .search import MAX_LIMIT, SearchOptions

_OF_BOTH = ("limit", "offset", "cursor", "timing")


class CompareTarget(SearchOptions):
    """Where to search, and how; what is searched for is that of the comparison by default."""

    index: Text

    @model_validator(mode="after")
    def _first_page(self) -> Self:
        given = [name for name in _OF_BOTH if name in self.model_fields_set]
        if given:
            raise PydanticCustomError(
                "of_both", "{names} is said once for both, beside a and b", {"names": given[0]}
            )
        return self


class CompareRequest(Strict):
    """One query, two targets."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "query": {"text": "effects of caffeine on sleep"},
                    "a": {"index": "papers", "explain": True},
                    "b": {"index": "papers-splade", "explain": True},
                    "limit": 20,
                },
                {
                    "query": {"text": "caffeine"},
                    "a": {"index": "papers"},
                    "b": {"index": "papers", "mode": {"approx": {"recall": 0.95}}},
                },
            ]
        }
    )

    query: QueryInput | None = Field(
        default=None, description="For a target that has no query of its own."
    )
    a: CompareTarget
    b: CompareTarget
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = Field(
        default=10, description="Hits of each that are compared."
    )
    persistence: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.9, description="The p of rank-biased overlap: how far down a reader looks."
    )

    @model_validator(mode="after")
    def _has_queries(self) -> Self:
        if self.query is None and (self.a.query is None or self.b.query is None):
            raise PydanticCustomError(
                "no_query", "give a query here, or one to each of the two targets"
            )
        return self


class Overlap(Answer):
    """Documents that both found: `share` is their number by `limit`, or by the longer list."""

    both: int
    share: float


class RankBiasedOverlap(Answer):
    """The agreement of two rankings, 0 to 1: the mean, over depths d, of the share of the d best
    that are in both, each weighted by persistence to the power d - 1 (Webber et al. 2010, cut at
    the deeper list and scaled, so that equal rankings agree by 1)."""

    value: float
    persistence: float


class Move(Answer):
    """Where a document stands in both; `move` is how many ranks higher it is in b."""

    id: str
    a: int | None
    b: int | None
    move: int | None


class TermDifference(Answer):
    """A term's share of the score in both; scores of two encoders have no common unit."""

    term: str
    a: float
    b: float
    difference: float


class DocumentDifference(Answer):
    """Why a document that both found scores as it does in each, the largest difference first."""

    id: str
    terms: list[TermDifference]


class CompareTiming(Answer):
    """Milliseconds."""

    a: float
    b: float
    total: float


class CompareResponse(Answer):
    """Both answers, and how they differ."""

    limit: int
    a: SearchResponse
    b: SearchResponse
    overlap: Overlap
    rank_biased_overlap: RankBiasedOverlap
    moves: list[Move] = Field(description="By the better of the two ranks.")
    terms: list[DocumentDifference] | None = Field(
        default=None, description="Where both targets explain by terms that have names."
    )
    timing_ms: CompareTiming
