"""The folder of an encoder: stock reads ours, we read stock's, and bad ones are refused."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lsr.encoders import (
    BM25Encoder,
    InferenceFreeEncoder,
    SeparateEncoder,
    Settings,
    SparseEncoder,
    SpladeEncoder,
    TextTokenizer,
    idf_table,
    load_encoder,
)
from lsr.encoders.folder import replacing
from lsr.errors import DiskFull, EncoderError, MissingHead

if TYPE_CHECKING:
    from lsr.encoders.splade import SpladeModel

TEXTS = ["the cat sat", "a big dog on the mat, café!", "cat cat cats", "x" * 60, "TREE 北京"]
# Equal weights in another batch shape differ by float32 rounding only.
TOLERANCE = 1e-5


@pytest.fixture
def splade(tiny_checkpoint: Path) -> "SpladeModel":
    from lsr.encoders.splade import SpladeModel

    return SpladeModel.from_checkpoint(tiny_checkpoint, max_length=24)


@pytest.fixture
def table(tiny_checkpoint: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    return idf_table(TEXTS, TextTokenizer.load(tiny_checkpoint))


@pytest.fixture
def whole(
    splade: "SpladeModel", table: np.ndarray[Any, np.dtype[np.float32]], tmp_path: Path
) -> Path:
    """An inference-free encoder folder of our own making."""
    InferenceFreeEncoder.of(splade, table, name="tiny").save(tmp_path / "whole")
    return tmp_path / "whole"


def stock(folder: Path) -> Any:
    """Load with stock sentence-transformers, or skip where it is not installed."""
    library = pytest.importorskip("sentence_transformers")
    return library.SparseEncoder(str(folder), device="cpu")


def assert_same_vectors(ours: SparseEncoder, theirs: Any) -> None:
    for encode, reference in (
        (ours.encode_queries, theirs.encode_query),
        (ours.encode_documents, theirs.encode_document),
    ):
        wanted = reference(TEXTS, convert_to_sparse_tensor=False).numpy()
        got = encode(TEXTS).toarray()
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).max() < TOLERANCE
        assert wanted.max() > 0


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Read a JSON file, change it, write it back; `change` may edit in place and return None."""
    value = json.loads(path.read_text())
    changed = change(value)
    path.write_text(json.dumps(value if changed is None else changed))


# --- ours in stock ---------------------------------------------------------------------------


def test_stock_reads_our_siamese_encoder(splade: "SpladeModel", tmp_path: Path) -> None:
    encoder = SpladeEncoder.of(splade)
    encoder.save(tmp_path / "ours")
    theirs = stock(tmp_path / "ours")
    assert_same_vectors(encoder, theirs)
    assert_same_vectors(load_encoder(tmp_path / "ours"), theirs)
    assert theirs.max_seq_length == 24


def test_stock_reads_our_encoder_of_two_networks(
    splade: "SpladeModel", tiny_checkpoint: Path, tmp_path: Path
) -> None:
    import torch

    from lsr.encoders.splade import SpladeModel

    queries = SpladeModel.from_checkpoint(tiny_checkpoint, max_length=12)
    with torch.no_grad():
        queries.decoder.bias += 0.25
    encoder = SeparateEncoder.of(queries, splade)
    encoder.save(tmp_path / "ours")
    loaded = load_encoder(tmp_path / "ours")
    assert_same_vectors(loaded, stock(tmp_path / "ours"))
    assert loaded.space == encoder.space == SpladeEncoder.of(splade).space
    assert (loaded.encode_queries(TEXTS) != loaded.encode_documents(TEXTS)).nnz
    loaded.save(tmp_path / "queries", queries_only=True)
    half = load_encoder(tmp_path / "queries", queries_only=True)
    assert half.space == encoder.space
    assert (half.encode_queries(TEXTS) != loaded.encode_queries(TEXTS)).nnz == 0
    with pytest.raises(EncoderError, match="holds only the query side"):
        half.encode_documents(TEXTS)
    assert not list((tmp_path / "queries").glob("document*"))


def test_two_networks_of_two_vocabularies_are_refused(
    splade: "SpladeModel", tmp_path: Path
) -> None:
    from lsr.encoders.splade import SpladeModel
    from training.scratch import make_backbone
    from training.sections import Scratch

    make_backbone(tmp_path, Scratch(vocabulary=300), ["other words"], max_length=24, seed=0)
    other = SpladeModel.from_checkpoint(tmp_path)
    with pytest.raises(EncoderError, match="share a vocabulary"):
        SeparateEncoder.of(other, splade)


def test_stock_reads_our_inference_free_encoder(whole: Path) -> None:
    assert_same_vectors(load_encoder(whole), stock(whole))


def test_stock_reads_the_query_side_alone(
    whole: Path, tmp_path: Path, splade: "SpladeModel"
) -> None:
    ours = load_encoder(whole)
    ours.save(tmp_path / "queries", queries_only=True)
    wanted = stock(tmp_path / "queries").encode_query(TEXTS, convert_to_sparse_tensor=False)
    assert np.abs(ours.encode_queries(TEXTS).toarray() - wanted.numpy()).max() < TOLERANCE


def test_stock_reads_our_prompts_activation_and_cap(tiny_checkpoint: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from lsr.encoders.splade import SpladeModel

    model = SpladeModel.from_checkpoint(tiny_checkpoint, activation="log1p_relu")
    settings = Settings(query_prompt="the ", document_prompt="big tree ", max_active_dims=7)
    encoder = replace(SpladeEncoder.of(model), settings=settings)
    encoder.save(tmp_path / "ours")
    assert_same_vectors(encoder, stock(tmp_path / "ours"))
    loaded = load_encoder(tmp_path / "ours")
    assert_same_vectors(loaded, stock(tmp_path / "ours"))
    assert np.diff(loaded.encode_documents(TEXTS).indptr).max() == 7


@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_special_positions_may_be_left_out_of_the_pooling(
    tiny_checkpoint: Path, tmp_path: Path, pooling: Literal["max", "sum"]
) -> None:
    """By hand over the text's positions alone; the folder says so, and stock refuses it."""
    torch = pytest.importorskip("torch")
    from lsr.encoders.splade import SpladeModel, SpladeTextModel

    model = SpladeTextModel.from_checkpoint(tiny_checkpoint, pooling=pooling)
    text = "the big cat sat"
    ids = torch.tensor([model.tokenizer.ids([text], special=True)[0]])
    with torch.no_grad():
        logits = model.eval().backbone(input_ids=ids).logits[0, 1:-1]
    weights = torch.log1p(torch.relu(logits))
    wanted = (weights.max(dim=0).values if pooling == "max" else weights.sum(dim=0)).numpy()
    encoder = SpladeEncoder.of(model)
    np.testing.assert_allclose(encoder.encode_documents([text]).toarray()[0], wanted, atol=1e-5)
    everywhere = SpladeEncoder.of(SpladeModel.from_checkpoint(tiny_checkpoint, pooling=pooling))
    assert (encoder.encode_documents([text]) != everywhere.encode_documents([text])).nnz > 0
    assert encoder.space != everywhere.space

    encoder.save(tmp_path / "ours")
    loaded = load_encoder(tmp_path / "ours")
    assert loaded.space == encoder.space
    assert (loaded.encode_documents([text]) != encoder.encode_documents([text])).nnz == 0
    assert encoder.encode_documents([""]).nnz == 0
    with pytest.raises(Exception, match="TextTransformer"):
        stock(tmp_path / "ours")


# --- stock in ours ---------------------------------------------------------------------------


@pytest.fixture
def stock_siamese(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    stock(tiny_checkpoint).save_pretrained(str(tmp_path / "stock"), create_model_card=False)
    return tmp_path / "stock"


@pytest.fixture
def stock_router(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    library = pytest.importorskip("sentence_transformers")
    import torch
    from sentence_transformers.base.modules import Router, Transformer
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

    document = Transformer(str(tiny_checkpoint), transformer_task="fill-mask")
    weights = torch.linspace(0, 5, len(document.tokenizer.get_vocab()))
    query = SparseStaticEmbedding(tokenizer=document.tokenizer, weight=weights, frozen=True)
    router = Router.for_query_document(
        query_modules=[query],
        document_modules=[document, SpladePooling(activation_function="log1p_relu")],
    )
    model = library.SparseEncoder(
        modules=[router], device="cpu", prompts={"query": "the ", "document": "a "}
    )
    model.save_pretrained(str(tmp_path / "stock"), create_model_card=False)
    return tmp_path / "stock"


def test_we_read_a_stock_siamese_encoder(stock_siamese: Path) -> None:
    ours = load_encoder(stock_siamese)
    assert isinstance(ours, SpladeEncoder)
    assert (ours.name, ours.max_weight, ours.text_fields) == ("stock", 4.0, ("title", "text"))
    assert ours.query_strategy == "model"
    assert_same_vectors(ours, stock(stock_siamese))


def test_we_read_a_stock_inference_free_encoder(stock_router: Path) -> None:
    ours = load_encoder(stock_router)
    assert isinstance(ours, InferenceFreeEncoder)
    assert_same_vectors(ours, stock(stock_router))


def test_we_read_a_plain_masked_lm_checkpoint_as_stock_does(tiny_checkpoint: Path) -> None:
    """naver's SPLADE folders have no modules.json."""
    assert_same_vectors(load_encoder(tiny_checkpoint), stock(tiny_checkpoint))


def test_we_read_the_class_names_and_files_of_version_5(
    stock_router: Path,
) -> None:
    """Published encoders were saved before the modules moved and `MLMTransformer` was renamed."""
    v5 = "sentence_transformers.sparse_encoder.models."
    old = {
        "Router": "sentence_transformers.models.Router",
        "Transformer": f"{v5}MLMTransformer",
        "SpladePooling": f"{v5}SpladePooling",
        "SparseStaticEmbedding": f"{v5}SparseStaticEmbedding",
    }

    def rename(value: Any) -> Any:
        if isinstance(value, str) and value.startswith("sentence_transformers."):
            return old[value.rsplit(".", 1)[-1]]
        if isinstance(value, dict):
            return {key: rename(inner) for key, inner in value.items()}
        return [rename(inner) for inner in value] if isinstance(value, list) else value

    new_vectors = load_encoder(stock_router).encode_documents(TEXTS)
    for name in ("modules.json", "router_config.json"):
        edit(stock_router / name, rename)
    shutil.move(stock_router / "router_config.json", stock_router / "config.json")
    for path in stock_router.rglob("sentence_bert_config.json"):
        path.write_text('{"max_seq_length": 32, "do_lower_case": false}')
    assert (load_encoder(stock_router).encode_documents(TEXTS) != new_vectors).nnz == 0
    assert_same_vectors(load_encoder(stock_router), stock(stock_router))


def test_a_tokenizer_of_vocab_txt_alone_gives_the_same_tokens(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Checkpoints of 2021 have no tokenizer.json."""
    vocabulary = json.loads((tiny_checkpoint / "tokenizer.json").read_text())["model"]["vocab"]
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    old, new = TextTokenizer.load(tmp_path, max_length=32), TextTokenizer.load(tiny_checkpoint)
    for special in (True, False):
        assert old.ids([*TEXTS, "[SEP] cat"], special=special) == new.ids(
            [*TEXTS, "[SEP] cat"], special=special
        )
    assert old.special_ids() == new.special_ids() == [0, 1, 2, 3, 4]
    assert old.pad_id == new.pad_id == 0


def test_query_weights_may_lie_in_idf_json(stock_router: Path) -> None:
    """OpenSearch publishes its tables as token -> weight; a token left out weighs nothing."""
    query = stock_router / "query_0_SparseStaticEmbedding"
    (query / "model.safetensors").unlink()
    (stock_router / "idf.json").write_text('{"cat": 2.5, "the": 0.5}')
    edit(stock_router / "config_sentence_transformers.json", lambda c: c["prompts"].clear())
    row = load_encoder(stock_router).encode_queries(["the cat and a dog"])
    assert sorted(row.data.tolist()) == [0.5, 2.5]
    (stock_router / "idf.json").write_text('{"unheard-of": 1.0}')
    with pytest.raises(EncoderError, match=r"idf\.json: 'unheard-of'"):
        load_encoder(stock_router)
    (stock_router / "idf.json").unlink()
    with pytest.raises(EncoderError, match=r"neither model\.safetensors nor idf\.json"):
        load_encoder(stock_router)


# --- space, build, query side ----------------------------------------------------------------


def test_the_space_survives_saving_and_the_form_of_the_query_side(
    splade: "SpladeModel", whole: Path, tmp_path: Path
) -> None:
    """One document encoder, one space: in memory, on disk, siamese, inference-free, query-only."""
    SpladeEncoder.of(splade).save(tmp_path / "siamese")
    load_encoder(tmp_path / "siamese").save(tmp_path / "copy")
    load_encoder(whole).save(tmp_path / "queries", queries_only=True)
    spaces = {
        SpladeEncoder.of(splade).space,
        load_encoder(tmp_path / "siamese").space,
        load_encoder(tmp_path / "copy").space,
        load_encoder(whole).space,
        load_encoder(tmp_path / "queries", queries_only=True).space,
    }
    assert len(spaces) == 1
    assert load_encoder(tmp_path / "copy").build == load_encoder(tmp_path / "siamese").build


def test_a_query_only_folder_holds_no_network_and_answers_equally(
    whole: Path, tmp_path: Path
) -> None:
    """An index keeps it, so that it answers text queries wherever it is copied."""
    ours = load_encoder(whole)
    ours.save(tmp_path / "queries", queries_only=True)
    small = load_encoder(tmp_path / "queries", queries_only=True)
    assert (small.name, small.space, small.build) == ("tiny", ours.space, ours.build)
    assert (small.encode_queries(TEXTS) != ours.encode_queries(TEXTS)).nnz == 0
    assert not list((tmp_path / "queries").glob("document*"))
    small.save(tmp_path / "again", queries_only=True)
    assert load_encoder(tmp_path / "again", queries_only=True).space == ours.space
    with pytest.raises(EncoderError, match="only the query side"):
        load_encoder(tmp_path / "queries")
    with pytest.raises(EncoderError, match="queries_only=True"):
        small.save(tmp_path / "whole-again")


def test_a_changed_byte_of_the_weights_changes_space_and_build(whole: Path) -> None:
    before = load_encoder(whole)
    spaces, builds = {before.space}, {before.build}
    for folder, moves_space in (
        ("document_0_Transformer", True),
        ("query_0_SparseStaticEmbedding", False),
    ):
        path = whole / folder / "model.safetensors"
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)
        after = load_encoder(whole)
        assert (after.space not in spaces) == moves_space
        assert after.build not in builds
        spaces.add(after.space)
        builds.add(after.build)


# --- bad folders -----------------------------------------------------------------------------


def set_type(value: Any) -> None:
    value[0]["type"] = "os.system"


def set_path(value: Any) -> None:
    value[0]["path"] = "../elsewhere"


def set_absolute_path(value: Any) -> None:
    value[0]["path"] = "/etc"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("modules.json", set_type, "'os.system' is not on the list"),
        ("modules.json", set_path, "outside the encoder folder"),
        ("modules.json", set_absolute_path, "outside the encoder folder"),
        ("modules.json", lambda value: [], "no encoder of this package"),
        ("modules.json", lambda value: {"a": 1}, "a list of modules"),
        (
            "router_config.json",
            lambda value: value["types"].update(query_0_SparseStaticEmbedding="x.Y"),
            "'x.Y' is not on the list",
        ),
        (
            "router_config.json",
            lambda value: value["structure"].update(document=["../../up"]),
            "not on the list|outside",
        ),
        (
            "router_config.json",
            lambda value: value["structure"].pop("document") and None,
            "a query route of one SparseStaticEmbedding",
        ),
        ("router_config.json", lambda value: {"types": []}, "types and structure"),
        ("lsr.json", lambda value: value.update(format=9), "card format 9"),
        ("lsr.json", lambda value: value.update(max_weight=-1), "max_weight must be"),
        ("lsr.json", lambda value: value.update(text_fields="text"), "text_fields must be"),
        ("lsr.json", lambda value: value.update(name=3), "name must be a string"),
        (
            "config_sentence_transformers.json",
            lambda value: value.update(max_active_dims=0),
            "max_active_dims = 0",
        ),
        (
            "document_1_SpladePooling/config.json",
            lambda value: value.update(pooling_strategy="mean"),
            "pooling 'mean'",
        ),
        (
            "document_0_Transformer/sentence_bert_config.json",
            lambda value: value.update(transformer_task="feature-extraction"),
            "SPLADE needs 'fill-mask'",
        ),
        (
            "document_0_Transformer/config.json",
            lambda value: value.update(vocab_size=99),
            "belong to two encoders",
        ),
        (
            "document_0_Transformer/config.json",
            lambda value: value.update(architectures=["BertModel"]),
            "no masked language model",
        ),
        (
            "document_0_Transformer/tokenizer.json",
            lambda value: value["model"]["vocab"].update({"cat": 59, "dog": 58}),
            "number their tokens differently",
        ),
        (
            "query_0_SparseStaticEmbedding/tokenizer.json",
            lambda value: value["model"].update(type="Nonsense"),
            "is not a tokenizer",
        ),
    ],
)
def test_a_folder_that_cannot_be_right_is_refused(
    whole: Path, name: str, change: Callable[[Any], Any], message: str
) -> None:
    edit(whole / name, change)
    with pytest.raises(EncoderError, match=message):
        load_encoder(whole)


@pytest.mark.parametrize(
    "name",
    [
        "modules.json",
        "router_config.json",
        "lsr.json",
        "config_sentence_transformers.json",
        "query_0_SparseStaticEmbedding/tokenizer.json",
        "query_0_SparseStaticEmbedding/model.safetensors",
        "document_0_Transformer/config.json",
        "document_0_Transformer/tokenizer_config.json",
        "document_1_SpladePooling/config.json",
    ],
)
def test_a_file_cut_in_half_is_named(whole: Path, name: str) -> None:
    raw = (whole / name).read_bytes()
    (whole / name).write_bytes(raw[: len(raw) // 2])
    with pytest.raises(EncoderError, match=Path(name).name):
        load_encoder(whole)


@pytest.mark.parametrize(
    "name",
    [
        "modules.json",
        "router_config.json",
        "query_0_SparseStaticEmbedding/tokenizer.json",
        "query_0_SparseStaticEmbedding/model.safetensors",
        "document_0_Transformer/config.json",
        "document_0_Transformer/model.safetensors",
        "document_0_Transformer/tokenizer.json",
    ],
)
def test_a_missing_file_is_an_encoder_error(whole: Path, name: str) -> None:
    (whole / name).unlink()
    with pytest.raises(EncoderError, match=str(whole)):
        load_encoder(whole)


def test_truncated_network_weights_are_reported_when_they_are_loaded(whole: Path) -> None:
    """The network is read at the first document; opening a search service must not wait for it."""
    path = whole / "document_0_Transformer" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    encoder = load_encoder(whole)
    assert encoder.encode_queries(["cat"]).nnz == 1
    with pytest.raises(EncoderError, match="document_0_Transformer"):
        encoder.encode_documents(["cat"])


def test_pickled_weights_are_refused_with_the_way_out(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Unpickling runs code; safetensors does not."""
    shutil.copytree(tiny_checkpoint, tmp_path / "old")
    (tmp_path / "old" / "model.safetensors").rename(tmp_path / "old" / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"pytorch_model\.bin is a pickle.*save_pretrained"):
        load_encoder(tmp_path / "old")


def test_a_table_that_is_not_one_row_is_refused(whole: Path) -> None:
    path = whole / "query_0_SparseStaticEmbedding" / "model.safetensors"
    weight = load_file(path)["weight"]
    save_file({"weight": weight.reshape(1, -1)}, path)
    with pytest.raises(EncoderError, match="one row named 'weight'"):
        load_encoder(whole)
    save_file({"weight": weight[:-1].copy()}, path)
    with pytest.raises(EncoderError, match="belong to two encoders"):
        load_encoder(whole)


def test_a_dense_encoder_is_told_apart_from_a_sparse_one(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """A sentence-transformers folder of a dense model has a Pooling module we do not know."""
    shutil.copytree(tiny_checkpoint, tmp_path / "dense")
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
    ]
    (tmp_path / "dense" / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderError, match=r"models\.Pooling' is not on the list"):
        load_encoder(tmp_path / "dense")


def test_a_backbone_without_masked_lm_head_is_a_missing_head(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "plain")
    edit(tmp_path / "plain" / "config.json", lambda c: c.update(architectures=["BertModel"]))
    with pytest.raises(MissingHead):
        load_encoder(tmp_path / "plain")


# --- places ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "../up/down"])
def test_a_path_that_does_not_exist_is_said_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(EncoderError, match="no encoder folder"):
        load_encoder(tmp_path / name)


def test_an_empty_folder_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="not an encoder folder"):
        load_encoder(tmp_path)


def test_a_hub_name_is_fetched_without_code_or_pickles(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def snapshot(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(whole)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    (whole / "lsr.json").unlink()
    encoder = load_encoder("some-owner/splade-tiny.v1")
    assert encoder.name == "splade-tiny.v1"
    assert asked["name"] == "some-owner/splade-tiny.v1"
    assert asked["allow_patterns"] == [
        *("*.json", "*.safetensors", "*.txt"),
        "*_OnnxTransformer/model.onnx",
    ]


def test_a_hub_without_network_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(name: str, **options: Any) -> str:
        raise LocalEntryNotFoundError("Cannot find an appropriate cached snapshot folder")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(EncoderError, match=r"no folder owner/name.*Check the name and the network"):
        load_encoder("owner/name")


def test_saving_replaces_an_encoder_but_never_another_folder(tmp_path: Path) -> None:
    """`--output ~` must not cost anybody a home directory."""
    encoder = BM25Encoder.fit(["a cat"])
    encoder.save(tmp_path / "out")
    BM25Encoder.fit(["a dog", "two dogs"]).save(tmp_path / "out")
    loaded = load_encoder(tmp_path / "out")
    assert isinstance(loaded, BM25Encoder)
    assert loaded.statistics.n_docs == 2
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    with pytest.raises(EncoderError, match="is not an encoder folder"):
        encoder.save(home)
    assert (home / "thesis.txt").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "out"]


def test_a_save_that_fails_leaves_the_old_encoder_and_no_litter(tmp_path: Path) -> None:
    BM25Encoder.fit(["a cat"]).save(tmp_path / "out")
    before = load_encoder(tmp_path / "out").build
    with (
        pytest.raises(DiskFull, match="no room to write it"),
        replacing(tmp_path / "out") as fresh,
    ):
        (fresh / "modules.json").write_text("half")
        raise OSError(28, "No space left on device")
    assert load_encoder(tmp_path / "out").build == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from lsr.encoders.folder import replacing

with replacing(Path(sys.argv[1])) as fresh:
    (fresh / "modules.json").write_text("half")
    if sys.argv[2] == "moving":  # the old folder has gone, the new one has not come
        rename = Path.rename
        Path.rename = lambda path, to: (rename(path, to), os.kill(os.getpid(), signal.SIGKILL))
    else:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["writing", "moving"])
def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path, moment: str) -> None:
    """SIGKILL; what somebody is writing, other names and other people's files stay."""
    out = tmp_path / "out"
    BM25Encoder.fit(["a cat"]).save(out)
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(out), moment], check=False)
    assert killed.returncode == -9
    left = {path.suffix for path in tmp_path.iterdir() if path.name.startswith(".")}
    assert left == ({".new"} if moment == "writing" else {".new", ".old"})
    others = [".other.0123abcd.new", ".out.notes.new", ".out.0123abcd.old.txt"]
    for name in others:
        (tmp_path / name).mkdir()
        (tmp_path / name / "modules.json").write_text("kept")
    with replacing(out) as mine:
        (mine / "modules.json").write_text("at work")
        BM25Encoder.fit(["a dog"]).save(out)
        assert (mine / "modules.json").read_text() == "at work", "its writer lives"
        (mine / "modules.json").write_text("[]")
    BM25Encoder.fit(["a bee"]).save(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "out"])
    assert load_encoder(out).encode_queries(["bee"]).nnz == 1
