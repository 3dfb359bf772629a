"""Static pruning: leaving weights out of an index to make it smaller and faster, at a price.

Pure functions over canonical (n_docs, n_terms) float32 matrices. By document: the heaviest terms
(Lassance et al., SIGIR 2022 call it top-k pruning), those that hold a share of its mass, or those
that reach a share of its heaviest (as OpenSearch does). By posting list: the heaviest postings of
each term (Carmel et al., SIGIR 2001). Ties keep the smaller term, the earlier document.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from lsr.errors import UsageError
from lsr.types import SparseMatrix

from .cut_kernels import within_mass


def prune_terms(vectors: SparseMatrix, n: int) -> SparseMatrix:
    """The `n` heaviest terms of every document.

    >>> prune_terms(sparse.csr_array(np.array([[3.0, 1.0, 2.0]], np.float32)), 2).toarray()
    array([[3., 0., 2.]], dtype=float32)
    """
    if isinstance(n, bool) or n < 1:
        raise UsageError(f"prune to {n} terms: wanted a whole number of at least 1")
    return _kept(vectors, _rank(_rows(vectors), vectors.indices, vectors.data) < n)


def prune_mass(vectors: SparseMatrix, share: float) -> SparseMatrix:
    """The heaviest terms of every document, until they hold `share` of the sum of its weights.

    >>> prune_mass(sparse.csr_array(np.array([[3.0, 1.0, 2.0]], np.float32)), 0.8).toarray()
    array([[3., 0., 2.]], dtype=float32)
    """
    _check_share(share)
    order = np.lexsort((vectors.indices, -vectors.data, _rows(vectors)))
    keep = np.zeros(vectors.nnz, np.bool_)
    within_mass(vectors.indptr, order, vectors.data, share, keep)
    return _kept(vectors, keep)


def prune_ratio(vectors: SparseMatrix, share: float) -> SparseMatrix:
    """The terms of every document that weigh more than `share` of its heaviest; that one stays.

    >>> prune_ratio(sparse.csr_array(np.array([[3.0, 1.0, 2.0]], np.float32)), 0.5).toarray()
    array([[3., 0., 2.]], dtype=float32)
    """
    _check_share(share)
    heaviest = np.zeros(vectors.shape[0], np.float32)
    rows = _rows(vectors)
    np.maximum.at(heaviest, rows, vectors.data)
    keep = vectors.data > np.float32(share) * heaviest[rows]
    return _kept(vectors, keep | (vectors.data == heaviest[rows]))


def prune_postings(vectors: SparseMatrix, share_or_n: float) -> SparseMatrix:
    """The heaviest postings of every term: a share of its list below 1, rounded up, else so many.

    A document may lose all its terms; searches then do not find it.

    >>> prune_postings(sparse.csr_array(np.array([[3.0], [1.0], [2.0]], np.float32)), 2).toarray()
    array([[3.],
           [0.],
           [2.]], dtype=float32)
    """
    if share_or_n < 1:
        _check_share(share_or_n)
        lengths = np.bincount(vectors.indices, minlength=vectors.shape[1])
        most = np.ceil(lengths * share_or_n)[vectors.indices]
    else:
        most = np.full(vectors.nnz, np.floor(share_or_n))
    return _kept(vectors, _rank(vectors.indices, _rows(vectors), vectors.data) < most)


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise UsageError(f"prune to a share of {share}: wanted a number above 0 and at most 1")


def _rows(vectors: SparseMatrix) -> npt.NDArray[np.int64]:
    return np.repeat(np.arange(vectors.shape[0]), np.diff(vectors.indptr))


def _rank(
    group: npt.NDArray[np.integer],
    tie: npt.NDArray[np.integer],
    weights: npt.NDArray[np.float32],
) -> npt.NDArray[np.int64]:
    """How many weights of the same group are heavier, or as heavy with a smaller `tie`."""
    order = np.lexsort((tie, -weights, group))
    sizes = np.bincount(group) if len(group) else np.zeros(0, np.int64)
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - starts[group[order]]
    return rank


def _kept(vectors: SparseMatrix, keep: npt.NDArray[np.bool_]) -> SparseMatrix:
    before = np.concatenate([[0], np.cumsum(keep)])
    pruned: SparseMatrix = sparse.csr_array(
        (vectors.data[keep], vectors.indices[keep], before[vectors.indptr]), shape=vectors.shape
    )
    return pruned
