"""LoRA and QLoRA through peft: a network that learns low-rank updates of its frozen layers.

    W' = W + (alpha / rank) B A      LoRA, arXiv 2106.09685; QLoRA keeps W in 4 bits, 2305.14314

The head stays as it is but for its bias, which learns: through a tied head, an update would reach
the embeddings. A saved encoder holds merged weights and no adapters.
"""

import importlib.util
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from transformers import BitsAndBytesConfig

from lsr.encoders.lora import has_adapters, merged_state
from lsr.encoders.model import SparseModel
from lsr.errors import MissingExtra, RecipeError

from .sections import Lora

_HEADS = ("lm_head", "decoder", "embed_tokens", "word_embeddings")


def add_lora(model: SparseModel, lora: Lora, *, seed: int) -> None:
    """Put adapters into the layers that `lora.targets` names; nothing else but the bias learns."""
    for name in lora.targets:
        if name in _HEADS:
            raise RecipeError(
                f"model.lora.targets names '{name}': head and embeddings are tied in most models "
                "and stay frozen here; leave it out."
            )
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
    )
    training = model.training
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(config, model.backbone, adapter_name="lsr")
    except ValueError as error:
        layers = sorted(
            {n.rpartition(".")[2] for n, m in model.backbone.named_modules() if _linear(m)}
        )
        raise RecipeError(
            f"model.lora.targets = {list(lora.targets)} names no layer of this network, whose "
            f"linear layers are {', '.join(layers)}."
        ) from error
    # peft gives them the type of the layer, and steps of 1e-4 are lost on bfloat16.
    for name, parameter in model.backbone.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.float()
    model.train(training)
    learn_adapters(model)


def learn_adapters(model: SparseModel) -> None:
    """Let the adapters and the head's bias learn, nothing else."""
    model.backbone.requires_grad_(False)
    for name, parameter in model.backbone.named_parameters():
        if ".lora_" in name:
            parameter.requires_grad_(True)
    if model.decoder.bias is not None:
        model.decoder.bias.requires_grad_(True)


@torch.no_grad()
def merge_lora(model: SparseModel) -> None:
    """Replace adapted layers by plain ones that compute the same; nothing without adapters."""
    backbone = model.backbone
    if not has_adapters(backbone):
        return
    state = merged_state(backbone)
    for name, part in list(backbone.named_modules()):
        if not (hasattr(part, "lora_A") and hasattr(part, "get_base_layer")):
            continue
        weight = state[f"{name}.weight"]
        bias = state.get(f"{name}.bias")
        plain = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
        plain.weight = nn.Parameter(weight)
        if bias is not None:
            plain.bias = nn.Parameter(bias)
        parent, _, leaf = name.rpartition(".")
        setattr(backbone.get_submodule(parent), leaf, plain)


def quantization(lora: Lora | None) -> Any:
    """The transformers configuration that loads 4-bit weights; None where none are wanted.

    Raises `MissingExtra` without bitsandbytes, which has 4-bit kernels for CUDA and for CPUs.
    """
    if lora is None or lora.quantize == "none":
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtra('model.lora.quantize = "4bit"', extra="qlora", package="bitsandbytes")
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        # The head gives the weights of terms: 4 bits break sparse heads.
        llm_int8_skip_modules=["lm_head"],
    )


def keep_packing(model: SparseModel) -> None:
    """Keep 4-bit weights packed as they were loaded, whatever the processor.

    Where it has AVX512-BF16, bitsandbytes repacks them at the first pass of a network that does not
    train. That layout has no backward pass, so that a look at the vectors would end all learning,
    and merging would read it wrongly.
    """
    for part in model.modules():
        if hasattr(part, "support_avx512bf16_for_cpu"):
            setattr(part, "support_avx512bf16_for_cpu", False)  # noqa: B010  # typed as a module


def _linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)
