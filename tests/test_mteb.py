"""MTEB drives our index, and measures what `lsr evaluate` measures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.mteb import cached_retriever, mteb_search
from lsr.__main__ import run
from lsr.datasets import load_dataset
from lsr.encoders import InferenceFreeEncoder, with_text_fields
from lsr.errors import DatasetError, MissingExtra, UsageError
from lsr.mteb import MtebCorpus, MtebSearch, local_task
from lsr.types import Document, Run

TEXTS = ["the cat sat", "a big dog on the mat", "cat cats", "a tree", "the big cat", "dog"]
QUERIES = {"q0": "big cat", "q1": "dog on a mat", "q2": "zzz", "q3": "the tree"}
QRELS = [("q0", "d4", 2), ("q0", "d0", 1), ("q1", "d1", 1), ("q2", "d0", 1), ("q3", "d5", 0)]
ROWS = [{"id": f"d{i}", "title": "", "text": text} for i, text in enumerate(TEXTS)]
MEASURES = {"nDCG@10": "ndcg_cut_10", "R@100": "recall_100", "AP@1000": "map_cut_1000"}


class ByLength:
    """A retriever that needs no index: short texts first; documents with a z are not found."""

    closed = 0

    def __init__(self, documents: list[Document]) -> None:
        self.lengths = {d.doc_id: len(d.text()) for d in documents if "z" not in d.text()}

    def search(self, texts: Any, k: int) -> Run:
        best = sorted(self.lengths, key=self.lengths.__getitem__)[:k]
        scores = [1.0 / self.lengths[doc_id] for doc_id in best]
        return Run.from_rows((query_id, best, scores) for query_id in texts)

    def close(self) -> None:
        ByLength.closed += 1


class Task:
    """What a task says of itself."""

    name = "Tiny"


def opened(rows: list[dict[str, Any]]) -> MtebSearch:
    model = MtebSearch(
        lambda corpus: ByLength(list(corpus.documents())), name="lsr-search/length", revision="1"
    )
    model.index(
        rows, task_metadata=Task, hf_split="test", hf_subset="default", encode_kwargs={}, num_proc=1
    )
    return model


def test_queries_are_answered_to_depth_and_read_with_their_instructions() -> None:
    asked: dict[str, str] = {}
    model = opened(ROWS)
    model._retriever.search = lambda texts, k: (asked.update(texts), Run.from_rows([]))[1]  # type: ignore[union-attr,method-assign]
    model.search([{"id": 7, "text": "a"}, {"id": "b", "text": "c", "instruction": "d"}], top_k=2)
    assert asked == {"7": "a", "b": "c d"}
    assert list(opened(ROWS).search([{"id": "q", "text": "x"}], top_k=2)["q"]) == ["d5", "d3"]


def test_reranking_orders_the_listed_documents_and_only_them() -> None:
    rows = [*ROWS, {"id": "z0", "text": "z"}, {"id": "z1", "text": "zz"}]
    listed = {"q": ["z1", "d1", "d5", "z0"], "other": ["d0"]}
    found = opened(rows).search([{"id": "q", "text": "x"}], top_k=1, top_ranked=listed)
    assert sorted(found["q"], key=found["q"].__getitem__, reverse=True) == ["d5", "d1", "z1", "z0"]


def test_a_second_corpus_closes_the_first() -> None:
    ByLength.closed = 0
    model = opened(ROWS)
    model.index(ROWS[:2], task_metadata=Task, hf_split="dev", hf_subset="default")
    assert ByLength.closed == 1
    assert len(model.search([{"id": "q", "text": "x"}], top_k=9)["q"]) == 2
    model.close()
    with pytest.raises(UsageError, match="before index"):
        model.search([], top_k=1)


def test_what_cannot_be_read_as_text_is_refused() -> None:
    with pytest.raises(UsageError, match="conversation"):
        opened(ROWS).search([{"id": "q", "text": [{"role": "user"}]}], top_k=1)
    with pytest.raises(DatasetError, match=r"document 'p' has no text"):
        opened([{"id": "p", "image": b""}])
    with pytest.raises(DatasetError, match="keeps queries"):
        MtebCorpus("a", ROWS).queries()


def test_the_fingerprint_is_of_ids_titles_and_texts() -> None:
    rows = [{"id": "a", "title": "b", "text": "c"}]
    same = MtebCorpus("one", rows).fingerprint
    assert same == MtebCorpus("two", [dict(rows[0])]).fingerprint
    for other in ({"id": "ab"}, {"title": "bc", "text": ""}, {"text": "d"}):
        assert MtebCorpus("one", [{**rows[0], **other}]).fingerprint != same
    untitled = [{"id": "a", "text": "c"}, {"id": "a", "title": None, "text": "c"}]
    assert len({MtebCorpus("one", [row]).fingerprint for row in untitled}) == 1


@pytest.fixture
def encoder(tiny_checkpoint: Path) -> InferenceFreeEncoder:
    from lsr.encoders.splade import SpladeModel

    model = SpladeModel.from_checkpoint(tiny_checkpoint)
    idf = np.linspace(0.5, 2.0, model.n_terms).astype(np.float32)
    return InferenceFreeEncoder.of(model, idf, name="tiny", max_weight=4.0)


def test_an_index_is_built_once_and_again_for_another_corpus(
    encoder: InferenceFreeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(rows: list[dict[str, Any]]) -> dict[str, float]:
        with cached_retriever(MtebCorpus("cached", rows), encoder) as retriever:
            return retriever.search({"q": "the cat"}, 9)["q"]

    first = search(ROWS)
    with monkeypatch.context() as patched:
        patched.setattr("index.mteb.build_index", None)
        assert search(ROWS) == first
    assert set(search(ROWS[:1])) == {"d0"} != set(first)


def test_an_encoder_that_reads_otherwise_has_an_index_of_its_own(
    encoder: InferenceFreeEncoder,
) -> None:
    """Windows and fields are no part of an encoder's build, and it was given the other's index."""
    corpus = MtebCorpus("read", ROWS)
    others = [encoder, with_text_fields(encoder, ["text"])]
    others.append(replace(encoder, card=replace(encoder.card, window_overlap=2)))
    paths = set()
    for one in others:
        with cached_retriever(corpus, one) as retriever:
            paths.add(retriever.index.path)
    assert len(paths) == len(others)


def test_without_mteb_the_extra_is_named(
    encoder: InferenceFreeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mteb", None)
    with pytest.raises(MissingExtra, match=r"pip install 'lsr-search\[mteb\]'"):
        _ = mteb_search(encoder).mteb_model_meta
    with pytest.raises(MissingExtra, match="mteb"):
        local_task(load_dataset("python-docs"))


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """One query without an answer, one whose only judgement is 0: both count 0 on both sides."""
    folder = tmp_path / "cats"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": row["id"], "title": "", "text": row["text"]} for row in ROWS]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"_id": query_id, "text": text} for query_id, text in QUERIES.items()]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, line)) for line in QRELS)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("kind", ["encoder", "bm25"])
def test_mteb_measures_what_lsr_evaluate_measures(
    kind: str,
    encoder: InferenceFreeEncoder,
    collection: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Query by query and unrounded; what MTEB reports is rounded to five places."""
    mteb = pytest.importorskip("mteb")
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.models import SearchProtocol

    folder = tmp_path / "encoder"
    encoder.save(folder)
    chosen = str(folder) if kind == "encoder" else kind
    per_query: dict[str, dict[str, float]] = {}
    monkeypatch.setattr(
        AbsTaskRetrieval,
        "task_specific_scores",
        lambda self, scores, *_, **__: per_query.update(scores) or {},
    )
    model = mteb_search(chosen)
    assert isinstance(model, SearchProtocol)
    result = mteb.evaluate(model, local_task(load_dataset(collection)), cache=None)
    [scores] = result.task_results[0].scores["test"]
    assert result.model_name == f"lsr-search/{'tiny' if kind == 'encoder' else kind}"

    asked = [word for name in (*MEASURES, "RR@10") for word in ("--measure", name)]
    command = ["evaluate", str(collection), "--encoder", chosen, "--json", "--per-query", *asked]
    assert run(command) == 0
    ours = json.loads(capsys.readouterr().out)
    assert ours["measures"]["nDCG@10"] > 0.3
    for name, theirs in MEASURES.items():
        values = {query_id: row[theirs] for query_id, row in per_query.items()}
        expected = {q: v for q, v in ours["per_query"][name].items() if q in values}
        assert values == pytest.approx(expected, abs=1e-6), name
    assert scores["ndcg_at_10"] == pytest.approx(ours["measures"]["nDCG@10"], abs=6e-6)
    assert scores["mrr_at_10"] == pytest.approx(ours["measures"]["RR@10"], abs=1e-6)


def test_the_command_prints_and_keeps_what_mteb_measured(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By an encoder and as a system from a file: one retriever, so the same figures."""
    pytest.importorskip("mteb")
    assert run(["mteb", str(collection), "--output", str(tmp_path / "out"), "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["task"], row["system"], row["split"]) == ("Cats", "lsr-search/bm25", "test")
    assert run(["evaluate", str(collection), "--json"]) == 0
    ours = json.loads(capsys.readouterr().out)["measures"]
    assert row["main_score"] == row["ndcg_at_10"] == pytest.approx(ours["nDCG@10"], abs=6e-6)
    [kept] = (tmp_path / "out").rglob("Cats.json")
    assert json.loads(kept.read_text())["scores"]["test"][0]["ndcg_at_10"] == row["ndcg_at_10"]

    systems = tmp_path / "systems.toml"
    systems.write_text('[[system]]\nname = "one"\nretrievers = ["bm25"]\n')
    assert run(["mteb", str(collection), "--systems", str(systems), "--json"]) == 0
    [other] = json.loads(capsys.readouterr().out)
    assert other == {**row, "system": "lsr-search/one"}
    assert run(["mteb", str(collection), "--systems", str(systems), "--encoder", "bm25"]) == 2
    assert run(["mteb", str(collection)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == ["Cats", "lsr-search/bm25"]
    assert lines[-1] == f"next       lsr evaluate {collection}"
