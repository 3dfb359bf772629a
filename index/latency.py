"""How long searches of an open index take, and what asking for less of them changes.

Clocks are passed in. A query's time is the least of several passes over all queries, so that what
the machine did beside it counts as little as it can; percentiles are over queries. CPU time is that
of the searching thread.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import sparse

from lsr.types import SparseMatrix, canonical

from .engine import Found, search
from .live import Live, positions_in
from .pruning import prune_terms
from .quantize import IntegerQuery
from .segment import Segment
from .snapshot import View

Clock = Callable[[], int]
"""Nanoseconds since some moment."""

T = TypeVar("T")

PASSES = 3
WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds a query: their distribution over the queries, on the wall and on the CPU."""

    n: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float
    cpu_mean: float
    cpu_p50: float
    cpu_p99: float

    @classmethod
    def of(cls, wall: npt.NDArray[np.float64], cpu: npt.NDArray[np.float64]) -> "Latency":
        """Summarise microseconds of the same queries."""
        p50, p90, p99 = (float(x) for x in np.percentile(wall, [50, 90, 99]))
        return cls(
            len(wall),
            float(wall.mean()),
            p50,
            p90,
            p99,
            float(wall.max()),
            float(cpu.mean()),
            float(np.median(cpu)),
            float(np.percentile(cpu, 99)),
        )


@dataclass(frozen=True, slots=True)
class Timed:
    """Microseconds of each query (the least of the passes), and the answers of the last pass."""

    wall: npt.NDArray[np.float64]
    cpu: npt.NDArray[np.float64]
    answers: list[Any]

    def latency(self) -> Latency:
        """The distribution."""
        return Latency.of(self.wall, self.cpu)


def timed(
    ask: Callable[[T], Any],
    queries: Sequence[T],
    *,
    passes: int = PASSES,
    wall_clock: Clock = time.perf_counter_ns,
    cpu_clock: Clock = time.thread_time_ns,
    done: Callable[[int], None] = lambda n: None,
) -> Timed:
    """Answer every query `passes` times, one after another; `done` is told of each answer."""
    wall, cpu = np.full((2, len(queries)), np.inf)
    answers: list[Any] = [None] * len(queries)
    for query in queries[:WARM_UP]:
        ask(query)
    for _ in range(passes):
        for i, query in enumerate(queries):
            before, cpu_before = wall_clock(), cpu_clock()
            answers[i] = ask(query)
            cpu_after, after = cpu_clock(), wall_clock()
            wall[i] = min(wall[i], (after - before) / 1000)
            cpu[i] = min(cpu[i], (cpu_after - cpu_before) / 1000)
            done(1)
    return Timed(wall, cpu, answers)


def throughput(
    answer_all: Callable[[int], int],
    threads: Sequence[int],
    *,
    rounds: int = 5,
    clock: Clock = time.perf_counter_ns,
    done: Callable[[int], None] = lambda n: None,
) -> dict[int, float]:
    """Queries a second of `answer_all(threads)`, which says how many it answered.

    The best of `rounds`, in which the numbers of threads take turns: a busy moment hits them all.
    """
    best = dict.fromkeys(threads, 0.0)
    for _ in range(rounds):
        for n in threads:
            before = clock()
            answered = answer_all(n)
            best[n] = max(best[n], answered / ((clock() - before) / 1e9))
            done(1)
    return best


def sampled_queries(
    views: Sequence[View], n: int, *, n_terms: int, query_terms: int = 32, seed: int = 0
) -> SparseMatrix:
    """(n, n_terms): the heaviest terms of `n` live documents drawn at random, as queries.

    Each finds its own document and those like it; real questions are shorter and match less well.
    """
    rng = np.random.default_rng(seed)
    counts = [view.n_live for view in views]
    chosen = np.sort(rng.choice(sum(counts), min(n, sum(counts)), replace=False))
    rows: list[SparseMatrix] = []
    first = 0
    for view, count in zip(views, counts, strict=True):
        here = chosen[(chosen >= first) & (chosen < first + count)] - first
        first += count
        if len(here):
            places = positions_in(view.live, view.segment.n_docs)[here]
            rows.append(view.segment.vectors(places))
    if not rows:
        rows.append(canonical(sparse.csr_array((0, n_terms), dtype=np.float32)))
    stacked: SparseMatrix = sparse.csr_array(sparse.vstack(rows, "csr"))
    filled = np.flatnonzero(np.diff(stacked.indptr))
    kept: SparseMatrix = sparse.csr_array(prune_terms(stacked, query_terms)[filled])
    return kept


def searcher(
    segments: Sequence[Segment], live: Sequence[Live | None], k: int, **options: Any
) -> Callable[[IntegerQuery], Found]:
    """`engine.search` over fixed segments, for `timed`."""

    def ask(query: IntegerQuery) -> Found:
        return search(segments, live, query, k, **options)

    return ask


def overlap(found: Sequence[npt.NDArray[Any]], wanted: Sequence[npt.NDArray[Any]]) -> float:
    """Mean share of each wanted set that was found; queries that want nothing are left out.

    >>> overlap([np.array([1, 2])], [np.array([2, 3])])
    0.5
    """
    shares = [
        len(np.intersect1d(got, want)) / len(want)
        for got, want in zip(found, wanted, strict=True)
        if len(want)
    ]
    return float(np.mean(shares)) if shares else 1.0
