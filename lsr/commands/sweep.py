"""`lsr sweep`: what pruning, rounding, caps and approximation cost, and what they save."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .. import __version__
from ..errors import UsageError
from ..systems import BM25
from . import _completing as complete
from . import _printing as out
from ._encoders import EncoderChoice
from ._postings_kept import postings_kept

if TYPE_CHECKING:
    from ..encoders.side import Precision
    from ._sweep_report import Findings

EXAMPLES = """\b
Examples:
  lsr sweep scifact --output sweeps/scifact
  lsr sweep nfcorpus --encoder bm25 --encoder runs/encoder --grid full --output sweeps/nfcorpus
  lsr sweep scifact --prune-terms 32,64,128 --query-terms 8,16 --output sweeps/few
  lsr sweep scifact --grid my-grid.toml --output sweeps/mine

\b
A grid file, every key optional; what is not listed is left whole:
  encoder = ["bm25", "runs/encoder"]
  prune_terms = [32, 64]
  prune_mass = [0.8]
  prune_ratio = [0.1]
  prune_postings = [0.5]
  quantise = ["8bit", "binary"]
  query_terms = [8]
  recall = [0.9]
  pages = [4]
  [[prune]]
  terms = 64
  postings = 0.5
"""

F = TypeVar("F", bound=Callable[..., Any])


class _Listed(click.ParamType[tuple[int | float | str, ...]]):
    """Values separated by commas, e.g. `32,64`."""

    def __init__(self, kind: Callable[[str], int | float | str], name: str) -> None:
        self.kind = kind
        self.name = name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | float | str, ...]:
        """The values in their order."""
        try:
            return tuple(self.kind(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r}; wanted numbers separated by commas, such as 32,64", param, ctx)


_NUMBERS, _SHARES, _NAMES = _Listed(int, "N,..."), _Listed(float, "X,..."), _Listed(str, "NAME,...")
_POSTINGS = _Listed(postings_kept, "X,...")
_AXES = (
    ("--prune-terms", _NUMBERS, "Keep the N heaviest terms of a document."),
    ("--prune-mass", _SHARES, "Keep the heaviest terms that hold this share of its weight."),
    ("--prune-ratio", _SHARES, "Keep the terms above this share of its heaviest."),
    ("--prune-postings", _POSTINGS, "Keep a share below 1, or so many, of every posting list."),
    ("--quantise", _NAMES, "8bit, binary; 4bit and 2bit are simulated, their saving is not."),
    ("--query-terms", _NUMBERS, "Keep the N heaviest terms of a query."),
    ("--recall", _SHARES, "Search approximately, aiming at this recall."),
    ("--pages", _NUMBERS, "Search approximately: pages of 256 documents to score."),
)


def _axes(function: F) -> F:
    """The options that stand in place of the grid's axes."""
    for name, kind, words in reversed(_AXES):
        function = click.option(name, type=kind, help=words)(function)
    return function


@click.command(epilog=EXAMPLES)
@click.argument("dataset", shell_complete=complete.datasets)
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="bm25|FOLDER",
    help="What makes the vectors. Repeatable. Default: bm25",
    shell_complete=complete.encoders,
)
@click.option(
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Results, tables and plots; the same command goes on from what is there.",
)
@click.option(
    "--grid",
    "grid_name",
    metavar="small|full|FILE",
    help="What to try. Default: what the options below name, or small without any.",
)
@_axes
@click.option("--split", help="Whose judgements. Default: dev, or test where there is no dev.")
@click.option(
    "--queries",
    "n",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="At most so many queries, drawn at random.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of that draw.")
@click.option(
    "-k",
    "k",
    type=click.IntRange(min=100),
    default=100,
    show_default=True,
    help="Documents a query, of all measures and times.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="What networks multiply in.",
)
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def sweep(
    *,
    dataset: str,
    encoders: tuple[str, ...],
    folder: Path,
    grid_name: str | None,
    prune_terms: tuple[int, ...] | None,
    prune_mass: tuple[float, ...] | None,
    prune_ratio: tuple[float, ...] | None,
    prune_postings: tuple[float, ...] | None,
    quantise: tuple[str, ...] | None,
    query_terms: tuple[int, ...] | None,
    recall: tuple[float, ...] | None,
    pages: tuple[int, ...] | None,
    split: str | None,
    n: int,
    seed: int,
    k: int,
    precision: "Precision",
    json: bool,
) -> None:
    """Measure many smaller, coarser and hastier versions of an index of DATASET.

    Documents are encoded once for each encoder. Every way of building an index is crossed with
    every way of searching it; times are of the processor, one query at a time. Printed is the
    cheapest configuration within 1 % of the best nDCG@10, for each cost.
    """
    from ..datasets import load_dataset
    from ..progress import bar
    from ._drawing import require_matplotlib
    from ._machine import cpu_model
    from ._sweep import Sweep, questions
    from ._sweep_grid import Grid, read_grid, with_axes
    from ._sweep_page import write_page
    from ._sweep_plot import draw
    from ._sweep_report import COSTS, Findings, as_report, facts, write_tables

    axes: dict[str, tuple[Any, ...] | None] = {
        "prune_terms": prune_terms,
        "prune_mass": prune_mass,
        "prune_ratio": prune_ratio,
        "prune_postings": prune_postings,
        "quantise": quantise,
        "query_terms": query_terms,
        "recall": recall,
        "pages": pages,
    }
    given = {name: values for name, values in axes.items() if values}
    by_default = Grid() if given else read_grid("small")
    grid = with_axes(by_default if grid_name is None else read_grid(grid_name), given)
    names = dict.fromkeys(encoders or grid.encoder or (BM25,))
    choices = {name: EncoderChoice(name, precision=precision) for name in names}
    require_matplotlib()  # now, not after minutes of measuring
    asked = questions(load_dataset(dataset), split, n=n, seed=seed, k=k)
    total = len(grid.searches()) * sum(len(grid.builds(name)) for name in names)
    counter: Any = bar(total=total, unit="configurations", desc="measured", quiet=None)
    with counter:
        work = Sweep(asked, grid, choices, folder, counter.update)
        points = work.run()
    if not points:
        raise UsageError("the grid has no configuration that this encoder can be built in")
    frame = {
        "dataset": asked.source.name,
        "split": asked.split,
        "dataset_fingerprint": asked.source.fingerprint,
        "n_queries": len(asked.texts),
        "k": k,
        "machine": cpu_model(),
        "version": __version__,
        "n_points": len(points),
        "n_resumed": work.n_resumed,
        "n_alike": work.n_alike,
        "n_simulated": sum(point.simulated for point in points),
        "command": shlex.join(_arguments(click.get_current_context())),
    }
    findings = Findings.of(dataset, points, precision=precision)
    write_tables(folder, findings, frame)
    draw(folder, findings, frame)
    write_page(folder / "trade-off.html", as_report(findings, frame))
    if json:
        out.as_json(as_report(findings, frame))
        return
    for verb, what in facts(frame):
        out.fact(verb, what)
    _print(findings)
    out.fact("wrote", f"{folder}/sweep.md, .tsv, .json and trade-off.html, .svg, .png")
    chosen = findings.cheapest(COSTS[0])
    if chosen is None:
        out.next_step("lsr", "evaluate", dataset)
    else:
        out.next_step(*shlex.split(findings.commands(chosen)[0]))


def _print(findings: "Findings") -> None:
    """The fronts as one table, then the cheapest within 1 % of the best and how to build them."""
    from ._sweep_report import COSTS, WITHIN, table

    on_a_front = [point for point in findings.real if findings.marks(point)]
    header, cells = table(on_a_front)
    marks = [findings.marks(point) for point in on_a_front]
    out.table(["front of", *header], [[m, *row] for m, row in zip(marks, cells, strict=True)])
    best = findings.real[0]
    out.fact("best", out.columns(f"nDCG@10 {best.ndcg_10:.4f}", best.name))
    for cost in COSTS:
        point = findings.cheapest(cost)
        if point is None:
            continue
        saved = cost.of(best) / cost.of(point) if cost.of(point) else float("inf")
        out.fact(
            "cheapest",
            out.columns(
                f"in {cost.name}",
                f"within {100 * WITHIN:g} % of the best: {point.name}; nDCG@10 "
                f"{point.ndcg_10:.4f}, {cost.words(point)}; the best takes {saved:.2f} times that",
            ),
        )
        for command in findings.commands(point):
            out.fact("", command)


def _arguments(context: click.Context) -> list[str]:
    """What to type to get these results again, options at their defaults left out."""
    words = ["lsr", "sweep", context.params["dataset"]]
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if not isinstance(parameter, click.Option) or value == parameter.default or not value:
            continue
        if parameter.name == "json":
            continue
        option = parameter.opts[0]
        if parameter.multiple:
            words += [word for one in value for word in (option, str(one))]
        elif isinstance(value, tuple):
            words += [
                option,
                ",".join(f"{one:g}" if not isinstance(one, str) else one for one in value),
            ]
        else:
            words += [option, str(value)]
    return words
