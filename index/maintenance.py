"""Work that one process at a time may do: seal pending rows, merge segments, collect retired files.

The right to do it is an flock on `maintainer.lock`, held for as long as the work takes.
"""

import fcntl
import math
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw
import numpy as np
import orjson

from lsr.errors import DiskFull, IndexFailure, IndexLocked
from lsr.files import changing

from .catalog import Catalog, new_commit
from .columns import Kind
from .database import select
from .effort import Effort
from .fallback import Undo, drop_undo, fall_back, kept_files, note_undo
from .history import carrying, deleted_after, horizon, note_horizon, oldest_kept
from .live import positions_in
from .manifest import is_snapshot
from .merging import cut_segment, note_of, record_segment, write_merged
from .notes import drop_notes, notes_of
from .origins import forget_origins
from .proving import proven
from .rows import vectors_from_bytes
from .segment import write_segment
from .settings import Settings
from .snapshot import PendingRow, Snapshot, View, columns_of, meaningful_groups

MERGE_FAN_IN = 8
"""This many segments of like size are merged into one; each posting is rewritten log_8(n) times."""


@contextmanager
def maintainer(directory: Path, *, wait: float = 5.0) -> Iterator[None]:
    """Hold `maintainer.lock`, or raise `IndexLocked` when another still holds it after `wait` s."""
    if not os.access(directory, os.W_OK):
        raise IndexFailure(
            f"{directory}: this directory cannot be written, so neither can its index"
        )
    if is_snapshot(directory):
        raise IndexFailure(
            f"{directory}: a snapshot, which nothing may change; make an index of it with "
            "`lsr snapshot restore`"
        )
    with changing(directory):
        descriptor = os.open(
            directory / "maintainer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
    try:
        give_up = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= give_up:
                    raise IndexLocked(
                        f"{directory}: another process is building, sealing or merging this "
                        "index; wait for it to finish, or stop it"
                    ) from error
                time.sleep(0.02)
        with changing(directory):
            yield
    finally:
        os.close(descriptor)


def new_segment_path(directory: Path) -> Path:
    """A name that no segment of this index ever had."""
    return directory / "segments" / f"{secrets.token_hex(8)}.seg"


def seal(
    directory: Path,
    catalog: Catalog,
    *,
    n_terms: int,
    scale: float,
    fields: Mapping[str, Kind],
    settings: Settings,
) -> int:
    """Turn every pending row into one segment; the new commit number, 0 when nothing was pending.

    Rows that were deleted while pending are forgotten here, once no commit in reach saw them.
    """
    with catalog.reading() as connection:
        oldest = oldest_kept(connection)
        live = [
            PendingRow(*row)
            for row in select(
                connection,
                "SELECT p.docid, d.doc_id, d.group_docid, p.terms, p.weights, t.fields "
                "FROM pending p JOIN documents d USING(docid) JOIN texts t ON "
                "t.docid=d.group_docid "
                "WHERE d.deleted IS NULL OR d.deleted > ? OR d.deleted IN "
                "(SELECT -build FROM builds WHERE published IS NULL OR published > ?) "
                "ORDER BY p.docid",
                (oldest, oldest),
            )
        ]
        newest = select(connection, "SELECT max(docid) FROM pending")[0][0]
    if newest is None:
        return 0
    written = None
    if live:
        docids = np.asarray([row.docid for row in live], np.uint32)
        path = new_segment_path(directory)
        stats = write_segment(
            path,
            vectors_from_bytes([(row.terms, row.weights) for row in live], n_terms=n_terms),
            docids,
            [row.doc_id for row in live],
            scale=scale,
            groups=meaningful_groups(docids, np.asarray([row.group for row in live], np.uint32)),
            columns=columns_of([row.fields for row in live], fields),
            reorder=settings.reorder,
        )
        written = (proven(path), stats)
    with catalog.transaction() as connection:
        before = horizon(connection)
        number = new_commit(connection, "seal")
        if written is not None:
            path, stats = written
            record_segment(connection, path, stats, added=number, note=note_of(stats, settings))
        # Rows deleted since we read them are tombstones of the new segment; those deleted before
        # are gone.
        sealed = {row.docid for row in live}
        gone = [
            (int(docid),)
            for (docid,) in select(
                connection, "SELECT docid FROM pending WHERE docid<=?", (newest,)
            )
            if docid not in sealed
        ]
        connection.execute("DELETE FROM pending WHERE docid<=?", (newest,))
        note_horizon(connection, number, before=before, left_out=[docid for (docid,) in gone])
        forget_versions(connection, gone)
    return number


def merge(
    directory: Path,
    catalog: Catalog,
    snapshot: Snapshot,
    *,
    scale: float,
    everything: bool,
    memory: int,
    settings: Settings,
    effort: Effort | None = None,
) -> int:
    """Merge segments of like size (or `everything`) into one each; the newest commit, 0 for none.

    Each stays within `memory` bytes (external.py), whatever it merges. Deleted documents leave for
    good, once no commit in reach saw them. Each merge is one transaction; a kill in between loses
    only work. Sources stay until `settle`.
    """
    number = 0
    with catalog.reading() as connection:
        recent = deleted_after(connection, oldest_kept(connection))
        cut = cut_segment(connection, settings.pruning.postings)
    files = carrying([view for view in snapshot.views if view.number >= 0], recent)
    prunes = everything and settings.pruning.postings is not None
    for views in plan_merges(files, everything, prunes=prunes, cut=cut):
        path = new_segment_path(directory)
        gone = [
            (int(docid),)
            for view in views
            if view.live is not None
            for docid in np.delete(
                view.segment.docids, positions_in(view.live, view.segment.n_docs)
            )
        ]
        merged = write_merged(
            path,
            catalog,
            views,
            scale=scale,
            memory=memory,
            settings=settings,
            prune=everything,
            effort=effort,
        )
        if merged is not None:
            proven(path, everything=4 * path.stat().st_size <= memory)
        with catalog.transaction() as connection:
            before = horizon(connection)
            number = new_commit(connection, "merge")
            connection.executemany(
                "UPDATE segments SET retired=? WHERE segment=?",
                [(number, view.number) for view in views],
            )
            if merged is not None:
                merged.record(connection, path, added=number)
            note_horizon(
                connection,
                number,
                before=number if prunes else before,  # pruned lists rank otherwise than before
                left_out=[docid for (docid,) in gone],
            )
            undo = Undo(
                number,
                None if merged is None else path.name,
                tuple(view.number for view in views),
                tuple(docid for (docid,) in gone),
            )
            note_undo(connection, undo)
    return number


def settle(directory: Path, catalog: Catalog, *, verified: Iterable[str] = ()) -> int:
    """Read back what merges made: forget the way back from those that are sound, and go it for
    those that are not; how many these were. Then remove retired files, and give the room of
    forgotten texts back. Call as maintainer.
    """
    standing, n_undone = fall_back(catalog, verified=set(verified))
    for undo in standing:
        with catalog.transaction() as connection:
            forget_versions(connection, [(docid,) for docid in undo.gone])
            drop_undo(connection, undo.number)
    collect(directory, catalog)
    with suppress(DiskFull):  # it takes a little room to make some
        catalog.give_back()
    return n_undone


def collect(directory: Path, catalog: Catalog) -> list[str]:
    """Unlink segment files that no catalog row names and no reader holds; their names.

    Call as maintainer. Retired rows go once their file is gone.
    """
    catalog.check_in_place()
    with catalog.reading() as connection:
        kept = {
            str(row[0])
            for row in select(connection, "SELECT file FROM segments WHERE retired IS NULL")
        } | kept_files(connection)
    removed = []
    for path in sorted((directory / "segments").iterdir()):
        if path.name in kept:
            continue
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            path.unlink()
            removed.append(path.name)
        finally:
            os.close(descriptor)
    there = {path.name for path in (directory / "segments").iterdir()}
    retired = catalog.rows("SELECT file FROM segments WHERE retired IS NOT NULL")
    if forgotten := [(file,) for (file,) in retired if file not in there]:
        with catalog.transaction() as connection:
            connection.executemany("DELETE FROM segments WHERE file=?", forgotten)
    with catalog.reading() as connection:
        named = {str(row[0]) for row in select(connection, "SELECT file FROM segments")}
        orphans = notes_of(connection).keys() - named
    if orphans:
        with catalog.transaction() as connection:
            drop_notes(connection, orphans)
    return removed


def plan_merges(
    views: Sequence[View], everything: bool, *, prunes: bool = False, cut: str | None = None
) -> list[list[View]]:
    """Groups worth merging: of like size, or everything that is not one whole segment already.

    Where this `prunes` lists, a segment other than `cut`, whose lists are pruned, is not finished.
    """
    tiers: dict[int, list[View]] = {}
    for view in sorted(views, key=lambda view: view.segment.n_postings):
        tier = 0 if everything else int(math.log(max(view.segment.n_postings, 1), MERGE_FAN_IN))
        tiers.setdefault(tier, []).append(view)
    wanted = []
    for group in tiers.values():
        mostly_dead = [v for v in group if v.live is not None and 2 * v.n_live < v.segment.n_docs]
        unfinished = any(
            view.live is not None
            or view.segment.is_run
            or (prunes and (view.segment.path is None or view.segment.path.name != cut))
            for view in group
        )
        if len(group) >= MERGE_FAN_IN or (everything and (len(group) > 1 or unfinished)):
            wanted.append(group)
        elif mostly_dead:
            wanted.append(mostly_dead)
    return wanted


def forget_versions(connection: apsw.Connection, docids: Sequence[tuple[int]]) -> None:
    """Remove the rows of document versions that no segment and no pending row holds any more.

    The text of a document goes with the last of its passages. Passages have consecutive docids that
    start at the group's, so one look at the next row tells whether any is left.
    """
    if not docids:
        return
    listed = orjson.dumps([docid for (docid,) in docids]).decode()
    connection.execute("CREATE TEMP TABLE gone(docid INTEGER PRIMARY KEY, group_docid INTEGER)")
    connection.execute(
        "INSERT INTO gone SELECT docid, group_docid FROM documents "
        "WHERE docid IN (SELECT value FROM json_each(?))",
        (listed,),
    )
    connection.execute("DELETE FROM documents WHERE docid IN (SELECT docid FROM gone)")
    connection.execute(
        "DELETE FROM texts WHERE docid IN (SELECT DISTINCT group_docid FROM gone) "
        "AND texts.docid IS NOT (SELECT group_docid FROM documents d "
        "WHERE d.docid >= texts.docid ORDER BY d.docid LIMIT 1)"
    )
    forget_origins(connection)
    connection.execute("DROP TABLE gone")
