"""`lsr queries`: a corpus without labels becomes a collection that training and evaluation read."""

import json
from pathlib import Path

import pytest

from lsr.__main__ import run
from lsr.datasets import load_dataset
from lsr.errors import DatasetError, UsageError
from training import pseudo_queries

BODY = "It is told here in so many words what there is to know about it and why."


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    rows = [
        {"_id": str(n), "title": f"The life of plant {n}", "text": f"Plant {n} grows well. {BODY}"}
        for n in range(20)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_folder_is_a_collection_and_its_answers_lack_their_queries(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "deep" / "made"
    command = ["queries", str(corpus), str(made), "--held-out", "0.25", "--seed", "3", "--json"]
    assert run(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["n_documents"], report["n_train"], report["n_held_out"]) == (20, 15, 5)
    assert sum(report["origins"].values()) == 20
    assert set(report["origins"]) == {"title", "sentence"}
    dataset = load_dataset(made)
    texts = {document.doc_id: document.text() for document in dataset.documents()}
    whole = {document.doc_id: document.text() for document in load_dataset(corpus).documents()}
    for split, wanted in (("train", 15), ("held-out", 5)):
        queries = dataset.queries(split)
        assert len(queries) == wanted
        for query in queries:
            (answer,) = dataset.qrels(split)[query.query_id]
            assert query.text in whole[answer]
            assert query.text not in texts[answer]


def test_the_seed_decides_and_most_draws(corpus: Path, tmp_path: Path) -> None:
    def read(name: str, **settings: int) -> tuple[bytes, bytes]:
        pseudo_queries(corpus, tmp_path / name, **settings)  # type: ignore[arg-type]
        folder = tmp_path / name
        return (folder / "corpus.jsonl").read_bytes(), (folder / "queries.jsonl").read_bytes()

    assert read("a", seed=1) == read("b", seed=1)
    assert read("c", seed=2) != read("a2", seed=1)
    assert len(read("d", most=8)[0].splitlines()) == 8


def test_what_cannot_be_asked_is_refused_and_nothing_is_left(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists"):
        pseudo_queries(corpus, tmp_path)
    with pytest.raises(UsageError, match="between 0 and 1"):
        pseudo_queries(corpus, tmp_path / "x", held_out=0.0)
    corpus.write_text('{"_id": "1", "text": "one two"}\n')
    with pytest.raises(DatasetError, match="at least 4"):
        pseudo_queries(corpus, tmp_path / "x")
    assert not (tmp_path / "x").exists()
