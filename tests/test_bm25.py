"""BM25 as a sparse encoder: the formula, Lucene's figures, later documents, and the folder."""

import gzip
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import ir_measures
import numpy as np
import pytest
from ir_measures import nDCG

from lsr.encoders import Analyser, BM25Encoder, load_encoder
from lsr.encoders.analysis import REVISION
from lsr.encoders.bm25 import N_BUCKETS, Statistics
from lsr.errors import EncoderError, UsageError
from lsr.types import canonical

CORPUS = [
    "The cat sat on the mat",
    "",
    "Dogs chase cats; cats chase mice",
    "An essay about nothing",
    "mat mat mat",
]
PLAIN = Analyser(stemmer="none", stop_words=False)


def bm25(query: str, document: str, *, k1: float, b: float) -> float:
    """Lucene's BM25 of two texts against CORPUS, written from the formula, term by term."""
    corpus = [Counter(PLAIN.terms(text)) for text in CORPUS if text]
    avgdl = sum(sum(counts.values()) for counts in corpus) / len(corpus)
    counts = Counter(PLAIN.terms(document))
    total = 0.0
    for term in PLAIN.terms(query):
        df = sum(1 for other in corpus if term in other)
        idf = math.log(1 + (len(corpus) - df + 0.5) / (df + 0.5))
        tf = counts[term]
        norm = k1 * (1 - b + b * sum(counts.values()) / avgdl)
        total += idf * (tf / (tf + norm) if tf else 0.0)
    return total


@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.2, 0.75), (0.0, 0.0), (2.0, 1.0)])
def test_the_dot_product_is_bm25(k1: float, b: float) -> None:
    """Float32 weights keep 7 digits of a score, hence the tolerance."""
    encoder = BM25Encoder.fit(CORPUS, k1=k1, b=b, analyser=PLAIN)
    queries = ["cats", "the mat the mat", "chase nothing", "unicorn", ""]
    scores = (encoder.encode_queries(queries) @ encoder.encode_documents(CORPUS).T).toarray()
    wanted = [[bm25(q, d, k1=k1, b=b) for d in CORPUS] for q in queries]
    np.testing.assert_allclose(scores, wanted, rtol=1e-5)


def test_vectors_are_canonical_and_document_weights_lie_below_one() -> None:
    """An index takes them as they are, and impact 255 stands for weight 1."""
    encoder = BM25Encoder.fit(CORPUS)
    for rows in (encoder.encode_documents(CORPUS), encoder.encode_queries(CORPUS)):
        assert canonical(rows, n_terms=encoder.n_terms) is not None
        assert rows.has_sorted_indices
        assert rows.dtype == np.float32
        assert rows.data.min() > 0
    assert encoder.encode_documents(["cat " * 10_000]).data.max() < encoder.max_weight == 1.0


def test_fitting_reads_its_texts_once() -> None:
    """A corpus is a stream; a generator must do."""

    def stream() -> Iterator[str]:
        yield from CORPUS

    assert BM25Encoder.fit(stream()).space == BM25Encoder.fit(CORPUS).space


def test_a_document_added_after_fitting_is_found_by_words_never_seen_before() -> None:
    """Unseen terms share hash buckets with the idf of a term that no document holds."""
    encoder = BM25Encoder.fit(CORPUS)
    document = encoder.encode_documents(["zeppelin"])
    query = encoder.encode_queries(["Zeppelins!"])
    assert (query @ document.T).toarray().item() > 0
    [bucket] = document.indices
    assert len(encoder.statistics.terms) <= bucket < encoder.n_terms
    assert encoder.term_strings([bucket])[0].startswith("unseen:")
    assert query.data.max() == pytest.approx(math.log(2 * encoder.statistics.n_docs + 2))


def test_no_texts_and_empty_texts_are_empty_rows() -> None:
    encoder = BM25Encoder.fit(CORPUS)
    assert encoder.encode_documents([]).shape == (0, encoder.n_terms)
    assert encoder.encode_documents(["", "...", "the"]).nnz == 0
    assert encoder.encode_queries([""]).shape == (1, encoder.n_terms)


def test_an_encoder_of_an_empty_corpus_still_encodes() -> None:
    """An index may start empty: everything is then an unseen term."""
    encoder = BM25Encoder.fit([])
    assert encoder.n_terms == N_BUCKETS
    scores = encoder.encode_queries(["cats"]) @ encoder.encode_documents(["cat", "dog"]).T
    assert scores.toarray()[0, 0] > scores.toarray()[0, 1] == 0


def test_terms_are_named_for_people() -> None:
    encoder = BM25Encoder.fit(["beta alpha"])
    assert encoder.term_strings(np.array([0, 1])) == ["alpha", "beta"]


@pytest.mark.parametrize(("k1", "b"), [(-1.0, 0.4), (0.9, 1.5), (math.nan, 0.4)])
def test_impossible_parameters_are_misuse_before_a_text_is_read(k1: float, b: float) -> None:
    """They were an error of the encoder, found when all of the corpus had been counted."""
    texts = (pytest.fail("read a text") for _ in CORPUS)
    with pytest.raises(UsageError, match="BM25 wants"):
        BM25Encoder.fit(texts, k1=k1, b=b)


def test_a_saved_encoder_loads_equal(tmp_path: Path) -> None:
    encoder = BM25Encoder.fit(
        [*CORPUS, "naïve 北京"], k1=1.2, b=0.7, name="mine", text_fields=("body",)
    )
    encoder.save(tmp_path / "bm25")
    loaded = load_encoder(tmp_path / "bm25")
    assert isinstance(loaded, BM25Encoder)
    assert (loaded.space, loaded.name, loaded.text_fields) == (encoder.space, "mine", ("body",))
    assert loaded.query_strategy == "bm25"
    for ours, theirs in zip(
        (encoder.encode_queries(CORPUS), encoder.encode_documents(CORPUS)),
        (loaded.encode_queries(CORPUS), loaded.encode_documents(CORPUS)),
        strict=True,
    ):
        assert (ours != theirs).nnz == 0
    assert {path.suffix for path in (tmp_path / "bm25").iterdir()} == {
        ".json",
        ".safetensors",
        ".txt",
    }


def test_fresh_document_frequencies_keep_the_space_and_change_the_build() -> None:
    """idf lives on the query side, so an index stays valid when it is counted anew."""
    encoder = BM25Encoder.fit(CORPUS)
    old = encoder.statistics
    fresh = BM25Encoder(Statistics(old.n_docs + 5, old.avgdl, old.terms, old.df + 1))
    assert fresh.space == encoder.space
    assert fresh.build != encoder.build
    assert BM25Encoder(old, k1=1.0).space != encoder.space


def damage_settings(folder: Path, key: str, value: object) -> None:
    path = folder / "bm25.json"
    settings = json.loads(path.read_text())
    settings[key] = value
    path.write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 99, "format 99"),
        ("n_buckets", 7, "7 buckets"),
        ("k1", "large", "k1 must be a number"),
        ("b", 1.5, "bm25.json: BM25 wants k1 from 0 to 500 and b from 0 to 1, got k1 = 0.9"),
        ("n_docs", -3, "cannot be true"),
        ("n_docs", 1, "documents of 1"),
        ("avgdl", 0, "cannot be true"),
        ("analyser", "english", "analyser must be an object"),
        ("analyser", {"stemmer": "x"}, "unknown stemmer"),
    ],
)
def test_settings_that_cannot_be_true_are_refused(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    BM25Encoder.fit(CORPUS).save(tmp_path / "bm25")
    damage_settings(tmp_path / "bm25", key, value)
    with pytest.raises(EncoderError, match=message):
        load_encoder(tmp_path / "bm25")


@pytest.mark.parametrize("name", ["bm25.json", "terms.txt", "df.safetensors"])
def test_a_missing_or_truncated_file_is_named(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "bm25"
    BM25Encoder.fit(CORPUS).save(folder)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EncoderError, match=name.split(".")[0]):
        load_encoder(folder)
    (folder / name).unlink()
    with pytest.raises(EncoderError, match=name.split(".")[0]):
        load_encoder(folder)


def read_jsonl(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "lucene"), [("scifact", 0.6789), ("cranfield", 0.3417)])
def test_ranking_is_as_good_as_lucenes(shared_data: Path, name: str, lucene: float) -> None:
    """Lucene 10 through pyserini, k1 .9, b .4, title + " " + text; ours has exact lengths."""
    folder = shared_data / "beir" / name
    doc_ids, texts = [], []
    for row in read_jsonl(folder / "corpus.jsonl.gz"):
        doc_ids.append(row["_id"])
        texts.append(f"{row.get('title', '')} {row['text']}")
    judged = (folder / "qrels" / "test.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in judged if line.split("\t")[-1].isdigit()]
    qrels = [ir_measures.Qrel(row[0], row[-2], int(row[-1])) for row in rows]
    wanted = {qrel.query_id for qrel in qrels}
    queries = {r["_id"]: r["text"] for r in read_jsonl(folder / "queries.jsonl.gz")}
    queries = {query_id: text for query_id, text in queries.items() if query_id in wanted}

    encoder = BM25Encoder.fit(texts)
    documents = encoder.encode_documents(texts)
    scores = (encoder.encode_queries(list(queries.values())) @ documents.T).toarray()
    run = [
        ir_measures.ScoredDoc(query_id, doc_ids[best], float(row[best]))
        for query_id, row in zip(queries, scores, strict=True)
        for best in np.argsort(-row, kind="stable")[:10]
    ]
    measured = ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]
    assert measured == pytest.approx(lucene, abs=0.01)


def test_vectors_of_another_analysis_belong_to_another_space(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stemming as Lucene once changed the terms of equal settings; old indexes answered askew."""
    before = BM25Encoder.fit(CORPUS).space
    monkeypatch.setattr("lsr.encoders.bm25.REVISION", REVISION + 1)
    assert BM25Encoder.fit(CORPUS).space != before
