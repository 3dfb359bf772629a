"""SPLADE for both sides: one network for queries and documents."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..types import SparseMatrix
from .card import Card
from .described import Described
from .origins import Origin, trace
from .protocol import QueryStrategy, SparseEncoder
from .side import NetworkSide, Settings, TransformerSide
from .windows import encode_documents
from .writing import write_siamese

if TYPE_CHECKING:
    from .model import SparseModel


@dataclass(frozen=True, eq=False)
class SpladeEncoder(Described):
    """One SPLADE network for queries and documents (the siamese form)."""

    side: NetworkSide
    card: Card
    settings: Settings = field(default_factory=Settings)
    folder: Path | None = None
    """Where it was loaded from; None for an encoder made in memory."""

    @classmethod
    def of(cls, model: "SparseModel", *, name: str = "splade", **card: Any) -> "SpladeEncoder":
        """An encoder around a model in memory; `card` may set max_weight and text_fields."""
        binary = model.buckets is not None and model.buckets.binary
        return cls(TransformerSide.of(model), Card(name, binary=binary, **card))

    @cached_property
    def space(self) -> str:
        """16 hex digits: vocabulary + document encoder."""
        return self.side.space

    @property
    def n_terms(self) -> int:
        """Vocabulary size of the network."""
        return self.side.n_terms

    @property
    def query_strategy(self) -> QueryStrategy:
        """Queries need the network."""
        return "model"

    def encode_queries(self, texts: Sequence[str], *, progress: bool = False) -> SparseMatrix:
        """(len(texts), n_terms) query weights; an empty text is an empty row."""
        prompt, top_k = self.settings.query_prompt, self.settings.max_active_dims
        return self.side.encode(texts, prompt=prompt, top_k=top_k, progress=progress)

    def encode_documents(self, texts: Sequence[str], *, progress: bool = False) -> SparseMatrix:
        """(len(texts), n_terms) document weights; an empty text is an empty row."""
        return encode_documents(
            self.side,
            texts,
            prompt=self.settings.document_prompt,
            top_k=self.settings.max_active_dims,
            overlap=self.card.window_overlap,
            progress=progress,
        )

    def origins(self, text: str, terms: Sequence[int]) -> list[Origin]:
        """What in a document gives each of `terms` its weight; see `Origin`."""
        prompt = self.settings.document_prompt
        return trace(self.side, text, terms, prompt=prompt, card=self.card)

    def term_strings(self, terms: Sequence[int] | npt.NDArray[np.integer]) -> list[str]:
        """The vocabulary entries of these term numbers."""
        return self.side.term_strings([int(term) for term in terms])

    def save(self, folder: Path, *, queries_only: bool = False) -> None:
        """Write the encoder folder; queries need the network too: nothing is left out."""
        write_siamese(Path(folder), self.side, self.settings, self.card)


def is_binary(encoder: SparseEncoder) -> bool:
    """Whether every weight of this encoder is exactly 1, so that scores are match counts."""
    return isinstance(encoder, SpladeEncoder) and encoder.card.binary
