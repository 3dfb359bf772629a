import gzip
import json
import os
import sys
import types
from collections import namedtuple
from pathlib import Path

import pytest
import zstandard

from lsr.datasets import BeirFolder, CorpusFile, TextFolder, available, load_dataset
from lsr.datasets.dataset import fingerprint_files
from lsr.datasets.records import read_documents, read_queries
from lsr.errors import DatasetError, MissingExtra, UsageError
from lsr.types import Document, Query


def write(path: Path, *lines: object) -> Path:
    """One JSON object or text a line; compressed when the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines).encode()
    if path.suffix == ".gz":
        text = gzip.compress(text)
    elif path.suffix == ".zst":
        text = zstandard.compress(text)
    path.write_bytes(text)
    return path


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """Three documents, three queries, two of them judged in test."""
    folder = tmp_path / "sets" / "tiny"
    write(
        folder / "corpus.jsonl",
        {"_id": "d1", "title": "One", "text": "first"},
        {"_id": "d2", "title": "", "text": "second"},
        {"_id": 3, "text": "third", "metadata": {"year": 1999}},
    )
    write(folder / "queries.jsonl", *({"_id": f"q{i}", "text": f"query {i}"} for i in (3, 1, 2)))
    write(folder / "qrels/test.tsv", "query-id\tcorpus-id\tscore", "q1\td1\t2", "q3\td2\t1")
    write(folder / "qrels/train.tsv", "q2\t3\t1")
    return folder


@pytest.fixture(autouse=True)
def _nothing_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test may see the collections or the cache of the person who runs it."""
    monkeypatch.delenv("LSR_DATA", raising=False)
    monkeypatch.setenv("LSR_CACHE", str(tmp_path / "cache"))


class TestReadDocuments:
    @pytest.mark.parametrize("name", ["c.jsonl", "c.json", "c.jsonl.gz", "c.jsonl.zst"])
    def test_json_lines_are_read_verbatim_apart_from_the_id(self, name, tmp_path):
        path = write(tmp_path / name, {"_id": "a", "text": "T", "n": [1, {"x": None}]})
        assert list(read_documents(path)) == [Document("a", {"text": "T", "n": [1, {"x": None}]})]

    @pytest.mark.parametrize("name", ["c.tsv", "c.tsv.gz", "c.tsv.zst"])
    def test_tsv_without_header_is_id_and_text(self, name, tmp_path):
        path = write(tmp_path / name, "7\tfirst text", "d2\tsecond")
        assert list(read_documents(path)) == [
            Document("7", {"text": "first text"}),
            Document("d2", {"text": "second"}),
        ]

    def test_tsv_with_header_has_the_columns_it_names(self, tmp_path):
        path = write(tmp_path / "c.tsv", "title\tid\ttext", "T\td1\tbody")
        assert list(read_documents(path)) == [Document("d1", {"title": "T", "text": "body"})]

    @pytest.mark.parametrize("key", ["_id", "id", "doc_id"])
    def test_the_id_goes_by_three_names(self, key, tmp_path):
        path = write(tmp_path / "c.jsonl", {key: "d", "text": ""})
        assert list(read_documents(path)) == [Document("d", {"text": ""})]

    def test_the_first_id_name_wins_and_the_others_stay_fields(self, tmp_path):
        path = write(tmp_path / "c.jsonl", {"id": 5, "_id": "d", "doc_id": "x"})
        assert list(read_documents(path)) == [Document("d", {"id": 5, "doc_id": "x"})]

    def test_odd_ids_stay_as_they_are(self, tmp_path):
        ids = ["<dbpedia:Ä>", "a b\tc", "🦜", "../../etc", "é", "e\u0301", "0", "-1"]
        path = write(tmp_path / "c.jsonl", *({"_id": x} for x in ids))
        assert [d.doc_id for d in read_documents(path)] == ids

    def test_an_empty_file_is_an_empty_corpus(self, tmp_path):
        assert list(read_documents(write(tmp_path / "c.jsonl"))) == []
        assert list(read_documents(write(tmp_path / "c.tsv.gz"))) == []

    def test_a_document_may_have_no_text(self, tmp_path):
        path = write(tmp_path / "c.jsonl", {"_id": "a"}, {"_id": "b", "text": None, "title": ""})
        assert [d.text() for d in read_documents(path)] == ["", ""]

    def test_repeated_ids_pass_because_the_index_finds_them(self, tmp_path):
        """Here it would need every id in memory; the index keeps them anyway."""
        path = write(tmp_path / "c.jsonl", {"_id": "a"}, {"_id": "a"})
        assert len(list(read_documents(path))) == 2

    def test_reading_is_streaming(self, tmp_path):
        """The first document comes before the broken second line is looked at."""
        path = write(tmp_path / "c.jsonl", {"_id": "a"}, "{broken")
        documents = read_documents(path)
        assert next(documents).doc_id == "a"
        with pytest.raises(DatasetError, match=":2: not JSON"):
            next(documents)

    @pytest.mark.parametrize(
        ("line", "complaint"),
        [
            ("{broken", r"not JSON \(.+, column \d+\), wanted one object a line"),
            ("3", "got an integer, wanted a JSON object"),
            ('"text"', "got a string, wanted a JSON object"),
            ("[1]", "got a list, wanted a JSON object"),
            ('{"text": "x", "pid": 1}', "no id, wanted .* got the keys pid, text"),
            ("{}", r"no id, .* got the keys \(none\)"),
            ('{"_id": null}', "'_id' is null, wanted a non-empty string or integer"),
            ('{"_id": 1.5}', "'_id' is a fraction"),
            ('{"_id": true}', "'_id' is true or false"),
            ('{"_id": ""}', "'_id' is an empty string"),
            ('{"_id": ["a"]}', "'_id' is a list"),
            ('{"_id": "a", "text": ["x"]}', "'text' of document 'a' is a list, wanted a string"),
            ('{"_id": "a", "title": 5}', "'title' of document 'a' is an integer"),
            ('{"_id": "a", "text": NaN}', "not JSON"),
            ('{"_id": "a", "text": "\\ud800"}', "not JSON"),
        ],
    )
    def test_a_bad_json_line_is_named_with_what_was_got_and_wanted(self, line, complaint, tmp_path):
        path = write(tmp_path / "c.jsonl", {"_id": "ok"}, "", line)
        with pytest.raises(DatasetError, match=complaint) as caught:
            list(read_documents(path))
        assert str(caught.value).startswith(f"{path}:3: ")

    @pytest.mark.parametrize(
        ("lines", "complaint"),
        [
            (["d1\tone", "d2"], r":2: got 1 columns, wanted 2 \(_id<TAB>text\)"),
            (["d1\tone\ttwo"], ":1: got 3 columns, wanted 2"),
            (["id\ttext", "\tone"], ":2: 'id' is an empty string"),
            (["id\ttext\ttext", "a\tb\tc"], ":1: the header names a column twice"),
        ],
    )
    def test_a_bad_tsv_line_is_named(self, lines, complaint, tmp_path):
        path = write(tmp_path / "c.tsv", *lines)
        with pytest.raises(DatasetError, match=complaint):
            list(read_documents(path))

    @pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
    def test_csv_has_the_columns_its_header_names(self, suffix, tmp_path):
        """Quoted cells hold commas, quotes, line ends; a byte-order mark is no part of a name."""
        rows = b'\xef\xbb\xbfid,title,text\r\n7,"Fees, late","a ""fee""\nis due"\r\n\r\nb,,\r\n'
        path = tmp_path / f"c.csv{suffix}"
        compress = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
        path.write_bytes(compress(rows))
        assert list(read_documents(path)) == [
            Document("7", {"title": "Fees, late", "text": 'a "fee"\nis due'}),
            Document("b", {"title": "", "text": ""}),
        ]
        path.write_bytes(compress(b",id,text\n0,a,fee\n  \n1,b,due\n"))
        assert list(read_documents(path)) == [
            Document("a", {"text": "fee"}),
            Document("b", {"text": "due"}),
        ]

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            (b"name,text\n1,a\n", r":1: the header names name, text; wanted a column _id or id"),
            (b"id,a,a\n", r":1: the header names a column twice"),
            (b'id,text\n1,"a\nb"\n2\n', r":4: got 1 cells, wanted 2, as the header names: id, te"),
            (b'id,text\n1,"a\n', r":2: no CSV \(unexpected end of data\)"),
            (b"id,text\n1,a\n2,b\xff\n", r":3: byte 0xff at column 4 is not UTF-8"),
            (b"id;text\n1;a\n", r":1: the header names id;text; .* and commas between the columns"),
        ],
    )
    def test_bad_csv_is_named(self, text, complaint, tmp_path):
        (tmp_path / "c.csv").write_bytes(text)
        with pytest.raises(DatasetError, match=complaint):
            list(read_documents(tmp_path / "c.csv"))

    @pytest.mark.parametrize("name", ["c.jsonl", "c.tsv"])
    def test_a_byte_that_is_not_utf8_is_named_with_its_line(self, name, tmp_path):
        good, bad = {
            "c.jsonl": (b'{"_id": "a"}\n', b'{"_id": "b\xff"}\n'),
            "c.tsv": (b"a\tb\n", b"b\xff\tc\n"),
        }[name]
        (tmp_path / name).write_bytes(good + bad)
        with pytest.raises(DatasetError, match=rf"{name}:2: byte 0xff at column \d+ is not UTF-8"):
            list(read_documents(tmp_path / name))

    def test_a_json_list_is_recognised_and_the_way_out_is_told(self, tmp_path):
        for lines in (["[", '{"_id": "a"}', "]"], ['[{"_id": "a"}]']):
            path = write(tmp_path / "c.json", *lines)
            with pytest.raises(DatasetError, match=r":1: .* a JSON list.*jq -c '\.\[\]'"):
                list(read_documents(path))
        path = write(tmp_path / "c.json", "{", '"_id": "a"}')
        with pytest.raises(DatasetError, match=r":1: not JSON .* objects span lines.*jq -c \."):
            list(read_documents(path))

    def test_another_kind_of_file_is_refused_by_name(self, tmp_path):
        with pytest.raises(DatasetError, match=r"wanted a name ending in \.jsonl"):
            list(read_documents(tmp_path / "c.xlsx"))


class TestReadQueries:
    def test_json_lines_and_tsv_read_alike(self, tmp_path):
        wanted = [Query("q1", "one"), Query("2", "two")]
        rows = [{"_id": "q1", "text": "one", "metadata": {}}, {"_id": 2, "text": "two"}]
        assert list(read_queries(write(tmp_path / "q.jsonl", *rows))) == wanted
        assert list(read_queries(write(tmp_path / "q.tsv", "q1\tone", "2\ttwo"))) == wanted

    def test_a_query_without_text_is_named(self, tmp_path):
        path = write(tmp_path / "q.jsonl", {"_id": "q1", "title": "one"})
        with pytest.raises(DatasetError, match=":1: the text of query 'q1' is nothing"):
            list(read_queries(path))

    def test_an_empty_query_is_legal(self, tmp_path):
        path = write(tmp_path / "q.jsonl", {"_id": "q1", "text": ""})
        assert list(read_queries(path)) == [Query("q1", "")]


class TestBeirFolder:
    def test_documents_queries_and_judgements_are_found(self, beir):
        tiny = load_dataset(beir)
        assert (tiny.name, tiny.path, tiny.splits()) == ("tiny", beir, ["test", "train"])
        assert [d.doc_id for d in tiny.documents()] == ["d1", "d2", "3"]
        assert tiny.qrels() == {"q1": {"d1": 2}, "q3": {"d2": 1}}
        assert tiny.qrels("train") == {"q2": {"3": 1}}

    def test_only_judged_queries_are_given_in_the_order_of_their_file(self, beir):
        assert [q.query_id for q in load_dataset(beir).queries()] == ["q3", "q1"]
        assert [q.query_id for q in load_dataset(beir).queries("train")] == ["q2"]

    @pytest.mark.parametrize("suffix", [".gz", ".zst"])
    def test_every_file_may_be_compressed(self, beir, suffix, tmp_path):
        other = tmp_path / "packed" / "tiny"
        for path in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "qrels/train.tsv"):
            write(other / f"{path}{suffix}", *(beir / path).read_text().splitlines())
        packed, plain = load_dataset(other), load_dataset(beir)
        assert list(packed.documents()) == list(plain.documents())
        assert packed.queries() == plain.queries()
        assert packed.qrels("train") == plain.qrels("train")

    def test_a_missing_split_names_those_there_are(self, beir):
        with pytest.raises(DatasetError, match=r"no split 'dev'.* there is test, train"):
            load_dataset(beir).qrels("dev")

    def test_a_judged_query_without_text_is_an_error(self, beir):
        """Dropped in silence it would flatter every mean."""
        write(beir / "queries.jsonl", {"_id": "q1", "text": "x"})
        with pytest.raises(DatasetError, match=r"1 of the 2 queries .* for example 'q3'"):
            load_dataset(beir).queries()

    def test_a_query_with_two_texts_is_an_error(self, beir):
        rows = [{"_id": q, "text": t} for q, t in (("q1", "x"), ("q3", "y"), ("q1", "z"))]
        write(beir / "queries.jsonl", *rows)
        with pytest.raises(DatasetError, match="'q1' occurs twice"):
            load_dataset(beir).queries()

    def test_empty_judgements_are_an_error(self, beir):
        write(beir / "qrels/test.tsv", "query-id\tcorpus-id\tscore")
        with pytest.raises(DatasetError, match="holds no judgements"):
            load_dataset(beir).qrels()

    def test_a_corpus_without_queries_can_be_read_and_says_what_it_lacks(self, tmp_path):
        write(tmp_path / "only" / "corpus.jsonl", {"_id": "a"})
        only = load_dataset(tmp_path / "only")
        assert only.splits() == []
        with pytest.raises(DatasetError, match="no qrels file at all"):
            only.queries()


class TestFingerprint:
    def test_it_is_the_same_wherever_the_files_lie(self, beir, tmp_path):
        first = load_dataset(beir).fingerprint
        beir.rename(tmp_path / "elsewhere")
        assert load_dataset(tmp_path / "elsewhere").fingerprint == first
        assert len(first) == 16

    @pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/train.tsv"])
    def test_it_changes_with_any_file(self, name, beir):
        first = load_dataset(beir).fingerprint
        path = beir / name
        path.write_bytes(path.read_bytes().replace(b"d", b"D").replace(b"2", b"4"))
        assert load_dataset(beir).fingerprint != first

    def test_every_byte_of_a_large_file_counts_and_it_is_read_once(self, tmp_path, monkeypatch):
        """64 windows of it did, so that an edit between them kept old encodings and figures."""
        monkeypatch.setenv("LSR_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("lsr.datasets.dataset._SMALL", 1000)
        path = tmp_path / "large"
        content = bytearray(20_000)
        seen = set()
        for at in (0, 4_321, 19_999):
            content[at] = 1
            path.write_bytes(content)
            os.utime(path, ns=(at, at))  # two writes may fall on one tick of the clock
            seen.add(fingerprint_files([path], root=tmp_path))
        assert len(seen) == 3
        with monkeypatch.context() as patched:
            patched.setattr("lsr.datasets.dataset._sha256", None)
            assert fingerprint_files([path], root=tmp_path) in seen
        for kept in (tmp_path / "cache" / "fingerprints").iterdir():
            kept.write_bytes(b"{")
        assert fingerprint_files([path], root=tmp_path) in seen


class TestLoadDataset:
    def test_a_single_file_is_a_corpus_without_judgements(self, tmp_path):
        corpus = load_dataset(write(tmp_path / "c.jsonl", {"_id": "a"}))
        assert isinstance(corpus, CorpusFile)
        assert [d.doc_id for d in corpus.documents()] == ["a"]
        assert corpus.splits() == []
        with pytest.raises(DatasetError, match="a single corpus file has no queries"):
            corpus.queries()

    @pytest.mark.parametrize("inside", ["", "beir"])
    def test_a_name_is_found_in_lsr_data(self, inside, beir, monkeypatch, tmp_path):
        root = tmp_path / "collections"
        (root / inside).mkdir(parents=True)
        beir.rename(root / inside / "tiny")
        monkeypatch.setenv("LSR_DATA", str(root))
        assert load_dataset("tiny").path == root / inside / "tiny"

    def test_a_name_is_found_in_the_cache(self, beir, tmp_path):
        (tmp_path / "cache").mkdir()
        beir.parent.rename(tmp_path / "cache" / "datasets")
        assert load_dataset("tiny").path == tmp_path / "cache" / "datasets" / "tiny"

    def test_a_path_comes_before_lsr_data(self, beir, monkeypatch, tmp_path):
        other = tmp_path / "data" / "tiny"
        write(other / "corpus.jsonl", {"_id": "other"})
        monkeypatch.setenv("LSR_DATA", str(tmp_path / "data"))
        monkeypatch.chdir(beir.parent)
        assert [d.doc_id for d in load_dataset("tiny").documents()] == ["d1", "d2", "3"]

    def test_a_folder_of_that_name_that_is_no_dataset_does_not_hide_one(
        self, beir, monkeypatch, tmp_path
    ):
        """`lsr index tiny tiny` leaves a folder tiny behind; the next command must still work."""
        monkeypatch.setenv("LSR_DATA", str(beir.parent))
        monkeypatch.chdir(tmp_path)
        (tmp_path / "tiny").mkdir()
        assert load_dataset("tiny").path == beir

    def test_a_folder_of_texts_is_a_corpus_of_its_files(self, tmp_path):
        notes = tmp_path / "notes"
        for name, text in (
            ("fees.md", "intro\n\n#  Late fees\nDue after 30 days.\n"),
            ("sub/refund.txt", "Five days.\n"),
            ("sub/plain.md", "#nothing\n"),
            (".git/log.txt", "hidden"),
            ("code.py", "no text"),
        ):
            (notes / name).parent.mkdir(parents=True, exist_ok=True)
            (notes / name).write_text(text)
        source = load_dataset(notes)
        assert list(source.documents()) == [
            Document(
                "fees.md",
                {"title": "Late fees", "text": "intro\n\n#  Late fees\nDue after 30 days."},
            ),
            Document("sub/plain.md", {"title": "plain", "text": "#nothing"}),
            Document("sub/refund.txt", {"title": "refund", "text": "Five days."}),
        ]
        assert (source.name, source.splits()) == ("notes", [])
        before = source.fingerprint
        (notes / "sub" / "new.rst").write_text("new")
        assert load_dataset(notes).fingerprint != before
        with pytest.raises(DatasetError, match="a folder of text files has no queries"):
            source.qrels()
        (notes / "z.txt").write_bytes(b"ok\xff")
        with pytest.raises(DatasetError, match=r"z\.txt: byte 0xff at offset 2 is not UTF-8"):
            list(load_dataset(notes).documents())

    @pytest.mark.parametrize(
        ("beside", "told"),
        [
            ("modules.json", "a folder of a model, an index or half a data set"),
            ("vectors.npz", "a folder of a model, an index or half a data set"),
            ("DATA.JSONL", r"a folder with DATA\.JSONL, and without corpus\.jsonl"),
            ("data/train/one.tsv.gz", r"a folder with data/train/one\.tsv\.gz, and"),
        ],
    )
    def test_a_readme_beside_data_is_no_corpus(self, beside, told, tmp_path):
        (tmp_path / "set" / "data" / "train").mkdir(parents=True)
        (tmp_path / "set" / "README.md").write_text("# About the set")
        (tmp_path / "set" / beside).write_text("")
        with pytest.raises(DatasetError, match=told):
            load_dataset(tmp_path / "set")

    def test_a_folder_of_texts_leaves_out_indexes_and_environments_below_it(self, tmp_path):
        """An index in its own source was read by the next build, and undid what it had begun."""
        for name in (
            "a.MD",
            "own.index/catalog.sqlite",
            "own.index/encoder/terms.txt",
            "own.index.building/encoder/terms.txt",
            "env/pyvenv.cfg",
            "env/lib/licence.txt",
            "node_modules/x/README.md",
            ".trash/old.csv",
            "code.py",
        ):
            (tmp_path / "notes" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "notes" / name).write_text("text")
        source = load_dataset(tmp_path / "notes")
        assert isinstance(source, TextFolder)
        assert [document.doc_id for document in source.documents()] == ["a.MD"]
        assert [file.name for file in source.others] == ["code.py"]

    @pytest.mark.parametrize(
        ("text", "title"),
        [
            ("```sh\n# install\n```\n# Guide", "Guide"),
            ("~~~\n```\n# no\n~~~\n# Guide", "Guide"),
            ("---\n# of the editor\n---\n# Guide\n# Other", "Guide"),
            ("---\n# Guide", "Guide"),
            ("## Second\n#\n#tag", "note"),
        ],
    )
    def test_the_title_of_a_text_is_its_first_heading(self, text, title, tmp_path):
        (tmp_path / "note.md").write_text(text)
        [document] = load_dataset(tmp_path).documents()
        assert document.fields["title"] == title

    def test_a_name_that_is_not_utf8_is_told(self, tmp_path):
        (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("x")
        with pytest.raises(DatasetError, match=r"caf\\xe9\.txt'?: the name is not UTF-8"):
            load_dataset(tmp_path)

    def test_a_folder_of_texts_does_not_hide_a_collection_of_its_name(
        self, beir, monkeypatch, tmp_path
    ):
        monkeypatch.setenv("LSR_DATA", str(beir.parent))
        (tmp_path / "work" / beir.name).mkdir(parents=True)
        (tmp_path / "work" / beir.name / "README.md").write_text("results")
        (tmp_path / "work" / "python-docs").mkdir()
        (tmp_path / "work" / "python-docs" / "README.md").write_text("results")
        monkeypatch.chdir(tmp_path / "work")
        assert load_dataset(beir.name).splits()
        (tmp_path / "work" / "python-docs" / os.fsdecode(b"\xff.md")).write_text("x")
        assert load_dataset("python-docs").splits()
        assert isinstance(load_dataset(f"./{beir.name}"), TextFolder)

    def test_an_unknown_name_lists_where_it_looked_and_what_there_is(self, beir, monkeypatch):
        monkeypatch.setenv("LSR_DATA", str(beir.parent))
        with pytest.raises(DatasetError) as caught:
            load_dataset("tny")
        message = str(caught.value)
        for place in (beir.parent / "tny", beir.parent / "beir" / "tny", "cache", "ir_datasets"):
            assert str(place) in message
        assert "Available by name: python-docs, tiny." in message

    def test_a_folder_without_corpus_is_called_that(self, tmp_path):
        with pytest.raises(DatasetError, match=r"a folder without corpus.jsonl"):
            load_dataset(tmp_path)

    def test_an_empty_name_is_misuse(self):
        with pytest.raises(UsageError, match="empty"):
            load_dataset("")

    def test_available_names_what_lies_in_lsr_data(self, beir, monkeypatch):
        monkeypatch.setenv("LSR_DATA", str(beir.parent))
        assert available() == ["python-docs", "tiny"]

    def test_the_shipped_documentation_is_known_by_name(self):
        assert load_dataset("python-docs").name == "python-docs"


Doc = namedtuple("Doc", "doc_id title text url tags")
Quaestio = namedtuple("Quaestio", "query_id text")
Judgement = namedtuple("Judgement", "query_id doc_id relevance iteration")


class Irds:
    """One ir_datasets object, with the methods the adapter calls."""

    def __init__(self, *, docs=None, judged=None):
        self.docs, self.judged = docs, judged
        self.counts = True

    def has_docs(self):
        return self.docs is not None

    def has_queries(self):
        return self.judged is not None

    has_qrels = has_queries

    def docs_count(self):
        return len(self.docs) if self.counts else None

    def docs_iter(self):
        return iter(self.docs)

    def queries_iter(self):
        return iter([Quaestio("q1", "one"), Quaestio("q2", "two")])

    def qrels_iter(self):
        return iter(self.judged)


class TestIrDatasets:
    @pytest.fixture(autouse=True)
    def _module(self, monkeypatch):
        docs = [Doc("d1", "T", "body", "http://e.org", ("a", "b"))]
        known = {
            "beir/tiny": Irds(docs=docs),
            "beir/tiny/test": Irds(docs=docs, judged=[Judgement("q2", "d1", 1, "0")]),
            "lone": Irds(docs=docs, judged=[Judgement("q1", "d1", 2, "0")]),
            "big": Irds(docs=docs),
            **{
                f"msmarco-passage/trec-dl-{year}/judged": Irds(
                    docs=docs, judged=[Judgement("q1", "d1", 3, "0")]
                )
                for year in (2019, 2020)
            },
        }
        module = types.ModuleType("ir_datasets")
        module.__spec__ = object()  # find_spec takes any spec for "installed"
        module.load = known.__getitem__
        module.docs_parent_id = lambda name: "big" if name.startswith("msmarco-passage") else name
        monkeypatch.setitem(sys.modules, "ir_datasets", module)

    @pytest.mark.parametrize("name", ["tiny", "irds:beir/tiny", "irds:beir/tiny/test"])
    def test_an_id_with_splits_maps_to_documents_queries_and_judgements(self, name):
        tiny = load_dataset(name)
        assert list(tiny.documents()) == [
            Document("d1", {"title": "T", "text": "body", "url": "http://e.org"})
        ]
        assert tiny.splits() == ["test"]
        assert tiny.queries() == [Query("q2", "two")]
        assert tiny.qrels() == {"q2": {"d1": 1}}

    def test_an_id_without_splits_is_its_own_test_split(self):
        lone = load_dataset("irds:lone")
        assert lone.splits() == ["test"]
        assert lone.qrels() == {"q1": {"d1": 2}}

    def test_two_sets_of_judgements_over_one_corpus_share_its_documents(self):
        """One index of 8.8 million passages, not one a year; the sets themselves stay apart."""
        first, second = load_dataset("dl19"), load_dataset("trec-dl-2020")
        assert first.qrels() == {"q1": {"d1": 3}}
        assert first.fingerprint != second.fingerprint
        assert first.corpus.name == second.corpus.name == "big"
        assert first.corpus.fingerprint == second.corpus.fingerprint
        assert load_dataset("irds:lone").corpus.name == "irds:lone"

    def test_a_corpus_that_was_not_counted_yet_has_the_fingerprint_it_will_have(self):
        """ir_datasets says None until it has read the documents once."""
        counted = load_dataset("irds:lone").fingerprint
        sys.modules["ir_datasets"].load("lone").counts = False
        assert load_dataset("irds:lone").fingerprint == counted

    def test_what_cannot_be_downloaded_is_named(self, monkeypatch):
        lone = sys.modules["ir_datasets"].load("lone")
        monkeypatch.setattr(
            lone, "queries_iter", lambda: (_ for _ in ()).throw(OSError("no route"))
        )
        with pytest.raises(DatasetError, match=r"lone cannot be read \(no route\)"):
            load_dataset("irds:lone").queries()

    def test_all_splits_of_a_corpus_share_its_fingerprint(self):
        prints = {load_dataset(n).fingerprint for n in ("irds:beir/tiny", "irds:beir/tiny/test")}
        assert len(prints) == 1

    def test_a_split_it_does_not_have_is_an_error(self):
        with pytest.raises(DatasetError, match="no judgements for split 'dev'; it has test"):
            load_dataset("irds:lone").qrels("dev")

    def test_an_unknown_id_is_an_error(self):
        with pytest.raises(DatasetError, match="knows no dataset 'nope'"):
            load_dataset("irds:nope")

    def test_a_folder_comes_first(self, beir, monkeypatch):
        monkeypatch.setenv("LSR_DATA", str(beir.parent))
        assert isinstance(load_dataset("tiny"), BeirFolder)

    def test_without_the_package_the_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "ir_datasets", None)
        with pytest.raises(MissingExtra, match=r"lsr-search\[datasets\]"):
            load_dataset("irds:lone")


def test_real_collections_read_as_their_readme_says(shared_data, monkeypatch):
    """Counts published with the collections, not computed by this code."""
    monkeypatch.setenv("LSR_DATA", str(shared_data))
    for name, n_documents, n_queries in (("scifact", 5183, 300), ("cranfield", 1400, 225)):
        collection = load_dataset(name)
        assert sum(1 for _ in collection.documents()) == n_documents
        assert len(collection.queries()) == n_queries


class TestNumbersAndHeaders:
    @pytest.mark.parametrize("digits", ["98765432109876543210", "-9223372036854775809", "1" * 300])
    def test_a_whole_number_beyond_64_bits_is_refused_with_its_line(self, digits, tmp_path):
        """It came back as another number, and as an id was called a fraction."""
        rows = ('{"_id": "a", "x": 1e30}', f'{{"_id": "b", "x": {digits}}}')
        path = write(tmp_path / "c.jsonl", *rows)
        with pytest.raises(DatasetError, match=r"c\.jsonl:2: the whole number -?\d{19,} has more"):
            list(read_documents(path))
        path = write(tmp_path / "id.jsonl", f'{{"_id": {digits}}}')
        with pytest.raises(DatasetError, match=r"id\.jsonl:1: the whole number .* as a string"):
            list(read_documents(path))

    @pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 10**18, 1e300])
    def test_what_fits_is_kept(self, number, tmp_path):
        path = write(tmp_path / "c.jsonl", {"_id": "a", "x": [{"y": number}]})
        assert list(read_documents(path)) == [Document("a", {"x": [{"y": number}]})]

    @pytest.mark.parametrize(
        "header", ["pid\tpassage", "topic_id\tquery", "Number\tText", "topic\tquestion"]
    )
    def test_a_header_of_tsv_without_an_id_is_no_document(self, header, tmp_path):
        path = write(tmp_path / "c.tsv", header, "1\tone")
        for read in (read_documents, read_queries):
            with pytest.raises(DatasetError, match=r"c\.tsv:1: the header names .*; wanted"):
                list(read(path))

    def test_a_first_line_that_only_looks_like_one_is_read(self, tmp_path):
        path = write(tmp_path / "c.tsv", "42\ttext", "void\tname your question")
        assert [document.doc_id for document in read_documents(path)] == ["42", "void"]
