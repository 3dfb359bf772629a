"""A dense bi-encoder: one vector a text, pooled over its tokens.

It teaches, and it retrieves beside sparse ones (`lsr.retrieval`).

Reads a folder in the layout of sentence-transformers (Transformer, Pooling, Normalize), whose
modules.json says how to pool, or a plain transformers checkpoint, where the caller says it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, PreTrainedModel

from ..errors import EncoderError
from ..types import DenseMatrix
from .checkpoint import Encoded, Network, Precision
from .counting import require_texts
from .folder import inside, read_json, read_object
from .tokens import TextTokenizer

Pooling = Literal["mean", "cls"]

_LEGACY = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


@dataclass(frozen=True, slots=True)
class Layout:
    """What a folder says of itself."""

    checkpoint: Path
    pooling: Pooling | None = None
    unit: bool = True
    """Vectors have length 1, so that scores are cosines."""
    max_length: int | None = None
    query_prompt: str = ""
    document_prompt: str = ""

    @classmethod
    def read(cls, folder: Path) -> "Layout":
        """Read modules.json and what it names; a folder without it is a bare checkpoint."""
        if not (folder / "modules.json").is_file():
            return cls(folder)
        named = folder / "modules.json"
        modules = read_json(named)
        if not isinstance(modules, list) or not all(isinstance(m, dict) for m in modules):
            raise EncoderError(f"{named}: wanted a list of modules")
        kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
        if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
            raise EncoderError(
                f"{named}: modules {' + '.join(kinds)} are no dense encoder; wanted Transformer + "
                "Pooling, with or without Normalize"
            )
        checkpoint = inside(folder, modules[0].get("path"), named_in=named)
        settings = _optional(checkpoint / "sentence_bert_config.json")
        if settings.get("do_lower_case"):
            raise EncoderError(
                f"{checkpoint / 'sentence_bert_config.json'}: do_lower_case is not read "
                "here; put the lower-casing into tokenizer.json"
            )
        card = _optional(folder / "config_sentence_transformers.json")
        prompts = card.get("prompts") or {}
        return cls(
            checkpoint,
            _pooling(inside(folder, modules[1].get("path"), named_in=named) / "config.json"),
            unit="Normalize" in kinds or card.get("similarity_fn_name") in (None, "cosine"),
            max_length=settings.get("max_seq_length"),
            query_prompt=prompts.get("query") or "",
            document_prompt=prompts.get("document") or prompts.get("passage") or "",
        )


@dataclass(frozen=True, eq=False)
class DenseEncoder:
    """A transformer, pooled over the tokens of a text; scores are cosines where `unit`."""

    network: Network
    name: str
    pooling: Pooling = "mean"
    unit: bool = True
    query_prompt: str = ""
    document_prompt: str = ""

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        name: str,
        pooling: Pooling | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        max_length: int | None = None,
        device: str | None = None,
        precision: Precision = "float32",
    ) -> "DenseEncoder":
        """Read a folder; what is None is as the folder says, else mean pooling and no prompt."""
        layout = Layout.read(folder)
        network = Network.load(
            layout.checkpoint,
            AutoModel,
            max_length=max_length or layout.max_length,
            device=device,
            precision=precision,
            may_miss=("pooler.",),  # a head that pooling bypasses
        )
        return cls(
            network,
            name,
            pooling or layout.pooling or "mean",
            layout.unit,
            layout.query_prompt if query_prompt is None else query_prompt,
            layout.document_prompt if document_prompt is None else document_prompt,
        )

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over weights, vocabulary, pooling, prompts, length and precision."""
        settings = (self.pooling, self.unit, self.query_prompt, self.document_prompt)
        return self.network.fingerprint("dense", repr(settings))

    @property
    def tokenizer(self) -> TextTokenizer:
        """What cuts texts into tokens, with the length limit of the network."""
        return self.network.tokenizer

    def embed_queries(self, texts: Sequence[str], *, progress: bool = False) -> DenseMatrix:
        """(len(texts), width) float32."""
        return self._embed(texts, self.query_prompt, progress=progress)

    def embed_documents(self, texts: Sequence[str], *, progress: bool = False) -> DenseMatrix:
        """(len(texts), width) float32."""
        return self._embed(texts, self.document_prompt, progress=progress)

    def _embed(self, texts: Sequence[str], prompt: str, *, progress: bool) -> DenseMatrix:
        require_texts(texts)
        tokenizer = self.tokenizer

        def encode(part: slice) -> list[Encoded]:
            rows = tokenizer.ids([prompt + text for text in texts[part]], special=True)
            return [(ids, [0] * len(ids)) for ids in rows]

        def forward(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
            return self.pooled(model(**inputs).last_hidden_state, inputs["attention_mask"])

        return self.network.run(
            len(texts),
            encode=encode,
            forward=forward,
            width=int(self.network.model.config.hidden_size),
            desc=self.name,
            unit="texts",
            progress=progress,
        )

    def pooled(self, states: Tensor, mask: Tensor) -> Tensor:
        """(batch, length, width) states and 0/1 mask to (batch, width) float32 vectors."""
        states = states.float()
        if self.pooling == "cls":
            vectors = states[:, 0]
        else:
            real = mask.unsqueeze(-1).to(torch.float32)
            vectors = (states * real).sum(dim=1) / real.sum(dim=1).clamp(min=1.0)
        return functional.normalize(vectors, dim=1) if self.unit else vectors


def _optional(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}


def _pooling(path: Path) -> Pooling:
    """The one pooling of a Pooling module, in the spelling of version 6 or of those before."""
    config = read_object(path)
    mode = config.get("pooling_mode")
    chosen = [mode] if mode else [k for k, v in config.items() if k in _LEGACY and v]
    chosen += [k for k, v in config.items() if k.startswith("pooling_mode_") and v and not mode]
    names = {_LEGACY.get(str(name), str(name)) for name in chosen}
    if names == {"mean"}:
        return "mean"
    if names == {"cls"}:
        return "cls"
    raise EncoderError(
        f"{path}: pooling by {' and '.join(sorted(names)) or 'nothing'}; dense encoders pool by "
        "mean or by cls"
    )
