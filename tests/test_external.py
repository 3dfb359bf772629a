"""Merging and building beyond memory: the same bytes as at once, inside the memory given."""

import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import SCALE, brute_force, random_collection, random_query
from scipy import sparse

from index import Effort, Index
from index.columns import Column
from index.engine import search
from index.external import merge_segments
from index.live import pack
from index.segment import Segment, write_segment
from index.snapshot import View
from lsr.errors import DiskFull, IndexCorrupt
from lsr.types import Document, SparseMatrix


def names(docids: npt.NDArray[np.uint32]) -> list[str]:
    return [f"dé-{docid}" * (docid % 3 + 1) for docid in docids.tolist()]


def languages(docids: npt.NDArray[np.uint32]) -> dict[str, Column]:
    values = [(None, "en", "de", "ελ")[docid % 4] for docid in docids.tolist()]
    return {
        "lang": Column.from_values("keyword", values),
        "year": Column.from_values("int", [int(docid) // 7 for docid in docids]),
    }


@settings(deadline=None, max_examples=15, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.sampled_from([0, 1, 40, 700]), min_size=1, max_size=4),
    live_share=st.sampled_from([None, 0.0, 0.6]),
    passages=st.booleans(),
    memory=st.sampled_from([1, 3000, 2 * 10**6, 10**9]),
    threads=st.sampled_from([1, 3]),
)
def test_a_merge_writes_the_bytes_of_a_segment_built_at_once(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    sizes: list[int],
    live_share: float | None,
    passages: bool,
    memory: int,
    threads: int,
) -> None:
    """Whatever the sources, their deletions, the memory and the threads. (Too little memory to
    order documents leaves them as they are, so then neither is ordered.)
    """
    reorder = memory > 10**6
    folder = tmp_path_factory.mktemp("merge")
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(sum(sizes)).astype(np.uint32) * np.uint32(2)
    views, kept, kept_ids = [], [], []
    for i, size in enumerate(sizes):
        docids, numbers = np.sort(numbers[:size]), numbers[size:]
        vectors = random_collection(rng, size, 90, mean=12, levels=30)
        segment = Segment.in_memory(
            vectors,
            docids,
            names(docids),
            scale=SCALE,
            groups=docids // np.uint32(3) if passages else None,
            columns=languages(docids),
            keep_vectors=True,
            reorder=bool(i % 2),
        )
        alive = np.ones(size, bool) if live_share is None else rng.random(size) < live_share
        live = None if live_share is None else pack(alive)
        views.append(View(i, segment, live))
        here = np.sort(segment.docids[alive])
        kept_ids.append(here)
        kept.append(vectors[np.searchsorted(docids, here)])
    docids = np.concatenate(kept_ids)
    order = np.argsort(docids)
    docids = docids[order]
    merged = folder / "merged.seg"
    written = merge_segments(
        merged, views, scale=SCALE, memory=memory, reorder=reorder, effort=Effort(threads=threads)
    )
    if not len(docids):
        assert written is None
        assert not merged.exists()
        return
    at_once = folder / "at-once.seg"
    wanted = write_segment(
        at_once,
        sparse.csr_array(sparse.vstack(kept, "csr"))[order],
        docids,
        names(docids),
        scale=SCALE,
        groups=docids // np.uint32(3) if passages else None,
        columns=languages(docids),
        reorder=reorder,
    )
    assert merged.read_bytes() == at_once.read_bytes()
    assert written is not None
    assert written.stats == wanted
    assert sorted(path.name for path in folder.iterdir()) == ["at-once.seg", "merged.seg"]
    with Segment.open(merged) as segment:
        segment.verify()


def test_a_source_without_stored_vectors_is_merged_from_its_postings(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    vectors = random_collection(rng, 400, 60, mean=9, levels=30)
    docids = np.arange(400, dtype=np.uint32)
    source = Segment.in_memory(vectors, docids, names(docids), scale=SCALE, keep_vectors=False)
    merge_segments(tmp_path / "m.seg", [View(0, source, None)], scale=SCALE, memory=10**6)
    query = random_query(rng, 60, 9)
    with Segment.open(tmp_path / "m.seg") as merged:
        found = search([merged], [None], query, 20)
        expected = brute_force([(vectors, docids, None)], query, 20)
        assert list(zip(*(part.tolist() for part in found[:2]), strict=True)) == expected


def documents(n: int) -> list[Document]:
    return [Document(f"d{i}") for i in range(n)]


def test_a_build_beyond_its_memory_becomes_one_ordered_segment(tmp_path: Path) -> None:
    """Runs that are flushed on the way have no grid; the merge at the end gives them one."""
    rng = np.random.default_rng(2)
    vectors = random_collection(rng, 30_000, 300, mean=20, levels=60)
    with Index.create(tmp_path / "x", n_terms=300, max_weight=4.0) as index:
        n_runs = []
        with index.bulk("corpus", memory="5MiB") as bulk:
            for first in range(0, 30_000, 3000):
                bulk.add(
                    [Document(f"d{first + i}") for i in range(3000)], vectors[first : first + 3000]
                )
                n_runs.append(len(list((tmp_path / "x" / "segments").iterdir())))
        assert max(n_runs) > 3
        (whole,) = [view for view in index.refresh().views if view.number >= 0]
        assert not whole.segment.is_run
        assert not np.array_equal(whole.segment.docids, np.sort(whole.segment.docids))
        assert index.check().problems == ()
        assert len(list((tmp_path / "x" / "segments").iterdir())) == 1
        query = sparse.csr_array(vectors[7:8])
        scores = (vectors @ query.T).toarray().ravel()
        assert index.search(query, 1).doc_ids == [f"d{int(np.argmax(scores))}"]


def test_documents_that_memory_cannot_order_are_not_called_ordered(tmp_path: Path) -> None:
    """30,000 documents need 3 MB to be ordered; told so, a later merge orders them after all."""
    vectors = random_collection(np.random.default_rng(6), 30_000, 300, mean=20, levels=60)
    with Index.create(tmp_path / "x", n_terms=300, max_weight=4.0) as index:
        with index.bulk("corpus", memory="2MiB") as bulk:
            for first in range(0, 30_000, 3000):
                names = [Document(f"d{first + i}") for i in range(3000)]
                bulk.add(names, vectors[first : first + 3000])
        assert index.info()["n_ordered"] == 0
        index.delete(["d5"])
        index.merge(memory="64MiB")
        assert index.info()["n_ordered"] == 29_999


def test_a_build_of_a_single_run_is_finished_too(tmp_path: Path) -> None:
    """The budget may be used up by the very last batch: its run must not stay as it is."""
    vectors = random_collection(np.random.default_rng(3), 9000, 100, mean=8, levels=9)
    with Index.create(tmp_path / "x", n_terms=100, max_weight=4.0) as index:
        with index.bulk("corpus", memory="1MiB") as bulk:
            bulk.add(documents(9000), vectors)
            (run,) = (tmp_path / "x" / "segments").iterdir()
            with Segment.open(run) as segment:
                assert segment.is_run
        (whole,) = index.refresh().views
        assert not whole.segment.is_run


def test_a_damaged_source_is_never_given_fresh_checksums(tmp_path: Path) -> None:
    vectors = random_collection(np.random.default_rng(4), 300, 50, mean=9, levels=9)
    docids = np.arange(300, dtype=np.uint32)
    source = tmp_path / "source.seg"
    write_segment(source, vectors, docids, names(docids), scale=SCALE)
    damaged = bytearray(source.read_bytes())
    damaged[-100] ^= 1
    source.write_bytes(damaged)
    with Segment.open(source) as segment, pytest.raises(IndexCorrupt, match="checksum"):
        merge_segments(tmp_path / "m.seg", [View(0, segment, None)], scale=SCALE, memory=10**6)
    assert [path.name for path in tmp_path.iterdir()] == ["source.seg"]


def test_a_disk_without_room_is_said_before_anything_is_mapped(tmp_path: Path) -> None:
    """A write into a map of a full disk would be a bus error; the room is taken first."""
    vectors: SparseMatrix = random_collection(np.random.default_rng(5), 3000, 50, mean=9, levels=9)
    docids = np.arange(3000, dtype=np.uint32)
    source = Segment.in_memory(vectors, docids, names(docids), scale=SCALE)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(DiskFull, match="no room"):
            merge_segments(tmp_path / "m.seg", [View(0, source, None)], scale=SCALE, memory=10**6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts private maps on Linux")
def test_a_merge_of_more_than_its_memory_fits_a_limit_on_private_memory(tmp_path: Path) -> None:
    """Six million postings hold 24 MB of vectors and 20 MB of sections; the merge gets 4 MiB and
    may map no more than 60 MB of private memory beyond what its libraries took."""
    code = f"""
    import resource
    import numpy as np
    from pathlib import Path
    from scipy import sparse
    from index.external import merge_segments
    from index.segment import Segment, write_segment
    from index.snapshot import View

    folder = Path({str(tmp_path)!r})
    rng = np.random.default_rng(0)

    def view(number, n, density):
        m = sparse.random_array((n, 2000), density=density, format="csr", dtype="f4", rng=rng)
        ids = np.arange(number * n, (number + 1) * n, dtype=np.uint32)
        path = folder / f"{{number}}.seg"
        write_segment(path, m, ids, list(map(str, ids)), scale=0.1, reorder=False, grid=False)
        return View(number, Segment.open(path), None)

    merge_segments(folder / "m", [view(0, 9000, 0.02)], scale=0.1, memory=2**20)
    views = [view(1, 30000, 0.05), view(2, 30000, 0.05)]
    lines = open("/proc/self/status").read().splitlines()
    used = next(int(line.split()[1]) for line in lines if line.startswith("VmData")) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + 60 * 10**6, used + 60 * 10**6))
    merged = merge_segments(folder / "m", views, scale=0.1, memory=2**22)
    print(merged.stats.n_postings)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert run.stdout == "6000000\n", run.stderr[-2000:]
