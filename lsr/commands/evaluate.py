"""`lsr evaluate`: how good an encoder is on a judged collection, as one row of a table."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from ..errors import UsageError
from . import _printing as out
from ._encoders import EncoderChoice, encoder_options
from ._systems import SparseStage, cached_index

if TYPE_CHECKING:
    from lsr.datasets import Dataset
    from lsr.types import Qrels, Run

EXAMPLES = """\b
Examples:
  lsr evaluate scifact
  lsr evaluate nfcorpus --encoder runs/encoder --run nfcorpus.trec
  lsr evaluate scifact --index scifact.index
  lsr evaluate scifact --from-run other-system.trec
"""


@dataclass(frozen=True)
class Row:
    """All that a results table needs to know about one evaluation."""

    dataset: str
    split: str
    system: str
    n_queries: int
    n_unanswered: int
    measures: dict[str, float]
    command: str
    version: str
    dataset_fingerprint: str
    encoder: str | None = None
    encoder_space: str | None = None
    encoder_build: str | None = None
    index: str | None = None
    index_fingerprint: str | None = None
    n_docs: int | None = None
    terms_per_document: float | None = None
    terms_per_query: float | None = None
    flops: float | None = None
    """Multiply-adds an average query costs against an average document: the sum over terms of the
    shares of queries and of documents that have the term (arXiv 2004.05665)."""
    search_s: float | None = None


@click.command(epilog=EXAMPLES)
@click.argument("dataset")
@encoder_options
@click.option("--index", "index_path", type=click.Path(path_type=Path), help="An index to search.")
@click.option(
    "--from-run", type=click.Path(path_type=Path), help="Measure this TREC run; search nothing."
)
@click.option("--split", default="test", show_default=True, help="Whose judgements to use.")
@click.option("-k", "k", type=int, default=1000, show_default=True, help="Documents a query.")
@click.option(
    "--measure",
    "measures",
    multiple=True,
    help="A measure as ir-measures spells it. Repeatable. Default: nDCG@10 RR@10 R@100 R@1000 AP",
)
@click.option("--run", "run_path", type=click.Path(path_type=Path), help="Write the run (TREC).")
@click.option("--per-query", is_flag=True, help="With --json: the value of every query as well.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def evaluate(
    *,
    dataset: str,
    choice: EncoderChoice,
    index_path: Path | None,
    from_run: Path | None,
    split: str,
    k: int,
    measures: tuple[str, ...],
    run_path: Path | None,
    per_query: bool,
    json: bool,
) -> None:
    """Search the judged queries of DATASET and print what the measures say.

    The index is built in the cache (LSR_CACHE) unless --index names one, and found there again as
    long as neither the collection nor the encoder changes. A judged query without answer counts 0.
    """
    from ..datasets import load_dataset
    from ..measures import DEFAULT
    from ..measures import evaluate as measure
    from ..trec import read_run, write_run

    if index_path is not None and from_run is not None:
        raise UsageError("--index and --from-run are two answers to one question; give one")
    source = load_dataset(dataset)
    qrels = source.qrels(split)
    common: dict[str, Any] = {
        "dataset": source.name,
        "split": split,
        "dataset_fingerprint": source.fingerprint,
        "version": __version__,
        "command": shlex.join(_arguments(dataset, choice, index_path, from_run, split, k)),
    }
    details: dict[str, Any]
    if from_run is not None:
        run = read_run(from_run)
        details = {"system": str(from_run)}
    else:
        run, details = _searched(source, choice, index_path, split=split, k=k)
    if run_path is not None:
        write_run(run_path, run)
    evaluation = measure(run, qrels, measures or DEFAULT)
    row = Row(
        **common,
        **details,
        n_queries=evaluation.n_queries,
        n_unanswered=evaluation.n_unanswered,
        measures=evaluation.means,
    )
    if json:
        out.as_json({**asdict(row), **({"per_query": evaluation.per_query} if per_query else {})})
        return
    _print(row, run_path, qrels=qrels, run=run)


def _searched(
    source: "Dataset", choice: EncoderChoice, index_path: Path | None, *, split: str, k: int
) -> "tuple[Run, dict[str, Any]]":
    """Search every judged query; the run, and what to report of the system that made it."""
    from index import Index, query_encoder

    index = Index.open(index_path) if index_path is not None else cached_index(source, choice)
    with index:
        encoder = query_encoder(index, None if choice.is_bm25 else choice.encoder)
        stage = SparseStage(index, encoder)
        run = stage.search({query.query_id: query.text for query in source.queries(split)}, k)
        facts = stage.describe()
        del facts["encode_queries_s"]
        return run, {"system": encoder.name, **facts}


def _arguments(
    dataset: str,
    choice: EncoderChoice,
    index_path: Path | None,
    from_run: Path | None,
    split: str,
    k: int,
) -> Sequence[str]:
    """What to type to get this row again."""
    words = ["lsr", "evaluate", dataset]
    if index_path is not None:
        words += ["--index", str(index_path)]
    elif from_run is not None:
        return [*words, "--from-run", str(from_run), *(["--split", split] * (split != "test"))]
    else:
        words += choice.arguments()
    words += ["--split", split] if split != "test" else []
    return [*words, "-k", str(k)] if k != 1000 else words


def _print(row: Row, run_path: Path | None, *, qrels: "Qrels", run: "Run") -> None:
    from ..measures import printed_name

    out.table(
        [
            "dataset",
            "system",
            *map(printed_name, row.measures),
            "terms/doc",
            "terms/query",
            "FLOPS",
        ],
        [
            [
                row.dataset if row.split == "test" else f"{row.dataset} {row.split}",
                row.system,
                *(f"{value:.4f}" for value in row.measures.values()),
                *(
                    "-" if value is None else f"{value:.1f}"
                    for value in (row.terms_per_document, row.terms_per_query)
                ),
                "-" if row.flops is None else f"{row.flops:.2f}",
            ]
        ],
    )
    judged = sum(len(grades) for grades in qrels.values())
    queries = out.counted(row.n_queries, "query")
    facts = f"{out.counted(judged, 'judgement')}, {row.n_unanswered} without any answer"
    if row.search_s is not None:
        facts += f", {out.duration(row.search_s)} for all of them"
    out.fact("evaluated", out.columns(queries, facts))
    out.fact("dataset", out.columns(row.dataset_fingerprint, row.dataset))
    if row.encoder is not None:
        assert row.encoder_build is not None
        assert row.index_fingerprint is not None
        out.fact("encoder", out.columns(row.encoder_build, f"space {row.encoder_space}"))
        out.fact("index", out.columns(row.index_fingerprint, str(row.index)))
    if run_path is not None:
        out.fact("wrote", out.columns(str(run_path), f"{len(run.doc_ids):,} lines"))
    out.fact("command", row.command)
    if row.index is not None:
        out.next_step("lsr", "search", row.index, "your question")
    else:
        out.next_step("lsr", "evaluate", row.dataset)
