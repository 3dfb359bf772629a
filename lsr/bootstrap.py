"""How far a mean over queries may be off: confidence intervals by the bootstrap.

The interval says how much the mean moves with the choice of queries (Sakai, SIGIR 2006). It does
not compare two systems: their values go up and down together, which a paired test uses.
"""

from collections.abc import Iterable

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95
_SEED = 20260101
_BLOCK = 1 << 22
"""Values drawn at a time: 32 MB."""


def mean_interval(
    values: Iterable[float],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = _SEED,
) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean of `values`, one a query; same seed, same ends.

    Percentile, not BCa, so that queries that all score alike have an interval too: a point.

    >>> mean_interval([0.5, 0.5, 0.5])
    (0.5, 0.5)
    """
    sample = np.fromiter(values, dtype=np.float64)
    assert len(sample), "an interval needs at least one value"
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK // len(sample))
    means = np.concatenate(
        [
            sample[rng.integers(0, len(sample), (min(rows, resamples - done), len(sample)))].mean(1)
            for done in range(0, resamples, rows)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
