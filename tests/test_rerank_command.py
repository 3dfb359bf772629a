"""`lsr rerank` from run file to run file, and its study, on a collection of twelve documents."""

import json
from pathlib import Path

import numpy as np
import pytest

from lsr.__main__ import run
from lsr.datasets import load_dataset
from lsr.reranking import NoisyOracle, PairwiseReranker, rerank, texts_of
from lsr.reranking.study import study_sparsity
from lsr.trec import read_run, write_run
from lsr.types import Run

N = 12


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three queries; document i has grade i // 4 for all; the first stage knows nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LSR_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"d{i}", "text": f"text {i}"}) + "\n" for i in range(N))
    )
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{i}", "text": f"question {i}"}) + "\n" for i in range(3))
    )
    rows = [f"q{q}\td{i}\t{i // 4}\n" for q in range(3) for i in range(N)]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    orders = [np.random.default_rng(q).permutation(N) for q in range(3)]
    first = Run.from_rows(
        (f"q{q}", [f"d{i}" for i in order], np.arange(N, 0, -1)) for q, order in enumerate(orders)
    )
    write_run(tmp_path / "first.trec", first)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert run(["rerank", "first.trec", "--on", "tiny", *words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert isinstance(answer, dict)
    return answer


def test_an_oracle_without_error_ranks_by_grade(world: Path, capsys) -> None:
    answer = told(capsys, "--with", "oracle:0", "--budget", "1", "--output", "new.trec")
    assert answer["first_stage"]["nDCG@10"] < 0.95
    assert answer["reranked"]["nDCG@10"] == pytest.approx(1.0)
    assert answer["comparisons"] == 3 * N * (N - 1)
    assert answer["share"] == 1.0
    new = read_run(world / "new.trec")
    for query_id in new:
        assert [int(d[1:]) // 4 for d in new[query_id]] == [2] * 4 + [1] * 4 + [0] * 4


def test_the_command_does_what_the_library_does(world: Path, capsys) -> None:
    words = ("--sampler", "random", "--aggregation", "kwiksort", "--budget", "0.4", "--seed", "3")
    answer = told(
        capsys, "--with", "oracle:0.3:0.1", "--depth", "7", *words, "--output", "new.trec"
    )
    assert answer["reranker"] == "oracle:0.3:0.1 random kwiksort 0.4"
    assert answer["comparisons"] == 3 * 7 * 2
    source = load_dataset("tiny")
    first = read_run(world / "first.trec")
    queries = {query.query_id: query.text for query in source.queries()}
    texts = texts_of(source, set(first.doc_ids))
    grades = {
        queries[q]: {texts[d]: grade for d, grade in row.items()}
        for q, row in source.qrels().items()
    }
    model = NoisyOracle(grades, 0.3, position_bias=0.1, seed=3)
    reranker = PairwiseReranker(model, sampler="random", aggregation="kwiksort", budget=0.4, seed=3)
    wanted = rerank(first, queries, texts, reranker, depth=7)
    new = read_run(world / "new.trec")
    assert {q: list(new[q]) for q in new} == {q: list(wanted[q]) for q in wanted}
    assert list(new["q0"])[7:] == list(first["q0"])[7:]


def test_people_are_told_what_was_compared_and_what_comes_next(world: Path, capsys) -> None:
    assert run(["rerank", "first.trec", "--on", "tiny", "--with", "oracle:0.1"]) == 0
    printed = capsys.readouterr().out
    assert "compared   144 comparisons     36.4% of all" in printed
    assert printed.splitlines()[-1] == (
        "next       lsr rerank first.trec --on tiny --with oracle:0.1 --output reranked.trec"
    )


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["--with", "oracle:often"], "oracle:ERROR", 2),
        (["--with", "oracle:1.5"], "wanted 0 to 1", 2),
        (["--with", "magic"], "cross-encoder:FOLDER", 2),
        (["--with", "duo:nowhere"], "no such folder", 1),
        (["--with", "oracle:0.1", "--method", "pointwise"], "--method pairwise", 2),
        (["--with", "oracle:0.1", "--depth", "0"], "1 document or more", 2),
        (["--with", "oracle:0.1", "--study", "s", "--output", "o"], "leave --method", 2),
        (["--with", "oracle:0.1", "--study", "s", "--sampler", "skip"], "--sampler has no", 2),
        (["--with", "oracle:0.1", "--study", "s", "--aggregation", "greedy"], "--aggregation", 2),
        (["--with", "oracle:0.1", "--study", "s", "--budget", "0.33"], "--budget has no", 2),
        (["--with", "dense:x", "--method", "pointwise", "--noise", "1"], "--noise has no", 2),
        (["--with", "dense:x", "--budget", "0.2"], "--budget has no meaning with --method", 2),
        (["--with", "oracle:0.1", "--split", "train"], "no split 'train'", 1),
    ],
)
def test_what_cannot_be_done_is_said(world: Path, capsys, words, said: str, code: int) -> None:
    assert run(["rerank", "first.trec", "--on", "tiny", *words]) == code
    assert said in capsys.readouterr().err


def test_the_next_command_names_the_collection_as_it_was_given(world: Path, capsys, monkeypatch):
    (world / "below").mkdir()
    monkeypatch.chdir(world / "below")
    words = ["../first.trec", "--on", "../tiny", "--with", "oracle:0", "--output", "new.trec"]
    assert run(["rerank", *words]) == 0
    following = capsys.readouterr().out.splitlines()[-1].split()
    assert following == ["next", *["lsr", "evaluate", "../tiny", "--from-run", "new.trec"]]
    assert run(following[2:]) == 0


def test_a_run_over_something_else_is_named(world: Path, capsys) -> None:
    write_run(world / "other.trec", Run.from_rows([("q0", ["x9"], [1.0])]))
    assert run(["rerank", "other.trec", "--on", "tiny", "--with", "oracle:0"]) == 1
    assert "no document 'x9'" in capsys.readouterr().err
    write_run(world / "other.trec", Run.from_rows([("z", ["d1"], [1.0])]))
    assert run(["rerank", "other.trec", "--on", "tiny", "--with", "oracle:0"]) == 1
    assert "answers none of the 3 queries" in capsys.readouterr().err


@pytest.mark.slow  # matplotlib draws for some seconds
def test_a_study_writes_numbers_a_table_and_plots(world: Path, capsys) -> None:
    pytest.importorskip("matplotlib")
    assert (
        run(
            [
                "rerank",
                "first.trec",
                "--on",
                "tiny",
                "--with",
                "oracle:0.2",
                "--study",
                "out/s",
                "--repeats",
                "1",
                "--method",
                "pairwise",
            ]
        )
        == 0
    )
    following = capsys.readouterr().out.splitlines()[-1].split()
    assert following[:5] == ["next", "lsr", "rerank", "first.trec", "--on"]
    assert following.count("--method") == 1
    study = json.loads((world / "out" / "s.json").read_text())
    few = [p for p in study["points"] if p["budget"] < 0.34]
    best = max(few, key=lambda p: p["value"])
    names = ("sampler", "aggregation", "budget")
    chosen = [following[following.index(f"--{name}") + 1] for name in names]
    assert chosen[:2] == [best["sampler"], best["aggregation"]]
    assert float(chosen[2]) == pytest.approx(best["budget"], abs=1e-5)
    assert run(following[2:]) == 0
    assert len(study["points"]) == 3 * 5 * 10
    complete = [p for p in study["points"] if p["budget"] == 1.0]
    for point in complete:
        assert point["share"] == 1.0
        assert point["value"] == pytest.approx(study["complete"][point["aggregation"]], abs=1e-5)
        assert point["loss"] == 0
    assert study["asking"][0] < 0.5
    table = (world / "out" / "s.md").read_text()
    assert table.count("\n| ") == 2 + 15
    assert (
        "`lsr rerank first.trec --on tiny --with oracle:0.2 --method pairwise --study s`" in table
    )
    assert (world / "out" / "s.png").read_bytes()[:4] == b"\x89PNG"
    assert "</svg>" in (world / "out" / "s.svg").read_text()


def test_a_study_is_what_re_ranking_each_way_would_have_given(world: Path) -> None:
    source = load_dataset("tiny")
    first = read_run(world / "first.trec")
    queries = {query.query_id: query.text for query in source.queries()}
    texts = texts_of(source, set(first.doc_ids))
    model = NoisyOracle(
        {q: {texts[f"d{i}"]: i // 4 for i in range(N)} for q in queries.values()}, 0.2
    )
    qrels = source.qrels()
    study = study_sparsity(first, queries, texts, qrels, model, depth=10, repeats=2)
    from lsr.measures import evaluate

    for sampler, aggregation, budget in (
        ("skip", "additive", 0.25), ("exhaustive", "pagerank", 0.1), ("random", "greedy", 0.5)
    ):  # fmt: skip
        means = []
        for seed in range(2):
            reranker = PairwiseReranker(
                model, sampler=sampler, aggregation=aggregation, budget=budget, seed=seed
            )
            # The study ranks the head alone, and so must we.
            run_ = rerank(first, queries, texts, reranker, depth=10)
            head = {q: dict(list(run_[q].items())[:10]) for q in run_}
            means.append(evaluate(head, qrels, ["nDCG@10"]).means["nDCG@10"])
        (point,) = [p for p in study.of(sampler, aggregation) if p.budget == budget]
        assert point.value == pytest.approx(np.mean(means), abs=1e-9)
    flat = study.enough("skip", "additive", within=1.0)
    assert flat == min(p.share for p in study.of("skip", "additive"))
