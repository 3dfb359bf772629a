"""A writer's promises: all of it or nothing, on the versions it expected, remembered with it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from index import Index, Passage
from lsr.errors import UnknownField, UsageError, VersionConflict
from lsr.types import Document, SparseMatrix

ONE: SparseMatrix = sparse.csr_array(np.array([[0, 1.0, 0, 0]], np.float32))


def new_index(path: Path, **options: Any) -> Index:
    return Index.create(path, n_terms=4, max_weight=4.0, **options)


def test_what_a_commit_remembers_is_there_exactly_when_its_documents_are(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        assert index.remembered("task 1") is None
        with index.writer() as writer:
            writer.add([Document("a")], ONE)
            writer.remember("task 1", {"chunk": 3, "lines": [1, 2]})
            writer.remember("other", 7)
        assert index.remembered("task 1") == {"chunk": 3, "lines": [1, 2]}
        with pytest.raises(RuntimeError, match="stop"), index.writer() as writer:
            writer.remember("task 1", {"chunk": 4})
            raise RuntimeError("stop")
        with index.writer() as writer:
            writer.remember("other", 8)
            writer.forget("task 1")
            writer.forget("never there")
    with Index.open(tmp_path / "i") as index:
        assert (index.remembered("task 1"), index.remembered("other")) == (None, 8)
        index.merge()
        assert index.remembered("other") == 8


def test_remembering_cannot_reach_the_settings(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        with index.writer() as writer:
            writer.remember("n_terms", 99)
        assert index.remembered("n_terms") == 99
    with Index.open(tmp_path / "i") as index:
        assert index.n_terms == 4
        with pytest.raises(UsageError, match="non-empty string"):
            index.remembered("")
        with pytest.raises(UsageError, match="must be JSON"), index.writer() as writer:
            writer.remember("k", object())


def test_a_writer_that_dies_in_its_transaction_remembers_nothing(tmp_path: Path) -> None:
    """Killed between the documents and the commit, as a worker may be."""
    new_index(tmp_path / "i").close()
    script = """
import os, signal, sys
import numpy as np
from scipy import sparse
from index import Index
from index import writer as module
from lsr.types import Document

plain = module.remember_all
def die(connection, remembered):
    plain(connection, remembered)
    os.kill(os.getpid(), signal.SIGKILL)
module.remember_all = die
with Index.open(sys.argv[1]) as index, index.writer() as writer:
    writer.add([Document("a")], sparse.csr_array(np.array([[0, 1.0, 0, 0]], np.float32)))
    writer.remember("chunk", 1)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "i")], check=False)
    assert done.returncode == -9
    with Index.open(tmp_path / "i") as index:
        assert (index.n_docs, index.remembered("chunk")) == (0, None)


def test_a_version_names_one_state_of_a_document_for_good(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        assert index.version("a") is None
        index.add([Document("a")], ONE)
        first = index.version("a")
        index.add([Document("a")], ONE)
        second = index.version("a")
        index.delete(["a"])
        assert index.version("a") is None
        index.add([Document("a")], ONE)
        third = index.version("a")
        assert len({first, second, third, None}) == 4
        index.merge()
        assert index.version("a") == third


def test_an_expectation_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        index.add([Document("a", {"v": 1})], ONE)
        seen = index.version("a")
        index.add([Document("a", {"v": 2})], ONE)  # somebody else was faster
        before = index.refresh().generation
        wanted = pytest.raises(VersionConflict, match=f"expected version {seen}")
        with wanted as caught, index.writer() as writer:
            writer.add([Document("b")], ONE)
            writer.add([Document("a", {"v": 3})], ONE)
            writer.remember("k", 1)
            writer.expect("a", seen)
        assert (caught.value.doc_id, caught.value.expected) == ("a", seen)
        assert caught.value.found == index.version("a") != seen
        assert (index.get("b"), index.remembered("k")) == (None, None)
        assert (index.get("a"), index.refresh().generation) == (Document("a", {"v": 2}), before)


def test_an_expectation_is_about_the_state_before_its_writer(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        with index.writer() as writer:
            writer.add([Document("a"), Document("b")], sparse.vstack([ONE, ONE]))
            writer.expect("a", None)
        refused = pytest.raises(VersionConflict, match="expected no such document")
        with refused, index.writer() as writer:
            writer.expect("a", None)
        with pytest.raises(VersionConflict, match="there is none"), index.writer() as writer:
            writer.expect("c", 1)
        with index.writer() as writer:
            writer.expect("a", index.version("a"))
            writer.delete(["a"])
        assert index.get("a") is None


def test_a_document_of_passages_has_one_version(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        passages = [Passage(0, 0, 2), Passage(0, 2, 4)]
        index.add([Document("a", {"text": "abcd"})], sparse.vstack([ONE, ONE]), passages=passages)
        with index.writer() as writer:
            writer.expect("a", index.version("a"))
            writer.add([Document("a", {"text": "ab"})], ONE)
        assert index.n_docs == 1


def some(*langs: str, first: int = 0) -> tuple[list[Document], SparseMatrix]:
    """Documents d0, d1, ... of these languages."""
    documents = [Document(f"d{i}", {"lang": lang}) for i, lang in enumerate(langs, start=first)]
    return documents, sparse.vstack([ONE] * len(langs))


def left(index: Index) -> set[str]:
    return set(index.search(ONE, 100).doc_ids)


def test_documents_that_pass_a_filter_are_deleted_wherever_they_lie(tmp_path: Path) -> None:
    with new_index(tmp_path / "i", fields={"lang": "keyword"}) as index:
        index.add(*some("en", "de", "en", "fr"))
        index.merge()
        index.add(*some("de", "en", first=4))
        index.seal()
        index.delete(["d1"])
        index.add(*some("de", first=6))
        index.add(*some("fr", first=4))  # no longer de
        assert index.delete_where({"lang": "de"}).n_deleted == 1
        assert left(index) == {"d0", "d2", "d3", "d4", "d5"}
        assert index.delete_where({"lang": "de"}).n_deleted == 0
        assert index.delete_where({"not": {"lang": "fr"}}).n_deleted == 3
        assert left(index) == {"d3", "d4"}
        index.merge()
        assert index.check().sound
        assert left(index) == {"d3", "d4"}


def test_a_filter_deletes_what_was_there_before_its_writer(tmp_path: Path) -> None:
    """Neither what the same commit adds nor a version that it has replaced already."""
    with new_index(tmp_path / "i", fields={"lang": "keyword"}) as index:
        index.add(*some("en", "en", "de"))
        with index.writer() as writer:
            writer.add(*some("en"))
            writer.delete_where({"lang": "en"})
            writer.add(*some("en", first=3))
        assert writer.commit is not None
        assert (writer.commit.n_replaced, writer.commit.n_deleted) == (1, 1)
        assert left(index) == {"d0", "d2", "d3"}
        with pytest.raises(RuntimeError, match="stop"), index.writer() as writer:
            writer.delete_where({"lang": "en"})
            raise RuntimeError("stop")
        assert left(index) == {"d0", "d2", "d3"}


def test_a_document_of_passages_is_deleted_whole_and_counts_once(tmp_path: Path) -> None:
    with new_index(tmp_path / "i", fields={"lang": "keyword"}) as index:
        passages = [Passage(0, 0, 2), Passage(0, 2, 4), Passage(1, 0, 1)]
        documents = [Document("a", {"lang": "en"}), Document("b", {"lang": "de"})]
        index.add(documents, sparse.vstack([ONE] * 3), passages=passages)
        assert index.delete_where({"lang": "en"}).n_deleted == 1
        assert left(index) == {"b"}
        assert (index.n_docs, index.get("a")) == (1, None)


def test_a_filter_sees_what_others_wrote_until_the_moment_of_its_commit(tmp_path: Path) -> None:
    with new_index(tmp_path / "i", fields={"lang": "keyword"}) as index:
        with Index.open(tmp_path / "i") as other, index.writer() as writer:
            writer.delete_where({"lang": "en"})
            other.add(*some("en", "de"))
        assert left(index) == {"d1"}


def test_what_would_delete_everything_by_mistake_is_refused(tmp_path: Path) -> None:
    with new_index(tmp_path / "i", fields={"lang": "keyword"}) as index:
        index.add(*some("en", "de"))
        with pytest.raises(UsageError, match="every document"):
            index.delete_where({})
        with pytest.raises(UnknownField):
            index.delete_where({"lnag": "en"})
        assert len(left(index)) == 2
        assert index.delete_where({"all": []}).n_deleted == 2


def test_a_version_that_an_unseen_build_replaces_is_deleted_as_well(tmp_path: Path) -> None:
    with new_index(tmp_path / "i", fields={"lang": "keyword"}) as index:
        index.add(*some("en", "de"))
        with pytest.raises(RuntimeError, match="stop"), index.bulk("source") as bulk:
            bulk.add(*some("fr", "fr"))
            bulk.flush()
            assert index.delete_where({"lang": "en"}).n_deleted == 1
            assert left(index) == {"d1"}
            raise RuntimeError("stop")
        with pytest.raises(RuntimeError, match="stop"), index.bulk("another"):
            raise RuntimeError("stop")  # which gives the first one up
        assert left(index) == {"d1"}


def test_the_load_of_an_index_is_told(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        assert (index.n_pending, index.n_segments) == (0, 0)
        index.add([Document("a"), Document("b")], sparse.vstack([ONE, ONE]))
        index.delete(["b"])
        assert (index.n_pending, index.n_segments) == (2, 0)
        index.seal()
        assert (index.n_pending, index.n_segments) == (0, 1)


def test_a_writer_makes_one_commit_and_collects_inside_its_body_alone(tmp_path: Path) -> None:
    """Entered again it wrote its first changes once more, over newer ones and after an error."""
    with new_index(tmp_path / "i") as index:
        writer, failed = index.writer(), index.writer()
        with pytest.raises(UsageError, match=r"inside its `with` body .* writer\.add\("):
            writer.add([Document("a", {"v": 1})], ONE)
        with writer:
            writer.add([Document("a", {"v": 1})], ONE)
        index.add([Document("a", {"v": 2})], ONE)
        with pytest.raises(KeyError), failed:
            failed.add([Document("b")], ONE)
            raise KeyError
        for used in (writer, failed):
            with pytest.raises(UsageError, match=r"one commit; take another with Index"), used:
                pytest.fail("entered")
        for late in (lambda: writer.delete(["a"]), lambda: writer.forget("k")):
            with pytest.raises(UsageError, match="inside its `with` body"):
                late()
        assert index.get("a") == Document("a", {"v": 2})
        assert index.info()["n_docs"] == 1
