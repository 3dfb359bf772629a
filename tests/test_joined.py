"""A learned encoder and BM25 in one: scores add up, on disk as in memory, and terms keep apart."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from lsr.__main__ import run
from lsr.encoders import (
    BM25Encoder,
    InferenceFreeEncoder,
    JoinedEncoder,
    SparseEncoder,
    cut_off,
    idf_table,
    load_encoder,
    said,
)
from lsr.encoders.joined import _side_by_side, count_words
from lsr.errors import EncoderError, UsageError

torch = pytest.importorskip("torch")

TEXTS = ["the cat sat", "", "a big dog on the mat", "cat cat cats trees", "zebras"]
QUERIES = ["cats", "big dogs and zebras", "", "the the the"]


@pytest.fixture
def learned(tiny_checkpoint: Path) -> InferenceFreeEncoder:
    from lsr.encoders.splade import SpladeModel

    model = SpladeModel.from_checkpoint(tiny_checkpoint, max_length=24).eval()
    table = idf_table(TEXTS, model.tokenizer, n_terms=model.n_terms)
    return InferenceFreeEncoder.of(model, table, max_weight=1.5)


@pytest.fixture
def joined(learned: InferenceFreeEncoder) -> JoinedEncoder:
    return JoinedEncoder.of(learned, BM25Encoder.fit(TEXTS), weight=2.0, name="both")


def scores(encoder: SparseEncoder) -> np.ndarray:  # type: ignore[type-arg]
    queries, documents = encoder.encode_queries(QUERIES), encoder.encode_documents(TEXTS)
    return (queries @ documents.T).toarray()  # type: ignore[no-any-return]


def test_scores_are_the_learned_ones_plus_twice_those_of_bm25(
    joined: JoinedEncoder, learned: InferenceFreeEncoder
) -> None:
    expected = scores(learned) + 2 * scores(BM25Encoder.fit(TEXTS))
    # float32 sums in another order.
    np.testing.assert_allclose(scores(joined), expected, rtol=1e-5, atol=1e-5)
    assert joined.encode_documents(TEXTS).shape == (5, joined.n_terms)
    assert joined.encode_documents([]).shape == (0, joined.n_terms)
    assert joined.max_weight == 2.0


def test_the_folder_holds_both_and_queries_need_no_network(
    joined: JoinedEncoder, tmp_path: Path
) -> None:
    joined.save(tmp_path / "whole")
    again = load_encoder(tmp_path / "whole")
    np.testing.assert_array_equal(scores(again), scores(joined))
    assert (again.space, again.name, again.max_weight) == (joined.space, "both", 2.0)
    again.save(tmp_path / "queries", queries_only=True)
    assert not list((tmp_path / "queries").rglob("document_*"))
    with pytest.raises(EncoderError, match="holds only the query side"):
        load_encoder(tmp_path / "queries")
    asking = load_encoder(tmp_path / "queries", queries_only=True)
    assert (asking.space, asking.build) == (again.space, again.build)
    np.testing.assert_array_equal(
        asking.encode_queries(QUERIES).toarray(), joined.encode_queries(QUERIES).toarray()
    )


def test_the_space_is_that_of_documents_alone(
    joined: JoinedEncoder, learned: InferenceFreeEncoder
) -> None:
    words = joined.words
    table = learned.with_table(np.ones(learned.n_terms, np.float32))
    same = JoinedEncoder.of(table, words, weight=2.0, name="other name")
    assert same.space == joined.space
    other = JoinedEncoder.of(learned, words, weight=1.0, name="both")
    assert other.space != joined.space != learned.space


def test_a_text_says_its_pieces_and_its_words_and_no_name_is_used_twice(
    joined: JoinedEncoder,
) -> None:
    text = "Big cats the zebra"
    found = said(joined, text)
    assert found is not None
    assert {one.term for one in found} == set(joined.encode_queries([text]).indices.tolist())
    assert [one.start for one in found] == sorted(one.start for one in found)
    spoken = {joined.term_strings([one.term])[0]: text[one.start : one.end] for one in found}
    assert (spoken["word:cat"], spoken["word:zebra"]) == ("cats", "zebra")
    assert (spoken["cat"], spoken["##s"]) == ("cat", "s")
    names = joined.term_strings(range(joined.n_terms))
    assert len(set(names)) == len(names)
    assert cut_off(joined, "cat " * 30, document=True) is True
    assert cut_off(joined, "cat", document=True) is False


def test_a_word_of_few_texts_weighs_as_one_never_seen() -> None:
    words = count_words(["red bees", "bees", "red ants"], least=2)
    rows = words.encode_queries(["bee", "ant", "wasp"])
    bee, ant, wasp = (rows[[row]].data[0] for row in range(3))
    assert bee == pytest.approx(np.log1p(1.5 / 2.5))
    assert ant == wasp == pytest.approx(np.log1p(3.5 / 0.5))


def test_idf_is_what_a_query_gives_each_term(joined: JoinedEncoder) -> None:
    row = joined.encode_queries(["big cats"])
    np.testing.assert_array_equal(joined.idf(row.indices), row.data)


@given(st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_rows_stand_side_by_side_as_scipy_puts_them(n_rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    left, right = (
        sparse.random_array((n_rows, n), density=0.3, format="csr", dtype=np.float32, rng=random)
        for n in (7, 11)
    )
    got = _side_by_side(left, right, 1.5)
    wanted = sparse.hstack([left, right * np.float32(1.5)], format="csr")
    for part in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(got, part), getattr(wanted, part))
    assert got.shape == wanted.shape
    assert (got.indices.dtype, got.data.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("joined.json", {"format": 9, "weight": 1.0}, "format 9"),
        ("joined.json", {"format": 1, "weight": -1.0}, "weight must be a number above 0"),
    ],
)
def test_a_damaged_folder_is_refused(
    joined: JoinedEncoder, tmp_path: Path, name: str, content: object, message: str
) -> None:
    joined.save(tmp_path / "both")
    (tmp_path / "both" / name).write_text(json.dumps(content))
    with pytest.raises(EncoderError, match=message):
        load_encoder(tmp_path / "both")


def test_a_weight_of_nothing_is_refused(learned: InferenceFreeEncoder) -> None:
    with pytest.raises(EncoderError, match="weight above 0"):
        JoinedEncoder.of(learned, BM25Encoder.fit(TEXTS), weight=0.0, name="both")


def test_the_command_joins_and_refuses_what_has_no_table(
    learned: InferenceFreeEncoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    rows = [{"_id": str(n), "text": text or "cat"} for n, text in enumerate(TEXTS * 2)]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    learned.save(tmp_path / "learned")
    output = str(tmp_path / "both")
    words = ["--words", str(corpus), "--least", "4", "--weight", "3"]
    assert run(["join", str(tmp_path / "learned"), output, *words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["n_docs"], facts["words"]) == (10, 1)  # "cat" alone is in four texts or more
    whole = load_encoder(output)
    assert isinstance(whole, JoinedEncoder)
    assert (whole.name, whole.weight, whole.words.statistics.terms) == ("both", 3.0, ("cat",))
    assert run(["join", str(tmp_path / "learned"), output, *words]) == UsageError.exit_code
    again = run(["join", output, str(tmp_path / "twice"), *words])
    assert again == UsageError.exit_code
    assert "inference-free encoder was wanted" in capsys.readouterr().err
    none = [*words[:3], "99", *words[4:], "--overwrite"]
    assert run(["join", str(tmp_path / "learned"), output, *none]) == UsageError.exit_code
    assert "no word occurs in 99 documents" in capsys.readouterr().err
    assert load_encoder(output).name == "both"
    few = [*words[:3], "1", *words[4:], "--most", "5", "--overwrite"]
    assert run(["join", str(tmp_path / "learned"), output, *few]) == 0
    assert load_encoder(output).words.statistics.n_docs == 5  # type: ignore[attr-defined]
