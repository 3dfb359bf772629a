"""One file of a snapshot, .tar.zst, and back: for another disk, another machine, another continent.

The manifest comes first, then exactly the files it names, in its order. An archive is hostile until
proven otherwise. Reading one follows no link, makes no name that the manifest does not have, and
stops at the first byte beyond what was promised. The reader knows nothing of tar but plain headers:
library readers honour extensions that hold gigabytes or links.
"""

import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zstandard

from lsr.errors import DiskFull, IndexCorrupt, IndexExists, IndexNotFound, IndexVersion
from lsr.files import atomic_write, make_directory

from .backup import Progress
from .manifest import FILE_NAME, MAX_BYTES, File, Manifest
from .restoring import Verdict, restore_parts

SUFFIX = ".tar.zst"
MAX_FILES = 10_000
MAX_RATIO = 200
"""Bytes out per byte in. Real snapshots shrink by a factor of 2 to 6; one of an empty index, whose
arrays are zeros, by up to 60, and below `SMALL` no ratio does harm."""
SMALL = 1 << 26
_BLOCK = 512
_RECORD = 20 * _BLOCK
_WINDOW = 1 << 27
"""The largest window that our own level 3 and `zstd -19` ask a reader to keep."""


def pack(snapshot: Path, archive: Path, *, progress: Progress | None = None) -> int:
    """Write a snapshot as one file, which appears when it is whole; its size in bytes.

    Raises `IndexExists`, and `IndexCorrupt` where a file is not as long as the manifest says;
    contents are verified when it is restored.
    """
    if archive.exists():
        raise IndexExists(f"{archive} exists; choose another name for the archive")
    told = Manifest.read(snapshot)
    done = 0
    with atomic_write(archive) as out:
        _put(out.write, FILE_NAME, told.to_bytes())
        for file in told.files:
            out.write(_header(file.path, file.n_bytes))
            with (snapshot / file.path).open("rb") as raw:
                if os.fstat(raw.fileno()).st_size != file.n_bytes:
                    raise IndexCorrupt(f"{snapshot / file.path}: not {file.n_bytes} bytes long")
                shutil.copyfileobj(raw, out, 1 << 20)
            out.write(bytes(-file.n_bytes % _BLOCK))
            done += file.n_bytes
            if progress is not None:
                progress(done, told.n_bytes)
        out.write(bytes(2 * _BLOCK))
    return archive.stat().st_size


def manifest_of(archive: Path) -> Manifest:
    """What an archive says of itself, from its beginning; nothing of the rest is read.

    Raises `IndexNotFound` or `IndexCorrupt`.
    """
    with _opened(archive) as read:
        return _manifest(archive, read)


def unpack(archive: Path, target: Path, *, progress: Progress | None = None) -> Manifest:
    """Make the index `target` of an archive, verified to the last byte, or leave nothing there.

    Raises `IndexCorrupt` for an archive that is damaged or is up to something, `DiskFull` before
    anything is written where there is no room for what it promises.
    """
    with _opened(archive) as read:
        told = _manifest(archive, read)
        _affordable(archive, told, target)
        return restore_parts(told, _members(archive, told, read), target, progress=progress)


@contextmanager
def _opened(archive: Path) -> Iterator[Callable[[int], bytes]]:
    """What reads the bytes that an archive holds. Raises `IndexNotFound`, and `IndexCorrupt` for
    what proves to be no zstd meanwhile.
    """
    if not archive.is_file():
        raise IndexNotFound(f"{archive}: no such archive")
    try:
        with archive.open("rb") as raw:
            reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(
                raw, read_across_frames=False
            )
            yield reader.read
    except zstandard.ZstdError as error:
        raise IndexCorrupt(f"{archive}: damaged or no zstd file ({error}); take another") from error


def verify_archive(archive: Path, *, progress: Progress | None = None) -> Verdict:
    """Restore an archive beside itself, the only way to read it, and remove what that made.

    Raises `IndexNotFound` and `DiskFull`; everything else is in the verdict.
    """
    trial = archive.with_name(f".{archive.name}.trial")
    shutil.rmtree(trial, ignore_errors=True)
    try:
        told = unpack(archive, trial, progress=progress)
    except (IndexCorrupt, IndexVersion) as error:
        return Verdict(None, 0, (str(error).removeprefix(f"{archive}: "),))
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    return Verdict(told, told.n_bytes, ())


def _manifest(archive: Path, read: Callable[[int], bytes]) -> Manifest:
    name, size = _member(archive, read)
    if name != FILE_NAME or size > MAX_BYTES:
        raise IndexCorrupt(f"{archive}: must begin with {FILE_NAME}, begins with {name!r}")
    raw = _exactly(archive, read, size)
    _exactly(archive, read, -size % _BLOCK)
    return Manifest.from_bytes(raw, where=archive)


def _affordable(archive: Path, told: Manifest, target: Path) -> None:
    """Refuse promises that no snapshot keeps, before the first byte of them is written."""
    if len(told.files) > MAX_FILES:
        raise IndexCorrupt(f"{archive}: {len(told.files)} files, at most {MAX_FILES} are read")
    packed = archive.stat().st_size
    if told.n_bytes > max(SMALL, MAX_RATIO * packed):
        raise IndexCorrupt(
            f"{archive}: {packed:,} bytes that promise {told.n_bytes:,}; no snapshot shrinks so far"
        )
    make_directory(target.parent)
    free = shutil.disk_usage(target.parent).free
    if told.n_bytes > free:
        raise DiskFull(
            f"{target.parent}: {free:,} bytes are free, {archive} holds {told.n_bytes:,}; nothing "
            "was written. Free some room and try again."
        )


def _members(
    archive: Path, told: Manifest, read: Callable[[int], bytes]
) -> Iterator[tuple[File, Callable[[int], bytes]]]:
    for file in told.files:
        name, size = _member(archive, read)
        if (name, size) != (file.path, file.n_bytes):
            raise IndexCorrupt(
                f"{archive}: found {name!r} of {size} bytes where {file.path} of {file.n_bytes} "
                "comes by its manifest"
            )
        yield file, _bounded(read, size)
        _exactly(archive, read, -size % _BLOCK)
    end = _exactly(archive, read, 2 * _BLOCK)
    while (block := read(_BLOCK)) and len(end) <= _RECORD:  # tar fills its last record with zeros
        end += block
    if any(end) or len(end) > _RECORD:
        raise IndexCorrupt(f"{archive}: goes on after the last file of its manifest")


def _bounded(read: Callable[[int], bytes], size: int) -> Callable[[int], bytes]:
    """Reading that ends after `size` bytes."""
    left = size

    def part(n: int) -> bytes:
        nonlocal left
        block = read(min(n, left))
        left -= len(block)
        return block

    return part


def _member(archive: Path, read: Callable[[int], bytes]) -> tuple[str, int]:
    """Name and size of the plain file whose header comes next; nothing else is accepted."""
    try:
        one = tarfile.TarInfo.frombuf(_exactly(archive, read, _BLOCK), "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise IndexCorrupt(f"{archive}: no plain file comes here ({error})") from error
    if one.type != tarfile.REGTYPE or one.linkname or one.size < 0:
        raise IndexCorrupt(
            f"{archive}: {one.name[:100]!r} is no plain file (type {one.type!r}); refused"
        )
    return one.name, one.size


def _exactly(archive: Path, read: Callable[[int], bytes], n: int) -> bytes:
    parts = []
    while n and (block := read(n)):
        parts.append(block)
        n -= len(block)
    if n:
        raise IndexCorrupt(f"{archive}: cut off; take another copy")
    return b"".join(parts)


def _put(write: Callable[[bytes], object], name: str, content: bytes) -> None:
    write(_header(name, len(content)) + content + bytes(-len(content) % _BLOCK))


def _header(name: str, size: int) -> bytes:
    one = tarfile.TarInfo(name)
    one.size, one.mode = size, 0o644
    header = one.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")
    if len(header) != _BLOCK:
        raise IndexCorrupt(f"{name!r}: too long a name for an archive, wanted at most 100 bytes")
    return header
