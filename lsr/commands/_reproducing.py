"""Checking published figures: what can be measured here is measured, cell by cell.

A cell is checked where both its encoder and its collection are on this machine. A namesake with
other documents or other questions is not the collection, and is told from it by their numbers.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import LsrError, MissingExtra
from ..published import Cell, Collection, PublishedSystem
from ..systems import BM25, System

DEPTH = 1000
"""Documents a query that are searched for, as published runs hold."""

Status = Literal["pass", "fail", "absent", "present"]
"""`present` is a cell that could be checked and has not been yet."""


@dataclass(frozen=True)
class Outcome:
    """What became of one cell."""

    cell: Cell
    status: Status
    command: str | None
    """What to type to measure the cell, None where the system cannot be run here at all."""
    value: float | None = None
    reason: str | None = None
    """Why the cell is absent, or failed without a value."""

    def as_dict(self) -> dict[str, Any]:
        """All of it, for machines."""
        cell = self.cell
        return {
            "system": cell.system.name,
            "collection": cell.collection.name,
            "measure": cell.measure,
            "published": [
                {
                    "value": figure.value,
                    "tolerance": figure.tolerance,
                    "source": figure.source.name,
                    "first_hand": figure.source.first_hand,
                }
                for figure in cell.figures
            ],
            "trained_on": cell.collection.name in cell.system.trained_on,
            "status": self.status,
            "value": self.value,
            "reason": self.reason,
            "command": self.command,
        }


@dataclass(frozen=True)
class _Failure:
    """Why an encoder gave no value on a collection."""

    status: Status
    reason: str


class Machine:
    """What is on this machine: encoders, and collections that are what their names say."""

    def __init__(
        self,
        models: Mapping[str, Path],
        *,
        download: bool = False,
        collections: Iterable[Collection] = (),
    ) -> None:
        self._models = dict(models)
        self._download = download
        self._collections = {one.name: one for one in collections}
        self._found: dict[str, str | None] = {}

    def encoder(self, system: PublishedSystem) -> str | None:
        """What to search with, or None where there is nothing."""
        if system.name in self._models:
            return str(self._models[system.name])
        if system.encoder is None or system.encoder == BM25:
            return system.encoder
        from ..encoders.hub import cached

        folder = cached(system.encoder)
        if folder is not None:
            return str(folder)
        return system.encoder if self._download else None

    def spelling(self, system: PublishedSystem) -> str | None:
        """How a command names the encoder: the caller's folder, or bm25 or the name on the hub."""
        given = self._models.get(system.name)
        return system.encoder if given is None else str(given)

    def why_no_encoder(self, system: PublishedSystem) -> str:
        """Why `encoder` gave None, and what to do about it."""
        if system.encoder is None:
            return system.absent or "it cannot be run here"
        return (
            f"no encoder {system.encoder} on this machine; give --model {system.name}=FOLDER, or "
            "--download"
        )

    def why_no_collection(self, name: str) -> str | None:
        """Why this collection cannot be searched here, None where it can; counted once."""
        if name not in self._found:
            self._found[name] = self._look(self._collections[name])
        return self._found[name]

    def _look(self, wanted: Collection) -> str | None:
        from ..conventions import convention_of
        from ..datasets import available, load_dataset
        from ..progress import bar

        if wanted.name not in available() and not self._download:
            return "no collection of this name on this machine; set LSR_DATA, or give --download"
        try:
            source = load_dataset(wanted.name)
            queries = len(source.qrels(convention_of(wanted.name).split))
            read = bar(source.documents(), unit="documents", desc=f"counting {wanted.name}")
            documents = sum(1 for _ in read)
        except LsrError as error:
            return str(error)
        if (documents, queries) == (wanted.documents, wanted.queries):
            return None
        return (
            f"another collection of this name: {documents:,} documents and {queries:,} judged "
            f"queries, where figures are about {wanted.documents:,} and {wanted.queries:,}"
        )


def command_of(cell: Cell, spelling: str | None) -> str | None:
    """The command that measures the cell with the encoder of this name."""
    if spelling is None:
        return None
    words = ["lsr", "evaluate", cell.collection.name, "--encoder", spelling]
    return shlex.join([*words, "--measure", cell.measure])


def outcomes(cells: Sequence[Cell], machine: Machine, *, check: bool) -> Iterable[Outcome]:
    """One outcome a cell, system by system and each as soon as it is known.

    Without `check` nothing is searched: a cell is `present` or `absent`.
    """
    systems = list(dict.fromkeys(cell.system.name for cell in cells))
    for name in systems:
        mine = [cell for cell in cells if cell.system.name == name]
        yield from _of_system(mine[0].system, mine, machine, check=check)


def _of_system(
    system: PublishedSystem, cells: Sequence[Cell], machine: Machine, *, check: bool
) -> Iterable[Outcome]:
    encoder = machine.encoder(system)
    measured: dict[str, dict[str, float] | _Failure] = {}
    for cell in cells:
        command = command_of(cell, machine.spelling(system))
        if encoder is None:
            reason = machine.why_no_encoder(system)
            yield Outcome(cell, "absent", command, reason=reason)
            continue
        members = cell.collection.mean_of or (cell.collection.name,)
        missing = [one for one in members if machine.why_no_collection(one) is not None]
        if missing:
            yield Outcome(cell, "absent", command, reason=_why_missing(missing, members, machine))
            continue
        if not check:
            yield Outcome(cell, "present", command)
            continue
        for one in members:
            if one not in measured:
                measured[one] = _measured(system, encoder, one, _measures(cells, one))
        found = [measured[one] for one in members]
        failed = [one for one in found if isinstance(one, _Failure)]
        if failed:
            yield Outcome(cell, failed[0].status, command, reason=failed[0].reason)
            continue
        values = [one[cell.measure] for one in found if not isinstance(one, _Failure)]
        value = sum(values) / len(values)
        yield Outcome(cell, "pass" if cell.is_met_by(value) else "fail", command, value)


def _measures(cells: Sequence[Cell], collection: str) -> list[str]:
    """All measures that cells ask of a collection, itself or as a part of a mean."""
    return list(
        dict.fromkeys(
            cell.measure
            for cell in cells
            if collection in (cell.collection.name, *cell.collection.mean_of)
        )
    )


def _why_missing(missing: Sequence[str], members: Sequence[str], machine: Machine) -> str:
    if list(missing) == list(members) and len(members) == 1:
        return machine.why_no_collection(missing[0]) or ""
    return f"a mean of {len(members)} collections, of which these are missing: " + ", ".join(
        missing
    )


def _measured(
    system: PublishedSystem, encoder: str, collection: str, measures: Sequence[str]
) -> dict[str, float] | _Failure:
    """The values that `lsr evaluate` prints: the same code makes both."""
    from ._cells import Collection as Judged
    from ._cells import measure_cell
    from ._entrants import OfFile

    entrant = OfFile(System(system.name, (encoder,)))
    try:
        cell = measure_cell(
            Judged.open(collection), entrant, k=DEPTH, measures=tuple(measures), command=""
        )
    except MissingExtra as error:
        return _Failure("absent", str(error))
    except LsrError as error:
        return _Failure("fail", str(error))
    return {name: value for name, value in cell.row.measures.items() if value is not None}
