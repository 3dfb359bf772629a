"""`lsr repair`: replace damaged segments by what their documents still tell."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import _completing as complete
from . import _printing as out

if TYPE_CHECKING:
    from ..encoders import SparseEncoder

EXAMPLES = """\b
Examples:
  lsr repair papers.index
  lsr repair papers.index --encoder runs/encoder
  lsr repair papers --data server
"""


@click.command(epilog=EXAMPLES)
@click.argument("index", metavar="INDEX|NAME", shell_complete=complete.folders)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="The data directory of a server, whose indexes go by name.",
)
@click.option("--encoder", metavar="FOLDER", help="The encoder that built it, if it has moved.")
@click.option(
    "--accept-loss",
    is_flag=True,
    help="Let documents go that have neither vectors nor texts left; their ids are printed.",
)
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def repair(
    *, index: str, data: Path | None, encoder: str | None, accept_loss: bool, json: bool
) -> None:
    """Make INDEX whole again after a disk has damaged its segments.

    Documents of a damaged segment come back from their stored vectors where these are intact, and
    from their stored texts, encoded anew, where not. A damaged catalog is not repaired: restore a
    snapshot.
    """
    from index.repair import damage_of
    from index.repair import repair as repaired
    from index.shards import holds_shard

    from ..progress import Bar, bar

    path = Path(index) if data is None else _place_of(index, data)
    damaged = damage_of(path)
    if not damaged:
        if holds_shard(path):
            repaired(path)  # a repair that was killed may not have told the set of it
        if json:
            out.as_json({"path": path, "damaged": []})
            return
        out.fact("sound", f"{path}: every byte of every segment is as it was written")
        out.next_step("lsr", "check", str(path))
        return
    for one in damaged:
        out.note("damaged", one.why)
    counter: Bar[None] = bar(total=None, unit="documents", desc="encoded")

    def show(done: int, total: int) -> None:
        counter.total = total
        counter.update(done - counter.n)

    with counter:
        report = repaired(path, _encoder_of(path, encoder), accept_loss=accept_loss, progress=show)
    if json:
        out.as_json(
            {
                "path": path,
                "damaged": [one.file for one in report.damaged],
                "from_vectors": report.n_from_vectors,
                "from_texts": report.n_from_texts,
                "lost": report.lost,
            }
        )
        return
    out.fact("replaced", out.counted(len(report.damaged), "segment"))
    out.fact("vectors", f"{out.counted(report.n_from_vectors, 'row')} from their stored vectors")
    out.fact("texts", f"{out.counted(report.n_from_texts, 'row')} encoded anew from their texts")
    for doc_id in report.lost:
        out.fact("lost", out.printable(doc_id))
    out.next_step("lsr", "check", str(path))


def _place_of(name: str, data: Path) -> Path:
    from service.home import Home
    from service.home.registry import Registry

    with Home.open(data) as home:
        return Registry.read(home).resolve(name).path


def _encoder_of(path: Path, folder: str | None) -> "SparseEncoder | None":
    """The encoder of an index's documents, None where it is not to be found."""
    from index import Index, whole_encoder
    from index.catalog import FILE_NAME, Catalog

    from ..encoders import load_encoder

    if folder is not None:
        return load_encoder(folder)
    with closing(Catalog.open(path / FILE_NAME, read_only=True)) as catalog:
        index = Index(path, catalog)
        card = index.encoder
        sound = card is not None and index.encoder_damage() is None
    if card is None:
        return None
    if card.query_strategy == "bm25" and sound and index.encoder_folder.is_dir():
        return load_encoder(index.encoder_folder)
    whole = whole_encoder(card)
    return None if whole is None else load_encoder(whole)
