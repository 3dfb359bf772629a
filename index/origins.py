"""Which characters of a document gave it each of its expansion terms, kept beside the documents.

The table is an extra of the catalog that `tracing.py` fills: no search reads it, no commit counts
it, and a document that was not traced has none.
"""

from collections.abc import Iterable

import apsw
import numpy as np
import orjson

from .catalog import Catalog
from .database import select

ROW = np.dtype([("term", "<u4"), ("start", "<u4"), ("length", "<u2")])
"""Of the document's text; terms ascending."""

Origins = dict[int, tuple[int, int]]
"""Expansion term -> characters [start, end) of the document's text."""

_HAS_TABLE = "SELECT 1 FROM sqlite_master WHERE type='table' AND name='origins'"


def make_table(connection: apsw.Connection) -> None:
    """Make room for origins where there is none yet."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS origins(docid INTEGER PRIMARY KEY, spans BLOB NOT NULL)"
    )


def has_origins(catalog: Catalog) -> bool:
    """Whether any document has some."""
    return bool(catalog.rows(_HAS_TABLE)) and bool(catalog.rows("SELECT 1 FROM origins LIMIT 1"))


def untraced(connection: apsw.Connection) -> list[int]:
    """Docids that have no origins, ascending; deleted ones are left out."""
    rows = select(
        connection,
        "SELECT docid FROM documents d WHERE deleted IS NULL AND NOT EXISTS "
        "(SELECT 1 FROM origins o WHERE o.docid=d.docid) ORDER BY docid",
    )
    return [int(docid) for (docid,) in rows]


def put_origins(connection: apsw.Connection, rows: Iterable[tuple[int, Origins]]) -> None:
    """Store the origins of each docid, inside the caller's transaction."""
    connection.executemany(
        "INSERT OR REPLACE INTO origins VALUES(?, ?)",
        [(docid, _packed(origins)) for docid, origins in rows],
    )


def stored_origins(catalog: Catalog, docids: Iterable[int]) -> list[Origins | None]:
    """The origins of each docid; None for one that was never traced."""
    wanted = [int(docid) for docid in docids]
    if not wanted or not catalog.rows(_HAS_TABLE):
        return [None] * len(wanted)
    rows = catalog.rows(
        "SELECT o.docid, o.spans FROM json_each(?) wanted JOIN origins o ON o.docid=wanted.value",
        (orjson.dumps(wanted).decode(),),
    )
    found = {docid: _unpacked(stored) for docid, stored in rows}
    return [found.get(docid) for docid in wanted]


def forget_origins(connection: apsw.Connection) -> None:
    """Drop those of the documents in the table `gone`, inside the caller's transaction."""
    if select(connection, _HAS_TABLE):
        connection.execute("DELETE FROM origins WHERE docid IN (SELECT docid FROM gone)")


def _packed(origins: Origins) -> bytes:
    rows = [(term, start, min(end - start, 0xFFFF)) for term, (start, end) in origins.items()]
    return np.array(sorted(rows), ROW).tobytes()


def _unpacked(stored: bytes) -> Origins:
    rows = np.frombuffer(stored, ROW).tolist()
    return {term: (start, start + length) for term, start, length in rows}
