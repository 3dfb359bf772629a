"""PROSPER's literal residual: the words of a text keep their weight, on disk as in memory."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decoders import make_decoder
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lsr.encoders import (  # noqa: E402
    InferenceFreeEncoder,
    SeparateEncoder,
    SparseEncoder,
    SpladeEncoder,
    idf_table,
    load_encoder,
)
from lsr.encoders.decoder import DecoderModel  # noqa: E402
from lsr.encoders.literal import LiteralResidual  # noqa: E402
from lsr.encoders.splade import SpladeModel  # noqa: E402
from lsr.errors import EncoderError  # noqa: E402

TEXTS = ["the cat sat", "a big dog on the mat", "cat cat cats", "tree"]


@pytest.fixture
def plain(tiny_checkpoint: Path) -> SpladeModel:
    return SpladeModel.from_checkpoint(tiny_checkpoint, max_length=24)


@pytest.fixture
def model(tiny_checkpoint: Path) -> SpladeModel:
    model = SpladeModel.from_checkpoint(tiny_checkpoint, max_length=24)
    model.attach_literal(position="first", seed=5)
    return model.eval()


@given(seed=st.integers(0, 2**32 - 1), position=st.sampled_from(["first", "last"]))
def test_literal_terms_get_what_they_lack_and_others_stay(seed: int, position: Any) -> None:
    """The formula, one term at a time, in numpy; and the minimum it promises."""
    rng = np.random.default_rng(seed)
    n_terms, width, length, special = 12, 4, 5, [0, 3]
    ids = rng.integers(0, n_terms, (2, length))
    n_real = rng.integers(1, length + 1, 2)
    mask = (np.arange(length) < n_real[:, None]).astype(np.int64)
    weights = rng.gamma(0.5, 1.0, (2, n_terms)).astype(np.float32) * rng.integers(0, 2, (2, 1))
    features = rng.normal(size=(2, length, width)).astype(np.float32)
    residual = LiteralResidual(width, n_terms, special, position=position, seed=seed % 1000)
    torch.nn.init.normal_(residual.guess.weight)
    torch.nn.init.normal_(residual.guess.bias)
    with torch.no_grad():
        got = residual(*map(torch.from_numpy, (weights, features, ids, mask))).numpy()
    matrix, bias = residual.guess.weight.detach().numpy(), residual.guess.bias.detach().numpy()
    for row in range(2):
        state = features[row, 0 if position == "first" else n_real[row] - 1]
        guessed = np.log1p(np.maximum(matrix @ state + bias, 0))
        words = set(ids[row, : n_real[row]].tolist()) - set(special)
        for term in range(n_terms):
            if term not in words:
                assert got[row, term] == weights[row, term]
                continue
            lacked = guessed.max() - guessed[term]
            # Products of float32 in another order.
            assert got[row, term] == pytest.approx(weights[row, term] + lacked, abs=1e-5)
            assert got[row, term] >= weights[row, term]
            assert got[row, term] + guessed[term] >= guessed.max() - 1e-5


def test_a_word_that_the_language_model_leaves_out_is_in_the_vector(
    model: SpladeModel, plain: SpladeModel
) -> None:
    with torch.no_grad():
        for network in (model, plain):
            network.decoder.bias.fill_(-1e4)
    tokens = model.tokenizer.ids(TEXTS, special=True)
    assert plain.encode_tokens(tokens).nnz == 0
    rows = model.encode_tokens(tokens)
    special = set(model.tokenizer.special_ids())
    for row, ids in enumerate(tokens):
        found = set(rows.indices[rows.indptr[row] : rows.indptr[row + 1]].tolist())
        words = set(ids) - special
        # All but the one term that the second head rates highest, if that is a word of the text.
        assert found <= words
        assert len(found) >= len(words) - 1


def test_chosen_columns_are_those_of_the_whole(model: SpladeModel) -> None:
    tokens = torch.tensor(model.tokenizer.ids(["the cat sat", "a big dog"], special=True))
    mask, columns = torch.ones_like(tokens), torch.tensor([5, 9, 60])
    with torch.no_grad():
        whole = model.weights(tokens, mask)
        assert torch.allclose(model.weights(tokens, mask, columns), whole[:, columns], atol=1e-6)


@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_the_gradient_reaches_both_heads_and_the_encoder(
    tiny_checkpoint: Path, pooling: Any
) -> None:
    model = SpladeModel.from_checkpoint(tiny_checkpoint, pooling=pooling)
    model.attach_literal(position="last")
    tokens = torch.tensor(model.tokenizer.ids(["the cat sat"], special=True))
    model.weights(tokens, torch.ones_like(tokens)).sum().backward()
    literal = model.literal
    assert literal is not None
    for parameter in (literal.guess.weight, literal.guess.bias, model.decoder.bias):
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0
    first = next(model.backbone.parameters())
    assert first.grad is not None
    assert first.grad.abs().max() > 0


def test_attaching_the_same_seed_gives_the_same_network(plain: SpladeModel) -> None:
    before = torch.random.get_rng_state()
    plain.attach_literal(position="first", seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    first = plain.literal
    plain.attach_literal(position="first", seed=1)
    assert first is not None
    assert plain.literal is not None
    assert torch.equal(first.guess.weight, plain.literal.guess.weight)


def encoders(model: SpladeModel, plain: SpladeModel) -> dict[str, SparseEncoder]:
    return {
        "siamese": SpladeEncoder.of(model),
        "inference-free": InferenceFreeEncoder.of(model, idf_table(TEXTS, model.tokenizer)),
        "separate": SeparateEncoder.of(plain, model),
    }


@pytest.mark.parametrize("kind", ["siamese", "inference-free", "separate"])
def test_what_was_saved_is_what_is_loaded(
    kind: str, model: SpladeModel, plain: SpladeModel, tmp_path: Path
) -> None:
    """Bit for bit, also after a second journey, in the same space."""
    encoder = encoders(model, plain)[kind]
    encoder.save(tmp_path / "one")
    loaded = load_encoder(tmp_path / "one", device="cpu")
    loaded.save(tmp_path / "two")
    again = load_encoder(tmp_path / "two", device="cpu")
    wanted = encoder.encode_documents(TEXTS).toarray()
    assert np.array_equal(loaded.encode_documents(TEXTS).toarray(), wanted)
    assert np.array_equal(again.encode_documents(TEXTS).toarray(), wanted)
    assert encoder.space == loaded.space == again.space
    assert not np.array_equal(SpladeEncoder.of(plain).encode_documents(TEXTS).toarray(), wanted)
    assert SpladeEncoder.of(plain).space != encoder.space


@pytest.mark.parametrize("pooling", ["last", "max"])
def test_a_decoder_has_one_too(tmp_path: Path, pooling: Any) -> None:
    """PROSPER's own form: the last token's state feeds both heads, and every word is present."""
    model = DecoderModel.from_checkpoint(make_decoder(tmp_path / "c"), pooling=pooling)
    model.attach_literal(position="last", seed=2)
    encoder = SpladeEncoder.of(model.eval())
    texts = ["heart attack risk", "the team of the cat"]
    wanted = encoder.encode_documents(texts)
    for row, text in enumerate(texts):
        words = {model.tokenizer.tokenizer.token_to_id(word) for word in text.split()}
        found = wanted.indices[wanted.indptr[row] : wanted.indptr[row + 1]].tolist()
        assert len(words - set(found)) <= 1
    encoder.save(tmp_path / "e")
    loaded = load_encoder(tmp_path / "e", device="cpu")
    assert np.array_equal(loaded.encode_documents(texts).toarray(), wanted.toarray())
    assert loaded.space == encoder.space


def test_another_residual_is_another_space(model: SpladeModel) -> None:
    before = SpladeEncoder.of(model).space
    assert model.literal is not None
    with torch.no_grad():
        model.literal.guess.bias[3] += 1
    assert SpladeEncoder.of(model).space != before


def test_stock_sentence_transformers_refuses_the_folder(model: SpladeModel, tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    SpladeEncoder.of(model).save(tmp_path / "e")
    listed = json.loads((tmp_path / "e" / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in listed] == [
        "Transformer",
        "SpladePooling",
        "LiteralResidual",
    ]
    with pytest.raises(Exception, match=r"LiteralResidual|lsr"):
        library.SparseEncoder(str(tmp_path / "e"), device="cpu")


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("config.json", b'{"position": "middle"}', "position = 'middle'"),
        ("model.safetensors", b"no tensors", "is no literal residual network"),
    ],
)
def test_a_damaged_module_is_named(
    model: SpladeModel, tmp_path: Path, file: str, content: bytes, complaint: str
) -> None:
    SpladeEncoder.of(model).save(tmp_path / "e")
    (tmp_path / "e" / "2_LiteralResidual" / file).write_bytes(content)
    with pytest.raises(EncoderError, match=complaint):
        load_encoder(tmp_path / "e").encode_documents(["cat"])


def test_there_is_no_onnx_form(model: SpladeModel, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from lsr.encoders.onnx_export import export_onnx

    SpladeEncoder.of(model).save(tmp_path / "e")
    with pytest.raises(EncoderError, match="literal residual, which has no ONNX form"):
        export_onnx(load_encoder(tmp_path / "e"), tmp_path / "onnx", texts=TEXTS)
