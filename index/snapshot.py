"""What one search sees: open segments, pending rows as small in-memory segments, live words.

A `Snapshot` is immutable and belongs to one commit number; searches that began on it finish on it.
`SnapshotLoader` makes the next one from the catalog, reusing every segment that is still live, so
that a delete costs one copied mask and an add one small in-memory segment.

Readers hold a shared flock on each open segment file; the maintainer unlinks a retired file only
under an exclusive one, so a file never disappears under a reader of any process.
"""

import fcntl
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson

from lsr.errors import IndexCorrupt

from .catalog import Catalog
from .columns import Column, Kind
from .database import select
from .layout import remedy
from .live import Live, count, without
from .rows import vectors_from_bytes
from .segment import Segment

OPEN_TRIES = 3


@dataclass(frozen=True, slots=True)
class View:
    """One segment as this snapshot sees it; `live` is None when nothing of it is deleted."""

    number: int
    segment: Segment
    live: Live | None

    @property
    def n_live(self) -> int:
        """Documents that searches of this snapshot may return."""
        return count(self.live, self.segment.n_docs)

    @property
    def n_live_groups(self) -> int:
        """Documents among them; a document's passages always lie in one segment."""
        return self.segment.n_groups_in(self.live)


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A document version whose vector still lies in the catalog."""

    docid: int
    doc_id: str
    group: int
    terms: bytes
    weights: bytes
    fields: bytes


@dataclass(frozen=True, slots=True)
class PendingSegment:
    """Pending rows and the in-memory segment made of them."""

    rows: tuple[PendingRow, ...]
    segment: Segment


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that searches at commit `generation` may look at."""

    generation: int
    layout: int
    """The newest seal, merge or build: while it stays, segments only grow by pending rows."""
    views: tuple[View, ...]
    pending: tuple[PendingSegment, ...]

    @property
    def split(self) -> bool:
        """Whether some of its documents are passages."""
        return any(view.segment.groups is not None for view in self.views)

    @property
    def n_docs(self) -> int:
        """Live rows: passages, or documents where nothing was split."""
        return sum(view.n_live for view in self.views)

    @property
    def n_pending(self) -> int:
        """Rows that no segment file holds yet, deleted ones included."""
        return sum(len(pending.rows) for pending in self.pending)

    def summary(self) -> dict[str, int | float]:
        """Counts and sizes over all segments, pending ones included."""
        segments = [view.segment for view in self.views]
        files = [view.segment for view in self.views if view.number >= 0]
        rows = sum(segment.n_docs for segment in segments)
        n_postings = sum(segment.n_postings for segment in segments)
        n_saturated = sum(segment.n_saturated for segment in segments)
        return {
            "generation": self.generation,
            "n_docs": sum(view.n_live_groups for view in self.views),
            "n_passages": self.n_docs,
            "n_deleted": rows - self.n_docs,
            "n_pending": self.n_pending,
            "n_segments": len(files),
            "n_postings": n_postings,
            "postings_per_passage": n_postings / rows if rows else 0.0,
            "saturated_share": n_saturated / n_postings if n_postings else 0.0,
            "segment_bytes": sum(segment.n_bytes for segment in files),
            "search_bytes": sum(segment.search_bytes for segment in files),
        }

    def locate(self, docids: npt.NDArray[np.uint32]) -> list[tuple[Segment, int]]:
        """The segment and position of each docid; `KeyError` for one that is in no segment."""
        places: dict[int, tuple[Segment, int]] = {}
        for view in self.views:
            positions = view.segment.positions_of(docids)
            for i in np.flatnonzero(positions >= 0).tolist():
                places[i] = (view.segment, int(positions[i]))
            if len(places) == len(docids):
                break
        for i, docid in enumerate(docids.tolist()):
            if i not in places:
                raise KeyError(docid)
        return [places[i] for i in range(len(docids))]

    def doc_ids(self, docids: npt.NDArray[np.uint32]) -> list[str]:
        """The caller's id of each docid; `KeyError` for one that is in no segment."""
        names: dict[int, str] = {}
        for view in self.views:
            positions = view.segment.positions_of(docids)
            here = np.flatnonzero(positions >= 0)
            found = view.segment.doc_ids(positions[here])
            if len(found) == len(docids):  # nearly always: one segment holds them all
                return found
            names.update(zip(here.tolist(), found, strict=True))
        if len(names) < len(docids):
            raise KeyError(next(docid for i, docid in enumerate(docids.tolist()) if i not in names))
        return [names[i] for i in range(len(docids))]


class OpenSegment:
    """A mapped segment file, opened under a shared flock that lasts until the loader lets go.

    Searches on older snapshots may hold the map longer than the lock: an unlinked file keeps its
    bytes for as long as it is mapped.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
            if os.fstat(self._descriptor).st_nlink == 0:
                raise FileNotFoundError(path)
            self.segment = Segment.open(path)
        except BaseException:
            os.close(self._descriptor)
            self._descriptor = -1
            raise

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@dataclass(frozen=True, slots=True)
class _State:
    """What the catalog says at one commit: `fresh` and `deleted` since the previous snapshot, and
    `deleted_before` for segments that the previous snapshot did not have."""

    generation: int
    layout: int
    files: Mapping[int, str]
    fresh: tuple[PendingRow, ...]
    deleted: npt.NDArray[np.uint32]
    deleted_before: npt.NDArray[np.uint32]


class SnapshotLoader:
    """Turns the state of the catalog into snapshots; one per `Index`, called under its lock."""

    def __init__(
        self,
        directory: Path,
        catalog: Catalog,
        *,
        n_terms: int,
        scale: float,
        fields: Mapping[str, Kind],
    ) -> None:
        self._directory = directory
        self._catalog = catalog
        self._n_terms = n_terms
        self._scale = scale
        self._fields = fields
        self._open: dict[int, OpenSegment] = {}

    def load(self, previous: Snapshot | None) -> Snapshot:
        """The snapshot of the newest commit. Raises `IndexCorrupt` for a segment that cannot be
        opened.
        """
        for attempt in range(OPEN_TRIES):
            try:
                return self._load(previous)
            except FileNotFoundError as error:
                # A merge retired the file between our reading of the catalog and our opening it.
                if attempt == OPEN_TRIES - 1:
                    raise IndexCorrupt(
                        f"{error.filename}: the catalog names this segment but the file is gone",
                        remedy=remedy(error.filename),
                    ) from error
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Let go of every segment file; searches that are running finish on theirs."""
        self._open.clear()  # a map ends with the last search that holds its segment

    def _load(self, previous: Snapshot | None) -> Snapshot:
        state = self._read(previous)
        if state is None:
            assert previous is not None
            return previous
        for number, file in state.files.items():
            if number not in self._open:
                self._open[number] = OpenSegment(self._directory / "segments" / file)
        kept = previous if previous is not None and previous.layout == state.layout else None
        pending = () if kept is None else kept.pending
        if state.fresh:
            pending = self._with_pending(pending, state.fresh)
        masks = {} if kept is None else {id(view.segment): view.live for view in kept.views}
        segments = [(number, self._open[number].segment) for number in sorted(state.files)]
        segments += [(-1, one.segment) for one in pending]
        views = []
        for number, segment in segments:
            known = id(segment) in masks  # then only deletes since are news to it
            dead = state.deleted if known else state.deleted_before
            views.append(View(number, segment, masked(segment, masks.get(id(segment)), dead)))
        for number in [number for number in self._open if number not in state.files]:
            del self._open[number]  # searches on older snapshots still hold the segment's map
        return Snapshot(state.generation, state.layout, tuple(views), pending)

    def _read(self, previous: Snapshot | None) -> _State | None:
        """All that differs from `previous`, in one read transaction; None when nothing does.

        One transaction, because a merge forgets the tombstones of documents it left out: read
        later, they would be missing for the segments of this commit.
        """
        with self._catalog.reading() as connection:
            generation = self._catalog.generation()
            if previous is not None and previous.generation == generation:
                return None
            newest = "SELECT max(number) FROM commits WHERE kind <> 'write'"
            layout = int(select(connection, newest)[0][0] or 0)
            same_layout = previous is not None and previous.layout == layout
            since = previous.generation if previous is not None and same_layout else 0
            published = dict(select(connection, "SELECT build, published FROM builds"))

            def gone(condition: str, argument: int) -> npt.NDArray[np.uint32]:
                sql = "SELECT docid, deleted FROM documents WHERE deleted IS NOT NULL AND "
                rows = select(connection, sql + condition, (argument,))
                docids = [d for d, at in rows if at > 0 or published.get(-at) is not None]
                return np.sort(np.asarray(docids, dtype=np.uint32))

            files = {
                int(number): str(file)
                for number, file, added in select(
                    connection, "SELECT segment, file, added FROM segments WHERE retired IS NULL"
                )
                if added > 0 or published.get(-added) is not None
            }
            fresh = tuple(
                PendingRow(*row)
                for row in select(
                    connection,
                    "SELECT p.docid, d.doc_id, d.group_docid, p.terms, p.weights, "
                    f"{'t.fields' if self._fields else 'NULL'} "
                    "FROM pending p INDEXED BY pending_added JOIN documents d USING(docid) "
                    "JOIN texts t ON t.docid = d.group_docid WHERE p.added > ? ORDER BY p.docid",
                    (since,),
                )
            )
            # A build's publication is a layout commit: while the layout stays, builds are no news.
            deleted = gone("deleted > ?" if same_layout else "(deleted > ? OR deleted < 0)", since)
            deleted_before = deleted
            if same_layout and fresh:
                # Only in-memory segments are new then, and they hold nothing but pending rows.
                deleted_before = gone("docid IN (SELECT docid FROM pending WHERE added > ?)", 0)
        return _State(generation, layout, files, fresh, deleted, deleted_before)

    def _with_pending(
        self, pending: tuple[PendingSegment, ...], fresh: tuple[PendingRow, ...]
    ) -> tuple[PendingSegment, ...]:
        """Append, then merge neighbours of like size: O(log n) segments, each row rebuilt O(log n)
        times.
        """
        stack = list(pending)
        rows = fresh
        while stack and len(stack[-1].rows) <= 2 * len(rows):
            rows = stack.pop().rows + rows
        stack.append(PendingSegment(rows, self.in_memory(rows)))
        return tuple(stack)

    def in_memory(self, rows: Sequence[PendingRow]) -> Segment:
        """Pending rows as a segment that was never written."""
        docids = np.asarray([row.docid for row in rows], np.uint32)
        groups = np.asarray([row.group for row in rows], np.uint32)
        return Segment.in_memory(
            vectors_from_bytes([(row.terms, row.weights) for row in rows], n_terms=self._n_terms),
            docids,
            [row.doc_id for row in rows],
            scale=self._scale,
            groups=meaningful_groups(docids, groups),
            columns=columns_of([row.fields for row in rows], self._fields),
        )


def masked(segment: Segment, live: Live | None, dead: npt.NDArray[np.uint32]) -> Live | None:
    """`live` without the `dead` docids that this segment holds; new words if anything changes."""
    if not len(dead) or not segment.n_docs:
        return live
    here = segment.positions_of(dead)
    here = here[here >= 0]
    return without(live, here, segment.n_docs) if len(here) else live


def columns_of(fields: Sequence[bytes], declared: Mapping[str, Kind]) -> dict[str, Column]:
    """One filter column per declared field, from stored documents."""
    if not declared:
        return {}
    parsed = [orjson.loads(one) for one in fields]
    return {
        name: Column.from_values(kind, [document.get(name) for document in parsed])
        for name, kind in declared.items()
    }


def meaningful_groups(
    docids: npt.NDArray[np.uint32], groups: npt.NDArray[np.uint32]
) -> npt.NDArray[np.uint32] | None:
    """None when every row is its own group, so that segments of whole documents store no groups."""
    return None if bool(np.array_equal(docids, groups)) else groups
