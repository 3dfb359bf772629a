"""The score cache and what stands on it: written in parts, damaged, resumed, extended, asked."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")

from lsr.errors import LsrError, ScoresError  # noqa: E402
from lsr.vectors import kept_vectors, update_vectors  # noqa: E402
from training.candidates import Candidates, limited, text_keys  # noqa: E402
from training.data import Pairs, Source  # noqa: E402
from training.scores import ScoreCache  # noqa: E402
from training.scoring import NewScores, update_cache  # noqa: E402

SOURCE = Source("tiny", "train", "0123456789abcdef", 0, 0, 0)


def make_pairs(n_queries: int, *, n_documents: int = 40, seed: int = 0) -> Pairs:
    """Random judgements: one to three positives, none to nine negatives a query."""
    rng = np.random.default_rng(seed)
    positives, negatives = [], []
    for _ in range(n_queries):
        chosen = rng.permutation(n_documents).astype(np.int32)
        n, m = rng.integers(1, 4), rng.integers(0, 10)
        positives.append(np.sort(chosen[:n]))
        negatives.append(np.sort(chosen[n : n + m]))
    return Pairs(
        documents=[f"document {i}" for i in range(n_documents)],
        queries=[f"query {i}" for i in range(n_queries)],
        source_of=np.zeros(n_queries, np.int32),
        positives=positives,
        negatives=negatives,
        sources=(SOURCE,),
    )


def hashed(pairs: Pairs, candidates: Candidates, salt: float, calls: list[slice]):
    """A teacher whose scores anybody can work out: a function of query and document number."""

    def score(block: slice) -> np.ndarray:
        calls.append(block)
        queries = np.repeat(np.arange(block.start, block.stop), candidates.lengths[block])
        a, b = candidates.offsets[block.start], candidates.offsets[block.stop]
        return (salt + queries * 100 + candidates.documents[a:b]).astype(np.float32)

    return NewScores(f"t{salt:g}", "dense", f"{int(salt):016x}", score, {"salt": salt})


def keys(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    return text_keys(pairs.queries), text_keys(pairs.documents)


def check(cache: ScoreCache, pairs: Pairs, candidates: Candidates, salt: float) -> None:
    column = cache.teacher(f"{int(salt):016x}")
    assert column is not None
    for q in range(len(pairs.queries)):
        mine = candidates.documents[candidates.offsets[q] : candidates.offsets[q + 1]]
        wanted = (salt + q * 100 + mine).astype(np.float32)
        np.testing.assert_array_equal(cache.scores(column.column, q, q + 1), wanted)
        key, documents = cache.keys(q)
        assert key == text_keys([pairs.queries[q]])[0]
        np.testing.assert_array_equal(documents, text_keys([pairs.documents[d] for d in mine]))


def test_candidates_are_all_positives_and_as_many_negatives_as_fit() -> None:
    pairs = make_pairs(30)
    few = limited(pairs, 5)
    candidates = Candidates.of(few)
    for q in range(30):
        mine = candidates.documents[candidates.offsets[q] : candidates.offsets[q + 1]]
        n = len(pairs.positives[q])
        np.testing.assert_array_equal(mine[:n], pairs.positives[q])
        assert set(mine[n:]) <= set(pairs.negatives[q])
        assert len(mine) == min(max(5, n), n + len(pairs.negatives[q]))
    again = limited(make_pairs(30), 5)
    assert all(map(np.array_equal, again.negatives, few.negatives))
    assert limited(pairs, 0) is pairs


def test_blocks_hold_whole_queries_and_every_query_once() -> None:
    candidates = Candidates.of(make_pairs(50))
    blocks = candidates.blocks(20)
    assert [q for block in blocks for q in range(block.start, block.stop)] == list(range(50))
    sizes = [candidates.offsets[b.stop] - candidates.offsets[b.start] for b in blocks]
    assert max(sizes) <= 20
    assert candidates.blocks(1) == [slice(q, q + 1) for q in range(50)]


def test_a_teacher_is_computed_once_and_others_are_added_beside_it(tmp_path: Path) -> None:
    pairs = make_pairs(60)
    candidates = Candidates.of(pairs)
    first: list[slice] = []
    one = hashed(pairs, candidates, 1000, first)
    path = tmp_path / "scores.arrow"
    cache = update_cache(path, candidates, *keys(pairs), [one], part_pairs=30, quiet=True)
    assert cache is not None
    assert len(first) > 5
    check(cache, pairs, candidates, 1000)
    second: list[slice] = []
    both = [one, hashed(pairs, candidates, 2000, second)]
    n = len(first)
    # Another part size: old batches and new blocks need not coincide.
    cache = update_cache(path, candidates, *keys(pairs), both, part_pairs=70, quiet=True)
    assert cache is not None
    assert len(first) == n
    assert len(second) > 2
    check(cache, pairs, candidates, 1000)
    check(cache, pairs, candidates, 2000)
    assert [t.name for t in cache.teachers] == ["t1000", "t2000"]
    assert cache.teachers[1].settings == {"salt": 2000}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scores.arrow"]


def test_two_teachers_of_one_name_get_a_column_each(tmp_path: Path) -> None:
    pairs = make_pairs(5)
    candidates = Candidates.of(pairs)
    one, two = (hashed(pairs, candidates, salt, []) for salt in (1, 2))
    two = NewScores(one.name, two.kind, two.fingerprint, two.score)
    path = tmp_path / "s.arrow"
    cache = update_cache(path, candidates, *keys(pairs), [one, two], quiet=True)
    assert cache is not None
    assert [t.name for t in cache.teachers] == ["t1", "t1"]
    check(cache, pairs, candidates, 1)
    check(cache, pairs, candidates, 2)


def test_any_arrow_reader_maps_the_file(tmp_path: Path) -> None:
    """A first-class file: no code of ours is needed to read it."""
    pairs = make_pairs(8)
    candidates = Candidates.of(pairs)
    path = tmp_path / "s.arrow"
    update_cache(path, candidates, *keys(pairs), [hashed(pairs, candidates, 7, [])], quiet=True)
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    assert table.column_names == ["query", "documents", "t7"]
    assert table["query"].to_pylist() == text_keys(pairs.queries).tolist()
    assert table["t7"][3].as_py() == [
        7 + 300 + d
        for d in Candidates.of(pairs)
        .documents[candidates.offsets[3] : candidates.offsets[4]]
        .tolist()
    ]


def test_other_data_are_refused(tmp_path: Path) -> None:
    pairs, other = make_pairs(6), make_pairs(6, seed=1)
    path = tmp_path / "s.arrow"
    candidates = Candidates.of(pairs)
    update_cache(path, candidates, *keys(pairs), [hashed(pairs, candidates, 7, [])], quiet=True)
    candidates = Candidates.of(other)
    with pytest.raises(ScoresError, match="scores of other queries or candidates"):
        update_cache(path, candidates, *keys(other), [hashed(other, candidates, 7, [])], quiet=True)


def test_a_deadline_stops_between_parts_and_the_next_call_goes_on(tmp_path: Path) -> None:
    pairs = make_pairs(40)
    candidates = Candidates.of(pairs)
    calls: list[slice] = []
    teacher = hashed(pairs, candidates, 3, calls)
    path = tmp_path / "s.arrow"

    def once(deadline: float | None) -> ScoreCache | None:
        return update_cache(
            path, candidates, *keys(pairs), [teacher],
            part_pairs=40, quiet=True, deadline=deadline,
        )  # fmt: skip

    assert once(time.monotonic() - 1) is None
    assert calls == []
    assert not path.exists()
    cache = once(None)
    assert cache is not None
    check(cache, pairs, candidates, 3)


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
import test_scores as t
from pathlib import Path
pairs = t.make_pairs(60)
candidates = t.Candidates.of(pairs)
teacher = t.hashed(pairs, candidates, 5, [])
def slow(block):
    print(block.start, flush=True)
    time.sleep(0.02)
    return teacher.score(block)
new = t.NewScores(teacher.name, teacher.kind, teacher.fingerprint, slow)
t.update_cache(Path({path!r}), candidates, *t.keys(pairs), [new], part_pairs=30, quiet=True)
"""


def test_sigkill_loses_at_most_the_part_at_work(tmp_path: Path) -> None:
    """A real process, really killed: what it had begun to print is there but for the last part."""
    path = tmp_path / "s.arrow"
    code = KILLED.format(tests=str(Path(__file__).parent), path=str(path))
    root = Path(__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        begun = [process.stdout.readline() for _ in range(6)]
        os.kill(process.pid, signal.SIGKILL)
        begun += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    kept = len(list((tmp_path / "s.arrow.parts").glob("*.f32")))
    assert kept >= len(begun) - 1 >= 5
    assert not path.exists()
    pairs = make_pairs(60)
    candidates = Candidates.of(pairs)
    calls: list[slice] = []
    cache = update_cache(
        path, candidates, *keys(pairs), [hashed(pairs, candidates, 5, calls)],
        part_pairs=30, quiet=True,
    )  # fmt: skip
    assert cache is not None
    check(cache, pairs, candidates, 5)
    assert len(calls) == len(candidates.blocks(30)) - kept


def test_a_damaged_part_is_computed_again(tmp_path: Path) -> None:
    pairs = make_pairs(40)
    candidates = Candidates.of(pairs)
    calls: list[slice] = []
    good = hashed(pairs, candidates, 3, calls)

    def failing(block: slice) -> np.ndarray:
        if len(calls) == 3:
            raise KeyboardInterrupt
        return good.score(block)

    path = tmp_path / "s.arrow"
    new = NewScores(good.name, good.kind, good.fingerprint, failing)
    with pytest.raises(KeyboardInterrupt):
        update_cache(path, candidates, *keys(pairs), [new], part_pairs=30, quiet=True)
    part = sorted((tmp_path / "s.arrow.parts").glob("*.f32"))[1]
    raw = bytearray(part.read_bytes())
    raw[5] ^= 1
    part.write_bytes(raw)
    calls.clear()
    cache = update_cache(path, candidates, *keys(pairs), [good], part_pairs=30, quiet=True)
    assert cache is not None
    check(cache, pairs, candidates, 3)
    assert len(calls) == len(candidates.blocks(30)) - 2


def test_no_flipped_byte_gives_other_scores(tmp_path: Path) -> None:
    """Every byte of the file in turn: a named error, or (padding) exactly the same content."""
    pairs = make_pairs(6, n_documents=8)
    candidates = Candidates.of(pairs)
    path = tmp_path / "s.arrow"
    update_cache(path, candidates, *keys(pairs), [hashed(pairs, candidates, 7, [])], quiet=True)
    raw = path.read_bytes()
    refused = 0
    for at in range(0, len(raw), 3):
        broken = bytearray(raw)
        broken[at] ^= 0x10
        path.write_bytes(broken)
        try:
            cache = ScoreCache.open(path)
        except ScoresError:
            refused += 1
            continue
        check(cache, pairs, candidates, 7)
        assert cache.teachers[0].name == "t7"
    assert refused > len(raw) // 3 * 0.5


@pytest.mark.parametrize("content", [b"", b"ARROW1", b"not a cache" * 100])
def test_something_else_is_no_cache(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.arrow"
    path.write_bytes(content)
    with pytest.raises(ScoresError, match=r"s\.arrow"):
        ScoreCache.open(path)
    with pytest.raises(ScoresError, match="there is no score cache"):
        ScoreCache.open(tmp_path / "none.arrow")


def test_an_infinite_score_is_refused(tmp_path: Path) -> None:
    pairs = make_pairs(4)
    candidates = Candidates.of(pairs)
    teacher = NewScores(
        "t", "dense", "ff", lambda b: np.full(int(candidates.lengths[b].sum()), np.inf, np.float32)
    )
    with pytest.raises(ScoresError, match="'t' gave an infinite score"):
        update_cache(tmp_path / "s.arrow", candidates, *keys(pairs), [teacher], quiet=True)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_vectors_are_embedded_once_and_come_back_in_any_order(tmp_path: Path, kind: str) -> None:
    from scipy import sparse

    rng = np.random.default_rng(3)
    wide = rng.normal(size=(25, 6)).astype(np.float32)
    held = wide if kind == "dense" else np.maximum(wide, 0)
    texts = [str(i) for i in range(25)]
    asked: list[str] = []

    def embed(part):
        asked.extend(part)
        rows = held[[int(text) for text in part]]
        return rows if kind == "dense" else sparse.csr_array(rows)

    def store():
        return update_vectors(tmp_path / "v", texts, embed, desc="t", quiet=True, block=10)

    first = store()
    assert asked == texts
    which = np.array([24, 0, 11, 11, 9], np.int32)
    for vectors in (first, store()):
        assert vectors is not None
        rows = vectors.rows(which)
        rows = rows if kind == "dense" else rows.toarray()
        # float16 keeps eleven bits of a dense value; sparse weights stay float32
        tolerance = 1e-3 if kind == "dense" else 0.0
        np.testing.assert_allclose(rows, held[which], rtol=tolerance, atol=tolerance)
    assert asked == texts
    late = time.monotonic() - 1
    none = update_vectors(tmp_path / "w", texts, embed, desc="t", quiet=True, deadline=late)
    assert none is None
    block = sorted((tmp_path / "v").iterdir())[1]
    raw = bytearray(block.read_bytes())
    raw[-1] ^= 1
    block.write_bytes(raw)
    with pytest.raises(ScoresError, match=block.name):
        store()
    block.unlink()
    assert store() is not None
    assert asked == texts + texts[10:20]
    with pytest.raises(ScoresError, match="blocks of another size"):
        update_vectors(tmp_path / "v", texts, embed, desc="t", quiet=True, block=5)
    assert issubclass(ScoresError, LsrError)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_kept_vectors_of_many_lists_are_embedded_once_a_text(tmp_path: Path, kind: str) -> None:
    """Twelve lists that overlap, with texts named twice: each text is asked for once, ever."""
    from scipy import sparse

    rng = np.random.default_rng(4)
    held = rng.integers(0, 5, (2_000, 6)).astype(np.float32)  # exact in float16
    asked: list[str] = []

    def embed(part):
        asked.extend(part)
        rows = held[[int(text) for text in part]]
        return rows if kind == "dense" else sparse.csr_array(rows)

    for size in (700, 1, 300, 256, 512, 900, 0, 40, 700, 513, 255, 1_000):
        drawn = rng.integers(0, len(held), size)
        texts = [str(row) for row in drawn]
        store = kept_vectors(tmp_path / "v", text_keys(texts), texts, embed, desc="t", quiet=True)
        assert store is not None
        which = rng.permutation(size)
        if size:
            rows = store.rows(which)
            rows = rows if kind == "dense" else rows.toarray()
            np.testing.assert_array_equal(rows, held[drawn[which]])
        assert len(set(asked)) == len(asked)
        assert set(texts) <= set(asked)


def test_kept_vectors_lose_a_block_to_a_kill_and_name_a_damaged_one(tmp_path: Path) -> None:
    texts = [str(i) for i in range(600)]
    asked: list[str] = []

    def embed(part, dies_at="none"):
        if dies_at in part:
            raise KeyboardInterrupt
        asked.extend(part)
        return np.array([[float(text), 1.0] for text in part], np.float32)

    def kept(of, embed=embed, **more):
        keys = text_keys(of)
        return kept_vectors(tmp_path / "v", keys, of, embed, desc="t", quiet=True, **more)

    with pytest.raises(KeyboardInterrupt):
        kept(texts, lambda part: embed(part, dies_at="300"))
    assert asked == texts[:256]
    assert kept(texts, deadline=time.monotonic() - 1) is None
    assert asked == texts[:256]
    store = kept(texts[::-1])
    assert asked[:256] == texts[:256]
    assert asked[256:] == texts[:255:-1]
    np.testing.assert_array_equal(store.rows(np.arange(600))[:, 0], np.arange(600.0)[::-1])
    block = min((tmp_path / "v").glob("0000-*/000000-*.npy"))
    raw = bytearray(block.read_bytes())
    raw[-1] ^= 1
    block.write_bytes(raw)
    with pytest.raises(ScoresError, match=block.name):
        kept(texts[:5])
    assert kept(texts[256:]) is not None  # they lie in other blocks
    block.unlink()
    assert kept(texts[:5]) is not None
    assert asked[600:] == texts[:5]


@pytest.mark.parametrize("place", [0, 40, -1])
@pytest.mark.parametrize("harm", ["flip", "cut"])
def test_damaged_keys_give_no_text_the_vector_of_another(
    tmp_path: Path, place: int, harm: str
) -> None:
    texts = [str(i) for i in range(30)]

    def kept():
        def embed(part):
            return np.array([[float(text), 1.0] for text in part], np.float32)

        return kept_vectors(tmp_path, text_keys(texts), texts, embed, desc="t", quiet=True)

    kept()
    (keys,) = tmp_path.glob("*/keys.bin")
    raw = bytearray(keys.read_bytes())
    raw[place] ^= 1
    keys.write_bytes(raw if harm == "flip" else raw[: place % len(raw)])
    with pytest.raises(ScoresError, match=rf"keys\.bin.*remove {keys.parent},"):
        kept()
    shutil.rmtree(keys.parent)
    assert kept() is not None
