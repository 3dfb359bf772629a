"""`lsr referee`: does other software, given the same integers, rank as an index does?"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from . import _printing as out

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from index import Index, Quantised
    from index.quantised import IntegerMatrix
    from lsr.datasets import Dataset
    from lsr.encoders import BM25Encoder, SparseEncoder
    from lsr.referees import Agreement, Difference, Ranked
    from lsr.referees.lucene import Lucene
    from lsr.types import Qrels, Query

EXAMPLES = """\b
Examples:
  lsr referee scifact.index --queries scifact
  lsr referee scifact.index --queries scifact --with lucene --json
  lsr referee scifact-bm25.index --queries scifact --with lucene --with lucene-bm25
"""

REFEREES = ("scipy", "lucene", "lucene-bm25")
BM25_TOLERANCE = 0.01
"""nDCG@10 by which BM25 here and in Lucene may differ: each rounds lengths and cuts words its own
way."""


@dataclass(frozen=True)
class Report:
    """What one referee says of one index."""

    referee: str
    version: str
    agrees: bool
    n_queries: int
    n_identical: int
    n_same_up_to_ties: int
    overlap_at_10: float
    overlap_at_100: float
    largest_gap: float
    """Largest relative difference of a document's score; lucene-bm25's are brought to our unit."""
    first_difference: dict[str, Any] | None
    ndcg_at_10: float | None
    """None for an index of passages, which are ranked one by one here."""
    referee_ndcg_at_10: float | None
    seconds: float


@dataclass(frozen=True)
class _Asked:
    """The integers on both sides, and what the index itself answers."""

    index: "Index"
    encoder: "SparseEncoder"
    documents: "Quantised"
    queries: "list[Query]"
    weights: "IntegerMatrix"
    units: "npt.NDArray[np.float64]"
    ours: "list[Ranked]"
    qrels: "Qrels"
    k: int

    @property
    def has_passages(self) -> bool:
        return len(set(self.documents.doc_ids)) < len(self.documents.doc_ids)


@click.command(epilog=EXAMPLES)
@click.argument("index", type=click.Path(path_type=Path))
@click.option(
    "--queries", "dataset", required=True, metavar="DATASET", help="Whose judged queries to ask."
)
@click.option("--split", default="test", show_default=True, help="Which of its queries.")
@click.option(
    "--with",
    "referees",
    multiple=True,
    type=click.Choice(REFEREES),
    help="scipy: multiply and sort. lucene: impact search over the same integers. lucene-bm25: "
    "Lucene's own BM25 over the texts of a BM25 index. Repeatable. Default: scipy",
)
@click.option(
    "-k", "k", type=click.IntRange(min=1), default=100, show_default=True, help="Documents a query."
)
@click.option("--encoder", help="Another folder of the encoder that built the index.")
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Lucene's."
)
@click.option("--json", "json", is_flag=True, help="Print one JSON list, a report a referee.")
@click.pass_context
def referee(
    ctx: click.Context,
    *,
    index: Path,
    dataset: str,
    split: str,
    referees: tuple[str, ...],
    k: int,
    encoder: str | None,
    threads: int,
    json: bool,
) -> None:
    """Rank the queries of DATASET by INDEX and by other software; exit 1 where they differ.

    scipy must give the same documents, order and integer scores; lucene the same up to ties of its
    float32 scores; lucene-bm25 the same nDCG@10 within 0.01. Passages are compared one by one.
    """
    from index import Index

    from ..datasets import load_dataset

    source = load_dataset(dataset)
    with Index.open(index, read_only=True) as opened:
        asked = _asked(opened, encoder, source, split=split, k=k)
        reports = [_judged(name, asked, threads) for name in referees or ("scipy",)]
    differs = not all(report.agrees for report in reports)
    if json:
        out.as_json([asdict(report) for report in reports])
    else:
        noun = "passage" if asked.has_passages else "document"
        n_docs = out.counted(len(asked.documents.docids), noun)
        out.fact("index", out.columns(n_docs, f"{index}, built by {asked.encoder.name}"))
        n_queries = out.counted(len(asked.queries), "query")
        out.fact("asked", out.columns(n_queries, f"of {source.name}, the best {k} {noun}s each"))
        for report in reports:
            _print(report)
        if differs:
            out.next_step("lsr", "check", str(index))
        else:
            out.next_step("lsr", "evaluate", dataset, "--index", str(index))
    ctx.exit(1 if differs else 0)


def _asked(index: "Index", encoder: str | None, source: "Dataset", *, split: str, k: int) -> _Asked:
    from index import quantised_documents, quantised_queries, query_encoder

    from ..referees import Ranked

    encodes = query_encoder(index, encoder)
    queries = source.queries(split)
    vectors = encodes.encode_queries([query.text for query in queries])
    weights, units = quantised_queries(index, vectors)
    ours = [
        Ranked(hits.ranking.docids, hits.ranking.scores.astype(float))
        for hits in index.search_batch(vectors, k, collapse=False)
    ]
    documents = quantised_documents(index)
    return _Asked(index, encodes, documents, queries, weights, units, ours, source.qrels(split), k)


def _judged(name: str, asked: _Asked, threads: int) -> Report:
    """Ask one referee and compare."""
    import scipy

    from ..referees import Ranked, compare_rankings, product_search
    from ..referees.lucene import TOLERANCE, Lucene

    if name == "lucene-bm25":
        _bm25_encoder(asked)  # refused before any work
    started = time.perf_counter()
    documents, ours = asked.documents, asked.ours
    integers = (documents.impacts, documents.docids, asked.weights, asked.k)
    if name == "scipy":
        version, tolerance = f"scipy {scipy.__version__}", 0.0
        theirs = product_search(*integers)
    else:
        tolerance = TOLERANCE
        with tempfile.TemporaryDirectory(prefix="lsr-lucene-") as folder:
            lucene = Lucene.find(Path(folder), threads=threads)
            version = lucene.version
            if name == "lucene":
                theirs = lucene.impact_search(*integers)
            else:
                theirs = _lucenes_bm25(asked, lucene)
                ours = [
                    Ranked(one.docids, one.scores * unit)
                    for one, unit in zip(ours, asked.units.tolist(), strict=True)
                ]
    found = compare_rankings(ours, theirs, tolerance=tolerance)
    # Lucene's own BM25 never gives our scores; there, the first other document is what tells.
    beyond_ties = None if name == "lucene-bm25" else found.first_beyond_ties
    first = beyond_ties or found.first_difference
    effects = (None, None) if asked.has_passages else (_ndcg(asked, ours), _ndcg(asked, theirs))
    return Report(
        referee=name,
        version=version,
        agrees=_agrees(name, found, *effects),
        n_queries=found.n_queries,
        n_identical=found.n_identical,
        n_same_up_to_ties=found.n_same_up_to_ties,
        overlap_at_10=found.overlap[10],
        overlap_at_100=found.overlap[100],
        largest_gap=found.largest_gap,
        first_difference=_named(first, asked),
        ndcg_at_10=effects[0],
        referee_ndcg_at_10=effects[1],
        seconds=time.perf_counter() - started,
    )


def _agrees(name: str, found: "Agreement", ours: float | None, theirs: float | None) -> bool:
    if name == "scipy":
        return found.n_identical == found.n_queries and found.largest_gap == 0
    if name == "lucene":
        return found.is_same_up_to_ties
    assert ours is not None, "refused for passages"
    assert theirs is not None, "refused for passages"
    return abs(ours - theirs) <= BM25_TOLERANCE


def _bm25_encoder(asked: _Asked) -> "BM25Encoder":
    """The index's own, whose constants Lucene is given."""
    from ..encoders.bm25 import BM25Encoder

    if not isinstance(asked.encoder, BM25Encoder):
        raise UsageError(
            f"--with lucene-bm25: {asked.index.path} was built by {asked.encoder.name}; wanted an "
            "index built with --encoder bm25, or --with lucene"
        )
    if asked.has_passages:
        raise UsageError(
            f"--with lucene-bm25: {asked.index.path} holds passages; wanted one of whole documents"
        )
    return asked.encoder


def _lucenes_bm25(asked: _Asked, lucene: "Lucene") -> "list[Ranked]":
    encoder, docids = _bm25_encoder(asked), asked.documents.docids
    texts = [document.text(encoder.text_fields) for document in asked.index.documents(docids)]
    queries = [query.text for query in asked.queries]
    return lucene.bm25_search(texts, docids, queries, asked.k, k1=encoder.k1, b=encoder.b)


def _ndcg(asked: _Asked, rankings: "Sequence[Ranked]") -> float:
    from ..measures import evaluate
    from ..types import Run

    names = dict(zip(asked.documents.docids.tolist(), asked.documents.doc_ids, strict=True))
    run = Run.from_rows(
        (query.query_id, [names[docid] for docid in one.docids.tolist()], one.scores)
        for query, one in zip(asked.queries, rankings, strict=True)
    )
    return evaluate(run, asked.qrels, ["nDCG@10"]).means["nDCG@10"]


def _named(difference: "Difference | None", asked: _Asked) -> dict[str, Any] | None:
    """A difference with the caller's names."""
    if difference is None:
        return None
    names = dict(zip(asked.documents.docids.tolist(), asked.documents.doc_ids, strict=True))

    def entry(one: tuple[int, float] | None) -> dict[str, Any] | None:
        return None if one is None else {"doc_id": names[one[0]], "score": one[1]}

    return {
        "query_id": asked.queries[difference.query].query_id,
        "rank": difference.rank,
        "ours": entry(difference.ours),
        "theirs": entry(difference.theirs),
    }


def _print(report: Report) -> None:
    verdict = "agrees" if report.agrees else "differs"
    same = f"{report.n_identical:,} of {report.n_queries:,} rankings identical"
    if report.referee == "lucene":
        same += f", {report.n_same_up_to_ties:,} up to ties"
    took = f"{report.version}, {out.duration(report.seconds)}"
    out.fact(verdict, out.columns(report.referee, f"{same} ({took})"))
    out.fact(
        "overlap",
        out.columns(f"{report.overlap_at_10:.4f} at 10", f"{report.overlap_at_100:.4f} at 100"),
    )
    out.fact("gap", out.columns(f"{report.largest_gap:.2g}", "largest relative gap of a score"))
    if report.first_difference is not None:
        where = report.first_difference
        sides = [
            "nothing" if one is None else f"{out.printable(one['doc_id'])} {one['score']:.10g}"
            for one in (where["ours"], where["theirs"])
        ]
        rank = f"rank {where['rank']}"
        what = f"of query {where['query_id']}: {sides[0]} here, {sides[1]} there"
        out.fact("first", out.columns(rank, what))
    if report.ndcg_at_10 is not None:
        here, there = f"{report.ndcg_at_10:.4f} here", f"{report.referee_ndcg_at_10:.4f} there"
        out.fact("nDCG@10", out.columns(here, there))
