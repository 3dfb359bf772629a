"""`lsr evaluate`: how good systems are on judged collections, as rows of a table."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ..conventions import convention_of
from ..errors import LsrError, UsageError
from . import _completing as complete
from . import _printing as out
from ._belonging import require_documents
from ._cells import Cell, Collection, beyond
from ._drawing import require_matplotlib
from ._encoders import EncoderChoice, encoder_options
from ._entrants import Entrant
from ._evaluated import tell_all, tell_one
from ._page import require_main, write_page
from ._runs import require_place
from ._suite import Outcome, require_run_of, run_suite, write_summary
from ._system_options import SystemOptions, entrants_of, system_options, systems_option

EXAMPLES = """\b
Examples:
  lsr evaluate scifact
  lsr evaluate nfcorpus --encoder runs/encoder --run nfcorpus.trec
  lsr evaluate scifact --index scifact.index
  lsr evaluate scifact --from-run other-system.trec
  lsr evaluate scifact --encoder runs/encoder --dense models/gte-small --fuse rrf
  lsr evaluate scifact --qrels ours.tsv --queries ours.jsonl
  lsr evaluate scifact cranfield cqadupstack --encoder runs/encoder
  lsr evaluate beir-13 --systems systems.toml --output results/beir

\b
Names: a path, a folder in LSR_DATA, a BEIR name (fetched where there is a network), trec-dl-2019,
trec-dl-2020, msmarco-dev, nanobeir/NAME, miracl/LANGUAGE, cqadupstack/PART, irds:ID of ir_datasets;
cqadupstack, nanobeir and beir-13 are groups.
"""


@click.command(epilog=EXAMPLES)
@click.argument(
    "datasets", nargs=-1, required=True, metavar="DATASET...", shell_complete=complete.datasets
)
@encoder_options
@system_options
@click.option("--index", "index_path", type=click.Path(path_type=Path), help="An index to search.")
@click.option(
    "--from-run", type=click.Path(path_type=Path), help="Measure this TREC run; search nothing."
)
@systems_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep runs, figures and tables in this folder; what it holds already is not done again.",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the figures as a page with a plot to this folder (extra: plot).",
)
@click.option("--split", help="Whose judgements to use. Default: test; dev for msmarco and miracl.")
@click.option(
    "--qrels",
    type=click.Path(path_type=Path),
    help="Judgements to use in place of the collection's own (TREC or BEIR columns).",
)
@click.option(
    "--queries", type=click.Path(path_type=Path), help="With --qrels: a file of the queries' texts."
)
@click.option(
    "-k",
    "k",
    type=int,
    default=1000,
    show_default=True,
    help="Documents a query; measures beyond are left out.",
)
@click.option(
    "--measure",
    "measures",
    multiple=True,
    help="A measure of ir-measures, in any case; repeatable. Default: "
    "nDCG@10 RR@10 R@100 R@1000 AP",
)
@click.option(
    "--sources",
    type=click.Path(path_type=Path),
    help="For AllSources@k: which documents stand in for one another (query-id corpus-id source).",
)
@click.option("--run", "run_path", type=click.Path(path_type=Path), help="Write the run (TREC).")
@click.option("--per-query", is_flag=True, help="With --json: the value of every query as well.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def evaluate(
    *,
    datasets: tuple[str, ...],
    choice: EncoderChoice,
    parts: SystemOptions,
    index_path: Path | None,
    from_run: Path | None,
    systems_path: Path | None,
    output: Path | None,
    page: Path | None,
    split: str | None,
    qrels: Path | None,
    queries: Path | None,
    k: int,
    measures: tuple[str, ...],
    sources: Path | None,
    run_path: Path | None,
    per_query: bool,
    json: bool,
) -> None:
    """Search the judged queries of each DATASET and print what the measures say.

    Indexes and vectors are made in the cache (LSR_CACHE) unless --index names one, and found there
    again as long as neither the collection nor the encoder changes. A judged query without answer
    counts 0. Collections are measured as their publishers do; rows of systems that have seen a
    collection get a mark; means are printed only over sets that every system answered.
    """
    from ..datasets import members
    from ..measures import DEFAULT, spelled
    from ..trec import write_run

    if k < 1:
        raise UsageError(f"-k {k}: wanted at least 1 document a query")
    measures = tuple(map(spelled, measures))  # before hours of encoding
    if all(beyond(name, k) for name in measures or DEFAULT):
        raise UsageError(
            f"-k {k}: {', '.join(measures)} look at more documents than that; give a larger -k"
        )
    if per_query and not json:
        raise UsageError("--per-query adds to what --json prints; give both")
    names = members(datasets)
    entrants = entrants_of(choice, parts, index_path, from_run, systems_path)
    alone = len(names) == 1 and len(entrants) == 1
    for option, value in (
        ("--index", index_path),
        ("--from-run", from_run),
        ("--qrels", qrels),
        ("--sources", sources),
    ):
        if value is not None and len(names) > 1:
            raise UsageError(f"{option} belongs to one collection, got {', '.join(names)}")
    if run_path is not None and not alone:
        raise UsageError(
            f"--run {run_path} is one file for several runs; give --output FOLDER, which keeps all"
        )
    if run_path is not None:
        require_place(run_path, [from_run, qrels, queries, sources, systems_path])
    collections = [
        Collection.open(name, split=split, qrels=qrels, queries=queries, sources=sources)
        for name in names
    ]

    usual = {convention_of(one.source.name).split for one in collections}

    def again(names: Sequence[str], entrant: Entrant | None) -> str:
        words = ["lsr", "evaluate", *names]
        words += ["--systems", str(systems_path)] if systems_path is not None else []
        words += entrant.arguments() if entrant is not None else []
        for option, value in (
            ("--split", None if usual == {split} else split),
            ("--qrels", qrels),
            ("--queries", queries),
            ("--sources", sources),
        ):
            words += [] if value is None else [option, str(value)]
        for name in measures:
            words += ["--measure", name]
        return shlex.join([*words, *(["-k", str(k)] if k != 1000 else [])])

    whole = again(datasets, entrants[0] if systems_path is None else None)
    for option, folder in (("--output", output), ("--page", page)):
        whole += f" {option} {shlex.quote(str(folder))}" if folder is not None else ""
    if index_path is not None:
        from index import Index

        with Index.open(index_path, read_only=True) as opened:
            require_documents(opened, collections[0].qrels, collections[0].source.name)
    if run_path is not None:
        require_run_of(collections[0])
    if page is not None:  # before hours of measuring
        require_matplotlib()
        require_main(measures or DEFAULT, k)
    outcome = run_suite(
        collections,
        entrants,
        k=k,
        measures=measures or DEFAULT,
        command=lambda collection, entrant: again([collection.asked], entrant),
        folder=output,
    )
    written = [] if output is None else write_summary(output, outcome, command=whole)
    written += [] if page is None else write_page(page, outcome, command=whole)
    if run_path is not None:
        write_run(run_path, outcome.cells[0].whole_run())
    if json:
        out.as_json(_as_json(outcome, alone=alone, per_query=per_query))
    elif alone:
        tell_one(outcome.cells[0], collections[0], run_path, written)
    else:
        tell_all(outcome, whole, written)
    if outcome.failed:
        raise LsrError(
            f"{out.counted(len(outcome.failed), 'cell')} failed, see above; the same command goes "
            "on from what is done" + ("" if output else ", if it has --output FOLDER")
        )


def _as_json(outcome: Outcome, *, alone: bool, per_query: bool) -> dict[str, Any]:
    rows = [
        {**asdict(cell.row), **({"per_query": _measured(cell)} if per_query else {})}
        for cell in outcome.cells
    ]
    if alone:
        return rows[0]
    found = outcome.means
    return {
        "rows": rows,
        "means": [asdict(mean) for mean in found.rows],
        "no_mean_because": list(found.refused),
        "failed": list(outcome.failed),
    }


def _measured(cell: Cell) -> dict[str, dict[str, float]]:
    """The values of the measures that were asked for and are within k."""
    return {n: cell.per_query[n] for n, mean in cell.row.measures.items() if mean is not None}
