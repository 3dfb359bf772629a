"""Teachers' scores normalised, averaged and rescaled, against scipy and plain loops over rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special, stats

from training.ensemble import Moments, affine, combine, normalise
from training.filters import false_negatives

ROWS = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 7)),
    elements=st.one_of(st.floats(-50, 50, width=32), st.just(float("nan"))),
)


def by_row(scores: np.ndarray, how: str) -> np.ndarray:
    """The definition, one row at a time, on its known scores alone."""
    result = np.full(scores.shape, np.nan)
    for i, row in enumerate(scores.astype(np.float64)):
        known = np.flatnonzero(~np.isnan(row))
        values = row[known]
        if not len(known):
            continue
        if how == "min-max":
            result[i, known] = (values - values.min()) / (np.ptp(values) + 1e-6)
        elif how == "z":
            result[i, known] = stats.zscore(values) if np.ptp(values) > 0 else 0.0
        elif how == "softmax":
            result[i, known] = special.softmax(values)
        else:
            result[i, known] = values
    return result


@pytest.mark.parametrize("how", ["min-max", "z", "softmax", "none"])
@given(scores=ROWS)
def test_every_row_is_normalised_over_its_known_scores_alone(how, scores: np.ndarray) -> None:
    # float32 results of float64 arithmetic: half a unit in the last place of values up to 50,
    # and scipy's z of nearly equal numbers cancels.
    np.testing.assert_allclose(normalise(scores, how), by_row(scores, how), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("how", "constant", "single"), [("min-max", 0.0, 0.0), ("z", 0.0, 0.0), ("softmax", 0.5, 1.0)]
)
def test_a_constant_row_and_a_single_candidate_are_defined(how, constant, single) -> None:
    assert normalise(np.full((1, 2), 7.3, np.float32), how).tolist() == [[constant, constant]]
    alone = normalise(np.array([[7.3, np.nan]], np.float32), how)
    assert alone[0, 0] == single
    assert np.isnan(alone[0, 1])
    nothing = normalise(np.array([[np.nan, np.nan], [1.0, 2.0]], np.float32), how)
    assert np.isnan(nothing[0]).all()
    assert np.isfinite(nothing[1]).all()


def test_min_max_over_two_candidates_is_always_nought_and_one() -> None:
    """Why `FEW` exists: a hair and a mile look the same."""
    scores = np.array([[0.70, 0.71], [0.1, 0.9]], np.float32)
    np.testing.assert_allclose(normalise(scores, "min-max"), [[0, 1], [0, 1]], atol=2e-4)


def test_temperature_sharpens_a_softmax() -> None:
    cosines = np.array([[0.8, 0.7]], np.float32)
    flat, sharp = normalise(cosines, "softmax"), normalise(cosines, "softmax", temperature=0.01)
    assert flat[0, 0] == pytest.approx(special.expit(0.1), abs=1e-6)
    assert sharp[0, 0] == pytest.approx(special.expit(10), abs=1e-6)


def test_weights_are_shares_and_unknown_means_unknown_to_the_ensemble() -> None:
    one = np.array([[1.0, 0.0, np.nan]], np.float32)
    two = np.array([[0.0, 1.0, 0.5]], np.float32)
    strict = combine([one, two], [3.0, 1.0], known_to_all=True)
    np.testing.assert_array_equal(strict, [[0.75, 0.25, np.nan]])
    lenient = combine([one, two], [3.0, 1.0], known_to_all=False)
    np.testing.assert_array_equal(lenient, [[0.75, 0.25, 0.5]])
    nobody = np.full((1, 3), np.nan, np.float32)
    assert np.isnan(combine([nobody, nobody], [1.0, 1.0], known_to_all=False)).all()


@given(blocks=st.lists(ROWS, min_size=1, max_size=4))
def test_moments_by_block_are_the_moments_of_the_whole(blocks: list[np.ndarray]) -> None:
    moments = Moments()
    for block in blocks:
        moments.add(block)
    whole = np.concatenate([block[~np.isnan(block)] for block in blocks]).astype(np.float64)
    assert moments.n == len(whole)
    if len(whole):
        assert moments.mean == pytest.approx(whole.mean(), abs=1e-9)
        assert moments.deviation == pytest.approx(whole.std(), abs=1e-6)


def test_affine_gives_the_reference_mean_and_deviation_and_keeps_the_order() -> None:
    rng = np.random.default_rng(5)
    ensemble, reference = rng.random(200).astype(np.float32), rng.normal(4, 9, 300)
    of, onto = Moments(), Moments()
    of.add(ensemble)
    onto.add(reference)
    factor, offset = affine(of=of, onto=onto)
    rescaled = factor * ensemble.astype(np.float64) + offset
    assert rescaled.mean() == pytest.approx(reference.mean(), abs=1e-9)
    assert rescaled.std() == pytest.approx(reference.std(), abs=1e-9)
    assert np.array_equal(np.argsort(rescaled), np.argsort(ensemble))
    flat = Moments()
    flat.add(np.ones(5, np.float32))
    assert affine(of=flat, onto=onto) == (0.0, pytest.approx(reference.mean()))


def test_negatives_that_score_like_the_answer_are_marked() -> None:
    logits = np.array([[9.0, 6.9, 2.0], [-4.0, -1.0, -9.0]], np.float32)
    positives = np.array([[9.9], [-2.0]], np.float32)
    marked = false_negatives(logits, positives, margin=3.0)
    assert marked.tolist() == [[True, True, False], [True, True, False]]
    assert false_negatives(logits, positives).sum() == 0


def test_a_share_of_a_negative_score_marks_only_what_reaches_the_positive() -> None:
    """0.95 x -2 = -1.9 lies above -2 by accident of sign; the rule must not depend on it."""
    scores = np.array([-1.99, -2.01, -2.0])
    assert false_negatives(scores, -2.0, share=0.5).tolist() == [True, False, True]


def test_unknown_scores_mark_nothing() -> None:
    nan = float("nan")
    assert not false_negatives(np.array([nan, 1.0]), nan, margin=1.0, share=0.9).any()
    assert false_negatives(np.array([nan, 1.0]), 1.0, margin=1.0).tolist() == [False, True]
