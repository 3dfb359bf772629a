"""Which of the k² - k comparisons of a re-ranker to make: three samplers with one budget.

After Gienapp, Fröbe, Hagen and Potthast, "Sparse Pairwise Re-ranking with Pre-trained
Transformers", ICTIR 2022, arXiv 2207.04470. Documents are numbered in first-stage order and lie on
a ring, so that the last one's neighbour is the first. A comparison is ordered, because a
transformer reads one document first: (i, j) and (j, i) are two, and `symmetric` makes both.
"""

import math
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .preferences import Pairs

Sampler = Literal["exhaustive", "skip", "random"]
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)


def sample_pairs(
    n_documents: int,
    sampler: Sampler,
    budget: float,
    *,
    seed: int = 0,
    skip: int | None = None,
    symmetric: bool = False,
) -> Pairs:
    """(n, 2) int32 comparisons, sorted: about `budget` x (k² - k) of them, at least k.

    exhaustive   each document with the next m of the ring: i with i + 1, ..., i + m
    skip         each with m others, `skip` places apart: i with i + skip, ..., i + m skip; where
                 the ring closes early, on from one place further. Without `skip`, (k - 1) // m:
                 evenly round the whole ring
    random       each with m others, drawn without replacement by `seed`

    m is the budget's share of the k - 1 others, rounded, at least 1. With `symmetric` half of them
    are drawn and each is asked in both orders. A budget of 1 is all comparisons in every sampler.

    >>> sample_pairs(4, "skip", 1 / 3, skip=2).tolist()
    [[0, 2], [1, 3], [2, 0], [3, 1]]
    """
    if sampler not in SAMPLERS:
        raise UsageError(f"sampler '{sampler}'; wanted one of {', '.join(SAMPLERS)}")
    if not 0 < budget <= 1:
        raise UsageError(f"a budget of {budget:g} of the comparisons; wanted above 0, at most 1")
    if skip is not None and (sampler != "skip" or skip < 1):
        raise UsageError(f"skip = {skip} with the sampler '{sampler}'; wanted 1 or more, with skip")
    others = n_documents - 1
    if others < 1:
        return np.empty((0, 2), np.int32)
    if budget == 1:
        return _sorted(np.argwhere(~np.eye(n_documents, dtype=bool)), n_documents)
    if sampler == "random":
        pairs: npt.NDArray[np.integer] = _random(
            n_documents, budget, seed=seed, symmetric=symmetric
        )
    else:
        m = max(1, round(budget * others / (2 if symmetric else 1)))
        step = 1 if sampler == "exhaustive" else skip or max(1, others // m)
        offsets = np.fromiter(_offsets(n_documents, step, symmetric=symmetric), np.int64)[:m]
        first = np.repeat(np.arange(n_documents), len(offsets))
        second = (first + np.tile(offsets, n_documents)) % n_documents
        pairs = np.column_stack([first, second])
    if symmetric:
        pairs = np.concatenate([pairs, pairs[:, ::-1]])
    return _sorted(pairs, n_documents)


def _offsets(n_documents: int, step: int, *, symmetric: bool) -> Iterator[int]:
    """Distances along the ring in the order they are taken; each once, never 0.

    Asked in both orders, a distance d and k - d are the same pairs, so only one of them counts.
    """
    taken = {0}
    for start in range(math.gcd(step, n_documents)):
        at = start % n_documents
        for _ in range(n_documents // math.gcd(step, n_documents)):
            if at not in taken:
                taken |= {at, n_documents - at} if symmetric else {at}
                yield at
            at = (at + step) % n_documents


def _random(
    n_documents: int, budget: float, *, seed: int, symmetric: bool
) -> npt.NDArray[np.integer]:
    rng = np.random.default_rng(seed)
    others = n_documents - 1
    if symmetric:
        first, second = np.triu_indices(n_documents, 1)
        n = max(1, round(budget * len(first)))
        drawn = rng.choice(len(first), n, replace=False)
        return np.column_stack([first[drawn], second[drawn]])
    m = max(1, round(budget * others))
    places = rng.permuted(np.tile(np.arange(others), (n_documents, 1)), axis=1)[:, :m]
    first = np.repeat(np.arange(n_documents), m)
    second = places.ravel() + (places.ravel() >= first)  # skips the document itself
    return np.column_stack([first, second])


def _sorted(pairs: npt.NDArray[np.integer], n_documents: int) -> Pairs:
    keys = np.unique(pairs[:, 0].astype(np.int64) * n_documents + pairs[:, 1])
    return np.column_stack([keys // n_documents, keys % n_documents]).astype(np.int32)
