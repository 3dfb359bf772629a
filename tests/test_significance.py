"""Paired tests against published examples and against counting every assignment by hand."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from lsr.errors import UsageError
from lsr.significance import holm, interval_of_mean, paired, randomisation_test, t_test

DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
"""Cross- minus self-fertilised maize, eighths of an inch: Fisher, The Design of Experiments."""
SLEEP = ([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],) + (
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
)
"""Hours of sleep gained with two drugs by the same ten patients: Student, Biometrika 1908."""


def enumerated(deltas: list[int]) -> float:
    """The share of all sign assignments whose sum is at least as far from 0, in whole numbers."""
    wanted = abs(sum(deltas))
    sums = [abs(sum(d * s for d, s in zip(deltas, signs, strict=True)))
            for signs in product((1, -1), repeat=len(deltas))]  # fmt: skip
    return sum(one >= wanted for one in sums) / len(sums)


def test_fishers_own_example_gives_fishers_own_answer() -> None:
    """He counted 1,726 of the 32,768 assignments, 5.267 %; his t is 2.148."""
    assert randomisation_test(np.array(DARWIN, float)) == (1726 / 32768, True)
    assert t_test(np.array(DARWIN, float)) == pytest.approx(2 * stats.t.sf(2.148, 14), abs=1e-5)


def test_students_own_example_gives_the_p_of_the_textbooks() -> None:
    """Mean difference 1.58, t = 4.0621 with 9 degrees of freedom, p = 0.002833."""
    result = paired(*SLEEP)
    assert result.delta == pytest.approx(1.58)
    assert result.p_t == pytest.approx(0.002833, abs=5e-7)
    assert result.effect == pytest.approx(4.0621 / np.sqrt(10), abs=1e-4)
    assert (result.wins, result.ties, result.losses) == (9, 1, 0)


@pytest.mark.parametrize("seed", range(8))
def test_few_queries_are_enumerated_and_ties_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = rng.integers(-5, 7, size=9).tolist()
    wanted = enumerated(whole)
    assert randomisation_test(np.array(whole, float)) == (pytest.approx(wanted), True)
    with_ties = np.array([*whole, *[0] * 40], float)
    assert randomisation_test(with_ties) == (pytest.approx(wanted), True)


def test_a_sampled_p_is_near_the_exact_one_and_the_same_every_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five standard errors of 10,000 draws at p = .053 are .011."""
    monkeypatch.setattr("lsr.significance.EXACT_UP_TO", 4)
    values = np.array(DARWIN, float)
    p, exact = randomisation_test(values, seed=3)
    assert not exact
    assert abs(p - 1726 / 32768) < 0.011
    assert randomisation_test(values, seed=3) == (p, False)
    assert randomisation_test(values, seed=4)[0] != p
    assert randomisation_test(np.full(60, 0.1))[0] > 0


def test_tests_keep_their_level_and_intervals_their_cover() -> None:
    """400 experiments without a difference: about 5 % are called significant, 95 % covered."""
    rng = np.random.default_rng(11)
    results = [
        paired(a, a + rng.normal(0, 0.2, 40), resamples=400, seed=i)
        for i, a in enumerate(rng.random((400, 40)))
    ]
    for alarms in (
        sum(r.p_randomisation <= 0.05 for r in results),
        sum(r.p_t <= 0.05 for r in results),
        sum(not r.low <= 0 <= r.high for r in results),
    ):
        assert 6 <= alarms <= 40  # binomial(400, .05) leaves this once in 10,000


def test_one_stratum_is_the_paired_interval_and_many_are_narrower() -> None:
    rng = np.random.default_rng(0)
    collections = [rng.normal(0.1, 0.3, 200) for _ in range(4)]
    low, high = interval_of_mean(collections[:1])
    assert high - low == pytest.approx(2 * 1.96 * 0.3 / np.sqrt(200), rel=0.15)
    all_low, all_high = interval_of_mean(collections)
    assert all_high - all_low == pytest.approx((high - low) / 2, rel=0.15)
    centre = np.mean([values.mean() for values in collections])
    assert (all_low + all_high) / 2 == pytest.approx(centre, abs=0.005)


def test_one_query_and_equal_queries_have_a_point_for_an_interval() -> None:
    assert interval_of_mean([np.array([0.25])]) == (0.25, 0.25)
    assert interval_of_mean([np.ones(7)]) == (1.0, 1.0)


def test_a_single_query_that_differs_proves_nothing() -> None:
    """scipy refuses a sample of one: of its two assignments both are as far from 0."""
    assert enumerated([3]) == 1.0
    assert randomisation_test(np.array([0, 0, 0.3, 0])) == (1.0, True)


def test_differences_that_do_not_vary_are_answered_without_dividing_by_zero() -> None:
    same = paired([0.5, 0.1, 0.3], [0.5, 0.1, 0.3])
    assert (same.p_randomisation, same.p_t, same.effect) == (1.0, 1.0, None)
    assert (same.low, same.high) == (0.0, 0.0)
    shifted = paired([0.5, 0.1, 0.3], [0.6, 0.2, 0.4])
    assert (shifted.p_randomisation, shifted.p_t, shifted.effect) == (0.25, 0.0, None)


def test_holm_agrees_with_its_definition() -> None:
    """p_(i) adjusted is the largest of (m - j + 1) p_(j) over j <= i, at most 1."""
    rng = np.random.default_rng(5)
    p_values = (rng.random(12) ** 3).tolist()
    ordered = sorted(p_values)
    wanted = {
        p: min(1.0, max((12 - j) * ordered[j] for j in range(i + 1))) for i, p in enumerate(ordered)
    }
    assert holm(p_values) == pytest.approx([wanted[p] for p in p_values])
    assert holm([]) == []


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([0.1, 0.2], [0.1], "same queries"),
        ([0.1], [0.2], "at least 2 queries"),
        ([0.1, float("nan")], [0.1, 0.2], "finite"),
    ],
)
def test_values_that_cannot_be_paired_are_refused(
    a: list[float], b: list[float], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        paired(a, b)
