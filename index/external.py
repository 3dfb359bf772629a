"""One segment from many, however large, within bounded memory: how merges and big builds end.

The vectors of the sources are mapped, never loaded. Documents are put in their final order in the
new file first; then rows, directories and grids are filled from there, a range of heads at a time,
each range small enough for the memory given. The result has the same bytes as a segment built from
all vectors at once.

Memory: `memory` bounds what is written between two looks at the vectors, and some 150 bytes a
document come on top (docids, order, the 16 terms the order is made of). Mapped files do not count:
the kernel drops their pages when it needs the room.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core, blobs
from .builder import ORDER_TERMS, REORDER_MINIMUM, Forward, invert, plan
from .columns import Column
from .kernels import add_frequency, gather, gather_bytes, heaviest_terms
from .layout import Array
from .live import positions_in
from .quantize import first_saturated
from .segment_writer import SegmentFile, SegmentStats
from .snapshot import View

_CHUNK = 32_768
"""Documents gathered at a time: some 16 MB of vectors."""


@dataclass(frozen=True, slots=True)
class _Sources:
    """The live documents of several segments by ascending docid: row r is document place[r] of
    source[r].
    """

    views: tuple[View, ...]
    forwards: tuple[Forward, ...]
    docids: npt.NDArray[np.uint32]
    source: npt.NDArray[np.uint32]
    place: npt.NDArray[np.int64]

    @classmethod
    def of(cls, views: Sequence[View]) -> "_Sources":
        kept = [positions_in(view.live, view.segment.n_docs) for view in views]
        docids = np.concatenate(
            [view.segment.docids[keep] for view, keep in zip(views, kept, strict=True)]
        )
        source = np.repeat(np.arange(len(views), dtype=np.uint32), [len(keep) for keep in kept])
        order = np.argsort(docids, kind="stable")
        return cls(
            tuple(views),
            tuple(view.segment.forward() for view in views),
            docids[order],
            source[order],
            np.concatenate(kept)[order],
        )

    def lengths(self) -> npt.NDArray[np.int64]:
        """Postings of each row."""
        lengths = np.zeros(len(self.docids), np.int64)
        for i, forward in enumerate(self.forwards):
            here = self.source == i
            places = self.place[here]
            starts = forward.starts.astype(np.int64, copy=False)
            lengths[here] = starts[places + 1] - starts[places]
        return lengths

    def vectors(self, rows: npt.NDArray[Any], lengths: npt.NDArray[np.int64]) -> Forward:
        """The vectors of `rows`, side by side in memory; `lengths` are theirs."""
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=starts[1:])
        terms = np.empty(starts[-1], self.forwards[0].terms.dtype)
        bits = np.empty(starts[-1], np.uint16)
        source, place = self.source[rows], self.place[rows]
        for i, forward in enumerate(self.forwards):
            here = np.flatnonzero(source == i)
            if len(here):
                gather(
                    forward.starts, forward.terms, forward.bits, place[here], starts[here], terms,
                    bits,
                )  # fmt: skip
        return Forward(starts, terms, bits)


def merge_segments(
    path: Path,
    views: Sequence[View],
    *,
    scale: float,
    memory: int,
    reorder: bool | None = None,
    threads: int | None = None,
    done: Callable[[int], None] = lambda postings: None,
) -> SegmentStats | None:
    """Write the live documents of `views` as one segment at `path`; None when there are none.

    `reorder` as in `write_segment`. `done` is told of postings as they are finished, twice each:
    put in order, then inverted. Raises `IndexCorrupt` for a damaged source: rewriting would give
    flipped bits a fresh checksum, and nobody would ever find them.
    """
    threads = threads or os.cpu_count() or 1
    for view in views:
        view.segment.verify_checksums()
    sources = _Sources.of(views)
    n_docs = len(sources.docids)
    if not n_docs:
        return None
    n_terms = views[0].segment.n_terms
    lengths = sources.lengths()
    order = np.arange(n_docs, dtype=np.uint32)
    if reorder if reorder is not None else n_docs >= REORDER_MINIMUM:
        order = _core.order_documents(*_heaviest(sources, lengths), n_terms, threads)
    frequency, n_saturated = _counted(sources, lengths, n_terms, scale)
    has_groups = any(view.segment.groups is not None for view in views)
    made = plan(
        frequency,
        n_docs,
        scale=scale,
        n_saturated=n_saturated,
        grid=None,
        groups=has_groups,
        keep_vectors=True,
    )
    columns = blobs.pack_columns(_columns(sources, order))
    id_starts = _id_starts(sources, order)
    with SegmentFile(
        path,
        made.counts,
        {"ids": 8 * (n_docs + 1) + int(id_starts[-1]), "columns": len(columns)},
    ) as file:
        file.view("columns", 0, len(columns))[:] = columns
        file.view("external", 0, n_docs)[:] = sources.docids[order]
        if has_groups:
            file.view("group", 0, n_docs)[:] = _groups(sources)[order]
        _write_ids(file, sources, order, id_starts)
        forward = _write_vectors(file, sources, order, lengths, threads, done)
        invert(made, forward, file.view, threads=threads, memory=memory, done=done)
        return file.finish()


def _heaviest(
    sources: _Sources, lengths: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
    """(starts, terms) of the heaviest terms of every row."""
    starts = np.zeros(len(lengths) + 1, np.uint64)
    np.cumsum(np.minimum(lengths, ORDER_TERMS), out=starts[1:])
    terms = np.empty(int(starts[-1]), np.uint32)
    for first in range(0, len(lengths), _CHUNK):
        last = min(first + _CHUNK, len(lengths))
        vectors = sources.vectors(np.arange(first, last), lengths[first:last])
        _, chosen = heaviest_terms(vectors.starts, vectors.terms, vectors.bits, ORDER_TERMS)
        terms[int(starts[first]) : int(starts[last])] = chosen
    return starts, terms


def _counted(
    sources: _Sources, lengths: npt.NDArray[np.int64], n_terms: int, scale: float
) -> tuple[npt.NDArray[np.int64], int]:
    """Documents of every term, and how many weights saturate."""
    frequency = np.zeros(n_terms, np.int64)
    n_saturated = 0
    limit = first_saturated(scale)
    for first in range(0, len(lengths), _CHUNK):
        last = min(first + _CHUNK, len(lengths))
        vectors = sources.vectors(np.arange(first, last), lengths[first:last])
        add_frequency(vectors.terms, frequency)
        n_saturated += int(np.count_nonzero(vectors.bits >= limit))
    return frequency, n_saturated


def _write_vectors(
    file: SegmentFile,
    sources: _Sources,
    order: npt.NDArray[np.uint32],
    lengths: npt.NDArray[np.int64],
    threads: int,
    done: Callable[[int], None],
) -> Forward:
    """The forward sections, in the final order; they are what the inversion then reads."""
    ordered = lengths[order]
    starts = np.zeros(len(order) + 1, np.int64)
    np.cumsum(ordered, out=starts[1:])
    file.view("forward_start", 0, len(starts))[:] = starts

    def write(first: int) -> int:
        last = min(first + _CHUNK, len(order))
        vectors = sources.vectors(order[first:last], ordered[first:last])
        a, b = int(starts[first]), int(starts[last])
        file.view("forward_term", a, b)[:] = vectors.terms
        file.view("forward_weight", a, b).view(np.uint16)[:] = vectors.bits
        return b - a

    with ThreadPoolExecutor(threads) as pool:
        for n in pool.map(write, range(0, len(order), _CHUNK)):
            done(n)
    total = int(starts[-1])
    return Forward(
        starts,
        file.view("forward_term", 0, total),
        file.view("forward_weight", 0, total).view(np.uint16),
    )


def _id_starts(sources: _Sources, order: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Where each id begins among the bytes of the new section, and where they end."""
    lengths = np.zeros(len(order), np.int64)
    for i, view in enumerate(sources.views):
        here = sources.source == i
        starts, _ = view.segment.id_bytes()
        places = sources.place[here]
        lengths[here] = (starts[places + 1] - starts[places]).astype(np.int64)
    out = np.zeros(len(order) + 1, np.int64)
    np.cumsum(lengths[order], out=out[1:])
    return out


def _write_ids(
    file: SegmentFile,
    sources: _Sources,
    order: npt.NDArray[np.uint32],
    id_starts: npt.NDArray[np.int64],
) -> None:
    head = id_starts.astype("<u8").view(np.uint8)
    file.view("ids", 0, len(head))[:] = head
    out: Array = file.view("ids", len(head), len(head) + int(id_starts[-1]))
    source, place = sources.source[order], sources.place[order]
    for i, view in enumerate(sources.views):
        here = np.flatnonzero(source == i)
        starts, content = view.segment.id_bytes()
        gather_bytes(starts.astype(np.int64), content, place[here], id_starts[here], out)


def _groups(sources: _Sources) -> npt.NDArray[np.uint32]:
    groups = sources.docids.copy()
    for i, view in enumerate(sources.views):
        if view.segment.groups is not None:
            here = sources.source == i
            groups[here] = view.segment.groups[sources.place[here]]
    return groups


def _columns(sources: _Sources, order: npt.NDArray[np.uint32]) -> dict[str, Column]:
    """Every filter column over all rows: the union of the values, the codes translated to it."""
    merged = {}
    for name, first in sources.views[0].segment.columns.items():
        parts = [view.segment.column(name) for view in sources.views]
        values = np.array(
            sorted({value for part in parts for value in part.values.tolist()}),
            dtype=first.values.dtype,
        )
        codes = np.full(len(order), -1, np.int32)
        for i, part in enumerate(parts):
            translated = np.append(np.searchsorted(values, part.values), -1).astype(np.int32)
            here = sources.source == i
            codes[here] = translated[part.codes[sources.place[here]]]
        used = np.unique(codes[codes >= 0])
        renumbered = np.append(np.full(len(values), -1), -1).astype(np.int32)
        renumbered[used] = np.arange(len(used), dtype=np.int32)
        merged[name] = Column(first.kind, values[used], renumbered[codes][order])
    return merged
