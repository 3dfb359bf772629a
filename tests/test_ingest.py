"""A corpus becomes an index wholly or not at all, in bounded memory, and goes on after a kill."""

import errno
import gzip
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from index import Index, SparseRetriever, as_built, build_index, encoder_card, query_encoder
from index.arrival import reserved
from index.ingest import split_words
from lsr.encoders import SparseEncoder, load_encoder, with_text_fields, with_windows
from lsr.encoders.bm25 import BM25Encoder
from lsr.errors import (
    DatasetError,
    EncoderError,
    EncoderMismatch,
    IndexExists,
    IndexLocked,
    IndexReplaced,
    UsageError,
)
from lsr.files import read_lines
from lsr.types import Document

DOCUMENTS = [
    Document("cat", {"title": "Cats", "text": "Cats sleep most of the day."}),
    Document("dog", {"title": "Dogs", "text": "Dogs bark at strangers; cats ignore them."}),
    Document("empty", {"title": "", "text": ""}),
]


def fitted(documents: list[Document]) -> BM25Encoder:
    return BM25Encoder.fit(document.text() for document in documents)


def test_a_built_index_answers_texts_by_itself(tmp_path: Path) -> None:
    report = build_index(tmp_path / "i", DOCUMENTS, fitted(DOCUMENTS), source="pets")
    assert (report.n_docs, report.n_empty) == (3, 1)
    with SparseRetriever.open(tmp_path / "i") as retriever:
        run = retriever.search({"q1": "sleeping cat", "q2": "bark", "q3": ""}, 10)
    assert list(run["q1"]) == ["cat", "dog"]
    assert list(run["q2"]) == ["dog"]
    assert run["q3"] == {}


def test_documents_without_any_term_are_counted_whatever_their_text(tmp_path: Path) -> None:
    """Not the passages of others, some of which have none."""
    documents = [
        *DOCUMENTS,
        Document("blank", {"text": "  \n"}),
        Document("stopped", {"text": "the !!"}),
        Document("half", {"text": "!! ?? axolotl"}),
    ]
    encoder = fitted(documents)
    assert build_index(tmp_path / "i", documents, encoder, source="pets").n_empty == 3
    split = build_index(tmp_path / "p", documents, encoder, source="pets", passages=(1, 0))
    assert (split.n_empty, split.n_docs) == (3, 6)


def test_documents_added_later_are_found_by_words_the_corpus_never_had(tmp_path: Path) -> None:
    encoder = fitted(DOCUMENTS)
    build_index(tmp_path / "i", DOCUMENTS, encoder, source="pets")
    with SparseRetriever.open(tmp_path / "i") as retriever:
        new = Document("fish", {"text": "axolotl"})
        retriever.index.add([new], encoder.encode_documents([new.text()]))
        assert list(retriever.search({"q": "an axolotl"}, 3)["q"]) == ["fish"]


def test_an_existing_index_is_replaced_only_on_demand(tmp_path: Path) -> None:
    build_index(tmp_path / "i", DOCUMENTS, fitted(DOCUMENTS), source="pets")
    with pytest.raises(IndexExists, match="--overwrite"):
        build_index(tmp_path / "i", DOCUMENTS, fitted(DOCUMENTS), source="pets")
    build_index(tmp_path / "i", DOCUMENTS[:1], fitted(DOCUMENTS), source="p", overwrite=True)
    with Index.open(tmp_path / "i") as index:
        assert index.n_docs == 1
    assert [path.name for path in tmp_path.iterdir()] == ["i"]


def test_other_fields_are_read_of_the_documents_of_one_index(tmp_path: Path) -> None:
    """Whoever loads the encoder of an index has it read what was read for the index."""
    documents = [Document(str(i), {"title": "x", "body": f"cat{i} sleeps"}) for i in range(4)]
    encoder = fitted(documents)
    encoder.save(tmp_path / "e")
    loaded = load_encoder(tmp_path / "e")
    assert loaded.text_fields == ("title", "text")
    other = with_text_fields(loaded, ["body", "body"])
    assert (other.text_fields, other.space) == (("body",), loaded.space)
    assert with_text_fields(other, ["body"]) is other
    build_index(tmp_path / "i", documents, other, source="pets")
    with Index.open(tmp_path / "i") as index:
        assert index.encoder is not None
        assert index.encoder.text_fields == ("body",)
        assert query_encoder(index).text_fields == ("body",)
        assert query_encoder(index, tmp_path / "e").text_fields == ("body",)
        assert as_built(index, loaded).text_fields == ("body",)
        hits = index.search(loaded.encode_queries(["cat2"]), 4)
    assert hits.doc_ids == ["2"]
    with pytest.raises(UsageError, match="at least one field"):
        with_text_fields(loaded, [])


def windowed(encoder: SparseEncoder) -> SparseEncoder:
    return with_windows(encoder, 8)


@pytest.mark.parametrize(
    ("name", "changed"),
    [("bm25", lambda encoder: with_text_fields(encoder, ["body"])), ("lsr-mini", windowed)],
)
def test_a_build_that_reads_otherwise_does_not_go_on_with_an_interrupted_one(
    name: str, changed: Callable[[SparseEncoder], SparseEncoder], tmp_path: Path
) -> None:
    """Half of the documents were left as the first build had read them."""
    documents = [Document(str(i), {"text": "one", "body": "two"}) for i in range(16)]

    def stopped() -> Iterator[Document]:
        yield from documents[:8]
        raise KeyboardInterrupt

    encoder = BM25Encoder.fit(["one two"]) if name == "bm25" else load_encoder(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("index.ingest.BATCH_DOCUMENTS", 8)
        with pytest.raises(KeyboardInterrupt):
            build_index(tmp_path / "i", stopped(), encoder, source="x")
    again = changed(encoder)
    assert build_index(tmp_path / "i", documents, again, source="x").n_resumed == 0
    with Index.open(tmp_path / "i") as index:
        assert index.encoder == replace(encoder_card(again), copy=index.encoder.copy)


def test_a_folder_that_is_no_index_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(IndexExists, match="not an index"):
        build_index(
            tmp_path / "photos", DOCUMENTS, fitted(DOCUMENTS), source="pets", overwrite=True
        )


def test_a_corpus_without_documents_leaves_nothing_in_place(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no documents"):
        build_index(tmp_path / "i", [], fitted(DOCUMENTS), source="nothing")
    assert not (tmp_path / "i").exists()


def test_repeated_ids_in_a_corpus_are_named(tmp_path: Path) -> None:
    twice = [DOCUMENTS[0], DOCUMENTS[1], DOCUMENTS[0]]
    with pytest.raises(UsageError, match="'cat' occurs twice"):
        build_index(tmp_path / "i", twice, fitted(DOCUMENTS), source="twice")
    assert list(tmp_path.iterdir()) == []  # nothing to resume, so nothing is left


def test_an_index_that_was_replaced_is_not_used_any_more(tmp_path: Path) -> None:
    """An open index once went on writing to the deleted one, and `collect` unlinked the new
    files.
    """
    build_index(tmp_path / "i", DOCUMENTS, fitted(DOCUMENTS), source="pets")
    with Index.open(tmp_path / "i") as old:
        encoder = fitted(DOCUMENTS)
        vectors = encoder.encode_documents(["cat"])
        old.add([Document("new")], vectors)
        build_index(tmp_path / "i", DOCUMENTS, encoder, source="again", overwrite=True)
        for use in (
            lambda: old.add([Document("x")], vectors),
            lambda: old.search(vectors),
            old.merge,
            old.seal,
        ):
            with pytest.raises(IndexReplaced, match="open it again"):
                use()
    with Index.open(tmp_path / "i") as index:
        assert index.check().problems == ()
        assert index.n_docs == 3


def test_two_builds_of_one_index_do_not_meet(tmp_path: Path) -> None:
    """The second is refused at once, and the first arrives whole."""

    class Meeting:
        def __iter__(self) -> Iterator[Document]:
            yield DOCUMENTS[0]
            with pytest.raises(IndexLocked, match="another process holds it to build this"):
                build_index(tmp_path / "i", DOCUMENTS, fitted(DOCUMENTS), source="other")
            yield DOCUMENTS[1]

    build_index(tmp_path / "i", Meeting(), fitted(DOCUMENTS), source="one")
    with Index.open(tmp_path / "i") as index:
        assert index.n_docs == 2


def test_a_reserved_folder_may_go_and_come_while_others_want_it(tmp_path: Path) -> None:
    """Who came between its removal and its making anew was told that a file was missing."""
    place, held, told = tmp_path / "place", [0], []

    def want() -> None:
        for _ in range(300):
            try:
                with reserved(place):
                    held[0] += 1
                    assert held[0] == 1
                    held[0] -= 1
                    place.rmdir()
            except IndexLocked:
                pass
            except BaseException as error:
                told.append(error)

    threads = [threading.Thread(target=want) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == []
    place.write_text("somebody's")
    (tmp_path / "link").symlink_to("nothing")
    for never in (place, tmp_path / "link", tmp_path / "link" / "x"):
        with pytest.raises(UsageError, match="and none can be made"), reserved(never):
            pass


def test_an_index_put_aside_is_never_taken_for_a_finished_build(tmp_path: Path) -> None:
    """Killed between the exchange and the removal of the old index, the same command must build
    anew and not bring the old one back."""
    build_index(tmp_path / "i", DOCUMENTS[:1], fitted(DOCUMENTS), source="pets")
    (tmp_path / "i").rename(tmp_path / "i.building")
    report = build_index(tmp_path / "i", DOCUMENTS, fitted(DOCUMENTS), source="pets")
    assert (report.n_docs, report.n_resumed) == (3, 0)


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_encoder_copy_is_named(tmp_path: Path, damage: str) -> None:
    build_index(tmp_path / "i", DOCUMENTS, fitted(DOCUMENTS), source="pets")
    copy = tmp_path / "i" / "encoder"
    if damage == "missing":
        shutil.rmtree(copy)
    else:
        (copy / "terms.txt").write_text("")
    with Index.open(tmp_path / "i") as index:
        assert any("encoder" in problem for problem in index.check().problems)
    with pytest.raises(EncoderError, match="encoder"):
        SparseRetriever.open(tmp_path / "i")


def test_vectors_of_another_encoder_are_refused(tmp_path: Path) -> None:
    build_index(tmp_path / "i", DOCUMENTS, fitted(DOCUMENTS), source="pets")
    fitted(DOCUMENTS[:1]).save(tmp_path / "other")
    with pytest.raises(EncoderMismatch):
        SparseRetriever.open(tmp_path / "i", encoder=tmp_path / "other")


def test_windows_cover_every_word_and_overlap() -> None:
    text = " ".join(f"w{i}" for i in range(100))
    spans = split_words(text, 30, 10)
    words = [text[a:b].split() for a, b in spans]
    assert {word for window in words for word in window} == set(text.split())
    assert all(len(window) <= 30 for window in words)
    assert all(one[-10:] == other[:10] for one, other in zip(words[:-1], words[1:], strict=True))
    assert split_words("", 30, 10) == [(0, 0)]


def test_long_documents_are_found_by_their_best_passage(tmp_path: Path) -> None:
    filler = " ".join(f"filler{i}" for i in range(40))
    documents = [Document("long", {"text": f"{filler} needle {filler}"}), Document("short")]
    build_index(tmp_path / "i", documents, fitted(documents), source="long", passages=(20, 5))
    with SparseRetriever.open(tmp_path / "i") as retriever:
        assert list(retriever.search({"q": "needle"}, 5)["q"]) == ["long"]
        hits = retriever.index.search(retriever.encoder.encode_queries(["needle"]))
        (span,) = retriever.index.spans(hits.ranking.docids.tolist())
        assert span is not None
        assert "needle" in documents[0].text()[slice(*span)]
        assert retriever.index.n_docs == 2


BUILD = """
import os, signal, sys
import index.bulk, index.ingest
from index import build_index
from lsr.encoders.bm25 import BM25Encoder
from lsr.types import Document

path, point, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
index.ingest.BATCH_DOCUMENTS = 50
documents = [Document(f"d{i}", {"text": f"word{i % 7} common word{i}"}) for i in range(400)]
encoder = BM25Encoder.fit(d.text() for d in documents)

def killing(function):
    calls = 0
    def wrapped(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == times:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return wrapped

if point == "record":
    index.bulk.record_segment = killing(index.bulk.record_segment)
elif point == "write":
    index.bulk.write_segment = killing(index.bulk.write_segment)
elif point == "publish":
    index.bulk.BulkBuild._publish = killing(index.bulk.BulkBuild._publish)
elif point == "arrive":
    index.ingest._arrive = killing(index.ingest._arrive)
index.bulk.BYTES_PER_POSTING = 2**20 // 100
report = build_index(path, documents, encoder, source="killed", memory="1MiB", overwrite=True)
print(report.n_resumed)
"""


@pytest.mark.parametrize(
    ("point", "times", "resumed"),
    [("write", 1, 0), ("write", 4, 1), ("record", 3, 1), ("publish", 1, 400), ("arrive", 1, 400)],
)
def test_a_killed_build_leaves_the_old_index_and_goes_on(
    tmp_path: Path, point: str, times: int, resumed: int
) -> None:
    """SIGKILL at a write point: the index in place answers as before, and the same command
    finishes.
    """
    build_index(tmp_path / "i", DOCUMENTS, fitted(DOCUMENTS), source="pets")
    arguments = [sys.executable, "-c", BUILD, str(tmp_path / "i")]
    killed = subprocess.run([*arguments, point, str(times)], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    with SparseRetriever.open(tmp_path / "i") as retriever:
        assert list(retriever.search({"q": "bark"}, 3)["q"]) == ["dog"]
        assert retriever.index.check().sound
    again = subprocess.run([*arguments, "never", "0"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert int(again.stdout) >= resumed
    with SparseRetriever.open(tmp_path / "i") as retriever:
        assert retriever.index.n_docs == 400
        assert retriever.index.check().problems == ()
        assert len(retriever.search({"q": "word3"}, 100)["q"]) == 57
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i"]


@pytest.mark.parametrize(("cause", "kept"), [(errno.ESTALE, True), (None, False)])
def test_a_disk_that_does_not_answer_costs_nothing_of_a_build(
    tmp_path: Path, cause: int | None, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with a corpus is wrong the next time, too; a stale file handle may pass."""

    def failing(self: object, *_: object) -> bytes:
        raise OSError(cause, os.strerror(cause)) if cause else gzip.BadGzipFile("not gzipped")

    def broken() -> Iterator[Document]:
        yield from DOCUMENTS
        with monkeypatch.context() as patch:
            patch.setattr("lsr.files._open_bytes", failing)
            list(read_lines(Path("corpus.jsonl")))

    with pytest.raises(DatasetError):
        build_index(tmp_path / "i", broken(), fitted(DOCUMENTS), source="pets", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == (["i.building"] if kept else [])


FULL = """
import resource, signal, sys
from index import Index
from lsr.errors import DiskFull
from lsr.types import Document
from scipy import sparse

index = Index.open(sys.argv[1])
vectors = sparse.random_array((300, 50), density=0.5, format="csr", dtype="float32")
index.add([Document("first")], vectors[:1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = 260_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
failures = 0
for i in range(20):
    try:
        if sys.argv[2] == "add":
            index.add([Document(f"x{i}-{j}", {"t": "y" * 400}) for j in range(300)], vectors)
        else:
            with index.bulk(f"b{i}") as build:
                build.add([Document(f"x{i}-{j}", {"t": "y" * 400}) for j in range(300)], vectors)
    except DiskFull as error:
        failures += 1
        n_docs = index.n_docs
assert failures, "the limit was never met"
assert "first" in index.search(vectors[:1], 10_000).doc_ids
print(n_docs)
"""


@pytest.mark.parametrize("way", ["add", "bulk"])
def test_a_full_disk_loses_nothing_that_was_committed(tmp_path: Path, way: str) -> None:
    """A file-size limit stands in for the full disk: the same error from the same system calls."""
    Index.create(tmp_path / "i", n_terms=50, max_weight=4.0).close()
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "i"), way], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with Index.open(tmp_path / "i") as index:
        assert index.check().problems == ()
        assert index.n_docs == int(done.stdout)
        assert not [p for p in (tmp_path / "i" / "segments").iterdir() if p.suffix != ".seg"]
