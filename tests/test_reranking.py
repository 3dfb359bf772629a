"""Samplers, aggregations and re-rankers, each against something that does not share its code."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lsr.datasets import load_dataset
from lsr.errors import DatasetError, UsageError, VectorError
from lsr.reranking import (
    AGGREGATIONS,
    SAMPLERS,
    KeptPreferences,
    NoisyOracle,
    PairwiseReranker,
    PointwiseReranker,
    PreferenceModel,
    Preferences,
    RerankedRetriever,
    ScorePreference,
    aggregate,
    rank,
    rerank,
    sample_pairs,
    texts_of,
)
from lsr.reranking.aggregation import bradley_terry, kwiksort, kwiksort_asking, pagerank
from lsr.types import Retriever, Run


def preferences(n: int, pairs, probabilities) -> Preferences:
    rows = np.array(list(pairs), np.int32).reshape(-1, 2)
    return Preferences(n, rows, np.asarray(list(probabilities), np.float32))


def complete(order: list[int]) -> Preferences:
    """Every comparison, answered without error by a true order, best first."""
    place = {document: i for i, document in enumerate(order)}
    pairs = list(itertools.permutations(range(len(order)), 2))
    return preferences(len(order), pairs, [place[a] < place[b] for a, b in pairs])


@st.composite
def sparse_preferences(draw) -> Preferences:
    n = draw(st.integers(2, 9))
    every = list(itertools.permutations(range(n), 2))
    pairs = draw(st.lists(st.sampled_from(every), unique=True, min_size=1))
    answers = st.floats(0, 1, width=32)
    return preferences(n, pairs, draw(st.lists(answers, min_size=len(pairs), max_size=len(pairs))))


# Samplers


def test_the_exhaustive_window_compares_each_with_the_next_m_of_the_ring() -> None:
    pairs = sample_pairs(6, "exhaustive", 0.4)  # 2 of 5 others
    assert {tuple(p) for p in pairs.tolist()} == {
        (i, (i + d) % 6) for i in range(6) for d in (1, 2)
    }


def test_the_skip_window_leaves_places_out_and_goes_on_where_the_ring_closes() -> None:
    """Of 6 documents, steps of 3 close after one distance; the next is one place further."""
    pairs = sample_pairs(6, "skip", 0.6, skip=3)
    distances = {(b - a) % 6 for a, b in pairs.tolist()}
    assert distances == {3, 1, 4}
    assert len(pairs) == 18
    spread = sample_pairs(50, "skip", 0.1)  # 5 of 49, so 9 places apart
    assert {(b - a) % 50 for a, b in spread.tolist()} == {9, 18, 27, 36, 45}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("symmetric", [False, True])
@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 40), budget=st.floats(0.01, 1), seed=st.integers(0, 5))
def test_every_sampler_keeps_its_budget_and_asks_nothing_twice(
    sampler, symmetric, n, budget, seed
) -> None:
    pairs = sample_pairs(n, sampler, budget, seed=seed, symmetric=symmetric)
    asked = {tuple(pair) for pair in pairs.tolist()}
    assert len(asked) == len(pairs)
    assert all(a != b and 0 <= a < n and 0 <= b < n for a, b in asked)
    # m is rounded; in both orders that costs up to n, and the distance k / 2 is half of others.
    slack = n * (2.0 if symmetric else 0.5) + 2
    wanted = budget * n * (n - 1)
    assert len(pairs) <= max(wanted + slack, 2 * n)
    assert len(pairs) >= min(wanted - slack, n * (n - 1))
    if symmetric:
        assert asked == {(b, a) for a, b in asked}
    elif sampler == "random":
        assert len(set(np.bincount(pairs[:, 0], minlength=n))) == 1
    again = sample_pairs(n, sampler, budget, seed=seed, symmetric=symmetric)
    np.testing.assert_array_equal(pairs, again)
    if budget == 1:
        assert len(pairs) == n * (n - 1)


def test_a_random_sample_is_another_one_for_another_seed_and_uniform() -> None:
    drawn = np.zeros((12, 12))
    for seed in range(400):
        a, b = sample_pairs(12, "random", 3 / 11, seed=seed).T
        drawn[a, b] += 1
    counts = drawn[~np.eye(12, dtype=bool)]
    # 132 cells of about 109 draws each; dependent only through their row sums.
    assert stats.chisquare(counts).pvalue > 0.001
    assert drawn.diagonal().sum() == 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"sampler": "skip", "budget": 0.0}, "budget of 0"),
        ({"sampler": "skip", "budget": 1.5}, "at most 1"),
        ({"sampler": "some", "budget": 0.5}, "exhaustive, skip, random"),
        ({"sampler": "random", "budget": 0.5, "skip": 2}, "with skip"),
        ({"sampler": "skip", "budget": 0.5, "skip": 0}, "1 or more"),
    ],
)
def test_what_cannot_be_sampled_is_named(call, said) -> None:
    with pytest.raises(UsageError, match=said):
        sample_pairs(5, **call)


# Aggregations


@pytest.mark.parametrize("how", AGGREGATIONS)
@given(order=st.permutations(range(9)), seed=st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_every_aggregation_recovers_the_order_from_complete_noiseless_preferences(
    how, order, seed
) -> None:
    assert rank(aggregate(complete(order), how, seed=seed)).tolist() == list(order)


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_nothing_compared_leaves_the_first_stage_order(how) -> None:
    nothing = preferences(4, [], [])
    assert rank(aggregate(nothing, how)).tolist() == [0, 1, 2, 3]
    assert rank(aggregate(preferences(0, [], []), how)).tolist() == []


@pytest.mark.parametrize("how", AGGREGATIONS)
@given(sparse_preferences())
@settings(max_examples=30, deadline=None)
def test_every_aggregation_gives_finite_scores_for_whatever_was_compared(how, given) -> None:
    scores = aggregate(given, how)
    assert scores.shape == (given.n_documents,)
    assert np.isfinite(scores).all()


@given(sparse_preferences())
@settings(max_examples=30, deadline=None)
def test_additive_sums_p_for_the_first_and_its_complement_for_the_second(given) -> None:
    wanted = [0.0] * given.n_documents
    for (a, b), p in zip(given.pairs.tolist(), given.probabilities.tolist(), strict=True):
        wanted[a] += p
        wanted[b] += 1 - p
    np.testing.assert_allclose(aggregate(given, "additive"), wanted, atol=1e-12)


@given(sparse_preferences())
@settings(max_examples=40, deadline=None)
def test_bradley_terry_is_where_hunters_mm_algorithm_ends(given) -> None:
    """An other road to the same maximum (Hunter 2004), the dummy being one more player."""
    n, smoothing = given.n_documents, 0.2
    won = np.zeros((n + 1, n + 1))
    for (a, b), p in zip(given.pairs.tolist(), given.probabilities.tolist(), strict=True):
        won[a, b] += p
        won[b, a] += 1 - p
    won[n, :n] = won[:n, n] = smoothing
    games = won + won.T
    strength = np.ones(n + 1)
    for _ in range(20_000):
        before = strength
        strength = won.sum(axis=1) / (games / (strength[:, None] + strength[None, :])).sum(axis=1)
        strength /= strength[n]
        if np.abs(np.log(strength / before)).max() < 1e-10:
            break
    np.testing.assert_allclose(bradley_terry(given), np.log(strength[:n]), atol=2e-3)


@given(sparse_preferences())
@settings(max_examples=30, deadline=None)
def test_greedy_does_what_cohen_schapire_and_singer_wrote_down(given) -> None:
    """Their figure 2, word for word: PREF as a table, 1/2 for what is not known."""
    n = given.n_documents
    answers: dict[tuple[int, int], list[float]] = {}
    for (a, b), p in zip(given.pairs.tolist(), given.probabilities.tolist(), strict=True):
        answers.setdefault((a, b), []).append(p)
        answers.setdefault((b, a), []).append(1 - p)
    pref = {pair: sum(said) / len(said) for pair, said in answers.items()}

    def potential(v: int, among: set[int]) -> float:
        return math.fsum(pref.get((v, u), 0.5) - pref.get((u, v), 0.5) for u in among if u != v)

    left, order = set(range(n)), rank(aggregate(given, "greedy")).tolist()
    for chosen in order:
        best = max(potential(v, left) for v in left)
        assert potential(chosen, left) == pytest.approx(best, abs=1e-9)
        left.remove(chosen)


@given(sparse_preferences())
@settings(max_examples=30, deadline=None)
def test_pagerank_is_the_leading_eigenvector_of_the_google_matrix(given) -> None:
    n = given.n_documents
    edges = np.zeros((n, n))
    for (a, b), p in zip(given.pairs.tolist(), given.probabilities.tolist(), strict=True):
        loser, winner, weight = (b, a, p) if p >= 0.5 else (a, b, 1 - p)
        edges[loser, winner] += weight
    sums = edges.sum(axis=1)
    step = np.array(
        [row / s if s > 0 else np.full(n, 1 / n) for row, s in zip(edges, sums, strict=True)]
    )
    values, vectors = np.linalg.eig((0.85 * step + 0.15 / n).T)
    leading = np.real(vectors[:, np.argmax(values.real)])
    np.testing.assert_allclose(pagerank(given), leading / leading.sum(), atol=1e-9)
    assert pagerank(given).sum() == pytest.approx(1)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(0, 4))
@settings(max_examples=30, deadline=None)
def test_kwiksort_is_a_stable_sort_where_the_answers_are_transitive(values, seed) -> None:
    pairs = list(itertools.permutations(range(len(values)), 2))
    answers = [0.5 if values[a] == values[b] else float(values[a] > values[b]) for a, b in pairs]
    got = rank(kwiksort(preferences(len(values), pairs, answers), seed=seed)).tolist()
    assert got == sorted(range(len(values)), key=lambda i: -values[i])


def test_kwiksort_asks_for_no_more_than_it_needs() -> None:
    truth = np.random.default_rng(0).permutation(50)
    seen = set()

    def ask(pairs):
        seen.update(frozenset(pair) for pair in pairs.tolist())
        return (truth[pairs[:, 0]] < truth[pairs[:, 1]]).astype(np.float32)

    made = []
    for seed in range(20):
        seen.clear()
        scores, asked = kwiksort_asking(50, ask, seed=seed)
        assert rank(scores).tolist() == np.argsort(truth).tolist()
        assert asked == len(seen), "no pair is asked twice"
        made.append(asked)
    # Quicksort's expectation, 2 (k + 1) H_k - 4 k; of 20 runs, about five standard errors.
    expected = 2 * 51 * sum(1 / i for i in range(1, 51)) - 200
    assert np.mean(made) == pytest.approx(expected, rel=0.12)


def test_a_cycle_is_broken_by_the_pivot() -> None:
    """0 beats 1 beats 2 beats 0: each rotation keeps the two orders that hold its pivot."""
    cycle = preferences(3, [(0, 1), (1, 2), (2, 0)], [1, 1, 1])
    seen = {tuple(rank(kwiksort(cycle, seed=seed)).tolist()) for seed in range(20)}
    assert seen == {(0, 1, 2), (1, 2, 0), (2, 0, 1)}


def test_an_unknown_aggregation_and_a_bad_probability_are_named() -> None:
    with pytest.raises(UsageError, match="kwiksort"):
        aggregate(complete([0, 1]), "borda")  # type: ignore[arg-type]
    for bad in (1.5, -0.1, math.nan):
        with pytest.raises(VectorError, match=r"\[0, 1\]"):
            preferences(2, [(0, 1)], [bad])
    with pytest.raises(VectorError, match="one for each row"):
        preferences(2, [(0, 1)], [0.5, 0.5])


# Models


def oracle(error: float, **options) -> NoisyOracle:
    grades = {"q": {f"t{i}": 20 - i for i in range(20)}}
    return NoisyOracle(grades, error, **options)


def test_an_oracle_errs_as_often_as_it_says_and_always_alike() -> None:
    model = oracle(0.2)
    assert isinstance(model, PreferenceModel)
    grades = {"q": {f"t{i}": i % 2 for i in range(120)}}
    pairs = [(f"t{i}", f"t{j}") for i in range(1, 120, 2) for j in range(0, 120, 2)]
    first, second = map(list, zip(*pairs, strict=True))
    answers = NoisyOracle(grades, 0.2).prefer("q", first, second)
    # 3,600 answers that should be 1: five standard errors of a share of 0.8 are 0.033.
    assert answers.mean() == pytest.approx(0.8, abs=0.033)
    swapped = NoisyOracle(grades, 0.2).prefer("q", second, first)
    assert swapped.mean() == pytest.approx(0.2, abs=0.033)
    both_wrong = ((answers == 0) & (swapped == 1)).mean()
    assert both_wrong == pytest.approx(0.04, abs=0.017), "the orders err on their own"
    one_by_one = [NoisyOracle(grades, 0.2).prefer("q", [a], [b])[0] for a, b in pairs[:50]]
    assert one_by_one == answers[:50].tolist()
    assert NoisyOracle(grades, 0.2, seed=1).prefer("q", first, second).tolist() != answers.tolist()
    biased = NoisyOracle(grades, 0.2, position_bias=0.5).prefer("q", second, first)
    assert biased.mean() == pytest.approx(0.5 + 0.5 * 0.2, abs=0.042)


def test_an_oracle_tosses_a_coin_where_no_answer_is_right() -> None:
    texts = [f"t{i}" for i in range(60)]
    pairs = list(itertools.permutations(texts, 2))
    answers = NoisyOracle({}, 0.0).prefer("q", *map(list, zip(*pairs, strict=True)))
    # 3,540 coins: five standard errors are 0.042.
    assert answers.mean() == pytest.approx(0.5, abs=0.042)


def test_scores_become_preferences_by_their_difference() -> None:
    values = {"a": 0.3, "b": 0.2, "c": 0.2}

    def scores_of(query, texts):
        assert len(set(texts)) == len(texts)
        return np.array([values[t] for t in texts], np.float32)

    plain = ScorePreference("s", scores_of, "0" * 16, temperature=0.05)
    got = plain.prefer("q", ["a", "b", "b"], ["b", "a", "c"])
    np.testing.assert_allclose(got, [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2)), 0.5], atol=1e-5)
    noisy = ScorePreference("s", scores_of, "0" * 16, temperature=0.05, noise=1.0)
    texts = [f"n{i}" for i in range(40)]
    values |= dict.fromkeys(texts, 0.1)
    pairs = list(itertools.permutations(texts, 2))
    p = noisy.prefer("q", *map(list, zip(*pairs, strict=True))).astype(np.float64)
    drawn = np.log(p / (1 - p))
    # 1,560 draws of N(0, 1): five standard errors of mean and deviation are 0.13 and 0.09.
    assert drawn.mean() == pytest.approx(0, abs=0.13)
    assert drawn.std() == pytest.approx(1, abs=0.09)
    assert plain.fingerprint != noisy.fingerprint


def test_what_was_asked_once_is_kept_and_a_torn_record_is_asked_again(tmp_path) -> None:
    texts = [f"t{i}" for i in range(8)]
    first, second = map(list, zip(*itertools.permutations(texts, 2), strict=True))
    kept = KeptPreferences(oracle(0.3), tmp_path)
    answers = kept.prefer("q", first + first, second + second)
    assert kept.asked == 56
    np.testing.assert_array_equal(answers[:56], oracle(0.3).prefer("q", first, second))
    again = KeptPreferences(oracle(0.3), tmp_path)
    np.testing.assert_array_equal(again.prefer("q", first, second), answers[:56])
    assert again.asked == 0
    assert again.prefer("another", ["t1"], ["t2"]).shape == (1,)
    assert again.asked == 1
    assert KeptPreferences(oracle(0.4), tmp_path).path != kept.path

    raw = bytearray(kept.path.read_bytes()[: 56 * 24 - 5])  # a kill in the middle of a record
    raw[18] ^= 1  # and a flipped bit in the first answer
    kept.path.write_bytes(raw)
    resumed = KeptPreferences(oracle(0.3), tmp_path)
    assert len(resumed) == 54
    np.testing.assert_array_equal(resumed.prefer("q", first, second), answers[:56])
    assert resumed.asked == 2
    assert len(KeptPreferences(oracle(0.3), tmp_path)) == 56


# Re-rankers


def test_a_pairwise_reranker_asks_only_what_its_budget_buys_and_finds_the_order() -> None:
    texts = [f"t{i}" for i in reversed(range(20))]
    model = KeptCounter(oracle(0.0))
    scores = PairwiseReranker(model, budget=1.0, aggregation="bradley-terry").score("q", texts)
    assert [texts[i] for i in rank(scores)] == [f"t{i}" for i in range(20)]
    assert model.n == 380
    model.n = 0
    PairwiseReranker(model, budget=0.3).score("q", texts)
    assert model.n == 20 * round(0.3 * 19)
    assert PairwiseReranker(model).score("q", ["t1"]).tolist() == [0.0]


class KeptCounter:
    """Counts what a model is asked."""

    def __init__(self, model) -> None:
        self.model, self.n = model, 0
        self.name, self.fingerprint = model.name, model.fingerprint

    def prefer(self, query, first, second):
        self.n += len(first)
        return self.model.prefer(query, first, second)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_asked_in_both_orders_a_model_that_only_likes_the_first_says_nothing(
    sampler, aggregation
) -> None:
    texts = [f"t{i}" for i in (3, 1, 4, 15, 9, 2, 6, 5, 8, 7)]
    blind = oracle(0.0, position_bias=1.0)
    reranker = PairwiseReranker(
        blind, sampler=sampler, aggregation=aggregation, budget=1.0, symmetric=True
    )
    assert rank(reranker.score("q", texts).round(9)).tolist() == list(range(10))


class Lengths:
    """A pointwise scorer whose truth is plain: the longer text is better."""

    name = "lengths"

    def score(self, queries, documents):
        assert len(queries) == len(documents)
        return np.array([len(d) for d in documents], np.float32)


RUN = Run.from_rows(
    [("q1", ["a", "b", "c", "d"], [9.0, 8.0, 7.0, 6.0]), ("q2", ["d"], [1.0]), ("q3", [], [])]
)
TEXTS = {"a": "x", "b": "xx", "c": "xx", "d": "xxxx"}
QUERIES = {"q1": "one", "q2": "two", "q3": "three"}


def test_only_the_head_is_ordered_again_and_what_is_below_stays_below() -> None:
    got = rerank(RUN, QUERIES, TEXTS, PointwiseReranker(Lengths()), depth=3)
    assert list(got["q1"]) == ["b", "c", "a", "d"]  # b and c tie, and stay as they were
    assert list(got["q2"]) == ["d"]
    assert got["q3"] == {}
    scores = list(got["q1"].values())
    assert all(a > b for a, b in itertools.pairwise(scores))
    with pytest.raises(UsageError, match="depth of 0"):
        rerank(RUN, QUERIES, TEXTS, PointwiseReranker(Lengths()), depth=0)
    with pytest.raises(DatasetError, match="no text of document 'b'"):
        rerank(RUN, QUERIES, {"a": ""}, PointwiseReranker(Lengths()))


class FirstStage:
    """Finds all documents, alphabetically."""

    def search(self, texts, k):
        found = sorted(TEXTS)[:k]
        return Run.from_rows((q, found, np.linspace(1, 0, len(found))) for q in texts)


def test_a_reranked_retriever_looks_deep_and_returns_k() -> None:
    retriever = RerankedRetriever(FirstStage(), PointwiseReranker(Lengths()), TEXTS, depth=4)
    assert isinstance(retriever, Retriever)
    assert list(retriever.search({"q": "any"}, 2)["q"]) == ["d", "b"]
    shallow = RerankedRetriever(FirstStage(), PointwiseReranker(Lengths()), TEXTS, depth=2)
    assert list(shallow.search({"q": "any"}, 3)["q"]) == ["b", "a", "c"]


def test_texts_are_found_by_id_and_a_foreign_run_is_named(tmp_path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        '{"_id": "a", "title": "One", "text": "two"}\n{"_id": "b", "text": "three"}\n'
    )
    assert texts_of(load_dataset(corpus), ["b", "a", "b"]) == {"a": "One two", "b": "three"}
    with pytest.raises(DatasetError, match="no document 'x', nor 1"):
        texts_of(load_dataset(corpus), ["y", "a", "x"])
