"""What every sparse encoder promises, whatever is behind it: a table, BM25 or a transformer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from ..types import SparseMatrix

QueryStrategy = Literal["bm25", "lookup", "model"]
"""How query weights come about: analysed words x idf, a token table, or a network."""


class SparseEncoder(Protocol):
    """Texts in, rows of non-negative term weights out.

    `space` fingerprints the vocabulary and the document encoder: an index refuses vectors of
    another space. `build` fingerprints the exact files and is only reported. `max_weight` is the
    document weight that impact 255 stands for in a new index (larger weights saturate and are
    counted).
    """

    @property
    def name(self) -> str:
        """Short human name, e.g. the folder's name."""
        ...

    @property
    def space(self) -> str:
        """16 hex digits: vocabulary + document encoder."""
        ...

    @property
    def build(self) -> str:
        """16 hex digits: every file of the encoder folder."""
        ...

    @property
    def folder(self) -> Path | None:
        """Where it was loaded from; None for an encoder made in memory."""
        ...

    @property
    def n_terms(self) -> int:
        """Number of columns of every matrix this encoder returns."""
        ...

    @property
    def max_weight(self) -> float:
        """The document weight that the largest impact represents."""
        ...

    @property
    def text_fields(self) -> tuple[str, ...]:
        """The document fields this encoder reads, joined by one space."""
        ...

    @property
    def query_strategy(self) -> QueryStrategy:
        """How query weights come about."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> SparseMatrix:
        """(len(texts), n_terms) query weights; an empty text is an empty row."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> SparseMatrix:
        """(len(texts), n_terms) document weights; an empty text is an empty row."""
        ...

    def term_strings(self, terms: Sequence[int] | npt.NDArray[np.integer]) -> list[str]:
        """The vocabulary entries of these term numbers, for people."""
        ...

    def save(self, folder: Path, *, queries_only: bool = False) -> None:
        """Write the encoder folder (sentence-transformers SparseEncoder layout), atomically.

        With `queries_only`, leave out whatever only documents need, where that is possible.
        """
        ...
