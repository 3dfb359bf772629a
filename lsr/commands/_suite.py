"""Many systems on many collections, into a folder that a later call completes.

cells/      one JSON file for each system and collection
runs/       its rankings, as a TREC run
summary.json, summary.md, per-query.tsv
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from .. import __version__
from ..errors import LsrError
from ..files import atomic_write
from ..trec import require_plain_ids
from . import _printing as out
from ._cells import Cell, Collection, Place, measure_cell
from ._entrants import Entrant
from ._machine import cpu_model
from ._rows import Means, Row, means
from ._tables import markdown


@dataclass(frozen=True)
class Outcome:
    """The cells in the order asked for, and why others are missing."""

    cells: tuple[Cell, ...]
    failed: tuple[str, ...]

    @property
    def rows(self) -> list[Row]:
        """The cells' rows."""
        return [cell.row for cell in self.cells]

    @property
    def means(self) -> Means:
        """Their means, refused when a cell is missing."""
        found = means(self.rows)
        return Means(refused=(*self.failed, *found.refused)) if self.failed else found


def run_suite(
    collections: Sequence[Collection],
    entrants: Sequence[Entrant],
    *,
    k: int,
    measures: tuple[str, ...],
    command: Callable[[Collection, Entrant], str],
    folder: Path | None,
) -> Outcome:
    """Measure each system on each collection, collection by collection; keep cells in `folder`.

    `command` says what to type to get one cell again. A cell that fails is reported and left out,
    so that one broken encoder does not cost a night.
    """
    cells: list[Cell] = []
    failed: list[str] = []
    total = len(collections) * len(entrants)
    grid = [(collection, entrant) for collection in collections for entrant in entrants]
    for number, (collection, entrant) in enumerate(grid, start=1):
        where = f"{entrant.label} on {collection.source.name}"
        place = None if folder is None else Place(folder, collection, entrant, k, measures)
        try:
            kept = None if place is None else place.read()
            if place is not None and kept is None:
                require_run_of(collection)
            cell = kept or measure_cell(
                collection,
                entrant,
                k=k,
                measures=measures,
                command=command(collection, entrant),
            )
            if place is not None and kept is None:
                place.write(cell)
        except LsrError as error:
            if total == 1:
                raise
            failed.append(f"{where}: {error}")
            out.note("failed", failed[-1])
            continue
        cells.append(cell)
        if total > 1:
            name, value = next(iter(cell.row.measures.items()))
            shown = "-" if value is None else f"{value:.4f}"
            verb = "found" if kept else "measured"
            out.note(verb, out.columns(where, f"{name} {shown}, {number} of {total}"))
    return Outcome(tuple(cells), tuple(failed))


def require_run_of(collection: Collection) -> None:
    """Refuse a collection whose judged ids no run can hold. Raises `DatasetError`."""
    remedy = "leave out --run and --output, which write one, or rename it"
    for query_id, judged in collection.qrels.items():
        require_plain_ids((query_id, *judged), whose=collection.source.name, remedy=remedy)


def write_summary(folder: Path, outcome: Outcome, *, command: str) -> list[Path]:
    """Write summary.json, summary.md and per-query.tsv; their paths."""
    found = outcome.means
    summary = {
        "version": __version__,
        "command": command,
        "machine": cpu_model(),
        "cores": os.cpu_count(),
        "rows": [asdict(row) for row in outcome.rows],
        "means": [asdict(mean) for mean in found.rows],
        "no_mean_because": list(found.refused),
        "failed": list(outcome.failed),
    }
    texts = {
        "summary.json": orjson.dumps(
            summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        ),
        "summary.md": markdown(outcome.rows, found, command=command).encode(),
        "per-query.tsv": "".join(_per_query(outcome.cells)).encode(),
    }
    for name, content in texts.items():
        with atomic_write(folder / name) as file:
            file.write(content)
    return [folder / name for name in texts]


def _per_query(cells: Sequence[Cell]) -> Iterator[str]:
    """Lines of a table with a line for each collection, system and query."""
    measures = list(dict.fromkeys(name for cell in cells for name in cell.per_query))
    yield "\t".join(["dataset", "split", "system", "query_id", *measures]) + "\n"
    for cell in cells:
        row = cell.row
        for query_id in next(iter(cell.per_query.values())):
            values = (cell.per_query.get(name, {}).get(query_id) for name in measures)
            numbers = ("" if value is None else f"{value:.6g}" for value in values)
            yield "\t".join([row.dataset, row.split, row.system, query_id, *numbers]) + "\n"
