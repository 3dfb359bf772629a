"""How far two sets of rankings agree, and where they first part.

A document is a number here. Two rankings are the same up to ties when both give every rank the same
score, and every document that both return the same score, within a tolerance: then documents have
only changed places with others of their score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Ranked:
    """One query's documents, best first: (k,) uint32 docids, (k,) float64 scores above 0."""

    docids: npt.NDArray[np.uint32]
    scores: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.docids)


@dataclass(frozen=True, slots=True)
class Difference:
    """The first rank (from 1) of query `query` (its row) where another document stands.

    `ours` and `theirs` are (docid, score), None where a ranking has ended.
    """

    query: int
    rank: int
    ours: tuple[int, float] | None
    theirs: tuple[int, float] | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """What `compare_rankings` found."""

    n_queries: int
    n_identical: int
    """Queries with the same documents in the same order."""
    n_same_up_to_ties: int
    overlap: dict[int, float]
    """Depth -> mean share of documents in common; two empty rankings count 1."""
    first_difference: Difference | None
    """Of the first query with another document at some rank, be it a tie."""
    first_beyond_ties: Difference | None
    """Likewise where scores at that rank differ as well."""
    largest_gap: float
    """Largest |theirs - ours| / ours of a document that both rank."""

    @property
    def is_same_up_to_ties(self) -> bool:
        """Whether every query's ranking is."""
        return self.n_same_up_to_ties == self.n_queries


def compare_rankings(
    ours: Sequence[Ranked],
    theirs: Sequence[Ranked],
    *,
    tolerance: float = 0.0,
    depths: Sequence[int] = (10, 100),
) -> Agreement:
    """Compare query by query; `tolerance` is relative, 0 for exact integers.

    >>> a = Ranked(np.array([3, 1], np.uint32), np.array([5.0, 2.0]))
    >>> b = Ranked(np.array([3, 2], np.uint32), np.array([5.0, 2.0]))
    >>> found = compare_rankings([a], [b], depths=(2,))
    >>> found.n_identical, found.n_same_up_to_ties, found.overlap
    (0, 1, {2: 0.5})
    """
    assert len(ours) == len(theirs), "one ranking a query on each side"
    first = first_beyond = None
    n_identical = n_same = 0
    gap = 0.0
    for query, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        here = _gap(a, b)
        gap = max(gap, here)
        parting = _parting(query, a, b)
        beyond = _parting_beyond_ties(query, a, b, tolerance)
        n_identical += parting is None
        n_same += beyond is None and here <= tolerance
        first = first or parting
        first_beyond = first_beyond or beyond
    return Agreement(
        n_queries=len(ours),
        n_identical=n_identical,
        n_same_up_to_ties=n_same,
        overlap={depth: _overlap(ours, theirs, depth) for depth in depths},
        first_difference=first,
        first_beyond_ties=first_beyond,
        largest_gap=gap,
    )


def _gap(a: Ranked, b: Ranked) -> float:
    _, at, bt = np.intersect1d(a.docids, b.docids, assume_unique=True, return_indices=True)
    return float(_relative(a.scores[at], b.scores[bt]).max(initial=0.0))


def _parting(query: int, a: Ranked, b: Ranked) -> Difference | None:
    n = min(len(a), len(b))
    other = np.flatnonzero(a.docids[:n] != b.docids[:n])
    return _difference(query, int(other[0]) if len(other) else n, a, b)


def _parting_beyond_ties(query: int, a: Ranked, b: Ranked, tolerance: float) -> Difference | None:
    n = min(len(a), len(b))
    other = np.flatnonzero(_relative(a.scores[:n], b.scores[:n]) > tolerance)
    return _difference(query, int(other[0]) if len(other) else n, a, b)


def _difference(query: int, at: int, a: Ranked, b: Ranked) -> Difference | None:
    if at >= len(a) and at >= len(b):
        return None
    return Difference(query, at + 1, _entry(a, at), _entry(b, at))


def _entry(ranked: Ranked, at: int) -> tuple[int, float] | None:
    return (int(ranked.docids[at]), float(ranked.scores[at])) if at < len(ranked) else None


def _relative(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.abs(b - a) / a


def _overlap(ours: Sequence[Ranked], theirs: Sequence[Ranked], depth: int) -> float:
    shares = []
    for a, b in zip(ours, theirs, strict=True):
        longest = min(depth, max(len(a), len(b)))
        common = np.intersect1d(a.docids[:depth], b.docids[:depth], assume_unique=True)
        shares.append(len(common) / longest if longest else 1.0)
    return float(np.mean(shares)) if shares else 1.0
