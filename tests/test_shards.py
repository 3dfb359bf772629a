"""A set of shards answers as one index of all its documents does, and is whole or refused."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from shards_world import N_DOCS, LookedUp, bm25, build_one, build_set, documents, questions, told

from index import Index, Pruning, Settings, ShardPlan, build_index, build_shard, build_shards
from index.sharded import ShardedIndex
from lsr.__main__ import run
from lsr.encoders.protocol import SparseEncoder
from lsr.errors import (
    DatasetError,
    FilterError,
    IndexCorrupt,
    IndexExists,
    IndexNotFound,
    IndexVersion,
    ShardMissing,
    SnapshotGone,
    UnknownField,
    UsageError,
)
from lsr.types import Document

ENCODERS = {"bm25": bm25, "vectors": lambda: LookedUp(1)}


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> SparseEncoder:
    return ENCODERS[request.param]()


@pytest.fixture(scope="module")
def one(encoder: SparseEncoder, tmp_path_factory: pytest.TempPathFactory) -> Index:
    path = build_one(tmp_path_factory.mktemp("one") / "one.index", encoder)
    return Index.open(path, read_only=True)


@pytest.fixture(scope="module", params=[1, 2, 3, 8])
def parts(
    request: pytest.FixtureRequest, encoder: SparseEncoder, tmp_path_factory: pytest.TempPathFactory
) -> Index:
    path = build_set(tmp_path_factory.mktemp("set") / "set.index", encoder, request.param)
    index = Index.open(path)
    assert isinstance(index, ShardedIndex)
    assert len(index.members.shards) == request.param
    return index


@pytest.fixture(scope="module")
def whole_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_set(tmp_path_factory.mktemp("whole") / "set.index", LookedUp(1), 3)


@pytest.fixture
def copy(whole_set: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_set, tmp_path / "set.index"))


def test_rankings_are_those_of_one_index_to_the_bit(
    encoder: SparseEncoder, one: Index, parts: Index
) -> None:
    """Ids, docids, integer scores and their unit, at every depth at which ties may be cut."""
    queries = questions(encoder)
    n_ties = 0
    for k in (1, 2, 10, 37, 2 * N_DOCS):
        wanted = [told(hits) for hits in one.search_batch(queries, k)]
        assert [told(hits) for hits in parts.search_batch(queries, k)] == wanted
        n_ties += sum(len(scores) - len(set(scores)) for _, _, scores, _ in wanted)
    assert n_ties > 1000, "the collection must put the order of ties to the test"


@pytest.mark.parametrize(
    "conditions",
    [
        {"filter": {"lang": "de"}},
        {"require": [2], "exclude": [3]},
        {"algorithm": "exhaustive"},
        {"filter": {"not": {"lang": "de"}}, "require": [1], "algorithm": "blockmax"},
    ],
)
def test_conditions_mean_the_same(
    conditions: dict[str, Any], encoder: SparseEncoder, one: Index, parts: Index
) -> None:
    for row in range(5):
        query = questions(encoder)[[row], :]
        assert told(parts.search(query, 25, **conditions)) == told(
            one.search(query, 25, **conditions)
        )
        counted = {name: value for name, value in conditions.items() if name != "algorithm"}
        assert parts.count(query, **counted) == one.count(query, **counted)


def test_everything_about_a_document_is_found_in_its_shard(
    encoder: SparseEncoder, one: Index, parts: Index
) -> None:
    query = questions(encoder)[[0], :]
    found = one.search(query, 20)
    docids = found.ranking.docids[::-1]  # of several shards, in no order of theirs
    assert parts.documents(docids) == one.documents(docids)
    assert parts.stored_fields(docids) == one.stored_fields(docids)
    assert parts.spans(docids.tolist()) == one.spans(docids.tolist())
    assert parts.explain_docids(query, docids) == one.explain_docids(query, docids)
    for doc_id in ("d0", "d299", f"d{N_DOCS - 1}"):
        assert parts.get(doc_id) == one.get(doc_id)
        assert parts.version(doc_id) == one.version(doc_id)
        assert parts.explain(query, doc_id) == one.explain(query, doc_id)
        assert (parts.vectors_of(doc_id) != one.vectors_of(doc_id)).nnz == 0
        for language in ("de", "en"):
            conditions = {"filter": {"lang": language}}
            assert parts.allows(doc_id, **conditions) == one.allows(doc_id, **conditions)
    assert parts.get("nobody") is None
    assert parts.version("nobody") is None
    with pytest.raises(UsageError, match="no document with id 'nobody'"):
        parts.explain(query, "nobody")


def test_the_whole_set_is_described_as_one_index(one: Index, parts: Index) -> None:
    wanted, got = one.info(), parts.info()
    same = ["n_docs", "n_passages", "n_postings", "scale", "encoder", "fields", "error_max"]
    assert {name: got[name] for name in same} == {name: wanted[name] for name in same}
    for name in ("error_mean", "norm_error", "mass_kept", "postings_per_passage"):
        assert got[name] == pytest.approx(wanted[name], rel=1e-9)  # sums in another order
    terms = np.arange(one.n_terms)
    assert (parts.heaviest(terms) == one.heaviest(terms)).all()
    assert (parts.term_probabilities() == one.term_probabilities()).all()
    assert parts.n_passing({"lang": "de"}) == one.n_passing({"lang": "de"}) == N_DOCS // 3
    assert parts.check().problems == ()
    seen: list[tuple[int, int]] = []
    parts.scrub(done=lambda n, of: seen.append((n, of)))
    assert seen[-1] == (got["segment_bytes"], got["segment_bytes"])


def test_passages_are_collapsed_as_in_one_index(tmp_path: Path) -> None:
    encoder = bm25()
    one = build_one(tmp_path / "one.index", encoder, passages=(2, 1))
    parts = build_set(tmp_path / "set.index", encoder, 3, passages=(2, 1))
    queries = questions(encoder)
    with Index.open(one) as a, Index.open(parts) as b:
        for collapse in (None, False):
            wanted = [told(hits) for hits in a.search_batch(queries, 30, collapse=collapse)]
            assert [told(h) for h in b.search_batch(queries, 30, collapse=collapse)] == wanted
        docids = a.search(queries[[0], :], 30).ranking.docids.tolist()
        assert b.spans(docids) == a.spans(docids)
        assert b.documents(docids) == a.documents(docids)
        assert (a.count(queries[[0], :]), a.n_docs) == (b.count(queries[[0], :]), b.n_docs)


def test_a_set_is_read_at_its_only_commit_and_never_written(whole_set: Path) -> None:
    with Index.open(whole_set) as index:
        query = LookedUp(1).queries[[0], :]
        assert told(index.search(query, 3, at=index.generation)) == told(index.search(query, 3))
        with pytest.raises(SnapshotGone):
            index.search(query, 3, at=7)
        for write in (index.seal, index.merge, lambda: index.delete(["d1"]), index.writer):
            with pytest.raises(UsageError, match="is a set of 3 shards"):
                write()


def test_a_wrong_filter_is_refused_with_its_place(whole_set: Path) -> None:
    with Index.open(whole_set) as index:
        with pytest.raises(UnknownField) as raised:
            index.prepare({"colour": "red"})
        assert raised.value.allowed == ("lang",)
        with pytest.raises(FilterError):
            index.search(LookedUp(1).queries[[0], :], 3, filter={"colour": "red"})


# ---- what is not whole is refused ----


def test_a_missing_shard_is_named(copy: Path) -> None:
    shutil.rmtree(copy / "shard-001.index")
    with pytest.raises(ShardMissing, match=r"shard-001.index: shard 1 of the set is missing") as e:
        Index.open(copy)
    assert e.value.shards == (1,)


def test_shards_that_changed_places_are_refused(copy: Path) -> None:
    """Their documents would be ranked, but ties in another order than in one index."""
    (copy / "shard-000.index").rename(copy / "x")
    (copy / "shard-001.index").rename(copy / "shard-000.index")
    (copy / "x").rename(copy / "shard-001.index")
    with pytest.raises(IndexCorrupt, match="wanted shard 0 of set"):
        Index.open(copy)


def test_a_shard_of_another_set_is_refused(copy: Path, tmp_path: Path) -> None:
    other = build_set(tmp_path / "other.index", LookedUp(2), 3)
    shutil.rmtree(copy / "shard-001.index")
    shutil.copytree(other / "shard-001.index", copy / "shard-001.index")
    with pytest.raises(IndexCorrupt, match="wanted shard 1 of set"):
        Index.open(copy)


def test_a_shard_that_somebody_wrote_to_is_refused(copy: Path) -> None:
    with Index.open(copy / "shard-002.index") as shard:
        shard.delete([f"d{N_DOCS - 1}"])
    with pytest.raises(IndexCorrupt, match="shard 2 is at commit 2"):
        Index.open(copy)


def test_a_flipped_byte_in_a_shard_is_found_by_check_and_scrub(copy: Path) -> None:
    (segment,) = (copy / "shard-001.index" / "segments").glob("*.seg")
    bytes_ = bytearray(segment.read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    segment.write_bytes(bytes_)
    with Index.open(copy) as index:
        assert any("shard-001.index" in problem for problem in index.check().problems)
        with pytest.raises(IndexCorrupt):
            index.scrub()
        with pytest.raises(IndexCorrupt):
            index.search(LookedUp(1).queries[[0], :], 3)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"n_terms": 41}, IndexCorrupt),
        ({"sha256": "0" * 64}, IndexCorrupt),
        ({"format": 2}, IndexVersion),
    ],
)
def test_a_changed_manifest_is_refused(
    copy: Path, change: dict[str, Any], error: type[Exception]
) -> None:
    facts = orjson.loads((copy / "shards.json").read_bytes())
    (copy / "shards.json").write_bytes(orjson.dumps({**facts, **change}))
    with pytest.raises(error, match=r"shards.json"):
        Index.open(copy)
    (copy / "shards.json").write_bytes(b"{")
    with pytest.raises(IndexCorrupt, match="cannot be read"):
        Index.open(copy)
    (copy / "shards.json").unlink()
    with pytest.raises(IndexNotFound):
        Index.open(copy)


# ---- building ----


def build(path: Path, run_: Any, *, source: str = "s", n_shards: int = 3, **settings: Any) -> None:
    encoder = LookedUp(1)
    options = {"n_docs": N_DOCS, "n_shards": n_shards, **settings}
    build_shards(path, encoder, run_, source=source, **options)


def test_finished_shards_are_kept_and_the_rest_is_built(tmp_path: Path) -> None:
    """The first run breaks down after one shard; the second does not build that one again."""
    asked: list[list[int]] = []

    def broken(plan: ShardPlan, numbers: Sequence[int]) -> None:
        asked.append(list(numbers))
        build_shard(plan, numbers[0], iter(documents()), LookedUp(1))
        raise RuntimeError("the machine was switched off")

    def sound(plan: ShardPlan, numbers: Sequence[int]) -> None:
        asked.append(list(numbers))
        for number in numbers:
            build_shard(plan, number, iter(documents()), LookedUp(1))

    with pytest.raises(RuntimeError, match="switched off"):
        build(tmp_path / "set.index", broken)
    assert not (tmp_path / "set.index").exists()
    build(tmp_path / "set.index", sound)
    assert asked == [[0, 1, 2], [1, 2]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.index"]
    assert sorted(path.name for path in (tmp_path / "set.index").iterdir()) == [
        "shard-000.index",
        "shard-001.index",
        "shard-002.index",
        "shards.json",
    ]
    with Index.open(tmp_path / "set.index") as index:
        assert (index.n_docs, index.check().problems) == (N_DOCS, ())


def test_shards_that_others_finished_outlive_a_machine_without_the_corpus(tmp_path: Path) -> None:
    """It is told as a mistake in the data would be, for which a build leaves nothing behind."""
    asked: list[list[int]] = []

    def without(plan: ShardPlan, numbers: Sequence[int]) -> None:
        asked.append(list(numbers))
        build_shard(plan, numbers[0], iter(documents()), LookedUp(1))
        raise DatasetError("/mnt/corpus.jsonl: no such file")

    def nothing(plan: ShardPlan, numbers: Sequence[int]) -> None:
        raise DatasetError("corpus.jsonl:1: not JSON")

    with pytest.raises(DatasetError):
        build(tmp_path / "set.index", nothing)
    assert list(tmp_path.iterdir()) == []
    for _ in range(2):
        with pytest.raises(DatasetError, match="no such file"):
            build(tmp_path / "set.index", without)
    assert asked == [[0, 1, 2], [1, 2]]


def test_an_interrupted_build_of_something_else_is_not_taken_up(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def first_only(plan: ShardPlan, numbers: Sequence[int]) -> None:
        asked.append(list(numbers))
        build_shard(plan, numbers[0], iter(documents()), LookedUp(1))
        raise RuntimeError("stopped")

    for options in ({}, {"n_shards": 2}, {"source": "other"}, {"settings": Settings("none")}):
        with pytest.raises(RuntimeError, match="stopped"):
            build(tmp_path / "set.index", first_only, **options)
    assert asked == [[0, 1, 2], [0, 1], [0, 1, 2], [0, 1, 2]]


def test_a_killed_build_goes_on(tmp_path: Path) -> None:
    """SIGKILL in the second shard: nobody sees a set, and the same command finishes it."""
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from shards_world import LookedUp, build_set\n"
        "class Deadly(LookedUp):\n"
        "    def encode_documents(self, texts):\n"
        "        if texts[0].split()[0] == '200': os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().encode_documents(texts)\n"
        "build_set(Path(sys.argv[2]), Deadly(1), 3)\n"
    )
    place = tmp_path / "set.index"
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(place)]
    assert subprocess.run(command, check=False).returncode == -9
    assert not place.exists()
    kept = (tmp_path / "set.index.building" / "shard-000.index" / "catalog.sqlite").stat()
    build_set(place, LookedUp(1), 3)
    assert (place / "shard-000.index" / "catalog.sqlite").stat().st_ino == kept.st_ino
    with Index.open(place) as index:
        assert index.n_docs == N_DOCS


def test_an_id_in_two_shards_is_refused(tmp_path: Path) -> None:
    repeated = [*documents()[:-1], Document("d17", {"text": "599"})]

    def run_(plan: ShardPlan, numbers: Sequence[int]) -> None:
        for number in numbers:
            build_shard(plan, number, iter(repeated), LookedUp(1))

    with pytest.raises(UsageError, match="id 'd17' occurs twice, in shards 0 and 2"):
        build(tmp_path / "set.index", run_)
    assert list(tmp_path.iterdir()) == []


def test_ids_that_only_share_a_hash_are_not_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With four hashes for 600 ids every slice is full of collisions."""
    monkeypatch.setattr("index.sharding._hash", lambda doc_id: int(doc_id[1:]) % 4 << 62)
    monkeypatch.setattr("index.sharding.HASHES_AT_ONCE", 100)
    build_set(tmp_path / "set.index", LookedUp(1), 3)
    assert (tmp_path / "set.index" / "shards.json").is_file()


def test_a_corpus_that_shrank_is_refused(tmp_path: Path) -> None:
    def run_(plan: ShardPlan, numbers: Sequence[int]) -> None:
        for number in numbers:
            build_shard(plan, number, iter(documents()[:-1]), LookedUp(1))

    with pytest.raises(DatasetError, match="the corpus has changed since it was counted"):
        build(tmp_path / "set.index", run_)


def test_what_would_change_scores_or_cannot_be_is_refused(tmp_path: Path) -> None:
    def never(plan: ShardPlan, numbers: Sequence[int]) -> None:
        raise AssertionError

    for options, words in (
        (
            {"settings": Settings(pruning=Pruning(postings=0.5))},
            "--prune-postings cuts whole lists",
        ),
        ({"n_shards": N_DOCS + 1}, "at least one document a shard"),
        ({"n_shards": 0}, "at least one document a shard"),
    ):
        with pytest.raises(UsageError, match=words):
            build(tmp_path / "set.index", never, **options)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(IndexExists, match="is no index"):
        build(tmp_path / "full", never, overwrite=True)


def test_a_set_is_replaced_in_one_step(tmp_path: Path) -> None:
    place = build_set(tmp_path / "set.index", LookedUp(1), 2)
    with pytest.raises(IndexExists, match="--overwrite"):
        build_set(place, LookedUp(1), 3)
    with Index.open(place) as before:
        build_set(place, LookedUp(1), 3, overwrite=True)
        assert not before.in_place()
    with Index.open(place) as index:
        assert index.in_place()
        assert index.info()["n_shards"] == 3


def test_a_set_and_an_index_replace_each_other(tmp_path: Path) -> None:
    """An index in the place of a set was refused: a set "exists and is not an index"."""
    place = build_set(tmp_path / "i", LookedUp(1), 2)
    build_index(place, documents(), LookedUp(1), source="c", overwrite=True, progress=False)
    with Index.open(place) as index:
        assert not isinstance(index, ShardedIndex)
        assert index.n_docs == N_DOCS
    build_set(place, LookedUp(1), 2, overwrite=True)
    with Index.open(place) as index:
        assert isinstance(index, ShardedIndex)


# ---- commands ----


def test_the_commands_take_a_set_like_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"_id": d.doc_id, **d.fields}) for d in documents()[:50]]
    Path("c.jsonl").write_text("\n".join(lines))
    assert run(["index", "c.jsonl", "one"]) == 0
    assert run(["index", "c.jsonl", "four", "--shards", "4"]) == 0
    assert " 4 shards, " in capsys.readouterr().out
    answers = []
    for name in ("one", "four"):
        assert run(["search", name, "w1 w2", "w3 w4", "-k", "20", "--explain", "--json"]) == 0
        told_ = json.loads(capsys.readouterr().out)
        answers.append([(q["text"], q["hits"]) for q in told_["queries"]])
    assert answers[0] == answers[1]
    assert run(["info", "four", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["n_docs"], facts["n_shards"]) == (50, 4)
    assert run(["check", "four"]) == 0
    assert run(["index", "c.jsonl", "no", "--shards", "2", "--origins"]) == 2
    assert "--origins" in capsys.readouterr().err


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BEIR folder, with an index and a set of three shards of it: one.index, set.index."""
    place = tmp_path_factory.mktemp("pair")
    (place / "c" / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": d.doc_id, **d.fields}) for d in documents()[:80]]
    (place / "c" / "corpus.jsonl").write_text("\n".join(lines))
    asked = [json.dumps({"_id": f"q{n}", "text": f"w{n} w{n + 5}"}) for n in range(8)]
    (place / "c" / "queries.jsonl").write_text("\n".join(asked))
    judged = ["query-id\tcorpus-id\tscore", *(f"q{n}\td{n * 9}\t1" for n in range(8))]
    (place / "c" / "qrels" / "test.tsv").write_text("\n".join(judged))
    corpus = str(place / "c")
    for name, options in (("one", []), ("set", ["--shards", "3"])):
        words = ["index", corpus, str(place / f"{name}.index"), "--encoder", "bm25"]
        assert run([*words, *options]) == 0
    return place


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    assert run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "target",
    ["jsonl", "opensearch", "qdrant", "milvus", "vespa", "pgvector", "anserini", "ciff", "seismic"],
)
def test_an_export_of_a_set_has_the_rows_of_that_of_one_index(pair: Path, target: str) -> None:
    """Rows of a set come shard by shard, those of an index in the order that is best to search."""
    files = []
    for name in ("one", "set"):
        folder = pair / f"{name}-{target}"
        words = ["export", str(pair / f"{name}.index"), str(folder), "--to", target, "--name", "x"]
        assert run(words) == 0
        files.append({one.name: one.read_bytes() for one in folder.iterdir()})
    assert files[0].keys() == files[1].keys()
    for name, content in files[0].items():
        if target == "ciff":  # numbers documents by docid, which both have alike
            assert files[1][name] == content
        else:
            assert rows_in(files[1][name]) == rows_in(content)


def rows_in(content: bytes) -> list[bytes]:
    """Rows in an order of their own. Qdrant and Milvus have many in a line; an action of OpenSearch
    stays before its document."""
    lines = content.splitlines()
    if lines[0].startswith(b'{"index"'):
        lines = [a + b for a, b in zip(lines[::2], lines[1::2], strict=True)]
    for start, many in ((b'{"points"', "points"), (b'{"collectionName"', "data")):
        if lines[0].startswith(start):
            return sorted(orjson.dumps(row) for line in lines for row in orjson.loads(line)[many])
    return sorted(lines)


def test_a_set_is_evaluated_explained_and_benched_like_one_index(
    pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, many = (str(pair / f"{name}.index") for name in ("one", "set"))
    corpus = str(pair / "c")
    means = [shown(["evaluate", corpus, "--index", place], capsys) for place in (one, many)]
    assert means[0]["measures"]["R@100"] > 0
    for same in ("measures", "flops", "terms_per_document", "n_docs", "n_unanswered"):
        assert means[0][same] == means[1][same]
    why = [shown(["explain", place, "w1 w6", "d9", "d70"], capsys) for place in (one, many)]
    for facts in why:
        assert len(facts["indexes"][0].pop("index")) > 0
    assert why[0] == why[1]
    words = ["--queries", corpus, "--k", "5"]
    rows = [shown(["bench", place, *words], capsys)["rows"] for place in (one, many)]
    for a, b in zip(*rows, strict=True):
        for measured in ("latency", "n_bytes", "pages", "certified"):
            a.pop(measured), b.pop(measured)
        if a["kind"] != "approximate":
            assert a == b


def test_what_no_set_can_do_says_what_to_do(pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = str(pair / "set.index")
    assert run(["doctor", many]) == 2
    assert f"one by one: lsr doctor {many}/shard-000.index" in capsys.readouterr().err
    assert run(["doctor", f"{many}/shard-000.index", "--n", "5"]) == 0
    assert run(["snapshot", "create", many]) == 2
    assert "is a set of shards, each an index of its own" in capsys.readouterr().err
    with Index.open(many) as index, pytest.raises(UsageError, match=r"such as .*shard-000.index"):
        index.refresh()


def test_a_repaired_shard_is_of_its_set_again_and_a_written_one_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The set names the commit of the repair, whenever the repair comes to saying so."""
    encoder = bm25()
    copy = build_set(tmp_path / "set.index", encoder, 3)
    with Index.open(copy) as opened:
        before = [told(hits) for hits in opened.search_batch(questions(encoder), 10)]
    shard = sorted(copy.glob("shard-*"))[1]
    segment = max((shard / "segments").iterdir(), key=lambda one: one.stat().st_size)
    raw = bytearray(segment.read_bytes())
    raw[40] ^= 1
    segment.write_bytes(raw)
    published = (copy / "shards.json").read_bytes()

    def answers() -> list[Any]:
        with Index.open(copy) as opened:
            return [told(hits) for hits in opened.search_batch(questions(encoder), 10)]

    with pytest.raises(IndexCorrupt, match=rf"Run `lsr repair {re.escape(str(shard))}`"):
        answers()
    assert run(["repair", str(shard)]) == 0, capsys.readouterr().err
    assert answers() == before
    # As a kill leaves it: the shard repaired, the set not told.
    (copy / "shards.json").write_bytes(published)
    with pytest.raises(IndexCorrupt, match="somebody wrote to it"):
        answers()
    assert run(["repair", str(shard)]) == 0
    assert answers() == before

    with Index.open(shard) as opened:
        opened.delete([opened.search(questions(encoder)[[0], :], 1).doc_ids[0]])
    assert run(["repair", str(shard)]) == 0
    with pytest.raises(IndexCorrupt, match="somebody wrote to it"):
        answers()
