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
from .buckets import Buckets
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
OwnKind = Literal["literal", "uhd"]
OWN_CLASSES: dict[OwnKind, str] = {
    "literal": "lsr.encoders.literal.LiteralResidual",
    "uhd": "lsr.encoders.uhd.UHDHead",
}
"""What modules.json calls the modules that stock sentence-transformers cannot express."""


@dataclass(frozen=True, slots=True)
class OwnModule:
    """The folder (config.json, model.safetensors) of a module in `OWN_CLASSES`."""

    kind: OwnKind
    folder: Path


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
    pooling: Literal["max", "sum", "mean", "last"] = "max"
    max_length: int | None = None
    lower_case: bool = False
    device: str | None = None
    """A torch device; None takes the first GPU, or the CPU where there is none."""
    precision: Precision = "float32"
    """What the network multiplies in; bfloat16 moves weights by some hundredths."""
    own: "OwnModule | None" = None
    """The module beside the checkpoint folder that only this package knows, if there is one."""

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

        return self._load(self.source).to(pick_device(self.device))

    def _load(self, source: Path) -> "SparseModel":
        if self.own is not None and self.own.kind == "uhd":
            from .uhd import UHDModel

            return UHDModel.load(
                source, self.own.folder, max_length=self.max_length, lower_case=self.lower_case
            )
        model = load_network(
            source,
            max_length=self.max_length,
            activation=self.activation,
            pooling=self.pooling,
            lower_case=self.lower_case,
        )
        if self.own is not None:
            from .literal import LiteralResidual

            special = model.tokenizer.special_ids()
            model.literal = LiteralResidual.load(self.own.folder, special)
            if model.literal.guess.out_features != model.n_terms:
                raise EncoderError(
                    f"{self.own.folder} has {model.literal.guess.out_features} terms, the network "
                    f"in {source} {model.n_terms}; they belong to two encoders"
                )
        return model

    @cached_property
    def own_kind(self) -> OwnKind | None:
        """The kind of module that only this package knows, None for a stock network."""
        if isinstance(self.source, Path):
            return None if self.own is None else self.own.kind
        if self.source.buckets is not None:
            return "uhd"
        return None if self.source.literal is None else "literal"

    @cached_property
    def buckets(self) -> Buckets | None:
        """How latent terms are numbered; None where terms are tokens."""
        if not isinstance(self.source, Path):
            return self.source.buckets
        if self.own is None or self.own.kind != "uhd":
            return None
        return Buckets.read(self.own.folder)

    def term_strings(self, terms: Sequence[int]) -> list[str]:
        """What people are shown of these terms."""
        return self.tokenizer.strings(terms) if self.buckets is None else self.buckets.names(terms)

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
        if self.buckets is not None:
            return self.buckets.n_terms
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
            if self.own is not None:
                _mix_own(fingerprint, self.own.kind, self.own.folder)
            return
        # The bytes that saving would write, so that the space does not change on the way to disk.
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            self.source.save_checkpoint(folder)
            _mix_checkpoint(fingerprint, folder)
            if self.own_kind is not None:
                self.write_own(folder / "own")
                _mix_own(fingerprint, self.own_kind, folder / "own")

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

    def write_own(self, folder: Path) -> None:
        """Write the module that only this package knows."""
        if isinstance(self.source, Path):
            assert self.own is not None
            folder.mkdir(parents=True, exist_ok=True)
            names = [self.own.folder / "config.json", *weight_files(self.own.folder)]
            copy_files(self.own.folder, folder, names)
        else:
            self.source.save_own(folder)


def _mix_own(fingerprint: Fingerprint, kind: OwnKind, folder: Path) -> None:
    settings = read_object(folder / "config.json")
    fingerprint.add(kind, orjson.dumps(settings, option=orjson.OPT_SORT_KEYS))
    for path in weight_files(folder):
        fingerprint.add_file(kind, path)


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
