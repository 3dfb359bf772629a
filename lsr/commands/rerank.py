"""`lsr rerank`: order the head of a run again, by scoring documents or by comparing them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ..errors import DatasetError, UsageError
from ..reranking import AGGREGATIONS, SAMPLERS
from . import _completing as complete
from . import _printing as out
from ._typed import refuse_given

if TYPE_CHECKING:
    from ..conventions import Convention
    from ..datasets import Dataset
    from ..encoders.checkpoint import Precision
    from ..reranking import Aggregation, PairwiseReranker, Reranker, Sampler
    from ..types import Qrels, Run

EXAMPLES = """\b
Examples:
  lsr evaluate scifact -k 100 --run bm25.trec
  lsr rerank bm25.trec --on scifact --with cross-encoder:models/ms-marco-minilm --output ce.trec
  lsr rerank bm25.trec --on scifact --with duo:models/duobert --sampler skip --budget 0.3
  lsr rerank bm25.trec --on scifact --with dense:models/gte-small --method pairwise
  lsr rerank bm25.trec --on scifact --with oracle:0.2 --study results/scifact-oracle
"""

MEASURES = ("nDCG@10", "RR@10", "AP")


@dataclass(frozen=True)
class Task:
    """What is re-ranked: a run over a collection, with the texts of its head."""

    run_path: Path
    command: tuple[str, ...]
    """What was typed, but for where results go."""
    dataset: str
    """As typed: a name or a path."""
    source: "Dataset"
    convention: "Convention"
    run: "Run"
    queries: Mapping[str, str]
    texts: Mapping[str, str]
    qrels: "Qrels"
    depth: int


@click.command(epilog=EXAMPLES)
@click.argument("run_path", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--on",
    "dataset",
    required=True,
    shell_complete=complete.datasets,
    help="The collection the run was made over.",
)
@click.option(
    "--with",
    "model",
    required=True,
    metavar="MODEL",
    help="cross-encoder:FOLDER, dense:FOLDER, duo:FOLDER (duoBERT or duoT5), or "
    "oracle:ERROR[:BIAS], which knows the judgements and errs.",
)
@click.option(
    "--method",
    type=click.Choice(["pointwise", "pairwise"]),
    help="Score documents, or compare them. Default: pairwise for duo and oracle.",
)
@click.option("--depth", type=int, default=50, show_default=True, help="Documents a query.")
@click.option(
    "--sampler",
    type=click.Choice(SAMPLERS),
    default="skip",
    show_default=True,
    help="Pairwise: which documents are compared: neighbours, evenly apart, or any.",
)
@click.option(
    "--aggregation",
    type=click.Choice(AGGREGATIONS),
    default="additive",
    show_default=True,
    help="Pairwise: how comparisons become a ranking.",
)
@click.option(
    "--budget",
    type=float,
    default=0.33,
    show_default=True,
    help="Pairwise: share of the k² - k comparisons.",
)
@click.option("--skip", type=int, help="Sampler skip: places apart. Default: evenly all round.")
@click.option("--symmetric", is_flag=True, help="Pairwise: ask every pair in both orders.")
@click.option(
    "--temperature",
    type=float,
    help="Pairwise from scores: what divides a difference. Default: 0.05 dense, 1 cross-encoder.",
)
@click.option(
    "--noise", type=float, default=0.0, help="Pairwise from scores: deviation of a normal error."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of samples and of errors.")
@click.option("--max-length", type=int, help="Tokens a network reads. Default: as its folder says.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="What a network multiplies in.",
)
@click.option("--split", help="Whose queries and judgements. Default: what figures are quoted for.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the new run (TREC).")
@click.option(
    "--study",
    type=click.Path(path_type=Path),
    help="Try every sampler, aggregation and budget; write STUDY.json, .md, .png and .svg.",
)
@click.option("--repeats", type=click.IntRange(1), default=5, help="Study: seeds. Default: 5")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def rerank(
    *,
    run_path: Path,
    dataset: str,
    model: str,
    method: Literal["pointwise", "pairwise"] | None,
    depth: int,
    sampler: "Sampler",
    aggregation: "Aggregation",
    budget: float,
    skip: int | None,
    symmetric: bool,
    temperature: float | None,
    noise: float,
    seed: int,
    max_length: int | None,
    precision: "Precision",
    split: str | None,
    output: Path | None,
    study: Path | None,
    repeats: int,
    json: bool,
) -> None:
    """Order the first documents of each query of RUN, a TREC file, again.

    Pairwise re-ranking makes --budget of all comparisons. The cache (LSR_CACHE) keeps the answers
    of duo: and the vectors of dense:, and no scores of cross-encoder:. --study makes all
    comparisons once and looks the samples up (arXiv 2207.04470).
    """
    from ..reranking import PairwiseReranker, PointwiseReranker
    from ._rerankers import (
        ORACLE,
        Noise,
        is_pairwise_only,
        open_preference,
        open_scorer,
        refuse_idle,
    )

    method = method or ("pairwise" if study or is_pairwise_only(model) else "pointwise")
    refuse_idle(click.get_current_context(), pointwise=method == "pointwise")
    if study is None:
        refuse_given(("repeats",), "--repeats is for --study")
    if model.startswith(ORACLE):
        names = ("temperature", "noise", "max_length", "precision")
        refuse_given(names, "an oracle is no network, and oracle:ERROR says how often it errs")
    task = _task(run_path, dataset, split, depth)
    network: dict[str, Any] = {"max_length": max_length, "precision": precision}
    if method == "pointwise":
        texts = list(task.texts.values())
        scorer, _ = open_scorer(model, queries=list(task.queries.values()), texts=texts, **network)
        reranker: Reranker = PointwiseReranker(scorer)
        _rerank(task, reranker, output, json=json, details={})
        return
    preference = open_preference(
        model,
        queries=task.queries,
        texts=task.texts,
        qrels=task.qrels,
        how=Noise(temperature, noise, seed),
        **network,
    )
    if study is not None:
        from ._rerank_study import write_study

        write_study(study, task, preference, repeats=repeats, symmetric=symmetric, json=json)
        return
    pairwise = PairwiseReranker(
        preference,
        sampler=sampler,
        aggregation=aggregation,
        budget=budget,
        symmetric=symmetric,
        skip=skip,
        seed=seed,
    )
    _rerank(task, pairwise, output, json=json, details=_comparisons(task, pairwise))


def _task(run_path: Path, dataset: str, split: str | None, depth: int) -> Task:
    from ..conventions import convention_of, conventional
    from ..datasets import load_dataset
    from ..reranking import texts_of
    from ..trec import read_run
    from ..types import Run

    if depth < 1:
        raise UsageError(f"--depth {depth}; wanted 1 document or more")
    source = load_dataset(dataset)
    convention = convention_of(source.name, split)
    queries = {query.query_id: query.text for query in source.queries(convention.split)}
    given = read_run(run_path)
    given = conventional(given, convention, len(given.doc_ids))
    ours = [query_id for query_id in given if query_id in queries]
    if not ours:
        raise DatasetError(
            f"{run_path} answers none of the {len(queries)} queries of {source.name} "
            f"{convention.split}; wanted a run over this collection, or another --split"
        )
    run = Run.from_rows(
        (q, [d for d, _ in ranked], [s for _, s in ranked])
        for q, ranked in ((q, given.ranked(q)) for q in ours)
    )
    head = {doc_id for query_id in run for doc_id, _ in run.ranked(query_id)[:depth]}
    return Task(
        run_path,
        _typed(),
        dataset,
        source,
        convention,
        run,
        queries,
        texts_of(source, head),
        source.qrels(convention.split),
        depth,
    )


def _typed() -> tuple[str, ...]:
    """The command line, but for options that say where results go."""
    context = click.get_current_context()
    words = ["lsr", "rerank"]
    for parameter in context.command.params:
        name = parameter.name or ""
        value = context.params.get(name)
        typed = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if not typed or name in ("output", "study", "repeats", "json"):
            continue
        words += [] if isinstance(parameter, click.Argument) else [parameter.opts[-1]]
        words += [] if isinstance(value, bool) else [str(value)]
    return tuple(words)


def _comparisons(task: Task, reranker: "PairwiseReranker") -> dict[str, Any]:
    lengths = [min(task.depth, len(task.run[query_id])) for query_id in task.run]
    made = sum(len(reranker.pairs(n)) for n in lengths)
    return {"comparisons": made, "share": made / max(1, sum(n * (n - 1) for n in lengths))}


def _rerank(
    task: Task,
    reranker: "Reranker",
    output: Path | None,
    *,
    json: bool,
    details: dict[str, Any],
) -> None:
    from ..measures import evaluate, printed_name
    from ..reranking import KeptPreferences, PairwiseReranker
    from ..reranking import rerank as order_again
    from ..trec import write_run

    ordered = order_again(
        task.run, task.queries, task.texts, reranker, depth=task.depth, progress=not json
    )
    if output is not None:
        write_run(output, ordered)
    runs = {str(task.run_path): task.run, reranker.name: ordered}
    grade = task.convention.relevant_from
    values = {
        name: evaluate(run, task.qrels, MEASURES, relevant_from=grade).means
        for name, run in runs.items()
    }
    if isinstance(reranker, PairwiseReranker) and isinstance(reranker.model, KeptPreferences):
        details = {**details, "computed": reranker.model.asked}
    if json:
        first, second = values.values()
        out.as_json(
            {
                "dataset": task.source.name,
                "split": task.convention.split,
                "reranker": reranker.name,
                "queries": len(ordered),
                "depth": task.depth,
                **details,
                "first_stage": first,
                "reranked": second,
                "output": None if output is None else str(output),
            }
        )
        return
    out.table(
        ["system", *map(printed_name, MEASURES)],
        [[name, *(f"{v:.4f}" for v in row.values())] for name, row in values.items()],
    )
    queries = out.counted(len(ordered), "query")
    out.fact("re-ranked", out.columns(queries, f"the first {task.depth} documents of each"))
    if details:
        known = "" if "computed" not in details else f", {details['computed']:,} of them new"
        pairs = out.counted(details["comparisons"], "comparison")
        out.fact("compared", out.columns(pairs, f"{details['share']:.1%} of all{known}"))
    if output is None:
        out.next_step(*task.command, "--output", "reranked.trec")
        return
    out.fact("wrote", out.columns(str(output), out.counted(len(ordered.doc_ids), "line")))
    out.next_step("lsr", "evaluate", task.dataset, "--from-run", str(output))
