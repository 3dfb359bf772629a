"""One run out of several: by ranks, or by scores brought to one scale, query by query.

    rrf      sum over lists of w / (60 + rank)            Cormack, Clarke, Buettcher, SIGIR 2009
    minmax   sum of w (s - min) / (max - min)             CombSUM where all weights are 1
    zscore   sum of w (s - mean) / standard deviation
    combmnz  minmax times the number of lists that hold the document        Fox, Shaw, TREC-2, 1993

Minimum, maximum, mean and deviation are those of one query's list. A document that a list does not
hold counts as the last of that list (minmax, zscore; nothing in rrf): what was cut off can only be
worse, but by how much is unknown. A list of equal scores, or of one document, tells no more than
who is in it: 1 for those, 0 for all others. A list without an answer says nothing.

Equal sums keep the order of the first list that tells them apart; the sum itself does not depend on
the order of the lists.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..types import Run

Method = Literal["rrf", "minmax", "zscore", "combmnz"]
METHODS: tuple[Method, ...] = get_args(Method)

_FLOAT32 = np.finfo(np.float32)
RRF_K = 60
"""The constant of Cormack et al., who found results insensitive to it."""


@dataclass(frozen=True)
class Pool:
    """All documents that the lists hold for one query, with what each list says of each."""

    query_id: str
    doc_ids: list[str]
    """In the order that decides ties."""
    values: npt.NDArray[np.float64]
    """(n_lists, n_documents): ranks or scores on one scale, what is missing filled in."""
    held: npt.NDArray[np.int64]
    """(n_documents,) the number of lists that hold the document."""

    def best(
        self, weights: npt.NDArray[np.float64], *, times_held: bool, k: int | None
    ) -> tuple[list[str], npt.NDArray[np.float64]]:
        """The k best documents (None: all) and their sums, best first."""
        # Sorted before the sum: float addition is not associative, and the order of the lists
        # must not decide between documents that tie.
        sums = np.sort(weights[:, None] * self.values, axis=0).sum(axis=0)
        if times_held:
            sums = sums * self.held
        chosen = np.arange(len(sums))
        if k is not None and k < len(sums):  # all that tie with the k-th stay until ties are broken
            chosen = np.flatnonzero(sums >= np.partition(sums, len(sums) - k)[len(sums) - k])
        order = chosen[np.argsort(-sums[chosen], kind="stable")][:k]
        return [self.doc_ids[i] for i in order.tolist()], sums[order]


def fuse(
    runs: Sequence[Run],
    method: Method,
    weights: Sequence[float] = (),
    *,
    k: int | None = None,
    depth: int | None = None,
) -> Run:
    """Fuse runs into one with at most `k` documents a query, from the first `depth` of each list.

    `weights` are one a run, none meaning all alike. A query that some runs answer is answered by
    those.

    >>> a = Run.from_rows([("q", ["x", "y"], [9.0, 1.0])])
    >>> b = Run.from_rows([("q", ["y", "z"], [0.5, 0.4])])
    >>> list(fuse([a, b], "rrf")["q"])
    ['y', 'x', 'z']
    """
    checked = checked_weights(weights, len(runs))
    return fused(pools(runs, method, depth=depth), method, checked, k=k)


def fused(
    pooled: Sequence[Pool], method: Method, weights: npt.NDArray[np.float64], *, k: int | None
) -> Run:
    """The run of these pools under (n_lists,) weights."""
    times_held = method == "combmnz"
    return Run.from_rows(
        (pool.query_id, *pool.best(weights, times_held=times_held, k=k)) for pool in pooled
    )


def pools(runs: Sequence[Run], method: Method, *, depth: int | None = None) -> list[Pool]:
    """What weights are applied to: made once, weighed as often as wanted."""
    if not runs:
        raise UsageError("there is no run to fuse; wanted at least one")
    if method not in METHODS:
        raise UsageError(f"no fusion {method!r}; wanted one of {', '.join(METHODS)}")
    query_ids = dict.fromkeys(query_id for run in runs for query_id in run)
    return [_pool(query_id, runs, method, depth) for query_id in query_ids]


def checked_weights(weights: Sequence[float], n_runs: int) -> npt.NDArray[np.float64]:
    """(n_runs,) float64; `UsageError` unless finite, not negative, and not all zero."""
    chosen = np.asarray(list(weights) or [1.0] * n_runs, np.float64)
    if len(chosen) != n_runs:
        raise UsageError(f"{len(chosen)} weights for {n_runs} runs; wanted one each, or none")
    if not np.isfinite(chosen).all() or (chosen < 0).any() or not chosen.any():
        raise UsageError(
            f"weights {list(weights)}; wanted finite numbers, none below 0 and one above"
        )
    return chosen


def _pool(query_id: str, runs: Sequence[Run], method: Method, depth: int | None) -> Pool:
    places: dict[str, int] = {}
    columns: list[npt.NDArray[np.int64]] = []
    lists: list[npt.NDArray[np.float64]] = []
    for run in runs:
        ranked = run.ranked(query_id)[:depth] if query_id in run else []
        scores = np.asarray([score for _, score in ranked], np.float64)
        if not np.isfinite(scores).all():
            raise UsageError(f"query {query_id!r} has scores that are not finite; nothing is fused")
        columns.append(
            np.asarray([places.setdefault(doc_id, len(places)) for doc_id, _ in ranked], np.int64)
        )
        lists.append(scores)
    # The order of first appearance is the order of ties: the first list's documents by its ranks,
    # then those that the second adds, and so on.
    values = np.zeros((len(runs), len(places)))
    held = np.zeros(len(places), np.int64)
    for row, (column, scores) in enumerate(zip(columns, lists, strict=True)):
        if len(column):
            scaled, missing = _scaled(scores, method)
            values[row] = missing
            values[row, column] = scaled
            held[column] += 1
    return Pool(query_id, list(places), values, held)


def _scaled(
    scores: npt.NDArray[np.float64], method: Method
) -> tuple[npt.NDArray[np.float64], float]:
    """One list, best first, on the method's scale, and what a document outside it counts as."""
    if method == "rrf":
        return 1.0 / (RRF_K + np.arange(1, len(scores) + 1)), 0.0
    low, high = float(scores.min()), float(scores.max())
    # A run lowers each tied score by one float32 step; such steps are no differences to stretch.
    step = max(float(_FLOAT32.eps) * max(abs(low), abs(high)), float(_FLOAT32.smallest_subnormal))
    if high - low <= len(scores) * step:
        return np.ones(len(scores)), 0.0
    if method == "zscore":
        scaled = (scores - scores.mean()) / scores.std()
        return scaled, float(scaled.min())
    return (scores - low) / (high - low), 0.0
