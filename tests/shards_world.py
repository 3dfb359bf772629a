"""Collections with many ties and an encoder that looks vectors up, for tests of shards."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from oracle import random_collection
from scipy import sparse

from index import Hits, build_index, build_shards, one_after_the_other
from lsr.encoders.bm25 import BM25Encoder
from lsr.encoders.protocol import QueryStrategy, SparseEncoder
from lsr.ray_cluster import secure
from lsr.types import Document, SparseMatrix

SECURED = {**os.environ}
"""The environment of each cluster of a test process: Ray reads token and mode once."""
secure(SECURED)

N_DOCS = 600
N_TERMS = 40


class LookedUp:
    """Documents and queries are rows of two matrices; a text is the number of its row."""

    name = "looked-up"
    space = "0123456789abcdef"
    build = "fedcba9876543210"
    folder: Path | None = None
    n_terms = N_TERMS
    max_weight = 4.0
    text_fields = ("text",)
    query_strategy: QueryStrategy = "model"

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        # Two weights and few terms: most scores tie, so the order of ties is put to the test.
        self.documents = random_collection(rng, N_DOCS, N_TERMS, mean=5, levels=2)
        weights = rng.integers(0, 3, (20, N_TERMS)) * (rng.random((20, N_TERMS)) < 0.2)
        self.queries = sparse.csr_array(weights.astype(np.float32))

    def encode_documents(self, texts: Sequence[str]) -> SparseMatrix:
        return sparse.csr_array(self.documents[[int(text.split()[0]) for text in texts]])

    def encode_queries(self, texts: Sequence[str]) -> SparseMatrix:
        return sparse.csr_array(self.queries[[int(text) for text in texts]])

    def term_strings(self, terms: Sequence[int] | npt.NDArray[np.integer]) -> list[str]:
        return [f"t{term}" for term in terms]

    def save(self, folder: Path, *, queries_only: bool = False) -> None:
        raise AssertionError("an index keeps no copy of a network")


class DiesOnce(LookedUp):
    """Its process is killed (SIGKILL) when it first reads document `at`, unless `mark` is there."""

    def __init__(self, seed: int, mark: Path, at: int) -> None:
        super().__init__(seed)
        self._mark = mark
        self._at = at

    def encode_documents(self, texts: Sequence[str]) -> SparseMatrix:
        if not self._mark.exists() and any(int(text.split()[0]) == self._at for text in texts):
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode_documents(texts)


def documents() -> list[Document]:
    """A text is its number and a few of thirty words, so that BM25 finds ties in it too."""
    rng = np.random.default_rng(5)
    words = [" ".join(f"w{n}" for n in rng.integers(0, 30, 4)) for _ in range(N_DOCS)]
    return [
        Document(f"d{n}", {"text": f"{n} {words[n]}", "lang": "en" if n % 3 else "de"})
        for n in range(N_DOCS)
    ]


def bm25() -> BM25Encoder:
    return BM25Encoder.fit(document.text() for document in documents())


def questions(encoder: SparseEncoder) -> SparseMatrix:
    if isinstance(encoder, LookedUp):
        return encoder.queries
    return encoder.encode_queries([f"w{n} w{(7 * n) % 30} w{(n + 3) % 30}" for n in range(20)])


def build_one(path: Path, encoder: SparseEncoder, **settings: object) -> Path:
    build_index(path, documents(), encoder, source="s", fields={"lang": "keyword"}, **settings)  # type: ignore[arg-type]
    return path


def build_set(path: Path, encoder: SparseEncoder, n_shards: int, **settings: object) -> Path:
    build_shards(
        path,
        encoder,
        one_after_the_other(documents, encoder),
        source="s",
        n_docs=N_DOCS,
        n_shards=n_shards,
        fields={"lang": "keyword"},
        **settings,  # type: ignore[arg-type]
    )
    return path


def told(hits: Hits) -> tuple[list[str], list[int], list[int], float]:
    """All that must be the same to the bit."""
    ranking = hits.ranking
    return hits.doc_ids, ranking.docids.tolist(), ranking.scores.tolist(), ranking.unit
