"""Long documents in windows: nothing is lost, short documents stay as they are."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from tokenizers import Tokenizer, models, pre_tokenizers

from lsr.__main__ import run
from lsr.encoders import Card, SpladeEncoder, TextTokenizer, load_encoder
from lsr.encoders.windows import maximum, pieces
from lsr.errors import EncoderError

LETTERS = "abcdefgh"
SHORT = ["the cat sat", "", "a big dog on the mat", "  "]


@pytest.fixture(scope="module")
def letters() -> TextTokenizer:
    """Words of letters, a token each, which differ inside words; no special tokens."""
    names = ["[UNK]", *LETTERS, *(f"##{c}" for c in LETTERS)]
    raw = Tokenizer(
        models.WordPiece({name: number for number, name in enumerate(names)}, unk_token="[UNK]")
    )
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    return TextTokenizer.of(raw, max_length=8)


@settings(max_examples=100, deadline=None)
@given(
    words=st.lists(st.text(LETTERS, min_size=1, max_size=12), max_size=20),
    overlap=st.integers(0, 7),
)
def test_pieces_fit_cover_everything_and_overlap(
    letters: TextTokenizer, words: list[str], overlap: int
) -> None:
    """Words longer than a window, overlaps of nothing and of nearly all."""
    text = "  ".join(words)
    (spans,) = pieces([text], letters, overlap=overlap)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    unlimited = letters.limited(None)
    for start, end in spans:
        assert len(unlimited.ids([text[start:end]], special=False)[0]) <= 8
    for (start, end), (following, last) in zip(spans, spans[1:], strict=False):
        assert start < following
        assert end < last
        assert not text[end:following].strip()  # nothing between but spaces


def test_neighbours_share_the_overlap_up_to_the_beginning_of_a_word(letters: TextTokenizer) -> None:
    text = "a bb ccc dd e ff gg h"
    (spans,) = pieces([text], letters, overlap=3)
    assert [text[a:b].split() for a, b in spans] == [
        ["a", "bb", "ccc", "dd"],
        ["ccc", "dd", "e", "ff"],
        ["e", "ff", "gg", "h"],
    ]


@pytest.fixture
def encoder(tiny_checkpoint: Path) -> SpladeEncoder:
    """Random weights, 32 tokens at most, windows that share 4."""
    pytest.importorskip("torch")
    from lsr.encoders.splade import SpladeModel

    model = SpladeModel.from_checkpoint(tiny_checkpoint)
    return SpladeEncoder.of(model, name="tiny", window_overlap=4)


def long_text(n_words: int) -> str:
    return " ".join(random.Random(5).choices(["the", "cat", "dog", "sat", "on", "mat"], k=n_words))


def test_a_long_document_is_the_maximum_over_its_windows(encoder: SpladeEncoder) -> None:
    """96 words of a token each: windows of 30, found here without `pieces`, encoded one by one."""
    text = long_text(96)
    words = text.split()
    truncating = replace(encoder, card=Card("cut"))
    wanted = np.zeros(encoder.n_terms, np.float32)
    for start in range(0, 92, 26):
        window = " ".join(words[start : start + 30])
        wanted = np.maximum(wanted, truncating.encode_documents([window]).toarray()[0])
    got = encoder.encode_documents(["the cat", text, ""]).toarray()
    # Batches of other sizes sum in another order.
    np.testing.assert_allclose(got[1], wanted, atol=2e-6)
    assert np.any(got[1] > truncating.encode_documents([text]).toarray()[0] + 1e-3)


def test_a_term_of_the_tail_alone_is_found(encoder: SpladeEncoder) -> None:
    """A network whose head names the token it reads: the tail's word is missing if cut."""
    import torch

    model = encoder.side.model  # type: ignore[union-attr]
    rng = torch.Generator().manual_seed(0)
    table = torch.nn.functional.normalize(torch.randn(model.n_terms, 16, generator=rng))
    with torch.no_grad():
        model.decoder.weight.copy_(3 * table)
        model.decoder.bias.fill_(-2.9)
    model.features = lambda ids, mask: table[ids]  # type: ignore[method-assign]
    tree = model.tokenizer.tokenizer.token_to_id("tree")
    text = f"{long_text(80)} tree"
    assert encoder.encode_documents([text]).toarray()[0, tree] > 0
    assert replace(encoder, card=Card("cut")).encode_documents([text]).toarray()[0, tree] == 0


def test_short_documents_are_encoded_to_the_same_bits(encoder: SpladeEncoder) -> None:
    cut = replace(encoder, card=Card("cut")).encode_documents(SHORT)
    got = encoder.encode_documents(SHORT)
    assert got.indices.tolist() == cut.indices.tolist()
    assert got.data.tolist() == cut.data.tolist()


def test_the_cap_on_terms_holds_for_the_whole_document(encoder: SpladeEncoder) -> None:
    text = long_text(96)
    whole = encoder.encode_documents([text]).toarray()[0]
    capped = replace(encoder, settings=replace(encoder.settings, max_active_dims=5))
    kept = capped.encode_documents([text])
    assert sorted(kept.indices) == sorted(np.argsort(-whole, kind="stable")[:5])


def test_the_card_records_windows_and_queries_stay_cut(
    encoder: SpladeEncoder, tmp_path: Path
) -> None:
    encoder.save(tmp_path / "tiny")
    loaded = load_encoder(tmp_path / "tiny")
    text = long_text(96)
    assert loaded.encode_documents([text]).nnz == encoder.encode_documents([text]).nnz
    cut = replace(encoder, card=Card("cut"))
    assert loaded.space == cut.space
    query = loaded.encode_queries([text])
    np.testing.assert_array_equal(query.toarray(), cut.encode_documents([text]).toarray())


def test_an_overlap_without_room_is_refused(letters: TextTokenizer) -> None:
    with pytest.raises(EncoderError, match=r"overlap by 8 tokens.* room for 8"):
        pieces(["a"], letters, overlap=8)


@pytest.mark.parametrize("value", [-1, 2.5, "4", True])
def test_a_card_with_another_kind_of_overlap_is_refused(tmp_path: Path, value: object) -> None:
    import orjson

    (tmp_path / "lsr.json").write_bytes(orjson.dumps({"format": 1, "window_overlap": value}))
    with pytest.raises(EncoderError, match="window_overlap must be a number of tokens"):
        Card.read(tmp_path)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_maxima_over_groups_are_those_of_dense_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dense = (rng.random((7, 6)) * (rng.random((7, 6)) < 0.4)).astype(np.float32)
    group = np.sort(rng.integers(0, 4, size=7))
    wanted = np.zeros((4, 6), np.float32)
    np.maximum.at(wanted, group, dense)
    got = maximum(sparse.csr_array(dense), group, 4)
    np.testing.assert_array_equal(got.toarray(), wanted)


def test_bm25_has_no_windows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "docs.jsonl").write_text('{"_id": "a", "text": "cats"}\n')
    assert run(["index", str(tmp_path / "docs.jsonl"), str(tmp_path / "i"), "--windows", "8"]) == 2
    assert "--windows 8 belongs to encoders with a network" in capsys.readouterr().err
