"""Plain, gzip and zstd files: numbered lines in, whole files out or none; names that last."""

import csv
import errno
import fcntl
import gzip
import io
import os
import re
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

import zstandard

from .errors import DatasetError, DiskFull, IndexFailure, UsageError

MAX_LINE = 1 << 28
"""Longest line read, in bytes: far above any document, far below what memory holds."""


class Writer(Protocol):
    """What `atomic_write` hands out."""

    def write(self, block: bytes, /) -> object:
        """Append these bytes."""
        ...


_STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}
_DESCRIPTOR = re.compile(
    r"/dev/(?P<name>stdin|stdout|stderr)|/(?:dev|proc/self)/fd/(?P<number>[0-9]{1,9})"
)
_BOM = b"\xef\xbb\xbf"
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says when there is no room: on the disk, in a quota, under a limit."""


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line without its end), streaming; blank lines are skipped.

    A leading byte order mark is dropped. Raises `DatasetError` for a file that is missing,
    unreadable or damaged.
    """
    for number, line in _lines(path):
        line = line.rstrip(b"\r\n")
        if line and not line.isspace():
            yield number, line


def read_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number from 1, cells) of each row that is not empty; plain, .gz or .zst, UTF-8.

    Raises `DatasetError` as `read_lines` does, and for quotes that do not close.
    """
    line = 0
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))  # of the process: only ever raised
    rows = csv.reader((decode(path, *numbered) for numbered in _lines(path)), strict=True)
    try:
        for cells in rows:
            first, line = line + 1, rows.line_num
            if len(cells) > 1 or "".join(cells).strip():
                yield first, cells
    except csv.Error as error:
        raise DatasetError(
            f"{path}:{line + 1}: no CSV ({error}); wanted cells parted by commas, and quotes that "
            "close"
        ) from error


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every line with its end, blank ones too. Raises `DatasetError` as `read_lines` says."""
    number = 0
    try:
        with _open_bytes(path) as file:
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE:
                    raise DatasetError(
                        f"{path}:{number}: the line is longer than {MAX_LINE:,} bytes, wanted "
                        "one record a line"
                    )
                yield number, line.removeprefix(_BOM) if number == 1 else line
    except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError, EOFError) as error:
        raise DatasetError(
            f"{path}:{number + 1}: the compressed file is damaged or cut short after line {number} "
            f"({error}); copy or download it again"
        ) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DatasetError:
    return DatasetError(
        f"{path}: cannot be read ({error.strerror or error}); wanted a readable file"
    )


def read_whole(path: Path) -> bytes:
    """All bytes of a file, plain, .gz or .zst. Raises `DatasetError` as `read_lines` does."""
    try:
        with _open_bytes(path) as file:
            return file.read()
    except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError, EOFError) as error:
        raise DatasetError(
            f"{path}: the compressed file is damaged or cut short ({error}); copy or download it "
            "again"
        ) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def decode(path: Path, number: int, line: bytes) -> str:
    """The line as text, or the `DatasetError` that says which byte is not UTF-8."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}:{number}: byte 0x{line[error.start]:02x} at column {error.start + 1} is not "
            "UTF-8; convert the file"
        ) from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Writer]:
    """Open a file that takes the place of `path` when the block ends well, and vanishes otherwise.

    Compresses when the name ends in .gz or .zst. A link stays one: what it names is replaced. A
    device or a pipe (/dev/stdout) has no place to take and is written to as the block goes.
    """
    if (descriptor := open_descriptor(path)) is not None:
        # By its own descriptor: the file that it leads to may be appended to, and be whose it may.
        if sys.stdout is not None:  # what was printed before comes before
            sys.stdout.flush()
        with os.fdopen(os.dup(descriptor), "wb") as raw, _compressing(raw, path.suffix) as out:
            yield out
        return
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as raw, _compressing(raw, path.suffix) as out:
            yield out
        return
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, wanted the name of a file", str(path))
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        # Under the name that was asked for, not that of a file nobody knows.
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(descriptor, "wb") as raw:
            with _compressing(raw, path.suffix) as out:
                yield out
            raw.flush()
            os.fsync(raw.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)  # mkstemp makes private files; these are results
        Path(name).replace(path)
    except BaseException as error:
        with suppress(OSError):
            Path(name).unlink()
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise DiskFull(f"{path}: the disk is full; free some space and run it again") from error
        raise


def open_descriptor(path: Path) -> int | None:
    """The number of the open file that a path such as /dev/stdout stands for; None for others.

    >>> open_descriptor(Path("/dev/stdout")), open_descriptor(Path("/dev/fd/3"))
    (1, 3)
    >>> open_descriptor(Path("stdout"))
    """
    found = _DESCRIPTOR.fullmatch(str(path))
    if found is None:
        return None
    return _STANDARD[found["name"]] if found["name"] else int(found["number"])


def sync_directory(folder: Path) -> None:
    """fsync a directory, so that the names in it survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def has_room(folder: Path) -> bool:
    """Whether a file can be made and written there; asked after a failure that does not say why."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        return error.errno not in NO_ROOM
    return True


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Turn what the system refuses meanwhile into `DiskFull` or `IndexFailure` about this path.

    Raises `UsageError` for a path that is no UTF-8: SQLite has no name for it.
    """
    if not _is_utf8(path):
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise UsageError(f"{shown}: a path of an index must be UTF-8; choose another name")
    try:
        yield
    except InterruptedError:  # somebody wants an end, and the disk is well
        raise
    except OSError as error:
        about = path if error.filename is None else error.filename
        if error.errno in NO_ROOM:
            raise DiskFull(
                f"{about}: no room to write ({error.strerror}); what was committed is intact. "
                "Free some space and try again."
            ) from error
        remedy = "Look after the disk and try again."
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            remedy = "Choose a folder that may be written to."
        raise IndexFailure(
            f"{about}: {error.strerror or error}; what was committed is intact. {remedy}"
        ) from error


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def make_directory(folder: Path) -> None:
    """Make a directory with its parents where they are missing, and let their names survive power
    loss: a durable file in a directory whose own name is lost is lost with it.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_directory(made.parent)


@contextmanager
def _compressing(raw: IO[bytes], suffix: str) -> Iterator[Writer]:
    if suffix == ".gz":
        # mtime 0: the same content gives the same bytes, whenever it was written
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as out:
            yield out
    elif suffix == ".zst":
        with zstandard.ZstdCompressor().stream_writer(raw, closefd=False) as writer:
            yield writer
    else:
        yield raw


def _open_bytes(path: Path) -> IO[bytes] | gzip.GzipFile:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    if path.suffix == ".zst":
        return io.BufferedReader(_ZstdFile(path))
    return path.open("rb")


class _ZstdFile(io.RawIOBase):
    """Frames of a zstd file; unlike zstandard's own reader, it notices a missing end."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._pending = b""  # compressed bytes not yet given to a frame
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        while not self._ready:
            chunk = self._pending or self._file.read(1 << 14)
            self._pending = b""
            if not chunk:
                if self._frame is not None:
                    raise EOFError("the last zstd frame has no end")
                return 0
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._ready = memoryview(self._frame.decompress(chunk))
            if self._frame.eof:
                self._pending = self._frame.unused_data
                self._frame = None
        n = min(len(buffer), len(self._ready))
        buffer[:n] = self._ready[:n]
        self._ready = self._ready[n:]
        return n

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; the second process waits, e.g. another rank of the same run."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder.mkdir(parents=True, exist_ok=True)  # the first one may have tidied up
        try:
            yield
        finally:
            with suppress(OSError):
                (folder / "lock").unlink()
                folder.rmdir()
