"""Segments on disk: what goes in comes out, and damage is named, never searched into a crash."""

import errno
import os
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from scipy import sparse

from index import _core, segment_writer
from index.columns import Column, checked_conditions
from index.engine import search
from index.layout import HEADER_BYTES, SECTIONS, decode_header
from index.live import pack
from index.quantize import impacts, integer_query, scale_for
from index.segment import Segment, write_segment
from lsr.errors import DiskFull, IndexCorrupt, IndexVersion, QueryError, UsageError, VectorError
from lsr.types import SparseMatrix

SCALE = scale_for(4.0)


def vectors_of(n_docs: int, n_terms: int = 40, *, seed: int = 0) -> SparseMatrix:
    """The first half of the terms is frequent (heads from 64 documents on), the second is not."""
    rng = np.random.default_rng(seed)
    share = np.where(np.arange(n_terms) < n_terms // 2, 0.9, 0.1)
    weights = rng.uniform(0.05, 3.9, (n_docs, n_terms)) * (rng.random((n_docs, n_terms)) < share)
    return sparse.csr_array(weights.astype(np.float32))


def names(n_docs: int) -> list[str]:
    return [f"doc {i} é\n" for i in range(n_docs)]


def write(path: Path, n_docs: int = 150, **options: object) -> SparseMatrix:
    vectors = vectors_of(n_docs)
    langs = [None if i % 5 == 0 else ("en", "de", "日本")[i % 3] for i in range(n_docs)]
    settings: dict[str, object] = {
        "groups": np.arange(n_docs, dtype=np.uint32) // 3,
        "columns": {
            "lang": Column.from_values("keyword", langs),
            "year": Column.from_values("int", [1990 + i % 7 for i in range(n_docs)]),
        },
        "grid": True,
    }
    settings |= options
    docids = np.arange(n_docs, dtype=np.uint32) * 2
    write_segment(path, vectors, docids, names(n_docs), scale=SCALE, **settings)  # type: ignore[arg-type]
    return vectors


@pytest.mark.parametrize("reorder", [False, True])
def test_a_segment_returns_what_was_written(tmp_path: Path, reorder: bool) -> None:
    """By docid: where a document lies is the builder's choice."""
    path = tmp_path / "a.seg"
    vectors = write(path, reorder=reorder)
    with Segment.open(path) as segment:
        segment.verify()
        assert (segment.n_docs, segment.n_terms) == vectors.shape
        assert segment.n_postings == vectors.nnz
        assert segment.n_bytes == path.stat().st_size
        assert segment.n_saturated == 0
        docids = np.arange(150, dtype=np.uint32) * 2
        positions = segment.positions_of(docids)
        assert np.array_equal(segment.docids[positions], docids)
        assert segment.doc_ids(positions) == names(150)
        assert [segment.doc_id(int(p)) for p in positions[:3]] == names(3)
        assert segment.groups is not None
        assert np.array_equal(segment.groups[positions], np.arange(150) // 3)
        assert segment.column("lang").take(positions)[:4] == [None, "de", "日本", "en"]
        assert segment.column("year").value(int(positions[8])) == 1991
        stored = segment.vectors(positions)
        assert np.array_equal(stored.indices, vectors.indices)
        assert np.array_equal(stored.data, vectors.data.astype(np.float16).astype(np.float32))
        assert segment.vectors().dtype == np.float32
        assert np.array_equal(segment.vectors()[positions].toarray(), stored.toarray())
        expected, _ = impacts(vectors.data, SCALE)
        for row in (0, 77, 149):
            terms, got = segment.impacts_of(int(positions[row]))
            a, b = vectors.indptr[row : row + 2]
            assert np.array_equal(terms, vectors.indices[a:b])
            assert np.array_equal(got, expected[a:b])


def test_without_stored_vectors_the_postings_give_impacts_times_scale(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    vectors = write(path, keep_vectors=False, reorder=True)
    with Segment.open(path) as segment:
        segment.verify()
        assert not segment.has_vectors
        positions = segment.positions_of(np.arange(150) * 2)
        expected, _ = impacts(vectors.data, SCALE)
        got = segment.vectors(positions)
        assert np.array_equal(got.indices, vectors.indices)
        assert np.array_equal(got.data, expected.astype(np.float32) * np.float32(SCALE))
        terms, row = segment.impacts_of(int(positions[9]))
        a, b = vectors.indptr[9:11]
        assert np.array_equal(terms, vectors.indices[a:b])
        assert np.array_equal(row, expected[a:b])


def test_docids_that_are_elsewhere_have_no_position(tmp_path: Path) -> None:
    write(tmp_path / "a.seg", reorder=True)
    with Segment.open(tmp_path / "a.seg") as segment:
        assert segment.positions_of(np.array([1, 299, 1000])).tolist() == [-1, -1, -1]
        assert segment.positions_of(np.array([], np.int64)).tolist() == []


def test_a_segment_of_nothing_is_a_segment(tmp_path: Path) -> None:
    path = tmp_path / "empty.seg"
    empty = sparse.csr_array((0, 7), dtype=np.float32)
    write_segment(path, empty, np.empty(0, np.uint32), [], scale=SCALE)
    with Segment.open(path) as segment:
        segment.verify()
        assert segment.vectors().shape == (0, 7)
        assert segment.positions_of(np.array([0])).tolist() == [-1]
    blank = sparse.csr_array((3, 7), dtype=np.float32)
    segment = Segment.in_memory(blank, np.arange(3, dtype=np.uint32), ["", "b", "c"], scale=SCALE)
    segment.verify()
    assert segment.doc_id(0) == ""
    assert segment.impacts_of(1)[0].tolist() == []


def test_saturated_postings_are_counted(tmp_path: Path) -> None:
    vectors = sparse.csr_array(np.array([[9.0, 4.0], [0.0, 5.0]], np.float32))
    docids = np.arange(2, dtype=np.uint32)
    stats = write_segment(tmp_path / "a.seg", vectors, docids, ["a", "b"], scale=SCALE)
    assert (stats.n_docs, stats.n_postings, stats.n_saturated) == (2, 3, 2)
    assert stats.n_bytes == (tmp_path / "a.seg").stat().st_size
    assert stats.search_bytes < stats.n_bytes


def test_input_that_cannot_be_indexed_is_named_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    vectors, docids = vectors_of(3), np.arange(3, dtype=np.uint32)
    with pytest.raises(UsageError, match="docids must be uint32"):
        write_segment(path, vectors, docids.astype(np.int64), names(3), scale=SCALE)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="distinct"):
        write_segment(path, vectors, np.zeros(3, np.uint32), names(3), scale=SCALE)
    with pytest.raises(UsageError, match="3 vectors but 2 document ids"):
        write_segment(path, vectors, docids, names(2), scale=SCALE)
    with pytest.raises(UsageError, match="not valid Unicode"):
        write_segment(path, vectors, docids, ["a", "b\ud800", "c"], scale=SCALE)
    with pytest.raises(UsageError, match="values in the column 'x'"):
        column = Column.from_values("int", [1])
        write_segment(path, vectors, docids, names(3), scale=SCALE, columns={"x": column})
    broken = vectors.copy()
    broken.data[2] = np.nan
    with pytest.raises(VectorError, match="nan"):
        write_segment(path, broken, docids, names(3), scale=SCALE)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_file_and_the_old_one_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.seg")
    before = (tmp_path / "a.seg").read_bytes()

    def no_room(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(segment_writer.os, "fsync", no_room)
    with pytest.raises(DiskFull, match=r"a\.seg: no room"):
        write(tmp_path / "a.seg", n_docs=200)
    assert [path.name for path in tmp_path.iterdir()] == ["a.seg"]
    assert (tmp_path / "a.seg").read_bytes() == before


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    """The real system call fails in the middle of a section; a limit stands in for a full disk."""
    script = f"""
        import resource, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from lsr.errors import DiskFull
        import test_segment
        test_segment.write(Path("warm.seg"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        try:
            test_segment.write(Path("b.seg"), n_docs=400)
        except DiskFull:
            print("disk full")
        """
    done = run_python(script, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "disk full"), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["warm.seg"]


def run_python(script: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_flipped_bit_and_every_truncation_is_found(tmp_path: Path) -> None:
    """One byte after the other: opening or `verify` must refuse, with the section's name."""
    path = tmp_path / "a.seg"
    write(path, n_docs=80)
    raw = path.read_bytes()
    header = decode_header(raw[:HEADER_BYTES], path=path, n_bytes=len(raw))
    damaged = tmp_path / "damaged.seg"
    damaged.write_bytes(raw)
    with damaged.open("r+b", buffering=0) as file:
        # Every byte of the header and the edges of every section, and one in 13 in between.
        edges = {e.offset + d for e in header.entries for d in (-1, 0, e.length - 1, e.length)}
        places = sorted(set(range(HEADER_BYTES)) | edges | set(range(0, len(raw), 13)))
        for at in places:
            if at >= len(raw):
                continue
            os.pwrite(file.fileno(), bytes([raw[at] ^ (1 << at % 8)]), at)
            with pytest.raises((IndexCorrupt, IndexVersion)), Segment.open(damaged) as segment:
                segment.verify()
            os.pwrite(file.fileno(), raw[at : at + 1], at)
    for length in [0, 1, 8, 511, 512, 513, len(raw) // 2, len(raw) - 64, len(raw) - 1]:
        damaged.write_bytes(raw[:length])
        with pytest.raises(IndexCorrupt):
            Segment.open(damaged)
    damaged.write_bytes(raw + b"\0" * 64)
    with pytest.raises(IndexCorrupt, match="declares"):
        Segment.open(damaged)


@pytest.mark.parametrize("section", [section.name for section in SECTIONS])
def test_damage_is_reported_with_the_name_of_the_section(tmp_path: Path, section: str) -> None:
    path = tmp_path / "a.seg"
    write(path, n_docs=80)
    raw = bytearray(path.read_bytes())
    header = decode_header(bytes(raw[:HEADER_BYTES]), path=path, n_bytes=len(raw))
    entry = next(entry for entry in header.entries if entry.section.name == section)
    raw[entry.offset + entry.length // 2] ^= 0x40
    path.write_bytes(raw)
    with pytest.raises(IndexCorrupt, match=rf"a\.seg: {section}: "), Segment.open(path) as segment:
        segment.verify()


def test_another_version_and_another_kind_of_file_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    write(path, n_docs=10)
    raw = bytearray(path.read_bytes())
    for at, value in ((8, 2), (12, 1 << 20)):
        later = bytearray(raw)
        struct.pack_into("<I", later, at, value)
        struct.pack_into("<I", later, 508, google_crc32c.value(bytes(later[:508])))
        path.write_bytes(later)
        with pytest.raises(IndexVersion, match="newer release"):
            Segment.open(path)
    path.write_bytes(b"PK\x03\x04" + bytes(1000))
    with pytest.raises(IndexCorrupt, match="begins with"):
        Segment.open(path)
    with pytest.raises(FileNotFoundError):
        Segment.open(tmp_path / "absent.seg")


def test_a_bound_below_an_impact_is_found_though_every_checksum_is_right(tmp_path: Path) -> None:
    """The one mistake of a writer that would lose results in silence."""
    write(tmp_path / "a.seg")
    with Segment.open(tmp_path / "a.seg") as segment:
        arrays = dict(segment._arrays)
        arrays["codebook"] = np.zeros_like(arrays["codebook"])
        wrong = Segment(segment.counts, arrays, path=None, n_bytes=0)
        with pytest.raises(IndexCorrupt, match="grid: term 0: a cell bounds less"):
            wrong.verify()


def test_the_arrays_outlive_a_closed_segment_while_somebody_holds_them(tmp_path: Path) -> None:
    write(tmp_path / "a.seg")
    segment = Segment.open(tmp_path / "a.seg")
    view, docids = segment.view, segment.docids
    segment.close()
    assert docids.tolist()[:2] == [0, 2]
    query = integer_query(np.arange(5), np.ones(5), n_terms=40, scale=SCALE)
    found, _, _ = _core.search(
        [view], [None], query.terms, query.weights, 3, _core.Algorithm.automatic
    )
    assert len(found) == 3
    with pytest.raises(UsageError, match="is closed"):
        segment.vectors()


def test_a_filter_is_a_mask(tmp_path: Path) -> None:
    write(tmp_path / "a.seg", reorder=True)
    with Segment.open(tmp_path / "a.seg") as segment:
        column = segment.column("lang")
        mask = column.mask(checked_conditions("keyword", {"eq": "de"}))
        query = integer_query(np.arange(40), np.ones(40), n_terms=40, scale=SCALE)
        docids, _, _ = search([segment], [pack(mask)], query, 1000)
        found = segment.positions_of(docids)
        assert len(found) == int(mask.sum()) > 0
        assert set(column.take(found)) == {"de"}
        with pytest.raises(QueryError, match=r"no filter field 'langs'.*lang, year"):
            segment.column("langs")


class TestColumn:
    """Filter columns decide a predicate once per distinct value."""

    def test_conditions_mean_what_they_say(self) -> None:
        values = [3, None, 7, 5, 3]
        column = Column.from_values("int", values)

        def chosen(**predicate: object) -> list[int]:
            return np.flatnonzero(
                column.mask(
                    checked_conditions("int", {k.rstrip("_"): v for k, v in predicate.items()})
                )
            ).tolist()

        assert chosen(eq=3) == [0, 4]
        assert chosen(eq=4) == []
        assert chosen(in_=[7, 3, 9]) == [0, 2, 4]
        assert chosen(in_=[]) == []
        assert chosen(gt=3) == [2, 3]
        assert chosen(gte=3, lt=7) == [0, 3, 4]
        assert chosen(lte=5.5) == [0, 3, 4]
        assert chosen(gt=10**30) == []
        assert chosen(lt=10**30) == [0, 2, 3, 4]
        assert chosen(exists=True) == [0, 2, 3, 4]
        assert chosen(exists=False) == [1]
        assert chosen(exists=False, eq=3) == []

    def test_every_kind_survives_the_file(self, tmp_path: Path) -> None:
        columns = {
            "k": Column.from_values("keyword", ["b", "", None, "é"]),
            "i": Column.from_values("int", [-(2**63), 2**63 - 1, None, 0]),
            "f": Column.from_values("float", [0.5, None, -1e300, 2]),
            "b": Column.from_values("bool", [True, False, None, True]),
            "none": Column.from_values("keyword", [None] * 4),
            "d": Column.from_values(
                "date", ["2024-05-31", None, "2024-05-31T02:00:00+02:00", "0001-01-01"]
            ),
        }
        docids = np.arange(4, dtype=np.uint32)
        path = tmp_path / "a.seg"
        write_segment(path, vectors_of(4), docids, names(4), scale=SCALE, columns=columns)
        with Segment.open(path) as segment:
            assert list(segment.columns) == list(columns)
            for name, column in columns.items():
                got = segment.column(name)
                assert got.kind == column.kind
                assert got.take(np.arange(4)) == column.take(np.arange(4)), name
            true = checked_conditions("bool", {"eq": True})
            assert segment.column("b").mask(true).tolist() == [1, 0, 0, 1]
            x = checked_conditions("keyword", {"eq": "x"})
            assert segment.column("none").mask(x).tolist() == [0, 0, 0, 0]

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            ("keyword", 3),
            ("int", "3"),
            ("int", True),
            ("int", 2**63),
            ("int", 1.5),
            ("float", float("nan")),
            ("float", 10**400),
            ("bool", 1),
            ("date", "2024-02-30"),
            ("date", "2024-05-31T12:00"),
            ("date", 20240531),
        ],
    )
    def test_a_value_of_another_type_is_refused(self, kind: str, value: object) -> None:
        with pytest.raises(UsageError, match="value 1 of a"):
            Column.from_values(kind, [None, value])  # type: ignore[arg-type, list-item]

    @pytest.mark.parametrize(
        ("kind", "predicate", "message"),
        [
            ("int", {}, "empty condition"),
            ("int", {"eq": "x"}, "takes a finite number"),
            ("keyword", {"eq": None}, "takes a string"),
            ("keyword", {"in": "en"}, "in takes a list"),
            ("keyword", {"like": "e"}, "no condition 'like'"),
            ("bool", {"gt": False}, "no condition 'gt'"),
            ("int", {"exists": 1}, "exists takes true or false"),
            ("float", {"lt": float("inf")}, "takes a finite number"),
            ("date", {"gte": "yesterday"}, "an ISO 8601 date"),
        ],
    )
    def test_a_condition_that_means_nothing_is_refused(
        self, kind: str, predicate: dict[str, object], message: str
    ) -> None:
        with pytest.raises(QueryError, match=message):
            checked_conditions(kind, predicate)  # type: ignore[arg-type]

    def test_a_kind_must_be_known(self) -> None:
        with pytest.raises(UsageError, match="keyword, int, float, bool, date"):
            Column.from_values("time", [])  # type: ignore[arg-type]
