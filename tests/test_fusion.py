"""Fusion against sums done in the plainest way, over runs that hypothesis makes up."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lsr.errors import QueryError, UsageError
from lsr.retrieval import METHODS, HybridRetriever, Method, fuse
from lsr.types import Run

DOCS = "abcdefgh"


def run_of(scores: dict[str, float], query_id: str = "q") -> Run:
    """Best first, ties in the order of the dict."""
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    return Run.from_rows([(query_id, [d for d, _ in ranked], [s for _, s in ranked])])


# Multiples of an eighth are exact in float32, and apart by far more than a step of it.
lists = st.dictionaries(
    st.sampled_from(DOCS), st.integers(-80, 80).map(lambda n: n / 8), min_size=1, max_size=8
)
worlds = st.lists(st.tuples(lists, st.integers(0, 4).map(float)), min_size=1, max_size=4).filter(
    lambda world: any(weight for _, weight in world)
)


def by_hand(method: Method, scores: dict[str, float], doc_id: str) -> float:
    """What one list says of one document, from the definition."""
    if method == "rrf":
        if doc_id not in scores:
            return 0.0
        # Documents that tie stand in the order of their list.
        ranked = sorted(scores, key=lambda d: -scores[d])
        return 1 / (60 + ranked.index(doc_id) + 1)
    values = list(scores.values())
    if len(set(values)) == 1:
        return float(doc_id in scores)
    value = scores.get(doc_id, min(values))
    if method == "zscore":
        mean = sum(map(Fraction, values)) / len(values)
        variance = sum((Fraction(v) - mean) ** 2 for v in values) / len(values)
        return float(Fraction(value) - mean) / math.sqrt(variance)
    return (value - min(values)) / (max(values) - min(values))


@pytest.mark.parametrize("method", METHODS)
@example(world=[({"a": 0.0, "b": 0.0}, 1.0)])
@given(world=worlds)
def test_every_fusion_is_the_sum_of_its_definition(method: Method, world) -> None:
    fused = fuse([run_of(scores) for scores, _ in world], method, [w for _, w in world])
    union = {doc_id for scores, _ in world for doc_id in scores}
    expected = {d: sum(w * by_hand(method, s, d) for s, w in world) for d in union}
    if method == "combmnz":
        expected = {d: v * sum(d in s for s, _ in world) for d, v in expected.items()}
    found = fused["q"]
    assert found.keys() == union
    # float32 scores, and tied ones lowered step by step; the tie-breaking steps of the inputs,
    # stretched over a small range, are the largest error.
    for doc_id, score in found.items():
        assert score == pytest.approx(expected[doc_id], abs=1e-3 * max(1.0, abs(expected[doc_id])))
    order = list(found)
    for better, worse in zip(order, order[1:], strict=False):
        assert expected[better] > expected[worse] - 1e-3


@pytest.mark.parametrize("method", METHODS)
@given(world=worlds, k=st.integers(1, 10))
def test_the_best_k_are_the_head_of_all(method: Method, world, k: int) -> None:
    runs, weights = [run_of(scores) for scores, _ in world], [w for _, w in world]
    whole = list(fuse(runs, method, weights)["q"])
    assert list(fuse(runs, method, weights, k=k)["q"]) == whole[:k]


@given(world=worlds, seed=st.randoms())
def test_the_sums_do_not_depend_on_the_order_of_the_lists(world, seed) -> None:
    """Three ranks in another order would differ in the last bit, were they added as they come."""
    shuffled = list(world)
    seed.shuffle(shuffled)
    once, again = (
        fuse([run_of(s) for s, _ in w], "rrf", [x for _, x in w], k=1) for w in (world, shuffled)
    )
    assert once.scores.tolist() == again.scores.tolist()


def test_equal_sums_keep_the_order_of_the_first_list() -> None:
    a, b = run_of({"x": 3.0, "y": 2.0}), run_of({"y": 9.0, "x": 8.0})
    assert list(fuse([a, b], "rrf")["q"]) == ["x", "y"]
    assert list(fuse([b, a], "rrf")["q"]) == ["y", "x"]


def test_a_list_of_ties_is_not_stretched_into_differences() -> None:
    """A run lowers ties by float32 steps; min-max once made 1, .5 and 0 of three equal scores."""
    ties = Run.from_rows([("q", ["x", "y", "z"], [7.5, 7.5, 7.5])])
    other = run_of({"z": 2.0, "y": 1.0, "w": 0.5})
    for method in ("minmax", "zscore"):
        order = list(fuse([ties, other], method)["q"])
        assert order[0] == "z"
        assert order[-1] == "w"


def test_a_document_outside_a_list_counts_as_its_last() -> None:
    long, short = run_of({"x": 4.0, "y": 3.0, "z": 0.0}), run_of({"z": 1.0, "y": 0.0})
    found = fuse([long, short], "minmax")["q"]
    assert found == {"x": 1.0, "z": np.nextafter(np.float32(1), np.float32(0)), "y": 0.75}


def test_depth_cuts_each_list_before_its_scale_is_taken() -> None:
    a, b = run_of({"x": 4.0, "y": 2.0, "z": 0.0}), run_of({"y": 1.0})
    assert fuse([a, b], "minmax", [1, 2], depth=2)["q"]["y"] == 2.0
    assert fuse([a, b], "minmax", [1, 2])["q"]["y"] == 2.5


def test_queries_that_one_list_alone_answers_are_answered() -> None:
    a, b = run_of({"x": 1.0}, "q1"), run_of({"y": 1.0}, "q2")
    fused = fuse([a, b, Run.from_rows([("q3", [], [])])], "zscore")
    assert {query_id: list(fused[query_id]) for query_id in fused} == {
        "q1": ["x"],
        "q2": ["y"],
        "q3": [],
    }


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1.0], "1 weights for 2 runs"),
        ([1.0, -0.1], "none below 0"),
        ([0.0, 0.0], "one above"),
        ([1.0, float("nan")], "finite"),
    ],
)
def test_weights_without_meaning_are_refused(weights: list[float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        fuse([run_of({"x": 1.0})] * 2, "rrf", weights)


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UsageError, match="not finite"):
        fuse([run_of({"x": math.inf})], "minmax")


class Fixed:
    """A retriever that knows one ranking."""

    def __init__(self, scores: dict[str, float]) -> None:
        self.scores = scores

    def search(self, texts, k: int) -> Run:
        ranked = sorted(self.scores.items(), key=lambda item: -item[1])[:k]
        return Run.from_rows((q, [d for d, _ in ranked], [s for _, s in ranked]) for q in texts)


def test_a_hybrid_asks_as_deep_as_its_weights_were_tuned_for() -> None:
    a, b = Fixed({"x": 3.0, "y": 2.0, "z": 1.0}), Fixed({"z": 9.0, "y": 1.0, "x": 0.0})
    hybrid = HybridRetriever([a, b], "minmax", [0.75, 0.25], depth=2)
    assert hybrid.search({"q1": "?", "q2": "?"}, 2)["q2"] == pytest.approx({"x": 0.75, "z": 0.25})
    assert len(hybrid.search({"q": "?"}, 100)["q"]) == 3
    for k, depth in ((0, 1), (1, 0)):
        with pytest.raises((QueryError, UsageError), match="at least 1"):
            HybridRetriever([a, b], depth=depth).search({"q": "?"}, k)
