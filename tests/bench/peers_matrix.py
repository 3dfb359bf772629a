"""Drivers for engines that are matrices: scipy, splade-index, bm25s.

Every driver of the `peers_*` files takes the fastest way into its engine that we know, even below
the public API, so that a ratio against it is not made of Python overhead.
"""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from protocol import Config, Engine, Terms, Weights
from scipy import sparse
from vectors import VectorSet


class Scipy(Engine):
    """scipy.sparse at its strongest: the query's rows of the transposed matrix."""

    package = "scipy"

    def build(self, vectors: VectorSet, folder: Path, config: Config) -> dict[str, Any]:
        sparse.save_npz(folder / "terms.npz", vectors.docs.T.tocsr(), compressed=False)
        return {}

    def open(self, folder: Path, config: Config) -> None:
        self.matrix = sparse.load_npz(folder / "terms.npz")

    def modes(self, k: int) -> tuple[str, ...]:
        return ("term rows",)

    def searcher(self, k: int, mode: str) -> Callable[[tuple[Terms, Weights]], Any]:
        return lambda query: _best(query[1] @ self.matrix[query[0]], k)


class ScipyProduct(Engine):
    """scipy.sparse as most people write it: CSR of documents times a dense query."""

    package = "scipy"

    def build(self, vectors: VectorSet, folder: Path, config: Config) -> dict[str, Any]:
        sparse.save_npz(folder / "docs.npz", vectors.docs, compressed=False)
        return {}

    def open(self, folder: Path, config: Config) -> None:
        self.matrix = sparse.load_npz(folder / "docs.npz")

    def modes(self, k: int) -> tuple[str, ...]:
        return ("documents x query",)

    def searcher(self, k: int, mode: str) -> Callable[[tuple[Terms, Weights]], Any]:
        def search(query: tuple[Terms, Weights]) -> Any:
            dense = np.zeros(self.matrix.shape[1], np.float32)
            dense[query[0]] = query[1]
            return _best(self.matrix @ dense, k)

        return search


def _best(scores: Weights, k: int) -> npt.NDArray[np.intp]:
    top = np.flatnonzero(scores)  # argpartition takes 2 ms where most scores tie at zero
    if len(top) > k:
        top = top[np.argpartition(scores[top], -k)[-k:]]
    return top[np.argsort(-scores[top])]


class SpladeIndex(Engine):
    """splade-index below its text encoder: scoring and selection, under both of its backends."""

    package = "splade-index"
    compiles = True

    def modes(self, k: int) -> tuple[str, ...]:
        return ("numba", "numpy (default)")

    def build(self, vectors: VectorSet, folder: Path, config: Config) -> dict[str, Any]:
        columns = vectors.docs.tocsc()  # what SPLADE.index does with the encoder's output
        np.save(folder / "data.npy", columns.data)
        np.save(folder / "indices.npy", columns.indices.astype(np.int32))
        np.save(folder / "indptr.npy", columns.indptr.astype(np.int32))
        (folder / "n_docs").write_text(str(vectors.docs.shape[0]))
        return {}

    def open(self, folder: Path, config: Config) -> None:
        sys.modules["torch"] = None  # type: ignore[assignment]  # optional there; 250 MB otherwise
        from splade_index import SPLADE
        from splade_index.numba.retrieve_utils import _retrieve_numba_functional

        self.engine, self._retrieve = SPLADE(), _retrieve_numba_functional
        scores = {part: np.load(folder / f"{part}.npy") for part in ("data", "indices", "indptr")}
        self.engine.scores = scores | {"num_docs": int((folder / "n_docs").read_text())}
        self.engine.unique_token_ids_set = set(np.flatnonzero(np.diff(scores["indptr"])).tolist())

    def searcher(self, k: int, mode: str) -> Callable[[tuple[Terms, Weights]], Any]:
        engine, retrieve, scores = self.engine, self._retrieve, self.engine.scores
        if mode == "numba":
            return lambda query: retrieve([query[0]], [query[1]], scores, k=k, show_progress=False)[
                0
            ][0]
        return lambda query: engine._get_top_k_results(*query, k=k, sorted=True)[1]


class Bm25s(Engine):
    """bm25s on the token lists of a text set, Lucene's formula: words in, no weights."""

    package = "bm25s"
    compiles = True

    def modes(self, k: int) -> tuple[str, ...]:
        return ("numba",)

    def build(self, vectors: VectorSet, folder: Path, config: Config) -> dict[str, Any]:
        from bm25s import BM25

        docs, tokens = vectors.docs, np.load(vectors.folder / "tokens.npz")
        all_ids, (k1, b) = tokens["ids"], tokens["settings"].tolist()
        bounds = itertools.pairwise(tokens["indptr"][: docs.shape[0] + 1].tolist())
        ids = [all_ids[start:end].tolist() for start, end in bounds]
        vocabulary = {str(term): term for term in range(docs.shape[1])}
        engine = BM25(k1=k1, b=b, method="lucene", backend="numba")
        engine.index((ids, vocabulary), show_progress=False)
        engine.save(str(folder), show_progress=False)
        df = np.bincount(docs.indices, minlength=docs.shape[1])
        np.save(folder / "idf.npy", np.log1p((docs.shape[0] - df + 0.5) / (df + 0.5)))
        return {}

    def open(self, folder: Path, config: Config) -> None:
        from bm25s import BM25

        self.engine = BM25.load(str(folder))
        self.idf = np.load(folder / "idf.npy")

    def prepare(self, terms: Terms, weights: Weights) -> list[list[int]]:
        times_said = np.maximum(1, np.rint(weights / self.idf[terms])).astype(int)
        return [np.repeat(terms, times_said).tolist()]

    def searcher(self, k: int, mode: str) -> Callable[[list[list[int]]], Any]:
        retrieve = self.engine.retrieve
        return lambda query: retrieve(query, k=k, show_progress=False, n_threads=1)

    def ids(self, answer: Any) -> Any:
        return answer.documents[0]
