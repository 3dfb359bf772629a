"""Why a document has its score: contributions that add up to it exactly, term by term."""

from dataclasses import dataclass

import numpy as np

from .quantize import IntegerQuery
from .segment import Segment


@dataclass(frozen=True, slots=True)
class Contribution:
    """One term's part: `score` = `query_weight` x `doc_weight`, `share` = part of the whole.

    `points` is the part as the engine adds it up, integer query weight x impact.
    """

    term: int
    query_weight: float
    doc_weight: float
    score: float
    share: float
    points: int


@dataclass(frozen=True, slots=True)
class Missing:
    """A term of the query that the document lacks: its weight in the query, as rounded."""

    term: int
    query_weight: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The terms that the query and the document share, largest contribution first, and those of
    the query that the document lacks, heaviest first.

    `integer_score` is the sum of (integer query weight x impact), exactly what search ranks by;
    `score` is that sum in the encoder's unit. Weights shown are the quantised ones.
    """

    doc_id: str
    integer_score: int
    score: float
    terms: tuple[Contribution, ...]
    missing: tuple[Missing, ...] = ()


def explained(segment: Segment, position: int, query: IntegerQuery) -> Explanation:
    """Explain the document at `position` of `segment`, whether or not the search returned it."""
    terms, impacts = segment.impacts_of(position)
    shared, in_query, in_document = np.intersect1d(
        query.terms, terms, assume_unique=True, return_indices=True
    )
    weights = query.weights[in_query].astype(np.int64)
    parts = weights * impacts[in_document].astype(np.int64)
    total = int(parts.sum())
    # unit = (query weight of integer 1) x (document weight of impact 1)
    query_unit = query.unit / segment.scale
    contributions = [
        Contribution(
            term=int(shared[i]),
            query_weight=float(weights[i]) * query_unit,
            doc_weight=float(impacts[in_document[i]]) * segment.scale,
            score=float(parts[i]) * query.unit,
            share=float(parts[i]) / total,
            points=int(parts[i]),
        )
        for i in np.lexsort((shared, -parts))
    ]
    absent = np.setdiff1d(np.arange(len(query.terms)), in_query, assume_unique=True)
    missing = [
        Missing(term=int(query.terms[i]), query_weight=float(query.weights[i]) * query_unit)
        for i in absent[np.argsort(-query.weights[absent].astype(np.int64), kind="stable")]
    ]
    return Explanation(
        segment.doc_id(position), total, total * query.unit, tuple(contributions), tuple(missing)
    )
