"""Known bugs to plant into a workload's process: each must turn the checkers red."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import apsw

import index.database
import index.maintenance
import index.segment_writer
import index.writer


def skip_the_fsync_of_segments() -> None:
    """A segment is renamed into place with its bytes still in the page cache."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if not Path(f"/proc/self/fd/{descriptor}").readlink().name.endswith(".tmp"):
            real(descriptor)

    _put(os, "fsync", fsync)


def skip_the_fsync_of_folders() -> None:
    """The name of a new segment may vanish."""
    _put(index.segment_writer, "sync_directory", lambda folder: None)


def publish_before_the_fsync() -> None:
    """The transaction that makes a segment live commits first, the fsync follows."""
    later: list[Path] = []
    real_fsync = os.fsync
    real_write = index.segment_writer.write_segment
    real_transaction = index.database.Database.transaction

    def write(path: Path, *arguments: Any, **options: Any) -> Any:
        _put(os, "fsync", lambda descriptor: None)
        try:
            return real_write(path, *arguments, **options)
        finally:
            _put(os, "fsync", real_fsync)
            later.extend((path, path.parent))

    @contextmanager
    def transaction(self: index.database.Database) -> Iterator[apsw.Connection]:
        with real_transaction(self) as connection:
            yield connection
        while later:
            descriptor = os.open(later.pop(0), os.O_RDONLY)
            real_fsync(descriptor)
            os.close(descriptor)

    _put(index.maintenance, "write_segment", write)
    index.database.Database.transaction = transaction  # type: ignore[method-assign]


def do_not_sync_the_log() -> None:
    """SQLite answers before its log is on the disk."""
    real = index.database._configure_writer

    def configure(connection: apsw.Connection) -> None:
        real(connection)
        connection.execute("PRAGMA synchronous=OFF")

    _put(index.database, "_configure_writer", configure)


def drop_a_pending_row() -> None:
    """The last row of each commit is acknowledged and never stored."""
    real: Callable[..., None] = vars(index.writer)["insert_pending"]

    def insert(connection: apsw.Connection, rows: Any, *, first: int, added: int) -> None:
        real(connection, rows, first=first, added=added)
        connection.execute("DELETE FROM pending WHERE docid=?", (first + len(rows) - 1,))

    _put(index.writer, "insert_pending", insert)


def commit_in_two_transactions() -> None:
    """The deletes of a commit become durable after its adds."""
    real = index.writer.Writer._write

    def write(self: index.writer.Writer) -> None:
        changes, self._changes = self._changes, []
        for change in changes:
            self._changes = [change]
            real(self)

    index.writer.Writer._write = write  # type: ignore[method-assign]


FAULTS: dict[str, Callable[[], None]] = {
    fault.__name__: fault
    for fault in (
        skip_the_fsync_of_segments,
        skip_the_fsync_of_folders,
        publish_before_the_fsync,
        do_not_sync_the_log,
        drop_a_pending_row,
        commit_in_two_transactions,
    )
}


def _put(module: ModuleType, name: str, value: object) -> None:
    vars(module)[name] = value
