"""Drivers for approximate engines: Seismic, kANNolo and VSAG's SINDI, with the grids to tune over.

Seismic's and kANNolo's build grids are cut by size, because a build takes minutes to a quarter of
an hour: all of one parameter around the default, not the whole product.
"""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from protocol import Config, Engine, Terms, Weights
from vectors import VectorSet

SEISMIC = ("n_postings", "centroid_fraction", "summary_energy", "max_fraction")
SEISMIC_BUILDS: dict[str, tuple[tuple[float, ...], ...]] = {
    "t200s": (
        (1000, 0.1, 0.4, 4.0),
        (400, 0.1, 0.4, 4.0),
        (600, 0.1, 0.4, 4.0),
        (2000, 0.1, 0.4, 4.0),
        (3500, 0.1, 0.4, 4.0),
        (600, 0.2, 0.4, 4.0),
        (600, 0.1, 0.5, 4.0),
        (600, 0.1, 0.4, 6.0),
    ),
    "x500s": ((1000, 0.1, 0.4, 4.0), (600, 0.1, 0.4, 4.0), (2000, 0.1, 0.4, 4.0)),
    "t1ms": ((1000, 0.1, 0.4, 4.0), (800, 0.1, 0.4, 4.0), (2000, 0.1, 0.4, 4.0)),
    "t200f": ((400, 0.1, 0.4, 4.0), (1000, 0.1, 0.4, 4.0), (600, 0.1, 0.4, 4.0)),
    "t1mf": ((400, 0.1, 0.4, 4.0), (1000, 0.1, 0.4, 4.0)),
}
KANNOLO_BUILDS: dict[str, tuple[tuple[int, int], ...]] = {
    "t200s": ((16, 100), (32, 100), (16, 500), (32, 500)),
}
SINDI_RESCORED = {"use_quantization": True, "use_reorder": True}


class Seismic(Engine):
    """pyseismic-lsr, f16 values, no kNN graph."""

    package = "pyseismic-lsr"
    approximate = True

    def configurations(self, set_name: str) -> tuple[Config, ...]:
        builds = SEISMIC_BUILDS.get(set_name, SEISMIC_BUILDS["t200s"][:1])
        return tuple(dict(zip(SEISMIC, build, strict=True)) for build in builds)

    def modes(self, k: int) -> tuple[str, ...]:
        grid = itertools.product((3, 5, 8, 12, 20, 40), (0.7, 0.8, 0.9, 1.0))
        return tuple(f"cut {cut} factor {factor}" for cut, factor in grid)

    def convert(self, vectors: VectorSet, folder: Path) -> None:
        docs = vectors.docs
        terms, weights = docs.indices.astype("<u4"), docs.data.astype("<f4")
        with (folder / "docs.bin").open("wb") as out:
            out.write(np.uint32(docs.shape[0]).tobytes())
            for a, b in zip(docs.indptr[:-1].tolist(), docs.indptr[1:].tolist(), strict=True):
                out.write(np.uint32(b - a).tobytes())
                out.write(terms[a:b].tobytes() + weights[a:b].tobytes())

    def build(self, vectors: VectorSet, folder: Path, config: Config) -> dict[str, Any]:
        from seismic import SeismicIndexRaw

        index = SeismicIndexRaw.build(str(folder.parent / "docs.bin"), nknn=0, **config)
        index.save(str(folder / "all"))
        return {}

    def open(self, folder: Path, config: Config) -> None:
        from seismic import SeismicIndexRaw

        (saved,) = folder.glob("all*")  # save() does not write the name that it prints
        self.index = SeismicIndexRaw.load(str(saved))

    def searcher(self, k: int, mode: str) -> Callable[[tuple[Terms, Weights]], Any]:
        search, (_, cut, _, factor) = self.index.search, mode.split()
        query_cut, heap_factor = int(cut), float(factor)
        return lambda query: search(*query, k, query_cut, heap_factor, 0, True)

    def ids(self, answer: Any) -> Any:
        return [row for _, row in answer]


class Kannolo(Engine):
    """kANNolo's HNSW over 8-bit values, nodes permuted: on small sets its fastest form."""

    package = "kannolo"
    approximate = True

    def configurations(self, set_name: str) -> tuple[Config, ...]:
        builds = KANNOLO_BUILDS.get(set_name, KANNOLO_BUILDS["t200s"][:1])
        return tuple({"m": m, "ef_construction": ef} for m, ef in builds)

    def modes(self, k: int) -> tuple[str, ...]:
        """Candidate lists, and its stop at a distance (`lambda`), which its authors tune with."""
        if k >= 1000:
            sizes = (k, 3 * k // 2, 2 * k, 3 * k, 4 * k)
            return tuple(f"ef {ef}" for ef in sizes)
        sizes = (15, 20, 30, 40, 60, 90, 130, 200, 300, 450, 700, 1000)
        stops = (0.03, 0.06, 0.1, 0.15, 0.2, 0.3)
        return (
            *(f"ef {ef}" for ef in sizes if ef >= k),
            *(f"ef {k + 3} lambda {stop}" for stop in stops),
        )

    def build(self, vectors: VectorSet, folder: Path, config: Config) -> dict[str, Any]:
        from kannolo import SparseFixedU8HNSW

        docs = vectors.docs
        rows = (docs.indices.astype(np.int32), docs.data, docs.indptr.astype(np.int64))
        index = SparseFixedU8HNSW.build_from_arrays(*rows, graph_type="permuted", **config)
        index.save(str(folder / "graph"))
        return {}

    def open(self, folder: Path, config: Config) -> None:
        from kannolo import SparseFixedU8HNSW

        self.index = SparseFixedU8HNSW.load(str(folder / "graph"), graph_type="permuted")

    def searcher(self, k: int, mode: str) -> Callable[[tuple[Terms, Weights]], Any]:
        search, words = self.index.search, mode.split()
        ef, stop = int(words[1]), float(words[3]) if len(words) > 2 else None
        return lambda query: search(*query, k, ef, stop)

    def ids(self, answer: Any) -> Any:
        return answer[1]


class Sindi(Engine):
    """VSAG's SINDI: windows of inverted lists, float32 or 8 bits, pruned lists with rescoring."""

    package = "pyvsag"
    approximate = True

    def configurations(self, set_name: str) -> tuple[Config, ...]:
        pruned = ({"doc_prune_ratio": share, **SINDI_RESCORED} for share in (0.4, 0.6, 0.75, 0.2))
        return (
            {"doc_prune_ratio": 0.0, "use_quantization": False, "use_reorder": False},
            {"doc_prune_ratio": 0.0, "use_quantization": True, "use_reorder": False},
            *pruned,
            {"doc_prune_ratio": 0.4, **SINDI_RESCORED, "window_size": 10_000},
        )

    def modes(self, k: int) -> tuple[str, ...]:
        """Shares left out of the query and of every list, and how many to rescore."""
        shares = (0.0, 0.2, 0.4, 0.6) if k >= 1000 else (0.0, 0.2, 0.4, 0.6, 0.8)
        grid = itertools.product(shares, (0.0, 0.3), (1, 3) if k >= 1000 else (1, 2, 3, 4, 10))
        return tuple(f"query -{q} lists -{t} rescore {times}k" for q, t, times in grid)

    def build(self, vectors: VectorSet, folder: Path, config: Config) -> dict[str, Any]:
        docs, index = vectors.docs, _sindi(config)
        rows = (docs.indptr.astype(np.uint32), docs.indices.astype(np.uint32), docs.data)
        index.build(*rows, np.arange(vectors.n_docs, dtype=np.int64))
        index.save(str(folder / "sindi"))
        return {}

    def open(self, folder: Path, config: Config) -> None:
        self.index = _sindi(config)
        self.index.load(str(folder / "sindi"))

    def prepare(self, terms: Terms, weights: Weights) -> Any:
        return np.array([0, len(terms)], np.uint32), terms.astype(np.uint32), weights

    def searcher(self, k: int, mode: str) -> Callable[[Any], Any]:
        search, (_, query_share, _, list_share, _, times) = self.index.knn_search, mode.split()
        settings = {"n_candidate": int(times[:-1]) * k}
        settings |= {"query_prune_ratio": -float(query_share)}
        settings |= {"term_prune_ratio": -float(list_share)}
        parameters = json.dumps({"sindi": settings})
        return lambda query: search(*query, k, parameters)

    def ids(self, answer: Any) -> Any:
        return answer[0][0]  # ids, then distances, each (1, k)


def _sindi(config: Config) -> Any:
    from pyvsag import Index

    settings = {"term_id_limit": 1_000_000, "window_size": 50_000, **config}
    kind = {"dtype": "sparse", "metric_type": "ip", "dim": 65_536}
    return Index("sindi", json.dumps({**kind, "index_param": settings}))
