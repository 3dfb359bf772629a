"""How an index is built: recorded in its catalog, shown by `info`, obeyed by every later build."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from scipy import sparse

from lsr.errors import UsageError
from lsr.types import SparseMatrix

Order = Literal["none", "bp"]
"""none: as the documents came. bp: recursive graph bisection (ordering.py)."""
ORDERS: tuple[Order, ...] = get_args(Order)


@dataclass(frozen=True, slots=True)
class Pruning:
    """What is left out of an index (pruning.py); None leaves nothing out.

    `terms`, `mass` and `ratio` apply to every vector before it is stored, later ones included.
    `postings` applies to whole lists: the first finished bulk build or full merge finds each list's
    cut, and that and every later one drop what lies below; what is added in between is whole.
    """

    terms: int | None = None
    mass: float | None = None
    postings: float | None = None
    ratio: float | None = None

    def __post_init__(self) -> None:
        if self.terms is not None and self.terms < 1:
            raise UsageError(f"prune to {self.terms} terms: wanted at least 1")
        if self.mass is not None and not 0 < self.mass <= 1:
            raise UsageError(f"prune to a mass of {self.mass}: wanted above 0 and at most 1")
        if self.ratio is not None and not 0 < self.ratio <= 1:
            raise UsageError(f"prune to a ratio of {self.ratio}: wanted above 0 and at most 1")
        if self.postings is not None and not (
            0 < self.postings < 1 or (self.postings >= 1 and self.postings == int(self.postings))
        ):
            raise UsageError(
                f"prune lists to {self.postings}: wanted a share below 1 or a whole number of "
                "postings"
            )

    def of_documents(self, vectors: SparseMatrix) -> SparseMatrix:
        """The vectors without what is left out of each; `mass` counts whole vectors."""
        if self.terms is None and self.mass is None and self.ratio is None:
            return vectors
        from .pruning import prune_mass, prune_ratio, prune_terms

        if self.mass is not None:
            vectors = prune_mass(vectors, self.mass)
        if self.ratio is not None:
            vectors = prune_ratio(vectors, self.ratio)
        return vectors if self.terms is None else prune_terms(vectors, self.terms)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one index."""

    order: Order = "bp"
    pruning: Pruning = field(default_factory=Pruning)
    binary: bool = False
    """Only which terms a document has is kept: every impact is 1, every query weight 1, and a score
    is the number of terms that query and document share (UHD-BERT, arXiv 2104.07198)."""

    def __post_init__(self) -> None:
        if self.binary and self.pruning.postings is not None:
            raise UsageError(
                f"a binary index cannot prune lists to {self.pruning.postings}: all postings of a "
                "list weigh the same; prune documents (terms, mass) instead"
            )
        if self.order not in ORDERS:
            raise UsageError(f"order {self.order!r} is none of {', '.join(ORDERS)}")

    @property
    def reorder(self) -> bool | None:
        """As `write_segment` takes it: None lets the size decide."""
        return None if self.order == "bp" else False

    def of_documents(self, vectors: SparseMatrix) -> SparseMatrix:
        """What is stored of these vectors: pruned by their weights, then without them if binary."""
        pruned = self.pruning.of_documents(vectors)
        if not self.binary:
            return pruned
        ones = np.ones(pruned.nnz, np.float32)
        return sparse.csr_array((ones, pruned.indices, pruned.indptr), shape=pruned.shape)

    def to_json(self) -> dict[str, Any]:
        """For the catalog."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any] | None) -> "Settings":
        """From the catalog; an index that recorded none has the defaults."""
        if stored is None:
            return cls()
        return cls(stored["order"], Pruning(**stored["pruning"]), stored.get("binary", False))
