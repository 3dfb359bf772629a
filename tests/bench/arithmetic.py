"""The arithmetic of the comparison: exact answers with ties, overlap, choice of points, verdicts.

Only numpy, and nothing measured here: `tests/test_bench_arithmetic.py` tests it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

TIE = 1e-6
"""Relative: float32 sums in another order differ by that much."""

RECALL_SLACK = 0.002
"""A rebuilt index answers a little otherwise (random k-means); a chosen point stays chosen."""


def best_with_ties(
    scores: npt.NDArray[np.float64], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Rows of the k best positive scores and of all that tie with the k-th, best first.

    >>> best_with_ties(np.array([3.0, 0.0, 1.0, 2.0, 1.0]), 3)
    (array([0, 3, 2, 4]), array([3., 2., 1., 1.]))
    """
    found = np.flatnonzero(scores > 0)
    if len(found) > k:
        cut = np.partition(scores[found], -k)[-k] * (1 - TIE)
        found = found[scores[found] >= cut]
    found = found[np.argsort(-scores[found], kind="stable")]
    return found, scores[found]


def overlap(
    answer: npt.NDArray[np.integer],
    best: npt.NDArray[np.integer],
    scores: npt.NDArray[np.float64],
    k: int,
) -> float | None:
    """Share of the exact top k in `answer`; documents tied with the k-th count.

    `best` and `scores` come from `best_with_ties` for this k or a larger one. None where no
    document matches. A document counts once, however often the answer repeats it.

    >>> best, scores = np.array([0, 3, 2, 4]), np.array([3.0, 2.0, 1.0, 1.0])
    >>> overlap(np.array([4, 0, 0]), best, scores, 3)
    0.6666666666666666
    """
    size = min(k, len(best))
    if not size:
        return None
    good = best[scores >= scores[size - 1] * (1 - TIE)]
    return min(size, len(np.intersect1d(answer[:k], good))) / size


@dataclass(frozen=True, slots=True)
class Point:
    """A build and a search setting, and what they cost and gave."""

    config: dict[str, Any]
    mode: str
    microseconds: float
    recall: float


def pareto(points: Iterable[Point], *, slack: float = 1.0) -> list[Point]:
    """The points that no other beats on both counts, by ascending recall.

    With `slack` s also those that would be if they were s times faster.
    """
    ordered = sorted(points, key=lambda point: (point.recall, -point.microseconds))
    fastest = list(accumulate((p.microseconds for p in reversed(ordered)), min))[::-1]
    beaten_by = [*fastest[1:], np.inf] if ordered else []
    return [
        point
        for point, other in zip(ordered, beaten_by, strict=True)
        if point.microseconds <= slack * other
    ]


def fastest_reaching(points: Sequence[Point], recall: float) -> Point | None:
    """The fastest point of at least this recall, None where there is none."""
    reached = [point for point in points if point.recall >= recall]
    return min(reached, key=lambda point: point.microseconds, default=None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A figure against what is wanted of it: the floor or, better, the goal.

    Wanted is at least so much, with `at_most` at most so much. Nothing is rounded in favour.
    """

    value: float
    floor: float | None
    goal: float | None
    at_most: bool = False

    @property
    def word(self) -> str:
        """`goal`, `floor`, or `missed by` the factor that is lacking to the nearer of the two.

        >>> Verdict(2.0, 1.9, 3.0).word, Verdict(1.0, 1.9, 3.0).word
        ('floor', 'missed by 1.90x')
        >>> Verdict(3.0, 2.5, None, at_most=True).word
        'missed by 1.20x'
        """
        if self.goal is not None and self._reaches(self.goal):
            return "goal"
        nearer = self.floor if self.floor is not None else self.goal
        if nearer is None:
            return "-"
        if self._reaches(nearer):
            return "floor" if self.goal is not None else "met"
        better, worse = (nearer, self.value) if self.at_most else (self.value, nearer)
        return f"missed by {worse / better:.2f}x" if better > 0 else "missed"

    def _reaches(self, wanted: float) -> bool:
        return self.value <= wanted if self.at_most else self.value >= wanted
