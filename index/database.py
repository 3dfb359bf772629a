"""`Database`: a small SQLite file that loses nothing, through two connections.

SQLite is apsw's own recent build, never the interpreter's; every page carries a checksum that is
verified at each read (cksumvfs), since SQLite alone does not notice a flipped bit. WAL with
synchronous=FULL: a transaction that returned survives power loss on a disk that honours fsync.

Left out: what is stored in it (`catalog.py`, and the service's own file).
"""

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import apsw
import apsw.sqlite_extra

from lsr.errors import (
    DiskFull,
    IndexCorrupt,
    IndexFailure,
    IndexNotFound,
    IndexReplaced,
    UsageError,
)
from lsr.files import NO_ROOM, has_room

from .wal import empty_torn_log, log_damage

BUSY_TIMEOUT_MS = 60_000
_HEADER_BYTES = 100  # of a SQLite database

FREE_SHARE = 4
"""Pages are given back once one in so many is free: fewer are soon written again."""
FREE_LEAST = 128
"""Not below a megabyte."""
_PAGES_AT_ONCE = 1024
"""Moved in one transaction: 8 MB, which other writers wait for, 0.1 to 0.2 s on two busy cores."""


def _register_checksum_vfs() -> None:
    """Loading the extension once registers the VFS for the whole process."""
    if "cksmvfs" not in apsw.vfs_names():
        connection = apsw.Connection(":memory:")
        try:
            apsw.sqlite_extra.load(connection, "cksumvfs")
        finally:
            connection.close()


@contextmanager
def translated(path: Path, connection: apsw.Connection | None = None) -> Iterator[None]:
    """Turn SQLite's errors into ours, with the file they concern."""
    try:
        yield
    except apsw.FullError as error:
        raise DiskFull(
            f"{path}: the disk is full; the last commit is intact. Free some room and try again."
        ) from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise IndexCorrupt(f"{path}: {error}. Restore a copy or rebuild the index.") from error
    except (apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError) as error:
        if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA:
            raise IndexCorrupt(
                f"{path}: a page does not match its checksum. Restore a copy or rebuild the index."
            ) from error
        if _no_room(path, connection):
            raise DiskFull(
                f"{path}: no room to write; the last commit is intact. Free some room and "
                "try again."
            ) from error
        if isinstance(error, apsw.CantOpenError):
            if not os.path.exists(path):  # noqa: PTH110 - False, too, where nobody may look
                raise IndexNotFound(f"{path}: cannot be opened ({error})") from error
            raise IndexFailure(
                f"{path}: it, its write-ahead log or its shared memory cannot be opened or made "
                f"({error}); try again, and if that does not help look whose they are and whether "
                "the disk is failing"
            ) from error
        raise IndexFailure(f"{path}: {error}") from error
    except apsw.BusyError as error:
        raise IndexFailure(
            f"{path}: another process kept the catalog locked for {BUSY_TIMEOUT_MS // 1000} s; "
            "try again when it has finished"
        ) from error
    except apsw.ConnectionClosedError as error:
        raise UsageError(f"{path.parent}: this index object was closed; open it again") from error


def select(
    connection: apsw.Connection, sql: str, arguments: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    """All rows of one read statement, inside the caller's transaction."""
    return list(connection.execute(sql, tuple(arguments)))


class Database:
    """One file through two connections: one that reads, one that writes.

    Both may be used by any thread. Apart, since a search must not wait for the fsync of a write,
    and since the reader's `data_version` then moves at every commit, of this process or another.
    """

    def __init__(
        self,
        path: Path,
        reader: apsw.Connection,
        writer: apsw.Connection | None,
        *,
        waits_for_room: bool = False,
        had_log: bool = False,
    ) -> None:
        """`waits_for_room` says that there is no writer because the disk was full, `had_log` that
        the file was not closed well.
        """
        self.path = path
        self._reader = reader
        self._writer = writer
        self._waits_for_room = waits_for_room
        self._had_log = had_log
        status = path.stat()
        self._inode = (status.st_dev, status.st_ino)
        self._reading = threading.RLock()
        self._writing = threading.RLock()

    @classmethod
    def create_file(
        cls, path: Path, schema: str, rows: Sequence[tuple[str, Sequence[Any]]]
    ) -> Self:
        """Create the file with its schema and first rows (statement, arguments), durably.

        What fails leaves no file.
        """
        _register_checksum_vfs()
        with translated(path):
            writer = apsw.Connection(str(path), vfs="cksmvfs")
        try:
            with translated(path, writer):
                writer.reserve_bytes(reserve=8)  # the checksum's place at each page's end
                writer.execute("PRAGMA page_size=8192")
                # Lets `give_back` work; a build of 200,000 texts took 4 % longer to write them.
                writer.execute("PRAGMA auto_vacuum=INCREMENTAL")
                _configure_writer(writer)
                writer.execute("BEGIN IMMEDIATE")
                writer.execute(schema)
                for statement, arguments in rows:
                    writer.execute(statement, tuple(arguments))
                writer.execute("COMMIT")
            return cls(path, _open_reader(path), writer)
        except BaseException:
            writer.close()
            for end in ("", "-wal", "-shm", "-journal"):
                path.with_name(path.name + end).unlink(missing_ok=True)
            raise

    @classmethod
    def open_file(cls, path: Path, *, read_only: bool = False) -> Self:
        """Open an existing file; where the directory cannot be written, for reading only.

        On a full disk a file that was closed well opens, too: to be written once there is room.
        """
        _register_checksum_vfs()
        with suppress(OSError):  # SQLite says what is wrong with a file that may not be looked at
            if (size := path.stat().st_size) < _HEADER_BYTES:
                # SQLite takes it for a new database, and removes the log of the old one.
                raise IndexCorrupt(
                    f"{path}: has {size} bytes, less than the header of such a file; restore a "
                    "copy."
                )
        had_log = _has_log(path)
        writer = None
        waits = False
        if not read_only and _may_write(path):
            try:
                writer = _open_writer(path)
            except DiskFull as error:
                waits = True
                logging.getLogger(__name__).warning("for reading until it has room: %s", error)
        try:
            return cls(path, _open_reader(path), writer, waits_for_room=waits, had_log=had_log)
        except IndexCorrupt:
            if writer is not None:
                _leave(writer)
            raise
        except BaseException:
            if writer is not None:
                writer.close()
            raise

    def abandon(self) -> None:
        """Close what is refused, and leave a log that it came with as it lies there."""
        if not self._had_log:
            self.close()
            return
        with self._writing, self._reading:
            self._reader.close()
            if self._writer is not None:
                _leave(self._writer)

    def close(self) -> None:
        """Close; the last one out leaves journal mode DELETE so that a read-only copy opens."""
        with self._writing, self._reading:
            self._reader.close()
            if self._writer is not None and not self.in_place():
                # Closing would unlink the write-ahead log by name: that of the index now there.
                with suppress(apsw.ConnectionClosedError):  # closed already, then moved
                    self._writer.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                self._writer.close()
            elif self._writer is not None:
                # Others may be using it, or the disk be full: the WAL then stays, and is valid.
                with suppress(apsw.Error):
                    self._writer.set_busy_timeout(0)
                    # A connection that never read has no log open and would leave its file behind.
                    self._writer.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
                    self._writer.execute("PRAGMA journal_mode=DELETE")
                self._writer.close()

    @contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """BEGIN IMMEDIATE ... COMMIT: all of it is durable and visible, or nothing is."""
        with self._writing:
            if self._writer is None and self._waits_for_room:
                self._writer = _open_writer(self.path)
        if self._writer is None:
            raise IndexFailure(
                f"{self.path}: the index was opened read-only; open it without read_only, in a "
                "directory that can be written, to change it"
            )
        with self._writing, translated(self.path, self._writer):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                self.check_in_place()
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """A short read transaction: one state of the catalog for several statements."""
        with self._reading, translated(self.path, self._reader):
            self._reader.execute("BEGIN")
            try:
                yield self._reader
            finally:
                self._end_reading()

    def in_place(self) -> bool:
        """Whether the path still names the file that was opened."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._inode

    def check_in_place(self) -> None:
        """Refuse to go on with an index that `--overwrite` has replaced under our feet."""
        if not self.in_place():
            raise IndexReplaced(
                f"{self.path.parent}: the index was replaced or removed since it was opened; "
                "open it again"
            )

    def _end_reading(self) -> None:
        with suppress(apsw.ConnectionClosedError):
            if self._reader.in_transaction:  # an I/O error has ended it already
                self._reader.execute("COMMIT")

    def data_version(self) -> int:
        """A number that moves whenever anybody commits; costs microseconds."""
        with self._reading, translated(self.path, self._reader):
            return int(self._reader.pragma("data_version"))

    def rows(self, sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of one read statement."""
        with self._reading, translated(self.path, self._reader):
            return select(self._reader, sql, arguments)

    def give_back(self) -> int:
        """Cut the free pages off the file, where many are free; how many went.

        What lies behind a free page is moved into it, some pages a transaction, so a kill loses
        nothing. Half a gigabyte that 135,000 deleted texts had held went in 1.1 s of CPU. A file of
        an earlier release keeps its free pages, for what is written later.
        """
        n_free = self._n_free()
        if n_free < FREE_LEAST or FREE_SHARE * n_free < int(self.rows("PRAGMA page_count")[0][0]):
            return 0
        left = n_free
        while left:
            with self.transaction() as connection:
                connection.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()
            before, left = left, self._n_free()
            if left >= before:
                break
        with self._writing, translated(self.path, self._writer):
            assert self._writer is not None
            # The file is cut when the log is written back, as far as readers let that go.
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return n_free - left

    def _n_free(self) -> int:
        return int(self.rows("PRAGMA freelist_count")[0][0])

    def copy_to(self, path: Path) -> None:
        """Copy the file as of one commit, checksums included, durably; others may write meanwhile.

        The copy is in journal mode DELETE, one file alone.
        """
        with self._reading:
            with translated(path):
                target = apsw.Connection(str(path), vfs="cksmvfs")
            try:
                with translated(path, target):
                    # Pages in the write-ahead log have stale checksums, which are made anew when
                    # they are written, but only once the first page has said so. A copy larger than
                    # the cache spills other pages before that one: so it is written beforehand.
                    target.reserve_bytes(reserve=8)
                    target.execute("PRAGMA page_size=8192")
                    target.execute("PRAGMA user_version=0")
                    # All pages in one step: a step ends the read transaction, and a commit in
                    # between would begin the copy anew, for ever under steady writes.
                    with target.backup("main", self._reader, "main") as copying:
                        while not copying.done:
                            copying.step(-1)
                    target.execute("PRAGMA synchronous=FULL")
                    target.execute("PRAGMA journal_mode=DELETE")
            finally:
                target.close()

    def n_bytes(self) -> int:
        """On disk: the file, and the log of what it does not have yet."""
        log = self.path.with_name(self.path.name + "-wal")
        try:
            waiting = log.stat().st_size
        except FileNotFoundError:
            waiting = 0
        return self.path.stat().st_size + waiting

    def length_problem(self) -> str:
        """What is wrong with the file's length, or with the log beside it.

        A short last page carries no checksum to fail; SQLite takes a damaged log for a torn one.

        Beside a write-ahead log any length is right: power may be lost while the log is written
        back, in the middle of a page, and the next one to open the file writes it back again.
        """
        if _has_log(self.path):
            with self._reading, translated(self.path, self._reader):
                return log_damage(self.path.with_name(self.path.name + "-wal"), self._reader)
        size = self.path.stat().st_size
        page = int(self.rows("PRAGMA page_size")[0][0])
        if size % page:
            return f"has {size} bytes, not whole pages of {page}: it was cut off"
        n_pages = int(self.rows("PRAGMA page_count")[0][0])
        if size < n_pages * page:
            return f"has {size} bytes, its header says {n_pages} pages of {page}: it was cut off"
        return ""

    def integrity_problems(self) -> list[str]:
        """SQLite's own check of every page and index; empty when all is well."""
        with self._reading:
            try:
                rows = select(self._reader, "PRAGMA integrity_check(20)")
            except apsw.Error as error:
                return [f"{self.path.name}: {error}"]
        return [f"{self.path.name}: {row[0]}" for row in rows if row[0] != "ok"]


def _no_room(path: Path, connection: apsw.Connection | None) -> bool:
    """Whether the connection's last failure was for want of room.

    Where SQLite could not make a file it tries to open it for reading, and reports why that failed.
    """
    told = connection is not None and connection.system_errno in NO_ROOM
    return told or not has_room(path.parent)


def _open_writer(path: Path) -> apsw.Connection:
    with translated(path):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs="cksmvfs")
    try:
        with translated(path, connection):
            _configure_writer(connection)
            deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
            empty_torn_log(path.with_name(path.name + "-wal"), connection, deadline)
    except IndexCorrupt:
        _leave(connection)
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def _open_reader(path: Path) -> apsw.Connection:
    try:
        return _connect_reader(path, "")
    except IndexFailure as error:
        if not isinstance(error.__cause__, apsw.CantOpenError | apsw.ReadOnlyError):
            raise
        # Whoever may write here must not read past the log: what is committed to it later would
        # stay unseen, and its segments be removed as nobody's.
        if isinstance(error, IndexNotFound) or _may_write(path):
            raise
        # A WAL-mode file in a directory where its shared memory cannot be made.
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise IndexFailure(
                f"{path}: has a write-ahead log that cannot be read from here; open and close the "
                "index once as a user who may write to its directory"
            ) from None
        return _connect_reader(path, "&immutable=1")


def _has_log(path: Path) -> bool:
    """Whether there is a write-ahead log that holds something; the last to close it removes it."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size > 0
    except FileNotFoundError:
        return False


def _leave(connection: apsw.Connection) -> None:
    """Close, and write nothing of the log back, which would remove it."""
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.close()


def _may_write(path: Path) -> bool:
    return os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)


def _connect_reader(path: Path, options: str) -> apsw.Connection:
    uri = f"file:{quote(str(path.resolve()))}?vfs=cksmvfs{options}"
    with translated(path):
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(uri, flags=flags)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    try:
        with translated(path, connection):
            # Each page that comes from the file is checked anew: with the 2 MB of the default, the
            # stored fields of ten documents out of 200,000 took 52 us instead of 26.
            connection.execute("PRAGMA cache_size=-16384")
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _configure_writer(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    _begin_log(connection)
    connection.execute("PRAGMA synchronous=FULL")
    # A big WAL slows each reader's page look-up; 16 MB keeps bulk transactions in few checkpoints.
    connection.execute("PRAGMA wal_autocheckpoint=2048")
    connection.execute("PRAGMA cache_size=-16384")


def _begin_log(connection: apsw.Connection) -> None:
    """Go from the journal mode of a closed file to WAL, whoever else does so now.

    The change reads before it writes, and of two that have read SQLite refuses one at once instead
    of waiting, for they would wait for each other: of four threads that opened a closed index
    together one failed in four of a hundred rounds. Asked again it finds the change made.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except apsw.BusyError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.001)
