"""`lsr compare`: whether a system beats a baseline, by how much, where, and why not."""

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import orjson

from .. import __version__
from ..errors import UsageError
from ..files import atomic_write
from ..significance import RESAMPLES, SEED
from . import _completing as complete
from . import _printing as out
from ._compare_tables import Extremes, Query, Report, markdown, print_report
from ._comparison import Compared, compared, means, tested
from ._judged import read_judged
from ._kept import collections_of
from ._reasons import reason
from ._sides import Side, is_index, names_of, opened

EXAMPLES = """\b
Examples:
  lsr compare bm25.trec ours.trec --on scifact
  lsr compare bm25 runs/encoder --on scifact,nfcorpus --output comparison/
  lsr compare bm25.index ours.index --on scifact --explain 10
  lsr compare results:bm25 results:splade results:hybrid
  lsr compare 'runs/bm25-{}.trec' 'runs/ours-{}.trec' --on scifact,nfcorpus
  lsr compare a.trec b.trec --qrels qrels.txt --measure nDCG@10 --json

\b
A system is a TREC run, a live index, FOLDER:SYSTEM of `lsr evaluate --output FOLDER`, bm25, an
encoder's folder, dense:FOLDER, or SYSTEMS.toml:NAME. For several collections: DATASET=RUN,...,
a name with {} where the collection's stands, a folder, or a quoted pattern.
"""

MEASURES = ("nDCG@10", "RR@10", "R@100")


@click.command(epilog=EXAMPLES)
@click.argument("baseline")
@click.argument("systems", nargs=-1, required=True, metavar="SYSTEM...")
@click.option(
    "--on",
    "on",
    multiple=True,
    metavar="DATASET[,DATASET]",
    help="What to compare on. Default: what the FOLDER:SYSTEMs share.",
    shell_complete=complete.datasets,
)
@click.option("--split", help="Whose judgements to use. Default: the collection's usual split.")
@click.option(
    "--qrels",
    type=click.Path(path_type=Path),
    help="A file of judgements, in place of --on or its.",
)
@click.option(
    "--queries", type=click.Path(path_type=Path), help="With --qrels: a file of the queries' texts."
)
@click.option(
    "--measure",
    "measures",
    multiple=True,
    help=f"A measure of ir-measures; repeatable, the first one ranks queries. "
    f"Default: {' '.join(MEASURES)}",
)
@click.option("--names", metavar="A,B", help="What to call the systems, the baseline first.")
@click.option("-k", "k", type=int, default=1000, show_default=True, help="Documents a query, live.")
@click.option(
    "--show",
    type=click.IntRange(min=0),
    help="Worst and best queries to list. Default: 10 for two systems on one collection, else 3.",
)
@click.option(
    "--explain",
    "n_explained",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="How many of those on each end to explain.",
)
@click.option(
    "--missing",
    type=click.Choice(["refuse", "zero", "shared"]),
    default="refuse",
    show_default=True,
    help="Queries that one run file answers and another does not.",
)
@click.option(
    "--resamples",
    type=click.IntRange(min=100),
    default=RESAMPLES,
    show_default=True,
    help="Random assignments of a test and bootstrap samples of an interval.",
)
@click.option("--seed", type=int, default=SEED, show_default=True, help="Of all resampling.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write report.md, report.json, per-query.tsv and the plots here.",
)
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def compare(
    *,
    baseline: str,
    systems: tuple[str, ...],
    on: tuple[str, ...],
    split: str | None,
    qrels: Path | None,
    queries: Path | None,
    measures: tuple[str, ...],
    names: str | None,
    k: int,
    show: int | None,
    n_explained: int,
    missing: str,
    resamples: int,
    seed: int,
    output: Path | None,
    json: bool,
) -> None:
    """Compare each SYSTEM with BASELINE on the same judged queries.

    Per collection and measure: the difference of the means with its interval, the p of a paired
    randomisation and of a paired t test, both corrected over all comparisons (Holm), an effect
    size, and the queries won and lost. Then the queries on which most is lost and gained; for live
    indexes with the relevant document that decided it, taken apart on both sides.
    """
    from ..datasets import members
    from ..measures import spelled

    measures = tuple(map(spelled, measures))  # before anything is searched
    if output is not None:
        from ._drawing import require_matplotlib

        require_matplotlib()
    targets = [baseline, *systems]
    called = names_of(targets) if names is None else _given(names, len(targets))
    asked = measures or MEASURES
    wanted = members([name for group in on for name in group.split(",") if name])
    if not wanted and qrels is None:
        wanted = collections_of(targets)
    judged = read_judged(wanted, split=split, qrels=qrels, queries=queries)
    listed = show if show is not None else 10 if len(judged) * len(systems) == 1 else 3
    collections: list[Compared] = []
    extremes: list[Extremes] = []
    for number, one in enumerate(judged, start=1):
        with ExitStack() as stack:
            sides = [
                stack.enter_context(opened(target, name, one, judged, k))
                for target, name in zip(targets, called, strict=True)
            ]
            found = compared(one, sides, asked, missing=missing)
            collections.append(found)
            extremes += [
                _extremes(found, asked[0], sides[0], side, listed, n_explained)
                for side in sides[1:]
            ]
        if len(judged) > 1:
            out.note("measured", out.columns(one.name, f"{number} of {len(judged)}"))
    words = ["lsr", "compare", *targets, *(["--on", ",".join(wanted)] if wanted else [])]
    for option, value, usual in (
        ("--split", split, None),
        ("--qrels", qrels, None),
        ("--queries", queries, None),
        ("--names", names, None),
        ("-k", k, 1000),
        ("--missing", missing, "refuse"),
        ("--resamples", resamples, RESAMPLES),
        ("--seed", seed, SEED),
    ):
        words += [] if value == usual else [option, str(value)]
    words += [word for name in measures for word in ("--measure", name)]
    rows = tested(collections, asked, resamples=resamples, seed=seed)
    averages = means(collections, asked, resamples=resamples, seed=seed)
    report = Report(
        baseline=called[0],
        systems=tuple(called[1:]),
        measures=tuple(asked),
        rows=tuple(rows),
        means=tuple(averages),
        extremes=tuple(extremes),
        places={one.judged.name: one.places for one in collections},
        notes=tuple(note for one in collections for note in one.notes),
        resamples=resamples,
        seed=seed,
        command=shlex.join(words),
        version=__version__,
    )
    written = [] if output is None else _write(output, report, collections)
    if json:
        out.as_json(asdict(report))
        return
    print_report(report)
    if output is not None:
        out.fact("wrote", out.columns(str(output), f"{len(written)} files"))
    _print_next(report, output)


def _given(names: str, n: int) -> list[str]:
    called = [name.strip() for name in names.split(",")]
    if len(called) != n or len(set(called)) < n or not all(called):
        raise UsageError(f"--names {names}: wanted {n} different names, the baseline's first")
    return called


def _extremes(
    found: Compared, measure: str, a: Side, b: Side, show: int, n_explained: int
) -> Extremes:
    deltas = list(found.deltas(measure, a.name, b.name).items())

    def query(number: int, query_id: str, delta: float) -> Query:
        why = reason(found.judged, query_id, a, b, delta) if number < n_explained else None
        first, second = (found.values[side.name][measure][query_id] for side in (a, b))
        return Query(query_id, found.judged.text(query_id), first, second, delta, why)

    worst = [pair for pair in deltas[:show] if pair[1] < 0]
    best = [pair for pair in deltas[::-1][:show] if pair[1] > 0]
    return Extremes(
        found.judged.name,
        b.name,
        tuple(query(i, *pair) for i, pair in enumerate(worst)),
        tuple(query(i, *pair) for i, pair in enumerate(best)),
    )


def _write(folder: Path, report: Report, collections: Sequence[Compared]) -> list[Path]:
    """Report, values of every query and plots; every file whole or not there."""
    from ._compare_plots import draw_all

    folder.mkdir(parents=True, exist_ok=True)
    plots = draw_all(folder, collections, report.rows, report.means, report.measures[0])
    names = [path.stem for path in plots if path.suffix == ".svg"]
    texts = {
        "report.md": markdown(report, names).encode(),
        "report.json": orjson.dumps(asdict(report), option=orjson.OPT_INDENT_2),
        "per-query.tsv": _per_query(report, collections).encode(),
    }
    for name, content in texts.items():
        with atomic_write(folder / name) as file:
            file.write(content)
    return [*plots, *(folder / name for name in texts)]


def _per_query(report: Report, collections: Sequence[Compared]) -> str:
    lines = ["\t".join(["dataset", "measure", "query_id", report.baseline, *report.systems])]
    for one in collections:
        for measure in report.measures:
            columns: list[Any] = [values[measure] for values in one.values.values()]
            lines += [
                "\t".join(
                    [one.judged.name, measure, q, *(f"{column[q]:.6g}" for column in columns)]
                )
                for q in columns[0]
            ]
    return "\n".join(lines) + "\n"


def _print_next(report: Report, output: Path | None) -> None:
    for one in report.extremes:
        places = report.places[one.dataset]
        a, b = places[report.baseline], places[one.system]
        for query in one.worst:
            if query.reason is not None and is_index(Path(a)) and is_index(Path(b)):
                text = out.printable(query.text)
                out.next_step("lsr", "explain", b, text, query.reason.doc_id, "--vs", a)
                return
    if output is None:
        out.next_step(*shlex.split(report.command), "--output", "comparison")
    else:
        out.next_step("less", str(output / "report.md"))
