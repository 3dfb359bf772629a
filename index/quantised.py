"""The integers that exact search adds up, as matrices: for referees, exports and experiments.

They are read where the vectors are stored, not where the searches read postings, so a product of
them is an independent account of what a search must answer.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from lsr.types import SparseMatrix, canonical

from .live import positions_in

if TYPE_CHECKING:
    from .store import Index

IntegerMatrix = sparse.csr_array[Any, tuple[int, int]]
"""(rows, n_terms) of an unsigned integer dtype."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """Every live passage (a document where nothing was split), by docid ascending.

    `impacts` is (n, n_terms) uint8; `docids` (n,) uint32; `doc_ids` the caller's names, which
    repeat where a document has several passages.
    """

    impacts: IntegerMatrix
    docids: npt.NDArray[np.uint32]
    doc_ids: list[str]


def quantised_documents(index: "Index") -> Quantised:
    """All documents that a search of `index` may return now."""
    counts, terms, values, docids, doc_ids = [], [], [], [], []
    for before, part in index.parts():
        for view in part.refresh().views:
            live = positions_in(view.live, view.segment.n_docs)
            starts, row_terms, row_impacts = view.segment.impacts(live)
            counts.append(np.diff(starts))
            terms.append(row_terms)
            values.append(row_impacts)
            docids.append(view.segment.docids[live] + np.uint32(before))
            doc_ids += view.segment.doc_ids(live)
    if not docids:
        empty: IntegerMatrix = sparse.csr_array(np.zeros((0, index.n_terms), np.uint8))
        return Quantised(empty, np.empty(0, np.uint32), [])
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    together = np.concatenate(docids)
    order = np.argsort(together)
    matrix: IntegerMatrix = sparse.csr_array(
        (np.concatenate(values), np.concatenate(terms).astype(np.int64), starts),
        shape=(len(together), index.n_terms),
    )
    return Quantised(matrix[order], together[order], [doc_ids[i] for i in order.tolist()])


def quantised_queries(
    index: "Index", queries: SparseMatrix
) -> tuple[IntegerMatrix, npt.NDArray[np.float64]]:
    """(n, n_terms) uint16 query weights as `index` counts them, and (n,) the float of score 1."""
    csr = canonical(queries, n_terms=index.n_terms)
    rounded = [
        index.rounded(csr.indices[a:b], csr.data[a:b]) for a, b in pairwise(csr.indptr.tolist())
    ]
    starts = np.cumsum([0, *(len(one) for one in rounded)])
    nothing = [np.empty(0, np.uint16)]
    matrix = sparse.csr_array(
        (
            np.concatenate([one.weights for one in rounded] or nothing),
            np.concatenate([one.terms for one in rounded] or nothing).astype(np.int64),
            starts,
        ),
        shape=csr.shape,
    )
    return matrix, np.array([one.unit for one in rounded], np.float64)
