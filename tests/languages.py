"""Pairs in many scripts, and small untrained backbones whose vocabularies are learned from them."""

import math
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any, Literal

Kind = Literal["unigram", "wordpiece", "bytes"]

PAIRS = [
    ("wie schwimmen Fische", "Fische atmen mit Kiemen und schwimmen mit ihren Flossen"),
    ("où vivent les ours", "les ours vivent dans les forêts et dorment tout l'hiver"),
    ("猫吃什么", "猫吃鱼和老鼠，也喝水。"),
    ("أين تعيش الجمال", "تعيش الجمال في الصحراء و تشرب الماء"),
    ("हाथी क्या खाता है", "हाथी घास और पत्ते खाता है"),
    ("что едят медведи", "медведи едят ягоды и рыбу в лесу"),
    ("πού κοιμούνται οι γάτες", "οι γάτες κοιμούνται στον ήλιο ΚΑΙ ΣΤΗ ΣΚΙΑ"),
    # Every accent a character of its own, as some keyboards and PDFs write them.
    (
        "ca\u0300 phe\u0302 o\u031b\u0309 đa\u0302u",
        "ca\u0300 phe\u0302 tro\u0302ng tre\u0302n nu\u0301i",
    ),
]
TEXTS = [text for pair in PAIRS for text in pair]


def pieces_of(words: list[str], inside: str) -> Counter[str]:
    """How often there is every character, and each of the 180 longer pieces that save most.

    `inside` goes before a piece that does not begin its word. The trainers of `tokenizers` find
    other pieces each time, and some of those are harder to learn with.
    """
    counts = Counter(
        (inside if start else "") + word[start : start + length]
        for word in words
        for length in range(1, 7)
        for start in range(len(word) - length + 1)
    )
    length = {piece: len(piece.removeprefix(inside)) for piece in counts}
    longer = [piece for piece in counts if length[piece] > 1 and counts[piece] > 1]
    longer.sort(key=lambda piece: (-counts[piece] * (length[piece] - 1), piece))
    kept = sorted(piece for piece in counts if length[piece] == 1) + longer[:180]
    return Counter({piece: counts[piece] for piece in kept})


def make_backbone(folder: Path, kind: Kind) -> Path:
    """A masked language model: XLM-RoBERTa's kind of vocabulary and special tokens (<s>, <pad>,
    </s>, <unk>, at the end <mask>), multilingual BERT's, or bytes as in ModernBERT."""
    import torch
    import transformers
    from tokenizers import (
        AddedToken,
        Tokenizer,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    if kind == "wordpiece":
        names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
        normalizer, cutter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        cut = [cutter.pre_tokenize_str(normalizer.normalize_str(text)) for text in TEXTS]
        counted = pieces_of([word for words in cut for word, _ in words], "##")
        vocabulary = {name: number for number, name in enumerate([*names.values(), *counted])}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, cutter
        tokenizer.add_special_tokens([AddedToken(name, special=True) for name in names.values()])
        first, last = "[CLS]", "[SEP]"
    else:
        names = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>"}
        special = list(names.values())
        if kind == "unigram":
            composed = [unicodedata.normalize("NFKC", text) for text in TEXTS]
            counted = pieces_of([f"▁{word}" for text in composed for word in text.split()], "")
            total = sum(counted.values())
            scores = [(piece, math.log(n / total)) for piece, n in counted.items()]
            scores = [(name, 0.0) for name in special] + scores
            tokenizer = Tokenizer(models.Unigram(scores, unk_id=3))
            tokenizer.normalizer = normalizers.NFKC()
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        else:
            tokenizer = Tokenizer(models.BPE())
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            alphabet = pre_tokenizers.ByteLevel.alphabet()
            trainer = trainers.BpeTrainer(
                vocab_size=320,
                special_tokens=special,
                initial_alphabet=alphabet,
                show_progress=False,
            )
            tokenizer.train_from_iterator(TEXTS, trainer)
        tokenizer.add_special_tokens([AddedToken("<mask>", special=True)])
        names["mask"] = "<mask>"
        first, last = "<s>", "</s>"
    tokenizer.post_processor = processors.TemplateProcessing(
        f"{first} $A {last}",
        None,
        [(name, tokenizer.token_to_id(name)) for name in (first, last)],
    )
    tokens = {f"{role}_token": name for role, name in names.items()}
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=48, **tokens
    )
    sizes: dict[str, Any] = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 56,
        "pad_token_id": tokenizer.token_to_id(names["pad"]),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        if kind == "wordpiece":
            model: Any = transformers.BertForMaskedLM(transformers.BertConfig(**sizes))
        else:
            model = transformers.XLMRobertaForMaskedLM(transformers.XLMRobertaConfig(**sizes))
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
