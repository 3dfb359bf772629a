"""`lsr demo`: the whole way from texts to measured searches, offline, on a corpus everybody has.

BM25 answers first, at once; then the shipped encoder reads the documents (a minute or two, kept for
the next time), is measured beside it, and shows a question that only a learned term answers.
"""

import hashlib
import inspect
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import IndexExists, IndexFailure
from ..systems import BM25, MINI
from . import _printing as out
from ._demo_shown import CUT, show, show_learned
from ._encoders import default_encoder

if TYPE_CHECKING:
    from index import SparseRetriever
    from index.explain import Contribution

    from ..datasets import Dataset
    from ..encoders import SparseEncoder
    from ..types import Document, Qrels, Run

EXAMPLES = """\b
Examples:
  lsr demo
  lsr demo --encoder bm25
  lsr demo --output docs.index --fresh
  lsr demo --json
"""

NAMES = {BM25: "bm25-python-docs", MINI: "lsr-mini-python-docs"}
QUESTIONS = (
    "wait until all threads have arrived at the same point",
    "cartesian product of several lists, like nested loops",
    "version of an installed package",
)
"""Shown in full because shared words do answer them; the measured failures come after."""
NEXT_QUESTION = "insert into a sorted list and keep it sorted"
HITS = 3
DEPTH = 1000


@click.command(epilog=EXAMPLES)
@click.option(
    "--encoder",
    type=click.Choice(list(NAMES)),
    help="bm25 leaves out the encoder with a network. Default: $LSR_ENCODER, else lsr-mini",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where the encoder's index goes. Default: the cache folder.",
)
@click.option("--fresh", is_flag=True, help="Build the index again although it is up to date.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def demo(*, encoder: str | None, output: Path | None, fresh: bool, json: bool) -> None:
    """Index, search and measure the documentation of Python's standard library.

    Nothing is downloaded: the texts are the docstrings of the Python that runs this, the questions
    and their right answers come with the project. A second run finds the index in place.
    """
    from ..datasets import load_dataset
    from ..datasets.names import cache_folder

    started = time.perf_counter()
    encoder = encoder or default_encoder(MINI)
    if encoder not in NAMES:
        encoder = MINI
    corpus = load_dataset("python-docs")
    place = cache_folder() / "demo"
    words = place / "python-docs.index"
    path = output or (words if encoder == BM25 else place / "python-docs-mini.index")
    report = _measure(BM25, path if encoder == BM25 else words, corpus, fresh=fresh, quiet=json)
    if not json:
        show(report)
    if encoder != BM25:
        learned = _measure(encoder, path, corpus, fresh=fresh, quiet=json)
        learned["example"] = _only_learned(Path(report["index"]), path, corpus)
        if not json:
            show_learned(report, learned)
        report = {"bm25": report, encoder: learned}
    report["total_s"] = time.perf_counter() - started
    if json:
        out.as_json(report)
        return
    out.fact("took", out.duration(report["total_s"]))
    out.next_step("lsr", "serve", str(path))
    out.next_step("lsr", "search", str(path), NEXT_QUESTION)


def _measure(
    encoder: str, path: Path, corpus: "Dataset", *, fresh: bool, quiet: bool
) -> dict[str, Any]:
    """Index the corpus with one encoder, show what it finds, ask it all questions."""
    from index import SparseRetriever

    from ..measures import evaluate

    built = _ensure_index(encoder, path, corpus, fresh=fresh, quiet=quiet)
    with SparseRetriever.open(path, read_only=True) as retriever:
        searches = [_search(retriever, text) for text in QUESTIONS]
        texts = {query.query_id: query.text for query in corpus.queries()}
        qrels = corpus.qrels()
        before = time.perf_counter()
        run = retriever.search(texts, DEPTH)
        seconds = time.perf_counter() - before
        evaluation = evaluate(run, qrels)
        failed = _failed(run, qrels)
        example = _failure(retriever, texts, qrels, run, failed)
    return {
        "python": platform.python_version(),
        "index": str(path),
        **built,
        "searches": searches,
        "n_queries": evaluation.n_queries,
        "n_judgements": sum(map(len, qrels.values())),
        "queries_s": seconds,
        "means": evaluation.means,
        "n_failed": len(failed),
        "failure": example,
    }


def _ensure_index(
    encoder: str, path: Path, corpus: "Dataset", *, fresh: bool, quiet: bool
) -> dict[str, Any]:
    """Build the index, or keep the one that an earlier run made of the same things."""
    from index import build_index

    name = f"{NAMES[encoder]}-{_key(encoder)}"
    before = _encoder_name(path)
    if path.exists() and not before.startswith(NAMES[encoder]):
        raise IndexExists(
            f"{path} exists and was not made by `lsr demo`; choose another place with --output PATH"
        )
    if before == name and not fresh:
        return {"reused": True, **_size(path)}
    times = [time.perf_counter()]
    documents = list(corpus.documents())
    times.append(time.perf_counter())
    made = _made(encoder, name, documents)
    times.append(time.perf_counter())
    path.parent.mkdir(parents=True, exist_ok=True)
    build_index(
        path,
        documents,
        made,
        source=name,
        overwrite=path.exists(),
        total=len(documents),
        progress=not quiet,
    )
    times.append(time.perf_counter())
    labels = ("collect_s", "fit_s", "build_s")
    spent = {label: b - a for label, a, b in zip(labels, times, times[1:], strict=False)}
    return {"reused": False, **spent, **_size(path)}


def _made(encoder: str, name: str, documents: Sequence["Document"]) -> "SparseEncoder":
    """BM25 fitted to the documents, or the shipped encoder, called `name`."""
    from ..encoders import BM25Encoder, JoinedEncoder, load_encoder

    if encoder == BM25:
        return BM25Encoder.fit((document.text() for document in documents), name=name)
    whole = load_encoder(encoder)
    assert isinstance(whole, JoinedEncoder), "the shipped encoder is one"
    return replace(whole, card=replace(whole.card, name=name))


def _key(encoder: str) -> str:
    """Changes when the corpus or the way to index it does: Python's release, modules, weights."""
    from ..datasets import pydocs, pysource
    from ..encoders import analysis, bm25, load_encoder

    digest = hashlib.sha256(platform.python_version().encode())
    for module in (pydocs, pysource, analysis, bm25):
        digest.update(inspect.getsource(module).encode())
    if encoder != BM25:
        digest.update(load_encoder(encoder).space.encode())
    return digest.hexdigest()[:16]


def _encoder_name(path: Path) -> str:
    """What the index at `path` says it was built by; empty where there is none that opens."""
    from index import Index

    try:
        with Index.open(path) as index:
            return index.encoder.name if index.encoder else ""
    except IndexFailure:
        return ""


def _size(path: Path) -> dict[str, Any]:
    from index import Index

    with Index.open(path) as index:
        info = index.info()
    n_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return {"n_docs": info["n_docs"], "n_postings": info["n_postings"], "n_bytes": n_bytes}


def _search(retriever: "SparseRetriever", text: str) -> dict[str, Any]:
    """The best hits of one question, and what each of its words added."""
    index = retriever.index
    query = retriever.encoder.encode_queries([text])
    before = time.perf_counter()
    hits = index.search(query, HITS)
    seconds = time.perf_counter() - before
    documents = index.documents(hits.ranking.docids)
    return {
        "text": text,
        "search_s": seconds,
        "hits": [
            {
                "doc_id": doc_id,
                "score": score,
                "says": _summary(document),
                "words": _words(retriever, query, text, doc_id),
            }
            for (doc_id, score), document in zip(hits, documents, strict=True)
        ],
    }


def _words(
    retriever: "SparseRetriever", query: Any, text: str, doc_id: str
) -> list[dict[str, Any]]:
    """The question's words that the document has too, with their parts of the score.

    What a word and its sub-words add is one part. `learned` is the share of it that comes from
    terms which the document's own text does not say.
    """
    found: dict[str, dict[str, Any]] = {}
    for word, part, literal in _parts(retriever, query, text, doc_id):
        one = found.setdefault(word, {"word": word, "score": 0.0, "learned": 0.0})
        one["score"] += part.score
        one["learned"] += 0.0 if literal else part.score
    ordered = sorted(found.values(), key=lambda one: -one["score"])
    return [{**one, "learned": one["learned"] / one["score"]} for one in ordered]


def _parts(
    retriever: "SparseRetriever", query: Any, text: str, doc_id: str
) -> Iterator[tuple[str, "Contribution", bool]]:
    """What each term adds, under the question's word for it; whether the document says the term."""
    from ..encoders import said

    encoder, document = retriever.encoder, retriever.index.get(doc_id)
    assert document is not None, "it was just found"
    asked = _asked(encoder, text)
    literal = {one.term for one in said(encoder, document.text(encoder.text_fields)) or ()}
    for part in retriever.index.explain(query, doc_id).terms:
        yield asked[part.term], part, part.term in literal


def _read_from(retriever: "SparseRetriever", text: str, hit: dict[str, Any]) -> None:
    """Give each word of the hit that is learned what the network read in the document for it.

    Of several terms of a word the one that adds most is asked for.
    """
    from ..encoders import Learned, load_encoder
    from ..encoders.analysis import word_at, word_places

    # The index's own place of it may be a checkout that is gone.
    encoder, document = load_encoder(MINI), retriever.index.get(hit["doc_id"])
    assert document is not None, "it was just found"
    assert isinstance(encoder, Learned)
    query = retriever.encoder.encode_queries([text])
    heaviest: dict[str, Contribution] = {}
    for word, part, literal in _parts(retriever, query, text, hit["doc_id"]):
        if not literal and (word not in heaviest or part.score > heaviest[word].score):
            heaviest[word] = part
    said_there = document.text(encoder.text_fields)
    places = word_places(said_there)
    terms = [part.term for part in heaviest.values()]
    origins = {one.term: one.span for one in encoder.origins(said_there, terms)}
    for word in hit["words"]:
        most = heaviest.get(word["word"])
        span = None if most is None else origins.get(most.term)
        word["read_from"] = None if span is None else word_at(places, said_there, *span)


def _asked(encoder: "SparseEncoder", text: str) -> dict[int, str]:
    """The word of the question, as it is spelt there, that each term of its vector stands for."""
    from ..encoders import said
    from ..encoders.analysis import word_at, word_places

    places = word_places(text)
    asked: dict[int, str] = {}
    for term, start, end in said(encoder, text) or ():
        asked.setdefault(term, word_at(places, text, start, end))
    return asked


def _summary(document: "Document") -> str:
    """How a docstring begins, without the line of its signature."""
    name = document.doc_id.rpartition(".")[2]
    first, *rest = str(document.fields["text"]).splitlines()
    lines = rest if rest and (first == name or first.startswith(f"{name}(")) else [first, *rest]
    paragraph = "\n".join(lines).strip().split("\n\n")[0]
    return out.shortened(paragraph, 72)


def _failed(run: "Run", qrels: "Qrels") -> list[str]:
    """Questions without any right answer among the first `CUT`."""
    return [
        query_id
        for query_id, answers in qrels.items()
        if not any(answers.get(doc_id) for doc_id, _ in run.ranked(query_id)[:CUT])
    ]


def _failure(
    retriever: "SparseRetriever",
    texts: Mapping[str, str],
    qrels: "Qrels",
    run: "Run",
    failed: list[str],
) -> dict[str, Any] | None:
    """One question that word matching cannot answer: preferably no right answer shares a word."""
    if not failed:
        return None
    query_id = next((q for q in failed if not qrels[q].keys() & run[q].keys()), failed[0])
    right = max(qrels[query_id], key=lambda doc_id: qrels[query_id][doc_id])
    document = retriever.index.get(right)
    search = _search(retriever, texts[query_id])
    return {
        "text": texts[query_id],
        "right": right,
        "says": _summary(document) if document else "",
        "shares_words": right in run[query_id],
        "found": search["hits"][:1],
    }


def _only_learned(words: Path, path: Path, corpus: "Dataset") -> dict[str, Any] | None:
    """The question that BM25 fails and whose right answer is first by the largest learned share."""
    from index import SparseRetriever

    texts = {query.query_id: query.text for query in corpus.queries()}
    qrels = corpus.qrels()
    with SparseRetriever.open(words, read_only=True) as retriever:
        failed = _failed(retriever.search(texts, CUT), qrels)
    best: dict[str, Any] | None = None
    with SparseRetriever.open(path, read_only=True) as retriever:
        run = retriever.search({query_id: texts[query_id] for query_id in failed}, 1)
        for query_id in failed:
            if not any(qrels[query_id].get(doc_id) for doc_id, _ in run.ranked(query_id)[:1]):
                continue
            hit = _search(retriever, texts[query_id])["hits"][0]
            learned = sum(part["score"] * part["learned"] for part in hit["words"])
            share = learned / hit["score"]
            if best is None or share > best["share"]:
                best = {"text": texts[query_id], "rank": 1, "share": share, "hit": hit}
        if best is not None:
            _read_from(retriever, best["text"], best["hit"])
    return best
