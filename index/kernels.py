"""The compiled loops of the builder and of `verify`: count, scatter, bound, gather, transpose.

numba, typed by its arguments, compiled at the first call and cached on disk. Arrays are those of
FORMAT.md, per head as lines of a matrix; callers prove shapes and types.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

from .layout import BLOCK, CODES, GROUP_PAGES, PAGE

_MAX_DISTINCT = 64
_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Compile with numba, caching on disk where some cache directory is writable."""
    try:
        return cast(_F, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # no locator: a read-only installation without a home directory
        return cast(_F, numba.njit(nogil=True)(function))


@compiled
def gather(
    starts: Any, terms: Any, bits: Any, rows: Any, new_starts: Any, new_terms: Any, new_bits: Any
) -> None:
    """Copy row rows[i] to the place that begins at new_starts[i]."""
    for i in range(len(rows)):
        at = new_starts[i]
        for source in range(starts[rows[i]], starts[rows[i] + 1]):
            new_terms[at] = terms[source]
            new_bits[at] = bits[source]
            at += 1


@compiled
def gather_bytes(starts: Any, source: Any, rows: Any, new_starts: Any, out: Any) -> None:
    """Copy the bytes of string rows[i] to the place that begins at new_starts[i]."""
    for i in range(len(rows)):
        at = new_starts[i]
        for j in range(starts[rows[i]], starts[rows[i] + 1]):
            out[at] = source[j]
            at += 1


@compiled
def heaviest_terms(starts: Any, terms: Any, bits: Any, unused: int, out: Any) -> None:
    """The heaviest terms of every row into the lines of `out`, filled up with `unused`; float16
    bits order like the weights.
    """
    n = out.shape[1]
    best = np.zeros(n, np.int64)  # postings of this row, heaviest first
    for doc in range(out.shape[0]):
        kept = 0
        for i in range(starts[doc], starts[doc + 1]):
            if kept == n and bits[i] <= bits[best[n - 1]]:
                continue
            if kept < n:
                kept += 1
            j = kept - 1
            while j > 0 and bits[best[j - 1]] < bits[i]:
                best[j] = best[j - 1]
                j -= 1
            best[j] = i
        for j in range(kept):
            out[doc, j] = terms[best[j]]
        for j in range(kept, n):
            out[doc, j] = unused


@compiled
def survey(
    starts: Any,
    terms: Any,
    bits: Any,
    value_of: Any,
    kept_of: Any,
    frequency: Any,
    histogram: Any,
) -> Any:
    """Count postings by term and by float16 bits; the sum over the rows of what quantisation does
    to their norms, |norm of kept_of / norm of value_of - 1|, at most 1 each, in units of 2^-32.

    Whole units, so that the sum does not depend on the order of the rows.
    """
    total: Any = 0
    for doc in range(len(starts) - 1):
        before = 0.0
        after = 0.0
        for i in range(starts[doc], starts[doc + 1]):
            frequency[terms[i]] += 1
            histogram[bits[i]] += 1
            before += value_of[bits[i]] * value_of[bits[i]]
            after += kept_of[bits[i]] * kept_of[bits[i]]
        if before > 0.0:
            total += np.int64(min(1.0, abs(np.sqrt(after / before) - 1.0)) * 2.0**32)
    return total


@compiled
def count_tails(starts: Any, terms: Any, place: Any, count: Any, first: int, last: int) -> None:
    """Postings of every term with place[term] >= 0 in the documents first..last-1."""
    for doc in range(first, last):
        for i in range(starts[doc], starts[doc + 1]):
            if place[terms[i]] >= 0:
                count[place[terms[i]]] += 1


@compiled
def count_rows(starts: Any, terms: Any, rank: Any, row_dir: Any, first: int, last: int) -> None:
    """Postings of every (head, page) in the documents first..last-1; at most 256, so u16 holds
    them. Terms with a rank below 0 are passed over.
    """
    for doc in range(first, last):
        page = doc // PAGE
        for i in range(starts[doc], starts[doc + 1]):
            head = rank[terms[i]]
            if head >= 0:
                row_dir[head, page] += 1


@compiled
def counts_to_starts(row_dir: Any, row_group: Any) -> None:
    """Turn counts into the start of each row in its group, and of each group in its term."""
    for head in range(row_dir.shape[0]):
        start = 0
        inside = 0
        for page in range(row_dir.shape[1]):
            if page % GROUP_PAGES == 0:
                start += inside
                inside = 0
                row_group[head, page // GROUP_PAGES] = start
            n = row_dir[head, page]
            row_dir[head, page] = inside
            inside += n
        row_group[head, row_group.shape[1] - 1] = start + inside


@compiled
def row_bounds(
    head: int, page: int, row_base: Any, row_group: Any, row_dir: Any
) -> tuple[Any, Any]:
    """First posting of a row, counted in `rows`, and how many there are."""
    group = page // GROUP_PAGES
    begin = row_group[head, group] + row_dir[head, page]
    if page % GROUP_PAGES == GROUP_PAGES - 1 or page + 1 == row_dir.shape[1]:
        end = row_group[head, group + 1]
    else:
        end = row_group[head, group] + row_dir[head, page + 1]
    return np.int64(row_base[head]) + np.int64(begin), np.int64(end) - np.int64(begin)


@compiled
def scatter_rows(
    starts: Any,
    terms: Any,
    bits: Any,
    impact_of: Any,
    rank: Any,
    row_base: Any,
    row_group: Any,
    row_dir: Any,
    rows: Any,
    first: int,
    last: int,
) -> None:
    """Put the postings of heads in the documents first..last-1 in their rows: slots, impacts.

    `first` begins a page. Threads may take different pages: no two write the same byte.
    """
    n_heads = row_dir.shape[0]
    filled = np.zeros(n_heads, np.int64)
    slots = np.zeros(n_heads, np.int64)  # where this page's row begins, looked up once
    length = np.zeros(n_heads, np.int64)
    for doc in range(first, last):
        page = doc // PAGE
        if doc % PAGE == 0:
            filled[:] = 0
        for i in range(starts[doc], starts[doc + 1]):
            head = rank[terms[i]]
            if head >= 0:
                if filled[head] == 0:
                    begin, length[head] = row_bounds(head, page, row_base, row_group, row_dir)
                    slots[head] = 2 * begin
                at = slots[head] + filled[head]
                rows[at] = doc % PAGE
                rows[at + length[head]] = impact_of[bits[i]]
                filled[head] += 1


@compiled
def scatter_tails(
    starts: Any,
    terms: Any,
    bits: Any,
    impact_of: Any,
    place: Any,
    tail_next: Any,
    tail_doc: Any,
    tail_impact: Any,
    first: int,
    last: int,
) -> None:
    """Append the postings of terms with place[term] >= 0 in the documents first..last-1, each to
    the list whose next posting is tail_next[place].
    """
    for doc in range(first, last):
        for i in range(starts[doc], starts[doc + 1]):
            list_ = place[terms[i]]
            if list_ >= 0:
                at = tail_next[list_]
                tail_doc[at] = doc
                tail_impact[at] = impact_of[bits[i]]
                tail_next[list_] = at + 1


@compiled
def largest_bits(terms: Any, bits: Any, largest: Any) -> None:
    """The largest weight of every term as float16 bits, which order like the weights."""
    for i in range(len(terms)):
        if bits[i] > largest[terms[i]]:
            largest[terms[i]] = bits[i]


@compiled
def pack_grid(
    row_base: Any, row_group: Any, row_dir: Any, rows: Any, codebook: Any, cells: Any
) -> None:
    """The code of every head and, per block, the least entry that bounds the block's impacts.

    Byte j of 32 holds block j in its low and block j + 32 in its high four bits.
    """
    n_heads, n_pages = row_dir.shape
    maxima = np.zeros(cells.shape[1] * 2, np.uint8)
    count = np.zeros(256, np.int64)
    cell_of = np.zeros(256, np.uint8)
    for head in range(n_heads):
        maxima[:] = 0
        for page in range(n_pages):
            begin, n = row_bounds(head, page, row_base, row_group, row_dir)
            for i in range(2 * begin, 2 * begin + n):
                block = page * (PAGE // BLOCK) + rows[i] // BLOCK
                maxima[block] = max(maxima[block], rows[i + n])
        count[:] = 0
        for value in maxima:
            count[value] += 1
        ceil_code(count, codebook[head])
        cell = 0
        for value in range(256):
            while cell < CODES - 1 and codebook[head, cell] < value:
                cell += 1
            cell_of[value] = cell
        for byte in range(cells.shape[1]):
            low = byte // 32 * 64 + byte % 32
            cells[head, byte] = cell_of[maxima[low]] | cell_of[maxima[low + 32]] << 4


@compiled
def ceil_code(count: Any, code: Any) -> None:
    """The 15 values above 0 that round the block maxima up with the least total excess.

    `count[v]` blocks have the maximum v. Exact dynamic programme over the distinct maxima
    (Bellman's segmentation): best[l][j] = least excess when the first j values use l entries. More
    than 64 distinct values are first merged to 64 neighbours. `code[0]` stays 0; spare entries
    repeat the largest.
    """
    value = np.zeros(255, np.int64)
    weight = np.zeros(255, np.int64)
    n = 0
    for v in range(1, 256):
        if count[v]:
            value[n] = v
            weight[n] = count[v]
            n += 1
    if n == 0:
        return
    if n > _MAX_DISTINCT:
        merged = 0
        for bin_ in range(_MAX_DISTINCT):
            first = bin_ * n // _MAX_DISTINCT
            last = (bin_ + 1) * n // _MAX_DISTINCT
            total = 0
            for i in range(first, last):
                total += weight[i]
            value[merged] = value[last - 1]
            weight[merged] = total
            merged += 1
        n = merged
    levels = min(CODES - 1, n)
    infinity = np.int64(1) << 60
    best = np.full((levels + 1, n + 1), infinity)
    cut = np.zeros((levels + 1, n + 1), np.int64)
    best[0, 0] = 0
    for level in range(1, levels + 1):
        for j in range(level, n + 1):
            # Values i..j-1 share the entry value[j-1]; i walks down, adding one value's excess.
            excess = np.int64(0)
            for i in range(j - 1, level - 2, -1):
                excess += weight[i] * (value[j - 1] - value[i])
                if best[level - 1, i] + excess < best[level, j]:
                    best[level, j] = best[level - 1, i] + excess
                    cut[level, j] = i
    j = n
    for level in range(levels, 0, -1):
        code[level] = value[j - 1]
        j = cut[level, j]
    for level in range(levels + 1, CODES):
        code[level] = code[levels]


@compiled
def transpose(
    wanted: Any,
    head_rank: Any,
    tail: int,
    row_base: Any,
    row_group: Any,
    row_dir: Any,
    rows: Any,
    tail_start: Any,
    tail_doc: Any,
    tail_impact: Any,
) -> tuple[Any, Any, Any]:
    """Documents back from postings: (starts, terms, impacts) of positions with wanted[position].

    `tail` is the rank that marks a tail term. For segments without forward vectors. Damaged rows
    and positions are passed over, as the searches do: nothing here checks bounds for us.
    """
    n_docs = len(wanted)
    n_pages = row_dir.shape[1]
    live_page = np.zeros(n_pages, np.uint8)
    starts = np.zeros(n_docs + 1, np.int64)
    for position in range(n_docs):
        if wanted[position]:
            live_page[position // PAGE] = 1
    terms = np.zeros(0, np.uint32)
    impacts = np.zeros(0, np.uint8)
    for fill in range(2):
        if fill:
            total = 0
            for position in range(n_docs):
                n = starts[position]
                starts[position] = total
                total += n
            starts[n_docs] = total
            terms = np.zeros(total, np.uint32)
            impacts = np.zeros(total, np.uint8)
        for term in range(len(head_rank)):
            head = head_rank[term]
            if head == tail:
                for i in range(tail_start[term], tail_start[term + 1]):
                    position = tail_doc[i]
                    if position < n_docs and wanted[position]:
                        if fill:
                            terms[starts[position]] = term
                            impacts[starts[position]] = tail_impact[i]
                        starts[position] += 1
            else:
                for page in range(n_pages):
                    if not live_page[page]:
                        continue
                    begin, n = row_bounds(head, page, row_base, row_group, row_dir)
                    if not 0 <= n <= PAGE or begin < 0 or 2 * (begin + n) > len(rows):
                        continue
                    for i in range(2 * begin, 2 * begin + n):
                        position = page * PAGE + rows[i]
                        if position < n_docs and wanted[position]:
                            if fill:
                                terms[starts[position]] = term
                                impacts[starts[position]] = rows[i + n]
                            starts[position] += 1
    # Filling moved every start to its end, that is, to the start of the next document.
    for position in range(n_docs - 1, -1, -1):
        starts[position + 1] = starts[position]
    starts[0] = 0
    return starts, terms, impacts
