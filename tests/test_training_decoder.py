"""Training decoders: adapters, the CLM-ReLU stage, calibration, whole runs, stops and resumes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decoders import make_decoder

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")
peft = pytest.importorskip("peft")

from safetensors.numpy import load_file  # noqa: E402

from lsr.encoders import load_encoder  # noqa: E402
from lsr.encoders.decoder import DecoderModel  # noqa: E402
from lsr.encoders.decoder_settings import DecoderSettings  # noqa: E402
from lsr.encoders.lora import has_adapters, merged_state  # noqa: E402
from lsr.errors import EncoderError, RecipeError  # noqa: E402
from training import load_recipe, train  # noqa: E402
from training.adapted_weights import load_weights, save_weights  # noqa: E402
from training.adapters import add_lora, merge_lora  # noqa: E402
from training.calibrate import calibrate  # noqa: E402
from training.clm import CausalLanguageModel, ClmSteps  # noqa: E402
from training.network import learn_last, silence_terms  # noqa: E402
from training.objectives import MaskedLanguageModel  # noqa: E402
from training.sections import Lora  # noqa: E402
from training.stage_sections import ClmStage, MlmStage  # noqa: E402
from training.steps import MlmSteps  # noqa: E402
from training.trainer import StageTrainer  # noqa: E402

TEXTS = ["aspirin risk of a heart attack", "goal", "the team", "a cat a dog the cat of the dog"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_decoder(tmp_path_factory.mktemp("decoder") / "llama")


@pytest.fixture
def model(checkpoint: Path) -> DecoderModel:
    return DecoderModel.from_checkpoint(checkpoint).eval()


def perturb(model: DecoderModel) -> None:
    """Adapters start as nothing (B = 0); give them something to say."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(3))


def encoded(model: DecoderModel) -> np.ndarray:
    return model.encode_tokens(model.tokenizer.ids(TEXTS, special=True)).toarray()


# --- adapters ------------------------------------------------------------------------------------


def test_fresh_adapters_change_nothing_and_only_they_and_the_bias_learn(
    model: DecoderModel,
) -> None:
    before = encoded(model)
    add_lora(model, Lora(rank=2), seed=5)
    np.testing.assert_array_equal(encoded(model), before)
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(learning) == 2 * 7 * 2 + 1
    assert all(".lora_" in name or name.endswith("lm_head.bias") for name in learning)
    learn_last(model, 1)
    last = {name for name, p in model.named_parameters() if p.requires_grad}
    assert last == {name for name in learning if ".layers.0." not in name}
    learn_last(model, -1)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == learning


def test_merging_computes_what_the_adapters_did(model: DecoderModel) -> None:
    """The oracle is W + alpha / rank B A, written out."""
    plain = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    add_lora(model, Lora(rank=2, alpha=6, targets=("q_proj", "down_proj")), seed=5)
    perturb(model)
    layer = model.backbone.model.layers[0].self_attn.q_proj
    a, b = layer.lora_A["lsr"].weight, layer.lora_B["lsr"].weight
    name = "model.layers.0.self_attn.q_proj.weight"
    state = merged_state(model.backbone)
    assert set(state) == set(plain)
    torch.testing.assert_close(state[name], plain[name] + 3.0 * b @ a)
    before = encoded(model)
    merge_lora(model)
    assert not has_adapters(model)
    assert {n for n, _ in model.backbone.named_parameters()} == set(plain) - {
        "lm_head.weight"  # tied
    }
    np.testing.assert_allclose(encoded(model), before, atol=1e-5)


def test_saving_merges_and_leaves_the_model_in_training_as_it_is(
    model: DecoderModel, tmp_path: Path
) -> None:
    add_lora(model, Lora(rank=2), seed=5)
    perturb(model)
    before = encoded(model)
    model.save_checkpoint(tmp_path)
    assert has_adapters(model)
    np.testing.assert_array_equal(encoded(model), before)
    assert not any("lora" in key for key in load_file(tmp_path / "model.safetensors"))
    again = DecoderModel.from_checkpoint(tmp_path)
    assert not has_adapters(again)
    np.testing.assert_allclose(encoded(again), before, atol=1e-5)


def test_a_checkpoint_of_adapters_holds_no_frozen_weight(
    checkpoint: Path, model: DecoderModel, tmp_path: Path
) -> None:
    add_lora(model, Lora(rank=2), seed=5)
    perturb(model)
    save_weights(model, tmp_path / "w.safetensors")
    keys = set(load_file(tmp_path / "w.safetensors"))
    assert len(keys) == 2 * 7 * 2 + 1
    other = DecoderModel.from_checkpoint(checkpoint).eval()
    add_lora(other, Lora(rank=2), seed=6)
    load_weights(other, tmp_path / "w.safetensors")
    np.testing.assert_array_equal(encoded(other), encoded(model))


@pytest.mark.parametrize(
    ("targets", "message"),
    [(("lm_head",), "stay frozen"), (("query",), "linear layers are down_proj, gate_proj")],
)
def test_targets_that_make_no_sense_are_named(
    model: DecoderModel, targets: tuple[str, ...], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        add_lora(model, Lora(targets=targets), seed=0)


# --- CLM-ReLU ------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_the_clm_loss_is_the_formula_token_by_token(checkpoint: Path, attention: str) -> None:
    """Read causally whatever the encoder does: else it would copy the token it is asked for."""
    model = DecoderModel.from_checkpoint(checkpoint)
    model.settings = replace(model.settings, attention=attention, echo=attention == "causal")
    rows = [[0, 5, 6, 7, 1], [0, 8, 9], [4]]
    losses, behind = [], []
    for row in rows:
        logits = model.backbone(input_ids=torch.tensor([row])).logits[0].double()
        for at, following in enumerate(row[1:]):
            if following not in (0, 1):
                losses.append(-torch.log_softmax(logits[at], 0)[following])
                active = torch.log1p(torch.relu(logits[at]))
                behind.append(-torch.log_softmax(active, 0)[following])
    ids = torch.full((3, 5), 1)
    mask = torch.zeros((3, 5), dtype=torch.int64)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(row)
        mask[at, : len(row)] = 1
    parts = CausalLanguageModel(model, relu_weight=0.5)(ids, mask)
    wanted = torch.stack(losses).mean() + 0.5 * torch.stack(behind).mean()
    assert parts["loss"].item() == pytest.approx(wanted.item(), rel=1e-4)


def test_a_batch_of_single_tokens_has_no_loss_and_no_nan(model: DecoderModel) -> None:
    parts = CausalLanguageModel(model, relu_weight=1.0)(torch.tensor([[5]]), torch.tensor([[1]]))
    assert parts["loss"].item() == 0.0
    parts["loss"].backward()


def test_the_part_behind_the_relu_brings_a_dead_head_to_life(checkpoint: Path) -> None:
    """All logits start below 0. Plain CLM names the tokens and leaves them there."""
    behind: dict[float, float] = {}
    for relu_weight in (0.0, 1.0):
        model = DecoderModel.from_checkpoint(checkpoint)
        model.shift(10.0)
        assert encoded(model).sum() == 0
        objective = CausalLanguageModel(model, relu_weight=relu_weight)
        stage = ClmStage(steps=60, batch=4, max_length=16)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        steps = ClmSteps(TEXTS, model.tokenizer, stage, seed=1)
        for number in range(60):
            optimizer.zero_grad()
            parts = objective(**steps[number])
            parts["loss"].backward()
            optimizer.step()
        assert parts["named_right"].item() > 0.6
        behind[relu_weight] = parts["relu_loss"].item()
    # ln 41 = 3.7 where nothing is active; 3.1 and 1.2 were measured.
    assert behind[0.0] > 2.5
    assert behind[1.0] < 1.8


def test_every_document_is_read_once_a_pass_however_many_processes_share(
    model: DecoderModel,
) -> None:
    stage = ClmStage(steps=4, batch=2, max_length=8)
    alone = ClmSteps(TEXTS, model.tokenizer, stage, seed=1)
    shared = ClmSteps(TEXTS, model.tokenizer, stage, seed=1, parts=2)
    assert (len(alone), len(shared)) == (4, 8)

    def texts(steps: ClmSteps, items: range) -> list[str]:
        return [str(row[row > 1].tolist()) for item in items for row in steps[item]["input_ids"]]

    assert len(set(texts(alone, range(2)))) == len(TEXTS)
    assert texts(alone, range(4)) == texts(shared, range(8))


# --- masked next-token prediction ----------------------------------------------------------------


def bidirectional(checkpoint: Path) -> DecoderModel:
    settings = DecoderSettings(attention="bidirectional")
    return DecoderModel.from_checkpoint(checkpoint, settings=settings)


def test_a_hidden_token_is_named_at_the_position_before_it(checkpoint: Path) -> None:
    """Token by token, as the paper says it; [MASK] is a word of the vocabulary here."""
    model = bidirectional(checkpoint)
    hidden = model.tokenizer.tokenizer.token_to_id("z")
    stage = MlmStage(
        steps=1, batch=4, max_length=16, masked=0.5, kept=0.5, shifted=True, mask_token="z"
    )
    item = MlmSteps(TEXTS, model.tokenizer, stage, seed=1, n_steps=1)[0]
    given, length = item["input_ids"], item["input_ids"].shape[1]
    texts = {len(row): row for row in model.tokenizer.ids(TEXTS, special=True)}
    features = model.features(given, item["attention_mask"])
    losses, n_hidden = [], 0
    asked = iter(zip(item["positions"].tolist(), item["targets"].tolist(), strict=True))
    for row, (ids, mask) in enumerate(zip(given, item["attention_mask"], strict=True)):
        words = texts[int(mask.sum())]
        for at in range(1, len(words)):  # position 0 is <s>, which nothing names
            assert next(asked) == (row * length + at - 1, words[at])
            n_hidden += int(ids[at]) == hidden
            logits = model.logits(features[row, at - 1]).double()
            losses.append(-torch.log_softmax(logits, 0)[words[at]])
    assert next(asked, None) is None
    assert 0.2 * len(losses) < n_hidden < 0.8 * len(losses)
    parts = MaskedLanguageModel(model)(**item)
    assert parts["loss"].item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-4)


def test_it_teaches_a_decoder_to_read_what_follows(checkpoint: Path) -> None:
    """ "the team" and "a cat", whose first word only the second tells: causally one in two."""
    named = {}
    for attention in ("causal", "bidirectional"):
        model = bidirectional(checkpoint)
        model.settings = replace(model.settings, attention=attention)
        stage = MlmStage(
            steps=80, batch=4, max_length=8, masked=1.0, kept=0.0, shifted=True, mask_token="z"
        )
        steps = MlmSteps(["the team", "a cat"], model.tokenizer, stage, seed=1, n_steps=80)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for number in range(80):
            batch = steps[number]
            # Only the first word is hidden and asked for; the second stays to be read.
            first = batch["positions"] % batch["input_ids"].shape[1] == 0
            second = batch["positions"][~first] + 1
            batch["input_ids"].view(-1)[second] = batch["targets"][~first]
            batch["input_ids"][:, 1] = model.tokenizer.tokenizer.token_to_id("z")
            batch |= {name: batch[name][first] for name in ("positions", "targets")}
            optimizer.zero_grad()
            parts = MaskedLanguageModel(model)(**batch)
            parts["loss"].backward()
            optimizer.step()
        named[attention] = parts["named_right"].item()
    assert named == {"causal": 0.5, "bidirectional": 1.0}


def test_a_mask_that_is_no_token_is_refused(model: DecoderModel) -> None:
    stage = MlmStage(steps=1, shifted=True, mask_token="[HIDE]")
    with pytest.raises(RecipeError, match=r"'\[HIDE\]' is no token of the vocabulary"):
        MlmSteps(TEXTS, model.tokenizer, stage, seed=1, n_steps=1)


# --- calibration ---------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"echo": True}, {"attention": "bidirectional"}])
def test_calibration_leaves_the_wanted_number_of_terms(
    checkpoint: Path, settings: dict[str, Any]
) -> None:
    model = DecoderModel.from_checkpoint(checkpoint, settings=DecoderSettings(**settings))
    silence_terms(model, model.tokenizer.special_ids())
    calibrate(model, TEXTS, active_terms=9, max_length=16, bf16=False)
    rows = encoded(model)
    assert (rows > 0).sum() == 9 * len(TEXTS)
    assert (rows[:, [0, 1, -1, -2]] == 0).all()


# --- whole runs ----------------------------------------------------------------------------------


def recipe(**changes: Any) -> Any:
    """The smoke recipe with a Llama of random weights in place of the BERT."""
    return load_recipe(
        "smoke",
        {
            "model.decoder.attention": "causal",
            "stage.clm.steps": 4,
            "stage.clm.max_length": 32,
            "stage.ranking.steps": 6,
            "stage.mlm.steps": 2,
            "stage.ranking.sparsity.ramp": 3,
            "run.log_every": 2,
            "run.checkpoint_every": 2,
            **{key.replace("__", "."): value for key, value in changes.items()},
        },
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"model__decoder__echo": True},
        {"model__decoder__attention": "bidirectional", "model__decoder__scale": "width",
         "stage__mlm__shifted": True},
        {"model__kind": "siamese", "model__lora__rank": 4, "model__pooling": "last",
         "model__decoder__centre": True, "stage__ranking__sampled_terms": 0},
    ],
    ids=["echo", "bidirectional", "siamese-lora-last"],
)  # fmt: skip
def test_a_decoder_trains_saves_and_loads(changes: dict[str, Any], tmp_path: Path) -> None:
    wanted = recipe(**changes)
    report = train(wanted, tmp_path / "e", progress=False)
    assert report.finished
    assert report.measured is not None
    assert report.measured.document_terms > 0
    encoder = load_encoder(tmp_path / "e")
    texts = ["Yeast eats sugar in the dough.", "A hull pushes water aside."]
    rows = encoder.encode_documents(texts).toarray()
    assert (rows > 0).any(axis=1).all()
    assert encoder.encode_queries(texts).nnz > 0
    keys = load_file(next((tmp_path / "e").rglob("model.safetensors")))
    assert not any("lora" in key for key in keys)


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["full", pytest.param("weights", marks=pytest.mark.slow)])
@pytest.mark.parametrize("stop_in", ["clm", "ranking"])
def test_a_run_with_adapters_stopped_in_any_stage_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, stop_in: str
) -> None:
    """From full checkpoints bit for bit; from weights alone it ends, which is all it promises."""
    wanted = recipe(model__lora__rank=2, run__checkpoint=keep, run__rewarm_steps=1)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(wanted, whole, progress=False)
    ran: dict[str, int] = {}
    compute = StageTrainer.compute_loss

    class Interrupted(Exception):
        pass

    def counting(self: Any, loss_model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        stage = Path(str(self.args.output_dir)).name
        ran[stage] = ran.get(stage, 0) + 1
        if stage == stop_in and ran[stage] == 4:
            raise Interrupted
        return compute(self, loss_model, inputs, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(StageTrainer, "compute_loss", counting)
        with pytest.raises(Interrupted):
            train(wanted, stopped, progress=False)
    report = train(wanted, stopped, progress=False)
    assert report.finished
    if keep == "full":
        for path in whole.rglob("*.safetensors"):
            other = load_file(stopped / path.relative_to(whole))
            for name, tensor in load_file(path).items():
                np.testing.assert_array_equal(other[name], tensor, err_msg=name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.decoder.echo": True, "model.decoder.attention": "bidirectional"}, "second copy"),
        ({"model.decoder": {}, "model.lora.quantize": "4bit"}, "run.bf16 = true"),
        ({"model.lora.quantize": "4bit"}, "without .model.decoder."),
        ({"model.pooling": "last"}, "without .model.decoder."),
        ({"model.pooling": "mean"}, "has no mean"),
        ({"stage.clm.steps": 3}, "without .model.decoder."),
        ({"model.decoder": {}, "stage.clm.steps": 3, "stage.clm.max_length": 4096}, "exceeds"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("smoke", changes)


def test_a_sink_that_is_no_token_is_refused_before_anything_is_written(
    checkpoint: Path, tmp_path: Path
) -> None:
    """Of a vocabulary made from nothing it was missed after data and backbone were."""
    decoder = {"model.decoder.sink": "nope", "stage.mlm": None}
    with pytest.raises(RecipeError, match=r"decoder\.sink = 'nope' .* it has \[PAD\], \[UNK\]"):
        train(load_recipe("smoke", decoder), tmp_path / "e", progress=False)
    given = decoder | {"model.scratch": None, "model.backbone": str(checkpoint)}
    with pytest.raises(EncoderError, match="no special token 'nope' to put before a text"):
        train(load_recipe("smoke", given), tmp_path / "e", progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", [False, True])
def test_a_mask_that_is_no_token_is_refused_before_anything_is_written(
    given: bool, checkpoint: Path, tmp_path: Path
) -> None:
    """It was missed when its stage began, after negatives had been mined."""
    changes: dict[str, Any] = {"stage.mlm.mask_token": "[HIDE]"}
    message = r"smoke\.toml: stage\.mlm\.mask_token = '\[HIDE\]' is no special token .* \[MASK\]"
    if given:
        changes |= {"model.decoder": {"attention": "bidirectional"}, "stage.mlm.shifted": True}
        changes |= {"model.scratch": None, "model.backbone": str(checkpoint)}
        message = r"smoke\.toml: stage\.mlm\.mask_token = '\[HIDE\]' is no token of the vocabulary"
    with pytest.raises(RecipeError, match=message):
        train(load_recipe("smoke", changes), tmp_path / "e", progress=False)
    assert not list(tmp_path.iterdir())


def test_a_vocabulary_made_from_nothing_has_a_token_to_put_first(tmp_path: Path) -> None:
    settings = {
        "model.decoder.sink": "[CLS]",
        "stage.mlm": None,
        "stage.ranking.steps": 1,
        "run.watch_pairs": 0,
    }
    assert train(load_recipe("smoke", settings), tmp_path / "e", progress=False).finished
