"""`lsr doctor`: an illness planted in an index that is healthy otherwise is found, and no other."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from oracle import random_collection
from scipy import sparse

from index import Approximate, Index, Pruning, Settings, _core, build_index
from index.doctor import CHECKS, Case, Finding, Questions, examine, open_case
from index.doctor.drift import check_drift, divergence, drift, implied_shares
from index.doctor.hits import query_hits
from index.doctor.lists import check_lists, heavy_lists
from index.doctor.questions import question
from index.doctor.recall import check_recall, reached
from index.doctor.trial import sample
from index.doctor.truncation import check_truncation, truncation
from index.doctor.twins import mean_cosine
from index.doctor.vocabulary import vocabulary
from index.doctor.words import check_words, word_pieces
from lsr.__main__ import run
from lsr.encoders import BM25Encoder
from lsr.types import Document, SparseMatrix

CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
WORDS = [a + b + c + d for a in CONSONANTS for b in VOWELS for c in CONSONANTS for d in "ou"]


def texts_of(n: int, *, seed: int = 0, words: Sequence[str] = WORDS) -> list[str]:
    """Texts of 20 words with Zipf-like frequencies, none in nearly every text."""
    rng = np.random.default_rng(seed)
    share = 1 / (np.arange(len(words)) + 10.0)
    share /= share.sum()
    return [" ".join(rng.choice(words, 20, p=share)) for _ in range(n)]


def documents_of(texts: Sequence[str]) -> list[Document]:
    return [Document(f"d{i}", {"text": text}) for i, text in enumerate(texts)]


HEALTHY = texts_of(300)


def built(
    path: Path, texts: Sequence[str], *, encoder: BM25Encoder | None = None, **settings: Pruning
) -> Path:
    encoder = encoder or BM25Encoder.fit(texts)
    build_index(path, documents_of(texts), encoder, source="made", settings=Settings(**settings))
    return path


def of_vectors(path: Path, vectors: SparseMatrix, *, max_weight: float = 4.0) -> Path:
    """An index without encoder; every document has a text of its own."""
    created = Index.create(path, n_terms=vectors.shape[1], max_weight=max_weight)
    with created as index, index.bulk("made") as bulk:
        bulk.add(documents_of([f"text {i}" for i in range(vectors.shape[0])]), vectors)
    return path


def scattered(n: int, n_terms: int = 600, *, terms: int = 12, seed: int = 1) -> SparseMatrix:
    """Rows of different random terms with weights below 3: healthy vectors."""
    rng = np.random.default_rng(seed)
    indices = np.concatenate([rng.choice(n_terms, terms, replace=False) for _ in range(n)])
    weights = rng.uniform(0.1, 3.0, n * terms).astype(np.float32)
    offsets = np.arange(0, n * terms + 1, terms)
    rows = sparse.csr_array((weights, indices, offsets), shape=(n, n_terms))
    rows.sort_indices()
    return rows


def findings_of(
    path: Path, *questions: str, vectors: SparseMatrix | None = None
) -> dict[str, Finding]:
    """What every check says, by name."""
    given = questions or vectors is not None
    asked = Questions(questions, "test", vectors=vectors) if given else None
    with Index.open(path, read_only=True) as index:
        found = examine(open_case(index, queries=asked))
    assert len(found) == len(CHECKS)
    return {finding.check: finding for finding in found}


def ill(found: dict[str, Finding]) -> dict[str, str]:
    """check -> level of all that is not well."""
    return {name: f.level for name, f in found.items() if f.level in ("warn", "fail")}


# ---- planted in texts ------------------------------------------------------------------------


def test_a_healthy_index_has_no_findings(tmp_path: Path) -> None:
    found = findings_of(built(tmp_path / "x.index", HEALTHY))
    assert ill(found) == {}
    assert {f.check for f in found.values() if f.level == "skipped"} == {"words", "lists"}
    assert all(f.measured for f in found.values())


@pytest.mark.parametrize(("n_empty", "level"), [(1, "warn"), (40, "fail")])
def test_empty_documents(tmp_path: Path, n_empty: int, level: str) -> None:
    """Of one text that holds no word: "the" is dropped, and "!!" is none."""
    found = findings_of(built(tmp_path / "x.index", [*HEALTHY, *["the !!"] * n_empty]))
    assert ill(found) == {"empty": level}
    assert found["empty"].numbers["n_empty"] == n_empty == found["empty"].numbers["with_text"]
    assert found["empty"].numbers["examples"][0] == "d300"


def test_copies(tmp_path: Path) -> None:
    found = findings_of(built(tmp_path / "x.index", HEALTHY * 2))
    assert ill(found) == {"twins": "fail"}
    assert (found["twins"].numbers["copies"], found["twins"].numbers["blurred"]) == (1.0, 0.0)


def test_queries_without_hits(tmp_path: Path) -> None:
    path = built(tmp_path / "x.index", HEALTHY)
    assert ill(findings_of(path, *HEALTHY[:30])) == {}
    found = findings_of(path, *HEALTHY[:30], "quokka", "xylophone", "the")
    assert ill(found) == {"hits": "fail"}
    numbers = found["hits"].numbers
    assert (numbers["n_zero"], numbers["n_empty"], numbers["n_unmatched"]) == (2, 1, 2)
    assert numbers["lost"] == ["quokka", "xylophone", "the"]


def test_query_terms_in_no_document(tmp_path: Path) -> None:
    """Every query finds something, by eight of its nine words."""
    asked = [
        " ".join([*list(dict.fromkeys(text.split()))[:8], f"quokka{i}"])
        for i, text in enumerate(HEALTHY[:9])
    ]
    found = findings_of(built(tmp_path / "x.index", HEALTHY), *asked)
    assert ill(found) == {"hits": "warn"}
    idf = [np.log(1 + (300 - df + 0.5) / (df + 0.5)) for df in _document_frequencies(asked)]
    share = sum(idf[8::9]) / sum(idf)
    assert found["hits"].numbers["unmatched"] == pytest.approx(share)


def _document_frequencies(asked: Sequence[str]) -> list[int]:
    """In how many of HEALTHY each word of each query is; no two words of these share a stem."""
    sets = [set(text.split()) for text in HEALTHY]
    return [sum(word in one for one in sets) for text in asked for word in text.split()]


def test_drift_of_bm25(tmp_path: Path) -> None:
    """Fitted on texts in which common words are rare and rare ones common."""
    elsewhere = BM25Encoder.fit(texts_of(300, words=WORDS[::-1]))
    found = findings_of(built(tmp_path / "x.index", HEALTHY, encoder=elsewhere))
    assert set(ill(found)) == {"drift"}
    moved = {one["term"] for one in found["drift"].numbers["moved"]}
    stems = [elsewhere.analyser.term(word) for word in (*WORDS[:40], *WORDS[-40:])]
    # The ends of the two rankings moved most; words the encoder never saw share buckets.
    assert {term for term in moved if not term.startswith("unseen")} <= set(stems)
    assert "unseen" in " ".join(moved)


def test_a_damaged_copy_of_the_encoder(tmp_path: Path) -> None:
    path = built(tmp_path / "x.index", HEALTHY)
    (path / "encoder" / "terms.txt").write_text("other\n")
    found = findings_of(path)
    assert ill(found) == {"integrity": "fail"}
    assert "not those that were stored" in found["integrity"].measured


# ---- planted in vectors ------------------------------------------------------------------------


def test_healthy_vectors_have_no_findings(tmp_path: Path) -> None:
    assert ill(findings_of(of_vectors(tmp_path / "x.index", scattered(1500)))) == {}


def test_a_term_in_every_document(tmp_path: Path) -> None:
    vectors = scattered(1500).tolil()
    vectors[:, 7] = 0.2
    path = of_vectors(tmp_path / "x.index", sparse.csr_array(vectors))
    found = findings_of(path, vectors=scattered(30, terms=6))
    assert ill(found) == {"vocabulary": "warn"}
    assert found["vocabulary"].numbers["everywhere"] == ["term 7"]
    # Queries made of the documents ask for it as well, and pay for it.
    assert ill(findings_of(path)) == {"vocabulary": "warn", "lists": "warn"}


def test_dead_dimensions(tmp_path: Path) -> None:
    vectors = scattered(1500)
    wide = sparse.csr_array((vectors.data, vectors.indices, vectors.indptr), shape=(1500, 30_000))
    found = findings_of(of_vectors(tmp_path / "x.index", wide))
    assert ill(found) == {"vocabulary": "warn"}
    assert found["vocabulary"].numbers["dead"] == pytest.approx(1 - 600 / 30_000)


@pytest.mark.parametrize(("max_weight", "level"), [(2.98, "warn"), (2.0, "fail")])
def test_saturated_weights(tmp_path: Path, max_weight: float, level: str) -> None:
    vectors = scattered(1500)
    path = of_vectors(tmp_path / "x.index", vectors, max_weight=max_weight)
    found = findings_of(path)
    assert ill(found) == {"saturation": level}
    stored = vectors.data.astype(np.float16).astype(float)
    expected = float((stored >= 255.5 * max_weight / 255).mean())  # rounds to more than 255
    assert found["saturation"].numbers["saturated"] == pytest.approx(expected)


def test_dense_documents(tmp_path: Path) -> None:
    found = findings_of(of_vectors(tmp_path / "x.index", scattered(100, 6000, terms=450)))
    assert ill(found) == {"density": "warn"}
    assert found["density"].numbers["documents"]["mean"] == 450
    assert found["density"].next[-2:] == ("--prune-terms", "128")


def test_documents_of_few_terms(tmp_path: Path) -> None:
    found = findings_of(of_vectors(tmp_path / "x.index", scattered(1500, terms=2)))
    assert set(ill(found)) == {"density"}


def test_different_texts_with_the_same_vector(tmp_path: Path) -> None:
    """One document in ten has the vector of the next: no query tells the two apart."""
    vectors = scattered(1500)
    order = np.arange(1500)
    order[::10] += 1
    found = findings_of(of_vectors(tmp_path / "x.index", sparse.csr_array(vectors[order])))
    assert ill(found) == {"twins": "fail"}
    assert found["twins"].numbers["blurred"] == pytest.approx(0.2, abs=0.08)
    assert found["twins"].numbers["copies"] == 0


def test_collapsed_vectors(tmp_path: Path) -> None:
    """All vectors are one direction with a little noise."""
    vectors = scattered(300, terms=12)
    noise = sparse.csr_array((vectors.data * 0.01, vectors.indices, vectors.indptr), vectors.shape)
    shared = np.zeros((300, 600), np.float32)
    shared[:, ::50] = 2.0
    found = findings_of(of_vectors(tmp_path / "x.index", sparse.csr_array(noise + shared)))
    assert found["twins"].level == "fail"
    assert found["twins"].numbers["alike"] > 0.99


def test_few_lists_that_cost_half_and_rank_nothing(tmp_path: Path) -> None:
    """Ten weak terms in eight of ten documents, which every query asks for."""
    rng = np.random.default_rng(3)
    vectors = scattered(1500).tolil()
    for term in range(10):
        vectors[rng.random(1500) < 0.8, term] = 0.01
    with Index.open(of_vectors(tmp_path / "x.index", sparse.csr_array(vectors))) as index:
        queries = scattered(40, terms=8, seed=9).tolil()
        queries[:, :10] = 0.01
        asked = Questions((), "test", vectors=sparse.csr_array(queries, dtype=np.float32))
        case = open_case(index, queries=asked)
        finding = check_lists(case)
        ticks = iter(range(0, 10**9, 1000))
        found = heavy_lists(
            index,
            asked.rows,
            case.frequencies,
            case.n_stored,
            clocks=(lambda: next(ticks), lambda: next(ticks)),
        )
    assert finding.level == "warn"
    assert finding.numbers["overlap"] > 0.9
    dense = vectors.toarray() > 0
    in_lists, in_queries = dense.sum(axis=0), asked.rows.toarray() > 0
    heavy = np.zeros(600, bool)
    heavy[:10] = True
    assert sorted(found.terms) == list(range(10))
    assert found.postings == pytest.approx(in_lists[heavy].sum() / in_lists.sum())
    work = in_queries @ np.where(heavy, in_lists, 0)
    assert found.work == pytest.approx(work.sum() / (in_queries @ in_lists).sum())
    assert found.n_queries == 40
    assert found.cpu_with == found.cpu_without == 1.0  # a tick of the clock between two readings


# ---- approximate search --------------------------------------------------------------------------


@pytest.mark.skipif(_core.cpu() == "portable", reason="portable code scores every page")
def test_recall_that_misses_its_target(tmp_path: Path) -> None:
    """In random vectors no page is much better than another: a budget finds little more than its
    share of the pages."""
    rng = np.random.default_rng(1)
    vectors = random_collection(rng, 20_000, 400, mean=15, levels=50)
    queries = np.zeros((12, 400), np.float32)
    for query in queries:
        query[rng.choice(400, 20, replace=False)] = rng.gamma(2.0, 1.0, 20)
    with Index.open(of_vectors(tmp_path / "x.index", vectors), read_only=True) as index:
        rows = sparse.csr_array(queries)
        case = open_case(index, queries=Questions((), "test", vectors=rows))
        finding = check_recall(case)
        found = reached(index, rows, targets=[0.9])[0]
        shares = []
        for i in range(12):
            exact = set(index.search(rows[[i]], 10).doc_ids)
            less = index.search(rows[[i]], 10, approximate=Approximate(recall=0.9))
            shares.append(len(exact & set(less.doc_ids)) / len(exact))
    assert found.overlap == pytest.approx(np.mean(shares))
    assert found.overlap < 0.88
    assert finding.level == "fail"
    assert found.pages == pytest.approx(30 / np.ceil(20_000 / 256), abs=0.01)


# ---- sub-words, lengths and idf, on an encoder with a tokenizer ----------------------------------


@pytest.fixture(scope="module")
def lookup(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inference-free encoder folder whose idf table is that of READABLE; 32 tokens a text."""
    from lsr.encoders import InferenceFreeEncoder, idf_table
    from lsr.encoders.splade import SpladeModel

    model = SpladeModel.from_checkpoint(tiny_checkpoint)
    table = idf_table(READABLE, model.tokenizer, n_terms=model.n_terms)
    folder = tmp_path_factory.mktemp("encoders") / "lookup"
    InferenceFreeEncoder.of(model, table, name="lookup", max_weight=50.0).save(folder)
    return folder


READABLE = [
    "the cat sat on the mat",
    "a dog sat",
    "the big cat",
    "a mat on the tree",
    "big dogs",
    "a café on the mat",
    "the dog on a cat",
    "cats",
] * 5


def case_of(folder: Path, path: Path, texts: Sequence[str], *questions: str) -> Case:
    from lsr.encoders import load_encoder

    build_index(path, documents_of(texts), load_encoder(folder), source="made")
    asked = Questions(questions, "test") if questions else None
    return open_case(Index.open(path, read_only=True), queries=asked)


def test_words_that_a_tokenizer_shatters(lookup: Path, tmp_path: Path) -> None:
    case = case_of(lookup, tmp_path / "x.index", READABLE)
    assert check_words(case).level == "ok"
    assert case.tokenizer is not None
    found = word_pieces(["the quokka, ☃7 sat!"], case.tokenizer)
    # quokka is six letters, one piece each; "☃7" is [UNK]; punctuation is no word.
    assert (found.n_words, found.mean_pieces) == (4, (1 + 6 + 1 + 1) / 4)
    assert (found.shattered, found.unknown) == (1 / 4, 1 / 4)
    assert set(found.examples) == {"quokka", "☃7"}
    case.index.close()
    other = case_of(lookup, tmp_path / "y.index", ["quokka zebra", "the lemur sat"] * 4)
    finding = check_words(other)
    assert finding.level == "fail"
    assert finding.numbers["shattered"] == pytest.approx(3 / 5)
    other.index.close()


def test_texts_that_are_cut(lookup: Path, tmp_path: Path) -> None:
    case = case_of(lookup, tmp_path / "x.index", READABLE)
    assert check_truncation(case).level == "ok"
    case.index.close()
    long = " ".join(["cat"] * 90)
    other = case_of(lookup, tmp_path / "y.index", [*READABLE[:7], long, long])
    finding = check_truncation(other)
    assert finding.level == "fail"
    lengths = [len(text.split()) for text in READABLE[:7]]
    lengths[4] += 1  # dogs is dog ##s
    lengths[5] += 1  # café is caf ##e
    assert finding.numbers["room"] == 30  # 32 less [CLS] and [SEP]
    assert finding.numbers["truncated"] == pytest.approx(2 / 9)
    assert finding.numbers["lost"] == pytest.approx(2 * 60 / (sum(lengths) + 180))
    assert finding.next[-2:] == ("--windows", "32")
    other.index.close()


def test_texts_read_in_windows_are_not_cut(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The folder says nothing of windows, which `lsr index --windows` asked for: the index must."""
    from dataclasses import replace

    from lsr.encoders import SpladeEncoder, load_encoder
    from lsr.encoders.splade import SpladeModel

    folder = tmp_path / "siamese"
    SpladeEncoder.of(SpladeModel.from_checkpoint(tiny_checkpoint), max_weight=50.0).save(folder)
    encoder = load_encoder(folder)
    assert isinstance(encoder, SpladeEncoder)
    long = documents_of([" ".join(["cat"] * 90)] * 3)
    levels = []
    for overlap in (None, 4):
        asked = replace(encoder, card=replace(encoder.card, window_overlap=overlap))
        build_index(tmp_path / f"{overlap}.index", long, asked, source="made")
        with Index.open(tmp_path / f"{overlap}.index", read_only=True) as index:
            levels.append(check_truncation(open_case(index)).level)
    assert levels == ["fail", "ok"]


def test_passages_are_examined_as_they_were_read(tmp_path: Path) -> None:
    """Rows, texts and vectors are those of the passages, and none is a copy of its document."""
    encoder = BM25Encoder.fit(HEALTHY)
    joined = [" ".join(HEALTHY[i : i + 10]) for i in range(0, 300, 10)]
    path = tmp_path / "x.index"
    build_index(path, documents_of(joined), encoder, source="made", passages=(20, 0))
    with Index.open(path, read_only=True) as index:
        case = open_case(index)
        assert sorted(case.texts) == sorted(HEALTHY)
        found = {finding.check: finding for finding in examine(case)}
    assert ill(found) == {}
    assert "300 passages" in found["empty"].measured


def test_a_missing_document_encoder_is_said_and_not_guessed(lookup: Path, tmp_path: Path) -> None:
    """The index keeps the query side alone; without the folder the length limit is unknown."""
    folder = tmp_path / "moved"
    shutil.copytree(lookup, folder)
    case_of(folder, tmp_path / "x.index", READABLE).index.close()
    shutil.rmtree(folder)
    with Index.open(tmp_path / "x.index", read_only=True) as index:
        gone = check_truncation(open_case(index))
        named = check_truncation(open_case(index, encoder=lookup))
    assert (gone.level, named.level) == ("skipped", "ok")
    assert "--encoder FOLDER" in gone.measured


def test_drift_of_an_idf_table(lookup: Path, tmp_path: Path) -> None:
    case = case_of(lookup, tmp_path / "x.index", READABLE, "the cat", "a big dog")
    assert case.encoder is not None
    shares = implied_shares(case.encoder)
    assert shares is not None
    cat = case.encoder.term_strings(range(case.encoder.n_terms)).index("cat")
    n = len(READABLE)
    df = sum("cat" in text.replace("cats", "cat").split() for text in READABLE)
    assert shares[cat] == pytest.approx(df / (n + 1), abs=1e-3)  # the table says df of N + 2 s
    finding = check_drift(case)
    assert finding.level == "ok"
    assert finding.numbers["overlap"] == 1.0
    case.index.close()
    other = case_of(lookup, tmp_path / "y.index", ["tree café tree", "a tree", "café dogs"] * 9)
    found = check_drift(other)
    assert found.level in ("warn", "fail")
    assert {one["term"] for one in found.numbers["moved"][:4]} & {"tree", "caf", "cafe", "the"}
    assert found.next[:2] == ("lsr", "idf")
    other.index.close()


def test_a_network_for_queries_has_no_idf_to_drift(tiny_checkpoint: Path, tmp_path: Path) -> None:
    from lsr.encoders import SpladeEncoder
    from lsr.encoders.splade import SpladeModel

    folder = tmp_path / "siamese"
    SpladeEncoder.of(SpladeModel.from_checkpoint(tiny_checkpoint), max_weight=50.0).save(folder)
    case = case_of(folder, tmp_path / "x.index", READABLE)
    assert check_drift(case).level == "skipped"
    assert check_truncation(case).level == "ok"
    case.index.close()


# ---- pure measurements ---------------------------------------------------------------------------


def test_divergence_is_the_textbook_sum() -> None:
    p, q = np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.1, 0.3, 0.2, 0.4])
    m = (p + q) / 2

    def kl(x: np.ndarray) -> float:
        return sum(a * np.log2(a / b) for a, b in zip(x, m, strict=True) if a)

    assert divergence(3 * p, 7 * q) == pytest.approx((kl(p) + kl(q)) / 2)
    assert divergence(p, p) == 0.0
    assert divergence(np.zeros(2), np.zeros(2)) == 0.0


def test_the_terms_that_moved_add_up_to_the_divergence(tmp_path: Path) -> None:
    from index.doctor.drift import _parts

    rng = np.random.default_rng(0)
    one, other = rng.random(30), rng.random(30) * (rng.random(30) < 0.7)
    assert _parts(one, other).sum() == pytest.approx(divergence(one, other))


def test_the_floor_is_what_chance_gives(tmp_path: Path) -> None:
    """A sample of the very corpus diverges by about the floor, not by 0."""
    texts = texts_of(2000)
    path = built(tmp_path / "x.index", texts)
    with Index.open(path, read_only=True) as index:
        case = open_case(index, n_rows=200)
        assert case.encoder is not None
        implied = implied_shares(case.encoder)
        assert implied is not None
        found = drift(case, case.encoder, implied)
    assert found.n_texts == 200
    assert 0.7 < found.divergence / found.floor < 1.3


def test_mean_cosine_is_that_of_all_pairs() -> None:
    vectors = scattered(40)
    dense = vectors.toarray() / np.linalg.norm(vectors.toarray(), axis=1, keepdims=True)
    pairs = (dense @ dense.T)[~np.eye(40, dtype=bool)]
    assert mean_cosine(vectors) == pytest.approx(pairs.mean())


def test_a_vocabulary_of_an_empty_index() -> None:
    found = vocabulary(np.zeros(5, np.int64), 0)
    assert (found.dead, found.everywhere, found.postings_everywhere) == (1.0, (), 0.0)


def test_query_hits_count_what_is_missing() -> None:
    queries = sparse.csr_array(np.array([[1.0, 0, 2], [0, 3, 0], [0, 0, 0]], np.float32))
    found = query_hits(queries, np.array([4, 0, 1]), [2, 0, 0])
    assert (found.n_empty, found.n_zero, found.unmatched, found.n_unmatched) == (1, 1, 3 / 6, 1)
    assert found.lost == (1, 2)


def test_lengths_count_prompt_and_special_tokens(tiny_checkpoint: Path) -> None:
    from lsr.encoders import TextTokenizer

    tokenizer = TextTokenizer.load(tiny_checkpoint)
    found = truncation(["cat " * 10, "cat"], tokenizer, limit=8, prompt="a ")
    assert (found.room, found.truncated, found.lost) == (5, 0.5, 5 / 11)


def test_questions_are_titles_or_first_sentences() -> None:
    assert question(Document("a", {"title": " Tea ", "text": "x. y."})) == "Tea"
    assert question(Document("a", {"text": "Is v1.2 out? Yes."})) == "Is v1.2 out?"
    assert question(Document("a", {"text": "word " * 99})).split() == ["word"] * 24
    assert question(Document("a", {})) == ""


def test_a_sample_of_a_stream_is_even() -> None:
    documents = documents_of([""] * 20)
    counts = np.zeros(20)
    for seed in range(600):
        for document in sample(iter(documents), 5, seed=seed):
            counts[int(document.doc_id[1:])] += 1
    # Each is drawn with probability 1/4: 150 of 600, standard deviation 10.6; five of them.
    assert counts.sum() == 3000
    assert np.abs(counts - 150).max() < 53


def test_samples_hold_live_documents_alone_and_the_seed_fixes_them(tmp_path: Path) -> None:
    path = built(tmp_path / "x.index", HEALTHY)
    with Index.open(path) as index:
        index.delete([f"d{i}" for i in range(0, 300, 2)])
        cases = [open_case(index, n_rows=40, seed=seed) for seed in (1, 1, 2)]
        ids = [[one.doc_id for one in index.documents(case.docids)] for case in cases]
        stored = index.vectors_of(ids[0][0]).toarray()
    assert ids[0] == ids[1] != ids[2]
    assert all(int(doc_id[1:]) % 2 for doc_id in ids[0])
    assert cases[0].texts[0] == HEALTHY[int(ids[0][0][1:])]
    assert np.array_equal(cases[0].vectors[[0]].toarray(), stored)


# ---- the command ---------------------------------------------------------------------------------


def test_the_command_says_what_to_type_and_exits_by_the_worst(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = built(tmp_path / "sound.index", HEALTHY)
    assert run(["doctor", str(sound)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "not real questions" in lines[2]
    assert lines[-2] == "examined   10 ok, 2 skipped"
    assert lines[-1].startswith("next       lsr search")

    copies = built(tmp_path / "copies.index", HEALTHY * 2)
    assert run(["doctor", str(copies)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].startswith("fail       twins")
    assert lines[4].strip().startswith("why")
    assert lines[5].strip().startswith("try")

    assert run(["doctor", str(copies), "--json", "--documents", "20", "--n", "7"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["healthy"]
    assert report["sample"]["queries"] == 7
    assert report["sample"]["vectors"] == 20
    assert {f["check"]: f["level"] for f in report["findings"]}["twins"] == "fail"


def test_real_queries_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = built(tmp_path / "sound.index", HEALTHY)
    (tmp_path / "q.tsv").write_text("1\tquokka\n2\t" + HEALTHY[0] + "\n")
    assert run(["doctor", str(sound), "--queries", str(tmp_path / "q.tsv"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["sample"]["queries_are_of_the_corpus"] is False
    hits = next(f for f in report["findings"] if f["check"] == "hits")
    assert hits["numbers"]["lost"] == ["quokka"]


def test_an_index_too_damaged_to_open_is_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = built(tmp_path / "x.index", HEALTHY)
    segment = next((path / "segments").iterdir())
    segment.write_bytes(b"\0" * 64 + segment.read_bytes()[64:])
    assert run(["doctor", str(path)]) == 1
    text = capsys.readouterr().out
    assert text.startswith("fail       integrity")
    assert text.splitlines()[-1] == f"next       lsr check {path}"


def test_an_encoder_is_examined_on_a_trial_index(
    lookup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    rows = [{"_id": str(i), "text": " ".join([text] * 30)} for i, text in enumerate(READABLE)]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(["doctor", str(lookup), "--corpus", str(corpus), "--documents", "12", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["kind"] == "encoder"
    assert (report["n_docs"], report["sample"]["texts"]) == (12, len(READABLE))
    by_name = {f["check"]: f for f in report["findings"]}
    assert by_name["truncation"]["level"] == "fail"
    assert by_name["truncation"]["next"][:3] == ["lsr", "index", str(corpus)]
    assert by_name["lists"]["level"] == "skipped"
    assert "lsr-doctor-" not in json.dumps(report)  # no name of a folder that is gone


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "neither an index"),
        (["{encoder}"], "--corpus"),
        (["{encoder}", "--corpus", "x", "--encoder", "y"], "belongs to an index"),
        (["{index}", "--corpus", "x"], "belongs to an encoder"),
    ],
)
def test_misuse_is_named(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    BM25Encoder.fit(HEALTHY).save(tmp_path / "encoder")
    built(tmp_path / "x.index", HEALTHY[:5])
    places = {"encoder": str(tmp_path / "encoder"), "index": str(tmp_path / "x.index")}
    assert run(["doctor", *(argument.format(**places) for argument in arguments)]) == 2
    assert message in capsys.readouterr().err


def test_long_documents_and_questions_that_nobody_reads_are_no_end_of_it(tmp_path: Path) -> None:
    """One document of more terms than a query may have ended the whole examination, and so did
    questions of an index of vectors.
    """
    rng = np.random.default_rng(0)
    rows = sparse.random_array((12, 6000), density=0.01, rng=rng, dtype=np.float32).tolil()
    rows[0, :5000] = 0.5
    path = of_vectors(tmp_path / "long", sparse.csr_array(rows.tocsr()))
    with Index.open(path) as index:
        case = open_case(index, queries=Questions(("a question",), "test"))
        findings = examine(case)
    assert {one.check for one in findings} >= {"twins", "hits"}
