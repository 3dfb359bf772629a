"""What a search may be asked beyond its top k: groups, masks, less than everything, an end.

Oracles are products of scipy matrices, collapsed or masked in plain Python.
"""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import numpy.typing as npt
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

from index import _core
from index.approximate import Approximate
from index.engine import Cancel, documents_with, search, search_batch
from index.live import everything, pack, positions_in, unpack, without
from index.quantize import integer_query
from index.segment import Segment
from lsr.errors import QueryError, SearchCancelled
from lsr.types import SparseMatrix


@pytest.fixture(scope="module")
def collection() -> tuple[SparseMatrix, Segment]:
    """40,000 documents: large enough for block-max by default, and for blocks to be left alone."""
    rng = np.random.default_rng(8)
    vectors = random_collection(rng, 40_000, 900, mean=14, levels=60)
    return vectors, make_segment(vectors, np.arange(40_000, dtype=np.uint32), reorder=True)


@pytest.mark.usefixtures("_cpu")
@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1, 300, 1500]),
    passages=st.sampled_from([1, 2, 7, 200]),
    levels=st.sampled_from([1, 3, 200]),
    live_share=st.sampled_from([None, 0.02, 0.6]),
    k=st.sampled_from([1, 10, 70, 5000]),
)
def test_groups_are_collapsed_to_their_best_passage_and_k_is_filled(
    seed: int, size: int, passages: int, levels: int, live_share: float | None, k: int
) -> None:
    """The oracle ranks every passage, then keeps the first of each document."""
    rng = np.random.default_rng(seed)
    parts, segments, masks = [], [], []
    for first in (0, 10 * size):  # the passages of a document lie in one segment
        vectors = random_collection(rng, size, 60, mean=9, levels=levels)
        docids = np.arange(first, first + size, dtype=np.uint32)
        groups = docids - docids % np.uint32(passages)
        live = None if live_share is None else (rng.random(size) < live_share).astype(np.uint8)
        parts.append((vectors, docids, live))
        segment = Segment.in_memory(
            vectors,
            docids,
            [f"d{group}" for group in groups],
            scale=SCALE,
            groups=groups,
            grid=True,
            reorder=True,
        )
        segments.append(segment)
        masks.append(None if live is None else pack(live[segment.docids - first]))
    query = random_query(rng, 60, 12)
    best: dict[int, tuple[int, int]] = {}
    for docid, score in brute_force(parts, query, 10**9):
        best.setdefault(docid - docid % passages, (docid, score))
    expected = list(best.values())[:k]
    for algorithm in ALGORITHMS:
        got = search(segments, masks, query, k, algorithm=algorithm, by_group=True)
        assert pairs(got) == expected
        assert got.report.exact


@pytest.mark.usefixtures("_cpu")
@pytest.mark.parametrize("keep_vectors", [True, False])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001, 0.0])
def test_a_filter_of_any_share_returns_the_best_that_pass_it(
    share: float, keep_vectors: bool, collection: tuple[SparseMatrix, Segment]
) -> None:
    """Few live documents are scored from stored vectors, by page or all: the same integers."""
    vectors, _ = collection
    rng = np.random.default_rng(int(share * 1000))
    docids = np.arange(vectors.shape[0], dtype=np.uint32)
    segment = Segment.in_memory(
        vectors, docids, [str(i) for i in docids], scale=SCALE, keep_vectors=keep_vectors
    )
    passing = rng.random(len(docids)) < share
    live = pack(passing[segment.docids])
    for n_query, k in [(3, 10), (40, 10), (40, 400), (300, 10)]:
        query = random_query(rng, vectors.shape[1], n_query)
        expected = brute_force([(vectors, docids, passing.astype(np.uint8))], query, k)
        for algorithm in ALGORITHMS:
            got = search([segment], [live], query, k, algorithm=algorithm)
            assert pairs(got) == expected, (n_query, k, algorithm)
            assert got.report.exact
            assert not got.report.stopped


@pytest.mark.usefixtures("_cpu")
@pytest.mark.parametrize("n_query", [17, 44, 200])
def test_documents_that_a_filter_leaves_in_the_race_are_scored_alone_exactly(
    n_query: int, collection: tuple[SparseMatrix, Segment]
) -> None:
    """After the first twelve terms few of the tenth that passes can still reach the threshold."""
    vectors, segment = collection
    rng = np.random.default_rng(n_query)
    docids = np.arange(vectors.shape[0], dtype=np.uint32)
    passing = rng.random(len(docids)) < 0.1
    live = pack(passing[segment.docids])
    for k in (1, 10, 63, 64, 99):  # keys are counted from 64 on, and from 100 on none is alone
        terms = rng.choice(vectors.shape[1], n_query, replace=False)
        weights = 10 ** rng.uniform(-2, 0, n_query)
        query = integer_query(terms, weights, n_terms=vectors.shape[1], scale=SCALE)
        expected = brute_force([(vectors, docids, passing.astype(np.uint8))], query, k)
        assert pairs(search([segment], [live], query, k, algorithm="blockmax")) == expected, k
        assert pairs(search([segment], [live], query, k)) == expected, k


@pytest.mark.skipif(_core.cpus() == ["portable"], reason="bounds never pay without vectors")
@pytest.mark.parametrize(
    ("share", "k", "blockmax"),
    [(1, 10, True), (1, 150, True), (1, 160, False), (0.5, 90, False), (0.04, 60, False)],
)
def test_bounds_are_asked_only_where_they_can_leave_pages_out(
    share: float, k: int, blockmax: bool, collection: tuple[SparseMatrix, Segment]
) -> None:
    """The best 1,000 of 200,000 were once pruned, in 1.2 times the time of adding everything."""
    vectors, segment = collection
    rng = np.random.default_rng(3)
    live = None if share == 1 else pack(rng.random(segment.n_docs) < share)
    report = search([segment], [live], random_query(rng, vectors.shape[1], 20), k).report
    assert report.blockmax is blockmax
    assert report.exact


@pytest.mark.parametrize("n_terms", [40, 300, 900])
def test_queries_whose_weights_span_three_orders_of_magnitude_are_exact(
    n_terms: int, collection: tuple[SparseMatrix, Segment]
) -> None:
    """Documents used as queries have hundreds of terms, most of them light."""
    vectors, segment = collection
    rng = np.random.default_rng(n_terms)
    docids = np.arange(vectors.shape[0], dtype=np.uint32)
    for k in (1, 10, 1000, 10_000):
        terms = rng.choice(vectors.shape[1], n_terms, replace=False)
        weights = 10 ** rng.uniform(-3, 0, n_terms)
        query = integer_query(terms, weights, n_terms=vectors.shape[1], scale=SCALE)
        expected = brute_force([(vectors, docids, None)], query, k)
        for algorithm in ALGORITHMS:
            assert pairs(search([segment], [None], query, k, algorithm=algorithm)) == expected


@pytest.mark.usefixtures("_cpu")
@settings(deadline=None, max_examples=30, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), pages=st.sampled_from([1, 5, 40, 10**6]))
def test_an_approximate_answer_says_truly_what_it_left_alone(
    seed: int, pages: int, collection: tuple[SparseMatrix, Segment]
) -> None:
    """Scores are exact; what is missing scores at most `skipped`; `exact` is a proof."""
    vectors, segment = collection
    rng = np.random.default_rng(seed)
    query = random_query(rng, vectors.shape[1], int(rng.integers(1, 60)))
    docids = np.arange(vectors.shape[0], dtype=np.uint32)
    everyone = dict(brute_force([(vectors, docids, None)], query, 10**9))
    exact = search([segment], [None], query, 10, algorithm="blockmax")
    got = search(
        [segment],
        [None],
        query,
        10,
        algorithm="blockmax",
        approximate=Approximate(pages=pages),
    )
    assert all(everyone[docid] == score for docid, score in pairs(got))
    assert pairs(got) == sorted(pairs(got), key=lambda pair: (-pair[1], pair[0]))
    missing = set(pairs(exact)) - set(pairs(got))
    assert all(score <= got.report.skipped for _, score in missing)
    assert got.report.pages_scored <= pages
    if got.report.exact:
        assert pairs(got) == pairs(exact)
    if pages == 10**6:
        assert got.report.exact
    assert exact.report.exact


def test_more_documents_and_pages_than_there_are_may_be_asked_for(
    collection: tuple[SparseMatrix, Segment],
) -> None:
    """Beyond 64 bits, too, which the core cannot be told."""
    vectors, segment = collection
    query = random_query(np.random.default_rng(3), vectors.shape[1], 6)
    docids = np.arange(vectors.shape[0], dtype=np.uint32)
    everyone = brute_force([(vectors, docids, None)], query, vectors.shape[0])
    for k in (vectors.shape[0], 2**64, 10**30):
        assert pairs(search([segment], [None], query, k)) == everyone
        assert pairs(search_batch([segment], [None], [query], k)[0]) == everyone
    for less in (Approximate(pages=10**30), Approximate(recall=1 - 1e-12)):
        got = search([segment], [None], query, 10**30, approximate=less)
        assert got.report.exact
        assert pairs(got) == everyone


def test_a_larger_recall_buys_a_larger_budget() -> None:
    budgets = [Approximate(recall=r).budget(10) for r in (0.5, 0.9, 0.95, 0.99, 0.999, 0.9999)]
    assert budgets == sorted(budgets)
    assert budgets[1] < budgets[-1]
    assert Approximate(recall=0.95).budget(1000) > Approximate(recall=0.95).budget(10)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "a recall or a number of pages"),
        ({"recall": 0.9, "pages": 4}, "a recall or a number of pages"),
        ({"recall": 1.0}, "below 1"),
        ({"recall": 0.0}, "above 0"),
        ({"pages": 0}, "at least 1"),
        ({"pages": True}, "at least 1"),
    ],
)
def test_an_unclear_approximation_is_refused(arguments: dict[str, float], says: str) -> None:
    with pytest.raises(QueryError, match=says):
        Approximate(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_deadline_ends_a_search_with_the_best_so_far(
    algorithm: str, collection: tuple[SparseMatrix, Segment]
) -> None:
    vectors, segment = collection
    query = random_query(np.random.default_rng(2), vectors.shape[1], 60)
    docids = np.arange(vectors.shape[0], dtype=np.uint32)
    everyone = dict(brute_force([(vectors, docids, None)], query, 10**9))
    got = search([segment], [None], query, 10, algorithm=algorithm, timeout=1e-9)  # type: ignore[arg-type]
    assert got.report.stopped
    assert not got.report.exact
    assert got.report.skipped >= max(everyone.values())
    assert all(everyone[docid] == score for docid, score in pairs(got))
    # The accumulators are clean again: the same thread's next search is whole and right.
    whole = search([segment], [None], query, 10, algorithm=algorithm, timeout=60.0)  # type: ignore[arg-type]
    assert pairs(whole) == brute_force([(vectors, docids, None)], query, 10)
    assert whole.report.exact


def test_a_deadline_within_a_search_never_corrupts_the_next(
    collection: tuple[SparseMatrix, Segment],
) -> None:
    """Whatever the moment, partial sums must not leak: the scratch memory is the thread's."""
    vectors, segment = collection
    rng = np.random.default_rng(4)
    docids = np.arange(vectors.shape[0], dtype=np.uint32)
    query = random_query(rng, vectors.shape[1], 300)
    expected = brute_force([(vectors, docids, None)], query, 50)
    for algorithm in ALGORITHMS:
        for timeout in 10 ** rng.uniform(-6, -2.5, 40):
            search([segment], [None], query, 50, algorithm=algorithm, timeout=float(timeout))
            assert pairs(search([segment], [None], query, 50, algorithm=algorithm)) == expected


def test_a_cancelled_search_raises_and_a_new_one_works(
    collection: tuple[SparseMatrix, Segment],
) -> None:
    vectors, segment = collection
    query = random_query(np.random.default_rng(3), vectors.shape[1], 20)
    cancel = Cancel()
    assert len(search([segment], [None], query, 5, cancel=cancel).docids) == 5
    cancel.set()
    with pytest.raises(SearchCancelled):
        search([segment], [None], query, 5, cancel=cancel)
    with pytest.raises(SearchCancelled):
        search_batch([segment], [None], [query] * 3, 5, threads=2, cancel=cancel)
    assert len(search([segment], [None], query, 5, cancel=Cancel()).docids) == 5


def test_another_thread_cancels_a_batch_that_would_take_minutes(
    collection: tuple[SparseMatrix, Segment],
) -> None:
    vectors, segment = collection
    query = random_query(np.random.default_rng(3), vectors.shape[1], 300)
    cancel = Cancel()
    threading.Timer(0.1, cancel.set).start()
    began = time.monotonic()
    with pytest.raises(SearchCancelled):
        search_batch(
            [segment],
            [None],
            [query] * 200_000,
            5,
            threads=1,
            algorithm="exhaustive",
            cancel=cancel,
        )
    assert time.monotonic() - began < 30  # 200,000 exhaustive searches take minutes


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_ends_a_batch() -> None:
    """The batch runs outside the GIL, where no Python signal handler gets a turn by itself."""
    code = """
    import signal
    import numpy as np
    from scipy import sparse
    from index.engine import search_batch
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
    from index.quantize import integer_query
    from index.segment import Segment
    rng = np.random.default_rng(0)
    vectors = sparse.random_array((4000, 200), density=0.2, format="csr", dtype=np.float32, rng=rng)
    docids = np.arange(4000, dtype=np.uint32)
    segment = Segment.in_memory(vectors, docids, list(map(str, docids)), scale=0.01)
    query = integer_query(np.arange(200), np.ones(200), n_terms=200, scale=0.01)
    print("ready", flush=True)
    try:
        search_batch([segment], [None], [query] * 1_000_000, 10, threads=2)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out == "interrupted\n"


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan")])
def test_a_timeout_without_meaning_is_refused(
    timeout: float, collection: tuple[SparseMatrix, Segment]
) -> None:
    query = random_query(np.random.default_rng(3), 900, 3)
    with pytest.raises(QueryError, match="timeout"):
        search([collection[1]], [None], query, 5, timeout=timeout)


def test_the_documents_of_a_term_are_those_of_its_column(
    collection: tuple[SparseMatrix, Segment],
) -> None:
    """Heads and tails alike; a term beyond the vocabulary is in no document."""
    vectors, segment = collection
    columns = vectors.tocsc()
    for term in (0, 1, 50, 450, 899):
        docids = columns.indices[columns.indptr[term] : columns.indptr[term + 1]]
        held = unpack(documents_with(segment, term), segment.n_docs)
        assert sorted(segment.docids[held].tolist()) == sorted(docids.tolist())
    assert not documents_with(segment, 900).any()


def test_bits_beyond_the_last_document_are_harmless() -> None:
    """The core is handed words by callers; no bit may make it read a document that is not there."""
    vectors = random_collection(np.random.default_rng(1), 33, 20, mean=6, levels=9)
    docids = np.arange(33, dtype=np.uint32)
    segment = make_segment(vectors, docids)
    query = random_query(np.random.default_rng(2), 20, 8)
    words = np.full(2, 0xFFFFFFFF, np.uint32)
    for algorithm in ALGORITHMS:
        got = search([segment], [words], query, 40, algorithm=algorithm)
        assert pairs(got) == brute_force([(vectors, docids, None)], query, 40)


@given(
    live=st.lists(st.booleans(), max_size=100),
    dead=st.lists(st.integers(0, 99), max_size=20),
)
def test_words_and_masks_say_the_same(live: list[bool], dead: list[int]) -> None:
    mask: npt.NDArray[np.bool_] = np.array(live, bool)
    words = pack(mask)
    assert unpack(words, len(mask)).tolist() == live
    assert positions_in(words, len(mask)).tolist() == np.flatnonzero(mask).tolist()
    assert np.array_equal(pack(np.ones(len(mask), bool)), everything(len(mask)))
    gone = np.array([d for d in dead if d < len(mask)], np.int64)
    mask[gone] = False
    assert np.array_equal(without(words, gone, len(mask)), pack(mask))
