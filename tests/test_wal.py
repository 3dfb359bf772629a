"""A log with a header that a kill tore is told from a damaged one by what it holds."""

import shutil
import struct
from pathlib import Path

import pytest
from test_store import new_index, row

from index import Index
from index.wal import HEADER_BYTES, _checksum
from lsr.errors import IndexCorrupt
from lsr.types import Document

NAMES = [f"d{number}" for number in range(40)]


def left_by_a_kill(folder: Path, *, written_back: bool) -> Path:
    """An index as it lies there while it is open, with the end of its log in the catalog or not."""
    with new_index(folder / "open") as index:
        for name in NAMES:
            index.add([Document(name)], row({1: 1.0}))
            if name == NAMES[0] or (written_back and name == NAMES[-1]):
                write_back(index)
        killed = shutil.copytree(folder / "open", folder / "killed")
    (killed / "catalog.sqlite-shm").unlink()
    return Path(killed)


def write_back(index: Index) -> None:
    """All of the log to the catalog, without beginning it anew."""
    writer = index._catalog._writer
    assert writer is not None
    ((busy, in_log, done),) = writer.execute("PRAGMA wal_checkpoint(FULL)")
    assert not busy
    assert in_log == done > 0


def begun_anew(header: bytes) -> bytes:
    """The header that SQLite writes over this one once the log is written back."""
    magic, version, page_bytes, number, salt, _ = struct.unpack_from(">6I", header)
    begun = struct.pack(">6I", magic, version, page_bytes, number + 1, salt + 1, 0x5EED5EED)
    return begun + struct.pack(">2I", *_checksum(begun, (0, 0), ">" if magic & 1 else "<"))


def torn_headers(log: Path) -> list[bytes]:
    """The log as a kill within the writing of a new header leaves it, after each byte of it."""
    raw = log.read_bytes()
    assert len(raw) > HEADER_BYTES
    new = begun_anew(raw[:HEADER_BYTES])
    torn = [new[:n] + raw[n:] for n in range(1, HEADER_BYTES)]
    return [each for each in torn if each not in (raw, new + raw[HEADER_BYTES:])]


def test_a_header_torn_over_a_log_that_was_written_back_loses_nothing(tmp_path: Path) -> None:
    killed = left_by_a_kill(tmp_path, written_back=True)
    wholes = torn_headers(killed / "catalog.sqlite-wal")
    assert len(wholes) > 15
    for number, raw in enumerate(wholes):
        again = shutil.copytree(killed, tmp_path / str(number))
        (again / "catalog.sqlite-wal").write_bytes(raw)
        with Index.open(again, read_only=True) as index:
            assert index.search(row({1: 1.0}), 50).doc_ids == NAMES
        with Index.open(again) as index:
            assert index.search(row({1: 1.0}), 50).doc_ids == NAMES
            index.add([Document("later")], row({1: 1.0}))
            assert index.check().sound
            shutil.copytree(again, tmp_path / f"{number} killed")
        for copy in (again, tmp_path / f"{number} killed"):
            with Index.open(copy) as index:
                assert index.search(row({1: 1.0}), 50).doc_ids == [*NAMES, "later"]
                assert index.check().sound


def test_a_header_torn_over_what_the_catalog_lacks_is_damage(tmp_path: Path) -> None:
    killed = left_by_a_kill(tmp_path, written_back=False)
    log = killed / "catalog.sqlite-wal"
    for raw in torn_headers(log):
        log.write_bytes(raw)
        with pytest.raises(IndexCorrupt, match="header of its write-ahead log"):
            Index.open(killed)
