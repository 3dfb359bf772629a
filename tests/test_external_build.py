"""Whichever way an index is built, it answers as the oracle does, inside its memory."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from oracle import SCALE, random_collection
from scipy import sparse

from index import Effort, Index, Pruning, Settings, build_index
from index.notes import notes_of
from index.pruning import prune_mass, prune_postings, prune_terms
from index.quantize import impacts, integer_query
from index.settings import Order
from lsr.encoders.bm25 import BM25Encoder
from lsr.types import Document, SparseMatrix

N_TERMS = 300


def build(
    path: Path,
    vectors: SparseMatrix,
    *,
    settings: Settings | None = None,
    memory: str = "1GiB",
    threads: int = 2,
    batch: int = 3000,
) -> bytes:
    """Build an index in batches; the bytes of its only segment."""
    n_docs = vectors.shape[0]
    with Index.create(path, n_terms=N_TERMS, max_weight=4.0, settings=settings) as index:
        with index.bulk("corpus", memory=memory, effort=Effort(threads=threads)) as bulk:
            for first in range(0, n_docs, batch):
                part = vectors[first : first + batch]
                bulk.add([Document(f"d{first + i}") for i in range(part.shape[0])], part)
        assert index.check().problems == ()
    (segment,) = (path / "segments").iterdir()
    return segment.read_bytes()


def assert_answers_are_those_of(path: Path, vectors: SparseMatrix, *, k: int = 25) -> None:
    """Against a scipy product of impacts and query weights."""
    integers = sparse.csr_array(
        (impacts(vectors.data, SCALE)[0].astype(np.int64), vectors.indices, vectors.indptr),
        shape=vectors.shape,
    )
    rng = np.random.default_rng(11)
    with Index.open(path) as index:
        for n in (1, 4, 12, 60):
            terms = np.sort(rng.choice(N_TERMS, n, replace=False))
            weights = rng.gamma(2.0, 1.0, n).astype(np.float32)
            query = sparse.csr_array((weights, terms, [0, n]), shape=(1, N_TERMS))
            asked = integer_query(terms, weights, n_terms=N_TERMS, scale=SCALE)
            dense = np.zeros(N_TERMS, np.int64)
            dense[asked.terms] = asked.weights
            scores = integers @ dense
            best = sorted(np.flatnonzero(scores), key=lambda row: (-scores[row], row))[:k]
            hits = index.search(query, k)
            assert hits.doc_ids == [f"d{row}" for row in best]
            assert hits.ranking.scores.tolist() == [int(scores[row]) for row in best]


@pytest.fixture(scope="module")
def collection() -> SparseMatrix:
    """Enough documents for the order and the grid to be made."""
    return random_collection(np.random.default_rng(5), 22_000, N_TERMS, mean=14, levels=60)


@pytest.mark.parametrize("order", ["none", "bp"])
def test_every_way_of_building_answers_as_the_oracle(
    tmp_path: Path, collection: SparseMatrix, order: Order
) -> None:
    """At once or from runs, with one thread or two: also the same bytes."""
    ways = {
        f"{memory} {threads}": build(
            tmp_path / f"{memory}{threads}",
            collection,
            settings=Settings(order=order),
            memory=memory,
            threads=threads,
        )
        for memory in ("1GiB", "8MiB")
        for threads in (1, 2)
    }
    assert len(set(ways.values())) == 1
    assert_answers_are_those_of(tmp_path / "1GiB1", collection)
    assert_answers_are_those_of(tmp_path / "8MiB2", collection)


@pytest.mark.parametrize("memory", ["1GiB", "4MiB"])
@pytest.mark.parametrize("share_or_n", [0.4, 30])
def test_lists_are_pruned_over_all_runs_as_at_once(
    tmp_path: Path, collection: SparseMatrix, memory: str, share_or_n: float
) -> None:
    """Ties go to the earlier document even where the list's postings lie in several runs."""
    vectors = sparse.csr_array(collection[:9000])
    vectors.data = vectors.data.astype(np.float16).astype(np.float32)  # as they are stored
    pruning = Pruning(terms=12, mass=0.9, postings=share_or_n)
    build(tmp_path / "i", vectors, settings=Settings(pruning=pruning), memory=memory, batch=700)
    by_document = prune_terms(prune_mass(vectors, 0.9), 12)
    expected = prune_postings(by_document, share_or_n)
    assert_answers_are_those_of(tmp_path / "i", expected)
    with Index.open(tmp_path / "i") as index:
        info = index.info()
        assert info["pruning"] == {"terms": 12, "mass": 0.9, "postings": share_or_n, "ratio": None}
        assert info["given_postings"] == vectors.nnz
        assert info["n_postings"] == expected.nnz
        kept = float(expected.data.astype(np.float64).sum()) / float(
            vectors.data.astype(np.float64).sum()
        )
        assert info["mass_kept"] == pytest.approx(kept, rel=1e-9)


def test_list_pruning_is_settled_by_the_first_build(
    tmp_path: Path, collection: SparseMatrix
) -> None:
    """Full merges prune what was added since by the same cuts, and never prune twice."""
    settings = Settings(order="none", pruning=Pruning(terms=9, postings=0.5))
    first, added = sparse.csr_array(collection[:4000]), sparse.csr_array(collection[4000:4600])
    build(tmp_path / "i", first, settings=settings)
    kept = prune_postings(prune_terms(first, 9), 0.5)
    whole = prune_terms(added, 9)
    with Index.open(tmp_path / "i") as index:
        index.add([Document(f"d{4000 + i}") for i in range(600)], added)
    assert_answers_are_those_of(tmp_path / "i", sparse.csr_array(sparse.vstack([kept, whole])))

    # The last posting that stayed is each list's cut; later documents with the same weight are out.
    least = np.full(N_TERMS, np.float32(np.inf))
    np.minimum.at(least, kept.indices, kept.data)
    held = np.bincount(kept.indices, minlength=N_TERMS) > 0
    cut = whole.copy()
    cut.data[(whole.data <= least[whole.indices]) & held[whole.indices]] = 0
    cut.eliminate_zeros()
    expected = sparse.csr_array(sparse.vstack([kept, cut]))
    for _ in range(2):
        with Index.open(tmp_path / "i") as index:
            index.delete([])
            index.merge()
        assert_answers_are_those_of(tmp_path / "i", expected)
    with Index.open(tmp_path / "i") as index:
        index.delete(["d0"])
        index.merge()  # rewrites everything
        assert index.info()["n_postings"] == expected.nnz - int(np.diff(expected.indptr)[0])


def test_another_share_finds_other_cuts(tmp_path: Path, collection: SparseMatrix) -> None:
    """Settings given to a later bulk build replace the recorded ones, and their cuts."""
    vectors = sparse.csr_array(collection[:4000])
    build(tmp_path / "i", vectors, settings=Settings(pruning=Pruning(postings=0.9)))
    with Index.open(tmp_path / "i") as index:
        chosen = Settings(pruning=Pruning(postings=0.5))
        with index.bulk("nothing new", settings=chosen):
            pass
        index.delete(["d0"])
        index.merge()
    kept = prune_postings(prune_postings(vectors, 0.9)[1:], 0.5)
    with Index.open(tmp_path / "i") as index:
        assert index.info()["pruning"]["postings"] == 0.5
        assert index.info()["n_postings"] == kept.nnz


def test_runs_pruned_otherwise_are_not_gone_on_with(
    tmp_path: Path, collection: SparseMatrix
) -> None:
    vectors = sparse.csr_array(collection[:2000])
    named = [Document(f"d{i}") for i in range(2000)]
    with Index.create(tmp_path / "i", n_terms=N_TERMS, max_weight=4.0) as index:
        with pytest.raises(RuntimeError), index.bulk("c") as bulk:
            bulk.add(named, vectors)
            bulk.flush()
            raise RuntimeError
        with index.bulk("c", settings=Settings(pruning=Pruning(terms=3))) as bulk:
            assert bulk.n_done == 0
            bulk.add(named, vectors)
        with index._catalog.reading() as connection:
            assert len(notes_of(connection)) == 1  # those of the abandoned run are gone
    assert_answers_are_those_of(tmp_path / "i", prune_terms(vectors, 3))


def test_rounding_errors_are_those_of_the_stored_weights(
    tmp_path: Path, collection: SparseMatrix
) -> None:
    rng = np.random.default_rng(4)
    vectors = sparse.csr_array(collection[:3000])
    vectors.data = rng.gamma(1.0, 1.0, vectors.nnz).astype(np.float32) + np.float32(0.001)
    for memory in ("1GiB", "1MiB"):
        build(tmp_path / memory, vectors, memory=memory, batch=500)
        weights = vectors.data.astype(np.float16).astype(np.float64)
        integers, n_saturated = impacts(vectors.data, SCALE)
        errors = np.abs(integers * SCALE - weights)
        before = np.sqrt(np.add.reduceat(weights**2, vectors.indptr[:-1]))
        after = np.sqrt(np.add.reduceat((integers * SCALE) ** 2, vectors.indptr[:-1]))
        with Index.open(tmp_path / memory) as index:
            info = index.info()
        assert n_saturated > 0
        assert info["saturated_share"] == n_saturated / vectors.nnz
        assert info["error_mean"] == pytest.approx(errors.mean(), rel=1e-9)
        assert info["error_max"] == pytest.approx(errors.max(), rel=1e-9)
        assert info["norm_error"] == pytest.approx(np.abs(after / before - 1).mean(), rel=1e-6)


KILLED = """
import os, signal, sys
import index.ingest
from index import build_index
from lsr.encoders.bm25 import BM25Encoder
from lsr.types import Document

path, point = sys.argv[1:]
index.ingest.BATCH_DOCUMENTS = 300
documents = [Document(f"d{i}", {"text": f"word{i % 7} common word{i} w{i % 31}"})
             for i in range(9000)]
encoder = BM25Encoder.fit(d.text() for d in documents)

def kill(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

if point in ("ordered", "invert", "_write_vectors"):
    import index.external
    setattr(index.external, point, kill)
    index.external.REORDER_MINIMUM = 1000
    index.external.affordable = lambda *a: (16, 1)  # 1 MiB would leave them as they come
elif point == "record":
    import index.merging
    index.merging.Written.record = kill
elif point == "collect":
    import index.bulk
    index.bulk.collect = kill
report = build_index(path, documents, encoder, source="killed", memory="1MiB")
print(report.n_resumed, report.n_docs)
"""


@pytest.mark.parametrize("point", ["ordered", "_write_vectors", "invert", "record", "collect"])
def test_a_build_killed_while_its_runs_are_merged_goes_on(tmp_path: Path, point: str) -> None:
    """Runs are durable: the second try encodes nothing, and its index is that of a quiet build."""
    documents = [
        Document(f"d{i}", {"text": f"word{i % 7} common word{i} w{i % 31}"}) for i in range(9000)
    ]
    encoder = BM25Encoder.fit(document.text() for document in documents)
    build_index(tmp_path / "quiet", documents, encoder, source="quiet")
    run = [sys.executable, "-c", KILLED, str(tmp_path / "i")]
    killed = subprocess.run([*run, point], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    assert not (tmp_path / "i").exists()
    again = subprocess.run([*run, "never"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert again.stdout == "9000 9000\n"
    (ours,) = (tmp_path / "i" / "segments").iterdir()
    (quiet,) = (tmp_path / "quiet" / "segments").iterdir()
    assert ours.read_bytes() == quiet.read_bytes()
    with Index.open(tmp_path / "i") as index:
        assert index.check().problems == ()


def test_an_interrupt_while_documents_are_ordered_keeps_the_runs(
    tmp_path: Path, collection: SparseMatrix
) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with Index.create(tmp_path / "i", n_terms=N_TERMS, max_weight=4.0) as index:
        with (
            pytest.raises(KeyboardInterrupt),
            index.bulk("c", memory="8MiB", effort=Effort(ordered=interrupt)) as bulk,
        ):
            for first in range(0, 22_000, 2000):
                part = collection[first : first + 2000]
                names = [Document(f"d{first + i}") for i in range(part.shape[0])]
                bulk.add(names, part)
        assert index.n_docs == 0
        with index.bulk("c", memory="8MiB") as bulk:
            assert bulk.n_done == 22_000
        assert index.n_docs == 22_000
    assert_answers_are_those_of(tmp_path / "i", collection)


MEASURED = """
import re, sys
from pathlib import Path
import numpy as np
from scipy import sparse
from index import Index
from lsr.types import Document

def status(key):
    return int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

def build(path, n_docs, memory):
    rng = np.random.default_rng(0)
    with Index.create(path, n_terms=5000, max_weight=4.0) as index:
        with index.bulk("corpus", memory=memory) as bulk:
            for first in range(0, n_docs, 2000):
                terms = np.sort(rng.integers(0, 4900, (2000, 100)), axis=1) + np.arange(100)
                weights = rng.gamma(2.0, 0.5, terms.size).astype(np.float32) + np.float32(0.01)
                starts = np.arange(0, terms.size + 1, 100)
                vectors = sparse.csr_array((weights, terms.ravel(), starts), shape=(2000, 5000))
                names = [Document(f"d{first + i}", {"text": "x" * 500}) for i in range(2000)]
                bulk.add(names, vectors)

folder = Path(sys.argv[1])
build(folder / "warm", 24_000, "8MiB")  # compiles everything
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = status("VmRSS")
build(folder / "real", 80_000, "64MiB")
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_build_stays_within_its_memory(tmp_path: Path) -> None:
    """Eight million postings, which take 240 MB at once, in 64 MiB and 20 MB for what every build
    needs (checksum buffers, SQLite's pages); mapped files count.
    """
    run = [sys.executable, "-c", textwrap.dedent(MEASURED), str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 * 2**20 + 20 * 10**6
    (segment,) = (tmp_path / "real" / "segments").iterdir()
    assert segment.stat().st_size > 56 * 10**6
