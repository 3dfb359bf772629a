"""Document order: always a permutation, whatever it may cost, and one that puts likes together."""

import math
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import SCALE, random_collection

from index import Effort, Index, Settings, _core
from index.builder import build_arrays
from index.ordering import ORDER_TERMS, affordable
from index.segment import write_segment
from lsr.errors import UsageError
from lsr.types import Document, SparseMatrix

U32 = npt.NDArray[np.uint32]


def order_of(
    rows: U32, n_terms: int, threads: int = 1, seconds: float = math.inf, progress: object = None
) -> list[int]:
    return _core.order_documents(rows.copy(), n_terms, threads, seconds, progress).tolist()


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_docs=st.sampled_from([0, 1, 31, 32, 33, 64, 65, 97, 1000]),
    width=st.sampled_from([1, 3, 9]),
    seconds=st.sampled_from([0.0, 0.0005, math.inf]),
    threads=st.sampled_from([1, 2, 5]),
)
def test_any_order_of_documents_is_a_permutation(
    seed: int, n_docs: int, width: int, seconds: float, threads: int
) -> None:
    """Empty documents, repeated terms, one block or no time at all."""
    rows = np.random.default_rng(seed).integers(0, 41, (n_docs, width)).astype(np.uint32)
    assert sorted(order_of(rows, 40, threads, seconds)) == list(range(n_docs))


def topics(n_topics: int, size: int, rng: np.random.Generator) -> tuple[U32, npt.NDArray[np.int64]]:
    """Documents of topics that share no term, in random order."""
    topic = rng.permutation(np.repeat(np.arange(n_topics), size))
    rows = topic[:, None] * 12 + rng.integers(0, 12, (len(topic), 8))
    return rows.astype(np.uint32), topic


def test_similar_documents_come_to_lie_in_the_same_blocks() -> None:
    """Sixty-four topics of a block each: nearly every block ends with a single topic."""
    rows, topic = topics(64, 32, np.random.default_rng(1))
    blocks = topic[order_of(rows, 64 * 12)].reshape(-1, 32)
    n_pure = sum(len(set(block.tolist())) == 1 for block in blocks)
    assert n_pure >= 60
    given_blocks = topic.reshape(-1, 32)
    assert min(len(set(block.tolist())) for block in given_blocks) > 15


def test_the_order_does_not_depend_on_the_threads() -> None:
    """Large enough that threads share the first ranges and their selection by digits."""
    rows, _ = topics(900, 50, np.random.default_rng(2))
    orders = [order_of(rows, 900 * 12, threads) for threads in (1, 2, 3, 8)]
    assert orders[0] == orders[1] == orders[2] == orders[3]


def reference_split(rows: U32, rounds: int, settled: int) -> list[int]:
    """The paper's halving in plain Python, sorted pair swaps and all: the left half's documents."""
    n = len(rows)
    half = (n // 2 + 31) // 32 * 32
    left, right = list(range(half)), list(range(half, n))

    def bits(size: int, df: int) -> float:
        return df * (math.log2(size) - math.log2(df + 1))

    for _ in range(rounds):
        df_left, df_right = {}, {}
        for df, side in ((df_left, left), (df_right, right)):
            for doc in side:
                for term in rows[doc].tolist():
                    df[term] = df.get(term, 0) + 1

        def saved(doc: int, of: dict[int, int], to: dict[int, int], n_of: int, n_to: int) -> float:
            total = 0.0
            for term in rows[doc].tolist():
                a, b = of[term], to.get(term, 0)
                total += bits(n_of, a) + bits(n_to, b) - bits(n_of, a - 1) - bits(n_to, b + 1)
            return total

        from_left = [(saved(d, df_left, df_right, half, n - half), d) for d in left]
        from_right = [(saved(d, df_right, df_left, n - half, half), d) for d in right]
        from_left.sort(reverse=True)
        from_right.sort(reverse=True)
        n_moved = sum(a + b > 1e-6 for (a, _), (b, _) in zip(from_left, from_right, strict=False))
        moved_right = {d for _, d in from_left[:n_moved]}
        moved_left = {d for _, d in from_right[:n_moved]}
        left = [d for d in left if d not in moved_right] + list(moved_left)
        right = [d for d in right if d not in moved_left] + list(moved_right)
        if n_moved * settled <= n:
            break
    return left


def test_the_first_halving_is_that_of_the_paper() -> None:
    """Sixty-four documents are halved once; weights are generic, so no gains tie at the cut."""
    agreed = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = np.stack([rng.choice(30, 6, replace=False) for _ in range(64)]).astype(np.uint32)
        wanted = set(reference_split(rows, rounds=20, settled=1000))
        agreed += set(order_of(rows, 30)[:32]) == wanted
    assert agreed >= 15  # documents with equal gains may be chosen differently


def test_progress_ends_at_its_total_and_never_falls() -> None:
    rows, _ = topics(900, 50, np.random.default_rng(3))
    seen: list[tuple[int, int]] = []
    order_of(rows, 900 * 12, 2, math.inf, lambda done, total: seen.append((done, total)))
    assert seen
    assert len({total for _, total in seen}) == 1
    dones = [done for done, _ in seen]
    assert dones == sorted(dones)
    assert dones[-1] <= seen[0][1]


def test_what_progress_raises_ends_the_ordering() -> None:
    rows, _ = topics(900, 50, np.random.default_rng(4))

    def refuse(done: int, total: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        order_of(rows, 900 * 12, 2, math.inf, refuse)


def test_an_interrupt_ends_the_ordering() -> None:
    # A background shell starts its children with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    rows, _ = topics(9000, 50, np.random.default_rng(5))
    threading.Timer(0.15, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.perf_counter()
    try:
        with pytest.raises(KeyboardInterrupt):
            for _ in range(50):  # a fast machine orders it in less than the timer
                order_of(rows, 9000 * 12, 2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.perf_counter() - started < 20


def test_terms_and_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="exceeds n_terms"):
        order_of(np.array([[41]], np.uint32), 40)
    with pytest.raises(ValueError, match="at most 255"):
        order_of(np.zeros((1, 256), np.uint32), 40)


def test_less_memory_takes_fewer_terms_then_fewer_threads_then_none() -> None:
    """Every choice fits what it was given, counted as the docstring counts."""
    assert affordable(10**6, 30_000, Effort(threads=4)) == (ORDER_TERMS, 4)
    chosen = [
        affordable(10**6, 30_000, Effort(threads=4, memory=m * 10**6)) for m in range(60, 400)
    ]
    widths = [width for width, _ in chosen]
    assert widths == sorted(widths)
    assert widths[0] == 0
    assert widths[-1] == ORDER_TERMS
    for megabytes, (width, threads) in zip(range(60, 400), chosen, strict=True):
        used = width and 10**6 * (8 * width + 33) + threads * (20 * 30_000 + 2**18)
        assert used <= megabytes * 10**6
    assert affordable(1000, 10**6, Effort(threads=4, memory=10**8))[1] == 1


def test_no_more_threads_are_used_than_four_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """`lsr index --threads 99999` of five documents took 13.5 GB and was killed."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    wanted = {None: 2, 1: 1, 8: 8, 9: 8, 99_999: 8}
    assert {n: Effort(threads=n).n_threads for n in wanted} == wanted


def test_no_more_threads_are_used_than_there_is_work(monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[int] = []

    class Counted(ThreadPoolExecutor):
        def __init__(self, n: int) -> None:
            pools.append(n)
            super().__init__(n)

    for module in ("builder", "inversion"):
        monkeypatch.setattr(f"index.{module}.ThreadPoolExecutor", Counted)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    vectors = random_collection(np.random.default_rng(6), 5, 60, mean=9, levels=30)
    docids = np.arange(5, dtype=np.uint32)
    made = build_arrays(vectors, docids, scale=SCALE, effort=Effort(threads=64))
    assert pools == [1, 5]
    one = build_arrays(vectors, docids, scale=SCALE, effort=Effort(threads=1))
    assert all(np.array_equal(made.arrays[name], one.arrays[name]) for name in one.arrays)


def test_a_build_without_time_keeps_the_order_in_which_documents_came() -> None:
    vectors = random_collection(np.random.default_rng(6), 500, 60, mean=9, levels=30)
    docids = np.arange(500, dtype=np.uint32)
    made = build_arrays(vectors, docids, scale=SCALE, reorder=True, effort=Effort(seconds=0.0))
    assert made.order.tolist() == docids.tolist()


@pytest.mark.parametrize("reorder", [False, True])
def test_one_and_two_threads_write_the_same_bytes(tmp_path: Path, reorder: bool) -> None:
    vectors = random_collection(np.random.default_rng(7), 20_000, 400, mean=12, levels=30)
    docids = np.arange(20_000, dtype=np.uint32)
    names = [f"d{i}" for i in range(20_000)]
    for threads in (1, 2):
        write_segment(
            tmp_path / str(threads), vectors, docids, names, scale=SCALE, reorder=reorder,
            effort=Effort(threads=threads),
        )  # fmt: skip
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def n_pairs(vectors: SparseMatrix) -> int:
    """Distinct (term, block) pairs of rows that begin at position 21,000."""
    block = np.repeat((np.arange(vectors.shape[0]) + 21_000) // 32, np.diff(vectors.indptr))
    return len(np.unique(block.astype(np.int64) * vectors.shape[1] + vectors.indices))


def add(index: Index, first: int, n: int) -> None:
    vectors = random_collection(np.random.default_rng(first), n, 200, mean=6, levels=30)
    with index.bulk(f"from {first}") as bulk:
        bulk.add([Document(f"d{first + i}") for i in range(n)], vectors)


def test_small_merges_append_and_large_ones_order_anew(tmp_path: Path) -> None:
    """A quarter of the documents may follow the order; beyond that all are put in order."""
    with Index.create(tmp_path / "i", n_terms=200, max_weight=4.0) as index:
        add(index, 0, 21_000)
        (view,) = index.refresh().views
        before = view.segment.docids.copy()
        assert before.tolist() != sorted(before.tolist())
        assert index.info()["n_ordered"] == 21_000

        add(index, 21_000, 3_000)
        index.merge()
        (view,) = index.refresh().views
        assert view.segment.docids[:21_000].tolist() == before.tolist()
        appended = view.segment.docids[21_000:]
        assert sorted(appended.tolist()) == list(range(21_001, 24_001))
        rows = view.segment.vectors(np.arange(21_000, 24_000))
        assert n_pairs(rows) < 0.99 * n_pairs(rows[np.argsort(appended)])
        assert index.info()["n_ordered"] == 21_000

        add(index, 24_000, 6_000)
        index.merge()
        (view,) = index.refresh().views
        assert view.segment.docids[:21_000].tolist() != before.tolist()
        assert index.info()["n_ordered"] == 30_000
        assert index.check().problems == ()


def test_appending_leaves_deleted_documents_out(tmp_path: Path) -> None:
    with Index.create(tmp_path / "i", n_terms=200, max_weight=4.0) as index:
        add(index, 0, 21_500)
        (view,) = index.refresh().views
        before = view.segment.docids.copy()
        index.delete([f"d{i}" for i in range(1000)])
        add(index, 30_000, 100)
        index.merge()
        (view,) = index.refresh().views
        left = before[before > 1000]  # docids begin with 1
        assert view.segment.docids[:20_500].tolist() == left.tolist()
        assert index.info()["n_ordered"] == 20_500


def test_an_index_without_order_keeps_documents_as_they_come(tmp_path: Path) -> None:
    """Also through merges, and after the directory was opened again."""
    chosen = Settings(order="none")
    with Index.create(tmp_path / "i", n_terms=200, max_weight=4.0, settings=chosen) as index:
        add(index, 0, 20_500)
    with Index.open(tmp_path / "i") as index:
        add(index, 20_500, 20_500)
        index.merge()
        (view,) = index.refresh().views
        assert np.all(view.segment.docids[1:] > view.segment.docids[:-1])
        assert (index.info()["order"], index.info()["n_ordered"]) == ("none", 0)


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(UsageError, match="'random' is none of none, bp"):
        Settings(order="random")  # type: ignore[arg-type]
