"""What a corpus holds where no encoder reads it is told before anything is encoded."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from index import Index
from lsr.__main__ import run
from lsr.encoders import BM25Encoder

SCIFACT = {"doc_id": 1, "title": "T", "abstract": ["zebra stripes are", "two sentences"]}


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(*rows: dict[str, Any], name: str = "c.jsonl") -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def indexed(*words: str) -> int:
    return run(["index", "c.jsonl", "c.index", "--encoder", "bm25", *words])


def commands_of(told: str) -> list[str]:
    """The filters of jq in a message."""
    return [part.partition("'")[0] for part in told.split("jq -c '")[1:]]


def through_jq(expression: str, file: str = "c.jsonl") -> None:
    if shutil.which("jq") is None:
        pytest.skip("needs jq")
    done = subprocess.run(["jq", "-c", expression, file], capture_output=True, check=True)
    Path(file).write_bytes(done.stdout)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (["zebra", "stripes"], "a list"),
        ([], "a list"),
        ([{"text": "zebra"}, {"text": "stripes"}], "a list"),
        ({"lang": "en", "abstract": "zebra stripes"}, "an object"),
        (1999, "an integer"),
        (0.5, "a fraction"),
        (True, "true or false"),
    ],
)
def test_a_named_field_that_holds_no_string_is_refused(
    value: Any, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was passed over in silence: titles alone were indexed, with exit code 0."""
    written(
        {"_id": "a", "title": "T", "body": "words"},
        {"_id": "b", "title": "T", "body": None},
        {"_id": "c", "title": "T"},
        {"_id": "d", "title": "T", "body": value},
        {"_id": "e", "title": "T", "body": value},
    )
    fields = ("--text-field", "title", "--text-field", "body")
    assert indexed(*fields) == 1
    told = capsys.readouterr().err
    assert f"c.jsonl: 'body' of document 'd' is {kind}, wanted a string, as in 2 of 5" in told
    assert not Path("c.index").exists()
    (way_out,) = commands_of(told)
    through_jq(way_out)
    assert indexed(*fields) == 0


def test_null_and_absent_are_no_text_and_no_error() -> None:
    written({"_id": "a", "title": "T", "body": None}, {"_id": "b", "title": "U"})
    assert indexed("--text-field", "title", "--text-field", "body") == 0


def test_an_object_without_words_has_no_filter_that_would_mend_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    written({"_id": "a", "title": "T", "body": {"n": 1, "m": {}}})
    assert indexed("--text-field", "title", "--text-field", "body") == 1
    told = capsys.readouterr().err
    assert "jq" not in told
    assert "Write a string under 'body', or name other fields with --text-field" in told


@pytest.mark.parametrize("command", [("index", "d.index"), ("encode", "out")])
def test_every_command_that_reads_the_fields_of_a_card_refuses_lists(
    command: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    BM25Encoder.fit(["zebra"], text_fields=("title", "abstract")).save(Path("e"))
    verb, output = command
    assert run([verb, written(SCIFACT), output, "--encoder", "e"]) == 1
    assert "'abstract' of document '1' is a list" in capsys.readouterr().err


def test_evaluate_refuses_lists_in_the_fields_of_a_card(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LSR_CACHE", str(tmp_path / "cache"))
    BM25Encoder.fit(["zebra"], text_fields=("title", "abstract")).save(Path("e"))
    Path("beir/qrels").mkdir(parents=True)
    written(SCIFACT, name="beir/corpus.jsonl")
    written({"_id": "q", "text": "zebra"}, name="beir/queries.jsonl")
    Path("beir/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    assert run(["evaluate", "beir", "--encoder", "e"]) == 1
    assert "'abstract' of document '1' is a list" in capsys.readouterr().err


def test_the_hint_on_what_is_not_read_leads_to_an_index_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It named a field of lists for --text-field, which reads strings alone."""
    written(SCIFACT)
    assert indexed() == 0
    told = capsys.readouterr().err
    assert (
        "text: in 0 of 1 document, so title alone is read; 'abstract' of document '1' is a" in told
    )
    assert "--text-field" not in told
    (way_out,) = commands_of(told)
    through_jq(way_out)
    assert indexed("--overwrite") == 0
    with Index.open("c.index", read_only=True) as opened:
        found = opened.get("1")
        assert found is not None
        assert found.text() == "T zebra stripes are two sentences"


def test_hints_name_fields_that_hold_strings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"tags": ["x"], "year": 1999, "mixed": "words", "blank": " "}
    written(
        {"_id": "a", "title": "T", "body": "words", **row}, {"_id": "b", "tags": ["y"], "mixed": 3}
    )
    assert indexed() == 0
    told = capsys.readouterr().err
    assert "they have body: --text-field title --text-field body; 'tags' of" in told


@pytest.mark.parametrize("fields", [(), ("--text-field", "meta")])
def test_a_corpus_whose_text_lies_deeper_is_told_where(
    fields: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """It was advised to read `meta`, and then to rename a `body` that no document had."""
    written({"_id": "a", "meta": {"lang": "en", "abstract": "zebra stripes"}, "year": 1999})
    assert indexed(*fields) == 1
    told = capsys.readouterr().err
    assert "none of 1 document has any text" in told
    assert "got the keys meta (an object), year (an integer) beside the id" in told
    assert "body" not in told
    (way_out,) = commands_of(told)
    through_jq(way_out)
    assert indexed(*fields) == 0


def test_a_corpus_of_numbers_is_told_to_write_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    written({"_id": "a", "year": 1999})
    assert indexed() == 1
    told = capsys.readouterr().err
    assert told.endswith("Write what is to be searched under 'text'\n")


def test_a_name_that_is_no_word_is_quoted_for_jq(capsys: pytest.CaptureFixture[str]) -> None:
    written({"_id": "a", "title": "T", "short text": ["zebra"]})
    assert indexed("--text-field", "title", "--text-field", "short text") == 1
    (way_out,) = commands_of(capsys.readouterr().err)
    assert way_out.startswith('."short text" |= ')
    through_jq(way_out)
    assert indexed("--text-field", "title", "--text-field", "short text") == 0
