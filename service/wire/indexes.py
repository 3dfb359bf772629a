"""Indexes: what they are and how large."""

from typing import Literal

from pydantic import Field

from .base import Answer


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
