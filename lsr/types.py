"""The nouns of the whole system: documents, queries, sparse vectors, rankings, runs and qrels.

Sparse vectors are `scipy.sparse.csr_array`, float32, canonical (column indices of a row strictly
increasing), finite and strictly positive: the ecosystem's own type, so nothing is wrapped.
`canonical` is the one gate through which foreign matrices enter.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from scipy import sparse

from .errors import VectorError

SparseMatrix = sparse.csr_array[Any, tuple[int, int]]
"""(rows, n_terms) float32, canonical, finite, > 0."""

DenseMatrix = npt.NDArray[np.float32]
"""(rows, width) float32."""

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

Qrels = dict[str, dict[str, int]]
"""query_id -> doc_id -> grade; grade 0 means judged and not relevant."""
MAX_GRADE = 10_000
"""The programs that compute measures take memory and time in proportion to the highest grade: some
16 GB and minutes for one of two thousand millions."""


MAX_ID_BYTES = 4096
"""Of the UTF-8 of an id."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document as the corpus gave it: the caller's id and any fields, verbatim.

    >>> Document("d1", {"title": "Caffeine", "text": "and sleep"}).text()
    'Caffeine and sleep'
    """

    doc_id: str
    fields: Mapping[str, Json] = field(default_factory=dict)

    def text(self, text_fields: Sequence[str] = ("title", "text")) -> str:
        """The named fields that are non-empty strings, joined by a space: what an encoder reads."""
        values = (self.fields.get(name) for name in text_fields)
        return " ".join(v for v in values if isinstance(v, str) and v)


@dataclass(frozen=True, slots=True)
class Query:
    """One query: the caller's id and its text."""

    query_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best documents of one query by integer score descending, docid ascending.

    `docids` and `scores` are (k,) uint32; a float score is `scores * unit`.
    """

    docids: npt.NDArray[np.uint32]
    scores: npt.NDArray[np.uint32]
    unit: float

    def __len__(self) -> int:
        return len(self.docids)

    def weights(self) -> npt.NDArray[np.float64]:
        """(k,) float64 scores in the encoder's own unit."""
        return self.scores.astype(np.float64) * self.unit


class Run(Mapping[str, dict[str, float]]):
    """Rankings for a set of queries: columns inside, `{query_id: {doc_id: score}}` outside.

    `Run.from_rows` takes best-first rows. Scores that tie with their predecessor are lowered by one
    float32 step, so that trec_eval, which orders ties by doc_id descending, reproduces our order.

    >>> run = Run.from_rows([("q1", ["b", "a"], [2.0, 2.0])])
    >>> list(run["q1"])
    ['b', 'a']
    """

    def __init__(
        self,
        query_ids: Sequence[str],
        offsets: npt.NDArray[np.int64],
        doc_ids: Sequence[str],
        scores: npt.NDArray[np.float32],
    ) -> None:
        self.query_ids = list(query_ids)
        self.offsets = offsets
        self.doc_ids = list(doc_ids)
        self.scores = scores
        self._rows = {query_id: i for i, query_id in enumerate(self.query_ids)}

    @classmethod
    def from_rows(
        cls, rows: Iterable[tuple[str, Sequence[str], Sequence[float] | npt.NDArray[np.floating]]]
    ) -> "Run":
        """Build a run from (query_id, doc_ids best first, scores non-increasing) rows."""
        query_ids: list[str] = []
        offsets = [0]
        doc_ids: list[str] = []
        columns: list[npt.NDArray[np.float32]] = []
        for query_id, row_ids, row_scores in rows:
            query_ids.append(query_id)
            doc_ids.extend(row_ids)
            offsets.append(len(doc_ids))
            columns.append(strictly_decreasing(np.asarray(row_scores, dtype=np.float32)))
        scores = np.concatenate(columns) if columns else np.empty(0, np.float32)
        return cls(query_ids, np.asarray(offsets, np.int64), doc_ids, scores)

    @classmethod
    def from_scores(cls, scores: Mapping[str, Mapping[str, float]]) -> "Run":
        """Build a run from `{query_id: {doc_id: score}}`, ordered as trec_eval does: by score as
        float32, then by doc_id, both descending.

        >>> Run.from_scores({"q": {"a": 1.0, "b": 1.0, "c": 2.0}}).ranked("q")[1][0]
        'b'
        """
        return cls.from_rows((query_id, *_best_first(row)) for query_id, row in scores.items())

    def ranked(self, query_id: str) -> list[tuple[str, float]]:
        """(doc_id, score) of one query, best first."""
        i = self._rows[query_id]
        a, b = int(self.offsets[i]), int(self.offsets[i + 1])
        return list(zip(self.doc_ids[a:b], self.scores[a:b].tolist(), strict=True))

    def cut(self, k: int) -> "Run":
        """The first k documents of each query."""
        ends = [min(b, a + k) for a, b in itertools.pairwise(self.offsets.tolist())]
        rows = zip(self.query_ids, self.offsets.tolist(), ends, strict=False)
        return Run.from_rows((q, self.doc_ids[a:b], self.scores[a:b]) for q, a, b in rows)

    def __getitem__(self, query_id: str) -> dict[str, float]:
        return dict(self.ranked(query_id))

    def __iter__(self) -> Iterator[str]:
        return iter(self.query_ids)

    def __len__(self) -> int:
        return len(self.query_ids)


def _best_first(row: Mapping[str, float]) -> tuple[list[str], npt.NDArray[np.float32]]:
    doc_ids = sorted(row, reverse=True)
    scores = np.fromiter((row[doc_id] for doc_id in doc_ids), np.float32, len(doc_ids))
    order = np.argsort(-scores, kind="stable")
    return [doc_ids[at] for at in order.tolist()], scores[order]


def strictly_decreasing(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Lower each score that does not fall below its predecessor by one float32 step."""
    if len(scores) < 2 or bool(np.all(scores[1:] < scores[:-1])):
        return scores
    out = scores.copy()
    for i in range(1, len(out)):
        if out[i] >= out[i - 1]:
            out[i] = np.nextafter(out[i - 1], np.float32(-np.inf))
    return out


@runtime_checkable
class Retriever(Protocol):
    """Anything that answers texts with ranked doc_ids: sparse, BM25, dense, hybrid, re-ranked."""

    def search(self, texts: Mapping[str, str], k: int) -> Run:
        """Answer `{query_id: text}` with the k best documents of each query, best first."""
        ...


def canonical(matrix: Any, *, n_terms: int | None = None) -> SparseMatrix:
    """Return `matrix` as a canonical float32 csr_array, or say precisely why it cannot be one.

    Sums duplicates, sorts indices, drops explicit zeros; what is canonical already is not copied.
    Raises `VectorError` for anything that is not sparse and two-dimensional, for NaN, infinite or
    negative weights (with row and term), for terms outside the matrix, and for a column count other
    than `n_terms`.
    """
    is_sparse: bool = sparse.issparse(matrix)
    if not is_sparse or matrix.ndim != 2:
        raise VectorError(
            f"expected a two-dimensional scipy.sparse matrix of term weights, got "
            f"{type(matrix).__name__}; "
            + (
                "an encoder makes one of texts, and index.SparseRetriever searches with texts"
                if isinstance(matrix, str | list | tuple)
                else "wrap dense arrays with scipy.sparse.csr_array(...)"
            )
        )
    if n_terms is not None and matrix.shape[1] != n_terms:
        raise VectorError(
            f"the matrix has {matrix.shape[1]} columns, the vocabulary has {n_terms} terms; "
            "encode with the encoder that belongs to this index"
        )
    if not np.issubdtype(matrix.dtype, np.floating) and not np.issubdtype(matrix.dtype, np.integer):
        raise VectorError(f"weights must be real numbers, got dtype {matrix.dtype}")
    csr: SparseMatrix = matrix
    if not isinstance(matrix, sparse.csr_array) or matrix.dtype != np.float32:
        with np.errstate(over="ignore"):  # a float64 too large becomes infinite, and is named below
            csr = sparse.csr_array(matrix, dtype=np.float32, copy=False)
    if not _is_whole(csr):  # scipy's own check costs as much as a small search, but it explains
        try:
            csr.check_format(full_check=True)
        except ValueError as error:
            raise VectorError(f"the matrix is not a valid CSR matrix: {error}") from error
    _refuse_bad_weights(csr)
    # The flag scipy keeps may be stale where the arrays were edited, so the order is looked at.
    if not _is_canonical(csr):
        csr = sparse.csr_array((csr.data, csr.indices, csr.indptr), shape=csr.shape, copy=True)
        csr.has_sorted_indices = False
        csr.has_canonical_format = False
        with np.errstate(over="ignore"):
            csr.sum_duplicates()
        csr.eliminate_zeros()
        _refuse_bad_weights(csr)
    return csr


def _is_whole(csr: SparseMatrix) -> bool:
    """Whether the three arrays fit one another and every index lies inside the matrix."""
    starts, indices = csr.indptr, csr.indices
    if len(starts) != csr.shape[0] + 1 or starts[0] != 0 or starts[-1] != len(indices):
        return False
    if len(indices) != len(csr.data) or bool((starts[1:] < starts[:-1]).any()):
        return False
    return not len(indices) or bool(indices.min() >= 0 and indices.max() < csr.shape[1])


def _is_canonical(csr: SparseMatrix) -> bool:
    if bool((csr.data == 0).any()):
        return False
    rising = np.diff(csr.indices) > 0
    starts = csr.indptr[1:-1]
    rising[starts[(starts > 0) & (starts < csr.nnz)] - 1] = True  # a new row may start anywhere
    return bool(rising.all())


def _refuse_bad_weights(csr: SparseMatrix) -> None:
    bad = ~np.isfinite(csr.data) | (csr.data < 0)
    if bool(bad.any()):
        at = int(np.flatnonzero(bad)[0])
        row = int(np.searchsorted(csr.indptr, at, side="right")) - 1
        raise VectorError(
            f"row {row}, term {int(csr.indices[at])}: weight {csr.data[at]} is not a finite, "
            "non-negative number; block bounds only hold for such weights"
        )
