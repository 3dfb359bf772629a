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
from .batching import keep_largest
from .card import Card
from .counting import occurrences
from .folder import build_fingerprint
from .protocol import QueryStrategy
from .siamese import Settings, TransformerSide, space_of
from .tokens import TextTokenizer

if TYPE_CHECKING:
    from .splade import SpladeModel


@dataclass(frozen=True, eq=False)
class QueryTable:
    """A tokenizer and the weight of each of its tokens in a query."""

    tokenizer: TextTokenizer
    weights: npt.NDArray[np.float32]
    """(n_terms,); a token whose weight is 0 or less is left out of every query."""

    def __post_init__(self) -> None:
        if self.weights.ndim != 1 or not bool(np.isfinite(self.weights).all()):
            raise EncoderError(
                "a query table must be one row of finite weights, got shape "
                f"{self.weights.shape}, {int((~np.isfinite(self.weights)).sum())} not finite"
            )
        if len(self.weights) < self.tokenizer.n_tokens:
            raise EncoderError(
                f"the query table has {len(self.weights)} weights for the "
                f"{self.tokenizer.n_tokens} tokens of its tokenizer; they belong to two encoders"
            )

    def encode(self, texts: Sequence[str], *, prompt: str, top_k: int | None) -> SparseMatrix:
        """(len(texts), n_terms): the weight of each token that occurs."""
        prompted = [prompt + text if text else "" for text in texts] if prompt else texts
        rows = occurrences(self.tokenizer.ids(prompted, special=False), len(self.weights))
        rows.data = self.weights[rows.indices]
        if bool((rows.data <= 0).any()):
            np.maximum(rows.data, 0, out=rows.data)
            rows.eliminate_zeros()
        return rows if top_k is None else keep_largest(rows, top_k)


@dataclass(frozen=True, eq=False)
class InferenceFreeEncoder:
    """A query table, and the SPLADE network of the documents unless only queries are wanted."""

    queries: QueryTable
    documents: TransformerSide | None
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
        model: "SpladeModel",
        weights: npt.NDArray[np.float32],
        *,
        name: str = "inference-free",
        **card: Any,
    ) -> "InferenceFreeEncoder":
        """An encoder around a document model in memory and a table such as `idf_table` gives."""
        table = QueryTable(model.tokenizer, np.asarray(weights, np.float32))
        return cls(table, TransformerSide.of(model), Card(name, **card))

    @property
    def name(self) -> str:
        """Short human name."""
        return self.card.name

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
        return space_of(self.documents)

    @cached_property
    def build(self) -> str:
        """16 hex digits: every file of the folder; in memory, the same as the space."""
        if self.card.build is not None:
            return self.card.build
        return self.space if self.folder is None else build_fingerprint(self.folder)

    @property
    def n_terms(self) -> int:
        """Length of the query table."""
        return len(self.queries.weights)

    @property
    def max_weight(self) -> float:
        """The document weight that the largest impact represents."""
        return self.card.max_weight

    @property
    def text_fields(self) -> tuple[str, ...]:
        """The document fields it reads."""
        return self.card.text_fields

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
        """(len(texts), n_terms) document weights; an empty text is an empty row. Needs torch."""
        if self.documents is None:
            raise EncoderError(
                f"encoder '{self.name}' holds only the query side and cannot encode documents; "
                "load the whole encoder"
            )
        return self.documents.encode(
            texts,
            prompt=self.settings.document_prompt,
            top_k=self.settings.max_active_dims,
            progress=progress,
        )

    def term_strings(self, terms: Sequence[int] | npt.NDArray[np.integer]) -> list[str]:
        """The vocabulary entries of these term numbers."""
        return self.queries.tokenizer.strings([int(term) for term in terms])

    def with_table(self, weights: npt.NDArray[np.float32]) -> "InferenceFreeEncoder":
        """The same encoder with another query table: the space stays, indexes stay valid."""
        table = replace(self.queries, weights=np.asarray(weights, np.float32))
        return replace(self, queries=table, folder=None)

    def save(self, folder: Path, *, queries_only: bool = False) -> None:
        """Write the encoder folder; `queries_only` leaves the document model out, not its space."""
        from .writing import write_inference_free

        write_inference_free(Path(folder), self, queries_only=queries_only)
