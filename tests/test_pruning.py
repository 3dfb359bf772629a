"""Static pruning against definitions in plain Python, one document or one list at a time."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from index.cut_kernels import gather_kept, kept_lengths
from index.cuts import Cuts, find_cuts
from index.pruning import prune_mass, prune_postings, prune_ratio, prune_terms
from index.quantize import halves
from index.settings import Pruning
from index.stored_vectors import Forward
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


@given(rows=rows_of_weights, share=st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_terms_stay_that_reach_a_share_of_the_heaviest(rows: Rows, share: float) -> None:
    expected = []
    for row in rows:
        top = max(row.values(), default=0.0)
        least = float(np.float32(share) * np.float32(top))
        expected.append({t: w for t, w in row.items() if w == top or w > least})
    assert rows_of(prune_ratio(matrix(rows), share)) == expected


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


def forward_of(vectors: SparseMatrix) -> Forward:
    return Forward(
        vectors.indptr.astype(np.int64),
        vectors.indices.astype(np.uint16),
        halves(vectors.data).view(np.uint16),
    )


def pruned_by(cuts: Cuts, vectors: SparseMatrix, docids: list[int]) -> Rows:
    """What the builder's loops leave of `vectors`."""
    forward, numbers = forward_of(vectors), np.array(docids, np.uint32)
    read = (forward.starts, forward.terms, forward.bits, np.arange(len(docids)), numbers)
    lengths = np.zeros(len(docids), np.int64)
    kept_lengths(*read, cuts.bits, cuts.docids, lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    terms, bits = np.zeros(starts[-1], np.uint16), np.zeros(starts[-1], np.uint16)
    gather_kept(*read, cuts.bits, cuts.docids, starts, terms, bits)
    weights = bits.view(np.float16).astype(np.float32)
    return rows_of(sparse.csr_array((weights, terms.astype(np.int32), starts), vectors.shape))


@settings(deadline=None)
@given(
    rows=rows_of_weights,
    share_or_n=st.sampled_from([0.1, 0.5, 0.999, 1.0, 2.0, 100.0]),
    chunk=st.sampled_from([1, 3, 100]),
    memory=st.sampled_from([1, 4096, 10**6]),
)
def test_cuts_leave_what_pruning_at_once_leaves(
    rows: Rows, share_or_n: float, chunk: int, memory: int
) -> None:
    """However few terms and documents are looked at together, and again when applied again."""
    vectors = matrix(rows)
    docids = [3 * i + 7 for i in range(len(rows))]
    frequency = np.bincount(vectors.indices, minlength=N_TERMS)
    cuts = find_cuts(
        forward_of(vectors).part, np.array(docids, np.uint32), frequency, share_or_n,
        chunk=chunk, memory=memory,
    )  # fmt: skip
    expected = rows_of(prune_postings(vectors, share_or_n))
    assert pruned_by(cuts, vectors, docids) == expected
    assert pruned_by(Cuts.from_json(cuts.to_json()), matrix(expected), docids) == expected


def test_terms_that_had_no_postings_are_not_cut_later() -> None:
    none = matrix([{}])
    cuts = find_cuts(
        forward_of(none).part, np.array([1], np.uint32), np.zeros(N_TERMS, np.int64), 1,
        chunk=1, memory=1,
    )  # fmt: skip
    assert pruned_by(cuts, matrix([{0: 0.125, 5: 1.0}]), [9]) == [{0: 0.125, 5: 1.0}]


@pytest.mark.parametrize(
    ("chosen", "what"),
    [
        ({"terms": 0}, "0 terms"),
        ({"mass": 1.5}, "mass of 1.5"),
        ({"postings": 2.5}, "lists to 2.5"),
    ],
)
def test_a_pruning_that_cannot_be_is_refused(chosen: dict[str, float], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        Pruning(**chosen)  # type: ignore[arg-type]
