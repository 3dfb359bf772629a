"""Which words of a document gave it its terms."""

from typing import Annotated

from pydantic import ConfigDict, Field

from .answers import HighlightSpan
from .base import Answer, Strict
from .search import MAX_TERM_CONDITIONS, Term


class OriginsRequest(Strict):
    """The terms to ask about, those of an explanation for instance."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"terms": ["caffeine", 3712]}]})

    terms: Annotated[list[Term], Field(min_length=1, max_length=MAX_TERM_CONDITIONS)] = Field(
        description="Vocabulary entries or term numbers."
    )


class OriginSpan(HighlightSpan):
    """Characters [start, end) of a field that the network read when it gave the terms."""

    field: str


class OriginsResponse(Answer):
    """Where the terms come from; terms that the text does not give are nowhere in it."""

    index: str
    id: str
    encoder: str = Field(description="name@build of the encoder that read the document again.")
    spans: list[OriginSpan]
