"""What rounding weights to 8-bit impacts costs: how often the exact top k is also the float top
k.
"""

import numpy as np
from scipy import sparse

from lsr.types import SparseMatrix

from .engine import search_batch
from .live import positions_in
from .quantize import integer_query
from .snapshot import Snapshot

SAMPLE = 64
QUERY_TERMS = 16
MAX_POSTINGS = 50_000_000
"""Float scoring multiplies whole matrices; beyond this it would take gigabytes."""


def float_overlap(snapshot: Snapshot, *, n_terms: int, scale: float, k: int = 10) -> float | None:
    """Mean share of the top k by stored float16 weights that the integer top k holds as well.

    Queries are the heaviest terms of documents sampled evenly; each finds itself and its likes,
    which is the hard case, since near neighbours have near scores. None for an index without
    documents or too large to measure.
    """
    n_postings = sum(view.segment.n_postings for view in snapshot.views)
    if not 0 < n_postings <= MAX_POSTINGS or not snapshot.n_docs:
        return None
    matrices = []
    docids = []
    for view in snapshot.views:
        live = positions_in(view.live, view.segment.n_docs)
        matrices.append(view.segment.vectors(live))
        docids.append(view.segment.docids[live])
    vectors: SparseMatrix = sparse.csr_array(sparse.vstack(matrices, "csr"))
    all_docids = np.concatenate(docids)
    rows = np.unique(np.linspace(0, len(all_docids) - 1, SAMPLE).astype(np.int64))
    queries = _heaviest(vectors[rows])
    integers = [
        integer_query(
            queries.indices[a:b], queries.data[a:b].astype(np.float32), n_terms=n_terms, scale=scale
        )
        for a, b in zip(queries.indptr[:-1], queries.indptr[1:], strict=True)
    ]
    found = search_batch(
        [view.segment for view in snapshot.views],
        [view.live for view in snapshot.views],
        integers,
        k,
        threads=1,
    )
    shares = []
    scores = sparse.csr_array(vectors @ queries.T).tocsc()
    for i, one in enumerate(found):
        a, b = scores.indptr[i], scores.indptr[i + 1]
        here, weights = scores.indices[a:b], scores.data[a:b]
        order = np.lexsort((all_docids[here], -weights))[:k]
        wanted = set(all_docids[here[order]].tolist())
        if wanted:
            shares.append(len(wanted & set(one.docids.tolist())) / len(wanted))
    return float(np.mean(shares)) if shares else None


def _heaviest(matrix: SparseMatrix) -> SparseMatrix:
    """Each row's heaviest terms."""
    kept = matrix.copy()
    for a, b in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        if b - a > QUERY_TERMS:
            row = kept.data[a:b]
            row[np.argsort(-row, kind="stable")[QUERY_TERMS:]] = 0
    kept.eliminate_zeros()
    return kept
