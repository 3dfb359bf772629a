"""An index keeps what it acknowledged, shows it to everybody, and ranks it exactly."""

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from scipy import sparse

from index import Approximate, Index, Passage
from index.bulk import FLUSH_SECONDS, BulkBuild
from index.ingest import build_index
from lsr.encoders import BM25Encoder
from lsr.errors import (
    DiskFull,
    IndexCorrupt,
    IndexExists,
    IndexFailure,
    IndexLocked,
    IndexNotFound,
    IndexVersion,
    QueryError,
    UsageError,
    VectorError,
)
from lsr.types import Document, SparseMatrix

N_TERMS = 50
MAX_WEIGHT = 4.0


def new_index(path: Path, **settings: Any) -> Index:
    return Index.create(path, n_terms=N_TERMS, max_weight=MAX_WEIGHT, **settings)


def row(weights: dict[int, float]) -> SparseMatrix:
    terms = sorted(weights)
    return sparse.csr_array(
        (np.array([weights[t] for t in terms], np.float32), ([0] * len(terms), terms)),
        shape=(1, N_TERMS),
    )


def expected_scores(vector: dict[int, float], query: dict[int, float]) -> int:
    """The integer score by the definitions of architecture.md section 3, one term at a time."""
    step = np.float32(MAX_WEIGHT / 255)
    heaviest = max(query.values())
    total = 0
    for term, weight in query.items():
        if term in vector:
            half = float(np.float16(vector[term]))
            impact = min(255, max(1, int(np.floor(half / float(step) + 0.5))))
            total += max(1, int(np.floor(4095 * (weight / heaviest) + 0.5))) * impact
    return total


def brute_force(
    documents: dict[str, tuple[int, dict[int, float]]], query: dict[int, float], k: int
) -> list[tuple[str, int]]:
    """Score every live document; order by score descending, then by insertion."""
    scored = [
        (-expected_scores(vector, query), number, doc_id)
        for doc_id, (number, vector) in documents.items()
    ]
    return [(doc_id, -score) for score, _, doc_id in sorted(scored) if score < 0][:k]


def found(
    index: Index, query: dict[int, float], k: int = 10, **options: Any
) -> list[tuple[str, int]]:
    hits = index.search(row(query), k, **options)
    return list(zip(hits.doc_ids, hits.ranking.scores.tolist(), strict=True))


def test_a_document_is_found_the_moment_add_returns(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        commit = index.add([Document("a", {"text": "x"})], row({3: 1.0}))
        assert (commit.n_added, commit.n_replaced) == (1, 0)
        assert index.search(row({3: 2.0})).doc_ids == ["a"]
        assert index.get("a") == Document("a", {"text": "x"})


def test_required_and_excluded_terms_choose_before_ranking(tmp_path: Path) -> None:
    """Whether documents lie in segments, are pending, deleted or filtered as well."""
    with new_index(tmp_path / "i", fields={"lang": "keyword"}) as index:
        rows = [row({1: 1.0, t: 1.0}) for t in (2, 3, 2, 4)]
        langs = ("en", "en", "de", "en")
        documents = [Document(f"d{i}", {"lang": lang}) for i, lang in enumerate(langs)]
        index.add(documents[:2], sparse.vstack(rows[:2]))
        index.seal()
        index.add(documents[2:], sparse.vstack(rows[2:]))
        query = row({1: 1.0})
        assert index.search(query, require=[2]).doc_ids == ["d0", "d2"]
        assert index.search(query, exclude=[2, 4]).doc_ids == ["d1"]
        assert index.search(query, require=[2], filter={"lang": "de"}).doc_ids == ["d2"]
        assert index.search(query, require=[2, 3]).doc_ids == []
        index.delete(["d0"])
        assert index.search(query, require=[2]).doc_ids == ["d2"]
        with pytest.raises(QueryError, match="outside the vocabulary"):
            index.search(query, require=[N_TERMS])
        words: Any
        for words in (["jaguar"], "jaguar", [2.5], [True]):
            with pytest.raises(QueryError, match="wanted the number of a term"):
                index.search(query, require=words)
        for term in (N_TERMS, -1):
            with pytest.raises(QueryError, match=f"term {term} is outside the vocabulary"):
                index.heaviest([2, term])
        assert index.heaviest([]).tolist() == []


def test_an_exhaustive_search_is_not_approximate(tmp_path: Path) -> None:
    """Nor are the two names accepted together, one of which would be ignored."""
    with new_index(tmp_path / "i") as index:
        index.add([Document("a")], row({3: 1.0}))
        with pytest.raises(QueryError, match="exhaustive scores every page"):
            index.search(row({3: 1.0}), algorithm="exhaustive", approximate=Approximate(pages=1))


def test_every_answer_carries_its_certificate(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        index.add([Document("a"), Document("b")], sparse.vstack([row({3: 1.0}), row({3: 2.0})]))
        plain = index.search(row({3: 1.0})).report
        assert (plain.mode, plain.exact, plain.stopped, plain.pages) == ("exact", True, False, 1)
        less = index.search(row({3: 1.0}), approximate=Approximate(pages=1)).report
        assert (less.mode, less.exact) == ("approximate", True)
        late = index.search(row({3: 1.0}), timeout=1e-9).report
        assert (late.exact, late.stopped) == (False, True)
        assert late.bound_skipped == pytest.approx(2.0, rel=0.01)


def test_an_update_replaces_and_a_delete_removes(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        index.add(
            [Document("a", {"v": 1}), Document("b")], sparse.vstack([row({3: 1}), row({3: 2})])
        )
        commit = index.add([Document("a", {"v": 2})], row({4: 1.0}))
        assert commit.n_replaced == 1
        assert index.search(row({3: 1.0})).doc_ids == ["b"]
        assert index.search(row({4: 1.0})).doc_ids == ["a"]
        assert index.get("a") == Document("a", {"v": 2})
        assert index.delete(["b", "never there"]).n_deleted == 1
        assert len(index.search(row({3: 1.0}))) == 0
        assert index.get("b") is None
        assert index.n_docs == 1


def test_a_writer_that_raises_writes_nothing(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        with pytest.raises(RuntimeError, match="stop"), index.writer() as writer:
            writer.add([Document("a")], row({1: 1.0}))
            raise RuntimeError("stop")
        assert index.n_docs == 0
        assert index.generation == 0


def test_a_writer_is_one_commit(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        with index.writer() as writer:
            writer.add([Document("a"), Document("b")], sparse.vstack([row({1: 1}), row({1: 2})]))
            writer.delete(["a"])
            writer.add([Document("b")], row({2: 1.0}))
        assert writer.commit is not None
        assert index.generation == writer.commit.number == 1
        assert index.search(row({1: 1.0, 2: 1.0})).doc_ids == ["b"]


def test_another_index_object_sees_each_commit_at_its_next_search(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as one, Index.open(tmp_path / "i") as other:
        one.add([Document("a")], row({1: 1.0}))
        assert other.search(row({1: 1.0})).doc_ids == ["a"]
        other.delete(["a"])
        assert one.search(row({1: 1.0})).doc_ids == []
        other.add([Document("b")], row({1: 1.0}))
        one.merge()
        assert other.search(row({1: 1.0})).doc_ids == ["b"]


def test_another_process_sees_and_makes_commits(tmp_path: Path) -> None:
    code = (
        "import sys; from scipy import sparse; from index import Index; from lsr.types "
        "import Document\n"
        "index = Index.open(sys.argv[1])\n"
        f"v = sparse.csr_array(([1.0], ([0], [1])), shape=(1, {N_TERMS}))\n"
        "assert index.search(v).doc_ids == ['a'], 'the other process must see our commit'\n"
        "index.add([Document('b')], v); index.close()\n"
    )
    with new_index(tmp_path / "i") as index:
        index.add([Document("a")], row({1: 1.0}))
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "i")], check=True)
        assert index.search(row({1: 1.0})).doc_ids == ["a", "b"]


class IndexMachine(RuleBasedStateMachine):
    """Random adds, updates, deletes, bulk builds, seals, merges and reopenings against a
    dictionary.
    """

    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[str, tuple[int, dict[int, float]]] = {}
        self.number = 0
        self.lost = 0

    @initialize(seed=st.integers(0, 10**6))
    def start(self, seed: int) -> None:
        import tempfile

        self.rng = np.random.default_rng(seed)
        self.directory = Path(tempfile.mkdtemp()) / "i"
        self.index = new_index(self.directory, fields={"lang": "keyword"})

    def teardown(self) -> None:
        if hasattr(self, "index"):
            self.index.close()
            shutil.rmtree(self.directory.parent)

    def _batch(self, n: int) -> tuple[list[Document], SparseMatrix]:
        names = self.rng.choice(30, size=n, replace=False)
        documents, rows = [], []
        for name in names.tolist():
            terms = self.rng.choice(N_TERMS, size=int(self.rng.integers(0, 6)), replace=False)
            vector = {int(t): float(np.float32(self.rng.gamma(2.0, 0.6) + 0.01)) for t in terms}
            documents.append(Document(f"d{name}", {"lang": "en" if name % 3 else "de"}))
            rows.append(row(vector))
            self.number += 1
            self.documents[f"d{name}"] = (self.number, vector)
        return documents, sparse.csr_array(sparse.vstack(rows))

    @rule(n=st.integers(1, 8))
    def add(self, n: int) -> None:
        self.index.add(*self._batch(n))

    @rule(names=st.lists(st.integers(0, 29), max_size=6))
    def delete(self, names: list[int]) -> None:
        ids = {f"d{name}" for name in names}
        assert self.index.delete(ids).n_deleted == len(ids & set(self.documents))
        for doc_id in ids:
            self.documents.pop(doc_id, None)

    @rule(n=st.integers(1, 8))
    def bulk(self, n: int) -> None:
        with self.index.bulk(f"batch {self.number}") as build:
            build.add(*self._batch(n))

    @rule(n=st.integers(1, 5))
    def abandoned_bulk(self, n: int) -> None:
        before, number = dict(self.documents), self.number
        self.lost += 1
        with pytest.raises(RuntimeError), self.index.bulk(f"lost {self.lost}") as build:
            build.add(*self._batch(n))
            build.flush()
            raise RuntimeError
        self.documents, self.number = before, number

    @rule()
    def seal(self) -> None:
        self.index.seal()

    @rule(everything=st.booleans())
    def merge(self, everything: bool) -> None:
        self.index.merge(everything=everything)

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = Index.open(self.directory)

    @invariant()
    @precondition(lambda self: hasattr(self, "index"))
    def ranks_as_the_dictionary_does(self) -> None:
        terms = self.rng.choice(N_TERMS, size=6, replace=False)
        query = {int(t): float(self.rng.gamma(2.0, 1.0) + 0.01) for t in terms}
        assert found(self.index, query, 7) == brute_force(self.documents, query, 7)
        german = {i: d for i, d in self.documents.items() if int(i[1:]) % 3 == 0}
        assert found(self.index, query, 5, filter={"lang": "de"}) == brute_force(german, query, 5)
        assert self.index.n_docs == len(self.documents)

    @rule()
    def check(self) -> None:
        assert self.index.check().problems == ()


IndexMachine.TestCase.settings = settings(
    max_examples=10,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
test_any_history_of_changes_ranks_like_a_dictionary = IndexMachine.TestCase


def test_a_build_that_was_interrupted_goes_on_where_it_was(
    tmp_path: Path, random_vectors: Any, make_documents: Any
) -> None:
    vectors = random_vectors(40)
    documents = make_documents(40)
    with new_index(tmp_path / "i") as index:
        with pytest.raises(KeyboardInterrupt), index.bulk("corpus") as build:
            build.add(documents[:25], vectors[:25])
            build.flush()
            build.add(documents[25:30], vectors[25:30])
            raise KeyboardInterrupt
        assert index.n_docs == 0
        state = index.last_build()
        assert state is not None
        assert (state.source, state.n_done, state.published) == ("corpus", 30, False)
    with Index.open(tmp_path / "i") as index:
        with index.bulk("corpus") as build:
            assert build.n_done == 30
            build.add(documents[30:], vectors[30:])
        assert index.n_docs == 40
        state = index.last_build()
        assert state is not None
        assert state.published
        assert index.check().problems == ()


def test_slow_work_is_made_durable_by_the_clock(tmp_path: Path) -> None:
    """A network encodes for minutes before a memory budget fills; a kill must not cost all that."""
    now = 0.0
    with new_index(tmp_path / "i") as index:
        build = BulkBuild(
            index.path,
            index._catalog,
            "slow",
            n_terms=N_TERMS,
            scale=index.scale,
            fields={},
            memory=2**30,
            clock=lambda: now,
        )
        with build:
            build.add([Document("a")], row({1: 1.0}))
            assert build.n_done == 0
            now = FLUSH_SECONDS + 1
            build.add([Document("b")], row({1: 1.0}))
            assert build.n_done == 2
        assert index.search(row({1: 1.0})).doc_ids == ["a", "b"]


def test_the_same_id_twice_in_a_build_is_refused_with_its_name(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        with (
            pytest.raises(UsageError, match="'a' occurs twice in the corpus"),
            index.bulk("c") as build,
        ):
            build.add([Document("a")], row({1: 1.0}))
            build.add([Document("a")], row({2: 1.0}))
        with pytest.raises(UsageError, match="'a' occurs twice in one batch"):
            index.add([Document("a"), Document("a")], sparse.vstack([row({1: 1})] * 2))
        assert index.n_docs == 0


@pytest.mark.parametrize("doc_id", ["ü/../x", "a b\tc\n", "💡", "'; DROP TABLE documents;--", "0"])
def test_odd_ids_come_back_verbatim(tmp_path: Path, doc_id: str) -> None:
    with new_index(tmp_path / "i") as index:
        index.add([Document(doc_id)], row({1: 1.0}))
        index.merge()
        assert index.search(row({1: 1.0})).doc_ids == [doc_id]
        assert index.get(doc_id) is not None


@pytest.mark.parametrize("doc_id", ["", 7, None, "x" * 5000, "\ud800"])
def test_impossible_ids_are_refused(tmp_path: Path, doc_id: Any) -> None:
    with new_index(tmp_path / "i") as index, pytest.raises(UsageError, match="id"):
        index.add([Document(doc_id)], row({1: 1.0}))


@pytest.mark.parametrize("k", [0, -1, 1.5, "10", True, None])
def test_a_k_that_is_no_positive_number_is_refused(tmp_path: Path, k: Any) -> None:
    with new_index(tmp_path / "i") as index, pytest.raises(QueryError, match="k ="):
        index.search(row({1: 1.0}), k)


def test_a_k_beyond_the_collection_returns_all_that_match(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        index.add([Document("a"), Document("b")], sparse.vstack([row({1: 1}), row({2: 1})]))
        assert index.search(row({1: 1.0}), 10_000).doc_ids == ["a"]


@pytest.mark.parametrize("weight", [np.nan, np.inf, -np.inf, -1.0])
def test_weights_that_are_no_weights_are_refused_on_both_sides(
    tmp_path: Path, weight: float
) -> None:
    with new_index(tmp_path / "i") as index:
        with pytest.raises(VectorError, match="row 0, term 1"):
            index.add([Document("a")], row({1: weight}))
        with pytest.raises(VectorError, match="row 0, term 1"):
            index.search(row({1: weight}))


def test_wrong_shapes_and_types_are_refused(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        with pytest.raises(VectorError, match="2 vectors for 1 documents"):
            index.add([Document("a")], sparse.vstack([row({1: 1})] * 2))
        with pytest.raises(VectorError, match="columns"):
            index.add([Document("a")], sparse.csr_array(np.ones((1, 3), np.float32)))
        with pytest.raises(VectorError, match="ndarray"):
            index.search(np.ones((1, N_TERMS)))  # type: ignore[arg-type]
        with pytest.raises(QueryError, match="one query"):
            index.search(sparse.vstack([row({1: 1})] * 2))
        with pytest.raises(VectorError, match="65504"):
            index.add([Document("a")], row({1: 1e6}))


def test_empty_things_are_normal(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        nothing = sparse.csr_array((1, N_TERMS), dtype=np.float32)
        assert len(index.search(row({1: 1.0}))) == 0
        index.add([Document("empty")], nothing)
        index.add([], sparse.csr_array((0, N_TERMS), dtype=np.float32))
        index.seal()
        assert index.n_docs == 1
        assert len(index.search(nothing)) == 0
        assert index.search_batch(sparse.csr_array((0, N_TERMS), dtype=np.float32)) == []
        index.delete(["empty"])
        index.merge()
        assert index.n_docs == 0
        assert index.check().problems == ()


def test_filters_narrow_inside_the_search_and_k_stays_filled(tmp_path: Path) -> None:
    with new_index(tmp_path / "i", fields={"year": "int", "lang": "keyword"}) as index:
        documents = [
            Document(f"d{i}", {"year": 2000 + i, "lang": "en" if i % 2 else "de"})
            for i in range(20)
        ]
        index.add(documents, sparse.vstack([row({1: 1 + i / 10}) for i in range(20)]))
        query = row({1: 1.0})
        assert index.search(query, 3, filter={"lang": "en"}).doc_ids == ["d19", "d17", "d15"]
        index.merge()
        assert index.search(query, 2, filter={"year": {"lt": 2003}}).doc_ids == ["d2", "d1"]
        assert index.search(query, 9, filter={"year": [2001, 2004]}).doc_ids == ["d4", "d1"]
        with pytest.raises(QueryError, match="'color' was not declared"):
            index.search(query, filter={"color": "red"})


def test_passages_return_each_document_once_by_its_best_passage(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        documents = [Document("a", {"text": "one two"}), Document("b", {"text": "three"})]
        vectors = sparse.vstack([row({1: 1.0}), row({1: 3.0}), row({1: 2.0})])
        passages = [Passage(0, 0, 3), Passage(0, 4, 7), Passage(1, 0, 5)]
        index.add(documents, vectors, passages=passages)
        for _ in range(2):
            hits = index.search(row({1: 1.0}), 2)
            assert hits.doc_ids == ["a", "b"]
            assert index.spans(hits.ranking.docids.tolist()) == [(4, 7), (0, 5)]
            assert index.n_docs == 2
            assert index.explain(row({1: 1.0}), "a").integer_score == hits.ranking.scores[0]
            index.merge()
        index.delete(["a"])
        assert index.search(row({1: 1.0})).doc_ids == ["b"]
        index.merge()
        assert index.check().problems == ()


def test_explanations_add_up_to_the_score_exactly(tmp_path: Path, random_vectors: Any) -> None:
    with new_index(tmp_path / "i") as index:
        index.add([Document(f"d{i}") for i in range(60)], random_vectors(60))
        query = random_vectors(1, density=12, seed=5)
        hits = index.search(query, 60)
        for doc_id, score in zip(hits.doc_ids, hits.ranking.scores.tolist(), strict=True):
            explanation = index.explain(query, doc_id)
            assert explanation.integer_score == score
            assert sum(part.score for part in explanation.terms) == pytest.approx(explanation.score)
        with pytest.raises(UsageError, match="no document with id 'zz'"):
            index.explain(query, "zz")


def test_merging_and_sealing_change_no_score(tmp_path: Path, random_vectors: Any) -> None:
    with new_index(tmp_path / "i") as index:
        for part in range(5):
            index.add([Document(f"d{part}-{i}") for i in range(20)], random_vectors(20, seed=part))
            if part % 2:
                index.seal()
        query = random_vectors(1, density=12, seed=9)
        before = index.search(query, 100)
        index.merge()
        after = index.search(query, 100)
        assert index.info()["n_segments"] == 1
        assert before.doc_ids == after.doc_ids
        assert before.ranking.scores.tolist() == after.ranking.scores.tolist()


def test_stored_vectors_come_back_as_float16_holds_them(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        index.add([Document("a")], row({1: 0.1, 7: 3.3}))
        for _ in range(2):
            vector = index.vectors_of("a")
            assert vector.indices.tolist() == [1, 7]
            assert vector.data.tolist() == [float(np.float16(0.1)), float(np.float16(3.3))]
            index.merge()


def test_integers_rank_nearly_as_floats_do(tmp_path: Path, random_vectors: Any) -> None:
    """8-bit impacts lose little, a lone document loses nothing, an empty index has no answer."""
    with new_index(tmp_path / "i") as index:
        assert index.float_overlap() is None
        vectors = 0.2 * random_vectors(200, 2000)[:, :N_TERMS]  # below max_weight: none saturates
        index.add([Document(f"d{i}") for i in range(200)], vectors)
        overlap = index.float_overlap()
        assert overlap is not None
        assert 0.8 < overlap <= 1.0
        index.delete([f"d{i}" for i in range(1, 200)])
        assert index.float_overlap() == 1.0


def test_only_one_process_maintains(tmp_path: Path) -> None:
    with (
        new_index(tmp_path / "i") as one,
        Index.open(tmp_path / "i") as other,
        one.bulk("corpus") as build,
    ):
        build.add([Document("a")], row({1: 1.0}))
        with pytest.raises(IndexLocked, match="another process"):
            other.seal(wait=0)
        other.add([Document("b")], row({1: 1.0}))
        assert one.search(row({1: 1.0})).doc_ids == ["b"]


def test_an_add_during_a_build_is_not_undone_by_it(tmp_path: Path) -> None:
    """Both bring id "a"; whichever committed last counts, and exactly one version is live."""
    with new_index(tmp_path / "i") as one, Index.open(tmp_path / "i") as other:
        one.add([Document("a", {"v": 0})], row({1: 1.0}))
        with one.bulk("corpus") as build:
            build.add([Document("a", {"v": 1})], row({2: 1.0}))
            build.flush()
            assert other.get("a") == Document("a", {"v": 0})
            assert other.search(row({1: 1.0})).doc_ids == ["a"]
            other.add([Document("a", {"v": 2})], row({3: 1.0}))
            assert other.search(row({1: 1.0, 2: 1.0})).doc_ids == []
        assert one.search(row({1: 1.0, 2: 1.0, 3: 1.0})).doc_ids == ["a"]
        assert one.get("a") == Document("a", {"v": 2})
        assert one.check().problems == ()


def test_searches_run_beside_writes_in_many_threads(tmp_path: Path, random_vectors: Any) -> None:
    with new_index(tmp_path / "i") as index:
        index.add([Document(f"d{i}") for i in range(50)], random_vectors(50))
        query = random_vectors(1, density=12, seed=3)
        errors: list[BaseException] = []
        stop = threading.Event()

        def reader() -> None:
            try:
                while not stop.is_set():
                    scores = index.search(query, 10).ranking.scores
                    assert bool((scores[1:] <= scores[:-1]).all())
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=reader) for _ in range(3)]
        for thread in threads:
            thread.start()
        for i in range(15):
            index.add([Document(f"d{i}")], random_vectors(1, seed=i))
            if i % 5 == 4:
                index.merge()
        stop.set()
        for thread in threads:
            thread.join()
        assert errors == []


def test_a_seal_that_leaves_nothing_is_seen(tmp_path: Path) -> None:
    """Deleted while pending, then sealed: the row and its tombstone vanish together, between two
    searches of another index object, which must not go on showing the document."""
    with new_index(tmp_path / "i") as one, Index.open(tmp_path / "i") as other:
        one.add([Document("a")], row({1: 1.0}))
        assert other.search(row({1: 1.0})).doc_ids == ["a"]
        one.delete(["a"])
        one.seal()
        assert other.search(row({1: 1.0})).doc_ids == []


def test_a_replaced_document_is_in_every_answer_in_one_version(tmp_path: Path) -> None:
    """Tombstones were once read after the snapshot's transaction: searches between two commits of
    another connection saw the old version gone and the new one not yet there."""
    with new_index(tmp_path / "i") as one, Index.open(tmp_path / "i") as other:
        one.add([Document("a")], row({1: 1.0}))
        one.seal()
        stop = threading.Event()

        def replacing() -> None:
            while not stop.is_set():
                one.add([Document("a")], row({1: 1.0}))
                one.merge()

        thread = threading.Thread(target=replacing)
        thread.start()
        try:
            answers = {tuple(other.search(row({1: 1.0})).doc_ids) for _ in range(2000)}
        finally:
            stop.set()
            thread.join()
        assert answers == {("a",)}


def test_missing_existing_and_foreign_directories_are_named(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFound, match="no such directory"):
        Index.open(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(IndexNotFound, match=r"catalog\.sqlite is missing"):
        Index.open(tmp_path / "empty")
    new_index(tmp_path / "i").close()
    with pytest.raises(IndexExists, match="there is an index already"):
        new_index(tmp_path / "i")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "catalog.sqlite").write_bytes(b"no database at all" * 1000)
    with pytest.raises(IndexCorrupt):
        Index.open(tmp_path / "bad")


def test_a_newer_catalog_is_refused_by_its_version(tmp_path: Path) -> None:
    index = new_index(tmp_path / "i")
    with index._catalog.transaction() as connection:
        connection.execute("UPDATE meta SET value='99' WHERE key='format'")
    index.close()
    with pytest.raises(IndexVersion, match="format 99, this release reads 1"):
        Index.open(tmp_path / "i")


def test_a_flipped_bit_anywhere_is_found_by_check_or_open(
    tmp_path: Path, random_vectors: Any
) -> None:
    """Every 97th byte of every file: check or open must notice, and no search may crash."""
    with new_index(tmp_path / "i") as index:
        index.add([Document(f"d{i}", {"text": "x" * 50}) for i in range(30)], random_vectors(30))
        index.merge()
    for file in [tmp_path / "i" / "catalog.sqlite", *(tmp_path / "i" / "segments").iterdir()]:
        good = file.read_bytes()
        for at in range(0, len(good), 397 if file.suffix == ".sqlite" else 97):
            bad = bytearray(good)
            bad[at] ^= 0x10
            file.write_bytes(bytes(bad))
            try:
                with Index.open(tmp_path / "i") as index:
                    noticed = not index.check().sound
            except IndexFailure:
                noticed = True
            # SQLite's unused pages carry no information; everything else must be noticed.
            assert noticed or file.suffix == ".sqlite", f"{file.name} byte {at}"
            file.write_bytes(good)
    with Index.open(tmp_path / "i") as index:
        assert index.check().sound


def test_a_scrub_takes_a_damaged_index_out_of_service(tmp_path: Path) -> None:
    """Opening reads only headers and directories; a flipped impact is found by the scrub."""
    with new_index(tmp_path / "i") as index:
        index.add([Document("a")], row({1: 1.0}))
        index.seal()
    (file,) = (tmp_path / "i" / "segments").iterdir()
    data = bytearray(file.read_bytes())
    data[-8] ^= 1  # inside the stored vectors: searches never read it, explanations do
    file.write_bytes(bytes(data))
    with Index.open(tmp_path / "i") as index:
        assert index.search(row({1: 1.0})).doc_ids == ["a"]
        with pytest.raises(IndexCorrupt):
            index.scrub()
        with pytest.raises(IndexCorrupt):
            index.search(row({1: 1.0}))


def test_a_truncated_catalog_is_never_sound(tmp_path: Path) -> None:
    """A short last page carries no checksum that could fail, so its length must be looked at."""
    with new_index(tmp_path / "i") as index:
        index.add([Document("a", {"text": "x" * 9000})], row({1: 1.0}))
    file = tmp_path / "i" / "catalog.sqlite"
    good = file.read_bytes()
    for cut in (1, 100, 8192):
        file.write_bytes(good[:-cut])
        with pytest.raises(IndexCorrupt, match=r"cut off|malformed"):
            Index.open(tmp_path / "i")


def test_a_field_of_the_wrong_type_is_refused_before_anything_is_stored(tmp_path: Path) -> None:
    """Types were once checked after the commit: every later search, in every process, then
    raised.
    """
    with new_index(tmp_path / "i", fields={"year": "int"}) as index:
        for bad in ("2005", 2005.0, True, [2005], 2**63):
            with pytest.raises(UsageError, match="'a': field 'year'"):
                index.add([Document("a", {"year": bad})], row({1: 1.0}))
            with pytest.raises(UsageError, match="'a': field 'year'"), index.bulk("b") as build:
                build.add([Document("a", {"year": bad})], row({1: 1.0}))
        index.add([Document("a", {"year": None})], row({1: 1.0}))
        assert index.search(row({1: 1.0})).doc_ids == ["a"]


def test_passages_must_cover_every_document_in_order(tmp_path: Path) -> None:
    """A document without a passage was once counted as added, and its old version deleted."""
    with new_index(tmp_path / "i") as index:
        documents = [Document("a"), Document("b")]
        for numbers in ([0, 0], [1, 0], [0, 2], [-1, 0]):
            passages = [Passage(number, 0, 1) for number in numbers]
            with pytest.raises(UsageError, match="passages must name"):
                index.add(documents, sparse.vstack([row({1: 1.0})] * 2), passages=passages)
        assert index.n_docs == 0


def test_a_sealed_index_of_passages_is_sound(tmp_path: Path) -> None:
    """Passages share the id of their document, which is no damage."""
    with new_index(tmp_path / "i") as index:
        passages = [Passage(0, 0, 1), Passage(0, 1, 2)]
        index.add([Document("a")], sparse.vstack([row({1: 1.0})] * 2), passages=passages)
        index.seal()
        assert index.check().problems == ()
        index.scrub()
        assert index.search(row({1: 1.0})).doc_ids == ["a"]


def test_two_versions_sealed_together_are_sound(tmp_path: Path) -> None:
    """Added, replaced by a build, added again, then sealed: only the last is alive."""
    with new_index(tmp_path / "i") as index:
        index.add([Document("a")], row({1: 1.0}))
        with index.bulk("corpus") as build:
            build.add([Document("a")], row({2: 1.0}))
        index.add([Document("a")], row({3: 1.0}))
        index.seal()
        assert index.check().problems == ()
        assert index.search(row({1: 1.0, 2: 1.0, 3: 1.0})).doc_ids == ["a"]


def test_a_merge_refuses_to_launder_flipped_bits(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        for name in ("a", "b"):
            index.add([Document(name)], row({1: 1.0}))
            index.seal()
    file = sorted((tmp_path / "i" / "segments").iterdir())[0]
    data = bytearray(file.read_bytes())
    data[-8] ^= 1
    file.write_bytes(bytes(data))
    with Index.open(tmp_path / "i") as index:
        with pytest.raises(IndexCorrupt):
            index.merge()
        assert not index.check().sound


def test_small_segments_are_merged_among_themselves(tmp_path: Path, random_vectors: Any) -> None:
    """A large segment is not rewritten for the sake of eight tiny ones."""
    with new_index(tmp_path / "i") as index:
        index.add([Document(f"big{i}") for i in range(500)], random_vectors(500))
        index.seal()
        (large,) = (tmp_path / "i" / "segments").iterdir()
        for i in range(8):
            index.add([Document(f"d{i}")], row({1: 1.0}))
            index.seal()
        index.merge(everything=False)
        assert large.exists()
        assert index.info()["n_segments"] == 2


def test_a_commit_stands_though_sealing_after_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise DiskFull("no room")

    monkeypatch.setattr("index.store.SEAL_AT", 0)
    monkeypatch.setattr("index.maintenance.write_segment", full)
    with new_index(tmp_path / "i") as index:
        assert index.add([Document("a")], row({1: 1.0})).n_added == 1
        assert index.search(row({1: 1.0})).doc_ids == ["a"]


def test_a_closed_index_says_so(tmp_path: Path) -> None:
    index = new_index(tmp_path / "i")
    index.close()
    with pytest.raises(UsageError, match="closed"):
        index.search(row({1: 1.0}))


def test_a_relative_path_survives_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with new_index(Path("i")) as one, Index.open("i") as other:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        one.add([Document("a")], row({1: 1.0}))
        one.seal()
        assert other.search(row({1: 1.0})).doc_ids == ["a"]


def test_a_segment_that_vanished_is_named(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        index.add([Document("a")], row({1: 1.0}))
        index.seal()
    next((tmp_path / "i" / "segments").iterdir()).unlink()
    with pytest.raises(IndexCorrupt, match="the file is gone"):
        Index.open(tmp_path / "i")


def test_who_can_write_never_reads_past_the_log(tmp_path: Path) -> None:
    """The log cannot be made for a moment, as on a disk that is full just then. One who read the
    file alone from then on would not see what is written, and remove it as nobody's.
    """
    path = tmp_path / "i"
    with new_index(path) as index:
        index.add([Document("a")], row({1: 1.0}))
        index.seal()
    log = path / "catalog.sqlite-wal"
    log.symlink_to(tmp_path / "nowhere" / "log")
    with pytest.raises(IndexFailure, match="cannot be opened or made"):
        Index.open(path)
    log.unlink()
    for name in ("b", "c"):
        with Index.open(path) as index:
            index.add([Document(name)], row({1: 1.0}))
            index.merge()
    with Index.open(path) as index:
        assert index.search(row({1: 1.0})).doc_ids == ["a", "b", "c"]
        assert index.check().sound


def test_a_closed_index_leaves_one_catalog_file_and_opens_read_only(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        index.add([Document("a")], row({1: 1.0}))
        index.seal()
    names = {path.name for path in (tmp_path / "i").iterdir()}
    assert names == {"catalog.sqlite", "segments", "maintainer.lock"}
    with Index.open(tmp_path / "i", read_only=True) as index:
        assert index.search(row({1: 1.0})).doc_ids == ["a"]
        with pytest.raises(IndexFailure, match="read-only"):
            index.delete(["a"])


def test_retired_segments_leave_the_disk(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        for i in range(3):
            index.add([Document(f"d{i}")], row({1: 1.0}))
            index.seal()
        index.merge()
        assert len(list((tmp_path / "i" / "segments").iterdir())) == 1


def test_deleted_documents_leave_the_catalog_when_segments_merge(tmp_path: Path) -> None:
    with new_index(tmp_path / "i") as index:
        index.add([Document("a"), Document("b")], sparse.vstack([row({1: 1}), row({1: 2})]))
        index.seal()
        index.delete(["a"])
        index.merge()
        for table in ("documents", "texts"):
            assert index._catalog.rows(f"SELECT count(*) FROM {table}") == [(1,)]


def test_a_closed_index_is_opened_by_many_at_once(tmp_path: Path) -> None:
    """Closed files have no write-ahead log, and two that began one together made SQLite refuse."""
    path, n = tmp_path / "i", 4
    Index.create(path, n_terms=8, max_weight=4.0).close()
    for _ in range(150):
        ready, opened = threading.Barrier(n), threading.Barrier(n)

        def opening(ready: threading.Barrier = ready, opened: threading.Barrier = opened) -> None:
            ready.wait()
            with Index.open(path):
                opened.wait(timeout=30)

        with ThreadPoolExecutor(n) as pool:
            for done in [pool.submit(opening) for _ in range(n)]:
                done.result()


def test_whole_numbers_that_are_one_double_are_one_value(tmp_path: Path) -> None:
    """Two neighbours beyond 2^53 in a float field: every filter failed from then on, and no row
    was sealed any more.
    """
    with Index.create(
        tmp_path / "i", n_terms=2, max_weight=1.0, fields={"x": "float", "t": "keyword"}
    ) as index:
        rows = sparse.csr_array(np.ones((3, 2), np.float32))
        numbers = [2**53, 2**53 + 1, 7]
        index.add([Document(f"d{i}", {"x": x, "t": "a"}) for i, x in enumerate(numbers)], rows)
        for _ in range(2):
            query = sparse.csr_array(np.ones((1, 2), np.float32))
            assert index.search(query, filter={"t": "a"}).doc_ids == ["d0", "d1", "d2"]
            found = index.search(query, filter={"field": "x", "gte": 2**53}).doc_ids
            assert found == ["d0", "d1"]
            index.seal()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_terms": 0}, "n_terms = 0: wanted a whole number of terms"),
        ({"n_terms": 1.5}, "n_terms = 1.5: wanted a whole number"),
        ({"n_terms": "5"}, "n_terms = '5': wanted a whole number"),
        ({"n_terms": 1 << 40}, "from 1 to 268,435,456"),
        ({"max_weight": 1e-45}, "max_weight = 1e-45: impacts need"),
        ({"max_weight": 1e300}, "max_weight = 1e[+]300: impacts need"),
        ({"max_weight": float("nan")}, "max_weight = nan: impacts need"),
    ],
)
def test_an_index_that_could_not_be_used_is_not_made(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    """Its catalog was there and could never be opened."""
    with pytest.raises(UsageError, match=message):
        Index.create(tmp_path / "i", **{"n_terms": 4, "max_weight": 4.0, **wrong})
    assert not (tmp_path / "i").exists()


def test_a_path_that_sqlite_cannot_name_is_refused(tmp_path: Path) -> None:
    """It was called a defect of this package, and a folder stayed behind."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xffb.index"))
    with pytest.raises(UsageError, match=r"a\\xffb\.index: a path of an index must be UTF-8"):
        Index.create(path, n_terms=4, max_weight=4.0)
    with pytest.raises(UsageError, match="must be UTF-8"):
        build_index(path, [Document("a", {"text": "cat"})], BM25Encoder.fit(["cat"]), source="s")
    assert list(tmp_path.iterdir()) == []
