"""A merge can be taken back until what it made was read again; nothing added since is lost."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from index import Index, verify_backup
from index.repair import repair
from index.segment import Segment
from lsr.__main__ import run
from lsr.errors import IndexCorrupt, IndexFailure
from lsr.types import Document, SparseMatrix

N_TERMS = 8


def vector(seed: int) -> SparseMatrix:
    rng = np.random.default_rng(seed)
    row = np.zeros((1, N_TERMS), np.float32)
    row[0, rng.choice(N_TERMS, 3, replace=False)] = rng.integers(1, 64, 3) / 16
    return sparse.csr_array(row)


def contents(opened: Index) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for view in opened.refresh().views:
        for name in view.segment.doc_ids():
            if opened.get(name) is not None:
                found[name] = opened.vectors_of(name).toarray().tolist()
    return dict(sorted(found.items()))


def ranking(opened: Index) -> list[list[str]]:
    return [opened.search(vector(seed), 30).doc_ids for seed in range(5)]


@pytest.fixture
def merged(tmp_path: Path) -> tuple[Path, dict[str, list[Any]]]:
    """An index whose last merge is not settled, with documents added, replaced and deleted before
    and since; what it holds.
    """
    with Index.create(tmp_path / "i", n_terms=N_TERMS, max_weight=4.0) as made:
        for i in range(12):
            made.add([Document(f"d{i}")], vector(i))
            if i % 4 == 3:
                made.seal()
        made.add([Document("d1")], vector(101))
        made.delete(["d2", "d5"])
        made.merge(settle=False)
        made.delete(["d3"])
        made.add([Document("d4")], vector(104))
        made.seal()
        made.add([Document("late")], vector(50))
        return tmp_path / "i", contents(made)


def newest_merge(path: Path) -> Path:
    with Index.open(path) as opened:
        (file,) = opened.catalog.rows(
            "SELECT file FROM segments WHERE retired IS NULL ORDER BY n_docs DESC LIMIT 1"
        )[0]
    return path / "segments" / str(file)


def header(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[40] ^= 1
    path.write_bytes(raw)


def body(path: Path) -> None:
    with Segment.open(path) as segment:
        assert segment._header is not None
        (entry,) = [e for e in segment._header.entries if e.section.name == "forward_weight"]
        at = entry.offset
    raw = bytearray(path.read_bytes())
    raw[at] ^= 2
    path.write_bytes(raw)


def test_sources_stay_until_the_new_segment_was_read_again(
    merged: tuple[Path, dict[str, list[Any]]],
) -> None:
    path, expected = merged
    with Index.open(path) as opened:
        assert len(list((path / "segments").iterdir())) == 6  # four sources, merged, sealed
        assert opened.check().problems == ()
        before = opened.catalog.rows("SELECT count(*) FROM documents")[0][0]
        opened.scrub()
        assert len(list((path / "segments").iterdir())) == 2
        assert opened.catalog.rows("SELECT count(*) FROM documents")[0][0] < before
        assert contents(opened) == expected
        assert opened.check().problems == ()
        assert opened.fallbacks() == []
        with pytest.raises(IndexFailure, match="no merge can be undone"):
            opened.undo_merge()


@pytest.mark.parametrize("harm", [header, Path.unlink, lambda path: path.write_bytes(b"")])
def test_opening_falls_back_loudly_and_loses_nothing(
    merged: tuple[Path, dict[str, list[Any]]],
    harm: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path, expected = merged
    with Index.open(path) as opened:
        hits = ranking(opened)
    harm(newest_merge(path))
    with caplog.at_level(logging.ERROR), Index.open(path) as opened:
        assert contents(opened) == expected
        assert ranking(opened) == hits
        assert opened.check().problems == ()
        (fallback,) = opened.fallbacks()
        assert fallback["undone"] < fallback["commit"] == opened.generation
        opened.add([Document("after")], vector(60))
        opened.merge()
        assert list(contents(opened)) == sorted([*expected, "after"])
        assert opened.check().problems == ()
        assert len(list((path / "segments").iterdir())) == 1
    assert "went back from the merge" in caplog.text


def test_a_scrub_falls_back_instead_of_taking_the_index_out_of_service(
    merged: tuple[Path, dict[str, list[Any]]],
) -> None:
    path, expected = merged
    with Index.open(path) as opened:
        hits = ranking(opened)
    body(newest_merge(path))
    with Index.open(path) as opened, Index.open(path) as other:
        opened.scrub()
        assert ranking(opened) == ranking(other) == hits
        assert contents(opened) == expected
        assert len(opened.fallbacks()) == 1


def test_the_next_merge_and_a_repair_look_first(
    merged: tuple[Path, dict[str, list[Any]]], tmp_path: Path
) -> None:
    path, expected = merged
    with Index.open(path) as opened:
        opened.backup(tmp_path / "sound", link=False)
        body(newest_merge(path))
        opened.merge()
        assert contents(opened) == expected
        assert len(opened.fallbacks()) == 1
        opened.add([Document("x")], vector(70))
        opened.merge(settle=False)
        expected = contents(opened)
    body(newest_merge(path))
    assert repair(path).damaged == ()  # undone: there is nothing to repair
    with Index.open(path) as opened:
        assert contents(opened) == expected
        assert len(opened.fallbacks()) == 2
    assert verify_backup(tmp_path / "sound").sound


def test_where_the_sources_are_damaged_too_it_stays_out_of_service(
    merged: tuple[Path, dict[str, list[Any]]],
) -> None:
    path, _ = merged
    made = newest_merge(path)
    for file in (path / "segments").iterdir():
        header(file) if file == made else body(file)
    with pytest.raises(IndexCorrupt):
        Index.open(path)
    with Index.create(path.with_name("other"), n_terms=N_TERMS, max_weight=4.0) as unrelated:
        assert unrelated.fallbacks() == []


def test_a_kill_within_the_way_back_changes_nothing(
    merged: tuple[Path, dict[str, list[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import index.fallback as module

    path, expected = merged
    header(newest_merge(path))

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for step in ("read_back", "new_commit", "drop_undo"):
        with monkeypatch.context() as patch:
            patch.setattr(module, step, die)
            with pytest.raises(KeyboardInterrupt):
                Index.open(path)
    with Index.open(path) as opened:
        assert contents(opened) == expected
        assert opened.check().problems == ()


def test_a_reader_that_cannot_write_is_told(
    merged: tuple[Path, dict[str, list[Any]]],
) -> None:
    path, _ = merged
    header(newest_merge(path))
    with pytest.raises(IndexCorrupt):
        Index.open(path, read_only=True)


def test_many_merges_and_ways_back_rank_as_ever(tmp_path: Path) -> None:
    """Random adds, deletes, merges and undos against an index that never merged."""
    rng = np.random.default_rng(5)
    with (
        Index.create(tmp_path / "a", n_terms=N_TERMS, max_weight=4.0) as tried,
        Index.create(tmp_path / "b", n_terms=N_TERMS, max_weight=4.0) as plain,
    ):
        n_undone = 0
        for step in range(80):
            name, seed = f"d{rng.integers(15)}", int(rng.integers(1000))
            match rng.integers(8):
                case 0 | 1 | 2:
                    for one in (tried, plain):
                        one.add([Document(name)], vector(seed))
                case 3:
                    for one in (tried, plain):
                        one.delete([name])
                case 4 | 5:
                    tried.merge(settle=bool(rng.integers(5) == 0))
                case _:
                    try:
                        tried.undo_merge()
                        n_undone += 1
                    except IndexFailure:
                        tried.seal()
            assert contents(tried) == contents(plain), step
            assert tried.check().problems == (), step
        assert n_undone > 2


def test_lsr_rollback_commit(
    merged: tuple[Path, dict[str, list[Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, expected = merged
    assert run(["rollback", str(path), "--commit"]) == 0
    assert "went back" in capsys.readouterr().out
    with Index.open(path) as opened:
        assert contents(opened) == expected
        assert [one["why"] for one in opened.fallbacks()] == ["asked for"]
    assert run(["rollback", str(path), "--commit"]) == 1
    assert "no merge can be undone" in capsys.readouterr().err
