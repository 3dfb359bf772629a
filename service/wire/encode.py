"""Texts as weighted terms: our way, and that of text-embeddings-inference."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, RootModel, Tag

from .base import Answer, Strict, Text, by_kind

MAX_TEXTS = 128
"""Texts of one request."""


class EncodeRequest(Strict):
    """Texts, and for which side of a search they are read."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"index": "papers", "texts": ["effects of caffeine"], "as": "query"}]
        }
    )

    index: Text = Field(description="Whose encoder reads them.")
    texts: Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]
    as_: Literal["query", "document"] = Field(default="query", alias="as")
    top_terms: Annotated[int, Field(ge=1, le=4112)] | None = Field(
        default=None, description="Only the heaviest of each text; all by default."
    )


class Token(Answer):
    """A term and its weight."""

    term: str
    index: int
    weight: float


class EncodedText(Answer):
    """One text, heaviest term first."""

    tokens: list[Token]
    terms: int = Field(description="How many there are, listed or not.")
    truncated: bool | None = Field(
        description="Whether only the beginning was read; null where nobody can tell."
    )


class EncodeTiming(Answer):
    """Milliseconds."""

    encode: float
    total: float


class EncodeResponse(Answer):
    """A result for each text, in order."""

    index: str
    generation: int
    encoder: str
    strategy: Literal["bm25", "lookup", "model"] = Field(description="How queries are read.")
    as_: Literal["query", "document"] = Field(alias="as")
    results: list[EncodedText]
    timing_ms: EncodeTiming


Inputs = Annotated[
    Annotated[Text, Tag("one")] | Annotated[list[Text], Tag("many")],
    by_kind({"string": "one", "list": "many"}, "wanted a text or a list of texts"),
]


class EmbedSparseRequest(Strict):
    """A request of text-embeddings-inference; `prompt_name` says which side of a search.

    As there, members that mean nothing here are passed over.
    """

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"inputs": ["effects of caffeine"]}]}
    )

    inputs: Inputs
    truncate: bool | None = Field(
        default=False, description="Read the beginning of texts that are too long."
    )
    truncation_direction: Literal["Right", "right"] | None = None
    prompt_name: Literal["query", "document", "passage"] | None = Field(
        default=None, description="Null means query."
    )


class SparseValue(Answer):
    """A term number and its weight."""

    index: int
    value: float


class EmbedSparseResponse(RootModel[list[list[SparseValue]]]):
    """A list for each input."""


class EmbedError(Answer):
    """An error as text-embeddings-inference tells it."""

    error: str
    error_type: Literal["validation", "tokenizer", "backend", "overloaded", "unhealthy", "empty"]
