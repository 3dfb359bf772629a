"""A binary index counts: every score is exactly the number of terms that query and document share.

The oracle intersects Python sets; it knows no impacts, scales or segments.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from index import Index, Pruning, Settings, build_index
from index.quantize import integer_query, presence_query
from lsr.__main__ import run
from lsr.encoders import BM25Encoder, load_encoder
from lsr.errors import QueryError, UsageError
from lsr.types import Document, SparseMatrix

N_TERMS = 300
BINARY = Settings(binary=True)

Terms = frozenset[int]


def vectors(rows: list[Terms], rng: np.random.Generator) -> SparseMatrix:
    """Rows with these terms and weights that must not matter: tiny, large, anything positive."""
    lengths = [len(row) for row in rows]
    weights = (10.0 ** rng.uniform(-6, 4, sum(lengths))).astype(np.float32)
    terms = np.array([term for row in rows for term in sorted(row)], np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return sparse.csr_array((weights, terms, offsets), shape=(len(rows), N_TERMS))


def random_terms(rng: np.random.Generator, n: int) -> Terms:
    # Squared: some terms are in most documents and become heads of a segment.
    return frozenset((N_TERMS * rng.random(n) ** 2).astype(int).tolist())


def counted(live: dict[str, tuple[int, Terms]], query: Terms) -> list[tuple[str, float]]:
    """Every document that shares a term: most shared first, then as they were inserted."""
    shared = [
        (-len(terms & query), number, name)
        for name, (number, terms) in live.items()
        if terms & query
    ]
    return [(name, float(-n)) for n, _, name in sorted(shared)]


def assert_counts(index: Index, live: dict[str, tuple[int, Terms]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries = [random_terms(rng, n) for n in (1, 3, 20, 90)]
    for k in (7, 1_000):
        found = index.search_batch(vectors(queries, rng), k, threads=1)
        for query, hits in zip(queries, found, strict=True):
            assert list(hits) == counted(live, query)[:k]
            assert hits.ranking.unit == 1.0


@pytest.mark.parametrize("n_docs", [40, 900])
def test_scores_are_set_intersections_through_adds_updates_deletes_seals_and_merges(
    tmp_path: Path, n_docs: int
) -> None:
    rng = np.random.default_rng(n_docs)
    live: dict[str, tuple[int, Terms]] = {}
    number = 0
    with Index.create(tmp_path / "i", n_terms=N_TERMS, max_weight=3.0, settings=BINARY) as index:

        def add(names: list[str]) -> None:
            nonlocal number
            rows = [random_terms(rng, int(rng.integers(1, 60))) for _ in names]
            index.add([Document(name, {"text": name}) for name in names], vectors(rows, rng))
            for name, row in zip(names, rows, strict=True):
                live[name] = (number, row)
                number += 1

        add([f"d{i}" for i in range(n_docs)])
        assert_counts(index, live, 1)  # pending
        index.seal()
        assert_counts(index, live, 2)  # a segment
        add([f"d{i}" for i in range(0, n_docs, 3)] + ["new"])
        index.delete(gone := [f"d{i}" for i in range(1, n_docs, 5)])
        for name in gone:
            del live[name]
        assert_counts(index, live, 3)  # a segment with tombstones, and pending rows
        index.merge()
        assert_counts(index, live, 4)
        assert index.check().problems == ()
    with Index.open(tmp_path / "i", read_only=True) as index:
        assert_counts(index, live, 5)
        facts = index.info()
        assert facts["scores"] == "match counts"
        assert (facts["scale"], facts["saturated_share"]) == (1.0, 0.0)
        assert index.float_overlap() == 1.0


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_bulk_build_counts_whatever_the_weights(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = data.draw(
        st.lists(st.frozensets(st.integers(0, 12), min_size=1), min_size=1, max_size=12)
    )
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("bulk") / "i"
    live = {f"d{i}": (i, row) for i, row in enumerate(rows)}
    with Index.create(path, n_terms=N_TERMS, max_weight=1.0, settings=BINARY) as index:
        with index.bulk("rows") as bulk:
            bulk.add([Document(name, {"text": ""}) for name in live], vectors(rows, rng))
        for query in rows[:3]:
            assert list(index.search(vectors([query], rng), 20)) == counted(live, query)
        assert index.info()["mass_kept"] == 1.0


def test_explanations_add_up_to_the_count(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with Index.create(tmp_path / "i", n_terms=N_TERMS, max_weight=1.0, settings=BINARY) as index:
        index.add([Document("a", {"text": ""})], vectors([frozenset({3, 5, 8})], rng))
        why = index.explain(vectors([frozenset({5, 8, 9})], rng), "a")
    assert (why.integer_score, why.score) == (2, 2.0)
    assert [(c.term, c.query_weight, c.doc_weight, c.score) for c in why.terms] == [
        (5, 1.0, 1.0, 1.0),
        (8, 1.0, 1.0, 1.0),
    ]


def test_pruning_chooses_by_weight_before_weights_go(tmp_path: Path) -> None:
    wanted = Settings(pruning=Pruning(terms=2), binary=True)
    row = sparse.csr_array(np.array([[1.0, 0.0, 3.0, 2.0]], np.float32))
    with Index.create(tmp_path / "i", n_terms=4, max_weight=1.0, settings=wanted) as index:
        index.add([Document("a", {"text": ""})], row)
        assert index.vectors_of("a").toarray().tolist() == [[0.0, 0.0, 1.0, 1.0]]
        assert list(index.search(row, 1)) == [("a", 2.0)]


def test_lists_of_equal_weights_cannot_be_pruned() -> None:
    with pytest.raises(UsageError, match="all postings of a list weigh the same"):
        Settings(pruning=Pruning(postings=0.5), binary=True)


def test_an_index_stays_binary_or_not_for_good(tmp_path: Path) -> None:
    with (
        Index.create(tmp_path / "i", n_terms=4, max_weight=1.0, settings=BINARY) as index,
        pytest.raises(UsageError, match="was fixed when the index was created"),
    ):
        index.bulk("more", settings=Settings())


@given(
    terms=st.lists(st.integers(0, 9), max_size=12),
    weights=st.lists(st.sampled_from([0.0, 1e-6, 0.5, 3e4]), min_size=12, max_size=12),
)
def test_a_presence_query_has_the_terms_of_the_weighted_one(
    terms: list[int], weights: list[float]
) -> None:
    given_terms, given_weights = np.array(terms, np.int64), np.array(weights[: len(terms)])
    query = presence_query(given_terms, given_weights, n_terms=10)
    weighted = integer_query(given_terms, given_weights, n_terms=10, scale=1.0)
    present = {t for t, w in zip(terms, weights, strict=False) if w > 0}
    assert query.terms.tolist() == weighted.terms.tolist() == sorted(present)
    assert query.weights.tolist() == [1] * len(present)
    assert query.unit == 1.0


def test_a_presence_query_refuses_what_a_weighted_one_refuses() -> None:
    with pytest.raises(QueryError, match="outside the vocabulary"):
        presence_query(np.array([10]), np.array([1.0]), n_terms=10)


TEXTS = ["red fox", "red red fox jumps", "lazy dog and red fox", "dog", "blue whale sings"]


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "words.jsonl"
    lines = [json.dumps({"_id": f"d{i}", "text": text}) for i, text in enumerate(TEXTS)]
    path.write_text("\n".join(lines))
    return path


def test_lsr_index_binary_makes_lsr_search_count_words(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any encoder can be a first pass that counts: here BM25, whose weights are then left out."""
    assert run(["index", str(corpus), "i", "--binary"]) == 0
    printed = capsys.readouterr().out
    assert "binary" in printed
    assert "match counts, order bp" in printed
    assert run(["search", "i", "red dog jumps", "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)["queries"][0]["hits"]
    query = {"red", "dog", "jumps"}
    counts = [(-len(query & set(text.split())), f"d{i}") for i, text in enumerate(TEXTS)]
    wanted = [(name, -n) for n, name in sorted(counts) if n]
    assert [(hit["doc_id"], hit["score"]) for hit in hits] == wanted
    assert run(["info", "i"]) == 0
    assert "match counts" in capsys.readouterr().out


def test_documents_added_to_a_built_index_count_too(corpus: Path, tmp_path: Path) -> None:
    documents = [Document(f"d{i}", {"text": text}) for i, text in enumerate(TEXTS)]
    encoder = BM25Encoder.fit(TEXTS)
    build_index(tmp_path / "i", documents, encoder, source="words", settings=BINARY)
    with Index.open(tmp_path / "i") as index:
        copy = load_encoder(index.encoder_folder, queries_only=True)
        index.add([Document("new", {"text": "fox"})], encoder.encode_documents(["red fox dog"]))
        index.merge()
        hits = list(index.search(copy.encode_queries(["dog fox red"]), 3))
    assert hits == [("d2", 3.0), ("new", 3.0), ("d0", 2.0)]
