"""QLoRA: adapters over frozen weights in 4 bits, by the kernels bitsandbytes has for CPUs."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytest.importorskip("peft")

import safetensors.torch  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

from lsr.encoders import load_encoder  # noqa: E402
from lsr.encoders.decoder import DecoderModel  # noqa: E402
from lsr.encoders.lora import has_adapters, merged_state  # noqa: E402
from lsr.errors import MissingExtra  # noqa: E402
from training import load_recipe, train  # noqa: E402
from training.adapters import add_lora, keep_packing, merge_lora, quantization  # noqa: E402
from training.data import load_pairs  # noqa: E402
from training.scratch import make_backbone  # noqa: E402
from training.sections import Lora, Scratch  # noqa: E402

FOUR_BITS = Lora(rank=2, alpha=6, dropout=0.0, quantize="4bit")
TEXTS = ["Yeast eats sugar in the dough.", "A hull pushes water aside."]
BLOCK = 64
"""Weights that share a scale."""
NF4 = np.array(
    [-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0]
    + [0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0],
    np.float32,
)
"""The sixteen values of arXiv 2305.14314, appendix E."""


def in_four_bits(weight: np.ndarray) -> np.ndarray:
    """Every weight, read in bfloat16, the nearest of sixteen multiples of its block's largest."""
    blocks = torch.from_numpy(weight).bfloat16().float().numpy().reshape(-1, BLOCK)
    largest = np.abs(blocks).max(axis=1, keepdims=True)
    nearest = np.abs((blocks / largest)[..., None] - NF4).argmin(axis=-1)
    return (NF4[nearest] * largest).reshape(weight.shape)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers, 64 wide."""
    folder = tmp_path_factory.mktemp("qlora") / "llama"
    documents = load_pairs(load_recipe("smoke")).documents
    sizes = Scratch(vocabulary=400)
    make_backbone(folder, sizes, documents, decoder=True, max_length=32, seed=0)
    return folder


def loaded(checkpoint: Path) -> DecoderModel:
    """The network in 4 bits with adapters that do something."""
    pytest.importorskip("bitsandbytes", reason="pip install 'lsr-search[qlora]'")
    model = DecoderModel.from_checkpoint(checkpoint, quantization=quantization(FOUR_BITS))
    keep_packing(model)
    add_lora(model, FOUR_BITS, seed=5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B" in name:
                parameter.normal_(std=0.05, generator=torch.Generator().manual_seed(3))
    return model


def gradients(model: DecoderModel) -> dict[str, np.ndarray]:
    """Of the adapters, for the sum of all weights of two texts."""
    ids = model.tokenizer.ids(TEXTS, special=True)
    length = min(len(row) for row in ids)
    batch = torch.tensor([row[:length] for row in ids])
    model.train()
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        model.weights(batch, torch.ones_like(batch)).sum().backward()
    named = model.named_parameters()
    return {name: p.grad.float().numpy().copy() for name, p in named if ".lora_" in name}


def test_four_bits_say_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    assert quantization(None) is None
    assert quantization(Lora()) is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"bitsandbytes.*lsr-search\[qlora\]"):
        quantization(FOUR_BITS)


def test_four_bits_reach_the_loader_of_transformers(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked of the kernels, seen where they would be called: runs without bitsandbytes."""
    from transformers import AutoModelForCausalLM

    asked: dict[str, Any] = {}
    real = AutoModelForCausalLM.from_pretrained

    def seen(*args: Any, **kwargs: Any) -> Any:
        asked.update(kwargs)
        del kwargs["quantization_config"]
        return real(*args, **kwargs)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    configuration = quantization(FOUR_BITS)
    monkeypatch.undo()
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", seen)
    DecoderModel.from_checkpoint(checkpoint, quantization=configuration)
    given = asked["quantization_config"]
    assert given.load_in_4bit
    assert given.bnb_4bit_quant_type == "nf4"
    assert given.llm_int8_skip_modules == ["lm_head"]
    assert asked["dtype"] is torch.bfloat16


@pytest.mark.slow
def test_frozen_weights_are_those_of_the_paper_and_take_half_a_byte(checkpoint: Path) -> None:
    """Merged, they are NF4's nearest plus alpha / rank B A. The blocks' scales have 8 bits."""
    model = loaded(checkpoint)
    plain = load_file(checkpoint / "model.safetensors")
    name = "model.layers.1.mlp.gate_proj"
    layer = model.backbone.get_submodule(name)
    assert layer.base_layer.weight.nbytes == plain[f"{name}.weight"].size // 2
    a, b = (part["lsr"].weight.detach().numpy() for part in (layer.lora_A, layer.lora_B))
    expected = in_four_bits(plain[f"{name}.weight"]) + 3.0 * b @ a
    merged = merged_state(model.backbone)[f"{name}.weight"].float().numpy()
    largest = np.abs(plain[f"{name}.weight"]).max()
    np.testing.assert_allclose(merged, expected, atol=0.02 * largest)
    assert model.decoder.weight.dtype is torch.bfloat16  # 4 bits break sparse heads


@pytest.mark.slow
def test_adapters_over_four_bits_get_the_gradient_of_the_weights_they_stand_for(
    checkpoint: Path,
) -> None:
    """The same weights in float32 are the oracle; products are made in bfloat16 on both sides.

    A look at the vectors in between, which does not train, must leave the packed weights alone.
    """
    model = loaded(checkpoint)
    four = gradients(model)
    looked = model.encode_tokens(model.tokenizer.ids(TEXTS, special=True)).toarray()
    for name, gradient in gradients(model).items():
        np.testing.assert_array_equal(gradient, four[name], err_msg=name)
    whole = DecoderModel.from_checkpoint(checkpoint)
    bare = {
        name.replace(".base_layer", ""): part
        for name, part in model.backbone.named_modules()
        if hasattr(getattr(part, "weight", None), "quant_state")
    }
    assert len(bare) == 2 * 7
    from bitsandbytes.functional import dequantize_4bit

    with torch.no_grad():
        for name, part in bare.items():
            weight = dequantize_4bit(part.weight.data, part.weight.quant_state)
            whole.backbone.get_submodule(name).weight.copy_(weight)
    add_lora(whole, FOUR_BITS, seed=5)
    whole.load_state_dict(
        {name: p for name, p in model.named_parameters() if ".lora_" in name}, strict=False
    )
    for name, gradient in gradients(whole).items():
        ours = four[name].ravel()
        cosine = ours @ gradient.ravel() / np.linalg.norm(ours) / np.linalg.norm(gradient)
        assert cosine > 0.99, name
    merge_lora(model)
    assert not has_adapters(model)
    rows = model.encode_tokens(model.tokenizer.ids(TEXTS, special=True)).toarray()
    np.testing.assert_allclose(rows, looked, atol=0.02)


@pytest.mark.slow
def test_a_recipe_trains_in_four_bits_stops_goes_on_and_saves_plain_weights(
    checkpoint: Path, tmp_path: Path
) -> None:
    """Stopped after every step and resumed, it ends where it ends uninterrupted, bit for bit."""
    pytest.importorskip("bitsandbytes", reason="pip install 'lsr-search[qlora]'")
    wanted = load_recipe(
        "smoke",
        {
            "model.scratch": None,
            "model.backbone": str(checkpoint),
            "model.max_length": 32,
            "model.decoder.attention": "causal",
            "model.lora.rank": 4,
            "model.lora.quantize": "4bit",
            "stage.mlm": None,
            "stage.ranking.steps": 3,
            "stage.ranking.batch": 4,
            "stage.ranking.learning_rate": 1e-2,
            "stage.ranking.max_length": 32,
            "run.bf16": True,
            "run.log_every": 1,  # looks at the vectors each time
            "run.watch_pairs": 4,
            "run.checkpoint_every": 2,
        },
    )
    report = train(wanted, tmp_path / "whole", progress=False)
    assert report.finished
    for _ in range(20):
        again = train(wanted, tmp_path / "stopped", progress=False, stop_after=0.01)
        if again.finished:
            break
    assert again.finished
    saved, resumed = (
        safetensors.torch.load_file(next(tmp_path.glob(f"{run}/document_*/model.safetensors")))
        for run in ("whole", "stopped")
    )
    assert not any("lora" in key or "quant" in key for key in saved)
    for name, tensor in saved.items():
        assert torch.equal(resumed[name], tensor), name
    name = "model.layers.1.mlp.up_proj.weight"
    start = load_file(checkpoint / "model.safetensors")[name]
    # What was learned has rank 4; the rest is rounding to bfloat16.
    strengths = np.linalg.svd(saved[name].float().numpy() - in_four_bits(start))[1]
    assert strengths[0] > 10 * strengths[4]
    rows = load_encoder(tmp_path / "whole").encode_documents(TEXTS).toarray()
    assert (rows > 0).any(axis=1).all()
