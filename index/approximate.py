"""Asking for less than the exact answer, and the certificate that says what came back.

Exact search scores every page of 256 positions with a block whose bound can reach the k-th best
score. An approximate one scores only the best pages by bound and stops. Scores of what it returns
are exact, no query term is ever dropped, and the largest bound that was left alone tells whether
the answer is exact all the same.
"""

from dataclasses import dataclass

from lsr.errors import QueryError

RECALL_PAGES = ((0.9, 30), (0.95, 45), (0.97, 60), (0.98, 75), (0.99, 115), (0.995, 170))
"""Pages that reach a recall (overlap with the exact top k) at k = 10 on a million documents with
44-term queries, the benchmark set that needs the most."""

PAGES_EXPONENT = 0.45
"""k = 1000 needs 8 times the pages of k = 10 for the same recall."""


@dataclass(frozen=True, slots=True)
class Approximate:
    """A target recall or a budget of pages; exactly one of them. Raises `QueryError`.

    `recall` becomes a budget by measurements on benchmark sets: a target, not a promise; `lsr
    bench` measures it on an index. `pages` counts pages over all segments.
    """

    recall: float | None = None
    pages: int | None = None

    def __post_init__(self) -> None:
        if (self.recall is None) == (self.pages is None):
            raise QueryError(
                f"approximate search takes a recall or a number of pages, got recall = "
                f"{self.recall} and pages = {self.pages}"
            )
        if self.recall is not None and not 0 < self.recall < 1:
            raise QueryError(
                f"recall = {self.recall}: wanted a number above 0 and below 1; leave approximate "
                "out for the exact answer"
            )
        if self.pages is not None and (
            isinstance(self.pages, bool) or not isinstance(self.pages, int) or self.pages < 1
        ):
            raise QueryError(f"pages = {self.pages}: wanted a whole number of at least 1")

    def budget(self, k: int) -> int:
        """Pages to score for the k best documents.

        >>> Approximate(recall=0.95).budget(10), Approximate(pages=7).budget(1000)
        (45, 7)
        """
        if self.pages is not None:
            return self.pages
        assert self.recall is not None
        share, pages = next(
            (point for point in RECALL_PAGES if point[0] >= self.recall), RECALL_PAGES[-1]
        )
        beyond = max(1.0, (1 - share) / (1 - self.recall))  # halving the miss costs 1.5 times
        return int(pages * beyond**0.6 * (max(k, 10) / 10) ** PAGES_EXPONENT)


@dataclass(frozen=True, slots=True)
class SearchReport:
    """How an answer came about.

    `exact` is a proof: no document that was left alone can belong to the answer. `bound_skipped` is
    the largest score, in the encoder's unit, that such a document could have. `stopped` says that
    the deadline came first: the answer is the best of what was scored. A page is 256 positions, a
    block 32.
    """

    mode: str
    exact: bool
    stopped: bool
    algorithm: str
    pages: int
    pages_scored: int
    blocks: int
    blocks_scored: int
    bound_skipped: float
