"""What changes in the directory of an index when somebody mends, replaces or restores it."""

from collections.abc import Iterator
from pathlib import Path

Footprint = tuple[tuple[str, int, int, int], ...]
"""Name, inode, size and time of change (ns) of each file."""


def footprint(path: Path) -> Footprint:
    """Catalog, its log and the segments of the index at `path`; empty where there is none.

    Reading an index leaves it as it is, so that two looks differ only where somebody wrote.
    """
    return tuple(sorted(_files(path)))


def _files(path: Path) -> Iterator[tuple[str, int, int, int]]:
    try:
        segments = list((path / "segments").iterdir())
    except OSError:
        segments = []
    for file in (path / "catalog.sqlite", path / "catalog.sqlite-wal", *segments):
        try:
            status = file.stat()
        except OSError:  # deleted since, or there never was one
            continue
        if status.st_size:  # readers make an empty log and delete it
            yield file.name, status.st_ino, status.st_size, status.st_mtime_ns
