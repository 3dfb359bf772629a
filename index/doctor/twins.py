"""Documents with equal or nearly equal vectors: copies in the corpus, or an encoder that collapsed.

Each of some sampled rows asks the whole index with its own vector; its cosine with what it finds
tells. Documents whose texts differ and whose vectors do not cannot be told apart by any query.
"""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from lsr.encoders.batching import keep_largest
from lsr.types import SparseMatrix

from ..quantize import MAX_QUERY_TERMS
from .case import Case, rows_at, texts_of
from .finding import Finding, graded, percent, several, skipped, worst

N_PROBES = 200
DEPTH = 10
NEAR = 0.98
WARN_COPIES, FAIL_COPIES = 0.05, 0.5
WARN_BLURRED, FAIL_BLURRED = 0.005, 0.1
"""Shares of rows with an equal vector: of an equal text, and of another text."""
WARN_ALIKE, FAIL_ALIKE = 0.5, 0.9
"""Mean cosine of two random rows; that of a sound encoder is below 0.2."""


@dataclass(frozen=True, slots=True)
class Twins:
    """Shares of the probes that have an equal vector elsewhere in the index, by the same text or by
    another one, or a near one (cosine above 0.98); and the mean cosine of two random rows."""

    n_probes: int
    copies: float
    blurred: float
    near: float
    alike: float
    examples: tuple[tuple[str, str], ...]
    """Pairs of doc_ids with equal vectors."""


def unit(vectors: SparseMatrix) -> SparseMatrix:
    """Rows of length 1; empty ones stay empty."""
    norms = np.sqrt(np.bincount(_rows(vectors), vectors.data.astype(np.float64) ** 2))
    lengths = norms[_rows(vectors)]
    scaled: SparseMatrix = sparse.csr_array(
        (vectors.data / lengths, vectors.indices, vectors.indptr), shape=vectors.shape
    )
    return scaled


def _rows(vectors: SparseMatrix) -> npt.NDArray[np.int64]:
    """(nnz,) the row of every stored weight."""
    return np.repeat(np.arange(vectors.shape[0]), np.diff(vectors.indptr))


def mean_cosine(vectors: SparseMatrix) -> float:
    """Of two different rows: the squared length of the sum of unit rows, less the n of themselves.

    >>> round(mean_cosine(sparse.csr_array(np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]]))), 3)
    0.333
    """
    filled: SparseMatrix = sparse.csr_array(vectors[np.flatnonzero(np.diff(vectors.indptr))])
    n = filled.shape[0]
    if n < 2:
        return 0.0
    total = np.asarray(unit(filled).sum(axis=0)).ravel()
    return float((total @ total - n) / (n * (n - 1)))


def twins(case: Case, *, n_probes: int = N_PROBES) -> Twins:
    """Ask the index for what lies next to sampled rows."""
    filled = np.flatnonzero(np.diff(case.vectors.indptr))[:n_probes]
    own = case.docids[filled]
    probes: SparseMatrix = sparse.csr_array(case.vectors[filled])
    asked = keep_largest(probes, MAX_QUERY_TERMS)  # what a query may hold of a long document
    answers = case.index.search_batch(asked, DEPTH + 1, collapse=False) if len(filled) else []
    copies = blurred = near = 0
    pairs: list[tuple[int, int]] = []
    for i, hits in enumerate(answers):
        others = hits.ranking.docids[hits.ranking.docids != own[i]]
        if not len(others):
            continue
        rows = rows_at(case.snapshot, others, case.index.n_terms)
        probe: SparseMatrix = sparse.csr_array(probes[[i]])
        cosines = np.asarray((unit(rows) @ unit(probe).T).todense()).ravel()
        near += bool((cosines > NEAR).any())
        equal = [int(other) for j, other in enumerate(others) if _equal(rows, j, probe)]
        if equal:
            pairs.append((int(own[i]), equal[0]))
            texts = texts_of(case.index, np.asarray([own[i], *equal], np.uint32))
            copies += texts[0] in texts[1:]
            blurred += any(text != texts[0] for text in texts[1:])
    n = max(1, len(filled))
    documents = case.index.documents([docid for pair in pairs[:4] for docid in pair])
    names = [document.doc_id for document in documents]
    return Twins(
        len(filled),
        copies / n,
        blurred / n,
        near / n,
        mean_cosine(case.vectors),
        tuple(zip(names[::2], names[1::2], strict=True)),
    )


def check_twins(case: Case) -> Finding:
    """Warn of copies, and fail where the encoder no longer tells documents apart."""
    found = twins(case)
    if not found.n_probes:
        return skipped("twins", "no sampled document has a term")
    collapse = worst(
        graded(found.blurred, warn=WARN_BLURRED, fail=FAIL_BLURRED),
        graded(found.alike, warn=WARN_ALIKE, fail=FAIL_ALIKE),
    )
    copies = graded(found.copies, warn=WARN_COPIES, fail=FAIL_COPIES)
    pairs = several([" = ".join(pair) for pair in found.examples], 3)
    return Finding(
        "twins",
        worst(collapse, copies),
        f"of {found.n_probes} {case.rows_noun} {percent(found.copies)} have a copy, "
        f"{percent(found.blurred)} another text with the same vector, {percent(found.near)} a "
        f"vector of cosine above {NEAR}; two random ones have cosine {found.alike:.3f}"
        + (f"; {pairs}" if pairs else ""),
        "no query tells such documents apart: copies fill answers with the same thing, and equal "
        "vectors of different texts mean that the encoder is cut short, pruned hard, or collapsed",
        ("lsr", "search", case.place, "your question", "--explain"),
        asdict(found),
    )


def _equal(rows: SparseMatrix, row: int, probe: SparseMatrix) -> bool:
    a, b = rows.indptr[row], rows.indptr[row + 1]
    return bool(
        np.array_equal(rows.indices[a:b], probe.indices)
        and np.array_equal(rows.data[a:b], probe.data)
    )
