"""Drivers for our engine: the core through one segment, and the index as users open it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from protocol import Config, Engine, Terms, Weights
from scipy import sparse
from vectors import VectorSet

from lsr.types import SparseMatrix

BULK_MEMORY = "2GiB"
RECALLS = (0.9, 0.95, 0.97, 0.98, 0.99)


PAGES = (16, 20, 24, 32, 40, 60)
MANY_PAGES = (250, 300, 400)


class Lsr(Engine):
    """Our engine: one segment searched through `index.engine`, quantising the query included.

    Modes are algorithms of exact search, `approximate R`, a target recall, or `approximate N
    pages`, a budget: our grid, as the rivals have theirs.
    """

    package = "lsr-search"
    compiles = True

    def modes(self, k: int) -> tuple[str, ...]:
        approximate = (f"approximate {recall}" for recall in RECALLS) if _approximate() else ()
        pages = (f"approximate {n} pages" for n in (PAGES if k <= 10 else MANY_PAGES))
        return ("blockmax", "exhaustive", "auto", *approximate, *pages)

    def build(self, vectors: VectorSet, folder: Path, config: Config) -> dict[str, Any]:
        from index.quantize import scale_for
        from index.segment import write_segment

        docids = np.arange(vectors.n_docs, dtype=np.uint32)
        stats = write_segment(
            folder / "one.segment",
            vectors.docs,
            docids,
            list(map(str, docids)),
            scale=scale_for(vectors.max_weight),
            **config,
        )
        return {"search bytes/posting": f"{stats.search_bytes / vectors.docs.nnz:.2f}"}

    def open(self, folder: Path, config: Config) -> None:
        from index.segment import Segment

        self.segment = Segment.open(folder / "one.segment")

    def memory(self) -> int | None:
        return self.segment.n_bytes

    def searcher(self, k: int, mode: str) -> Callable[[tuple[Terms, Weights]], Any]:
        from index.engine import search
        from index.quantize import integer_query

        segments, live, settings = [self.segment], [None], _settings(mode)
        n_terms, scale = self.segment.n_terms, self.segment.scale

        def answer(query: tuple[Terms, Weights]) -> Any:
            asked = integer_query(*query, n_terms=n_terms, scale=scale)
            return search(segments, live, asked, k, **settings)

        return answer

    def ids(self, answer: Any) -> Any:
        return answer[0]


class LsrIndex(Engine):
    """Our engine as users call it: `Index.search`, catalog and string ids included."""

    package = "lsr-search"
    compiles = True

    def modes(self, k: int) -> tuple[str, ...]:
        return ("auto",)

    def build(self, vectors: VectorSet, folder: Path, config: Config) -> dict[str, Any]:
        from index import Index
        from lsr.types import Document

        sizes = {"n_terms": vectors.n_terms, "max_weight": vectors.max_weight}
        index = Index.create(folder / "index", **sizes)
        with index.bulk("benchmark", memory=BULK_MEMORY) as bulk:
            for first, batch in vectors.batches(20_000):
                bulk.add([Document(str(first + i)) for i in range(batch.shape[0])], batch)
        index.close()
        return {"segments": len(list((folder / "index" / "segments").iterdir()))}

    def open(self, folder: Path, config: Config) -> None:
        from index import Index

        self.index = Index.open(folder / "index", read_only=True)

    def prepare(self, terms: Terms, weights: Weights) -> SparseMatrix:
        return sparse.csr_array((weights, terms, [0, len(terms)]), shape=(1, self.index.n_terms))

    def searcher(self, k: int, mode: str) -> Callable[[SparseMatrix], Any]:
        search = self.index.search
        return lambda query: search(query, k, algorithm=mode)

    def ids(self, answer: Any) -> Any:
        return [int(doc_id) for doc_id in answer.doc_ids]


def _approximate() -> Any:
    """The class that asks for less than the exact answer, None in a checkout without it."""
    try:
        from index.approximate import Approximate
    except ImportError:
        return None
    return Approximate


def _settings(mode: str) -> dict[str, Any]:
    if not mode.startswith("approximate"):
        return {"algorithm": mode}
    amount = mode.split()[1]
    if mode.endswith("pages"):
        return {"approximate": _approximate()(pages=int(amount))}
    return {"approximate": _approximate()(recall=float(amount))}
