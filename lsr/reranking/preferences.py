"""What a pairwise re-ranker knows of one query: which of two documents answers it better.

A preference is a probability; a comparison that was never made is unknown, not one half. That is
why the sparse matrix is kept as its entries: a certain loss is an entry of 0, and scipy's canonical
matrices drop those.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..errors import VectorError

Pairs = npt.NDArray[np.int32]
"""(n, 2) int32: rows `first, second` of documents to compare, no row twice, none with itself."""


@runtime_checkable
class PreferenceModel(Protocol):
    """Reads a query and two documents, and says how likely the first is the better answer."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits over all that decides its answers; kept preferences are keyed by it."""
        ...

    def prefer(
        self, query: str, first: Sequence[str], second: Sequence[str]
    ) -> npt.NDArray[np.float32]:
        """(n,) float32 in [0, 1]: the probability that `first[i]` is better than `second[i]`.

        Need not be consistent: the answer for the swapped pair may be anything.
        """
        ...


@dataclass(frozen=True, eq=False)
class Preferences:
    """The comparisons made among `n_documents`, which are numbered in first-stage order."""

    n_documents: int
    pairs: Pairs
    probabilities: npt.NDArray[np.float32]
    """(n,) float32: that the first of a pair is the better one."""

    def __post_init__(self) -> None:
        if self.pairs.shape != (len(self.probabilities), 2):
            raise VectorError(
                f"{len(self.probabilities)} probabilities for pairs of shape {self.pairs.shape}; "
                "wanted one for each row of two documents"
            )
        bad = ~((self.probabilities >= 0) & (self.probabilities <= 1))  # catches NaN as well
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            raise VectorError(
                f"the preference of pair {self.pairs[at].tolist()} is {self.probabilities[at]}, "
                "wanted a probability in [0, 1]"
            )

    def wins(self) -> npt.NDArray[np.float64]:
        """(n, n) float64: how often, in sum, the row's document was preferred to the column's.

        Every comparison hands out one win, split between its two documents by its probability, so
        `wins() + wins().T` counts the comparisons of each two documents: 0, 1 or 2.

        >>> once = Preferences(2, np.array([[1, 0]], np.int32), np.array([0.75], np.float32))
        >>> once.wins().tolist()
        [[0.0, 0.25], [0.75, 0.0]]
        """
        won = np.zeros((self.n_documents, self.n_documents))
        first, second = self.pairs.T
        np.add.at(won, (first, second), self.probabilities.astype(np.float64))
        np.add.at(won, (second, first), 1.0 - self.probabilities.astype(np.float64))
        return won

    def among(self, pairs: Pairs) -> "Preferences":
        """The same answers for a subset of the comparisons; asks for one never made is our bug."""
        n = self.n_documents
        known = self.pairs[:, 0].astype(np.int64) * n + self.pairs[:, 1]
        order = np.argsort(known)
        asked = pairs[:, 0].astype(np.int64) * n + pairs[:, 1]
        at = order[np.minimum(np.searchsorted(known, asked, sorter=order), len(known) - 1)]
        assert (known[at] == asked).all(), "a comparison was asked for that was never made"
        return Preferences(n, pairs, self.probabilities[at])

    def answers(self, pairs: Pairs) -> npt.NDArray[np.float32]:
        """(n,) float32 probabilities of these comparisons, which were made."""
        return self.among(pairs).probabilities
