"""Which of many configurations are worth having: the Pareto front of a cost and a value.

A configuration is dominated when another one costs no more and is worth no less, and is better in
one of the two. What nothing dominates is the front: every budget has its best choice there.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .errors import UsageError


def front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """The undominated points, cheapest first; of points equal in both, the first one given.

    `costs` are better low, `values` high. Both strictly increase along the front.

    >>> front([1.0, 2.0, 3.0, 4.0], [0.3, 0.6, 0.5, 0.7])
    [0, 1, 3]
    """
    cost, value = _checked(costs, values)
    best = -np.inf
    kept: list[int] = []
    # By cost, then the most valuable first: a point belongs to the front exactly when it is worth
    # more than everything before it.
    for i in np.lexsort((-value, cost)).tolist():
        if value[i] > best:
            kept.append(i)
            best = value[i]
    return kept


def cheapest_within(
    costs: Sequence[float], values: Sequence[float], *, share: float = 0.01
) -> int | None:
    """The cheapest point worth at least (1 - `share`) of the most valuable; None where all are 0.

    Of equally cheap ones it is the most valuable, so it always lies on the front.

    >>> cheapest_within([1.0, 2.0, 3.0], [0.3, 0.695, 0.7])
    1
    """
    if not 0 <= share < 1:
        raise UsageError(f"within a share of {share} of the best: wanted at least 0 and below 1")
    _, value = _checked(costs, values)
    if not len(value) or value.max() <= 0:
        return None
    enough = (1 - share) * value.max()
    return next(i for i in front(costs, values) if value[i] >= enough)


def _checked(
    costs: Sequence[float], values: Sequence[float]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    cost, value = np.asarray(costs, np.float64), np.asarray(values, np.float64)
    if cost.shape != value.shape or cost.ndim != 1:
        raise UsageError(f"{len(costs)} costs for {len(values)} values; wanted one each")
    if not (np.isfinite(cost).all() and np.isfinite(value).all()):
        raise UsageError("a cost or a value is not a finite number; leave such points out")
    return cost, value
