"""From one canonical csr_array to the arrays of a segment: the place to try pruning and ordering.

Two passes over the postings (count, scatter) and no sort: documents are visited in order, so every
row and every tail list comes out ascending. The loops are in `kernels.py`. Peak memory is about the
input, one byte of impact a posting and the output.

What the arrays mean is told in FORMAT.md. A *head* term (in at least 1/384 of the documents, and in
64) has rows and grid cells; any other term is a plain list, because a line of the grid and of the
row directory would cost more bytes than its postings.
"""

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lsr.errors import VectorError
from lsr.types import SparseMatrix

from . import _core
from .kernels import (
    count_rows,
    counts_to_starts,
    document_frequency,
    gather,
    heaviest_terms,
    pack_grid,
    scatter,
)
from .layout import CODES, Array, Counts, Flag
from .quantize import halves, impacts_of_halves

HEAD_SHARE = 384
"""A line of grid and directory costs a term 3 n_docs / 128 bytes, a posting in a plain list 5. At 512
an index has 4 to 5 % more bytes and no query is faster; at 256 it has 5 % less and queries take 5 %
longer (measured)."""
HEAD_MINIMUM = 64
GRID_MINIMUM = 8192
"""Below this many documents no search uses the grid (`search.hpp`), so none is built."""
REORDER_MINIMUM = 20_000
"""Below this many documents searches read all rows (`search.hpp`), whatever their order."""
ORDER_TERMS = 16
"""8 terms cost 9 % of query time, 32 gain nothing (measured)."""


@dataclass(frozen=True, slots=True)
class Postings:
    """The searchable half of a segment: its counts and the arrays named as in `layout.SECTIONS`.

    Position p holds row order[p] of the input.
    """

    counts: Counts
    arrays: dict[str, Array]
    order: npt.NDArray[np.uint32]


def build_arrays(
    vectors: SparseMatrix,
    docids: npt.NDArray[np.uint32],
    *,
    scale: float,
    groups: npt.NDArray[np.uint32] | None = None,
    keep_vectors: bool = True,
    grid: bool | None = None,
    reorder: bool | None = None,
) -> Postings:
    """Invert `vectors` (canonical, row i belongs to docids[i]).

    `grid` and `reorder` (put similar documents side by side) follow the size where they are None.
    Raises `VectorError` when a segment cannot number so much.
    """
    n_docs, n_terms = (int(n) for n in vectors.shape)
    if n_docs >= 2**31 or n_terms >= 2**32 - 1:
        raise VectorError(
            f"a segment numbers fewer than 2^31 documents and 2^32 - 1 terms, got {n_docs} x "
            f"{n_terms}; build several segments"
        )
    with_grid = grid if grid is not None else n_docs >= GRID_MINIMUM
    wide_terms = n_terms > 2**16
    starts = vectors.indptr.astype(np.int64, copy=False)
    terms = vectors.indices.astype(np.uint32 if wide_terms else np.uint16)
    weights = halves(vectors.data)
    order = np.arange(n_docs, dtype=np.uint32)
    if reorder if reorder is not None else n_docs >= REORDER_MINIMUM:
        order = similar_together(starts, terms, weights, n_terms)
        starts, terms, weights = _permuted(starts, terms, weights, order)
    impacts, n_saturated = impacts_of_halves(weights, scale)

    frequency = document_frequency(terms, n_terms)
    is_head = (frequency >= HEAD_MINIMUM) & (frequency * HEAD_SHARE >= n_docs)
    heads = np.flatnonzero(is_head)
    n_heads = len(heads)
    n_tail_postings = int(frequency[~is_head].sum())
    if n_tail_postings >= 2**32:
        raise VectorError(
            f"a segment numbers fewer than 2^32 postings of rare terms, got {n_tail_postings}; "
            "build several segments"
        )
    flags = Flag(0)
    flags |= Flag.GRID if with_grid else Flag(0)
    flags |= Flag.WIDE_RANK if n_heads >= 0xFFFF else Flag(0)
    flags |= Flag.GROUPS if groups is not None else Flag(0)
    flags |= Flag.FORWARD if keep_vectors else Flag(0)
    flags |= Flag.WIDE_TERMS if wide_terms else Flag(0)
    counts = Counts(
        flags, n_docs, n_terms, n_heads, len(terms), n_tail_postings, n_saturated, scale
    )

    rank = np.full(n_terms, -1, np.int32)
    rank[heads] = np.arange(n_heads, dtype=np.int32)
    row_base = np.zeros(n_heads + 1, np.uint64)
    np.cumsum(frequency[heads], out=row_base[1:])
    tail_start = np.zeros(n_terms + 1, np.uint32)
    np.cumsum(np.where(is_head, 0, frequency), out=tail_start[1:])

    row_dir = np.zeros((n_heads, counts.n_pages), np.uint16)
    row_group = np.zeros((n_heads, counts.n_groups + 1), np.uint32)
    rows = np.empty(2 * (len(terms) - n_tail_postings), np.uint8)
    tail_doc = np.empty(n_tail_postings, np.uint32)
    tail_impact = np.empty(n_tail_postings, np.uint8)
    max_impact = np.zeros(n_terms, np.uint8)
    count_rows(starts, terms, rank, row_dir)
    counts_to_starts(row_dir, row_group)
    scatter(
        starts, terms, impacts, rank, row_base, row_group, row_dir, rows,
        tail_start[:-1].copy(), tail_doc, tail_impact, max_impact,
    )  # fmt: skip

    arrays: dict[str, Array] = {
        "head_rank": rank.astype(np.uint32 if Flag.WIDE_RANK in flags else np.uint16),
        "max_impact": max_impact,
    }
    if with_grid:
        codebook = np.zeros((n_heads, CODES), np.uint8)
        cells = np.zeros((n_heads, counts.stride // 2), np.uint8)
        pack_grid(row_base, row_group, row_dir, rows, codebook, cells)
        arrays |= {"codebook": codebook.reshape(-1), "grid": cells.reshape(-1)}
    arrays |= {
        "row_group": row_group.reshape(-1),
        "row_dir": row_dir.reshape(-1),
        "row_base": row_base,
        "rows": rows,
        "tail_start": tail_start,
        "tail_doc": tail_doc,
        "tail_impact": tail_impact,
        "external": docids[order],
    }
    if groups is not None:
        arrays["group"] = groups[order]
    if keep_vectors:
        arrays |= {
            "forward_start": starts.astype(np.uint64),
            "forward_term": terms,
            "forward_weight": weights,
        }
    return Postings(counts, arrays, order)


def similar_together(
    starts: npt.NDArray[np.int64], terms: Array, weights: npt.NDArray[np.float16], n_terms: int
) -> npt.NDArray[np.uint32]:
    """The document order of `bisection.hpp` on each document's 16 heaviest terms."""
    first, heaviest = heaviest_terms(starts, terms, weights.view(np.uint16), ORDER_TERMS)
    return _core.order_documents(first, heaviest, n_terms, os.cpu_count() or 1)


def _permuted(
    starts: npt.NDArray[np.int64],
    terms: Array,
    weights: npt.NDArray[np.float16],
    order: npt.NDArray[np.uint32],
) -> tuple[npt.NDArray[np.int64], Array, npt.NDArray[np.float16]]:
    """The rows in another order."""
    new_starts = np.zeros_like(starts)
    np.cumsum(np.diff(starts)[order], out=new_starts[1:])
    new_terms, bits = np.empty_like(terms), np.empty(len(weights), np.uint16)
    gather(starts, terms, weights.view(np.uint16), order, new_starts, new_terms, bits)
    return new_starts, new_terms, bits.view(np.float16)
