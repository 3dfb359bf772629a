"""Static pruning against definitions in plain Python, one document or one list at a time."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from index.pruning import prune_mass, prune_postings, prune_terms
from lsr.errors import UsageError
from lsr.types import SparseMatrix, canonical

N_TERMS = 6
Rows = list[dict[int, float]]

# Few levels of weight make ties; sums of eighths are exact.
rows_of_weights = st.lists(
    st.dictionaries(st.integers(0, N_TERMS - 1), st.sampled_from([0.125, 0.5, 1.0, 2.0])),
    max_size=8,
)


def matrix(rows: Rows) -> SparseMatrix:
    dense = np.zeros((len(rows), N_TERMS), np.float32)
    for i, row in enumerate(rows):
        for term, weight in row.items():
            dense[i, term] = weight
    return sparse.csr_array(dense)


def rows_of(vectors: SparseMatrix) -> Rows:
    canonical(vectors)  # raises when it is not sorted, finite and positive
    assert vectors.dtype == np.float32
    return [
        dict(zip(vectors.indices[a:b].tolist(), vectors.data[a:b].tolist(), strict=True))
        for a, b in zip(vectors.indptr[:-1], vectors.indptr[1:], strict=True)
    ]


def heaviest_first(row: dict[int, float]) -> list[int]:
    return sorted(row, key=lambda term: (-row[term], term))


@given(rows=rows_of_weights, n=st.integers(1, 7))
def test_the_heaviest_terms_stay(rows: Rows, n: int) -> None:
    expected = [{t: row[t] for t in heaviest_first(row)[:n]} for row in rows]
    assert rows_of(prune_terms(matrix(rows), n)) == expected


@settings(deadline=None)  # the first call compiles
@given(rows=rows_of_weights, share=st.sampled_from([0.01, 0.25, 0.5, 0.75, 1.0]))
def test_terms_stay_until_they_hold_the_share(rows: Rows, share: float) -> None:
    expected = []
    for row in rows:
        kept: dict[int, float] = {}
        for term in heaviest_first(row):
            if sum(kept.values()) < share * sum(row.values()):
                kept[term] = row[term]
        expected.append(kept)
    assert rows_of(prune_mass(matrix(rows), share)) == expected


@given(rows=rows_of_weights, share_or_n=st.sampled_from([0.1, 0.5, 0.99, 1, 2, 5]))
def test_the_heaviest_postings_of_every_list_stay(rows: Rows, share_or_n: float) -> None:
    expected: Rows = [{} for _ in rows]
    for term in range(N_TERMS):
        holders = [i for i, row in enumerate(rows) if term in row]
        most = math.ceil(share_or_n * len(holders)) if share_or_n < 1 else int(share_or_n)
        for i in sorted(holders, key=lambda i: (-rows[i][term], i))[:most]:
            expected[i][term] = rows[i][term]
    assert rows_of(prune_postings(matrix(rows), share_or_n)) == expected


@pytest.mark.parametrize("n", [0, -3, True])
def test_a_number_of_terms_without_meaning_is_refused(n: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        prune_terms(matrix([{1: 1.0}]), n)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan")])
def test_a_share_without_meaning_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        prune_mass(matrix([{1: 1.0}]), share)


def test_a_share_of_no_list_is_refused() -> None:
    with pytest.raises(UsageError, match="above 0"):
        prune_postings(matrix([{1: 1.0}]), 0.0)
