"""How often each term occurs in each text, straight into a canonical sparse matrix."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import sparse

from ..errors import UsageError
from ..types import SparseMatrix


def require_texts(texts: object) -> None:
    """Refuse one text where several are wanted: it would be read as a list of its characters."""
    if isinstance(texts, str):
        raise UsageError(
            f"got one text, {texts[:40]!r}, where a list of texts is wanted: put it into a list"
        )


def occurrences(rows: Iterable[Sequence[int]], n_terms: int) -> SparseMatrix:
    """(rows, n_terms) float32 counts of the term numbers in each row; negative numbers are skipped.

    >>> occurrences([[2, 0, 2], [], [-1, 1]], 3).toarray()
    array([[1., 0., 2.],
           [0., 0., 0.],
           [0., 1., 0.]], dtype=float32)
    """
    numbers: list[int] = []
    ends = [0]
    for row in rows:
        numbers.extend(row)
        ends.append(len(numbers))
    columns = np.asarray(numbers, dtype=np.int32)
    offsets = np.asarray(ends, dtype=np.int32)
    kept = columns >= 0
    if not kept.all():
        offsets = np.concatenate([[0], np.cumsum(kept, dtype=np.int32)])[offsets]
        columns = columns[kept]
    ones = np.ones(len(columns), np.float32)
    counts: SparseMatrix = sparse.csr_array(
        (ones, columns, offsets), shape=(len(offsets) - 1, n_terms)
    )
    counts.sum_duplicates()
    return counts
