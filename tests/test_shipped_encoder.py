"""lsr-mini, as it comes: no torch, no network connection, small, and it finds what words miss."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lsr.__main__ import run
from lsr.commands._encoders import DEFAULT_VARIABLE
from lsr.encoders import BM25Encoder, JoinedEncoder, load_encoder
from lsr.errors import EncoderError
from lsr.shipped import shipped

NAME = "lsr-mini"
DOCUMENTS = [
    "The car was repaired by a mechanic in his garage.",
    "A recipe for bread with olives and rosemary.",
    "Physicians treat hypertension with several drugs.",
]
QUESTIONS = ["fixing automobiles", "baking", "doctors and blood pressure"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    rows = [json.dumps({"_id": str(n), "text": text}) for n, text in enumerate(DOCUMENTS)]
    path.write_text("\n".join(rows))
    return path


@pytest.fixture(scope="module")
def encoder() -> JoinedEncoder:
    found = load_encoder(NAME)
    assert isinstance(found, JoinedEncoder)
    return found


def test_it_finds_answers_that_share_no_word_with_the_question(encoder: JoinedEncoder) -> None:
    words = BM25Encoder.fit(DOCUMENTS)
    assert not (words.encode_queries(QUESTIONS) @ words.encode_documents(DOCUMENTS).T).nnz
    scores = encoder.encode_queries(QUESTIONS) @ encoder.encode_documents(DOCUMENTS).T
    assert scores.toarray().argmax(axis=1).tolist() == [0, 1, 2]


def test_a_query_has_at_most_its_tokens_and_words(encoder: JoinedEncoder) -> None:
    rows = encoder.encode_queries(QUESTIONS)
    learned = [len(ids) for ids in encoder.learned.queries.tokenizer.ids(QUESTIONS, special=False)]
    spoken = np.diff(encoder.words.encode_queries(QUESTIONS).indptr)
    assert (np.diff(rows.indptr) <= learned + spoken).all()
    assert encoder.encode_documents(["", " "]).nnz == 0


def test_a_document_does_not_depend_on_its_batch(encoder: JoinedEncoder) -> None:
    """8-bit activations have a scale a text, so a batch changes nothing but the order of sums."""
    alone = [encoder.encode_documents([text]).toarray()[0] for text in DOCUMENTS]
    together = encoder.encode_documents(DOCUMENTS * 3).toarray()[:3]
    np.testing.assert_allclose(together, alone, atol=0.02)


def test_it_fits_into_25_megabytes_and_its_card_says_what_made_it() -> None:
    folder = shipped(NAME)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 25_000_000
    card = (folder / "README.md").read_text(encoding="utf-8")
    training = json.loads((folder / "learned" / "lsr.json").read_text())["training"]
    for name in training["recipe"]["data"]["train"]:
        assert name in card


def test_torch_is_not_needed() -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\nfrom lsr.encoders import load_encoder\n"
        f"encoder = load_encoder({NAME!r})\n"
        "assert encoder.encode_documents(['a dog']).nnz > 2\n"
        "assert encoder.encode_queries(['a dog']).nnz > 1\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_index_uses_it_where_asked_by_option_or_environment(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def made(*options: str) -> str:
        path = str(tmp_path / f"{len(list(tmp_path.iterdir()))}.index")
        assert run(["index", str(corpus), path, *options, "--json"]) == 0
        return str(json.loads(capsys.readouterr().out)["encoder"])

    assert made("--encoder", NAME) == NAME
    monkeypatch.delenv(DEFAULT_VARIABLE)
    assert made() == NAME
    monkeypatch.setenv(DEFAULT_VARIABLE, "bm25")
    assert made() == "bm25"
    assert made("--encoder", "bm25") == "bm25"
    assert made("--k1", "1.2") == "bm25", "an option of BM25 asks for BM25"


def test_every_verb_that_takes_an_encoder_knows_it_by_name(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = tmp_path / "docs.index"

    def said(*arguments: str) -> str:
        run([*arguments])
        found = capsys.readouterr()
        return found.out + found.err

    assert json.loads(said("info", NAME, "--json"))["name"] == NAME
    assert "checked" in said("push", NAME, "--to-folder", str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "joined.json").is_file()
    # Started from (three documents ask too little to learn from); tests/test_adapt.py goes on.
    assert "wanted at least 4" in said("adapt", str(corpus), str(tmp_path / "adapted"))
    assert run(["index", str(corpus), str(index), "--encoder", NAME, "--json"]) == 0
    capsys.readouterr()
    for examined in ([str(index)], [NAME, "--corpus", str(corpus)]):
        findings = json.loads(said("doctor", *examined, "--json"))["findings"]
        by_name = {one["check"]: one for one in findings}
        assert by_name["truncation"]["level"] == "ok"
        assert by_name["truncation"]["numbers"]["n_texts"] == len(DOCUMENTS)
        assert "indexed whole, too" in str(by_name["words"])
        assert "frequencies of words" in str(by_name["drift"])


def test_a_long_build_says_so_and_names_the_quick_way(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("lsr.commands.index.MANY", 3)
    assert run(["index", str(corpus), str(tmp_path / "a"), "--encoder", NAME]) == 0
    assert "--encoder bm25" in capsys.readouterr().err
    assert run(["index", str(corpus), str(tmp_path / "b"), "--encoder", "bm25"]) == 0
    assert "through the network" not in capsys.readouterr().err


def test_another_name_is_told_what_there_is() -> None:
    with pytest.raises(EncoderError, match=NAME):
        load_encoder("lsr-maxi")
