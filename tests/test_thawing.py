"""Thawed encoders: the network that an ONNX graph was made of, as far as its bits go."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsr.__main__ import run
from lsr.encoders import (
    BM25Encoder,
    Card,
    InferenceFreeEncoder,
    JoinedEncoder,
    SeparateEncoder,
    Settings,
    SparseEncoder,
    SpladeEncoder,
    TransformerSide,
    load_encoder,
)
from lsr.encoders.joined import count_words
from lsr.errors import EncoderError

pytest.importorskip("onnxscript")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from lsr.encoders.onnx_export import export_onnx  # noqa: E402
from lsr.encoders.splade import SpladeModel  # noqa: E402
from lsr.encoders.thawing import is_frozen, thaw  # noqa: E402

pytestmark = pytest.mark.usefixtures("traced_once")
TEXTS = ["the cat sat", "", "a big dog on the mat", "cat cat cats", "x" * 200, "café 北京"]
SAMPLE = ["the cat sat on a mat", "big dogs", "café tree tree", "a dog sat on the big cat"]
TRAINING = {"data": [{"name": "scifact", "split": "train"}]}


def parameters(side: Any) -> dict[str, np.ndarray[Any, Any]]:
    return {name: value.detach().numpy() for name, value in side.model.named_parameters()}


def splade(checkpoint: Path, **more: Any) -> SpladeEncoder:
    settings = Settings(query_prompt="a cat ", document_prompt="the ", max_active_dims=9)
    side = TransformerSide(checkpoint, max_length=24, **more)
    return SpladeEncoder(side, Card("tiny", max_weight=2.5, training=TRAINING), settings)


@pytest.mark.parametrize(
    ("precision", "more"),
    [
        ("float32", {}),
        ("float32", {"pooling": "sum", "activation": "log1p_relu"}),
        pytest.param("float16", {}, marks=pytest.mark.slow),
        ("int8", {}),
    ],
)
def test_every_parameter_comes_back_within_the_bits_of_its_graph(
    tiny_checkpoint: Path, tmp_path: Path, precision: Any, more: dict[str, str]
) -> None:
    """float32 exactly; float16 to 11 bits; int8 to half a step of what a matrix holds."""
    encoder = splade(tiny_checkpoint, **more)
    export_onnx(encoder, tmp_path / "graph", precision=precision, texts=SAMPLE)
    frozen = load_encoder(tmp_path / "graph")
    assert is_frozen(frozen)
    assert not is_frozen(encoder)
    thawed = thaw(frozen)
    assert isinstance(thawed, SpladeEncoder)
    assert isinstance(thawed.side, TransformerSide)
    wanted, got = parameters(encoder.side), parameters(thawed.side)
    assert wanted.keys() == got.keys()
    for name, value in wanted.items():
        theirs = got[name]
        value = value[: len(theirs)]  # positions past the length limit are not in the graph
        if precision == "float32":
            np.testing.assert_array_equal(theirs, value, err_msg=name)
        elif precision == "float16":
            np.testing.assert_allclose(theirs, value, rtol=2**-11, atol=1e-7, err_msg=name)
        elif value.ndim == 2:
            # Smoothing gives columns steps of different size: a bound on their mean suffices.
            assert np.abs(theirs - value).mean() <= np.abs(value).max() / 127, name
            assert np.corrcoef(theirs.ravel(), value.ravel())[0, 1] > 0.999, name
        else:
            np.testing.assert_array_equal(theirs, value, err_msg=name)
    assert (thawed.settings, thawed.max_weight) == (encoder.settings, 2.5)
    assert (thawed.name, thawed.card.training, thawed.card.export) == ("tiny", TRAINING, None)
    assert (thawed.side.pooling, thawed.side.activation) == frozen_readout(frozen)


def frozen_readout(frozen: SparseEncoder) -> tuple[str, str]:
    assert isinstance(frozen, SpladeEncoder)
    activation, pooling = frozen.side.readout  # type: ignore[union-attr]
    return pooling, activation


def test_vectors_differ_by_the_rounding_of_activations_alone(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    export_onnx(splade(tiny_checkpoint), tmp_path / "graph", precision="int8", texts=SAMPLE)
    frozen = load_encoder(tmp_path / "graph")
    thawed = thaw(frozen)
    thawed.save(tmp_path / "thawed")
    again = load_encoder(tmp_path / "thawed")
    ours, theirs = thawed.encode_documents(TEXTS), again.encode_documents(TEXTS)
    assert abs(ours - theirs).max() == 0
    assert abs(ours - frozen.encode_documents(TEXTS)).max() < 6e-2
    assert again.space not in (frozen.space, splade(tiny_checkpoint).space)


def test_a_decoder_of_its_own_is_no_embedding(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Where the two are not tied, each comes back as itself, in float32 and in 8 bits."""
    tied = SpladeModel.from_checkpoint(tiny_checkpoint, max_length=24)
    shape = tied.backbone.config.to_diff_dict() | {"tie_word_embeddings": False}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        backbone = transformers.BertForMaskedLM(transformers.BertConfig(**shape)).eval()
    model = SpladeModel(backbone, tied.tokenizer)
    decoder = model.decoder
    assert decoder.weight is not backbone.get_input_embeddings().weight
    encoder = SpladeEncoder.of(model, name="untied")
    for precision in ("float32", "int8"):
        export_onnx(encoder, tmp_path / precision, precision=precision, texts=SAMPLE)  # type: ignore[arg-type]
        thawed = thaw(load_encoder(tmp_path / precision))
        assert isinstance(thawed, SpladeEncoder)
        theirs = thawed.side.model  # type: ignore[union-attr]
        for mine, its in (
            (decoder.weight, theirs.decoder.weight),
            (
                model.backbone.get_input_embeddings().weight,
                theirs.backbone.get_input_embeddings().weight,
            ),
        ):
            bound = 0 if precision == "float32" else float(mine.detach().abs().max()) / 40
            assert float((mine - its).abs().max().detach()) <= bound


def test_parameters_that_the_graph_has_folded_away_are_missed(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """DeBERTa's query biases: in no constant under their names, and not without effect."""
    tokenizer = SpladeModel.from_checkpoint(tiny_checkpoint, max_length=24).tokenizer
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.DebertaConfig(vocab_size=67, intermediate_size=32, **shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        backbone = transformers.DebertaForMaskedLM(config).eval()
        for parameter in backbone.parameters():
            if parameter.ndim == 1:
                torch.nn.init.normal_(parameter)
    encoder = SpladeEncoder.of(SpladeModel(backbone, tokenizer), name="deberta")
    export_onnx(encoder, tmp_path / "graph", precision="float32", texts=SAMPLE)
    with pytest.raises(EncoderError, match=r"nothing found for deberta.*q_bias"):
        thaw(load_encoder(tmp_path / "graph"))


def test_tables_words_and_both_networks_are_kept(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = SpladeModel.from_checkpoint(tiny_checkpoint, max_length=24)
    table = np.linspace(0, 2, model.n_terms, dtype=np.float32)
    free = InferenceFreeEncoder.of(model, table, name="free")
    words = count_words(SAMPLE * 2, least=1)
    joined = JoinedEncoder.of(free, words, weight=2.0, name="joined")
    export_onnx(joined, tmp_path / "joined", precision="float32", texts=SAMPLE)
    thawed = thaw(load_encoder(tmp_path / "joined"))
    assert isinstance(thawed, JoinedEncoder)
    np.testing.assert_array_equal(thawed.learned.queries.weights, table)
    assert (thawed.weight, thawed.words.statistics.terms) == (2.0, words.statistics.terms)
    for ours, theirs in (
        (joined.encode_documents(TEXTS), thawed.encode_documents(TEXTS)),
        (joined.encode_queries(TEXTS), thawed.encode_queries(TEXTS)),
    ):
        assert abs(ours - theirs).max() < 1e-6

    second = SpladeModel.from_checkpoint(tiny_checkpoint, max_length=24)
    with torch.no_grad():
        second.decoder.bias += 0.25
    both = SeparateEncoder.of(model, second, name="both")
    export_onnx(both, tmp_path / "both", precision="float32", texts=SAMPLE)
    apart = thaw(load_encoder(tmp_path / "both"))
    assert abs(apart.encode_queries(TEXTS) - both.encode_queries(TEXTS)).max() < 1e-6
    assert abs(apart.encode_documents(TEXTS) - both.encode_documents(TEXTS)).max() < 1e-6


def test_what_cannot_be_thawed_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    encoder = splade(tiny_checkpoint)
    with pytest.raises(EncoderError, match="trained as it is"):
        thaw(encoder)
    with pytest.raises(EncoderError, match="no ONNX graph"):
        thaw(BM25Encoder.fit(["a", "b"]))
    export_onnx(encoder, tmp_path / "graph", precision="int8", texts=SAMPLE)

    def spoiled(name: str, change: Any) -> SparseEncoder:
        place = tmp_path / name
        shutil.copytree(tmp_path / "graph", place)
        side = place / "0_OnnxTransformer"
        config = json.loads((side / "config.json").read_text())
        change(side, config)
        (side / "config.json").write_text(json.dumps(config))
        return load_encoder(place)

    old = spoiled("old", lambda place, config: config.pop("network"))
    with pytest.raises(EncoderError, match="export the encoder again"):
        thaw(old)
    deeper = spoiled("deeper", lambda place, config: config["network"].update(num_hidden_layers=9))
    with pytest.raises(EncoderError, match=r"nothing found for bert\.encoder\.layer"):
        thaw(deeper)
    odd = spoiled("odd", lambda place, config: config["network"].update(model_type="nonesuch"))
    with pytest.raises(EncoderError, match="no masked language model"):
        thaw(odd)
    other = spoiled("other", lambda _, config: config["parameters"]["factors"].pop())
    with pytest.raises(EncoderError, match="no graph that this package wrote"):
        thaw(other)
    broken = spoiled("broken", lambda place, _: (place / "model.onnx").write_bytes(b"not a graph"))
    with pytest.raises(EncoderError, match="no graph that this package wrote"):
        thaw(broken)


def test_the_command_and_the_encoder_that_comes_with_the_package(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rounded activations move weights of 1.07 by .06 on average (lsr-mini's README)."""
    assert run(["thaw", "lsr-mini", str(tmp_path / "mini")]) == 0
    assert "wrote" in capsys.readouterr().out
    frozen, thawed = load_encoder("lsr-mini"), load_encoder(tmp_path / "mini")
    assert isinstance(frozen, JoinedEncoder)
    assert isinstance(thawed, JoinedEncoder)
    texts = ["A cohort study of vitamin D and bone density in women.", "How rivers form deltas."]
    ours, theirs = frozen.learned.encode_documents(texts), thawed.learned.encode_documents(texts)
    either = max(1, (ours + theirs).nnz)
    assert abs(ours - theirs).sum() / either < 0.1
    assert abs(frozen.encode_queries(texts) - thawed.encode_queries(texts)).max() == 0
    assert thawed.learned.card.training == frozen.learned.card.training
    assert run(["thaw", "lsr-mini", str(tmp_path / "mini")]) != 0
    assert "--overwrite" in capsys.readouterr().err
    itself = str(frozen.folder)
    assert run(["thaw", "lsr-mini", itself, "--overwrite"]) != 0
    assert "the encoder itself" in capsys.readouterr().err
