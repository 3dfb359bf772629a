"""A rebuilt index holds what the old one held and what came meanwhile, or the old one stays."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import index.rebuild
from index import Index, build_index
from index.rebuild import Weights, begun, catch_up, copy, rebuild_index, refitted, texts
from lsr.encoders import BM25Encoder
from lsr.errors import IndexReplaced, UsageError
from lsr.types import Document, SparseMatrix

N_TERMS = 8


def vector(seed: int) -> SparseMatrix:
    rng = np.random.default_rng(seed)
    row = np.zeros((1, N_TERMS), np.float32)
    row[0, rng.choice(N_TERMS, 3, replace=False)] = rng.integers(1, 64, 3) / 16
    return sparse.csr_array(row)


def contents(opened: Index) -> dict[str, Any]:
    names = {name for view in opened.refresh().views for name in view.segment.doc_ids()}
    found = {name: opened.get(name) for name in sorted(names)}
    return {
        name: (dict(document.fields), opened.vectors_of(name).toarray().tolist())
        for name, document in found.items()
        if document is not None
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty documents in segments and pending rows; some replaced, some deleted."""
    with Index.create(tmp_path / "i", n_terms=N_TERMS, max_weight=4.0, fields={"n": "int"}) as made:
        for i in range(20):
            made.add([Document(f"d{i:02}", {"text": f"text {i}", "n": i})], vector(i))
            if i in (5, 12):
                made.seal()
        made.add([Document("d03", {"text": "again", "n": 3})], vector(103))
        made.delete(["d07", "d15"])
    return tmp_path / "i"


@pytest.mark.parametrize("batch", [1, 3, 1024])
def test_stored_vectors_come_over_and_quantise_anew(
    source: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index.rebuild, "BATCH", batch)
    with Index.open(source) as old:
        expected, versions = contents(old), {name: old.version(name) for name in contents(old)}
        last = index.rebuild.last_docid(old.catalog)
    report = rebuild_index(source, Weights(), max_weight=2.0)
    assert (report.n_docs, report.n_caught_up) == (18, 0)
    with Index.open(source) as new:
        assert contents(new) == expected
        assert (new.max_weight, new.fields) == (2.0, {"n": "int"})
        assert new.check().problems == ()
        assert new.remembered(index.rebuild.KEY) is None
        assert {name: new.version(name) for name in expected}.keys() == versions.keys()
        assert all((new.version(name) or 0) > last for name in expected)
        hits = new.search(vector(3), 20, filter={"n": {"gte": 3}})
        assert "d03" in hits.doc_ids
    assert not source.with_name("i.rebuilding").exists()
    assert not (source / "begun").exists()


def test_bm25_is_fitted_to_what_is_there_now(tmp_path: Path) -> None:
    before = [Document(f"d{i}", {"text": f"cats and word{i}"}) for i in range(4)]
    encoder = BM25Encoder.fit(one.text() for one in before)
    build_index(tmp_path / "i", before, encoder, source="x", progress=False)
    with Index.open(tmp_path / "i") as old:
        later = [Document("new", {"text": "zebras zebras"}), Document("d0", {"text": "dogs"})]
        old.add(later, encoder.encode_documents([one.text() for one in later]))
        now = [*later, *before[1:]]
        assert sorted(texts(old, ("title", "text"))) == sorted(one.text() for one in now)
        fitted = refitted(old, tmp_path / "none")
    rebuild_index(tmp_path / "i", Weights(fitted))
    build_index(tmp_path / "oracle", now, BM25Encoder.fit(d.text() for d in now), source="y")
    with Index.open(tmp_path / "i") as new, Index.open(tmp_path / "oracle") as oracle:
        assert new.encoder is not None
        assert oracle.encoder is not None
        assert new.encoder.space == oracle.encoder.space
        assert contents(new) == contents(oracle)


def test_passages_stay_where_they_were_or_are_split_anew(tmp_path: Path) -> None:
    text = " ".join(f"w{i}" for i in range(10))
    documents = [Document("long", {"text": text}), Document("short", {"text": "w1"})]
    encoder = BM25Encoder.fit(one.text() for one in documents)
    options: dict[str, Any] = {"source": "x", "progress": False, "passages": (4, 1)}
    build_index(tmp_path / "i", documents, encoder, **options)

    def spans() -> list[Any]:
        with Index.open(tmp_path / "i") as opened:
            assert opened.check().problems == ()
            docids = [d for view in opened.refresh().views for d in view.segment.docids.tolist()]
            return opened.spans(sorted(docids))

    before = spans()
    assert len(before) == 4
    rebuild_index(tmp_path / "i", Weights())
    assert spans() == before
    rebuild_index(tmp_path / "i", Weights(encoder))
    assert spans() == before
    rebuild_index(tmp_path / "i", Weights(encoder, windows=(5, 0)))
    assert spans() == [(0, 14), (15, 29), (0, 2)]


def test_what_changes_while_it_is_made_comes_over(source: Path, tmp_path: Path) -> None:
    """Adds, updates and deletes at every stage, also of documents that were copied already."""
    with Index.open(source) as old:
        calls = 0

        def changing(done: int, total: int) -> None:
            nonlocal calls
            calls += 1
            old.add([Document("d01", {"text": f"change {calls}", "n": 1})], vector(200 + calls))
            old.add([Document(f"new{calls}", {"text": "new", "n": 0})], vector(300 + calls))
            old.delete([f"d{calls:02}", "new1"])
            if calls % 2:
                old.merge()

        with begun(old, tmp_path / "t", Weights()) as target:
            index.rebuild.BATCH, before = 4, index.rebuild.BATCH
            try:
                copy(old, target, Weights(), progress=changing)
            finally:
                index.rebuild.BATCH = before
            assert calls > 3
            assert catch_up(old, target, Weights()) > 0
            assert contents(target) == contents(old)
            old.delete(["d10"])
            old.add([Document("d01", {"text": "last", "n": 9})], vector(1))
            assert catch_up(old, target, Weights()) == 2
            assert contents(target) == contents(old)
            assert catch_up(old, target, Weights()) == 0
            assert target.check().problems == ()


def test_a_bulk_build_published_meanwhile_comes_over(source: Path, tmp_path: Path) -> None:
    """Its docids were given before the copy began, and some of its ids exist."""
    with Index.open(source) as old, old.bulk("corpus") as build:
        build.add(
            [Document("d02", {"text": "built", "n": 2}), Document("bulk", {"text": "b", "n": 1})],
            sparse.csr_array(sparse.vstack([vector(1), vector(2)])),
        )
        build.flush()
        target = begun(old, tmp_path / "t", Weights())
        copy(old, target, Weights())
        assert "bulk" not in contents(target)
    with Index.open(source) as old, target:
        assert catch_up(old, target, Weights()) == 2
        assert contents(target) == contents(old)
        assert contents(target)["d02"][0]["text"] == "built"


def test_a_kill_at_any_step_leaves_the_old_index_and_the_work(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index.rebuild, "BATCH", 5)
    with Index.open(source) as old:
        expected = contents(old)
    steps = ("_add", "catch_up", "finish", "sync_tree", "arrive")
    real = {name: getattr(index.rebuild, name) for name in steps}
    added: list[str] = []
    count = [0, 0]

    def dying(name: str) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            count[0] += 1
            if count[0] == count[1]:
                raise KeyboardInterrupt(name)
            if name == "_add":
                added.extend(one.document.doc_id for one in arguments[2])
            return real[name](*arguments, **options)

        return step

    for name in steps:
        monkeypatch.setattr(index.rebuild, name, dying(name))
    n_killed = 0
    while True:
        count[:] = [0, 2 + n_killed % 2]  # later steps come into reach as work is kept
        try:
            rebuild_index(source, Weights())
            break
        except KeyboardInterrupt:
            n_killed += 1
            with Index.open(source) as old:
                assert contents(old) == expected
            if n_killed > 8:
                count[1] = 0
                monkeypatch.undo()
                monkeypatch.setattr(index.rebuild, "BATCH", 5)
                rebuild_index(source, Weights())
                break
    assert n_killed >= 4
    assert len(added) == len(set(added)), "a kill costs at most the batch it met"
    with Index.open(source) as new:
        assert contents(new) == expected
        assert new.check().problems == ()


def test_no_write_is_lost_to_the_swap(source: Path) -> None:
    """Writers in other threads, opening anew whenever they find the index replaced."""
    stop = threading.Event()
    done: list[int] = []

    def writing() -> None:
        number = 0
        opened = Index.open(source)
        while not stop.is_set():
            number += 1
            document = Document(f"w{number}", {"text": "w", "n": number})
            while True:
                try:
                    opened.add([document], vector(number))
                    break
                except IndexReplaced:
                    opened.close()
                    opened = Index.open(source)
            done.append(number)
        opened.close()

    thread = threading.Thread(target=writing)
    thread.start()
    try:
        for _ in range(2):
            rebuild_index(source, Weights())
    finally:
        stop.set()
        thread.join()
    with Index.open(source) as new:
        held = contents(new)
    assert len(done) > 5
    assert [f"w{number}" for number in done if f"w{number}" not in held] == []


def test_a_writer_as_fast_as_the_copy_does_not_hold_it_up(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document comes with every batch that is brought over: each pass ends with what it began."""
    real, come = index.rebuild._add, list[str]()

    def while_others_write(*arguments: Any) -> None:
        assert len(come) < 60, "chases the writer"
        real(*arguments)
        come.append(f"new{len(come)}")
        arguments[1].add([Document(come[-1], {"text": "new", "n": 1})], vector(len(come)))

    monkeypatch.setattr(index.rebuild, "BATCH", 5)
    monkeypatch.setattr(index.rebuild, "_add", while_others_write)
    with (
        Index.open(source) as old,
        Index.create(source.with_name("t"), n_terms=N_TERMS, max_weight=4.0) as new,
    ):
        copy(old, new, Weights())
        assert (len(come), new.n_docs) == (4, 18)
        for batches in (1, 1, 1):
            before = len(come)
            catch_up(old, new, Weights())
            assert len(come) == before + batches
        monkeypatch.setattr(index.rebuild, "_add", real)
        catch_up(old, new, Weights())
        assert contents(old) == contents(new)
        given = texts(old, ["text"])
        next(given)
        old.add([Document("late", {"text": "late", "n": 1})], vector(1))
        assert "late" not in list(given)


def test_a_refused_index_leaves_the_old_one(source: Path) -> None:
    def refuse(old: Index, new: Index) -> None:
        assert contents(old) == contents(new)
        raise UsageError("no")

    with pytest.raises(UsageError, match="no"):
        rebuild_index(source, Weights(), max_weight=1.0, admit=refuse)
    with Index.open(source) as old:
        assert old.max_weight == 4.0


def test_what_cannot_be_is_refused(source: Path, tmp_path: Path) -> None:
    encoder = BM25Encoder.fit(["text"])
    with pytest.raises(UsageError, match="card"):
        rebuild_index(source, Weights(encoder), max_weight=2.0)
    documents = [Document("a", {"text": "one two three", "body": "four"})]
    build_index(tmp_path / "p", documents, encoder, source="x", passages=(2, 0), progress=False)
    other = BM25Encoder.fit(["text"], text_fields=("body",))
    with pytest.raises(UsageError, match="--passages"):
        rebuild_index(tmp_path / "p", Weights(other))
    with (
        Index.open(source) as old,
        Index.create(tmp_path / "t", n_terms=8, max_weight=1.0) as new,
        pytest.raises(UsageError, match="not complete"),
    ):
        catch_up(old, new, Weights())


def test_documents_with_weights_but_no_text_are_not_lost_to_an_encoder(
    source: Path, tmp_path: Path
) -> None:
    """They came as vectors: an encoder would give them no weight, in silence."""
    encoder = BM25Encoder.fit(["text"])
    with Index.open(source) as old:
        old.add([Document("bare", {"n": 1}), Document("blank", {"text": " "})], two(vector(1)))
        nothing: SparseMatrix = sparse.csr_array((1, N_TERMS), dtype=np.float32)
        old.add([Document("silent", {"n": 2})], nothing)
        before = contents(old)
    with pytest.raises(UsageError, match="2 documents have weights but no text in title, text"):
        rebuild_index(source, Weights(encoder))
    with Index.open(source) as old:
        assert contents(old) == before
        old.delete(["bare", "blank"])
        with begun(old, tmp_path / "t", Weights(encoder)) as target:
            copy(old, target, Weights(encoder))
            old.add([Document("late", {"n": 1})], vector(1))
            with pytest.raises(UsageError, match="1 document has weights but no text"):
                catch_up(old, target, Weights(encoder))
        old.delete(["late"])
    rebuild_index(source, Weights(encoder))
    with Index.open(source) as new:
        assert contents(new).keys() == before.keys() - {"bare", "blank"}


def two(row: SparseMatrix) -> SparseMatrix:
    return sparse.csr_array(sparse.vstack([row, row], "csr"))


def test_what_was_begun_of_another_index_is_not_taken_up(source: Path, tmp_path: Path) -> None:
    """An index that was replaced or rolled back has other commits under the same numbers."""
    with Index.open(source) as old:
        with begun(old, tmp_path / "t", Weights()) as target:
            copy(old, target, Weights())
        last = old.generation
    source.rename(tmp_path / "before")
    with Index.create(source, n_terms=N_TERMS, max_weight=4.0, fields={"n": "int"}) as other:
        for i in range(last):
            other.add([Document("only", {"n": i})], vector(i))
        assert other.generation == last
        with Index.open(tmp_path / "t") as target, pytest.raises(UsageError, match="another index"):
            catch_up(other, target, Weights())
        with begun(other, tmp_path / "t", Weights()) as target:
            copy(other, target, Weights())
            assert catch_up(other, target, Weights()) == 0
            assert contents(target) == contents(other)
