"""Queries that find nothing, and query terms that are in no document."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from lsr.types import SparseMatrix

from .case import Case
from .finding import Finding, graded, percent, several, worst

FAIL_QUERIES = 0.05
"""Share of the queries; a single one already warns."""
WARN_TERMS, FAIL_TERMS = 0.1, 0.5
"""Shares of the queries' weight."""


@dataclass(frozen=True, slots=True)
class QueryHits:
    """Which queries are lost, and what of them meets no document.

    `unmatched` is the share of all query weight on terms that no document has. Terms are not
    counted alike: a learned encoder gives "the" to no document, and next to nothing in a query.
    """

    n_queries: int
    n_empty: int
    """Queries without any term."""
    n_zero: int
    """Queries with terms, and without any hit."""
    unmatched: float
    n_unmatched: int
    """Queries with at least one such term."""
    lost: tuple[int, ...]
    """Rows of the queries without any hit."""


def query_hits(
    queries: SparseMatrix, frequencies: npt.NDArray[np.int64], n_found: Sequence[int]
) -> QueryHits:
    """From query vectors, (n_terms,) counts of rows, and how many hits each query had."""
    lengths = np.diff(queries.indptr)
    lost = np.asarray(n_found) == 0
    missing = frequencies[queries.indices] == 0
    rows = np.repeat(np.arange(len(lengths)), lengths)
    return QueryHits(
        len(lengths),
        int((lengths == 0).sum()),
        int((lost & (lengths > 0)).sum()),
        float(queries.data[missing].sum() / max(queries.data.sum(), 1e-30)),
        len(np.unique(rows[missing])),
        tuple(np.flatnonzero(lost).tolist()),
    )


def check_hits(case: Case) -> Finding:
    """Warn of queries that no document answers."""
    queries = case.queries.rows
    answers = case.index.search_batch(queries, 1) if queries.shape[0] else []
    found = query_hits(queries, case.frequencies, [len(one) for one in answers])
    # In a trial index, that a document is missing is no fault of the encoder.
    share = (found.n_empty if case.trial else len(found.lost)) / max(1, found.n_queries)
    texts = [case.queries.texts[row] for row in found.lost[:8] if row < len(case.queries.texts)]
    level = worst(
        graded(share, warn=0, fail=FAIL_QUERIES),
        "ok" if case.trial else graded(found.unmatched, warn=WARN_TERMS, fail=FAIL_TERMS),
    )
    own = "; they are words of the corpus itself: --queries asks real ones"
    return Finding(
        "hits",
        level,
        f"{found.n_zero} of {found.n_queries} queries find nothing, {found.n_empty} have no term; "
        f"{percent(found.unmatched)} of their weight is on terms that are in no document, "
        f"{found.n_unmatched} have such a term"
        + (f": {several([repr(text[:60]) for text in texts], 3)}" if texts else "")
        + (own if case.queries.own else "")
        + ("; only empty ones are judged on a trial index" if case.trial else ""),
        "what the words of a query do not reach, expansion by a learned encoder or a dense "
        "retriever may",
        (
            *("lsr", "search", case.place),
            *((texts[0],) if texts else ("your question",)),
            "--explain",
        ),
        asdict(found) | {"lost": texts},
    )
