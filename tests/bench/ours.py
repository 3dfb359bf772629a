"""Drivers for our engine: the core through one segment, and the index as users open it."""

from pathlib import Path
from typing import Any

import numpy as np
from protocol import Engine, Terms, Weights
from scipy import sparse
from vectors import VectorSet

from lsr.types import SparseMatrix


class Lsr(Engine):
    """Our engine: one segment searched through `index.segment`, quantising the query included."""

    package = "lsr-search"
    modes = ("blockmax", "exhaustive")

    def build(self, vectors: VectorSet, folder: Path) -> dict[str, Any]:
        from index.quantize import scale_for
        from index.segment import write_segment

        docids = np.arange(vectors.docs.shape[0], dtype=np.uint32)
        stats = write_segment(
            folder / "one.segment",
            vectors.docs,
            docids,
            list(map(str, docids)),
            scale=scale_for(vectors.max_weight),
        )
        return {"search bytes/posting": f"{stats.search_bytes / vectors.docs.nnz:.2f}"}

    def open(self, folder: Path) -> None:
        from index.engine import search
        from index.quantize import integer_query
        from index.segment import Segment

        self.segment = Segment.open(folder / "one.segment")
        self._integer_query, self._search = integer_query, search

    def search(self, query: tuple[Terms, Weights], k: int, mode: str) -> Any:
        segment = self.segment
        asked = self._integer_query(*query, n_terms=segment.n_terms, scale=segment.scale)
        return self._search([segment], [None], asked, k, algorithm=mode)

    def ids(self, answer: Any) -> Any:
        return answer[0]


class LsrIndex(Engine):
    """Our engine as users call it: `Index.search`, catalog and string ids included."""

    package = "lsr-search"
    modes = ("auto",)

    def build(self, vectors: VectorSet, folder: Path) -> dict[str, Any]:
        from index import Index
        from lsr.types import Document

        docs, max_weight = vectors.docs, vectors.max_weight
        index = Index.create(folder / "index", n_terms=docs.shape[1], max_weight=max_weight)
        with index.bulk("benchmark") as bulk:
            for a in range(0, docs.shape[0], 20_000):
                batch = docs[a : a + 20_000]
                bulk.add([Document(str(a + i)) for i in range(batch.shape[0])], batch)
        index.close()
        return {}

    def open(self, folder: Path) -> None:
        from index import Index

        self.index = Index.open(folder / "index", read_only=True)

    def prepare(self, terms: Terms, weights: Weights) -> SparseMatrix:
        return sparse.csr_array((weights, terms, [0, len(terms)]), shape=(1, self.index.n_terms))

    def search(self, query: SparseMatrix, k: int, mode: str) -> Any:
        return self.index.search(query, k, algorithm=mode)

    def ids(self, answer: Any) -> Any:
        return [int(doc_id) for doc_id in answer.doc_ids]
