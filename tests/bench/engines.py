"""Our drivers, and the protocol under which every engine meets the same vectors and clock.

`build` writes an index into a folder and `open` reads it in another process. `prepare` turns a
query into whatever the engine wants (not timed), `search` is timed, `ids` reads document numbers
off an answer (not timed). `modes` are search settings; an approximate engine lists a grid, of which
the table quotes the fastest setting that reaches an overlap.
"""

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from peers import Bm25s, Bmp, Scipy, ScipyProduct, Seismic, SpladeIndex, Terms, Weights
from scipy import sparse
from vectors import VectorSet

from lsr.types import SparseMatrix


class Engine(Protocol):
    """What a driver promises. `package` is what pip installs."""

    package: ClassVar[str]
    approximate: ClassVar[bool]
    modes: ClassVar[list[str]]

    def build(self, vectors: VectorSet, folder: Path) -> dict[str, Any]: ...
    def open(self, folder: Path) -> None: ...
    def prepare(self, terms: Terms, weights: Weights) -> Any: ...
    def search(self, query: Any, k: int, mode: str) -> Any: ...
    def ids(self, answer: Any) -> Any: ...


class Lsr:
    """Our engine: one segment searched through `index.segment`, quantising the query included."""

    package, approximate, modes = "lsr-search", False, ["blockmax", "exhaustive"]

    def build(self, vectors: VectorSet, folder: Path) -> dict[str, Any]:
        from index.segment import write_segment

        from index.quantize import scale_for

        docids = np.arange(vectors.docs.shape[0], dtype=np.uint32)
        stats = write_segment(
            folder / "one.segment",
            vectors.docs,
            docids,
            list(map(str, docids)),
            scale=scale_for(vectors.max_weight),
        )
        return {"search_bytes": stats.search_bytes}

    def open(self, folder: Path) -> None:
        from index.segment import Segment, search

        from index.quantize import integer_query

        self.segment = Segment.open(folder / "one.segment")
        self._integer_query, self._search = integer_query, search

    def prepare(self, terms: Terms, weights: Weights) -> tuple[Terms, Weights]:
        return terms, weights

    def search(self, query: tuple[Terms, Weights], k: int, mode: str) -> Any:
        segment = self.segment
        asked = self._integer_query(*query, n_terms=segment.n_terms, scale=segment.scale)
        return self._search([segment], [None], asked, k, algorithm=mode)

    def ids(self, answer: Any) -> Any:
        return answer[0]


class LsrIndex:
    """Our engine as users call it: `Index.search`, catalog and string ids included."""

    package, approximate, modes = "lsr-search", False, ["auto"]

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


ENGINES: dict[str, type[Engine]] = {
    "lsr": Lsr,
    "lsr-index": LsrIndex,
    "scipy": Scipy,
    "scipy-product": ScipyProduct,
    "splade-index": SpladeIndex,
    "bmp": Bmp,
    "seismic": Seismic,
    "bm25s": Bm25s,
}


def installed(name: str) -> str | None:
    """Version of the engine's package, None where it is not installed."""
    try:
        return version(ENGINES[name].package)
    except PackageNotFoundError:
        return None


def one_thread() -> dict[str, str]:
    """Environment that keeps every library's pool at one thread while searching."""
    pools = ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON")
    return os.environ | {f"{pool}_NUM_THREADS": "1" for pool in pools}
