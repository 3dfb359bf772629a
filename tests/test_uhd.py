"""UHD: winners of many latent terms, in buckets by layer; binary ones are counted in an index."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lsr.__main__ import run  # noqa: E402
from lsr.encoders import SpladeEncoder, is_binary, load_encoder  # noqa: E402
from lsr.encoders.buckets import Buckets  # noqa: E402
from lsr.encoders.uhd import UHDModel  # noqa: E402
from lsr.errors import EncoderError  # noqa: E402
from training.scratch import make_backbone  # noqa: E402
from training.sections import Scratch  # noqa: E402

TEXTS = ["the red fox runs", "a blue whale swims in the sea", "green frogs sit", "the sea is blue"]
BUCKETS = Buckets(layers=(1, 2), dims=(300, 200), winners=(6, 4))


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone")
    scratch = Scratch(layers=3, hidden=32, vocabulary=300)
    make_backbone(folder, scratch, TEXTS * 3, max_length=16, seed=0)
    return folder


def uhd(backbone: Path, *, binary: bool, seed: int = 0) -> UHDModel:
    buckets = Buckets(BUCKETS.layers, BUCKETS.dims, BUCKETS.winners, binary=binary)
    return UHDModel.over(backbone, buckets, max_length=16, seed=seed).eval()


def by_hand(model: UHDModel, tokens: list[int], only: int | None = None) -> dict[int, float]:
    """Winner-take-all and pooling by sorting, one token and one bucket at a time.

    `only` leaves out what the tokens at other positions switch on.
    """
    assert model.buckets is not None
    ids = torch.tensor([tokens])
    with torch.no_grad():
        states = model.backbone(
            input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True
        ).hidden_states
    special = set(model.tokenizer.special_ids())
    weights: dict[int, float] = {}
    start = 0
    for layer, dim, winners, projection in zip(
        model.buckets.layers,
        model.buckets.dims,
        model.buckets.winners,
        model.projections,
        strict=True,
    ):
        matrix, bias = (p.detach().numpy() for p in (projection.weight, projection.bias))
        for position, token in enumerate(tokens):
            if token in special or only not in (None, position):
                continue
            x = matrix @ states[layer][0, position].numpy() + bias
            for term in np.argsort(-x)[:winners]:
                if x[term] > 0:
                    number, weight = start + int(term), float(np.log1p(x[term]))
                    weights[number] = max(weights.get(number, 0.0), weight)
        start += dim
    return weights


@pytest.mark.parametrize("binary", [True, False])
def test_a_text_has_the_winners_of_its_tokens_in_every_bucket(backbone: Path, binary: bool) -> None:
    model = uhd(backbone, binary=binary)
    tokens = model.tokenizer.ids(TEXTS, special=True)  # of several lengths, so some are padded
    rows = model.encode_tokens(tokens)
    for row, ids in enumerate(tokens):
        wanted = by_hand(model, ids)
        a, b = rows.indptr[row], rows.indptr[row + 1]
        assert rows.indices[a:b].tolist() == sorted(wanted)
        if binary:
            assert set(rows.data[a:b].tolist()) == {1.0}
        else:  # products of float32 in another order
            weights = [wanted[term] for term in sorted(wanted)]
            assert np.allclose(rows.data[a:b], weights, atol=1e-5)


def test_layers_above_the_last_bucket_are_gone(backbone: Path) -> None:
    model = uhd(backbone, binary=True)
    assert model.backbone.config.num_hidden_layers == 2
    unused = [n for n, p in model.named_parameters() if not learns(model, p)]
    assert unused == []


def learns(model: UHDModel, parameter: "torch.nn.Parameter") -> bool:
    if parameter.grad is None:
        tokens = torch.tensor([model.tokenizer.ids([TEXTS[0]], special=True)[0]])
        model.weights(tokens, torch.ones_like(tokens)).sum().backward()
    return parameter.grad is not None


def test_the_gradient_is_straight_through_and_reaches_winners_alone(backbone: Path) -> None:
    """That of the soft weights, at values of exactly 0 and 1."""
    tokens = torch.tensor([uhd(backbone, binary=True).tokenizer.ids([TEXTS[0]], special=True)[0]])
    gradients = []
    for binary in (True, False):
        model = uhd(backbone, binary=binary)
        weights = model.weights(tokens, torch.ones_like(tokens))
        if binary:
            assert set(weights.unique().tolist()) == {0.0, 1.0}
            winners = weights[0] > 0
        factors = torch.linspace(-1, 1, weights.shape[1])
        (weights * factors).sum().backward()
        bias = [p.bias.grad for p in model.projections]
        gradients.append(torch.cat(bias))
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0] != 0, winners & (factors != 0))


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    data=st.data(),
)
def test_names_number_terms_inside_their_bucket(sizes: list[int], data: st.DataObject) -> None:
    layers = tuple(range(1, 3 * len(sizes), 3))
    buckets = Buckets(layers, tuple(sizes), (1,) * len(sizes))
    wanted = [
        f"L{layer}:{n}" for layer, size in zip(layers, sizes, strict=True) for n in range(size)
    ]
    assert buckets.names(range(buckets.n_terms)) == wanted
    some = data.draw(st.lists(st.integers(0, buckets.n_terms - 1)))
    assert buckets.names(some) == [wanted[term] for term in some]


@pytest.mark.parametrize(
    ("layers", "dims", "winners", "complaint"),
    [
        ((1,), (10, 10), (1, 1), "as many layers as dims and winners"),
        ((2, 1), (10, 10), (1, 1), "must ascend"),
        ((0,), (10,), (1,), "above the embeddings"),
        ((1,), (10,), (11,), "10 terms and 11 winners"),
    ],
)
def test_buckets_that_cannot_be_are_refused(
    layers: Any, dims: Any, winners: Any, complaint: str
) -> None:
    with pytest.raises(EncoderError, match=complaint):
        Buckets(layers, dims, winners)


def test_a_layer_that_the_network_lacks_is_refused(backbone: Path) -> None:
    with pytest.raises(EncoderError, match="reads layer 9, but BertModel has 3"):
        UHDModel.over(backbone, Buckets((9,), (50,), (3,)))


@pytest.mark.parametrize("binary", [True, False])
def test_what_was_saved_is_what_is_loaded(backbone: Path, tmp_path: Path, binary: bool) -> None:
    encoder = SpladeEncoder.of(uhd(backbone, binary=binary, seed=3), name="u")
    encoder.save(tmp_path / "one")
    loaded = load_encoder(tmp_path / "one", device="cpu")
    loaded.save(tmp_path / "two")
    again = load_encoder(tmp_path / "two", device="cpu")
    wanted = encoder.encode_documents(TEXTS).toarray()
    assert np.array_equal(loaded.encode_documents(TEXTS).toarray(), wanted)
    assert np.array_equal(again.encode_queries(TEXTS).toarray(), wanted)
    assert encoder.space == loaded.space == again.space
    assert loaded.n_terms == 500
    assert is_binary(loaded) == is_binary(again) == binary
    assert loaded.term_strings([0, 299, 300]) == ["L1:0", "L1:299", "L2:0"]
    assert SpladeEncoder.of(uhd(backbone, binary=binary, seed=4)).space != encoder.space


@pytest.mark.parametrize("binary", [True, False])
def test_a_latent_term_comes_from_the_token_that_projects_highest(
    backbone: Path, binary: bool
) -> None:
    """Each token alone by hand; every word of the text is one token or more."""
    model = uhd(backbone, binary=binary)
    encoder = SpladeEncoder.of(model)
    text = TEXTS[1]
    row = encoder.encode_documents([text])
    origins = encoder.origins(text, range(model.n_terms))
    assert [origin.term for origin in origins] == row.indices.tolist()
    encoding = model.tokenizer.encoding(text, special=True)
    whole = by_hand(model, encoding.ids)
    at_token = [by_hand(model, encoding.ids, only=place) for place in range(len(encoding.ids))]
    spans = set()
    for origin in origins:
        givers = [place for place, given in enumerate(at_token) if origin.term in given]
        place = max(givers, key=lambda place: at_token[place][origin.term])
        assert origin.span == encoding.offsets[place]
        assert origin.token == encoding.tokens[place]
        assert origin.weight == pytest.approx(1.0 if binary else whole[origin.term], abs=1e-5)
        assert not origin.literal
        spans.add(origin.span)
    assert len(spans) > 3


def test_only_this_package_loads_it_and_says_what_is_damaged(
    backbone: Path, tmp_path: Path
) -> None:
    library = pytest.importorskip("sentence_transformers")
    SpladeEncoder.of(uhd(backbone, binary=True)).save(tmp_path / "e")
    with pytest.raises(Exception, match=r"UHDHead|lsr"):
        library.SparseEncoder(str(tmp_path / "e"), device="cpu")
    head = tmp_path / "e" / "1_UHDHead"
    content = json.loads((head / "config.json").read_text())
    (head / "config.json").write_text(json.dumps(content | {"temperature": 2}))
    with pytest.raises(EncoderError, match="temperature"):
        load_encoder(tmp_path / "e").encode_queries(["cat"])
    (head / "config.json").write_text(json.dumps(content))
    (head / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(EncoderError, match="does not hold the projections"):
        load_encoder(tmp_path / "e").encode_queries(["cat"])


def test_index_search_and_evaluate_count_shared_winners(
    backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The score of every hit is the size of an intersection of sets, through the commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    encoder = SpladeEncoder.of(uhd(backbone, binary=True))
    encoder.save(tmp_path / "e")
    corpus = tmp_path / "corpus"
    (corpus / "qrels").mkdir(parents=True)
    texts = [*TEXTS, "red frogs swim", "whale"]
    lines = [json.dumps({"_id": f"d{i}", "text": text}) for i, text in enumerate(texts)]
    (corpus / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    (corpus / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "blue sea"}) + "\n")
    (corpus / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td3\t1\n")
    assert run(["index", "corpus", "i", "--encoder", "e"]) == 0
    assert "match counts" in capsys.readouterr().out
    assert run(["search", "i", "blue sea", "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)["queries"][0]["hits"]
    rows = encoder.encode_documents(texts)
    sets = [set(row.tolist()) for row in np.split(rows.indices, rows.indptr[1:-1])]
    query = set(encoder.encode_queries(["blue sea"]).indices.tolist())
    wanted = sorted((-len(query & one), i) for i, one in enumerate(sets) if query & one)
    assert [(hit["doc_id"], hit["score"]) for hit in hits] == [
        (f"d{i}", float(-n)) for n, i in wanted
    ]
    assert all(part["term"][0] == "L" for hit in hits for part in hit["terms"])
    assert run(["info", "e"]) == 0
    assert "binary" in capsys.readouterr().out
    assert run(["evaluate", "corpus", "--encoder", "e", "--json"]) == 0
