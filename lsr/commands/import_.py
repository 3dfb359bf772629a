"""`lsr import`: another engine's vectors as an index."""

from dataclasses import asdict
from pathlib import Path

import click

from . import _completing as complete
from . import _printing as out
from ._fields import field_kind, field_option

SOURCES = ("jsonl", "anserini", "seismic", "opensearch", "elasticsearch", "qdrant", "ciff")

EXAMPLES = """\b
Examples:
  lsr import vectors.jsonl papers.index --from anserini --encoder runs/mini
  lsr import bulk.ndjson papers.index --from opensearch --vector ml_tokens --field year:int
  lsr import msmarco.ciff msmarco.index --from ciff
"""


@click.command("import", epilog=EXAMPLES)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("index", type=click.Path(path_type=Path))
@click.option("--from", "source", required=True, type=click.Choice(SOURCES), help="Whose format.")
@click.option(
    "--encoder",
    metavar="FOLDER",
    shell_complete=complete.encoders,
    help="What made the vectors: it numbers the terms and reads queries. Without one the index is "
    "searched with vectors, and its terms.txt says which number is which term.",
)
@click.option("--vector", help="Which field is the vector, where a document has several.")
@field_option
@click.option("--overwrite", is_flag=True, help="Replace an existing index, in one step.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def import_(
    *,
    file: Path,
    index: Path,
    source: str,
    encoder: str | None,
    vector: str | None,
    fields: tuple[str, ...],
    overwrite: bool,
    json: bool,
) -> None:
    """Build INDEX of the vectors in FILE (also .gz, .zst).

    FILE is what another engine exports or is loaded from. Weights are rounded to 8 bits of the
    largest one, as everywhere here.
    """
    from index.exchange.importing import import_vectors

    from ..encoders import load_encoder

    report = import_vectors(
        file,
        index,
        source,
        encoder=None if encoder is None else load_encoder(encoder),
        field=vector,
        fields=dict(field_kind(text) for text in fields),
        overwrite=overwrite,
    )
    if json:
        out.as_json(asdict(report) | {"path": str(report.path)})
        return
    out.fact(
        "imported",
        out.columns(
            out.counted(report.n_docs, "document"),
            f"{report.n_postings / max(1, report.n_docs):.0f} terms each on average, "
            f"{report.n_terms:,} terms, largest weight {report.max_weight:g}",
        ),
    )
    out.fact("wrote", out.columns(str(index), out.duration(report.seconds)))
    if report.encoder is None:
        if (names := index / "terms.txt").is_file():
            out.fact("terms", f"{names}, the entry of each number")
        out.next_step("lsr", "serve", str(index))
    else:
        out.next_step("lsr", "search", str(index), "your question")
