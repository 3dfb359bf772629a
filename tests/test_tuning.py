"""Weights: the grid finds what is best, the test set stays unseen, the file says where from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lsr.datasets import load_dataset
from lsr.errors import UsageError
from lsr.measures import evaluate
from lsr.retrieval import Development, fuse, tune
from lsr.retrieval.tuning import simplex
from lsr.systems import System, read_systems, write_systems
from lsr.types import Query, Run

N = 40
QRELS = {f"q{i}": {f"d{i}": 1} for i in range(N)}
DEVELOPMENT = Development(
    "toy", "dev", "0" * 16, tuple(Query(q, f"text of {q}") for q in QRELS), QRELS, 0
)


def noisy(noise: float, seed: int) -> Run:
    """The relevant document of each query scores 1 plus noise, twenty others noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for number, query_id in enumerate(QRELS):
        ids = [f"d{(number + j) % N}" for j in range(21)]
        scores = noise * rng.normal(size=21) + np.eye(1, 21)[0]
        order = np.argsort(-scores)
        rows.append((query_id, [ids[j] for j in order], scores[order]))
    return Run.from_rows(rows)


def test_no_weighting_of_the_grid_beats_the_one_that_is_chosen() -> None:
    runs = [noisy(0.6, 1), noisy(0.5, 2), noisy(2.0, 3)]
    tuned = tune(runs, ["a", "b", "c"], DEVELOPMENT, steps=6, depth=15)
    origin = tuned.tuned
    assert origin is not None
    grid = {
        weights: evaluate(fuse(runs, "zscore", weights, depth=15), QRELS, ["nDCG@10"]).means[
            "nDCG@10"
        ]
        for weights in simplex(3, 6)
    }
    assert len(grid) == 28
    assert origin.value == pytest.approx(max(grid.values()), abs=1e-12)
    closest = min(grid, key=lambda w: np.abs(np.subtract(w, tuned.weights)).max())
    assert grid[closest] == pytest.approx(origin.value, abs=1e-12)
    assert tuned.weights[2] < 1 / 3  # the noisiest says least
    alone = [evaluate(run, QRELS, ["nDCG@10"]).means["nDCG@10"] for run in runs]
    assert origin.alone == pytest.approx(alone, abs=1e-12)
    assert origin.value > max(origin.alone)


def test_where_all_weights_are_as_good_equal_ones_are_chosen() -> None:
    perfect = noisy(0.0, 0)
    tuned = tune([perfect, perfect], ["a", "b"], DEVELOPMENT)
    assert tuned.weights == (0.5, 0.5)
    origin = tuned.tuned
    assert origin is not None
    assert origin.value == origin.held_out == origin.alike == 1.0


def test_held_out_queries_had_no_say_in_their_own_weights() -> None:
    """Pure noise: the best of 231 points looks better than it is, held out it does not."""
    runs = [noisy(50.0, seed) for seed in range(3)]
    tuned = tune(runs, ["a", "b", "c"], DEVELOPMENT)
    origin = tuned.tuned
    assert origin is not None
    assert origin.value > origin.alike + 0.02
    assert origin.held_out < origin.value - 0.02


def test_the_file_brings_back_what_was_written(tmp_path: Path) -> None:
    tuned = tune([noisy(0.6, 1), noisy(0.5, 2)], ['say "a"', "dense:/m/é"], DEVELOPMENT)
    assert tuned.name == 'say "a" + é'
    write_systems(tmp_path / "w.toml", [tuned, System("plain", ("bm25",))])
    assert read_systems(tmp_path / "w.toml") == [tuned, System("plain", ("bm25",))]
    assert 'dataset = "toy"' in (tmp_path / "w.toml").read_text(encoding="utf-8")


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """q1 is a test query; q2 says what it says; q3 and q4 are nobody's but train's."""
    folder = tmp_path / "toy"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "text": "tea"}\n')
    texts = {"q1": "Is tea green?", "q2": "is  TEA green?", "q3": "coffee", "q4": "milk"}
    (folder / "queries.jsonl").write_text(
        "".join(f'{{"_id": "{q}", "text": "{text}"}}\n' for q, text in texts.items())
    )
    head = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / "test.tsv").write_text(f"{head}q1\td1\t1\n")
    (folder / "qrels" / "dev.tsv").write_text(f"{head}q1\td1\t1\nq2\td1\t1\n")
    rows = "".join(f"{q}\td1\t1\n" for q in texts)
    (folder / "qrels" / "train.tsv").write_text(head + rows)
    return folder


def test_queries_of_the_test_split_are_never_tuned_on(collection: Path) -> None:
    dataset = load_dataset(collection)
    train = Development.of(dataset, "train")
    assert [query.query_id for query in train.queries] == ["q3", "q4"] == list(train.qrels)
    assert train.n_left_out == 2
    with pytest.raises(UsageError, match="figures are published on split 'test'"):
        Development.of(dataset, "test")
    with pytest.raises(UsageError, match="nothing to tune on"):
        Development.of(dataset, "dev")
    assert len(Development.of(dataset, "train", limit=1).queries) == 1


def test_dev_of_ms_marco_is_what_figures_are_published_on(collection: Path) -> None:
    dataset = load_dataset(collection.rename(collection.with_name("msmarco")))
    with pytest.raises(UsageError, match="split 'dev'"):
        Development.of(dataset, "dev")
    assert Development.of(dataset, "train").n_left_out == 2


def test_a_query_s_own_copy_is_no_answer_where_figures_leave_it_out(collection: Path) -> None:
    """ArguAna's queries lie in its corpus; a list that puts them first is the better one."""
    dataset = load_dataset(collection.rename(collection.with_name("arguana")))
    assert Development.of(dataset, "train").convention.self_hits_removed
    with_copies = Run.from_rows((q, [q, d], [2.0, 1.0]) for q, (d,) in QRELS.items())
    last = Run.from_rows((q, ["x", d], [2.0, 1.0]) for q, (d,) in QRELS.items())
    arguana = replace(DEVELOPMENT, convention=Development.of(dataset, "train").convention)
    origin = tune([with_copies, last], ["a", "b"], arguana, measure="RR@10").tuned
    assert origin is not None
    assert origin.alone == (1.0, 0.5)


def test_runs_that_do_not_fit_are_refused() -> None:
    run = noisy(1.0, 1)
    with pytest.raises(UsageError, match="two or more"):
        tune([run], ["a"], DEVELOPMENT)
    with pytest.raises(UsageError, match="each name once"):
        tune([run, run], ["a", "a"], DEVELOPMENT)
    with pytest.raises(UsageError, match="b answers none"):
        tune([run, Run.from_rows([("other", ["d1"], [1.0])])], ["a", "b"], DEVELOPMENT)
    few = replace(DEVELOPMENT, qrels={"q1": {"d1": 1}})
    with pytest.raises(UsageError, match="at least 5"):
        tune([run, run], ["a", "b"], few)
    with pytest.raises(UsageError, match="more than 2,000 weightings"):
        list(simplex(5, 20))


def test_judged_documents_count_however_many_others_stand_before_them() -> None:
    """Weightings were measured on ten documents a query, and retrievers alone on all of them."""
    queries = [f"q{i}" for i in range(6)]
    qrels = {query: {"good": 1, "bad": 0} for query in queries}
    hidden = Run.from_rows((q, ["u1", "u2", "good", "bad"], [4.0, 3.0, 2.0, 1.0]) for q in queries)
    wrong = Run.from_rows((q, ["bad", "good"], [2.0, 1.0]) for q in queries)
    development = Development("toy", "dev", "0" * 16, tuple(Query(q, q) for q in queries), qrels, 0)
    measure = "nDCG(judged_only=True)@2"
    tuned = tune([hidden, wrong], ["a", "b"], development, method="rrf", measure=measure)
    fused = fuse([hidden, wrong], "rrf", tuned.weights)
    assert tuned.tuned is not None
    assert tuned.tuned.value == evaluate(fused, qrels, [measure]).means[measure] == 1.0
