"""Integers that the engine adds: what rounds where, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.quantize import (
    MAX_QUERY_TERMS,
    halves,
    impacts,
    impacts_of_halves,
    integer_query,
    scale_for,
)
from lsr.errors import QueryError, UsageError, VectorError


@given(
    weights=st.lists(st.floats(2.0**-20, 60000.0, width=32), min_size=1, max_size=50),
    max_weight=st.floats(0.01, 1000.0),
)
def test_an_impact_is_the_rounded_float16_weight_over_the_scale(
    weights: list[float], max_weight: float
) -> None:
    """The table must equal the arithmetic it replaces, on every weight a document can have."""
    scale = scale_for(max_weight)
    array = np.array(weights, np.float32)
    got, n_saturated = impacts(array, scale)
    steps = [int(float(np.float16(weight)) / scale + 0.5) for weight in array]
    assert got.tolist() == [min(max(step, 1), 255) for step in steps]
    assert n_saturated == sum(step > 255 for step in steps)


def test_storing_a_vector_changes_none_of_its_impacts() -> None:
    """A merge quantises what a segment stored: the scores of a document must not move."""
    weights = np.random.default_rng(0).gamma(2.0, 0.4, 20_000).astype(np.float32) + 1e-4
    scale = scale_for(4.0)
    stored = halves(weights)
    assert np.array_equal(impacts(weights, scale)[0], impacts_of_halves(stored, scale)[0])
    assert np.array_equal(impacts(stored.astype(np.float32), scale)[0], impacts(weights, scale)[0])


def test_no_weight_vanishes_and_none_becomes_infinite() -> None:
    """float16 ends at 6e-8 and 65,504; a posting beyond either end still has an impact."""
    got, n_saturated = impacts(np.array([1e-30, 1e30], np.float32), 1.0)
    assert got.tolist() == [1, 255]
    assert n_saturated == 1
    assert np.isfinite(halves(np.array([1e30], np.float32))).all()
    assert (halves(np.array([1e-30], np.float32)) > 0).all()


@pytest.mark.parametrize("max_weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_needs_a_positive_largest_weight(max_weight: float) -> None:
    with pytest.raises(UsageError, match="max_weight"):
        scale_for(max_weight)


def test_weights_of_another_type_are_refused() -> None:
    with pytest.raises(VectorError, match="float64"):
        halves(np.array([1.0]))


def test_the_heaviest_query_term_is_4095_and_the_lightest_is_kept() -> None:
    query = integer_query(
        np.array([2, 5, 9]), np.array([1e-9, 1.0, 2.0]), n_terms=10, scale=scale_for(255.0)
    )
    assert query.terms.tolist() == [2, 5, 9]
    assert query.weights.tolist() == [1, 2048, 4095]
    assert query.unit == pytest.approx(2.0 / 4095)


def test_repeated_terms_add_up_and_zero_weights_are_left_out() -> None:
    query = integer_query(
        np.array([7, 3, 7, 1]), np.array([1.0, 1.0, 1.0, 0.0]), n_terms=10, scale=1.0
    )
    assert query.terms.tolist() == [3, 7]
    assert query.weights.tolist() == [2048, 4095]


@pytest.mark.parametrize("weights", [[], [0.0, 0.0]])
def test_an_empty_query_is_a_query_without_terms(weights: list[float]) -> None:
    query = integer_query(
        np.arange(len(weights)), np.array(weights, np.float64), n_terms=10, scale=1.0
    )
    assert len(query) == 0
    assert (query.terms.dtype, query.weights.dtype) == (np.uint32, np.uint16)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1.0])
def test_a_weight_without_a_bound_is_refused_with_its_term(weight: float) -> None:
    with pytest.raises(QueryError, match="term 8"):
        integer_query(np.array([3, 8]), np.array([1.0, weight]), n_terms=10, scale=1.0)


@pytest.mark.parametrize("term", [-1, 10])
def test_a_term_outside_the_vocabulary_is_refused(term: int) -> None:
    with pytest.raises(QueryError, match="vocabulary of 10 terms"):
        integer_query(np.array([term]), np.array([1.0]), n_terms=10, scale=1.0)


def test_the_longest_query_cannot_wrap_a_score_and_a_longer_one_is_refused() -> None:
    assert MAX_QUERY_TERMS * 4095 * 255 < 2**32
    terms = np.arange(MAX_QUERY_TERMS + 1)
    integer_query(terms[:-1], np.ones(MAX_QUERY_TERMS), n_terms=10_000, scale=1.0)
    with pytest.raises(QueryError, match="4,113 terms"):
        integer_query(terms, np.ones(len(terms)), n_terms=10_000, scale=1.0)


@given(
    weights=st.lists(st.floats(2.0**-120, 2.0**127, width=32), min_size=1, max_size=60),
    gap=st.integers(1, 1000),
)
def test_the_compiled_rounding_is_the_rounding_of_this_page(weights: list[float], gap: int) -> None:
    """int32 and float32 take a compiled path; other types the numpy one. They must agree."""
    terms = np.arange(len(weights)) * gap
    single = np.array(weights, np.float32)
    n_terms = int(terms[-1]) + 1
    quick = integer_query(terms.astype(np.int32), single, n_terms=n_terms, scale=0.5)
    slow = integer_query(terms, single.astype(np.float64), n_terms=n_terms, scale=0.5)
    assert np.array_equal(quick.terms, slow.terms)
    assert np.array_equal(quick.weights, slow.weights)
    assert (quick.unit, quick.terms.dtype, quick.weights.dtype) == (
        slow.unit,
        slow.terms.dtype,
        slow.weights.dtype,
    )


@pytest.mark.parametrize(
    ("terms", "weights"),
    [([3, 3], [1, 1]), ([4, 3], [1, 2]), ([3, 4], [0, 1]), ([], []), ([3], [np.nan]), ([10], [1])],
)
def test_an_unusual_query_of_the_common_types_is_treated_like_any_other(
    terms: list[int], weights: list[float]
) -> None:
    """Merged, emptied or refused: the compiled path must leave each to the careful one."""

    def answer(term_type: type, weight_type: type) -> object:
        try:
            query = integer_query(
                np.array(terms, term_type), np.array(weights, weight_type), n_terms=10, scale=1.0
            )
        except QueryError as error:
            return str(error)
        return query.terms.tolist(), query.weights.tolist(), query.unit

    assert answer(np.int32, np.float32) == answer(np.int64, np.float64)


def test_one_weight_for_each_term() -> None:
    with pytest.raises(QueryError, match="one weight per term"):
        integer_query(np.array([1, 2]), np.array([1.0]), n_terms=10, scale=1.0)
