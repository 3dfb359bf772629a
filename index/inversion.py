"""Document vectors in, posting sections out: rows, directories, grids and plain lists.

Two passes over the postings (count, scatter) and no sort: documents are visited in order, so every
row and every tail list comes out ascending. Where memory is short, a range of terms is filled at a
time, each with passes of its own. The loops are in `kernels.py`.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from .kernels import (
    count_rows,
    count_tails,
    counts_to_starts,
    largest_bits,
    pack_grid,
    scatter_rows,
    scatter_tails,
)
from .layout import CODES, PAGE, Array, Counts, Flag
from .quantize import impact_table
from .stored_vectors import Forward

_PAGES_A_TASK = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """How long the sections of a segment are, and which terms are heads.

    `rank` is (n_terms,) int32, -1 for tails.
    """

    counts: Counts
    heads: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int32]
    frequency: npt.NDArray[np.int64]


View = Callable[[str, int, int], Array]
"""(section, first, last) -> its numbers first..last-1, zero at first, to be written in place."""


def invert(
    made: Plan,
    forward: Forward,
    view: View,
    *,
    threads: int = 1,
    memory: int | None = None,
    done: Callable[[int], None] = lambda postings: None,
) -> None:
    """Fill the posting sections that `view` hands out. The bytes do not depend on `threads`, nor on
    `memory`, the bytes of sections to write in one pass over the vectors; None for a single pass.

    `done` is told of finished postings.
    """
    counts, rank, heads = made.counts, made.rank, made.heads
    impact_of = impact_table(counts.scale)
    n_terms = counts.n_terms

    marked = view("head_rank", 0, n_terms)
    marked[:] = rank.astype(marked.dtype)
    row_base = view("row_base", 0, counts.n_heads + 1)
    np.cumsum(made.frequency[heads], out=row_base[1:])
    tail_start = view("tail_start", 0, n_terms + 1)
    tail_frequency = np.where(rank >= 0, 0, made.frequency)
    np.cumsum(tail_frequency, out=tail_start[1:])

    threads = max(1, min(threads, counts.n_docs))
    with ThreadPoolExecutor(threads) as pool:
        largest = np.max(
            list(pool.map(lambda span: _largest(forward, n_terms, span), _shares(counts, threads))),
            axis=0,
        )
        largest_impact = view("max_impact", 0, n_terms)
        largest_impact[:] = np.where(made.frequency > 0, impact_of[largest], 0)
        for lo, hi in _tail_ranges(tail_start, memory):
            _invert_tails(made, forward, view, lo, hi, tail_start, impact_of, pool, threads)
            done(int(tail_start[hi] - tail_start[lo]))
        for lo, hi in _head_ranges(made, row_base, memory):
            _invert_heads(made, forward, view, lo, hi, row_base, impact_of, pool)
            done(int(row_base[hi] - row_base[lo]))


def _largest(forward: Forward, n_terms: int, span: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """The largest weight of every term in a range of documents, as float16 bits."""
    largest = np.zeros(n_terms, np.uint16)
    for first, last in ranges(*span):
        a, b = int(forward.starts[first]), int(forward.starts[last])
        largest_bits(forward.terms[a:b], forward.bits[a:b], largest)
        forward.forget(first, last)
    return largest


def _invert_tails(
    made: Plan,
    forward: Forward,
    view: View,
    lo: int,
    hi: int,
    tail_start: npt.NDArray[np.uint32],
    impact_of: npt.NDArray[np.uint8],
    pool: ThreadPoolExecutor,
    threads: int,
) -> None:
    """The lists of the tail terms among lo..hi-1; `pool` shares out documents, so that every list
    is ascending: each thread appends where the documents before its own end.
    """
    spans = _shares(made.counts, threads)
    place = np.full(made.counts.n_terms, -1, np.int32)
    chosen = lo + np.flatnonzero(made.rank[lo:hi] < 0)
    place[chosen] = np.arange(len(chosen), dtype=np.int32)
    begin = tail_start[chosen].astype(np.int64) - int(tail_start[lo])

    def count(span: tuple[int, int]) -> npt.NDArray[np.int64]:
        counted = np.zeros(len(chosen), np.int64)
        for first, last in ranges(*span):
            count_tails(forward.starts, forward.terms, place, counted, first, last)
            forward.forget(first, last)
        return counted

    # The last share's counts are not needed: nothing follows it.
    before = [begin, *pool.map(count, spans[:-1])]
    tail_doc = view("tail_doc", int(tail_start[lo]), int(tail_start[hi]))
    tail_impact = view("tail_impact", int(tail_start[lo]), int(tail_start[hi]))

    def scatter(share: int) -> None:
        tail_next = np.sum(before[: share + 1], axis=0)
        for first, last in ranges(*spans[share]):
            scatter_tails(
                forward.starts, forward.terms, forward.bits, impact_of, place, tail_next, tail_doc,
                tail_impact, first, last,
            )  # fmt: skip
            forward.forget(first, last)

    for _ in pool.map(scatter, range(len(spans))):
        pass


def _invert_heads(
    made: Plan,
    forward: Forward,
    view: View,
    lo: int,
    hi: int,
    row_base: npt.NDArray[np.uint64],
    impact_of: npt.NDArray[np.uint8],
    pool: ThreadPoolExecutor,
) -> None:
    """Rows, directory and grid of the heads lo..hi-1; `pool` shares out pages, then heads."""
    counts = made.counts
    n_pages, n_groups, line = counts.n_pages, counts.n_groups, counts.stride // 2
    n = hi - lo
    rank = np.where((made.rank >= lo) & (made.rank < hi), made.rank - lo, -1).astype(np.int32)
    base = row_base[lo : hi + 1] - row_base[lo]
    row_dir = view("row_dir", lo * n_pages, hi * n_pages).reshape(n, n_pages)
    row_group = view("row_group", lo * (n_groups + 1), hi * (n_groups + 1)).reshape(n, n_groups + 1)
    rows = view("rows", 2 * int(row_base[lo]), 2 * int(row_base[hi]))
    pages = list(ranges(0, counts.n_docs))
    heads = [(a, min(a + 32, n)) for a in range(0, n, 32)]

    def count(span: tuple[int, int]) -> None:
        count_rows(forward.starts, forward.terms, rank, row_dir, *span)
        forward.forget(*span)

    def scatter(span: tuple[int, int]) -> None:
        scatter_rows(
            forward.starts, forward.terms, forward.bits, impact_of, rank, base, row_group, row_dir,
            rows, *span,
        )  # fmt: skip
        forward.forget(*span)

    def locate(span: tuple[int, int]) -> None:
        counts_to_starts(row_dir[slice(*span)], row_group[slice(*span)])

    for work, spans in ((count, pages), (locate, heads), (scatter, pages)):
        for _ in pool.map(work, spans):
            pass
    if Flag.GRID not in counts.flags:
        return
    codebook = view("codebook", lo * CODES, hi * CODES).reshape(n, CODES)
    cells = view("grid", lo * line, hi * line).reshape(n, line)

    def bound(span: tuple[int, int]) -> None:
        a, b = span
        pack_grid(base[a : b + 1], row_group[a:b], row_dir[a:b], rows, codebook[a:b], cells[a:b])

    for _ in pool.map(bound, heads):
        pass


def _head_ranges(
    made: Plan, row_base: npt.NDArray[np.uint64], memory: int | None
) -> Iterator[tuple[int, int]]:
    """Ranges of heads whose sections fit `memory` bytes; at least one head each."""
    counts = made.counts
    if memory is None:
        if counts.n_heads:
            yield 0, counts.n_heads
        return
    fixed = 2 * counts.n_pages + 4 * (counts.n_groups + 1) + counts.stride // 2 + CODES
    ends = np.arange(1, counts.n_heads + 1) * fixed + 2 * row_base[1:].astype(np.int64)
    lo = 0
    while lo < counts.n_heads:
        spent = int(ends[lo - 1]) if lo else 0
        hi = max(lo + 1, int(np.searchsorted(ends, spent + memory, side="right")))
        yield lo, hi
        lo = hi


def _tail_ranges(
    tail_start: npt.NDArray[np.uint32], memory: int | None
) -> Iterator[tuple[int, int]]:
    """Ranges of terms whose plain lists fit `memory` bytes; at least one term each."""
    n_terms = len(tail_start) - 1
    lo = 0
    while lo < n_terms:
        hi = n_terms
        if memory is not None:
            end = int(tail_start[lo]) + memory // 5
            hi = max(lo + 1, int(np.searchsorted(tail_start, end, side="right")) - 1)
        yield lo, hi
        lo = hi


def ranges(first: int, last: int, size: int = _PAGES_A_TASK * PAGE) -> Iterator[tuple[int, int]]:
    """first..last in pieces of `size` documents, whole pages."""
    for begin in range(first, last, size):
        yield begin, min(begin + size, last)


def _shares(counts: Counts, threads: int) -> list[tuple[int, int]]:
    """The documents in as many equal ranges as threads."""
    ends = [counts.n_docs * i // threads for i in range(threads + 1)]
    return list(pairwise(ends))
