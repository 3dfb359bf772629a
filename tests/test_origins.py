"""Which word and window gave a term its weight: against every logit computed by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import orjson
import pytest

torch = pytest.importorskip("torch")

from lsr import __main__ as command  # noqa: E402
from lsr.encoders import Card, InferenceFreeEncoder, SpladeEncoder  # noqa: E402
from lsr.encoders.splade import SpladeModel  # noqa: E402
from lsr.errors import EncoderError  # noqa: E402

TEXT = "the big cat sat on a mat"


@pytest.fixture
def model(tiny_checkpoint: Path) -> SpladeModel:
    return SpladeModel.from_checkpoint(tiny_checkpoint)


@pytest.mark.parametrize("prompt", ["", "a dog "])
def test_origins_are_the_positions_of_the_largest_logits(model: SpladeModel, prompt: str) -> None:
    """One pass of the plain network, arg-max by hand, words by hand: each word is one token."""
    encoder = SpladeEncoder.of(model)
    encoder = replace(encoder, settings=replace(encoder.settings, document_prompt=prompt))
    weights = encoder.encode_documents([TEXT])
    origins = encoder.origins(TEXT, range(model.n_terms))
    assert [origin.term for origin in origins] == weights.indices.tolist()
    np.testing.assert_array_equal([origin.weight for origin in origins], weights.data)
    words = ["[CLS]", *(prompt + TEXT).split(), "[SEP]"]
    ids = torch.tensor([[model.tokenizer.tokenizer.token_to_id(word) for word in words]])
    with torch.no_grad():
        model.eval()
        logits = model.backbone(input_ids=ids).logits[0].numpy()
    n_before = 1 + len(prompt.split())
    for origin in origins:
        position = int(logits[:, origin.term].argmax())
        assert origin.token == words[position]
        inside = n_before <= position < len(words) - 1
        assert (origin.span is not None) == inside
        if origin.span is not None:
            assert TEXT[slice(*origin.span)] == words[position]
            assert origin.span[0] == f" {TEXT} ".index(f" {words[position]} ")
        assert origin.literal == (model.tokenizer.strings([origin.term])[0] in TEXT.split())
    assert any(origin.literal for origin in origins)
    assert not all(origin.literal for origin in origins)


@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_a_literal_residual_comes_from_the_terms_own_token(
    tiny_checkpoint: Path, pooling: Literal["max", "sum"]
) -> None:
    """Where the residual outweighs the language model, the word itself is shown."""
    model = SpladeModel.from_checkpoint(tiny_checkpoint, pooling=pooling)
    plain = SpladeEncoder.of(model)
    alone = {o.term: o for o in plain.origins(TEXT, range(model.n_terms))}
    model.attach_literal(position="first", seed=5)
    assert model.literal is not None
    encoder = SpladeEncoder.of(model)
    whole = {o.term: o for o in encoder.origins(TEXT, range(model.n_terms))}
    words = {model.tokenizer.tokenizer.token_to_id(word): word for word in TEXT.split()}
    outweighed = {
        term
        for term in words
        if whole[term].weight >= 2 * (alone[term].weight if term in alone else 0)
    }
    assert outweighed
    assert outweighed != set(whole)
    for term, origin in whole.items():
        if term in outweighed:
            assert origin.token == words[term]
            assert origin.span is not None
            assert TEXT[slice(*origin.span)] == words[term]
            assert origin.literal
        else:
            assert origin.token == alone[term].token
            assert origin.span == alone[term].span


def test_a_term_of_the_tail_comes_from_the_last_window(model: SpladeModel) -> None:
    """A head that names the token it reads."""
    table = torch.nn.functional.normalize(torch.randn(model.n_terms, 16, generator=_rng()))
    with torch.no_grad():
        model.decoder.weight.copy_(3 * table)
        model.decoder.bias.fill_(-2.9)
    model.features = lambda ids, mask: table[ids]  # type: ignore[method-assign,assignment]
    table_of_queries = np.ones(model.n_terms, np.float32)
    encoder = InferenceFreeEncoder.of(model, table_of_queries, window_overlap=3)
    text = f"{'cat dog ' * 40}tree"
    tree, dog = (model.tokenizer.tokenizer.token_to_id(word) for word in ("tree", "dog"))
    first, last = encoder.origins(text, [dog, tree])
    assert (first.window, first.span, first.literal) == (0, (4, 7), True)
    assert last.window == 2
    assert last.span == (len(text) - 4, len(text))
    assert encoder.origins(text, [model.tokenizer.tokenizer.token_to_id("mat")]) == []


def test_a_query_side_alone_has_no_origins(model: SpladeModel) -> None:
    whole = InferenceFreeEncoder.of(model, np.ones(model.n_terms, np.float32))
    with pytest.raises(EncoderError, match="holds only the query side"):
        replace(whole, documents=None, card=Card("q", space="0" * 16)).origins(TEXT, [1])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "docs.jsonl"
    rows = [{"_id": "d1", "text": TEXT}, {"_id": "d2", "text": "the dog sat"}]
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert command.run(list(words)) == 0
    return capsys.readouterr().out


def test_explained_searches_name_words_and_add_up_as_before(
    model: SpladeModel, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the index keeps the query side alone: the encoder that built it is asked."""
    encoder = InferenceFreeEncoder.of(model, np.ones(model.n_terms, np.float32), name="tiny")
    encoder.save(tmp_path / "tiny")
    index = str(tmp_path / "docs.index")
    run(capsys, "index", str(corpus), index, "--encoder", str(tmp_path / "tiny"))
    asked = ("search", index, "the cat sat")
    plain = orjson.loads(run(capsys, *asked, "--json"))["queries"][0]["hits"]
    explained = orjson.loads(run(capsys, *asked, "--json", "--explain"))["queries"][0]["hits"]
    kinds = set()
    for before, hit in zip(plain, explained, strict=True):
        for term in hit["terms"]:
            origin = term.pop("origin")
            kinds.add(origin["kind"])
            start, end = origin["span"] or (0, 0)
            assert hit["fields"]["text"][start:end] == (origin["text"] or "")
            assert origin["weight"] == pytest.approx(term["doc_weight"], abs=0.02)  # 8 bits
        assert hit == before
        assert sum(term["score"] for term in hit["terms"]) == pytest.approx(hit["score"])
    assert kinds
    printed = run(capsys, *asked, "--explain")
    assert "<- '" in printed
    assert "origin     encoded 2 documents again" in printed


def test_origins_of_a_passage_are_looked_for_in_the_passage(
    model: SpladeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the whole document the network might not reach so far; places are the document's."""
    encoder = InferenceFreeEncoder.of(model, np.ones(model.n_terms, np.float32), name="tiny")
    encoder.save(tmp_path / "tiny")
    text = "the dog sat on a mat " * 20 + "the big tree"
    (tmp_path / "long.jsonl").write_bytes(orjson.dumps({"_id": "d", "text": text}))
    index = str(tmp_path / "long.index")
    words = ("--encoder", str(tmp_path / "tiny"), "--passages", "6/2")
    run(capsys, "index", str(tmp_path / "long.jsonl"), index, *words)
    starts = set()
    for word in ("big", "tree", "cat", "mat"):
        told = orjson.loads(run(capsys, "search", index, word, "--json", "--explain"))
        for hit in told["queries"][0]["hits"]:
            start, end = hit["passage"]["start"], hit["passage"]["end"]
            starts.add(start)
            for one in hit["terms"]:
                origin = one["origin"]
                first, after = origin["span"] or (start, start)
                assert start <= first <= after <= end
                assert text[first:after] == (origin["text"] or "")
    assert max(starts) > 0, "some other passage than the first was best"


def test_without_the_network_the_origin_is_unavailable(
    model: SpladeModel, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    encoder = InferenceFreeEncoder.of(model, np.ones(model.n_terms, np.float32), name="tiny")
    encoder.save(tmp_path / "tiny")
    index = str(tmp_path / "docs.index")
    run(capsys, "index", str(corpus), index, "--encoder", str(tmp_path / "tiny"))
    shutil.rmtree(tmp_path / "tiny")
    printed = run(capsys, "search", index, "the cat sat", "--explain")
    assert "unavailable: encoder 'tiny' holds only the query side" in printed
    assert "cat <- 'cat' (literal)" in printed, "what the text says needs no network"
    assert "query x" in printed


def test_bm25_explains_as_ever(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = str(tmp_path / "docs.index")
    run(capsys, "index", str(corpus), index)
    printed = run(capsys, "search", index, "cat", "--explain")
    assert "query x" in printed
    assert "origin" not in printed


def _rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)
