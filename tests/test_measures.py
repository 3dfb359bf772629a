import ast
import math
import shutil
import subprocess
import sys

import pytest

from lsr.errors import DatasetError, UsageError
from lsr.measures import DEFAULT, evaluate, holes, printed_name, spelled
from lsr.types import MAX_GRADE, Run

QRELS = {"q1": {"a": 3, "b": 2, "c": 0, "e": 1}}
needs_perl = pytest.mark.skipif(not shutil.which("perl"), reason="gdeval is written in Perl")
RUN = Run.from_rows([("q1", ["c", "b", "x", "a"], [4.0, 3.0, 2.0, 1.0])])


def test_graded_ndcg_equals_the_sum_done_by_hand():
    """Gain = grade, discount = log2(rank + 1): b (2) at rank 2, a (3) at rank 4; e is not found."""
    dcg = 2 / math.log2(3) + 3 / math.log2(5)
    ideal = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    assert evaluate(RUN, QRELS, ["nDCG@10"]).means["nDCG@10"] == pytest.approx(
        dcg / ideal, abs=1e-9
    )


def test_the_cutoff_of_ndcg_cuts_the_ideal_as_well():
    dcg = 2 / math.log2(3)
    ideal = 3 + 2 / math.log2(3)
    assert evaluate(RUN, QRELS, ["nDCG@2"]).means["nDCG@2"] == pytest.approx(dcg / ideal, abs=1e-9)


def test_the_other_measures_equal_the_sums_done_by_hand():
    """Relevant are a, b and e (grade >= 1); found b at 2 and a at 4."""
    means = evaluate(RUN, QRELS).means
    assert list(means) == list(DEFAULT)
    assert means["RR@10"] == 1 / 2
    assert means["R@100"] == pytest.approx(2 / 3, abs=1e-9)
    assert means["R@1000"] == pytest.approx(2 / 3, abs=1e-9)
    assert means["AP"] == pytest.approx((1 / 2 + 2 / 4) / 3, abs=1e-9)


def test_a_judged_query_without_answer_counts_as_zero():
    """A mean over the answered queries alone would reward an engine for giving up."""
    qrels = {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 1}, "q4": {"a": 1}}
    run = Run.from_rows([("q1", ["a"], [1.0]), ("q2", [], [])])
    evaluation = evaluate(run, qrels)
    assert evaluation.n_queries == 4
    assert evaluation.n_unanswered == 3
    assert evaluation.means == dict.fromkeys(DEFAULT, 0.25)
    assert evaluation.per_query["AP"] == {"q1": 1.0, "q2": 0.0, "q3": 0.0, "q4": 0.0}


def test_an_empty_run_scores_zero_and_does_not_fail():
    assert set(evaluate(Run.from_rows([]), QRELS).means.values()) == {0.0}


def test_a_query_with_nothing_relevant_counts_as_zero():
    """As in trec_eval -c; leaving it out would change the denominator from run to run."""
    evaluation = evaluate({"q1": {"a": 1.0}, "q2": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"a": 0}})
    assert evaluation.means == dict.fromkeys(DEFAULT, 0.5)


def test_queries_without_judgements_change_nothing():
    run = {"q1": dict(RUN.ranked("q1")), "unjudged": {"a": 1.0}}
    assert evaluate(run, QRELS) == evaluate(RUN, QRELS)


def test_evaluating_twice_gives_the_same():
    """pytrec_eval objects have returned other values on their second call."""
    first = evaluate(RUN, QRELS)
    evaluate({"q1": {"a": 1.0}}, QRELS)
    assert evaluate(RUN, QRELS) == first


def test_our_tie_order_survives_trec_eval():
    """trec_eval orders ties by doc_id descending; a Run lowers them, so 'a' stays first here."""
    run = Run.from_rows([("q", ["a", "z"], [1.0, 1.0])])
    assert evaluate(run, {"q": {"a": 1}}, ["RR@10", "nDCG@1"]).means == {
        "RR@10": 1.0,
        "nDCG@1": 1.0,
    }


@pytest.mark.parametrize("measure", ["nDCG@10", "ERR@20", "RR@10"])
def test_a_huge_grade_is_refused_at_once(measure):
    """It took 16 GB and minutes."""
    qrels = {"q": {"a": 1, "b": MAX_GRADE}}
    evaluate({"q": {"a": 1.0}}, qrels, ["nDCG@10"])
    for grade in (2**31 - 1, -(2**70)):
        qrels["q"]["b"] = grade
        with pytest.raises(DatasetError, match=f"'b' of query 'q' has grade {grade}; grades up to"):
            evaluate({"q": {"a": 1.0}}, qrels, [measure])


@pytest.mark.parametrize("measure", ["Judged@10", "Compat", "IPrec@0.1", "nDCG@10", "AP"])
@pytest.mark.parametrize("grade", [1, 0, -1])
def test_an_empty_answer_is_none(measure, grade):
    """Those who compute some of them divided by its length."""
    qrels = {"q": {"a": grade}, "other": {"a": 1}}
    found = [evaluate(run, qrels, [measure]).per_query for run in ({"q": {}}, {}, {"other": {}})]
    assert found[0] == found[1] == found[2]


def test_negative_grades_are_judged_and_not_relevant():
    qrels = {"q": {"a": -2, "b": 1}}
    assert evaluate({"q": {"a": 2.0, "b": 1.0}}, qrels, ["RR@10"]).means["RR@10"] == 0.5


def test_judgements_must_exist():
    with pytest.raises(DatasetError, match="no judgements"):
        evaluate(RUN, {})


@pytest.mark.parametrize("name", ["ndcg10", "nDCG@ten", "", "__import__('os')"])
def test_a_misspelt_measure_is_a_usage_error_with_the_right_spelling(name):
    with pytest.raises(UsageError, match="nDCG@10"):
        evaluate(RUN, QRELS, [name])


@pytest.mark.parametrize("name", ["nDCG@0", "P@0", "RBP(p=0.8)@0", "R@1.5", "nDCG@'ten'"])
def test_a_cutoff_is_a_number_of_documents(name):
    """trec_eval ended the whole process by an assertion in C when it was asked for nDCG@0."""
    with pytest.raises(UsageError, match="a whole number of documents from 1 on"):
        evaluate(RUN, QRELS, [name])


@pytest.mark.parametrize(
    "name",
    ["RBP", "ERR", "P", "Bpref@10", "nDCG(dcg='x')@10", "P(rel='x')@5", "NumRet", "Accuracy@10"],
)
def test_a_measure_that_parses_and_has_no_values_is_refused_with_those_that_have(name):
    """Each ended in an error about a defect of ours, after everything had been encoded."""
    for refused in (spelled, lambda name: evaluate(RUN, QRELS, [name])):
        with pytest.raises(
            UsageError, match=r"cannot be computed; wanted one of AllS.* nDCG, .*RR"
        ):
            refused(name)


@needs_perl
def test_gdeval_takes_queries_of_any_name():
    """It read only numbers, and queries named otherwise ended as a defect of ours."""
    qrels = {"q-7": {"a": 1, "b": 3}, "no answer": {"a": 1}, "7": {"b": 2}}
    run = {"q-7": {"a": 2.0, "b": 1.0}, "7": {"b": 1.0}}
    first = 1 / 16 + (7 / 16) * (15 / 16) / 2  # Chapelle et al., CIKM 2009, with grades up to 4
    values = evaluate(run, qrels, ["ERR@10"]).per_query["ERR@10"]
    assert values == pytest.approx(
        {"q-7": first, "no answer": 0, "7": 3 / 16}, abs=5e-6
    )  # 5 digits


@needs_perl
@pytest.mark.parametrize(("doc_id", "grade"), [("a", 5), ("a b", 1)])
def test_what_gdeval_refuses_is_an_error_of_the_data(doc_id, grade):
    with pytest.raises(
        DatasetError, match=r"ERR@5: gdeval.* wanted grades up to 4 and ids without"
    ):
        evaluate({"q": {doc_id: 1.0}}, {"q": {doc_id: grade}}, ["ERR@5"])


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("ndcg@10", "nDCG@10"),
        ("MRR@10", "RR@10"),
        ("recall@100", "R@100"),
        ("map", "AP"),
        ("p(rel=2)@5", "P(rel=2)@5"),
        ("RR(rel=1)@10", "RR(rel=1)@10"),
        ("setrelp", "SetRelP"),
        ("sources@5", "Sources@5"),
    ],
)
def test_the_case_of_a_measure_says_nothing(typed, name):
    assert spelled(typed) == name


def test_means_are_printed_under_their_usual_names():
    assert [printed_name(m) for m in DEFAULT] == ["nDCG@10", "MRR@10", "R@100", "R@1000", "MAP"]


@pytest.mark.parametrize("grade", [-1, -2, -10_000])
@pytest.mark.parametrize("names", [["nDCG@10", "AP"], ["nDCG", "SetP"], ["RR@10", "Judged@10"]])
def test_a_query_of_negative_grades_alone_counts_as_nothing(grade, names):
    """trec_eval died of it, or never ended: in a process of its own, with a limit."""
    code = (
        "from lsr.measures import evaluate\n"
        f"qrels = {{'q1': {{'a': {grade}}}, 'q2': {{'a': 1}}}}\n"
        "run = {'q1': {'a': 1.0, 'b': 0.5}, 'q2': {'a': 1.0}}\n"
        f"for _ in range(20): found = evaluate(run, qrels, {names!r}).per_query\n"
        "print({name: row for name, row in found.items() if not name.startswith('Judged')})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    values = ast.literal_eval(done.stdout)
    assert all(row == {"q1": 0.0, "q2": 1.0} for row in values.values()), values


def test_ties_of_a_mapping_are_broken_alike_by_every_measure():
    """RR@10 ranked two documents the other way round from all others."""
    means = evaluate(
        {"q": {"a": 1.0, "b": 1.0, "c": 1.0 + 1e-9}},
        {"q": {"c": 1}},
        ["RR", "RR@10", "AP", "P@1", "nDCG@1", "AllSources@1"],
    ).means
    assert set(means.values()) == {1.0}
    assert holes({"q": {"a": 1.0, "b": 1.0}}, {"q": {"b": 1}}, cutoff=1) == {"q": 0.0}
