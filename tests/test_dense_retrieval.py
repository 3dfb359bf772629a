"""Dense retrieval against brute force in numpy; its files against damage and strangers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from lsr.encoders.tokens import TextTokenizer
from lsr.errors import (
    EncoderMismatch,
    MissingExtra,
    QueryError,
    ScoresError,
    UsageError,
    VectorError,
)
from lsr.retrieval import Chunks, DenseIndex, DenseRetriever, Flat, Hnsw
from lsr.types import Document, Retriever

pytest.importorskip("faiss")

WORDS = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen"]


class WordVectors:
    """Each word is a direction: a text's vector counts its words, cut at four."""

    name = "words"
    document_prompt = ""

    def __init__(self, fingerprint: str = "0123456789abcdef") -> None:
        self.fingerprint = fingerprint
        self.n_embedded = 0
        vocabulary = {word: i for i, word in enumerate([*WORDS, "[UNK]"])}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        self.tokenizer = TextTokenizer.of(tokenizer, max_length=4)

    def embed_queries(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        rows = np.zeros((len(texts), len(WORDS) + 1), np.float32)
        for row, ids in zip(rows, self.tokenizer.ids(texts, special=False), strict=True):
            np.add.at(row, ids, 1.0)
        return rows

    def embed_documents(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        self.n_embedded += len(texts)
        return self.embed_queries(texts)


def documents(*texts: str) -> list[Document]:
    return [Document(f"d{i}", {"text": text}) for i, text in enumerate(texts)]


def brute_force(
    vectors: np.ndarray, owners: np.ndarray, query: np.ndarray, k: int
) -> list[tuple[int, float]]:
    """Every document's largest inner product, best first, ties by insertion: exact integers."""
    best: dict[int, float] = {}
    for vector, owner in zip(vectors.astype(int), owners.tolist(), strict=True):
        score = float(vector @ query.astype(int))
        best[owner] = max(score, best.get(owner, score))
    return sorted(best.items(), key=lambda item: (-item[1], item[0]))[:k]


def found(index: DenseIndex, query: np.ndarray, k: int) -> list[tuple[int, float]]:
    ((rows, scores),) = index.search(query[None].astype(np.float32), k)
    return list(zip(rows.tolist(), scores.tolist(), strict=True))


@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=60),
    k=st.integers(1, 70),
    spread=st.integers(1, 3),
)
def test_flat_is_brute_force_with_ties_and_several_vectors_a_document(
    seed: int, sizes: list[int], k: int, spread: int
) -> None:
    """Small integers tie all the time, and are exact in float32."""
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    vectors = rng.integers(-spread, spread + 1, (len(owners), 3)).astype(np.float32)
    index = DenseIndex.build(vectors, owners=owners)
    for query in rng.integers(-spread, spread + 1, (3, 3)):
        expected = brute_force(vectors, owners, query, k)
        assert found(index, query, k) == expected
        assert len(expected) == min(k, len(sizes))


def test_k_is_filled_though_one_document_holds_all_the_nearest_vectors() -> None:
    near, far = np.ones((500, 4), np.float32), -np.ones((3, 4), np.float32)
    owners = np.concatenate([np.zeros(500, np.int64), [1, 2, 3]])
    for search in (Flat(), Hnsw(m=4)):
        index = DenseIndex.build(np.concatenate([near, far]), owners=owners, search=search)
        assert [row for row, _ in found(index, np.ones(4), 4)] == [0, 1, 2, 3]


def test_copies_tie_wherever_they_lie_and_however_many_queries_are_asked() -> None:
    """BLAS adds the last columns of a block in another order, so copies differed by a bit."""
    rng = np.random.default_rng(1)
    one = rng.normal(size=(1, 67)).astype(np.float32)
    vectors = np.concatenate([one, rng.normal(size=(400, 67)).astype(np.float32), one, one])
    index = DenseIndex.build(vectors)
    queries = one + 0.01 * rng.normal(size=(64, 67)).astype(np.float32)
    for rows, scores in index.search(queries, 3):
        assert rows.tolist() == [0, 401, 402]
        assert len(set(scores.tolist())) == 1
    (alone,) = index.search(queries[:1], 3)
    assert alone[1].tolist() == index.search(queries, 3)[0][1].tolist()


def test_hnsw_finds_nearly_all_and_more_with_a_wider_beam() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3000, 24)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = rng.normal(size=(50, 24)).astype(np.float32)
    exact = DenseIndex.build(vectors).search(queries, 10)

    def recall(search: Hnsw) -> float:
        answers = DenseIndex.build(vectors, search=search).search(queries, 10)
        pairs = zip(exact, answers, strict=True)
        return float(np.mean([len(np.intersect1d(a[0], b[0])) / 10 for a, b in pairs]))

    narrow, wide = recall(Hnsw(m=8, ef_search=1)), recall(Hnsw(m=16, ef_search=200))
    assert narrow < wide
    assert wide > 0.97


def test_the_same_vectors_give_the_same_graph() -> None:
    import faiss

    vectors = np.random.default_rng(2).normal(size=(500, 8)).astype(np.float32)
    one, two = (
        faiss.serialize_index(DenseIndex.build(vectors, search=Hnsw(m=4)).native) for _ in range(2)
    )
    assert (one == two).all()


def test_a_retriever_answers_in_names_and_the_vectors_are_made_once(tmp_path: Path) -> None:
    corpus = documents("ant bee", "cat", "bee bee", "")
    encoder = WordVectors()
    for _ in range(2):
        retriever = DenseRetriever.over(corpus, encoder, folder=tmp_path)
        assert isinstance(retriever, Retriever)
        run = retriever.search({"q1": "bee", "q2": "cat"}, 3)
        assert list(run["q1"]) == ["d2", "d0", "d1"]
        assert list(run["q2"]) == ["d1", "d0", "d2"]  # those at 0 tie, and stand as they came
        assert encoder.n_embedded == len(corpus)
    assert len(retriever.search({}, 3)) == 0


def test_an_empty_corpus_answers_with_nothing(tmp_path: Path) -> None:
    retriever = DenseRetriever.over([], WordVectors(), folder=tmp_path)
    assert dict(retriever.search({"q": "ant"}, 5)) == {"q": {}}


def test_the_best_chunk_counts_where_a_cut_document_loses_its_tail(tmp_path: Path) -> None:
    """The network reads four words: what stands behind them is found in chunks alone."""
    corpus = documents("ant ant ant ant bee cat eel fox", "dog fox", "gnu")
    cut = DenseRetriever.over(corpus, WordVectors(), folder=tmp_path)
    whole = DenseRetriever.over(
        corpus, WordVectors(), folder=tmp_path, chunks=Chunks(length=3, overlap=1)
    )
    assert list(cut.search({"q": "fox eel"}, 1)["q"]) == ["d1"]
    assert whole.search({"q": "fox eel"}, 3)["q"] == pytest.approx(
        {"d0": 2.0, "d1": 1.0, "d2": 0.0}
    )
    assert whole.index.n_vectors == 6
    assert cut.corpus != whole.corpus


def test_chunks_longer_than_the_encoder_reads_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="reads 4 at most"):
        DenseRetriever.over(
            documents("ant"), WordVectors(), folder=tmp_path, chunks=Chunks(length=5, overlap=1)
        )


@pytest.mark.parametrize("search", [Flat(), Hnsw(m=4, ef_construction=20, ef_search=30)])
def test_what_is_saved_loads_and_answers_alike(tmp_path: Path, search) -> None:
    corpus = documents(*(" ".join([a, b]) for a in WORDS for b in WORDS))
    made = DenseRetriever.over(corpus, WordVectors(), folder=tmp_path, search=search)
    made.save(tmp_path / "kept.npz")
    loaded = DenseRetriever.load(tmp_path / "kept.npz", WordVectors(), corpus=made.corpus)
    assert loaded.index.how == search
    queries = {word: word for word in WORDS}
    assert dict(loaded.search(queries, 20)) == dict(made.search(queries, 20))


def test_a_graph_is_built_once_and_searched_with_any_beam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = documents("ant bee", "cat", "bee bee")
    DenseRetriever.over(corpus, WordVectors(), folder=tmp_path, search=Hnsw(m=4))
    monkeypatch.setattr(DenseIndex, "build", None)  # not called again
    again = DenseRetriever.over(
        corpus, WordVectors(), folder=tmp_path, search=Hnsw(m=4, ef_search=7)
    )
    assert again.index.how == Hnsw(m=4, ef_search=7)
    assert list(again.search({"q": "bee"}, 1)["q"]) == ["d2"]


def test_a_saved_index_refuses_other_encoders_and_corpora(tmp_path: Path) -> None:
    made = DenseRetriever.over(documents("ant"), WordVectors(), folder=tmp_path)
    made.save(path := tmp_path / "kept.npz")
    with pytest.raises(EncoderMismatch, match="made by 'words'"):
        DenseRetriever.load(path, WordVectors("fedcba9876543210"))
    with pytest.raises(ScoresError, match="index the documents anew"):
        DenseRetriever.load(path, WordVectors(), corpus="0" * 16)
    with pytest.raises(ScoresError, match="there is no dense index"):
        DenseRetriever.load(tmp_path / "other.npz", WordVectors())


def test_one_flipped_bit_anywhere_in_a_saved_index_is_noticed(tmp_path: Path) -> None:
    made = DenseRetriever.over(documents("ant bee", "cat"), WordVectors(), folder=tmp_path)
    made.save(path := tmp_path / "kept.npz")
    raw = path.read_bytes()
    expected = dict(made.search({"q": "ant"}, 2))
    noticed = 0
    for at in range(0, len(raw), 7):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :])
        try:
            loaded = DenseRetriever.load(path, WordVectors())
        except ScoresError:
            noticed += 1
        else:  # a bit that nothing reads, such as the date of a member
            assert dict(loaded.search({"q": "ant"}, 2)) == expected
    assert noticed > len(raw) // 7 // 2
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ScoresError, match="damaged"):
        DenseRetriever.load(path, WordVectors())


def test_vectors_and_numbers_without_meaning_are_refused() -> None:
    vectors = np.ones((3, 2), np.float32)
    index = DenseIndex.build(vectors)
    with pytest.raises(QueryError, match="k = 0"):
        index.search(vectors, 0)
    with pytest.raises(VectorError, match=r"wanted \(rows, 2\)"):
        index.search(np.ones((1, 3), np.float32), 1)
    with pytest.raises(VectorError, match="finite"):
        DenseIndex.build(vectors * np.float32(np.inf))
    for owners in ([0, 0], [0, 2, 3], [1, 2, 3], [0, 1, 0]):
        with pytest.raises(VectorError, match="without a gap"):
            DenseIndex.build(vectors, owners=np.array(owners))
    with pytest.raises(UsageError, match="m of at least 2"):
        Hnsw(m=1)


def test_without_faiss_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    encoder = WordVectors()
    with pytest.raises(MissingExtra, match=r"lsr-search\[dense\]"):
        DenseRetriever.over(documents("ant"), encoder, folder=tmp_path)
    assert not encoder.n_embedded
