"""A log with a header that a kill tore is told from a damaged one by what it holds."""

import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_store import new_index, row

from index import Index
from index.database import Database
from index.wal import FRAME_HEADER_BYTES, HEADER_BYTES, _checksum
from lsr.errors import IndexCorrupt, IndexVersion
from lsr.types import Document

NAMES = [f"d{number}" for number in range(40)]
FRAME_BYTES = FRAME_HEADER_BYTES + 8192


def killed_index(folder: Path, *, written_back: bool) -> Path:
    """An index as it lies there while it is open, with the end of its log in the catalog or not."""
    with new_index(folder / "open") as index:
        for name in NAMES:
            index.add([Document(name)], row({1: 1.0}))
            if name == NAMES[0] or (written_back and name == NAMES[-1]):
                write_back(index._catalog)
        killed = shutil.copytree(folder / "open", folder / "killed")
    (killed / "catalog.sqlite-shm").unlink()
    return Path(killed)


def write_back(database: Database) -> None:
    """All of the log to the database, without beginning it anew."""
    assert database._writer is not None
    ((busy, in_log, done),) = database._writer.execute("PRAGMA wal_checkpoint(FULL)")
    assert not busy
    assert in_log == done > 0


def counted(folder: Path, *, written_back: bool) -> Path:
    """A file whose only page counts to nine, one commit each, as a kill leaves it."""
    folder.mkdir()
    path = folder / "counted"
    schema = "CREATE TABLE counted(n INTEGER)"
    database = Database.create_file(path, schema, [("INSERT INTO counted VALUES(?)", (0,))])
    write_back(database)
    for number in range(1, 10):
        with database.transaction() as connection:
            connection.execute("UPDATE counted SET n=?", (number,))
    if written_back:
        write_back(database)
    killed = folder / "killed"
    killed.mkdir()
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", killed)
    database.close()
    return killed / "counted"


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
    killed = killed_index(tmp_path, written_back=True)
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
    """Whoever finds it leaves the log, or the next one to look would find nothing wrong."""
    killed = killed_index(tmp_path, written_back=False)
    log = killed / "catalog.sqlite-wal"
    for raw in torn_headers(log):
        log.write_bytes(raw)
        for read_only in (False, True, False):
            with pytest.raises(IndexCorrupt, match="header of its write-ahead log"):
                Index.open(killed, read_only=read_only)
            assert log.read_bytes() == raw


def damaged_catalogs(catalog: Path) -> Iterator[bytes]:
    """Cut everywhere near its header and in the middle of a page, and each page flipped."""
    raw = catalog.read_bytes()
    yield from (raw[:n] for n in (0, 1, 54, 99, 100, 9_678))
    yield from (flipped(raw, at) for at in range(500, len(raw), 8192))


@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_refused_is_left_as_it_lies_there(read_only: bool, tmp_path: Path) -> None:
    """Whatever is damaged beside the log, and whenever that is found: to close in good order, or
    to take a file of nothing for a new one, had removed the log and every commit in it.
    """
    killed = killed_index(tmp_path, written_back=False)
    log, catalog = killed / "catalog.sqlite-wal", killed / "catalog.sqlite"
    whole, sound = log.read_bytes(), catalog.read_bytes()
    logs = (whole, torn_headers(log)[0], flipped(whole, HEADER_BYTES + FRAME_HEADER_BYTES))
    refused = 0
    for damaged in damaged_catalogs(catalog):
        for raw in logs:
            catalog.write_bytes(damaged)
            log.write_bytes(raw)
            for again in range(2):
                try:
                    Index.open(killed, read_only=read_only).close()
                except IndexCorrupt:
                    assert (log.read_bytes(), catalog.read_bytes()) == (raw, damaged)
                    refused += 1
                    continue
                assert again == 0  # a page that the log has newer
                break
            (killed / "catalog.sqlite-shm").unlink(missing_ok=True)
    assert refused > 30
    catalog.write_bytes(sound)
    log.write_bytes(whole)
    with Index.open(killed) as index:
        assert index.n_docs == len(NAMES)


def test_a_refusal_of_what_was_closed_well_leaves_no_log(tmp_path: Path) -> None:
    with new_index(tmp_path / "sound") as index:
        index.add([Document("d")], row({1: 1.0}))
        with index.catalog.transaction() as connection:
            connection.execute("UPDATE meta SET value='99' WHERE key='format'")
    for _ in range(2):
        with pytest.raises(IndexVersion, match="format 99"):
            Index.open(tmp_path / "sound")
        assert not list((tmp_path / "sound").glob("catalog.sqlite-*"))


@pytest.mark.parametrize("n_bytes", [64, 512, 4096, HEADER_BYTES + FRAME_BYTES, None])
def test_a_log_that_begins_with_nothing_is_damage(tmp_path: Path, n_bytes: int | None) -> None:
    killed = killed_index(tmp_path, written_back=False)
    log = killed / "catalog.sqlite-wal"
    raw = log.read_bytes()
    log.write_bytes(bytes(n_bytes or len(raw)) + raw[n_bytes or len(raw) :])
    for _ in range(2):
        with pytest.raises(IndexCorrupt, match="header of its write-ahead log"):
            Index.open(killed)


def test_a_page_that_was_written_again_and_again_is_in_its_last_version(tmp_path: Path) -> None:
    sound = counted(tmp_path / "sound", written_back=True)
    lost = counted(tmp_path / "lost", written_back=False)
    for path in (sound, lost):
        log = path.with_name("counted-wal")
        raw = log.read_bytes()
        assert raw.count(raw[HEADER_BYTES + 8 : HEADER_BYTES + 16]) > 8, "a frame for each commit"
        for torn in torn_headers(log):
            log.write_bytes(torn)
            database = Database.open_file(path)
            try:
                assert bool(database.length_problem()) == (path == lost)
                if path == sound:
                    assert database.rows("SELECT n FROM counted") == [(9,)]
            finally:
                database.abandon()


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]


@pytest.mark.parametrize(
    "damaged",
    [
        lambda raw: flipped(raw, HEADER_BYTES + FRAME_BYTES + FRAME_HEADER_BYTES + 100),
        lambda raw: flipped(raw, HEADER_BYTES + 16),
        lambda raw: flipped(raw, HEADER_BYTES + 2 * FRAME_BYTES + 4),
    ],
    ids=["second page", "first checksum", "third header"],
)
def test_frames_that_are_damaged_as_well_are_not_taken_for_nothing(
    tmp_path: Path, damaged: Callable[[bytes], bytes]
) -> None:
    """Commits go on behind where the chain of checksums breaks."""
    path = counted(tmp_path / "counted", written_back=False)
    log = path.with_name("counted-wal")
    log.write_bytes(damaged(torn_headers(log)[0]))
    database = Database.open_file(path)
    assert "header" in database.length_problem()
    database.abandon()


def test_many_open_one_with_a_torn_header_at_the_same_moment(tmp_path: Path) -> None:
    killed = counted(tmp_path / "counted", written_back=True)
    torn = torn_headers(killed.with_name("counted-wal"))[0]
    for number in range(10):
        path = Path(shutil.copytree(killed.parent, tmp_path / str(number))) / "counted"
        path.with_name("counted-wal").write_bytes(torn)
        found: list[object] = []
        together = threading.Barrier(4)

        def open_it(
            path: Path = path, found: list[object] = found, together: threading.Barrier = together
        ) -> None:
            together.wait()
            try:
                database = Database.open_file(path)
                found.append(database.length_problem() or database.rows("SELECT n FROM counted"))
                database.close()
            except Exception as error:  # told by the assertion below
                found.append(error)

        threads = [threading.Thread(target=open_it) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [[(9,)]] * 4
