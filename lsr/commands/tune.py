"""`lsr tune`: the weights of a fusion, chosen on development queries."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import DatasetError, UsageError
from . import _completing as complete
from . import _printing as out

if TYPE_CHECKING:
    from ..datasets import Dataset
    from ..retrieval import Development
    from ..systems import Fusion
    from ..types import Run

EXAMPLES = """\b
Examples:
  lsr tune scifact --with bm25 --with dense:models/gte-small --output weights.toml
  lsr tune nfcorpus --with bm25 --with runs/encoder --fuse minmax --output weights.toml
  lsr tune nfcorpus --run bm25.trec --run dense.trec --split dev --output weights.toml
"""


@click.command(epilog=EXAMPLES)
@click.argument("dataset", shell_complete=complete.datasets)
@click.option(
    "--with",
    "names",
    multiple=True,
    metavar="RETRIEVER",
    help="bm25, the folder of a sparse encoder, or dense:FOLDER (extra `dense`); repeatable.",
)
@click.option(
    "--run",
    "runs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="In place of --with: a TREC run of the split's queries; repeatable.",
)
@click.option(
    "--fuse",
    "method",
    type=click.Choice(["rrf", "minmax", "zscore"]),
    default="zscore",
    show_default=True,
    help="How the lists are fused; see `lsr fuse --help`.",
)
@click.option("--split", help="Whose queries. Default: dev where there is one, else train")
@click.option(
    "--queries",
    "limit",
    type=click.IntRange(min=5),
    default=1000,
    show_default=True,
    help="Use at most so many of them, drawn at random.",
)
@click.option("--measure", default="nDCG@10", show_default=True, help="What to maximise.")
@click.option(
    "--depth",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Documents that each retriever gives.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=2),
    default=20,
    show_default=True,
    help="Weights are multiples of 1 / STEPS.",
)
@click.option(
    "--max-length", type=click.IntRange(min=3), help="Tokens of a text that dense encoders read."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="A TOML file: the system."
)
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def tune(
    *,
    dataset: str,
    names: tuple[str, ...],
    runs: tuple[Path, ...],
    method: "Fusion",
    split: str | None,
    limit: int,
    measure: str,
    depth: int,
    steps: int,
    max_length: int | None,
    seed: int,
    output: Path,
    json: bool,
) -> None:
    """Choose how much each retriever counts when their answers are fused, and write it to a file.

    Every weighting of a grid is measured on queries of DATASET that are not in its test split; a
    test split is refused. Held out means: each query measured under the weights that are best on
    the other four fifths.
    """
    from ..datasets import load_dataset
    from ..measures import spelled
    from ..retrieval import Development
    from ..retrieval import tune as choose
    from ..systems import write_systems
    from ..trec import read_run

    if bool(names) == bool(runs) or len(names) + len(runs) < 2:
        raise UsageError("wanted two or more retrievers (--with), or two or more runs (--run)")
    measure = spelled(measure)  # before anything is searched
    source = load_dataset(dataset)
    development = Development.of(source, split or _default_split(source), limit=limit, seed=seed)
    answers = (
        [read_run(path) for path in runs]
        if runs
        else _searched(source, development, names, depth=depth, max_length=max_length)
    )
    tuned = choose(
        answers,
        names or [str(path) for path in runs],
        development,
        method=method,
        depth=depth,
        measure=measure,
        steps=steps,
        seed=seed,
    )
    tuned = replace(tuned, max_length=max_length)
    origin = tuned.tuned
    assert origin is not None
    write_systems(output, [tuned])
    if json:
        out.as_json({**asdict(tuned), "n_left_out": development.n_left_out, "output": str(output)})
        return
    out.table(
        ["retriever", "weight", f"{measure} alone"],
        [
            [name, f"{weight:g}", f"{value:.4f}"]
            for name, weight, value in zip(
                tuned.retrievers, tuned.weights, origin.alone, strict=True
            )
        ],
    )
    queries = out.counted(origin.n_queries, "query")
    left_out = f", {development.n_left_out:,} left out that the test split has as well"
    out.fact(
        "tuned",
        out.columns(queries, f"{origin.dataset} {origin.split}")
        + (left_out if development.n_left_out else ""),
    )
    out.fact(
        measure,
        out.columns(f"{origin.held_out:.4f} held out", f"{origin.value:.4f} on what was tuned on, ")
        + f"{origin.alike:.4f} with equal weights",
    )
    out.fact("wrote", str(output))
    if runs:
        files = [str(path) for path in runs]
        out.next_step("lsr", "fuse", *files, "--weights", str(output), "--output", "hybrid.trec")
    else:
        out.next_step("lsr", "evaluate", dataset, "--systems", str(output))


def _default_split(source: "Dataset") -> str:
    from ..conventions import convention_of

    splits = source.splits()
    for name in ("dev", "train"):
        if name in splits and name != convention_of(source.name).split:
            return name
    raise DatasetError(
        f"{source.name} has splits {', '.join(splits) or 'none'}, so nothing to tune on but the "
        "test queries; tune on a like collection that has dev or train, and use its weights here"
    )


def _searched(
    source: "Dataset",
    development: "Development",
    names: tuple[str, ...],
    *,
    depth: int,
    max_length: int | None,
) -> "list[Run]":
    from ..systems import System
    from ._systems import open_system

    texts = {query.query_id: query.text for query in development.queries}
    found = []
    for name in names:
        with open_system(System(name, (name,), max_length=max_length), source) as opened:
            found.append(opened.search(texts, depth))
    return found
