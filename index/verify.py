"""Every byte and every invariant of a segment: what `lsr check` and the background scrub run.

The checksums find damage. The invariants find a writer that was wrong, above all a block bound
below one of its impacts, which would silently lose results.
"""

import mmap
from collections.abc import Mapping
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from .blobs import Corrupt
from .kernels import compiled, row_bounds
from .layout import BLOCK, CODES, PAGE, Array, Counts, Flag, Header, padded
from .mapped import forget
from .quantize import impacts_of_halves

_CHUNK = 1 << 24


def verify_file(
    mapped: mmap.mmap, header: Header, corrupt: Corrupt, *, forgetful: bool = False
) -> None:
    """Checksum of every section, zeros between them.

    `forgetful` lets go of each chunk, so that a large file stays out of this process's memory.
    """
    raw = np.frombuffer(mapped, np.uint8)
    for entry in header.entries:
        end = entry.offset + entry.length
        crc = 0
        for at in range(entry.offset, end, _CHUNK):
            chunk = raw[at : min(at + _CHUNK, end)]
            crc = google_crc32c.extend(crc, chunk)
            if forgetful:
                forget(chunk)
        if crc != entry.crc:
            raise corrupt(entry.section.name, "its checksum does not match its bytes")
        if raw[end : entry.offset + padded(entry.length)].any():
            raise corrupt(entry.section.name, "the padding after it is not zero")


def verify_postings(counts: Counts, arrays: Mapping[str, Array], corrupt: Corrupt) -> None:
    """Rows, tails, maxima, bounds and forward vectors agree with one another."""
    named: Mapping[str, npt.NDArray[Any]] = arrays
    rank = named["head_rank"]
    tail = int(np.iinfo(rank.dtype).max)
    heads = rank[rank != tail]
    if not np.array_equal(heads, np.arange(counts.n_heads)):
        raise corrupt("head_rank", f"must number the {counts.n_heads} heads in term order")
    lines = (counts.n_heads, -1) if counts.n_heads else (0, 0)
    largest = np.zeros(counts.n_terms, np.uint8)
    frequency = np.zeros(counts.n_docs, np.int64)
    grid = Flag.GRID in counts.flags
    codebook = named["codebook"].reshape(lines) if grid else np.zeros((0, CODES), np.uint8)
    cells = named["grid"].reshape(lines) if grid else np.zeros((0, 0), np.uint8)
    wrong_term, what = _check_rows(
        counts.n_docs,
        rank,
        tail,
        named["row_base"],
        named["row_group"].reshape(lines),
        named["row_dir"].reshape(lines),
        named["rows"],
        grid,
        codebook,
        cells,
        largest,
        frequency,
    )
    if wrong_term >= 0:
        section, text = _ROW_FAULTS[what]
        raise corrupt(section, f"term {wrong_term}: {text}")
    wrong_term = _check_tails(
        rank, tail, named["tail_start"], named["tail_doc"], named["tail_impact"], largest, frequency
    )
    if wrong_term >= 0:
        raise corrupt(
            "tail_doc", f"term {wrong_term}: not ascending positions with impacts above 0"
        )
    if not np.array_equal(largest, named["max_impact"]):
        term = int(np.flatnonzero(largest != named["max_impact"])[0])
        raise corrupt(
            "max_impact",
            f"term {term} has {named['max_impact'][term]}, its largest is {largest[term]}",
        )
    if Flag.FORWARD in counts.flags:
        _check_forward(counts, named, frequency, corrupt)


_ROW_FAULTS = {
    1: ("row_dir", "the rows do not follow one another"),
    2: ("rows", "slots are not ascending positions of this segment with impacts above 0"),
    3: ("grid", "a cell bounds less than an impact of its block"),
    4: ("codebook", "does not begin with 0 or decreases"),
}


@compiled
def _check_rows(
    n_docs: int,
    rank: Any,
    tail: int,
    row_base: Any,
    row_group: Any,
    row_dir: Any,
    rows: Any,
    grid: bool,
    codebook: Any,
    cells: Any,
    largest: Any,
    frequency: Any,
) -> tuple[int, int]:
    """(-1, 0), or the first term at fault and the fault's number."""
    n_pages = row_dir.shape[1]
    for term in range(len(rank)):
        head = rank[term]
        if head == tail:
            continue
        if grid:
            if codebook[head, 0] != 0:
                return term, 4
            for c in range(1, CODES):
                if codebook[head, c] < codebook[head, c - 1]:
                    return term, 4
        expected: Any = np.int64(row_base[head])
        for page in range(n_pages):
            begin, n = row_bounds(head, page, row_base, row_group, row_dir)
            if begin != expected or n < 0 or n > PAGE:
                return term, 1
            expected = begin + n
            if 2 * expected > len(rows):
                return term, 1
            previous: Any = np.int64(-1)
            for i in range(2 * begin, 2 * begin + n):
                slot = np.int64(rows[i])
                impact = rows[i + n]
                if slot <= previous or page * PAGE + slot >= n_docs or impact == 0:
                    return term, 2
                previous = slot
                largest[term] = max(largest[term], impact)
                frequency[page * PAGE + slot] += 1
                if grid:
                    block = page * (PAGE // BLOCK) + slot // BLOCK
                    cell = np.int64(cells[head, block // 64 * 32 + block % 32])
                    cell = cell >> 4 if block % 64 >= 32 else cell & 15
                    if codebook[head, cell] < impact:
                        return term, 3
        if expected != np.int64(row_base[head + 1]):
            return term, 1
    return -1, 0


@compiled
def _check_tails(
    rank: Any,
    tail: int,
    tail_start: Any,
    tail_doc: Any,
    tail_impact: Any,
    largest: Any,
    frequency: Any,
) -> int:
    """-1, or the first term whose tail is wrong."""
    n_docs = len(frequency)
    for term in range(len(rank)):
        first = np.int64(tail_start[term])
        last = np.int64(tail_start[term + 1])
        if rank[term] != tail and first != last:
            return term
        previous: Any = np.int64(-1)
        for i in range(first, last):
            position = np.int64(tail_doc[i])
            if position <= previous or position >= n_docs or tail_impact[i] == 0:
                return term
            previous = position
            largest[term] = max(largest[term], tail_impact[i])
            frequency[position] += 1
    return -1


def _check_forward(
    counts: Counts,
    named: Mapping[str, npt.NDArray[Any]],
    frequency: npt.NDArray[np.int64],
    corrupt: Corrupt,
) -> None:
    starts = named["forward_start"].astype(np.int64)
    if not np.array_equal(np.diff(starts), frequency):
        raise corrupt("forward_start", "a document has another number of terms than postings")
    terms, weights = named["forward_term"], named["forward_weight"]
    inside = np.ones(max(len(terms) - 1, 0), bool)
    breaks = starts[1:-1]
    inside[breaks[(breaks > 0) & (breaks < len(terms))] - 1] = False
    if bool(np.any(inside & (terms[1:] <= terms[:-1]))):
        raise corrupt("forward_term", "terms of a document must increase")
    if len(terms) and int(terms.max()) >= counts.n_terms:
        raise corrupt("forward_term", f"a term is not below {counts.n_terms}")
    if not bool(np.all((weights > 0) & np.isfinite(weights))):
        raise corrupt("forward_weight", "a weight is not positive and finite")
    largest = np.zeros(counts.n_terms, np.uint8)
    impacts, n_saturated = impacts_of_halves(np.ascontiguousarray(weights), counts.scale)
    np.maximum.at(largest, terms, impacts)
    if not np.array_equal(largest, named["max_impact"]) or n_saturated != counts.n_saturated:
        raise corrupt("forward_weight", "the vectors do not quantise to the postings")
