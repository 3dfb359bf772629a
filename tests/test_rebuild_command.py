"""`lsr rebuild` as somebody types it."""

import json
from pathlib import Path
from typing import Any

import pytest

from index import Index
from lsr.__main__ import run
from lsr.commands.rebuild import parsed_gate
from lsr.encoders import BM25Encoder
from lsr.errors import UsageError
from lsr.types import Document

TEXTS = {"a": "cats sleep", "b": "dogs bark", "c": "birds sing"}
JUDGED = {
    "queries": [{"id": "q1", "text": "cats"}, {"id": "q2", "text": "dogs"}],
    "qrels": {"q1": {"a": 1}, "q2": {"b": 1}},
}


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    corpus = tmp_path / "pets.jsonl"
    lines = [{"_id": doc_id, "text": text} for doc_id, text in TEXTS.items()]
    corpus.write_text("".join(json.dumps(one) + "\n" for one in lines))
    assert run(["index", str(corpus), str(tmp_path / "pets.index")]) == 0
    (tmp_path / "judged.json").write_text(json.dumps(JUDGED))
    return tmp_path / "pets.index"


def said(capsys: pytest.CaptureFixture[str], *command: str | Path, code: int = 0) -> str:
    capsys.readouterr()
    assert run([str(one) for one in command]) == code, capsys.readouterr()
    told = capsys.readouterr()
    return told.out + told.err


def test_bm25_counts_anew_and_the_gate_tells(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Index.open(pets) as opened:
        encoder = BM25Encoder.load(opened.encoder_folder)
        opened.add([Document("z", {"text": "zebras"})], encoder.encode_documents(["zebras"]))
    gate = ("--gate", "mrr@10:-0.005", "--judged", tmp_path / "judged.json")
    told = json.loads(said(capsys, "rebuild", pets, *gate, "--json"))
    assert (told["n_docs"], told["gate"]["measure"], told["gate"]["delta"]) == (4, "RR@10", 0.0)
    with Index.open(pets) as opened:
        terms = BM25Encoder.load(opened.encoder_folder).statistics.terms
    assert "zebra" in terms
    told_people = said(capsys, "rebuild", pets)
    assert told_people.splitlines()[-1].startswith("next")


def test_a_gate_that_fails_leaves_the_index(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An encoder that has never seen a cat: words unknown to it fall into shared buckets, so make
    one that reads another field, where there is no text at all.
    """
    BM25Encoder.fit(["cats"], text_fields=("body",)).save(tmp_path / "blind")
    gate = ("--gate", "ndcg@10:-0.1", "--judged", tmp_path / "judged.json")
    told = said(capsys, "rebuild", pets, "--encoder", tmp_path / "blind", *gate, code=1)
    assert "nDCG@10 would go from 1.0000 to 0.0000" in told
    assert "cats" in said(capsys, "search", pets, "cats")


def test_stored_vectors_are_rounded_anew(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "rebuild", pets, "--max-weight", "0.5", "--order", "none")
    with Index.open(pets) as opened:
        assert (opened.max_weight, opened.settings.order, opened.n_docs) == (0.5, "none", 3)


@pytest.mark.parametrize("text", ["ndcg@10", "ndcg@10:much", ":0.1", "ndcg@10:-3", "ndcg@10:nan"])
def test_a_gate_is_a_measure_and_a_change(text: str) -> None:
    with pytest.raises(UsageError, match="MEASURE:CHANGE"):
        parsed_gate(text)


def test_misuse_is_told(pets: Path, capsys: pytest.CaptureFixture[Any]) -> None:
    assert "belong together" in said(capsys, "rebuild", pets, "--gate", "ndcg@10:0", code=2)
    assert "card" in said(capsys, "rebuild", pets, "--encoder", "bm25", "--max-weight", "2", code=2)
