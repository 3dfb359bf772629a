"""Decoders as sparse encoders: attention, echo, pooling, silence, and the way to disk and back."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from decoders import make_decoder
from safetensors.numpy import load_file

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lsr.encoders import InferenceFreeEncoder, Settings, SpladeEncoder, load_encoder  # noqa: E402
from lsr.encoders.decoder import DecoderModel, lion_scale  # noqa: E402
from lsr.encoders.decoder_settings import DecoderSettings  # noqa: E402
from lsr.errors import EncoderError, MissingExtra, MissingHead  # noqa: E402

FAMILIES = ["llama", "qwen2", "qwen3"]
TEXTS = ["aspirin risk of a heart attack", "goal", "the team", "a cat a dog the cat of the dog"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    made: dict[tuple[Any, ...], Path] = {}

    def make(family: str = "llama", *, bos: bool = True, tied: bool = True) -> Path:
        key = (family, bos, tied)
        if key not in made:
            made[key] = make_decoder(
                tmp_path_factory.mktemp("decoder") / family, family, bos=bos, tied=tied
            )
        return made[key]

    return make


@pytest.fixture
def load(checkpoint: Callable[..., Path]) -> Callable[..., DecoderModel]:
    def make(
        family: str = "llama",
        *,
        bos: bool = True,
        tied: bool = True,
        pooling: Any = "max",
        sink: str | None = None,
        **settings: Any,
    ) -> DecoderModel:
        return DecoderModel.from_checkpoint(
            checkpoint(family, bos=bos, tied=tied),
            settings=DecoderSettings(**settings),
            pooling=pooling,
            sink=sink,
        )

    return make


def padded(rows: list[list[int]], pad: int = 1) -> tuple[Any, Any]:
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad)
    mask = torch.zeros((len(rows), longest), dtype=torch.int64)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(row)
        mask[at, : len(row)] = 1
    return ids, mask


# --- what a position sees ------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("with_padding", [False, True])
@torch.no_grad()
def test_a_late_token_changes_early_features_only_where_attention_is_bidirectional(
    load: Callable[..., DecoderModel], family: str, implementation: str, with_padding: bool
) -> None:
    """The pitfall is a flag that one path ignores: it would be sdpa without padding."""
    first, second = [0, 5, 6, 7, 8], [0, 5, 6, 7, 9]
    other = [[0, 3, 4, 5, 6, 7, 8]] if with_padding else []
    for attention, changes in (("causal", False), ("bidirectional", True)):
        model = load(family, attention=attention)
        model.backbone.set_attn_implementation(implementation)
        before = model.features(*padded([first, *other]))[0, 1]
        after = model.features(*padded([second, *other]))[0, 1]
        assert bool((before - after).abs().max() > 1e-3) is changes


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@torch.no_grad()
def test_bidirectional_attention_is_that_of_the_configuration_flag_of_transformers(
    load: Callable[..., DecoderModel], implementation: str
) -> None:
    """An independent way to the same numbers: `is_causal = False` in the configuration."""
    model = load(attention="bidirectional")
    model.backbone.set_attn_implementation(implementation)
    ids, mask = padded([[0, 5, 6, 7, 8], [0, 9, 4]])
    ours = model.features(ids, mask)
    model.backbone.config.is_causal = False
    for layer in model.backbone.model.layers:
        layer.self_attn.is_causal = False
    theirs = model.backbone.model(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(ours[0], theirs[0])
    torch.testing.assert_close(ours[1, :3], theirs[1, :3])


@torch.no_grad()
def test_bfloat16_keeps_bidirectional_attention(load: Callable[..., DecoderModel]) -> None:
    for implementation in ("eager", "sdpa"):
        model = load(attention="bidirectional")
        model.backbone.set_attn_implementation(implementation)
        batch = padded([[0, 5, 6, 7, 8], [0, 9, 4]])
        with torch.autocast("cpu", torch.bfloat16):
            low = model.weights(*batch)
        full = model.weights(*batch)
        assert float((low - full).abs().max()) < 0.1  # three digits of bfloat16, weights to 2


def test_flash_attention_is_refused_not_causal(load: Callable[..., DecoderModel]) -> None:
    model = load(attention="bidirectional")
    model.backbone.config._attn_implementation = "flash_attention_2"
    with pytest.raises(EncoderError, match="flash_attention_2"):
        model.features(*padded([[0, 5]]))


# --- echo ----------------------------------------------------------------------------------------


@torch.no_grad()
def test_an_echo_reads_the_second_copy_of_a_hand_built_sequence(
    load: Callable[..., DecoderModel],
) -> None:
    model = load(echo=True)
    rows = [[0, 5, 6, 7], [0, 8], [0, 9, 3, 4, 5, 1]]  # the last with a token behind the text
    by_hand = [[0, 5, 6, 7, 5, 6, 7], [0, 8, 8], [0, 9, 3, 4, 5, 9, 3, 4, 5, 1]]
    second = [[4, 5, 6], [2], [5, 6, 7, 8, 9]]
    ours = model.features(*padded(rows))
    for row, (doubled, at) in enumerate(zip(by_hand, second, strict=True)):
        alone = model.backbone.model(input_ids=torch.tensor([doubled])).last_hidden_state[0]
        torch.testing.assert_close(ours[row, 1 : 1 + len(at)], alone[at])
        weights = torch.log1p(torch.relu(model.logits(alone[at]))).max(dim=0).values
        if row < 2:
            torch.testing.assert_close(model.weights(*padded(rows))[row], weights)


@torch.no_grad()
def test_every_echoed_position_has_seen_the_whole_text(load: Callable[..., DecoderModel]) -> None:
    """And nothing of the first copy is pooled: its first token has not seen the last."""
    first, second = padded([[0, 5, 6, 7, 8]]), padded([[0, 5, 6, 7, 9]])
    echo, causal = load(echo=True), load()
    assert torch.equal(causal.features(*first)[0, 1], causal.features(*second)[0, 1])
    changed = (echo.features(*first)[0, 1:] - echo.features(*second)[0, 1:]).abs().amax(dim=1)
    assert bool((changed > 1e-3).all())
    for exclude in ("special", "bos", "none"):
        pooled = load(echo=True, exclude=exclude).pooled_positions(*first)
        assert pooled.tolist() == [[False, True, True, True, True]]


def test_an_echo_halves_the_longest_text(load: Callable[..., DecoderModel]) -> None:
    assert load().tokenizer.max_length == 64
    assert load(echo=True).tokenizer.max_length == 32


# --- pooling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["max", "sum", "mean", "last"])
@pytest.mark.parametrize(
    "settings", [{}, {"attention": "bidirectional"}, {"echo": True}], ids=["causal", "full", "echo"]
)
def test_a_batch_of_unequal_lengths_equals_one_by_one(
    load: Callable[..., DecoderModel], family: str, pooling: str, settings: dict[str, Any]
) -> None:
    model = load(family, pooling=pooling, **settings)
    rows = model.tokenizer.ids(TEXTS, special=True)
    together = model.encode_tokens(rows).toarray()
    assert (together > 0).sum() > 4 * len(rows)
    for row, ids in enumerate(rows):
        alone = model.encode_tokens([ids]).toarray()[0]
        np.testing.assert_allclose(together[row], alone, atol=2e-5)


@torch.no_grad()
def test_pooling_is_the_formula_over_the_positions_behind_bos(
    load: Callable[..., DecoderModel],
) -> None:
    """By hand from the stock model's logits; 41 terms, of which two are special, two unused."""
    ids = [0, 5, 6, 7, 1]
    for pooling in ("max", "sum", "mean", "last"):
        for exclude, kept in (("special", [1, 2, 3]), ("bos", [1, 2, 3, 4]), ("none", range(5))):
            model = load(pooling=pooling, exclude=exclude)
            logits = model.backbone(input_ids=torch.tensor([ids])).logits[0]
            weights = torch.log1p(torch.relu(logits))[list(kept)]
            wanted = {"max": weights.max(0).values, "sum": weights.sum(0), "last": weights[-1]}
            wanted["mean"] = weights.sum(0) / len(kept)
            got = model.weights(*padded([ids, [0, 5, 6, 7, 8, 4, 3]]))[0]
            torch.testing.assert_close(got, wanted[pooling])


def test_a_text_of_special_tokens_alone_is_empty(load: Callable[..., DecoderModel]) -> None:
    for pooling in ("max", "sum", "mean", "last"):
        rows = load(pooling=pooling).encode_tokens([[0, 1], [0, 5, 6]])
        assert np.diff(rows.indptr)[0] == 0
        assert np.diff(rows.indptr)[1] > 0


# --- the head ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_special_and_unused_terms_never_weigh_anything(
    load: Callable[..., DecoderModel], family: str
) -> None:
    model = load(family)
    model.shift(-50.0)  # lifts everything else above 0
    row = model.encode_tokens([[0, 5, 6, 7]]).toarray()[0]
    silent = [0, 1, model.n_terms - 2, model.n_terms - 1]
    assert (row[silent] == 0).all()
    assert (np.delete(row, silent) > 0).all()


@torch.no_grad()
def test_shift_and_scale_move_logits_as_written(load: Callable[..., DecoderModel]) -> None:
    plain, moved = load(), load(logit_scale=lion_scale(16))
    moved.shift(0.25)
    batch = padded([[0, 5, 6, 7]])
    before, after = (model.logits(model.features(*batch))[..., 2:-2] for model in (plain, moved))
    torch.testing.assert_close(after, before * 0.5 - 0.25)  # 16 ** -0.25 = 0.5


@torch.no_grad()
def test_a_centred_head_averages_nothing_and_keeps_the_order_of_terms(
    load: Callable[..., DecoderModel], tmp_path: Path
) -> None:
    model, batch = load(), padded([[0, 5, 6, 7]])
    embeddings = model.backbone.get_input_embeddings().weight.clone()
    before = model.logits(model.features(*batch))[..., 2:-2]
    model.centre_head()
    after = model.logits(model.features(*batch))
    used = after[..., : model.tokenizer.n_tokens].clone()
    used[..., :2] -= model.decoder.bias[:2]
    assert float(used.mean(dim=-1).abs().max()) < 1e-5
    assert torch.equal(before.argsort(dim=-1), after[..., 2:-2].argsort(dim=-1))
    assert torch.equal(model.backbone.get_input_embeddings().weight, embeddings)
    model.save_checkpoint(tmp_path)
    again = DecoderModel.from_checkpoint(tmp_path)
    torch.testing.assert_close(again.logits(again.features(*batch)), after)


def test_a_head_with_something_behind_it_is_refused(
    checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    config = orjson.loads((checkpoint() / "config.json").read_bytes())
    for path in checkpoint().iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_bytes(orjson.dumps(config | {"final_logit_softcapping": 30.0}))
    with pytest.raises(EncoderError, match="final_logit_softcapping"):
        DecoderModel.from_checkpoint(tmp_path)


# --- tokenizers ----------------------------------------------------------------------------------


def test_a_sink_goes_before_every_text_and_is_not_pooled(
    load: Callable[..., DecoderModel],
) -> None:
    """Qwen and SmolLM put no BOS: without one, the first word would be the sink."""
    bare, sunk, stock = load(bos=False), load(bos=False, sink="<s>"), load()
    assert bare.tokenizer.n_special == 0
    assert sunk.tokenizer.ids(TEXTS, special=True) == stock.tokenizer.ids(TEXTS, special=True)
    rows = sunk.tokenizer.ids(TEXTS, special=True)
    np.testing.assert_array_equal(
        sunk.encode_tokens(rows).toarray(), stock.encode_tokens(rows).toarray()
    )
    with pytest.raises(EncoderError, match="no special token '<bos>'"):
        load(bos=False, sink="<bos>")


# --- encoders and their folders ------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {"attention": "bidirectional", "logit_scale": 0.5},
        {"echo": True, "pooling": "last"},
        {"exclude": "bos", "pooling": "mean"},
    ],
    ids=["full", "echo", "mean"],
)
def test_an_encoder_is_the_same_after_saving(
    load: Callable[..., DecoderModel],
    tmp_path: Path,
    family: str,
    tied: bool,
    settings: dict[str, Any],
) -> None:
    """Above all bidirectional: a flag lost on the way would make it causal and nobody would see."""
    model = load(family, tied=tied, **settings)
    model.shift(0.1)
    encoder = replace(SpladeEncoder.of(model), settings=Settings("a ", "the ", max_active_dims=7))
    encoder.save(tmp_path / "one")
    modules = orjson.loads((tmp_path / "one" / "modules.json").read_bytes())
    assert modules[0]["type"] == "lsr.encoders.decoder.DecoderTransformer"
    again = load_encoder(tmp_path / "one")
    assert again.space == encoder.space
    for encode in ("encode_documents", "encode_queries"):
        before, after = getattr(encoder, encode)(TEXTS), getattr(again, encode)(TEXTS)
        np.testing.assert_array_equal(before.toarray(), after.toarray())
        assert int(np.diff(after.indptr).max()) == 7
    again.save(tmp_path / "two")  # by copying, without loading anything
    third = load_encoder(tmp_path / "two")
    np.testing.assert_array_equal(
        third.encode_documents(TEXTS).toarray(), again.encode_documents(TEXTS).toarray()
    )
    keys = load_file(tmp_path / "one" / "model.safetensors")
    assert ("lm_head.weight" in keys) is not tied


def test_the_saved_checkpoint_is_one_that_transformers_reads(
    load: Callable[..., DecoderModel], tmp_path: Path
) -> None:
    import transformers

    model = load("qwen2")
    model.save_checkpoint(tmp_path)
    stock = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.tensor([[0, 5, 6]])
    with torch.no_grad():
        torch.testing.assert_close(
            stock(ids).logits, model.backbone(ids).logits[...] * 1.0, atol=2e4, rtol=0
        )
        torch.testing.assert_close(
            stock(ids).logits[..., 2:-2], model.backbone(ids).logits[..., 2:-2]
        )


def test_the_space_knows_what_the_settings_change(load: Callable[..., DecoderModel]) -> None:
    spaces = {
        SpladeEncoder.of(load(**settings)).space
        for settings in ({}, {"attention": "bidirectional"}, {"echo": True}, {"exclude": "bos"})
    }
    assert len(spaces) == 4


def test_a_query_table_takes_a_decoder_for_its_documents(
    load: Callable[..., DecoderModel], tmp_path: Path
) -> None:
    model = load("qwen3", attention="bidirectional")
    table = np.linspace(0, 1, model.n_terms, dtype=np.float32)
    encoder = InferenceFreeEncoder.of(model, table)
    encoder.save(tmp_path / "one")
    again = load_encoder(tmp_path / "one")
    assert isinstance(again, InferenceFreeEncoder)
    assert again.documents is not None
    assert again.documents.kind == "decoder"
    np.testing.assert_array_equal(
        again.encode_documents(TEXTS).toarray(), encoder.encode_documents(TEXTS).toarray()
    )
    heart = model.tokenizer.ids(["heart"], special=False)[0][0]
    assert again.encode_queries(["heart"]).toarray()[0, heart] == table[heart]


def test_damaged_folders_say_what_is_wrong(
    load: Callable[..., DecoderModel], tmp_path: Path
) -> None:
    SpladeEncoder.of(load()).save(tmp_path / "e")
    settings = tmp_path / "e" / "lsr_network.json"
    good = settings.read_bytes()
    settings.write_bytes(orjson.dumps(orjson.loads(good) | {"attention": "sideways"}))
    with pytest.raises(EncoderError, match="attention = 'sideways'"):
        load_encoder(tmp_path / "e").encode_documents(["a"])
    settings.write_bytes(orjson.dumps(orjson.loads(good) | {"folded": True}))
    with pytest.raises(EncoderError, match="unknown setting 'folded'"):
        load_encoder(tmp_path / "e").encode_documents(["a"])
    settings.write_bytes(orjson.dumps({"kind": "oracle"}))
    with pytest.raises(EncoderError, match="oracle"):
        load_encoder(tmp_path / "e")
    settings.unlink()
    with pytest.raises(MissingHead, match="LlamaForCausalLM"):
        load_encoder(tmp_path / "e")
    settings.write_bytes(good)
    (tmp_path / "e" / "head.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"head\.safetensors is missing"):
        load_encoder(tmp_path / "e").encode_documents(["a"])


def test_gguf_without_its_package_names_the_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "gguf" else found(name)
    )
    with pytest.raises(MissingExtra, match=r"pip install 'lsr-search\[train\]'"):
        DecoderModel.from_checkpoint(tmp_path)
    monkeypatch.undo()
    with pytest.raises(EncoderError, match=r"tiny\.gguf cannot be loaded"):
        DecoderModel.from_checkpoint(tmp_path, gguf_file="tiny.gguf")
