"""`lsr demo`: the whole way from texts to measured searches, offline, on a corpus everybody has."""

import hashlib
import inspect
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import IndexExists, IndexFailure
from . import _printing as out

if TYPE_CHECKING:
    from index import SparseRetriever

    from ..datasets import Dataset
    from ..types import Document, Qrels, Run

EXAMPLES = """\b
Examples:
  lsr demo
  lsr demo --output docs.index --fresh
  lsr demo --json
"""

NAME = "bm25-python-docs"
QUESTIONS = (
    "wait until all threads have arrived at the same point",
    "cartesian product of several lists, like nested loops",
    "version of an installed package",
)
"""Shown in full because shared words do answer them; the measured failures come after."""
NEXT_QUESTION = "insert into a sorted list and keep it sorted"
HITS = 3
TERMS = 5  # of a hit, the ones that added most
DEPTH = 1000
CUT = 10  # a question counts as failed when no right answer is among so many


@click.command(epilog=EXAMPLES)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Where the index goes. Default: the cache folder.",
)
@click.option("--fresh", is_flag=True, help="Build the index again although it is up to date.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def demo(*, output: Path | None, fresh: bool, json: bool) -> None:
    """Index, search and measure the documentation of Python's standard library.

    Nothing is downloaded: the texts are the docstrings of the Python that runs this, the questions
    and their right answers come with the project. A second run finds the index in place.
    """
    from index import SparseRetriever

    from ..datasets import load_dataset
    from ..datasets.names import cache_folder
    from ..measures import evaluate

    started = time.perf_counter()
    path = output or cache_folder() / "demo" / "python-docs.index"
    corpus = load_dataset("python-docs")
    built = _ensure_index(path, corpus, fresh=fresh, quiet=json)
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
    report = {
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
        "total_s": time.perf_counter() - started,
    }
    if json:
        out.as_json(report)
    else:
        _print(report)


def _ensure_index(path: Path, corpus: "Dataset", *, fresh: bool, quiet: bool) -> dict[str, Any]:
    """Build the index, or keep the one that an earlier run made of the same things."""
    from index import build_index

    from ..encoders.bm25 import BM25Encoder

    name = f"{NAME}-{_key()}"
    before = _encoder_name(path)
    if path.exists() and not before.startswith(NAME):
        raise IndexExists(
            f"{path} exists and was not made by `lsr demo`; choose another place with --output PATH"
        )
    if before == name and not fresh:
        return {"reused": True, **_size(path)}
    times = [time.perf_counter()]
    documents = list(corpus.documents())
    times.append(time.perf_counter())
    encoder = BM25Encoder.fit((document.text() for document in documents), name=name)
    times.append(time.perf_counter())
    path.parent.mkdir(parents=True, exist_ok=True)
    build_index(
        path,
        documents,
        encoder,
        source=name,
        overwrite=path.exists(),
        total=len(documents),
        progress=not quiet,
    )
    times.append(time.perf_counter())
    labels = ("collect_s", "fit_s", "build_s")
    spent = {label: b - a for label, a, b in zip(labels, times, times[1:], strict=False)}
    return {"reused": False, **spent, **_size(path)}


def _key() -> str:
    """Changes when the corpus or the way to index it does: Python's release, and our modules."""
    from ..datasets import pydocs, pysource
    from ..encoders import analysis, bm25

    digest = hashlib.sha256(platform.python_version().encode())
    for module in (pydocs, pysource, analysis, bm25):
        digest.update(inspect.getsource(module).encode())
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
    """The question's words that the document has too, with their parts of the score."""
    from ..encoders.analysis import ENGLISH, words

    written = {ENGLISH.term(word): word for word in reversed(words(text))}
    parts = retriever.index.explain(query, doc_id).terms
    terms = retriever.encoder.term_strings([part.term for part in parts])
    return [
        {"word": written.get(term, term), "score": part.score}
        for term, part in zip(terms, parts, strict=True)
    ]


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


def _print(report: Mapping[str, Any]) -> None:
    from ..measures import printed_name

    python = f"docstrings of Python {report['python']}'s standard library"
    n_docs = out.counted(report["n_docs"], "document")
    size = f"{out.size(report['n_bytes'])}, {report['n_postings']:,} postings, 8-bit impacts"
    if report["reused"]:
        out.fact("found", out.columns(n_docs, f"{python}, indexed before"))
        out.fact("index", f"{report['index']}  {size}")
    else:
        out.fact("collected", out.columns(n_docs, f"{python}, {out.duration(report['collect_s'])}"))
        out.fact("fitted", out.columns("bm25", out.duration(report["fit_s"])))
        out.fact("wrote", f"{report['index']}  {size}, {out.duration(report['build_s'])}")
    for search in report["searches"]:
        out.fact("query", f"{search['text']}  ({out.duration(search['search_s'])})")
        for rank, hit in enumerate(search["hits"], start=1):
            _print_hit(str(rank), hit)
    asked = out.counted(report["n_queries"], "question")
    judged = out.counted(report["n_judgements"], "judgement")
    out.fact("asked", out.columns(asked, f"{judged}, {out.duration(report['queries_s'])}"))
    means = (f"{printed_name(name)} {value:.3f}" for name, value in report["means"].items())
    out.fact("measured", "  ".join(means))
    failure = report["failure"]
    if failure is not None:
        share = f"no right answer among the first {CUT} for {report['n_failed']} of them, as for"
        out.fact("failed", share)
        out.fact("query", failure["text"])
        why = "no word in common" if not failure["shares_words"] else "other words weigh more"
        out.fact("wanted", f"{failure['right']}  {failure['says']}  ({why})")
        for hit in failure["found"]:
            _print_hit("1", hit)
    out.fact("took", out.duration(report["total_s"]))
    out.next_step("lsr", "serve", report["index"])
    out.next_step("lsr", "search", report["index"], NEXT_QUESTION)


def _print_hit(rank: str, hit: Mapping[str, Any]) -> None:
    matched = ", ".join(f"{part['word']} {part['score']:.2f}" for part in hit["words"][:TERMS])
    more = ", ..." if len(hit["words"]) > TERMS else ""
    click.echo(f"{rank:>4}  {hit['score']:7.3f}  {hit['doc_id']}  {hit['says']}")
    click.echo(f"{'':15}[{matched}{more}]")
