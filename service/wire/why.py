"""Why one document is where it is in a ranking, or is not in it at all."""

from typing import Annotated

from pydantic import ConfigDict, Field

from .answers import HitExplanation, Notice, PassageSpan, QueryReport, Timing
from .base import Answer, Strict
from .filters import Filter
from .queries import QueryInput
from .search import Terms

RANKED = 1000
"""How deep a document's rank is looked for."""


class ExplainRequest(Strict):
    """One query, and with which conditions."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"query": {"text": "effects of caffeine"}, "k": 10}]}
    )

    query: QueryInput
    k: Annotated[int, Field(ge=1, le=RANKED)] = Field(
        default=10, description="The ranking that the document is, or would be, in: the top k."
    )
    filter: Filter | None = None
    require_terms: Terms = Field(default=[])
    exclude_terms: Terms = Field(default=[])


class MissingTerm(Answer):
    """A term of the query that the document's vector lacks."""

    term: str | None
    index: int
    query: float
    heaviest: float = Field(description="The most that any document of this index has of it.")
    in_text: bool | None = Field(
        description="True: the text says it, but it was cut off or pruned. Null: nobody can tell."
    )


class Cut(Answer):
    """The k-th best document."""

    id: str
    rank: int
    score: float


class Lift(Answer):
    """A missing term that would bring the document into the top k, alone."""

    term: str | None
    index: int
    weight: float = Field(description="The document weight that it takes, as rounded to 8 bits.")
    plausible: bool = Field(description="Some document of this index has so much of it.")


class WhatWouldLift(Answer):
    """What the document lacks to be in the top k, other things being equal."""

    terms: list[Lift] = Field(description="Each alone would do, least weight first.")
    together: list[str | int] | None = Field(
        description="Missing terms that would do together, each at the most that any document has; "
        "null where even all of them would not."
    )
    note: str


class ExplainResponse(Answer):
    """The score of one document, what it is made of, and what it would take."""

    index: str
    generation: int
    id: str
    query: QueryReport
    allowed: bool = Field(description="Whether filter, required and excluded terms let it pass.")
    rank: int | None = Field(description=f"Among the best {RANKED:,}; null below and outside.")
    score: float
    passage: PassageSpan | None = None
    explain: HitExplanation
    missing: list[MissingTerm]
    cut: Cut | None = Field(description="Null where fewer than k documents match.")
    gap: float | None = Field(description="What is missing to the k-th score; null inside the top.")
    lift: WhatWouldLift | None
    timing_ms: Timing
    warnings: list[Notice]
