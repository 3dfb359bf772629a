"""Drivers for other people's engines; `protocol.Engine` says what each method does.

Every driver takes the fastest way into its engine that we know, even below the public API, so that
a ratio against it is not made of Python overhead.
"""

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from protocol import Engine, Terms, Weights
from scipy import sparse
from vectors import VectorSet


class Scipy(Engine):
    """scipy.sparse at its strongest: the query's rows of the transposed matrix."""

    package = "scipy"
    modes = ("term rows",)

    def build(self, vectors: VectorSet, folder: Path) -> dict[str, Any]:
        sparse.save_npz(folder / "terms.npz", vectors.docs.T.tocsr(), compressed=False)
        return {}

    def open(self, folder: Path) -> None:
        self.matrix = sparse.load_npz(folder / "terms.npz")

    def search(self, query: tuple[Terms, Weights], k: int, mode: str) -> Any:
        terms, weights = query
        return _best(weights @ self.matrix[terms], k)


class ScipyProduct(Engine):
    """scipy.sparse as most people write it: CSR of documents times a dense query."""

    package = "scipy"
    modes = ("documents x query",)

    def build(self, vectors: VectorSet, folder: Path) -> dict[str, Any]:
        sparse.save_npz(folder / "docs.npz", vectors.docs, compressed=False)
        return {}

    def open(self, folder: Path) -> None:
        self.matrix = sparse.load_npz(folder / "docs.npz")

    def search(self, query: tuple[Terms, Weights], k: int, mode: str) -> Any:
        terms, weights = query
        dense = np.zeros(self.matrix.shape[1], np.float32)
        dense[terms] = weights
        return _best(self.matrix @ dense, k)


def _best(scores: Weights, k: int) -> npt.NDArray[np.intp]:
    top = np.flatnonzero(scores)  # argpartition takes 2 ms where most scores tie at zero
    if len(top) > k:
        top = top[np.argpartition(scores[top], -k)[-k:]]
    return top[np.argsort(-scores[top])]


class SpladeIndex(Engine):
    """splade-index below its text encoder: scoring and selection, under both of its backends."""

    package = "splade-index"
    modes = ("numba", "numpy (default)")

    def build(self, vectors: VectorSet, folder: Path) -> dict[str, Any]:
        columns = vectors.docs.tocsc()  # what SPLADE.index does with the encoder's output
        np.save(folder / "data.npy", columns.data)
        np.save(folder / "indices.npy", columns.indices.astype(np.int32))
        np.save(folder / "indptr.npy", columns.indptr.astype(np.int32))
        (folder / "n_docs").write_text(str(vectors.docs.shape[0]))
        return {}

    def open(self, folder: Path) -> None:
        sys.modules["torch"] = None  # type: ignore[assignment]  # optional there; 250 MB otherwise
        from splade_index import SPLADE
        from splade_index.numba.retrieve_utils import _retrieve_numba_functional

        self.engine, self._retrieve = SPLADE(), _retrieve_numba_functional
        scores = {part: np.load(folder / f"{part}.npy") for part in ("data", "indices", "indptr")}
        self.engine.scores = scores | {"num_docs": int((folder / "n_docs").read_text())}
        self.engine.unique_token_ids_set = set(np.flatnonzero(np.diff(scores["indptr"])).tolist())

    def search(self, query: tuple[Terms, Weights], k: int, mode: str) -> Any:
        terms, weights = query
        if mode == "numba":
            scores = self.engine.scores
            found, _ = self._retrieve([terms], [weights], scores, k=k, show_progress=False)
            return found[0]
        return self.engine._get_top_k_results(terms, weights, k=k, sorted=True)[1]


class Bmp(Engine):
    """bmp, blocks of 32 documents, in our bisection order where our engine ran before it."""

    package = "bmp"
    modes = ("alpha 1 beta 1",)

    def build(self, vectors: VectorSet, folder: Path) -> dict[str, Any]:
        from bmp import Indexer

        docs, order = vectors.docs, vectors.order
        rows = np.arange(docs.shape[0], dtype=np.uint32) if order is None else order
        impacts = np.clip(np.rint(docs.data * (255 / docs.data.max())), 1, 255).astype(int)
        indexer = Indexer(str(folder / "bmp.index"), bsize=32, compress_range=False)
        for row in rows.tolist():
            a, b = docs.indptr[row], docs.indptr[row + 1]
            terms = map(str, docs.indices[a:b].tolist())
            indexer.add_document(str(row), dict(zip(terms, impacts[a:b].tolist(), strict=True)))
        indexer.finish()
        return {"order": "as given" if order is None else "our bisection"}

    def open(self, folder: Path) -> None:
        from bmp import Searcher

        self.searcher = Searcher(str(folder / "bmp.index"))

    def prepare(self, terms: Terms, weights: Weights) -> dict[str, float]:
        return dict(zip(map(str, terms.tolist()), weights.tolist(), strict=True))

    def search(self, query: dict[str, float], k: int, mode: str) -> Any:
        return self.searcher.search(query, k=k, alpha=1.0, beta=1.0)

    def ids(self, answer: Any) -> Any:
        return [int(doc_id) for doc_id in answer[0]]


class Seismic(Engine):
    """pyseismic-lsr, f16 values, no kNN graph; a grid of query_cut x heap_factor."""

    package = "pyseismic-lsr"
    approximate = True
    modes = tuple(f"cut {c} factor {f}" for c in (3, 5, 10, 20, 40) for f in (1.0, 0.9, 0.8, 0.7))

    def build(self, vectors: VectorSet, folder: Path) -> dict[str, Any]:
        from seismic import SeismicIndexRaw

        docs, inner = vectors.docs, folder / "docs.bin"
        with inner.open("wb") as out:  # n, then length, terms u32, weights f32 of each document
            out.write(np.uint32(docs.shape[0]).tobytes())
            terms, weights = docs.indices.astype("<u4"), docs.data.astype("<f4")
            for a, b in zip(docs.indptr[:-1].tolist(), docs.indptr[1:].tolist(), strict=True):
                out.write(np.uint32(b - a).tobytes())
                out.write(terms[a:b].tobytes() + weights[a:b].tobytes())
        settings = {"n_postings": 1000, "centroid_fraction": 0.1, "summary_energy": 0.4}
        index = SeismicIndexRaw.build(str(inner), nknn=0, max_fraction=4.0, **settings)
        inner.unlink()
        index.save(str(folder / "all"))
        return settings

    def open(self, folder: Path) -> None:
        from seismic import SeismicIndexRaw

        (saved,) = folder.iterdir()  # save() does not write the name that it prints
        self.index = SeismicIndexRaw.load(str(saved))

    def search(self, query: tuple[Terms, Weights], k: int, mode: str) -> Any:
        _, cut, _, factor = mode.split()
        return self.index.search(*query, k, int(cut), float(factor), 0, True)

    def ids(self, answer: Any) -> Any:
        return [row for _, row in answer]


class Bm25s(Engine):
    """bm25s on the token lists of a text set, Lucene's formula: words in, no weights."""

    package = "bm25s"
    modes = ("numba",)

    def build(self, vectors: VectorSet, folder: Path) -> dict[str, Any]:
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

    def open(self, folder: Path) -> None:
        from bm25s import BM25

        self.engine = BM25.load(str(folder))
        self.idf = np.load(folder / "idf.npy")

    def prepare(self, terms: Terms, weights: Weights) -> list[list[int]]:
        times_said = np.maximum(1, np.rint(weights / self.idf[terms])).astype(int)
        return [np.repeat(terms, times_said).tolist()]

    def search(self, query: list[list[int]], k: int, mode: str) -> Any:
        return self.engine.retrieve(query, k=k, show_progress=False, n_threads=1)

    def ids(self, answer: Any) -> Any:
        return answer.documents[0]
