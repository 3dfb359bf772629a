"""`lsr bench`: how fast an index of your own is, and what asking for less would change."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from ..errors import UsageError
from . import _printing as out
from ._machine import cpu_model
from ._markdown import markdown_table

if TYPE_CHECKING:
    from index import Index

    from ..types import Qrels, SparseMatrix
    from ._bench import Row

EXAMPLES = """\b
Examples:
  lsr bench my.index
  lsr bench scifact.index --queries scifact --out bench/
  lsr bench my.index --queries questions.tsv --k 10 --filter lang=en --json
"""

BUSY = 0.5
"""A load average above this share of the cores is worth a warning."""


@click.command(epilog=EXAMPLES)
@click.argument("index", type=click.Path(path_type=Path))
@click.option(
    "--queries",
    help="A data set (judged: nDCG@10 is shown, too) or a .jsonl, .tsv, .csv or .parquet file. "
    "Without it, queries are made of documents of the index.",
)
@click.option("--split", help="Whose queries of a data set. Default: its usual split")
@click.option("--n", "n", type=int, default=300, show_default=True, help="How many queries.")
@click.option("--k", "ks", default="10,1000", show_default=True, help="Documents a query.")
@click.option("--filter", "filters", multiple=True, metavar="FIELD=VALUE", help="As in lsr search.")
@click.option("--encoder", help="Another folder of the encoder that built the index.")
@click.option("--no-pruning", is_flag=True, help="Leave out the rows of pruned vectors.")
@click.option(
    "--memory", default="1GiB", show_default=True, help="For the pruned rows; else a sample."
)
@click.option(
    "--out", "folder", type=click.Path(path_type=Path), help="Write report and plots here."
)
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def bench(
    *,
    index: Path,
    queries: str | None,
    split: str | None,
    n: int,
    ks: str,
    filters: tuple[str, ...],
    encoder: str | None,
    no_pruning: bool,
    memory: str,
    folder: Path | None,
    json: bool,
) -> None:
    """Measure searches of INDEX: latency, throughput, and the effect of approximation and pruning.

    One query at a time, in one thread (of a set, in one for each shard), but for the throughput. A
    query's time is the least of three passes over all queries. Approximate rows aim at a recall;
    their overlap says what they reached. Pruned rows rebuild the stored vectors in memory; nothing
    is changed.
    """
    from index import Index
    from index.bulk import parse_memory

    from ..progress import bar
    from ._bench import PRUNINGS, RECALLS, Bench
    from .search import conditions

    wanted_ks, budget = _ks(ks), parse_memory(memory)
    if folder is not None:
        from ._drawing import require_matplotlib

        require_matplotlib()  # now, not after minutes of measuring
    load = os.getloadavg()[0]
    with Index.open(index, read_only=True) as opened:
        vectors, ids, qrels, source = _queries(opened, queries, split, n, encoder)
        if not vectors.shape[0]:
            raise UsageError(f"{source}: no query shares a term with the vocabulary of {index}")
        steps = len(wanted_ks) * (2 + len(RECALLS)) * 3 + 10
        steps += 0 if no_pruning else len(PRUNINGS) * 3
        counter: Any = bar(
            total=steps * vectors.shape[0], unit="searches", desc="measured", quiet=None
        )
        with counter:
            asked = Bench(
                opened, vectors, ids, qrels, conditions(filters, opened.fields), counter.update
            )
            rows: list[Row] = []
            stages: dict[int, dict[str, float]] = {}
            times = {}
            for k in wanted_ks:
                found, stages[k], times[k] = asked.searched(k)
                rows += found
            rates = asked.throughput(wanted_ks[0])
            n_rebuilt = None
            if not no_pruning:
                pruned, n_rebuilt = asked.pruned(wanted_ks[0], budget)
                rows += pruned
        frame = _frame(opened, source, vectors, load, n_rebuilt)
    report = {
        **frame,
        "rows": [asdict(row) for row in rows],
        "stages_us": stages,
        "queries_per_second": rates,
    }
    if folder is not None:
        _write(folder, report, rows, times, rates, wanted_ks[0])
    if json:
        out.as_json(report)
        return
    for line in _lines(frame):
        out.fact(*line)
    out.table(*_table(rows))
    for k, stage in stages.items():
        parts = ", ".join(f"{name} {us:,.0f} us" for name, us in stage.items())
        out.fact("stages", f"k = {k}, mean CPU: {parts}")
    shown = ", ".join(f"{rate:,.0f} with {n} threads" for n, rate in rates.items())
    out.fact("rate", f"queries a second, k = {wanted_ks[0]}, in batches: {shown}")
    if folder is not None:
        out.fact("wrote", f"{folder}/report.md, report.json and plots as PNG and SVG")
    out.next_step("lsr", "search", str(index), "your question", "--recall", "0.95")


def _ks(text: str) -> list[int]:
    try:
        ks = [int(part) for part in text.split(",")]
    except ValueError:
        ks = []
    if not ks or min(ks) < 1:
        raise UsageError(f"--k {text}: wanted whole numbers of at least 1, for example 10,1000")
    return ks


def _queries(
    index: "Index", queries: str | None, split: str | None, n: int, encoder: str | None
) -> "tuple[SparseMatrix, list[str], Qrels | None, str]":
    """Query vectors, their ids, judgements if there are any, and what to call it all."""
    if n < 1:
        raise UsageError(f"--n {n}: wanted at least 1 query")
    if queries is None:
        from index.latency import sampled_queries

        views = [view for _, part in index.parts() for view in part.refresh().views]
        vectors = sampled_queries(views, n, n_terms=index.n_terms)
        ids = [str(i) for i in range(vectors.shape[0])]
        return vectors, ids, None, "heaviest terms of documents of the index, not real questions"
    from index import query_encoder

    from ..conventions import usual_split
    from ..datasets import load_dataset, read_queries

    qrels = None
    path = Path(queries)
    if path.is_file():
        asked = list(read_queries(path))[:n]
    else:
        dataset = load_dataset(queries)
        split = usual_split(dataset.name, split)
        asked = dataset.queries(split)[:n]
        known = {query.query_id for query in asked}
        qrels = {i: grades for i, grades in dataset.qrels(split).items() if i in known}
    encodes = query_encoder(index, encoder)
    vectors = encodes.encode_queries([query.text for query in asked])
    return vectors, [query.query_id for query in asked], qrels, queries


def _frame(
    index: "Index", source: str, vectors: "SparseMatrix", load: float, n_rebuilt: int | None
) -> dict[str, Any]:
    """What the figures hold for."""
    from index import _core

    facts = index.info()
    return {
        "index": str(index.path),
        "version": __version__,
        "encoder": None if index.encoder is None else index.encoder.name,
        "n_docs": facts["n_docs"],
        "n_postings": facts["n_postings"],
        "search_bytes": facts["search_bytes"],
        "queries": source,
        "n_queries": vectors.shape[0],
        "terms_per_query": vectors.nnz / vectors.shape[0],
        "machine": cpu_model(),
        "cores": os.cpu_count() or 1,
        "instructions": _core.cpu(),
        "load": load,
        "n_rebuilt": n_rebuilt,
        "n_shards": len(index.parts()),
    }


def _lines(frame: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The frame as facts."""
    per_posting = frame["search_bytes"] / max(1, frame["n_postings"])
    size = f"{frame['n_postings']:,} postings, {per_posting:.2f} bytes each for searching"
    terms = f"{frame['n_queries']:,}, {frame['terms_per_query']:.1f} terms each"
    code = f"{frame['instructions']}, lsr-search {frame['version']}"
    lines = [
        ("index", f"{frame['index']}, {out.counted(frame['n_docs'], 'document')}, {size}"),
        ("queries", f"{terms}: {out.printable(frame['queries'])}"),
        ("machine", f"{frame['machine']}, {frame['cores']} cores, {code}"),
    ]
    if frame["n_shards"] > 1:
        asked = f"{frame['n_shards']}, asked by a thread each; CPU is that of the one that merges"
        lines.append(("shards", asked))
    if frame["load"] > BUSY * frame["cores"]:
        lines.append(
            ("busy", f"the load was {frame['load']:.1f} when this began: read ratios, not times")
        )
    if frame["n_rebuilt"] is not None and frame["n_rebuilt"] < frame["n_docs"]:
        lines.append(
            ("sampled", f"pruned rows hold {frame['n_rebuilt']:,} documents: --memory for more")
        )
    return lines


def _table(rows: "Sequence[Row]") -> tuple[list[str], list[list[str]]]:
    judged = any(row.ndcg_10 is not None for row in rows)
    header = ["search, us", "k", "mean", "p50", "p90", "p99", "max", "CPU mean", "overlap"]
    header += ["nDCG@10"] * judged + ["proved exact", "pages", "size"]
    return header, [_cells(row, judged) for row in rows]


def _cells(row: "Row", judged: bool) -> list[str]:
    latency = row.latency
    cells = [row.label, f"{row.k}"]
    cells += [
        f"{us:,.0f}"
        for us in (
            latency.mean,
            latency.p50,
            latency.p90,
            latency.p99,
            latency.max,
            latency.cpu_mean,
        )
    ]
    cells.append(f"{row.overlap:.3f}")
    if judged:
        cells.append("-" if row.ndcg_10 is None else f"{row.ndcg_10:.4f}")
    cells += [f"{100 * row.certified:.0f} %", f"{100 * row.pages:.1f} %"]
    cells.append("" if row.n_bytes is None else out.size(row.n_bytes))
    return cells


def _write(
    folder: Path,
    report: Mapping[str, Any],
    rows: "Sequence[Row]",
    times: Mapping[int, Any],
    rates: Mapping[int, float],
    k: int,
) -> None:
    """The report as Markdown and JSON, and the plots; every file whole or not there."""
    import orjson

    from ._plots import draw_all

    folder.mkdir(parents=True, exist_ok=True)
    header, cells = _table(rows)
    lines = [f"- {verb}: {what}" for verb, what in _lines(report)]
    lines += ["", markdown_table(header, cells, text=1)]
    lines += ["", "![latency](latency.svg)", "![trade-off](trade-off.svg)"]
    lines += ["![throughput](throughput.svg)", ""]
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    for name, content in (
        ("report.md", "\n".join(["# lsr bench", "", *lines]).encode()),
        ("report.json", orjson.dumps(report, option=options)),
    ):
        fresh = folder / f".{name}.{os.getpid()}"
        fresh.write_bytes(content)
        fresh.replace(folder / name)
    draw_all(folder, rows=rows, times=times, queries_a_second=rates, k=k)
