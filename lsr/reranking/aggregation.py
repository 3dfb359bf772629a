"""From preferences to a ranking: five aggregations, each a pure function to one score a document.

`rank` puts higher scores first and leaves ties in first-stage order. All read the same thing, the
comparisons that were made; what was never compared counts for nothing. The choice of five is that
of arXiv 2207.04470; where its code leaves sparse comparisons open we follow the cited originals.
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import optimize

from ..errors import UsageError
from .preferences import Pairs, Preferences

Scores = npt.NDArray[np.float64]
Aggregation = Literal["additive", "bradley-terry", "greedy", "kwiksort", "pagerank"]
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)

SMOOTHING = 0.2
"""Of Bradley-Terry: the weight of one win and one loss against a dummy, as in the paper's code."""

DAMPING = 0.85
"""Of PageRank: the usual share of steps that follow a preference."""


def aggregate(preferences: Preferences, how: Aggregation, *, seed: int = 0) -> Scores:
    """(n_documents,) float64 by the aggregation of this name; `seed` picks KwikSort's pivots."""
    if how == "kwiksort":
        return kwiksort(preferences, seed=seed)
    plain: dict[str, Callable[[Preferences], Scores]] = {
        "additive": additive,
        "bradley-terry": bradley_terry,
        "greedy": greedy,
        "pagerank": pagerank,
    }
    if how not in plain:
        raise UsageError(f"aggregation '{how}'; wanted one of {', '.join(AGGREGATIONS)}")
    return plain[how](preferences)


def rank(scores: Scores) -> npt.NDArray[np.int64]:
    """(n,) document numbers, best first; equal scores stay in first-stage order."""
    return np.argsort(-scores, kind="stable")


def additive(preferences: Preferences) -> Scores:
    """The sum of what a document won: of p where it was read first, of 1 - p where second.

    A document that was compared more often can win more, as in the paper.
    """
    won: Scores = preferences.wins().sum(axis=1)
    return won


def bradley_terry(preferences: Preferences, *, smoothing: float = SMOOTHING) -> Scores:
    """The log strengths under which the comparisons are likeliest, P(i beats j) = σ(s_i - s_j).

    A probability counts as that much of a win. Each document also wins and loses `smoothing` of a
    game against a dummy of strength 0, so the maximum is finite and unique whatever was compared.
    Bradley and Terry, Biometrika 39, 1952.
    """
    won = preferences.wins()
    games = won + won.T

    def loss(s: Scores) -> tuple[float, Scores]:
        gaps = s[:, None] - s[None, :]
        lost = (won * np.logaddexp(0.0, -gaps)).sum()
        dummy = smoothing * (np.logaddexp(0.0, -s) + np.logaddexp(0.0, s)).sum()
        expected = games * _sigmoid(gaps)
        gradient = expected.sum(axis=1) - won.sum(axis=1) + smoothing * (2 * _sigmoid(s) - 1)
        return float(lost + dummy), gradient

    start = np.zeros(preferences.n_documents)
    found = optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-6, "ftol": 1e-14}
    )
    return np.asarray(found.x, np.float64)


def greedy(preferences: Preferences) -> Scores:
    """Take the document with most wins over losses among those left, again and again.

    Cohen, Schapire and Singer, "Learning to Order Things", JAIR 10, 1999: PREF(u, v) and PREF(v, u)
    add to one, the mean of the answers, and a pair never compared leaves both potentials alone. The
    score is minus the rank.
    """
    won = preferences.wins()
    games = won + won.T
    margins = (won - won.T) / np.where(games > 0, games, 1.0)
    potential = margins.sum(axis=1)
    scores = np.empty(preferences.n_documents)
    left = np.ones(preferences.n_documents, np.bool_)
    for place in range(preferences.n_documents):
        best = int(np.argmax(np.where(left, potential, -np.inf)))
        scores[best] = -place
        left[best] = False
        potential -= margins[:, best]
    return scores


def kwiksort(preferences: Preferences, *, seed: int = 0) -> Scores:
    """Quicksort by preference: a random pivot, before it what is preferred to it, and so on.

    Ailon, Charikar and Newman, JACM 55, 2008. A pair that was never compared, or is undecided,
    stays in first-stage order. The score is minus the rank.
    """
    won = preferences.wins()
    margins = won - won.T
    return _kwiksort(preferences.n_documents, lambda pairs: margins[tuple(pairs.T)], seed=seed)


def kwiksort_asking(
    n_documents: int, ask: Callable[[Pairs], npt.NDArray[np.float32]], *, seed: int = 0
) -> tuple[Scores, int]:
    """KwikSort that asks for what it compares, and how many comparisons that were.

    `ask` is given (n, 2) pairs of a document and its pivot, in this order, and answers with (n,)
    probabilities. About 2 k ln k comparisons: no sampler is needed, but they cannot be made at
    once, since the pivots of a part are known only when the part is.
    """
    asked = 0

    def margins(pairs: Pairs) -> Scores:
        nonlocal asked
        asked += len(pairs)
        return ask(pairs).astype(np.float64) - 0.5

    scores = _kwiksort(n_documents, margins, seed=seed)
    return scores, asked


def _kwiksort(n_documents: int, margins: Callable[[Pairs], Scores], *, seed: int) -> Scores:
    """Minus the rank of each document; `margins` of document and pivot are above 0 for better."""
    rng = np.random.default_rng(seed)
    order: list[int] = []
    waiting = [np.arange(n_documents)]  # a stack, because a chain of pivots may be long
    while waiting:
        part = waiting.pop()
        if len(part) < 2:
            order += part.tolist()
            continue
        pivot = part[rng.integers(len(part))]
        others = part[part != pivot]
        pairs = np.column_stack([others, np.full(len(others), pivot)]).astype(np.int32)
        better = margins(pairs)
        before = np.where(better == 0, others < pivot, better > 0)
        waiting += [others[~before], np.array([pivot]), others[before]]
    scores = np.empty(n_documents)
    scores[order] = -np.arange(n_documents, dtype=np.float64)
    return scores


def pagerank(preferences: Preferences, *, damping: float = DAMPING) -> Scores:
    """The share of time a surfer spends on a document who goes from losers to their winners.

    Each comparison is an edge from the less to the more probable document, as heavy as the
    probability; who never lost sends the surfer anywhere. Solved exactly: with k documents the
    matrix is only k x k. Scores are rounded to twelve digits, where processors differ: documents
    that nothing tells apart are to be equal, and keep their order, on each of them.
    """
    n = preferences.n_documents
    if not n:
        return np.empty(0)
    p = preferences.probabilities.astype(np.float64)
    first, second = preferences.pairs.T
    edges = np.zeros((n, n))
    np.add.at(
        edges,
        (np.where(p >= 0.5, second, first), np.where(p >= 0.5, first, second)),
        np.maximum(p, 1.0 - p),
    )
    out = edges.sum(axis=1, keepdims=True)
    steps = np.where(out > 0, edges / np.where(out > 0, out, 1.0), 1.0 / n)
    scores: Scores = np.linalg.solve(np.eye(n) - damping * steps.T, np.full(n, (1 - damping) / n))
    return np.round(scores, 12)


def _sigmoid(x: Scores) -> Scores:
    return 0.5 * (1.0 + np.tanh(0.5 * x))  # cannot overflow
