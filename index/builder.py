"""From document vectors to the posting sections of a segment: the place to try ordering and layout.

`plan` decides from document frequencies how long every section is; `invert` (inversion.py) fills
sections that somebody allocated, in memory or in a mapped file.

What the arrays mean is told in FORMAT.md. A *head* term (in at least 1/384 of the documents, and in
64) has rows and grid cells; any other term is a plain list, because a line of the grid and of the
row directory would cost more bytes than its postings.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lsr.errors import VectorError
from lsr.types import SparseMatrix

from .effort import Effort
from .inversion import Plan, invert, ranges
from .kernels import gather, survey
from .layout import GRID_MINIMUM, REORDER_MINIMUM, SECTIONS, Array, Counts, Flag
from .ordering import ordered
from .quantize import halves
from .rounding import Rounding, rounded_table, weight_table
from .stored_vectors import Forward

HEAD_SHARE = 384
"""A line of grid and directory costs a term 3 n_docs / 128 bytes, a posting in a plain list 5. At
512 an index has 4 to 5 % more bytes and no query is faster; at 256 it has 5 % less and queries take
5 % longer (measured)."""
HEAD_MINIMUM = 64
POSTING_SECTIONS = tuple(section for section in SECTIONS if section.number <= 11)


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
    threads = max(1, min(threads, -(-n_docs // size)))  # no more than there are parts to count

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
        for _ in pool.map(copy, ranges(0, forward.n_docs)):
            pass
    return Forward(starts, terms, bits)


def _parts(forward: Forward) -> tuple[Array, Array, Array]:
    return forward.starts, forward.terms, forward.bits
