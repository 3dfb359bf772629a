"""Two networks over one vocabulary: a small one for queries, a larger one for documents.

What a query costs is what its network costs; Efficient SPLADE (arXiv 2207.03834) gives queries a
tiny one, since documents are encoded once and queries at every search.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import EncoderError
from ..types import SparseMatrix
from .card import Card
from .described import Described
from .origins import Origin, trace
from .protocol import QueryStrategy
from .side import NetworkSide, Settings, TransformerSide
from .windows import encode_documents
from .writing import write_separate

if TYPE_CHECKING:
    from .model import SparseModel


@dataclass(frozen=True, eq=False)
class SeparateEncoder(Described):
    """A network for queries, and another for documents unless only queries are wanted."""

    queries: NetworkSide
    documents: NetworkSide | None
    card: Card
    settings: Settings = field(default_factory=Settings)
    folder: Path | None = None
    """Where it was loaded from; None for an encoder made in memory."""

    def __post_init__(self) -> None:
        if self.documents is None:
            return
        ours, theirs = self.queries.tokenizer.vocabulary(), self.documents.tokenizer.vocabulary()
        if ours != theirs or self.queries.n_terms != self.documents.n_terms:
            raise EncoderError(
                f"encoder '{self.name}': the query network has {self.queries.n_terms} terms, the "
                f"document network {self.documents.n_terms}, and their tokenizers must number the "
                "same tokens alike; train two networks that share a vocabulary"
            )

    @classmethod
    def of(
        cls,
        queries: "SparseModel",
        documents: "SparseModel",
        *,
        name: str = "separate",
        **card: Any,
    ) -> "SeparateEncoder":
        """An encoder around two models in memory; `card` may set max_weight and text_fields."""
        sides = TransformerSide.of(queries), TransformerSide.of(documents)
        return cls(*sides, Card(name, **card))

    @cached_property
    def space(self) -> str:
        """16 hex digits: vocabulary + document encoder; the query network may be exchanged."""
        if self.card.space is not None:
            return self.card.space
        return self._documents().space

    @property
    def n_terms(self) -> int:
        """Vocabulary size of both networks."""
        return self.queries.n_terms

    @property
    def query_strategy(self) -> QueryStrategy:
        """Queries need their network."""
        return "model"

    def encode_queries(self, texts: Sequence[str], *, progress: bool = False) -> SparseMatrix:
        """(len(texts), n_terms) query weights; an empty text is an empty row."""
        prompt, top_k = self.settings.query_prompt, self.settings.max_active_dims
        return self.queries.encode(texts, prompt=prompt, top_k=top_k, progress=progress)

    def encode_documents(self, texts: Sequence[str], *, progress: bool = False) -> SparseMatrix:
        """(len(texts), n_terms) document weights; an empty text is an empty row."""
        return encode_documents(
            self._documents(),
            texts,
            prompt=self.settings.document_prompt,
            top_k=self.settings.max_active_dims,
            overlap=self.card.window_overlap,
            progress=progress,
        )

    def origins(self, text: str, terms: Sequence[int]) -> list[Origin]:
        """What in a document gives each of `terms` its weight; see `Origin`."""
        prompt = self.settings.document_prompt
        return trace(self._documents(), text, terms, prompt=prompt, card=self.card)

    def term_strings(self, terms: Sequence[int] | npt.NDArray[np.integer]) -> list[str]:
        """The vocabulary entries of these term numbers."""
        return self.queries.tokenizer.strings([int(term) for term in terms])

    def save(self, folder: Path, *, queries_only: bool = False) -> None:
        """Write the encoder folder; `queries_only` leaves the document network out."""
        card = replace(self.card, space=self.space, build=self.build) if queries_only else self.card
        documents = None if queries_only else self._documents()
        write_separate(Path(folder), self.queries, documents, self.settings, card)

    def _documents(self) -> NetworkSide:
        if self.documents is None:
            raise EncoderError(
                f"encoder '{self.name}' holds only the query side and cannot encode documents; "
                "load the whole encoder"
            )
        return self.documents
