import numpy as np
import pytest
from scipy import sparse

from lsr.errors import VectorError
from lsr.types import Document, Ranking, Run, canonical, strictly_decreasing


def csr(data, indices, indptr, shape):
    return sparse.csr_array(
        (np.asarray(data), np.asarray(indices), np.asarray(indptr)), shape=shape
    )


@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csc_array, sparse.coo_array])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8])
def test_every_sparse_kind_of_real_numbers_becomes_canonical_float32(make, dtype):
    dense = np.array([[0, 2, 0], [1, 0, 3]], dtype=dtype)
    matrix = canonical(make(dense))
    assert isinstance(matrix, sparse.csr_array)
    assert matrix.dtype == np.float32
    assert np.array_equal(matrix.toarray(), dense)
    assert matrix.indices.tolist() == [1, 0, 2]


def test_terms_are_sorted_duplicates_summed_and_zeros_dropped():
    given = csr([1.0, 2.0, 4.0, 0.0], [2, 0, 2, 1], [0, 3, 4], (2, 3))
    matrix = canonical(given)
    assert matrix.indices.tolist() == [0, 2]
    assert matrix.data.tolist() == [2.0, 5.0]
    assert matrix.indptr.tolist() == [0, 2, 2]


def test_the_callers_matrix_is_left_as_it_was():
    given = csr([1.0, 2.0], [2, 0], [0, 2], (1, 3))
    canonical(given)
    assert given.indices.tolist() == [2, 0]


def test_what_is_canonical_already_is_not_copied():
    """An index of millions of rows must not double in memory at the gate."""
    given = csr(np.ones(2, np.float32), [0, 2], [0, 2], (1, 3))
    assert np.shares_memory(canonical(given).data, given.data)


def test_order_is_checked_even_where_scipy_believes_it_to_be_right():
    """scipy caches the flag, so arrays edited in place would pass for canonical."""
    given = csr(np.array([1.0, 2.0], np.float32), [0, 2], [0, 2], (1, 3))
    assert given.has_canonical_format
    given.indices[:] = [2, 0]
    assert canonical(given).indices.tolist() == [0, 2]


def test_a_row_may_start_with_a_smaller_term_than_the_last_one_ended_with():
    given = csr(np.ones(3, np.float32), [1, 2, 0], [0, 0, 2, 3, 3], (4, 3))
    assert np.shares_memory(canonical(given).data, given.data)


@pytest.mark.parametrize("weight", [np.nan, np.inf, -np.inf, -0.5])
def test_a_bad_weight_is_named_with_its_row_and_term(weight):
    with pytest.raises(VectorError, match=r"row 1, term 2: weight"):
        canonical(csr([1.0, weight], [0, 2], [0, 1, 2], (2, 3)))


def test_a_negative_weight_cannot_hide_behind_a_duplicate():
    """Summed first, -1 and 2 would pass as 1."""
    with pytest.raises(VectorError, match=r"weight -1\.0"):
        canonical(csr([2.0, -1.0], [1, 1], [0, 2], (1, 3)))


@pytest.mark.parametrize("data", [[1e300], [3e38, 3e38]])
def test_weights_that_overflow_float32_are_refused(data):
    """float32 ends at 3.4e38: one weight beyond it, or duplicates whose sum is."""
    n = len(data)
    with pytest.raises(VectorError, match="weight inf"):
        canonical(csr(data, [1] * n, [0, n], (1, 3)))


def test_a_term_outside_the_vocabulary_is_refused():
    """The compiled core trusts term numbers, so this gate must not."""
    given = csr(np.ones(2, np.float32), [0, 2], [0, 2], (1, 3))
    given.indices[1] = 7
    with pytest.raises(VectorError, match="not a valid CSR"):
        canonical(given)


def test_another_vocabulary_is_refused():
    with pytest.raises(VectorError, match="3 columns, the vocabulary has 4 terms"):
        canonical(sparse.csr_array((2, 3)), n_terms=4)


@pytest.mark.parametrize(
    "given",
    [np.zeros((2, 3)), [[1.0]], None, sparse.coo_array(np.ones(3))],
    ids=["dense", "list", "None", "one-dimensional"],
)
def test_what_is_not_a_sparse_matrix_is_refused(given):
    with pytest.raises(VectorError, match="two-dimensional"):
        canonical(given)


@pytest.mark.parametrize("dtype", [np.complex64, np.bool_])
def test_weights_that_are_no_real_numbers_are_refused(dtype):
    with pytest.raises(VectorError, match="real numbers"):
        canonical(sparse.csr_array(np.ones((1, 2), dtype=dtype)))


@pytest.mark.parametrize("shape", [(0, 5), (3, 5), (2, 0)])
def test_empty_matrices_are_canonical(shape):
    assert canonical(sparse.csr_array(shape)).shape == shape


def test_document_text_joins_only_what_is_there():
    document = Document("d", {"title": "", "text": "body", "year": 1999, "abstract": None})
    assert document.text() == "body"
    assert document.text(("abstract", "year", "text", "none")) == "body"
    assert Document("e").text() == ""


def test_tied_scores_are_lowered_just_enough_for_trec_eval_to_keep_the_order():
    scores = strictly_decreasing(np.array([2, 2, 2, 1, 1], np.float32))
    assert np.all(np.diff(scores) < 0)
    assert np.allclose(scores, [2, 2, 2, 1, 1], rtol=1e-6)
    assert scores[3] == 1.0  # an honest score is not touched


def test_scores_without_ties_are_returned_as_they_are():
    scores = np.array([3, 2, 1], np.float32)
    assert strictly_decreasing(scores) is scores


def test_a_run_gives_back_its_rows_in_their_order():
    run = Run.from_rows(
        [("q2", ["b", "a"], [2.0, 1.0]), ("q1", [], []), ("q3", ["a"], np.array([5.0]))]
    )
    assert list(run) == ["q2", "q1", "q3"]
    assert run.ranked("q2") == [("b", 2.0), ("a", 1.0)]
    assert run["q1"] == {}
    assert dict(run) == {"q2": {"b": 2.0, "a": 1.0}, "q1": {}, "q3": {"a": 5.0}}


def test_a_run_of_no_queries_is_empty():
    assert dict(Run.from_rows([])) == {}


def test_a_ranking_gives_its_weights_in_the_encoders_unit():
    ranking = Ranking(np.array([7, 3], np.uint32), np.array([10, 4], np.uint32), unit=0.5)
    assert len(ranking) == 2
    assert ranking.weights().tolist() == [5.0, 2.0]
