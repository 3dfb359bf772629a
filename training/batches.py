"""Which queries share a step, and which documents stand beside them: decided beforehand.

The whole run is one fixed table (batch number -> queries), and every draw is seeded by its batch
number. Resuming therefore needs no sampler state: skip the batches that were done.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .data import Pairs
from .rows import Rows


def plan_batches(
    pairs: Pairs, *, batch: int, n_batches: int, seed: int, repeat: Mapping[int, int] | None = None
) -> npt.NDArray[np.int32]:
    """(n_batches, batch) query rows; every batch comes from one collection.

    A pass takes each query once (`repeat[source]` times); a collection's last batch is filled up
    from the start of its shuffled queries. One collection a batch makes in-batch negatives that
    differ in content and not merely in subject.
    """
    rng = np.random.default_rng([seed, 0x6261])
    batches: list[npt.NDArray[np.int32]] = []
    while len(batches) < n_batches:
        this_pass: list[npt.NDArray[np.int32]] = []
        for source in range(len(pairs.sources)):
            queries = np.flatnonzero(pairs.source_of == source).astype(np.int32)
            for _ in range((repeat or {}).get(source, 1)):
                shuffled = rng.permutation(queries)
                full = np.resize(shuffled, -(-len(shuffled) // batch) * batch)
                this_pass.extend(full.reshape(-1, batch))
        batches.extend(this_pass[i] for i in rng.permutation(len(this_pass)))
    return np.stack(batches[:n_batches])


@dataclass(frozen=True, slots=True)
class Draw:
    """The documents of one batch: every document once, however many queries brought it."""

    documents: Rows
    """(n_documents,) rows of `Pairs.documents`, sorted."""
    positives: npt.NDArray[np.int64]
    """(n_queries,) the column of each query's drawn positive."""
    excluded: npt.NDArray[np.bool_]
    """(n_queries, n_documents) True where a document is relevant to the query: no negative."""


def draw(
    pairs: Pairs,
    queries: Rows,
    *,
    negatives: int,
    seed: int,
    number: int,
    ordered: Callable[[int], Rows] | None = None,
) -> Draw:
    """Draw a positive and up to `negatives` given negatives for each query of batch `number`.

    Where `ordered` gives the negatives of a query in an order, one comes from each of `negatives`
    equal parts of it.
    """
    rng = np.random.default_rng([seed, 0x6472, number])
    chosen: list[np.int32] = []
    others: list[Rows] = []
    for query in queries:
        chosen.append(rng.choice(pairs.positives[query]))
        given = pairs.negatives[query]
        size = min(negatives, len(given))
        if size and ordered is not None:
            ends = np.arange(size + 1) * len(given) // size
            others.append(ordered(int(query))[rng.integers(ends[:-1], ends[1:])])
        elif size:
            others.append(rng.choice(given, size=size, replace=False))
    drawn = np.asarray(chosen, np.int32)
    documents = np.unique(np.concatenate([drawn, *others]))
    excluded = np.stack([np.isin(documents, pairs.positives[query]) for query in queries])
    return Draw(documents, np.searchsorted(documents, drawn), excluded)


def sample_terms(
    certain: npt.NDArray[np.int64], *, n_terms: int, others: int, seed: int, number: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Columns of the vocabulary to compute in batch `number`, sorted, with inverse probabilities.

    The `certain` terms are all taken (weight 1); of the rest, `others` are drawn uniformly and
    stand for all of them, so sums weighted this way are unbiased.
    """
    certain = np.unique(certain)
    rest = np.setdiff1d(np.arange(n_terms, dtype=np.int64), certain, assume_unique=True)
    others = min(others, len(rest))
    rng = np.random.default_rng([seed, 0x7465, number])
    drawn = rng.choice(rest, size=others, replace=False)
    terms = np.concatenate([certain, drawn])
    weights = np.ones(len(terms), np.float32)
    if others:
        weights[len(certain) :] = len(rest) / others
    order = np.argsort(terms)
    return terms[order], weights[order]
