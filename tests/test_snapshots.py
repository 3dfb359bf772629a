"""A snapshot is the index of one commit, whole or absent, and says so of every byte."""

import io
import tarfile
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from scipy import sparse

import index.backup
import index.restoring
from index import Index, build_index, pack, restore, snapshots_in, unpack, verify_backup
from index.manifest import Manifest
from lsr.encoders import BM25Encoder
from lsr.errors import (
    IndexCorrupt,
    IndexExists,
    IndexFailure,
    IndexNotFound,
    IndexVersion,
)
from lsr.types import Document, SparseMatrix

ONE: SparseMatrix = sparse.csr_array(np.array([[0, 1.0, 0, 0.5]], np.float32))


def vectors(n: int) -> SparseMatrix:
    return sparse.csr_array(np.tile(ONE.toarray(), (n, 1)))


def contents(index: Index) -> dict[str, Any]:
    """Every live document with its texts and weights, by id."""
    names = sorted({name for view in index.refresh().views for name in view.segment.doc_ids()})
    found = {name: index.get(name) for name in names}
    return {
        name: (dict(document.fields), index.vectors_of(name).toarray().tolist())
        for name, document in found.items()
        if document is not None
    }


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """An index of two segments, a deleted and a pending document, and an encoder folder."""
    texts = [Document(f"d{i}", {"text": f"word{i} shared"}) for i in range(5)]
    encoder = BM25Encoder.fit(one.text() for one in texts)
    build_index(tmp_path / "i", texts, encoder, source="five", progress=False)
    with Index.open(tmp_path / "i") as index:
        more = [Document("d1", {"text": "changed"}), Document("new", {"text": "shared news"})]
        index.add(more, encoder.encode_documents([one.text() for one in more]))
        index.seal()
        index.delete(["d4"])
        last = Document("late", {"text": "late"})
        index.add([last], encoder.encode_documents(["late"]))
    return tmp_path / "i"


def test_a_snapshot_restores_to_the_same_documents_and_may_then_change(
    made: Path, tmp_path: Path
) -> None:
    with Index.open(made) as index:
        manifest = index.backup(tmp_path / "s", name="five")
        expected = contents(index)
        query = index.vectors_of("new")
        hits = index.search(query).doc_ids
        assert (manifest.generation, manifest.n_docs) == (index.generation, index.n_docs)
    assert sorted(expected) == ["d0", "d1", "d2", "d3", "late", "new"]
    verdict = verify_backup(tmp_path / "s")
    assert verdict.sound, verdict.problems
    assert verdict.n_bytes == manifest.n_bytes > 0
    restore(tmp_path / "s", tmp_path / "r")
    with Index.open(tmp_path / "r") as index:
        assert contents(index) == expected
        assert index.search(query).doc_ids == hits
        assert index.check().problems == ()
        index.delete(["d0"])
        index.merge()
    assert verify_backup(tmp_path / "s").sound


def test_a_snapshot_opens_for_reading_and_refuses_changes(made: Path, tmp_path: Path) -> None:
    with Index.open(made) as index:
        index.backup(tmp_path / "s")
        expected = contents(index)
    with Index.open(tmp_path / "s") as index:
        assert contents(index) == expected
        with pytest.raises(IndexFailure, match="read-only"):
            index.delete(["d0"])
        with pytest.raises(IndexFailure, match="snapshot restore"):
            index.merge()
    assert verify_backup(tmp_path / "s").sound


def test_a_catalog_larger_than_the_cache_is_copied_from_its_log(tmp_path: Path) -> None:
    documents = [Document(f"d{i}", {"text": f"{i} " * 3000}) for i in range(400)]
    with Index.create(tmp_path / "i", n_terms=4, max_weight=1.0) as index:
        index.add(documents, vectors(400))
        index.delete(["d7"])  # so that pages that were written once are stale in the log
        assert (tmp_path / "i" / "catalog.sqlite-wal").stat().st_size > 4 << 20
        index.backup(tmp_path / "s")
        expected = contents(index)
    restore(tmp_path / "s", tmp_path / "r")
    with Index.open(tmp_path / "r") as index:
        assert contents(index) == expected
        assert index.check().problems == ()


def test_links_share_segments_and_copies_do_not(made: Path, tmp_path: Path) -> None:
    with Index.open(made) as index:
        index.backup(tmp_path / "linked")
        index.backup(tmp_path / "copied", link=False)
    ours = {path.name: path.stat().st_ino for path in (made / "segments").iterdir()}
    for folder, shared in (("linked", True), ("copied", False)):
        for path in (tmp_path / folder / "segments").iterdir():
            assert (path.stat().st_ino == ours[path.name]) is shared
    with Index.open(made) as index:  # the index goes on, its snapshots stay
        index.merge()
    assert verify_backup(tmp_path / "linked").sound
    assert verify_backup(tmp_path / "copied").sound


def test_snapshots_of_a_changing_index_are_each_one_commit(tmp_path: Path) -> None:
    """Commit n adds document n: a snapshot of commit n holds exactly the documents up to n."""
    stop = threading.Event()
    with Index.create(tmp_path / "i", n_terms=4, max_weight=4.0) as index:
        index.add([Document("d1")], ONE)
        first = index.generation

        def writing() -> None:
            number = 1
            while not stop.is_set():
                number += 1
                with Index.open(tmp_path / "i") as other:
                    other.add([Document(f"d{number}")], ONE)
                    if number % 3 == 0:
                        other.merge()

        thread = threading.Thread(target=writing)
        thread.start()
        try:
            taken = [index.backup(tmp_path / f"s{i}") for i in range(6)]
        finally:
            stop.set()
            thread.join()
    for i, manifest in enumerate(taken):
        verdict = verify_backup(tmp_path / f"s{i}")
        assert verdict.sound, verdict.problems
        with Index.open(tmp_path / f"s{i}") as copy:
            assert sorted(contents(copy)) == sorted(f"d{n + 1}" for n in range(copy.n_docs))
            kinds = copy._catalog.rows("SELECT count(*) FROM commits WHERE kind='write'")
            assert copy.n_docs == kinds[0][0]
            assert copy.generation == manifest.generation >= first


def test_a_build_that_is_not_published_is_not_in_a_snapshot(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", n_terms=4, max_weight=4.0) as index:
        index.add([Document("a")], ONE)
        build = index.bulk("corpus")
        build.__enter__()
        build.add([Document("a", {"text": "later"}), Document("b")], vectors(2))
        build.flush()
        index.backup(tmp_path / "s")
        with Index.open(tmp_path / "s") as copy:
            assert contents(copy) == {"a": ({}, ONE.toarray().tolist())}
        assert verify_backup(tmp_path / "s").sound
        build.__exit__(RuntimeError, RuntimeError(), None)


def every_call(module: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Arm the n-th step of making a directory to die; returns the function that arms."""
    steps = ("_copy_catalog", "_link", "_copy_encoder", "_hashed", "sync_tree", "arrive")
    real = {name: getattr(module, name) for name in steps}
    count = [0, 0]

    def arm(n: int) -> None:
        count[:] = [0, n]

    def dying(name: str) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            count[0] += 1
            if count[0] == count[1]:
                raise KeyboardInterrupt(name)
            return real[name](*arguments, **options)

        return step

    for name in steps:
        monkeypatch.setattr(module, name, dying(name))
    # A kill runs no clean-up either.
    monkeypatch.setattr(module, "cleared", lambda _: nullcontext())
    return arm


def test_a_kill_at_any_step_leaves_nothing_that_looks_like_a_snapshot(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    arm = every_call(index.backup, monkeypatch)
    n_killed = 0
    with Index.open(made) as opened:
        while True:
            arm(n_killed + 1)
            try:
                opened.backup(tmp_path / "out" / "s")
                break
            except KeyboardInterrupt:
                n_killed += 1
                assert snapshots_in(tmp_path / "out") == []
                assert not (tmp_path / "out" / "s").exists()
    assert n_killed >= 6
    assert [path.name for path, _ in snapshots_in(tmp_path / "out")] == ["s"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["s"]
    monkeypatch.undo()
    assert verify_backup(tmp_path / "out" / "s").sound


@pytest.mark.parametrize("step", ["_store", "_contradictions", "sync_tree", "arrive"])
def test_a_kill_while_restoring_leaves_no_index(
    made: Path, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Index.open(made) as opened:
        opened.backup(tmp_path / "s")

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(index.restoring, step, die)
        patch.setattr(index.restoring, "cleared", lambda _: nullcontext())
        with pytest.raises(KeyboardInterrupt):
            restore(tmp_path / "s", tmp_path / "r")
    assert not (tmp_path / "r").exists()
    restore(tmp_path / "s", tmp_path / "r")
    with Index.open(tmp_path / "r") as opened:
        assert opened.check().sound


def test_every_flipped_byte_and_every_odd_file_is_found(made: Path, tmp_path: Path) -> None:
    with Index.open(made) as opened:
        opened.backup(tmp_path / "s", link=False)
    rng = np.random.default_rng(7)
    files = [path for path in (tmp_path / "s").rglob("*") if path.is_file()]
    assert len(files) >= 7
    for path in files:
        raw = bytearray(path.read_bytes())
        for at in {0, len(raw) - 1, *rng.integers(0, len(raw), 3).tolist()}:
            damaged = raw.copy()
            damaged[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            # A flip within the white space at the manifest's end is harmless, and nothing else.
            harmless = path.name == "manifest.json" and at == len(raw) - 1
            assert not verify_backup(tmp_path / "s").sound or harmless, (path, at)
            path.write_bytes(raw)
        path.write_bytes(raw[:-1] if path.name != "manifest.json" else raw[:-3])
        assert not verify_backup(tmp_path / "s").sound, path
        path.write_bytes(raw)
    (tmp_path / "s" / "segments" / "extra").write_bytes(b"")
    assert "not named" in verify_backup(tmp_path / "s").problems[0]
    (tmp_path / "s" / "segments" / "extra").unlink()
    segment = next((tmp_path / "s" / "segments").iterdir())
    segment.rename(tmp_path / "elsewhere")
    assert "missing" in verify_backup(tmp_path / "s").problems[0]
    segment.symlink_to(tmp_path / "elsewhere")
    assert "link" in verify_backup(tmp_path / "s").problems[0]
    with pytest.raises(IndexCorrupt, match="plain file"):
        restore(tmp_path / "s", tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_damaged_index_is_not_copied_in_silence(made: Path, tmp_path: Path) -> None:
    path = max((made / "segments").iterdir(), key=lambda one: one.stat().st_size)
    raw = bytearray(path.read_bytes())
    raw[-20] ^= 4
    path.write_bytes(raw)
    with Index.open(made) as opened, pytest.raises(IndexCorrupt, match=r"Restore a copy"):
        opened.backup(tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_what_exists_or_is_missing_is_named(made: Path, tmp_path: Path) -> None:
    with Index.open(made) as opened:
        opened.backup(tmp_path / "s")
        with pytest.raises(IndexExists, match="another name"):
            opened.backup(tmp_path / "s")
    with pytest.raises(IndexExists, match="another path"):
        restore(tmp_path / "s", made)
    with pytest.raises(IndexNotFound, match="no snapshot"):
        verify_backup(tmp_path)
    with pytest.raises(IndexNotFound, match="no such archive"):
        unpack(tmp_path / "none.tar.zst", tmp_path / "r")


def test_an_archive_restores_and_appears_whole(made: Path, tmp_path: Path) -> None:
    with Index.open(made) as opened:
        opened.backup(tmp_path / "s")
        expected = contents(opened)
    archive = tmp_path / "s.tar.zst"
    assert pack(tmp_path / "s", archive) == archive.stat().st_size
    with pytest.raises(IndexExists):
        pack(tmp_path / "s", archive)
    unpack(archive, tmp_path / "r")
    with Index.open(tmp_path / "r") as opened:
        assert contents(opened) == expected
        assert opened.check().sound
    # Any tar reads it, too.
    with (
        archive.open("rb") as raw,
        zstandard.ZstdDecompressor().stream_reader(raw) as stream,
        tarfile.open(fileobj=stream, mode="r|") as other,
    ):
        names = [one.name for one in other]
    assert names[0] == "manifest.json"
    assert names[1:] == [file.path for file in Manifest.read(tmp_path / "s").files]


def as_archive(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """Any archive an attacker can write, by a library that allows everything."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as out:
        for one, content in members:
            one.size = len(content) if one.isreg() else 0
            out.addfile(one, io.BytesIO(content))
    path.write_bytes(zstandard.ZstdCompressor().compress(packed.getvalue()))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    one = tarfile.TarInfo(name)
    one.type, one.linkname = kind, link
    return one


def test_hostile_archives_write_nothing_anywhere(made: Path, tmp_path: Path) -> None:
    with Index.open(made) as opened:
        opened.backup(tmp_path / "s")
    manifest = Manifest.read(tmp_path / "s")
    told = (member("manifest.json"), manifest.to_bytes())
    files = [(member(f.path), (tmp_path / "s" / f.path).read_bytes()) for f in manifest.files]
    first = manifest.files[0]
    pax = member(first.path)
    pax.pax_headers = {"comment": "x" * 2000}

    def promising(**changes: Any) -> tuple[tarfile.TarInfo, bytes]:
        return member("manifest.json"), replace(manifest, **changes).to_bytes()

    def one_file(path: str, n: int = 3) -> tuple[Any, ...]:
        return (*manifest.files, type(first)(path, n, "0" * 64))

    huge = type(first)("segments/0123456789abcdef.seg", 10**12, "0" * 64)
    attacks: dict[str, list[tuple[tarfile.TarInfo, bytes]]] = {
        "absolute": [promising(files=one_file("/tmp/x")), *files, (member("/tmp/x"), b"abc")],
        "parent": [promising(files=one_file("../x")), *files, (member("../x"), b"abc")],
        "inner parent": [
            promising(files=one_file("encoder/../../x")),
            *files,
            (member("encoder/../../x"), b"abc"),
        ],
        "hidden": [promising(files=one_file("encoder/.x")), *files, (member("encoder/.x"), b"a")],
        "symlink": [told, (member(first.path, tarfile.SYMTYPE, "/etc/passwd"), b""), *files[1:]],
        "hard link": [told, (member(first.path, tarfile.LNKTYPE, "manifest.json"), b"")],
        "device": [told, (member(first.path, tarfile.CHRTYPE), b"")],
        "directory": [told, (member("segments", tarfile.DIRTYPE), b""), *files],
        "fifo": [told, (member(first.path, tarfile.FIFOTYPE), b"")],
        "pax": [told, (pax, files[0][1]), *files[1:]],
        "unknown": [told, (member("catalog.sqlite-wal"), b"abc"), *files],
        "extra": [told, *files, (member("encoder/extra"), b"abc")],
        "twice": [told, files[0], *files],
        "no manifest": files,
        "manifest last": [*files, told],
        "missing": [told, *files[:-1]],
        # The last byte turned over: set to a constant, it may be what it was.
        "changed": [
            told,
            (files[0][0], files[0][1][:-1] + bytes([files[0][1][-1] ^ 1])),
            *files[1:],
        ],
        "named twice": [promising(files=(*manifest.files, first)), *files, files[0]],
        "bomb": [promising(files=(*manifest.files, huge)), *files],
        "negative": [promising(files=one_file("encoder/x", -1)), *files],
        "many": [
            promising(
                files=(*manifest.files, *(one_file(f"encoder/f{i}", 0)[-1] for i in range(10**4)))
            )
        ],
        "another commit": [promising(generation=manifest.generation + 1), *files],
    }
    (tmp_path / "target").mkdir()
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    reasons = {"bomb": "promise", "many": "at most", "another commit": "commit", "pax": "no plain"}
    for name, members in attacks.items():
        archive = as_archive(tmp_path / "evil.tar.zst", members)
        with pytest.raises(IndexCorrupt, match=reasons.get(name)):
            unpack(archive, tmp_path / "target" / "r")
        archive.unlink()
        assert sorted(str(path) for path in tmp_path.rglob("*")) == before, name
    good = as_archive(tmp_path / "good.tar.zst", [told, *files])
    whole = good.read_bytes()
    for cut in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        good.write_bytes(whole[:cut])
        with pytest.raises(IndexCorrupt):
            unpack(good, tmp_path / "target" / "r")
    assert list((tmp_path / "target").iterdir()) == []


def test_a_snapshot_of_a_later_release_is_refused_by_its_version(
    made: Path, tmp_path: Path
) -> None:
    with Index.open(made) as opened:
        opened.backup(tmp_path / "s")
    path = tmp_path / "s" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"format": 2', b'"format": 3'))
    with pytest.raises(IndexVersion, match="format 3"):
        restore(tmp_path / "s", tmp_path / "r")
