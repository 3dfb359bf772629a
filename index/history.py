"""Which earlier commits can still be searched, and how their snapshots are made again.

A document version is forgotten when a seal or merge leaves it out: until then its row, its text and
its postings are there, only masked. So the state of commit c can be made of the newest segments, by
any process, as long as no version that c saw has been left out. The oldest such commit is the
`horizon`, noted in the transaction of each seal, merge and build. `retain` sets for how many
seconds after its deletion a version is carried along, so that every commit of that time is in
reach; 0, as an index is made, leaves deleted documents out at the first opportunity.

Rankings of a commit are the same from whatever segments: scores do not depend on them.
"""

import math
import time
from collections.abc import Iterable
from dataclasses import replace

import apsw
import numpy as np
import numpy.typing as npt
import orjson

from lsr.errors import SnapshotGone, UsageError

from .catalog import Catalog
from .database import select
from .live import including, without
from .notes import put_setting, setting
from .snapshot import Snapshot, View

_RETAIN = "retain_seconds"
_HORIZON = "horizon"


def retained_seconds(connection: apsw.Connection) -> float:
    """For how long deleted versions stay in reach."""
    return float(setting(connection, _RETAIN) or 0.0)


def retain(connection: apsw.Connection, seconds: float) -> None:
    """Set it for every process and for good, inside the caller's transaction."""
    if isinstance(seconds, bool) or not (math.isfinite(seconds) and seconds >= 0):
        raise UsageError(f"retain {seconds!r} seconds: wanted a finite number of at least 0")
    put_setting(connection, _RETAIN, float(seconds))


def oldest_kept(connection: apsw.Connection) -> int:
    """The commit that was newest `retained_seconds` ago: what it or a later one saw must stay."""
    seconds = retained_seconds(connection)
    if not seconds:
        return int(select(connection, "SELECT max(number) FROM commits")[0][0] or 0)
    sql = "SELECT number FROM commits WHERE at <= ? ORDER BY number DESC LIMIT 1"
    found = select(connection, sql, (time.time() - seconds,))
    return int(found[0][0]) if found else 0


def deleted_after(connection: apsw.Connection, commit: int) -> npt.NDArray[np.uint32]:
    """Docids of the versions that a later commit deleted, ascending."""
    builds = "SELECT build FROM builds WHERE published > ?"
    rows = select(connection, "SELECT docid FROM documents WHERE deleted > ?", (commit,))
    for (build,) in select(connection, builds, (commit,)):
        rows += select(connection, "SELECT docid FROM documents WHERE deleted = ?", (-build,))
    return np.sort(np.asarray([docid for (docid,) in rows], np.uint32))


def n_out_of_reach(connection: apsw.Connection) -> int:
    """Document versions that are deleted, whose rows are still there, and that no commit in reach
    saw: a seal or merge drops them.
    """
    oldest = oldest_kept(connection)
    sql = (
        "SELECT count(*) FROM documents WHERE deleted > 0 AND deleted <= ? OR deleted IN "
        "(SELECT -build FROM builds WHERE published <= ?)"
    )
    return int(select(connection, sql, (oldest, oldest))[0][0])


def added_after(connection: apsw.Connection, commit: int) -> npt.NDArray[np.uint32]:
    """Docids of the versions that came later, ascending; those of unpublished builds may be among
    them.
    """
    published = dict(select(connection, "SELECT build, published FROM builds"))
    later: list[int] = []
    # Docids of writes grow with their commits, so one look back from the last ends at the commit.
    # A build takes its docids long before it is published: it is looked for apart.
    newest_first = "SELECT docid, added FROM documents ORDER BY docid DESC"
    for docid, added in connection.execute(newest_first):
        at = added if added > 0 else published.get(-added)
        if at is not None and at <= commit:
            break
        later.append(docid)
    for build, at in published.items():
        if at is not None and at > commit:
            rows = select(connection, "SELECT docid FROM documents WHERE added = ?", (-build,))
            later += [docid for (docid,) in rows]
    return np.unique(np.asarray(later, np.uint32))


def horizon(connection: apsw.Connection) -> int:
    """The oldest commit whose every version is still there."""
    layout = int(
        select(connection, "SELECT max(number) FROM commits WHERE kind <> 'write'")[0][0] or 0
    )
    noted = setting(connection, _HORIZON)
    # A seal or merge that noted nothing (of another release) has left out what it liked, but
    # nothing that its own commit saw.
    return int(noted["commit"]) if noted and noted["layout"] == layout else layout


def note_horizon(
    connection: apsw.Connection, layout: int, *, before: int, left_out: Iterable[int] = ()
) -> None:
    """Note the horizon as of the seal, merge or build `layout`, in its transaction.

    `before` was the horizon ahead of it; `left_out` are the docids whose rows it will remove.
    """
    listed = orjson.dumps(list(left_out)).decode()
    sql = (
        "SELECT max(CASE WHEN deleted > 0 THEN deleted ELSE "
        "(SELECT published FROM builds WHERE build = -deleted) END) "
        "FROM documents WHERE docid IN (SELECT value FROM json_each(?))"
    )
    last = max(before, int(select(connection, sql, (listed,))[0][0] or 0))
    put_setting(connection, _HORIZON, {"commit": last, "layout": layout})


def carrying(views: Iterable[View], docids: npt.NDArray[np.uint32]) -> list[View]:
    """The views with these deleted documents in them again."""
    carried = []
    for view in views:
        here = view.segment.positions_of(docids)
        live = including(view.live, here[here >= 0], view.segment.n_docs)
        carried.append(replace(view, live=live))
    return carried


def snapshot_at(catalog: Catalog, newest: Snapshot, commit: int) -> Snapshot | None:
    """What commit `commit` saw, over the segments of `newest`; None when these are the newest no
    more. Raises `SnapshotGone`.
    """
    with catalog.reading() as connection:
        check_reachable(connection, commit)
        layout = select(connection, "SELECT max(number) FROM commits WHERE kind <> 'write'")
        if int(layout[0][0] or 0) != newest.layout:
            return None
        revived = deleted_after(connection, commit)
        later = added_after(connection, commit)
    views = []
    for view in carrying(newest.views, revived):
        here = view.segment.positions_of(later)
        here = here[here >= 0]
        live = without(view.live, here, view.segment.n_docs) if len(here) else view.live
        views.append(replace(view, live=live))
    return replace(newest, generation=commit, views=tuple(views))


def check_reachable(connection: apsw.Connection, commit: int) -> None:
    """Raise `SnapshotGone` unless the commit exists and lies within the horizon."""
    newest = int(select(connection, "SELECT max(number) FROM commits")[0][0] or 0)
    oldest = horizon(connection)
    if not oldest <= commit <= newest:
        raise SnapshotGone(commit, oldest=oldest, newest=newest)
