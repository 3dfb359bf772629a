"""Whether one system really beats another: paired tests over the same queries, and by how much.

Two tests, because neither assumes what the other does. The randomisation test asks how often
swapping the two systems' values query by query, which changes nothing if they are alike, gives a
difference at least as large; it is the reference of Smucker, Allan and Carterette (CIKM 2007), who
find that the paired t test agrees with it and that sign and Wilcoxon tests mislead. Several
comparisons together need a correction: Holm's. A p-value is not a size, so an interval and an
effect size stand beside it (Sakai, "Laboratory Experiments in Information Retrieval", 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from .errors import UsageError

Values = npt.NDArray[np.float64]

RESAMPLES = 10_000
"""Random assignments; at p = .05 the standard error of p is .002."""
EXACT_UP_TO = 16
"""With so many queries that differ, all 65,536 assignments are counted instead of a sample."""
CONFIDENCE = 0.95
SEED = 20070607
_BATCH = 500
"""Resamples held in memory at a time: 20 MB for 5,000 queries."""


@dataclass(frozen=True, slots=True)
class Paired:
    """System B against the baseline A over the same `n` queries; `delta` = mean B - mean A.

    `low` and `high` end the interval of `delta`; `p_randomisation` is `exact` when every assignment
    was counted; `effect` is Cohen's d of paired values, delta over the deviation of the
    differences, None where they do not vary. A win is a query on which B is better.
    """

    n: int
    mean_a: float
    mean_b: float
    delta: float
    low: float
    high: float
    p_randomisation: float
    exact: bool
    p_t: float
    effect: float | None
    wins: int
    ties: int
    losses: int


def paired(
    a: Sequence[float] | Values,
    b: Sequence[float] | Values,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> Paired:
    """Compare the values of two systems, one a query in the same order; same seed, same answer.

    >>> result = paired([0.1, 0.4, 0.3, 0.5], [0.2, 0.6, 0.3, 0.9])
    >>> result.wins, result.ties, result.losses, result.p_randomisation, result.exact
    (3, 1, 0, 0.25, True)
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise UsageError(
            f"a paired test compares the same queries: got {first.shape} and {second.shape} values"
        )
    if len(first) < 2 or not np.isfinite(first).all() or not np.isfinite(second).all():
        raise UsageError(
            f"a paired test needs finite values of at least 2 queries, got {len(first)}"
        )
    deltas = second - first
    p, exact = randomisation_test(deltas, resamples=resamples, seed=seed)
    low, high = interval_of_mean([deltas], resamples=resamples, confidence=confidence, seed=seed)
    deviation = float(deltas.std(ddof=1))
    varies = not _is_constant(deltas)
    return Paired(
        n=len(deltas),
        mean_a=float(first.mean()),
        mean_b=float(second.mean()),
        delta=float(deltas.mean()),
        low=low,
        high=high,
        p_randomisation=p,
        exact=exact,
        p_t=t_test(deltas),
        effect=float(deltas.mean()) / deviation if varies else None,
        wins=int((deltas > 0).sum()),
        ties=int((deltas == 0).sum()),
        losses=int((deltas < 0).sum()),
    )


def randomisation_test(
    deltas: Values, *, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, bool]:
    """Fisher's two-sided sign-flip test of (n,) paired differences: p, and whether it is exact.

    Ties are left out first: their sign changes no sum, so p is the same and fewer queries have to
    be enumerated. A sampled p counts the observed assignment too and is never 0.
    """
    differing = deltas[deltas != 0]
    if len(differing) < 2:  # both signs of a single difference are equally far from 0
        return 1.0, True
    exact = len(differing) <= EXACT_UP_TO
    result = stats.permutation_test(
        (differing,),
        _sum,
        permutation_type="samples",  # of a single sample: signs are flipped
        n_resamples=2**EXACT_UP_TO if exact else resamples,
        batch=_BATCH,
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue), exact or 2 ** len(differing) <= resamples


def t_test(deltas: Values) -> float:
    """Student's two-sided paired t test. Differences that do not vary give 1 if zero, else 0."""
    if _is_constant(deltas):
        return 1.0 if deltas[0] == 0 else 0.0
    return float(stats.ttest_1samp(deltas, 0.0).pvalue)


def interval_of_mean(
    samples: Sequence[Values],
    weights: Sequence[float] | None = None,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over collections of their means.

    `samples` has one (n_queries,) array a collection, each resampled by itself: of one system's
    values, or of the differences of two, which makes it the paired bootstrap (Sakai, SIGIR 2006).
    `weights` add up to 1; by default all collections weigh the same. Percentile, not BCa, so that
    queries that all score alike have an interval too: a point.

    >>> low, high = interval_of_mean([np.array([0.5, 0.5, 0.5])])
    >>> (float(low), float(high))
    (0.5, 0.5)
    """
    means: Values = np.zeros(resamples)
    shares = weights or [1 / len(samples)] * len(samples)
    for number, (values, share) in enumerate(zip(samples, shares, strict=True)):
        if len(values) == 1:  # nothing to resample
            means += values[0] * share
            continue
        drawn = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=resamples,
            batch=_BATCH,
            method="percentile",
            rng=np.random.default_rng([seed, number]),
        )
        means += drawn.bootstrap_distribution * share
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: with it, the chance of any false alarm stays below the level.

    Scandinavian Journal of Statistics 6 (1979); never weaker than Bonferroni, and as general.

    >>> [round(p, 9) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def _sum(values: Values, axis: int = -1) -> Any:
    return values.sum(axis=axis)


def _is_constant(deltas: Values) -> bool:
    # Rounding of b - a: measures are in [0, 1], so 1e-12 is far below any real difference.
    return float(np.ptp(deltas)) < 1e-12
