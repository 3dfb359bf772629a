"""The arithmetic of the comparison with other engines: a wrong ratio would flatter us unseen."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


def _load() -> ModuleType:
    """`tests/bench` is no package: its programs run from their own folder."""
    path = Path(__file__).parent / "bench" / "arithmetic.py"
    spec = importlib.util.spec_from_file_location("bench_arithmetic", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


arithmetic: Any = _load()


@given(scores=st.lists(st.integers(0, 6), max_size=30), k=st.integers(1, 12), data=st.data())
def test_recall_counts_every_document_tied_with_the_last(
    scores: list[int], k: int, data: st.DataObject
) -> None:
    """The oracle swaps tied documents by hand: an answer is as good as its sorted scores."""
    array = np.array(scores, np.float64)
    answer = np.array(
        data.draw(st.permutations(range(len(scores))))[: data.draw(st.integers(0, k))], np.int64
    )
    best, best_scores = arithmetic.best_with_ties(array, k)
    got = arithmetic.overlap(answer, best, best_scores, k)
    positive = sorted((s for s in scores if s > 0), reverse=True)[:k]
    if not positive:
        assert got is None
        return
    good = sum(scores[i] >= positive[-1] for i in answer)
    assert got == pytest.approx(min(good, len(positive)) / len(positive))


def point(microseconds: float, recall: float) -> Any:
    return arithmetic.Point({}, f"{microseconds}", microseconds, recall)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=12),
    st.sampled_from([1.0, 1.5]),
)
def test_a_point_stays_unless_another_is_faster_and_not_worse(
    raw: list[tuple[int, int]], slack: float
) -> None:
    points = [point(us, recall) for us, recall in raw]
    kept = arithmetic.pareto(points, slack=slack)
    for one in points:
        beaten = any(
            other.recall >= one.recall and slack * other.microseconds < one.microseconds
            for other in points
        )
        assert (not beaten) == any(one is stays for stays in kept)
    assert [one.recall for one in kept] == sorted(one.recall for one in kept)


def test_the_fastest_point_that_reaches_a_recall_is_quoted() -> None:
    points = [point(10, 0.9), point(30, 0.99), point(20, 0.97)]
    assert arithmetic.fastest_reaching(points, 0.95).microseconds == 20
    assert arithmetic.fastest_reaching(points, 0.999) is None


@pytest.mark.parametrize(
    ("value", "floor", "goal", "at_most", "word"),
    [
        (2.999, 1.9, 3.0, False, "floor"),
        (3.0, 1.9, 3.0, False, "goal"),
        (1.899, 1.9, 3.0, False, "missed by 1.00x"),
        (0.95, 1.9, None, False, "missed by 2.00x"),
        (2.0, 1.7, None, False, "met"),
        (1.7, 1.7, None, True, "met"),
        (3.4, 1.7, None, True, "missed by 2.00x"),
    ],
)
def test_a_verdict_is_never_rounded_in_our_favour(
    value: float, floor: float | None, goal: float | None, at_most: bool, word: str
) -> None:
    assert arithmetic.Verdict(value, floor, goal, at_most).word == word
