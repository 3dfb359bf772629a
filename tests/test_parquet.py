"""Parquet, as the hub keeps collections: what JSON lines would hold, or a clear error."""

import datetime as dt
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.__main__ import run
from lsr.datasets import BeirFolder, ShardFolder, load_dataset, read_documents, read_queries
from lsr.errors import DatasetError, MissingExtra
from lsr.trec import read_qrels
from lsr.types import Document, Query

pa = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
pq = pytest.importorskip("pyarrow.parquet")

ROWS = [
    {"_id": "d1", "title": "One", "text": "red bees fly"},
    {"_id": "d2", "title": "Two", "text": "late fees are due"},
    {"_id": "d3", "title": "Three", "text": "bees make honey"},
]
MAY = dt.datetime(2024, 5, 31, 18, 30)


@pytest.fixture(autouse=True)
def _nothing_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LSR_DATA", raising=False)
    monkeypatch.setenv("LSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def table(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    """The rows as a Parquet file, with the columns that any of them has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    pq.write_table(pa.table(columns), path, **options)
    return path


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class TestRows:
    @settings(max_examples=30, deadline=None)
    @given(
        rows=st.lists(
            st.fixed_dictionaries(
                {"text": st.text(st.characters(exclude_categories=("Cs",)))},
                optional={
                    "n": st.integers(-(2**63), 2**63 - 1),
                    "x": st.floats(allow_nan=False, allow_infinity=False),
                    "yes": st.booleans(),
                    "tags": st.lists(st.text("ab", min_size=1), min_size=1),
                    "meta": st.fixed_dictionaries({"year": st.integers(0, 9999)}),
                },
            ),
            min_size=1,
            max_size=20,
        ),
        group=st.integers(1, 7),
    )
    def test_are_those_of_json_lines(
        self, rows: list[dict[str, Any]], group: int, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        rows = [{"id": number, **row} for number, row in enumerate(rows)]
        folder = tmp_path_factory.mktemp("rows")
        path = table(folder / "c.parquet", rows, row_group_size=group)
        found = list(read_documents(path))
        assert found == list(read_documents(lines(folder / "c.jsonl", rows)))

    def test_values_that_json_lacks_become_what_it_has(self, tmp_path: Path) -> None:
        zone = dt.timezone(dt.timedelta(hours=2))
        columns = {
            "docid": ["a", "b"],
            "day": [dt.date(2024, 5, 31), None],
            "at": [MAY, None],
            "there": [MAY.replace(tzinfo=zone), None],
            "price": [Decimal("1.50"), None],
            "lost": [float("nan"), float("inf")],
            "__index_level_0__": [0, 1],
        }
        pq.write_table(pa.table(columns), tmp_path / "c.parquet")
        one, two = read_documents(tmp_path / "c.parquet")
        there = dt.datetime.fromisoformat(one.fields.pop("there"))
        assert there == MAY.replace(tzinfo=zone)
        assert one == Document(
            "a", {"day": "2024-05-31", "at": "2024-05-31T18:30:00+00:00", "price": 1.5}
        )
        assert two == Document("b", {})

    def test_columns_that_json_cannot_hold_are_left_out_and_told(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Pictures and the like stand in many sets of the hub, and nobody searches them."""
        row: dict[str, Any] = {
            "id": "a",
            "photo": {"bytes": b"\x89PNG", "path": "a.png"},
            "hashed": b"\x00",
        }
        row |= {"text": "x", "took": dt.timedelta(seconds=1)}
        path = table(tmp_path / "c.parquet", [row])
        assert list(read_documents(path)) == [Document("a", {"text": "x"})]
        assert caplog.messages == [
            "left out   photo, hashed, took: bytes, or what else JSON has not"
        ]

    @pytest.mark.parametrize("name", ["id", "text"])
    def test_an_id_or_a_text_of_bytes_is_refused(self, name: str, tmp_path: Path) -> None:
        path = table(tmp_path / "c.parquet", [{"id": "a", "text": "x"} | {name: b"raw"}])
        with pytest.raises(DatasetError, match=rf"c\.parquet: column '{name}' holds bytes, wanted"):
            list(read_documents(path))

    def test_an_id_that_is_missing_is_told_with_its_row(self, tmp_path: Path) -> None:
        path = table(tmp_path / "c.parquet", [{"id": "a", "text": "x"}, {"text": "y"}])
        with pytest.raises(DatasetError, match=r"c\.parquet:2: no id, wanted"):
            list(read_documents(path))

    @pytest.mark.parametrize("kept", [0, 3, 100, -1])
    def test_a_file_that_is_cut_short_is_refused(self, kept: int, tmp_path: Path) -> None:
        path = table(tmp_path / "c.parquet", ROWS)
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(DatasetError, match=r"c\.parquet: cannot be read as Parquet"):
            list(read_documents(path))

    def test_no_byte_that_changes_ends_in_anything_but_a_refusal_or_rows(
        self, tmp_path: Path
    ) -> None:
        whole = table(tmp_path / "c.parquet", ROWS, write_page_checksum=True).read_bytes()
        refused = 0
        for at in range(0, len(whole), 7):
            damaged = whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :]
            (tmp_path / "d.parquet").write_bytes(damaged)
            try:
                list(read_documents(tmp_path / "d.parquet"))
            except DatasetError:
                refused += 1
        assert refused

    def test_a_file_that_is_not_there_is_told_once(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError) as caught:
            list(read_documents(tmp_path / "c.parquet"))
        assert "(No such file or directory); wanted" in str(caught.value)

    def test_without_pyarrow_the_install_line_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = table(tmp_path / "c.parquet", ROWS)
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(MissingExtra, match=r"'pyarrow'.*lsr-search\[parquet\]"):
            list(read_documents(path))

    def test_queries_are_read_as_well(self, tmp_path: Path) -> None:
        path = table(tmp_path / "q.parquet", [{"query-id": 7, "text": "bees"}])
        assert list(read_queries(path)) == [Query("7", "bees")]


class TestAFolderOfTheHub:
    @pytest.fixture
    def hub(self, tmp_path: Path) -> Path:
        folder = tmp_path / "tiny"
        table(folder / "corpus" / "corpus-00000-of-00002.parquet", ROWS[:2])
        table(folder / "corpus" / "corpus-00001-of-00002.parquet", ROWS[2:])
        asked = [{"_id": "q1", "text": "bees"}, {"_id": "q2", "text": "fees"}]
        table(folder / "queries" / "queries-00000-of-00001.parquet", asked)
        grades = [("q1", "d1", 1), ("q1", "d3", 2), ("q2", "d2", 1)]
        rows = [{"query-id": q, "corpus-id": d, "score": g} for q, d, g in grades]
        table(folder / "qrels" / "test-00000-of-00002.parquet", rows[:1])
        table(folder / "qrels" / "test-00001-of-00002.parquet", rows[1:])
        table(folder / "qrels" / "dev.parquet", rows[2:])
        (folder / "README.md").write_text("# A collection")
        return folder

    def test_is_the_collection_that_json_lines_and_tsv_would_be(self, hub: Path) -> None:
        source = load_dataset(hub)
        assert isinstance(source, BeirFolder)
        assert [document.doc_id for document in source.documents()] == ["d1", "d2", "d3"]
        assert source.splits() == ["test", "dev"]
        assert source.queries("dev") == [Query("q2", "fees")]
        assert [query.text for query in source.all_queries()] == ["bees", "fees"]
        assert source.qrels() == {"q1": {"d1": 1, "d3": 2}, "q2": {"d2": 1}}

    def test_is_measured_by_its_name(self, hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["evaluate", "./tiny", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["measures"]["nDCG@10"] > 0.9

    @pytest.mark.parametrize("name", ["corpus/corpus-00000-of-00002", "qrels/test-00001-of-00002"])
    def test_half_a_download_is_refused(self, name: str, hub: Path) -> None:
        (hub / f"{name}.parquet").unlink()
        source = load_dataset(hub)
        with pytest.raises(DatasetError, match=r"part [01] of \w+-\*-of-00002 is not there, 1 of"):
            list(source.documents())
            source.qrels()

    def test_has_a_fingerprint_of_all_its_files(self, hub: Path) -> None:
        before = load_dataset(hub).fingerprint
        table(hub / "qrels" / "dev.parquet", [{"query-id": "q1", "corpus-id": "d1", "score": 1}])
        assert load_dataset(hub).fingerprint != before

    def test_pairs_without_a_score_are_relevant(self, tmp_path: Path) -> None:
        path = table(tmp_path / "nano.parquet", [{"query-id": "q", "corpus-id": "d"}])
        assert read_qrels(path) == {"q": {"d": 1}}
        path = table(tmp_path / "odd.parquet", [{"query": "q", "corpus-id": "d"}])
        with pytest.raises(DatasetError, match=r"odd\.parquet:1: got the columns query, corpus-id"):
            read_qrels(path)
        path = table(tmp_path / "half.parquet", [{"query-id": "q", "corpus-id": "d", "score": 0.5}])
        with pytest.raises(DatasetError, match=r"half\.parquet:1: grade '0\.5', wanted an integer"):
            read_qrels(path)

    def test_an_id_that_occurs_in_two_parts_is_placed_in_both(
        self, hub: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        table(hub / "corpus" / "corpus-00001-of-00002.parquet", ROWS[1:])
        assert run(["index", "./tiny", "tiny.index", "--encoder", "bm25"]) == 1
        told = " ".join(capsys.readouterr().err.split())
        assert "corpus-00001-of-00002.parquet:1: the id 'd2' occurs twice, first in tiny/" in told


class TestShards:
    @pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "jsonl.gz"])
    def test_files_of_one_kind_are_one_corpus(self, kind: str, tmp_path: Path) -> None:
        import csv
        import gzip

        folder = tmp_path / "data"
        for number, rows in enumerate((ROWS[:2], ROWS[2:])):
            path = folder / "train" / f"part-{number:05}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "parquet":
                table(path, rows)
            elif kind == "csv":
                with path.open("w", newline="") as file:
                    writer = csv.DictWriter(file, list(rows[0]))
                    writer.writeheader()
                    writer.writerows(rows)
            else:
                text = "".join(json.dumps(row) + "\n" for row in rows).encode()
                path.write_bytes(gzip.compress(text) if kind.endswith("gz") else text)
        (folder / "README.md").write_text("# About")
        (folder / "dataset_infos.json").write_text("{}")
        source = load_dataset(folder)
        assert isinstance(source, ShardFolder)
        assert list(source.documents()) == [
            Document(row["_id"], {"title": row["title"], "text": row["text"]}) for row in ROWS
        ]
        assert [file.name for file in source.others] == ["README.md", "dataset_infos.json"]
        assert (source.name, source.splits()) == ("data", [])
        with pytest.raises(DatasetError, match="a folder of corpus files has no queries"):
            source.queries()
        before = source.fingerprint
        lines(folder / "more.jsonl", ROWS[:1]) if kind == "jsonl" else path.unlink()
        assert load_dataset(folder).fingerprint != before

    @pytest.mark.parametrize(
        ("names", "told"),
        [
            (["a.csv", "b.parquet"], r"a folder with a\.csv and b\.parquet, not of one kind"),
            (["a.jsonl", "note.md"], r"a folder with a\.jsonl beside 1 text, not of one kind"),
            (["a.jsonl", "x.txt", "note.md"], r"a\.jsonl beside 2 texts, not of one kind"),
            (["docs.jsonl", "queries.jsonl"], r"a folder with queries\.jsonl, and without corpus"),
            (["a.jsonl", "collection.tsv"], r"a folder with collection\.tsv, and without corpus"),
            (["train-00000-of-00002.jsonl"], r"part 1 of train-\*-of-00002 is not there, 1 of 2"),
        ],
    )
    def test_what_is_no_corpus_says_why(self, names: list[str], told: str, tmp_path: Path) -> None:
        for name in names:
            lines(tmp_path / "data" / name, ROWS[:1])
        with pytest.raises(DatasetError, match=told):
            list(load_dataset(tmp_path / "data").documents())

    def test_an_index_says_what_it_reads_and_where_an_id_is_repeated(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        table(tmp_path / "data" / "one.parquet", ROWS[:2])
        table(tmp_path / "data" / "two.parquet", ROWS[2:])
        assert run(["index", "data", "data.index", "--encoder", "bm25"]) == 0
        assert "data: 2 files" in capsys.readouterr().err
        table(tmp_path / "data" / "two.parquet", ROWS[1:])
        assert run(["index", "data", "more.index", "--encoder", "bm25"]) == 1
        told = " ".join(capsys.readouterr().err.split())
        assert "data/two.parquet:1: the id 'd2' occurs twice, first in data/one.parquet:2" in told
