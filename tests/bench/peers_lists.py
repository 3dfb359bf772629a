"""Drivers for engines of inverted lists that answer exactly: bmp, impact-index, PISA, Qdrant.

Those whose speed depends on the order of documents (all but Qdrant) get our bisection order where
our engine ran before them.
"""

import importlib.util
from collections.abc import Callable
from importlib.metadata import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from protocol import Config, Engine, Terms, Weights
from scipy import sparse
from vectors import VectorSet

from lsr.types import SparseMatrix

BLOCK = 32
PISA_QUERY = 127
"""The largest integer query weight for PISA, which adds a term up as often as its weight says."""


def ordered(vectors: VectorSet) -> tuple[npt.NDArray[np.uint32], dict[str, Any]]:
    """Row of each position, and the note that says whose order it is."""
    if vectors.order is None:
        return np.arange(vectors.n_docs, dtype=np.uint32), {"order": "as given"}
    return vectors.order, {"order": "our bisection"}


def impacts(matrix: SparseMatrix) -> npt.NDArray[np.int64]:
    """8-bit impacts of a matrix's entries; the largest weight is 255."""
    return np.clip(np.rint(matrix.data * (255 / matrix.data.max())), 1, 255).astype(np.int64)


class Bmp(Engine):
    """bmp, blocks of 32 documents."""

    package = "bmp"

    def modes(self, k: int) -> tuple[str, ...]:
        return ("alpha 1 beta 1",)

    def build(self, vectors: VectorSet, folder: Path, config: Config) -> dict[str, Any]:
        from bmp import Indexer

        docs, (rows, notes) = vectors.docs, ordered(vectors)
        quantised = impacts(docs)
        indexer = Indexer(str(folder / "bmp.index"), bsize=BLOCK, compress_range=False)
        names = list(map(str, range(docs.shape[1])))
        for row in rows.tolist():
            a, b = docs.indptr[row], docs.indptr[row + 1]
            terms = map(names.__getitem__, docs.indices[a:b].tolist())
            indexer.add_document(str(row), dict(zip(terms, quantised[a:b].tolist(), strict=True)))
        indexer.finish()
        return notes

    def open(self, folder: Path, config: Config) -> None:
        from bmp import Searcher

        self.engine = Searcher(str(folder / "bmp.index"))

    def prepare(self, terms: Terms, weights: Weights) -> dict[str, float]:
        return dict(zip(map(str, terms.tolist()), weights.tolist(), strict=True))

    def searcher(self, k: int, mode: str) -> Callable[[dict[str, float]], Any]:
        search = self.engine.search
        return lambda query: search(query, k, 1.0, 1.0)

    def ids(self, answer: Any) -> Any:
        return [int(doc_id) for doc_id in answer[0]]


class ImpactIndex(Engine):
    """impact-index, postings raw (float32) or compressed (8 bits); WAND and MaxScore."""

    package = "impact-index"

    def configurations(self, set_name: str) -> tuple[Config, ...]:
        return ({"form": "raw"}, {"form": "compressed"})

    def modes(self, k: int) -> tuple[str, ...]:
        return ("maxscore", "wand")

    def build(self, vectors: VectorSet, folder: Path, config: Config) -> dict[str, Any]:
        from impact_index import IndexBuilder

        docs, (rows, notes) = vectors.docs, ordered(vectors)
        np.save(folder / "rows.npy", rows)
        terms = docs.indices.astype(np.uint64)
        builder = IndexBuilder(str(folder / "raw"))
        for position, row in enumerate(rows.tolist()):
            a, b = docs.indptr[row], docs.indptr[row + 1]
            builder.add(position, terms[a:b], docs.data[a:b])
        index = builder.build(True)
        if config["form"] == "compressed":
            index.compress(str(folder / "compressed"), nbits=8)
            del index
            for path in (folder / "raw").iterdir():
                path.unlink()
        return notes

    def open(self, folder: Path, config: Config) -> None:
        from impact_index import Index

        self.rows = np.load(folder / "rows.npy")
        self.index = Index.load(str(folder / config["form"]), True)

    def prepare(self, terms: Terms, weights: Weights) -> dict[int, float]:
        return dict(zip(terms.tolist(), weights.tolist(), strict=True))

    def searcher(self, k: int, mode: str) -> Callable[[dict[int, float]], Any]:
        search = self.index.search_maxscore if mode == "maxscore" else self.index.search_wand
        return lambda query: search(query, k)

    def ids(self, answer: Any) -> Any:
        return self.rows[[found.docid for found in answer]]


class Pisa(Engine):
    """PISA through the extension module of pyterrier-pisa: no PyTerrier, no Java, no data frames.

    The inverted file that PISA compresses is written here, as PyTerrier's own indexer of weighted
    tokens does document by document.
    """

    package = "pyterrier-pisa"

    def modes(self, k: int) -> tuple[str, ...]:
        return ("maxscore", "block_max_maxscore", "block_max_wand")

    def convert(self, vectors: VectorSet, folder: Path) -> None:
        rows, _ = ordered(vectors)
        lists = sparse.csr_array(vectors.docs[rows].T.tocsr())
        used = np.flatnonzero(np.diff(lists.indptr))
        quantised = impacts(lists)
        lengths = np.bincount(lists.indices, weights=quantised, minlength=vectors.n_docs)
        (folder / "terms").write_text("".join(f"{term:06d}\n" for term in used))
        (folder / "documents").write_text("".join(f"{row}\n" for row in rows))
        np.concatenate([[vectors.n_docs], lengths]).astype("<u4").tofile(folder / "sizes")
        for name, values in (("docs", lists.indices), ("freqs", quantised)):
            with (folder / name).open("wb") as out:
                if name == "docs":
                    out.write(np.array([1, vectors.n_docs], "<u4").tobytes())
                for term in used:
                    a, b = lists.indptr[term], lists.indptr[term + 1]
                    out.write(np.uint32(b - a).tobytes() + values[a:b].astype("<u4").tobytes())

    def build(self, vectors: VectorSet, folder: Path, config: Config) -> dict[str, Any]:
        pisa = _pisa()
        for name in ("terms", "documents"):
            (folder / f"fwd.{name}").symlink_to(folder.parent / name)
        for name in ("sizes", "docs", "freqs"):
            (folder / f"inv.{name}").symlink_to(folder.parent / name)
        pisa.build_binlex(str(folder / "fwd.documents"), str(folder / "fwd.doclex"))
        pisa.build_binlex(str(folder / "fwd.terms"), str(folder / "fwd.termlex"))
        self.open(folder, config)
        return ordered(vectors)[1]

    def open(self, folder: Path, config: Config) -> None:
        pisa = _pisa()
        self.context = pisa.RetrievalContext()
        settings = {"block_size": 64, "quantize": 0, "stop_fname": ""}
        pisa.prepare_index(self.context, str(folder), "block_simdbp", "quantized", "", **settings)
        self._retrieve = pisa.retrieve

    def prepare(self, terms: Terms, weights: Weights) -> list[tuple[int, dict[str, float]]]:
        quantised = np.maximum(1, np.rint(weights * (PISA_QUERY / weights.max())))
        names = (f"{term:06d}" for term in terms.tolist())
        return [(0, dict(zip(names, quantised.tolist(), strict=True)))]

    def searcher(self, k: int, mode: str) -> Callable[[Any], Any]:
        retrieve, context, names = self._retrieve, self.context, np.empty(k, object)
        arrays = {
            "result_qidxs": np.empty(k, np.int32),
            "result_docnos": names,
            "result_ranks": np.empty(k, np.int32),
            "result_scores": np.empty(k, np.float32),
        }
        flags = {"k": k, "threads": 1, "pretokenised": 1, "query_weighted": 1}

        def search(query: Any) -> Any:
            return names, retrieve(context, mode, query, **flags, **arrays)

        return search

    def ids(self, answer: Any) -> Any:
        names, n = answer
        return [int(name) for name in names[:n]]


def _pisa() -> Any:
    # Importing its package would import PyTerrier, pandas and a bridge to Java for nothing.
    path = next(path for path in files("pyterrier-pisa") or () if path.match("_pisathon*.so"))
    spec = importlib.util.spec_from_file_location("_pisathon", path.locate())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Qdrant(Engine):
    """qdrant-edge, Qdrant in the process, its sparse index of float32 weights in memory."""

    package = "qdrant-edge-py"

    def build(self, vectors: VectorSet, folder: Path, config: Config) -> dict[str, Any]:
        from qdrant_edge import (
            EdgeConfig,
            EdgeShard,
            EdgeSparseVectorParams,
            Point,
            SparseVector,
            UpdateOperation,
        )

        docs = vectors.docs
        settings = EdgeConfig(
            sparse_vectors={"v": EdgeSparseVectorParams()}, max_search_threads=1, wal_enabled=False
        )
        (folder / "shard").mkdir()
        shard = EdgeShard.create(str(folder / "shard"), settings)
        for first in range(0, vectors.n_docs, 5000):
            points = []
            for row in range(first, min(first + 5000, vectors.n_docs)):
                a, b = docs.indptr[row], docs.indptr[row + 1]
                vector = SparseVector(docs.indices[a:b].tolist(), docs.data[a:b].tolist())
                points.append(Point(row, {"v": vector}))
            shard.update(UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.flush()
        segments = shard.info().segments_count
        shard.close()
        return {"segments": segments}

    def open(self, folder: Path, config: Config) -> None:
        from qdrant_edge import EdgeShard

        self.shard = EdgeShard.load(str(folder / "shard"))

    def prepare(self, terms: Terms, weights: Weights) -> Any:
        from qdrant_edge import Query, SparseVector

        return Query.Nearest(SparseVector(terms.tolist(), weights.tolist()), using="v")

    def searcher(self, k: int, mode: str) -> Callable[[Any], Any]:
        from qdrant_edge import SearchRequest

        search = self.shard.search
        return lambda query: search(SearchRequest(query=query, limit=k))

    def ids(self, answer: Any) -> Any:
        return [point.id for point in answer]
