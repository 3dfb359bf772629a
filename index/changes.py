"""The statements by which documents enter and leave the catalog, shared by writers and bulk builds.

Whatever takes a connection runs inside a transaction that its caller opened.
"""

from collections.abc import Iterable

import apsw
import numpy as np
import numpy.typing as npt
import orjson

from lsr.errors import IndexFailure, RepeatedId, UsageError

from .database import select
from .rows import Rows

LAST_DOCID = 2**32 - 2


def reserve_docids(connection: apsw.Connection, count: int) -> int:
    """The first of `count` consecutive docids that no document ever had nor will have again."""
    found = select(connection, "SELECT seq FROM sqlite_sequence WHERE name='documents'")
    first = (int(found[0][0]) if found else 0) + 1
    if first + count - 1 > LAST_DOCID:
        raise IndexFailure(
            f"docids are 32-bit and never reused; {LAST_DOCID - first + 1:,} are left, "
            f"{count:,} were asked for. Rebuild the index to number its documents anew."
        )
    if found:
        sql = "UPDATE sqlite_sequence SET seq=? WHERE name='documents'"
    else:
        sql = "INSERT INTO sqlite_sequence(name, seq) VALUES('documents', ?)"
    connection.execute(sql, (first + count - 1,))
    return first


def groups_of(rows: Rows, first: int) -> npt.NDArray[np.uint32]:
    """(n rows,) uint32: the docid of the first passage of each row's document, rows starting at
    `first`.
    """
    group_of: dict[int, int] = {}
    groups = (group_of.setdefault(rows.document_of(row), first + row) for row in range(len(rows)))
    return np.fromiter(groups, np.uint32, len(rows))


def insert_documents(connection: apsw.Connection, rows: Rows, *, first: int, added: int) -> int:
    """Store ids and texts of rows numbered from `first`, ending the live versions of their ids.

    `added` is a commit number, or the negated number of a build. Returns how many of the ids
    existed. Raises `UsageError` when a build brings the same id twice.
    """
    groups = groups_of(rows, first).tolist()
    ids = [document.doc_id for document in rows.documents]
    n_replaced = 0
    anything = "SELECT 1 FROM commits LIMIT 1"  # before the first commit nothing can be replaced
    if added > 0 or select(connection, anything):
        n_replaced = tombstone_documents(connection, ids, deleted=added)
    records = []
    texts = []
    passage_of: dict[int, int] = {}
    for row in range(len(rows)):
        number = rows.document_of(row)
        docid = first + row
        if groups[row] == docid:
            texts.append((docid, rows.fields[number]))
        passage = passage_of.get(number, -1) + 1
        passage_of[number] = passage
        span = None if rows.passages is None else rows.passages[row]
        records.append(
            (
                docid,
                ids[number],
                passage,
                groups[row],
                None if span is None else span.start,
                None if span is None else span.end,
                added,
            )
        )
    try:
        connection.executemany("INSERT INTO documents VALUES(?,?,?,?,?,?,?,NULL)", records)
    except apsw.ConstraintError as error:
        raise _repeated(connection, ids, first) from error
    connection.executemany("INSERT INTO texts VALUES(?,?)", texts)
    return n_replaced


def insert_pending(connection: apsw.Connection, rows: Rows, *, first: int, added: int) -> None:
    """Store the vectors of rows that no segment holds yet."""
    connection.executemany(
        "INSERT INTO pending VALUES(?,?,?,?)",
        ((first + row, added, *rows.terms_of(row)) for row in range(len(rows))),
    )


def tombstone_documents(
    connection: apsw.Connection, doc_ids: Iterable[str], *, deleted: int
) -> int:
    """Mark the live versions of these ids as deleted; how many of the ids searches could see.

    A version that an unpublished build replaced (deleted = -build) is still what searches see, so
    an ordinary delete or update must end it too, or it would come back if that build were
    abandoned. Within one build (deleted < 0) rows of its own stay: their id coming again is an
    error there. Within one commit the later version counts; the earlier has added = deleted, so
    nobody ever sees it.
    """
    others = [
        int(row[0])
        for row in select(connection, "SELECT build FROM builds WHERE published IS NULL")
        if -int(row[0]) != deleted
    ]
    hidden = {-build for build in others} | {deleted}
    count = 0
    for doc_id in doc_ids:
        live = select(
            connection,
            "SELECT docid, added FROM documents WHERE doc_id=? AND deleted IS NULL",
            (doc_id,),
        )
        ended = [(deleted, docid) for docid, added in live if added != deleted or deleted > 0]
        replaced = [
            (deleted, docid)
            for build in others
            for (docid,) in select(
                connection,
                "SELECT docid FROM documents WHERE deleted=? AND doc_id=?",
                (-build, doc_id),
            )
        ]
        connection.executemany("UPDATE documents SET deleted=? WHERE docid=?", ended + replaced)
        count += bool(replaced) or any(added not in hidden for _, added in live)
    return count


def tombstone_versions(
    connection: apsw.Connection, docids: npt.NDArray[np.uint32], *, deleted: int
) -> int:
    """Mark these versions, which searches could see, as deleted by commit `deleted`; of how many
    documents they were. Those that the same commit has ended already do not count again.
    """
    listed = orjson.dumps(docids.tolist()).decode()
    living = (
        "docid IN (SELECT value FROM json_each(?)) AND (deleted IS NULL OR deleted IN "
        "(SELECT -build FROM builds WHERE published IS NULL))"
    )
    n_documents = select(
        connection, f"SELECT count(DISTINCT group_docid) FROM documents WHERE {living}", (listed,)
    )[0][0]
    connection.execute(f"UPDATE documents SET deleted=? WHERE {living}", (deleted, listed))
    return int(n_documents)


def abandon_build(connection: apsw.Connection, build: int) -> None:
    """Forget every row of an unpublished build and revive what it had replaced."""
    # An id may meanwhile have been added anew by another writer: its old version stays deleted
    # then.
    connection.execute(
        "DELETE FROM texts WHERE docid IN (SELECT docid FROM documents WHERE added=?)", (-build,)
    )
    connection.execute("DELETE FROM documents WHERE added=?", (-build,))
    connection.execute("UPDATE documents SET deleted=NULL WHERE deleted=?", (-build,))
    connection.execute("DELETE FROM segments WHERE added=?", (-build,))
    connection.execute("DELETE FROM builds WHERE build=?", (build,))


def _repeated(connection: apsw.Connection, ids: list[str], first: int) -> UsageError:
    for doc_id in ids:
        if select(
            connection,
            "SELECT 1 FROM documents WHERE doc_id=? AND deleted IS NULL AND docid<? LIMIT 1",
            (doc_id, first),
        ):
            return RepeatedId(
                f"the id {doc_id!r} occurs twice in the corpus; ids name documents, so each may "
                "occur once. Remove or rename one of them and run the same command again",
                doc_id=doc_id,
            )
    return UsageError(
        "an id occurs twice in the corpus; ids name documents, so each may occur once"
    )
