"""ONNX twins: the same vectors as the network, without torch, in the same space."""

import json
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import Index
from index.carrying import _tracing
from lsr.__main__ import run
from lsr.commands._tracing import require_tracing
from lsr.encoders import (
    BM25Encoder,
    Card,
    InferenceFreeEncoder,
    JoinedEncoder,
    SeparateEncoder,
    Settings,
    SpladeEncoder,
    TextTokenizer,
    TransformerSide,
    load_encoder,
    onnx_side,
)
from lsr.encoders.onnx_positions import with_positions
from lsr.encoders.onnx_side import OnnxSide
from lsr.errors import EncoderError, UsageError

pytest.importorskip("onnxscript")

pytestmark = pytest.mark.usefixtures("traced_once")
TEXTS = ["the cat sat", "", "a big dog on the mat", "  \n", "cat cat cats", "x" * 200, "café 北京"]
SAMPLE = ["the cat sat on a mat", "big dogs", "café tree tree", "a dog sat on the big cat"]
# float32 sums of another order: the bound of the export's own promise.
TOLERANCE = 1e-4


TRAINING = {"data": [{"name": "scifact", "split": "train"}]}


@pytest.fixture(scope="module")
def splade(tiny_checkpoint: Path) -> SpladeEncoder:
    settings = Settings(query_prompt="a cat ", document_prompt="the ", max_active_dims=None)
    side = TransformerSide(tiny_checkpoint, max_length=24)
    return SpladeEncoder(side, Card("tiny", max_weight=2.5, training=TRAINING), settings)


@pytest.fixture(scope="module")
def twins(splade: SpladeEncoder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each precision."""
    from lsr.encoders.onnx_export import export_onnx

    root = tmp_path_factory.mktemp("onnx")
    for precision in ("float32", "float16", "int8"):
        export_onnx(splade, root / precision, precision=precision, texts=SAMPLE)  # type: ignore[arg-type]
    return {path.name: path for path in root.iterdir()}


def dense(rows: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return rows.toarray()  # type: ignore[no-any-return]


# --- the same vectors ------------------------------------------------------------------------


def test_float32_gives_the_vectors_of_the_network(
    splade: SpladeEncoder, twins: dict[str, Path]
) -> None:
    """Prompts, the length limit, padding and empty texts included."""
    twin = load_encoder(twins["float32"])
    for ours, theirs in (
        (splade.encode_queries, twin.encode_queries),
        (splade.encode_documents, twin.encode_documents),
    ):
        wanted, got = ours(TEXTS), theirs(TEXTS)
        assert wanted.nnz > 0
        assert np.abs(dense(wanted) - dense(got)).max() < TOLERANCE
        assert np.diff(got.indptr)[[1, 3]].tolist() == [0, 0]
        assert got.has_canonical_format
        assert got.dtype == np.float32
    assert twin.encode_documents([]).shape == (0, splade.n_terms)
    assert (twin.name, twin.max_weight, twin.n_terms) == ("tiny-onnx", 2.5, splade.n_terms)


def test_a_graph_names_no_folder_of_the_machine_that_made_it(twins: dict[str, Path]) -> None:
    """The tracer notes for each node the files and lines that called it."""
    for folder in twins.values():
        for graph in folder.rglob("*.onnx"):
            assert b"onnx_export.py" not in graph.read_bytes()


@pytest.mark.parametrize(("precision", "bound"), [("float16", 5e-3), ("int8", 6e-2)])
def test_fewer_bits_move_weights_by_no_more_than_they_must(
    splade: SpladeEncoder, twins: dict[str, Path], precision: str, bound: float
) -> None:
    """The bounds follow from 11 and 8 bits over the weights of this checkpoint, about 1."""
    wanted = dense(splade.encode_documents(TEXTS))
    got = dense(load_encoder(twins[precision]).encode_documents(TEXTS))
    assert 0 < np.abs(wanted - got).max() < bound


def test_int8_vectors_of_a_text_do_not_depend_on_its_batch(twins: dict[str, Path]) -> None:
    """One scale for a batch, as stock dynamic quantisation has, would let them."""
    twin = load_encoder(twins["int8"])
    together = dense(twin.encode_documents(TEXTS))
    for row, text in zip(together, TEXTS, strict=True):
        alone = dense(twin.encode_documents([text]))[0]
        # A float32 sum of another order may round one activation to the next of 255 steps.
        np.testing.assert_allclose(row, alone, atol=5e-3)


def test_activations_are_rounded_as_four_operators_round_them(
    splade: SpladeEncoder,
    twins: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Graphs had these four until 2026-11-30: they give the same bits, and are still thawed."""
    from lsr.encoders import onnx_graph
    from lsr.encoders.onnx_export import export_onnx
    from lsr.encoders.thawing import thaw

    def in_four(graph: Any, x: str, *, axes: list[int]) -> tuple[str, str]:
        along = graph.constant(np.array(axes, np.int64))
        most = graph.add("ReduceMax", graph.add("Abs", x), along, keepdims=1)
        scale = graph.add("Max", most, graph.constant(np.float32(1e-9)))
        scale = graph.add("Div", scale, graph.constant(np.float32(127)))
        steps = graph.add("Round", graph.add("Div", x, scale))
        steps = graph.add("Add", steps, graph.constant(np.float32(128)))
        return graph.add("Cast", steps, to=2), scale

    monkeypatch.setattr(onnx_graph, "_quantised", in_four)
    export_onnx(splade, tmp_path / "four", precision="int8", texts=SAMPLE)
    four, one = load_encoder(tmp_path / "four"), load_encoder(twins["int8"])
    np.testing.assert_array_equal(
        dense(four.encode_documents(TEXTS)), dense(one.encode_documents(TEXTS))
    )
    thawed = [dict(thaw(each).side.model.named_parameters()) for each in (four, one)]  # type: ignore[attr-defined]
    assert thawed[0].keys() == thawed[1].keys()
    for name, value in thawed[0].items():
        assert value.equal(thawed[1][name]), name


@pytest.mark.parametrize(
    ("pooling", "activation"),
    [
        ("sum", "log1p_relu"),
        pytest.param("sum", "relu", marks=pytest.mark.slow),
        pytest.param("max", "log1p_relu", marks=pytest.mark.slow),
    ],
)
def test_every_pooling_and_activation_is_in_the_graph(
    tiny_checkpoint: Path, tmp_path: Path, pooling: str, activation: str
) -> None:
    from lsr.encoders.onnx_export import export_onnx

    side = TransformerSide(tiny_checkpoint, activation=activation, pooling=pooling)  # type: ignore[arg-type]
    encoder = SpladeEncoder(side, Card("tiny"))
    export_onnx(encoder, tmp_path / "twin", texts=SAMPLE)
    twin = load_encoder(tmp_path / "twin")
    wanted, got = encoder.encode_documents(TEXTS), twin.encode_documents(TEXTS)
    assert np.abs(dense(wanted) - dense(got)).max() < TOLERANCE


def test_the_cap_on_terms_holds(
    splade: SpladeEncoder, twins: dict[str, Path], tmp_path: Path
) -> None:
    twin = load_encoder(twins["float32"])
    assert isinstance(twin, SpladeEncoder)
    capped = SpladeEncoder(twin.side, twin.card, Settings(max_active_dims=3))
    assert np.diff(capped.encode_documents(["the cat"]).indptr).tolist() == [3]


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
BODY = {**SMALL, "intermediate_size": 32, "max_position_embeddings": 40, "pad_token_id": 0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("DistilBert", {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}),
        ("Roberta", BODY),
        ("MPNet", BODY),
        ("ModernBert", BODY | {"cls_token_id": 2, "sep_token_id": 3}),
        ("Electra", BODY | {"embedding_size": 16}),
    ],
)
def test_any_masked_lm_architecture_has_a_twin(
    architecture: str, settings: dict[str, int], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    import torch
    import transformers

    from lsr.encoders.onnx_export import export_onnx
    from lsr.encoders.thawing import thaw

    config = getattr(transformers, f"{architecture}Config")(vocab_size=67, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = getattr(transformers, f"{architecture}ForMaskedLM")(config)
        for name, parameter in model.named_parameters():
            if name.endswith("bias") and parameter.shape == (67,):
                torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path / "mlm")
    files = dict(TextTokenizer.load(tiny_checkpoint).files)
    del files["tokenizer_config.json"]
    for name, content in files.items():
        (tmp_path / "mlm" / name).write_bytes(content)
    encoder = load_encoder(tmp_path / "mlm")
    texts = [*TEXTS, "cat " * 600]
    for precision, bound in (("float32", TOLERANCE), ("int8", 0.1)):
        export_onnx(encoder, tmp_path / precision, precision=precision, texts=SAMPLE)  # type: ignore[arg-type]
        twin = load_encoder(tmp_path / precision)
        wanted, got = encoder.encode_documents(texts), twin.encode_documents(texts)
        assert np.abs(dense(wanted) - dense(got)).max() < bound
        back = thaw(twin).encode_documents(texts)
        assert np.abs(dense(wanted) - dense(back)).max() < (1e-6 if precision == "float32" else 0.1)


# --- one space -------------------------------------------------------------------------------


def test_an_index_of_either_takes_the_queries_of_the_other(
    splade: SpladeEncoder, twins: dict[str, Path], tmp_path: Path
) -> None:
    from index import SparseRetriever

    twin = load_encoder(twins["float32"])
    assert twin.space == splade.space
    assert twin.build != splade.build
    splade.save(tmp_path / "parent")
    corpus = tmp_path / "corpus.jsonl"
    lines = [json.dumps({"_id": f"d{i}", "text": text}) for i, text in enumerate(SAMPLE)]
    corpus.write_text("\n".join(lines) + "\n")
    folders = [tmp_path / "parent", twins["float32"]]
    found = []
    for built_by in folders:
        place = tmp_path / f"{built_by.name}.index"
        assert run(["index", str(corpus), str(place), "--encoder", str(built_by)]) == 0
        for asked_by in folders:
            with SparseRetriever.open(place, encoder=asked_by) as retriever:
                answers = retriever.search({"q": "a big dog"}, 2)
            found.append(list(answers["q"]))
    assert len(found[0]) == 2
    assert all(ids == found[0] for ids in found)


@pytest.mark.slow
def test_inference_free_and_separate_encoders_keep_their_query_side(
    splade: SpladeEncoder, tmp_path: Path
) -> None:
    from lsr.encoders.onnx_export import export_onnx

    weights = np.linspace(0.5, 2, splade.n_terms, dtype=np.float32)
    model = splade.side.model  # type: ignore[union-attr]
    free = InferenceFreeEncoder.of(model, weights, name="free")
    two = SeparateEncoder.of(model, model, name="two")
    for encoder in (free, two):
        folder = tmp_path / encoder.name
        export_onnx(encoder, folder, texts=SAMPLE)
        twin = load_encoder(folder)
        assert twin.space == encoder.space
        assert (
            np.abs(dense(twin.encode_queries(TEXTS) - encoder.encode_queries(TEXTS))).max() < 1e-4
        )
        assert (
            np.abs(dense(twin.encode_documents(TEXTS) - encoder.encode_documents(TEXTS))).max()
            < 1e-4
        )
        twin.save(tmp_path / "queries", queries_only=True)
        half = load_encoder(tmp_path / "queries", queries_only=True)
        assert half.space == encoder.space
        assert (half.encode_queries(TEXTS) != twin.encode_queries(TEXTS)).nnz == 0
        assert not list((tmp_path / "queries").glob("document*"))


@pytest.mark.slow
def test_an_encoder_with_words_keeps_them_beside_the_twin(
    splade: SpladeEncoder, tmp_path: Path
) -> None:
    from lsr.encoders.onnx_export import export_onnx

    model = splade.side.model  # type: ignore[union-attr]
    free = InferenceFreeEncoder.of(model, np.ones(splade.n_terms, np.float32), name="free")
    both = JoinedEncoder.of(free, BM25Encoder.fit(TEXTS), weight=2.0, name="both")
    measured = export_onnx(both, tmp_path / "twin", texts=SAMPLE)
    assert measured.max_difference < 1e-4
    twin = load_encoder(tmp_path / "twin")
    assert (twin.name, twin.space) == ("both-onnx", both.space)
    assert np.abs(dense(twin.encode_documents(TEXTS) - both.encode_documents(TEXTS))).max() < 1e-4
    with pytest.raises(EncoderError, match="'both-onnx' is an ONNX graph already"):
        export_onnx(twin, tmp_path / "again", texts=SAMPLE)


# --- the folder ------------------------------------------------------------------------------


def test_the_card_keeps_what_the_encoder_was_trained_on(twins: dict[str, Path]) -> None:
    """An export without it once hid that a collection had been seen."""
    assert json.loads((twins["int8"] / "lsr.json").read_text())["training"] == TRAINING


def test_the_card_tells_what_the_export_cost(twins: dict[str, Path]) -> None:
    card = json.loads((twins["int8"] / "lsr.json").read_text())["export"]
    graph = twins["int8"] / "0_OnnxTransformer" / "model.onnx"
    assert (card["precision"], card["parent"], card["texts"]) == ("int8", "tiny", len(SAMPLE))
    assert card["graph_bytes"] == graph.stat().st_size
    assert 0 < card["mean_difference"] < card["max_difference"] < card["mean_weight"]
    assert 0.9 < card["top_overlap"] <= 1
    exact = json.loads((twins["float32"] / "lsr.json").read_text())["export"]
    assert exact["max_difference"] < TOLERANCE
    assert exact["top_overlap"] == 1


# --- where weights come from -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("pooling", "overlap"),
    [("max", None), ("max", 4), pytest.param("sum", 4, marks=pytest.mark.slow)],
)
def test_origins_of_a_graph_are_those_of_its_parent(
    tiny_checkpoint: Path, tmp_path: Path, pooling: str, overlap: int | None
) -> None:
    """By float32, whose logits differ by less than any two positions here."""
    from lsr.encoders.onnx_export import export_onnx

    side = TransformerSide(tiny_checkpoint, max_length=24, pooling=pooling)  # type: ignore[arg-type]
    card = Card("tiny", window_overlap=overlap)
    encoder = SpladeEncoder(side, card, Settings(document_prompt="the "))
    export_onnx(encoder, tmp_path / "twin", texts=SAMPLE)
    twin = load_encoder(tmp_path / "twin")
    assert isinstance(twin, SpladeEncoder)
    every = list(range(encoder.n_terms))
    n_windows = 0
    for text in (*TEXTS, "big cat on the mat, café tree. " * 5):
        wanted, got = encoder.origins(text, every), twin.origins(text, every)
        assert len(wanted) > 20 or not text.strip()
        assert [replace(one, weight=0) for one in got] == [replace(one, weight=0) for one in wanted]
        assert [one.weight for one in got] == pytest.approx(
            [one.weight for one in wanted], abs=1e-4
        )
        n_windows = max(n_windows, *(one.window for one in got), 0)
    assert (n_windows > 0) == (overlap is not None)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_positions_are_those_that_the_graph_itself_pools(
    twins: dict[str, Path], precision: str
) -> None:
    """Asked of the graph by the package onnx: what enters its maxima, and what leaves them."""
    import onnx
    import onnxruntime

    twin = load_encoder(twins[precision])
    assert isinstance(twin, SpladeEncoder)
    assert isinstance(twin.side, OnnxSide)
    model = onnx.load(twin.side.folder / "model.onnx")
    maxima = [
        node
        for node in model.graph.node
        if node.op_type == "ReduceMax"
        and any(
            node.output[0] in other.input for other in model.graph.node if other.op_type == "Concat"
        )
    ]
    graph = onnx.load_from_string(with_positions(model.SerializeToString())[0]).graph
    added = graph.node[len(model.graph.node) :]
    assert [node.input[0] for node in added] == [node.input[0] for node in maxima]
    told = {one.name: one.type.tensor_type.elem_type for one in graph.output[1:]}
    assert told == {node.output[0]: onnx.TensorProto.INT64 for node in added}
    kind = onnx.TensorProto.INT32 if precision == "int8" else onnx.TensorProto.FLOAT
    for node in maxima:
        for name in (node.input[0], node.output[0]):
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(),
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["SkipLayerNormFusion"],
    )
    terms = np.arange(twin.n_terms)[::-1]
    for text in filter(str.strip, TEXTS):
        (ids,) = twin.side.tokenizer.framed([text], prompt="")
        row = np.array([ids], np.int64)
        outputs = session.run(None, {"input_ids": row, "attention_mask": np.ones_like(row)})[1:]
        logits = np.concatenate(outputs[::2], axis=2)[0]
        pooled = np.concatenate(outputs[1::2], axis=1)[0]
        strongest = twin.side.strongest(ids, terms)
        np.testing.assert_array_equal(strongest, logits.argmax(axis=0)[terms])
        np.testing.assert_array_equal(logits[strongest, terms], pooled[terms])


def test_a_vocabulary_of_several_slices_is_read_in_its_order(
    twins: dict[str, Path], monkeypatch: pytest.MonkeyPatch, splade: SpladeEncoder, tmp_path: Path
) -> None:
    from lsr.encoders import onnx_graph
    from lsr.encoders.onnx_export import export_onnx

    monkeypatch.setattr(onnx_graph, "_SLICE", 10)
    export_onnx(splade, tmp_path / "sliced", precision="int8", texts=SAMPLE)
    whole, sliced = load_encoder(twins["int8"]), load_encoder(tmp_path / "sliced")
    assert isinstance(whole, SpladeEncoder)
    assert isinstance(sliced, SpladeEncoder)
    assert isinstance(sliced.side, OnnxSide)
    every = list(range(splade.n_terms))
    assert len(sliced.side._positions[1]) == 7
    for text in SAMPLE:
        assert sliced.origins(text, every) == whole.origins(text, every) != []


def test_a_damaged_graph_tells_positions_or_that_it_does_not(twins: dict[str, Path]) -> None:
    graph = (twins["int8"] / "0_OnnxTransformer" / "model.onnx").read_bytes()
    _, names = with_positions(graph)
    random = np.random.default_rng(5)
    refused = 0
    for at in random.integers(0, len(graph), 200).tolist():
        for damaged in (graph[:at], graph[:at] + bytes([graph[at] ^ 255]) + graph[at + 1 :]):
            try:
                _, found = with_positions(damaged)
            except ValueError:
                refused += 1
            else:
                assert len(found) == len(names)
    assert refused > 200


def test_a_graph_of_somebody_else_says_that_it_cannot_tell(
    twins: dict[str, Path], tmp_path: Path
) -> None:
    """Weights it may give; what was pooled is not where an export has it."""
    import onnx

    folder = tmp_path / "other"
    shutil.copytree(twins["float32"], folder)
    path = folder / "0_OnnxTransformer" / "model.onnx"
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "ReduceMax":
            node.op_type = "ReduceMean"
    onnx.save(model, path)
    twin = load_encoder(folder)
    assert isinstance(twin, SpladeEncoder)
    told = r"model\.onnx does not tell where weights come from \(pooled by ReduceMean\); wanted"
    with pytest.raises(EncoderError, match=told):
        twin.origins("the cat sat", [1, 2, 3, 4, 5, 6, 7, 8])
    with pytest.raises(EncoderError, match=told):
        require_tracing(twin)  # before an index is built
    assert _tracing(twin) is None, "so that a rebuild goes on without"
    twin.encode_documents(["the cat"])
    shutil.rmtree(folder)
    with pytest.raises(EncoderError, match="No such file"):
        twin.origins("the cat sat", [1, 2, 3, 4, 5, 6, 7, 8])


def test_an_index_of_a_graph_keeps_its_origins(
    splade: SpladeEncoder,
    twins: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While it is built or afterwards, by the graph or by the network it came from."""
    splade.save(tmp_path / "parent")
    corpus = tmp_path / "docs.jsonl"
    corpus.write_text('{"_id": "d1", "text": "the cat sat"}\n')
    arguments = ["index", str(corpus), "--encoder", str(twins["float32"])]
    kept = []
    for name, more in (("a", ["--origins"]), ("b", []), ("c", [])):
        path = str(tmp_path / f"{name}.index")
        assert run([arguments[0], arguments[1], path, *arguments[2:], *more]) == 0
        if not more:
            parent = ["--encoder", str(tmp_path / "parent")] if name == "c" else []
            capsys.readouterr()
            assert run(["trace", path, *parent, "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["n_traced"] == 1
        with Index.open(path) as index:
            docid = index.version("d1")
            assert docid is not None
            kept += index.origins_of([docid])
    assert kept[0]
    assert kept == [kept[0]] * 3


def test_a_tied_table_is_kept_once_and_in_one_byte_a_number(twins: dict[str, Path]) -> None:
    import onnx

    kept = {}
    for name, folder in twins.items():
        graph = onnx.load(folder / "0_OnnxTransformer" / "model.onnx").graph
        tables = [t for t in graph.initializer if sorted(t.dims) == [16, 67]]
        kept[name] = [onnx.helper.tensor_dtype_to_string(t.data_type) for t in tables]
    assert {name: [kind.rpartition(".")[2] for kind in kinds] for name, kinds in kept.items()} == {
        "float32": ["FLOAT"],
        "float16": ["FLOAT16"],
        "int8": ["INT8"],
    }


def test_positions_that_no_text_reaches_are_left_out(
    splade: SpladeEncoder, twins: dict[str, Path]
) -> None:
    """The checkpoint has 32 positions, and texts are cut to 24 tokens."""
    import onnx

    for folder in twins.values():
        graph = onnx.load(folder / "0_OnnxTransformer" / "model.onnx").graph
        named = [t for t in graph.initializer if "position_embeddings" in t.name]
        kept = [tuple(t.dims) for t in graph.initializer if list(t.dims) == [24, 16]]
        assert kept == [(24, 16)]
        assert all(list(t.dims) == [24, 16] for t in named)
    backbone: Any = splade.side.model.backbone  # type: ignore[union-attr]
    assert backbone.bert.embeddings.position_embeddings.weight.shape[0] == 32


def test_a_twin_is_copied_whole_and_stays_itself(twins: dict[str, Path], tmp_path: Path) -> None:
    """An index keeps a copy of its encoder."""
    twin = load_encoder(twins["int8"])
    twin.save(tmp_path / "copy", queries_only=True)
    copy = load_encoder(tmp_path / "copy")
    assert (copy.space, copy.build) == (twin.space, twin.build)
    assert (copy.encode_queries(TEXTS) != twin.encode_queries(TEXTS)).nnz == 0


def test_damage_and_misuse_are_named(
    twins: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EncoderError, match="in the precision of its export"):
        load_encoder(twins["int8"], precision="bfloat16")
    load_encoder(twins["int8"]).save(tmp_path / "bad")
    graph = tmp_path / "bad" / "0_OnnxTransformer" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-4000])
    with pytest.raises(EncoderError, match="no graph that ONNX Runtime"):
        load_encoder(tmp_path / "bad").encode_queries(["cat"])
    graph.unlink()
    with pytest.raises(EncoderError, match=r"has no model\.onnx"):
        load_encoder(tmp_path / "bad")
    monkeypatch.setenv("LSR_THREADS", "two")
    with pytest.raises(UsageError, match="LSR_THREADS is 'two'"):
        load_encoder(twins["int8"]).encode_queries(["cat"])


def test_what_has_no_onnx_form_is_refused(
    splade: SpladeEncoder, twins: dict[str, Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    from lsr.encoders.onnx_export import export_onnx
    from lsr.encoders.splade import SpladeModel

    class Literal(SpladeModel):
        """A network of another kind, as the literal and decoder ones are."""

    with pytest.raises(EncoderError, match="BM25Encoder"):
        export_onnx(BM25Encoder.fit(["a cat"]), tmp_path / "x", texts=SAMPLE)
    with pytest.raises(EncoderError, match="an ONNX graph already"):
        export_onnx(load_encoder(twins["int8"]), tmp_path / "x", texts=SAMPLE)
    with pytest.raises(UsageError, match="sample texts"):
        export_onnx(splade, tmp_path / "x", texts=["", " "])
    model = splade.side.model  # type: ignore[union-attr]
    other = Literal(model.backbone, model.tokenizer)
    with pytest.raises(EncoderError, match="a Literal, which has no ONNX form"):
        export_onnx(SpladeEncoder.of(other), tmp_path / "x", texts=SAMPLE)
    residual = SpladeModel.from_checkpoint(tiny_checkpoint)
    residual.attach_literal(position="first")
    with pytest.raises(EncoderError, match="literal residual, which has no ONNX form"):
        export_onnx(SpladeEncoder.of(residual), tmp_path / "x", texts=SAMPLE)
    assert not (tmp_path / "x").exists()


def test_threads_are_the_callers_to_set(
    twins: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LSR_THREADS", "3")
    (place,) = twins["float32"].glob("*_OnnxTransformer")
    assert OnnxSide(place).session.get_session_options().intra_op_num_threads == 3
    assert OnnxSide(place, threads=1).session.get_session_options().intra_op_num_threads == 1


def test_several_callers_give_the_vectors_of_one(
    twins: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit: batches are the same, and each is one caller's."""
    monkeypatch.setattr(onnx_side, "_BUDGET", 16)
    (place,) = twins["int8"].glob("*_OnnxTransformer")
    rows = [
        OnnxSide(place, threads=n).encode(TEXTS * 20, prompt="", top_k=None, progress=False)
        for n in (1, 4)
    ]
    assert rows[0].nnz > 0
    assert (rows[0] != rows[1]).nnz == 0


# --- the command, and life without torch -----------------------------------------------------


def test_the_command_writes_what_index_evaluate_and_encode_use_without_torch(
    splade: SpladeEncoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole point: export once where torch is, encode anywhere."""
    splade.save(tmp_path / "parent")
    corpus = tmp_path / "corpus.jsonl"
    lines = [json.dumps({"_id": f"d{i}", "text": text}) for i, text in enumerate(SAMPLE)]
    corpus.write_text("\n".join(lines) + "\n")
    twin = tmp_path / "twin"
    command = ["onnx", str(tmp_path / "parent"), str(twin), "--int8", "--texts", str(corpus)]
    assert run(command) == 0
    printed = capsys.readouterr().out
    assert "of the 100 largest terms stay" in printed
    assert f"--encoder {twin}" in printed
    assert run(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    program = f"""
        import sys
        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("torch", "transformers", "onnx", "sentence_transformers"):
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        sys.meta_path.insert(0, Absent())
        from lsr.__main__ import run
        place = {str(tmp_path)!r}
        corpus, encoder = place + "/corpus.jsonl", ["--encoder", place + "/twin"]
        for words in (
            ["index", corpus, place + "/new.index", *encoder],
            ["search", place + "/new.index", "a big dog", "--explain", "--json"],
            ["trace", place + "/new.index"],
            ["encode", corpus, place + "/v.jsonl", *encoder],
        ):
            assert run(words) == 0, words
        assert not {{"torch", "transformers", "onnx"}} & set(sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    wanted = dense(load_encoder(twin).encode_documents(SAMPLE))
    for row, weights in zip(rows, wanted, strict=True):
        assert len(row["vector"]) == int((weights > 0).sum())
        assert max(row["vector"].values()) == pytest.approx(float(weights.max()), abs=1e-4)
