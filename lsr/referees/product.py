"""The plainest referee: multiply two integer matrices with scipy and sort."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from .agreement import Ranked

_CELLS = 1 << 24
"""Scores held at a time: 128 MB of int64."""


def product_search(
    impacts: "sparse.csr_array[Any, tuple[int, int]]",
    docids: npt.NDArray[np.uint32],
    queries: "sparse.csr_array[Any, tuple[int, int]]",
    k: int,
) -> list[Ranked]:
    """The k best rows of `impacts` for each row of `queries`: score descending, docid ascending.

    Both matrices hold unsigned integers, `docids` (rows,) is ascending; rows without a common term
    are left out. Sums are int64, so exact.

    >>> rows = sparse.csr_array(np.array([[1, 0], [2, 3], [1, 0]], np.uint8))
    >>> query = sparse.csr_array(np.array([[4, 0]], np.uint16))
    >>> product_search(rows, np.array([5, 7, 8], np.uint32), query, 2)[0].docids.tolist()
    [7, 5]
    """
    rows, columns = impacts.astype(np.int64), queries.astype(np.int64).T.tocsc()
    step = max(1, _CELLS // max(1, rows.shape[0]))
    found = []
    for start in range(0, columns.shape[1], step):
        scores = rows @ columns[:, start : start + step].toarray()
        found += [_best(scores[:, i], docids, k) for i in range(scores.shape[1])]
    return found


def _best(scores: npt.NDArray[np.int64], docids: npt.NDArray[np.uint32], k: int) -> Ranked:
    matching = np.flatnonzero(scores)
    # Stable, so equal scores stay by docid ascending.
    order = matching[np.argsort(-scores[matching], kind="stable")[:k]]
    return Ranked(docids[order], scores[order].astype(np.float64))
