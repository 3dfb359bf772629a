"""AllSources@k and Sources@k against counting by hand, against sets, and against trec_eval."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.__main__ import run as lsr
from lsr.errors import DatasetError, UsageError
from lsr.measures import evaluate
from lsr.trec import read_sources

DOCS = [f"d{i}" for i in range(8)]
RUNS = st.dictionaries(st.sampled_from(DOCS), st.integers(0, 3).map(float))
GRADES = st.dictionaries(st.sampled_from(DOCS), st.integers(-1, 3), min_size=1)
GROUPS = st.dictionaries(st.sampled_from("xyz"), st.sets(st.sampled_from(DOCS)))


def means(run, qrels, *names, sources=None):
    return evaluate(run, qrels, names, sources=sources).means


def test_a_query_counts_only_when_its_last_source_is_within_the_first_k():
    """q1 needs a and c, found at ranks 1 and 3; q2 needs b, found at rank 1."""
    run = {"q1": {"a": 3.0, "x": 2.0, "c": 1.0}, "q2": {"b": 1.0}}
    qrels = {"q1": {"a": 1, "c": 2, "x": 0}, "q2": {"b": 1}}
    assert means(run, qrels, "AllSources@2", "Sources@2", "AllSources@3") == {
        "AllSources@2": 0.5,
        "Sources@2": 0.75,
        "AllSources@3": 1.0,
    }
    assert means(run, qrels, "AllSources(rel=2)@3", "Sources(rel=2)@2") == {
        "AllSources(rel=2)@3": 0.5,
        "Sources(rel=2)@2": 0.0,
    }


def test_one_document_of_a_group_will_do_for_its_source():
    """a1 or a2 tells the first half of the story, b the second; c is beside the point."""
    run = {"q": {"a2": 3.0, "b": 2.0, "a1": 1.0}}
    qrels = {"q": {"a1": 1, "a2": 1, "b": 1, "c": 1}}
    sources = {"q": {"first half": {"a1", "a2"}, "second half": {"b"}}}
    assert means(run, qrels, "AllSources@2")["AllSources@2"] == 0.0
    assert means(run, qrels, "AllSources@2", sources=sources)["AllSources@2"] == 1.0
    assert means(run, qrels, "Sources@1", sources=sources)["Sources@1"] == 0.5


@given(RUNS, GRADES, st.integers(1, 5), st.integers(1, 3))
def test_without_groups_the_share_is_the_recall_of_trec_eval(run, grades, k, rel):
    """Ties included: the integers of the runs tie often, and both break them by doc_id."""
    ours, theirs = f"Sources(rel={rel})@{k}", f"R(rel={rel})@{k}"
    got = means({"q": run}, {"q": grades}, ours, theirs)
    assert got[ours] == pytest.approx(got[theirs], abs=1e-9)


@given(RUNS, GRADES, GROUPS, st.integers(1, 5))
def test_all_sources_are_there_exactly_when_every_set_meets_the_first_k(run, grades, groups, k):
    """Written with quantifiers over ranks, without counting."""
    ranked = sorted(run, reverse=True)
    ranked.sort(key=lambda doc_id: -run[doc_id])
    asked = [g for g in groups.values() if any(grades.get(d, 0) >= 1 for d in g)]
    every = bool(asked) and all(
        any(d in g and grades.get(d, 0) >= 1 for d in ranked[:k]) for g in asked
    )
    got = means({"q": run}, {"q": grades}, f"AllSources@{k}", f"Sources@{k}", sources={"q": groups})
    assert got[f"AllSources@{k}"] == every
    assert (got[f"Sources@{k}"] == 1.0) == every


def test_unanswered_queries_and_queries_without_sources_count_as_zero():
    qrels = {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 0}}
    run = {"q1": {"a": 1.0}, "q3": {"a": 1.0}}
    evaluation = evaluate(run, qrels, ["AllSources@10", "RR@10"])
    assert evaluation.per_query["AllSources@10"] == {"q1": 1.0, "q2": 0.0, "q3": 0.0}
    assert evaluation.means["AllSources@10"] == evaluation.means["RR@10"]


def test_the_level_is_the_collections_unless_the_name_says():
    """TREC DL counts passages from grade 2; a measure that names a level keeps its own."""
    run, qrels = {"q": {"a": 2.0, "b": 1.0}}, {"q": {"a": 2, "b": 1}}
    names = ["AllSources@1", "AllSources(rel=1)@1"]
    assert evaluate(run, qrels, names, relevant_from=2).means == {
        "AllSources@1": 1.0,
        "AllSources(rel=1)@1": 0.0,
    }


def test_evaluate_reads_sources_from_a_file(tmp_path, capsys):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "a", "text": "ferry"}\n{"_id": "b", "text": "ferry boat"}\n'
        '{"_id": "c", "text": "home again"}\n'
    )
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "ferry home"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("q\ta\t1\nq\tb\t1\nq\tc\t1\n")
    sources = tmp_path / "sources.tsv"
    sources.write_text("q\ta\tout\nq\tb\tout\nq\tc\tback\n")
    command = ["evaluate", str(tmp_path), "--measure", "AllSources@2", "--json"]
    assert lsr(command) == 0
    assert json.loads(capsys.readouterr().out)["measures"] == {"AllSources@2": 0.0}
    assert lsr([*command, "--sources", str(sources)]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["measures"] == {"AllSources@2": 1.0}
    assert f"--sources {sources}" in row["command"]


@pytest.mark.parametrize("name", ["AllSources", "AllSources@0", "Sources(rel=0)@5", "Sources@x"])
def test_a_misspelt_measure_shows_the_right_spelling(name):
    with pytest.raises(UsageError, match="AllSources@10"):
        means({"q": {"a": 1.0}}, {"q": {"a": 1}}, name)


def test_both_layouts_of_the_file_say_the_same(tmp_path):
    beir, trec = tmp_path / "test.tsv", tmp_path / "diversity.qrels"
    beir.write_text("query-id\tcorpus-id\tsource\nq\ta1\tA\nq\ta2\tA\nq\tb\tB\n")
    trec.write_text("q A a1 1\nq A a2 2\nq A c 0\nq B b 1\n")
    expected = {"q": {"A": {"a1", "a2"}, "B": {"b"}}}
    assert read_sources(beir) == read_sources(trec) == expected
    trec.write_text("q A a1 1\nq A\n")
    with pytest.raises(DatasetError, match=r"qrels:2: got 2 columns, wanted 3"):
        read_sources(trec)
