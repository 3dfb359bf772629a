"""Asking for less than the exact answer, and the certificate that says what came back.

Exact search scores every block of 32 documents whose bound can reach the k-th best score. An
approximate one scores only the best blocks by bound and stops; scores of what it returns are exact,
no query term is ever dropped, and the largest bound that was left alone tells whether the answer is
exact all the same.
"""

from dataclasses import dataclass

from lsr.errors import QueryError

RECALL_BLOCKS = ((0.9, 30), (0.95, 55), (0.97, 75), (0.98, 100), (0.99, 160), (0.995, 260))
"""Blocks that reach a recall (overlap with the exact top k) at k = 10."""

BLOCKS_PER_HIT = 1.5
"""Further blocks for every hit beyond ten."""


@dataclass(frozen=True, slots=True)
class Approximate:
    """A target recall or a budget of blocks; exactly one of them. Raises `QueryError`.

    `recall` is translated to a budget by measurements on benchmark sets: a target, not a promise.
    `blocks` counts blocks of 32 documents over all segments.
    """

    recall: float | None = None
    blocks: int | None = None

    def __post_init__(self) -> None:
        if (self.recall is None) == (self.blocks is None):
            raise QueryError(
                f"approximate search takes a recall or a number of blocks, got recall = "
                f"{self.recall} and blocks = {self.blocks}"
            )
        if self.recall is not None and not 0 < self.recall < 1:
            raise QueryError(
                f"recall = {self.recall}: wanted a number above 0 and below 1; leave approximate "
                "out for the exact answer"
            )
        if self.blocks is not None and (isinstance(self.blocks, bool) or self.blocks < 1):
            raise QueryError(f"blocks = {self.blocks}: wanted a whole number of at least 1")

    def budget(self, k: int) -> int:
        """Blocks to score for the k best documents.

        >>> Approximate(recall=0.95).budget(10), Approximate(blocks=7).budget(1000)
        (55, 7)
        """
        if self.blocks is not None:
            return self.blocks
        assert self.recall is not None
        blocks = next((n for share, n in RECALL_BLOCKS if share >= self.recall), None)
        if blocks is None:  # the miss halves when the budget grows by 1.6
            share, blocks = RECALL_BLOCKS[-1]
            miss = (1 - share) / (1 - self.recall)
            blocks = int(blocks * miss**0.7)
        return int(blocks * (1 + max(0, k - 10) * BLOCKS_PER_HIT / RECALL_BLOCKS[0][1]))


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
