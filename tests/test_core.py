"""Every algorithm, on every path, returns exactly the brute-force ranking (`oracle.py`)."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import (
    ALGORITHMS,
    SCALE,
    brute_force,
    make_segment,
    pairs,
    random_collection,
    random_query,
)
from scipy import sparse

from index import _core
from index.engine import Algorithm, search, search_batch
from index.live import Live, pack
from index.quantize import integer_query
from lsr.errors import QueryError, UsageError


@pytest.mark.usefixtures("_cpu")
@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.sampled_from([0, 1, 31, 257, 700, 1500]), min_size=1, max_size=3),
    n_terms=st.sampled_from([1, 3, 60, 400]),
    n_query=st.integers(0, 50),
    levels=st.sampled_from([1, 3, 200]),
    live_share=st.sampled_from([None, 0.0, 0.02, 0.5, 0.98]),
    k=st.sampled_from([1, 10, 100, 5000]),
    reorder=st.booleans(),
)
def test_every_algorithm_returns_exactly_the_brute_force_ranking(
    seed: int,
    sizes: list[int],
    n_terms: int,
    n_query: int,
    levels: int,
    live_share: float | None,
    k: int,
    reorder: bool,
) -> None:
    """Rank-safe means the same documents, scores and order, over segments, deletes and filters."""
    rng = np.random.default_rng(seed)
    # Numbers are dealt out at random, so that ties cross segments in both directions.
    numbers = rng.permutation(sum(sizes)).astype(np.uint32) * np.uint32(3) + np.uint32(7)
    parts = []
    for size in sizes:
        docids, numbers = np.sort(numbers[:size]), numbers[size:]
        vectors = random_collection(rng, size, n_terms, mean=12, levels=levels)
        live = None if live_share is None else (rng.random(size) < live_share).astype(np.uint8)
        parts.append((vectors, docids, live))
    segments = [make_segment(vectors, docids, reorder=reorder) for vectors, docids, _ in parts]
    masks: list[Live | None] = []
    for segment, (_, docids, live) in zip(segments, parts, strict=True):
        by_docid = np.searchsorted(docids, segment.docids)
        masks.append(None if live is None else pack(live[by_docid]))
    query = random_query(rng, n_terms, n_query)
    expected = brute_force(parts, query, k)
    for algorithm in ALGORITHMS:
        assert pairs(search(segments, masks, query, k, algorithm=algorithm)) == expected


@pytest.mark.usefixtures("_cpu")
def test_rounds_and_phases_are_exact_on_a_collection_large_enough_to_prune() -> None:
    """Over a thousand blocks: seeds, both row phases, group boundaries (128 pages), the router."""
    rng = np.random.default_rng(5)
    n_docs, n_terms = 40_000, 300
    vectors = random_collection(rng, n_docs, n_terms, mean=10, levels=40)
    docids = np.arange(n_docs, dtype=np.uint32)
    live = (rng.random(n_docs) < 0.7).astype(np.uint8)
    given_order = make_segment(vectors, docids)
    similar = make_segment(vectors, docids, reorder=True)
    assert sorted(similar.docids.tolist()) == docids.tolist()
    assert not np.array_equal(similar.docids, docids)
    similar.verify()
    for n_query, k in [(3, 1), (5, 10), (40, 10), (40, 300), (25, 3000)]:
        query = random_query(rng, n_terms, n_query)
        for mask in (None, live):
            expected = brute_force([(vectors, docids, mask)], query, k)
            for segment in (given_order, similar):
                by_position = None if mask is None else pack(mask[segment.docids])
                for algorithm in ALGORITHMS:
                    got = search([segment], [by_position], query, k, algorithm=algorithm)
                    assert pairs(got) == expected, (n_query, k, algorithm)


@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_batch_answers_like_its_queries_one_by_one(threads: int, algorithm: Algorithm) -> None:
    rng = np.random.default_rng(threads)
    segments = [
        make_segment(
            random_collection(rng, 600, 80, mean=9, levels=5),
            np.arange(first, first + 600, dtype=np.uint32),
        )
        for first in (600, 0)
    ]
    live = [None, pack(rng.random(600) < 0.5)]
    queries = [random_query(rng, 80, n) for n in (0, 1, 5, 30, 2, 0, 12)]
    batch = search_batch(segments, live, queries, 20, threads=threads, algorithm=algorithm)
    assert [pairs(hits) for hits in batch] == [
        pairs(search(segments, live, query, 20, algorithm=algorithm)) for query in queries
    ]
    assert search_batch(segments, live, [], 20, threads=threads, algorithm=algorithm) == []


def test_the_largest_possible_score_does_not_wrap() -> None:
    """4,112 terms of weight 4,095 on impacts of 255 reach 4,293,853,200, just inside 32 bits."""
    n_terms = 4112
    vectors = sparse.csr_array(np.full((70, n_terms), 4.0, np.float32))
    segment = make_segment(vectors, np.arange(70, dtype=np.uint32))
    query = integer_query(np.arange(n_terms), np.ones(n_terms), n_terms=n_terms, scale=SCALE)
    for algorithm in ALGORITHMS:
        docids, scores, _ = search([segment], [None], query, 3, algorithm=algorithm)
        assert docids.tolist() == [0, 1, 2]
        assert scores.tolist() == [4_293_853_200] * 3


def test_terms_that_no_document_has_and_terms_beyond_a_segment_add_nothing() -> None:
    """A small segment may have seen few of the vocabulary's terms; BM25 grows none, but foreign
    segments may be narrower than the query."""
    vectors = sparse.csr_array(np.array([[0.0, 1.0, 0.0]], np.float32))
    segment = make_segment(vectors, np.array([4], np.uint32))
    query = integer_query(np.array([0, 1, 900]), np.ones(3), n_terms=1000, scale=SCALE)
    for algorithm in ALGORITHMS:
        assert pairs(search([segment], [None], query, 5, algorithm=algorithm)) == [(4, 4095 * 64)]


def test_nothing_is_found_where_nothing_is() -> None:
    empty = make_segment(sparse.csr_array((0, 5), dtype=np.float32), np.empty(0, np.uint32))
    blank = make_segment(sparse.csr_array((3, 5), dtype=np.float32), np.arange(3, dtype=np.uint32))
    query = integer_query(np.array([2]), np.array([1.0]), n_terms=5, scale=SCALE)
    for segments in ([], [empty], [blank], [empty, blank]):
        for algorithm in ALGORITHMS:
            live: list[None] = [None] * len(segments)
            assert pairs(search(segments, live, query, 10, algorithm=algorithm)) == []
            assert pairs(search(segments, live, query, 0, algorithm=algorithm)) == []


def test_a_vocabulary_of_a_quarter_million_terms_is_normal() -> None:
    """Above 65,536 terms the forward terms are 32 bits wide."""
    rng = np.random.default_rng(1)
    vectors = random_collection(rng, 300, 260_000, mean=30, levels=9)
    docids = np.arange(300, dtype=np.uint32)
    segment = make_segment(vectors, docids)
    query = random_query(rng, 260_000, 4000)
    expected = brute_force([(vectors, docids, None)], query, 50)
    assert expected
    for algorithm in ALGORITHMS:
        assert pairs(search([segment], [None], query, 50, algorithm=algorithm)) == expected
    assert np.array_equal(segment.vectors().indices, vectors.indices)
    segment.verify()


def test_wrong_arguments_are_named() -> None:
    vectors = sparse.csr_array(np.eye(3, dtype=np.float32))
    segment = make_segment(vectors, np.arange(3, dtype=np.uint32))
    query = integer_query(np.array([0]), np.array([1.0]), n_terms=3, scale=SCALE)
    with pytest.raises(UsageError, match=r"uint32 of shape \(1,\), got bool"):
        search([segment], [np.ones(3, bool)], query, 1)  # type: ignore[list-item]
    with pytest.raises(UsageError, match="live words 0"):
        search([segment], [np.ones(4, np.uint32)], query, 1)
    with pytest.raises(UsageError, match="1 segments but 0 live masks"):
        search([segment], [], query, 1)
    with pytest.raises(QueryError, match="wand"):
        search([segment], [None], query, 1, algorithm="wand")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="k = -1"):
        search([segment], [None], query, -1)
    with pytest.raises(UsageError, match="threads = 0"):
        search_batch([segment], [None], [query], 1, threads=0)
    with pytest.raises(ValueError, match=r"1\.\.4095"):
        _core.search(
            [segment.view],
            [None],
            np.array([0], np.uint32),
            np.array([0], np.uint16),
            1,
            _core.Algorithm.automatic,
        )
    segment.close()
    with pytest.raises(UsageError, match="is closed"):
        search([segment], [None], query, 1)


def test_any_order_of_documents_is_a_permutation() -> None:
    """Empty documents, one document, one thread or several: bisection only ever swaps."""
    rng = np.random.default_rng(3)
    for n_docs in (0, 1, 33, 1000):
        lengths = rng.integers(0, 5, n_docs)
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)
        terms = rng.integers(0, 40, int(lengths.sum())).astype(np.uint32)
        orders = [_core.order_documents(starts, terms, 40, threads) for threads in (1, 2, 5)]
        assert sorted(orders[0].tolist()) == list(range(n_docs))
        assert all(np.array_equal(orders[0], order) for order in orders)
    with pytest.raises(ValueError, match="below n_terms"):
        _core.order_documents(np.array([0, 1], np.uint64), np.array([40], np.uint32), 40, 1)


def test_the_stub_describes_the_compiled_module() -> None:
    """Type checkers read `_core.pyi`; `make stub` writes it anew."""
    stubgen = pytest.importorskip("nanobind.stubgen", reason="nanobind is not installed")
    generator = stubgen.StubGen(_core)
    generator.put(_core)
    committed = Path(inspect.getfile(make_segment)).parent.parent / "index" / "_core.pyi"
    assert committed.read_text() == generator.get(), "run `make stub` and commit index/_core.pyi"
