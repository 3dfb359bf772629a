"""`catalog.sqlite`: which documents, texts, pending vectors, tombstones and segments are live.

Every transaction that changes what a search sees has a commit number c. A document row carries the
commit that `added` it and, once it is gone, the one that `deleted` it. A bulk build writes its rows
over many transactions before anyone may see them: they carry the negated number of the build, and
the one row of `builds` that maps build to commit number publishes them all in a transaction of a
few bytes. So a version is visible at c exactly when effective(added) <= c < effective(deleted),
where effective(x) = x for x > 0 and builds[-x].published otherwise (unpublished = infinity).

Left out: bytes of segments (`segment.py`), what a reader holds in memory (`snapshot.py`).
"""

import time
from pathlib import Path
from typing import Any

import apsw
import orjson

from lsr.errors import IndexCorrupt, IndexNotFound, IndexVersion, UsageError

from .database import Database

CATALOG_VERSION = 1
FILE_NAME = "catalog.sqlite"

SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE commits(
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    n_added INTEGER NOT NULL,
    n_replaced INTEGER NOT NULL,
    n_deleted INTEGER NOT NULL
);
CREATE INDEX commits_layout ON commits(number) WHERE kind <> 'write';
CREATE TABLE builds(
    build INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    n_done INTEGER NOT NULL,
    published INTEGER
);
CREATE TABLE documents(
    docid INTEGER PRIMARY KEY AUTOINCREMENT,
    doc_id TEXT NOT NULL,
    passage INTEGER NOT NULL,
    group_docid INTEGER NOT NULL,
    span_start INTEGER,
    span_end INTEGER,
    added INTEGER NOT NULL,
    deleted INTEGER
);
CREATE UNIQUE INDEX documents_live ON documents(doc_id, passage) WHERE deleted IS NULL;
CREATE INDEX documents_deleted ON documents(deleted, doc_id) WHERE deleted IS NOT NULL;
CREATE INDEX documents_replaced ON documents(doc_id) WHERE deleted < 0;
CREATE TABLE texts(docid INTEGER PRIMARY KEY, fields BLOB NOT NULL);
CREATE TABLE pending(
    docid INTEGER PRIMARY KEY,
    added INTEGER NOT NULL,
    terms BLOB NOT NULL,
    weights BLOB NOT NULL
);
CREATE INDEX pending_added ON pending(added);
CREATE TABLE segments(
    segment INTEGER PRIMARY KEY AUTOINCREMENT,
    file TEXT NOT NULL UNIQUE,
    added INTEGER NOT NULL,
    retired INTEGER,
    n_docs INTEGER NOT NULL,
    n_postings INTEGER NOT NULL,
    n_saturated INTEGER NOT NULL,
    n_bytes INTEGER NOT NULL
);
"""


class Catalog(Database):
    """`catalog.sqlite`."""

    @classmethod
    def create(cls, path: Path, meta: dict[str, Any]) -> "Catalog":
        """Create the file with its schema and first settings, durably."""
        settings = {"format": CATALOG_VERSION, **meta}
        insert = "INSERT INTO meta VALUES(?, ?)"
        rows = [(insert, (key, orjson.dumps(value))) for key, value in settings.items()]
        return cls.create_file(path, SCHEMA, rows)

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> "Catalog":
        """Open an existing catalog; where the directory cannot be written, for reading only."""
        if not path.is_file():
            if (path.parent / "shards.json").is_file():
                raise UsageError(
                    f"{path.parent} is a set of shards, each an index of its own, such as "
                    f"{path.parent / 'shard-000.index'}: name one of them. To keep a copy of the "
                    "set, copy the whole folder; to change it, build it again"
                )
            raise IndexNotFound(
                f"{path.parent}: no index here ({FILE_NAME} is missing); "
                "build one with `lsr index CORPUS INDEX`"
            )
        catalog = cls.open_file(path, read_only=read_only)
        try:
            version = catalog.meta("format")
            problem = catalog.length_problem()
            if version is None and not problem:
                problem = "says nothing of its format"
            if problem:
                raise IndexCorrupt(f"{path}: {problem}. Restore a copy or rebuild the index.")
        except (apsw.SQLError, TypeError) as error:
            catalog.abandon()
            raise IndexCorrupt(f"{path}: not a catalog of an lsr index ({error})") from error
        except IndexCorrupt:
            catalog.abandon()
            raise
        except BaseException:
            catalog.close()
            raise
        if version != CATALOG_VERSION:
            catalog.abandon()
            raise IndexVersion(
                f"{path}: catalog format {version}, this release reads {CATALOG_VERSION}; "
                "open it with the release that wrote it, or rebuild it from its corpus"
            )
        return catalog

    def meta(self, key: str) -> Any:
        """One setting (JSON), None when absent."""
        found = self.rows("SELECT value FROM meta WHERE key=?", (key,))
        return orjson.loads(found[0][0]) if found else None

    def committed_at(self) -> float | None:
        """When the newest commit was made, in seconds since the epoch; None for a new index."""
        found = self.rows("SELECT at FROM commits ORDER BY number DESC LIMIT 1")
        return float(found[0][0]) if found else None

    def generation(self) -> int:
        """The newest commit number, 0 for a new index."""
        number = self.rows("SELECT max(number) FROM commits")[0][0]
        return int(number or 0)


def new_commit(
    connection: apsw.Connection,
    kind: str,
    n_added: int = 0,
    n_replaced: int = 0,
    n_deleted: int = 0,
) -> int:
    """Take the next commit number, inside the transaction that it names."""
    connection.execute(
        "INSERT INTO commits(at, kind, n_added, n_replaced, n_deleted) VALUES(?, ?, ?, ?, ?)",
        (time.time(), kind, n_added, n_replaced, n_deleted),
    )
    return connection.last_insert_rowid()
