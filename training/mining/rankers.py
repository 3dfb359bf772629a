"""Who ranks documents for mining: BM25, any sparse encoder by the exact engine, or dense vectors.

A miner is named in one word: "bm25", or "bm25:german" for words of another language than English,
"dense:FOLDER", or the folder of a sparse encoder.
`open_miner` fails at once where something is missing; vectors are made by `rank`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from index.engine import search_batch
from index.quantize import integer_query, presence_query, scale_for
from index.segment import Segment
from lsr.encoders import BM25Encoder, SparseEncoder, load_encoder
from lsr.encoders.analysis import ENGLISH, Analyser
from lsr.encoders.siamese import is_binary
from lsr.errors import EncoderError, MissingExtra, imports_of
from lsr.progress import Bar, bar
from lsr.systems import BM25, DENSE
from lsr.types import SparseMatrix

from ..rows import Rows
from .parts import KEEP_NOTHING, Parts

Scores = npt.NDArray[np.float32]

_BLOCK = 512  # documents encoded, or queries searched, between two signs of progress


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best documents of one query, and what the ranker gives some others."""

    rows: Rows
    """Best first; ties by row."""
    scores: Scores
    asked: Scores
    """The scores of the documents asked about, in their order."""


class Ranker(Protocol):
    """Ranks the documents it was made for."""

    def search(self, queries: Sequence[str], depth: int, asked: Sequence[Rows]) -> list[Ranked]:
        """Per query the `depth` best documents, and the scores of the rows in `asked[i]`."""
        ...


class Miner(Protocol):
    """A ranker that has yet to see its documents."""

    @property
    def fingerprint(self) -> str:
        """Says which ranker it is: parts of another's work are not taken for its own."""
        ...

    def rank(
        self, documents: Sequence[str], *, quiet: bool = False, parts: Parts = KEEP_NOTHING
    ) -> Ranker:
        """Encode the documents; `OutOfTimeError` if the deadline of `parts` came first."""
        ...


def open_miner(name: str, *, folder: Path | None = None) -> Miner:
    """The miner of this name; a folder is looked for where we are, then in `folder`."""
    kind, named, stemmer = name.partition(":")
    if kind == BM25:
        return SparseMiner(None, Analyser.from_json({"stemmer": stemmer}) if named else ENGLISH)
    if name.startswith(DENSE):
        return DenseMiner.load(_folder(name.removeprefix(DENSE), folder))
    return SparseMiner(load_encoder(_folder(name, folder)))


def _folder(name: str, beside: Path | None) -> Path:
    for place in (Path(name).expanduser(), (beside or Path()) / name):
        if place.is_dir():
            return place
    raise EncoderError(
        f"'{name}' is no folder; wanted bm25, the folder of a sparse encoder, or dense:FOLDER with "
        "the folder of a dense one"
    )


@dataclass(frozen=True)
class SparseMiner:
    """A sparse encoder, or BM25 fitted to the documents if None."""

    encoder: SparseEncoder | None
    analyser: Analyser = ENGLISH

    @property
    def fingerprint(self) -> str:
        """The encoder's build, or how BM25 makes words."""
        return repr(self.analyser) if self.encoder is None else self.encoder.build

    def rank(
        self, documents: Sequence[str], *, quiet: bool = False, parts: Parts = KEEP_NOTHING
    ) -> "SparseRanker":
        """Encode and index the documents in memory.

        Vectors of BM25 are not kept: no network makes them.
        """
        encoder = self.encoder
        if encoder is None:
            fitted = BM25Encoder.fit(
                bar(documents, unit="documents", desc="words", quiet=quiet or None),
                analyser=self.analyser,
            )
            return SparseRanker(fitted, documents, quiet=quiet)
        vectors = parts.vectors(
            encoder.build, documents, encoder.encode_documents, desc=encoder.name, quiet=quiet
        )
        kept = None if vectors is None else sparse.csr_array(vectors)
        return SparseRanker(encoder, documents, vectors=kept, quiet=quiet)


class SparseRanker:
    """The exact engine over an index in memory: impacts of 8 bits, as in an index on disk."""

    def __init__(
        self,
        encoder: SparseEncoder,
        documents: Sequence[str],
        *,
        vectors: SparseMatrix | None = None,
        quiet: bool = False,
    ) -> None:
        self._encoder = encoder
        self.vectors = _encoded(encoder, documents, quiet=quiet) if vectors is None else vectors
        self._scale = 1.0 if is_binary(encoder) else scale_for(encoder.max_weight)
        rows = np.arange(len(documents), dtype=np.uint32)
        # One call, which orders documents: nothing to count, but a terminal shows what goes on.
        indexing: Bar[None] = bar(
            None, total=len(documents), unit="documents", desc="indexing", quiet=quiet or None
        )
        with indexing:
            self._segment = Segment.in_memory(
                self.vectors,
                rows,
                [str(row) for row in rows],
                scale=self._scale,
                keep_vectors=False,
            )
            indexing.update(len(documents))

    def search(self, queries: Sequence[str], depth: int, asked: Sequence[Rows]) -> list[Ranked]:
        """See `Ranker`; documents that share no term with the query are left out."""
        vectors = self._encoder.encode_queries(queries)
        return self.search_vectors(vectors, depth, asked)

    def search_vectors(self, vectors: Any, depth: int, asked: Sequence[Rows]) -> list[Ranked]:
        """`search` for queries that are vectors already, (queries, n_terms)."""
        n_terms = self._encoder.n_terms
        rounded = []
        for a, b in zip(vectors.indptr[:-1], vectors.indptr[1:], strict=True):
            terms, weights = vectors.indices[a:b], vectors.data[a:b]
            rounded.append(
                presence_query(terms, weights, n_terms=n_terms)
                if is_binary(self._encoder)
                else integer_query(terms, weights, n_terms=n_terms, scale=self._scale)
            )
        found = search_batch([self._segment], [None], rounded, depth, threads=os.cpu_count() or 1)
        ranked: list[Ranked] = []
        for i, (answer, query) in enumerate(zip(found, rounded, strict=True)):
            scores = (answer[1].astype(np.float64) * query.unit).astype(np.float32)
            known = np.zeros(len(asked[i]), np.float32)
            if len(asked[i]):
                known[:] = (self.vectors[asked[i]] @ vectors[[i]].T).toarray()[:, 0]
            ranked.append(Ranked(answer[0].astype(np.int32), scores, known))
        return ranked


def _encoded(encoder: SparseEncoder, documents: Sequence[str], *, quiet: bool) -> SparseMatrix:
    counter: Bar[None] = bar(
        None, total=len(documents), unit="documents", desc=encoder.name, quiet=quiet or None
    )
    blocks = []
    with counter:
        for at in range(0, len(documents), _BLOCK):
            blocks.append(encoder.encode_documents(documents[at : at + _BLOCK]))
            counter.update(blocks[-1].shape[0])
    stacked: SparseMatrix = sparse.csr_array(sparse.vstack(blocks, format="csr"))
    return stacked


@dataclass(frozen=True)
class DenseMiner:
    """A dense teacher and faiss, which the extra `dense` brings."""

    teacher: Any
    faiss: Any

    @classmethod
    def load(cls, folder: Path) -> "DenseMiner":
        """Read the folder; `MissingExtra` without faiss or torch."""
        try:
            import faiss
        except ImportError:
            raise MissingExtra(
                "mining with dense vectors", extra="dense", package="faiss-cpu"
            ) from None
        with imports_of("mining with dense vectors", extra="train", package="torch"):
            from lsr.encoders.dense import DenseEncoder
        return cls(DenseEncoder.load(folder, name=folder.resolve().name), faiss)

    @property
    def fingerprint(self) -> str:
        """The network's."""
        return str(self.teacher.fingerprint)

    def rank(
        self, documents: Sequence[str], *, quiet: bool = False, parts: Parts = KEEP_NOTHING
    ) -> "DenseRanker":
        """Embed the documents."""
        teacher = self.teacher
        vectors = parts.vectors(
            teacher.fingerprint, documents, teacher.embed_documents, desc=teacher.name, quiet=quiet
        )
        return DenseRanker(teacher, documents, self.faiss, vectors=vectors, quiet=quiet)


class DenseRanker:
    """A flat faiss index: the exact largest dot products."""

    def __init__(
        self,
        teacher: Any,
        documents: Sequence[str],
        faiss: Any,
        *,
        vectors: Any = None,
        quiet: bool = False,
    ) -> None:
        self._teacher = teacher
        if vectors is None:
            vectors = teacher.embed_documents(documents, progress=not quiet)
        self._vectors: Scores = np.ascontiguousarray(vectors, np.float32)
        self._index = faiss.IndexFlatIP(self._vectors.shape[1])
        self._index.add(self._vectors)

    def search(self, queries: Sequence[str], depth: int, asked: Sequence[Rows]) -> list[Ranked]:
        """See `Ranker`."""
        vectors = np.ascontiguousarray(self._teacher.embed_queries(queries), np.float32)
        scores, rows = self._index.search(vectors, min(depth, len(self._vectors)))
        ranked: list[Ranked] = []
        for i in range(len(queries)):
            order = np.lexsort((rows[i], -scores[i]))
            known = self._vectors[asked[i]] @ vectors[i]
            ranked.append(
                Ranked(rows[i][order].astype(np.int32), scores[i][order], known.astype(np.float32))
            )
        return ranked
