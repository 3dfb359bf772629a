"""How many documents match: all of them exactly, or at least so many for less work."""

import numpy as np
from scipy import sparse

from index import Cancel, Hits, Index
from lsr.types import SparseMatrix

from ..wire.search import MAX_DEPTH
from .question import Question

BOUND_TERMS = 4
"""Terms of the query whose documents are counted for a lower bound, the lightest: those are the
frequent ones."""


def total(
    index: Index, question: Question, found: Hits, *, exactly: bool, cancel: Cancel | None
) -> tuple[int, str]:
    """How many documents match, above the threshold if there is one; and `eq` or `gte`.

    `found` is the ranking to begin with: where it ends before what was asked for, it is the count.
    Once the deadline has passed, or where a shard is missing, nothing more is counted than was
    found.
    """
    certain = found.report.exact
    counts = not (found.report.stopped or found.missing)
    exactly = exactly and counts
    if question.threshold is not None:
        value, known = _n_above(found, question, question.wanted)
        if certain and known:
            return value, "eq"
        return _above(index, question, found.generation, cancel) if exactly else (value, "gte")
    n_found = len(found) - (question.query.skip in found.doc_ids)
    if certain and len(found) < question.wanted:
        return n_found, "eq"
    if not counts:
        return n_found, "gte"
    matrix = question.query.matrix
    counted = matrix if exactly else _lightest(matrix)
    value = index.count(
        counted,
        filter=question.filter,
        require=question.require,
        exclude=question.exclude,
        at=found.generation,
    )
    if question.query.skip is not None and value:
        value -= index.allows(
            question.query.skip,
            filter=question.filter,
            require=question.require,
            exclude=question.exclude,
            at=found.generation,
        )
    whole = exactly or counted.nnz == matrix.nnz
    return (value, "eq") if whole else (max(value, n_found), "gte")


def _n_above(found: Hits, question: Question, k: int) -> tuple[int, bool]:
    """Hits of a ranking of at most `k` above the threshold, and whether those are all there are."""
    assert question.threshold is not None
    n = int(np.count_nonzero(found.ranking.scores * found.ranking.unit >= question.threshold))
    known = n < len(found) or len(found) < k
    return n - (question.query.skip in found.doc_ids[:n]), known


def _above(
    index: Index, question: Question, generation: int, cancel: Cancel | None
) -> tuple[int, str]:
    """A ranking deep enough to fall below the threshold says how many are above it."""
    k = max(1024, 4 * question.wanted)
    while True:
        k = min(k, MAX_DEPTH)
        found = index.search(
            question.query.matrix,
            k,
            filter=question.filter,
            require=question.require,
            exclude=question.exclude,
            at=generation,
            cancel=cancel,
        )
        value, known = _n_above(found, question, k)
        if known or k == MAX_DEPTH:
            return value, "eq" if known else "gte"
        k *= 8


def _lightest(matrix: SparseMatrix) -> SparseMatrix:
    """The query with only `BOUND_TERMS` of its terms."""
    if matrix.nnz <= BOUND_TERMS:
        return matrix
    kept = np.sort(np.argsort(matrix.data, kind="stable")[:BOUND_TERMS])
    few: SparseMatrix = sparse.csr_array(
        (matrix.data[kept], matrix.indices[kept], np.array([0, len(kept)], np.int32)),
        shape=matrix.shape,
    )
    return few
