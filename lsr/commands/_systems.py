"""A system opened over a collection: its indexes and vectors come from the cache, or go there."""

import hashlib
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from .. import __version__
from ..errors import IndexFailure, imports_of
from ..files import atomic_write
from ..shipped import encoder_place
from ..systems import BM25, CROSS_ENCODER, DENSE, System, is_dense
from ..vectors import pace
from . import _printing as out
from ._encoders import EncoderChoice

if TYPE_CHECKING:
    from index import Index
    from lsr.datasets import Dataset
    from lsr.encoders.cross_encoder import CrossEncoder
    from lsr.encoders.protocol import SparseEncoder
    from lsr.retrieval import DenseRetriever
    from lsr.types import Retriever, Run, SparseMatrix


_FLOAT32 = 4


@dataclass
class SparseStage:
    """An index searched with an encoder, which remembers what its last searches cost."""

    index: "Index"
    encoder: "SparseEncoder"
    facts: dict[str, Any] = field(default_factory=dict)
    """terms_per_query, flops, encode_queries_s and search_s of the last call of `search`."""
    warm: bool = False

    def search(self, texts: Mapping[str, str], k: int) -> "Run":
        """Answer `{query_id: text}` with the k best documents each.

        The first query is answered once before the clock starts: what is loaded and paged in for
        it is no cost of a search.
        """
        from ..types import Run

        if texts and not self.warm:
            first = self.encoder.encode_queries(list(texts.values())[:1])
            self.index.search_batch(first, k)
            self.warm = True
        started = time.perf_counter()
        vectors = self.encoder.encode_queries(list(texts.values()))
        encoded = time.perf_counter()
        hits = self.index.search_batch(vectors, k)
        self.facts = {
            "terms_per_query": vectors.nnz / max(1, len(texts)),
            "flops": flops(vectors, self.index),
            "encode_queries_s": encoded - started,
            "search_s": time.perf_counter() - started,
        }
        return Run.from_rows(
            (query_id, one.doc_ids, one.ranking.weights())
            for query_id, one in zip(texts, hits, strict=True)
        )

    def describe(self) -> dict[str, Any]:
        """What a results row says of the encoder and the index, and of the last search."""
        facts = self.index.info()
        return {
            "encoder": self.encoder.name,
            "encoder_space": self.encoder.space,
            "encoder_build": self.encoder.build,
            "index": str(self.index.path),
            "index_fingerprint": index_fingerprint(facts),
            "n_docs": facts["n_docs"],
            "terms_per_document": facts["postings_per_passage"],
            "index_bytes": sum(f.stat().st_size for f in self.index.path.rglob("*") if f.is_file()),
            "encode_docs_per_s": _encode_docs_per_s(self.index.path),
            **self.facts,
        }


@dataclass
class DenseStage:
    """A dense index searched with its encoder, which remembers what its last search cost."""

    retriever: "DenseRetriever"
    texts_per_s: float | None
    """The pace at which documents, or pieces of them, were embedded."""
    facts: dict[str, Any] = field(default_factory=dict)
    """encode_queries_s and search_s of the last call of `search`."""
    warm: bool = False

    def search(self, texts: Mapping[str, str], k: int) -> "Run":
        """Answer `{query_id: text}` with the k best documents each, once warm as above."""
        if not texts:
            return self.retriever.search(texts, k)
        if not self.warm:
            self.retriever.search(dict([next(iter(texts.items()))]), k)
            self.warm = True
        started = time.perf_counter()
        vectors = self.retriever.encoder.embed_queries(list(texts.values()))
        encoded = time.perf_counter()
        run = self.retriever.nearest(list(texts), vectors, k)
        done = time.perf_counter()
        self.facts = {"encode_queries_s": encoded - started, "search_s": done - started}
        return run

    def describe(self) -> dict[str, Any]:
        """What a results row says of the encoder and its vectors, and of the last search."""
        index = self.retriever.index
        return {
            "encoder": self.retriever.encoder.name,
            "encoder_build": self.retriever.encoder.fingerprint,
            "n_docs": index.n_docs,
            "index_bytes": index.n_vectors * index.width * _FLOAT32,
            "encode_docs_per_s": self._docs_per_s(),
            **self.facts,
        }

    def _docs_per_s(self) -> float | None:
        index = self.retriever.index
        if self.texts_per_s is None or not index.n_vectors:
            return None
        return self.texts_per_s * index.n_docs / index.n_vectors


class Opened:
    """A `Retriever` made of a system over one collection; a context manager that closes it."""

    def __init__(self, system: System, source: "Dataset") -> None:
        """Index and embed what the cache does not hold yet, with progress."""
        self.system = system
        self.sparse: list[SparseStage] = []
        self.dense: list[DenseStage] = []
        with ExitStack() as stack:
            retrievers = [self._stage(name, source, stack) for name in system.retrievers]
            self._retriever = retrievers[0]
            if len(retrievers) > 1:
                from ..retrieval import HybridRetriever

                self._retriever = HybridRetriever(
                    retrievers, system.fuse, system.weights, depth=system.depth
                )
            if system.rerank is not None:
                self._retriever = self._reranked(system.rerank, source)
            self._closing = stack.pop_all()

    def search(self, texts: Mapping[str, str], k: int) -> "Run":
        """Answer `{query_id: text}` with the k best documents each."""
        return self._retriever.search(texts, k)

    def facts(self) -> dict[str, Any]:
        """What a results row says of this system: of its first sparse stage, else of its dense;
        bytes and the pace of encoding are all stages'. Of several each says its own in `stages`.
        """
        opened: list[SparseStage | DenseStage] = [*self.sparse, *self.dense]
        stages = [stage.describe() for stage in opened]
        paces = [stage["encode_docs_per_s"] for stage in stages]
        return {
            **stages[0],
            **({"stages": stages} if len(stages) > 1 else {}),
            "system": self.system.name,
            "index_bytes": sum(stage["index_bytes"] for stage in stages),
            # One after the other: the times add up.
            "encode_docs_per_s": 1 / sum(1 / pace for pace in paces) if all(paces) else None,
        }

    def _stage(self, name: str, source: "Dataset", stack: ExitStack) -> "Retriever":
        from index import query_encoder

        if is_dense(name):
            return self._dense_stage(name, source)
        choice = encoder_choice(name, self.system)
        index = stack.enter_context(cached_index(source, choice))
        stage = SparseStage(index, query_encoder(index, None if choice.is_bm25 else name))
        self.sparse.append(stage)
        return stage

    def _dense_stage(self, name: str, source: "Dataset") -> DenseStage:
        retriever = dense_retriever(name, self.system, source)
        kept = vectors_folder() / f"{retriever.encoder.fingerprint}-{retriever.corpus}"
        self.dense.append(DenseStage(retriever, pace(kept)))
        return self.dense[-1]

    def _reranked(self, name: str, source: "Dataset") -> "Retriever":
        depth = self.system.rerank_depth
        if is_dense(name):
            from ..retrieval import DenseRescorer

            dense = self._dense_stage(name, source)
            return DenseRescorer(self._retriever, dense.retriever, depth)
        from ..reranking import PointwiseReranker, RerankedRetriever

        texts = {document.doc_id: document.text() for document in source.documents()}
        reranker = PointwiseReranker(_cross_encoder(name, self.system))
        return RerankedRetriever(self._retriever, reranker, texts, depth)

    def close(self) -> None:
        """Close its indexes."""
        self._closing.close()

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def open_system(system: System, source: "Dataset") -> Opened:
    """Open `system` over the collection `source`: builds or finds its indexes in the cache."""
    return Opened(system, source)


def encoder_choice(name: str, system: System) -> EncoderChoice:
    """A sparse retriever of a system as the commands' options would ask for it.

    An ONNX graph has the precision of its export, whatever the other networks of a system have.
    """
    fixed = name == BM25 or any(encoder_place(name).rglob("*_OnnxTransformer"))
    return EncoderChoice(name, precision="float32" if fixed else system.precision)


def dense_retriever(name: str, system: System, source: "Dataset") -> "DenseRetriever":
    """`dense:FOLDER` of a system over a collection; its vectors are in the cache, or go there."""
    from ..retrieval import Chunks, DenseRetriever, Flat, Hnsw
    from ..retrieval.dense_index import load_faiss

    load_faiss()
    with imports_of(f"the retriever {name}", extra="train", package="torch"):
        from ..encoders.dense import DenseEncoder
    folder = Path(name.removeprefix(DENSE))
    encoder = DenseEncoder.load(
        folder,
        name=folder.resolve().name,
        max_length=system.max_length,
        precision=system.precision,
    )
    return DenseRetriever.over(
        source.documents(),
        encoder,
        folder=vectors_folder(),
        search=Hnsw() if system.dense_index == "hnsw" else Flat(),
        chunks=None if system.chunk is None else Chunks(system.chunk, system.overlap),
    )


def vectors_folder() -> Path:
    """Where the cache keeps vectors of dense encoders."""
    from ..datasets.names import cache_folder

    return cache_folder() / "vectors"


def _cross_encoder(name: str, system: System) -> "CrossEncoder":
    with imports_of(f"the re-ranker {name}", extra="train", package="torch"):
        from ..encoders.cross_encoder import CrossEncoder
    folder = Path(name.removeprefix(CROSS_ENCODER))
    return CrossEncoder.load(
        folder,
        name=folder.resolve().name,
        max_length=system.max_length,
        precision=system.precision,
    )


def cached_index(source: "Dataset", choice: EncoderChoice) -> "Index":
    """The index of this collection and encoder in the cache, built when it is not there."""
    from index import Index, build_index

    from ..datasets import located_in

    key = f"{__version__} {source.fingerprint} {choice.key()}"
    path = cached("indexes", source, key)
    if path.exists():
        try:
            return Index.open(path)
        except IndexFailure as error:
            out.note("rebuilds", f"{path}, which cannot be opened: {error}")
    encoder, census = choice.load(source)
    path.parent.mkdir(parents=True, exist_ok=True)
    with located_in(source):
        report = build_index(
            path,
            source.documents(),
            encoder,
            source=f"{source.name} {source.fingerprint}",
            overwrite=path.exists(),
            total=census.n_documents,
        )
    if report.n_docs > report.n_resumed and report.encode_s > 0:
        per_s = (report.n_docs - report.n_resumed) / report.encode_s
        with atomic_write(_pace(path)) as file:
            file.write(orjson.dumps({"encode_docs_per_s": per_s}))
    n_docs = out.counted(report.n_docs, "document")
    out.note("indexed", out.columns(n_docs, f"{out.duration(report.total_s)}, kept in {path}"))
    return Index.open(path)


def cached(kind: str, source: "Dataset", key: str) -> Path:
    """Where the cache keeps what `key` decides about a collection."""
    from ..datasets.names import cache_folder

    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache_folder() / kind / f"{source.name.replace('/', '-')}-{digest}"


def _pace(path: Path) -> "Path":
    """The file beside a cached index that says how quickly its documents were encoded."""
    return path.with_name(f"{path.name}.pace.json")


def _encode_docs_per_s(path: Path) -> float | None:
    """None for an index that was not built in the cache."""
    if not _pace(path).is_file():
        return None
    return float(orjson.loads(_pace(path).read_bytes())["encode_docs_per_s"])


def index_fingerprint(facts: dict[str, Any]) -> str:
    """16 hex digits of how much an index holds and what encoded it, wherever it lies: for people,
    since other documents may count as much.
    """
    names = ("n_docs", "n_passages", "n_terms", "n_postings", "scale", "encoder")
    kept = {name: facts[name] for name in names}
    if kept["encoder"] is not None:
        kept["encoder"] = kept["encoder"]["build"]
    return hashlib.sha256(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def flops(queries: "SparseMatrix", index: "Index") -> float:
    """Multiply-adds an average query costs against an average document (arXiv 2004.05665)."""
    in_queries = np.bincount(queries.indices, minlength=index.n_terms) / max(1, queries.shape[0])
    return float(in_queries @ index.term_probabilities())
