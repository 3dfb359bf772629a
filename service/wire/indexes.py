"""Indexes: what they are and how large."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from .answers import Notice
from .base import Answer, Strict, Text

Kind = Literal["keyword", "int", "float", "bool", "date"]
MAX_FIELD_NAME = 255
"""Characters of the name of a declared field."""
FILTER_WORDS = ("all", "any", "not", "field")
"""What filters begin with, so no field that is filtered by can be called so."""


def _nameable(name: str) -> str:
    if name in FILTER_WORDS:
        raise PydanticCustomError(
            "field_name",
            "'{name}' has a meaning of its own in filters; wanted another name",
            {"name": name},
        )
    if not 1 <= len(name) <= MAX_FIELD_NAME:
        raise PydanticCustomError(
            "field_name",
            "wanted a name of 1 to {most} characters, got {n}",
            {"most": MAX_FIELD_NAME, "n": len(name)},
        )
    return name


FieldName = Annotated[
    Text,
    AfterValidator(_nameable),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_FIELD_NAME,
            "not": {"enum": list(FILTER_WORDS)},
        }
    ),
]
"""The name of a field to filter by."""


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


class Passages(Strict):
    """How long documents are split: windows of `length` words that share `overlap` of them."""

    length: Annotated[int, Field(ge=8, le=100_000)]
    overlap: Annotated[int, Field(ge=0, description="At most half of `length`.")] = 0

    @model_validator(mode="after")
    def _shorter(self) -> Self:
        if 2 * self.overlap > self.length:  # more of it and a text is stored and encoded many times
            raise PydanticCustomError("overlap", "overlap must be at most half of length")
        return self


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
    passages: Passages | None = Field(
        description="How documents added now are split; null keeps them whole."
    )
    warnings: list[Notice] = Field(
        description="What makes its answers worse than they could be, and what to do."
    )


class CreateIndex(Strict):
    """A new, empty index."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "papers", "fields": {"lang": "keyword", "year": "int"}},
                {
                    "name": "manuals",
                    "encoder": "lsr-mini",
                    "passages": {"length": 256, "overlap": 32},
                },
                {"name": "vectors", "encoder": None, "n_terms": 30522, "max_weight": 3.5},
            ]
        }
    )

    name: Text
    encoder: Text | None = Field(
        default="bm25",
        description="`bm25`, which learns from the first documents; `lsr-mini`, the encoder with a "
        "network that comes with the server; a folder of the server's `encoders/`; null for "
        "documents that bring vectors.",
    )
    n_terms: Annotated[int, Field(ge=1, le=1 << 24)] | None = Field(
        default=None, description="Size of the vocabulary, where there is no encoder to tell it."
    )
    max_weight: Annotated[float, Field(ge=1e-6, le=1e6)] | None = Field(
        default=None, description="The document weight that the largest 8-bit impact stands for."
    )
    fields: Annotated[dict[FieldName, Kind], Field(max_length=64)] = Field(
        default_factory=dict, description="Fields to filter by, and their kinds."
    )
    passages: Passages | None = None
    order: Literal["none", "bp"] = Field(
        default="bp", description="Whether similar documents are laid side by side."
    )

    @model_validator(mode="after")
    def _encoder_or_sizes(self) -> Self:
        sizes = (self.n_terms, self.max_weight)
        if self.encoder is None and None in sizes:
            raise PydanticCustomError(
                "sizes", "without an encoder, n_terms and max_weight must be given"
            )
        if self.encoder is not None and sizes != (None, None):
            raise PydanticCustomError("sizes", "n_terms and max_weight are the encoder's to tell")
        if self.encoder is None and self.passages is not None:
            raise PydanticCustomError("passages", "only text can be split, which needs an encoder")
        return self


class ChangeIndex(Strict):
    """Settings that may change while an index lives; what is absent stays."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"passages": {"length": 256, "overlap": 32}}, {"passages": None}]
        }
    )

    passages: Passages | None = Field(
        default=None, description="For documents added from now on; null to keep them whole."
    )
