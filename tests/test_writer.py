"""A writer's promises: all of it or nothing, on the versions it expected, remembered with it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from index import Index, Passage
from lsr.errors import UsageError, VersionConflict
from lsr.types import Document, SparseMatrix

ONE: SparseMatrix = sparse.csr_array(np.array([[0, 1.0, 0, 0]], np.float32))


def new_index(path: Path) -> Index:
    return Index.create(path, n_terms=4, max_weight=4.0)


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
        with pytest.raises(UsageError, match="must be JSON"):
            index.writer().remember("k", object())


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
