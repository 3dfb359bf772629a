"""The queries that a doctor asks: given ones, or the titles and first sentences of the corpus."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import sparse

from lsr.encoders import SparseEncoder
from lsr.types import Document, SparseMatrix

from ..store import Index

MAX_WORDS = 24
"""Longest question made of a first sentence; longer ones are texts, not questions."""
_SENTENCE = re.compile(r".+?[.!?](?=\s|$)", re.DOTALL)


@dataclass(frozen=True)
class Questions:
    """Query texts (none where queries were given as vectors), where they come from, their vectors.

    `own`: they were made of the corpus itself, so its words are theirs; real ones may differ.
    """

    texts: Sequence[str]
    source: str
    own: bool = False
    vectors: SparseMatrix | None = None

    def __len__(self) -> int:
        return len(self.texts) if self.vectors is None else int(self.vectors.shape[0])

    def encoded(self, encoder: SparseEncoder) -> "Questions":
        """The same with vectors."""
        return replace(self, vectors=encoder.encode_queries(list(self.texts)))

    def without_empty(self) -> "Questions":
        """Those whose vectors have a term."""
        kept = np.flatnonzero(np.diff(self.rows.indptr))
        rows: SparseMatrix = sparse.csr_array(self.rows[kept])
        return replace(self, texts=[self.texts[i] for i in kept.tolist()], vectors=rows)

    @property
    def rows(self) -> SparseMatrix:
        """(n, n_terms) the vectors, once there are any."""
        assert self.vectors is not None
        return self.vectors


def titles(index: Index, docids: npt.NDArray[np.uint32]) -> list[str]:
    """A question of each document: its title, or else its first sentence."""
    fields = ("title", "text") if index.encoder is None else index.encoder.text_fields
    return [question(document, fields) for document in index.documents(docids)]


def question(document: Document, fields: Sequence[str] = ("title", "text")) -> str:
    """The title, or the first sentence of the text, of at most `MAX_WORDS` words.

    >>> question(Document("a", {"title": "", "text": "Tea holds caffeine. So does coffee."}))
    'Tea holds caffeine.'
    """
    title = document.fields.get("title")
    if isinstance(title, str) and title.strip():
        return " ".join(title.split()[:MAX_WORDS])
    text = document.text(fields).strip()
    first = _SENTENCE.match(text)
    return " ".join((first.group() if first else text).split()[:MAX_WORDS])
