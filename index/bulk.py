"""Bulk builds: many batches, seen by nobody until one tiny transaction publishes them all.

Batches gather in memory up to a budget; then their vectors become a segment file, and one
transaction stores their texts, names the segment and notes how far the source has been read. A kill
at any moment loses at most the batches since; the same source given again goes on from there. A
corpus beyond the budget leaves several such runs, which become one segment before they are seen.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from types import TracebackType

import numpy as np
from scipy import sparse

from lsr.errors import IndexFailure, LsrError, UsageError
from lsr.types import Document, SparseMatrix

from .catalog import Catalog, new_commit
from .changes import abandon_build, groups_of, insert_documents, reserve_docids
from .columns import Kind
from .database import select
from .effort import Effort
from .history import horizon, note_horizon
from .maintenance import collect, maintainer, new_segment_path, settle
from .mapped import trim
from .merging import note_of, record_segment, write_merged
from .notes import drop_notes, notes_of, put_setting, setting
from .proving import proven
from .rows import Passage, Rows, checked_rows
from .segment import Segment, write_segment
from .settings import Settings
from .snapshot import View, columns_of, meaningful_groups

BYTES_PER_POSTING = 40
"""Bound on the peak per buffered posting: 8 as rows, 8 stacked, the rest for the segment in the
making (measured: 24.7 million postings cost 30 bytes each)."""
BYTES_PER_DOCUMENT = 700
"""Python's share of a buffered document, its stored fields apart: id, objects, lists."""

FLUSH_SECONDS = 120.0
"""A slow encoder's work is made durable at least this often: a kill loses no more of it."""


@dataclass(frozen=True, slots=True)
class BuildState:
    """How far a build came: documents of `source` that are durable, and whether it was
    published.
    """

    source: str
    n_done: int
    published: bool


class BulkBuild:
    """One resumable build into an index; a context manager that publishes when its body succeeds.

    On an exception, an interrupt or a kill nothing is published and everything flushed so far waits
    for `Index.bulk` with the same `source`; another source abandons it.
    """

    def __init__(
        self,
        directory: Path,
        catalog: Catalog,
        source: str,
        *,
        n_terms: int,
        scale: float,
        fields: Mapping[str, Kind],
        memory: int,
        settings: Settings | None = None,
        effort: Effort | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._catalog = catalog
        self._source = source
        self._n_terms = n_terms
        self._scale = scale
        self._fields = fields
        self._settings = settings or Settings()
        self._effort = replace(effort or Effort(), memory=memory)
        self._memory = memory
        self._buffer: list[Rows] = []
        self._buffered = 0
        self._given_postings = 0
        self._given_mass = 0.0
        self._failed = False
        self._clock = clock
        self._flushed_at = clock()
        self._lock = maintainer(directory)
        self.build = 0
        self.n_done = 0
        """Documents of the source that are durable already: skip as many before adding."""
        self.generation = 0
        """The commit that published the build; 0 until then."""

    def __enter__(self) -> "BulkBuild":
        self._lock.__enter__()
        try:
            self._begin()
            # What abandoned or failed builds left on the disk goes before anything new is written.
            settle(self._directory, self._catalog)
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def add(
        self,
        documents: Sequence[Document],
        vectors: SparseMatrix,
        *,
        passages: Sequence[Passage] | None = None,
    ) -> None:
        """Add a batch, in the order of the source. Raises as `Index.add`, also for ids seen
        before.
        """
        rows = checked_rows(
            documents,
            vectors,
            n_terms=self._n_terms,
            declared=self._fields,
            passages=passages,
        )
        self._given_postings += rows.vectors.nnz
        # Of a binary index a posting is all there is of a weight.
        weight = (
            rows.vectors.nnz if self._settings.binary else rows.vectors.data.sum(dtype=np.float64)
        )
        self._given_mass += float(weight)
        named = [Document(document.doc_id) for document in documents]  # texts are in rows.fields
        rows = replace(rows, documents=named, vectors=self._settings.of_documents(rows.vectors))
        self._buffer.append(rows)
        self._buffered += BYTES_PER_POSTING * rows.vectors.nnz + BYTES_PER_DOCUMENT * len(rows)
        self._buffered += sum(map(len, rows.fields))
        late = self._clock() - self._flushed_at >= FLUSH_SECONDS
        if late or self._buffered >= self._memory:
            self.flush(last=False)

    def flush(self, *, last: bool = True) -> None:
        """Make everything added so far durable (not yet visible). `last` says that this may be all
        of the build: then its only segment is made to be searched.
        """
        if self._failed:
            raise IndexFailure(
                f"{self._directory}: an earlier part of this build could not be written, so "
                "nothing is published; begin the same build again to go on after what is durable"
            )
        if self._buffer:
            self._failed = True  # until it has succeeded
            self._flush(
                self._buffer,
                run=not (last and not self.n_done and self._settings.pruning.postings is None),
            )
            self._failed = False
            self._buffer = []
            self._buffered = 0
            self._given_postings, self._given_mass = 0, 0.0
            self._flushed_at = self._clock()
            trim()

    def _flush(self, batch: list[Rows], *, run: bool) -> None:
        # Docids are reserved first and rows inserted last, so that no lock is held while the
        # segment is written. A kill in between wastes numbers and leaves a file that `collect`
        # removes.
        counts = [len(rows) for rows in batch]
        with self._catalog.transaction() as connection:
            first = reserve_docids(connection, sum(counts))
        firsts = [first + before for before in accumulate(counts[:-1], initial=0)]
        groups = np.concatenate([groups_of(r, f) for r, f in zip(batch, firsts, strict=True)])
        docids = np.arange(first, first + len(groups), dtype=np.uint32)
        vectors = sparse.csr_array(sparse.vstack([rows.vectors for rows in batch], "csr"))
        # The stacked copy replaces the parts: from here on only their documents are needed.
        batch[:] = [replace(rows, vectors=rows.vectors[:0]) for rows in batch]
        of_row = [(rows, rows.document_of(row)) for rows in batch for row in range(len(rows))]
        path = new_segment_path(self._directory)
        stats = write_segment(
            path,
            vectors,
            docids,
            [rows.documents[number].doc_id for rows, number in of_row],
            scale=self._scale,
            groups=meaningful_groups(docids, groups),
            columns=columns_of([rows.fields[number] for rows, number in of_row], self._fields),
            grid=False if run else None,
            reorder=False if run else self._settings.reorder,
            effort=self._effort,
        )
        proven(path, everything=not run)
        note = replace(
            note_of(stats, self._settings),
            is_run=run,
            given_postings=self._given_postings,
            given_mass=self._given_mass,
        )
        if run:
            note = replace(note, n_ordered=0)
        n_documents = sum(len(rows.documents) for rows in batch)
        with self._catalog.transaction() as connection:
            for rows, start in zip(batch, firsts, strict=True):
                insert_documents(connection, rows, first=start, added=-self.build)
            record_segment(connection, path, stats, added=-self.build, note=note)
            connection.execute(
                "UPDATE builds SET n_done=n_done+? WHERE build=?", (n_documents, self.build)
            )
        self.n_done += n_documents

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.flush()
                self._merge_runs()
                self._publish()
                collect(self._directory, self._catalog)
            elif isinstance(error, KeyboardInterrupt):
                with suppress(LsrError):  # what was encoded need not be encoded again
                    self.flush(last=False)
        finally:
            self._lock.__exit__(None, None, None)

    def _begin(self) -> None:
        """Resume the build of the same source and settings, or abandon what is left of another."""
        with self._catalog.transaction() as connection:
            # Runs that were pruned otherwise are of no use to this build.
            alike = Settings.from_json(setting(connection, "build")) == self._settings
            put_setting(connection, "build", self._settings.to_json())
            unpublished = select(
                connection, "SELECT build, source, n_done FROM builds WHERE published IS NULL"
            )
            for build, source, n_done in unpublished:
                if alike and source == self._source and not self.build:
                    self.build, self.n_done = int(build), int(n_done)
                else:
                    abandon_build(connection, int(build))
            if not self.build:
                connection.execute(
                    "INSERT INTO builds(source, n_done, published) VALUES(?, 0, NULL)",
                    (self._source,),
                )
                self.build = connection.last_insert_rowid()

    def _merge_runs(self) -> None:
        """Make one segment of what was flushed; a kill loses this merge, not the runs."""
        with self._catalog.reading() as connection:
            notes = notes_of(connection)
            runs = select(
                connection, "SELECT segment, file FROM segments WHERE added=?", (-self.build,)
            )
        if len(runs) < 2 and not any(notes[str(file)].is_run for _, file in runs):
            return
        folder = self._directory / "segments"
        views = [View(int(number), Segment.open(folder / str(file)), None) for number, file in runs]
        path = new_segment_path(self._directory)
        written = write_merged(
            path,
            self._catalog,
            views,
            scale=self._scale,
            memory=self._memory,
            settings=self._settings,
            prune=True,
            effort=self._effort,
        )
        if written is not None:
            proven(path, everything=4 * path.stat().st_size <= self._memory)
        with self._catalog.transaction() as connection:
            connection.execute("DELETE FROM segments WHERE added=?", (-self.build,))
            drop_notes(connection, [str(file) for _, file in runs])
            if written is not None:
                written.record(connection, path, added=-self.build)

    def _publish(self) -> None:
        with self._catalog.transaction() as connection:
            n_replaced = select(
                connection,
                "SELECT count(DISTINCT doc_id) FROM documents WHERE deleted=?",
                (-self.build,),
            )[0][0]
            before = horizon(connection)
            number = new_commit(connection, "build", self.n_done, int(n_replaced))
            note_horizon(connection, number, before=before)
            connection.execute("UPDATE builds SET published=? WHERE build=?", (number, self.build))
        self.generation = number


def parse_memory(text: str) -> int:
    """Bytes of a size such as "512MiB" or "2GiB".

    >>> parse_memory("1GiB")
    1073741824
    """
    units = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    number, unit = text[:-3], text[-3:]
    try:
        size = float(number) * units[unit]
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"memory {text!r}: wanted a number and KiB, MiB or GiB, for instance 512MiB"
        ) from error
    if size < 2**20:
        raise UsageError(f"memory {text!r} is less than 1MiB; give at least 64MiB")
    return int(size)
