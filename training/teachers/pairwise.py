"""A pairwise re-ranker as teacher: a query's candidates are compared, and the outcome is a score.

Sparse pairwise re-ranking (arXiv 2207.04470) makes a share of the comparisons; the aggregation's
scores are what is learned. They say how good a candidate is among its list, so they are comparable
within a query only, which is all that `training.ensemble` needs.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lsr.reranking import PairwiseReranker

from .protocol import Scores


@dataclass(frozen=True)
class PairwiseTeacher:
    """A re-ranker whose comparisons are of candidates."""

    reranker: PairwiseReranker
    name: str

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over the model and over how pairs are sampled and aggregated."""
        r = self.reranker
        how = (r.sampler, r.aggregation, r.budget, r.symmetric, r.skip, r.seed)
        said = f"pairwise {r.model.fingerprint} {how}"
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def score_lists(self, queries: Sequence[str], documents: Sequence[Sequence[str]]) -> Scores:
        """Scores of each query's own documents, end to end.

        A query's documents are compared in the order of their hashes: recipes list the positives
        first, and windows and ties must not learn that.
        """
        scores: list[Scores] = [np.empty(0, np.float32)]
        for query, texts in zip(queries, documents, strict=True):
            hashes = [_hash(text) for text in texts]
            order = sorted(range(len(texts)), key=hashes.__getitem__)
            found = np.empty(len(texts), np.float32)
            found[order] = self.reranker.score(query, [texts[i] for i in order])
            scores.append(found)
        return np.concatenate(scores)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
