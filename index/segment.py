"""Segments: immutable, checksummed files of postings, ids, filter columns and forward vectors.

`write_segment` makes one, `Segment.open` maps one; `engine.py` searches several at once. A position
(0..n_docs-1) is private to its segment; docids and the caller's ids are what leaves it. Deletes and
filters live outside (`live.py`).
"""

import mmap
import os
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from lsr.errors import IndexCorrupt, QueryError, UsageError
from lsr.types import SparseMatrix

from . import _core, blobs
from .columns import Column
from .layout import (
    GRID_MINIMUM,
    HEADER_BYTES,
    SEARCH_SECTIONS,
    Array,
    Counts,
    Flag,
    Header,
    decode_header,
    remedy,
)
from .live import Live, WordsCache, count, unpack
from .mapped import forget
from .quantize import halves, impact_table, impacts_of_halves
from .segment_writer import SegmentStats, assemble, write_segment

if TYPE_CHECKING:
    from .stored_vectors import Forward

__all__ = ["Segment", "SegmentStats", "write_segment"]


class Segment:
    """A segment that can be searched; a context manager. `open` or `in_memory` makes one.

    `docids` is (n_docs,) u32, position -> docid; `groups` likewise, or None. `n_bytes` is the
    length of the file or of the arrays.
    """

    def __init__(
        self,
        counts: Counts,
        arrays: dict[str, Array],
        *,
        path: Path | None,
        n_bytes: int,
        header: Header | None = None,
        mapped: mmap.mmap | None = None,
    ) -> None:
        self.counts = counts
        self.path = path
        self.n_docs = counts.n_docs
        self.n_terms = counts.n_terms
        self.n_postings = counts.n_postings
        self.n_saturated = counts.n_saturated
        self.scale = counts.scale
        self.n_bytes = n_bytes
        self._arrays = arrays
        self._header = header
        self._mapped = mapped
        self.docids: npt.NDArray[np.uint32] = arrays["external"].view(np.uint32)
        self.groups: npt.NDArray[np.uint32] | None = (
            arrays["group"].view(np.uint32) if "group" in arrays else None
        )
        # A function, not a method: a bound method would keep the map alive in a cycle.
        self._corrupt = partial(_corrupt, path)
        self._ids = blobs.Strings(self._named("ids"), self.n_docs, self._corrupt)
        if "forward_start" in arrays:
            _check_starts(arrays["forward_start"], self.n_postings, self._corrupt)
        self._view: _core.SegmentView | None = self._make_view()
        self.masks = WordsCache()
        """Which documents pass a filter (filtering.py)."""

    @classmethod
    def open(cls, path: Path) -> "Segment":
        """Map a file after checking its header, lengths and directories; `verify` checks the rest.

        Raises `IndexCorrupt` naming the section, `IndexVersion`, or the `OSError` of a missing
        file.
        """
        path = Path(path)
        with path.open("rb") as file:
            n_bytes = os.fstat(file.fileno()).st_size
            if n_bytes < HEADER_BYTES:
                decode_header(file.read(), path=path, n_bytes=n_bytes)
            mapped = mmap.mmap(file.fileno(), n_bytes, access=mmap.ACCESS_READ)
        header = decode_header(mapped[:HEADER_BYTES], path=path, n_bytes=n_bytes)
        arrays: dict[str, Array] = {}
        for entry in header.entries:
            dtype = entry.section.dtype_of(header.counts)
            arrays[entry.section.name] = np.frombuffer(
                mapped, dtype, entry.length // dtype.itemsize, entry.offset
            )
        return cls(header.counts, arrays, path=path, n_bytes=n_bytes, header=header, mapped=mapped)

    @classmethod
    def in_memory(
        cls,
        vectors: SparseMatrix,
        docids: npt.NDArray[np.uint32],
        doc_ids: Sequence[str],
        *,
        scale: float,
        groups: npt.NDArray[np.uint32] | None = None,
        columns: Mapping[str, Column] | None = None,
        keep_vectors: bool = True,
        grid: bool | None = None,
        reorder: bool | None = None,
    ) -> "Segment":
        """Build a segment that never touches a disk, from the arguments of `write_segment`."""
        made = assemble(
            vectors,
            docids,
            doc_ids,
            scale=scale,
            groups=groups,
            columns=columns,
            keep_vectors=keep_vectors,
            grid=grid,
            reorder=reorder,
        )
        n_bytes = sum(array.nbytes for array in made.arrays.values())
        return cls(made.counts, made.arrays, path=None, n_bytes=n_bytes)

    def close(self) -> None:
        """Forget the arrays; the map goes with the last array that somebody still holds."""
        self._view = None
        self._arrays = {}
        self._mapped = None

    def __enter__(self) -> "Segment":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def view(self) -> _core.SegmentView:
        """The core's view of this segment. Raises `UsageError` after `close`."""
        if self._view is None:
            raise UsageError(f"{self.path or 'this segment'} is closed; open it again")
        return self._view

    @property
    def search_bytes(self) -> int:
        """Bytes of the sections that a search reads: all but ids, columns and stored vectors."""
        return sum(a.nbytes for name, a in self._arrays.items() if name in SEARCH_SECTIONS)

    @property
    def vector_bytes(self) -> int:
        """Bytes of the stored float16 vectors."""
        return sum(a.nbytes for name, a in self._arrays.items() if name.startswith("forward_"))

    @property
    def is_run(self) -> bool:
        """Whether this is a part of a build that waits to be merged: without grid despite its
        size.
        """
        return Flag.GRID not in self.counts.flags and self.n_docs >= GRID_MINIMUM

    @property
    def has_vectors(self) -> bool:
        """Whether the float16 forward vectors are stored."""
        return Flag.FORWARD in self.counts.flags

    def doc_id(self, position: int) -> str:
        """The caller's id of the document at a position."""
        if not 0 <= position < self.n_docs:
            raise UsageError(f"position {position} of a segment of {self.n_docs} documents")
        return self._ids.take(np.array([position]))[0]

    def doc_ids(self, positions: npt.NDArray[np.integer] | None = None) -> list[str]:
        """The ids at `positions` (all by default); far cheaper than asking one by one."""
        return self._ids.take(np.arange(self.n_docs) if positions is None else positions)

    @cached_property
    def _order(self) -> npt.NDArray[np.int64] | None:
        """Positions by ascending docid, or None when they are in that order already."""
        if bool(np.all(self.docids[1:] > self.docids[:-1])):
            return None
        return np.argsort(self.docids, kind="stable")

    @cached_property
    def _table(self) -> tuple[int, npt.NDArray[np.int32]] | None:
        """(first docid, the position of each docid from there on, or -1); None where docids lie too
        far apart for it. A binary search misses the cache at every step: 62 us for ten hits of
        200,000 documents, against 7.
        """
        if not self.n_docs:
            return None
        first, last = int(self.docids.min()), int(self.docids.max())
        if last - first >= 4 * self.n_docs + 1024:
            return None
        table = np.full(last - first + 1, -1, np.int32)
        table[self.docids - np.uint32(first)] = np.arange(self.n_docs, dtype=np.int32)
        return first, table

    @cached_property
    def _group_numbers(self) -> tuple[int, npt.NDArray[np.uint32]]:
        """How many groups there are, and the number of each position's."""
        assert self.groups is not None
        distinct, numbers = np.unique(self.groups, return_inverse=True)
        return len(distinct), numbers.astype(np.uint32)

    def n_groups_in(self, words: Live | None) -> int:
        """How many documents the live positions belong to: passages of one count once."""
        if self.groups is None:
            return count(words, self.n_docs)
        n_groups, numbers = self._group_numbers
        if words is None:
            return n_groups
        seen = np.zeros(n_groups, np.bool_)
        seen[numbers[unpack(words, self.n_docs)]] = True
        return int(np.count_nonzero(seen))

    def positions_of(self, docids: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """The position of each docid, -1 for one that is not here."""
        wanted = np.asarray(docids)
        if self.n_docs == 0:
            return np.full(wanted.shape, -1, np.int64)
        if self._table is not None:
            first, table = self._table
            at = wanted.astype(np.int64) - first
            inside = (at >= 0) & (at < len(table))
            return np.where(inside, table[np.where(inside, at, 0)], -1).astype(np.int64)
        at = np.searchsorted(self.docids, wanted, sorter=self._order).astype(np.int64)
        at = np.minimum(at, self.n_docs - 1)
        positions = at if self._order is None else self._order[at]
        return np.where(self.docids[positions] == wanted, positions, -1)

    def vectors(self, positions: npt.NDArray[np.integer] | None = None) -> SparseMatrix:
        """The document vectors at `positions` (all by default), (len(positions), n_terms) float32.

        From the stored float16 vectors, or, where there are none, impacts x scale.
        """
        chosen = np.arange(self.n_docs) if positions is None else np.asarray(positions, np.int64)
        starts, terms, weights = self._forward(chosen)
        matrix = sparse.csr_array(
            (weights.astype(np.float32), terms.astype(np.int64), starts),
            shape=(len(chosen), self.n_terms),
        )
        return matrix

    def impacts_of(self, position: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]:
        """The terms (ascending) and impacts of one document, as the searches add them."""
        if not 0 <= position < self.n_docs:
            raise UsageError(f"position {position} of a segment of {self.n_docs} documents")
        _, terms, impacts = self.impacts(np.array([position]))
        return terms, impacts

    def max_impacts(self) -> npt.NDArray[np.uint8]:
        """(n_terms,) the largest impact of each term, 0 where no document has it."""
        return self._named("max_impact")

    def impacts(
        self, positions: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32], npt.NDArray[np.uint8]]:
        """(starts, terms, impacts) of the rows at `positions`, as the searches add them."""
        if self.has_vectors:
            starts, terms, halves = self._stored(positions)
            return starts, terms.astype(np.uint32), impacts_of_halves(halves, self.scale)[0]
        return self._transposed(positions)

    def document_frequencies(self) -> npt.NDArray[np.int64]:
        """(n_terms,) in how many stored documents each term weighs something, deleted ones too."""
        return np.bincount(self.forward().terms, minlength=self.n_terms)

    def forward(self) -> "Forward":
        """All document vectors in place; made of the postings where none are stored."""
        from .builder import term_type
        from .stored_vectors import Forward

        if self.has_vectors:
            start, terms = self._named("forward_start"), self._named("forward_term")
            return Forward(start, terms, self._named("forward_weight").view(np.uint16))
        starts, terms, impacts = self._transposed(np.arange(self.n_docs))
        weights = halves(impacts.astype(np.float32) * np.float32(self.scale))
        return Forward(starts, terms.astype(term_type(self.n_terms)), weights.view(np.uint16))

    def forget(self) -> None:
        """Take the file's pages out of this process; the next look at it maps them again."""
        for array in self._arrays.values():
            forget(array)

    def id_bytes(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
        """(n_docs + 1,) offsets of the ids, and their UTF-8."""
        return self._ids.raw()

    def _forward(self, positions: npt.NDArray[np.int64]) -> tuple[Any, Any, Any]:
        if self.has_vectors:
            return self._stored(positions)
        starts, terms, impacts = self._transposed(positions)
        return starts, terms, impacts.astype(np.float32) * np.float32(self.scale)

    def _stored(self, positions: npt.NDArray[np.int64]) -> tuple[Any, Any, Any]:
        """(starts, terms, float16 weights) of the rows at `positions`, as they are stored."""
        starts = self._named("forward_start").astype(np.int64, copy=False)
        terms, weights = self._named("forward_term"), self._named("forward_weight")
        if len(positions) != self.n_docs or bool(np.any(positions != np.arange(self.n_docs))):
            lengths = starts[positions + 1] - starts[positions]
            first, starts = starts[positions], np.concatenate([[0], np.cumsum(lengths)])
            rows = np.repeat(first - starts[:-1], lengths) + np.arange(starts[-1])
            terms, weights = terms[rows], weights[rows]
        # scipy and numba index by these without looking.
        if len(terms) and int(terms.max()) >= self.n_terms:
            raise self._corrupt("forward_term", f"a term is not below {self.n_terms}")
        return starts, terms, weights

    def _transposed(self, positions: npt.NDArray[np.int64]) -> tuple[Any, Any, Any]:
        """(starts, terms, impacts) of the rows at `positions`, found by walking the postings."""
        from .kernels import transpose

        wanted = np.zeros(self.n_docs, np.uint8)
        wanted[positions] = 1
        counts, rank = self.counts, self._named("head_rank")
        tail = int(np.iinfo(rank.dtype).max)
        lines = (counts.n_heads, -1) if counts.n_heads else (0, 0)
        start, terms, impacts = transpose(
            wanted,
            rank,
            tail,
            self._named("row_base"),
            self._named("row_group").reshape(lines),
            self._named("row_dir").reshape(lines),
            self._named("rows"),
            self._named("tail_start"),
            self._named("tail_doc"),
            self._named("tail_impact"),
        )
        lengths = start[positions + 1] - start[positions]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.repeat(start[positions] - starts[:-1], lengths) + np.arange(starts[-1])
        return starts, terms[rows], impacts[rows]

    @cached_property
    def columns(self) -> dict[str, Column]:
        """Every filter column by name."""
        return blobs.unpack_columns(self._named("columns"), self.n_docs, self._corrupt)

    def column(self, name: str) -> Column:
        """A filter column. Raises `QueryError` naming the ones there are."""
        if name not in self.columns:
            known = ", ".join(sorted(self.columns)) or "none"
            raise QueryError(f"no filter field {name!r} in this segment; it has: {known}")
        return self.columns[name]

    def raw_sections(self) -> dict[str, tuple[npt.NDArray[Any], int]]:
        """The numbers and the stored checksum of every section of a file, unverified."""
        if self._header is None:
            return {}
        return {
            entry.section.name: (self._named(entry.section.name), entry.crc)
            for entry in self._header.entries
        }

    def verify_checksums(self, *, forgetful: bool = False) -> None:
        """Check that every byte is as it was written; `IndexCorrupt` names the section.

        `forgetful` keeps the file out of this process's memory meanwhile.
        """
        from .verify import verify_file

        if self._header is not None and self._mapped is not None:
            verify_file(self._mapped, self._header, self._corrupt, forgetful=forgetful)

    def verify(self) -> None:
        """Check every byte and every invariant of FORMAT.md; `IndexCorrupt` names the section."""
        from .verify import verify_postings

        self.verify_checksums()
        verify_postings(self.counts, self._arrays, self._corrupt)
        if len(np.unique(self.docids)) != self.n_docs:
            raise self._corrupt("external", "two documents have the same docid")
        blobs.unpack_columns(self._named("columns"), self.n_docs, self._corrupt)

    def _named(self, name: str) -> npt.NDArray[Any]:
        if not self._arrays:
            raise UsageError(f"{self.path or 'this segment'} is closed; open it again")
        return self._arrays[name]

    def _make_view(self) -> _core.SegmentView:
        rank = self._named("head_rank")
        wide = rank.dtype == np.uint32
        nothing = np.empty(0, np.uint8)
        start, terms, weights = (
            self._arrays.get(f"forward_{name}", nothing) for name in ("start", "term", "weight")
        )
        wide_terms = terms.dtype == np.uint32
        try:
            return _core.SegmentView(
                self.n_docs,
                head_rank16=np.empty(0, np.uint16) if wide else rank,
                head_rank32=rank if wide else np.empty(0, np.uint32),
                max_impact=self._named("max_impact"),
                codebook=self._arrays.get("codebook", nothing),
                grid=self._arrays.get("grid", nothing),
                row_group=self._named("row_group"),
                row_dir=self._named("row_dir"),
                row_base=self._named("row_base"),
                rows=self._named("rows"),
                tail_start=self._named("tail_start"),
                tail_doc=self._named("tail_doc"),
                tail_impact=self._named("tail_impact"),
                external=self._named("external"),
                group=self._arrays.get("group", np.empty(0, np.uint32)),
                forward_start=start.view(np.uint64),
                forward_term16=np.empty(0, np.uint16) if wide_terms else terms.view(np.uint16),
                forward_term32=terms if wide_terms else np.empty(0, np.uint32),
                forward_weight=weights.view(np.uint16),
                impact_of=impact_table(self.scale) if len(start) else nothing,
            )
        except ValueError as error:
            section, _, what = str(error).partition(": ")
            raise self._corrupt(section, what) from None


def _corrupt(path: Path | None, section: str, what: str) -> IndexCorrupt:
    place = path or "segment in memory"
    return IndexCorrupt(f"{place}: {section}: {what}", remedy=remedy(path))


def _check_starts(starts: Array, total: int, corrupt: blobs.Corrupt) -> None:
    if starts[0] != 0 or starts[-1] != total or bool(np.any(starts[1:] < starts[:-1])):
        raise corrupt("forward_start", f"must not decrease and run from 0 to {total}")
