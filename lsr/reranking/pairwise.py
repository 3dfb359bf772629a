"""Re-ranking by comparing documents two at a time, at a stated share of the k² - k comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .aggregation import Aggregation, Scores, aggregate
from .preferences import Pairs, PreferenceModel, Preferences
from .sampling import Sampler, sample_pairs


@dataclass(frozen=True)
class PairwiseReranker:
    """Samples comparisons, asks the model, aggregates: arXiv 2207.04470.

    The defaults are the paper's finding that about a third of the comparisons suffices.
    """

    model: PreferenceModel
    sampler: Sampler = "skip"
    aggregation: Aggregation = "additive"
    budget: float = 1 / 3
    """Share of the k² - k comparisons made."""
    symmetric: bool = False
    """Ask every sampled pair in both orders, which costs the same budget on half the pairs."""
    skip: int | None = None
    """Places between the documents compared by the skip window; None spreads them evenly."""
    seed: int = 0

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.model.name} {self.sampler} {self.aggregation} {self.budget:.2g}"

    def pairs(self, n_documents: int) -> Pairs:
        """(n, 2) int32: the comparisons made among so many documents."""
        return sample_pairs(
            n_documents,
            self.sampler,
            self.budget,
            seed=self.seed,
            skip=self.skip,
            symmetric=self.symmetric,
        )

    def compare(self, query: str, texts: Sequence[str]) -> Preferences:
        """Ask for the sampled comparisons of `texts`, which are in first-stage order."""
        pairs = self.pairs(len(texts))
        first, second = ([texts[i] for i in column] for column in pairs.T)
        return Preferences(len(texts), pairs, self.model.prefer(query, first, second))

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """(n,) float64: how good each text is among these; comparable within one call only."""
        if len(texts) < 2:
            return np.zeros(len(texts))
        return aggregate(self.compare(query, texts), self.aggregation, seed=self.seed)
