"""BM25 as a teacher: knows literal words and rare ones, which dense teachers forget."""

from collections.abc import Sequence
from dataclasses import dataclass

from lsr.encoders.analysis import ENGLISH, Analyser
from lsr.encoders.bm25 import BM25Encoder

from .sparse import SparseTeacher


@dataclass(frozen=True)
class BM25Teacher(SparseTeacher):
    """BM25 with the statistics of the documents it was fitted to."""

    @classmethod
    def fit(
        cls, documents: Sequence[str], *, name: str = "bm25", analyser: Analyser = ENGLISH
    ) -> "BM25Teacher":
        """Count words over `documents`, the corpus the encoder learns from.

        >>> teacher = BM25Teacher.fit(["bees dance", "ants march"])
        >>> scores = teacher.embed_queries(["a bee"]) @ teacher.embed_documents(["bees"]).T
        >>> bool(scores.toarray()[0, 0] > 0)
        True
        """
        return cls(BM25Encoder.fit(documents, analyser=analyser), name)
