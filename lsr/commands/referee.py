"""`lsr referee`: does other software, given the same integers, rank as an index does?"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..conventions import Convention, convention_of, conventional, depth, usual_split
from ..errors import UsageError
from . import _completing as complete
from . import _printing as out
from ._verdicts import Report, print_report

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
    convention: Convention

    @property
    def depth(self) -> int:
        """Documents a query that both sides rank."""
        return depth(self.convention, self.k)

    @property
    def has_passages(self) -> bool:
        return len(set(self.documents.doc_ids)) < len(self.documents.doc_ids)


@click.command(epilog=EXAMPLES)
@click.argument("index", type=click.Path(path_type=Path))
@click.option(
    "--queries",
    "dataset",
    required=True,
    metavar="DATASET",
    shell_complete=complete.datasets,
    help="Whose judged queries to ask.",
)
@click.option("--split", help="Which of its queries. Default: those of its usual split")
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
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Lucene's, up to 4 a core.",
)
@click.option("--json", "json", is_flag=True, help="Print one JSON list, a report a referee.")
@click.pass_context
def referee(
    ctx: click.Context,
    *,
    index: Path,
    dataset: str,
    split: str | None,
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
    from index import Effort, Index

    from ..datasets import load_dataset

    threads = Effort(threads=threads).n_threads
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
        out.fact(
            "asked",
            out.columns(n_queries, f"of {source.name}, the best {asked.depth} {noun}s each"),
        )
        for report in reports:
            print_report(report)
        if differs:
            out.next_step("lsr", "check", str(index))
        else:
            out.next_step("lsr", "evaluate", dataset, "--index", str(index))
    ctx.exit(1 if differs else 0)


def _asked(
    index: "Index", encoder: str | None, source: "Dataset", *, split: str | None, k: int
) -> _Asked:
    from index import quantised_documents, quantised_queries, query_encoder

    from ..referees import Ranked

    encodes = query_encoder(index, encoder)
    split = usual_split(source.name, split)
    convention = convention_of(source.name, split)
    queries = source.queries(split)
    vectors = encodes.encode_queries([query.text for query in queries])
    weights, units = quantised_queries(index, vectors)
    ours = [
        Ranked(hits.ranking.docids, hits.ranking.scores.astype(float))
        for hits in index.search_batch(vectors, depth(convention, k), collapse=False)
    ]
    documents = quantised_documents(index)
    qrels = source.qrels(split)
    return _Asked(index, encodes, documents, queries, weights, units, ours, qrels, k, convention)


def _judged(name: str, asked: _Asked, threads: int) -> Report:
    """Ask one referee and compare."""
    import scipy

    from ..referees import Ranked, compare_rankings, product_search
    from ..referees.lucene import TOLERANCE, Lucene

    if name == "lucene-bm25":
        _bm25_encoder(asked)  # refused before any work
    started = time.perf_counter()
    documents, ours = asked.documents, asked.ours
    integers = (documents.impacts, documents.docids, asked.weights, asked.depth)
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
    depths = [cut for cut in (10, 100) if cut <= asked.k]
    found = compare_rankings(ours, theirs, tolerance=tolerance, depths=depths)
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
        overlap_at_10=found.overlap.get(10),
        overlap_at_100=found.overlap.get(100),
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
    return lucene.bm25_search(texts, docids, queries, asked.depth, k1=encoder.k1, b=encoder.b)


def _ndcg(asked: _Asked, rankings: "Sequence[Ranked]") -> float:
    from ..measures import evaluate
    from ..types import Run

    names = dict(zip(asked.documents.docids.tolist(), asked.documents.doc_ids, strict=True))
    run = Run.from_rows(
        (query.query_id, [names[docid] for docid in one.docids.tolist()], one.scores)
        for query, one in zip(asked.queries, rankings, strict=True)
    )
    kept = conventional(run, asked.convention, asked.k)
    relevant_from = asked.convention.relevant_from
    return evaluate(kept, asked.qrels, ["nDCG@10"], relevant_from=relevant_from).means["nDCG@10"]


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
