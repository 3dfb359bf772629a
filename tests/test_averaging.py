"""`lsr average`: means of weights, records of all, and refusals where a mean would be noise."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lsr.__main__ import run
from lsr.contamination import contamination
from lsr.encoders import InferenceFreeEncoder, JoinedEncoder, load_encoder
from lsr.encoders.averaging import average
from lsr.encoders.joined import count_words
from lsr.encoders.splade import SpladeModel
from lsr.errors import EncoderError

TEXTS = ["the cat sat on a mat", "big dogs"]
WEIGHTS = Path("document_0_Transformer", "model.safetensors")
TABLE = Path("query_0_SparseStaticEmbedding", "model.safetensors")


def encoder(checkpoint: Path, folder: Path, *, seed: int, data: str) -> Path:
    """An encoder whose weights lie around those of the checkpoint."""
    model = SpladeModel.from_checkpoint(checkpoint, max_length=24)
    rng = np.random.default_rng(seed)
    table = rng.random(model.n_terms).astype(np.float32)
    InferenceFreeEncoder.of(model, table, max_weight=1.5).save(folder)
    tensors = load_file(folder / WEIGHTS)
    moved = {
        key: (value + 0.01 * rng.standard_normal(value.shape)).astype(value.dtype)
        for key, value in tensors.items()
    }
    save_file(moved, folder / WEIGHTS, metadata={"format": "pt"})
    card = json.loads((folder / "lsr.json").read_text())
    card["training"] = {"data": [{"name": data, "split": "train"}, {"name": "x", "split": "dev"}]}
    (folder / "lsr.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def pair(tiny_checkpoint: Path, tmp_path: Path) -> tuple[Path, Path]:
    return (
        encoder(tiny_checkpoint, tmp_path / "a", seed=1, data="cats"),
        encoder(tiny_checkpoint, tmp_path / "b", seed=2, data="dogs"),
    )


def test_weights_are_means_and_the_card_keeps_all_records(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "both"
    words = ["average", *map(str, pair), str(out), "--share", "3", "--share", "1", "--json"]
    assert run(words) == 0
    n_weights = json.loads(capsys.readouterr().out)["n_weights"]
    counted = 0
    for path in (WEIGHTS, TABLE):
        a, b, both = (load_file(folder / path) for folder in (*pair, out))
        for key, mean in both.items():
            np.testing.assert_allclose(mean, 0.75 * a[key] + 0.25 * b[key], rtol=1e-5, atol=1e-7)
            assert mean.dtype == a[key].dtype
            counted += mean.size
    assert n_weights == counted
    made = load_encoder(out)
    assert made.name == "both"
    assert made.space not in {load_encoder(folder).space for folder in pair}
    assert made.encode_documents(TEXTS).nnz > 0
    training = json.loads((out / "lsr.json").read_text())["training"]
    assert training["data"][0]["name"] == "cats"
    assert training["averaged"]["shares"] == [0.75, 0.25]
    assert training["averaged"]["others"][0]["data"][0]["name"] == "dogs"


def test_a_mean_of_a_mean_keeps_the_records_of_all(
    pair: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    third = encoder(tiny_checkpoint, tmp_path / "c", seed=3, data="owls")
    average(pair, tmp_path / "both", [3, 1], name="both")
    average([tmp_path / "both", third], tmp_path / "all", [1, 1], name="all")
    training = json.loads((tmp_path / "all" / "lsr.json").read_text())["training"]
    averaged = training["averaged"]
    assert averaged["shares"] == [0.375, 0.125, 0.5]
    assert [one["data"][0]["name"] for one in (training, *averaged["others"])] == [
        *("cats", "dogs", "owls")
    ]
    assert all("averaged" not in one for one in averaged["others"])
    (seen,) = contamination([tmp_path / "all"], dataset="dogs", split="test", fingerprint="0")
    assert "trained on dogs" in str(seen)


def test_an_encoder_without_a_record_adds_what_its_readme_states(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """Its share stays its own, and its marks pass to the mean, whichever comes first."""
    card = json.loads((pair[0] / "lsr.json").read_text())
    del card["training"]
    (pair[0] / "lsr.json").write_text(json.dumps(card))
    stated = "license: mit\nbase_model: naver/splade-v3\ndatasets:\n- scifact\n"
    (pair[0] / "README.md").write_text(f"---\n{stated}---\n# a\n")
    for order, shares in ((pair, [0.25, 0.75]), (pair[::-1], [0.75, 0.25])):
        out = tmp_path / f"from-{order[0].name}"
        average(order, out, shares, name="x")
        training = json.loads((out / "lsr.json").read_text())["training"]
        assert training["averaged"]["shares"] == shares
        for dataset in ("scifact", "msmarco", "dogs"):
            assert contamination([out], dataset=dataset, split="test", fingerprint="0"), dataset
        assert not contamination([out], dataset="cranfield", split="test", fingerprint="0")


@pytest.mark.parametrize(
    "averaged",
    [
        {"shares": [0.5], "others": [{"data": []}]},
        {"shares": ["half", 0.5], "others": [{"data": []}]},
        {"shares": [0.5, 0.5], "others": ["oops"]},
        {"shares": [0.5, 0.5]},
    ],
)
def test_a_record_whose_shares_do_not_fit_is_refused(
    averaged: dict[str, object], pair: tuple[Path, Path], tmp_path: Path
) -> None:
    card = json.loads((pair[0] / "lsr.json").read_text())
    card["training"]["averaged"] = averaged
    (pair[0] / "lsr.json").write_text(json.dumps(card))
    with pytest.raises(EncoderError, match="as many shares as records"):
        average(pair, tmp_path / "out", [1, 1], name="x")
    assert not (tmp_path / "out").exists()


def test_an_encoder_averaged_with_itself_stays_itself(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    average([pair[0], pair[0]], tmp_path / "same", [1, 1], name="same")
    wanted = load_encoder(pair[0]).encode_documents(TEXTS)
    assert (load_encoder(tmp_path / "same").encode_documents(TEXTS) != wanted).nnz == 0


def test_what_has_no_mean_is_refused_and_nothing_is_left(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    a, b = pair
    out = tmp_path / "out"
    with pytest.raises(EncoderError, match="wanted numbers above 0"):
        average([a, b], out, [1, 0], name="x")
    with pytest.raises(EncoderError, match="2 or more"):
        average([a], out, [1], name="x")
    with pytest.raises(EncoderError, match="no encoder folder"):
        average([a, tmp_path], out, [1, 1], name="x")
    tensors = load_file(b / TABLE)
    save_file({key: value[:-1] for key, value in tensors.items()}, b / TABLE)
    with pytest.raises(EncoderError, match="one architecture"):
        average([a, b], out, [1, 1], name="x")
    save_file(tensors, b / TABLE)
    place = b / "query_0_SparseStaticEmbedding" / "tokenizer.json"
    place.write_text(place.read_text() + " ")
    with pytest.raises(EncoderError, match="terms are not the other's"):
        average([a, b], out, [1, 1], name="x")
    counted = []
    for place, texts in ((tmp_path / "n", ["red bees"]), (tmp_path / "m", ["red bees", "red"])):
        learned = load_encoder(a)
        assert isinstance(learned, InferenceFreeEncoder)
        words = count_words(texts, least=1)
        JoinedEncoder.of(learned, words, weight=1.0, name="x").save(place)
        counted.append(place)
    with pytest.raises(EncoderError, match="counts of other texts"):
        average(counted, out, [1, 1], name="x")
    assert not out.exists()


def test_the_mean_has_the_largest_scale_in_either_order(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """It was the first's: 29 % of the weights of a mean were cut off by an index."""
    card = json.loads((pair[1] / "lsr.json").read_text())
    (pair[1] / "lsr.json").write_text(json.dumps(card | {"max_weight": 4.5}))
    for number, folders in enumerate((pair, pair[::-1])):
        average(folders, tmp_path / f"{number}", [1, 1], name="both")
        assert load_encoder(tmp_path / f"{number}").max_weight == 4.5


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("document_1_SpladePooling/config.json", "pooling_strategy", "sum"),
        ("lsr.json", "window_overlap", 4),
    ],
)
def test_encoders_that_read_a_text_otherwise_have_no_mean(
    pair: tuple[Path, Path], tmp_path: Path, file: str, key: str, value: object
) -> None:
    path = pair[1] / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(EncoderError, match=rf"differ in {key}: .* and {value}"):
        average(pair, tmp_path / "both", [1, 1], name="both")
    assert not (tmp_path / "both").exists()


def test_a_pooling_that_is_named_and_not_there_is_missed(pair: tuple[Path, Path]) -> None:
    """Its place was taken by the default, which gave other vectors without a word."""
    shutil.rmtree(pair[0] / "document_1_SpladePooling")
    with pytest.raises(EncoderError, match=r"document_1_SpladePooling.config\.json"):
        load_encoder(pair[0])
