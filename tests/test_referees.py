"""Other people's software judges ours: scipy, Lucene, ir_measures' command and trec_eval."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from scipy import sparse

from index import (
    Index,
    Passage,
    Pruning,
    Settings,
    quantised_documents,
    quantised_queries,
)
from lsr.__main__ import run
from lsr.datasets import load_dataset
from lsr.encoders import InferenceFreeEncoder
from lsr.errors import MissingExtra, RefereeError
from lsr.measures import evaluate
from lsr.mteb import local_task
from lsr.referees import Ranked, compare_rankings, product_search
from lsr.referees.lucene import TOLERANCE, Lucene
from lsr.trec import read_qrels, read_run, write_qrels
from lsr.types import Document, SparseMatrix

N_TERMS = 50
MakeVectors = Callable[..., SparseMatrix]
WORDS = ["tea", "coffee", "sleep", "night", "caffeine", "leaf", "water", "bean", "dream", "mug"]


def exact(index: Index, queries: SparseMatrix, k: int) -> list[Ranked]:
    return [
        Ranked(hits.ranking.docids, hits.ranking.scores.astype(np.float64))
        for hits in index.search_batch(queries, k, collapse=False)
    ]


def assert_scipy_agrees(index: Index, queries: SparseMatrix) -> None:
    """The same docids, the same integers, at a cut inside the ranking and without one."""
    documents = quantised_documents(index)
    weights, units = quantised_queries(index, queries)
    assert documents.impacts.dtype == np.uint8
    for k in (7, 10_000):
        ours = exact(index, queries, k)
        theirs = product_search(documents.impacts, documents.docids, weights, k)
        for one, other in zip(ours, theirs, strict=True):
            assert one.docids.tolist() == other.docids.tolist()
            assert one.scores.tolist() == other.scores.tolist()
    hits = index.search_batch(queries, 3)
    assert [h.ranking.unit for h in hits] == units.tolist()


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(order="none"),
        Settings(binary=True),
        Settings(pruning=Pruning(terms=4)),
        Settings(pruning=Pruning(postings=0.5)),
    ],
    ids=["plain", "unordered", "binary", "short documents", "short lists"],
)
def test_exact_search_is_the_integer_product_whatever_the_index_went_through(
    tmp_path: Path, random_vectors: MakeVectors, make_documents: Callable[..., list[Document]],
    settings: Settings,
) -> None:  # fmt: skip
    """Pending rows, two segments, deletes, replacements, a merge that prunes."""
    vectors, queries = random_vectors(400), random_vectors(12, seed=9)
    documents = make_documents(400)
    index = Index.create(tmp_path / "i", n_terms=N_TERMS, max_weight=4.0, settings=settings)
    with index:
        index.add(documents[:200], vectors[:200])
        assert_scipy_agrees(index, queries)
        index.seal()
        index.add(documents[200:], vectors[200:])
        index.seal()
        index.add(documents[50:60], vectors[90:100])
        index.delete([f"d{i}" for i in range(0, 400, 7)])
        assert_scipy_agrees(index, queries)
        index.merge()
        assert_scipy_agrees(index, queries)
        assert len(quantised_documents(index).docids) == index.n_docs


def test_passages_are_compared_one_by_one(tmp_path: Path, random_vectors: MakeVectors) -> None:
    with Index.create(tmp_path / "i", n_terms=N_TERMS, max_weight=4.0) as index:
        passages = [Passage(i // 3, 0, 1) for i in range(60)]
        documents = [Document(f"d{i}") for i in range(20)]
        index.add(documents, random_vectors(60), passages=passages)
        assert_scipy_agrees(index, random_vectors(5, seed=3))
        assert quantised_documents(index).doc_ids[:4] == ["d0", "d0", "d0", "d1"]


def test_an_empty_index_has_no_integers(tmp_path: Path, random_vectors: MakeVectors) -> None:
    with Index.create(tmp_path / "i", n_terms=N_TERMS, max_weight=4.0) as index:
        assert quantised_documents(index).impacts.shape == (0, N_TERMS)
        assert_scipy_agrees(index, random_vectors(2))


def test_the_product_is_a_sum_over_shared_terms(random_vectors: MakeVectors) -> None:
    """By loops over dictionaries: no matrix product, no sort of arrays."""
    rng = np.random.default_rng(1)
    rows, queries = random_vectors(60), random_vectors(4, seed=2)
    impacts = sparse.csr_array(
        (rng.integers(1, 4, rows.nnz).astype(np.uint8), rows.indices, rows.indptr), rows.shape
    )
    weights = sparse.csr_array(
        (rng.integers(1, 4096, queries.nnz).astype(np.uint16), queries.indices, queries.indptr),
        queries.shape,
    )
    docids = np.sort(rng.choice(1000, 60, replace=False)).astype(np.uint32)
    for q, found in enumerate(product_search(impacts, docids, weights, 5)):
        query = {int(t): int(w) for t, w in zip(*_row(weights, q), strict=True)}
        scores = {}
        for i, docid in enumerate(docids.tolist()):
            row = zip(*_row(impacts, i), strict=True)
            scores[docid] = sum(query.get(int(t), 0) * int(w) for t, w in row)
        best = sorted((-score, docid) for docid, score in scores.items() if score)[:5]
        got = zip(found.docids.tolist(), found.scores.tolist(), strict=True)
        assert list(got) == [(docid, -score) for score, docid in best]


def _row(matrix: sparse.csr_array, i: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = matrix.indptr[i], matrix.indptr[i + 1]
    return matrix.indices[a:b], matrix.data[a:b]


def ranked(*pairs: tuple[int, float]) -> Ranked:
    return Ranked(
        np.array([docid for docid, _ in pairs], np.uint32),
        np.array([score for _, score in pairs], np.float64),
    )


@pytest.mark.parametrize(
    ("theirs", "identical", "same", "rank"),
    [
        (ranked((3, 9.0), (1, 5.0), (2, 5.0)), 1, 1, None),
        (ranked((3, 9.0), (2, 5.0), (1, 5.0)), 0, 1, 2),
        (ranked((3, 9.0), (1, 5.0), (8, 5.0)), 0, 1, 3),
        (ranked((3, 9.0), (2, 6.0), (1, 5.0)), 0, 0, 2),
        (ranked((3, 9.0), (1, 5.0)), 0, 0, 3),
        (ranked((3, 9.5), (1, 5.0), (2, 5.0)), 1, 0, None),
    ],
    ids=["same", "tie swapped", "tie at the cut", "other score", "shorter", "other unit"],
)
def test_documents_may_only_change_places_with_others_of_their_score(
    theirs: Ranked, identical: int, same: int, rank: int | None
) -> None:
    found = compare_rankings([ranked((3, 9.0), (1, 5.0), (2, 5.0))], [theirs])
    assert (found.n_identical, found.n_same_up_to_ties) == (identical, same)
    assert (found.first_difference and found.first_difference.rank) == rank


def test_gap_and_overlap_are_those_of_hand() -> None:
    ours = [ranked((1, 10.0), (2, 8.0), (3, 2.0)), ranked()]
    theirs = [ranked((2, 9.0), (1, 9.0), (4, 1.0)), ranked()]
    found = compare_rankings(ours, theirs, depths=(1, 3))
    assert found.overlap == {1: 0.5, 3: pytest.approx((2 / 3 + 1) / 2)}
    assert found.largest_gap == pytest.approx(1 / 8)
    assert found.first_difference is not None
    assert found.first_difference.ours == (1, 10.0)
    assert found.first_difference.theirs == (2, 9.0)


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """60 short texts that share words, so that scores tie, and graded judgements of 12 queries."""
    chance = random.Random(5)
    folder = tmp_path / "collection"
    (folder / "qrels").mkdir(parents=True)
    texts = [" ".join(chance.choices(WORDS, k=chance.randint(2, 6))) for _ in range(60)]
    lines = [json.dumps({"_id": f"d{i}", "text": text}) + "\n" for i, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("".join(lines))
    queries = [" ".join(chance.sample(WORDS, 2)) for _ in range(12)]
    lines = [json.dumps({"_id": f"q{i}", "text": text}) + "\n" for i, text in enumerate(queries)]
    (folder / "queries.jsonl").write_text("".join(lines))
    qrels = {
        f"q{q}": {f"d{chance.randrange(60)}": chance.randint(0, 2) for _ in range(4)} | {"d0": 1}
        for q in range(12)
    }
    write_qrels(folder / "qrels" / "test.tsv", qrels)
    return folder


@pytest.fixture
def built(collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "collection.index"
    assert run(["index", str(collection), str(path), "--encoder", "bm25"]) == 0
    capsys.readouterr()
    return path


def test_the_command_says_what_scipy_found(
    built: Path, collection: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["referee", str(built), "--queries", str(collection), "--json"]) == 0
    [report] = json.loads(capsys.readouterr().out)
    assert report["agrees"] is True
    assert (report["n_queries"], report["n_identical"]) == (12, 12)
    assert (report["overlap_at_10"], report["largest_gap"]) == (1.0, 0.0)
    assert report["ndcg_at_10"] == report["referee_ndcg_at_10"] > 0
    assert run(["referee", str(built), "--queries", str(collection)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("index      60 documents")
    assert out[2].startswith("agrees     scipy               12 of 12 rankings identical")
    assert out[-1] == f"next       lsr evaluate {collection} --index {built}"


def test_self_hits_are_left_out_as_in_an_evaluation(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every query of this ArguAna is a document of its own id."""
    folder, index = collection.rename(tmp_path / "arguana"), tmp_path / "arguana.index"
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write((folder / "queries.jsonl").read_text())
    assert run(["index", str(folder), str(index), "--encoder", "bm25"]) == 0
    capsys.readouterr()
    assert run(["evaluate", str(folder), "--index", str(index), "-k", "10", "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)["measures"]["nDCG@10"]
    assert run(["referee", str(index), "--queries", str(folder), "-k", "10", "--json"]) == 0
    [report] = json.loads(capsys.readouterr().out)
    assert report["ndcg_at_10"] == report["referee_ndcg_at_10"] == pytest.approx(expected)


def test_the_split_is_the_usual_one_in_every_command(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MS MARCO's figures are those of dev, and this one has no other split."""
    folder, index = collection.rename(tmp_path / "msmarco"), str(tmp_path / "msmarco.index")
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "dev.tsv")
    assert run(["index", str(folder), index, "--encoder", "bm25"]) == 0
    asked = ("--queries", str(folder), "--json")
    assert run(["referee", index, *asked]) == 0
    capsys.readouterr()
    assert run(["bench", index, "--no-pruning", "--k", "10", *asked]) == 0
    assert json.loads(capsys.readouterr().out)["n_queries"] == 12
    run(["doctor", index, *asked])
    assert json.loads(capsys.readouterr().out)["sample"]["queries_from"] == "msmarco dev"
    pytest.importorskip("mteb")
    assert local_task(load_dataset(str(folder))).metadata.eval_splits == ["dev"]


def test_overlap_is_told_at_depths_that_were_asked_for(
    built: Path, collection: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["referee", str(built), "--queries", str(collection), "-k"]
    assert run([*words, "10"]) == 0
    out = capsys.readouterr().out
    assert "1.0000 at 10\n" in out
    assert "at 100" not in out
    assert run([*words, "5", "--json"]) == 0
    [report] = json.loads(capsys.readouterr().out)
    assert (report["overlap_at_10"], report["overlap_at_100"]) == (None, None)


def test_a_search_that_leaves_out_the_second_document_is_caught(
    built: Path,
    collection: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        "index.reading.search_many", _lossy(sys.modules["index.reading"].search_many)
    )
    assert run(["referee", str(built), "--queries", str(collection), "--json"]) == 1
    [report] = json.loads(capsys.readouterr().out)
    assert report["agrees"] is False
    assert report["first_difference"]["rank"] == 2
    assert report["first_difference"]["query_id"] == "q0"
    assert report["overlap_at_10"] < 1


def _lossy(search: Callable[..., list]) -> Callable[..., list]:
    def lossy(*arguments: object, **options: object) -> list:
        return [
            found._replace(docids=np.delete(found.docids, 1), scores=np.delete(found.scores, 1))
            for found in search(*arguments, **options)
        ]

    return lossy


def test_lucene_names_what_to_install(
    built: Path,
    collection: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'lsr-search\[lucene\]'"):
        Lucene.find(built)
    assert run(["referee", str(built), "--queries", str(collection), "--with", "lucene"]) == 2
    assert "lsr-search[lucene]" in capsys.readouterr().err


def test_a_java_that_fails_is_reported_in_its_own_words(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'UnsupportedClassVersionError: Exception in main' >&2\nexit 1")
    java.chmod(0o755)
    lucene = Lucene(java, tmp_path / "a-fatjar.jar", tmp_path / "work")
    rows = sparse.csr_array(np.array([[1]], np.uint8))
    with pytest.raises(RefereeError, match=r"UnsupportedClassVersionError.*Java 21"):
        lucene.impact_search(rows, np.array([0], np.uint32), rows, 1)


@pytest.fixture
def lucene(tmp_path: Path) -> Lucene:
    try:
        return Lucene.find(tmp_path / "lucene")
    except MissingExtra as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_lucene_ranks_our_integers_as_we_do(lucene: Lucene, tmp_path: Path) -> None:
    """Deleted documents, a query without answer, and sums that float32 cannot hold exactly."""
    rng = np.random.default_rng(8)
    dense = rng.uniform(0.02, 4.0, (520, 400)) * (rng.random((520, 400)) < 0.6)
    vectors = sparse.csr_array(dense.astype(np.float32))
    dense[500] = 0
    queries = sparse.csr_array(dense[500:].astype(np.float32))
    with Index.create(tmp_path / "i", n_terms=400, max_weight=4.0) as index:
        index.add([Document(f"d{i}") for i in range(500)], vectors[:500])
        index.delete(["d3", "d9"])
        documents = quantised_documents(index)
        weights, _ = quantised_queries(index, queries)
        ours = exact(index, queries, 100)
    theirs = lucene.impact_search(documents.impacts, documents.docids, weights, 100)
    found = compare_rankings(ours, theirs, tolerance=TOLERANCE)
    assert min(one.scores.min() for one in ours[1:]) > 2**24
    assert 0 < found.largest_gap <= TOLERANCE
    assert found.is_same_up_to_ties, found
    assert found.overlap[10] > 0.99
    assert len(theirs[0]) == 0


@pytest.mark.slow
def test_equal_scores_come_back_equal_from_lucene(lucene: Lucene) -> None:
    """Anserini prints 25, 24.999999, 24.999998 for three documents of score 25."""
    impacts = sparse.csr_array(np.ones((40, 1), np.uint8))
    query = sparse.csr_array(np.array([[25]], np.uint16))
    [found] = lucene.impact_search(impacts, np.arange(40, dtype=np.uint32), query, 30)
    assert found.scores.tolist() == [25.0] * 30
    assert found.docids.tolist() == list(range(30))


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", ["cranfield", "medline"])
def test_bm25_is_that_of_lucene_on_real_texts(
    lucene: Lucene,
    shared_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    folder, path = str(shared_data / "beir" / name), str(tmp_path / "i")
    assert run(["index", folder, path, "--encoder", "bm25"]) == 0
    capsys.readouterr()
    judges = ["--with", "lucene", "--with", "lucene-bm25"]
    assert run(["referee", path, "--queries", folder, *judges, "--json"]) == 0
    impact, bm25 = json.loads(capsys.readouterr().out)
    assert impact["n_same_up_to_ties"] == impact["n_queries"]
    assert bm25["ndcg_at_10"] == pytest.approx(bm25["referee_ndcg_at_10"], abs=0.01)
    assert bm25["overlap_at_10"] > 0.9


def test_lucenes_bm25_wants_whole_documents(
    tmp_path: Path, collection: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "p")
    assert run(["index", str(collection), path, "--passages", "2/1"]) == 0
    assert run(["referee", path, "--queries", str(collection), "--with", "lucene-bm25"]) == 2
    assert "holds passages" in capsys.readouterr().err


def test_lucenes_bm25_wants_an_index_of_bm25(
    collection: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lsr.encoders.splade import SpladeModel

    path = str(tmp_path / "s")
    model = SpladeModel.from_checkpoint(tiny_checkpoint)
    table = np.ones(model.n_terms, np.float32)
    InferenceFreeEncoder.of(model, table, max_weight=4.0).save(tmp_path / "encoder")
    assert run(["index", str(collection), path, "--encoder", str(tmp_path / "encoder")]) == 0
    assert run(["referee", path, "--queries", str(collection), "--with", "lucene-bm25"]) == 2
    assert "wanted an index built with --encoder bm25" in capsys.readouterr().err


MEASURES = ["nDCG@10", "RR@10", "R@100", "AP", "P@5"]
TREC_NAMES = {
    "nDCG@10": "ndcg_cut_10",
    "R@100": "recall_100",
    "AP": "map",
    "P@5": "P_5",
}


@pytest.fixture
def run_file(built: Path, collection: Path, tmp_path: Path) -> Path:
    path = tmp_path / "collection.trec"
    assert run(["evaluate", str(collection), "--index", str(built), "--run", str(path)]) == 0
    return path


def test_trec_eval_reads_our_runs_as_we_measure_them(run_file: Path, collection: Path) -> None:
    """The file goes to trec_eval's own parser and comes back with our values, ties included."""
    qrels = read_qrels(collection / "qrels" / "test.tsv")
    ours = evaluate(read_run(run_file), qrels, list(TREC_NAMES))
    with run_file.open() as file:
        parsed = pytrec_eval.parse_run(file)
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.100", "map", "P.5"})
    theirs = evaluator.evaluate(parsed)
    for ours_name, name in TREC_NAMES.items():
        for query_id, value in ours.per_query[ours_name].items():
            assert theirs[query_id][name] == pytest.approx(value, abs=1e-12), (name, query_id)


def test_ir_measures_command_reads_our_runs_and_judgements(
    run_file: Path, collection: Path, tmp_path: Path
) -> None:
    qrels = read_qrels(collection / "qrels" / "test.tsv")
    write_qrels(tmp_path / "test.qrels", qrels)
    ours = evaluate(read_run(run_file), qrels, MEASURES).means
    command = [sys.executable, "-m", "ir_measures", str(tmp_path / "test.qrels"), str(run_file)]
    done = subprocess.run(
        [*command, " ".join(MEASURES), "--places", "9"], capture_output=True, text=True, check=True
    )
    theirs = dict(line.split("\t") for line in done.stdout.splitlines())
    assert {name: float(value) for name, value in theirs.items()} == pytest.approx(ours, abs=1e-8)


def test_a_tie_in_our_order_survives_ir_measures_own_reader(run_file: Path) -> None:
    """trec_eval reads scores as float32 and breaks ties by doc_id: ours must not tie any more."""
    by_query: dict[str, list[tuple[float, str]]] = {}
    for line in ir_measures.read_trec_run(str(run_file)):
        by_query.setdefault(line.query_id, []).append((line.score, line.doc_id))
    ours = read_run(run_file)
    for query_id, rows in by_query.items():
        scores = np.array([score for score, _ in rows], np.float32)
        assert (np.diff(scores) < 0).all()
        assert [doc_id for _, doc_id in rows] == [d for d, _ in ours.ranked(query_id)]
