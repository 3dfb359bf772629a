"""`lsr rebuild` as somebody types it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from index import Index
from lsr.__main__ import run
from lsr.commands.rebuild import parsed_gate
from lsr.encoders import BM25Encoder
from lsr.errors import IndexCorrupt, UsageError
from lsr.types import Document
from service.home import Home, aliases
from service.home.aliases import Action
from service.receiving import submit
from service.worker import Worker

TEXTS = {"a": "cats sleep", "b": "dogs bark", "c": "birds sing"}
JUDGED = {
    "queries": [{"id": "q1", "text": "cats"}, {"id": "q2", "text": "dogs"}],
    "qrels": {"q1": {"a": 1}, "q2": {"b": 1}},
}


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    corpus = tmp_path / "pets.jsonl"
    lines = [{"_id": i, "text": text, "body": "nothing"} for i, text in TEXTS.items()]
    corpus.write_text("".join(json.dumps(one) + "\n" for one in lines))
    assert run(["index", str(corpus), str(tmp_path / "pets.index")]) == 0
    (tmp_path / "judged.json").write_text(json.dumps(JUDGED))
    return tmp_path / "pets.index"


def said(capsys: pytest.CaptureFixture[str], *command: str | Path, code: int = 0) -> str:
    capsys.readouterr()
    assert run([str(one) for one in command]) == code, capsys.readouterr()
    told = capsys.readouterr()
    return told.out if "--json" in command else told.out + told.err


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
    one that reads another field, where there are no cats.
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


@pytest.fixture
def data(pets: Path, tmp_path: Path) -> Path:
    """A data directory with the index `pets`, which no server works in."""
    assert run(["snapshot", "create", str(pets), "--to", str(tmp_path / "s")]) == 0
    Home.open(tmp_path / "data").close()
    (snapshot,) = (tmp_path / "s").iterdir()
    assert (
        run(["snapshot", "restore", str(snapshot), "pets", "--data", str(tmp_path / "data")]) == 0
    )
    (tmp_path / "data" / "judged" / "pets.json").write_text(json.dumps(JUDGED))
    return tmp_path / "data"


def test_rebuild_and_rollback_by_name_without_a_server(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--data", data)
    gate = ("--gate", "ndcg@10:-0.005", "--judged", "pets")
    told = said(capsys, "rebuild", "pets", *where, *gate)
    assert "nDCG@10 1.0000 to 1.0000 (+0.0000" in told
    assert "the old version is kept" in told
    kept = json.loads(said(capsys, "rollback", "pets", *where, "--history", "--json"))
    assert len(kept) == 1
    assert "0 changes made since" in said(capsys, "rollback", "pets", *where)
    listed = json.loads(said(capsys, "tasks", "list", *where, "--json"))
    assert [one["kind"] for one in listed] == ["rollback", "rebuild_finish", "rebuild"]
    assert {one["state"] for one in listed} == {"succeeded"}
    assert {one["index"] for one in listed} == {"pets"}
    shown = said(capsys, "tasks", "show", str(listed[0]["id"]), *where)
    assert "succeeded" in shown
    assert "succeeded" in said(capsys, "tasks", "wait", str(listed[0]["id"]), *where)
    assert "1 version" in said(capsys, "rollback", "pets", *where, "--forget")
    assert "No earlier version" in said(capsys, "rollback", "pets", *where, code=1)


def test_a_gate_by_name_measures_over_the_judged_set_of_that_name(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = ("rebuild", "pets", "--data", data, "--gate", "ndcg@10:-0.005")
    assert json.loads(said(capsys, *gate, "--json"))["gate"]["judged"] == "pets"
    (data / "judged" / "pets.json").rename(data / "judged" / "other.json")
    told = said(capsys, *gate, code=1)
    assert "judged/pets.json" in told, "it says what is wanted"
    assert "--judged" in told
    assert "1.0000 to 1.0000" in said(capsys, *gate, "--judged", "other")
    assert "belong together" in said(
        capsys, "rebuild", "pets", "--data", data, "--judged", "x", code=2
    )


def test_an_alias_is_rolled_back_in_milliseconds(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (snapshot,) = (data.parent / "s").iterdir()
    said(capsys, "snapshot", "restore", snapshot, "other", "--data", data)
    with Home.open(data) as home:
        aliases.apply(home, [Action("add", "live", "pets")])
        aliases.apply(home, [Action("swap", "live", "other")])
    told = said(capsys, "rollback", "live", "--data", data)
    assert "from other to pets" in told
    history = json.loads(said(capsys, "rollback", "live", "--data", data, "--history", "--json"))
    assert [one["index"] for one in history] == ["pets", "other", "pets"]


def test_a_task_that_failed_or_waits_is_told(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Home.open(data) as home:
        waiting = submit(home, "delete", "pets", {"ids": ["a"]})
    told = said(
        capsys, "tasks", "wait", str(waiting.id), "--data", data, "--timeout", "0.1", code=1
    )
    assert "still queued" in told
    assert "canceled" in said(capsys, "tasks", "cancel", str(waiting.id), "--data", data)
    told = said(capsys, "tasks", "wait", str(waiting.id), "--data", data, code=1)
    assert "It was canceled" in told
    assert "There is no task 99" in said(capsys, "tasks", "show", "99", "--data", data, code=1)


def test_a_worker_that_dies_keeps_nobody_waiting(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread printed a traceback, and the command waited for the task for ever."""

    def die(self: Worker) -> None:
        raise IndexCorrupt("service.sqlite: page 7 is damaged")

    monkeypatch.setattr(Worker, "run", die)
    assert "page 7 is damaged" in said(capsys, "rebuild", "pets", "--data", data, code=1)


def test_other_passages_are_encoded_by_the_encoder_of_the_index(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an encoder with a network they were left as they were, without a word."""
    corpus = tmp_path / "pets.jsonl"
    text = " ".join(["cats sleep"] * 10 + ["a zebra"])
    corpus.write_text(json.dumps({"_id": "d", "text": text}) + "\n")
    path = tmp_path / "pets.index"
    assert run(["index", str(corpus), str(path), "--encoder", "lsr-mini"]) == 0
    said(capsys, "rebuild", path, "--passages", "8/0")
    with Index.open(path) as opened:
        assert (opened.n_docs, opened.info()["n_passages"]) == (1, 3)
    with Index.create(tmp_path / "bare", n_terms=2, max_weight=1.0) as bare:
        bare.add([Document("a", {})], sparse.csr_array(np.eye(1, 2, dtype=np.float32)))
    told = said(capsys, "rebuild", tmp_path / "bare", "--passages", "8/0", code=2)
    assert "from vectors" in told
