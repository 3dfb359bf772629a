"""Weights of a fusion, searched on development queries and never on the test set.

Every point of a grid on the simplex (weights that sum to 1) is tried. The value of the best point
flatters, since it was chosen for it; `held_out` does not: each query is measured with the weights
that were best on the other folds. The system that comes out says on what it was tuned.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..conventions import Convention, convention_of, conventional
from ..conventions import depth as depth_for
from ..datasets import Dataset
from ..errors import UsageError
from ..measures import depth_needed, evaluate
from ..progress import bar
from ..systems import Fusion, System, Tuning
from ..types import Qrels, Query, Run
from .fusion import fused, pools

TEST = "test"
MEASURE = "nDCG@10"
_STEPS = 20  # weights in steps of .05: 21 points for two lists, 231 for three
_MOST_POINTS = 2_000
_FOLDS = 5
_SAME = 1e-12  # means that differ by less differ by the order of addition


@dataclass(frozen=True)
class Development:
    """The queries that may be tuned on, and how many of the split may not."""

    dataset: str
    split: str
    fingerprint: str
    queries: tuple[Query, ...]
    qrels: Qrels
    n_left_out: int
    """Queries that the test split has as well, by id or by text."""
    convention: Convention = field(default_factory=Convention)
    """What is done to a run before it is measured."""

    @classmethod
    def of(
        cls, dataset: Dataset, split: str, *, limit: int | None = None, seed: int = 0
    ) -> "Development":
        """The judged queries of a split without those of the test split; at most `limit` at random.

        The test split is also the one that figures are published on, such as dev of MS MARCO.
        Raises `UsageError` for it and where nothing is left.
        """
        convention = convention_of(dataset.name)
        measured = {TEST, convention.split}
        if split in measured:
            raise UsageError(
                f"{dataset.name}: figures are published on split {split!r}, and weights tuned on "
                "it would make them meaningless; tune on another split, such as --split train"
            )
        known = [
            query
            for name in dataset.splits()
            if name in measured
            for query in dataset.queries(name)
        ]
        ids, texts = {query.query_id for query in known}, {_plain(query.text) for query in known}
        judged = dataset.queries(split)
        kept = [q for q in judged if q.query_id not in ids and _plain(q.text) not in texts]
        if not kept:
            raise UsageError(
                f"{dataset.name}: all {len(judged)} queries of split {split!r} are in the test "
                "split as well; there is nothing to tune on"
            )
        n_left_out = len(judged) - len(kept)
        if limit is not None and limit < len(kept):
            chosen = np.random.default_rng(seed).choice(len(kept), limit, replace=False)
            kept = [kept[i] for i in np.sort(chosen).tolist()]
        qrels = dataset.qrels(split)
        return cls(
            dataset.name,
            split,
            dataset.fingerprint,
            tuple(kept),
            {query.query_id: qrels[query.query_id] for query in kept},
            n_left_out,
            convention,
        )


def tune(
    runs: Sequence[Run],
    names: Sequence[str],
    development: Development,
    *,
    method: Fusion = "zscore",
    depth: int = 1000,
    measure: str = MEASURE,
    steps: int = _STEPS,
    seed: int = 0,
) -> System:
    """The system whose fusion of `runs` has the largest mean `measure`; it says so in `tuned`.

    Where several are best, those nearest to equal weights.
    """
    if len(runs) != len(names) or len(set(names)) < len(names) or len(runs) < 2:
        raise UsageError(
            f"{len(runs)} runs named {list(names)}; wanted two or more, each name once"
        )
    qrels = development.qrels
    unanswered = [
        name for name, run in zip(names, runs, strict=True) if not qrels.keys() & set(run)
    ]
    if unanswered:
        raise UsageError(
            f"{unanswered[0]} answers none of the {len(qrels)} queries of {development.dataset} "
            f"{development.split}; wanted a run of that split"
        )
    if len(qrels) < _FOLDS:
        raise UsageError(
            f"{development.dataset} {development.split} has {len(qrels)} queries to tune on; "
            f"wanted at least {_FOLDS}, one a fold"
        )
    points = np.array(list(simplex(len(runs), steps)))
    pooled = [pool for pool in pools(runs, method, depth=depth) if pool.query_id in qrels]
    cutoff = depth_needed(measure)
    searched = None if cutoff is None else depth_for(development.convention, cutoff)

    def values(weights: npt.NDArray[np.float64]) -> list[float]:
        return _values(fused(pooled, method, weights, k=searched), development, measure, cutoff)

    counter = bar(points, unit="weightings", desc="tuning")
    table = np.array([values(point) for point in counter])  # (n_points, n_queries)
    chosen = _best(table.mean(axis=1), points)
    alike = values(np.full(len(runs), 1 / len(runs)))
    return System(
        name=" + ".join(Path(name).name for name in names),
        retrievers=tuple(names),
        fuse=method,
        weights=tuple(round(weight, 6) for weight in points[chosen].tolist()),
        depth=depth,
        tuned=Tuning(
            dataset=development.dataset,
            split=development.split,
            fingerprint=development.fingerprint,
            n_queries=len(qrels),
            measure=measure,
            value=float(table[chosen].mean()),
            held_out=_held_out(table, points, seed),
            alike=float(np.mean(alike)),
            alone=tuple(float(np.mean(_values(run, development, measure, cutoff))) for run in runs),
        ),
    )


def simplex(n: int, steps: int) -> Iterator[tuple[float, ...]]:
    """All n weights from 0 to 1, multiples of 1 / steps, that sum to 1.

    >>> list(simplex(2, 2))
    [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    """
    if math.comb(steps + n - 1, n - 1) > _MOST_POINTS:
        raise UsageError(
            f"{n} retrievers in steps of 1/{steps} are more than {_MOST_POINTS:,} weightings; "
            "choose fewer steps"
        )
    # Dividers among steps + n - 1 places; the gaps between them are the weights.
    for dividers in itertools.combinations(range(steps + n - 1), n - 1):
        edges = (-1, *dividers, steps + n - 1)
        yield tuple((b - a - 1) / steps for a, b in itertools.pairwise(edges))


def _values(run: Run, development: Development, measure: str, cutoff: int | None) -> list[float]:
    """What each query scores, in the order of the judgements."""
    convention = development.convention
    kept = conventional(run, convention, cutoff or len(run.doc_ids) + 1)
    evaluation = evaluate(
        kept, development.qrels, [measure], relevant_from=convention.relevant_from
    )
    values = evaluation.per_query[measure]
    return [values[query_id] for query_id in development.qrels]


def _best(means: npt.NDArray[np.float64], points: npt.NDArray[np.float64]) -> int:
    """The best point; of several the most even one, then the one that favours the first lists."""
    best = np.flatnonzero(means >= means.max() - _SAME)
    evenness = np.square(points[best]).sum(axis=1).round(9)
    order = np.lexsort((*(-points[best]).T[::-1], evenness))
    return int(best[order[0]])


def _held_out(table: npt.NDArray[np.float64], points: npt.NDArray[np.float64], seed: int) -> float:
    """The mean over queries, each under the best weights of the folds it is not in."""
    n = table.shape[1]
    fold = np.random.default_rng(seed).permutation(n) % _FOLDS
    values = np.empty(n)
    for number in range(_FOLDS):
        mine = fold == number
        values[mine] = table[_best(table[:, ~mine].mean(axis=1), points)][mine]
    return float(values.mean())


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
