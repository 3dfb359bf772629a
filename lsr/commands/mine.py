"""`lsr mine`: hard negatives for a judged collection, in the file that training reads."""

import time
from dataclasses import asdict
from pathlib import Path

import click

from ..errors import UsageError
from . import _completing as complete
from . import _printing as out
from ._durations import Duration

EXAMPLES = """\b
Examples:
  lsr mine scifact --with bm25 --output negatives.jsonl.gz
  lsr mine ./mine --with bm25 --with runs/encoder --window 0-50:50 --window 50-1000:50 \\
      --share 0.95 --output mine/negatives.jsonl.gz
  lsr mine scifact --with dense:models/gte-small --teacher cross-encoder:models/minilm-ce \\
      --margin 3 --output negatives.jsonl.gz
  lsr mine wikipedia.jsonl.gz --queries boolq --most 1000 --window 0-8:2 --window 8-60:3 \\
      --output asked.jsonl
"""


@click.command(epilog=EXAMPLES)
@click.argument("dataset", shell_complete=complete.datasets)
@click.option(
    "--with",
    "miners",
    multiple=True,
    default=("bm25",),
    show_default=True,
    metavar="MINER",
    help="bm25 (bm25:german and so on for other languages), the folder of a sparse encoder, or "
    "dense:FOLDER (extra `dense`); repeatable.",
)
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="A .jsonl[.gz|.zst]."
)
@click.option(
    "--queries",
    metavar="SOURCE",
    help="Ask these instead, a collection's or a file's, and write a file of pairs that nobody "
    "judged, for `lsr train` with teachers.",
)
@click.option(
    "--most", type=click.IntRange(min=1), metavar="N", help="Draw N of --queries. Default: all"
)
@click.option("--split", default="train", show_default=True, help="Whose queries.")
@click.option(
    "--window",
    "windows",
    multiple=True,
    default=("10-50",),
    show_default=True,
    metavar="FIRST-LAST[:TAKE]",
    help="Ranks from 0, the last left out, and how many of them at random; repeatable.",
)
@click.option("--margin", type=float, help="Leave out what scores above the positive - margin.")
@click.option(
    "--share", type=float, help="Leave out what scores above share x positive, such as 0.95."
)
@click.option(
    "--teacher",
    default="",
    metavar="TEACHER",
    help="Whose scores --margin and --share are of: bm25, dense:FOLDER, cross-encoder:FOLDER or "
    "the folder of a sparse encoder. Default: each miner's own",
)
@click.option(
    "--near-copy",
    type=click.FloatRange(0, 1),
    default=0.9,
    show_default=True,
    help="Leave out documents that share so much of their words with a positive.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--stop-after",
    type=Duration(),
    metavar="TIME",
    help="End after so long (90s, 8m, 2h); the same command goes on.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def mine(
    *,
    dataset: str,
    miners: tuple[str, ...],
    output: Path,
    queries: str | None,
    most: int | None,
    split: str,
    windows: tuple[str, ...],
    margin: float | None,
    share: float | None,
    teacher: str,
    near_copy: float,
    seed: int,
    stop_after: float | None,
    overwrite: bool,
    json: bool,
) -> None:
    """Find documents of DATASET that rank high for a query and are not its answer.

    Relevant documents, their copies and near-copies are left out. Training reads the file as
    negatives.jsonl.gz in the folder of the collection; it does without where the recipe has
    [data.mining]. A killed or stopped call goes on from what lies in OUTPUT.work.

    With --queries, OUTPUT has a line {"query", "pos", "neg"} for each. "pos" is what the first
    window gives and no answer: name the file in data.train of a recipe that learns from teachers by
    kl. Of DATASET's own queries the relevant documents are left out.
    """
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; choose another path, or replace it with --overwrite")
    from training import mine as run_mining

    started = time.perf_counter()
    report = run_mining(
        dataset,
        output,
        queries=queries,
        most=most or 0,
        miners=miners,
        split=split,
        windows=windows,
        margin=margin,
        share=share,
        teacher=teacher,
        near_copy=near_copy,
        seed=seed,
        stop_after=stop_after,
    )
    took = time.perf_counter() - started
    if json:
        out.as_json({**asdict(report), "seconds": took})
        return
    if not report.finished:
        kept = f"what is found is kept in {output}.work; the same command goes on"
        out.fact("stopped", f"after {out.duration(took)}; {kept}")
        return
    out.fact(
        "mined",
        out.columns(
            out.counted(report.n_queries, "query"),
            f"{report.n_negatives / report.n_queries:.1f} "
            f"{'negatives' if queries is None else 'documents'} each on average, "
            f"{report.n_without:,} without any, {out.duration(took)}",
        ),
    )
    out.fact("wrote", out.columns(str(output), out.size(output.stat().st_size)))
    if queries is not None:
        out.next_step(
            "lsr", "train", "RECIPE", "OUTPUT", "--set", f'data.train=["{output.resolve()}"]'
        )
    elif output.name != "negatives.jsonl.gz":
        out.next_step("mv", str(output), "COLLECTION/negatives.jsonl.gz")
    else:
        out.next_step("lsr", "train", "RECIPE", "OUTPUT", "--set", "data.negatives=1")
