"""`Home`: a directory that everything a server must not forget lies in.

    DIR/
      service.sqlite     indexes, aliases, keys, tasks, acknowledged lines, idempotency keys
      indexes/           an index directory each, NAME-xxxxxxxx
      encoders/          encoder folders by name, put there by whoever runs the server
      judged/            judged queries, NAME.json, likewise
      snapshots/         verified copies of indexes
      tasks/ID/          files of one task, such as rejects.ndjson
      tasks/ID.receiving locked while the body of one is received
      server.lock        held by the one server
      worker.lock        held by the one process that runs tasks

Any number of processes may have it open; each looks at `changed()` before it trusts what it read.
Indexes have directories and catalogs of their own, which no transaction of `service.sqlite` spans;
whatever touches both is written so that either order of survival is right (`worker/`).
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import apsw
import orjson

from index import Database
from lsr.errors import IndexCorrupt, IndexLocked, IndexVersion, UsageError
from lsr.files import make_directory, sync_directory
from lsr.shipped import ENCODERS, shipped

FILE_NAME = "service.sqlite"
_STAGING = f"{FILE_NAME}.new"
FORMAT = 2
FOLDERS = ("indexes", "encoders", "judged", "snapshots", "tasks")

VERSIONS = """
CREATE TABLE IF NOT EXISTS versions(
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    index_name TEXT NOT NULL,
    folder TEXT NOT NULL UNIQUE,
    settings BLOB NOT NULL,
    until REAL NOT NULL,
    after INTEGER NOT NULL,
    why BLOB NOT NULL
);
"""
"""What format 1 did not have."""

SCHEMA = f"""{VERSIONS}
CREATE TABLE settings(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE indexes(
    name TEXT PRIMARY KEY,
    folder TEXT NOT NULL UNIQUE,
    created REAL NOT NULL,
    settings BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE aliases(alias TEXT PRIMARY KEY, target TEXT NOT NULL, since REAL NOT NULL)
    WITHOUT ROWID;
CREATE TABLE alias_history(
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    alias TEXT NOT NULL,
    target TEXT,
    previous TEXT,
    at REAL NOT NULL,
    why BLOB
);
CREATE TABLE keys(
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    scopes BLOB NOT NULL,
    filter BLOB,
    created REAL NOT NULL,
    expires REAL,
    revoked REAL
) WITHOUT ROWID;
CREATE TABLE tasks(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    index_name TEXT,
    state TEXT NOT NULL,
    ticket INTEGER,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    request BLOB NOT NULL,
    progress BLOB,
    details BLOB,
    error BLOB,
    cancel INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX tasks_waiting ON tasks(ticket) WHERE finished IS NULL;
CREATE INDEX tasks_ticket ON tasks(ticket);
CREATE TABLE log(
    task INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    first_line INTEGER NOT NULL,
    n_lines INTEGER NOT NULL,
    lines BLOB NOT NULL,
    PRIMARY KEY(task, chunk)
);
CREATE TABLE idempotency(
    key TEXT NOT NULL,
    index_name TEXT NOT NULL,
    request_hash BLOB NOT NULL,
    task INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY(key, index_name)
) WITHOUT ROWID;
CREATE TABLE effectiveness(
    index_name TEXT NOT NULL,
    at REAL NOT NULL,
    generation INTEGER NOT NULL,
    measure TEXT NOT NULL,
    value REAL NOT NULL,
    n_queries INTEGER NOT NULL,
    PRIMARY KEY(index_name, at)
) WITHOUT ROWID;
"""


class Home:
    """An open data directory; open it with `open`, close it or use `with`."""

    def __init__(self, path: Path, database: Database) -> None:
        self.path = path
        self.database = database

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False) -> "Home":
        """Open the data directory, or make it where there is none, unless only to read it.

        One of an earlier release is brought along. Raises `UsageError` for a directory that holds
        something else, `IndexVersion` for one of a later release or one that may not be brought
        along, `IndexCorrupt` for a damaged one.
        """
        path = Path(path).resolve()
        file = path / FILE_NAME
        if not file.is_file():
            if read_only and not path.exists():
                raise UsageError(
                    f"{path}: no data directory there; `lsr serve --data DIR` makes one"
                )
            if read_only or (path.exists() and (not path.is_dir() or _holds_something(path))):
                raise UsageError(
                    f"{path} exists and is no data directory ({FILE_NAME} is missing); "
                    "name an empty or a new directory"
                )
            _make(path)
        for name in () if read_only else FOLDERS:
            make_directory(path / name)
        database = Database.open_file(file, read_only=read_only)
        home = cls(path, database)
        try:
            version = home.setting("format")
            problem = database.length_problem()
            if version is None and not problem:
                problem = "says nothing of its format"
            if problem:
                raise IndexCorrupt(f"{file}: {problem}. Restore a copy of it.")
            if version == 1 and not read_only:
                version = home._upgraded()
        except apsw.SQLError as error:
            database.abandon()
            raise IndexCorrupt(f"{file}: not the file of a data directory ({error})") from error
        except IndexCorrupt:
            database.abandon()
            raise
        except BaseException:
            database.close()
            raise
        if version != FORMAT:
            database.abandon()
            advice = "serve it once with this one" if version == 1 else "serve it with that one"
            raise IndexVersion(
                f"{file}: format {version} of another release, this one reads {FORMAT}; {advice}"
            )
        return home

    def _upgraded(self) -> int:
        """From format 1; of several processes the first does it."""
        with self.transaction() as connection:
            ((found,),) = connection.execute("SELECT value FROM settings WHERE key='format'")
            if orjson.loads(found) == 1:
                connection.execute(VERSIONS)
                connection.execute(
                    "UPDATE settings SET value=? WHERE key='format'", (orjson.dumps(FORMAT),)
                )
        return FORMAT

    @cached_property
    def id(self) -> str:
        """What no other data directory is called: 16 hex digits, made when they are first asked
        for.
        """
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO settings VALUES('id', ?)",
                (orjson.dumps(secrets.token_hex(8)),),
            )
        return str(self.setting("id"))

    def close(self) -> None:
        """Let go of `service.sqlite`."""
        self.database.close()

    def __enter__(self) -> "Home":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def changed(self) -> int:
        """A number that moves whenever anybody commits; costs microseconds."""
        return self.database.data_version()

    @contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """All of it is durable when the body ends, or nothing is."""
        with self.database.transaction() as connection:
            yield connection

    def rows(self, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """All rows of one read statement."""
        return self.database.rows(sql, arguments)

    def setting(self, key: str) -> Any:
        """A setting of the directory (JSON), None when absent."""
        found = self.rows("SELECT value FROM settings WHERE key=?", key)
        return orjson.loads(found[0][0]) if found else None

    def put_setting(self, key: str, value: Any) -> None:
        """Set it, durably."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO settings VALUES(?, ?) "
                "ON CONFLICT(key) DO UPDATE SET value=excluded.value",
                (key, orjson.dumps(value)),
            )

    def encoders(self) -> dict[str, Path]:
        """Encoder folders by name: those in `encoders/` now, and the shipped ones behind them."""
        folder = self.path / "encoders"
        own = {one.name: one for one in sorted(folder.iterdir()) if one.is_dir()}
        return own | {name: shipped(name) for name in ENCODERS if name not in own}

    def free_bytes(self) -> int:
        """Room on the disk of the directory."""
        return shutil.disk_usage(self.path).free

    def worked_in(self) -> bool | None:
        """Whether a worker holds the directory; None where the system does not tell.

        Read, not tried: a lock taken for a moment could turn away a worker that starts just then.
        """
        try:
            status = (self.path / "worker.lock").stat()
        except FileNotFoundError:
            return False
        where = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        try:
            held = Path("/proc/locks").read_text().splitlines()
        except OSError:
            return None
        return any(line.split()[1] == "FLOCK" and where in line.split() for line in held)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Be the one process that runs tasks, or raise `IndexLocked`."""
        descriptor = os.open(
            self.path / "worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise IndexLocked(
                    f"{self.path}: another server works in this data directory; stop it, or name "
                    "another directory"
                ) from error
            yield
        finally:
            os.close(descriptor)


def _holds_something(path: Path) -> bool:
    """Whether there is more in a directory than a kill leaves while it is made."""
    return any(not one.name.startswith(_STAGING) for one in path.iterdir())


def _make(path: Path) -> None:
    """A new data directory; a kill leaves nothing that looks like one."""
    make_directory(path)
    for left in path.iterdir():
        left.unlink()
    staging = path / _STAGING
    Database.create_file(
        staging,
        SCHEMA,
        [("INSERT INTO settings VALUES('format', ?)", (orjson.dumps(FORMAT),))],
    ).close()
    staging.rename(path / FILE_NAME)
    sync_directory(path)
