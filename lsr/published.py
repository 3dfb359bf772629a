"""Figures that papers, model cards and reproductions print, each with where it was read.

The table is data/published.toml, read as it is shipped. A cell is one measure of one system on one
collection; where several sources print it, a value that meets one of them within its tolerance
reproduces it, because sources differ among themselves by more than a tolerance.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import RecipeError, UsageError
from .shipped import shipped
from .typed_toml import build, number

TABLE = "published.toml"


@dataclass(frozen=True)
class Source:
    """Where figures were read, and when; `first_hand` is false for notes on a paper."""

    name: str
    where: str
    read: str
    first_hand: bool


@dataclass(frozen=True)
class Collection:
    """What must lie under a name for its figures to be comparable."""

    name: str
    documents: int = number(0, low=0)
    queries: int = number(0, low=0)
    """Judged queries of the split that figures are quoted for (lsr.conventions)."""
    mean_of: tuple[str, ...] = ()
    """Collections whose plain mean is the figure; it has no documents of its own."""


@dataclass(frozen=True)
class Reference:
    """One row of one source: values of a measure by collection, in [0, 1]."""

    source: str
    measure: str
    values: Mapping[str, float]
    tolerance: float = number(low=0.0005, high=0.05)
    """How far a value may lie off and still reproduce this one."""


@dataclass(frozen=True)
class PublishedSystem:
    """A system with published figures, and how to run it here."""

    name: str
    title: str
    licence: str
    reference: tuple[Reference, ...]
    encoder: str | None = None
    """What `lsr evaluate --encoder` takes: bm25 or a name on the hub."""
    absent: str | None = None
    """Why there is no `encoder`, and what to do instead."""
    trained_on: tuple[str, ...] = ()
    """Collections of the table whose training part it has seen: not zero-shot there."""
    note: str | None = None


@dataclass(frozen=True)
class Figure:
    """One published value of a cell."""

    value: float
    tolerance: float
    source: Source


@dataclass(frozen=True)
class Cell:
    """A measure of a system on a collection, with all that is published about it."""

    system: PublishedSystem
    collection: Collection
    measure: str
    figures: tuple[Figure, ...]

    def closest(self, value: float) -> Figure:
        """The figure that `value` comes closest to, measured in its tolerance."""
        return min(self.figures, key=lambda figure: abs(value - figure.value) / figure.tolerance)

    def is_met_by(self, value: float) -> bool:
        """Whether `value` reproduces the cell: it lies within the tolerance of a figure.

        The edge belongs to it, up to the last digit that sources print.
        """
        figure = self.closest(value)
        return abs(value - figure.value) <= figure.tolerance + 1e-6


@dataclass(frozen=True)
class Published:
    """The whole table."""

    collection: tuple[Collection, ...]
    source: tuple[Source, ...]
    system: tuple[PublishedSystem, ...]

    def cells(self, systems: Sequence[str] = (), on: Sequence[str] = ()) -> list[Cell]:
        """The cells of these systems on these collections (all where empty), in table order.

        A mean that is asked for brings the cells of its members along.
        """
        wanted = {self.find_collection(name).name for name in on}
        for one in self.collection:
            if one.name in wanted:
                wanted.update(one.mean_of)
        chosen = [self.find_system(name) for name in systems] or list(self.system)
        return [
            cell
            for system in chosen
            for cell in self._cells_of(system)
            if not wanted or cell.collection.name in wanted
        ]

    def find_system(self, name: str) -> PublishedSystem:
        """The system of this name, or a `UsageError` with the names there are."""
        for one in self.system:
            if one.name == name:
                return one
        raise UsageError(
            f"no published figures of a system {name!r}; there are those of "
            f"{', '.join(one.name for one in self.system)}"
        )

    def find_collection(self, name: str) -> Collection:
        """The collection of this name, or a `UsageError` with the names there are."""
        for one in self.collection:
            if one.name == name:
                return one
        raise UsageError(
            f"no published figures on a collection {name!r}; there are those on "
            f"{', '.join(one.name for one in self.collection)}"
        )

    def _cells_of(self, system: PublishedSystem) -> list[Cell]:
        sources = {one.name: one for one in self.source}
        found: dict[tuple[str, str], list[Figure]] = {}
        for reference in system.reference:
            for name, value in reference.values.items():
                figure = Figure(value, reference.tolerance, sources[reference.source])
                found.setdefault((name, reference.measure), []).append(figure)
        return [
            Cell(system, one, measure, tuple(figures))
            for one in self.collection
            for (name, measure), figures in found.items()
            if name == one.name
        ]


def read_published(path: Path | None = None) -> Published:
    """The shipped table, or the one at `path`; `RecipeError` names the file and what is wrong."""
    path = shipped(TABLE) if path is None else path
    try:
        text = path.read_text(encoding="utf-8")
        table = build(Published, tomllib.loads(text), str(path))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as TOML: {error}") from error
    _check(table, path)
    return table


def _check(table: Published, path: Path) -> None:
    collections = {one.name for one in table.collection}
    sources = {one.name for one in table.source}
    for kind, names in (
        ("collection", [one.name for one in table.collection]),
        ("source", [one.name for one in table.source]),
        ("system", [one.name for one in table.system]),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise RecipeError(f"{path}: {kind} {', '.join(twice)} occurs twice; wanted each once")
    for one in table.collection:
        if unknown := set(one.mean_of) - collections:
            raise RecipeError(f"{path}: collection {one.name} is a mean of unknown {unknown}")
        if not one.mean_of and not (one.documents and one.queries):
            raise RecipeError(f"{path}: collection {one.name} needs documents and queries")
    for system in table.system:
        if (system.encoder is None) == (system.absent is None):
            raise RecipeError(
                f"{path}: system {system.name}: wanted either an encoder or why it is absent"
            )
        for reference in system.reference:
            if reference.source not in sources:
                raise RecipeError(f"{path}: system {system.name}: no source {reference.source!r}")
            for name, value in reference.values.items():
                if name not in collections or value > 1:
                    raise RecipeError(
                        f"{path}: system {system.name}: {name} = {value}; wanted a collection of "
                        "the table and a value in [0, 1]"
                    )
