"""A sub-word tokenizer read from a checkpoint folder with the `tokenizers` library alone.

Truncation and padding that a `tokenizer.json` happens to carry (many exports pad to a fixed length)
are dropped: the length limit comes from the configuration, padding from the batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from tokenizers import (
    AddedToken,
    Encoding,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from ..errors import EncoderError
from .counting import require_texts
from .folder import Fingerprint, read_object, write_json

_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
)
_BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_NO_LIMIT = 1_000_000  # transformers writes 10**30 for "no limit"


@dataclass(frozen=True)
class TextTokenizer:
    """A `tokenizers.Tokenizer` without padding, cut at `max_length`, and the files it came from."""

    tokenizer: Tokenizer
    max_length: int | None
    """Longest input in tokens, special ones included; None means no limit."""
    pad_id: int
    files: Mapping[str, bytes]
    """What `write` puts into a folder, so that transformers reads the same tokenizer there."""

    @classmethod
    def load(
        cls, folder: Path, *, max_length: int | None = None, lower_case: bool = False
    ) -> "TextTokenizer":
        """Read `tokenizer.json`, or `vocab.txt` of an old BERT checkpoint.

        `max_length` overrides the limit of `tokenizer_config.json`; `lower_case` puts lower-casing
        before everything else, as old sentence-transformers configurations ask for.
        """
        files = {name: (folder / name).read_bytes() for name in _FILES if (folder / name).is_file()}
        config = (
            read_object(folder / "tokenizer_config.json")
            if "tokenizer_config.json" in files
            else {}
        )
        if "tokenizer.json" in files:
            tokenizer = _parse(folder / "tokenizer.json", files["tokenizer.json"])
        elif "vocab.txt" in files:
            tokenizer = _from_vocabulary(folder / "vocab.txt", config)
            files["tokenizer.json"] = tokenizer.to_str().encode()
        else:
            raise EncoderError(
                f"{folder} has neither tokenizer.json nor vocab.txt; save the tokenizer there with "
                "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            )
        if lower_case:
            tokenizer.normalizer = normalizers.Sequence(
                [normalizers.Lowercase()] + ([tokenizer.normalizer] if tokenizer.normalizer else [])
            )
            files["tokenizer.json"] = tokenizer.to_str().encode()
        limit = max_length or config.get("model_max_length")
        if not isinstance(limit, int | float) or limit >= _NO_LIMIT:
            limit = None
        if limit is not None and limit <= tokenizer.num_special_tokens_to_add(False):
            raise EncoderError(
                f"{folder}: a maximum of {limit} tokens leaves no room for text; raise it"
            )
        return cls._limited(tokenizer, None if limit is None else int(limit), files)

    @classmethod
    def of(cls, tokenizer: Tokenizer, *, max_length: int | None = None) -> "TextTokenizer":
        """Take a tokenizer made in memory; the caller's object is not changed."""
        raw = tokenizer.to_str()
        return cls._limited(Tokenizer.from_str(raw), max_length, {"tokenizer.json": raw.encode()})

    @classmethod
    def _limited(
        cls, tokenizer: Tokenizer, limit: int | None, files: Mapping[str, bytes]
    ) -> "TextTokenizer":
        pad_token = (tokenizer.padding or {}).get("pad_token", "[PAD]")
        pad = tokenizer.token_to_id(pad_token)
        if pad is None:
            pad = tokenizer.token_to_id("<pad>")
        tokenizer.no_padding()
        if limit is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(limit)
        return cls(tokenizer, limit, pad or 0, files)

    def limited(self, max_length: int | None) -> "TextTokenizer":
        """The same tokenizer with another length limit."""
        copy = Tokenizer.from_str(self.tokenizer.to_str())
        return self._limited(copy, max_length, self.files)

    @property
    def n_special(self) -> int:
        """How many special tokens frame one text."""
        return int(self.tokenizer.num_special_tokens_to_add(False))

    def ids(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """Token numbers of each text, with or without the framing special tokens.

        A lone surrogate, which Python strings can hold and UTF-8 cannot, becomes U+FFFD.
        """
        require_texts(texts)
        batch = [_encodable(text) for text in texts]
        encoded = self.tokenizer.encode_batch_fast(batch, add_special_tokens=special)
        return [encoding.ids for encoding in encoded]

    def framed(self, texts: Sequence[str], *, prompt: str) -> list[list[int]]:
        """Token numbers with the special ones around; no numbers for a text without any token."""
        rows = self.ids([prompt + text for text in texts], special=True)
        framing = self.n_special
        return [
            ids if text and not text.isspace() and len(ids) > framing else []
            for text, ids in zip(texts, rows, strict=True)
        ]

    def encoding(self, text: str, *, special: bool = False) -> Encoding:
        """Tokens of one text with their numbers, words and characters, within the length limit."""
        return self.tokenizer.encode(_encodable(text), add_special_tokens=special)

    def strings(self, terms: Sequence[int]) -> list[str]:
        """The vocabulary entries of these token numbers; an unused number is `[n]`."""
        return [self.tokenizer.id_to_token(int(term)) or f"[{int(term)}]" for term in terms]

    @property
    def n_tokens(self) -> int:
        """One more than the largest token number."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def special_ids(self) -> list[int]:
        """Numbers of the special tokens, which never stand for text."""
        added = self.tokenizer.get_added_tokens_decoder()
        return sorted(number for number, token in added.items() if token.special)

    def vocabulary(self) -> bytes:
        """Every token with its number in one canonical byte string, for fingerprints."""
        vocabulary = self.tokenizer.get_vocab(with_added_tokens=True)
        return orjson.dumps(sorted((number, token) for token, number in vocabulary.items()))

    def fingerprint(self) -> str:
        """16 hex digits over the vocabulary."""
        fingerprint = Fingerprint()
        fingerprint.add("vocabulary", self.vocabulary())
        return fingerprint.hex()

    def write(self, folder: Path) -> None:
        """Write the tokenizer's files with `max_length` as the limit for transformers."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": "[PAD]",
        }
        if "tokenizer_config.json" in self.files:
            config = orjson.loads(self.files["tokenizer_config.json"])
        if self.max_length is not None and config.get("model_max_length") != self.max_length:
            config["model_max_length"] = self.max_length
            write_json(folder / "tokenizer_config.json", config)


def _encodable(text: str) -> str:
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _parse(path: Path, raw: bytes) -> Tokenizer:
    try:
        return Tokenizer.from_buffer(raw)
    except Exception as error:  # tokenizers raises the bare Exception for every fault
        raise EncoderError(
            f"{path} is not a tokenizer ({error}); copy or download the encoder again"
        ) from error


def _from_vocabulary(path: Path, config: dict[str, Any]) -> Tokenizer:
    try:
        words = path.read_text(encoding="utf-8").splitlines()
        vocabulary = {word: number for number, word in enumerate(words)}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(
            lowercase=bool(config.get("do_lower_case", True)),
            strip_accents=config.get("strip_accents"),
            handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
        )
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.add_special_tokens(
            [AddedToken(name, special=True) for name in _BERT_SPECIAL if name in vocabulary]
        )
        tokenizer.post_processor = processors.BertProcessing(
            ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
        )
    except (
        Exception
    ) as error:  # tokenizers raises the bare Exception; a missing [CLS] is a KeyError
        raise EncoderError(
            f"{path} is not a word-piece vocabulary ({error}); copy or download the encoder again"
        ) from error
    return tokenizer
