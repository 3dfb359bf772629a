"""Live documents read from the catalog in the order of their docids, while others change them."""

from collections.abc import Iterator
from dataclasses import dataclass

import apsw
import orjson

from lsr.types import Document

from .catalog import Catalog
from .changes import LAST_DOCID
from .database import select
from .store import Index

LIVE = (
    "(d.added > 0 OR d.added IN (SELECT -build FROM builds WHERE published IS NOT NULL)) "
    "AND (d.deleted IS NULL OR d.deleted IN (SELECT -build FROM builds WHERE published IS NULL))"
)


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A passage, or a document that was not split, as the catalog has it."""

    docid: int
    start: int | None
    end: int | None


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document and its rows: one each passage, a single one where it was not split."""

    document: Document
    rows: tuple[StoredRow, ...]


def last_docid(catalog: Catalog) -> int:
    """The largest docid that an index ever gave."""
    found = catalog.rows("SELECT seq FROM sqlite_sequence WHERE name='documents'")
    return int(found[0][0]) if found else 0


def live_after(
    source: Index, docid: int, limit: int, *, until: int = LAST_DOCID
) -> list[StoredDocument]:
    """The next live documents behind a docid, whole, in the order of their docids."""
    with source.catalog.reading() as connection:
        return _read(
            connection,
            "SELECT d.docid FROM documents d WHERE d.docid > ? AND d.docid <= ? "
            f"AND d.docid=d.group_docid AND {LIVE} ORDER BY d.docid LIMIT ?",
            (docid, until, limit),
        )


def added_since(
    source: Index, commit: int, limit: int, *, until: int = LAST_DOCID
) -> Iterator[list[StoredDocument]]:
    """Live documents whose version a later commit added, up to a docid."""
    last = 0
    while True:
        with source.catalog.reading() as connection:
            some = _read(
                connection,
                "SELECT d.docid FROM documents d WHERE d.docid > ? AND d.docid <= ? "
                "AND d.docid=d.group_docid "
                "AND (d.added > ? OR d.added IN (SELECT -build FROM builds WHERE published > ?)) "
                f"AND {LIVE} ORDER BY d.docid LIMIT ?",
                (last, until, commit, commit, limit),
            )
        if not some:
            return
        yield some
        last = some[-1].rows[-1].docid


def _read(
    connection: apsw.Connection, groups: str, arguments: tuple[int, ...]
) -> list[StoredDocument]:
    found = [int(docid) for (docid,) in select(connection, groups, arguments)]
    if not found:
        return []
    of_group: dict[int, list[StoredRow]] = {docid: [] for docid in found}
    last = found[-1]
    # Passages have consecutive docids from their group's on, so one walk meets them all.
    walk = "SELECT docid, group_docid, span_start, span_end FROM documents WHERE docid >= ? "
    for docid, group, start, end in connection.execute(walk + "ORDER BY docid", (found[0],)):
        if docid > last and group != last:
            break
        if group in of_group:
            of_group[group].append(StoredRow(int(docid), start, end))
    stored = select(
        connection,
        "SELECT d.docid, d.doc_id, t.fields FROM documents d JOIN texts t ON t.docid=d.docid "
        "WHERE d.docid IN (SELECT value FROM json_each(?)) ORDER BY d.docid",
        (orjson.dumps(found).decode(),),
    )
    return [
        StoredDocument(Document(doc_id, orjson.loads(fields)), tuple(of_group[int(docid)]))
        for docid, doc_id, fields in stored
    ]


def missing(source: Index, target: Index) -> list[str]:
    """Ids of live documents of `target` that `source` has no more; reads both in order."""
    wanted = f"SELECT DISTINCT d.doc_id FROM documents d WHERE {LIVE} ORDER BY d.doc_id"
    found = []
    with source.catalog.reading() as there, target.catalog.reading() as here:
        theirs = (str(doc_id) for (doc_id,) in there.execute(wanted))
        other = next(theirs, None)
        for (doc_id,) in here.execute(wanted):
            key = doc_id.encode()  # SQLite's order
            while other is not None and other.encode() < key:
                other = next(theirs, None)
            if other != doc_id:
                found.append(str(doc_id))
    return found
