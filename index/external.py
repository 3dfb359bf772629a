"""One segment from many, however large, within bounded memory: how merges and big builds end.

The vectors of the sources are mapped, never loaded. Documents are put in their final order in the
new file first; then rows, directories and grids are filled from there, a range of heads at a time,
each range small enough for the memory given. The result has the same bytes as a segment built from
all vectors at once.

Memory: five eighths of `memory` for what is written between two looks at the vectors and for
vectors on their way to their place, and some 40 bytes a document. While documents are ordered, up
to 225 bytes a document and no more than three quarters of `memory`: with less, fewer of their terms
count. Where the sources are larger than a quarter of `memory`, pages of mapped files are given back
once they were read.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import blobs
from .builder import plan, surveyed
from .columns import Column
from .cut_kernels import gather_kept, kept_lengths
from .cuts import Cuts, find_cuts
from .effort import Effort
from .inversion import invert
from .kernels import gather, gather_bytes
from .layout import BLOCK, REORDER_MINIMUM, Array
from .live import positions_in
from .mapped import forget, trim
from .ordering import affordable, ordered
from .segment_writer import SegmentFile, SegmentStats
from .snapshot import View
from .stored_vectors import Forward

_CHUNK_POSTINGS = 4_000_000
"""Gathered at a time at most: 16 MB of vectors."""
_STRIDE_POSTINGS = 1_000_000
"""Passed over in a source before its pages are given back."""


@dataclass(frozen=True, slots=True)
class _Sources:
    """The live documents of several segments by ascending docid: row r is document place[r] of
    source[r]. `small` says that mapped pages must not pile up.
    """

    views: tuple[View, ...]
    forwards: tuple[Forward, ...]
    docids: npt.NDArray[np.uint32]
    source: npt.NDArray[np.uint16]
    place: npt.NDArray[np.uint32]
    small: bool
    cuts: Cuts | None = None

    @classmethod
    def of(cls, views: Sequence[View], memory: int) -> "_Sources":
        kept = [positions_in(view.live, view.segment.n_docs) for view in views]
        docids = np.concatenate(
            [view.segment.docids[keep] for view, keep in zip(views, kept, strict=True)]
        )
        source = np.repeat(np.arange(len(views), dtype=np.uint16), [len(keep) for keep in kept])
        place = np.concatenate(kept).astype(np.uint32)
        order = np.argsort(docids, kind="stable")
        return cls(
            tuple(views),
            tuple(view.segment.forward() for view in views),
            docids[order],
            source[order],
            place[order],
            sum(view.segment.n_bytes for view in views) > memory // 4,
        )

    @property
    def n_docs(self) -> int:
        return len(self.docids)

    def lengths(self) -> npt.NDArray[np.uint32]:
        """Postings of each row."""
        lengths = np.zeros(self.n_docs, np.uint32)
        for i, forward in enumerate(self.forwards):
            here = np.flatnonzero(self.source == i)
            places = self.place[here].astype(np.int64)
            if self.cuts is None:
                lengths[here] = forward.starts[places + 1] - forward.starts[places]
                continue
            out = np.zeros(len(here), np.int64)
            for part in self._strides(forward, places):
                kept_lengths(
                    forward.starts, forward.terms, forward.bits, places[part],
                    self.docids[here[part]], self.cuts.bits, self.cuts.docids, out[part],
                )  # fmt: skip
            lengths[here] = out
        return lengths

    def vectors(self, rows: npt.NDArray[Any], lengths: npt.NDArray[np.uint32]) -> Forward:
        """The vectors of `rows`, side by side in memory; `lengths` are theirs."""
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=starts[1:])
        terms = np.empty(starts[-1], self.forwards[0].terms.dtype)
        bits = np.empty(starts[-1], np.uint16)
        source, place = self.source[rows], self.place[rows]
        for i, forward in enumerate(self.forwards):
            here = np.flatnonzero(source == i)
            here = here[np.argsort(place[here])]  # read each source from its front to its end
            places = place[here].astype(np.int64)
            for part in self._strides(forward, places):
                to = here[part]
                read = (forward.starts, forward.terms, forward.bits, places[part])
                if self.cuts is None:
                    gather(*read, starts[to], terms, bits)
                else:
                    docids = self.docids[rows[to]]
                    gather_kept(
                        *read, docids, self.cuts.bits, self.cuts.docids, starts[to], terms, bits
                    )
        return Forward(starts, terms, bits)

    def _strides(self, forward: Forward, places: npt.NDArray[np.int64]) -> Iterator[slice]:
        """Slices of ascending `places`; each time the next is asked for, what the last one read is
        given back.
        """
        if not len(places):
            return
        if not self.small:
            yield slice(0, len(places))
            return
        passed = forward.starts[places].astype(np.int64) // _STRIDE_POSTINGS
        ends = np.append(np.flatnonzero(passed[1:] != passed[:-1]) + 1, len(places))
        begin = 0
        for end in ends.tolist():
            yield slice(begin, end)
            forward.forget(int(places[begin]), int(places[end - 1]) + 1)
            begin = end


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge wrote: `n_ordered` leading documents were put in order together; `cuts` are
    those it pruned lists by.
    """

    stats: SegmentStats
    n_ordered: int
    cuts: Cuts | None


def merge_segments(
    path: Path,
    views: Sequence[View],
    *,
    scale: float,
    memory: int,
    reorder: bool | None = None,
    first: View | None = None,
    cuts: Cuts | None = None,
    prune_postings: float | None = None,
    effort: Effort | None = None,
) -> Merged | None:
    """Write the live documents of `views` as one segment at `path`; None when there are none.

    `reorder` as in `write_segment`; without it the documents of `first` come first, in their order,
    and the others follow, in order among themselves. Lists are pruned by `cuts`, or by those that
    `prune_postings` finds. `effort.merged` is told of postings, twice each: put in order, then
    inverted. Raises `IndexCorrupt` for a damaged source: rewriting would give flipped bits a fresh
    checksum, and nobody would ever find them.
    """
    effort = replace(effort or Effort(), memory=memory // 4 * 3)
    threads = effort.n_threads
    for view in views:
        view.segment.verify_checksums()
        view.segment.forget()
    sources = _Sources.of(views, memory)
    n_docs = sources.n_docs
    if not n_docs:
        return None
    n_terms = views[0].segment.n_terms
    lengths = sources.lengths()
    chunk = _chunk(lengths, memory, threads)
    if cuts is None and prune_postings is not None:
        rows = partial(_rows, sources, lengths)
        frequency, _ = surveyed(rows, n_docs, n_terms, scale=scale, threads=threads, size=chunk)
        cuts = find_cuts(
            rows, sources.docids, frequency, prune_postings, chunk=chunk, memory=memory // 2
        )
    if cuts is not None:
        sources = replace(sources, cuts=cuts)
        lengths = sources.lengths()
    rows = partial(_rows, sources, lengths)
    wanted = reorder if reorder is not None else n_docs >= REORDER_MINIMUM
    in_order = wanted and affordable(n_docs, n_terms, effort)[0] > 0
    if in_order:
        order = ordered(rows, n_docs, n_terms, effort, size=chunk)
        trim()
    else:
        order, n_first = _one_first(sources, first)
        if 0 < n_first < n_docs:
            rest = order[n_first:]

            def appended(a: int, b: int) -> Forward:
                return sources.vectors(rest[a:b], lengths[rest[a:b]])

            among = ordered(appended, len(rest), n_terms, effort, size=chunk)
            # The last rows fill up the block that the first source ends in: the others then lie in
            # whole blocks, as they were divided.
            order[n_first:] = rest[np.roll(among, -n_first % BLOCK)]
    frequency, rounding = surveyed(rows, n_docs, n_terms, scale=scale, threads=threads, size=chunk)
    has_groups = any(view.segment.groups is not None for view in views)
    made = plan(
        frequency,
        n_docs,
        scale=scale,
        n_saturated=rounding.n_saturated,
        grid=None,
        groups=has_groups,
        keep_vectors=True,
    )
    counted = _Counted(2 * made.counts.n_postings, effort.merged)
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
        del columns, id_starts
        forward = _write_vectors(file, sources, order, lengths, chunk, threads, counted.done)
        invert(made, forward, file.view, threads=threads, memory=memory // 2, done=counted.done)
        return Merged(file.finish(rounding), n_docs if in_order else 0, cuts)


class _Counted:
    """Adds up finished postings for a listener."""

    def __init__(self, total: int, merged: Callable[[int, int], None] | None) -> None:
        self._total = total
        self._merged = merged
        self._n_done = 0

    def done(self, postings: int) -> None:
        self._n_done += postings
        if self._merged is not None:
            self._merged(self._n_done, self._total)


def _rows(sources: _Sources, lengths: npt.NDArray[np.uint32], first: int, last: int) -> Forward:
    return sources.vectors(np.arange(first, last), lengths[first:last])


def _chunk(lengths: npt.NDArray[np.uint32], memory: int, threads: int) -> int:
    """Documents to gather at a time, so that the threads' vectors take an eighth of the memory."""
    postings = min(_CHUNK_POSTINGS, memory // (8 * 4 * threads))
    return int(max(64, postings // max(1.0, float(lengths.mean()))))


def _one_first(sources: _Sources, first: View | None) -> tuple[npt.NDArray[np.uint32], int]:
    """Rows by docid, but those of `first` in front, in the order they have there; how many."""
    order = np.arange(sources.n_docs, dtype=np.uint32)
    chosen = next((i for i, view in enumerate(sources.views) if view is first), None)
    if chosen is None:
        return order, 0
    is_first = sources.source == chosen
    front = order[is_first]
    front = front[np.argsort(sources.place[is_first])]
    return np.concatenate([front, order[~is_first]]), len(front)


def _write_vectors(
    file: SegmentFile,
    sources: _Sources,
    order: npt.NDArray[np.uint32],
    lengths: npt.NDArray[np.uint32],
    chunk: int,
    threads: int,
    done: Callable[[int], None],
) -> Forward:
    """The forward sections, in the final order; they are what the inversion then reads."""
    ordered_lengths = lengths[order]
    starts: Array = file.view("forward_start", 0, len(order) + 1)
    np.cumsum(ordered_lengths, out=starts[1:])

    def write(first: int) -> int:
        last = min(first + chunk, len(order))
        vectors = sources.vectors(order[first:last], ordered_lengths[first:last])
        a, b = int(starts[first]), int(starts[last])
        file.view("forward_term", a, b)[:] = vectors.terms
        file.view("forward_weight", a, b).view(np.uint16)[:] = vectors.bits
        return b - a

    with ThreadPoolExecutor(threads) as pool:
        for n in pool.map(write, range(0, len(order), chunk)):
            done(n)
    total = int(starts[-1])
    return Forward(
        starts.view(np.int64),
        file.view("forward_term", 0, total),
        file.view("forward_weight", 0, total).view(np.uint16),
        sources.small,
    )


def _id_starts(sources: _Sources, order: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Where each id begins among the bytes of the new section, and where they end."""
    lengths = np.zeros(len(order), np.int64)
    for i, view in enumerate(sources.views):
        here = sources.source == i
        starts, _ = view.segment.id_bytes()
        places = sources.place[here].astype(np.int64)
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
        gather_bytes(starts.view(np.int64), content, place[here], id_starts[here], out)
        forget(content)
        forget(starts)


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
