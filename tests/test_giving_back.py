"""Deleted texts give their room on the disk back."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from index import Index, database
from index.catalog import FILE_NAME
from index.database import Database
from lsr.errors import DiskFull
from lsr.types import Document, SparseMatrix

N_DOCS = 1200
LETTERS = "abcdefghijklmnopqrstuvwxyz "


def text_of(number: int) -> str:
    drawn = np.random.default_rng(number).integers(0, len(LETTERS), 3000)
    return "".join(LETTERS[at] for at in drawn)


def vectors(n: int) -> SparseMatrix:
    return sparse.csr_array((np.full(n, 1.0, np.float32), (range(n), [3] * n)), shape=(n, 50))


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    with Index.create(tmp_path / "i", n_terms=50, max_weight=4.0) as index:
        index.add([Document(f"d{i}", {"text": text_of(i)}) for i in range(N_DOCS)], vectors(N_DOCS))
    return tmp_path / "i"


def size(path: Path) -> int:
    return (path / FILE_NAME).stat().st_size


def test_a_merge_gives_the_room_of_deleted_texts_back(filled: Path) -> None:
    """While another has the index open; what stays is what it was, to the last letter."""
    before = size(filled)
    with Index.open(filled) as index, Index.open(filled) as other:
        index.delete([f"d{i}" for i in range(N_DOCS) if i % 10])
        index.merge()
        assert other.search(vectors(1), k=N_DOCS).doc_ids == [f"d{i}" for i in range(0, N_DOCS, 10)]
        assert size(filled) < before / 5
        assert index.check().problems == ()
    with Index.open(filled) as index:
        for i in range(0, N_DOCS, 10):
            document = index.get(f"d{i}")
            assert document is not None
            assert document.fields == {"text": text_of(i)}
        assert index.n_docs == N_DOCS / 10


def test_a_few_free_pages_are_kept_for_what_comes(filled: Path) -> None:
    before = size(filled)
    with Index.open(filled) as index:
        index.delete([f"d{i}" for i in range(0, N_DOCS, 10)])
        index.merge()
    assert size(filled) >= before


def test_a_stop_half_way_loses_nothing_and_is_gone_on_from(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_PAGES_AT_ONCE", 16)
    looks = 0
    count = Database._n_free

    def stopping(self: Database) -> int:
        nonlocal looks
        looks += 1
        if looks == 5:
            raise KeyboardInterrupt
        return count(self)

    with Index.open(filled) as index:
        index.delete([f"d{i}" for i in range(1, N_DOCS)])
        monkeypatch.setattr(Database, "_n_free", stopping)
        with pytest.raises(KeyboardInterrupt):
            index.merge()
        monkeypatch.setattr(Database, "_n_free", count)
    half = size(filled)
    with Index.open(filled) as index:
        assert index.check().problems == ()
        assert index.search(vectors(1), k=5).doc_ids == ["d0"]
        index.merge()
    assert size(filled) < half / 5


def test_a_full_disk_keeps_the_pages_and_the_merge(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Database) -> int:
        raise DiskFull("no room")

    monkeypatch.setattr(Database, "give_back", full)
    with Index.open(filled) as index:
        index.delete([f"d{i}" for i in range(1, N_DOCS)])
        index.merge()
        assert index.info()["n_segments"] == 1
        assert index.check().problems == ()


def test_a_catalog_of_an_earlier_release_keeps_its_pages(filled: Path) -> None:
    with Index.open(filled) as index:
        writer = index._catalog._writer
        assert writer is not None
        writer.execute("PRAGMA auto_vacuum=NONE")
        writer.execute("VACUUM")
    before = size(filled)
    with Index.open(filled) as index:
        assert index._catalog.rows("PRAGMA auto_vacuum") == [(0,)]
        index.delete([f"d{i}" for i in range(1, N_DOCS)])
        index.merge()
        assert index.check().problems == ()
    assert size(filled) >= before


class TestTidying:
    def test_it_waits_until_most_rows_are_deleted_ones(self, filled: Path) -> None:
        """Sealed or pending, and until they are out of reach."""
        before = size(filled)
        with Index.open(filled) as index:
            assert not index.tidy()
            index.seal()
            index.delete([f"d{i}" for i in range(N_DOCS // 2)])
            assert not index.tidy()
            index.retain(3600)
            index.delete([f"d{i}" for i in range(N_DOCS - 10)])
            assert not index.tidy()
            index.retain(0)
            assert index.tidy()
            assert not index.tidy()
            assert index.info()["n_deleted"] == 0
            assert size(filled) < before / 5
            wanted = [f"d{i}" for i in range(N_DOCS - 10, N_DOCS)]
            assert index.search(vectors(1), k=50).doc_ids == wanted

    def test_replaced_versions_count_and_pending_rows_go(self, filled: Path) -> None:
        with Index.open(filled) as index:
            for _ in range(2):
                some = [Document(f"d{i}", {"text": text_of(i)}) for i in range(N_DOCS)]
                index.add(some, vectors(N_DOCS))
            assert index.info()["n_deleted"] == 2 * N_DOCS
            assert index.tidy()
            assert (index.info()["n_deleted"], index.n_docs) == (0, N_DOCS)
            assert index.check().problems == ()
