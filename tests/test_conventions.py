"""Official conventions by name, the holes among what was found, and intervals of a mean."""

import ir_measures
import numpy as np
import pytest

from lsr.conventions import Convention, convention_of, conventional
from lsr.measures import evaluate, holes
from lsr.types import Run


@pytest.mark.parametrize(
    "name",
    ["arguana", "quora", "irds:beir/arguana", "nanobeir/quora", "BEIR/Arguana", "NanoArguAna"],
)
def test_the_two_sets_whose_queries_come_from_the_corpus_lose_self_hits(name):
    assert convention_of(name).self_hits_removed


@pytest.mark.parametrize("name", ["scifact", "nfcorpus", "quorum", "my-arguments", "fever"])
def test_other_sets_keep_a_document_that_shares_a_querys_id(name):
    """SciFact's query 1 and document 1 have nothing to do with each other."""
    assert not convention_of(name).self_hits_removed


@pytest.mark.parametrize(
    "name",
    [
        "trec-dl-2019",
        "dl20",
        "msmarco-dl19-mini",
        "irds:msmarco-passage/trec-dl-2020/judged",
        "irds:msmarco-passage/trec-dl-hard",
    ],
)
def test_related_passages_of_the_deep_learning_track_are_not_relevant(name):
    assert convention_of(name).relevant_from == 2


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("irds:msmarco-document/trec-dl-2019", "test"),  # its documents count from grade 1
        ("msmarco", "dev"),
        ("msmarco-dev", None),
        ("dbpedia-entity", None),
        ("dl-papers", None),
    ],
)
def test_elsewhere_grade_one_is_relevant(name, split):
    assert convention_of(name, split).relevant_from == 1


def test_the_split_is_the_one_that_figures_are_quoted_for_unless_asked():
    assert convention_of("msmarco").split == "dev"
    assert convention_of("miracl/sw").split == "dev"
    assert convention_of("scifact").split == "test"
    assert convention_of("scifact", "train").split == "train"
    assert convention_of("irds:beir/msmarco/test").split == "test"
    assert convention_of("irds:beir/msmarco/test").relevant_from == 2
    assert convention_of("irds:miracl/en/train", "dev").split == "dev"


def test_parts_of_cqadupstack_know_their_whole():
    assert convention_of("cqadupstack/tex").part_of == "cqadupstack"
    assert convention_of("irds:beir/cqadupstack/android").part_of == "cqadupstack"
    assert convention_of("android").part_of is None


def test_without_self_hits_k_documents_are_left_in_their_order():
    run = Run.from_rows(
        [("a", ["b", "a", "c", "d"], [4.0, 3.0, 2.0, 1.0]), ("z", ["b", "c", "d"], [3.0, 2.0, 1.0])]
    )
    kept = conventional(run, Convention(self_hits_removed=True), 3)
    assert kept.ranked("a") == [("b", 4.0), ("c", 2.0), ("d", 1.0)]
    assert kept.ranked("z") == run.ranked("z")
    assert conventional(run, Convention(), 3) is run


def test_from_grade_two_binary_measures_change_and_ndcg_does_not():
    qrels = {"q": {"a": 1, "b": 2}}
    run = Run.from_rows([("q", ["a", "b"], [2.0, 1.0])])
    names = ["nDCG@10", "RR@10", "R@1", "AP", "RR(rel=1)@10"]
    plain = evaluate(run, qrels, names).means
    graded = evaluate(run, qrels, names, relevant_from=2).means
    assert plain["nDCG@10"] == graded["nDCG@10"]
    assert (plain["RR@10"], graded["RR@10"]) == (1.0, 0.5)
    assert (plain["R@1"], graded["R@1"]) == (0.5, 0.0)
    assert (plain["AP"], graded["AP"]) == (1.0, 0.5)
    assert graded["RR(rel=1)@10"] == 1.0  # a measure that says its own grade keeps it


def test_holes_are_one_less_judged_of_ir_measures():
    rng = np.random.default_rng(3)
    names = [f"d{i}" for i in range(40)]
    run, qrels = {}, {}
    for query in ("q1", "q2", "q3"):
        run[query] = {d: float(s) for d, s in zip(names, rng.random(40), strict=True)}
        qrels[query] = {d: int(g) for d, g in zip(names[::3], rng.integers(0, 3, 14), strict=True)}
    measure = ir_measures.parse_measure("Judged@10")
    oracle = {m.query_id: 1 - m.value for m in ir_measures.iter_calc([measure], qrels, run)}
    assert holes(run, qrels) == pytest.approx(oracle, abs=1e-9)
    assert 0 < holes(run, qrels)["q1"] < 1


@pytest.mark.parametrize("name", ["nanobeir/msmarco", "irds:nano-beir/msmarco", "NanoMSMARCO"])
def test_ms_marco_of_nanobeir_has_one_split_with_grades_of_1(name):
    """It was taken for that of BEIR: no split by default, and no relevant document of test."""
    assert convention_of(name) == Convention()
    assert convention_of(name, "test").relevant_from == 1
