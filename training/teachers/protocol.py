"""What a teacher promises: a score for a query and a document, on a scale of its own.

Three kinds. One embeds each text once, and a score is a dot product: a dense or sparse encoder,
BM25. Its vectors are kept, so every pair of a batch can be scored. The second reads query and
document together: a cross-encoder, whose scores are kept per pair. The third compares the
candidates of a query with each other, as duoT5 does, and scores the list.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from scipy import sparse

from lsr.types import DenseMatrix
from lsr.vectors import Vectors

Scores = DenseMatrix
"""(n,) or (n, m) float32."""


@runtime_checkable
class PairTeacher(Protocol):
    """Scores pairs by reading both texts at once."""

    @property
    def name(self) -> str:
        """What the recipe calls it."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits over all that decides its scores: weights, prompts, lengths, precision."""
        ...

    def score(
        self, queries: Sequence[str], documents: Sequence[str], *, progress: bool = False
    ) -> Scores:
        """(n,) float32: the score of each query with the document at its place."""
        ...


@runtime_checkable
class EmbeddingTeacher(Protocol):
    """Embeds queries and documents; the score of a pair is the dot product of its rows."""

    @property
    def name(self) -> str:
        """What the recipe calls it."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits over all that decides its scores: weights, prompts, lengths, precision."""
        ...

    def embed_queries(self, texts: Sequence[str], *, progress: bool = False) -> Vectors:
        """One row a text."""
        ...

    def embed_documents(self, texts: Sequence[str], *, progress: bool = False) -> Vectors:
        """One row a text, as wide as the rows of queries."""
        ...


@runtime_checkable
class ListTeacher(Protocol):
    """Scores a query's candidates together; scores of two lists are not comparable."""

    @property
    def name(self) -> str:
        """What the recipe calls it."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits over all that decides its scores."""
        ...

    def score_lists(self, queries: Sequence[str], documents: Sequence[Sequence[str]]) -> Scores:
        """(n,) float32: the scores of each query's own documents, end to end."""
        ...


Judge: TypeAlias = PairTeacher | EmbeddingTeacher
"""Scores any query with any document."""

Teacher: TypeAlias = Judge | ListTeacher


def dot(queries: Vectors, documents: Vectors) -> Scores:
    """(n_queries, n_documents) float32 scores of every pair."""
    product = queries @ documents.T
    dense = product.toarray() if sparse.issparse(product) else product
    return np.ascontiguousarray(dense, np.float32)
