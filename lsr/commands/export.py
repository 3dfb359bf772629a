"""`lsr export`: an index as files that another engine is loaded from."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UsageError
from . import _printing as out

if TYPE_CHECKING:
    from index import Index
    from lsr.encoders import SparseEncoder

TARGETS = (
    "opensearch",
    "elasticsearch",
    "qdrant",
    "milvus",
    "vespa",
    "pgvector",
    "anserini",
    "ciff",
    "seismic",
    "jsonl",
)
_SHOWN = 12
"""Fields left out that are told one by one: vectors made flat are a field for every term."""
VERIFIABLE = ("qdrant", "milvus", "pgvector", "anserini", "seismic", "ciff")

EXAMPLES = """\b
Examples:
  lsr export papers.index papers-opensearch --to opensearch
  lsr export papers.index papers-qdrant --to qdrant --verify 100
  lsr export papers.index papers.ciff --to ciff --query "effects of caffeine on sleep"
"""


@click.command(epilog=EXAMPLES)
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--to", "target", required=True, type=click.Choice(TARGETS), help="Which engine.")
@click.option("--name", help="What to call the collection there. Default: the index's name")
@click.option(
    "--query", "text", default="an example question", show_default=True, help="Shown on the page."
)
@click.option(
    "--floats",
    is_flag=True,
    help="The stored float16 weights, in place of the 8-bit integers that we rank by.",
)
@click.option(
    "--verify",
    type=click.IntRange(min=1),
    metavar="N",
    help="Load the export into the engine, where it runs in a process, ask N queries on both sides "
    "and compare (" + ", ".join(VERIFIABLE) + ").",
)
@click.option("-k", "k", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--encoder", help="Another folder of the encoder that built the index.")
@click.option("--overwrite", is_flag=True, help="Replace an export that is there; no other folder.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def export(
    *,
    index: Path,
    folder: Path,
    target: str,
    name: str | None,
    text: str,
    floats: bool,
    verify: int | None,
    k: int,
    encoder: str | None,
    overwrite: bool,
    json: bool,
) -> None:
    """Write INDEX into FOLDER as TARGET is loaded from: rows, schema, an example query, a page.

    Weights are the integers that exact search here adds up, which every engine represents exactly,
    so that it ranks the same. README.md in FOLDER has the commands.
    """
    from index import Index
    from index.exchange import export_index
    from index.exchange.formats.format import renaming

    if verify is not None and target not in VERIFIABLE:
        raise UsageError(
            f"--verify runs {', '.join(VERIFIABLE)} in this process; {target} needs a server of "
            "yours: load it and compare its answer to query.json with `lsr search`"
        )
    if verify is not None and floats:
        raise UsageError("--verify compares integers with our own ranking; leave --floats out")
    if verify is not None:
        from index.exchange.engines import ENGINES

        ENGINES[target].driver()  # missing, it is told before anything is written
    with Index.open(index, read_only=True) as opened:
        names_terms = _encoder(opened, encoder)
        report = export_index(
            opened,
            folder,
            target,
            encoder=names_terms,
            name=name or index.resolve().name.removesuffix(".index"),
            text=text,
            weights="floats" if floats else "impacts",
            overwrite=overwrite,
        )
        verdict = None
        if verify is not None:
            from index.exchange.verifying import verify_export

            verdict = verify_export(opened, folder, target, names_terms, n_queries=verify, k=k)
    for field in report.left_out[:_SHOWN]:
        out.note(
            "left out",
            out.printable(
                f"{field.name}: the export needs this name itself, so the field is missing in "
                f"{out.counted(field.n_rows, 'row')}, first of document {field.doc_id!r}; to keep "
                f"it, index it renamed: {renaming(field.name)}"
            ),
        )
    if len(report.left_out) > _SHOWN:
        more = out.counted(len(report.left_out) - _SHOWN, "more field")
        out.note("left out", f"{more} of such names; --json lists them")
    if json:
        body = asdict(report) | {"folder": str(report.folder)}
        out.as_json(body | {"verified": None if verdict is None else asdict(verdict)})
        return
    rate = report.n_rows / max(report.seconds, 1e-9)
    out.fact(
        "wrote",
        out.columns(
            str(folder),
            f"{out.counted(report.n_rows, 'row')}, {report.n_postings:,} postings, "
            f"{out.size(report.n_bytes)}, {out.duration(report.seconds)}, {rate:,.0f} rows/s",
        ),
    )
    if verdict is not None:
        out.fact(
            "verified",
            out.columns(
                f"{verdict.engine} {verdict.version}",
                f"{verdict.n_queries} queries, {100 * verdict.overlap:.2f} % of top {k} shared, "
                f"{verdict.n_identical} rankings identical, largest score gap {verdict.gap:.3g}",
            ),
        )
    out.next_step("less", str(folder / "README.md"))


def _encoder(index: "Index", folder: str | None) -> "SparseEncoder | None":
    from index import query_encoder

    if folder is None and index.encoder is None:
        return None
    return query_encoder(index, folder)
