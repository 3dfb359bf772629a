"""Random collections, and the ranking they must give: shared by the tests of the engine.

The oracle is a scipy product of the impacts with the query weights, sorted by score and docid: it
knows nothing of rows, pages, bounds or rounds.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from index.engine import Algorithm, Found
from index.quantize import IntegerQuery, impacts, integer_query, scale_for
from index.segment import Segment
from lsr.types import SparseMatrix

ALGORITHMS: tuple[Algorithm, ...] = ("auto", "exhaustive", "blockmax")
SCALE = scale_for(4.0)


def random_collection(
    rng: np.random.Generator, n_docs: int, n_terms: int, *, mean: int, levels: int
) -> SparseMatrix:
    """Zipf-like terms; few weight levels make ties, the hard part of exactness."""
    lengths = np.minimum(rng.poisson(mean, n_docs), n_terms)
    probability = 1.0 / np.arange(1, n_terms + 1)
    probability /= probability.sum()
    rows = np.repeat(np.arange(n_docs), lengths)
    terms = rng.choice(n_terms, len(rows), p=probability)
    weights = (rng.integers(1, levels + 1, len(rows)) * (4.0 / levels)).astype(np.float32)
    matrix = sparse.coo_array((weights, (rows, terms)), shape=(n_docs, n_terms)).tocsr()
    matrix.data = np.minimum(matrix.data, np.float32(4.0))
    return sparse.csr_array(matrix)


def random_query(rng: np.random.Generator, n_terms: int, n: int) -> IntegerQuery:
    terms = rng.choice(n_terms, min(n, n_terms), replace=False)
    return integer_query(terms, rng.gamma(2.0, 1.0, len(terms)), n_terms=n_terms, scale=SCALE)


def make_segment(
    vectors: SparseMatrix, docids: npt.NDArray[np.uint32], *, reorder: bool = False
) -> Segment:
    names = [f"d{docid}" for docid in docids]
    return Segment.in_memory(vectors, docids, names, scale=SCALE, grid=True, reorder=reorder)


def brute_force(
    parts: Sequence[tuple[SparseMatrix, npt.NDArray[np.uint32], npt.NDArray[np.uint8] | None]],
    query: IntegerQuery,
    k: int,
) -> list[tuple[int, int]]:
    """(docid, score), best first, of the documents that live and share a term with the query."""
    ranked: list[tuple[int, int]] = []
    for vectors, docids, live in parts:
        integers = sparse.csr_array(
            (impacts(vectors.data, SCALE)[0].astype(np.int64), vectors.indices, vectors.indptr),
            shape=vectors.shape,
        )
        weights = np.zeros(vectors.shape[1], np.int64)
        weights[query.terms] = query.weights
        scores = integers @ weights
        for position in np.flatnonzero(scores):
            if live is None or live[position]:
                ranked.append((int(docids[position]), int(scores[position])))
    return sorted(ranked, key=lambda pair: (-pair[1], pair[0]))[:k]


def pairs(hits: Found) -> list[tuple[int, int]]:
    docids, scores, _ = hits
    assert docids.dtype == scores.dtype == np.uint32
    return list(zip(docids.tolist(), scores.tolist(), strict=True))
