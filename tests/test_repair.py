"""What was damaged is found before it is published, and mended from what is left afterwards."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import index.bulk
import index.maintenance
from index import Index, build_index
from index.repair import damage_of, repair
from index.segment import Segment
from lsr.__main__ import run
from lsr.encoders import BM25Encoder
from lsr.errors import EncoderMismatch, IndexCorrupt, IndexFailure, UsageError
from lsr.types import Document, SparseMatrix

TEXTS = {f"d{i}": f"word{i} shared" for i in range(12)}


def contents(opened: Index) -> dict[str, Any]:
    names = {name for view in opened.refresh().views for name in view.segment.doc_ids()}
    found = {name: opened.get(name) for name in sorted(names)}
    return {
        name: (dict(document.fields), opened.vectors_of(name).toarray().tolist())
        for name, document in found.items()
        if document is not None
    }


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, BM25Encoder, dict[str, Any]]:
    """An index of three segments with deleted, replaced and pending documents; its contents."""
    documents = [Document(i, {"text": text, "lang": "en"}) for i, text in TEXTS.items()]
    encoder = BM25Encoder.fit(one.text() for one in documents)
    options: dict[str, Any] = {"fields": {"lang": "keyword"}, "source": "x", "progress": False}
    build_index(tmp_path / "i", documents[:6], encoder, **options)

    def add(opened: Index, texts: Mapping[str, str]) -> None:
        some = [Document(i, {"text": text, "lang": "en"}) for i, text in texts.items()]
        opened.add(some, encoder.encode_documents([one.text() for one in some]))

    with Index.open(tmp_path / "i") as opened:
        add(opened, {f"d{i}": TEXTS[f"d{i}"] for i in range(6, 9)})
        opened.seal()
        add(opened, {"d9": TEXTS["d9"], "d1": "replaced word1"})
        opened.seal()
        opened.delete(["d2", "d7"])
        add(opened, {"d10": TEXTS["d10"]})
        return tmp_path / "i", encoder, contents(opened)


def flip(path: Path, section: str) -> None:
    """Flip a bit in the middle of a section."""
    with Segment.open(path) as segment:
        assert segment._header is not None
        (entry,) = [e for e in segment._header.entries if e.section.name == section]
        at = entry.offset + entry.length // 2
    raw = bytearray(path.read_bytes())
    raw[at] ^= 2
    path.write_bytes(raw)


def largest(path: Path) -> Path:
    return max((path / "segments").iterdir(), key=lambda one: (one.stat().st_size, one.name))


def header(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[40] ^= 1
    path.write_bytes(raw)


def check(path: Path, expected: dict[str, Any]) -> None:
    assert damage_of(path) == []
    with Index.open(path) as opened:
        assert opened.check().problems == ()
        assert contents(opened) == expected
        for name in ("d0", "d1", "d8"):
            hits = opened.search(opened.vectors_of(name), 20, filter={"lang": "en"})
            assert hits.doc_ids[0] == name
        opened.merge()
        assert opened.check().problems == ()
        assert contents(opened) == expected


@pytest.mark.parametrize("section", ["tail_impact", "max_impact", "columns", "all"])
def test_intact_vectors_bring_the_documents_back_without_an_encoder(
    made: tuple[Path, BM25Encoder, dict[str, Any]], section: str
) -> None:
    path, _, expected = made
    if section == "all":  # segments at once
        for one in (path / "segments").iterdir():
            flip(one, "max_impact")
    else:
        flip(largest(path), section)
    report = repair(path)
    assert report.n_from_texts == 0
    assert report.n_from_vectors > 0
    assert report.lost == ()
    check(path, expected)
    assert repair(path).damaged == ()


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: flip(path, "forward_weight"),
        lambda path: flip(path, "external"),
        header,
        Path.unlink,
        lambda path: path.write_bytes(path.read_bytes()[:600]),
        lambda path: path.write_bytes(b""),
    ],
)
def test_texts_bring_back_what_vectors_cannot(
    made: tuple[Path, BM25Encoder, dict[str, Any]], harm: Callable[[Path], None]
) -> None:
    path, encoder, expected = made
    harm(largest(path))
    with pytest.raises(UsageError, match="--encoder"):
        repair(path)
    with pytest.raises(EncoderMismatch):
        repair(path, BM25Encoder.fit(["another"]))
    report = repair(path, encoder)
    assert (report.n_from_vectors, report.lost) == (0, ())
    assert report.n_from_texts > 0
    check(path, expected)


def test_documents_of_vectors_alone_are_named_and_go_only_by_consent(tmp_path: Path) -> None:
    ones: SparseMatrix = sparse.csr_array(np.eye(3, 4, dtype=np.float32))
    with Index.create(tmp_path / "i", n_terms=4, max_weight=1.0) as opened:
        opened.add([Document(name) for name in ("x", "y", "z")], ones)
        opened.seal()
        opened.add([Document("late")], ones[:1])
    before = sorted((tmp_path / "i" / "segments").iterdir())
    header(before[0])
    with pytest.raises(IndexCorrupt):
        Index.open(tmp_path / "i")
    with pytest.raises(IndexFailure, match="3 documents have neither"):
        repair(tmp_path / "i")
    assert sorted((tmp_path / "i" / "segments").iterdir()) == before
    report = repair(tmp_path / "i", accept_loss=True)
    assert report.lost == ("x", "y", "z")
    with Index.open(tmp_path / "i") as opened:
        assert list(contents(opened)) == ["late"]
        assert opened.check().problems == ()


def test_passages_are_encoded_where_they_were_split(tmp_path: Path) -> None:
    documents = [Document("a", {"text": " ".join(f"w{i}" for i in range(9))})]
    encoder = BM25Encoder.fit(one.text() for one in documents)
    build_index(tmp_path / "i", documents, encoder, source="x", progress=False, passages=(4, 1))
    with Index.open(tmp_path / "i") as opened:
        expected = contents(opened)
    header(largest(tmp_path / "i"))
    assert repair(tmp_path / "i", encoder).n_from_texts == 3
    with Index.open(tmp_path / "i") as opened:
        assert contents(opened) == expected
        assert opened.check().problems == ()


def test_a_damaged_catalog_is_not_mended(
    made: tuple[Path, BM25Encoder, dict[str, Any]],
) -> None:
    path, encoder, _ = made
    header(largest(path))
    catalog = path / "catalog.sqlite"
    raw = bytearray(catalog.read_bytes())
    raw[-5000] ^= 1
    catalog.write_bytes(raw)
    with pytest.raises(IndexCorrupt):
        repair(path, encoder)


def test_a_kill_before_the_commit_changes_nothing(
    made: tuple[Path, BM25Encoder, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import index.repair as module

    path, encoder, expected = made
    harmed = largest(path)
    header(harmed)
    for step in ("_encoded", "_written", "record_segment", "note_horizon", "forget_versions"):
        with monkeypatch.context() as patch:
            patch.setattr(module, step, _die)
            with pytest.raises(KeyboardInterrupt):
                repair(path, encoder)
        assert [one.file for one in damage_of(path)] == [harmed.name]
    repair(path, encoder)
    check(path, expected)


def _die(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_segment_that_does_not_read_back_is_never_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_documents: Any, random_vectors: Any
) -> None:
    """A bit flips between the write and the disk; sealing, merging and building refuse."""
    documents, vectors = make_documents(30), random_vectors(30)
    with Index.create(tmp_path / "i", n_terms=50, max_weight=8.0) as opened:
        for at in range(0, 20, 10):
            opened.add(documents[at : at + 10], vectors[at : at + 10])
            opened.seal()
        opened.add(documents[20:], vectors[20:])
        expected = contents(opened)
        real = {
            (module, name): getattr(module, name)
            for module, name in (
                (index.maintenance, "write_segment"),
                (index.maintenance, "write_merged"),
                (index.bulk, "write_segment"),
            )
        }

        def damaging(write: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(path: Path, *arguments: Any, **options: Any) -> Any:
                made = write(path, *arguments, **options)
                flip(path, "forward_weight")
                return made

            return wrapped

        with monkeypatch.context() as patch:
            for (module, name), write in real.items():
                patch.setattr(module, name, damaging(write))
            with pytest.raises(IndexFailure, match="read back"):
                opened.seal()
            with pytest.raises(IndexFailure, match="read back"), opened.bulk("x") as build:
                build.add([Document("new")], vectors[:1])
        assert contents(opened) == expected
        opened.seal()
        with monkeypatch.context() as patch:
            merged = real[index.maintenance, "write_merged"]
            patch.setattr(index.maintenance, "write_merged", damaging(merged))
            with pytest.raises(IndexFailure, match="read back"):
                opened.merge()
        assert contents(opened) == expected
        opened.merge()
        assert contents(opened) == expected
        assert opened.check().problems == ()
        assert len(list((tmp_path / "i" / "segments").iterdir())) == 1


def test_damage_is_told_without_what_to_do_about_it_wherever_the_index_lies(
    made: tuple[Path, BM25Encoder, dict[str, Any]], tmp_path: Path
) -> None:
    """The remedy was cut off at the first ". Restore", which a folder's name may hold."""
    path = made[0].rename(tmp_path / "old disk. Restored")
    harmed = largest(path)
    flip(harmed, "tail_impact")
    (damage,) = damage_of(path)
    assert damage.why == f"{harmed}: tail_impact: its checksum does not match its bytes"
    with pytest.raises(IndexCorrupt) as told, Segment.open(harmed) as segment:
        segment.verify()
    assert str(told.value) == f"{damage.why}. {told.value.remedy}"
    assert told.value.remedy.startswith(f"Run `lsr repair {path}`. Restore a copy")


@pytest.mark.parametrize("harm", [header, lambda path: flip(path, "tail_impact"), Path.unlink])
def test_damage_that_can_be_mended_is_told_with_the_command(
    made: tuple[Path, BM25Encoder, dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[Path], None],
) -> None:
    """`lsr check` said to restore a copy or to build again what `lsr repair` mends completely."""
    path, _, expected = made
    segment = largest(path)
    harm(segment)
    assert run(["check", str(path)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"next       lsr repair {path}"
    advice = re.escape(f"Run `lsr repair {path}`. Restore a copy")
    with pytest.raises(IndexCorrupt, match=advice), Index.open(path) as opened:
        opened.scrub()
    assert run(["repair", str(path)]) == 0
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert str(segment) in told
    assert "lsr repair" not in told
    check(path, expected)


def test_a_damaged_catalog_is_not_said_to_be_mendable(
    made: tuple[Path, BM25Encoder, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """`lsr check` said: "Run `lsr check`"."""
    path, _, _ = made
    raw = bytearray((path / "catalog.sqlite").read_bytes())
    raw[:16] = bytes(16)
    (path / "catalog.sqlite").write_bytes(raw)
    assert run(["check", str(path)]) == 1
    told = capsys.readouterr().out
    assert "catalog.sqlite" in told
    assert "Restore a copy or rebuild" in told
    assert "lsr check`" not in told
    assert "repair" not in told


def test_lsr_repair_as_somebody_types_it(
    made: tuple[Path, BM25Encoder, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, _, expected = made
    assert run(["repair", str(path)]) == 0
    assert "sound" in capsys.readouterr().out
    header(largest(path))
    assert run(["repair", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (len(told["damaged"]), told["lost"]) == (1, [])
    assert told["from_texts"] > 0
    check(path, expected)


def test_a_merge_and_what_it_was_made_of_may_both_be_damaged(
    made: tuple[Path, BM25Encoder, dict[str, Any]],
) -> None:
    """The way back was tried before every repair, and was none: `run lsr repair` was the advice."""
    path, _, expected = made
    with Index.open(path) as opened:
        before = {file.name for file in (path / "segments").iterdir()}
        opened.merge(settle=False)
        ((merged,),) = opened.catalog.rows(
            "SELECT file FROM segments WHERE retired IS NULL ORDER BY n_docs DESC LIMIT 1"
        )
    for file in (str(merged), min(before)):
        flip(path / "segments" / file, "tail_impact")
    report = repair(path)
    assert report.damaged
    with Index.open(path) as opened:
        assert contents(opened) == expected
        assert opened.check().problems == ()


def test_what_a_repair_refuses_keeps_the_segments_from_before_a_merge(tmp_path: Path) -> None:
    """Neither vectors nor texts of one of them are left; the others' vectors are, in them alone."""
    path = tmp_path / "i"
    with Index.create(path, n_terms=15, max_weight=1.0) as opened:
        for part in range(3):
            rows = sparse.csr_array(np.eye(15, dtype=np.float32)[part * 5 : part * 5 + 5])
            opened.add([Document(f"d{part * 5 + i}") for i in range(5)], rows)
            opened.seal()
        before = {file.name for file in (path / "segments").iterdir()}
        opened.merge(settle=False)
    (merged,) = {file.name for file in (path / "segments").iterdir()} - before
    for file in (merged, min(before)):
        flip(path / "segments" / file, "forward_weight")
    with Segment.open(path / "segments" / min(before)) as segment:
        gone = set(segment.doc_ids())
    for _ in range(2):
        with pytest.raises(IndexFailure, match="5 documents have neither vectors nor texts"):
            repair(path)
        assert {file.name for file in (path / "segments").iterdir()} == {*before, merged}
    report = repair(path, accept_loss=True)
    assert (set(report.lost), report.n_from_vectors) == (gone, 10)
    with Index.open(path) as opened:
        assert opened.n_docs == 10
        assert opened.check().problems == ()
        kept = min(int(name[1:]) for name in {f"d{i}" for i in range(15)} - gone)
        query = sparse.csr_array(np.eye(15, dtype=np.float32)[[kept]])
        assert opened.search(query).doc_ids == [f"d{kept}"]


def test_a_repair_leaves_no_way_back_to_what_it_forgot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two merges at once one was damaged with its source, the other sound: undone later, it
    brought a deleted document back, which the repair had forgotten.
    """
    path = tmp_path / "i"
    with Index.create(path, n_terms=20, max_weight=1.0) as opened:
        for part in range(4):
            rows = sparse.csr_array(np.eye(20, dtype=np.float32)[part * 5 : part * 5 + 5])
            opened.add([Document(f"d{part * 5 + i}") for i in range(5)], rows)
            opened.seal()
        opened.delete(["d17"])

        def planned(views: Any, everything: bool, **more: Any) -> list[Any]:
            return [list(views[:2]), list(views[2:])]

        monkeypatch.setattr(index.maintenance, "plan_merges", planned)
        before = {file.name for file in (path / "segments").iterdir()}
        opened.merge(everything=False, settle=False)
        made = [
            str(file)
            for (file,) in opened.catalog.rows(
                "SELECT file FROM segments WHERE retired IS NULL ORDER BY segment"
            )
        ]
        sources = opened.catalog.rows("SELECT file FROM segments ORDER BY segment")
    assert len(made) == 2
    for file in (made[0], str(sources[0][0])):
        flip(path / "segments" / file, "forward_weight")
    assert set(made).isdisjoint(before)
    report = repair(path, accept_loss=True)
    assert len(report.lost) == 5
    with Index.open(path) as opened:
        with pytest.raises(IndexFailure):
            opened.undo_merge()
        assert opened.n_docs == 14
        assert "d17" not in contents(opened)
        assert opened.check().problems == ()
