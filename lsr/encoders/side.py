"""The transformer side that siamese and inference-free encoders share.

`TransformerSide` knows where a masked-LM checkpoint lies and how its logits are pooled; torch is
imported when the first text is encoded, so describing, fingerprinting and copying need no torch.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson

from ..errors import EncoderError
from ..types import SparseMatrix
from .batching import encode_sorted
from .folder import Fingerprint, copy_files, read_object, weight_files
from .networks import NETWORK_FILE, NetworkKind, load_network, network_kind
from .onnx_side import OnnxSide
from .tokens import TextTokenizer

if TYPE_CHECKING:
    from .model import SparseModel

# Tokens in one batch: the (batch, length, vocab) logits of BERT take 122 kB a token in float32.
_BUDGET_CPU = 2_048
_BUDGET_GPU = 32_768

_VOLATILE = ("transformers_version", "_name_or_path", "dtype", "torch_dtype", "use_cache")


Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Settings:
    """Prompts and cap of `config_sentence_transformers.json`, which apply to every strategy."""

    query_prompt: str = ""
    document_prompt: str = ""
    max_active_dims: int | None = None
    """Keep at most this many terms of each text, the largest; None keeps all."""


@dataclass(frozen=True, eq=False)
class TransformerSide:
    """A language model as sparse encoder: a checkpoint folder or a model in memory."""

    source: "Path | SparseModel"
    activation: Literal["relu", "log1p_relu"] = "relu"
    pooling: Literal["max", "sum", "last"] = "max"
    max_length: int | None = None
    lower_case: bool = False
    device: str | None = None
    """A torch device; None takes the first GPU, or the CPU where there is none."""
    precision: Precision = "float32"
    """What the network multiplies in; bfloat16 moves weights by some hundredths."""

    @classmethod
    def of(cls, model: "SparseModel") -> "TransformerSide":
        """The side that a model in memory is."""
        return cls(model, model.activation, model.pooling, model.tokenizer.max_length)

    @cached_property
    def model(self) -> "SparseModel":
        """The torch model, loaded at first use; `MissingExtra` where torch is not installed."""
        if not isinstance(self.source, Path):
            return self.source
        from .model import pick_device

        model = load_network(
            self.source,
            max_length=self.max_length,
            activation=self.activation,
            pooling=self.pooling,
            lower_case=self.lower_case,
        )
        return model.to(pick_device(self.device))

    @cached_property
    def kind(self) -> NetworkKind:
        """The kind of network, without torch."""
        if not isinstance(self.source, Path):
            return self.source.kind
        return network_kind(self.source)

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer, without torch."""
        if not isinstance(self.source, Path):
            return self.source.tokenizer
        return TextTokenizer.load(
            self.source, max_length=self.max_length, lower_case=self.lower_case
        )

    @cached_property
    def n_terms(self) -> int:
        """The vocabulary size of the language model."""
        if not isinstance(self.source, Path):
            return self.source.n_terms
        path = self.source / "config.json"
        size = read_object(path).get("vocab_size")
        if not isinstance(size, int) or size <= 0:
            raise EncoderError(f"{path}: vocab_size is {size!r}, a positive number was expected")
        return size

    def encode(
        self, texts: Sequence[str], *, prompt: str, top_k: int | None, progress: bool
    ) -> SparseMatrix:
        """Term weights of `texts`; a text without any token is an empty row."""
        model = self.model
        return encode_sorted(
            texts,
            tokenise=lambda window: model.tokenizer.framed(window, prompt=prompt),
            forward=lambda tokens: model.encode_tokens(
                tokens, top_k=top_k, precision=self.precision
            ),
            n_terms=model.n_terms,
            token_budget=_budget(model),
            progress=progress,
        )

    @cached_property
    def space(self) -> str:
        """16 hex digits over vocabulary, configuration, pooling and weights."""
        fingerprint = Fingerprint()
        self.mix_into(fingerprint)
        return fingerprint.hex()

    def mix_into(self, fingerprint: Fingerprint) -> None:
        """Mix in all that decides what a term number and a document weight mean."""
        fingerprint.add("vocabulary", self.tokenizer.vocabulary())
        fingerprint.add("pooling", f"{self.pooling} {self.activation}".encode())
        if isinstance(self.source, Path):
            _mix_checkpoint(fingerprint, self.source)
            return
        # The bytes that saving would write, so that the space does not change on the way to disk.
        with tempfile.TemporaryDirectory() as folder:
            self.source.save_checkpoint(folder)
            _mix_checkpoint(fingerprint, Path(folder))

    def write(self, folder: Path) -> None:
        """Write config.json, weights and tokenizer into `folder`, as transformers lays them out."""
        if not isinstance(self.source, Path):
            self.source.save_checkpoint(folder)
            return
        folder.mkdir(parents=True, exist_ok=True)
        names = [self.source / "config.json", *weight_files(self.source)]
        names += self.source.glob(NETWORK_FILE)
        names += self.source.glob("*.safetensors.index.json")
        copy_files(self.source, folder, names)
        self.tokenizer.write(folder)


def _budget(model: "SparseModel") -> int:
    """Tokens in one batch, fewer where a token has more logits than BERT's 30,522."""
    budget = _BUDGET_CPU if model.device.type == "cpu" else _BUDGET_GPU
    return budget * 30_522 // max(30_522, model.n_terms)


def _mix_checkpoint(fingerprint: Fingerprint, folder: Path) -> None:
    config: dict[str, Any] = read_object(folder / "config.json")
    for key in _VOLATILE:
        config.pop(key, None)
    fingerprint.add("config", orjson.dumps(config, option=orjson.OPT_SORT_KEYS))
    if (path := folder / NETWORK_FILE).is_file():
        settings = read_object(path)
        fingerprint.add("network", orjson.dumps(settings, option=orjson.OPT_SORT_KEYS))
    for path in weight_files(folder):
        fingerprint.add_file("weights", path)


NetworkSide = TransformerSide | OnnxSide
"""A side whose weights a network gives: by torch, or by ONNX Runtime."""
