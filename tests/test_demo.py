import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lsr.commands import _demo_shown as demo_shown
from lsr.commands import demo as demo_module
from lsr.commands.demo import QUESTIONS, demo
from lsr.datasets import load_dataset
from lsr.encoders import said
from lsr.errors import IndexExists
from lsr.types import Document


def run(cache: Path, *arguments: str, encoder: str = "bm25") -> Result:
    given = ["--encoder", encoder, *arguments]
    return CliRunner().invoke(demo, given, env={"LSR_CACHE": str(cache)})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def report(cache: Path) -> dict[str, Any]:
    """What the first run says; the later tests of this module find its index in place."""
    result = run(cache, "--json")
    assert result.exit_code == 0, result.output
    said: dict[str, Any] = json.loads(result.stdout)
    return said


def test_the_demo_measures_every_judged_question(report: dict[str, Any]) -> None:
    dataset = load_dataset("python-docs")
    assert report["n_queries"] == len(dataset.queries())
    assert report["n_docs"] == sum(1 for _ in dataset.documents())
    assert report["n_judgements"] == sum(map(len, dataset.qrels().values()))
    # BM25 has .29; far below something is broken, far above the questions are not what they were.
    assert 0.2 < report["means"]["nDCG@10"] < 0.45
    assert report["means"]["R@100"] < report["means"]["R@1000"] < 1


def test_the_words_of_a_hit_add_up_to_its_score(report: dict[str, Any]) -> None:
    assert [search["text"] for search in report["searches"]] == list(QUESTIONS)
    for search in report["searches"]:
        assert len(search["hits"]) == 3
        for hit in search["hits"]:
            parts = sum(part["score"] for part in hit["words"])
            assert parts == pytest.approx(hit["score"], rel=1e-9)  # sums of float64 in two orders


def test_matched_words_are_shown_as_the_question_spells_them(report: dict[str, Any]) -> None:
    """Stems such as "direct" or "arriv" mean nothing to a newcomer."""
    for search in report["searches"]:
        for hit in search["hits"]:
            for part in hit["words"]:
                assert part["word"] in search["text"].lower()


def test_the_failure_shown_is_one(report: dict[str, Any]) -> None:
    dataset = load_dataset("python-docs")
    failure = report["failure"]
    query_id = next(q.query_id for q in dataset.queries() if q.text == failure["text"])
    answers = dataset.qrels()[query_id]
    assert answers[failure["right"]] == 2
    assert failure["found"][0]["doc_id"] not in answers
    assert 0 < report["n_failed"] < report["n_queries"]


def test_a_second_run_finds_the_index_and_says_the_same(
    cache: Path, report: dict[str, Any]
) -> None:
    index = Path(report["index"])
    assert index.is_relative_to(cache)
    before = {file: file.stat().st_mtime_ns for file in index.rglob("*.seg")}
    assert before
    again = json.loads(run(cache, "--json").stdout)
    assert again["reused"] is True
    assert again["means"] == report["means"]
    assert {file: file.stat().st_mtime_ns for file in index.rglob("*.seg")} == before


def test_people_read_facts_and_the_next_step(cache: Path, report: dict[str, Any]) -> None:
    result = run(cache)
    lines = result.stdout.splitlines()
    assert lines[-2].split() == ["next", "lsr", "serve", report["index"]]
    assert lines[-1].startswith(f'next       lsr search {report["index"]} "')
    measured = next(line for line in lines if line.startswith("measured"))
    assert f"nDCG@10 {report['means']['nDCG@10']:.3f}" in measured
    for question in QUESTIONS:
        assert any(line.startswith(f"query      {question}") for line in lines)


def test_fresh_builds_again_to_the_same_result(cache: Path, report: dict[str, Any]) -> None:
    again = json.loads(run(cache, "--fresh", "--json").stdout)
    assert again["reused"] is False
    assert again["means"] == report["means"]
    assert again["n_postings"] == report["n_postings"]


@pytest.mark.parametrize("arguments", [(), ("--fresh",)])
def test_what_the_demo_did_not_make_it_does_not_replace(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """`--output` may name anything, and `--fresh` must not be the way to lose it."""
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "one.txt").write_text("dear")
    result = run(tmp_path, "--output", str(letters), *arguments)
    assert isinstance(result.exception, IndexExists)
    assert "choose another place" in str(result.exception)
    assert (letters / "one.txt").read_text() == "dear"


class FewDocs:
    """python-docs with every eleventh document and whatever is right: seconds of encoding."""

    def __init__(self) -> None:
        self.whole = load_dataset("python-docs")
        right = {doc_id for answers in self.whole.qrels().values() for doc_id in answers}
        rows = enumerate(self.whole.documents())
        self.rows = [one for n, one in rows if one.doc_id in right or n % 11 == 0][:400]

    def documents(self) -> list[Document]:
        return self.rows

    def queries(self) -> Any:
        return self.whole.queries()

    def qrels(self) -> Any:
        held = {one.doc_id for one in self.rows}
        answers = self.whole.qrels().items()
        kept = {q: {d: grade for d, grade in one.items() if d in held} for q, one in answers}
        return {q: one for q, one in kept.items() if one}


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """The cache, the report and the printed form of a demo with the shipped encoder."""
    cache = tmp_path_factory.mktemp("learned")
    few = FewDocs()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lsr.datasets.load_dataset", lambda _: few)
        first = run(cache, "--json", encoder="lsr-mini")
        assert first.exit_code == 0, first.output
        again = run(cache, encoder="lsr-mini")
    return cache, json.loads(first.stdout), again.stdout


@pytest.mark.slow
def test_the_shipped_encoder_is_measured_beside_bm25_and_kept(
    learned: tuple[Path, dict[str, Any], str],
) -> None:
    _, report, printed = learned
    ours, words = report["lsr-mini"]["means"], report["bm25"]["means"]
    assert ours["R@100"] > words["R@100"]  # on so few documents the first ranks tell little
    assert report["lsr-mini"]["reused"] is False
    assert "encoded before" in printed, "the second run reads what the first wrote"
    lines = printed.splitlines()
    for name in ("bm25", "lsr-mini"):
        value = f"nDCG@10 {report[name]['means']['nDCG@10']:.3f}"
        assert any(line.startswith(f"measured   {name}") and value in line for line in lines)


@pytest.mark.slow
def test_the_example_is_right_missed_by_bm25_and_found_by_a_learned_term(
    learned: tuple[Path, dict[str, Any], str],
) -> None:
    from index import SparseRetriever

    _, report, printed = learned
    example = report["lsr-mini"]["example"]
    few = FewDocs()
    query_id = next(q.query_id for q in few.queries() if q.text == example["text"])
    right = few.qrels()[query_id]
    assert example["hit"]["doc_id"] in right
    with SparseRetriever.open(report["bm25"]["index"], read_only=True) as retriever:
        ranked = retriever.search({"q": example["text"]}, demo_module.CUT).ranked("q")
        assert not {doc_id for doc_id, _ in ranked} & right.keys()
    for word in example["hit"]["words"]:
        if word["learned"] > demo_shown.HALF:
            assert f"{word['word']} {word['score']:.2f} <- '{word['read_from']}'" in printed
    with SparseRetriever.open(report["lsr-mini"]["index"], read_only=True) as retriever:
        encoder, document = retriever.encoder, retriever.index.get(example["hit"]["doc_id"])
        assert document is not None
        spoken = {one.term for one in said(encoder, document.text(encoder.text_fields)) or ()}
        asked = set(encoder.encode_queries([example["text"]]).indices.tolist())
        parts = retriever.index.explain(
            encoder.encode_queries([example["text"]]), document.doc_id
        ).terms
    learned_part = sum(part.score for part in parts if part.term in asked - spoken)
    assert learned_part / example["hit"]["score"] == pytest.approx(example["share"])
