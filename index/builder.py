"""From document vectors to the posting sections of a segment: the place to try ordering and layout.

`plan` decides from document frequencies how long every section is; `invert` fills sections that
somebody allocated, in memory or in a mapped file, a range of heads at a time where memory is short.
Two passes over the postings (count, scatter) and no sort: documents are visited in order, so every
row and every tail list comes out ascending. The loops are in `kernels.py`.

What the arrays mean is told in FORMAT.md. A *head* term (in at least 1/384 of the documents, and in
64) has rows and grid cells; any other term is a plain list, because a line of the grid and of the
row directory would cost more bytes than its postings.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lsr.errors import VectorError
from lsr.types import SparseMatrix

from .effort import Effort
from .kernels import (
    count_rows,
    count_tails,
    counts_to_starts,
    gather,
    largest_bits,
    pack_grid,
    scatter_rows,
    scatter_tails,
    survey,
)
from .layout import CODES, GRID_MINIMUM, PAGE, REORDER_MINIMUM, SECTIONS, Array, Counts, Flag
from .ordering import ordered
from .quantize import halves, impact_table
from .rounding import Rounding, rounded_table, weight_table
from .stored_vectors import Forward

HEAD_SHARE = 384
"""A line of grid and directory costs a term 3 n_docs / 128 bytes, a posting in a plain list 5. At
512 an index has 4 to 5 % more bytes and no query is faster; at 256 it has 5 % less and queries take
5 % longer (measured)."""
HEAD_MINIMUM = 64
POSTING_SECTIONS = tuple(section for section in SECTIONS if section.number <= 11)
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


@dataclass(frozen=True, slots=True)
class Postings:
    """The arrays of a segment named as in `layout.SECTIONS`, without ids and columns.

    Position p holds row order[p] of the input.
    """

    counts: Counts
    arrays: dict[str, Array]
    order: npt.NDArray[np.uint32]
    rounding: Rounding


def build_arrays(
    vectors: SparseMatrix,
    docids: npt.NDArray[np.uint32],
    *,
    scale: float,
    groups: npt.NDArray[np.uint32] | None = None,
    keep_vectors: bool = True,
    grid: bool | None = None,
    reorder: bool | None = None,
    effort: Effort | None = None,
) -> Postings:
    """Invert `vectors` (canonical, row i belongs to docids[i]) in memory.

    `grid` and `reorder` (put similar documents side by side) follow the size where they are None.
    Raises `VectorError` when a segment cannot number so much.
    """
    effort = effort or Effort()
    threads = effort.n_threads
    n_docs, n_terms = (int(n) for n in vectors.shape)
    forward = Forward(
        vectors.indptr.astype(np.int64, copy=False),
        vectors.indices.astype(term_type(n_terms)),
        halves(vectors.data).view(np.uint16),
    )
    order = np.arange(n_docs, dtype=np.uint32)
    if reorder if reorder is not None else n_docs >= REORDER_MINIMUM:
        order = ordered(forward.part, n_docs, n_terms, effort)
        forward = _permuted(forward, order, threads)
    frequency, rounding = surveyed(forward.part, n_docs, n_terms, scale=scale, threads=threads)
    made = plan(
        frequency,
        n_docs,
        scale=scale,
        n_saturated=rounding.n_saturated,
        grid=grid,
        groups=groups is not None,
        keep_vectors=keep_vectors,
    )
    arrays: dict[str, Array] = {
        section.name: np.zeros(section.count(made.counts), section.dtype_of(made.counts))
        for section in POSTING_SECTIONS
        if section.count is not None and section.present(made.counts)
    }
    invert(made, forward, lambda name, first, last: arrays[name][first:last], threads=threads)
    arrays["external"] = docids[order]
    if groups is not None:
        arrays["group"] = groups[order]
    if keep_vectors:
        arrays |= {
            "forward_start": forward.starts.astype(np.uint64),
            "forward_term": forward.terms,
            "forward_weight": forward.bits.view(np.float16),
        }
    return Postings(made.counts, arrays, order, rounding)


def surveyed(
    rows: Callable[[int, int], Forward],
    n_docs: int,
    n_terms: int,
    *,
    scale: float,
    threads: int,
    size: int = 16_384,
) -> tuple[npt.NDArray[np.int64], Rounding]:
    """Documents of every term, and what quantisation does; `rows(a, b)` are the vectors a..b-1, of
    which each thread asks for `size` at a time.
    """
    weights, rounded = weight_table(), rounded_table(scale)

    def count(thread: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
        frequency, histogram = np.zeros(n_terms, np.int64), np.zeros(65536, np.int64)
        norm_units = 0
        for first in range(thread * size, n_docs, threads * size):
            part = rows(first, min(first + size, n_docs))
            norm_units += survey(
                part.starts, part.terms, part.bits, weights, rounded, frequency, histogram
            )
        return frequency, histogram, norm_units

    with ThreadPoolExecutor(threads) as pool:
        counted = list(pool.map(count, range(threads)))
    frequency = np.sum([one[0] for one in counted], axis=0)
    histogram = np.sum([one[1] for one in counted], axis=0)
    norm_units = sum(one[2] for one in counted)
    return frequency, Rounding.of(histogram, norm_units, n_docs, scale)


def plan(
    frequency: npt.NDArray[np.int64],
    n_docs: int,
    *,
    scale: float,
    n_saturated: int,
    grid: bool | None,
    groups: bool,
    keep_vectors: bool,
) -> Plan:
    """Decide heads and section lengths. Raises `VectorError` for more than a segment can number."""
    n_terms = len(frequency)
    if n_docs >= 2**31 or n_terms >= 2**32 - 1:
        raise VectorError(
            f"a segment numbers fewer than 2^31 documents and 2^32 - 1 terms, got {n_docs} x "
            f"{n_terms}; build several segments"
        )
    is_head = (frequency >= HEAD_MINIMUM) & (frequency * HEAD_SHARE >= n_docs)
    heads = np.flatnonzero(is_head)
    n_tail_postings = int(frequency[~is_head].sum())
    if n_tail_postings >= 2**32:
        raise VectorError(
            f"a segment numbers fewer than 2^32 postings of rare terms, got {n_tail_postings}; "
            "build several segments"
        )
    rank = np.full(n_terms, -1, np.int32)
    rank[heads] = np.arange(len(heads), dtype=np.int32)
    flags = Flag(0)
    flags |= Flag.GRID if (grid if grid is not None else n_docs >= GRID_MINIMUM) else Flag(0)
    flags |= Flag.WIDE_RANK if len(heads) >= 0xFFFF else Flag(0)
    flags |= Flag.GROUPS if groups else Flag(0)
    flags |= Flag.FORWARD if keep_vectors else Flag(0)
    flags |= Flag.WIDE_TERMS if term_type(n_terms) is np.uint32 else Flag(0)
    n_postings = int(frequency.sum())
    counts = Counts(
        flags, n_docs, n_terms, len(heads), n_postings, n_tail_postings, n_saturated, scale
    )
    return Plan(counts, heads, rank, frequency)


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
    for first, last in _ranges(*span):
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
        for first, last in _ranges(*span):
            count_tails(forward.starts, forward.terms, place, counted, first, last)
            forward.forget(first, last)
        return counted

    # The last share's counts are not needed: nothing follows it.
    before = [begin, *pool.map(count, spans[:-1])]
    tail_doc = view("tail_doc", int(tail_start[lo]), int(tail_start[hi]))
    tail_impact = view("tail_impact", int(tail_start[lo]), int(tail_start[hi]))

    def scatter(share: int) -> None:
        tail_next = np.sum(before[: share + 1], axis=0)
        for first, last in _ranges(*spans[share]):
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
    pages = list(_ranges(0, counts.n_docs))
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


def _ranges(first: int, last: int, size: int = _PAGES_A_TASK * PAGE) -> Iterator[tuple[int, int]]:
    for begin in range(first, last, size):
        yield begin, min(begin + size, last)


def _shares(counts: Counts, threads: int) -> list[tuple[int, int]]:
    """The documents in as many equal ranges as threads."""
    ends = [counts.n_docs * i // threads for i in range(threads + 1)]
    return list(pairwise(ends))


def term_type(n_terms: int) -> type[np.uint16] | type[np.uint32]:
    """The narrowest type that numbers the terms of a vocabulary."""
    return np.uint32 if n_terms > 2**16 else np.uint16


def _permuted(forward: Forward, order: npt.NDArray[np.uint32], threads: int) -> Forward:
    """The rows in another order."""
    starts = np.zeros_like(forward.starts)
    np.cumsum(np.diff(forward.starts)[order], out=starts[1:])
    terms, bits = np.empty_like(forward.terms), np.empty_like(forward.bits)

    def copy(span: tuple[int, int]) -> None:
        rows = slice(*span)
        gather(*_parts(forward), order[rows], starts[rows], terms, bits)

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(copy, _ranges(0, forward.n_docs)):
            pass
    return Forward(starts, terms, bits)


def _parts(forward: Forward) -> tuple[Array, Array, Array]:
    return forward.starts, forward.terms, forward.bits
