"""The verbs on an index of lsr-mini: what is asked of a network, of words, and of both at once."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import Index, document_encoder, whole_encoder
from index.card import encoder_argument, encoder_card
from index.doctor import Finding, examine, open_case
from lsr.__main__ import run
from lsr.encoders import (
    BM25Encoder,
    JoinedEncoder,
    document_network,
    load_encoder,
    query_idf,
    query_tokenizer,
    word_terms,
    words_part,
)
from lsr.errors import DatasetError, EncoderError, UsageError
from lsr.shipped import shipped

NAME = "lsr-mini"
TEXTS = {
    "coffee": "Caffeine before bedtime reduces sleep by an hour.",
    "bread": "Wild yeast ferments the dough overnight.",
    "volcano": "Eyjafjallajokull closed the airspace over Europe.",
    "tax": "A taxpayer may deduct interest. " + " ".join(f"Clause {n} applies." for n in range(90)),
}


@pytest.fixture(scope="module")
def encoder() -> JoinedEncoder:
    found = load_encoder(NAME)
    assert isinstance(found, JoinedEncoder)
    return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    rows = [json.dumps({"_id": name, "text": text}) for name, text in TEXTS.items()]
    path.write_text("\n".join(rows))
    return path


@pytest.fixture(scope="module")
def index(corpus: Path) -> Path:
    path = corpus.with_name("mini.index")
    assert run(["index", str(corpus), str(path), "--encoder", NAME, "--json"]) == 0
    return path


def told(capsys: pytest.CaptureFixture[str], *command: object) -> Any:
    capsys.readouterr()
    assert run([*map(str, command), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_its_parts_are_found_behind_one_face(encoder: JoinedEncoder) -> None:
    assert document_network(encoder) is encoder.learned.documents
    assert query_tokenizer(encoder) is encoder.learned.queries.tokenizer
    assert words_part(encoder) == (30_522, encoder.words)
    sleep = encoder.encode_queries(["sleep"])
    weights = query_idf(encoder, sleep.indices)
    assert weights is not None
    np.testing.assert_array_equal(weights, sleep.data)
    assert query_idf(encoder.learned, sleep.indices[:1]) == sleep.data[:1]


def test_doctor_looks_at_both_parts(index: Path, encoder: JoinedEncoder) -> None:
    """It once took it for BM25 without sub-words whose network was lost."""
    with Index.open(index) as opened:
        found: dict[str, Finding] = {one.check: one for one in examine(open_case(opened))}
    assert found["truncation"].level == "warn"
    assert "by the network, only as words" in found["truncation"].measured
    assert (found["words"].level, "indexed whole, too" in found["words"].measured) == ("ok", True)
    assert "64,783 terms" in found["vocabulary"].measured, "buckets wait for words unknown yet"
    assert "frequencies of words" in found["drift"].measured
    assert found["truncation"].next[-4:] == ("--encoder", NAME, "--windows", "32")


def test_idf_counts_the_words_anew_and_leaves_the_network(
    corpus: Path, encoder: JoinedEncoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    facts = told(capsys, "idf", corpus, "--encoder", NAME, "--output", new)
    assert (facts["n_passages"], facts["space"]) == (4, encoder.space)
    fresh = load_encoder(new)
    assert isinstance(fresh, JoinedEncoder)
    assert fresh.build != encoder.build
    plain = BM25Encoder.fit(TEXTS.values())
    ours, theirs = (
        one.idf(np.array([one.statistics.terms.index("sleep")])) for one in (fresh.words, plain)
    )
    assert ours == theirs
    asked = encoder.encode_queries(["sleep"]), fresh.encode_queries(["sleep"])
    assert asked[0].data[0] == asked[1].data[0], "the learned weight stays"
    assert asked[1].data[1] == pytest.approx(math.log1p(3.5 / 1.5))
    assert (fresh.encode_documents(["sleep"]) != encoder.encode_documents(["sleep"])).nnz == 0
    card = json.loads((new / "lsr.json").read_text())
    assert card["idf"]["n_passages"] == 4
    assert card["training"]["recipe"]

    half = told(
        capsys, "idf", corpus, "--encoder", NAME, "--output", tmp_path / "half", "--blend", "0.5"
    )
    assert facts["mean"] < half["mean"] < half["mean_before"]


def test_idf_refuses_what_is_about_sub_words(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts, new = tmp_path / "counts", tmp_path / "new"
    facts = told(capsys, "idf", corpus, "--tokenizer", NAME, "--output", counts)
    assert facts["tokens"] == 30_522
    to = ["--encoder", NAME, "--output", str(new)]
    assert run(["idf", str(counts), *to]) == UsageError.exit_code
    assert "counts of sub-words" in capsys.readouterr().err
    assert run(["idf", str(corpus), *to, "--clip", "3"]) == UsageError.exit_code
    assert "--clip is about sub-words" in capsys.readouterr().err
    assert not new.exists()


def test_explained_searches_show_the_words_behind_terms(
    index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the text itself says, and by the graph what the network read for the other terms."""
    assert run(["search", str(index), "caffeine", "-k", "1", "--explain"]) == 0
    shown = capsys.readouterr().out
    assert "word:caffein <- 'Caffeine' (literal)" in shown
    assert "unavailable" not in shown
    facts = told(capsys, "search", index, "coffee, then sleep", "-k", "1", "--explain")
    origins = {part["term"]: part["origin"] for part in facts["queries"][0]["hits"][0]["terms"]}
    assert origins["word:sleep"]["kind"] == origins["sleep"]["kind"] == "literal"
    coffee = origins["coffee"]
    assert (coffee["kind"], coffee["text"], coffee["word"]) == ("expansion", "Caf", "Caffeine")


def test_windows_are_remembered_and_doctor_is_content(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "windows.index"
    told(capsys, "index", corpus, path, "--encoder", NAME, "--windows", "32")
    with Index.open(path) as opened:
        assert opened.encoder is not None
        assert opened.encoder.window_overlap == 32
        later = document_encoder(opened)
        assert later is not None
        docid = opened.version("tax")
        assert docid is not None
        ((segment, position),) = opened.refresh().locate(np.array([docid], np.uint32))
        kept = segment.impacts_of(position)[0].tolist()
        again = later.encode_documents([TEXTS["tax"]]).indices.tolist()
        cut = load_encoder(NAME).encode_documents([TEXTS["tax"]]).indices.tolist()
        assert kept == again != cut, "what is added later is read whole as well"
        found = {one.check: one for one in examine(open_case(opened))}
    assert found["truncation"].level == "ok"


def test_an_index_finds_the_shipped_encoder_where_this_package_is_now(
    encoder: JoinedEncoder, tmp_path: Path
) -> None:
    """Its folder lies inside the installation, which an index outlives."""
    card = encoder_card(encoder)
    moved = replace(card, path=str(tmp_path / "old" / "site-packages" / NAME))
    assert whole_encoder(card) == whole_encoder(moved) == shipped(NAME)
    assert encoder_argument(card) == encoder_argument(moved) == NAME
    other = replace(moved, name="other")
    assert whole_encoder(other) is None
    assert encoder_argument(other) == other.path


def test_words_of_other_documents_are_refused(encoder: JoinedEncoder) -> None:
    with pytest.raises(EncoderError, match="only document frequencies may differ"):
        encoder.with_words(BM25Encoder.fit(["a cat"]))


def test_what_is_adapted_of_it_is_its_network_thawed() -> None:
    pytest.importorskip("onnxscript")
    from training.adapting.starting import frozen, network_of

    whole = load_encoder(NAME)
    network = network_of(whole, NAME)
    assert frozen(whole) == "int8"
    assert frozen(network) is None
    assert network.n_terms < whole.n_terms, "words are no part of it"


def test_a_required_word_is_the_word_and_not_its_pieces(
    index: Path, encoder: JoinedEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    """A document keeps its heaviest pieces alone, so one that says "caffeine" was not found."""
    assert [*encoder.term_strings(word_terms(encoder, "Caffeine"))] == ["word:caffein"]
    assert [*encoder.term_strings(word_terms(encoder, "the"))] == ["the"], "no word, but a piece"
    asked = ["search", index, "sleep dough airspace"]
    for option, wanted in (("--require", {"coffee"}), ("--exclude", {"bread", "volcano"})):
        facts = told(capsys, *asked, option, "caffeine")
        assert {hit["doc_id"] for hit in facts["queries"][0]["hits"]} == wanted


def test_it_is_compared_by_name(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "judged"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(corpus.read_text())
    asked = {"coffee": "insomnia and coffee", "bread": "baking with yeast"}
    rows = [json.dumps({"_id": name, "text": text}) for name, text in asked.items()]
    (folder / "queries.jsonl").write_text("\n".join(rows))
    judged = "query-id\tcorpus-id\tscore\n" + "".join(f"{one}\t{one}\t1\n" for one in asked)
    (folder / "qrels" / "test.tsv").write_text(judged)
    assert run(["compare", "bm25", NAME, "--on", str(folder), "--output", str(tmp_path / "c")]) == 0
    assert NAME in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["join", "idf of words", "idf of tokens"])
def test_frequencies_are_not_counted_where_texts_are_no_strings(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such documents counted as if they had none of their words."""
    place, new = tmp_path / "mini", str(tmp_path / "new")
    shutil.copytree(shipped(NAME), place)
    for folder in (place, place / "learned"):
        card = json.loads((folder / "lsr.json").read_text())
        (folder / "lsr.json").write_text(json.dumps(card | {"text_fields": ["body"]}))
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text(
        '{"_id": "one", "body": "red bees"}\n{"_id": "odd", "body": ["red", "bees"]}\n'
    )
    arguments = {
        "join": ["join", str(place / "learned"), new, "--words", str(mixed), "--least", "1"],
        "idf of words": ["idf", str(mixed), "--encoder", str(place), "--output", new],
        "idf of tokens": ["idf", str(mixed), "--tokenizer", str(place), "--output", new],
    }[verb]
    assert run(arguments) == DatasetError.exit_code
    told = capsys.readouterr().err
    assert "'body' of document 'odd' is a list, wanted a string, as in 1 of 2 documents" in told
    assert "jq -c " in told
    assert not Path(new).exists()
