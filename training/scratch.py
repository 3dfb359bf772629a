"""A backbone from nothing: a vocabulary of the texts' commonest words and random weights.

For recipes that must run anywhere, such as the smoke test: no checkpoint, no network.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from lsr.encoders.folder import write_json

from .sections import Scratch

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Special tokens of every vocabulary made here."""


def make_backbone(
    folder: Path,
    scratch: Scratch,
    documents: Sequence[str],
    *,
    max_length: int,
    seed: int,
    decoder: bool = False,
) -> None:
    """Write a checkpoint with its tokenizer into `folder`; same inputs, same weights.

    It is a BERT for masked-LM, or with `decoder` a Llama with room for an echo. The head exists and
    is tied to the embeddings, but like everything else it knows nothing.
    """
    words = _vocabulary(documents, scratch.vocabulary)
    sizes: dict[str, Any] = {
        "vocab_size": len(words),
        "hidden_size": scratch.hidden,
        "num_hidden_layers": scratch.layers,
        "num_attention_heads": scratch.heads,
        "intermediate_size": 4 * scratch.hidden,
        "max_position_embeddings": 2 * max_length if decoder else max_length,
    }
    model: PreTrainedModel
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if decoder:
            model = LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, **sizes))
        else:
            model = BertForMaskedLM(BertConfig(**sizes))
    config = model.config
    folder.mkdir(parents=True, exist_ok=True)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    safetensors.torch.save_model(model, str(folder / "model.safetensors"), {"format": "pt"})
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": True,
            "model_max_length": max_length,
        },
    )


def _vocabulary(documents: Sequence[str], size: int) -> list[str]:
    """Special tokens, every character alone and as a continuation, then the commonest words.

    The characters make every word spellable; ties in frequency go to the alphabet.
    """
    normalizer, splitter = BertNormalizer(lowercase=True), BertPreTokenizer()
    counts: Counter[str] = Counter()
    for document in documents:
        text = normalizer.normalize_str(document)
        counts.update(word for word, _ in splitter.pre_tokenize_str(text))
    characters = sorted({character for word in counts for character in word})
    pieces = [*SPECIAL, *characters, *(f"##{character}" for character in characters)]
    common = sorted((w for w in counts if len(w) > 1), key=lambda w: (-counts[w], w))
    return pieces + common[: max(0, size - len(pieces))]
