"""Vectors of documents in faiss: every inner product (flat), or a graph of neighbours (HNSW).

faiss finds candidates; their scores are summed anew in float64 and ordered by score, then by
insertion. A flat search goes on until nothing outside the candidates can reach the k-th score, so
it is exact with ties and all, whatever order the faiss of this machine adds in. HNSW (Malkov,
Yashunin, TPAMI 2020) is approximate in the candidates alone.

A document may have several vectors; its score is the largest, as in Luan et al., "Sparse, Dense,
and Attentional Representations for Text Retrieval", TACL 2021. k counts documents, not vectors.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import MissingExtra, QueryError, UsageError, VectorError
from ..types import DenseMatrix

_SLACK = 16  # candidates beyond those needed: settles most queries in one round
_BATCH = 256  # queries that faiss ranks together; bounds the memory of their candidates


@dataclass(frozen=True)
class Flat:
    """Exact: every vector is compared."""


@dataclass(frozen=True)
class Hnsw:
    """Approximate: a graph of `m` neighbours a vector, built and searched by beams."""

    m: int = 32
    ef_construction: int = 200
    ef_search: int = 128

    def __post_init__(self) -> None:
        if self.m < 2 or self.ef_construction < 1 or self.ef_search < 1:
            raise UsageError(f"{self}: wanted m of at least 2 and beams of at least 1")


Search: TypeAlias = Flat | Hnsw
FLAT = Flat()
Answer: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]
"""Documents by insertion number and their scores, best first."""


def load_faiss() -> Any:
    """The module; `MissingExtra` where it is not installed."""
    try:
        import faiss
    except ImportError:
        raise MissingExtra("dense retrieval", extra="dense", package="faiss-cpu") from None
    return faiss


class DenseIndex:
    """A faiss index of (n_vectors, width) float32 and which document each vector belongs to."""

    def __init__(self, native: Any, owners: npt.NDArray[np.int64], search: Search) -> None:
        faiss = load_faiss()
        self.native = native
        self.owners = owners
        self.how = search
        self._storage = faiss.downcast_index(native.storage) if isinstance(search, Hnsw) else native
        n, width = int(native.ntotal), int(native.d)
        self.n_docs = int(owners[-1]) + 1 if n else 0
        # A view into what faiss holds, which lives as long as `native`.
        self._vectors: DenseMatrix = (
            faiss.rev_swig_ptr(self._storage.get_xb(), n * width).reshape(n, width)
            if n
            else np.empty((0, width), np.float32)
        )
        self._longest = float(
            np.sqrt(np.square(self._vectors, dtype=np.float64).sum(1)).max(initial=0.0)
        )

    @classmethod
    def build(
        cls,
        vectors: DenseMatrix,
        *,
        owners: npt.NDArray[np.int64] | None = None,
        search: Search = FLAT,
    ) -> "DenseIndex":
        """Index the vectors; `owners` (n_vectors,) are 0, 0, 1, 2, ... and None is one each.

        HNSW is built by one thread: the same vectors give the same graph.
        """
        faiss = load_faiss()
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise VectorError(
                f"dense vectors of shape {vectors.shape}; wanted (rows, width) of finite numbers"
            )
        if owners is None:
            owners = np.arange(len(vectors), dtype=np.int64)
        steps = np.diff(owners, prepend=-1)
        if (
            len(owners) != len(vectors)
            or (len(owners) and steps[0] != 1)
            or (steps > 1).any()
            or (steps < 0).any()
        ):
            raise VectorError(
                f"{len(owners)} owners for {len(vectors)} vectors; wanted one each, counting "
                "documents from 0 without a gap"
            )
        if isinstance(search, Flat):
            native = faiss.IndexFlatIP(vectors.shape[1])
            native.add(vectors)
        else:
            native = faiss.IndexHNSWFlat(vectors.shape[1], search.m, faiss.METRIC_INNER_PRODUCT)
            native.hnsw.efConstruction = search.ef_construction
            threads = faiss.omp_get_max_threads()
            faiss.omp_set_num_threads(1)
            try:
                native.add(vectors)
            finally:
                faiss.omp_set_num_threads(threads)
        return cls(native, owners, search)

    @property
    def n_vectors(self) -> int:
        """Vectors, at least as many as documents."""
        return len(self.owners)

    @property
    def width(self) -> int:
        """Dimensions of a vector."""
        return int(self.native.d)

    def search(self, queries: DenseMatrix, k: int) -> list[Answer]:
        """The k documents of largest inner product with each of (n, width) queries.

        Fewer only where there are fewer documents.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if k < 1:
            raise QueryError(f"k = {k}; wanted at least 1")
        if queries.ndim != 2 or queries.shape[1] != self.width or not np.isfinite(queries).all():
            raise VectorError(
                f"query vectors of shape {queries.shape}; wanted (rows, {self.width}) of finite "
                "numbers"
            )
        k = min(k, self.n_docs)
        if not k:
            return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        return [
            answer
            for at in range(0, len(queries), _BATCH)
            for answer in self._search_batch(queries[at : at + _BATCH], k)
        ]

    def scores(
        self, query: npt.NDArray[np.float32], documents: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """(n,) inner products of a query (width,) with these documents, the best vector of each.

        The very scores that `search` gives them. `documents` are each named once.
        """
        starts = np.searchsorted(self.owners, documents)
        ends = np.searchsorted(self.owners, documents, side="right")
        lengths = ends - starts
        first = np.cumsum(lengths) - lengths
        rows = np.arange(int(lengths.sum())) - np.repeat(first - starts, lengths)
        owners, scores = self._best(query, rows, len(documents))
        order = np.argsort(owners, kind="stable")
        found = np.empty(len(documents), np.float32)
        found[np.argsort(documents, kind="stable")] = scores[order]
        return found

    def _search_batch(self, queries: DenseMatrix, k: int) -> list[Answer]:
        answers: dict[int, Answer] = {}
        left = np.arange(len(queries))
        wanted = k * -(-self.n_vectors // self.n_docs) + _SLACK
        while len(left):
            wanted = min(wanted, self.n_vectors)
            scores, rows = self._candidates(queries[left], wanted)
            undecided = []
            for place, number in enumerate(left.tolist()):
                found = rows[place][rows[place] >= 0]
                answer = self._best(queries[number], found, k)
                last = float(scores[place, -1])
                if self._is_settled(
                    queries[number], answer, last, k, complete=len(found) == self.n_vectors
                ):
                    answers[number] = answer
                elif wanted == self.n_vectors:  # a graph that does not lead everywhere
                    answers[number] = self._best(queries[number], np.arange(self.n_vectors), k)
                else:
                    undecided.append(number)
            left = np.asarray(undecided, np.int64)
            wanted *= 2
        return [answers[number] for number in range(len(queries))]

    def _candidates(
        self, queries: DenseMatrix, n: int
    ) -> tuple[DenseMatrix, npt.NDArray[np.int64]]:
        if isinstance(self.how, Flat):
            scores, rows = self.native.search(queries, n)
        else:
            faiss = load_faiss()
            beam = faiss.SearchParametersHNSW(efSearch=max(n, self.how.ef_search))
            scores, rows = self.native.search(queries, n, params=beam)
        return scores, rows

    def _best(self, query: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], k: int) -> Answer:
        # Multiplied and then summed row by row: equal vectors get equal sums wherever they lie,
        # which a matrix product does not promise.
        products = np.multiply(self._vectors[rows], query, dtype=np.float64)
        scores = products.sum(axis=1).astype(np.float32)
        owners = self.owners[rows]
        order = np.lexsort((owners, -scores))
        _, first = np.unique(owners[order], return_index=True)
        best = order[np.sort(first)[:k]]
        return owners[best], scores[best]

    def _is_settled(
        self,
        query: npt.NDArray[np.float32],
        answer: Answer,
        last: float,
        k: int,
        *,
        complete: bool,
    ) -> bool:
        """Whether more candidates can change nothing.

        Safe for flat: a float32 inner product of d terms, added in any order, is off by less than
        d eps |q| |x| / 2 (Higham 2002, 3.1), so a vector that faiss ranked behind `last` scores
        below `last` plus that bound. Below the k-th score it neither enters, ties, nor raises a
        document that is in. The other half of d eps |q| |x| covers rounding our score to float32.
        """
        if complete:
            return True
        if len(answer[0]) < k:
            return False
        if isinstance(self.how, Hnsw):
            return True
        length = float(np.sqrt(np.square(query, dtype=np.float64).sum()))
        bound = self.width * float(np.finfo(np.float32).eps) * length * self._longest
        return last + bound < float(answer[1][k - 1])
