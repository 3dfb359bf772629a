"""Tiny random Llama and Qwen checkpoints with a byte-level vocabulary, for tests of decoders."""

from pathlib import Path
from typing import Any

WORDS = ("heart", "attack", "aspirin", "risk", "team", "goal", "the", "a", "of", "cat", "dog")


def make_decoder(
    folder: Path,
    family: str = "llama",
    *,
    bos: bool = True,
    tied: bool = True,
    positions: int = 64,
) -> Path:
    """Write a causal-LM checkpoint of random weights; `bos` makes the tokenizer put <s> first."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {"<s>": 0, "</s>": 1}
    for piece in (*WORDS, *"bcdefghijklmnopqrstuvwxyz", "[UNK]"):
        vocabulary.setdefault(piece, len(vocabulary))
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 0)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", model_max_length=64
    )
    sizes: dict[str, Any] = {
        # Two numbers more than tokens, as Qwen's padded vocabularies have.
        "vocab_size": len(vocabulary) + 2,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": positions,
        "tie_word_embeddings": tied,
        # Large, so that random weights give features that depend on what was seen.
        "initializer_range": 0.5,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    if family == "qwen3":
        sizes["head_dim"] = 8
    kinds = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    }
    config, model = kinds[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        network = model(config(**sizes))
    network.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
