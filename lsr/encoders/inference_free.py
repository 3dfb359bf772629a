"""Inference-free encoders: a query is its tokens, each with a weight from a table; no network.

    query[t] = table[t] if t occurs in the query, else 0

How often a token occurs does not matter: presence is what the published models were trained with.
Only documents go through a network, which is loaded when the first one is encoded, so a search
service needs neither torch nor the weights. Geng et al., arXiv 2411.04403.
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
from .table import QueryTable
from .windows import encode_documents
from .writing import write_inference_free

if TYPE_CHECKING:
    from .model import SparseModel


@dataclass(frozen=True, eq=False)
class InferenceFreeEncoder(Described):
    """A query table, and the SPLADE network of the documents unless only queries are wanted."""

    queries: QueryTable
    documents: NetworkSide | None
    card: Card
    settings: Settings = field(default_factory=Settings)
    folder: Path | None = None
    """Where it was loaded from; None for an encoder made in memory."""

    def __post_init__(self) -> None:
        if self.documents is None:
            return
        if self.documents.n_terms != len(self.queries.weights):
            raise EncoderError(
                f"encoder '{self.name}': the query table has {len(self.queries.weights)} weights, "
                f"the document model {self.documents.n_terms} terms; they belong to two encoders"
            )
        ours, theirs = self.queries.tokenizer, self.documents.tokenizer
        if ours.files.get("tokenizer.json") != theirs.files.get("tokenizer.json") and (
            ours.vocabulary() != theirs.vocabulary()
        ):
            raise EncoderError(
                f"encoder '{self.name}': query and document tokenizers number their tokens "
                "differently, so their vectors do not meet; build the query table with the "
                "tokenizer of the document model"
            )

    @classmethod
    def of(
        cls,
        model: "SparseModel",
        weights: npt.NDArray[np.float32],
        *,
        name: str = "inference-free",
        **card: Any,
    ) -> "InferenceFreeEncoder":
        """An encoder around a document model in memory and a table such as `idf_table` gives."""
        table = QueryTable(model.tokenizer, np.asarray(weights, np.float32))
        return cls(table, TransformerSide.of(model), Card(name, **card))

    @cached_property
    def space(self) -> str:
        """16 hex digits: vocabulary + document encoder; the query table may be swapped."""
        if self.card.space is not None:
            return self.card.space
        if self.documents is None:
            raise EncoderError(
                f"encoder '{self.name}' has no document model and records no space; "
                "load the whole encoder"
            )
        return self.documents.space

    @property
    def n_terms(self) -> int:
        """Length of the query table."""
        return len(self.queries.weights)

    @property
    def query_strategy(self) -> QueryStrategy:
        """Queries are looked up."""
        return "lookup"

    def encode_queries(self, texts: Sequence[str]) -> SparseMatrix:
        """(len(texts), n_terms) query weights; an empty text is an empty row."""
        return self.queries.encode(
            texts, prompt=self.settings.query_prompt, top_k=self.settings.max_active_dims
        )

    def encode_documents(self, texts: Sequence[str], *, progress: bool = False) -> SparseMatrix:
        """(len(texts), n_terms) document weights; an empty text is an empty row."""
        return encode_documents(
            self._network(),
            texts,
            prompt=self.settings.document_prompt,
            top_k=self.settings.max_active_dims,
            overlap=self.card.window_overlap,
            progress=progress,
        )

    def origins(self, text: str, terms: Sequence[int]) -> list[Origin]:
        """What in a document gives each of `terms` its weight; see `Origin`."""
        prompt = self.settings.document_prompt
        return trace(self._network(), text, terms, prompt=prompt, card=self.card)

    def idf(self, terms: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """What a query that says these terms gives them."""
        weights: npt.NDArray[np.float32] = np.maximum(self.queries.weights[terms], 0)
        return weights

    def term_strings(self, terms: Sequence[int] | npt.NDArray[np.integer]) -> list[str]:
        """The vocabulary entries of these term numbers."""
        return self.queries.tokenizer.strings([int(term) for term in terms])

    def with_table(self, weights: npt.NDArray[np.float32]) -> "InferenceFreeEncoder":
        """The same encoder with another query table: the space stays, indexes stay valid."""
        table = replace(self.queries, weights=np.asarray(weights, np.float32))
        return replace(self, queries=table, folder=None)

    def save(self, folder: Path, *, queries_only: bool = False) -> None:
        """Write the encoder folder; `queries_only` leaves the document model out, not its space."""
        if self.documents is None and not queries_only:
            raise EncoderError(
                f"encoder '{self.name}' holds only the query side; save it with queries_only=True"
            )
        card = self.card
        if queries_only:
            card = replace(card, space=self.space, build=self.build)
        documents = None if queries_only else self.documents
        write_inference_free(Path(folder), self.queries, documents, self.settings, card)

    def _network(self) -> NetworkSide:
        if self.documents is None:
            raise EncoderError(
                f"encoder '{self.name}' holds only the query side and cannot encode documents; "
                "load the whole encoder"
            )
        return self.documents
